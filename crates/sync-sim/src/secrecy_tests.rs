//! A group's life, in which everything that `Debug` and errors say is written down, and then searched for what is secret: in
//! raw bytes, hexadecimal, base64, base32, and as lists of numbers. (What a program logs while it does the same is searched by
//! `crates/sync-cli/tests/it/e2e/secrecy.rs`.)

use std::backtrace::Backtrace;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::pairing::{GroupOffer, Output, Pairing};
use sync_core::store::Key;
use sync_core::{Device, Joining};
use sync_rules::defence::without;
use sync_rules::{Defence, mls};
use sync_types::frame::FromRelay;
use sync_types::link::{Link, RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{DeviceId, GroupId, Suite, encode};

use crate::attacks::lab::Lab;

/// How many bytes in a row give a secret away. Ids are shown by four.
const TELLING: usize = 8;

/// Everything of which no eight bytes may be seen.
#[derive(Default)]
struct Secrets(HashSet<[u8; TELLING]>);

impl Secrets {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend(telling(bytes));
    }

    /// What everybody may know is no secret, though it lies beside one.
    fn allow(&mut self, bytes: &[u8]) {
        let public: HashSet<_> = telling(bytes).collect();
        self.0.retain(|secret| !public.contains(secret));
    }

    /// Where a text shows one of them, in any form.
    fn shown(&self, text: &str) -> Option<String> {
        let shows = |bytes: &[u8]| telling(bytes).any(|window| self.0.contains(&window));
        let raw = shows(text.as_bytes()).then(|| "as it is".to_owned());
        let found = words(text).into_iter().find(|(_, bytes)| shows(bytes)).map(|(word, _)| word);
        raw.or(found)
    }
}

/// All rows of eight bytes, but for those in which too little varies for them to be anybody's secret.
fn telling(bytes: &[u8]) -> impl Iterator<Item = [u8; TELLING]> {
    bytes.windows(TELLING).filter_map(|window| {
        let window: [u8; TELLING] = window.try_into().ok()?;
        (window.iter().collect::<HashSet<_>>().len() > TELLING / 2).then_some(window)
    })
}

/// Every stretch of a text that could be bytes, with those bytes.
fn words(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let list = |c: char| !(c.is_ascii_hexdigit() || c.is_whitespace() || c == ',');
    for word in text.split(list).filter(|word| word.len() > 2 * TELLING) {
        let numbers = || word.split(',').map(str::trim);
        found.push((word.to_owned(), numbers().filter_map(|number| number.parse().ok()).collect()));
        found.push((word.to_owned(), numbers().filter_map(|number| u8::from_str_radix(number, 16).ok()).collect()));
    }
    let code = |c: char| !(c.is_ascii_alphanumeric() || "+/-_".contains(c));
    for word in text.split(code).filter(|word| word.len() >= TELLING) {
        for start in 0..8.min(word.len()) {
            let from = &word.as_bytes()[start..];
            let whole = |unit: usize| &from[..from.len() / unit * unit];
            let decoded = [
                HEXLOWER_PERMISSIVE.decode(whole(2)),
                BASE64_NOPAD.decode(whole(4)),
                BASE64URL_NOPAD.decode(whole(4)),
                BASE32_NOPAD.decode(&whole(8).to_ascii_uppercase()),
            ];
            found.extend(decoded.into_iter().flatten().map(|bytes| (word.to_owned(), bytes)));
        }
    }
    found
}

/// What lies on the devices' disks: keys of their own, epochs' secrets, and MLS's state.
fn on_disks(lab: &mut Lab, secrets: &mut Secrets) {
    for party in 0..lab.parties.len() {
        for (key, value) in &lab.parties[party].disk.state {
            match key {
                Key::Identity => secrets.add(&value[1..33]),
                Key::Epoch(_) => secrets.add(&value[..32]),
                Key::Membership | Key::Before => secrets.add(value),
                _ => {}
            }
        }
    }
    // MLS's state holds the tree and the context, which the relay has too.
    let public = lab.group_info(0);
    secrets.allow(&public);
}

#[test]
fn nothing_that_debug_says_in_a_groups_life_is_secret() {
    let mut secrets = Secrets::default();
    let mut lab = Lab::with(2);
    lab.overheard = Some(String::new());
    on_disks(&mut lab, &mut secrets);
    lab.push(0, "one");
    lab.add();
    on_disks(&mut lab, &mut secrets);
    let copy = lab.parties[1].disk.clone();
    // Renewed keys, a removal, and a device that is set back and takes a new key.
    lab.call(1, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.push(1, "two");
    on_disks(&mut lab, &mut secrets);
    lab.remove(2);
    on_disks(&mut lab, &mut secrets);
    lab.push(1, "three");
    lab.set_back(1, copy);
    lab.pass(3 * 60_000);
    lab.reconnect();
    lab.push(0, "four");
    on_disks(&mut lab, &mut secrets);
    for party in 0..lab.parties.len() {
        let device = &lab.parties[party].device;
        let said = format!("{device:#?} {:#?} {:#?}", device.status(), device.members());
        lab.overhear(&said);
    }
    damaged(&mut lab);
    assert!(secrets.0.len() > 2_000, "the life has {} secrets", secrets.0.len());
    let said = lab.overheard.take().expect("it was kept");
    assert!(said.len() > 20_000 && said.contains("Push") && said.contains("Put("), "too little was overheard");
    assert_eq!(secrets.shown(&said), None);
}

/// What a program is told, and would say as it crashes, when its store is damaged or a Welcome is none.
fn damaged(lab: &mut Lab) {
    let rows = lab.parties[0].disk.rows();
    for damaged in 0..rows.len() {
        for keep in [0, 1, 7] {
            let mut rows = rows.clone();
            let (key, value) = &mut rows[damaged];
            let half = value.len() / 2;
            match keep {
                0 => value.truncate(half),
                1 => value[half] ^= 0xff,
                _ => value.push(7),
            }
            let key = *key;
            if let Err(error) = Device::load(rows, mls::crypto()) {
                lab.overhear(&(key, &error, error.to_string()));
            }
        }
    }
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let (mut joining, _) =
        Joining::new(mls::crypto(), Suite::FOUNDED, lab.now, "late", &mut rng).expect("a key package can be made");
    joining.take_offer(lab.parties[0].device.offer(lab.now));
    let welcome = FromRelay::Welcome(vec![1, 2, 3].into());
    let refused = joining.handle_frame(&welcome, lab.now, &mut rng).map(|device| device.is_some());
    lab.overhear(&(&joining, &refused));
}

/// A link's secret, a code's words and what the two sides say of themselves while they pair.
#[test]
fn nothing_that_debug_says_of_a_pairing_is_secret() {
    const NOW: u64 = 1_800_000_000_000;
    const APP: &str = "org.example.notes";
    let rng = |seed| ChaCha20Rng::from_seed([seed; 32]);
    let ttl = Duration::from_secs(600);
    let hosts = vec!["127.0.0.1:4433".parse().expect("an address")];
    let relay = RelayHint { endpoint: [9; 32], hosts, kind: RelayKind::Pinned };
    let by_link =
        Pairing::show(Side::Member, Suite::FOUNDED, APP, relay, ttl, &mut rng(1), NOW).expect("it may be shown");
    let link: Link = by_link.link().expect("over a link").clone();
    let scans = Pairing::scan(link.clone(), Side::Newcomer, APP, &mut rng(2)).expect("it may be scanned");
    let mut pairs = vec![(by_link, scans)];
    let mut secrets = Secrets::default();
    secrets.add(link.secret.as_bytes());
    let mut said = format!("{link:#?} {link:?}");
    if Suite::XWing.is_ours() {
        let by_code = Pairing::show_code(Side::Member, APP, 7, ttl, &mut rng(3), NOW).expect("it may be shown");
        let code = by_code.code().expect("over a code").clone();
        let types = Pairing::type_code(code.clone(), Side::Newcomer, APP, &mut rng(4)).expect("it may be typed");
        secrets.add(code.to_text().as_bytes());
        said += &format!("{code:#?} {code:?}");
        pairs.push((by_code, types));
    }
    // What is drawn first is the link's secret or the code, then the keys.
    for seed in 1..5 {
        let mut drawn = [0; 256];
        rand_core::Rng::fill_bytes(&mut rng(seed), &mut drawn);
        secrets.add(&drawn);
    }
    for (shows, takes) in pairs {
        said += &paired(shows, takes, NOW);
    }
    assert!(said.contains("Send(") && said.contains("OfferTaken"), "they did not get through: {said}");
    assert_eq!(secrets.shown(&said), None);
}

/// Carries a pairing to its end, and gives all that `Debug` says on the way.
fn paired(shows: Pairing, takes: Pairing, now: u64) -> String {
    let mut ends = [shows, takes];
    let mut said = String::new();
    let mut digits = String::new();
    let mut quiet = 0;
    while quiet < 2 {
        quiet += 1;
        for (this, other) in [(0, 1), (1, 0)] {
            while let Some(output) = ends[this].poll_output() {
                quiet = 0;
                said += &format!("{output:?} {output:#?} {:?} {:#?}\n", ends[this], ends[other]);
                match output {
                    Output::Send(bytes) => ends[other].handle_message(&bytes, now).expect("it is honest"),
                    Output::ShowCheck(shown) => digits = shown,
                    Output::NeedKeyPackage { .. } => {
                        ends[this].key_package(vec![7; 100], "phone", now).expect("it is asked for");
                    }
                    Output::Request { .. } if digits.is_empty() => {
                        ends[this].consent(true, now).expect("it is asked for")
                    }
                    Output::Request { .. } => {
                        ends[this].type_check(&digits, now).expect("it is asked for");
                    }
                    Output::Approved { .. } => ends[this].offer(offer(now), now).expect("it is asked for"),
                    Output::Offer(_) => ends[this].offer_stored().expect("it is asked for"),
                    Output::NeedCheck | Output::OfferTaken | Output::Done | Output::Failed(_) => {}
                }
            }
        }
    }
    said
}

fn offer(time_ms: u64) -> GroupOffer {
    let settings = encode(&Settings { app_id: b"org.example.notes".to_vec(), ..Settings::default() });
    GroupOffer { group: GroupId([3; 32]), sponsor: DeviceId([4; 16]), settings, names: vec![], time_ms }
}

/// What a process says as it crashes while it holds secrets: the message, as the hook of panics has it, and the frames.
fn crash_says(crash: impl FnOnce()) -> String {
    let said = Arc::new(Mutex::new(String::new()));
    let heard = said.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut heard = heard.lock().expect("nothing panics while it holds this lock");
        *heard += &format!("{panic} {panic:?} {}", Backtrace::force_capture());
    }));
    let crashed = catch_unwind(AssertUnwindSafe(crash)).is_err();
    std::panic::set_hook(before);
    assert!(crashed, "it was to crash");
    let said = said.lock().expect("nothing panics while it holds this lock").clone();
    assert!(said.contains("panicked at"), "too little was heard: {said}");
    said
}

/// A device that is in the midst of its work, one that cannot load its damaged disk, a pairing that is given what the library
/// below it stops at, and a newcomer with a Welcome that is none.
#[test]
fn nothing_that_a_crash_says_is_secret() {
    let mut secrets = Secrets::default();
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    on_disks(&mut lab, &mut secrets);
    let mut said = crash_says(|| {
        lab.call(0, |device, now, rng| {
            device.self_update(now, rng).expect("a member may renew its keys");
            panic!("in the midst of a change: {device:?} {:?}", device.take_writes());
        });
    });
    let rows = lab.parties[1].disk.rows();
    for damaged in 0..rows.len() {
        let mut rows = rows.clone();
        let half = rows[damaged].1.len() / 2;
        rows[damaged].1.truncate(half);
        if Device::load(rows.clone(), mls::crypto()).is_err() {
            said += &crash_says(|| drop(Device::load(rows, mls::crypto()).expect("the disk can be read")));
        }
    }
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let (mut joining, _) =
        Joining::new(mls::crypto(), Suite::FOUNDED, lab.now, "late", &mut rng).expect("a key package can be made");
    secrets.add(&joining.to_bytes()[1..33]);
    joining.take_offer(lab.parties[1].device.offer(lab.now));
    let welcome = FromRelay::Welcome(vec![1, 2, 3].into());
    said += &crash_says(|| drop(joining.handle_frame(&welcome, lab.now, &mut rng).expect("it is a Welcome")));

    let hosts = vec!["127.0.0.1:4433".parse().expect("an address")];
    let relay = RelayHint { endpoint: [9; 32], hosts, kind: RelayKind::Pinned };
    let (app, ttl) = ("org.example.notes", Duration::from_secs(600));
    let mut shower =
        Pairing::show(Side::Member, Suite::FOUNDED, app, relay, ttl, &mut rng, lab.now).expect("it may be shown");
    let link = shower.link().expect("over a link").clone();
    secrets.add(link.secret.as_bytes());
    let long = [&[1, 1][..], &[7; 70_000]].concat();
    said += &crash_says(|| {
        let read = || shower.handle_message(&long, lab.now);
        without(&[Defence::HandshakeLength], read).expect("the library below stops before");
    });
    said += &crash_says(|| panic!("{link:?} {shower:?} {joining:?}"));
    assert_eq!(secrets.shown(&said), None);

    // The control: a crash that says a key.
    let seed = lab.key(1).seed();
    let loud = crash_says(|| panic!("the key is {:?}", &seed[..]));
    assert!(secrets.shown(&loud).is_some(), "a key in a crash's message is not found");
}

/// The search itself: each form is found, and ids by four bytes are not.
#[test]
fn a_secret_is_found_in_every_form() {
    let secret: Vec<u8> = (100..132).collect();
    let mut secrets = Secrets::default();
    secrets.add(&secret);
    #[derive(Debug)]
    #[allow(dead_code, reason = "`Debug` reads it")]
    struct Leaks(Vec<u8>);
    let array: [u8; 32] = secret.clone().try_into().expect("32 bytes");
    let lead = [&[1, 2][..], &secret].concat();
    for text in [
        format!("{:?}", Leaks(secret.clone())),
        format!("{:#?}", Leaks(secret.clone())),
        format!("{array:?}"),
        format!("{array:02x?}"),
        format!("{array:#X?}").replace("0x", ""),
        format!("x={array:02x?}").replace(", ", ""),
        HEXLOWER_PERMISSIVE.encode(&lead),
        HEXLOWER_PERMISSIVE.encode(&secret).to_uppercase(),
        format!("key {} end", BASE64_NOPAD.encode(&lead)),
        BASE64URL_NOPAD.encode(&secret),
        BASE32_NOPAD.encode(&lead),
        String::from_utf8_lossy(&secret[..16]).into_owned(),
    ] {
        assert!(secrets.shown(&text).is_some(), "{text}");
    }
    assert_eq!(secrets.shown(&HEXLOWER_PERMISSIVE.encode(&secret[..4])), None);
    assert_eq!(secrets.shown("32 bytes"), None);
}
