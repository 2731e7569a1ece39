//! Blobs that are too large for an envelope. What travels of one is a record on [`LARGE_CHANNEL`]; in the log it stands as a blob
//! of the app's channel whose data is that record, and whose column `large` says how it is with its bytes. These lie in the
//! content store, and are carried as those of files are.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sync_content::{Content, sealed_size};
use sync_types::body::{Blob, Span};
use sync_types::content::{ContentRef, LARGE_CHANNEL, LargeBlob};
use sync_types::{BlobId, DeviceId, Sealed, decode};

use super::apply::{bad_row, number};
use super::rows::NewRow;
use super::{FileNote, Store, Turn};
use crate::SyncError;

/// What the column `large` says: the bytes are here, they are awaited, they are not what their sender said, or nobody waits for them
/// any more.
const HERE: i64 = 1;
const AWAITED: i64 = 2;
const FORGED: i64 = 3;
const SKIPPED: i64 = 4;

/// Of each sender a span over the envelopes whose blobs are awaited, under each number that they came under. Of what this device
/// gives itself it owes nobody its word.
const AWAITED_SPANS: &str = "
    SELECT sender, min(seq), max(seq) FROM (
        SELECT sender, seq FROM blob WHERE large > 0 AND large = 2 AND own = 0 AND seq IS NOT NULL
        UNION ALL
        SELECT also.sender, also.seq FROM blob CROSS JOIN also USING (position) WHERE large > 0 AND large = 2 AND own = 0
    ) GROUP BY sender";

/// What a blob of the wire stands for.
pub(super) struct Large {
    /// The app's channel.
    pub(super) channel: String,
    pub(super) content: Sealed,
}

impl Large {
    /// `None` for any other blob. So is one that no device of ours would have sent: it stays on its channel, where nobody sees it.
    pub(super) fn of(blob: &Blob) -> Option<Self> {
        if blob.channel != LARGE_CHANNEL {
            return None;
        }
        let record = decode::<LargeBlob>(&blob.data).map_err(|_| "it cannot be read");
        let read = record.and_then(|record| {
            let channel = record.channel()?.to_owned();
            let content = Sealed { hash: record.content.hash, size: sealed_size(record.content.size) };
            Ok(Self { channel, content })
        });
        read.inspect_err(|why| tracing::warn!(id = %blob.id, "a large blob's record is ignored: {why}")).ok()
    }
}

/// What a row's record names.
pub(super) fn named(data: &[u8]) -> Result<ContentRef, SyncError> {
    let record: LargeBlob = decode(data).map_err(|_| bad_row())?;
    // It was looked at before it came to the log.
    Content::of(&record.content).map_err(|_| bad_row())?;
    Ok(record.content)
}

async fn awaited(connection: &mut SqliteConnection) -> Result<BTreeMap<DeviceId, Span>, SyncError> {
    let span = |row: &SqliteRow| {
        let sender = DeviceId::from_slice(row.try_get(0)?).ok_or_else(bad_row)?;
        let number = |at: usize| Ok::<_, SyncError>(row.try_get::<i64, _>(at)?.unsigned_abs());
        Ok((sender, Span { sender, from: number(1)?, to: number(2)? }))
    };
    sqlx::query(AWAITED_SPANS).fetch_all(connection).await?.iter().map(span).collect()
}

impl Store {
    /// Of each sender a span over the envelopes whose blobs are in the log without their bytes.
    pub(crate) async fn awaited(&mut self) -> Result<BTreeMap<DeviceId, Span>, SyncError> {
        awaited(self.writer().await).await
    }

    /// Whether a large blob of others has become readable since this was asked last, or those behind it have.
    pub(crate) fn take_readable(&mut self) -> bool {
        std::mem::take(&mut self.readable)
    }
}

impl Turn<'_> {
    /// As [`Store::awaited`], if the turn may have changed it.
    pub(crate) async fn awaited_anew(&mut self) -> Result<Option<BTreeMap<DeviceId, Span>>, SyncError> {
        if !self.tells_of_files {
            return Ok(None);
        }
        awaited(self.settled().await?).await.map(Some)
    }

    /// Notes which of these rows stand for content, as far as they came into the log.
    pub(super) async fn list_large(&mut self, rows: &[(u64, bool, Sealed)]) -> Result<(), SyncError> {
        for (position, own, content) in rows {
            self.list_large_at(number(*position)?, *own, *own, *content)?;
            self.make_room().await?;
        }
        Ok(())
    }

    /// Notes that the row of this position, if there is one, stands for content, and whether that is here and to be given to the
    /// group. Nobody else's row is ever there.
    pub(super) fn list_large_at(
        &mut self,
        position: i64,
        here: bool,
        give: bool,
        content: Sealed,
    ) -> Result<(), SyncError> {
        let (hash, size) = (content.hash.as_bytes(), number(content.size)?);
        // What is new from others this device need not give to their group: it has it from there.
        let given = self.group.filter(|_| !give).map(|group| group.0.to_vec());
        let script = &mut self.script;
        script.statement("UPDATE blob SET large = ? WHERE position = ?").bind(if here { HERE } else { AWAITED });
        script.bind(position);
        // Whoever said before that a file of this id is not wanted has no say in it.
        let sql = "INSERT INTO file (id, hash, size) SELECT id, ?, ? FROM blob WHERE position = ? AND large > 0
                   ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, size = excluded.size, forged = 0, removed = 0";
        script.statement(sql).bind(hash).bind(size).bind(position);
        let sql = "INSERT INTO content (hash, size, here, given)
                   SELECT ?, ?, ?, ? FROM blob WHERE position = ? AND large > 0
                   ON CONFLICT (hash, size) DO UPDATE SET here = max(here, excluded.here), dropped = 0";
        script.statement(sql).bind(hash).bind(size).bind(here).bind(given).bind(position);
        let sql = "UPDATE blob SET large = 1 WHERE position = ? AND large = 2 AND EXISTS (
                       SELECT 1 FROM content WHERE hash = ? AND size = ? AND here = 1)";
        script.statement(sql).bind(position).bind(hash).bind(size);
        Ok(())
    }

    /// The bytes of this blob came with a backup. It may have come with that itself, or be in the log for long.
    pub(super) async fn take_large(&mut self, id: BlobId, content: Sealed) -> Result<(), SyncError> {
        let row: Option<(i64, i64)> = sqlx::query_as("SELECT position, large FROM blob WHERE id = ?")
            .bind(id.as_bytes())
            .fetch_optional(self.settled().await?)
            .await?;
        match row {
            Some((position, HERE)) => self.list_large_at(position, true, true, content),
            Some((_, AWAITED)) => self.note_files(vec![FileNote::Here(content)]).await,
            _ => Ok(()),
        }
    }

    /// Notes whether the bytes of large blobs with this content are here.
    pub(super) async fn set_large(&mut self, content: Sealed, here: bool) -> Result<(), SyncError> {
        let (from, to) = if here { (AWAITED, HERE) } else { (HERE, AWAITED) };
        let sql = "UPDATE blob SET large = ?1 WHERE large > 0 AND large = ?2 AND id IN (
                       SELECT id FROM file WHERE hash = ?3 AND size = ?4 AND removed = 0 AND forged = 0)";
        let update = sqlx::query(sql).bind(to).bind(from).bind(content.hash.as_bytes()).bind(number(content.size)?);
        let changed = update.execute(self.settled().await?).await?.rows_affected();
        self.makes_readable |= here && changed > 0;
        Ok(())
    }

    /// Notes that a blob is not what its sender said, if it is a large one. Consumers pass over it.
    pub(super) async fn forge_large(&mut self, id: BlobId) -> Result<(), SyncError> {
        let update =
            sqlx::query("UPDATE blob SET large = ? WHERE id = ? AND large > 0").bind(FORGED).bind(id.as_bytes());
        let changed = update.execute(self.settled().await?).await?.rows_affected();
        self.makes_readable |= changed > 0;
        Ok(())
    }

    /// Notes that nobody waits for a large blob any more, if its bytes are not here. Consumers pass over it.
    pub(super) async fn skip_large(&mut self, id: BlobId) -> Result<(), SyncError> {
        let update = sqlx::query("UPDATE blob SET large = ? WHERE id = ? AND large > 0 AND large = ?");
        let update = update.bind(SKIPPED).bind(id.as_bytes()).bind(AWAITED);
        if update.execute(self.settled().await?).await?.rows_affected() > 0 {
            self.makes_readable = true;
            self.script.statement("UPDATE file SET forged = 1 WHERE id = ?").bind(id.as_bytes());
            self.drop_content_of(id);
        }
        Ok(())
    }

    /// These large blobs are about to go: their content goes with them.
    pub(super) async fn drop_large(&mut self, ids: Vec<Vec<u8>>) -> Result<(), SyncError> {
        for id in ids {
            let id = BlobId::from_slice(&id).ok_or_else(bad_row)?;
            self.tells_of_files = true;
            self.script.statement("UPDATE file SET removed = 1 WHERE id = ?").bind(id.as_bytes());
            self.drop_content_of(id);
            self.script.statement("DELETE FROM file WHERE id = ?").bind(id.as_bytes());
            self.make_room().await?;
        }
        Ok(())
    }

    /// What never came here cannot be given to another group, whose readers would wait for it for ever.
    pub(super) async fn drop_what_never_came(&mut self) -> Result<(), SyncError> {
        let sql = "SELECT id FROM blob WHERE large > 0 AND large IN (2, 3, 4)";
        let ids: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(self.settled().await?).await?;
        if ids.is_empty() {
            return Ok(());
        }
        self.drop_large(ids).await?;
        let gone = "SELECT position FROM blob WHERE large > 0 AND large IN (2, 3, 4)";
        for table in ["also", "covered"] {
            self.script.statement(&format!("DELETE FROM {table} WHERE position IN ({gone})"));
        }
        self.script.statement("DELETE FROM blob WHERE large > 0 AND large IN (2, 3, 4)");
        self.make_room().await
    }
}

impl NewRow {
    /// What the row stands for, if that is content: its position, whether the content is here, and which it is.
    pub(super) fn listing(&self) -> Option<(u64, bool, Sealed)> {
        self.large.as_ref().map(|large| (self.position, self.own, large.content))
    }

    /// The channel that it has in the log.
    pub(super) fn channel(&self) -> &str {
        self.large.as_ref().map_or(&self.blob.channel, |large| &large.channel)
    }
}
