//! Attacks on bounds and promises: a device's memory and disk, numbers, what was offered and what the group agreed on.

use sync_core::{Event, Outcome};
use sync_rules::Defence;
use sync_types::body::{Body, Control, HistoryRequest, Reached, Span, pack};
use sync_types::frame::{Acknowledgement, FromRelay, Signature};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{Code, DeviceId, Opaque, encode, limits};

use super::lab::Lab;
use super::{Attack, By, MINUTE, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(
        "acknowledgements of nobody, in masses",
        By::Relay,
        "kept in part, the group goes on",
        &[Defence::EarlyReceipts],
        early_receipts,
    ),
    attack(
        "cursors near the end of numbers",
        By::Relay,
        "refused, the entries come again",
        &[Defence::CursorBound],
        far_cursors,
    ),
    attack(
        "another app in the offer than in the group",
        By::Member,
        "refused by the newcomer",
        &[Defence::OfferedSettings],
        other_app,
    ),
    attack(
        "blobs in an envelope of class control",
        By::Member,
        "passed over, told",
        &[Defence::BodyClass],
        wrong_class,
    ),
    attack(
        "ask for history that nobody is to get",
        By::Member,
        "not answered",
        &[Defence::HistoryPolicy],
        forbidden_history,
    ),
    attack("fill the relay", By::Member, "refused at the quota, and put out", &[Defence::Quota], quota),
    attack(
        "a hole before very much",
        By::Relay,
        "kept in part, the rest asked for",
        &[Defence::GapBytes],
        much_behind_a_hole,
    ),
];

const fn attack(
    name: &'static str,
    by: By,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by, name, expected, defences, scene }
}

/// A device's acknowledgement of another's first envelope, of about so many bytes, that nobody has signed.
fn receipt(device: DeviceId, of: Reached, bytes: usize) -> FromRelay {
    let reached = Reached { sender: DeviceId([9; 16]), seq: 1, hash: of.hash };
    let frontier = [of].into_iter().chain(std::iter::repeat_n(reached, bytes / 56)).collect();
    let statement = Acknowledgement { device, frontier, holes: Vec::new(), signature: Signature([9; 64]) };
    FromRelay::Receipt(Opaque(encode(&statement)))
}

fn early_receipts() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    let (_, head) = lab.last_of(0).ok_or("it has sent something")?;
    let first = Reached { sender: lab.id(0), seq: head.seq, hash: head.hash };
    // Of devices that do not exist: as large as a statement may be and again, and some much larger.
    for number in 0..200_u8 {
        let sizes: &[usize] = if number < 20 { &[3 << 20] } else { &[60 << 10, 60 << 10] };
        for bytes in sizes {
            let frame = receipt(DeviceId([number; 16]), first, *bytes);
            lab.call(0, |device, now, rng| device.handle_frame(frame, now, rng));
        }
    }
    let kept = lab.parties[0].device.early_receipt_bytes();
    harm(kept > 0, "the scene is not what it should be")?;
    harm(kept <= 4 << 20, &format!("a device keeps {} MiB of them in memory", kept >> 20))?;
    lab.push(0, "two");
    has_all(&lab, 1, &["one", "two"])?;
    let status = lab.parties[0].device.status();
    harm(lab.parties[0].device.delivered_seq() == status.sealed_seq, "what was delivered is not called so")?;
    Ok("kept in part, the group goes on")
}

fn far_cursors() -> Seen {
    let mut lab = Lab::with(2);
    let mut lies = 1;
    lab.down = Box::new(move |to, mut frame| {
        if let FromRelay::Deliver(entries) = &mut frame
            && to == 1
            && lies > 0
        {
            lies -= 1;
            let far = entries.last_mut().expect("no delivery is empty");
            far.cursor = limits::NUMBER;
        }
        vec![frame]
    });
    lab.push(0, "one");
    lab.reconnect();
    lab.push(0, "two");
    lab.restart(1);
    lab.push(0, "three");
    has_all(&lab, 1, &["one", "two", "three"])?;
    let protocol = |event: &Event| matches!(event, Event::Disconnect { code: Code::Protocol, .. });
    harm(lab.parties[1].events.iter().any(protocol), "nothing was refused")?;
    Ok("refused, the entries come again")
}

/// The sponsor offers a group of the newcomer's app, and adds it to one of another.
fn other_app() -> Seen {
    let mut lab = Lab::with(1);
    let promised = Settings { app_id: b"the newcomer's".to_vec(), ..lab.parties[0].device.settings() };
    match lab.add_promised(|offer| offer.settings = encode(&promised)) {
        Ok(newcomer) => {
            let joined = lab.parties[newcomer].device.settings();
            harm(joined == promised, "a device joins a group of another app than it was told")?;
            Err("the scene is not what it should be".to_owned())
        }
        Err(error) if error.code() == Code::PairingForged => Ok("refused by the newcomer"),
        Err(error) => Err(error.to_string()),
    }
}

/// What the relay is told to be talk between devices holds blobs for the app.
fn wrong_class() -> Seen {
    let mut lab = Lab::with(3);
    let epoch = lab.parties[2].device.epoch();
    let (_, last) = lab.last_of(2).ok_or("it has said its name")?;
    let blobs = pack([&lab.text("smuggled")]);
    let body = Body { blobs, control: vec![Control::Name(Opaque(b"device 2".to_vec()))], ..Body::default() };
    let envelope = lab.seal(2, epoch, Some(&last), &body);
    lab.disconnect(2);
    lab.inject(2, &envelope);
    lab.push(0, "hello");
    harm(!lab.has(1, "smuggled"), "an envelope holds what its class does not say")?;
    harm(lab.has(1, "hello") && lab.met(1, Outcome::Undecodable), "it was not told")?;
    Ok("passed over, told")
}

/// What this newcomer's own program would not ask for.
fn forbidden_history() -> Seen {
    let mut lab = Lab::agreed(1, HistoryPolicy::None);
    lab.push(0, "before the newcomer");
    let newcomer = lab.add();
    let (epoch, holder) = (lab.parties[newcomer].device.epoch(), lab.id(0));
    let (_, last) = lab.last_of(0).ok_or("it has sent something")?;
    let spans = vec![Span { sender: holder, from: 1, to: last.seq }];
    let request = Control::HistoryRequest(HistoryRequest { holder, number: 1, spans });
    let body = Body { control: vec![request], ..Body::default() };
    let (_, head) = lab.last_of(newcomer).ok_or("it has said its name")?;
    let envelope = lab.seal(newcomer, epoch, Some(&head), &body);
    lab.inject(newcomer, &envelope);
    lab.pass(5 * SECOND);
    let placed = lab.relay.model[&lab.group(0)].placed.values();
    let said = placed.filter_map(|placed| lab.opened(newcomer, &placed.bytes)).flat_map(|body| body.control);
    let given = |control: Control| matches!(control, Control::History(history) if !history.runs.is_empty());
    harm(!said.into_iter().any(given), "who asks is given what was pushed before it came")?;
    lab.push(0, "behind it");
    has_all(&lab, newcomer, &["behind it"])?;
    Ok("not answered")
}

/// One envelope is kept back, so that all behind it have to wait on the disk.
fn much_behind_a_hole() -> Seen {
    let mut lab = Lab::with(2);
    let mut held_back = false;
    lab.down = Box::new(move |to, mut frame| {
        if let FromRelay::Deliver(entries) = &mut frame
            && to == 1
            && !std::mem::replace(&mut held_back, true)
        {
            entries.clear();
        }
        vec![frame]
    });
    let mut texts = vec!["the first".to_owned()];
    lab.push(0, &texts[0]);
    for number in 0..50 {
        texts.push(format!("{number} ").repeat(300_000));
        lab.push(0, &texts[texts.len() - 1]);
    }
    let waits = lab.parties[1].disk.gap_bytes();
    harm(waits > 0, "the scene is not what it should be")?;
    harm(waits <= 33 << 20, &format!("{} MB of one sender wait on the disk", waits / 1_000_000))?;
    lab.pass(5 * MINUTE);
    let there: Vec<String> = lab.log(1).into_iter().map(|(_, text)| text).collect();
    harm(there == texts, "what was not kept is lost")?;
    Ok("kept in part, the rest asked for")
}

/// A member pushes and pushes while another one is away, so that all of it is held for that one.
fn quota() -> Seen {
    const MALLORY: usize = 2;
    const MOST: u64 = 1_000_000;
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    lab.relay.limits.group_bytes = MOST;
    lab.disconnect(1);
    for number in 0..10 {
        lab.push(MALLORY, &format!("{number} ").repeat(100_000));
    }
    let model = &lab.relay.model[&lab.group(0)];
    let held = |placed: &&crate::model::Placed| model.entries.contains_key(&placed.cursor);
    let held: u64 = model.placed.values().filter(held).map(|placed| placed.bytes.len() as u64).sum();
    harm(held <= MOST, &format!("one member holds {held} bytes of a relay where {MOST} are the group's"))?;
    harm(held > MOST / 2, "the scene is not what it should be")?;
    // A full group can still put it out, and what it holds goes as soon as the last one has it.
    lab.disconnect(MALLORY);
    lab.remove(MALLORY);
    let mallory = lab.id(MALLORY);
    harm(!lab.parties[0].device.members().iter().any(|m| m.device == mallory), "it cannot be put out")?;
    lab.push(0, "after");
    lab.reconnect();
    lab.disconnect(MALLORY);
    lab.pass(2 * MINUTE);
    harm(lab.has(1, "before") && lab.has(1, "after"), "the others are kept from each other")?;
    Ok("refused at the quota, and put out")
}
