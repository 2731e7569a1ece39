//! The end of a group that moves to another suite, and the group that takes its place (RFC 9420 §11.2), as everybody can see both.

use mls_rs::{
    CryptoProvider,
    external_client::{ExternalReceivedMessage, ExternalSnapshot},
    group::CommitEffect,
};
use sync_types::{DeviceId, EntryHash, Suite};

use crate::Defence;
use crate::defence::stands;
use crate::mls::{CommitMessage, NotACommit, Violation, cut, judges_of_move, seated, suite_of};

use super::{Observe, ObserveError, Observed, Observer, check_place, group_info_message, observed, tree};

/// A group that has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The group before its last commit.
    pub before: Observed,
    /// The group at its end. Nothing follows on it.
    pub end: Observed,
    /// The group that takes its place.
    pub successor: Observed,
    /// Who made the commit, and the successor.
    pub committer: DeviceId,
    /// The hash of the commit's bytes.
    pub commit_hash: EntryHash,
}

impl<P: CryptoProvider + Clone> Observer<P> {
    /// Checks a group's last commit, and the GroupInfo of the successor that it names: of the suite and under the id that
    /// the commit says, at its epoch 1, with the same members under the same keys, and the same settings, by the committer.
    pub fn moves(&self, snapshot: &[u8], commit: &[u8], successor: &[u8]) -> Result<Moved, ObserveError> {
        let damaged = |e| ObserveError::Snapshot(Box::new(e));
        let state = ExternalSnapshot::from_bytes(snapshot).map_err(damaged)?;
        let mut group = self.client_by(judges_of_move()).load_group(state).map_err(damaged)?;
        let (before, tree_before) = (observed(&group)?, tree(&group)?);

        let commit = CommitMessage::parse(commit)?;
        let commit_hash = commit.hash;
        check_place(&commit, &before)?;
        let ExternalReceivedMessage::Commit(done) = group.process_incoming_message(commit.message)? else {
            return Err(NotACommit::OtherMessage.into());
        };
        let CommitEffect::ReInit(to) = done.effect else { return Err(Violation::Move.into()) };
        cut(&done.authenticated_data, &[])?;
        self.check_keys(tree_before.nodes(), &group)?;
        let committer = group.roster().member_with_index(done.committer).map_err(ObserveError::from)?;
        let (committer, _) = seated(&committer.signing_identity).map_err(Violation::from)?;

        let info = group_info_message(successor)?;
        let signer = info.as_group_info().ok_or(ObserveError::NotAGroupInfo)?.sender();
        let signer = self.signer(&info, signer)?;
        let successor = self.found(successor)?;
        let to = to.proposal;
        compare(&before, &successor, to.group_id(), suite_of(to.new_cipher_suite()))?;
        if signer != committer && stands(Defence::Successor) {
            return Err(ObserveError::Successor("signer"));
        }
        Ok(Moved { end: observed(&group)?, before, successor, committer, commit_hash })
    }

    fn signer(&self, info: &mls_rs::MlsMessage, leaf: u32) -> Result<DeviceId, ObserveError> {
        let group = self.client().observe_group(info.clone(), None, None).map_err(ObserveError::from)?;
        let signer = group.roster().member_with_index(leaf).map_err(ObserveError::from)?;
        Ok(seated(&signer.signing_identity).map_err(Violation::from)?.0)
    }
}

/// Whether a group is the successor of another.
fn compare(old: &Observed, new: &Observed, group: &[u8], suite: Option<Suite>) -> Result<(), ObserveError> {
    let sorted = |of: &Observed| {
        let mut members = of.members.clone();
        members.sort_unstable();
        members
    };
    let same = [
        ("group id", new.group.as_bytes() == group),
        ("suite", Some(new.suite) == suite),
        ("epoch", new.epoch == 1),
        ("members", sorted(old) == sorted(new)),
        ("settings", old.settings == new.settings),
    ];
    match same.into_iter().find(|(_, same)| !same).filter(|_| stands(Defence::Successor)) {
        Some((what, _)) => Err(ObserveError::Successor(what)),
        None => Ok(()),
    }
}
