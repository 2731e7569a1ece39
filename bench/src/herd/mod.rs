//! Thousands of devices at one relay: at rest, and when all of them come back at once after it has restarted; and a group beside one
//! that asks for all it can get.

mod disrupted;
mod helpers;
mod hostile;
mod neighbour;
mod nodes;
mod session;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use iroh::EndpointAddr;

pub(crate) use helpers::{engines, sessions};
pub(crate) use hostile::run as hostile;
pub(crate) use nodes::{Programs, pushers, run as nodes};

use crate::Outcome;
use crate::process::{Process, RelayProcess};
use crate::stats::{Sorted, count, text};

/// Processes that hold devices without an engine, and such that hold whole clients.
const PROCESSES: usize = 4;
/// For how long nothing happens before the memory is read, and then for how long the processor's time is counted.
const REST: Duration = Duration::from_secs(30);

/// How many devices there are.
pub(crate) struct Herd {
    /// In all.
    pub(crate) devices: usize,
    /// How many of them are whole clients.
    pub(crate) engines: usize,
}

/// Where a relay that says this address is reached.
fn endpoint_of(relay: &str) -> Outcome<EndpointAddr> {
    let (key, socket) = relay.strip_prefix("ksync://").and_then(|rest| rest.split_once('@')).ok_or("no address")?;
    Ok(EndpointAddr::new(key.parse()?).with_ip_addr(socket.parse()?))
}

/// Milliseconds since the Unix epoch, which all processes share.
#[expect(clippy::disallowed_methods, reason = "this is the benchmarks' clock")]
fn now_ms() -> Outcome<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Measures, and prints what it saw.
pub(crate) async fn run(program: &Path, folder: &Path, herd: &Herd) -> Outcome<()> {
    let data = folder.join("relay");
    let most = (2 * herd.devices).to_string();
    let wide = ["--max-connections", &most, "--max-connections-per-ip", &most];
    let relay = RelayProcess::start_with(program, &data, "127.0.0.1:0", &wide).await?;
    let empty = relay.process.memory()?;
    println!("\nAn empty relay has {} KiB in use", count(empty as f64 / 1024.0));

    let began = Instant::now();
    let bare = (herd.devices - herd.engines) / 2 / PROCESSES;
    let whole = herd.engines / 2 / PROCESSES;
    let mut holding = Vec::new();
    for n in 0..PROCESSES {
        holding.push(Process::helper(&["sessions", &relay.address, &bare.to_string()])?);
        if whole > 0 {
            let homes = folder.join(format!("engines-{n}"));
            let homes = homes.to_str().ok_or("the folder's name is not UTF-8")?;
            holding.push(Process::helper(&["engines", &relay.address, &whole.to_string(), homes])?);
        }
    }
    for process in &mut holding {
        process.line().await?;
    }
    let devices = 2 * PROCESSES * (bare + whole);
    println!("{devices} devices set up in {}, {} of them whole clients", text(began.elapsed()), 2 * PROCESSES * whole);

    tokio::time::sleep(REST).await;
    let (cpu, memory) = (relay.process.cpu()?, relay.process.memory()?);
    tokio::time::sleep(REST).await;
    let cpu = (relay.process.cpu()? - cpu) / REST.as_secs_f64();
    let each = (memory - empty) as f64 / 1024.0 / devices as f64;
    println!(
        "At rest: {each:.1} KiB of the relay's memory for each device, {:.1} % of one processor in all",
        100.0 * cpu
    );

    let address = relay.address.clone();
    let socket = address.rsplit_once('@').ok_or("no address")?.1.to_owned();
    let stopping = Instant::now();
    relay.process.terminate().await?;
    println!("\nThe relay stopped on SIGTERM in {}", text(stopping.elapsed()));
    let relay = RelayProcess::start_with(program, &data, &socket, &wide).await?;
    let ready_ms = now_ms()?;
    println!("and was ready again {} after that", text(stopping.elapsed()));
    let mut all = helpers::Returned::default();
    for process in &mut holding {
        all.add(serde_json::from_str(&process.line().await?)?);
    }
    let helpers::Returned { back_ms, tries, refused, lost } = all;
    let back: Vec<_> = back_ms.iter().map(|at| Duration::from_millis(at.saturating_sub(ready_ms))).collect();
    let all = back.len();
    let (sorted, peak) = (Sorted::new(back), relay.process.peak_memory()?);
    let [p10, p50, p90, p99] = [10, 50, 90, 99].map(|percent| text(sorted.percentile(percent)));
    println!("All {all} devices were back and had what waited for them {} after it was ready", text(sorted.max()));
    println!("  10 % after {p10}, 50 % after {p50}, 90 % after {p90}, 99 % after {p99}");
    let most = tries.iter().max().copied().unwrap_or_default();
    println!(
        "  {} tries in all, at most {most} by one; {lost} connections did not come about",
        tries.iter().sum::<u32>()
    );
    println!("  refused, and came again: {refused:?}");
    println!("  at most {} MiB of the relay's memory, {:.1} s of processor time", peak >> 20, relay.process.cpu()?);
    for process in holding {
        process.stop().await?;
    }
    neighbour::run(&relay.address).await?;
    relay.process.stop().await
}
