//! The store on SQLite: the contract, a full disk, and files that are not its own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor, SqliteConnection};
use sync_relay::store::sqlite::SqliteStore;
use sync_relay::store::{Counters, EntriesQuery, EntryRow, Store, StoreError, Write};
use sync_types::frame::EntryKind;
use sync_types::{Code, DeviceId, GroupId};

use crate::contract;

const GROUP: GroupId = GroupId([1; 32]);
const SENDER: DeviceId = DeviceId([2; 16]);

fn append(cursor: u64, size: usize) -> Write {
    let row = EntryRow { cursor, kind: EntryKind::Envelope, sender: SENDER, bytes: vec![cursor as u8; size].into() };
    Write::AppendEntries(GROUP, vec![row])
}

fn everything() -> EntriesQuery {
    let reader = DeviceId([9; 16]);
    EntriesQuery { group: GROUP, after: 0, until: u64::MAX, max_bytes: usize::MAX, reader, commits_only: false }
}

async fn cursors(store: &SqliteStore) -> Vec<u64> {
    store.entries(everything()).await.unwrap().iter().map(|row| row.cursor).collect()
}

async fn raw(path: &Path, script: &'static str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap();
    connection.execute(sqlx::raw_sql(script)).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_sqlite_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let made = AtomicU32::new(0);
    contract::run(async || {
        let name = format!("{}.db", made.fetch_add(1, Ordering::Relaxed));
        SqliteStore::open(&folder.path().join(name), None).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("relay.db"), Some(256 * 1024)).await.unwrap();
    let mut held = Vec::new();
    let failure = loop {
        let cursor = held.len() as u64 + 1;
        match store.commit(vec![append(cursor, 20_000), Write::SetCounters(GROUP, Counters::default())]).await {
            Ok(()) => held.push(cursor),
            Err(e) => break e,
        }
        assert!(held.len() < 100, "the bound does not hold");
    };
    assert_eq!(failure, StoreError::Full);
    assert!(held.len() > 2);
    assert_eq!(cursors(&store).await, held, "nothing of the failed transaction, all of those before");
    // Deleting makes room again: a full relay drains by itself.
    store.commit(vec![Write::DeleteEnvelopes { group: GROUP, sender: SENDER, up_to: 2 }]).await.unwrap();
    store.commit(vec![append(1_000, 20_000)]).await.unwrap();
    assert_eq!(cursors(&store).await.last(), Some(&1_000));
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path, None).await.unwrap();
    store.commit((1..=600).map(|cursor| append(cursor, 300)).collect()).await.unwrap();
    store.commit(vec![Write::DeleteEnvelopes { group: GROUP, sender: SENDER, up_to: 100 }]).await.unwrap();
    store.close().await.unwrap();
    assert!(store.commit(vec![append(601, 1)]).await.is_err(), "a closed store takes nothing");
    let store = SqliteStore::open(&path, None).await.unwrap();
    assert!(cursors(&store).await.into_iter().eq(101..=600));
    // Deletions after a start know nothing of those before it.
    store.commit(vec![Write::DeleteEnvelopes { group: GROUP, sender: SENDER, up_to: 599 }]).await.unwrap();
    assert_eq!(cursors(&store).await, [600]);
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |name: &str| match SqliteStore::open(&folder.path().join(name), None).await {
        Ok(_) => panic!("{name} was opened"),
        Err(e) => e,
    };
    let path = folder.path().join("text");
    std::fs::write(&path, "this is no database at all, whatever its name says. ".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(open("text").await.code, Code::StoreCorrupt);
    assert_eq!(std::fs::read(&path).unwrap(), before);

    raw(&folder.path().join("other"), "CREATE TABLE notes (body TEXT); PRAGMA application_id = 7").await;
    assert_eq!(open("other").await.code, Code::StoreCorrupt);

    let path = folder.path().join("newer");
    SqliteStore::open(&path, None).await.unwrap().close().await.unwrap();
    raw(&path, "PRAGMA user_version = 99").await;
    assert_eq!(open("newer").await.code, Code::Version);

    assert_eq!(open("no/such/folder").await.code, Code::Io);
}

#[tokio::test]
async fn reading_goes_on_while_a_transaction_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path, None).await.unwrap();
    store.commit(vec![append(1, 10)]).await.unwrap();
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    other.execute("DELETE FROM entries").await.unwrap();
    assert_eq!(cursors(&store).await, [1], "the state before is read without waiting");
    other.execute("COMMIT").await.unwrap();
    assert!(cursors(&store).await.is_empty());
}

#[tokio::test]
async fn space_of_what_was_deleted_goes_back_to_the_disk() {
    const COUNT: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path, None).await.unwrap();
    for cursor in 1..=COUNT {
        store.commit(vec![append(cursor, 50_000)]).await.unwrap();
    }
    store.commit(vec![Write::DeleteEnvelopes { group: GROUP, sender: SENDER, up_to: COUNT - 1 }]).await.unwrap();
    let mut steps = 0;
    while store.tidy().await.unwrap() {
        steps += 1;
    }
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 4 << 20, "{size} bytes are left of 20 MB");
    assert!(steps > 10, "each step is short: {steps}");
    assert_eq!(cursors(&store).await, [COUNT]);
    assert!(!store.tidy().await.unwrap(), "and then there is nothing to do");
}
