//! A file from one device to another by `ksync`, as somebody at two terminals sees it.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Figures, Place, Small, with_first};
use crate::ksync::{Device, Talk, pair_these};
use crate::process::RelayProcess;
use crate::{Outcome, files};

/// Which way content takes.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Straight from one device to the other: the relay keeps no content, and the sender stays until the receiver has it.
    pub(super) direct: bool,
    /// What a device's program is told besides.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// In which of the two networks the one that fetches is. The other one is in the first, and the relay at the far end: with
    /// the receiver in the first one, content crosses the line to the relay and back, and in the second one once.
    pub(super) receiver: usize,
}

/// Every way that there is.
pub(super) const WAYS: &[Way] = &[
    Way { name: "ksync, direct", direct: true, variables: &[], receiver: 1 },
    Way { name: "ksync by a relay", direct: false, variables: &[("KSYNC_NO_DIRECT", "true")], receiver: 0 },
];

/// A relay and two devices that are paired.
struct Scene {
    relay: RelayProcess,
    laptop: Device,
    phone: Device,
}

async fn scene(place: &Place<'_>, room: &Path, way: Way) -> Outcome<Scene> {
    let (near, far) = (place.through(0), place.through(place.far));
    let listen = format!("{}:0", place.address(place.far));
    // Nobody else is in its network.
    let options: &[&str] = if way.direct { &["--access", "open", "--content", "off"] } else { &["--access", "open"] };
    let listen = (&*listen, options);
    let relay = RelayProcess::start_through(&far, place.relay, &room.join("relay"), listen, &[]).await?;
    let device = |name: &str, through: Vec<String>| {
        let mut device = Device::new(place.ksync, room.join(name));
        (device.through, device.variables) = (through, way.variables);
        device
    };
    let receiver = if way.receiver == 0 { near.clone() } else { far };
    let (laptop, phone) = (device("laptop", near), device("phone", receiver));
    pair_these(&laptop, &phone, &relay.address).await?;
    Ok(Scene { relay, laptop, phone })
}

/// Puts a file, waits until it can be fetched, then fetches it.
pub(super) async fn large(place: &Place<'_>, way: Way, given: &Path) -> Outcome<Figures> {
    let room = place.room("ours")?;
    let Scene { relay, laptop, phone } = scene(place, room.path(), way).await?;
    let before = relay.process.cpu()?;
    let text = given.to_str().ok_or("the folder's name is not UTF-8")?;
    let put = laptop.run(["file", "put", text].into_iter().chain(unwaited(way)), place.bound).await?.well()?;
    let before_giver = Instant::now();
    let giver = giver(&laptop, way).await?;
    let prepare = put.cost.took + before_giver.elapsed();
    let (id, out) = (put.field("file", "id")?, room.path().join("got"));
    let to = out.to_str().ok_or("the folder's name is not UTF-8")?;
    let content = phone.content();
    let (got, first) = with_first(phone.run(["file", "get", &id, "--to", to], place.bound), &content).await;
    let got = got?.well()?;
    let middle = relay.process.cpu()? - before;
    let gave = match giver {
        Some(giver) => giver.cost().await?,
        None => 0.0,
    };
    if !files::same(given, &out)? {
        return Err("what came is not what was put".into());
    }
    relay.process.terminate().await?;
    Ok(Figures {
        prepare,
        receive: got.cost.took,
        first,
        total: prepare + got.cost.took,
        cpu: [put.cost.cpu + gave, middle, got.cost.cpu],
    })
}

/// Where the sender itself hands a file over, nobody waits for a relay.
fn unwaited(way: Way) -> Option<&'static str> {
    way.direct.then_some("--no-wait")
}

/// The sender that is there until the receiver has it, where one has to be.
async fn giver(laptop: &Device, way: Way) -> Outcome<Option<Talk>> {
    if !way.direct {
        return Ok(None);
    }
    let mut giver = laptop.start(["run"])?;
    // Until the other device is told of it, that knows of no such file: over a bad line a put ends before the relay has its record.
    let left = giver.until("status").await?["outbox"].as_u64().unwrap_or_default();
    for _ in 0..left {
        giver.until("accepted").await?;
    }
    Ok(Some(giver))
}

/// Puts many small files while the other device runs, until all are there.
pub(super) async fn small(place: &Place<'_>, way: Way, small: &Small) -> Outcome<Duration> {
    let room = place.room("ours")?;
    let Scene { relay, laptop, phone } = scene(place, room.path(), way).await?;
    let mut coming = phone.start(["run"])?;
    coming.until("status").await?;
    let names: Vec<String> = (0..small.count).map(|n| n.to_string()).collect();
    let arguments = ["file", "put"].into_iter().chain(names.iter().map(String::as_str)).chain(unwaited(way));
    let began = Instant::now();
    let arrived = async {
        for _ in 0..small.count {
            coming.until("file_here").await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed())
    };
    let putting = async {
        laptop.run_in(&small.folder, arguments, place.bound).await?.well()?;
        giver(&laptop, way).await
    };
    let both = timeout(place.bound, async { tokio::try_join!(putting, arrived) });
    let (giver, took) = both.await.map_err(|_| format!("they were not there within {:?}", place.bound))??;
    if let Some(giver) = giver {
        giver.cost().await?;
    }
    coming.interrupt().await?;
    relay.process.terminate().await?;
    Ok(took)
}
