//! The store on PostgreSQL: one database for several relays, each with its own sessions.
//!
//! Each relay decides in memory, on rows that it has loaded, so it may decide on rows that another has changed since. Every
//! group has a revision, which each transaction draws anew, and begins with naming for each of its groups the one that was
//! decided on: of one whose revision is another by now nothing is written ([`StoreError::Stale`]), and it is loaded and
//! decided on anew. So for each group there is one order of decisions, as with one relay, however many work on it and however late they hear
//! of each other ([`wake`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgPool, Row};
use sync_types::frame::{Mac, SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, GroupId, Opaque};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::error::error;
use self::known::Known;
use self::open::Doubt;
use self::wake::{Ear, Outbox};
use super::columns::{Columns, Page, blob, fixed, number, unsigned};
use super::plan::{self, Floors};
use super::{
    Bytes, Elsewhere, EntriesQuery, EntryRow, GroupRows, GroupSummary, Heard, Meeting, News, Order, Shared,
    SharedContent, Store, StoreError, StoreFuture, StoreStats, Survey, TokenUse, Write,
};
use crate::StartError;

mod apply;
mod content;
mod error;
mod known;
mod meeting;
mod open;
mod payload;
mod rows;
mod summary;
mod texts;
mod view;
mod wake;

pub use open::SETTINGS;
pub use texts::{STATEMENTS, Scope, Statement};
pub use view::View;

/// How long to wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a transaction or a load may take in all. The server ends what takes long by itself; this ends what waits for a
/// server that is gone without a word.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of what other relays do may wait for the hub.
const HEARD: usize = 1_024;

/// How a question over all groups is asked: nobody waits for it but a relay that starts, and it goes over whole tables.
const OVER_ALL: &str = "SET LOCAL statement_timeout = '10min'; SET LOCAL enable_seqscan = on";

/// The store on PostgreSQL.
pub struct PostgresStore {
    writers: PgPool,
    readers: PgPool,
    meeters: PgPool,
    /// For large content, and how many of them carry bytes of it at once: the others answer questions.
    carriers: PgPool,
    carrying: Semaphore,
    doubt: Arc<Doubt>,
    known: Arc<Known>,
    /// Locked while a transaction is under way: of one relay there is one at a time.
    floors: tokio::sync::Mutex<Floors>,
    node: i64,
    outbox: Arc<Outbox>,
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    /// Set off when another relay may have sent something for a pairing.
    post: Arc<Notify>,
    tasks: [AbortHandle; 2],
}

impl PostgresStore {
    /// Opens the database behind a `postgres://` URL and brings its schema up to date. Several relays may do so at once.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no such URL, `STORE_CORRUPT` for another program's database, `VERSION` for one of a newer
    /// relay, `DISK_FULL`, or `IO` for one that cannot be reached. No message holds the URL's password.
    pub async fn open(url: &str) -> Result<Self, StartError> {
        let open::Opened { writers, readers, meeters, carriers, options, doubt } = open::open(url).await?;
        let node = draw()
            .map_err(|e| StartError::new(sync_types::Code::Io, format!("the system gives no randomness: {e}")))?;
        wake::beat(&writers, node).await.map_err(|e| StartError::store("the database", &error(&e)))?;
        let (to, heard) = mpsc::channel(HEARD);
        let (known, outbox) = (Arc::new(Known::default()), Arc::new(Outbox::default()));
        let post = Arc::new(Notify::new());
        let tasks = [
            tokio::spawn(wake::speak(writers.clone(), node, outbox.clone(), to.clone())).abort_handle(),
            tokio::spawn(wake::listen(Ear { options, node, known: known.clone(), to, post: post.clone() }))
                .abort_handle(),
        ];
        let floors = tokio::sync::Mutex::default();
        Ok(Self {
            writers,
            readers,
            meeters,
            carriers,
            carrying: Semaphore::new(open::CARRYING),
            doubt,
            known,
            floors,
            node,
            outbox,
            heard: Mutex::new(Some(heard)),
            post,
            tasks,
        })
    }

    async fn read_group(&self, group: GroupId) -> Result<Option<GroupRows>, StoreError> {
        let rows =
            sqlx::query(texts::LOAD).bind(group.as_bytes()).fetch_all(&self.readers).await.map_err(|e| error(&e))?;
        let (revision, rows) = rows::group(rows, group);
        self.known.set(group, revision);
        // Another relay may have deleted the group, and somebody made it anew.
        self.floors.lock().await.forget(&group);
        rows
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let groups: BTreeSet<GroupId> = writes.iter().map(Write::group).collect();
        let mut floors = self.floors.lock().await;
        let known = self.known.take(&groups);
        let revision = draw().map_err(|e| StoreError::Io(e.to_string()))?;
        let stale = match timeout(PATIENCE, self.transaction(&known, revision, writes, &mut floors)).await {
            Ok(Ok(stale)) => stale,
            Ok(Err(e)) => return Err(self.doubted(error(&e))),
            Err(_) => return Err(self.doubted(StoreError::Busy)),
        };
        for group in groups.difference(&stale) {
            self.known.set(*group, Some(revision));
        }
        if stale.is_empty() { Ok(()) } else { Err(StoreError::Stale(stale.into_iter().collect())) }
    }

    /// Writes all but what is of groups that another relay has written to, which it returns.
    async fn transaction(
        &self,
        known: &[(GroupId, Option<i64>)],
        revision: i64,
        mut writes: Vec<Write>,
        floors: &mut Floors,
    ) -> Result<BTreeSet<GroupId>, sqlx::Error> {
        let mut transaction = self.writers.begin().await?;
        let hit = fence(&mut transaction, known, revision).await?;
        let stale: BTreeSet<GroupId> = known.iter().map(|(group, _)| *group).filter(|g| !hit.contains(g)).collect();
        if hit.is_empty() {
            transaction.rollback().await?;
            return Ok(stale);
        }
        writes.retain(|write| hit.contains(&write.group()));
        let steps = plan::plan(writes);
        plan::emptied(&steps).for_each(|group| floors.forget(group));
        for step in &steps {
            apply::apply(&mut transaction, step, floors).await?;
        }
        let hit: Vec<GroupId> = hit.into_iter().collect();
        wake::notify(&mut transaction, payload::of_revision(self.node, revision, &hit)).await?;
        transaction.commit().await?;
        floors.note(&steps);
        Ok(stale)
    }

    async fn read_entries(&self, query: EntriesQuery) -> Result<Vec<EntryRow>, StoreError> {
        let mut page = Page::new(query.after, query.max_bytes);
        let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
        loop {
            let limit = page.next_rows();
            let text = if query.commits_only { texts::ORDERED } else { texts::ENTRIES };
            let mut asked =
                sqlx::query(text).bind(query.group.as_bytes()).bind(number(page.after)).bind(number(query.until));
            if !query.commits_only {
                asked = asked.bind(query.reader.as_bytes());
            }
            let mut stream = reader.fetch(asked.bind(limit as i64));
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
        let row = self.optional(sqlx::query(texts::WELCOME).bind(group.as_bytes()).bind(device.as_bytes())).await?;
        row.map(|row| blob(&row, 0).map(Bytes::from)).transpose()
    }

    async fn read_kits(&self, key: [u8; 32]) -> Result<Vec<(GroupId, bool)>, StoreError> {
        let most = 2 * i64::from(sync_types::limits::KIT_GROUPS);
        let asked = sqlx::query(texts::GROUPS_OF_KIT).bind(&key[..]).bind(most);
        let rows = asked.fetch_all(&self.readers).await.map_err(|e| error(&e))?;
        rows.iter().map(|row| Ok((GroupId(fixed(row, 0)?), unsigned(row, 1)? != 0))).collect()
    }

    async fn read_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> Result<Option<SealedSnapshot>, StoreError> {
        // An empty place is before all.
        let after = after.map_or_else(Vec::new, |slot| slot.0.to_vec());
        let asked = sqlx::query(texts::SNAPSHOT_OF_KIT).bind(group.as_bytes()).bind(&key[..]).bind(after);
        let Some(row) = self.optional(asked).await? else { return Ok(None) };
        let (slot, mac) = (SnapshotSlot(fixed(&row, 0)?), Mac(fixed(&row, 2)?));
        Ok(Some(SealedSnapshot { key, slot, sealed: Opaque(blob(&row, 1)?.to_vec()), mac }))
    }

    /// Asks over all groups, with more patience than what a device waits for.
    async fn over_all<T>(
        &self,
        ask: impl AsyncFnOnce(&mut sqlx::PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(|e| error(&e))?;
        transaction.execute(sqlx::raw_sql(OVER_ALL)).await.map_err(|e| error(&e))?;
        let answer = ask(&mut transaction).await?;
        transaction.rollback().await.map_err(|e| error(&e))?;
        Ok(answer)
    }

    async fn optional(
        &self,
        asked: sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Option<PgRow>, StoreError> {
        asked.fetch_optional(&self.readers).await.map_err(|e| error(&e))
    }

    /// Notes that connections may be dead, if that is why something failed.
    fn doubted(&self, error: StoreError) -> StoreError {
        if error == StoreError::Busy {
            self.doubt.raise();
        }
        error
    }

    /// Ends what waits for a server that is gone without a word.
    async fn bounded<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(PATIENCE, asked).await.unwrap_or(Err(StoreError::Busy)).map_err(|error| self.doubted(error))
    }

    /// A number of the one row of `clock`.
    async fn clock(&self, text: &'static str) -> Result<u64, StoreError> {
        unsigned(&sqlx::query(text).fetch_one(&self.readers).await.map_err(|e| error(&e))?, 0)
    }

    async fn raise_first_cursor(&self, first_cursor: u64) -> Result<u64, StoreError> {
        let asked = sqlx::query(texts::RAISE_FIRST_CURSOR).bind(number(first_cursor));
        unsigned(&asked.fetch_one(&self.writers).await.map_err(|e| error(&e))?, 0)
    }

    async fn read_elsewhere(&self, group: GroupId) -> Result<Elsewhere, StoreError> {
        let asked = sqlx::query(texts::ELSEWHERE).bind(group.as_bytes()).bind(self.node);
        let row = asked.fetch_one(&self.readers).await.map_err(|e| error(&e))?;
        let devices: Vec<Vec<u8>> = row.try_get(2).map_err(|e| error(&e))?;
        let device = |bytes: &Vec<u8>| {
            let id = bytes
                .as_slice()
                .try_into()
                .map_err(|_| StoreError::Corrupt("a device's id has another length".into()))?;
            Ok(DeviceId(id))
        };
        let attached = devices.iter().map(device).collect::<Result<_, StoreError>>()?;
        Ok(Elsewhere { attached, first_cursor: unsigned(&row, 0)?, number: unsigned(&row, 1)? })
    }

    async fn read_changed(&self, mut groups: Vec<GroupId>) -> Result<Vec<GroupId>, StoreError> {
        let ids: Vec<&[u8]> = groups.iter().map(|group| &group.0[..]).collect();
        let rows = sqlx::query(texts::REVISIONS).bind(ids).fetch_all(&self.readers).await.map_err(|e| error(&e))?;
        let mut present = std::collections::BTreeMap::new();
        for row in &rows {
            present.insert(GroupId(fixed(row, 0)?), row.integer(1)?);
        }
        groups.retain(|group| present.get(group).copied().flatten() != self.known.of(*group));
        Ok(groups)
    }

    /// Ends all connections; other relays take nobody for attached here any more. Later calls fail.
    pub async fn close(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let buried = async {
            sqlx::query(texts::BURY).bind(self.node).execute(&self.writers).await?;
            wake::notify(&mut *self.writers.acquire().await?, vec![payload::of_bye(self.node)]).await
        };
        if let Err(error) = buried.await {
            // They notice it after a while.
            tracing::warn!(%error, "the database does not hear that this relay stops");
        }
        self.readers.close().await;
        self.meeters.close().await;
        self.carriers.close().await;
        self.writers.close().await;
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A number that nobody else draws.
fn draw() -> Result<i64, getrandom::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    Ok(i64::from_ne_bytes(random))
}

/// Gives each group the next revision, if its present one is that which is known, and returns those that have got it.
async fn fence(
    on: &mut sqlx::PgConnection,
    known: &[(GroupId, Option<i64>)],
    revision: i64,
) -> Result<BTreeSet<GroupId>, sqlx::Error> {
    let mut hit = BTreeSet::new();
    let mut take = |rows: Vec<PgRow>| {
        for row in rows {
            hit.insert(GroupId(fixed(&row, 0).map_err(|e| sqlx::Error::Decode(Box::new(e)))?));
        }
        Ok::<(), sqlx::Error>(())
    };
    let (ids, revisions): (Vec<&[u8]>, Vec<i64>) =
        known.iter().filter_map(|(g, known)| Some((&g.0[..], (*known)?))).unzip();
    if !ids.is_empty() {
        take(sqlx::query(texts::ADVANCE).bind(ids).bind(revisions).bind(revision).fetch_all(&mut *on).await?)?;
    }
    let new: Vec<&[u8]> = known.iter().filter(|(_, known)| known.is_none()).map(|(group, _)| &group.0[..]).collect();
    if !new.is_empty() {
        take(sqlx::query(texts::FOUND).bind(new).bind(revision).fetch_all(&mut *on).await?)?;
    }
    Ok(hit)
}

impl Shared for PostgresStore {
    fn heard(&self) -> Option<mpsc::Receiver<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn begin(&self, first_cursor: u64) -> StoreFuture<'_, u64> {
        Box::pin(self.raise_first_cursor(first_cursor))
    }

    fn elsewhere(&self, group: GroupId) -> StoreFuture<'_, Elsewhere> {
        Box::pin(self.bounded(self.read_elsewhere(group)))
    }

    fn changed(&self, groups: Vec<GroupId>) -> StoreFuture<'_, Vec<GroupId>> {
        Box::pin(self.bounded(self.read_changed(groups)))
    }

    fn tell(&self, news: News) {
        self.outbox.put(news);
    }

    fn meeting(&self) -> &dyn Meeting {
        self
    }

    fn content(&self) -> &dyn SharedContent {
        self
    }
}

impl Store for PostgresStore {
    fn load(&self, group: GroupId) -> StoreFuture<'_, Option<GroupRows>> {
        Box::pin(self.bounded(self.read_group(group)))
    }

    fn commit(&self, writes: Vec<Write>) -> StoreFuture<'_, ()> {
        Box::pin(self.write(writes))
    }

    fn entries(&self, query: EntriesQuery) -> StoreFuture<'_, Vec<EntryRow>> {
        Box::pin(self.bounded(self.read_entries(query)))
    }

    fn welcome(&self, group: GroupId, device: DeviceId) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(self.bounded(self.read_welcome(group, device)))
    }

    fn served(&self) -> StoreFuture<'_, u64> {
        Box::pin(self.bounded(self.clock(texts::SERVED)))
    }

    fn set_served(&self, served_ms: u64) -> StoreFuture<'_, ()> {
        let asked = sqlx::query(texts::SET_SERVED).bind(number(served_ms));
        Box::pin(self.bounded(async move { asked.execute(&self.writers).await.map(drop).map_err(|e| error(&e)) }))
    }

    fn token_use(&self) -> StoreFuture<'_, Vec<TokenUse>> {
        Box::pin(self.over_all(summary::token_use))
    }

    fn kits(&self, key: [u8; 32]) -> StoreFuture<'_, Vec<(GroupId, bool)>> {
        Box::pin(self.bounded(self.read_kits(key)))
    }

    fn kit_snapshot(
        &self,
        group: GroupId,
        key: [u8; 32],
        after: Option<SnapshotSlot>,
    ) -> StoreFuture<'_, Option<SealedSnapshot>> {
        Box::pin(self.bounded(self.read_snapshot(group, key, after)))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        Box::pin(self.over_all(summary::stats))
    }

    /// Without what would be looked for in whole tables: `sync-relay admin` does that.
    fn survey(&self, _silent_since_ms: u64) -> StoreFuture<'_, Survey> {
        Box::pin(self.bounded(async {
            let mut reader = self.readers.acquire().await.map_err(|e| error(&e))?;
            Ok(Survey { store_bytes: Some(summary::size(&mut reader).await?), ..Survey::default() })
        }))
    }

    fn largest(&self, order: Order, limit: u32) -> StoreFuture<'_, Vec<GroupSummary>> {
        Box::pin(self.over_all(async move |from| summary::largest(from, order, limit).await))
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}
