//! The relay's points at which a test can make it die, see [`sync_sqlite::crash`].

/// Before a batch is handed to the store.
pub(crate) const BEFORE_COMMIT: &str = "before_commit";
/// Inside the store's transaction, with everything written and nothing committed.
pub(crate) const MID_COMMIT: &str = "mid_commit";
/// The batch is durable and nobody has been told.
pub(crate) const AFTER_COMMIT_BEFORE_REPLY: &str = "after_commit_before_reply";
/// Inside a transaction that deletes acknowledged entries, between its last write and the commit.
pub(crate) const MID_DELETE: &str = "mid_delete";
/// Acknowledged entries are gone durably and nobody has been told.
pub(crate) const AFTER_DELETE: &str = "after_delete";
