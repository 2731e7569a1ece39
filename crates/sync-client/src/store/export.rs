//! The log as one moment has it, for a backup.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use sync_core::vault::Cell;
use sync_core::vault::backup::Entry;
use sync_types::content::LARGE_CHANNEL;
use sync_types::{BlobId, DeviceId, Opaque};

use super::apply::bad_row;
use super::consumers::LogReader;
use crate::SyncError;
use crate::vault::Sealing;

/// How many blobs are in memory at once, a mebibyte each at the most.
const ROWS: i64 = 16;

/// The log and what is held behind holes, as of when this was made.
pub(crate) struct Export {
    transaction: Transaction<'static, Sqlite>,
    vault: Sealing,
    /// Behind which row of which table it goes on.
    after: i64,
    in_log: bool,
}

impl LogReader {
    /// All blobs that this device has, and how many there are.
    pub(crate) async fn export(&self) -> Result<(Export, u64), SyncError> {
        let mut transaction = self.pool.begin().await?;
        let sql = "SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM held)";
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut *transaction).await?;
        let export = Export { transaction, vault: self.vault.clone(), after: -1, in_log: true };
        Ok((export, count.unsigned_abs()))
    }
}

impl Export {
    /// The next ones; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<Entry>, SyncError> {
        let log =
            "SELECT position, id, coalesce(origin, sender), sender, coalesce(seq, 0), snapshot, channel, data, large
                   FROM blob WHERE position > ? ORDER BY position LIMIT ?";
        let held = "SELECT arrival, id, sender, sender, seq, snapshot, channel, data, 0
                    FROM held WHERE arrival > ? ORDER BY arrival LIMIT ?";
        loop {
            let query = sqlx::query(if self.in_log { log } else { held }).bind(self.after).bind(ROWS);
            let rows = query.fetch_all(&mut *self.transaction).await?;
            if let Some(last) = rows.last() {
                self.after = last.try_get(0)?;
                return rows.iter().map(|row| self.entry(row)).collect();
            }
            if !std::mem::take(&mut self.in_log) {
                return Ok(vec![]);
            }
            self.after = -1;
        }
    }

    fn entry(&self, row: &SqliteRow) -> Result<Entry, SyncError> {
        let id = BlobId::from_slice(row.try_get(1)?).ok_or_else(bad_row)?;
        let sender = DeviceId::from_slice(row.try_get(3)?).ok_or_else(bad_row)?;
        let seq = row.try_get::<i64, _>(4)?.unsigned_abs();
        let (snapshot, channel): (bool, String) = (row.try_get(5)?, row.try_get(6)?);
        let place = match self.in_log {
            true => Cell::Blob(id, &channel, snapshot),
            false => Cell::Held(id, sender, seq, &channel, snapshot),
        };
        let data = Opaque(self.vault.open(place, row.try_get(7)?)?);
        let origin = DeviceId::from_slice(row.try_get(2)?).ok_or_else(bad_row)?;
        // As it travels.
        let channel = if row.try_get(8)? { LARGE_CHANNEL.to_owned() } else { channel };
        Ok(Entry { id, origin, sender, seq, snapshot, channel: Opaque(channel.into()), data })
    }
}
