//! The writes of a turn.

use sqlx::Row;
use sync_core::store::{RefusedEntry, Write};
use sync_core::vault::Cell;
use sync_sqlite::Script;
use sync_types::body::Blob;
use sync_types::{BlobId, Code, DeviceId};

use super::rows::NewRow;
use super::{Outbox, Turn};
use crate::SyncError;

/// How many statements wait for each other at the most: a text of ever more of them would hardly come twice.
const MOST_WAITING: usize = 8;

/// How many held blobs are in memory at once, a mebibyte each at the most.
const RELEASED: i64 = 64;

/// How many rows of the small state one statement sets at the most: each number is one more text.
const PUTS: usize = 4;

impl Turn<'_> {
    /// Applies the core's writes in their order.
    pub(crate) async fn apply(&mut self, writes: Vec<Write>) -> Result<(), SyncError> {
        for write in writes {
            match write {
                // Runs of received blobs share statements. Anything that reads or moves blobs comes behind them.
                Write::Receive { sender, seq, blobs, hold: false } => self.receive(sender, seq, blobs).await?,
                other => {
                    let moves = !matches!(
                        other,
                        Write::Put(..)
                            | Write::Delete(_)
                            | Write::BufferGap { .. }
                            | Write::DropGap { .. }
                            | Write::DropSealed { .. }
                    );
                    if moves {
                        self.put_received().await?;
                    }
                    self.apply_one(other).await?;
                }
            }
        }
        self.insert_full().await
    }

    /// The position of one more blob.
    pub(super) fn next(&mut self) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        position
    }

    /// Puts pushed blobs into the outbox; gives the position of each.
    pub(crate) fn push(&mut self, sender: DeviceId, blobs: Vec<Blob>) -> Vec<u64> {
        if !matches!(self.outbox, Outbox::Fresh) {
            self.outbox = Outbox::Unknown;
        }
        let mut positions = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let position = self.next();
            positions.push(position);
            let row = NewRow::new(position, blob, true, sender, None);
            self.tells_of_files |= row.tells_of_files();
            self.fresh.push_back(row);
        }
        positions
    }

    async fn apply_one(&mut self, write: Write) -> Result<(), SyncError> {
        let script = &mut self.script;
        match write {
            Write::Put(key, value) => drop(self.puts.insert(key, value)),
            Write::Delete(key) => {
                self.puts.remove(&key);
                script.statement("DELETE FROM state WHERE key = ?").bind(key.to_bytes());
            }
            Write::ClearGroup => {
                self.sealed = None;
                self.puts.clear();
                self.drop_sealed = None;
                for table in ["state", "held", "also", "covered", "sealed", "gap", "kit_kept", "kit_apart"] {
                    script.statement(&format!("DELETE FROM {table}"));
                }
            }
            Write::Reoffer { sender } => {
                self.put_fresh().await?;
                self.drop_what_never_came().await?;
                self.outbox = Outbox::Unknown;
                self.sealed = None;
                let script = self.script.statement(
                    "UPDATE blob SET origin = CASE WHEN received THEN coalesce(origin, sender) END,
                                     own = 1, seq = NULL, sender = ?",
                );
                script.bind(sender.as_bytes());
            }
            Write::Rekeyed { old, new, kept_seq, held_seq } => {
                self.put_fresh().await?;
                self.outbox = Outbox::Unknown;
                self.sealed = None;
                self.drop_sealed = None;
                let script = &mut self.script;
                script.statement("DELETE FROM sealed");
                script.statement(
                    "INSERT OR IGNORE INTO also
                     SELECT position, sender, seq FROM blob WHERE own = 1 AND sender = ? AND seq > ? AND seq <= ?",
                );
                script.bind(old.as_bytes()).bind(number(kept_seq)?).bind(number(held_seq)?);
                script.statement("UPDATE blob SET own = 2 WHERE own = 1 AND sender = ? AND seq <= ?");
                script.bind(old.as_bytes()).bind(number(kept_seq)?);
                script.statement("UPDATE blob SET seq = NULL, sender = ? WHERE own = 1").bind(new.as_bytes());
            }
            Write::Sealed { seq, envelope, up_to_position } => {
                let sealed = number(seq)?;
                if self.drop_sealed.is_some_and(|up_to| seq <= up_to) {
                    // Not meant by what was said before it.
                    put_drop(&mut self.drop_sealed, script)?;
                }
                script.statement("INSERT OR REPLACE INTO sealed VALUES (?, ?)").bind(sealed).bind(envelope.0);
                if let Some(position) = up_to_position {
                    self.sealed = None;
                    for row in self.fresh.iter_mut().take_while(|row| row.position <= position) {
                        row.seq = row.seq.or(Some(seq));
                        self.sealed = row.seq.filter(|_| row.large.is_none()).map(|seq| (row.blob.id, seq));
                    }
                    if !matches!(self.outbox, Outbox::Fresh) {
                        script.statement("UPDATE blob SET seq = ? WHERE own = 1 AND seq IS NULL AND position <= ?");
                        script.bind(sealed).bind(number(position)?);
                    }
                    if matches!(self.outbox, Outbox::EndsAt(end) if end <= position) {
                        self.outbox = Outbox::Fresh;
                    }
                }
            }
            Write::DropSealed { up_to_seq } => self.drop_sealed = self.drop_sealed.max(Some(up_to_seq)),
            Write::Receive { sender, seq, blobs, .. } => self.hold(sender, number(seq)?, blobs).await?,
            Write::ReceiveSnapshot { sender, seq, blob, covers } => {
                self.receive_snapshot(sender, seq, blob, &covers).await?;
            }
            Write::RestoreSnapshot { sender, maker, blob, covers } => {
                self.restore_snapshot(sender, maker, blob, &covers).await?;
            }
            Write::KitKept { id, kit, relay } => {
                script.statement(
                    "DELETE FROM kit_kept WHERE kit <> ? OR id NOT IN (
                         SELECT id FROM blob WHERE snapshot = 1 UNION ALL SELECT id FROM kit_apart
                     )",
                );
                script.bind(&kit[..]);
                script.statement("INSERT OR IGNORE INTO kit_kept VALUES (?, ?, ?)");
                script.bind(id.as_bytes()).bind(&kit[..]).bind(&relay.0[..]);
            }
            Write::KitLost { relay } => {
                script.statement("DELETE FROM kit_kept WHERE relay = ?").bind(&relay.0[..]);
            }
            Write::Release { sender, up_to_seq } => self.release(sender, number(up_to_seq)?).await?,
            Write::BufferGap { sender, seq, envelope } => {
                script.statement("INSERT OR REPLACE INTO gap VALUES (?, ?, ?)");
                script.bind(sender.as_bytes()).bind(number(seq)?).bind(envelope.0);
            }
            Write::DropGap { sender, seq } => {
                script.statement("DELETE FROM gap WHERE sender = ? AND seq = ?");
                script.bind(sender.as_bytes()).bind(number(seq)?);
            }
            Write::Refused(entry) => {
                let RefusedEntry { cursor, sender, outcome, at, bytes } = *entry;
                self.refuse(cursor, sender, outcome.as_str(), at, bytes.0)?;
            }
        }
        self.make_room().await
    }

    /// Puts what the turn has to say of the small state and of sealed envelopes among the statements.
    pub(super) async fn put_state(&mut self) -> Result<(), SyncError> {
        put_drop(&mut self.drop_sealed, &mut self.script)?;
        let puts: Vec<_> = std::mem::take(&mut self.puts).into_iter().collect();
        for puts in puts.chunks(PUTS) {
            let rows = vec!["(?, ?)"; puts.len()].join(", ");
            self.script.statement(&format!(
                "INSERT INTO state VALUES {rows} ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            ));
            for (key, value) in puts {
                let key = key.to_bytes();
                let value = self.vault.seal(Cell::State(&key), value);
                self.script.bind(key).bind(value);
            }
            self.make_room().await?;
        }
        Ok(())
    }

    /// Keeps something that was not accepted.
    pub(super) fn refuse(
        &mut self,
        cursor: u64,
        sender: Option<DeviceId>,
        outcome: &str,
        at: u64,
        bytes: Vec<u8>,
    ) -> Result<(), SyncError> {
        let bytes = self.vault.seal(Cell::Refused(cursor, sender, outcome, at), &bytes);
        let script =
            self.script.statement("INSERT INTO refused (cursor, sender, outcome, at, bytes) VALUES (?, ?, ?, ?, ?)");
        script.bind(number(cursor)?).bind(sender.map(|s| s.0.to_vec())).bind(outcome).bind(number(at)?).bind(bytes);
        self.refused = true;
        Ok(())
    }

    /// Runs what waits if that is much.
    pub(super) async fn make_room(&mut self) -> Result<(), SyncError> {
        if self.script.waiting() >= MOST_WAITING {
            self.script.run(self.tx).await?;
        }
        Ok(())
    }

    async fn release(&mut self, sender: DeviceId, up_to: i64) -> Result<(), SyncError> {
        let (mut seq, mut arrival) = (-1, -1);
        loop {
            let sql = "SELECT arrival, id, seq, channel, data, snapshot FROM held
                       WHERE sender = ? AND seq <= ? AND (seq, arrival) > (?, ?) ORDER BY seq, arrival LIMIT ?";
            let query = sqlx::query(sql).bind(sender.as_bytes()).bind(up_to).bind(seq).bind(arrival).bind(RELEASED);
            let rows = query.fetch_all(self.settled().await?).await?;
            let Some(last) = rows.last() else { break };
            (seq, arrival) = (last.try_get(2)?, last.try_get(0)?);
            for row in rows {
                let id = BlobId::from_slice(&row.try_get::<Vec<u8>, _>(1)?).ok_or_else(bad_row)?;
                let (seq, channel, snapshot): (u64, String, bool) =
                    (row.try_get::<i64, _>(2)?.unsigned_abs(), row.try_get(3)?, row.try_get(5)?);
                let place = Cell::Held(id, sender, seq, &channel, snapshot);
                let data = self.vault.open(place, row.try_get(4)?)?;
                self.receive(sender, seq, vec![Blob { id, channel, data, snapshot }]).await?;
            }
            // What was left out, because its id is known, is found on the way.
            self.put_received().await?;
        }
        self.script.statement("DELETE FROM held WHERE sender = ? AND seq <= ?").bind(sender.as_bytes()).bind(up_to);
        Ok(())
    }
}

fn put_drop(drop_sealed: &mut Option<u64>, script: &mut Script) -> Result<(), SyncError> {
    if let Some(up_to) = drop_sealed.take() {
        script.statement("DELETE FROM sealed WHERE seq <= ?").bind(number(up_to)?);
    }
    Ok(())
}

/// SQLite's integers are signed; every number here is far below 2^63.
pub(super) fn number(n: u64) -> Result<i64, SyncError> {
    i64::try_from(n).map_err(|_| SyncError::new(Code::Protocol, "a number is beyond 2^63"))
}

pub(super) fn bad_row() -> SyncError {
    SyncError::new(Code::StoreCorrupt, "the local database holds what this build does not write")
}
