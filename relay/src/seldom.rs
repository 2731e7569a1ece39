//! What stays true for long is said once, and then now and then: a store that is away makes every request of every device fail, and a
//! log with a line for each helps nobody.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the same is not said again.
const PAUSE: Duration = Duration::from_secs(10);

/// One thing that the log says.
pub(crate) struct Seldom(Mutex<Option<Said>>);

struct Said {
    at: Instant,
    /// How often it was not said since.
    more: u64,
}

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether to say it now: then how often it was not said since the last time.
    pub(crate) fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *said {
            Some(said) if now.saturating_duration_since(said.at) < PAUSE => {
                said.more += 1;
                None
            }
            other => Some(other.replace(Said { at: now, more: 0 }).map_or(0, |before| before.more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_after_each_pause_with_how_often_it_was_not() {
        let (seldom, begin) = (Seldom::new(), Instant::now());
        let at = |s| begin + Duration::from_secs(s);
        assert_eq!(seldom.is_due_at(at(0)), Some(0));
        assert_eq!((seldom.is_due_at(at(1)), seldom.is_due_at(at(9))), (None, None));
        assert_eq!(seldom.is_due_at(at(10)), Some(2));
        assert_eq!(seldom.is_due_at(at(11)), None);
        assert_eq!(seldom.is_due_at(at(3_600)), Some(1));
    }
}
