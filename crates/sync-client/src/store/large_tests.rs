//! Blobs that are too large for an envelope, between the wire, the log and their readers.

use sync_core::store::{Answer, LogPlace, Read, Write};
use sync_core::vault::backup::Entry;
use sync_types::body::{Blob, Span};
use sync_types::content::{ContentRef, FILES_CHANNEL, LARGE_CHANNEL, LargeBlob};
use sync_types::{BlobId, ContentHash, DeviceId, GroupId, Opaque, Sealed, encode, limits};

use super::tests::{OTHER, VAULT, apply, blob, fresh, receive, sealing, texts, wanted};
use super::*;

const ME: DeviceId = DeviceId([1; 16]);
const GROUP: GroupId = GroupId([3; 32]);
const SIZE: u64 = limits::BLOB_BYTES as u64 + 1;

fn content(n: u32) -> ContentRef {
    ContentRef { hash: ContentHash([u8::try_from(n).unwrap(); 32]), key: [7; 32], suite: 1, size: SIZE }
}

fn sealed(n: u32) -> Sealed {
    Sealed { hash: content(n).hash, size: sync_content::sealed_size(SIZE) }
}

/// A large blob of an app's channel, as it travels.
fn large(n: u32, channel: &str) -> Blob {
    let record = LargeBlob { channel: Opaque(channel.into()), content: content(n) };
    Blob { channel: LARGE_CHANNEL.into(), data: encode(&record), ..blob(n, "", "x") }
}

async fn note(store: &mut Store, notes: Vec<FileNote>) {
    let mut turn = store.begin().await;
    turn.of_group(Some(GROUP));
    turn.note_files(notes).await.unwrap();
    turn.commit().await.unwrap();
}

/// What a reader of a channel, or of all, gets: by ids.
async fn seen(store: &Store, channel: Option<&str>) -> Vec<u32> {
    let (reader, wanted) = (store.reader(), wanted(None, channel));
    let (mut seen, mut after) = (vec![], 0);
    loop {
        let page = reader.page(&wanted, after, 100).await.unwrap();
        let Some(last) = page.blobs.last() else { break };
        after = last.position;
        assert!(page.blobs.iter().rev().skip(1).all(|blob| !blob.data.is_empty()));
        assert_eq!(page.large.is_some(), last.data.is_empty(), "bytes of a large blob are content");
        seen.extend(page.blobs.iter().map(|blob| u32::from_be_bytes(blob.id.0[..4].try_into().unwrap())));
    }
    // What is told of as new can be read.
    assert_eq!(reader.newest(&wanted).await.unwrap(), after);
    seen
}

async fn loads(store: &Store) -> Vec<Load> {
    store.reader().loads(GROUP, ME).await.unwrap()
}

async fn history(store: &mut Store) -> Vec<Blob> {
    let mut turn = store.begin().await;
    let spans = vec![Span { sender: OTHER, from: 1, to: 99 }];
    let read = Read::History { spans, after: LogPlace::default(), max_bytes: 1 << 20, max_blobs: 99 };
    let Answer::History(found) = turn.read(read).await.unwrap() else { panic!() };
    found.into_iter().map(|found| found.blob).collect()
}

async fn outbox(store: &mut Store) -> Vec<Blob> {
    let mut turn = store.begin().await;
    outbox_of(&mut turn).await
}

async fn outbox_of(turn: &mut Turn<'_>) -> Vec<Blob> {
    let Answer::Outbox(found) = turn.read(Read::Outbox { max_bytes: 1 << 20, max_blobs: 99 }).await.unwrap() else {
        panic!()
    };
    found.into_iter().map(|found| found.blob).collect()
}

#[tokio::test]
async fn a_reader_gets_nothing_beyond_what_is_awaited_on_its_channel() {
    let (_folder, mut store) = fresh().await;
    let blobs = vec![blob(1, "a", "x"), large(2, "a"), blob(3, "b", "y"), blob(4, "a", "z"), large(5, "a")];
    apply(&mut store, vec![receive(OTHER, 1, blobs, false)]).await;
    assert!(store.files() > 0, "somebody has to fetch it");
    assert!(!store.take_readable());
    assert_eq!(seen(&store, None).await, [1]);
    assert_eq!(seen(&store, Some("a")).await, [1]);
    assert_eq!(seen(&store, Some("b")).await, [3]);
    note(&mut store, vec![FileNote::Here(sealed(2))]).await;
    assert!(store.take_readable() && !store.take_readable());
    assert_eq!(seen(&store, None).await, [1, 2, 3, 4]);
    assert_eq!(seen(&store, Some("a")).await, [1, 2, 4]);
    // A consumer that has had one does not wait for it when the store has lost it.
    let mut turn = store.begin().await;
    turn.advance("app", Some("a"), 2).await.unwrap();
    turn.commit().await.unwrap();
    note(&mut store, vec![FileNote::Gone(sealed(2))]).await;
    assert!(!store.take_readable());
    assert_eq!(seen(&store, None).await, [1]);
    for channel in [Some("a"), None] {
        let unread = store.reader().read(&wanted(Some("app"), channel), 0, 9).await.unwrap();
        let expected = if channel.is_some() { vec!["z"] } else { vec!["y", "z"] };
        assert_eq!(texts(&unread), expected);
    }
    note(&mut store, vec![FileNote::Here(sealed(2)), FileNote::Here(sealed(5))]).await;
    assert_eq!(seen(&store, None).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_was_forged_is_passed_over() {
    let (_folder, mut store) = fresh().await;
    let blobs = vec![large(1, "a"), blob(2, "a", "x")];
    apply(&mut store, vec![receive(OTHER, 1, blobs, false)]).await;
    note(&mut store, vec![FileNote::Forged(large(1, "").id)]).await;
    assert!(store.take_readable());
    assert_eq!(seen(&store, None).await, [2]);
    assert!(loads(&store).await[0].dropped);
    assert!(store.awaited().await.unwrap().is_empty());
    note(&mut store, vec![FileNote::Here(sealed(1))]).await;
    assert_eq!(seen(&store, None).await, [2], "it stays so");
}

#[tokio::test]
async fn a_row_travels_as_its_record_whichever_way_it_came() {
    let (folder, mut store) = fresh().await;
    let writes = vec![
        receive(OTHER, 3, vec![large(3, "held")], true),
        receive(OTHER, 1, vec![blob(1, "a", "x"), large(2, "a")], false),
    ];
    assert!(apply(&mut store, writes).await.is_empty());
    assert_eq!(store.awaited().await.unwrap()[&OTHER], Span { sender: OTHER, from: 1, to: 1 });
    apply(&mut store, vec![Write::Release { sender: OTHER, up_to_seq: 3 }]).await;
    assert_eq!(store.awaited().await.unwrap()[&OTHER], Span { sender: OTHER, from: 1, to: 3 });
    assert_eq!(history(&mut store).await, [blob(1, "a", "x"), large(2, "a"), large(3, "held")]);
    // The same again is no conflict, and other content under a known id is one.
    assert!(apply(&mut store, vec![receive(ME, 7, vec![large(2, "a")], false)]).await.is_empty());
    assert_eq!(store.awaited().await.unwrap()[&ME], Span { sender: ME, from: 7, to: 7 });
    let other = Blob { data: large(9, "a").data, ..large(2, "a") };
    assert_eq!(apply(&mut store, vec![receive(OTHER, 8, vec![other], false)]).await.len(), 1);
    assert_eq!(loads(&store).await.len(), 2, "nothing of it is fetched");

    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(11, "a", "y"), large(12, "a")]);
    let out = [blob(11, "a", "y"), large(12, "a")];
    assert_eq!(outbox_of(&mut turn).await, out, "from memory");
    turn.commit().await.unwrap();
    assert_eq!(outbox(&mut store).await, out, "from the disk");
    let own = loads(&store).await.into_iter().find(|load| load.content == sealed(12)).unwrap();
    assert!(own.here && !own.given && own.blob == Some(large(12, "").id) && own.file.is_none());
    let (mut export, count) = store.reader().export().await.unwrap();
    let entries: Vec<Entry> = export.next().await.unwrap();
    assert_eq!(count, 5);
    assert!(entries.iter().filter(|entry| entry.channel.0 == LARGE_CHANNEL.as_bytes()).count() == 3);
    let row = entries.iter().find(|entry| entry.id == large(2, "").id).unwrap();
    assert_eq!(row.data.0, large(2, "a").data);
    // What is secret of it is sealed.
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(32).any(|part| part == [7; 32]));
    }
    drop(export);
    // One that comes with a backup is this device's to give; and the bytes of one that was awaited are here.
    let known = entries.iter().find(|entry| entry.id == large(2, "").id).unwrap();
    let new = Entry { id: BlobId([0xee; 16]), data: Opaque(large(13, "a").data), ..known.clone() };
    let mut turn = store.begin().await;
    turn.stage(vec![new.clone(), known.clone()]).await.unwrap();
    let taken = turn.take_staged(ME, &[(new.id, sealed(13)), (known.id, sealed(2))]).await.unwrap();
    assert_eq!(taken, 1);
    turn.commit().await.unwrap();
    let loads = loads(&store).await;
    let of = |n: u32| loads.iter().find(|load| load.content == sealed(n));
    assert!(of(13).is_some_and(|load| load.here && !load.given && load.blob == Some(new.id)));
    assert!(of(2).is_none_or(|load| load.here));
    let travels = Blob { id: new.id, ..large(13, "a") };
    assert!(outbox(&mut store).await.contains(&travels), "as its record");
}

#[tokio::test]
async fn what_no_device_of_ours_would_say_is_seen_by_nobody() {
    let (_folder, mut store) = fresh().await;
    let record = |channel: &str, size: u64, suite: u8| {
        let content = ContentRef { size, suite, ..content(1) };
        encode(&LargeBlob { channel: Opaque(channel.into()), content })
    };
    let bad = [
        record("0ksync/files", SIZE, 1),
        record(&"c".repeat(257), SIZE, 1),
        record("a", SIZE - 1, 1),
        record("a", limits::LARGE_BLOB_BYTES as u64 + 1, 1),
        record("a", SIZE, 9),
        b"no record".to_vec(),
    ];
    let count = bad.len() as u32;
    let blobs = (1..).zip(bad).map(|(n, data)| Blob { channel: LARGE_CHANNEL.into(), data, ..blob(n, "", "x") });
    let blobs: Vec<Blob> = blobs.chain([blob(count + 1, "a", "behind")]).collect();
    apply(&mut store, vec![receive(OTHER, 1, blobs.clone(), false)]).await;
    assert_eq!(seen(&store, None).await, [count + 1]);
    assert_eq!((loads(&store).await, store.awaited().await.unwrap().len()), (vec![], 0));
    assert_eq!(history(&mut store).await, blobs, "they are handed on as they came");
}

#[tokio::test]
async fn large_blobs_are_no_files_and_nobody_can_remove_them_as_such() {
    let (_folder, mut store) = fresh().await;
    note(&mut store, vec![FileNote::Removed(large(1, "").id)]).await;
    apply(&mut store, vec![receive(OTHER, 1, vec![large(1, "a")], false)]).await;
    note(&mut store, vec![FileNote::Here(sealed(1)), FileNote::Removed(large(1, "").id)]).await;
    assert_eq!(seen(&store, None).await, [1]);
    assert!(loads(&store).await.iter().all(|load| !load.dropped));
    assert!(store.reader().files(Some(GROUP)).await.unwrap().is_empty());
    assert!(store.reader().file(large(1, "").id, Some(GROUP)).await.unwrap().is_none());
    assert!(store.reader().file_records(9).await.unwrap().is_empty(), "nor on {FILES_CHANNEL}");
}

#[tokio::test]
async fn content_goes_with_the_last_row_that_has_it() {
    let (_folder, mut store) = fresh().await;
    let twin = Blob { data: large(1, "b").data, ..large(2, "b") };
    apply(&mut store, vec![receive(OTHER, 1, vec![large(1, "a"), twin, large(3, "a")], false)]).await;
    note(&mut store, vec![FileNote::Here(sealed(1)), FileNote::Here(sealed(3))]).await;
    let replace = async |store: &mut Store, n: u32, channel: &str, up_to: u64| {
        let mut turn = store.begin().await;
        let snapshot = Blob { snapshot: true, ..blob(n, channel, "all") };
        let replaced = turn.snapshot(&snapshot, ME, up_to, 0).await.unwrap();
        turn.commit().await.unwrap();
        replaced
    };
    assert_eq!(replace(&mut store, 21, "a", 3).await, 2);
    let dropped = async |store: &Store| {
        let loads = loads(store).await;
        loads.into_iter().filter(|load| load.dropped).map(|load| load.content).collect::<Vec<_>>()
    };
    assert_eq!(dropped(&store).await, [sealed(3)], "another blob has the content of the first");
    assert_eq!(replace(&mut store, 22, "b", 9).await, 1);
    assert_eq!(dropped(&store).await.len(), 2);
    let files: i64 = sqlx::query_scalar("SELECT count(*) FROM file").fetch_one(&store.readers).await.unwrap();
    assert_eq!(files, 0);
}

#[tokio::test]
async fn another_group_is_given_what_is_here_alone() {
    let (_folder, mut store) = fresh().await;
    apply(&mut store, vec![receive(OTHER, 1, vec![large(1, "a"), large(2, "a"), blob(3, "a", "x")], false)]).await;
    note(&mut store, vec![FileNote::Here(sealed(1))]).await;
    apply(&mut store, vec![Write::ClearGroup, Write::Reoffer { sender: ME }]).await;
    assert_eq!(outbox(&mut store).await, [large(1, "a"), blob(3, "a", "x")]);
    assert_eq!(seen(&store, None).await, [1, 3]);
    // It comes again from whoever has it.
    apply(&mut store, vec![receive(OTHER, 1, vec![large(2, "a")], false)]).await;
    assert_eq!(store.awaited().await.unwrap().len(), 1);
    note(&mut store, vec![FileNote::Here(sealed(2))]).await;
    assert_eq!(seen(&store, None).await, [1, 3, 2]);
}

#[tokio::test]
async fn a_log_of_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let before = sync_sqlite::Schema { migrations: &SCHEMA.migrations[..8], ..SCHEMA };
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut old = SqliteConnection::connect_with(&options).await.unwrap();
    before.migrate(&mut old).await.unwrap();
    let insert = "INSERT INTO blob (id, own, sender, seq, channel, data) VALUES (?, 0, ?, 1, 'a', x'78')";
    let insert = sqlx::query(insert).bind(&blob(1, "", "").id.0[..]).bind(&OTHER.0[..]);
    insert.execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    let mut store = Database::look(&path, None).await.unwrap().open_with(VAULT, sealing()).await.unwrap();
    apply(&mut store, vec![receive(OTHER, 2, vec![large(2, "a"), blob(3, "a", "y")], false)]).await;
    assert_eq!(seen(&store, None).await, [1]);
    note(&mut store, vec![FileNote::Here(sealed(2))]).await;
    assert_eq!(seen(&store, None).await, [1, 2, 3]);
}
