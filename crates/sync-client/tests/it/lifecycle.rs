//! Starting, stopping, and the relay that a device hosts itself.

use std::net::SocketAddr;

use sync_client::{ClientEvent, Code, InviteOptions, ReceiptState, RelayAddress, SyncClient, SyncConfig};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_home_has_one_process_at_a_time() {
    let world = World::memory().await;
    let a = world.device("a").await;
    assert_eq!(SyncClient::new(world.config("a")).await.unwrap_err().code, Code::HomeBusy);
    assert_eq!(SyncClient::reset(&world.config("a")).await.unwrap_err().code, Code::HomeBusy);
    a.close().await;
    let error = a.push("late").await.unwrap_err();
    assert_eq!(error.code, Code::Closed);
    world.device("a").await.push("in time").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_offline_goes_after_a_restart() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    world.stop_relay().await;
    let receipt = a.push("kept").await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Queued);
    a.close().await;
    let a = world.device("a").await;
    assert_eq!(a.status().await.unwrap().outbox, 1);
    world.start_relay().await;
    let blobs = receive(&b, 1).await;
    assert_eq!(blobs[0].id, receipt.id);
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_restart_keeps_every_pairing_over_quic() {
    let mut world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    let address = world.relay.as_ref().unwrap().address();
    world.stop_relay().await;
    let receipt = a.push("while it was down").await.unwrap();
    world.start_relay().await;
    assert_eq!(world.relay.as_ref().unwrap().address(), address);
    assert_eq!(receive_texts(&b, 1).await, ["while it was down"]);
    a.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_forgets_everything() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let (group, _) = a.ensure_group().await.unwrap();
    a.push("x").await.unwrap();
    a.close().await;
    assert!(SyncClient::is_initialized(&world.home("a")));
    SyncClient::reset(&world.config("a")).await.unwrap();
    assert!(!SyncClient::is_initialized(&world.home("a")));
    let a = world.device("a").await;
    assert_eq!(a.status().await.unwrap().group, None);
    assert_ne!(a.ensure_group().await.unwrap().0, group);
}

fn embedded(world: &World, name: &str) -> SyncConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    SyncConfig::at(world.home(name)).device_name(name).embedded_listen(any)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_hosts_its_groups_relay_and_keeps_its_port() {
    let world = World::memory().await;
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    guest.push("from the guest's own group").await.unwrap();
    pair(&host, &guest).await;
    assert!(host.status().await.unwrap().hosting);
    let relays = guest.status().await.unwrap().relays;
    host.push("from the host").await.unwrap();
    assert_eq!(receive_texts(&host, 1).await, ["from the guest's own group"]);
    assert_eq!(receive_texts(&guest, 1).await, ["from the host"]);
    host.close().await;
    let receipt = guest.push("while the host is away").await.unwrap();
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    assert_eq!(receive_texts(&host, 1).await, ["while the host is away"]);
    guest.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(host.status().await.unwrap().relays[0], relays[0]);
}

/// The relay that a device hosts, as anybody on the network reaches it.
async fn hosted(host: &SyncClient) -> RelayAddress {
    host.ensure_group().await.unwrap();
    host.status().await.unwrap().relays[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_use_nothing_of_the_relay_that_a_device_hosts() {
    let world = World::memory().await;
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let address = hosted(&host).await;
    let config = world.config("stranger").relay(address.clone());
    let stranger = SyncClient::new(config).await.unwrap();
    let mut events = stranger.events();
    let receipt = stranger.push("for nobody").await.unwrap();
    let refused = event("the refusal", &mut events, |e| match e {
        ClientEvent::Disconnected { code, .. } if *code == Code::AccessDenied => Some(*code),
        ClientEvent::Connected => panic!("a stranger made a group"),
        _ => None,
    });
    assert_eq!(refused.await, Code::AccessDenied);
    assert_eq!(stranger.receipt_state(receipt.id).await.unwrap(), ReceiptState::Queued);
    // Nor does it open a rendezvous there, as a member or as a newcomer.
    assert_eq!(stranger.invite(InviteOptions::default()).await.unwrap_err().code, Code::AccessDenied);
    let newcomer = world.device("newcomer").await;
    assert_eq!(newcomer.join_show(&address, None).await.unwrap_err().code, Code::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paired_device_pairs_others_at_the_relay_that_a_member_hosts() {
    let world = World::memory().await;
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    pair(&host, &guest).await;
    // Right after its start: it may not be attached yet.
    guest.close().await;
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    let third = SyncClient::new(embedded(&world, "third")).await.unwrap();
    pair(&guest, &third).await;
    third.push("from the third").await.unwrap();
    assert_eq!(receive_texts(&host, 1).await, ["from the third"]);
    // One that was removed is a stranger again.
    let (address, id) = (hosted(&host).await, third.status().await.unwrap().device.unwrap());
    let mut events = third.events();
    host.remove_device(id).await.unwrap();
    event("its removal", &mut events, |e| matches!(e, ClientEvent::Removed { .. }).then_some(())).await;
    third.leave().await.unwrap();
    assert_eq!(third.join_show(&address, None).await.unwrap_err().code, Code::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_port_is_taken_waits_for_it() {
    let world = World::memory().await;
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let guest = SyncClient::new(embedded(&world, "guest")).await.unwrap();
    pair(&host, &guest).await;
    let relays = host.status().await.unwrap().relays;
    let RelayAddress::Hosted { hosts, .. } = &relays[0] else { panic!("{relays:?}") };
    let address: SocketAddr = hosts[0].parse().unwrap();
    host.close().await;
    let taken = soon("the port", async {
        loop {
            match std::net::UdpSocket::bind(address) {
                Ok(socket) => break socket,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    // Another port, even one that is asked for, would be one where nobody looks.
    let host = SyncClient::new(embedded(&world, "host")).await.unwrap();
    let mut events = host.events();
    let failed = event("a failed try", &mut events, |e| match e {
        ClientEvent::Disconnected { code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(failed.await, Code::PortInUse);
    drop(taken);
    host.push("from the host").await.unwrap();
    event("the connection", &mut events, |e| matches!(e, ClientEvent::Connected).then_some(())).await;
    assert_eq!(host.status().await.unwrap().relays, relays);
    assert_eq!(receive_texts(&guest, 1).await, ["from the host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_alone_moves_to_another_relay_with_its_blobs() {
    let world = World::memory().await;
    let a = SyncClient::new(embedded(&world, "a")).await.unwrap();
    let receipt = a.push("from before").await.unwrap();
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    a.close().await;
    let a = world.device("a").await;
    let relays = a.status().await.unwrap().relays;
    assert_eq!(relays, [world.config.relay.clone().unwrap()]);
    a.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    assert_eq!(receive(&b, 1).await[0].id, receipt.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_sends_what_waits() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.push("last words").await.unwrap();
    a.close().await;
    assert_eq!(receive_texts(&b, 1).await, ["last words"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_pushing_works_and_status_says_why_nothing_moves() {
    let world = World::memory().await;
    // A port of this host that nobody listens on.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody: RelayAddress = format!("ksync://{}@{}", "58".repeat(32), socket.local_addr().unwrap()).parse().unwrap();
    let a = SyncClient::new(SyncConfig::at(world.home("a")).relay(nobody)).await.unwrap();
    let mut events = a.events();
    let receipt = a.push("kept").await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Queued);
    let code = event("the failure", &mut events, |e| match e {
        ClientEvent::Disconnected { code, .. } => Some(*code),
        _ => None,
    });
    assert!(matches!(code.await, Code::RelayUnreachable | Code::AddressInvalid));
    let status = a.status().await.unwrap();
    assert!(!status.connected && status.outbox == 1);
    assert!(status.trouble.is_some());
    assert!(a.doctor().await.unwrap()[0].code.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_several_hosts_is_reached_by_the_one_that_answers() {
    let world = World::new(Way::Quic).await;
    let address = world.relay.as_ref().unwrap().address();
    // The IPv6 address answers nothing, and takes the socket that is not for loopback alone.
    let several: RelayAddress = format!("{address},[::1]:9").parse().unwrap();
    let config = |name: &str| world.config(name).relay(several.clone());
    let (a, b) = (SyncClient::new(config("a")).await.unwrap(), SyncClient::new(config("b")).await.unwrap());
    pair(&a, &b).await;
    a.push("over IPv4").await.unwrap();
    assert_eq!(receive_texts(&b, 1).await, ["over IPv4"]);
}
