//! The HTTP listener: a bound number of connections, each for a bound time.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use crate::StartError;

/// How many connections are open at once. Whoever comes later waits.
const CONNECTIONS: usize = 256;
/// How long one connection lives, so that those who send nothing do not keep others out.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a request's head may take, and how long a connection may wait for its next request.
const HEAD: Duration = Duration::from_secs(10);
/// When to accept again after an error.
const AGAIN: Duration = Duration::from_millis(100);

/// Whom a request comes from: in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Listens; port 0 takes a free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |e: io::Error| StartError::listen("HTTP", address, &e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Answers until `stop` is done, and what was asked until then.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send + 'static) {
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
        connections.spawn(connection(accepted, router.clone(), stopping.subscribe()));
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
            Ok((stream, address)) => return Accepted { stream, peer: Peer(address), place },
            // Connections that ended before they were taken go by; without file descriptors it is tried again and again.
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be taken");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(accepted: Accepted, router: Router, mut stopping: watch::Receiver<bool>) {
    let Accepted { stream, peer, place: _place } = accepted;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
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
}
