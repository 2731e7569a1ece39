//! Ed25519 with a label, checked strictly.

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use rand_core::CryptoRng;
use sync_types::{Code, LABEL_PREFIX};
use zeroize::Zeroizing;

use crate::hash::length;

/// A device's signing key in one group. Erased when dropped; never shown by `Debug`.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The key behind a seed (the private key of RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for storing.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
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
    parse_key(public).map(|_| ())
}

/// Signs the label, with [`LABEL_PREFIX`] in front, and the content, each behind its length (the shape of RFC 9420
/// §5.1.2).
///
/// # Panics
/// If the content is 2³⁰ bytes or longer.
pub fn sign(key: &SigningKey, label: &str, content: &[u8]) -> [u8; 64] {
    key.0.sign(&message(label, content)).to_bytes()
}

/// Checks what [`sign`] made, by the strict rules: weak keys, small-order points and non-canonical scalars are refused.
pub fn verify(public: &[u8; 32], label: &str, content: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    let key = parse_key(public).map_err(|_| BadSignature)?;
    key.verify_strict(&message(label, content), &Signature::from_bytes(signature)).map_err(|_| BadSignature)
}

fn parse_key(public: &[u8; 32]) -> Result<VerifyingKey, BadKey> {
    // Decompression reads a coordinate of p = 2^255 - 19 or above modulo p. Two encodings of one key would be two
    // devices. (The other second encoding, a sign for x = 0, is one of the weak keys.)
    if public[0] >= 0xed && public[1..31].iter().all(|b| *b == 0xff) && public[31] & 0x7f == 0x7f {
        return Err(BadKey::NotAPoint);
    }
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadKey::NotAPoint)?;
    if key.is_weak() {
        return Err(BadKey::Weak);
    }
    Ok(key)
}

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
        let lax = VerifyingKey::from_bytes(&identity).unwrap();
        assert!(ed25519_dalek::Verifier::verify(&lax, b"anything", &Signature::from_bytes(&forgery)).is_ok());

        assert_eq!(check_key(&identity), Err(BadKey::Weak));
        assert_eq!(verify(&identity, "test", b"anything", &forgery), Err(BadSignature));
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
