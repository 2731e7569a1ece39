//! Where a device may have the relay connect to.
//!
//! An endpoint is a URL of a stranger's choosing, so it could name what only the relay reaches: its own host, the
//! network behind it, a cloud's metadata service. A name is looked up once, every address that it gives is judged, and
//! the connection goes to one of exactly those. A second look-up, which could answer differently, does not take place.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::network::{Network, is_public};
use super::{Refusal, Target};

/// The longest endpoint, in characters.
const LONGEST: usize = 1024;
/// How many look-ups may be under way. Each holds a thread for as long as a stranger's name server takes.
const LOOKUPS: usize = 32;
/// How many addresses of one name are tried.
const ADDRESSES: usize = 8;

/// A look-up under way.
pub(crate) type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds a name's addresses.
pub(crate) trait Lookup: Send + Sync {
    /// All addresses of `host`; an error or none if there are none.
    fn lookup(&self, host: &str) -> Looking;
}

/// Asks the operating system; at most 32 names at a time.
#[derive(Debug)]
pub(crate) struct SystemLookup {
    places: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> Looking {
        let (host, places) = (host.to_owned(), self.places.clone());
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let look = move || {
                // The thread stays taken after whoever asked has given up, so the place does, too.
                let _place = place;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|socket| socket.ip()).collect())
            };
            tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
        })
    }
}

/// Judges endpoints and addresses.
#[derive(Clone)]
pub(super) struct Guard {
    allow: Arc<[Network]>,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    pub(super) fn new(allow: &[Network], lookup: Arc<dyn Lookup>) -> Self {
        Self { allow: allow.into(), lookup }
    }

    /// An endpoint that may be asked for, as far as that shows before its name is looked up.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for what is no endpoint, [`Refusal::Address`] for one that names a refused address.
    pub(super) fn check(&self, endpoint: &str) -> Result<Url, Refusal> {
        let is_plain = endpoint.len() <= LONGEST && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
        let url = is_plain.then(|| Url::parse(endpoint).ok()).flatten().ok_or(Refusal::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Malformed);
        }
        let is_http = match url.scheme() {
            "https" => false,
            // Whether its name leads to an allowed network shows when it is looked up.
            "http" if !self.allow.is_empty() => true,
            "http" => return Err(Refusal::Address),
            _ => return Err(Refusal::Malformed),
        };
        let host = url.host_str().ok_or(Refusal::Malformed)?;
        // A connector does not look up what is an address already. The parser has made one of every spelling of it.
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) if !self.passes(address, is_http) => Err(Refusal::Address),
            _ => Ok(url),
        }
    }

    /// What a client looks up names with: for `https`, or for `http`, which only an allowed network is trusted with.
    pub(super) fn resolver(&self, is_http: bool) -> Arc<Guarded> {
        Arc::new(Guarded { guard: self.clone(), is_http })
    }

    fn passes(&self, address: IpAddr, is_http: bool) -> bool {
        let is_allowed = self.allow.iter().any(|network| network.contains(address));
        is_allowed || (!is_http && is_public(address))
    }
}

/// Looks up names, and refuses one that has any refused address: half of a name's addresses being harmless says nothing
/// about which of them a connection would go to.
pub(super) struct Guarded {
    guard: Guard,
    is_http: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, is_http, looking) = (self.guard.clone(), self.is_http, self.guard.lookup.lookup(name.as_str()));
        Box::pin(async move {
            let found = looking.await?;
            if !found.iter().all(|address| guard.passes(*address, is_http)) {
                return Err(AddressRefused.into());
            }
            // Port 0 stands for the URL's.
            let sockets = found.into_iter().take(ADDRESSES).map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

/// A name leads where pushes may not go.
#[derive(Debug)]
pub(super) struct AddressRefused;

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to an address that pushes may not go to")
    }
}

impl std::error::Error for AddressRefused {}

/// The host that a target's pushes go to, spelled in one way. What has none counts as one host.
pub(super) fn host_of(target: &Target) -> Arc<str> {
    match target {
        Target::WebPush { endpoint, .. } => {
            let url = Url::parse(endpoint).ok();
            url.as_ref().and_then(Url::host_str).unwrap_or("?").trim_end_matches('.').into()
        }
        Target::Apns { sandbox: false, .. } => "api.push.apple.com".into(),
        Target::Apns { sandbox: true, .. } => "api.sandbox.push.apple.com".into(),
        Target::Fcm { .. } => "fcm.googleapis.com".into(),
    }
}
