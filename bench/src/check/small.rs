//! Very many small files at once: all of them arrive.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Bench, Table, alike};
use crate::Outcome;
use crate::devices::PATIENCE;
use crate::ksync::{Device, Talk, pair};

const PART: &str = "small";
/// Between which sizes they are, in bytes.
const LEAST: usize = 1 << 10;
const MOST: usize = 4 << 10;
/// How long all of them may take to be put.
const LONG: Duration = Duration::from_secs(3_600);

pub(super) async fn run(bench: &Bench, count: usize, table: &mut Table) -> Outcome<()> {
    let began = Instant::now();
    let room = bench.room("small")?;
    let seen = carried(bench, &room, count).await;
    table.row(PART, &format!("{count} files of 1 to 4 KiB"), began, seen);
    Ok(std::fs::remove_dir_all(room)?)
}

async fn carried(bench: &Bench, room: &Path, count: usize) -> Outcome<String> {
    let relay = bench.relay(room).await?;
    let (laptop, phone) = pair(&bench.ksync, room, &relay.address).await?;
    let (given, out) = (room.join("given"), room.join("out"));
    std::fs::create_dir(&given)?;
    std::fs::create_dir(&out)?;
    let mut bytes = vec![0; MOST];
    for n in 0..count {
        let size = LEAST + n * 997 % (MOST - LEAST + 1);
        getrandom::fill(&mut bytes[..size])?;
        std::fs::write(given.join(n.to_string()), &bytes[..size])?;
    }
    let mut coming = phone.start(["run"])?;
    coming.until("status").await?;
    let began = Instant::now();
    let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let arguments = ["file", "put"].into_iter().chain(names.iter().map(String::as_str));
    // Once it has failed nothing more comes.
    let putting = async { laptop.run_in(&given, arguments, LONG).await?.well() };
    let (put, came) = tokio::try_join!(putting, arrived(&mut coming, count, began))?;
    let told = put.events.iter().filter(|event| event["event"] == "file" && event["given"] == true).count();
    if told != count {
        return Err(format!("of {count} files the sender told of {told} that the relay has them").into());
    }
    coming.interrupt().await?;
    let written = written(&phone, &given, &out, count).await?;
    relay.process.terminate().await?;
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    Ok(format!(
        "all there, bit for bit; {:.1} files/s from the first put to the last there, put and given at {:.1} files/s, written \
         out at {:.0} files/s",
        rate(came),
        rate(put.cost.took),
        rate(written)
    ))
}

/// When the last of so many was there.
async fn arrived(coming: &mut Talk, count: usize, began: Instant) -> Outcome<Duration> {
    let mut here = 0;
    while here < count {
        let event =
            timeout(PATIENCE, coming.event()).await.map_err(|_| format!("{here} of {count} came, then nothing"))??;
        match event.ok_or("the receiver has ended")? {
            event if event["event"] == "file_here" => here += 1,
            event if event["event"] == "lagged" => return Err("more happened than the receiver could tell".into()),
            _ => {}
        }
    }
    Ok(began.elapsed())
}

/// Writes each of them to a file, by the library: the program writes one a start. Looks at each.
async fn written(phone: &Device, given: &Path, out: &Path, count: usize) -> Outcome<Duration> {
    let client = sync_client::SyncClient::new(sync_client::SyncConfig::at(&phone.home)).await?;
    let began = Instant::now();
    let write = async {
        let files = client.files();
        let listed = files.list().await?;
        for file in &listed {
            files.get(file.id, &out.join(&file.name), PATIENCE, |_, _| ()).await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(listed.len())
    };
    let listed = write.await;
    let took = began.elapsed();
    client.close().await;
    let (listed, entries) = (listed?, std::fs::read_dir(out)?.count());
    if (listed, entries) != (count, count) {
        return Err(format!("of {count} files {listed} are listed and {entries} were written").into());
    }
    for n in 0..count {
        alike(&given.join(n.to_string()), &out.join(n.to_string()))?;
    }
    Ok(took)
}
