//! A backup on its way in: staged beside the log, and taken into it in one transaction.

use sync_core::vault::Cell;
use sync_core::vault::backup::Entry;
use sync_types::body::Blob;
use sync_types::{BlobId, Code, DeviceId, Sealed};

use super::apply::number;
use super::large::Large;
use super::{Outbox, Turn, next_position};
use crate::SyncError;

impl Turn<'_> {
    /// Stages blobs of a backup, sealed as they will stand in the log; of large ones only those whose bytes are in the content
    /// store.
    pub(crate) async fn stage(&mut self, entries: Vec<Entry>) -> Result<(), SyncError> {
        for entry in entries {
            let Entry { id, origin, sender, seq, snapshot, channel, data } = entry;
            let channel = String::from_utf8(channel.0)
                .map_err(|_| SyncError::new(Code::BackupDamaged, "a channel's name is no text"))?;
            let blob = Blob { id, channel, data: data.0, snapshot };
            let large = Large::of(&blob);
            let channel = large.as_ref().map_or(blob.channel.as_str(), |large| &large.channel);
            let data = self.vault.seal(Cell::Blob(id, channel, snapshot), &blob.data);
            let script = self.script.statement(
                "INSERT OR IGNORE INTO import (id, origin, sender, seq, channel, data, snapshot, large)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            );
            script.bind(id.as_bytes()).bind(origin.as_bytes()).bind(sender.as_bytes());
            script.bind(number(seq)?).bind(channel).bind(data).bind(snapshot).bind(large.is_some());
            self.make_room().await?;
        }
        Ok(())
    }

    /// Puts what is staged into the log as this device's to give: under the same ids, behind what is there, without what the
    /// log has and what a snapshot of it stands for. Gives how many blobs that were. `large`: the large ones, and their content.
    pub(crate) async fn take_staged(&mut self, me: DeviceId, large: &[(BlobId, Sealed)]) -> Result<u64, SyncError> {
        self.put_received().await?;
        self.put_fresh().await?;
        self.flush().await?;
        let take = "INSERT INTO blob (id, own, sender, seq, channel, data, snapshot, large, origin)
                    SELECT id, 1, ?, NULL, channel, data, snapshot, large, origin FROM import
                    WHERE NOT EXISTS (
                        SELECT 1 FROM covered
                        WHERE covered.sender = import.sender AND import.seq BETWEEN from_seq AND to_seq)
                    ORDER BY number
                    ON CONFLICT (id) DO NOTHING";
        let taken = sqlx::query(take).bind(me.as_bytes()).execute(self.settled().await?).await?;
        let next = next_position(self.settled().await?).await?;
        self.next_position = self.next_position.max(next);
        self.outbox = Outbox::Unknown;
        // There may be some among them.
        self.tells_of_files |= taken.rows_affected() > 0;
        for (id, content) in large {
            self.take_large(*id, *content).await?;
        }
        self.drop_staged();
        Ok(taken.rows_affected())
    }

    /// Forgets what is staged.
    pub(crate) fn drop_staged(&mut self) {
        self.script.statement("DELETE FROM import");
    }

    /// Sets a value that the client keeps beside the core's state.
    pub(crate) fn set_meta(&mut self, name: &str, value: &str) {
        let sealed = self.vault.seal(Cell::Meta(name), value.as_bytes());
        let sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.script.statement(sql).bind(name).bind(sealed);
    }
}
