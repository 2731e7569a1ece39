//! From a passphrase to a key: Argon2id (RFC 9106), version 1.3, one lane.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_rules::defence::{Defence, stands};
use sync_types::limits;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{VaultError, VaultKey};

/// What a person knows. In Unicode's form NFC, so that the same keys give the same bytes on every system. Erased when
/// dropped, and never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase as it was typed.
    ///
    /// # Errors
    /// [`VaultError::Unfit`] for an empty one, and beyond [`limits::PASSPHRASE_BYTES`].
    pub fn new(typed: &str) -> Result<Self, VaultError> {
        if typed.is_empty() {
            return Err(VaultError::Unfit("a passphrase is not empty"));
        }
        if typed.len() > limits::PASSPHRASE_BYTES {
            return Err(VaultError::Unfit("a passphrase has at most 1,024 bytes"));
        }
        // NFC makes no text more than three times as long (Unicode FAQ), so it does not move while it grows.
        let mut text = Zeroizing::new(String::with_capacity(3 * typed.len()));
        text.extend(typed.nfc());
        Ok(Self(text))
    }

    /// The same for something new, which a person should not be able to make too short.
    ///
    /// # Errors
    /// As [`Passphrase::new`], and below [`limits::PASSPHRASE_CHARS`].
    pub fn fit_for_new(&self) -> Result<(), VaultError> {
        match self.0.chars().count() >= limits::PASSPHRASE_CHARS {
            true => Ok(()),
            false => Err(VaultError::Unfit("a new passphrase has at least 8 characters")),
        }
    }
}

/// Shows nothing of it, not even its length.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// How a passphrase becomes a key. Whoever locks chooses it, and it stands in what is locked: who unlocks obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Kdf {
    /// The memory that is filled, in KiB.
    pub memory_kib: u32,
    /// How often it is gone through.
    pub passes: u8,
    /// Random, for this passphrase alone.
    pub salt: [u8; 16],
}

impl Kdf {
    /// For a machine that has so much memory to spare, in MiB. Each costs a guesser about as much, but for the last.
    pub const fn for_memory(available_mib: u64, salt: [u8; 16]) -> Self {
        let (mib, passes) = match available_mib {
            0..256 => (12, 3),
            256..1024 => (19, 2),
            1024..4096 => (46, 1),
            _ => (64, 3),
        };
        Self { memory_kib: mib * 1024, passes, salt }
    }

    /// The cheapest that any build makes and takes.
    pub const fn cheapest(salt: [u8; 16]) -> Self {
        Self::for_memory(0, salt)
    }

    /// Whether a build would do this: neither so cheap that it protects nobody, nor so dear that it stops the machine.
    ///
    /// # Errors
    /// [`VaultError::Parameters`].
    pub fn check(&self) -> Result<(), VaultError> {
        let (memory_kib, passes) = (self.memory_kib, self.passes);
        let work = u64::from(memory_kib) * u64::from(passes);
        let bounds = limits::KDF_MEMORY_MIN_KIB..=limits::KDF_MEMORY_MAX_KIB;
        let fits = bounds.contains(&memory_kib)
            && (1..=limits::KDF_PASSES_MAX).contains(&passes)
            && work >= limits::KDF_WORK_MIN_KIB;
        match fits || !stands(Defence::KdfBounds) {
            true => Ok(()),
            false => Err(VaultError::Parameters { memory_kib, passes }),
        }
    }

    /// The key behind a passphrase. Takes [`Kdf::memory_kib`] of memory and some tenths of a second.
    ///
    /// # Errors
    /// [`VaultError::Parameters`]; [`VaultError::Memory`].
    pub fn derive(&self, passphrase: &Passphrase) -> Result<VaultKey, VaultError> {
        self.check()?;
        let refused = VaultError::Parameters { memory_kib: self.memory_kib, passes: self.passes };
        let params = Params::new(self.memory_kib, self.passes.into(), 1, Some(32)).map_err(|_| refused)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &self.salt, &mut *key)
            .map_err(|_| VaultError::Memory)?;
        Ok(VaultKey::new(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_lies_within_the_bounds_that_readers_hold_to() {
        let tiers = [(0, 12, 3), (255, 12, 3), (256, 19, 2), (1024, 46, 1), (4096, 64, 3), (u64::MAX, 64, 3)];
        for (available, mib, passes) in tiers {
            let kdf = Kdf::for_memory(available, [1; 16]);
            assert_eq!((kdf.memory_kib, kdf.passes), (mib * 1024, passes), "{available} MiB");
            assert_eq!(kdf.check(), Ok(()));
        }
        let highest = Kdf { memory_kib: 256 * 1024, passes: 10, salt: [0; 16] };
        assert_eq!(highest.check(), Ok(()));
        let bad = [(12 * 1024 - 1, 10), (12 * 1024, 2), (46 * 1024, 0), (256 * 1024 + 1, 1), (64 * 1024, 11), (0, 0)];
        for (memory_kib, passes) in bad {
            let kdf = Kdf { memory_kib, passes, ..highest };
            assert_eq!(kdf.check(), Err(VaultError::Parameters { memory_kib, passes }), "{memory_kib} {passes}");
        }
    }

    #[test]
    fn one_passphrase_in_two_forms_is_one_key() {
        let kdf = Kdf::cheapest([7; 16]);
        let key = |text: &str| *kdf.derive(&Passphrase::new(text).unwrap()).unwrap().as_bytes();
        // é as one character, and as e with an accent behind it.
        assert_eq!(key("caf\u{e9} noir"), key("cafe\u{301} noir"));
        assert_ne!(key("caf\u{e9} noir"), key("cafe noir"));
    }

    #[test]
    fn a_passphrase_has_bounds_and_is_not_shown() {
        assert!(matches!(Passphrase::new(""), Err(VaultError::Unfit(_))));
        assert!(matches!(Passphrase::new(&"x".repeat(1025)), Err(VaultError::Unfit(_))));
        assert!(Passphrase::new("1234567").unwrap().fit_for_new().is_err());
        assert!(Passphrase::new("äöüäöüäö").unwrap().fit_for_new().is_ok());
        assert_eq!(format!("{:?}", Passphrase::new("hunter22").unwrap()), "Passphrase(…)");
    }
}
