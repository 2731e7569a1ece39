//! The groups in memory, who is attached to each, and what waits for one that is being loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sync_types::{DeviceId, GroupId};

use super::inbox::Inbox;
use super::{Op, SessionId};
use crate::mailbox::{GroupState, Standing};

/// An attached session.
pub(super) struct Attached {
    pub(super) group: GroupId,
    pub(super) device: DeviceId,
    pub(super) inbox: Arc<Inbox>,
    /// Of two sessions of a device at two relays the one with the higher number goes on.
    pub(super) number: u64,
    /// The newest cursor of the group when it came.
    pub(super) newest: u64,
}

/// Where a group is.
pub(super) enum Place {
    /// In memory.
    Here(Box<GroupState>),
    /// On its way from the store.
    Loading(Loading),
}

/// A group on its way from the store.
#[derive(Default)]
pub(super) struct Loading {
    /// What waits for it.
    pub(super) waiting: Vec<Op>,
    /// What came meanwhile and has to know what other relays have done until then, and what came behind that.
    pub(super) behind: Vec<Op>,
    /// What it is if no other relay has changed it.
    pub(super) kept: Option<Box<GroupState>>,
    /// Another relay has changed it since this was asked.
    pub(super) again: bool,
}

/// All that the writer knows.
pub(super) struct Groups {
    most: usize,
    places: HashMap<GroupId, Place>,
    /// When each group was last used, by a counter of uses.
    used: HashMap<GroupId, u64>,
    uses: u64,
    sessions: HashMap<SessionId, Attached>,
    by_group: HashMap<GroupId, BTreeMap<DeviceId, SessionId>>,
    /// When something is due, in milliseconds since the Unix epoch.
    due: BTreeSet<(u64, GroupId)>,
    due_of: HashMap<GroupId, u64>,
    /// Where several relays share a store: what those that are attached here know of their group, also while it is not in
    /// memory.
    standing: HashMap<GroupId, Standing>,
    /// Who is attached at other relays, as of when it was last asked.
    elsewhere: HashMap<GroupId, BTreeSet<DeviceId>>,
}

impl Groups {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            places: HashMap::new(),
            used: HashMap::new(),
            uses: 0,
            sessions: HashMap::new(),
            by_group: HashMap::new(),
            due: BTreeSet::new(),
            due_of: HashMap::new(),
            standing: HashMap::new(),
            elsewhere: HashMap::new(),
        }
    }

    pub(super) fn place(&mut self, group: GroupId) -> Option<&mut Place> {
        self.uses += 1;
        let place = self.places.get_mut(&group)?;
        self.used.insert(group, self.uses);
        Some(place)
    }

    pub(super) fn state(&self, group: GroupId) -> Option<&GroupState> {
        match self.places.get(&group) {
            Some(Place::Here(state)) => Some(state),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, group: GroupId, place: Place) -> Option<Place> {
        self.uses += 1;
        self.used.insert(group, self.uses);
        self.places.insert(group, place)
    }

    /// Forgets a group's state; its sessions stay, and the next request loads it again.
    pub(super) fn forget(&mut self, group: GroupId) -> Option<Place> {
        self.used.remove(&group);
        self.set_due(group, None);
        self.elsewhere.remove(&group);
        if !self.by_group.contains_key(&group) {
            self.standing.remove(&group);
        }
        self.places.remove(&group)
    }

    /// Forgets the groups that were not used for longest and have nobody attached, down to the bound; never one of
    /// `unwritten`, which the store does not have as it is yet.
    pub(super) fn evict(&mut self, unwritten: impl FnOnce() -> HashSet<GroupId>) {
        // A tenth at a time, so that a full cache is not searched at each request.
        if self.places.len() <= self.most {
            return;
        }
        let goal = self.most - self.most / 10;
        let unwritten = unwritten();
        let idle = |group: &GroupId| {
            !unwritten.contains(group) && !self.by_group.contains_key(group) && self.state(*group).is_some()
        };
        let mut candidates: Vec<(u64, GroupId)> =
            self.used.iter().filter(|(group, _)| idle(group)).map(|(group, used)| (*used, *group)).collect();
        candidates.sort_unstable();
        let surplus = self.places.len() - goal;
        for (_, group) in candidates.into_iter().take(surplus) {
            self.forget(group);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Notes a session; returns the one that the same device had before.
    pub(super) fn attach(&mut self, session: SessionId, attached: Attached) -> Option<SessionId> {
        let before = self.by_group.entry(attached.group).or_default().insert(attached.device, session);
        self.sessions.insert(session, attached);
        before
    }

    /// Forgets a session. Returns it, if its device is not attached through another.
    pub(super) fn detach(&mut self, session: SessionId) -> Option<Attached> {
        let gone = self.sessions.remove(&session)?;
        let devices = self.by_group.get_mut(&gone.group)?;
        if devices.get(&gone.device) != Some(&session) {
            return None;
        }
        devices.remove(&gone.device);
        if devices.is_empty() {
            self.by_group.remove(&gone.group);
        }
        Some(gone)
    }

    /// Ends all sessions of a group and forgets its state. Gives how many entries it held, if it was in memory.
    pub(super) fn end(&mut self, group: GroupId) -> u64 {
        for session in self.by_group.remove(&group).into_iter().flat_map(BTreeMap::into_values) {
            if let Some(attached) = self.sessions.remove(&session) {
                attached.inbox.close();
            }
        }
        let entries = self.state(group).map_or(0, |state| state.counters().entries);
        self.forget(group);
        entries
    }

    pub(super) fn session(&self, session: SessionId) -> Option<&Attached> {
        self.sessions.get(&session)
    }

    /// The session by which a device is attached here.
    pub(super) fn session_of(&self, group: GroupId, device: DeviceId) -> Option<SessionId> {
        self.by_group.get(&group)?.get(&device).copied()
    }

    pub(super) fn inbox(&self, group: GroupId, device: DeviceId) -> Option<&Arc<Inbox>> {
        let session = self.session_of(group, device)?;
        self.sessions.get(&session).map(|attached| &attached.inbox)
    }

    /// Who is attached to a group, with their queues.
    pub(super) fn attached(&self, group: GroupId) -> impl Iterator<Item = (DeviceId, &Arc<Inbox>)> {
        let sessions = self.by_group.get(&group).into_iter().flatten();
        sessions.filter_map(|(device, session)| Some((*device, &self.sessions.get(session)?.inbox)))
    }

    /// Gives everybody who is attached to a group its members' keys.
    pub(super) fn share_keys(&self, group: GroupId) {
        let Some(keys) = self.state(group).map(|state| Arc::new(state.keys())) else { return };
        for (_, inbox) in self.attached(group) {
            inbox.set_keys(keys.clone());
        }
    }

    pub(super) fn devices(&self, group: GroupId) -> BTreeSet<DeviceId> {
        self.by_group.get(&group).into_iter().flat_map(|devices| devices.keys().copied()).collect()
    }

    /// Who is attached to a group, here or at another relay.
    pub(super) fn everywhere(&self, group: GroupId) -> BTreeSet<DeviceId> {
        let mut devices = self.devices(group);
        devices.extend(self.elsewhere.get(&group).into_iter().flatten());
        devices
    }

    /// Whether a device is attached, here or at another relay.
    pub(super) fn is_anywhere(&self, group: GroupId, device: DeviceId) -> bool {
        self.session_of(group, device).is_some()
            || self.elsewhere.get(&group).is_some_and(|there| there.contains(&device))
    }

    /// Notes that a device has come to another relay, if this one has asked who is there.
    pub(super) fn came_elsewhere(&mut self, group: GroupId, device: DeviceId) {
        if self.places.contains_key(&group) {
            self.elsewhere.entry(group).or_default().insert(device);
        }
    }

    /// Notes that a device has left another relay.
    pub(super) fn left_elsewhere(&mut self, group: GroupId, device: DeviceId) {
        if let Some(there) = self.elsewhere.get_mut(&group) {
            there.remove(&device);
        }
    }

    pub(super) fn set_elsewhere(&mut self, group: GroupId, attached: BTreeSet<DeviceId>) {
        if !attached.is_empty() {
            self.elsewhere.insert(group, attached);
        }
    }

    /// Whether somebody is attached to a group here.
    pub(super) fn is_attended(&self, group: GroupId) -> bool {
        self.by_group.contains_key(&group)
    }

    /// The groups that somebody is attached to here.
    pub(super) fn attended(&self) -> Vec<GroupId> {
        self.by_group.keys().copied().collect()
    }

    /// Notes what those that are attached know; returns what they knew before.
    pub(super) fn set_standing(&mut self, group: GroupId, standing: Standing) -> Option<Standing> {
        self.standing.insert(group, standing)
    }

    pub(super) fn all_inboxes(&self) -> impl Iterator<Item = &Arc<Inbox>> {
        self.sessions.values().map(|attached| &attached.inbox)
    }

    /// Notes when something is due for a group.
    pub(super) fn set_due(&mut self, group: GroupId, at: Option<u64>) {
        if let Some(before) = self.due_of.remove(&group) {
            self.due.remove(&(before, group));
        }
        if let Some(at) = at {
            self.due_of.insert(group, at);
            self.due.insert((at, group));
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the groups for which something is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Vec<GroupId> {
        let mut taken = Vec::new();
        while let Some(&(at, group)) = self.due.first()
            && at <= now_ms
        {
            self.set_due(group, None);
            taken.push(group);
        }
        taken
    }
}

/// A group in a log: enough to tell groups apart, not enough to name one.
pub(super) struct Short(pub(super) GroupId);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use sync_types::Suite;

    use super::*;
    use crate::store::{Bytes, Counters, GroupRow, GroupRows};

    fn state(group: GroupId) -> Place {
        let row = GroupRow {
            group,
            suite: Suite::FOUNDED,
            suite_since: 0,
            epoch: 0,
            snapshot: Bytes::from([]),
            group_info: Bytes::from([]),
            last_commit: None,
            rejected: vec![],
            provisional: None,
            created_at_ms: 0,
        };
        Place::Here(Box::new(GroupState::from_rows(GroupRows {
            group: row,
            counters: Counters::default(),
            settled: 0,
            members: vec![],
            heads: vec![],
            statements: vec![],
            welcomes: vec![],
            index: vec![],
            kits: vec![],
            vouches: vec![],
            snapshots: vec![],
            token: None,
        })))
    }

    #[test]
    fn what_is_not_written_yet_stays_in_memory_however_full_it_is() {
        let mut groups = Groups::new(1);
        let ids = [1, 2, 3, 4].map(|n| GroupId([n; 32]));
        for id in ids {
            groups.set(id, state(id));
        }
        // The oldest would be the first to go.
        groups.evict(|| HashSet::from([ids[0], ids[2]]));
        assert_eq!(ids.map(|id| groups.state(id).is_some()), [true, false, true, false]);
        groups.evict(HashSet::new);
        assert_eq!(ids.map(|id| groups.state(id).is_some()), [false, false, true, false]);
    }
}
