//! Writing a backup.

use std::path::{Path, PathBuf};

use sync_core::vault::backup::{Part, Record, Settings, Writer};
use sync_core::vault::{Kind, Lock, LockedKey, Passphrase, Unlock, VaultKey};
use sync_types::{Opaque, limits};
use tokio::io::AsyncWriteExt;

use super::{BackupReceipt, PIECE, Progress, failed};
use crate::clock::{now_ms, random};
use crate::engine::Command;
use crate::vault::{apart, kdf};
use crate::{SyncClient, SyncError};

/// A file that is not whole yet. It goes with this value, unless it was kept.
struct Draft {
    path: PathBuf,
    kept: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be deleted cannot be read without the passphrase either.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SyncClient {
    /// Writes what this device has to one file: every blob with its id and channel, and the settings, sealed under a passphrase.
    /// Of files it has the word and not the bytes.
    /// Keys are not in it: who has the file and the passphrase reads what was, and is no device of the group. A file that has
    /// the name is replaced once the new one is whole. `progress` hears how many blobs of how many are written.
    ///
    /// To cancel, drop the future: then nothing has changed.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code) for a passphrase that is too short; `DISK_FULL`, `IO`, `STORE_CORRUPT`, `CLOSED`.
    pub async fn export_backup(
        &self,
        file: &Path,
        passphrase: &Passphrase,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<BackupReceipt, SyncError> {
        self.export(file, passphrase, &mut progress).await
    }

    async fn export(
        &self,
        file: &Path,
        passphrase: &Passphrase,
        progress: Progress<'_>,
    ) -> Result<BackupReceipt, SyncError> {
        passphrase.fit_for_new()?;
        let mut settings: Settings = self.inner.ask(|reply| Command::BackupSettings { reply }).await?;
        let (mut log, blobs) = self.inner.reader.export().await?;
        (settings.blobs, settings.made_at) = (blobs, now_ms());
        let key = VaultKey::new(random());
        let (lock, passphrase, locked_key) =
            (Lock::Passphrase(kdf(self.inner.start.vault.memory_mib())), passphrase.clone(), key.clone());
        let head = apart(move || {
            LockedKey::lock(Kind::Backup, random(), lock, Unlock::Passphrase(&passphrase), random(), &locked_key)
        });
        let (mut writer, mut waiting) = Writer::begin(&head.await?, &key, random());
        waiting.extend(writer.put(&Record::Settings(settings)));

        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let mut draft = Draft { path: file.with_file_name(name), kept: false };
        let mut out = create(&draft.path).await.map_err(|e| failed("written", &e))?;
        let (mut done, mut bytes) = (0, 0);
        progress(0, blobs);
        loop {
            let entries = log.next().await?;
            let over = entries.is_empty();
            done += entries.len() as u64;
            for entry in entries {
                let large = self.inner.porter.bytes_for_backup(&entry).await?;
                waiting.extend(writer.put(&Record::Blob(entry)));
                for part in large.iter().flat_map(|bytes| bytes.chunks(limits::BLOB_BYTES)) {
                    waiting.extend(writer.put(&Record::Part(Part(Opaque(part.to_vec())))));
                }
                if waiting.len() >= PIECE {
                    bytes += waiting.len() as u64;
                    out.write_all(&waiting).await.map_err(|e| failed("written", &e))?;
                    waiting.clear();
                    progress(done, blobs);
                }
            }
            if over {
                break;
            }
        }
        waiting.extend(writer.finish());
        bytes += waiting.len() as u64;
        let end = async {
            out.write_all(&waiting).await?;
            out.flush().await?;
            out.sync_all().await?;
            tokio::fs::rename(&draft.path, file).await?;
            // The name, too.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if cfg!(unix) { tokio::fs::File::open(folder).await?.sync_all().await } else { Ok(()) }
        };
        end.await.map_err(|e| failed("written", &e))?;
        draft.kept = true;
        progress(blobs, blobs);
        Ok(BackupReceipt { blobs, bytes })
    }
}

async fn create(path: &Path) -> std::io::Result<tokio::fs::File> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await
}
