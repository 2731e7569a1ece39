//! The QUIC endpoints: one with a socket at the given address and nothing beside it, no discovery, no relays, no port mapping; and
//! one without a socket, for what comes over HTTPS.

use std::net::SocketAddr;
use std::sync::Arc;

use iroh::Endpoint;
use iroh::endpoint::{
    BindError, Builder, NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayMode, VarInt, presets,
};
use noq_proto::congestion::Bbr3Config;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use sync_types::{ALPN, Code};

use crate::config::{Discoverable, ServerLimits};
use crate::{Identity, StartError};

/// aws-lc with the hybrid post-quantum key exchanges first. With the feature `fips` there are no others, and the one over P-256
/// comes first.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = if cfg!(feature = "fips") {
        vec![kx_group::SECP256R1MLKEM768, kx_group::X25519MLKEM768]
    } else {
        vec![kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768, kx_group::X25519]
    };
    Arc::new(provider)
}

/// How long the endpoint without a socket may take until it is there.
#[cfg(feature = "http")]
const ONLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// What both sides derive their attach proofs from: the label of the TLS exporter (RFC 8446 §7.5). Its context is empty.
pub const EXPORTER_LABEL: &[u8] = b"0ksync/1 attach exporter";

/// The endpoint at a socket.
pub(super) async fn bind(
    identity: &Identity,
    listen: SocketAddr,
    limits: &ServerLimits,
    discoverable: Option<&Discoverable>,
) -> Result<Endpoint, StartError> {
    let failed = |e: String| StartError::new(Code::Io, format!("cannot listen on {listen} for QUIC: {e}"));
    let builder = || {
        builder(identity, limits)
            .relay_mode(RelayMode::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .bind_addr(listen)
            .map_err(|e| failed(e.to_string()))
    };
    let why = |e| match e {
        BindError::Sockets { source, .. } => StartError::listen("QUIC", listen, &source),
        other => failed(other.to_string()),
    };
    if let Some(discoverable) = discoverable {
        match discoverable.apply(builder()?).bind().await {
            Ok(endpoint) => return Ok(endpoint),
            Err(error @ BindError::Sockets { .. }) => return Err(why(error)),
            // Without multicast, say. Who knows where it is comes all the same.
            Err(error) => tracing::warn!("the relay is found at its address alone: {error}"),
        }
    }
    builder()?.bind().await.map_err(why)
}

/// The endpoint for packets from WebSockets, which this relay's own server at `url` hands to it.
#[cfg(feature = "http")]
pub(super) async fn bind_relayed(
    identity: &Identity,
    url: iroh::RelayUrl,
    limits: &ServerLimits,
) -> Result<Endpoint, StartError> {
    let failed = |e: String| StartError::new(Code::Io, format!("cannot take devices that come over HTTPS: {e}"));
    let own = iroh_relay::RelayConfig::new(url, None);
    let endpoint = builder(identity, limits)
        .relay_mode(RelayMode::Custom(own.into()))
        .bind()
        .await
        .map_err(|e| failed(e.to_string()))?;
    // Until then, whoever comes would find nobody.
    match tokio::time::timeout(ONLINE, endpoint.online()).await {
        Ok(()) => Ok(endpoint),
        Err(_) => Err(failed("the relay does not reach itself on loopback".into())),
    }
}

fn builder(identity: &Identity, limits: &ServerLimits) -> Builder {
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(Bbr3Config::default()))
        .build();
    Endpoint::builder(presets::Empty)
        .crypto_provider(crypto_provider())
        .secret_key(identity.secret_key())
        .alpns(vec![ALPN.to_vec()])
        .clear_address_lookup()
        .clear_ip_transports()
        .portmapper_config(PortmapperConfig::Disabled)
        .transport_config(transport)
}
