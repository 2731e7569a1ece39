//! An app that is closed before everything is sent.

use std::time::Duration;

#[tokio::test]
async fn what_an_app_leaves_behind_goes_at_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let exits = ksync_e2e::exits::each(folder.path(), 2_000).await;
    // With a relay that is dead or silent nothing drains.
    assert!(exits.iter().filter(|exit| exit.waiting > 1_000).count() >= 2, "the outbox was never full: {exits:?}");
    // `cargo xtask bench app` measures it; here only that no app hangs.
    assert!(exits.iter().all(|exit| exit.took < Duration::from_secs(5)), "an app does not end: {exits:?}");
}
