//! Cryptography for simulations: deterministic, fast, and of NO security whatever.
//!
//! It keeps what the protocol relies on to notice mistakes (a wrong key opens nothing, a turned bit fails a tag, a
//! signature belongs to one key and one message) and drops what keeps secrets: whoever knows a public key can open what
//! is sealed to it and sign in its name. It answers to the numbers of the real suites, so that the code under test runs
//! unchanged. It lives in this crate, which nothing that ships depends on.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use mls_rs::{CipherSuite, CipherSuiteProvider, CryptoProvider};
use mls_rs_core::{
    crypto::{
        HpkeCiphertext, HpkeContextR, HpkeContextS, HpkePsk, HpkePublicKey, HpkeSecretKey, SignaturePublicKey,
        SignatureSecretKey,
    },
    error::IntoAnyError,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use sync_rules::{SigningKey, mls};
use sync_types::Suite;
use zeroize::Zeroizing;

const TAG: usize = 16;
const KEY: usize = 16;
const NONCE: usize = 12;

/// A provider whose randomness comes from one seed. Clones share the generator, so give each device its own: then what
/// one does never shifts what another draws. A restarted device goes on with its clone; a second provider from the same
/// seed would draw the same keys again, which MLS refuses.
#[derive(Clone, Debug)]
pub struct InsecureCrypto(Arc<Mutex<ChaCha8Rng>>, Arc<AtomicBool>, CipherSuite);

impl InsecureCrypto {
    /// A provider for this seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))), Arc::default(), mls::CIPHER_SUITE)
    }

    /// Whether to make wrong confirmation tags from now on: what a hostile member can do, and what only members notice.
    pub fn lie_in_tags(&self, lie: bool) {
        self.1.store(lie, Ordering::Relaxed);
    }

    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(out);
    }

    fn draw(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

/// What the simulated cryptography refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsecureError {
    /// A ciphertext or signature that does not belong to the key.
    #[error("the tag or signature is wrong")]
    WrongTag,
    /// A key of another length.
    #[error("the key has a wrong length")]
    KeyLength,
}

impl IntoAnyError for InsecureError {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

type Result<T, E = InsecureError> = std::result::Result<T, E>;

impl CryptoProvider for InsecureCrypto {
    type CipherSuiteProvider = InsecureCrypto;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        [Suite::XWing, Suite::Fips].map(mls::cipher_suite).into()
    }

    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<Self> {
        mls::suite_of(suite).map(|_| Self(self.0.clone(), self.1.clone(), suite))
    }
}

/// A hash over parts, each behind its length, and what they are for.
fn hash(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(purpose);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// As many bytes as wanted from one hash.
fn stretch(seed: [u8; 32], out: &mut [u8]) {
    ChaCha8Rng::from_seed(seed).fill_bytes(out);
}

fn xor(key: &[u8], nonce: &[u8], data: &mut [u8]) {
    let mut stream = vec![0; data.len()];
    stretch(hash("stream", &[key, nonce]), &mut stream);
    data.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
}

fn seal(key: &[u8], nonce: &[u8], aad: Option<&[u8]>, data: &[u8]) -> Vec<u8> {
    let mut sealed = data.to_vec();
    xor(key, nonce, &mut sealed);
    let tag = hash("tag", &[key, nonce, aad.unwrap_or_default(), &sealed]);
    sealed.extend_from_slice(&tag[..TAG]);
    sealed
}

fn open(key: &[u8], nonce: &[u8], aad: Option<&[u8]>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let at = sealed.len().checked_sub(TAG).ok_or(InsecureError::WrongTag)?;
    let (data, tag) = sealed.split_at(at);
    if hash("tag", &[key, nonce, aad.unwrap_or_default(), data])[..TAG] != *tag {
        return Err(InsecureError::WrongTag);
    }
    let mut opened = Zeroizing::new(data.to_vec());
    xor(key, nonce, &mut opened);
    Ok(opened)
}

fn public_of(secret: &[u8]) -> [u8; 32] {
    hash("public key", &[secret])
}

/// The secret that a ciphertext stands for. There is nothing secret about it.
fn shared(public: &[u8], kem_output: &[u8], info: &[u8], psk: Option<HpkePsk<'_>>) -> [u8; 32] {
    let psk = psk.unwrap_or_default();
    hash("shared", &[public, kem_output, info, psk.id, psk.value])
}

fn signature(public: &[u8], data: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    stretch(hash("signature", &[public, data]), &mut signature);
    signature
}

/// One direction of an HPKE context.
#[derive(Clone, Debug)]
pub struct InsecureContext {
    secret: [u8; 32],
    count: u64,
}

impl InsecureContext {
    fn next_nonce(&mut self) -> [u8; 8] {
        self.count += 1;
        self.count.to_be_bytes()
    }

    fn export_secret(&self, context: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; len]);
        stretch(hash("export", &[&self.secret, context]), &mut out);
        out
    }
}

impl HpkeContextS for InsecureContext {
    type Error = InsecureError;

    fn seal(&mut self, aad: Option<&[u8]>, data: &[u8]) -> Result<Vec<u8>> {
        let nonce = self.next_nonce();
        Ok(seal(&self.secret, &nonce, aad, data))
    }

    fn export(&self, context: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.export_secret(context, len))
    }
}

impl HpkeContextR for InsecureContext {
    type Error = InsecureError;

    fn open(&mut self, aad: Option<&[u8]>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let nonce = self.next_nonce();
        open(&self.secret, &nonce, aad, ciphertext)
    }

    fn export(&self, context: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.export_secret(context, len))
    }
}

impl CipherSuiteProvider for InsecureCrypto {
    type Error = InsecureError;
    type HpkeContextS = InsecureContext;
    type HpkeContextR = InsecureContext;

    fn cipher_suite(&self) -> CipherSuite {
        self.2
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>> {
        Ok(Sha256::digest(data).to_vec())
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let mut tag = hash("mac", &[key, data]).to_vec();
        // The confirmation tag is over a hash; the membership tag is over much more.
        if data.len() == 32 && self.1.load(Ordering::Relaxed) {
            tag[0] ^= 1;
        }
        Ok(tag)
    }

    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Vec<u8>> {
        Ok(seal(key, nonce, aad, data))
    }

    fn aead_open(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        open(key, nonce, aad, data)
    }

    fn aead_key_size(&self) -> usize {
        KEY
    }

    fn aead_nonce_size(&self) -> usize {
        NONCE
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(hash("extract", &[salt, ikm]).to_vec()))
    }

    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; len]);
        stretch(hash("expand", &[prk, info]), &mut out);
        Ok(out)
    }

    fn kdf_extract_size(&self) -> usize {
        32
    }

    fn hpke_seal(&self, to: &HpkePublicKey, info: &[u8], aad: Option<&[u8]>, data: &[u8]) -> Result<HpkeCiphertext> {
        let kem_output = self.draw().to_vec();
        let ciphertext = seal(&shared(to, &kem_output, info, None), &[], aad, data);
        Ok(HpkeCiphertext { kem_output, ciphertext })
    }

    fn hpke_seal_psk(
        &self,
        to: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        data: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext> {
        let kem_output = self.draw().to_vec();
        let ciphertext = seal(&shared(to, &kem_output, info, Some(psk)), &[], aad, data);
        Ok(HpkeCiphertext { kem_output, ciphertext })
    }

    fn hpke_open(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        _: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        // From the secret key, so that who lacks it opens nothing.
        let key = shared(&public_of(secret), &sealed.kem_output, info, None);
        open(&key, &[], aad, &sealed.ciphertext)
    }

    fn hpke_open_psk(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        _: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let key = shared(&public_of(secret), &sealed.kem_output, info, Some(psk));
        open(&key, &[], aad, &sealed.ciphertext)
    }

    fn hpke_setup_s(&self, to: &HpkePublicKey, info: &[u8]) -> Result<(Vec<u8>, InsecureContext)> {
        let kem_output = self.draw().to_vec();
        let secret = shared(to, &kem_output, info, None);
        Ok((kem_output, InsecureContext { secret, count: 0 }))
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        secret: &HpkeSecretKey,
        _: &HpkePublicKey,
        info: &[u8],
    ) -> Result<InsecureContext> {
        let secret = shared(&public_of(secret), kem_output, info, None);
        Ok(InsecureContext { secret, count: 0 })
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        let secret = hash("secret key", &[ikm]);
        Ok((secret.to_vec().into(), public_of(&secret).to_vec().into()))
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        self.kem_derive(&self.draw())
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<()> {
        if key.len() == 32 { Ok(()) } else { Err(InsecureError::KeyLength) }
    }

    fn random_bytes(&self, out: &mut [u8]) -> Result<()> {
        self.fill(out);
        Ok(())
    }

    /// Real Ed25519 keys, since a member's id is checked to be the hash of one.
    fn signature_key_generate(&self) -> Result<(SignatureSecretKey, SignaturePublicKey)> {
        let key = SigningKey::from_seed(&self.draw());
        Ok((mls::secret_key(&key), key.public().to_vec().into()))
    }

    fn signature_key_derive_public(&self, secret: &SignatureSecretKey) -> Result<SignaturePublicKey> {
        let public = secret.as_bytes().get(32..64).ok_or(InsecureError::KeyLength)?;
        Ok(public.to_vec().into())
    }

    fn sign(&self, secret: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>> {
        let public = self.signature_key_derive_public(secret)?;
        Ok(signature(&public, data).to_vec())
    }

    fn verify(&self, public: &SignaturePublicKey, sig: &[u8], data: &[u8]) -> Result<()> {
        if signature(public, data) == *sig { Ok(()) } else { Err(InsecureError::WrongTag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::membership::{Change, Invitation, Membership, key_package};
    use sync_rules::{Observe, Observer};
    use sync_types::{GroupId, Suite, settings::Settings};

    const NOW: u64 = 1_000_000_000_000;

    /// Two devices and an observer through an add and a self-update; gives every byte that travelled or was kept.
    fn story(seed: u64) -> Vec<Vec<u8>> {
        let (one, two) = (InsecureCrypto::from_seed(seed), InsecureCrypto::from_seed(seed + 1));
        let keys = [1, 2].map(|n| SigningKey::from_seed(&[n; 32]));
        let (group, observer) = (GroupId([3; 32]), Observer::new(InsecureCrypto::from_seed(0)));
        let mut first = Membership::create(one, Suite::FOUNDED, &keys[0], group, &Settings::default(), NOW).unwrap();
        let info = first.group_info().unwrap();
        let relay = observer.found(&info).unwrap();

        let package = key_package(two.clone(), Suite::FOUNDED, &keys[1], NOW).unwrap();
        let add = first.prepare(Change::Add(vec![package.message.clone()]), vec![], None, NOW).unwrap();
        let step = observer.process(&relay.snapshot, &add.commit, &add.group_info).unwrap();
        first.apply(&add.commit).unwrap();
        let invitation = Invitation { group, sponsor: keys[0].device_id(), settings: &Settings::default() };
        let joined = Membership::join(two, &package.secrets, &add.welcomes[0].1, invitation).unwrap();
        let mut second = joined.membership;

        let update = second.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
        let step = observer.process(&step.after.snapshot, &update.commit, &update.group_info).unwrap();
        first.apply(&update.commit).unwrap();
        second.apply(&update.commit).unwrap();
        let exporter = *first.take_exporter().unwrap();
        assert_eq!(exporter, *second.take_exporter().unwrap());
        let states = [first, second].map(|mut m| m.state().unwrap().to_vec());
        let mut all = vec![info, package.message, add.commit, add.group_info, update.commit, update.group_info];
        all.extend([add.welcomes[0].1.clone(), step.after.snapshot, exporter.to_vec()]);
        all.extend(states);
        all
    }

    #[test]
    fn one_seed_gives_one_story_byte_for_byte() {
        assert_eq!(story(1), story(1));
        assert_ne!(story(1), story(5));
    }

    #[test]
    fn wrong_keys_and_turned_bits_are_noticed() {
        let crypto = InsecureCrypto::from_seed(1);
        let (secret, public) = crypto.kem_generate().unwrap();
        let (other, _) = crypto.kem_generate().unwrap();
        let sealed = crypto.hpke_seal(&public, b"info", None, b"hello").unwrap();
        assert_eq!(**crypto.hpke_open(&sealed, &secret, &public, b"info", None).unwrap(), *b"hello");
        assert_eq!(crypto.hpke_open(&sealed, &other, &public, b"info", None), Err(InsecureError::WrongTag));
        assert_eq!(crypto.hpke_open(&sealed, &secret, &public, b"other", None), Err(InsecureError::WrongTag));
        let mut turned = sealed;
        turned.ciphertext[0] ^= 1;
        assert_eq!(crypto.hpke_open(&turned, &secret, &public, b"info", None), Err(InsecureError::WrongTag));

        let (secret, public) = crypto.signature_key_generate().unwrap();
        let signature = crypto.sign(&secret, b"hello").unwrap();
        assert_eq!(crypto.verify(&public, &signature, b"hello"), Ok(()));
        assert_eq!(crypto.verify(&public, &signature, b"hellp"), Err(InsecureError::WrongTag));
        let (_, other) = crypto.signature_key_generate().unwrap();
        assert_eq!(crypto.verify(&other, &signature, b"hello"), Err(InsecureError::WrongTag));
    }
}
