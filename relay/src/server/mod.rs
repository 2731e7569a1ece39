//! The running relay: its sockets, connections in memory, and their end.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iroh::Endpoint;
use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt};
use sync_rules::Observer;
use sync_types::Code;
use sync_types::frame::{self, About, FromRelay};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;

use self::address::reachable;
use self::admission::{Admission, Peer};
use self::opened::Opened;
use self::origin::{Members, Origin};
use self::pairing::Pairings;
use self::verify::Verifier;
#[cfg(feature = "http")]
use crate::admin;
use crate::config::{Access, RelayConfig, ServerLimits, StoreConfig};
use crate::content::Contents;
#[cfg(feature = "http")]
use crate::http::WebSockets;
use crate::hub::{Hub, Parts, Wake, now_ms};
use crate::mailbox::Refusal;
use crate::metrics::Metrics;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{MemoryStore, Store};
#[cfg(feature = "http")]
use crate::wake::Waker;
use crate::{Identity, StartError};

mod address;
mod admission;
mod content;
mod endpoint;
pub(crate) mod folder;
mod framing;
mod opened;
mod origin;
mod pairing;
mod rounds;
#[cfg(feature = "http")]
mod shown;
mod stream;
mod verify;
#[cfg(feature = "http")]
mod waking;
#[cfg(feature = "http")]
mod web;

pub use address::outward_address;
#[cfg(feature = "http")]
pub(crate) use admission::network;
pub use endpoint::{EXPORTER_LABEL, crypto_provider};

/// How long the connected may take to hear that the relay stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long connections may take to be over, all of which were told that they are: with ten thousand devices that want to come
/// back at once QUIC's own closing took a minute and a half, in which nobody is served.
const CLOSE: Duration = Duration::from_secs(3);
/// How many bytes a connection in memory holds in each direction.
const LOCAL_BUFFER: usize = 256 * 1024;
/// How many connections beyond the limit are told why at once; others are refused without a word.
const TURNED_AWAY: usize = 64;
/// When to try again after too many connections, in milliseconds.
const CONNECT_AGAIN_MS: u64 = 5_000;

/// The relay as a library.
pub struct Relay;

/// A relay that runs until [`RunningRelay::shutdown`]; dropped without it, it stops as after a crash.
pub struct RunningRelay {
    shared: Arc<Shared>,
    identity: [u8; 32],
    hosts: Vec<String>,
    /// The endpoint at a socket, where there is one.
    endpoint: Option<Endpoint>,
    accepting: Vec<JoinHandle<()>>,
    #[cfg(feature = "http")]
    web: Option<web::Web>,
    pairings: JoinHandle<()>,
    /// What goes on beside, until the relay is dropped.
    background: JoinSet<()>,
    #[cfg(feature = "http")]
    admin: Option<admin::Socket>,
    #[cfg(feature = "http")]
    waker: Option<Arc<Waker>>,
    local: Mutex<JoinSet<()>>,
    opened: Opened,
    _folder: Option<folder::Lock>,
}

/// What all connections share.
struct Shared {
    hub: Arc<Hub>,
    store: Arc<dyn Store>,
    pairings: Arc<Pairings>,
    metrics: Arc<Metrics>,
    limits: ServerLimits,
    access: Access,
    admission: Arc<Admission>,
    members: Arc<Members>,
    verifier: Verifier,
    waker: Option<Arc<dyn Wake>>,
    /// `None`: this relay takes no large content.
    contents: Option<Arc<Contents>>,
    stopping: watch::Sender<bool>,
    /// The number of the next connection.
    connections: AtomicU64,
}

/// A device's end of a connection in memory.
#[derive(Debug)]
pub struct LocalConnection {
    /// Frames from the relay.
    pub reader: ReadHalf<DuplexStream>,
    /// Frames to the relay.
    pub writer: WriteHalf<DuplexStream>,
    /// What stands for the TLS exporter value: random, and known to the two ends only.
    pub exporter: [u8; 32],
}

impl Relay {
    /// Starts a relay. When this returns it takes connections.
    ///
    /// # Errors
    /// `HOME_BUSY` if another process uses the folder or the database, `STORE_CORRUPT` for a damaged database or key,
    /// `VERSION` for a database of a newer relay, `DISK_FULL`, `PORT_IN_USE`, or `IO`.
    pub async fn start(config: RelayConfig) -> Result<RunningRelay, StartError> {
        let folder = config.data.as_deref().map(folder::Lock::take).transpose()?;
        let (store, opened): (Arc<dyn Store>, Opened) = match &config.store {
            StoreConfig::Memory => (Arc::new(MemoryStore::default()), Opened::Nothing),
            StoreConfig::Sqlite { path, max_bytes } => {
                let store = Arc::new(SqliteStore::open(path, *max_bytes).await?);
                (store.clone(), Opened::Sqlite(store))
            }
            #[cfg(feature = "postgres")]
            StoreConfig::Postgres { url } => {
                let store = Arc::new(PostgresStore::open(url.as_str()).await?);
                (store.clone(), Opened::Postgres(store))
            }
        };
        let started = Self::run(config, folder, store, opened.clone()).await;
        if started.is_err() {
            // So that a database is whole without its log when somebody looks at it next, and no other relay waits for this one.
            opened.close().await;
        }
        started
    }

    /// Starts a relay over a store of one's own; [`RelayConfig::store`] does not count.
    ///
    /// # Errors
    /// As for [`Relay::start`].
    pub async fn start_with_store(config: RelayConfig, store: Arc<dyn Store>) -> Result<RunningRelay, StartError> {
        let folder = config.data.as_deref().map(folder::Lock::take).transpose()?;
        Self::run(config, folder, store, Opened::Nothing).await
    }

    async fn run(
        config: RelayConfig,
        folder: Option<folder::Lock>,
        store: Arc<dyn Store>,
        opened: Opened,
    ) -> Result<RunningRelay, StartError> {
        let identity = match (&config.identity, &config.data) {
            (Some(identity), _) => identity.clone(),
            (None, Some(folder)) => Identity::load_or_create(folder)?,
            (None, None) => Identity::generate()?,
        };
        let stats = store.stats().await.map_err(|e| StartError::store("the store", &e))?;
        let metrics = Arc::new(Metrics::default());
        metrics.entries.set(stats.entries as i64);
        metrics.groups.set(stats.groups as i64);
        metrics.started_at.set((now_ms() / 1_000) as i64);

        let endpoint = match config.listen {
            Some(listen) => {
                Some(endpoint::bind(&identity, listen, &config.limits, config.discoverable.as_ref()).await?)
            }
            None => None,
        };
        #[cfg(feature = "http")]
        let bound = match config.http {
            Some(address) => Some(web::Bound::at(address, &config).await?),
            None => None,
        };
        #[cfg(not(feature = "http"))]
        if config.http.is_some() {
            return Err(StartError::new(Code::InvalidArgument, "this relay was built without the feature `http`"));
        }
        #[cfg(feature = "http")]
        let (awake, gone) = waking::start(&config, &identity)?.unzip();
        #[cfg(feature = "http")]
        let waker = awake.clone().map(|awake: Arc<Waker>| awake as Arc<dyn Wake>);
        #[cfg(not(feature = "http"))]
        let waker: Option<Arc<dyn Wake>> = None;
        let hub = Hub::start(Parts {
            store: store.clone(),
            observe: Arc::new(Observer::new(sync_rules::mls::Crypto::every())),
            metrics: metrics.clone(),
            access: config.access.clone(),
            limits: config.limits.clone(),
            quotas: config.quotas,
            forward: config.forward.clone(),
            waker: waker.clone(),
        });
        let contents = config.content.clone();
        let contents = contents.map(|content| Arc::new(Contents::new(content, store.clone(), metrics.clone())));
        let shared = Arc::new(Shared {
            hub,
            pairings: Pairings::new(config.limits.pairings, store.clone()),
            store,
            metrics,
            access: config.access.clone(),
            admission: Admission::new(config.limits.clone()),
            members: Arc::default(),
            limits: config.limits.clone(),
            verifier: Verifier::new(),
            waker,
            contents,
            stopping: watch::Sender::new(false),
            connections: AtomicU64::new(1),
        });
        let public_host = config.public_url.as_ref().map(|url| url.host().to_owned());
        let sockets = endpoint.as_ref().map(Endpoint::bound_sockets).unwrap_or_default();
        let hosts: Vec<String> = sockets.iter().map(|socket| reachable(*socket, public_host.as_deref())).collect();
        let public = *identity.secret_key().public().as_bytes();
        #[cfg(feature = "http")]
        let shown = shown::shown(
            &shared,
            opened.clone(),
            &public,
            &hosts,
            bound.as_ref().map(|bound| bound.url.as_str()),
            awake.clone(),
            &config,
        );
        #[cfg(feature = "http")]
        let web = match bound {
            Some(bound) => Some(web::Web::start(bound, shown.clone(), &identity, &config, &shared).await?),
            None => None,
        };
        #[cfg(feature = "http")]
        let admin =
            config.data.as_deref().filter(|_| config.host.orders).and_then(|folder| {
                admin::Socket::open(folder, shared.hub.clone(), shared.contents.clone(), shown.clone())
            });
        let mut ends: Vec<(Endpoint, FromWhere)> = Vec::new();
        ends.extend(endpoint.clone().map(|endpoint| (endpoint, Arc::new(at_a_socket) as FromWhere)));
        #[cfg(feature = "http")]
        ends.extend(web.as_ref().map(|web| {
            let websockets = web.websockets();
            let ip = move |from: &IncomingAddr| by_websocket(from, &websockets);
            (web.endpoint.clone(), Arc::new(ip) as FromWhere)
        }));
        let accept = |(endpoint, from_where)| tokio::spawn(accept(shared.clone(), endpoint, from_where));
        let accepting = ends.into_iter().map(accept).collect();
        let mut background = JoinSet::new();
        rounds::start(&mut background, &shared, config.quotas.max_lag_ms);
        #[cfg(feature = "http")]
        if let Some(gone) = gone {
            background.spawn(waking::forget(shared.hub.clone(), gone));
        }
        let pairings = shared.pairings.clone();
        Ok(RunningRelay {
            accepting,
            shared,
            identity: public,
            hosts,
            endpoint,
            #[cfg(feature = "http")]
            web,
            pairings: tokio::spawn(async move { pairings.run().await }),
            background,
            #[cfg(feature = "http")]
            admin,
            #[cfg(feature = "http")]
            waker: awake,
            local: Mutex::new(JoinSet::new()),
            opened,
            _folder: folder,
        })
    }
}

impl RunningRelay {
    /// The address that devices pin: `ksync://ENDPOINT@host:port`. Without a socket for QUIC it is that of HTTP, and without
    /// either it has the endpoint alone.
    pub fn address(&self) -> String {
        let url = self.http_url();
        address::pinned(&self.identity, &self.hosts, Some(url.as_str()).filter(|url| !url.is_empty()))
    }

    /// The public half of the relay's key.
    pub fn endpoint_id(&self) -> [u8; 32] {
        self.identity
    }

    /// Where it listens for QUIC.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().and_then(|endpoint| endpoint.bound_sockets().first().copied())
    }

    /// Where it answers HTTP.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        #[cfg(feature = "http")]
        return self.web.as_ref().map(|web| web.address);
        #[cfg(not(feature = "http"))]
        None
    }

    /// Where `/metrics` answers, if not among the rest of HTTP.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        #[cfg(feature = "http")]
        return self.web.as_ref().and_then(|web| web.metrics);
        #[cfg(not(feature = "http"))]
        None
    }

    /// How HTTP is reached from outside; empty without HTTP.
    pub fn http_url(&self) -> String {
        #[cfg(feature = "http")]
        return self.web.as_ref().map(|web| web.url.clone()).unwrap_or_default();
        #[cfg(not(feature = "http"))]
        String::new()
    }

    /// The relay's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Connects within the process. Each connection is one stream.
    ///
    /// # Panics
    /// If the system gives no randomness.
    pub fn connect_local(&self) -> LocalConnection {
        let mut exporter = [0; 32];
        getrandom::fill(&mut exporter).expect("without randomness nothing here is safe");
        let (near, far) = tokio::io::duplex(LOCAL_BUFFER);
        let (reader, writer) = tokio::io::split(far);
        let shared = self.shared.clone();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        while local.try_join_next().is_some() {}
        local.spawn(async move { stream::serve(&shared, reader, writer, exporter, Origin::Process).await });
        let (reader, writer) = tokio::io::split(near);
        LocalConnection { reader, writer, exporter }
    }

    /// Serves one stream of any transport until it ends. `exporter` has to be a secret of this connection's two ends, as
    /// the TLS exporter value is; `peer` is whom the other end is known as, for its limits.
    pub async fn serve_stream<R, W>(&self, reader: R, writer: W, exporter: [u8; 32], peer: [u8; 32])
    where
        R: AsyncRead + Unpin + Send + Sync + 'static,
        W: AsyncWrite + Unpin + Send + Sync + 'static,
    {
        admitted(&self.shared, reader, writer, exporter, peer, None).await;
    }

    /// Stops: takes no more connections, answers what was asked, tells the connected when to come back, and closes the
    /// store. Takes a few seconds at most.
    pub async fn shutdown(mut self) {
        self.shared.stopping.send_replace(true);
        #[cfg(feature = "http")]
        drop(self.admin.take());
        self.background.shutdown().await;
        let drained = async {
            let mut local = std::mem::take(&mut *self.local.lock().unwrap_or_else(PoisonError::into_inner));
            while local.join_next().await.is_some() {}
            for accepting in &mut self.accepting {
                let _ = accepting.await;
            }
        };
        if timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.shared.hub.stop().await;
        if let Some(contents) = &self.shared.contents {
            contents.close().await;
        }
        #[cfg(feature = "http")]
        if let Some(waker) = &self.waker {
            waker.stop().await;
        }
        let closed = async {
            if let Some(endpoint) = &self.endpoint {
                endpoint.close().await;
            }
            #[cfg(feature = "http")]
            if let Some(web) = &self.web {
                web.endpoint.close().await;
            }
        };
        if timeout(CLOSE, closed).await.is_err() {
            tracing::debug!("some connections are not over in time");
        }
        #[cfg(feature = "http")]
        if let Some(web) = self.web.take() {
            web.stop().await;
        }
        self.opened.close().await;
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.pairings.abort();
        self.accepting.iter().for_each(JoinHandle::abort);
        if let Some(contents) = &self.shared.contents {
            contents.stop();
        }
        #[cfg(feature = "http")]
        if let Some(web) = &self.web {
            web.abort();
        }
    }
}

/// A time to come back, so that not all come at once.
fn jitter_ms(spread: Duration) -> u32 {
    let mut random = [0; 4];
    // Without randomness all come at once, which they survive.
    let _ = getrandom::fill(&mut random);
    let spread = u32::try_from(spread.as_millis()).unwrap_or(u32::MAX).max(1);
    500_u32.saturating_add(u32::from_ne_bytes(random) % spread)
}

/// Until the relay stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the relay is gone.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Which IP address somebody comes from.
type FromWhere = Arc<dyn Fn(&IncomingAddr) -> Option<IpAddr> + Send + Sync>;

fn at_a_socket(from: &IncomingAddr) -> Option<IpAddr> {
    match from {
        IncomingAddr::Ip(address) => Some(address.ip()),
        _ => None,
    }
}

#[cfg(feature = "http")]
fn by_websocket(from: &IncomingAddr, websockets: &WebSockets) -> Option<IpAddr> {
    match from {
        IncomingAddr::Relay { endpoint_id, .. } => websockets.ip_of(endpoint_id),
        _ => None,
    }
}

async fn accept(shared: Arc<Shared>, endpoint: Endpoint, from_where: FromWhere) {
    let mut stopping = shared.stopping.subscribe();
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(e) = ended && e.is_panic() {
                    tracing::error!("a connection's task panicked");
                }
                continue;
            }
            () = stopped(&mut stopping) => break,
        };
        let Some(incoming) = incoming else { break };
        // Under pressure an address has to show that it is its sender's before it costs a handshake.
        if shared.admission.is_busy() && !incoming.remote_addr_validated() {
            let _ = incoming.retry();
            continue;
        }
        let ip = from_where(&incoming.remote_addr());
        // It tells connections apart in a log, and names nobody.
        let span = tracing::info_span!("connection", id = shared.connections.fetch_add(1, Ordering::Relaxed));
        connections.spawn(connection(shared.clone(), incoming, ip, turned_away.clone()).instrument(span));
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(shared: Arc<Shared>, incoming: Incoming, ip: Option<IpAddr>, turned_away: Arc<Semaphore>) {
    let place = shared.admission.connect(ip);
    // Whoever comes too many is told so over a finished handshake, but not more at once than that costs nothing.
    let _permit = match (&place, turned_away.try_acquire()) {
        (Some(_), _) => None,
        (None, Ok(permit)) => Some(permit),
        (None, Err(_)) => return incoming.refuse(),
    };
    let Ok(Ok(connection)) = timeout(shared.limits.first_frame, incoming.into_future()).await else { return };
    let peer: Peer = *connection.remote_id().as_bytes();
    let Some(mut place) = place else { return turn_away(&shared, &connection).await };
    if !place.identify(peer) {
        return turn_away(&shared, &connection).await;
    }
    let mut exporter = [0; 32];
    if connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").is_err() {
        return connection.close(VarInt::from_u32(Code::Internal as u32), b"no exporter value");
    }
    shared.metrics.connections.add(1);
    tracing::debug!("connected");
    streams(&shared, &connection, exporter, peer, ip).await;
    shared.metrics.connections.add(-1);
    tracing::debug!("disconnected");
}

async fn streams(shared: &Arc<Shared>, connection: &Connection, exporter: [u8; 32], peer: Peer, ip: Option<IpAddr>) {
    let mut stopping = shared.stopping.subscribe();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => {
                let Ok((writer, reader)) = accepted else { break };
                let shared = shared.clone();
                let served = async move { admitted(&shared, reader, writer, exporter, peer, ip).await };
                streams.spawn(served.in_current_span());
            }
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
            () = stopped(&mut stopping) => {
                while streams.join_next().await.is_some() {}
                // The last frames have to arrive before the connection goes; the device closes it when it has them.
                let _ = timeout(Duration::from_millis(500), connection.closed()).await;
                break;
            }
        }
    }
    connection.close(VarInt::from_u32(0), b"");
}

/// Serves a stream if its endpoint has not opened too many of late.
async fn admitted<R, W>(shared: &Shared, reader: R, mut writer: W, exporter: [u8; 32], peer: Peer, ip: Option<IpAddr>)
where
    R: AsyncRead + Unpin + Send + Sync + 'static,
    W: AsyncWrite + Unpin + Send + Sync + 'static,
{
    match shared.admission.open_stream(&peer, Instant::now()) {
        Ok(()) => stream::serve(shared, reader, writer, exporter, Origin::Endpoint { peer, ip }).await,
        Err(wait) => {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let refusal = Refusal::new(About::Session, Code::RateLimited, "too many streams in too short a time")
                .retry_after(wait);
            shared.metrics.refused(refusal.code);
            let bytes = frame::write(&refusal.frame());
            if framing::write(&mut writer, &bytes, shared.limits.write_timeout).await.is_ok() {
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
            }
        }
    }
}

/// Closes a connection for which there is no room. The close's code is [`Code::TooManyConnections`], and its reason is the
/// encoded [`FromRelay::Refused`] frame that says when to try again.
async fn turn_away(shared: &Shared, connection: &Connection) {
    let refusal =
        Refusal::new(About::Session, Code::TooManyConnections, "too many connections").retry_after(CONNECT_AGAIN_MS);
    shared.metrics.refused(refusal.code);
    tracing::debug!(code = %refusal.code, "turned away");
    let frame: FromRelay = refusal.frame();
    connection.close(VarInt::from_u32(Code::TooManyConnections as u32), &sync_types::encode(&frame));
    let _ = timeout(Duration::from_millis(500), connection.closed()).await;
}
