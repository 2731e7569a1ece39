//! The engines of a world: each runs the real device over a simulated disk, in the order of calls that the core asks for,
//! and may die at every step of it.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sync_core::store::Key;
use sync_core::{Device, Event, Joining, NewDevice, Outcome, Setting};
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, GroupId, Suite};

use super::{Ev, SECOND, World};
use crate::crypto::InsecureCrypto;
use crate::disk::Disk;
use crate::mutation::Mutation;
use crate::relay::ConnId;

/// What a device's process is at the moment.
pub(super) enum Life {
    /// Not running.
    Down,
    /// Running, in no group.
    Bare,
    Member(Box<Device<InsecureCrypto>>),
    Newcomer(Box<Joining<InsecureCrypto>>),
}

/// Where a device dies in its next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    BeforeCommit,
    AfterCommit,
    WhileSending,
}

/// One physical device.
pub(super) struct Host {
    pub(super) life: Life,
    pub(super) crypto: InsecureCrypto,
    rng: ChaCha8Rng,
    pub(super) disk: Disk,
    /// The disk before its last transaction, for a planted bug.
    older: Option<Disk>,
    /// A copy of the disk, with whom the device was then.
    pub(super) image: Option<(DeviceId, Disk)>,
    /// Whether its disk was ever set back to a copy.
    pub(super) set_back: bool,
    /// Whether it has taken a new key.
    pub(super) rekeyed: bool,
    pub(super) conn: Option<ConnId>,
    timer: u64,
    timer_at: u64,
    spins: u64,
    pub(super) armed: Option<Death>,
    counts: [u64; Outcome::ALL.len()],
    /// Counts starts, so that a pairing notices that the process is another.
    pub(super) boot: u64,
    /// Stays away from the relay until then.
    pub(super) away_until: u64,
    /// Was away for longer than anything is kept for it, and has not fetched all of that yet.
    pub(super) late: bool,
    pub(super) leaving: bool,
    /// Somebody wants it out of the group.
    pub(super) doomed: bool,
    /// It knows nobody in its group any more, and somebody removes it.
    pub(super) beyond_return: bool,
    /// Its keys were tampered with: what it writes nobody reads, and the reverse.
    pub(super) sabotaged: bool,
    /// Whether its disk runs twice, or did.
    pub(super) cloned: bool,
    pub(super) pairing: bool,
    /// Every id that the device has in its group, by itself when it runs, by its disk when not.
    pub(super) last_id: Option<DeviceId>,
    pub(super) last_group: Option<GroupId>,
}

impl Host {
    pub(super) fn device(&self) -> Option<&Device<InsecureCrypto>> {
        match &self.life {
            Life::Member(device) => Some(device),
            _ => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        !matches!(self.life, Life::Down)
    }

    pub(super) fn device_id(&self) -> Option<DeviceId> {
        self.last_id
    }

    /// Whether it joins a group at the moment.
    pub(super) fn is_busy(&self) -> bool {
        self.disk.state.contains_key(&Key::Joining)
    }

    pub(super) fn wants_connection(&self) -> bool {
        matches!(self.life, Life::Member(_) | Life::Newcomer(_))
    }

    /// A member in good standing.
    pub(super) fn active(&self) -> Option<&Device<InsecureCrypto>> {
        self.device().filter(|d| !d.is_removed() && d.status().halted.is_none())
    }
}

impl World {
    pub(super) fn add_host(&mut self) -> usize {
        let (crypto, rng) =
            (InsecureCrypto::from_seed(self.dice.number()), ChaCha8Rng::seed_from_u64(self.dice.number()));
        self.hosts.push(Host {
            life: Life::Bare,
            crypto,
            rng,
            disk: Disk::new(self.mutation),
            older: None,
            image: None,
            set_back: false,
            rekeyed: false,
            conn: None,
            timer: 0,
            timer_at: u64::MAX,
            spins: 0,
            armed: None,
            counts: [0; Outcome::ALL.len()],
            boot: 0,
            away_until: 0,
            late: false,
            leaving: false,
            doomed: false,
            beyond_return: false,
            sabotaged: false,
            cloned: false,
            pairing: false,
            last_id: None,
            last_group: None,
        });
        self.hosts.len() - 1
    }

    /// The device makes a group of its own.
    pub(super) fn found(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        let settings = Settings { app_id: b"sim".to_vec(), ..Settings::default() };
        let new = NewDevice { name: format!("device {host}"), suite: Suite::FOUNDED, settings };
        match Device::found(new, h.crypto.clone(), now, &mut h.rng) {
            Ok(device) => self.became(host, device),
            Err(error) => self.fail("core", format!("founding fails: {error}")),
        }
        self.after(1, Ev::Connect(host));
    }

    /// The process goes on as this device, whose first writes are still to be made durable.
    pub(super) fn became(&mut self, host: usize, device: Device<InsecureCrypto>) {
        let h = &mut self.hosts[host];
        (h.last_id, h.last_group) = (Some(device.id()), Some(device.group()));
        h.counts = device.outcome_counts();
        h.life = Life::Member(Box::new(device));
        self.note(|w| format!("device {host} is {:?} in {:?}", w.hosts[host].last_id, w.hosts[host].last_group));
        self.settle(host);
    }

    /// Calls the device, then makes durable and sends what came of it.
    pub(super) fn drive(&mut self, host: usize, call: impl FnOnce(&mut Device<InsecureCrypto>, u64, &mut ChaCha8Rng)) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if let Life::Member(device) = &mut h.life {
            call(device, now, &mut h.rng);
            self.settle(host);
        }
    }

    /// One transaction: reads, writes, commit; then frames and events. Dies on the way if that is planned.
    pub(super) fn settle(&mut self, host: usize) {
        let now = self.now;
        if !self.quiet && self.hosts[host].armed.is_none() && self.dice.chance(self.weather.crash) {
            self.hosts[host].armed =
                self.dice.pick(&[Death::BeforeCommit, Death::AfterCommit, Death::WhileSending]).copied();
        }
        let h = &mut self.hosts[host];
        let Life::Member(device) = &mut h.life else { return };
        let before = matches!(h.armed, Some(Death::BeforeCommit)) || self.mutation == Some(Mutation::CrashLosesSynced);
        let before = before.then(|| h.disk.clone());
        let early = if self.mutation == Some(Mutation::AcknowledgeEarly) { device.take_sends() } else { Vec::new() };
        let mut writes = 0;
        let mut reads = 0;
        while let Some(read) = device.next_read(now) {
            reads += 1;
            let list = device.take_writes();
            writes += list.len();
            h.disk.apply(list);
            device.handle_read(h.disk.read(&read), now, &mut h.rng);
            if reads > 10_000 {
                return self.fail("core", format!("device {host} reads without end: {read:?}"));
            }
        }
        let list = device.take_writes();
        writes += list.len();
        h.disk.apply(list);
        if self.mutation == Some(Mutation::CrashLosesSynced) && writes > 0 {
            h.older.clone_from(&before);
        }
        let death = h.armed.take_if(|_| writes > 0);
        match (death, before) {
            (Some(Death::BeforeCommit), Some(disk)) => {
                // What an early acknowledgement said is out.
                h.disk = disk;
                self.send_frames(host, early);
                self.counters.add("crash device before commit");
                return self.die(host, "before commit");
            }
            (Some(Death::AfterCommit), _) => {
                self.counters.add("crash device after commit");
                return self.die(host, "after commit");
            }
            _ => {}
        }
        let sends = device.take_sends();
        let events = device.take_events();
        self.send_frames(host, early);
        if death == Some(Death::WhileSending) {
            let count = self.dice.index(sends.len() + 1);
            self.send_frames(host, sends.into_iter().take(count).collect());
            self.counters.add("crash device while sending");
            return self.die(host, "while sending");
        }
        self.send_frames(host, sends);
        self.note_outcomes(host);
        for event in events {
            self.event(host, event);
        }
        self.set_timer(host);
    }

    fn send_frames(&mut self, host: usize, frames: Vec<ToRelay>) {
        let Some(conn) = self.hosts[host].conn else { return };
        for frame in frames {
            self.send_up(conn, &frame);
        }
    }

    /// The process is gone; its disk stays.
    pub(super) fn die(&mut self, host: usize, when: &'static str) {
        self.note(|_| format!("device {host} dies {when}"));
        if matches!(self.hosts[host].life, Life::Newcomer(_)) {
            self.counters.add("crash while joining");
        }
        self.hosts[host].life = Life::Down;
        self.hosts[host].timer += 1;
        self.hosts[host].timer_at = u64::MAX;
        if let Some(older) = self.hosts[host].older.take() {
            self.hosts[host].disk = older;
        }
        self.drop_conn(host);
        let delay =
            if self.dice.chance(800) { self.dice.between(1, 2000) } else { self.dice.between(SECOND, 60 * SECOND) };
        self.after(delay, Ev::HostStart(host));
    }

    /// The process starts and takes up what its disk holds.
    pub(super) fn host_start(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            return;
        }
        let h = &mut self.hosts[host];
        h.boot += 1;
        h.armed = None;
        if self.mutation == Some(Mutation::RetryIsNewBlob) {
            self.push_again(host);
        }
        let h = &mut self.hosts[host];
        let joining = h.disk.state.get(&Key::Joining).cloned();
        let loaded = match joining {
            Some(row) => Joining::from_bytes(&row, h.crypto.clone()).map(|j| Some(Life::Newcomer(Box::new(j)))),
            None => Device::load(h.disk.rows(), h.crypto.clone()).map(|d| d.map(|d| Life::Member(Box::new(d)))),
        };
        match loaded {
            Ok(life) => h.life = life.unwrap_or(Life::Bare),
            Err(error) => return self.fail("I9 kept", format!("device {host} cannot load its state: {error}")),
        }
        if let Life::Member(device) = &h.life {
            h.counts = device.outcome_counts();
            // It may have died between the new key and the word for it.
            h.rekeyed |= h.last_group == Some(device.group()) && h.last_id != Some(device.id());
            (h.last_id, h.last_group) = (Some(device.id()), Some(device.group()));
        }
        self.note(|_| format!("device {host} starts"));
        // It may have died before it told.
        if let Some(code) = self.hosts[host].device().and_then(|device| device.status().halted) {
            self.halted(host, code);
        }
        self.check_kept(host);
        self.settle(host);
        self.after(1, Ev::Connect(host));
    }

    /// A planted bug: what was not accepted yet goes out a second time, as a new blob.
    fn push_again(&mut self, host: usize) {
        let Some(sender) = self.hosts[host].last_id else { return };
        let h = &mut self.hosts[host];
        let again: Vec<_> =
            h.disk.log.values().filter(|r| r.sender == sender && r.seq == 0).map(|r| r.blob.clone()).collect();
        let again =
            again.into_iter().map(|blob| sync_types::body::Blob { id: sync_types::BlobId(self.dice.bytes()), ..blob });
        let again: Vec<_> = again.collect();
        self.hosts[host].disk.push(sender, again);
    }

    pub(super) fn connected(&mut self, host: usize, exporter: &[u8; 32]) {
        match &mut self.hosts[host].life {
            Life::Member(device) => {
                if let Err(error) = device.handle_connected(exporter, None) {
                    return self.fail("core", format!("device {host} cannot attach: {error}"));
                }
                self.settle(host);
            }
            Life::Newcomer(joining) => match joining.attach(exporter) {
                Ok(frame) => self.send_frames(host, vec![frame]),
                Err(error) => self.fail("core", format!("newcomer {host} cannot attach: {error}")),
            },
            Life::Down | Life::Bare => {}
        }
    }

    pub(super) fn disconnected(&mut self, host: usize) {
        if let Life::Member(device) = &mut self.hosts[host].life {
            device.handle_disconnected();
        }
        self.settle(host);
        self.reconnect(host, 0);
    }

    fn reconnect(&mut self, host: usize, retry_after_ms: u32) {
        let away = self.hosts[host].away_until.saturating_sub(self.now);
        let backoff = if self.quiet { self.dice.between(50, 500) } else { self.dice.between(20, 3000) };
        let delay = backoff.max(u64::from(retry_after_ms)).max(if self.quiet { 0 } else { away });
        self.after(delay, Ev::Connect(host));
    }

    pub(super) fn frames_arrived(&mut self, host: usize, frames: Vec<FromRelay>) {
        let now = self.now;
        for frame in frames {
            let h = &mut self.hosts[host];
            match &mut h.life {
                Life::Member(device) => {
                    let frame = skip_unreadable(self.mutation, device, &h.disk, frame);
                    let moves = self.mutation == Some(Mutation::PushMovesCursor);
                    let accepted = moves && matches!(frame, FromRelay::Accepted(_));
                    device.handle_frame(frame, now, &mut h.rng);
                    if accepted && let Some(model) = self.relay.model.get(&device.group()) {
                        device.handle_frame(FromRelay::CaughtUp(model.newest), now, &mut h.rng);
                    }
                }
                Life::Newcomer(joining) => match joining.handle_frame(&frame, now, &mut h.rng) {
                    Ok(Some(device)) => return self.joined(host, device),
                    Ok(None) => {}
                    Err(error) => {
                        let code = error.code();
                        if code == Code::Removed {
                            return self.removed_before_joining(host);
                        }
                        if !matches!(
                            code,
                            Code::NotMember | Code::UnknownGroup | Code::Internal | Code::Quota | Code::RateLimited
                        ) {
                            self.fail("core", format!("newcomer {host} cannot join: {error}"));
                        }
                        self.drop_conn(host);
                        return self.reconnect(host, 500);
                    }
                },
                Life::Down | Life::Bare => return,
            }
        }
        self.settle(host);
    }

    fn event(&mut self, host: usize, event: Event) {
        if event != Event::Arrived {
            self.note(|_| format!("device {host}: {event:?}"));
        }
        self.note_patience(host, &event);
        match event {
            Event::Disconnect { code, retry_after_ms, .. } => {
                let former = matches!(code, Code::NotMember | Code::Removed);
                if former && self.hosts[host].active().is_some() && !self.quiet_split(host) {
                    self.fail("I3 agreement", format!("device {host} is told {code} and knows of no removal"));
                }
                self.drop_conn(host);
                if let Life::Member(device) = &mut self.hosts[host].life {
                    device.handle_disconnected();
                }
                self.reconnect(host, retry_after_ms);
            }
            Event::Accepted { seq } => {
                self.check_accepted(host, seq);
                if self.mutation == Some(Mutation::ReceiptByRelay) {
                    self.check_delivered(host, seq);
                }
            }
            Event::Delivered { seq } => {
                self.counters.add("delivered");
                self.check_delivered(host, seq);
            }
            Event::KeyReplaced { old, code } => {
                self.counters.add("key replaced");
                let h = &mut self.hosts[host];
                (h.last_id, h.rekeyed) = (h.device().map(Device::id), true);
                self.note(|w| format!("device {host}, once {old:?}, is {:?} now: {code}", w.hosts[host].last_id));
                self.drop_conn(host);
                self.reconnect(host, 0);
            }
            Event::Halted { code } => self.halted(host, code),
            Event::Removed { .. } => self.counters.add(if self.hosts[host].leaving { "left" } else { "removed" }),
            Event::SettingsChanged { setting: Setting::Suite, .. } => self.counters.add("moved"),
            Event::DeviceRecovered { .. } | Event::SettingsChanged { .. } => {}
            Event::Lapsed { .. } => self.counters.add("lapsed"),
            Event::Synced => {
                self.counters.add("synced");
                if std::mem::take(&mut self.hosts[host].late) {
                    self.counters.add("synced after long absence");
                }
            }
            Event::Presence { .. } => self.counters.add("presence seen"),
            Event::CommitRejected { .. } => self.counters.add("commit rejected"),
            Event::ChangeFailed { device, .. } => {
                if let Some(newcomer) = self.newcomer_with(device) {
                    let delay = self.dice.between(1, 5000);
                    self.after(delay, Ev::GiveUp(newcomer));
                }
            }
            Event::Refused { code, .. } => self.count_refusal(code),
            _ => {}
        }
    }

    pub(super) fn count_refusal(&mut self, code: Code) {
        match code {
            Code::StaleEpoch => self.counters.add("refused STALE_EPOCH"),
            Code::StaleCut => self.counters.add("refused STALE_CUT"),
            Code::Provisional => self.counters.add("refused PROVISIONAL"),
            _ => {}
        }
    }

    fn quiet_split(&self, host: usize) -> bool {
        self.hosts[host].last_group.is_some_and(|group| self.split.contains(&group))
    }

    /// A device that stops for good has a reason, and nothing honest is one.
    fn halted(&mut self, host: usize, code: Code) {
        let group = self.hosts[host].last_group;
        let lies = group.is_some_and(|group| self.lied.contains(&group));
        match group {
            // A lie became final because nobody was there to reject it in time. That is on record; the group is over.
            Some(group) if lies && code == Code::Forked => {
                self.counters.add("split by a lie");
                self.split.insert(group);
            }
            _ if code == Code::OutOfStep && lies => self.counters.add("out of step by a lie"),
            _ if code == Code::RolledBack && self.hosts[host].set_back => self.counters.add("rolled back"),
            _ if code == Code::Cloned && self.hosts[host].cloned => self.counters.add("cloned"),
            _ => self.fail("I3 agreement", format!("device {host} halts with {code}")),
        }
    }

    fn note_outcomes(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let Life::Member(device) = &h.life else { return };
        let counts = device.outcome_counts();
        let news: Vec<(Outcome, u64)> = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, counts[outcome as usize] - h.counts[outcome as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        h.counts = counts;
        for (outcome, count) in news {
            self.counters.add_many(outcome_counter(outcome), count);
            self.check_outcome(host, outcome);
        }
    }

    fn set_timer(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        let Life::Member(device) = &h.life else { return };
        let Some(at) = device.next_timeout() else {
            h.timer_at = u64::MAX;
            return;
        };
        if at != h.timer_at {
            h.timer_at = at;
            h.timer += 1;
            let turn = h.timer;
            self.after(at.saturating_sub(now), Ev::HostTimer(host, turn));
        }
    }

    pub(super) fn host_timer(&mut self, host: usize, turn: u64) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if h.timer != turn || !h.is_up() {
            return;
        }
        h.timer_at = u64::MAX;
        self.drive(host, |device, now, rng| device.handle_timeout(now, rng));
        let h = &mut self.hosts[host];
        h.spins = if h.timer_at <= now { h.spins + 1 } else { 0 };
        if h.spins > 20 {
            self.fail(
                "timers",
                format!("device {host} asks to be woken at {} again and again", self.hosts[host].timer_at),
            );
        }
    }

    /// Who is in the world by the name of a group's present members.
    pub(super) fn members_of(&self, group: GroupId) -> BTreeSet<usize> {
        let Some(model) = self.relay.model.get(&group) else { return BTreeSet::new() };
        model.current().filter_map(|device| self.host_of(device)).collect()
    }
}

/// A planted bug: envelopes of epochs that the device has no key for are left out, and the cursor moves on.
fn skip_unreadable(
    mutation: Option<Mutation>,
    device: &Device<InsecureCrypto>,
    disk: &Disk,
    frame: FromRelay,
) -> FromRelay {
    let FromRelay::Deliver(mut entries) = frame else { return frame };
    if mutation == Some(Mutation::UnreadableSkipped) {
        entries.retain(|entry| {
            let header = sync_types::Envelope::parse(&entry.bytes).map(|e| e.header);
            header.map_or(true, |h| h.epoch > device.epoch() || disk.state.contains_key(&Key::Epoch(h.epoch)))
        });
    }
    FromRelay::Deliver(entries)
}

fn outcome_counter(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "outcome accepted",
        Outcome::Duplicate => "outcome duplicate",
        Outcome::Gap => "outcome gap",
        Outcome::Equivocation => "outcome equivocation",
        Outcome::RemovedSender => "outcome removed_sender",
        Outcome::Forged => "outcome forged",
        Outcome::Unreadable => "outcome unreadable",
        Outcome::Undecodable => "outcome undecodable",
        Outcome::StaleCommit => "outcome stale_commit",
        Outcome::BadCommit => "outcome bad_commit",
        Outcome::Undone => "outcome undone",
        Outcome::HistoryLost => "outcome history_lost",
        Outcome::SplitView => "outcome split_view",
        Outcome::Repaired => "outcome repaired",
        Outcome::FalseClaim => "outcome false_claim",
        Outcome::OtherBranch => "outcome other_branch",
        Outcome::PastCut => "outcome past_cut",
    }
}
