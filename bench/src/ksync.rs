//! Devices as people have them: homes, and the program `ksync` that works in one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::process::{command, cpu_of, peak_memory_of};
use crate::{Outcome, devices::PATIENCE};

/// How often what a process costs is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a process took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// The most memory that it had in use, in bytes.
    pub(crate) peak: u64,
    /// Its processor time, in seconds.
    pub(crate) cpu: f64,
    /// From its start to its end.
    pub(crate) took: Duration,
}

/// A command that has come to its end.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What it told before it failed, if it did.
    pub(crate) events: Vec<Value>,
    /// The error that it told, as code and message.
    pub(crate) error: Option<(String, String)>,
    pub(crate) cost: Cost,
}

impl Ran {
    /// What it told, if it did what it was asked.
    pub(crate) fn well(self) -> Outcome<Self> {
        match &self.error {
            None => Ok(self),
            Some((code, message)) => Err(format!("ksync: {code}: {message}").into()),
        }
    }

    /// A field of the first event of this name.
    pub(crate) fn field(&self, event: &str, field: &str) -> Outcome<String> {
        let found = self.events.iter().find(|told| told["event"] == event);
        let text = found.and_then(|told| told[field].as_str()).map(str::to_owned);
        Ok(text.ok_or_else(|| format!("ksync told no {field} of {event}"))?)
    }
}

/// A device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) program: PathBuf,
    pub(crate) home: PathBuf,
    /// What stands before the program: a way into a network namespace.
    pub(crate) through: Vec<String>,
    /// What the program is told besides.
    pub(crate) variables: &'static [(&'static str, &'static str)],
}

impl Device {
    pub(crate) fn new(program: &Path, home: PathBuf) -> Self {
        Self { program: program.to_owned(), home, through: Vec::new(), variables: &[] }
    }

    /// Where its sealed content lies.
    pub(crate) fn content(&self) -> PathBuf {
        self.home.join("content")
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = command(&self.through, &self.program);
        command.arg("--home").arg(&self.home).arg("--json").args(arguments);
        command.env("KSYNC_LISTEN", "127.0.0.1:0").env("KSYNC_TIMEOUT", PATIENCE.as_secs().to_string());
        command.envs(self.variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end, whatever that is, within this time.
    pub(crate) async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        within: Duration,
    ) -> Outcome<Ran> {
        self.run_in(Path::new("."), arguments, within).await
    }

    /// The same in this folder.
    pub(crate) async fn run_in<A: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
        within: Duration,
    ) -> Outcome<Ran> {
        let mut command = self.command(arguments);
        command.current_dir(folder);
        let (out, _, cost) = run(&mut command, within).await?;
        let mut ran = Ran { events: Vec::new(), error: None, cost };
        for line in out.lines() {
            let event: Value = serde_json::from_str(line)?;
            if event["event"] == "error" {
                let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
                ran.error = Some((text("code"), text("message")));
            } else {
                ran.events.push(event);
            }
        }
        Ok(ran)
    }

    /// Runs a command that has to succeed.
    pub(crate) async fn call<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome<Ran> {
        self.run(arguments, 5 * PATIENCE).await?.well()
    }

    /// Starts a command that is talked to.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome<Talk> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("ksync has no standard input")?;
        let lines = BufReader::new(child.stdout.take().ok_or("ksync has no standard output")?).lines();
        Ok(Talk { child, input, lines })
    }
}

/// Runs a program to its end, and says what it wrote to standard output, whether it succeeded, and what it took. One that takes
/// longer than that is killed.
pub(crate) async fn run(command: &mut Command, within: Duration) -> Outcome<(String, bool, Cost)> {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdout = child.stdout.take().ok_or("a process without standard output")?;
    let id = child.id().ok_or("the process is gone")?.to_string();
    let (mut out, mut cost) = (String::new(), Cost::default());
    let reading = async {
        stdout.read_to_string(&mut out).await?;
        child.wait().await
    };
    let status = tokio::select! {
        status = timeout(within, reading) => status.map_err(|_| format!("it did not end within {} s", within.as_secs()))??,
        () = watch(&id, &mut cost) => return Err("nobody waits for that".into()),
    };
    cost.took = began.elapsed();
    Ok((out, status.success(), cost))
}

/// Looks at what a process takes for as long as it is asked. What it took since the last look is not seen.
async fn watch(id: &str, cost: &mut Cost) {
    loop {
        cost.peak = cost.peak.max(peak_memory_of(id).unwrap_or_default());
        cost.cpu = cost.cpu.max(cpu_of(id).unwrap_or_default());
        sleep(LOOK).await;
    }
}

/// A running `ksync` that is talked to. It is killed when this is dropped.
pub(crate) struct Talk {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    /// The next event; `None` once it has ended.
    pub(crate) async fn event(&mut self) -> Outcome<Option<Value>> {
        let Some(line) = self.lines.next_line().await? else { return Ok(None) };
        let event: Value = serde_json::from_str(&line)?;
        match event["event"].as_str() {
            Some("error") => Err(format!("ksync: {}: {}", event["code"], event["message"]).into()),
            _ => Ok(Some(event)),
        }
    }

    /// The next event of this name.
    pub(crate) async fn until(&mut self, name: &str) -> Outcome<Value> {
        let looked = timeout(PATIENCE, async {
            loop {
                match self.event().await? {
                    Some(event) if event["event"] == name => return Ok(event),
                    Some(_) => {}
                    None => return Err(format!("ksync ended before it said '{name}'").into()),
                }
            }
        });
        looked.await.unwrap_or_else(|_| Err(format!("ksync did not say '{name}' within {PATIENCE:?}").into()))
    }

    async fn type_line(&mut self, line: &str) -> Outcome<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends it as Ctrl-C does, and waits.
    pub(crate) async fn interrupt(mut self) -> Outcome<()> {
        let id = self.child.id().ok_or("the process is gone")?.to_string();
        Command::new("kill").args(["-INT", &id]).status().await?;
        timeout(PATIENCE, self.child.wait()).await.map_err(|_| "ksync does not end")??;
        Ok(())
    }

    /// Ends it as Ctrl-C does, and says how many seconds of a processor it took until then.
    pub(crate) async fn cost(self) -> Outcome<f64> {
        let cpu = cpu_of(&self.child.id().ok_or("the process is gone")?.to_string())?;
        self.interrupt().await?;
        Ok(cpu)
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn finish(&mut self) -> Outcome<()> {
        let over = timeout(PATIENCE, async {
            while self.event().await?.is_some() {}
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(self.child.wait().await?)
        });
        let status = over.await.map_err(|_| "ksync does not end")??;
        if status.success() { Ok(()) } else { Err(format!("ksync ended with {status}").into()) }
    }
}

/// Two devices that are paired over this relay.
pub(crate) async fn pair(program: &Path, folder: &Path, relay: &str) -> Outcome<(Device, Device)> {
    let [laptop, phone] = ["laptop", "phone"].map(|name| Device::new(program, folder.join(name)));
    pair_these(&laptop, &phone, relay).await?;
    Ok((laptop, phone))
}

/// Pairs these: a person carries the four digits across.
pub(crate) async fn pair_these(laptop: &Device, phone: &Device, relay: &str) -> Outcome<()> {
    laptop.call(["init", "--name", "Laptop", "--relay", relay]).await?;
    let mut invite = laptop.start(["invite"])?;
    let uri = invite.until("invite").await?["uri"].as_str().ok_or("the invite has no link")?.to_owned();
    let mut join = phone.start(["join", &uri, "--name", "Phone"])?;
    let code = join.until("check").await?["code"].as_str().ok_or("there is no check code")?.to_owned();
    invite.until("request").await?;
    invite.type_line(&code).await?;
    join.until("joined").await?;
    join.finish().await?;
    invite.finish().await
}
