//! Statements that members sign outside envelopes: acknowledgements and rejects.

use sync_types::frame::{Acknowledgement, Reject, Signature};
use sync_types::{GroupId, encode};

use crate::sign::{BadSignature, SigningKey, sign, verify};

const ACKNOWLEDGEMENT: &str = "acknowledgement";
const REJECT: &str = "reject";

/// What an acknowledgement's signature covers: the group, then every field before the signature.
fn acknowledgement_content(group: &GroupId, statement: &Acknowledgement) -> Vec<u8> {
    [&group.0[..], &encode(&statement.device), &encode(&statement.frontier), &encode(&statement.holes)].concat()
}

fn reject_content(group: &GroupId, reject: &Reject) -> Vec<u8> {
    [&group.0[..], &encode(&reject.device), &encode(&reject.epoch), &encode(&reject.commit_hash)].concat()
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
}
