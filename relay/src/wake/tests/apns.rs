//! Apple's push service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::super::apns::service as service_of;
use super::servers::{Answer, Log, START, Seen, Server, World, es256, json, pem, token};
use super::*;

/// A world with an app's key in it; the public key.
pub(super) fn world() -> (World, Vec<u8>) {
    let world = World::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    world.write("key.p8", &pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref()));
    (world, key.public_key().as_ref().to_vec())
}

pub(super) fn table(topic: &str, server: &Server) -> String {
    format!(
        "[[apns]]\ntopic = \"{topic}\"\nkey = \"key.p8\"\nkey_id = \"KEY4567890\"\nteam_id = \"TEAM567890\"\n\
         url = \"https://127.0.0.1:{}\"\n",
        server.port
    )
}

fn to(topic: &str, token: &[u8]) -> Target {
    Target::Apns { topic: topic.into(), token: token.to_vec(), sandbox: false }
}

/// APNs as Apple describes it: HTTP/2 alone. The queued answers come first, then 200.
async fn service(world: &World, public: Vec<u8>) -> (Server, Log<Seen>, Arc<Mutex<Vec<Answer>>>) {
    let (seen, answers) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
    let (log, queued) = (seen.clone(), answers.clone());
    let handler = move |request: Seen| {
        assert_eq!((request.version, &*request.method), (hyper::Version::HTTP_2, "POST"));
        let bearer = request.header("authorization").strip_prefix("bearer ").unwrap();
        let (header, claims) = token(bearer, |message, signature| es256(&public, message, signature));
        assert_eq!(header, json!({ "alg": "ES256", "kid": "KEY4567890" }));
        assert_eq!(claims["iss"], "TEAM567890");
        log.lock().unwrap().push(request);
        queued.lock().unwrap().pop().unwrap_or(200.into())
    };
    (world.serve(&["h2"], handler).await, seen, answers)
}

fn iat(seen: &Seen) -> u64 {
    let bearer = seen.header("authorization").strip_prefix("bearer ").unwrap();
    token(bearer, |_, _| true).1["iat"].as_u64().unwrap()
}

fn reason(status: u16, reason: &str) -> Answer {
    json(status, json!({ "reason": reason }))
}

#[tokio::test]
async fn a_push_is_what_apple_wants() {
    let (world, public) = world();
    let (server, seen, _) = service(&world, public).await;
    let sender = world.sender("", &(table("org.example.app", &server) + &table("org.example.other", &server)));
    let target = to("org.example.app", &[0x0a, 0xff, 0x00, 0x42]);
    for _ in 0..5 {
        assert_eq!(sender.send(&target).await, Sent::Accepted);
    }
    assert_eq!(sender.send(&to("org.example.other", &[1])).await, Sent::Accepted);
    assert_eq!(server.connections(), 1, "one connection carries all");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].path, "/3/device/0aff0042");
    let expiration = (START + 86_400).to_string();
    for (name, value) in [
        ("apns-topic", "org.example.app"),
        ("apns-push-type", "background"),
        ("apns-priority", "5"),
        ("apns-expiration", &expiration),
        ("apns-collapse-id", "0ksync"),
    ] {
        assert_eq!(seen[0].header(name), value, "{name}");
    }
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body, json!({ "aps": { "content-available": 1 } }));
    assert_eq!(seen[5].header("apns-topic"), "org.example.other");
    assert_eq!(seen[0].header("authorization"), seen[5].header("authorization"), "apps of one team share a token");
}

#[tokio::test]
async fn a_token_is_used_for_fifty_minutes_and_made_anew_once_when_refused() {
    let (world, public) = world();
    let (server, seen, answers) = service(&world, public).await;
    let sender = world.sender("", &table("org.example.app", &server));
    let target = to("org.example.app", &[1]);
    for pause in [0, 50 * 60 - 1, 1, 20 * 60] {
        world.pass(pause);
        assert_eq!(sender.send(&target).await, Sent::Accepted);
    }
    let made: Vec<u64> = seen.lock().unwrap().drain(..).map(|seen| iat(&seen) - START).collect();
    assert_eq!(made, [0, 0, 3000, 3000]);
    answers.lock().unwrap().push(reason(403, "ExpiredProviderToken"));
    assert_eq!(sender.send(&target).await, Sent::Accepted);
    let made: Vec<u64> = seen.lock().unwrap().drain(..).map(|seen| iat(&seen) - START).collect();
    assert_eq!(made, [3000, 4200]);
    // Apple refuses who makes tokens more often than every twenty minutes.
    world.pass(20 * 60 - 1);
    answers.lock().unwrap().push(reason(403, "InvalidProviderToken"));
    assert_eq!(sender.send(&target).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(seen.lock().unwrap().drain(..).count(), 1);
    world.pass(1);
    answers.lock().unwrap().extend([reason(403, "InvalidProviderToken"), reason(403, "InvalidProviderToken")]);
    assert_eq!(sender.send(&target).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(seen.lock().unwrap().len(), 2, "no third attempt");
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let (world, public) = world();
    let (server, _, answers) = service(&world, public).await;
    let sender = world.sender("", &table("org.example.app", &server));
    let status = |status| Sent::Refused(Refusal::Status(status));
    let after = Answer { headers: vec![("retry-after", "7".into())], ..reason(503, "ServiceUnavailable") };
    for (answer, sent) in [
        (reason(410, "Unregistered"), Sent::Gone),
        (reason(410, "ExpiredToken"), Sent::Gone),
        (410.into(), Sent::Gone),
        (reason(400, "BadDeviceToken"), Sent::Gone),
        (reason(400, "DeviceTokenNotForTopic"), Sent::Gone),
        (reason(400, "BadTopic"), status(400)),
        (400.into(), status(400)),
        (reason(403, "Forbidden"), Sent::Refused(Refusal::Credentials)),
        (reason(413, "PayloadTooLarge"), status(413)),
        (reason(429, "TooManyRequests"), Sent::Later(None)),
        (reason(500, "InternalServerError"), Sent::Later(None)),
        (after, Sent::Later(Some(Duration::from_secs(7)))),
    ] {
        let text = answer.status;
        answers.lock().unwrap().push(answer);
        assert_eq!(sender.send(&to("org.example.app", &[1])).await, sent, "{text}");
    }
}

#[tokio::test]
async fn apps_without_a_key_and_tokens_that_are_none_are_not_sent() {
    let (world, public) = world();
    let (server, seen, _) = service(&world, public).await;
    let sender = world.sender("", &table("org.example.app", &server));
    for (target, refusal) in [
        (to("org.example.unknown", &[1]), Refusal::NoCredentials),
        (to("org.example.app", &[]), Refusal::Malformed),
        (to("org.example.app", &[0; 257]), Refusal::Malformed),
    ] {
        assert_eq!(sender.check(&target), Err(refusal));
        assert_eq!(sender.send(&target).await, Sent::Refused(refusal));
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_service_without_http2_is_none() {
    let (world, _) = world();
    let server = world.serve(&["http/1.1"], |_| 200.into()).await;
    let sender = world.sender("", &table("org.example.app", &server));
    assert_eq!(sender.send(&to("org.example.app", &[1])).await, Sent::Later(None));
}

#[test]
fn apps_signed_for_development_have_a_service_of_their_own() {
    assert_eq!(service_of(None, false), "https://api.push.apple.com");
    assert_eq!(service_of(None, true), "https://api.sandbox.push.apple.com");
    assert_eq!(service_of(Some("https://push.example.org"), true), "https://push.example.org");
}
