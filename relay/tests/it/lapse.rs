//! Members that are silent for too long: what is kept for them, and what they are told when they come back.

use std::sync::Arc;

use sync_relay::mailbox::GroupState;
use sync_relay::store::{MemoryStore, Store};

use crate::support::*;

const DAY: u64 = 24 * 3_600_000;

/// Three devices that were all seen at the first moment.
fn three() -> (Peer, Peer, Peer, World) {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    world.lapse(1);
    (a, b, c, world)
}

#[test]
fn a_silent_member_holds_back_no_envelope_and_every_commit() {
    let (mut a, b, c, mut world) = three();
    let first = a.seal();
    world.push(&a, &[first]).unwrap();
    let held = world.state.counters().newest;
    world.ack(&b, held);
    assert_eq!(world.cursors(&c, 0), [held], "it is away for less than a month, and is waited for");

    for day in 1..30 {
        world.seen(&a, day * DAY);
        world.seen(&b, day * DAY);
        world.lapse(day * DAY);
    }
    assert_eq!((world.cursors(&c, 0), world.state.is_lapsed(c.id)), (vec![held], false));
    world.lapse(30 * DAY + 1);
    assert!(world.state.is_lapsed(c.id) && !world.state.is_lapsed(a.id) && !world.state.is_lapsed(b.id));
    assert_eq!(world.state.counters().entries, 0, "nothing waits for it any more");

    // What comes now goes as soon as B has it; a change of the group stays.
    let second = a.seal();
    world.push(&a, &[second]).unwrap();
    let renew = world.script(&a, &[], &[]);
    world.commit(&a, &renew).unwrap();
    let commit = world.state.counters().newest;
    world.ack_all(&a);
    world.ack_all(&b);
    assert_eq!(world.cursors(&c, 0), [commit]);

    // It is told, until it has acknowledged all that.
    let back = world.attach(&c, 0).unwrap();
    assert_eq!(back.lapsed, Some(commit - 1));
    assert_eq!(world.attach(&a, 0).unwrap().lapsed, None);
    world.seen(&c, 40 * DAY);
    assert!(!world.state.is_lapsed(c.id));
    assert_eq!(world.attach(&c, 0).unwrap().lapsed, Some(commit - 1), "the connection may have broken before it heard");
    world.ack_all(&c);
    assert_eq!(world.attach(&c, 0).unwrap().lapsed, None);
    assert_eq!(world.state.counters().entries, 0);

    // From its return on it is waited for as before.
    a.epoch = world.state.epoch();
    let third = a.seal();
    world.push(&a, &[third]).unwrap();
    world.ack_all(&b);
    assert_eq!(world.state.counters().entries, 1);
}

#[test]
fn where_nobody_else_is_left_to_wait_nothing_is_held_and_the_lapsed_are_told() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.lapse(1);
    world.seen(&a, 30 * DAY);
    world.lapse(30 * DAY + 1);
    let envelope = a.seal();
    let decision = world.push(&a, &[envelope]).unwrap();
    assert_eq!(accepted(&decision), Some(1));
    assert_eq!(world.state.counters().entries, 0);
    assert_eq!(world.attach(&b, 0).unwrap().lapsed, Some(world.state.counters().newest));
}

#[test]
fn who_is_attached_is_never_silent() {
    let (mut a, b, c, mut world) = three();
    world.attached.insert(c.id);
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    world.ack_all(&b);
    world.lapse(100 * DAY);
    assert!(!world.state.is_lapsed(c.id), "it has a connection");
    assert!(world.state.is_lapsed(b.id));
    assert_eq!(world.cursors(&c, 0).len(), 1);
}

#[test]
fn a_relay_that_was_off_or_whose_clock_leapt_takes_nobody_for_silent() {
    let (mut a, b, c, mut world) = three();
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    world.ack_all(&b);
    world.seen(&a, 10 * DAY);
    world.lapse(10 * DAY);
    // It starts again a year later by anybody's clock, from what is on its disk.
    let rows = now(world.store.load(GROUP)).unwrap().unwrap();
    world.state = GroupState::from_rows(rows);
    world.now += 365 * DAY;
    world.timeout();
    world.lapse(10 * DAY + 5);
    assert!([&a, &b, &c].iter().all(|p| !world.state.is_lapsed(p.id)));
    assert_eq!(world.cursors(&c, 0).len(), 1, "nothing was let go of");
    assert_eq!(world.state.next_lapse(world.limits.max_lag_ms), Some(1 + 30 * DAY), "those that were not seen since");
}

#[tokio::test]
async fn the_time_of_a_relay_is_kept_and_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let sqlite = Arc::new(sync_relay::store::sqlite::SqliteStore::open(&path, None).await.unwrap());
    let stores: [Arc<dyn Store>; 2] = [Arc::new(MemoryStore::new()), sqlite];
    for store in stores {
        assert_eq!(store.served().await, Ok(0));
        store.set_served(5_000).await.unwrap();
        store.set_served(4_000).await.unwrap();
        assert_eq!(store.served().await, Ok(5_000));
    }
}

#[test]
fn a_member_that_is_removed_while_it_is_lapsed_sees_its_removal_and_nothing_is_lost_to_others() {
    let (mut a, b, c, mut world) = three();
    world.seen(&a, 30 * DAY);
    world.seen(&b, 30 * DAY);
    world.lapse(30 * DAY + 1);
    let remove = world.script(&a, &[], &[&c]);
    world.commit(&a, &remove).unwrap();
    let removal = world.state.counters().newest;
    a.epoch = world.state.epoch();
    let later = a.seal();
    world.push(&a, &[later]).unwrap();
    world.ack_all(&a);
    world.ack_all(&b);
    assert_eq!(world.cursors(&c, 0), [removal]);
    assert_eq!(world.attach(&c, 0).unwrap().lapsed, None, "it has nothing to fetch");
}
