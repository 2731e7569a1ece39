//! An app that is closed while something waits to be sent: each kind of line to the relay that could keep it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::{App, Launch, Line, Mode, Screen, pages, until};

/// How many blobs a page pushes in one go: fewer than would take a script's time limit.
const IN_ONE_GO: usize = 2_000;

/// A way to leave.
struct Case {
    when: &'static str,
    /// The line while the app starts, while it pushes, and when it is closed.
    line: [Mode; 3],
    pushes: Pushes,
}

/// How much waits.
#[derive(Clone, Copy)]
enum Pushes {
    None,
    One,
    Many,
}

const FAR: Mode = Mode::Slow(Duration::from_secs(2));

#[rustfmt::skip]
const CASES: [Case; 8] = [
    Case { when: "a relay that answers, nothing waits", line: [Mode::Fine, Mode::Fine, Mode::Fine], pushes: Pushes::None },
    Case { when: "a dead relay", line: [Mode::Dead, Mode::Dead, Mode::Dead], pushes: Pushes::One },
    Case { when: "a relay that fell silent", line: [Mode::Fine, Mode::Silent, Mode::Silent], pushes: Pushes::One },
    Case { when: "a relay 2 s away", line: [Mode::Fine, FAR, FAR], pushes: Pushes::One },
    Case { when: "a full outbox, a dead relay", line: [Mode::Dead, Mode::Dead, Mode::Dead], pushes: Pushes::Many },
    Case { when: "a full outbox, a relay that fell silent", line: [Mode::Fine, Mode::Silent, Mode::Silent], pushes: Pushes::Many },
    Case { when: "a full outbox, a relay 2 s away", line: [Mode::Fine, FAR, FAR], pushes: Pushes::Many },
    Case { when: "a full outbox, a relay that answers again", line: [Mode::Dead, Mode::Dead, Mode::Fine], pushes: Pushes::Many },
];

/// How an app left.
#[derive(Debug)]
pub struct Exit {
    /// The line at that moment, and what waited.
    pub when: &'static str,
    /// From the window's closing to the end of the process.
    pub took: Duration,
    /// How many blobs waited as it was closed.
    pub waiting: u64,
}

/// Closes an app on each kind of line, and sees to it that all which waited goes after its next start, and reaches another device once and
/// in order. `folder` takes the devices' data, and a full outbox is `many` blobs of a kibibyte.
///
/// # Panics
/// If something is lost, comes twice, or does not come.
pub async fn each(folder: &Path, many: usize) -> Vec<Exit> {
    let screen = Screen::start(1280, 900);
    let line = Line::to_relay_in(&folder.join("relay")).await;
    let device = |name: &str| {
        let launch = Launch::new("ksync-testbed", &screen, &folder.join(name));
        launch.env("KSYNC_RELAY", line.address()).env("KSYNC_NAME", name).env("TESTBED_WINDOWS", "default")
    };
    let (laptop, phone) = (device("Laptop"), device("Phone"));
    let (a, b) = (laptop.start().await, phone.start().await);
    pages::pair(&a, &b).await;
    a.quit().await;
    // Both are on the same line, so the second device sees what came of it when the line is good again.
    b.quit().await;
    let (mut exits, mut pushed) = (Vec::new(), 0);
    for Case { when, line: [at_start, at_push, at_end], pushes } in CASES {
        line.be(at_start).await;
        let a = laptop.start().await;
        connected(&a, at_start == Mode::Fine).await;
        line.be(at_push).await;
        let pushes = match pushes {
            Pushes::None => 0,
            Pushes::One => 1,
            Pushes::Many => many,
        };
        push(&a, pushed..pushed + pushes).await;
        pushed += pushes;
        line.be(at_end).await;
        if at_end == Mode::Fine {
            connected(&a, true).await;
        }
        let waiting = outbox(&a).await;
        exits.push(Exit { when, took: a.quit().await, waiting });
        line.be(Mode::Fine).await;
        let a = laptop.start().await;
        until(when, async || (outbox(&a).await == 0).then_some(())).await;
        a.quit().await;
    }
    let b = phone.start().await;
    b.run(pages::COLLECT, vec![json!({ "from": "start" })]).await;
    until("all that was pushed", async || (b.run("return window.got.length;", vec![]).await == pushed).then_some(()))
        .await;
    let got = b.run("return window.got.map(Number);", vec![]).await;
    assert_eq!(got, json!((0..pushed).collect::<Vec<_>>()), "each one once, and in order");
    exits
}

/// Waits until the app is of this opinion about its relay.
async fn connected(app: &App, wanted: bool) {
    let is = "return (await window.__TAURI__.ksync.status()).connected;";
    until("a relay, or none", async || (app.run(is, vec![]).await == wanted).then_some(())).await;
}

async fn outbox(app: &App) -> u64 {
    let waiting = app.run("return (await window.__TAURI__.ksync.status()).outbox;", vec![]).await;
    waiting.as_u64().expect("a count")
}

/// Pushes one blob of a kibibyte for each of these numbers.
async fn push(app: &App, numbers: std::ops::Range<usize>) {
    let script = "for (let number = args[0]; number < args[1]; number++)
                    await window.__TAURI__.ksync.push(String(number).padStart(1024), { channel: 'notes' });";
    for first in numbers.clone().step_by(IN_ONE_GO) {
        let end = numbers.end.min(first + IN_ONE_GO);
        app.run(script, vec![json!(first), json!(end)]).await;
    }
}
