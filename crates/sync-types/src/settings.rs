//! What a group's members agreed on. It stands in the MLS GroupContext, which the relay can read.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::codec::counted;
use crate::{DecodeError, Opaque, codec, limits};

/// The number of the GroupContext extension that holds [`Settings`] (private use, RFC 9420 §17.3).
pub const SETTINGS_EXTENSION: u16 = 0xf0c5;

/// The number of the GroupInfo extension that holds a newcomer's [`crate::body::Baseline`] (private use).
pub const BASELINE_EXTENSION: u16 = 0xf0c6;

/// The number of the custom MLS proposal that alone makes an external commit acceptable (private use); it holds a
/// [`crate::frame::ExternalProof`]. Every member declares it from the first day.
pub const EXTERNAL_PROOF_PROPOSAL: u16 = 0xf0c7;

/// The number of the MLS cipher suite of [`crate::Suite::Fips`] (private use, RFC 9420 §17.1).
pub const FIPS_CIPHER_SUITE: u16 = 0xf0c2;

/// Settings that every member of a group agrees on.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Settings {
    /// The app's identifier; on Tauri the app's `identifier`. At most [`limits::APP_ID_BYTES`].
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub app_id: Vec<u8>,
    /// The relays, in order of preference, as texts of [`crate::RelayAddress`] without tokens.
    #[mls_codec(with = "relays")]
    pub relays: Vec<Opaque>,
    /// Which blobs are handed to newcomers.
    pub history: HistoryPolicy,
    /// The group's recovery signing key (Ed25519), or empty without a recovery kit.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub recovery_key: Vec<u8>,
}

counted!(relays, Opaque, limits::RELAYS);

/// Which blobs members hand on to newcomers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum HistoryPolicy {
    /// All that is in the local log.
    #[default]
    All = 1u8,
    /// None: a newcomer sees only what is pushed after it joined.
    None = 2u8,
}

impl Settings {
    /// Reads settings and checks their bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let settings: Self = codec::decode(bytes)?;
        if settings.app_id.len() > limits::APP_ID_BYTES || std::str::from_utf8(&settings.app_id).is_err() {
            return Err(DecodeError::Limit("an app id is UTF-8 of at most 128 bytes"));
        }
        if settings.relays.len() > limits::RELAYS {
            return Err(DecodeError::Limit("a group has at most 8 relays"));
        }
        if settings.relays.iter().any(|r| r.len() > limits::ADDRESS_BYTES) {
            return Err(DecodeError::Limit("a relay address has at most 512 bytes"));
        }
        if !matches!(settings.recovery_key.len(), 0 | 32) {
            return Err(DecodeError::Limit("a recovery key has 32 bytes"));
        }
        Ok(settings)
    }

    /// The public half of the recovery key, if the group has a recovery kit.
    pub fn recovery(&self) -> Option<[u8; 32]> {
        <[u8; 32]>::try_from(self.recovery_key.as_slice()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_counted_while_they_are_read() {
        let with = |count| codec::encode(&Settings { relays: vec![Opaque::default(); count], ..Settings::default() });
        assert_eq!(Settings::parse(&with(limits::RELAYS)).map(|s| s.relays.len()), Ok(limits::RELAYS));
        // Refused by the decoder: four million empty ones are never held at once.
        for count in [limits::RELAYS + 1, 4_000_000] {
            assert!(matches!(Settings::parse(&with(count)), Err(DecodeError::Malformed { .. })), "{count}");
        }
    }
}
