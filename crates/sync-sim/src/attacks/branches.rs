//! Attacks on what the group is: commits that nobody made, rejects by nobody, groups of somebody's own, and a group that is
//! shown differently to its members.

use std::cell::RefCell;
use std::rc::Rc;

use sync_core::membership::{Change, Membership};
use sync_core::store::Key;
use sync_core::{Event, Outcome};
use sync_rules::envelope::head_of;
use sync_rules::mls::CommitMessage;
use sync_rules::statement::sign_reject;
use sync_rules::{Defence, SigningKey, mls};
use sync_types::body::{Body, Reached, pack};
use sync_types::envelope::Envelope;
use sync_types::frame::{Cut, Entry, EntryKind, FromRelay, Reject, Signature, ToRelay};
use sync_types::{Code, DeviceId, Opaque, Suite, encode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, SECOND, Seen, attack, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(By::Relay, "a commit in a device's name", "passed over", &[Defence::RelayOrders], in_its_name),
    attack(By::Relay, "a group of its own around a device", "not joined", &[Defence::KnownSigner], own_group),
    attack(By::Relay, "two commits for one epoch", "mended, nothing lost", &[Defence::Branch], two_commits),
    attack(
        By::FormerMember,
        "undo a removal, relay in league",
        "a former member has no say",
        &[Defence::RejectMember],
        undo_removal,
    ),
    attack(
        By::Member,
        "a reject of something else",
        "the device remembers what it refused",
        &[Defence::RejectCommit],
        reject_else,
    ),
    attack(By::Member, "a removal with an endless cut, relay in league", "rejected", &[Defence::CutForm], endless_cut),
    attack(By::Member, "claim to be in another branch", "told, and nobody stops", &[Defence::Branch], claim_branch),
];

/// Who attacks: the last of three, if it is a member.
const MALLORY: usize = 2;

fn honest(lab: &mut Lab) {
    lab.down = Box::new(|_, frame| vec![frame]);
    lab.up = Box::new(|_, frame| vec![frame]);
}

/// Has a device make a change. Gives the commit, which goes no further.
fn caught(lab: &mut Lab, party: usize, change: impl FnOnce(&mut Lab)) -> Result<Vec<u8>, String> {
    let kept = Rc::new(RefCell::new(None));
    let to = kept.clone();
    lab.up = Box::new(move |from, frame| match frame {
        ToRelay::Commit(commit) if from == party => {
            *to.borrow_mut() = Some(commit.commit.0);
            vec![]
        }
        frame => vec![frame],
    });
    change(lab);
    lab.run();
    lab.up = Box::new(|_, frame| vec![frame]);
    kept.borrow_mut().take().ok_or_else(|| "it makes no commit".to_owned())
}

fn self_update(lab: &mut Lab, party: usize) {
    lab.call(party, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
}

/// The relay hands one device an entry beside the log.
fn hand(lab: &mut Lab, party: usize, kind: EntryKind, bytes: &[u8]) {
    let cursor = lab.relay.model[&lab.group(0)].newest + 1;
    let entry = Entry { cursor, kind, bytes: Opaque(bytes.to_vec()) };
    lab.call(party, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
}

fn halted(lab: &Lab, party: usize) -> bool {
    lab.parties[party].events.iter().any(|e| matches!(e, Event::Halted { .. }))
}

pub(super) fn members(lab: &Lab, party: usize) -> Vec<DeviceId> {
    lab.parties[party].device.members().into_iter().map(|m| m.device).collect()
}

/// A commit of one device, with another's place in the tree written over its own (RFC 9420 §6: behind version, wire format,
/// group, epoch and the kind of sender).
fn in_its_name() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let mut commit = caught(&mut lab, 0, |lab| self_update(lab, 0))?;
    let leaf = 4 + 1 + 32 + 8 + 1;
    harm(commit[leaf..leaf + 4] == [0, 0, 0, 0], "the scene is not what it should be")?;
    commit[leaf + 3] = 1;
    lab.inject_commit(0, &commit);
    harm(!halted(&lab, 1), "the relay makes a device take a new key")?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    lab.restart(0);
    lab.restart(1);
    lab.pass(MINUTE);
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("passed over")
}

/// The relay says that a device was set back, and shows it a group in which it has its place, and all others are Mallory's.
fn own_group() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "before");
    let mallory = SigningKey::from_seed(&[66; 32]);
    let settings = lab.parties[1].device.settings();
    let own = Membership::create(mls::crypto(), Suite::FOUNDED, &mallory, lab.group(1), &settings, lab.now);
    let mut own = own.map_err(|e| e.to_string())?;
    let add = Change::Add(vec![lab.packages[0].clone()]);
    let prepared = own.prepare(add, vec![], None, lab.now).map_err(|e| e.to_string())?;
    own.apply(&prepared.commit).map_err(|e| e.to_string())?;
    while own.epoch() <= lab.parties[1].device.epoch() {
        let prepared = own.prepare(Change::SelfUpdate, vec![], None, lab.now).map_err(|e| e.to_string())?;
        own.apply(&prepared.commit).map_err(|e| e.to_string())?;
    }
    let info = own.group_info().map_err(|e| e.to_string())?;

    let made = Rc::new(RefCell::new(None));
    let kept = made.clone();
    lab.up = Box::new(move |from, frame| match frame {
        ToRelay::Commit(commit) if from == 1 => {
            *kept.borrow_mut() = Some(commit.commit.0);
            vec![]
        }
        frame => vec![frame],
    });
    lab.down = Box::new(move |to, mut frame| {
        match &mut frame {
            FromRelay::Attached(attached) if to == 1 => attached.acknowledged = 1 << 40,
            FromRelay::GroupInfo(bytes) if to == 1 => bytes.0.clone_from(&info),
            _ => {}
        }
        vec![frame]
    });
    lab.restart(1);
    lab.pass(2 * MINUTE);
    if let Some(commit) = made.borrow_mut().take() {
        hand(&mut lab, 1, EntryKind::Commit, &commit);
    }
    harm(!members(&lab, 1).contains(&mallory.device_id()), "a stranger reads all that the device pushes")?;
    let told = |e: &Event| matches!(e, Event::Refused { code: Code::UnknownSigner, .. });
    harm(lab.parties[1].events.iter().any(told), "it does not say why it goes no further")?;
    honest(&mut lab);
    lab.restart(1);
    lab.pass(2 * MINUTE);
    lab.reconnect();
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("not joined")
}

/// Two members change the group at once, and the relay tells each that its change is the one.
fn two_commits() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    lab.disconnect(1);
    let other = {
        lab.connect(1);
        caught(&mut lab, 1, |lab| self_update(lab, 1))?
    };
    hand(&mut lab, 1, EntryKind::Commit, &other);
    let epoch = lab.parties[1].device.epoch();
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Confirmed(epoch), now, rng));
    // The others never see that one.
    self_update(&mut lab, 0);
    lab.run();
    lab.pass(15 * SECOND);
    lab.push(1, "from the other branch");
    lab.push(0, "from the group's");
    for _ in 0..4 {
        lab.pass(2 * MINUTE);
        lab.reconnect();
    }
    harm((0..3).all(|party| !stopped(&lab, party)), "devices stop for good")?;
    let branches: Vec<_> = (0..3).map(|party| lab.parties[party].device.epoch()).collect();
    harm(branches.iter().all(|epoch| *epoch == branches[0]), "devices stay in branches of their own")?;
    lab.push(1, "after");
    lab.pass(2 * MINUTE);
    for party in 0..3 {
        for text in ["before", "from the other branch", "from the group's", "after"] {
            harm(
                lab.log(party).iter().filter(|(_, there)| there == text).count() == 1,
                "something is lost, or twice there",
            )?;
        }
    }
    Ok("mended, nothing lost")
}

fn stopped(lab: &Lab, party: usize) -> bool {
    lab.parties[party].device.status().halted.is_some()
}

/// Somebody removed another; while that is provisional for a member, a device that was removed before says that it could not
/// apply it.
fn undo_removal() -> Seen {
    let mut lab = Lab::with(4);
    let former = lab.key(3);
    lab.disconnect(3);
    lab.remove(3);
    // The relay decides how long a change is provisional.
    lab.down = Box::new(|to, frame| match frame {
        FromRelay::Confirmed(_) if to == 1 => vec![],
        frame => vec![frame],
    });
    let commit = Rc::new(RefCell::new(None));
    let kept = commit.clone();
    lab.up = Box::new(move |from, frame| {
        if let (0, ToRelay::Commit(commit)) = (from, &frame) {
            *kept.borrow_mut() = Some(commit.commit.0.clone());
        }
        vec![frame]
    });
    let removed = lab.id(MALLORY);
    lab.call(0, |device, now, rng| device.remove(removed, now, rng).expect("it is a member"));
    lab.run();
    let commit = commit.borrow_mut().take().ok_or("it makes no commit")?;
    harm(!members(&lab, 1).contains(&removed), "the scene is not what it should be")?;
    let epoch = lab.parties[1].device.epoch();
    let commit_hash = CommitMessage::hash(&commit);
    let mut reject = Reject { device: former.device_id(), epoch, commit_hash, signature: Signature([0; 64]) };
    sign_reject(&former, &lab.group(0), &mut reject);
    hand(&mut lab, 1, EntryKind::Reject, &encode(&reject));
    harm(!members(&lab, 1).contains(&removed), "a device seals again where a removed one reads")?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("a former member has no say")
}

/// A member makes a commit that nobody can apply, and a reject of another commit, so that nobody goes on minding the first.
fn reject_else() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let mut commit = caught(&mut lab, MALLORY, |lab| self_update(lab, MALLORY))?;
    // The signature is right, the membership tag at the end is not.
    let last = commit.len() - 1;
    commit[last] ^= 1;
    lab.disconnect(MALLORY);
    let acknowledged = Rc::new(RefCell::new(0));
    let kept = acknowledged.clone();
    lab.up = Box::new(move |from, frame| {
        if let (1, ToRelay::Acknowledge(told)) = (from, &frame) {
            *kept.borrow_mut() = told.cursor;
        }
        // The relay in league forgets the device's own reject.
        if matches!(frame, ToRelay::Reject(_)) { vec![] } else { vec![frame] }
    });
    let cursor = lab.relay.model[&lab.group(0)].newest + 1;
    hand(&mut lab, 1, EntryKind::Commit, &commit);
    harm(lab.met(1, Outcome::BadCommit), "the scene is not what it should be")?;
    let epoch = lab.parties[1].device.epoch() + 1;
    let key = lab.key(MALLORY);
    let commit_hash = CommitMessage::hash(b"another");
    let mut reject = Reject { device: key.device_id(), epoch, commit_hash, signature: Signature([0; 64]) };
    sign_reject(&key, &lab.group(0), &mut reject);
    let entry = Entry { cursor: cursor + 1, kind: EntryKind::Reject, bytes: Opaque(encode(&reject)) };
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
    lab.pass(SECOND);
    harm(*acknowledged.borrow() < cursor, "a device signs for a change that it could not apply")?;
    Ok("the device remembers what it refused")
}

/// A member removes another, and states an end of its chain that no chain has.
fn endless_cut() -> Seen {
    let mut lab = Lab::with(4);
    lab.push(0, "before");
    let state = lab.parties[MALLORY].disk.state[&Key::Membership].clone();
    let mut own = Membership::load(mls::crypto(), &state).map_err(|e| e.to_string())?;
    let victim = lab.id(3);
    let cut = Cut { last: vec![Reached { sender: victim, seq: u64::MAX, hash: Default::default() }], lost: false };
    let made = own.prepare(Change::Remove(vec![victim]), encode(&cut), None, lab.now);
    lab.inject_commit(MALLORY, &made.map_err(|e| e.to_string())?.commit);
    lab.pass(MINUTE);
    for party in 0..2 {
        let status = lab.parties[party].device.status();
        harm(status.behind == 0, "a device waits for envelopes that never were")?;
        harm(members(&lab, party).contains(&victim), "the removal stands")?;
    }
    Ok("rejected")
}

/// A member's envelope that names another state of the group than there is.
fn claim_branch() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let (_, last) = lab.last_of(MALLORY).ok_or("it has said its name")?;
    let epoch = lab.parties[MALLORY].device.epoch();
    let body = Body { blobs: pack([&lab.text("from nowhere")]), ..Body::default() };
    let honest = lab.seal(MALLORY, epoch, Some(&last), &body);
    let header = Envelope::parse(&honest).map_err(|e| e.to_string())?.header;
    let row = &lab.parties[MALLORY].disk.state[&Key::Epoch(epoch)];
    let secret: [u8; 32] = row[..32].try_into().map_err(|_| "a secret")?;
    let lie = sync_types::envelope::Header { epoch_tag: [9; 8], ..header };
    let sealed = sync_core::seal::seal(lab.group(0), &lie, &encode(&body), &secret, &lab.key(MALLORY));
    harm(head_of(&Envelope::parse(&sealed.bytes).map_err(|e| e.to_string())?).seq == last.seq + 1, "the scene is off")?;
    lab.disconnect(MALLORY);
    lab.inject(MALLORY, &sealed.bytes);
    lab.pass(MINUTE);
    lab.reconnect();
    harm((0..2).all(|party| !halted(&lab, party)), "one member stops all others for good")?;
    harm((0..2).all(|party| lab.met(party, Outcome::OtherBranch)), "it was not noticed")?;
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("told, and nobody stops")
}
