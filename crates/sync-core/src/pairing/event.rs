//! What the machine hands to its caller.

use std::fmt;

use sync_types::{Code, DecodeError, DeviceId, GroupId, limits, settings::Settings};

use super::derive;
use super::error::PairingError;
use super::name::check_name;

/// The largest MLS key package that a newcomer may send, in bytes. One with X-Wing has about 2,700.
pub const KEY_PACKAGE_BYTES: usize = 16 * 1024;

/// The largest encoded settings that an offer may carry, in bytes.
pub const SETTINGS_BYTES: usize = 8 * 1024;

/// How a member says yes to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// By typing the check code that the newcomer shows: [`super::Pairing::type_check`].
    CheckCode,
    /// By a plain yes: [`super::Pairing::consent`]. The newcomer's person has typed the check code already, or a short code
    /// brought the two together.
    Yes,
}

/// What the caller has to do, in this order.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// Lay this down in the rendezvous for the other side.
    Send(Vec<u8>),
    /// Show these four digits; the person types them on the other device.
    ShowCheck(String),
    /// Ask for the four digits that the other device shows, and pass them to [`super::Pairing::type_check`]. Only a
    /// newcomer that shows is asked so; a member is by [`Output::Request`].
    NeedCheck,
    /// Make a key package and pass it to [`super::Pairing::key_package`].
    NeedKeyPackage {
        /// The member's time, in milliseconds since the Unix epoch. The key package's lifetime begins by it: a newcomer
        /// whose own clock is a second ahead could not be added.
        time_ms: u64,
    },
    /// Ask the person whether this newcomer may join.
    Request {
        /// The newcomer's name, on its own word.
        name: String,
        /// How the answer is given. A no is [`super::Pairing::consent`] with `false` in either case.
        consent: Consent,
    },
    /// The newcomer may join: prepare the commit and pass what it has to know to [`super::Pairing::offer`].
    Approved {
        /// The newcomer's MLS key package, not looked into.
        key_package: Vec<u8>,
        /// The newcomer's name, on its own word.
        name: String,
    },
    /// The group that this newcomer is being added to. Store it, then call [`super::Pairing::offer_stored`]: that is the
    /// confirmation upon which the member adds this device.
    Offer(GroupOffer),
    /// The newcomer has stored the offer: upload the commit now, and not before.
    OfferTaken,
    /// This side is through.
    Done,
    /// The pairing has failed. Comes once, as the last output.
    Failed(PairingError),
}

impl Output {
    /// The code, if this is a failure.
    pub fn failure(&self) -> Option<Code> {
        match self {
            Self::Failed(error) => Some(error.code()),
            _ => None,
        }
    }
}

/// Shows no digits and no contents.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::ShowCheck(_) => f.write_str("ShowCheck(…)"),
            Self::NeedCheck => f.write_str("NeedCheck"),
            Self::NeedKeyPackage { time_ms } => write!(f, "NeedKeyPackage({time_ms})"),
            Self::Request { consent, .. } => write!(f, "Request({consent:?})"),
            Self::Approved { key_package, .. } => write!(f, "Approved({} bytes)", key_package.len()),
            Self::Offer(offer) => write!(f, "Offer({offer:?})"),
            Self::OfferTaken => f.write_str("OfferTaken"),
            Self::Done => f.write_str("Done"),
            Self::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}

/// What a newcomer has to know before the commit that adds it is uploaded.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupOffer {
    /// The group; the newcomer accepts a Welcome to no other.
    pub group: GroupId,
    /// The member that adds it; the newcomer accepts a Welcome by no other.
    pub sponsor: DeviceId,
    /// The group's agreed settings, encoded; see [`Settings`]. At most [`SETTINGS_BYTES`].
    pub settings: Vec<u8>,
    /// What the members call themselves, as far as the sponsor knows. At most [`limits::MEMBERS`].
    pub names: Vec<(DeviceId, String)>,
    /// The sponsor's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl GroupOffer {
    /// Checks every bound; says what is beyond.
    pub(super) fn check(&self) -> Result<Settings, &'static str> {
        if self.settings.len() > SETTINGS_BYTES {
            return Err("encoded settings have at most 8 KiB");
        }
        if self.names.len() > limits::MEMBERS {
            return Err("an offer names at most 128 members");
        }
        for (_, name) in &self.names {
            check_name(name)?;
        }
        Settings::parse(&self.settings).map_err(|error| match error {
            DecodeError::Limit(reason) => reason,
            _ => "the settings in the offer do not decode",
        })
    }

    /// Checks the bounds and that the settings are those of the app with this hash.
    pub(super) fn check_for(&self, app: &[u8; 32]) -> Result<(), PairingError> {
        let settings = self.check().map_err(PairingError::Input)?;
        match std::str::from_utf8(&settings.app_id) {
            Ok(id) if derive::app_hash(id) == *app => Ok(()),
            _ => Err(PairingError::WrongApp),
        }
    }
}

impl fmt::Debug for GroupOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupOffer")
            .field("group", &self.group)
            .field("sponsor", &self.sponsor)
            .field("names", &self.names.len())
            .field("time_ms", &self.time_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_contents() {
        let outputs = [
            Output::ShowCheck("4711".into()),
            Output::Request { name: "Planted".into(), consent: Consent::Yes },
            Output::Approved { key_package: b"Planted".to_vec(), name: "Planted".into() },
        ];
        let text = format!("{outputs:?}");
        assert!(!text.contains("4711") && !text.contains("Planted"), "{text}");
    }
}
