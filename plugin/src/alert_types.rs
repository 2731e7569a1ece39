//! What happened to devices, as it crosses to the webview.

use serde::Serialize;

use crate::types::count;

/// A device in an alert, as it was called when that happened.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct AlertDevice {
    /// What its id was.
    pub(crate) id: String,
    /// What it was called, once it had said a name.
    pub(crate) name: Option<String>,
    /// Whether it was this device.
    pub(crate) own: bool,
}

impl From<sync_client::AlertDevice> for AlertDevice {
    fn from(device: sync_client::AlertDevice) -> Self {
        Self { id: device.id.to_string(), name: device.name, own: device.own }
    }
}

/// Something that a person should hear of, also if no app ran as it happened.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncAlert {
    /// Rises with each alert of this device: a decimal number.
    pub(crate) number: String,
    /// `linked`, `joined`, `removed`, `lost`, `wiped`, `left`, `replaced`, `recovered`, `kit_changed`, `relays_changed`,
    /// `history_changed`, `suite_changed`; or a warning: `cloned`, `change_failed`, `change_undone`, `stopped`, `withheld`, `stale_peer`, `equivocation`, `split_view`, `forked`, `forged`, `bad_commit`, `false_claim`, `id_conflict`,
    /// `history_lost`. More may follow.
    pub(crate) kind: String,
    /// Whether it tells that something is wrong.
    pub(crate) warning: bool,
    /// When this device heard of it first, by its own clock, in milliseconds since the Unix epoch, as a decimal number. It may have
    /// happened long before.
    pub(crate) at: String,
    /// Whether somebody has seen it, or did it on this device.
    pub(crate) seen: bool,
    /// Whom it is about.
    pub(crate) device: Option<AlertDevice>,
    /// Who did it.
    pub(crate) by: Option<AlertDevice>,
    /// The error code that explains it, if there is one.
    pub(crate) code: Option<String>,
    /// How often it came; how many envelopes are missing, for `withheld`.
    pub(crate) count: u32,
    /// When something last came from the device, in milliseconds since the Unix epoch, as a decimal number; for one that is silent
    /// or has gone.
    pub(crate) since: Option<String>,
    /// What happened, as a sentence.
    pub(crate) text: String,
    /// What to do; empty when there is nothing to do.
    pub(crate) next_step: String,
}

impl From<sync_client::Alert> for SyncAlert {
    fn from(alert: sync_client::Alert) -> Self {
        Self {
            number: alert.number.to_string(),
            kind: alert.kind.as_str().to_owned(),
            warning: alert.kind.is_warning(),
            at: alert.at.to_string(),
            seen: alert.seen,
            text: alert.text(),
            next_step: alert.next_step().to_owned(),
            device: alert.device.map(Into::into),
            by: alert.by.map(Into::into),
            code: alert.code.map(|code| code.as_str().to_owned()),
            count: count(alert.count),
            since: alert.since.map(|at| at.to_string()),
        }
    }
}

/// Why a device went.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum DeviceExit {
    /// Another device wanted it out.
    Removed,
    /// Another device said that it is lost: it deletes what it holds when it next connects.
    Lost,
    /// It left.
    Left,
}

impl From<sync_client::Exit> for DeviceExit {
    fn from(exit: sync_client::Exit) -> Self {
        match exit {
            sync_client::Exit::Removed => Self::Removed,
            sync_client::Exit::Lost => Self::Lost,
            sync_client::Exit::Left => Self::Left,
        }
    }
}
