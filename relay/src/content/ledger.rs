//! Which content lies in the folder, whose it is, and who has it already: a database beside the content.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use sync_sqlite::Schema;
use sync_types::{ContentHash, DeviceId, GroupId, Sealed};
use tokio::sync::Mutex;

/// The database's name in the folder.
const FILE: &str = "content.db";
/// How much content a group may have at once, however small.
const MOST: i64 = 100_000;

const SCHEMA: Schema = Schema {
    // `0ksc` as a big-endian number.
    application_id: 0x306b_7363,
    migrations: &[include_str!("../../migrations/content/0001_content.sql")],
};

/// Content that a group has given, or is giving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) group: GroupId,
    pub(super) size: u64,
    /// Whether all of it is on the disk.
    pub(super) whole: bool,
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

    pub(super) async fn find(&self, hash: ContentHash) -> Result<Option<Entry>, sqlx::Error> {
        let sql = "SELECT group_id, size, whole FROM content WHERE hash = ?";
        let row = sqlx::query(sql).bind(hash.as_bytes()).fetch_optional(&mut *self.0.lock().await).await?;
        row.map(|row| {
            let size: i64 = row.try_get(1)?;
            Ok(Entry { group: group_of(row.try_get(0)?)?, size: size.unsigned_abs(), whole: row.try_get(2)? })
        })
        .transpose()
    }

    /// How much content there is in all, and how many bytes it has.
    pub(super) async fn all(&self) -> Result<(u64, u64), sqlx::Error> {
        let sql = "SELECT count(*), coalesce(sum(size), 0) FROM content";
        let row = sqlx::query(sql).fetch_one(&mut *self.0.lock().await).await?;
        let at = |column| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
        Ok((at(0)?, at(1)?))
    }

    /// Content is coming from a device, which has it. `at_ms`: when, in the relay's own time. False, and nothing is noted, if
    /// the group would have more than it may with it, in bytes or in number. What began before goes on in any case.
    pub(super) async fn begin(
        &self,
        group: GroupId,
        content: Sealed,
        device: DeviceId,
        at_ms: u64,
        most_bytes: u64,
    ) -> Result<bool, sqlx::Error> {
        let mut connection = self.0.lock().await;
        let mut transaction = connection.begin().await?;
        let known = "UPDATE content SET whole = 0 WHERE group_id = ? AND hash = ?";
        let known = sqlx::query(known).bind(group.as_bytes()).bind(content.hash.as_bytes());
        if known.execute(&mut *transaction).await?.rows_affected() == 0 {
            let room = "SELECT count(*), coalesce(sum(size), 0) FROM content WHERE group_id = ?";
            let row = sqlx::query(room).bind(group.as_bytes()).fetch_one(&mut *transaction).await?;
            let (count, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            if count >= MOST || bytes.unsigned_abs().saturating_add(content.size) > most_bytes {
                return Ok(false);
            }
            sqlx::query("INSERT INTO content VALUES (?, ?, ?, 0, ?)")
                .bind(group.as_bytes())
                .bind(content.hash.as_bytes())
                .bind(number(content.size))
                .bind(number(at_ms))
                .execute(&mut *transaction)
                .await?;
        }
        had(&mut transaction, group, content.hash, device, at_ms).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// All of it is on the disk, from now on. False if it is not known any more.
    pub(super) async fn whole(&self, hash: ContentHash, at_ms: u64) -> Result<bool, sqlx::Error> {
        let sql = "UPDATE content SET whole = 1, at_ms = ? WHERE hash = ?";
        let done = sqlx::query(sql).bind(number(at_ms)).bind(hash.as_bytes());
        Ok(done.execute(&mut *self.0.lock().await).await?.rows_affected() > 0)
    }

    /// It is not on the disk, or not all of it.
    pub(super) async fn lost(&self, hash: ContentHash) -> Result<(), sqlx::Error> {
        let sql = "UPDATE content SET whole = 0 WHERE hash = ?";
        sqlx::query(sql).bind(hash.as_bytes()).execute(&mut *self.0.lock().await).await.map(drop)
    }

    /// A device of the group has these; those that the group has not given are passed over.
    pub(super) async fn note_had(
        &self,
        group: GroupId,
        hashes: &[ContentHash],
        device: DeviceId,
        at_ms: u64,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.0.lock().await;
        let mut transaction = connection.begin().await?;
        for hash in hashes {
            had(&mut transaction, group, *hash, device, at_ms).await?;
        }
        transaction.commit().await
    }

    /// Who of the group has it already.
    pub(super) async fn holders(&self, group: GroupId, hash: ContentHash) -> Result<BTreeSet<DeviceId>, sqlx::Error> {
        let sql = "SELECT device FROM had WHERE group_id = ? AND hash = ?";
        let mut connection = self.0.lock().await;
        let rows = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes()).fetch_all(&mut *connection).await?;
        let device = |row: &sqlx::sqlite::SqliteRow| {
            let wrong = || sqlx::Error::Decode("a device's id has another length".into());
            DeviceId::from_slice(row.try_get(0)?).ok_or_else(wrong)
        };
        rows.iter().map(device).collect()
    }

    /// Whose content there is.
    pub(super) async fn groups(&self) -> Result<Vec<GroupId>, sqlx::Error> {
        let sql = "SELECT DISTINCT group_id FROM content";
        let rows = sqlx::query(sql).fetch_all(&mut *self.0.lock().await).await?;
        rows.iter().map(|row| group_of(row.try_get(0)?)).collect()
    }

    /// What the group has given, and what it is giving.
    pub(super) async fn of(&self, group: GroupId) -> Result<Vec<ContentHash>, sqlx::Error> {
        let sql = "SELECT hash FROM content WHERE group_id = ?";
        let rows = sqlx::query(sql).bind(group.as_bytes()).fetch_all(&mut *self.0.lock().await).await?;
        rows.iter().map(|row| hash_of(row.try_get(0)?)).collect()
    }

    /// What came before this moment of the relay's own time, at most a thousand.
    pub(super) async fn older_than(&self, at_ms: u64) -> Result<Vec<(GroupId, ContentHash)>, sqlx::Error> {
        let sql = "SELECT group_id, hash FROM content WHERE at_ms < ? LIMIT 1000";
        let rows = sqlx::query(sql).bind(number(at_ms)).fetch_all(&mut *self.0.lock().await).await?;
        rows.iter().map(|row| Ok((group_of(row.try_get(0)?)?, hash_of(row.try_get(1)?)?))).collect()
    }

    /// Forgets content, and not who has it.
    pub(super) async fn forget(&self, group: GroupId, hash: ContentHash) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM content WHERE group_id = ? AND hash = ?";
        let query = sqlx::query(sql).bind(group.as_bytes()).bind(hash.as_bytes());
        query.execute(&mut *self.0.lock().await).await.map(drop)
    }

    /// Forgets who of a group has what.
    pub(super) async fn forget_holders(&self, group: GroupId) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM had WHERE group_id = ?";
        sqlx::query(sql).bind(group.as_bytes()).execute(&mut *self.0.lock().await).await.map(drop)
    }

    /// Forgets who has content that is gone, where that was said before this moment of the relay's own time.
    pub(super) async fn forget_old_holders(&self, at_ms: u64) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM had WHERE at_ms < ? AND NOT EXISTS (
                       SELECT 1 FROM content c WHERE c.group_id = had.group_id AND c.hash = had.hash)";
        sqlx::query(sql).bind(number(at_ms)).execute(&mut *self.0.lock().await).await.map(drop)
    }
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
