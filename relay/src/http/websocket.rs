//! Devices that come over HTTPS, because UDP does not reach the relay: a WebSocket carries their QUIC packets, by iroh's relay
//! protocol, to an endpoint under the relay's key that has no socket of its own. So what ends HTTPS in between, a platform's proxy
//! or a tunnel, sees packets that are sealed from the device to that key, as anybody on the way of UDP does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use axum::routing::get;
use axum::{Router, http};
use hyper::body::Incoming;
use hyper::service::Service;
use iroh::EndpointId;
use iroh_relay::KeyCache;
use iroh_relay::http::{RELAY_PATH, RELAY_PROBE_PATH};
use iroh_relay::server::http_server::{Handlers, RelayService, RelayServiceWithNotify};
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, Metrics};
use tokio::sync::Notify;

use super::listener::Peer;
use crate::config::ServerLimits;
use crate::server::network;

/// Where a request's address travels within the process: iroh's relay shows whoever admits its clients the headers alone. What a
/// client sends under this name is overwritten.
const ADDRESS: HeaderName = HeaderName::from_static("x-0ksync-address");
/// How many endpoints' keys are kept ready for checking.
const KEYS: usize = 4_096;
/// How long a device may take from its WebSocket to its QUIC connection. Whoever has none by then uses the relay for something else:
/// iroh's relay forwards between any two endpoints.
const STRANGE: Duration = Duration::from_secs(30);
/// How often those are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// The WebSockets of a relay. Clones share them.
#[derive(Clone)]
pub(crate) struct WebSockets {
    service: RelayService,
    doors: Arc<Doors>,
}

/// Who is connected by a WebSocket, and who may be.
#[derive(Debug)]
struct Doors {
    /// The relay's own endpoint, which takes the packets.
    own: EndpointId,
    limits: ServerLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    doors: HashMap<ConnectionId, Door>,
    by_ip: HashMap<IpAddr, usize>,
    /// The latest of each endpoint, which is the one that packets go to.
    by_endpoint: HashMap<EndpointId, ConnectionId>,
}

#[derive(Debug)]
struct Door {
    ip: Option<IpAddr>,
    since: Instant,
}

impl WebSockets {
    /// `own` is the endpoint of this relay.
    pub(crate) fn new(own: EndpointId, limits: ServerLimits) -> Self {
        let doors = Arc::new(Doors { own, limits, open: Mutex::default() });
        let service = RelayService::new(
            Handlers::default(),
            HeaderMap::new(),
            // It would count for the relay's own endpoint too, through which all devices go; each session has a rate of its own.
            None,
            KeyCache::new(KEYS),
            doors.clone(),
            Arc::new(Metrics::default()),
        );
        Self { service, doors }
    }

    /// Whether a request asks for a WebSocket.
    pub(super) fn takes(request: &Request<Incoming>) -> bool {
        request.method() == http::Method::GET && request.uri().path() == RELAY_PATH
    }

    /// Answers a request for a WebSocket, and serves that from then on. `established` hears of it when its device has proved which
    /// endpoint it is; until then the connection is to be bounded by whoever holds it.
    pub(super) async fn open(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        established: Arc<Notify>,
    ) -> Response<Body> {
        let address = HeaderValue::from_str(&peer.ip.to_string()).expect("an address is ASCII");
        request.headers_mut().insert(ADDRESS, address);
        match RelayServiceWithNotify::new(self.service.clone(), established).call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::debug!(%error, "a WebSocket could not be opened");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::BAD_REQUEST;
                response
            }
        }
    }

    /// Where a device's WebSocket comes from.
    pub(crate) fn ip_of(&self, endpoint: &EndpointId) -> Option<IpAddr> {
        let open = self.doors.open();
        open.doors.get(open.by_endpoint.get(endpoint)?)?.ip
    }

    /// Closes, for ever, the WebSockets of endpoints that are not `connected` to this relay.
    pub(crate) async fn watch(&self, connected: impl Fn(&EndpointId) -> bool) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            for (endpoint, connection) in self.doors.strangers(Instant::now(), &connected) {
                tracing::debug!("a WebSocket without a connection is closed");
                self.service.clients().disconnect(endpoint, Some(connection));
            }
        }
    }

    /// Has all of them closed, without waiting for it.
    pub(crate) fn abort(&self) {
        let endpoints: Vec<EndpointId> = self.doors.open().by_endpoint.keys().copied().collect();
        for endpoint in endpoints {
            self.service.clients().disconnect(endpoint, None);
        }
    }

    /// Closes all of them.
    pub(crate) async fn shutdown(&self) {
        self.service.shutdown().await;
    }
}

/// What the relay's own endpoint is told beside WebSockets: iroh looks how fast a relay answers before it takes it for its own.
pub(crate) fn probed() -> Router {
    Router::new().route(RELAY_PROBE_PATH, get(|| async { "" }))
}

impl Doors {
    /// The counts stay right if a holder of the lock panics: each change is one step.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, endpoint: EndpointId, connection: ConnectionId) {
        let mut open = self.open();
        let Some(door) = open.doors.remove(&connection) else { return };
        if open.by_endpoint.get(&endpoint) == Some(&connection) {
            open.by_endpoint.remove(&endpoint);
        }
        if let Some(ip) = door.ip
            && let Some(count) = open.by_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                open.by_ip.remove(&ip);
            }
        }
    }

    fn admit(&self, endpoint: EndpointId, connection: ConnectionId, ip: Option<IpAddr>, now: Instant) -> bool {
        let mut open = self.open();
        let ip = ip.filter(|_| endpoint != self.own).map(network);
        let from_ip = ip.map_or(0, |ip| open.by_ip.get(&ip).copied().unwrap_or(0));
        let full = open.doors.len() >= self.limits.connections || from_ip >= self.limits.connections_per_ip;
        if full && endpoint != self.own {
            return false;
        }
        if let Some(ip) = ip {
            *open.by_ip.entry(ip).or_default() += 1;
        }
        open.doors.insert(connection, Door { ip, since: now });
        open.by_endpoint.insert(endpoint, connection);
        true
    }

    fn strangers(&self, now: Instant, connected: impl Fn(&EndpointId) -> bool) -> Vec<(EndpointId, ConnectionId)> {
        let open = self.open();
        let old = |connection: &ConnectionId| {
            open.doors.get(connection).is_some_and(|door| now.saturating_duration_since(door.since) > STRANGE)
        };
        open.by_endpoint
            .iter()
            .filter(|(endpoint, connection)| **endpoint != self.own && old(connection) && !connected(endpoint))
            .map(|(endpoint, connection)| (*endpoint, *connection))
            .collect()
    }
}

impl AccessControl for Doors {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let ip = request.headers().get(ADDRESS).and_then(|value| value.to_str().ok()?.parse().ok());
        if self.admit(request.endpoint_id(), request.connection_id(), ip, Instant::now()) {
            Access::Allow
        } else {
            Access::Deny { reason: Some("too many connections".into()) }
        }
    }

    fn on_disconnect(&self, endpoint: EndpointId, connection: ConnectionId) {
        self.leave(endpoint, connection);
    }
}
