//! A bad line between two network namespaces: packets go from one TUN device to the other, late, and some not at all.

use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_tun::Tun;

use crate::Outcome;

/// How many packets may be on their way in one direction; what comes beyond that is dropped, as by any router.
const QUEUE: usize = 16_384;
/// More than any packet has.
const LONGEST: usize = 2_048;

/// How often it looks whether anybody wants it still.
const LOOK: Duration = Duration::from_secs(1);

/// What became of the packets of one direction.
#[derive(Default)]
struct Counts {
    passed: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

/// Forwards between two devices that it makes, until it is asked to end; says then what it did.
pub(crate) async fn run(names: [&str; 2], delay: Duration, loss_per_mille: u64) -> Outcome<()> {
    let [a, b] = names.map(|name| Tun::builder().name(name).build());
    let device = |made: Result<Vec<Tun>, tokio_tun::Error>| -> Outcome<Arc<Tun>> {
        let made = made.map_err(|e| format!("no TUN device can be made, which takes root and /dev/net/tun: {e}"))?;
        Ok(Arc::new(made.into_iter().next().ok_or("no device was made")?))
    };
    let (a, b) = (device(a)?, device(b)?);
    let counts = [Arc::new(Counts::default()), Arc::new(Counts::default())];
    for (seed, (from, to)) in [(1, (a.clone(), b.clone())), (2, (b, a))] {
        let counts = counts[seed - 1].clone();
        let (queue, queued) = mpsc::channel(QUEUE);
        let noted = counts.clone();
        let chance = Chance { state: seed as u64, per_mille: loss_per_mille };
        tokio::spawn(async move { take(&from, &queue, delay, chance, &noted).await });
        tokio::spawn(async move { give(&to, queued, &counts).await });
    }
    let mut end = signal(SignalKind::terminate())?;
    let parent = parent_id();
    println!("ready");
    // Whoever wanted it may have been killed.
    while timeout(LOOK, end.recv()).await.is_err() {
        if parent_id() != parent {
            return Ok(());
        }
    }
    let count = |of: fn(&Counts) -> &AtomicU64| counts.iter().map(|one| of(one).load(Ordering::Relaxed)).sum::<u64>();
    let (passed, lost, overflowed) = (count(|c| &c.passed), count(|c| &c.lost), count(|c| &c.overflowed));
    println!("{}", serde_json::json!({ "passed": passed, "lost": lost, "overflowed": overflowed }));
    Ok(())
}

/// Takes what comes from one device, and throws some of it away.
async fn take(
    from: &Tun,
    queue: &mpsc::Sender<(Instant, Vec<u8>)>,
    delay: Duration,
    mut chance: Chance,
    counts: &Counts,
) {
    let mut packet = vec![0; LONGEST];
    loop {
        // A device that is not up yet gives errors.
        let Ok(length) = from.recv(&mut packet).await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        if chance.strikes() {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        } else if queue.try_send((Instant::now() + delay, packet[..length].to_vec())).is_err() {
            counts.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Gives it to the other device when its time has come.
async fn give(to: &Tun, mut queued: mpsc::Receiver<(Instant, Vec<u8>)>, counts: &Counts) {
    while let Some((due, packet)) = queued.recv().await {
        if due > Instant::now() {
            sleep_until(due.into()).await;
        }
        if to.send(&packet).await.is_ok() {
            counts.passed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Which packets are lost: the same ones in each run (SplitMix64).
struct Chance {
    state: u64,
    per_mille: u64,
}

impl Chance {
    fn strikes(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 1_000 < self.per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_lost_as_was_said() {
        for per_mille in [0, 20, 500] {
            let mut chance = Chance { state: 1, per_mille };
            let lost = (0..100_000).filter(|_| chance.strikes()).count() as u64;
            assert!(lost.abs_diff(100 * per_mille) <= 5 * per_mille, "{lost} of 100,000 at {per_mille} per mille");
        }
    }
}
