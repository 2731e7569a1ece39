//! Sealing and opening: by suite XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under a key of epoch and sender, or AES-256-GCM
//! under a key of epoch, sender and envelope.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use sync_rules::SigningKey;
use sync_rules::envelope::{ciphertext_hash, entry_hash, sign_envelope};
use sync_types::body::{pad, unpad};
use sync_types::frame::{Head, Signature};
use sync_types::{DecodeError, DeviceId, Envelope, GroupId, Header, LABEL_PREFIX, Opaque, Suite, encode};
use zeroize::Zeroizing;

use crate::approved::{aes256gcm_open, aes256gcm_seal, hkdf_expand};

/// Why an envelope does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another key, or bytes that were changed.
    #[error("the seal does not open")]
    Seal,
    /// The seal opens, but the padding is not in its one form.
    #[error(transparent)]
    Body(#[from] DecodeError),
}

/// An envelope that was sealed.
pub struct SealedEnvelope {
    /// The whole envelope.
    pub bytes: Vec<u8>,
    /// The same without its ciphertext. The sender's next envelope names its hash.
    pub head: Head,
}

/// The AEAD key of suite 1 for one sender in one epoch: HKDF-Expand (RFC 5869 §2.3) of the epoch's exporter secret.
pub fn sender_key(secret: &[u8; 32], sender: DeviceId) -> Zeroizing<[u8; 32]> {
    let mut info = format!("{LABEL_PREFIX}data").into_bytes();
    info.extend_from_slice(&sender.0);
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::from_prk(secret)
        .expect("a secret of 32 bytes is as long as SHA-256's output")
        .expand(&info, &mut *key)
        .expect("32 bytes are far below HKDF's bound");
    key
}

/// The AEAD key of suite 2 for one envelope, and its nonce: the random bytes of a header are half for a key of its own, half the
/// nonce, as XAES-256-GCM (C2SP) divides them. Two envelopes of a sender and an epoch share both only where 192 random bits are
/// equal: among 2³² with a probability below 2⁻¹²⁹, where SP 800-38D §8 asks for 2⁻³².
pub fn envelope_key(secret: &[u8; 32], sender: DeviceId, random: &[u8; 24]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    let (salt, nonce) = random.split_at(12);
    let label = format!("{LABEL_PREFIX}envelope key");
    let key = hkdf_expand(secret, &[label.as_bytes(), &sender.0, salt]);
    (key, nonce.try_into().expect("half of 24 bytes"))
}

fn encrypt(header: &Header, aad: &[u8], padded: &[u8], secret: &[u8; 32]) -> Vec<u8> {
    match Suite::from_wire(header.suite) {
        Ok(Suite::Fips) => {
            let (key, nonce) = envelope_key(secret, header.sender, &header.nonce);
            aes256gcm_seal(&key, &nonce, aad, padded)
        }
        // A header of another suite is not made here, and not parsed.
        Ok(Suite::XWing) | Err(_) => XChaCha20Poly1305::new((&*sender_key(secret, header.sender)).into())
            .encrypt((&header.nonce).into(), Payload { msg: padded, aad })
            .expect("a body is bounded far below the cipher's limit"),
    }
}

fn decrypt(header: &Header, aad: &[u8], ciphertext: &[u8], secret: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
    match Suite::from_wire(header.suite).ok()? {
        Suite::Fips => {
            let (key, nonce) = envelope_key(secret, header.sender, &header.nonce);
            aes256gcm_open(&key, &nonce, aad, ciphertext)
        }
        Suite::XWing => {
            let cipher = XChaCha20Poly1305::new((&*sender_key(secret, header.sender)).into());
            cipher.decrypt((&header.nonce).into(), Payload { msg: ciphertext, aad }).map(Zeroizing::new).ok()
        }
    }
}

fn associated_data(group: GroupId, header: &[u8]) -> Vec<u8> {
    [group.as_bytes(), header].concat()
}

/// Seals a plaintext under a header, which must hold a fresh nonce from [`nonce`], and signs it.
pub fn seal(group: GroupId, header: &Header, plain: &[u8], secret: &[u8; 32], signer: &SigningKey) -> SealedEnvelope {
    let header_bytes = encode(header);
    let aad = associated_data(group, &header_bytes);
    let padded = Zeroizing::new(pad(plain));
    let ciphertext = encrypt(header, &aad, &padded, secret);
    let ct_hash = ciphertext_hash(&ciphertext);
    let signature = sign_envelope(signer, &group, &header_bytes, &ct_hash);
    let head = Head {
        seq: header.seq,
        hash: entry_hash(&header_bytes, &ct_hash, &signature),
        header: Opaque(header_bytes),
        ciphertext_hash: ct_hash,
        signature: Signature(signature),
    };
    SealedEnvelope { bytes: Envelope::assemble(&head.header, &ciphertext, &signature), head }
}

/// Opens an envelope whose signature and place in the chain were checked.
pub fn open(group: GroupId, envelope: &Envelope<'_>, secret: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let aad = associated_data(group, envelope.header_bytes);
    let padded = decrypt(&envelope.header, &aad, envelope.ciphertext, secret).ok_or(OpenError::Seal)?;
    Ok(Zeroizing::new(unpad(&padded)?.to_vec()))
}

/// 192 fresh random bits for a header.
pub fn nonce(rng: &mut dyn CryptoRng) -> [u8; 24] {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    nonce
}
