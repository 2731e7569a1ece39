//! The store of a running relay, as far as it is this relay's to close.

use std::sync::Arc;

#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;

/// Which store a relay has opened.
#[derive(Clone)]
pub(super) enum Opened {
    /// None: it is in memory, or somebody else's.
    Nothing,
    Sqlite(Arc<SqliteStore>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
}

impl Opened {
    /// How many bytes it takes, if that is on this machine's disk.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Sqlite(store) => Some(store.size()),
            _ => None,
        }
    }

    /// Closes it. Later calls of it fail.
    pub(super) async fn close(&self) {
        match self {
            Self::Nothing => {}
            Self::Sqlite(store) => {
                if let Err(error) = store.close().await {
                    tracing::error!(%error, "the store did not close");
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.close().await,
        }
    }
}
