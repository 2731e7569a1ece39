//! The relay over HTTP: what its host asks, and devices that come by WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use iroh::{Endpoint, RelayUrl};
use sync_types::Code;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::address::reachable;
use super::{DRAIN, Shared, endpoint};
use crate::config::{RelayConfig, Tls};
use crate::http::{self, Renewal, Secured, Serving, Shown, WebSockets};
use crate::{Identity, StartError};

/// A listener that was bound and does not answer yet.
pub(super) struct Bound {
    listener: TcpListener,
    pub(super) address: SocketAddr,
    /// How the listener is reached from outside.
    pub(super) url: String,
    /// The one for metrics, if they have one of their own.
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    /// Listens; port 0 takes a free one.
    pub(super) async fn at(address: SocketAddr, config: &RelayConfig) -> Result<Self, StartError> {
        let (listener, address) = http::listen(address).await?;
        let url = match &config.public_url {
            Some(url) => url.origin().to_owned(),
            None => own_url(address, config.tls.as_ref()),
        };
        let metrics = match config.host.metrics {
            Some(address) => Some(http::listen(address).await?),
            None => None,
        };
        Ok(Self { listener, address, url, metrics })
    }
}

/// How a listener is reached where nothing else is said.
fn own_url(address: SocketAddr, tls: Option<&Tls>) -> String {
    match tls {
        None => format!("http://{}", reachable(address, None)),
        Some(Tls::Files { .. }) => format!("https://{}", reachable(address, None)),
        Some(Tls::Acme(acme)) => {
            let host = acme.domains.first().map_or("", String::as_str);
            if address.port() == 443 { format!("https://{host}") } else { format!("https://{host}:{}", address.port()) }
        }
    }
}

/// The listener that answers.
pub(super) struct Web {
    pub(super) address: SocketAddr,
    pub(super) url: String,
    /// Where metrics are shown, if at an address of their own.
    pub(super) metrics: Option<SocketAddr>,
    /// Who takes the packets of devices that come by WebSockets.
    pub(super) endpoint: Endpoint,
    websockets: WebSockets,
    tasks: Vec<Task>,
    _renewal: Option<Renewal>,
    watching: JoinHandle<()>,
}

struct Task {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Task {
    fn serve(listener: TcpListener, serving: Serving) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        Self { stop, task: tokio::spawn(http::serve(listener, serving, stopped)) }
    }
}

impl Web {
    /// Answers from now on.
    pub(super) async fn start(
        bound: Bound,
        shown: Shown,
        identity: &Identity,
        config: &RelayConfig,
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let Bound { listener, address, url, metrics } = bound;
        let websockets = WebSockets::new(identity.secret_key().public(), config.limits.clone());
        // The endpoint comes to its own server by a listener that nobody else reaches: the public one may speak TLS for another
        // name, or be bound to an address that this machine cannot connect to.
        let (own, own_address) = http::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let first_frame = config.limits.first_frame;
        let serving = Serving {
            router: http::probed(),
            tls: None,
            websockets: Some(websockets.clone()),
            first_frame,
            proxy_header: None,
        };
        let own = Task::serve(own, serving);
        let own_url: RelayUrl = format!("http://{own_address}")
            .parse()
            .map_err(|_| StartError::new(Code::Internal, "the address of a listener on loopback makes no URL"))?;
        let endpoint = endpoint::bind_relayed(identity, own_url, &config.limits).await?;
        let (tls, renewal) = config.tls.as_ref().map(Secured::start).transpose()?.unzip();
        let serving = Serving {
            router: http::router(shown.clone(), metrics.is_none()),
            tls,
            websockets: Some(websockets.clone()),
            first_frame,
            proxy_header: config.proxy_header.clone(),
        };
        let mut tasks = vec![Task::serve(listener, serving), own];
        let metrics_address = metrics.as_ref().map(|(_, address)| *address);
        tasks.extend(metrics.map(|(listener, _)| {
            let serving = Serving {
                router: http::metrics_router(shown),
                websockets: None,
                tls: None,
                first_frame,
                proxy_header: None,
            };
            Task::serve(listener, serving)
        }));
        let (watched, admission) = (websockets.clone(), shared.admission.clone());
        Ok(Self {
            address,
            url,
            endpoint,
            _renewal: renewal,
            metrics: metrics_address,
            tasks,
            watching: tokio::spawn(async move {
                watched.watch(|endpoint| admission.is_connected(endpoint.as_bytes())).await;
            }),
            websockets,
        })
    }

    /// Where a device's WebSocket comes from.
    pub(super) fn websockets(&self) -> WebSockets {
        self.websockets.clone()
    }

    /// Answers what was asked, and stops.
    pub(super) async fn stop(self) {
        self.watching.abort();
        self.websockets.shutdown().await;
        for Task { stop, task } in self.tasks {
            let _ = stop.send(());
            let abort = task.abort_handle();
            if timeout(DRAIN, task).await.is_err() {
                abort.abort();
            }
        }
    }

    /// Stops as after a crash.
    pub(super) fn abort(&self) {
        self.watching.abort();
        self.websockets.abort();
        self.tasks.iter().for_each(|task| task.task.abort());
    }
}
