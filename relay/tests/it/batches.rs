//! What devices hear when requests of several are decided together and become durable in one transaction.

use std::sync::Arc;

use sync_relay::store::{MemoryStore, Store, StoreError};
use sync_relay::{Relay, RelayConfig};
use sync_types::frame::{About, FromRelay, ToRelay};
use sync_types::{Code, GroupId, Opaque, limits};

use crate::device::{Device, Wire, add, attached, founded, pair, remove};
use crate::gate::Gated;

/// Until everybody waits for somebody else. All that takes part here are tasks of one thread, which run in turn, and a frame
/// passes through a handful of them.
async fn idle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A newcomer that is told it caught up takes a missing Welcome for the word that somebody has removed it.
#[tokio::test]
async fn a_newcomer_gets_its_welcome_before_it_may_look_whatever_shares_the_transaction() {
    let store = Arc::new(Gated::new(2));
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b), mut mls) = founded(async || Wire::local(&relay), b"").await;
    let newcomer = Device::new(3, a.group);
    let change = add(&mut mls, &newcomer);
    drop(mls);
    wire_a.send(&ToRelay::Commit(change.clone())).await;
    let cursor = wire_b.entries(1).await[0].cursor;
    let mut wire = Wire::local(&relay);
    assert!(newcomer.attach(&mut wire, cursor).await.provisional);

    // While the relay waits for the disk: the commit again, which changes nothing, and the word that makes it final.
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    idle().await;
    wire_a.send(&ToRelay::Commit(change)).await;
    idle().await;
    wire_b.acknowledge(cursor).await;
    idle().await;
    store.let_through(1);
    assert!(matches!(wire.receive().await, Some(FromRelay::Welcome(_))));
    assert_eq!(wire.receive().await, Some(FromRelay::CaughtUp(cursor)));
    relay.shutdown().await;
}

#[tokio::test]
async fn a_device_hears_that_it_is_attached_before_it_hears_anything_of_others() {
    let store = Arc::new(Gated::new(1));
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (mut b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    store.let_through(1);
    wire_b.send(&ToRelay::Push(vec![b.seal(300)])).await;
    let entry = wire_a.entries(1).await.remove(0);
    drop(wire_b);

    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    idle().await;
    wire_a.send(&ToRelay::Presence(a.presence())).await;
    wire_a.acknowledge_signed(entry.cursor, &a, &b).await;
    idle().await;
    let mut wire = Wire::local(&relay);
    b.ask_to_attach(&mut wire).await;
    idle().await;
    store.let_through(1);
    assert!(matches!(wire.receive().await, Some(FromRelay::Attached(_))));
    assert!(matches!(wire.receive().await, Some(FromRelay::Receipt(_))), "and not a second time");
    assert!(matches!(wire.receive().await, Some(FromRelay::Deliver(_))));
    relay.shutdown().await;
}

/// Verifying so many signatures takes a good part of a second, and all groups share one writer.
#[tokio::test]
async fn a_push_of_thousands_of_small_envelopes_holds_up_nobody_else() {
    let relay = Relay::start(RelayConfig::in_memory()).await.unwrap();
    let ((mut a, mut wire_a), reader) = pair(async || Wire::local(&relay), b"").await;
    drop(reader);
    let mut other = Device::new(7, GroupId([8; 32]));
    let mut wire = Wire::local(&relay);
    other.create(&mut wire, &other.found(), b"").await;
    attached(&mut wire).await;
    let many: Vec<Opaque> = (0..limits::PUSH_ENVELOPES).map(|_| a.seal(272)).collect();

    wire_a.send(&ToRelay::Push(many)).await;
    // The relay reads the end of it, and begins.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    wire.send(&ToRelay::Push(vec![other.seal(300)])).await;
    wire.accepted(1).await;
    assert_eq!(
        relay.metrics().accepted.value(),
        0,
        "the large one is not through yet, and of a group of one nothing is kept"
    );
    wire_a.accepted(limits::PUSH_ENVELOPES as u64).await;
    relay.shutdown().await;
}

/// A session verifies by the keys of the group as the relay has it, whatever became of it since the session began.
#[tokio::test]
async fn sessions_know_who_joined_later_and_whose_removal_failed() {
    let store = Arc::new(MemoryStore::new());
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((_a, mut wire_a), (mut b, mut wire_b), mut mls) = founded(async || Wire::local(&relay), b"").await;
    let change = remove(&mut mls, &b);
    drop(mls);
    store.fail_next(StoreError::Busy);
    wire_a.send(&ToRelay::Commit(change)).await;
    assert_eq!(wire_a.refusal().await.about, About::Commit);
    // Whatever is asked next, the relay reads the group again first.
    wire_a.settled().await;
    wire_b.send(&ToRelay::Push(vec![b.seal(300)])).await;
    wire_b.accepted(1).await;
    // The first one carries what the second sealed.
    wire_a.send(&ToRelay::Push(vec![b.seal(300)])).await;
    wire_a.accepted(0).await;
    relay.shutdown().await;
}

/// The store says that another relay was quicker: nobody hears of the first time, and everything is done the second time.
#[tokio::test]
async fn what_another_relay_has_overtaken_is_decided_again_and_told_once() {
    let store = Arc::new(MemoryStore::new());
    let stale = || StoreError::Stale(vec![GroupId([5; 32])]);
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    // Making the group is the first that is overtaken, and takes its session along.
    store.fail(3, stale());
    let ((mut a, mut wire_a), (b, mut wire_b), mut mls) = founded(async || Wire::local(&relay), b"").await;
    for n in 1..=5 {
        store.fail(n, stale());
        let envelope = a.seal(300);
        wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
        wire_a.accepted(u64::from(n)).await;
        let entries = wire_b.entries(1).await;
        assert!(entries.len() == 1 && entries[0].bytes == envelope, "once");
        store.fail(n, stale());
        wire_b.acknowledge_signed(entries[0].cursor, &b, &a).await;
        assert!(matches!(wire_a.receive().await, Some(FromRelay::Receipt(_))));
    }
    // That the last witness goes makes a commit final, also if its going has to be taken back at first.
    let newcomer = Device::new(3, a.group);
    wire_a.send(&ToRelay::Commit(add(&mut mls, &newcomer))).await;
    wire_b.entries(1).await;
    store.fail(3, stale());
    drop(wire_b);
    wire_a.expect(|frame| matches!(frame, FromRelay::Confirmed(2)).then_some(())).await;
    let mut wire = Wire::local(&relay);
    store.fail(3, stale());
    assert!(!newcomer.attach(&mut wire, 0).await.provisional);
    wire.expect(|frame| matches!(frame, FromRelay::Welcome(_)).then_some(())).await;
    drop(mls);
    relay.shutdown().await;
}

#[tokio::test]
async fn who_is_overtaken_every_time_is_told_to_come_again() {
    let store = Arc::new(MemoryStore::new());
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    store.fail(u32::MAX, StoreError::Stale(vec![a.group]));
    let envelope = a.seal(300);
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    let refused = wire_a.refusal().await;
    assert_eq!((refused.about, refused.code()), (About::Push, Code::RateLimited));
    assert!(refused.retry_after_ms > 0);
    // Nobody goes unnoticed for all that.
    drop(wire_b);
    store.fail(0, StoreError::Busy);
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    wire_a.accepted(1).await;
    wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, 1).await;
    assert_eq!(wire_b.entries(1).await[0].bytes, envelope);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_is_tidied_once_nobody_asks_for_anything() {
    let store = Arc::new(Gated::new(10));
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), _b) = pair(async || Wire::local(&relay), b"").await;
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    while !matches!(wire_a.receive().await.unwrap(), FromRelay::Accepted(_)) {}
    let limit = std::time::Duration::from_secs(5);
    assert!(tokio::time::timeout(limit, store.tidied()).await.is_ok());
    // And not again as long as nothing changes.
    assert!(tokio::time::timeout(60 * limit, store.tidied()).await.is_err());
    relay.shutdown().await;
}

/// A push that finds no room takes along what shares its transaction, which is done all the same.
#[tokio::test]
async fn on_a_full_disk_only_what_wants_room_is_refused() {
    let store = Arc::new(Gated::new(1));
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    store.let_through(1);
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    wire_a.accepted(1).await;
    let cursor = wire_b.entries(1).await[0].cursor;

    // While the relay waits for the disk, two that share the next transaction.
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    idle().await;
    let refused = a.seal(300);
    wire_a.send(&ToRelay::Push(vec![refused.clone()])).await;
    idle().await;
    wire_b.acknowledge(cursor).await;
    idle().await;
    store.let_through(1);
    wire_a.accepted(2).await;
    wire_b.entries(1).await;
    store.fail_next(StoreError::Full);
    store.let_through(8);
    let refused_with = wire_a.refusal().await;
    assert_eq!((refused_with.about, refused_with.code()), (About::Push, Code::Quota));
    wire_b.settled().await;
    assert_eq!(store.stats().await.unwrap().entries, 1, "what was acknowledged is gone");

    // So there is room at once. While there is none nothing is tried, until something goes.
    wire_a.send(&ToRelay::Push(vec![refused])).await;
    wire_a.accepted(3).await;
    let cursor = wire_b.entries(1).await[0].cursor;
    let refused = a.seal(300);
    store.fail_next(StoreError::Full);
    for _ in 0..2 {
        wire_a.send(&ToRelay::Push(vec![refused.clone()])).await;
        assert_eq!(wire_a.refusal().await.code(), Code::Quota);
    }
    wire_b.acknowledge(cursor).await;
    wire_b.settled().await;
    wire_a.send(&ToRelay::Push(vec![refused])).await;
    wire_a.accepted(4).await;
    relay.shutdown().await;
}
