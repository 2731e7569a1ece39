//! What devices hear when requests of several are decided together and become durable in one transaction.

use std::sync::Arc;

use sync_relay::{Relay, RelayConfig};
use sync_types::frame::{FromRelay, ToRelay};

use crate::device::{Device, Wire, add, founded, pair};
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
    assert_eq!(newcomer.attach(&mut wire, cursor).await.provisional, 1);

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
