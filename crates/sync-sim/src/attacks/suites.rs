//! Somebody who alters the version or the suite of what travels, and a member that seals by another suite than its group's.

use sync_core::{Joining, Outcome};
use sync_rules::{Defence, Observer, mls};
use sync_types::body::{Body, pack};
use sync_types::frame::{About, Attach, EntryKind, FromRelay, ToRelay};
use sync_types::{Code, Opaque, Suite, encode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, Seen, attack, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(By::Relay, "strip or raise version or suite", "refused by name", &ALTERED, altered),
    attack(By::Member, "mix suites", "refused", &[Defence::GroupSuite], mixed),
];

/// An envelope of another suite falls twice: it is none of the group's, and its signature does not hold.
const ALTERED: [Defence; 2] = [Defence::EnvelopeSignature, Defence::GroupSuite];

fn other() -> Suite {
    match Suite::FOUNDED {
        Suite::XWing => Suite::Fips,
        Suite::Fips => Suite::XWing,
    }
}

fn refused_for(answers: &[FromRelay]) -> Option<Code> {
    answers.iter().find_map(|frame| match frame {
        FromRelay::Refused(refused) if refused.about == About::Session => Some(refused.code()),
        _ => None,
    })
}

/// Where the MLS cipher suite stands in a GroupInfo: behind version and kind of the message, and the group's version.
const SUITE_IN_GROUP_INFO: usize = 6;

fn with_suite(message: &[u8], at: usize, suite: u16) -> Vec<u8> {
    let mut altered = message.to_vec();
    altered[at..at + 2].copy_from_slice(&suite.to_be_bytes());
    altered
}

fn altered() -> Seen {
    let mut lab = Lab::with(2);
    // Each envelope on its way: another version, another suite, one that nobody has, none.
    for (text, at, value) in [("one", 0, 2), ("two", 1, other() as u8), ("three", 1, 9), ("four", 1, 0)] {
        lab.down = Box::new(move |to, frame| match frame {
            FromRelay::Deliver(mut entries) if to == 1 => {
                for entry in entries.iter_mut().filter(|entry| entry.kind == EntryKind::Envelope) {
                    entry.bytes.0[at] = value;
                }
                vec![FromRelay::Deliver(entries)]
            }
            frame => vec![frame],
        });
        let before = lab.parties[1].device.outcome_counts()[Outcome::Forged as usize];
        lab.push(0, text);
        let forged = lab.parties[1].device.outcome_counts()[Outcome::Forged as usize];
        harm(forged > before && !lab.has(1, text), "an altered header is read as if nothing were")?;
        lab.down = Box::new(|_, frame| vec![frame]);
        lab.push(0, &format!("behind {text}"));
        lab.pass(MINUTE);
        harm(lab.has(1, text), "it is lost, where it should be asked for again")?;
    }

    // Somebody who attaches with another one.
    let key = lab.key(1);
    let as_it_is = |lab: &mut Lab| {
        let conn = lab.open();
        (conn, lab.attach_request(1, &key, conn))
    };
    let (conn, attach) = as_it_is(&mut lab);
    let raised = lab.raw(conn, ToRelay::Attach(Attach { version: 2, ..attach }));
    harm(refused_for(&raised) == Some(Code::Version), "the relay takes another version")?;
    for suite in [other() as u8, 9, 0] {
        let (conn, attach) = as_it_is(&mut lab);
        let answers = lab.raw(conn, ToRelay::Attach(Attach { suite, ..attach }));
        harm(refused_for(&answers) == Some(Code::Suite), "the relay takes another suite")?;
    }

    // The group's state under another number is none of that suite's, and under one that nobody has it is refused by name.
    let info = lab.group_info(1);
    let observer = Observer::new(mls::Crypto::every());
    let found = |suite| observer.inspect(&with_suite(&info, SUITE_IN_GROUP_INFO, suite), lab.id(1));
    harm(found(*mls::CIPHER_SUITE).is_ok(), "the scene is not what it should be")?;
    harm(found(*mls::cipher_suite(other())).is_err(), "the state of a group passes for one of another suite")?;
    let unknown = found(7).map(drop).map_err(|e| e.code());
    harm(unknown == Err(Code::Suite), "a suite that nobody has passes, or is refused for something else")?;
    Ok("refused by name")
}

fn mixed() -> Seen {
    let mut lab = Lab::with(3);
    const MALLORY: usize = 2;
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let body = Body { blobs: pack([&lab.text("by another suite")]), ..Body::default() };
    let epoch = lab.parties[MALLORY].device.epoch();
    let envelope = lab.seal_by(other(), MALLORY, epoch, Some(&last), &encode(&body));
    // The relay takes it from nobody.
    lab.disconnect(MALLORY);
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let answers = lab.raw(conn, ToRelay::Push(vec![Opaque(envelope.clone())]));
    let refused = answers.iter().any(|frame| matches!(frame, FromRelay::Refused(r) if r.code() == Code::Suite));
    harm(refused, "the relay takes an envelope of another suite")?;
    lab.relay.ended(conn);
    lab.run();
    // One in league shows it to everybody.
    lab.inject(MALLORY, &envelope);
    harm(!lab.has(1, "by another suite"), "who has agreed on one suite reads what is sealed by another")?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;

    // Nor comes anybody in with a key package of another suite.
    let mut refused = None;
    lab.call(0, |device, now, rng| {
        let made = Joining::new(mls::Crypto::every(), other(), now, "phone", rng);
        refused = made.ok().and_then(|(_, package)| device.add(package, "phone", now, rng).err()).map(|e| e.code());
    });
    harm(refused == Some(Code::Suite), "a key package of another suite is taken")?;
    lab.push(0, "one");
    has_all(&lab, 1, &["one"])?;
    Ok("refused")
}

#[cfg(test)]
mod tests {
    use sync_types::settings::HistoryPolicy;

    use super::*;

    /// The same in a Welcome: behind version and kind of the message.
    const SUITE_IN_WELCOME: usize = 4;

    /// The same relay carries groups of both suites, and their devices do in one all that they do in the other.
    #[test]
    fn a_relay_carries_groups_of_every_suite() {
        for suite in Suite::OURS {
            let mut lab = Lab::of(*suite, 3, HistoryPolicy::All);
            lab.push(0, "one");
            lab.push(1, "two");
            lab.remove(2);
            lab.push(0, "three");
            assert!(lab.has(1, "one") && lab.has(1, "three") && !lab.has(2, "three"), "{suite:?}");
            // A device whose disk is set back takes a new key, and loses nothing.
            let copy = lab.parties[1].disk.clone();
            lab.push(1, "four");
            lab.set_back(1, copy);
            lab.pass(5 * MINUTE);
            lab.reconnect();
            lab.pass(5 * MINUTE);
            assert!(lab.has(0, "four"), "{suite:?}");
            lab.push(0, "five");
            assert!(lab.has(1, "five"), "{suite:?}");
        }
    }

    /// A welcome under another number is refused by name; and so is a group of a suite that this device has not agreed to.
    #[test]
    fn a_welcome_of_another_suite_is_refused() {
        let mut lab = Lab::of(Suite::FOUNDED, 1, HistoryPolicy::All);
        lab.down = Box::new(|_, frame| vec![frame]);
        let number = *mls::cipher_suite(other());
        lab.welcomes = Some(Box::new(move |welcome| with_suite(welcome, SUITE_IN_WELCOME, number)));
        let refused = lab.add_promised(|_| ()).unwrap_err();
        assert_eq!(refused.code(), Code::Suite);
    }
}
