//! What is kept of entries that were refused.

use sqlx::AssertSqlSafe;
use sync_core::store::Write;
use sync_types::DeviceId;

use super::Store;
use super::tests::{OTHER, apply, fresh};

#[tokio::test]
async fn refused_entries_are_bounded() {
    let (_folder, mut store) = fresh().await;
    let entry = |n: u64| sync_core::store::RefusedEntry {
        cursor: n,
        sender: Some(OTHER),
        outcome: sync_core::event::Outcome::Forged,
        at: 5,
        bytes: vec![1].into(),
    };
    apply(&mut store, (0..1_100).map(|n| Write::Refused(Box::new(entry(n)))).collect()).await;
    let kept = store.reader().refused().await.unwrap();
    assert_eq!((kept[0].outcome.as_str(), kept[0].sender, kept[0].count), ("forged", Some(OTHER), 1_100));
    assert_eq!(rows_of(&mut store, "refused").await, 1_000);
}

async fn rows_of(store: &mut Store, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(store.writer().await).await.unwrap()
}

#[tokio::test]
async fn refused_entries_are_bounded_in_bytes_and_what_is_forgotten_is_counted() {
    let (_folder, mut store) = fresh().await;
    let entry = |n: u64, bytes, sender| {
        let (outcome, bytes) = (sync_core::event::Outcome::Forged, vec![1; bytes].into());
        Write::Refused(Box::new(sync_core::store::RefusedEntry { cursor: n, sender, outcome, at: 5, bytes }))
    };
    for n in 0..20 {
        apply(&mut store, vec![entry(n, 1 << 20, Some(OTHER))]).await;
    }
    assert_eq!(rows_of(&mut store, "refused").await, 16, "16 MiB of the newest");
    let kept = store.reader().refused().await.unwrap();
    assert_eq!((kept.len(), kept[0].sender, kept[0].count), (1, Some(OTHER), 20), "none is forgotten without a trace");
    // A name for each costs a forger nothing.
    let named = |n: u16| DeviceId(std::array::from_fn(|i| n.to_be_bytes()[i % 2]));
    let many = (0..2_000).map(|n| entry(n.into(), 1, Some(named(n)))).collect();
    apply(&mut store, many).await;
    apply(&mut store, (0..1_000).map(|n| entry(n, 1, None)).collect()).await;
    assert!(rows_of(&mut store, "refused_before").await <= 256);
    assert_eq!(store.reader().refused().await.unwrap().iter().map(|kept| kept.count).sum::<u64>(), 3_020);
}
