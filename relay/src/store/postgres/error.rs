//! What PostgreSQL's error codes mean to a relay.

use crate::store::StoreError;

/// Sorts a failure by who can do something about it. A message of the server's names tables and columns, and no values that a
/// device sent: what does, stands in its details, which are left out.
pub(super) fn error(source: &sqlx::Error) -> StoreError {
    match source {
        sqlx::Error::Database(e) => {
            // <https://www.postgresql.org/docs/current/errcodes-appendix.html>; the first two characters are the class.
            let code = e.code().unwrap_or_default();
            match &*code {
                "53100" => StoreError::Full,
                // Serialization, deadlock, lock and statement timeouts, a transaction that waited too long, and what else
                // ends a connection: the server stops, starts, or has no room.
                "40001" | "40P01" | "55P03" | "57014" | "25P03" => StoreError::Busy,
                c if ["08", "53", "57"].contains(&c.get(..2).unwrap_or_default()) => StoreError::Busy,
                c if ["XX", "23", "22"].contains(&c.get(..2).unwrap_or_default()) && c != "XX000" => {
                    StoreError::Corrupt(e.message().to_owned())
                }
                _ => StoreError::Io(e.message().to_owned()),
            }
        }
        // The connection was lost, or there is none to be had: the pool makes another.
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => StoreError::Busy,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            StoreError::Corrupt(source.to_string())
        }
        other => StoreError::Io(other.to_string()),
    }
}
