//! A running relay, over connections in memory and over QUIC.

use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{NetReportConfig, PortmapperConfig, RelayMode, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use rustls::NamedGroup;
use sync_relay::store::{MemoryStore, StoreError};
use sync_relay::{Access, EXPORTER_LABEL, Relay, RelayConfig, RunningRelay, StoreConfig, crypto_provider};
use sync_types::frame::{About, FromRelay, JoinNameplate, OpenNameplate, OpenSlot, SlotSide, ToRelay};
use sync_types::{ALPN, Code, GroupId, Opaque, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::device::{Device, Wire, attached, pair};
use crate::gate::Gated;

/// A device's QUIC endpoint with a connection to the relay.
struct Quic {
    endpoint: Endpoint,
    connection: iroh::endpoint::Connection,
    exporter: [u8; 32],
}

impl Quic {
    async fn connect(relay: &RunningRelay) -> Self {
        Self::connect_with(relay, crypto_provider()).await.unwrap()
    }

    async fn connect_with(
        relay: &RunningRelay,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Self, iroh::endpoint::ConnectError> {
        let endpoint = Endpoint::builder(presets::Empty)
            .crypto_provider(provider)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .unwrap()
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .bind()
            .await
            .unwrap();
        let id = EndpointId::from_bytes(&relay.endpoint_id()).unwrap();
        let address = EndpointAddr::new(id).with_ip_addr(relay.quic_addr().unwrap());
        let connection = endpoint.connect(address, ALPN).await?;
        let mut exporter = [0; 32];
        connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
        Ok(Self { endpoint, connection, exporter })
    }

    async fn open(&self) -> Wire {
        let (writer, reader) = self.connection.open_bi().await.unwrap();
        Wire::new(Box::new(reader), Box::new(writer), self.exporter)
    }
}

pub(crate) async fn get(relay: &RunningRelay, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(relay.http_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) fn metric(text: &str, name: &str) -> i64 {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn over_quic_entries_go_from_one_device_to_the_other_and_are_deleted_on_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    let (left, right) = (Quic::connect(&relay).await, Quic::connect(&relay).await);
    let mut connections = [&left, &right].into_iter();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || connections.next().unwrap().open().await, b"").await;

    let sent: Vec<Opaque> = (0..50).map(|_| a.seal(300)).collect();
    wire_a.send(&ToRelay::Push(sent.clone())).await;
    wire_a.accepted(50).await;
    let got = wire_b.entries(50).await;
    assert!(got.iter().map(|entry| &entry.bytes).eq(&sent), "byte for byte and in order");
    let (_, text) = get(&relay, "/metrics").await;
    assert_eq!(metric(&text, "ksync_entries"), 50);
    assert_eq!(metric(&text, "ksync_accepted_total"), 50);
    assert_eq!(metric(&text, "ksync_sessions"), 2);
    assert!(metric(&text, "ksync_store_bytes") > 0);

    let last = got.last().unwrap().cursor;
    wire_b.acknowledge(last).await;
    wire_b.settled().await;
    let (_, text) = get(&relay, "/metrics").await;
    assert_eq!(metric(&text, "ksync_entries"), 0);
    assert_eq!(metric(&text, "ksync_deleted_total"), 51, "and the commit");
    relay.shutdown().await;
}

#[tokio::test]
async fn the_key_exchange_is_hybrid_post_quantum() {
    use rustls::crypto::aws_lc_rs::kx_group;
    let relay = Relay::start(RelayConfig { listen: Some(([127, 0, 0, 1], 0).into()), ..RelayConfig::in_memory() })
        .await
        .unwrap();
    // A device that offers nothing else connects, whichever of the two it has: one of FIPS-approved algorithms prefers P-256.
    for group in [kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768] {
        let mut only = (*crypto_provider()).clone();
        only.kx_groups = vec![group];
        Quic::connect_with(&relay, Arc::new(only)).await.unwrap();
    }
    // And one that offers more still gets it: the first of the relay's and the device's list.
    let first = crypto_provider().kx_groups[0].name();
    let wanted = if cfg!(feature = "fips") { NamedGroup::secp256r1MLKEM768 } else { NamedGroup::X25519MLKEM768 };
    assert_eq!(first, wanted);
    assert_eq!(
        crypto_provider().fips(),
        cfg!(feature = "fips"),
        "with the feature, everything is of aws-lc's FIPS module"
    );
    let mut classical = (*crypto_provider()).clone();
    classical.kx_groups = vec![kx_group::SECP256R1];
    let refused = tokio::time::timeout(Duration::from_secs(20), Quic::connect_with(&relay, Arc::new(classical))).await;
    assert!(!matches!(refused, Ok(Ok(_))), "a group that is not on the list is not negotiated");
    relay.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_identity_members_and_entries() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    let id = relay.endpoint_id();
    let ((mut a, mut wire_a), (b, _)) = pair(async || Wire::local(&relay), b"").await;
    let sent = vec![a.seal(300), a.seal(400)];
    wire_a.send(&ToRelay::Push(sent.clone())).await;
    wire_a.accepted(2).await;
    relay.shutdown().await;

    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    assert_eq!(relay.endpoint_id(), id);
    let mut wire = Wire::local(&relay);
    b.attach(&mut wire, 1).await;
    let got = wire.entries(2).await;
    assert!(got.iter().map(|entry| &entry.bytes).eq(&sent));
    let mut wire = Wire::local(&relay);
    let head = a.attach(&mut wire, 1).await.head.unwrap();
    assert_eq!(head.seq, a.seq());
    relay.shutdown().await;
}

#[tokio::test]
async fn strangers_and_stolen_proofs_are_refused() {
    let relay = Relay::start(RelayConfig::in_memory()).await.unwrap();
    let ((a, _wire_a), _b) = pair(async || Wire::local(&relay), b"").await;

    let mut wire = Wire::local(&relay);
    Device::new(9, a.group).ask_to_attach(&mut wire).await;
    assert_eq!(wire.refusal().await.code(), Code::NotMember);
    assert!(wire.receive().await.is_none(), "and the stream is over");

    let mut wire = Wire::local(&relay);
    wire.exporter = [0; 32];
    a.ask_to_attach(&mut wire).await;
    assert_eq!(wire.refusal().await.code(), Code::BadSignature);

    let mut wire = Wire::local(&relay);
    Device::new(1, GroupId([77; 32])).ask_to_attach(&mut wire).await;
    assert_eq!(wire.refusal().await.code(), Code::UnknownGroup);

    let mut wire = Wire::local(&relay);
    wire.send(&ToRelay::Push(vec![])).await;
    assert_eq!(wire.refusal().await.code(), Code::Protocol);

    let mut wire = Wire::local(&relay);
    wire.send_bytes(&[0, 0, 0, 2, 250, 250]).await;
    assert_eq!(wire.refusal().await.code(), Code::Protocol);

    // Nobody holds memory here for a frame that a stranger has no use for.
    let mut wire = Wire::local(&relay);
    wire.send_bytes(&(200_u32 << 10).to_be_bytes()).await;
    assert_eq!(wire.refusal().await.code(), Code::Protocol);
    assert_eq!(relay.metrics().refusals(Code::Protocol), 3);
    relay.shutdown().await;
}

#[tokio::test]
async fn making_a_group_wants_the_token_and_attaching_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "s3cret\n").unwrap();
    let access = Access::parse(&format!("token:{}", tokens.display())).unwrap();
    let relay = Relay::start(RelayConfig { access, ..RelayConfig::in_memory() }).await.unwrap();

    let device = Device::new(3, GroupId([6; 32]));
    for wrong in [&b""[..], b"s3cre", b"s3cret "] {
        let mut wire = Wire::local(&relay);
        device.create(&mut wire, &device.found(), wrong).await;
        assert_eq!(wire.refusal().await.code(), Code::AccessDenied);
    }
    let ((a, _), _) = pair(async || Wire::local(&relay), b"s3cret").await;
    let mut wire = Wire::local(&relay);
    a.attach(&mut wire, 1).await;
    relay.shutdown().await;
}

#[tokio::test]
async fn a_devices_own_relay_takes_groups_of_its_process_and_pairings_of_members() {
    let listen = Some(([127, 0, 0, 1], 0).into());
    let config = RelayConfig { access: Access::Own, listen, ..RelayConfig::in_memory() };
    let relay = Relay::start(config).await.unwrap();
    let near = Quic::connect(&relay).await;
    let device = Device::new(3, GroupId([6; 32]));
    let mut wire = near.open().await;
    device.create(&mut wire, &device.found(), b"").await;
    assert_eq!(wire.refusal().await.code(), Code::AccessDenied);

    let slot = |name, side| ToRelay::OpenSlot(OpenSlot { version: VERSION, slot: [name; 16], side, ttl_seconds: 60 });
    let ((a, _), _) = pair(async || Wire::local(&relay), b"").await;
    let mut stranger = near.open().await;
    stranger.send(&slot(1, SlotSide::Shows)).await;
    assert_eq!(stranger.refusal().await.code(), Code::AccessDenied);

    // A member opens one from the endpoint where it is attached, and as long as it is.
    let mut attached = near.open().await;
    a.attach(&mut attached, 1).await;
    let mut shows = near.open().await;
    shows.send(&slot(2, SlotSide::Shows)).await;
    assert_eq!(shows.receive().await, Some(FromRelay::SlotOpened));
    let far = Quic::connect(&relay).await;
    let mut elsewhere = far.open().await;
    elsewhere.send(&slot(3, SlotSide::Shows)).await;
    assert_eq!(elsewhere.refusal().await.code(), Code::AccessDenied);
    // Whoever has a link may follow it.
    let mut scans = far.open().await;
    scans.send(&slot(2, SlotSide::Scans)).await;
    assert_eq!(scans.receive().await, Some(FromRelay::SlotOpened));

    drop(attached);
    let refused = async {
        loop {
            let mut late = near.open().await;
            late.send(&slot(4, SlotSide::Shows)).await;
            // The relay may not have noticed yet that the member is gone.
            if late.receive().await != Some(FromRelay::SlotOpened) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    relay.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_refuses_pushes_and_goes_on_delivering() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreConfig::Sqlite { path: folder.path().join("relay.db"), max_bytes: Some(1 << 20) };
    let relay = Relay::start(RelayConfig { store, ..RelayConfig::on_loopback(folder.path()) }).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let mut taken = 0;
    let refused = loop {
        wire_a.send(&ToRelay::Push(vec![a.seal(50_000)])).await;
        match wire_a.receive().await.unwrap() {
            FromRelay::Accepted(seq) => taken = seq,
            FromRelay::Refused(refused) => break refused,
            _ => {}
        }
    };
    assert_eq!((refused.about, refused.code()), (About::Push, Code::Quota));
    assert!(refused.retry_after_ms > 0);
    assert!(taken > 5);
    let got = wire_b.entries(taken as usize).await;
    assert_eq!(got.len() as u64, taken);
    // What is acknowledged makes room, and the relay takes pushes again.
    wire_b.acknowledge(got.last().unwrap().cursor).await;
    wire_b.settled().await;
    let mut wire = Wire::local(&relay);
    let head = a.attach(&mut wire, 1).await.head.unwrap();
    assert_eq!(head.seq, taken, "nothing of the refused push was kept");
    relay.shutdown().await;
}

#[tokio::test]
async fn accepted_never_leaves_before_what_it_says_is_durable() {
    let store = Arc::new(Gated::new(1));
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    // The one permit is for the commit that adds the second device.
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let before = store.durable();
    for n in 1..=20 {
        wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
        let mut frame = Box::pin(wire_a.accepted(n));
        // The relay has nothing to do but to wait for the store, and so nothing comes.
        let early = tokio::time::timeout(Duration::from_millis(5), &mut frame).await;
        assert!(early.is_err(), "accepted before it was durable");
        store.let_through(1);
        frame.await;
        assert_eq!(store.durable(), before + n);
    }
    assert_eq!(wire_b.entries(20).await.len(), 20);
    relay.shutdown().await;
}

#[tokio::test]
async fn when_a_transaction_fails_its_requests_are_refused_and_may_be_repeated() {
    let store = Arc::new(MemoryStore::new());
    let relay = Relay::start_with_store(RelayConfig::in_memory(), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let envelope = a.seal(300);
    for (error, code) in [(StoreError::Busy, Code::RateLimited), (StoreError::Io("broken".into()), Code::Internal)] {
        store.fail_next(error);
        wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
        let refused = wire_a.refusal().await;
        assert_eq!((refused.about, refused.code()), (About::Push, code));
        assert!(refused.retry_after_ms > 0);
    }
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    wire_a.accepted(1).await;
    assert_eq!(wire_b.entries(1).await[0].bytes, envelope, "once, and by itself");
    relay.shutdown().await;
}

#[tokio::test]
async fn a_backlog_beyond_many_frames_is_delivered_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    let ((mut a, mut wire_a), (b, wire_b)) = pair(async || Wire::local(&relay), b"").await;
    drop(wire_b);
    for _ in 0..10 {
        let envelopes: Vec<Opaque> = (0..500).map(|_| a.seal(1_000)).collect();
        wire_a.send(&ToRelay::Push(envelopes)).await;
    }
    wire_a.accepted(5_000).await;
    let mut wire = Wire::local(&relay);
    b.attach(&mut wire, 1).await;
    let got = wire.entries(5_000).await;
    assert!(got.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    assert_eq!(got.len(), 5_000);
    relay.shutdown().await;
}

#[tokio::test]
async fn two_meet_in_a_rendezvous_over_one_connection_each() {
    let relay = Relay::start(RelayConfig::in_memory()).await.unwrap();
    let slot = |side| ToRelay::OpenSlot(OpenSlot { version: VERSION, slot: [3; 16], side, ttl_seconds: 60 });
    let (mut shows, mut scans) = (Wire::local(&relay), Wire::local(&relay));
    shows.send(&slot(SlotSide::Shows)).await;
    assert_eq!(shows.receive().await, Some(FromRelay::SlotOpened));
    scans.send(&slot(SlotSide::Scans)).await;
    assert_eq!(scans.receive().await, Some(FromRelay::SlotOpened));
    scans.send(&ToRelay::SlotMessage(Opaque(b"one".to_vec()))).await;
    assert_eq!(shows.receive().await, Some(FromRelay::SlotMessage(Opaque(b"one".to_vec()))));
    shows.send(&ToRelay::SlotMessage(Opaque(b"two".to_vec()))).await;
    assert_eq!(scans.receive().await, Some(FromRelay::SlotMessage(Opaque(b"two".to_vec()))));
    drop(scans);
    assert_eq!(shows.receive().await, Some(FromRelay::SlotClosed));
    assert_eq!(shows.receive().await, None);
    let mut late = Wire::local(&relay);
    late.send(&slot(SlotSide::Scans)).await;
    assert_eq!(late.refusal().await.code(), Code::PairingUsed);
    relay.shutdown().await;
}

/// Endpoints cost nothing, addresses do.
#[tokio::test]
async fn nameplates_are_tried_by_network_and_not_by_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    let mut shows = Wire::local(&relay);
    shows.send(&ToRelay::OpenNameplate(OpenNameplate { version: VERSION, ttl_seconds: 60 })).await;
    let Some(FromRelay::Nameplate(nameplate)) = shows.receive().await else { panic!("a number was to come") };
    let join = |nameplate| ToRelay::JoinNameplate(JoinNameplate { version: VERSION, nameplate });
    for _ in 0..2 {
        let stranger = Quic::connect(&relay).await;
        for _ in 0..sync_types::limits::NAMEPLATE_TRIES / 2 {
            let mut wire = stranger.open().await;
            wire.send(&join(nameplate + 1)).await;
            assert_eq!(wire.refusal().await.code(), Code::NoSuchPairing);
        }
    }
    let stranger = Quic::connect(&relay).await;
    let mut wire = stranger.open().await;
    wire.send(&join(nameplate)).await;
    let refused = wire.refusal().await;
    assert_eq!((refused.about, refused.code()), (About::Slot, Code::TooManyTries));
    assert!((1..=60_000).contains(&refused.retry_after_ms));
    // Whoever is in the same process has no address, and tries of its own.
    let mut types = Wire::local(&relay);
    types.send(&join(nameplate)).await;
    assert_eq!(types.receive().await, Some(FromRelay::SlotOpened));
    types.send(&ToRelay::SlotMessage(Opaque(b"one".to_vec()))).await;
    assert_eq!(shows.receive().await, Some(FromRelay::SlotMessage(Opaque(b"one".to_vec()))));
    relay.shutdown().await;
}

/// A connection that is cut ends the work on its streams wherever that happens to be.
#[tokio::test]
async fn whoever_loses_its_connection_leaves_the_rendezvous() {
    let relay = Arc::new(Relay::start(RelayConfig::in_memory()).await.unwrap());
    let slot = |side| ToRelay::OpenSlot(OpenSlot { version: VERSION, slot: [3; 16], side, ttl_seconds: 60 });
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(far);
    let served = relay.clone();
    let serving = tokio::spawn(async move { served.serve_stream(reader, writer, [0; 32], [1; 32]).await });
    let (reader, writer) = tokio::io::split(near);
    let mut shows = Wire::new(Box::new(reader), Box::new(writer), [0; 32]);
    shows.send(&slot(SlotSide::Shows)).await;
    assert_eq!(shows.receive().await, Some(FromRelay::SlotOpened));
    let mut scans = Wire::local(&relay);
    scans.send(&slot(SlotSide::Scans)).await;
    assert_eq!(scans.receive().await, Some(FromRelay::SlotOpened));
    serving.abort();
    assert_eq!(scans.receive().await, Some(FromRelay::SlotClosed));
    Arc::into_inner(relay).unwrap().shutdown().await;
}

#[tokio::test]
async fn too_many_connections_are_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RelayConfig::on_loopback(folder.path());
    config.limits.connections = 1;
    let relay = Relay::start(config).await.unwrap();
    let first = Quic::connect(&relay).await;
    let mut wire = first.open().await;
    let device = Device::new(1, GroupId([5; 32]));
    device.create(&mut wire, &device.found(), b"").await;
    attached(&mut wire).await;

    let second = Quic::connect(&relay).await;
    let iroh::endpoint::ConnectionError::ApplicationClosed(closed) = second.connection.closed().await else {
        panic!("the connection was not closed by the relay");
    };
    assert_eq!(u64::from(closed.error_code), Code::TooManyConnections as u64);
    let FromRelay::Refused(refused) = sync_types::decode(&closed.reason).unwrap() else { panic!("no refusal") };
    assert_eq!(refused.code(), Code::TooManyConnections);
    assert!(refused.retry_after_ms > 0);
    relay.shutdown().await;
    first.endpoint.close().await;
    second.endpoint.close().await;
}

#[tokio::test]
async fn streams_opened_too_fast_are_refused_with_a_time() {
    let mut config = RelayConfig::in_memory();
    config.listen = Some(([127, 0, 0, 1], 0).into());
    config.limits.opens_burst = 2;
    config.limits.opens_per_second = 1;
    let relay = Relay::start(config).await.unwrap();
    let quic = Quic::connect(&relay).await;
    for expected in [Code::Protocol, Code::Protocol, Code::RateLimited] {
        let mut wire = quic.open().await;
        wire.send(&ToRelay::WelcomeStored).await;
        let refused = wire.refusal().await;
        assert_eq!(refused.code(), expected);
    }
    relay.shutdown().await;
}

#[tokio::test]
async fn stopping_answers_what_was_asked_and_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    let quic = Quic::connect(&relay).await;
    let device = Device::new(1, GroupId([5; 32]));
    let mut wire = quic.open().await;
    device.create(&mut wire, &device.found(), b"").await;
    attached(&mut wire).await;
    let stopped = tokio::spawn(relay.shutdown());
    let wait = wire
        .expect(|frame| match frame {
            FromRelay::GoingAway(ms) => Some(ms),
            _ => None,
        })
        .await;
    assert!(wait >= 500);
    assert!(wire.receive().await.is_none());
    quic.endpoint.close().await;
    stopped.await.unwrap();
}

#[tokio::test]
async fn the_host_sees_health_readiness_counters_and_where_to_connect() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(RelayConfig::on_loopback(folder.path())).await.unwrap();
    assert_eq!(get(&relay, "/health").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&relay, "/ready").await.0, 200);
    assert_eq!(get(&relay, "/nothing").await.0, 404);
    let (status, text) = get(&relay, "/.well-known/0ksync").await;
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let address: sync_types::RelayAddress = relay.address().parse().unwrap();
    let sync_types::RelayAddress::Pinned { endpoint, hosts, .. } = address else { panic!("{address:?}") };
    assert_eq!(json["version"], 1);
    assert_eq!(json["endpoint"], data_encoding::HEXLOWER.encode(&endpoint));
    assert_eq!(json["addresses"][0], hosts[0]);
    assert_eq!(json["limits"]["blob_bytes"], 1 << 20);
    relay.shutdown().await;
}
