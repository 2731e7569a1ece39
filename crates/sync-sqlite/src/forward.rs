//! Time that passes at once, for tests of what takes weeks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How far a program's time is ahead of the system's clock: not at all, unless a test lets time pass. Clones share it, so that
/// a device and a relay can be given the same.
#[derive(Clone, Debug)]
pub struct Forward(Arc<watch::Sender<u64>>);

impl Default for Forward {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Forward {
    /// How far, in milliseconds.
    pub fn ms(&self) -> u64 {
        *self.0.borrow()
    }

    /// Lets so much time pass. Whoever waits for a moment that comes by it is woken.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }

    /// Tells when time has passed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
