//! A group that moves to another suite, and who leads it astray.

use sync_core::membership::{Membership, Prepared, key_package};
use sync_core::store::Key;
use sync_core::{Event, Outcome, Setting};
use sync_rules::statement::sign_move;
use sync_rules::{Defence, mls};
use sync_types::body::{Body, pack};
use sync_types::frame::{Commit, EntryKind, FromRelay, Move, ToRelay};
use sync_types::{Code, Opaque, Suite, decode, encode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, Seen, attack, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(By::Member, "another successor", "refused", &[Defence::Successor], another),
    attack(By::Relay, "alter what leads to the successor", "seen as the relay's", &[Defence::Successor], altered),
    attack(By::Member, "seal by the suite that was left", "refused", &[Defence::GroupSuite], left_behind),
];

const MALLORY: usize = 2;

/// A device asks for the move, and what follows from that happens.
fn go(lab: &mut Lab, party: usize, suite: Suite) {
    lab.call(party, |device, now, rng| device.move_to_suite(suite, now, rng).expect("it is a member"));
    lab.pass(MINUTE);
}

fn have_moved(lab: &Lab, suite: Suite) -> Result<(), String> {
    harm(lab.parties.iter().all(|party| party.device.suite() == suite), "not all have moved")
}

/// What a member with this disk can make of its place in the group: two moves, as good as each other.
fn two_moves(lab: &Lab) -> Option<[Prepared; 2]> {
    let packages: Vec<_> = [0, 1]
        .into_iter()
        .filter_map(|party| {
            Some(key_package(mls::Crypto::every(), Suite::Fips, &lab.key(party), lab.now).ok()?.message)
        })
        .collect();
    let state = &lab.parties[MALLORY].disk.state[&Key::Membership];
    let make = |random: u8| {
        let mut membership = Membership::load(mls::Crypto::every(), state).ok()?;
        membership.prepare_move(&lab.key(MALLORY), Suite::Fips, &[random; 16], &packages, lab.now).ok()
    };
    Some([make(1)?, make(2)?])
}

fn another() -> Seen {
    let mut lab = Lab::of_every_suite(3);
    let [one, two] = two_moves(&lab).ok_or("a member can make a move")?;
    let (end, other): (Move, Move) =
        (decode(&one.commit).map_err(|e| e.to_string())?, decode(&two.commit).map_err(|e| e.to_string())?);
    // It ends the group for one successor, and brings another.
    let mut posed = Move { commit: end.commit, ..other };
    sign_move(&lab.key(MALLORY), &lab.group(MALLORY), &mut posed);
    let commit = encode(&posed);
    lab.disconnect(MALLORY);
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let frame = Commit { commit: Opaque(commit.clone()), group_info: posed.group_info, welcomes: vec![] };
    let answers = lab.raw(conn, ToRelay::Commit(frame));
    let refused = answers.iter().any(|frame| matches!(frame, FromRelay::Refused(r) if r.code() == Code::CommitRefused));
    harm(refused, "the relay follows another group than the one that the members are led to")?;
    lab.relay.ended(conn);
    lab.run();
    // A relay in league orders it all the same.
    lab.inject_commit(MALLORY, &commit);
    lab.pass(MINUTE);
    harm([0, 1].iter().all(|party| lab.parties[*party].device.suite() == Suite::XWing), "a member follows")?;
    Ok("refused")
}

fn altered() -> Seen {
    let mut lab = Lab::of_every_suite(3);
    lab.down = Box::new(|to, frame| match frame {
        FromRelay::Deliver(mut entries) if to == 1 => {
            for entry in entries.iter_mut().filter(|entry| entry.kind == EntryKind::Commit) {
                if let Ok(mut moved) = decode::<Move>(&entry.bytes)
                    && let Some(last) = moved.welcome.0.last_mut()
                {
                    *last ^= 1;
                    entry.bytes = Opaque(encode(&moved));
                }
            }
            vec![FromRelay::Deliver(entries)]
        }
        frame => vec![frame],
    });
    let rejects = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = rejects.clone();
    lab.up = Box::new(move |_, frame| {
        count.set(count.get() + u32::from(matches!(frame, ToRelay::Reject(_))));
        vec![frame]
    });
    go(&mut lab, 0, Suite::Fips);
    harm(lab.parties[0].device.suite() == Suite::Fips, "the scene is not what it should be")?;
    harm(rejects.get() == 0, "a member answers for what the relay did, and rejects what another member made")?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("seen as the relay's")
}

fn left_behind() -> Seen {
    let mut lab = Lab::of_every_suite(3);
    go(&mut lab, 0, Suite::Fips);
    have_moved(&lab, Suite::Fips)?;
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let body = Body { blobs: pack([&lab.text("by the old suite")]), ..Body::default() };
    let epoch = lab.parties[MALLORY].device.epoch();
    let envelope = lab.seal_by(Suite::XWing, MALLORY, epoch, Some(&last), &encode(&body));
    lab.disconnect(MALLORY);
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let answers = lab.raw(conn, ToRelay::Push(vec![Opaque(envelope.clone())]));
    let refused = answers.iter().any(|frame| matches!(frame, FromRelay::Refused(r) if r.code() == Code::Suite));
    harm(refused, "the relay takes an envelope of the suite that was left")?;
    lab.relay.ended(conn);
    lab.run();
    lab.inject(MALLORY, &envelope);
    harm(!lab.has(1, "by the old suite"), "who has moved reads what is sealed by the suite that was left")?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    lab.push(0, "one");
    has_all(&lab, 1, &["one"])?;
    harm(
        lab.parties[1].events.contains(&Event::SettingsChanged { setting: Setting::Suite, by: lab.id(0) }),
        "nobody says who moved",
    )?;
    Ok("refused")
}

#[cfg(test)]
mod tests {
    use sync_core::membership::Change;
    use sync_types::body::{Control, SuitePackage};

    use super::*;

    #[test]
    fn a_group_moves_and_back() {
        let mut lab = Lab::of_every_suite(3);
        lab.push(0, "one");
        lab.push(1, "two");
        lab.disconnect(2);
        go(&mut lab, 0, Suite::Fips);
        assert_eq!(lab.parties[0].device.moving().unwrap().waits_for, [lab.id(2)]);
        lab.push(1, "three");
        lab.connect(2);
        lab.pass(MINUTE);
        have_moved(&lab, Suite::Fips).unwrap();
        for party in 0..3 {
            let moved = Event::SettingsChanged { setting: Setting::Suite, by: lab.id(0) };
            assert!(lab.parties[party].events.contains(&moved), "{party}");
            lab.push(party, &format!("after {party}"));
        }
        for party in 0..3 {
            lab.restart(party);
            for text in ["one", "two", "three", "after 0", "after 1", "after 2"] {
                assert!(lab.has(party, text), "{party} {text}");
            }
        }
        let newcomer = lab.add();
        lab.pass(MINUTE);
        assert!(lab.has(newcomer, "one") && lab.has(newcomer, "after 2"));
        // And back, by somebody else.
        go(&mut lab, 1, Suite::XWing);
        have_moved(&lab, Suite::XWing).unwrap();
        for party in 0..4 {
            lab.push(party, &format!("back {party}"));
        }
        for party in 0..4 {
            assert!((0..4).all(|from| lab.has(party, &format!("back {from}"))), "{party}");
        }
    }

    /// Whoever dies in whichever of its transactions, all of the move is done in the end, and nothing is lost.
    #[test]
    fn a_group_moves_whoever_dies_in_it() {
        for who in 0..3 {
            for turn in 1..40 {
                let mut lab = Lab::of_every_suite(3);
                lab.dies = Some((who, turn));
                lab.call(0, |device, now, rng| device.move_to_suite(Suite::Fips, now, rng).unwrap());
                for party in 0..3 {
                    lab.write(party, &format!("during {party}"));
                }
                lab.pass(MINUTE);
                let died = lab.dies.take().is_none();
                lab.reconnect();
                lab.pass(MINUTE);
                // The person's wish may have died with the device.
                go(&mut lab, 0, Suite::Fips);
                have_moved(&lab, Suite::Fips).unwrap();
                for party in 0..3 {
                    lab.push(party, &format!("after {party}"));
                }
                lab.pass(MINUTE);
                for party in 0..3 {
                    for from in 0..3 {
                        for when in ["during", "after"] {
                            let there = lab.has(party, &format!("{when} {from}"));
                            // What the app pushed in the transaction that failed was never kept.
                            assert!(there || (died && from == who && when == "during"), "{who} {turn}: {when} {from}");
                        }
                    }
                    assert_eq!(lab.parties[party].device.status().halted, None, "{who} {turn} {party}");
                }
                if !died {
                    break;
                }
            }
        }
    }

    /// A group whose move is not ordered before a member has lost what it kept for its key package.
    fn with_one_that_cannot_follow(devices: usize) -> Lab {
        let mut lab = Lab::of_every_suite(devices);
        lab.up = Box::new(|_, frame| if matches!(frame, ToRelay::Commit(_)) { vec![] } else { vec![frame] });
        go(&mut lab, 0, Suite::Fips);
        lab.parties[1].disk.state.remove(&Key::Moving);
        lab.restart(1);
        lab.up = Box::new(|_, frame| vec![frame]);
        lab.restart(0);
        lab.pass(MINUTE);
        lab
    }

    /// A member that cannot follow says so, and the group is as it was; asked again, it goes.
    #[test]
    fn a_move_that_a_member_cannot_follow_is_undone() {
        let mut lab = with_one_that_cannot_follow(2);
        have_moved(&lab, Suite::XWing).unwrap();
        let failed = Event::ChangeFailed { device: lab.id(0), code: Code::CommitRejected };
        assert!(lab.parties[0].events.contains(&failed));
        assert!(lab.parties[0].device.setting_changes().is_empty(), "what was undone has never been");
        lab.push(0, "one");
        assert!(lab.has(1, "one"));
        go(&mut lab, 0, Suite::Fips);
        have_moved(&lab, Suite::Fips).unwrap();
        lab.push(1, "two");
        assert!(lab.has(0, "two"));
    }

    /// Where another member has made the move final first, it comes after under a new key.
    #[test]
    fn who_cannot_follow_a_final_move_takes_a_new_key() {
        let mut lab = with_one_that_cannot_follow(3);
        lab.reconnect();
        lab.pass(MINUTE);
        have_moved(&lab, Suite::Fips).unwrap();
        let replaced = |event: &Event| matches!(event, Event::KeyReplaced { code: Code::OutOfStep, .. });
        assert!(lab.parties[1].events.iter().any(replaced));
        lab.push(1, "one");
        lab.push(2, "two");
        assert!(lab.has(0, "one") && lab.has(1, "two"));
    }

    #[test]
    fn of_two_that_move_the_group_one_does() {
        let mut lab = Lab::of_every_suite(3);
        for party in [0, 1] {
            lab.call(party, |device, now, rng| device.move_to_suite(Suite::Fips, now, rng).unwrap());
        }
        lab.pass(MINUTE);
        have_moved(&lab, Suite::Fips).unwrap();
        assert!((0..3).all(|party| lab.parties[party].device.moving().is_none()));
        lab.push(2, "one");
        assert!(lab.has(0, "one") && lab.has(1, "one"));
    }

    /// Who is removed is waited for no more, and who comes is asked; what was asked for can be taken back.
    #[test]
    fn a_move_waits_for_whoever_is_a_member() {
        let mut lab = Lab::of_every_suite(3);
        lab.disconnect(1);
        lab.disconnect(2);
        go(&mut lab, 0, Suite::Fips);
        assert_eq!(lab.parties[0].device.moving().unwrap().waits_for.len(), 2);
        lab.connect(1);
        lab.pass(MINUTE);
        let late = lab.add();
        lab.disconnect(late);
        lab.remove(2);
        lab.pass(MINUTE);
        // It has not heard of the question before it was there.
        let waits = lab.parties[0].device.moving().map_or(vec![], |moving| moving.waits_for);
        assert!(waits.is_empty() || waits == [lab.id(late)], "{waits:?}");
        lab.connect(late);
        lab.pass(MINUTE);
        for party in [0, 1, late] {
            assert_eq!(lab.parties[party].device.suite(), Suite::Fips, "{party}");
        }
        lab.disconnect(1);
        go(&mut lab, 0, Suite::XWing);
        assert!(lab.parties[0].device.moving().is_some());
        go(&mut lab, 0, Suite::Fips);
        lab.connect(1);
        lab.pass(MINUTE);
        assert!(lab.parties[0].device.moving().is_none() && lab.parties[1].device.suite() == Suite::Fips);
    }

    /// A device that is away for longer than the relay keeps anything for it never gets the question, and is asked anew.
    #[test]
    fn who_was_away_for_long_is_asked_anew() {
        let mut lab = Lab::of_every_suite(3);
        lab.disconnect(2);
        go(&mut lab, 0, Suite::Fips);
        for text in ["one", "two"] {
            lab.push(1, text);
            lab.pass(40 * 24 * 60 * MINUTE);
            lab.reconnect_but(2);
        }
        assert_eq!(lab.parties[0].device.moving().unwrap().waits_for, [lab.id(2)]);
        lab.connect(2);
        lab.pass(5 * MINUTE);
        have_moved(&lab, Suite::Fips).unwrap();
        assert!(lab.has(2, "one") && lab.has(2, "two"));
    }

    /// A device that has answered, or asked, and takes a new key then.
    #[test]
    fn who_takes_a_new_key_meanwhile_is_asked_and_asks_anew() {
        for who in [0, 1] {
            let mut lab = Lab::of_every_suite(3);
            lab.disconnect(2);
            go(&mut lab, 0, Suite::Fips);
            assert_eq!(lab.parties[0].device.moving().unwrap().waits_for, [lab.id(2)]);
            let copy = lab.parties[who].disk.clone();
            lab.push(who, "after the copy");
            lab.set_back(who, copy);
            lab.pass(MINUTE);
            let replaced = |event: &Event| matches!(event, Event::KeyReplaced { code: Code::RolledBack, .. });
            assert!(lab.parties[who].events.iter().any(replaced), "{who}");
            // The connection was the old key's.
            lab.reconnect_but(2);
            lab.connect(2);
            lab.pass(MINUTE);
            let waits = lab.parties[0].device.moving();
            assert_eq!((waits, have_moved(&lab, Suite::Fips)), (None, Ok(())), "{who}");
        }
    }

    /// The kit's share is made for one suite, so that the kit goes with it, and everybody is told.
    #[test]
    fn a_recovery_kit_ends_with_its_suite() {
        let mut lab = Lab::of_every_suite(2);
        let kit = |lab: &mut Lab| {
            lab.call(0, |device, now, rng| {
                let kit = sync_core::recovery::RecoveryKit::generate(rng);
                device.set_recovery_kit(&kit, now, rng).unwrap();
            });
            lab.pass(MINUTE);
            assert!((0..2).all(|party| lab.parties[party].device.can_vouch()));
        };
        kit(&mut lab);
        go(&mut lab, 1, Suite::Fips);
        have_moved(&lab, Suite::Fips).unwrap();
        for party in 0..2 {
            let device = &lab.parties[party].device;
            assert!(!device.has_recovery_kit() && !device.can_vouch());
            let told = Event::SettingsChanged { setting: Setting::RecoveryKit, by: lab.id(1) };
            assert!(lab.parties[party].events.contains(&told));
        }
        kit(&mut lab);
    }

    /// A member that answers with what is not its own is waited for; one that cannot go there ends it.
    #[test]
    fn a_key_package_is_its_senders_and_of_the_suite() {
        let mut lab = Lab::of_every_suite(3);
        lab.disconnect(MALLORY);
        go(&mut lab, 0, Suite::Fips);
        let answer = |lab: &mut Lab, key_package: Vec<u8>, number: u64| {
            let package = SuitePackage { asker: lab.id(0), number, key_package: Opaque(key_package) };
            let body = Body { control: vec![Control::SuitePackage(package)], ..Body::default() };
            let (_, last) = lab.last_of(MALLORY).unwrap();
            let epoch = lab.parties[MALLORY].device.epoch();
            let envelope = lab.seal(MALLORY, epoch, Some(&last), &body);
            let (conn, _) = lab.attach_with_key_of(MALLORY);
            lab.raw(conn, ToRelay::Push(vec![Opaque(envelope)]));
            lab.relay.ended(conn);
            lab.run();
        };
        let made = |lab: &Lab, party: usize, suite| {
            key_package(mls::Crypto::every(), suite, &lab.key(party), lab.now).unwrap().message
        };
        let tries = [
            (made(&lab, 1, Suite::Fips), 1),
            (made(&lab, MALLORY, Suite::XWing), 1),
            (made(&lab, MALLORY, Suite::Fips), 7),
            (b"junk".to_vec(), 1),
        ];
        for (package, number) in tries {
            answer(&mut lab, package, number);
            assert_eq!(lab.parties[0].device.moving().unwrap().waits_for, [lab.id(MALLORY)]);
        }
        answer(&mut lab, vec![], 1);
        assert!(lab.parties[0].device.moving().is_none());
        assert!(lab.parties[0].events.contains(&Event::ChangeFailed { device: lab.id(0), code: Code::Suite }));
        assert_eq!(lab.parties[1].device.suite(), Suite::XWing);
    }

    /// Neither who was put out nor who keeps to the old group moves anybody, with the relay in league.
    #[test]
    fn no_former_member_moves_the_group_and_the_old_one_ends() {
        let mut lab = Lab::of_every_suite(3);
        let [theirs, _] = two_moves(&lab).unwrap();
        let old = lab.parties[1].disk.state[&Key::Membership].clone();
        lab.remove(MALLORY);
        lab.inject_commit(MALLORY, &theirs.commit);
        lab.pass(MINUTE);
        assert!((0..2).all(|party| lab.parties[party].device.suite() == Suite::XWing));
        let present = lab.parties[1].disk.state[&Key::Membership].clone();
        go(&mut lab, 0, Suite::Fips);
        for state in [old, present] {
            let mut membership = Membership::load(mls::Crypto::every(), &state).unwrap();
            let goes_on = membership.prepare(Change::SelfUpdate, vec![], None, lab.now).unwrap().commit;
            lab.inject_commit(1, &goes_on);
            lab.pass(MINUTE);
            assert!((0..2).all(|party| lab.parties[party].device.suite() == Suite::Fips));
        }
        lab.push(0, "one");
        assert!(lab.has(1, "one"));
    }
}
