//! What is answered over HTTP: to everybody whether the relay lives and is ready and how devices find it; to its host counters
//! and a page.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::store::Store;

mod guard;
mod listener;
mod login;
mod page;
mod tls;
mod websocket;

pub(crate) use guard::Guard;
pub(crate) use listener::{Peer, Serving, listen, serve};
pub(crate) use tls::{Renewal, Secured};
pub(crate) use websocket::{WebSockets, probed};

/// How long the store may take to answer before the relay counts as not ready.
const PROBE: Duration = Duration::from_secs(2);

/// Whether the store answers: asked for each request of `/ready`.
pub(crate) type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The text of `/metrics`.
pub(crate) type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ready: Probe,
    /// Sets the gauges that are looked at only when somebody asks.
    pub(crate) refresh: Arc<dyn Fn() + Send + Sync>,
    /// The document at `/.well-known/0ksync`.
    pub(crate) well_known: Arc<serde_json::Value>,
    pub(crate) store: Arc<dyn Store>,
    /// The groups that the page shows, as they were a while ago.
    pub(crate) largest: Arc<page::Largest>,
    /// What devices pin.
    pub(crate) address: Arc<str>,
    /// Who may make groups.
    pub(crate) access: &'static str,
    /// How large the store may grow.
    pub(crate) most_bytes: Option<u64>,
    pub(crate) guard: Guard,
}

impl Shown {
    /// What writes the text of `/metrics`.
    pub(crate) fn text(&self) -> Text {
        let (refresh, metrics) = (self.refresh.clone(), self.metrics.clone());
        Arc::new(move || {
            refresh();
            metrics.text()
        })
    }

    /// Whether the relay can take what devices push.
    pub(crate) async fn is_ready(&self) -> bool {
        timeout(PROBE, (self.ready)()).await.unwrap_or(false)
    }
}

/// Everything that is answered where devices ask too.
pub(crate) fn router(shown: Shown, with_metrics: bool) -> Router {
    let mut host = Router::new().route("/", get(page::status));
    if with_metrics {
        host = host.route("/metrics", get(metrics));
    }
    let host = host.route_layer(middleware::from_fn_with_state(shown.clone(), guard::host_only));
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/.well-known/0ksync", get(well_known))
        .route("/login", post(login::log_in))
        .route("/logout", post(login::log_out))
        .merge(host)
        .layer(middleware::from_fn_with_state(shown.metrics.clone(), count))
        .with_state(shown)
}

/// What is answered at an address of its own, to whoever reaches that.
pub(crate) fn metrics_router(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(shown.metrics.clone(), count))
        .with_state(shown)
}

async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = next.run(request).await;
    metrics.answered(&path, answer.status().as_u16());
    answer
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.is_ready().await {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.text()())
}

async fn well_known(State(shown): State<Shown>) -> impl IntoResponse {
    axum::Json((*shown.well_known).clone())
}
