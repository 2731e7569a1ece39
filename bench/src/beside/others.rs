//! The same by programs that others use for it: `sendme`, which hands a file from one machine to the other over iroh, and Magic
//! Wormhole, which does over TCP.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Figures, Place, with_first};
use crate::process::{Process, command, cpu_of};
use crate::{Outcome, files, ksync};

/// What leads to nobody but the two: no host of others is asked for anything.
const SENDME: [&str; 3] = ["--relay", "disabled", "--no-progress"];
/// What both sides of a wormhole know.
const CODE: &str = "7-loopback-benchmark";
const MAILBOX: u16 = 4_000;
const TRANSIT: u16 = 4_001;

/// Folders for the two sides, that go when this is dropped.
struct Sides {
    room: TempDir,
}

impl Sides {
    fn of(place: &Place<'_>, name: &str) -> Outcome<Self> {
        let room = place.room(name)?;
        for side in ["sender", "receiver"] {
            std::fs::create_dir(room.path().join(side))?;
        }
        Ok(Self { room })
    }

    fn sender(&self) -> PathBuf {
        self.room.path().join("sender")
    }

    fn receiver(&self) -> PathBuf {
        self.room.path().join("receiver")
    }
}

/// Whether a file is what was given, or a folder holds as much as the other.
fn arrived(given: &Path, got: &Path) -> Outcome<()> {
    let well = if given.is_dir() {
        std::fs::read_dir(given)?.count() == std::fs::read_dir(got)?.count()
    } else {
        files::same(given, got)?
    };
    if well { Ok(()) } else { Err("what came is not what was sent".into()) }
}

/// `sendme send`, until it has told its ticket.
async fn offered(place: &Place<'_>, program: &Path, given: &Path, folder: &Path) -> Outcome<(Child, String)> {
    let mut sending = command(&place.through(0), program);
    sending.arg("send").args(SENDME).args(["--ticket-type", "addresses"]).arg(given).current_dir(folder);
    sending.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = sending.spawn().map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("a process without standard output")?).lines();
    let telling = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(ticket) = line.strip_prefix("sendme receive ") {
                return Ok(ticket.trim().to_owned());
            }
        }
        Err::<_, Box<dyn std::error::Error + Send + Sync>>("sendme ended without a ticket".into())
    };
    let ticket = timeout(place.bound, telling).await.map_err(|_| "sendme told no ticket")??;
    Ok((child, ticket))
}

/// A file or a folder by `sendme`.
pub(super) async fn sendme(place: &Place<'_>, program: &Path, given: &Path) -> Outcome<Figures> {
    let sides = Sides::of(place, "sendme")?;
    let began = Instant::now();
    let (mut sender, ticket) = offered(place, program, given, &sides.sender()).await?;
    let prepare = began.elapsed();
    let mut receiving = command(&place.through(place.far), program);
    receiving.arg("receive").args(SENDME).arg(&ticket).current_dir(sides.receiver());
    receiving.stdin(Stdio::null()).stderr(Stdio::null());
    let folder = sides.receiver();
    let (received, first) = with_first(ksync::run(&mut receiving, place.bound), &folder).await;
    let (_, well, cost) = received?;
    let id = sender.id().ok_or("sendme is gone")?.to_string();
    let sent = cpu_of(&id)?;
    sender.kill().await?;
    if !well {
        return Err("sendme did not receive it".into());
    }
    arrived(given, &sides.receiver().join(given.file_name().ok_or("a file without a name")?))?;
    Ok(Figures { prepare, receive: cost.took, first, total: prepare + cost.took, cpu: [sent, 0.0, cost.cpu] })
}

/// A file or a folder by Magic Wormhole, whose two servers run on the far side. Both ends start at once.
pub(super) async fn wormhole(place: &Place<'_>, programs: &Path, given: &Path) -> Outcome<Figures> {
    let sides = Sides::of(place, "wormhole")?;
    let room = sides.room.path();
    let at = place.address(place.far);
    let server = |name: &str, port: u16| -> Outcome<Process> {
        let log = room.join(format!("{name}.log"));
        let log = log.to_str().ok_or("the folder's name is not UTF-8")?;
        let endpoint = format!("tcp:{port}:interface={at}");
        let state = room.join("mailbox.sqlite").display().to_string();
        let mut arguments = vec!["--log-file", log, name, "--port", &endpoint];
        if name == "wormhole-mailbox" {
            arguments.extend(["--channel-db", &state]);
        }
        Process::start_through(&place.through(place.far), &programs.join("twist"), &arguments, &[])
    };
    let servers = [server("wormhole-mailbox", MAILBOX)?, server("transitrelay", TRANSIT)?];
    for name in ["wormhole-mailbox", "transitrelay"] {
        listens(&room.join(format!("{name}.log"))).await?;
    }
    let servers_cpu = || servers.iter().map(Process::cpu).sum::<Outcome<f64>>();
    let before = servers_cpu()?;
    let wormhole = |side: usize, folder: PathBuf| -> Command {
        let mut command = command(&place.through(side), programs.join("wormhole"));
        command.args(["--relay-url", &format!("ws://{at}:{MAILBOX}/v1")]);
        command.args(["--transit-helper", &format!("tcp:{at}:{TRANSIT}")]);
        command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut sending = wormhole(0, sides.sender());
    sending.args(["send", "--hide-progress", "--no-qr", "--code", CODE]).arg(given);
    let mut receiving = wormhole(place.far, sides.receiver());
    receiving.args(["receive", "--hide-progress", "--accept-file", CODE]);
    let (began, folder) = (Instant::now(), sides.receiver());
    let receiving = with_first(ksync::run(&mut receiving, place.bound), &folder);
    let (sent, (received, first)) = tokio::join!(ksync::run(&mut sending, place.bound), receiving);
    let ((_, sent_well, sent), (_, well, received)) = (sent?, received?);
    if !(sent_well && well) {
        return Err("wormhole did not carry it".into());
    }
    let total = began.elapsed();
    arrived(given, &sides.receiver().join(given.file_name().ok_or("a file without a name")?))?;
    Ok(Figures {
        prepare: Duration::ZERO,
        receive: total,
        first,
        total,
        cpu: [sent.cpu, servers_cpu()? - before, received.cpu],
    })
}

/// Waits until a server of Twisted's says in its log that it listens.
async fn listens(log: &Path) -> Outcome<()> {
    let looking = async {
        while !std::fs::read_to_string(log).unwrap_or_default().contains("starting on") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(timeout(Duration::from_secs(30), looking)
        .await
        .map_err(|_| format!("no server listens: see {}", log.display()))?)
}
