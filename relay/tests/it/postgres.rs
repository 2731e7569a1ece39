//! The store on PostgreSQL: the contract, what several relays over one database do to each other, and databases that are not
//! its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use sync_relay::store::postgres::{PostgresStore, SETTINGS, STATEMENTS, Scope};
use sync_relay::store::{Counters, EntriesQuery, EntryRow, GroupRow, Heard, Shared, Store, StoreError, Write};
use sync_types::frame::EntryKind;
use sync_types::{Code, DeviceId, GroupId, Suite};

use crate::contract;
use crate::pg_server::Server;

const GROUP: GroupId = GroupId([1; 32]);
const OTHER: GroupId = GroupId([2; 32]);
const SENDER: DeviceId = DeviceId([2; 16]);

/// Of a kind that no head is read from.
fn append(group: GroupId, cursor: u64, size: usize) -> Write {
    let row = EntryRow { cursor, kind: EntryKind::Commit, sender: SENDER, bytes: vec![cursor as u8; size].into() };
    Write::AppendEntries(group, vec![row])
}

/// A group as it is made.
fn made(group: GroupId) -> Vec<Write> {
    let row = GroupRow {
        group,
        suite: Suite::FOUNDED,
        suite_since: 0,
        epoch: 0,
        snapshot: vec![1; 300].into(),
        group_info: vec![2; 200].into(),
        last_commit: None,
        rejected: vec![],
        provisional: None,
        created_at_ms: 0,
    };
    vec![Write::PutGroup(Box::new(row)), Write::SetCounters(group, Counters::default())]
}

async fn cursors(store: &PostgresStore, group: GroupId) -> Vec<u64> {
    let reader = DeviceId([9; 16]);
    let query = EntriesQuery { group, after: 0, until: u64::MAX, max_bytes: usize::MAX, reader, commits_only: false };
    store.entries(query).await.unwrap().iter().map(|row| row.cursor).collect()
}

#[tokio::test]
async fn the_postgresql_store_keeps_the_contract() {
    let server = Server::start();
    let first = server.database().await;
    PostgresStore::open(&first).await.unwrap().close().await;
    contract::run(async || PostgresStore::open(&server.copy_of(&first).await).await.unwrap()).await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    store.commit((1..=600).map(|cursor| append(GROUP, cursor, 300)).collect()).await.unwrap();
    store.commit(vec![Write::DeleteCommits { group: GROUP, up_to: 100 }]).await.unwrap();
    store.close().await;
    assert!(store.commit(vec![append(GROUP, 601, 1)]).await.is_err(), "a closed store takes nothing");
    let store = PostgresStore::open(&url).await.unwrap();
    assert!(cursors(&store, GROUP).await.into_iter().eq(101..=600));
    // Deletions after a start know nothing of those before it.
    store.load(GROUP).await.unwrap().unwrap();
    store.commit(vec![Write::DeleteCommits { group: GROUP, up_to: 599 }]).await.unwrap();
    assert_eq!(cursors(&store, GROUP).await, [600]);
}

#[tokio::test]
async fn what_was_decided_on_stale_rows_is_not_written() {
    let server = Server::start();
    let url = server.database().await;
    let (here, there) = (PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap());
    here.commit(made(GROUP)).await.unwrap();
    here.commit(made(OTHER)).await.unwrap();
    // Making a group that somebody has made.
    assert_eq!(there.commit(made(GROUP)).await, Err(StoreError::Stale(vec![GROUP])));
    for group in [GROUP, OTHER] {
        there.load(group).await.unwrap().unwrap();
    }
    here.commit(vec![append(GROUP, 1, 10)]).await.unwrap();
    let new = GroupId([3; 32]);
    let both = [made(new), vec![append(GROUP, 1, 20), append(OTHER, 1, 20)]].concat();
    assert_eq!(there.commit(both).await, Err(StoreError::Stale(vec![GROUP])));
    assert_eq!(cursors(&there, OTHER).await, [1], "what is of other groups is written");
    assert!(there.load(new).await.unwrap().is_some());
    let rows = there.load(GROUP).await.unwrap().unwrap();
    assert_eq!((rows.index.len(), rows.index[0].size), (1, 10));
    // On rows that are loaded anew it goes through, and now the first one is behind.
    there.commit(vec![append(GROUP, 2, 20), append(OTHER, 2, 20)]).await.unwrap();
    assert_eq!(here.commit(vec![append(GROUP, 2, 10)]).await, Err(StoreError::Stale(vec![GROUP])));
    assert_eq!(here.changed(vec![GROUP, OTHER, GroupId([9; 32])]).await.unwrap(), [GROUP, OTHER]);
    here.load(GROUP).await.unwrap().unwrap();
    assert_eq!(here.changed(vec![GROUP]).await.unwrap(), []);
    assert_eq!(cursors(&here, GROUP).await, [1, 2]);
}

/// Each of two stores appends to the same groups as fast as it can, and decides anew about those where the other was quicker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_many_groups_neither_overwrite_nor_wait_for_each_other_in_a_circle() {
    const ROUNDS: usize = 60;
    let server = Server::start();
    let url = server.database().await;
    let groups: Vec<GroupId> = (1..=7).map(|n| GroupId([n; 32])).collect();
    let first = PostgresStore::open(&url).await.unwrap();
    first.commit(groups.iter().flat_map(|group| made(*group)).collect()).await.unwrap();
    let work = async |store: &PostgresStore, reverse: bool| {
        let mut stale = 0;
        for _ in 0..ROUNDS {
            let mut left = groups.clone();
            while !left.is_empty() {
                let mut writes = Vec::new();
                for group in &left {
                    let newest = store.load(*group).await.unwrap().unwrap().index.last().map_or(0, |row| row.cursor);
                    writes.push(append(*group, newest + 1, 10));
                }
                if reverse {
                    writes.reverse();
                }
                match store.commit(writes).await {
                    Ok(()) => left.clear(),
                    Err(StoreError::Stale(behind)) => {
                        stale += 1;
                        left = behind;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        stale
    };
    let second = PostgresStore::open(&url).await.unwrap();
    let stale = tokio::join!(work(&first, false), work(&second, true));
    assert!(stale.0 + stale.1 > 0, "they never met");
    for group in groups {
        assert!(cursors(&first, group).await.into_iter().eq(1..=2 * ROUNDS as u64));
    }
}

#[tokio::test]
async fn each_statement_touches_one_partition_of_each_table() {
    let server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::raw_sql(SETTINGS)).await.unwrap();
    let mut tables = BTreeSet::new();
    for statement in STATEMENTS {
        let name = format!("the_{}", statement.name.to_lowercase());
        let prepare = format!("PREPARE {name} AS {}", statement.text);
        connection.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let types = "SELECT t::text FROM pg_prepared_statements, UNNEST(parameter_types) WITH ORDINALITY AS p (t, n) \
                     WHERE name = $1 ORDER BY n";
        let types: Vec<String> = sqlx::query_scalar(types).bind(&name).fetch_all(&mut connection).await.unwrap();
        let id = "'\\x0101010101010101010101010101010101010101010101010101010101010101'::bytea";
        // Numbers grow, as the ends of a range do.
        let value = |(n, of): (usize, &String)| match of.as_str() {
            "bytea" => id.to_owned(),
            "bytea[]" => format!("ARRAY[{id}]"),
            "text" => "'x'".to_owned(),
            "text[]" => "ARRAY['x']".to_owned(),
            "boolean" => "true".to_owned(),
            "boolean[]" => "ARRAY[true]".to_owned(),
            array if array.ends_with("[]") => format!("ARRAY[{n}]::{array}"),
            _ => n.to_string(),
        };
        let values: Vec<String> = types.iter().enumerate().map(value).collect();
        let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        // Where several groups come in one statement, the partition of each is found when it runs.
        let inserts = statement.text.starts_with("INSERT");
        let how = if statement.text.contains("UNNEST") && !inserts { "(ANALYZE, TIMING OFF) " } else { "" };
        let explain = format!("EXPLAIN {how}EXECUTE {name}{values}");
        connection.execute("BEGIN").await.unwrap();
        let plan = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
        connection.execute("ROLLBACK").await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let looked_at = |line: &&String| {
            !line.contains("never executed")
                && (how.is_empty() || !["Delete on", "Update on"].iter().any(|w| line.contains(w)))
        };
        let mut touched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let words = plan.iter().filter(looked_at);
        for word in words.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))) {
            if let Some((table, number)) = word.rsplit_once("_p")
                && number.chars().all(|c| c.is_ascii_digit())
                && !number.is_empty()
            {
                touched.entry(table.to_owned()).or_default().insert(number.to_owned());
            }
        }
        let plan = plan.join("\n");
        match statement.scope {
            Scope::Partitions => {
                assert!(inserts || !touched.is_empty(), "{name} touches no partition:\n{plan}");
                for (table, partitions) in &touched {
                    assert_eq!(partitions.len(), 1, "{name} touches {partitions:?} of {table}:\n{plan}");
                }
                // The one row of `clock` has no index that would be shorter.
                let scans = plan.replace("Seq Scan on clock", "").contains("Seq Scan on");
                assert!(!scans || inserts, "{name} does not go by an index:\n{plan}");
            }
            Scope::Small => assert!(touched.is_empty(), "{name}:\n{plan}"),
            Scope::Everything if BY_TIME.contains(&statement.name) => {
                assert!(!plan.contains("Seq Scan"), "{name} does not go by an index:\n{plan}");
            }
            Scope::Everything => assert!(OF_THE_HOST.contains(&statement.name), "{name} goes over everything"),
        }
        tables.extend(touched.into_keys());
    }
    assert!(tables.len() >= 12, "{tables:?}");
}

/// What only a host asks, or a relay that starts.
const OF_THE_HOST: [&str; 7] =
    ["TOKEN_USE", "STATS", "LARGEST_BY_SIZE", "LARGEST_BY_LAG", "BETWEEN", "OLDEST", "LAPSED"];

/// What each relay asks once a minute, of indexes that are in the order of time.
const BY_TIME: [&str; 2] = ["CONTENT_OLD", "CONTENT_OLD_HAD"];

/// Each of many groups is looked for by itself: what the others hold is not gone through for it.
#[tokio::test]
async fn deleting_from_many_groups_reads_no_more_than_it_deletes() {
    const GROUPS: u8 = 40;
    let server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    let groups: Vec<GroupId> = (0..GROUPS).map(|n| GroupId([n; 32])).collect();
    for group in &groups {
        let entries = (1..=50).map(|cursor| append(*group, cursor, 10));
        store.commit(made(*group).into_iter().chain(entries).collect()).await.unwrap();
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::raw_sql(SETTINGS)).await.unwrap();
    let text = STATEMENTS.iter().find(|statement| statement.name == "DELETE_COMMITS").unwrap().text;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("PREPARE doomed AS {text}")))).await.unwrap();
    let array = |of: &dyn Fn(&GroupId) -> String| groups.iter().map(of).collect::<Vec<_>>().join(", ");
    let ids = array(&|group| format!("'\\x{}'::bytea", data_encoding::HEXLOWER.encode(&group.0)));
    let (above, up_to) = (array(&|_| "0".into()), array(&|_| "2".into()));
    let explain = format!(
        "EXPLAIN (ANALYZE, TIMING OFF) EXECUTE doomed(ARRAY[{ids}], ARRAY[{above}]::bigint[], ARRAY[{up_to}]::bigint[])"
    );
    let plan = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
    let plan = plan.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
    assert!(!plan.contains("Rows Removed"), "{plan}");
    for group in &groups {
        assert!(cursors(&store, *group).await.into_iter().eq(3..=50));
    }
}

/// What is not in the list nobody looks at.
#[test]
fn no_statement_is_written_beside_the_list() {
    for (name, text) in [
        ("mod", include_str!("../../src/store/postgres/mod.rs")),
        ("apply", include_str!("../../src/store/postgres/apply.rs")),
        ("content", include_str!("../../src/store/postgres/content.rs")),
        ("rows", include_str!("../../src/store/postgres/rows.rs")),
        ("summary", include_str!("../../src/store/postgres/summary.rs")),
        ("view", include_str!("../../src/store/postgres/view.rs")),
        ("wake", include_str!("../../src/store/postgres/wake.rs")),
    ] {
        for word in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE ", "\"WITH "] {
            assert!(!text.contains(word), "{name}.rs has a statement of its own: {word}");
        }
    }
}

#[tokio::test]
async fn relays_that_start_at_once_make_one_schema() {
    let server = Server::start();
    let url = server.database().await;
    let open = || PostgresStore::open(&url);
    let (a, b, c, d) = tokio::join!(open(), open(), open(), open());
    for store in [a, b, c, d] {
        let store = store.unwrap();
        let group = GroupId([7; 32]);
        store.load(group).await.unwrap();
        store.commit(made(group)).await.unwrap();
        store.close().await;
    }
}

/// The schema as the first version made it.
const FIRST: &str = include_str!("../../migrations/postgres/0001_mailboxes.sql");

/// A new relay comes to a database on which old ones run: they go on while it waits for its turn, and after it has had it.
#[tokio::test]
async fn a_schema_is_migrated_under_relays_that_use_it() {
    let server = Server::start();
    let url = server.database().await;
    server.raw(&url, FIRST).await;
    let schema = "CREATE TABLE ksync_schema (application TEXT PRIMARY KEY, version BIGINT NOT NULL);
        INSERT INTO ksync_schema VALUES ('0ksync-relay', 1)";
    server.raw(&url, schema).await;
    // As an old relay writes and reads members.
    let put = "INSERT INTO members (grp, device, key, added, start, removed_cursor, removed_at_ms, seen_ms, missed)
        VALUES ($1, $2, $3, 0, 0, NULL, NULL, 0, 0)
        ON CONFLICT (grp, device) DO UPDATE SET seen_ms = members.seen_ms + 1";
    let mut old = PgConnection::connect(&url).await.unwrap();
    let write = async |old: &mut PgConnection| {
        let asked = sqlx::query(put).bind(&GROUP.0[..]).bind(&SENDER.0[..]).bind(&[7_u8; 32][..]);
        asked.execute(old).await.unwrap();
    };
    write(&mut old).await;
    // Somebody has a table open for long, as a backup does.
    let mut reader = PgConnection::connect(&url).await.unwrap();
    reader.execute("BEGIN; SELECT count(*) FROM members").await.unwrap();
    let opening = PostgresStore::open(&url);
    tokio::pin!(opening);
    for _ in 0..5 {
        // The old relay waits for a second at most, and the new one is not through.
        let waited = tokio::select! {
            _ = &mut opening => panic!("it cannot have migrated yet"),
            waited = tokio::time::timeout(Duration::from_secs(5), write(&mut old)) => waited,
        };
        waited.expect("the old relay goes on");
    }
    reader.execute("ROLLBACK").await.unwrap();
    let store = opening.await.unwrap();
    write(&mut old).await;
    let seen: i64 = sqlx::query_scalar("SELECT seen_ms FROM members").fetch_one(&mut old).await.unwrap();
    assert_eq!(seen, 6);
    let wake: Option<Vec<u8>> = sqlx::query_scalar("SELECT wake FROM members").fetch_one(&mut old).await.unwrap();
    assert_eq!(wake, None);
    store.close().await;
    PostgresStore::open(&url).await.unwrap().close().await;
}

#[tokio::test]
async fn databases_that_are_not_ours_are_refused_and_left_alone() {
    let server = Server::start();
    let refused = async |url: &str| {
        let error = PostgresStore::open(url).await.err().unwrap();
        assert!(!error.message.contains("s3cret"), "{error}");
        error
    };
    let url = server.database().await;
    server.raw(&url, "CREATE TABLE notes (body TEXT)").await;
    assert_eq!(refused(&url).await.code, Code::StoreCorrupt);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    assert_eq!(tables, ["notes"]);

    let url = server.database().await;
    server.raw(&url, "CREATE TABLE ksync_schema (notes TEXT)").await;
    assert_eq!(refused(&url).await.code, Code::StoreCorrupt);
    let url = server.database().await;
    let theirs =
        "CREATE TABLE ksync_schema (application TEXT, version BIGINT); INSERT INTO ksync_schema VALUES ('notes', 1)";
    server.raw(&url, theirs).await;
    assert_eq!(refused(&url).await.code, Code::StoreCorrupt);

    let url = server.database().await;
    PostgresStore::open(&url).await.unwrap().close().await;
    server.raw(&url, "UPDATE ksync_schema SET version = 99").await;
    assert_eq!(refused(&url).await.code, Code::Version);

    assert_eq!(refused(&url.replace("/d", "/no")).await.code, Code::Io);
    assert_eq!(refused("postgres://relay:s3cret@127.0.0.1:1/x").await.code, Code::Io);
    assert_eq!(refused("postgres://relay:s3cret@127.0.0.1:x/x").await.code, Code::InvalidArgument);
}

#[tokio::test]
async fn the_database_may_be_away_for_a_while() {
    let mut server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    server.stop();
    let failed = store.commit(vec![append(GROUP, 1, 10)]).await.unwrap_err();
    assert!(matches!(failed, StoreError::Busy | StoreError::Io(_)), "{failed}");
    assert!(store.load(GROUP).await.is_err());
    server.start_again();
    store.load(GROUP).await.unwrap().unwrap();
    store.commit(vec![append(GROUP, 1, 10)]).await.unwrap();
    assert_eq!(cursors(&store, GROUP).await, [1]);
}

#[tokio::test]
async fn reading_goes_on_while_a_transaction_is_written() {
    let server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    store.commit(vec![append(GROUP, 1, 10)]).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    other.execute("BEGIN").await.unwrap();
    other.execute("DELETE FROM entries").await.unwrap();
    assert_eq!(cursors(&store, GROUP).await, [1], "the state before is read without waiting");
    other.execute("COMMIT").await.unwrap();
    assert!(cursors(&store, GROUP).await.is_empty());
}

#[tokio::test]
async fn what_the_server_says_is_told_apart_by_who_can_do_something_about_it() {
    let server = Server::start();
    let url = server.database().await;
    let store = PostgresStore::open(&url).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    for (code, expected) in [
        ("53100", "Full"),
        ("53300", "Busy"),
        ("57P01", "Busy"),
        ("57014", "Busy"),
        ("40001", "Busy"),
        ("40P01", "Busy"),
        ("08006", "Busy"),
        ("XX001", "Corrupt"),
        ("XX002", "Corrupt"),
        ("XX000", "Io"),
        ("42501", "Io"),
        ("58030", "Io"),
    ] {
        let failing = format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION ''a test'' USING ERRCODE = ''{code}''; END'; \
             CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION fail()"
        );
        server.raw(&url, &failing).await;
        store.load(GROUP).await.unwrap();
        let error = store.commit(vec![append(GROUP, 1, 10)]).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
        assert_eq!(store.load(GROUP).await.unwrap().unwrap().index, []);
    }
}

/// A server that takes over without the last transactions of the one before.
#[tokio::test]
async fn two_histories_never_share_a_revision() {
    let server = Server::start();
    let first = server.database().await;
    let store = PostgresStore::open(&first).await.unwrap();
    store.commit(made(GROUP)).await.unwrap();
    store.commit(vec![append(GROUP, 1, 10)]).await.unwrap();
    store.close().await;
    let second = server.copy_of(&first).await;
    let mut revisions = Vec::new();
    for url in [&first, &second] {
        let store = PostgresStore::open(url).await.unwrap();
        store.load(GROUP).await.unwrap();
        store.commit(vec![append(GROUP, 2, 10)]).await.unwrap();
        let mut connection = PgConnection::connect(url).await.unwrap();
        let revision: i64 =
            sqlx::query_scalar("SELECT revision FROM revisions").fetch_one(&mut connection).await.unwrap();
        revisions.push(revision);
    }
    assert_ne!(revisions[0], revisions[1]);
}

#[tokio::test]
async fn stores_hear_of_each_other() {
    let server = Server::start();
    let url = server.database().await;
    let (here, there) = (PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap());
    let mut heard = here.heard().unwrap();
    assert!(here.heard().is_none());
    let mut next = async || tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, Heard::Look, "what was said before it listened");
    there.commit([made(GROUP), made(OTHER)].concat()).await.unwrap();
    assert_eq!([next().await, next().await], [Heard::Group(GROUP), Heard::Group(OTHER)]);
    // Its own it does not hear, and what it has loaded in the meantime is no news.
    here.load(GROUP).await.unwrap();
    here.commit(vec![append(GROUP, 1, 10)]).await.unwrap();
    let news = sync_relay::store::News::Renew(GROUP, SENDER);
    there.tell(news.clone());
    assert_eq!(next().await, Heard::News(news.clone()));
    let (earlier, later) = (here.elsewhere(OTHER).await.unwrap().number, there.elsewhere(OTHER).await.unwrap().number);
    assert!(earlier < later);
    let attached = |number| sync_relay::store::News::Attached { group: OTHER, device: SENDER, number };
    there.tell(attached(later));
    assert_eq!(next().await, Heard::News(attached(later)));
    // It was here before that, and this says so late.
    here.tell(attached(earlier));
    here.tell(news);
    let mut heard_there = there.heard().unwrap();
    while heard_there.recv().await.unwrap() != Heard::News(sync_relay::store::News::Renew(GROUP, SENDER)) {}
    assert_eq!(here.elsewhere(OTHER).await.unwrap().attached, BTreeSet::from([SENDER]));
    assert!(there.elsewhere(OTHER).await.unwrap().attached.is_empty());
    there.close().await;
    assert!(
        here.elsewhere(OTHER).await.unwrap().attached.is_empty(),
        "with the relay all that were attached there are gone"
    );
}

#[tokio::test]
async fn relays_go_on_behind_one_cursor_and_count_one_time() {
    let server = Server::start();
    let url = server.database().await;
    let (here, there) = (PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap());
    assert_eq!(here.begin(100).await.unwrap(), 100);
    assert_eq!(there.begin(70).await.unwrap(), 100);
    assert_eq!(there.begin(170).await.unwrap(), 170);
    assert_eq!(here.elsewhere(GROUP).await.unwrap().first_cursor, 170);
    here.set_served(1_000).await.unwrap();
    there.set_served(700).await.unwrap();
    assert_eq!(here.served().await.unwrap(), 1_000, "it never goes back");
}
