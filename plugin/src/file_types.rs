//! Files as they cross to the webview.

use serde::Serialize;
use sync_client::{ClientEvent, safe_file_name};

use crate::types::{SyncEvent, count};

/// A file of the group.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileInfo {
    /// Its id, the same on every device.
    pub(crate) id: String,
    /// What its sender calls it, to be shown. Any character may stand in it.
    pub(crate) name: String,
    /// The same as a name for a file on this machine: without separators, and none that a system keeps for itself.
    pub(crate) safe_name: String,
    /// How many bytes it has, as a decimal number.
    pub(crate) size: String,
    /// The device that put it.
    pub(crate) device: String,
    /// Its place in this device's log, as a decimal number.
    pub(crate) position: String,
    /// When it was last changed, on its sender's word, in milliseconds since the Unix epoch, as a decimal number.
    pub(crate) modified: String,
    /// How far it is on this device.
    pub(crate) state: FileState,
    /// How many of its bytes are here, about, as a decimal number; null unless it is `coming`.
    pub(crate) bytes: Option<String>,
    /// For a file that was put here: whether a relay has it, or nobody else is in the group. Of others' files it is true.
    pub(crate) given: bool,
}

impl From<sync_client::FileInfo> for FileInfo {
    fn from(file: sync_client::FileInfo) -> Self {
        let bytes = match file.state {
            sync_client::FileState::Coming { bytes } => Some(bytes.to_string()),
            _ => None,
        };
        Self {
            id: file.id.to_string(),
            safe_name: safe_file_name(&file.name),
            name: file.name,
            size: file.size.to_string(),
            device: file.device.to_string(),
            position: file.position.to_string(),
            modified: file.modified_ms.to_string(),
            state: file.state.into(),
            bytes,
            given: file.given,
        }
    }
}

/// How far a file is on a device.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum FileState {
    /// All of it is here.
    Here,
    /// It is on its way here.
    Coming,
    /// It is fetched as soon as that can be done.
    Wanted,
    /// It is fetched when somebody asks for it, by the policy for files.
    OnDemand,
    /// None of those who were asked for it has it. They are asked again.
    Missing,
    /// It is not what its sender said, and nothing of it was kept.
    Forged,
}

impl From<sync_client::FileState> for FileState {
    fn from(state: sync_client::FileState) -> Self {
        use sync_client::FileState as State;
        match state {
            State::Here => Self::Here,
            State::Coming { .. } => Self::Coming,
            State::Wanted => Self::Wanted,
            State::OnDemand => Self::OnDemand,
            State::Missing => Self::Missing,
            State::Forged => Self::Forged,
        }
    }
}

/// Which files are carried by themselves, and how.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct FilesPolicy {
    /// Up to which size, in bytes, other devices' files are fetched by themselves, as a decimal number.
    pub(crate) automatic_up_to: String,
    /// Whether nothing is fetched or given by itself.
    pub(crate) paused: bool,
    /// Whether content goes straight from device to device where one reaches the other.
    pub(crate) direct: bool,
}

impl From<sync_client::FilesPolicy> for FilesPolicy {
    fn from(policy: sync_client::FilesPolicy) -> Self {
        Self { automatic_up_to: policy.automatic_up_to.to_string(), paused: policy.paused, direct: policy.direct }
    }
}

/// How far a call is with a file.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct FileProgress {
    /// How many bytes are done, as a decimal number.
    pub(crate) done: String,
    /// Of how many, as a decimal number.
    pub(crate) total: String,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum FileChange {
    /// It is in the list.
    Listed,
    /// It is on its way to this device, or to a relay.
    Progress,
    /// All of a file of another device is here.
    Here,
    /// A relay has all of a file that was put here.
    Given,
    /// It is off the list.
    Removed,
    /// It did not come, or did not go. It is tried again.
    Failed,
}

/// The client's event of a file for the webview; `None` for one that is about something else.
pub(crate) fn event(event: ClientEvent) -> Option<SyncEvent> {
    use ClientEvent as Client;
    let (id, change) = match event {
        Client::FileListed { id, .. } => (id, FileChange::Listed),
        Client::FileProgress { id, .. } => (id, FileChange::Progress),
        Client::FileHere { id } => (id, FileChange::Here),
        Client::FileGiven { id } => (id, FileChange::Given),
        Client::FileRemoved { id } => (id, FileChange::Removed),
        Client::FileFailed { id, .. } => (id, FileChange::Failed),
        _ => return None,
    };
    let (mut own, mut progress, mut code, mut retry_after_ms) = (None, None, None, None);
    match event {
        Client::FileListed { own: put_here, .. } => own = Some(put_here),
        Client::FileProgress { done, total, .. } => {
            progress = Some(FileProgress { done: done.to_string(), total: total.to_string() });
        }
        Client::FileFailed { code: why, retry_after_ms: ms, .. } => {
            (code, retry_after_ms) = (Some(why.as_str().to_owned()), Some(count(ms)));
        }
        _ => {}
    }
    Some(SyncEvent::File { id: id.to_string(), change, own, progress, code, retry_after_ms })
}

#[cfg(test)]
mod tests {
    use sync_client::{BlobId, Code};

    use super::*;

    fn crossed(client: ClientEvent) -> serde_json::Value {
        serde_json::to_value(event(client).unwrap()).unwrap()
    }

    #[test]
    fn each_event_of_a_file_crosses_with_what_belongs_to_it() {
        let id: BlobId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let listed = crossed(ClientEvent::FileListed { id, own: true });
        assert_eq!(
            (&listed["type"], &listed["change"], &listed["own"]),
            (&"file".into(), &"listed".into(), &true.into())
        );
        assert_eq!((&listed["id"], &listed["progress"]), (&id.to_string().into(), &serde_json::Value::Null));
        // More than JavaScript counts exactly.
        let moving = crossed(ClientEvent::FileProgress { id, done: 1, total: (1 << 53) + 1 });
        assert_eq!(
            (&moving["progress"]["done"], &moving["progress"]["total"]),
            (&"1".into(), &"9007199254740993".into())
        );
        let failed = crossed(ClientEvent::FileFailed { id, code: Code::ContentMissing, retry_after_ms: 7 });
        assert_eq!((&failed["code"], &failed["retryAfterMs"]), (&"CONTENT_MISSING".into(), &7.into()));
        for (client, change) in [
            (ClientEvent::FileHere { id }, "here"),
            (ClientEvent::FileGiven { id }, "given"),
            (ClientEvent::FileRemoved { id }, "removed"),
        ] {
            assert_eq!(crossed(client)["change"], change);
        }
        assert!(event(ClientEvent::CaughtUp).is_none());
    }

    #[test]
    fn a_policy_crosses_with_each_of_its_parts() {
        for (paused, direct) in [(true, false), (false, true)] {
            let policy = sync_client::FilesPolicy { automatic_up_to: u64::MAX, paused, direct };
            let crossed = serde_json::to_value(FilesPolicy::from(policy)).unwrap();
            let expected = serde_json::json!({
                "automaticUpTo": "18446744073709551615",
                "paused": paused,
                "direct": direct,
            });
            assert_eq!(crossed, expected);
        }
    }
}
