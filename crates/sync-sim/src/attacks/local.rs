//! What befalls a device without anybody at the other end: its disk is set back or copied, its process ends between two writes,
//! its clock is wrong, or the relay's is.

use std::cell::Cell;
use std::rc::Rc;

use sync_core::{Event, Outcome};
use sync_rules::Defence;
use sync_types::frame::{About, FromRelay, Refused, ToRelay};
use sync_types::{Code, Opaque};

use super::lab::Lab;
use super::{Attack, By, HOUR, MINUTE, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[
    attack("restored database", "takes a new key, gets its blobs back", &[Defence::OwnRecords], restored),
    attack("restored database of a mere reader", "gets back what it had", &[Defence::OwnRecords], reader),
    attack("cloned device", "one takes a new key, the other stops: CLONED", &[Defence::OwnRecords], cloned),
    attack("crash between each two writes", "all of a turn or nothing", &[Defence::Transaction], crashes),
    attack("clock an hour off", "goes on at once", &[Defence::Clock], an_hour),
    attack("clock a year off", "goes on within a day", &[Defence::Clock], a_year),
];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Local, name, expected, defences, scene }
}

const DAY: u64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY as i64;

/// Every device holds each of these exactly once, whatever else there is.
fn each_once(lab: &Lab, parties: &[usize], texts: &[&str]) -> Result<(), String> {
    for party in parties {
        for text in texts {
            let count = lab.log(*party).iter().filter(|(_, there)| there == text).count();
            harm(count == 1, &format!("{text:?} is {count} times at device {party}"))?;
        }
    }
    Ok(())
}

fn settle(lab: &mut Lab) {
    for _ in 0..3 {
        lab.pass(MINUTE);
        lab.reconnect();
    }
}

fn took_new_key(lab: &Lab, party: usize) -> bool {
    lab.parties[party].events.iter().any(|e| matches!(e, Event::KeyReplaced { .. }))
}

fn restored() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(1, "before the copy");
    let copy = lab.parties[1].disk.clone();
    lab.push(1, "behind the copy");
    lab.push(0, "from another");
    lab.set_back(1, copy);
    settle(&mut lab);
    lab.push(1, "and on");
    settle(&mut lab);
    harm((0..3).all(|party| !lab.met(party, Outcome::Equivocation)), "it signs a second envelope with a used number")?;
    each_once(&lab, &[0, 1, 2], &["before the copy", "behind the copy", "from another", "and on"])?;
    harm(took_new_key(&lab, 1), "it goes on under the old key")?;
    Ok("takes a new key, gets its blobs back")
}

/// It has pushed nothing since the copy; what it had signed for the relay has deleted.
fn reader() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "before the copy");
    let copy = lab.parties[1].disk.clone();
    lab.push(0, "behind the copy");
    lab.pass(MINUTE);
    lab.set_back(1, copy);
    settle(&mut lab);
    each_once(&lab, &[0, 1], &["before the copy", "behind the copy"])?;
    lab.push(0, "and on");
    settle(&mut lab);
    each_once(&lab, &[0, 1], &["before the copy", "behind the copy", "and on"])?;
    Ok("gets back what it had")
}

fn cloned() -> Seen {
    const ONE: usize = 2;
    let mut lab = Lab::with(3);
    // So that there is a free place in the group's tree for the new key.
    lab.remove(1);
    lab.push(ONE, "before the copy");
    let copy = lab.copy_of(ONE);
    lab.push(ONE, "by the one");
    lab.push(copy, "by the other");
    for _ in 0..4 {
        settle(&mut lab);
    }
    lab.push(ONE, "on with the one");
    lab.push(copy, "on with the other");
    settle(&mut lab);
    harm(!lab.met(0, Outcome::Equivocation), "two sign different envelopes with one number")?;
    let told = |party: usize| lab.parties[party].events.contains(&Event::Halted { code: Code::Cloned });
    harm(told(ONE) != told(copy), "two copies go on, and nobody is told")?;
    harm(took_new_key(&lab, ONE) != took_new_key(&lab, copy), "neither has a key of its own")?;
    let stays = if told(ONE) { copy } else { ONE };
    each_once(&lab, &[0, stays], &["before the copy"])?;
    let own = if stays == ONE { ["by the one", "on with the one"] } else { ["by the other", "on with the other"] };
    each_once(&lab, &[0, stays], &own)?;
    Ok("one takes a new key, the other stops: CLONED")
}

/// A life of three devices in which the second one dies in its `turn`th transaction. Gives whether it has so many.
fn life_with_a_death(turn: usize) -> Result<bool, String> {
    let mut lab = Lab::with(3);
    lab.dies = Some((1, turn));
    lab.push(0, "one");
    lab.write(1, "two");
    settle(&mut lab);
    lab.call(1, |device, now, rng| drop(device.self_update(now, rng)));
    settle(&mut lab);
    lab.push(2, "three");
    lab.push(1, "four");
    settle(&mut lab);
    lab.remove(2);
    settle(&mut lab);
    lab.push(0, "five");
    lab.push(1, "six");
    settle(&mut lab);
    if let Some(damage) = &lab.damage {
        return Err(format!("in its transaction {turn} it dies, and cannot load its disk: {damage}"));
    }
    each_once(&lab, &[0, 1], &["one", "two", "three", "four", "five", "six"])?;
    harm(!took_new_key(&lab, 1) && lab.parties[1].device.status().halted.is_none(), "it has lost its place")?;
    Ok(lab.dies.is_none())
}

fn crashes() -> Seen {
    for turn in 1..200 {
        if !life_with_a_death(turn)? {
            harm(turn > 10, "the scene is not what it should be")?;
            return Ok("all of a turn or nothing");
        }
    }
    Err("the life has no end".to_owned())
}

/// While a device's clock is an hour ahead, the relay has it wait a moment; then the clock is set right.
fn an_hour() -> Seen {
    let mut lab = Lab::with(2);
    lab.parties[1].skew = HOUR as i64;
    lab.up = Box::new(|from, frame| if from == 1 && matches!(frame, ToRelay::Push(_)) { vec![] } else { vec![frame] });
    lab.push(1, "one");
    lab.up = Box::new(|_, frame| vec![frame]);
    let (code, message) = (Code::RateLimited as u16, Opaque::default());
    let refused = Refused { about: About::Push, code, retry_after_ms: 1000, head: None, message };
    lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Refused(refused), now, rng));
    lab.parties[1].skew = 0;
    lab.pass(3 * MINUTE);
    harm(lab.has(0, "one"), "what it pushed waits for an hour")?;
    // The other way round, and the relay's.
    for (party, relay) in [(-(HOUR as i64), 0), (0, HOUR as i64), (0, -(HOUR as i64))] {
        (lab.parties[1].skew, lab.relay_skew) = (party, relay);
        let text = format!("with {party} and {relay}");
        lab.push(0, &text);
        let answer = format!("answer with {party} and {relay}");
        lab.push(1, &answer);
        lab.call(1, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
        lab.run();
        lab.pass(3 * MINUTE);
        lab.reconnect();
        each_once(&lab, &[0, 1], &[&text, &answer])?;
        harm(lab.parties[0].device.epoch() == lab.parties[1].device.epoch(), "they do not follow each other")?;
    }
    Ok("goes on at once")
}

fn a_year() -> Seen {
    let mut lab = Lab::with(2);
    // For a moment the second device lives a year ahead, and renews its keys there.
    lab.parties[1].skew = YEAR;
    lab.push(0, "one");
    lab.push(1, "two");
    lab.call(1, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.pass(MINUTE);
    lab.parties[1].skew = 0;
    let renewed = Rc::new(Cell::new(0));
    let counts = renewed.clone();
    lab.up = Box::new(move |from, frame| {
        if from == 1 && matches!(frame, ToRelay::Commit(_)) {
            counts.set(counts.get() + 1);
        }
        vec![frame]
    });
    for _ in 0..9 {
        lab.pass(DAY);
        lab.reconnect();
    }
    harm(renewed.get() > 0, "it renews its keys no more for a year")?;
    each_once(&lab, &[0, 1], &["one", "two"])?;
    // Both ways, at device, sponsor and relay: links and key packages go by the sponsor's clock, and all else by nobody's.
    for (first, relay) in [(YEAR, 0), (-YEAR, 0), (0, YEAR), (0, -YEAR)] {
        (lab.parties[0].skew, lab.relay_skew) = (first, relay);
        let newcomer = lab.add();
        let text = format!("with {first} and {relay}");
        lab.push(newcomer, &text);
        lab.push(0, &format!("answer {text}"));
        settle(&mut lab);
        settle(&mut lab);
        each_once(&lab, &[0, 1, newcomer], &[&text, &format!("answer {text}"), "one"])?;
        lab.remove(newcomer);
        settle(&mut lab);
    }
    Ok("goes on within a day")
}
