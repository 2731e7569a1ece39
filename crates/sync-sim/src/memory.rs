//! How much memory something takes, for attacks that are small on the wire and large in memory.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Does it, and says by how many bytes the process grew at most meanwhile. What other threads allocate counts too, so
/// only one measures at a time.
pub fn peak_of<T>(doing: impl FnOnce() -> T) -> (T, usize) {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    let done = doing();
    (done, COUNTED.peak_usage().saturating_sub(before))
}
