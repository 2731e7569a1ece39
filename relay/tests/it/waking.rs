//! Who is woken, when, and when no more: devices over a relay, and a push service on this machine that counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Named, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use sync_relay::{Relay, RelayConfig, RunningRelay, Waking};
use sync_types::frame::{About, FromRelay, ToRelay};
use sync_types::wake::WebPush;
use sync_types::{Code, Opaque, WakeTarget};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::device::*;

const SOON: Duration = Duration::from_secs(10);

/// A push service: tells which resource was posted to, and answers as it was told to.
pub(crate) struct Service {
    url: String,
    posts: mpsc::Receiver<String>,
    answers: Arc<Mutex<BTreeMap<String, u16>>>,
}

type Shared = (mpsc::Sender<String>, Arc<Mutex<BTreeMap<String, u16>>>);

async fn posted(State((posts, answers)): State<Shared>, Named(name): Named<String>, headers: HeaderMap) -> StatusCode {
    assert!(headers.contains_key("ttl") && headers["authorization"].to_str().unwrap().starts_with("vapid t="));
    let status = answers.lock().unwrap().get(&name).copied().unwrap_or(201);
    posts.send(name).await.unwrap();
    StatusCode::from_u16(status).unwrap()
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (to, posts) = mpsc::channel(64);
        let answers = Arc::default();
        let router = Router::new().route("/{name}", post(posted)).with_state((to, Arc::clone(&answers)));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, posts, answers }
    }

    pub(crate) fn target(&self, name: &str) -> WakeTarget {
        let endpoint = Opaque(format!("{}/{name}", self.url).into_bytes());
        WakeTarget::WebPush(WebPush { endpoint, keys: None })
    }

    fn answers(&self, name: &str, status: u16) {
        self.answers.lock().unwrap().insert(name.to_owned(), status);
    }

    pub(crate) async fn next(&mut self) -> String {
        timeout(SOON, self.posts.recv()).await.expect("a push was to come").unwrap()
    }

    pub(crate) fn none(&mut self) -> bool {
        self.posts.try_recv().is_err()
    }
}

/// Settings that let a relay push to this machine, which it does for nobody who does not say so.
pub(crate) fn waking(folder: &Path, allow: &str) -> Waking {
    let settings = folder.join("wake.toml");
    std::fs::write(&settings, format!("allow = [{allow}]\n")).unwrap();
    Waking::On { settings: Some(settings) }
}

async fn relay(folder: &Path, allow: &str) -> RunningRelay {
    let config = RelayConfig { wake: waking(folder, allow), ..RelayConfig::in_memory() };
    Relay::start(config).await.unwrap()
}

pub(crate) const HERE: &str = "\"127.0.0.1/32\"";

pub(crate) async fn set(wire: &mut Wire, target: Option<WakeTarget>) {
    wire.send(&ToRelay::SetWake(target)).await;
    wire.expect(|frame| matches!(frame, FromRelay::WakeSet).then_some(())).await;
}

/// The device is attached nowhere: the relay knows it once somebody else's request behind that is answered.
pub(crate) async fn gone(wire: Wire, relay: &RunningRelay, left: i64) {
    drop(wire);
    timeout(SOON, async {
        while relay.metrics().sessions.value() != left {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the end of a session");
}

pub(crate) async fn push(device: &mut Device, wire: &mut Wire) {
    let envelope = device.seal(300);
    wire.send(&ToRelay::Push(vec![envelope])).await;
    wire.accepted(device.seq()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_is_woken_once_until_it_comes() {
    let (folder, mut service) = (tempfile::tempdir().unwrap(), Service::start().await);
    let relay = relay(folder.path(), HERE).await;
    let ((mut a, mut wire_a), (b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    set(&mut wire_a, Some(service.target("a"))).await;
    set(&mut wire_b, Some(service.target("b"))).await;
    push(&mut a, &mut wire_a).await;
    let read = wire_b.entries(1).await[0].cursor;
    wire_b.acknowledge_signed(read, &b, &a).await;
    wire_b.settled().await;
    gone(wire_b, &relay, 1).await;
    assert!(service.none(), "whoever is attached, or has all, is woken by nothing");

    push(&mut a, &mut wire_a).await;
    assert_eq!(service.next().await, "b");
    push(&mut a, &mut wire_a).await;
    push(&mut a, &mut wire_a).await;
    // It comes, and goes with what came meanwhile: then the next one wakes it again.
    let mut wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, read).await;
    let last = wire_b.entries(3).await[2].cursor;
    wire_b.acknowledge_signed(last, &b, &a).await;
    wire_b.settled().await;
    gone(wire_b, &relay, 1).await;
    assert!(service.none());
    push(&mut a, &mut wire_a).await;
    assert_eq!(service.next().await, "b");

    // It goes just as something reaches it.
    let mut wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, last).await;
    wire_b.entries(1).await;
    push(&mut a, &mut wire_a).await;
    wire_b.entries(1).await;
    gone(wire_b, &relay, 1).await;
    assert_eq!(service.next().await, "b");
    // And not for what it was woken for already and does not take.
    let mut wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, last).await;
    gone(wire_b, &relay, 1).await;

    let mut wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, last).await;
    set(&mut wire_b, None).await;
    gone(wire_b, &relay, 1).await;
    push(&mut a, &mut wire_a).await;
    wire_a.settled().await;
    relay.shutdown().await;
    assert!(service.none(), "who says that it is woken nowhere is woken nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_gone_is_forgotten_and_a_newer_one_is_not() {
    let (folder, mut service) = (tempfile::tempdir().unwrap(), Service::start().await);
    let relay = relay(folder.path(), HERE).await;
    let ((mut a, mut wire_a), (b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    service.answers("old", 410);
    set(&mut wire_b, Some(service.target("old"))).await;
    gone(wire_b, &relay, 1).await;
    push(&mut a, &mut wire_a).await;
    assert_eq!(service.next().await, "old");
    // Coming and going would make it due again.
    let wake = async |wire_a: &mut Wire, a: &mut Device, target: Option<WakeTarget>| {
        let mut wire_b = Wire::local(&relay);
        b.attach(&mut wire_b, 0).await;
        if target.is_some() {
            set(&mut wire_b, target).await;
        }
        wire_b.settled().await;
        gone(wire_b, &relay, 1).await;
        push(a, wire_a).await;
    };
    wake(&mut wire_a, &mut a, Some(service.target("new"))).await;
    assert_eq!(service.next().await, "new");
    // The relay's own word that the old one is gone finds another in its place.
    wake(&mut wire_a, &mut a, None).await;
    assert_eq!(service.next().await, "new");
    service.answers("new", 404);
    wake(&mut wire_a, &mut a, None).await;
    assert_eq!(service.next().await, "new");
    timeout(SOON, async {
        loop {
            wake(&mut wire_a, &mut a, None).await;
            if timeout(Duration::from_millis(100), service.posts.recv()).await.is_err() {
                break;
            }
        }
    })
    .await
    .expect("it is forgotten");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_woken_by_its_removal_and_by_nothing_behind_it() {
    let (folder, mut service) = (tempfile::tempdir().unwrap(), Service::start().await);
    let relay = relay(folder.path(), HERE).await;
    let ((mut a, mut wire_a), (b, mut wire_b), mut mls) = founded(async || Wire::local(&relay), b"").await;
    set(&mut wire_b, Some(service.target("b"))).await;
    gone(wire_b, &relay, 1).await;
    wire_a.send(&ToRelay::Commit(remove(&mut mls, &b))).await;
    wire_a.expect(|frame| matches!(frame, FromRelay::Confirmed(2)).then_some(())).await;
    drop(mls);
    assert_eq!(service.next().await, "b");
    // It may have been lost, and is to hear of that; then there is nothing more for it.
    let mut wire_b = Wire::local(&relay);
    b.attach(&mut wire_b, 0).await;
    wire_b.entries(1).await;
    wire_b.send(&ToRelay::SetWake(Some(service.target("b")))).await;
    assert_eq!(wire_b.refusal().await.code(), Code::Removed);
    gone(wire_b, &relay, 1).await;
    a.epoch = 2;
    push(&mut a, &mut wire_a).await;
    wire_a.settled().await;
    relay.shutdown().await;
    assert!(service.none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_refused_and_changes_nothing() {
    let (folder, mut service) = (tempfile::tempdir().unwrap(), Service::start().await);
    let relay = relay(folder.path(), "").await;
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let url = |text: &str| WakeTarget::WebPush(WebPush { endpoint: Opaque(text.into()), keys: None });
    let apns = sync_types::wake::Apns { topic: Opaque(b"a.b".to_vec()), token: Opaque(vec![7; 32]), sandbox: false };
    for (target, code) in [
        (service.target("b"), Code::WakeUnavailable),
        (url("https://169.254.169.254/latest/meta-data"), Code::WakeUnavailable),
        (url("https://[::ffff:10.0.0.1]/"), Code::WakeUnavailable),
        (url("https://2130706433/"), Code::WakeUnavailable),
        (url("https://user:word@push.example.org/"), Code::InvalidArgument),
        (url("file:///etc/passwd"), Code::InvalidArgument),
        (WakeTarget::Apns(apns), Code::WakeUnavailable),
    ] {
        wire_b.send(&ToRelay::SetWake(Some(target))).await;
        let refused = wire_b.refusal().await;
        assert_eq!((refused.about, refused.code()), (About::Wake, code));
    }
    wire_b.send(&ToRelay::WakeKey).await;
    let key = wire_b.expect(|frame| if let FromRelay::WakeKey(key) = frame { Some(key) } else { None }).await;
    assert_eq!(key[0], 4, "an uncompressed point");
    gone(wire_b, &relay, 1).await;
    push(&mut a, &mut wire_a).await;
    relay.shutdown().await;
    assert!(service.none());

    // A relay that wakes nobody says so.
    let relay = Relay::start(RelayConfig::in_memory()).await.unwrap();
    let (_, (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    for frame in [ToRelay::SetWake(Some(url("https://push.example.org/"))), ToRelay::WakeKey] {
        wire_b.send(&frame).await;
        let refused = wire_b.refusal().await;
        assert_eq!((refused.about, refused.code()), (About::Wake, Code::WakeUnavailable));
    }
    set(&mut wire_b, None).await;
    relay.shutdown().await;
}
