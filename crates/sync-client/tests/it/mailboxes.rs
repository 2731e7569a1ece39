//! Without a relay every device hosts a mailbox for its group, so that devices which are never up together still sync through one that
//! is up with each.

use std::net::SocketAddr;

use sync_client::{ClientEvent, ReceiptState, RelayAddress, SyncClient, SyncConfig};

use crate::support::*;

async fn up(world: &World, name: &str) -> SyncClient {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = SyncConfig::at(world.home(name)).device_name(name).embedded_listen(any).forward(&world.forward);
    SyncClient::new(config).await.unwrap()
}

/// Whose mailboxes the group names, in its order, once there are so many and this device has heard of it.
async fn hosts(client: &SyncClient, count: usize) -> Vec<String> {
    let mut events = client.events();
    soon("the mailboxes", async {
        loop {
            let status = client.status().await.unwrap();
            if status.relays.len() == count {
                let name = |relay: &sync_client::RelayState| relay.host.as_ref().unwrap().name.clone().unwrap();
                break status.relay_states.iter().map(name).collect();
            }
            event("a change", &mut events, |e| matches!(e, ClientEvent::RelaysChanged { .. }).then_some(())).await;
        }
    })
    .await
}

/// Until all of the group's mailboxes have this device attached.
async fn reaches_all(client: &SyncClient) {
    soon("the mailboxes of all", async {
        while !client.status().await.unwrap().relay_states.iter().all(|relay| relay.connected && relay.caught_up) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Three devices of one group. Each hosts a mailbox, and is attached to all.
async fn three(world: &World) -> [SyncClient; 3] {
    let (a, b, c) = (up(world, "a").await, up(world, "b").await, up(world, "c").await);
    pair(&a, &b).await;
    hosts(&a, 2).await;
    pair(&a, &c).await;
    for device in [&a, &b, &c] {
        assert_eq!(hosts(device, 3).await, ["a", "b", "c"]);
        assert!(device.status().await.unwrap().hosting);
        reaches_all(device).await;
    }
    [a, b, c]
}

async fn accepted(client: &SyncClient, text: &str) -> sync_client::Receipt {
    let receipt = client.push(text).await.unwrap();
    client.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    receipt
}

async fn delivered(client: &SyncClient, receipt: &sync_client::Receipt) {
    client.wait(receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_are_never_up_together_sync_through_a_third() {
    let world = World::memory().await;
    let [a, b, c] = three(&world).await;
    b.close().await;
    let of_a = accepted(&a, "of a").await;
    assert_eq!(receive_texts(&c, 1).await, ["of a"]);
    a.close().await;

    // The one that founded the group is away, and so is its mailbox.
    let b = up(&world, "b").await;
    assert_eq!(receive_texts(&b, 1).await, ["of a"]);
    let of_b = accepted(&b, "of b").await;
    assert_eq!(receive_texts(&c, 1).await, ["of b"]);
    b.close().await;

    let a = up(&world, "a").await;
    assert_eq!(receive_texts(&a, 1).await, ["of b"]);
    delivered(&a, &of_a).await;
    a.close().await;
    let b = up(&world, "b").await;
    delivered(&b, &of_b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_right_before_the_end_is_with_another_device_and_not_in_the_own_mailbox_alone() {
    let world = World::memory().await;
    let [a, b, c] = three(&world).await;
    a.close().await;
    b.close().await;
    // B's list begins with the mailbox of A, which is away.
    for (name, texts) in [("a", ["0", "1", "2"]), ("b", ["3", "4", "5"])] {
        for text in texts {
            let device = up(&world, name).await;
            device.push(text).await.unwrap();
            device.close().await;
        }
        assert_eq!(receive_texts(&c, 3).await, texts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_waited_for_is_told_by_name() {
    let world = World::memory().await;
    let (laptop, phone) = (up(&world, "laptop").await, up(&world, "phone").await);
    pair(&laptop, &phone).await;
    hosts(&laptop, 2).await;
    hosts(&phone, 2).await;
    reaches_all(&phone).await;
    let name = |device: &sync_client::DeviceRef| device.name.clone().unwrap();
    let waits_for = async |client: &SyncClient| -> Vec<String> {
        client.status().await.unwrap().waiting_for.iter().map(name).collect()
    };
    assert!(waits_for(&phone).await.is_empty());
    laptop.close().await;
    soon("word that the laptop is away", async {
        while waits_for(&phone).await != ["laptop"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let findings = phone.doctor().await.unwrap();
    let finding = findings.iter().find(|f| f.title == "waiting for a device").unwrap();
    assert!(finding.detail.contains("«laptop»") && finding.code.is_none() && !finding.next_step.is_empty());
    // What is pushed meanwhile is with the laptop as soon as that is up.
    let receipt = accepted(&phone, "meanwhile").await;
    let laptop = up(&world, "laptop").await;
    assert_eq!(receive_texts(&laptop, 1).await, ["meanwhile"]);
    delivered(&phone, &receipt).await;
    assert!(waits_for(&laptop).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_goes_with_its_device_even_if_it_was_the_first_and_its_device_is_gone() {
    let world = World::memory().await;
    let [a, b, c] = three(&world).await;
    let founder = a.status().await.unwrap().device.unwrap();
    a.close().await;
    // All changes went through its mailbox, which nobody will see again.
    let mut events = c.events();
    b.remove_device(founder).await.unwrap();
    event("its removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    for device in [&b, &c] {
        assert_eq!(hosts(device, 2).await, ["b", "c"]);
        assert!(device.alerts().await.unwrap().iter().all(|alert| alert.kind != sync_client::AlertKind::RelaysChanged));
    }
    let d = up(&world, "d").await;
    pair(&b, &d).await;
    assert_eq!(hosts(&d, 3).await, ["b", "c", "d"]);
    d.push("of d").await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["of d"]);
    // One that leaves takes its own along.
    d.leave().await.unwrap();
    for device in [&b, &c] {
        assert_eq!(hosts(device, 2).await, ["b", "c"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_goes_on_when_the_one_leaves_whose_mailbox_was_the_first() {
    let world = World::memory().await;
    let [a, b, c] = three(&world).await;
    let founder = a.status().await.unwrap().device.unwrap();
    // Nothing of it is there any more as soon as it has left.
    a.leave().await.unwrap();
    a.close().await;
    for device in [&b, &c] {
        assert_eq!(hosts(device, 2).await, ["b", "c"]);
        assert!(device.devices().await.unwrap().iter().all(|member| member.id != founder));
    }
    let d = up(&world, "d").await;
    pair(&c, &d).await;
    d.push("of d").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["of d"]);
    for device in [&b, &c] {
        let alerts = device.alerts().await.unwrap();
        assert!(alerts.iter().all(|alert| alert.kind != sync_client::AlertKind::Replaced), "{alerts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_relay_takes_the_place_of_all_mailboxes() {
    let world = World::new(Way::Quic).await;
    let (a, b) = (up(&world, "a").await, up(&world, "b").await);
    pair(&a, &b).await;
    hosts(&a, 2).await;
    hosts(&b, 2).await;
    a.push("before").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["before"]);
    b.close().await;
    let there: RelayAddress = world.relay.as_ref().unwrap().address().parse().unwrap();
    let b = SyncClient::new(world.config("b")).await.unwrap();
    soon("the other relay", async {
        while a.status().await.unwrap().relays != [there.clone()] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    b.push("there").await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["there"]);
    let status = a.status().await.unwrap();
    assert!(!status.hosting && status.waiting_for.is_empty());
}
