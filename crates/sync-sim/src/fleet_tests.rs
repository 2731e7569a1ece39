//! Several relays for one group: what users notice when they come and go.

use sync_core::{Event, Outcome};
use sync_rules::mls;
use sync_types::{Code, RelayAddress};

use crate::fleet::Fleet;

type Real = Fleet<mls::Crypto>;

fn real(devices: usize, relays: usize) -> Real {
    Fleet::with(mls::crypto(), devices, relays)
}

/// Exactly these, whatever the order between senders.
fn holds(fleet: &Real, device: usize, wanted: &[&str]) {
    let mut there: Vec<String> = fleet.log(device).into_iter().map(|(_, text)| text).collect();
    let mut wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    there.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(there, wanted, "device {device}: {:?}", fleet.ships[device].events);
}

fn all_hold(fleet: &Real, wanted: &[&str]) {
    (0..fleet.ships.len()).for_each(|device| holds(fleet, device, wanted));
}

fn nothing_unusual(fleet: &Real) {
    for device in 0..fleet.ships.len() {
        assert_eq!(fleet.unusual(device), [], "device {device}");
    }
}

/// All have the same state, and nothing of theirs is on its way.
fn at_rest(fleet: &Real) {
    let epochs: Vec<u64> = fleet.ships.iter().map(|ship| ship.device.epoch()).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    for ship in &fleet.ships {
        let status = ship.device.status();
        assert!(status.caught_up && !status.changing, "{status:?}");
        assert_eq!(status.delivered_seq, status.sealed_seq, "{status:?}");
        assert!(ship.device.relays().iter().all(|relay| relay.attached), "{:?}", ship.device.relays());
    }
}

#[test]
fn what_is_pushed_goes_to_every_relay_and_arrives_once() {
    let mut fleet = real(3, 2);
    fleet.push(0, "one");
    fleet.push(1, "two");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two"]);
    nothing_unusual(&fleet);
    at_rest(&fleet);
    for ship in &fleet.ships {
        for relay in ship.device.relays() {
            assert_eq!(relay.accepted_seq, ship.device.status().sealed_seq, "{relay:?}");
        }
    }
}

#[test]
fn the_first_relay_is_away_and_pushes_go_on() {
    let mut fleet = real(3, 2);
    fleet.power(0, false);
    fleet.pass(1_000);
    fleet.push(0, "through the second");
    fleet.pass(1_000);
    all_hold(&fleet, &["through the second"]);
    // Whoever wants to change the group waits.
    let gone = fleet.id(2);
    fleet.call(0, |device, now, rng| device.remove(gone, now, rng).unwrap());
    fleet.pass(30_000);
    assert_eq!(fleet.ships[1].device.members().len(), 3);
    fleet.power(0, true);
    fleet.pass(30_000);
    assert_eq!(fleet.ships[1].device.members().len(), 2);
    assert!(fleet.ships[2].device.is_removed());
    assert!(fleet.ships.iter().all(|ship| !ship.events.iter().any(|e| matches!(e, Event::Halted { .. }))));
}

#[test]
fn a_relay_that_was_away_gets_what_it_lacks() {
    let mut fleet = real(3, 2);
    fleet.power(1, false);
    fleet.push(0, "one");
    fleet.pass(2_000);
    fleet.call(1, |device, now, rng| device.self_update(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.push(1, "two");
    fleet.pass(2_000);
    fleet.power(1, true);
    fleet.pass(20_000);
    fleet.push(2, "three");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two", "three"]);
    at_rest(&fleet);
    nothing_unusual(&fleet);
    // The other way round: only the second is left.
    fleet.power(0, false);
    fleet.push(0, "four");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two", "three", "four"]);
    nothing_unusual(&fleet);
}

#[test]
fn devices_that_share_no_line_meet_over_a_third() {
    // The first device reaches only relay 0, the second only relay 1, the third both.
    let mut fleet = real(3, 2);
    fleet.line(0, 1, false);
    fleet.line(1, 0, false);
    fleet.push(0, "from the first");
    fleet.push(1, "from the second");
    fleet.push(2, "from the third");
    let pushed: Vec<u64> = fleet.ships.iter().map(|ship| ship.device.status().sealed_seq).collect();
    fleet.pass(120_000);
    // What the third has it hands on, and tells each of the two what the other has signed for.
    all_hold(&fleet, &["from the first", "from the second", "from the third"]);
    for (ship, pushed) in fleet.ships.iter().zip(pushed) {
        assert!(ship.device.status().delivered_seq >= pushed, "{:?}", ship.device.status());
    }
    // A change of the group reaches whoever has only the other relay.
    fleet.call(0, |device, now, rng| device.self_update(now, rng).unwrap());
    fleet.pass(30_000);
    assert_eq!(fleet.ships[1].device.epoch(), fleet.ships[0].device.epoch());
    fleet.line(0, 1, true);
    fleet.line(1, 0, true);
    fleet.pass(60_000);
    all_hold(&fleet, &["from the first", "from the second", "from the third"]);
    at_rest(&fleet);
}

#[test]
fn acknowledgements_are_carried_to_where_their_signer_never_comes() {
    let mut fleet = real(3, 2);
    fleet.line(0, 1, false);
    fleet.push(0, "from the first");
    fleet.push(1, "from the second");
    fleet.push(2, "from the third");
    fleet.pass(60_000);
    all_hold(&fleet, &["from the first", "from the second", "from the third"]);
    nothing_unusual(&fleet);
    // The second relay holds no envelope for the first device, which it has not had since.
    assert_eq!((fleet.relays[0].held(), fleet.relays[1].held()), (0, 0));

    // While only the second relay is there the two others go on, and the first device gets it all by the first one.
    fleet.power(0, false);
    fleet.push(1, "meanwhile");
    fleet.pass(60_000);
    assert_eq!(fleet.relays[1].held(), 1);
    fleet.power(0, true);
    fleet.pass(60_000);
    all_hold(&fleet, &["from the first", "from the second", "from the third", "meanwhile"]);
    assert_eq!((fleet.relays[0].held(), fleet.relays[1].held()), (0, 0));
    fleet.line(0, 1, true);
    fleet.pass(60_000);
    at_rest(&fleet);
    nothing_unusual(&fleet);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_acknowledgement() {
    let mut fleet = real(3, 2);
    fleet.line(0, 1, false);
    fleet.push(1, "for the first");
    fleet.pass(5_000);
    assert_eq!((fleet.relays[0].held(), fleet.relays[1].held()), (0, 1));
    fleet.now -= 24 * 3_600_000;
    fleet.pass(120_000);
    assert_eq!(fleet.relays[1].held(), 0);
}

#[test]
fn what_one_relay_told_is_carried_to_another_that_was_away_then() {
    let mut fleet = real(3, 2);
    fleet.line(0, 0, false);
    fleet.line(0, 1, false);
    fleet.push(1, "for the first");
    fleet.pass(5_000);
    assert_eq!((fleet.relays[0].held(), fleet.relays[1].held()), (1, 1));
    // The first device has it by the first relay, while the second is away; when that is back the first relay is.
    fleet.power(1, false);
    fleet.line(0, 0, true);
    fleet.pass(30_000);
    holds(&fleet, 0, &["for the first"]);
    fleet.power(0, false);
    fleet.restart(1);
    fleet.restart(2);
    fleet.power(1, true);
    fleet.pass(60_000);
    assert_eq!(fleet.relays[1].held(), 0);
}

#[test]
fn a_relay_is_added_and_the_first_is_dropped() {
    let addresses: Vec<RelayAddress> = real(1, 2).addresses;
    let mut fleet = Real::listing(mls::crypto(), 3, addresses.clone(), &addresses[..1]);
    fleet.push(0, "before");
    fleet.pass(5_000);
    let both = addresses.clone();
    fleet.call(0, |device, now, rng| device.set_relays(&both, now, rng).unwrap());
    fleet.pass(20_000);
    for ship in &fleet.ships {
        assert_eq!(ship.device.relays().len(), 2);
        assert!(ship.events.iter().any(|e| matches!(e, Event::RelaysChanged { .. })));
    }
    fleet.push(1, "at both");
    fleet.pass(5_000);
    at_rest(&fleet);
    let second = [addresses[1].clone()];
    fleet.call(1, |device, now, rng| device.set_relays(&second, now, rng).unwrap());
    fleet.pass(20_000);
    fleet.power(0, false);
    fleet.push(2, "at the second");
    fleet.pass(5_000);
    all_hold(&fleet, &["before", "at both", "at the second"]);
    // It orders changes now.
    let late = fleet.add();
    fleet.pass(60_000);
    assert_eq!(fleet.log(late).len(), 3);
    at_rest(&fleet);
    nothing_unusual(&fleet);
}

#[test]
fn the_order_of_relays_is_changed() {
    let mut fleet = real(3, 2);
    let turned: Vec<RelayAddress> = fleet.addresses.iter().rev().cloned().collect();
    fleet.call(2, |device, now, rng| device.set_relays(&turned, now, rng).unwrap());
    fleet.pass(20_000);
    assert_eq!(fleet.first_of(0), 1);
    fleet.power(0, false);
    fleet.call(0, |device, now, rng| device.self_update(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.power(0, true);
    fleet.push(0, "later");
    fleet.pass(30_000);
    all_hold(&fleet, &["later"]);
    at_rest(&fleet);
    nothing_unusual(&fleet);
}

#[test]
fn a_dead_first_relay_is_given_up_for_good() {
    let mut fleet = real(3, 2);
    fleet.push(0, "before");
    fleet.pass(5_000);
    let refused = |fleet: &mut Real| {
        let mut code = None;
        fleet.call(0, |device, now, rng| code = device.give_up_first_relay(now, rng).err().map(|e| e.code()));
        code
    };
    assert_eq!(refused(&mut fleet), Some(Code::RelayAnswers));
    fleet.power(0, false);
    fleet.pass(1_000);
    fleet.push(1, "while it is away");
    fleet.pass(1_000);
    assert_eq!(refused(&mut fleet), None);
    fleet.pass(20_000);
    for ship in &fleet.ships {
        assert_eq!(ship.device.relays().len(), 1);
    }
    // Changes go on.
    let gone = fleet.id(2);
    fleet.call(1, |device, now, rng| device.remove(gone, now, rng).unwrap());
    fleet.pass(20_000);
    assert_eq!(fleet.ships[0].device.members().len(), 2);
    fleet.push(0, "after");
    fleet.pass(5_000);
    holds(&fleet, 0, &["before", "while it is away", "after"]);
    holds(&fleet, 1, &["before", "while it is away", "after"]);
    // It comes back with its old branch, and nobody cares.
    fleet.power(0, true);
    fleet.pass(60_000);
    holds(&fleet, 1, &["before", "while it is away", "after"]);
    nothing_unusual(&fleet);
}

#[test]
fn whoever_went_on_with_the_dead_relay_comes_back() {
    // The third device alone still reaches the first relay, and changes the group there.
    let mut fleet = real(3, 2);
    for device in 0..2 {
        fleet.line(device, 0, false);
    }
    fleet.line(2, 1, false);
    fleet.pass(2_000);
    fleet.call(2, |device, now, rng| device.self_update(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.push(2, "in the branch that loses");
    fleet.pass(2_000);
    fleet.call(0, |device, now, rng| device.give_up_first_relay(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.push(0, "in the branch that wins");
    fleet.pass(2_000);
    fleet.line(2, 1, true);
    fleet.pass(180_000);
    assert!(fleet.ships[2].events.iter().any(|e| matches!(e, Event::KeyReplaced { code: Code::OutOfStep, .. })));
    all_hold(&fleet, &["in the branch that loses", "in the branch that wins"]);
    let epochs: Vec<u64> = fleet.ships.iter().map(|ship| ship.device.epoch()).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    assert!(fleet.ships.iter().all(|ship| ship.device.relays().len() == 1 && ship.device.members().len() == 3));
}

#[test]
fn what_came_past_the_cut_is_kept_and_handed_on() {
    let mut fleet = real(4, 2);
    // Device 3 reaches only the second relay, and only device 2 does, too.
    fleet.line(3, 0, false);
    fleet.line(0, 1, false);
    fleet.line(1, 1, false);
    fleet.pass(1_000);
    fleet.line(2, 0, false);
    fleet.push(3, "late word");
    fleet.pass(1_000);
    assert!(fleet.has(2, "late word") && !fleet.has(0, "late word"));
    let gone = fleet.id(3);
    fleet.call(0, |device, now, rng| device.remove(gone, now, rng).unwrap());
    fleet.pass(15_000);
    for device in 0..3 {
        fleet.line(device, 0, true);
        fleet.line(device, 1, true);
    }
    fleet.pass(180_000);
    assert_eq!(fleet.met(2, Outcome::PastCut), 1);
    for device in 0..3 {
        assert!(fleet.has(device, "late word"), "device {device}: {:?}", fleet.ships[device].events);
        assert!(fleet.ships[device].device.status().halted.is_none());
    }
}

#[test]
fn a_device_starts_again_with_one_relay_away() {
    let mut fleet = real(2, 2);
    fleet.push(0, "one");
    fleet.pass(2_000);
    fleet.power(0, false);
    fleet.restart(1);
    fleet.push(0, "two");
    fleet.pass(2_000);
    fleet.power(0, true);
    fleet.power(1, false);
    fleet.restart(1);
    fleet.push(0, "three");
    fleet.push(1, "four");
    fleet.pass(5_000);
    fleet.power(1, true);
    fleet.pass(20_000);
    all_hold(&fleet, &["one", "two", "three", "four"]);
    at_rest(&fleet);
    nothing_unusual(&fleet);
}

/// The group's relays, the other way round.
fn turned(fleet: &Real) -> Vec<RelayAddress> {
    fleet.addresses.iter().rev().cloned().collect()
}

#[test]
fn a_relay_that_was_given_up_comes_back_onto_the_list() {
    let mut fleet = real(3, 2);
    fleet.push(0, "before");
    fleet.pass(5_000);
    fleet.power(0, false);
    fleet.pass(1_000);
    fleet.call(0, |device, now, rng| device.give_up_first_relay(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.power(0, true);
    let list = turned(&fleet);
    fleet.call(1, |device, now, rng| device.set_relays(&list, now, rng).unwrap());
    fleet.pass(60_000);
    fleet.push(2, "after");
    fleet.pass(60_000);
    all_hold(&fleet, &["before", "after"]);
    at_rest(&fleet);
    // What it knows of them from before proves nothing.
    nothing_unusual(&fleet);
}

#[test]
fn a_list_that_waited_for_the_first_relay_gives_up_nothing() {
    let mut fleet = real(2, 2);
    let list = turned(&fleet);
    fleet.line(1, 0, false);
    fleet.pass(1_000);
    // It waits at a device that does not reach the first relay, which another list makes the second meanwhile.
    let own = fleet.addresses.clone();
    fleet.call(0, |device, now, rng| device.set_relays(&list, now, rng).unwrap());
    fleet.pass(20_000);
    fleet.line(1, 0, true);
    fleet.line(1, 1, false);
    fleet.call(1, |device, now, rng| device.set_relays(&own, now, rng).unwrap());
    fleet.pass(30_000);
    assert_eq!(fleet.first_of(0), 1, "the first relay orders changes, and device 1 does not reach it");
    fleet.line(1, 1, true);
    fleet.pass(60_000);
    assert_eq!((fleet.first_of(0), fleet.first_of(1)), (0, 0));
    at_rest(&fleet);
    nothing_unusual(&fleet);
}

#[test]
fn the_branch_that_gave_up_the_other_ones_relay_counts() {
    // The first device has the first relay order another list, and is gone before anybody hears of it but the third relay.
    let mut fleet = real(2, 3);
    let list = [2, 0, 1].map(|place: usize| fleet.addresses[place].clone());
    fleet.line(1, 0, false);
    fleet.line(1, 2, false);
    fleet.line(0, 1, false);
    fleet.pass(2_000);
    fleet.call(0, |device, now, rng| device.set_relays(&list, now, rng).unwrap());
    fleet.pass(20_000);
    fleet.push(0, "in the branch that loses");
    fleet.call(1, |device, now, rng| device.give_up_first_relay(now, rng).unwrap());
    fleet.pass(20_000);
    fleet.push(1, "in the branch that wins");
    fleet.cut.clear();
    fleet.pass(300_000);
    all_hold(&fleet, &["in the branch that loses", "in the branch that wins"]);
    let replaced = |device: usize| fleet.ships[device].events.iter().any(|e| matches!(e, Event::KeyReplaced { .. }));
    assert_eq!((replaced(0), replaced(1)), (true, false));
    assert_eq!(fleet.ships[0].device.epoch(), fleet.ships[1].device.epoch());
}

#[test]
fn what_a_copy_brought_to_another_relay_is_not_taken_for_the_devices_own() {
    let mut fleet = real(2, 2);
    // A disk runs twice. Each reaches a relay that the other does not, and the third device is away.
    [(0, 1), (1, 0), (1, 1)].into_iter().for_each(|(device, relay)| fleet.line(device, relay, false));
    fleet.cut.insert((2, 0));
    let copy = fleet.copy(0);
    ["one", "two", "three"].into_iter().for_each(|text| fleet.push(0, text));
    fleet.push(copy, "by the copy");
    fleet.pass(2_000);
    fleet.line(copy, 1, false);
    let copy = fleet.ships.pop().expect("it is the last one");
    assert!(copy.device.relays()[1].accepted_seq > fleet.ships[0].device.relays()[1].accepted_seq);
    assert!(copy.device.status().sealed_seq < fleet.ships[0].device.status().accepted_seq);
    fleet.line(0, 1, true);
    fleet.pass(60_000);
    let replaced = |e: &Event| matches!(e, Event::KeyReplaced { code: Code::RolledBack, .. });
    assert!(fleet.ships[0].events.iter().any(replaced), "{:?}", fleet.ships[0].events);
    fleet.cut.clear();
    fleet.pass(60_000);
    fleet.push(0, "four");
    fleet.pass(60_000);
    for device in 0..2 {
        assert!(["one", "two", "three", "four"].iter().all(|text| fleet.has(device, text)), "device {device}");
    }
    at_rest(&fleet);
    for relay in fleet.ships[0].device.relays() {
        assert_eq!(relay.accepted_seq, fleet.ships[0].device.status().sealed_seq, "{relay:?}");
    }
}

/// The first relay orders the move; the other is led there by a copy, also where it was away.
#[test]
#[cfg(not(feature = "fips"))]
fn a_group_of_several_relays_moves_to_another_suite() {
    use sync_types::Suite;
    let moved = |fleet: &Real, suite| fleet.ships.iter().all(|ship| ship.device.suite() == suite);
    let mut fleet = real(3, 2);
    fleet.push(0, "one");
    fleet.call(0, |device, now, rng| device.move_to_suite(Suite::Fips, now, rng).unwrap());
    fleet.push(1, "two");
    fleet.pass(20_000);
    assert!(moved(&fleet, Suite::Fips));
    fleet.push(2, "three");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two", "three"]);
    at_rest(&fleet);
    // Without the first one, the second carries what is sealed since.
    fleet.power(0, false);
    fleet.push(0, "four");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two", "three", "four"]);
    fleet.power(0, true);
    fleet.power(1, false);
    fleet.pass(30_000);
    fleet.call(1, |device, now, rng| device.move_to_suite(Suite::XWing, now, rng).unwrap());
    fleet.pass(20_000);
    assert!(moved(&fleet, Suite::XWing));
    fleet.push(1, "five");
    fleet.pass(5_000);
    fleet.power(1, true);
    fleet.pass(60_000);
    fleet.push(2, "six");
    fleet.pass(5_000);
    all_hold(&fleet, &["one", "two", "three", "four", "five", "six"]);
    at_rest(&fleet);
    nothing_unusual(&fleet);
    let late = fleet.add();
    fleet.pass(60_000);
    assert_eq!(fleet.log(late).len(), 6);
}

/// The device that takes others in came back from an older disk, and knows nothing of one that came and went meanwhile.
#[test]
fn a_newcomer_hears_of_a_former_member_that_its_sponsor_has_forgotten() {
    let mut fleet = real(2, 1);
    let copy = fleet.ships[0].disk.clone();
    let third = fleet.add();
    fleet.pass(20_000);
    fleet.push(third, "of one that is gone");
    fleet.pass(20_000);
    let gone = fleet.id(third);
    fleet.call(1, |device, now, rng| device.remove(gone, now, rng).unwrap());
    fleet.pass(20_000);
    // Nobody is there to tell the sponsor.
    fleet.line(1, 0, false);
    fleet.ships[0].disk = copy;
    fleet.restart(0);
    fleet.pass(30_000);
    assert!(fleet.ships[0].events.iter().any(|event| matches!(event, Event::KeyReplaced { .. })));
    let newcomer = fleet.add();
    fleet.line(1, 0, true);
    fleet.pass(120_000);
    for device in [0, 1, newcomer] {
        assert!(fleet.has(device, "of one that is gone"), "device {device}");
    }
}
