//! `ksync` as the commands of this repository run it: devices without windows, and how two of them are paired.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::process::{Running, capture, program, run as run_program};
use crate::{Failure, failed};

/// A device.
pub(crate) struct Device {
    pub(crate) program: PathBuf,
    pub(crate) home: PathBuf,
}

impl Device {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(&self.home).arg("--json").args(args).stdin(Stdio::null());
        // A relay that it hosts is for this machine alone.
        command.env("KSYNC_LISTEN", "127.0.0.1:0");
        command
    }

    /// Runs a command to its end and gives the events that it printed.
    pub(crate) fn call(&self, args: &[&str]) -> Result<Vec<Value>, Failure> {
        capture(&mut self.command(args))?.lines().map(event).collect()
    }

    pub(crate) fn start(&self, args: &[&str]) -> Result<Talk, Failure> {
        let mut running = Running::start(self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = running.child().stdin.take().ok_or("ksync has no standard input")?;
        let output = BufReader::new(running.child().stdout.take().ok_or("ksync has no standard output")?);
        Ok(Talk { running, input: Some(input), output })
    }

    pub(crate) fn push(&self, channel: &str, lines: &[String]) -> Result<(), Failure> {
        let mut talk = self.start(&["push", "--channel", channel, "--lines", "--wait", "accepted"])?;
        let mut input = talk.input.take().ok_or("ksync has no standard input")?;
        let all = lines.join("\n") + "\n";
        // Written by a thread: ksync answers while it reads, and neither may wait for the other.
        let writer = std::thread::spawn(move || input.write_all(all.as_bytes()));
        let mut rest = String::new();
        talk.output.read_to_string(&mut rest).map_err(|e| failed("hear from ksync", e))?;
        writer.join().map_err(|_| "the writer panicked")?.map_err(|e| failed("write to ksync", e))?;
        talk.finish()
    }

    pub(crate) fn pull(&self, channel: &str) -> Result<Vec<String>, Failure> {
        let events = self.call(&["pull", "--channel", channel])?;
        let blobs = events.iter().filter(|e| e["event"] == "blob");
        blobs.map(|e| e["text"].as_str().map(str::to_owned).ok_or("a line is no text".to_owned())).collect()
    }
}

/// A running `ksync` that is talked to.
pub(crate) struct Talk {
    running: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn until(&mut self, name: &str) -> Result<Value, Failure> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).map_err(|e| failed("hear from ksync", e))? == 0 {
                return Err(format!("ksync ended before it said '{name}'"));
            }
            let event = event(&line)?;
            if event["event"] == name {
                return Ok(event);
            }
        }
    }

    /// Ends it as Ctrl-C does, and waits.
    pub(crate) fn interrupt(mut self) -> Result<(), Failure> {
        run_program(&mut program("kill", &["-INT", &self.running.child().id().to_string()]))?;
        self.running.wait().map(drop)
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let status = self.running.wait()?;
        if status.success() { Ok(()) } else { Err(format!("ksync ended with {status}")) }
    }
}

fn event(line: &str) -> Result<Value, Failure> {
    let event: Value = serde_json::from_str(line).map_err(|e| failed("read what ksync said", e))?;
    match event["event"].as_str() {
        Some("error") => Err(format!("ksync: {}: {}", event["code"], event["message"])),
        _ => Ok(event),
    }
}

/// The laptop shows an invite, the phone takes it, and a person carries the four digits across.
pub(crate) fn pair(laptop: &Device, phone: &Device, note: impl Fn(&str)) -> Result<(), Failure> {
    pair_as(laptop, phone, "Phone", note)
}

/// A tablet types the laptop's short code, and comes to this relay with it.
pub(crate) fn pair_by_code(laptop: &Device, tablet: &Device, relay: &str) -> Result<(), Failure> {
    let mut invite = laptop.start(&["invite"])?;
    let code = invite.until("invite")?["code"].as_str().ok_or("the invite has no short code")?.to_owned();
    let mut join = tablet.start(&["join", &code, "--relay", relay, "--name", "Tablet"])?;
    invite.until("request")?;
    let input = invite.input.as_mut().ok_or("ksync has no standard input")?;
    writeln!(input, "y").map_err(|e| failed("agree to the tablet", e))?;
    join.until("joined")?;
    join.finish()?;
    invite.finish()
}

/// The same with another device than a phone.
pub(crate) fn pair_as(laptop: &Device, other: &Device, name: &str, note: impl Fn(&str)) -> Result<(), Failure> {
    let mut invite = laptop.start(&["invite"])?;
    let uri = invite.until("invite")?["uri"].as_str().ok_or("the invite has no link")?.to_owned();
    note(&format!("{}…", &uri[..uri.len().min(60)]));
    let mut join = other.start(&["join", &uri, "--name", name])?;
    let code = join.until("check")?["code"].as_str().ok_or("there is no check code")?.to_owned();
    let asked = invite.until("request")?["name"].as_str().unwrap_or_default().to_owned();
    note(&format!("{name} shows {code}; Laptop asks “Add {asked}?”, and {code} is typed there"));
    let input = invite.input.as_mut().ok_or("ksync has no standard input")?;
    writeln!(input, "{code}").map_err(|e| failed("type the code", e))?;
    join.until("joined")?;
    join.finish()?;
    invite.finish()
}
