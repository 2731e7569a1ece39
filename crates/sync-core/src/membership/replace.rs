//! Coming in by an external commit (RFC 9420 §12.4.3.2): as a new key that puts an old leaf out, with the old key's word for it,
//! or with the word of the group's recovery key.

use mls_rs::{CryptoProvider, group::proposal::CustomProposal};
use sync_rules::{
    Inspected, SigningKey,
    mls::{CommitMessage, EXTERNAL_PROOF},
    statement::{Place, sign_recovery, sign_replace_key},
};
use sync_types::{
    encode,
    frame::{Cut, ExternalProof},
};

use super::{
    Membership, PrepareError, Prepared, client,
    storage::{GroupShelf, KeyPackageShelf},
};

/// An external commit, and the membership that it leads to once it is ordered.
#[derive(Debug)]
pub struct Replaced<P: CryptoProvider + Clone> {
    /// The membership under the new key, at the epoch that the commit begins.
    pub membership: Membership<P>,
    /// The commit.
    pub prepared: Prepared,
}

/// Makes the commit from the group's newest state, as [`sync_rules::Observer::inspect`] read it with the old key's device.
/// `cut` is signed with it: the end of the old key's chain.
///
/// Fails with [`PrepareError::UnknownDevice`] if the old key's device is not in the group.
pub fn replace<P: CryptoProvider + Clone>(
    crypto: P,
    state: Inspected,
    old: &SigningKey,
    new: &SigningKey,
    cut: Vec<u8>,
) -> Result<Replaced<P>, PrepareError> {
    let leaf = state.leaf.ok_or(PrepareError::UnknownDevice(old.device_id()))?;
    let place = Place { group: &state.observed.group, epoch: state.observed.epoch, transcript: &state.transcript };
    let proof = ExternalProof::ReplaceKey(sign_replace_key(old, place, &new.public()));
    come_in(crypto, state, new, &proof, Some(leaf), cut)
}

/// Makes the commit that lets a device in by the group's recovery key, from the newest state that was read.
pub fn recover<P: CryptoProvider + Clone>(
    crypto: P,
    state: Inspected,
    recovery: &SigningKey,
    new: &SigningKey,
) -> Result<Replaced<P>, PrepareError> {
    let place = Place { group: &state.observed.group, epoch: state.observed.epoch, transcript: &state.transcript };
    let proof = ExternalProof::Recovery(sign_recovery(recovery, place, &new.public()));
    come_in(crypto, state, new, &proof, None, encode(&Cut::default()))
}

/// Makes an external commit with any proof, for a new key. `leaf` is whose place it takes, if it takes one; `cut` is signed with
/// it.
pub fn come_in<P: CryptoProvider + Clone>(
    crypto: P,
    state: Inspected,
    new: &SigningKey,
    proof: &ExternalProof,
    leaf: Option<u32>,
    cut: Vec<u8>,
) -> Result<Replaced<P>, PrepareError> {
    let shelf = GroupShelf::default();
    let client = client(crypto.clone(), shelf.clone(), KeyPackageShelf::default(), Some((state.observed.suite, new)));
    let mut builder = client
        .external_commit_builder()?
        .with_custom_proposal(CustomProposal::new(EXTERNAL_PROOF, encode(proof)))
        .with_authenticated_data(cut);
    if let Some(leaf) = leaf {
        builder = builder.with_removal(leaf);
    }
    let (group, message) = builder.build(state.message)?;
    let membership = Membership::new(crypto, group, shelf);
    let commit = message.to_bytes()?;
    let prepared = Prepared {
        hash: CommitMessage::hash(&commit),
        commit,
        welcomes: Vec::new(),
        group_info: membership.group.group_info_message_allowing_ext_commit(true)?.to_bytes()?,
        epoch: membership.epoch(),
    };
    Ok(Replaced { membership, prepared })
}
