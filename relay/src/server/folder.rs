//! The data folder, for one process at a time.

use std::fs::File;
use std::path::Path;

use fs4::TryLockError;
use sync_types::Code;

use crate::StartError;

/// The name of the file that is locked. It stays when the relay stops; the lock goes with the process.
const FILE: &str = "relay.lock";

/// Keeps other processes out while it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the folder if there is none, and locks it.
    pub(super) fn take(folder: &Path) -> Result<Self, StartError> {
        std::fs::create_dir_all(folder).map_err(|e| StartError::io("make the folder", folder, &e))?;
        let path = folder.join(FILE);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StartError::io("open", &path, &e))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::new(
                Code::HomeBusy,
                format!("another relay runs on {}: stop it or choose another folder", folder.display()),
            )),
            Err(TryLockError::Error(e)) => Err(StartError::io("lock", &path, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_relays_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert_eq!(Lock::take(folder.path()).unwrap_err().code, Code::HomeBusy);
        drop(lock);
        assert!(Lock::take(folder.path()).is_ok());
    }
}
