//! A recovery kit and what it brings back, as they cross to the webview.

use serde::Serialize;
use sync_client::RecoveryWords;

/// A recovery kit: 24 words and the relay that belongs to them. To be shown to the person once, and kept on paper.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoveryKit {
    /// The words, with a space between. Whoever has them can take the group over.
    pub(crate) words: String,
    /// The relay's address.
    pub(crate) relay: String,
}

impl From<RecoveryWords> for RecoveryKit {
    fn from(kit: RecoveryWords) -> Self {
        Self { words: kit.words.to_string(), relay: kit.relay.to_string() }
    }
}

/// What a recovery kit brought back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoveredGroup {
    /// The group.
    pub(crate) group: String,
    /// What this device is in it.
    pub(crate) device: String,
    /// The snapshots that subscribers get. What was pushed after them is lost.
    pub(crate) snapshots: Vec<RestoredSnapshot>,
    /// How many more the relay showed that no device of the group vouches for, or that cannot be read.
    pub(crate) left_out: u32,
}

/// A snapshot that came back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoredSnapshot {
    /// Its channel.
    pub(crate) channel: String,
    /// When it was left, in milliseconds since the Unix epoch, as a decimal number.
    pub(crate) at: String,
}

impl From<sync_client::Recovered> for RecoveredGroup {
    fn from(back: sync_client::Recovered) -> Self {
        let restored = |s: sync_client::RestoredSnapshot| RestoredSnapshot { channel: s.channel, at: s.at.to_string() };
        Self {
            group: back.group.to_string(),
            device: back.device.to_string(),
            snapshots: back.snapshots.into_iter().map(restored).collect(),
            left_out: u32::try_from(back.left_out).unwrap_or(u32::MAX),
        }
    }
}
