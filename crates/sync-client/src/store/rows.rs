//! Blobs on their way into their tables: many rows a statement, and many statements a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join;
use sqlx::{AssertSqlSafe, Row};
use sync_core::store::IdConflict;
use sync_core::vault::Cell;
use sync_sqlite::Script;
use sync_types::body::Blob;
use sync_types::content::{FILES_CHANNEL, LARGE_CHANNEL};
use sync_types::{BlobId, DeviceId};

use super::apply::{bad_row, number};
use super::large::Large;
use super::{Outbox, Turn};
use crate::SyncError;
use crate::vault::Sealing;

/// How many rows one statement inserts: 64 to 256 reach the most rows a second.
const ROWS: usize = 200;

/// How many such statements go in one call. Each number is a text that is kept prepared, so these are few.
const STATEMENTS: [usize; 3] = [16, 4, 1];

/// How many rows wait at the most before they are stored: what the largest call takes.
const MOST_ROWS: usize = STATEMENTS[0] * ROWS;

const LOG: &str = "blob (position, id, own, sender, seq, channel, data, snapshot)";
const LOG_ROW: &str = "(?,?,?,?,?,?,?,?)";

/// A row that waits for its statement, with the blob as it travels.
pub(super) struct NewRow {
    pub(super) position: u64,
    pub(super) blob: Blob,
    pub(super) own: bool,
    pub(super) sender: DeviceId,
    pub(super) seq: Option<u64>,
    /// What it stands for, if that is too large for an envelope.
    pub(super) large: Option<Large>,
}

impl NewRow {
    pub(super) fn new(position: u64, blob: Blob, own: bool, sender: DeviceId, seq: Option<u64>) -> Self {
        let large = Large::of(&blob);
        Self { position, blob, own, sender, seq, large }
    }

    /// Whether there is content for somebody to look after.
    pub(super) fn tells_of_files(&self) -> bool {
        self.large.is_some() || self.blob.channel == FILES_CHANNEL
    }
}

impl Turn<'_> {
    /// Puts received blobs among the rows that wait.
    pub(super) async fn receive(&mut self, sender: DeviceId, seq: u64, blobs: Vec<Blob>) -> Result<(), SyncError> {
        for blob in blobs {
            let position = self.next();
            let row = NewRow::new(position, blob, false, sender, Some(seq));
            self.tells_of_files |= row.tells_of_files();
            self.received.push(row);
        }
        if self.received.len() >= MOST_ROWS { self.insert_full().await } else { Ok(()) }
    }

    /// Stores received blobs as far as they fill statements. The rest waits for more.
    pub(super) async fn insert_full(&mut self) -> Result<(), SyncError> {
        let rest = self.received.split_off(self.received.len() - self.received.len() % ROWS);
        let rows = std::mem::replace(&mut self.received, rest);
        self.insert(rows).await
    }

    /// Stores all received blobs.
    pub(super) async fn put_received(&mut self) -> Result<(), SyncError> {
        let rows = std::mem::take(&mut self.received);
        self.insert(rows).await
    }

    /// Puts the fresh rows among the statements.
    pub(super) async fn put_fresh(&mut self) -> Result<(), SyncError> {
        let rows = Vec::from(std::mem::take(&mut self.fresh));
        if rows.iter().any(|row| row.seq.is_none()) {
            self.outbox = Outbox::Unknown;
        }
        self.insert(rows).await
    }

    /// Adds rows to the log; a row whose id is there is left out.
    async fn insert(&mut self, rows: Vec<NewRow>) -> Result<(), SyncError> {
        let large: Vec<_> = rows.iter().filter_map(NewRow::listing).collect();
        self.insert_rows(rows).await?;
        self.list_large(&large).await
    }

    async fn insert_rows(&mut self, rows: Vec<NewRow>) -> Result<(), SyncError> {
        let (full, rest) = rows.split_at(rows.len() - rows.len() % ROWS);
        let vault = self.vault;
        let mut calls = in_calls(full).into_iter().map(|rows| log_script(rows, vault).map(|script| (rows, script)));
        let mut next = calls.next().transpose()?;
        if next.is_some() {
            // What waits goes before, and not in the same call: its text would hardly come again.
            self.script.run(self.tx).await?;
        }
        while let Some((rows, mut script)) = next {
            // While SQLite's thread is at this call, the next one is put together.
            let (changed, ahead) = join(script.run(self.tx), async { calls.next().transpose() }).await;
            for (rows, changed) in rows.chunks(ROWS).zip(changed?) {
                self.find_left_out(rows, changed).await?;
            }
            next = ahead?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.many(LOG, LOG_ROW, rest.len()).await?;
        bind_rows(&mut self.script, rest, vault)?;
        if let [NewRow { own: true, .. }] = rest {
            // No other row has the id that was drawn for this one.
            return Ok(());
        }
        let changed = self.script.run(self.tx).await?;
        self.find_left_out(rest, changed.last().copied().unwrap_or(0)).await
    }

    /// Finds conflicts among the rows of a statement that inserted only so many, and notes under which number else a blob came.
    async fn find_left_out(&mut self, rows: &[NewRow], inserted: u64) -> Result<(), SyncError> {
        if inserted == rows.len() as u64 {
            return Ok(());
        }
        self.find_conflicts(None, rows.iter().map(|row| (row.sender, &row.blob))).await?;
        for row in rows {
            let Some(seq) = row.seq else { continue };
            self.script.statement(
                "INSERT OR IGNORE INTO also SELECT position, ?, ? FROM blob
                 WHERE id = ? AND (sender <> ? OR seq IS NOT ?)",
            );
            let (sender, seq) = (row.sender.as_bytes(), number(seq)?);
            self.script.bind(sender).bind(seq).bind(row.blob.id.as_bytes()).bind(sender).bind(seq);
            self.make_room().await?;
        }
        Ok(())
    }

    pub(super) async fn hold(&mut self, sender: DeviceId, seq: i64, blobs: Vec<Blob>) -> Result<(), SyncError> {
        for chunk in blobs.chunks(ROWS) {
            self.many("held (id, sender, seq, channel, data, snapshot)", "(?,?,?,?,?,?)", chunk.len()).await?;
            for blob in chunk {
                let place = Cell::Held(blob.id, sender, seq.unsigned_abs(), &blob.channel, blob.snapshot);
                let data = self.vault.seal(place, &blob.data);
                self.script
                    .bind(blob.id.as_bytes())
                    .bind(sender.as_bytes())
                    .bind(seq)
                    .bind(blob.channel.as_str())
                    .bind(data)
                    .bind(blob.snapshot);
            }
            let changed = self.script.run(self.tx).await?;
            if changed.last().is_none_or(|inserted| *inserted < chunk.len() as u64) {
                self.find_conflicts(Some(seq.unsigned_abs()), chunk.iter().map(|blob| (sender, blob))).await?;
            }
        }
        Ok(())
    }

    /// Puts the head of a statement that inserts so many rows. Statements of the full size, and those for a single push,
    /// are worth keeping prepared.
    async fn many(&mut self, columns: &str, row: &str, rows: usize) -> Result<(), SyncError> {
        let keep = matches!(rows, 1 | ROWS);
        if rows > 1 && self.script.waiting() > 1 {
            // With others before it, the text would hardly come again.
            self.script.run(self.tx).await?;
        }
        self.script.statement(&insertion(columns, row, rows));
        if !keep {
            self.script.once();
        }
        Ok(())
    }

    /// Looks which of these blobs are in the log with other bytes, or among what is held under this number.
    async fn find_conflicts<'a>(
        &mut self,
        held: Option<u64>,
        blobs: impl Iterator<Item = (DeviceId, &'a Blob)>,
    ) -> Result<(), SyncError> {
        let offered: Vec<_> = blobs.collect();
        let marks = vec!["?"; offered.len()].join(",");
        let from = if held.is_some() { "held" } else { "blob" };
        let of_one = if held.is_some() { " AND sender = ? AND seq = ?" } else { "" };
        let large = if held.is_some() { "0" } else { "large" };
        let sql = format!("SELECT id, channel, data, snapshot, {large} FROM {from} WHERE id IN ({marks}){of_one}");
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        for (_, blob) in &offered {
            query = query.bind(blob.id.as_bytes());
        }
        let sender = offered.first().map(|(sender, _)| *sender).unwrap_or_default();
        if let Some(seq) = held {
            query = query.bind(sender.as_bytes()).bind(number(seq)?);
        }
        let mut stored: BTreeMap<Vec<u8>, (String, Vec<u8>)> = BTreeMap::new();
        for row in query.fetch_all(&mut *self.tx).await? {
            let id: &[u8] = row.try_get(0)?;
            let (channel, snapshot): (String, bool) = (row.try_get(1)?, row.try_get(3)?);
            let blob = BlobId::from_slice(id).ok_or_else(bad_row)?;
            let place = match held {
                Some(seq) => Cell::Held(blob, sender, seq, &channel, snapshot),
                None => Cell::Blob(blob, &channel, snapshot),
            };
            let data = self.vault.open(place, row.try_get(2)?)?;
            // Compared as it travels.
            let channel = if row.try_get(4)? { LARGE_CHANNEL.to_owned() } else { channel };
            stored.insert(id.to_vec(), (channel, data));
        }
        for (sender, blob) in offered {
            let same = stored
                .get(blob.id.as_bytes())
                .is_none_or(|(channel, data)| *channel == blob.channel && *data == blob.data);
            if !same {
                self.conflict(sender, blob.id, blob.data.clone()).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn conflict(&mut self, sender: DeviceId, id: BlobId, data: Vec<u8>) -> Result<(), SyncError> {
        let record = [id.as_bytes(), &data].concat();
        self.refuse(0, Some(sender), "id_conflict", crate::clock::now_ms(), record)?;
        self.conflicts.push(IdConflict { id, sender });
        self.make_room().await
    }
}

fn insertion(columns: &str, row: &str, rows: usize) -> String {
    let rows = vec![row; rows].join(",");
    format!("INSERT INTO {columns} VALUES {rows} ON CONFLICT DO NOTHING")
}

/// Divides rows that fill statements into calls.
fn in_calls<T>(mut rows: &[T]) -> Vec<&[T]> {
    let mut calls = Vec::new();
    while let Some(many) = STATEMENTS.into_iter().map(|n| n * ROWS).find(|many| *many <= rows.len()) {
        let (now, later) = rows.split_at(many);
        calls.push(now);
        rows = later;
    }
    calls
}

/// The statements of one call.
fn log_script(rows: &[NewRow], vault: &Sealing) -> Result<Script, SyncError> {
    let mut script = Script::default();
    let text = insertion(LOG, LOG_ROW, ROWS);
    for rows in rows.chunks(ROWS) {
        bind_rows(script.statement(&text), rows, vault)?;
    }
    Ok(script)
}

fn bind_rows(script: &mut Script, rows: &[NewRow], vault: &Sealing) -> Result<(), SyncError> {
    // Most rows have the channel of the row before. Of an `Arc<str>`, binding makes no copy.
    let mut channel: Arc<str> = Arc::default();
    for row in rows {
        if *channel != *row.channel() {
            channel = row.channel().into();
        }
        script
            .bind(number(row.position)?)
            .bind(row.blob.id.as_bytes())
            .bind(row.own)
            .bind(row.sender.as_bytes())
            .bind(row.seq.map(number).transpose()?)
            .bind(channel.clone())
            .bind(vault.seal(Cell::Blob(row.blob.id, &channel, row.blob.snapshot), &row.blob.data))
            .bind(row.blob.snapshot);
    }
    Ok(())
}
