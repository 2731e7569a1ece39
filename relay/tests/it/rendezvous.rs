//! The meeting point for pairing.

use sync_relay::rendezvous::{Outgoing, PartyId, Rendezvous};
use sync_types::frame::{FromRelay, OpenSlot, SlotSide};
use sync_types::{Code, Opaque, VERSION, limits};

const SHOWER: PartyId = 1;
const SCANNER: PartyId = 2;
const THIRD: PartyId = 3;

fn open(side: SlotSide) -> OpenSlot {
    OpenSlot { version: VERSION, slot: [5; 16], side, ttl_seconds: 600 }
}

fn met() -> Rendezvous {
    let mut rendezvous = Rendezvous::new(10);
    rendezvous.open(SHOWER, &open(SlotSide::Shows), 0).unwrap();
    rendezvous.open(SCANNER, &open(SlotSide::Scans), 0).unwrap();
    rendezvous
}

fn message(n: u8) -> Opaque {
    Opaque(vec![n; 40])
}

fn codes(told: &[Outgoing]) -> Vec<(PartyId, Option<Code>)> {
    let code = |o: &Outgoing| match &o.frame {
        FromRelay::Refused(refused) => Some(refused.code()),
        _ => None,
    };
    told.iter().map(|o| (o.to, code(o))).collect()
}

#[test]
fn two_parties_hand_each_other_messages_in_order() {
    let mut rendezvous = Rendezvous::new(10);
    let opened = rendezvous.open(SHOWER, &open(SlotSide::Shows), 0).unwrap();
    assert_eq!(opened, [Outgoing { to: SHOWER, frame: FromRelay::SlotOpened }]);
    assert_eq!(rendezvous.message(SHOWER, message(1), 1), []);
    assert_eq!(rendezvous.message(SHOWER, message(2), 1), []);
    let joined = rendezvous.open(SCANNER, &open(SlotSide::Scans), 2).unwrap();
    let frames: Vec<FromRelay> = joined.into_iter().map(|o| o.frame).collect();
    assert_eq!(frames, [FromRelay::SlotOpened, FromRelay::SlotMessage(message(1)), FromRelay::SlotMessage(message(2))]);
    let passed = |to, n| vec![Outgoing { to, frame: FromRelay::SlotMessage(message(n)) }];
    assert_eq!(rendezvous.message(SCANNER, message(3), 3), passed(SHOWER, 3));
    assert_eq!(rendezvous.message(SHOWER, message(4), 3), passed(SCANNER, 4));
    let told = rendezvous.close(SCANNER);
    assert_eq!(told, [Outgoing { to: SHOWER, frame: FromRelay::SlotClosed }]);
    assert!(told[0].is_last());
    assert_eq!(rendezvous.close(SHOWER), []);
    assert!(rendezvous.message(SHOWER, message(5), 3)[0].is_last());
}

#[test]
fn a_third_party_burns_the_slot() {
    for side in [SlotSide::Scans, SlotSide::Shows] {
        let mut rendezvous = met();
        let (refusal, told) = rendezvous.open(THIRD, &open(side), 1).unwrap_err();
        assert_eq!(refusal.code, Code::PairingUsed);
        assert_eq!(codes(&told), [(SHOWER, Some(Code::PairingUsed)), (SCANNER, Some(Code::PairingUsed))]);
        let (refusal, told) = rendezvous.open(SCANNER, &open(SlotSide::Scans), 2).unwrap_err();
        assert_eq!((refusal.code, told), (Code::PairingUsed, vec![]));
    }
}

#[test]
fn a_used_slot_stays_used_until_its_time_is_over() {
    let mut rendezvous = met();
    rendezvous.close(SHOWER);
    for side in [SlotSide::Shows, SlotSide::Scans] {
        assert_eq!(rendezvous.open(THIRD, &open(side), 599_999).unwrap_err().0.code, Code::PairingUsed);
    }
    assert_eq!(rendezvous.next_timeout(), Some(600_000));
    rendezvous.timeout(600_000);
    assert!(rendezvous.is_empty());
}

#[test]
fn a_shower_that_nobody_answered_may_come_back() {
    let mut rendezvous = Rendezvous::new(10);
    rendezvous.open(SHOWER, &open(SlotSide::Shows), 0).unwrap();
    assert_eq!(rendezvous.close(SHOWER), []);
    assert_eq!(rendezvous.open(SCANNER, &open(SlotSide::Scans), 1).unwrap_err().0.code, Code::NoSuchPairing);
    rendezvous.open(THIRD, &open(SlotSide::Shows), 1).unwrap();
}

#[test]
fn unknown_expired_and_odd_slots_have_their_own_errors() {
    let mut rendezvous = Rendezvous::new(1);
    let code = |r: &mut Rendezvous, request: OpenSlot, now| r.open(SCANNER, &request, now).unwrap_err().0.code;
    let scans = || open(SlotSide::Scans);
    assert_eq!(code(&mut rendezvous, scans(), 0), Code::NoSuchPairing);
    assert_eq!(code(&mut rendezvous, OpenSlot { version: 9, ..scans() }, 0), Code::Version);
    let shows = || open(SlotSide::Shows);
    assert_eq!(code(&mut rendezvous, OpenSlot { ttl_seconds: 601, ..shows() }, 0), Code::Protocol);
    assert_eq!(code(&mut rendezvous, OpenSlot { ttl_seconds: 0, ..shows() }, 0), Code::Protocol);
    assert!(rendezvous.is_empty());

    rendezvous.open(SHOWER, &shows(), 0).unwrap();
    let (refusal, _) = rendezvous.open(SHOWER, &OpenSlot { slot: [6; 16], ..shows() }, 0).unwrap_err();
    assert_eq!(refusal.code, Code::Protocol, "one slot a stream");
    let (refusal, _) = rendezvous.open(THIRD, &OpenSlot { slot: [6; 16], ..shows() }, 0).unwrap_err();
    assert_eq!(refusal.code, Code::RateLimited);
    assert!(refusal.retry_after_ms > 0);
    assert_eq!(code(&mut rendezvous, scans(), 600_000), Code::PairingExpired);

    let mut rendezvous = met();
    assert_eq!(codes(&rendezvous.timeout(600_000)).len(), 2);
    let mut rendezvous = met();
    let told = rendezvous.message(SHOWER, message(1), 600_000);
    assert_eq!(codes(&told), [(SHOWER, Some(Code::PairingExpired)), (SCANNER, Some(Code::PairingExpired))]);
}

#[test]
fn messages_are_few_and_small() {
    let mut rendezvous = met();
    assert_eq!(codes(&rendezvous.message(SCANNER, Opaque(vec![0; 65_535]), 1)), [(SHOWER, None)]);
    for _ in 1..16 {
        assert_eq!(codes(&rendezvous.message(SCANNER, message(1), 1)), [(SHOWER, None)]);
    }
    let told = rendezvous.message(SCANNER, message(1), 1);
    assert_eq!(codes(&told), [(SHOWER, Some(Code::Protocol)), (SCANNER, Some(Code::Protocol))]);
    let mut rendezvous = met();
    let told = rendezvous.message(SHOWER, Opaque(vec![0; 65_536]), 1);
    assert_eq!(codes(&told), [(SHOWER, Some(Code::TooLarge)), (SCANNER, Some(Code::TooLarge))]);
}

/// A slot alone may hold a megabyte, and there are ten thousand.
#[test]
fn what_waits_for_scanners_that_never_come_is_bounded_over_all_slots() {
    let mut rendezvous = Rendezvous::new(10_000);
    let message = Opaque(vec![0; limits::PAIRING_MESSAGE_BYTES]);
    let mut held = 0;
    let refused = 'full: loop {
        let name = u8::try_from(rendezvous.len()).unwrap();
        let slot = OpenSlot { version: VERSION, slot: [name; 16], side: SlotSide::Shows, ttl_seconds: 60 };
        rendezvous.open(name.into(), &slot, 0).unwrap();
        for _ in 0..limits::PAIRING_MESSAGES {
            match &rendezvous.message(name.into(), message.clone(), 0)[..] {
                [] => held += message.len(),
                [Outgoing { frame: FromRelay::Refused(refused), .. }] => break 'full refused.code(),
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!((refused, held >> 20), (Code::RateLimited, 16 - 1));
    // Two who are both there go on.
    let slot = |side| OpenSlot { version: VERSION, slot: [0xff; 16], side, ttl_seconds: 60 };
    rendezvous.open(1_000, &slot(SlotSide::Shows), 0).unwrap();
    rendezvous.open(1_001, &slot(SlotSide::Scans), 0).unwrap();
    let handed = rendezvous.message(1_001, message.clone(), 0);
    assert_eq!(handed, [Outgoing { to: 1_000, frame: FromRelay::SlotMessage(message) }]);
}
