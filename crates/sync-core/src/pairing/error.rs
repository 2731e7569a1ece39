//! What can go wrong in a pairing.

use sync_types::link::LinkError;
use sync_types::{Code, ShortCodeError, VERSION};

use super::noise;

/// Why an input was refused, or why the pairing ended.
///
/// [`PairingError::Input`], [`PairingError::WrongCode`] and [`PairingError::Over`] refuse one input and change nothing.
/// Every other one ends the pairing, or kept it from beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// Our caller asked for what cannot be done, or not now.
    #[error("{0}")]
    Input(&'static str),
    /// The digits that the person typed are not those that the other device shows.
    #[error("the check code is wrong, {tries_left} tries left")]
    WrongCode {
        /// How often it may still be typed.
        tries_left: u8,
    },
    /// The pairing is over, and takes nothing any more: done, or ended by the failure with this code.
    #[error("the pairing is over ({})", .0.map_or("done", Code::as_str))]
    Over(Option<Code>),
    /// The link cannot be used or made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other side of a short code speaks another protocol version.
    #[error("the other device speaks protocol version {0}, this build speaks {VERSION}")]
    Version(u8),
    /// The link, or the other side of a short code, wants a cipher suite that this build does not have, or that such a pairing
    /// cannot be of.
    #[error("the other device wants cipher suite {0}, which this one does not take")]
    Suite(u8),
    /// Short codes are none of suite 2.
    #[error("short codes are made with algorithms that FIPS does not approve, and this build or group has no others")]
    NoCodes,
    /// The text is no short code, or the relay's number is none.
    #[error(transparent)]
    ShortCode(#[from] ShortCodeError),
    /// The link, or the device behind a short code, is another app's.
    #[error("the other side of the pairing is another app")]
    WrongApp,
    /// The link was shown by a device on our own side.
    #[error("both devices are on the same side of the pairing")]
    WrongSide,
    /// The time of the link or code is over, by the clock of the device that shows it.
    #[error("the pairing's time is over")]
    Expired,
    /// Somebody took up the link or the code a second time.
    #[error("the pairing was taken up twice")]
    Used,
    /// The two sides have different words of a short code: one was typed wrongly, or guessed.
    #[error("the code was not the same on both sides, and is worth nothing any more")]
    CodeMismatch,
    /// The person on this device said no.
    #[error("the pairing was refused here")]
    Refused,
    /// The last try was wrong too.
    #[error("the check code was wrong too often")]
    TooManyTries,
    /// The peer's message does not authenticate, or its keys are not those in the link.
    #[error("the other side does not hold what the link says, or a message was altered")]
    Forged,
    /// The peer sent what the protocol does not allow.
    #[error("the other side broke the protocol: {0}")]
    Peer(&'static str),
    /// The peer ended the pairing.
    #[error("the other side ended the pairing: {code}")]
    Aborted {
        /// The reason that it gave.
        code: Code,
        /// Whether the reason came through the channel. If not, the relay could have made it up.
        authentic: bool,
    },
}

impl PairingError {
    /// The code that a user sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::Input(_) => Code::InvalidArgument,
            Self::WrongCode { .. } | Self::CodeMismatch => Code::WrongCode,
            Self::Version(_) => Code::Version,
            Self::Suite(_) => Code::Suite,
            Self::NoCodes => Code::CodeNotApproved,
            Self::ShortCode(error) => error.code(),
            Self::Over(Some(code)) | Self::Aborted { code, .. } => *code,
            Self::Over(None) | Self::Used => Code::PairingUsed,
            Self::Link(error) => error.code(),
            Self::WrongApp => Code::WrongApp,
            Self::WrongSide => Code::WrongSide,
            Self::Expired => Code::PairingExpired,
            Self::Refused => Code::PairingRefused,
            Self::TooManyTries => Code::TooManyTries,
            Self::Forged => Code::PairingForged,
            Self::Peer(_) => Code::Protocol,
        }
    }

    /// The code behind a peer's abort; a number that no pairing ends with reads as [`Code::Protocol`].
    pub(super) fn abort_code(number: u16) -> Code {
        match Code::from_wire(number) {
            code @ (Code::Version
            | Code::Suite
            | Code::WrongCode
            | Code::WrongApp
            | Code::WrongSide
            | Code::PairingExpired
            | Code::PairingUsed
            | Code::PairingRefused
            | Code::TooManyTries
            | Code::PairingForged) => code,
            _ => Code::Protocol,
        }
    }
}

impl From<noise::Error> for PairingError {
    fn from(error: noise::Error) -> Self {
        match error {
            noise::Error::Forged => Self::Forged,
            noise::Error::Malformed => Self::Peer("a message that Noise does not allow"),
            noise::Error::TooLarge => Self::Peer("a message larger than Noise allows"),
            noise::Error::Turn => Self::Peer("a message out of turn"),
        }
    }
}
