//! What the core reads in the course of a turn.

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};
use sync_core::store::{Answer, LogBlob, LogPlace, Read};
use sync_core::vault::Cell;
use sync_types::body::{Blob, Span};
use sync_types::content::LARGE_CHANNEL;
use sync_types::{BlobId, DeviceId, Opaque};

use super::apply::{bad_row, number};
use super::{Outbox, Turn};
use crate::SyncError;
use crate::vault::Sealing;

const COLUMNS: &str = "position, id, sender, coalesce(seq, 0), channel, data, snapshot, large";

/// What a blob takes up in an envelope besides its bytes and its channel, at the most: its id, lengths, and in history the
/// number of the envelope that it came in.
const BLOB_OVERHEAD: usize = 64;

impl Turn<'_> {
    /// Answers a read of the core, as of this turn.
    pub(crate) async fn read(&mut self, read: Read) -> Result<Answer, SyncError> {
        match read {
            Read::Outbox { max_bytes, max_blobs } => {
                if matches!(self.outbox, Outbox::Fresh) {
                    return Ok(Answer::Outbox(self.unsealed(max_bytes, max_blobs)));
                }
                let sql = format!("SELECT {COLUMNS} FROM blob WHERE own = 1 AND seq IS NULL ORDER BY position LIMIT ?");
                let query = sqlx::query(AssertSqlSafe(sql)).bind(i64::try_from(max_blobs).unwrap_or(i64::MAX));
                let (blobs, is_all) = self.blobs(query, max_bytes).await?;
                self.outbox = match blobs.last() {
                    Some(last) if is_all && blobs.len() < max_blobs => Outbox::EndsAt(last.position),
                    Some(_) => Outbox::Unknown,
                    None => Outbox::Fresh,
                };
                Ok(Answer::Outbox(blobs))
            }
            Read::History { spans, after, max_bytes, max_blobs } => {
                if spans.is_empty() {
                    return Ok(Answer::History(vec![]));
                }
                Ok(Answer::History(self.history(&spans, after, max_bytes, max_blobs).await?))
            }
            Read::Sealed { from_seq, max_bytes } => {
                Ok(Answer::Sealed(self.sealed_envelopes(from_seq, i64::MAX, max_bytes).await?))
            }
            Read::Repair { from_seq, to_seq, max_bytes } => {
                Ok(Answer::Repair(self.sealed_envelopes(from_seq, number(to_seq)?, max_bytes).await?))
            }
            Read::ForKit { kit, relay, others } => {
                Ok(Answer::ForKit(self.for_kit(&kit, relay, &others).await?.map(Box::new)))
            }
            Read::Gap { sender, seq } => {
                let envelope: Option<Vec<u8>> =
                    sqlx::query_scalar("SELECT envelope FROM gap WHERE sender = ? AND seq = ?")
                        .bind(sender.as_bytes())
                        .bind(number(seq)?)
                        .fetch_optional(self.settled().await?)
                        .await?;
                Ok(Answer::Gap(envelope.map(Opaque)))
            }
        }
    }

    /// Own envelopes that fit, with their numbers.
    async fn sealed_envelopes(
        &mut self,
        from_seq: u64,
        to_seq: i64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Opaque)>, SyncError> {
        let mut rows = sqlx::query("SELECT seq, envelope FROM sealed WHERE seq BETWEEN ? AND ? ORDER BY seq")
            .bind(number(from_seq)?)
            .bind(to_seq)
            .fetch(self.settled().await?);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            let envelope: Vec<u8> = row.try_get(1)?;
            bytes += envelope.len();
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push((row.try_get::<i64, _>(0)?.unsigned_abs(), Opaque(envelope)));
        }
        Ok(found)
    }

    /// The fresh rows that fit.
    fn unsealed(&self, max_bytes: usize, max_blobs: usize) -> Vec<LogBlob> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for row in self.fresh.iter().filter(|row| row.seq.is_none()).take(max_blobs) {
            let blob =
                LogBlob { position: row.position, sender: row.sender, seq: 0, blob: row.blob.clone(), covers: vec![] };
            bytes += weight(&blob);
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push(blob);
        }
        found
    }

    async fn history(
        &mut self,
        spans: &[Span],
        after: LogPlace,
        max_bytes: usize,
        max_blobs: usize,
    ) -> Result<Vec<LogBlob>, SyncError> {
        // Numbered, since both halves ask the same.
        let any = |of: &str| {
            let span = |n: usize| {
                format!("({of}.sender = ?{} AND {of}.seq BETWEEN ?{} AND ?{})", 3 * n + 5, 3 * n + 6, 3 * n + 7)
            };
            (0..spans.len()).map(span).collect::<Vec<_>>().join(" OR ")
        };
        // A snapshot that came back by a recovery kit was sealed like any blob, and stands for others' envelopes besides.
        // Of what a snapshot covers, the first number that is asked for stands for all; `min` takes its row's other columns.
        let covered = |n: usize| {
            let (sender, from, to) = (3 * n + 5, 3 * n + 6, 3 * n + 7);
            format!(
                "SELECT position, sender, min(to_seq, ?{to}) AS seq FROM covered
                 WHERE sender = ?{sender} AND from_seq <= ?{to} AND to_seq >= ?{from}"
            )
        };
        let covered = (0..spans.len()).map(covered).collect::<Vec<_>>().join(" UNION ALL ");
        let sql = format!(
            "SELECT position, id, sender, seq, channel, data, snapshot, large, 0 FROM blob
             WHERE (position, sender, seq) > (?1, ?2, ?3) AND ({})
                 AND (snapshot = 0 OR own = 1 OR position NOT IN (SELECT position FROM covered))
             UNION ALL
             SELECT also.position, id, also.sender, also.seq, channel, data, snapshot, large, 0
             FROM also CROSS JOIN blob USING (position)
             WHERE (also.position, also.sender, also.seq) > (?1, ?2, ?3) AND ({})
                 AND (snapshot = 0 OR position NOT IN (SELECT position FROM covered))
             UNION ALL
             SELECT first.position, id, first.sender, first.seq, channel, data, snapshot, large, 1
             FROM (SELECT position, min(sender) AS sender, seq FROM ({covered}) GROUP BY position) AS first
             CROSS JOIN blob USING (position)
             WHERE (first.position, first.sender, first.seq) > (?1, ?2, ?3)
             ORDER BY 1, 3, 4 LIMIT ?4",
            any("blob"),
            any("also"),
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .persistent(spans.len() == 1)
            .bind(number(after.position)?)
            .bind(after.sender.as_bytes())
            .bind(number(after.seq)?)
            .bind(i64::try_from(max_blobs).unwrap_or(i64::MAX));
        for span in spans {
            // A span may be open to the top.
            let to = i64::try_from(span.to).unwrap_or(i64::MAX);
            query = query.bind(span.sender.as_bytes()).bind(number(span.from)?).bind(to);
        }
        let vault = self.vault;
        let mut rows = query.fetch(self.settled().await?);
        let (mut found, mut bytes, mut snapshots) = (Vec::new(), 0, Vec::new());
        while let Some(row) = rows.try_next().await? {
            let blob = wire_blob(&row, vault)?;
            bytes += weight(&blob);
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            if row.try_get::<bool, _>(8)? {
                snapshots.push(found.len());
            }
            found.push(blob);
        }
        drop(rows);
        for index in snapshots {
            found[index].covers = self.covers(found[index].position).await?;
        }
        Ok(found)
    }

    /// The blobs that fit, and whether they are all that the query finds.
    async fn blobs(
        &mut self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        max_bytes: usize,
    ) -> Result<(Vec<LogBlob>, bool), SyncError> {
        let vault = self.vault;
        let mut rows = query.fetch(self.settled().await?);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            let blob = wire_blob(&row, vault)?;
            bytes += weight(&blob);
            if !found.is_empty() && bytes > max_bytes {
                return Ok((found, false));
            }
            found.push(blob);
        }
        Ok((found, true))
    }
}

/// How many bytes a blob counts for.
fn weight(found: &LogBlob) -> usize {
    found.blob.data.len() + found.blob.channel.len() + BLOB_OVERHEAD
}

/// A row of position, id, sender, seq, channel, data, snapshot, large, as it travels.
pub(super) fn wire_blob(row: &SqliteRow, vault: &Sealing) -> Result<LogBlob, SyncError> {
    let mut found = log_blob(row, vault)?;
    if row.try_get(7)? {
        found.blob.channel = LARGE_CHANNEL.to_owned();
    }
    Ok(found)
}

/// The first seven of these, as the log has them.
pub(super) fn log_blob(row: &SqliteRow, vault: &Sealing) -> Result<LogBlob, SyncError> {
    let id = BlobId::from_slice(row.try_get(1)?).ok_or_else(bad_row)?;
    let (channel, snapshot): (String, bool) = (row.try_get(4)?, row.try_get(6)?);
    let data = vault.open(Cell::Blob(id, &channel, snapshot), row.try_get(5)?)?;
    Ok(LogBlob {
        position: row.try_get::<i64, _>(0)?.unsigned_abs(),
        sender: DeviceId::from_slice(row.try_get(2)?).ok_or_else(bad_row)?,
        seq: row.try_get::<i64, _>(3)?.unsigned_abs(),
        blob: Blob { id, channel, data, snapshot },
        covers: Vec::new(),
    })
}
