//! The program `sync-relay`: its ready line, its errors, and its end.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"]).arg(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn ready(child: &mut Child) -> Value {
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

fn terminate(child: &Child) {
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

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_crash_point_ends_the_process_where_it_says() {
    use crate::device::{Device, Wire};
    use sync_relay::{EXPORTER_LABEL, crypto_provider};
    use sync_types::{ALPN, GroupId};

    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path()).env("KSYNC_CRASH_AT", "after_commit_before_reply:1").spawn().unwrap();
    let line = ready(&mut child).await;
    let address = line["address"].as_str().unwrap().parse().unwrap();
    let sync_types::RelayAddress::Pinned { endpoint, hosts, .. } = address else { panic!("{address:?}") };
    let device_endpoint = iroh::Endpoint::builder(iroh::endpoint::presets::Empty)
        .crypto_provider(crypto_provider())
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .bind()
        .await
        .unwrap();
    let id = iroh::EndpointId::from_bytes(&endpoint).unwrap();
    let to = iroh::EndpointAddr::new(id).with_ip_addr(hosts[0].parse().unwrap());
    let connection = device_endpoint.connect(to, ALPN).await.unwrap();
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
    let (writer, reader) = connection.open_bi().await.unwrap();
    let mut wire = Wire::new(Box::new(reader), Box::new(writer), exporter);
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
