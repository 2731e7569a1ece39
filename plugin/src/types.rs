//! What crosses to the webview. Numbers that may outgrow 2^53 cross as decimal strings; bytes apart from presence cross raw.

use serde::{Deserialize, Serialize};
use sync_client::{ClientEvent, DeviceInfo, DeviceRef, Finding, Receipt, SnapshotReceipt, Status};

use crate::alert_types::{DeviceExit, SyncAlert};
use crate::file_types::{self, FileChange, FileProgress};
use crate::relay_types::RelayState;
use crate::wake_types::{Mode, WakeState};

/// The word that a blob is durable on this device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct ReceiptInfo {
    /// The blob's id, the same on every device.
    pub(crate) id: String,
    /// Its place in this device's log, as a decimal number.
    pub(crate) position: String,
}

impl From<Receipt> for ReceiptInfo {
    fn from(receipt: Receipt) -> Self {
        Self { id: receipt.id.to_string(), position: receipt.position.to_string() }
    }
}

/// What a snapshot stands for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct SnapshotInfo {
    /// The snapshot's id.
    pub(crate) id: String,
    /// How many blobs of the log it took the place of, as a decimal number. 0: it is kept for the kit alone, if at all.
    pub(crate) replaced: String,
}

impl From<SnapshotReceipt> for SnapshotInfo {
    fn from(receipt: SnapshotReceipt) -> Self {
        Self { id: receipt.id.to_string(), replaced: receipt.replaced.to_string() }
    }
}

/// How far a pushed blob has come.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum ReceiptState {
    /// Durable on this device.
    Queued,
    /// Durable at the relay.
    Accepted,
    /// Signed for by every member.
    Delivered,
}

impl From<ReceiptState> for sync_client::ReceiptState {
    fn from(state: ReceiptState) -> Self {
        match state {
            ReceiptState::Queued => Self::Queued,
            ReceiptState::Accepted => Self::Accepted,
            ReceiptState::Delivered => Self::Delivered,
        }
    }
}

/// A device of the group, as people know it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct Device {
    /// Its id.
    pub(crate) id: String,
    /// Its name, once it has said one.
    pub(crate) name: Option<String>,
}

impl From<DeviceRef> for Device {
    fn from(device: DeviceRef) -> Self {
        Self { id: device.id.to_string(), name: device.name }
    }
}

/// A member of the group.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    /// Its id.
    pub(crate) id: String,
    /// Its name, once it has said one.
    pub(crate) name: Option<String>,
    /// Whether it is this device.
    pub(crate) own: bool,
    /// When something new from it last came here, in milliseconds since the Unix epoch, as a decimal number; null for this
    /// device.
    pub(crate) last_seen: Option<String>,
}

impl From<DeviceInfo> for Member {
    fn from(device: DeviceInfo) -> Self {
        Self {
            id: device.id.to_string(),
            name: device.name,
            own: device.own,
            last_seen: device.last_seen.map(|at| at.to_string()),
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncStatus {
    /// The group; null before the first push, invite or join.
    pub(crate) group: Option<String>,
    /// This device in it.
    pub(crate) device: Option<String>,
    /// What this device is called.
    pub(crate) name: String,
    /// Whether a relay has this device attached.
    pub(crate) connected: bool,
    /// Whether everything that waited at the relay is in the log.
    pub(crate) caught_up: bool,
    /// The relays of the group, without tokens.
    pub(crate) relays: Vec<String>,
    /// How this device stands with each of them, in the same order.
    pub(crate) relay_states: Vec<RelayState>,
    /// Whether this device hosts a relay of its group and runs it now.
    pub(crate) hosting: bool,
    /// In a group whose members host its relays: the devices of which one has to come up before anything goes from here to another
    /// device. Empty as soon as one of their relays is reached.
    pub(crate) waiting_for: Vec<Device>,
    /// How many blobs no relay has accepted yet.
    pub(crate) outbox: u32,
    /// How many own blobs not every member has signed for.
    pub(crate) unacknowledged: u32,
    /// The members, this device first.
    pub(crate) devices: Vec<Member>,
    /// The version of membership and keys, as a decimal number.
    pub(crate) epoch: String,
    /// What the group's cryptography is made of, 1 or 2; null without a group.
    pub(crate) suite: Option<u8>,
    /// The move to another suite that this device was asked for and that is not done; else null.
    pub(crate) moving: Option<Moving>,
    /// Whether history is still on its way.
    pub(crate) wants_history: bool,
    /// For how many days this device was away, as long as it fetches what it missed from the others; else null.
    pub(crate) away_days: Option<u32>,
    /// How many envelopes other devices are known to have pushed that have not come here: they are asked for.
    pub(crate) behind: u32,
    /// How many of these nobody has brought.
    pub(crate) withheld: u32,
    /// Whether the group has a recovery kit.
    pub(crate) recovery_kit: bool,
    /// Whether this device leaves its snapshots at the relay, sealed for that kit.
    pub(crate) kit_snapshots: bool,
    /// Why it is not syncing; null when all is well.
    pub(crate) trouble: Option<Trouble>,
    /// Where in its life the app is.
    pub(crate) mode: Mode,
    /// How it stands with waking this device; null if it has no target.
    pub(crate) wake: Option<WakeState>,
    /// Whether a pairing was agreed on, and this device waits until the other one has added it.
    pub(crate) joining: bool,
    /// Where the key lies that seals this device's data: `keychain`, `passphrase` or `file`.
    pub(crate) vault: String,
}

/// A move of the group to another suite, on its way.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moving {
    /// Where to: 1 or 2.
    pub(crate) to: u8,
    /// The devices that have not answered yet. Each is waited for until it comes online, or is removed.
    pub(crate) waits_for: Vec<Device>,
}

/// Why it is not syncing.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    /// For programs.
    pub(crate) code: String,
    /// For people, without a full stop.
    pub(crate) message: String,
    /// What to do, as a sentence.
    pub(crate) next_step: String,
}

impl From<Status> for SyncStatus {
    fn from(status: Status) -> Self {
        let relays = status.relays.iter().map(|relay| relay.without_token().to_string());
        Self {
            relay_states: status.relay_states.into_iter().map(Into::into).collect(),
            group: status.group.map(|id| id.to_string()),
            device: status.device.map(|id| id.to_string()),
            name: status.name,
            connected: status.connected,
            caught_up: status.caught_up,
            relays: relays.collect(),
            hosting: status.hosting,
            waiting_for: status.waiting_for.into_iter().map(Into::into).collect(),
            outbox: count(status.outbox),
            unacknowledged: count(status.unacknowledged),
            devices: status.devices.into_iter().map(Into::into).collect(),
            epoch: status.epoch.to_string(),
            suite: status.suite.map(|suite| suite as u8),
            moving: status.moving.map(|moving| Moving {
                to: moving.to as u8,
                waits_for: moving.waits_for.into_iter().map(Into::into).collect(),
            }),
            wants_history: status.wants_history,
            away_days: status.away_days.map(count),
            behind: count(status.behind),
            withheld: count(status.withheld),
            recovery_kit: status.recovery_kit,
            kit_snapshots: status.kit_snapshots,
            trouble: status.trouble.map(Into::into),
            mode: status.mode.into(),
            wake: status.wake.map(Into::into),
            joining: status.joining,
            vault: status.vault.as_str().to_owned(),
        }
    }
}

/// One thing to know about why it is or is not syncing.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncFinding {
    /// What it is about; null for something that is as it should be.
    pub(crate) code: Option<String>,
    /// In a few words.
    pub(crate) title: String,
    /// In a sentence or two.
    pub(crate) detail: String,
    /// What to do; empty when there is nothing to do.
    pub(crate) next_step: String,
}

impl From<Finding> for SyncFinding {
    fn from(finding: Finding) -> Self {
        Self {
            code: finding.code.map(|code| code.as_str().to_owned()),
            title: finding.title,
            detail: finding.detail,
            next_step: finding.next_step,
        }
    }
}

/// Something that happened. Holds no secret, and an app's data only in `presence`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum SyncEvent {
    /// The relay has this device attached.
    Connected,
    /// The connection is over; the client comes back by itself.
    Disconnected {
        /// Why.
        code: String,
        /// What happened, without a full stop.
        message: String,
        /// When the next try is.
        retry_after_ms: u32,
    },
    /// The app's life went on.
    Mode {
        /// Where it is.
        mode: Mode,
    },
    /// Everything that waited at the relay is in the log.
    CaughtUp,
    /// New blobs are in the log.
    Arrived,
    /// Some pushed blobs are durable at the relay.
    Accepted,
    /// Some pushed blobs were signed for by every member.
    Delivered,
    /// A device came into the group, left it, took a new key, or said its name.
    Device {
        /// What happened to it.
        change: DeviceChange,
        /// Which device.
        device: Device,
        /// Who did it, if somebody else did.
        by: Option<Device>,
        /// Its id before, if it took a new key.
        was: Option<String>,
        /// Why it went, if it did.
        exit: Option<DeviceExit>,
    },
    /// This device has joined a group.
    Joined {
        /// Which.
        group: String,
        /// What this device is in it.
        device: String,
    },
    /// This device has left its group.
    Left {
        /// Which.
        group: String,
    },
    /// This device took a new key, and with it a new id: its data was restored from a copy, or it could not follow the group.
    KeyReplaced {
        /// Its id before.
        was: String,
        /// Its id now.
        device: String,
        /// Why: `ROLLED_BACK` or `OUT_OF_STEP`.
        code: String,
    },
    /// This device was removed from its group.
    Removed {
        /// By whom.
        by: Device,
        /// Whether it was removed as one that is lost: then its keys and blobs go here, and the app deletes what it keeps itself.
        lost: bool,
        /// Whether that device had come back by the recovery kit, and removed all others with this one.
        recovered: bool,
    },
    /// Somebody changed what the group agreed on.
    Settings {
        /// What: `recovery_kit`, `relays`, `history` or `suite`.
        setting: String,
        /// By whom; this device too.
        by: Device,
    },
    /// The device here was deleted; what runs on is a new one.
    Reset,
    /// The relay keeps this device's snapshot of a channel for the recovery kit, or will not.
    KitSnapshot {
        /// The channel.
        channel: String,
        /// Why it will not: `QUOTA`, say.
        refused: Option<String>,
    },
    /// This device was away for so long that it fetches what it missed from the other devices; `synced` says when it is through.
    Lapsed {
        /// When it was connected before, in milliseconds since the Unix epoch, as a decimal number.
        since: String,
    },
    /// All history that this device asked for has come: from before it joined, or of a long absence.
    Synced,
    /// History is coming: so many envelopes of so many are through, as far as their numbers tell.
    History {
        /// How many are through.
        done: u32,
        /// How many were asked for.
        total: u32,
    },
    /// Something that arrived was not applied as it is.
    Unusual {
        /// What became of it.
        outcome: String,
        /// Whose it claims to be.
        device: Option<Device>,
    },
    /// Other devices hold what neither the relay nor any of them has brought here.
    Withheld {
        /// Who pushed it.
        device: Device,
        /// How many envelopes are missing.
        count: u32,
    },
    /// Nothing new has come from a device for two weeks: it is off, or kept away from this one.
    StalePeer {
        /// Which.
        device: Device,
        /// When something last came, in milliseconds since the Unix epoch, as a decimal number.
        since: String,
    },
    /// A change of the group was undone.
    ChangeRejected {
        /// Who could not apply it.
        by: Device,
        /// Who made it.
        committer: Device,
    },
    /// A change of the group that this device wanted was given up.
    ChangeFailed {
        /// The device that was to be added or removed.
        device: Device,
        /// Why.
        code: String,
    },
    /// The relay refused something.
    Refused {
        /// Why.
        code: String,
        /// When it is tried again; 0 when never.
        retry_after_ms: u32,
    },
    /// Sending has stopped: for good with `FORKED` and `CLONED`, with `ROLLED_BACK` and `OUT_OF_STEP` until `keyReplaced`.
    Halted {
        /// Why.
        code: String,
    },
    /// Another device's presence.
    Presence {
        /// Whose.
        device: Device,
        /// On which channel.
        channel: String,
        /// What it says; empty when it is gone.
        data: Vec<u8>,
    },
    /// Two different blobs carry one id. The first is in the log.
    IdConflict {
        /// The id.
        id: String,
        /// Who sent the second.
        device: Device,
    },
    /// A handler did not take a blob. It gets it again.
    HandlerFailed {
        /// The consumer.
        consumer: String,
        /// The blob.
        id: String,
        /// How often it was handed out.
        attempts: u32,
        /// When it is handed out again.
        retry_after_ms: u32,
    },
    /// The group uses other relays now, or in another order.
    Relays {
        /// Who changed the list.
        by: Device,
        /// The relays, without tokens; the first orders the changes of the group.
        relays: Vec<String>,
    },
    /// The database could not be written.
    StoreFailed {
        /// Why.
        code: String,
    },
    /// There is a new alert, or one that nobody has seen has changed: a device has got its name, a warning came again.
    Alert {
        /// Which.
        alert: SyncAlert,
    },
    /// A person has seen the alerts, perhaps in another window.
    AlertsSeen {
        /// Up to which number, as a decimal number.
        up_to: String,
    },
    /// Something happened to a file.
    File {
        /// Which file.
        id: String,
        /// What happened to it.
        change: FileChange,
        /// Whether it was put on this device, if it is `listed`; else null.
        own: Option<bool>,
        /// How many bytes are there, counted as they are sealed, if it is on its way (`progress`); at most ten times a second.
        progress: Option<FileProgress>,
        /// Why it did not come or go, if it `failed`: `CONTENT_MISSING`, `QUOTA`, `DISK_FULL`, say.
        code: Option<String>,
        /// When it is tried again, in milliseconds, if it `failed`.
        retry_after_ms: Option<u32>,
    },
    /// This listener was too slow, and so many events are missing.
    Lagged {
        /// How many.
        missed: u32,
    },
}

/// What happened to a device.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum DeviceChange {
    /// It came into the group.
    Added,
    /// It was taken out of the group.
    Removed,
    /// It took a new key, and with it a new id: its data was restored from a copy, or it could not follow the group.
    Replaced,
    /// It came back by the recovery kit, and removes all others.
    Recovered,
    /// It said its name.
    Named,
}

impl SyncEvent {
    /// The client's event for the webview; `None` for one that this build does not know.
    pub(crate) fn from_client(event: ClientEvent) -> Option<Self> {
        use ClientEvent as Client;
        let device = |change, device: DeviceRef, by: Option<DeviceRef>| Self::Device {
            change,
            device: device.into(),
            by: by.map(Into::into),
            was: None,
            exit: None,
        };
        let name = |code: sync_client::Code| code.as_str().to_owned();
        Some(match event {
            Client::Connected => Self::Connected,
            Client::Disconnected { code, message, retry_after_ms } => {
                Self::Disconnected { code: name(code), message, retry_after_ms: count(retry_after_ms) }
            }
            Client::Mode(mode) => Self::Mode { mode: mode.into() },
            Client::CaughtUp => Self::CaughtUp,
            Client::Arrived => Self::Arrived,
            Client::Accepted => Self::Accepted,
            Client::Delivered => Self::Delivered,
            Client::DeviceAdded { device: d, by } => device(DeviceChange::Added, d, Some(by)),
            Client::DeviceRemoved { device: d, by, exit } => Self::Device {
                change: DeviceChange::Removed,
                device: d.into(),
                by: Some(by.into()),
                was: None,
                exit: Some(exit.into()),
            },
            Client::DeviceReplaced { device, old } => Self::Device {
                change: DeviceChange::Replaced,
                device: device.into(),
                by: None,
                was: Some(old.to_string()),
                exit: None,
            },
            Client::KeyReplaced { old, device, code } => {
                Self::KeyReplaced { was: old.to_string(), device: device.to_string(), code: name(code) }
            }
            Client::RelaysChanged { by, relays } => {
                let relays = relays.iter().map(|relay| relay.without_token().to_string()).collect();
                Self::Relays { by: by.into(), relays }
            }
            Client::DeviceNamed { device: d } => device(DeviceChange::Named, d, None),
            Client::Joined { group, device } => Self::Joined { group: group.to_string(), device: device.to_string() },
            Client::Left { group, .. } => Self::Left { group: group.to_string() },
            Client::Removed { by, lost, recovered } => Self::Removed { by: by.into(), lost, recovered },
            Client::DeviceRecovered { device: d } => device(DeviceChange::Recovered, d, None),
            Client::SettingsChanged { setting, by } => {
                Self::Settings { setting: setting.as_str().to_owned(), by: by.into() }
            }
            Client::LeftForKit { channel, refused } => {
                Self::KitSnapshot { channel, refused: refused.map(|code| code.as_str().to_owned()) }
            }
            Client::Lapsed { since } => Self::Lapsed { since: since.to_string() },
            Client::Synced => Self::Synced,
            Client::HistoryProgress { done, total } => Self::History { done: count(done), total: count(total) },
            Client::Unusual { outcome, device } => {
                Self::Unusual { outcome: outcome.as_str().to_owned(), device: device.map(Into::into) }
            }
            Client::Withheld { device, count: missing } => {
                Self::Withheld { device: device.into(), count: count(missing) }
            }
            Client::StalePeer { device, since } => Self::StalePeer { device: device.into(), since: since.to_string() },
            Client::CommitRejected { by, committer } => {
                Self::ChangeRejected { by: by.into(), committer: committer.into() }
            }
            Client::ChangeFailed { device, code } => Self::ChangeFailed { device: device.into(), code: name(code) },
            Client::Refused { code, retry_after_ms } => {
                Self::Refused { code: name(code), retry_after_ms: count(retry_after_ms) }
            }
            Client::Halted { code } => Self::Halted { code: name(code) },
            Client::Presence { device, channel, data } => Self::Presence { device: device.into(), channel, data },
            Client::IdConflict { id, device } => Self::IdConflict { id: id.to_string(), device: device.into() },
            Client::HandlerFailed { consumer, id, attempts, retry_after_ms } => {
                Self::HandlerFailed { consumer, id: id.to_string(), attempts, retry_after_ms: count(retry_after_ms) }
            }
            Client::StoreFailed { code } => Self::StoreFailed { code: name(code) },
            Client::Alert(alert) => Self::Alert { alert: (*alert).into() },
            Client::AlertsSeen { up_to } => Self::AlertsSeen { up_to: up_to.to_string() },
            Client::Lagged(missed) => Self::Lagged { missed: count(missed) },
            other => return file_types::event(other),
        })
    }
}

/// A count for JavaScript, which stops rising at 2^32.
pub(crate) fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
