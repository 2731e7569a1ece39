//! Values under their seal, and homes of before there were vaults.

use sync_core::store::Write;

use super::tests::*;
use super::*;

/// All bytes of the database's files.
fn bytes_of(folder: &tempfile::TempDir) -> Vec<u8> {
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn values_are_sealed_and_open_in_their_own_rows_alone() {
    let (folder, mut store) = fresh().await;
    store.set_meta("relay", "https://relay.example#planted-token").await.unwrap();
    let put = |key, text: &str| Write::Put(key, Zeroizing::new(text.into()));
    let mut writes = vec![put(Key::Identity, "planted-key"), put(Key::Chain, "planted-chain")];
    writes.push(receive(OTHER, 1, vec![blob(1, "one", "planted-log"), blob(2, "two", "planted-other")], false));
    writes.push(receive(OTHER, 3, vec![blob(3, "three", "planted-held")], true));
    apply(&mut store, writes).await;
    // Another blob under a known id: the second is on record.
    assert_eq!(apply(&mut store, vec![receive(OTHER, 2, vec![blob(1, "one", "planted-twin")], false)]).await.len(), 1);
    let bytes = bytes_of(&folder);
    assert!(!holds(&bytes, "planted"), "a value stands in the files");
    assert!(holds(&bytes, "three"), "the names of channels are in the clear");

    let swap = |table: &str, value: &str, key: &str, one: &str, other: &str| {
        format!(
            "CREATE TEMP TABLE kept AS SELECT {key} AS k, {value} AS v FROM {table} WHERE {key} IN ({one}, {other});
             UPDATE {table} SET {value} = (SELECT v FROM kept WHERE k <> {key}) WHERE {key} IN ({one}, {other});
             DROP TABLE kept"
        )
    };
    let state = swap("state", "value", "key", "x'01'", "x'04'");
    sqlx::raw_sql(AssertSqlSafe(state.clone())).execute(store.writer().await).await.unwrap();
    assert_eq!(store.load().await.unwrap_err().code, Code::StoreCorrupt);
    sqlx::raw_sql(AssertSqlSafe(state)).execute(store.writer().await).await.unwrap();
    assert_eq!(store.load().await.unwrap().len(), 2, "swapped back");
    let log = swap("blob", "data", "position", "1", "2");
    sqlx::raw_sql(AssertSqlSafe(log.clone())).execute(store.writer().await).await.unwrap();
    assert_eq!(store.reader().read(&wanted(None, None), 0, 9).await.unwrap_err().code, Code::StoreCorrupt);
    sqlx::raw_sql(AssertSqlSafe(log)).execute(store.writer().await).await.unwrap();
    // Nor does a blob open in another channel.
    sqlx::raw_sql("UPDATE blob SET channel = 'two' WHERE position = 1").execute(store.writer().await).await.unwrap();
    assert_eq!(store.reader().read(&wanted(None, None), 0, 9).await.unwrap_err().code, Code::StoreCorrupt);
    sqlx::raw_sql("UPDATE blob SET channel = 'one' WHERE position = 1").execute(store.writer().await).await.unwrap();
    assert_eq!(texts(&store.reader().read(&wanted(None, None), 0, 9).await.unwrap()), ["planted-log", "planted-other"]);
    apply(&mut store, vec![Write::Release { sender: OTHER, up_to_seq: 3 }]).await;
    assert_eq!(texts(&store.reader().read(&wanted(None, None), 2, 9).await.unwrap()), ["planted-held"]);
    assert_eq!(store.meta("relay").await.unwrap().unwrap(), "https://relay.example#planted-token");
}

/// A database as builds before vaults wrote it.
async fn unsealed(path: &Path) {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut old = SqliteConnection::connect_with(&options).await.unwrap();
    let before = sync_sqlite::Schema { migrations: &SCHEMA.migrations[..3], ..SCHEMA };
    before.migrate(&mut old).await.unwrap();
    let rows = "
        INSERT INTO meta VALUES ('device_name', CAST('planted-name' AS BLOB));
        INSERT INTO state VALUES (x'01', CAST('planted-key' AS BLOB));
        INSERT INTO refused (cursor, sender, outcome, at, bytes) VALUES (0, NULL, 'forged', 7, CAST('planted-bytes' AS BLOB));
        INSERT INTO held (id, sender, seq, channel, data) VALUES
            (x'03030303030303030303030303030303', x'02020202020202020202020202020202', 5, 'c', CAST('planted-held' AS BLOB));
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        INSERT INTO blob (id, own, sender, seq, channel, data)
            SELECT randomblob(16), 0, x'02020202020202020202020202020202', i, 'c', CAST('planted-blob-' || i AS BLOB) FROM n;
        DELETE FROM blob WHERE position = 100";
    sqlx::raw_sql(rows).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
}

#[tokio::test]
async fn what_was_stored_before_there_were_vaults_is_sealed_once_and_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    unsealed(&path).await;
    assert!(holds(&bytes_of(&folder), "planted-blob-50"));
    for time in 0..2 {
        assert_eq!(Database::look(&path, None).await.unwrap().sealed_by(), (time > 0).then_some(VAULT));
        let mut store = open(&path, None).await.unwrap();
        assert!(!holds(&bytes_of(&folder), "planted"), "it stands in the files still");
        assert_eq!(store.meta("device_name").await.unwrap().unwrap(), "planted-name");
        assert_eq!(store.load().await.unwrap(), [(Key::Identity, Zeroizing::new(b"planted-key".to_vec()))]);
        let read = store.reader().read(&wanted(None, None), 0, 200).await.unwrap();
        assert_eq!((read.len(), texts(&read)[98].as_str()), (99, "planted-blob-99"));
        store.close().await;
    }
    let mut store = open(&path, None).await.unwrap();
    apply(&mut store, vec![Write::Release { sender: OTHER, up_to_seq: 5 }]).await;
    assert_eq!(texts(&store.reader().read(&wanted(None, None), 100, 9).await.unwrap()), ["planted-held"]);
}

#[tokio::test]
async fn without_room_for_sealing_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    unsealed(&path).await;
    let mut look = Database::look(&path, None).await.unwrap();
    SCHEMA.migrate(&mut look.connection).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut look.connection).await.unwrap();
    let sql = format!("PRAGMA max_page_count = {pages}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut look.connection).await.unwrap();
    assert_eq!(look.open_with(VAULT, sealing()).await.map(drop).unwrap_err().code, Code::DiskFull);
    assert_eq!(Database::look(&path, None).await.unwrap().sealed_by(), None);
    assert_eq!(open(&path, None).await.unwrap().meta("device_name").await.unwrap().unwrap(), "planted-name");
}
