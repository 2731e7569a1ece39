//! What a relay holds, read beside it from whichever database it keeps that in.

use sync_types::Code;

use crate::StartError;
use crate::config::StoreConfig;
#[cfg(feature = "postgres")]
use crate::store::postgres;
use crate::store::{GroupSummary, Order, StoreError, Totals, sqlite};

/// A relay's database, opened for reading. Errors of its calls are what [`StoreError`] lists.
#[derive(Debug)]
pub enum View {
    /// A file.
    Sqlite(sqlite::View),
    /// A database that several relays may share.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::View>),
}

impl View {
    /// Opens the database.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a relay that keeps none; what [`sqlite::View::open`] and [`postgres::View::open`] list.
    pub async fn open(store: &StoreConfig) -> Result<Self, StartError> {
        match store {
            StoreConfig::Sqlite { path, .. } => sqlite::View::open(path).await.map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            StoreConfig::Postgres { url } => Ok(Self::Postgres(Box::new(postgres::View::open(url.as_str()).await?))),
            StoreConfig::Memory => {
                Err(StartError::new(Code::InvalidArgument, "a relay that keeps all in memory has no database"))
            }
        }
    }

    /// What there is in all. Members count as lapsed after `max_lag_ms` of silence.
    ///
    /// # Errors
    /// As [`View`] says.
    pub async fn totals(&mut self, max_lag_ms: u64) -> Result<Totals, StoreError> {
        match self {
            Self::Sqlite(view) => view.totals(max_lag_ms).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(view) => view.totals(max_lag_ms).await,
        }
    }

    /// The groups that hold most, the largest first.
    ///
    /// # Errors
    /// As [`View`] says.
    pub async fn largest(&mut self, order: Order, limit: u32) -> Result<Vec<GroupSummary>, StoreError> {
        match self {
            Self::Sqlite(view) => view.largest(order, limit).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(view) => view.largest(order, limit).await,
        }
    }

    /// The groups whose id begins with these hexadecimal digits, at the most `limit`.
    ///
    /// # Errors
    /// As [`View`] says.
    pub async fn beginning(&mut self, digits: &str, limit: u32) -> Result<Vec<GroupSummary>, StoreError> {
        match self {
            Self::Sqlite(view) => view.beginning(digits, limit).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(view) => view.beginning(digits, limit).await,
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        match self {
            Self::Sqlite(view) => view.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(view) => view.close().await,
        }
    }
}
