//! Relays that are reached by WebSockets alone, as where a platform forwards nothing but HTTP.

use std::net::SocketAddr;

use sync_client::RelayPath;

use crate::support::*;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn path(client: &sync_client::SyncClient) -> Option<RelayPath> {
    client.relays().await.unwrap()[0].path
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_pair_and_sync_over_http_alone_and_come_back_after_a_restart() {
    let mut world = World::with(Way::Quic, |config| (config.listen, config.http) = (None, Some(loopback()))).await;
    let address = world.relay.as_ref().unwrap().address();
    assert!(address.starts_with("http://127.0.0.1:"), "there is no socket for QUIC: {address}");
    let (a, b) = world.pair().await;
    a.push("hello").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["hello"]);
    assert_eq!((path(&a).await, path(&b).await), (Some(RelayPath::Https), Some(RelayPath::Https)));

    world.lose_relay().await;
    a.push("while it is away").await.unwrap();
    world.start_relay().await;
    assert_eq!(receive_texts(&b, 1).await, ["while it is away"]);
    // As many bytes as go into many packets.
    let large = "x".repeat(900_000);
    b.push(large.clone()).await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, [large]);
    world.stop_relay().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_answers_by_udp_is_reached_by_udp() {
    let mut world = World::with(Way::Quic, |config| config.http = Some(loopback())).await;
    world.config.relay = Some(world.relay.as_ref().unwrap().http_url().parse().unwrap());
    let (a, b) = world.pair().await;
    a.push("hello").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["hello"]);
    assert_eq!((path(&a).await, path(&b).await), (Some(RelayPath::Udp), Some(RelayPath::Udp)));
}
