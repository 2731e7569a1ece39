//! What members leave for whoever comes with the recovery kit.

use sync_types::frame::{Commit, FromRelay, Mac, SealedSnapshot, SnapshotSlot};
use sync_types::{Code, Opaque, limits};

use crate::support::*;

const KIT: [u8; 32] = [5; 32];
const NEXT: [u8; 32] = [6; 32];

fn left(slot: usize, key: [u8; 32], size: usize) -> SealedSnapshot {
    let mark = u8::try_from(slot).unwrap();
    SealedSnapshot { key, slot: SnapshotSlot([mark; 16]), sealed: Opaque(vec![mark; size]), mac: Mac([mark; 32]) }
}

/// A change of the group after which it has this kit, or none.
fn kit(world: &mut World, by: &Peer, kit: Option<[u8; 32]>, out: &[&Peer]) -> Commit {
    let script = Script { kit, ..world.change(by, &[], out) };
    world.scripted(script, vec![])
}

/// Two devices and the kit that they agreed on.
fn two() -> (Peer, Peer, World) {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    agree_on(&mut world, &a, &b, Some(KIT));
    (a, b, world)
}

fn agree_on(world: &mut World, by: &Peer, other: &Peer, key: Option<[u8; 32]>) {
    let commit = kit(world, by, key, &[]);
    world.commit(by, &commit).unwrap();
    world.ack_all(other);
}

/// The slots in which something lies.
fn slots(world: &World) -> Vec<u8> {
    world.state.rows().snapshots.iter().map(|row| row.slot.0[0]).collect()
}

#[test]
fn only_members_leave_snapshots_and_only_for_the_kit_that_the_group_has() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let one = left(1, KIT, 300);
    world.refused("there is no kit", Code::KitReplaced, |w| w.keep(&a, &one));

    let commit = kit(&mut world, &a, Some(KIT), &[]);
    world.attached.insert(b.id);
    world.commit(&a, &commit).unwrap();
    world.refused("the kit may be undone", Code::Provisional, |w| w.keep(&a, &one));
    world.ack_all(&b);
    let kept = world.keep(&a, &one).unwrap();
    assert!(matches!(kept.reply, Some(FromRelay::KitKept(mac)) if mac == one.mac));
    world.refused("a stranger's", Code::NotMember, |w| w.keep(&Peer::new(3), &left(2, KIT, 300)));
    world.refused("for another kit", Code::KitReplaced, |w| w.keep(&a, &left(2, NEXT, 300)));
    assert_eq!(slots(&world), [1]);

    // With the kit goes what was left for it.
    agree_on(&mut world, &a, &b, Some(NEXT));
    assert_eq!(slots(&world), [0; 0]);
    world.refused("for the former kit", Code::KitReplaced, |w| w.keep(&a, &one));
    world.keep(&b, &left(2, NEXT, 300)).unwrap();
    agree_on(&mut world, &a, &b, None);
    assert_eq!(slots(&world), [0; 0]);
}

#[test]
fn what_is_left_is_bounded_in_size_number_and_bytes() {
    let (a, b, mut world) = two();
    let large = limits::KIT_SNAPSHOT_BYTES;
    world.refused("one byte more", Code::TooLarge, |w| w.keep(&a, &left(0, KIT, large + 1)));
    let fit = limits::KIT_SNAPSHOTS_BYTES / large;
    for slot in 0..fit {
        world.keep(&a, &left(slot, KIT, large)).unwrap();
    }
    world.refused("too many bytes", Code::Quota, |w| w.keep(&b, &left(fit, KIT, large)));
    // A newer one counts in the place of the earlier one.
    world.keep(&a, &left(0, KIT, 300)).unwrap();
    world.keep(&a, &left(1, KIT, large)).unwrap();
    world.keep(&b, &left(fit, KIT, large)).unwrap();

    agree_on(&mut world, &a, &b, Some(NEXT));
    for slot in 0..limits::KIT_SNAPSHOTS {
        world.keep(&a, &left(slot, NEXT, 300)).unwrap();
    }
    world.refused("too many", Code::Quota, |w| w.keep(&b, &left(200, NEXT, 300)));
    world.keep(&a, &left(3, NEXT, 300)).unwrap();
    assert_eq!(slots(&world).len(), limits::KIT_SNAPSHOTS);
}

#[test]
fn what_a_former_member_left_makes_room_and_a_members_does_not() {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    agree_on(&mut world, &a, &b, Some(KIT));
    for slot in 0..limits::KIT_SNAPSHOTS {
        world.keep(&c, &left(slot, KIT, 300)).unwrap();
    }
    world.refused("c is a member", Code::Quota, |w| w.keep(&a, &left(200, KIT, 300)));
    let removal = kit(&mut world, &a, Some(KIT), &[&c]);
    world.commit(&a, &removal).unwrap();
    world.ack_all(&b);
    assert_eq!(slots(&world).len(), limits::KIT_SNAPSHOTS, "nobody needs the room yet");
    for slot in [200, 201] {
        world.keep(&a, &left(slot, KIT, 300)).unwrap();
    }
    let now = slots(&world);
    assert_eq!((now.len(), &now[now.len() - 2..]), (limits::KIT_SNAPSHOTS, &[200, 201][..]));
}
