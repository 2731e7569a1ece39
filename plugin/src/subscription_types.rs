//! What a page asks of a subscription, and what it is told of one.

use serde::{Deserialize, Serialize};

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StartAt {
    /// Behind what the consumer has taken.
    #[default]
    Position,
    /// At the first blob that the log holds.
    Start,
}

impl From<StartAt> for sync_client::StartAt {
    fn from(start: StartAt) -> Self {
        match start {
            StartAt::Position => Self::Position,
            StartAt::Start => Self::Start,
        }
    }
}

/// What a subscription hands out.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct SubscribeOptions {
    /// One channel; all of them if there is none.
    pub(crate) channel: Option<String>,
    /// Whose position it moves; by default the webview's own.
    pub(crate) consumer: Option<String>,
    /// Where it begins.
    pub(crate) from: StartAt,
    /// Whether this device's own blobs are handed out too.
    pub(crate) own: bool,
}

/// A subscription that has begun.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct SubscriptionInfo {
    /// For `ack`, `handler_failed` and `unsubscribe`.
    pub(crate) id: u32,
    /// The position of the last blob that waited for it when it began, as a decimal number; `0` if none did.
    pub(crate) until: String,
}
