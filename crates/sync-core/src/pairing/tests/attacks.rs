//! Who has what, and how far it gets with it.

use super::*;
use crate::pairing::machine::Role;
use crate::pairing::noise::Statics;
use sync_types::link::{Link, LinkSecret};

#[test]
fn an_altered_byte_in_any_message_is_found_by_who_receives_it() {
    let mut altered = 0;
    for shows in BOTH {
        let mut whole = Pipe::new(shows);
        whole.run();
        for from in BOTH {
            let lengths: Vec<usize> = whole.device(from).sent.iter().map(Vec::len).collect();
            for (number, length) in lengths.into_iter().enumerate() {
                for position in [0, 1, 2, 33, 34, length / 3, length / 2, length - 17, length - 16, length - 1] {
                    let mut pipe = Pipe::new(shows);
                    pipe.run_altered(&mut |side, at, bytes| {
                        if (side, at) == (from, number) {
                            bytes[position] ^= 2;
                            altered += 1;
                        }
                    });
                    let expected = [Code::PairingForged, Code::Protocol, Code::PairingUsed];
                    let receiver = pipe.device(from.other());
                    assert!(
                        receiver.failure().is_some_and(|code| expected.contains(&code)),
                        "{shows:?} shows, byte {position} of message {number} from {from:?}: {:?}",
                        receiver.outputs
                    );
                    assert!(!receiver.is_done());
                    assert!(!pipe.member.has(|o| matches!(o, Output::OfferTaken)));
                }
            }
        }
    }
    assert!(altered > 150, "{altered}");
}

#[test]
fn a_message_cut_short_repeated_or_left_out_is_found() {
    for shows in BOTH {
        let mut whole = Pipe::new(shows);
        whole.run();
        for from in BOTH {
            for number in 0..whole.device(from).sent.len() {
                let mut cut = Pipe::new(shows);
                cut.run_altered(&mut |side, at, bytes| {
                    if (side, at) == (from, number) {
                        bytes.pop();
                    }
                });
                assert!(cut.device(from.other()).failure().is_some());

                // The first message of a side again, in place of a later one.
                if number > 0 {
                    let first = whole.device(from).sent[0].clone();
                    let mut again = Pipe::new(shows);
                    again.run_altered(&mut |side, at, bytes| {
                        if (side, at) == (from, number) {
                            bytes.clone_from(&first);
                        }
                    });
                    assert!(again.device(from.other()).failure().is_some());
                    assert!(!again.member.has(|o| matches!(o, Output::OfferTaken)));
                }
            }
        }
    }
}

#[test]
fn a_link_altered_in_any_field_pairs_with_nobody() {
    for shows in BOTH {
        let original = show(shows).link().unwrap().clone();
        type Change = fn(&mut Link);
        let fields: [(&str, Change); 7] = [
            ("app", |l| l.app[0] ^= 1),
            ("side", |l| l.shows = l.shows.other()),
            ("expiry", |l| l.expires_at += 1),
            ("secret", |l| l.secret = LinkSecret::new([0; 32])),
            ("fingerprint", |l| l.fingerprint[31] ^= 1),
            ("endpoint", |l| l.relay.endpoint[0] ^= 1),
            ("hosts", |l| l.relay.hosts[0] = "127.0.0.1:4434".parse().unwrap()),
        ];
        for (field, alter) in fields {
            let mut link = original.clone();
            alter(&mut link);
            let scanner = match Pairing::scan(link, shows.other(), APP, &mut rng(2)) {
                Ok(scanner) => scanner,
                Err(error) => {
                    let expected = if field == "app" { PairingError::WrongApp } else { PairingError::WrongSide };
                    assert_eq!(error, expected, "{field}");
                    continue;
                }
            };
            let mut pipe = Pipe::of(show(shows), scanner);
            pipe.run();
            for device in [&pipe.member, &pipe.newcomer] {
                assert_eq!(device.failure(), Some(Code::PairingForged), "{field}");
                assert!(device.shown().is_none(), "{field}");
            }
        }
    }
}

/// Somebody photographs the QR that a member shows, and is faster than the real newcomer.
#[test]
fn who_photographed_a_members_qr_is_stopped_by_the_check_code() {
    let mut pipe = Pipe::to_check(Side::Member);
    // The attacker has the request on the member's screen, under the very name that the person expects. The person reads
    // the digits from the real device, which shows others or none.
    assert!(pipe.member.has(|o| matches!(o, Output::Request { name, .. } if name == "Pixel 9")));
    let digits = pipe.wrong_code();
    assert!(matches!(pipe.member.machine.type_check(&digits, NOW), Err(PairingError::WrongCode { .. })));
    assert_eq!(pipe.member.machine.type_check(&digits, NOW), Err(PairingError::TooManyTries));
    pipe.carry();
    assert!(!pipe.member.has(|o| matches!(o, Output::Approved { .. })));
    assert!(!pipe.newcomer.has(|o| matches!(o, Output::Offer(_))));
    assert_eq!(pipe.newcomer.failure(), Some(Code::TooManyTries));
}

/// Somebody photographs the QR that a newcomer shows, to draw it into a group of its own.
#[test]
fn who_photographed_a_newcomers_qr_learns_neither_name_nor_key_package() {
    let mut pipe = Pipe::to_check(Side::Newcomer);
    let digits = pipe.wrong_code();
    let before = pipe.newcomer.sent.len();
    assert!(pipe.newcomer.machine.type_check(&digits, NOW).is_err());
    pipe.carry();
    assert_eq!(pipe.newcomer.sent.len(), before);
    assert_eq!(pipe.newcomer.machine.type_check(&digits, NOW), Err(PairingError::TooManyTries));
    pipe.carry();
    assert!(!pipe.member.has(|o| matches!(o, Output::Request { .. })));
    assert_eq!(pipe.member.failure(), Some(Code::TooManyTries));
}

#[test]
fn two_scanners_of_one_link_are_both_turned_away() {
    for shows in BOTH {
        for late in [false, true] {
            let mut pipe = if late { Pipe::to_check(shows) } else { Pipe::new(shows) };
            if !late {
                // Only the first message has arrived.
                let scanner = pipe.device(shows.other());
                scanner.collect();
                let first = scanner.sent[0].clone();
                scanner.delivered = 1;
                pipe.device(shows).machine.handle_message(&first, NOW).unwrap();
            }
            let link = pipe.device(shows).machine.link().unwrap().clone();
            let mut second = Device::new(Pairing::scan(link, shows.other(), APP, &mut rng(3)).unwrap());
            second.collect();
            let shower = pipe.device(shows);
            assert_eq!(shower.machine.handle_message(&second.sent[0], NOW), Err(PairingError::Used));
            pipe.carry();
            assert_eq!(pipe.member.failure(), Some(Code::PairingUsed));
            assert_eq!(pipe.newcomer.failure(), Some(Code::PairingUsed));
        }
        // The relay may also say so itself.
        let mut pipe = Pipe::to_check(shows);
        assert_eq!(pipe.device(shows).machine.handle_second_scanner(NOW), Err(PairingError::Used));
        pipe.carry();
        assert_eq!(pipe.device(shows.other()).failure(), Some(Code::PairingUsed));
    }
}

/// Somebody has seen the link and answers in the shower's place, with everything but its keys.
#[test]
fn who_answers_without_the_showers_keys_learns_nothing_of_the_scanner() {
    for shows in BOTH {
        let link = show(shows).link().unwrap().clone();
        let mut hostile = rng(66);
        let statics = Statics::draw(Suite::FOUNDED, &mut hostile);
        let impostor = Pairing::new(shows, Role::Shows, APP, link.clone(), statics, &mut hostile).unwrap();
        let scanner = Pairing::scan(link, shows.other(), APP, &mut rng(2)).unwrap();
        let mut pipe = Pipe::of(impostor, scanner);
        pipe.run();
        let scanner = pipe.device(shows.other());
        assert_eq!(scanner.failure(), Some(Code::PairingForged));
        // Its first message and the abort: the third message, which holds its static keys, never left.
        assert_eq!(scanner.sent.len(), 2);
        assert_eq!(scanner.sent[1], [3, 0, Code::PairingForged as u8]);
        let told = PairingError::Aborted { code: Code::PairingForged, authentic: false };
        assert!(pipe.device(shows).outputs.contains(&Output::Failed(told)));
    }
}

#[test]
fn the_relay_can_end_a_pairing_but_not_in_the_peers_name() {
    let mut pipe = Pipe::to_check(Side::Member);
    let forged = [3, 0, Code::PairingRefused as u8];
    let told = PairingError::Aborted { code: Code::PairingRefused, authentic: false };
    assert_eq!(pipe.member.machine.handle_message(&forged, NOW), Err(told));
}

#[test]
fn codes_differ_from_pairing_to_pairing() {
    let code = |seed| {
        let mut shower = rng(seed);
        let shower = Pairing::show(Side::Member, Suite::FOUNDED, APP, relay(), TTL, &mut shower, NOW).unwrap();
        let scanner = Pairing::scan(shower.link().unwrap().clone(), Side::Newcomer, APP, &mut rng(2)).unwrap();
        let mut pipe = Pipe::of(shower, scanner);
        pipe.carry();
        pipe.code()
    };
    let mut codes: Vec<String> = (10..30).map(code).collect();
    assert!(codes.iter().all(|c| c.len() == 4 && c.bytes().all(|b| b.is_ascii_digit())));
    codes.sort();
    codes.dedup();
    assert!(codes.len() > 15, "{codes:?}");
}
