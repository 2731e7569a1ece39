//! What SQLite's result codes mean to a relay.

use crate::store::StoreError;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CONSTRAINT: i32 = 19;
const NOT_A_DATABASE: i32 = 26;

/// Sorts a failure by who can do something about it.
pub(crate) fn error(source: &sqlx::Error) -> StoreError {
    match source {
        sqlx::Error::Database(e) => {
            // The low byte is the primary code (<https://www.sqlite.org/rescode.html>).
            let code = e.code().and_then(|c| c.parse::<i32>().ok()).unwrap_or(0) & 0xff;
            match code {
                FULL => StoreError::Full,
                BUSY | LOCKED => StoreError::Busy,
                CORRUPT | NOT_A_DATABASE | CONSTRAINT => StoreError::Corrupt(e.message().to_owned()),
                _ => StoreError::Io(e.message().to_owned()),
            }
        }
        sqlx::Error::PoolTimedOut => StoreError::Busy,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt(source.to_string()),
        other => StoreError::Io(other.to_string()),
    }
}
