//! Where content lies for a moment that a page has as bytes and the client wants as a file, or the other way round.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_client::{Code, SyncError};
use tokio::io::AsyncWriteExt;

/// The folder for that in the app's cache.
const FOLDER: &str = "0ksync-files";

/// A folder with one file, both for this user alone. Gone with its value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh one in the app's cache.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::DiskFull`].
    pub(crate) fn new(cache: &Path) -> Result<Self, SyncError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let all = cache.join(FOLDER);
        let make = || {
            private_folder().recursive(true).create(&all)?;
            loop {
                let one = all.join(format!("{}{}", own_prefix(), NEXT.fetch_add(1, Ordering::Relaxed)));
                match private_folder().create(&one) {
                    // Of a process that drew the same number.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    made => return made.map(|()| Self(one)),
                }
            }
        };
        make().map_err(|error| failed("make a folder in the app's cache", &error))
    }

    /// Where its file is, or is to be.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("content")
    }

    /// Writes its file.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::DiskFull`].
    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<(), SyncError> {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let write = async {
            let mut file = options.open(self.file()).await?;
            file.write_all(bytes).await?;
            file.flush().await
        };
        write.await.map_err(|error| failed("write to the app's cache", &error))
    }

    /// Reads its file.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub(crate) async fn read(&self) -> Result<Vec<u8>, SyncError> {
        tokio::fs::read(self.file()).await.map_err(|error| failed("read from the app's cache", &error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a file stays in the app's cache until its next start");
        }
    }
}

/// Deletes what earlier processes of the app left there when they were killed. What cannot be deleted stays alone; the first such
/// failure is the error.
pub(crate) fn tidy(cache: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(cache.join(FOLDER)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut all = Ok(());
    for entry in entries {
        let gone = entry.and_then(|entry| match entry.file_name().to_string_lossy().starts_with(own_prefix()) {
            true => Ok(()),
            false => std::fs::remove_dir_all(entry.path()),
        });
        all = all.and(gone);
    }
    all
}

/// What this process's folders begin with. Random: a process's id comes again, and what a killed one left would be taken for this
/// one's own.
fn own_prefix() -> &'static str {
    // A fresh state's keys are of the system's randomness.
    static OWN: LazyLock<String> = LazyLock::new(|| format!("{:016x}-", RandomState::new().build_hasher().finish()));
    &OWN
}

fn private_folder() -> std::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "other systems have no mode to set"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn failed(what: &str, error: &io::Error) -> SyncError {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    SyncError::new(code, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_this_users_alone_and_gone_afterwards() {
        let cache = tempfile::tempdir().unwrap();
        let (one, two) = (Scratch::new(cache.path()).unwrap(), Scratch::new(cache.path()).unwrap());
        one.write(b"one").await.unwrap();
        two.write(b"two").await.unwrap();
        assert_eq!((one.read().await.unwrap(), two.read().await.unwrap()), (b"one".to_vec(), b"two".to_vec()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&one.0), mode(&one.file())), (0o700, 0o600));
        }
        let path = one.0.clone();
        drop(one);
        assert!(!path.exists() && two.file().exists());
    }

    #[test]
    fn what_killed_processes_left_goes_at_the_next_start() {
        let cache = tempfile::tempdir().unwrap();
        tidy(cache.path()).unwrap();
        let own = Scratch::new(cache.path()).unwrap();
        let left = cache.path().join(FOLDER).join("0-7");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("content"), "x").unwrap();
        // Of what cannot be deleted, some is likely to come before it.
        let odd = ["!", "~"].map(|name| cache.path().join(FOLDER).join(name));
        odd.iter().for_each(|path| std::fs::write(path, "x").unwrap());
        assert!(tidy(cache.path()).is_err());
        assert!(!left.exists() && own.0.exists());
        odd.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        tidy(cache.path()).unwrap();
        assert!(own.0.exists());
    }
}
