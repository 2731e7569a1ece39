//! 0k-Sync for Rust programs: blobs that one device pushes reach every device paired with it, encrypted end to end.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sync_client::{SyncClient, SyncConfig};
//! # let folder = tempfile::tempdir()?;
//! # let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
//! # let home = folder.path().join("home");
//! # let blob = b"hello".to_vec();
//!
//! let client = SyncClient::new(SyncConfig::default()
//! #     .home(home).embedded_listen(any)
//! ).await?;
//! client.push(blob).await?;
//! # client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`SyncClient::push`] returns once the blob is durable on this device, offline too. [`SyncClient::invite`] and
//! [`SyncClient::join`] pair two devices; [`SyncClient::subscribe`] hands out what the others push, at least once and in
//! each sender's order; [`SyncClient::files`] is for what is too large for a blob; [`SyncClient::status`] says how things stand,
//! [`SyncClient::doctor`] why they do not move, and [`SyncClient::alerts`] what happened to the group's devices, also while no
//! app ran.

mod alert;
mod backup;
mod client;
mod clock;
mod config;
mod crash;
mod doctor;
mod engine;
mod error;
mod files;
mod home;
mod lifecycle;
mod pairing;
mod recovery;
mod relay_state;
mod store;
mod subscribe;
#[cfg(all(test, feature = "embedded-relay"))]
mod testing;
mod transport;
mod types;
mod vault;

pub use alert::{Alert, AlertDevice, AlertKind};
pub use backup::{BackupReceipt, ImportReceipt};
pub use client::{Events, SyncClient};
pub use config::{DEFAULT_CHANNEL, DEFAULT_CONSUMER, SyncConfig};
pub use error::SyncError;
pub use files::{FileInfo, FileState, Files, FilesPolicy, safe_file_name};
pub use lifecycle::{Mode, WakeState, Woken};
pub use pairing::{InviteOptions, Pairing};
pub use relay_state::{RelayPath, RelayState};
pub use subscribe::{Subscription, SubscriptionTask};
pub use sync_core::event::{Exit, Outcome, Setting};
pub use sync_sqlite::Forward;
pub use sync_types::{BlobId, Code, DeviceId, Fault, GroupId, RelayAddress, Suite, WakeTarget, limits, wake};
pub use transport::Discovery;
pub use types::{
    ClientEvent, DeviceInfo, DeviceRef, Finding, Moving, PairingEvent, Receipt, ReceiptState, ReceivedBlob, Recovered,
    RecoveryWords, RestoredSnapshot, SettingChange, SnapshotReceipt, StartAt, Status, SyncTrouble,
};
pub use vault::{Passphrase, VaultKind};
