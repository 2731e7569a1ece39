//! The recovery kit: 24 words that lead back into a group although every device of it is lost.
//!
//! The words are 256 bits, and everything else follows from them: a signing key, whose public half stands in the group's
//! settings and by which the relay knows the kit; a MAC key, by which members vouch for the group's state; and an HPKE key
//! pair, which members seal for. Members hold the MAC key and the public halves ([`KitShare`]), and never the words.

mod arrive;
mod snapshot;

pub use arrive::{Arrival, Recovering, RecoveryError};
pub use snapshot::{KitSnapshot, SnapshotError, seal_snapshot};

use std::fmt;

use bip39::{Language, Mnemonic};
use hkdf::Hkdf;
use mls_rs::{CipherSuiteProvider, CryptoProvider};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use sync_rules::mls::cipher_suite;
use sync_rules::statement::sign_share;
use sync_rules::{SigningKey, unsigned_group_info};
use sync_types::body::KitShare;
use sync_types::frame::{Mac, Signature};
use sync_types::short_code::word;
use sync_types::{Code, GroupId, LABEL_PREFIX, Opaque, Suite, encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How many words a kit has.
pub const WORDS: usize = 24;

const SEALING: &[u8] = b"0ksync/1 recovery sealing";

/// The longest text that is read as a kit, in bytes: far more than 24 words of eight letters with numbers before them.
const TEXT_BYTES: usize = 1_024;

/// A recovery kit. Erased when dropped, and shown by nothing but [`RecoveryKit::words`].
#[derive(Clone, ZeroizeOnDrop)]
pub struct RecoveryKit {
    entropy: [u8; 32],
}

/// Why a text is no recovery kit. None of these has been told to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KitError {
    /// It has another number of words.
    #[error("a recovery kit has 24 words, and these are {0}")]
    Count(usize),
    /// The word at this place, from 1 to 24, is none of the list.
    #[error("word {0} is not a word that recovery kits are made of")]
    UnknownWord(usize),
    /// Each word is one of the list, and one of them at least is not what was written down, or not in its place.
    #[error("one of the words is another than was written down, or stands in another place")]
    Checksum,
}

impl KitError {
    /// The code that a user sees.
    pub const fn code(self) -> Code {
        Code::KitInvalid
    }
}

impl RecoveryKit {
    /// A new kit.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *entropy);
        Self::from_entropy(&entropy)
    }

    /// The kit of these 256 bits.
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        Self { entropy: *entropy }
    }

    /// Reads what a person types: in either case, with anything between the words that is no letter, numbers among it, and
    /// each word whole or cut short behind its fourth letter.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of [`KitError`]'s variants but for an unknown word, which comes first.
    pub fn from_words(text: &str) -> Result<Self, KitError> {
        let text = Zeroizing::new(text.to_lowercase());
        let parts = || text.split(|c: char| !c.is_alphabetic()).filter(|part| !part.is_empty());
        if text.len() > TEXT_BYTES {
            return Err(KitError::Count(parts().count()));
        }
        let list = Language::English.word_list();
        let mut whole = Zeroizing::new(String::with_capacity(WORDS * 9));
        for (at, part) in parts().enumerate() {
            let found = word(part).and_then(|place| list.get(usize::from(place)));
            whole.push_str(found.ok_or(KitError::UnknownWord(at + 1))?);
            whole.push(' ');
        }
        let count = parts().count();
        if count != WORDS {
            return Err(KitError::Count(count));
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, whole.trim_end());
        let (mut bytes, _) = mnemonic.map_err(|_| KitError::Checksum)?.to_entropy_array();
        let mut entropy = Zeroizing::new([0; 32]);
        entropy.copy_from_slice(&bytes[..32]);
        bytes.zeroize();
        Ok(Self::from_entropy(&entropy))
    }

    /// The 24 words, in lower case with a space between. Whoever has them has the group: they are shown to the person once,
    /// and go into no log.
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, &self.entropy);
        let mnemonic = mnemonic.expect("256 bits are one of the sizes that BIP39 has");
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in mnemonic.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The recovery key. Its public half stands in the group's settings.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.derive(b"0ksync/1 recovery signing"))
    }

    /// The key by which members vouch for the group's state.
    pub fn mac_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"0ksync/1 recovery mac")
    }

    /// What members of this group hold of the kit. The key to seal for is of the group's suite.
    pub fn share<P: CryptoProvider>(
        &self,
        crypto: &P,
        suite: Suite,
        group: &GroupId,
    ) -> Result<KitShare, KitCryptoError> {
        let suite = crypto.cipher_suite_provider(cipher_suite(suite)).ok_or(KitCryptoError)?;
        let (_, public) = suite.kem_derive(&*self.derive(SEALING)).map_err(|_| KitCryptoError)?;
        let mut share =
            KitShare { mac_key: *self.mac_key(), seal_key: Opaque(public.to_vec()), signature: Signature([0; 64]) };
        sign_share(&self.signing_key(), group, &mut share);
        Ok(share)
    }

    /// HKDF-Expand (RFC 5869 §2.3) of the entropy, which is as good a key as Extract would make of it.
    fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::from_prk(&self.entropy)
            .expect("256 bits are as long as SHA-256's output")
            .expand(label, &mut *key)
            .expect("32 bytes are far below HKDF's bound");
        key
    }
}

/// The provider lacks what the group's suite needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptography does not have the group's suite")]
pub struct KitCryptoError;

impl fmt::Debug for RecoveryKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKit")
    }
}

/// A member's word for the state of a group that this GroupInfo describes, whichever member signed it. `None` if the bytes
/// are no GroupInfo.
pub fn vouch(mac_key: &[u8; 32], group_info: &[u8]) -> Option<Mac> {
    Some(state_mac(mac_key, unsigned_group_info(group_info)?))
}

/// The same for the bytes of a GroupInfo without its signer and signature.
pub fn state_mac(mac_key: &[u8; 32], unsigned: &[u8]) -> Mac {
    mac(mac_key, "recovery state", &encode(&Opaque(unsigned.to_vec())))
}

/// HMAC-SHA-256 of a label and what follows it.
fn mac(mac_key: &[u8; 32], label: &str, content: &[u8]) -> Mac {
    let label = Opaque([LABEL_PREFIX, label].concat().into_bytes());
    let message = [&encode(&label), content].concat();
    // RFC 5869 §2.2: Extract is HMAC of the salt and the input.
    let (tag, _) = Hkdf::<Sha256>::extract(Some(mac_key), &message);
    Mac(tag.into())
}

/// Whether one of these is a member's word for that state.
pub fn is_vouched_for(mac_key: &[u8; 32], group_info: &[u8], macs: &[Mac]) -> bool {
    let Some(good) = vouch(mac_key, group_info) else { return false };
    macs.iter().any(|mac| bool::from(mac.0.ct_eq(&good.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<[u8; 32], KitError> {
        RecoveryKit::from_words(text).map(|kit| kit.entropy)
    }

    #[test]
    fn words_read_back_as_people_type_them() {
        let kit = RecoveryKit::from_entropy(&[0x5a; 32]);
        let words = kit.words();
        assert_eq!(words.split(' ').count(), WORDS);
        assert_eq!(read(&words), Ok([0x5a; 32]));
        let numbered: String = words.split(' ').enumerate().map(|(i, w)| format!("{}. {}\n", i + 1, w)).collect();
        let short: String = words.split(' ').map(|w| format!("{}, ", &w[..w.len().min(4)])).collect();
        for typed in [words.to_uppercase(), numbered, short, format!("\t{}  ", words.replace(' ', "\r\n"))] {
            assert_eq!(read(&typed), Ok([0x5a; 32]), "{typed}");
        }
    }

    #[test]
    fn a_slip_is_found_here_and_says_where() {
        let words = RecoveryKit::from_entropy(&[0x5a; 32]).words().to_string();
        let mut list: Vec<&str> = words.split(' ').collect();
        assert_eq!(read(&list[..23].join(" ")), Err(KitError::Count(23)));
        assert_eq!(read(""), Err(KitError::Count(0)));
        assert_eq!(read(&format!("{words} zoo")), Err(KitError::Count(25)));
        list[6] = "qwertz";
        assert_eq!(read(&list.join(" ")), Err(KitError::UnknownWord(7)));
        list[6] = "zoo";
        assert_eq!(read(&list.join(" ")), Err(KitError::Checksum));
        let swapped: Vec<&str> = words.split(' ').rev().collect();
        assert_eq!(read(&swapped.join(" ")), Err(KitError::Checksum));
        assert!(matches!(read(&"zoo ".repeat(1_000)), Err(KitError::Count(1_000))));
    }

    #[test]
    fn each_key_is_its_own_and_none_is_shown() {
        let kit = RecoveryKit::from_entropy(&[1; 32]);
        let keys = [*kit.signing_key().seed(), *kit.mac_key(), *kit.derive(SEALING), [1; 32]];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
        let text = format!("{kit:?} {:?}", kit.signing_key());
        assert!(!text.contains("abandon") && !text.contains("[1"), "{text}");
    }
}
