//! What an idle device costs the relay, beside what its connection costs a bare server.

use std::path::Path;
use std::time::Duration;

use iroh::EndpointAddr;
use sync_client::{ClientEvent, SyncClient};

use crate::process::{Process, RelayProcess};
use crate::report::{Aim, Report};
use crate::{Outcome, devices, quic};

const PART: &str = "5. memory of a server with 1,000 idle devices, each an endpoint of its own";
const PROCESSES: usize = 4;
const EACH: usize = 250;
/// How long after the last came, so that what the handshakes took is given back.
const REST: Duration = Duration::from_secs(5);

pub(crate) async fn run(relay: &Path, folder: &Path, report: &mut Report) -> Outcome<()> {
    let mut server = Process::helper(&["bare-server"])?;
    let line = server.line().await?;
    let (key, socket) = line.split_once(' ').ok_or("the bare server said no address")?;
    let each = EACH.to_string();
    let bare = measure(&server, &["bare-clients", key, socket, &each], |_| Vec::new()).await?;
    server.stop().await?;
    let words = "a QUIC connection with one open stream, nothing behind it".to_owned();
    report.bound(PART, "bare iroh server", bare, "KiB/device", words);

    let relay = RelayProcess::start(relay, &folder.join("relay")).await?;
    let homes = |n: usize| vec![folder.join(format!("devices-{n}")).to_string_lossy().into_owned()];
    let attached = measure(&relay.process, &["devices", &relay.address, &each], homes).await?;
    relay.process.stop().await?;
    let beside = format!("attached, each in a group of its own; {:.0} KiB more than the bare server", attached - bare);
    report.figure(PART, "relay", (attached, "KiB/device"), Aim::AtMost(2.0 * bare), beside);
    Ok(())
}

/// How many KiB of the server's memory each device takes.
async fn measure(server: &Process, role: &[&str], more: impl Fn(usize) -> Vec<String>) -> Outcome<f64> {
    let before = server.memory()?;
    let mut helpers = Vec::new();
    for n in 0..PROCESSES {
        let more = more(n);
        let arguments: Vec<&str> = role.iter().copied().chain(more.iter().map(String::as_str)).collect();
        helpers.push(Process::helper(&arguments)?);
    }
    for helper in &mut helpers {
        helper.line().await?;
    }
    tokio::time::sleep(REST).await;
    let after = server.memory()?;
    for helper in helpers {
        helper.stop().await?;
    }
    Ok(after.saturating_sub(before) as f64 / 1024.0 / (PROCESSES * EACH) as f64)
}

/// A server that only echoes.
pub(crate) async fn bare_server() -> Outcome<()> {
    let endpoint = quic::endpoint().await?;
    let socket = endpoint.bound_sockets().first().copied().ok_or("no socket")?;
    println!("{} {socket}", endpoint.id());
    quic::serve_echo(endpoint).await;
    Ok(())
}

/// Many connections to it, each of an endpoint of its own and with one stream in use.
pub(crate) async fn bare_clients(key: &str, socket: &str, count: usize) -> Outcome<()> {
    let to = EndpointAddr::new(key.parse()?).with_ip_addr(socket.parse()?);
    let mut kept = Vec::new();
    for _ in 0..count {
        let endpoint = quic::endpoint().await?;
        let connection = quic::connect(&endpoint, to.clone()).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        let mut block = [0; 1];
        send.write_all(&block).await?;
        receive.read_exact(&mut block).await?;
        kept.push((endpoint, connection, send, receive));
    }
    println!("ready");
    std::future::pending().await
}

/// Many devices, each attached to the relay in a group of its own.
pub(crate) async fn attached_devices(relay: &str, count: usize, folder: &Path) -> Outcome<()> {
    let mut kept = Vec::new();
    for n in 0..count {
        let client = SyncClient::new(devices::config(folder, &format!("device-{n}"), relay)?).await?;
        let mut events = client.events();
        client.ensure_group().await?;
        let online = async { while !matches!(events.next().await, Some(ClientEvent::Connected) | None) {} };
        tokio::time::timeout(devices::PATIENCE, online).await?;
        kept.push(client);
    }
    println!("ready");
    std::future::pending().await
}
