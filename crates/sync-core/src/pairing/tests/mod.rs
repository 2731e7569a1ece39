//! The machine over an in-memory pipe, with seeded randomness.

mod attacks;
// Short codes are of suite 1 alone; `failures` has their refusal in the other.
#[cfg(not(feature = "fips"))]
mod codes;
mod failures;
mod flow;

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_types::link::{RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, GroupId, Suite, encode};

use super::event::{Consent, GroupOffer, Output};
use super::{Pairing, PairingError};

const APP: &str = "org.example.notes";
const NOW: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(600);
const BOTH: [Side; 2] = [Side::Member, Side::Newcomer];

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn relay() -> RelayHint {
    RelayHint { endpoint: [9; 32], hosts: vec!["127.0.0.1:4433".parse().unwrap()], kind: RelayKind::Pinned }
}

fn offer() -> GroupOffer {
    let settings = Settings { app_id: APP.as_bytes().to_vec(), ..Settings::default() };
    GroupOffer {
        group: GroupId([3; 32]),
        sponsor: DeviceId([4; 16]),
        settings: encode(&settings),
        names: vec![(DeviceId([4; 16]), "Laptop".to_owned())],
        time_ms: NOW,
    }
}

fn show(side: Side) -> Pairing {
    Pairing::show(side, Suite::FOUNDED, APP, relay(), TTL, &mut rng(1), NOW).unwrap()
}

/// One device: its machine, what the machine said to its caller, and what it sent.
struct Device {
    machine: Pairing,
    outputs: Vec<Output>,
    sent: Vec<Vec<u8>>,
    delivered: usize,
}

impl Device {
    fn new(machine: Pairing) -> Self {
        Self { machine, outputs: Vec::new(), sent: Vec::new(), delivered: 0 }
    }

    fn collect(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(bytes) => self.sent.push(bytes),
                other => self.outputs.push(other),
            }
        }
    }

    fn failure(&self) -> Option<Code> {
        self.outputs.iter().find_map(Output::failure)
    }

    fn is_done(&self) -> bool {
        self.outputs.contains(&Output::Done)
    }

    fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.outputs.iter().any(wanted)
    }

    fn shown(&self) -> Option<String> {
        self.outputs.iter().find_map(|o| match o {
            Output::ShowCheck(code) => Some(code.clone()),
            _ => None,
        })
    }
}

/// Changes a message on its way: sender, number among the sender's messages, bytes.
type Tamper<'a> = &'a mut dyn FnMut(Side, usize, &mut Vec<u8>);

/// Two devices and the way between them.
struct Pipe {
    member: Device,
    newcomer: Device,
    now: u64,
}

impl Pipe {
    fn new(shows: Side) -> Self {
        let shower = show(shows);
        let scanner = Pairing::scan(shower.link().unwrap().clone(), shows.other(), APP, &mut rng(2)).unwrap();
        Self::of(shower, scanner)
    }

    fn of(a: Pairing, b: Pairing) -> Self {
        let (member, newcomer) = if a.side == Side::Member { (a, b) } else { (b, a) };
        Self { member: Device::new(member), newcomer: Device::new(newcomer), now: NOW }
    }

    fn device(&mut self, side: Side) -> &mut Device {
        match side {
            Side::Member => &mut self.member,
            Side::Newcomer => &mut self.newcomer,
        }
    }

    /// Carries messages until nothing moves. Nobody answers a question.
    fn carry(&mut self) {
        self.carry_altered(&mut |_, _, _| ());
    }

    fn carry_altered(&mut self, tamper: Tamper<'_>) {
        loop {
            let mut moved = false;
            for from in BOTH {
                self.member.collect();
                self.newcomer.collect();
                let now = self.now;
                let sender = self.device(from);
                if let Some(mut message) = sender.sent.get(sender.delivered).cloned() {
                    tamper(from, sender.delivered, &mut message);
                    sender.delivered += 1;
                    // A failure comes as an output too, and that is where tests look.
                    let _ = self.device(from.other()).machine.handle_message(&message, now);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Answers every question as willing persons would, until nothing moves.
    fn run(&mut self) {
        self.run_altered(&mut |_, _, _| ());
    }

    fn run_altered(&mut self, tamper: Tamper<'_>) {
        let mut answered = [0, 0];
        loop {
            self.carry_altered(tamper);
            let mut moved = false;
            for (at, side) in BOTH.into_iter().enumerate() {
                let (now, shown) = (self.now, self.device(side.other()).shown());
                let device = self.device(side);
                let Some(question) = device.outputs.get(answered[at]).cloned() else { continue };
                answered[at] += 1;
                moved = true;
                // An answer may come too late when a message was altered: then it is refused.
                let machine = &mut device.machine;
                let _ = match question {
                    Output::NeedKeyPackage { .. } => machine.key_package(b"key package".to_vec(), "Pixel 9", now),
                    Output::NeedCheck | Output::Request { consent: Consent::CheckCode, .. } => {
                        machine.type_check(shown.as_deref().unwrap_or("0000"), now)
                    }
                    Output::Request { consent: Consent::Yes, .. } => machine.consent(true, now),
                    Output::Approved { .. } => machine.offer(offer(), now),
                    Output::Offer(_) => machine.offer_stored(),
                    _ => Ok(()),
                };
            }
            if !moved {
                return;
            }
        }
    }

    /// Carries on to where the side that shows has to type the code.
    fn to_check(shows: Side) -> Self {
        let mut pipe = Self::new(shows);
        pipe.carry();
        pipe.newcomer.machine.key_package(b"key package".to_vec(), "Pixel 9", NOW).unwrap();
        pipe.carry();
        pipe
    }

    fn code(&self) -> String {
        self.member.shown().or_else(|| self.newcomer.shown()).unwrap()
    }

    /// A code that is not the right one.
    fn wrong_code(&self) -> String {
        let code: u32 = self.code().parse().unwrap();
        format!("{:04}", (code + 1) % 10_000)
    }
}
