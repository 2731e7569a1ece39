//! How a device stands with its relays, as it crosses to the webview.

use serde::Serialize;

use crate::types::{Device, Trouble};

/// How this device stands with one relay.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RelayState {
    /// Its address, without token.
    pub(crate) address: String,
    /// The device that hosts it, if one of the group's does.
    pub(crate) host: Option<Device>,
    /// Whether it has this device attached.
    pub(crate) connected: bool,
    /// How it is reached while it is connected.
    pub(crate) path: Option<RelayPath>,
    /// Whether everything that waited there is in the log.
    pub(crate) caught_up: bool,
    /// Whether it is the one that this device works through: the first of the list that answers.
    pub(crate) leads: bool,
    /// Why it is not connected; null while it is, and before the first try.
    pub(crate) trouble: Option<Trouble>,
}

/// How a relay is reached: within this process, by UDP, or by a WebSocket at its HTTPS address where UDP does not get through, or
/// where its key was found.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum RelayPath {
    Process,
    Udp,
    Https,
    Found,
}

impl From<sync_client::RelayPath> for RelayPath {
    fn from(path: sync_client::RelayPath) -> Self {
        match path {
            sync_client::RelayPath::Process => Self::Process,
            sync_client::RelayPath::Udp => Self::Udp,
            sync_client::RelayPath::Https => Self::Https,
            sync_client::RelayPath::Found => Self::Found,
        }
    }
}

impl From<sync_client::RelayState> for RelayState {
    fn from(relay: sync_client::RelayState) -> Self {
        Self {
            address: relay.address.without_token().to_string(),
            host: relay.host.map(Into::into),
            connected: relay.connected,
            path: relay.path.map(Into::into),
            caught_up: relay.caught_up,
            leads: relay.leads,
            trouble: relay.trouble.map(Into::into),
        }
    }
}

impl From<sync_client::SyncTrouble> for Trouble {
    fn from(trouble: sync_client::SyncTrouble) -> Self {
        let code = trouble.code;
        let (message, next_step) = (trouble.message, code.next_step().to_owned());
        Self { code: code.as_str().to_owned(), message, next_step }
    }
}
