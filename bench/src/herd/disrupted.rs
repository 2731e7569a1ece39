//! Devices that push while their relay is stopped, its disk is full, its clock leaps, or its database is away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sync_types::Code;
use sync_types::frame::{EntryKind, FromRelay};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::endpoint_of;
use super::nodes::Seen;
use super::session::{Ended, LARGE, Session, pair};
use crate::Outcome;
use crate::process::{Process, RelayProcess};
use crate::stats::{count, text};

/// Groups of two that push twice a second.
const PAIRS: usize = 25;
/// For how long the database is away.
const AWAY: Duration = Duration::from_secs(60);
/// A library that shows a program another time; the loader puts in where such are.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// Devices that push for so long, and then say what they have seen.
async fn pushers(address: &str, seconds: u64) -> Outcome<Process> {
    let (pairs, seconds) = (PAIRS.to_string(), seconds.to_string());
    let mut process = Process::helper(&["pushers", address, address, &pairs, &seconds])?;
    process.line().await?;
    Ok(process)
}

async fn result(name: &str, mut pushing: Process, what: &str) -> Outcome<()> {
    let seen: Seen = serde_json::from_str(&pushing.line().await?)?;
    pushing.stop().await?;
    println!("  {name}: {what}");
    println!("    {seen}");
    if seen.is_whole() { Ok(()) } else { Err(format!("{name}: not each arrived once").into()) }
}

/// The relay is stopped in order, in the middle, three times.
pub(super) async fn stopped(program: &Path, folder: &Path) -> Outcome<()> {
    let mut relay = RelayProcess::start(program, folder).await?;
    let socket = relay.address.rsplit_once('@').ok_or("no address")?.1.to_owned();
    let pushing = pushers(&relay.address, 20).await?;
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        sleep(Duration::from_secs(4)).await;
        let began = Instant::now();
        relay.process.terminate().await?;
        longest = longest.max(began.elapsed());
        relay = RelayProcess::start_with(program, folder, &socket, &[]).await?;
    }
    result("SIGTERM in the middle, three times", pushing, &format!("it ended within {}", text(longest))).await?;
    relay.process.stop().await
}

/// The store may not grow any more.
pub(super) async fn full(program: &Path, folder: &Path) -> Outcome<()> {
    let relay = RelayProcess::start_with(program, folder, "127.0.0.1:0", &["--max-store-bytes", "20000000"]).await?;
    let to = endpoint_of(&relay.address)?;
    let [(mut first, _near, mut one), (mut second, far, other)] = pair(&to).await?;
    other.end();
    let mut accepted = 0_u64;
    let (code, wait) = loop {
        match first.push(&mut one, LARGE).await {
            Ok(()) => accepted += 1,
            Err(Ended::Refused(Code::RateLimited, wait)) => sleep(wait).await,
            Err(Ended::Refused(code, wait)) => break (code, wait),
            Err(lost) => return Err(lost.into_error()),
        }
    };
    let began = Instant::now();
    let mut other = Session::connect(&far, &to).await.map_err(Ended::into_error)?;
    second.attach(&mut other).await.map_err(Ended::into_error)?;
    let mut came = 0;
    while came < accepted {
        if let FromRelay::Deliver(entries) = other.frame().await.map_err(Ended::into_error)? {
            came += entries.iter().filter(|entry| entry.kind == EntryKind::Envelope).count() as u64;
            second.stored = entries.last().map_or(second.stored, |entry| entry.cursor);
        }
    }
    let delivered = began.elapsed();
    other.acknowledge(second.stored).await.map_err(Ended::into_error)?;
    let began = Instant::now();
    loop {
        match first.push(&mut one, LARGE).await {
            Ok(()) => break,
            Err(Ended::Refused(..)) => sleep(Duration::from_millis(20)).await,
            Err(lost) => return Err(lost.into_error()),
        }
    }
    let mb = count((accepted * LARGE as u64) as f64 / 1e6);
    println!("  a full disk: {mb} MB fit, and then {code} for {} at a time", text(wait));
    println!(
        "    all {accepted} came out in {}; {} after their acknowledgement there was room again",
        text(delivered),
        text(began.elapsed())
    );
    if code != Code::Quota {
        return Err(format!("a full disk is told as {code}").into());
    }
    relay.process.stop().await
}

/// The relay's wall clock leaps a year ahead and then two years back.
pub(super) async fn clock(program: &Path, folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("time");
    // In one piece, as the library reads it all the time.
    let leap = |to: &str| {
        let new = folder.join("time.new");
        std::fs::write(&new, to).and_then(|()| std::fs::rename(&new, &file))
    };
    leap("+0")?;
    let file = file.to_str().ok_or("the folder's name is not UTF-8")?;
    let variables = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let relay = RelayProcess::start_as(program, &folder.join("data"), "127.0.0.1:0", &[], &variables).await?;
    let pushing = pushers(&relay.address, 20).await?;
    for to in ["+365d", "-365d", "+0"] {
        sleep(Duration::from_secs(5)).await;
        leap(to)?;
    }
    result("the clock leaps a year ahead, two years back, and home", pushing, "its relay goes by time that passes")
        .await?;
    relay.process.stop().await
}

/// The database goes, and is away for a minute.
pub(super) async fn cut_off(program: &Path, folder: &Path, store: &str) -> Outcome<()> {
    let (user, rest) = store.strip_prefix("postgres://").and_then(|s| s.split_once('@')).ok_or("no database's URL")?;
    let (place, socket) = rest.split_once("?host=").ok_or("the database is to be reached by a socket")?;
    let database = place.split_once('/').ok_or("no database")?.1;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("postgres://{user}@{}/{database}?sslmode=disable", listener.local_addr()?);
    let open = Arc::new(AtomicBool::new(true));
    let (gate, socket) = (open.clone(), format!("{socket}/.s.PGSQL.5432"));
    let passing = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                Ok((mut near, _)) = listener.accept() => {
                    if !gate.load(Ordering::Relaxed) {
                        continue;
                    }
                    let socket = socket.clone();
                    connections.spawn(async move {
                        let mut far = UnixStream::connect(socket).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    });
                }
                _ = ticks.tick() => if !gate.load(Ordering::Relaxed) {
                    connections.abort_all();
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    let relay = RelayProcess::start_with(program, folder, "127.0.0.1:0", &["--store", &url]).await?;
    let pushing = pushers(&relay.address, 90).await?;
    sleep(Duration::from_secs(5)).await;
    open.store(false, Ordering::Relaxed);
    sleep(AWAY).await;
    let memory = relay.process.memory()? >> 20;
    open.store(true, Ordering::Relaxed);
    result("the database is away for a minute", pushing, &format!("the relay had {memory} MiB at its end")).await?;
    passing.abort();
    relay.process.stop().await
}
