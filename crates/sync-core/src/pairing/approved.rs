//! What clatter asks of suite 2, over [`crate::approved`].

use clatter::KeyPair;
use clatter::bytearray::{ByteArray, HeapArray};
use clatter::error::{CipherError, CipherResult, DhError, DhResult, KemError, KemResult};
use clatter::traits::{Cipher, CryptoComponent, Dh, Kem, Rng};
use zeroize::Zeroizing;

use super::adapters::{KemKeys, Secret};
use super::primitives;
use crate::approved;

/// ECDH over P-256. A public key is an uncompressed point; the result is its x coordinate.
#[derive(Clone)]
pub(super) struct P256;

impl CryptoComponent for P256 {
    fn name() -> &'static str {
        "P256"
    }
}

/// A pair of P-256 keys.
pub(super) type P256Keys = KeyPair<<P256 as Dh>::PubKey, <P256 as Dh>::PrivateKey>;

impl P256 {
    /// Draws until the number is a scalar (FIPS 186-5 §A.2.2): the first is none once in 2³².
    pub(super) fn draw(mut fill: impl FnMut(&mut [u8; 32])) -> P256Keys {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            fill(&mut secret);
            if let Some(public) = approved::p256_public(&secret) {
                return KeyPair::new(HeapArray::from_slice(&public), Secret::new(*secret));
            }
        }
    }
}

impl Dh for P256 {
    type PrivateKey = Secret<32>;
    type PubKey = HeapArray<{ approved::P256_PUBLIC_BYTES }>;
    type Output = Secret<32>;

    fn genkey_rng<R: Rng>(rng: &mut R) -> DhResult<P256Keys> {
        Ok(Self::draw(|secret| rng.fill_bytes(secret)))
    }

    fn pubkey(secret: &Self::PrivateKey) -> Self::PubKey {
        let public = approved::p256_public(secret).expect("a key that was drawn is a scalar");
        HeapArray::from_slice(&public)
    }

    fn dh(secret: &Self::PrivateKey, public: &Self::PubKey) -> DhResult<Self::Output> {
        let shared = approved::p256(secret, public.as_slice()).ok_or(DhError::KeyGeneration)?;
        Ok(Secret::new(*shared))
    }
}

/// ML-KEM-768 of aws-lc, with the seed as secret key. It draws its own randomness when it encapsulates.
#[derive(Clone)]
pub(super) struct AwsMlKem;

impl CryptoComponent for AwsMlKem {
    fn name() -> &'static str {
        "MLKEM768"
    }
}

impl AwsMlKem {
    pub(super) fn keys(seed: [u8; primitives::MLKEM_SEED_BYTES]) -> KemKeys {
        KeyPair::new(HeapArray::from_slice(&approved::mlkem768_public(&seed)), Secret::new(seed))
    }
}

impl Kem for AwsMlKem {
    type SecretKey = Secret<{ primitives::MLKEM_SEED_BYTES }>;
    type PubKey = HeapArray<{ primitives::MLKEM_PUBLIC_BYTES }>;
    type Ct = HeapArray<{ primitives::MLKEM_CIPHERTEXT_BYTES }>;
    type Ss = Secret<32>;

    fn genkey_rng<R: Rng>(rng: &mut R) -> KemResult<KemKeys> {
        let mut seed = [0; primitives::MLKEM_SEED_BYTES];
        rng.fill_bytes(&mut seed);
        Ok(Self::keys(seed))
    }

    fn encapsulate<R: Rng>(public: &[u8], _: &mut R) -> KemResult<(Self::Ct, Self::Ss)> {
        let (ciphertext, shared) = approved::mlkem768_encapsulate(public).ok_or(KemError::Input)?;
        Ok((HeapArray::from_slice(&ciphertext), Secret::new(*shared)))
    }

    fn decapsulate(ciphertext: &[u8], seed: &[u8]) -> KemResult<Self::Ss> {
        let seed = seed.try_into().map_err(|_| KemError::Input)?;
        let shared = approved::mlkem768_decapsulate(ciphertext, seed).ok_or(KemError::Decapsulation)?;
        Ok(Secret::new(*shared))
    }
}

/// AES-256-GCM with Noise's nonce: four zero bytes, then the counter in big-endian order (Noise rev. 34 §12.4).
#[derive(Clone)]
pub(super) struct AesGcm;

impl CryptoComponent for AesGcm {
    fn name() -> &'static str {
        "AESGCM"
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl Cipher for AesGcm {
    type Key = Secret<32>;

    fn tag_len() -> usize {
        primitives::TAG_BYTES
    }

    fn encrypt(key: &Self::Key, n: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> CipherResult<()> {
        let sealed = approved::aes256gcm_seal(key, &nonce(n), ad, plaintext);
        out.get_mut(..sealed.len()).ok_or(CipherError::Encrypt)?.copy_from_slice(&sealed);
        Ok(())
    }

    fn encrypt_in_place(key: &Self::Key, n: u64, ad: &[u8], io: &mut [u8], len: usize) -> CipherResult<usize> {
        let sealed = approved::aes256gcm_seal(key, &nonce(n), ad, io.get(..len).ok_or(CipherError::Encrypt)?);
        io.get_mut(..sealed.len()).ok_or(CipherError::Encrypt)?.copy_from_slice(&sealed);
        Ok(sealed.len())
    }

    fn decrypt(key: &Self::Key, n: u64, ad: &[u8], sealed: &[u8], out: &mut [u8]) -> CipherResult<()> {
        let plaintext = approved::aes256gcm_open(key, &nonce(n), ad, sealed).ok_or(CipherError::Decrypt)?;
        out.get_mut(..plaintext.len()).ok_or(CipherError::Decrypt)?.copy_from_slice(&plaintext);
        Ok(())
    }

    fn decrypt_in_place(key: &Self::Key, n: u64, ad: &[u8], io: &mut [u8], len: usize) -> CipherResult<usize> {
        let sealed = io.get(..len).ok_or(CipherError::Decrypt)?;
        let plaintext = approved::aes256gcm_open(key, &nonce(n), ad, sealed).ok_or(CipherError::Decrypt)?;
        io[..plaintext.len()].copy_from_slice(&plaintext);
        Ok(plaintext.len())
    }
}
