//! How much content is handed over at once, and that two things are never done with the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use sync_types::{ContentHash, GroupId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How much content is handed over at once, in both directions together, and how much of one group. Each takes half a mebibyte
/// of memory or so.
const AT_ONCE: usize = 64;
const AT_ONCE_OF_A_GROUP: usize = 24;

/// The places for content that is handed over.
pub(super) struct Places {
    all: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<GroupId, usize>>>,
}

/// One of the places for content that is handed over; given back when it is dropped.
pub(crate) struct Place {
    group: GroupId,
    taken: Arc<Mutex<HashMap<GroupId, usize>>>,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), taken: Arc::default() }
    }

    /// `None` while all are taken, or as many as a group may have.
    pub(super) fn take(&self, group: GroupId) -> Option<Place> {
        let of_all = self.all.clone().try_acquire_owned().ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_group = taken.entry(group).or_default();
        if *of_group >= AT_ONCE_OF_A_GROUP {
            return None;
        }
        *of_group += 1;
        Some(Place { group, taken: self.taken.clone(), _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut of_group) = taken.entry(self.group) {
            *of_group.get_mut() -= 1;
            if *of_group.get() == 0 {
                of_group.remove();
            }
        }
    }
}

/// With which content something is done, so that nothing else is done with it. Whoever waits for the end of that hears of it.
#[derive(Clone, Default)]
pub(super) struct AtWork(Arc<Mutex<HashMap<ContentHash, watch::Sender<()>>>>);

/// Something is done with content as long as this lives.
pub(super) struct Busy {
    hash: ContentHash,
    at_work: AtWork,
}

impl AtWork {
    /// `None` while something else is done with it.
    pub(super) fn begin(&self, hash: ContentHash) -> Option<Busy> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(hash) {
            Entry::Vacant(free) => drop(free.insert(watch::Sender::new(()))),
            Entry::Occupied(_) => return None,
        }
        Some(Busy { hash, at_work: self.clone() })
    }

    /// Hears of the end of what is done with it now, if anything is.
    pub(super) fn end_of(&self, hash: ContentHash) -> Option<watch::Receiver<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).map(watch::Sender::subscribe)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.at_work.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hash);
    }
}
