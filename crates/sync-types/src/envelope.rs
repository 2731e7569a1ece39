//! Envelopes: one signed, encrypted, padded packet of one device.
//!
//! ```text
//! envelope = header (99 bytes) ‖ ciphertext<V> ‖ signature (64 bytes)
//! ```
//! The header's fields stand in the order of [`Header`]. What is signed and hashed are the bytes that travelled, so a
//! parsed [`Envelope`] borrows them; what they commit to is stated in `sync-rules`.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize, VarInt};

use crate::{Code, DecodeError, DeviceId, EntryHash, Suite, VERSION, codec, limits};

/// What an envelope is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Class {
    /// Blobs of the app. Part of its sender's chain.
    Data = 1u8,
    /// Messages between the devices' engines. Part of its sender's chain.
    Control = 2u8,
    /// Presence: live only, never stored, outside the chain (seq 0, previous all zero).
    Ephemeral = 3u8,
}

/// The readable part of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Header {
    /// The protocol's version, [`VERSION`].
    pub version: u8,
    /// The group's cipher suite.
    pub suite: u8,
    /// What the envelope is for.
    pub class: Class,
    /// The MLS epoch whose key seals it.
    pub epoch: u64,
    /// The first 8 bytes of that epoch's authenticator, so that a fork shows.
    pub epoch_tag: [u8; 8],
    /// Who sealed it.
    pub sender: DeviceId,
    /// The sender's number of it, from 1, without holes; 0 in ephemeral ones.
    pub seq: u64,
    /// The hash of the sender's envelope before; zero in the first and in ephemeral ones.
    pub previous: EntryHash,
    /// Fresh random bytes: the nonce of XChaCha20-Poly1305; in suite 2 half of them for a key of its own, half as GCM's nonce.
    pub nonce: [u8; 24],
}

impl Header {
    /// The length of a header in bytes.
    pub const LEN: usize = 3 + 8 + 8 + DeviceId::LEN + 8 + EntryHash::LEN + 24;

    /// Reads a header and checks what can be checked without keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() < 2 {
            return Err(EnvelopeError::Malformed("it is shorter than a header"));
        }
        if bytes[0] != VERSION {
            return Err(EnvelopeError::Version(bytes[0]));
        }
        Suite::from_wire(bytes[1]).map_err(|_| EnvelopeError::Suite(bytes[1]))?;
        let header: Self = codec::decode(bytes)?;
        if header.seq >= limits::NUMBER || header.epoch >= limits::NUMBER {
            return Err(EnvelopeError::Malformed("a number beyond its bound"));
        }
        let chained = header.class != Class::Ephemeral;
        let first = header.previous == EntryHash::default();
        if chained && (header.seq == 0 || (header.seq == 1) != first) {
            return Err(EnvelopeError::Malformed("its number does not fit its place in the chain"));
        }
        if !chained && (header.seq != 0 || !first) {
            return Err(EnvelopeError::Malformed("an ephemeral envelope is outside the chain"));
        }
        Ok(header)
    }
}

/// Why bytes are not an envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Another protocol version.
    #[error("the envelope is of protocol version {0}, which this build does not speak")]
    Version(u8),
    /// Another cipher suite.
    #[error("the envelope is of cipher suite {0}, which this build does not have")]
    Suite(u8),
    /// More bytes than [`limits::ENVELOPE_BYTES`].
    #[error("the envelope has {0} bytes, more than the limit")]
    TooLarge(usize),
    /// Not the format.
    #[error("the envelope is malformed: {0}")]
    Malformed(&'static str),
    /// Not the format, as the decoder says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl EnvelopeError {
    /// The error code for the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::Version(_) => Code::Version,
            Self::Suite(_) => Code::Suite,
            Self::TooLarge(_) => Code::TooLarge,
            Self::Malformed(_) | Self::Decode(_) => Code::Protocol,
        }
    }
}

/// A parsed envelope that borrows the bytes it travelled as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The header, read.
    pub header: Header,
    /// The header's bytes: what is signed and what the AEAD binds.
    pub header_bytes: &'a [u8],
    /// The sealed body with its 16-byte tag.
    pub ciphertext: &'a [u8],
    /// The sender's Ed25519 signature.
    pub signature: &'a [u8; 64],
}

impl<'a> Envelope<'a> {
    /// Reads an envelope strictly: all bytes, one form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > limits::ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let (header_bytes, mut rest) =
            bytes.split_at_checked(Header::LEN).ok_or(EnvelopeError::Malformed("it is shorter than a header"))?;
        let header = Header::parse(header_bytes)?;
        let length = VarInt::mls_decode(&mut rest)
            .map(|v| u32::from(v) as usize)
            .map_err(|_| EnvelopeError::Malformed("the length of its ciphertext"))?;
        let (ciphertext, signature) =
            rest.split_at_checked(length).ok_or(EnvelopeError::Malformed("it ends within its ciphertext"))?;
        let signature = signature.try_into().map_err(|_| EnvelopeError::Malformed("its signature is not 64 bytes"))?;
        if ciphertext.len() < limits::PADDED_MIN_BYTES + 16 {
            return Err(EnvelopeError::Malformed("its ciphertext is shorter than the least padding"));
        }
        Ok(Self { header, header_bytes, ciphertext, signature })
    }

    /// Puts an envelope together from its parts.
    pub fn assemble(header_bytes: &[u8], ciphertext: &[u8], signature: &[u8; 64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(header_bytes.len() + 4 + ciphertext.len() + 64);
        out.extend_from_slice(header_bytes);
        let length = VarInt::try_from(ciphertext.len()).expect("a ciphertext is bounded far below 2^30 bytes");
        length.mls_encode(&mut out).expect("a length in range encodes");
        out.extend_from_slice(ciphertext);
        out.extend_from_slice(signature);
        out
    }
}

/// The padded length of a plaintext, in bytes: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
/// Communication with PURBs", §4), and [`limits::PADDED_MIN_BYTES`] at least.
pub fn padded_len(len: usize) -> usize {
    if len <= limits::PADDED_MIN_BYTES {
        return limits::PADDED_MIN_BYTES;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - kept)) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: VERSION,
            suite: Suite::XWing as u8,
            class: Class::Data,
            epoch: 7,
            epoch_tag: [1; 8],
            sender: DeviceId([2; 16]),
            seq: 2,
            previous: EntryHash([3; 32]),
            nonce: [4; 24],
        }
    }

    #[test]
    fn an_envelope_reads_back_and_every_cut_is_refused() {
        let header = header();
        let header_bytes = codec::encode(&header);
        assert_eq!(header_bytes.len(), Header::LEN);
        let bytes = Envelope::assemble(&header_bytes, &[9; 272], &[8; 64]);
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.header, header);
        assert_eq!((envelope.ciphertext.len(), envelope.signature), (272, &[8; 64]));
        for end in 0..bytes.len() {
            assert!(Envelope::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(Envelope::parse(&long).is_err());
        assert_eq!(bytes.len(), 437);
    }

    #[test]
    fn other_versions_suites_and_places_are_refused() {
        let wrong = |change: fn(&mut Header)| {
            let mut h = header();
            change(&mut h);
            Header::parse(&codec::encode(&h)).unwrap_err()
        };
        assert_eq!(wrong(|h| h.version = 2).code(), Code::Version);
        assert_eq!(wrong(|h| h.suite = 9).code(), Code::Suite);
        assert_eq!(wrong(|h| h.seq = 0).code(), Code::Protocol);
        assert_eq!(wrong(|h| h.seq = 1).code(), Code::Protocol);
        assert_eq!(wrong(|h| h.class = Class::Ephemeral).code(), Code::Protocol);
        assert_eq!(wrong(|h| h.seq = u64::MAX).code(), Code::Protocol);
        assert_eq!(wrong(|h| h.epoch = u64::MAX).code(), Code::Protocol);
    }

    #[test]
    fn padding_never_shrinks_and_costs_little() {
        for len in (0..70_000).chain([262_144, 1_048_576, 1_048_577]) {
            let padded = padded_len(len);
            assert!(padded >= len && padded >= 256);
            assert!(len <= 256 || (padded - len) * 16 <= len, "{len} → {padded}");
        }
    }
}
