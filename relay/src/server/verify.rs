//! Who verifies pushed envelopes, and how many at a time.

use sync_types::GroupId;
use sync_types::frame::Acknowledge;
use tokio::sync::Semaphore;

use crate::mailbox::{Keys, Stated, Verified, Verifying};

/// Verifies in the tasks of the sessions, in turns of a step each: a frame of thousands of small envelopes costs a good part of
/// a second, in which neither the writer nor anybody else's single envelope has to wait.
#[derive(Debug)]
pub(super) struct Verifier {
    /// One place less than there are processors, so that the writer has one.
    places: Semaphore,
}

impl Verifier {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { places: Semaphore::new(processors.saturating_sub(1).max(1)) }
    }

    pub(super) async fn acknowledgement(&self, group: GroupId, request: &Acknowledge, keys: &Keys) -> Stated {
        let _place = self.places.acquire().await;
        Stated::verify(group, request, keys)
    }

    pub(super) async fn envelopes(&self, mut work: Verifying) -> Verified {
        loop {
            {
                // Places are given in the order of asking. The semaphore is never closed; without it there would be no turns.
                let _place = self.places.acquire().await;
                if !work.step() {
                    return work.finish();
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
