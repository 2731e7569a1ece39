//! The faults of `conventions.md` that a client can have. Faults 3 and 13 lie in the core and the relay, and are tested
//! there too.

use sync_client::{ClientEvent, Code, ReceiptState};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn fault_1_a_client_comes_back_by_itself() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    let mut events = a.events();
    world.lose_relay().await;
    // At least two tries fail before the relay is there again: nobody asks for a third.
    for _ in 0..2 {
        event("a failed try", &mut events, |e| matches!(e, ClientEvent::Disconnected { .. }).then_some(())).await;
    }
    world.start_relay().await;
    event("the connection", &mut events, |e| matches!(e, ClientEvent::Connected).then_some(())).await;
    a.push("back").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_2_a_push_does_not_hide_what_others_pushed_before() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    b.close().await;
    let first = a.push("before").await.unwrap();
    a.wait(&first, ReceiptState::Accepted, SOON).await.unwrap();
    world.stop_relay().await;
    let b = world.device("b").await;
    let own = b.push("own, with a later place in the relay's log").await.unwrap();
    world.start_relay().await;
    b.wait(&own, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_a_backlog_of_many_frames_drains() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    b.close().await;
    // Six times what one frame holds.
    let blobs: Vec<Vec<u8>> = (0..24u8).map(|n| vec![n; 1024 * 1024]).collect();
    let receipts = a.push_many("large", blobs.clone()).await.unwrap();
    a.wait(receipts.last().unwrap(), ReceiptState::Accepted, SOON).await.unwrap();
    let b = world.device("b").await;
    let got: Vec<_> = receive(&b, 24).await.into_iter().map(|blob| blob.data).collect();
    assert!(got == blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_8_delivered_is_said_when_the_other_has_it_and_not_before() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    b.close().await;
    let receipt = a.push("x").await.unwrap();
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Accepted);
    assert_eq!(a.status().await.unwrap().unacknowledged, 1);
    let b = world.device("b").await;
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(a.status().await.unwrap().unacknowledged, 0);
    assert_eq!(receive_texts(&b, 1).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_9_a_retry_is_the_same_blob() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    world.stop_relay().await;
    let receipt = a.push("once").await.unwrap();
    a.close().await;
    // Three starts without a relay, each of which tries.
    for _ in 0..3 {
        let a = world.device("a").await;
        let mut events = a.events();
        event("a failed try", &mut events, |e| matches!(e, ClientEvent::Disconnected { .. }).then_some(())).await;
        a.close().await;
    }
    world.start_relay().await;
    let a = world.device("a").await;
    let last = a.push("and this").await.unwrap();
    let got = receive(&b, 2).await;
    assert_eq!(got.iter().map(|blob| blob.id).collect::<Vec<_>>(), [receipt.id, last.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_both_devices_are_in_one_group() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (at_a, at_b) = (a.status().await.unwrap(), b.status().await.unwrap());
    assert_eq!(at_a.group, at_b.group);
    assert_ne!(at_a.device, at_b.device);
    b.close().await;
    assert_eq!(world.device("b").await.status().await.unwrap().group, at_a.group);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_full_quota_is_told_as_such_and_the_connection_stays() {
    let world = World::with(Way::Memory, |relay| relay.quotas.group_bytes = 40_000).await;
    let (a, b) = world.pair().await;
    b.close().await;
    let mut events = a.events();
    let receipt = a.push(vec![7; 200_000]).await.unwrap();
    let code = event("the refusal", &mut events, |e| match e {
        ClientEvent::Refused { code, .. } => Some(*code),
        ClientEvent::Disconnected { code, .. } => panic!("the connection was dropped: {code}"),
        _ => None,
    });
    assert_eq!(code.await, Code::Quota);
    let status = a.status().await.unwrap();
    assert!(status.connected && status.outbox == 1);
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Queued);
}
