//! What `--json` writes: one of these a line. Names and order of the fields are a contract (docs/cli.md).

mod file;

use data_encoding::BASE64;
use serde::Serialize;
use sync_client::{
    AlertDevice, ClientEvent, DeviceInfo, DeviceRef, Finding, ReceivedBlob, RelayPath, RelayState, Status, SyncError,
    WakeState, Woken,
};

use crate::words;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    Initialized {
        group: String,
        device: String,
    },
    /// `code` is a short code, where there can be one.
    Invite {
        uri: &'a str,
        code: Option<&'a str>,
        expires_at: u64,
    },
    /// The short code is worth nothing any more; the link is.
    CodeOver {
        code: &'static str,
    },
    Request {
        name: &'a str,
    },
    Check {
        code: &'a str,
    },
    Agreed,
    Joined {
        group: String,
        device: String,
    },
    /// Holds a secret, so it is told by nothing but the command that makes the kit, as its result.
    RecoveryKit {
        words: &'a str,
        relay: &'a str,
    },
    Recovered {
        group: String,
        device: String,
        snapshots: Vec<RestoredSnapshot<'a>>,
        left_out: usize,
    },
    LeftForKit {
        channel: &'a str,
        code: Option<&'a str>,
    },
    Left {
        group: String,
        device: String,
    },
    GaveUpJoining,
    Woken {
        arrived: bool,
        caught_up: bool,
    },
    /// `state` is `none`, `waiting`, `registered` or `refused`.
    WakeTarget {
        state: &'static str,
        code: Option<&'static str>,
    },
    WakeKey {
        key: &'a str,
    },
    Reset,
    Vault {
        kind: &'static str,
    },
    Exported {
        blobs: u64,
        bytes: u64,
    },
    Imported {
        blobs: u64,
        added: u64,
    },
    Pushed {
        id: String,
        state: &'static str,
    },
    Snapshot {
        id: String,
        replaced: u64,
    },
    Skipped {
        id: String,
    },
    Blob(Box<Blob<'a>>),
    File(file::File<'a>),
    FileWritten {
        id: String,
        path: String,
    },
    Status(Box<StatusLine<'a>>),
    Device(Device<'a>),
    Alert(Box<Alert<'a>>),
    Relay(RelayLine<'a>),
    /// `suite` is 1 or 2.
    Suite {
        suite: u8,
        moving: Option<Moving<'a>>,
    },
    Finding {
        code: Option<&'static str>,
        title: &'a str,
        detail: &'a str,
        next_step: &'a str,
    },
    Error {
        code: &'static str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    // What `run` and `pull --follow` tell.
    Connected,
    Disconnected {
        code: &'static str,
        message: &'a str,
        retry_after_ms: u64,
    },
    /// `mode` is `foreground`, `background` or `waking`.
    Mode {
        mode: &'static str,
    },
    CaughtUp,
    Arrived,
    Accepted,
    Delivered,
    Lapsed {
        since: u64,
    },
    Synced,
    HistoryProgress {
        done: u64,
        total: u64,
    },
    DeviceAdded {
        device: Device<'a>,
        by: Device<'a>,
    },
    /// `exit` is `removed`, `lost` or `left`.
    DeviceRemoved {
        device: Device<'a>,
        by: Device<'a>,
        exit: &'static str,
    },
    DeviceReplaced {
        device: Device<'a>,
        was: String,
    },
    KeyReplaced {
        device: String,
        was: String,
        code: &'static str,
    },
    RelaysChanged {
        by: Device<'a>,
        relays: Vec<String>,
    },
    DeviceNamed {
        device: Device<'a>,
    },
    DeviceRecovered {
        device: Device<'a>,
    },
    SettingsChanged {
        setting: &'static str,
        by: Device<'a>,
    },
    Unusual {
        outcome: &'static str,
        device: Option<Device<'a>>,
    },
    Withheld {
        device: Device<'a>,
        count: u64,
    },
    StalePeer {
        device: Device<'a>,
        since: u64,
    },
    CommitRejected {
        by: Device<'a>,
        committer: Device<'a>,
    },
    ChangeFailed {
        device: Device<'a>,
        code: &'static str,
    },
    Refused {
        code: &'static str,
        retry_after_ms: u64,
    },
    Halted {
        code: &'static str,
    },
    Presence {
        device: Device<'a>,
        channel: &'a str,
        data: String,
    },
    IdConflict {
        id: String,
        device: Device<'a>,
    },
    StoreFailed {
        code: &'static str,
    },
    FileListed {
        id: String,
        own: bool,
    },
    /// In bytes as they are sealed.
    FileProgress {
        id: String,
        done: u64,
        total: u64,
    },
    FileHere {
        id: String,
    },
    FileGiven {
        id: String,
    },
    FileRemoved {
        id: String,
    },
    FileFailed {
        id: String,
        code: &'static str,
        retry_after_ms: u64,
    },
    Lagged {
        missed: u64,
    },
}

#[derive(Serialize)]
pub(crate) struct Blob<'a> {
    id: String,
    device: String,
    channel: &'a str,
    position: u64,
    /// In base64.
    data: String,
    /// The same, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    snapshot: bool,
}

#[derive(Serialize)]
pub(crate) struct StatusLine<'a> {
    group: Option<String>,
    device: Option<String>,
    connected: bool,
    relays: Vec<String>,
    outbox: u64,
    unacknowledged: u64,
    devices: Vec<Device<'a>>,
    epoch: u64,
    name: &'a str,
    caught_up: bool,
    hosting: bool,
    wants_history: bool,
    away_days: Option<u64>,
    behind: u64,
    withheld: u64,
    recovery_kit: bool,
    kit_snapshots: bool,
    trouble: Option<Trouble<'a>>,
    joining: bool,
    vault: &'static str,
    relay_states: Vec<RelayLine<'a>>,
    suite: Option<u8>,
    moving: Option<Moving<'a>>,
    mode: &'static str,
    wake: Option<&'static str>,
    waiting_for: Vec<Device<'a>>,
}

/// A move of the group to another suite that waits for these devices.
#[derive(Serialize)]
pub(crate) struct Moving<'a> {
    to: u8,
    waits_for: Vec<Device<'a>>,
}

impl<'a> From<&'a sync_client::Moving> for Moving<'a> {
    fn from(moving: &'a sync_client::Moving) -> Self {
        Self { to: moving.to as u8, waits_for: moving.waits_for.iter().map(Device::from).collect() }
    }
}

#[derive(Serialize)]
pub(crate) struct Alert<'a> {
    number: u64,
    kind: &'static str,
    /// In milliseconds since the Unix epoch, by this device's clock when it heard of it.
    at: u64,
    seen: bool,
    device: Option<Device<'a>>,
    by: Option<Device<'a>>,
    code: Option<&'static str>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    text: String,
    next_step: &'static str,
}

/// A relay, and how this device stands with it.
#[derive(Serialize)]
pub(crate) struct RelayLine<'a> {
    address: String,
    host: Option<Device<'a>>,
    connected: bool,
    path: Option<&'static str>,
    caught_up: bool,
    leads: bool,
    trouble: Option<Trouble<'a>>,
}

impl<'a> From<&'a RelayState> for RelayLine<'a> {
    fn from(relay: &'a RelayState) -> Self {
        Self {
            address: relay.address.without_token().to_string(),
            host: relay.host.as_ref().map(Device::from),
            connected: relay.connected,
            path: relay.path.map(RelayPath::as_str),
            caught_up: relay.caught_up,
            leads: relay.leads,
            trouble: relay.trouble.as_ref().map(|t| Trouble { code: t.code.as_str(), message: &t.message }),
        }
    }
}

impl<'a> From<&'a RelayState> for Event<'a> {
    fn from(relay: &'a RelayState) -> Self {
        Self::Relay(relay.into())
    }
}

#[derive(Serialize)]
struct Trouble<'a> {
    code: &'static str,
    message: &'a str,
}

/// A snapshot that came back by a recovery kit.
#[derive(Serialize)]
pub(crate) struct RestoredSnapshot<'a> {
    pub(crate) channel: &'a str,
    /// In milliseconds since the Unix epoch.
    pub(crate) at: u64,
}

#[derive(Serialize)]
pub(crate) struct Device<'a> {
    id: String,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<bool>,
    /// In milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<u64>,
}

impl<'a> From<&'a DeviceRef> for Device<'a> {
    fn from(device: &'a DeviceRef) -> Self {
        Self { id: device.id.to_string(), name: device.name.as_deref(), own: None, last_seen: None }
    }
}

impl<'a> From<&'a DeviceInfo> for Device<'a> {
    fn from(device: &'a DeviceInfo) -> Self {
        Self {
            id: device.id.to_string(),
            name: device.name.as_deref(),
            own: Some(device.own),
            last_seen: device.last_seen,
        }
    }
}

impl<'a> From<&'a ReceivedBlob> for Event<'a> {
    fn from(blob: &'a ReceivedBlob) -> Self {
        Self::Blob(Box::new(Blob {
            id: blob.id.to_string(),
            device: blob.device.to_string(),
            channel: &blob.channel,
            position: blob.position,
            data: BASE64.encode(&blob.data),
            text: std::str::from_utf8(&blob.data).ok(),
            snapshot: blob.snapshot,
        }))
    }
}

impl<'a> From<&'a Status> for Event<'a> {
    fn from(status: &'a Status) -> Self {
        Self::Status(Box::new(StatusLine {
            group: status.group.map(|id| id.to_string()),
            device: status.device.map(|id| id.to_string()),
            connected: status.connected,
            relays: status.relays.iter().map(ToString::to_string).collect(),
            outbox: status.outbox,
            unacknowledged: status.unacknowledged,
            devices: status.devices.iter().map(Device::from).collect(),
            epoch: status.epoch,
            name: &status.name,
            caught_up: status.caught_up,
            hosting: status.hosting,
            wants_history: status.wants_history,
            away_days: status.away_days,
            behind: status.behind,
            withheld: status.withheld,
            recovery_kit: status.recovery_kit,
            kit_snapshots: status.kit_snapshots,
            trouble: status.trouble.as_ref().map(|t| Trouble { code: t.code.as_str(), message: &t.message }),
            joining: status.joining,
            vault: status.vault.as_str(),
            relay_states: status.relay_states.iter().map(RelayLine::from).collect(),
            suite: status.suite.map(|suite| suite as u8),
            moving: status.moving.as_ref().map(Moving::from),
            mode: status.mode.as_str(),
            wake: status.wake.map(WakeState::as_str),
            waiting_for: status.waiting_for.iter().map(Device::from).collect(),
        }))
    }
}

impl<'a> From<&'a sync_client::Alert> for Event<'a> {
    fn from(alert: &'a sync_client::Alert) -> Self {
        let device = |device: &'a Option<AlertDevice>| {
            let device = device.as_ref()?;
            Some(Device {
                id: device.id.to_string(),
                name: device.name.as_deref(),
                own: Some(device.own),
                last_seen: None,
            })
        };
        Self::Alert(Box::new(Alert {
            number: alert.number,
            kind: alert.kind.as_str(),
            at: alert.at,
            seen: alert.seen,
            device: device(&alert.device),
            by: device(&alert.by),
            code: alert.code.map(|code| code.as_str()),
            count: alert.count,
            since: alert.since,
            text: alert.text(),
            next_step: alert.next_step(),
        }))
    }
}

impl<'a> From<&'a Finding> for Event<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self::Finding {
            code: finding.code.map(|code| code.as_str()),
            title: &finding.title,
            detail: &finding.detail,
            next_step: &finding.next_step,
        }
    }
}

impl From<Woken> for Event<'_> {
    fn from(woken: Woken) -> Self {
        Self::Woken { arrived: woken.arrived, caught_up: woken.caught_up }
    }
}

impl From<&SyncError> for Event<'_> {
    fn from(error: &SyncError) -> Self {
        Self::Error { code: error.code.as_str(), message: error.to_string(), retry_after_ms: error.retry_after_ms }
    }
}

impl<'a> Event<'a> {
    /// How it stands with waking this device.
    pub(crate) fn wake_target(wake: Option<WakeState>) -> Self {
        let code = match wake {
            Some(WakeState::Refused(code)) => Some(code.as_str()),
            _ => None,
        };
        Self::WakeTarget { state: wake.map_or("none", WakeState::as_str), code }
    }

    /// What the group's cryptography is made of; `None` without a group.
    pub(crate) fn suite(status: &'a Status) -> Option<Self> {
        Some(Self::Suite { suite: status.suite? as u8, moving: status.moving.as_ref().map(Moving::from) })
    }

    /// What happened to the client; `None` for what this build knows no words for.
    pub(crate) fn of(event: &'a ClientEvent) -> Option<Self> {
        Some(match event {
            ClientEvent::Connected => Self::Connected,
            ClientEvent::Disconnected { code, message, retry_after_ms } => {
                Self::Disconnected { code: code.as_str(), message, retry_after_ms: *retry_after_ms }
            }
            ClientEvent::Mode(mode) => Self::Mode { mode: mode.as_str() },
            ClientEvent::CaughtUp => Self::CaughtUp,
            ClientEvent::Arrived => Self::Arrived,
            ClientEvent::Accepted => Self::Accepted,
            ClientEvent::Delivered => Self::Delivered,
            ClientEvent::LeftForKit { channel, refused } => {
                Self::LeftForKit { channel, code: refused.map(|code| code.as_str()) }
            }
            ClientEvent::Lapsed { since } => Self::Lapsed { since: *since },
            ClientEvent::Synced => Self::Synced,
            ClientEvent::HistoryProgress { done, total } => Self::HistoryProgress { done: *done, total: *total },
            ClientEvent::DeviceAdded { device, by } => Self::DeviceAdded { device: device.into(), by: by.into() },
            ClientEvent::DeviceRemoved { device, by, exit } => {
                Self::DeviceRemoved { device: device.into(), by: by.into(), exit: words::exit(*exit) }
            }
            ClientEvent::DeviceReplaced { device, old } => {
                Self::DeviceReplaced { device: device.into(), was: old.to_string() }
            }
            ClientEvent::KeyReplaced { old, device, code } => {
                Self::KeyReplaced { device: device.to_string(), was: old.to_string(), code: code.as_str() }
            }
            ClientEvent::RelaysChanged { by, relays } => {
                let relays = relays.iter().map(|relay| relay.without_token().to_string()).collect();
                Self::RelaysChanged { by: by.into(), relays }
            }
            ClientEvent::DeviceNamed { device } => Self::DeviceNamed { device: device.into() },
            ClientEvent::DeviceRecovered { device } => Self::DeviceRecovered { device: device.into() },
            ClientEvent::SettingsChanged { setting, by } => {
                Self::SettingsChanged { setting: setting.as_str(), by: by.into() }
            }
            ClientEvent::Joined { group, device } => {
                Self::Joined { group: group.to_string(), device: device.to_string() }
            }
            ClientEvent::Left { group, device } => Self::Left { group: group.to_string(), device: device.to_string() },
            ClientEvent::Unusual { outcome, device } => {
                Self::Unusual { outcome: outcome.as_str(), device: device.as_ref().map(Device::from) }
            }
            ClientEvent::Withheld { device, count } => Self::Withheld { device: device.into(), count: *count },
            ClientEvent::StalePeer { device, since } => Self::StalePeer { device: device.into(), since: *since },
            ClientEvent::CommitRejected { by, committer } => {
                Self::CommitRejected { by: by.into(), committer: committer.into() }
            }
            ClientEvent::ChangeFailed { device, code } => {
                Self::ChangeFailed { device: device.into(), code: code.as_str() }
            }
            ClientEvent::Refused { code, retry_after_ms } => {
                Self::Refused { code: code.as_str(), retry_after_ms: *retry_after_ms }
            }
            ClientEvent::Halted { code } => Self::Halted { code: code.as_str() },
            ClientEvent::Presence { device, channel, data } => {
                Self::Presence { device: device.into(), channel, data: BASE64.encode(data) }
            }
            ClientEvent::IdConflict { id, device } => Self::IdConflict { id: id.to_string(), device: device.into() },
            ClientEvent::StoreFailed { code } => Self::StoreFailed { code: code.as_str() },
            ClientEvent::FileListed { id, own } => Self::FileListed { id: id.to_string(), own: *own },
            ClientEvent::FileProgress { id, done, total } => {
                Self::FileProgress { id: id.to_string(), done: *done, total: *total }
            }
            ClientEvent::FileHere { id } => Self::FileHere { id: id.to_string() },
            ClientEvent::FileGiven { id } => Self::FileGiven { id: id.to_string() },
            ClientEvent::FileRemoved { id } => Self::FileRemoved { id: id.to_string() },
            ClientEvent::FileFailed { id, code, retry_after_ms } => {
                Self::FileFailed { id: id.to_string(), code: code.as_str(), retry_after_ms: *retry_after_ms }
            }
            ClientEvent::Alert(alert) => Self::from(&**alert),
            ClientEvent::Lagged(missed) => Self::Lagged { missed: *missed },
            _ => return None,
        })
    }
}
