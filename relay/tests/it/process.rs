//! The program `sync-relay`: its ready line, its errors, and its end.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use sync_relay::{EXPORTER_LABEL, crypto_provider};
use sync_types::frame::ToRelay;
use sync_types::{ALPN, Code, GroupId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::device::{Device, Wire, attached};

pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"]).arg(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) async fn ready(child: &mut Child) -> Value {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

/// The exit code and the error line of a relay that does not start.
async fn fails(mut command: Command) -> (i32, Value) {
    let output = command.output().await.unwrap();
    assert!(output.stdout.is_empty(), "nothing but a ready line goes to stdout");
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().last().unwrap();
    (output.status.code().unwrap(), serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {text}")))
}

pub(crate) fn terminate(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn it_says_when_it_is_ready_stops_on_sigterm_and_keeps_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let mut identity = None;
    for _ in 0..2 {
        let mut child = command(folder.path()).spawn().unwrap();
        let line = ready(&mut child).await;
        assert_eq!(line["event"], "ready");
        assert!(line["http"].as_str().unwrap().starts_with("http://127.0.0.1:"));
        let address = line["address"].as_str().unwrap().to_owned();
        assert!(address.parse::<sync_types::RelayAddress>().is_ok(), "{address}");
        let endpoint = address.split('@').next().unwrap().to_owned();
        assert_eq!(*identity.get_or_insert(endpoint.clone()), endpoint);
        terminate(&child);
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn each_reason_not_to_start_has_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = command(folder.path()).spawn().unwrap();
    let line = ready(&mut running).await;

    let (code, error) = fails(command(folder.path())).await;
    assert_eq!((code, error["code"].as_str()), (1, Some("HOME_BUSY")), "{error}");

    let other = tempfile::tempdir().unwrap();
    let http = line["http"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let mut same_http = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    same_http.args(["serve", "--listen", "127.0.0.1:0", "--http", &http, "--data"]).arg(other.path());
    let (code, error) = fails(same_http).await;
    assert_eq!((code, error["code"].as_str()), (1, Some("PORT_IN_USE")), "{error}");

    let quic = line["address"].as_str().unwrap().rsplit('@').next().unwrap().to_owned();
    let mut same_quic = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    same_quic.args(["serve", "--listen", &quic, "--http", "127.0.0.1:0", "--data"]).arg(other.path());
    let (code, error) = fails(same_quic).await;
    assert_eq!((code, error["code"].as_str()), (1, Some("PORT_IN_USE")), "{error}");
    terminate(&running);
    running.wait().await.unwrap();

    std::fs::write(other.path().join("relay.db"), "not a database ".repeat(1_000)).unwrap();
    let (code, error) = fails(command(other.path())).await;
    assert_eq!((code, error["code"].as_str()), (1, Some("STORE_CORRUPT")), "{error}");

    let keyless = tempfile::tempdir().unwrap();
    std::fs::write(keyless.path().join("identity.key"), "short").unwrap();
    let (code, error) = fails(command(keyless.path())).await;
    assert_eq!((code, error["code"].as_str()), (1, Some("STORE_CORRUPT")), "{error}");
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut open = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    open.args(["serve", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data"]).arg(folder.path());
    let (code, error) = fails(open).await;
    assert_eq!((code, error["code"].as_str()), (2, Some("INVALID_ARGUMENT")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("--access"));

    for wrong in [["--store", "mysql:x"], ["--access", "closed"], ["--public-url", "ftp://x"]] {
        let mut command = command(folder.path());
        command.args(wrong);
        let (code, error) = fails(command).await;
        assert_eq!((code, error["code"].as_str()), (2, Some("INVALID_ARGUMENT")), "{error}");
    }
    let mut command = command(folder.path());
    command.arg("--nonsense");
    assert_eq!(command.output().await.unwrap().status.code(), Some(2));
}

/// A device's stream to the relay of that ready line, from an address of one's own choosing, with what keeps it open.
pub(crate) async fn connect(ready: &Value, from: &str) -> (iroh::Endpoint, iroh::endpoint::Connection, Wire) {
    let address = ready["address"].as_str().unwrap().parse().unwrap();
    let sync_types::RelayAddress::Pinned { endpoint, hosts, .. } = address else { panic!("{address:?}") };
    let device = iroh::Endpoint::builder(iroh::endpoint::presets::Empty)
        .crypto_provider(crypto_provider())
        .clear_ip_transports()
        .bind_addr(from)
        .unwrap()
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .bind()
        .await
        .unwrap();
    let id = iroh::EndpointId::from_bytes(&endpoint).unwrap();
    let to = iroh::EndpointAddr::new(id).with_ip_addr(hosts[0].parse().unwrap());
    let connection = device.connect(to, ALPN).await.unwrap();
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
    let (writer, reader) = connection.open_bi().await.unwrap();
    (device, connection, Wire::new(Box::new(reader), Box::new(writer), exporter))
}

#[tokio::test]
async fn settings_come_from_a_file_and_a_slip_in_a_name_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, "data = 'data'\nlisten = '127.0.0.1:0'\nhttp = '127.0.0.1:0'\n").unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
        command.args(["serve", "--config"]).arg(&file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    };
    let mut child = serve().spawn().unwrap();
    ready(&mut child).await;
    assert!(folder.path().join("data/identity.key").exists(), "beside the file");
    terminate(&child);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));

    let mut misnamed = serve();
    misnamed.env("KSYNC_RELAY_ACESS", "open");
    let (code, error) = fails(misnamed).await;
    assert_eq!((code, error["code"].as_str()), (2, Some("INVALID_ARGUMENT")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("KSYNC_RELAY_ACCESS"), "{error}");

    std::fs::write(&file, "data = 'data'\nacess = 'open'\n").unwrap();
    let (code, error) = fails(serve()).await;
    assert_eq!((code, error["code"].as_str()), (2, Some("INVALID_ARGUMENT")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("line 2") && message.contains("'access'"), "{message}");
}

/// On the level that says most, too: whoever is given a log for help learns nothing of who uses the relay.
#[tokio::test]
async fn no_log_names_a_group_a_device_an_address_or_a_token() {
    const ADDRESS: &str = "127.0.0.77";
    const TOKEN: &str = "planted-token-5f3a";
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
    let mut serve = command(folder.path());
    serve.arg("--access").arg(format!("token:{}", tokens.display())).args(["--log-format", "json"]);
    let mut child = serve.env("KSYNC_RELAY_LOG", "trace").spawn().unwrap();
    let line = ready(&mut child).await;
    let (endpoint, connection, mut wire) = connect(&line, &format!("{ADDRESS}:0")).await;
    let mut device = Device::new(1, GroupId([0xd5; 32]));
    device.create(&mut wire, &device.found(), b"wrong").await;
    assert_eq!(wire.refusal().await.code(), Code::AccessDenied);
    drop(wire);
    let (writer, reader) = connection.open_bi().await.unwrap();
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
    let mut wire = Wire::new(Box::new(reader), Box::new(writer), exporter);
    device.create(&mut wire, &device.found(), TOKEN.as_bytes()).await;
    attached(&mut wire).await;
    let envelope = device.seal(300);
    wire.send(&ToRelay::Push(vec![envelope])).await;
    wire.accepted(1).await;
    let id = *endpoint.id().as_bytes();
    endpoint.close().await;
    terminate(&child);
    let log = String::from_utf8(child.wait_with_output().await.unwrap().stderr).unwrap();

    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
    }
    let of_session = log.lines().find(|line| line.contains("\"attached\"")).expect("the session is in the log");
    let entry: Value = serde_json::from_str(of_session).unwrap();
    let spans: Vec<&str> = entry["spans"].as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(spans, ["connection", "session"], "{entry}");
    assert!(entry["span"]["id"].as_u64().is_some(), "{entry}");
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    for secret in [
        ADDRESS.to_owned(),
        TOKEN.to_owned(),
        hex(&[0xd5; 32])[..16].to_owned(),
        hex(&device.id.0)[..16].to_owned(),
        hex(&device.key.public())[..16].to_owned(),
        hex(&id[..5]),
    ] {
        assert!(!log.contains(&secret), "{secret} is in the log:\n{log}");
    }
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_crash_point_ends_the_process_where_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path()).env("KSYNC_CRASH_AT", "after_commit_before_reply:1").spawn().unwrap();
    let line = ready(&mut child).await;
    let (_endpoint, _connection, mut wire) = connect(&line, "127.0.0.1:0").await;
    let device = Device::new(1, GroupId([5; 32]));
    device.create(&mut wire, &device.found(), b"").await;
    let status = child.wait().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "SIGABRT");

    // What was durable is there, though nobody was told.
    let relay = sync_relay::Relay::start(sync_relay::RelayConfig::on_loopback(folder.path())).await.unwrap();
    let mut wire = Wire::local(&relay);
    assert_eq!(device.attach(&mut wire, 0).await.epoch, 0);
    relay.shutdown().await;
}
