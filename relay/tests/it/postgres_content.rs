//! Large content at several relays over one PostgreSQL: what is given at any is taken at any.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use sync_content::ContentStore;
use sync_relay::{ContentConfig, Identity, RelayConfig, RunningRelay, StoreConfig, admin};
use sync_types::frame::{ContentAnswer, ContentAsk, FromRelay};
use sync_types::{Code, GroupId, Sealed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::content::{Folder, answer, bytes, give, gives_nothing_of, said, take};
use crate::device::{Device, Wire, founded_as, pair};
use crate::pg_server::Server;
use crate::postgres_nodes::{at, node_with, soon};

/// More than three parts, with an odd end.
const SEVERAL: usize = 3_456_789;

/// Relays over one database, each with a folder of its own.
struct Nodes {
    server: Server,
    url: String,
    identity: Identity,
    folder: tempfile::TempDir,
    group_bytes: u64,
}

impl Nodes {
    async fn new() -> Self {
        let server = Server::start();
        let url = server.database().await;
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate().unwrap();
        Self { server, url, identity, folder, group_bytes: ContentConfig::GROUP_BYTES }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join(ContentConfig::FOLDER)
    }

    async fn start(&self, name: &str) -> RunningRelay {
        let content = ContentConfig { folder: self.folder(name), group_bytes: self.group_bytes };
        let config = RelayConfig { content: Some(content), ..RelayConfig::in_memory() };
        node_with(&self.url, &self.identity, config).await
    }

    async fn two(&self) -> (RunningRelay, RunningRelay) {
        tokio::join!(self.start("left"), self.start("right"))
    }

    async fn number(&self, sql: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap();
        row.get(0)
    }

    /// The rows of the three tables.
    async fn rows(&self) -> [i64; 3] {
        let mut counts = [0; 3];
        for (count, table) in counts.iter_mut().zip(["content", "content_parts", "content_had"]) {
            *count = self.number(&format!("SELECT count(*) FROM {table}")).await;
        }
        counts
    }

    /// Waits until there are so many.
    async fn until(&self, sql: &str, number: i64) {
        soon(async { while self.number(sql).await != number {} }).await;
    }

    /// Has whoever puts this part there wait until the lock is gone.
    async fn hold_up(&self, part: u32) -> PgConnection {
        let script = format!(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END'; \
             CREATE TRIGGER wait BEFORE INSERT ON content_parts FOR EACH ROW WHEN (NEW.number = {part}) \
             EXECUTE FUNCTION wait()"
        );
        self.server.raw(&self.url, "DROP FUNCTION IF EXISTS wait CASCADE").await;
        self.server.raw(&self.url, &script).await;
        let mut holder = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query("SELECT pg_advisory_lock(77)").execute(&mut holder).await.unwrap();
        holder
    }

    /// Ends what waits for that lock, as the connection of a machine that is gone ends, and then the lock.
    async fn cut_off(&self, holder: PgConnection) {
        let waiting = "FROM pg_stat_activity WHERE wait_event = 'advisory'";
        self.number(&format!("SELECT count(pg_terminate_backend(pid)) {waiting}")).await;
        self.until(&format!("SELECT count(*) {waiting}"), 0).await;
        holder.close().await.unwrap();
    }
}

/// How much content the folder of a relay knows.
async fn copies(folder: &Path) -> i64 {
    let options = SqliteConnectOptions::new().filename(folder.join("content.db")).read_only(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("SELECT count(*) FROM content").fetch_one(&mut connection).await.unwrap().get(0)
}

/// Gives to a relay that may not hold it yet when all of it is there.
async fn send(relay: &RunningRelay, by: &Device, from: &Folder, content: Sealed) {
    let (wanted, wire) = said(relay, by, ContentAsk::Give(content)).await.unwrap();
    assert_eq!(wanted, ContentAnswer::Wanted);
    let (reader, writer) = wire.into_halves();
    from.store.give(content, reader, writer).await.unwrap();
}

async fn have(relay: &RunningRelay, by: &Device, content: Sealed) {
    assert_eq!(answer(relay, by, ContentAsk::Have(vec![content.hash])).await, Ok(ContentAnswer::Noted));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_at_one_relay_is_taken_at_the_other_and_then_it_is_gone_everywhere() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    for (size, parts) in [(SEVERAL, 4_i64), (1_000, 1), (1_000_000, 1), (1_040_000, 2)] {
        let bytes = bytes(size);
        let content = laptops.put(&bytes).await;
        let sealed = content.sealed();
        assert!(
            sealed.size.div_ceil(1 << 20) == parts.unsigned_abs() && !sealed.size.is_multiple_of(1 << 20),
            "{sealed:?}"
        );
        assert_eq!(answer(&right, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
        give(&left, &laptop, &laptops, sealed).await;
        assert_eq!(nodes.rows().await[..2], [1, parts]);
        assert_eq!(answer(&right, &laptop, ContentAsk::Give(sealed)).await, Ok(ContentAnswer::Held), "anywhere");
        assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
        assert!(phones.bytes(&content).await == bytes);
        // It was read, but the phone may have lost it before it was on its disk.
        assert_eq!(soon(take(&left, &phone, &phones, sealed)).await.unwrap(), 0);
        have(&right, &phone, sealed).await;
        assert_eq!(nodes.rows().await[..2], [0, 0]);
        assert_eq!(right.metrics().content.value(), 0);
        assert_eq!(answer(&left, &laptop, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
        assert_eq!(left.metrics().content.value(), 0, "nor has it a copy any more");
        // Who has it is known for a while, so that it is not taken once more.
        assert_eq!(answer(&left, &laptop, ContentAsk::Give(sealed)).await, Ok(ContentAnswer::Held));
    }
    assert_eq!(nodes.rows().await, [0, 0, 8]);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_down_drops_its_copies_and_what_is_too_old_goes_with_all_that_is_known_of_it() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let laptops = Folder::new().await;
    let (first, second) = (laptops.put(&bytes(SEVERAL)).await.sealed(), laptops.put(&bytes(9_000)).await.sealed());
    give(&left, &laptop, &laptops, first).await;
    left.shutdown().await;
    assert_eq!(copies(&nodes.folder("left")).await, 1);
    have(&right, &phone, first).await;
    let left = nodes.start("left").await;
    soon(async { while copies(&nodes.folder("left")).await != 0 {} }).await;

    give(&left, &laptop, &laptops, second).await;
    left.shutdown().await;
    assert_eq!(nodes.rows().await, [1, 1, 3]);
    // Years later another relay starts, which has nothing of it.
    nodes.server.raw(&nodes.url, "UPDATE clock SET served_ms = 1000000000000").await;
    let third = nodes.start("third").await;
    nodes.until("SELECT (SELECT count(*) FROM content) + (SELECT count(*) FROM content_had)", 0).await;
    assert_eq!(nodes.rows().await, [0; 3]);
    assert_eq!(answer(&right, &phone, ContentAsk::Take(second)).await, Err(Code::ContentMissing));
    third.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_relay_dies_while_it_is_given_something_the_giver_goes_on_at_the_other() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let content = laptops.put(&bytes(SEVERAL)).await;
    let sealed = content.sealed();
    // It dies behind a part of it.
    let (_, wire) = said(&left, &laptop, ContentAsk::Give(sealed)).await.unwrap();
    let (mut reader, mut writer) = wire.into_halves();
    let (to, mut from) = tokio::io::duplex(1 << 16);
    let (asked, mut asks) = tokio::io::duplex(1 << 16);
    let giving = laptops.store.give(sealed, Box::new(asked), Box::new(to));
    let dying = async {
        tokio::io::copy(&mut reader, &mut asks).await.unwrap();
        asks.shutdown().await.unwrap();
        std::future::pending::<()>().await;
    };
    let sending = async {
        let mut part = vec![0; 1_500_000];
        from.read_exact(&mut part).await.unwrap();
        writer.write_all(&part).await.unwrap();
    };
    tokio::select! {
        _ = giving => panic!("it gave all"),
        () = dying => {}
        () = sending => {}
    }
    drop((left, writer));
    assert_eq!(answer(&right, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing), "not all of it");
    assert_eq!(nodes.rows().await[1], 0);
    give(&right, &laptop, &laptops, sealed).await;
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes(SEVERAL));
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_relay_dies_before_all_is_in_the_database_the_rest_follows_from_any() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let content = laptops.put(&bytes(SEVERAL)).await;
    let sealed = content.sealed();
    let holder = nodes.hold_up(2).await;
    send(&left, &laptop, &laptops, sealed).await;
    nodes.until("SELECT count(*) FROM content_parts", 2).await;
    assert_eq!(answer(&right, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing), "not all of it");
    drop(left);
    nodes.cut_off(holder).await;
    let put_by = "SELECT sum(xmin::text::bigint)::bigint FROM content_parts WHERE number < 2";
    let before = nodes.number(put_by).await;

    // A relay over what it has left has all of it from the giver. (Within one process its folder stays in use.)
    let holder = nodes.hold_up(3).await;
    let folders = nodes.folder.path();
    let copied =
        std::process::Command::new("cp").arg("-r").args([folders.join("left"), folders.join("again")]).status();
    assert!(copied.unwrap().success());
    let left = nodes.start("again").await;
    tokio::select! {
        said = answer(&left, &laptop, ContentAsk::Give(sealed)) => panic!("{said:?}"),
        () = nodes.until("SELECT count(*) FROM content_parts", 3) => {}
    }
    assert_eq!(left.metrics().content_taken_bytes.value(), 0);
    assert_eq!(answer(&right, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing), "not all of it");
    drop(left);
    nodes.cut_off(holder).await;

    // And another one puts there what is missing.
    give(&right, &laptop, &laptops, sealed).await;
    assert_eq!((nodes.rows().await[1], nodes.number(put_by).await), (4, before), "each part once");
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes(SEVERAL));
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_may_have_is_counted_over_both_relays() {
    let nodes = Nodes { group_bytes: 200_000, ..Nodes::new().await };
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let laptops = Folder::new().await;
    let (first, second) = (laptops.put(&bytes(150_000)).await.sealed(), laptops.put(&bytes(60_000)).await.sealed());
    // Of several that begin at once one fits.
    let (one, other) = tokio::join!(
        answer(&left, &laptop, ContentAsk::Give(first)),
        answer(&right, &laptop, ContentAsk::Give(second))
    );
    let fits = [&one, &other].iter().filter(|said| ***said == Ok(ContentAnswer::Wanted)).count();
    let full = [&one, &other].iter().filter(|said| ***said == Err(Code::Quota)).count();
    assert_eq!((fits, full), (1, 1), "{one:?} {other:?}");
    let (fitted, refused) = if one.is_ok() { (first, second) } else { (second, first) };
    have(&right, &phone, fitted).await;
    give(&left, &laptop, &laptops, refused).await;
    assert_eq!(answer(&right, &laptop, ContentAsk::Give(fitted)).await, Ok(ContentAnswer::Held), "everybody has it");
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_member_gets_nothing_at_either_relay() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let ((thief, _thiefs), (fence, _fences), _mls) = founded_as(GroupId([8; 32]), at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let sealed = laptops.put(&bytes(1_500_000)).await.sealed();
    gives_nothing_of(&right, &thief, sealed).await;
    give(&left, &laptop, &laptops, sealed).await;
    let stranger = Device::new(9, laptop.group);
    let attack = async || {
        for relay in [&left, &right] {
            assert_eq!(answer(relay, &stranger, ContentAsk::Take(sealed)).await, Err(Code::NotMember));
            assert_eq!(answer(relay, &stranger, ContentAsk::Give(sealed)).await, Err(Code::NotMember));
            assert_eq!(answer(relay, &fence, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
            gives_nothing_of(relay, &thief, sealed).await;
        }
    };
    attack().await;
    // And now both relays have a copy.
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    attack().await;
    // That all of the other group say that they have it is not the end of it.
    have(&left, &thief, sealed).await;
    have(&right, &fence, sealed).await;
    let others = Folder::new().await;
    assert_eq!(soon(take(&left, &phone, &others, sealed)).await.unwrap(), sealed.size);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_that_the_host_deletes_no_content_stays() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, wire), (phone, other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let sealed = laptops.put(&bytes(SEVERAL)).await.sealed();
    give(&left, &laptop, &laptops, sealed).await;
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    // From a folder that no relay runs on.
    let folder = tempfile::tempdir().unwrap();
    admin::purge(folder.path(), &StoreConfig::parse(&nodes.url).unwrap(), laptop.group).await.unwrap();
    let left_over = "SELECT (SELECT count(*) FROM content WHERE at_ms >= 0) + (SELECT count(*) FROM content_had)";
    assert_eq!(nodes.number(left_over).await, 0, "with the group itself, whether a relay runs or not");
    drop((wire, other));
    for relay in [&left, &right] {
        soon(async { while answer(relay, &phone, ContentAsk::Take(sealed)).await != Err(Code::UnknownGroup) {} }).await;
    }
    left.shutdown().await;
    // It looks when it starts, and then once a minute.
    let left = nodes.start("left").await;
    nodes.until("SELECT count(*) FROM content", 0).await;
    assert_eq!(nodes.rows().await, [0; 3]);
    soon(async { while copies(&nodes.folder("left")).await != 0 {} }).await;
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_damaged_or_lost_is_fetched_anew() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let laptops = Folder::new().await;
    let content = laptops.put(&bytes(SEVERAL)).await;
    let sealed = content.sealed();
    give(&left, &laptop, &laptops, sealed).await;
    let take_anew = async |relay: &RunningRelay| {
        let phones = Folder::new().await;
        soon(async {
            loop {
                let Ok((_, wire)) = said(relay, &phone, ContentAsk::Take(sealed)).await else { continue };
                let (reader, writer) = wire.into_halves();
                let quiet = std::sync::Arc::new(|_| ());
                if phones.store.take(sealed, reader, writer, quiet).await.is_ok() {
                    break;
                }
            }
        })
        .await;
        assert!(phones.bytes(&content).await == bytes(SEVERAL));
    };
    take_anew(&right).await;
    let data = nodes.folder("right").join("data").join(format!("{}.data", sealed.hash));
    let whole = std::fs::read(&data).unwrap();
    assert_eq!(whole.len() as u64, sealed.size);
    let mut damaged = whole.clone();
    damaged[2_000_000] ^= 1;
    std::fs::write(&data, &damaged).unwrap();
    take_anew(&right).await;
    assert!(std::fs::read(&data).unwrap() == whole, "its own copy is mended");
    std::fs::remove_file(&data).unwrap();
    take_anew(&right).await;
    right.shutdown().await;
    // A whole folder, and the one of the relay to which it was given.
    std::fs::remove_dir_all(nodes.folder("right")).unwrap();
    let right = nodes.start("right").await;
    take_anew(&right).await;
    left.shutdown().await;
    std::fs::remove_dir_all(nodes.folder("left")).unwrap();
    let left = nodes.start("left").await;
    take_anew(&left).await;
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_content_waits_and_what_was_held_is_there() {
    let mut nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let (held, coming) = (laptops.put(&bytes(SEVERAL)).await, laptops.put(&bytes(SEVERAL)).await);
    give(&left, &laptop, &laptops, held.sealed()).await;
    let holder = nodes.hold_up(2).await;
    send(&left, &laptop, &laptops, coming.sealed()).await;
    nodes.until("SELECT count(*) FROM content_parts", 6).await;
    nodes.server.stop();
    drop(holder);
    for (relay, by, ask) in [
        (&left, &laptop, ContentAsk::Give(coming.sealed())),
        (&right, &phone, ContentAsk::Take(held.sealed())),
        (&right, &phone, ContentAsk::Have(vec![held.hash])),
    ] {
        let mut wire = Wire::local(relay);
        let FromRelay::Refused(refused) = soon(by.about_content(&mut wire, ask)).await else { panic!("it is away") };
        assert!(refused.retry_after_ms > 0, "{refused:?}");
    }
    nodes.server.start_again();
    let script = "DROP TRIGGER wait ON content_parts";
    nodes.server.raw(&nodes.url, script).await;
    // It goes on with what it has.
    let asked = async || answer(&left, &laptop, ContentAsk::Give(coming.sealed())).await;
    soon(async { while asked().await != Ok(ContentAnswer::Held) {} }).await;
    assert_eq!(left.metrics().content_taken_bytes.value(), held.sealed().size + coming.sealed().size);
    for content in [&held, &coming] {
        let sealed = content.sealed();
        assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
        assert!(phones.bytes(content).await == bytes(SEVERAL));
    }
    assert_eq!(nodes.rows().await[1], 8);
    left.shutdown().await;
    right.shutdown().await;
}

/// What the database says is no more believed than a device is.
#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_in_the_database_are_given_to_nobody() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let content = laptops.put(&bytes(SEVERAL)).await;
    let sealed = content.sealed();
    give(&left, &laptop, &laptops, sealed).await;
    let altered = "UPDATE content_parts SET bytes = set_byte(bytes, 7, get_byte(bytes, 7) # 1) WHERE number = 1";
    nodes.server.raw(&nodes.url, altered).await;
    assert_eq!(answer(&right, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    // It is as if it had never been given, so that it may be given anew.
    soon(async { while nodes.number("SELECT count(*) FROM content WHERE at_ms >= 0").await != 0 {} }).await;
    let given = async || said(&left, &laptop, ContentAsk::Give(sealed)).await;
    let held = async || loop {
        if let Ok((ContentAnswer::Held, _)) = given().await {
            break;
        }
    };
    soon(held()).await;
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes(SEVERAL));
    left.shutdown().await;
    right.shutdown().await;
}

/// Relays of before have said that they hold what lies in their own folders alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_of_before_held_for_itself_is_handed_in_when_it_starts() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let content = laptops.put(&bytes(SEVERAL)).await;
    let sealed = content.sealed();
    give(&left, &laptop, &laptops, sealed).await;
    left.shutdown().await;
    // As it would be if the database had never been told.
    nodes.server.raw(&nodes.url, "DELETE FROM content; DELETE FROM content_parts; DELETE FROM content_had").await;
    let mut ledger =
        SqliteConnectOptions::new().filename(nodes.folder("left").join("content.db")).connect().await.unwrap();
    let had = sqlx::query("INSERT INTO had SELECT group_id, hash, ?, at_ms FROM content").bind(&laptop.id.0[..]);
    assert_eq!(had.execute(&mut ledger).await.unwrap().rows_affected(), 1);
    ledger.close().await.unwrap();

    let left = nodes.start("left").await;
    nodes.until("SELECT count(*) FROM content WHERE whole", 1).await;
    assert_eq!(nodes.rows().await, [1, 4, 1]);
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes(SEVERAL));
    have(&right, &phone, sealed).await;
    assert_eq!(nodes.rows().await[..2], [0, 0]);
    left.shutdown().await;
    right.shutdown().await;
}

/// Content of more parts than are deleted at once, and a database that is slow with them.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_to_wait_for_much_is_told_to_come_again_and_all_of_it_goes_in_the_end() {
    let nodes = Nodes::new().await;
    let (left, right) = nodes.two().await;
    let ((laptop, _wire), (phone, _other)) = pair(at(&left, &right), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let bytes = bytes(70 << 20);
    let content = laptops.put(&bytes).await;
    let sealed = content.sealed();
    give(&left, &laptop, &laptops, sealed).await;
    let mut slow = PgConnection::connect(&nodes.url).await.unwrap();
    slow.execute("BEGIN; LOCK TABLE content_parts").await.unwrap();
    let mut wire = Wire::local(&right);
    let FromRelay::Refused(refused) = soon(phone.about_content(&mut wire, ContentAsk::Take(sealed))).await else {
        panic!("it cannot have it")
    };
    assert!(refused.code() == Code::ContentMissing && refused.retry_after_ms > 0, "{refused:?}");
    // Others do not wait for that.
    assert_eq!(answer(&right, &phone, ContentAsk::Have(vec![])).await, Ok(ContentAnswer::Noted));
    slow.execute("ROLLBACK").await.unwrap();
    assert_eq!(soon(take(&right, &phone, &phones, sealed)).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes);
    let parts = i64::try_from(sealed.size.div_ceil(1 << 20)).unwrap();
    assert_eq!(nodes.rows().await[..2], [1, parts]);
    have(&right, &phone, sealed).await;
    assert_eq!(nodes.rows().await[..2], [1, parts - 64], "the first go at once");
    assert_eq!(answer(&left, &laptop, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    // The others go when a relay looks next.
    let third = nodes.start("third").await;
    nodes.until("SELECT count(*) FROM content", 0).await;
    assert_eq!(nodes.rows().await[..2], [0, 0]);
    third.shutdown().await;
    left.shutdown().await;
    right.shutdown().await;
}
