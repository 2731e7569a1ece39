//! The relay that this device hosts for its group while it runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sync_core::Device;
use sync_relay::{
    Access, ContentConfig, Discoverable, LocalConnection, Relay, RelayConfig, RunningRelay, ServerLimits, StoreConfig,
    outward_address,
};
use sync_types::{Code, RelayAddress};
use tokio::time::timeout;

use crate::SyncError;
use crate::home::{Home, RELAY};
use crate::store::Store;
use crate::transport::{Discovery, LocalRelays, LocalStream};

const ENDPOINT: &str = "embedded_endpoint";
const PORT: &str = "embedded_port";
/// How large the relay's database may grow, in bytes: one group at its quota, and what SQLite needs around it.
const MOST_BYTES: u64 = 5 << 30;
/// How long the devices that are connected may take to be told.
const STOP: Duration = Duration::from_secs(2);

/// Whether the relay may choose its port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// No group names the relay yet.
    Free,
    /// A group names it with the kept port: on another one nobody would find it.
    Named,
}

pub(super) struct Hosting {
    folder: PathBuf,
    listen: Option<SocketAddr>,
    discovery: Discovery,
    /// The relay's key, once it has run.
    endpoint: Option<[u8; 32]>,
    /// The port that it had last, and that the group's settings name. 0: it never ran.
    port: u16,
    running: Option<(Arc<RunningRelay>, RelayAddress)>,
    /// Whether the group was at this relay when it was looked at last.
    named: bool,
    /// Whether it could not be started.
    failed: bool,
}

impl Hosting {
    pub(super) async fn new(
        home: &Home,
        listen: Option<SocketAddr>,
        discovery: Discovery,
        store: &mut Store,
    ) -> Result<Self, SyncError> {
        let endpoint = store.meta(ENDPOINT).await?;
        let endpoint = endpoint.and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok());
        let port = store.meta(PORT).await?.and_then(|port| port.parse().ok()).unwrap_or(0);
        Ok(Self {
            folder: home.path().join(RELAY),
            listen,
            discovery,
            endpoint,
            port,
            running: None,
            named: false,
            failed: false,
        })
    }

    /// Whether the address is that of this device's own relay.
    pub(super) fn is(&self, address: &RelayAddress) -> bool {
        self.endpoint.is_some() && address.endpoint() == self.endpoint.as_ref()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it is of no use to try to start it once more by itself.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the group has left this relay since this was asked last. Others may be in it who were not there.
    pub(super) fn leave(&mut self, device: Option<&Device<super::Crypto>>) -> bool {
        let Some(device) = device.filter(|device| self.running.is_some() && !device.is_alone()) else { return false };
        let named =
            device.relay_addresses().iter().any(|(_, relay)| relay.as_ref().is_some_and(|relay| self.is(relay)));
        std::mem::replace(&mut self.named, named) && !named
    }

    /// Runs the relay and gives its address.
    ///
    /// # Errors
    /// [`Code::PortInUse`] while something else has the port that the relay has to have; what keeps it from starting.
    pub(super) async fn ensure(
        &mut self,
        local: &LocalRelays,
        store: &mut Store,
        port: Port,
    ) -> Result<RelayAddress, SyncError> {
        if let Some((_, address)) = &self.running {
            return Ok(address.clone());
        }
        let listen = self.listen.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        let kept = match (port, listen.port()) {
            (Port::Named, _) if self.port != 0 => self.port,
            (_, 0) => self.port,
            (_, configured) => configured,
        };
        let kept = SocketAddr::new(listen.ip(), kept);
        self.failed = true;
        let relay = match self.start(kept).await {
            Err(error) if error.code == Code::PortInUse && port == Port::Free && kept != listen => {
                self.start(listen).await
            }
            other => other,
        }?;
        let text = relay.address();
        let Ok(RelayAddress::Pinned { endpoint, hosts, .. }) = text.parse() else {
            return Err(SyncError::new(Code::Internal, "the embedded relay has no address"));
        };
        let port = hosts.first().and_then(|h| h.rsplit_once(':')?.1.parse().ok()).unwrap_or(kept.port());
        let address = RelayAddress::Hosted { endpoint, hosts: reachable(listen.ip(), port), device: None };
        store.set_meta(ENDPOINT, &HEXLOWER.encode(&endpoint)).await?;
        store.set_meta(PORT, &port.to_string()).await?;
        (self.endpoint, self.port) = (Some(endpoint), port);
        let relay = Arc::new(relay);
        local.add(endpoint, opener(&relay));
        self.running = Some((relay, address.clone()));
        self.failed = false;
        Ok(address)
    }

    /// How others find it who do not know where it is.
    fn discoverable(&self) -> Option<Discoverable> {
        let discovery = self.discovery.clone();
        discovery.is_on().then(|| Discoverable::by(move |builder| discovery.announced(builder)))
    }

    async fn start(&self, listen: SocketAddr) -> Result<RunningRelay, SyncError> {
        std::fs::create_dir_all(&self.folder).map_err(|e| SyncError::io("make", &self.folder, &e))?;
        let config = RelayConfig {
            data: Some(self.folder.clone()),
            store: StoreConfig::Sqlite { path: self.folder.join(StoreConfig::FILE), max_bytes: Some(MOST_BYTES) },
            content: Some(ContentConfig::within(&self.folder)),
            listen: Some(listen),
            discoverable: self.discoverable(),
            access: Access::Own,
            limits: ServerLimits {
                connections: 1_024,
                connections_per_ip: 256,
                pairings: 64,
                groups_cached: 16,
                // A handful of devices may come back at once.
                drain_spread: Duration::from_secs(1),
                ..ServerLimits::default()
            },
            ..RelayConfig::in_memory()
        };
        Relay::start(config).await.map_err(|e| SyncError::new(e.code, format!("the embedded relay: {}", e.message)))
    }

    pub(super) async fn stop(&mut self) {
        self.failed = false;
        // Whoever opens a stream at this very moment holds it too; then it ends as after a crash, which loses nothing.
        if let Some(relay) = self.running.take().and_then(|(relay, _)| Arc::into_inner(relay)) {
            let _ = timeout(STOP, relay.shutdown()).await;
        }
    }
}

/// Opens streams to a relay in this process, as long as it lives.
pub(crate) fn opener(relay: &Arc<RunningRelay>) -> crate::transport::Open {
    let relay = Arc::downgrade(relay);
    Arc::new(move || {
        let LocalConnection { reader, writer, exporter } = relay.upgrade()?.connect_local();
        Some(LocalStream { reader, writer, exporter })
    })
}

/// Where other devices reach a relay that listens there: at the host's address on the way to the rest of the network, and
/// at loopback for devices on the same host.
fn reachable(ip: IpAddr, port: u16) -> Vec<String> {
    if !ip.is_unspecified() {
        return vec![SocketAddr::new(ip, port).to_string()];
    }
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    outward_address(loopback).into_iter().chain([loopback]).map(|ip| SocketAddr::new(ip, port).to_string()).collect()
}
