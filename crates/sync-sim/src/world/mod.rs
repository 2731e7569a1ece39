//! A world: devices, one relay, the streams between them, and one queue of events in virtual time.

mod actions;
mod actors;
mod checks;
mod devices;
mod hostile;
mod network;
mod pairing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use sync_types::{BlobId, DeviceId, GroupId, limits};

use crate::counters::Counters;
use crate::crypto::InsecureCrypto;
use crate::dice::Dice;
use crate::mutation::Mutation;
use crate::relay::{ConnId, Cut, Out, Relay, Synced};
use devices::Host;
use network::Conn;
use pairing::Pairing;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How many events a world plays through before it is left in peace, at least.
const EVENTS: u64 = 200;
/// How many things befall a world before it is left in peace, at least.
const ACTIONS: u64 = 45;
/// How much virtual time a world has to come to rest once it is left in peace.
const REST: u64 = 20 * MINUTE;
/// No world needs as many events.
const MOST_EVENTS: u64 = 200_000;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Ev {
    /// The next frame reaches the relay.
    Up(ConnId),
    /// The next frame reaches the device.
    Down(ConnId),
    /// The relay learns that the stream ended.
    RelayEnd(ConnId),
    /// The device learns that the stream ended.
    DeviceEnd(ConnId),
    /// The relay's disk has its batch. The number is the relay's boot.
    RelaySync(u64),
    RelayTimer(u64),
    RelayStart,
    HostTimer(usize, u64),
    HostStart(usize),
    Connect(usize),
    Pair(u64),
    GiveUp(usize),
    /// A week passes of a device's long absence; how many are to come.
    Week(usize, u64),
    Action,
}

/// Why a world is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The world's seed.
    pub seed: u64,
    /// Which invariant does not hold.
    pub invariant: &'static str,
    /// The number of the event at which it was noticed.
    pub step: u64,
    /// What was seen.
    pub detail: String,
}

/// What is kept of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    Off,
    /// A hash of every step and of every byte that travelled.
    Hash,
    /// All steps as text.
    Text,
}

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it exercised.
    pub counters: Counters,
    /// How many events it had.
    pub steps: u64,
    /// What was wrong with it.
    pub failure: Option<Failure>,
    /// The hash of all steps, if it was asked for.
    pub hash: Option<[u8; 32]>,
    /// The steps, if they were asked for.
    pub text: String,
}

/// A blob that some app pushed.
#[derive(Clone, Debug)]
struct Pushed {
    host: usize,
    id: BlobId,
    /// Its device was set back to before: unless others had it, it is gone.
    set_back: bool,
}

/// How rough a world is.
#[derive(Clone, Debug)]
struct Weather {
    /// The longest delay of a frame, in milliseconds.
    latency: u64,
    /// In so many of a thousand transactions a device dies.
    crash: u64,
    hostile: bool,
    /// Whether a hostile relay swaps envelopes, or else has a stolen key. Both together could do real harm.
    swaps: bool,
    /// Whether the relay keeps envelopes back from one device.
    drops: bool,
    liars: bool,
    /// Whether disks are set back to copies of them.
    restores: bool,
    sabotage: bool,
    jumps: u64,
    /// How many devices go away for longer than anything is kept for them.
    absences: u64,
    /// Whether the relay has taken to telling devices that they have to wait very long.
    tells_to_wait: bool,
}

pub(crate) struct World {
    seed: u64,
    dice: Dice,
    now: u64,
    step: u64,
    actions: u64,
    queue: BTreeMap<(u64, u64), Ev>,
    scheduled: u64,
    weather: Weather,
    hosts: Vec<Host>,
    relay: Relay,
    relay_up: bool,
    relay_boot: u64,
    relay_cut: Option<Cut>,
    relay_timer_at: u64,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: ConnId,
    pairings: BTreeMap<u64, Pairing>,
    pushed: Vec<Pushed>,
    /// Groups whose members a liar has set apart: what they do from then on is their own affair.
    split: BTreeSet<GroupId>,
    /// Groups in which a member has made a lying commit.
    lied: BTreeSet<GroupId>,
    /// Connections on which the relay says nothing any more.
    stalled: BTreeSet<ConnId>,
    /// Connections of those who are in no group.
    strangers: BTreeSet<ConnId>,
    /// Whether some disk runs twice.
    cloned: bool,
    /// Whether a relay may have let go of what somebody had not fetched.
    lapses: bool,
    quiet: bool,
    mutation: Option<Mutation>,
    pub(crate) counters: Counters,
    trace: Trace,
    hasher: Sha256,
    text: String,
    failure: Option<Failure>,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let hostile = dice.chance(250);
        let weather = Weather {
            latency: *dice.pick(&[2, 10, 60, 400]).unwrap_or(&10),
            crash: *dice.pick(&[0, 4, 12, 30]).unwrap_or(&0),
            hostile,
            swaps: dice.chance(500),
            drops: false,
            liars: dice.chance(200),
            restores: false,
            sabotage: hostile && dice.chance(300),
            jumps: if dice.chance(400) { 3 } else { 0 },
            absences: 0,
            tells_to_wait: false,
        };
        // An envelope made with a stolen key would take the place of one that was kept back.
        let drops = hostile && weather.swaps && !weather.sabotage && dice.chance(500);
        let restores = !weather.sabotage && dice.chance(300);
        let absences = if !weather.sabotage && dice.chance(300) { dice.between(1, 2) } else { 0 };
        let weather = Weather { drops, restores, absences, ..weather };
        let portion = *dice.pick(&[1 << 20, 4096, 1500]).unwrap_or(&4096);
        let relay = Relay::new(InsecureCrypto::from_seed(dice.number()), portion, mutation);
        let mut world = Self {
            seed,
            now: 1_750_000_000_000 + dice.below(DAY),
            dice,
            step: 0,
            actions: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            weather,
            hosts: Vec::new(),
            relay,
            relay_up: true,
            relay_boot: 0,
            relay_cut: None,
            relay_timer_at: u64::MAX,
            conns: BTreeMap::new(),
            next_conn: 1,
            pairings: BTreeMap::new(),
            pushed: Vec::new(),
            split: BTreeSet::new(),
            lied: BTreeSet::new(),
            lapses: false,
            stalled: BTreeSet::new(),
            strangers: BTreeSet::new(),
            cloned: false,
            quiet: false,
            mutation,
            counters: Counters::default(),
            trace,
            hasher: Sha256::new(),
            text: String::new(),
            failure: None,
        };
        let devices = world.dice.between(2, 5);
        for _ in 0..devices {
            world.add_host();
        }
        world
    }

    /// Plays the world to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.found(0);
        for host in 1..self.hosts.len() {
            if self.dice.chance(350) {
                self.found(host);
            }
        }
        let most = self.actions_planned();
        self.after(1, Ev::Action);
        while self.failure.is_none() && (self.step < EVENTS || self.actions < most) {
            self.next_event(u64::MAX);
        }
        if self.failure.is_none() {
            self.rest();
        }
        Outcome {
            counters: self.counters,
            steps: self.step,
            failure: self.failure,
            hash: (self.trace == Trace::Hash).then(|| self.hasher.finalize().into()),
            text: self.text,
        }
    }

    fn actions_planned(&mut self) -> u64 {
        ACTIONS + self.dice.below(40)
    }

    /// Everybody comes back, nothing breaks any more, and everything has to drain.
    fn rest(&mut self) {
        self.note(|_| "--- from here on, peace".into());
        self.quiet = true;
        self.end_stalls();
        if self.weather.drops || self.cloned {
            // What was kept back, or went to a copy, shows at the latest by the beacons.
            self.now += limits::BEACON_REST.as_millis() as u64;
            let open: Vec<ConnId> = self.conns.keys().copied().collect();
            open.into_iter().for_each(|conn| self.break_conn(conn));
        }
        self.relay_cut = None;
        if !self.relay_up {
            self.after(1, Ev::RelayStart);
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].armed = None;
            self.after(10, Ev::HostStart(host));
            self.after(20, Ev::Connect(host));
        }
        let until = self.now + REST;
        while self.failure.is_none() && self.now < until {
            let next = (self.now + SECOND).min(until);
            while self.failure.is_none() && self.next_event(next) {}
            self.now = self.now.max(next);
            self.tidy_up();
            if self.failure.is_none() && self.in_flight() == 0 && self.unfinished().is_empty() {
                break;
            }
        }
        if self.failure.is_none() {
            let unfinished = self.unfinished();
            if !unfinished.is_empty() {
                self.fail("I4 drained", unfinished.join("; "));
            }
            self.check_end();
        }
    }

    fn in_flight(&self) -> usize {
        self.conns.values().map(|c| c.up.len() + c.down.len()).sum::<usize>() + usize::from(self.relay.has_pending())
    }

    /// Lets the next event happen if it is due by then.
    fn next_event(&mut self, until: u64) -> bool {
        let Some(entry) = self.queue.first_entry() else {
            if !self.quiet {
                self.after(1, Ev::Action);
                return true;
            }
            return false;
        };
        if entry.key().0 > until {
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        self.now = self.now.max(at);
        self.step += 1;
        if self.step > MOST_EVENTS {
            self.fail("I4 drained", "the world does not come to rest".into());
        }
        self.happen(event);
        self.relay_turn();
        true
    }

    fn happen(&mut self, event: Ev) {
        match event {
            Ev::Up(conn) => self.reach_relay(conn),
            Ev::Down(conn) => self.reach_device(conn),
            Ev::RelayEnd(conn) => self.relay_learns_end(conn),
            Ev::DeviceEnd(conn) => self.device_learns_end(conn),
            Ev::RelaySync(boot) if boot == self.relay_boot && self.relay_up => self.relay_sync(),
            Ev::RelayTimer(boot) if boot == self.relay_boot && self.relay_up => {
                self.relay_timer_at = u64::MAX;
                self.relay.timeout(self.now);
            }
            Ev::RelayStart => self.relay_start(),
            Ev::HostTimer(host, turn) => self.host_timer(host, turn),
            Ev::HostStart(host) => self.host_start(host),
            Ev::Connect(host) => self.connect(host),
            Ev::Pair(number) => self.pairing_step(number),
            Ev::GiveUp(host) => self.give_up(host),
            Ev::Week(host, left) => self.week(host, left),
            Ev::Action => self.action(),
            Ev::RelaySync(_) | Ev::RelayTimer(_) => {}
        }
    }

    /// Carries out what the relay wants, and sees to its batch and its timer.
    fn relay_turn(&mut self) {
        for out in std::mem::take(&mut self.relay.out) {
            match out {
                Out::Send(conn, frame) if self.is_strangers(conn, &frame) => {}
                Out::Close(conn) if self.strangers.remove(&conn) => self.relay.ended(conn),
                Out::Send(conn, frame) => self.send_down(conn, frame),
                Out::Close(conn) => self.close_by_relay(conn),
            }
        }
        for code in std::mem::take(&mut self.relay.refusals) {
            self.count_refusal(code);
        }
        if let Some((invariant, detail)) = std::mem::take(&mut self.relay.faults).into_iter().next() {
            self.fail(invariant, detail);
        }
        if !self.relay_up {
            return;
        }
        let boot = self.relay_boot;
        if self.relay.has_pending() && !self.queue.values().any(|e| matches!(e, Ev::RelaySync(b) if *b == boot)) {
            let delay = self.dice.below(6);
            self.after(delay, Ev::RelaySync(boot));
        }
        if let Some(at) = self.relay.next_timeout()
            && at < self.relay_timer_at
        {
            self.relay_timer_at = at;
            let delay = at.saturating_sub(self.now);
            self.after(delay, Ev::RelayTimer(boot));
        }
    }

    fn relay_sync(&mut self) {
        let cut = self.relay_cut.take();
        let synced = self.relay.sync(cut);
        self.note(|_| format!("relay sync {cut:?} → {synced:?}"));
        if let Synced::Died { deleted } = synced {
            self.counters.add(match cut {
                Some(Cut::BeforeCommit) => "crash relay before commit",
                _ => "crash relay after commit",
            });
            if deleted {
                self.counters.add("crash relay after delete");
            }
            self.relay_died();
        }
    }

    fn relay_died(&mut self) {
        self.relay.die();
        self.relay_up = false;
        self.relay_boot += 1;
        self.relay_timer_at = u64::MAX;
        let open: Vec<ConnId> = self.conns.keys().copied().collect();
        open.into_iter().for_each(|conn| self.break_conn(conn));
        let delay = self.dice.between(10, 3000);
        self.after(delay, Ev::RelayStart);
    }

    fn relay_start(&mut self) {
        if !self.relay_up {
            self.relay_up = true;
            self.relay_boot += 1;
            self.note(|_| "relay starts".into());
        }
    }

    fn after(&mut self, delay: u64, event: Ev) {
        self.scheduled += 1;
        self.queue.insert((self.now + delay, self.scheduled), event);
    }

    /// Puts a step on record, if anybody reads it.
    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        match self.trace {
            Trace::Off => {}
            Trace::Hash => {
                let line = line(self);
                self.hasher.update(self.now.to_be_bytes());
                self.hasher.update(line.as_bytes());
            }
            Trace::Text => {
                let line = line(self);
                let _ = writeln!(self.text, "{:>6} {} {line}", self.step, self.now);
            }
        }
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        if self.trace == Trace::Hash {
            self.hasher.update((bytes.len() as u64).to_be_bytes());
            self.hasher.update(bytes);
        }
    }

    fn fail(&mut self, invariant: &'static str, detail: String) {
        if self.failure.is_none() {
            self.note(|_| format!("FAILURE {invariant}: {detail}"));
            self.failure = Some(Failure { seed: self.seed, invariant, step: self.step, detail });
        }
    }

    /// The host that is this device now.
    fn host_of(&self, device: DeviceId) -> Option<usize> {
        self.hosts.iter().position(|h| h.device_id() == Some(device))
    }
}
