//! How a device stands with each relay of its group.

use sync_types::RelayAddress;

use crate::{DeviceRef, SyncTrouble};

/// How this device stands with one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayState {
    /// Its address, without token.
    pub address: RelayAddress,
    /// The device that hosts it, if one of the group's does.
    pub host: Option<DeviceRef>,
    /// Whether it has this device attached.
    pub connected: bool,
    /// How it is reached while it is connected.
    pub path: Option<RelayPath>,
    /// Whether everything that waited there is in the log.
    pub caught_up: bool,
    /// Whether it is the one that this device works through: the first of the list that answers.
    pub leads: bool,
    /// Own blobs' envelopes are durable there up to this number.
    pub accepted: u64,
    /// Why it is not connected; `None` while it is, and before the first try.
    pub trouble: Option<SyncTrouble>,
}

/// How a relay is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayPath {
    /// Within this process: this device hosts it.
    Process,
    /// By UDP.
    Udp,
    /// By a WebSocket at its HTTPS address, as UDP does not get through.
    Https,
    /// Where its key was found: in the local network, or by way of the servers for that.
    Found,
}

impl RelayPath {
    /// Its name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Udp => "udp",
            Self::Https => "https",
            Self::Found => "found",
        }
    }
}
