//! A snapshot takes the place of what it stands for: here, for consumers that come later, and for devices that come later,
//! whoever hands it on to them.

use sync_client::{ClientEvent, Code, ReceiptState, StartAt, SyncClient};

use crate::support::*;

/// Everything of a channel that a new consumer gets: what it says, and whether it is a snapshot.
async fn all(client: &SyncClient, channel: &str) -> Vec<(String, bool)> {
    let mut subscription = client.subscribe("all", Some(channel), StartAt::Start).unwrap().with_own();
    let mut found = Vec::new();
    let last = subscription.newest().await.unwrap();
    while found.last().is_none_or(|(position, _)| *position < last) && last > 0 {
        let blob = soon("a blob of the log", subscription.next()).await.unwrap();
        found.push((blob.position, (String::from_utf8_lossy(&blob.data).into_owned(), blob.snapshot)));
    }
    found.into_iter().map(|(_, blob)| blob).collect()
}

fn said(text: &str) -> (String, bool) {
    (text.to_owned(), false)
}

/// Two devices that have both pushed to a channel, and have all of it; and the position of the last of it.
async fn written(world: &World) -> (SyncClient, SyncClient, u64) {
    let (a, b) = world.pair().await;
    for n in 0..5 {
        a.push_to("notes", format!("a{n}")).await.unwrap();
    }
    a.push_to("other", "elsewhere").await.unwrap();
    // Between two senders there is no order but this one.
    assert_eq!(receive(&b, 6).await.len(), 6);
    let last = b.push_to("notes", "b0").await.unwrap();
    b.wait(&last, ReceiptState::Delivered, SOON).await.unwrap();
    let last = receive(&a, 1).await.pop().unwrap().position;
    let own = a.push_to("notes", "a5").await.unwrap();
    a.wait(&own, ReceiptState::Delivered, SOON).await.unwrap();
    (a, b, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stands_for_what_was_there_and_for_nothing_else() {
    let world = World::memory().await;
    let (a, b, position) = written(&world).await;
    let receipt = a.snapshot("notes", b"a0 to a4 and b0".to_vec(), position).await.unwrap();
    assert_eq!(receipt.replaced, 6);
    let whole = ("a0 to a4 and b0".to_owned(), true);
    assert_eq!(all(&a, "notes").await, [whole.clone(), said("a5")]);
    assert_eq!(all(&a, "other").await, [said("elsewhere")]);
    // Who had all of it gets nothing new, and others keep what they have.
    assert!(a.read("app", Some("notes"), 10).await.unwrap().is_empty());
    let of_b: Vec<_> = all(&b, "notes").await.into_iter().map(|(text, _)| text).collect();
    assert_eq!(of_b, ["a0", "a1", "a2", "a3", "a4", "b0", "a5"]);

    // Once more, over the first; and nothing is there to replace a third time but the second itself.
    let newest = a.push_to("notes", "a6").await.unwrap();
    a.wait(&newest, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(a.snapshot("notes", b"up to a6".to_vec(), newest.position).await.unwrap().replaced, 3);
    assert_eq!(all(&a, "notes").await, [("up to a6".to_owned(), true)]);
    assert_eq!(a.snapshot("empty", b"nothing".to_vec(), newest.position).await.unwrap().replaced, 0);
    assert!(all(&a, "empty").await.is_empty());

    // It outlives a restart.
    a.close().await;
    let a = world.device("a").await;
    assert_eq!(all(&a, "notes").await, [("up to a6".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_not_every_device_has_stays_beside_the_snapshot() {
    let world = World::memory().await;
    let (a, b, _) = written(&world).await;
    b.close().await;
    let waits = a.push_to("notes", "for b, too").await.unwrap();
    a.wait(&waits, ReceiptState::Accepted, SOON).await.unwrap();
    a.snapshot("notes", b"with that".to_vec(), waits.position).await.unwrap();
    assert_eq!(all(&a, "notes").await, [("with that".to_owned(), true), said("for b, too")]);
    let b = world.device("b").await;
    a.wait(&waits, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(receive_texts(&b, 2).await, ["a5", "for b, too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_snapshot_and_hands_it_on_when_its_maker_is_gone() {
    let world = World::memory().await;
    let (a, b, position) = written(&world).await;
    a.snapshot("notes", b"a0 to a4 and b0".to_vec(), position).await.unwrap();
    let c = world.device("c").await;
    let mut events = c.events();
    pair(&a, &c).await;
    event("all history", &mut events, |e| matches!(e, ClientEvent::Synced).then_some(())).await;
    let whole = ("a0 to a4 and b0".to_owned(), true);
    assert_eq!(all(&c, "notes").await, [whole.clone(), said("a5")]);
    assert_eq!(all(&c, "other").await, [said("elsewhere")]);

    // Those who have the blobs themselves go, and with them the maker.
    let (of_a, of_b) = (a.status().await.unwrap().device.unwrap(), b.status().await.unwrap().device.unwrap());
    let mut left = c.events();
    for device in [of_a, of_b] {
        c.remove_device(device).await.unwrap();
        let gone =
            |e: &ClientEvent| matches!(e, ClientEvent::DeviceRemoved { device: d, .. } if d.id == device).then_some(());
        event("the removal", &mut left, gone).await;
    }
    let d = world.device("d").await;
    let mut events = d.events();
    pair(&c, &d).await;
    event("all history", &mut events, |e| matches!(e, ClientEvent::Synced).then_some(())).await;
    assert_eq!(all(&d, "notes").await, [whole, said("a5")]);
    assert_eq!(all(&d, "other").await, [said("elsewhere")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_one_changes_nothing() {
    let world = World::memory().await;
    let (a, _b, position) = written(&world).await;
    let before = all(&a, "notes").await;
    let refused = async |channel: &str, data: Vec<u8>| a.snapshot(channel, data, position).await.unwrap_err().code;
    assert_eq!(refused("notes", vec![]).await, Code::Empty);
    assert_eq!(refused("notes", vec![1; sync_types::limits::LARGE_BLOB_BYTES + 1]).await, Code::TooLarge);
    assert_eq!(refused(&"c".repeat(257), vec![1]).await, Code::InvalidArgument);
    assert_eq!(all(&a, "notes").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_hears_how_far_its_history_is() {
    let world = World::memory().await;
    let (a, _b) = world.pair().await;
    for n in 0..40 {
        let blobs = (0..4).map(|i| vec![n; 60_000 + i]).collect();
        a.push_many("notes", blobs).await.unwrap();
    }
    let last = a.push("last").await.unwrap();
    a.wait(&last, ReceiptState::Delivered, SOON).await.unwrap();
    let c = world.device("c").await;
    let mut events = c.events();
    pair(&a, &c).await;
    let mut steps = Vec::new();
    loop {
        match soon("an event", events.next()).await {
            Some(ClientEvent::HistoryProgress { done, total }) => steps.push((done, total)),
            Some(ClientEvent::Synced) => break,
            Some(_) => {}
            None => panic!("the client is gone"),
        }
    }
    assert!(steps.len() >= 3, "{steps:?}");
    assert!(steps.is_sorted() && steps.iter().all(|(done, total)| done <= total), "{steps:?}");
    assert!(steps.iter().all(|(_, total)| *total == steps[0].1), "{steps:?}");
}
