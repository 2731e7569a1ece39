//! Where sealed content lies in a home, and what is known of it in memory: opened when the first file asks for it, closed with the
//! client, emptied when the group goes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sync_content::{ContentStore, FolderStore, Options};
use sync_types::{ContentHash, Sealed};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::FilesPolicy;
use crate::SyncError;
use crate::home::{create_private_dir, remove_folder};

/// How long closing may wait for what goes on in the store.
const CLOSE: Duration = Duration::from_secs(5);

/// The content of a home's files.
pub(crate) struct Depot {
    folder: PathBuf,
    slot: tokio::sync::Mutex<Slot>,
    desk: Mutex<Desk>,
    /// Rises with whatever a person could see of a file.
    changes: watch::Sender<u64>,
    /// The carrier has something to look at.
    pub(super) nudge: Notify,
    /// Held by whoever brings the list up to the log.
    pub(super) taking_in: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Slot {
    store: Option<Arc<dyn ContentStore>>,
    closed: bool,
}

/// What is known in memory.
struct Desk {
    policy: FilesPolicy,
    /// Rises when the group goes: what was begun before it has come to nothing.
    generation: u64,
    /// Content that somebody waits for, and how many do.
    demands: HashMap<Sealed, usize>,
    /// Content that somebody has just begun to wait for.
    urgent: Vec<Sealed>,
    /// How many sealed bytes have come, or gone, of content that is on its way.
    moving: HashMap<Sealed, u64>,
    /// Why content is not on its way.
    failed: HashMap<Sealed, SyncError>,
}

/// What is known in memory of some content.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) moving: Option<u64>,
    pub(super) failed: Option<SyncError>,
}

impl Depot {
    pub(crate) fn new(folder: PathBuf, policy: FilesPolicy) -> Self {
        let desk = Desk {
            policy,
            generation: 0,
            demands: HashMap::new(),
            urgent: Vec::new(),
            moving: HashMap::new(),
            failed: HashMap::new(),
        };
        Self {
            folder,
            slot: tokio::sync::Mutex::default(),
            desk: Mutex::new(desk),
            changes: watch::Sender::new(0),
            nudge: Notify::new(),
            taking_in: tokio::sync::Mutex::default(),
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which group's content it is, in the order of those that this process has seen.
    pub(crate) fn generation(&self) -> u64 {
        self.desk().generation
    }

    /// The store, and the generation that it is of. `named` tells which content files and blobs have: whatever else lies there when it
    /// is opened, was sealed by a put that was cancelled or killed, and goes.
    ///
    /// # Errors
    /// [`sync_types::Code::Closed`]; [`sync_types::Code::Io`], [`sync_types::Code::DiskFull`].
    pub(super) async fn open(
        &self,
        named: impl Future<Output = Result<HashSet<ContentHash>, SyncError>>,
    ) -> Result<(Arc<dyn ContentStore>, u64), SyncError> {
        let mut slot = self.slot.lock().await;
        if slot.closed {
            return Err(SyncError::closed());
        }
        let generation = self.generation();
        if let Some(store) = &slot.store {
            return Ok((store.clone(), generation));
        }
        // Before the store is opened, which one process does at a time and whoever opened it has to close.
        let named = named.await?;
        create_private_dir(&self.folder)?;
        let store: Arc<dyn ContentStore> = Arc::new(FolderStore::open(&self.folder, Options::default()).await?);
        for left in store.hashes().await?.into_iter().filter(|hash| !named.contains(hash)) {
            store.forget(left).await?;
        }
        slot.store = Some(store.clone());
        Ok((store, generation))
    }

    /// Deletes all content, before the store was ever opened.
    pub(crate) async fn clear(&self) {
        let folder = self.folder.clone();
        let cleared = tokio::task::spawn_blocking(move || remove_folder(&folder)).await;
        if let Ok(Err(error)) = cleared {
            tracing::warn!(code = %error.code, "content of files that are gone stays: {}", error.message);
        }
    }

    /// The group is gone, and its content goes. If that fails now, the next start tries again.
    pub(crate) async fn wipe(&self) {
        let mut slot = self.slot.lock().await;
        {
            let mut desk = self.desk();
            desk.generation += 1;
            desk.urgent.clear();
            desk.moving.clear();
            desk.failed.clear();
        }
        shut(slot.store.take()).await;
        self.clear().await;
        self.changed();
        self.nudge.notify_one();
    }

    /// Ends what goes on in the store, for good.
    pub(crate) async fn close(&self) {
        let mut slot = self.slot.lock().await;
        slot.closed = true;
        shut(slot.store.take()).await;
        self.changed();
    }

    /// Something of a file is different.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn policy(&self) -> FilesPolicy {
        self.desk().policy
    }

    pub(super) fn set_policy(&self, policy: FilesPolicy) {
        self.desk().policy = policy;
        self.changed();
        self.nudge.notify_one();
    }

    pub(super) fn known(&self, content: Sealed) -> Known {
        let desk = self.desk();
        Known { moving: desk.moving.get(&content).copied(), failed: desk.failed.get(&content).cloned() }
    }

    /// Whether somebody waits for it.
    pub(super) fn is_demanded(&self, content: Sealed) -> bool {
        self.desk().demands.contains_key(&content)
    }

    /// Whether it is to be fetched: somebody waits for it, or it is as small as what is fetched by itself, or a blob's, which all
    /// behind it wait for.
    pub(super) fn wants(&self, content: Sealed, is_blobs: bool) -> bool {
        let desk = self.desk();
        desk.demands.contains_key(&content) || desk.policy.fetches(content) || is_blobs && !desk.policy.paused
    }

    /// Waits until it is not to be fetched any more.
    pub(super) async fn unwanted(&self, content: Sealed, is_blobs: bool) {
        // The sender is this value's own.
        let _ = self.watch().wait_for(|_| !self.wants(content, is_blobs)).await;
    }

    /// So many bytes have come or gone.
    pub(super) fn moved(&self, content: Sealed, bytes: u64) {
        self.desk().moving.insert(content, bytes);
        self.changed();
    }

    /// Nothing of it comes or goes any more.
    pub(super) fn rests(&self, content: Sealed, why: Option<SyncError>) {
        {
            let mut desk = self.desk();
            desk.moving.remove(&content);
            match why {
                Some(error) => desk.failed.insert(content, error),
                None => desk.failed.remove(&content),
            };
        }
        self.changed();
    }

    /// Nothing comes or goes any more.
    pub(super) fn all_rest(&self) {
        self.desk().moving.clear();
        self.changed();
    }

    /// What somebody has begun to wait for since this was asked last.
    pub(super) fn take_urgent(&self) -> Vec<Sealed> {
        std::mem::take(&mut self.desk().urgent)
    }

    /// Waits until content is here or given, which counts as wanted as long as the value lives.
    pub(super) fn demand(self: &Arc<Self>, content: Sealed) -> Demand {
        {
            let mut desk = self.desk();
            *desk.demands.entry(content).or_default() += 1;
            desk.urgent.push(content);
            desk.failed.remove(&content);
        }
        self.nudge.notify_one();
        Demand { depot: self.clone(), content }
    }
}

/// Somebody waits for content.
pub(super) struct Demand {
    depot: Arc<Depot>,
    content: Sealed,
}

impl Drop for Demand {
    fn drop(&mut self) {
        {
            let mut desk = self.depot.desk();
            if let Some(count) = desk.demands.get_mut(&self.content) {
                *count -= 1;
                if *count == 0 {
                    desk.demands.remove(&self.content);
                }
            }
        }
        self.depot.changed();
        self.depot.nudge.notify_one();
    }
}

async fn shut(store: Option<Arc<dyn ContentStore>>) {
    let Some(store) = store else { return };
    match timeout(CLOSE, store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the content store did not close cleanly"),
        Err(_) => tracing::warn!("the content store takes long to close"),
    }
}
