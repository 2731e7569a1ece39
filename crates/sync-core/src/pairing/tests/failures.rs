//! Every way in which a pairing fails, and what both sides are told.

use super::*;
use crate::pairing::message::{Frame, Join, Message};
use sync_types::limits;
use sync_types::link::LinkError;

fn failed_with(pipe: &Pipe, member: Code, newcomer: Code) {
    assert_eq!(pipe.member.failure(), Some(member), "member: {:?}", pipe.member.outputs);
    assert_eq!(pipe.newcomer.failure(), Some(newcomer), "newcomer: {:?}", pipe.newcomer.outputs);
    assert!(!pipe.member.is_done() && !pipe.newcomer.is_done());
}

#[test]
fn a_link_of_another_app_or_the_same_side_is_refused_before_anything_is_sent() {
    let link = show(Side::Member).link().unwrap().clone();
    let scan = |side, app: &str| Pairing::scan(link.clone(), side, app, &mut rng(2)).unwrap_err();
    assert_eq!(scan(Side::Newcomer, "org.example.other"), PairingError::WrongApp);
    assert_eq!(scan(Side::Member, APP), PairingError::WrongSide);
    assert_eq!(PairingError::WrongApp.code(), Code::WrongApp);
    assert_eq!(PairingError::WrongSide.code(), Code::WrongSide);
}

#[test]
fn a_link_of_a_suite_that_this_build_does_not_take_is_refused_before_anything_is_sent() {
    for suite in [Suite::XWing, Suite::Fips] {
        let shower = Pairing::show(Side::Member, suite, APP, relay(), TTL, &mut rng(1), NOW).unwrap();
        let link = shower.link().unwrap().clone();
        let refused = Pairing::scan(link, Side::Newcomer, APP, &mut rng(2)).err();
        assert_eq!(refused, (!suite.is_ours()).then_some(PairingError::Suite(suite as u8)));
    }
    assert_eq!(PairingError::Suite(1).code(), Code::Suite);
}

/// Who changes the suite in a link has changed the prologue, and what the handshake is made of.
#[test]
fn a_link_altered_to_another_suite_pairs_with_nobody() {
    for suite in Suite::OURS {
        let shower = Pairing::show(Side::Member, *suite, APP, relay(), TTL, &mut rng(1), NOW).unwrap();
        for other in Suite::OURS.iter().filter(|other| *other != suite) {
            let mut link = shower.link().unwrap().clone();
            link.suite = *other;
            let mut scanner = Pairing::scan(link, Side::Newcomer, APP, &mut rng(2)).unwrap();
            let Some(Output::Send(first)) = scanner.poll_output() else { panic!("it begins") };
            let mut shower = Pairing::show(Side::Member, *suite, APP, relay(), TTL, &mut rng(1), NOW).unwrap();
            assert!(matches!(shower.handle_message(&first, NOW), Err(PairingError::Peer(_))));
        }
    }
}

/// With suite 2 alone there are no short codes, on either side.
#[cfg(feature = "fips")]
#[test]
fn short_codes_are_refused_in_a_build_of_suite_2() {
    let code = sync_types::ShortCode::new(7, 4711).unwrap();
    let shown = Pairing::show_code(Side::Member, APP, 7, TTL, &mut rng(1), NOW).err();
    let typed = Pairing::type_code(code, Side::Newcomer, APP, &mut rng(2)).err();
    assert_eq!((shown, typed), (Some(PairingError::NoCodes), Some(PairingError::NoCodes)));
    assert_eq!(PairingError::NoCodes.code(), Code::CodeNotApproved);
}

#[test]
fn arguments_beyond_their_bounds_make_no_link() {
    let show =
        |app: &str, ttl, now| Pairing::show(Side::Member, Suite::FOUNDED, app, relay(), ttl, &mut rng(1), now).err();
    let long = "a".repeat(limits::APP_ID_BYTES + 1);
    for (app, ttl, now) in [
        ("", TTL, NOW),
        (&long, TTL, NOW),
        (APP, Duration::from_millis(999), NOW),
        (APP, TTL + Duration::from_secs(1), NOW),
        (APP, TTL, u64::from(u32::MAX) * 1000),
    ] {
        assert!(matches!(show(app, ttl, now), Some(PairingError::Input(_))), "{app} {ttl:?} {now}");
    }
    let bare = RelayHint { hosts: vec![], ..relay() };
    let error = Pairing::show(Side::Member, Suite::FOUNDED, APP, bare, TTL, &mut rng(1), NOW).unwrap_err();
    assert!(matches!(error, PairingError::Link(LinkError::Malformed(_))));
    assert_eq!(error.code(), Code::LinkInvalid);
}

#[test]
fn the_link_expires_by_the_showers_clock_before_and_in_the_channel() {
    for shows in BOTH {
        let mut fresh = Pipe::new(shows);
        let shower = &mut fresh.device(shows).machine;
        let deadline = shower.poll_timeout().unwrap();
        assert_eq!(deadline, NOW + 600_000);
        assert_eq!(shower.handle_timeout(deadline - 1), Ok(()));
        // The scanner's first message arrives too late.
        fresh.now = deadline;
        fresh.carry();
        failed_with(&fresh, Code::PairingExpired, Code::PairingExpired);
        assert_eq!(fresh.device(shows).machine.poll_timeout(), None);

        let mut asked = Pipe::to_check(shows);
        let code = asked.code();
        assert_eq!(asked.device(shows).machine.type_check(&code, deadline), Err(PairingError::Expired));
        asked.carry();
        failed_with(&asked, Code::PairingExpired, Code::PairingExpired);

        let mut waiting = Pipe::to_check(shows);
        assert_eq!(waiting.device(shows).machine.handle_timeout(deadline), Err(PairingError::Expired));
        waiting.carry();
        failed_with(&waiting, Code::PairingExpired, Code::PairingExpired);
        assert!(
            waiting
                .device(shows.other())
                .outputs
                .contains(&Output::Failed(PairingError::Aborted { code: Code::PairingExpired, authentic: true }))
        );
    }
}

#[test]
fn a_member_that_has_offered_waits_beyond_the_links_end() {
    let mut pipe = Pipe::to_check(Side::Member);
    let code = pipe.code();
    let late = NOW + 500_000;
    pipe.member.machine.type_check(&code, late).unwrap();
    pipe.member.machine.offer(offer(), late).unwrap();
    // Not by the link's time any more, and not for ever.
    assert_eq!(pipe.member.machine.poll_timeout(), Some(late + 600_000));
    pipe.now = late;
    pipe.carry();
    pipe.now = NOW + 1_000_000;
    pipe.newcomer.machine.offer_stored().unwrap();
    pipe.carry();
    assert!(pipe.member.outputs.contains(&Output::OfferTaken) && pipe.newcomer.is_done());
}

#[test]
fn a_no_ends_it_on_both_sides() {
    for shows in BOTH {
        let mut pipe = Pipe::to_check(shows);
        if shows == Side::Newcomer {
            let code = pipe.code();
            pipe.newcomer.machine.type_check(&code, NOW).unwrap();
            pipe.carry();
        }
        assert_eq!(pipe.member.machine.consent(false, NOW), Ok(()));
        pipe.carry();
        failed_with(&pipe, Code::PairingRefused, Code::PairingRefused);
        assert!(!pipe.member.has(|o| matches!(o, Output::Approved { .. })));
    }
}

#[test]
fn giving_up_tells_the_other_side_at_every_point() {
    for shows in BOTH {
        for gives_up in BOTH {
            let mut early = Pipe::new(shows);
            early.device(gives_up).machine.cancel().unwrap();
            early.carry();
            failed_with(&early, Code::PairingRefused, Code::PairingRefused);

            let mut late = Pipe::to_check(shows);
            late.device(gives_up).machine.cancel().unwrap();
            late.carry();
            failed_with(&late, Code::PairingRefused, Code::PairingRefused);
        }
    }
}

#[test]
fn two_wrong_codes_end_it_on_both_sides() {
    for shows in BOTH {
        let mut pipe = Pipe::to_check(shows);
        let (code, wrong) = (pipe.code(), pipe.wrong_code());
        let shower = &mut pipe.device(shows).machine;
        let first = shower.type_check(&wrong, NOW).unwrap_err();
        assert_eq!((first.code(), first), (Code::WrongCode, PairingError::WrongCode { tries_left: 1 }));
        assert_eq!(shower.type_check(&wrong, NOW), Err(PairingError::TooManyTries));
        assert_eq!(shower.type_check(&code, NOW), Err(PairingError::Over(Some(Code::TooManyTries))));
        pipe.carry();
        failed_with(&pipe, Code::TooManyTries, Code::TooManyTries);
        assert!(!pipe.member.has(|o| matches!(o, Output::Approved { .. })));
    }
}

#[test]
fn after_the_end_every_input_is_refused_and_changes_nothing() {
    let refuses = |device: &mut Device, over: PairingError| {
        device.collect();
        let before = device.outputs.len();
        let machine = &mut device.machine;
        let results = [
            machine.handle_message(&[0; 70_000], NOW),
            machine.handle_message(&[1, 1], NOW),
            machine.handle_timeout(u64::MAX),
            machine.handle_second_scanner(NOW),
            machine.cancel(),
            machine.consent(true, NOW),
            machine.consent(false, NOW),
            machine.type_check("1234", NOW),
            machine.consent_without_check(NOW),
            machine.key_package(vec![1], "a", NOW),
            machine.offer(offer(), NOW),
        ];
        for result in results {
            assert_eq!(result, Err(over.clone()));
        }
        device.collect();
        assert_eq!(device.outputs.len(), before);
    };
    for shows in BOTH {
        let mut done = Pipe::new(shows);
        done.run();
        let mut refused = Pipe::to_check(shows);
        refused.newcomer.machine.cancel().unwrap();
        refused.carry();
        for side in BOTH {
            refuses(done.device(side), PairingError::Over(None));
            refuses(refused.device(side), PairingError::Over(Some(Code::PairingRefused)));
        }
    }
    assert_eq!(PairingError::Over(None).code(), Code::PairingUsed);
}

#[test]
fn inputs_that_come_too_early_or_on_the_wrong_side_change_nothing() {
    for shows in BOTH {
        let mut pipe = Pipe::new(shows);
        for stage in 0..2 {
            for side in BOTH {
                let machine = &mut pipe.device(side).machine;
                let mut results =
                    vec![machine.consent(true, NOW), machine.consent(false, NOW), machine.offer(offer(), NOW)];
                if side == Side::Member || stage == 0 {
                    results.push(machine.key_package(vec![1], "a", NOW));
                    results.push(machine.type_check("1234", NOW));
                    results.push(machine.consent_without_check(NOW));
                }
                for result in results {
                    assert!(matches!(result, Err(PairingError::Input(_))), "{result:?}");
                }
            }
            pipe.carry();
        }
        let newcomer = &mut pipe.newcomer.machine;
        let long = "a".repeat(limits::NAME_BYTES + 1);
        for (package, name) in
            [(vec![], "a"), (vec![0; 20_000], "a"), (vec![1], ""), (vec![1], "a\n"), (vec![1], &long)]
        {
            assert!(matches!(newcomer.key_package(package, name, NOW), Err(PairingError::Input(_))));
        }
        // None of it did harm.
        pipe.run();
        assert!(pipe.member.is_done() && pipe.newcomer.is_done());
    }
}

#[test]
fn an_offer_beyond_bounds_is_refused_and_one_of_another_app_ends_it() {
    let approved = || {
        let mut pipe = Pipe::to_check(Side::Member);
        pipe.member.machine.consent_without_check(NOW).unwrap();
        pipe
    };
    let mut pipe = approved();
    let crowd = vec![(DeviceId([1; 16]), "a".to_owned()); limits::MEMBERS + 1];
    let bad = [
        GroupOffer { names: crowd, ..offer() },
        GroupOffer { names: vec![(DeviceId([1; 16]), "a\0".into())], ..offer() },
        GroupOffer { settings: vec![0; 10_000], ..offer() },
        GroupOffer { settings: vec![1, 2, 3], ..offer() },
    ];
    for bad in bad {
        assert!(matches!(pipe.member.machine.offer(bad, NOW), Err(PairingError::Input(_))));
    }
    let most = vec![(DeviceId([1; 16]), "a".repeat(limits::NAME_BYTES)); limits::MEMBERS];
    let largest = GroupOffer { names: most, ..offer() };
    pipe.member.machine.offer(largest.clone(), NOW).unwrap();
    pipe.carry();
    assert!(pipe.newcomer.outputs.contains(&Output::Offer(largest)));

    let mut pipe = approved();
    let other = Settings { app_id: b"org.example.other".to_vec(), ..Settings::default() };
    let error = pipe.member.machine.offer(GroupOffer { settings: encode(&other), ..offer() }, NOW);
    assert_eq!(error, Err(PairingError::WrongApp));
    pipe.carry();
    failed_with(&pipe, Code::WrongApp, Code::WrongApp);
}

#[test]
fn a_member_of_another_app_behind_the_same_tag_is_found_in_the_channel() {
    let mut pipe = Pipe::new(Side::Member);
    pipe.member.machine.app = [0; 32];
    pipe.carry();
    failed_with(&pipe, Code::WrongApp, Code::WrongApp);
    assert!(!pipe.newcomer.has(|o| matches!(o, Output::NeedKeyPackage { .. })));
}

#[test]
fn what_a_hostile_peer_says_in_the_channel_is_checked() {
    let join = |key_package: Vec<u8>, name: &[u8]| {
        Message::Join(Join { key_package: key_package.into(), name: name.to_vec().into() })
    };
    for (message, code) in [
        (join(vec![], b"a"), Code::Protocol),
        (join(vec![0; 20_000], b"a"), Code::Protocol),
        (join(vec![1], b""), Code::Protocol),
        (join(vec![1], b"\xff"), Code::Protocol),
        (join(vec![1], "evil\u{202e}".as_bytes()), Code::Protocol),
        (Message::Taken, Code::Protocol),
        (Message::Checked, Code::Protocol),
        (Message::Offer(offer().into()), Code::WrongSide),
    ] {
        let mut pipe = Pipe::new(Side::Member);
        pipe.carry();
        pipe.newcomer.machine.say(&message).unwrap();
        pipe.carry();
        failed_with(&pipe, code, code);
    }
    // A newcomer that shows has to say that its code was typed before it asks to join.
    let mut pipe = Pipe::new(Side::Newcomer);
    pipe.carry();
    pipe.newcomer.machine.say(&join(vec![1], b"a")).unwrap();
    pipe.carry();
    failed_with(&pipe, Code::Protocol, Code::Protocol);

    let foreign = Settings { app_id: b"org.example.other".to_vec(), ..Settings::default() };
    let foreign = GroupOffer { settings: encode(&foreign), ..offer() };
    let unnamed = GroupOffer { names: vec![(DeviceId([1; 16]), "\u{7}".into())], ..offer() };
    for (message, code) in [
        (Message::Offer(foreign.into()), Code::WrongApp),
        (Message::Offer(unnamed.into()), Code::Protocol),
        (Message::Taken, Code::WrongSide),
        (Message::abort(Code::PairingRefused), Code::PairingRefused),
    ] {
        let mut pipe = Pipe::to_check(Side::Member);
        pipe.member.machine.say(&message).unwrap();
        pipe.carry();
        assert_eq!(pipe.newcomer.failure(), Some(code));
        assert!(!pipe.newcomer.has(|o| matches!(o, Output::Offer(_))));
    }
    // An offer before the newcomer asked.
    let mut pipe = Pipe::new(Side::Newcomer);
    pipe.carry();
    pipe.member.machine.say(&Message::Offer(offer().into())).unwrap();
    pipe.carry();
    failed_with(&pipe, Code::Protocol, Code::Protocol);
}

#[test]
fn bytes_that_are_no_message_end_it_without_a_panic() {
    let frames = [
        vec![0; 70_000],
        vec![1; 70_000],
        vec![],
        vec![1],
        vec![1, 9, 9],
        Frame::Sealed(&[]).encode(),
        Frame::Sealed(&[0; 65_000]).encode(),
        Frame::Handshake(1, &[0; 65_000]).encode(),
        Frame::Handshake(5, &[]).encode(),
        Frame::Abort(9999).encode(),
        Frame::Abort(Code::Quota as u16).encode(),
    ];
    for shows in BOTH {
        for stage in 0..2 {
            for side in BOTH {
                for frame in &frames {
                    let mut pipe = Pipe::new(shows);
                    if stage == 1 {
                        pipe.carry();
                    }
                    let device = pipe.device(side);
                    device.collect();
                    assert!(device.machine.handle_message(frame, NOW).is_err());
                    device.collect();
                    let expected = [Code::Protocol, Code::PairingForged, Code::PairingUsed];
                    assert!(device.failure().is_some_and(|c| expected.contains(&c)), "{:?}", device.outputs);
                }
            }
        }
    }
}
