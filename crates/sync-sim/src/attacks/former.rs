//! A device that was removed, with all that it ever knew; also in league with the relay.

use std::cell::RefCell;
use std::rc::Rc;

use sync_core::membership::replace;
use sync_core::store::Key;
use sync_core::{Event, Outcome};
use sync_rules::defence::without;
use sync_rules::{Defence, Observer, SigningKey, mls};
use sync_types::body::{Body, Presence, Reached, pack};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{Acknowledge, Cut, Entry, EntryKind, FromRelay, ToRelay};
use sync_types::{Code, Opaque, encode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("attach as another device", "refused by the relay", &[Defence::AttachProof], attach_as_another),
    attack("pull after removal", "shown the removal and nothing behind", &[Defence::RemovedView], pull),
    attack("push after removal", "refused by the relay", &[Defence::CurrentMember, Defence::Cut], push),
    attack("push after removal, relay in league", "beyond the cut", &[Defence::Cut], push_in_league),
    attack("acknowledge after removal", "refused by the relay", &[Defence::RemovedView], acknowledge),
    attack("presence after removal, relay in league", "ignored", &[Defence::PresenceMember], presence),
    attack("read a later epoch, relay in league", "no key opens it", &[Defence::FreshEpochKey], read_later),
    attack("backdate past the cut, to one member", "told as a fork", &[Defence::CutFork], backdate),
    attack(
        "take a member's place, relay in league",
        "refused by every member, and the group goes on",
        &[Defence::ReplaceKeyProof],
        take_place,
    ),
    attack(
        "lead a restored device back before the removal",
        "refused, and said why",
        &[Defence::SeenRemovals],
        lead_back,
    ),
];

pub(super) const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::FormerMember, name, expected, defences, scene }
}

/// Who attacks: the last of three.
pub(super) const MALLORY: usize = 2;

/// Three devices, of which the last has been removed. It never hears of it, so that it keeps all that it has.
pub(super) fn removed() -> Lab {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    lab.disconnect(MALLORY);
    lab.remove(MALLORY);
    lab
}

fn next(lab: &mut Lab, text: &str) -> Result<Vec<u8>, String> {
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let body = Body { blobs: pack([&lab.text(text)]), ..Body::default() };
    Ok(lab.seal(MALLORY, epoch, Some(&last), &body))
}

fn attach_as_another() -> Seen {
    let mut lab = removed();
    let (_, answers) = lab.attach_as(0, &lab.key(MALLORY));
    let attached = answers.iter().any(|frame| matches!(frame, FromRelay::Attached(_)));
    harm(!attached, "whoever knows a device's id is that device")?;
    Ok("refused by the relay")
}

fn pull() -> Seen {
    let mut lab = removed();
    // The relay holds it, since somebody has not fetched it.
    lab.disconnect(1);
    lab.push(0, "after");
    let (_, answers) = lab.attach_with_key_of(MALLORY);
    let shown = |kind| {
        answers.iter().any(|frame| matches!(frame, FromRelay::Deliver(list) if list.iter().any(|e| e.kind == kind)))
    };
    harm(!shown(EntryKind::Envelope), "a removed device is given envelopes")?;
    harm(shown(EntryKind::Commit), "it is not told that it was removed")?;
    Ok("shown the removal and nothing behind")
}

fn push() -> Seen {
    let mut lab = removed();
    let envelope = next(&mut lab, "from outside")?;
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let answers = lab.raw(conn, ToRelay::Push(vec![Opaque(envelope)]));
    harm(!lab.has(1, "from outside"), "what a removed device pushes is taken")?;
    let refused = |frame: &FromRelay| matches!(frame, FromRelay::Refused(r) if r.code() == Code::Removed);
    harm(answers.iter().any(refused), "it is not refused")?;
    Ok("refused by the relay")
}

fn push_in_league() -> Seen {
    let mut lab = removed();
    let envelope = next(&mut lab, "from outside")?;
    lab.inject(MALLORY, &envelope);
    harm(!lab.has(1, "from outside"), "what a removed device pushes is taken")?;
    harm(lab.met(1, Outcome::RemovedSender), "it was not noticed")?;
    Ok("beyond the cut")
}

fn acknowledge() -> Seen {
    let mut lab = removed();
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    // Of something that came after.
    lab.disconnect(1);
    lab.push(0, "after");
    let cursor = lab.relay.model[&lab.group(0)].newest;
    let answers = lab.raw(conn, ToRelay::Acknowledge(Acknowledge { cursor, statement: Opaque::default() }));
    let refused = |frame: &FromRelay| matches!(frame, FromRelay::Refused(_));
    harm(answers.iter().any(refused), "its acknowledgement is taken")?;
    Ok("refused by the relay")
}

fn presence() -> Seen {
    let mut lab = removed();
    let epoch = lab.parties[MALLORY].device.epoch();
    let row = &lab.parties[MALLORY].disk.state[&Key::Epoch(epoch)];
    let secret: [u8; 32] = row[..32].try_into().map_err(|_| "a secret")?;
    let (bytes, _) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let last = Envelope::parse(&bytes).map_err(|e| e.to_string())?.header;
    let header = Header { class: Class::Ephemeral, seq: 0, previous: Default::default(), nonce: [3; 24], ..last };
    let presence = Presence { channel: Opaque(b"notes".to_vec()), data: Opaque(b"still here".to_vec()) };
    let sealed = sync_core::seal::seal(lab.group(0), &header, &encode(&presence), &secret, &lab.key(MALLORY));
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Presence(Opaque(sealed.bytes)), now, rng));
    let shown = lab.parties[1].events.iter().any(|e| matches!(e, Event::Presence { .. }));
    harm(!shown, "a removed device is shown as present")?;
    Ok("ignored")
}

fn read_later() -> Seen {
    let mut lab = removed();
    lab.push(0, "after");
    let (bytes, _) = lab.last_of(0).ok_or("it has sent something")?;
    let envelope = Envelope::parse(&bytes).map_err(|e| e.to_string())?;
    let group = lab.group(0);
    let opens = |row: &[u8]| {
        let secret: [u8; 32] = row[..32].try_into().expect("the secret stands first");
        sync_core::seal::open(group, &envelope, &secret).is_ok()
    };
    let state = &lab.parties[MALLORY].disk.state;
    let keys = state.iter().filter(|(key, _)| matches!(key, Key::Epoch(_)));
    harm(!keys.map(|(_, row)| row).any(|row| opens(row)), "a removed device reads what came after")?;
    Ok("no key opens it")
}

/// With the group's newest state from the relay it makes a commit that puts another member out for a key of its own.
fn take_place() -> Seen {
    let mut lab = removed();
    let info = lab.group_info(1);
    let (_, head) = lab.last_of(1).ok_or("it has said its name")?;
    let cut = Cut { last: vec![Reached { sender: lab.id(1), seq: head.seq, hash: head.hash }], lost: false };
    let state = Observer::new(mls::crypto()).inspect(&info, lab.id(1)).map_err(|e| e.to_string())?;
    let (own, fresh) = (lab.key(MALLORY), SigningKey::from_seed(&[66; 32]));
    // Its own library has no such scruples.
    let made = without(&[Defence::ReplaceKeyProof], || replace(mls::crypto(), state, &own, &fresh, encode(&cut)));
    let commit = made.map_err(|e| e.to_string())?.prepared.commit;
    lab.inject_commit(0, &commit);
    lab.pass(MINUTE);
    lab.reconnect();
    let members: Vec<_> = lab.parties[0].device.members().into_iter().map(|m| m.device).collect();
    harm(!members.contains(&fresh.device_id()), "a removed device has another's place in the group")?;
    harm(lab.met(0, Outcome::Forged), "it was not noticed")?;
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    harm(members.contains(&lab.id(1)), "a member has lost its place")?;
    Ok("refused by every member, and the group goes on")
}

/// A device whose disk was set back asks for the group's state. The relay gives it one of before the removal, in which the
/// removed device still reads.
fn lead_back() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let old = lab.group_info(1);
    lab.disconnect(MALLORY);
    lab.remove(MALLORY);
    let copy = lab.parties[1].disk.clone();
    lab.push(1, "after the copy");
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::GroupInfo(_) if to == 1 => vec![FromRelay::GroupInfo(Opaque(old.clone()))],
        frame => vec![frame],
    });
    let made = Rc::new(RefCell::new(None));
    let kept = made.clone();
    lab.up = Box::new(move |from, frame| match frame {
        ToRelay::Commit(commit) if from == 1 => {
            *kept.borrow_mut() = Some(commit.commit);
            vec![]
        }
        frame => vec![frame],
    });
    lab.set_back(1, copy);
    let commit = made.borrow_mut().take();
    if let Some(bytes) = commit {
        let cursor = lab.relay.model[&lab.group(0)].newest + 1;
        let entry = Entry { cursor, kind: EntryKind::Commit, bytes };
        lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
    }
    let members: Vec<_> = lab.parties[1].device.members().into_iter().map(|m| m.device).collect();
    harm(!members.contains(&lab.id(MALLORY)), "a device shares its keys with one that it knows to be removed")?;
    let told = lab.parties[1].events.iter().any(|e| matches!(e, Event::Refused { code: Code::Forked, .. }));
    harm(told, "it does not say why it goes no further")?;
    Ok("refused, and said why")
}

fn backdate() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let envelope = next(&mut lab, "for one alone")?;
    lab.disconnect(MALLORY);
    // Before the removal, and to the second device only.
    let cursor = lab.relay.model[&lab.group(0)].newest + 1;
    let entry = Entry { cursor, kind: EntryKind::Envelope, bytes: Opaque(envelope) };
    let mut shift = 1;
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
    lab.down = Box::new(move |to, mut frame| {
        if to == 1 {
            match &mut frame {
                FromRelay::Deliver(entries) => entries.iter_mut().for_each(|e| e.cursor += shift),
                FromRelay::CaughtUp(cursor) => *cursor += std::mem::replace(&mut shift, 1),
                _ => {}
            }
        }
        vec![frame]
    });
    harm(lab.has(1, "for one alone"), "the scene is not what it should be")?;
    lab.remove(MALLORY);
    lab.pass(15 * SECOND);
    let told = lab.parties[1].events.contains(&Event::Halted { code: Code::Forked });
    harm(told, "one device holds what no other ever will, and does not know")?;
    lab.pass(MINUTE);
    has_all(&lab, 0, &["before"])?;
    Ok("told as a fork")
}
