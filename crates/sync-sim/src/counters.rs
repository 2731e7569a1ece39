//! What a run exercised: each outcome, check, action and crash point, by name.

use std::collections::BTreeMap;
use std::fmt;

/// How often each named thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub(crate) fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    pub(crate) fn add_many(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    /// How often this happened.
    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds what another run counted.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// Which of those that a large run has to exercise never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|name| self.count(name) == 0).collect()
    }
}

/// A table of four columns of name and count.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            let end = if index % 3 == 2 { "\n" } else { "  " };
            write!(f, "{name:<30} {count:>11}{end}")?;
        }
        if !self.0.len().is_multiple_of(3) { writeln!(f) } else { Ok(()) }
    }
}

/// What no large run may leave out. A counter at zero means that the simulation does not test what it claims to. History is
/// never lost in these worlds, as somebody who holds all of it always stays.
pub const REQUIRED: &[&str] = &[
    "outcome accepted",
    "outcome duplicate",
    "outcome gap",
    "outcome equivocation",
    "outcome removed_sender",
    "outcome forged",
    "outcome unreadable",
    "outcome undecodable",
    "outcome stale_commit",
    "outcome bad_commit",
    "outcome undone",
    "outcome repaired",
    "check I1 complete",
    "check I1 order",
    "check I2 held",
    "check I3 agreement",
    "check I4 drained",
    "check I5 durable",
    "check I6 cut",
    "check I7 cursors",
    "check I8 receipts",
    "check I9 kept",
    "action push",
    "action connect",
    "action disconnect",
    "action crash device",
    "action crash relay",
    "action pair",
    "action remove",
    "action self-update",
    "action leave",
    "action presence",
    "action jump hours",
    "action jump 8 days",
    "action jump 31 days",
    "action long absence",
    "lapsed",
    "synced after long absence",
    "action relay store fails",
    "hostile lying commit",
    "hostile equivocation",
    "hostile forgery",
    "hostile splice",
    "hostile replay",
    "hostile old commit",
    "hostile former member",
    "hostile reorder",
    "hostile broken seal",
    "hostile withheld",
    "hostile stall",
    "left a stalled relay",
    "hostile wait",
    "hostile stranger",
    "stranger refused",
    "hostile former content",
    "action set back",
    "rolled back",
    "key replaced",
    "action clone",
    "crash device before commit",
    "crash device after commit",
    "crash device while sending",
    "crash device at rest",
    "crash relay before commit",
    "crash relay after commit",
    "crash relay after delete",
    "crash relay at rest",
    "crash while joining",
    "pairing lost",
    "joined",
    "joined with blobs",
    "removed",
    "left",
    "presence seen",
    "delivered",
    "synced",
    "commit rejected",
    "refused STALE_EPOCH",
    "refused STALE_CUT",
    "refused PROVISIONAL",
    "frames lost",
];
