//! Ed25519 (FIPS 186-5) with a label, checked strictly. aws-lc signs and verifies, in both suites; what it is lax about is
//! looked at before.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ed25519_dalek::VerifyingKey;
use rand_core::CryptoRng;
use sync_types::{Code, LABEL_PREFIX};
use zeroize::Zeroizing;

use crate::hash::length;

/// A device's signing key in one group. Erased when dropped; never shown by `Debug`.
#[derive(Clone)]
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The key behind a seed (the private key of RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed");
        Self { seed: Zeroizing::new(*seed), pair: Arc::new(pair) }
    }

    /// The seed, for storing.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    /// The id of the device that has this key.
    pub fn device_id(&self) -> sync_types::DeviceId {
        crate::device_id(&self.public())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey of {:?}", self.device_id())
    }
}

/// A signature that does not verify, or a key that must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl From<BadSignature> for Code {
    fn from(_: BadSignature) -> Self {
        Code::BadSignature
    }
}

/// A public key that must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The bytes are no point of the curve, or not in the canonical form.
    #[error("the public key is not a canonical Ed25519 key")]
    NotAPoint,
    /// A point of small order, under which a signature verifies for many messages.
    #[error("the public key is weak")]
    Weak,
}

/// Checks that a public key can be relied on: a canonical encoding of a point that is not of small order.
pub fn check_key(public: &[u8; 32]) -> Result<(), BadKey> {
    if !is_reduced(public) {
        return Err(BadKey::NotAPoint);
    }
    if is_small(public) {
        return Err(BadKey::Weak);
    }
    // aws-lc tells only with a signature whether it is on the curve.
    VerifyingKey::from_bytes(public).map(|_| ()).map_err(|_| BadKey::NotAPoint)
}

/// Signs the label, with [`LABEL_PREFIX`] in front, and the content, each behind its length (the shape of RFC 9420
/// §5.1.2).
///
/// # Panics
/// If the content is 2³⁰ bytes or longer.
pub fn sign(key: &SigningKey, label: &str, content: &[u8]) -> [u8; 64] {
    let signature = key.pair.sign(&message(label, content));
    signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
}

/// Checks what [`sign`] made, by the strict rules: weak keys, small-order points and non-canonical scalars are refused.
pub fn verify(public: &[u8; 32], label: &str, content: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    verify_bytes(public, &message(label, content), signature)
}

/// The same for bytes without a label. Public, so that test vectors run against the very function that everything uses.
pub fn verify_bytes(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    let (r, _) = signature.split_first_chunk().expect("64 bytes are more than 32");
    // The library compares R as bytes with one that it computed, so that no second encoding of R passes, and refuses an S that
    // is not reduced and a key that is no point. Left are second encodings of keys, and points of small order.
    if !is_reduced(public) || is_small(public) || is_small(r) {
        return Err(BadSignature);
    }
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).map_err(|_| BadSignature)
}

/// Whether the encoded coordinate is below p = 2^255 - 19. Decompression reads it modulo p: two encodings of one key would be
/// two devices. (The other second encoding, a sign for x = 0, is one of the weak keys.)
fn is_reduced(point: &[u8; 32]) -> bool {
    !(point[0] >= 0xed && point[1..31].iter().all(|b| *b == 0xff) && point[31] & 0x7f == 0x7f)
}

/// Whether it is one of the eight points whose order divides 8, by its coordinate y: 1, -1, 0 and the two of order 8. Neither
/// their negatives nor the sign of x make others.
fn is_small(point: &[u8; 32]) -> bool {
    let mut y = *point;
    y[31] &= 0x7f;
    SMALL.contains(&y)
}

#[rustfmt::skip]
const SMALL: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
        0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
        0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

fn message(label: &str, content: &[u8]) -> Vec<u8> {
    let mut message = length(LABEL_PREFIX.len() + label.len());
    message.extend_from_slice(LABEL_PREFIX.as_bytes());
    message.extend_from_slice(label.as_bytes());
    message.extend_from_slice(&length(content.len()));
    message.extend_from_slice(content);
    message
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signature;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_label_content_and_key_only() {
        let key = SigningKey::from_seed(&[1; 32]);
        let signature = sign(&key, "test", b"hello");
        assert_eq!(verify(&key.public(), "test", b"hello", &signature), Ok(()));
        assert_eq!(verify(&key.public(), "tes", b"hello", &signature), Err(BadSignature));
        assert_eq!(verify(&key.public(), "test", b"hellp", &signature), Err(BadSignature));
        let other = SigningKey::from_seed(&[2; 32]).public();
        assert_eq!(verify(&other, "test", b"hello", &signature), Err(BadSignature));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it shows what the lax check lets through")]
    fn small_order_keys_are_refused_with_the_forgery_that_they_allow() {
        // The identity as public key and as R, with s = 0: the lax equation holds for every message.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut forgery = [0; 64];
        forgery[0] = 1;
        assert!(UnparsedPublicKey::new(&ED25519, &identity).verify(b"anything", &forgery).is_ok());
        let lax = VerifyingKey::from_bytes(&identity).unwrap();
        assert!(ed25519_dalek::Verifier::verify(&lax, b"anything", &Signature::from_bytes(&forgery)).is_ok());

        assert_eq!(check_key(&identity), Err(BadKey::Weak));
        assert_eq!(verify(&identity, "test", b"anything", &forgery), Err(BadSignature));
    }

    #[test]
    fn the_small_points_are_those_that_another_implementation_finds() {
        let all: Vec<[u8; 32]> = SMALL.iter().flat_map(|y| [*y, with_sign(*y)]).collect();
        for point in &all {
            let key = VerifyingKey::from_bytes(point).unwrap();
            assert!(key.is_weak() && is_small(point), "{point:?}");
        }
        let point = |bytes| VerifyingKey::from_bytes(bytes).unwrap().to_edwards().compress().to_bytes();
        let mut points: Vec<[u8; 32]> = all.iter().map(point).collect();
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), 8, "there are no others");
        assert!(!is_small(&SigningKey::from_seed(&[1; 32]).public()));
    }

    fn with_sign(mut y: [u8; 32]) -> [u8; 32] {
        y[31] |= 0x80;
        y
    }

    #[test]
    fn both_libraries_make_and_take_the_same_signatures() {
        for n in 0..50u8 {
            let (key, dalek) = (SigningKey::from_seed(&[n; 32]), ed25519_dalek::SigningKey::from_bytes(&[n; 32]));
            assert_eq!(key.public(), dalek.verifying_key().to_bytes());
            let signature = sign(&key, "test", &[n]);
            let made = ed25519_dalek::Signer::sign(&dalek, &message("test", &[n]));
            assert_eq!(signature, made.to_bytes());
            for at in 0..64 {
                let mut altered = signature;
                altered[at] ^= 1 << (n % 8);
                let strict =
                    dalek.verifying_key().verify_strict(&message("test", &[n]), &Signature::from_bytes(&altered));
                assert_eq!(verify(&key.public(), "test", &[n], &altered).is_ok(), strict.is_ok());
            }
        }
    }

    #[test]
    fn a_second_encoding_of_a_key_is_refused() {
        // y = p + 3 and y = 3 are one coordinate; the first is not canonical.
        let found = (2u8..19).find_map(|y| {
            let mut canonical = [0; 32];
            canonical[0] = y;
            let mut second = [0xff; 32];
            (second[0], second[31]) = (0xed + y, 0x7f);
            let strong = VerifyingKey::from_bytes(&canonical).is_ok_and(|k| !k.is_weak());
            (strong && VerifyingKey::from_bytes(&second).is_ok()).then_some((canonical, second))
        });
        let (canonical, second) = found.expect("some small coordinate is on the curve");
        assert_eq!(check_key(&canonical), Ok(()));
        assert_eq!(check_key(&second), Err(BadKey::NotAPoint));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", SigningKey::from_seed(&[0xab; 32]));
        assert!(!text.contains("abab") && !text.contains("171"), "{text}");
    }
}
