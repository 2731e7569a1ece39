//! Every size arrives bit for bit, and large files take no more memory than small ones, and no more of the disk than is said.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::usage::Usage;
use super::{Bench, Plan, Table, alike, words};
use crate::ksync::{Cost, Device, pair};
use crate::process::RelayProcess;
use crate::{Outcome, content, files};

const PART: &str = "sizes";
/// What is around chunks of 64 KiB, whose content is 16 bytes shorter, and what is hardly anything.
const EDGES: [u64; 8] = [0, 1, 65_519, 65_520, 65_521, 65_535, 65_536, 65_537];
/// How much more memory a large file may take than a small one.
const FLAT: u64 = 32 << 20;
/// What has to stay free on the disk beside all that is written.
const RESERVE: u64 = 1 << 30;
/// How much of a sparse file is written, in blocks of a mebibyte.
const BLOCKS: u64 = 64;
const BLOCK: usize = 1 << 20;
/// How long one step of a large file may take.
const LONG: Duration = Duration::from_secs(3_600);

/// The most memory of each, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    sender: u64,
    relay: u64,
    receiver: u64,
}

pub(super) async fn run(bench: &Bench, plan: &Plan, table: &mut Table) -> Outcome<()> {
    let small = edges(bench, table).await?;
    for (size, sparse) in [(plan.dense, false), (plan.large, true)] {
        let began = Instant::now();
        let kind = if sparse { "sparse" } else { "every byte written" };
        let (size, note) = match fitting(&bench.folder, size, sparse) {
            Ok(found) => found,
            Err(error) => {
                table.row(PART, &format!("{}, {kind}", words(size)), began, Err(error));
                continue;
            }
        };
        let seen = large(bench, size, sparse, small).await.map(|text| note + &text);
        table.row(PART, &format!("{}, {kind}", words(size)), began, seen);
    }
    Ok(())
}

/// How many bytes are on the disk at once at the most: what the relay and the receiver hold and what the receiver writes, the
/// sender's home being gone by then; and the file itself, unless it is a hole for the most part.
fn wanted(size: u64, sparse: bool) -> u64 {
    let source = if sparse { BLOCKS * BLOCK as u64 } else { size };
    // Sealed and with its hashes it is half a percent longer.
    (3 * size).saturating_add(size / 64).saturating_add(source).saturating_add(RESERVE)
}

/// This size, or the largest power of two below it for which the disk has room; and what there is to say of that.
fn fitting(folder: &Path, asked: u64, sparse: bool) -> Outcome<(u64, String)> {
    let free = fs4::available_space(folder)?;
    let mut size = asked;
    while size > 1 << 20 && wanted(size, sparse) > free {
        size = 1 << (size - 1).ilog2();
    }
    if wanted(size, sparse) > free {
        let least = wanted(size, sparse);
        return Err(
            format!("{least} bytes are wanted in {} and {free} are free: make room there", folder.display()).into()
        );
    }
    let note = if size == asked {
        String::new()
    } else {
        let lacks = wanted(asked, sparse);
        format!("NOT {}: that wants {lacks} bytes of the disk, of which {free} are free. ", words(asked))
    };
    Ok((size, note))
}

/// Small files, and what a file of 64 KiB takes of each one's memory.
async fn edges(bench: &Bench, table: &mut Table) -> Outcome<Memory> {
    let room = bench.room("edges")?;
    let relay = bench.relay(&room).await?;
    let (laptop, phone) = pair(&bench.ksync, &room, &relay.address).await?;
    let (given, got) = (room.join("given"), room.join("got"));
    let mut memory = Memory::default();
    for size in EDGES {
        let began = Instant::now();
        let mut bytes = vec![0; usize::try_from(size)?];
        getrandom::fill(&mut bytes)?;
        std::fs::write(&given, bytes)?;
        let sent = async {
            let put = put(&laptop, &given).await?;
            let got = get(&phone, &put.id, &got, &given).await?;
            memory.sender = memory.sender.max(put.cost.peak);
            memory.receiver = memory.receiver.max(got.peak);
            Ok(put.id)
        };
        let seen = match sent.await {
            Ok(id) => laptop.call(["file", "remove", &id]).await.map(|_| "bit for bit".to_owned()),
            Err(error) => Err(error),
        };
        table.row(PART, &words(size), began, seen);
        let _ = std::fs::remove_file(&got);
    }
    memory.relay = relay.process.peak_memory()?;
    relay.process.terminate().await?;
    std::fs::remove_dir_all(room)?;
    Ok(memory)
}

/// What was put.
struct Put {
    id: String,
    cost: Cost,
}

async fn put(device: &Device, file: &Path) -> Outcome<Put> {
    let arguments = ["file".as_ref(), "put".as_ref(), file.as_os_str()];
    let ran = device.run(arguments, LONG).await?.well()?;
    Ok(Put { id: ran.field("file", "id")?, cost: ran.cost })
}

/// Fetches a file and looks whether it is the one that was given.
async fn get(device: &Device, id: &str, to: &Path, given: &Path) -> Outcome<Cost> {
    let arguments = ["file".as_ref(), "get".as_ref(), id.as_ref(), "--to".as_ref(), to.as_os_str()];
    let ran = device.run(arguments, LONG).await?.well()?;
    alike(given, to)?;
    Ok(ran.cost)
}

async fn large(bench: &Bench, size: u64, sparse: bool, small: Memory) -> Outcome<String> {
    let room = bench.room("large")?;
    // The folder goes whatever comes of it: what lies there is most of the disk.
    let seen = async {
        let relay = bench.relay(&room).await?;
        let seen = carried(bench, &room, &relay, (size, sparse), small).await;
        relay.process.terminate().await?;
        seen
    };
    let seen = seen.await;
    std::fs::remove_dir_all(room)?;
    seen
}

async fn carried(
    bench: &Bench,
    room: &Path,
    relay: &RelayProcess,
    (size, sparse): (u64, bool),
    small: Memory,
) -> Outcome<String> {
    let (laptop, phone) = pair(&bench.ksync, room, &relay.address).await?;
    let (given, out) = (room.join("given"), room.join("out"));
    std::fs::create_dir(&out)?;
    if sparse {
        holed(&given, size)?
    } else {
        content::written_of(&given, size)?
    }

    let usage = Usage::of(vec![laptop.home.clone(), room.join("relay")]);
    let put = put(&laptop, &given).await?;
    let [sender, at_relay] = usage.end()[..] else { return Err("two folders were looked at".into()) };
    // It has done its part: what follows is for a disk that would not hold all three.
    std::fs::remove_dir_all(&laptop.home)?;

    let usage = Usage::of(vec![phone.home.clone(), out.clone(), room.join("relay")]);
    let arguments = ["file", "get", &put.id, "--to", out.to_str().ok_or("the folder's name is not UTF-8")?];
    let came = phone.run(arguments, LONG).await?.well()?;
    let [receiver, written, _] = usage.end()[..] else { return Err("three folders were looked at".into()) };
    alike(&given, &out.join("given"))?;

    let memory = Memory { sender: put.cost.peak, relay: relay.process.peak_memory()?, receiver: came.cost.peak };
    let rate = |cost: &Cost| size as f64 / 1e6 / cost.took.as_secs_f64();
    let (mib, times) = (|bytes: u64| bytes as f64 / f64::from(1 << 20), |bytes: u64| bytes as f64 / size as f64);
    let text = format!(
        "bit for bit; put at {:.0} MB/s, got at {:.0} MB/s; most memory in MiB, beside a small file's: sender {:.0} ({:.0}), \
         relay {:.0} ({:.0}), receiver {:.0} ({:.0}); most of the disk, times the size: put: sender {:.3}, relay {:.3}; \
         get: receiver {:.3} and its output {:.3}",
        rate(&put.cost),
        rate(&came.cost),
        mib(memory.sender),
        mib(small.sender),
        mib(memory.relay),
        mib(small.relay),
        mib(memory.receiver),
        mib(small.receiver),
        times(sender),
        times(at_relay),
        times(receiver),
        times(written),
    );
    let pairs = [
        ("sender", memory.sender, small.sender),
        ("relay", memory.relay, small.relay),
        ("receiver", memory.receiver, small.receiver),
    ];
    match pairs.iter().find(|(_, large, small)| *large > small + FLAT) {
        None => Ok(text),
        Some((who, ..)) => Err(format!("the {who}'s memory is not flat: {text}").into()),
    }
}

/// A file of this size that is a hole but for some blocks: the first, the last, and others wherever chance puts them.
fn holed(path: &Path, size: u64) -> Outcome<()> {
    let mut file = std::fs::File::create(path)?;
    file.set_len(size)?;
    let mut block = vec![0; BLOCK.min(usize::try_from(size)?)];
    let last = size - block.len() as u64;
    for n in 0..BLOCKS {
        getrandom::fill(&mut block)?;
        let mut place = [0; 8];
        getrandom::fill(&mut place)?;
        let at = match n {
            0 => 0,
            1 => last,
            _ => u64::from_le_bytes(place) % (last + 1),
        };
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&block)?;
    }
    file.sync_all()?;
    if files::on_disk_of(path) > size / 2 {
        return Err("this disk keeps no holes".into());
    }
    Ok(())
}
