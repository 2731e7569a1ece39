//! A PostgreSQL server for whatever runs several relays.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Running, program, run as run_program};
use crate::{Failure, failed, setup};

/// A PostgreSQL server that is stopped when this is dropped.
pub(crate) struct Database {
    running: Running,
    pub(crate) url: String,
}

impl Database {
    /// Starts one; its log lies in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Failure> {
        let home = tempfile::tempdir().map_err(|e| failed("make a folder for the database", e))?.keep();
        let data = home.join("data");
        // PostgreSQL refuses to run as root.
        let script = format!(
            "set -e; P=$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres | tail -1); D=$(dirname $P); \
             $D/initdb --auth=trust --no-sync -U tester -D {data} > {home}/initdb.log; \
             exec $D/postgres -D {data} -k {home} -c listen_addresses= 2>&1",
            data = data.display(),
            home = home.display()
        );
        let as_root = setup::is_root();
        if as_root {
            run_program(&mut program("chown", &["nobody", &home.display().to_string()]))?;
        }
        let mut command = if as_root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash", "-c", &script]);
            command
        } else {
            let mut command = Command::new("bash");
            command.args(["-c", &script]);
            command
        };
        let mut running = Running::start(command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(running.child().stdout.take().ok_or("PostgreSQL has no output")?).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("ready to accept connections")) {
            match lines.next() {
                Some(Ok(line)) => said.push(line),
                _ => return Err(format!("PostgreSQL does not start:\n{}", said.join("\n"))),
            }
        }
        let log = folder.join("postgres.log");
        std::thread::spawn(move || {
            let mut log = std::fs::File::create(log).ok()?;
            lines.map_while(Result::ok).try_for_each(|line| writeln!(log, "{line}")).ok()
        });
        let url = format!("postgres://tester@localhost/postgres?host={}", home.display());
        Ok(Self { running, url })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // At once and in order; killed, it would leave processes.
        let _ = run_program(&mut program("kill", &["-INT", &self.running.child().id().to_string()]));
        let _ = self.running.wait();
    }
}
