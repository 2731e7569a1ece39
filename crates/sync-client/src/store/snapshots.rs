//! Snapshots: one blob in the place of many.

use sqlx::Row;
use sync_core::RelayId;
use sync_core::store::LogBlob;
use sync_core::vault::Cell;
use sync_types::body::{Blob, Span};
use sync_types::{Code, DeviceId, limits};

use super::apply::{bad_row, number};
use super::large::Large;
use super::reads::log_blob;
use super::{Outbox, Turn, next_position};
use crate::SyncError;

/// The blobs that a snapshot replaces: all of the channel up to a position but for own ones that not everybody has. An own
/// blob of an earlier key was delivered, and a snapshot has no number.
const REPLACED: &str = "blob WHERE channel = ?1 AND position <= ?2 AND (own <> 1 OR seq <= ?3)";

impl Turn<'_> {
    /// Puts a snapshot, as it travels, in the place of all blobs of its channel up to a position, own ones up to the delivered number. Gives
    /// how many there were; if there were none, nothing is changed.
    ///
    /// Fails with [`Code::TooLarge`] if these are of more than [`limits::COVERS`] devices.
    pub(crate) async fn snapshot(
        &mut self,
        snapshot: &Blob,
        maker: DeviceId,
        up_to: u64,
        delivered: u64,
    ) -> Result<u64, SyncError> {
        self.put_received().await?;
        self.put_fresh().await?;
        let large = Large::of(snapshot);
        let channel = large.as_ref().map_or(snapshot.channel.as_str(), |large| &large.channel);
        let (up_to, delivered) = (number(up_to)?, number(delivered)?);
        let sql = format!("SELECT count(*), max(position), coalesce(sum(large > 0), 0) FROM {REPLACED}");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(channel).bind(up_to).bind(delivered);
        let row = query.fetch_one(self.settled().await?).await?;
        let (count, Some(position)) = (row.try_get::<i64, _>(0)?, row.try_get::<Option<i64>, _>(1)?) else {
            return Ok(0);
        };
        let replaces_large = row.try_get::<i64, _>(2)? > 0;
        let sql = format!(
            "WITH gone AS MATERIALIZED (SELECT position, sender, seq FROM {REPLACED})
             SELECT sender, min(a), max(b) FROM (
                 SELECT sender, seq AS a, seq AS b FROM gone WHERE seq IS NOT NULL
                 UNION ALL SELECT also.sender, also.seq, also.seq FROM also JOIN gone USING (position)
                 UNION ALL SELECT covered.sender, from_seq, to_seq FROM covered JOIN gone USING (position)
             ) GROUP BY sender"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(channel).bind(up_to).bind(delivered);
        let covers: Vec<Span> =
            query.fetch_all(self.settled().await?).await?.iter().map(span).collect::<Result<_, _>>()?;
        if covers.len() > limits::COVERS {
            return Err(SyncError::new(Code::TooLarge, "a snapshot stands for what at most 1,024 devices pushed"));
        }
        if replaces_large {
            let sql = format!("SELECT id FROM {REPLACED} AND large > 0");
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(channel).bind(up_to).bind(delivered);
            let ids: Vec<Vec<u8>> = query.fetch_all(self.settled().await?).await?;
            self.drop_large(ids).await?;
        }
        for table in ["also", "covered"] {
            let sql = format!("DELETE FROM {table} WHERE position IN (SELECT position FROM {REPLACED})");
            self.run(&sql, channel, up_to, delivered).await?;
        }
        self.run(&format!("DELETE FROM {REPLACED}"), channel, up_to, delivered).await?;
        let insert = "INSERT INTO blob (position, id, own, sender, seq, channel, data, snapshot)
                      VALUES (?, ?, 0, ?, NULL, ?, ?, 1)";
        let data = self.vault.seal(Cell::Blob(snapshot.id, channel, true), &snapshot.data);
        let script = self.script.statement(insert);
        script.bind(position).bind(snapshot.id.as_bytes()).bind(maker.as_bytes());
        script.bind(channel).bind(data);
        if let Some(large) = &large {
            // Nobody is given it before somebody comes who is handed it.
            self.list_large_at(position, true, false, large.content)?;
            self.tells_of_files = true;
        }
        self.put_covers(position, &covers).await?;
        self.outbox = Outbox::Unknown;
        Ok(count.unsigned_abs())
    }

    /// Keeps a snapshot that took nobody's place in the log, for the recovery kit alone; or only forgets the one before it, which
    /// it is newer than.
    pub(crate) fn keep_apart(&mut self, channel: &str, snapshot: &Blob, maker: DeviceId, keep: bool) {
        self.script.statement("DELETE FROM kit_apart WHERE channel = ?").bind(channel);
        if keep {
            let data = self.vault.seal(Cell::Blob(snapshot.id, channel, true), &snapshot.data);
            let script = self.script.statement("INSERT INTO kit_apart VALUES (?, ?, ?, ?)");
            script.bind(channel).bind(snapshot.id.as_bytes()).bind(maker.as_bytes()).bind(data);
        }
    }

    /// Takes a snapshot that another device made, unless it is there.
    pub(super) async fn receive_snapshot(
        &mut self,
        sender: DeviceId,
        seq: u64,
        blob: Blob,
        covers: &[Span],
    ) -> Result<(), SyncError> {
        let id = blob.id;
        self.receive(sender, seq, vec![blob]).await?;
        self.put_received().await?;
        let position: Option<i64> =
            sqlx::query_scalar("SELECT position FROM blob WHERE id = ? AND snapshot = 1 AND own <> 1")
                .bind(id.as_bytes())
                .fetch_optional(self.settled().await?)
                .await?;
        match position {
            Some(position) => self.put_covers(position, covers).await,
            None => Ok(()),
        }
    }

    /// Takes a snapshot that came back by the recovery kit, unless it is there.
    pub(super) async fn restore_snapshot(
        &mut self,
        me: DeviceId,
        maker: DeviceId,
        blob: Blob,
        covers: &[Span],
    ) -> Result<(), SyncError> {
        self.put_received().await?;
        self.put_fresh().await?;
        self.flush().await?;
        let data = self.vault.seal(Cell::Blob(blob.id, &blob.channel, true), &blob.data);
        let insert = "INSERT INTO blob (id, own, sender, seq, channel, data, snapshot, origin)
                      VALUES (?, 1, ?, NULL, ?, ?, 1, ?) ON CONFLICT (id) DO NOTHING RETURNING position";
        let query = sqlx::query_scalar(insert).bind(blob.id.as_bytes()).bind(me.as_bytes()).bind(&blob.channel);
        let query = query.bind(data).bind(maker.as_bytes());
        let position: Option<i64> = query.fetch_optional(self.settled().await?).await?;
        let next = next_position(self.settled().await?).await?;
        self.next_position = self.next_position.max(next);
        self.outbox = Outbox::Unknown;
        match position {
            Some(position) => self.put_covers(position, covers).await,
            None => Ok(()),
        }
    }

    /// The snapshot that is to be left for a recovery kit, with its maker as its sender.
    pub(super) async fn for_kit(
        &mut self,
        kit: &[u8; 32],
        relay: RelayId,
        others: &[DeviceId],
    ) -> Result<Option<LogBlob>, SyncError> {
        let marks = vec!["?"; others.len()].join(", ");
        // By each channel's newest: older ones beside it are of makers who are out, or wait to be replaced.
        let sql = format!(
            "WITH newest AS (
                 SELECT max(position) AS position FROM blob
                 WHERE snapshot = 1 AND (own = 1 OR sender NOT IN ({marks})) GROUP BY channel
             )
             SELECT * FROM (
                 SELECT 0 AS position, id, maker, 0, channel, data, 1, 0 FROM kit_apart
                 UNION ALL
                 SELECT position, id, coalesce(origin, sender), 0, channel, data, snapshot, large
                 FROM newest CROSS JOIN blob USING (position)
                 WHERE large = 0 AND channel NOT IN (SELECT channel FROM kit_apart)
             )
             WHERE id NOT IN (SELECT id FROM kit_kept WHERE kit = ? AND relay = ?)
             ORDER BY position LIMIT 1"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for other in others {
            query = query.bind(other.as_bytes());
        }
        let query = query.bind(&kit[..]).bind(&relay.0[..]);
        let Some(row) = query.fetch_optional(self.settled().await?).await? else { return Ok(None) };
        let mut found = log_blob(&row, self.vault)?;
        found.covers = self.covers(found.position).await?;
        Ok(Some(found))
    }

    async fn put_covers(&mut self, position: i64, covers: &[Span]) -> Result<(), SyncError> {
        for span in covers {
            let script = self.script.statement(
                "INSERT INTO covered VALUES (?, ?, ?, ?) ON CONFLICT (position, sender) DO UPDATE
                 SET from_seq = min(from_seq, excluded.from_seq), to_seq = max(to_seq, excluded.to_seq)",
            );
            script.bind(position).bind(span.sender.as_bytes()).bind(number(span.from)?).bind(number(span.to)?);
            self.make_room().await?;
        }
        Ok(())
    }

    /// What a snapshot stands for.
    pub(super) async fn covers(&mut self, position: u64) -> Result<Vec<Span>, SyncError> {
        let query = sqlx::query("SELECT sender, from_seq, to_seq FROM covered WHERE position = ?");
        let rows = query.bind(number(position)?).fetch_all(self.settled().await?).await?;
        rows.iter().map(span).collect()
    }

    async fn run(&mut self, sql: &str, channel: &str, up_to: i64, delivered: i64) -> Result<(), SyncError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).bind(channel).bind(up_to).bind(delivered);
        query.execute(self.settled().await?).await?;
        Ok(())
    }
}

fn span(row: &sqlx::sqlite::SqliteRow) -> Result<Span, SyncError> {
    Ok(Span {
        sender: DeviceId::from_slice(&row.try_get::<Vec<u8>, _>(0)?).ok_or_else(bad_row)?,
        from: row.try_get::<i64, _>(1)?.unsigned_abs(),
        to: row.try_get::<i64, _>(2)?.unsigned_abs(),
    })
}
