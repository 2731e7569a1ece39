//! An app that is closed before everything is sent.

#[tokio::test]
async fn what_an_app_leaves_behind_goes_at_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let exits = ksync_e2e::exits::each(folder.path(), 2_000).await;
    assert!(exits.iter().filter(|exit| exit.waiting > 1_000).count() >= 3, "the outbox was never full: {exits:?}");
}
