//! Files straight from device to device, where no relay keeps any content.

use std::path::PathBuf;

use sync_client::{Code, FileState, FilesPolicy, SyncClient};

use crate::files::{becomes, put, quiet, written};
use crate::support::*;

async fn world(way: Way) -> World {
    World::with(way, |relay| relay.content = None).await
}

async fn device(world: &World, name: &str) -> SyncClient {
    SyncClient::new(world.config(name).files(FilesPolicy::default())).await.unwrap()
}

async fn two(world: &World) -> (SyncClient, SyncClient) {
    let (a, b) = (device(world, "a").await, device(world, "b").await);
    pair(&a, &b).await;
    (a, b)
}

fn got(world: &World) -> PathBuf {
    world.folder.path().join("got")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_from_the_device_that_has_it() {
    for way in [Way::Memory, Way::Quic] {
        let world = world(way).await;
        let (a, b) = two(&world).await;
        let (path, bytes) = written(&world, "photo.jpg", 3 << 20 | 7);
        let file = put(&a, &path).await;
        becomes(&b, file.id, |file| file.state == FileState::Here).await;
        b.files().get(file.id, &got(&world), SOON, quiet).await.unwrap();
        assert!(std::fs::read(got(&world)).unwrap() == bytes);
        assert!(!a.files().info(file.id).await.unwrap().given, "no relay has it");
        a.close().await;
        // Whoever comes later has it from whoever is there.
        let c = device(&world, "c").await;
        pair(&b, &c).await;
        becomes(&c, file.id, |file| file.state == FileState::Here).await;
        c.files().get(file.id, &got(&world), SOON, quiet).await.unwrap();
        assert!(std::fs::read(got(&world)).unwrap() == bytes);
        c.close().await;
        b.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_have_no_door_and_gives_nothing_while_its_app_says_not_now() {
    let world = world(Way::Memory).await;
    let (a, b) = two(&world).await;
    let closed = FilesPolicy { direct: false, ..FilesPolicy::default() };
    a.files().set_policy(closed);
    let (path, bytes) = written(&world, "x", 50_000);
    let file = put(&a, &path).await;
    becomes(&b, file.id, |_| true).await;
    let to = got(&world);
    let fetch = async || b.files().get(file.id, &to, std::time::Duration::from_secs(3), quiet).await;
    assert!(matches!(fetch().await.unwrap_err().code, Code::ContentMissing | Code::ContentUnavailable));
    a.files().set_policy(FilesPolicy { paused: true, ..FilesPolicy::default() });
    assert!(matches!(fetch().await.unwrap_err().code, Code::ContentMissing | Code::ContentUnavailable));
    a.files().set_policy(FilesPolicy::default());
    b.files().get(file.id, &to, SOON, quiet).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
}
