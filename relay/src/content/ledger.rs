//! Which content lies in the folder, whose it is, and who has it already: a database beside the content. Where relays share a
//! store, that says which content there is, and this one what the folder has of it.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use sync_sqlite::Schema;
use sync_types::{ContentHash, DeviceId, GroupId, Sealed};
use tokio::sync::Mutex;

use crate::store::sqlite::error;
use crate::store::{
    Begun, CONTENTS_OF_A_GROUP, ContentBook, KnownContent, NewContent, OLD_CONTENTS, StoreError, StoreFuture,
};

/// The database's name in the folder.
const FILE: &str = "content.db";
const SCHEMA: Schema = Schema {
    // `0ksc` as a big-endian number.
    application_id: 0x306b_7363,
    migrations: &[
        include_str!("../../migrations/content/0001_content.sql"),
        include_str!("../../migrations/content/0002_groups.sql"),
    ],
};

/// What the folder has of content, as far as a group has given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) size: u64,
    /// Whether all of it is on the disk.
    pub(super) whole: bool,
    /// Whether what is there came from this group alone, so that giving goes on behind it.
    pub(super) own: bool,
    /// When it came, or began to, in the relay's own time.
    pub(super) at_ms: u64,
}

/// The database. Each call is one transaction, and durable when it returns.
pub(super) struct Ledger(Mutex<SqliteConnection>);

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn group_of(bytes: &[u8]) -> Result<GroupId, sqlx::Error> {
    GroupId::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("a group's id has another length".into()))
}

fn hash_of(bytes: &[u8]) -> Result<ContentHash, sqlx::Error> {
    ContentHash::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("a hash has another length".into()))
}

impl Ledger {
    /// Opens the database in this folder, which is made if there is none.
    pub(super) async fn open(folder: &Path) -> Result<Self, sync_sqlite::SchemaError> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join(FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        SCHEMA.migrate(&mut connection).await?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Does something in the database.
    async fn on<T>(
        &self,
        act: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        act(&mut *self.0.lock().await).await.map_err(|e| error(&e))
    }

    pub(super) async fn entry(&self, group: GroupId, hash: ContentHash) -> Result<Option<Entry>, StoreError> {
        self.on(async |on| {
            let sql = "SELECT size, whole, own, at_ms FROM content WHERE group_id = ? AND hash = ?";
            let row = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).fetch_optional(on).await?;
            row.map(|row| {
                let (size, at_ms): (i64, i64) = (row.try_get(0)?, row.try_get(3)?);
                let (whole, own) = (row.try_get(1)?, row.try_get(2)?);
                Ok(Entry { size: size.unsigned_abs(), whole, own, at_ms: at_ms.unsigned_abs() })
            })
            .transpose()
        })
        .await
    }

    /// How much content there is in all, and how many bytes it has.
    pub(super) async fn all(&self) -> Result<(u64, u64), StoreError> {
        self.on(async |on| {
            let row = sqlx::query("SELECT count(*), coalesce(sum(size), 0) FROM content").fetch_one(on).await?;
            let at = |column| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
            Ok((at(0)?, at(1)?))
        })
        .await
    }

    /// Content of a group is coming into the folder, of which that has nothing yet, or something. It was counted elsewhere.
    pub(super) async fn expect(
        &self,
        group: GroupId,
        content: Sealed,
        at_ms: u64,
        nothing_here: bool,
    ) -> Result<(), StoreError> {
        self.on(async |on| {
            let mut transaction = on.begin().await?;
            if !goes_on(&mut transaction, group, content.hash).await? {
                insert(&mut transaction, group, content, at_ms, nothing_here).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// It is not on the disk, not all of it, or not as it was.
    pub(super) async fn lost(&self, hash: ContentHash) -> Result<(), StoreError> {
        self.on(async |on| {
            let sql = "UPDATE content SET whole = 0, own = 0 WHERE hash = ?";
            sqlx::query(sql).bind(hash.as_bytes()).execute(on).await.map(drop)
        })
        .await
    }

    /// Whose content there is.
    pub(super) async fn groups(&self) -> Result<Vec<GroupId>, StoreError> {
        self.on(async |on| {
            let rows = sqlx::query("SELECT DISTINCT group_id FROM content").fetch_all(on).await?;
            rows.iter().map(|row| group_of(row.try_get(0)?)).collect()
        })
        .await
    }

    /// Who had what when this ledger was the one that says so: relays that share a store have kept each its own before.
    pub(super) async fn before_it_was_shared(&self) -> Result<Vec<(GroupId, ContentHash)>, StoreError> {
        self.on(async |on| {
            let rows = sqlx::query("SELECT DISTINCT group_id, hash FROM had").fetch_all(on).await?;
            rows.iter().map(|row| Ok((group_of(row.try_get(0)?)?, hash_of(row.try_get(1)?)?))).collect()
        })
        .await
    }

    /// That is noted elsewhere now.
    pub(super) async fn handed_in(&self, group: GroupId, hash: ContentHash) -> Result<(), StoreError> {
        self.on(async |on| {
            let sql = "DELETE FROM had WHERE group_id = ? AND hash = ?";
            sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).execute(on).await.map(drop)
        })
        .await
    }

    /// Whether any group has given this, or is giving it.
    pub(super) async fn is_wanted(&self, hash: ContentHash) -> Result<bool, StoreError> {
        self.on(async |on| {
            let sql = "SELECT 1 FROM content WHERE hash = ? LIMIT 1";
            Ok(sqlx::query(sql).bind(hash.as_bytes()).fetch_optional(on).await?.is_some())
        })
        .await
    }
}

/// Whether the group has begun to give this before. All of it is not there, then, before that is said anew.
async fn goes_on(on: &mut SqliteConnection, group: GroupId, hash: ContentHash) -> Result<bool, sqlx::Error> {
    let sql = "UPDATE content SET whole = 0 WHERE group_id = ? AND hash = ?";
    let done = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).execute(on).await?;
    Ok(done.rows_affected() > 0)
}

/// Who only knows the hash that another group gives would else be told that the rest of it is there.
async fn insert(
    on: &mut SqliteConnection,
    group: GroupId,
    content: Sealed,
    at_ms: u64,
    nothing_here: bool,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO content (group_id, hash, size, whole, own, at_ms)
               VALUES (?1, ?2, ?3, 0, ?4 AND NOT EXISTS (SELECT 1 FROM content WHERE hash = ?2), ?5)";
    sqlx::query(sql)
        .bind(group.as_bytes())
        .bind(content.hash.as_bytes())
        .bind(number(content.size))
        .bind(nothing_here)
        .bind(number(at_ms))
        .execute(&mut *on)
        .await?;
    let sql = "UPDATE content SET own = 0 WHERE hash = ? AND group_id <> ? AND whole = 0";
    sqlx::query(sql).bind(content.hash.as_bytes()).bind(group.as_bytes()).execute(on).await.map(drop)
}

async fn had(
    on: &mut SqliteConnection,
    group: GroupId,
    hash: ContentHash,
    device: DeviceId,
    at_ms: u64,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT OR REPLACE INTO had SELECT group_id, hash, ?, ? FROM content WHERE group_id = ? AND hash = ?";
    let query = sqlx::query(sql).bind(device.as_bytes()).bind(number(at_ms));
    query.bind(group.as_bytes()).bind(hash.as_bytes()).execute(on).await.map(drop)
}

async fn holders(
    on: &mut SqliteConnection,
    group: GroupId,
    hash: ContentHash,
) -> Result<BTreeSet<DeviceId>, sqlx::Error> {
    let sql = "SELECT device FROM had WHERE group_id = ? AND hash = ?";
    let rows = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).fetch_all(on).await?;
    let device = |row: &sqlx::sqlite::SqliteRow| {
        let wrong = || sqlx::Error::Decode("a device's id has another length".into());
        DeviceId::from_slice(row.try_get(0)?).ok_or_else(wrong)
    };
    rows.iter().map(device).collect()
}

async fn is_known(on: &mut SqliteConnection, group: GroupId, hash: ContentHash) -> Result<bool, sqlx::Error> {
    let sql = "SELECT 1 FROM content WHERE group_id = ? AND hash = ?";
    Ok(sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).fetch_optional(on).await?.is_some())
}

async fn of(on: &mut SqliteConnection, group: GroupId) -> Result<Vec<ContentHash>, sqlx::Error> {
    let sql = "SELECT hash FROM content WHERE group_id = ?";
    let rows = sqlx::query(sql).bind(group.as_bytes()).fetch_all(on).await?;
    rows.iter().map(|row| hash_of(row.try_get(0)?)).collect()
}

impl ContentBook for Ledger {
    fn find(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, Option<KnownContent>> {
        Box::pin(async move {
            let entry = self.entry(group, hash).await?;
            Ok(entry.map(|entry| KnownContent { size: entry.size, whole: entry.whole }))
        })
    }

    fn begin(&self, new: NewContent) -> StoreFuture<'_, Begun> {
        let NewContent { group, content, device, at_ms, most_bytes, nothing_here } = new;
        Box::pin(self.on(async move |on| {
            let mut transaction = on.begin().await?;
            if !goes_on(&mut transaction, group, content.hash).await? {
                let room = "SELECT count(*), coalesce(sum(size), 0) FROM content WHERE group_id = ?";
                let row = sqlx::query(room).bind(group.as_bytes()).fetch_one(&mut *transaction).await?;
                let (count, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                let bytes = bytes.unsigned_abs().saturating_add(content.size);
                if count.unsigned_abs() >= CONTENTS_OF_A_GROUP || bytes > most_bytes {
                    return Ok(Begun::Full);
                }
                insert(&mut transaction, group, content, at_ms, nothing_here).await?;
            }
            had(&mut transaction, group, content.hash, device, at_ms).await?;
            transaction.commit().await?;
            Ok(Begun::Yes)
        }))
    }

    fn whole(&self, group: GroupId, content: Sealed, at_ms: u64) -> StoreFuture<'_, bool> {
        Box::pin(self.on(async move |on| {
            let sql = "UPDATE content SET whole = 1, own = 1, at_ms = ? WHERE group_id = ? AND hash = ?";
            let done = sqlx::query(sql).bind(number(at_ms)).bind(group.as_bytes()).bind(content.hash.as_bytes());
            Ok(done.execute(on).await?.rows_affected() > 0)
        }))
    }

    fn note_had(&self, group: GroupId, hashes: Vec<ContentHash>, device: DeviceId, at_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(self.on(async move |on| {
            let mut transaction = on.begin().await?;
            for hash in hashes {
                had(&mut transaction, group, hash, device, at_ms).await?;
            }
            transaction.commit().await
        }))
    }

    fn holders(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, BTreeSet<DeviceId>> {
        Box::pin(self.on(async move |on| holders(on, group, hash).await))
    }

    fn held(
        &self,
        group: GroupId,
        those: Option<Vec<ContentHash>>,
    ) -> StoreFuture<'_, Vec<(ContentHash, BTreeSet<DeviceId>)>> {
        Box::pin(self.on(async move |on| {
            let hashes = match those {
                Some(hashes) => hashes,
                None => of(on, group).await?,
            };
            let mut found = Vec::new();
            for hash in hashes {
                if is_known(on, group, hash).await? {
                    found.push((hash, holders(on, group, hash).await?));
                }
            }
            Ok(found)
        }))
    }

    fn of(&self, group: GroupId) -> StoreFuture<'_, Vec<ContentHash>> {
        Box::pin(self.on(async move |on| of(on, group).await))
    }

    fn older_than(&self, at_ms: u64) -> StoreFuture<'_, Vec<(GroupId, ContentHash)>> {
        Box::pin(self.on(async move |on| {
            let sql = "SELECT group_id, hash FROM content WHERE at_ms < ? LIMIT ?";
            let rows = sqlx::query(sql).bind(number(at_ms)).bind(OLD_CONTENTS).fetch_all(on).await?;
            rows.iter().map(|row| Ok((group_of(row.try_get(0)?)?, hash_of(row.try_get(1)?)?))).collect()
        }))
    }

    fn forget(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, bool> {
        Box::pin(self.on(async move |on| {
            let sql = "DELETE FROM content WHERE group_id = ? AND hash = ?";
            let done = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).execute(on).await?;
            Ok(done.rows_affected() > 0)
        }))
    }

    fn forget_holders(&self, group: GroupId) -> StoreFuture<'_, ()> {
        Box::pin(self.on(async move |on| {
            let sql = "DELETE FROM had WHERE group_id = ?";
            sqlx::query(sql).bind(group.as_bytes()).execute(on).await.map(drop)
        }))
    }

    fn forget_old_holders(&self, at_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(self.on(async move |on| {
            let sql = "DELETE FROM had WHERE at_ms < ? AND NOT EXISTS (
                           SELECT 1 FROM content c WHERE c.group_id = had.group_id AND c.hash = had.hash)";
            sqlx::query(sql).bind(number(at_ms)).execute(on).await.map(drop)
        }))
    }
}
