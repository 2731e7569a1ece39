//! JSON Web Tokens in their compact form (RFC 7515 §3.1), made and never read.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use data_encoding::BASE64URL_NOPAD;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

/// A key of ES256 (RFC 7518 §3.4). The library wipes it when it is dropped.
pub(super) struct Es256(EcdsaKeyPair);

impl Es256 {
    /// A P-256 key in PKCS#8 (RFC 5958).
    pub(super) fn from_pkcs8(key: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key).ok().map(Self)
    }

    /// A scalar of P-256 in 32 bytes, and its point, uncompressed (SEC 1 §2.3).
    pub(super) fn from_private_key(scalar: &[u8], point: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, scalar, point).ok().map(Self)
    }

    /// A signed token.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> Result<String, Unspecified> {
        token(header, claims, |text| Ok(self.0.sign(&SystemRandom::new(), text)?.as_ref().to_vec()))
    }
}

/// A key of RS256 (RFC 7518 §3.3). The library wipes it when it is dropped.
pub(super) struct Rs256(rsa::KeyPair);

impl Rs256 {
    /// An RSA key of 2,048 bits or more in PKCS#8 (RFC 5958).
    pub(super) fn from_pkcs8(key: &[u8]) -> Option<Self> {
        rsa::KeyPair::from_pkcs8(key).ok().map(Self)
    }

    /// A signed token.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> Result<String, Unspecified> {
        token(header, claims, |text| {
            let mut signature = vec![0; self.0.public_modulus_len()];
            self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)?;
            Ok(signature)
        })
    }
}

fn token(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, Unspecified>,
) -> Result<String, Unspecified> {
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let mut token = format!("{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()));
    let signature = sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&part(&signature));
    Ok(token)
}

/// Reads a string that is wiped when it is dropped.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// A header that proves who sends, for as long as a token in it is good.
#[derive(Clone)]
pub(super) struct Minted {
    /// What stands in `Authorization`.
    pub(super) value: HeaderValue,
    /// When it was made, in seconds since the Unix epoch.
    made: u64,
}

impl Minted {
    pub(super) fn new(text: &str, made: u64) -> Result<Self, Unspecified> {
        let mut value = HeaderValue::from_str(text).map_err(|_| Unspecified)?;
        // Kept out of `Debug` and of HTTP/2's table of headers.
        value.set_sensitive(true);
        Ok(Self { value, made })
    }

    /// Whether less than `seconds` have passed, either way: a clock may be set back.
    pub(super) fn is_younger(&self, seconds: u64, now: u64) -> bool {
        self.made.abs_diff(now) < seconds
    }
}
