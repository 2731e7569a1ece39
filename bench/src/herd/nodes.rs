//! Devices that push without a pause at two relays over one PostgreSQL, of which one after the other is killed: what is lost, what
//! comes twice.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use iroh::{Endpoint, EndpointAddr};
use serde::{Deserialize, Serialize};
use sync_types::Opaque;
use sync_types::envelope::Envelope;
use sync_types::frame::{Entry, EntryKind, FromRelay, ToRelay};
use tokio::task::JoinSet;

use super::session::{Device, Ended, SEALED, Session, backoff, pair, within};
use super::{PROCESSES, endpoint_of};
use crate::process::{Process, RelayProcess};
use crate::stats::text;
use crate::{Outcome, quic};

/// How often each device pushes.
const EVERY: Duration = Duration::from_millis(500);
/// How often a relay is killed.
const KILL: Duration = Duration::from_secs(5);
/// How long one try to connect may take, as in a client, and one to attach.
const CONNECT: Duration = Duration::from_secs(10);
const ATTACH: Duration = Duration::from_secs(30);
/// How long all may take to arrive after the last push.
const PATIENCE: Duration = Duration::from_secs(120);
/// Both relays answer under one key.
const SECRET: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// What a process's devices have seen.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pushed: u64,
    arrived: u64,
    lost: u64,
    twice: u64,
    /// What the relays refused, and how often; connections that broke or did not come about.
    ended: BTreeMap<String, u64>,
    /// How often a device went to the other relay.
    moved: u64,
    /// The longest that a device was without a session, in milliseconds.
    away_ms: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let away = text(Duration::from_millis(self.away_ms));
        write!(
            f,
            "pushed {}, arrived {}, lost {}, twice {}; without a session for {away} at most; sessions ended: {:?}",
            self.pushed, self.arrived, self.lost, self.twice, self.ended
        )
    }
}

impl Seen {
    /// Whether each arrived, once.
    pub(super) fn is_whole(&self) -> bool {
        self.lost + self.twice == 0 && self.arrived == self.pushed
    }

    fn add(&mut self, other: &Self) {
        self.pushed += other.pushed;
        self.arrived += other.arrived;
        self.lost += other.lost;
        self.twice += other.twice;
        for (why, times) in &other.ended {
            *self.ended.entry(why.clone()).or_default() += times;
        }
        self.moved += other.moved;
        self.away_ms = self.away_ms.max(other.away_ms);
    }
}

/// What the relays are run by.
pub(crate) struct Programs {
    pub(crate) present: PathBuf,
    /// What both begin as, if they are exchanged and not only killed.
    pub(crate) earlier: Option<PathBuf>,
}

/// Measures, and prints what it saw. Fails if anything was lost or came twice.
pub(crate) async fn run(programs: &Programs, folder: &Path, store: &str, devices: usize, seconds: u64) -> Outcome<()> {
    let data = [folder.join("first"), folder.join("second")];
    let arguments = ["--store", store, "--max-connections-per-ip", "10000"];
    let start = async |program: &Path, n: usize, listen: &str| {
        RelayProcess::start_as(program, &data[n], listen, &arguments, &[("KSYNC_RELAY_SECRET", SECRET)]).await
    };
    let any = "127.0.0.1:0";
    let first = programs.earlier.as_ref().unwrap_or(&programs.present);
    let mut relays = [Some(start(first, 0, any).await?), Some(start(first, 1, any).await?)];
    let addresses = relays.each_ref().map(|relay| relay.as_ref().map(|r| r.address.clone()).unwrap_or_default());
    let (pairs, time) = ((devices / 2 / PROCESSES).to_string(), seconds.to_string());
    let mut holding = Vec::new();
    for _ in 0..PROCESSES {
        holding.push(Process::helper(&["pushers", &addresses[0], &addresses[1], &pairs, &time])?);
    }
    for process in &mut holding {
        process.line().await?;
    }
    println!("{devices} devices at two relays push every {} ms for {seconds} s", EVERY.as_millis());
    let (until, mut kills) = (Instant::now() + Duration::from_secs(seconds), 0);
    loop {
        // Of two that are exchanged, the second one stays beside the new one for as long as it can.
        let wait = match (&programs.earlier, kills) {
            (Some(_), 1) => until.saturating_duration_since(Instant::now()).saturating_sub(2 * KILL),
            (Some(_), 2) => break,
            _ => KILL,
        };
        if Instant::now() + wait >= until {
            break;
        }
        tokio::time::sleep(wait).await;
        let n = kills % 2;
        if let Some(relay) = relays[n].take() {
            relay.process.stop().await?;
        }
        kills += 1;
        let listen = addresses[n].rsplit_once('@').ok_or("no address")?.1;
        relays[n] = Some(start(&programs.present, n, listen).await?);
    }
    let mut all = Seen::default();
    for mut process in holding {
        all.add(&serde_json::from_str(&process.line().await?)?);
        process.stop().await?;
    }
    let exchanged =
        if programs.earlier.is_some() { ", and the present one put in the place of an earlier one" } else { "" };
    println!("  a relay was killed with SIGKILL {kills} times, one after the other{exchanged}");
    println!("  {all}; devices went to the other relay {} times", all.moved);
    for relay in relays.into_iter().flatten() {
        relay.process.terminate().await?;
    }
    if all.is_whole() { Ok(()) } else { Err("not each arrived once".into()) }
}

/// One of the processes: says `ready`, and what its devices have seen when all has arrived.
pub(crate) async fn pushers(relays: [&str; 2], pairs: usize, seconds: u64) -> Outcome<()> {
    let relays = [endpoint_of(relays[0])?, endpoint_of(relays[1])?];
    let mut held = Vec::new();
    for _ in 0..pairs {
        held.push(pair(&relays[0]).await?.map(|(device, endpoint, session)| {
            session.end();
            (device, endpoint)
        }));
    }
    println!("ready");
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut pushing = JoinSet::new();
    for [(first, one), (second, other)] in held {
        let sealed = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
        let [a, b] = sealed;
        pushing.spawn(Pusher::new(first, [a.clone(), b.clone()]).run(one, relays.clone(), 0, until));
        pushing.spawn(Pusher::new(second, [b, a]).run(other, relays.clone(), 1, until));
    }
    let mut all = Seen::default();
    while let Some(seen) = pushing.join_next().await {
        all.add(&seen??);
    }
    println!("{}", serde_json::to_string(&all)?);
    std::future::pending().await
}

/// A device that pushes, and counts what comes from the other one of its group.
struct Pusher {
    device: Device,
    /// What the relay has not accepted, with its number.
    waiting: VecDeque<(u64, Opaque)>,
    /// How much this one and the other one have sealed.
    sealed: [Arc<AtomicU64>; 2],
    /// Up to which number of the other one everything came.
    had: u64,
    seen: Seen,
}

impl Pusher {
    fn new(device: Device, sealed: [Arc<AtomicU64>; 2]) -> Self {
        Self { device, waiting: VecDeque::new(), sealed, had: 0, seen: Seen::default() }
    }

    async fn run(
        mut self,
        endpoint: Endpoint,
        relays: [EndpointAddr; 2],
        mut at: usize,
        until: Instant,
    ) -> Outcome<Seen> {
        // One for each relay: both have one key, and iroh sends the first packets for a key to each of its addresses at once, where
        // two relays answer and the handshake may stall.
        let endpoints = [endpoint, quic::endpoint().await?];
        let (mut failures, mut left) = (0, Instant::now());
        loop {
            if Instant::now() > until + PATIENCE {
                self.say_what_is_missing(failures, left.elapsed());
                return Ok(self.seen);
            }
            failures += 1;
            let connected = within(Instant::now() + CONNECT, Session::connect(&endpoints[at], &relays[at])).await;
            if let Some(mut session) = self.count_end("connecting", connected) {
                let resumed = within(Instant::now() + ATTACH, self.resume(&mut session)).await;
                if self.count_end("attaching", resumed).is_some() {
                    self.seen.away_ms = self.seen.away_ms.max(u64::try_from(left.elapsed().as_millis())?);
                    if self.work(&mut session, until).await? {
                        session.end();
                        return Ok(self.seen);
                    }
                    (failures, left) = (0, Instant::now());
                }
                session.end();
            }
            at = 1 - at;
            self.seen.moved += 1;
            tokio::time::sleep(backoff(failures, Duration::ZERO)?).await;
        }
    }

    /// Counts why something did not come about.
    fn count_end<T>(&mut self, what: &str, done: Option<Result<T, Ended>>) -> Option<T> {
        let why = match done {
            Some(Ok(done)) => return Some(done),
            Some(Err(Ended::Refused(code, _))) => code.to_string(),
            Some(Err(Ended::Lost)) => format!("{what} lost"),
            None => format!("{what} too slow"),
        };
        *self.seen.ended.entry(why).or_default() += 1;
        None
    }

    /// Attaches, and pushes again what the relay does not have.
    async fn resume(&mut self, session: &mut Session) -> Result<(), Ended> {
        let accepted = self.device.attach(session).await?.head.map_or(0, |head| head.seq);
        self.waiting.retain(|(seq, _)| *seq > accepted);
        for (_, envelope) in &self.waiting {
            session.send(&ToRelay::Push(vec![envelope.clone()])).await?;
        }
        Ok(())
    }

    /// Pushes and counts until the session ends. Says whether everything has been pushed and has arrived.
    async fn work(&mut self, session: &mut Session, until: Instant) -> Outcome<bool> {
        let mut frames = session.frames()?;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(Ok(FromRelay::Deliver(entries))) => {
                        entries.iter().for_each(|entry| self.count(entry));
                        if session.acknowledge(self.device.stored).await.is_err() {
                            return Ok(false);
                        }
                    }
                    Some(Ok(FromRelay::Accepted(to))) => self.waiting.retain(|(seq, _)| *seq > to),
                    Some(Ok(_)) => {}
                    Some(Err(why)) => {
                        let _: Option<()> = self.count_end("pushing", Some(Err(why)));
                        return Ok(false);
                    }
                    None => return Ok(false),
                },
                _ = ticks.tick() => {
                    if Instant::now() < until {
                        let envelope = self.device.seal(SEALED);
                        self.seen.pushed += 1;
                        self.sealed[0].store(self.seen.pushed, Ordering::SeqCst);
                        self.waiting.push_back((self.seen.pushed, envelope.clone()));
                        if session.send(&ToRelay::Push(vec![envelope])).await.is_err() {
                            return Ok(false);
                        }
                    } else if Instant::now() > until + 2 * EVERY && self.waiting.is_empty() && self.had >= self.sealed[1].load(Ordering::SeqCst) {
                        return Ok(true);
                    } else if Instant::now() > until + PATIENCE {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn say_what_is_missing(&self, failures: u32, away: Duration) {
        let (had, sealed) = (self.had, self.sealed[1].load(Ordering::SeqCst));
        eprintln!(
            "a device gave up: {} not accepted, {had} of {sealed} arrived up to cursor {}; {failures} tries since it had a session {} ago",
            self.waiting.len(),
            self.device.stored,
            text(away)
        );
    }

    fn count(&mut self, entry: &Entry) {
        self.device.stored = self.device.stored.max(entry.cursor);
        if entry.kind != EntryKind::Envelope {
            return;
        }
        let Ok(envelope) = Envelope::parse(&entry.bytes) else { return };
        let seq = envelope.header.seq;
        self.seen.arrived += 1;
        if seq <= self.had {
            self.seen.twice += 1;
        } else {
            if seq > self.had + 1 {
                eprintln!("numbers {} to {} did not come, before cursor {}", self.had + 1, seq - 1, entry.cursor);
            }
            self.seen.lost += seq - self.had - 1;
            self.had = seq;
        }
    }
}
