//! A relay that holds its connection open and does not do what it owes: at each step of a session, and at each of a pairing. The
//! patience that ends this is the device's own, in virtual time; what the engine does then is what it does after any lost
//! connection. And a relay that talks without end, in entries that are nobody's news, or in one message without measure.

use sync_core::Event;
use sync_core::pairing::{Output, PairingError};
use sync_rules::Defence;
use sync_types::frame::{self, About, Entry, EntryKind, FromRelay, Refused, ToRelay};
use sync_types::{Code, Opaque};

use super::lab::Lab;
use super::pairing::{Meeting, NOW, scan, show};
use super::{Attack, By, HOUR, MINUTE, SECOND, Seen, attack, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(By::Relay, "stall at attaching", LEFT, &[Defence::Patience], attaching),
    attack(By::Relay, "stall behind attaching", LEFT, &[Defence::Patience], catching_up),
    attack(By::Relay, "stall at a push", LEFT, &[Defence::Patience], pushing),
    attack(By::Relay, "stall at a change of the group", LEFT, &[Defence::Patience], changing),
    attack(By::Relay, "keep a change provisional for ever", LEFT, &[Defence::Patience], confirming),
    attack(By::Relay, "endless answers", LEFT, &[Defence::Patience], endless),
    attack(By::Relay, "an enormous answer", "refused, unread", &[Defence::Counting], enormous),
    attack(By::Relay, "tell a device to wait for weeks", "it asks again within minutes", &[Defence::Clock], weeks),
    attack(
        By::Pairing,
        "stall in a pairing, to who scans",
        "given up after ten minutes",
        &[Defence::Patience],
        scanner,
    ),
    attack(
        By::Pairing,
        "stall in a pairing, behind the offer",
        "given up after ten minutes",
        &[Defence::Patience],
        sponsor,
    ),
];

const LEFT: &str = "left with TIMEOUT, then all is well";

/// The longest that any of these may hold a device up.
const LONGEST: u64 = 8 * MINUTE;

fn honest(lab: &mut Lab) {
    lab.down = Box::new(|_, frame| vec![frame]);
    lab.up = Box::new(|_, frame| vec![frame]);
}

/// From now on these frames come to nobody.
fn silent(lab: &mut Lab, party: usize, about: fn(&FromRelay) -> bool) {
    lab.down = Box::new(move |to, frame| if to == party && about(&frame) { vec![] } else { vec![frame] });
}

fn left(lab: &Lab, party: usize) -> Result<(), String> {
    let left = |event: &Event| matches!(event, Event::Disconnect { code: Code::Timeout, .. });
    harm(lab.parties[party].events.iter().any(left), "a device waits for an answer for ever, and nobody is told")
}

/// The relay does its duty again, and what was held up goes on.
fn goes_on(lab: &mut Lab) -> Seen {
    honest(lab);
    lab.reconnect();
    lab.pass(MINUTE);
    lab.push(0, "after");
    lab.push(1, "answer");
    lab.pass(MINUTE);
    for party in 0..2 {
        for text in ["after", "answer"] {
            harm(lab.log(party).iter().filter(|(_, there)| there == text).count() == 1, "it does not go on")?;
        }
    }
    Ok(LEFT)
}

fn attaching() -> Seen {
    let mut lab = Lab::with(2);
    lab.disconnect(1);
    silent(&mut lab, 1, |_| true);
    lab.connect(1);
    lab.pass(LONGEST);
    left(&lab, 1)?;
    goes_on(&mut lab)
}

fn catching_up() -> Seen {
    let mut lab = Lab::with(2);
    lab.disconnect(1);
    silent(&mut lab, 1, |frame| !matches!(frame, FromRelay::Attached(_)));
    lab.connect(1);
    lab.pass(LONGEST);
    left(&lab, 1)?;
    goes_on(&mut lab)
}

fn pushing() -> Seen {
    let mut lab = Lab::with(2);
    silent(&mut lab, 0, |frame| matches!(frame, FromRelay::Accepted(_) | FromRelay::Receipt(_)));
    lab.push(0, "one");
    lab.pass(LONGEST);
    left(&lab, 0)?;
    goes_on(&mut lab)?;
    let status = lab.parties[0].device.status();
    harm(status.accepted_seq == status.sealed_seq, "what was accepted is not called so")?;
    Ok(LEFT)
}

fn changing() -> Seen {
    let mut lab = Lab::with(2);
    lab.up = Box::new(|_, frame| if matches!(frame, ToRelay::Commit(_)) { vec![] } else { vec![frame] });
    let epoch = lab.parties[0].device.epoch();
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.pass(LONGEST);
    left(&lab, 0)?;
    goes_on(&mut lab)?;
    harm(lab.parties[1].device.epoch() > epoch, "the change is lost")?;
    Ok(LEFT)
}

fn confirming() -> Seen {
    let mut lab = Lab::with(2);
    silent(&mut lab, 1, |frame| matches!(frame, FromRelay::Confirmed(_)));
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.push(1, "waits");
    harm(!lab.has(0, "waits"), "the scene is not what it should be")?;
    lab.pass(LONGEST);
    left(&lab, 1)?;
    goes_on(&mut lab)?;
    harm(lab.has(0, "waits"), "what waited is lost")?;
    Ok(LEFT)
}

/// Behind the log come its entries again, and again, each as a new one.
fn endless() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    let (bytes, _) = lab.last_of(0).ok_or("it has sent something")?;
    lab.disconnect(1);
    silent(&mut lab, 1, |frame| matches!(frame, FromRelay::CaughtUp(_)));
    lab.connect(1);
    lab.run();
    let newest = lab.relay.model[&lab.group(0)].newest;
    for turn in 1..=LONGEST / (10 * SECOND) {
        let entry = Entry { cursor: newest + turn, kind: EntryKind::Envelope, bytes: Opaque(bytes.clone()) };
        lab.call(1, |device, now, rng| device.handle_frame(FromRelay::Deliver(vec![entry]), now, rng));
        lab.pass(10 * SECOND);
    }
    left(&lab, 1)?;
    has_all(&lab, 1, &["one"])?;
    Ok(LEFT)
}

/// What stands before a frame says that four gigabytes follow. It is what the client's reader asks first.
fn enormous() -> Seen {
    for length in [u32::MAX, 1 << 30, (4 << 20) + 1] {
        let refused = frame::length(length.to_be_bytes()).is_err();
        harm(refused, &format!("a device reads {length} bytes into its memory"))?;
    }
    Ok("refused, unread")
}

fn weeks() -> Seen {
    let mut lab = Lab::with(2);
    let refuse = |about| {
        let (code, message) = (Code::RateLimited as u16, Opaque::default());
        FromRelay::Refused(Refused { about, code, retry_after_ms: u32::MAX, head: None, message })
    };
    let epoch = lab.parties[0].device.epoch();
    lab.up = Box::new(|_, frame| match frame {
        ToRelay::Commit(_) | ToRelay::Acknowledge(_) => vec![],
        frame => vec![frame],
    });
    lab.push(1, "one");
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    honest(&mut lab);
    for about in [About::Commit, About::Acknowledge] {
        lab.call(0, |device, now, rng| device.handle_frame(refuse(about), now, rng));
    }
    lab.pass(3 * MINUTE);
    harm(lab.parties[0].device.epoch() > epoch, "a device changes nothing for seven weeks")?;
    harm(lab.parties[1].device.delivered_seq() == lab.parties[1].device.status().sealed_seq, "it signs for nothing")?;
    Ok("it asks again within minutes")
}

/// Lets time pass for one end, as its caller does. Gives when it gave up.
fn given_up(machine: &mut sync_core::pairing::Pairing) -> Option<u64> {
    let mut now = NOW;
    while now < NOW + HOUR {
        now = machine.poll_timeout()?.max(now + 1);
        let _ = machine.handle_timeout(now);
        while let Some(output) = machine.poll_output() {
            if let Output::Failed(PairingError::Expired) = output {
                return Some(now);
            }
        }
    }
    None
}

fn scanner() -> Seen {
    let shower = show()?;
    let mut scanner = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let at = given_up(&mut scanner).ok_or("whoever scans waits for an answer for ever")?;
    harm((NOW + 9 * MINUTE..NOW + 11 * MINUTE).contains(&at), "it gives up at another time")?;
    Ok("given up after ten minutes")
}

fn sponsor() -> Seen {
    let shower = show()?;
    let newcomer = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(shower, newcomer);
    meeting.carry();
    meeting.agree()?;
    meeting.shower.collect();
    // The newcomer has the offer; what it says to it is kept back.
    let at = given_up(&mut meeting.shower.machine).ok_or("the member waits for the newcomer for ever")?;
    harm((NOW + 9 * MINUTE..NOW + 11 * MINUTE).contains(&at), "it gives up at another time")?;
    Ok("given up after ten minutes")
}
