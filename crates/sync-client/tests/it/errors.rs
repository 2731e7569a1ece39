//! Bad input and bad disks: each has its own code, and loses nothing.

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sync_client::{ClientEvent, Code, ReceiptState, SyncClient, limits};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_channels_beyond_their_bounds_are_refused_before_anything_is_written() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let code = async |channel: &str, blob: Vec<u8>| a.push_to(channel, blob).await.unwrap_err().code;
    assert_eq!(code("c", vec![]).await, Code::Empty);
    assert_eq!(code("c", vec![0; limits::LARGE_BLOB_BYTES + 1]).await, Code::TooLarge);
    assert_eq!(code(&"c".repeat(257), vec![1]).await, Code::InvalidArgument);
    let mixed = a.push_many("c", vec![vec![1], vec![]]).await.unwrap_err();
    assert_eq!(mixed.code, Code::Empty);
    assert!(mixed.to_string().ends_with(Code::Empty.next_step()));
    assert_eq!(a.presence_set("c", vec![0; 1025]).await.unwrap_err().code, Code::TooLarge);
    // Not even a group was founded.
    assert_eq!(a.status().await.unwrap().group, None);
    a.push_to(&"c".repeat(256), vec![0; limits::BLOB_BYTES]).await.unwrap();
    assert_eq!(a.push_many("c", vec![]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_the_push_and_later_ones_work() {
    let world = World::memory().await;
    let a = SyncClient::new(world.config("a").max_store_bytes(600_000)).await.unwrap();
    let first = a.push("fits").await.unwrap();
    let error = a.push(vec![7; 1_000_000]).await.unwrap_err();
    assert_eq!(error.code, Code::DiskFull);
    a.receipt_state(first.id).await.unwrap();
    let later = a.push("fits again").await.unwrap();
    a.wait(&later, ReceiptState::Accepted, SOON).await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    assert_eq!(receive_texts(&b, 2).await, ["fits", "fits again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_says_so_and_a_reset_helps() {
    let world = World::memory().await;
    let a = world.device("a").await;
    a.push("x").await.unwrap();
    a.close().await;
    let path = world.home("a").join("device.db");
    let length = path.metadata().unwrap().len();
    std::fs::write(&path, vec![0x55; usize::try_from(length).unwrap()]).unwrap();
    assert_eq!(SyncClient::new(world.config("a")).await.unwrap_err().code, Code::StoreCorrupt);
    // Nothing was overwritten: who wants to save something still can.
    assert_eq!(path.metadata().unwrap().len(), length);
    SyncClient::reset(&world.config("a")).await.unwrap();
    world.device("a").await.push("again").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_cannot_be_read_is_waited_for_and_never_replaced() {
    let world = World::memory().await;
    let a = SyncClient::new(world.config("a").max_store_bytes(600_000)).await.unwrap();
    let ids = a.ensure_group().await.unwrap();
    a.push("before").await.unwrap();
    // A row that no build writes: from now on the device's rows cannot be read.
    let database = SqliteConnectOptions::new().filename(world.home("a").join("device.db"));
    let mut database = SqliteConnection::connect_with(&database).await.unwrap();
    sqlx::query("INSERT INTO state VALUES (x'ff', x'00')").execute(&mut database).await.unwrap();
    // A turn that fails makes the engine read them again.
    assert_eq!(a.push(vec![7; 1_000_000]).await.unwrap_err().code, Code::DiskFull);
    assert_eq!(a.push("lost?").await.unwrap_err().code, Code::StoreCorrupt);
    assert_eq!(a.ensure_group().await.unwrap_err().code, Code::StoreCorrupt);
    assert_eq!(a.advance("app", None, 1).await.unwrap_err().code, Code::StoreCorrupt);
    assert_eq!(a.catch_up(SOON).await.unwrap_err().code, Code::StoreCorrupt);
    let mut events = a.events();
    sqlx::query("DELETE FROM state WHERE key = x'ff'").execute(&mut database).await.unwrap();
    event("the connection", &mut events, |e| matches!(e, ClientEvent::Connected).then_some(())).await;
    assert_eq!(a.ensure_group().await.unwrap(), ids);
    a.push("after").await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    assert_eq!(receive_texts(&b, 2).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_cannot_be_read_keeps_nothing_from_being_pushed_and_is_tried_again() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let before = a.push("before").await.unwrap();
    a.wait(&before, ReceiptState::Accepted, SOON).await.unwrap();
    let database = SqliteConnectOptions::new().filename(world.home("a").join("device.db"));
    let mut database = SqliteConnection::connect_with(&database).await.unwrap();
    // No build writes an id like this: the newcomer's history cannot be read.
    let id: Vec<u8> = sqlx::query_scalar("SELECT id FROM blob").fetch_one(&mut database).await.unwrap();
    sqlx::query("UPDATE blob SET id = x'ff'").execute(&mut database).await.unwrap();
    let mut events = a.events();
    pair(&a, &b).await;
    let failed = |e: &ClientEvent| matches!(e, ClientEvent::StoreFailed { code: Code::StoreCorrupt }).then_some(());
    event("the failure", &mut events, failed).await;
    let after = a.push("after").await.unwrap();
    a.wait(&after, ReceiptState::Accepted, SOON).await.unwrap();
    // It is tried again without anybody asking.
    event("another failure", &mut events, failed).await;
    sqlx::query("UPDATE blob SET id = ? WHERE id = x'ff'").bind(id).execute(&mut database).await.unwrap();
    assert_eq!(receive_texts(&b, 2).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_apps_home_is_refused() {
    let world = World::memory().await;
    let a = world.device("a").await;
    a.push("x").await.unwrap();
    a.close().await;
    let other = world.config("a").app_id("org.example.other");
    assert_eq!(SyncClient::new(other).await.unwrap_err().code, Code::WrongApp);
    world.device("a").await.push("still there").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_group_say_so() {
    let world = World::memory().await;
    let a = world.device("a").await;
    assert_eq!(a.catch_up(SOON).await.unwrap_err().code, Code::NotInGroup);
    assert_eq!(a.presence_set("c", "x").await.unwrap_err().code, Code::NotInGroup);
    assert_eq!(a.receipt_state(sync_client::BlobId([1; 16])).await.unwrap_err().code, Code::InvalidArgument);
    assert!(a.devices().await.unwrap().is_empty());
    assert_eq!(a.doctor().await.unwrap()[0].code, Some(Code::NotInGroup));
}
