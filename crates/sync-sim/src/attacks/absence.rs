//! What is done with long absences: a relay that lets go too early, or says that somebody was away who was not; a clock that
//! leaps; the key of a device that lies in a drawer.

use sync_core::Event;
use sync_rules::Defence;
use sync_types::envelope::Envelope;
use sync_types::frame::{Entry, EntryKind, FromRelay};

use super::lab::Lab;
use super::{Attack, By, HOUR, MINUTE, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("delete too early", By::Relay, "asked for, and sent again by its sender", &[Defence::Repair], delete_early),
    attack(
        "call a member lapsed that is not",
        By::Relay,
        "nobody counts without it, and it fetches what was kept back",
        &[Defence::LapseClock],
        call_lapsed,
    ),
    attack(
        "set a device's clock a year forward",
        By::Relay,
        "nobody counts as silent, and nobody is put out",
        &[Defence::ListenStep],
        leap,
    ),
    attack(
        "stale snapshot to a newcomer",
        By::Relay,
        "not called synced before it has what its sponsor had",
        &[Defence::Baseline],
        stale_newcomer,
    ),
    attack(
        "pull with the key of a device that was silent for half a year",
        By::FormerMember,
        "put out by then, and shown changes of the group alone",
        &[Defence::ExpirePeer],
        old_key,
    ),
];

const DAY: u64 = 24 * HOUR;

const fn attack(
    name: &'static str,
    by: By,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by, name, expected, defences, scene }
}

/// From now on nothing that a sender has pushed comes to a party, which is told that it was away.
fn as_if_lapsed(lab: &mut Lab, party: usize) {
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::Deliver(mut entries) if to == party => {
            entries.retain(|entry: &Entry| entry.kind != EntryKind::Envelope);
            vec![FromRelay::Deliver(entries)]
        }
        FromRelay::Attached(attached) if to == party => {
            let newest = attached.newest;
            vec![FromRelay::Attached(attached), FromRelay::Lapsed(newest)]
        }
        frame => vec![frame],
    });
}

fn honest(lab: &mut Lab) {
    lab.down = Box::new(|_, frame| vec![frame]);
}

fn is_delivered(lab: &Lab, party: usize) -> bool {
    let status = lab.parties[party].device.status();
    status.delivered_seq == status.sealed_seq
}

/// What was there for a device goes before it has come, and the relay does not even say so.
fn delete_early() -> Seen {
    let mut lab = Lab::with(3);
    lab.disconnect(2);
    for text in ["one", "two"] {
        lab.push(0, text);
    }
    as_if_lapsed(&mut lab, 2);
    lab.reconnect();
    honest(&mut lab);
    harm(!is_delivered(&lab, 0), "what one device has not is called delivered")?;
    harm(!lab.has(2, "one"), "the scene is not what it should be")?;
    lab.pass(10 * MINUTE);
    has_all(&lab, 2, &["one", "two"])?;
    harm(is_delivered(&lab, 0), "it is never called delivered")?;
    Ok("asked for, and sent again by its sender")
}

fn call_lapsed() -> Seen {
    let mut lab = Lab::with(3);
    as_if_lapsed(&mut lab, 2);
    lab.restart(2);
    lab.push(0, "one");
    lab.pass(2 * DAY);
    harm(!lab.has(2, "one"), "the scene is not what it should be")?;
    let sealed = lab.parties[0].device.status().sealed_seq;
    harm(lab.parties[0].device.delivered_seq() < sealed, "what one device has not is called delivered")?;
    honest(&mut lab);
    lab.restart(2);
    lab.pass(10 * MINUTE);
    has_all(&lab, 2, &["one"])?;
    let told = lab.parties[2].events.iter().any(|e| matches!(e, Event::Synced));
    harm(told && lab.parties[2].device.status().away.is_none(), "it believes to lack something for ever")?;
    Ok("nobody counts without it, and it fetches what was kept back")
}

fn leap() -> Seen {
    let mut lab = Lab::with(3);
    for party in 0..3 {
        lab.disconnect(party);
    }
    // The relay was off, and the devices that come back believe whoever told them the time.
    lab.now += 365 * DAY;
    lab.relay.stood_still += 365 * DAY;
    for party in 0..2 {
        lab.connect(party);
    }
    lab.run();
    lab.push(0, "one");
    lab.pass(HOUR);
    let sealed = lab.parties[0].device.status().sealed_seq;
    harm(lab.parties[0].device.delivered_seq() < sealed, "what one device has not is called delivered")?;
    harm(lab.parties[0].device.members().len() == 3, "a device is put out that was away for an hour")?;
    lab.reconnect();
    lab.pass(HOUR);
    has_all(&lab, 2, &["one"])?;
    harm(is_delivered(&lab, 0), "it is never called delivered")?;
    Ok("nobody counts as silent, and nobody is put out")
}

/// The relay gives a newcomer nothing of what was there before, as if the group had just begun.
fn stale_newcomer() -> Seen {
    let mut lab = Lab::with(1);
    for text in ["one", "two"] {
        lab.push(0, text);
    }
    let first = lab.id(0);
    lab.down = Box::new(move |to, frame| match frame {
        FromRelay::Deliver(mut entries) if to == 1 => {
            let of_first = |e: &Entry| Envelope::parse(&e.bytes).is_ok_and(|e| e.header.sender == first);
            entries.retain(|e| e.kind != EntryKind::Envelope || !of_first(e));
            vec![FromRelay::Deliver(entries)]
        }
        frame => vec![frame],
    });
    lab.add();
    lab.pass(HOUR);
    let synced = |lab: &Lab| lab.parties[1].events.iter().any(|e| matches!(e, Event::Synced));
    harm(!synced(&lab), "a newcomer takes an old state for the newest")?;
    honest(&mut lab);
    lab.restart(1);
    lab.pass(7 * HOUR);
    has_all(&lab, 1, &["one", "two"])?;
    harm(synced(&lab), "it is never called synced")?;
    Ok("not called synced before it has what its sponsor had")
}

/// Somebody finds a device in a drawer, takes its key out and fetches what comes from then on.
fn old_key() -> Seen {
    let mut lab = Lab::with(3);
    lab.disconnect(2);
    for _ in 0..37 {
        lab.pass(5 * DAY);
    }
    let (conn, mut shown) = lab.attach_with_key_of(2);
    lab.push(0, "secret");
    shown.extend(lab.raw(conn, sync_types::frame::ToRelay::WelcomeStored));
    let envelope = |frame: &FromRelay| match frame {
        FromRelay::Deliver(entries) => entries.iter().any(|e| e.kind == EntryKind::Envelope),
        _ => false,
    };
    let held = lab.relay.model[&lab.group(0)].members[&lab.id(2)].removed.is_some();
    harm(held && !shown.iter().any(envelope), "who finds a forgotten device is a member of the group")?;
    Ok("put out by then, and shown changes of the group alone")
}
