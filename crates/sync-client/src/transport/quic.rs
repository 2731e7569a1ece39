//! Relays over QUIC: by UDP, or where that does not reach them, through a WebSocket to them. With a relay set, no packet goes anywhere
//! else: no discovery, no public relays, no port mapping. Mailboxes that members host are looked for by their keys (`discovery.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use iroh::dns::DnsResolver;
use iroh::endpoint::{
    Builder, NetReportConfig, PortmapperConfig, QuicTransportConfig, QuicTransportConfigBuilder, RelayMode, presets,
};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayConfig, RelayMap, RelayUrl, SecretKey};
use noq_proto::congestion::Bbr3Config;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use sync_types::{ALPN, Code};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::discovery::{Discovery, system_roots};
use super::names::SystemNames;
use super::{Pending, Resolved, Road, Transport};
use crate::{RelayPath, SyncError};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long UDP is waited for before the same relay is tried over HTTPS, or looked for by its key, as well.
const HEAD_START: Duration = Duration::from_millis(1_500);
/// How long one place of a relay is waited for before the next is tried as well (RFC 8305 §5, Connection Attempt Delay).
const NEXT_PLACE: Duration = Duration::from_millis(250);
/// How many endpoints are kept that no connection uses.
const IDLE_ENDPOINTS: usize = 4;
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

/// A way to a relay. Each has an endpoint of its own under the same key: iroh keeps every place of a peer that it has heard of and
/// sends first packets to all of them, and where two relays of one key answer, a handshake between the three may come to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// UDP to one place.
    Udp(SocketAddr),
    /// A WebSocket that carries the same packets. The endpoint has no socket of its own, so nothing goes past it.
    Https,
    /// Wherever its key is found: for mailboxes that members host.
    Found,
}

/// The installation's QUIC endpoints: made when they are first needed, and made anew under the same key when they die.
pub(crate) struct Quic {
    key: SecretKey,
    discovery: Discovery,
    slots: std::sync::Mutex<BTreeMap<Way, Arc<Mutex<Slot>>>>,
    /// What was found out about relays, by their keys.
    known: std::sync::Mutex<Known>,
}

/// What the last connections have shown.
#[derive(Default)]
struct Known {
    /// Relays that were reached over HTTPS, as UDP did not.
    without_udp: BTreeSet<[u8; 32]>,
    /// Where each relay with several places answered.
    places: BTreeMap<[u8; 32], SocketAddr>,
}

#[derive(Default)]
struct Slot {
    endpoint: Option<Endpoint>,
    failures: u32,
    /// Held by each connection of the endpoint.
    used: Arc<()>,
}

impl Slot {
    async fn close(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            // A peer that does not answer is not waited for: it finds out by itself.
            let _ = timeout(CLOSE, endpoint.close()).await;
        }
    }
}

pub(super) fn unreachable(error: impl std::fmt::Display) -> SyncError {
    SyncError::new(Code::RelayUnreachable, format!("the relay does not answer: {error}"))
}

/// How long a connection lives on which nothing comes: as that of a relay, and of another device.
pub(super) fn lasting() -> Result<QuicTransportConfigBuilder, SyncError> {
    let idle = IDLE.try_into().map_err(|_| SyncError::new(Code::Internal, "the idle time is out of range"))?;
    Ok(QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(KEEP_ALIVE)
        .congestion_controller_factory(Arc::new(Bbr3Config::default())))
}

/// An endpoint that has no socket yet, and whose packets go nowhere of themselves.
pub(super) fn bare(key: &SecretKey, transport: &QuicTransportConfig) -> Builder {
    Endpoint::builder(presets::Empty)
        .crypto_provider(crypto_provider())
        .secret_key(key.clone())
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .transport_config(transport.clone())
}

/// Binds it to all addresses of this host.
pub(super) async fn bind_everywhere(builder: impl Fn() -> Builder) -> Result<Endpoint, SyncError> {
    let at = |builder: Builder, ip: IpAddr| builder.bind_addr(SocketAddr::new(ip, 0)).map_err(no_socket);
    let v4 = || at(builder(), Ipv4Addr::UNSPECIFIED.into());
    // A host without IPv6 has no such socket.
    match at(v4()?, Ipv6Addr::UNSPECIFIED.into())?.bind().await {
        Ok(endpoint) => Ok(endpoint),
        Err(_) => v4()?.bind().await.map_err(no_socket),
    }
}

fn no_socket(error: impl std::fmt::Display) -> SyncError {
    SyncError::new(Code::Io, format!("no socket for the way to others: {error}"))
}

impl Quic {
    pub(crate) fn new(key: SecretKey, discovery: Discovery) -> Self {
        Self { key, discovery, slots: std::sync::Mutex::default(), known: std::sync::Mutex::default() }
    }

    pub(super) fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    async fn bind(&self, way: Way) -> Result<Endpoint, SyncError> {
        let transport = lasting()?.build();
        let builder = || bare(&self.key, &transport);
        let builder = match way {
            Way::Udp(place) => {
                let any: IpAddr = match place.ip() {
                    IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                builder().bind_addr(SocketAddr::new(any, 0)).map_err(no_socket)?
            }
            Way::Https => builder()
                .relay_mode(RelayMode::Custom(RelayMap::empty()))
                .dns_resolver(DnsResolver::custom(SystemNames))
                .ca_tls_config(system_roots()),
            Way::Found => return bind_everywhere(|| self.discovery.looking(builder())).await,
        };
        builder.bind().await.map_err(no_socket)
    }

    /// The endpoint, made anew if it is dead or suspected to be, and what says that it is used.
    async fn endpoint(&self, way: Way) -> Result<(Endpoint, Arc<()>), SyncError> {
        let slot = self.slot(way);
        let mut slot = slot.lock().await;
        let suspect = slot.failures >= SUSPECT;
        if let Some(endpoint) = slot.endpoint.take_if(|e| suspect || e.is_closed()) {
            tracing::info!("the endpoint is made anew");
            slot.failures = 0;
            endpoint.close().await;
        }
        if slot.endpoint.is_none() {
            slot.endpoint = Some(self.bind(way).await?);
        }
        let endpoint = slot.endpoint.clone().ok_or_else(|| SyncError::new(Code::Internal, "an endpoint is missing"))?;
        Ok((endpoint, slot.used.clone()))
    }

    fn slot(&self, way: Way) -> Arc<Mutex<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(way).or_default().clone()
    }

    /// Closes endpoints that no connection uses, but for a few: relays move, and names lead elsewhere.
    async fn sweep(&self) {
        let mut spare = Vec::new();
        {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // One that is being made or connected with is locked, or in somebody's hands.
            let idle = |slot: &Arc<Mutex<Slot>>| {
                Arc::strong_count(slot) == 1 && slot.try_lock().is_ok_and(|slot| Arc::strong_count(&slot.used) == 1)
            };
            let idle: Vec<Way> = slots.iter().filter(|(_, slot)| idle(slot)).map(|(way, _)| *way).collect();
            for way in idle.into_iter().skip(IDLE_ENDPOINTS) {
                spare.extend(slots.remove(&way));
            }
        }
        for slot in spare {
            slot.lock().await.close().await;
        }
    }

    async fn open(&self, relay: &Resolved, way: Way) -> Result<Road, SyncError> {
        let invalid = |what: &str| SyncError::new(Code::AddressInvalid, format!("the relay's address holds no {what}"));
        let id = PublicKey::from_bytes(&relay.endpoint).map_err(|_| invalid("valid key"))?;
        let (endpoint, used) = self.endpoint(way).await?;
        let address = match way {
            Way::Udp(place) => EndpointAddr::new(id).with_ip_addr(place),
            Way::Https => {
                let url: RelayUrl =
                    relay.websocket.as_deref().and_then(|url| url.parse().ok()).ok_or_else(|| invalid("valid URL"))?;
                endpoint.insert_relay(url.clone(), Arc::new(RelayConfig::new(url.clone(), None))).await;
                EndpointAddr::new(id).with_relay_url(url)
            }
            Way::Found => EndpointAddr::new(id),
        };
        let connection = endpoint.connect(address, ALPN).await.map_err(unreachable)?;
        let path = match way {
            Way::Udp(_) => RelayPath::Udp,
            Way::Https => RelayPath::Https,
            Way::Found => RelayPath::Found,
        };
        Road::quic(path, connection, used)
    }

    pub(crate) async fn close(&self) {
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(slots.into_values().map(|slot| async move { slot.lock().await.close().await })).await;
    }

    /// Connects one way, or gives up after [`CONNECT`].
    async fn by(&self, relay: &Resolved, way: Way) -> Result<Road, SyncError> {
        let opened = match timeout(CONNECT, self.open(relay, way)).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable("no answer within ten seconds")),
        };
        let slot = self.slot(way);
        let mut slot = slot.lock().await;
        // That a member is not up says nothing about the endpoint that looks for it.
        slot.failures = if opened.is_ok() || way == Way::Found { 0 } else { slot.failures + 1 };
        opened
    }

    /// By UDP, at whichever of the relay's places answers first: one after the other in the order of its address, each a little after the
    /// one before and beside it (RFC 8305). The one that answered last time goes first.
    async fn by_udp(&self, relay: &Resolved) -> Result<Road, SyncError> {
        let mut places = relay.addresses.clone();
        if let Some(last) = self.known().places.get(&relay.endpoint)
            && let Some(at) = places.iter().position(|place| place == last)
        {
            places[..=at].rotate_right(1);
        }
        let several = places.len() > 1;
        let mut places = places.into_iter();
        let mut tries = FuturesUnordered::new();
        let mut failed = unreachable("its address leads nowhere");
        loop {
            if let Some(place) = places.next() {
                tries.push(async move { (place, self.by(relay, Way::Udp(place)).await) });
            }
            let more = places.len() > 0;
            let answer = tokio::select! {
                answer = tries.next() => answer,
                () = sleep(NEXT_PLACE), if more => continue,
            };
            match answer {
                Some((place, Ok(road))) => {
                    if several {
                        self.known().places.insert(relay.endpoint, place);
                    }
                    return Ok(road);
                }
                Some((_, Err(error))) => failed = error,
                None => return Err(failed),
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By UDP and, if that takes long or failed before, the other way beside it: whichever is there first. UDP is tried every time, so
    /// that a device that comes back into an open network uses it again.
    async fn race(&self, relay: &Resolved, other: Way) -> Result<Road, SyncError> {
        let wait = if self.known().without_udp.contains(&relay.endpoint) { Duration::ZERO } else { HEAD_START };
        let (mut by_udp, mut by_other) = (pin!(self.by_udp(relay)), pin!(self.by(relay, other)));
        let udp_failed = match timeout(wait, &mut by_udp).await {
            Ok(Ok(road)) => return Ok(road),
            Ok(Err(_)) => true,
            Err(_) => false,
        };
        let opened = if udp_failed {
            by_other.await
        } else {
            tokio::select! {
                opened = &mut by_udp => match opened {
                    Ok(road) => Ok(road),
                    Err(_) => by_other.await,
                },
                opened = &mut by_other => match opened {
                    Ok(road) => Ok(road),
                    Err(_) => by_udp.await,
                },
            }
        };
        match &opened {
            Ok(road) if road.path != RelayPath::Udp => self.known().without_udp.insert(relay.endpoint),
            Ok(_) => self.known().without_udp.remove(&relay.endpoint),
            Err(_) => false,
        };
        opened
    }
}

impl Transport for Quic {
    fn connect<'a>(&'a self, relay: &'a Resolved) -> Pending<'a, Road> {
        Box::pin(async move {
            let other = match relay.websocket {
                Some(_) => Some(Way::Https),
                None => (relay.by_key && self.discovery.is_on()).then_some(Way::Found),
            };
            let opened = match (relay.addresses.is_empty(), other) {
                (true, Some(way)) => self.by(relay, way).await,
                (false, Some(way)) => self.race(relay, way).await,
                (_, None) => self.by_udp(relay).await,
            };
            self.sweep().await;
            opened
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay's QUIC with this key, at a place of its own on loopback: it answers whoever opens a stream.
    async fn answering(key: &SecretKey) -> (Endpoint, SocketAddr) {
        let endpoint = Endpoint::builder(presets::Empty)
            .crypto_provider(crypto_provider())
            .secret_key(key.clone())
            .relay_mode(RelayMode::Disabled)
            .alpns(vec![ALPN.to_vec()])
            .clear_address_lookup()
            .clear_ip_transports()
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .bind_addr("127.0.0.1:0")
            .unwrap()
            .bind()
            .await
            .unwrap();
        let place = endpoint.bound_sockets()[0];
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    // Who asks at two places at once takes the answer of one.
                    if let Ok(connection) = incoming.await {
                        connection.closed().await;
                    }
                });
            }
        });
        (endpoint, place)
    }

    fn relay(key: &SecretKey, addresses: &[SocketAddr]) -> Resolved {
        let addresses = addresses.to_vec();
        Resolved { endpoint: *key.public().as_bytes(), hosts: Vec::new(), addresses, websocket: None, by_key: false }
    }

    fn used_at(quic: &Quic, place: SocketAddr) -> bool {
        let slot = quic.slot(Way::Udp(place));
        slot.try_lock().is_ok_and(|slot| Arc::strong_count(&slot.used) > 1)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn relays_of_one_key_at_several_places_are_each_reached_again_and_again() {
        let key = SecretKey::from_bytes(&[7; 32]);
        let ((one, at_one), (two, at_two)) = (answering(&key).await, answering(&key).await);
        let quic = Quic::new(SecretKey::from_bytes(&[8; 32]), Discovery::Off);
        let both = relay(&key, &[at_one, at_two]);
        for _ in 0..4 {
            // Having been at either, it goes to both.
            for place in [at_one, at_two] {
                drop(quic.connect(&relay(&key, &[place])).await.unwrap());
                let road = quic.connect(&both).await.unwrap();
                drop(road);
            }
        }
        // And to the one that is left.
        let before = quic.connect(&both).await.unwrap();
        assert!(used_at(&quic, at_one) != used_at(&quic, at_two));
        let (gone, left) = if used_at(&quic, at_one) { (one, at_two) } else { (two, at_one) };
        gone.close().await;
        drop(before);
        let _road = quic.connect(&both).await.unwrap();
        assert!(used_at(&quic, left));
        quic.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn endpoints_that_nobody_uses_go_and_those_in_use_stay() {
        let key = SecretKey::from_bytes(&[7; 32]);
        let quic = Quic::new(SecretKey::from_bytes(&[8; 32]), Discovery::Off);
        let mut relays = Vec::new();
        for _ in 0..IDLE_ENDPOINTS + 3 {
            relays.push(answering(&key).await);
        }
        let used = quic.connect(&relay(&key, &[relays[0].1])).await.unwrap();
        for (_, place) in &relays {
            drop(quic.connect(&relay(&key, &[*place])).await.unwrap());
        }
        quic.sweep().await;
        let kept = quic.slots.lock().unwrap().len();
        assert_eq!(kept, IDLE_ENDPOINTS + 1);
        assert!(used_at(&quic, relays[0].1));
        drop(used);
        quic.close().await;
    }
}
