//! Who is to be woken, and when.

mod state;

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::guard::host_of;
use super::{Sender, Sent, Target};
use state::{Flight, State};

/// How long flights may take to end when the queue stops.
const STOP: Duration = Duration::from_millis(500);

/// What sends a push: a [`Sender`], or what stands in for one.
pub(crate) trait Push: Send + Sync + 'static {
    /// Makes one attempt, which ends.
    fn push(&self, target: &Target) -> impl Future<Output = Sent> + Send;
}

impl Push for Sender {
    fn push(&self, target: &Target) -> impl Future<Output = Sent> + Send {
        self.send(target)
    }
}

/// How much a [`Queue`] does at a time, and how long it tries.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How many pushes are under way: 64.
    pub(crate) under_way: usize,
    /// How many of them to one host: 8.
    pub(crate) per_host: usize,
    /// How many keys wait, those to be tried again included: 65,536. One more and the oldest is dropped.
    pub(crate) waiting: usize,
    /// How many [`Gone`] wait for whoever takes them: 256. When it is full, pushes that found their target gone stay
    /// under way.
    pub(crate) gone: usize,
    /// The longest pause before the second attempt: 1 s. It doubles for each attempt after it, and the pause is any
    /// time up to it.
    pub(crate) first_pause: Duration,
    /// What the longest pause grows to: 10 min.
    pub(crate) longest_pause: Duration,
    /// How long it is tried at all: 24 h. Devices that were off for longer ask by themselves when they are on.
    pub(crate) give_up: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            under_way: 64,
            per_host: 8,
            waiting: 65_536,
            gone: 256,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(600),
            give_up: Duration::from_secs(24 * 3600),
        }
    }
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Pushes that a service took.
    pub(crate) accepted: AtomicU64,
    /// Targets found gone.
    pub(crate) gone: AtomicU64,
    /// Attempts that were put off.
    pub(crate) retried: AtomicU64,
    /// Pushes that were refused.
    pub(crate) refused: AtomicU64,
    /// Keys that were dropped because too many waited, or for too long.
    pub(crate) dropped: AtomicU64,
}

impl Counters {
    /// All of them, as [`crate::metrics::WAKES`] has them.
    pub(crate) fn all(&self) -> [u64; crate::metrics::WAKES.len()] {
        [&self.accepted, &self.gone, &self.retried, &self.refused, &self.dropped].map(|counter| counter.load(Relaxed))
    }
}

/// A target that will not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone<K> {
    /// Whose it was.
    pub(crate) key: K,
    /// What it was. Whoever deletes it compares: there may be a newer one by now.
    pub(crate) target: Target,
}

/// Pushes that wait for their turn. One for each key: a device that is to be woken twice is woken once.
pub(crate) struct Queue<K: Copy + Eq + Hash + Send + 'static> {
    shared: Arc<Shared<K>>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Something can be done that could not be before.
    changed: Notify,
    stopping: Notify,
    counters: Arc<Counters>,
}

impl<K> Shared<K> {
    /// Each change is complete before anything in it could panic.
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Queue<K> {
    /// Starts on the current Tokio runtime. The receiver tells of targets to delete; it may be dropped.
    ///
    /// # Panics
    /// Outside a runtime.
    pub(crate) fn start<P: Push>(pusher: Arc<P>, limits: Limits) -> (Self, mpsc::Receiver<Gone<K>>) {
        let (gone, receiver) = mpsc::channel(limits.gone.max(1));
        let counters = Arc::<Counters>::default();
        let state = Mutex::new(State::new(limits, counters.clone()));
        let shared = Arc::new(Shared { state, changed: Notify::new(), stopping: Notify::new(), counters });
        let driver = tokio::spawn(drive(shared.clone(), pusher, gone));
        (Self { shared, driver: Mutex::new(Some(driver)) }, receiver)
    }

    /// Wakes the device behind `key`, soon. It asks for nothing more while a push to the same target waits or is under
    /// way; another target takes the place of the one that waits. Never blocks.
    pub(crate) fn wake(&self, key: K, target: Target) {
        let host = host_of(&target);
        if self.shared.state().wake(key, target, host, Instant::now()) {
            self.shared.changed.notify_one();
        }
    }

    /// Drops what waits for `key`, and what is under way is not tried again: the device came by itself, or has another
    /// target.
    pub(crate) fn forget(&self, key: K) {
        self.shared.state().forget(&key);
    }

    /// How many keys wait, those to be tried again included.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state().waiting()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shared.state().is_empty()
    }

    /// What has happened since the start.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// Ends what is under way and drops what waits, within a second. Nothing is woken from then on.
    pub(crate) async fn stop(&self) {
        self.shared.state().stop();
        self.shared.stopping.notify_one();
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut driver) = driver
            && timeout(STOP, &mut driver).await.is_err()
        {
            driver.abort();
        }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Drop for Queue<K> {
    fn drop(&mut self) {
        self.shared.state().stop();
        self.shared.stopping.notify_one();
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting()).field("counters", &self.shared.counters).finish()
    }
}

async fn drive<K: Copy + Eq + Hash + Send + 'static, P: Push>(
    shared: Arc<Shared<K>>,
    pusher: Arc<P>,
    gone: mpsc::Sender<Gone<K>>,
) {
    let mut flights = JoinSet::new();
    loop {
        let due = {
            let mut state = shared.state();
            while let Some(flight) = state.next(Instant::now()) {
                let slot = Slot { shared: shared.clone(), flight, sent: None };
                flights.spawn(fly(slot, pusher.clone(), gone.clone()));
            }
            state.due()
        };
        let until_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stopping.notified() => break,
            () = shared.changed.notified() => {}
            Some(_) = flights.join_next() => {}
            () = until_due => {}
        }
    }
    flights.shutdown().await;
}

/// A place under way, given back when it is dropped: a flight that panics or is ended has to give it back as well.
struct Slot<K: Copy + Eq + Hash> {
    shared: Arc<Shared<K>>,
    flight: Flight<K>,
    sent: Option<Sent>,
}

impl<K: Copy + Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        self.shared.state().landed(&self.flight, self.sent, Instant::now());
        self.shared.changed.notify_one();
    }
}

async fn fly<K: Copy + Eq + Hash, P: Push>(mut slot: Slot<K>, pusher: Arc<P>, gone: mpsc::Sender<Gone<K>>) {
    let sent = pusher.push(&slot.flight.target).await;
    slot.sent = Some(sent);
    if sent == Sent::Gone {
        let told = Gone { key: slot.flight.key, target: Target::clone(&slot.flight.target) };
        // Nobody may want to know.
        let _ = gone.send(told).await;
    }
}
