//! A member's mailbox is found by its key where it is not at the address that the group knows. The servers for that are iroh's own
//! relay, and a few lines that keep what is left with them, as a pkarr relay does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use sync_client::{ClientEvent, Code, Discovery, ReceiptState, RelayAddress, RelayPath, SyncClient, SyncConfig};

use crate::support::*;

type Kept = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// The servers of a network of its own, on loopback.
struct Network {
    _relay: Server,
    discovery: Discovery,
    /// What was left with the pkarr relay, by key.
    kept: Kept,
}

impl Network {
    async fn start() -> Self {
        let mut config = ServerConfig::default();
        config.relay = Some(RelayConfig::new((Ipv4Addr::LOCALHOST, 0)));
        let relay = Server::spawn(config).await.unwrap();
        let kept = Kept::default();
        let put = async |State(kept): State<Kept>, Path(key): Path<String>, body: Bytes| {
            kept.lock().unwrap().insert(key, body);
            StatusCode::NO_CONTENT
        };
        let find = async |State(kept): State<Kept>, Path(key): Path<String>| {
            kept.lock().unwrap().get(&key).cloned().ok_or(StatusCode::NOT_FOUND)
        };
        let routes = Router::new().route("/pkarr/{key}", get(find).put(put)).with_state(kept.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lookup = format!("http://{}/pkarr", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let discovery = Discovery::Servers { relay: format!("http://{}", relay.http_addr().unwrap()), lookup };
        Self { _relay: relay, discovery, kept }
    }
}

/// A device whose mailbox listens there.
fn config(world: &World, name: &str, ip: [u8; 4]) -> SyncConfig {
    let listen = SocketAddr::from((ip, 0));
    SyncConfig::at(world.home(name)).device_name(name).embedded_listen(listen)
}

fn place(relay: &RelayAddress) -> SocketAddr {
    let RelayAddress::Hosted { hosts, .. } = relay else { panic!("{relay:?}") };
    hosts[0].parse().unwrap()
}

/// By a hash table, with no server that knows of the mailbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_has_moved_is_found_in_a_hash_table() {
    let world = World::memory().await;
    let table = n0_mainline::Testnet::new(3).await.unwrap();
    let by_table: Discovery = format!("dht:{}", table.bootstrap.join(",")).parse().unwrap();
    let laptop = SyncClient::new(config(&world, "laptop", [127, 0, 0, 2])).await.unwrap();
    let phone = SyncClient::new(config(&world, "phone", [127, 0, 0, 1])).await.unwrap();
    pair(&laptop, &phone).await;
    two_relays(&phone).await;
    phone.close().await;
    laptop.close().await;

    let laptop = SyncClient::new(config(&world, "laptop", [127, 0, 0, 3]).discovery(by_table.clone())).await.unwrap();
    // It hosts for the phone, which knows an address where nobody is any more.
    let phone = SyncClient::new(config(&world, "phone", [127, 0, 0, 4]).discovery(by_table)).await.unwrap();
    let receipt = phone.push("from the phone").await.unwrap();
    assert_eq!(receive_texts(&laptop, 1).await, ["from the phone"]);
    phone.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    assert!(phone.status().await.unwrap().relay_states.iter().any(|relay| relay.path == Some(RelayPath::Found)));
    // What lies in the table is signed by the mailbox's key, and says where it listens.
    let RelayAddress::Hosted { endpoint, .. } = &laptop.status().await.unwrap().relays[0] else { panic!("no mailbox") };
    let word = table.nodes[0].get_mutable_most_recent(endpoint, None).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(word.value()).contains("addr=127.0.0.3:"), "{word:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_has_moved_is_found_by_its_key() {
    let world = World::memory().await;
    let network = Network::start().await;
    let laptop = SyncClient::new(config(&world, "laptop", [127, 0, 0, 2])).await.unwrap();
    let phone = SyncClient::new(config(&world, "phone", [127, 0, 0, 1])).await.unwrap();
    pair(&laptop, &phone).await;
    let relays = two_relays(&phone).await;
    laptop.close().await;
    phone.close().await;

    // The laptop is in another network now, and somebody else has the port of the phone's, so that nobody tells it.
    let taken = soon("the port", async {
        loop {
            match UdpSocket::bind(place(&relays[1])) {
                Ok(socket) => break socket,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let moved = config(&world, "laptop", [127, 0, 0, 3]);
    let laptop = SyncClient::new(moved.discovery(network.discovery.clone())).await.unwrap();
    let unable = SyncClient::new(config(&world, "phone", [127, 0, 0, 1])).await.unwrap();
    let receipt = unable.push("from the phone").await.unwrap();
    // At the address that it knows, nobody is.
    let mut events = unable.events();
    let failed = event("a failed try", &mut events, |e| match e {
        ClientEvent::Disconnected { code: Code::RelayUnreachable, .. } => Some(()),
        _ => None,
    });
    failed.await;
    unable.close().await;

    let able = config(&world, "phone", [127, 0, 0, 1]).discovery(network.discovery.clone());
    let phone = SyncClient::new(able).await.unwrap();
    assert_eq!(receive_texts(&laptop, 1).await, ["from the phone"]);
    phone.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    let states = phone.status().await.unwrap().relay_states;
    assert_eq!((states[0].path, states[0].connected), (Some(RelayPath::Found), true));
    assert!(!states[1].connected);
    // Only who hosts leaves word, under its mailbox's key; and where it listens is told to nobody but the relay.
    let kept = network.kept.lock().unwrap().clone();
    assert_eq!(kept.len(), 1);
    let told = kept.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect::<String>();
    assert!(told.contains("relay=http://127.0.0.1") && !told.contains("127.0.0.3"), "{told}");
    // The address is mended where the group keeps it.
    soon("the new address", async {
        while place(&phone.status().await.unwrap().relays[0]).ip() != Ipv4Addr::new(127, 0, 0, 3) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(taken);
}
