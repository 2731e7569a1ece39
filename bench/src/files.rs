//! Files from one device to another through a relay: how fast, what it costs whom, and how much disk it takes meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sync_client::{ClientEvent, FilesPolicy, SyncClient};
use tokio::time::timeout;

use crate::content::{SIZE, written};
use crate::devices::{PATIENCE, config, pair, settle};
use crate::process::RelayProcess;
use crate::report::Report;
use crate::{Bounds, Outcome, own_cpu, process};

const PART: &str = "Files through a relay";
/// How many small ones there are, and how large each is.
const SMALL: usize = 1_000;
const SMALL_SIZE: usize = 4 << 10;
/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(50);
const MIB: f64 = (1 << 20) as f64;

pub(crate) async fn run(relay: &Path, folder: &Path, bounds: &Bounds, report: &mut Report) -> Outcome<()> {
    let data = folder.join("relay");
    let relay = RelayProcess::start(relay, &data).await?;
    let everything = FilesPolicy { automatic_up_to: u64::MAX, direct: false, ..FilesPolicy::default() };
    let on_demand = FilesPolicy { automatic_up_to: 0, direct: false, ..FilesPolicy::default() };
    let configs = [
        config(folder, "laptop", &relay.address)?.files(everything),
        config(folder, "phone", &relay.address)?.files(on_demand),
    ];
    let (laptop, phone) = pair(&configs[0], &configs[1]).await?;
    settle(&laptop, &phone).await?;
    large(folder, &relay, (&laptop, &phone), bounds, report).await?;
    small(folder, (&laptop, &phone), report).await?;
    laptop.close().await;
    phone.close().await;
    relay.process.terminate().await
}

async fn large(
    folder: &Path,
    relay: &RelayProcess,
    (laptop, phone): (&SyncClient, &SyncClient),
    bounds: &Bounds,
    report: &mut Report,
) -> Outcome<()> {
    let (given, got) = (folder.join("given"), folder.join("got"));
    written(&given)?;
    let rate = |took: Duration| SIZE as f64 / took.as_secs_f64();

    let (began, cpu) = (Instant::now(), own_cpu()?);
    let put = laptop.files().put(&given, None, |_, _| ()).await?;
    let sealed = began.elapsed();
    let words = format!("sealed into the store of the device; {:.2} s of a processor", own_cpu()? - cpu);
    report.bound(PART, "putting 1 GiB", rate(sealed) / 1e6, "MB/s", words);
    laptop.files().wait_given(put.id, PATIENCE, |_, _| ()).await?;
    let gone = began.elapsed() - sealed;
    let words = format!("{:.0} % of one QUIC stream; the relay has it on its disk", 100.0 * rate(gone) / bounds.quic);
    report.bound(PART, "from the device to the relay", rate(gone) / 1e6, "MB/s", words);

    listed(phone, put.id).await?;
    let (began, first) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let noted = first.clone();
    let peak = Peak::of(&folder.join("phone"), &got);
    let progress = move |done: u64, _| {
        if done > 0 {
            let _ = noted.compare_exchange(
                0,
                u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    };
    phone.files().get(put.id, &got, PATIENCE, progress).await?;
    let came = began.elapsed();
    let words = format!(
        "fetched, verified, opened and at its place; the first bytes were shown after {:.0} ms",
        first.load(Ordering::Relaxed) as f64 / 1e3
    );
    report.bound(PART, "from the relay to a file", rate(came) / 1e6, "MB/s", words);
    let cost = own_cpu()? - cpu;
    let words = "both devices in one process; put, given, fetched, exported".to_owned();
    report.bound(PART, "processor of the devices for 1 GiB", cost, "s", words);
    let words = "taken and given".to_owned();
    report.bound(PART, "processor of the relay for 1 GiB", relay.process.cpu()?, "s", words);
    let memory = relay.process.peak_memory()? as f64 / MIB;
    report.bound(PART, "the most memory of the relay", memory, "MiB", String::new());
    let memory = process::peak_memory_of("self")? as f64 / MIB;
    report.bound(PART, "the most memory of the devices", memory, "MiB", "both in one process".to_owned());
    let words = "of the one that fetches, times the file's size; sealed and open are both there while it is exported"
        .to_owned();
    report.bound(PART, "the most disk", peak.end() as f64 / SIZE as f64, "times", words);
    if !same(&given, &got)? {
        return Err("the file that came is not the one that was put".into());
    }
    laptop.files().remove(put.id).await?;
    std::fs::remove_file(given)?;
    Ok(std::fs::remove_file(got)?)
}

async fn small(folder: &Path, (laptop, phone): (&SyncClient, &SyncClient), report: &mut Report) -> Outcome<()> {
    phone.files().set_policy(FilesPolicy::default());
    let source = folder.join("small");
    std::fs::create_dir(&source)?;
    let mut bytes = vec![0; SMALL_SIZE];
    for n in 0..SMALL {
        getrandom::fill(&mut bytes)?;
        std::fs::write(source.join(n.to_string()), &bytes)?;
    }
    let mut events = phone.events();
    let (began, cpu) = (Instant::now(), own_cpu()?);
    let putting = async {
        for n in 0..SMALL {
            laptop.files().put(&source.join(n.to_string()), None, |_, _| ()).await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed())
    };
    let coming = async {
        let mut here = 0;
        while here < SMALL {
            match timeout(PATIENCE, events.next()).await? {
                Some(ClientEvent::FileHere { .. }) => here += 1,
                Some(_) => {}
                None => return Err("the client has ended".into()),
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed())
    };
    let (put, came) = tokio::try_join!(putting, coming)?;
    let words = format!("put one by one, in {:.1} s; {:.1} s of a processor", put.as_secs_f64(), own_cpu()? - cpu);
    report.bound(PART, "1,000 files of 4 KiB", SMALL as f64 / came.as_secs_f64(), "files/s", words);
    Ok(())
}

async fn listed(phone: &SyncClient, id: sync_client::BlobId) -> Outcome<()> {
    let mut events = phone.events();
    while !phone.files().list().await?.iter().any(|file| file.id == id) {
        timeout(PATIENCE, events.next()).await?.ok_or("the client has ended")?;
    }
    Ok(())
}

/// Whether two files hold the same, read side by side.
pub(crate) fn same(a: &Path, b: &Path) -> Outcome<bool> {
    let read = |path: &Path| std::fs::File::open(path).map(|file| std::io::BufReader::with_capacity(1 << 20, file));
    let (mut a, mut b) = (read(a)?, read(b)?);
    loop {
        let (x, y) = (std::io::BufRead::fill_buf(&mut a)?, std::io::BufRead::fill_buf(&mut b)?);
        let both = x.len().min(y.len());
        if both == 0 {
            return Ok(x.is_empty() && y.is_empty());
        }
        if x[..both] != y[..both] {
            return Ok(false);
        }
        std::io::BufRead::consume(&mut a, both);
        std::io::BufRead::consume(&mut b, both);
    }
}

/// The most bytes that a folder and a file beside it have had on the disk.
struct Peak {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Peak {
    #[expect(clippy::disallowed_methods, reason = "how much there is on the disk, nobody tells")]
    fn of(folder: &Path, file: &Path) -> Self {
        let (most, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (noted, over) = (most.clone(), ended.clone());
        let places = [folder.to_owned(), file.parent().unwrap_or(folder).to_owned()];
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                noted.fetch_max(on_disk(&places[0]) + drafts(&places[1]), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        Self { most, ended, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.most.load(Ordering::Relaxed)
    }
}

/// What is about to become the file that is fetched, and that file.
fn drafts(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let is_one = |name: &str| name == "got" || name.starts_with(".ksync-");
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
        .map(|entry| on_disk_of(&entry.path()))
        .sum()
}

/// How many bytes of the disk a folder takes.
pub(crate) fn on_disk(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { on_disk_of(&entry.path()) })
        .sum()
}

/// How many bytes of the disk a file takes.
pub(crate) fn on_disk_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |found| found.blocks() * 512)
}
