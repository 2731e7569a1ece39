//! The functions beneath the Noise handshake, each a few lines over its reviewed crate.
//!
//! They are public so that test vectors run against the very functions that pairing uses.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use ml_kem::kem::{Decapsulate, FromSeed, KeyExport, TryKeyInit};
use ml_kem::{MlKem768, ml_kem_768};
use sha2::{Digest, Sha256};
use sync_rules::Defence;
use sync_rules::defence::stands;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// An ML-KEM-768 encapsulation key's length in bytes (FIPS 203, table 3).
pub const MLKEM_PUBLIC_BYTES: usize = 1184;
/// An ML-KEM-768 ciphertext's length in bytes (FIPS 203, table 3).
pub const MLKEM_CIPHERTEXT_BYTES: usize = 1088;
/// The seed `d ‖ z` that stands for an ML-KEM decapsulation key, in bytes (FIPS 203 §7.1).
pub const MLKEM_SEED_BYTES: usize = 64;
/// The tag of ChaCha20-Poly1305, in bytes.
pub const TAG_BYTES: usize = 16;

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The X25519 public key of a secret key (RFC 7748 §5).
pub fn x25519_public(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// X25519 (RFC 7748 §6.1), or `None` where the result is all zero: then the peer sent a point of small order, and the
/// result would hang on nothing of ours.
pub fn x25519(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*public));
    let counts = shared.was_contributory() || !stands(Defence::DhPoints);
    counts.then(|| Zeroizing::new(shared.to_bytes()))
}

/// The ML-KEM-768 encapsulation key that belongs to a seed (FIPS 203, algorithm 16).
pub fn mlkem768_public(seed: &[u8; MLKEM_SEED_BYTES]) -> Vec<u8> {
    let (_, public) = MlKem768::from_seed(&(*seed).into());
    public.to_bytes().to_vec()
}

/// Encapsulates with ML-KEM-768 under the 32 random bytes `m` (FIPS 203, algorithm 17): ciphertext and shared secret.
/// `None` where `public` is no valid encapsulation key (§7.2: length and modulus).
pub fn mlkem768_encapsulate(public: &[u8], m: &[u8; 32]) -> Option<(Vec<u8>, Zeroizing<[u8; 32]>)> {
    let key = ml_kem_768::EncapsulationKey::new_from_slice(public).ok()?;
    let (ciphertext, shared) = key.encapsulate_deterministic(&(*m).into());
    Some((ciphertext.to_vec(), Zeroizing::new(shared.into())))
}

/// Decapsulates with ML-KEM-768 (FIPS 203, algorithm 18). An altered ciphertext gives another secret, not an error;
/// `None` only where its length is wrong.
pub fn mlkem768_decapsulate(ciphertext: &[u8], seed: &[u8; MLKEM_SEED_BYTES]) -> Option<Zeroizing<[u8; 32]>> {
    let (secret, _) = MlKem768::from_seed(&(*seed).into());
    let shared = secret.decapsulate_slice(ciphertext).ok()?;
    Some(Zeroizing::new(shared.into()))
}

/// Seals with ChaCha20-Poly1305 (RFC 8439 §2.8): ciphertext and tag.
///
/// # Panics
/// If the plaintext is longer than the 256 GiB that one nonce may cover.
pub fn chacha20poly1305_seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.into())
        .encrypt(nonce.into(), Payload { msg: plaintext, aad })
        .expect("sealing fails only beyond 256 GiB")
}

/// Opens what [`chacha20poly1305_seal`] made; `None` where it is altered.
pub fn chacha20poly1305_open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let plaintext = ChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), Payload { msg: sealed, aad });
    plaintext.ok().map(Zeroizing::new)
}
