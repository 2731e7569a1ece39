//! From a database's rows to the relay's, with every length and number checked: what cannot have been written by a relay is
//! [`StoreError::Corrupt`].

use sync_types::frame::{EntryKind, Head, Mac, Signature, SnapshotSlot};
use sync_types::{DeviceId, EntryHash, GroupId, Opaque, Suite};

use super::{
    Bytes, Counters, EntryRow, GroupRow, GroupRows, GroupSummary, HeadRow, IndexRow, KitRow, MemberRow, Provisional,
    Removal, SnapshotRow, StatementRow, StoreError, StoreStats, TokenUse, VouchRow, WelcomeRow,
};

pub(super) type Read<T> = Result<T, StoreError>;

/// A row of any database, by the numbers of its columns.
pub(super) trait Columns {
    /// A column of a signed 64-bit number.
    fn integer(&self, column: usize) -> Read<Option<i64>>;

    /// A column of bytes.
    fn bytes(&self, column: usize) -> Read<Option<&[u8]>>;
}

/// A number as databases hold it. Cursors, epochs and sizes stay far below 2⁶³; "everything" may be asked for as `u64::MAX`.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a column holds no {what}"))
}

fn optional_unsigned(row: &impl Columns, column: usize) -> Read<Option<u64>> {
    row.integer(column)?.map(|v| u64::try_from(v).map_err(|_| corrupt("cursor, epoch, time or count"))).transpose()
}

pub(super) fn unsigned(row: &impl Columns, column: usize) -> Read<u64> {
    optional_unsigned(row, column)?.ok_or_else(|| corrupt("cursor, epoch or count"))
}

pub(super) fn blob(row: &impl Columns, column: usize) -> Read<&[u8]> {
    row.bytes(column)?.ok_or_else(|| corrupt("bytes"))
}

pub(super) fn fixed<const N: usize>(row: &impl Columns, column: usize) -> Read<[u8; N]> {
    blob(row, column)?.try_into().map_err(|_| corrupt("id, hash, key or signature"))
}

fn optional_hash(row: &impl Columns, column: usize) -> Read<Option<EntryHash>> {
    row.bytes(column)?.map(|b| EntryHash::from_slice(b).ok_or_else(|| corrupt("hash"))).transpose()
}

fn kind(row: &impl Columns, column: usize) -> Read<EntryKind> {
    match unsigned(row, column)? {
        1 => Ok(EntryKind::Envelope),
        2 => Ok(EntryKind::Commit),
        3 => Ok(EntryKind::Reject),
        _ => Err(corrupt("kind of entry")),
    }
}

/// What a store reads of a group, each table in the order of its key.
pub(super) struct Tables<R> {
    /// All columns of `groups`.
    pub(super) group: R,
    /// Columns: newest, entries, bytes.
    pub(super) counters: Option<R>,
    /// Columns: device, key, added, start, acknowledged, removed at cursor, removed at time, seen, missed, wake.
    pub(super) members: Vec<R>,
    /// Columns: sender, seq, hash, header, ciphertext's hash, signature, cut.
    pub(super) heads: Vec<R>,
    /// Columns: acknowledger, sender, statement.
    pub(super) statements: Vec<R>,
    /// Columns: device, cursor.
    pub(super) welcomes: Vec<R>,
    /// Columns: cursor, kind, sender, size.
    pub(super) index: Vec<R>,
    /// Columns: key, from, until.
    pub(super) kits: Vec<R>,
    /// Columns: device, epoch, MAC.
    pub(super) vouches: Vec<R>,
    /// Columns: slot, key, device, size.
    pub(super) snapshots: Vec<R>,
    /// Column: token.
    pub(super) token: Option<R>,
}

impl<R: Columns> Tables<R> {
    /// The group without what was appended behind its counters: [`super::tail`] counts that.
    pub(super) fn rows(&self, group: GroupId) -> Read<GroupRows> {
        let counters = match &self.counters {
            Some(row) => Counters { newest: unsigned(row, 0)?, entries: unsigned(row, 1)?, bytes: unsigned(row, 2)? },
            None => Counters::default(),
        };
        Ok(GroupRows {
            group: group_row(&self.group, group)?,
            counters,
            settled: counters.newest,
            members: each(&self.members, member_row)?,
            heads: each(&self.heads, head_row)?,
            statements: each(&self.statements, statement_row)?,
            welcomes: each(&self.welcomes, |row| {
                Ok(WelcomeRow { device: DeviceId(fixed(row, 0)?), cursor: unsigned(row, 1)? })
            })?,
            index: each(&self.index, index_row)?,
            kits: each(&self.kits, |row| {
                Ok(KitRow { key: fixed(row, 0)?, from: unsigned(row, 1)?, until: optional_unsigned(row, 2)? })
            })?,
            vouches: each(&self.vouches, |row| {
                let (device, mac) = (DeviceId(fixed(row, 0)?), Mac(fixed(row, 2)?));
                Ok(VouchRow { device, epoch: unsigned(row, 1)?, mac })
            })?,
            snapshots: each(&self.snapshots, |row| {
                let (slot, device) = (SnapshotSlot(fixed(row, 0)?), DeviceId(fixed(row, 2)?));
                Ok(SnapshotRow { slot, key: fixed(row, 1)?, device, size: size(row, 3)? })
            })?,
            token: self.token.as_ref().map(|row| fixed(row, 0)).transpose()?,
        })
    }
}

fn each<R, T>(rows: &[R], read: impl Fn(&R) -> Read<T>) -> Read<Vec<T>> {
    rows.iter().map(read).collect()
}

fn size(row: &impl Columns, column: usize) -> Read<u32> {
    u32::try_from(unsigned(row, column)?).map_err(|_| corrupt("size"))
}

fn group_row(row: &impl Columns, group: GroupId) -> Read<GroupRow> {
    let suite = |number: u64| {
        let suite = u8::try_from(number).ok().and_then(|n| Suite::from_wire(n).ok());
        suite.ok_or_else(|| corrupt("known cipher suite"))
    };
    let present = suite(unsigned(row, 1)?)?;
    let (rejected, rest) = blob(row, 6)?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(corrupt("list of hashes"));
    }
    let provisional = match optional_unsigned(row, 8)? {
        None => None,
        Some(cursor) => Some(Provisional {
            cursor,
            commit_hash: EntryHash(fixed(row, 9)?),
            committer: DeviceId(fixed(row, 10)?),
            deadline_ms: unsigned(row, 11)?,
            epoch: unsigned(row, 12)?,
            // Without them the commit is from before groups could move.
            suite: optional_unsigned(row, 17)?.map_or(Ok(present), suite)?,
            suite_since: optional_unsigned(row, 18)?.unwrap_or_default(),
            snapshot: blob(row, 13)?.into(),
            group_info: blob(row, 14)?.into(),
            last_commit: optional_hash(row, 15)?,
        }),
    };
    Ok(GroupRow {
        group,
        suite: present,
        suite_since: unsigned(row, 16)?,
        epoch: unsigned(row, 2)?,
        snapshot: blob(row, 3)?.into(),
        group_info: blob(row, 4)?.into(),
        last_commit: optional_hash(row, 5)?,
        rejected: rejected.iter().map(|hash| EntryHash(*hash)).collect(),
        provisional,
        created_at_ms: unsigned(row, 7)?,
    })
}

fn member_row(row: &impl Columns) -> Read<MemberRow> {
    let removed = match (optional_unsigned(row, 5)?, optional_unsigned(row, 6)?) {
        (Some(cursor), Some(at_ms)) => Some(Removal { cursor, at_ms }),
        (None, None) => None,
        _ => return Err(corrupt("whole removal")),
    };
    Ok(MemberRow {
        device: DeviceId(fixed(row, 0)?),
        key: fixed(row, 1)?,
        added: unsigned(row, 2)?,
        start: unsigned(row, 3)?,
        acknowledged: unsigned(row, 4)?,
        removed,
        seen_ms: unsigned(row, 7)?,
        missed: unsigned(row, 8)?,
        wake: row.bytes(9)?.map(Bytes::from),
    })
}

fn head_row(row: &impl Columns) -> Read<HeadRow> {
    Ok(HeadRow {
        sender: DeviceId(fixed(row, 0)?),
        head: Head {
            seq: unsigned(row, 1)?,
            hash: EntryHash(fixed(row, 2)?),
            header: Opaque(blob(row, 3)?.to_vec()),
            ciphertext_hash: EntryHash(fixed(row, 4)?),
            signature: Signature(fixed(row, 5)?),
        },
        cut: unsigned(row, 6)? != 0,
    })
}

fn statement_row(row: &impl Columns) -> Read<StatementRow> {
    Ok(StatementRow {
        acknowledger: DeviceId(fixed(row, 0)?),
        sender: DeviceId(fixed(row, 1)?),
        statement: blob(row, 2)?.into(),
    })
}

fn index_row(row: &impl Columns) -> Read<IndexRow> {
    Ok(IndexRow {
        cursor: unsigned(row, 0)?,
        kind: kind(row, 1)?,
        sender: DeviceId(fixed(row, 2)?),
        size: size(row, 3)?,
    })
}

/// Columns: cursor, kind, sender, body.
fn entry_row(row: &impl Columns) -> Read<EntryRow> {
    Ok(EntryRow {
        cursor: unsigned(row, 0)?,
        kind: kind(row, 1)?,
        sender: DeviceId(fixed(row, 2)?),
        bytes: blob(row, 3)?.into(),
    })
}

/// Columns: groups, entries, bytes.
pub(super) fn stats_row(row: &impl Columns) -> Read<StoreStats> {
    Ok(StoreStats { groups: unsigned(row, 0)?, entries: unsigned(row, 1)?, bytes: unsigned(row, 2)? })
}

/// Columns: token, groups, bytes.
pub(super) fn token_row(row: &impl Columns) -> Read<TokenUse> {
    Ok(TokenUse { token: fixed(row, 0)?, groups: unsigned(row, 1)?, bytes: unsigned(row, 2)? })
}

/// Columns: group, members, entries, bytes, lag, when the oldest entry came, when a member was seen last.
pub(super) fn summary_row(row: &impl Columns) -> Read<GroupSummary> {
    Ok(GroupSummary {
        group: GroupId(fixed(row, 0)?),
        members: unsigned(row, 1)?,
        entries: unsigned(row, 2)?,
        bytes: unsigned(row, 3)?,
        lag: unsigned(row, 4)?,
        oldest_at_s: arrival(row, 5)?,
        seen_ms: unsigned(row, 6)?,
    })
}

/// When an entry came. Those that an older relay took have no time.
pub(super) fn arrival(row: &impl Columns, column: usize) -> Read<Option<u64>> {
    Ok(row.integer(column)?.and_then(|at_s| u64::try_from(at_s).ok()).filter(|at_s| *at_s > 0))
}

/// How many entries are read to learn how large they are.
const FIRST_ROWS: usize = 4;
/// How many are read at once at the most.
const MOST_ROWS: usize = 4_096;

/// Entries on their way from a database, so many that a reader's bytes are full, though at least one.
pub(super) struct Page {
    pub(super) entries: Vec<EntryRow>,
    /// Behind which cursor the next ones are.
    pub(super) after: u64,
    bytes: usize,
    max_bytes: usize,
}

impl Page {
    pub(super) fn new(after: u64, max_bytes: usize) -> Self {
        Self { entries: Vec::new(), after, bytes: 0, max_bytes }
    }

    /// How many entries to ask for next: no more than probably fit, since a database reads ahead of who takes the rows, and
    /// these may be large.
    pub(super) fn next_rows(&self) -> usize {
        match self.entries.len() {
            0 => FIRST_ROWS,
            rows => (self.max_bytes.saturating_sub(self.bytes) / (self.bytes / rows).max(1) + 1).min(MOST_ROWS),
        }
    }

    /// Takes the next row, unless it no longer fits.
    pub(super) fn take(&mut self, row: &impl Columns) -> Read<bool> {
        let entry = entry_row(row)?;
        let fits = self.entries.is_empty() || self.bytes + entry.bytes.len() <= self.max_bytes;
        if fits {
            self.after = entry.cursor;
            self.bytes += entry.bytes.len();
            self.entries.push(entry);
        }
        Ok(fits)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes
    }
}
