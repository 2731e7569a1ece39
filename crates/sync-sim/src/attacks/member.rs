//! A device of the group that does not keep to the protocol, with its own key and the group's secrets. Mostly in league with
//! the relay, since that takes nothing by itself that does not continue a chain.

use sync_core::event::Evidence;
use sync_core::{Event, Outcome};
use sync_rules::Defence;
use sync_rules::envelope::{head_of, verify_envelope, verify_head};
use sync_types::body::{Body, Reached, pack};
use sync_types::envelope::Envelope;
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::{Code, Opaque, decode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("impersonate another member", "refused", &[Defence::EnvelopeSignature], impersonate),
    attack("two envelopes with one seq", "both kept as evidence", &[Defence::Chain], equivocate),
    attack("split view by one sender", "noticed by the other's frontier", &[Defence::SplitView], split_view),
    attack("claims about others' frontiers", "disproved by the sender", &[Defence::FalseClaims], false_claim),
    attack("signature over an unreadable body", "passed over, told", &[Defence::PassOver], unreadable),
    attack("a commit with wrong tags", "undone", &[Defence::Reject], wrong_tags),
];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Member, name, expected, defences, scene }
}

/// Who attacks: the last of three.
const MALLORY: usize = 2;

fn body_of(lab: &mut Lab, text: &str) -> Body {
    Body { blobs: pack([&lab.text(text)]), ..Body::default() }
}

fn impersonate() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "one");
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(0).ok_or("there is an envelope")?;
    let body = body_of(&mut lab, "not from the first");
    // Everything is right but the key.
    let forged = lab.seal_as(MALLORY, 0, epoch, Some(&last), &body);
    lab.inject(0, &forged);
    lab.push(0, "two");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["one", "two"])?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("refused")
}

/// Seals two envelopes with one number. The relay shows the first device one and the second the other.
fn two_for_one(lab: &mut Lab) -> Result<(Vec<u8>, Vec<u8>), String> {
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let [a, b] = ["black", "white"].map(|text| {
        let body = body_of(lab, text);
        lab.seal(MALLORY, epoch, Some(&last), &body)
    });
    lab.disconnect(MALLORY);
    let instead = b.clone();
    let first = a.clone();
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::Deliver(mut entries) if to == 1 => {
            for entry in entries.iter_mut().filter(|e| e.bytes.0 == first) {
                entry.bytes = Opaque(instead.clone());
            }
            vec![FromRelay::Deliver(entries)]
        }
        frame => vec![frame],
    });
    lab.inject(MALLORY, &a);
    harm(lab.has(0, "black") && lab.has(1, "white"), "the scene is not what it should be")?;
    Ok((a, b))
}

fn equivocate() -> Seen {
    let mut lab = Lab::with(3);
    let (a, _) = two_for_one(&mut lab)?;
    let head = head_of(&Envelope::parse(&a).map_err(|e| e.to_string())?);
    let epoch = lab.parties[MALLORY].device.epoch();
    let body = body_of(&mut lab, "grey");
    let next = lab.seal(MALLORY, epoch, Some(&head), &body);
    lab.inject(MALLORY, &next);
    harm(!lab.has(1, "grey"), "a chain goes on that forks")?;
    let kept = lab.evidence(1, Outcome::Equivocation).ok_or("there is no evidence")?;
    let evidence: Evidence = decode(kept).map_err(|e| e.to_string())?;
    let (group, key) = (lab.group(0), lab.key(MALLORY).public());
    let first = evidence.first.ok_or("the first one is not on record")?;
    let second = Envelope::parse(&evidence.second).map_err(|e| e.to_string())?;
    harm(verify_head(&group, &first, &key).is_some(), "the first one proves nothing")?;
    harm(verify_envelope(&group, &second, &key).is_ok(), "the second one proves nothing")?;
    harm(second.header.seq == first.seq + 1 && second.header.previous != first.hash, "they do not exclude each other")?;
    Ok("both kept as evidence")
}

fn split_view() -> Seen {
    let mut lab = Lab::with(3);
    two_for_one(&mut lab)?;
    // What the first device has seen of the chain stands in its next envelope.
    lab.push(0, "hello");
    let unusual = Event::Unusual { outcome: Outcome::SplitView, sender: Some(lab.id(0)) };
    harm(lab.parties[1].events.contains(&unusual), "two devices hold different things and do not know")?;
    Ok("noticed by the other's frontier")
}

fn false_claim() -> Seen {
    let mut lab = Lab::with(3);
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, of_the_first) = lab.last_of(0).ok_or("it has sent something")?;
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let claim = Reached { sender: lab.id(0), seq: of_the_first.seq + 100, hash: Default::default() };
    let body = Body { seen: vec![claim], ..body_of(&mut lab, "believe me") };
    let envelope = lab.seal(MALLORY, epoch, Some(&last), &body);
    lab.disconnect(MALLORY);
    lab.inject(MALLORY, &envelope);
    lab.pass(5 * MINUTE);
    let status = lab.parties[1].device.status();
    harm(status.withheld == 0 && status.behind == 0, "what was never sealed counts as withheld")?;
    harm(lab.met(1, Outcome::FalseClaim), "it was not noticed")?;
    lab.push(0, "one");
    has_all(&lab, 1, &["believe me", "one"])?;
    Ok("disproved by the sender")
}

fn unreadable() -> Seen {
    let mut lab = Lab::with(3);
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let body = Body { blobs: Opaque(vec![0xff; 300]), ..Body::default() };
    let bad = lab.seal(MALLORY, epoch, Some(&last), &body);
    let head = head_of(&Envelope::parse(&bad).map_err(|e| e.to_string())?);
    let body = body_of(&mut lab, "readable again");
    let good = lab.seal(MALLORY, epoch, Some(&head), &body);
    lab.disconnect(MALLORY);
    lab.inject(MALLORY, &bad);
    lab.inject(MALLORY, &good);
    lab.push(0, "one");
    has_all(&lab, 1, &["readable again", "one"])?;
    harm(lab.met(1, Outcome::Undecodable), "it was not told")?;
    Ok("passed over, told")
}

fn wrong_tags() -> Seen {
    let mut lab = Lab::with(3);
    // The signature is right, the membership tag at the end is not: a relay cannot tell.
    lab.up = Box::new(|from, frame| match frame {
        ToRelay::Commit(mut commit) if from == MALLORY => {
            let last = commit.commit.len() - 1;
            commit.commit.0[last] ^= 1;
            vec![ToRelay::Commit(commit)]
        }
        frame => vec![frame],
    });
    lab.call(MALLORY, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.up = Box::new(|_, frame| vec![frame]);
    lab.pass(MINUTE);
    for party in [0, 1] {
        let status = lab.parties[party].device.status();
        harm(status.halted != Some(Code::Forked), "who noticed it is shut out")?;
    }
    harm(lab.met(0, Outcome::Undone) && lab.met(1, Outcome::Undone), "it stands")?;
    lab.push(0, "one");
    has_all(&lab, 1, &["one"])?;
    Ok("undone")
}
