//! The database beside relays that may be running: read, never written.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::error::error;
use super::{OVER_ALL, open, summary, texts};
use crate::StartError;
use crate::store::columns::unsigned;
use crate::store::{GroupSummary, Order, StoreError, Totals};
use crate::tokens::TokenHash;

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

    /// What there is in all. Members count as lapsed after `max_lag_ms` of silence.
    ///
    /// # Errors
    /// What [`StoreError`] lists.
    pub async fn totals(&mut self, max_lag_ms: u64) -> Result<Totals, StoreError> {
        let served = sqlx::query(texts::SERVED).fetch_one(&mut self.connection).await.map_err(|e| error(&e))?;
        let served_ms = unsigned(&served, 0)?;
        Ok(Totals {
            stats: summary::stats(&mut self.connection).await?,
            survey: summary::survey(&mut self.connection, served_ms.saturating_sub(max_lag_ms)).await?,
            file_bytes: summary::size(&mut self.connection).await?,
            free_pages: None,
            served_ms,
        })
    }

    /// The groups that hold most, the largest first.
    ///
    /// # Errors
    /// What [`StoreError`] lists.
    pub async fn largest(&mut self, order: Order, limit: u32) -> Result<Vec<GroupSummary>, StoreError> {
        summary::largest(&mut self.connection, order, limit).await
    }

    /// The groups whose id begins with these hexadecimal digits, at the most `limit`.
    ///
    /// # Errors
    /// What [`StoreError`] lists.
    pub async fn beginning(&mut self, digits: &str, limit: u32) -> Result<Vec<GroupSummary>, StoreError> {
        summary::beginning(&mut self.connection, digits, limit).await
    }

    /// How many groups were made with each access token.
    ///
    /// # Errors
    /// What [`StoreError`] lists.
    pub async fn token_groups(&mut self) -> Result<Vec<(TokenHash, u64)>, StoreError> {
        summary::token_groups(&mut self.connection).await
    }

    /// Ends the connection.
    pub async fn close(self) {
        // It wrote nothing that could be lost.
        let _ = self.connection.close().await;
    }
}
