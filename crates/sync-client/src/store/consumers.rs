//! What consumers read from the log and how far they are. Reading takes a reader of the pool; moving a consumer's
//! position is a part of the engine's turn, so that there is one writer.

use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Row};
use sync_types::content::ContentRef;
use sync_types::{BlobId, DeviceId};

use super::apply::{bad_row, number};
use super::reads::log_blob;
use super::{Outbox, Turn, large};
use crate::vault::Sealing;
use crate::{ReceivedBlob, SyncError};

/// How many blobs and bytes one read hands out at the most.
const READ_BLOBS: usize = 4_096;
const READ_BYTES: u64 = 8 * 1024 * 1024;

/// A reader of the log.
#[derive(Clone)]
pub(crate) struct LogReader {
    pub(super) pool: SqlitePool,
    pub(super) vault: Sealing,
}

/// What a reader has found.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) blobs: Vec<ReceivedBlob>,
    /// The bytes of the last of them, if they are in the content store: here it has none.
    pub(crate) large: Option<ContentRef>,
}

/// Which blobs of the log a reader wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Of this channel only.
    pub(crate) channel: Option<String>,
    /// Only what this consumer has not had.
    pub(crate) unread_by: Option<String>,
    /// What this device pushed, too.
    pub(crate) own: bool,
}

impl Wanted {
    /// The rows, for a query that binds the position that they are beyond, the channel and the consumer: none beyond the first of
    /// them that is awaited, so that the order is the log's, and none that was forged or skipped.
    fn rows(&self) -> String {
        let (wanted, awaited) = (self.matching("blob"), self.matching("awaited"));
        format!(
            "blob WHERE {wanted} AND blob.large < 3 AND blob.position < coalesce(
                 (SELECT min(awaited.position) FROM blob AS awaited INDEXED BY blob_large
                  WHERE awaited.large > 0 AND awaited.large = 2 AND {awaited}),
                 9223372036854775807)"
        )
    }

    /// What is true of a row of `blob`, by this name, that is wanted.
    fn matching(&self, of: &str) -> String {
        let had_of = |channel: &str| {
            format!("coalesce((SELECT c.position FROM consumer c WHERE c.name = ?3 AND c.channel = {channel}), 0)")
        };
        let had_of_all = "coalesce((SELECT position FROM consumer_all WHERE name = ?3), 0)";
        // One lower bound, where there is one for all rows: SQLite begins there instead of at the log's beginning.
        let mut sql = match (&self.unread_by, &self.channel) {
            (None, _) => format!("{of}.position > ?1"),
            (Some(_), Some(_)) => format!("{of}.position > max(?1, {had_of_all}, {})", had_of("?2")),
            (Some(_), None) => {
                let had = had_of(&format!("{of}.channel"));
                format!("{of}.position > max(?1, {had_of_all}) AND {of}.position > {had}")
            }
        };
        sql += &match self.channel {
            Some(_) => format!(" AND {of}.channel = ?2"),
            // What the engine tells other engines is no app's.
            None => format!(" AND substr({of}.channel, 1, 7) <> '0ksync/'"),
        };
        if !self.own {
            sql += &format!(" AND {of}.received = 1");
        }
        sql
    }
}

/// The mark of an own blob that everybody had while this device had an earlier key.
const EARLIER_KEY: i64 = 2;

/// Every table but that of what the client keeps beside the group.
pub(super) const OF_GROUP: [&str; 17] = [
    "alert",
    "also",
    "blob",
    "consumer",
    "consumer_all",
    "content",
    "covered",
    "file",
    "gap",
    "held",
    "import",
    "kit_apart",
    "kit_kept",
    "refused",
    "refused_before",
    "sealed",
    "state",
];

/// How far an own blob is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnBlob {
    /// It is in no envelope yet.
    Waits,
    /// It is in the envelope of this number.
    Sealed(u64),
    /// So it is, and no relay has its bytes yet, which are too many for an envelope.
    Carried(u64),
    /// Everybody had it, before this device took its present key.
    Delivered,
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Own blobs whose number is beyond the accepted one, or that have none.
    pub(crate) outbox: u64,
    /// The same for the delivered number.
    pub(crate) unacknowledged: u64,
}

/// A refused entry as `doctor` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The outcome's name.
    pub(crate) outcome: String,
    /// Whose it claims to be.
    pub(crate) sender: Option<DeviceId>,
    /// How many there are.
    pub(crate) count: u64,
    /// How many of them are kept as they came, the number of the newest of these, and when the first and the last of them came, in
    /// milliseconds since the Unix epoch.
    pub(crate) kept: u64,
    pub(crate) newest: u64,
    pub(crate) first_at: u64,
    pub(crate) last_at: u64,
}

impl LogReader {
    pub(super) fn new(pool: SqlitePool, vault: Sealing) -> Self {
        Self { pool, vault }
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// What is wanted beyond `after`, in the order of positions.
    pub(crate) async fn page(&self, wanted: &Wanted, after: u64, limit: usize) -> Result<Page, SyncError> {
        let columns = "position, blob.id, coalesce(origin, sender), coalesce(seq, 0), blob.channel, data, snapshot, large, received";
        let sql = format!("SELECT {columns} FROM {} ORDER BY position LIMIT ?4", wanted.rows());
        let limit = i64::try_from(limit.min(READ_BLOBS)).unwrap_or(i64::MAX);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(number(after)?).bind(&wanted.channel).bind(&wanted.unread_by);
        hand_out(query.bind(limit).fetch_all(&self.pool).await?, &self.vault)
    }

    #[cfg(test)]
    pub(super) async fn read(&self, wanted: &Wanted, after: u64, limit: usize) -> Result<Vec<ReceivedBlob>, SyncError> {
        Ok(self.page(wanted, after, limit).await?.blobs)
    }

    /// The position of the last blob that is wanted; 0 if there is none.
    pub(crate) async fn newest(&self, wanted: &Wanted) -> Result<u64, SyncError> {
        let sql = format!("SELECT max(position) FROM {}", wanted.rows());
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(0).bind(&wanted.channel).bind(&wanted.unread_by);
        let newest: Option<i64> = query.fetch_one(&self.pool).await?;
        Ok(newest.unwrap_or(0).unsigned_abs())
    }

    /// Whether this is a large blob whose bytes are awaited.
    pub(crate) async fn is_awaited(&self, id: BlobId) -> Result<bool, SyncError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM blob WHERE id = ? AND large > 0 AND large = 2)";
        Ok(sqlx::query_scalar(sql).bind(id.as_bytes()).fetch_one(&self.pool).await?)
    }

    /// How far an own blob is on its way; `None` if there is no such own blob.
    pub(crate) async fn own(&self, id: BlobId) -> Result<Option<OwnBlob>, SyncError> {
        let sql = "SELECT own, seq, large > 0 AND EXISTS (
                       SELECT 1 FROM file JOIN content ON content.hash = file.hash AND content.size = file.size
                       WHERE file.id = blob.id AND given IS NULL)
                   FROM blob WHERE id = ? AND received = 0";
        let row: Option<(i64, Option<i64>, bool)> =
            sqlx::query_as(sql).bind(id.as_bytes()).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| match row {
            (EARLIER_KEY, ..) => OwnBlob::Delivered,
            (_, Some(seq), true) => OwnBlob::Carried(seq.unsigned_abs()),
            (_, Some(seq), false) => OwnBlob::Sealed(seq.unsigned_abs()),
            (_, None, _) => OwnBlob::Waits,
        }))
    }

    /// How much waits, with the numbers up to which the relay has accepted and the members have signed.
    pub(crate) async fn counts(&self, accepted: u64, delivered: u64) -> Result<Counts, SyncError> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM blob WHERE own = 1 AND seq IS NULL),
                    (SELECT count(*) FROM blob WHERE own = 1 AND seq > ?1),
                    (SELECT count(*) FROM blob WHERE own = 1 AND seq > ?2)",
        )
        .bind(number(accepted)?)
        .bind(number(delivered)?)
        .fetch_one(&self.pool)
        .await?;
        let waiting: i64 = row.try_get(0)?;
        let at = |i| Ok::<_, SyncError>((waiting + row.try_get::<i64, _>(i)?).unsigned_abs());
        Ok(Counts { outbox: at(1)?, unacknowledged: at(2)? })
    }

    /// Up to where a consumer has had a channel.
    pub(crate) async fn position(&self, consumer: &str, channel: &str) -> Result<u64, SyncError> {
        let sql = "SELECT max(coalesce((SELECT position FROM consumer_all WHERE name = ?1), 0),
                              coalesce((SELECT position FROM consumer WHERE name = ?1 AND channel = ?2), 0))";
        let position: i64 = sqlx::query_scalar(sql).bind(consumer).bind(channel).fetch_one(&self.pool).await?;
        Ok(position.unsigned_abs())
    }

    /// What was not accepted, counted by outcome and sender; what is kept no more, too.
    pub(crate) async fn refused(&self) -> Result<Vec<Kept>, SyncError> {
        let sql = "SELECT outcome, nullif(sender, x''), sum(count), sum(number > 0), max(number), coalesce(min(at), 0),
                          coalesce(max(at), 0) FROM (
                       SELECT outcome, coalesce(sender, x'') AS sender, 1 AS count, number, at FROM refused
                       UNION ALL SELECT outcome, sender, count, 0, NULL FROM refused_before
                   ) GROUP BY outcome, sender ORDER BY max(number) DESC";
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let sender: Option<Vec<u8>> = row.try_get(1)?;
            let number = |at: usize| Ok::<_, SyncError>(row.try_get::<i64, _>(at)?.unsigned_abs());
            Ok(Kept {
                outcome: row.try_get(0)?,
                sender: sender.map(|s| DeviceId::from_slice(&s).ok_or_else(bad_row)).transpose()?,
                count: number(2)?,
                kept: number(3)?,
                newest: number(4)?,
                first_at: number(5)?,
                last_at: number(6)?,
            })
        };
        sqlx::query(sql).fetch_all(&self.pool).await?.iter().map(read).collect()
    }
}

impl Turn<'_> {
    /// Moves a consumer's position forward, never back.
    pub(crate) async fn advance(
        &mut self,
        consumer: &str,
        channel: Option<&str>,
        position: u64,
    ) -> Result<(), SyncError> {
        let position = number(position)?;
        match channel {
            Some(channel) => {
                let script = self.script.statement(
                    "INSERT INTO consumer VALUES (?, ?, ?)
                     ON CONFLICT (name, channel) DO UPDATE SET position = max(position, excluded.position)",
                );
                script.bind(consumer).bind(channel).bind(position);
            }
            None => {
                let script = self.script.statement(
                    "INSERT INTO consumer_all VALUES (?, ?)
                     ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
                );
                script.bind(consumer).bind(position);
            }
        }
        self.make_room().await
    }

    /// Forgets the group, the log and the consumers' positions.
    pub(crate) fn forget_all(&mut self) {
        for table in OF_GROUP {
            self.script.statement(&format!("DELETE FROM {table}"));
        }
        self.want_scrub();
        self.puts.clear();
        self.drop_sealed = None;
        self.received.clear();
        self.fresh.clear();
        self.outbox = Outbox::Unknown;
        self.sealed = None;
    }
}

/// Rows as blobs, up to the bound on bytes; at least one. They end with the first large one.
pub(super) fn hand_out(rows: Vec<sqlx::sqlite::SqliteRow>, vault: &Sealing) -> Result<Page, SyncError> {
    let (mut page, mut bytes) = (Page::default(), 0);
    for row in rows {
        let mut found = log_blob(&row, vault)?;
        let large = if row.try_get(7)? { Some(large::named(&std::mem::take(&mut found.blob.data))?) } else { None };
        bytes += large.as_ref().map_or(found.blob.data.len() as u64, |content| content.size);
        if !page.blobs.is_empty() && bytes > READ_BYTES {
            break;
        }
        page.blobs.push(ReceivedBlob {
            id: found.blob.id,
            device: found.sender,
            channel: found.blob.channel,
            position: found.position,
            own: !row.try_get::<bool, _>(8)?,
            data: found.blob.data,
            snapshot: found.blob.snapshot,
        });
        if large.is_some() {
            page.large = large;
            break;
        }
    }
    Ok(page)
}
