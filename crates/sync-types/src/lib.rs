//! What travels and what it is called: ids, wire frames, envelopes, error codes, limits and versions of 0k-Sync.
//!
//! This crate does no I/O, holds no keys and calls no cryptography. Every other crate of the workspace builds on it, so
//! that the client and the relay read each byte the same way.
//!
//! Formats are written in the presentation language of TLS as MLS uses it (RFC 9420 §2.1): big-endian integers, vectors
//! behind a variable-size length in its shortest form. [`codec::decode`] accepts one encoding of each value and no other.

pub mod address;
pub mod body;
pub mod codec;
pub mod content;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod id;
pub mod limits;
pub mod link;
pub mod settings;
pub mod short_code;
pub mod wake;

pub use address::RelayAddress;
pub use codec::{DecodeError, Opaque, decode, encode};
pub use content::Sealed;
pub use envelope::{Class, Envelope, Header};
pub use error::{Code, Fault};
pub use id::{BlobId, ContentHash, DeviceId, EntryHash, GroupId};
pub use short_code::{Invitation, InvitationError, ShortCode, ShortCodeError};
pub use wake::WakeTarget;

/// The protocol version that stands in every header and handshake. An unknown one is an error, never a fallback.
pub const VERSION: u8 = 1;

/// What a group's cryptography is made of. Chosen when the group is made, and the same for all of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Suite {
    /// MLS with X-Wing (ML-KEM-768 and X25519), envelopes with XChaCha20-Poly1305, SHA-256, Ed25519.
    XWing = 1,
    /// FIPS-approved algorithms: MLS with ML-KEM-768 and P-256, envelopes with AES-256-GCM, SHA-256, Ed25519, all of aws-lc.
    Fips = 2,
}

impl Suite {
    /// The suite of the groups that this build founds: 2 with the feature `fips`, otherwise 1.
    pub const FOUNDED: Self = if cfg!(feature = "fips") { Self::Fips } else { Self::XWing };

    /// The suites that devices of this build take part in: with the feature `fips`, none of algorithms that are not approved.
    /// Relays, which hold no keys, follow groups of any.
    pub const OURS: &'static [Self] = if cfg!(feature = "fips") { &[Self::Fips] } else { &[Self::XWing, Self::Fips] };

    /// The suite that stands behind a number on the wire, or [`Code::Suite`].
    pub fn from_wire(number: u8) -> Result<Self, Code> {
        match number {
            1 => Ok(Self::XWing),
            2 => Ok(Self::Fips),
            _ => Err(Code::Suite),
        }
    }

    /// Whether devices of this build take part in groups of this suite.
    pub fn is_ours(self) -> bool {
        Self::OURS.contains(&self)
    }
}

/// The ALPN protocol name of the connection between a device and a relay.
pub const ALPN: &[u8] = b"0ksync/1";

/// What every label of a hash, a signature or a derivation begins with.
pub const LABEL_PREFIX: &str = "0ksync/1 ";
