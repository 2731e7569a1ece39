//! Opening a relay's database beside the relay, whichever it is.

use sync_types::Code;

use crate::StartError;
use crate::config::StoreConfig;
#[cfg(feature = "postgres")]
use crate::store::postgres;
use crate::store::{Look, sqlite};

/// Opens a relay's database for reading.
///
/// # Errors
/// `INVALID_ARGUMENT` for a relay that keeps none; what [`sqlite::View::open`] and [`postgres::View::open`] list.
pub async fn look(store: &StoreConfig) -> Result<Box<dyn Look>, StartError> {
    match store {
        StoreConfig::Sqlite { path, .. } => Ok(Box::new(sqlite::View::open(path).await?)),
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres { url } => Ok(Box::new(postgres::View::open(url.as_str()).await?)),
        StoreConfig::Memory => {
            Err(StartError::new(Code::InvalidArgument, "a relay that keeps all in memory has no database"))
        }
    }
}
