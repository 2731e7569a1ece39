//! Coming into a group: a key package goes to the sponsor, a welcome comes back.

use mls_rs::{
    CryptoProvider, ExtensionList, Group, MlsMessage,
    psk::{ExternalPskId, PreSharedKey},
    time::MlsTime,
};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::key_package::KeyPackageData;
use sync_rules::{
    Defence, SigningKey,
    defence::stands,
    mls::{self, BASELINE, Lineage, Violation},
};
use sync_types::{DeviceId, GroupId, Suite, limits, settings::Settings};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Config, JoinError, Membership, MembershipError, VALID_BEFORE, check_keys, client,
    storage::{GroupShelf, KeyPackageShelf},
};

/// What a newcomer makes for its sponsor.
pub struct KeyPackage {
    /// The MLS message for the sponsor, about 2.7 KB.
    pub message: Vec<u8>,
    /// What the newcomer stores until the welcome comes. It holds the device's signing key.
    pub secrets: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyPackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPackage of {} bytes", self.message.len())
    }
}

/// What pairing promised: only this leads into a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation<'a> {
    /// The group.
    pub group: GroupId,
    /// The device that was paired with, which has to make the commit.
    pub sponsor: DeviceId,
    /// What the group agreed on.
    pub settings: &'a Settings,
}

impl Invitation<'_> {
    /// What of a group's settings is not as it was promised; `None` if all is.
    fn differs(&self, settings: &Settings) -> Option<&'static str> {
        let Settings { app_id, relays, history, recovery_key } = settings;
        let same = [
            ("app", *app_id == self.settings.app_id),
            ("relays", *relays == self.settings.relays),
            ("history policy", *history == self.settings.history),
            ("recovery key", *recovery_key == self.settings.recovery_key),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(name, _)| name)
    }
}

/// A group that was joined.
#[derive(Debug)]
pub struct Joined<P: CryptoProvider + Clone> {
    /// The membership, at the epoch that the newcomer's commit began.
    pub membership: Membership<P>,
    /// The sponsor's baseline, as it put it into the welcome.
    pub baseline: Option<Vec<u8>>,
    /// What the group agreed on.
    pub settings: Settings,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Secrets {
    version: u8,
    suite: u8,
    seed: [u8; 32],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    reference: Vec<u8>,
    data: KeyPackageData,
}

const SECRETS_VERSION: u8 = 2;

/// Makes a key package of this suite for the device with this key. `sponsor_now` is the *sponsor's* time in milliseconds, as pairing
/// told it: the newcomer's own clock may be years off, and the sponsor's is the one that the package is judged by.
pub fn key_package<P: CryptoProvider + Clone>(
    crypto: P,
    suite: Suite,
    key: &SigningKey,
    sponsor_now: u64,
) -> Result<KeyPackage, MembershipError> {
    let shelf = KeyPackageShelf::default();
    let begins = (sponsor_now / 1000).saturating_sub(VALID_BEFORE.as_secs());
    let message = client(crypto, GroupShelf::default(), shelf.clone(), Some((suite, key)))
        .generate_key_package_message(ExtensionList::new(), ExtensionList::new(), Some(MlsTime::from(begins)))?
        .to_bytes()?;
    let (reference, data) = shelf.take().expect("the client has just put it there");
    let mut secrets = Secrets { version: SECRETS_VERSION, suite: suite as u8, seed: *key.seed(), reference, data };
    let bytes = Zeroizing::new(sync_types::encode(&secrets));
    secrets.seed.zeroize();
    Ok(KeyPackage { message, secrets: bytes })
}

/// The device that a key package is for, its Ed25519 public key, and the package's suite. What the package holds else is checked
/// when it is added.
pub fn read_key_package(message: &[u8]) -> Result<(DeviceId, [u8; 32], Suite), JoinError> {
    if message.len() > limits::PAIRING_MESSAGE_BYTES {
        return Err(JoinError::NotForUs);
    }
    let message = MlsMessage::from_bytes(message)?;
    let package = message.as_key_package().ok_or(JoinError::NotForUs)?;
    let suite = mls::suite_of(package.cipher_suite()).ok_or(JoinError::Suite)?;
    let (device, key) = mls::member(package.signing_identity()).map_err(Violation::from)?;
    Ok((device, key, suite))
}

impl<P: CryptoProvider + Clone> Membership<P> {
    /// Joins by a welcome, if it is for the key package behind `secrets` and holds what the invitation promised.
    pub fn join(crypto: P, secrets: &[u8], welcome: &[u8], invitation: Invitation<'_>) -> Result<Joined<P>, JoinError> {
        let Opened { group, shelf, sender, baseline } = open(crypto.clone(), secrets, welcome, None)?;
        let place = Lineage::place(group.context()).ok_or(JoinError::OtherGroup)?;
        if place.0 != invitation.group && stands(Defence::OfferedGroup) {
            return Err(JoinError::OtherGroup);
        }
        if sender != invitation.sponsor && stands(Defence::OfferedGroup) {
            return Err(JoinError::OtherSponsor);
        }
        let settings = mls::settings(&group.context().extensions)?;
        if let Some(which) = invitation.differs(&settings)
            && stands(Defence::OfferedSettings)
        {
            return Err(JoinError::OtherSettings(which));
        }
        if group.roster().members_iter().count() > limits::MEMBERS {
            return Err(Violation::TooManyMembers.into());
        }
        check_keys(&crypto, &[], &group)?;
        Ok(Joined { membership: Self::new(crypto, group, shelf), baseline, settings })
    }
}

/// A welcome that was opened. Whether it leads where it should, nobody has looked at yet.
pub(super) struct Opened<P: CryptoProvider + Clone> {
    pub(super) group: Group<Config<P>>,
    pub(super) shelf: GroupShelf,
    /// Who made it.
    pub(super) sender: DeviceId,
    pub(super) baseline: Option<Vec<u8>>,
}

/// Opens a welcome for the key package behind `secrets`, made under `psk` or under no secret but its own.
pub(super) fn open<P: CryptoProvider + Clone>(
    crypto: P,
    secrets: &[u8],
    welcome: &[u8],
    psk: Option<(ExternalPskId, PreSharedKey)>,
) -> Result<Opened<P>, JoinError> {
    let mut secrets: Secrets = sync_types::decode(secrets)?;
    if secrets.version != SECRETS_VERSION {
        return Err(JoinError::Secrets(sync_types::DecodeError::Limit("an unknown version of stored secrets")));
    }
    let key = SigningKey::from_seed(&secrets.seed);
    let suite = Suite::from_wire(secrets.suite).map_err(|_| JoinError::Suite)?;
    secrets.seed.zeroize();
    let (shelf, packages) = (GroupShelf::default(), KeyPackageShelf::default());
    packages.put(secrets.reference, secrets.data);

    let welcome = MlsMessage::from_bytes(welcome)?;
    if welcome.cipher_suite().is_some_and(|theirs| theirs != mls::cipher_suite(suite)) {
        return Err(JoinError::Suite);
    }
    let client = client(crypto.clone(), shelf.clone(), packages.clone(), Some((suite, &key)));
    if let Some((name, secret)) = psk {
        client.secret_store().insert(name, secret);
    }
    let (group, info) = client.join_group(None, &welcome, None)?;
    packages.take();
    let made = group.member_at_index(info.sender).ok_or(JoinError::OtherSponsor)?;
    let (sender, _) = mls::seated(&made.signing_identity).map_err(Violation::from)?;
    let baseline = info.group_info_extensions.get(BASELINE).map(|e| e.extension_data);
    Ok(Opened { group, shelf, sender, baseline })
}
