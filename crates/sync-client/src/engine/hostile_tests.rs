//! A client at a relay that lies: what it hands out twice, alters or makes up has no effect, and is not passed over in
//! silence.

#![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use sync_core::Outcome;
use sync_relay::{LocalConnection, Relay, RelayConfig, RunningRelay};
use sync_types::frame::{self, EntryKind, FromRelay};
use sync_types::{BlobId, Code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::testing::{SOON, pair};
use crate::transport::{LocalRelays, LocalStream, Open};
use crate::{AlertKind, ClientEvent, PairingEvent, ReceiptState, StartAt, SyncClient, SyncConfig};

/// What takes the place of a frame; with a `Break` the connection is over behind it.
type Instead = ControlFlow<Vec<FromRelay>, Vec<FromRelay>>;

/// A way to the relay on which every frame from it goes through `change`.
fn changed(relay: &Arc<RunningRelay>, change: impl Fn(FromRelay) -> Instead + Clone + Send + Sync + 'static) -> Open {
    let relay = Arc::downgrade(relay);
    Arc::new(move || {
        let LocalConnection { reader: mut from, writer: mut to, exporter } = relay.upgrade()?.connect_local();
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut up, mut down) = tokio::io::split(far);
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut up, &mut to).await;
            let _ = to.shutdown().await;
        });
        let change = change.clone();
        tokio::spawn(async move {
            let mut prefix = [0; 4];
            while from.read_exact(&mut prefix).await.is_ok() {
                let mut bytes = vec![0; frame::length(prefix).unwrap()];
                if from.read_exact(&mut bytes).await.is_err() {
                    break;
                }
                let change = change(frame::read(&bytes).unwrap());
                let (ControlFlow::Continue(frames) | ControlFlow::Break(frames)) = &change;
                let bytes: Vec<u8> = frames.iter().flat_map(frame::write).collect();
                if down.write_all(&bytes).await.is_err() {
                    return;
                }
                if change.is_break() {
                    break;
                }
            }
            let _ = down.shutdown().await;
        });
        let (reader, writer) = tokio::io::split(near);
        Some(LocalStream { reader, writer, exporter })
    })
}

/// Two paired devices; the second one is then started again on a way of its own.
async fn honest_and_deceived(
    folder: &std::path::Path,
    change: impl Fn(FromRelay) -> Instead + Clone + Send + Sync + 'static,
) -> (Arc<RunningRelay>, SyncClient, SyncConfig) {
    let relay = Arc::new(Relay::start(RelayConfig::in_memory()).await.unwrap());
    let config = SyncConfig::default().local_relay(&relay);
    let at = |name: &str| config.clone().home(folder.join(name)).device_name(name);
    let a = SyncClient::new(at("a")).await.unwrap();
    let b = SyncClient::new(at("b")).await.unwrap();
    pair(&a, &b).await;
    b.close().await;
    let local = LocalRelays::default();
    local.add(relay.endpoint_id(), changed(&relay, change));
    let deceived = SyncConfig { local, ..at("b") };
    (relay, a, deceived)
}

async fn ids(client: &SyncClient, count: usize) -> Vec<BlobId> {
    let mut subscription = client.subscribe("app", None, StartAt::Position).unwrap();
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(tokio::time::timeout(SOON, subscription.next()).await.unwrap().unwrap().id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_7_a_relay_that_replays_is_not_heard_twice() {
    let folder = tempfile::tempdir().unwrap();
    let twice = |frame: FromRelay| match &frame {
        FromRelay::Deliver(_) => Instead::Continue(vec![frame.clone(), frame]),
        _ => Instead::Continue(vec![frame]),
    };
    let (_relay, a, deceived) = honest_and_deceived(folder.path(), twice).await;
    let mut expected = Vec::new();
    for n in 0..20 {
        let receipt = a.push(format!("{n}")).await.unwrap();
        a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
        expected.push(receipt.id);
    }
    let b = SyncClient::new(deceived).await.unwrap();
    b.catch_up(SOON).await.unwrap();
    assert_eq!(ids(&b, 20).await, expected);
    assert_eq!(b.read("app", None, 100).await.unwrap().len(), 20);
}

/// Many frames come together, and in the midst of them the connection is lost, twice.
#[tokio::test]
async fn frames_from_before_a_lost_connection_count_and_no_blob_comes_twice() {
    const PART: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let passed = Arc::new(Mutex::new(Vec::new()));
    let kept = passed.clone();
    let one_by_one = move |frame: FromRelay| {
        let FromRelay::Deliver(entries) = frame else { return Instead::Continue(vec![frame]) };
        let mut passed = kept.lock().unwrap();
        let room = if passed.len() < 2 * PART { PART - passed.len() % PART } else { usize::MAX };
        let is_over = entries.len() >= room;
        let entries: Vec<_> = entries.into_iter().take(room).collect();
        passed.extend(entries.iter().map(|entry| entry.cursor));
        let frames = entries.into_iter().map(|entry| FromRelay::Deliver(vec![entry])).collect();
        if is_over { Instead::Break(frames) } else { Instead::Continue(frames) }
    };
    let (_relay, a, cut) = honest_and_deceived(folder.path(), one_by_one).await;
    let mut receipts = Vec::new();
    for n in 0..100 {
        receipts.push(a.push(format!("{n}")).await.unwrap());
    }
    a.wait(&receipts[99], ReceiptState::Accepted, SOON).await.unwrap();
    let b = SyncClient::new(cut).await.unwrap();
    assert_eq!(ids(&b, 100).await, receipts.iter().map(|receipt| receipt.id).collect::<Vec<_>>());
    b.catch_up(SOON).await.unwrap();
    assert_eq!(b.read("app", None, 200).await.unwrap().len(), 100);
    let passed = passed.lock().unwrap();
    let entries: BTreeSet<_> = passed.iter().collect();
    assert!(entries.len() > 2 * PART, "it was never cut: {}", entries.len());
    assert_eq!(entries.len(), passed.len(), "what had come did not come again");
}

/// The relay says why it ends a connection and ends it in the same moment.
#[tokio::test]
async fn the_end_of_a_connection_is_told_once_and_with_the_reason_that_the_relay_gave() {
    let folder = tempfile::tempdir().unwrap();
    let left = Arc::new(Mutex::new(5));
    let goes_away = move |frame: FromRelay| {
        let mut left = left.lock().unwrap();
        if !matches!(frame, FromRelay::Attached(_)) || *left == 0 {
            return Instead::Continue(vec![frame]);
        }
        *left -= 1;
        Instead::Break(vec![FromRelay::GoingAway(1)])
    };
    let (_relay, _a, deceived) = honest_and_deceived(folder.path(), goes_away).await;
    let b = SyncClient::new(deceived).await.unwrap();
    let mut events = b.events();
    let mut told = Vec::new();
    let connected = async {
        loop {
            match events.next().await.unwrap() {
                ClientEvent::Connected => break,
                ClientEvent::Disconnected { code, .. } => told.push(code),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, connected).await.unwrap();
    assert_eq!(told, [Code::Draining; 5]);
}

/// Some frames come together, and the disk has no room for what one in the midst of them brought.
#[tokio::test]
async fn nothing_of_a_turn_is_kept_if_the_blobs_of_one_of_its_frames_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let together = move |frame: FromRelay| {
        let mut held = held.lock().unwrap();
        match frame {
            FromRelay::Deliver(entries) => {
                held.extend(entries.into_iter().map(|entry| FromRelay::Deliver(vec![entry])));
                return Instead::Continue(vec![]);
            }
            FromRelay::Attached(_) => held.clear(),
            _ => {}
        }
        held.push(frame);
        Instead::Continue(std::mem::take(&mut held))
    };
    let (_relay, a, whole) = honest_and_deceived(folder.path(), together).await;
    let mut receipts = Vec::new();
    for (blobs, bytes) in [(100, 9), (1, 1_000_000), (300, 9), (300, 9), (300, 9)] {
        receipts.extend(a.push_many("default", vec![vec![7; bytes]; blobs]).await.unwrap());
    }
    a.wait(receipts.last().unwrap(), ReceiptState::Accepted, SOON).await.unwrap();
    let b = SyncClient::new(whole.clone().max_store_bytes(900_000)).await.unwrap();
    let mut events = b.events();
    let failed =
        async { while !matches!(events.next().await.unwrap(), ClientEvent::StoreFailed { code: Code::DiskFull }) {} };
    tokio::time::timeout(SOON, failed).await.unwrap();
    b.close().await;
    let b = SyncClient::new(whole).await.unwrap();
    assert!(ids(&b, receipts.len()).await == receipts.iter().map(|receipt| receipt.id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_3_and_7_an_altered_envelope_is_refused_aloud_and_kept_as_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let altered = |mut frame: FromRelay| {
        if let FromRelay::Deliver(entries) = &mut frame
            && let Some(entry) = entries.iter_mut().find(|e| e.kind == EntryKind::Envelope)
        {
            let last = entry.bytes.0.len() - 1;
            entry.bytes.0[last] ^= 1;
        }
        Instead::Continue(vec![frame])
    };
    let (_relay, a, deceived) = honest_and_deceived(folder.path(), altered).await;
    let receipt = a.push("never seen").await.unwrap();
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    let b = SyncClient::new(deceived).await.unwrap();
    let mut events = b.events();
    b.catch_up(SOON).await.unwrap();
    let told = tokio::time::timeout(SOON, async {
        loop {
            if let ClientEvent::Unusual { outcome, .. } = events.next().await.unwrap() {
                break outcome;
            }
        }
    });
    assert_eq!(told.await.unwrap(), Outcome::Forged);
    assert!(b.read("app", None, 10).await.unwrap().is_empty());
    let findings = b.doctor().await.unwrap();
    let finding = findings.iter().find(|f| f.code == Some(Code::BadSignature)).unwrap();
    assert!(
        finding.detail.contains("«a» is named by 1 envelope") && finding.detail.contains("evidence"),
        "{finding:?}"
    );
    // Told also to an app that was closed by then.
    let warning = b.alerts().await.unwrap().remove(0);
    assert_eq!((warning.kind, warning.code, warning.seen), (AlertKind::Forged, Some(Code::BadSignature), false));
    assert_eq!(warning.text(), "Something came that claims to be from «a», and is not.");
    // What was not accepted counts as not delivered.
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Accepted);
}

/// The member is never attached here, so it agrees and adds nobody: as one that dies in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_is_not_added_says_so_goes_on_after_a_restart_and_may_give_up() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Arc::new(Relay::start(RelayConfig::in_memory()).await.unwrap());
    let config = SyncConfig::default().local_relay(&relay);
    let at = |name: &str| config.clone().home(folder.path().join(name)).device_name(name);
    let local = LocalRelays::default();
    let unattached =
        |frame| Instead::Continue(if matches!(frame, FromRelay::Attached(_)) { vec![] } else { vec![frame] });
    local.add(relay.endpoint_id(), changed(&relay, unattached));
    let a = SyncClient::new(SyncConfig { local, ..at("a") }).await.unwrap();
    let mut b = SyncClient::new(at("b")).await.unwrap();
    let own = b.push("from its own group").await.unwrap();
    let mut invite = a.invite(Default::default()).await.unwrap();
    let Some(PairingEvent::Uri { uri, .. }) = invite.next().await else { panic!("a link was to come") };
    let mut join = b.join(&uri, None).await.unwrap();
    while !matches!(invite.next().await.unwrap(), PairingEvent::Request { .. }) {}
    invite.consent_without_check().await.unwrap();
    while join.next().await.unwrap() != PairingEvent::Agreed {}
    a.close().await;
    for _ in 0..2 {
        let mut events = b.events();
        let refused = async {
            while !matches!(events.next().await.unwrap(), ClientEvent::Disconnected { code: Code::NotMember, .. }) {}
        };
        tokio::time::timeout(SOON, refused).await.unwrap();
        let status = b.status().await.unwrap();
        assert!(status.joining);
        assert_eq!(status.trouble.unwrap().code, Code::NotMember);
        assert_eq!(b.doctor().await.unwrap()[0].code, Some(Code::NotMember));
        b.close().await;
        drop(b);
        b = SyncClient::new(at("b")).await.unwrap();
    }
    b.leave().await.unwrap();
    let status = b.status().await.unwrap();
    assert!(!status.joining && status.group.is_some(), "its own group is still there");
    b.wait(&own, ReceiptState::Accepted, SOON).await.unwrap();
    b.close().await;
    assert!(!SyncClient::new(at("b")).await.unwrap().status().await.unwrap().joining);
}
