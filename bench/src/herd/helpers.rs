//! The processes that hold the devices. Each says `ready`, and when all of its devices are back after the relay has restarted, one
//! line of JSON with how it went.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use iroh::{Endpoint, EndpointAddr};
use serde::{Deserialize, Serialize};
use sync_client::{ClientEvent, DEFAULT_CHANNEL, StartAt, SyncClient};
use sync_types::frame::EntryKind;
use tokio::task::JoinSet;

use super::now_ms;
use super::session::{Device, Ended, SEALED, Session, backoff, pair, within};
use crate::{Outcome, devices};

/// How long one try to connect and attach may take.
const TRY: Duration = Duration::from_secs(30);

/// How the devices of a process came back.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Returned {
    /// When each had what waited for it, in milliseconds since the Unix epoch.
    pub(super) back_ms: Vec<u64>,
    /// How often each tried.
    pub(super) tries: Vec<u32>,
    /// What the relay refused, and how often.
    pub(super) refused: BTreeMap<String, u32>,
    /// How often a connection did not come about or broke.
    pub(super) lost: u32,
}

impl Returned {
    pub(super) fn add(&mut self, other: Self) {
        self.back_ms.extend(other.back_ms);
        self.tries.extend(other.tries);
        self.lost += other.lost;
        for (code, times) in other.refused {
            *self.refused.entry(code).or_default() += times;
        }
    }
}

/// Many devices without an engine, two to a group. Each has been shown a blob that it did not acknowledge: that waits for it.
pub(crate) async fn sessions(relay: &str, pairs: usize) -> Outcome<()> {
    let to = super::endpoint_of(relay)?;
    let mut held = Vec::new();
    for _ in 0..pairs {
        let [(mut first, near, mut one), (mut second, far, mut other)] = pair(&to).await?;
        let shown = async {
            first.push(&mut one, SEALED).await?;
            other.entry(EntryKind::Envelope).await?;
            second.push(&mut other, SEALED).await?;
            one.entry(EntryKind::Envelope).await
        };
        shown.await.map_err(Ended::into_error)?;
        held.extend([(first, near, one), (second, far, other)]);
    }
    println!("ready");
    let mut coming = JoinSet::new();
    for (device, endpoint, session) in held {
        coming.spawn(come_back(device, endpoint, session, to.clone()));
    }
    let mut all = Returned::default();
    let mut kept = Vec::new();
    while let Some(came) = coming.join_next().await {
        let (held, one) = came??;
        kept.push(held);
        all.add(one);
    }
    println!("{}", serde_json::to_string(&all)?);
    std::future::pending().await
}

/// Waits until the session ends, and comes back as a client does until it has what waits for it.
async fn come_back(
    device: Device,
    endpoint: Endpoint,
    mut session: Session,
    to: EndpointAddr,
) -> Outcome<((Endpoint, Session), Returned)> {
    let mut came = Returned::default();
    let (mut failures, mut tries) = (0, 0);
    let mut ended = loop {
        if let Err(ended) = session.frame().await {
            break ended;
        }
    };
    session.end();
    loop {
        let at_least = match &ended {
            Ended::Refused(code, at_least) => {
                *came.refused.entry(code.to_string()).or_default() += 1;
                *at_least
            }
            Ended::Lost => Duration::ZERO,
        };
        tokio::time::sleep(backoff(failures, at_least)?).await;
        failures += 1;
        tries += 1;
        match attempt(&device, &endpoint, &to).await {
            Ok(session) => {
                came.back_ms.push(now_ms()?);
                came.tries.push(tries);
                return Ok(((endpoint, session), came));
            }
            Err(why) => {
                came.lost += u32::from(matches!(why, Ended::Lost));
                ended = why;
            }
        }
    }
}

async fn attempt(device: &Device, endpoint: &Endpoint, to: &EndpointAddr) -> Result<Session, Ended> {
    let until = Instant::now() + TRY;
    let mut session = within(until, Session::connect(endpoint, to)).await.unwrap_or(Err(Ended::Lost))?;
    let fetch = async {
        device.attach(&mut session).await?;
        let entry = session.entry(EntryKind::Envelope).await?;
        session.acknowledge(entry.cursor).await
    };
    match within(until, fetch).await.unwrap_or(Err(Ended::Lost)) {
        Ok(()) => Ok(session),
        Err(ended) => {
            session.end();
            Err(ended)
        }
    }
}

/// Many whole clients, two to a group. Each pushes a blob when it has lost the relay, and is back when it has the other's.
pub(crate) async fn engines(relay: &str, pairs: usize, folder: &Path) -> Outcome<()> {
    let mut held = Vec::new();
    for n in 0..pairs {
        let config = |side: &str| devices::config(folder, &format!("{side}-{n}"), relay);
        let (a, b) = devices::pair(&config("a")?, &config("b")?).await?;
        held.extend([a, b]);
    }
    println!("ready");
    let mut coming = JoinSet::new();
    for client in held {
        coming.spawn(engine_comes_back(client));
    }
    let mut all = Returned::default();
    let mut kept = Vec::new();
    while let Some(came) = coming.join_next().await {
        let (client, tries) = came??;
        kept.push(client);
        all.back_ms.push(now_ms()?);
        all.tries.push(tries);
    }
    println!("{}", serde_json::to_string(&all)?);
    std::future::pending().await
}

async fn engine_comes_back(client: SyncClient) -> Outcome<(SyncClient, u32)> {
    let mut events = client.events();
    let mut blobs = client.subscribe("herd", Some(DEFAULT_CHANNEL), StartAt::Position)?;
    // One came when the two were set up.
    blobs.next().await?;
    while !matches!(events.next().await, Some(ClientEvent::Disconnected { .. }) | None) {}
    client.push(vec![7; 27]).await?;
    let mut tries = 1;
    let mut count = async || {
        while let Some(event) = events.next().await {
            tries += u32::from(matches!(event, ClientEvent::Disconnected { .. }));
        }
    };
    tokio::select! {
        blob = blobs.next() => drop(blob?),
        () = count() => return Err("the client has closed".into()),
    }
    Ok((client, tries))
}
