//! What the host sees over HTTP: whether the relay lives and is ready, counters, and how devices find it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time::timeout;

use crate::metrics::Metrics;

mod listener;
mod tls;
mod websocket;

pub(crate) use listener::{Serving, listen, serve};
pub(crate) use tls::{Renewal, Secured};
pub(crate) use websocket::{WebSockets, probed};

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

/// Everything that is answered.
pub(crate) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/0ksync", get(well_known))
        .with_state(shown)
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
