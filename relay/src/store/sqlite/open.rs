//! Opening the database: whose file it is, which schema it has, and how it is written.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use sync_types::Code;

use super::error;
use crate::StartError;

/// `0ksr` as a big-endian number, in the database's header.
const APPLICATION_ID: i32 = 0x306b_7372;

/// One script for each schema version, from 1 on.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/0001_mailboxes.sql")];

/// Connections that read. More would only contend for two cores' worth of page cache.
const READERS: u32 = 4;

fn options(path: &Path) -> SqliteConnectOptions {
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
    let shown = path.display();
    let failed = |e: sqlx::Error| StartError::store(path.display(), &error(&e));
    let mut writer = options(path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .connect()
        .await
        .map_err(failed)?;

    // Nothing is written before the file is known to be ours or empty.
    let application: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut writer).await.map_err(failed)?;
    let version: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut writer).await.map_err(failed)?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut writer).await.map_err(failed)?;
    let fresh = application == 0 && version == 0 && tables == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(StartError::new(
            Code::StoreCorrupt,
            format!("{shown} is another program's database: choose another file"),
        ));
    }
    let known = MIGRATIONS.len() as i32;
    if version > known || version < 0 {
        return Err(StartError::new(
            Code::Version,
            format!(
                "{shown} was written by a newer relay (schema {version}, this one knows {known}): update this relay"
            ),
        ));
    }
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
    for (script, version) in MIGRATIONS.iter().zip(1..).skip(version as usize) {
        migrate(&mut writer, script, version).await.map_err(failed)?;
    }
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
        .connect_with(options.read_only(true))
        .await
        .map_err(failed)?;
    Ok(Opened { writer, readers, checkpoints })
}

/// Script and version go in together, so that a crash between the two cannot be.
async fn migrate(writer: &mut SqliteConnection, script: &'static str, version: i32) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    transaction.execute(sqlx::raw_sql(script)).await?;
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}");
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(stamp))).await?;
    transaction.commit().await
}
