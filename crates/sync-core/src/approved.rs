//! The algorithms of suite 2, each a few lines over aws-lc: AES-256-GCM, HKDF, ECDH over P-256, ML-KEM-768. FIPS approves each of
//! them; that says nothing of this module, or of how it is built.
//!
//! They are public so that test vectors run against the very functions that envelopes and pairing use.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use mls_rs::CipherSuite;
use mls_rs_crypto_awslc::MlKemKem;
use mls_rs_crypto_traits::KemType;
use zeroize::Zeroizing;

/// An uncompressed point of P-256: `04`, x and y (SEC 1 §2.3.3).
pub const P256_PUBLIC_BYTES: usize = 65;

/// Seals with AES-256-GCM (SP 800-38D): ciphertext and tag.
///
/// # Panics
/// If the plaintext is longer than the 64 GiB that one nonce may cover.
pub fn aes256gcm_seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plaintext.len() + 16);
    sealed.extend_from_slice(plaintext);
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut sealed)
        .expect("sealing fails only beyond 64 GiB");
    sealed
}

/// Opens what [`aes256gcm_seal`] made; `None` where it is altered.
pub fn aes256gcm_open(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut opened = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key).open_in_place(nonce, Aad::from(aad), &mut opened).ok()?.len();
    opened.truncate(length);
    Some(opened)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length"))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand with SHA-256 (RFC 5869 §2.3) of a pseudorandom key; `info` in parts, nothing between.
pub fn hkdf_expand(prk: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Prk::new_less_safe(HKDF_SHA256, prk)
        .expand(info, Length(key.len()))
        .and_then(|okm| okm.fill(&mut *key))
        .expect("32 bytes are far below HKDF's bound");
    key
}

/// The P-256 public key of a secret scalar, big-endian. `None` where that is zero, or not below the order of the group.
pub fn p256_public(secret: &[u8; 32]) -> Option<[u8; P256_PUBLIC_BYTES]> {
    let key = PrivateKey::from_private_key(&ECDH_P256, secret).ok()?;
    key.compute_public_key().ok()?.as_ref().try_into().ok()
}

/// ECDH over P-256 (SP 800-56A): the x coordinate of the shared point. `None` where `public` is no uncompressed point of the
/// curve: as its order is prime, none but zero, which has no such form, is of small order.
pub fn p256(secret: &[u8; 32], public: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if public.len() != P256_PUBLIC_BYTES || public[0] != 4 {
        return None;
    }
    let key = PrivateKey::from_private_key(&ECDH_P256, secret).ok()?;
    let copied = |shared: &[u8]| shared.try_into().map(Zeroizing::new).map_err(|_| ());
    agree(&key, UnparsedPublicKey::new(&ECDH_P256, public), (), copied).ok()
}

fn mlkem768(seed: &[u8; 64]) -> (Zeroizing<Vec<u8>>, Vec<u8>) {
    let kem = MlKemKem::new(CipherSuite::ML_KEM_768).expect("aws-lc has ML-KEM-768");
    let (secret, public) = kem.generate_deterministic(seed).expect("every 64 bytes are a seed");
    (Zeroizing::new(secret.as_ref().to_vec()), public.as_ref().to_vec())
}

/// The ML-KEM-768 encapsulation key that belongs to a seed `d ‖ z` (FIPS 203, algorithm 16).
pub fn mlkem768_public(seed: &[u8; 64]) -> Vec<u8> {
    mlkem768(seed).1
}

/// Encapsulates with ML-KEM-768 (FIPS 203, algorithm 20), with randomness of aws-lc's own: ciphertext and shared secret. `None`
/// where `public` is no valid encapsulation key (§7.2: length and modulus).
pub fn mlkem768_encapsulate(public: &[u8]) -> Option<(Vec<u8>, Zeroizing<[u8; 32]>)> {
    let (ciphertext, shared) = EncapsulationKey::new(&ML_KEM_768, public).ok()?.encapsulate().ok()?;
    Some((ciphertext.as_ref().to_vec(), Zeroizing::new(shared.as_ref().try_into().ok()?)))
}

/// Decapsulates with ML-KEM-768 (FIPS 203, algorithm 21). An altered ciphertext gives another secret, not an error; `None` only
/// where its length is wrong.
pub fn mlkem768_decapsulate(ciphertext: &[u8], seed: &[u8; 64]) -> Option<Zeroizing<[u8; 32]>> {
    let key = DecapsulationKey::new(&ML_KEM_768, &mlkem768(seed).0).ok()?;
    let shared = key.decapsulate(Ciphertext::from(ciphertext)).ok()?;
    Some(Zeroizing::new(shared.as_ref().try_into().ok()?))
}
