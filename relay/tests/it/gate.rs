//! A store that makes new entries durable only when a test lets it.

use std::sync::atomic::{AtomicU64, Ordering};

use sync_relay::store::{
    Bytes, EntriesQuery, EntryRow, GroupRows, MemoryStore, Store, StoreError, StoreFuture, StoreStats, Write,
};
use sync_types::frame::{SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, GroupId};
use tokio::sync::{Notify, Semaphore};

/// Counts the entries that became durable.
pub(crate) struct Gated {
    inner: MemoryStore,
    durable: AtomicU64,
    gate: Semaphore,
    tidied: Notify,
}

impl Gated {
    /// Lets so many transactions with new entries through; those without pass freely.
    pub(crate) fn new(transactions: usize) -> Self {
        Self {
            inner: MemoryStore::new(),
            durable: AtomicU64::new(0),
            gate: Semaphore::new(transactions),
            tidied: Notify::new(),
        }
    }

    pub(crate) fn let_through(&self, transactions: usize) {
        self.gate.add_permits(transactions);
    }

    /// Has the next transaction fail that gets through.
    pub(crate) fn fail_next(&self, error: StoreError) {
        self.inner.fail_next(error);
    }

    /// Waits until the relay has tidied.
    pub(crate) async fn tidied(&self) {
        self.tidied.notified().await;
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }
}

impl Store for Gated {
    fn load(&self, group: GroupId) -> StoreFuture<'_, Option<GroupRows>> {
        self.inner.load(group)
    }

    fn commit(&self, writes: Vec<Write>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let appended: usize = writes
                .iter()
                .map(|write| match write {
                    Write::AppendEntries(_, rows) => rows.len(),
                    _ => 0,
                })
                .sum();
            if appended > 0 {
                self.gate.acquire().await.map_err(|e| StoreError::Io(e.to_string()))?.forget();
            }
            self.inner.commit(writes).await?;
            self.durable.fetch_add(appended as u64, Ordering::SeqCst);
            Ok(())
        })
    }

    fn entries(&self, query: EntriesQuery) -> StoreFuture<'_, Vec<EntryRow>> {
        self.inner.entries(query)
    }

    fn welcome(&self, group: GroupId, device: DeviceId) -> StoreFuture<'_, Option<Bytes>> {
        self.inner.welcome(group, device)
    }

    fn kit_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> StoreFuture<'_, Option<SealedSnapshot>> {
        self.inner.kit_snapshot(group, key, after)
    }

    fn kits(&self, key: [u8; 32]) -> StoreFuture<'_, Vec<(GroupId, bool)>> {
        self.inner.kits(key)
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.inner.stats()
    }

    fn tidy(&self) -> StoreFuture<'_, bool> {
        self.tidied.notify_one();
        Box::pin(std::future::ready(Ok(false)))
    }
}
