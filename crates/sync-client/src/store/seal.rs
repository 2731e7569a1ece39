//! Sealing what a home of before there were vaults holds: all of it in one transaction, or nothing.

use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use sync_core::vault::Cell;
use sync_sqlite::crash::point;
use sync_types::{BlobId, DeviceId};
use zeroize::Zeroizing;

use super::apply::bad_row;
use crate::vault::Sealing;
use crate::{SyncError, crash};

/// The one value that is not sealed: whose seal the others have, and behind it whether what was there before is written over.
pub(super) const MARK: &str = "vault";

/// How many rows are in memory at once, a mebibyte each at the most.
const ROWS: i64 = 32;

const TIDY: u8 = 1;
const UNTIDY: u8 = 0;

/// Whose seal the values have; `None` if they have none.
pub(super) async fn sealed_by(connection: &mut SqliteConnection) -> Result<Option<([u8; 16], bool)>, SyncError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'")
        .fetch_one(&mut *connection)
        .await?;
    if tables == 0 {
        return Ok(None);
    }
    let mark = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(MARK).fetch_optional(connection);
    let Some::<Vec<u8>>(mark) = mark.await? else { return Ok(None) };
    let (id, tidy) = mark.split_first_chunk::<16>().ok_or_else(bad_row)?;
    Ok(Some((*id, tidy == [TIDY])))
}

/// Sees that all values are sealed, and that nothing of what was there before stands in the file.
pub(super) async fn seal(connection: &mut SqliteConnection, vault: [u8; 16], with: &Sealing) -> Result<(), SyncError> {
    let tidy = match sealed_by(connection).await? {
        Some((_, tidy)) => tidy,
        None => seal_all(connection, vault, with).await?,
    };
    if tidy {
        return Ok(());
    }
    point(crash::AFTER_ROWS_ARE_SEALED);
    // Only ever once for a home. Without room for it, the next start tries again.
    match write_over(connection, vault).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(code = %error.code, "what was stored before may stand in the file still: {}", error.message);
            Ok(())
        }
    }
}

/// Gives whether there was nothing to seal.
async fn seal_all(connection: &mut SqliteConnection, vault: [u8; 16], with: &Sealing) -> Result<bool, SyncError> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let sealed = rows(connection, with).await;
    let done = match sealed {
        Ok(count) => {
            let mark = [&vault[..], &[if count == 0 { TIDY } else { UNTIDY }]].concat();
            let insert = sqlx::query("INSERT INTO meta VALUES (?, ?)").bind(MARK).bind(mark);
            insert.execute(&mut *connection).await.map(|_| count == 0).map_err(SyncError::from)
        }
        Err(error) => Err(error),
    };
    point(crash::BEFORE_ROWS_ARE_SEALED);
    match done {
        Ok(tidy) => {
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
            Ok(tidy)
        }
        Err(error) => {
            // On a full disk SQLite has rolled back by itself.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            Err(error)
        }
    }
}

async fn write_over(connection: &mut SqliteConnection, vault: [u8; 16]) -> Result<(), SyncError> {
    sqlx::raw_sql("VACUUM").execute(&mut *connection).await?;
    let update =
        sqlx::query("UPDATE meta SET value = ? WHERE name = ?").bind([&vault[..], &[TIDY]].concat()).bind(MARK);
    update.execute(&mut *connection).await?;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await?;
    Ok(())
}

/// Gives how many values there were.
async fn rows(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    Ok(meta(connection, with).await?
        + state(connection, with).await?
        + blobs(connection, with).await?
        + held(connection, with).await?
        + refused(connection, with).await?)
}

async fn meta(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    let names: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, value FROM meta").fetch_all(&mut *connection).await?;
    for (name, value) in &names {
        let update = sqlx::query("UPDATE meta SET value = ? WHERE name = ?");
        update.bind(with.seal(Cell::Meta(name), value)).bind(name).execute(&mut *connection).await?;
    }
    Ok(names.len() as u64)
}

async fn state(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    let keys: Vec<Vec<u8>> = sqlx::query_scalar("SELECT key FROM state").fetch_all(&mut *connection).await?;
    for key in &keys {
        let value = sqlx::query_scalar("SELECT value FROM state WHERE key = ?").bind(key);
        let value: Zeroizing<Vec<u8>> = Zeroizing::new(value.fetch_one(&mut *connection).await?);
        let update = sqlx::query("UPDATE state SET value = ? WHERE key = ?");
        update.bind(with.seal(Cell::State(key), &value)).bind(key).execute(&mut *connection).await?;
    }
    Ok(keys.len() as u64)
}

async fn blobs(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    let (mut after, mut count) = (-1, 0);
    loop {
        let sql = "SELECT position, id, channel, snapshot, data FROM blob WHERE position > ? ORDER BY position LIMIT ?";
        let mut rows = sqlx::query(sql).bind(after).bind(ROWS).fetch(&mut *connection);
        let mut sealed = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let id = BlobId::from_slice(&row.try_get::<Vec<u8>, _>(1)?).ok_or_else(bad_row)?;
            let channel: String = row.try_get(2)?;
            let data: Vec<u8> = row.try_get(4)?;
            sealed.push((row.try_get::<i64, _>(0)?, with.seal(Cell::Blob(id, &channel, row.try_get(3)?), &data)));
        }
        drop(rows);
        let Some((last, _)) = sealed.last() else { return Ok(count) };
        (after, count) = (*last, count + sealed.len() as u64);
        for (position, data) in sealed {
            let update = sqlx::query("UPDATE blob SET data = ? WHERE position = ?").bind(data).bind(position);
            update.execute(&mut *connection).await?;
        }
    }
}

async fn held(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    let (mut after, mut count) = (-1, 0);
    loop {
        let sql = "SELECT arrival, id, sender, seq, channel, snapshot, data FROM held
                   WHERE arrival > ? ORDER BY arrival LIMIT ?";
        let rows = sqlx::query(sql).bind(after).bind(ROWS).fetch_all(&mut *connection).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        (after, count) = (last.try_get(0)?, count + rows.len() as u64);
        for row in rows {
            let id = BlobId::from_slice(&row.try_get::<Vec<u8>, _>(1)?).ok_or_else(bad_row)?;
            let sender = DeviceId::from_slice(&row.try_get::<Vec<u8>, _>(2)?).ok_or_else(bad_row)?;
            let (seq, channel): (i64, String) = (row.try_get(3)?, row.try_get(4)?);
            let place = Cell::Held(id, sender, seq.unsigned_abs(), &channel, row.try_get(5)?);
            let data = with.seal(place, &row.try_get::<Vec<u8>, _>(6)?);
            let update = sqlx::query("UPDATE held SET data = ? WHERE arrival = ?").bind(data);
            update.bind(row.try_get::<i64, _>(0)?).execute(&mut *connection).await?;
        }
    }
}

async fn refused(connection: &mut SqliteConnection, with: &Sealing) -> Result<u64, SyncError> {
    let (mut after, mut count) = (-1, 0);
    loop {
        let sql = "SELECT number, cursor, sender, outcome, at, bytes FROM refused
                   WHERE number > ? ORDER BY number LIMIT ?";
        let rows = sqlx::query(sql).bind(after).bind(ROWS).fetch_all(&mut *connection).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        (after, count) = (last.try_get(0)?, count + rows.len() as u64);
        for row in rows {
            let sender: Option<Vec<u8>> = row.try_get(2)?;
            let sender = sender.map(|s| DeviceId::from_slice(&s).ok_or_else(bad_row)).transpose()?;
            let (cursor, at): (i64, i64) = (row.try_get(1)?, row.try_get(4)?);
            let outcome: String = row.try_get(3)?;
            let place = Cell::Refused(cursor.unsigned_abs(), sender, &outcome, at.unsigned_abs());
            let bytes = with.seal(place, &row.try_get::<Vec<u8>, _>(5)?);
            let update = sqlx::query("UPDATE refused SET bytes = ? WHERE number = ?").bind(bytes);
            update.bind(row.try_get::<i64, _>(0)?).execute(&mut *connection).await?;
        }
    }
}
