//! The tables of files: what the log tells of them, and what becomes of their content.

use sync_types::body::Blob;
use sync_types::content::{ContentRef, FILES_CHANNEL, FilePut, FileRecord};
use sync_types::{BlobId, ContentHash, DeviceId, GroupId, Opaque, Sealed, encode};

use super::tests::{OTHER, apply, blob, fresh, receive, wanted};
use super::*;

const ME: DeviceId = DeviceId([1; 16]);
const GROUP: GroupId = GroupId([3; 32]);

fn content(n: u8) -> Sealed {
    Sealed { hash: ContentHash([n; 32]), size: u64::from(n) * 1000 }
}

fn record(n: u8) -> Vec<u8> {
    let content = ContentRef { hash: content(n).hash, key: [7; 32], suite: 1, size: u64::from(n) };
    encode(&FileRecord::Put(FilePut { content, name: Opaque(format!("file {n}").into()), modified_ms: 5 }))
}

fn told(n: u8) -> Blob {
    Blob { id: BlobId([n; 16]), channel: FILES_CHANNEL.into(), data: record(n), snapshot: false }
}

async fn note(store: &mut Store, notes: Vec<FileNote>) {
    let mut turn = store.begin().await;
    turn.note_files(notes).await.unwrap();
    turn.commit().await.unwrap();
}

/// A file of another device, in the log and in the list.
async fn listed(store: &mut Store, n: u8) -> BlobId {
    apply(store, vec![receive(OTHER, n.into(), vec![told(n)], false)]).await;
    note(store, vec![FileNote::Listed(told(n).id, content(n), GROUP)]).await;
    told(n).id
}

async fn loads(store: &Store) -> Vec<Load> {
    store.reader().loads(GROUP, ME).await.unwrap()
}

async fn names(store: &Store) -> Vec<String> {
    let rows = store.reader().files(Some(GROUP)).await.unwrap();
    rows.iter().map(|row| row.record.name().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn records_are_read_once_and_by_nobody_else() {
    let (_folder, mut store) = fresh().await;
    assert_eq!(store.files(), 0);
    apply(&mut store, vec![receive(OTHER, 1, vec![blob(9, "notes", "text")], false)]).await;
    assert_eq!(store.files(), 0, "nothing of files");
    apply(&mut store, vec![receive(OTHER, 2, vec![told(1), told(2)], false)]).await;
    let mut turn = store.begin().await;
    turn.push(ME, vec![told(3)]);
    turn.commit().await.unwrap();
    assert_eq!(store.files(), 2);
    let reader = store.reader();
    let records = reader.file_records(100).await.unwrap();
    assert_eq!(records.iter().map(|r| (r.id.0[0], r.own)).collect::<Vec<_>>(), [(1, false), (2, false), (3, true)]);
    let mut turn = store.begin().await;
    turn.advance(FILES_CHANNEL, Some(FILES_CHANNEL), records[1].position).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(reader.file_records(100).await.unwrap()[0].id, told(3).id);
    // An app that reads every channel sees its own.
    let all = Wanted { own: true, ..wanted(None, None) };
    assert_eq!(reader.read(&all, 0, 100).await.unwrap().len(), 1);
    assert_eq!(reader.newest(&all).await.unwrap(), 1);
    // That every channel was read is another consumer's word.
    let mut turn = store.begin().await;
    turn.advance(FILES_CHANNEL, None, 100).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(reader.file_records(100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_comes_is_fetched_and_told_and_what_is_put_is_given() {
    let (_folder, mut store) = fresh().await;
    let id = listed(&mut store, 1).await;
    let coming = Load {
        content: content(1),
        file: Some(id),
        blob: None,
        here: false,
        given: true,
        told: false,
        dropped: false,
        forgotten: false,
    };
    assert_eq!(loads(&store).await, [coming]);
    note(&mut store, vec![FileNote::Here(content(1))]).await;
    assert_eq!(loads(&store).await, [Load { here: true, ..coming }]);
    note(&mut store, vec![FileNote::Told(content(1), ME)]).await;
    assert_eq!(loads(&store).await, []);
    // Another device in this place has told nobody.
    assert_eq!(store.reader().loads(GROUP, OTHER).await.unwrap().len(), 1);

    let mut turn = store.begin().await;
    turn.push(ME, vec![told(2)]);
    turn.note_files(vec![FileNote::Put(told(2).id, content(2))]).await.unwrap();
    turn.commit().await.unwrap();
    // The log tells of it as of others' files.
    note(&mut store, vec![FileNote::Listed(told(2).id, content(2), GROUP)]).await;
    let put = Load { content: content(2), file: Some(told(2).id), here: true, given: false, ..coming };
    assert_eq!(loads(&store).await, [put]);
    let row = store.reader().file(told(2).id, Some(GROUP)).await.unwrap().unwrap();
    assert!(row.here && !row.given && row.device == ME && row.content == content(2));
    note(&mut store, vec![FileNote::Given(content(2), GROUP, ME)]).await;
    assert_eq!(loads(&store).await, []);
    assert!(store.reader().file(told(2).id, Some(GROUP)).await.unwrap().unwrap().given);
    // In another group everything that is here is to be given.
    let elsewhere = store.reader().loads(GroupId([4; 32]), OTHER).await.unwrap();
    assert_eq!(elsewhere.iter().map(|load| (load.here, load.given)).collect::<Vec<_>>(), [(true, false); 2]);
    // What the store has lost is fetched.
    note(&mut store, vec![FileNote::Gone(content(2))]).await;
    assert!(!loads(&store).await[0].here);
}

#[tokio::test]
async fn a_removed_file_is_gone_with_its_content_unless_another_has_that_too() {
    let (_folder, mut store) = fresh().await;
    let (one, two) = (listed(&mut store, 1).await, listed(&mut store, 2).await);
    // A third one has the content of the first.
    apply(&mut store, vec![receive(OTHER, 3, vec![Blob { id: BlobId([3; 16]), ..told(1) }], false)]).await;
    note(&mut store, vec![FileNote::Listed(BlobId([3; 16]), content(1), GROUP)]).await;
    assert_eq!(names(&store).await, ["file 1", "file 2", "file 1"]);
    note(&mut store, vec![FileNote::Here(content(1)), FileNote::Removed(one)]).await;
    assert_eq!(names(&store).await, ["file 2", "file 1"]);
    assert!(loads(&store).await.iter().all(|load| !load.dropped));
    note(&mut store, vec![FileNote::Removed(BlobId([3; 16])), FileNote::Forged(two)]).await;
    assert_eq!(names(&store).await, ["file 2"], "one that is forged stays in the list");
    assert!(store.reader().files(Some(GROUP)).await.unwrap()[0].forged);
    let dropped = loads(&store).await;
    assert_eq!(dropped.iter().map(|load| (load.dropped, load.file)).collect::<Vec<_>>(), [(true, None); 2]);
    note(&mut store, vec![FileNote::Forgotten(content(1)), FileNote::Forgotten(content(2))]).await;
    assert!(loads(&store).await.iter().all(|load| load.forgotten && !load.here && !load.told));
    note(&mut store, vec![FileNote::Told(content(1), ME), FileNote::Told(content(2), ME)]).await;
    assert_eq!(loads(&store).await, []);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM content").fetch_one(&store.readers).await.unwrap();
    assert_eq!(left, 0);
    // The log tells of it again, as a backup may: it stays removed.
    note(&mut store, vec![FileNote::Listed(one, content(1), GROUP)]).await;
    assert_eq!((names(&store).await, loads(&store).await), (vec!["file 2".to_owned()], vec![]));
}

#[tokio::test]
async fn a_file_that_was_removed_before_it_was_heard_of_never_shows() {
    let (_folder, mut store) = fresh().await;
    note(&mut store, vec![FileNote::Removed(told(1).id)]).await;
    listed(&mut store, 1).await;
    assert_eq!((names(&store).await, loads(&store).await), (vec![], vec![]));
    assert!(store.reader().file(told(1).id, Some(GROUP)).await.unwrap().is_none());
}

#[tokio::test]
async fn content_that_was_dropped_is_wanted_again_with_another_file() {
    let (_folder, mut store) = fresh().await;
    let one = listed(&mut store, 1).await;
    note(&mut store, vec![FileNote::Removed(one), FileNote::Forgotten(content(1))]).await;
    apply(&mut store, vec![receive(OTHER, 2, vec![Blob { id: BlobId([2; 16]), ..told(1) }], false)]).await;
    note(&mut store, vec![FileNote::Listed(BlobId([2; 16]), content(1), GROUP)]).await;
    let load = loads(&store).await[0];
    assert!(!load.here && !load.dropped && load.file == Some(BlobId([2; 16])));
}

#[tokio::test]
async fn files_go_with_their_group_and_their_secrets_are_sealed() {
    let (folder, mut store) = fresh().await;
    listed(&mut store, 1).await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"file 1") && !bytes.windows(32).any(|part| part == [7; 32]));
    }
    let mut turn = store.begin().await;
    turn.forget_all();
    turn.commit().await.unwrap();
    assert_eq!((names(&store).await, loads(&store).await), (vec![], vec![]));
}
