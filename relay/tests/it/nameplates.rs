//! The meeting point for pairing by short codes, whose numbers anybody can guess.

use std::net::IpAddr;

use sync_relay::rendezvous::{Outgoing, PartyId, Refused, Rendezvous};
use sync_types::frame::{FromRelay, JoinNameplate, OpenNameplate, OpenSlot, SlotSide};
use sync_types::{Code, Opaque, VERSION, limits};

const SHOWER: PartyId = 1;
const TYPER: PartyId = 2;
const THIRD: PartyId = 3;
const MINUTE: u64 = 60_000;

fn here() -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, 1]))
}

fn there() -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, 2]))
}

const OPEN: OpenNameplate = OpenNameplate { version: VERSION, ttl_seconds: 600 };

fn opened(rendezvous: &mut Rendezvous, party: PartyId, now_ms: u64) -> u32 {
    let nameplate = rendezvous.next_nameplate(0, None);
    match &rendezvous.open_nameplate(party, &OPEN, nameplate, now_ms).unwrap()[..] {
        [Outgoing { to, frame: FromRelay::Nameplate(number) }] if *to == party => *number,
        other => panic!("{other:?}"),
    }
}

fn join(
    rendezvous: &mut Rendezvous,
    party: PartyId,
    nameplate: u32,
    from: Option<IpAddr>,
    now_ms: u64,
) -> Result<Vec<Outgoing>, Refused> {
    rendezvous.take_try(from, now_ms).map_err(|refusal| (refusal, Vec::new()))?;
    rendezvous.join_nameplate(party, &JoinNameplate { version: VERSION, nameplate }, now_ms)
}

fn refused(outcome: Result<Vec<Outgoing>, Refused>) -> Code {
    outcome.unwrap_err().0.code
}

/// Whom the relay tells that it is over, and why.
fn told(outgoing: &[Outgoing]) -> Vec<(PartyId, Option<Code>)> {
    assert!(outgoing.iter().all(Outgoing::is_last));
    let code = |o: &Outgoing| match &o.frame {
        FromRelay::Refused(refused) => Some(refused.code()),
        _ => None,
    };
    outgoing.iter().map(|o| (o.to, code(o))).collect()
}

fn met() -> (Rendezvous, u32) {
    let mut rendezvous = Rendezvous::new(100);
    let number = opened(&mut rendezvous, SHOWER, 0);
    let joined = join(&mut rendezvous, TYPER, number, here(), 0).unwrap();
    assert_eq!(joined, [Outgoing { to: TYPER, frame: FromRelay::SlotOpened }]);
    (rendezvous, number)
}

#[test]
fn two_meet_at_a_nameplate_and_hand_each_other_messages() {
    let (mut rendezvous, _) = met();
    let message = |n| Opaque(vec![n; 40]);
    let passed = |to, n| vec![Outgoing { to, frame: FromRelay::SlotMessage(message(n)) }];
    assert_eq!(rendezvous.message(TYPER, message(1), 1), passed(SHOWER, 1));
    assert_eq!(rendezvous.message(SHOWER, message(2), 1), passed(TYPER, 2));
    assert_eq!(told(&rendezvous.close(TYPER)), [(SHOWER, None)]);
}

/// The words are checked between the two: all that the relay sees of a wrong guess is that somebody came and it ended.
#[test]
fn whoever_comes_has_one_guess_and_nobody_has_a_second() {
    for leaves in [TYPER, SHOWER] {
        let (mut rendezvous, number) = met();
        let other = if leaves == TYPER { SHOWER } else { TYPER };
        assert_eq!(told(&rendezvous.close(leaves)), [(other, None)]);
        assert!(rendezvous.message(SHOWER, Opaque(vec![1]), 1)[0].is_last());
        for (party, from) in [(TYPER, here()), (THIRD, there())] {
            assert_eq!(refused(join(&mut rendezvous, party, number, from, 599_999)), Code::PairingUsed);
        }
        // Nor has the number a new owner until then.
        let others: Vec<u32> = (10..60).map(|party| opened(&mut rendezvous, party, 1)).collect();
        assert!(!others.contains(&number));
    }
}

#[test]
fn a_third_party_ends_it_for_all() {
    let (mut rendezvous, number) = met();
    let (refusal, outgoing) = join(&mut rendezvous, THIRD, number, there(), 1).unwrap_err();
    assert_eq!(refusal.code, Code::PairingUsed);
    assert_eq!(told(&outgoing), [(SHOWER, Some(Code::PairingUsed)), (TYPER, Some(Code::PairingUsed))]);
    assert_eq!(refused(join(&mut rendezvous, TYPER, number, here(), 2)), Code::PairingUsed);
}

#[test]
fn a_network_has_ten_tries_over_all_nameplates_then_one_a_minute() {
    let mut rendezvous = Rendezvous::new(100);
    let number = opened(&mut rendezvous, SHOWER, 0);
    // Numbers that nobody has count too: else all could be looked through for the few that are there.
    for party in 0..u64::from(limits::NAMEPLATE_TRIES) {
        let missing = number + 1 + u32::try_from(party).unwrap();
        assert_eq!(refused(join(&mut rendezvous, 100 + party, missing, here(), 0)), Code::NoSuchPairing);
    }
    let (refusal, outgoing) = join(&mut rendezvous, 200, number, here(), 0).unwrap_err();
    assert_eq!((refusal.code, u64::from(refusal.retry_after_ms)), (Code::TooManyTries, MINUTE));
    assert_eq!(outgoing, [], "the one who shows hears nothing of it");
    assert_eq!(refused(join(&mut rendezvous, 200, number, here(), MINUTE - 1)), Code::TooManyTries);
    // The code is as good as before, for whoever has tries.
    join(&mut rendezvous, TYPER, number, there(), MINUTE - 1).unwrap();
    assert_eq!(refused(join(&mut rendezvous, 200, number + 1, here(), MINUTE)), Code::NoSuchPairing);
    assert_eq!(refused(join(&mut rendezvous, 200, number + 1, here(), MINUTE)), Code::TooManyTries);
}

/// A scanner's slot has a name that nobody can guess.
#[test]
fn links_cost_no_tries_and_are_no_nameplates() {
    let mut rendezvous = Rendezvous::new(100);
    let number = opened(&mut rendezvous, SHOWER, 0);
    let slot = |n: u8, side| OpenSlot { version: VERSION, slot: [n; 16], side, ttl_seconds: 600 };
    for n in 0..40 {
        let (shows, scans) = (100 + u64::from(n), 200 + u64::from(n));
        rendezvous.open(shows, &slot(n, SlotSide::Shows), 0).unwrap();
        rendezvous.open(scans, &slot(n, SlotSide::Scans), 0).unwrap();
    }
    join(&mut rendezvous, TYPER, number, here(), 0).unwrap();
}

#[test]
fn a_nameplate_ends_with_its_time() {
    let mut rendezvous = Rendezvous::new(100);
    let number = opened(&mut rendezvous, SHOWER, 0);
    let (refusal, outgoing) = join(&mut rendezvous, TYPER, number, here(), 600_000).unwrap_err();
    assert_eq!(refusal.code, Code::PairingExpired);
    assert_eq!(told(&outgoing), [(SHOWER, Some(Code::PairingExpired))]);
    rendezvous.timeout(600_000);
    assert!(rendezvous.is_empty());
    assert_eq!(refused(join(&mut rendezvous, TYPER, number, here(), 600_000)), Code::NoSuchPairing);

    let (mut rendezvous, _) = met();
    assert_eq!(rendezvous.next_timeout(), Some(600_000));
    let over = [(SHOWER, Some(Code::PairingExpired)), (TYPER, Some(Code::PairingExpired))];
    assert_eq!(told(&rendezvous.timeout(600_000)), over);
    let (mut rendezvous, _) = met();
    assert_eq!(told(&rendezvous.message(TYPER, Opaque(vec![1]), 600_000)), over);
}

#[test]
fn numbers_are_short_and_none_is_given_again_at_once() {
    let mut rendezvous = Rendezvous::new(10_000);
    let first = opened(&mut rendezvous, SHOWER, 0);
    assert_eq!(first, 1);
    // Nobody came, so the number is free; whoever types its code late is not to meet somebody else.
    assert_eq!(rendezvous.close(SHOWER), []);
    assert!(rendezvous.is_empty());
    assert_eq!(refused(join(&mut rendezvous, TYPER, first, here(), 0)), Code::NoSuchPairing);
    let mut given: Vec<u32> = (0..98)
        .map(|party| {
            let number = opened(&mut rendezvous, SHOWER, 0);
            assert_eq!(rendezvous.close(SHOWER), [], "{party}");
            number
        })
        .collect();
    assert!(!given.contains(&first) && given.iter().all(|n| *n < 100));
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 98);
    // As many digits as there have to be.
    let digits = |n: u32| n.to_string().len();
    let held: Vec<u32> = (1_000..6_000).map(|party| opened(&mut rendezvous, party, 0)).collect();
    assert!(held[..49].iter().all(|n| digits(*n) <= 2) && held[..499].iter().all(|n| digits(*n) <= 3));
    let mut distinct = held.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), held.len());
    assert!(held.iter().all(|n| (1..=limits::NAMEPLATE).contains(n)));
}

/// A relay that shares its store with others does not know how many numbers those have given out.
#[test]
fn numbers_get_longer_where_others_have_taken_the_short_ones() {
    let mut rendezvous = Rendezvous::new(100);
    rendezvous.begin_nameplates_at(98);
    assert_eq!([0, 0, 0].map(|beside| rendezvous.next_nameplate(beside, None)), [Some(99), Some(1), Some(2)]);
    rendezvous.begin_nameplates_at(99);
    assert_eq!([60, 600].map(|beside| rendezvous.next_nameplate(beside, None)), [Some(100), Some(101)]);
    assert_eq!(rendezvous.next_nameplate(limits::NAMEPLATE as usize, None), None);
    // Drawn: within what has as many digits, and never one that is taken.
    let drawn = [0, 98, 99, u32::MAX].map(|drawn| rendezvous.next_nameplate(0, Some(drawn)));
    assert_eq!(drawn, [Some(1), Some(99), Some(1), Some(u32::MAX % 99 + 1)]);
}

#[test]
fn odd_requests_have_their_own_errors_and_change_nothing() {
    let mut rendezvous = Rendezvous::new(1);
    let open = |r: &mut Rendezvous, request: &OpenNameplate| refused(r.open_nameplate(SHOWER, request, Some(50), 0));
    assert_eq!(open(&mut rendezvous, &OpenNameplate { version: 9, ..OPEN }), Code::Version);
    assert_eq!(open(&mut rendezvous, &OpenNameplate { ttl_seconds: 0, ..OPEN }), Code::Protocol);
    assert_eq!(open(&mut rendezvous, &OpenNameplate { ttl_seconds: 601, ..OPEN }), Code::Protocol);
    assert!(rendezvous.is_empty());
    let number = opened(&mut rendezvous, SHOWER, 0);
    assert_eq!(open(&mut rendezvous, &OPEN), Code::Protocol, "one slot a stream");
    for nameplate in [Some(50), Some(number), None] {
        let (refusal, _) = rendezvous.open_nameplate(THIRD, &OPEN, nameplate, 0).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert!(refusal.retry_after_ms > 0);
    }
    let version = rendezvous.join_nameplate(TYPER, &JoinNameplate { version: 9, nameplate: number }, 0);
    assert_eq!(refused(version), Code::Version);
    for nameplate in [0, number + 1, limits::NAMEPLATE + 1, u32::MAX] {
        assert_eq!(refused(join(&mut rendezvous, TYPER, nameplate, here(), 0)), Code::NoSuchPairing);
    }
    assert_eq!(refused(join(&mut rendezvous, SHOWER, number, here(), 0)), Code::Protocol, "it shows itself");
    join(&mut rendezvous, TYPER, number, here(), 0).unwrap();
}
