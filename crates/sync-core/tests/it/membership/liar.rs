//! Real cryptography that can be told to lie where only members can tell.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use mls_rs::{CipherSuite, CipherSuiteProvider, CryptoProvider};
use mls_rs_core::crypto::{
    HpkeCiphertext, HpkePsk, HpkePublicKey, HpkeSecretKey, SignaturePublicKey, SignatureSecretKey,
};
use mls_rs_crypto_awslc::{AwsLcCipherSuite, AwsLcCryptoError};
use sync_rules::mls;
use zeroize::Zeroizing;

type Result<T> = std::result::Result<T, AwsLcCryptoError>;
type Secret = Zeroizing<Vec<u8>>;

#[derive(Clone, Default)]
pub(super) struct Liar(Arc<Lies>);

#[derive(Default)]
struct Lies {
    tags: AtomicBool,
    next_seal: AtomicBool,
    /// How many key pairs are made until one is weak, that one included; 0 for never.
    weak_key_in: AtomicUsize,
}

impl Liar {
    /// Makes wrong confirmation tags from now on.
    pub(super) fn lie_in_tags(&self) {
        self.0.tags.store(true, Relaxed);
    }

    /// The key pair that is made as the `number`th from now on, counted from 1, has a public key of small order.
    pub(super) fn weaken_key(&self, number: usize) {
        self.0.weak_key_in.store(number, Relaxed);
    }

    fn weakened(&self, (secret, public): (HpkeSecretKey, HpkePublicKey)) -> (HpkeSecretKey, HpkePublicKey) {
        let counted = self.0.weak_key_in.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if counted != Ok(1) {
            return (secret, public);
        }
        let mut weak = public.as_ref().to_vec();
        let point = weak.len() - 32;
        weak[point..].fill(0);
        (secret, weak.into())
    }

    /// Seals the next secret so that its receiver cannot open it.
    pub(super) fn spoil_next_seal(&self) {
        self.0.next_seal.store(true, Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct LiarSuite(AwsLcCipherSuite, Liar);

impl CryptoProvider for Liar {
    type CipherSuiteProvider = LiarSuite;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        vec![mls::CIPHER_SUITE]
    }

    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<LiarSuite> {
        Some(LiarSuite(mls::crypto().cipher_suite_provider(suite)?, self.clone()))
    }
}

type Real = <mls::Crypto as CryptoProvider>::CipherSuiteProvider;

impl CipherSuiteProvider for LiarSuite {
    type Error = AwsLcCryptoError;
    type HpkeContextS = <Real as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <Real as CipherSuiteProvider>::HpkeContextR;

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let mut tag = self.0.mac(key, data)?;
        // The confirmation tag is over a hash, the membership tag over much more.
        if data.len() == 32 && self.1.0.tags.load(Relaxed) {
            tag[0] ^= 1;
        }
        Ok(tag)
    }

    fn cipher_suite(&self) -> CipherSuite {
        self.0.cipher_suite()
    }
    fn hash(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.0.hash(data)
    }
    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Vec<u8>> {
        self.0.aead_seal(key, data, aad, nonce)
    }
    fn aead_open(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Secret> {
        self.0.aead_open(key, data, aad, nonce)
    }
    fn aead_key_size(&self) -> usize {
        self.0.aead_key_size()
    }
    fn aead_nonce_size(&self) -> usize {
        self.0.aead_nonce_size()
    }
    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Secret> {
        self.0.kdf_extract(salt, ikm)
    }
    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Result<Secret> {
        self.0.kdf_expand(prk, info, len)
    }
    fn kdf_extract_size(&self) -> usize {
        self.0.kdf_extract_size()
    }
    fn hpke_seal(&self, to: &HpkePublicKey, info: &[u8], aad: Option<&[u8]>, pt: &[u8]) -> Result<HpkeCiphertext> {
        let mut sealed = self.0.hpke_seal(to, info, aad, pt)?;
        if self.1.0.next_seal.swap(false, Relaxed) {
            sealed.ciphertext[0] ^= 1;
        }
        Ok(sealed)
    }
    fn hpke_seal_psk(
        &self,
        to: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext> {
        self.0.hpke_seal_psk(to, info, aad, pt, psk)
    }
    fn hpke_open(
        &self,
        ct: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Secret> {
        self.0.hpke_open(ct, secret, public, info, aad)
    }
    fn hpke_open_psk(
        &self,
        ct: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Secret> {
        self.0.hpke_open_psk(ct, secret, public, info, aad, psk)
    }
    fn hpke_setup_s(&self, to: &HpkePublicKey, info: &[u8]) -> Result<(Vec<u8>, Self::HpkeContextS)> {
        self.0.hpke_setup_s(to, info)
    }
    fn hpke_setup_r(
        &self,
        enc: &[u8],
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR> {
        self.0.hpke_setup_r(enc, secret, public, info)
    }
    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        Ok(self.1.weakened(self.0.kem_derive(ikm)?))
    }
    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        Ok(self.1.weakened(self.0.kem_generate()?))
    }
    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<()> {
        self.0.kem_public_key_validate(key)
    }
    fn random_bytes(&self, out: &mut [u8]) -> Result<()> {
        self.0.random_bytes(out)
    }
    fn signature_key_generate(&self) -> Result<(SignatureSecretKey, SignaturePublicKey)> {
        self.0.signature_key_generate()
    }
    fn signature_key_derive_public(&self, secret: &SignatureSecretKey) -> Result<SignaturePublicKey> {
        self.0.signature_key_derive_public(secret)
    }
    fn sign(&self, secret: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(secret, data)
    }
    fn verify(&self, public: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Result<()> {
        self.0.verify(public, signature, data)
    }
}
