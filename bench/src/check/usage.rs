//! How much of the disk something takes while it goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::files::on_disk;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The most bytes that each of some folders has had on the disk.
pub(super) struct Usage {
    most: Arc<Vec<AtomicU64>>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Usage {
    #[expect(clippy::disallowed_methods, reason = "how much there is on the disk, nobody tells")]
    pub(super) fn of(folders: Vec<PathBuf>) -> Self {
        let most = Arc::new(folders.iter().map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let ended = Arc::new(AtomicBool::new(false));
        let (noted, over) = (most.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for (folder, most) in folders.iter().zip(noted.iter()) {
                    most.fetch_max(on_disk(folder), Ordering::Relaxed);
                }
                std::thread::sleep(LOOK);
            }
        });
        Self { most, ended, thread: Some(thread) }
    }

    /// In the order of the folders.
    pub(super) fn end(mut self) -> Vec<u64> {
        self.stop();
        self.most.iter().map(|most| most.load(Ordering::Relaxed)).collect()
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.stop();
    }
}
