//! `files-beside`: how fast files go from one device to another, beside what others use for that, all in one run on this machine: on
//! loopback, then over a line that is late and loses packets. Nothing of it leaves the two networks that it makes.

mod impairer;
mod line;
mod networks;
mod others;
mod ours;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sync_content::{ContentStore, FolderStore, Options};
use sync_types::Suite;
use tempfile::TempDir;
use tokio::time::sleep;

pub(crate) use impairer::run as impair;
pub(crate) use line::{answer as line_answer, ask as line_ask};

use crate::check::{size, words};
use crate::report::Report;
use crate::{Outcome, content, files, own_cpu};
use networks::{ADDRESSES, Line, Networks};

/// How often it is looked whether anything has come.
const LOOK: Duration = Duration::from_millis(5);
const SMALL_SIZE: usize = 4 << 10;
const GIB: f64 = (1_u64 << 30) as f64;

/// What is measured, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// How large the file is on loopback
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = size)]
    size: u64,
    /// How large it is over the bad line
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = size)]
    impaired_size: u64,
    /// How many files of 4 KiB
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    small: usize,
    /// How late the bad line is, there and back, in milliseconds
    #[arg(long, default_value_t = 100, value_name = "MS")]
    round_trip: u64,
    /// How many of a thousand packets it loses, in each direction
    #[arg(long, default_value_t = 20, value_name = "N")]
    loss: u64,
    /// How many seconds one transfer may take
    #[arg(long, default_value_t = 900, value_name = "S")]
    bound: u64,
    /// Where `sendme` and Magic Wormhole are: what `cargo xtask bench files` installs
    #[arg(long, value_name = "DIR")]
    tools: Option<PathBuf>,
}

/// What is measured, and where.
pub(crate) struct Bench {
    pub(crate) relay: PathBuf,
    pub(crate) ksync: PathBuf,
    pub(crate) folder: PathBuf,
}

/// Where a transfer takes place.
struct Place<'a> {
    networks: &'a Networks,
    /// In which of the networks the far end is: the first, for loopback.
    far: usize,
    relay: &'a Path,
    ksync: &'a Path,
    folder: &'a Path,
    bound: Duration,
}

impl Place<'_> {
    fn through(&self, side: usize) -> Vec<String> {
        self.networks.into(side)
    }

    fn address(&self, side: usize) -> &'static str {
        ADDRESSES[side]
    }

    fn room(&self, name: &str) -> Outcome<TempDir> {
        Ok(tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(self.folder)?)
    }
}

/// What a transfer took.
struct Figures {
    /// Until it could be fetched.
    prepare: Duration,
    /// From the start of the program that fetches until it has ended.
    receive: Duration,
    /// The same until the first bytes were on its disk, as far as that was seen.
    first: Option<Duration>,
    /// From the start of the first program to the end of the last.
    total: Duration,
    /// Processor time in seconds: of the sender, of what stands between, of the receiver.
    cpu: [f64; 3],
}

/// Many small files in a folder.
struct Small {
    folder: PathBuf,
    count: usize,
}

/// Those whom ours are measured beside.
struct Others {
    sendme: PathBuf,
    /// The folder with the programs of Magic Wormhole.
    wormhole: PathBuf,
}

/// Measures, and adds to the report.
pub(crate) async fn run(bench: &Bench, plan: &Plan, report: &mut Report) -> Outcome<()> {
    if cfg!(debug_assertions) {
        report.say("this is no release build: read nothing into the figures");
    }
    let others = plan
        .tools
        .as_ref()
        .map(|tools| Others { sendme: tools.join("bin").join("sendme"), wormhole: tools.join("wormhole").join("bin") });
    let given = bench.folder.join("given");
    content::written_of(&given, plan.size)?;
    sealing(&bench.folder, &given, plan.size, report).await?;

    let networks = Networks::make()?;
    let place = |far| Place {
        networks: &networks,
        far,
        relay: &bench.relay,
        ksync: &bench.ksync,
        folder: &bench.folder,
        bound: Duration::from_secs(plan.bound),
    };
    let small = Small { folder: bench.folder.join("small"), count: plan.small };
    std::fs::create_dir(&small.folder)?;
    let mut bytes = vec![0; SMALL_SIZE];
    for n in 0..small.count {
        getrandom::fill(&mut bytes)?;
        std::fs::write(small.folder.join(n.to_string()), &bytes)?;
    }

    const LINE: &str = "The line between two networks";
    let plain = networks.join(Line { delay: Duration::ZERO, loss_per_mille: 0 }).await?;
    measured(LINE, "with nothing set", &networks, &plain, report).await?;
    const LOOPBACK: &str = "On loopback";
    large(LOOPBACK, &place(0), &others, (&given, plan.size), report).await;
    many(LOOPBACK, &place(0), &others, &small, report).await;
    plain.part().await?;
    std::fs::remove_file(&given)?;

    let delay = Duration::from_millis(plan.round_trip) / 2;
    let bad = networks.join(Line { delay, loss_per_mille: plan.loss }).await?;
    let setting = format!("{} ms each way, {} % lost each way", delay.as_secs_f64() * 1e3, plan.loss as f64 / 10.0);
    measured(LINE, &setting, &networks, &bad, report).await?;
    content::written_of(&given, plan.impaired_size)?;
    const IMPAIRED: &str = "Over the bad line";
    large(IMPAIRED, &place(1), &others, (&given, plan.impaired_size), report).await;
    many(IMPAIRED, &place(1), &others, &small, report).await;
    let cpu = bad.cpu()?;
    let words = bad.part().await?;
    report.bound(IMPAIRED, "processor of the line", cpu, "s", words);
    Ok(())
}

/// How fast content is sealed, beside the cipher by itself.
async fn sealing(folder: &Path, given: &Path, size: u64, report: &mut Report) -> Outcome<()> {
    const PART: &str = "Sealing";
    let plain = content::cipher()?;
    report.bound(PART, "XChaCha20-Poly1305 by itself", plain / 1e6, "MB/s", "blocks as large as a chunk".to_owned());
    let sealing = content::sealing()?;
    let beside = format!("{:.0} % of the cipher", 100.0 * sealing / plain);
    report.bound(PART, "sealing chunks", sealing / 1e6, "MB/s", beside);
    let store = tempfile::tempdir_in(folder)?;
    let kept = FolderStore::open(store.path(), Options::default()).await?;
    let (began, cpu) = (Instant::now(), own_cpu()?);
    kept.put(given, Suite::XWing, content::quiet()).await?;
    let rate = size as f64 / began.elapsed().as_secs_f64();
    let beside = format!(
        "{:.0} % of the cipher; read, sealed, hashed and flushed; {:.2} s of a processor for {}",
        100.0 * rate / plain,
        own_cpu()? - cpu,
        words(size)
    );
    report.bound(PART, "putting a file into a store", rate / 1e6, "MB/s", beside);
    Ok(kept.close().await?)
}

async fn measured(
    part: &'static str,
    setting: &str,
    networks: &Networks,
    line: &networks::Joined,
    report: &mut Report,
) -> Outcome<()> {
    let cpu = line.cpu()?;
    let seen = line::measure(networks).await?;
    let beside = format!("p99 {:.2} ms; of packets there and back {:.2} % lost", seen.p99_ms, seen.lost_percent);
    report.bound(part, &format!("echo, {setting}"), seen.p50_ms, "ms", beside);
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let beside = format!(
        "the kernel's ({}), for 5 s; the line took {:.1} s of a processor for all this",
        control.trim(),
        line.cpu()? - cpu
    );
    report.bound(part, &format!("one TCP connection, {setting}"), seen.tcp / 1e6, "MB/s", beside);
    Ok(())
}

/// One file by each of them, and how many times as fast ours is.
async fn large(
    part: &'static str,
    place: &Place<'_>,
    others: &Option<Others>,
    (given, size): (&Path, u64),
    report: &mut Report,
) {
    let mut rates: Vec<(&str, Option<f64>)> = Vec::new();
    let mut note = |name: &'static str, figures: Outcome<Figures>, report: &mut Report| {
        let what = format!("{name}, {}", words(size));
        let rate = figures.as_ref().ok().map(|figures| size as f64 / figures.total.as_secs_f64());
        let beside = figures.map_or_else(|error| format!("FAILED: {error}"), |figures| figures.words(size));
        report.bound(part, &what, rate.unwrap_or_default() / 1e6, "MB/s", beside);
        rates.push((name, rate));
    };
    for way in ours::WAYS {
        note(way.name, ours::large(place, *way, given).await, report);
    }
    if let Some(others) = others {
        note("sendme", others::sendme(place, &others.sendme, given).await, report);
        note("wormhole", others::wormhole(place, &others.wormhole, given).await, report);
    }
    ratios(part, &rates, &format!("{}, in bytes a second", words(size)), report);
}

/// Many small files by each of them.
async fn many(part: &'static str, place: &Place<'_>, others: &Option<Others>, small: &Small, report: &mut Report) {
    let mut rates: Vec<(&str, Option<f64>)> = Vec::new();
    let mut note = |name: &'static str, took: Outcome<Duration>, report: &mut Report| {
        let what = format!("{name}, {} files of 4 KiB", small.count);
        let rate = took.as_ref().ok().map(|took| small.count as f64 / took.as_secs_f64());
        let beside =
            took.map_or_else(|error| format!("FAILED: {error}"), |took| format!("{:.1} s", took.as_secs_f64()));
        report.bound(part, &what, rate.unwrap_or_default(), "files/s", beside);
        rates.push((name, rate));
    };
    for way in ours::WAYS {
        note(way.name, ours::small(place, *way, small).await, report);
    }
    if let Some(others) = others {
        let total = |figures: Figures| figures.total;
        note("sendme", others::sendme(place, &others.sendme, &small.folder).await.map(total), report);
        note("wormhole", others::wormhole(place, &others.wormhole, &small.folder).await.map(total), report);
    }
    ratios(part, &rates, &format!("{} small files, in files a second", small.count), report);
}

fn ratios(part: &'static str, rates: &[(&str, Option<f64>)], of: &str, report: &mut Report) {
    let (ours, others) = rates.split_at(ours::WAYS.len());
    for (name, rate) in ours {
        for (other, beside) in others {
            if let (Some(rate), Some(beside)) = (rate, beside) {
                report.bound(part, &format!("{name} / {other}"), rate / beside, "times", of.to_owned());
            }
        }
    }
}

impl Figures {
    fn words(&self, size: u64) -> String {
        let seconds = |time: Duration| time.as_secs_f64();
        let each = self.cpu.map(|cpu| cpu / (size as f64 / GIB));
        let first = self.first.map_or("not seen".to_owned(), |first| format!("after {:.0} ms", 1e3 * seconds(first)));
        let prepared = match self.prepare {
            Duration::ZERO => "both ends at once".to_owned(),
            prepare => format!(
                "there to be fetched after {:.1} s, fetched in {:.1} s",
                seconds(prepare),
                seconds(self.receive)
            ),
        };
        format!(
            "{prepared}; first bytes {first}; processor for each GiB: sender {:.1} s, between {:.1} s, receiver {:.1} s",
            each[0], each[1], each[2]
        )
    }
}

/// What comes of some work, and when the first bytes of content were in a folder meanwhile.
async fn with_first<T>(work: impl Future<Output = T>, folder: &Path) -> (T, Option<Duration>) {
    let (began, mut first) = (Instant::now(), None);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return (done, first),
            () = sleep(LOOK), if first.is_none() => {
                if holds_content(folder) {
                    first = Some(began.elapsed());
                }
            }
        }
    }
}

/// Whether there is content: as our store and sendme's keep it, or as Magic Wormhole calls what is not complete.
fn holds_content(folder: &Path) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        let is_content = path.extension().is_some_and(|end| end == "data" || end == "tmp");
        if path.is_dir() { holds_content(&path) } else { is_content && files::on_disk_of(&path) > 0 }
    })
}
