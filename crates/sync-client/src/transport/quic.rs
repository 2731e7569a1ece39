//! Relays over QUIC. With a relay set, no packet goes anywhere else: no discovery, no public relays, no port mapping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayMode, presets};
use iroh::{Endpoint, EndpointAddr, PublicKey, SecretKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use sync_types::{ALPN, Code};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::framed::{FrameReader, FrameWriter, Guard};
use super::{EXPORTER_LABEL, Pending, Resolved, Stream, Transport};
use crate::SyncError;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
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

/// The installation's QUIC endpoints: made when they are first needed, and made anew under the same key when they die.
pub(crate) struct Quic {
    key: SecretKey,
    loopback: Mutex<Slot>,
    network: Mutex<Slot>,
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
        Self { key, loopback: Mutex::default(), network: Mutex::default() }
    }

    async fn bind(&self, loopback: bool) -> Result<Endpoint, SyncError> {
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
        if loopback {
            return bind("127.0.0.1:0")?.bind().await.map_err(|e| failed(e.to_string()));
        }
        // A host without IPv6 has no such socket.
        let both = bind("0.0.0.0:0")?.bind_addr("[::]:0").map_err(|e| failed(e.to_string()))?;
        match both.bind().await {
            Ok(endpoint) => Ok(endpoint),
            Err(_) => bind("0.0.0.0:0")?.bind().await.map_err(|e| failed(e.to_string())),
        }
    }

    /// The endpoint, made anew if it is dead or suspected to be.
    async fn endpoint(&self, loopback: bool) -> Result<Endpoint, SyncError> {
        let mut slot = self.slot(loopback).lock().await;
        let suspect = slot.failures >= SUSPECT;
        if let Some(endpoint) = slot.endpoint.take_if(|e| suspect || e.is_closed()) {
            tracing::info!("the endpoint is made anew");
            slot.failures = 0;
            endpoint.close().await;
        }
        if slot.endpoint.is_none() {
            slot.endpoint = Some(self.bind(loopback).await?);
        }
        slot.endpoint.clone().ok_or_else(|| SyncError::new(Code::Internal, "an endpoint is missing"))
    }

    fn slot(&self, loopback: bool) -> &Mutex<Slot> {
        if loopback { &self.loopback } else { &self.network }
    }

    async fn open(&self, relay: &Resolved, loopback: bool) -> Result<Stream, SyncError> {
        let id = PublicKey::from_bytes(&relay.endpoint)
            .map_err(|_| SyncError::new(Code::AddressInvalid, "the relay's address holds no valid key"))?;
        let mut address = EndpointAddr::new(id);
        for socket in &relay.addresses {
            address = address.with_ip_addr(*socket);
        }
        let endpoint = self.endpoint(loopback).await?;
        let connection = endpoint.connect(address, ALPN).await.map_err(unreachable)?;
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .map_err(|_| SyncError::new(Code::Internal, "the connection gives no exporter value"))?;
        let (send, receive) = connection.open_bi().await.map_err(unreachable)?;
        let guard: Guard = Arc::new(connection);
        Ok(Stream { exporter, reader: FrameReader::new(receive, guard.clone()), writer: FrameWriter::new(send, guard) })
    }

    pub(crate) async fn close(&self) {
        let close = async |slot: &Mutex<Slot>| {
            if let Some(endpoint) = slot.lock().await.endpoint.take() {
                // A peer that does not answer is not waited for: it finds out by itself.
                let _ = timeout(CLOSE, endpoint.close()).await;
            }
        };
        tokio::join!(close(&self.loopback), close(&self.network));
    }
}

impl Transport for Quic {
    fn connect<'a>(&'a self, relay: &'a Resolved) -> Pending<'a, Stream> {
        Box::pin(async move {
            let loopback = relay.addresses.iter().all(|a: &SocketAddr| a.ip().is_loopback() && a.is_ipv4());
            let opened = match timeout(CONNECT, self.open(relay, loopback)).await {
                Ok(opened) => opened,
                Err(_) => Err(unreachable("no answer within ten seconds")),
            };
            let mut slot = self.slot(loopback).lock().await;
            slot.failures = if opened.is_ok() { 0 } else { slot.failures + 1 };
            opened
        })
    }
}
