//! Pairing in both directions, and everything that keeps two devices from it.

use std::time::Duration;

use sync_client::{Code, InviteOptions, Pairing, PairingEvent, ReceiptState, SyncClient};

use crate::support::*;

async fn failure(pairing: &mut Pairing) -> Code {
    loop {
        match next(pairing).await {
            PairingEvent::Failed(error) => return error.code,
            PairingEvent::Joined { .. } | PairingEvent::Added { .. } => panic!("the pairing was to fail"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newcomer_shows_and_the_member_takes() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let relay = world.config.relay.clone().unwrap();
    let mut show = b.join_show(&relay, Some("phone")).await.unwrap();
    let link = uri(&mut show).await;
    let mut take = a.take(&link).await.unwrap();
    let digits = check(&mut take).await;
    assert_eq!(next(&mut show).await, PairingEvent::TypeCheck);
    show.type_check(&digits).await.unwrap();
    assert_eq!(request(&mut take).await, ("phone".to_owned(), false));
    take.consent(true).await.unwrap();
    assert!(matches!(next(&mut take).await, PairingEvent::Added { name, .. } if name == "phone"));
    joined(&mut show).await;
    a.push("hello").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_may_skip_the_check_code() {
    let world = World::new(Way::Quic).await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let mut join = b.join(&uri(&mut invite).await, None).await.unwrap();
    assert_eq!(request(&mut invite).await, ("b".to_owned(), true));
    assert_eq!(invite.consent(true).await.unwrap_err().code, Code::InvalidArgument);
    invite.consent_without_check().await.unwrap();
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    check(&mut join).await;
    joined(&mut join).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_check_code_may_be_typed_twice() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let mut join = b.join(&uri(&mut invite).await, None).await.unwrap();
    let digits = check(&mut join).await;
    let wrong = if digits == "0000" { "0001" } else { "0000" };
    request(&mut invite).await;
    // What is no check code at all costs no try.
    assert_eq!(invite.type_check("12").await.unwrap_err().code, Code::WrongCode);
    assert_eq!(invite.type_check(wrong).await.unwrap_err().code, Code::WrongCode);
    assert_eq!(invite.type_check(wrong).await.unwrap_err().code, Code::TooManyTries);
    assert_eq!(failure(&mut invite).await, Code::TooManyTries);
    assert_eq!(failure(&mut join).await, Code::TooManyTries);
    assert_eq!(b.status().await.unwrap().group, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_that_are_typed_at_once_wait_for_the_request() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let mut join = b.join(&uri(&mut invite).await, None).await.unwrap();
    let digits = check(&mut join).await;
    // Whether the newcomer has been heard yet makes no difference.
    invite.type_check(&digits).await.unwrap();
    request(&mut invite).await;
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    joined(&mut join).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_told_to_the_other_side() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let mut join = b.join(&uri(&mut invite).await, None).await.unwrap();
    request(&mut invite).await;
    invite.consent(false).await.unwrap();
    assert_eq!(failure(&mut invite).await, Code::PairingRefused);
    assert_eq!(failure(&mut join).await, Code::PairingRefused);
    assert_eq!(a.devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_cannot_be_used_each_have_their_own_code() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let link = uri(&mut invite).await;
    let code = async |client: &SyncClient, link: &str| match client.join(link, None).await {
        Err(error) => error.code,
        Ok(mut join) => failure(&mut join).await,
    };
    // Cut short, altered, or nothing of the kind.
    assert_eq!(code(&b, &link[..link.len() - 3]).await, Code::LinkInvalid);
    assert_eq!(code(&b, "https://example.org").await, Code::LinkInvalid);
    // Another app's.
    let other = world.config("other").app_id("org.example.other");
    let other = SyncClient::new(other).await.unwrap();
    assert_eq!(code(&other, &link).await, Code::WrongApp);
    // A member's invite, taken by a member.
    assert_eq!(b.take(&link).await.unwrap_err().code, Code::WrongSide);
    // Nothing of this has used it up.
    let mut join = b.join(&link, None).await.unwrap();
    check(&mut join).await;
    request(&mut invite).await;
    invite.consent_without_check().await.unwrap();
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    joined(&mut join).await;
    // Now it is used.
    let c = world.device("c").await;
    assert!(matches!(code(&c, &link).await, Code::PairingUsed | Code::NoSuchPairing));
    // The relay answers, but nobody shows.
    let mut gone = a.invite(InviteOptions::default()).await.unwrap();
    let link = uri(&mut gone).await;
    gone.cancel().await;
    assert_eq!(failure(&mut gone).await, Code::PairingRefused);
    assert!(matches!(code(&c, &link).await, Code::PairingUsed | Code::NoSuchPairing));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_expires() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::with_ttl(Duration::from_secs(1))).await.unwrap();
    let link = uri(&mut invite).await;
    assert_eq!(failure(&mut invite).await, Code::PairingExpired);
    let code = match b.join(&link, None).await {
        Err(error) => error.code,
        Ok(mut join) => failure(&mut join).await,
    };
    assert!(matches!(code, Code::PairingExpired | Code::NoSuchPairing | Code::PairingUsed), "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_a_relay_that_is_gone_is_unreachable() {
    let mut world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let link = uri(&mut invite).await;
    world.lose_relay().await;
    assert_eq!(b.join(&link, None).await.unwrap_err().code, Code::RelayUnreachable);
    assert_eq!(failure(&mut invite).await, Code::RelayUnreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_stops_before_its_welcome_joins_at_its_next_start() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    let mut join = b.join(&uri(&mut invite).await, None).await.unwrap();
    check(&mut join).await;
    request(&mut invite).await;
    invite.consent_without_check().await.unwrap();
    // The member adds as soon as the newcomer has stored the offer; the newcomer stops at any moment after that.
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    b.close().await;
    drop(join);
    let b = world.device("b").await;
    a.push("kept").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["kept"]);
}

/// How a pairing ends: well, or with a code.
async fn end(pairing: &mut Pairing) -> Result<(), Code> {
    loop {
        match next(pairing).await {
            PairingEvent::Joined { .. } | PairingEvent::Added { .. } => return Ok(()),
            PairingEvent::Failed(error) => return Err(error.code),
            _ => {}
        }
    }
}

/// An invite of one device that the other has taken up, to where the person says yes.
async fn asked(member: &SyncClient, newcomer: &SyncClient) -> (Pairing, Pairing) {
    let mut invite = member.invite(InviteOptions::default()).await.unwrap();
    let mut join = newcomer.join(&uri(&mut invite).await, None).await.unwrap();
    check(&mut join).await;
    request(&mut invite).await;
    (invite, join)
}

/// On one thread, so that each head start gives one order of what the two devices do.
#[tokio::test]
async fn two_devices_that_invite_each_other_at_once_leave_no_member_that_is_nobody() {
    for head_start in [0, 5, 15, 30, 50] {
        let world = World::memory().await;
        let (a, b) = (world.device("a").await, world.device("b").await);
        let (mut invite_a, mut join_b) = asked(&a, &b).await;
        let (mut invite_b, mut join_a) = asked(&b, &a).await;
        let late = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            invite_b.consent_without_check().await
        };
        // The later one may hear that the other device has given up before it can say yes.
        let (early, _) = tokio::join!(invite_a.consent_without_check(), late);
        early.unwrap();
        let ends = tokio::join!(end(&mut invite_a), end(&mut join_b), end(&mut invite_b), end(&mut join_a));
        let (b_joins_a, a_joins_b) = ((ends.0, ends.1), (ends.2, ends.3));
        for pairing in [b_joins_a, a_joins_b] {
            match pairing {
                (Ok(()), Ok(())) => {}
                (Err(one), Err(other)) => {
                    let told = [one, other];
                    assert!(told.contains(&Code::AlreadyInGroup) && told.contains(&Code::PairingRefused), "{told:?}");
                }
                half => panic!("one device thinks that they are paired: {half:?} after {head_start} turns"),
            }
        }
        let paired = b_joins_a.0.is_ok();
        assert!(!(paired && a_joins_b.0.is_ok()), "each device is in the other's group");
        if !paired && a_joins_b.0.is_err() {
            assert!(a.devices().await.unwrap().len() == 1 && b.devices().await.unwrap().len() == 1);
            pair(&a, &b).await;
        }
        assert_eq!(a.devices().await.unwrap().len(), 2, "after {head_start} turns");
        let receipt = a.push("to everybody").await.unwrap();
        assert_eq!(receive_texts(&b, 1).await, ["to everybody"]);
        // A member that is nobody would never sign for it.
        a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_takes_up_its_own_invite_adds_nobody() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let (mut invite, mut join) = asked(&a, &a).await;
    invite.consent_without_check().await.unwrap();
    assert_eq!(failure(&mut join).await, Code::AlreadyInGroup);
    assert_eq!(failure(&mut invite).await, Code::PairingRefused);
    assert_eq!(a.devices().await.unwrap().len(), 1);
    let b = world.device("b").await;
    pair(&a, &b).await;
    assert_eq!(a.devices().await.unwrap().len(), 2);
}

/// Short codes are of suite 1 alone: with suite 2 a link is all there is, and asking for more says why.
#[cfg(feature = "fips")]
#[tokio::test(flavor = "multi_thread")]
async fn short_codes_are_refused_with_fips_approved_algorithms() {
    let world = World::new(Way::Quic).await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default()).await.unwrap();
    assert!(matches!(next(&mut invite).await, PairingEvent::Uri { code: None, .. }));
    let asked = a.invite(InviteOptions::default().needs_code()).await.unwrap_err();
    let typed = b.join("7-abandon-ability-able", None).await.unwrap_err();
    assert_eq!((asked.code, typed.code), (Code::CodeNotApproved, Code::CodeNotApproved));
    pair(&a, &b).await;
}
