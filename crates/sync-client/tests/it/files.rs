//! Files: put on one device, listed and fetched on the others, through the relay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sync_client::{
    BlobId, ClientEvent, Code, FileInfo, FileState, FilesPolicy, ReceiptState, StartAt, SyncClient, SyncConfig,
};

use sync_content::{ContentStore, FolderStore, Options};
use sync_types::Suite;

use crate::support::*;

const MEBIBYTE: usize = 1 << 20;

pub(crate) fn quiet(_: u64, _: u64) {}

/// Calls run on any thread: a Tauri command has to be able to.
#[tokio::test]
async fn calls_may_go_from_thread_to_thread() {
    fn goes<T: Send>(_: T) {}
    let world = World::memory().await;
    let files = world.device("alone").await.files();
    let path = world.folder.path();
    goes(files.put(path, None, quiet));
    goes(files.get(BlobId([0; 16]), path, Duration::ZERO, quiet));
    goes(files.get_new(BlobId([0; 16]), path, Duration::ZERO, quiet));
    goes(files.wait_given(BlobId([0; 16]), Duration::ZERO, quiet));
    goes(files.remove(BlobId([0; 16])));
}

pub(crate) fn written(world: &World, name: &str, size: usize) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let path = world.folder.path().join(name);
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

pub(crate) async fn put(client: &SyncClient, path: &Path) -> FileInfo {
    soon("sealing", client.files().put(path, None, quiet)).await.unwrap()
}

/// Waits until a file is as it should be, which the device's events tell.
pub(crate) async fn becomes(client: &SyncClient, id: BlobId, wanted: impl Fn(&FileInfo) -> bool) -> FileInfo {
    let mut events = client.events();
    soon("a file's state", async {
        loop {
            if let Some(file) = client.files().list().await.unwrap().into_iter().find(|file| file.id == id)
                && wanted(&file)
            {
                break file;
            }
            events.next().await.unwrap();
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_put_has_sealed_is_gone_when_files_are_next_used() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let (path, bytes) = written(&world, "kept", 100_000);
    let file = put(&a, &path).await;
    a.close().await;
    // As a put that was killed before the log told of it leaves it.
    let open = async || FolderStore::open(&world.home("a").join("content"), Options::default()).await.unwrap();
    let store = open().await;
    let left = store.put_bytes(vec![7; 50_000], Suite::XWing).await.unwrap();
    assert_eq!(store.hashes().await.unwrap().len(), 2);
    store.close().await.unwrap();
    let a = world.device("a").await;
    let to = world.folder.path().join("got");
    a.files().get(file.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
    a.close().await;
    let hashes = open().await.hashes().await.unwrap();
    assert!(hashes.len() == 1 && !hashes.contains(&left.hash), "{hashes:?}");
}

async fn comes(way: Way) {
    let world = World::new(way).await;
    let (a, b) = world.pair().await;
    let mut events = b.events();
    let (path, bytes) = written(&world, "photo.jpg", 3 * MEBIBYTE + 7);
    let file = put(&a, &path).await;
    assert_eq!((file.name.as_str(), file.size, file.state), ("photo.jpg", bytes.len() as u64, FileState::Here));
    assert!(file.modified_ms > 0);
    a.files().wait_given(file.id, SOON, quiet).await.unwrap();
    assert!(a.files().info(file.id).await.unwrap().given);
    event("the file", &mut events, |event| (*event == ClientEvent::FileHere { id: file.id }).then_some(())).await;
    let at_b = b.files().list().await.unwrap();
    assert_eq!((at_b.len(), at_b[0].id, at_b[0].state), (1, file.id, FileState::Here));
    assert_eq!((at_b[0].device, at_b[0].name.as_str()), (file.device, "photo.jpg"));
    let to = world.folder.path().join("got.jpg");
    let shown = Arc::new(AtomicU64::new(0));
    let most = shown.clone();
    let note = move |done: u64, total: u64| {
        assert!(done <= total);
        most.fetch_max(done, Ordering::Relaxed);
    };
    b.files().get(file.id, &to, SOON, note).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
    assert_eq!(shown.load(Ordering::Relaxed), bytes.len() as u64);
    let taken = b.files().get_new(file.id, &to, SOON, quiet).await.unwrap_err();
    assert_eq!(taken.code, Code::InvalidArgument);
    b.files().get_new(file.id, &to.with_file_name("new.jpg"), SOON, quiet).await.unwrap();
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_in_memory() {
    comes(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_over_quic() {
    comes(Way::Quic).await;
}

/// The relay has deleted it by then: everybody had it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_later_gets_what_the_others_have() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (path, bytes) = written(&world, "old", MEBIBYTE);
    let file = put(&a, &path).await;
    becomes(&b, file.id, |file| file.state == FileState::Here).await;
    let relay = world.relay.clone().unwrap();
    soon("the relay's end with it", async {
        while relay.metrics().content_deleted.value() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(relay);
    let c = world.device("c").await;
    pair(&b, &c).await;
    becomes(&c, file.id, |file| file.state == FileState::Here).await;
    let to = world.folder.path().join("got");
    c.files().get(file.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_come_on_one_connection() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let mut last = None;
    for n in 0..40 {
        let (path, _) = written(&world, &format!("{n}"), n * 100);
        last = Some(put(&a, &path).await.id);
    }
    let last = last.unwrap();
    becomes(&b, last, |file| file.state == FileState::Here).await;
    for file in a.files().list().await.unwrap() {
        becomes(&b, file.id, |file| file.state == FileState::Here).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_come_when_they_are_asked_for() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let policy = FilesPolicy { automatic_up_to: 1_000, ..BY_RELAY };
    let b = SyncClient::new(world.config("b").files(policy)).await.unwrap();
    pair(&a, &b).await;
    let ((small, _), (large, bytes)) = (written(&world, "small", 900), written(&world, "large", MEBIBYTE));
    let (large, small) = (put(&a, &large).await, put(&a, &small).await);
    a.files().wait_given(large.id, SOON, quiet).await.unwrap();
    becomes(&b, small.id, |file| file.state == FileState::Here).await;
    assert_eq!(b.files().info(large.id).await.unwrap().state, FileState::OnDemand);
    let to = world.folder.path().join("got");
    b.files().get(large.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
    assert_eq!(b.files().info(large.id).await.unwrap().state, FileState::Here);
    // And by themselves once they may.
    let (other, _) = written(&world, "other", MEBIBYTE);
    let other = put(&a, &other).await;
    becomes(&b, other.id, |file| file.state == FileState::OnDemand).await;
    b.files().set_policy(BY_RELAY);
    becomes(&b, other.id, |file| file.state == FileState::Here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_said_to_be_missing_and_comes_when_somebody_has_it() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.files().set_policy(FilesPolicy { paused: true, ..BY_RELAY });
    let (path, bytes) = written(&world, "x", 5_000);
    let file = put(&a, &path).await;
    becomes(&b, file.id, |_| true).await;
    let to = world.folder.path().join("got");
    let error = b.files().get(file.id, &to, Duration::from_secs(3), quiet).await.unwrap_err();
    assert_eq!(error.code, Code::ContentMissing);
    assert!(!to.exists());
    a.files().set_policy(BY_RELAY);
    a.files().wait_given(file.id, SOON, quiet).await.unwrap();
    b.files().get(file.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_put_offline_goes_after_a_restart() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    world.stop_relay().await;
    let (path, _) = written(&world, "kept", 70_000);
    let file = put(&a, &path).await;
    assert!(!file.given);
    a.close().await;
    std::fs::remove_file(path).unwrap();
    let a = world.device("a").await;
    assert_eq!(a.files().list().await.unwrap(), std::slice::from_ref(&file));
    world.start_relay().await;
    a.files().wait_given(file.id, SOON, quiet).await.unwrap();
    becomes(&b, file.id, |file| file.state == FileState::Here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_waits_for_is_given_before_smaller_files() {
    const OTHERS: usize = 20;
    let mut world = World::memory().await;
    let (a, _b) = world.pair().await;
    world.stop_relay().await;
    for n in 0..OTHERS {
        put(&a, &written(&world, &n.to_string(), 300_000 + n).0).await;
    }
    let last = put(&a, &written(&world, "last", 400_000).0).await;
    let mut events = a.events();
    let files = a.files();
    let waiting = files.wait_given(last.id, SOON, quiet);
    let giving = async {
        world.start_relay().await;
        let mut before = 0;
        loop {
            let given = |event: &ClientEvent| if let ClientEvent::FileGiven { id } = event { Some(*id) } else { None };
            if event("the next one that is given", &mut events, given).await == last.id {
                return before;
            }
            before += 1;
        }
    };
    let (waited, before) = tokio::join!(waiting, giving);
    waited.unwrap();
    assert!(before < OTHERS / 2, "{before} smaller ones went before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_carries_no_file_and_the_foreground_goes_on() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    b.background().await.unwrap();
    let (path, _) = written(&world, "x", MEBIBYTE);
    let file = put(&a, &path).await;
    a.files().wait_given(file.id, SOON, quiet).await.unwrap();
    assert!(b.wake(SOON).await.unwrap().arrived);
    assert_eq!(b.files().info(file.id).await.unwrap().state, FileState::Wanted);
    b.foreground().await.unwrap();
    becomes(&b, file.id, |file| file.state == FileState::Here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_goes_everywhere() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (path, _) = written(&world, "x", 1_000);
    let file = put(&a, &path).await;
    becomes(&b, file.id, |file| file.state == FileState::Here).await;
    let mut events = a.events();
    b.files().remove(file.id).await.unwrap();
    assert_eq!(b.files().list().await.unwrap(), []);
    event("the removal", &mut events, |event| (*event == ClientEvent::FileRemoved { id: file.id }).then_some(())).await;
    assert_eq!(a.files().list().await.unwrap(), []);
    let gone = world.folder.path().join("gone");
    for client in [&a, &b] {
        assert_eq!(client.files().info(file.id).await.unwrap_err().code, Code::InvalidArgument);
        assert_eq!(client.files().remove(file.id).await.unwrap_err().code, Code::InvalidArgument);
        let got = client.files().get(file.id, &gone, SOON, quiet).await;
        assert_eq!(got.unwrap_err().code, Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_alone_gives_to_nobody_and_leaving_takes_its_content_along() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let (path, bytes) = written(&world, "x", 70_000);
    let file = put(&a, &path).await;
    assert!(file.given, "there is nobody to give it to");
    a.files().wait_given(file.id, SOON, quiet).await.unwrap();
    assert!(world.home("a").join("content").exists());
    a.leave().await.unwrap();
    assert!(!world.home("a").join("content").exists());
    assert_eq!(a.files().list().await.unwrap(), []);
    // And it begins anew.
    let file = put(&a, &path).await;
    let to = world.folder.path().join("got");
    a.files().get(file.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
    a.close().await;
    assert_eq!(a.files().put(&path, None, quiet).await.unwrap_err().code, Code::Closed);
    SyncClient::reset(&world.config("a")).await.unwrap();
    assert!(!world.home("a").join("content").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_changes_nothing() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let (path, _) = written(&world, "x", 10);
    let put = async |path: &Path, name: Option<&str>| a.files().put(path, name, quiet).await.unwrap_err().code;
    assert_eq!(put(world.folder.path(), None).await, Code::InvalidArgument);
    assert_eq!(put(&path, Some("")).await, Code::InvalidArgument);
    assert_eq!(put(&path, Some(&"x".repeat(1025))).await, Code::InvalidArgument);
    assert_eq!(put(&world.folder.path().join("none"), None).await, Code::Io);
    assert_eq!(a.status().await.unwrap().group, None, "no group was founded for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_the_engine_are_no_apps() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (path, _) = written(&world, "x", 10);
    let file = put(&a, &path).await;
    let receipt = a.push("text").await.unwrap();
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    becomes(&b, file.id, |file| file.state == FileState::Here).await;
    assert_eq!(texts(&b.read("app", None, 10).await.unwrap()), ["text"]);
    let mut subscription = a.subscribe("app", None, StartAt::Start).unwrap().with_own();
    assert_eq!(soon("the text", subscription.next()).await.unwrap().data, b"text");
    assert_eq!(subscription.newest().await.unwrap(), 0, "nothing waits behind it");
    for channel in ["0ksync/files", "0ksync/"] {
        let codes = [
            a.push_to(channel, "x").await.map(drop),
            a.snapshot(channel, b"x".to_vec(), 9).await.map(drop),
            a.read("app", Some(channel), 1).await.map(drop),
            a.advance("app", Some(channel), 9).await,
            a.position("app", channel).await.map(drop),
            a.subscribe("app", Some(channel), StartAt::Position).map(drop),
            a.presence_set(channel, "x").await,
        ];
        for code in codes {
            assert_eq!(code.unwrap_err().code, Code::InvalidArgument);
        }
    }
    a.push_to("0ksynced", "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_files_has_no_folder_for_them() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.push("x").await.unwrap();
    receive(&b, 1).await;
    assert_eq!(a.files().list().await.unwrap(), []);
    assert!(!world.home("a").join("content").exists() && !world.home("b").join("content").exists());
    assert_eq!(SyncConfig::default().files, FilesPolicy::default());
}
