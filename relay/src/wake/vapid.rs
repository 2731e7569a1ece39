//! Who sends a web push (RFC 8292).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use zeroize::Zeroizing;

use super::jwt::{Es256, Minted};

/// How long a token says that it is good, in seconds. RFC 8292 §2 allows 24 hours.
const LIFE: u64 = 12 * 3600;
/// How long one is used, in seconds.
const USE: u64 = LIFE - 3600;
/// How old a refused token has to be, in seconds, for a new one to have a better chance.
const OLD: u64 = 60;
/// How many origins' tokens are remembered.
const ORIGINS: usize = 256;

/// The label that the key is derived by; a byte that counts up comes behind it.
const LABEL: &[u8] = b"0ksync/1 relay vapid";
/// How often it counts up. That 32 bytes are no scalar of P-256 happens once in 2^32 times.
const TRIES: u8 = 8;

/// The key that a relay's web pushes are signed with. Devices bind their subscriptions to its public part (RFC 8292 §4.1).
pub(crate) struct Vapid {
    key: Es256,
    public: [u8; 65],
}

impl Vapid {
    /// The key that comes of a relay's own by HKDF-SHA-256 (RFC 5869): the same on all nodes that share that one, and nothing more
    /// to keep.
    ///
    /// # Errors
    /// If the library fails.
    pub(crate) fn derive(secret: &[u8; 32]) -> Result<Self, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
        for again in 0..TRIES {
            let mut scalar = Zeroizing::new([0; 32]);
            secret.expand(&[LABEL, &[again]], HKDF_SHA256)?.fill(&mut *scalar)?;
            let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &*scalar) else { continue };
            let public = key.compute_public_key()?;
            let key = Es256::from_private_key(&*scalar, public.as_ref()).ok_or(Unspecified)?;
            return Ok(Self { key, public: public.as_ref().try_into().map_err(|_| Unspecified)? });
        }
        Err(Unspecified)
    }
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vapid")
    }
}

/// Makes tokens for push services and remembers them. The one for each origin is made once in eleven hours, as a service
/// may remember those it has verified.
pub(super) struct Tokens {
    vapid: Vapid,
    subject: Option<String>,
    by_origin: Mutex<HashMap<String, Minted>>,
}

impl Tokens {
    pub(super) fn new(vapid: Vapid, subject: Option<String>) -> Self {
        Self { vapid, subject, by_origin: Mutex::default() }
    }

    pub(super) fn public_key(&self) -> [u8; 65] {
        self.vapid.public
    }

    /// The token for an origin; `now` in seconds since the Unix epoch.
    pub(super) fn at(&self, origin: &str, now: u64) -> Result<Minted, Unspecified> {
        let mut by_origin = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_origin.get(origin).filter(|known| known.is_younger(USE, now)) {
            return Ok(known.clone());
        }
        self.make(&mut by_origin, origin, now)
    }

    /// Another token in place of a refused one; `None` if a new one would say the same.
    pub(super) fn instead(&self, refused: &Minted, origin: &str, now: u64) -> Option<Minted> {
        if refused.is_younger(OLD, now) {
            return None;
        }
        let mut by_origin = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        match by_origin.get(origin) {
            Some(known) if known.value != refused.value => Some(known.clone()),
            _ => self.make(&mut by_origin, origin, now).ok(),
        }
    }

    fn make(&self, by_origin: &mut HashMap<String, Minted>, origin: &str, now: u64) -> Result<Minted, Unspecified> {
        let mut claims = json!({ "aud": origin, "exp": now + LIFE });
        if let Some(subject) = &self.subject {
            claims["sub"] = subject.as_str().into();
        }
        let token = self.vapid.key.token(&json!({ "typ": "JWT", "alg": "ES256" }), &claims)?;
        let minted = Minted::new(&format!("vapid t={token}, k={}", BASE64URL_NOPAD.encode(&self.vapid.public)), now)?;
        if by_origin.len() >= ORIGINS && !by_origin.contains_key(origin) {
            by_origin.retain(|_, known| known.is_younger(USE, now));
            // Origins are a stranger's choice. Any one goes: it costs one signature to have it back.
            if by_origin.len() >= ORIGINS
                && let Some(some) = by_origin.keys().next().cloned()
            {
                by_origin.remove(&some);
            }
        }
        by_origin.insert(origin.to_owned(), minted.clone());
        Ok(minted)
    }
}
