//! Reading a backup.

use std::path::Path;

use sync_core::vault::backup::{Entry, HEAD_BYTES, PREFIX_BYTES, Reader, Record, Settings, parse_head};
use sync_core::vault::{Passphrase, Unlock, VaultError};
use sync_types::{Code, RelayAddress};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use super::{ImportReceipt, PIECE, Progress, Restored, failed, text};
use crate::engine::Command;
use crate::files::Unpacked;
use crate::vault::apart;
use crate::{SyncClient, SyncError};

/// What was staged goes with this value.
struct Staged<'a>(&'a SyncClient);

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // Where there is no room for the call, the next import and the next start do it.
        let _ = self.0.inner.commands.try_send(Command::DropStaged { reply });
    }
}

impl SyncClient {
    /// Takes in what a backup holds and this device lacks. Those blobs come behind what the log has, are handed to consumers as
    /// others' are, and go to the group under their ids. A device without a group founds one first, at the backup's relay and
    /// by its name where the configuration names none. What this device's snapshots stand for already is left out.
    ///
    /// Everything is taken in by one transaction, once the whole file has proved sound. `progress` hears how many bytes of how
    /// many are read. To cancel, drop the future: then nothing has changed.
    ///
    /// # Errors
    /// Nothing is changed on an error. `WRONG_PASSPHRASE`, `BACKUP_DAMAGED`, `BACKUP_TRUNCATED`, `BACKUP_NEWER`,
    /// `VAULT_PARAMETERS`; `WRONG_APP` for another app's; `ALREADY_IN_GROUP` while this device waits to be added to a group;
    /// `REMOVED`; `INVALID_ARGUMENT` while another import goes on; `DISK_FULL`, `IO`, `CLOSED`.
    pub async fn import_backup(
        &self,
        file: &Path,
        passphrase: &Passphrase,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<ImportReceipt, SyncError> {
        self.import(file, passphrase, &mut progress).await
    }

    async fn import(
        &self,
        file: &Path,
        passphrase: &Passphrase,
        progress: Progress<'_>,
    ) -> Result<ImportReceipt, SyncError> {
        let only = self.inner.importing.try_lock();
        let _only = only.map_err(|_| SyncError::new(Code::InvalidArgument, "another import is going on"))?;
        self.inner.ask(|reply| Command::MayImport { reply }).await?;
        let mut input = tokio::fs::File::open(file).await.map_err(|e| failed("read", &e))?;
        let total = input.metadata().await.map_err(|e| failed("read", &e))?.len();
        let head = first(&mut input, HEAD_BYTES).await?;
        let locked = parse_head(&head)?;
        let passphrase = passphrase.clone();
        let key = apart(move || locked.open(Unlock::Passphrase(&passphrase))).await?;
        let prefix = first(&mut input, PREFIX_BYTES).await?;
        let prefix: &[u8; PREFIX_BYTES] = prefix.as_slice().try_into().map_err(|_| VaultError::Truncated)?;

        let mut unpacked = Unpacked::default();
        let reader = Reader::new(&key, prefix);
        let taken = self.take_in(&mut input, reader, total, progress, &mut unpacked).await;
        unpacked.clear_up(&self.inner.porter).await;
        taken
    }

    async fn take_in(
        &self,
        input: &mut tokio::fs::File,
        mut reader: Reader,
        total: u64,
        progress: Progress<'_>,
        unpacked: &mut Unpacked,
    ) -> Result<ImportReceipt, SyncError> {
        self.inner.ask(|reply| Command::DropStaged { reply }).await?;
        let staged = Staged(self);
        let (mut settings, mut blobs) = (None, 0);
        let mut done = (HEAD_BYTES + PREFIX_BYTES) as u64;
        let mut piece = vec![0; PIECE];
        loop {
            let length = input.read(&mut piece).await.map_err(|e| failed("read", &e))?;
            if length == 0 {
                break;
            }
            let records = reader.feed(&piece[..length])?;
            blobs += self.stage(records, &mut settings, unpacked).await?;
            done += length as u64;
            progress(done, total);
        }
        blobs += self.stage(reader.finish()?, &mut settings, unpacked).await?;
        let entries = unpacked.next(&self.inner.porter, None).await?;
        self.stage_all(entries).await?;
        let settings: Settings =
            settings.ok_or_else(|| SyncError::new(Code::BackupDamaged, "the backup holds no settings"))?;
        let made_at = settings.made_at;
        let restored = Box::new(Restored { settings, large: std::mem::take(&mut unpacked.large) });
        let added = self.inner.ask(|reply| Command::Import { restored, reply }).await?;
        drop(staged);
        Ok(ImportReceipt { blobs, added, made_at })
    }

    /// Puts records beside the log; gives how many blobs they were.
    async fn stage(
        &self,
        records: Vec<Record>,
        found: &mut Option<Settings>,
        unpacked: &mut Unpacked,
    ) -> Result<u64, SyncError> {
        let mut count = 0;
        let mut entries: Vec<Entry> = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Blob(entry) => {
                    count += 1;
                    entries.extend(unpacked.next(&self.inner.porter, Some(entry)).await?);
                }
                Record::Part(part) => unpacked.part(&part.0)?,
                Record::Settings(settings) => {
                    if text(&settings.app_id) != self.inner.start.app_id {
                        return Err(SyncError::new(Code::WrongApp, "the backup is another app's"));
                    }
                    if text(&settings.relay).parse::<RelayAddress>().is_err() {
                        return Err(SyncError::new(Code::BackupDamaged, "the backup's relay address cannot be read"));
                    }
                    *found = Some(settings);
                }
            }
        }
        self.stage_all(entries).await?;
        Ok(count)
    }

    async fn stage_all(&self, entries: Vec<Entry>) -> Result<(), SyncError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.inner.ask(|reply| Command::Stage { entries, reply }).await
    }
}

/// So many bytes, or what is left if that is less.
async fn first(input: &mut tokio::fs::File, count: usize) -> Result<Vec<u8>, SyncError> {
    let mut bytes = Vec::with_capacity(count);
    input.take(count as u64).read_to_end(&mut bytes).await.map_err(|e| failed("read", &e))?;
    Ok(bytes)
}
