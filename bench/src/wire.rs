//! Bytes on the wire. The relay runs in this process behind a door that counts what each connection carries.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use iroh::Endpoint;
use iroh::endpoint::Connection;
use sync_client::{DEFAULT_CHANNEL, ReceiptState, SyncClient};
use sync_relay::{EXPORTER_LABEL, Relay, RelayConfig, RunningRelay};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::devices::{self, PATIENCE};
use crate::report::{Aim, Report};
use crate::{Outcome, quic};

const PART: &str = "6. bytes on the wire for blobs of 27 bytes, two devices online";
const BYTES: usize = 27;
const BURST: usize = 10_000;
/// How often one blob travels alone.
const ALONE: usize = 50;
/// For how long idling is counted.
const QUIET: Duration = Duration::from_secs(2);
/// For how long nothing has to move.
const SETTLED: Duration = Duration::from_millis(300);

pub(crate) async fn run(folder: &Path, report: &mut Report) -> Outcome<()> {
    let data = folder.join("relay");
    std::fs::create_dir(&data)?;
    let config = RelayConfig { listen: None, http: None, ..RelayConfig::on_loopback(&data) };
    let relay = Arc::new(Relay::start(config).await?);
    let endpoint = quic::endpoint().await?;
    let socket = endpoint.bound_sockets().first().copied().ok_or("no socket")?;
    let key: String = endpoint.id().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let door = Arc::new(Door::default());
    let serving = tokio::spawn(door.clone().serve(endpoint.clone(), relay));
    let address = format!("ksync://{key}@{socket}");
    let (a, b) =
        devices::pair(&devices::config(folder, "a", &address)?, &devices::config(folder, "b", &address)?).await?;

    // What keeps the connections alive is no blob's; it is counted while nothing else happens.
    let before = door.settled().await;
    tokio::time::sleep(QUIET).await;
    let idle = door.reading().since(&before, QUIET.as_secs_f64()).udp;

    let (before, began) = (door.settled().await, Instant::now());
    for _ in 0..ALONE {
        delivered(&a, 1).await?;
    }
    let alone = door.settled().await.since(&before, ALONE as f64);
    let udp = alone.udp - idle * began.elapsed().as_secs_f64() / ALONE as f64;
    let beside = "what the stream carries: frame, header, signature, and the ciphertext of 256 padded bytes".to_owned();
    report.figure(PART, "alone, sender to relay", (alone.up, "bytes"), Aim::AtMost(450.0), beside);
    let beside =
        format!("of them {:.0} for Accepted, Deliver, the signed acknowledgement and its copy", alone.all - alone.up);
    report.bound(PART, "alone, all frames until delivered", alone.all, "bytes", beside);
    let beside = format!("both connections, QUIC's acknowledgements included, without the {idle:.0} bytes/s of idling");
    report.bound(PART, "alone, all UDP payloads", udp.max(0.0), "bytes", beside);

    let before = door.settled().await;
    delivered(&a, BURST).await?;
    let burst = door.settled().await.since(&before, BURST as f64);
    let beside = format!("{BURST} in one call; {BYTES} of them are the blob");
    report.figure(PART, "in a burst, sender to relay", (burst.up, "bytes each"), Aim::AtMost(40.0), beside);
    let words = "both connections, until all are delivered".to_owned();
    report.bound(PART, "in a burst, all UDP payloads", burst.udp, "bytes each", words);
    for client in [&a, &b] {
        client.close().await;
    }
    endpoint.close().await;
    serving.abort();
    Ok(())
}

async fn delivered(a: &SyncClient, count: usize) -> Outcome<()> {
    let receipts = a.push_many(DEFAULT_CHANNEL, vec![vec![7; BYTES]; count]).await?;
    let last = receipts.last().ok_or("no receipt")?;
    a.wait(last, ReceiptState::Delivered, PATIENCE).await?;
    Ok(())
}

/// What one connection has carried.
#[derive(Clone, Copy, Default, PartialEq)]
struct Carried {
    /// On its stream, from the device.
    up: u64,
    /// On its stream, to the device.
    down: u64,
    /// In UDP payloads, both ways.
    udp: u64,
}

/// What all connections have carried since they began, in the order in which they came.
#[derive(Clone, PartialEq)]
struct Reading(Vec<Carried>);

/// Bytes for each blob, or each second.
struct Each {
    /// From the device that sent most: the one that pushes.
    up: f64,
    /// On all streams, both ways.
    all: f64,
    /// In all UDP payloads.
    udp: f64,
}

impl Reading {
    fn since(&self, before: &Self, divisor: f64) -> Each {
        let none = Carried::default();
        let pairs = || self.0.iter().enumerate().map(|(n, now)| (now, before.0.get(n).unwrap_or(&none)));
        let sum = |of: fn(&Carried) -> u64| pairs().map(|(now, then)| of(now) - of(then)).sum::<u64>() as f64 / divisor;
        let up = pairs().map(|(now, then)| now.up - then.up).max().unwrap_or(0);
        Each { up: up as f64 / divisor, all: sum(|c| c.up + c.down), udp: sum(|c| c.udp) }
    }
}

#[derive(Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
}

/// Accepts connections, counts, and hands their streams to the relay.
#[derive(Default)]
struct Door {
    connections: Mutex<Vec<(Connection, Arc<Counters>)>>,
}

impl Door {
    async fn serve(self: Arc<Self>, endpoint: Endpoint, relay: Arc<RunningRelay>) {
        while let Some(incoming) = endpoint.accept().await {
            let (door, relay) = (self.clone(), relay.clone());
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                let mut exporter = [0; 32];
                if connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").is_err() {
                    return;
                }
                let counters = Arc::new(Counters::default());
                let entry = (connection.clone(), counters.clone());
                door.connections.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                let peer = *connection.remote_id().as_bytes();
                while let Ok((send, receive)) = connection.accept_bi().await {
                    let (relay, counters) = (relay.clone(), counters.clone());
                    tokio::spawn(async move {
                        let (reader, writer) = (Counting(receive, counters.clone()), Counting(send, counters));
                        relay.serve_stream(reader, writer, exporter, peer).await;
                    });
                }
            });
        }
    }

    fn reading(&self) -> Reading {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = connections.iter().map(|(connection, counters)| {
            let stats = connection.stats();
            let (up, down) = (counters.up.load(Ordering::Relaxed), counters.down.load(Ordering::Relaxed));
            Carried { up, down, udp: stats.udp_tx.bytes + stats.udp_rx.bytes }
        });
        Reading(carried.collect())
    }

    /// The reading once nothing has moved on the streams for a while, so that delayed acknowledgements are counted with
    /// what they are for.
    async fn settled(&self) -> Reading {
        let mut before = self.reading();
        loop {
            tokio::time::sleep(SETTLED).await;
            let now = self.reading();
            let moved = now.0.len() != before.0.len()
                || now.0.iter().zip(&before.0).any(|(now, then)| (now.up, now.down) != (then.up, then.down));
            if !moved {
                return now;
            }
            before = now;
        }
    }
}

/// A half of a stream that counts.
struct Counting<T>(T, Arc<Counters>);

impl<T: AsyncRead + Unpin> AsyncRead for Counting<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(cx, buffer);
        self.1.up.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counting<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.1.down.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
