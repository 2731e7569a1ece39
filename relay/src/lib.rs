//! The 0k-Sync relay: a mailbox for groups of devices that orders what it cannot read, keeps it until every member has
//! it, and then deletes it.
//!
//! [`mailbox`], [`session`] and [`rendezvous`] decide without I/O, clock or randomness, over rows that a [`store`] keeps; so
//! they run in the simulator as they run in the server.

#![cfg_attr(
    not(feature = "http"),
    allow(dead_code, unused_imports, reason = "a relay within an app has no host who would ask for it")
)]

#[cfg(feature = "http")]
pub mod admin;
pub mod config;
mod content;
mod crash;
pub mod date;
pub mod error;
#[cfg(feature = "http")]
mod http;
mod hub;
pub mod identity;
pub mod mailbox;
pub mod metrics;
pub mod rendezvous;
mod seldom;
mod server;
pub mod session;
pub mod store;
pub mod tokens;
#[cfg(feature = "http")]
mod wake;

#[cfg(feature = "postgres")]
pub use config::PostgresUrl;
pub use config::{Access, Discoverable, PublicUrl, RelayConfig, ServerLimits, StoreConfig};
#[cfg(feature = "http")]
pub use config::{Acme, HostConfig, HostToken, Tls, Waking};
pub use content::ContentConfig;
pub use error::StartError;
pub use identity::Identity;
pub use server::{EXPORTER_LABEL, LocalConnection, Relay, RunningRelay, crypto_provider, outward_address};
pub use tokens::Tokens;
