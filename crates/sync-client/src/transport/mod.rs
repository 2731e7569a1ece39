//! The way to a relay: a stream of frames, and a value that only the two ends of the connection can derive.

mod direct;
mod discovery;
mod framed;
mod local;
mod names;
mod quic;
mod resolve;
mod road;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sync_types::RelayAddress;

use crate::{RelayPath, SyncError};

pub(crate) use direct::{Doorway, Visitor};
pub use discovery::Discovery;
pub(crate) use framed::{FrameReader, FrameWriter};
pub(crate) use local::LocalRelays;
#[cfg(feature = "embedded-relay")]
pub(crate) use local::{LocalStream, Open};
pub(crate) use quic::Quic;
pub(crate) use resolve::{Resolved, Resolver};
pub(crate) use road::Road;

/// The label of the TLS exporter (RFC 8446 §7.5) that attach proofs are made from. Its context is empty.
const EXPORTER_LABEL: &[u8] = b"0ksync/1 attach exporter";

/// A future of no named type: what a trait's method returns, or what is nested too deep for a compiler.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, SyncError>> + Send + 'a>>;

/// A stream to a relay.
pub(crate) struct Stream {
    /// How the relay was reached.
    pub(crate) path: RelayPath,
    /// The connection's exporter value.
    pub(crate) exporter: [u8; 32],
    /// From the relay.
    pub(crate) reader: FrameReader,
    /// To the relay.
    pub(crate) writer: FrameWriter,
}

/// A way to reach a relay.
pub(crate) trait Transport: Send + Sync {
    /// Connects.
    fn connect<'a>(&'a self, relay: &'a Resolved) -> Pending<'a, Road>;
}

/// Finds the way to each relay: within this process, or over the network.
pub(crate) struct Dialer {
    resolver: Resolver,
    quic: Quic,
    local: LocalRelays,
}

impl Dialer {
    pub(crate) fn new(key: iroh::SecretKey, local: LocalRelays, discovery: Discovery) -> Self {
        Self { resolver: Resolver::default(), quic: Quic::new(key, discovery), local }
    }

    /// Who and where a relay is.
    pub(crate) async fn resolve(&self, address: &RelayAddress) -> Result<Resolved, SyncError> {
        match address {
            // A relay in this process needs no place in the network.
            RelayAddress::Pinned { endpoint, hosts, .. } | RelayAddress::Hosted { endpoint, hosts, .. }
                if self.local.has(endpoint) =>
            {
                Ok(Resolved {
                    endpoint: *endpoint,
                    hosts: hosts.clone(),
                    addresses: vec![],
                    websocket: None,
                    by_key: false,
                })
            }
            _ => self.resolver.resolve(address).await,
        }
    }

    /// Opens a stream to a relay, on a connection of its own, so that a pairing never shares the fate of a session.
    pub(crate) async fn dial(&self, address: &RelayAddress) -> Result<Stream, SyncError> {
        self.road(address).await?.open().await
    }

    /// Connects to a relay, for as many streams as are wanted.
    pub(crate) async fn road(&self, address: &RelayAddress) -> Result<Road, SyncError> {
        let relay = self.resolve(address).await?;
        if self.local.has(&relay.endpoint) { self.local.connect(&relay).await } else { self.quic.connect(&relay).await }
    }

    /// Opens a door for other devices. `by_servers`: they may find the way to it by those that [`Discovery`] names, too.
    pub(crate) async fn doorway(&self, by_servers: bool) -> Result<Doorway, SyncError> {
        Doorway::open(Some(self.quic.discovery()).filter(|_| by_servers)).await
    }

    /// Relays of this process, for one to be added.
    pub(crate) fn local(&self) -> &LocalRelays {
        &self.local
    }

    /// Tells the other sides that nothing more comes.
    pub(crate) async fn close(&self) {
        self.quic.close().await;
    }
}

/// Shared by the engine and the pairings.
pub(crate) type SharedDialer = Arc<Dialer>;
