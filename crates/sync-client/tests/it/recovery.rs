//! Homes that were restored from a copy, and copies that run side by side.

use std::path::Path;

use sync_client::{AlertKind, ClientEvent, Code, DeviceId, InviteOptions, ReceiptState, Status, SyncClient};

use crate::support::*;

/// What a person's backup does to a home that nobody has open.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

impl World {
    fn backup(&self, name: &str) {
        copy(&self.home(name), &self.home(&format!("{name}.copy")));
    }

    fn restore(&self, name: &str) {
        std::fs::remove_dir_all(self.home(name)).unwrap();
        std::fs::rename(self.home(&format!("{name}.copy")), self.home(name)).unwrap();
    }
}

/// Waits until the client's status is like this.
async fn until_status(what: &str, client: &SyncClient, like: impl Fn(&Status) -> bool) -> Status {
    let mut events = client.events();
    soon(what, async {
        loop {
            let status = client.status().await.unwrap();
            if like(&status) {
                break status;
            }
            events.next().await.expect("the client is open");
        }
    })
    .await
}

async fn id(client: &SyncClient) -> DeviceId {
    client.status().await.unwrap().device.unwrap()
}

async fn delivered(client: &SyncClient, text: &str) {
    let receipt = client.push(text).await.unwrap();
    client.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_restored_from_a_copy_takes_a_new_key_and_gets_its_blobs_back() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    delivered(&a, "before").await;
    // The copy holds a change that is in no envelope yet.
    world.stop_relay().await;
    let waiting = a.push("waiting").await.unwrap();
    let was = id(&a).await;
    a.close().await;
    world.backup("a");
    world.start_relay().await;
    let a = world.device("a").await;
    a.wait(&waiting, ReceiptState::Delivered, SOON).await.unwrap();
    delivered(&a, "after").await;
    delivered(&b, "from b").await;
    a.close().await;
    world.restore("a");

    let mut at_b = b.events();
    let a = world.device("a").await;
    let now = until_status("a new key", &a, |s| s.device != Some(was) && s.trouble.is_none() && s.connected).await;
    let replaced = event("word of it at b", &mut at_b, |e| match e {
        ClientEvent::DeviceReplaced { device, old } if *old == was => Some(device.clone()),
        _ => None,
    })
    .await;
    assert_eq!((Some(replaced.id), replaced.name.as_deref()), (now.device, Some("a")));
    // What it had pushed since the copy, and what it had been given.
    let mut back = receive_texts(&a, 2).await;
    back.sort();
    assert_eq!(back, ["after", "from b"]);
    // What waited in the copy went out again, and nobody has it twice.
    a.wait(&waiting, ReceiptState::Delivered, SOON).await.unwrap();
    delivered(&a, "anew").await;
    assert_eq!(receive_texts(&b, 4).await, ["before", "waiting", "after", "anew"]);
    delivered(&b, "again from b").await;
    assert_eq!(receive_texts(&a, 1).await, ["again from b"]);
    assert_eq!(b.devices().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_device_that_only_reads_is_mended_too() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    delivered(&a, "one").await;
    let was = id(&b).await;
    b.close().await;
    world.backup("b");
    let b = world.device("b").await;
    b.catch_up(SOON).await.unwrap();
    // An epoch that the copy does not know.
    a.close().await;
    let a = world.device("a").await;
    let c = world.device("c").await;
    pair(&a, &c).await;
    delivered(&a, "two").await;
    delivered(&c, "three").await;
    b.close().await;
    world.restore("b");
    let b = world.device("b").await;
    until_status("a new key", &b, |s| s.device != Some(was) && s.trouble.is_none() && s.connected).await;
    let mut all = receive_texts(&b, 3).await;
    all.sort();
    assert_eq!(all, ["one", "three", "two"]);
    delivered(&c, "four").await;
    assert_eq!(receive_texts(&b, 1).await, ["four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_device_one_goes_on_and_the_other_is_told() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    delivered(&a, "before").await;
    let was = id(&a).await;
    a.close().await;
    world.backup("a");
    let a = world.device("a").await;
    delivered(&a, "by the first").await;
    let mut at_b = b.events();
    // The copy runs beside it, on another machine as it were.
    let twin = world.device("a.copy").await;
    until_status("a new key", &twin, |s| s.device != Some(was) && s.trouble.is_none()).await;
    let told =
        until_status("word of the copy", &a, |s| s.trouble.as_ref().is_some_and(|t| t.code == Code::Cloned)).await;
    assert_eq!(told.device, Some(was));
    assert_eq!(a.remove_device(id(&b).await).await.unwrap_err().code, Code::Cloned);
    assert_eq!(a.invite(InviteOptions::default()).await.unwrap_err().code, Code::Cloned);
    event("word of it at b", &mut at_b, |e| matches!(e, ClientEvent::DeviceReplaced { .. }).then_some(())).await;
    delivered(&twin, "by the second").await;
    assert_eq!(receive_texts(&b, 3).await, ["before", "by the first", "by the second"]);
    assert_eq!(b.devices().await.unwrap().len(), 2);
    // All three have it in writing.
    let newest = async |client: &SyncClient| client.alerts().await.unwrap().remove(0);
    let (at_a, at_b, at_twin) = (newest(&a).await, newest(&b).await, newest(&twin).await);
    assert_eq!((at_a.kind, at_a.code, at_a.seen), (AlertKind::Cloned, Some(Code::Cloned), false));
    assert_eq!((at_b.kind, at_b.device.unwrap().name.as_deref()), (AlertKind::Replaced, Some("a")));
    assert_eq!((at_twin.kind, at_twin.code), (AlertKind::Replaced, Some(Code::RolledBack)));
    assert!(at_twin.device.unwrap().own);
    let finding = a.doctor().await.unwrap().remove(0);
    assert!(finding.code == Some(Code::Cloned) && finding.title.contains("twice"), "{finding:?}");
}
