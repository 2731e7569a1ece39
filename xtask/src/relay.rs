//! A relay for the commands that run devices.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Running, program, run as run_program};
use crate::{Failure, failed};

/// A relay that is stopped when this is dropped.
pub(crate) struct Relay {
    running: Running,
    /// `ksync://…`
    pub(crate) address: String,
    http: String,
    data: PathBuf,
}

impl Relay {
    /// Starts one on a free port. `data` is its folder; its log lies beside that.
    pub(crate) fn start(programs: &Path, data: &Path) -> Result<Self, Failure> {
        Self::start_with(programs, data, &[], &[])
    }

    /// The same with more arguments, of which `--listen` takes the place of the free port, and with variables.
    pub(crate) fn start_with(
        programs: &Path,
        data: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut command = Command::new(programs.join("sync-relay"));
        command.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.envs(variables.iter().copied());
        let log = std::fs::File::create(data.with_extension("log")).map_err(|e| failed("make the relay's log", e))?;
        let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log))?;
        let mut line = String::new();
        let out = running.child().stdout.take().ok_or("the relay has no standard output")?;
        let told = BufReader::new(out).read_line(&mut line).map_err(|e| failed("hear from the relay", e));
        let ready: Value =
            told.and_then(|_| serde_json::from_str(&line).map_err(|e| failed("read what the relay said", e)))?;
        let field = |name: &str| ready[name].as_str().map(str::to_owned).ok_or(format!("the relay told no {name}"));
        Ok(Self { address: field("address")?, http: field("http")?, data: data.to_owned(), running })
    }

    /// One figure of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Result<u64, Failure> {
        let host = self.http.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(host).map_err(|e| failed("ask the relay", e))?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| failed("ask the relay", e))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .map_err(|e| failed("ask the relay", e))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|e| failed("hear the relay's figures", e))?;
        let line = answer.lines().find(|line| line.split_whitespace().next() == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        value.map(|v| v as u64).ok_or(format!("the relay has no figure '{name}'"))
    }

    /// Whether the longest of these lines stands in one of its files.
    pub(crate) fn holds_plaintext(&self, lines: &[String]) -> Result<bool, Failure> {
        let needle = lines.iter().max_by_key(|line| line.len()).map(String::as_bytes).unwrap_or_default();
        for entry in std::fs::read_dir(&self.data).map_err(|e| failed("look at the relay's files", e))? {
            let path = entry.map_err(|e| failed("look at the relay's files", e))?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(|e| failed("read a file of the relay", e))?;
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        run_program(&mut program("kill", &["-TERM", &self.running.child().id().to_string()]))?;
        let status = self.running.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the relay ended with {status}")) }
    }
}
