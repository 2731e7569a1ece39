//! What is shown and logged.

use std::io::Write;
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use tokio::time::{Duration, timeout};
use tracing_subscriber::fmt::MakeWriter;

use super::servers::{Answer, NAME, Said, json, rsa_pem};
use super::*;

const TOKEN: [u8; 8] = [0x5e, 0xc2, 0xe7, 0x5e, 0xc2, 0xe7, 0x5e, 0xc2];
const KEYS: SubscriptionKeys = SubscriptionKeys { p256dh: [0xb7; 65], auth: [0xd3; 16] };

fn targets(port: u16) -> [Target; 4] {
    let endpoint = |path: &str| format!("https://{NAME}:{port}/{path}?planted-query");
    [
        Target::WebPush { endpoint: endpoint("planted-path"), keys: None },
        Target::WebPush { endpoint: format!("https://planted-user:planted-password@{NAME}/planted"), keys: Some(KEYS) },
        Target::Apns { topic: "org.example.app".into(), token: TOKEN.to_vec(), sandbox: false },
        Target::Fcm { project: "wake-1".into(), token: "planted-registration".into() },
    ]
}

/// Nothing of what was planted, in any of the ways in which bytes are written.
fn clean(text: &str) {
    let lower = text.to_lowercase();
    let mut planted = vec!["planted".to_owned(), "private key".into(), "vapid t=".into(), "bearer ey".into()];
    for bytes in [&TOKEN[..], &KEYS.p256dh[..8], &KEYS.auth[..8]] {
        let list = format!("{bytes:?}");
        planted.extend([HEXLOWER.encode(bytes), list.trim_matches(['[', ']']).to_owned()]);
        planted.extend([BASE64.encode(bytes), BASE64URL_NOPAD.encode(bytes)].map(|text| text[..10].to_lowercase()));
    }
    planted.push(rsa_pem().lines().nth(3).unwrap().to_lowercase());
    for secret in planted {
        assert!(!lower.contains(&secret), "{secret} in:\n{text}");
    }
}

#[tokio::test]
async fn debug_shows_kinds_and_hosts() {
    let (world, _) = apns::world();
    let fcm = fcm::account(&world, 9);
    let apns = "[[apns]]\ntopic = \"a.b\"\nkey = \"key.p8\"\nkey_id = \"KEY4567890\"\nteam_id = \"TEAM567890\"\n";
    let settings = world.settings(&format!("[web]\nsubject = \"mailto:planted@x\"\n{apns}{fcm}")).unwrap();
    clean(&format!("{settings:?}"));
    let vapid = vapid();
    assert_eq!(format!("{vapid:?} {KEYS:?}"), "Vapid SubscriptionKeys");
    let sender = Sender::new(settings, vapid, world.surroundings()).unwrap();
    assert_eq!(format!("{sender:?}"), "Sender");
    for target in targets(443) {
        clean(&format!("{target:?} {:#?} {:?}", Gone { key: 7, target: target.clone() }, Some(&target)));
    }
    let shown = targets(443).map(|target| format!("{target:?}"));
    assert_eq!(shown, ["WebPush(push.example.org)", "WebPush(push.example.org)", "Apns", "Fcm"]);
    for (endpoint, shown) in [
        ("https://[2001:db8::1]:8443/x", "WebPush([2001:db8::1])"),
        ("https://planted@host", "WebPush(host)"),
        ("https:planted", "WebPush(?)"),
        ("planted", "WebPush(?)"),
        ("https://pl anted/", "WebPush(?)"),
        ("https:///planted", "WebPush(?)"),
        ("https://host\\planted", "WebPush(host)"),
        ("https://host?planted", "WebPush(host)"),
        ("https://host#planted", "WebPush(host)"),
    ] {
        assert_eq!(format!("{:?}", Target::WebPush { endpoint: endpoint.into(), keys: None }), shown);
    }
    let (queue, _gone) = Queue::start(Arc::new(sender), Limits::default());
    for (key, target) in targets(443).into_iter().enumerate() {
        queue.wake(key, target);
    }
    clean(&format!("{queue:?} {:?}", queue.counters()));
    queue.stop().await;
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What this thread logs from now on, while the guards live.
fn listen() -> (Lines, (tracing::Dispatch, tracing::subscriber::DefaultGuard)) {
    let lines = Lines::default();
    // With one subscriber alone, tracing asks that of whichever thread comes by a line first whether anybody listens,
    // and other tests' threads have none.
    let second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(lines.clone()).finish();
    (lines, (second, tracing::subscriber::set_default(log)))
}

struct Refusing;

impl Push for Refusing {
    async fn push(&self, _: &Target) -> Sent {
        Sent::Refused(Refusal::Credentials)
    }
}

#[tokio::test(start_paused = true)]
async fn a_reason_is_logged_again_after_a_minute() {
    let (lines, _guards) = listen();
    let (queue, _gone) = Queue::start(Arc::new(Refusing), Limits::default());
    for _ in 0..5 {
        queue.wake(1, targets(443)[3].clone());
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    // At 0, 29, 58, 87 and 116 seconds: the first and the fourth.
    assert_eq!(lines.text().lines().filter(|line| line.contains("does not take our key")).count(), 2);
    assert_eq!(queue.counters().refused.load(std::sync::atomic::Ordering::Relaxed), 5);
}

/// Everything that is logged down to `debug`, by the libraries as well, while each kind is sent and answered in each
/// way.
#[tokio::test]
async fn the_log_shows_kinds_and_hosts_and_a_reason_once_a_minute() {
    let (lines, _guards) = listen();
    let (world, _) = apns::world();
    let statuses = Mutex::new(vec![201, 400, 429, 410, 403, 500].into_iter().cycle());
    let server = world
        .serve(&["h2", "http/1.1"], move |request| match &*request.path {
            "/token" => json(200, serde_json::json!({ "access_token": "planted-access", "expires_in": 3599 })),
            _ => {
                Answer { body: Said::Text("planted-answer".into()), ..statuses.lock().unwrap().next().unwrap().into() }
            }
        })
        .await;
    let more = apns::table("org.example.app", &server) + &fcm::account(&world, server.port);
    let sender = Arc::new(world.sender("\"127.0.0.1/32\"", &more));
    let targets = targets(server.port);
    for target in targets.iter().cycle().take(24) {
        sender.send(target).await;
    }
    let (queue, mut gone) = Queue::start(sender, Limits::default());
    let counters = queue.counters();
    for round in 0..3 {
        // The one with a password in it is refused each time.
        queue.wake(round, targets[1].clone());
    }
    for (n, target) in targets.iter().enumerate() {
        queue.wake(10 + n, target.clone());
    }
    let done = async {
        while counters.refused.load(std::sync::atomic::Ordering::Relaxed) < 4 {
            let _ = timeout(Duration::from_millis(1), gone.recv()).await;
        }
    };
    timeout(Duration::from_secs(10), done).await.unwrap();
    queue.stop().await;
    let text = lines.text();
    let refused = |line: &&str| line.contains("wake-up push was refused: the target is malformed");
    let warned: Vec<&str> = text.lines().filter(refused).collect();
    assert!(warned.len() == 1 && warned[0].contains("WARN") && warned[0].contains(NAME), "{warned:?}");
    assert!(text.contains("DEBUG"), "the libraries are heard, too");
    clean(&text);
}
