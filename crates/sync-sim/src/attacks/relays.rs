//! Attacks on a group with several relays, by one of them and by what one of them remembers.

use sync_core::event::Event;
use sync_core::membership::{Change, Membership};
use sync_core::store::Key;
use sync_rules::{Defence, mls};
use sync_types::frame::{Commit, CopyCommits, Cut, Entry, EntryKind, FromRelay, ToRelay};
use sync_types::{Opaque, encode};

use super::{Attack, By, MINUTE, SECOND, Seen, attack, harm};
use crate::fleet::Fleet;

pub(super) const ATTACKS: &[Attack] = &[
    attack(
        By::Member,
        "two relays show different branches",
        "the first one's order counts",
        &[Defence::OneOrder],
        branches,
    ),
    attack(By::Relay, "duplicate over two relays", "known already, no effect", &[Defence::Duplicates], duplicates),
    attack(
        By::Relay,
        "a dead relay comes back with its old branch",
        "its devices come over",
        &[Defence::ShownOrders],
        old_branch,
    ),
    attack(
        By::Relay,
        "claim that the first relay was given up",
        "an old state proves nothing",
        &[Defence::GivenUp],
        given_up,
    ),
];

type Real = Fleet<mls::Crypto>;

fn left_its_key(fleet: &Real, device: usize) -> bool {
    fleet.ships[device].events.iter().any(|e| matches!(e, Event::KeyReplaced { .. } | Event::Halted { .. }))
}

/// A member has each of two relays order another commit for the same epoch, the second one's first.
fn branches() -> Seen {
    let mut fleet = Real::with(mls::crypto(), 3, 2);
    let before = fleet.ships[0].device.epoch();
    let state = fleet.ships[2].disk.state[&Key::Membership].clone();
    let make = || {
        let mut own = Membership::load(mls::crypto(), &state).map_err(|e| e.to_string())?;
        own.prepare(Change::SelfUpdate, encode(&Cut::default()), None, fleet.now).map_err(|e| e.to_string())
    };
    let (one, other) = (make()?, make()?);
    let copied =
        CopyCommits { commits: vec![Opaque(one.commit)], group_info: Opaque(one.group_info), welcomes: Vec::new() };
    let (commit, group_info) = (Opaque(other.commit), Opaque(other.group_info));
    fleet.raw(2, 1, ToRelay::CopyCommits(copied));
    fleet.raw(2, 0, ToRelay::Commit(Commit { commit, group_info, welcomes: Vec::new() }));
    fleet.pass(SECOND);
    fleet.call(0, |device, now, rng| drop(device.self_update(now, rng)));
    fleet.pass(MINUTE);
    fleet.push(0, "one");
    fleet.pass(MINUTE);
    for device in 0..2 {
        harm(!left_its_key(&fleet, device), "a device goes over to the branch of one member")?;
        harm(fleet.ships[device].device.epoch() >= before + 2, "the group cannot change any more")?;
    }
    harm(fleet.has(1, "one"), "the group does not go on")?;
    Ok("the first one's order counts")
}

/// Both relays hand everything out, and one of them twice.
fn duplicates() -> Seen {
    let mut fleet = Real::with(mls::crypto(), 2, 2);
    let mut ahead = 1 << 50;
    fleet.down = Box::new(move |_, relay, frame| match frame {
        FromRelay::Deliver(entries) if relay == 1 => {
            let again = entries.iter().map(|entry| {
                ahead += 1;
                Entry { cursor: (1 << 60) + ahead, ..entry.clone() }
            });
            let again = FromRelay::Deliver(again.collect());
            vec![FromRelay::Deliver(entries), again]
        }
        frame => vec![frame],
    });
    for text in ["one", "two", "three"] {
        fleet.push(0, text);
        fleet.pass(SECOND);
    }
    let there: Vec<String> = fleet.log(1).into_iter().map(|(_, text)| text).collect();
    harm(there == ["one", "two", "three"], "something is lost or there twice")?;
    harm(fleet.unusual(1).is_empty(), "a device holds what is honest against its sender")?;
    Ok("known already, no effect")
}

/// All but one have given the first relay up. That one went on with it, and now hears of the others.
fn old_branch() -> Seen {
    let mut fleet = Real::with(mls::crypto(), 3, 2);
    fleet.line(0, 0, false);
    fleet.line(1, 0, false);
    fleet.line(2, 1, false);
    fleet.pass(2 * SECOND);
    fleet.call(2, |device, now, rng| drop(device.self_update(now, rng)));
    fleet.pass(20 * SECOND);
    fleet.push(2, "in the old branch");
    fleet.call(0, |device, now, rng| drop(device.give_up_first_relay(now, rng)));
    fleet.pass(20 * SECOND);
    fleet.line(2, 1, true);
    fleet.pass(5 * MINUTE);
    fleet.push(0, "in the new one");
    fleet.pass(MINUTE);
    let with_it = |device: usize| fleet.has(device, "in the old branch") && fleet.has(device, "in the new one");
    harm((0..3).all(with_it), "a device stays where nobody else is")?;
    Ok("its devices come over")
}

/// The second relay was the only one once, and shows a state of that time, beside a commit that it made up.
fn given_up() -> Seen {
    let both = Real::with(mls::crypto(), 1, 2).addresses;
    let mut fleet = Real::listing(mls::crypto(), 2, both.clone(), &both[1..]);
    let old = fleet.raw(1, 1, ToRelay::GroupInfo(None)).into_iter().find_map(|frame| match frame {
        FromRelay::GroupInfo(bytes) => Some(bytes),
        _ => None,
    });
    let old = old.ok_or("the relay gives no state")?;
    fleet.call(0, |device, now, rng| drop(device.set_relays(&both, now, rng)));
    fleet.pass(MINUTE);
    harm(fleet.first_of(1) == 0, "the list was not changed")?;
    fleet.call(0, |device, now, rng| drop(device.self_update(now, rng)));
    fleet.pass(MINUTE);
    let mut sent = false;
    fleet.down = Box::new(move |device, relay, frame| match frame {
        FromRelay::GroupInfo(_) if relay == 1 && device == 1 => vec![FromRelay::GroupInfo(old.clone())],
        FromRelay::Deliver(mut entries) if relay == 1 && device == 1 && !sent => {
            let Some(commit) = entries.iter_mut().find(|entry| entry.kind == EntryKind::Commit) else {
                return vec![FromRelay::Deliver(entries)];
            };
            sent = true;
            let last = commit.bytes.0.len() - 1;
            commit.bytes.0[last] ^= 1;
            vec![FromRelay::Deliver(entries)]
        }
        frame => vec![frame],
    });
    fleet.call(0, |device, now, rng| drop(device.self_update(now, rng)));
    fleet.pass(MINUTE);
    harm(!left_its_key(&fleet, 1), "a device leaves the group for a state of long ago")?;
    fleet.push(0, "one");
    fleet.pass(SECOND);
    harm(fleet.has(1, "one"), "the group does not go on")?;
    Ok("an old state proves nothing")
}
