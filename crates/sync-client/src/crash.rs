//! The client's points at which a test can make it die, see [`sync_sqlite::crash`]. They begin with `client_`, since an
//! embedded relay has points of its own in the same process.

/// A turn is decided, and its transaction not committed.
pub(crate) const BEFORE_COMMIT: &str = "client_before_commit";
/// The turn is durable; nobody has been told, and nothing was sent.
pub(crate) const AFTER_COMMIT_BEFORE_SEND: &str = "client_after_commit_before_send";
/// The rows of a home of before there were vaults are sealed, and the transaction is not committed.
pub(crate) const BEFORE_ROWS_ARE_SEALED: &str = "client_before_rows_are_sealed";
/// They are, and what was there before is not written over yet.
pub(crate) const AFTER_ROWS_ARE_SEALED: &str = "client_after_rows_are_sealed";
/// A frame went out.
pub(crate) const AFTER_SEND: &str = "client_after_send";
