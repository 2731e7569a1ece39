//! Making and applying commits.

use mls_rs::{
    CryptoProvider, Extension, ExtensionList, MlsMessage,
    error::MlsError,
    group::{CommitEffect, CommitMessageDescription, NewEpoch, ReceivedMessage, proposal::Proposal},
};
use sync_rules::Observer;
use sync_rules::mls::{self, BASELINE, CommitMessage, NotACommit, Violation};
use sync_types::{DeviceId, EntryHash, Suite, frame::Cut, settings::Settings};

use crate::RelayId;
use crate::relay_id::relays_of;

use super::{ApplyError, Member, Membership, PrepareError, epoch_of, mls_time, read_key_package};

/// A change of a group.
#[derive(Clone, Debug)]
pub enum Change {
    /// Takes in the devices behind these key packages.
    Add(Vec<Vec<u8>>),
    /// Puts these devices out.
    Remove(Vec<DeviceId>),
    /// Renews this device's keys.
    SelfUpdate,
    /// Puts these settings in force.
    Settings(Settings),
    /// Puts all these devices out, for one that came back by the recovery kit, and these settings in force, if any.
    TakeOver {
        /// Who goes.
        remove: Vec<DeviceId>,
        /// The new settings.
        settings: Option<Settings>,
    },
}

/// A commit that waits to be ordered. Commit, welcomes and GroupInfo travel together in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The commit's bytes.
    pub commit: Vec<u8>,
    /// For each newcomer its welcome.
    pub welcomes: Vec<(DeviceId, Vec<u8>)>,
    /// The GroupInfo of the epoch that the commit begins, with the tree.
    pub group_info: Vec<u8>,
    /// The commit's hash.
    pub hash: EntryHash,
    /// The epoch that the commit begins.
    pub epoch: u64,
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The epoch that the commit began.
    pub epoch: u64,
    /// Who made it.
    pub committer: DeviceId,
    /// Who came.
    pub added: Vec<DeviceId>,
    /// Who went.
    pub removed: Vec<DeviceId>,
    /// Whose place the committer takes under another key. That device is among those who went, the committer among those
    /// who came.
    pub replaced: Option<DeviceId>,
    /// Where the chains of those end who went, as the committer signed it.
    pub cut: Cut,
    /// Whether the committer came in by the group's recovery key. It is all of those who came then.
    pub recovered: bool,
    /// What the group agreed on before, if that has changed.
    pub settings_before: Option<Settings>,
    /// The group's suite before, if it has moved to another.
    pub suite_before: Option<Suite>,
    /// Whether it is the one that this device had pending.
    pub own: bool,
    /// Whether this device is out of the group now.
    pub removed_me: bool,
    /// The commit's hash.
    pub hash: EntryHash,
}

impl<P: CryptoProvider + Clone> Membership<P> {
    /// Whether a commit can be made now.
    pub(super) fn may_prepare(&self) -> Result<(), PrepareError> {
        match (self.removed, &self.pending) {
            (true, _) => Err(PrepareError::Removed),
            (_, Some(_)) => Err(PrepareError::Pending),
            (_, None) => Ok(()),
        }
    }

    /// Makes a commit and keeps it pending. `authenticated_data` is signed with it and readable for the relay;
    /// `baseline` rides encrypted in the welcomes; key packages are judged by `now`, in milliseconds.
    pub fn prepare(
        &mut self,
        change: Change,
        authenticated_data: Vec<u8>,
        baseline: Option<Vec<u8>>,
        now: u64,
    ) -> Result<Prepared, PrepareError> {
        self.may_prepare()?;
        let crypto = self.provider()?;
        let (me, members) = (self.device(), self.members());
        // On a copy, so that a failure leaves nothing behind.
        let mut group = self.group.clone();
        let mut builder = group.commit_builder().authenticated_data(authenticated_data).commit_time(mls_time(now));
        let mut newcomers = Vec::new();
        match change {
            Change::SelfUpdate => {}
            Change::Settings(settings) => {
                builder = builder.set_group_context_ext(mls::context_extensions(&settings))?
            }
            Change::Remove(remove) | Change::TakeOver { remove, settings: None } => {
                for leaf in leaves(&members, me, &remove)? {
                    builder = builder.remove_member(leaf)?;
                }
            }
            Change::TakeOver { remove, settings: Some(settings) } => {
                builder = builder.set_group_context_ext(mls::context_extensions(&settings))?;
                for leaf in leaves(&members, me, &remove)? {
                    builder = builder.remove_member(leaf)?;
                }
            }
            Change::Add(packages) if packages.is_empty() => return Err(PrepareError::Empty),
            Change::Add(packages) => {
                for bytes in packages {
                    let (device, _, suite) = read_key_package(&bytes)?;
                    if suite != self.suite() {
                        return Err(PrepareError::Suite);
                    }
                    let package = MlsMessage::from_bytes(&bytes).map_err(PrepareError::key_package)?;
                    newcomers.push((package.key_package_reference(&crypto)?, device));
                    builder = builder.add_member(package)?;
                }
            }
        }
        if let Some(baseline) = baseline {
            let mut list = ExtensionList::new();
            list.set(Extension::new(BASELINE, baseline));
            builder = builder.set_group_info_ext(list);
        }
        // Nothing but a key package comes from outside.
        let adding = !newcomers.is_empty();
        let output = builder.build().map_err(|e| if adding { PrepareError::key_package(e) } else { e.into() })?;

        let mut welcomes = Vec::with_capacity(newcomers.len());
        for welcome in &output.welcome_messages {
            let wanted = welcome.welcome_key_package_references();
            let to = newcomers.iter().find(|(reference, _)| reference.as_ref() == wanted.first().copied());
            let (_, device) = to.expect("each welcome is for one of the key packages");
            welcomes.push((*device, welcome.to_bytes()?));
        }
        let mut after = group.clone();
        after.apply_pending_commit()?;
        self.check_keys(&after)?;
        let commit = output.commit_message.to_bytes()?;
        let prepared = Prepared {
            hash: CommitMessage::hash(&commit),
            commit,
            welcomes,
            group_info: after.group_info_message_allowing_ext_commit(true)?.to_bytes()?,
            epoch: epoch_of(&after),
        };
        self.group = group;
        self.pending = Some(prepared.hash);
        Ok(prepared)
    }

    /// Drops the pending commit: the relay refused it, or it was rejected. Not for "no answer yet": once a commit may
    /// have been ordered, its secrets are needed.
    pub fn clear_pending(&mut self) {
        self.group.clear_pending_commit();
        (self.pending, self.successor) = (None, None);
    }

    /// Applies a commit that the relay ordered. An error changes nothing. Whatever was pending is done with: either this
    /// was it, or it lost.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<Applied, ApplyError> {
        self.apply_by(bytes, &[])
    }

    /// The same for a commit that may lead into a successor, for a device that gave away one of the key packages behind these
    /// secrets.
    pub fn apply_by(&mut self, bytes: &[u8], secrets: &[&[u8]]) -> Result<Applied, ApplyError> {
        if self.removed {
            return Err(ApplyError::Removed);
        }
        let commit = CommitMessage::parse(bytes)?;
        if commit.group != self.group_id() {
            return Err(ApplyError::OtherGroup);
        }
        let (theirs, ours) = (commit.epoch, self.epoch());
        if theirs < ours {
            return Err(ApplyError::Stale { theirs, ours });
        }
        if theirs > ours {
            return Err(ApplyError::Future { theirs, ours });
        }
        let own = self.pending == Some(commit.hash);
        let external = commit.sender.is_none();
        if !own && commit.sender == Some(self.group.current_member_index()) {
            return Err(ApplyError::OwnUnknown);
        }
        if commit.moved.is_some() {
            return self.move_on(commit, own, secrets);
        }

        // On a copy, so that a failure leaves nothing behind.
        let mut group = self.group.clone();
        let done = if own {
            group.apply_pending_commit()?
        } else {
            // No time is given: whether a newcomer's key package was in date was its sponsor's to judge.
            match group.process_incoming_message(commit.message)? {
                ReceivedMessage::Commit(done) => done,
                _ => return Err(NotACommit::OtherMessage.into()),
            }
        };
        let (new_epoch, removed_me) = effect(&done)?;
        if !own && !removed_me {
            self.check_keys(&group)?;
        }
        let (mut added, removed) = self.changes(new_epoch)?;
        // An external commit's committer has no place before it, and where it puts this device out, none here behind it either.
        let committer = match group.member_at_index(done.committer).filter(|_| external) {
            _ if external && removed_me => self.newcomer_by(bytes)?,
            Some(newcomer) => mls::seated(&newcomer.signing_identity).map_err(Violation::from)?.0,
            None => self.member_at(done.committer).device,
        };
        added.extend(Some(committer).filter(|_| external));
        let cut = mls::cut(&done.authenticated_data, &removed);
        let mut applied = Applied {
            epoch: theirs + 1,
            committer,
            replaced: removed.first().copied().filter(|_| external),
            added,
            removed,
            cut: cut?,
            settings_before: None,
            suite_before: None,
            recovered: false,
            own,
            removed_me,
            hash: commit.hash,
        };
        applied.recovered = external && applied.removed.is_empty();
        if removed_me {
            self.clear_pending();
            self.removed = true;
        } else {
            let settings = mls::settings(&group.context().extensions)?;
            applied.settings_before = Some(self.settings()).filter(|before| *before != settings);
            self.group = group;
            self.clear_pending();
            self.exporter_taken = false;
        }
        Ok(applied)
    }

    /// Who comes into the group by this external commit, as everybody can see.
    fn newcomer_by(&self, commit: &[u8]) -> Result<DeviceId, ApplyError> {
        let info = self.group.group_info_message_allowing_ext_commit(true)?.to_bytes()?;
        let came = Observer::new(self.crypto.clone()).may_be_ordered(&info, commit).ok();
        came.and_then(|came| came.first().copied()).ok_or_else(|| NotACommit::OtherMessage.into())
    }

    /// Whether an honest relay may have ordered these bytes as the next commit. If not, no member can be told by them.
    pub fn may_be_ordered(&self, commit: &[u8]) -> bool {
        let info = self.group.group_info_message_allowing_ext_commit(true).and_then(|info| info.to_bytes());
        info.is_ok_and(|info| Observer::new(self.crypto.clone()).may_be_ordered(&info, commit).is_ok())
    }

    /// Which relays a commit of this epoch finds and leaves, if it changes nothing else.
    pub fn relays_after(&self, commit: &[u8]) -> Option<(Vec<RelayId>, Vec<RelayId>)> {
        let commit = CommitMessage::parse(commit).ok().filter(|commit| commit.epoch == self.epoch())?;
        let mut group = self.group.clone();
        let ReceivedMessage::Commit(done) = group.process_incoming_message(commit.message).ok()? else { return None };
        let (epoch, _) = effect(&done).ok()?;
        let before = self.settings();
        let after = mls::settings(&group.context().extensions).ok()?;
        let same = Settings { relays: before.relays.clone(), ..after.clone() } == before;
        let ids = |settings: &Settings| relays_of(settings).into_iter().map(|(relay, _)| relay).collect();
        let mut proposals = epoch.applied_proposals().iter().map(|info| &info.proposal);
        let settings_alone = proposals.all(|proposal| matches!(proposal, Proposal::GroupContextExtensions(_)));
        (same && settings_alone).then(|| (ids(&before), ids(&after)))
    }

    fn changes(&self, epoch: &NewEpoch) -> Result<(Vec<DeviceId>, Vec<DeviceId>), ApplyError> {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for info in epoch.applied_proposals() {
            match &info.proposal {
                Proposal::Add(add) => added.push(mls::seated(add.signing_identity()).map_err(Violation::from)?.0),
                Proposal::Remove(remove) => removed.push(self.member_at(remove.to_remove()).device),
                _ => {}
            }
        }
        Ok((added, removed))
    }

    fn provider(&self) -> Result<P::CipherSuiteProvider, PrepareError> {
        let suite = self.group.cipher_suite();
        let unsupported = || PrepareError::Mls(Box::new(MlsError::UnsupportedCipherSuite(suite)));
        self.crypto.cipher_suite_provider(suite).ok_or_else(unsupported)
    }
}

/// The places in the tree of those who are to go.
fn leaves(members: &[Member], me: DeviceId, remove: &[DeviceId]) -> Result<Vec<u32>, PrepareError> {
    let leaf = |device: &DeviceId| match members.iter().find(|m| m.device == *device) {
        Some(_) if *device == me => Err(PrepareError::Myself),
        Some(member) => Ok(member.leaf),
        None => Err(PrepareError::UnknownDevice(*device)),
    };
    if remove.is_empty() { Err(PrepareError::Empty) } else { remove.iter().map(leaf).collect() }
}

fn effect(done: &CommitMessageDescription) -> Result<(&NewEpoch, bool), Violation> {
    match &done.effect {
        CommitEffect::NewEpoch(epoch) => Ok((epoch, false)),
        CommitEffect::Removed { new_epoch, .. } => Ok((new_epoch, true)),
        CommitEffect::ReInit(_) => Err(Violation::Proposal),
    }
}
