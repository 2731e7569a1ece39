//! Who may be a member: a device whose credential is its id, where the id is the hash of its key.

use std::sync::{Arc, Mutex, PoisonError};

use mls_rs::{
    ExtensionList, IdentityProvider,
    error::IntoAnyError,
    identity::{CredentialType, SigningIdentity, basic::BasicCredential},
    time::MlsTime,
};
use mls_rs_core::identity::MemberValidationContext;
use sync_types::DeviceId;

use crate::{Defence, check_key, defence::stands, hash::device_id, sign::BadKey};

/// An identity that is no device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The credential is not of the basic type.
    #[error("the credential is not a basic one")]
    Credential,
    /// The signature key has another length than Ed25519's.
    #[error("the signature key is no Ed25519 key")]
    KeyLength,
    /// The signature key must not be used.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The credential is not the hash of the key, as if one device posed as another.
    #[error("the id in the credential is not the hash of the signature key")]
    Mismatch,
    /// Outsiders may propose nothing.
    #[error("a group has no external senders")]
    ExternalSender,
}

impl IntoAnyError for InvalidIdentity {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// The device behind an MLS identity, and its public key, after every check.
pub fn member(identity: &SigningIdentity) -> Result<(DeviceId, [u8; 32]), InvalidIdentity> {
    let (id, key) = seated(identity)?;
    check_key(&key)?;
    Ok((id, key))
}

/// The same for a leaf that is in a group's tree: [`Identity::validate_member`] let it in, so the curve is not asked
/// again each time that somebody reads the roster.
pub fn seated(identity: &SigningIdentity) -> Result<(DeviceId, [u8; 32]), InvalidIdentity> {
    let credential = identity.credential.as_basic().ok_or(InvalidIdentity::Credential)?;
    let key = <[u8; 32]>::try_from(identity.signature_key.as_bytes()).map_err(|_| InvalidIdentity::KeyLength)?;
    let id = device_id(&key);
    if credential.identifier() == id.as_bytes() {
        return Ok((id, key));
    }
    match DeviceId::from_slice(credential.identifier()) {
        Some(claimed) if !stands(Defence::DeviceIds) => Ok((claimed, key)),
        _ => Err(InvalidIdentity::Mismatch),
    }
}

/// A member's key, and the one that takes its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacement {
    pub(super) old: [u8; 32],
    pub(super) new: [u8; 32],
}

/// The replacement that the commit under consideration proves. [`super::Rules`] sees the proof, [`Identity`] is asked
/// about the keys right after it, and MLS gives neither what the other has.
#[derive(Clone, Debug, Default)]
pub(super) struct Proven(Arc<Mutex<Option<Replacement>>>);

impl Proven {
    pub(super) fn set(&self, keys: Option<Replacement>) {
        // Every change is one assignment, so a poisoned lock guards nothing half done.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn holds(&self, old: &SigningIdentity, new: &SigningIdentity) -> bool {
        let proven = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.is_some_and(|keys| old.signature_key.as_bytes() == keys.old && new.signature_key.as_bytes() == keys.new)
    }
}

/// Decides who may be a member.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub(super) proven: Proven,
}

impl Identity {
    /// The MLS identity of the device with this public key.
    pub fn of(public_key: &[u8; 32]) -> SigningIdentity {
        let credential = BasicCredential::new(device_id(public_key).as_bytes().to_vec());
        SigningIdentity::new(credential.into_credential(), public_key.to_vec().into())
    }
}

impl IdentityProvider for Identity {
    type Error = InvalidIdentity;

    fn validate_member(
        &self,
        identity: &SigningIdentity,
        _: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> Result<(), InvalidIdentity> {
        member(identity).map(|_| ())
    }

    fn validate_external_sender(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> Result<(), InvalidIdentity> {
        Err(InvalidIdentity::ExternalSender)
    }

    fn identity(&self, identity: &SigningIdentity, _: &ExtensionList) -> Result<Vec<u8>, InvalidIdentity> {
        seated(identity).map(|(id, _)| id.as_bytes().to_vec())
    }

    /// A member's next leaf has the same key and id. (mls-rs asks this for every commit's path.) Another key follows only
    /// where the commit at hand proves that the old one wants it: otherwise anybody could put a member out by taking its id.
    fn valid_successor(
        &self,
        before: &SigningIdentity,
        after: &SigningIdentity,
        _: &ExtensionList,
    ) -> Result<bool, InvalidIdentity> {
        Ok(before == after || self.proven.holds(before, after))
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![BasicCredential::credential_type()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn only_the_hash_of_the_key_is_an_identity() {
        let key = SigningKey::from_seed(&[1; 32]).public();
        let good = Identity::of(&key);
        assert_eq!(member(&good), Ok((device_id(&key), key)));

        let with_id = |id: &[u8], key: &[u8]| {
            SigningIdentity::new(BasicCredential::new(id.to_vec()).into_credential(), key.to_vec().into())
        };
        let id = device_id(&key);
        let other = SigningKey::from_seed(&[2; 32]).public();
        assert_eq!(member(&with_id(id.as_bytes(), &other)), Err(InvalidIdentity::Mismatch));
        assert_eq!(member(&with_id(&id.as_bytes()[..15], &key)), Err(InvalidIdentity::Mismatch));
        assert_eq!(member(&with_id(id.as_bytes(), &key[..31])), Err(InvalidIdentity::KeyLength));
        let mut weak = [0; 32];
        weak[0] = 1;
        assert_eq!(member(&Identity::of(&weak)), Err(InvalidIdentity::Key(BadKey::Weak)));
    }
}
