//! A relay, or a network, that does what it wants with what it carries.

use sync_core::{Event, Outcome};
use sync_rules::Defence;
use sync_types::body::Reached;
use sync_types::envelope::{Envelope, Header};
use sync_types::frame::{Acknowledgement, Entry, EntryKind, FromRelay, Signature};
use sync_types::{Opaque, encode};

use super::lab::Lab;
use super::{Attack, By, HOUR, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("replay", "ignored", &[Defence::Cursor, Defence::Duplicates], replay),
    attack("replay under a new cursor", "known already, no effect", &[Defence::Duplicates], replay_anew),
    attack("serve an old log", "ignored", &[Defence::Cursor, Defence::Duplicates, Defence::BlobIds], old_log),
    attack("reorder", "put back in order", &[Defence::Chain], reorder),
    attack("drop in the middle", "sent again by its sender", &[Defence::Repair], drop_middle),
    attack(
        "drop in the middle, sender gone",
        "handed on by another member",
        &[Defence::Repair],
        drop_middle_sender_gone,
    ),
    attack("drop the tail for one", "sent again, since another spoke of it", &[Defence::Repair], drop_tail_for_one),
    attack(
        "drop the tail for one, sender gone",
        "handed on by another member",
        &[Defence::Repair],
        drop_tail_sender_gone,
    ),
    attack("drop the tail for all", "shown by the next beacon, and sent again", &[Defence::Repair], drop_tail_for_all),
    attack("withhold from one for ever", "told as withheld", &[Defence::Repair], withhold),
    attack("flip each byte of an envelope", "refused, then sent again", &[Defence::EnvelopeSignature], flip),
    attack("swap the sender", "refused", &[Defence::EnvelopeSignature], swap_sender),
    attack(
        "claim that a device was set back",
        "believed once, then ignored for an hour",
        &[Defence::ReplaceKeyRest],
        claim_set_back,
    ),
    attack("fake acknowledgements", "never called delivered", &[Defence::ReceiptSignature], fake_receipts),
];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Relay, name, expected, defences, scene }
}

/// Changes what is delivered to one party.
fn on_delivery(lab: &mut Lab, party: usize, mut change: impl FnMut(&mut Vec<Entry>) + 'static) {
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::Deliver(mut entries) if to == party => {
            change(&mut entries);
            vec![FromRelay::Deliver(entries)]
        }
        frame => vec![frame],
    });
}

/// From now on it carries what it is given.
fn honest(lab: &mut Lab) {
    lab.down = Box::new(|_, frame| vec![frame]);
}

fn is_envelope(entry: &Entry) -> bool {
    entry.kind == EntryKind::Envelope
}

/// Keeps back the envelopes with these places among those that come, counted from 0.
fn drop_places(lab: &mut Lab, party: usize, places: &'static [usize]) {
    let mut place = 0;
    on_delivery(lab, party, move |entries| {
        entries.retain(|entry| {
            let kept = !is_envelope(entry) || !places.contains(&place);
            place += usize::from(is_envelope(entry));
            kept
        });
    });
}

fn texts(lab: &Lab, party: usize) -> Vec<String> {
    lab.log(party).into_iter().map(|(_, text)| text).collect()
}

/// The last envelope of a party, as the relay holds it.
fn last_envelope(lab: &Lab, party: usize) -> Vec<u8> {
    lab.last_of(party).expect("it has sent something").0
}

fn replay() -> Seen {
    let mut lab = Lab::with(2);
    let mut before: Vec<Entry> = Vec::new();
    // Each delivery brings along what was there before.
    on_delivery(&mut lab, 1, move |entries| {
        let new = entries.clone();
        entries.splice(0..0, before.iter().cloned());
        before.extend(new);
    });
    for text in ["one", "two", "three"] {
        lab.push(0, text);
    }
    has_all(&lab, 1, &["one", "two", "three"])?;
    harm(!lab.met(1, Outcome::Equivocation), "what came twice looks like two envelopes")?;
    Ok("ignored")
}

fn replay_anew() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    let (first, sender) = (last_envelope(&lab, 0), lab.id(0));
    lab.push(0, "two");
    lab.relay.inject(lab.group(0), EntryKind::Envelope, sender, &first);
    lab.run();
    lab.push(0, "three");
    has_all(&lab, 1, &["one", "two", "three"])?;
    harm(lab.met(1, Outcome::Duplicate), "the replay was not noticed")?;
    Ok("known already, no effect")
}

fn old_log() -> Seen {
    let mut lab = Lab::with(2);
    for text in ["one", "two"] {
        lab.push(0, text);
    }
    let model = &lab.relay.model[&lab.group(0)];
    let mut old: Vec<Entry> = model
        .placed
        .iter()
        .filter(|((sender, _), _)| *sender == lab.id(0))
        .map(|(_, placed)| Entry { cursor: placed.cursor, kind: EntryKind::Envelope, bytes: placed.bytes.clone() })
        .collect();
    old.sort_by_key(|entry| entry.cursor);
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::CaughtUp(_) if to == 1 => vec![FromRelay::Deliver(old.clone()), FromRelay::CaughtUp(1)],
        frame => vec![frame],
    });
    lab.restart(1);
    honest(&mut lab);
    lab.push(0, "three");
    lab.pass(60 * SECOND);
    has_all(&lab, 1, &["one", "two", "three"])?;
    let counts = lab.parties[1].device.outcome_counts();
    harm(counts[Outcome::Equivocation as usize] == 0, "old entries look like a forgery")?;
    Ok("ignored")
}

fn reorder() -> Seen {
    let mut lab = Lab::with(2);
    lab.disconnect(1);
    for text in ["one", "two", "three"] {
        lab.push(0, text);
    }
    on_delivery(&mut lab, 1, |entries| {
        let places: Vec<usize> = (0..entries.len()).filter(|i| is_envelope(&entries[*i])).collect();
        if let [.., a, b] = places[..] {
            let bytes = std::mem::take(&mut entries[a].bytes);
            entries[a].bytes = std::mem::replace(&mut entries[b].bytes, bytes);
        }
    });
    lab.reconnect();
    has_all(&lab, 1, &["one", "two", "three"])?;
    Ok("put back in order")
}

/// The second of three envelopes never comes to the second device.
fn without_the_second(lab: &mut Lab) {
    lab.disconnect(1);
    for text in ["one", "two", "three"] {
        lab.push(0, text);
    }
    drop_places(lab, 1, &[1]);
    lab.reconnect();
    honest(lab);
}

fn drop_middle() -> Seen {
    let mut lab = Lab::with(2);
    without_the_second(&mut lab);
    lab.pass(30 * SECOND);
    has_all(&lab, 1, &["one", "two", "three"])?;
    harm(lab.met(1, Outcome::Repaired), "it came in another way")?;
    Ok("sent again by its sender")
}

fn drop_middle_sender_gone() -> Seen {
    let mut lab = Lab::with(3);
    without_the_second(&mut lab);
    lab.disconnect(0);
    lab.pass(120 * SECOND);
    has_all(&lab, 1, &["one", "two", "three"])?;
    harm(!lab.met(1, Outcome::Repaired), "it came in another way")?;
    Ok("handed on by another member")
}

fn drop_tail_for_one() -> Seen {
    let mut lab = Lab::with(3);
    drop_places(&mut lab, 2, &[0]);
    lab.push(0, "one");
    honest(&mut lab);
    lab.push(1, "two");
    lab.pass(30 * SECOND);
    has_all(&lab, 2, &["two", "one"])?;
    harm(lab.met(2, Outcome::Repaired), "it came in another way")?;
    Ok("sent again, since another spoke of it")
}

fn drop_tail_sender_gone() -> Seen {
    let mut lab = Lab::with(3);
    drop_places(&mut lab, 2, &[0]);
    lab.push(0, "one");
    honest(&mut lab);
    lab.disconnect(0);
    lab.push(1, "two");
    lab.pass(300 * SECOND);
    has_all(&lab, 2, &["two", "one"])?;
    Ok("handed on by another member")
}

fn drop_tail_for_all() -> Seen {
    let mut lab = Lab::with(2);
    drop_places(&mut lab, 1, &[0]);
    lab.push(0, "one");
    honest(&mut lab);
    let sealed = lab.parties[0].device.status().sealed_seq;
    harm(lab.parties[0].device.delivered_seq() < sealed, "what nobody has is called delivered")?;
    lab.pass(7 * HOUR);
    has_all(&lab, 1, &["one"])?;
    Ok("shown by the next beacon, and sent again")
}

fn withhold() -> Seen {
    let mut lab = Lab::with(3);
    let from = lab.id(0);
    // Everything that the first device sends, its answers too.
    on_delivery(&mut lab, 2, move |entries| {
        entries.retain(|entry| {
            !is_envelope(entry) || Envelope::parse(&entry.bytes).is_ok_and(|envelope| envelope.header.sender != from)
        });
    });
    lab.push(0, "one");
    lab.push(1, "two");
    // The other member could hand it on. That is kept back as well.
    lab.disconnect(1);
    lab.pass(300 * SECOND);
    let told = lab.parties[2].events.contains(&Event::Withheld { sender: from, count: 1 });
    harm(told && lab.parties[2].device.status().withheld == 1, "what is missing was not told")?;
    Ok("told as withheld")
}

fn flip() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "first");
    let size = last_envelope(&lab, 0).len();
    let header = encode(&Envelope::parse(&last_envelope(&lab, 0)).map_err(|e| e.to_string())?.header).len();
    // Every byte of the header; of the ciphertext and the signature some.
    let places = (0..header).chain((header..size).step_by(37)).chain([size - 1]);
    let mut wanted = vec!["first".to_owned()];
    for place in places {
        let mut flipped = false;
        on_delivery(&mut lab, 1, move |entries| {
            if let Some(entry) = entries.iter_mut().find(|e| is_envelope(e)).filter(|_| !flipped) {
                entry.bytes.0[place] ^= 1;
                flipped = true;
            }
        });
        lab.push(0, &format!("byte {place}"));
        honest(&mut lab);
        lab.push(0, &format!("behind byte {place}"));
        lab.pass(5 * SECOND);
        wanted.extend([format!("byte {place}"), format!("behind byte {place}")]);
        harm(texts(&lab, 1) == wanted, &format!("a turned bit in byte {place} cost a blob"))?;
    }
    harm(lab.met(1, Outcome::Forged) && lab.met(1, Outcome::Repaired), "nothing was refused")?;
    Ok("refused, then sent again")
}

fn swap_sender() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "from the first");
    let bytes = last_envelope(&lab, 0);
    let envelope = Envelope::parse(&bytes).map_err(|e| e.to_string())?;
    let model = &lab.relay.model[&lab.group(0)];
    let last = &model.placed[&(lab.id(1), model.heads[&lab.id(1)])].bytes;
    let last = sync_rules::envelope::head_of(&Envelope::parse(last).map_err(|e| e.to_string())?);
    // Where the second device's chain goes on.
    let header = Header { sender: lab.id(1), seq: last.seq + 1, previous: last.hash, ..envelope.header };
    let forged = Envelope::assemble(&encode(&header), envelope.ciphertext, envelope.signature);
    lab.relay.inject(lab.group(0), EntryKind::Envelope, lab.id(1), &forged);
    lab.run();
    lab.push(1, "from the second");
    lab.pass(60 * SECOND);
    has_all(&lab, 2, &["from the first", "from the second"])?;
    harm(lab.met(2, Outcome::Forged), "it was not noticed")?;
    Ok("refused")
}

fn fake_receipts() -> Seen {
    let mut lab = Lab::with(2);
    let (group, sender, receiver) = (lab.group(0), lab.id(0), lab.id(1));
    drop_places(&mut lab, 1, &[0]);
    lab.push(0, "one");
    let model = &lab.relay.model[&group];
    let seq = model.heads[&sender];
    let envelope = Envelope::parse(&model.placed[&(sender, seq)].bytes).map_err(|e| e.to_string())?;
    let reached = Reached { sender, seq, hash: sync_rules::envelope::head_of(&envelope).hash };
    let signature = Signature([9; 64]);
    let receipt = Acknowledgement { device: receiver, frontier: vec![reached], holes: Vec::new(), signature };
    let frame = FromRelay::Receipt(Opaque(encode(&receipt)));
    lab.call(0, |device, now, rng| device.handle_frame(frame, now, rng));
    harm(lab.parties[0].device.delivered_seq() < seq, "what nobody has is called delivered")?;
    Ok("never called delivered")
}

/// At each connection the relay says that the device had signed for more than there is.
fn claim_set_back() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "before");
    lab.down = Box::new(|to, mut frame| {
        if let FromRelay::Attached(attached) = &mut frame
            && to == 1
        {
            attached.acknowledged = 1 << 40;
        }
        vec![frame]
    });
    for _ in 0..5 {
        lab.restart(1);
        lab.pass(15 * SECOND);
        lab.reconnect();
    }
    let taken = lab.parties[1].events.iter().filter(|e| matches!(e, Event::KeyReplaced { .. })).count();
    harm(taken <= 1, "a device takes new keys as often as the relay likes")?;
    harm(taken == 1, "the scene is not what it should be")?;
    honest(&mut lab);
    lab.push(0, "after");
    lab.pass(15 * SECOND);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("believed once, then ignored for an hour")
}
