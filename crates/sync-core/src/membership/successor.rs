//! A group moves to another suite (RFC 9420 §11.2): its last commit names a new MLS group, and every member goes there.
//!
//! For everything above MLS it is the same group: it keeps its id, its log and its count of epochs ([`Lineage`]). What leads into
//! the successor travels with the commit, so that whoever applies it has followed, and whoever cannot follow rejects it.
//!
//! What binds the two is a secret of the old group's last epoch, which the new group's first commit is made under. RFC 9420 has a
//! resumption secret for that. mls-rs hands it to nobody but its own way to a successor, and that one takes no group with an empty
//! place in its tree, and judges key packages by the machine's clock. So the secret is one that the old epoch exports, and a
//! PreSharedKey of the external kind. Every other check of §11.2 is made here.

use mls_rs::{
    CryptoProvider, ExtensionList, Group, MlsMessage,
    error::MlsError,
    group::{CommitEffect, ReceivedMessage},
    psk::{ExternalPskId, PreSharedKey},
};
use sync_rules::{
    Defence, SigningKey,
    defence::stands,
    mls::{self, CommitMessage, Lineage, NotACommit, RANDOM, Violation, settings_after_move},
    statement::{sign_move, verify_move},
};
use sync_types::frame::{Cut, MOVE, Move, Signature};
use sync_types::{DeviceId, Opaque, Suite, encode, settings::Settings};

use super::{
    Applied, ApplyError, Config, JoinError, Member, Membership, MembershipError, PrepareError, Prepared, check_keys,
    client_by, epoch_of,
    join::open,
    mls_time, read_key_package,
    storage::{GroupShelf, KeyPackageShelf},
};

/// The label of the secret that leads from a group to its successor, and what that secret is called there.
const SUCCESSOR_LABEL: &[u8] = b"0ksync/1 successor";

/// A group that a commit has ended: where its members have to follow.
struct Ended {
    committer: DeviceId,
    /// The successor's MLS group id.
    id: Vec<u8>,
    suite: Suite,
    /// Who has to be in it, with the keys, in the order of their ids.
    members: Vec<(DeviceId, [u8; 32])>,
    settings: Settings,
    /// What its first commit was made under.
    psk: (ExternalPskId, PreSharedKey),
}

impl<P: CryptoProvider + Clone> Membership<P> {
    /// Makes the commit that ends this group, and the group of `suite` that takes its place, and keeps both pending. `packages` are
    /// the other members' key packages of that suite, one for each, under the keys that they have here; `key` is this device's;
    /// `random` tells the successor from any other.
    pub fn prepare_move(
        &mut self,
        key: &SigningKey,
        suite: Suite,
        random: &[u8; RANDOM],
        packages: &[Vec<u8>],
        now: u64,
    ) -> Result<Prepared, PrepareError> {
        self.may_prepare()?;
        if self.crypto.cipher_suite_provider(mls::cipher_suite(suite)).is_none() {
            return Err(PrepareError::Suite);
        }
        self.check_packages(suite, packages)?;

        // On a copy, so that a failure leaves nothing behind.
        let mut old = self.by_rules_of_move()?;
        let settings = mls::context_extensions(&settings_after_move(&self.settings()));
        let id = Lineage::successor(&self.group_id(), self.epoch(), random);
        let builder = old.group.commit_builder().commit_time(mls_time(now)).authenticated_data(encode(&Cut::default()));
        let version = mls::PROTOCOL_VERSION;
        let end = builder.reinit(Some(id.clone()), version, mls::cipher_suite(suite), settings.clone())?.build()?;
        let mut ended = old.group.clone();
        ended.apply_pending_commit()?;
        let (name, secret) = psk(&ended)?;

        let shelf = GroupShelf::default();
        let judges = mls::judges_of_move();
        let client =
            client_by(self.crypto.clone(), shelf.clone(), KeyPackageShelf::default(), Some((suite, key)), judges);
        client.secret_store().insert(name.clone(), secret);
        let mut new = client.create_group_with_id(id, settings, ExtensionList::new(), Some(mls_time(now)))?;
        let mut builder = new.commit_builder().commit_time(mls_time(now)).add_external_psk(name)?;
        for bytes in packages {
            builder = builder.add_member(MlsMessage::from_bytes(bytes).map_err(PrepareError::key_package)?)?;
        }
        let output = builder.build().map_err(PrepareError::key_package)?;
        let welcome = output.welcome_messages.first().map(MlsMessage::to_bytes).transpose()?;
        new.apply_pending_commit()?;
        check_keys(&self.crypto, &[], &new)?;
        let group_info = new.group_info_message_allowing_ext_commit(true)?.to_bytes()?;
        // Both go on by the rules of every day.
        let mut successor = everyday(Self::new(self.crypto.clone(), new, shelf))?;
        let mut moved = Move {
            tag: MOVE,
            commit: Opaque(end.commit_message.to_bytes()?),
            group_info: Opaque(group_info.clone()),
            welcome: Opaque(welcome.unwrap_or_default()),
            signature: Signature([0; 64]),
        };
        sign_move(key, &self.group_id(), &mut moved);
        let commit = encode(&moved);
        let prepared = Prepared {
            hash: CommitMessage::hash(&commit),
            commit,
            welcomes: Vec::new(),
            group_info,
            epoch: successor.epoch(),
        };
        old.pending = Some(prepared.hash);
        old.successor = Some(successor.state().map_err(unreadable)?);
        *self = everyday(old)?;
        Ok(prepared)
    }

    /// Takes the commit that ends this group, and follows to the successor.
    pub(super) fn move_on(
        &mut self,
        commit: CommitMessage,
        own: bool,
        secrets: &[&[u8]],
    ) -> Result<Applied, ApplyError> {
        let hash = commit.hash;
        let moved = commit.moved.clone().ok_or(Violation::Move)?;
        let ended = self.end(commit, own)?;
        let successor = match &self.successor {
            Some(state) if own => Self::load(self.crypto.clone(), state).map_err(|_| ApplyError::OwnUnknown)?,
            _ if own => return Err(ApplyError::OwnUnknown),
            _ => self.follow(&ended, &moved, secrets)?,
        };
        let before = std::mem::replace(self, successor);
        Ok(Applied {
            epoch: self.epoch(),
            committer: ended.committer,
            added: Vec::new(),
            removed: Vec::new(),
            replaced: None,
            cut: Cut::default(),
            recovered: false,
            settings_before: Some(before.settings()).filter(|before| *before != self.settings()),
            suite_before: Some(before.suite()),
            own,
            removed_me: false,
            hash,
        })
    }

    /// Reads where the commit that ends this group leads. The membership stays as it is.
    fn end(&mut self, commit: CommitMessage, own: bool) -> Result<Ended, ApplyError> {
        let (Some(moved), Some(leaf)) = (commit.moved, commit.sender) else { return Err(Violation::Move.into()) };
        let committer = self.group.member_at_index(leaf).ok_or(NotACommit::Sender)?;
        let (committer, key) = mls::seated(&committer.signing_identity).map_err(Violation::from)?;
        if verify_move(&self.group_id(), &moved, &key).is_err() && stands(Defence::Successor) {
            return Err(Violation::Move.into());
        }
        let mut group = self.by_rules_of_move()?.group;
        let done = if own {
            group.apply_pending_commit()?
        } else {
            match group.process_incoming_message(commit.message)? {
                ReceivedMessage::Commit(done) => done,
                _ => return Err(NotACommit::OtherMessage.into()),
            }
        };
        let CommitEffect::ReInit(to) = done.effect else { return Err(Violation::Move.into()) };
        mls::cut(&done.authenticated_data, &[])?;
        self.check_keys(&group)?;
        let to = to.proposal;
        let mut members: Vec<_> = self.members().iter().map(|Member { device, key, .. }| (*device, *key)).collect();
        members.sort_unstable();
        Ok(Ended {
            committer,
            id: to.group_id().to_vec(),
            suite: mls::suite_of(to.new_cipher_suite()).ok_or(Violation::Move)?,
            members,
            settings: settings_after_move(&self.settings()),
            psk: psk(&group)?,
        })
    }

    /// Joins the successor by the Welcome that came with a group's end, with the first key package that it is for.
    fn follow(&self, ended: &Ended, moved: &Move, secrets: &[&[u8]]) -> Result<Self, ApplyError> {
        for secrets in secrets {
            match self.join_successor(ended, moved, secrets) {
                Err(JoinError::NotForUs | JoinError::Suite) => {}
                joined => return joined.map_err(ApplyError::Successor),
            }
        }
        Err(ApplyError::NoKeyPackage)
    }

    fn join_successor(&self, ended: &Ended, moved: &Move, secrets: &[u8]) -> Result<Self, JoinError> {
        let crypto = &self.crypto;
        // The library says of no welcome under which secrets it was made. One that opens without is of somebody else.
        if open(crypto.clone(), secrets, &moved.welcome, None).is_ok() && stands(Defence::Successor) {
            return Err(JoinError::OtherSuccessor("secret"));
        }
        let mut opened = open(crypto.clone(), secrets, &moved.welcome, Some(ended.psk.clone()))?;
        let settings = mls::settings(&opened.group.context().extensions)?;
        let mut members = Vec::new();
        for member in opened.group.roster().members_iter() {
            members.push(mls::seated(&member.signing_identity).map_err(Violation::from)?);
        }
        members.sort_unstable();
        // What the relay goes by has to be the very group that the members are in.
        let shown = opened.group.process_incoming_message(MlsMessage::from_bytes(&moved.group_info)?).is_ok();
        let same = [
            ("group id", opened.group.group_id() == ended.id),
            ("suite", opened.group.cipher_suite() == mls::cipher_suite(ended.suite)),
            ("epoch", opened.group.current_epoch() == 1),
            ("maker", opened.sender == ended.committer),
            ("members", members == ended.members),
            ("settings", settings == ended.settings),
            ("GroupInfo", shown),
        ];
        if let Some((which, _)) = same.into_iter().find(|(_, same)| !same)
            && stands(Defence::Successor)
        {
            return Err(JoinError::OtherSuccessor(which));
        }
        check_keys(crypto, &[], &opened.group)?;
        everyday(Self::new(crypto.clone(), opened.group, opened.shelf)).map_err(|_| JoinError::OtherSuccessor("state"))
    }

    /// Whether there is one key package for each other member, under its key and of the suite.
    fn check_packages(&self, suite: Suite, packages: &[Vec<u8>]) -> Result<(), PrepareError> {
        let me = self.device();
        let mut missing: Vec<_> = self.members().into_iter().filter(|member| member.device != me).collect();
        for bytes in packages {
            let (device, key, theirs) = read_key_package(bytes)?;
            if theirs != suite {
                return Err(PrepareError::Suite);
            }
            let place = missing.iter().position(|member| member.device == device && member.key == key);
            missing.remove(place.ok_or(PrepareError::UnknownDevice(device))?);
        }
        missing.first().map_or(Ok(()), |member| Err(PrepareError::NoKeyPackage(member.device)))
    }

    /// A copy that takes a move and nothing else.
    fn by_rules_of_move(&mut self) -> Result<Self, MlsError> {
        self.group.write_to_storage()?;
        let shelf = GroupShelf::default();
        shelf.put(self.shelf.take().expect("write_to_storage has just put it there"));
        let judges = mls::judges_of_move();
        let client = client_by(self.crypto.clone(), shelf.clone(), KeyPackageShelf::default(), None, judges);
        let group = client.load_group(self.group.group_id())?;
        Ok(Self { crypto: self.crypto.clone(), group, shelf, successor: None, ..*self })
    }
}

/// The same membership by the rules of every day.
fn everyday<P: CryptoProvider + Clone>(mut membership: Membership<P>) -> Result<Membership<P>, PrepareError> {
    let crypto = membership.crypto.clone();
    let again = membership.state().and_then(|state| Membership::load(crypto, &state));
    again.map_err(unreadable)
}

fn unreadable(error: MembershipError) -> PrepareError {
    match error {
        MembershipError::Mls(error) => PrepareError::Mls(error),
        MembershipError::Refused(violation) => PrepareError::Refused(violation),
        _ => unreachable!("what was written a moment ago can be read"),
    }
}

/// The secret that leads to the successor of a group that has ended, under its name there: the group and its last epoch.
fn psk<P: CryptoProvider + Clone>(ended: &Group<Config<P>>) -> Result<(ExternalPskId, PreSharedKey), MlsError> {
    let secret = ended.export_secret(SUCCESSOR_LABEL, &[], 32)?;
    let group = ended.group_id().get(..sync_types::GroupId::LEN).unwrap_or_default();
    let name = [SUCCESSOR_LABEL, group, &epoch_of(ended).to_be_bytes()].concat();
    Ok((ExternalPskId::new(name), PreSharedKey::new(secret.as_bytes().to_vec())))
}
