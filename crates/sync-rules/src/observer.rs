//! A group as a relay sees it: who is in it, what it agreed on, and whether a commit is allowed. Without any key.
//!
//! What an observer cannot check are the two tags that need the group's secrets: the membership tag and the confirmation
//! tag. A commit is therefore provisional until a member has confirmed it.

mod successor;

use mls_rs::{
    CryptoProvider, MlsMessage,
    error::MlsError,
    external_client::{
        ExternalClient, ExternalGroup, ExternalReceivedMessage, ExternalSnapshot,
        builder::{ExternalBaseConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules},
    },
    group::{CommitEffect, CommitMessageDescription, ExportedTree, Node},
};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::{Code, DeviceId, EntryHash, GroupId, Suite, limits, settings::Settings};

use crate::Defence;
use crate::defence::stands;
use crate::mls::{
    CommitMessage, EXTERNAL_PROOF, Identity, Lineage, NotACommit, Rules, SETTINGS, Violation, check_keys, cut, judges,
    judges_of_move, seated, settings, suite_of, tree,
};

/// Follows groups by their public messages.
pub trait Observe: Send + Sync {
    /// Starts to follow a group from a GroupInfo that holds the tree.
    fn found(&self, group_info: &[u8]) -> Result<Observed, ObserveError>;

    /// Checks a commit and the GroupInfo that belongs to it against the group's state before it. Nothing is kept: the
    /// state after it is in the answer.
    fn process(&self, snapshot: &[u8], commit: &[u8], group_info: &[u8]) -> Result<Step, ObserveError>;

    /// The same for a commit that was ordered elsewhere. A GroupInfo comes with the last of several, and any member may have
    /// signed it.
    fn copy(&self, snapshot: &[u8], commit: &[u8], group_info: Option<&[u8]>) -> Result<Step, ObserveError>;
}

/// A group at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The observer's state, to be given back to [`Observe::process`].
    pub snapshot: Vec<u8>,
    /// The group.
    pub group: GroupId,
    /// Its cipher suite.
    pub suite: Suite,
    /// The first epoch of that suite: 0 if the group has never moved to another.
    pub suite_since: u64,
    /// The epoch.
    pub epoch: u64,
    /// Who is in the group, with the Ed25519 public keys, in the order of the tree.
    pub members: Vec<(DeviceId, [u8; 32])>,
    /// What the members agreed on.
    pub settings: Settings,
}

impl Observed {
    /// The public key of a member.
    pub fn key_of(&self, device: DeviceId) -> Option<&[u8; 32]> {
        self.members.iter().find(|(id, _)| *id == device).map(|(_, key)| key)
    }
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The group before, as the snapshot had it.
    pub before: Observed,
    /// The group after.
    pub after: Observed,
    /// Who made the commit.
    pub committer: DeviceId,
    /// Whose place the committer takes, if the commit replaces a member's key. It is among [`Step::removed`], and the
    /// committer among [`Step::added`].
    pub replaced: Option<DeviceId>,
    /// Whether the committer came in by the group's recovery key. Then it is all of [`Step::added`].
    pub recovered: bool,
    /// Who came, with the public keys.
    pub added: Vec<(DeviceId, [u8; 32])>,
    /// Who went.
    pub removed: Vec<DeviceId>,
    /// What the committer signed beside the commit.
    pub authenticated_data: Vec<u8>,
    /// The hash of the commit's bytes, see [`CommitMessage::hash`].
    pub commit_hash: EntryHash,
}

/// Why a commit or a GroupInfo is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The bytes are no commit of a member.
    #[error(transparent)]
    NotACommit(#[from] NotACommit),
    /// The bytes are no GroupInfo with the tree in it.
    #[error("the bytes are no GroupInfo that holds the tree")]
    NotAGroupInfo,
    /// The group uses another MLS cipher suite.
    #[error("the group uses another cipher suite")]
    Suite,
    /// The commit or GroupInfo is for another group.
    #[error("the message is for another group")]
    OtherGroup,
    /// The commit is for an epoch that is over.
    #[error("the commit is for epoch {theirs}, the group is at {ours}")]
    Stale {
        /// The commit's epoch.
        theirs: u64,
        /// The group's epoch.
        ours: u64,
    },
    /// The commit is for an epoch that has not begun.
    #[error("the commit is for epoch {theirs}, the group is at {ours}")]
    Future {
        /// The commit's epoch.
        theirs: u64,
        /// The group's epoch.
        ours: u64,
    },
    /// The commit breaks a rule of groups.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// MLS itself refuses the commit or the GroupInfo: a signature, a hash, a key.
    #[error("the message is invalid: {0}")]
    Invalid(#[source] Box<MlsError>),
    /// The GroupInfo is not the one of the epoch that the commit begins, or not signed by the committer.
    #[error("the GroupInfo does not belong to the commit")]
    GroupInfo,
    /// The group that a last commit names, and the one that comes with it, are not one; says in what.
    #[error("the successor's {0} is not what the group's last commit says")]
    Successor(&'static str),
    /// The snapshot is not one of this observer's.
    #[error("the group's snapshot is damaged: {0}")]
    Snapshot(#[source] Box<MlsError>),
}

impl ObserveError {
    /// What the device is told.
    pub fn code(&self) -> Code {
        match self {
            Self::NotACommit(NotACommit::Sender | NotACommit::NoPath | NotACommit::LeafExtensions) => {
                Code::CommitRefused
            }
            Self::NotACommit(_) | Self::NotAGroupInfo | Self::OtherGroup | Self::Future { .. } => Code::Protocol,
            Self::Suite => Code::Suite,
            Self::Stale { .. } => Code::StaleEpoch,
            Self::Refused(_) | Self::Invalid(_) | Self::GroupInfo | Self::Successor(_) => Code::CommitRefused,
            Self::Snapshot(_) => Code::Internal,
        }
    }
}

/// [`Observe`] over a crypto provider.
#[derive(Clone, Debug, Default)]
pub struct Observer<P> {
    crypto: P,
}

type Config<P> = WithMlsRules<Rules, WithIdentityProvider<Identity, WithCryptoProvider<P, ExternalBaseConfig>>>;

impl<P: CryptoProvider + Clone> Observer<P> {
    /// An observer that checks with this cryptography.
    pub fn new(crypto: P) -> Self {
        Self { crypto }
    }

    /// Checks the keys of a group's tree that were not there before.
    fn check_keys(&self, before: &[Option<Node>], group: &ExternalGroup<Config<P>>) -> Result<(), ObserveError> {
        let suite = self.crypto.cipher_suite_provider(group.group_context().cipher_suite).ok_or(ObserveError::Suite)?;
        Ok(check_keys(&suite, before, tree(group)?.nodes())?)
    }

    fn client(&self) -> ExternalClient<Config<P>> {
        self.client_by(judges())
    }

    fn client_by(&self, (rules, identity): (Rules, Identity)) -> ExternalClient<Config<P>> {
        ExternalClient::builder()
            .crypto_provider(self.crypto.clone())
            .identity_provider(identity)
            .mls_rules(rules)
            .extension_type(SETTINGS)
            .custom_proposal_types([EXTERNAL_PROOF])
            .build()
    }
}

/// What a device has to know of a group's state to take a new key there.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The group.
    pub observed: Observed,
    /// The confirmed transcript hash (RFC 9420 §8.2).
    pub transcript: Vec<u8>,
    /// The place in the tree of the device that was asked for, if it is a member.
    pub leaf: Option<u32>,
    /// The member that signed the message.
    pub signer: DeviceId,
    /// The message.
    pub message: MlsMessage,
}

impl<P: CryptoProvider + Clone> Observer<P> {
    /// Reads a GroupInfo that holds the tree, and looks a member up in it. Checks signature, tree and rules; that the state
    /// is the newest one, nobody can see from it.
    pub fn inspect(&self, group_info: &[u8], device: DeviceId) -> Result<Inspected, ObserveError> {
        let message = group_info_message(group_info)?;
        let group = self.client().observe_group(message.clone(), None, None).map_err(ObserveError::from)?;
        self.check_keys(&[], &group)?;
        let of = |m: &mls_rs::group::Member| seated(&m.signing_identity).is_ok_and(|(id, _)| id == device);
        let signer = message.as_group_info().ok_or(ObserveError::NotAGroupInfo)?.sender();
        let signer = group.roster().member_with_index(signer).map_err(ObserveError::from)?;
        Ok(Inspected {
            signer: seated(&signer.signing_identity).map_err(Violation::from)?.0,
            observed: observed(&group)?,
            transcript: group.group_context().confirmed_transcript_hash.to_vec(),
            leaf: group.roster().members_iter().find(of).map(|m| m.index),
            message,
        })
    }
}

impl<P: CryptoProvider + Clone> Observer<P> {
    /// Whether an honest relay may have ordered this commit in the group that the GroupInfo describes. It checks
    /// signatures, tree and rules, and lets through whatever is wrong only in what needs the group's secrets. Gives who is in
    /// the group by it that was not before.
    pub fn may_be_ordered(&self, group_info: &[u8], commit: &[u8]) -> Result<Vec<DeviceId>, ObserveError> {
        let message = group_info_message(group_info)?;
        let commit = CommitMessage::parse(commit)?;
        if commit.moved.is_some() {
            let group = self.client_by(judges_of_move()).observe_group(message, None, None);
            return self.ends(group.map_err(ObserveError::from)?, commit).map(|_| Vec::new());
        }
        let mut group = self.client().observe_group(message, None, None).map_err(ObserveError::from)?;
        let (before, tree_before) = (observed(&group)?, tree(&group)?);
        let done = apply(&mut group, commit, &before)?;
        self.check_keys(tree_before.nodes(), &group)?;
        let after = observed(&group)?;
        let gone: Vec<DeviceId> = before.members.iter().filter(|m| !after.members.contains(m)).map(|m| m.0).collect();
        cut(&done.authenticated_data, &gone)?;
        Ok(after.members.iter().filter(|m| !before.members.contains(m)).map(|m| m.0).collect())
    }
}

/// Applies a commit to the group's public state.
fn apply<P: CryptoProvider + Clone>(
    group: &mut ExternalGroup<Config<P>>,
    commit: CommitMessage,
    before: &Observed,
) -> Result<CommitMessageDescription, ObserveError> {
    check_place(&commit, before)?;
    let ExternalReceivedMessage::Commit(done) = group.process_incoming_message(commit.message)? else {
        return Err(NotACommit::OtherMessage.into());
    };
    let CommitEffect::NewEpoch(_) = done.effect else {
        return Err(Violation::Proposal.into());
    };
    Ok(done)
}

impl<P: CryptoProvider + Clone> Observe for Observer<P> {
    fn found(&self, group_info: &[u8]) -> Result<Observed, ObserveError> {
        let message = group_info_message(group_info)?;
        let group = self.client().observe_group(message, None, None).map_err(ObserveError::from)?;
        self.check_keys(&[], &group)?;
        observed(&group)
    }

    fn process(&self, snapshot: &[u8], commit: &[u8], group_info: &[u8]) -> Result<Step, ObserveError> {
        self.step(snapshot, commit, Some(group_info), true)
    }

    fn copy(&self, snapshot: &[u8], commit: &[u8], group_info: Option<&[u8]>) -> Result<Step, ObserveError> {
        self.step(snapshot, commit, group_info, false)
    }
}

impl<P: CryptoProvider + Clone> Observer<P> {
    fn step(
        &self,
        snapshot: &[u8],
        commit: &[u8],
        group_info: Option<&[u8]>,
        by_committer: bool,
    ) -> Result<Step, ObserveError> {
        let damaged = |e| ObserveError::Snapshot(Box::new(e));
        let state = ExternalSnapshot::from_bytes(snapshot).map_err(damaged)?;
        let commit = CommitMessage::parse(commit)?;
        if commit.moved.is_some() {
            let group = self.client_by(judges_of_move()).load_group(state).map_err(damaged)?;
            return self.moves(group, commit, group_info, by_committer);
        }
        let mut group = self.client().load_group(state).map_err(damaged)?;
        let before = observed(&group)?;
        let tree_before = tree(&group)?;

        let (external, commit_hash) = (commit.sender.is_none(), commit.hash);
        // A commit that has come too late is told so, whatever comes with it.
        check_place(&commit, &before)?;
        let info = group_info.map(group_info_message).transpose()?;
        let done = apply(&mut group, commit, &before)?;
        if let Some(info) = info {
            compare(&mut group, info, by_committer.then_some(done.committer))?;
        }

        self.check_keys(tree_before.nodes(), &group)?;
        let after = observed(&group)?;
        let committer = group.roster().member_with_index(done.committer).map_err(ObserveError::from)?;
        let (committer, _) = seated(&committer.signing_identity).map_err(Violation::from)?;
        let removed: Vec<DeviceId> =
            before.members.iter().filter(|m| !after.members.contains(m)).map(|m| m.0).collect();
        Ok(Step {
            added: after.members.iter().filter(|m| !before.members.contains(m)).copied().collect(),
            // The rules let an external commit do nothing but one of these.
            replaced: removed.first().copied().filter(|_| external),
            recovered: external && removed.is_empty(),
            removed,
            before,
            after,
            committer,
            authenticated_data: done.authenticated_data,
            commit_hash,
        })
    }
}

/// Compares signature, tree, context and confirmation tag of a GroupInfo with those that a commit has led to; and who signed it
/// with who should have.
fn compare<P: CryptoProvider + Clone>(
    group: &mut ExternalGroup<Config<P>>,
    info: MlsMessage,
    signer: Option<u32>,
) -> Result<(), ObserveError> {
    let by = info.as_group_info().map(|info| info.sender());
    let same = group.process_incoming_message(info).is_ok();
    if !same || (signer.is_some() && by != signer) {
        return Err(ObserveError::GroupInfo);
    }
    Ok(())
}

/// A GroupInfo without its signer and signature: what is the same whichever member made it. `None` if it is none.
pub fn unsigned_group_info(bytes: &[u8]) -> Option<&[u8]> {
    let message = crate::mls::message(bytes).ok()?;
    let signer = message.as_group_info()?.sender();
    // RFC 9420 §12.4.3: both stand last, and signatures are Ed25519's.
    let tail = sync_types::encode(&Tail { signer, signature: [0; 64].to_vec() }).len();
    let (unsigned, end) = bytes.split_at_checked(bytes.len().checked_sub(tail)?)?;
    sync_types::decode::<Tail>(end).is_ok_and(|tail| tail.signer == signer).then_some(unsigned)
}

/// What stands last in a GroupInfo.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Tail {
    signer: u32,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signature: Vec<u8>,
}

fn check_place(commit: &CommitMessage, group: &Observed) -> Result<(), ObserveError> {
    if commit.group != group.group {
        return Err(ObserveError::OtherGroup);
    }
    let (theirs, ours) = (commit.epoch, group.epoch);
    match theirs.cmp(&ours) {
        std::cmp::Ordering::Less => Err(ObserveError::Stale { theirs, ours }),
        std::cmp::Ordering::Greater => Err(ObserveError::Future { theirs, ours }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn group_info_message(bytes: &[u8]) -> Result<MlsMessage, ObserveError> {
    let message = crate::mls::message(bytes).map_err(|_| ObserveError::NotAGroupInfo)?;
    let info = message.as_group_info().ok_or(ObserveError::NotAGroupInfo)?;
    let tree = info.extensions().get(mls_rs::extension::ExtensionType::RATCHET_TREE);
    if !tree.is_some_and(|tree| tree::is_bounded(&tree.extension_data) || !stands(Defence::Counting)) {
        return Err(ObserveError::NotAGroupInfo);
    }
    if suite_of(info.group_context().cipher_suite).is_none() {
        return Err(ObserveError::Suite);
    }
    Ok(message)
}

fn tree<P: CryptoProvider + Clone>(group: &ExternalGroup<Config<P>>) -> Result<ExportedTree<'static>, ObserveError> {
    let bytes = group.export_tree().map_err(ObserveError::from)?;
    let tree = ExportedTree::mls_decode(&mut bytes.as_slice()).map_err(MlsError::from)?;
    Ok(tree)
}

fn observed<P: CryptoProvider + Clone>(group: &ExternalGroup<Config<P>>) -> Result<Observed, ObserveError> {
    let context = group.group_context();
    let members =
        group.roster().member_identities_iter().map(seated).collect::<Result<Vec<_>, _>>().map_err(Violation::from)?;
    if members.len() > limits::MEMBERS {
        return Err(Violation::TooManyMembers.into());
    }
    let lineage = Lineage::of(&context.group_id).ok_or(NotACommit::GroupId)?;
    Ok(Observed {
        snapshot: group.snapshot().to_bytes().map_err(ObserveError::from)?,
        group: lineage.group,
        suite: suite_of(context.cipher_suite).ok_or(ObserveError::Suite)?,
        suite_since: lineage.suite_since(),
        epoch: lineage.epoch(context.epoch).ok_or(NotACommit::GroupId)?,
        members,
        settings: settings(&context.extensions)?,
    })
}

impl From<MlsError> for ObserveError {
    fn from(error: MlsError) -> Self {
        match crate::mls::violation(&error) {
            Some(violation) => Self::Refused(violation),
            None => Self::Invalid(Box::new(error)),
        }
    }
}
