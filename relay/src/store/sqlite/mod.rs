//! The store on SQLite: one database in WAL mode, one connection that writes, a few that read and never wait for it.
//!
//! A batch of writes is one transaction of few statements with many rows each, and `synchronous = FULL` flushes the log to
//! the disk before the commit returns. So the caller decides how many appends share one flush.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use sync_sqlite::Script;
use sync_sqlite::crash::{armed, point};
use sync_types::frame::{Mac, SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, GroupId, Opaque};
use tokio::sync::Mutex;

use self::apply::{Texts, Transaction};
use self::checkpoint::Checkpoints;
pub(crate) use self::error::error;
use self::numbers::Numbers;
use super::columns::{self, Page, number};
use super::plan::{self, Floors, Step, deletions, emptied};
use super::{
    Bytes, EntriesQuery, EntryRow, GroupRows, GroupSummary, Order, Store, StoreError, StoreFuture, StoreStats, Survey,
    TokenUse, Write,
};
use crate::{StartError, crash};

mod apply;
mod checkpoint;
mod error;
mod numbers;
mod open;
mod rows;
mod summary;
mod view;

pub use view::View;

/// How many free pages the database keeps for what comes next: 2 MiB.
const SPARE_PAGES: i64 = 512;
/// How many pages one step gives back to the disk: 1 MiB, which takes about as long as a batch.
const TIDIED_PAGES: i64 = 256;
/// Of how many groups with most entries the lag is looked at for [`Store::largest`].
const SCREENED: u32 = 200;

/// The store on SQLite.
pub struct SqliteStore {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: SqlitePool,
    texts: Texts,
    checkpoints: Checkpoints,
}

struct Writer {
    connection: SqliteConnection,
    /// Set while a transaction is open. It still is at the next commit if the one before was dropped halfway.
    open: bool,
    /// Bytes written since the last checkpoint began, roughly.
    written: u64,
    floors: Floors,
    numbers: Numbers,
}

impl Writer {
    /// Undoes a transaction that failed or was dropped.
    async fn roll_back(&mut self) {
        // Fails if SQLite has rolled back by itself, which is as good.
        let _ = self.connection.execute("ROLLBACK").await;
        self.open = false;
        self.numbers.forget();
    }
}

fn size(path: &Path) -> u64 {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    let files = [path, Path::new(&log)];
    files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum()
}

impl SqliteStore {
    /// Opens the database at `path`, and makes it if there is none. `max_bytes` bounds its size; beyond, a commit fails
    /// with [`StoreError::Full`] as on a full disk.
    ///
    /// # Errors
    /// `STORE_CORRUPT` for a file that is damaged or another program's, `VERSION` for one of a newer relay, `DISK_FULL`,
    /// `HOME_BUSY` or `IO`. The file is left as it is.
    pub async fn open(path: &Path, max_bytes: Option<u64>) -> Result<Self, StartError> {
        let open::Opened { writer, readers, checkpoints } = open::open(path, max_bytes).await?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(Writer {
                connection: writer,
                open: false,
                written: 0,
                floors: Floors::default(),
                numbers: Numbers::default(),
            }),
            readers,
            texts: Texts::new(),
            checkpoints: Checkpoints::start(checkpoints),
        })
    }

    /// The size of the database and its log, in bytes.
    pub fn size(&self) -> u64 {
        size(&self.path)
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let groups = writes.iter().map(Write::group).collect();
        let steps = plan::plan(writes);
        let mut writer = self.writer.lock().await;
        let writer = &mut *writer;
        if writer.open {
            // The transaction before was dropped halfway.
            writer.roll_back().await;
        }
        if self.checkpoints.step(&mut writer.connection, writer.written).await {
            writer.written = 0;
        }
        for group in emptied(&steps) {
            // One that is made again may have small cursors, in this very transaction.
            writer.floors.forget(group);
        }
        writer.written += steps.iter().map(Step::weight).sum::<u64>();
        let outcome = self.transaction(writer, &groups, &steps).await;
        if let Err(e) = &outcome {
            writer.roll_back().await;
            return Err(error(e));
        }
        writer.floors.note(&steps);
        for group in emptied(&steps) {
            // One that is made again gets another number.
            writer.numbers.remove(group);
        }
        if deletions(&steps).next().is_some() {
            point(crash::AFTER_DELETE);
        }
        Ok(())
    }

    async fn transaction(
        &self,
        writer: &mut Writer,
        groups: &BTreeSet<GroupId>,
        steps: &[Step],
    ) -> Result<(), sqlx::Error> {
        let Writer { connection, open, floors, numbers, .. } = writer;
        // Not by sqlx's own transactions: SQLite ends one by itself on some errors, and then sqlx would count wrong.
        *open = true;
        let (known, mut script) = (numbers.know(groups), Script::default());
        // A row by itself is a transaction without being told, and each statement less is a message less from SQLite's
        // thread: this is a push for which somebody waits while there is little else to do.
        let alone = matches!(steps, [Step::Append(rows)] if rows.len() == 1) && known && !armed();
        if !alone {
            script.statement("BEGIN IMMEDIATE");
        }
        if !known {
            script.run(connection).await?;
            numbers.learn(connection, groups).await?;
        }
        let mut transaction =
            Transaction { connection, texts: &self.texts, numbers, floors, is_whole: steps.len() == 1, script };
        for step in steps {
            transaction.apply(step).await?;
        }
        // Where nobody is to die between the last write and the commit, both are one call.
        if armed() {
            transaction.run().await?;
            if deletions(steps).next().is_some() {
                point(crash::MID_DELETE);
            }
            point(crash::MID_COMMIT);
        }
        if !alone {
            transaction.script.statement("COMMIT");
        }
        transaction.run().await?;
        *open = false;
        Ok(())
    }

    async fn read_group(&self, group: GroupId) -> Result<Option<GroupRows>, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(|e| error(&e))?;
        let rows = rows::load(&mut transaction, group).await?;
        transaction.rollback().await.map_err(|e| error(&e))?;
        Ok(rows)
    }

    async fn read_entries(&self, query: EntriesQuery) -> Result<Vec<EntryRow>, StoreError> {
        let text = if query.commits_only {
            "SELECT cursor, kind, sender, body FROM entries \
             WHERE grp = (SELECT number FROM numbers WHERE grp = ?1) \
             AND cursor > ?2 AND cursor <= ?3 AND kind <> 1 AND ?4 = ?4 ORDER BY cursor LIMIT ?5"
        } else {
            "SELECT cursor, kind, sender, body FROM entries \
             WHERE grp = (SELECT number FROM numbers WHERE grp = ?1) \
             AND cursor > ?2 AND cursor <= ?3 AND (kind <> 1 OR sender <> ?4) ORDER BY cursor LIMIT ?5"
        };
        let mut page = Page::new(query.after, query.max_bytes);
        let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
        loop {
            let limit = page.next_rows();
            let mut stream = sqlx::query(text)
                .bind(query.group.as_bytes())
                .bind(number(page.after))
                .bind(number(query.until))
                .bind(query.reader.as_bytes())
                .bind(limit as i64)
                .fetch(&mut *reader);
            let mut rows = 0;
            while let Some(row) = stream.try_next().await.map_err(|e| error(&e))? {
                if !page.take(&row)? {
                    return Ok(page.entries);
                }
                rows += 1;
            }
            if rows < limit || page.is_full() {
                return Ok(page.entries);
            }
        }
    }

    async fn read_welcome(&self, group: GroupId, device: DeviceId) -> Result<Option<Bytes>, StoreError> {
        let text = "SELECT welcome FROM welcomes \
                    WHERE grp = (SELECT number FROM numbers WHERE grp = ?) AND device = ?";
        let row = sqlx::query(text)
            .bind(group.as_bytes())
            .bind(device.as_bytes())
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| error(&e))?;
        row.map(|row| row.try_get::<&[u8], _>(0).map(Bytes::from).map_err(|e| error(&e))).transpose()
    }

    async fn read_served(&self) -> Result<u64, sqlx::Error> {
        let served: Option<i64> =
            sqlx::query_scalar("SELECT served_ms FROM clock").fetch_optional(&self.readers).await?;
        Ok(served.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0))
    }

    async fn write_served(&self, served_ms: u64) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.lock().await;
        if writer.open {
            writer.roll_back().await;
        }
        let text =
            "INSERT INTO clock VALUES (0, ?) ON CONFLICT DO UPDATE SET served_ms = max(served_ms, excluded.served_ms)";
        sqlx::query(text).bind(number(served_ms)).execute(&mut writer.connection).await.map(drop)
    }

    async fn read_kits(&self, key: [u8; 32]) -> Result<Vec<(GroupId, bool)>, StoreError> {
        let text = "SELECT numbers.grp, until_cursor IS NULL FROM kits JOIN numbers ON number = kits.grp \
                    WHERE key = ? ORDER BY from_cursor, numbers.grp LIMIT ?";
        let most = 2 * i64::from(sync_types::limits::KIT_GROUPS);
        let rows = sqlx::query(text).bind(&key[..]).bind(most).fetch_all(&self.readers).await.map_err(|e| error(&e))?;
        rows.iter()
            .map(|row| {
                let group = row.try_get::<&[u8], _>(0).map_err(|e| error(&e))?;
                let group = GroupId::from_slice(group).ok_or_else(|| StoreError::Corrupt("a group's id".into()))?;
                Ok((group, row.try_get::<bool, _>(1).map_err(|e| error(&e))?))
            })
            .collect()
    }

    async fn read_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> Result<Option<SealedSnapshot>, StoreError> {
        // An empty place is before all.
        let after = after.map_or_else(Vec::new, |slot| slot.0.to_vec());
        let text = "SELECT slot, sealed, mac FROM kit_snapshots \
                    WHERE grp = (SELECT number FROM numbers WHERE grp = ?) AND key = ? AND slot > ? \
                    ORDER BY slot LIMIT 1";
        let query = sqlx::query(text).bind(group.as_bytes()).bind(&key[..]).bind(after);
        let Some(row) = query.fetch_optional(&self.readers).await.map_err(|e| error(&e))? else { return Ok(None) };
        let sealed: &[u8] = row.try_get(1).map_err(|e| error(&e))?;
        let (slot, mac) = (SnapshotSlot(columns::fixed(&row, 0)?), Mac(columns::fixed(&row, 2)?));
        Ok(Some(SealedSnapshot { key, slot, sealed: Opaque(sealed.to_vec()), mac }))
    }

    async fn give_back(&self) -> Result<bool, sqlx::Error> {
        let mut writer = self.writer.lock().await;
        if writer.open {
            writer.roll_back().await;
        }
        let connection = &mut writer.connection;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
        let step = (free - SPARE_PAGES).min(TIDIED_PAGES);
        if step > 0 {
            connection.execute(AssertSqlSafe(format!("PRAGMA incremental_vacuum({step})"))).await?;
            // The file itself becomes shorter when the log is merged into it.
            checkpoint::merge(connection).await?;
        }
        Ok(step == TIDIED_PAGES)
    }

    /// Ends all connections; the log is merged into the database. Later calls fail.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.checkpoints.stop().await;
        let mut writer = self.writer.lock().await;
        // The connection's place is taken by one that leads nowhere, so that a late commit fails instead of waiting.
        let nowhere = SqliteConnection::connect("sqlite::memory:").await.map_err(|e| error(&e))?;
        let connection = std::mem::replace(&mut writer.connection, nowhere);
        connection.close().await.map_err(|e| error(&e))
    }
}

impl Store for SqliteStore {
    fn load(&self, group: GroupId) -> StoreFuture<'_, Option<GroupRows>> {
        Box::pin(self.read_group(group))
    }

    fn commit(&self, writes: Vec<Write>) -> StoreFuture<'_, ()> {
        Box::pin(self.write(writes))
    }

    fn entries(&self, query: EntriesQuery) -> StoreFuture<'_, Vec<EntryRow>> {
        Box::pin(self.read_entries(query))
    }

    fn welcome(&self, group: GroupId, device: DeviceId) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(self.read_welcome(group, device))
    }

    fn served(&self) -> StoreFuture<'_, u64> {
        Box::pin(async { self.read_served().await.map_err(|e| error(&e)) })
    }

    fn set_served(&self, served_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.write_served(served_ms).await.map_err(|e| error(&e)) })
    }

    fn kits(&self, key: [u8; 32]) -> StoreFuture<'_, Vec<(GroupId, bool)>> {
        Box::pin(self.read_kits(key))
    }

    fn kit_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> StoreFuture<'_, Option<SealedSnapshot>> {
        Box::pin(self.read_snapshot(group, key, after))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        Box::pin(async {
            let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
            summary::stats(&mut reader).await
        })
    }

    fn token_use(&self) -> StoreFuture<'_, Vec<TokenUse>> {
        Box::pin(async {
            let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
            summary::token_use(&mut reader).await
        })
    }

    fn survey(&self, silent_since_ms: u64) -> StoreFuture<'_, Survey> {
        Box::pin(async move {
            let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
            summary::survey(&mut reader, silent_since_ms).await
        })
    }

    fn largest(&self, order: Order, limit: u32) -> StoreFuture<'_, Vec<GroupSummary>> {
        Box::pin(async move {
            let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
            summary::largest(&mut reader, order, limit, Some(SCREENED)).await
        })
    }

    fn tidy(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { self.give_back().await.map_err(|e| error(&e)) })
    }
}
