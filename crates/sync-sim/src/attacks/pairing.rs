//! Somebody who has seen a link, or sits at the relay between the two who pair.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::pairing::{GroupOffer, Output, Pairing, PairingError};
use sync_rules::Defence;
use sync_types::link::{Link, RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{DeviceId, GroupId, Suite, encode};

use super::{Attack, By, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[
    attack("photographed QR", "stopped by the check code", &[Defence::CheckCode], photographed),
    attack("guess the check code", "ended at the second try", &[Defence::CheckCodeTries], guess),
    attack("expired link", "expired by the shower's clock", &[Defence::Expiry], expired),
    attack("altered link", "pairs with nobody", &[Defence::Prologue], altered),
    attack("another app's link", "nothing is sent", &[Defence::AppTag], other_app),
    attack("fake shower", "told nothing", &[Defence::Fingerprint, Defence::Prologue], fake_shower),
    attack("two newcomers at once", "both turned away", &[Defence::SecondScanner], two_newcomers),
    attack("extra, short and 70 kB messages", "refused", &[Defence::HandshakeLength], lengths),
];

pub(super) const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Pairing, name, expected, defences, scene }
}

pub(super) const APP: &str = "org.example.notes";
pub(super) const NOW: u64 = 1_800_000_000_000;
pub(super) const TTL: Duration = Duration::from_secs(600);

pub(super) fn show() -> Result<Pairing, String> {
    show_drawn(1)
}

/// The seed decides on the link's secret and on the keys that it vouches for.
pub(super) fn show_drawn(seed: u8) -> Result<Pairing, String> {
    let hosts = vec!["127.0.0.1:4433".parse().map_err(|_| "an address")?];
    let relay = RelayHint { endpoint: [9; 32], hosts, kind: RelayKind::Pinned };
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    Pairing::show(Side::Member, Suite::FOUNDED, APP, relay, TTL, &mut rng, NOW).map_err(|e| e.to_string())
}

pub(super) fn scan(link: &Link, seed: u8) -> Result<Pairing, PairingError> {
    Pairing::scan(link.clone(), Side::Newcomer, APP, &mut ChaCha20Rng::from_seed([seed; 32]))
}

/// A member that shows, whoever scans, and the messages between them.
pub(super) struct Meeting {
    pub(super) shower: End,
    pub(super) scanner: End,
    now: u64,
}

pub(super) struct End {
    pub(super) machine: Pairing,
    told: Vec<Output>,
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) delivered: usize,
}

impl End {
    pub(super) fn new(machine: Pairing) -> Self {
        Self { machine, told: Vec::new(), sent: Vec::new(), delivered: 0 }
    }

    pub(super) fn collect(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(bytes) => self.sent.push(bytes),
                told => self.told.push(told),
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.collect();
        let message = self.sent.get(self.delivered).cloned()?;
        self.delivered += 1;
        Some(message)
    }

    pub(super) fn was_told(&self, what: impl Fn(&Output) -> bool) -> bool {
        self.told.iter().any(what)
    }

    /// The digits that it shows.
    pub(super) fn digits(&self) -> Option<String> {
        self.told.iter().find_map(|told| match told {
            Output::ShowCheck(digits) => Some(digits.clone()),
            _ => None,
        })
    }
}

impl Meeting {
    pub(super) fn of(shower: Pairing, scanner: Pairing) -> Self {
        Self { shower: End::new(shower), scanner: End::new(scanner), now: NOW }
    }

    /// Carries messages until nothing moves. A newcomer says its name; nobody agrees to anything.
    pub(super) fn carry(&mut self) {
        let mut named = false;
        loop {
            let (up, down) = (self.scanner.next(), self.shower.next());
            if up.is_none() && down.is_none() {
                let wants = self.scanner.was_told(|o| matches!(o, Output::NeedKeyPackage { .. }));
                if !wants || std::mem::replace(&mut named, true) {
                    return;
                }
                let _ = self.scanner.machine.key_package(b"a key package".to_vec(), "Pixel 9", self.now);
            }
            // A refusal is among what it tells.
            if let Some(message) = up {
                let _ = self.shower.machine.handle_message(&message, self.now);
            }
            if let Some(message) = down {
                let _ = self.scanner.machine.handle_message(&message, self.now);
            }
        }
    }

    /// Whether the member goes on to add whoever scanned.
    pub(super) fn is_approved(&mut self) -> bool {
        self.shower.collect();
        self.shower.was_told(|o| matches!(o, Output::Approved { .. }))
    }

    pub(super) fn agree(&mut self) -> Result<(), String> {
        let digits = self.scanner.digits().ok_or("no digits")?;
        self.shower.machine.type_check(&digits, self.now).map_err(|e| e.to_string())?;
        self.carry();
        let settings = Settings { app_id: APP.as_bytes().to_vec(), ..Settings::default() };
        let sponsor = DeviceId([4; 16]);
        let offer =
            GroupOffer { group: GroupId([3; 32]), sponsor, settings: encode(&settings), names: vec![], time_ms: NOW };
        self.shower.machine.offer(offer, self.now).map_err(|e| e.to_string())?;
        self.carry();
        Ok(())
    }

    pub(super) fn gave_the_offer(&self) -> bool {
        self.scanner.was_told(|o| matches!(o, Output::Offer(_)))
    }
}

/// Digits that are not these.
fn others(digits: &str, by: u32) -> String {
    format!("{:04}", (digits.parse::<u32>().unwrap_or(0) + by) % 10_000)
}

fn photographed() -> Seen {
    let shower = show()?;
    let thief = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(shower, thief);
    meeting.carry();
    // The person reads what the real device shows, which is something else.
    let wrong = others(&meeting.scanner.digits().ok_or("no digits")?, 1);
    for _ in 0..2 {
        let _ = meeting.shower.machine.type_check(&wrong, NOW);
    }
    harm(!meeting.is_approved(), "whoever photographed the QR is added")?;
    Ok("stopped by the check code")
}

fn guess() -> Seen {
    let shower = show()?;
    let thief = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(shower, thief);
    meeting.carry();
    let right = meeting.scanner.digits().ok_or("no digits")?;
    let mut tries = 0;
    // The right ones come last: it is not luck that is measured.
    for by in 1..=10_000 {
        tries += 1;
        match meeting.shower.machine.type_check(&others(&right, by), NOW) {
            Err(PairingError::WrongCode { .. }) => {}
            _ => break,
        }
    }
    harm(!meeting.is_approved(), "it was guessed")?;
    harm(tries == 2, "it had more than two tries")?;
    Ok("ended at the second try")
}

fn expired() -> Seen {
    let shower = show()?;
    let late = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(shower, late);
    meeting.now = NOW + 601_000;
    meeting.carry();
    harm(meeting.scanner.digits().is_none(), "a link works after its time")?;
    harm(meeting.shower.was_told(|o| matches!(o, Output::Failed(PairingError::Expired))), "nobody was told")?;
    Ok("expired by the shower's clock")
}

fn altered() -> Seen {
    let changes: [fn(&mut Link); 4] = [
        |link| link.expires_at += 1,
        |link| link.relay.endpoint[0] ^= 1,
        |link| link.relay.hosts.clear(),
        |link| link.relay.kind = RelayKind::Embedded,
    ];
    for change in changes {
        let shower = show()?;
        let mut link = shower.link().expect("it is over a link").clone();
        change(&mut link);
        // A link that cannot be is refused at once.
        let Ok(scanner) = scan(&link, 2) else { continue };
        let mut meeting = Meeting::of(shower, scanner);
        meeting.carry();
        harm(meeting.scanner.digits().is_none(), "a link that was altered works")?;
    }
    Ok("pairs with nobody")
}

fn other_app() -> Seen {
    let shower = show()?;
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    match Pairing::scan(
        shower.link().expect("it is over a link").clone(),
        Side::Newcomer,
        "org.example.other",
        &mut rng,
    ) {
        Err(PairingError::WrongApp) => Ok("nothing is sent"),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it answers another app's link".to_owned()),
    }
}

fn fake_shower() -> Seen {
    // It has seen the link, so it knows the secret. The keys that the link vouches for it does not have.
    let impostor = show()?;
    let mut link = impostor.link().expect("it is over a link").clone();
    link.fingerprint[0] ^= 1;
    let victim = scan(&link, 2).map_err(|e| e.to_string())?;
    let mut meeting = Meeting::of(impostor, victim);
    meeting.carry();
    harm(!meeting.shower.was_told(|o| matches!(o, Output::Request { .. })), "it learns the newcomer's name")?;
    harm(meeting.scanner.was_told(|o| o.failure().is_some()), "nobody was told")?;
    Ok("told nothing")
}

fn two_newcomers() -> Seen {
    let shower = show()?;
    let [first, second] = [2, 3].map(|seed| scan(shower.link().expect("it is over a link"), seed));
    let mut second = End::new(second.map_err(|e| e.to_string())?);
    let mut meeting = Meeting::of(shower, first.map_err(|e| e.to_string())?);
    meeting.carry();
    let message = second.next().ok_or("it begins")?;
    let _ = meeting.shower.machine.handle_message(&message, NOW);
    meeting.carry();
    let agreed = meeting.agree();
    harm(
        agreed.is_err() && !meeting.gave_the_offer(),
        "one of two who have the link is added, and nobody knows which",
    )?;
    Ok("both turned away")
}

fn lengths() -> Seen {
    let whole = {
        let shower = show()?;
        let scanner = scan(shower.link().expect("it is over a link"), 2).map_err(|e| e.to_string())?;
        let mut meeting = Meeting::of(shower, scanner);
        meeting.carry();
        meeting.scanner.sent[0].clone()
    };
    let cut = |len: usize| whole[..len].to_vec();
    let grown = |len: usize| whole.iter().copied().chain(std::iter::repeat(0)).take(len).collect::<Vec<u8>>();
    let bad = [vec![], cut(1), cut(2), cut(whole.len() - 1), grown(whole.len() + 1), grown(65_535), grown(70_000)];
    for message in bad {
        let mut shower = End::new(show()?);
        let refused = shower.machine.handle_message(&message, NOW).is_err();
        shower.collect();
        harm(refused && shower.told.len() == 1, "a message of a wrong length is taken")?;
    }
    Ok("refused")
}
