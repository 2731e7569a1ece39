//! From device to device: an endpoint under a key that only this opening has, where the group's members hand each other content.
//! Who it is and where, they tell each other in presence, which only members read; so it is found by nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use iroh::endpoint::{Incoming, VarInt};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayUrl, SecretKey, TransportAddr, Watcher};
use sync_types::content::{Door, Hearing, Place};
use sync_types::{Opaque, limits};
use tokio::time::timeout;

use super::discovery::Discovery;
use super::quic::{bare, bind_everywhere, lasting, unreachable};
use super::{Pending, Road};
use crate::clock::random;
use crate::{RelayPath, SyncError};

/// What is spoken there.
const ALPN: &[u8] = b"0ksync/direct/1";
/// The label of the TLS exporter (RFC 8446 §7.5) that attach proofs are made from there. What one device proves to another is so
/// worth nothing at a relay, and the other way round.
const EXPORTER_LABEL: &[u8] = b"0ksync/1 direct exporter";
/// How long reaching another device may take: where it can be reached at all, it is near or a relay leads there.
const CONNECT: Duration = Duration::from_secs(3);
/// How many streams another device may have open at once.
const STREAMS: u32 = 16;
/// How long closing may wait for the others to hear of it.
const CLOSE: Duration = Duration::from_millis(50);
/// The longest URL of an iroh relay that others are told of.
const URL_BYTES: usize = 256;

/// The endpoint.
pub(crate) struct Doorway {
    endpoint: Endpoint,
    used: Arc<()>,
}

/// Somebody who is at the door, and may be anybody.
pub(crate) struct Visitor {
    incoming: Incoming,
    used: Arc<()>,
}

impl Doorway {
    /// Opens it. `servers`: those through which others reach a device that no network leads to, if they are to be used.
    ///
    /// # Errors
    /// [`Code::Io`](sync_types::Code) if there is no socket.
    pub(crate) async fn open(servers: Option<&Discovery>) -> Result<Self, SyncError> {
        let transport = lasting()?
            .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .build();
        let key = SecretKey::from_bytes(&random());
        let builder = || {
            let builder = bare(&key, &transport).alpns(vec![ALPN.to_vec()]);
            match servers {
                Some(discovery) => discovery.network(builder),
                None => builder,
            }
        };
        let endpoint = bind_everywhere(builder).await?;
        Ok(Self { endpoint, used: Arc::default() })
    }

    /// Where it is, for others.
    pub(crate) fn door(&self, hearing: Hearing) -> Door {
        let address = self.endpoint.addr();
        let places = address.ip_addrs().copied().take(limits::DOOR_PLACES).map(Place::from).collect();
        let relay =
            address.relay_urls().map(ToString::to_string).find(|url| url.len() <= URL_BYTES).unwrap_or_default();
        Door { endpoint: *self.endpoint.id().as_bytes(), places, relay: Opaque(relay.into_bytes()), hearing }
    }

    /// Says each time that it is somewhere else, from now on.
    pub(crate) fn moves(&self) -> impl Stream<Item = ()> + Unpin + use<> {
        self.endpoint.watch_addr().stream_updates_only().map(drop)
    }

    /// Connects to another device.
    ///
    /// # Errors
    /// [`Code::RelayUnreachable`](sync_types::Code).
    pub(crate) fn reach<'a>(&'a self, door: &'a Door) -> Pending<'a, Road> {
        Box::pin(async move {
            let id = PublicKey::from_bytes(&door.endpoint).map_err(unreachable)?;
            let places = door.places.iter().map(|place| TransportAddr::Ip(SocketAddr::from(*place)));
            // Where this device uses no such servers, it does not go to those of others either.
            let relay =
                std::str::from_utf8(&door.relay).ok().filter(|_| self.endpoint.addr().relay_urls().next().is_some());
            let relay = relay.and_then(|url| url.parse::<RelayUrl>().ok()).map(TransportAddr::Relay);
            let address = EndpointAddr::from_parts(id, places.chain(relay));
            let reached = timeout(CONNECT, self.endpoint.connect(address, ALPN)).await;
            let connection =
                reached.map_err(|_| unreachable("the other device does not answer"))?.map_err(unreachable)?;
            Road::labelled(RelayPath::Udp, EXPORTER_LABEL, connection, self.used.clone())
        })
    }

    /// Who comes next. `None` once it is closed.
    pub(crate) async fn next(&self) -> Option<Visitor> {
        let incoming = self.endpoint.accept().await?;
        Some(Visitor { incoming, used: self.used.clone() })
    }

    pub(crate) async fn close(&self) {
        // Whoever does not answer finds out by itself.
        let _ = timeout(CLOSE, self.endpoint.close()).await;
    }
}

impl Visitor {
    /// Lets it in.
    ///
    /// # Errors
    /// [`Code::RelayUnreachable`](sync_types::Code) if it goes, or takes long.
    pub(crate) async fn let_in(self) -> Result<Road, SyncError> {
        let came = timeout(CONNECT, self.incoming).await.map_err(|_| unreachable("it takes too long to come"))?;
        Road::labelled(RelayPath::Udp, EXPORTER_LABEL, came.map_err(unreachable)?, self.used)
    }
}
