//! What is on a disk: a device's secrets and blobs under a vault key ([`Sealer`]), that key under what a person or a system
//! keeps ([`LockedKey`]), and the backup file ([`backup`]). No file is opened here, and nothing is drawn.
//!
//! A vault key is random. A passphrase only ever unwraps it, so a new passphrase, or a move to a keychain, writes 150 bytes
//! and no row anew.

pub mod backup;
mod cell;
mod error;
mod kdf;
mod locked;

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

pub use cell::{CELL_OVERHEAD, Cell, CellError, Sealer};
pub use error::VaultError;
pub use kdf::{Kdf, Passphrase};
pub use locked::{Kind, Lock, LockedKey, Unlock};

/// A nonce of XChaCha20-Poly1305, random each time.
pub type Nonce = [u8; 24];

/// A random key: what seals a device's rows or a backup, or what a keychain holds to unwrap such a one. Erased when dropped,
/// and never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct VaultKey([u8; 32]);

impl VaultKey {
    /// Takes 32 bytes from a cryptographic generator, or from where they are kept.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key behind bytes that were kept, if they are as many as a key has.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// HKDF-Expand (RFC 5869 §2.3) under a label that has its prefix already.
    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::from_prk(&self.0)
            .expect("a key of 32 bytes is as long as SHA-256's output")
            .expand(label.as_bytes(), &mut *key)
            .expect("32 bytes are far below HKDF's bound");
        key
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(…)")
    }
}
