//! What a commit may do.

use mls_rs::{
    MlsRules,
    error::{IntoAnyError, MlsError},
    group::{GroupContext, Roster},
    mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle},
};
use sync_types::{DecodeError, DeviceId, limits};

use super::{InvalidIdentity, identity::member, settings};

/// What a commit may not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Somebody outside lets itself in.
    #[error("external commits are refused")]
    External,
    /// A kind of proposal that groups do not use: ReInit, ExternalInit, PreSharedKey or a custom one.
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules;

impl Rules {
    fn check(
        source: &CommitSource,
        roster: &Roster,
        context: &GroupContext,
        p: &ProposalBundle,
    ) -> Result<(), Violation> {
        if matches!(source, CommitSource::NewMember(_)) {
            return Err(Violation::External);
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
        Ok(())
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
        Self::check(&source, roster, context, &proposals)?;
        Ok(proposals)
    }

    /// Every commit renews its committer's keys. A welcome is for one newcomer and holds the tree, so that it is all
    /// that the newcomer needs.
    fn commit_options(&self, _: &Roster, _: &GroupContext, _: &ProposalBundle) -> Result<CommitOptions, Violation> {
        Ok(CommitOptions::new()
            .with_path_required(true)
            .with_ratchet_tree_extension(true)
            .with_single_welcome_message(false)
            .with_allow_external_commit(false))
    }

    /// Handshake messages stay readable, because the relay follows the group by them.
    fn encryption_options(&self, _: &Roster, _: &GroupContext) -> Result<EncryptionOptions, Violation> {
        Ok(EncryptionOptions::default())
    }
}
