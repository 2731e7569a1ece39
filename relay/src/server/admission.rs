//! Who may connect, and how often: counts for each address and endpoint, and a bucket of tries for each endpoint.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::ServerLimits;

/// How many endpoints' buckets are remembered. Full ones are forgotten first.
const BUCKETS: usize = 16_384;

/// Whom a connection comes from: 32 bytes of an endpoint's key, or of one's own choosing for a local connection.
pub(super) type Peer = [u8; 32];

/// Admits connections and streams within the limits.
#[derive(Debug)]
pub(super) struct Admission {
    limits: ServerLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    by_ip: HashMap<IpAddr, usize>,
    by_peer: HashMap<Peer, usize>,
    buckets: HashMap<Peer, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    ip: Option<IpAddr>,
    peer: Option<Peer>,
}

impl Admission {
    pub(super) fn new(limits: ServerLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Counters stay right if a holder of the lock panics: each change is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `ip`, before its handshake tells who it is.
    pub(super) fn connect(self: &Arc<Self>, ip: Option<IpAddr>) -> Option<Place> {
        let ip = ip.map(network);
        let mut state = self.state();
        let from_ip = ip.map_or(0, |ip| state.by_ip.get(&ip).copied().unwrap_or(0));
        if state.connections >= self.limits.connections || from_ip >= self.limits.connections_per_ip {
            return None;
        }
        state.connections += 1;
        if let Some(ip) = ip {
            *state.by_ip.entry(ip).or_default() += 1;
        }
        Some(Place { admission: self.clone(), ip, peer: None })
    }

    /// Whether so many connections are open that an address has to prove itself before it costs more.
    pub(super) fn is_busy(&self) -> bool {
        self.state().connections * 2 > self.limits.connections
    }

    /// Whether an endpoint has a connection that is counted.
    #[cfg(feature = "http")]
    pub(super) fn is_connected(&self, peer: &Peer) -> bool {
        self.state().by_peer.contains_key(peer)
    }

    /// Takes a try for a new stream; otherwise says how long to wait for the next.
    pub(super) fn open_stream(&self, peer: &Peer, now: Instant) -> Result<(), Duration> {
        let (rate, burst) = (f64::from(self.limits.opens_per_second.max(1)), f64::from(self.limits.opens_burst.max(1)));
        let mut state = self.state();
        if state.buckets.len() >= BUCKETS && !state.buckets.contains_key(peer) {
            let fill = |b: &Bucket| b.left + now.saturating_duration_since(b.at).as_secs_f64() * rate;
            state.buckets.retain(|_, bucket| fill(bucket) < burst);
            if state.buckets.len() >= BUCKETS {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = state.buckets.entry(*peer).or_insert(Bucket { left: burst, at: now });
        bucket.left = (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * rate).min(burst);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.left) / rate))
        }
    }
}

impl Place {
    /// Counts the connection for its endpoint; false if that has too many.
    pub(super) fn identify(&mut self, peer: Peer) -> bool {
        let mut state = self.admission.state();
        let count = state.by_peer.entry(peer).or_default();
        if *count >= self.admission.limits.connections_per_endpoint {
            return false;
        }
        *count += 1;
        drop(state);
        self.peer = Some(peer);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.connections -= 1;
        if let Some(ip) = &self.ip {
            release(&mut state.by_ip, ip);
        }
        if let Some(peer) = &self.peer {
            release(&mut state.by_peer, peer);
        }
    }
}

/// What counts as one address. Whoever has one IPv6 address has the 2⁶⁴ of its network.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

fn release<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ServerLimits {
        ServerLimits {
            connections: 3,
            connections_per_ip: 2,
            connections_per_endpoint: 1,
            opens_per_second: 10,
            opens_burst: 2,
            ..ServerLimits::default()
        }
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let admission = Admission::new(limits());
        let here = Some(IpAddr::from([10, 0, 0, 1]));
        let mut first = admission.connect(here).unwrap();
        let mut second = admission.connect(here).unwrap();
        assert!(admission.connect(here).is_none(), "a third from one address");
        assert!(first.identify([1; 32]));
        assert!(!second.identify([1; 32]), "a second of one endpoint");
        let _third = admission.connect(None).unwrap();
        assert!(admission.connect(None).is_none(), "a fourth in all");
        drop(first);
        assert!(second.identify([1; 32]));
        assert!(admission.connect(here).is_some());
        drop(second);
        assert!(admission.state().by_ip.is_empty() && admission.state().by_peer.is_empty());
    }

    #[test]
    fn all_addresses_of_one_network_count_as_one() {
        let admission = Admission::new(limits());
        let connect = |ip: &str| admission.connect(Some(ip.parse().unwrap()));
        let _places = [connect("2001:db8::1").unwrap(), connect("2001:db8::2:0:0:2").unwrap()];
        assert!(connect("2001:db8::3").is_none());
        let other = connect("2001:db8:0:1::1").unwrap();
        drop(other);
        let _one = connect("::ffff:10.0.0.1").unwrap();
        assert_eq!(admission.state().by_ip[&IpAddr::from([10, 0, 0, 1])], 1);
    }

    #[test]
    fn tries_run_out_and_come_back_with_time() {
        let admission = Admission::new(limits());
        let now = Instant::now();
        assert!(admission.open_stream(&[1; 32], now).is_ok());
        assert!(admission.open_stream(&[1; 32], now).is_ok());
        let wait = admission.open_stream(&[1; 32], now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(admission.open_stream(&[2; 32], now).is_ok(), "another endpoint is not held up");
        assert!(admission.open_stream(&[1; 32], now + wait).is_ok());
    }
}
