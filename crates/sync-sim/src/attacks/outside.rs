//! More of a device that was removed: what it commits, replays and asks for; and ids that are nobody's.

use sync_core::membership::{Change, Membership, replace};
use sync_core::store::Key;
use sync_core::{Joining, Outcome};
use sync_rules::defence::without;
use sync_rules::{Defence, Observer, SigningKey, mls};
use sync_types::body::{Body, Control, HistoryRequest, Nack, Reached, Span};
use sync_types::frame::{Commit, Cut, Entry, EntryKind, FromRelay, ToRelay};
use sync_types::{Code, DeviceId, Opaque, Suite, encode};

use super::branches::members;
use super::former::{MALLORY, attack, removed};
use super::keys::forge_id;
use super::lab::Lab;
use super::{Attack, MINUTE, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("commit after removal", "refused by the relay", &[Defence::CurrentMember], commit),
    attack("commit in place of its removal, to one member", "mended, nothing lost", &[Defence::Branch], other_branch),
    attack(
        "replay an old replace-key proof, relay in league",
        "refused by every member",
        &[Defence::ReplaceKeyProof],
        old_proof,
    ),
    attack("come back under an id that is not its key's", "not added", &[Defence::DeviceIds], not_its_id),
    attack("ask for history and repair after removal", "not answered", &[Defence::Cut], requests),
];

/// A commit that Mallory makes of the state that it has.
fn own_commit(lab: &Lab) -> Result<Vec<u8>, String> {
    let state = &lab.parties[MALLORY].disk.state[&Key::Membership];
    let mut own = Membership::load(mls::crypto(), state).map_err(|e| e.to_string())?;
    let made = own.prepare(Change::SelfUpdate, encode(&Cut::default()), None, lab.now);
    Ok(made.map_err(|e| e.to_string())?.commit)
}

fn commit() -> Seen {
    let mut lab = removed();
    let commit = Opaque(own_commit(&lab)?);
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let frame = Commit { commit, group_info: Opaque::default(), welcomes: Vec::new() };
    let answers = lab.raw(conn, ToRelay::Commit(frame));
    let refused = |frame: &FromRelay| matches!(frame, FromRelay::Refused(r) if r.code() == Code::Removed);
    harm(answers.iter().any(refused), "the relay looks at what a removed device would change")?;
    harm(!members(&lab, 0).contains(&lab.id(MALLORY)), "it is back")?;
    Ok("refused by the relay")
}

/// The relay shows one member Mallory's change instead of the one that removes Mallory.
fn other_branch() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let commit = own_commit(&lab)?;
    lab.disconnect(MALLORY);
    let cursor = lab.relay.model[&lab.group(0)].newest + 1;
    let entry = Entry { cursor, kind: EntryKind::Commit, bytes: Opaque(commit) };
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
    let epoch = lab.parties[1].device.epoch();
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Confirmed(epoch), now, rng));
    lab.remove(MALLORY);
    harm(members(&lab, 1).contains(&lab.id(MALLORY)), "the scene is not what it should be")?;
    lab.push(1, "where the removed one reads");
    lab.push(0, "where it does not");
    for _ in 0..4 {
        lab.pass(2 * MINUTE);
        lab.reconnect();
    }
    lab.push(1, "after");
    lab.pass(2 * MINUTE);
    for party in 0..2 {
        harm(lab.parties[party].device.status().halted.is_none(), "a device stops for good")?;
        harm(!members(&lab, party).contains(&lab.id(MALLORY)), "a device shares its keys with a removed one for good")?;
        for text in ["before", "where the removed one reads", "where it does not", "after"] {
            let count = lab.log(party).iter().filter(|(_, there)| there == text).count();
            harm(count == 1, &format!("{text:?} is {count} times at device {party}"))?;
        }
    }
    Ok("mended, nothing lost")
}

/// A member once gave its word for another key, and took none. Whoever has that word and that key uses it later.
fn old_proof() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let observer = Observer::new(mls::crypto());
    let victim = lab.id(1);
    let then = lab.group_info(1);
    let then = observer.inspect(&then, victim).map_err(|e| e.to_string())?;
    lab.disconnect(MALLORY);
    lab.remove(MALLORY);
    let now = lab.group_info(1);
    let mut state = observer.inspect(&now, victim).map_err(|e| e.to_string())?;
    // The word is over the place of that time, the commit over that of today.
    (state.observed.epoch, state.transcript) = (then.observed.epoch, then.transcript);
    let (_, head) = lab.last_of(1).ok_or("it has said its name")?;
    let cut = Cut { last: vec![Reached { sender: victim, seq: head.seq, hash: head.hash }], lost: false };
    let (word, fresh) = (lab.key(1), SigningKey::from_seed(&[66; 32]));
    let made = without(&[Defence::ReplaceKeyProof], || replace(mls::crypto(), state, &word, &fresh, encode(&cut)));
    lab.inject_commit(0, &made.map_err(|e| e.to_string())?.prepared.commit);
    lab.pass(MINUTE);
    lab.reconnect();
    harm(!members(&lab, 0).contains(&fresh.device_id()), "an old word for a key puts a member out")?;
    harm(lab.met(0, Outcome::Forged), "it was not noticed")?;
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("refused by every member")
}

/// It is let in again by pairing, and asks for an id of its choice, as if it were some other device.
fn not_its_id() -> Seen {
    let mut lab = removed();
    let claimed = DeviceId([7; 16]);
    let mut added = Err("nothing was done".to_owned());
    lab.call(0, |device, now, rng| {
        let joining = Joining::new(mls::crypto(), Suite::FOUNDED, now, "phone", rng).map_err(|e| e.to_string());
        added = joining.and_then(|(joining, mut package)| {
            let seed = joining.to_bytes()[1..33].try_into().expect("the seed stands behind the version");
            forge_id(&mut package, &SigningKey::from_seed(&seed), claimed)?;
            Ok(device.add(package, "phone", now, rng).is_ok())
        });
    });
    let added = added?;
    lab.run();
    lab.pass(15 * SECOND);
    harm(!added && !members(&lab, 0).contains(&claimed), "a device is in the group under an id that is not its key's")?;
    Ok("not added")
}

fn requests() -> Seen {
    let mut lab = removed();
    lab.push(0, "after");
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let spans = vec![Span { sender: lab.id(0), from: 1, to: 2 }];
    let request = HistoryRequest { holder: lab.id(0), number: 1, spans: spans.clone() };
    let nack = Nack { number: 1, holder: lab.id(0), spans };
    let control = vec![Control::HistoryRequest(request), Control::Nack(nack)];
    let asks = lab.seal(MALLORY, epoch, Some(&last), &Body { control, ..Body::default() });
    let sealed = lab.parties[0].device.status().sealed_seq;
    lab.inject(MALLORY, &asks);
    lab.pass(MINUTE);
    harm(lab.parties[0].device.status().sealed_seq == sealed, "a removed device has the group's content sent again")?;
    harm(lab.met(0, Outcome::RemovedSender), "it was not noticed")?;
    Ok("not answered")
}
