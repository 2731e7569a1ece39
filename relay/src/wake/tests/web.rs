//! Web Push.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use super::super::vapid::Tokens;
use super::super::web::encrypt;
use super::servers::{Answer, Log, NAME, START, Said, Seen, Server, World, es256, token};
use super::*;

const LOCAL: &str = "\"127.0.0.1/32\"";

fn to(endpoint: String) -> Target {
    Target::WebPush { endpoint, keys: None }
}

fn b64(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

/// What a browser does with a message: RFC 8291 §3.4 written out with HMAC alone.
fn decrypt(message: &[u8], own: &PrivateKey, auth: &[u8; 16]) -> Vec<u8> {
    let (salt, rest) = message.split_at(16);
    let record_size = u32::from_be_bytes(rest[..4].try_into().unwrap());
    let (sender, record) = rest[5..].split_at(rest[4].into());
    assert!(record.len() <= record_size as usize, "a second record");
    let own_public = own.compute_public_key().unwrap();
    let shared =
        agree(own, UnparsedPublicKey::new(&ECDH_P256, sender), (), |secret: &[u8]| Ok(secret.to_vec())).unwrap();
    let input = mac(&mac(auth, &[&shared]), &[b"WebPush: info\0", own_public.as_ref(), sender, &[1]]);
    let pseudorandom = mac(salt, &[&input]);
    let key = mac(&pseudorandom, &[b"Content-Encoding: aes128gcm\0\x01"]);
    let nonce = mac(&pseudorandom, &[b"Content-Encoding: nonce\0\x01"]);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce[..12].try_into().unwrap());
    let mut record = record.to_vec();
    let padded = key.open_in_place(nonce, Aad::empty(), &mut record).unwrap();
    let end = padded.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!(padded[end], 2, "not the last record");
    padded[..end].to_vec()
}

fn subscription() -> (PrivateKey, SubscriptionKeys) {
    let own = PrivateKey::generate(&ECDH_P256).unwrap();
    let p256dh = own.compute_public_key().unwrap().as_ref().try_into().unwrap();
    (own, SubscriptionKeys { p256dh, auth: [7; 16] })
}

/// RFC 8291, appendix A.
#[test]
fn the_message_of_the_specification_comes_out() {
    let ephemeral =
        PrivateKey::from_private_key(&ECDH_P256, &b64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
    let receiver = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    let auth: [u8; 16] = b64("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap();
    let keys = SubscriptionKeys { p256dh: b64(receiver).try_into().unwrap(), auth };
    let plaintext = b"When I grow up, I want to be a watermelon";
    let salt = b64("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
    let message = encrypt(&keys, plaintext, &ephemeral, salt).unwrap();
    let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWA\
        mS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
    assert_eq!(BASE64URL_NOPAD.encode(&message), expected);
    let own = PrivateKey::from_private_key(&ECDH_P256, &b64("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
    assert_eq!(decrypt(&message, &own, &auth), plaintext);
}

#[tokio::test]
async fn a_service_can_verify_and_a_device_can_decrypt() {
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let world = World::new();
        let sender = world.sender(LOCAL, "[web]\nsubject = \"mailto:host@example.org\"");
        let (seen, public) = (Log::<Seen>::default(), sender.vapid_key());
        let log = seen.clone();
        let server = world
            .serve(protocols, move |request| {
                log.lock().unwrap().push(request);
                201.into()
            })
            .await;
        let (own, keys) = subscription();
        let endpoint = server.endpoint("/push/secret?x=1");
        let with_keys = Target::WebPush { endpoint: endpoint.clone(), keys: Some(keys) };
        for target in [&with_keys, &to(endpoint), &with_keys] {
            assert_eq!(sender.send(target).await, Sent::Accepted);
        }
        assert_eq!(server.connections(), 1, "connections are kept");
        let seen = seen.lock().unwrap();
        for request in seen.iter() {
            assert_eq!((&*request.method, &*request.path), ("POST", "/push/secret"));
            for (name, value) in [("ttl", "86400"), ("urgency", "high"), ("topic", "0ksync"), ("cookie", "")] {
                assert_eq!(request.header(name), value, "{name}");
            }
            let (t, k) = request.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
            assert_eq!(b64(k), public);
            let (header, claims) = token(t, |message, signature| es256(&public, message, signature));
            assert_eq!(header["alg"], "ES256");
            assert_eq!(claims["aud"], format!("https://{NAME}:{}", server.port));
            assert_eq!(claims["sub"], "mailto:host@example.org");
            assert_eq!(claims["exp"], START + 12 * 3600);
        }
        assert_eq!(decrypt(&seen[0].body, &own, &[7; 16]), b"");
        assert_eq!(seen[0].header("content-encoding"), "aes128gcm");
        assert!(seen[1].body.is_empty() && seen[1].header("content-encoding").is_empty());
        assert_ne!(seen[0].body[..16], seen[2].body[..16], "a salt is used once");
        assert_ne!(seen[0].body[21..86], seen[2].body[21..86], "an ephemeral key is used once");
    }
}

/// A service that answers as the path says: `/status` or `/status/retry-after`.
async fn answering(world: &World, seen: Log<String>) -> Server {
    let handler = move |request: Seen| {
        seen.lock().unwrap().push(request.path.clone());
        let mut parts = request.path.split('/').skip(1);
        let mut answer = Answer::from(parts.next().unwrap().parse::<u16>().unwrap());
        if let Some(after) = parts.next() {
            answer.headers.push(("retry-after", after.replace('_', " ")));
        }
        if answer.status == 307 {
            answer.headers.push(("location", "/201".into()));
        }
        answer
    };
    world.serve(&["http/1.1"], handler).await
}

#[tokio::test]
async fn each_status_has_its_meaning() {
    let world = World::new();
    let sender = world.sender(LOCAL, "");
    let seen = Log::default();
    let server = answering(&world, seen.clone()).await;
    // 2027-01-15T08:00:00Z is when the world's clock stands.
    let later = |seconds| Sent::Later(Some(Duration::from_secs(seconds)));
    for (path, sent) in [
        ("/200", Sent::Accepted),
        ("/201", Sent::Accepted),
        ("/202", Sent::Accepted),
        ("/404", Sent::Gone),
        ("/410", Sent::Gone),
        ("/429", Sent::Later(None)),
        ("/429/120", later(120)),
        ("/429/99999999999999999999999", later(3600)),
        ("/503/Fri,_15_Jan_2027_08:00:30_GMT", later(30)),
        ("/503/Friday,_15-Jan-27_08:00:30_GMT", later(30)),
        ("/503/Fri_Jan_15_08:00:30_2027", later(30)),
        ("/503/Fri,_15_Jan_2027_07:00:00_GMT", later(0)),
        ("/503/Sun,_15_Jan_2034_08:00:00_GMT", later(3600)),
        ("/503/soon", Sent::Later(None)),
        ("/500", Sent::Later(None)),
        ("/400", Sent::Refused(Refusal::Status(400))),
        ("/413", Sent::Refused(Refusal::Status(413))),
        ("/401", Sent::Refused(Refusal::Credentials)),
        ("/403", Sent::Refused(Refusal::Credentials)),
        ("/307", Sent::Refused(Refusal::Status(307))),
    ] {
        seen.lock().unwrap().clear();
        assert_eq!(sender.send(&to(server.endpoint(path))).await, sent, "{path}");
        assert_eq!(*seen.lock().unwrap(), [path], "one request, and none where a redirect leads");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let world = World::new();
    let sender = world.sender(LOCAL, "");
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let taken = Arc::<AtomicUsize>::default();
        let endless = Said::Endless(taken.clone());
        for (body, status, sent) in
            [(endless.clone(), 201, Sent::Accepted), (endless, 410, Sent::Gone), (Said::Stuck, 201, Sent::Accepted)]
        {
            let answer = move |_| Answer { status, headers: Vec::new(), body: body.clone() };
            let server = world.serve(protocols, answer).await;
            assert_eq!(sender.send(&to(server.endpoint("/"))).await, sent);
        }
        // Sockets and HTTP/2 keep a few megabytes; a second of reading on would be hundreds.
        assert!(taken.load(Ordering::Relaxed) < 16 << 20, "{taken:?}");
    }
}

#[tokio::test]
async fn who_never_answers_is_asked_later() {
    let mut world = World::new();
    world.limit = Duration::from_millis(300);
    let sender = world.sender(LOCAL, "");
    let silent = world.serve(&["h2"], |_| Answer { body: Said::Nothing, ..201.into() }).await;
    // It accepts connections and says nothing at all.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for port in [silent.port, mute.local_addr().unwrap().port(), closed] {
        let target = to(format!("https://{NAME}:{port}/"));
        let sent = tokio::time::timeout(Duration::from_secs(5), sender.send(&target));
        assert_eq!(sent.await.unwrap(), Sent::Later(None));
    }
    assert_eq!(sender.send(&to("https://unknown.example.org/".into())).await, Sent::Later(None));
}

#[tokio::test]
async fn who_is_not_certified_is_not_told_the_endpoint() {
    let (world, other) = (World::new(), World::new());
    let sender = world.sender(LOCAL, "");
    let asked = Log::<Seen>::default();
    let log = asked.clone();
    let impostor = other
        .serve(&["h2"], move |request| {
            log.lock().unwrap().push(request);
            201.into()
        })
        .await;
    assert_eq!(sender.send(&to(impostor.endpoint("/secret"))).await, Sent::Later(None));
    assert!(impostor.connections() == 1 && asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_lasts_eleven_hours_and_is_made_anew_once_when_refused() {
    let world = World::new();
    let sender = world.sender(LOCAL, "");
    let (tokens, status) = (Log::<String>::default(), Arc::new(Mutex::new(vec![])));
    let (log, statuses) = (tokens.clone(), status.clone());
    let server = world
        .serve(&["http/1.1"], move |request| {
            log.lock().unwrap().push(request.header("authorization").to_owned());
            statuses.lock().unwrap().pop().unwrap_or(201).into()
        })
        .await;
    let target = to(server.endpoint("/"));
    for pause in [0, 11 * 3600 - 1, 1, 0] {
        world.pass(pause);
        assert_eq!(sender.send(&target).await, Sent::Accepted);
    }
    let sent = std::mem::take(&mut *tokens.lock().unwrap());
    assert!(sent[0] == sent[1] && sent[1] != sent[2] && sent[2] == sent[3]);
    world.pass(60);
    status.lock().unwrap().push(403);
    assert_eq!(sender.send(&target).await, Sent::Accepted);
    let sent = std::mem::take(&mut *tokens.lock().unwrap());
    assert!(sent.len() == 2 && sent[0] != sent[1]);
    world.pass(60);
    status.lock().unwrap().extend([403, 403, 403]);
    assert_eq!(sender.send(&target).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(sender.send(&target).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(tokens.lock().unwrap().len(), 3, "a token made a moment ago is not made again");
}

#[test]
fn origins_do_not_fill_the_memory() {
    let tokens = Tokens::new(vapid(), None);
    for n in 0..600 {
        tokens.at(&format!("https://{n}.example.org"), START).unwrap();
    }
    assert_eq!(tokens.remembered(), 256);
    let last = tokens.at("https://x.example.org", START).unwrap();
    assert_eq!(tokens.at("https://x.example.org", START + 5).unwrap().value, last.value);
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let world = World::new();
    let keys = Some(SubscriptionKeys { p256dh: [4; 65], auth: [0; 16] });
    let target = Target::WebPush { endpoint: format!("https://{NAME}/"), keys };
    assert_eq!(world.sender(LOCAL, "").send(&target).await, Sent::Refused(Refusal::Malformed));
}

/// The expected points were computed with Python's `cryptography`: HKDF and P-256 of another library.
#[test]
fn the_key_comes_of_the_relays_own_and_no_other_does() {
    let point = |secret: u8| {
        let tokens = Tokens::new(Vapid::derive(&[secret; 32]).unwrap(), None);
        data_encoding::HEXLOWER.encode(&tokens.public_key())
    };
    assert_eq!(
        point(7),
        concat!(
            "04ec9d92bed52372f20c2d3885a6b44ae0a524980ef9163b634f46a5eee2e1e011",
            "c2166602b7623d329bfd78d30090acf7ee7dce700b43f8df98f4a20e60732477"
        )
    );
    assert_eq!(
        point(0),
        concat!(
            "042475f53c8a95322e92bcc6be0c6da1685a5076adeabf07157d1edf64133bad34",
            "cc29764895f2d671f2547a7905afa2b29eda67e0ec5f2d45f1676dbe168f8b99"
        )
    );
}
