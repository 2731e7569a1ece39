//! Coming in by the recovery key: what members and relay let in, and what they do not.

use sync_core::membership::{Change, Membership, PrepareError, recover};
use sync_core::recovery::vouch;
use sync_rules::mls::Violation;
use sync_rules::{ObserveError, SigningKey, mls, unsigned_group_info};
use sync_types::frame::Cut;
use sync_types::{encode, settings::Settings};

use super::world::*;

/// Three members, whose settings name this recovery key.
fn world(recovery: &SigningKey) -> World {
    let mut world = World::with(3);
    set_key(&mut world, recovery);
    world
}

fn set_key(world: &mut World, recovery: &SigningKey) {
    let settings = Settings { recovery_key: recovery.public().to_vec(), ..settings() };
    let prepared = world.prepare(0, Change::Settings(settings));
    world.order(&prepared);
}

/// The commit of somebody who comes with this recovery key, made from the state that the first member shows.
fn come(world: &World, recovery: &SigningKey, new: &SigningKey) -> (Device, sync_core::membership::Prepared) {
    let info = world.devices[0].group_info().unwrap();
    let state = observer().inspect(&info, new.device_id()).unwrap();
    let made = recover(mls::crypto(), state, recovery, new).unwrap();
    (made.membership, made.prepared)
}

#[test]
fn the_recovery_key_lets_one_device_in_and_that_one_puts_the_others_out() {
    let (recovery, new) = (key(50), key(60));
    let mut world = world(&recovery);
    let (mut back, join) = come(&world, &recovery, &new);
    let (step, applied) = world.order(&join);
    assert!(step.recovered && step.replaced.is_none() && step.removed.is_empty());
    assert_eq!((step.committer, step.added.len()), (new.device_id(), 1));
    assert!(applied.iter().all(|a| a.recovered && a.added == [new.device_id()] && a.replaced.is_none()));

    let remove: Vec<_> = world.devices.iter().map(Membership::device).collect();
    let cut = encode(&Cut {
        last: remove
            .iter()
            .map(|id| sync_types::body::Reached { sender: *id, seq: 0, hash: Default::default() })
            .collect(),
        lost: false,
    });
    let settings = Some(Settings { recovery_key: recovery.public().to_vec(), ..settings() });
    let removal = back.prepare(Change::TakeOver { remove: remove.clone(), settings }, cut, None, NOW).unwrap();
    back.apply(&removal.commit).unwrap();
    let (step, applied) = world.order(&removal);
    assert_eq!((step.removed.len(), step.after.members.len()), (3, 1));
    assert!(applied.iter().all(|a| a.removed_me));
    assert_eq!(back.members().len(), 1);
    assert_eq!(back.epoch(), world.relay.epoch);
}

/// Whoever makes such a commit runs the same rules as who gets it; attacks by those who do not are in `sync-sim`.
#[test]
fn nobody_comes_in_without_the_key_of_now_and_here() {
    let (recovery, other, new) = (key(50), key(51), key(60));
    let mut world = world(&recovery);
    let comes = |world: &World, recovery: &SigningKey| {
        let info = world.devices[1].group_info().unwrap();
        let state = observer().inspect(&info, new.device_id()).unwrap();
        recover(mls::crypto(), state, recovery, &new).map(|made| made.prepared)
    };
    let refused = |world: &World, recovery: &SigningKey| {
        let made = comes(world, recovery).map(drop);
        assert!(matches!(made, Err(PrepareError::Refused(Violation::External))), "{made:?}");
    };
    refused(&world, &other);
    // A commit of an epoch that is over.
    let old = comes(&world, &recovery).unwrap();
    let update = world.prepare(0, Change::SelfUpdate);
    world.order(&update);
    assert!(matches!(world.observe(&old), Err(ObserveError::Stale { .. })));
    // With the key of a kit that was replaced, or when there is none any more.
    set_key(&mut world, &other);
    refused(&world, &recovery);
    assert!(world.observe(&comes(&world, &other).unwrap()).is_ok());
    let prepared = world.prepare(0, Change::Settings(settings()));
    world.order(&prepared);
    refused(&world, &other);
}

#[test]
fn whichever_member_says_it_the_word_for_a_state_is_the_same() {
    let world = World::with(3);
    let key = [7; 32];
    let infos: Vec<Vec<u8>> = world.devices.iter().map(|device| device.group_info().unwrap()).collect();
    let said: Vec<_> = infos.iter().map(|info| vouch(&key, info).unwrap()).collect();
    assert!(infos[0] != infos[1], "each signs for itself");
    assert!(said.iter().all(|mac| *mac == said[0]));
    let unsigned = unsigned_group_info(&infos[0]).unwrap();
    assert_eq!(unsigned, &infos[0][..infos[0].len() - 70]);
    // Not a byte of it can be another.
    for at in (0..unsigned.len()).step_by(97) {
        let mut other = infos[0].clone();
        other[at] ^= 1;
        assert_ne!(vouch(&key, &other), Some(said[0]), "{at}");
    }
    assert_ne!(vouch(&[8; 32], &infos[0]), Some(said[0]));
    assert_eq!(vouch(&key, b"no GroupInfo"), None);
}
