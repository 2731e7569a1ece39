//! Machines: they hold out whatever comes, in whatever order. Each says whether it came to its end.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::sync::LazyLock;
use std::time::Duration;

use sync_core::Device;
use sync_core::pairing::{Consent, GroupOffer, Output, Pairing};
use sync_core::store::Key;
use sync_rules::mls;
use sync_types::frame::{self, FromRelay, ToRelay};
use sync_types::link::{RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{DeviceId, GroupId, Suite, encode};
use zeroize::Zeroizing;

use super::Parts;
use crate::attacks::lab::Lab;

const NOW: u64 = 1_800_000_000_000;
const APP: &str = "org.example.notes";

/// How many steps of an input count.
const STEPS: usize = 64;

/// A device's small state, as it lies on the disk.
static ROWS: LazyLock<Vec<(Key, Zeroizing<Vec<u8>>)>> = LazyLock::new(|| {
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    lab.parties[1].disk.rows()
});

/// Rows of a device's store, each a key and a value: they take the place of those of a real one.
pub(super) fn store_rows(input: &[u8]) -> bool {
    let mut parts = Parts::of(input);
    let mut rows = ROWS.clone();
    for _ in 0..STEPS {
        let Some(_) = parts.byte() else { break };
        let (key, value) = (parts.bytes(), parts.bytes());
        let Some(key) = Key::from_bytes(key) else { continue };
        rows.retain(|(known, _)| *known != key);
        rows.push((key, Zeroizing::new(value.to_vec())));
    }
    let Ok(Some(mut device)) = Device::load(rows, mls::crypto()) else { return false };
    std::hint::black_box(device.status());
    drop(device.take_writes());
    true
}

/// Two that pair, and somebody between them who does with their messages what each step says. The first byte says over
/// what they pair and who is the member.
pub(super) fn pairing(input: &[u8]) -> bool {
    let mut parts = Parts::of(input);
    let how = parts.byte().unwrap_or_default();
    let (shows, takes) = if how & 1 == 0 { (Side::Member, Side::Newcomer) } else { (Side::Newcomer, Side::Member) };
    let ttl = Duration::from_secs(600);
    let rng = |seed| ChaCha20Rng::from_seed([seed; 32]);
    let (shower, taker) = if how & 2 == 0 || !Suite::XWing.is_ours() {
        let hosts = vec!["127.0.0.1:4433".parse().expect("an address")];
        let relay = RelayHint { endpoint: [9; 32], hosts, kind: RelayKind::Pinned };
        let shower = Pairing::show(shows, Suite::FOUNDED, APP, relay, ttl, &mut rng(1), NOW).expect("it may be shown");
        let link = shower.link().expect("over a link").clone();
        (shower, Pairing::scan(link, takes, APP, &mut rng(2)).expect("it may be scanned"))
    } else {
        let shower = Pairing::show_code(shows, APP, 7, ttl, &mut rng(1), NOW).expect("it may be shown");
        let code = shower.code().expect("over a code").clone();
        (shower, Pairing::type_code(code, takes, APP, &mut rng(2)).expect("it may be typed"))
    };
    let mut ends = [End::new(shower), End::new(taker)];
    let mut now = NOW;
    for _ in 0..STEPS {
        let Some(what) = parts.byte() else { break };
        let bytes = parts.bytes();
        let to = usize::from(what >> 7);
        ends.iter_mut().for_each(|end| end.collect(now));
        for reader in [0, 1] {
            if let Some(digits) = ends[1 - reader].digits.clone().filter(|_| std::mem::take(&mut ends[reader].asked)) {
                let typed = ends[reader].machine.type_check(&digits, now);
                ends[reader].over |= typed.is_err();
            }
        }
        let message = ends[1 - to].sent.get(ends[1 - to].taken).cloned();
        match what & 7 {
            // On its way as it is.
            0..=2 => {
                if let Some(message) = message {
                    ends[1 - to].taken += 1;
                    ends[to].hear(&message, now);
                }
            }
            // Changed on its way, at a place and by a value.
            3 => {
                if let (Some(mut message), [high, low, by, ..]) = (message, bytes) {
                    let place = usize::from(u16::from_be_bytes([*high, *low])) % message.len().max(1);
                    ends[1 - to].taken += 1;
                    if let Some(byte) = message.get_mut(place) {
                        *byte ^= by;
                    }
                    ends[to].hear(&message, now);
                }
            }
            4 => ends[1 - to].taken += usize::from(message.is_some()),
            // Once more.
            5 => {
                if let Some(message) = message {
                    ends[to].hear(&message, now);
                }
            }
            // What neither has said.
            6 => ends[to].hear(bytes, now),
            _ => {
                now += bytes.first().map_or(0, |minutes| u64::from(*minutes) * 60_000);
                let timed = ends[to].machine.handle_timeout(now);
                ends[to].over |= timed.is_err();
            }
        }
    }
    // No message in between can make a member add a device that has not stored what it has to know.
    let [a, b] = &ends;
    assert!((!a.offer_taken || b.offered) && (!b.offer_taken || a.offered), "added without its knowing");
    a.offer_taken || b.offer_taken
}

struct End {
    machine: Pairing,
    sent: Vec<Vec<u8>>,
    taken: usize,
    over: bool,
    digits: Option<String>,
    /// Its person is asked for the digits of the other.
    asked: bool,
    offered: bool,
    offer_taken: bool,
}

impl End {
    fn new(machine: Pairing) -> Self {
        Self {
            machine,
            sent: Vec::new(),
            taken: 0,
            over: false,
            digits: None,
            asked: false,
            offered: false,
            offer_taken: false,
        }
    }

    fn hear(&mut self, message: &[u8], now: u64) {
        // An error is told to the caller, too, who may do what it likes with it.
        self.over |= self.machine.handle_message(message, now).is_err();
        self.collect(now);
    }

    /// Does what a program does, with a person who agrees to everything and types what it reads.
    fn collect(&mut self, now: u64) {
        while let Some(output) = self.machine.poll_output() {
            let answered = match output {
                Output::Send(bytes) => {
                    self.sent.push(bytes);
                    Ok(())
                }
                Output::ShowCheck(digits) => {
                    self.digits = Some(digits);
                    Ok(())
                }
                Output::NeedCheck | Output::Request { consent: Consent::CheckCode, .. } => {
                    self.asked = true;
                    Ok(())
                }
                Output::NeedKeyPackage { .. } => self.machine.key_package(vec![7; 100], "device", now),
                Output::Request { .. } => self.machine.consent(true, now),
                Output::Approved { .. } => self.machine.offer(offer(), now),
                Output::Offer(_) => {
                    self.offered = true;
                    self.machine.offer_stored()
                }
                Output::OfferTaken => {
                    self.offer_taken = true;
                    Ok(())
                }
                Output::Done => Ok(()),
                Output::Failed(_) => {
                    self.over = true;
                    Ok(())
                }
            };
            self.over |= answered.is_err();
        }
    }
}

fn offer() -> GroupOffer {
    let settings = Settings { app_id: APP.as_bytes().to_vec(), ..Settings::default() };
    GroupOffer {
        group: GroupId([3; 32]),
        sponsor: DeviceId([4; 16]),
        settings: encode(&settings),
        names: vec![(DeviceId([4; 16]), "laptop".to_owned())],
        time_ms: NOW,
    }
}

/// A device of two, and a relay that sends it what each step says, or a member that seals it.
pub(super) fn device_session(input: &[u8]) -> bool {
    const VICTIM: usize = 0;
    const MALLORY: usize = 1;
    let mut lab = Lab::with(2);
    let mut parts = Parts::of(input);
    for _ in 0..STEPS {
        let Some(what) = parts.byte() else { break };
        let bytes = parts.bytes();
        match what & 7 {
            0 | 1 => {
                if let Ok(frame) = frame::read::<FromRelay>(bytes) {
                    lab.call(VICTIM, |device, now, rng| device.handle_frame(frame, now, rng));
                }
            }
            // Sealed and signed as it has to be, whatever it says.
            2..=4 => {
                let epoch = lab.parties[MALLORY].device.epoch();
                let last = lab.last_of(MALLORY).map(|(_, head)| head);
                let envelope = lab.seal_bytes(MALLORY, epoch, last.as_ref(), bytes, what & 7 == 2);
                lab.inject(MALLORY, &envelope);
            }
            5 => lab.inject_commit(MALLORY, bytes),
            6 => lab.push(VICTIM, "more"),
            _ => lab.pass(bytes.first().map_or(1, |seconds| u64::from(*seconds) * 1000)),
        }
        lab.reconnect();
    }
    lab.restart(VICTIM);
    true
}

/// A relay, and a member of a group there that sends what each step says.
pub(super) fn relay_session(input: &[u8]) -> bool {
    let mut lab = Lab::with(1);
    let mut parts = Parts::of(input);
    let (mut conn, _) = lab.attach_with_key_of(0);
    for _ in 0..STEPS {
        let Some(what) = parts.byte() else { break };
        let bytes = parts.bytes();
        match what & 3 {
            0..=2 => {
                if let Ok(frame) = frame::read::<ToRelay>(bytes) {
                    drop(lab.raw(conn, frame));
                }
            }
            _ => {
                lab.pass(bytes.first().map_or(1, |seconds| u64::from(*seconds) * 1000));
                (conn, _) = lab.attach_with_key_of(0);
            }
        }
    }
    lab.push(0, "still there");
    true
}
