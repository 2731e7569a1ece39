//! From SQLite's rows to the relay's, with every length and number checked: what cannot have been written by a relay is
//! [`StoreError::Corrupt`].

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sync_types::frame::{EntryKind, Head, Mac, Signature, SnapshotSlot};
use sync_types::{DeviceId, EntryHash, GroupId, Opaque, Suite};

use super::error;
use crate::store::{
    Counters, EntryRow, GroupRow, GroupRows, HeadRow, IndexRow, KitRow, MemberRow, Provisional, Removal, SnapshotRow,
    StatementRow, StoreError, VouchRow, WelcomeRow, tail,
};

type Read<T> = Result<T, StoreError>;

/// A number as SQLite holds it. Cursors, epochs and sizes stay far below 2⁶³; "everything" may be asked for as `u64::MAX`.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a column holds no {what}"))
}

fn unsigned(row: &SqliteRow, column: usize) -> Read<u64> {
    let value: i64 = row.try_get(column).map_err(|e| error(&e))?;
    u64::try_from(value).map_err(|_| corrupt("cursor, epoch or count"))
}

fn blob(row: &SqliteRow, column: usize) -> Read<&[u8]> {
    row.try_get(column).map_err(|e| error(&e))
}

pub(super) fn fixed<const N: usize>(row: &SqliteRow, column: usize) -> Read<[u8; N]> {
    blob(row, column)?.try_into().map_err(|_| corrupt("id, hash, key or signature"))
}

fn optional_hash(row: &SqliteRow, column: usize) -> Read<Option<EntryHash>> {
    let bytes: Option<&[u8]> = row.try_get(column).map_err(|e| error(&e))?;
    bytes.map(|b| EntryHash::from_slice(b).ok_or_else(|| corrupt("hash"))).transpose()
}

fn optional_unsigned(row: &SqliteRow, column: usize) -> Read<Option<u64>> {
    let value: Option<i64> = row.try_get(column).map_err(|e| error(&e))?;
    value.map(|v| u64::try_from(v).map_err(|_| corrupt("cursor, epoch or time"))).transpose()
}

fn kind(row: &SqliteRow, column: usize) -> Read<EntryKind> {
    match unsigned(row, column)? {
        1 => Ok(EntryKind::Envelope),
        2 => Ok(EntryKind::Commit),
        3 => Ok(EntryKind::Reject),
        _ => Err(corrupt("kind of entry")),
    }
}

/// Everything of a group but the bodies, as of one moment: the connection has a read transaction open.
pub(super) async fn load(from: &mut SqliteConnection, group: GroupId) -> Read<Option<GroupRows>> {
    let number = sqlx::query_scalar("SELECT number FROM numbers WHERE grp = ?").bind(group.as_bytes());
    let Some(number) = number.fetch_optional(&mut *from).await.map_err(|e| error(&e))? else {
        return Ok(None);
    };
    let Some(row) = all(from, "SELECT * FROM groups WHERE grp = ?", number).await?.pop() else {
        return Ok(None);
    };
    let counters = match &all(from, "SELECT newest, entries, bytes FROM counters WHERE grp = ?", number).await?[..] {
        [row] => Counters { newest: unsigned(row, 0)?, entries: unsigned(row, 1)?, bytes: unsigned(row, 2)? },
        _ => Counters::default(),
    };
    let members = "SELECT device, key, added, start, cursor, removed_cursor, removed_at_ms, seen_ms, missed \
                   FROM members JOIN acknowledged USING (grp, device) WHERE grp = ? ORDER BY device";
    let heads =
        "SELECT sender, seq, hash, header, ciphertext_hash, signature, cut FROM heads WHERE grp = ? ORDER BY sender";
    let statements =
        "SELECT acknowledger, sender, statement FROM statements WHERE grp = ? ORDER BY acknowledger, sender";
    let welcomes = "SELECT device, cursor FROM welcomes WHERE grp = ? ORDER BY device";
    let index = "SELECT cursor, kind, sender, size FROM entries WHERE grp = ? ORDER BY cursor";
    let kits = "SELECT key, from_cursor, until_cursor FROM kits WHERE grp = ? ORDER BY key";
    let vouches = "SELECT device, epoch, mac FROM vouches WHERE grp = ? ORDER BY device";
    let snapshots = "SELECT slot, key, device, size FROM kit_snapshots WHERE grp = ? ORDER BY slot";
    let mut rows = GroupRows {
        group: group_row(&row, group)?,
        counters,
        settled: counters.newest,
        members: all(from, members, number).await?.iter().map(member_row).collect::<Read<_>>()?,
        heads: all(from, heads, number).await?.iter().map(head_row).collect::<Read<_>>()?,
        statements: all(from, statements, number).await?.iter().map(statement_row).collect::<Read<_>>()?,
        welcomes: all(from, welcomes, number)
            .await?
            .iter()
            .map(|row| Ok(WelcomeRow { device: DeviceId(fixed(row, 0)?), cursor: unsigned(row, 1)? }))
            .collect::<Read<_>>()?,
        index: all(from, index, number).await?.iter().map(index_row).collect::<Read<_>>()?,
        kits: all(from, kits, number)
            .await?
            .iter()
            .map(|row| Ok(KitRow { key: fixed(row, 0)?, from: unsigned(row, 1)?, until: optional_unsigned(row, 2)? }))
            .collect::<Read<_>>()?,
        vouches: all(from, vouches, number)
            .await?
            .iter()
            .map(|row| {
                let (device, mac) = (DeviceId(fixed(row, 0)?), Mac(fixed(row, 2)?));
                Ok(VouchRow { device, epoch: unsigned(row, 1)?, mac })
            })
            .collect::<Read<_>>()?,
        snapshots: all(from, snapshots, number)
            .await?
            .iter()
            .map(|row| {
                let (slot, device) = (SnapshotSlot(fixed(row, 0)?), DeviceId(fixed(row, 2)?));
                let size = u32::try_from(unsigned(row, 3)?);
                let size = size.map_err(|_| StoreError::Corrupt("a snapshot's size".into()))?;
                Ok(SnapshotRow { slot, key: fixed(row, 1)?, device, size })
            })
            .collect::<Read<_>>()?,
    };
    let mut envelopes = Vec::new();
    for cursor in tail::last_envelopes(&rows) {
        let body = sqlx::query("SELECT body FROM entries WHERE grp = ? AND cursor = ?");
        let row = body.bind(number).bind(self::number(cursor)).fetch_one(&mut *from).await.map_err(|e| error(&e))?;
        envelopes.push(blob(&row, 0)?.into());
    }
    tail::count(&mut rows, envelopes)?;
    Ok(Some(rows))
}

async fn all(from: &mut SqliteConnection, text: &'static str, group: i64) -> Read<Vec<SqliteRow>> {
    sqlx::query(text).bind(group).fetch_all(from).await.map_err(|e| error(&e))
}

fn group_row(row: &SqliteRow, group: GroupId) -> Read<GroupRow> {
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

fn member_row(row: &SqliteRow) -> Read<MemberRow> {
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
    })
}

fn head_row(row: &SqliteRow) -> Read<HeadRow> {
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

fn statement_row(row: &SqliteRow) -> Read<StatementRow> {
    Ok(StatementRow {
        acknowledger: DeviceId(fixed(row, 0)?),
        sender: DeviceId(fixed(row, 1)?),
        statement: blob(row, 2)?.into(),
    })
}

fn index_row(row: &SqliteRow) -> Read<IndexRow> {
    Ok(IndexRow {
        cursor: unsigned(row, 0)?,
        kind: kind(row, 1)?,
        sender: DeviceId(fixed(row, 2)?),
        size: u32::try_from(unsigned(row, 3)?).map_err(|_| corrupt("size"))?,
    })
}

/// Columns: cursor, kind, sender, body.
pub(super) fn entry_row(row: &SqliteRow) -> Read<EntryRow> {
    Ok(EntryRow {
        cursor: unsigned(row, 0)?,
        kind: kind(row, 1)?,
        sender: DeviceId(fixed(row, 2)?),
        bytes: blob(row, 3)?.into(),
    })
}
