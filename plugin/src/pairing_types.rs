//! What happens in a pairing, as it crosses to the webview.

use serde::Serialize;

use crate::error::CommandError;
use crate::types::Device;

/// What happens in a pairing. Goes to the window that began it, and to no other.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum PairingStep {
    /// Show this link, as the QR or as text, and the short code beside it.
    Uri {
        /// The link.
        uri: String,
        /// The short code, where there can be one.
        code: Option<String>,
        /// The link as a QR code.
        svg: String,
        /// When it is worth nothing any more, in milliseconds since the Unix epoch, as a decimal number.
        expires_at: String,
    },
    /// The short code is worth nothing any more; the link is.
    CodeOver {
        /// Why.
        error: CommandError,
    },
    /// Show these four digits; the person types them on the other device.
    Check {
        /// The digits.
        code: String,
    },
    /// Ask for the four digits that the other device shows.
    TypeCheck,
    /// Ask whether this newcomer may join.
    Request {
        /// What it calls itself.
        name: String,
        /// Whether yes is said by typing its four digits.
        needs_check: bool,
    },
    /// Newcomer: the member has agreed, and this device now waits until it is added.
    Agreed,
    /// Newcomer: this device is in the group. The last step.
    Joined {
        /// The group.
        group: String,
        /// What this device is in it.
        device: String,
    },
    /// Member: the newcomer is in the group. The last step.
    Added {
        /// The newcomer.
        device: Device,
    },
    /// It came to nothing. The last step.
    Failed {
        /// Why.
        error: CommandError,
    },
}
