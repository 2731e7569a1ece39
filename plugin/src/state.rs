//! What the plugin keeps while the app runs: the client, and what webviews hold open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sync_client::{Code, FilesPolicy, Passphrase, RelayAddress, SyncClient, SyncConfig, SyncError, limits};
use tokio::sync::{RwLock, Semaphore, SemaphorePermit, broadcast, oneshot};

use crate::consent::Consent;
use crate::file_calls::Calls;
use crate::file_paths::Given;
use crate::pages::Pages;
use crate::pairings::Open;
use crate::registry::{Registry, Task};
use crate::subscriptions::Live;
use crate::types::SyncEvent;

/// How many events a listener may be behind before it is told that it missed some.
const EVENTS: usize = 1_024;

/// How much a page may have open at a time: far more than one needs, and less than what slows the app down.
const SUBSCRIPTIONS: usize = 1_024;
const LISTENERS: usize = 64;
const PAIRINGS: usize = 4;
/// How many exports and imports all pages may have going on.
const BACKUPS: usize = 4;
/// How many files all pages may have going over as bytes; the others wait. Each is in memory as a whole.
const AS_BYTES: usize = 3;

/// The plugin's state, for commands of the app's own: `app.ksync()` of [`crate::KsyncExt`].
#[derive(Debug)]
pub struct Ksync {
    config: Mutex<Result<SyncConfig, SyncError>>,
    client: tokio::sync::Mutex<Option<SyncClient>>,
    /// What ends each export and import that goes on.
    backups: Mutex<BTreeMap<(String, u32), oneshot::Sender<()>>>,
    exiting: AtomicBool,
    /// How often this device was reset.
    resets: AtomicU64,
    events: broadcast::Sender<SyncEvent>,
    pub(crate) consent: Consent,
    pub(crate) pages: Pages,
    pub(crate) listeners: Registry<Task>,
    pub(crate) subscriptions: Registry<Live>,
    /// Read while a consumer's position moves; written while a subscription looks how far it has to come and takes its place among
    /// those that the position waits for.
    pub(crate) positions: RwLock<()>,
    pub(crate) pairings: Registry<Open>,
    pub(crate) file_calls: Calls,
    pub(crate) given: Given,
    as_bytes: Semaphore,
}

/// A client, and which of this device's logs it has: each reset begins another one.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) client: SyncClient,
    pub(crate) number: u64,
}

impl Ksync {
    pub(crate) fn new(config: Result<SyncConfig, SyncError>, consent: Consent) -> Self {
        Self {
            config: Mutex::new(config),
            client: tokio::sync::Mutex::default(),
            backups: Mutex::default(),
            exiting: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            events: broadcast::channel(EVENTS).0,
            consent,
            pages: Pages::default(),
            listeners: Registry::of("listeners", LISTENERS),
            subscriptions: Registry::of("subscriptions", SUBSCRIPTIONS),
            positions: RwLock::default(),
            pairings: Registry::of("pairings", PAIRINGS),
            file_calls: Calls::default(),
            given: Given::default(),
            as_bytes: Semaphore::new(AS_BYTES),
        }
    }

    /// The client. The first call opens it; one that could not be opened is tried again by the next call.
    ///
    /// # Errors
    /// As [`SyncClient::new`]; [`Code::AddressInvalid`] for the configured relay; [`Code::Closed`] while the app exits, and
    /// for a call that waited while the device was reset: it was meant for the old one.
    pub async fn client(&self) -> Result<SyncClient, SyncError> {
        Ok(self.log().await?.client)
    }

    /// [`Ksync::client`], with the number of its log.
    ///
    /// # Errors
    /// As [`Ksync::client`].
    pub(crate) async fn log(&self) -> Result<Log, SyncError> {
        let resets = self.resets.load(Ordering::Acquire);
        let mut held = self.client.lock().await;
        if self.resets.load(Ordering::Acquire) != resets {
            return Err(SyncError::new(Code::Closed, "this device was reset while the call waited"));
        }
        self.open(&mut held).await
    }

    /// The client, whatever was reset meanwhile: for what goes on with the next one's log.
    ///
    /// # Errors
    /// As [`Ksync::client`]; [`Code::Closed`] only while the app exits.
    pub(crate) async fn next_log(&self) -> Result<Log, SyncError> {
        self.open(&mut *self.client.lock().await).await
    }

    async fn open(&self, held: &mut Option<SyncClient>) -> Result<Log, SyncError> {
        // Nobody resets while the client is held.
        let number = self.resets.load(Ordering::Acquire);
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Log { client: client.clone(), number });
        }
        let config = self.config()?;
        if self.exiting.load(Ordering::Acquire) {
            return Err(SyncError::new(Code::Closed, "the app is exiting"));
        }
        let client = SyncClient::new(config).await?;
        let (mut events, tell) = (client.events(), self.events.clone());
        tauri::async_runtime::spawn(async move {
            while let Some(event) = events.next().await {
                if let Some(event) = SyncEvent::from_client(event) {
                    // Nobody has to listen.
                    let _ = tell.send(event);
                }
            }
        });
        *held = Some(client.clone());
        Ok(Log { client, number })
    }

    fn config(&self) -> Result<SyncConfig, SyncError> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a device that is locked by a passphrase, or makes one that is. The passphrase is kept for clients that are opened
    /// again, unless it is wrong.
    ///
    /// # Errors
    /// As [`SyncClient::new`], [`Code::WrongPassphrase`] above all.
    pub async fn unlock(&self, passphrase: Passphrase) -> Result<(), SyncError> {
        let before = self.config()?.passphrase;
        self.keep_passphrase(Some(passphrase));
        match self.next_log().await {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Ok(config) = &mut *self.config.lock().unwrap_or_else(PoisonError::into_inner) {
                    config.passphrase = before;
                }
                Err(error)
            }
        }
    }

    /// Keeps a passphrase for clients that are opened again.
    pub(crate) fn keep_passphrase(&self, passphrase: Option<Passphrase>) {
        if let (Ok(config), Some(passphrase)) =
            (&mut *self.config.lock().unwrap_or_else(PoisonError::into_inner), passphrase)
        {
            config.passphrase = Some(passphrase);
        }
    }

    /// Keeps which files are carried by themselves, and how, for clients that are opened again.
    pub(crate) fn keep_files_policy(&self, policy: FilesPolicy) {
        if let Ok(config) = &mut *self.config.lock().unwrap_or_else(PoisonError::into_inner) {
            config.files = policy;
        }
    }

    /// Lets the page of a webview put this file into the group, until the page goes: for files that a person chose in a dialog of
    /// the app's own, in Rust. What a person drops onto a window needs no word.
    ///
    /// # Errors
    /// [`Code::Io`] if there is no such file.
    pub fn give_file(&self, webview: &str, path: impl AsRef<Path>) -> Result<(), SyncError> {
        let given = self.given.give(webview, path.as_ref());
        given.map_err(|error| SyncError::new(Code::Io, format!("a file that was chosen is not there: {error}")))
    }

    /// A person dropped these onto the window of a webview. A folder lets nothing in it be put, and is refused as no file.
    pub(crate) fn dropped(&self, webview: &str, paths: &[PathBuf]) {
        for path in paths {
            if let Err(error) = self.given.give(webview, path) {
                tracing::debug!(%error, "a file that was dropped is not there any more");
            }
        }
    }

    /// Waits until there is room in memory for one more file as a whole, which is until what this gives is dropped.
    ///
    /// # Errors
    /// [`Code::Closed`] while the app exits.
    pub(crate) async fn room_for_bytes(&self) -> Result<SemaphorePermit<'_>, SyncError> {
        self.as_bytes.acquire().await.map_err(|_| SyncError::new(Code::Closed, "the app is exiting"))
    }

    /// The folder with this device's data.
    pub(crate) fn home(&self) -> Result<PathBuf, SyncError> {
        self.config()?.home_path()
    }

    /// A page begins an export or an import under a number of its own; gives what ends it.
    pub(crate) fn backup_begins(&self, page: &str, id: u32) -> Result<oneshot::Receiver<()>, SyncError> {
        let mut backups = self.backups.lock().unwrap_or_else(PoisonError::into_inner);
        if backups.len() >= BACKUPS || backups.contains_key(&(page.to_owned(), id)) {
            return Err(SyncError::new(Code::InvalidArgument, "another export or import is going on"));
        }
        let (end, ended) = oneshot::channel();
        backups.insert((page.to_owned(), id), end);
        Ok(ended)
    }

    /// Ends it, if it is not over.
    pub(crate) fn backup_is_over(&self, page: &str, id: u32) {
        self.backups.lock().unwrap_or_else(PoisonError::into_inner).remove(&(page.to_owned(), id));
    }

    /// The relay that is set.
    pub(crate) fn relay(&self) -> Result<RelayAddress, SyncError> {
        Ok(self.config()?.relay.unwrap_or(RelayAddress::Embedded))
    }

    /// Deletes this device: its keys, its blobs and what its embedded relay keeps. What is called next has a new one.
    ///
    /// # Errors
    /// As [`SyncClient::reset`].
    pub async fn reset(&self) -> Result<(), SyncError> {
        let config = self.config()?;
        let mut held = self.client.lock().await;
        if let Some(client) = held.take() {
            client.close().await;
        }
        SyncClient::reset(&config).await?;
        self.resets.fetch_add(1, Ordering::AcqRel);
        drop(held);
        self.tell(SyncEvent::Reset);
        Ok(())
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<SyncEvent> {
        self.events.subscribe()
    }

    pub(crate) fn tell(&self, event: SyncEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    /// The webview shows another page: nobody listens there any more.
    pub(crate) fn page_is_gone(&self, webview: &str) {
        self.pages.turned(webview);
        self.end_all_of(webview);
    }

    /// The window is gone, with each webview in it.
    pub(crate) fn window_is_gone(&self, window: &str) {
        for webview in self.pages.left(window) {
            self.end_all_of(&webview);
        }
    }

    fn end_all_of(&self, webview: &str) {
        self.listeners.remove_all_of(webview);
        self.subscriptions.remove_all_of(webview);
        self.pairings.remove_all_of(webview);
        self.file_calls.end_all_of(webview);
        self.given.forget(webview);
    }

    /// Sends what waits, as far as that goes in [`limits::FLUSH_ON_CLOSE`], and stops, in at most [`limits::CLOSE`]. All of it is on the
    /// disk, and what is left goes at the next start. Blocks, on a thread that may belong to a runtime of the app's own.
    pub(crate) fn exit(self: Arc<Self>) {
        self.exiting.store(true, Ordering::Release);
        self.as_bytes.close();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        tauri::async_runtime::spawn(async move {
            if let Some(client) = self.client.lock().await.take() {
                client.close().await;
            }
            // Too late for one who waits no longer.
            let _ = tell.send(());
        });
        let _ = told.recv_timeout(limits::CLOSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_called_before_a_reset_does_not_go_into_the_new_log() {
        let home = tempfile::tempdir().unwrap();
        let ksync = Ksync::new(Ok(SyncConfig::at(home.path())), Consent::default());
        ksync.client().await.unwrap().push(b"old".to_vec()).await.unwrap();
        // The first one has the lock when the second one is called.
        let (reset, called) = tokio::join!(biased; ksync.reset(), ksync.client());
        reset.unwrap();
        assert_eq!(called.unwrap_err().code, Code::Closed);
        let again = ksync.client().await.unwrap();
        assert_eq!(again.status().await.unwrap().outbox, 0);
        again.close().await;
    }
    #[tokio::test]
    async fn a_client_that_has_ended_is_opened_again() {
        let home = tempfile::tempdir().unwrap();
        let ksync = Ksync::new(Ok(SyncConfig::at(home.path())), Consent::default());
        let client = ksync.client().await.unwrap();
        let before = client.push(b"before".to_vec()).await.unwrap();
        client.close().await;
        let again = ksync.client().await.unwrap();
        let after = again.push(b"after".to_vec()).await.unwrap();
        assert!(after.position > before.position, "{after:?} is not behind {before:?}");
        again.close().await;
    }

    // `#[tokio::main]` around an app calls this on a thread of a runtime.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_app_with_a_runtime_of_its_own_exits_and_frees_its_home() {
        let home = tempfile::tempdir().unwrap();
        let config = SyncConfig::at(home.path());
        let ksync = Arc::new(Ksync::new(Ok(config.clone()), Consent::default()));
        ksync.client().await.unwrap();
        ksync.clone().exit();
        assert_eq!(ksync.client().await.unwrap_err().code, Code::Closed);
        SyncClient::new(config).await.unwrap().close().await;
    }
}
