//! Statements that are signed outside envelopes: by members acknowledgements, rejects, and that a key replaces another; by the
//! recovery key that one comes in, and what members hold of the kit.

use sync_types::body::KitShare;
use sync_types::frame::{Acknowledgement, Move, Reject, ReplaceKey, Signature};
use sync_types::{DeviceId, GroupId, Opaque, encode};
use zeroize::Zeroizing;

use crate::sign::{BadSignature, SigningKey, sign, verify};

const ACKNOWLEDGEMENT: &str = "acknowledgement";
const REJECT: &str = "reject";
const MOVE: &str = "move";
const REPLACE_KEY: &str = "replace key";
const RECOVERY: &str = "recovery";
const RECOVERY_SHARE: &str = "recovery share";

/// What an acknowledgement's signature covers: the group, then every field before the signature.
fn acknowledgement_content(group: &GroupId, statement: &Acknowledgement) -> Vec<u8> {
    [&group.0[..], &encode(&statement.device), &encode(&statement.frontier), &encode(&statement.holes)].concat()
}

fn reject_content(group: &GroupId, reject: &Reject) -> Vec<u8> {
    [&group.0[..], &encode(&reject.device), &encode(&reject.epoch), &encode(&reject.commit_hash)].concat()
}

fn move_content(group: &GroupId, moved: &Move) -> Vec<u8> {
    let parts = [&moved.commit, &moved.group_info, &moved.welcome].map(encode);
    [&group.0[..], &encode(&moved.tag), &parts[0], &parts[1], &parts[2]].concat()
}

/// Where in a group's history a key comes in from outside: at no other place is the word for it worth anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The group.
    pub group: &'a GroupId,
    /// The epoch that ends with it.
    pub epoch: u64,
    /// Its confirmed transcript hash (RFC 9420 §8.2).
    pub transcript: &'a [u8],
}

fn replace_key_content(place: Place<'_>, old: &DeviceId, new_key: &[u8; 32]) -> Vec<u8> {
    let transcript = encode(&Opaque(place.transcript.to_vec()));
    [&place.group.0[..], &encode(&place.epoch), &transcript, &encode(old), new_key].concat()
}

/// The old key's word that the new one takes its place.
pub fn sign_replace_key(old: &SigningKey, place: Place<'_>, new_key: &[u8; 32]) -> ReplaceKey {
    let id = old.device_id();
    ReplaceKey { old: id, signature: Signature(sign(old, REPLACE_KEY, &replace_key_content(place, &id, new_key))) }
}

/// Verifies such a word against the old key.
pub fn verify_replace_key(
    proof: &ReplaceKey,
    place: Place<'_>,
    new_key: &[u8; 32],
    old_key: &[u8; 32],
) -> Result<(), BadSignature> {
    verify(old_key, REPLACE_KEY, &replace_key_content(place, &proof.old, new_key), &proof.signature.0)
}

fn recovery_content(place: Place<'_>, new_key: &[u8; 32]) -> Vec<u8> {
    let transcript = encode(&Opaque(place.transcript.to_vec()));
    [&place.group.0[..], &encode(&place.epoch), &transcript, new_key].concat()
}

/// The recovery key's word that a new key comes into the group.
pub fn sign_recovery(recovery: &SigningKey, place: Place<'_>, new_key: &[u8; 32]) -> Signature {
    Signature(sign(recovery, RECOVERY, &recovery_content(place, new_key)))
}

/// Verifies such a word against the group's recovery key.
pub fn verify_recovery(
    proof: &Signature,
    place: Place<'_>,
    new_key: &[u8; 32],
    recovery: &[u8; 32],
) -> Result<(), BadSignature> {
    verify(recovery, RECOVERY, &recovery_content(place, new_key), &proof.0)
}

fn share_content(group: &GroupId, share: &KitShare) -> Zeroizing<Vec<u8>> {
    let mut content = Zeroizing::new(Vec::with_capacity(GroupId::LEN + 32 + 4 + share.seal_key.len()));
    content.extend_from_slice(&group.0);
    content.extend_from_slice(&share.mac_key);
    content.extend_from_slice(&encode(&share.seal_key));
    content
}

/// Puts the signature into what members hold of a recovery kit.
pub fn sign_share(recovery: &SigningKey, group: &GroupId, share: &mut KitShare) {
    share.signature = Signature(sign(recovery, RECOVERY_SHARE, &share_content(group, share)));
}

/// Verifies it against the group's recovery key.
pub fn verify_share(group: &GroupId, share: &KitShare, recovery: &[u8; 32]) -> Result<(), BadSignature> {
    verify(recovery, RECOVERY_SHARE, &share_content(group, share), &share.signature.0)
}

/// Puts the signature into an acknowledgement.
pub fn sign_acknowledgement(key: &SigningKey, group: &GroupId, statement: &mut Acknowledgement) {
    statement.signature = Signature(sign(key, ACKNOWLEDGEMENT, &acknowledgement_content(group, statement)));
}

/// Verifies an acknowledgement against its device's key.
pub fn verify_acknowledgement(
    group: &GroupId,
    statement: &Acknowledgement,
    public_key: &[u8; 32],
) -> Result<(), BadSignature> {
    verify(public_key, ACKNOWLEDGEMENT, &acknowledgement_content(group, statement), &statement.signature.0)
}

/// Puts the signature into a reject.
pub fn sign_reject(key: &SigningKey, group: &GroupId, reject: &mut Reject) {
    reject.signature = Signature(sign(key, REJECT, &reject_content(group, reject)));
}

/// Verifies a reject against its device's key.
pub fn verify_reject(group: &GroupId, reject: &Reject, public_key: &[u8; 32]) -> Result<(), BadSignature> {
    verify(public_key, REJECT, &reject_content(group, reject), &reject.signature.0)
}

/// Puts the signature into the end of a group.
pub fn sign_move(key: &SigningKey, group: &GroupId, moved: &mut Move) {
    moved.signature = Signature(sign(key, MOVE, &move_content(group, moved)));
}

/// Verifies it against the committer's key.
pub fn verify_move(group: &GroupId, moved: &Move, public_key: &[u8; 32]) -> Result<(), BadSignature> {
    verify(public_key, MOVE, &move_content(group, moved), &moved.signature.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::{DeviceId, EntryHash, body::Span};

    #[test]
    fn a_statement_of_another_group_or_content_does_not_verify() {
        let key = SigningKey::from_seed(&[7; 32]);
        let (group, other) = (GroupId([1; 32]), GroupId([2; 32]));
        let mut statement =
            Acknowledgement { device: key.device_id(), frontier: vec![], holes: vec![], signature: Signature([0; 64]) };
        sign_acknowledgement(&key, &group, &mut statement);
        assert_eq!(verify_acknowledgement(&group, &statement, &key.public()), Ok(()));
        assert_eq!(verify_acknowledgement(&other, &statement, &key.public()), Err(BadSignature));
        statement.holes.push(Span { sender: DeviceId([3; 16]), from: 1, to: 2 });
        assert_eq!(verify_acknowledgement(&group, &statement, &key.public()), Err(BadSignature));

        let mut reject = Reject {
            device: key.device_id(),
            epoch: 4,
            commit_hash: EntryHash([5; 32]),
            signature: Signature([0; 64]),
        };
        sign_reject(&key, &group, &mut reject);
        assert_eq!(verify_reject(&group, &reject, &key.public()), Ok(()));
        reject.epoch = 5;
        assert_eq!(verify_reject(&group, &reject, &key.public()), Err(BadSignature));
    }

    #[test]
    fn a_word_for_a_new_key_holds_at_one_place_and_for_one_key() {
        let (old, new) = (SigningKey::from_seed(&[7; 32]), SigningKey::from_seed(&[8; 32]).public());
        let group = GroupId([1; 32]);
        let place = Place { group: &group, epoch: 4, transcript: b"history" };
        let proof = sign_replace_key(&old, place, &new);
        assert_eq!(verify_replace_key(&proof, place, &new, &old.public()), Ok(()));
        let bad = Err(BadSignature);
        assert_eq!(verify_replace_key(&proof, Place { group: &GroupId([2; 32]), ..place }, &new, &old.public()), bad);
        assert_eq!(verify_replace_key(&proof, Place { epoch: 5, ..place }, &new, &old.public()), bad);
        assert_eq!(verify_replace_key(&proof, Place { transcript: b"another", ..place }, &new, &old.public()), bad);
        assert_eq!(verify_replace_key(&proof, place, &old.public(), &old.public()), bad);
        assert_eq!(verify_replace_key(&proof, place, &new, &new), bad);
        let posed = ReplaceKey { old: DeviceId([9; 16]), ..proof };
        assert_eq!(verify_replace_key(&posed, place, &new, &old.public()), bad);
    }

    #[test]
    fn the_recovery_keys_word_holds_at_one_place_and_for_one_key() {
        let (recovery, new) = (SigningKey::from_seed(&[7; 32]), SigningKey::from_seed(&[8; 32]).public());
        let (group, other) = (GroupId([1; 32]), GroupId([2; 32]));
        let place = Place { group: &group, epoch: 4, transcript: b"history" };
        let proof = sign_recovery(&recovery, place, &new);
        assert_eq!(verify_recovery(&proof, place, &new, &recovery.public()), Ok(()));
        let bad = Err(BadSignature);
        assert_eq!(verify_recovery(&proof, Place { group: &other, ..place }, &new, &recovery.public()), bad);
        assert_eq!(verify_recovery(&proof, Place { epoch: 5, ..place }, &new, &recovery.public()), bad);
        assert_eq!(verify_recovery(&proof, Place { transcript: b"x", ..place }, &new, &recovery.public()), bad);
        assert_eq!(verify_recovery(&proof, place, &recovery.public(), &recovery.public()), bad);
        assert_eq!(verify_recovery(&proof, place, &new, &new), bad);

        let mut share = KitShare { mac_key: [3; 32], seal_key: Opaque(vec![4; 9]), signature: Signature([0; 64]) };
        sign_share(&recovery, &group, &mut share);
        assert_eq!(verify_share(&group, &share, &recovery.public()), Ok(()));
        assert_eq!(verify_share(&other, &share, &recovery.public()), bad);
        assert_eq!(verify_share(&group, &share, &new), bad);
        share.mac_key[0] ^= 1;
        assert_eq!(verify_share(&group, &share, &recovery.public()), bad);
    }
}
