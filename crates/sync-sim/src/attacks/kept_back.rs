//! A relay that keeps back, alters or makes up what begins epochs and what mends holes: commits, Welcomes, repairs; and one that
//! hands out what belongs elsewhere.

use std::cell::RefCell;
use std::rc::Rc;

use sync_core::membership::{Change, Membership};
use sync_core::{Event, Joining, Outcome};
use sync_rules::mls::CommitMessage;
use sync_rules::statement::sign_reject;
use sync_rules::{Defence, SigningKey, mls};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{EntryKind, FromRelay, Reject, Signature, ToRelay};
use sync_types::settings::HistoryPolicy;
use sync_types::{Code, Opaque, Suite, encode};

use super::lab::Lab;
use super::{Attack, By, MINUTE, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("splice an envelope across groups", "refused", &[Defence::EnvelopeSignature], splice),
    attack("withhold a removal", "told as withheld", &[Defence::LaterEpoch], removal),
    attack("withhold a commit from one", "it takes a new key, and lacks nothing", &[Defence::LaterEpoch], commit),
    attack("corrupt a commit", "it takes a new key, and lacks nothing", &[Defence::LaterEpoch], corrupt_commit),
    attack("corrupt a Welcome", "refused; the true one still counts", &[Defence::OfferedGroup], welcome),
    attack("corrupt a repair", "refused, and asked again", &[Defence::EnvelopeSignature], repair),
    attack("hand out a rejected commit again", "passed over", &[Defence::Rejected], rejected),
];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Relay, name, expected, defences, scene }
}

fn honest(lab: &mut Lab) {
    lab.down = Box::new(|_, frame| vec![frame]);
    lab.up = Box::new(|_, frame| vec![frame]);
}

/// An envelope of another group, as it is, and with a member's place written over its own.
fn splice() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "before");
    let other = lab.found(HistoryPolicy::All);
    lab.push(other, "from another group");
    let (bytes, _) = lab.last_of(other).ok_or("it has sent something")?;
    let envelope = Envelope::parse(&bytes).map_err(|e| e.to_string())?;
    let (_, last) = lab.last_of(0).ok_or("it has sent something")?;
    let there = Header::parse(&last.header).map_err(|e| e.to_string())?;
    let (epoch, epoch_tag) = (there.epoch, there.epoch_tag);
    let header =
        Header { sender: lab.id(0), seq: last.seq + 1, previous: last.hash, epoch, epoch_tag, ..envelope.header };
    let spliced = Envelope::assemble(&encode(&header), envelope.ciphertext, envelope.signature);
    lab.inject(0, &bytes);
    lab.inject(0, &spliced);
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("refused")
}

/// The next change of the group does not come to the second device as it is. With `all`, nothing that shows the group's state
/// does.
fn without_commit(lab: &mut Lab, all: bool, mut instead: impl FnMut(&mut Opaque) -> bool + 'static) {
    let (mut commits, mut confirmed) = (0, 0);
    lab.down = Box::new(move |to, mut frame| match &mut frame {
        FromRelay::Deliver(entries) if to == 1 => {
            entries.retain_mut(|entry| {
                commits += u32::from(entry.kind == EntryKind::Commit);
                entry.kind != EntryKind::Commit || commits > 1 || instead(&mut entry.bytes)
            });
            if entries.is_empty() { vec![] } else { vec![frame] }
        }
        FromRelay::Confirmed(_) if to == 1 && confirmed == 0 => {
            confirmed += 1;
            vec![]
        }
        FromRelay::GroupInfo(_) if to == 1 && all => vec![],
        _ => vec![frame],
    });
}

fn removal() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    lab.disconnect(2);
    without_commit(&mut lab, true, |_| false);
    lab.remove(2);
    lab.push(0, "after the removal");
    lab.pass(30 * SECOND);
    let from = lab.id(0);
    let told = lab.parties[1].events.iter().any(|e| matches!(e, Event::Withheld { sender, .. } if *sender == from));
    let shown = lab.parties[1].device.status().withheld > 0;
    harm(told && shown, "a device goes on where a removed one reads, and does not know")?;
    Ok("told as withheld")
}

/// A change of keys comes to one device not, or not as it was made. The group's state it is shown if it asks.
fn change_missed(instead: impl FnMut(&mut Opaque) -> bool + 'static) -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    without_commit(&mut lab, false, instead);
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.pass(11 * SECOND);
    lab.push(0, "after");
    lab.pass(30 * SECOND);
    let taken = lab.parties[1].events.iter().any(|e| matches!(e, Event::KeyReplaced { .. }));
    honest(&mut lab);
    lab.reconnect();
    harm(taken, "a device waits for an epoch that never begins")?;
    lab.pass(MINUTE);
    lab.push(1, "from the new key");
    lab.pass(MINUTE);
    for party in 0..3 {
        for text in ["before", "after", "from the new key"] {
            let count = lab.log(party).iter().filter(|(_, there)| there == text).count();
            harm(count == 1, &format!("{text:?} is {count} times at device {party}"))?;
        }
    }
    Ok("it takes a new key, and lacks nothing")
}

fn commit() -> Seen {
    change_missed(|_| false)
}

fn corrupt_commit() -> Seen {
    change_missed(|bytes| {
        let middle = bytes.len() / 2;
        bytes.0[middle] ^= 1;
        true
    })
}

/// The relay knows the newcomer's key package, which is in the commit: it makes a group of its own with it, and flips bits in
/// the true Welcome.
fn welcome() -> Seen {
    let mut lab = Lab::with(1);
    let (mut joining, package) = {
        let mut made = None;
        lab.call(0, |device, now, rng| {
            let (mut joining, package) =
                Joining::new(mls::crypto(), Suite::FOUNDED, now, "phone", rng).expect("it can be made");
            joining.take_offer(device.offer(now));
            device.add(package.clone(), "phone", now, rng).expect("the sponsor may add");
            made = Some((joining, package));
        });
        made.ok_or("nothing was made")?
    };
    lab.run();
    let conn = lab.open();
    let mut exporter = [7; 32];
    exporter[..8].copy_from_slice(&conn.to_be_bytes());
    let attach = joining.attach(&exporter).map_err(|e| e.to_string())?;
    let welcome = lab.raw(conn, attach).into_iter().find_map(|frame| match frame {
        FromRelay::Welcome(bytes) => Some(bytes),
        _ => None,
    });
    let welcome = welcome.ok_or("the Welcome waits at the relay")?;

    let mallory = SigningKey::from_seed(&[66; 32]);
    let settings = lab.parties[0].device.settings();
    let own = Membership::create(mls::crypto(), Suite::FOUNDED, &mallory, lab.group(0), &settings, lab.now);
    let mut own = own.map_err(|e| e.to_string())?;
    let made = own.prepare(Change::Add(vec![package]), vec![], None, lab.now).map_err(|e| e.to_string())?;
    let (_, lie) = made.welcomes.into_iter().next().ok_or("there is a Welcome")?;
    let (now, mut rng) = (lab.now, sync_core_rng());
    let mut take = |bytes: Opaque| joining.handle_frame(&FromRelay::Welcome(bytes), now, &mut rng);
    let refused = take(Opaque(lie)).map(|device| device.is_some());
    harm(refused.is_err(), "a newcomer joins a group of the relay's own")?;
    for place in (0..welcome.len()).step_by(welcome.len() / 40) {
        let mut flipped = welcome.clone();
        flipped.0[place] ^= 1;
        let taken = take(flipped).map(|device| device.is_some());
        harm(taken.is_err(), &format!("a Welcome with a turned bit in byte {place} is taken"))?;
    }
    let joined = take(welcome).map_err(|e| format!("the true Welcome counts no more: {e}"))?;
    harm(joined.is_some_and(|device| device.group() == lab.group(0)), "it joins something else")?;
    Ok("refused; the true one still counts")
}

fn sync_core_rng() -> rand_chacha::ChaCha20Rng {
    rand_core::SeedableRng::from_seed([9; 32])
}

fn repair() -> Seen {
    let mut lab = Lab::with(2);
    let mut place = 0;
    let mut turned = 0;
    // The second envelope never comes, and what its sender says then is altered twice.
    lab.down = Box::new(move |to, mut frame| {
        if let FromRelay::Deliver(entries) = &mut frame
            && to == 1
        {
            entries.retain_mut(|entry| {
                let Ok(envelope) = Envelope::parse(&entry.bytes) else { return true };
                if envelope.header.class == Class::Control && place > 2 && turned < 2 {
                    turned += 1;
                    let last = envelope.header_bytes.len() + envelope.ciphertext.len();
                    entry.bytes.0[last] ^= 1;
                    return true;
                }
                place += 1;
                place != 2
            });
        }
        vec![frame]
    });
    for text in ["one", "two", "three"] {
        lab.push(0, text);
    }
    lab.pass(2 * MINUTE);
    honest(&mut lab);
    lab.push(0, "four");
    lab.pass(2 * MINUTE);
    has_all(&lab, 1, &["one", "two", "three", "four"])?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("refused, and asked again")
}

/// A member undoes a change that others could apply; afterwards the relay hands the very same change out once more.
fn rejected() -> Seen {
    const MALLORY: usize = 2;
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let key = lab.key(MALLORY);
    lab.disconnect(MALLORY);
    let (conn, _) = lab.attach_with_key_of(MALLORY);
    let kept = Rc::new(RefCell::new(Vec::new()));
    let commit = kept.clone();
    // What would make it final comes too late.
    lab.up = Box::new(move |_, frame| match frame {
        ToRelay::Acknowledge(_) => vec![],
        ToRelay::Commit(made) => {
            commit.borrow_mut().clone_from(&made.commit.0);
            vec![ToRelay::Commit(made)]
        }
        frame => vec![frame],
    });
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    let epoch = lab.parties[1].device.epoch();
    let commit = kept.take();
    let commit_hash = CommitMessage::hash(&commit);
    let mut reject = Reject { device: key.device_id(), epoch, commit_hash, signature: Signature([0; 64]) };
    sign_reject(&key, &lab.group(0), &mut reject);
    lab.raw(conn, ToRelay::Reject(Opaque(encode(&reject))));
    lab.run();
    harm(lab.met(1, Outcome::Undone) && lab.parties[1].device.epoch() < epoch, "the scene is not what it should be")?;
    lab.relay.ended(conn);
    honest(&mut lab);
    for party in 0..2 {
        lab.restart(party);
    }
    lab.inject_commit(0, &commit);
    lab.pass(10 * SECOND);
    let halts = |e: &Event| matches!(e, Event::Halted { code: Code::RolledBack });
    harm(!lab.parties[0].events.iter().any(halts), "whoever made the change is made to take a new key")?;
    lab.push(1, "after");
    lab.pass(10 * SECOND);
    has_all(&lab, 0, &["before", "after"])?;
    Ok("passed over")
}
