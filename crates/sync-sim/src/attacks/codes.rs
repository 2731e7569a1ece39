//! Somebody who does not know the words of a short code: at its nameplate, or as the relay between the two who pair.

use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::pairing::{Output, Pairing};
use sync_relay::rendezvous::{PartyId, Rendezvous};
use sync_rules::Defence;
use sync_types::frame::{FromRelay, JoinNameplate, OpenNameplate};
use sync_types::link::Side;
use sync_types::{Code, Opaque, ShortCode, VERSION, limits};

use super::pairing::{APP, End, Meeting, NOW, TTL, attack};
use super::{Attack, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[
    attack("guess a short code again, at who shows it", "one guess", &[Defence::CodeOnce], at_who_shows),
    attack("guess a short code again, at who types it", "one guess", &[Defence::CodeOnce], at_who_types),
    attack(
        "guess a short code again, as a stranger",
        "one guess",
        &[Defence::CodeOnce, Defence::NameplateOnce],
        by_stranger,
    ),
    attack("points of small order", "refused", &[Defence::PakePoints], small_order),
    attack("come to a used nameplate", "turned away", &[Defence::NameplateOnce], used_nameplate),
    attack("go through all nameplates", "stopped after ten", &[Defence::NameplateTries], all_nameplates),
];

const SHOWER: PartyId = 1;

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// The seed decides on the words.
fn show(nameplate: u32, seed: u8) -> Result<Pairing, String> {
    Pairing::show_code(Side::Member, APP, nameplate, TTL, &mut rng(seed), NOW).map_err(|e| e.to_string())
}

fn types(code: &ShortCode, seed: u8) -> Result<Pairing, String> {
    Pairing::type_code(code.clone(), Side::Newcomer, APP, &mut rng(seed)).map_err(|e| e.to_string())
}

/// Three guesses, the right one last: it is not luck that is measured.
fn guesses(right: &ShortCode) -> Result<[ShortCode; 3], String> {
    let wrong = |secret| ShortCode::new(right.nameplate(), secret).map_err(|e| e.to_string());
    Ok([wrong(1)?, wrong(2)?, right.clone()])
}

fn code_of(machine: &Pairing) -> Result<ShortCode, String> {
    machine.code().cloned().ok_or_else(|| "it is over a code".to_owned())
}

/// Plays one guess to its end. The one that does not know the words passes nothing on that tells of its failure.
fn try_words(shower: &mut End, typer: &mut End, guesser_shows: bool) {
    loop {
        let (up, down) = (typer.next(), shower.next());
        if up.is_none() && down.is_none() {
            return;
        }
        let abort = |message: &Vec<u8>| message.first() == Some(&3);
        if let Some(message) = up.filter(|message| guesser_shows || !abort(message)) {
            let _ = shower.machine.handle_message(&message, NOW);
        }
        if let Some(message) = down.filter(|message| !guesser_shows || !abort(message)) {
            let _ = typer.machine.handle_message(&message, NOW);
        }
    }
}

/// The relay plays one newcomer after the other.
fn at_who_shows() -> Seen {
    let mut shower = End::new(show(7, 1)?);
    let right = code_of(&shower.machine)?;
    for (seed, guess) in (2..).zip(guesses(&right)?) {
        let mut guesser = End::new(types(&guess, seed)?);
        try_words(&mut shower, &mut guesser, false);
        if guesser.was_told(|o| matches!(o, Output::NeedKeyPackage { .. })) {
            let _ = guesser.machine.key_package(b"a key package".to_vec(), "Pixel 9", NOW);
            try_words(&mut shower, &mut guesser, false);
        }
    }
    harm(!shower.was_told(|o| matches!(o, Output::Request { .. })), "it guesses until the person is asked to add it")?;
    Ok("one guess")
}

/// The relay plays one member after the other, each with the words of its seed.
fn at_who_types() -> Seen {
    let words = code_of(&show(7, 13)?)?;
    let mut typer = End::new(types(&words, 2)?);
    let opening = typer.next().ok_or("it begins")?;
    for seed in [11, 12, 13] {
        let mut guesser = End::new(show(7, seed)?);
        let _ = guesser.machine.handle_message(&opening, NOW);
        try_words(&mut guesser, &mut typer, true);
        if !guesser.sent.iter().any(|message| message.starts_with(&[1, 2])) {
            // It cannot go on. Whatever it says in place of an answer asks for the next try.
            let nonsense = [&[1, 2][..], &[7; 3_568]].concat();
            let _ = typer.machine.handle_message(&nonsense, NOW);
        }
    }
    let joins = typer.was_told(|o| matches!(o, Output::NeedKeyPackage { .. }));
    harm(!joins, "it guesses until the newcomer takes it for the member")?;
    Ok("one guess")
}

/// A relay with a member that shows a code at it.
struct Shown {
    relay: Rendezvous,
    shower: End,
    nameplate: u32,
}

fn shown() -> Result<Shown, String> {
    let mut relay = Rendezvous::new(100);
    let nameplate = open(&mut relay, SHOWER)?;
    Ok(Shown { relay, shower: End::new(show(nameplate, 1)?), nameplate })
}

fn open(relay: &mut Rendezvous, party: PartyId) -> Result<u32, String> {
    let ask = OpenNameplate { version: VERSION, ttl_seconds: 600 };
    let nameplate = relay.next_nameplate(0, None);
    let told = relay.open_nameplate(party, &ask, nameplate, NOW).map_err(|(refusal, _)| refusal.code.to_string())?;
    match told.first().map(|o| &o.frame) {
        Some(FromRelay::Nameplate(number)) => Ok(*number),
        _ => Err("no number".to_owned()),
    }
}

/// Comes to a nameplate, each party from a network of its own but where `network` is given.
fn join(relay: &mut Rendezvous, party: PartyId, nameplate: u32, network: Option<u8>) -> Result<(), Code> {
    let network = network.unwrap_or_else(|| u8::try_from(party).unwrap_or(u8::MAX));
    let ask = JoinNameplate { version: VERSION, nameplate };
    let from = Some(IpAddr::from([192, 0, 2, network]));
    relay.take_try(from, NOW).map_err(|refusal| refusal.code)?;
    relay.join_nameplate(party, &ask, NOW).map(drop).map_err(|(refusal, _)| refusal.code)
}

impl Shown {
    /// Plays a stranger's guess through the relay. What a device does when its pairing has failed, these do: they leave.
    fn guess(&mut self, stranger: PartyId, words: &ShortCode) -> Result<(), String> {
        let mut guesser = End::new(types(words, u8::try_from(stranger).unwrap_or(0))?);
        loop {
            guesser.collect();
            let wants = guesser.was_told(|o| matches!(o, Output::NeedKeyPackage { .. }));
            if wants {
                let _ = guesser.machine.key_package(b"a key package".to_vec(), "Pixel 9", NOW);
            }
            let (up, down) = (guesser.next(), self.shower.next());
            if up.is_none() && down.is_none() {
                break;
            }
            self.carry(stranger, up, &mut guesser);
            self.carry(SHOWER, down, &mut guesser);
        }
        self.relay.close(stranger);
        if self.shower.was_told(|o| o.failure().is_some()) {
            self.relay.close(SHOWER);
        }
        Ok(())
    }

    fn carry(&mut self, from: PartyId, message: Option<Vec<u8>>, guesser: &mut End) {
        let Some(message) = message else { return };
        for outgoing in self.relay.message(from, Opaque(message), NOW) {
            let to = if outgoing.to == SHOWER { &mut self.shower } else { &mut *guesser };
            if let FromRelay::SlotMessage(message) = outgoing.frame {
                let _ = to.machine.handle_message(&message, NOW);
            }
        }
    }
}

fn by_stranger() -> Seen {
    let mut shown = shown()?;
    let right = code_of(&shown.shower.machine)?;
    let mut guessed = 0;
    for (stranger, words) in (2..).zip(guesses(&right)?) {
        if join(&mut shown.relay, stranger, shown.nameplate, None).is_ok() {
            guessed += 1;
            shown.guess(stranger, &words)?;
        }
    }
    let asked = shown.shower.was_told(|o| matches!(o, Output::Request { .. }));
    harm(!asked, "it guesses until the person is asked to add it")?;
    harm(guessed == 1, "it had more than one guess")?;
    Ok("one guess")
}

/// Points of small order, whose multiples tell of the scalar, and two encodings of none.
const SMALL_ORDER: [[u8; 4]; 6] = [
    // The first three bytes and the last; the rest is below.
    [0x01, 0x00, 0x00, 0x00],
    [0xec, 0xff, 0xff, 0x7f],
    [0x00, 0x00, 0x00, 0x00],
    [0x00, 0x00, 0x00, 0x80],
    // The zero with its other sign, and a number that is no point's.
    [0x01, 0x00, 0x00, 0x80],
    [0x02, 0x00, 0x00, 0x00],
];

fn small_order() -> Seen {
    for [first, second, third, last] in SMALL_ORDER {
        let mut point = [third; 32];
        (point[0], point[1], point[31]) = (first, second, last);
        let mut meeting = Meeting::of(show(7, 1)?, types(&ShortCode::new(7, 1).map_err(|e| e.to_string())?, 2)?);
        let mut opening = meeting.scanner.next().ok_or("it begins")?;
        let at = opening.len() - point.len();
        opening[at..].copy_from_slice(&point);
        let refused = meeting.shower.machine.handle_message(&opening, NOW).is_err();
        meeting.shower.collect();
        let answered = meeting.shower.sent.iter().any(|message| message.first() == Some(&4));
        harm(refused && !answered, "the shower multiplies its secret scalar with a point outside of the group")?;
    }
    Ok("refused")
}

fn used_nameplate() -> Seen {
    // Somebody came and left again; the words are not known to be wrong.
    let mut left = shown()?;
    join(&mut left.relay, 2, left.nameplate, None).map_err(|e| e.to_string())?;
    left.relay.close(2);
    harm(join(&mut left.relay, 3, left.nameplate, None) == Err(Code::PairingUsed), "a second one gets its try too")?;
    // Somebody is there now.
    let mut busy = shown()?;
    join(&mut busy.relay, 2, busy.nameplate, None).map_err(|e| e.to_string())?;
    harm(join(&mut busy.relay, 3, busy.nameplate, None) == Err(Code::PairingUsed), "it takes the newcomer's place")?;
    harm(busy.relay.message(SHOWER, Opaque(vec![0]), NOW)[0].is_last(), "the one who shows is not told")?;
    Ok("turned away")
}

fn all_nameplates() -> Seen {
    let mut relay = Rendezvous::new(100);
    let mut came = 0;
    for member in 1..=40 {
        let nameplate = open(&mut relay, member)?;
        // One network, however many devices it pretends to have.
        came += u32::from(join(&mut relay, 100 + member, nameplate, Some(1)).is_ok());
    }
    harm(came <= limits::NAMEPLATE_TRIES, "one network tries, and so burns, the codes of all")?;
    harm(came == limits::NAMEPLATE_TRIES, "it has fewer tries than a family needs")?;
    Ok("stopped after ten")
}
