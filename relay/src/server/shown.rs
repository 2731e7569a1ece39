//! What the relay's HTTP shows, gathered.

use std::path::Path;
use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sync_types::{GroupId, VERSION, limits};

use super::Shared;
use super::address::pinned;
use super::opened::Opened;
use crate::config::{RelayConfig, StoreConfig};
use crate::http::{Guard, Shown};
use crate::hub::Wake;
use crate::wake::Waker;

pub(super) fn shown(
    shared: &Arc<Shared>,
    opened: Opened,
    public: &[u8; 32],
    hosts: &[String],
    http: Option<&str>,
    waker: Option<Arc<Waker>>,
    config: &RelayConfig,
) -> Shown {
    let well_known = serde_json::json!({
        "version": VERSION,
        "endpoint": HEXLOWER.encode(public),
        "addresses": hosts,
        // Whoever does not reach the addresses comes by a WebSocket at this document's origin.
        "websocket": true,
        "limits": {
            "blob_bytes": limits::BLOB_BYTES,
            "envelope_bytes": config.quotas.envelope_bytes.min(limits::ENVELOPE_BYTES),
            "frame_bytes": limits::FRAME_BYTES,
            "group_bytes": config.quotas.group_bytes,
            "group_entries": config.quotas.group_entries,
            "members": limits::MEMBERS,
        },
        "access": config.access.name(),
        // What a Web Push subscription names as its applicationServerKey.
        "wake": waker.as_ref().map(|waker| BASE64URL_NOPAD.encode(&waker.key())),
    });
    let probed = shared.clone();
    let (gauged, folder) = (shared.clone(), disk(config));
    Shown {
        metrics: shared.metrics.clone(),
        ready: Arc::new(move || {
            let shared = probed.clone();
            // Any group will do: what counts is that the store answers.
            Box::pin(async move { !*shared.stopping.borrow() && shared.store.load(GroupId::default()).await.is_ok() })
        }),
        refresh: Arc::new(move || {
            let metrics = &gauged.metrics;
            opened.size().iter().for_each(|size| metrics.store_bytes.set(*size as i64));
            let (requests, bytes) = gauged.hub.waiting();
            metrics.waiting.set(requests as i64);
            metrics.waiting_bytes.set(bytes as i64);
            if let Some(waker) = &waker {
                metrics.wakes_waiting.set(waker.waiting() as i64);
                let now = waker.counters().all();
                metrics.wakes.iter().zip(now).for_each(|(gauge, now)| gauge.set(now as i64));
            }
            let free = folder.as_deref().and_then(|folder| fs4::available_space(folder).ok());
            metrics.disk_free_bytes.set(free.unwrap_or(0) as i64);
        }),
        well_known: Arc::new(well_known),
        store: shared.store.clone(),
        largest: Arc::default(),
        address: pinned(public, hosts, http).into(),
        access: config.access.name(),
        most_bytes: match &config.store {
            StoreConfig::Sqlite { max_bytes, .. } => *max_bytes,
            _ => None,
        },
        guard: Guard::new(config.host.token.clone(), config.public_url.as_ref()),
    }
}

/// Where the disk's free space is asked for.
fn disk(config: &RelayConfig) -> Option<Arc<Path>> {
    let store = match &config.store {
        StoreConfig::Sqlite { path, .. } => Some(path.as_path()),
        _ => None,
    };
    store.or(config.data.as_deref()).map(Arc::from)
}
