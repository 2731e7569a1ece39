//! What is pushed reaches every other device, exactly once into its log, and is handed out at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sync_client::{ClientEvent, ReceiptState, StartAt, SyncClient};
use tokio::sync::mpsc;

use crate::support::*;

async fn both_ways(way: Way) {
    let world = World::new(way).await;
    let (a, b) = world.pair().await;
    let receipt = a.push("from a").await.unwrap();
    b.push_to("other", "from b").await.unwrap();
    let at_b = receive(&b, 1).await;
    assert_eq!((at_b[0].id, &at_b[0].data[..], at_b[0].channel.as_str()), (receipt.id, &b"from a"[..], "default"));
    let at_a = receive(&a, 1).await;
    assert_eq!((&at_a[0].data[..], at_a[0].channel.as_str()), (&b"from b"[..], "other"));
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Delivered);
    // Own blobs are not echoed.
    assert!(a.read("second", None, 10).await.unwrap().iter().all(|blob| blob.id != receipt.id));
    let status = a.status().await.unwrap();
    assert_eq!((status.connected, status.outbox, status.devices.len(), status.trouble), (true, 0, 2, None));
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_keep_each_other_in_sync_in_memory() {
    both_ways(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_keep_each_other_in_sync_over_quic() {
    both_ways(Way::Quic).await;
}

/// A frame of the relay holds more of such envelopes than a device opens at once.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_envelopes_come_each_once_and_in_order() {
    let world = World::memory().await;
    let (a, b) = (SyncClient::new(world.config("a").max_blobs_per_envelope(1)).await.unwrap(), world.device("b").await);
    pair(&a, &b).await;
    b.close().await;
    let lines: Vec<String> = (0..2_500).map(|n| format!("line {n}")).collect();
    let blobs = lines.iter().map(|line| line.clone().into_bytes()).collect();
    let last = a.push_many("text", blobs).await.unwrap().pop().unwrap();
    a.wait(&last, ReceiptState::Accepted, SOON).await.unwrap();
    let b = world.device("b").await;
    b.catch_up(SOON).await.unwrap();
    assert_eq!(receive_texts(&b, lines.len()).await, lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_offline_catches_up_in_order() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    b.close().await;
    let lines: Vec<String> = (0..2_000).map(|n| format!("line {n}")).collect();
    for chunk in lines.chunks(100) {
        a.push_many("text", chunk.iter().map(|l| l.clone().into_bytes()).collect()).await.unwrap();
    }
    let b = world.device("b").await;
    b.catch_up(SOON).await.unwrap();
    assert_eq!(receive_texts(&b, 2_000).await, lines);
    assert!(b.read("app", None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_share_turns_and_keep_their_order() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let pushes = (0..500).map(|n| {
        let a = a.clone();
        tokio::spawn(async move { a.push(format!("{n}")).await.unwrap() })
    });
    let mut receipts = Vec::new();
    for push in pushes.collect::<Vec<_>>() {
        receipts.push(push.await.unwrap());
    }
    let mut blobs = receive(&b, 500).await;
    receipts.sort_by_key(|r| r.position);
    let order: Vec<_> = receipts.iter().map(|r| r.id).collect();
    assert_eq!(blobs.iter().map(|b| b.id).collect::<Vec<_>>(), order);
    blobs.dedup_by_key(|b| b.id);
    assert_eq!(blobs.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_a_blob_again_until_it_takes_it() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let mut events = b.events();
    let (sender, mut taken) = mpsc::channel(8);
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let task = b
        .subscribe_with("app", Some("notes"), StartAt::Position, move |blob| {
            let (sender, n) = (sender.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                if n == 0 {
                    return Err("not yet");
                }
                sender.send(blob).await.map_err(|_| "gone")
            }
        })
        .unwrap();
    a.push_to("elsewhere", "no").await.unwrap();
    a.push_to("notes", "one").await.unwrap();
    a.push_to("notes", "two").await.unwrap();
    let first = soon("the first blob", taken.recv()).await.unwrap();
    let second = soon("the second blob", taken.recv()).await.unwrap();
    assert_eq!((&first.data[..], &second.data[..]), (&b"one"[..], &b"two"[..]));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    let failed = event("the failure's event", &mut events, |e| match e {
        ClientEvent::HandlerFailed { id, attempts, .. } => Some((*id, *attempts)),
        _ => None,
    });
    assert_eq!(failed.await, (first.id, 1));
    drop(task);
    // A replay begins at the first again, whatever the consumer has had.
    let mut replay = b.subscribe("app", Some("notes"), StartAt::Start).unwrap();
    assert_eq!(soon("the replay", replay.next()).await.unwrap().id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_reaches_who_is_there_and_is_never_stored() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.catch_up(SOON).await.unwrap();
    b.catch_up(SOON).await.unwrap();
    let mut events = b.events();
    a.presence_set("doc", "cursor-planted-presence").await.unwrap();
    let seen = event("presence", &mut events, |e| match e {
        ClientEvent::Presence { device, channel, data } => Some((device.name.clone(), channel.clone(), data.clone())),
        _ => None,
    });
    assert_eq!(seen.await, (Some("a".into()), "doc".into(), b"cursor-planted-presence".to_vec()));
    assert!(b.read("app", None, 10).await.unwrap().is_empty());
    b.close().await;
    a.close().await;
    assert!(!any_file_holds(world.folder.path(), b"cursor-planted-presence"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_into_the_log_however_often_the_relay_dies() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    let mut expected = Vec::new();
    for round in 0..6 {
        for n in 0..20 {
            let text = format!("{round}.{n}");
            a.push(text.clone()).await.unwrap();
            expected.push(text);
        }
        // As after a crash: whatever was on its way is sent again.
        world.lose_relay().await;
        for n in 20..30 {
            let text = format!("{round}.{n}");
            a.push(text.clone()).await.unwrap();
            expected.push(text);
        }
        world.start_relay().await;
    }
    assert_eq!(receive_texts(&b, expected.len()).await, expected);
    a.catch_up(SOON).await.unwrap();
    b.catch_up(SOON).await.unwrap();
    assert!(b.read("app", None, 10).await.unwrap().is_empty());
}
