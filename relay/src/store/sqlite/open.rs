//! Opening the database: whose file it is, which schema it has, and how it is written.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use sync_sqlite::{Schema, SchemaError};
use sync_types::Code;

use super::error;
use crate::StartError;

pub(super) const SCHEMA: Schema = Schema {
    // `0ksr` as a big-endian number.
    application_id: 0x306b_7372,
    migrations: &[
        include_str!("../../../migrations/0001_mailboxes.sql"),
        include_str!("../../../migrations/0002_lapse.sql"),
        include_str!("../../../migrations/0003_recovery.sql"),
        include_str!("../../../migrations/0004_kit_snapshots.sql"),
        include_str!("../../../migrations/0005_moves.sql"),
        include_str!("../../../migrations/0006_operations.sql"),
        include_str!("../../../migrations/0007_wake.sql"),
    ],
};

/// Connections that read. More would only contend for two cores' worth of page cache.
const READERS: u32 = 4;

/// How many rows a reader's thread may be ahead of who takes them. With fewer the two wake each other up all the time; the
/// rows that are asked for fit into a frame or two as a rule.
const ROWS_AHEAD: usize = 256;

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .statement_cache_capacity(128)
        .disable_statement_logging()
}

/// The connections of an open store.
pub(super) struct Opened {
    pub(super) writer: SqliteConnection,
    pub(super) readers: SqlitePool,
    pub(super) checkpoints: SqliteConnection,
}

/// Opens or creates the database and brings its schema up to date.
pub(super) async fn open(path: &Path, max_bytes: Option<u64>) -> Result<Opened, StartError> {
    let failed = |e: sqlx::Error| StartError::store(path.display(), &error(&e));
    let mut writer = options(path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .connect()
        .await
        .map_err(failed)?;

    // Nothing is written before the file is known to be ours or empty.
    SCHEMA.version(&mut writer).await.map_err(|e| unusable(path, e))?;
    writer.close().await.map_err(failed)?;

    let options = options(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let mut writer = options
        .clone()
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        // Deleted ciphertext is overwritten where that costs no further write.
        .pragma("secure_delete", "FAST")
        .pragma("cache_size", "-32768")
        // The checkpoints are ours, see `checkpoint`.
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", "67108864")
        .connect()
        .await
        .map_err(failed)?;
    SCHEMA.migrate(&mut writer).await.map_err(|e| unusable(path, e))?;
    if let Some(bytes) = max_bytes {
        let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut writer).await.map_err(failed)?;
        let pages = (bytes / page.max(512) as u64).clamp(1, u64::from(u32::MAX) - 1);
        writer.execute(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).await.map_err(failed)?;
    }
    let checkpoints = options.clone().connect().await.map_err(failed)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(1)
        // A file does not go away like a server: no question before each use.
        .test_before_acquire(false)
        .connect_with(options.read_only(true).row_buffer_size(ROWS_AHEAD))
        .await
        .map_err(failed)?;
    Ok(Opened { writer, readers, checkpoints })
}

pub(super) fn unusable(path: &Path, problem: SchemaError) -> StartError {
    let shown = path.display();
    match problem {
        SchemaError::Foreign => {
            StartError::new(Code::StoreCorrupt, format!("{shown} is another program's database: choose another file"))
        }
        SchemaError::Newer { found, known } => StartError::new(
            Code::Version,
            format!("{shown} was written by a newer relay (schema {found}, this one knows {known}): update this relay"),
        ),
        SchemaError::Sqlite(e) => StartError::store(shown, &error(&e)),
    }
}
