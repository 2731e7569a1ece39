//! A pairing whose two sides have agreed, and whose group is out of reach.

#![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sync_relay::{Relay, RelayConfig};

use crate::engine::opener;
use crate::transport::{LocalRelays, Open};
use crate::{PairingEvent, SyncClient, SyncConfig};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_does_not_wait_for_a_group_that_is_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Arc::new(Relay::start(RelayConfig::in_memory()).await.unwrap());
    let config = SyncConfig::default().local_relay(&relay);
    let a = SyncClient::new(config.clone().home(folder.path().join("a"))).await.unwrap();
    let mut invite = a.invite(Default::default()).await.unwrap();
    let Some(PairingEvent::Uri { uri, .. }) = invite.next().await else { panic!("a link was to come") };

    // To the rendezvous, and never again.
    let (open, used) = (opener(&relay), AtomicBool::new(false));
    let once: Open = Arc::new(move || if used.swap(true, Ordering::AcqRel) { None } else { open() });
    let local = LocalRelays::default();
    local.add(relay.endpoint_id(), once);
    let b = SyncClient::new(SyncConfig { local, ..config.home(folder.path().join("b")) }).await.unwrap();

    let mut join = b.join(&uri, None).await.unwrap();
    while !matches!(invite.next().await.unwrap(), PairingEvent::Request { .. }) {}
    invite.consent_without_check().await.unwrap();
    assert!(matches!(invite.next().await, Some(PairingEvent::Added { .. })));
    while join.next().await.unwrap() != PairingEvent::Agreed {}
    tokio::time::timeout(SOON, join.cancel()).await.expect("the group is not waited for");
    let late = tokio::time::timeout(SOON, join.consent(true)).await.expect("nor for any answer");
    assert_eq!(late.unwrap_err().code, sync_types::Code::PairingUsed);
}
