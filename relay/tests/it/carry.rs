//! Acknowledgements of a member that never comes to this relay, brought by another.

use sync_relay::mailbox::{Decision, Notice, Stated};
use sync_types::body::Span;
use sync_types::frame::Acknowledge;
use sync_types::{Code, Opaque};

use crate::support::*;

const DAY: u64 = 24 * 3_600_000;

/// Three devices that were all seen at the first moment.
fn three() -> (Peer, Peer, Peer, World) {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    world.lapse(1);
    (a, b, c, world)
}

/// Who is told of a statement.
fn told(decision: &Decision) -> Vec<sync_types::DeviceId> {
    let to = |notice: &Notice| match notice {
        Notice::Receipt { to, .. } => Some(*to),
        _ => None,
    };
    decision.notices.iter().filter_map(to).collect()
}

/// What a device has acknowledged itself.
fn cursor_of(world: &World, peer: &Peer) -> u64 {
    world.state.rows().members.iter().find(|m| m.device == peer.id).unwrap().acknowledged
}

#[test]
fn what_a_carried_acknowledgement_covers_is_not_waited_for() {
    let (mut a, mut b, c, mut world) = three();
    for _ in 0..3 {
        let envelope = a.seal();
        world.push(&a, &[envelope]).unwrap();
    }
    let after_three = a.reached();
    let fourth = a.seal();
    world.push(&a, &[fourth]).unwrap();
    let of_b = b.seal();
    world.push(&b, &[of_b]).unwrap();
    world.ack_all(&a);
    world.ack_all(&b);
    let held = world.cursors(&c, 0);
    assert_eq!(held.len(), 5);

    // C was met elsewhere, and had three of A's and one of B's then.
    let decision = world.carry(&b, &c.statement(vec![after_three, b.reached()]), 2).unwrap();
    assert_eq!(told(&decision), [a.id, b.id]);
    assert_eq!(world.cursors(&c, 0), held[3..4], "the fourth is not covered");
    // It may come here after all, and says where it stands by itself.
    assert!(cursor_of(&world, &c) < held[0]);
    world.attach(&c, 0).unwrap();
    world.ack_all(&c);
    assert_eq!(world.state.rows().index, []);

    // What it has signed for before it came here is not waited for when it comes.
    let (fifth, sixth) = (a.seal(), a.seal());
    world.carry(&b, &c.statement(vec![a.reached()]), 3).unwrap();
    world.push(&a, &[fifth, sixth]).unwrap();
    world.ack_all(&b);
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn a_hole_and_another_chain_are_waited_for_and_too_little_is_taken_behind_a_gap() {
    let (mut a, b, c, mut world) = three();
    let sealed: Vec<Opaque> = (0..4).map(|_| a.seal()).collect();
    world.push(&a, &sealed).unwrap();
    world.ack_all(&b);
    let held = world.cursors(&c, 0);
    let hole = Span { sender: a.id, from: 3, to: 3 };
    world.carry(&b, &c.statement_with(vec![a.reached()], vec![hole]), 2).unwrap();
    assert_eq!(world.cursors(&c, 0), held[2..], "the blobs of the third are not with C");

    let other = sync_types::body::Reached { hash: sync_types::EntryHash([9; 32]), ..a.reached() };
    world.carry(&b, &c.statement(vec![other]), 2).unwrap();
    assert_eq!(world.cursors(&c, 0), held[2..], "C has another fourth one than this relay");
    world.carry(&b, &c.statement(vec![a.reached()]), 2).unwrap();
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn changes_of_the_group_wait_for_the_device_itself() {
    let (mut a, b, c, mut world) = three();
    let renew = world.script(&a, &[], &[]);
    world.commit(&a, &renew).unwrap();
    let commit = world.state.counters().newest;
    world.ack_all(&a);
    world.ack_all(&b);
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    world.ack_all(&b);
    world.carry(&b, &c.statement(vec![a.reached()]), 2).unwrap();
    assert_eq!(world.cursors(&c, 0), [commit], "it says nothing of changes");
    world.ack_all(&c);
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn news_of_a_member_are_a_sign_of_life_and_what_it_said_before_is_none() {
    let (mut a, b, c, mut world) = three();
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    let once = c.statement(vec![a.reached()]);
    world.carry(&b, &once, 20 * DAY).unwrap();
    for peer in [&a, &b] {
        world.seen(peer, 49 * DAY);
    }
    world.lapse(49 * DAY);
    assert!(!world.state.is_lapsed(c.id), "it was heard of on the twentieth day");

    let again = world.carry(&b, &once, 49 * DAY).unwrap();
    assert_eq!(again, Decision::default(), "it is known");
    world.seen(&a, 51 * DAY);
    world.seen(&b, 51 * DAY);
    world.lapse(51 * DAY);
    assert!(world.state.is_lapsed(c.id));
    // A relay that starts anew knows that it knew it.
    world.state = sync_relay::mailbox::GroupState::from_rows(world.state.rows());
    world.lapse(51 * DAY);
    assert_eq!(world.carry(&b, &once, 51 * DAY).unwrap().writes, []);
    assert!(world.state.is_lapsed(c.id));

    let next = a.seal();
    world.push(&a, &[next]).unwrap();
    world.carry(&b, &c.statement(vec![a.reached()]), 52 * DAY).unwrap();
    assert!(!world.state.is_lapsed(c.id));
}

#[test]
fn an_earlier_word_does_not_take_the_place_of_a_later_one_and_counts_after_a_restart() {
    let (mut a, b, c, mut world) = three();
    let first = a.seal();
    let before = c.statement(vec![a.reached()]);
    let second = a.seal();
    world.push(&a, &[first, second]).unwrap();
    let after = c.statement(vec![a.reached()]);
    world.carry(&b, &after, 2).unwrap();
    let kept = world.state.rows().statements;
    assert_eq!(world.carry(&b, &before, 2).unwrap(), Decision::default());
    assert_eq!(world.state.rows().statements, kept);

    // The relay stops before B has acknowledged. What was carried it has no more, and is brought it again.
    world.state = sync_relay::mailbox::GroupState::from_rows(world.state.rows());
    world.ack_all(&b);
    assert_eq!(world.state.counters().entries, 2);
    world.carry(&b, &before, 2).unwrap();
    assert_eq!(world.state.counters().entries, 0, "the later one that is kept counts");
}

#[test]
fn what_is_worth_nothing_is_refused() {
    let (mut a, b, c, mut world) = three();
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    world.ack_all(&b);
    let good = c.statement(vec![a.reached()]);
    let stranger = Peer::new(9);

    let forged = forged(good.clone());
    world.refused("a forged signature", Code::BadSignature, |w| w.carry(&b, &forged, 2));
    let of_stranger = stranger.statement(vec![a.reached()]);
    world.refused("of a stranger", Code::NotMember, |w| w.carry(&b, &of_stranger, 2));
    world.refused("by a stranger", Code::NotMember, |w| w.carry(&stranger, &good, 2));
    let unknown = c.statement(vec![stranger.reached()]);
    world.refused("of an unknown sender", Code::Protocol, |w| w.carry(&b, &unknown, 2));
    world.refused("a cursor of another", Code::Protocol, |w| {
        let request = Acknowledge { cursor: 1, statement: good.clone() };
        let stated = Stated::verify(GROUP, &request, &w.state.keys());
        w.state.carry(b.id, &stated, 2)
    });
    world.refused("nothing", Code::Protocol, |w| w.carry(&b, &Opaque::default(), 2));
    // One that lies about itself is caught by the same.
    world.refused("by the wrong way", Code::Protocol, |w| w.acknowledge(&b, 0, good.clone()));

    world.attached.insert(b.id);
    let removal = world.script(&a, &[], &[&c]);
    world.commit(&a, &removal).unwrap();
    world.refused("of one whose removal may be undone", Code::Provisional, |w| w.carry(&b, &good, 2));
    world.ack_all(&b);
    world.refused("of a removed one", Code::Removed, |w| w.carry(&b, &good, 2));
    world.refused("by a removed one", Code::Removed, |w| w.carry(&c, &b.statement(vec![a.reached()]), 2));
}
