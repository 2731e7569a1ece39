//! Where this device's key lies, and backups.

use std::path::PathBuf;

use serde::Serialize;
use sync_client::{BackupReceipt, Code, ImportReceipt, Passphrase, SyncError, VaultKind};
use tauri::ipc::Channel;
use tauri::{Runtime, Webview};
use tokio::sync::oneshot;

use super::{App, Done};

/// How far an export or import is.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct BackupProgress {
    /// In hundredths.
    pub(crate) percent: u32,
}

/// A backup that was written.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct BackupInfo {
    /// How many blobs it holds, as a decimal number.
    pub(crate) blobs: String,
    /// How large the file is, in bytes, as a decimal number.
    pub(crate) bytes: String,
}

impl From<BackupReceipt> for BackupInfo {
    fn from(receipt: BackupReceipt) -> Self {
        Self { blobs: receipt.blobs.to_string(), bytes: receipt.bytes.to_string() }
    }
}

/// A backup that was taken in.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportInfo {
    /// How many blobs it holds, as a decimal number.
    pub(crate) blobs: String,
    /// How many of them this device lacked, and has now, as a decimal number.
    pub(crate) added: String,
    /// When it was made, in milliseconds since the Unix epoch, as a decimal number.
    pub(crate) made_at: String,
}

impl From<ImportReceipt> for ImportInfo {
    fn from(receipt: ImportReceipt) -> Self {
        let [blobs, added, made_at] = [receipt.blobs, receipt.added, receipt.made_at].map(|n| n.to_string());
        Self { blobs, added, made_at }
    }
}

fn passphrase(text: &str) -> Result<Passphrase, SyncError> {
    Ok(Passphrase::new(text)?)
}

/// Gives the passphrase that locks this device's data, or is to lock a new one's; it is kept as long as the app runs.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn unlock(app: App<'_>, passphrase: String) -> Done {
    let passphrase = erased(passphrase, self::passphrase)?;
    Ok(app.unlock(passphrase).await?)
}

/// Puts the key that seals this device's data somewhere else: `keychain`, `passphrase` or `file`.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn set_vault(app: App<'_>, kind: String, passphrase: Option<String>) -> Done {
    let kind = kind.parse::<VaultKind>()?;
    let passphrase = passphrase.map(|text| erased(text, self::passphrase)).transpose()?;
    app.client().await?.set_vault(kind, passphrase.as_ref()).await?;
    // For a client that is opened again.
    app.keep_passphrase(passphrase);
    Ok(())
}

/// Writes what this device has to a file, which must not be there yet. Gives how much that is.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn backup_export<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    id: u32,
    file: String,
    passphrase: String,
    progress: Channel<BackupProgress>,
) -> Done<BackupInfo> {
    let passphrase = erased(passphrase, self::passphrase)?;
    let file = PathBuf::from(file);
    // A page that was taken over writes over nothing.
    if file.exists() {
        return Err(SyncError::new(Code::InvalidArgument, "there is a file of that name").into());
    }
    let ended = app.backup_begins(webview.label(), id)?;
    let work = async { app.client().await?.export_backup(&file, &passphrase, tell(progress)).await };
    let done = or_ended(work, ended).await;
    app.backup_is_over(webview.label(), id);
    Ok(done?.into())
}

/// Takes in the blobs of a backup that this device lacks. Gives how many there were.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn backup_import<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    id: u32,
    file: String,
    passphrase: String,
    progress: Channel<BackupProgress>,
) -> Done<ImportInfo> {
    let passphrase = erased(passphrase, self::passphrase)?;
    let file = PathBuf::from(file);
    let ended = app.backup_begins(webview.label(), id)?;
    let work = async { app.client().await?.import_backup(&file, &passphrase, tell(progress)).await };
    let done = or_ended(work, ended).await;
    app.backup_is_over(webview.label(), id);
    Ok(done?.into())
}

/// Ends what this page began under that number. One that is over already is as good.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn backup_cancel<R: Runtime>(webview: Webview<R>, app: App<'_>, id: u32) -> Done {
    app.backup_is_over(webview.label(), id);
    Ok(())
}

/// Tells hundredths, each once.
fn tell(progress: Channel<BackupProgress>) -> impl FnMut(u64, u64) + Send {
    let mut told = None;
    move |done, total| {
        let percent = u32::try_from(done.saturating_mul(100) / total.max(1)).unwrap_or(100).min(100);
        if told.replace(percent) != Some(percent) {
            // The page may be gone.
            let _ = progress.send(BackupProgress { percent });
        }
    }
}

async fn or_ended<T>(
    work: impl Future<Output = Result<T, SyncError>>,
    ended: oneshot::Receiver<()>,
) -> Result<T, SyncError> {
    tokio::select! {
        done = work => done,
        _ = ended => Err(SyncError::new(Code::BackupCancelled, "it was ended before it was through")),
    }
}

/// Reads a text that came from the page, and leaves nothing of it behind here.
fn erased<T>(text: String, read: impl FnOnce(&str) -> Result<T, SyncError>) -> Result<T, SyncError> {
    read(&zeroize::Zeroizing::new(text))
}
