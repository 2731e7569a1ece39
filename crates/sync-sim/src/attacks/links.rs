//! Somebody who alters a link in one field, sits between the two who use it, answers for another, or comes once more.

use sync_core::pairing::primitives;
use sync_relay::rendezvous::{PartyId, Rendezvous};
use sync_rules::Defence;
use sync_types::frame::{FromRelay, OpenSlot, SlotSide};
use sync_types::link::{Link, LinkSecret, RelayKind};
use sync_types::{Code, VERSION};

use super::pairing::{Meeting, NOW, attack, scan, show, show_drawn};
use super::{Attack, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[
    attack("alter a link's end of time", ALONE, &[Defence::Prologue], altered::<0>),
    attack("alter a link's relay key", ALONE, &[Defence::Prologue], altered::<1>),
    attack("alter a link's relay host", ALONE, &[Defence::Prologue], altered::<2>),
    attack("alter a link's kind of relay", ALONE, &[Defence::Prologue], altered::<3>),
    attack("alter a link's secret", ALONE, &[Defence::Prologue, Defence::LinkSecret], altered::<4>),
    attack("alter a link's fingerprint", ALONE, &[Defence::Prologue, Defence::Fingerprint], altered::<5>),
    attack("alter a link's app", ALONE, &[Defence::Prologue, Defence::AppTag], altered::<6>),
    attack(
        "man in the middle, who has seen the QR",
        "told nothing, added nowhere",
        &[Defence::Prologue, Defence::Fingerprint, Defence::CheckCode],
        between,
    ),
    attack(
        "answer another's rendezvous",
        ALONE,
        &[Defence::Prologue, Defence::Fingerprint, Defence::LinkSecret],
        crossed,
    ),
    attack("small-order points in a handshake", "refused", &[Defence::DhPoints], small_order),
    attack("reused link", "turned away", &[Defence::SlotOnce], reused),
];

const ALONE: &str = "pairs with nobody";

fn alter(link: &mut Link, field: usize) -> Result<(), String> {
    match field {
        0 => link.expires_at += 1,
        1 => link.relay.endpoint[0] ^= 1,
        2 => link.relay.hosts = vec!["192.0.2.1:4433".parse().map_err(|_| "an address")?],
        3 => link.relay.kind = RelayKind::Embedded,
        4 => link.secret = LinkSecret::new([66; 32]),
        5 => link.fingerprint[0] ^= 1,
        _ => link.app[0] ^= 1,
    }
    Ok(())
}

fn altered<const FIELD: usize>() -> Seen {
    let shower = show()?;
    let mut link = shower.link().expect("it is over a link").clone();
    alter(&mut link, FIELD)?;
    // One that is another app's is refused before anything is sent.
    let Ok(scanner) = scan(&link, 2) else { return Ok(ALONE) };
    let mut meeting = Meeting::of(shower, scanner);
    meeting.carry();
    harm(meeting.scanner.digits().is_none(), "a link that was altered works")?;
    Ok(ALONE)
}

/// It answers the newcomer in the shower's place, and the shower in the newcomer's. The person types at the one what the other
/// shows.
fn between() -> Seen {
    let shower = show()?;
    let link = shower.link().expect("it is over a link").clone();
    // It knows the secret; the keys that the link vouches for it does not have.
    let mut vouched = link.clone();
    vouched.fingerprint[0] ^= 1;
    let newcomer = scan(&vouched, 2).map_err(|e| e.to_string())?;
    let mut to_newcomer = Meeting::of(show()?, newcomer);
    let mut to_shower = Meeting::of(shower, scan(&link, 3).map_err(|e| e.to_string())?);
    to_newcomer.carry();
    to_shower.carry();
    if let Some(digits) = to_newcomer.scanner.digits() {
        let _ = to_shower.shower.machine.type_check(&digits, NOW);
    }
    harm(!to_shower.is_approved(), "whoever sits between the two is added")?;
    Ok("told nothing, added nowhere")
}

/// A relay connects who has one link with who shows another.
fn crossed() -> Seen {
    let (mine, other) = (show_drawn(1)?, show_drawn(5)?);
    let newcomer = scan(mine.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(other, newcomer);
    meeting.carry();
    harm(meeting.scanner.digits().is_none(), "a device pairs with whoever shows a link at that time")?;
    Ok(ALONE)
}

/// The points whose multiples are few (RFC 7748 §6.1): what comes of them everybody knows. It is what each handshake calls.
fn small_order() -> Seen {
    let eight = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let also_eight = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
    let low = |first: u8, rest: u8, last: u8| {
        let mut point = [rest; 32];
        (point[0], point[31]) = (first, last);
        point
    };
    let mut points =
        vec![low(0, 0, 0), low(1, 0, 0), low(0xec, 0xff, 0x7f), low(0xed, 0xff, 0x7f), low(0xee, 0xff, 0x7f)];
    for text in [eight, also_eight] {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).map_err(|e| e.to_string());
        let bytes: Vec<u8> = (0..64).step_by(2).map(byte).collect::<Result<_, _>>()?;
        points.push(bytes.try_into().map_err(|_| "32 bytes")?);
    }
    for point in points {
        let known = primitives::x25519(&[77; 32], &point).is_some();
        harm(!known, "a handshake goes on with a secret that everybody knows")?;
    }
    Ok("refused")
}

/// Comes to a link's rendezvous.
fn open(relay: &mut Rendezvous, party: PartyId, side: SlotSide) -> Result<(), Code> {
    let ask = OpenSlot { version: VERSION, slot: [5; 16], side, ttl_seconds: 600 };
    match relay.open(party, &ask, NOW) {
        Ok(told) if told.iter().any(|o| o.to == party && o.frame == FromRelay::SlotOpened) => Ok(()),
        Ok(_) => Err(Code::Protocol),
        Err((refusal, _)) => Err(refusal.code),
    }
}

/// Somebody came to a link, and went; whether it has seen more of it than its text, nobody knows. Another one comes.
fn reused() -> Seen {
    let mut relay = Rendezvous::new(100);
    open(&mut relay, 1, SlotSide::Shows).map_err(|code| code.to_string())?;
    open(&mut relay, 2, SlotSide::Scans).map_err(|code| code.to_string())?;
    relay.close(2);
    harm(open(&mut relay, 3, SlotSide::Scans) == Err(Code::PairingUsed), "a link takes one device after the other")?;
    harm(open(&mut relay, 4, SlotSide::Shows) == Err(Code::PairingUsed), "somebody takes the shower's place")?;
    Ok("turned away")
}
