//! The queue's order, without sockets or a clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Refusal, Sent, Target};
use super::{Counters, Limits};

/// How far apart a refusal's lines in the log are.
const WARN: Duration = Duration::from_secs(60);

/// What waits and what is under way.
pub(super) struct State<K> {
    limits: Limits,
    counters: Arc<Counters>,
    entries: HashMap<K, Entry>,
    /// Keys that wait, the oldest first.
    order: BTreeMap<u64, K>,
    /// Those among them that wait for a time.
    delayed: BTreeMap<(Instant, u64), K>,
    /// Hosts of those that wait for their turn or are under way.
    hosts: HashMap<Arc<str>, Host<K>>,
    /// Hosts that have a key to send and room for it. Each sends one before any sends a second.
    turns: BTreeMap<u64, Arc<str>>,
    under_way: usize,
    /// The next number of an entry or a turn.
    next: u64,
    warned: HashMap<(&'static str, Discriminant<Refusal>), Instant>,
    is_stopped: bool,
}

struct Entry {
    id: u64,
    target: Arc<Target>,
    host: Arc<str>,
    since: Instant,
    attempts: u32,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Ready,
    Delayed(Instant),
    UnderWay,
}

struct Host<K> {
    ready: BTreeMap<u64, K>,
    under_way: usize,
    turn: Option<u64>,
}

/// A push to send now.
pub(super) struct Flight<K> {
    pub(super) key: K,
    pub(super) target: Arc<Target>,
    id: u64,
    host: Arc<str>,
}

impl<K> State<K> {
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// When the next of those that wait for a time is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let maps = self.entries.len() + self.order.len() + self.delayed.len() + self.hosts.len() + self.turns.len();
        maps + self.under_way == 0
    }

    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.entries.clear();
        self.order.clear();
        self.delayed.clear();
        self.turns.clear();
        self.hosts.clear();
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            counters,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            delayed: BTreeMap::new(),
            hosts: HashMap::new(),
            turns: BTreeMap::new(),
            under_way: 0,
            next: 0,
            warned: HashMap::new(),
            is_stopped: false,
        }
    }

    /// Lets a key wait; false if there is nothing more to do than before.
    pub(super) fn wake(&mut self, key: K, target: Target, host: Arc<str>, now: Instant) -> bool {
        if self.is_stopped || self.entries.get(&key).is_some_and(|entry| *entry.target == target) {
            return false;
        }
        self.forget(&key);
        let id = self.number();
        let entry =
            Entry { id, target: Arc::new(target), host: host.clone(), since: now, attempts: 0, place: Place::Ready };
        self.entries.insert(key, entry);
        self.order.insert(id, key);
        self.make_ready(host, id, key);
        self.drop_oldest();
        true
    }

    pub(super) fn forget(&mut self, key: &K) {
        let Some(entry) = self.entries.remove(key) else { return };
        match entry.place {
            // Its place under way is given back when it lands.
            Place::UnderWay => return,
            Place::Delayed(due) => drop(self.delayed.remove(&(due, entry.id))),
            Place::Ready => {
                if let Some(host) = self.hosts.get_mut(&entry.host) {
                    host.ready.remove(&entry.id);
                }
                self.tidy(&entry.host);
            }
        }
        self.order.remove(&entry.id);
    }

    /// The next push, if one is due and there is room for it.
    pub(super) fn next(&mut self, now: Instant) -> Option<Flight<K>> {
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, id), key) = first.remove_entry();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Ready;
                let host = entry.host.clone();
                self.make_ready(host, id, key);
            }
        }
        if self.under_way >= self.limits.under_way {
            return None;
        }
        let (_, name) = self.turns.pop_first()?;
        let host = self.hosts.get_mut(&name)?;
        host.turn = None;
        let (id, key) = host.ready.pop_first()?;
        host.under_way += 1;
        self.under_way += 1;
        self.tidy(&name);
        self.order.remove(&id);
        let entry = self.entries.get_mut(&key)?;
        entry.place = Place::UnderWay;
        Some(Flight { key, target: entry.target.clone(), id, host: name })
    }

    /// Takes a push's result; `None` for one that came to no end.
    pub(super) fn landed(&mut self, flight: &Flight<K>, sent: Option<Sent>, now: Instant) {
        if self.is_stopped {
            return;
        }
        self.under_way -= 1;
        if let Some(host) = self.hosts.get_mut(&flight.host) {
            host.under_way -= 1;
        }
        self.tidy(&flight.host);
        match sent {
            Some(Sent::Accepted) => count(&self.counters.accepted),
            Some(Sent::Gone) => count(&self.counters.gone),
            Some(Sent::Refused(refusal)) => {
                count(&self.counters.refused);
                self.warn(flight, refusal, now);
            }
            Some(Sent::Later(after)) => return self.put_off(flight, after, now),
            None => count(&self.counters.dropped),
        }
        if self.is_current(flight) {
            self.entries.remove(&flight.key);
        }
    }

    /// Whether nobody has forgotten the push or asked for another in its place.
    fn is_current(&self, flight: &Flight<K>) -> bool {
        self.entries.get(&flight.key).is_some_and(|entry| entry.id == flight.id)
    }

    fn put_off(&mut self, flight: &Flight<K>, after: Option<Duration>, now: Instant) {
        let Some(entry) = self.entries.get_mut(&flight.key).filter(|entry| entry.id == flight.id) else { return };
        let most = self.limits.first_pause.saturating_mul(1 << entry.attempts.min(20)).min(self.limits.longest_pause);
        entry.attempts += 1;
        // A service that names a time names it to many, so those are spread as well.
        let due = now + after.unwrap_or_default() + most.mul_f64(fraction());
        if due.saturating_duration_since(entry.since) > self.limits.give_up {
            self.entries.remove(&flight.key);
            return count(&self.counters.dropped);
        }
        entry.place = Place::Delayed(due);
        self.delayed.insert((due, flight.id), flight.key);
        self.order.insert(flight.id, flight.key);
        count(&self.counters.retried);
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        while self.order.len() > self.limits.waiting {
            let Some((_, oldest)) = self.order.first_key_value() else { return };
            let oldest = *oldest;
            self.forget(&oldest);
            count(&self.counters.dropped);
        }
    }

    fn make_ready(&mut self, name: Arc<str>, id: u64, key: K) {
        let empty = || Host { ready: BTreeMap::new(), under_way: 0, turn: None };
        self.hosts.entry(name.clone()).or_insert_with(empty).ready.insert(id, key);
        self.tidy(&name);
    }

    /// Gives a host a turn if it can use one, takes it back if not, and forgets a host that nothing waits for.
    fn tidy(&mut self, name: &Arc<str>) {
        let number = self.number();
        let Some(host) = self.hosts.get_mut(name) else { return };
        let wants = !host.ready.is_empty() && host.under_way < self.limits.per_host;
        match host.turn {
            None if wants => {
                host.turn = Some(number);
                self.turns.insert(number, name.clone());
            }
            Some(turn) if !wants => {
                host.turn = None;
                self.turns.remove(&turn);
            }
            _ => {}
        }
        if host.ready.is_empty() && host.under_way == 0 {
            self.hosts.remove(name);
        }
    }

    fn warn(&mut self, flight: &Flight<K>, refusal: Refusal, now: Instant) {
        let kind = flight.target.kind();
        let reason = (kind, discriminant(&refusal));
        if self.warned.get(&reason).is_none_or(|last| now.duration_since(*last) >= WARN) {
            self.warned.insert(reason, now);
            tracing::warn!(kind, host = &*flight.host, "a wake-up push was refused: {refusal}");
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Any part of one, so that those who were turned away together do not come back together.
fn fraction() -> f64 {
    // Without randomness the whole pause is kept, which is only less well spread.
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}
