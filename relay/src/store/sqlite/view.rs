//! The database beside a relay that may be running: read, checked and copied, never written.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use sync_types::Code;

use super::{error, open, summary};
use crate::StartError;
use crate::store::{GroupSummary, Look, Order, StoreError, StoreFuture, TokenUse, Totals};

/// A relay's database, opened for reading.
#[derive(Debug)]
pub struct View {
    connection: SqliteConnection,
    path: PathBuf,
}

impl View {
    /// Opens the database.
    ///
    /// # Errors
    /// `IO` if there is none, `STORE_CORRUPT` for a file that is damaged or another program's, `VERSION` for one of a newer or
    /// an older relay: an older one is brought up to date by the next `serve`.
    pub async fn open(path: &Path) -> Result<Self, StartError> {
        let mut view = Self::open_any(path).await?;
        let known = open::SCHEMA.migrations.len();
        let version = open::SCHEMA.version(&mut view.connection).await.map_err(|e| open::unusable(path, e))?;
        if version < known {
            let message = format!(
                "{} is of an older relay (schema {version}, this one knows {known}): start this relay on it once",
                path.display()
            );
            return Err(StartError::new(Code::Version, message));
        }
        Ok(view)
    }

    /// Opens a database of this relay's or an older schema.
    pub(crate) async fn open_any(path: &Path) -> Result<Self, StartError> {
        Self::open_as(path, false).await
    }

    /// Opens one that nobody writes, and leaves no file beside it.
    pub(crate) async fn open_copy(path: &Path) -> Result<Self, StartError> {
        Self::open_as(path, true).await
    }

    async fn open_as(path: &Path, immutable: bool) -> Result<Self, StartError> {
        let failed = |e: sqlx::Error| StartError::store(path.display(), &error(&e));
        std::fs::metadata(path).map_err(|e| StartError::io("open", path, &e))?;
        let mut connection =
            open::options(path).read_only(true).immutable(immutable).connect().await.map_err(failed)?;
        let version = open::SCHEMA.version(&mut connection).await.map_err(|e| open::unusable(path, e))?;
        if version == 0 {
            let message = format!("{} is an empty database", path.display());
            return Err(StartError::new(Code::StoreCorrupt, message));
        }
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Writes the database as of one moment to a file that does not exist yet, while a relay goes on writing.
    pub(crate) async fn copy_to(&mut self, target: &Path) -> Result<(), StartError> {
        let copied = sqlx::query("VACUUM INTO ?").bind(target.to_string_lossy().into_owned());
        let copied = copied.execute(&mut self.connection).await;
        copied.map(drop).map_err(|e| StartError::store(target.display(), &error(&e)))
    }

    /// Looks at every page and index.
    pub(crate) async fn check(&mut self) -> Result<(), StartError> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|e| StartError::store(self.path.display(), &error(&e)))?;
        if found.len() == 1 && found[0] == "ok" {
            return Ok(());
        }
        Err(StartError::store(self.path.display(), &StoreError::Corrupt(found.join("; "))))
    }

    /// Ends the connection.
    pub async fn close(self) {
        // It wrote nothing that could be lost.
        let _ = self.connection.close().await;
    }
}

impl Look for View {
    fn totals(&mut self, max_lag_ms: u64) -> StoreFuture<'_, Totals> {
        Box::pin(async move {
            let served: Option<i64> = sqlx::query_scalar("SELECT served_ms FROM clock")
                .fetch_optional(&mut self.connection)
                .await
                .map_err(|e| error(&e))?;
            let served_ms = served.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
            Ok(Totals {
                stats: summary::stats(&mut self.connection).await?,
                survey: summary::survey(&mut self.connection, served_ms.saturating_sub(max_lag_ms)).await?,
                file_bytes: super::size(&self.path),
                free_pages: Some(summary::pages(&mut self.connection, "freelist_count").await?),
                served_ms,
            })
        })
    }

    fn largest(&mut self, order: Order, limit: u32) -> StoreFuture<'_, Vec<GroupSummary>> {
        Box::pin(summary::largest(&mut self.connection, order, limit, None))
    }

    fn beginning<'a>(&'a mut self, digits: &'a str, limit: u32) -> StoreFuture<'a, Vec<GroupSummary>> {
        Box::pin(summary::beginning(&mut self.connection, digits, limit))
    }

    fn token_use(&mut self) -> StoreFuture<'_, Vec<TokenUse>> {
        Box::pin(summary::token_use(&mut self.connection))
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin((*self).close())
    }
}
