//! Wake-up pushes to devices that are asleep: Web Push (RFC 8030), APNs and FCM.
//!
//! A push carries nothing. It makes a device connect and ask, so whoever runs a push service learns that something
//! happened and no more. [`Sender`] makes one attempt at one [`Target`]; [`Queue`] stands in front of it, so that
//! whoever has news for a device never waits.
//!
//! Web Push endpoints come from devices, which a host need not trust: they are only reached through `guard`. The
//! other services' addresses come from the host's own [`Settings`].

mod apns;
mod fcm;
mod guard;
mod http;
mod jwt;
mod network;
mod queue;
mod sender;
mod settings;
mod target;
mod vapid;
mod waker;
mod web;

#[cfg(test)]
mod tests;

use guard::{Lookup, SystemLookup};
use network::Network;
pub(crate) use queue::Gone;
use queue::{Counters, Limits, Queue};
use sender::{Refusal, Sender, Sent, Surroundings};
pub(crate) use settings::{Settings, SettingsError};
use target::{SubscriptionKeys, Target};
use vapid::Vapid;
pub(crate) use waker::Waker;

/// What the time is, in milliseconds since the Unix epoch.
type Clock = std::sync::Arc<dyn Fn() -> u64 + Send + Sync>;
