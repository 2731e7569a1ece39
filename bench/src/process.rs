//! Processes that are measured: the relay, and whatever holds many devices.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::Outcome;

/// A process that says in lines how far it is. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// One behind what leads into its network, with variables of its own.
    pub(crate) fn start_through(
        through: &[String],
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Outcome<Self> {
        let mut child = command(through, program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        let stdout = child.stdout.take().ok_or("a process without standard output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Another of this program, in another role.
    pub(crate) fn helper(arguments: &[&str]) -> Outcome<Self> {
        Self::helper_through(&[], arguments)
    }

    /// The same in another network.
    pub(crate) fn helper_through(through: &[String], arguments: &[&str]) -> Outcome<Self> {
        Self::start_through(through, &std::env::current_exe()?, arguments, &[])
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> Outcome<String> {
        Ok(self.lines.next_line().await?.ok_or("a process ended before it was ready")?)
    }

    /// How much memory it has in use, in bytes (`VmRSS`).
    pub(crate) fn memory(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    /// How much it has had in use at most, in bytes (`VmHWM`).
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Outcome<u64> {
        status_of(&self.child.id().ok_or("the process is gone")?.to_string(), field)
    }

    /// How much processor time it has used, in seconds.
    pub(crate) fn cpu(&self) -> Outcome<f64> {
        let id = self.child.id().ok_or("the process is gone")?;
        cpu_of(&id.to_string())
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, name: &str) -> Outcome<()> {
        let id = self.child.id().ok_or("the process is gone")?.to_string();
        Command::new("kill").args([&format!("-{name}"), &id]).status().await?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(mut self) -> Outcome<()> {
        self.signal("TERM").await?;
        self.child.wait().await?;
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// A program to run, behind what leads into its network.
pub(crate) fn command(through: &[String], program: impl AsRef<OsStr>) -> Command {
    match through {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// How much memory a process has had in use at most, in bytes (`VmHWM`).
pub(crate) fn peak_memory_of(process: &str) -> Outcome<u64> {
    status_of(process, "VmHWM:")
}

fn status_of(process: &str, field: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// How much processor time a process has used, in seconds.
pub(crate) fn cpu_of(process: &str) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // USER_HZ is 100 on every Linux.
    Ok(ticks / 100.0)
}

/// A relay, `sync-relay serve`, on SQLite and loopback.
pub(crate) struct RelayProcess {
    pub(crate) process: Process,
    pub(crate) address: String,
    http: String,
}

impl RelayProcess {
    pub(crate) async fn start(program: &Path, data: &Path) -> Outcome<Self> {
        Self::start_with(program, data, "127.0.0.1:0", &[]).await
    }

    /// One that devices reach at this socket, with more arguments.
    pub(crate) async fn start_with(program: &Path, data: &Path, listen: &str, more: &[&str]) -> Outcome<Self> {
        Self::start_as(program, data, listen, more, &[]).await
    }

    /// The same with variables of its own.
    pub(crate) async fn start_as(
        program: &Path,
        data: &Path,
        listen: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Outcome<Self> {
        Self::start_through(&[], program, data, (listen, more), variables).await
    }

    /// The same behind what leads into its network.
    pub(crate) async fn start_through(
        through: &[String],
        program: &Path,
        data: &Path,
        (listen, more): (&str, &[&str]),
        variables: &[(&str, &str)],
    ) -> Outcome<Self> {
        let data = data.to_str().ok_or("the folder's name is not UTF-8")?;
        let arguments = ["serve", "--data", data, "--listen", listen, "--http", "127.0.0.1:0"];
        let mut process = Process::start_through(through, program, &[&arguments, more].concat(), variables)?;
        let ready: serde_json::Value = serde_json::from_str(&process.line().await?)?;
        let address = ready["address"].as_str().ok_or("the relay said no address")?.to_owned();
        let http = ready["http"].as_str().and_then(|url| url.strip_prefix("http://")).ok_or("the relay has no HTTP")?;
        let http = http.trim_end_matches('/').to_owned();
        Ok(Self { process, address, http })
    }

    /// Where it answers HTTP, as `host:port`.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// How many bytes of envelopes it has accepted.
    pub(crate) async fn accepted_bytes(&self) -> Outcome<f64> {
        self.metric("ksync_accepted_bytes_total").await
    }

    /// What one of its metrics says that has no label.
    pub(crate) async fn metric(&self, name: &str) -> Outcome<f64> {
        let mut stream = TcpStream::connect(&self.http).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("the relay does not say {name}"))?.trim().parse()?)
    }
}
