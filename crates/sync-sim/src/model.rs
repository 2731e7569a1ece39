//! What a relay has to hold, computed from what the harness saw pass and from nothing that the relay says of itself.

use std::collections::{BTreeMap, BTreeSet};

use sync_rules::Step;
use sync_types::frame::EntryKind;
use sync_types::{DeviceId, Envelope, Opaque, limits};

/// Something that the relay did, to be applied once it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The group began with this device.
    Founded(DeviceId),
    /// The device's own envelopes, of which it was told that they are accepted up to this number.
    Pushed { device: DeviceId, envelopes: Vec<Opaque>, accepted: u64 },
    /// An acknowledgement that was not refused.
    Acknowledged { device: DeviceId, cursor: u64 },
    /// A commit that was ordered. `witnessed`: a member that it keeps is attached beside the committer.
    Committed { commit: Opaque, step: Box<Change>, attached: BTreeSet<DeviceId>, now: u64 },
    /// A device came in by the recovery key, and put everybody else out.
    Recovered { device: DeviceId, epoch: u64 },
    /// A reject that was taken.
    Rejected { by: DeviceId },
    /// A session ended; who is left.
    Detached(BTreeSet<DeviceId>),
    /// The time.
    Timeout(u64),
    /// These members have been silent for too long, and no others.
    Lapsed(BTreeSet<DeviceId>),
    /// A member asked for something.
    Seen(DeviceId),
    /// A hostile relay put an entry into its log.
    Injected { kind: EntryKind, sender: DeviceId },
}

/// What a commit did, as the observer saw it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) committer: DeviceId,
    /// Who brought it: the committer, or the one whose place it takes.
    pub(crate) carrier: DeviceId,
    pub(crate) epoch: u64,
    pub(crate) added: Vec<DeviceId>,
    pub(crate) removed: Vec<DeviceId>,
}

impl From<&Step> for Change {
    fn from(step: &Step) -> Self {
        Self {
            committer: step.committer,
            carrier: step.replaced.unwrap_or(step.committer),
            epoch: step.after.epoch,
            added: step.added.iter().map(|(device, _)| *device).collect(),
            removed: step.removed.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) acknowledged: u64,
    /// The cursor of the commit that added it; 0 for the founder.
    added: u64,
    pub(crate) joined_epoch: u64,
    pub(crate) removed: Option<u64>,
}

#[derive(Clone, Debug)]
struct Provisional {
    cursor: u64,
    deadline: u64,
    change: Change,
}

/// Where an envelope came to lie.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) cursor: u64,
    pub(crate) epoch: u64,
    pub(crate) bytes: Opaque,
}

/// One group at the relay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) newest: u64,
    /// What is held: kind and sender by cursor.
    pub(crate) entries: BTreeMap<u64, (EntryKind, DeviceId)>,
    pub(crate) members: BTreeMap<DeviceId, Member>,
    pub(crate) heads: BTreeMap<DeviceId, u64>,
    provisional: Option<Provisional>,
    pub(crate) placed: BTreeMap<(DeviceId, u64), Placed>,
    pub(crate) commits: Vec<Opaque>,
    /// For whom no envelope is kept.
    pub(crate) lapsed: BTreeSet<DeviceId>,
}

impl Group {
    pub(crate) fn is_member(&self, device: DeviceId) -> bool {
        self.members.get(&device).is_some_and(|m| m.removed.is_none())
    }

    pub(crate) fn is_provisional(&self) -> bool {
        self.provisional.is_some()
    }

    pub(crate) fn current(&self) -> impl Iterator<Item = DeviceId> {
        self.members.iter().filter(|(_, m)| m.removed.is_none()).map(|(id, _)| *id)
    }

    /// Whether anybody waits for what this sender puts into the log.
    pub(crate) fn has_reader_beside(&self, sender: DeviceId) -> bool {
        self.current().any(|device| device != sender && !self.lapsed.contains(&device))
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Founded(device) => {
                let member = Member { acknowledged: 0, added: 0, joined_epoch: 0, removed: None };
                self.members.entry(device).or_insert(member);
            }
            Op::Pushed { device, envelopes, accepted } => self.pushed(device, envelopes, accepted),
            Op::Acknowledged { device, cursor } => self.acknowledged(device, cursor),
            Op::Committed { commit, step, attached, now } => {
                self.commits.push(commit);
                self.committed(*step, &attached, now);
            }
            Op::Recovered { device, epoch } => {
                self.append(EntryKind::Commit, device);
                let cursor = self.append(EntryKind::Commit, device);
                for member in self.members.values_mut().filter(|m| m.removed.is_none()) {
                    member.removed = Some(cursor);
                }
                let member = Member { acknowledged: cursor, added: cursor, joined_epoch: epoch, removed: None };
                self.members.insert(device, member);
            }
            Op::Rejected { by } => self.rejected(by),
            Op::Detached(attached) => {
                if !self.has_witness(&attached) {
                    self.provisional = None;
                }
            }
            Op::Timeout(now) => {
                if self.provisional.as_ref().is_some_and(|p| p.deadline <= now) {
                    self.provisional = None;
                }
            }
            Op::Lapsed(lapsed) => self.lapsed = lapsed,
            Op::Seen(device) => drop(self.lapsed.remove(&device)),
            Op::Injected { kind, sender } => drop(self.append(kind, sender)),
        }
        self.delete();
    }

    fn append(&mut self, kind: EntryKind, sender: DeviceId) -> u64 {
        self.newest += 1;
        self.entries.insert(self.newest, (kind, sender));
        self.newest
    }

    fn pushed(&mut self, device: DeviceId, envelopes: Vec<Opaque>, accepted: u64) {
        for bytes in envelopes {
            let Ok(envelope) = Envelope::parse(&bytes) else { continue };
            let (seq, epoch) = (envelope.header.seq, envelope.header.epoch);
            let head = self.heads.entry(device).or_default();
            if envelope.header.sender != device || seq <= *head || seq > accepted {
                continue;
            }
            *head = seq;
            let cursor = self.append(EntryKind::Envelope, device);
            self.placed.insert((device, seq), Placed { cursor, epoch, bytes });
        }
    }

    fn acknowledged(&mut self, device: DeviceId, cursor: u64) {
        let witness = self.provisional.as_ref().is_some_and(|p| p.cursor <= cursor && self.is_witness(device, p));
        if let Some(member) = self.members.get_mut(&device)
            && member.acknowledged < cursor
        {
            member.acknowledged = cursor;
            if witness {
                self.provisional = None;
            }
        }
    }

    fn committed(&mut self, change: Change, attached: &BTreeSet<DeviceId>, now: u64) {
        let cursor = self.append(EntryKind::Commit, change.carrier);
        let acknowledged = self.members.get(&change.committer).map_or(0, |m| m.acknowledged);
        for device in &change.added {
            let member = Member { acknowledged, added: cursor, joined_epoch: change.epoch, removed: None };
            self.members.insert(*device, member);
        }
        for device in &change.removed {
            if let Some(member) = self.members.get_mut(device) {
                member.removed = Some(cursor);
            }
        }
        let deadline = now + limits::PROVISIONAL.as_millis() as u64;
        self.provisional = Some(Provisional { cursor, deadline, change });
        if !self.has_witness(attached) {
            self.provisional = None;
        }
    }

    fn rejected(&mut self, by: DeviceId) {
        let Some(provisional) = self.provisional.take() else { return };
        for device in &provisional.change.added {
            self.members.remove(device);
        }
        for device in &provisional.change.removed {
            if let Some(member) = self.members.get_mut(device) {
                member.removed = None;
            }
        }
        self.append(EntryKind::Reject, by);
    }

    fn is_witness(&self, device: DeviceId, provisional: &Provisional) -> bool {
        let change = &provisional.change;
        device != change.committer && !change.added.contains(&device) && self.is_member(device)
    }

    fn has_witness(&self, attached: &BTreeSet<DeviceId>) -> bool {
        self.provisional.as_ref().is_some_and(|p| attached.iter().any(|device| self.is_witness(*device, p)))
    }

    /// The rule: an envelope waits for every member but its sender and those that lapsed, and for those whom a reject would
    /// bring back. A commit
    /// or reject waits for every member, and for every former one from behind its Add up to its removal.
    fn delete(&mut self) {
        let provisional = self.provisional.as_ref().map(|p| p.cursor);
        let holds = |m: &Member| m.removed.is_none_or(|cursor| Some(cursor) == provisional);
        let (members, lapsed) = (&self.members, &self.lapsed);
        self.entries.retain(|cursor, (kind, sender)| {
            members.iter().any(|(id, m)| match kind {
                _ if m.acknowledged >= *cursor => false,
                EntryKind::Envelope => holds(m) && id != sender && !lapsed.contains(id),
                EntryKind::Commit | EntryKind::Reject => {
                    holds(m) || m.removed.is_some_and(|removal| m.added < *cursor && *cursor <= removal)
                }
            })
        });
    }
}
