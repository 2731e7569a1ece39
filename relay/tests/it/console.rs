//! `sync-relay admin`, as a host types it.

use std::path::Path;

use serde_json::Value;
use sync_relay::{Access, Relay, RelayConfig};
use sync_types::frame::ToRelay;
use sync_types::{Code, GroupId};
use tokio::process::Command;

use crate::admin::creating;
use crate::device::{Device, attached};
use crate::process::{command, connect, ready, terminate};

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// The objects on stdout, one a line.
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    fn error(&self) -> Value {
        serde_json::from_str(self.err.lines().last().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{e}: {}", self.err))
    }
}

async fn admin(folder: &Path, args: &[&str]) -> Said {
    admin_with(folder, args, &[]).await
}

async fn admin_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    command.arg("admin").arg("--data").arg(folder).args(args).envs(variables.iter().copied());
    // Nobody can be asked.
    let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn a_host_looks_at_a_running_relay_and_deletes_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut child = command(&data).spawn().unwrap();
    let line = ready(&mut child).await;
    let (endpoint, _connection, mut wire) = connect(&line, "127.0.0.1:0").await;
    let mut device = Device::new(1, GroupId([0xab; 32]));
    device.create(&mut wire, &device.found(), b"").await;
    attached(&mut wire).await;
    wire.send(&ToRelay::Push(vec![device.seal(300), device.seal(300)])).await;
    wire.accepted(2).await;

    let health = admin(&data, &["health"]).await;
    assert_eq!((health.code, health.out.trim()), (0, "ready"), "{}", health.err);
    let stats = admin(&data, &["stats", "--json"]).await;
    let stats = &stats.json()[0];
    assert_eq!((stats["running"].as_bool(), stats["groups"].as_u64()), (Some(true), Some(1)), "{stats}");
    let text = admin(&data, &["stats"]).await.out;
    assert!(text.contains("groups          1") && text.contains("runs"), "{text}");

    for sort in ["size", "lag"] {
        let groups = admin(&data, &["--json", "groups", "--sort", sort]).await.json();
        assert_eq!(groups[0]["group"], "abababab", "no more of the id than tells groups apart");
        assert_eq!(groups[0]["members"], 1);
    }
    let text = admin(&data, &["groups"]).await.out;
    assert!(text.lines().count() == 2 && text.starts_with("group"), "{text}");

    let backup = folder.path().join("backup");
    let made = admin(&data, &["backup", &backup.display().to_string()]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(backup.join("relay.db").exists());

    let unasked = admin(&data, &["purge", "abab"]).await;
    assert_eq!((unasked.code, unasked.error()["code"].as_str()), (2, Some("INVALID_ARGUMENT")), "{}", unasked.err);
    let unknown = admin(&data, &["purge", "cdcd", "--yes"]).await;
    assert_eq!((unknown.code, unknown.error()["code"].as_str()), (1, Some("UNKNOWN_GROUP")));
    assert_eq!(admin(&data, &["purge", "ab", "--yes"]).await.code, 2, "too short");
    let purged = admin(&data, &["purge", "abab", "--yes"]).await;
    assert_eq!(purged.code, 0, "{}", purged.err);
    while wire.receive().await.is_some() {}
    assert_eq!(admin(&data, &["stats", "--json"]).await.json()[0]["groups"], 0);
    endpoint.close().await;

    let doctor = admin(&data, &["doctor", "--json"]).await;
    let found = doctor.json();
    assert!(found.iter().any(|f| f["about"] == "relay" && f["level"] == "ok"), "{found:?}");
    // It asks at the port that the settings say, and this relay took another.
    assert!(found.iter().any(|f| f["about"] == "http" && f["level"] == "wrong"), "{found:?}");
    assert_eq!(doctor.code, 2);
    terminate(&child);
    child.wait().await.unwrap();
    let health = admin(&data, &["health"]).await;
    assert_eq!((health.code, health.error()["code"].as_str()), (1, Some("IO")), "{}", health.err);
    let doctor = admin(&data, &["doctor"]).await;
    assert!(doctor.code == 2 && doctor.out.contains("no relay runs"), "{}", doctor.out);

    let fresh = folder.path().join("fresh");
    assert_eq!(admin(&fresh, &["restore", &backup.display().to_string()]).await.code, 0);
    assert_eq!(admin(&fresh, &["stats", "--json"]).await.json()[0]["groups"], 1);
    // Settings that name a token file, which is not there before it is put back, are in nobody's way.
    let newer = folder.path().join("newer");
    let tokens = format!("token:{}", newer.join("tokens").display());
    let said =
        admin_with(&newer, &["restore", &backup.display().to_string()], &[("KSYNC_RELAY_ACCESS", &tokens)]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let purged = admin(&fresh, &["purge", &"ab".repeat(32), "--yes", "--json"]).await;
    assert_eq!(purged.json()[0]["event"], "purged", "{}", purged.err);
    assert_eq!(admin(&fresh, &["stats", "--json"]).await.json()[0]["groups"], 0);
}

#[tokio::test]
async fn check_says_whether_serve_would_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ports = [("KSYNC_RELAY_LISTEN", "127.0.0.1:0"), ("KSYNC_RELAY_HTTP", "127.0.0.1:0")];
    let about = |said: &Said, level: &str| -> Vec<String> {
        let found = said.json().into_iter().filter(|f| f["level"] == level);
        found.map(|f| f["about"].as_str().unwrap().to_owned()).collect()
    };
    let said = admin_with(&data, &["check", "--json"], &ports).await;
    assert_eq!((about(&said, "wrong"), said.code == 2), (vec![], false), "{}", said.out);
    assert!(!data.exists(), "nothing was made");

    let open = [ports[0], ("KSYNC_RELAY_HTTP", "0.0.0.0:0"), ("KSYNC_RELAY_ACCESS", "open")];
    let said = admin_with(&data, &["check", "--json"], &open).await;
    assert_eq!((said.code, about(&said, "notable").contains(&"access".to_owned())), (1, true), "{}", said.out);
    let unsaid = admin_with(&data, &["check", "--json"], &open[..2]).await;
    assert_eq!((unsaid.code, about(&unsaid, "wrong")), (2, vec!["settings".to_owned()]), "{}", unsaid.out);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = admin_with(&data, &["check", "--json"], &[ports[0], ("KSYNC_RELAY_HTTP", &address)]).await;
    assert_eq!((said.code, about(&said, "wrong")), (2, vec!["ports".to_owned()]), "{}", said.out);

    let file = folder.path().join("relay.toml");
    std::fs::write(&file, "listen = '127.0.0.1:0'\nhttp = '127.0.0.1:0'\nlisten-on = 'x'\n").unwrap();
    let said = admin(&data, &["--config", &file.display().to_string(), "check"]).await;
    assert!(said.code == 2 && said.out.contains("line 3"), "{}", said.out);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("identity.key"), "short").unwrap();
    std::fs::write(data.join("relay.db"), "text ".repeat(1_000)).unwrap();
    let said = admin_with(&data, &["check", "--json"], &ports).await;
    assert_eq!((said.code, about(&said, "wrong")), (2, vec!["key".to_owned(), "store".to_owned()]), "{}", said.out);
}

#[tokio::test]
async fn tokens_are_managed_in_the_file_that_the_settings_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, "access = 'token:list'\n").unwrap();
    let config = file.display().to_string();
    let token = async |args: &[&str]| {
        let mut all = vec!["--config", &config, "--json", "token"];
        all.extend(args);
        admin(folder.path(), &all).await
    };
    let added = token(&["add", "alice", "--expires", "30d", "--groups", "2", "--bytes", "5000"]).await;
    assert_eq!(added.code, 0, "{}", added.err);
    let secret = added.json()[0]["token"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(folder.path().join("list")).unwrap();
    assert!(text.contains("name=alice") && !text.contains(&secret), "{text}");
    let of_alice = async || {
        let listed = token(&["list"]).await.json();
        ["groups", "groups_made", "bytes", "bytes_held"].map(|key| listed[0][key].as_u64())
    };
    assert_eq!(of_alice().await, [Some(2), None, Some(5_000), None], "there is no database yet");
    let access = Access::parse(&format!("token:{}", folder.path().join("list").display())).unwrap();
    let config = RelayConfig { access, listen: None, http: None, ..RelayConfig::on_loopback(folder.path()) };
    let relay = Relay::start(config).await.unwrap();
    creating(&relay, &Device::new(1, GroupId([1; 32])), secret.as_bytes()).await.unwrap();
    assert_eq!(of_alice().await, [Some(2), Some(1), Some(5_000), Some(0)], "beside a relay that runs");
    relay.shutdown().await;
    assert!(token(&["add", "bob", "--expires", "2020-01-01"]).await.code == 0);
    assert_eq!(token(&["add", "carol", "--expires", "soon"]).await.error()["code"], Code::InvalidArgument.as_str());
    assert_eq!(token(&["revoke", "alice"]).await.code, 0);
    let listed = token(&["list"]).await.json();
    assert!(listed[0]["state"].as_str().unwrap().starts_with("revoked on"), "{listed:?}");
    assert_eq!((&listed[1]["state"], &listed[1]["last_day"]), (&"expired".into(), &"2020-01-01".into()));
    assert_eq!(admin(folder.path(), &["token", "list"]).await.code, 2, "no file is named");
}
