//! Files: which there are, and what becomes of their content. The list follows from the log; what is secret of a file is read
//! from there, where it is sealed.

use std::collections::HashSet;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite};
use sync_core::vault::Cell;
use sync_types::content::{FILES_CHANNEL, FilePut, FileRecord};
use sync_types::{BlobId, ContentHash, DeviceId, GroupId, Sealed, decode};

use super::Turn;
use super::apply::{bad_row, number};
use super::consumers::{LogReader, hand_out};
use crate::vault::Sealing;
use crate::{ReceivedBlob, SyncError};

/// Something that is known of a file or its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileNote {
    /// The log tells of this file. If its content is new, this device need not give it to this group: it has it from there.
    Listed(BlobId, Sealed, GroupId),
    /// A file was put here: all of its content is here, and is to be given.
    Put(BlobId, Sealed),
    /// A file is not wanted any more.
    Removed(BlobId),
    /// A file's content is not what its sender said.
    Forged(BlobId),
    /// A person or the app waits no more for a large blob whose bytes do not come.
    Skipped(BlobId),
    /// All of this content is here.
    Here(Sealed),
    /// This content was taken to be here, and is not.
    Gone(Sealed),
    /// A relay of this group has this content, and knows that this device has it.
    Given(Sealed, GroupId, DeviceId),
    /// The relays know that this device has this content, or does not want it.
    Told(Sealed, DeviceId),
    /// This content was forgotten.
    Forgotten(Sealed),
    /// The group has other devices or other relays: what is here is to be given once more, to those who lack it.
    Again,
}

/// A file of the list.
#[derive(Debug)]
pub(crate) struct FileRow {
    pub(crate) id: BlobId,
    pub(crate) position: u64,
    pub(crate) device: DeviceId,
    pub(crate) record: FilePut,
    pub(crate) content: Sealed,
    pub(crate) forged: bool,
    pub(crate) here: bool,
    pub(crate) given: bool,
}

/// Content with which something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) content: Sealed,
    /// A file that has it.
    pub(crate) file: Option<BlobId>,
    /// A large blob that has it.
    pub(crate) blob: Option<BlobId>,
    pub(crate) here: bool,
    /// Whether the group has it, as far as that is this device's concern.
    pub(crate) given: bool,
    /// Whether the relays know that this device has it.
    pub(crate) told: bool,
    /// Whether no file has it any more.
    pub(crate) dropped: bool,
    /// Whether it is forgotten.
    pub(crate) forgotten: bool,
}

/// Whether there is anything of files.
pub(super) async fn any(connection: &mut SqliteConnection) -> Result<bool, SyncError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM blob WHERE channel = '0ksync/files') OR EXISTS (SELECT 1 FROM content)";
    Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
}

const COLUMNS: &str = "f.id, b.position, coalesce(b.origin, b.sender), b.snapshot, b.data, f.hash, f.size, f.forged,
                       coalesce(c.here, 0), c.hash IS NULL OR c.given IS ?1";
const FROM: &str = "file f CROSS JOIN blob b ON b.id = f.id LEFT JOIN content c ON c.hash = f.hash AND c.size = f.size
                    WHERE f.removed = 0 AND f.hash IS NOT NULL AND b.large = 0";

impl LogReader {
    /// Records of files that were not looked at yet, in the order of positions, at most so many.
    pub(crate) async fn file_records(&self, limit: i64) -> Result<Vec<ReceivedBlob>, SyncError> {
        // The channel stands there as the index has it. Its consumer is named as the channel is.
        let sql =
            "SELECT position, id, coalesce(origin, sender), coalesce(seq, 0), channel, data, snapshot, 0, received
                   FROM blob WHERE channel = '0ksync/files' AND position > coalesce(
                       (SELECT c.position FROM consumer c WHERE c.name = ?1 AND c.channel = ?1), 0)
                   ORDER BY position LIMIT ?2";
        let query = sqlx::query(sql).bind(FILES_CHANNEL).bind(limit);
        Ok(hand_out(query.fetch_all(self.pool()).await?, &self.vault)?.blobs)
    }

    /// The files, in the order of positions.
    pub(crate) async fn files(&self, group: Option<GroupId>) -> Result<Vec<FileRow>, SyncError> {
        let sql = format!("SELECT {COLUMNS} FROM {FROM} ORDER BY b.position");
        let query = sqlx::query::<Sqlite>(sqlx::AssertSqlSafe(sql)).bind(group.map(|group| group.0.to_vec()));
        query.fetch_all(self.pool()).await?.iter().map(|row| file(row, &self.vault)).collect()
    }

    /// One of them; `None` if there is no such file, or none any more.
    pub(crate) async fn file(&self, id: BlobId, group: Option<GroupId>) -> Result<Option<FileRow>, SyncError> {
        let sql = format!("SELECT {COLUMNS} FROM {FROM} AND f.id = ?2");
        let query = sqlx::query::<Sqlite>(sqlx::AssertSqlSafe(sql)).bind(group.map(|group| group.0.to_vec()));
        let row = query.bind(id.as_bytes()).fetch_optional(self.pool()).await?;
        row.map(|row| file(&row, &self.vault)).transpose()
    }

    /// Whether all of this content is here, and some file has it.
    pub(crate) async fn has_content(&self, content: Sealed) -> Result<bool, SyncError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM content WHERE hash = ? AND size = ? AND here = 1 AND dropped = 0)";
        let query = sqlx::query_scalar(sql).bind(content.hash.as_bytes()).bind(number(content.size)?);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// All content that is known of.
    pub(crate) async fn contents(&self) -> Result<HashSet<ContentHash>, SyncError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM content").fetch_all(self.pool()).await?;
        hashes.iter().map(|hash| ContentHash::from_slice(hash).ok_or_else(bad_row)).collect()
    }

    /// Content with which something is to be done by this device of this group, the smallest first.
    pub(crate) async fn loads(&self, group: GroupId, device: DeviceId) -> Result<Vec<Load>, SyncError> {
        let sql = "SELECT c.hash, c.size, c.here, c.given IS ?1, c.told IS ?2, c.dropped,
                       (SELECT f.id FROM file f WHERE f.hash = c.hash AND f.size = c.size AND f.removed = 0
                            AND f.forged = 0 AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.id = f.id AND b.large > 0)
                        LIMIT 1),
                       (SELECT f.id FROM file f CROSS JOIN blob b ON b.id = f.id WHERE f.hash = c.hash
                            AND f.size = c.size AND f.removed = 0 AND f.forged = 0 AND b.large > 0 LIMIT 1)
                   FROM content c WHERE c.here = 0 OR c.given IS NOT ?1 OR c.told IS NOT ?2 OR c.dropped = 1
                   ORDER BY c.size, c.hash";
        let rows = sqlx::query(sql).bind(group.as_bytes()).bind(device.as_bytes()).fetch_all(self.pool()).await?;
        let load = |row: &SqliteRow| {
            let dropped: i64 = row.try_get(5)?;
            let id = |at: usize| {
                let id: Option<Vec<u8>> = row.try_get(at)?;
                id.map(|id| BlobId::from_slice(&id).ok_or_else(bad_row)).transpose()
            };
            Ok(Load {
                content: sealed(row, 0)?,
                file: id(6)?,
                blob: id(7)?,
                here: row.try_get(2)?,
                given: row.try_get(3)?,
                told: row.try_get(4)?,
                dropped: dropped > 0,
                forgotten: dropped > 1,
            })
        };
        rows.iter().map(load).collect()
    }
}

impl Turn<'_> {
    /// Notes what is known of files, in its order.
    pub(crate) async fn note_files(&mut self, notes: Vec<FileNote>) -> Result<(), SyncError> {
        self.tells_of_files |= !notes.is_empty();
        for note in notes {
            match note {
                FileNote::Listed(id, content, group) => self.list(id, content, false, Some(group))?,
                FileNote::Put(id, content) => self.list(id, content, true, None)?,
                FileNote::Removed(id) => {
                    // A large blob is no file: it goes when its row does.
                    let sql = "INSERT INTO file (id, removed)
                               SELECT ?, 1 WHERE NOT EXISTS (SELECT 1 FROM blob WHERE id = ? AND large > 0)
                               ON CONFLICT (id) DO UPDATE SET removed = 1";
                    self.script.statement(sql).bind(id.as_bytes()).bind(id.as_bytes());
                    self.drop_content_of(id);
                }
                FileNote::Forged(id) => {
                    self.script.statement("UPDATE file SET forged = 1 WHERE id = ?").bind(id.as_bytes());
                    self.drop_content_of(id);
                    self.forge_large(id).await?;
                }
                FileNote::Skipped(id) => self.skip_large(id).await?,
                FileNote::Here(content) => {
                    self.set("here = 1", content)?;
                    self.set_large(content, true).await?;
                }
                FileNote::Gone(content) => {
                    self.set("here = 0", content)?;
                    self.set_large(content, false).await?;
                }
                FileNote::Given(content, group, device) => {
                    let script =
                        self.script.statement("UPDATE content SET given = ?, told = ? WHERE hash = ? AND size = ?");
                    script.bind(group.as_bytes()).bind(device.as_bytes());
                    script.bind(content.hash.as_bytes()).bind(number(content.size)?);
                }
                FileNote::Told(content, device) => {
                    let script = self.script.statement("UPDATE content SET told = ? WHERE hash = ? AND size = ?");
                    script.bind(device.as_bytes()).bind(content.hash.as_bytes()).bind(number(content.size)?);
                    self.drop_row(content)?;
                }
                FileNote::Again => {
                    self.script.statement("UPDATE content SET given = NULL WHERE here = 1 AND dropped = 0");
                }
                FileNote::Forgotten(content) => {
                    let sql = "UPDATE content SET dropped = 2, here = 0 WHERE hash = ? AND size = ? AND dropped > 0";
                    self.script.statement(sql).bind(content.hash.as_bytes()).bind(number(content.size)?);
                    self.drop_row(content)?;
                }
            }
            self.make_room().await?;
        }
        Ok(())
    }

    fn list(&mut self, id: BlobId, content: Sealed, here: bool, given: Option<GroupId>) -> Result<(), SyncError> {
        let (hash, size) = (content.hash, number(content.size)?);
        // One that was removed before stays removed.
        let sql = "INSERT INTO file (id, hash, size) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING";
        self.script.statement(sql).bind(id.as_bytes()).bind(hash.as_bytes()).bind(size);
        // Content that was dropped, and that another file has now, is wanted again.
        let sql = "INSERT INTO content (hash, size, here, given)
                   SELECT hash, size, ?, ? FROM file WHERE id = ? AND hash IS NOT NULL AND removed = 0 AND forged = 0
                   ON CONFLICT (hash, size) DO UPDATE SET here = max(here, excluded.here), dropped = 0";
        let script = self.script.statement(sql).bind(here).bind(given.map(|group| group.0.to_vec()));
        script.bind(id.as_bytes());
        Ok(())
    }

    fn set(&mut self, what: &str, content: Sealed) -> Result<(), SyncError> {
        let script = self.script.statement(&format!("UPDATE content SET {what} WHERE hash = ? AND size = ?"));
        script.bind(content.hash.as_bytes()).bind(number(content.size)?);
        Ok(())
    }

    /// What this file alone had of content is to be forgotten.
    pub(super) fn drop_content_of(&mut self, id: BlobId) {
        let sql = "UPDATE content SET dropped = max(dropped, 1)
                   WHERE (hash, size) = (SELECT hash, size FROM file WHERE id = ?) AND NOT EXISTS (
                       SELECT 1 FROM file f WHERE f.hash = content.hash AND f.size = content.size
                           AND f.removed = 0 AND f.forged = 0)";
        self.script.statement(sql).bind(id.as_bytes());
    }

    /// Content that is forgotten, and of which no relay waits to hear, has nothing to be kept for.
    fn drop_row(&mut self, content: Sealed) -> Result<(), SyncError> {
        let sql = "DELETE FROM content WHERE hash = ? AND size = ? AND dropped = 2 AND told IS NOT NULL";
        self.script.statement(sql).bind(content.hash.as_bytes()).bind(number(content.size)?);
        Ok(())
    }
}

fn sealed(row: &SqliteRow, at: usize) -> Result<Sealed, SyncError> {
    let hash = ContentHash::from_slice(row.try_get(at)?).ok_or_else(bad_row)?;
    Ok(Sealed { hash, size: row.try_get::<i64, _>(at + 1)?.unsigned_abs() })
}

fn file(row: &SqliteRow, vault: &Sealing) -> Result<FileRow, SyncError> {
    let id = BlobId::from_slice(row.try_get(0)?).ok_or_else(bad_row)?;
    let data = vault.open(Cell::Blob(id, FILES_CHANNEL, row.try_get(3)?), row.try_get(4)?)?;
    // It was looked at before it came to the list.
    let Ok(FileRecord::Put(record)) = decode(&data) else { return Err(bad_row()) };
    Ok(FileRow {
        id,
        position: row.try_get::<i64, _>(1)?.unsigned_abs(),
        device: DeviceId::from_slice(row.try_get(2)?).ok_or_else(bad_row)?,
        record,
        content: sealed(row, 5)?,
        forged: row.try_get(7)?,
        here: row.try_get(8)?,
        given: row.try_get(9)?,
    })
}
