//! What an envelope's signature and hash cover. Relay and members compute both from the bytes that travelled.

use sync_types::frame::{Head, Signature};
use sync_types::{EntryHash, Envelope, GroupId, Header, Opaque};

use crate::hash::labelled;
use crate::sign::{BadSignature, SigningKey, sign, verify};

const CIPHERTEXT: &str = "ciphertext";
const ENVELOPE: &str = "envelope";
const ENVELOPE_HASH: &str = "envelope hash";

/// The labelled hash of an envelope's ciphertext.
pub fn ciphertext_hash(ciphertext: &[u8]) -> EntryHash {
    EntryHash(labelled(CIPHERTEXT, ciphertext))
}

/// The hash that the sender's next envelope names as its previous: over header, ciphertext hash and signature, so that it
/// pins every byte of the envelope.
pub fn entry_hash(header: &[u8], ciphertext_hash: &EntryHash, signature: &[u8; 64]) -> EntryHash {
    let mut content = Vec::with_capacity(header.len() + 32 + 64);
    content.extend_from_slice(header);
    content.extend_from_slice(&ciphertext_hash.0);
    content.extend_from_slice(signature);
    EntryHash(labelled(ENVELOPE_HASH, &content))
}

/// The bytes that the sender signs: group id, header and ciphertext hash, so that an envelope of one group is worth
/// nothing in another.
pub fn signed_content(group: &GroupId, header: &[u8], ciphertext_hash: &EntryHash) -> Vec<u8> {
    let mut content = Vec::with_capacity(32 + header.len() + 32);
    content.extend_from_slice(&group.0);
    content.extend_from_slice(header);
    content.extend_from_slice(&ciphertext_hash.0);
    content
}

/// Signs an envelope's header and ciphertext hash.
pub fn sign_envelope(key: &SigningKey, group: &GroupId, header: &[u8], ciphertext_hash: &EntryHash) -> [u8; 64] {
    sign(key, ENVELOPE, &signed_content(group, header, ciphertext_hash))
}

/// Verifies a sender's signature over header and ciphertext hash (RFC 8032, strictly).
pub fn verify_parts(
    group: &GroupId,
    header: &[u8],
    ciphertext_hash: &EntryHash,
    signature: &[u8; 64],
    public_key: &[u8; 32],
) -> Result<(), BadSignature> {
    verify(public_key, ENVELOPE, &signed_content(group, header, ciphertext_hash), signature)
}

/// The envelope without its ciphertext: its sender's head as long as it is the last one.
pub fn head_of(envelope: &Envelope<'_>) -> Head {
    let ciphertext_hash = ciphertext_hash(envelope.ciphertext);
    Head {
        seq: envelope.header.seq,
        hash: entry_hash(envelope.header_bytes, &ciphertext_hash, envelope.signature),
        header: Opaque(envelope.header_bytes.to_vec()),
        ciphertext_hash,
        signature: Signature(*envelope.signature),
    }
}

/// Verifies a sender's head: its header is one of that number, its hash is right, and the sender has signed it.
pub fn verify_head(group: &GroupId, head: &Head, public_key: &[u8; 32]) -> Option<Header> {
    let header = Header::parse(&head.header).ok().filter(|header| header.seq == head.seq)?;
    let hash = entry_hash(&head.header, &head.ciphertext_hash, &head.signature.0);
    let signed = verify_parts(group, &head.header, &head.ciphertext_hash, &head.signature.0, public_key);
    (hash == head.hash && signed.is_ok()).then_some(header)
}

/// Verifies the signature of a whole envelope.
pub fn verify_envelope(group: &GroupId, envelope: &Envelope<'_>, public_key: &[u8; 32]) -> Result<(), BadSignature> {
    let hash = ciphertext_hash(envelope.ciphertext);
    verify_parts(group, envelope.header_bytes, &hash, envelope.signature, public_key)
}
