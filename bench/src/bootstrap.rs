//! A newcomer gets what its group has in its log, from a device that is online.

use std::path::Path;
use std::time::Instant;

use sync_client::{ClientEvent, DEFAULT_CHANNEL, Pairing, PairingEvent, ReceiptState, SyncClient};

use crate::devices::{self, PATIENCE};
use crate::process::{Process, RelayProcess};
use crate::report::Report;
use crate::{Outcome, own_cpu};

const PART: &str = "7. bootstrap of a newcomer with 100,000 blobs of history of 200 bytes, from its pairing to synced";
const BLOBS: usize = 100_000;
const BYTES: usize = 200;

pub(crate) async fn run(relay: &Path, folder: &Path, report: &mut Report) -> Outcome<()> {
    let relay = RelayProcess::start(relay, &folder.join("relay")).await?;
    let (of_a, of_b) = (devices::config(folder, "a", &relay.address)?, devices::config(folder, "b", &relay.address)?);
    let (a, b) = devices::pair(&of_a, &of_b).await?;
    let mut last = None;
    for _ in 0..BLOBS / 1_000 {
        last = a.push_many(DEFAULT_CHANNEL, vec![vec![7; BYTES]; 1_000]).await?.pop();
    }
    if let Some(receipt) = last {
        a.wait(&receipt, ReceiptState::Delivered, PATIENCE).await?;
    }
    // One device hands it on; the other one would only take part of the machine.
    b.close().await;

    let mut shown = a.invite(Default::default()).await?;
    let uri = loop {
        match shown.next().await {
            Some(PairingEvent::Uri { uri, .. }) => break uri,
            Some(_) => {}
            None => return Err("the invite ended without a link".into()),
        }
    };
    let home = folder.join("c").to_string_lossy().into_owned();
    let (carried, holder_cpu) = (relay.accepted_bytes().await?, own_cpu()?);
    let mut newcomer = Process::helper(&["newcomer", &relay.address, &home, &uri])?;
    agree(&mut shown).await?;
    let joined = Instant::now();
    newcomer.line().await?;
    let took = joined.elapsed();
    let carried = relay.accepted_bytes().await? - carried;
    let (peak, newcomer_cpu) = (newcomer.peak_memory()?, newcomer.cpu()?);
    let words = format!(
        "{:.2} s of processor for the newcomer, {:.2} s for the device that hands it on",
        newcomer_cpu,
        own_cpu()? - holder_cpu
    );
    report.bound(PART, "time", took.as_secs_f64(), "s", words);
    let plain = (BLOBS * BYTES) as f64;
    let words = format!(
        "{:.1} % more than the blobs themselves; to the relay, and as much from it",
        100.0 * (carried / plain - 1.0)
    );
    report.bound(PART, "envelopes", carried / 1e6, "MB", words);
    report.bound(
        PART,
        "peak memory of the newcomer",
        peak as f64 / 1048576.0,
        "MiB",
        "the whole process (VmHWM)".into(),
    );
    newcomer.stop().await?;
    a.close().await;
    relay.process.stop().await
}

async fn agree(pairing: &mut Pairing) -> Outcome<()> {
    while let Some(event) = pairing.next().await {
        match event {
            PairingEvent::TypeCheck | PairingEvent::Request { .. } => pairing.consent_without_check().await?,
            PairingEvent::Failed(error) => return Err(error.into()),
            PairingEvent::Added { .. } | PairingEvent::Joined { .. } => return Ok(()),
            _ => {}
        }
    }
    Err("the pairing ended without a device".into())
}

/// A newcomer in a process of its own. Says when it has everything, and waits to be looked at.
pub(crate) async fn newcomer(relay: &str, home: &Path, uri: &str) -> Outcome<()> {
    let folder = home.parent().ok_or("the home lies in no folder")?;
    let name = home.file_name().and_then(|name| name.to_str()).ok_or("the home has no name")?;
    let client = SyncClient::new(devices::config(folder, name, relay)?).await?;
    let mut events = client.events();
    let mut pairing = client.join(uri, None).await?;
    agree(&mut pairing).await?;
    let synced = async { while !matches!(events.next().await, Some(ClientEvent::Synced) | None) {} };
    tokio::time::timeout(PATIENCE, synced).await?;
    let got = crate::catch_up::log_length(&client).await?;
    if got < BLOBS {
        return Err(format!("{got} of {BLOBS} blobs came").into());
    }
    println!("synced");
    std::future::pending().await
}
