//! Sealing and opening: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under a key of epoch and sender.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use sync_rules::SigningKey;
use sync_rules::envelope::{ciphertext_hash, entry_hash, sign_envelope};
use sync_types::body::{pad, unpad};
use sync_types::frame::{Head, Signature};
use sync_types::{DecodeError, DeviceId, Envelope, GroupId, Header, LABEL_PREFIX, Opaque, encode};
use zeroize::Zeroizing;

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

/// The AEAD key for one sender in one epoch: HKDF-Expand (RFC 5869 §2.3) of the epoch's exporter secret.
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

fn associated_data(group: GroupId, header: &[u8]) -> Vec<u8> {
    [group.as_bytes(), header].concat()
}

/// Seals a plaintext under a header, which must hold a fresh nonce from [`nonce`], and signs it.
pub fn seal(group: GroupId, header: &Header, plain: &[u8], secret: &[u8; 32], signer: &SigningKey) -> SealedEnvelope {
    let header_bytes = encode(header);
    let aad = associated_data(group, &header_bytes);
    let padded = Zeroizing::new(pad(plain));
    let cipher = XChaCha20Poly1305::new((&*sender_key(secret, header.sender)).into());
    let ciphertext = cipher
        .encrypt((&header.nonce).into(), Payload { msg: &padded, aad: &aad })
        .expect("a body is bounded far below the cipher's limit");
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
    let cipher = XChaCha20Poly1305::new((&*sender_key(secret, envelope.header.sender)).into());
    let padded = cipher
        .decrypt((&envelope.header.nonce).into(), Payload { msg: envelope.ciphertext, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Seal)?;
    Ok(Zeroizing::new(unpad(&padded)?.to_vec()))
}

/// A fresh random nonce of 192 bits.
pub fn nonce(rng: &mut dyn CryptoRng) -> [u8; 24] {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    nonce
}
