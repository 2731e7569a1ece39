//! The end of a group that moves to another suite, and the group that takes its place (RFC 9420 §11.2), as everybody can see both.

use mls_rs::{
    CryptoProvider,
    external_client::{ExternalGroup, ExternalReceivedMessage},
    group::CommitEffect,
};
use sync_types::Suite;

use crate::Defence;
use crate::defence::stands;
use crate::mls::{CommitMessage, NotACommit, Violation, cut, seated, settings_after_move, suite_of};
use crate::statement::verify_move;

use super::{Config, ObserveError, Observed, Observer, Step, check_place, compare, group_info_message, observed, tree};

impl<P: CryptoProvider + Clone> Observer<P> {
    /// Checks the commit that ends a group, and the GroupInfo of the successor that comes with it: of the suite and under the id
    /// that the commit says, at its epoch 1, with the same members under the same keys, by the committer. `group` takes a move.
    /// What leads members into the successor, no observer can check; the committer has signed it. Gives what the commit did,
    /// with the successor as the group after, and the committer's place there.
    pub(super) fn ends(
        &self,
        mut group: ExternalGroup<Config<P>>,
        commit: CommitMessage,
    ) -> Result<(Step, ExternalGroup<Config<P>>, u32), ObserveError> {
        let (before, tree_before) = (observed(&group)?, tree(&group)?);
        let commit_hash = commit.hash;
        check_place(&commit, &before)?;
        let (Some(moved), Some(leaf)) = (commit.moved, commit.sender) else { return Err(Violation::Move.into()) };
        let committer = group.roster().member_with_index(leaf).map_err(ObserveError::from)?;
        let (committer, key) = seated(&committer.signing_identity).map_err(Violation::from)?;
        if verify_move(&before.group, &moved, &key).is_err() && stands(Defence::Successor) {
            return Err(ObserveError::Successor("signature"));
        }
        let ExternalReceivedMessage::Commit(done) = group.process_incoming_message(commit.message)? else {
            return Err(NotACommit::OtherMessage.into());
        };
        let CommitEffect::ReInit(to) = done.effect else { return Err(Violation::Move.into()) };
        cut(&done.authenticated_data, &[])?;
        self.check_keys(tree_before.nodes(), &group)?;

        let info = group_info_message(&moved.group_info)?;
        let signer = info.as_group_info().ok_or(ObserveError::NotAGroupInfo)?.sender();
        let successor = self.client().observe_group(info, None, None).map_err(ObserveError::from)?;
        self.check_keys(&[], &successor)?;
        let by = successor.roster().member_with_index(signer).map_err(ObserveError::from)?;
        let (by, _) = seated(&by.signing_identity).map_err(Violation::from)?;
        let after = observed(&successor)?;
        let context = successor.group_context();
        let to = to.proposal;
        let named = context.group_id == to.group_id();
        check(&before, &after, named, context.epoch, suite_of(to.new_cipher_suite()))?;
        if by != committer && stands(Defence::Successor) {
            return Err(ObserveError::Successor("signer"));
        }
        let step = Step {
            before,
            after,
            committer,
            replaced: None,
            recovered: false,
            added: Vec::new(),
            removed: Vec::new(),
            authenticated_data: done.authenticated_data,
            commit_hash,
        };
        Ok((step, successor, signer))
    }

    /// The same, with a GroupInfo of the successor that somebody has signed since, or the committer has.
    pub(super) fn moves(
        &self,
        group: ExternalGroup<Config<P>>,
        commit: CommitMessage,
        group_info: Option<&[u8]>,
        by_committer: bool,
    ) -> Result<Step, ObserveError> {
        let (step, mut successor, committer) = self.ends(group, commit)?;
        if let Some(info) = group_info.map(group_info_message).transpose()? {
            compare(&mut successor, info, by_committer.then_some(committer))?;
        }
        Ok(step)
    }
}

/// Whether a group is the successor of another.
fn check(
    old: &Observed,
    new: &Observed,
    named: bool,
    mls_epoch: u64,
    suite: Option<Suite>,
) -> Result<(), ObserveError> {
    let sorted = |of: &Observed| {
        let mut members = of.members.clone();
        members.sort_unstable();
        members
    };
    let same = [
        ("group id", named && new.group == old.group),
        ("suite", Some(new.suite) == suite),
        ("epoch", mls_epoch == 1),
        ("members", sorted(old) == sorted(new)),
        ("settings", new.settings == settings_after_move(&old.settings)),
    ];
    match same.into_iter().find(|(_, same)| !same).filter(|_| stands(Defence::Successor)) {
        Some((what, _)) => Err(ObserveError::Successor(what)),
        None => Ok(()),
    }
}
