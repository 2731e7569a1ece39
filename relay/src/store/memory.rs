//! A store in memory, for tests, the simulator and relays that need not outlive their process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_types::frame::{EntryKind, SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, GroupId};

use super::{
    Bytes, Counters, EntriesQuery, EntryRow, GroupRow, GroupRows, HeadRow, IndexRow, KitRow, MemberRow, SnapshotRow,
    StatementRow, Store, StoreError, StoreFuture, StoreStats, TokenUse, VouchRow, WelcomeRow, Write, tail,
};
use crate::tokens::TokenHash;

/// [`Store`] over ordered maps. Every future is ready at once.
///
/// For tests it can fail a commit, and it can play a disk that says "durable" too early.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    groups: BTreeMap<GroupId, Tables>,
    /// While commits return early: what a loss of power would leave.
    synced: Option<BTreeMap<GroupId, Tables>>,
    /// How often commits fail yet, and how.
    fail_next: Option<(u32, StoreError)>,
    served_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    group: Option<GroupRow>,
    counters: Counters,
    members: BTreeMap<DeviceId, MemberRow>,
    heads: BTreeMap<DeviceId, HeadRow>,
    statements: BTreeMap<(DeviceId, DeviceId), Bytes>,
    welcomes: BTreeMap<DeviceId, (WelcomeRow, Bytes)>,
    kits: BTreeMap<[u8; 32], KitRow>,
    vouches: BTreeMap<DeviceId, VouchRow>,
    snapshots: BTreeMap<SnapshotSlot, (SnapshotRow, SealedSnapshot)>,
    token: Option<TokenHash>,
    entries: BTreeMap<u64, EntryRow>,
    /// Cursors of the held envelopes, so that deleting them looks at no other.
    by_sender: BTreeMap<DeviceId, BTreeSet<u64>>,
    /// Cursors of the held commits and rejects.
    commits: BTreeSet<u64>,
}

/// A copy of all that it holds now, as a backup would be.
impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.inner().clone()))
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit fail with this error, and change nothing.
    pub fn fail_next(&self, error: StoreError) {
        self.fail(1, error);
    }

    /// Makes so many commits from now on fail with this error, and change nothing; with [`StoreError::Stale`], nothing of the
    /// groups that it names.
    pub fn fail(&self, times: u32, error: StoreError) {
        self.inner().fail_next = Some((times, error)).filter(|_| times > 0);
    }

    /// From now on, commits return before they are durable: a disk that lies.
    pub fn hold_back_syncs(&self) {
        let mut inner = self.inner();
        inner.synced = Some(inner.groups.clone());
    }

    /// Loses power: everything since [`MemoryStore::hold_back_syncs`] is gone, and commits are durable again.
    pub fn lose_unsynced(&self) {
        let mut inner = self.inner();
        if let Some(synced) = inner.synced.take() {
            inner.groups = synced;
        }
    }

    /// No commit panics halfway, so what a poisoned lock guards is whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self, group: GroupId) -> StoreFuture<'_, Option<GroupRows>> {
        let rows = self.inner().groups.get(&group).and_then(Tables::rows).transpose();
        Box::pin(std::future::ready(rows))
    }

    fn commit(&self, writes: Vec<Write>) -> StoreFuture<'_, ()> {
        // In the future's own body, so that a future that is never polled commits nothing.
        Box::pin(async move { self.inner().commit(writes) })
    }

    fn entries(&self, query: EntriesQuery) -> StoreFuture<'_, Vec<EntryRow>> {
        let rows = self.inner().groups.get(&query.group).map(|tables| tables.select(query)).unwrap_or_default();
        Box::pin(std::future::ready(Ok(rows)))
    }

    fn welcome(&self, group: GroupId, device: DeviceId) -> StoreFuture<'_, Option<Bytes>> {
        let inner = self.inner();
        let bytes = inner.groups.get(&group).and_then(|t| t.welcomes.get(&device)).map(|(_, bytes)| bytes.clone());
        Box::pin(std::future::ready(Ok(bytes)))
    }

    fn served(&self) -> StoreFuture<'_, u64> {
        let served_ms = self.inner().served_ms;
        Box::pin(std::future::ready(Ok(served_ms)))
    }

    fn set_served(&self, served_ms: u64) -> StoreFuture<'_, ()> {
        let mut inner = self.inner();
        inner.served_ms = inner.served_ms.max(served_ms);
        Box::pin(std::future::ready(Ok(())))
    }

    fn kits(&self, key: [u8; 32]) -> StoreFuture<'_, Vec<(GroupId, bool)>> {
        let inner = self.inner();
        let mut found: Vec<(u64, GroupId, bool)> = Vec::new();
        for (group, tables) in inner.groups.iter().filter(|(_, tables)| tables.group.is_some()) {
            found.extend(tables.kits.get(&key).map(|kit| (kit.from, *group, kit.until.is_none())));
        }
        found.sort_unstable();
        Box::pin(std::future::ready(Ok(found.into_iter().map(|(_, group, current)| (group, current)).collect())))
    }

    fn kit_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> StoreFuture<'_, Option<SealedSnapshot>> {
        let inner = self.inner();
        let snapshots = inner.groups.get(&group).map(|tables| &tables.snapshots);
        let mut found = snapshots.into_iter().flat_map(BTreeMap::values);
        let found =
            found.find(|(row, _)| row.key == key && Some(row.slot) > after).map(|(_, snapshot)| snapshot.clone());
        Box::pin(std::future::ready(Ok(found)))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        let mut stats = StoreStats::default();
        for tables in self.inner().groups.values().filter(|t| t.group.is_some()) {
            stats.groups += 1;
            stats.entries += tables.entries.len() as u64;
            stats.bytes += tables.bytes();
        }
        Box::pin(std::future::ready(Ok(stats)))
    }

    fn token_use(&self) -> StoreFuture<'_, Vec<TokenUse>> {
        let mut counted: BTreeMap<TokenHash, TokenUse> = BTreeMap::new();
        for (token, tables) in self.inner().groups.values().filter_map(|tables| Some((tables.token?, tables))) {
            let used = counted.entry(token).or_insert(TokenUse { token, groups: 0, bytes: 0 });
            used.groups += 1;
            used.bytes += tables.bytes();
        }
        Box::pin(std::future::ready(Ok(counted.into_values().collect())))
    }
}

impl Inner {
    fn commit(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        if let Some((times, error)) = self.fail_next.take() {
            self.fail_next = (times > 1).then(|| (times - 1, error.clone()));
            if let StoreError::Stale(stale) = &error {
                let others = writes.into_iter().filter(|write| !stale.contains(&write.group())).collect();
                self.apply(others)?;
            }
            return Err(error);
        }
        self.apply(writes)
    }

    fn apply(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        // The only write that can fail is looked at before any is applied.
        let (mut seen, mut emptied) = (BTreeSet::new(), BTreeSet::new());
        for write in &writes {
            if let Write::DeleteGroup(group) = write {
                seen.retain(|(of, _)| of != group);
                emptied.insert(*group);
            }
            let Write::AppendEntries(group, rows) = write else { continue };
            let held = self.groups.get(group).filter(|_| !emptied.contains(group));
            let used = |c: u64| held.is_some_and(|t| t.entries.contains_key(&c));
            if rows.iter().any(|row| used(row.cursor) || !seen.insert((*group, row.cursor))) {
                return Err(StoreError::Corrupt("a cursor is given out twice".into()));
            }
        }
        for write in writes {
            if let Write::DeleteGroup(group) = write {
                self.groups.remove(&group);
                continue;
            }
            self.groups.entry(write.group()).or_default().apply(write);
        }
        Ok(())
    }
}

impl Tables {
    fn apply(&mut self, write: Write) {
        match write {
            Write::PutGroup(row) => self.group = Some(*row),
            Write::SetCounters(_, counters) => self.counters = counters,
            Write::PutMember(_, row) => {
                self.members.insert(row.device, row);
            }
            Write::SetAcknowledged(_, device, cursor) => {
                if let Some(member) = self.members.get_mut(&device) {
                    member.acknowledged = cursor;
                }
            }
            Write::DeleteMember(_, device) => {
                self.members.remove(&device);
            }
            Write::PutHead(_, row) => {
                self.heads.insert(row.sender, row);
            }
            Write::PutStatement(_, row) => {
                self.statements.insert((row.acknowledger, row.sender), row.statement);
            }
            Write::DeleteStatements(_, device) => {
                self.statements.retain(|(by, about), _| *by != device && *about != device);
            }
            Write::AppendEntries(_, rows) => rows.into_iter().for_each(|row| self.append(row)),
            Write::DeleteEnvelopes { sender, up_to, .. } => {
                let Some(cursors) = self.by_sender.get_mut(&sender) else { return };
                let kept = cursors.split_off(&up_to.saturating_add(1));
                let gone = std::mem::replace(cursors, kept);
                gone.iter().for_each(|cursor| drop(self.entries.remove(cursor)));
            }
            Write::DeleteCommits { up_to, .. } => {
                let kept = self.commits.split_off(&up_to.saturating_add(1));
                let gone = std::mem::replace(&mut self.commits, kept);
                gone.iter().for_each(|cursor| drop(self.entries.remove(cursor)));
            }
            Write::DeleteCommit { cursor, .. } => {
                if self.commits.remove(&cursor) {
                    self.entries.remove(&cursor);
                }
            }
            Write::PutWelcome(_, row, bytes) => {
                self.welcomes.insert(row.device, (row, bytes));
            }
            Write::DeleteWelcome(_, device) => {
                self.welcomes.remove(&device);
            }
            Write::PutKit(_, row) => {
                self.kits.insert(row.key, row);
            }
            Write::DeleteKit(_, key) => {
                self.kits.remove(&key);
            }
            Write::PutVouch(_, row) => {
                self.vouches.insert(row.device, row);
            }
            Write::DeleteVouch(_, device) => {
                self.vouches.remove(&device);
            }
            Write::PutSnapshot(_, row, snapshot) => {
                self.snapshots.insert(row.slot, (row, *snapshot));
            }
            Write::DeleteSnapshot(_, slot) => {
                self.snapshots.remove(&slot);
            }
            Write::PutToken(_, token) => self.token = Some(token),
            Write::DeleteGroup(_) => *self = Self::default(),
        }
    }

    /// Bytes of the entries that are held.
    fn bytes(&self) -> u64 {
        self.entries.values().map(|row| row.bytes.len() as u64).sum()
    }

    fn append(&mut self, row: EntryRow) {
        match row.kind {
            EntryKind::Envelope => self.by_sender.entry(row.sender).or_default().insert(row.cursor),
            EntryKind::Commit | EntryKind::Reject => self.commits.insert(row.cursor),
        };
        self.entries.insert(row.cursor, row);
    }

    fn rows(&self) -> Option<Result<GroupRows, StoreError>> {
        let index = |row: &EntryRow| IndexRow {
            cursor: row.cursor,
            kind: row.kind,
            sender: row.sender,
            size: u32::try_from(row.bytes.len()).expect("an entry fits into a frame of 4 MiB"),
        };
        let statement = |(&(acknowledger, sender), statement): (&(DeviceId, DeviceId), &Bytes)| StatementRow {
            acknowledger,
            sender,
            statement: statement.clone(),
        };
        let rows = GroupRows {
            group: self.group.clone()?,
            counters: self.counters,
            settled: self.counters.newest,
            members: self.members.values().cloned().collect(),
            heads: self.heads.values().cloned().collect(),
            statements: self.statements.iter().map(statement).collect(),
            welcomes: self.welcomes.values().map(|(row, _)| *row).collect(),
            index: self.entries.values().map(index).collect(),
            kits: self.kits.values().copied().collect(),
            vouches: self.vouches.values().copied().collect(),
            snapshots: self.snapshots.values().map(|(row, _)| *row).collect(),
            token: self.token,
        };
        let last = tail::last_envelopes(&rows);
        let bodies = last.iter().filter_map(|cursor| self.entries.get(cursor)).map(|row| row.bytes.clone()).collect();
        Some(tail::count(rows, bodies))
    }

    fn select(&self, query: EntriesQuery) -> Vec<EntryRow> {
        if query.after >= query.until {
            return Vec::new();
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        let range = self.entries.range(query.after + 1..=query.until);
        for row in range.map(|(_, row)| row).filter(|row| query.matches(row.cursor, row.kind, row.sender)) {
            bytes += row.bytes.len();
            if bytes > query.max_bytes && !rows.is_empty() {
                break;
            }
            rows.push(row.clone());
        }
        rows
    }
}
