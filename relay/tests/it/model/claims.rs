//! What has to be true of every state, told by what the devices have on their disks, and not by what the relay thinks.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

use sync_relay::store::MemberRow;
use sync_types::frame::EntryKind;

use super::parts;
use super::world::{Past, World};

impl World {
    /// Whether the relay's disk holds an entry of this kind.
    pub(super) fn held(&self, kind: EntryKind) -> bool {
        self.durable.rows.index.iter().any(|row| row.kind == kind)
    }

    /// Whether an entry is gone that somebody was to have and has not.
    pub(super) fn deleted_early(&self) -> bool {
        let rows = &self.durable.rows;
        let held: BTreeSet<u64> = rows.index.iter().map(|row| row.cursor).collect();
        let undecided = self.durable.provisional;
        let gone = self.history.iter().filter(|past| !held.contains(&past.cursor));
        gone.into_iter().any(|past| rows.members.iter().any(|member| self.lacks(member, past, undecided)))
    }

    fn lacks(&self, member: &MemberRow, past: &Past, undecided: Option<u64>) -> bool {
        let device = &self.devices[parts::place(member.device)];
        // A commit that may be undone removes nobody yet. Who is out for good is owed the commits up to its removal.
        let removal = member.removed.map(|removal| removal.cursor).filter(|cursor| Some(*cursor) != undecided);
        let wanted = match past.kind {
            EntryKind::Envelope => past.sender != member.device && removal.is_none(),
            EntryKind::Commit | EntryKind::Reject => {
                past.cursor > member.added && removal.is_none_or(|removal| past.cursor <= removal)
            }
        };
        wanted && past.cursor > device.base && past.cursor > device.stored
    }

    /// Whether every device has what it has in the order and under the numbers of the log.
    pub(super) fn is_one_order(&self) -> bool {
        self.devices.iter().all(|device| {
            device.log.is_sorted_by(|a, b| a.0 < b.0)
                && device.log.iter().all(|(cursor, id)| self.history.iter().any(|p| (p.cursor, p.id) == (*cursor, *id)))
        })
    }

    /// Whether a device's cursor has passed something that it was to have.
    pub(super) fn has_skipped(&self) -> bool {
        self.devices.iter().enumerate().filter(|(_, device)| device.joined).any(|(place, device)| {
            let former = self.durable.rows.members.iter().any(|m| m.device == parts::id(place) && m.removed.is_some());
            let passed = self.history.iter().filter(|p| device.base < p.cursor && p.cursor <= device.stored);
            passed.into_iter().any(|past| {
                let wanted = past.kind != EntryKind::Envelope || (past.sender != parts::id(place) && !former);
                wanted && !device.log.contains(&(past.cursor, past.id))
            })
        })
    }

    /// Whether one entry was ordered twice, or one number given twice.
    pub(super) fn has_twice(&self) -> bool {
        let ids: BTreeSet<u64> = self.history.iter().map(|p| p.id).collect();
        let cursors: BTreeSet<u64> = self.history.iter().map(|p| p.cursor).collect();
        ids.len() != self.history.len() || cursors.len() != self.history.len()
    }

    /// Whether the relay's disk knows of all that a device was told is durable.
    pub(super) fn keeps_accepted(&self) -> bool {
        let heads = &self.durable.rows.heads;
        self.devices.iter().enumerate().all(|(place, device)| {
            let head = heads.iter().find(|head| head.sender == parts::id(place)).map_or(0, |head| head.head.seq);
            device.accepted as u64 <= head
        })
    }

    /// Whether everybody has everything and nothing is held.
    pub(super) fn is_at_rest(&self) -> bool {
        let durable = &self.durable;
        let sent = self.devices.iter().enumerate().all(|(place, device)| {
            !durable.is_member(parts::id(place)) || (device.accepted == device.sealed.len() && device.to_seal == 0)
        });
        let rows = &durable.rows;
        sent && rows.index.is_empty() && rows.counters.entries == 0 && rows.counters.bytes == 0
    }
}

/// What a counterexample has to show.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("devices", &self.devices)
            .field("history", &self.history)
            .field("held", &self.durable.rows.index)
            .field("members", &self.durable.rows.members)
            .field("left", &self.left)
            .field("surprise", &self.surprise)
            .finish_non_exhaustive()
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.relay == other.relay
            && self.durable == other.durable
            && (&self.devices, &self.history, &self.left) == (&other.devices, &other.history, &other.left)
            && self.surprise == other.surprise
            && self.pending.len() == other.pending.len()
            && self
                .pending
                .iter()
                .zip(&other.pending)
                .all(|(a, b)| a.writes == b.writes && a.after == b.after && (&a.then, a.views) == (&b.then, b.views))
    }
}

/// All that decides what can still happen.
impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.relay, &self.durable, &self.devices, &self.history, &self.left, &self.surprise).hash(hasher);
        for pending in &self.pending {
            (&pending.after, pending.writes.len(), &pending.then, pending.views).hash(hasher);
        }
    }
}
