//! Web Push: RFC 8030, encrypted by RFC 8291.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Client, RequestBuilder, Url};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::http::{Clients, exchange};
use super::vapid::Tokens;
use super::{Refusal, Sent, SubscriptionKeys};

/// How long a service keeps a push for a device that is off, in seconds (RFC 8030 §5.2).
const TTL: &str = "86400";
/// One push stands for all that wait (RFC 8030 §5.4).
const TOPIC: &str = "0ksync";
/// The record size in a message's header (RFC 8188 §2.1). It has to be more than the one record has.
const RECORD: u32 = 4096;

/// Sends a push to an endpoint that the guard has checked.
pub(super) async fn send(
    clients: &Clients,
    tokens: &Tokens,
    endpoint: Url,
    keys: Option<&SubscriptionKeys>,
    deadline: Instant,
    now: u64,
) -> Sent {
    let Ok(body) = keys.map(empty_message).transpose() else { return Sent::Refused(Refusal::Malformed) };
    let client = if endpoint.scheme() == "https" { &clients.guarded } else { &clients.plain };
    let origin = endpoint.origin().ascii_serialization();
    let Ok(mut token) = tokens.at(&origin, now) else { return Sent::Refused(Refusal::Credentials) };
    let mut is_last = false;
    loop {
        let request = request(client, endpoint.clone(), token.value.clone(), body.clone());
        let reply = match exchange(request, deadline, now).await {
            Ok(reply) => reply,
            Err(fault) => return fault.into(),
        };
        return match reply.status {
            401 | 403 => match tokens.instead(&token, &origin, now).filter(|_| !is_last) {
                Some(other) => {
                    (token, is_last) = (other, true);
                    continue;
                }
                None => Sent::Refused(Refusal::Credentials),
            },
            404 | 410 => Sent::Gone,
            _ => reply.sent(),
        };
    }
}

fn request(client: &Client, endpoint: Url, authorization: HeaderValue, message: Option<Vec<u8>>) -> RequestBuilder {
    let request = client
        .post(endpoint)
        .header("ttl", TTL)
        .header("urgency", "high")
        .header("topic", TOPIC)
        .header(AUTHORIZATION, authorization);
    match message {
        Some(message) => request
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Body::from(message)),
        // Services refuse a POST that does not say how long it is.
        None => request.header(CONTENT_LENGTH, "0"),
    }
}

fn empty_message(keys: &SubscriptionKeys) -> Result<Vec<u8>, Unspecified> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| Unspecified)?;
    encrypt(keys, b"", &PrivateKey::generate(&ECDH_P256)?, salt)
}

/// A message of one record (RFC 8291 §3.4, RFC 8188 §2). `ephemeral` and `salt` have to be new for each.
///
/// # Errors
/// If `p256dh` is no point on P-256.
pub(super) fn encrypt(
    keys: &SubscriptionKeys,
    plaintext: &[u8],
    ephemeral: &PrivateKey,
    salt: [u8; 16],
) -> Result<Vec<u8>, Unspecified> {
    let public = ephemeral.compute_public_key()?;
    let public = public.as_ref();
    let info: [&[u8]; 3] = [b"WebPush: info\0", &keys.p256dh, public];
    let input = agree(ephemeral, UnparsedPublicKey::new(&ECDH_P256, keys.p256dh), Unspecified, |shared| {
        derive::<32>(&Salt::new(HKDF_SHA256, &keys.auth).extract(shared), &info)
    })?;
    let pseudorandom = Salt::new(HKDF_SHA256, &salt).extract(&*input);
    let key = derive::<16>(&pseudorandom, &[b"Content-Encoding: aes128gcm\0"])?;
    // The nonce of the first record is this one, as its number is 0.
    let nonce = derive::<12>(&pseudorandom, &[b"Content-Encoding: nonce\0"])?;
    let length = u8::try_from(public.len()).map_err(|_| Unspecified)?;
    let mut record = [plaintext, &[2]].concat();
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &*key)?).seal_in_place_append_tag(
        Nonce::assume_unique_for_key(*nonce),
        Aad::empty(),
        &mut record,
    )?;
    Ok([&salt[..], &RECORD.to_be_bytes(), &[length], public, &record].concat())
}

/// How many bytes to derive.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(from: &Prk, info: &[&[u8]]) -> Result<Zeroizing<[u8; N]>, Unspecified> {
    let mut derived = Zeroizing::new([0; N]);
    from.expand(info, Length(N))?.fill(&mut *derived)?;
    Ok(derived)
}
