//! Pairing by short codes, beside links and without them.

use std::time::Duration;

use sync_client::{Code, InviteOptions, Pairing, PairingEvent, SyncClient, SyncConfig};

use crate::support::*;

/// What an invite shows.
async fn shown(pairing: &mut Pairing) -> (String, Option<String>) {
    match next(pairing).await {
        PairingEvent::Uri { uri, code, .. } => (uri, code),
        other => panic!("an invite was to come, not {other:?}"),
    }
}

async fn invite(client: &SyncClient) -> (Pairing, String, String) {
    let mut invite = client.invite(InviteOptions::default()).await.unwrap();
    let (uri, code) = shown(&mut invite).await;
    (invite, uri, code.expect("a code beside the link"))
}

async fn failure(pairing: &mut Pairing) -> Code {
    match next(pairing).await {
        PairingEvent::Failed(error) => error.code,
        other => panic!("the pairing was to fail, not {other:?}"),
    }
}

/// How joining with a code or link ends that nobody consents to.
async fn refusal(client: &SyncClient, invitation: &str) -> Code {
    match client.join(invitation, None).await {
        Err(error) => error.code,
        Ok(mut join) => failure(&mut join).await,
    }
}

/// The same number and other words.
fn wrong(code: &str) -> String {
    let (number, words) = code.split_once('-').unwrap();
    let other = if words == "zoo-zoo-zoo" { "abandon-abandon-abandon" } else { "zoo-zoo-zoo" };
    format!("{number}-{other}")
}

async fn consent(invite: &mut Pairing, join: &mut Pairing) {
    // A plain yes: whoever got here has the words.
    let (_, needs_check) = request(invite).await;
    assert!(!needs_check);
    invite.consent(true).await.unwrap();
    assert!(matches!(next(invite).await, PairingEvent::Added { .. }));
    joined(join).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_typed_and_the_member_says_yes() {
    for way in [Way::Memory, Way::Quic] {
        let world = World::new(way).await;
        let (a, b) = (world.device("a").await, world.device("b").await);
        let (mut invite, _, code) = invite(&a).await;
        assert!(code.starts_with("1-"), "the first number of a fresh relay");
        // As a person types it.
        let typed = format!(" {} ", code.replace('-', " ").to_uppercase());
        b.may_join(Some(&typed)).await.unwrap();
        let mut join = b.join(&typed, Some("phone")).await.unwrap();
        consent(&mut invite, &mut join).await;
        a.push("hello").await.unwrap();
        assert_eq!(receive_texts(&b, 1).await, ["hello"]);
        assert!(a.devices().await.unwrap().iter().any(|device| device.name.as_deref() == Some("phone")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newcomer_shows_a_code_and_the_member_types_it() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let relay = world.config.relay.clone().unwrap();
    let mut show = b.join_show(&relay, None).await.unwrap();
    let code = shown(&mut show).await.1.unwrap();
    let mut take = a.take(&code).await.unwrap();
    consent(&mut take, &mut show).await;
    assert_eq!(a.devices().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_burns_the_code_on_both_sides_and_the_link_goes_on() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let (mut invite, link, code) = invite(&a).await;
    assert_eq!(refusal(&b, &wrong(&code)).await, Code::WrongCode);
    let over = next(&mut invite).await;
    assert!(matches!(&over, PairingEvent::CodeOver(error) if error.code == Code::WrongCode), "{over:?}");
    // The right one comes too late, from whomever.
    assert_eq!(refusal(&b, &code).await, Code::PairingUsed);
    assert_eq!(refusal(&world.device("c").await, &code).await, Code::PairingUsed);
    let mut join = b.join(&link, None).await.unwrap();
    let digits = check(&mut join).await;
    assert!(request(&mut invite).await.1);
    invite.type_check(&digits).await.unwrap();
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    joined(&mut join).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_for_a_code_ends_with_the_code() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::default().needs_code()).await.unwrap();
    let (link, code) = shown(&mut invite).await;
    assert_eq!(refusal(&b, &wrong(&code.unwrap())).await, Code::WrongCode);
    assert_eq!(failure(&mut invite).await, Code::WrongCode);
    assert!(matches!(refusal(&b, &link).await, Code::PairingUsed | Code::NoSuchPairing));
    assert_eq!(b.status().await.unwrap().group, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_of_link_and_code_is_taken_up_first_is_the_one() {
    let world = World::memory().await;
    let (a, b, c) = (world.device("a").await, world.device("b").await, world.device("c").await);
    let (mut by_link, link, code) = invite(&a).await;
    let mut join = b.join(&link, None).await.unwrap();
    check(&mut join).await;
    request(&mut by_link).await;
    let late = refusal(&c, &code).await;
    assert!(matches!(late, Code::PairingUsed | Code::NoSuchPairing), "{late}");
    by_link.consent_without_check().await.unwrap();
    assert!(matches!(next(&mut by_link).await, PairingEvent::Added { .. }));
    joined(&mut join).await;

    let (mut by_code, link, code) = invite(&a).await;
    let mut join = c.join(&code, None).await.unwrap();
    assert!(!request(&mut by_code).await.1);
    let d = world.device("d").await;
    let late = refusal(&d, &link).await;
    assert!(matches!(late, Code::PairingUsed | Code::NoSuchPairing), "{late}");
    by_code.consent(true).await.unwrap();
    assert!(matches!(next(&mut by_code).await, PairingEvent::Added { .. }));
    joined(&mut join).await;
    assert_eq!(a.devices().await.unwrap().len(), 3);
}

/// With a code a yes is enough; the link's digits are not to be skipped that way.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_asks_for_the_check_code_though_there_is_a_code_too() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let (mut invite, link, _) = invite(&a).await;
    let _join = b.join(&link, None).await.unwrap();
    assert!(request(&mut invite).await.1);
    assert_eq!(invite.consent(true).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_and_giving_up_are_told_to_the_other_side() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let (mut refused, _, code) = invite(&a).await;
    let mut join = b.join(&code, None).await.unwrap();
    request(&mut refused).await;
    refused.consent(false).await.unwrap();
    assert_eq!(failure(&mut refused).await, Code::PairingRefused);
    assert_eq!(failure(&mut join).await, Code::PairingRefused);
    let (mut given_up, link, code) = invite(&a).await;
    given_up.cancel().await;
    assert_eq!(failure(&mut given_up).await, Code::PairingRefused);
    for invitation in [link, code] {
        let gone = refusal(&b, &invitation).await;
        assert!(matches!(gone, Code::PairingUsed | Code::NoSuchPairing), "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_cannot_be_used_each_have_their_own_code() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let (mut invite, _, code) = invite(&a).await;
    for text in ["7-zoo-zoo", "0-zoo-zoo-zoo", "7-zoo-zoo-zooo"] {
        assert_eq!(refusal(&b, text).await, Code::CodeInvalid);
        assert_eq!(b.may_join(Some(text)).await.unwrap_err().code, Code::CodeInvalid);
        assert_eq!(a.take(text).await.unwrap_err().code, Code::CodeInvalid);
    }
    assert_eq!(refusal(&b, "98-zoo-zoo-zoo").await, Code::NoSuchPairing);
    let (_, words) = code.split_once('-').unwrap();
    assert_eq!(refusal(&b, &format!("99-{words}")).await, Code::NoSuchPairing);
    // Nothing of this has used it up; another app's device does, as it is told whose the code is.
    let other = SyncClient::new(world.config("other").app_id("org.example.other")).await.unwrap();
    assert_eq!(refusal(&other, &code).await, Code::WrongApp);
    assert!(matches!(next(&mut invite).await, PairingEvent::CodeOver(error) if error.code == Code::WrongApp));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tries_number_after_number() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let (mut invite, _, code) = invite(&a).await;
    let mut told = Vec::new();
    for number in 50..60 {
        told.push(refusal(&b, &format!("{number}-zoo-zoo-zoo")).await);
    }
    assert_eq!(told, [Code::NoSuchPairing; 10]);
    let error = b.join(&code, None).await.unwrap_err();
    assert_eq!(error.code, Code::TooManyTries);
    assert!(error.retry_after_ms.is_some());
    // The invite has not heard of it.
    invite.cancel().await;
    assert_eq!(failure(&mut invite).await, Code::PairingRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_expires_with_its_link() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let mut invite = a.invite(InviteOptions::with_ttl(Duration::from_secs(1))).await.unwrap();
    let code = shown(&mut invite).await.1.unwrap();
    assert_eq!(failure(&mut invite).await, Code::PairingExpired);
    let late = refusal(&b, &code).await;
    assert!(matches!(late, Code::PairingExpired | Code::NoSuchPairing | Code::PairingUsed), "{late}");
}

/// A device that came by a link, and was never told where the relay is, shows no code that others of its kind could not use.
/// Whoever asks for one gets it: the newcomer may know more.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_came_by_a_link_shows_a_code_where_it_is_asked_to() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let b = SyncClient::new(SyncConfig::at(world.home("b")).device_name("b")).await.unwrap();
    pair(&a, &b).await;
    let mut plain = b.invite(InviteOptions::default()).await.unwrap();
    assert_eq!(shown(&mut plain).await.1, None);
    plain.cancel().await;
    let mut invite = b.invite(InviteOptions::default().needs_code()).await.unwrap();
    let code = shown(&mut invite).await.1.unwrap();
    let c = world.device("c").await;
    let mut join = c.join(&code, None).await.unwrap();
    consent(&mut invite, &mut join).await;
    assert_eq!(a.devices().await.unwrap().len(), 3);
}

/// A member's own relay is found by a link alone.
#[cfg(feature = "embedded-relay")]
#[tokio::test(flavor = "multi_thread")]
async fn where_a_member_hosts_the_relay_there_are_links_and_no_codes() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| {
        let config = SyncConfig::at(folder.path().join(name)).app_id("org.example.notes").device_name(name);
        config.embedded_listen("127.0.0.1:0".parse().unwrap())
    };
    let host = SyncClient::new(config("host")).await.unwrap();
    let mut invite = host.invite(InviteOptions::default()).await.unwrap();
    let (link, code) = shown(&mut invite).await;
    assert_eq!(code, None);
    let needs = host.invite(InviteOptions::default().needs_code()).await.unwrap_err();
    assert_eq!(needs.code, Code::CodeNeedsRelay);
    let newcomer = SyncClient::new(config("newcomer")).await.unwrap();
    assert_eq!(newcomer.join("7-zoo-zoo-zoo", None).await.unwrap_err().code, Code::CodeNeedsRelay);
    assert_eq!(newcomer.may_join(Some("7-zoo-zoo-zoo")).await.unwrap_err().code, Code::CodeNeedsRelay);
    assert_eq!(host.take("7-zoo-zoo-zoo").await.unwrap_err().code, Code::CodeNeedsRelay);
    newcomer.may_join(Some(&link)).await.unwrap();
    let mut join = newcomer.join(&link, None).await.unwrap();
    check(&mut join).await;
    request(&mut invite).await;
    invite.consent_without_check().await.unwrap();
    assert!(matches!(next(&mut invite).await, PairingEvent::Added { .. }));
    joined(&mut join).await;
}
