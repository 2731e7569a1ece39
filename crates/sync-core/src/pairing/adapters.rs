//! What clatter asks of a cipher suite, over [`super::primitives`]. clatter's own adapters would bring older versions of
//! the same crates, ML-KEM without key validation among them.

use std::cell::Cell;

use aws_lc_rs::digest::{Context, SHA256};
use clatter::KeyPair;
use clatter::bytearray::{ByteArray, HeapArray, SensitiveByteArray};
use clatter::error::{CipherError, CipherResult, DhError, DhResult, KemError, KemResult};
use clatter::rand_core as rand_core_06;
use clatter::traits::{Cipher, CryptoComponent, Dh, Hash, Kem, Rng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::primitives;

pub(super) type Secret<const N: usize> = SensitiveByteArray<[u8; N]>;

/// ML-KEM-768 with the seed as secret key.
#[derive(Clone)]
pub(super) struct MlKem;

impl CryptoComponent for MlKem {
    fn name() -> &'static str {
        "MLKEM768"
    }
}

impl MlKem {
    pub(super) fn keys(seed: [u8; primitives::MLKEM_SEED_BYTES]) -> KemKeys {
        KeyPair::new(HeapArray::from_slice(&primitives::mlkem768_public(&seed)), Secret::new(seed))
    }
}

/// A pair of ML-KEM keys.
pub(super) type KemKeys = KeyPair<<MlKem as Kem>::PubKey, <MlKem as Kem>::SecretKey>;

impl Kem for MlKem {
    type SecretKey = Secret<{ primitives::MLKEM_SEED_BYTES }>;
    type PubKey = HeapArray<{ primitives::MLKEM_PUBLIC_BYTES }>;
    type Ct = HeapArray<{ primitives::MLKEM_CIPHERTEXT_BYTES }>;
    type Ss = Secret<32>;

    fn genkey_rng<R: Rng>(rng: &mut R) -> KemResult<KemKeys> {
        let mut seed = [0; primitives::MLKEM_SEED_BYTES];
        rng.fill_bytes(&mut seed);
        Ok(Self::keys(seed))
    }

    fn encapsulate<R: Rng>(public: &[u8], rng: &mut R) -> KemResult<(Self::Ct, Self::Ss)> {
        let mut m = [0; 32];
        rng.fill_bytes(&mut m);
        let made = primitives::mlkem768_encapsulate(public, &m);
        m.zeroize();
        let (ciphertext, shared) = made.ok_or(KemError::Input)?;
        Ok((HeapArray::from_slice(&ciphertext), Secret::new(*shared)))
    }

    fn decapsulate(ciphertext: &[u8], seed: &[u8]) -> KemResult<Self::Ss> {
        let seed = seed.try_into().map_err(|_| KemError::Input)?;
        let shared = primitives::mlkem768_decapsulate(ciphertext, seed).ok_or(KemError::Decapsulation)?;
        Ok(Secret::new(*shared))
    }
}

/// X25519 that refuses an all-zero result.
#[derive(Clone)]
pub(super) struct X25519;

impl CryptoComponent for X25519 {
    fn name() -> &'static str {
        "25519"
    }
}

impl X25519 {
    pub(super) fn keys(secret: [u8; 32]) -> DhKeys {
        KeyPair::new(primitives::x25519_public(&secret), Secret::new(secret))
    }
}

/// A pair of X25519 keys.
pub(super) type DhKeys = KeyPair<<X25519 as Dh>::PubKey, <X25519 as Dh>::PrivateKey>;

impl Dh for X25519 {
    type PrivateKey = Secret<32>;
    type PubKey = [u8; 32];
    type Output = Secret<32>;

    fn genkey_rng<R: Rng>(rng: &mut R) -> DhResult<DhKeys> {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Ok(Self::keys(secret))
    }

    fn pubkey(secret: &Self::PrivateKey) -> Self::PubKey {
        primitives::x25519_public(secret)
    }

    fn dh(secret: &Self::PrivateKey, public: &Self::PubKey) -> DhResult<Self::Output> {
        // clatter has no other variant; `noise::Error` tells this case by where it happens.
        let shared = primitives::x25519(secret, public).ok_or(DhError::KeyGeneration)?;
        Ok(Secret::new(*shared))
    }
}

/// SHA-256.
#[derive(Clone)]
pub(super) struct Sha(Context);

impl Default for Sha {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl CryptoComponent for Sha {
    fn name() -> &'static str {
        "SHA256"
    }
}

impl Hash for Sha {
    type Block = [u8; 64];
    type Output = Secret<32>;

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(self) -> Self::Output {
        Secret::from_slice(self.0.finish().as_ref())
    }
}

/// ChaCha20-Poly1305 with Noise's nonce: four zero bytes, then the counter in little-endian order (Noise rev. 34 §12.3).
#[derive(Clone)]
pub(super) struct ChaChaPoly;

impl CryptoComponent for ChaChaPoly {
    fn name() -> &'static str {
        "ChaChaPoly"
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    type Key = Secret<32>;

    fn tag_len() -> usize {
        primitives::TAG_BYTES
    }

    fn encrypt(key: &Self::Key, n: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> CipherResult<()> {
        let sealed = primitives::chacha20poly1305_seal(key, &nonce(n), ad, plaintext);
        out.get_mut(..sealed.len()).ok_or(CipherError::Encrypt)?.copy_from_slice(&sealed);
        Ok(())
    }

    fn encrypt_in_place(key: &Self::Key, n: u64, ad: &[u8], io: &mut [u8], len: usize) -> CipherResult<usize> {
        let sealed = primitives::chacha20poly1305_seal(key, &nonce(n), ad, io.get(..len).ok_or(CipherError::Encrypt)?);
        io.get_mut(..sealed.len()).ok_or(CipherError::Encrypt)?.copy_from_slice(&sealed);
        Ok(sealed.len())
    }

    fn decrypt(key: &Self::Key, n: u64, ad: &[u8], sealed: &[u8], out: &mut [u8]) -> CipherResult<()> {
        let plaintext = primitives::chacha20poly1305_open(key, &nonce(n), ad, sealed).ok_or(CipherError::Decrypt)?;
        out.get_mut(..plaintext.len()).ok_or(CipherError::Decrypt)?.copy_from_slice(&plaintext);
        Ok(())
    }

    fn decrypt_in_place(key: &Self::Key, n: u64, ad: &[u8], io: &mut [u8], len: usize) -> CipherResult<usize> {
        let sealed = io.get(..len).ok_or(CipherError::Decrypt)?;
        let plaintext = primitives::chacha20poly1305_open(key, &nonce(n), ad, sealed).ok_or(CipherError::Decrypt)?;
        io[..plaintext.len()].copy_from_slice(&plaintext);
        Ok(plaintext.len())
    }
}

/// The random bytes of one handshake, or of one password exchange, drawn beforehand from the caller's generator and each handed out once.
///
/// clatter makes its generator by `Default` and lets nobody pass one in. So [`Drawn::lend`] lays the bytes down for the
/// one constructor call that it wraps, and `default` takes them from there. Keys are drawn outside and passed in, so
/// only encapsulations ask for bytes: each side makes at most two of 32 bytes.
#[derive(Clone, ZeroizeOnDrop)]
pub(super) struct Drawn {
    bytes: [u8; Self::BYTES],
    #[zeroize(skip)]
    used: usize,
}

thread_local! {
    static LENT: Cell<Option<Drawn>> = const { Cell::new(None) };
}

impl Drawn {
    const BYTES: usize = 64;

    /// Draws the bytes.
    pub(super) fn draw(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let mut drawn = Self { bytes: [0; Self::BYTES], used: 0 };
        rng.fill_bytes(&mut drawn.bytes);
        drawn
    }

    /// Runs `construct`, whose one `Drawn::default()` is this one.
    pub(super) fn lend<T>(self, construct: impl FnOnce() -> T) -> T {
        LENT.set(Some(self));
        let made = construct();
        LENT.set(None);
        made
    }
}

/// Outside of [`Drawn::lend`] an exhausted one, never a predictable one.
impl Default for Drawn {
    fn default() -> Self {
        LENT.take().unwrap_or(Self { bytes: [0; Self::BYTES], used: Self::BYTES })
    }
}

impl rand_core_06::CryptoRng for Drawn {}

impl rand_core_06::RngCore for Drawn {
    fn next_u32(&mut self) -> u32 {
        rand_core_06::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core_06::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        let end = self.used + out.len();
        let fresh = self.bytes.get_mut(self.used..end).expect("a side encapsulates at most twice in one handshake");
        out.copy_from_slice(fresh);
        fresh.zeroize();
        self.used = end;
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}
