//! What the host sees over HTTP: whether the relay lives and is ready, counters, and how devices find it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::StartError;
use crate::metrics::Metrics;

/// How many connections are open at once. Whoever comes later waits.
const CONNECTIONS: usize = 256;
/// How long one connection lives, so that those who send nothing do not keep others out.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long the store may take to answer before the relay counts as not ready.
const PROBE: Duration = Duration::from_secs(2);

/// Whether the store answers: asked for each request of `/ready`.
pub(crate) type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ready: Probe,
    pub(crate) store_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The document at `/.well-known/0ksync`.
    pub(crate) well_known: Arc<serde_json::Value>,
}

/// Listens; port 0 takes a free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |e: io::Error| StartError::listen("HTTP", address, &e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Answers until `stop` is done.
pub(crate) async fn serve(listener: TcpListener, shown: Shown, stop: impl Future<Output = ()> + Send + 'static) {
    let router = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/0ksync", get(well_known))
        .with_state(shown);
    let listener = Bounded { listener, places: Arc::new(Semaphore::new(CONNECTIONS)) };
    if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::warn!(error = %e, "HTTP has stopped");
    }
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    match timeout(PROBE, (shown.ready)()).await {
        Ok(true) => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    shown.metrics.store_bytes.set((shown.store_bytes)() as i64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.text())
}

async fn well_known(State(shown): State<Shown>) -> impl IntoResponse {
    axum::Json((*shown.well_known).clone())
}

/// A listener with a bound number of connections that each live for a bound time.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(sleep_until(Instant::now() + LIFETIME));
        (Timed { stream, end, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose reading fails when its time is over.
struct Timed {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
