//! What a commit may do.

use mls_rs::{
    MlsRules,
    error::{IntoAnyError, MlsError},
    group::{GroupContext, Roster},
    identity::SigningIdentity,
    mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle},
};
use sync_types::frame::ExternalProof;
use sync_types::settings::Settings;
use sync_types::{DecodeError, DeviceId, decode, limits};

use super::{
    EXTERNAL_PROOF, Identity, InvalidIdentity, Lineage, PROTOCOL_VERSION, context_extensions,
    identity::{Proven, Replacement, member, seated},
    settings, suite_of,
};
use crate::Defence;
use crate::defence::stands;
use crate::statement::{Place, verify_recovery, verify_replace_key};

/// What a commit may not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Somebody outside lets itself in: its commit is neither the replacement of one member's key, with that key's word for
    /// it, nor a recovery, with that of the group's recovery key.
    #[error("an external commit without the word of a member or of the recovery key is refused")]
    External,
    /// A kind of proposal that groups do not use: ExternalInit, PreSharedKey or a custom one; or ReInit where no move is looked for.
    #[error("a commit holds a proposal that groups do not use")]
    Proposal,
    /// More members than [`limits::MEMBERS`].
    #[error("a group has at most 128 members")]
    TooManyMembers,
    /// A device is added that is a member already, or that the same commit removes.
    #[error("{0} is a member already")]
    AlreadyMember(DeviceId),
    /// A leaf or key package carries extensions of its own.
    #[error("a newcomer's leaf carries extensions")]
    LeafExtensions,
    /// The settings cannot be read.
    #[error("the settings are invalid: {0}")]
    Settings(#[from] DecodeError),
    /// The group's context holds anything but the settings and what members must be able to do.
    #[error("the group's context holds other extensions than a group has")]
    Extensions,
    /// A group belongs to one app for ever.
    #[error("a group's app id never changes")]
    AppId,
    /// A key in the tree is none that the members can encrypt to: no commit could be made any more.
    #[error("the group's tree holds a key that nobody can encrypt to")]
    WeakKey,
    /// What the commit says of the ends of chains is not what [`super::cut`] reads.
    #[error("a commit states the end of the chain of each device that it removes, and of no other")]
    Cut,
    /// A move changes more than the suite, or not even that.
    #[error("a move leads into one new group of another suite, and changes nothing else")]
    Move,
    /// A newcomer's identity is no device's.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
}

impl IntoAnyError for Violation {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// The rule that an error of the MLS library is about, if it is about one.
pub fn violation(error: &MlsError) -> Option<Violation> {
    match error {
        MlsError::MlsRulesError(e) => e.inner_dyn_error().downcast_ref::<Violation>().cloned(),
        MlsError::IdentityProviderError(e) => {
            let identity = e.inner_dyn_error().downcast_ref::<InvalidIdentity>();
            identity.map(|e| Violation::Identity(*e))
        }
        _ => None,
    }
}

/// The rules of every group.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    proven: Proven,
    moves: bool,
}

/// Rules and identities that belong together: one pair for each MLS client.
pub fn judges() -> (Rules, Identity) {
    let identity = Identity::default();
    (Rules { proven: identity.proven.clone(), moves: false }, identity)
}

/// The same for a group that moves to its successor (RFC 9420 §11.2). The rules let in the one commit that ends the old group,
/// and the one that fills the new one, and no other; so neither can pass as a change among others.
pub fn judges_of_move() -> (Rules, Identity) {
    let (rules, identity) = judges();
    (Rules { moves: true, ..rules }, identity)
}

/// What a group has agreed on behind its move: the same, but for a recovery kit. That is made for one suite, and ends with it.
pub fn settings_after_move(before: &Settings) -> Settings {
    Settings { recovery_key: Vec::new(), ..before.clone() }
}

impl Rules {
    fn check(
        source: &CommitSource,
        roster: &Roster,
        context: &GroupContext,
        p: &ProposalBundle,
    ) -> Result<Option<Replacement>, Violation> {
        if let CommitSource::NewMember(newcomer) = source {
            return Self::check_external(newcomer, roster, context, p);
        }
        // An allow-list: whatever else a proposal may be in a later version of the library is refused too.
        let (adds, removes, contexts) = (p.add_proposals(), p.remove_proposals(), p.group_context_ext_proposals());
        if p.length() != adds.len() + removes.len() + contexts.len() || !p.reinit_proposals().is_empty() {
            return Err(Violation::Proposal);
        }

        let before = roster.member_identities_iter().count();
        if (before + adds.len()).saturating_sub(removes.len()) > limits::MEMBERS {
            return Err(Violation::TooManyMembers);
        }
        for add in adds {
            let add = &add.proposal;
            let (id, _) = member(add.signing_identity())?;
            if roster.member_identities_iter().any(|m| m == add.signing_identity()) {
                return Err(Violation::AlreadyMember(id));
            }
            if !add.leaf_node_extensions().is_empty() || !add.key_package_extensions().is_empty() {
                return Err(Violation::LeafExtensions);
            }
        }

        if let Some(new) = contexts.first() {
            let (old, new) = (settings(&context.extensions)?, settings(&new.proposal)?);
            if old.app_id != new.app_id {
                return Err(Violation::AppId);
            }
        }
        Ok(None)
    }

    /// The last commit of a group is one ReInit and nothing else: to another suite, at the same version and with the settings
    /// that [`settings_after_move`] says. The first of its successor takes in newcomers, under a secret of the group before.
    fn check_move(source: &CommitSource, context: &GroupContext, p: &ProposalBundle) -> Result<(), Violation> {
        if matches!(source, CommitSource::NewMember(_)) {
            return Err(Violation::External);
        }
        if context.epoch == 0 && p.reinit_proposals().is_empty() {
            let [psk] = p.psk_proposals() else { return Err(Violation::Move) };
            let fills = psk.proposal.external_psk_id().is_some() && p.length() == 1 + p.add_proposals().len();
            return if fills { Ok(()) } else { Err(Violation::Move) };
        }
        let ([reinit], 1) = (p.reinit_proposals(), p.length()) else { return Err(Violation::Move) };
        let to = &reinit.proposal;
        let other = suite_of(to.new_cipher_suite()).is_some() && to.new_cipher_suite() != context.cipher_suite;
        let (group, epoch) = Lineage::place(context).ok_or(Violation::Move)?;
        let follows = Lineage::of(to.group_id()) == Some(Lineage { group, before: Some(epoch) });
        let after = context_extensions(&settings_after_move(&settings(&context.extensions)?));
        let same = to.new_version() == PROTOCOL_VERSION && *to.new_group_context_extensions() == after;
        if (other && follows && same) || !stands(Defence::Successor) { Ok(()) } else { Err(Violation::Move) }
    }

    /// An external commit replaces one member's key by another, with the old key's word for it, or lets one device in, with the
    /// recovery key's; and it does nothing else. Gives both keys of a replacement.
    fn check_external(
        newcomer: &SigningIdentity,
        roster: &Roster,
        context: &GroupContext,
        p: &ProposalBundle,
    ) -> Result<Option<Replacement>, Violation> {
        let (removes, [proof], [_]) = (p.remove_proposals(), p.custom_proposals(), p.external_init_proposals()) else {
            return Err(Violation::External);
        };
        if p.length() != 2 + removes.len() || proof.proposal.proposal_type() != EXTERNAL_PROOF {
            return Err(Violation::External);
        }
        let proof = decode(proof.proposal.data()).map_err(|_| Violation::External)?;
        let (new, new_key) = member(newcomer)?;
        if roster.member_identities_iter().any(|m| m == newcomer) {
            return Err(Violation::AlreadyMember(new));
        }
        let (group, epoch) = Lineage::place(context).ok_or(Violation::External)?;
        let place = Place { group: &group, epoch, transcript: &context.confirmed_transcript_hash };
        match (proof, removes) {
            (ExternalProof::ReplaceKey(proof), [remove]) => {
                let leaf = roster.member_with_index(remove.proposal.to_remove()).map_err(|_| Violation::External)?;
                let (old, old_key) = seated(&leaf.signing_identity)?;
                let holds = proof.old == old && verify_replace_key(&proof, place, &new_key, &old_key).is_ok();
                if !holds && stands(Defence::ReplaceKeyProof) {
                    return Err(Violation::External);
                }
                Ok(Some(Replacement { old: old_key, new: new_key }))
            }
            (ExternalProof::Recovery(proof), []) => {
                let key = settings(&context.extensions)?.recovery().ok_or(Violation::External)?;
                if verify_recovery(&proof, place, &new_key, &key).is_err() && stands(Defence::RecoveryProof) {
                    return Err(Violation::External);
                }
                if roster.member_identities_iter().count() >= limits::MEMBERS {
                    return Err(Violation::TooManyMembers);
                }
                Ok(None)
            }
            _ => Err(Violation::External),
        }
    }
}

impl MlsRules for Rules {
    type Error = Violation;

    fn filter_proposals(
        &self,
        _: CommitDirection,
        source: CommitSource,
        roster: &Roster,
        context: &GroupContext,
        proposals: ProposalBundle,
    ) -> Result<ProposalBundle, Violation> {
        // Whatever an earlier commit proved is over.
        self.proven.set(None);
        if self.moves {
            return Self::check_move(&source, context, &proposals).map(|()| proposals);
        }
        self.proven.set(Self::check(&source, roster, context, &proposals)?);
        Ok(proposals)
    }

    /// Every commit renews its committer's keys. A welcome is for one newcomer and holds the tree, so that it is all
    /// that the newcomer needs. That of a successor is for all who follow.
    fn commit_options(&self, _: &Roster, _: &GroupContext, _: &ProposalBundle) -> Result<CommitOptions, Violation> {
        Ok(CommitOptions::new()
            .with_path_required(true)
            .with_ratchet_tree_extension(true)
            .with_single_welcome_message(self.moves)
            .with_allow_external_commit(true))
    }

    /// Handshake messages stay readable, because the relay follows the group by them.
    fn encryption_options(&self, _: &Roster, _: &GroupContext) -> Result<EncryptionOptions, Violation> {
        Ok(EncryptionOptions::default())
    }
}
