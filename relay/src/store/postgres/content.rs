//! Large content that several relays share: which there is, who has it, and its bytes in parts.

use std::collections::BTreeSet;

use sqlx::postgres::PgRow;
use sync_types::{ContentHash, DeviceId, GroupId, Sealed};

use super::error::error;
use super::{PostgresStore, texts};
use crate::store::columns::{blob, fixed, number, unsigned};
use crate::store::{
    Begun, CONTENTS_OF_A_GROUP, ContentBook, KnownContent, NewContent, OLD_CONTENTS, SharedContent, StoreError,
    StoreFuture, parts_of,
};

/// The first half of the advisory locks under which content of a group begins: `0ksc` as a big-endian number. The other half is of
/// the group's id; that two groups may wait for each other harms nobody.
const LOCK: i32 = 0x306b_7363;

/// How many parts are deleted in one transaction: 64 MiB, which takes a fraction of a second.
const BURIED: i32 = 64;

type Asked = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn about(text: &'static str, group: GroupId, hash: ContentHash) -> Asked {
    sqlx::query(text).bind(group.0.to_vec()).bind(hash.0.to_vec())
}

fn bytes_of(hashes: &[ContentHash]) -> Vec<Vec<u8>> {
    hashes.iter().map(|hash| hash.0.to_vec()).collect()
}

/// Rows of a hash and a device, in the order of the hashes.
fn devices_by_hash(rows: &[PgRow]) -> Result<Vec<(ContentHash, BTreeSet<DeviceId>)>, StoreError> {
    let mut found: Vec<(ContentHash, BTreeSet<DeviceId>)> = Vec::new();
    for row in rows {
        let (hash, device) = (ContentHash(fixed(row, 0)?), DeviceId(fixed(row, 1)?));
        match found.last_mut() {
            Some((last, devices)) if *last == hash => drop(devices.insert(device)),
            _ => found.push((hash, BTreeSet::from([device]))),
        }
    }
    Ok(found)
}

impl PostgresStore {
    async fn changed_rows(&self, asked: Asked) -> Result<u64, StoreError> {
        let done = asked.execute(&self.carriers).await.map_err(|e| error(&e))?;
        Ok(done.rows_affected())
    }

    async fn rows(&self, asked: Asked) -> Result<Vec<PgRow>, StoreError> {
        asked.fetch_all(&self.carriers).await.map_err(|e| error(&e))
    }

    async fn begin_content(&self, new: NewContent) -> Result<Begun, StoreError> {
        let (group, hash) = (new.group, new.content.hash);
        let mut transaction = self.carriers.begin().await.map_err(|e| error(&e))?;
        let [a, b, c, d, ..] = group.0;
        let lock = sqlx::query(texts::CONTENT_LOCK).bind(LOCK).bind(i32::from_be_bytes([a, b, c, d]));
        lock.execute(&mut *transaction).await.map_err(|e| error(&e))?;
        let asked = sqlx::query(texts::CONTENT_GROUP).bind(group.0.to_vec());
        if asked.fetch_optional(&mut *transaction).await.map_err(|e| error(&e))?.is_none() {
            return Ok(Begun::NoGroup);
        }
        let found = about(texts::CONTENT_FIND, group, hash).fetch_optional(&mut *transaction);
        match found.await.map_err(|e| error(&e))? {
            Some(row) if unsigned(&row, 2)? != 0 => return Ok(Begun::Going),
            Some(_) => {}
            None => {
                let asked = sqlx::query(texts::CONTENT_ROOM).bind(group.0.to_vec());
                let row = asked.fetch_one(&mut *transaction).await.map_err(|e| error(&e))?;
                let bytes = unsigned(&row, 1)?.saturating_add(new.content.size);
                if unsigned(&row, 0)? >= CONTENTS_OF_A_GROUP || bytes > new.most_bytes {
                    return Ok(Begun::Full);
                }
                let begin = about(texts::CONTENT_BEGIN, group, hash);
                let begin = begin.bind(number(new.content.size)).bind(number(new.at_ms));
                begin.execute(&mut *transaction).await.map_err(|e| error(&e))?;
            }
        }
        let had = had(group, &[hash], new.device, new.at_ms);
        had.execute(&mut *transaction).await.map_err(|e| error(&e))?;
        transaction.commit().await.map_err(|e| error(&e))?;
        Ok(Begun::Yes)
    }

    async fn bury_some(&self, group: GroupId, hash: ContentHash) -> Result<bool, StoreError> {
        let mut transaction = self.carriers.begin().await.map_err(|e| error(&e))?;
        // The row is held, so that the same content does not begin anew while parts of it go.
        let asked = about(texts::CONTENT_FORGOTTEN, group, hash).fetch_optional(&mut *transaction);
        if asked.await.map_err(|e| error(&e))?.is_none() {
            return Ok(false);
        }
        let asked = about(texts::CONTENT_BURY_PARTS, group, hash).bind(BURIED).execute(&mut *transaction);
        let more = asked.await.map_err(|e| error(&e))?.rows_affected() >= BURIED.unsigned_abs().into();
        if !more {
            about(texts::CONTENT_BURY, group, hash).execute(&mut *transaction).await.map_err(|e| error(&e))?;
        }
        transaction.commit().await.map_err(|e| error(&e))?;
        Ok(more)
    }

    /// Whether the content is known, if the part is there already.
    async fn put_next(&self, group: GroupId, hash: ContentHash, part: i32, bytes: Vec<u8>) -> Result<bool, StoreError> {
        if self.changed_rows(about(texts::CONTENT_PUT_PART, group, hash).bind(part).bind(bytes)).await? > 0 {
            return Ok(true);
        }
        Ok(self.find_content(group, hash).await?.is_some())
    }

    async fn find_content(&self, group: GroupId, hash: ContentHash) -> Result<Option<KnownContent>, StoreError> {
        let rows = self.rows(about(texts::CONTENT_FIND, group, hash)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let known = KnownContent { size: unsigned(row, 0)?, whole: unsigned(row, 1)? != 0 };
        Ok(Some(known).filter(|_| unsigned(row, 2) == Ok(0)))
    }

    /// One of those that carry bytes. Waits for as long as it takes: each that is before it is bounded.
    async fn carrying(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        self.carrying.acquire().await.map_err(|_| StoreError::Busy)
    }
}

fn had(group: GroupId, hashes: &[ContentHash], device: DeviceId, at_ms: u64) -> Asked {
    let asked = sqlx::query(texts::CONTENT_HAD).bind(group.0.to_vec()).bind(bytes_of(hashes));
    asked.bind(device.0.to_vec()).bind(number(at_ms))
}

fn part_number(part: u32) -> Result<i32, StoreError> {
    i32::try_from(part).map_err(|_| StoreError::Corrupt("no content has so many parts".into()))
}

impl ContentBook for PostgresStore {
    fn find(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, Option<KnownContent>> {
        Box::pin(self.bounded(self.find_content(group, hash)))
    }

    fn begin(&self, new: NewContent) -> StoreFuture<'_, Begun> {
        Box::pin(self.bounded(self.begin_content(new)))
    }

    fn whole(&self, group: GroupId, content: Sealed, at_ms: u64) -> StoreFuture<'_, bool> {
        let asked = about(texts::CONTENT_WHOLE, group, content.hash);
        let asked = asked.bind(number(at_ms)).bind(i64::from(parts_of(content.size)));
        Box::pin(self.bounded(async move { Ok(self.changed_rows(asked).await? > 0) }))
    }

    fn note_had(&self, group: GroupId, hashes: Vec<ContentHash>, device: DeviceId, at_ms: u64) -> StoreFuture<'_, ()> {
        let asked = had(group, &hashes, device, at_ms);
        Box::pin(self.bounded(async move { self.changed_rows(asked).await.map(drop) }))
    }

    fn holders(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, BTreeSet<DeviceId>> {
        Box::pin(self.bounded(async move {
            let rows = self.rows(about(texts::CONTENT_HOLDERS, group, hash)).await?;
            rows.iter().map(|row| Ok(DeviceId(fixed(row, 0)?))).collect()
        }))
    }

    fn held(
        &self,
        group: GroupId,
        of: Option<Vec<ContentHash>>,
    ) -> StoreFuture<'_, Vec<(ContentHash, BTreeSet<DeviceId>)>> {
        let asked = match of {
            Some(hashes) => sqlx::query(texts::CONTENT_HELD).bind(group.0.to_vec()).bind(bytes_of(&hashes)),
            None => sqlx::query(texts::CONTENT_ALL_HELD).bind(group.0.to_vec()),
        };
        Box::pin(self.bounded(async move { devices_by_hash(&self.rows(asked).await?) }))
    }

    fn of(&self, group: GroupId) -> StoreFuture<'_, Vec<ContentHash>> {
        let asked = sqlx::query(texts::CONTENT_OF).bind(group.0.to_vec());
        Box::pin(self.bounded(async move {
            self.rows(asked).await?.iter().map(|row| Ok(ContentHash(fixed(row, 0)?))).collect()
        }))
    }

    fn older_than(&self, at_ms: u64) -> StoreFuture<'_, Vec<(GroupId, ContentHash)>> {
        let asked = sqlx::query(texts::CONTENT_OLD).bind(number(at_ms)).bind(OLD_CONTENTS);
        Box::pin(self.bounded(async move {
            let rows = self.rows(asked).await?;
            rows.iter().map(|row| Ok((GroupId(fixed(row, 0)?), ContentHash(fixed(row, 1)?)))).collect()
        }))
    }

    fn forget(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, bool> {
        let asked = about(texts::CONTENT_FORGET, group, hash);
        Box::pin(self.bounded(async move { Ok(self.changed_rows(asked).await? > 0) }))
    }

    fn bury(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let _carrying = self.carrying().await?;
            self.bounded(self.bury_some(group, hash)).await
        })
    }

    fn forget_holders(&self, group: GroupId) -> StoreFuture<'_, ()> {
        let asked = sqlx::query(texts::EMPTY_CONTENT_HAD).bind(group.0.to_vec());
        Box::pin(self.bounded(async move { self.changed_rows(asked).await.map(drop) }))
    }

    fn forget_old_holders(&self, at_ms: u64) -> StoreFuture<'_, ()> {
        let asked = sqlx::query(texts::CONTENT_OLD_HAD).bind(number(at_ms));
        Box::pin(self.bounded(async move { self.changed_rows(asked).await.map(drop) }))
    }
}

impl SharedContent for PostgresStore {
    fn parts(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, u32> {
        Box::pin(self.bounded(async move {
            let rows = self.rows(about(texts::CONTENT_PARTS, group, hash)).await?;
            let count = rows.first().map_or(Ok(0), |row| unsigned(row, 0))?;
            u32::try_from(count).map_err(|_| StoreError::Corrupt("no content has so many parts".into()))
        }))
    }

    fn put_part(&self, group: GroupId, hash: ContentHash, number: u32, bytes: Vec<u8>) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let _carrying = self.carrying().await?;
            self.bounded(self.put_next(group, hash, part_number(number)?, bytes)).await
        })
    }

    fn part(&self, group: GroupId, hash: ContentHash, number: u32) -> StoreFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let asked = about(texts::CONTENT_PART, group, hash).bind(part_number(number)?);
            let _carrying = self.carrying().await?;
            let rows = self.bounded(self.rows(asked)).await?;
            rows.first().map(|row| blob(row, 0).map(<[u8]>::to_vec)).transpose()
        })
    }
}
