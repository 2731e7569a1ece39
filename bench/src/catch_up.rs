//! A device that was offline fetches what the others pushed meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use sync_client::{DEFAULT_CHANNEL, ReceiptState, SyncClient, SyncConfig};

use crate::devices::{self, PATIENCE};
use crate::process::RelayProcess;
use crate::report::{Aim, Report};
use crate::stats::count;
use crate::{Bounds, Outcome, own_cpu};

const PART: &str = "4. catch-up of 100,000 blobs of 200 bytes, from connecting to the last one's being durable";
const BLOBS: usize = 100_000;
const BYTES: usize = 200;
/// What a naive implementation did on such a machine, in blobs a second.
const NAIVE: f64 = 18_800.0;

pub(crate) async fn run(relay: &Path, folder: &Path, bounds: &Bounds, report: &mut Report) -> Outcome<()> {
    for (what, alone, times) in [("packed", None, 10.0), ("each in an envelope of its own", Some(1), 5.0)] {
        let folder = folder.join(if alone.is_some() { "alone" } else { "packed" });
        std::fs::create_dir(&folder)?;
        let measured = once(relay, &folder, alone).await?;
        let rate = BLOBS as f64 / measured.took.as_secs_f64();
        let beside = format!(
            "{} in all; {:.2} s of processor for the relay and {:.2} s for the device; QUIC alone carries {} MB/s, \
             a bare table takes {} rows/s",
            crate::stats::text(measured.took),
            measured.relay_cpu,
            measured.device_cpu,
            count(bounds.quic / 1e6),
            count(bounds.rows),
        );
        report.figure(PART, what, (rate, "blobs/s"), Aim::AtLeast(times * NAIVE), beside);
    }
    Ok(())
}

struct Measured {
    took: Duration,
    relay_cpu: f64,
    device_cpu: f64,
}

async fn once(relay: &Path, folder: &Path, alone: Option<usize>) -> Outcome<Measured> {
    let relay = RelayProcess::start(relay, &folder.join("relay")).await?;
    let mut of_a = devices::config(folder, "a", &relay.address)?;
    if let Some(blobs) = alone {
        of_a = of_a.max_blobs_per_envelope(blobs);
    }
    let of_b = devices::config(folder, "b", &relay.address)?;
    let (a, b) = devices::pair(&of_a, &of_b).await?;
    b.close().await;
    let mut last = None;
    for _ in 0..BLOBS / 1_000 {
        last = a.push_many(DEFAULT_CHANNEL, vec![vec![7; BYTES]; 1_000]).await?.pop();
    }
    if let Some(receipt) = last {
        a.wait(&receipt, ReceiptState::Accepted, PATIENCE).await?;
    }
    a.close().await;
    let measured = fetch(&relay, &of_b).await?;
    relay.process.stop().await?;
    Ok(measured)
}

async fn fetch(relay: &RelayProcess, config: &SyncConfig) -> Outcome<Measured> {
    let (relay_cpu, device_cpu) = (relay.process.cpu()?, own_cpu()?);
    let began = Instant::now();
    let b = SyncClient::new(config.clone()).await?;
    b.catch_up(PATIENCE).await?;
    let took = began.elapsed();
    let measured = Measured { took, relay_cpu: relay.process.cpu()? - relay_cpu, device_cpu: own_cpu()? - device_cpu };
    // Two things have to hold for the figure to mean something: they are all there, and they came while it was timed.
    let got = log_length(&b).await?;
    if got < BLOBS {
        return Err(format!("{got} of {BLOBS} blobs came").into());
    }
    b.close().await;
    Ok(measured)
}

/// How many blobs of others are in the log.
pub(crate) async fn log_length(client: &SyncClient) -> Outcome<usize> {
    let (mut length, consumer) = (0, "bench");
    loop {
        let blobs = client.read(consumer, None, 10_000).await?;
        let Some(last) = blobs.last() else { return Ok(length) };
        length += blobs.len();
        client.advance(consumer, None, last.position).await?;
    }
}
