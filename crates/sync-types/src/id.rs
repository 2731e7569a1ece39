//! Identifiers. Each is its own type, so that one is never taken for another.

use data_encoding::HEXLOWER;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The id's length in bytes.
            pub const LEN: usize = $bytes;

            /// The id behind these bytes, if they are as many as an id has.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The id's bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|b| Self::from_slice(&b))
                    .ok_or(InvalidId { expected: $bytes * 2 })
            }
        }
    };
}

/// A text that is not the lower-case hexadecimal form of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id here is {expected} hexadecimal digits in lower case")]
pub struct InvalidId {
    /// How many digits the id has.
    pub expected: usize,
}

id! {
    /// A group: 32 random bytes, drawn by its founder. It is the MLS group id too, and no secret.
    GroupId, 32
}
id! {
    /// A device within a group: the first 16 bytes of a labelled hash of its Ed25519 public key in that group.
    DeviceId, 16
}
id! {
    /// What an app pushed: 16 bytes, drawn once in the push's transaction, so that a retry is never a second blob.
    BlobId, 16
}
id! {
    /// The labelled SHA-256 of an envelope's header, ciphertext hash and signature. It links a sender's chain.
    EntryHash, 32
}
id! {
    /// Sealed content: the BLAKE3 hash of its bytes, by which it is asked for and verified.
    ContentHash, 32
}

impl BlobId {
    /// The id that follows: the id read as one big-endian number, plus one. Blobs pushed in one transaction take
    /// consecutive ids from one random draw, so that an envelope names them with one bit each.
    pub fn next(self) -> Self {
        Self(u128::from_be_bytes(self.0).wrapping_add(1).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse() {
        let id = DeviceId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("AB".parse::<DeviceId>(), Err(InvalidId { expected: 32 }));
        assert_eq!(format!("{id:?}"), "DeviceId(abababab)");
    }

    #[test]
    fn the_next_blob_id_carries() {
        let mut bytes = [0xff; 16];
        assert_eq!(BlobId(bytes).next(), BlobId([0; 16]));
        bytes[15] = 0;
        let mut next = bytes;
        next[15] = 1;
        assert_eq!(BlobId(bytes).next(), BlobId(next));
    }
}
