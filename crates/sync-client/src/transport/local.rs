//! Relays in this process: the one that this device hosts, and those of tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use super::{Pending, Resolved, Road, Transport};

/// One end of a stream within the process, and the exporter value that both ends know.
pub(crate) struct LocalStream {
    pub(crate) reader: ReadHalf<DuplexStream>,
    pub(crate) writer: WriteHalf<DuplexStream>,
    pub(crate) exporter: [u8; 32],
}

/// Opens a stream; `None` once the relay has stopped.
pub(crate) type Open = Arc<dyn Fn() -> Option<LocalStream> + Send + Sync>;

/// The relays of this process, by endpoint. Clones share the list.
#[derive(Clone, Default)]
pub(crate) struct LocalRelays(Arc<RwLock<BTreeMap<[u8; 32], Open>>>);

impl fmt::Debug for LocalRelays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalRelays")
    }
}

impl LocalRelays {
    #[cfg(feature = "embedded-relay")]
    pub(crate) fn add(&self, endpoint: [u8; 32], open: Open) {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(endpoint, open);
    }

    pub(super) fn has(&self, endpoint: &[u8; 32]) -> bool {
        self.open(endpoint).is_some()
    }

    fn open(&self, endpoint: &[u8; 32]) -> Option<Open> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(endpoint).cloned()
    }
}

impl Transport for LocalRelays {
    fn connect<'a>(&'a self, relay: &'a Resolved) -> Pending<'a, Road> {
        Box::pin(async move { self.open(&relay.endpoint).map(Road::local).ok_or_else(super::road::stopped) })
    }
}
