//! Getting rid of what was deleted, when a group goes: its keys and blobs are not to be found in the file afterwards.

use sync_core::vault::Cell;
use sync_types::Code;

use super::{Store, Turn};
use crate::SyncError;

/// Set in the transaction that deletes, and cleared once the file is rewritten: a crash in between changes nothing.
const PENDING: &str = "scrub";

impl Turn<'_> {
    /// Has [`Store::scrub`] rewrite the file.
    pub(super) fn want_scrub(&mut self) {
        let mark = self.vault.seal(Cell::Meta(PENDING), b"");
        self.script.statement("INSERT OR REPLACE INTO meta VALUES (?, ?)").bind(PENDING).bind(mark);
    }
}

impl Store {
    /// Rewrites the file without what was deleted, if a group has gone: pages that nobody uses any more keep what was in them,
    /// and so does the log of writes.
    pub(crate) async fn scrub(&mut self) -> Result<(), SyncError> {
        if self.meta(PENDING).await?.is_none() {
            return Ok(());
        }
        let connection = self.writer().await;
        sqlx::raw_sql("VACUUM").execute(&mut *connection).await?;
        let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await?;
        if busy != 0 {
            return Err(SyncError::new(Code::Io, "the database is being read, so that its log cannot be emptied"));
        }
        sqlx::raw_sql("DELETE FROM meta WHERE name = 'scrub'").execute(&mut *connection).await?;
        Ok(())
    }
}
