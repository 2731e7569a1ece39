//! Pushes through the real client over QUIC to a relay process: how many are accepted, and how soon they are delivered.

use std::path::Path;
use std::time::{Duration, Instant};

use sync_client::{DEFAULT_CHANNEL, ReceiptState, SyncClient};

use crate::devices::{self, PATIENCE};
use crate::process::RelayProcess;
use crate::report::{Aim, Report};
use crate::stats::Sorted;
use crate::{Bounds, Outcome};

const PUSHES: &str = "2. pushes of 200 bytes, one sender, SQLite and fdatasync on both sides";
const DELIVERY: &str = "3. from push to delivered, two devices online";
/// What a naive implementation without signatures and without fsync did on such a machine.
const NAIVE_AWAITED: f64 = 994.0;
const BYTES: usize = 200;
const LONG: Duration = Duration::from_secs(5);
/// How many callers push at once, each waiting for its own.
const CALLERS: usize = 256;
/// How many blobs go into one call of `push_many`.
const MANY: usize = 1_000;
const DELIVERED: usize = 2_000;
const WARM: usize = 1_000;

pub(crate) async fn run(relay: &Path, folder: &Path, bounds: &Bounds, report: &mut Report) -> Outcome<()> {
    let relay = RelayProcess::start(relay, &folder.join("relay")).await?;
    let of_b = devices::config(folder, "b", &relay.address)?;
    let (a, b) = devices::pair(&devices::config(folder, "a", &relay.address)?, &of_b).await?;

    // As an app's command handler does it: in a task of the runtime.
    let of_a = a.clone();
    let delivered = tokio::spawn(async move { delivery(&of_a).await }).await??;
    // Nobody takes what comes now, so the relay has to keep it.
    b.close().await;
    let of_a = a.clone();
    let (awaited, waits) = tokio::spawn(async move { awaited(&of_a).await }).await??;
    // Two flushes one after the other, the client's and the relay's, and one way there and back.
    let floor = 2 * bounds.flush + bounds.echo;
    let beside = format!("{}; two flushes and an echo take {}", waits.summary(), crate::stats::text(floor));
    report.figure(PUSHES, "each awaited", (awaited, "accepted/s"), Aim::AtLeast(NAIVE_AWAITED), beside);
    let callers = concurrent(&a).await?;
    let beside = format!("{CALLERS} callers, each awaits its own; {:.0} times one caller", callers / awaited);
    report.bound(PUSHES, "many callers", callers, "accepted/s", beside);
    let many = pipelined(&a).await?;
    let beside = format!("push_many of {MANY}, four calls at once; {:.0} times one caller", many / awaited);
    report.figure(PUSHES, "pipelined", (many, "accepted/s"), Aim::AtLeast(10.0 * awaited), beside);

    let floor = 3 * bounds.flush + 2 * bounds.echo;
    let beside =
        format!("push, accept, deliver, sign; three flushes and two echoes take {}", crate::stats::text(floor));
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    report.bound(DELIVERY, "p50", millis(delivered.percentile(50)), "ms", beside);
    report.bound(DELIVERY, "p99", millis(delivered.percentile(99)), "ms", delivered.summary());
    a.close().await;
    relay.process.stop().await
}

async fn delivery(a: &SyncClient) -> Outcome<Sorted> {
    // A log of SQLite that grows flushes slower than one that is written over; after so many pushes all three are.
    for _ in 0..WARM {
        let receipt = a.push(vec![7; BYTES]).await?;
        a.wait(&receipt, ReceiptState::Delivered, PATIENCE).await?;
    }
    let mut took = Vec::with_capacity(DELIVERED);
    for _ in 0..DELIVERED {
        let began = Instant::now();
        let receipt = a.push(vec![7; BYTES]).await?;
        a.wait(&receipt, ReceiptState::Delivered, PATIENCE).await?;
        took.push(began.elapsed());
    }
    Ok(Sorted::new(took))
}

async fn awaited(a: &SyncClient) -> Outcome<(f64, Sorted)> {
    let mut took = Vec::new();
    let began = Instant::now();
    while began.elapsed() < LONG {
        let at = Instant::now();
        let receipt = a.push(vec![7; BYTES]).await?;
        a.wait(&receipt, ReceiptState::Accepted, PATIENCE).await?;
        took.push(at.elapsed());
    }
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    Ok((rate, Sorted::new(took)))
}

/// Accepted pushes a second of many callers.
async fn concurrent(a: &SyncClient) -> Outcome<f64> {
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let a = a.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < LONG {
                    let receipt = a.push(vec![7; BYTES]).await?;
                    a.wait(&receipt, ReceiptState::Accepted, PATIENCE).await?;
                    done += 1;
                }
                Ok::<_, sync_client::SyncError>(done)
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// Accepted blobs a second when a few calls are always on their way.
async fn pipelined(a: &SyncClient) -> Outcome<f64> {
    let began = Instant::now();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let a = a.clone();
            tokio::spawn(async move {
                let mut done = 0;
                let mut last = None;
                while began.elapsed() < LONG {
                    let receipts = a.push_many(DEFAULT_CHANNEL, vec![vec![7; BYTES]; MANY]).await?;
                    done += receipts.len();
                    last = receipts.last().copied().or(last);
                }
                if let Some(receipt) = last {
                    a.wait(&receipt, ReceiptState::Accepted, PATIENCE).await?;
                }
                Ok::<_, sync_client::SyncError>(done)
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}
