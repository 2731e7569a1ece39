//! A relay that comes back with nothing, or as it was a while ago: its devices give it what it needs, and nothing is lost.

use std::path::Path;

use sync_client::{ClientEvent, ReceiptState, SyncClient};

use crate::support::*;

/// The files of the relay's store. Its identity stays where it is.
const STORE: [&str; 3] = ["relay.db", "relay.db-wal", "relay.db-shm"];

fn lose_store(folder: &Path) {
    let mut lost = 0;
    for file in STORE {
        lost += u32::from(std::fs::remove_file(folder.join(file)).is_ok());
    }
    assert!(lost > 0, "the store is not where this test thinks it is");
}

fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in STORE {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

async fn says(client: &SyncClient, text: &str) -> sync_client::Receipt {
    client.push(text.to_owned()).await.unwrap()
}

async fn delivered(client: &SyncClient, receipt: &sync_client::Receipt) {
    client.wait(receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_everything_is_given_the_group_again() {
    let mut world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let first = says(&a, "before").await;
    delivered(&a, &first).await;
    assert_eq!(receive_texts(&b, 1).await, ["before"]);

    // B is away, and what A pushes for it goes with the relay.
    b.close().await;
    let waiting = says(&a, "waiting at the relay").await;
    a.wait(&waiting, ReceiptState::Accepted, SOON).await.unwrap();
    world.stop_relay().await;
    lose_store(&world.relay_folder());
    let offline = says(&a, "pushed meanwhile").await;
    world.start_relay().await;
    a.wait(&offline, ReceiptState::Accepted, SOON).await.unwrap();

    let b = world.device("b").await;
    assert_eq!(receive_texts(&b, 2).await, ["waiting at the relay", "pushed meanwhile"]);
    let back = says(&b, "from b").await;
    delivered(&b, &back).await;
    delivered(&a, &offline).await;
    assert_eq!(receive_texts(&a, 1).await, ["from b"]);
    assert!(b.read("app", None, 10).await.unwrap().is_empty(), "nothing comes twice");

    // The group goes on: a third one joins, and the second one is removed although its chain began elsewhere.
    let c = world.device("c").await;
    pair(&a, &c).await;
    let gone = b.status().await.unwrap().device.unwrap();
    let mut events = a.events();
    b.close().await;
    a.remove_device(gone).await.unwrap();
    let removed =
        |e: &ClientEvent| matches!(e, ClientEvent::DeviceRemoved { device, .. } if device.id == gone).then_some(());
    event("the removal", &mut events, removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_set_back_takes_up_where_its_devices_are() {
    let mut world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let first = says(&a, "before").await;
    delivered(&a, &first).await;
    world.stop_relay().await;
    let copy = world.relay_folder().join("copy");
    copy_store(&world.relay_folder(), &copy);
    world.start_relay().await;

    // After the copy: blobs both ways, and a change of the group that B has seen.
    for n in 0..5 {
        let there = says(&a, &format!("a{n}")).await;
        let back = says(&b, &format!("b{n}")).await;
        delivered(&a, &there).await;
        delivered(&b, &back).await;
    }
    let c = world.device("c").await;
    pair(&a, &c).await;
    let all = says(&a, "to all").await;
    delivered(&a, &all).await;
    world.stop_relay().await;
    lose_store(&world.relay_folder());
    copy_store(&copy, &world.relay_folder());
    world.start_relay().await;

    for (device, text) in [(&a, "a again"), (&b, "b again"), (&c, "c again")] {
        let receipt = says(device, text).await;
        delivered(device, &receipt).await;
    }
    for device in [&a, &b, &c] {
        let status = device.status().await.unwrap();
        assert_eq!((status.devices.len(), status.trouble), (3, None));
    }
    let mut of_b: Vec<String> = receive_texts(&b, 9).await;
    of_b.sort();
    assert_eq!(of_b, ["a again", "a0", "a1", "a2", "a3", "a4", "before", "c again", "to all"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_a_change_that_went_with_the_relay_takes_a_new_key_and_loses_nothing() {
    who_missed_a_change(true).await;
}

/// B knows nothing of C, so that it takes C's word for nothing: A has to sign the group's state.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_a_stranger_signed_is_signed_again_at_once_by_one_who_is_known() {
    who_missed_a_change(false).await;
}

/// The relay is given the group again by A, or by C.
async fn who_missed_a_change(by_a: bool) {
    let mut world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let first = says(&a, "before").await;
    delivered(&a, &first).await;
    b.close().await;
    // B never hears of the commit that takes C in.
    let c = world.device("c").await;
    pair(&a, &c).await;
    let waiting = says(&a, "of the new epoch").await;
    a.wait(&waiting, ReceiptState::Accepted, SOON).await.unwrap();
    let (first, second) = if by_a { ("a", "c") } else { ("c", "a") };
    let (a, c) = {
        world.stop_relay().await;
        lose_store(&world.relay_folder());
        a.close().await;
        c.close().await;
        world.start_relay().await;
        let one = world.device(first).await;
        let own = says(&one, "after").await;
        one.wait(&own, ReceiptState::Accepted, SOON).await.unwrap();
        let other = world.device(second).await;
        if by_a { (one, other) } else { (other, one) }
    };

    let b = world.device("b").await;
    let own = says(&b, "written by b").await;
    let mut texts = receive_texts(&b, 3).await;
    texts.sort();
    assert_eq!(texts, ["after", "before", "of the new epoch"]);
    delivered(&b, &own).await;
    for device in [&a, &b, &c] {
        let status = device.status().await.unwrap();
        assert_eq!((status.devices.len(), status.trouble), (3, None));
    }
}
