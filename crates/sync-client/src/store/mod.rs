//! The device's database: one writer, which the engine owns, and a few readers for consumers.
//!
//! Everything that one turn of the engine changes is one transaction with synchronous FULL: after a crash at any moment
//! all of it is there, or none.
//!
//! Values are sealed under the home's vault key (`seal.rs`): the small state, settings, blobs, and what was refused. Ids,
//! numbers, positions and the names of channels and consumers are not.

mod alerts;
mod apply;
mod consumers;
mod export;
mod files;
mod import;
mod large;
mod reads;
mod refused;
mod rows;
mod schema;
mod scrub;
mod seal;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use sync_core::store::{IdConflict, Key};
use sync_core::vault::Cell;
use sync_sqlite::{SchemaError, Script};
use sync_types::{BlobId, Code, DeviceId, GroupId};
use zeroize::Zeroizing;

use crate::SyncError;
use crate::home::touch_private;
use crate::vault::{Sealing, Vault};

pub(crate) use consumers::{Kept, LogReader, OwnBlob, Page, Wanted};
pub(crate) use files::{FileNote, FileRow, Load};
use rows::NewRow;
use schema::SCHEMA;

/// The writer.
pub(crate) struct Store {
    connection: SqliteConnection,
    /// Whether a turn was begun and not committed.
    unfinished: bool,
    /// Whether the last turn left nothing in the outbox.
    outbox_is_empty: bool,
    /// The position that the log's next blob gets.
    next_position: u64,
    /// The last blob that a turn sealed as soon as it was pushed, and its envelope's number; as long as the group is the same.
    sealed: Option<(BlobId, u64)>,
    /// Rises when the log or a turn has told of files; 0 as long as it never has.
    files: u64,
    /// Whether a turn has made a large blob readable, and nobody was told.
    readable: bool,
    readers: SqlitePool,
    vault: Sealing,
}

/// A database that was looked at, and not changed yet.
pub(crate) struct Database {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    max_bytes: Option<u64>,
    sealed_by: Option<[u8; 16]>,
}

/// One turn's transaction. Dropped without [`Turn::commit`], it changes nothing.
///
/// What a small transaction costs besides its flush is the way to SQLite's thread and back, so statements wait in a script
/// until something has to be known.
pub(crate) struct Turn<'a> {
    tx: &'a mut SqliteConnection,
    unfinished: &'a mut bool,
    outbox_is_empty: &'a mut bool,
    last_position: &'a mut u64,
    next_position: u64,
    /// Blobs of others that are not among the statements yet: they wait to fill one.
    received: Vec<NewRow>,
    /// Own rows that are not among the statements yet: most of them are sealed before they are.
    fresh: VecDeque<NewRow>,
    last_sealed: &'a mut Option<(BlobId, u64)>,
    sealed: Option<(BlobId, u64)>,
    files: &'a mut u64,
    /// Whether this turn has told of files.
    tells_of_files: bool,
    readable: &'a mut bool,
    makes_readable: bool,
    /// The group that this device is in.
    group: Option<GroupId>,
    vault: &'a Sealing,
    script: Script,
    /// Rows of the small state, and up to where sealed envelopes go. A turn says them again and again, and the last word
    /// counts.
    puts: BTreeMap<Key, Zeroizing<Vec<u8>>>,
    drop_sealed: Option<u64>,
    conflicts: Vec<IdConflict>,
    /// Whether something was refused, so that there may be more than is kept.
    refused: bool,
    outbox: Outbox,
}

/// What a turn knows of the outbox without asking.
enum Outbox {
    Unknown,
    /// It was read to its end; this is the last position.
    EndsAt(u64),
    /// It is what is unsealed among the turn's fresh rows.
    Fresh,
}

impl Database {
    /// Opens the database and sees whose it is. One that is not there is empty.
    ///
    /// # Errors
    /// [`Code::StoreCorrupt`] for a damaged file or another program's, [`Code::Version`] for one of a newer build,
    /// [`Code::DiskFull`], [`Code::Io`].
    pub(crate) async fn look(path: &Path, max_bytes: Option<u64>) -> Result<Self, SyncError> {
        touch_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(
            &options
                .clone()
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .pragma("wal_autocheckpoint", "4000")
                .pragma("cache_size", "-16000")
                // Erased keys do not stay in the pages that held them, as far as that costs no more writing.
                .pragma("secure_delete", "FAST"),
        )
        .await?;
        SCHEMA.version(&mut connection).await?;
        let sealed_by = seal::sealed_by(&mut connection).await?.map(|(id, _)| id);
        Ok(Self { connection, options, max_bytes, sealed_by })
    }

    /// Which vault its values are sealed by; `None` for one that is new, or older than vaults.
    pub(crate) fn sealed_by(&self) -> Option<[u8; 16]> {
        self.sealed_by
    }

    /// Brings it up to this build's version, and seals what it holds if it is older than vaults.
    ///
    /// # Errors
    /// As [`Database::look`].
    pub(crate) async fn open(self, vault: &Vault) -> Result<Store, SyncError> {
        self.open_with(vault.id(), vault.sealing().clone()).await
    }

    async fn open_with(self, vault: [u8; 16], sealing: Sealing) -> Result<Store, SyncError> {
        let Self { mut connection, options, max_bytes, .. } = self;
        SCHEMA.migrate(&mut connection).await?;
        seal::seal(&mut connection, vault, &sealing).await?;
        // Of a backup whose import was cut short.
        sqlx::query("DELETE FROM import").execute(&mut connection).await?;
        if let Some(max) = max_bytes {
            let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut connection).await?;
            let pages = (max / u64::try_from(page).unwrap_or(4096).max(1)).clamp(1, 1 << 30);
            let sql = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        // The database is a file here, not a server that may have gone: no question before each use.
        let readers = PoolOptions::new().max_connections(4).min_connections(0).test_before_acquire(false);
        let readers = readers.connect_lazy_with(options.read_only(true));
        let next_position = next_position(&mut connection).await?;
        let files = files::any(&mut connection).await?;
        Ok(Store {
            connection,
            unfinished: false,
            outbox_is_empty: false,
            next_position,
            sealed: None,
            files: u64::from(files),
            readable: false,
            readers,
            vault: sealing,
        })
    }
}

impl Store {
    /// Begins a turn's transaction.
    pub(crate) async fn begin(&mut self) -> Turn<'_> {
        self.writer().await;
        self.unfinished = true;
        let mut script = Script::default();
        script.statement("BEGIN IMMEDIATE");
        let outbox = if std::mem::take(&mut self.outbox_is_empty) { Outbox::Fresh } else { Outbox::Unknown };
        Turn {
            tx: &mut self.connection,
            unfinished: &mut self.unfinished,
            outbox_is_empty: &mut self.outbox_is_empty,
            next_position: self.next_position,
            last_position: &mut self.next_position,
            received: vec![],
            fresh: VecDeque::new(),
            sealed: self.sealed.take(),
            last_sealed: &mut self.sealed,
            files: &mut self.files,
            tells_of_files: false,
            readable: &mut self.readable,
            makes_readable: false,
            group: None,
            vault: &self.vault,
            script,
            puts: BTreeMap::new(),
            drop_sealed: None,
            conflicts: vec![],
            refused: false,
            outbox,
        }
    }

    /// The connection, without whatever a dropped turn left in it.
    ///
    /// Turns are statements of our own and not sqlx's transactions: when SQLite has rolled back by itself, as it does on
    /// a full disk, those still count one as open and refuse every later one.
    async fn writer(&mut self) -> &mut SqliteConnection {
        if std::mem::take(&mut self.unfinished) {
            // With nothing to roll back it fails, which is as good.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        &mut self.connection
    }

    /// A blob that was sealed lately, in this group, and its envelope's number.
    pub(crate) fn sealed(&self) -> Option<(BlobId, u64)> {
        self.sealed
    }

    /// Rises whenever files were told of since the store was opened; 0 if there is nothing of files.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// A reader for consumers.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader::new(self.readers.clone(), self.vault.clone())
    }

    /// The small state, whole.
    pub(crate) async fn load(&mut self) -> Result<Vec<(Key, Zeroizing<Vec<u8>>)>, SyncError> {
        let vault = self.vault.clone();
        let mut rows = sqlx::query("SELECT key, value FROM state").fetch(self.writer().await);
        let mut state = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let key: &[u8] = row.try_get(0)?;
            let value = Zeroizing::new(vault.open(Cell::State(key), row.try_get(1)?)?);
            let key = Key::from_bytes(key)
                .ok_or_else(|| SyncError::new(Code::StoreCorrupt, "the local database has an unknown row"))?;
            state.push((key, value));
        }
        Ok(state)
    }

    /// A value that the client keeps beside the core's state.
    pub(crate) async fn meta(&mut self, name: &str) -> Result<Option<String>, SyncError> {
        let value: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_optional(self.writer().await)
            .await?;
        let value = value.map(|sealed| self.vault.open(Cell::Meta(name), &sealed)).transpose()?;
        value
            .map(|v| String::from_utf8(v).map_err(|_| SyncError::new(Code::StoreCorrupt, "a setting is no text")))
            .transpose()
    }

    /// Sets such a value.
    pub(crate) async fn set_meta(&mut self, name: &str, value: &str) -> Result<(), SyncError> {
        sqlx::query("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")
            .bind(name)
            .bind(self.vault.seal(Cell::Meta(name), value.as_bytes()))
            .execute(self.writer().await)
            .await?;
        Ok(())
    }

    /// Closes every connection, so that the file can be deleted.
    pub(crate) async fn close(self) {
        self.readers.close().await;
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database did not close cleanly; it recovers at the next start");
        }
    }
}

impl Turn<'_> {
    /// Says of which group the turn is.
    pub(crate) fn of_group(&mut self, group: Option<GroupId>) {
        self.group = group;
    }

    /// Makes the turn durable, and tells which blobs were left out because of their ids.
    pub(crate) async fn commit(mut self) -> Result<Vec<IdConflict>, SyncError> {
        self.put_all().await?;
        self.script.statement("COMMIT");
        self.script.run(self.tx).await?;
        *self.unfinished = false;
        *self.outbox_is_empty = matches!(&self.outbox, Outbox::Fresh);
        *self.last_position = self.next_position;
        *self.last_sealed = self.sealed;
        *self.files += u64::from(self.tells_of_files);
        *self.readable |= self.makes_readable;
        Ok(self.conflicts)
    }

    /// How many blobs were left out so far because of their ids, by sender.
    pub(crate) async fn conflicts(&mut self) -> Result<BTreeMap<DeviceId, u64>, SyncError> {
        self.put_received().await?;
        let mut counts = BTreeMap::new();
        for conflict in &self.conflicts {
            *counts.entry(conflict.sender).or_default() += 1;
        }
        Ok(counts)
    }

    /// Runs what waits.
    pub(crate) async fn flush(&mut self) -> Result<(), SyncError> {
        self.put_all().await?;
        self.script.run(self.tx).await?;
        Ok(())
    }

    /// Puts all that is still kept back among the statements.
    async fn put_all(&mut self) -> Result<(), SyncError> {
        self.put_received().await?;
        self.put_fresh().await?;
        self.put_state().await?;
        self.forget_refused();
        Ok(())
    }

    /// Whether the transaction still stands: SQLite rolls all of it back by itself when the disk fails a statement, even one
    /// that only reads (<https://www.sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction").
    pub(crate) async fn stands(&mut self) -> bool {
        // There is none within one.
        sqlx::raw_sql("BEGIN").execute(&mut *self.tx).await.is_err()
    }

    /// The transaction as of now, for a question.
    async fn settled(&mut self) -> Result<&mut SqliteConnection, SyncError> {
        self.flush().await?;
        Ok(self.tx)
    }
}

/// The first position that was never given out.
async fn next_position(from: &mut SqliteConnection) -> Result<u64, SyncError> {
    let last = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'blob'");
    let last: Option<i64> = last.fetch_optional(from).await?;
    Ok(last.unwrap_or(0).unsigned_abs() + 1)
}

impl From<SchemaError> for SyncError {
    fn from(problem: SchemaError) -> Self {
        match problem {
            SchemaError::Foreign => {
                Self::new(Code::StoreCorrupt, "the file in the database's place is another program's")
            }
            SchemaError::Newer { .. } => Self::new(Code::Version, "the local database was written by a newer build"),
            SchemaError::Sqlite(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod alert_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod seal_tests;
#[cfg(test)]
mod tests;
