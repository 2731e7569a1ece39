//! Devices, a relay, and how two devices come together.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sync_client::{
    ClientEvent, DEFAULT_CONSUMER, Events, FilesPolicy, Forward, InviteOptions, Pairing, PairingEvent, ReceivedBlob,
    RelayAddress, StartAt, SyncClient, SyncConfig,
};
use sync_relay::{Relay, RelayConfig, RunningRelay};

/// How long anything may take before the test says that it never came.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Content goes by the relays alone.
pub(crate) const BY_RELAY: FilesPolicy = FilesPolicy { automatic_up_to: 64 << 20, paused: false, direct: false };

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// How devices reach the relay.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Memory,
    Quic,
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) relay: Option<Arc<RunningRelay>>,
    pub(crate) config: SyncConfig,
    /// The time of the relay and of all devices.
    pub(crate) forward: Forward,
    way: Way,
    relay_config: RelayConfig,
}

impl World {
    pub(crate) async fn new(way: Way) -> Self {
        Self::with(way, |_| ()).await
    }

    pub(crate) async fn memory() -> Self {
        Self::new(Way::Memory).await
    }

    pub(crate) async fn with(way: Way, change: impl FnOnce(&mut RelayConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("relay");
        std::fs::create_dir(&data).unwrap();
        let mut relay_config = RelayConfig { http: None, ..RelayConfig::on_loopback(&data) };
        if way == Way::Memory {
            relay_config.listen = None;
        }
        // When it stops, nobody has to stay away for long.
        relay_config.limits.drain_spread = Duration::from_millis(50);
        change(&mut relay_config);
        let forward = relay_config.forward.clone();
        let relay = Arc::new(Relay::start(relay_config.clone()).await.unwrap());
        // The port has to outlive a restart, as a host's would.
        relay_config.listen = relay.quic_addr();
        relay_config.http = relay.http_addr();
        let config = match way {
            Way::Memory => SyncConfig::default().local_relay(&relay),
            Way::Quic => SyncConfig::default().relay(relay.address().parse().unwrap()),
        };
        let config = config.forward(&forward).files(BY_RELAY);
        Self { folder, relay: Some(relay), config, forward, way, relay_config }
    }

    /// Where the relay keeps its store and its identity.
    pub(crate) fn relay_folder(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self, name: &str) -> SyncConfig {
        self.config.clone().home(self.home(name)).device_name(name)
    }

    pub(crate) async fn device(&self, name: &str) -> SyncClient {
        SyncClient::new(self.config(name)).await.unwrap()
    }

    /// The device without any way to its relay.
    pub(crate) async fn offline(&self, name: &str) -> SyncClient {
        let config = SyncConfig::default().forward(&self.forward).home(self.home(name)).device_name(name);
        SyncClient::new(config).await.unwrap()
    }

    /// Two devices that are paired.
    pub(crate) async fn pair(&self) -> (SyncClient, SyncClient) {
        let (a, b) = (self.device("a").await, self.device("b").await);
        pair(&a, &b).await;
        (a, b)
    }

    /// The relay stops as a host stops it.
    pub(crate) async fn stop_relay(&mut self) {
        self.take_relay().await.shutdown().await;
    }

    /// The relay is gone as if its process had died.
    pub(crate) async fn lose_relay(&mut self) {
        drop(self.take_relay().await);
    }

    async fn take_relay(&mut self) -> RunningRelay {
        let mut relay = self.relay.take().unwrap();
        soon("the relay's last user", async {
            loop {
                // Who opens a stream at this very moment holds it too.
                match Arc::try_unwrap(relay) {
                    Ok(relay) => break relay,
                    Err(shared) => relay = shared,
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub(crate) async fn start_relay(&mut self) {
        let relay = soon("the relay's restart", async {
            loop {
                // Whoever still held the old one is about to let go.
                match Relay::start(self.relay_config.clone()).await {
                    Ok(relay) => break relay,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        let relay = Arc::new(relay);
        if self.way == Way::Memory {
            let _ = self.config.clone().local_relay(&relay);
        }
        self.relay = Some(relay);
    }
}

pub(crate) async fn next(pairing: &mut Pairing) -> PairingEvent {
    soon("the next event of a pairing", pairing.next()).await.expect("a last event before the end")
}

pub(crate) async fn uri(pairing: &mut Pairing) -> String {
    match next(pairing).await {
        PairingEvent::Uri { uri, .. } => uri,
        other => panic!("a link was to come, not {other:?}"),
    }
}

pub(crate) async fn check(pairing: &mut Pairing) -> String {
    match next(pairing).await {
        PairingEvent::Check(digits) => digits,
        other => panic!("a check code was to come, not {other:?}"),
    }
}

pub(crate) async fn request(pairing: &mut Pairing) -> (String, bool) {
    match next(pairing).await {
        PairingEvent::Request { name, needs_check } => (name, needs_check),
        other => panic!("a request was to come, not {other:?}"),
    }
}

/// The newcomer hears that the member has agreed, and then that it is in the group.
pub(crate) async fn joined(pairing: &mut Pairing) {
    assert_eq!(next(pairing).await, PairingEvent::Agreed);
    let joined = next(pairing).await;
    assert!(matches!(joined, PairingEvent::Joined { .. }), "{joined:?}");
}

/// The member shows, the newcomer scans, the person types the check code.
pub(crate) async fn pair(member: &SyncClient, newcomer: &SyncClient) {
    let mut invite = member.invite(InviteOptions::default()).await.unwrap();
    let link = uri(&mut invite).await;
    let mut join = newcomer.join(&link, None).await.unwrap();
    let digits = check(&mut join).await;
    assert!(request(&mut invite).await.1);
    invite.type_check(&digits).await.unwrap();
    let added = next(&mut invite).await;
    assert!(matches!(added, PairingEvent::Added { .. }), "{added:?}");
    joined(&mut join).await;
}

/// The relays that the group uses, once there are two.
pub(crate) async fn two_relays(client: &SyncClient) -> Vec<RelayAddress> {
    soon("a second relay", async {
        loop {
            match client.status().await.unwrap().relays {
                relays if relays.len() == 2 => break relays,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// The next `count` blobs of the default consumer, acknowledged.
pub(crate) async fn receive(client: &SyncClient, count: usize) -> Vec<ReceivedBlob> {
    let mut subscription = client.subscribe(DEFAULT_CONSUMER, None, StartAt::Position).unwrap();
    let mut blobs = Vec::new();
    while blobs.len() < count {
        blobs.push(soon("a blob", subscription.next()).await.unwrap());
    }
    if let Some(last) = blobs.last() {
        subscription.ack(last).await.unwrap();
    }
    blobs
}

pub(crate) fn texts(blobs: &[ReceivedBlob]) -> Vec<String> {
    blobs.iter().map(|b| String::from_utf8(b.data.clone()).unwrap()).collect()
}

pub(crate) async fn receive_texts(client: &SyncClient, count: usize) -> Vec<String> {
    texts(&receive(client, count).await)
}

/// Waits for an event that this picks out.
pub(crate) async fn event<T>(what: &str, events: &mut Events, pick: impl Fn(&ClientEvent) -> Option<T>) -> T {
    soon(what, async {
        loop {
            let event = events.next().await.expect("the client is open");
            if let Some(found) = pick(&event) {
                break found;
            }
        }
    })
    .await
}

/// Whether a file of the folder holds these bytes.
pub(crate) fn any_file_holds(folder: &Path, needle: &[u8]) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle) {
                return true;
            }
        }
    }
    false
}
