//! Pairing by a short code: how it goes, and what becomes of guesses.

use super::*;
use crate::pairing::message::{Frame, Message};
use sync_types::{ShortCode, limits};

fn show(side: Side) -> Pairing {
    Pairing::show_code(side, APP, 7, TTL, &mut rng(1), NOW).unwrap()
}

fn code_of(machine: &Pairing) -> ShortCode {
    machine.code().unwrap().clone()
}

fn types(code: ShortCode, side: Side) -> Pairing {
    Pairing::type_code(code, side, APP, &mut rng(2)).unwrap()
}

/// The same nameplate and the next words.
fn wrong(code: &ShortCode) -> ShortCode {
    let mut texts = (0..2).map(|secret| ShortCode::new(code.nameplate(), secret).unwrap());
    texts.find(|other| other != code).unwrap()
}

fn pipe(shows: Side) -> Pipe {
    let shower = show(shows);
    let typed = code_of(&shower);
    Pipe::of(shower, types(typed, shows.other()))
}

/// One side has other words than the other.
fn mistyped(shows: Side) -> Pipe {
    let shower = show(shows);
    let typed = wrong(&code_of(&shower));
    Pipe::of(shower, types(typed, shows.other()))
}

fn told(device: &Device) -> Vec<&Output> {
    device.outputs.iter().filter(|o| !matches!(o, Output::Failed(_))).collect()
}

#[test]
fn the_right_words_pair_with_a_plain_yes_in_both_directions() {
    for shows in BOTH {
        let mut pipe = pipe(shows);
        // The words go the way a person takes them.
        let text = code_of(&pipe.device(shows).machine).to_text();
        assert_eq!(text.parse(), Ok(code_of(&pipe.device(shows.other()).machine)));
        pipe.run();
        let wants = [
            Output::Request { name: "Pixel 9".into(), consent: Consent::Yes },
            Output::Approved { key_package: b"key package".to_vec(), name: "Pixel 9".into() },
            Output::OfferTaken,
            Output::Done,
        ];
        assert_eq!(pipe.member.outputs, wants, "{shows:?} shows");
        let wants = [Output::NeedKeyPackage { time_ms: NOW }, Output::Offer(offer()), Output::Done];
        assert_eq!(pipe.newcomer.outputs, wants, "{shows:?} shows");
    }
}

#[test]
fn it_fits_the_rendezvous_with_room_to_spare() {
    for shows in BOTH {
        let mut pipe = pipe(shows);
        pipe.run();
        for device in [&pipe.member, &pipe.newcomer] {
            assert!(device.sent.len() < limits::PAIRING_MESSAGES / 2, "{} messages", device.sent.len());
            assert!(device.sent.iter().all(|m| m.len() <= 4096));
        }
    }
}

#[test]
fn one_seed_gives_one_code_and_one_pairing() {
    for shows in BOTH {
        let messages = || {
            let mut pipe = pipe(shows);
            pipe.run();
            [pipe.member.sent, pipe.newcomer.sent]
        };
        assert_eq!(messages(), messages());
    }
    let code = |seed| {
        code_of(&Pairing::show_code(Side::Member, APP, 7, TTL, &mut rng(seed), NOW).unwrap()).to_text().to_string()
    };
    let mut codes: Vec<_> = (0..50).map(code).collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 50);
}

#[test]
fn one_wrong_guess_burns_the_code_on_both_sides() {
    for shows in BOTH {
        let mut pipe = mistyped(shows);
        let right = code_of(&pipe.device(shows).machine);
        pipe.carry();
        for side in BOTH {
            let device = pipe.device(side);
            assert_eq!(device.failure(), Some(Code::WrongCode), "{side:?}: {:?}", device.outputs);
            assert!(told(device).is_empty(), "nobody is asked anything");
            assert_eq!(device.machine.code(), None, "what is burnt is kept nowhere");
        }
        assert!(pipe.device(shows).outputs.contains(&Output::Failed(PairingError::CodeMismatch)));
        // The right words come too late.
        let mut again = Device::new(types(right, shows.other()));
        again.collect();
        let shower = pipe.device(shows);
        let late = shower.machine.handle_message(&again.sent[0], NOW);
        assert_eq!(late, Err(PairingError::Over(Some(Code::WrongCode))));
        shower.collect();
        assert!(told(shower).is_empty());
    }
}

/// A relay answers in the shower's place. It has one guess, and a wrong one tells it nothing but that.
#[test]
fn whoever_answers_without_the_words_is_told_nothing() {
    for shows in BOTH {
        let mut typer = Device::new(types(code_of(&show(shows)), shows.other()));
        // Another generator, and so other words.
        let mut impostor = Pairing::show_code(shows, APP, 7, TTL, &mut rng(9), NOW).unwrap();
        assert_ne!(impostor.code(), typer.machine.code());
        typer.collect();
        impostor.handle_message(&typer.sent[0], NOW).unwrap();
        let Some(Output::Send(answer)) = impostor.poll_output() else { panic!("it answers") };
        typer.machine.handle_message(&answer, NOW).unwrap();
        typer.collect();
        assert_eq!(typer.sent.len(), 2, "its part of the exchange, and the first message of the handshake");
        // The impostor cannot read that, does not say so, and makes something up.
        let guessed = Frame::Handshake(2, &[7; 3568]).encode();
        assert_eq!(typer.machine.handle_message(&guessed, NOW), Err(PairingError::CodeMismatch));
        typer.collect();
        assert_eq!(typer.sent[2..], [[3, 0, Code::WrongCode as u8]]);
        assert!(told(&typer).is_empty());
    }
}

#[test]
fn an_altered_byte_in_any_message_is_found_by_who_receives_it() {
    let mut altered = 0;
    for shows in BOTH {
        let mut whole = pipe(shows);
        whole.run();
        for from in BOTH {
            let lengths: Vec<usize> = whole.device(from).sent.iter().map(Vec::len).collect();
            for (number, length) in lengths.into_iter().enumerate() {
                for position in [0, 1, 2, 3, 4, 12, 16, 17, 33, length / 2, length - 17, length - 1] {
                    let mut pipe = pipe(shows);
                    pipe.run_altered(&mut |side, at, bytes| {
                        if (side, at) == (from, number) {
                            bytes[position] ^= 2;
                            altered += 1;
                        }
                    });
                    let place = format!("{shows:?} shows, byte {position} of message {number} from {from:?}");
                    let receiver = pipe.device(from.other());
                    assert!(receiver.failure().is_some(), "{place}: {:?}", receiver.outputs);
                    assert!(!receiver.is_done(), "{place}");
                    assert!(!pipe.member.has(|o| matches!(o, Output::OfferTaken)), "{place}");
                }
            }
        }
    }
    assert!(altered > 150, "{altered}");
}

/// The points of small order, which are alike on every implementation of the curve.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn a_point_of_small_order_ends_it_on_both_sides_whoever_sends_it() {
    for shows in BOTH {
        for from in BOTH {
            for point in SMALL_ORDER {
                let point = data_encoding::HEXLOWER.decode(point.as_bytes()).unwrap();
                let mut pipe = pipe(shows);
                pipe.carry_altered(&mut |side, at, bytes| {
                    if (side, at) == (from, 0) {
                        let place = bytes.len() - 32;
                        bytes[place..].copy_from_slice(&point);
                    }
                });
                let receiver = pipe.device(from.other());
                let refused = PairingError::Peer("a point outside of the group");
                assert!(receiver.outputs.contains(&Output::Failed(refused)), "{:?}", receiver.outputs);
                assert_eq!(pipe.device(from).failure(), Some(Code::Protocol));
                // What the other side made of it was never said.
                assert!(pipe.device(shows).sent.len() <= 2 && pipe.device(shows.other()).sent.len() <= 3);
            }
        }
    }
}

#[test]
fn two_who_type_one_code_are_both_turned_away() {
    for shows in BOTH {
        for turns in 0..3 {
            let mut pipe = pipe(shows);
            let typed = code_of(&pipe.device(shows).machine);
            let mut second = Device::new(Pairing::type_code(typed, shows.other(), APP, &mut rng(3)).unwrap());
            second.collect();
            if turns == 2 {
                pipe.carry();
            } else {
                for number in 0..=turns {
                    let first = pipe.device(shows.other());
                    first.collect();
                    let message = first.sent[number].clone();
                    first.delivered = number + 1;
                    pipe.device(shows).machine.handle_message(&message, NOW).unwrap();
                    let shower = pipe.device(shows);
                    shower.collect();
                    let answer = shower.sent[number].clone();
                    shower.delivered = number + 1;
                    pipe.device(shows.other()).machine.handle_message(&answer, NOW).unwrap();
                }
            }
            let late = pipe.device(shows).machine.handle_message(&second.sent[0], NOW);
            assert_eq!(late, Err(PairingError::Used), "{shows:?} shows, after {turns}");
            pipe.carry();
            for side in BOTH {
                assert_eq!(pipe.device(side).failure(), Some(Code::PairingUsed), "{shows:?} shows, after {turns}");
            }
        }
    }
}

#[test]
fn the_code_expires_by_the_showers_clock() {
    for shows in BOTH {
        let mut fresh = pipe(shows);
        let deadline = fresh.device(shows).machine.poll_timeout().unwrap();
        assert_eq!(deadline, NOW + 600_000);
        // The other side begins to count at once, and by no clock but its own.
        assert_eq!(fresh.device(shows.other()).machine.poll_timeout(), Some(0));
        fresh.now = deadline;
        fresh.carry();
        for side in BOTH {
            assert_eq!(fresh.device(side).failure(), Some(Code::PairingExpired));
        }
        let mut nobody = Device::new(show(shows));
        assert_eq!(nobody.machine.handle_timeout(deadline - 1), Ok(()));
        assert_eq!(nobody.machine.handle_timeout(deadline), Err(PairingError::Expired));
        assert_eq!(nobody.machine.code(), None);
    }
}

#[test]
fn another_app_side_or_nameplate_is_told_by_name() {
    let member = show(Side::Member);
    let typed = code_of(&member);
    let other_app = Pairing::type_code(typed.clone(), Side::Newcomer, "org.example.other", &mut rng(2)).unwrap();
    let same_side = types(typed.clone(), Side::Member);
    let elsewhere = types(typed.to_text().replace("7-", "8-").parse().unwrap(), Side::Newcomer);
    for (typer, code) in [(other_app, Code::WrongApp), (same_side, Code::WrongSide), (elsewhere, Code::Protocol)] {
        let (mut shower, mut typer) = (Device::new(show(Side::Member)), Device::new(typer));
        typer.collect();
        assert_eq!(shower.machine.handle_message(&typer.sent[0], NOW).unwrap_err().code(), code);
        shower.collect();
        assert_eq!(shower.sent.len(), 1, "no point is answered");
        typer.machine.handle_message(&shower.sent[0], NOW).unwrap_err();
        typer.collect();
        assert_eq!(typer.failure(), Some(code));
    }
}

#[test]
fn a_no_ends_it_and_a_check_code_is_none_of_its_business() {
    for shows in BOTH {
        let mut pipe = pipe(shows);
        pipe.carry();
        pipe.newcomer.machine.key_package(b"key package".to_vec(), "Pixel 9", NOW).unwrap();
        pipe.carry();
        for side in BOTH {
            let machine = &mut pipe.device(side).machine;
            assert!(matches!(machine.type_check("1234", NOW), Err(PairingError::Input(_))));
            assert!(matches!(machine.consent_without_check(NOW), Err(PairingError::Input(_))));
        }
        assert!(pipe.member.has(|o| matches!(o, Output::Request { consent: Consent::Yes, .. })));
        pipe.member.machine.consent(false, NOW).unwrap();
        pipe.carry();
        for side in BOTH {
            assert_eq!(pipe.device(side).failure(), Some(Code::PairingRefused));
        }
        assert!(!pipe.newcomer.has(|o| matches!(o, Output::Offer(_))));
    }
}

#[test]
fn arguments_beyond_their_bounds_make_no_code() {
    let show = |app: &str, nameplate, ttl| {
        Pairing::show_code(Side::Member, app, nameplate, ttl, &mut rng(1), NOW).map(drop).unwrap_err()
    };
    for (app, ttl) in [("", TTL), (APP, Duration::from_millis(999)), (APP, TTL + Duration::from_secs(1))] {
        assert!(matches!(show(app, 7, ttl), PairingError::Input(_)));
    }
    for nameplate in [0, limits::NAMEPLATE + 1, u32::MAX] {
        assert_eq!(show(APP, nameplate, TTL).code(), Code::CodeInvalid);
    }
    let code = ShortCode::new(7, 0).unwrap();
    let error = Pairing::type_code(code, Side::Newcomer, "", &mut rng(1)).map(drop).unwrap_err();
    assert!(matches!(error, PairingError::Input(_)));
}

#[test]
fn bytes_that_are_no_message_end_it_without_a_panic() {
    let frames = [
        vec![0; 70_000],
        vec![],
        vec![4],
        vec![4, 1],
        vec![4, 2],
        vec![4, 9, 9],
        Frame::Pake(1, &[1; 65_000]).encode(),
        Frame::Pake(2, &[1; 46]).encode(),
        Frame::Sealed(&Message::Taken.to_padded()).encode(),
        Frame::Handshake(1, &[0; 1_232]).encode(),
        Frame::Handshake(2, &[0; 3_568]).encode(),
        Frame::Abort(9999).encode(),
    ];
    for shows in BOTH {
        for stage in 0..2 {
            for side in BOTH {
                for frame in &frames {
                    let mut pipe = pipe(shows);
                    if stage == 1 {
                        pipe.carry();
                    }
                    let device = pipe.device(side);
                    device.collect();
                    assert!(device.machine.handle_message(frame, NOW).is_err());
                    device.collect();
                    let expected = [Code::Protocol, Code::PairingForged, Code::PairingUsed, Code::Version];
                    assert!(device.failure().is_some_and(|c| expected.contains(&c)), "{:?}", device.outputs);
                }
            }
        }
    }
}

#[test]
fn the_words_are_erased_when_they_have_done_their_work_and_never_printed() {
    let mut pipe = pipe(Side::Member);
    let text = code_of(&pipe.member.machine).to_text();
    let words: Vec<&str> = text.split('-').skip(1).collect();
    for stage in 0..2 {
        for device in [&pipe.member, &pipe.newcomer] {
            let shown = format!("{:?} {:?} {:?}", device.machine, device.machine.code(), device.outputs);
            assert!(words.iter().all(|word| !shown.contains(word)), "{shown}");
            assert_eq!(device.machine.code().is_some(), stage == 0);
            assert!(device.machine.link().is_none() && device.machine.slot().is_none());
        }
        pipe.carry();
    }
}
