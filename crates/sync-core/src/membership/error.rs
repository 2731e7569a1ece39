//! What can go wrong with a membership, by whose fault.

use mls_rs::error::MlsError;
use sync_rules::mls::{NotACommit, Violation, violation};
use sync_types::{Code, DecodeError, DeviceId};

/// A membership that cannot be made, loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The stored bytes are damaged.
    #[error("the stored membership is damaged: {0}")]
    Damaged(#[from] DecodeError),
    /// The stored bytes are of a version that this build does not know.
    #[error("the stored membership has the unknown version {0}")]
    Version(u8),
    /// The settings are not ones that a group can have.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// The epoch's exporter has been taken out already.
    #[error("the epoch's exporter has been taken out already")]
    ExporterTaken,
    /// This device has been removed from the group.
    #[error("this device was removed from the group")]
    Removed,
    /// A failure inside MLS.
    #[error("MLS failed: {0}")]
    Mls(#[source] Box<MlsError>),
}

impl MembershipError {
    /// The code for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Damaged(_) => Code::StoreCorrupt,
            Self::Version(_) => Code::Version,
            Self::Refused(_) => Code::InvalidArgument,
            Self::Removed => Code::Removed,
            Self::ExporterTaken | Self::Mls(_) => Code::Internal,
        }
    }
}

impl From<MlsError> for MembershipError {
    fn from(error: MlsError) -> Self {
        match violation(&error) {
            Some(violation) => Self::Refused(violation),
            None => Self::Mls(Box::new(error)),
        }
    }
}

/// A commit that cannot be made. The membership is as before.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Another commit of this device waits to be ordered.
    #[error("another change of this device waits to be ordered")]
    Pending,
    /// This device has been removed from the group.
    #[error("this device was removed from the group")]
    Removed,
    /// The change changes nothing: no key package, no device.
    #[error("the change is empty")]
    Empty,
    /// The device is not in the group.
    #[error("{0} is not in the group")]
    UnknownDevice(DeviceId),
    /// A device cannot remove itself: the commit would end with keys that it knows.
    #[error("a device cannot remove itself")]
    Myself,
    /// The newcomer's key package is of another cipher suite than the group.
    #[error("the newcomer's key package is of another cipher suite than the group")]
    Suite,
    /// A member has sent no key package of the suite that the group is to move to.
    #[error("{0} has sent no key package of the new suite")]
    NoKeyPackage(DeviceId),
    /// The newcomer's key package cannot be used.
    #[error("the newcomer's key package is invalid: {0}")]
    KeyPackage(#[source] Box<MlsError>),
    /// The change breaks a rule of groups.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// A failure inside MLS.
    #[error("MLS failed: {0}")]
    Mls(#[source] Box<MlsError>),
}

impl PrepareError {
    /// The code for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Pending => Code::Provisional,
            Self::Removed => Code::Removed,
            Self::Empty | Self::Myself => Code::InvalidArgument,
            Self::UnknownDevice(_) | Self::NoKeyPackage(_) => Code::UnknownDevice,
            Self::Suite => Code::Suite,
            Self::KeyPackage(_) => Code::Protocol,
            Self::Refused(_) => Code::CommitRefused,
            Self::Mls(_) => Code::Internal,
        }
    }

    /// What MLS says about a newcomer's key package.
    pub(super) fn key_package(error: MlsError) -> Self {
        match violation(&error) {
            Some(violation) => Self::Refused(violation),
            None => Self::KeyPackage(Box::new(error)),
        }
    }
}

impl From<MlsError> for PrepareError {
    fn from(error: MlsError) -> Self {
        match violation(&error) {
            Some(violation) => Self::Refused(violation),
            None => Self::Mls(Box::new(error)),
        }
    }
}

impl From<JoinError> for PrepareError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Refused(violation) => Self::Refused(violation),
            JoinError::Suite => Self::Suite,
            JoinError::Invalid(error) => Self::KeyPackage(error),
            _ => Self::KeyPackage(Box::new(MlsError::UnexpectedMessageType)),
        }
    }
}

/// A commit that cannot be applied. The membership is as before.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The bytes are no commit of a member.
    #[error(transparent)]
    NotACommit(#[from] NotACommit),
    /// The commit is for another group.
    #[error("the commit is for another group")]
    OtherGroup,
    /// The commit is for an epoch that is over.
    #[error("the commit is for epoch {theirs}, this device is at {ours}")]
    Stale {
        /// The commit's epoch.
        theirs: u64,
        /// This device's epoch.
        ours: u64,
    },
    /// The commit is for an epoch that has not begun here: one before it is missing.
    #[error("the commit is for epoch {theirs}, this device is at {ours}")]
    Future {
        /// The commit's epoch.
        theirs: u64,
        /// This device's epoch.
        ours: u64,
    },
    /// This device has been removed from the group.
    #[error("this device was removed from the group")]
    Removed,
    /// The commit is in this device's name, but it is not the pending one: its secrets are gone, or a copy of the
    /// device made it.
    #[error("the commit is in this device's name, and its secrets are not here")]
    OwnUnknown,
    /// The commit moves the group to another suite, and this device gave its maker no key package.
    #[error("the commit moves the group to another suite, and this device gave its maker no key package for that")]
    NoKeyPackage,
    /// The group that takes this one's place cannot be joined.
    #[error(transparent)]
    Successor(JoinError),
    /// The commit breaks a rule of groups.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// A signature, a tag, a hash or a key of the commit does not hold.
    #[error("the commit is invalid: {0}")]
    Invalid(#[source] Box<MlsError>),
}

impl ApplyError {
    /// The code for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::NotACommit(_) | Self::Refused(_) => Code::CommitRefused,
            Self::OtherGroup | Self::Future { .. } => Code::Protocol,
            Self::Stale { .. } => Code::StaleEpoch,
            Self::Removed => Code::Removed,
            Self::OwnUnknown | Self::NoKeyPackage | Self::Successor(_) | Self::Invalid(_) => Code::CommitRejected,
        }
    }

    /// Whether the commit itself is at fault, so that this member answers it with a REJECT. Otherwise it has come at the
    /// wrong time or to the wrong place.
    pub fn deserves_reject(&self) -> bool {
        match self {
            Self::NotACommit(_)
            | Self::OwnUnknown
            | Self::NoKeyPackage
            | Self::Successor(_)
            | Self::Refused(_)
            | Self::Invalid(_) => true,
            Self::OtherGroup | Self::Stale { .. } | Self::Future { .. } | Self::Removed => false,
        }
    }
}

impl From<MlsError> for ApplyError {
    fn from(error: MlsError) -> Self {
        match violation(&error) {
            Some(violation) => Self::Refused(violation),
            None => Self::Invalid(Box::new(error)),
        }
    }
}

/// A group that cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The stored secrets of the key package are damaged.
    #[error("the stored key package is damaged: {0}")]
    Secrets(#[from] DecodeError),
    /// The bytes are no welcome for this key package.
    #[error("the bytes are no welcome for this device")]
    NotForUs,
    /// The bytes are of another cipher suite than was agreed on when pairing.
    #[error("the message is of another cipher suite")]
    Suite,
    /// The welcome leads into another group than the one that was agreed on when pairing.
    #[error("the welcome leads into another group")]
    OtherGroup,
    /// The welcome was made by another device than the one that was paired with.
    #[error("the welcome was made by another device")]
    OtherSponsor,
    /// The group has agreed on other settings than those that were offered when pairing; says which.
    #[error("the group's {0} is not what was offered")]
    OtherSettings(&'static str),
    /// The welcome leads elsewhere than the end of the group before it says; says in what.
    #[error("the new group's {0} is not what the old group's end says")]
    OtherSuccessor(&'static str),
    /// The group breaks the rules of groups.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// A signature, a tag, a hash or a key of the welcome does not hold.
    #[error("the welcome is invalid: {0}")]
    Invalid(#[source] Box<MlsError>),
}

impl JoinError {
    /// The code for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Secrets(_) => Code::StoreCorrupt,
            Self::NotForUs | Self::Invalid(_) => Code::Protocol,
            Self::Suite => Code::Suite,
            Self::OtherGroup | Self::OtherSponsor | Self::OtherSettings(_) => Code::PairingForged,
            Self::OtherSuccessor(_) | Self::Refused(_) => Code::CommitRefused,
        }
    }
}

impl From<MlsError> for JoinError {
    fn from(error: MlsError) -> Self {
        match (violation(&error), error) {
            (Some(violation), _) => Self::Refused(violation),
            (None, MlsError::WelcomeKeyPackageNotFound | MlsError::UnexpectedMessageType) => Self::NotForUs,
            (None, error) => Self::Invalid(Box::new(error)),
        }
    }
}
