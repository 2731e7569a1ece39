//! Two relay programs over one PostgreSQL, of which one is killed again and again while content goes through them: what one was
//! given the other one gives, whoever died in between, and in the end the database holds nothing of it.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::{Bench, Table, alike};
use crate::ksync::{Device, pair};
use crate::process::RelayProcess;
use crate::{Outcome, content};

const PART: &str = "nodes";
/// How large a file is: what a device fetches by itself.
const SIZE: u64 = 64 << 20;
/// The relays are one for their devices.
const SECRET: &str = "2222222222222222222222222222222222222222222222222222222222222222";
/// The longest wait before the next kill, about as long as a relay takes to start and be found.
const SOON: Duration = Duration::from_millis(1_500);
/// How often it is looked whether all is deleted.
const LOOK: Duration = Duration::from_millis(200);
/// How long the last of it may take to be deleted: each relay looks once a minute for copies of what the other one deleted.
const DELETED: Duration = Duration::from_secs(150);

/// What a relay is killed during.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    Put,
    Get,
}

pub(super) async fn run(bench: &Bench, store: &str, kills: usize, table: &mut Table) -> Outcome<()> {
    let room = bench.room("nodes")?;
    content::written_of(&room.join("given"), SIZE)?;
    let mut scene = Box::pin(Scene::set(bench, &room, store)).await?;
    for (leg, what) in [(Leg::Put, "either relay, while it is given"), (Leg::Get, "either relay, while it is fetched")]
    {
        let (began, count) = (Instant::now(), kills.div_ceil(2));
        let seen = Box::pin(scene.killed(leg, count)).await;
        table.row(PART, &format!("{what}, {count} times"), began, seen);
    }
    scene.end().await?;
    Ok(std::fs::remove_dir_all(room)?)
}

/// Two relays on ports that they keep, and two devices that know both.
struct Scene<'a> {
    bench: &'a Bench,
    store: &'a str,
    room: &'a Path,
    places: [Place; 2],
    laptop: Device,
    phone: Device,
}

/// Where a relay is; `None`: it was killed.
struct Place {
    data: PathBuf,
    listen: String,
    relay: Option<RelayProcess>,
}

impl Place {
    async fn start(&mut self, program: &Path, store: &str) -> Outcome<()> {
        let arguments = ["--store", store, "--access", "open"];
        let secret = [("KSYNC_RELAY_SECRET", SECRET)];
        self.relay = Some(RelayProcess::start_as(program, &self.data, &self.listen, &arguments, &secret).await?);
        Ok(())
    }
}

impl<'a> Scene<'a> {
    async fn set(bench: &'a Bench, room: &'a Path, store: &'a str) -> Outcome<Self> {
        let place = |name: &str| -> Outcome<Place> {
            let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
            Ok(Place { data: room.join(name), listen: format!("127.0.0.1:{port}"), relay: None })
        };
        let mut places = [place("first")?, place("second")?];
        for place in &mut places {
            place.start(&bench.relay, store).await?;
        }
        let first = places[0].relay.as_ref().ok_or("the relay is gone")?;
        let (laptop, phone) = pair(&bench.ksync, room, &format!("{},{}", first.address, places[1].listen)).await?;
        Ok(Self { bench, store, room, places, laptop, phone })
    }

    /// Files, one after the other, until so many kills have happened while they went.
    async fn killed(&mut self, leg: Leg, kills: usize) -> Outcome<String> {
        let (mut left, mut files, began) = (kills, 0, Instant::now());
        while left > 0 {
            left -= self.file(leg, left).await.map_err(|error| format!("{left} kills were left: {error}"))?;
            files += 1;
        }
        let each = began.elapsed().as_secs_f64() / f64::from(files.max(1));
        self.is_gone().await?;
        Ok(format!("{files} files of 64 MiB, bit for bit, {each:.1} s each; then nothing of them is left"))
    }

    /// One file. Says how many kills there were on its way, so many at the most.
    async fn file(&mut self, leg: Leg, most: usize) -> Outcome<usize> {
        let (given, out) = (self.room.join("given"), self.room.join("got"));
        let [given_text, to] =
            [&given, &out].map(|path| path.to_str().map(str::to_owned).ok_or("the folder's name is not UTF-8"));
        let (given_text, to) = (given_text?, to?);
        let (laptop, phone) = (self.laptop.clone(), self.phone.clone());
        let [on_put, on_get] = match leg {
            Leg::Put => [most, 0],
            Leg::Get => [0, most],
        };
        let (put, killed) = self.under_fire(laptop.call(["file", "put", &given_text]), on_put).await?;
        let id = put.field("file", "id")?;
        let (_, more) = self.under_fire(phone.call(["file", "get", &id, "--to", &to]), on_get).await?;
        alike(&given, &out)?;
        std::fs::remove_file(out)?;
        Ok(killed + more)
    }

    /// Does something while a relay is killed now and then, one after the other, and started again.
    async fn under_fire<T>(&mut self, work: impl Future<Output = Outcome<T>>, most: usize) -> Outcome<(T, usize)> {
        let mut work = std::pin::pin!(work);
        let mut killed = 0;
        loop {
            let mut random = [0; 2];
            getrandom::fill(&mut random)?;
            let wait = SOON * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX);
            tokio::select! {
                done = &mut work => return Ok((done?, killed)),
                () = sleep(wait), if killed < most => {}
            }
            let place = &mut self.places[killed % 2];
            place.relay.take().ok_or("the relay is gone")?.process.stop().await?;
            killed += 1;
            place.start(&self.bench.relay, self.store).await?;
        }
    }

    /// Waits until neither relay has any of it, nor the database.
    async fn is_gone(&self) -> Outcome<()> {
        // They tell the relays that they have it.
        let running = [self.laptop.start(["run"])?, self.phone.start(["run"])?];
        let (mut database, until) = (PgConnection::connect(self.store).await?, Instant::now() + DELETED);
        loop {
            let mut copies = 0.0;
            for place in &self.places {
                copies += place.relay.as_ref().ok_or("the relay is gone")?.metric("ksync_content").await?;
            }
            let parts: i64 = sqlx::query_scalar("SELECT count(*) FROM content_parts").fetch_one(&mut database).await?;
            if copies == 0.0 && parts == 0 {
                break;
            }
            if Instant::now() > until {
                return Err(format!("{copies} copies and {parts} parts are still there").into());
            }
            sleep(LOOK).await;
        }
        for device in running {
            device.interrupt().await?;
        }
        Ok(database.close().await?)
    }

    async fn end(self) -> Outcome<()> {
        for relay in self.places.into_iter().filter_map(|place| place.relay) {
            relay.process.terminate().await?;
        }
        Ok(())
    }
}
