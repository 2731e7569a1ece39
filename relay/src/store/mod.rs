//! What a relay keeps on disk, as rows, and the trait that every store implements.
//!
//! The mailbox decides in memory and says what changed as a list of [`Write`]s; a store applies each list as one durable
//! transaction. All rows are keyed by group first. Reads return only what such a transaction made durable, so an entry is
//! never shown before it would survive a loss of power, nor cursor N+1 before cursor N.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sync_types::frame::{EntryKind, Head, Mac, SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, EntryHash, GroupId, Suite};

use crate::tokens::TokenHash;

mod columns;
mod content;
mod look;
mod memory;
mod plan;
#[cfg(feature = "postgres")]
pub mod postgres;
mod shared;
pub mod sqlite;
mod tail;

pub use content::{Begun, CONTENTS_OF_A_GROUP, ContentBook, KnownContent, NewContent, OLD_CONTENTS, SharedContent};
pub(crate) use content::{PART_BYTES, parts_of};
pub use look::Look;
pub use memory::MemoryStore;
pub use shared::{Elsewhere, Heard, Meeting, News, Node, Shared};

/// Bytes that several parts hold at once: an entry on its way into the store and out to the attached devices.
pub type Bytes = Arc<[u8]>;

/// What the calls of a [`Store`] return. A store without I/O returns ready futures, so that the simulator needs no runtime.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Durable rows of a relay.
pub trait Store: Send + Sync {
    /// Everything of a group but the bodies of entries and welcomes; `None` when there is no such group.
    fn load(&self, group: GroupId) -> StoreFuture<'_, Option<GroupRows>>;

    /// Applies all writes in their order as one transaction and returns once they are durable. On any other error than
    /// [`StoreError::Stale`] none is applied. Writes of many groups may come together.
    ///
    /// A store that several relays share fails with [`StoreError::Stale`] if another relay has written to some of the groups
    /// since this one's last load or commit of them: of those nothing is applied, and all that is of other groups is
    /// durable. So no load of a group may be under way while one of its commits is.
    fn commit(&self, writes: Vec<Write>) -> StoreFuture<'_, ()>;

    /// Entries in the order of their cursors, as the query says; empty when there are none.
    fn entries(&self, query: EntriesQuery) -> StoreFuture<'_, Vec<EntryRow>>;

    /// The Welcome that waits for a device.
    fn welcome(&self, group: GroupId, device: DeviceId) -> StoreFuture<'_, Option<Bytes>>;

    /// For how many milliseconds relays have run on this store, as [`Store::set_served`] was told last; 0 at first.
    fn served(&self) -> StoreFuture<'_, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Notes for how many milliseconds relays have run on this store. A number below the one before changes nothing.
    fn set_served(&self, _served_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The groups that have or had this recovery key, and whether it still is theirs, in the order in which they got it.
    fn kits(&self, key: [u8; 32]) -> StoreFuture<'_, Vec<(GroupId, bool)>>;

    /// The first snapshot that was left for this recovery key behind a place, or of all, in the order of places.
    fn kit_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> StoreFuture<'_, Option<SealedSnapshot>>;

    /// Totals over all groups, for metrics and quotas.
    fn stats(&self) -> StoreFuture<'_, StoreStats>;

    /// What there is of each access token that any group was made with.
    fn token_use(&self) -> StoreFuture<'_, Vec<TokenUse>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// What a host looks at now and then, at a cost that does not grow with the groups. `silent_since_ms` is in the relay's
    /// own time ([`Store::served`]): members that were seen at it or before have lapsed.
    fn survey(&self, _silent_since_ms: u64) -> StoreFuture<'_, Survey> {
        Box::pin(std::future::ready(Ok(Survey::default())))
    }

    /// The groups that hold most, at the most `limit` of them, the largest first. Costs as much as there are groups.
    fn largest(&self, _order: Order, _limit: u32) -> StoreFuture<'_, Vec<GroupSummary>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// What other relays do with the same rows; `None` for a store that one process has for itself.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }

    /// Does a little of what can wait, such as giving freed space back to the disk. Called while nothing else is to be
    /// done; true when there is more.
    fn tidy(&self) -> StoreFuture<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// Why a store could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Another process or a long queue is in the way; the same call may succeed later.
    #[error("the store is busy")]
    Busy,
    /// Another relay has written to these groups since they were loaded here. Load them again and decide anew. What was to be
    /// written of others is durable.
    #[error("another relay has written to {} of the groups", .0.len())]
    Stale(Vec<GroupId>),
    /// The rows are not what this relay wrote.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The disk or a file cannot be read or written.
    #[error("the store cannot be read or written: {0}")]
    Io(String),
}

/// Everything of a group but the bodies of entries and welcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRows {
    /// The group itself.
    pub group: GroupRow,
    /// Its counters.
    pub counters: Counters,
    /// Up to which cursor counters and heads are rows of their own. What was appended behind it was counted from the
    /// entries themselves.
    pub settled: u64,
    /// Its members and former members, in the order of their ids.
    pub members: Vec<MemberRow>,
    /// Each sender's last envelope, in the order of their ids. A row outlives the envelope and the membership.
    pub heads: Vec<HeadRow>,
    /// The latest signed acknowledgements, in the order of (acknowledger, sender).
    pub statements: Vec<StatementRow>,
    /// For whom a Welcome waits, in the order of their ids.
    pub welcomes: Vec<WelcomeRow>,
    /// The entries that are held, without bodies, in the order of their cursors.
    pub index: Vec<IndexRow>,
    /// The group's recovery keys, present and former, in the order of their bytes.
    pub kits: Vec<KitRow>,
    /// What members said of the group's state for whoever comes with the kit, in the order of their ids.
    pub vouches: Vec<VouchRow>,
    /// The snapshots that were left for it, without bodies, in the order of their places.
    pub snapshots: Vec<SnapshotRow>,
    /// The access token that it was made with, if the relay wanted one.
    pub token: Option<TokenHash>,
}

/// What changes with a commit only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// The group.
    pub group: GroupId,
    /// Its cipher suite.
    pub suite: Suite,
    /// The first epoch of that suite: 0 if the group has never moved to another.
    pub suite_since: u64,
    /// The newest ordered epoch.
    pub epoch: u64,
    /// The MLS observer's snapshot at that epoch.
    pub snapshot: Bytes,
    /// The newest GroupInfo, ratchet tree included.
    pub group_info: Bytes,
    /// The labelled hash of the commit that started the epoch; `None` in the founding epoch.
    pub last_commit: Option<EntryHash>,
    /// Commits of the present epoch that were rejected.
    pub rejected: Vec<EntryHash>,
    /// While the last commit is provisional: what a reject restores.
    pub provisional: Option<Provisional>,
    /// When the group was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// The state before a commit that is not final yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisional {
    /// The commit's cursor.
    pub cursor: u64,
    /// The commit's labelled hash.
    pub commit_hash: EntryHash,
    /// Who made it.
    pub committer: DeviceId,
    /// When it becomes final by itself, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// The epoch before.
    pub epoch: u64,
    /// [`GroupRow::suite`] before.
    pub suite: Suite,
    /// [`GroupRow::suite_since`] before.
    pub suite_since: u64,
    /// The snapshot before.
    pub snapshot: Bytes,
    /// The GroupInfo before.
    pub group_info: Bytes,
    /// [`GroupRow::last_commit`] before.
    pub last_commit: Option<EntryHash>,
}

/// A group's counters. `entries` and `bytes` are exact: with nothing held both are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The newest cursor that was given out; cursors start at 1 and are never used again.
    pub newest: u64,
    /// How many entries are held.
    pub entries: u64,
    /// How many bytes these entries have.
    pub bytes: u64,
}

/// A member or former member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRow {
    /// The device.
    pub device: DeviceId,
    /// Its Ed25519 public key in this group.
    pub key: [u8; 32],
    /// The cursor of the commit that added it; 0 for the founder.
    pub added: u64,
    /// It is shown entries beyond this cursor only.
    pub start: u64,
    /// The cursor up to which it has acknowledged.
    pub acknowledged: u64,
    /// Set for a former member.
    pub removed: Option<Removal>,
    /// When it was last seen, in the relay's own time ([`Store::served`]); 0 before it was first looked at.
    pub seen_ms: u64,
    /// Entries up to this cursor may be gone although it has not acknowledged them, as it had lapsed.
    pub missed: u64,
    /// Where it is woken: an encoded [`sync_types::WakeTarget`].
    pub wake: Option<Bytes>,
}

/// When a member stopped being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The cursor of the commit that removed it.
    pub cursor: u64,
    /// When that was, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A sender's last envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// The sender.
    pub sender: DeviceId,
    /// Its last envelope without the ciphertext.
    pub head: Head,
    /// Whether a removal ended the chain here.
    pub cut: bool,
}

/// A signed acknowledgement as far as it concerns one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRow {
    /// Who signed it.
    pub acknowledger: DeviceId,
    /// Whose envelopes it speaks of.
    pub sender: DeviceId,
    /// The bytes of a [`sync_types::frame::Acknowledgement`], as they travelled.
    pub statement: Bytes,
}

/// A Welcome that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WelcomeRow {
    /// For whom.
    pub device: DeviceId,
    /// The cursor of the commit that it belongs to.
    pub cursor: u64,
}

/// A recovery key of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KitRow {
    /// The key.
    pub key: [u8; 32],
    /// The cursor of the commit that put it into the settings, or one of that time.
    pub from: u64,
    /// The cursor of the commit that put another, or none, in its place.
    pub until: Option<u64>,
}

/// A member's word for the group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VouchRow {
    /// Which member.
    pub device: DeviceId,
    /// The epoch that it speaks of.
    pub epoch: u64,
    /// The MAC under the kit's key, which this relay does not have.
    pub mac: Mac,
}

/// A snapshot that was left for whoever comes with the kit, without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its place.
    pub slot: SnapshotSlot,
    /// The recovery key that it is for.
    pub key: [u8; 32],
    /// Who left it.
    pub device: DeviceId,
    /// How long what is sealed is, in bytes.
    pub size: u32,
}

/// A held entry without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// Its cursor.
    pub cursor: u64,
    /// What it is.
    pub kind: EntryKind,
    /// Who sealed, committed or rejected.
    pub sender: DeviceId,
    /// Its length in bytes.
    pub size: u32,
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its cursor.
    pub cursor: u64,
    /// What it is.
    pub kind: EntryKind,
    /// Who sealed, committed or rejected.
    pub sender: DeviceId,
    /// The bytes as they travelled.
    pub bytes: Bytes,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntriesQuery {
    /// The group.
    pub group: GroupId,
    /// Entries beyond this cursor.
    pub after: u64,
    /// Entries up to this cursor, which included.
    pub until: u64,
    /// Stop before the entry with which the bodies would pass so many bytes; the first is returned whatever its size.
    pub max_bytes: usize,
    /// Leave out envelopes of this sender: the device itself. Commits and rejects come whoever made them.
    pub reader: DeviceId,
    /// Leave out all envelopes: for former members.
    pub commits_only: bool,
}

impl EntriesQuery {
    /// Whether the query asks for such an entry, byte limit aside.
    pub fn matches(&self, cursor: u64, kind: EntryKind, sender: DeviceId) -> bool {
        let wanted = kind != EntryKind::Envelope || (!self.commits_only && sender != self.reader);
        cursor > self.after && cursor <= self.until && wanted
    }
}

/// Totals over all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Groups.
    pub groups: u64,
    /// Entries that are held.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
}

/// What the groups that were made with an access token have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenUse {
    /// The token.
    pub token: TokenHash,
    /// How many groups.
    pub groups: u64,
    /// Bytes of the entries that they hold.
    pub bytes: u64,
}

/// What a host looks at; `None` where a store cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// When the oldest entry came that is still held, in seconds since the Unix epoch.
    pub oldest_at_s: Option<u64>,
    /// Bytes that the store has on the disk and does not use.
    pub free_bytes: Option<u64>,
    /// Members that have lapsed, at the most [`LAPSED_COUNTED`].
    pub lapsed: Option<u64>,
    /// How large a database is that is not on this machine, in bytes.
    pub store_bytes: Option<u64>,
}

/// Up to how many lapsed members are counted.
pub const LAPSED_COUNTED: u64 = 10_000;

/// What there is in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Groups, entries and their bytes.
    pub stats: StoreStats,
    /// The oldest entry, free bytes, and members that have lapsed.
    pub survey: Survey,
    /// How large the database is on the disk, in bytes.
    pub file_bytes: u64,
    /// Pages that are free, where the database is one file.
    pub free_pages: Option<u64>,
    /// For how many milliseconds relays have run on it, as it was noted last.
    pub served_ms: u64,
}

/// By what groups are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By the bytes that are held.
    Size,
    /// By the entries that the slowest member has not acknowledged.
    Lag,
}

/// A group as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// The group.
    pub group: GroupId,
    /// Its present members.
    pub members: u64,
    /// Entries that are held.
    pub entries: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How many of them the slowest member has not acknowledged. Not a difference of cursors: these leap at each start.
    pub lag: u64,
    /// When the oldest of them came, in seconds since the Unix epoch; `None` without one, or if that was not noted.
    pub oldest_at_s: Option<u64>,
    /// When any member was seen last, in the relay's own time; 0 for never.
    pub seen_ms: u64,
}

/// One change of rows. "Put" inserts or replaces the whole row behind its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The group's row. Only making a group and its commits write it, so that a push never rewrites the MLS snapshot.
    PutGroup(Box<GroupRow>),
    /// The group's counters, absolute values. From now on counters and heads are those that were written, and only
    /// entries beyond `newest` are counted on top of them: heads that earlier entries moved have to come along.
    SetCounters(GroupId, Counters),
    /// A member's whole row.
    PutMember(GroupId, MemberRow),
    /// Only [`MemberRow::acknowledged`] of an existing member.
    SetAcknowledged(GroupId, DeviceId, u64),
    /// Forgets a member or former member.
    DeleteMember(GroupId, DeviceId),
    /// A sender's head.
    PutHead(GroupId, HeadRow),
    /// A signed acknowledgement for one sender.
    PutStatement(GroupId, StatementRow),
    /// Forgets all acknowledgements by this device and for it.
    DeleteStatements(GroupId, DeviceId),
    /// New entries, in the order of their cursors. With nothing else written they move the group's counters, and the
    /// last envelope of each sender among them is its head: a push need not rewrite rows that change with every push.
    AppendEntries(GroupId, Vec<EntryRow>),
    /// Deletes one sender's envelopes up to a cursor, which included.
    DeleteEnvelopes {
        /// The group.
        group: GroupId,
        /// Whose envelopes.
        sender: DeviceId,
        /// Up to which cursor.
        up_to: u64,
    },
    /// Deletes commits and rejects up to a cursor, which included.
    DeleteCommits {
        /// The group.
        group: GroupId,
        /// Up to which cursor.
        up_to: u64,
    },
    /// Deletes one commit or reject, where earlier ones stay for a former member.
    DeleteCommit {
        /// The group.
        group: GroupId,
        /// Its cursor.
        cursor: u64,
    },
    /// A Welcome for a newcomer.
    PutWelcome(GroupId, WelcomeRow, Bytes),
    /// Forgets a Welcome.
    DeleteWelcome(GroupId, DeviceId),
    /// A recovery key.
    PutKit(GroupId, KitRow),
    /// Forgets a recovery key.
    DeleteKit(GroupId, [u8; 32]),
    /// A member's word for the group's state, in the place of its last one.
    PutVouch(GroupId, VouchRow),
    /// Forgets a member's word.
    DeleteVouch(GroupId, DeviceId),
    /// A snapshot for whoever comes with the kit, in the place of the one before.
    PutSnapshot(GroupId, SnapshotRow, Box<SealedSnapshot>),
    /// Forgets a snapshot.
    DeleteSnapshot(GroupId, SnapshotSlot),
    /// Which access token the group was made with.
    PutToken(GroupId, TokenHash),
    /// Forgets everything of a group. What follows for the same one begins another, whose cursors may be of any size.
    DeleteGroup(GroupId),
}

impl Write {
    /// The group that the write is about.
    pub fn group(&self) -> GroupId {
        match self {
            Self::PutGroup(row) => row.group,
            Self::SetCounters(group, ..)
            | Self::PutMember(group, ..)
            | Self::SetAcknowledged(group, ..)
            | Self::DeleteMember(group, ..)
            | Self::PutHead(group, ..)
            | Self::PutStatement(group, ..)
            | Self::DeleteStatements(group, ..)
            | Self::AppendEntries(group, ..)
            | Self::DeleteEnvelopes { group, .. }
            | Self::DeleteCommits { group, .. }
            | Self::DeleteCommit { group, .. }
            | Self::PutWelcome(group, ..)
            | Self::DeleteWelcome(group, ..)
            | Self::PutKit(group, ..)
            | Self::DeleteKit(group, ..)
            | Self::PutVouch(group, ..)
            | Self::DeleteVouch(group, ..)
            | Self::PutSnapshot(group, ..)
            | Self::DeleteSnapshot(group, ..)
            | Self::PutToken(group, ..)
            | Self::DeleteGroup(group) => *group,
        }
    }
}
