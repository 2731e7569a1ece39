//! The HTTP listener: a bound number of connections, each for a bound time.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_relay::server::streams::MaybeTlsStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use super::tls::Secured;
use super::websocket::WebSockets;
use crate::StartError;

/// How many connections are open at once. Whoever comes later waits.
const CONNECTIONS: usize = 1_024;
/// How long one connection lives, so that those who send nothing do not keep others out.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a request's head may take, and how long a connection may wait for its next request.
const HEAD: Duration = Duration::from_secs(10);
/// When to accept again after an error.
const AGAIN: Duration = Duration::from_millis(100);

/// Whom a request comes from: in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Whether that is what a proxy says.
    pub(crate) by_proxy: bool,
}

/// Listens; port 0 takes a free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |e: io::Error| StartError::listen("HTTP", address, &e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// What connections are served with.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) router: Router,
    /// TLS, where the listener has it itself.
    pub(crate) tls: Option<Secured>,
    /// Devices that come by WebSockets.
    pub(crate) websockets: Option<WebSockets>,
    /// How long a device may take to say who it is on its WebSocket.
    pub(crate) first_frame: Duration,
    /// The header in which a proxy says whom a request comes from.
    pub(crate) proxy_header: Option<HeaderName>,
}

/// Answers until `stop` is done, and what was asked until then. WebSockets outlive it.
pub(crate) async fn serve(listener: TcpListener, serving: Serving, stop: impl Future<Output = ()> + Send + 'static) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut stop => break,
        };
        connections.spawn(connection(accepted, serving.clone(), stopping.subscribe()));
    }
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// A connection that was taken, and its place among [`CONNECTIONS`].
struct Accepted {
    stream: TcpStream,
    peer: Peer,
    place: OwnedSemaphorePermit,
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Accepted {
    let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                return Accepted { stream, peer: Peer { ip: address.ip(), by_proxy: false }, place };
            }
            // A connection that ended before it was taken, or no file descriptor is left.
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be taken");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(accepted: Accepted, serving: Serving, mut stopping: watch::Receiver<bool>) {
    let Accepted { stream, peer, place: _place } = accepted;
    // A WebSocket leaves this task when it is opened, before its device has said who it is.
    let (stream, cut) = match cuttable(stream) {
        Ok(both) => both,
        Err(error) => return tracing::warn!(%error, "an HTTP connection could not be prepared"),
    };
    let stream = match &serving.tls {
        None => MaybeTlsStream::Plain(stream),
        Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "an HTTP connection's TLS did not come about"),
        },
    };
    let (opened, established) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let has_come = established.clone();
    let mut has_come = pin!(has_come.notified());
    has_come.as_mut().enable();
    let service = service_fn(|mut request: Request<Incoming>| {
        let peer = behind_proxy(request.headers(), serving.proxy_header.as_ref()).unwrap_or(peer);
        let (serving, opened, established) = (serving.clone(), opened.clone(), established.clone());
        async move {
            if let Some(websockets) = serving.websockets.filter(|_| WebSockets::takes(&request)) {
                opened.store(true, Ordering::Relaxed);
                return Ok(websockets.open(request, peer, established).await);
            }
            request.extensions_mut().insert(peer);
            serving.router.clone().call(request.map(Body::new)).await
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut served = pin!(served);
    let all = async {
        tokio::select! {
            ended = &mut served => return ended,
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        served.as_mut().graceful_shutdown();
        served.await
    };
    if let Ok(Err(error)) = timeout(LIFETIME, all).await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
    if opened.load(Ordering::Relaxed) && timeout(serving.first_frame, has_come).await.is_err() {
        let _ = cut.shutdown(Shutdown::Both);
    }
}

/// A connection, and the same once more, so that it can be ended by whoever does not hold it.
fn cuttable(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let cut = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, cut))
}

/// Whom a request comes from by the word of the proxy in front: the last address of the header, which that one wrote itself.
fn behind_proxy(headers: &HeaderMap, header: Option<&HeaderName>) -> Option<Peer> {
    let last = headers.get_all(header?).iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok().map(|ip| Peer { ip, by_proxy: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_the_nearest_proxy_wrote_counts() {
        let name = HeaderName::from_static("x-forwarded-for");
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), value.parse().unwrap());
            }
            behind_proxy(&headers, Some(&name)).map(|peer| peer.ip.to_string())
        };
        assert_eq!(of(&["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        // Whoever asks may have begun the list.
        assert_eq!(of(&["127.0.0.1, 203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(&["127.0.0.1", "2001:db8::7"]).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(&["unknown"]), None);
        assert_eq!(of(&[]), None);
        let headers = HeaderMap::from_iter([(name, "203.0.113.7".parse().unwrap())]);
        assert!(behind_proxy(&headers, None).is_none(), "nobody said that there is a proxy");
    }
}
