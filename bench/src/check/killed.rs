//! Processes that are killed in the middle: each goes on where it was, and asks for less than a group of 16 KiB again that was
//! written.
//!
//! What was written is what lies on the disk of whoever takes it: each group there is held against the sealed content. What is
//! asked for again is told by whoever is asked next: the store itself, where its process was killed and nobody has it open; the
//! relay's count of bytes that came, where the sender was killed; how far the receiver says that it is as it begins anew, where
//! the relay was. What was on its way at the moment of the kill, in the queues of sockets, of QUIC and of the store, was not
//! written, comes once more, and is not in these figures.

use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sync_content::{ContentHash, ContentStore, FolderStore, Held, Options, Sealed, sealed_size};
use tokio::time::{sleep, timeout};

use super::{Bench, Table, alike};
use crate::devices::PATIENCE;
use crate::ksync::{Device, Talk, pair};
use crate::process::RelayProcess;
use crate::{Outcome, content};

const PART: &str = "killed";
/// How large the file is: what a device fetches by itself.
const SIZE: u64 = 64 << 20;
/// What is verified at once, in bytes.
const GROUP: u64 = 16 << 10;
/// How often a process is killed in one file at the most, so that some of it comes each time.
const OF_A_FILE: usize = 12;
/// How often it is looked how much there is.
const LOOK: Duration = Duration::from_millis(1);
/// When nothing more comes of what was on its way.
const STILL: Duration = Duration::from_millis(300);

/// Who is killed, and what the other side does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    SenderGives,
    ReceiverFetches,
    RelayTakes,
    RelayGives,
}

const LEGS: [(Leg, &str); 4] = [
    (Leg::SenderGives, "the sender, while it gives"),
    (Leg::ReceiverFetches, "the receiver, while it fetches"),
    (Leg::RelayTakes, "the relay, while the sender gives"),
    (Leg::RelayGives, "the relay, while the receiver fetches"),
];

/// What was seen at the kills of a leg.
#[derive(Default)]
struct Seen {
    /// How many bytes were written at each kill, and how many of those were asked for again.
    kills: Vec<(u64, u64)>,
    files: usize,
}

pub(super) async fn run(bench: &Bench, kills: usize, table: &mut Table) -> Outcome<()> {
    for (n, (leg, what)) in LEGS.into_iter().enumerate() {
        let count = (kills + LEGS.len() - 1 - n) / LEGS.len();
        let began = Instant::now();
        let room = bench.room("killed")?;
        let seen = Box::pin(Scene::set(bench, &room, leg, count)).await;
        table.row(PART, &format!("{what}, {count} times"), began, seen);
        std::fs::remove_dir_all(room)?;
    }
    Ok(())
}

/// A relay on a port that it keeps, and two devices.
struct Scene<'a> {
    bench: &'a Bench,
    data: PathBuf,
    listen: String,
    relay: Option<RelayProcess>,
    laptop: Device,
    phone: Device,
    room: &'a Path,
    seen: Seen,
}

impl<'a> Scene<'a> {
    async fn set(bench: &'a Bench, room: &'a Path, leg: Leg, count: usize) -> Outcome<String> {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let (data, listen) = (room.join("relay"), format!("127.0.0.1:{port}"));
        let relay = RelayProcess::start_with(&bench.relay, &data, &listen, &[]).await?;
        let (laptop, phone) = pair(&bench.ksync, room, &relay.address).await?;
        let (relay, seen) = (Some(relay), Seen::default());
        let mut scene = Scene { bench, data, listen, relay, laptop, phone, room, seen };
        content::written_of(&room.join("given"), SIZE)?;
        let mut left = count;
        while left > 0 {
            let here = if leg == Leg::SenderGives { 1 } else { left.min(OF_A_FILE) };
            scene.file(leg, here).await.map_err(|error| format!("{} kills were left: {error}", left))?;
            left -= here;
        }
        let relay = scene.relay.take().ok_or("the relay is gone")?;
        relay.process.terminate().await?;
        scene.seen.words()
    }

    /// One file, with so many kills on its way.
    async fn file(&mut self, leg: Leg, kills: usize) -> Outcome<()> {
        let id = match leg {
            Leg::SenderGives => self.sender().await?,
            Leg::ReceiverFetches => self.receiver(kills).await?,
            Leg::RelayTakes => self.relay_takes(kills).await?,
            Leg::RelayGives => self.relay_gives(kills).await?,
        };
        self.fetched(&id).await?;
        self.seen.files += 1;
        Ok(())
    }

    /// Fetches a file that the relay has, or the rest of it, and takes it off the list.
    async fn fetched(&self, id: &str) -> Outcome<()> {
        let out = self.room.join("got");
        let to = out.to_str().ok_or("the folder's name is not UTF-8")?;
        self.phone.call(["file", "get", "--force", id, "--to", to]).await?;
        alike(&self.room.join("given"), &out)?;
        std::fs::remove_file(out)?;
        self.laptop.call(["file", "remove", id]).await?;
        self.phone.call(["file", "list"]).await?;
        Ok(())
    }

    fn given(&self) -> Outcome<String> {
        Ok(self.room.join("given").to_str().ok_or("the folder's name is not UTF-8")?.to_owned())
    }

    fn relay(&self) -> Outcome<&RelayProcess> {
        Ok(self.relay.as_ref().ok_or("the relay is gone")?)
    }

    async fn put(&self) -> Outcome<(String, Coming)> {
        let before = contents(&self.laptop.content());
        let put = self.laptop.call(["file", "put", &self.given()?]).await?;
        let id = put.field("file", "id")?;
        Ok((id, Coming::new(&self.laptop.content(), &before, &self.phone.content())?))
    }

    /// Kills the sender once, and has it give the rest. What came then tells what was asked for again.
    async fn sender(&mut self) -> Outcome<String> {
        let (before, content) = (contents(&self.laptop.content()), self.data.join("content"));
        let putting = self.laptop.start(["file", "put", &self.given()?])?;
        let coming = Coming::appear(&self.laptop.content(), &before, &content).await?;
        coming.until(chance(0, sealed_size(SIZE), 1)?).await?;
        putting.kill().await?;
        coming.is_still().await?;
        let came = coming.came()?;
        let taken = async |relay: &RelayProcess| relay.metric("ksync_content_taken_bytes_total").await;
        let metric = taken(self.relay()?).await?;
        let mut giving = self.laptop.start(["run"])?;
        let given = giving.until("file_given").await?;
        let rest = (taken(self.relay()?).await? - metric) as u64;
        giving.interrupt().await?;
        self.seen.kill(came, (came + rest).checked_sub(coming.sealed).ok_or("more came than the relay counted")?);
        Ok(given["id"].as_str().ok_or("the sender told no id")?.to_owned())
    }

    async fn receiver(&mut self, kills: usize) -> Outcome<String> {
        let (id, coming) = self.put().await?;
        let mut before = 0;
        for left in (1..=kills).rev() {
            let to = self.room.join("got");
            let to = to.to_str().ok_or("the folder's name is not UTF-8")?.to_owned();
            let fetching = self.phone.start(["file", "get", "--force", &id, "--to", &to])?;
            coming.until(chance(before, coming.sealed, left)?).await?;
            fetching.kill().await?;
            before = self.note_held(&coming, &self.phone.content()).await?;
        }
        Ok(id)
    }

    /// What had come and what the next process has of it.
    async fn note_held(&mut self, coming: &Coming, folder: &Path) -> Outcome<u64> {
        let came = coming.came()?;
        let store = FolderStore::open(folder, Options::default()).await?;
        let held = match store.held(Sealed { hash: coming.hash, size: coming.sealed }).await? {
            Held::Nothing => 0,
            Held::Part(bytes) => bytes,
            Held::All => coming.sealed,
        };
        store.close().await?;
        self.seen.kill(came, again(came, held)?);
        Ok(held)
    }

    async fn kill_relay(&mut self) -> Outcome<()> {
        self.relay.take().ok_or("the relay is gone")?.process.stop().await
    }

    async fn restart_relay(&mut self) -> Outcome<()> {
        self.relay = Some(RelayProcess::start_with(&self.bench.relay, &self.data, &self.listen, &[]).await?);
        Ok(())
    }

    async fn relay_takes(&mut self, kills: usize) -> Outcome<String> {
        let (before, content) = (contents(&self.laptop.content()), self.data.join("content"));
        let mut putting = self.laptop.start(["file", "put", &self.given()?])?;
        let coming = Coming::appear(&self.laptop.content(), &before, &content).await?;
        let mut held = 0;
        for left in (1..=kills).rev() {
            coming.until(chance(held, coming.sealed, left)?).await?;
            self.kill_relay().await?;
            held = self.note_held(&coming, &content).await?;
            self.restart_relay().await?;
        }
        let told = putting.until("file").await?;
        putting.finish().await?;
        Ok(told["id"].as_str().ok_or("the sender told no id")?.to_owned())
    }

    async fn relay_gives(&mut self, kills: usize) -> Outcome<String> {
        let (id, coming) = self.put().await?;
        let mut fetching = self.phone.start(["run"])?;
        let mut held = 0;
        for left in (1..=kills).rev() {
            coming.until(chance(held, coming.sealed, left)?).await?;
            self.kill_relay().await?;
            // What it tells before it has noticed is of the transfer that has ended.
            fetching.until("disconnected").await?;
            coming.is_still().await?;
            quiet(&mut fetching).await?;
            let came = coming.came()?;
            self.restart_relay().await?;
            let told = fetching.until("file_progress").await?;
            held = told["done"].as_u64().ok_or("the receiver told no bytes")?;
            self.seen.kill(came, again(came, held)?);
        }
        fetching.until("file_here").await?;
        fetching.interrupt().await?;
        Ok(id)
    }
}

impl Seen {
    fn kill(&mut self, came: u64, again: u64) {
        self.kills.push((came, again));
    }

    fn words(&self) -> Outcome<String> {
        let most = self.kills.iter().map(|(_, again)| *again).max().unwrap_or_default();
        let sum: u64 = self.kills.iter().map(|(_, again)| *again).sum();
        let none = self.kills.iter().filter(|(_, again)| *again == 0).count();
        let parts: Vec<u64> = self.kills.iter().map(|(came, _)| 100 * came / sealed_size(SIZE)).collect();
        let (first, last) = (parts.iter().min().copied().unwrap_or(0), parts.iter().max().copied().unwrap_or(0));
        let text = format!(
            "{} files of 64 MiB, killed between {first} and {last} %, bit for bit; asked for again of what was \
             written: {most} bytes at the most, {sum} in all, none at {none} of {} kills",
            self.files,
            self.kills.len()
        );
        if most < GROUP { Ok(text) } else { Err(format!("a group or more came again: {text}").into()) }
    }
}

/// What of so many bytes that had come is asked for again by one that goes on from so many.
fn again(came: u64, held: u64) -> Outcome<u64> {
    Ok(came.checked_sub(held).ok_or_else(|| format!("{came} bytes are there, and it goes on from {held}"))?)
}

/// Somewhere in what is left, so that something is left for the other kills.
fn chance(before: u64, all: u64, kills: usize) -> Outcome<u64> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    let part = (all - before) / (kills as u64 + 1);
    Ok(before + 1 + u64::from_le_bytes(random) % (part * 3 / 2).max(1))
}

/// Until it has told nothing for a moment.
async fn quiet(talk: &mut Talk) -> Outcome<()> {
    while let Ok(event) = timeout(STILL, talk.event()).await {
        event?.ok_or("ksync has ended")?;
    }
    Ok(())
}

/// The contents of a store's folder, by their names.
fn contents(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("data")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".data").map(str::to_owned)).collect()
}

/// Content that comes to a folder, and where all of it lies.
struct Coming {
    hash: ContentHash,
    sealed: u64,
    whole: PathBuf,
    here: PathBuf,
}

impl Coming {
    /// The content that the first folder has beside these, on its way to the second.
    fn new(from: &Path, before: &[String], to: &Path) -> Outcome<Self> {
        let new: Vec<_> = contents(from).into_iter().filter(|name| !before.contains(name)).collect();
        let [name] = &new[..] else { return Err(format!("{} contents came to lie there", new.len()).into()) };
        let bytes: Vec<u8> = (0..name.len() / 2)
            .map(|at| u8::from_str_radix(&name[2 * at..2 * at + 2], 16))
            .collect::<Result<_, _>>()?;
        let file = |folder: &Path| folder.join("data").join(format!("{name}.data"));
        let (whole, here) = (file(from), file(to));
        let hash = ContentHash::from_slice(&bytes).ok_or("a name that is no hash")?;
        Ok(Self { hash, sealed: sealed_size(SIZE), whole, here })
    }

    /// The same, once it is there.
    async fn appear(from: &Path, before: &[String], to: &Path) -> Outcome<Self> {
        let looking = async {
            loop {
                if let Ok(coming) = Self::new(from, before, to) {
                    return coming;
                }
                sleep(LOOK).await;
            }
        };
        Ok(timeout(PATIENCE, looking).await.map_err(|_| "nothing was sealed")?)
    }

    /// How many bytes of the disk it takes.
    fn taken(&self) -> u64 {
        self.here.metadata().map_or(0, |found| found.blocks() * 512)
    }

    /// Waits until about so many bytes are there.
    async fn until(&self, bytes: u64) -> Outcome<()> {
        let looking = async {
            while self.taken() < bytes {
                sleep(LOOK).await;
            }
        };
        Ok(timeout(PATIENCE, looking)
            .await
            .map_err(|_| format!("{} of {bytes} bytes came, then nothing", self.taken()))?)
    }

    async fn is_still(&self) -> Outcome<()> {
        for _ in 0..100 {
            let before = (self.taken(), self.came()?);
            sleep(STILL).await;
            if before == (self.taken(), self.came()?) {
                return Ok(());
            }
        }
        Err("content goes on coming from nowhere".into())
    }

    /// How many bytes of it are there, in groups that are as they should be.
    fn came(&self) -> Outcome<u64> {
        let Ok(mut here) = std::fs::File::open(&self.here) else { return Ok(0) };
        let mut whole = std::fs::File::open(&self.whole)?;
        let (mut x, mut y, mut came) = (Vec::new(), Vec::new(), 0);
        loop {
            x.clear();
            y.clear();
            whole.by_ref().take(GROUP).read_to_end(&mut x)?;
            here.by_ref().take(GROUP).read_to_end(&mut y)?;
            if x.is_empty() {
                return Ok(came);
            }
            if x == y {
                came += x.len() as u64;
            }
        }
    }
}
