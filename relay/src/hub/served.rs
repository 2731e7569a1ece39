//! For how long relays have run on a store: the time by which members' silence is measured.

use std::time::Duration;

use sync_sqlite::Forward;
use tokio::time::Instant;

use crate::store::Store;

/// Counts on from what the store says. A clock that is set does not change it, and the time in which no relay ran is not in
/// it. After a crash it is behind by what was not saved, so that members count as silent for a little less long.
pub(super) struct Served {
    base_ms: u64,
    started: Instant,
    forward: Forward,
    forward_at_start: u64,
    saved_at: Instant,
}

impl Served {
    pub(super) fn new(forward: Forward) -> Self {
        let started = Instant::now();
        Self { base_ms: 0, started, forward_at_start: forward.ms(), forward, saved_at: started }
    }

    /// Milliseconds.
    pub(super) fn ms(&self) -> u64 {
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base_ms.saturating_add(here).saturating_add(self.forward.ms() - self.forward_at_start)
    }

    /// Goes on from what the store says. If it says nothing, nobody has been silent for long.
    pub(super) async fn load(&mut self, store: &dyn Store) {
        match store.served().await {
            Ok(served_ms) => self.base_ms = served_ms,
            Err(error) => tracing::error!(%error, "it cannot be read for how long the relay has run"),
        }
    }

    /// Goes on from what another relay on this store has counted, if that is more. Relays that run side by side count the same
    /// time and not each its own: the store keeps the largest of their numbers.
    pub(super) async fn catch_up(&mut self, store: &dyn Store) {
        match store.served().await {
            Ok(served_ms) => self.base_ms += served_ms.saturating_sub(self.ms()),
            Err(error) => tracing::warn!(%error, "it cannot be read for how long relays have run"),
        }
    }

    /// Saves it unless that was done a short while ago.
    pub(super) async fn save(&mut self, store: &dyn Store, every: Duration) {
        if self.saved_at.elapsed() < every {
            return;
        }
        self.saved_at = Instant::now();
        if let Err(error) = store.set_served(self.ms()).await {
            tracing::warn!(%error, "it cannot be noted for how long the relay has run");
        }
    }
}
