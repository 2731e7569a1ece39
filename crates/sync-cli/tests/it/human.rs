//! What people read, compared with `snapshots/`. `cargo xtask gen` writes them anew.

use std::path::Path;

use crate::docs::help;
use crate::harness::{Device, Ran, Relay, ksync, pair, run};

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots").join(name);
    if std::env::var_os("KSYNC_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} differs:\n{text}\nIf that is meant: cargo xtask gen", path.display());
}

/// The text without what differs from run to run.
fn steady(text: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in replacements {
        text = text.replace(from, to);
    }
    text
}

fn record(ran: &Ran) -> String {
    format!("{}{}(exit code {})\n", ran.stdout, ran.stderr, ran.code.unwrap())
}

#[test]
fn golden_help() {
    compare("help.txt", &help(""));
}

#[test]
fn golden_status() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let mut text = String::new();
    let mut show = |title: &str, arguments: &[&str]| {
        text += &format!("== {title}\n$ ksync {}\n{}", arguments.join(" "), record(&laptop.say(arguments, b"")));
    };
    show("alone", &["status"]);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    show("paired", &["devices"]);
    show("paired", &["doctor"]);
    laptop.push("one", "accepted");
    show("one blob on its way", &["status"]);
    assert_eq!(phone.pulls(), ["one"]);
    show("fetched by the other", &["status"]);
    phone.push("hello\n", "accepted");
    show("something to pull", &["pull"]);
    show("nothing to pull", &["pull"]);
    let status = laptop.status();
    let ids: Vec<_> = status["devices"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    let group = &status["group"].as_str().unwrap()[..8];
    let names = [(ids[0], "ID-OF-LAPTOP"), (ids[1], "ID-OF-PHONE"), (group, "GROUP"), (&relay.address, "RELAY")];
    // The build chooses which.
    let suites = [
        "1: ML-KEM-768 with X25519, XChaCha20-Poly1305",
        "2: ML-KEM-768 with P-256, AES-256-GCM; devices pair by link, not by short code",
    ];
    let replacements: Vec<_> = names.into_iter().chain(suites.map(|suite| (suite, "SUITE"))).collect();
    compare("status.txt", &steady(&text, &replacements));
}

#[test]
fn golden_errors() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let device = Device::new(&home);
    let mut text = String::new();
    let mut show = |arguments: &[&str], input: &[u8]| {
        text += &format!("$ ksync {}\n{}\n", arguments.join(" "), record(&device.say(arguments, input)));
    };
    show(&["status"], b"");
    show(&["init"], b"");
    show(&["init", "--name", "a", "--relay", "nonsense"], b"");
    show(&["join", "KSYNC:HELLO"], b"");
    show(&["join", "https://example.org/join"], b"");
    let nobody = format!("ksync://{}@127.0.0.1:9", "a".repeat(64));
    show(&["init", "--name", "a", "--relay", &nobody], b"");
    show(&["init", "--name", "a"], b"");
    show(&["push", "-"], b"");
    show(&["push", "--lines"], b"one\n\nthree\n");
    show(&["push", "no-such-file"], b"");
    show(&["devices", "remove", "ffff"], b"");
    show(&["file", "list"], b"");
    let id = device.status()["device"].as_str().unwrap().to_owned();
    let home = home.display().to_string();
    let text = steady(&text, &[(&home, "HOME"), (&id, "ID"), (&nobody, "RELAY")]);
    compare("errors.txt", &text);
}

#[test]
fn a_usage_error_is_said_to_whoever_asked() {
    let json = run(ksync().args(["--json", "fil", "list"]), b"");
    assert_eq!(json.status.code(), Some(2));
    let event: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((event["event"].as_str(), event["code"].as_str()), (Some("error"), Some("INVALID_ARGUMENT")));
    assert!(json.stderr.is_empty());
    let human = run(ksync().args(["fil", "list"]), b"");
    assert!(human.stdout.is_empty() && !human.stderr.is_empty());
    let by_environment = run(ksync().env("KSYNC_JSON", "1").args(["init"]), b"");
    assert!(by_environment.stdout.starts_with(b"{\"event\":\"error\""));
}
