//! How a pairing goes when all is well.

use super::*;

fn names(outputs: &[Output]) -> Vec<&'static str> {
    let name = |o: &Output| match o {
        Output::Send(_) => "send",
        Output::ShowCheck(_) => "show check",
        Output::NeedCheck => "need check",
        Output::NeedKeyPackage { .. } => "need key package",
        Output::Request { consent: Consent::CheckCode, .. } => "request by code",
        Output::Request { consent: Consent::Yes, .. } => "request by yes",
        Output::Approved { .. } => "approved",
        Output::Offer(_) => "offer",
        Output::OfferTaken => "offer taken",
        Output::Done => "done",
        Output::Failed(_) => "failed",
    };
    outputs.iter().map(name).collect()
}

#[test]
fn a_member_shows_and_a_newcomer_scans() {
    let mut pipe = Pipe::new(Side::Member);
    pipe.run();
    assert_eq!(names(&pipe.member.outputs), ["request by code", "approved", "offer taken", "done"]);
    assert_eq!(names(&pipe.newcomer.outputs), ["show check", "need key package", "offer", "done"]);
}

#[test]
fn a_newcomer_shows_and_a_member_scans() {
    let mut pipe = Pipe::new(Side::Newcomer);
    pipe.run();
    assert_eq!(names(&pipe.member.outputs), ["show check", "request by yes", "approved", "offer taken", "done"]);
    assert_eq!(names(&pipe.newcomer.outputs), ["need check", "need key package", "offer", "done"]);
}

#[test]
fn what_one_side_says_the_other_gets() {
    for shows in BOTH {
        let mut pipe = Pipe::new(shows);
        pipe.run();
        assert!(pipe.newcomer.outputs.contains(&Output::NeedKeyPackage { time_ms: NOW }));
        assert!(pipe.newcomer.outputs.contains(&Output::Offer(offer())));
        let (key_package, name) = (b"key package".to_vec(), "Pixel 9".to_owned());
        assert!(pipe.member.outputs.contains(&Output::Approved { key_package, name }));
        assert!(pipe.member.has(|o| matches!(o, Output::Request { name, .. } if name == "Pixel 9")));
    }
}

#[test]
fn a_pairing_fits_the_rendezvous_with_room_to_spare() {
    for shows in BOTH {
        let mut pipe = Pipe::new(shows);
        assert_eq!(pipe.member.machine.slot(), pipe.newcomer.machine.slot());
        pipe.run();
        for device in [&pipe.member, &pipe.newcomer] {
            assert!(device.sent.len() <= 5, "{} messages", device.sent.len());
            assert!(device.sent.iter().all(|m| m.len() <= 4096));
        }
        let total: usize = [&pipe.member, &pipe.newcomer].iter().flat_map(|d| &d.sent).map(Vec::len).sum();
        assert!(total < 12_000, "{total} bytes");
    }
}

/// To where the newcomer holds an offer and has not said what becomes of it.
fn to_offer() -> Pipe {
    let mut pipe = Pipe::to_check(Side::Member);
    let code = pipe.code();
    pipe.member.machine.type_check(&code, NOW).unwrap();
    pipe.member.collect();
    pipe.member.machine.offer(offer(), NOW).unwrap();
    pipe.carry();
    assert!(pipe.newcomer.has(|o| matches!(o, Output::Offer(_))));
    pipe
}

#[test]
fn the_offer_is_stored_before_it_is_confirmed_and_confirmed_before_the_commit_goes_up() {
    let mut pipe = to_offer();
    assert!(!pipe.member.has(|o| matches!(o, Output::OfferTaken)) && !pipe.newcomer.is_done());
    // Storing may take its time.
    pipe.now += 599_000;
    pipe.newcomer.machine.offer_stored().unwrap();
    pipe.carry();
    assert_eq!(names(&pipe.member.outputs)[2..], ["offer taken", "done"]);
    assert!(pipe.newcomer.is_done());
    assert_eq!(pipe.newcomer.machine.offer_stored(), Err(PairingError::Over(None)));
}

#[test]
fn an_offer_that_cannot_be_stored_is_never_confirmed() {
    let mut pipe = to_offer();
    pipe.newcomer.machine.cancel().unwrap();
    pipe.carry();
    assert_eq!(pipe.member.failure(), Some(Code::PairingRefused));
    assert!(!pipe.member.has(|o| matches!(o, Output::OfferTaken)));
    let mut early = Pipe::to_check(Side::Member);
    assert!(matches!(early.newcomer.machine.offer_stored(), Err(PairingError::Input(_))), "there is no offer yet");
    assert!(matches!(early.member.machine.offer_stored(), Err(PairingError::Input(_))));
}

#[test]
fn a_script_may_skip_the_code_but_only_by_the_call_that_says_so() {
    for shows in BOTH {
        let mut pipe = Pipe::to_check(shows);
        let now = pipe.now;
        let scanner = &mut pipe.device(shows.other()).machine;
        assert!(matches!(scanner.consent_without_check(now), Err(PairingError::Input(_))));
        let shower = &mut pipe.device(shows).machine;
        assert!(matches!(shower.consent(true, now), Err(PairingError::Input(_))), "a plain yes skips no code");
        shower.consent_without_check(now).unwrap();
        pipe.carry();
        if shows == Side::Newcomer {
            pipe.member.machine.consent(true, now).unwrap();
        }
        pipe.member.collect();
        assert!(pipe.member.has(|o| matches!(o, Output::Approved { .. })), "{shows:?} shows");
    }
}

#[test]
fn a_mistyped_code_leaves_one_more_try() {
    for shows in BOTH {
        let mut pipe = Pipe::to_check(shows);
        let (code, wrong) = (pipe.code(), pipe.wrong_code());
        let shower = &mut pipe.device(shows).machine;
        // What is not four digits is no try.
        for text in ["", "123", "12345", "12a4", "１２３４"] {
            assert_eq!(shower.type_check(text, NOW), Err(PairingError::WrongCode { tries_left: 2 }), "{text}");
        }
        assert_eq!(shower.type_check(&wrong, NOW), Err(PairingError::WrongCode { tries_left: 1 }));
        assert_eq!(shower.type_check(&format!(" {code}\n"), NOW), Ok(()));
        if shows == Side::Newcomer {
            pipe.carry();
            pipe.member.machine.consent(true, NOW).unwrap();
        }
        pipe.member.collect();
        assert!(pipe.member.has(|o| matches!(o, Output::Approved { .. })));
    }
}

#[test]
fn a_newcomer_that_shows_may_type_before_or_after_its_key_package_is_ready() {
    let mut pipe = Pipe::new(Side::Newcomer);
    pipe.carry();
    let code = pipe.code();
    pipe.newcomer.machine.type_check(&code, NOW).unwrap();
    pipe.carry();
    assert!(!pipe.member.has(|o| matches!(o, Output::Request { .. })));
    pipe.newcomer.machine.key_package(b"k".to_vec(), "Pixel 9", NOW).unwrap();
    pipe.carry();
    assert!(pipe.member.has(|o| matches!(o, Output::Request { consent: Consent::Yes, .. })));
}

#[test]
fn the_scanners_clock_does_not_matter_but_its_patience_does() {
    let mut pipe = Pipe::new(Side::Member);
    let wild = 1000 * NOW;
    assert_eq!(pipe.newcomer.machine.poll_timeout(), Some(0));
    pipe.newcomer.machine.handle_timeout(wild).unwrap();
    assert_eq!(pipe.newcomer.machine.poll_timeout(), Some(wild + 600_000));
    pipe.run();
    assert!(pipe.member.is_done() && pipe.newcomer.is_done());

    let mut alone = Pipe::new(Side::Member).newcomer;
    alone.machine.handle_timeout(wild).unwrap();
    assert_eq!(alone.machine.handle_timeout(wild + 599_999), Ok(()));
    assert_eq!(alone.machine.handle_timeout(wild + 600_000), Err(PairingError::Expired));
}

#[test]
fn one_seed_gives_one_pairing() {
    let messages = |shows| {
        let mut pipe = Pipe::new(shows);
        pipe.run();
        let mut sent = [pipe.member.sent, pipe.newcomer.sent];
        if Suite::FOUNDED == Suite::Fips {
            // What aws-lc encapsulates with it draws itself: only the first message, before all ciphertexts, is ours alone.
            sent.iter_mut().for_each(|sent| sent.retain(|message| message.starts_with(&[1, 1])));
            assert_eq!(sent.iter().map(Vec::len).sum::<usize>(), 1);
        }
        sent
    };
    for shows in BOTH {
        assert_eq!(messages(shows), messages(shows));
    }
}

#[test]
fn debug_shows_no_secret() {
    let pipe = Pipe::to_check(Side::Member);
    for device in [&pipe.member, &pipe.newcomer] {
        let text = format!("{:?} {:?} {:?}", device.machine, device.machine.link(), device.outputs);
        let byte = format!("{}, ", device.machine.link().unwrap().secret.as_bytes()[0]);
        assert!(!text.contains(&pipe.code()) && !text.contains("Pixel"), "{text}");
        assert!(!format!("{:?}", device.machine).contains(&byte));
    }
}
