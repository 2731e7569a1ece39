//! What a relay shows its host: metrics, the status page, and who may see them; and that what is deployed beside it fits.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use sync_relay::{HostConfig, HostToken, PublicUrl, Relay, RelayConfig, RunningRelay};
use sync_types::frame::ToRelay;
use sync_types::{Code, GroupId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::device::{Device, Wire, attached, pair};
use crate::server::metric;

const TOKEN: &str = "a-host-token-for-tests";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

async fn ask(to: SocketAddr, request: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn get(relay: &RunningRelay, path: &str, headers: &[&str]) -> Answer {
    ask(relay.http_addr().unwrap(), &format!("GET {path}"), headers, "").await
}

fn config(folder: &std::path::Path) -> RelayConfig {
    RelayConfig { listen: None, ..RelayConfig::on_loopback(folder) }
}

/// A relay with something to show: two groups, entries that wait, a refusal.
async fn busy(folder: &std::path::Path) -> RunningRelay {
    let relay = Relay::start(config(folder)).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    wire_a.send(&ToRelay::Push((0..4).map(|_| a.seal(3_000)).collect())).await;
    wire_a.accepted(4).await;
    wire_b.entries(4).await;
    let other = Device::new(7, GroupId([0xc4; 32]));
    let mut wire = Wire::local(&relay);
    other.create(&mut wire, &other.found(), b"").await;
    attached(&mut wire).await;
    let mut wire = Wire::local(&relay);
    Device::new(9, a.group).ask_to_attach(&mut wire).await;
    assert_eq!(wire.refusal().await.code(), Code::NotMember);
    relay
}

#[tokio::test]
async fn the_page_tells_the_host_how_it_stands_and_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let relay = busy(folder.path()).await;
    let page = get(&relay, "/", &[]).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("<script") && !page.body.contains("style=\""), "nothing that the policy forbids");
    for wanted in ["ready", env!("CARGO_PKG_VERSION"), &relay.address(), "NOT_MEMBER", "05050505", "c4c4c4c4"] {
        assert!(page.body.contains(wanted), "{wanted} is missing in\n{}", page.body);
    }
    for group in [[5; 32], [0xc4; 32]] {
        let id = data_encoding::HEXLOWER.encode(&group);
        assert!(!page.body.contains(&id[..10]), "{id} can be read");
    }
    // Each table has a caption and its columns are named.
    let count = |what: &str| page.body.matches(what).count();
    assert!(count("<table>") >= 5 && count("<table>") == count("<caption>") && count("<h1>") == 1);
    relay.shutdown().await;
}

#[tokio::test]
async fn without_a_token_the_host_is_whoever_is_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let relay = busy(folder.path()).await;
    for path in ["/", "/metrics"] {
        assert_eq!(get(&relay, path, &[]).await.status, 200, "{path}");
        for proxy in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"] {
            assert_eq!(get(&relay, path, &[proxy]).await.status, 403, "{path} {proxy}");
        }
    }
    for path in ["/health", "/ready", "/.well-known/0ksync"] {
        assert_eq!(get(&relay, path, &["X-Forwarded-For: 192.0.2.1"]).await.status, 200, "{path}");
    }
    let metrics = get(&relay, "/metrics", &[]).await.body;
    assert_eq!(metric(&metrics, "ksync_http_requests_total{route=\"metrics\",status=\"4xx\"}"), 2);
    assert_eq!(metric(&metrics, "ksync_groups"), 2);
    relay.shutdown().await;
}

#[tokio::test]
async fn with_a_token_nobody_is_the_host_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let host = HostConfig { token: Some(HostToken::read(&file).unwrap()), ..HostConfig::default() };
    let public_url = Some(PublicUrl::parse("https://relay.example").unwrap());
    let data = folder.path().join("data");
    let relay = Relay::start(RelayConfig { host, public_url, ..config(&data) }).await.unwrap();
    let refused = get(&relay, "/metrics", &[]).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(get(&relay, "/metrics", &[&bearer, "X-Forwarded-For: 192.0.2.1"]).await.status, 200);
    assert_eq!(get(&relay, &format!("/?token={TOKEN}"), &[]).await.status, 401, "never by a URL");

    let form = get(&relay, "/", &[]).await;
    assert!(form.status == 401 && form.body.contains("type=\"password\"") && !form.body.contains("Groups"));
    let log_in = async |token: &str| {
        let body = format!("token={token}");
        ask(relay.http_addr().unwrap(), "POST /login", &["Content-Type: application/x-www-form-urlencoded"], &body)
            .await
    };
    let wrong = log_in("a-host-token-for-tests2").await;
    assert!(wrong.status == 401 && wrong.header("set-cookie").is_none() && wrong.body.contains("not the token"));
    let right = log_in(TOKEN).await;
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let page = get(&relay, "/", &[&cookie]).await;
    assert!(page.status == 200 && page.body.contains("At present") && page.body.contains("/logout"));
    let out = ask(relay.http_addr().unwrap(), "POST /logout", &[&cookie], "").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    relay.shutdown().await;
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_if_one_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let host = HostConfig { metrics: Some(([127, 0, 0, 1], 0).into()), ..HostConfig::default() };
    let relay = Relay::start(RelayConfig { host, ..config(folder.path()) }).await.unwrap();
    assert_eq!(get(&relay, "/metrics", &[]).await.status, 404);
    let own = relay.metrics_addr().unwrap();
    assert_eq!(ask(own, "GET /metrics", &["X-Forwarded-For: 192.0.2.1"], "").await.status, 200);
    assert_eq!(ask(own, "GET /", &[], "").await.status, 404);
    relay.shutdown().await;
    assert!(tokio::net::TcpStream::connect(own).await.is_err(), "it ends with the relay");
}

/// Runs Prometheus's own tool, if it is there: `cargo xtask test` installs it.
fn promtool(args: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    let spawned = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The names of metrics in a text: whatever begins as ours and the process's do.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("ksync_") || word.starts_with("process_")).collect()
}

#[tokio::test]
async fn what_is_deployed_beside_the_relay_reads_what_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let relay = busy(folder.path()).await;
    let text = get(&relay, "/metrics", &[]).await.body;
    relay.shutdown().await;
    promtool(&["check", "metrics"], &text);
    promtool(&["check", "rules", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts.yml")], "");
    let written = names(&text);
    let dashboard = include_str!("../../deploy/grafana-dashboard.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let alerts = include_str!("../../deploy/alerts.yml");
    for (file, used) in [("dashboard", names(dashboard)), ("alerts", names(alerts))] {
        let unknown: Vec<_> = used.difference(&written).collect();
        assert!(used.len() > 5 && unknown.is_empty(), "{file}: {unknown:?}");
    }
}
