//! What a client has to know before it starts. Everything has a default.

use std::net::SocketAddr;
use std::path::PathBuf;

use sync_sqlite::Forward;
use sync_types::{Code, RelayAddress, limits};

use crate::SyncError;
use crate::files::FilesPolicy;
use crate::transport::Discovery;
use crate::vault::{Passphrase, VaultKind};

/// The channel that [`crate::SyncClient::push`] uses.
pub const DEFAULT_CHANNEL: &str = "default";

/// The consumer that an app is unless it says otherwise.
pub const DEFAULT_CONSUMER: &str = "app";

/// How a client is set up.
///
/// What is `None` is taken from the home if the home has it, and else from the default that the field names.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SyncConfig {
    /// The folder with all of this device's data. One process uses it at a time. By default `KSYNC_HOME`, and else the
    /// folder for application data of the person who runs the process, with `0ksync` and the app's id behind it.
    pub home: Option<PathBuf>,
    /// The app's id: devices of different apps cannot pair. At most [`limits::APP_ID_BYTES`]; by default `ksync`.
    pub app_id: Option<String>,
    /// Where the group's relay is; by default `embedded`. A change moves a device that is alone in its group; devices
    /// that share a group stay at the relay that the group agreed on.
    pub relay: Option<RelayAddress>,
    /// What people call this device; at most [`limits::NAME_BYTES`]. By default the host's name.
    pub device_name: Option<String>,
    /// Where an embedded relay listens. By default every address of the host. The port that it has when its group is
    /// founded stays: the other devices look for it there.
    pub embedded_listen: Option<SocketAddr>,
    /// How mailboxes of members are found that are not where the group saw them last; it counts for groups without a relay of
    /// their own alone. By default `KSYNC_DISCOVERY`; else nowhere if [`SyncConfig::embedded_listen`] is on loopback, and in
    /// iroh's public network if not.
    pub discovery: Option<Discovery>,
    /// How large the database may grow, in bytes. Beyond, pushes are refused as on a full disk. By default as large as
    /// the disk allows.
    pub max_store_bytes: Option<u64>,
    /// How many blobs one envelope may hold; at most [`limits::PACK_BLOBS`], and that by default. Blobs that wait together
    /// travel together, which is what makes a backlog small and fast. With 1 each blob has an envelope, and so a size, of
    /// its own.
    pub max_blobs_per_envelope: Option<usize>,
    /// Where a new home keeps the key that seals its data. By default `KSYNC_VAULT`, and else under the passphrase if one is
    /// given, in the system's keychain if one answers, and in a file of the home if not. A home that has a vault keeps it as it
    /// is: [`crate::SyncClient::set_vault`] changes it.
    pub vault: Option<VaultKind>,
    /// What opens the vault of a home that is locked by a passphrase, and locks a new one.
    pub passphrase: Option<Passphrase>,
    /// How much memory a new passphrase may cost whoever derives it, in MiB; by default what the machine has to spare. It
    /// chooses one of four costs, the highest from 4,096 on.
    pub passphrase_memory_mib: Option<u64>,
    /// Whether this device leaves each of its snapshots at the relay, sealed for the group's recovery kit, so that the 24 words
    /// bring back what is in them although every device is lost. By default not.
    pub kit_snapshots: Option<bool>,
    /// Whether the client begins in the background, with nothing open: for a process that the system has started because a push
    /// came. [`crate::SyncClient::wake`] fetches what waits. By default not.
    pub in_background: bool,
    /// Which files of other devices are fetched by themselves. [`crate::Files::set_policy`] changes it while the client is open.
    pub files: FilesPolicy,
    /// How far this device's time is ahead of the system's clock; for tests of what takes weeks.
    pub(crate) forward: Forward,
    /// Relays in this process, which are reached without a network.
    pub(crate) local: crate::transport::LocalRelays,
}

impl SyncConfig {
    /// The defaults, in this home.
    pub fn at(home: impl Into<PathBuf>) -> Self {
        Self::default().home(home)
    }

    /// Sets [`SyncConfig::home`].
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets [`SyncConfig::app_id`].
    #[must_use]
    pub fn app_id(mut self, app_id: impl Into<String>) -> Self {
        self.app_id = Some(app_id.into());
        self
    }

    /// Sets [`SyncConfig::relay`].
    #[must_use]
    pub fn relay(mut self, relay: RelayAddress) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Sets [`SyncConfig::device_name`].
    #[must_use]
    pub fn device_name(mut self, name: impl Into<String>) -> Self {
        self.device_name = Some(name.into());
        self
    }

    /// Sets [`SyncConfig::embedded_listen`].
    #[must_use]
    pub fn embedded_listen(mut self, address: SocketAddr) -> Self {
        self.embedded_listen = Some(address);
        self
    }

    /// Sets [`SyncConfig::discovery`].
    #[must_use]
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discovery = Some(discovery);
        self
    }

    /// Sets [`SyncConfig::max_store_bytes`].
    #[must_use]
    pub fn max_store_bytes(mut self, bytes: u64) -> Self {
        self.max_store_bytes = Some(bytes);
        self
    }

    /// Sets [`SyncConfig::max_blobs_per_envelope`].
    #[must_use]
    pub fn max_blobs_per_envelope(mut self, blobs: usize) -> Self {
        self.max_blobs_per_envelope = Some(blobs);
        self
    }

    /// Sets [`SyncConfig::vault`].
    #[must_use]
    pub fn vault(mut self, kind: VaultKind) -> Self {
        self.vault = Some(kind);
        self
    }

    /// Sets [`SyncConfig::passphrase`].
    #[must_use]
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// Sets [`SyncConfig::passphrase_memory_mib`].
    #[must_use]
    pub fn passphrase_memory_mib(mut self, mib: u64) -> Self {
        self.passphrase_memory_mib = Some(mib);
        self
    }

    /// Sets [`SyncConfig::in_background`].
    #[must_use]
    pub fn in_background(mut self, asleep: bool) -> Self {
        self.in_background = asleep;
        self
    }

    /// Sets [`SyncConfig::kit_snapshots`].
    #[must_use]
    pub fn kit_snapshots(mut self, leave: bool) -> Self {
        self.kit_snapshots = Some(leave);
        self
    }

    /// Sets [`SyncConfig::files`].
    #[must_use]
    pub fn files(mut self, policy: FilesPolicy) -> Self {
        self.files = policy;
        self
    }

    /// Where a new home keeps its key, if anybody says.
    pub(crate) fn vault_kind(&self) -> Result<Option<VaultKind>, SyncError> {
        if self.vault.is_some() {
            return Ok(self.vault);
        }
        match std::env::var("KSYNC_VAULT") {
            Ok(text) if !text.is_empty() => text.parse().map(Some),
            _ => Ok(self.passphrase.as_ref().map(|_| VaultKind::Passphrase)),
        }
    }

    pub(crate) fn discovery_or_default(&self) -> Result<Discovery, SyncError> {
        match (&self.discovery, std::env::var("KSYNC_DISCOVERY")) {
            (Some(discovery), _) => Ok(discovery.clone()),
            (None, Ok(text)) if !text.is_empty() => text.parse(),
            // Nobody else could come there.
            _ if self.embedded_listen.is_some_and(|at| at.ip().is_loopback()) => Ok(Discovery::Off),
            _ => Ok(Discovery::default()),
        }
    }

    /// Lets this device's time pass as that of others does which were given the same; for tests of what takes weeks.
    #[must_use]
    pub fn forward(mut self, forward: &Forward) -> Self {
        self.forward = forward.clone();
        self
    }

    /// The folder that this configuration stands for.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if none is given and the system names no folder for application data.
    pub fn home_path(&self) -> Result<PathBuf, SyncError> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        if let Some(home) = std::env::var_os("KSYNC_HOME").filter(|home| !home.is_empty()) {
            return Ok(home.into());
        }
        let app = self.app_id.as_deref().unwrap_or(DEFAULT_APP_ID);
        // The id is a folder's name here, and may come from anywhere.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if app.is_empty() || app.starts_with('.') || !app.chars().all(plain) {
            return Err(SyncError::new(Code::InvalidArgument, "the app id is no folder's name: say where the home is"));
        }
        let base = directories::BaseDirs::new()
            .ok_or_else(|| SyncError::new(Code::InvalidArgument, "the system names no home folder: set KSYNC_HOME"))?;
        Ok(base.data_local_dir().join("0ksync").join(app))
    }

    /// Uses a relay in this process, without a network. Clones of the configuration reach it too, and so do their clients;
    /// a relay that takes the place of one with the same key is reached by all of them.
    #[cfg(feature = "embedded-relay")]
    #[must_use]
    pub fn local_relay(mut self, relay: &std::sync::Arc<sync_relay::RunningRelay>) -> Self {
        let endpoint = relay.endpoint_id();
        self.local.add(endpoint, crate::engine::opener(relay));
        // Nothing is sent to that address: port 9 discards (RFC 863).
        let hosts = relay.quic_addr().map_or_else(|| "127.0.0.1:9".to_owned(), |a| a.to_string());
        self.relay = Some(RelayAddress::Pinned { endpoint, hosts: vec![hosts], token: None });
        self
    }

    pub(crate) fn check(&self) -> Result<(), SyncError> {
        let invalid = |message: &str| Err(SyncError::new(Code::InvalidArgument, message));
        if self.app_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > limits::APP_ID_BYTES) {
            return invalid("an app id has 1 to 128 bytes");
        }
        if self.max_blobs_per_envelope == Some(0) {
            return invalid("an envelope holds at least one blob");
        }
        match self.device_name.as_deref().map(sync_core::pairing::check_name) {
            Some(Err(reason)) => invalid(reason),
            _ => Ok(()),
        }
    }
}

/// The app id of who names none.
pub(crate) const DEFAULT_APP_ID: &str = "ksync";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_bounded() {
        assert!(SyncConfig::default().check().is_ok());
        for bad in [
            SyncConfig::default().app_id(""),
            SyncConfig::default().app_id("x".repeat(129)),
            SyncConfig::default().device_name(""),
            SyncConfig::default().device_name("x".repeat(129)),
            SyncConfig::default().device_name("a\nb"),
            SyncConfig::default().max_blobs_per_envelope(0),
        ] {
            assert_eq!(bad.check().unwrap_err().code, Code::InvalidArgument);
        }
    }

    #[test]
    fn a_home_is_never_outside_its_folder() {
        for id in ["../x", "a/b", ".", ".."] {
            let config = SyncConfig::default().app_id(id);
            if std::env::var_os("KSYNC_HOME").is_none() {
                assert_eq!(config.home_path().unwrap_err().code, Code::InvalidArgument, "{id}");
            }
        }
        assert_eq!(SyncConfig::at("/x").home_path().unwrap(), PathBuf::from("/x"));
    }
}
