//! The backup file: what this device has, under a passphrase, without its keys.
//!
//! Export reads the log as of one moment and writes beside the file, which is put in its place when it is whole. Import stages
//! what it reads beside the log and takes it in by one transaction, once the whole file has proved sound. Dropping the future of
//! either ends it, and changes nothing.

mod export;
mod import;

use sync_core::vault::backup::Settings;
use sync_types::{BlobId, Code, Sealed, limits};

use crate::SyncError;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReceipt {
    /// How many blobs.
    pub blobs: u64,
    /// How large the file is, in bytes.
    pub bytes: u64,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportReceipt {
    /// How many blobs the backup holds.
    pub blobs: u64,
    /// How many of them this device lacked, and has now.
    pub added: u64,
    /// When the backup was made, in milliseconds since the Unix epoch, by the clock of the device that made it.
    pub made_at: u64,
}

/// How far it is: so much of so much.
pub(crate) type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// How many bytes of a file are read and written at once.
const PIECE: usize = 4 * (limits::BACKUP_CHUNK_BYTES + 16);

fn failed(what: &str, error: &std::io::Error) -> SyncError {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    SyncError::new(code, format!("the backup cannot be {what}: {error}"))
}

/// The text of a setting, which the format has checked.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a device that has no group takes over.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) settings: Settings,
    /// Its large blobs, whose bytes are in the content store.
    pub(crate) large: Vec<(BlobId, Sealed)>,
}

impl Restored {
    pub(crate) fn name(&self) -> String {
        text(&self.settings.name)
    }

    pub(crate) fn relay(&self) -> String {
        text(&self.settings.relay)
    }
}
