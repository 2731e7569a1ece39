//! Relays over QUIC: by UDP, or where that does not reach them, through a WebSocket to them. With a relay set, no packet goes anywhere
//! else: no discovery, no public relays, no port mapping.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use iroh::dns::DnsResolver;
use iroh::endpoint::{NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayMode, presets};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayConfig, RelayMap, RelayUrl, SecretKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use sync_types::{ALPN, Code};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::framed::{FrameReader, FrameWriter, Guard};
use super::names::SystemNames;
use super::{EXPORTER_LABEL, Pending, Resolved, Stream, Transport};
use crate::{RelayPath, SyncError};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long UDP is waited for before the same relay is tried over HTTPS as well.
const HEAD_START: Duration = Duration::from_millis(1_500);
/// How long closing may wait for a peer to hear of it.
const CLOSE: Duration = Duration::from_millis(50);
/// A relay that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(8);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// After so many failures in a row the endpoint itself is suspected: it can die with a network interface.
const SUSPECT: u32 = 3;

/// aws-lc with the hybrid post-quantum key exchanges first. With the feature `fips` there are no others, and the one over P-256
/// comes first.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = if cfg!(feature = "fips") {
        vec![kx_group::SECP256R1MLKEM768, kx_group::X25519MLKEM768]
    } else {
        vec![kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768, kx_group::X25519]
    };
    Arc::new(provider)
}

/// The ways to a relay, each with an endpoint of its own under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// UDP to this machine.
    Loopback,
    /// UDP.
    Network,
    /// A WebSocket that carries the same packets. The endpoint has no socket of its own, so nothing goes past it.
    Https,
}

/// The installation's QUIC endpoints: made when they are first needed, and made anew under the same key when they die.
pub(crate) struct Quic {
    key: SecretKey,
    loopback: Mutex<Slot>,
    network: Mutex<Slot>,
    https: Mutex<Slot>,
    /// The relays, by their keys, that were reached over HTTPS last, as UDP did not.
    without_udp: std::sync::Mutex<BTreeSet<[u8; 32]>>,
}

#[derive(Default)]
struct Slot {
    endpoint: Option<Endpoint>,
    failures: u32,
}

fn unreachable(error: impl std::fmt::Display) -> SyncError {
    SyncError::new(Code::RelayUnreachable, format!("the relay does not answer: {error}"))
}

impl Quic {
    pub(crate) fn new(key: SecretKey) -> Self {
        Self {
            key,
            loopback: Mutex::default(),
            network: Mutex::default(),
            https: Mutex::default(),
            without_udp: std::sync::Mutex::default(),
        }
    }

    async fn bind(&self, way: Way) -> Result<Endpoint, SyncError> {
        let failed = |e: String| SyncError::new(Code::Io, format!("no socket for the way to the relay: {e}"));
        let transport = QuicTransportConfig::builder()
            .max_idle_timeout(Some(IDLE.try_into().map_err(|_| failed("the idle time is out of range".into()))?))
            .keep_alive_interval(KEEP_ALIVE)
            .build();
        let builder = || {
            Endpoint::builder(presets::Empty)
                .crypto_provider(crypto_provider())
                .secret_key(self.key.clone())
                .relay_mode(RelayMode::Disabled)
                .clear_address_lookup()
                .clear_ip_transports()
                .portmapper_config(PortmapperConfig::Disabled)
                .net_report_config(NetReportConfig::minimal())
                .transport_config(transport.clone())
        };
        let bind = |address: &str| builder().bind_addr(address).map_err(|e| failed(e.to_string()));
        match way {
            Way::Loopback => return bind("127.0.0.1:0")?.bind().await.map_err(|e| failed(e.to_string())),
            Way::Https => {
                let endpoint = builder()
                    .relay_mode(RelayMode::Custom(RelayMap::empty()))
                    .dns_resolver(DnsResolver::custom(SystemNames))
                    .ca_tls_config(CaTlsConfig::custom_server_cert_verifier(Arc::new(|provider| {
                        let verifier = rustls_platform_verifier::Verifier::new(provider);
                        Ok(Arc::new(verifier.map_err(std::io::Error::other)?))
                    })));
                return endpoint.bind().await.map_err(|e| failed(e.to_string()));
            }
            Way::Network => {}
        }
        // A host without IPv6 has no such socket.
        let both = bind("0.0.0.0:0")?.bind_addr("[::]:0").map_err(|e| failed(e.to_string()))?;
        match both.bind().await {
            Ok(endpoint) => Ok(endpoint),
            Err(_) => bind("0.0.0.0:0")?.bind().await.map_err(|e| failed(e.to_string())),
        }
    }

    /// The endpoint, made anew if it is dead or suspected to be.
    async fn endpoint(&self, way: Way) -> Result<Endpoint, SyncError> {
        let mut slot = self.slot(way).lock().await;
        let suspect = slot.failures >= SUSPECT;
        if let Some(endpoint) = slot.endpoint.take_if(|e| suspect || e.is_closed()) {
            tracing::info!("the endpoint is made anew");
            slot.failures = 0;
            endpoint.close().await;
        }
        if slot.endpoint.is_none() {
            slot.endpoint = Some(self.bind(way).await?);
        }
        slot.endpoint.clone().ok_or_else(|| SyncError::new(Code::Internal, "an endpoint is missing"))
    }

    fn slot(&self, way: Way) -> &Mutex<Slot> {
        match way {
            Way::Loopback => &self.loopback,
            Way::Network => &self.network,
            Way::Https => &self.https,
        }
    }

    async fn open(&self, relay: &Resolved, way: Way) -> Result<Stream, SyncError> {
        let invalid = |what: &str| SyncError::new(Code::AddressInvalid, format!("the relay's address holds no {what}"));
        let id = PublicKey::from_bytes(&relay.endpoint).map_err(|_| invalid("valid key"))?;
        let mut address = EndpointAddr::new(id);
        let endpoint = self.endpoint(way).await?;
        if way == Way::Https {
            let url: RelayUrl =
                relay.websocket.as_deref().and_then(|url| url.parse().ok()).ok_or_else(|| invalid("valid URL"))?;
            endpoint.insert_relay(url.clone(), Arc::new(RelayConfig::new(url.clone(), None))).await;
            address = address.with_relay_url(url);
        } else {
            for socket in &relay.addresses {
                address = address.with_ip_addr(*socket);
            }
        }
        let connection = endpoint.connect(address, ALPN).await.map_err(unreachable)?;
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .map_err(|_| SyncError::new(Code::Internal, "the connection gives no exporter value"))?;
        let (send, receive) = connection.open_bi().await.map_err(unreachable)?;
        let guard: Guard = Arc::new(connection);
        let path = if way == Way::Https { RelayPath::Https } else { RelayPath::Udp };
        Ok(Stream {
            path,
            exporter,
            reader: FrameReader::new(receive, guard.clone()),
            writer: FrameWriter::new(send, guard),
        })
    }

    pub(crate) async fn close(&self) {
        let close = async |slot: &Mutex<Slot>| {
            if let Some(endpoint) = slot.lock().await.endpoint.take() {
                // A peer that does not answer is not waited for: it finds out by itself.
                let _ = timeout(CLOSE, endpoint.close()).await;
            }
        };
        tokio::join!(close(&self.loopback), close(&self.network), close(&self.https));
    }

    /// Opens a stream one way, or gives up after [`CONNECT`].
    async fn by(&self, relay: &Resolved, way: Way) -> Result<Stream, SyncError> {
        let opened = match timeout(CONNECT, self.open(relay, way)).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable("no answer within ten seconds")),
        };
        let mut slot = self.slot(way).lock().await;
        slot.failures = if opened.is_ok() { 0 } else { slot.failures + 1 };
        opened
    }

    fn without_udp(&self) -> MutexGuard<'_, BTreeSet<[u8; 32]>> {
        self.without_udp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By UDP and, if that takes long or failed before, over HTTPS beside it: whichever is there first. UDP is tried every time, so
    /// that a device that comes back into an open network uses it again.
    async fn race(&self, relay: &Resolved, udp: Way) -> Result<Stream, SyncError> {
        let wait = if self.without_udp().contains(&relay.endpoint) { Duration::ZERO } else { HEAD_START };
        let (mut by_udp, mut by_https) = (pin!(self.by(relay, udp)), pin!(self.by(relay, Way::Https)));
        let udp_failed = match timeout(wait, &mut by_udp).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let (way, opened) = match udp_failed {
            Some(_) => (Way::Https, by_https.await),
            None => tokio::select! {
                opened = &mut by_udp => match opened {
                    Ok(stream) => (udp, Ok(stream)),
                    Err(_) => (Way::Https, by_https.await),
                },
                opened = &mut by_https => match opened {
                    Ok(stream) => (Way::Https, Ok(stream)),
                    Err(_) => (udp, by_udp.await),
                },
            },
        };
        if opened.is_ok() {
            let mut without_udp = self.without_udp();
            if way == Way::Https {
                without_udp.insert(relay.endpoint);
            } else {
                without_udp.remove(&relay.endpoint);
            }
        }
        opened
    }
}

impl Transport for Quic {
    fn connect<'a>(&'a self, relay: &'a Resolved) -> Pending<'a, Stream> {
        Box::pin(async move {
            let loopback = relay.addresses.iter().all(|a: &SocketAddr| a.ip().is_loopback() && a.is_ipv4());
            let udp = if loopback { Way::Loopback } else { Way::Network };
            match (relay.addresses.is_empty(), &relay.websocket) {
                (true, Some(_)) => self.by(relay, Way::Https).await,
                (false, Some(_)) => self.race(relay, udp).await,
                (_, None) => self.by(relay, udp).await,
            }
        })
    }
}
