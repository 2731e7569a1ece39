//! The QUIC endpoint: one socket at the given address and nothing beside it. No discovery, no relays, no port mapping.

use std::net::SocketAddr;
use std::sync::Arc;

use iroh::Endpoint;
use iroh::endpoint::{BindError, NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayMode, VarInt, presets};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use sync_types::{ALPN, Code};

use crate::config::ServerLimits;
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

/// What both sides derive their attach proofs from: the label of the TLS exporter (RFC 8446 §7.5). Its context is empty.
pub const EXPORTER_LABEL: &[u8] = b"0ksync/1 attach exporter";

pub(super) async fn bind(
    identity: &Identity,
    listen: SocketAddr,
    limits: &ServerLimits,
) -> Result<Endpoint, StartError> {
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .build();
    let failed = |e: String| StartError::new(Code::Io, format!("cannot listen on {listen} for QUIC: {e}"));
    Endpoint::builder(presets::Empty)
        .crypto_provider(crypto_provider())
        .secret_key(identity.secret_key())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr(listen)
        .map_err(|e| failed(e.to_string()))?
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .transport_config(transport)
        .bind()
        .await
        .map_err(|e| match e {
            BindError::Sockets { source, .. } => StartError::listen("QUIC", listen, &source),
            other => failed(other.to_string()),
        })
}
