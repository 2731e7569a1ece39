//! Sealing content in chunks: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", 2015), as `STREAM-BE32`, over XChaCha20-Poly1305 in suite 1 and AES-256-GCM in suite 2.
//!
//! Each content has a random key of its own, from which HKDF-SHA256 derives the cipher's key and the nonces' prefix. A chunk's
//! nonce is that prefix, the chunk's number in four bytes, and one byte that says whether it is the last. So no chunk opens in
//! another place, and the last one tells that nothing was cut off.

use std::fmt;

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hkdf::Hkdf;
use sha2::Sha256;
use sync_types::{LABEL_PREFIX, Suite};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ContentError;

/// How many bytes of content a chunk holds; the last one may hold fewer.
pub const PLAIN_CHUNK: usize = SEALED_CHUNK - TAG;
/// How many bytes a sealed chunk has: four of the groups of 16 KiB by which content is verified while it is handed over.
pub const SEALED_CHUNK: usize = 64 * 1024;
/// The largest content, in bytes: 16 TiB.
pub const SIZE_MAX: u64 = 1 << 44;

const TAG: usize = 16;
/// The least that is sealed, padding included, in bytes.
const PADDED_MIN: u64 = 256;
const XCHACHA_PREFIX: usize = 19;
const GCM_PREFIX: usize = 7;

/// The key of one content.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ContentKey([u8; 32]);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(…)")
    }
}

impl ContentKey {
    /// A random key.
    ///
    /// # Errors
    /// [`ContentError::Io`] if the system gives no randomness.
    pub fn generate() -> Result<Self, ContentError> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(|e| std::io::Error::other(format!("no randomness: {e}")))?;
        Ok(key)
    }

    /// The key that an envelope told.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What an envelope tells the group's members.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How many bytes are sealed of content of this size: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files
/// and Communication with PURBs", §4), 256 at least. Adds 12 % at the most, and less the larger the content is.
pub fn padded_size(size: u64) -> u64 {
    if size <= PADDED_MIN {
        return PADDED_MIN;
    }
    let exponent = size.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - kept)) - 1;
    size.saturating_add(mask) & !mask
}

/// How many bytes sealed content has: what whoever keeps it or hands it over sees of it.
pub fn sealed_size(size: u64) -> u64 {
    let padded = padded_size(size);
    padded.saturating_add(padded.div_ceil(PLAIN_CHUNK as u64) * TAG as u64)
}

enum Cipher {
    XChaCha(Box<StreamBE32<XChaCha20Poly1305>>),
    Gcm { key: LessSafeKey, prefix: [u8; GCM_PREFIX] },
}

/// The chunks of one content, each of which is sealed and opened by itself.
pub struct Chunks {
    cipher: Cipher,
    size: u64,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({} bytes)", self.size)
    }
}

impl Chunks {
    /// The chunks of content of this size, in bytes.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] beyond [`SIZE_MAX`].
    pub fn new(key: &ContentKey, suite: Suite, size: u64) -> Result<Self, ContentError> {
        if size > SIZE_MAX {
            return Err(ContentError::TooLarge);
        }
        let cipher = match suite {
            Suite::XWing => {
                let mut derived = Zeroizing::new([0; 32 + XCHACHA_PREFIX]);
                let info = format!("{LABEL_PREFIX}content");
                Hkdf::<Sha256>::from_prk(&key.0)
                    .ok()
                    .and_then(|hkdf| hkdf.expand(info.as_bytes(), &mut *derived).ok())
                    .expect("32 bytes are a pseudorandom key, and 51 far below HKDF's bound");
                let (key, prefix) = derived.split_at(32);
                let cipher = XChaCha20Poly1305::new(key.try_into().expect("it was split there"));
                let prefix = prefix.try_into().expect("it was split there");
                Cipher::XChaCha(Box::new(StreamBE32::from_aead(cipher, prefix)))
            }
            Suite::Fips => {
                let mut derived = Zeroizing::new([0; 32 + GCM_PREFIX]);
                let info = format!("{LABEL_PREFIX}content key");
                Prk::new_less_safe(HKDF_SHA256, &key.0)
                    .expand(&[info.as_bytes()], Length(derived.len()))
                    .and_then(|okm| okm.fill(&mut *derived))
                    .expect("39 bytes are far below HKDF's bound");
                let (key, prefix) = derived.split_at(32);
                let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length");
                let prefix = prefix.try_into().expect("it was split there");
                Cipher::Gcm { key: LessSafeKey::new(key), prefix }
            }
        };
        Ok(Self { cipher, size })
    }

    /// How large the content is, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many chunks there are; at least one.
    pub fn count(&self) -> u32 {
        u32::try_from(padded_size(self.size).div_ceil(PLAIN_CHUNK as u64)).expect("16 TiB are fewer than 2^32 chunks")
    }

    /// How many bytes of content and how many of padding a chunk holds.
    fn lengths(&self, number: u32) -> (usize, usize) {
        let (start, padded) = (u64::from(number) * PLAIN_CHUNK as u64, padded_size(self.size));
        let within =
            |end: u64| usize::try_from(end.saturating_sub(start).min(PLAIN_CHUNK as u64)).unwrap_or(PLAIN_CHUNK);
        let content = within(self.size);
        (content, within(padded) - content)
    }

    /// How many bytes of content are in a chunk: none, where it is all padding.
    pub fn content_len(&self, number: u32) -> usize {
        self.lengths(number).0
    }

    /// How many bytes a chunk has when it is sealed.
    pub fn sealed_len(&self, number: u32) -> usize {
        let (content, padding) = self.lengths(number);
        content + padding + TAG
    }

    fn is_last(&self, number: u32) -> bool {
        number + 1 == self.count()
    }

    /// Seals a chunk in its place.
    ///
    /// # Panics
    /// If there is no such chunk, or `chunk` holds other than [`Chunks::content_len`] bytes.
    pub fn seal(&self, number: u32, chunk: &mut Vec<u8>) {
        let (content, padding) = self.lengths(number);
        assert!(number < self.count() && chunk.len() == content, "a chunk is sealed with what belongs into it");
        chunk.resize(content + padding, 0);
        let last = self.is_last(number);
        match &self.cipher {
            Cipher::XChaCha(stream) => {
                stream.encrypt_in_place(number, last, &[], chunk).expect("a chunk is far below the cipher's limit");
            }
            Cipher::Gcm { key, prefix } => key
                .seal_in_place_append_tag(nonce(prefix, number, last), Aad::empty(), chunk)
                .expect("a chunk is far below the cipher's limit"),
        }
    }

    /// Opens a chunk in its place, and leaves the content that was in it.
    ///
    /// # Errors
    /// [`ContentError::Dishonest`] where it is none that [`Chunks::seal`] made of this content, in this place.
    pub fn open(&self, number: u32, chunk: &mut Vec<u8>) -> Result<(), ContentError> {
        if number >= self.count() || chunk.len() != self.sealed_len(number) {
            return Err(ContentError::Dishonest("it is not as long as was said"));
        }
        let last = self.is_last(number);
        let opened = match &self.cipher {
            Cipher::XChaCha(stream) => stream.decrypt_in_place(number, last, &[], chunk).is_ok(),
            Cipher::Gcm { key, prefix } => {
                let opened = key.open_in_place(nonce(prefix, number, last), Aad::empty(), chunk).is_ok();
                chunk.truncate(chunk.len() - TAG);
                opened
            }
        };
        if !opened {
            chunk.zeroize();
            return Err(ContentError::Dishonest("it does not open"));
        }
        let content = self.content_len(number);
        if chunk[content..].iter().any(|byte| *byte != 0) {
            chunk.zeroize();
            return Err(ContentError::Dishonest("its padding is not empty"));
        }
        chunk.truncate(content);
        Ok(())
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn nonce(prefix: &[u8; GCM_PREFIX], number: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..GCM_PREFIX].copy_from_slice(prefix);
    nonce[GCM_PREFIX..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = last.into();
    Nonce::assume_unique_for_key(nonce)
}
