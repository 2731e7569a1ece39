//! Golden vectors of links and pairings.

use std::convert::Infallible;
use std::time::Duration;

use data_encoding::HEXLOWER as HEX;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use serde_json::{Value, json};
use sync_core::pairing::{Consent, GroupOffer, Output, Pairing, PairingError, app_tag, slot_id};
use sync_types::link::{Link, LinkSecret, RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{DeviceId, GroupId, Suite, encode};

use crate::golden;

pub(crate) const APP: &str = "org.example.notes";
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A generator that remembers what it gave: with these bytes, in this order, anybody can repeat the pairing.
pub(crate) struct Recorded(ChaCha20Rng, pub(crate) Vec<u8>);

impl Recorded {
    pub(crate) fn new(seed: u8) -> Self {
        Self(ChaCha20Rng::from_seed([seed; 32]), Vec::new())
    }
}

impl TryRng for Recorded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(out)?;
        self.1.extend_from_slice(out);
        Ok(())
    }
}

impl TryCryptoRng for Recorded {}

pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Member => "member",
        Side::Newcomer => "newcomer",
    }
}

fn describe(link: &Link) -> Value {
    let (kind, origin) = match &link.relay.kind {
        RelayKind::Pinned => ("pinned", None),
        RelayKind::Web(origin) => ("web", Some(origin)),
        RelayKind::Embedded => ("embedded", None),
    };
    json!({
        "version": sync_types::VERSION,
        "suite": link.suite as u8,
        "app": HEX.encode(&link.app),
        "shows": side(link.shows),
        "expires_at": link.expires_at,
        "secret": HEX.encode(link.secret.as_bytes()),
        "fingerprint": HEX.encode(&link.fingerprint),
        "relay": {
            "kind": kind,
            "origin": origin,
            "endpoint": HEX.encode(&link.relay.endpoint),
            "hosts": link.relay.hosts.iter().map(|h| h.to_string()).collect::<Vec<_>>(),
        },
        "bytes": HEX.encode(&link.to_bytes().unwrap()),
        "text": *link.to_text().unwrap(),
        "slot": HEX.encode(&slot_id(link.secret.as_bytes())),
    })
}

#[test]
fn golden_links() {
    let link = |shows, kind, hosts: &[&str]| Link {
        suite: Suite::XWing,
        app: app_tag(APP),
        shows,
        expires_at: 1_700_000_600,
        secret: LinkSecret::new(std::array::from_fn(|i| i as u8)),
        fingerprint: std::array::from_fn(|i| 255 - i as u8),
        relay: RelayHint { endpoint: [0xa5; 32], hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(), kind },
    };
    let links = [
        link(Side::Member, RelayKind::Pinned, &["192.0.2.7:4433"]),
        link(Side::Newcomer, RelayKind::Pinned, &["[2001:db8::7]:4433", "relay.example.org:443"]),
        link(Side::Member, RelayKind::Web("https://sync.example.org".into()), &[]),
        link(Side::Member, RelayKind::Embedded, &["10.0.0.2:50000"]),
        link(Side::Newcomer, RelayKind::Embedded, &[]),
    ];
    for link in &links {
        let read: Link = link.to_text().unwrap().parse().unwrap();
        assert_eq!(describe(&read), describe(link));
    }
    let value = json!({ "app_id": APP, "links": links.iter().map(describe).collect::<Vec<_>>() });
    golden::check("link", &value);
}

struct Party {
    machine: Pairing,
    sent: usize,
    outputs: Vec<Output>,
}

/// Plays a whole pairing, and gives what everybody sent, in order.
fn play(shows: Side, suite: Suite) -> Value {
    let (mut shower_rng, mut scanner_rng) = (Recorded::new(1), Recorded::new(2));
    let relay =
        RelayHint { endpoint: [0xa5; 32], hosts: vec!["192.0.2.7:4433".parse().unwrap()], kind: RelayKind::Pinned };
    let ttl = Duration::from_secs(600);
    let shower = Pairing::show(shows, suite, APP, relay, ttl, &mut shower_rng, NOW).unwrap();
    // The link goes the way a person takes it.
    let text = shower.link().unwrap().to_text().unwrap();
    let scanner = Pairing::scan(text.parse().unwrap(), shows.other(), APP, &mut scanner_rng).unwrap();
    let link = describe(shower.link().unwrap());
    assert_eq!(link["slot"], HEX.encode(&scanner.slot().unwrap()));

    let mut value = converse(shows, shower, scanner);
    value["link"] = link;
    value["shower_random"] = HEX.encode(&shower_rng.1).into();
    value["scanner_random"] = HEX.encode(&scanner_rng.1).into();
    value
}

/// Has two machines say all that they have to say, with willing persons.
pub(crate) fn converse(shows: Side, shower: Pairing, scanner: Pairing) -> Value {
    // Where a newcomer shows a link, its person types digits, which it is asked for before the scanner can show them.
    let mut types_later = shower.link().is_some() && shows == Side::Newcomer;
    let settings = Settings { app_id: APP.as_bytes().to_vec(), ..Settings::default() };
    let offer = GroupOffer {
        group: GroupId([3; 32]),
        sponsor: DeviceId([4; 16]),
        settings: encode(&settings),
        names: vec![(DeviceId([4; 16]), "Laptop".to_owned())],
        time_ms: NOW,
    };
    let mut code = None;
    let mut messages = Vec::new();
    let mut parties = [scanner, shower].map(|machine| Party { machine, sent: 0, outputs: Vec::new() });
    let sides = [shows.other(), shows];
    loop {
        let mut moved = false;
        for at in 0..2 {
            while let Some(output) = parties[at].machine.poll_output() {
                moved = true;
                parties[at].outputs.push(output.clone());
                let machine = &mut parties[at].machine;
                match output {
                    Output::Send(bytes) => {
                        parties[at].sent += 1;
                        messages.push(json!({ "from": side(sides[at]), "bytes": HEX.encode(&bytes) }));
                        parties[1 - at].machine.handle_message(&bytes, NOW).unwrap();
                    }
                    Output::ShowCheck(digits) => code = Some(digits),
                    Output::NeedKeyPackage { .. } => machine.key_package(vec![0x6b; 32], "Pixel 9", NOW).unwrap(),
                    // A newcomer that shows is asked before the scanner has the fourth message: it types further down.
                    Output::NeedCheck => {}
                    Output::Request { consent: Consent::CheckCode, .. } => {
                        machine.type_check(code.as_deref().unwrap(), NOW).unwrap();
                    }
                    Output::Request { consent: Consent::Yes, .. } => machine.consent(true, NOW).unwrap(),
                    Output::Approved { .. } => machine.offer(offer.clone(), NOW).unwrap(),
                    Output::Offer(got) => {
                        assert_eq!(got, offer);
                        machine.offer_stored().unwrap();
                    }
                    Output::OfferTaken | Output::Done => {}
                    Output::Failed(error) => panic!("{error}"),
                }
            }
        }
        if !moved && !types_later {
            break;
        }
        if !moved {
            types_later = false;
            parties[1].machine.type_check(code.as_deref().unwrap(), NOW).unwrap();
        }
    }
    assert!(parties.iter().all(|p| p.outputs.contains(&Output::Done)));
    json!({
        "shows": side(shows),
        "now_ms": NOW,
        "check_code": code,
        "key_package": HEX.encode(&[0x6b; 32]),
        "name": "Pixel 9",
        "offer": {
            "group": offer.group.to_string(),
            "sponsor": offer.sponsor.to_string(),
            "settings": HEX.encode(&offer.settings),
            "names": [[offer.names[0].0.to_string(), offer.names[0].1]],
            "time_ms": offer.time_ms,
        },
        "messages": messages,
    })
}

#[test]
fn golden_pairings() {
    if !Suite::XWing.is_ours() {
        // A build of suite 2 alone takes no such link.
        let mut rng = Recorded::new(1);
        let relay = RelayHint { endpoint: [0xa5; 32], hosts: vec![], kind: RelayKind::Embedded };
        let ttl = Duration::from_secs(600);
        let shower = Pairing::show(Side::Member, Suite::XWing, APP, relay, ttl, &mut rng, NOW).unwrap();
        let refused = Pairing::scan(shower.link().unwrap().clone(), Side::Newcomer, APP, &mut rng).err();
        assert_eq!(refused, Some(PairingError::Suite(1)));
        return;
    }
    let value = json!({
        "protocol": "Noise_hybridXXpsk0_25519+MLKEM768_ChaChaPoly_SHA256",
        "random": "what each side draws, in this order: the link's secret (32 bytes, only who shows), static X25519 key \
                   (32), static ML-KEM seed (64), ephemeral X25519 key (32), ephemeral ML-KEM seed (64), first and second \
                   encapsulation (32 each)",
        "app_id": APP,
        "pairings": [play(Side::Member, Suite::XWing), play(Side::Newcomer, Suite::XWing)],
    });
    golden::check("pairing", &value);
}

/// aws-lc draws its own randomness when it encapsulates, so that no two pairings of suite 2 are the same. The vector is one that
/// was, with all that both sides drew: `check.py` computes it anew, as it opens the ciphertexts. Here everything that does not
/// hang on them has to be the same, and the rest as long.
#[test]
fn golden_pairings_of_suite_2() {
    let mut value = json!({
        "protocol": "Noise_hybridXXpsk0_P256+MLKEM768_AESGCM_SHA256",
        "random": "what each side draws, in this order: the link's secret (32 bytes, only who shows), static P-256 key (32), \
                   static ML-KEM seed (64), ephemeral P-256 key (32), ephemeral ML-KEM seed (64), 64 bytes that nothing \
                   uses; what encapsulations draw nobody sees",
        "app_id": APP,
        "pairings": [play(Side::Member, Suite::Fips), play(Side::Newcomer, Suite::Fips)],
    });
    let committed = golden::committed_or_blessed("pairing-fips", &value);
    for (made, committed) in pairings(&mut value).zip(pairings(&mut committed.clone())) {
        let [made_messages, committed_messages] =
            [&made, &committed].map(|pairing| pairing["messages"].as_array().unwrap().clone());
        assert_eq!(made_messages[0], committed_messages[0], "the first message has no ciphertext in it");
        let shape = |message: &Value| (message["from"].clone(), message["bytes"].as_str().unwrap().len());
        let shapes = |messages: &[Value]| messages.iter().map(shape).collect::<Vec<_>>();
        assert_eq!(shapes(&made_messages), shapes(&committed_messages));
        let rest = |mut pairing: Value| {
            pairing["messages"].take();
            pairing["check_code"].take();
            pairing
        };
        assert_eq!(rest(made), rest(committed));
    }
}

fn pairings(value: &mut Value) -> impl Iterator<Item = Value> {
    value["pairings"].take().as_array().unwrap().clone().into_iter()
}
