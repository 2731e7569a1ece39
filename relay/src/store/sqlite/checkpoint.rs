//! Merging SQLite's log into the database beside the writes instead of within one, so that no append waits for it.
//!
//! A passive checkpoint runs on a connection of its own and blocks nobody, but under steady load it never reaches the log's
//! end, and the log would grow for ever. So the writer does the short rest itself, after which SQLite starts the log anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{Notify, mpsc, oneshot};

/// After how many bytes of log, by estimate, a checkpoint begins. A flush of the database holds up the log's own flush, so
/// many short ones it is: measured at 200,000 appends a second in batches of 512, the longest append takes 5 to 6 ms with
/// 512 KiB, and 15 to 30 ms with 8 MiB.
const EVERY: u64 = 512 << 10;

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const NEARLY_DONE: u8 = 2;

const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Merges as much of the log into the database as nobody reads any more.
pub(super) async fn merge(on: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    on.execute(CHECKPOINT).await.map(drop)
}

/// Decides when to checkpoint. Owned by the store; the work is done by a task that ends with it.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
}

struct Shared {
    phase: AtomicU8,
    wanted: Notify,
}

impl Checkpoints {
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let shared = Arc::new(Shared { phase: AtomicU8::new(IDLE), wanted: Notify::new() });
        let (stop, stopped) = mpsc::channel(1);
        tokio::spawn(run(connection, shared.clone(), stopped));
        Self { shared, stop }
    }

    /// Called by the writer before a transaction, with how much was written since it last returned true.
    pub(super) async fn step(&self, writer: &mut SqliteConnection, written: u64) -> bool {
        match self.shared.phase.load(Ordering::Acquire) {
            IDLE if written >= EVERY => {
                self.shared.phase.store(RUNNING, Ordering::Release);
                self.shared.wanted.notify_one();
                true
            }
            NEARLY_DONE => {
                // One that fails is repeated after the next few MiB.
                let _ = merge(writer).await;
                self.shared.phase.store(IDLE, Ordering::Release);
                false
            }
            _ => false,
        }
    }

    /// Ends the task and its connection.
    pub(super) async fn stop(&self) {
        let (done, when_done) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = when_done.await;
        }
    }
}

async fn run(mut connection: SqliteConnection, shared: Arc<Shared>, mut stop: mpsc::Receiver<oneshot::Sender<()>>) {
    loop {
        tokio::select! {
            () = shared.wanted.notified() => {
                let _ = merge(&mut connection).await;
                shared.phase.store(NEARLY_DONE, Ordering::Release);
            }
            done = stop.recv() => {
                let _ = connection.close().await;
                if let Some(done) = done {
                    let _ = done.send(());
                }
                return;
            }
        }
    }
}
