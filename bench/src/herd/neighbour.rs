//! What a quiet group notices of one that pushes as much as it can.

use std::time::{Duration, Instant};

use iroh::{Endpoint, EndpointAddr};
use sync_types::frame::EntryKind;

use super::session::{Device, Ended, LARGE, SEALED, Session, pair};
use crate::Outcome;
use crate::stats::{Sorted, text};

/// Blobs of the quiet group in each part, and the time from one to the next.
const BLOBS: usize = 500;
const EVERY: Duration = Duration::from_millis(20);

/// Two devices of one group, both attached.
pub(super) type Quiet = [(Device, Endpoint, Session); 2];

/// Times pushes of the quiet group until the other device has them: alone, and beside the noisy one.
pub(super) async fn run(relay: &str) -> Outcome<()> {
    let to = super::endpoint_of(relay)?;
    let mut quiet = pair(&to).await?;
    let alone = timed(&mut quiet).await?;
    let noise = tokio::spawn(shout(to));
    let beside = timed(&mut quiet).await;
    noise.abort();
    let beside = beside?;
    println!("\nA quiet group, {BLOBS} blobs at {} ms, from the push until the other device has it", EVERY.as_millis());
    println!("  alone: {}", alone.summary());
    println!("  beside a group that pushes {LARGE} bytes at a time without a pause: {}", beside.summary());
    let ratio = beside.percentile(99).as_secs_f64() / alone.percentile(99).as_secs_f64();
    println!("  p99 {} to {}: {ratio:.1} times", text(alone.percentile(99)), text(beside.percentile(99)));
    Ok(())
}

/// How long blobs take from the push until the other device has them.
pub(super) async fn timed(quiet: &mut Quiet) -> Outcome<Sorted> {
    let [(first, _, one), (_, _, other)] = quiet;
    let mut times = Vec::with_capacity(BLOBS);
    let mut ticks = tokio::time::interval(EVERY);
    for _ in 0..BLOBS {
        ticks.tick().await;
        let began = Instant::now();
        let travel = async {
            first.push(one, SEALED).await?;
            let entry = other.entry(EntryKind::Envelope).await?;
            times.push(began.elapsed());
            other.acknowledge(entry.cursor).await
        };
        travel.await.map_err(Ended::into_error)?;
    }
    Ok(Sorted::new(times))
}

/// Pushes for ever; what is refused is pushed again as soon as the relay allows it. The other device reads and acknowledges.
async fn shout(to: EndpointAddr) -> Outcome<()> {
    let [(mut first, _near, mut one), (_second, _far, mut other)] = pair(&to).await?;
    let read = async {
        loop {
            let entry = other.entry(EntryKind::Envelope).await?;
            other.acknowledge(entry.cursor).await?;
        }
    };
    let push = async {
        loop {
            match first.push(&mut one, LARGE).await {
                Ok(()) => {}
                Err(Ended::Refused(_, wait)) => tokio::time::sleep(wait).await,
                Err(lost) => return Err::<(), Ended>(lost),
            }
        }
    };
    tokio::select! {
        done = read => { let _: Result<(), Ended> = done; }
        done = push => { let _: Result<(), Ended> = done; }
    }
    Ok(())
}
