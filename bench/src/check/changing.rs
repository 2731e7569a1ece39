//! A file that changes while it is read: refused, or what comes is one of its states as a whole, and never a mixture.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Bench, Table};
use crate::Outcome;
use crate::devices::PATIENCE;
use crate::ksync::{Device, pair};
use crate::process::Process;

const PART: &str = "changing";
/// How large the file is.
const SIZE: u64 = 32 << 20;
/// What is written at once; each begins with the number of the state that it belongs to.
const BLOCK: usize = 4 << 10;

/// How somebody writes to it.
const WAYS: [(&str, &str); 6] = [
    ("forward", "over what is there, from its beginning"),
    ("backward", "over what is there, from its end"),
    ("truncate", "emptied, then written anew"),
    ("append", "longer at its end"),
    ("rename", "another put in its place"),
    ("kept-time", "over what is there, its time set back"),
];

/// What came of the rounds of one way.
#[derive(Default)]
struct Seen {
    refused: usize,
    whole: usize,
    mixed: usize,
}

pub(super) async fn run(bench: &Bench, rounds: usize, table: &mut Table) -> Outcome<()> {
    let room = bench.room("changing")?;
    let relay = bench.relay(&room).await?;
    let (laptop, _) = pair(&bench.ksync, &room, &relay.address).await?;
    let file = room.join("file");
    // How long a put takes that nobody disturbs, so that some of what is written falls into each part of it.
    let text = file.to_str().ok_or("the folder's name is not UTF-8")?;
    state(&file, 0, SIZE)?;
    let began = Instant::now();
    laptop.call(["file", "put", "--no-wait", text]).await?;
    let undisturbed = began.elapsed();
    for (way, what) in WAYS {
        let began = Instant::now();
        let seen = way_of(&laptop, &file, way, rounds.div_ceil(WAYS.len()), undisturbed).await;
        table.row(PART, what, began, seen);
    }
    relay.process.terminate().await?;
    Ok(std::fs::remove_dir_all(room)?)
}

async fn way_of(laptop: &Device, file: &Path, way: &str, rounds: usize, undisturbed: Duration) -> Outcome<String> {
    let text = file.to_str().ok_or("the folder's name is not UTF-8")?;
    let mut seen = Seen::default();
    for round in 0..rounds {
        let number = 2 * u64::try_from(round)?;
        state(file, number, SIZE)?;
        // So that what was written before the put has another time than what is written while it goes on.
        sleep(Duration::from_millis(100)).await;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let wait = undisturbed.mul_f64(u64::from_le_bytes(random) as f64 / u64::MAX as f64);
        let (new, wait) = ((number + 1).to_string(), wait.as_micros().to_string());
        let mut writer = Process::helper(&["writer", text, way, &new, &wait])?;
        writer.line().await?;
        let (put, written) = tokio::join!(laptop.run(["file", "put", "--no-wait", text], PATIENCE), writer.line());
        written?;
        let put = put?;
        match &put.error {
            Some((code, _)) if code == "FILE_CHANGED" => seen.refused += 1,
            Some((code, message)) => return Err(format!("refused with {code}: {message}").into()),
            None => {
                let (id, out) = (put.field("file", "id")?, file.with_extension("out"));
                let to = out.to_str().ok_or("the folder's name is not UTF-8")?;
                laptop.call(["file", "get", "--force", &id, "--to", to]).await?;
                if is_whole(&out, way)? {
                    seen.whole += 1
                } else {
                    seen.mixed += 1
                }
                std::fs::remove_file(out)?;
                laptop.call(["file", "remove", &id]).await?;
            }
        }
    }
    let Seen { refused, whole, mixed } = seen;
    let text = format!("{rounds} rounds: {refused} refused with FILE_CHANGED, {whole} whole, {mixed} mixed");
    match (mixed, refused) {
        (0, 0) if way != "rename" => Err(format!("nothing was ever refused, so that it shows nothing: {text}").into()),
        (0, _) => Ok(text),
        _ => Err(text.into()),
    }
}

/// Whether a file is one of its states: of one number all through, and as long as that was.
fn is_whole(path: &Path, way: &str) -> Outcome<bool> {
    let length = path.metadata()?.len();
    let mut file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
    let (mut block, mut numbers) = (vec![0; BLOCK], Vec::new());
    for _ in 0..length / BLOCK as u64 {
        file.read_exact(&mut block)?;
        let number = u64::from_le_bytes(block[..8].try_into()?);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(match way {
        // It goes on with what is new: one block of that at a time, each of them a state.
        "append" => numbers.len() <= 2 && length >= SIZE && length.is_multiple_of(BLOCK as u64),
        // Emptied it is a state, too, and so is each part of what is written then, from its beginning.
        "truncate" => numbers.len() <= 1 && length.is_multiple_of(BLOCK as u64),
        _ => numbers.len() == 1 && length == SIZE,
    })
}

/// Makes a file that is in this state.
fn state(path: &Path, number: u64, size: u64) -> Outcome<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let block = block(number);
    for _ in 0..size / BLOCK as u64 {
        file.write_all(&block)?;
    }
    Ok(file.flush()?)
}

fn block(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(BLOCK / 8)
}

/// Within the process that disturbs: waits, and writes.
pub(crate) async fn write(path: PathBuf, way: &str, number: u64, wait_micros: u64) -> Outcome<()> {
    println!("ready");
    sleep(Duration::from_micros(wait_micros)).await;
    let (block, blocks) = (block(number), SIZE / BLOCK as u64);
    let open = || std::fs::OpenOptions::new().write(true).open(&path);
    match way {
        "forward" | "backward" | "kept-time" => {
            let mut file = open()?;
            let before = file.metadata()?.modified()?;
            for n in 0..blocks {
                let n = if way == "backward" { blocks - 1 - n } else { n };
                file.seek(SeekFrom::Start(n * BLOCK as u64))?;
                file.write_all(&block)?;
            }
            if way == "kept-time" {
                file.set_modified(before)?;
            }
        }
        "truncate" => state(&path, number, SIZE)?,
        "append" => {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path)?;
            for _ in 0..blocks / 4 {
                file.write_all(&block)?;
            }
        }
        "rename" => {
            let other = path.with_extension("new");
            state(&other, number, SIZE)?;
            std::fs::rename(other, &path)?;
        }
        _ => return Err("there is no such way to write".into()),
    }
    println!("done");
    Ok(())
}
