//! Measures 0k-Sync on this machine, each figure beside what bounds it, all in one run so that their ratios mean something
//! anywhere. `cargo xtask bench` builds it and the relay and runs it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its standard output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[cfg(target_os = "linux")]
mod beside;
mod bootstrap;
mod catch_up;
mod check;
mod content;
mod devices;
mod disk;
mod files;
mod groups;
mod herd;
mod ksync;
mod memory;
mod process;
mod pushes;
mod quic;
mod report;
mod stats;
mod store;
mod wire;

use report::Report;

/// A result for a person who reads why the run ended.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures 0k-Sync on this machine.
#[derive(Parser)]
#[command(name = "ksync-bench")]
struct Cli {
    /// Print the figures as one object of JSON
    #[arg(long)]
    json: bool,
    /// Measure only these, 1 to 9, with a comma between them; the baselines are always measured
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<u8>,
    /// The program of the relay [default: sync-relay beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,
    /// A folder on the disk to measure; what is made in it is deleted in the end [default: that of this program]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does instead; most of it to help itself, in a process of its own.
#[derive(Subcommand)]
enum Role {
    /// Measure adding, removing and rotating at 2, 5, 20 and 50 devices instead
    Groups,
    /// Measure thousands of devices at one relay instead: at rest, coming back all at once, beside a noisy group
    Herd {
        /// How many devices
        #[arg(long, default_value_t = 10_000)]
        devices: usize,
        /// How many of them are whole clients
        #[arg(long, default_value_t = 1_000)]
        engines: usize,
    },
    /// Push at two relays over a PostgreSQL database instead, and kill one after the other: nothing may be lost or come twice
    Nodes {
        /// The database, which has to be empty
        #[arg(long, value_name = "URL")]
        store: String,
        /// How many devices
        #[arg(long, default_value_t = 400)]
        devices: usize,
        /// For how long, in seconds
        #[arg(long, default_value_t = 40)]
        seconds: u64,
        /// The program of an earlier relay: both begin as that, one is exchanged for the present one soon, the other late
        #[arg(long, value_name = "FILE")]
        earlier: Option<PathBuf>,
    },
    /// Measure what a quiet group notices of those who keep to no rules instead, and what is lost when a relay is disturbed: nothing
    Hostile {
        /// A database, which has to be empty
        #[arg(long, value_name = "URL")]
        store: String,
    },
    /// Check files of every size, number and name by the real programs instead, also while they change and are killed
    FilesCheck(check::Plan),
    /// Measure files beside what others send them with instead, on loopback and over a bad line; takes root
    #[cfg(target_os = "linux")]
    FilesBeside(beside::Plan),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Impairer { first: String, second: String, delay_micros: u64, loss_per_mille: u64 },
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    LineAnswer { at: String },
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    LineAsk { at: String },
    #[command(hide = true)]
    Writer { path: PathBuf, way: String, number: u64, wait_micros: u64 },
    #[command(hide = true)]
    Pushers { first: String, second: String, pairs: usize, seconds: u64 },
    #[command(hide = true)]
    Sessions { relay: String, pairs: usize },
    #[command(hide = true)]
    Engines { relay: String, pairs: usize, folder: PathBuf },
    #[command(hide = true)]
    BareServer,
    #[command(hide = true)]
    BareClients { key: String, socket: String, count: usize },
    #[command(hide = true)]
    Devices { relay: String, count: usize, folder: PathBuf },
    #[command(hide = true)]
    Newcomer { relay: String, home: PathBuf, uri: String },
}

/// What bounds several figures, measured in the same run.
struct Bounds {
    /// A write of 4 KiB and its flush, the median.
    flush: Duration,
    /// 256 bytes there and back over QUIC, the median.
    echo: Duration,
    /// What one QUIC stream carries, in bytes a second.
    quic: f64,
    /// Rows of 200 bytes that SQLite takes in a second.
    rows: f64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ksync-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Outcome<()> {
    match cli.role {
        Some(Role::Groups) => return groups::run(),
        Some(Role::BareServer) => return memory::bare_server().await,
        Some(Role::BareClients { key, socket, count }) => return memory::bare_clients(&key, &socket, count).await,
        Some(Role::Devices { relay, count, folder }) => return memory::attached_devices(&relay, count, &folder).await,
        Some(Role::Newcomer { relay, home, uri }) => return bootstrap::newcomer(&relay, &home, &uri).await,
        Some(Role::Sessions { relay, pairs }) => return herd::sessions(&relay, pairs).await,
        Some(Role::Engines { relay, pairs, folder }) => return herd::engines(&relay, pairs, &folder).await,
        Some(Role::Pushers { first, second, pairs, seconds }) => {
            return herd::pushers([&first, &second], pairs, seconds).await;
        }
        Some(Role::Writer { path, way, number, wait_micros }) => {
            return check::writer(path, &way, number, wait_micros).await;
        }
        #[cfg(target_os = "linux")]
        Some(Role::Impairer { first, second, delay_micros, loss_per_mille }) => {
            return beside::impair([&first, &second], Duration::from_micros(delay_micros), loss_per_mille).await;
        }
        #[cfg(target_os = "linux")]
        Some(Role::LineAnswer { at }) => return beside::line_answer(&at).await,
        #[cfg(target_os = "linux")]
        Some(Role::LineAsk { at }) => return beside::line_ask(&at).await,
        // What wants a relay and a folder.
        _ => {}
    }
    let own = std::env::current_exe()?;
    let beside = own.parent().ok_or("this program lies in no folder")?;
    let relay = cli.relay.unwrap_or_else(|| beside.join("sync-relay"));
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(cli.folder.as_deref().unwrap_or(beside))?;
    match cli.role {
        Some(Role::Herd { devices, engines }) => {
            return herd::run(&relay, folder.path(), &herd::Herd { devices, engines }).await;
        }
        Some(Role::Nodes { store, devices, seconds, earlier }) => {
            let programs = herd::Programs { present: relay, earlier };
            return herd::nodes(&programs, folder.path(), &store, devices, seconds).await;
        }
        Some(Role::Hostile { store }) => return herd::hostile(&relay, folder.path(), &store).await,
        Some(Role::FilesCheck(plan)) => {
            let bench = check::Bench { relay, ksync: beside.join("ksync"), folder: folder.path().to_owned() };
            return or_interrupted(check::run(&bench, &plan)).await;
        }
        #[cfg(target_os = "linux")]
        Some(Role::FilesBeside(plan)) => {
            let bench = beside::Bench { relay, ksync: beside.join("ksync"), folder: folder.path().to_owned() };
            let mut report = Report::new(cli.json);
            let measured = or_interrupted(beside::run(&bench, &plan, &mut report)).await;
            report.print();
            return measured;
        }
        _ => {}
    }
    let wanted = |part: u8| cli.only.is_empty() || cli.only.contains(&part);
    let room = |name: &str| -> Outcome<PathBuf> {
        let room = folder.path().join(name);
        std::fs::create_dir(&room)?;
        Ok(room)
    };

    let mut report = Report::new(cli.json);
    if cfg!(debug_assertions) {
        report.say("this is no release build: read nothing into the figures");
    }
    let bounds = baselines(&room("baselines")?, &mut report).await?;
    if wanted(1) {
        store::run(&room("store")?, &mut report).await?;
    }
    if wanted(2) || wanted(3) {
        pushes::run(&relay, &room("pushes")?, &bounds, &mut report).await?;
    }
    if wanted(4) {
        catch_up::run(&relay, &room("catch-up")?, &bounds, &mut report).await?;
    }
    if wanted(5) {
        memory::run(&relay, &room("memory")?, &mut report).await?;
    }
    if wanted(6) {
        wire::run(&room("wire")?, &mut report).await?;
    }
    if wanted(7) {
        bootstrap::run(&relay, &room("bootstrap")?, &mut report).await?;
    }
    if wanted(8) {
        content::run(&room("content")?, &bounds, &mut report).await?;
    }
    if wanted(9) {
        files::run(&relay, &room("files")?, &bounds, &mut report).await?;
    }
    report.print();
    Ok(())
}

/// Ended by hand it takes its processes, folders and networks away as well.
async fn or_interrupted(work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn baselines(folder: &Path, report: &mut Report) -> Outcome<Bounds> {
    const PART: &str = "Baselines of this machine";
    let flush = disk::fdatasync(folder, 4096, 1_000)?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    report.bound(PART, "write of 4 KiB and fdatasync, p50", micros(flush.percentile(50)), "µs", flush.summary());
    let echo = quic::echo(5_000).await?;
    report.bound(PART, "QUIC echo of 256 bytes, p50", micros(echo.percentile(50)), "µs", echo.summary());
    let carried = quic::throughput(256 << 20).await?;
    let words = "one stream on loopback, nothing done with what comes".to_owned();
    report.bound(PART, "QUIC throughput", carried / 1e6, "MB/s", words);
    let rows = disk::bare_sqlite(&folder.join("rows.db"), &[200], 4_096, Duration::from_secs(2)).await?;
    let words = "200 bytes each, 256 a statement, 4,096 a transaction, one table without an index".to_owned();
    report.bound(PART, "bare sqlx inserts", rows, "rows/s", words);
    Ok(Bounds { flush: flush.percentile(50), echo: echo.percentile(50), quic: carried, rows })
}

/// How much processor time this process has used, in seconds.
fn own_cpu() -> Outcome<f64> {
    process::cpu_of("self")
}
