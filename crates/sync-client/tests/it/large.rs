//! Blobs of 1 to 64 MiB: pushed, received and read as any blob, with the same receipts and in the same order.

use std::time::Duration;

use sync_client::{
    ClientEvent, Code, FilesPolicy, Passphrase, ReceiptState, ReceivedBlob, StartAt, SyncClient, limits,
};

use crate::support::*;

const SMALLEST: usize = limits::BLOB_BYTES + 1;
/// 64 MiB are sealed, carried twice and opened, in a build that is not made for speed.
const LONG: Duration = Duration::from_secs(90);

fn bytes(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8 ^ seed).collect()
}

/// Whether these are those, without a page of numbers if not.
#[track_caller]
fn same(found: &[ReceivedBlob], expected: &[&Vec<u8>]) {
    let sizes: Vec<usize> = found.iter().map(|blob| blob.data.len()).collect();
    assert_eq!(sizes, expected.iter().map(|data| data.len()).collect::<Vec<_>>());
    assert!(found.iter().zip(expected).all(|(blob, data)| blob.data == **data), "other bytes");
}

async fn paused(client: &SyncClient, paused: bool) {
    client.files().set_policy(FilesPolicy { paused, automatic_up_to: 0, ..BY_RELAY });
}

/// What a device that reads a channel from its start gets.
async fn all(client: &SyncClient, channel: &str, count: usize) -> Vec<ReceivedBlob> {
    let mut subscription = client.subscribe("all", Some(channel), StartAt::Start).unwrap().with_own();
    let mut blobs = Vec::new();
    while blobs.len() < count {
        blobs.push(tokio::time::timeout(LONG, subscription.next()).await.expect("a blob in time").unwrap());
    }
    blobs
}

/// Waits until one device has all that the other one has pushed, but for what is carried beside the log; and its word is back.
async fn is_level(from: &SyncClient, to: &SyncClient) {
    from.push_to("ping", "ping").await.unwrap();
    all(to, "ping", 1).await;
    to.push_to("pong", "pong").await.unwrap();
    all(from, "pong", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_them_back_with_their_bytes() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let sent = [bytes(5, 1), bytes(SMALLEST, 2), bytes(3 * limits::BLOB_BYTES, 3), bytes(6, 4)];
    a.push_many("notes", sent.to_vec()).await.unwrap();
    let (file, passphrase) = (world.folder.path().join("backup"), Passphrase::new("correct horse").unwrap());
    let receipt = a.export_backup(&file, &passphrase, |_, _| ()).await.unwrap();
    assert_eq!(receipt.blobs, 4);
    assert!(receipt.bytes as usize > sent.iter().map(Vec::len).sum());
    a.close().await;
    let b = world.device("b").await;
    let receipt = b.import_backup(&file, &passphrase, |_, _| ()).await.unwrap();
    assert_eq!((receipt.blobs, receipt.added), (4, 4));
    same(&all(&b, "notes", 4).await, &sent.iter().collect::<Vec<_>>());
    // What is there already stays, bytes and all.
    assert_eq!(b.import_backup(&file, &passphrase, |_, _| ()).await.unwrap().added, 0);
    let c = world.device("c").await;
    pair(&b, &c).await;
    same(&all(&c, "notes", 4).await, &sent.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn from_1_to_64_mebibytes_come_bit_for_bit_between_small_ones() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    // The size up to which files come by themselves is not for blobs.
    paused(&b, false).await;
    let sent = [bytes(5, 1), bytes(SMALLEST, 2), bytes(6, 3), bytes(limits::LARGE_BLOB_BYTES, 4), bytes(7, 5)];
    let mut subscription = b.subscribe("app", None, StartAt::Position).unwrap();
    let receipts = a.push_many("notes", sent.to_vec()).await.unwrap();
    assert_eq!(receipts.len(), sent.len());
    assert!(receipts.is_sorted_by_key(|receipt| receipt.position));
    let mut found = Vec::new();
    while found.len() < sent.len() {
        found.push(tokio::time::timeout(LONG, subscription.next()).await.expect("a blob in time").unwrap());
    }
    same(&found, &sent.iter().collect::<Vec<_>>());
    assert!(found.iter().zip(&receipts).all(|(blob, receipt)| blob.id == receipt.id && blob.channel == "notes"));
    for receipt in &receipts {
        a.wait(receipt, ReceiptState::Delivered, SOON).await.unwrap();
    }
    // Read a page at a time, of 8 MiB or one blob.
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let page = b.read("reader", Some("notes"), 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.position.max(after);
        assert!(page.len() == 1 || page.iter().map(|blob| blob.data.len()).sum::<usize>() <= 8 << 20);
        b.advance("reader", Some("notes"), after).await.unwrap();
        read.extend(page);
    }
    same(&read, &sent.iter().collect::<Vec<_>>());
    same(&all(&a, "notes", sent.len()).await, &sent.iter().collect::<Vec<_>>());
    assert!(a.files().list().await.unwrap().is_empty() && b.files().list().await.unwrap().is_empty());
    let status = a.status().await.unwrap();
    assert_eq!((status.outbox, status.unacknowledged), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_is_a_blob_whose_bytes_the_others_have() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    paused(&b, true).await;
    let (first, large, last) = (bytes(5, 1), bytes(SMALLEST, 2), bytes(6, 3));
    let before = a.push_to("notes", first.clone()).await.unwrap();
    a.wait(&before, ReceiptState::Delivered, SOON).await.unwrap();
    let receipt = a.push_to("notes", large.clone()).await.unwrap();
    let behind = a.push_to("notes", last.clone()).await.unwrap();
    is_level(&a, &b).await;
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Accepted);
    assert_eq!(a.receipt_state(behind.id).await.unwrap(), ReceiptState::Accepted, "receipts are one after the other");
    assert!(!b.status().await.unwrap().wants_history, "nobody is asked for what is carried");
    same(&b.read("app", Some("notes"), 9).await.unwrap(), &[&first]);
    assert_eq!(b.subscribe("app", Some("notes"), StartAt::Start).unwrap().newest().await.unwrap(), before.position);
    let mut waits = b.subscribe("late", Some("notes"), StartAt::Start).unwrap();
    same(&[soon("what is before it", waits.next()).await.unwrap()], &[&first]);
    let (woken, ()) = tokio::join!(soon("what was awaited", waits.next()), paused(&b, false));
    same(&[woken.unwrap(), soon("the next", waits.next()).await.unwrap()], &[&large, &last]);
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    a.wait(&behind, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_bytes_nobody_has_is_skipped_when_the_app_says_so() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    // Nothing of the bytes goes anywhere.
    paused(&a, true).await;
    let mut events = b.events();
    let receipts = a.push_many("notes", vec![bytes(5, 1), bytes(SMALLEST, 2), bytes(6, 3)]).await.unwrap();
    let missing = async {
        loop {
            if let Some(ClientEvent::FileFailed { id, code: Code::ContentMissing, .. }) = events.next().await {
                break id;
            }
        }
    };
    assert_eq!(soon("word of it", missing).await, receipts[1].id);
    same(&b.read("app", Some("notes"), 9).await.unwrap(), &[&bytes(5, 1)]);
    for other in [receipts[0].id, receipts[2].id, sync_client::BlobId([7; 16])] {
        assert_eq!(b.skip(other).await.unwrap_err().code, Code::InvalidArgument);
    }
    b.skip(receipts[1].id).await.unwrap();
    assert_eq!(b.skip(receipts[1].id).await.unwrap_err().code, Code::InvalidArgument, "it is not waited for");
    same(&b.read("app", Some("notes"), 9).await.unwrap(), &[&bytes(5, 1), &bytes(6, 3)]);
    a.wait(&receipts[2], ReceiptState::Delivered, SOON).await.unwrap();
    // Bytes that can be had later change nothing, nor do a restart and another group member's word.
    paused(&a, false).await;
    b.close().await;
    let b = world.device("b").await;
    is_level(&a, &b).await;
    same(&b.read("app", Some("notes"), 9).await.unwrap(), &[&bytes(5, 1), &bytes(6, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_later_gets_them_from_whoever_has_them() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let sent = [bytes(5, 1), bytes(3 << 20, 2), bytes(6, 3)];
    let receipts = a.push_many("notes", sent.to_vec()).await.unwrap();
    a.wait(&receipts[2], ReceiptState::Delivered, SOON).await.unwrap();
    let relay = world.relay.clone().unwrap();
    soon("the relay's end with it", async {
        while relay.metrics().content_deleted.value() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(relay);
    a.close().await;
    let c = world.device("c").await;
    pair(&b, &c).await;
    same(&all(&c, "notes", 3).await, &sent.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_offline_goes_later_and_after_restarts() {
    let mut world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    world.stop_relay().await;
    let sent = [bytes(SMALLEST, 1), bytes(6, 2)];
    let receipts = a.push_many("notes", sent.to_vec()).await.unwrap();
    assert_eq!(a.receipt_state(receipts[0].id).await.unwrap(), ReceiptState::Queued);
    same(&all(&a, "notes", 2).await, &sent.iter().collect::<Vec<_>>());
    a.close().await;
    let a = world.device("a").await;
    paused(&b, true).await;
    world.start_relay().await;
    is_level(&a, &b).await;
    assert!(b.read("app", Some("notes"), 9).await.unwrap().is_empty());
    a.wait(&receipts[0], ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(a.receipt_state(receipts[0].id).await.unwrap(), ReceiptState::Accepted);
    // The receiver stops in the middle, too.
    b.close().await;
    let b = world.device("b").await;
    b.catch_up(SOON).await.unwrap();
    same(&b.read("app", Some("notes"), 9).await.unwrap(), &[&sent[0]]);
    same(&all(&b, "notes", 2).await, &sent.iter().collect::<Vec<_>>());
    a.wait(&receipts[1], ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_snapshot_is_what_a_newcomer_gets() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let receipts = a.push_many("notes", vec![bytes(5, 1), bytes(SMALLEST, 2)]).await.unwrap();
    a.wait(&receipts[1], ReceiptState::Delivered, SOON).await.unwrap();
    let whole = bytes(2 << 20, 3);
    assert_eq!(a.snapshot("notes", whole.clone(), receipts[1].position).await.unwrap().replaced, 2);
    assert_eq!(a.snapshot("empty", whole.clone(), 99).await.unwrap().replaced, 0);
    let behind = bytes(6, 4);
    let behind_it = a.push_to("notes", behind.clone()).await.unwrap();
    a.wait(&behind_it, ReceiptState::Delivered, SOON).await.unwrap();
    let here = all(&a, "notes", 2).await;
    same(&here, &[&whole, &behind]);
    b.close().await;
    let c = world.device("c").await;
    pair(&a, &c).await;
    let found = all(&c, "notes", 2).await;
    same(&found, &[&whole, &behind]);
    assert!(here[0].snapshot && found[0].snapshot && !found[1].snapshot);
    assert_eq!(found[0].device, a.status().await.unwrap().device.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_64_mebibytes_are_refused_and_change_nothing() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let error = a.push(vec![1; limits::LARGE_BLOB_BYTES + 1]).await.unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
    assert!(error.message.contains("sync.files"), "{}", error.message);
    let many = vec![vec![1], vec![1; SMALLEST], vec![1; limits::LARGE_BLOB_BYTES + 1]];
    assert_eq!(a.push_many("notes", many).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(a.status().await.unwrap().group, None);
    assert!(!world.home("a").join("content").exists());
}
