//! A group moves to another suite (RFC 9420 §11.2): its last commit names a new group, and every member goes there.
//!
//! What binds the two is a secret of the old group's last epoch, which the new group's first commit is made under. RFC 9420 has a
//! resumption secret for that. mls-rs hands it to nobody but its own way to a successor, and that one takes no group with an empty
//! place in its tree, judges key packages by the machine's clock, and puts no baseline into welcomes. So the secret is one that the old epoch
//! exports, and a PreSharedKey of the external kind. Every other check of §11.2 is made here.

use mls_rs::{
    CryptoProvider, Extension, ExtensionList, Group, MlsMessage,
    error::MlsError,
    group::{CommitEffect, ReceivedMessage},
    psk::{ExternalPskId, PreSharedKey},
};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_rules::{
    Defence, SigningKey,
    defence::stands,
    mls::{self, BASELINE, CommitMessage, NotACommit, Violation},
};
use sync_types::{DeviceId, EntryHash, GroupId, Suite, settings::Settings};
use zeroize::{Zeroize, Zeroizing};

use super::{
    ApplyError, Config, JoinError, Joined, Member, Membership, MembershipError, PrepareError, check_keys, client_by,
    commit::welcomes,
    join::open,
    mls_time, read_key_package,
    storage::{GroupShelf, KeyPackageShelf},
};

/// The label of the secret that leads from a group to its successor, and what that secret is called there.
const SUCCESSOR_LABEL: &[u8] = b"0ksync/1 successor";

/// A group's last commit, and the group that takes its place.
#[derive(Debug)]
pub struct PreparedMove<P: CryptoProvider + Clone> {
    /// The commit's bytes.
    pub commit: Vec<u8>,
    /// The commit's hash.
    pub hash: EntryHash,
    /// This device's membership of the successor, at its epoch 1.
    pub successor: Membership<P>,
    /// For each other member its welcome there.
    pub welcomes: Vec<(DeviceId, Vec<u8>)>,
    /// The successor's GroupInfo, with the tree.
    pub group_info: Vec<u8>,
}

/// A group that a commit has ended: what a member needs to follow to the successor.
#[derive(PartialEq, Eq)]
pub struct Ended {
    /// The group that has ended.
    pub from: GroupId,
    /// Its last epoch.
    pub epoch: u64,
    /// The successor.
    pub group: GroupId,
    /// The successor's suite.
    pub suite: Suite,
    /// Who made the commit, and the successor.
    pub committer: DeviceId,
    /// Who has to be in the successor, with the keys, in the order of their ids.
    pub members: Vec<(DeviceId, [u8; 32])>,
    /// What the successor has to have agreed on.
    pub settings: Settings,
    /// Whether the commit is the one that this device had pending.
    pub own: bool,
    secret: Zeroizing<[u8; 32]>,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct StoredEnd {
    version: u8,
    from: GroupId,
    epoch: u64,
    group: GroupId,
    suite: u8,
    committer: DeviceId,
    members: Vec<StoredMember>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    settings: Vec<u8>,
    own: bool,
    secret: [u8; 32],
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct StoredMember {
    device: DeviceId,
    key: [u8; 32],
}

/// The version of the bytes that [`Ended::to_bytes`] gives.
const END_VERSION: u8 = 1;

impl Ended {
    /// All of it as bytes. They lead into the successor, for whoever has the key package's secrets too.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut stored = StoredEnd {
            version: END_VERSION,
            from: self.from,
            epoch: self.epoch,
            group: self.group,
            suite: self.suite as u8,
            committer: self.committer,
            members: self.members.iter().map(|&(device, key)| StoredMember { device, key }).collect(),
            settings: sync_types::encode(&self.settings),
            own: self.own,
            secret: *self.secret,
        };
        let bytes = Zeroizing::new(sync_types::encode(&stored));
        stored.secret.zeroize();
        bytes
    }

    /// Reads it again.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MembershipError> {
        let mut stored: StoredEnd = sync_types::decode(bytes)?;
        let secret = Zeroizing::new(stored.secret);
        stored.secret.zeroize();
        let suite = Suite::from_wire(stored.suite);
        match suite {
            Ok(suite) if stored.version == END_VERSION => Ok(Self {
                from: stored.from,
                epoch: stored.epoch,
                group: stored.group,
                suite,
                committer: stored.committer,
                members: stored.members.iter().map(|member| (member.device, member.key)).collect(),
                settings: Settings::parse(&stored.settings)?,
                own: stored.own,
                secret,
            }),
            _ => Err(MembershipError::Version(stored.version)),
        }
    }

    fn psk(&self) -> (ExternalPskId, PreSharedKey) {
        psk(self.from, self.epoch, &self.secret)
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ended")
            .field("from", &self.from)
            .field("epoch", &self.epoch)
            .field("group", &self.group)
            .field("suite", &self.suite)
            .field("committer", &self.committer)
            .finish_non_exhaustive()
    }
}

/// The secret under its name in the successor: the group and the epoch that it is of.
fn psk(from: GroupId, epoch: u64, secret: &[u8; 32]) -> (ExternalPskId, PreSharedKey) {
    let name = [SUCCESSOR_LABEL, from.as_bytes(), &epoch.to_be_bytes()].concat();
    (ExternalPskId::new(name), PreSharedKey::new(secret.to_vec()))
}

impl<P: CryptoProvider + Clone> Membership<P> {
    /// Makes the commit that ends this group, keeps it pending, and makes the group that takes its place, of `suite` and under
    /// the random id `group`. `packages` are the other members' key packages of that suite, one for each, under the keys
    /// that they have here; `key` is this device's. `baseline` rides encrypted in the welcomes.
    pub fn prepare_move(
        &mut self,
        key: &SigningKey,
        (group, suite): (GroupId, Suite),
        packages: &[Vec<u8>],
        baseline: Option<Vec<u8>>,
        now: u64,
    ) -> Result<PreparedMove<P>, PrepareError> {
        if self.removed {
            return Err(PrepareError::Removed);
        }
        if self.pending.is_some() {
            return Err(PrepareError::Pending);
        }
        let provider = self.crypto.cipher_suite_provider(mls::cipher_suite(suite)).ok_or(PrepareError::Suite)?;
        self.check_packages(suite, packages)?;

        // On a copy, so that a failure leaves nothing behind.
        let mut old = self.by_rules_of_move()?;
        let settings = old.group.context().extensions.clone();
        let id = Some(group.as_bytes().to_vec());
        let builder = old.group.commit_builder().commit_time(mls_time(now));
        let end = builder.reinit(id, mls::PROTOCOL_VERSION, mls::cipher_suite(suite), settings.clone())?.build()?;
        let commit = end.commit_message.to_bytes()?;
        let hash = CommitMessage::hash(&commit);
        let mut ended = old.group.clone();
        ended.apply_pending_commit()?;
        let secret = exported(&ended)?;

        let shelf = GroupShelf::default();
        let judges = mls::judges_of_move();
        let client =
            client_by(self.crypto.clone(), shelf.clone(), KeyPackageShelf::default(), Some((suite, key)), judges);
        let (name, secret) = psk(self.group_id(), ended.current_epoch(), &secret);
        client.secret_store().insert(name.clone(), secret);
        let mut new = client.create_group_with_id(
            group.as_bytes().to_vec(),
            settings,
            ExtensionList::new(),
            Some(mls_time(now)),
        )?;
        let mut builder = new.commit_builder().commit_time(mls_time(now)).add_external_psk(name)?;
        let mut newcomers = Vec::with_capacity(packages.len());
        for bytes in packages {
            let package = MlsMessage::from_bytes(bytes).map_err(PrepareError::key_package)?;
            newcomers.push((package.key_package_reference(&provider)?, read_key_package(bytes)?.0));
            builder = builder.add_member(package)?;
        }
        if let Some(baseline) = baseline {
            let mut list = ExtensionList::new();
            list.set(Extension::new(BASELINE, baseline));
            builder = builder.set_group_info_ext(list);
        }
        let output = builder.build().map_err(PrepareError::key_package)?;
        let welcomes = welcomes(&output, &newcomers)?;
        new.apply_pending_commit()?;
        check_keys(&self.crypto, &[], &new)?;
        let group_info = new.group_info_message_allowing_ext_commit(true)?.to_bytes()?;
        // Both go on by the rules of every day.
        let successor = Self::new(self.crypto.clone(), new, shelf).by_everyday_rules()?;
        old.pending = Some(hash);
        *self = old.by_everyday_rules()?;
        Ok(PreparedMove { commit, hash, successor, welcomes, group_info })
    }

    /// Takes the commit that ends this group, and says where to follow. The membership stays as it is: nothing follows on its
    /// end, and while the commit is provisional it may have to go on.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Ended, ApplyError> {
        if self.removed {
            return Err(ApplyError::Removed);
        }
        let commit = CommitMessage::parse(bytes)?;
        if commit.group != self.group_id() {
            return Err(ApplyError::OtherGroup);
        }
        let (theirs, ours) = (commit.epoch, self.epoch());
        match theirs.cmp(&ours) {
            std::cmp::Ordering::Less => return Err(ApplyError::Stale { theirs, ours }),
            std::cmp::Ordering::Greater => return Err(ApplyError::Future { theirs, ours }),
            std::cmp::Ordering::Equal => {}
        }
        let own = self.pending == Some(commit.hash);
        if !own && commit.sender == Some(self.group.current_member_index()) {
            return Err(ApplyError::OwnUnknown);
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
            from: self.group_id(),
            epoch: group.current_epoch(),
            group: GroupId::from_slice(to.group_id()).ok_or(Violation::Move)?,
            suite: mls::suite_of(to.new_cipher_suite()).ok_or(Violation::Move)?,
            committer: self.member_at(done.committer).device,
            members,
            settings: self.settings(),
            own,
            secret: exported(&group)?,
        })
    }

    /// Joins the successor by a welcome, if it is for the key package behind `secrets` and leads where the group's end said: made by
    /// who ended the group, under that epoch's secret.
    pub fn follow(crypto: P, ended: &Ended, secrets: &[u8], welcome: &[u8]) -> Result<Joined<P>, JoinError> {
        // The library says of no welcome under which secrets it was made. One that opens without is of somebody else.
        if open(crypto.clone(), secrets, welcome, None).is_ok() && stands(Defence::Successor) {
            return Err(JoinError::OtherSuccessor("secret"));
        }
        let opened = open(crypto.clone(), secrets, welcome, Some(ended.psk()))?;
        let settings = mls::settings(&opened.group.context().extensions)?;
        let mut members = Vec::new();
        for member in opened.group.roster().members_iter() {
            members.push(mls::seated(&member.signing_identity).map_err(Violation::from)?);
        }
        members.sort_unstable();
        let same = [
            ("group id", opened.group.group_id() == ended.group.as_bytes()),
            ("suite", opened.group.cipher_suite() == mls::cipher_suite(ended.suite)),
            ("epoch", opened.group.current_epoch() == 1),
            ("maker", opened.sender == ended.committer),
            ("members", members == ended.members),
            ("settings", settings == ended.settings),
        ];
        if let Some((which, _)) = same.into_iter().find(|(_, same)| !same)
            && stands(Defence::Successor)
        {
            return Err(JoinError::OtherSuccessor(which));
        }
        check_keys(&crypto, &[], &opened.group)?;
        let membership = Self::new(crypto, opened.group, opened.shelf);
        let membership = membership.by_everyday_rules().map_err(|_| JoinError::OtherSuccessor("state"))?;
        Ok(Joined { membership, baseline: opened.baseline, settings })
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
        Ok(Self { crypto: self.crypto.clone(), group, shelf, ..*self })
    }

    fn by_everyday_rules(mut self) -> Result<Self, PrepareError> {
        let crypto = self.crypto.clone();
        let again = self.state().and_then(|state| Self::load(crypto, &state));
        again.map_err(|error| match error {
            MembershipError::Mls(error) => PrepareError::Mls(error),
            MembershipError::Refused(violation) => PrepareError::Refused(violation),
            _ => unreachable!("what was written a moment ago can be read"),
        })
    }
}

/// The secret that leads to the successor.
fn exported<P: CryptoProvider + Clone>(group: &Group<Config<P>>) -> Result<Zeroizing<[u8; 32]>, MlsError> {
    let secret = group.export_secret(SUCCESSOR_LABEL, &[], 32)?;
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(secret.as_bytes());
    Ok(bytes)
}
