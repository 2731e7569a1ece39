//! The database beside relays that may be running: read, never written.

use std::pin::Pin;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::error::error;
use super::{OVER_ALL, open, summary, texts};
use crate::StartError;
use crate::store::columns::unsigned;
use crate::store::{GroupSummary, Look, Order, StoreFuture, TokenUse, Totals};

/// A database of relays, opened for reading.
#[derive(Debug)]
pub struct View {
    connection: PgConnection,
}

impl View {
    /// Connects to the database behind a `postgres://` URL.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no such URL, `STORE_CORRUPT` for another program's database or an empty one, `VERSION` for
    /// one of a newer or an older relay, or `IO` for one that cannot be reached.
    pub async fn open(url: &str) -> Result<Self, StartError> {
        let mut connection = open::look(url).await?;
        // One transaction for all of it: nothing here writes, and what is asked may take longer than a relay would wait.
        let begun = async {
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            connection.execute(sqlx::raw_sql(OVER_ALL)).await
        };
        begun.await.map_err(|e| StartError::store("the database", &error(&e)))?;
        Ok(Self { connection })
    }
}

impl Look for View {
    fn totals(&mut self, max_lag_ms: u64) -> StoreFuture<'_, Totals> {
        Box::pin(async move {
            let served = sqlx::query(texts::SERVED).fetch_one(&mut self.connection).await.map_err(|e| error(&e))?;
            let served_ms = unsigned(&served, 0)?;
            Ok(Totals {
                stats: summary::stats(&mut self.connection).await?,
                survey: summary::survey(&mut self.connection, served_ms.saturating_sub(max_lag_ms)).await?,
                file_bytes: summary::size(&mut self.connection).await?,
                free_pages: None,
                served_ms,
            })
        })
    }

    fn largest(&mut self, order: Order, limit: u32) -> StoreFuture<'_, Vec<GroupSummary>> {
        Box::pin(summary::largest(&mut self.connection, order, limit))
    }

    fn beginning<'a>(&'a mut self, digits: &'a str, limit: u32) -> StoreFuture<'a, Vec<GroupSummary>> {
        Box::pin(summary::beginning(&mut self.connection, digits, limit))
    }

    fn token_use(&mut self) -> StoreFuture<'_, Vec<TokenUse>> {
        Box::pin(summary::token_use(&mut self.connection))
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {
            // It wrote nothing that could be lost.
            let _ = self.connection.close().await;
        })
    }
}
