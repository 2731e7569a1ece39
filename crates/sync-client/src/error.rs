//! The one error type of the public API.

use std::io::ErrorKind;
use std::path::Path;

use sync_types::Code;

/// A call that failed: a code for programs, a sentence for people, and when to try again.
///
/// `Display` gives the sentence and the code's next step. Neither holds a secret or an app's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}. {}", .code.next_step())]
pub struct SyncError {
    /// What went wrong. [`Code::fault`] says who has to do something about it.
    pub code: Code,
    /// What was being done and what came of it, without a full stop.
    pub message: String,
    /// After how many milliseconds the same call may succeed, if the other side said so.
    pub retry_after_ms: Option<u64>,
}

impl SyncError {
    /// An error with this code and sentence (no full stop).
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    pub(crate) fn retry_after(mut self, ms: u32) -> Self {
        self.retry_after_ms = (ms > 0).then_some(u64::from(ms));
        self
    }

    /// A failure to do `what` to `path`; a full disk keeps its own code.
    pub(crate) fn io(what: &str, path: &Path, source: &std::io::Error) -> Self {
        let code = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::Io,
        };
        Self::new(code, format!("cannot {what} {}: {source}", path.display()))
    }

    /// What every call on a closed client returns.
    pub(crate) fn closed() -> Self {
        Self::new(Code::Closed, "the client is closed")
    }

    pub(crate) fn timeout(what: &str) -> Self {
        Self::new(Code::Timeout, format!("{what} took too long"))
    }
}

impl From<sqlx::Error> for SyncError {
    fn from(error: sqlx::Error) -> Self {
        let number = match &error {
            sqlx::Error::Database(e) => e.code().and_then(|c| c.parse::<u32>().ok()),
            _ => None,
        };
        // The low byte is SQLite's primary result code (sqlite.org/rescode.html).
        match number.map(|n| n & 0xff) {
            Some(13) => Self::new(Code::DiskFull, "the disk has no room for the database"),
            Some(11 | 26) => Self::new(Code::StoreCorrupt, "the local database is damaged"),
            Some(_) => Self::new(Code::Io, format!("the local database cannot be read or written: {error}")),
            None => match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                    Self::new(Code::StoreCorrupt, "the local database holds what this build does not write")
                }
                sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::closed(),
                other => Self::new(Code::Io, format!("the local database cannot be read or written: {other}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_what_happened_and_what_to_do() {
        let error = SyncError::new(Code::Empty, "the blob is empty");
        assert_eq!(error.to_string(), "the blob is empty. Push at least one byte.");
        assert_eq!(error.clone().retry_after(0).retry_after_ms, None);
        assert_eq!(error.retry_after(7).retry_after_ms, Some(7));
    }

    #[test]
    fn a_full_disk_keeps_its_code() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        assert_eq!(SyncError::io("write", Path::new("x"), &full).code, Code::DiskFull);
        let other = std::io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(SyncError::io("write", Path::new("x"), &other).code, Code::Io);
    }
}
