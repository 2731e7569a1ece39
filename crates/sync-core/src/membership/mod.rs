//! A member's side of a group: who is in it, the keys of each epoch, and the commits that change both (MLS, RFC 9420).
//!
//! Nothing here stores, sends or reads a clock. The caller keeps [`Membership::state`] in the same transaction as
//! whatever belongs to it, and undoes anything by [`Membership::load`]ing the bytes from before.
//!
//! A commit goes through four steps: [`Membership::prepare`] makes it and keeps it pending; the caller stores the state
//! and uploads; the relay orders it and sends it to everybody, the committer too; [`Membership::apply`] takes it. When
//! another commit took its place, applying that one drops the pending one.

mod commit;
mod error;
mod join;
mod replace;
mod storage;
mod successor;

pub use commit::{Applied, Change, Prepared};
pub use error::{ApplyError, JoinError, MembershipError, PrepareError};
pub use join::{Invitation, Joined, KeyPackage, key_package, read_key_package};
pub use replace::{Replaced, come_in, recover, replace};

use std::time::Duration;

use mls_rs::{
    Client, CryptoProvider, ExtensionList, Group,
    client_builder::{
        BaseConfig, ClientBuilder, WithCryptoProvider, WithGroupStateStorage, WithIdentityProvider, WithKeyPackageRepo,
        WithMlsRules,
    },
    group::Node,
    time::MlsTime,
};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_rules::{
    SigningKey,
    mls::{self, BASELINE, EXTERNAL_PROOF, Identity, Lineage, Rules, SETTINGS, Violation},
};
use sync_types::{DeviceId, EntryHash, GroupId, Suite, settings::Settings};
use zeroize::Zeroizing;

use storage::{GroupShelf, KeyPackageShelf};

/// The label of the secret that an epoch's envelope keys come from.
const EXPORTER_LABEL: &[u8] = b"0ksync/1 envelope secret";

/// How long before the sponsor's time a key package begins to be valid: its clock may be set back while pairing.
const VALID_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// How long a key package is valid, counted from [`VALID_BEFORE`] the sponsor's time. Only the sponsor judges it, when
/// it commits (RFC 9420 §7.3 leaves receivers free); other members' clocks decide nothing.
const VALID_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

type Config<P> = WithMlsRules<
    Rules,
    WithIdentityProvider<
        Identity,
        WithCryptoProvider<P, WithGroupStateStorage<GroupShelf, WithKeyPackageRepo<KeyPackageShelf, BaseConfig>>>,
    >,
>;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// Its place in the group's tree. A place that was left may be taken by a newcomer.
    pub leaf: u32,
}

/// This device's membership of one group, generic over the cryptography (`sync_rules::mls::crypto()` is the real one).
pub struct Membership<P: CryptoProvider + Clone> {
    crypto: P,
    group: Group<Config<P>>,
    shelf: GroupShelf,
    /// The commit that waits to be ordered.
    pending: Option<EntryHash>,
    /// This membership behind it, if it ends the group.
    successor: Option<Zeroizing<Vec<u8>>>,
    exporter_taken: bool,
    removed: bool,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Stored {
    version: u8,
    /// The MLS group id.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    group: Vec<u8>,
    pending: Option<EntryHash>,
    exporter_taken: bool,
    removed: bool,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    mls: Vec<u8>,
    /// Empty if there is none.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    successor: Vec<u8>,
}

/// The version of the bytes that [`Membership::state`] gives.
const STORED_VERSION: u8 = 1;

impl<P: CryptoProvider + Clone> Membership<P> {
    /// Founds a group of this suite with this device as its only member.
    pub fn create(
        crypto: P,
        suite: Suite,
        key: &SigningKey,
        group: GroupId,
        settings: &Settings,
        now: u64,
    ) -> Result<Self, MembershipError> {
        let shelf = GroupShelf::default();
        let client = client(crypto.clone(), shelf.clone(), KeyPackageShelf::default(), Some((suite, key)));
        let group = client.create_group_with_id(
            group.as_bytes().to_vec(),
            mls::context_extensions(settings),
            ExtensionList::new(),
            Some(mls_time(now)),
        )?;
        mls::settings(&group.context().extensions)?;
        Ok(Self::new(crypto, group, shelf))
    }

    /// Takes up a membership again from the bytes that [`Membership::state`] gave.
    pub fn load(crypto: P, state: &[u8]) -> Result<Self, MembershipError> {
        let stored: Stored = sync_types::decode(state)?;
        if stored.version != STORED_VERSION {
            return Err(MembershipError::Version(stored.version));
        }
        let shelf = GroupShelf::default();
        shelf.put(Zeroizing::new(stored.mls));
        let successor = Some(Zeroizing::new(stored.successor)).filter(|successor| !successor.is_empty());
        let client = client(crypto.clone(), shelf.clone(), KeyPackageShelf::default(), None);
        let group = client.load_group(&stored.group)?;
        shelf.take();
        Ok(Self {
            crypto,
            group,
            shelf,
            pending: stored.pending,
            successor,
            exporter_taken: stored.exporter_taken,
            removed: stored.removed,
        })
    }

    /// All of it as bytes, the pending commit included. They hold the device's keys.
    pub fn state(&mut self) -> Result<Zeroizing<Vec<u8>>, MembershipError> {
        self.group.write_to_storage()?;
        let mut mls = self.shelf.take().expect("write_to_storage has just put it there");
        let stored = Stored {
            version: STORED_VERSION,
            group: self.group.group_id().to_vec(),
            pending: self.pending,
            exporter_taken: self.exporter_taken,
            removed: self.removed,
            mls: std::mem::take(&mut *mls),
            successor: self.successor.as_ref().map(|successor| successor.to_vec()).unwrap_or_default(),
        };
        let bytes = Zeroizing::new(sync_types::encode(&stored));
        drop((Zeroizing::new(stored.mls), Zeroizing::new(stored.successor)));
        Ok(bytes)
    }

    fn new(crypto: P, group: Group<Config<P>>, shelf: GroupShelf) -> Self {
        Self { crypto, group, shelf, pending: None, successor: None, exporter_taken: false, removed: false }
    }

    /// The group.
    pub fn group_id(&self) -> GroupId {
        self.lineage().group
    }

    fn lineage(&self) -> Lineage {
        Lineage::of(self.group.group_id()).expect("groups are made and joined under our own ids only")
    }

    /// The first epoch of the group's suite: 0 if it has never moved to another.
    pub fn suite_since(&self) -> u64 {
        self.lineage().suite_since()
    }

    /// The group's suite.
    pub fn suite(&self) -> Suite {
        mls::suite_of(self.group.cipher_suite()).expect("groups are made, joined and loaded with our own suites only")
    }

    /// The present epoch. For a device that was removed, the last one that it was in.
    pub fn epoch(&self) -> u64 {
        epoch_of(&self.group)
    }

    /// Whether this is the group's state here: an epoch and its confirmed transcript hash (RFC 9420 §8.2).
    pub fn is_at(&self, epoch: u64, transcript: &[u8]) -> bool {
        self.epoch() == epoch && *self.transcript() == *transcript
    }

    /// The confirmed transcript hash.
    pub fn transcript(&self) -> &[u8] {
        &self.group.context().confirmed_transcript_hash
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.member_at(self.group.current_member_index()).device
    }

    /// The members of the present epoch, in the order of the tree.
    pub fn members(&self) -> Vec<Member> {
        self.group.roster().members_iter().map(|m| member(&m)).collect()
    }

    /// What the members agreed on.
    pub fn settings(&self) -> Settings {
        mls::settings(&self.group.context().extensions).expect("no epoch begins with other extensions")
    }

    /// Whether a commit was applied that removed this device. Nothing but reading is possible then.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// The commit of this device that waits to be ordered.
    pub fn pending(&self) -> Option<EntryHash> {
        self.pending
    }

    /// The epoch's authenticator: equal for two members if and only if they share the group's whole history.
    pub fn authenticator(&self) -> Result<[u8; 32], MembershipError> {
        let secret = self.group.epoch_authenticator()?;
        Ok(secret.as_bytes().try_into().expect("the suite's KDF gives 32 bytes"))
    }

    /// Takes out the secret that the present epoch's envelope keys come from. It can be had once for each epoch: MLS
    /// keeps nothing that leads to it.
    pub fn take_exporter(&mut self) -> Result<Zeroizing<[u8; 32]>, MembershipError> {
        if self.removed {
            return Err(MembershipError::Removed);
        }
        if self.exporter_taken {
            return Err(MembershipError::ExporterTaken);
        }
        let secret = self.group.export_secret(EXPORTER_LABEL, &[], 32)?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(secret.as_bytes());
        self.group.delete_exporter();
        self.exporter_taken = true;
        Ok(bytes)
    }

    /// The GroupInfo of the present epoch with the tree, by which a relay starts to follow the group, and by which a member
    /// that lost its place in it takes a new key.
    pub fn group_info(&self) -> Result<Vec<u8>, MembershipError> {
        Ok(self.group.group_info_message_allowing_ext_commit(true)?.to_bytes()?)
    }

    /// Checks the keys that came into the tree with `after`.
    fn check_keys(&self, after: &Group<Config<P>>) -> Result<(), Violation> {
        check_keys(&self.crypto, self.group.export_tree().nodes(), after)
    }

    fn member_at(&self, leaf: u32) -> Member {
        let found = self.group.member_at_index(leaf);
        member(&found.expect("the place is one that MLS has just named"))
    }
}

impl<P: CryptoProvider + Clone> std::fmt::Debug for Membership<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("group", &self.group_id())
            .field("epoch", &self.epoch())
            .field("device", &self.device())
            .field("pending", &self.pending)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

/// A group's epoch, counted through all of its suites.
fn epoch_of<P: CryptoProvider + Clone>(group: &Group<Config<P>>) -> u64 {
    // Who founded it can have begun at any number.
    Lineage::place(group.context()).map_or(u64::MAX, |(_, epoch)| epoch)
}

/// Checks the keys of a group's tree that are not among the nodes before.
fn check_keys<P: CryptoProvider + Clone>(
    crypto: &P,
    before: &[Option<Node>],
    group: &Group<Config<P>>,
) -> Result<(), Violation> {
    // A group of another suite could not have been made or loaded with this cryptography.
    let suite = crypto.cipher_suite_provider(group.cipher_suite()).ok_or(Violation::WeakKey)?;
    mls::check_keys(&suite, before, group.export_tree().nodes())
}

fn client<P: CryptoProvider + Clone>(
    crypto: P,
    group: GroupShelf,
    key_packages: KeyPackageShelf,
    key: Option<(Suite, &SigningKey)>,
) -> Client<Config<P>> {
    client_by(crypto, group, key_packages, key, mls::judges())
}

fn client_by<P: CryptoProvider + Clone>(
    crypto: P,
    group: GroupShelf,
    key_packages: KeyPackageShelf,
    key: Option<(Suite, &SigningKey)>,
    (rules, identity): (Rules, Identity),
) -> Client<Config<P>> {
    let builder = ClientBuilder::new()
        .key_package_repo(key_packages)
        .group_state_storage(group)
        .crypto_provider(crypto)
        .identity_provider(identity)
        .mls_rules(rules)
        .extension_types([SETTINGS, BASELINE])
        .custom_proposal_type(EXTERNAL_PROOF)
        .protocol_version(mls::PROTOCOL_VERSION)
        .key_package_lifetime(VALID_FOR);
    match key {
        Some((suite, key)) => {
            let suite = mls::cipher_suite(suite);
            builder.signing_identity(Identity::of(&key.public()), mls::secret_key(key), suite).build()
        }
        None => builder.build(),
    }
}

fn member(member: &mls_rs::group::Member) -> Member {
    let (device, key) = mls::seated(&member.signing_identity).expect("no other identity gets into a tree");
    Member { device, key, leaf: member.index }
}

/// MLS counts seconds; the core counts milliseconds.
fn mls_time(now: u64) -> MlsTime {
    MlsTime::from(now / 1000)
}
