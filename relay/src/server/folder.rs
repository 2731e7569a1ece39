//! The data folder, for one process at a time.

use std::fs::File;
use std::path::Path;

use fs4::TryLockError;
use sync_types::Code;

use crate::StartError;

/// The name of the file that is locked. It stays when the relay stops; the lock goes with the process.
pub(crate) const FILE: &str = "relay.lock";
/// While a backup is put back this stands in the folder, so that no relay starts on half of it.
pub(crate) const RESTORING: &str = "restoring";

/// Keeps other processes out while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the folder if there is none, and locks it.
    pub(crate) fn take(folder: &Path) -> Result<Self, StartError> {
        std::fs::create_dir_all(folder).map_err(|e| StartError::io("make the folder", folder, &e))?;
        let path = folder.join(FILE);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StartError::io("open", &path, &e))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) if folder.join(RESTORING).exists() => Err(StartError::new(
                Code::StoreCorrupt,
                format!(
                    "a backup was put back into {} only in part: empty the folder and restore again",
                    folder.display()
                ),
            )),
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::new(
                Code::HomeBusy,
                format!("another relay runs on {}: stop it or choose another folder", folder.display()),
            )),
            Err(TryLockError::Error(e)) => Err(StartError::io("lock", &path, &e)),
        }
    }
}

/// Whether a relay runs on the folder. Makes nothing.
pub(crate) fn is_busy(folder: &Path) -> bool {
    let Ok(file) = File::options().write(true).open(folder.join(FILE)) else { return false };
    // A lock that was got goes with the file.
    matches!(fs4::FileExt::try_lock(&file), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_relays_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert_eq!(Lock::take(folder.path()).unwrap_err().code, Code::HomeBusy);
        assert!(is_busy(folder.path()));
        drop(lock);
        assert!(!is_busy(folder.path()));
        assert!(Lock::take(folder.path()).is_ok());
    }
}
