//! The folder with a device's data: its lock, and the installation's transport key.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sync_core::vault::{CELL_OVERHEAD, Cell};
use sync_types::Code;
use zeroize::Zeroizing;

use crate::SyncError;
use crate::vault::Sealing;

const LOCK: &str = "lock";
const TRANSPORT_KEY: &str = "transport.key";
/// The key that seals the rest, under its lock.
pub(crate) const VAULT: &str = "vault";
/// The device's database.
pub(crate) const DATABASE: &str = "device.db";
/// What the embedded relay keeps.
pub(crate) const RELAY: &str = "relay";
/// Sealed content of files.
pub(crate) const CONTENT: &str = "content";

/// A home that this process holds. The lock ends with this value, and with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Takes the home, and makes it if it is not there: readable by its owner alone.
    ///
    /// # Errors
    /// [`Code::HomeBusy`] while another process, or another client in this one, holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, SyncError> {
        create_private_dir(path)?;
        let lock_path = path.join(LOCK);
        let lock = private().create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|e| SyncError::io("open", &lock_path, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(SyncError::new(Code::HomeBusy, format!("{} is in use", path.display())))
            }
            Err(TryLockError::Error(e)) => Err(SyncError::io("lock", &lock_path, &e)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a file in the place of what has its name, whole or not at all.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), SyncError> {
        replace(&self.path, name, bytes)
    }

    /// The installation's transport key: made once, kept under the vault's seal, and never an identity within a group.
    pub(crate) fn transport_key(&self, vault: &Sealing) -> Result<iroh::SecretKey, SyncError> {
        let path = self.path.join(TRANSPORT_KEY);
        let mut bytes = Zeroizing::new(Vec::with_capacity(128));
        let mut key = None;
        match File::open(&path) {
            Ok(file) => {
                file.take(128).read_to_end(&mut bytes).map_err(|e| SyncError::io("read", &path, &e))?;
                if bytes.len() == 32 + CELL_OVERHEAD
                    && let Ok(opened) = vault.open(Cell::TransportKey, &bytes).map(Zeroizing::new)
                    && let Ok(key) = <&[u8; 32]>::try_from(opened.as_slice())
                {
                    return Ok(iroh::SecretKey::from_bytes(key));
                }
                // As it was stored before there were vaults.
                key = <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new);
                // Nothing depends on this key for longer than a connection: a damaged one is made anew.
                if key.is_none() {
                    tracing::warn!("the transport key is damaged and is made anew");
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(SyncError::io("open", &path, &e)),
        }
        let key = key.unwrap_or_else(|| Zeroizing::new(crate::clock::random::<32>()));
        self.replace(TRANSPORT_KEY, &vault.seal(Cell::TransportKey, &*key))?;
        Ok(iroh::SecretKey::from_bytes(&key))
    }

    /// Deletes an empty database that was made on the way to an error.
    pub(crate) fn clear_new_database(&self) {
        for name in [DATABASE, "device.db-wal", "device.db-shm"] {
            // What stays is empty.
            let _ = std::fs::remove_file(self.path.join(name));
        }
    }

    /// Deletes everything in the home but the lock.
    pub(crate) fn clear(&self) -> Result<(), SyncError> {
        for name in [DATABASE, "device.db-wal", "device.db-shm", TRANSPORT_KEY, "transport.key.new", VAULT, "vault.new"]
        {
            let path = self.path.join(name);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(SyncError::io("delete", &path, &e)),
                _ => {}
            }
        }
        [RELAY, CONTENT].into_iter().try_for_each(|folder| remove_folder(&self.path.join(folder)))
    }
}

/// Deletes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(path: &Path) -> Result<(), SyncError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(SyncError::io("delete", path, &e)),
        _ => Ok(()),
    }
}

/// Puts a private file into the folder in the place of what has its name, whole or not at all.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), SyncError> {
    let (path, draft) = (folder.join(name), folder.join(format!("{name}.new")));
    let write = || {
        let mut file = private().create(true).truncate(true).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        // The name, too: on systems where a folder can be opened.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    write().map_err(|e| SyncError::io("write", &path, &e))
}

/// Makes a file that exists, or will, readable by its owner alone. SQLite gives its side files the same mode.
pub(crate) fn touch_private(path: &Path) -> Result<(), SyncError> {
    private().create(true).truncate(false).open(path).map(drop).map_err(|e| SyncError::io("open", path, &e))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder, readable by its owner alone.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), SyncError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| SyncError::io("make", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = Home::take(&path).unwrap();
        assert_eq!(Home::take(&path).unwrap_err().code, Code::HomeBusy);
        drop(first);
        assert!(Home::take(&path).is_ok());
    }

    #[test]
    fn the_transport_key_is_kept_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::take(&folder.path().join("home")).unwrap();
        let vault = Sealing::new(&sync_core::vault::VaultKey::new([1; 32]));
        // One of before there were vaults.
        std::fs::write(home.file(TRANSPORT_KEY), [7; 32]).unwrap();
        let key = home.transport_key(&vault).unwrap();
        assert_eq!(key.to_bytes(), [7; 32]);
        assert!(!std::fs::read(home.file(TRANSPORT_KEY)).unwrap().windows(32).any(|part| part == [7; 32]));
        assert_eq!(home.transport_key(&vault).unwrap().public(), key.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&home.path().join(TRANSPORT_KEY)), 0o600);
            assert_eq!(mode(home.path()), 0o700);
        }
        home.clear().unwrap();
        assert_ne!(home.transport_key(&vault).unwrap().public(), key.public());
    }
}
