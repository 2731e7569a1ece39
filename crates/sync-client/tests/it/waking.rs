//! The background: nothing is open in it, nothing is lost by it, and a wake-up fetches what waits.

use std::time::Duration;

use sync_client::wake::{WebPush, WebPushKeys};
use sync_client::{
    ClientEvent, Code, FilesPolicy, InviteOptions, Mode, ReceiptState, SyncClient, WakeState, WakeTarget,
};

use crate::support::*;

/// How many devices have a session at the relay.
fn sessions(world: &World) -> i64 {
    world.relay.as_ref().unwrap().metrics().sessions.value()
}

async fn until_sessions(world: &World, count: i64) {
    soon("the relay's word that a session is over", async {
        while sessions(world) != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Pushes something, and waits until it waits at the relay.
async fn accepted(client: &SyncClient, text: &str) {
    let receipt = client.push(text).await.unwrap();
    client.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
}

async fn mode(client: &SyncClient) -> Mode {
    client.status().await.unwrap().mode
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_in_the_background_is_connected_to_nothing_until_it_is_woken() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    b.catch_up(SOON).await.unwrap();
    let mut events = b.events();
    let last = b.push("on the way").await.unwrap();
    b.background().await.unwrap();
    // What was pushed just before went with it.
    assert_eq!(receive_texts(&a, 1).await, ["on the way"]);
    until_sessions(&world, 1).await;
    let status = b.status().await.unwrap();
    assert_eq!((status.mode, status.connected, status.trouble), (Mode::Background, false, None));
    assert_eq!(b.doctor().await.unwrap()[0].code, Some(Code::Asleep));
    assert_eq!(b.catch_up(SOON).await.unwrap_err().code, Code::Asleep);
    assert_eq!(b.invite(InviteOptions::default()).await.unwrap_err().code, Code::Asleep);

    let fetched = a.push("while b slept").await.unwrap();
    a.wait(&fetched, ReceiptState::Accepted, SOON).await.unwrap();
    let kept = b.push("from its sleep").await.unwrap();
    assert_eq!(b.receipt_state(kept.id).await.unwrap(), ReceiptState::Queued);
    assert_eq!(sessions(&world), 1);

    let woken = b.wake(SOON).await.unwrap();
    assert!(woken.caught_up && woken.arrived);
    assert_eq!(mode(&b).await, Mode::Background);
    until_sessions(&world, 1).await;
    // It acknowledged, and what it had pushed went along.
    a.wait(&fetched, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["from its sleep"]);
    assert_eq!(receive_texts(&b, 1).await, ["while b slept"]);

    let again = b.wake(SOON).await.unwrap();
    assert!(again.caught_up && !again.arrived);
    b.wait(&last, ReceiptState::Accepted, SOON).await.unwrap();

    b.foreground().await.unwrap();
    for mode in [Mode::Background, Mode::Waking, Mode::Background, Mode::Waking, Mode::Background, Mode::Foreground] {
        let pick = |e: &ClientEvent| if let ClientEvent::Mode(mode) = e { Some(*mode) } else { None };
        assert_eq!(event("the next mode", &mut events, pick).await, mode);
    }
    a.push("to one that is awake").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["to one that is awake"]);
    assert!(b.wake(SOON).await.unwrap().caught_up);
    assert_eq!((mode(&b).await, sessions(&world)), (Mode::Foreground, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_a_push_has_started_begins_asleep() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    b.close().await;
    accepted(&a, "one").await;
    let b = SyncClient::new(world.config("b").in_background(true)).await.unwrap();
    assert_eq!((mode(&b).await, b.status().await.unwrap().connected), (Mode::Background, false));
    assert!(b.wake(SOON).await.unwrap().arrived);
    assert_eq!(receive_texts(&b, 1).await, ["one"]);
    // Several at once share a wake-up, or follow one another; none is lost.
    accepted(&a, "two").await;
    let all = tokio::join!(b.wake(SOON), b.wake(SOON), b.background(), b.wake(SOON));
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok(), "{all:?}");
    assert_eq!(receive_texts(&b, 1).await, ["two"]);
    assert_eq!(mode(&b).await, Mode::Background);

    world.stop_relay().await;
    let error = b.wake(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.code, mode(&b).await), (Code::RelayUnreachable, Mode::Background));
    world.start_relay().await;
    assert!(b.wake(SOON).await.unwrap().caught_up);

    let alone = SyncClient::new(world.config("c").in_background(true)).await.unwrap();
    assert_eq!(alone.wake(SOON).await.unwrap_err().code, Code::NotInGroup);
    // Closing ends it as in the foreground.
    b.close().await;
    assert_eq!(b.wake(SOON).await.unwrap_err().code, Code::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_relay_sleeps_with_its_device() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        sync_client::SyncConfig::at(folder.path().join(name)).device_name(name).embedded_listen(any)
    };
    let (a, b) = (SyncClient::new(config("a")).await.unwrap(), SyncClient::new(config("b")).await.unwrap());
    pair(&a, &b).await;
    b.catch_up(SOON).await.unwrap();
    assert!(a.status().await.unwrap().hosting);
    a.background().await.unwrap();
    assert!(!a.status().await.unwrap().hosting);
    b.push("nobody is there").await.unwrap();
    // Its own relay runs while it is awake, so the other one finds it again.
    a.foreground().await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["nobody is there"]);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_kept_and_each_relay_says_what_becomes_of_it() {
    let world = World::memory().await;
    let a = world.device("a").await;
    a.ensure_group().await.unwrap();
    assert_eq!(a.status().await.unwrap().wake, None);
    let push = |endpoint: &str| {
        let keys = Some(WebPushKeys { p256dh: [4; 65], auth: [1; 16] });
        Some(WakeTarget::WebPush(WebPush { endpoint: endpoint.as_bytes().to_vec().into(), keys }))
    };
    assert_eq!(a.set_wake_target(push("no url")).await.unwrap_err().code, Code::InvalidArgument);
    a.set_wake_target(push("https://push.example.org/s3cret")).await.unwrap();
    // This relay wakes nobody.
    let refused = Some(WakeState::Refused(Code::WakeUnavailable));
    soon("the relay's answer", async {
        while a.status().await.unwrap().wake != refused {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(a.doctor().await.unwrap().iter().any(|finding| finding.code == Some(Code::WakeUnavailable)));
    assert_eq!(a.wake_key(SOON).await.unwrap_err().code, Code::WakeUnavailable);
    a.close().await;
    assert!(!any_file_holds(&world.home("a"), b"push.example.org"), "it is sealed like all else");
    let a = SyncClient::new(world.config("a").in_background(true)).await.unwrap();
    assert_eq!(a.status().await.unwrap().wake, Some(WakeState::Waiting));
    assert_eq!(a.wake_key(SOON).await.unwrap_err().code, Code::Asleep);
    a.set_wake_target(None).await.unwrap();
    assert_eq!(a.status().await.unwrap().wake, None);
    a.close().await;
}

/// More than an envelope takes.
fn large(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_carries_large_blobs_both_ways_before_the_device_sleeps() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    b.catch_up(SOON).await.unwrap();
    b.background().await.unwrap();
    let (theirs, own) = (large(3 << 20), large(2 << 20));
    a.push(theirs.clone()).await.unwrap();
    let kept = b.push(own.clone()).await.unwrap();
    a.push("behind it").await.unwrap();
    let last = a.push("the last").await.unwrap();
    a.wait(&last, ReceiptState::Accepted, SOON).await.unwrap();
    // The bytes may still be on their way to the relay.
    let woken = b.wake(SOON).await.unwrap();
    assert_eq!((woken.caught_up, woken.arrived, mode(&b).await), (true, true, Mode::Background));
    until_sessions(&world, 1).await;
    let found = receive(&b, 3).await;
    assert!(found[0].data == theirs && found[2].data == b"the last");
    assert!(receive(&a, 1).await[0].data == own);
    a.wait(&last, ReceiptState::Delivered, SOON).await.unwrap();
    b.wait(&kept, ReceiptState::Accepted, SOON).await.unwrap();
    // With nothing to carry it sleeps at once.
    let again = b.wake(SOON).await.unwrap();
    assert!(again.caught_up && !again.arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_ends_in_time_though_nobody_gives_the_bytes_and_the_next_one_brings_them() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    b.catch_up(SOON).await.unwrap();
    b.background().await.unwrap();
    a.files().set_policy(FilesPolicy { paused: true, ..BY_RELAY });
    let bytes = large(2 << 20);
    a.push(bytes.clone()).await.unwrap();
    accepted(&a, "behind it").await;
    assert!(!b.wake(Duration::from_secs(1)).await.unwrap().caught_up);
    assert_eq!(mode(&b).await, Mode::Background);
    a.files().set_policy(BY_RELAY);
    let woken = b.wake(SOON).await.unwrap();
    assert_eq!((woken.caught_up, woken.arrived), (true, true));
    assert!(receive(&b, 1).await[0].data == bytes);
    // Whoever wants no bytes now does not stay awake for them.
    b.files().set_policy(FilesPolicy { paused: true, ..BY_RELAY });
    let receipt = a.push(large(4 << 20)).await.unwrap();
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    assert!(b.wake(SOON).await.unwrap().caught_up);
}
