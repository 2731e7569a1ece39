//! Devices on the real client.

use std::path::Path;
use std::time::Duration;

use sync_client::{PairingEvent, RelayAddress, SyncClient, SyncConfig, SyncError};

use crate::Outcome;

/// How long anything may take before the run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A device's set-up in a folder of its own.
pub(crate) fn config(folder: &Path, name: &str, relay: &str) -> Outcome<SyncConfig> {
    let relay: RelayAddress = relay.parse().map_err(|_| format!("{relay} is no relay's address"))?;
    Ok(SyncConfig::at(folder.join(name)).device_name(name).relay(relay))
}

/// Two devices that share a group, both online and with nothing left to say to each other.
pub(crate) async fn pair(member: &SyncConfig, newcomer: &SyncConfig) -> Outcome<(SyncClient, SyncClient)> {
    let (a, b) = (SyncClient::new(member.clone()).await?, SyncClient::new(newcomer.clone()).await?);
    let mut shown = a.invite(Default::default()).await?;
    let uri = loop {
        match shown.next().await {
            Some(PairingEvent::Uri { uri, .. }) => break uri,
            Some(_) => {}
            None => return Err("the invite ended without a link".into()),
        }
    };
    let mut taken = b.join(&uri, None).await?;
    let member_side = async {
        while let Some(event) = shown.next().await {
            match event {
                PairingEvent::Request { .. } => shown.consent_without_check().await?,
                PairingEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
        Ok::<_, SyncError>(())
    };
    let newcomer_side = async {
        while let Some(event) = taken.next().await {
            match event {
                PairingEvent::TypeCheck | PairingEvent::Request { .. } => taken.consent_without_check().await?,
                PairingEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
        Ok::<_, SyncError>(())
    };
    let (one, other) = tokio::time::timeout(PATIENCE, async { tokio::join!(member_side, newcomer_side) }).await?;
    one?;
    other?;
    for client in [&a, &b] {
        client.catch_up(PATIENCE).await?;
    }
    settle(&a, &b).await?;
    Ok((a, b))
}

/// Waits until names and acknowledgements have gone both ways.
pub(crate) async fn settle(a: &SyncClient, b: &SyncClient) -> Outcome<()> {
    for client in [a, b] {
        let receipt = client.push(b"x".to_vec()).await?;
        client.wait(&receipt, sync_client::ReceiptState::Delivered, PATIENCE).await?;
    }
    Ok(())
}
