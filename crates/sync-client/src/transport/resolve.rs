//! From a relay's address to its key and sockets.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Deserialize;
use sync_types::link::{Host, LINK_HOSTS, RelayHint, RelayKind};
use sync_types::{Code, RelayAddress};

use super::quic::crypto_provider;
use crate::SyncError;

/// How long the web may take to say where a relay is.
const WEB: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const ANSWER: usize = 64 * 1024;

/// How many places of one relay are tried, each for a moment before the next.
const PLACES: usize = 16;

/// A relay's key and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Its endpoint key.
    pub(crate) endpoint: [u8; 32],
    /// Where it listens, as `host:port`.
    pub(crate) hosts: Vec<String>,
    /// The same as sockets.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where it takes WebSockets, as the origin of a URL, if it does.
    pub(crate) websocket: Option<String>,
    /// Whether its key may find it elsewhere.
    pub(crate) by_key: bool,
}

impl Resolved {
    /// The relay as a pairing link names it.
    pub(crate) fn hint(&self, address: &RelayAddress) -> RelayHint {
        let kind = match address {
            RelayAddress::Web { origin, .. } => RelayKind::Web(origin.clone()),
            RelayAddress::Hosted { .. } | RelayAddress::Embedded => RelayKind::Embedded,
            RelayAddress::Pinned { .. } => RelayKind::Pinned,
        };
        let hosts = self.hosts.iter().filter_map(|h| h.to_ascii_lowercase().parse::<Host>().ok()).take(LINK_HOSTS);
        RelayHint { endpoint: self.endpoint, hosts: hosts.collect(), kind }
    }
}

/// What a relay says at `/.well-known/0ksync`, as far as it matters here.
#[derive(Deserialize)]
struct WellKnown {
    endpoint: String,
    addresses: Vec<String>,
    /// Relays before there were any do not say.
    #[serde(default)]
    websocket: bool,
}

/// Resolves addresses.
#[derive(Default)]
pub(crate) struct Resolver {
    client: std::sync::OnceLock<reqwest::Client>,
}

impl Resolver {
    pub(crate) async fn resolve(&self, address: &RelayAddress) -> Result<Resolved, SyncError> {
        match address {
            RelayAddress::Pinned { endpoint, hosts, .. } => look_up(*endpoint, hosts.clone(), None).await,
            // It is where its member is, and that may be nowhere that is known.
            RelayAddress::Hosted { endpoint, hosts, .. } => match look_up(*endpoint, hosts.clone(), None).await {
                Ok(found) => Ok(Resolved { by_key: true, ..found }),
                Err(_) => {
                    let hosts = hosts.clone();
                    Ok(Resolved { endpoint: *endpoint, hosts, addresses: vec![], websocket: None, by_key: true })
                }
            },
            RelayAddress::Web { origin, .. } => {
                let answer = self.ask(origin).await?;
                let key = HEXLOWER.decode(answer.endpoint.as_bytes()).ok().and_then(|b| b.try_into().ok());
                let key = key.ok_or_else(|| no_relay(origin, "its answer holds no endpoint key"))?;
                let web_host = web_host(origin);
                // A relay that listens everywhere cannot know its own name: the one that was asked stands in.
                let hosts = answer.addresses.iter().take(16).map(|a| in_place(a, web_host)).collect();
                look_up(key, hosts, answer.websocket.then(|| origin.clone())).await
            }
            RelayAddress::Embedded => {
                Err(SyncError::new(Code::AddressInvalid, "an embedded relay has no address before it runs"))
            }
        }
    }

    async fn ask(&self, origin: &str) -> Result<WellKnown, SyncError> {
        let client = self.client(origin)?;
        let failed = |e: reqwest::Error| {
            SyncError::new(Code::RelayUnreachable, format!("{origin} does not answer: {}", e.without_url()))
        };
        let mut answer = client.get(format!("{origin}/.well-known/0ksync")).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(no_relay(origin, &format!("it answers {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER {
                return Err(no_relay(origin, "its answer is too long"));
            }
        }
        serde_json::from_slice(&body).map_err(|_| no_relay(origin, "its answer is not a relay's"))
    }

    fn client(&self, origin: &str) -> Result<reqwest::Client, SyncError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let failed = |e: &dyn std::fmt::Display| no_relay(origin, &format!("TLS cannot be set up: {e}"));
        let tls = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_platform_verifier()
            .map_err(|e| failed(&e))?
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(WEB)
            // The address that a person checked is the address that is asked.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| failed(&e))?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

fn no_relay(origin: &str, reason: &str) -> SyncError {
    SyncError::new(Code::RelayUnreachable, format!("{origin} is no relay: {reason}"))
}

fn web_host(origin: &str) -> &str {
    let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => rest,
    }
}

fn in_place(address: &str, web_host: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(socket) if socket.ip().is_unspecified() => format!("{web_host}:{}", socket.port()),
        _ => address.to_owned(),
    }
}

/// A relay that takes WebSockets need not be found in any other way.
async fn look_up(endpoint: [u8; 32], hosts: Vec<String>, websocket: Option<String>) -> Result<Resolved, SyncError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut failure = None;
    for host in &hosts {
        let found = match host.parse::<SocketAddr>() {
            Ok(socket) => vec![socket],
            Err(_) => match tokio::net::lookup_host(host).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    failure = Some(format!("{host} is not found: {error}"));
                    continue;
                }
            },
        };
        for socket in found {
            if addresses.len() < PLACES && !addresses.contains(&socket) {
                addresses.push(socket);
            }
        }
    }
    if addresses.is_empty() && websocket.is_none() {
        let message = failure.unwrap_or_else(|| "the relay's address names no host".into());
        return Err(SyncError::new(Code::RelayUnreachable, message));
    }
    Ok(Resolved { endpoint, hosts, addresses, websocket, by_key: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn answering(status: &'static str, body: String) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        });
        origin
    }

    #[tokio::test]
    async fn the_web_says_where_a_relay_is() {
        let body =
            format!(r#"{{"endpoint":"{}","addresses":["192.0.2.1:9","0.0.0.0:7"],"limits":{{}}}}"#, "ab".repeat(32));
        let origin = answering("200 OK", body).await;
        let address: RelayAddress = origin.parse().unwrap();
        let found = Resolver::default().resolve(&address).await.unwrap();
        assert_eq!(found.endpoint, [0xab; 32]);
        assert_eq!(found.addresses, ["192.0.2.1:9".parse().unwrap(), "127.0.0.1:7".parse().unwrap()]);
        assert_eq!(found.hint(&address).kind, RelayKind::Web(origin));
    }

    #[tokio::test]
    async fn what_is_no_relay_is_unreachable_and_says_why() {
        for (status, body) in
            [("404 Not Found", ""), ("200 OK", "hello"), ("200 OK", r#"{"endpoint":"x","addresses":[]}"#)]
        {
            let origin = answering(status, body.into()).await;
            let error = Resolver::default().resolve(&origin.parse().unwrap()).await.unwrap_err();
            assert_eq!(error.code, Code::RelayUnreachable);
            assert!(error.message.contains("no relay"), "{error}");
        }
        let error = Resolver::default().resolve(&"http://127.0.0.1:1".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code, Code::RelayUnreachable);
    }

    #[tokio::test]
    async fn pinned_addresses_need_no_network() {
        let address: RelayAddress = format!("ksync://{}@127.0.0.1:9,[::1]:8", "01".repeat(32)).parse().unwrap();
        let found = Resolver::default().resolve(&address).await.unwrap();
        assert_eq!((found.endpoint, found.addresses.len()), ([1; 32], 2));
        assert_eq!(found.hint(&address).address(), address);
        assert!(Resolver::default().resolve(&RelayAddress::Embedded).await.is_err());
        let hosted: RelayAddress = format!("embedded://{}", "01".repeat(32)).parse().unwrap();
        let found = Resolver::default().resolve(&hosted).await.unwrap();
        assert!(found.by_key && found.addresses.is_empty());
        assert_eq!(found.hint(&hosted).address(), hosted);
    }
}
