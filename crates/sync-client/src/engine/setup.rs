//! From a home to a running engine.

use std::sync::Arc;

use sync_core::store::Key;
use sync_core::{Device, DeviceError, Joining};
use sync_types::{Code, RelayAddress, limits};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::hosting::Hosting;
use super::{Configured, Crypto, Engine, Leaving, Life, Newcomer, Snapshot, Start, Waking};
use crate::client::Inner;
use crate::config::DEFAULT_APP_ID;
use crate::files::{Depot, Doors, Porter, carry};
use crate::home::{CONTENT, Home};
use crate::store::{Database, Store};
use crate::transport::Dialer;
use crate::vault::Vault;
use crate::{SyncConfig, SyncError};

/// How many calls wait for the engine before callers do.
const COMMANDS: usize = 4_096;
/// How many frames wait for the engine before reading from the relay pauses.
const FRAMES: usize = 16;
/// How many events a slow subscriber may be behind.
const EVENTS: usize = 1_024;

const APP_ID: &str = "app_id";
pub(super) const NAME: &str = "device_name";
pub(super) const RELAY: &str = "relay";
const KIT_SNAPSHOTS: &str = "kit_snapshots";

/// What the device's rows hold.
pub(super) struct Loaded {
    pub(super) device: Option<Device<Crypto>>,
    pub(super) joining: Option<Joining<Crypto>>,
}

/// Opens the home's database and starts the engine.
pub(crate) async fn start(home: Home, config: SyncConfig) -> Result<Inner, SyncError> {
    let new = !home.database().exists();
    let database = Database::look(&home.database(), config.max_store_bytes).await?;
    let vault = match Vault::open(&home, &config, database.sealed_by()).await {
        Ok(vault) => vault,
        Err(error) => {
            // Nothing was made: the next try is the first again.
            if new {
                drop(database);
                home.clear_new_database();
            }
            return Err(error);
        }
    };
    let mut store = database.open(&vault).await?;
    // On a full disk, say, the device works all the same.
    if let Err(error) = store.scrub().await {
        tracing::warn!(code = %error.code, "deleted data is still in the database's file: {}", error.message);
    }
    let Loaded { device, joining } = load(&mut store).await?;
    // Before anything is noted: the configuration may be another app's.
    let group_app = device.as_ref().map(|d| d.settings().app_id);
    if group_app.is_some_and(|own| config.app_id.as_ref().is_some_and(|id| id.as_bytes() != own)) {
        return Err(SyncError::new(Code::WrongApp, "the device in this home belongs to another app"));
    }
    let app_id = settle(&mut store, APP_ID, config.app_id.clone(), || DEFAULT_APP_ID.to_owned()).await?;
    let name = settle(&mut store, NAME, config.device_name.clone(), host_name).await?;
    let (relay, relay_before) = relay(&mut store, config.relay.clone(), device.is_some()).await?;
    let leave = config.kit_snapshots.map(|leave| if leave { "yes" } else { "no" }.to_owned());
    let kit_snapshots = settle(&mut store, KIT_SNAPSHOTS, leave, || "no".to_owned()).await? == "yes";
    let discovery = config.discovery_or_default()?;
    let dialer = Arc::new(Dialer::new(home.transport_key(vault.sealing())?, config.local.clone(), discovery.clone()));
    let waking = Waking::load(&mut store).await?;
    let hosting = Hosting::new(&home, config.embedded_listen, discovery, &mut store).await?;
    let depot = Arc::new(Depot::new(home.file(CONTENT), config.files));
    if store.files() == 0 {
        // Of a group that is gone, or of a file that never came to the log.
        depot.clear().await;
    }
    let (forward, path) = (config.forward.clone(), home.path().to_owned());
    let shared = Arc::new(Start { app_id, dialer, home: path, vault, forward, depot, doors: Doors::default() });
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let (net_sender, net) = mpsc::channel(FRAMES);
    let (events, _) = broadcast::channel(EVENTS);
    let (snapshot, watched) = watch::channel(Snapshot::default());
    let porter = Porter::new(&command_sender, &watched, &events, store.reader(), &shared);
    let inner = Inner {
        commands: command_sender,
        snapshot: watched,
        events: events.clone(),
        reader: store.reader(),
        start: shared.clone(),
        porter: porter.clone(),
        importing: Default::default(),
    };
    // The process ended between asking the others and being told: nobody knows that it has failed, so it goes on.
    let leaving = device.as_ref().filter(|device| device.is_leaving()).map(|_| Leaving::begin());
    let mut engine = Engine {
        home,
        store,
        start: shared,
        relay,
        name,
        configured: Configured { relay: config.relay.is_some(), name: config.device_name.is_some() },
        kit_snapshots,
        pack_blobs: config.max_blobs_per_envelope.unwrap_or(limits::PACK_BLOBS),
        device,
        newcomer: joining.map(Newcomer::again),
        life: if config.in_background { Life::Background } else { Life::Foreground },
        waking,
        hosting,
        carrier: tokio::spawn(carry(porter)),
        wires: Default::default(),
        generation: 0,
        offering: Default::default(),
        adding: Default::default(),
        leaving,
        making_kit: None,
        closing: None,
        broken: None,
        trouble: None,
        arrivals: 0,
        commands,
        net,
        net_sender,
        snapshot,
        events,
    };
    engine.move_if_alone(config.relay.is_some()).await?;
    if let Some(before) = relay_before {
        engine.follow_configuration(&before).await?;
    }
    if engine.life.connects() {
        engine.host_for_latecomers().await?;
    }
    engine.publish();
    tokio::spawn(engine.run());
    Ok(inner)
}

/// The configured value, which is kept; else the kept one; else the default, which is kept too.
async fn settle(
    store: &mut Store,
    name: &str,
    configured: Option<String>,
    default: impl FnOnce() -> String,
) -> Result<String, SyncError> {
    let kept = store.meta(name).await?;
    let value = configured.or_else(|| kept.clone()).unwrap_or_else(default);
    if kept.as_ref() != Some(&value) {
        store.set_meta(name, &value).await?;
    }
    Ok(value)
}

/// The relay that the configuration names, or else named last. If it is another one than last, and there is a group, that one too: what
/// is kept changes when the group was told to go, so that a start which fails is made up for at the next.
async fn relay(
    store: &mut Store,
    configured: Option<RelayAddress>,
    in_group: bool,
) -> Result<(RelayAddress, Option<RelayAddress>), SyncError> {
    let unreadable = |_| SyncError::new(Code::StoreCorrupt, "the stored relay address cannot be read");
    let kept: Option<RelayAddress> =
        store.meta(RELAY).await?.map(|text| text.parse().map_err(unreadable)).transpose()?;
    match (configured, kept) {
        (Some(wanted), Some(kept)) if in_group && wanted.without_token() != kept.without_token() => {
            Ok((wanted, Some(kept)))
        }
        (configured, _) => {
            let text = settle(store, RELAY, configured.map(|relay| relay.to_string()), || "embedded".into()).await?;
            Ok((text.parse().map_err(unreadable)?, None))
        }
    }
}

/// The device and the newcomer in the store.
pub(super) async fn load(store: &mut Store) -> Result<Loaded, SyncError> {
    let rows = store.load().await?;
    let crypto = sync_rules::mls::crypto();
    let joining = rows.iter().find(|(key, _)| *key == Key::Joining);
    let joining = joining.map(|(_, bytes)| Joining::from_bytes(bytes, crypto)).transpose().map_err(failed)?;
    let mut device = Device::load(rows, crypto).map_err(failed)?;
    if let Some(device) = &mut device {
        device.set_awaited(store.awaited().await?);
    }
    Ok(Loaded { device, joining })
}

/// A failure of the core as its caller sees it.
pub(crate) fn failed(error: DeviceError) -> SyncError {
    SyncError::new(error.code(), error.to_string())
}

impl Newcomer {
    /// A newcomer that was stored before a restart.
    fn again(joining: Joining<Crypto>) -> Self {
        Self { joining, deadline: Self::deadline(), reply: None }
    }

    pub(super) fn deadline() -> Instant {
        Instant::now() + limits::PAIRING_TTL
    }
}

/// What the host calls itself, made into a name that a device may have.
fn host_name() -> String {
    let from_file = || std::fs::read_to_string("/etc/hostname").ok();
    let from_env = |name| std::env::var(name).ok();
    let name = from_env("COMPUTERNAME").or_else(from_file).or_else(|| from_env("HOSTNAME")).unwrap_or_default();
    let name = name.trim();
    if sync_core::pairing::check_name(name).is_ok() { name.to_owned() } else { "device".to_owned() }
}
