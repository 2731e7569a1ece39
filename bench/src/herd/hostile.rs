//! What a quiet group notices of those who keep to no rules, and what the relay makes of them.

use std::path::Path;
use std::time::{Duration, Instant};

use iroh::{Endpoint, EndpointAddr};
use sync_types::frame::{FromRelay, ToRelay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::neighbour::{Quiet, timed};
use super::session::{Ended, LARGE, Session, pair};
use super::{disrupted, endpoint_of};
use crate::process::{Process, RelayProcess};
use crate::stats::{Sorted, count, text};
use crate::{Outcome, quic};

/// Groups of which one device pushes and the other reads nothing.
const DEAF: usize = 40;
/// Groups whose devices fall silent in the middle.
const SILENT: usize = 100;
/// Connections that say a byte a second.
const SLOW: usize = 1_000;
/// Endpoints that send what is no frame, and how many streams each opens for that.
const LIARS: usize = 100;
const LIES: usize = 20;
/// Endpoints that connect at the same moment.
const AT_ONCE: usize = 1_000;
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures, and prints what it saw. `store`: a database that may be cut off. Fails if anything was lost or came twice.
pub(crate) async fn run(program: &Path, folder: &Path, store: &str) -> Outcome<()> {
    let most = ["--max-connections", "10000", "--max-connections-per-ip", "10000"];
    let relay = RelayProcess::start_with(program, &folder.join("relay"), "127.0.0.1:0", &most).await?;
    let to = endpoint_of(&relay.address)?;
    let mut quiet = pair(&to).await?;
    let alone = timed(&mut quiet).await?;
    println!("A quiet group beside those who keep to no rules: from a push until the other device has it");
    println!("  alone: {}", alone.summary());
    let mut beside = Beside { relay: &relay, quiet: &mut quiet, alone };
    beside.run("slow readers", deaf(to.clone())).await?;
    // What of that is not this relay's doing, but that of processors which all share.
    let another = RelayProcess::start_with(program, &folder.join("another"), "127.0.0.1:0", &most).await?;
    beside.run("the same at another relay of this machine", deaf(endpoint_of(&another.address)?)).await?;
    another.process.stop().await?;
    beside.run("half-open connections", half_open(&relay)).await?;
    beside.run("slowloris", slow(&relay)).await?;
    beside.run("oversized and garbage frames", liars(to.clone())).await?;
    beside.run("a thousand handshakes at once", at_once(to.clone())).await?;
    println!("  all the memory that the relay ever had: {} MiB", relay.process.peak_memory()? >> 20);
    relay.process.stop().await?;

    println!("\nDevices that push twice a second while their relay is disturbed");
    disrupted::stopped(program, &folder.join("stopped")).await?;
    disrupted::full(program, &folder.join("full")).await?;
    disrupted::clock(program, &folder.join("clock")).await?;
    disrupted::cut_off(program, &folder.join("cut-off"), store).await
}

struct Beside<'a> {
    relay: &'a RelayProcess,
    quiet: &'a mut Quiet,
    alone: Sorted,
}

impl Beside<'_> {
    /// Times the quiet group while something goes on, and waits until that is through.
    async fn run(&mut self, name: &str, what: impl Future<Output = Outcome<String>>) -> Outcome<()> {
        let before = self.relay.process.memory()?;
        let (times, seen) = tokio::join!(timed(self.quiet), timeout(PATIENCE, what));
        let (times, seen) =
            (times?, seen.map_err(|_| format!("{name}: not through within {} s", PATIENCE.as_secs()))??);
        let ratio = times.percentile(99).as_secs_f64() / self.alone.percentile(99).as_secs_f64();
        let more = self.relay.process.memory()?.saturating_sub(before) >> 20;
        println!("  {name}: {}, p99 {ratio:.1} times; {more} MiB more in the end", times.summary());
        println!("    {seen}");
        Ok(())
    }
}

/// Devices that are connected and read nothing, of groups that push all they may.
async fn deaf(to: EndpointAddr) -> Outcome<String> {
    let mut pushing = JoinSet::new();
    for _ in 0..DEAF {
        let [(mut first, near, mut one), (_, far, other)] = pair(&to).await?;
        pushing.spawn(async move {
            let _held = (near, far, other);
            let (mut pushed, mut refused) = (0_u64, 0_u64);
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until {
                match first.push(&mut one, LARGE).await {
                    Ok(()) => pushed += 1,
                    Err(Ended::Refused(_, wait)) => {
                        refused += 1;
                        sleep(wait).await;
                    }
                    Err(Ended::Lost) => break,
                }
            }
            (pushed, refused)
        });
    }
    let (mut pushed, mut refused) = (0, 0);
    while let Some(one) = pushing.join_next().await {
        let (more, no) = one?;
        (pushed, refused) = (pushed + more, refused + no);
    }
    let mib = count((pushed * LARGE as u64) as f64 / f64::from(1 << 20));
    Ok(format!("{DEAF} devices read nothing of {mib} MiB that were pushed for them; {refused} pushes were put off"))
}

/// Devices whose process stops without a word.
async fn half_open(relay: &RelayProcess) -> Outcome<String> {
    let before = relay.metric("ksync_connections").await?;
    let mut holding = Process::helper(&["sessions", &relay.address, &SILENT.to_string()])?;
    holding.line().await?;
    holding.signal("STOP").await?;
    let began = Instant::now();
    while relay.metric("ksync_connections").await? > before {
        sleep(Duration::from_millis(100)).await;
    }
    let after = text(began.elapsed());
    holding.stop().await?;
    Ok(format!("{} connections that fell silent were gone after {after}", 2 * SILENT))
}

/// Requests that never end.
async fn slow(relay: &RelayProcess) -> Outcome<String> {
    let began = Instant::now();
    let mut open = JoinSet::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(relay.http()).await?;
        open.spawn(async move {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\n").await;
            let mut byte = [0];
            // Cut off: the other side has ended, or takes nothing more.
            while timeout(Duration::from_secs(1), stream.read(&mut byte)).await.is_err() {
                if stream.write_all(b"x").await.is_err() {
                    break;
                }
            }
        });
    }
    let mut slowest = Duration::ZERO;
    let mut health = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            ended = open.join_next() => match ended {
                Some(_) => {}
                None => break,
            },
            _ = health.tick() => {
                let asked = Instant::now();
                relay.metric("ksync_connections").await?;
                slowest = slowest.max(asked.elapsed());
            }
        }
    }
    let (all, slowest) = (text(began.elapsed()), text(slowest));
    Ok(format!(
        "{SLOW} requests of a byte a second were cut off within {all}; others were answered in {slowest} at most"
    ))
}

/// Streams that carry no frames.
async fn liars(to: EndpointAddr) -> Outcome<String> {
    let mut lying = JoinSet::new();
    for n in 0..LIARS {
        let to = to.clone();
        lying.spawn(async move {
            let endpoint = quic::endpoint().await?;
            let connection = quic::connect(&endpoint, to).await?;
            let mut ended = 0;
            for lie in 0..LIES {
                let Ok((mut send, mut receive)) = connection.open_bi().await else { break };
                let mut bytes = vec![0; 1_024];
                getrandom::fill(&mut bytes)?;
                match (n + lie) % 3 {
                    // Longer than a frame may be.
                    0 => bytes[..4].copy_from_slice(&[0xff; 4]),
                    // As long as it says, and nothing that it could be.
                    1 => bytes[..4].copy_from_slice(&1_020_u32.to_be_bytes()),
                    // More than whoever is no member may send.
                    _ => bytes[..4].copy_from_slice(&4_000_000_u32.to_be_bytes()),
                }
                // It may be closed before all is there.
                let _ = send.write_all(&bytes).await;
                ended += usize::from(matches!(timeout(PATIENCE, receive.read_to_end(1 << 16)).await, Ok(Ok(_))));
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(ended)
        });
    }
    let mut ended = 0;
    while let Some(one) = lying.join_next().await {
        ended += one??;
    }
    Ok(format!("{ended} streams of {LIARS} endpoints were ended at their first frame, of {}", LIARS * LIES))
}

/// Connections that are all begun at the same moment.
async fn at_once(to: EndpointAddr) -> Outcome<String> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for _ in 0..AT_ONCE {
        endpoints.push(quic::endpoint().await?);
    }
    let began = Instant::now();
    let mut coming = JoinSet::new();
    for endpoint in endpoints {
        let to = to.clone();
        coming.spawn(async move {
            let mut session = Session::connect(&endpoint, &to).await.ok()?;
            // Answered, so that it is served and not only connected.
            session.send(&ToRelay::CloseSlot).await.ok()?;
            let answered = matches!(session.frame().await, Err(Ended::Refused(..)) | Ok(FromRelay::SlotClosed));
            session.end();
            answered.then(|| began.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(one) = coming.join_next().await {
        times.extend(one?);
    }
    let (served, times) = (times.len(), Sorted::new(times));
    Ok(format!(
        "{served} of {AT_ONCE} were served: half after {}, all after {}",
        text(times.percentile(50)),
        text(times.max())
    ))
}
