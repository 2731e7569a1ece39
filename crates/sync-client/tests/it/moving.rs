//! The relay is one value of an app's configuration. Changing it moves groups that exist, with nobody paired anew and nothing lost.

use std::net::SocketAddr;

use sync_client::{ClientEvent, ReceiptState, RelayAddress, SyncClient, SyncConfig};
use sync_relay::{Relay, RelayConfig, RunningRelay};

use crate::support::*;

/// Another relay than the world's, and its address.
async fn another(world: &World, name: &str) -> (RunningRelay, RelayAddress) {
    let folder = world.home(name);
    std::fs::create_dir(&folder).unwrap();
    let relay = Relay::start(RelayConfig { http: None, ..RelayConfig::on_loopback(&folder) }).await.unwrap();
    let address = relay.address().parse().unwrap();
    (relay, address)
}

/// Waits until the device knows that the group uses this list.
async fn goes_to(client: &SyncClient, list: &[RelayAddress]) {
    let mut events = client.events();
    soon("the group's new relay", async {
        while client.status().await.unwrap().relays != list {
            let changed = |event: &ClientEvent| matches!(event, ClientEvent::RelaysChanged { .. }).then_some(());
            event("a change of relays", &mut events, changed).await;
        }
    })
    .await;
}

fn embedded(world: &World, name: &str) -> SyncConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    SyncConfig::at(world.home(name)).device_name(name).embedded_listen(any)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_where_the_configuration_of_one_of_its_devices_says() {
    let world = World::new(Way::Quic).await;
    let (_relay, there) = another(&world, "there").await;
    let (a, b) = world.pair().await;
    let before = a.status().await.unwrap().relays;
    a.push("before").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["before"]);
    a.push("waits at the first relay").await.unwrap();
    b.close().await;
    a.close().await;

    let a = SyncClient::new(world.config("a").relay(there.clone())).await.unwrap();
    goes_to(&a, std::slice::from_ref(&there)).await;
    let receipt = a.push("sent from there").await.unwrap();
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();

    // The other one was not updated yet: it finds the group where it left it, and follows.
    let b = world.device("b").await;
    assert_eq!(receive_texts(&b, 2).await, ["waits at the first relay", "sent from there"]);
    goes_to(&b, std::slice::from_ref(&there)).await;
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    b.close().await;
    // Started once more with the value of before, it does not take the group back.
    let b = world.device("b").await;
    b.push("from b").await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["from b"]);
    b.close().await;
    let b = SyncClient::new(world.config("b").relay(there.clone())).await.unwrap();
    b.push("from b with the new value").await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["from b with the new value"]);
    assert_eq!((a.status().await.unwrap().relays, before.len()), (vec![there], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_relay_that_a_device_hosts_to_one_of_its_own_and_back() {
    let world = World::memory().await;
    let (_relay, there) = another(&world, "there").await;
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    pair(&host, &guest).await;
    // Each of them hosts a mailbox.
    let hosted = two_relays(&host).await;
    goes_to(&guest, &hosted).await;
    host.push("waits where it was").await.unwrap();
    guest.close().await;
    host.close().await;

    let config = || embedded(&world, "host").relay(there.clone());
    let host = SyncClient::new(config()).await.unwrap();
    goes_to(&host, std::slice::from_ref(&there)).await;
    host.push("sent from there").await.unwrap();
    host.close().await;
    // The guest was away all that time: it comes to the old place, which the host keeps open.
    let host = SyncClient::new(config()).await.unwrap();
    assert!(!host.status().await.unwrap().hosting, "the group is elsewhere");
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    assert_eq!(receive_texts(&guest, 2).await, ["waits where it was", "sent from there"]);
    goes_to(&guest, std::slice::from_ref(&there)).await;

    // And back: said explicitly, as an app would that goes back to having no relay.
    host.close().await;
    let host = SyncClient::new(embedded(&world, "host").relay(RelayAddress::Embedded)).await.unwrap();
    goes_to(&host, &hosted).await;
    goes_to(&guest, &hosted).await;
    guest.push("at the host again").await.unwrap();
    assert_eq!(receive_texts(&host, 1).await, ["at the host again"]);
    assert!(host.status().await.unwrap().hosting);
}
