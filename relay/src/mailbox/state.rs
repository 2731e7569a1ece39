//! A group's rows in memory, what each device may see of its log, and what nobody waits for any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::frame::{EntryKind, SnapshotSlot};
use sync_types::{DeviceId, EntryHash, GroupId, Header, limits};

use super::Keys;
use super::carry::Carried;
use super::push::PutOff;
use crate::store::{
    Bytes, Counters, EntryRow, GroupRow, GroupRows, HeadRow, IndexRow, KitRow, MemberRow, Provisional, SnapshotRow,
    StatementRow, VouchRow, WelcomeRow, Write,
};
use crate::tokens::TokenHash;

/// A group, held in memory by whoever runs its mailbox. Loaded once, then the only place where the group is changed; of relays
/// that share a store each has one, and what is decided on a state that another has overtaken is never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    pub(super) group: GroupRow,
    pub(super) counters: Counters,
    /// Up to which cursor counters and heads were written.
    settled: u64,
    /// Beyond which cursor the next one is given out. Not on disk: each relay has it of when it started, and tells nobody of it
    /// before there is an entry, as of relays that share rows another one may give out cursors below still.
    first: u64,
    /// Whose heads later entries have moved.
    unsettled: BTreeSet<DeviceId>,
    pub(super) members: BTreeMap<DeviceId, MemberRow>,
    pub(super) heads: BTreeMap<DeviceId, HeadRow>,
    /// By (acknowledger, sender).
    pub(super) statements: BTreeMap<(DeviceId, DeviceId), Bytes>,
    pub(super) carried: Carried,
    /// The cursor of the commit that each waiting Welcome belongs to.
    pub(super) welcomes: BTreeMap<DeviceId, u64>,
    pub(super) kits: BTreeMap<[u8; 32], KitRow>,
    pub(super) vouches: BTreeMap<DeviceId, VouchRow>,
    pub(super) snapshots: BTreeMap<SnapshotSlot, SnapshotRow>,
    /// The access token that it was made with.
    token: Option<TokenHash>,
    /// Held envelopes by sender, as (cursor, bytes).
    envelopes: BTreeMap<DeviceId, VecDeque<(u64, u32)>>,
    /// Held commits and rejects, by cursor.
    commits: BTreeMap<u64, IndexRow>,
    /// Since when a sender's pushes wait for the retry of a stale cut. Not on disk: it is over within seconds.
    pub(super) waits: BTreeMap<DeviceId, u64>,
    /// Which envelope each sender was told to send again later. Not on disk: it is over within seconds.
    pub(super) put_off: BTreeMap<DeviceId, PutOff>,
    /// Members that no envelope waits for. Not on disk: it follows from when they were seen.
    pub(super) lapsed: BTreeSet<DeviceId>,
    /// When each member was last seen, where that is later than what is on disk.
    pub(super) seen: BTreeMap<DeviceId, u64>,
}

/// What a device may be shown of its group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Entries beyond this cursor.
    pub after: u64,
    /// Entries up to this cursor; `u64::MAX` for a current member.
    pub until: u64,
    /// Commits and rejects only.
    pub commits_only: bool,
}

impl GroupState {
    /// The group behind its rows.
    pub fn from_rows(rows: GroupRows) -> Self {
        let mut envelopes: BTreeMap<DeviceId, VecDeque<(u64, u32)>> = BTreeMap::new();
        let mut commits = BTreeMap::new();
        for row in rows.index {
            match row.kind {
                EntryKind::Envelope => envelopes.entry(row.sender).or_default().push_back((row.cursor, row.size)),
                EntryKind::Commit | EntryKind::Reject => drop(commits.insert(row.cursor, row)),
            }
        }
        // One statement names many senders, and is one in memory.
        let mut known: BTreeSet<Bytes> = BTreeSet::new();
        let mut shared = |statement: Bytes| match known.get(&statement) {
            Some(known) => known.clone(),
            None => {
                known.insert(statement.clone());
                statement
            }
        };
        let statements =
            rows.statements.into_iter().map(|s| ((s.acknowledger, s.sender), shared(s.statement))).collect();
        let settled = rows.settled;
        let moved = |held: &VecDeque<(u64, u32)>| held.back().is_some_and(|(cursor, _)| *cursor > settled);
        let unsettled = envelopes.iter().filter(|(_, held)| moved(held)).map(|(sender, _)| *sender).collect();
        Self {
            group: rows.group,
            counters: rows.counters,
            settled,
            first: 0,
            unsettled,
            members: rows.members.into_iter().map(|m| (m.device, m)).collect(),
            heads: rows.heads.into_iter().map(|h| (h.sender, h)).collect(),
            statements,
            carried: Carried::new(),
            welcomes: rows.welcomes.into_iter().map(|w| (w.device, w.cursor)).collect(),
            kits: rows.kits.into_iter().map(|k| (k.key, k)).collect(),
            vouches: rows.vouches.into_iter().map(|v| (v.device, v)).collect(),
            snapshots: rows.snapshots.into_iter().map(|s| (s.slot, s)).collect(),
            token: rows.token,
            envelopes,
            commits,
            waits: BTreeMap::new(),
            put_off: BTreeMap::new(),
            lapsed: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// The rows behind the group: what [`crate::store::Store::load`] returns once every decision is durable.
    pub fn rows(&self) -> GroupRows {
        let envelope = |sender: &DeviceId, &(cursor, size): &(u64, u32)| IndexRow {
            cursor,
            kind: EntryKind::Envelope,
            sender: *sender,
            size,
        };
        let mut index: Vec<IndexRow> =
            self.envelopes.iter().flat_map(|(s, held)| held.iter().map(|e| envelope(s, e))).collect();
        index.extend(self.commits.values());
        index.sort_unstable_by_key(|row| row.cursor);
        let statement = |(&(acknowledger, sender), statement): (&(DeviceId, DeviceId), &Bytes)| StatementRow {
            acknowledger,
            sender,
            statement: statement.clone(),
        };
        GroupRows {
            group: self.group.clone(),
            counters: self.counters,
            settled: self.settled,
            members: self.members.values().cloned().collect(),
            heads: self.heads.values().cloned().collect(),
            statements: self.statements.iter().map(statement).collect(),
            welcomes: self.welcomes.iter().map(|(&device, &cursor)| WelcomeRow { device, cursor }).collect(),
            index,
            kits: self.kits.values().copied().collect(),
            vouches: self.vouches.values().copied().collect(),
            snapshots: self.snapshots.values().copied().collect(),
            token: self.token,
        }
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.group.group
    }

    /// The newest ordered epoch, provisional or not.
    pub fn epoch(&self) -> u64 {
        self.group.epoch
    }

    /// The newest epoch that is final.
    pub fn confirmed_epoch(&self) -> u64 {
        self.group.provisional.as_ref().map_or(self.group.epoch, |p| p.epoch)
    }

    /// Whether an envelope may be sealed so. Which suite the group had before it moved its members know, and open nothing of
    /// another.
    pub(super) fn may_be_of_suite(&self, header: &Header) -> bool {
        header.epoch < self.group.suite_since || header.suite == self.group.suite as u8
    }

    /// The group's counters, with decisions that are not durable yet.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The access token that the group was made with, if the relay wanted one.
    pub fn token(&self) -> Option<TokenHash> {
        self.token
    }

    /// Notes the access token with which the group is made now.
    pub fn set_token(&mut self, token: TokenHash) -> Write {
        self.token = Some(token);
        Write::PutToken(self.id(), token)
    }

    /// Whether the device is a current member, by the newest commit.
    pub fn is_member(&self, device: DeviceId) -> bool {
        self.members.get(&device).is_some_and(|m| m.removed.is_none())
    }

    /// The keys by which to verify what is pushed: of members, and of those that a reject would bring back.
    pub fn keys(&self) -> Keys {
        self.holders().map(|m| (m.device, m.key)).collect()
    }

    /// What the device may be shown; `None` for a stranger.
    pub fn view(&self, device: DeviceId) -> Option<View> {
        let member = self.members.get(&device)?;
        let after = member.start;
        let provisional = self.provisional_cursor();
        Some(match member.removed {
            // It may come back within seconds, so until then nothing says that it is out, and nothing new is shown.
            Some(removal) if Some(removal.cursor) == provisional => {
                View { after, until: removal.cursor - 1, commits_only: false }
            }
            Some(removal) if stands(Defence::RemovedView) => View { after, until: removal.cursor, commits_only: true },
            Some(_) => View { after, until: u64::MAX, commits_only: false },
            // Without its Welcome it can read nothing, and that waits until the commit is final.
            None if self.is_provisional_newcomer(member) => View { after, until: 0, commits_only: false },
            None => View { after, until: u64::MAX, commits_only: false },
        })
    }

    /// When [`GroupState::timeout`] is due, in milliseconds since the Unix epoch.
    pub fn next_timeout(&self) -> Option<u64> {
        let provisional = self.group.provisional.as_ref().map(|p| p.deadline_ms);
        let expiry = self.members.values().filter_map(expires_at).min();
        [provisional, expiry].into_iter().flatten().min()
    }

    /// The commits and rejects that are held, in the order of their cursors.
    pub(super) fn held_commits(&self) -> impl DoubleEndedIterator<Item = &IndexRow> {
        self.commits.values()
    }

    /// The cursor of the commit that is provisional.
    pub(super) fn provisional_cursor(&self) -> Option<u64> {
        self.group.provisional.as_ref().map(|p| p.cursor)
    }

    /// Whether the member was added by a commit that is provisional still.
    pub(super) fn is_provisional_newcomer(&self, member: &MemberRow) -> bool {
        member.added != 0 && Some(member.added) == self.provisional_cursor()
    }

    /// Whether the device is a member that the provisional commit keeps, other than its committer.
    pub(super) fn is_kept_witness(&self, device: DeviceId, provisional: &Provisional) -> bool {
        let kept = |m: &MemberRow| m.removed.is_none() && !self.is_provisional_newcomer(m);
        device != provisional.committer && self.members.get(&device).is_some_and(kept)
    }

    /// Whether somebody that could confirm or reject the provisional commit is attached.
    pub(super) fn has_witness(&self, attached: &BTreeSet<DeviceId>) -> bool {
        let provisional = self.group.provisional.as_ref();
        provisional.is_some_and(|p| attached.iter().any(|d| self.is_kept_witness(*d, p)))
    }

    /// Whether an envelope of this sender has to wait for anybody.
    pub(super) fn has_reader_beside(&self, sender: DeviceId) -> bool {
        self.holders().any(|m| m.device != sender && !self.lapsed.contains(&m.device))
    }

    /// Whether entries of others are held beyond a cursor.
    pub(super) fn holds_for(&self, device: DeviceId, beyond: u64) -> bool {
        let others = self.envelopes.iter().filter(|(sender, _)| **sender != device);
        let newest = others.filter_map(|(_, held)| held.back().map(|(cursor, _)| *cursor));
        newest.chain(self.commits.keys().next_back().copied()).any(|cursor| cursor > beyond)
    }

    /// Whose acknowledgement commits wait for, and envelopes unless it has lapsed: current members, and those that a reject
    /// would bring back.
    fn holders(&self) -> impl Iterator<Item = &MemberRow> {
        let provisional = self.provisional_cursor();
        self.members.values().filter(move |m| m.removed.is_none_or(|r| Some(r.cursor) == provisional))
    }

    /// Takes the next cursor for an entry and counts it.
    pub(super) fn append(&mut self, kind: EntryKind, sender: DeviceId, bytes: Bytes) -> EntryRow {
        let cursor = self.next_cursor();
        let size = u32::try_from(bytes.len()).expect("an entry fits into a frame of 4 MiB");
        self.counters.entries += 1;
        self.counters.bytes += u64::from(size);
        match kind {
            EntryKind::Envelope => self.envelopes.entry(sender).or_default().push_back((cursor, size)),
            EntryKind::Commit | EntryKind::Reject => {
                self.commits.insert(cursor, IndexRow { cursor, kind, sender, size });
            }
        }
        EntryRow { cursor, kind, sender, bytes }
    }

    /// Gives out cursors beyond this one only: [`super::first_cursor`] of when the relay started. A relay that came back older, or
    /// with nothing, must not give out again what its devices have had for other entries.
    pub fn begin_at(&mut self, cursor: u64) {
        self.first = self.first.max(cursor);
    }

    /// The largest cursor that a device may have had from this relay, or from what it was before it lost data.
    pub(super) fn ceiling(&self) -> u64 {
        self.counters.newest.max(self.first)
    }

    /// Takes the next cursor.
    pub(super) fn next_cursor(&mut self) -> u64 {
        self.counters.newest = self.ceiling() + 1;
        self.counters.newest
    }

    /// Moves a sender's head. It is written when the counters are.
    pub(super) fn set_head(&mut self, row: HeadRow) {
        self.unsettled.insert(row.sender);
        self.heads.insert(row.sender, row);
    }

    /// How many cursors were given out since the counters were written.
    pub(super) fn since_settled(&self) -> u64 {
        self.counters.newest - self.settled
    }

    /// Writes the counters, and the heads that have moved. Comes with everything but appends: a deleted entry says no
    /// more what it did to them.
    pub(super) fn put_counters(&mut self, writes: &mut Vec<Write>) {
        let group = self.id();
        let moved = std::mem::take(&mut self.unsettled);
        let heads = moved.iter().filter_map(|sender| self.heads.get(sender));
        writes.extend(heads.map(|head| Write::PutHead(group, head.clone())));
        writes.push(Write::SetCounters(group, self.counters));
        self.settled = self.counters.newest;
    }

    /// Deletes every entry that nobody waits for, and says whether there was one. `after`: commits up to this cursor wait for
    /// whom they waited before. Costs a step for each member, each sender, each entry deleted and each commit beyond
    /// `after`; entries that stay cost nothing else, as many as a group may hold for those that never come back.
    pub(super) fn collect(&mut self, after: u64, writes: &mut Vec<Write>) -> bool {
        let group = self.id();
        let (slowest, least, second) = self.slowest_holders();
        let all = self.holders().map(|m| m.acknowledged).min().unwrap_or(u64::MAX);
        let carried = self.carried_limits();
        let owed = self.owed();
        let mut gone = Vec::new();
        let before = self.counters.entries;
        let counters = &mut self.counters;
        let mut forget = |size: u32| {
            counters.entries -= 1;
            counters.bytes -= u64::from(size);
        };
        self.envelopes.retain(|&sender, held| {
            let limit = if Some(sender) == slowest { second } else { least };
            let limit = carried.get(&sender).map_or(limit, |carried| limit.max(*carried));
            let mut up_to = None;
            while let Some((cursor, size)) = held.pop_front_if(|(cursor, _)| *cursor <= limit) {
                forget(size);
                up_to = Some(cursor);
            }
            writes.extend(up_to.map(|up_to| Write::DeleteEnvelopes { group, sender, up_to }));
            gone.extend(up_to.map(|up_to| (sender, up_to)));
            !held.is_empty()
        });
        let waits = |cursor: u64| {
            let next = owed.partition_point(|(_, removal)| *removal < cursor);
            owed.get(next).is_some_and(|(acknowledged, _)| *acknowledged < cursor)
        };
        let beyond = self.commits.range(after.saturating_add(1)..).take_while(|(cursor, _)| **cursor <= all);
        let over: Vec<u64> = beyond.map(|(cursor, _)| *cursor).filter(|cursor| !waits(*cursor)).collect();
        for cursor in &over {
            forget(self.commits.remove(cursor).map_or(0, |row| row.size));
        }
        let last = over.last().copied().unwrap_or_default();
        if self.commits.first_key_value().is_none_or(|(first, _)| *first > last) {
            writes.extend((last > 0).then_some(Write::DeleteCommits { group, up_to: last }));
        } else {
            // Among those that go stay others that a former member is owed.
            writes.extend(over.iter().map(|&cursor| Write::DeleteCommit { group, cursor }));
        }
        for (sender, up_to) in gone {
            self.note_missed(sender, up_to, writes);
        }
        self.counters.entries != before
    }

    /// Which commits former members wait for, as stretches (beyond, up to) that do not touch, in their order: from behind a
    /// member's Add, where its Welcome begins, up to its removal.
    fn owed(&self) -> Vec<(u64, u64)> {
        let former = self.members.values().filter_map(|m| Some((m.acknowledged.max(m.added), m.removed?.cursor)));
        let mut each: Vec<(u64, u64)> = former.filter(|(after, removal)| after < removal).collect();
        each.sort_unstable();
        let mut owed: Vec<(u64, u64)> = Vec::new();
        for (after, removal) in each {
            match owed.last_mut() {
                Some(last) if after <= last.1 => last.1 = last.1.max(removal),
                _ => owed.push((after, removal)),
            }
        }
        owed
    }

    /// Who of the holders that have not lapsed has acknowledged least and up to where, and the least of all others.
    /// `u64::MAX` for nobody.
    fn slowest_holders(&self) -> (Option<DeviceId>, u64, u64) {
        let (mut slowest, mut least, mut second) = (None, u64::MAX, u64::MAX);
        for member in self.holders().filter(|m| !self.lapsed.contains(&m.device)) {
            if slowest.is_none() || member.acknowledged < least {
                second = least;
                (slowest, least) = (Some(member.device), member.acknowledged);
            } else {
                second = second.min(member.acknowledged);
            }
        }
        (slowest, least, second)
    }

    /// Of each sender that a carried acknowledgement speaks of: up to which cursor each holder that has not lapsed has its envelopes, by
    /// its cursor or by its word.
    fn carried_limits(&self) -> BTreeMap<DeviceId, u64> {
        let senders: BTreeSet<DeviceId> = self.carried.keys().map(|(sender, _)| *sender).collect();
        let held = senders.into_iter().filter_map(|sender| Some((sender, self.envelopes.get(&sender)?)));
        held.map(|(sender, held)| {
            let waited_for = self.holders().filter(|m| m.device != sender && !self.lapsed.contains(&m.device));
            let up_to = |m: &MemberRow| m.acknowledged.max(self.carried_up_to(sender, m.device, held));
            (sender, waited_for.map(up_to).min().unwrap_or(u64::MAX))
        })
        .collect()
    }

    /// Up to which cursor a member has a sender's envelopes by its word. The rows have no numbers, but the last one that is held has the
    /// head's at the most, the one before it a smaller one, and so on: so too little is taken for signed, and never too much.
    fn carried_up_to(&self, sender: DeviceId, by: DeviceId, held: &VecDeque<(u64, u32)>) -> u64 {
        let below = self.carried.get(&(sender, by)).copied().unwrap_or(0);
        let (head, _) = self.position(sender);
        let open = usize::try_from((head + 1).saturating_sub(below)).unwrap_or(usize::MAX);
        let last = held.len().checked_sub(open).and_then(|signed| held.get(signed.checked_sub(1)?));
        last.map_or(0, |(cursor, _)| *cursor)
    }

    /// Forgets acknowledgements by this device and for it.
    pub(super) fn delete_statements(&mut self, device: DeviceId, writes: &mut Vec<Write>) {
        self.carried.retain(|(sender, by), _| *by != device && *sender != device);
        let before = self.statements.len();
        self.statements.retain(|(by, about), _| *by != device && *about != device);
        if self.statements.len() != before {
            writes.push(Write::DeleteStatements(self.id(), device));
        }
    }

    /// Forgets former members whose time is over. Their heads stay, so that no number is ever used twice.
    pub(super) fn expire(&mut self, now_ms: u64, writes: &mut Vec<Write>) -> bool {
        let due: Vec<DeviceId> = self
            .members
            .values()
            .filter(|m| expires_at(m).is_some_and(|at| at <= now_ms) && !self.is_provisionally_removed(m))
            .map(|m| m.device)
            .collect();
        for device in &due {
            self.members.remove(device);
            self.seen.remove(device);
            self.delete_statements(*device, writes);
            writes.push(Write::DeleteMember(self.id(), *device));
        }
        !due.is_empty()
    }

    /// Whether the member was removed by a commit that is provisional still.
    pub(super) fn is_provisionally_removed(&self, member: &MemberRow) -> bool {
        member.removed.is_some_and(|r| Some(r.cursor) == self.provisional_cursor())
    }

    /// The sender's last envelope as (number, hash); zeros before the first.
    pub(super) fn position(&self, sender: DeviceId) -> (u64, EntryHash) {
        self.heads.get(&sender).map_or_else(Default::default, |h| (h.head.seq, h.head.hash))
    }
}

/// When a former member's row goes, in milliseconds since the Unix epoch.
fn expires_at(member: &MemberRow) -> Option<u64> {
    let retention = u64::try_from(limits::FORMER_MEMBER_RETENTION.as_millis()).expect("180 days in milliseconds fit");
    member.removed.map(|r| r.at_ms.saturating_add(retention))
}
