//! Bare QUIC endpoints on loopback, set up as the relay's and the clients' are: the baseline of everything that travels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayMode, presets};
use iroh::{Endpoint, EndpointAddr};

use crate::Outcome;
use crate::stats::Sorted;

const ALPN: &[u8] = sync_types::ALPN;

/// A peer that says nothing for so long is gone, and how often an endpoint says something: as in a client.
const IDLE: Duration = Duration::from_secs(8);
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// An endpoint of its own on a free loopback port.
pub(crate) async fn endpoint() -> Outcome<Endpoint> {
    let transport =
        QuicTransportConfig::builder().max_idle_timeout(Some(IDLE.try_into()?)).keep_alive_interval(KEEP_ALIVE).build();
    Ok(Endpoint::builder(presets::Empty)
        .transport_config(transport)
        .crypto_provider(sync_relay::crypto_provider())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .bind()
        .await?)
}

/// Where an endpoint of this machine is reached.
pub(crate) fn address(endpoint: &Endpoint) -> EndpointAddr {
    endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr)
}

/// Echoes on every stream of every connection until the endpoint closes.
pub(crate) async fn serve_echo(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 512];
                    while let Ok(Some(count)) = receive.read(&mut buffer).await {
                        if send.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }
}

/// Connects to somebody's echo.
pub(crate) async fn connect(from: &Endpoint, to: EndpointAddr) -> Outcome<Connection> {
    Ok(from.connect(to, ALPN).await?)
}

/// How long 256 bytes take there and back on one stream.
pub(crate) async fn echo(times: usize) -> Outcome<Sorted> {
    let server = endpoint().await?;
    let to = address(&server);
    let serving = tokio::spawn(serve_echo(server.clone()));
    let client = Arc::new(endpoint().await?);
    let connection = connect(&client, to).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut block = [0; 256];
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        send.write_all(&block).await?;
        receive.read_exact(&mut block).await?;
        took.push(began.elapsed());
    }
    client.close().await;
    server.close().await;
    serving.abort();
    Ok(Sorted::new(took))
}

/// How fast one stream carries bytes on this machine, in bytes a second.
pub(crate) async fn throughput(bytes: usize) -> Outcome<f64> {
    let server = endpoint().await?;
    let to = address(&server);
    let sender = server.clone();
    let sending = tokio::spawn(async move {
        let Some(incoming) = sender.accept().await else { return };
        let Ok(connection) = incoming.await else { return };
        let Ok((mut send, _receive)) = connection.accept_bi().await else { return };
        let block = vec![7; 1 << 20];
        for _ in 0..bytes >> 20 {
            if send.write_all(&block).await.is_err() {
                return;
            }
        }
        let _ = send.finish();
        connection.closed().await;
    });
    let client = endpoint().await?;
    let connection = connect(&client, to).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"x").await?;
    let (began, mut got, mut buffer) = (Instant::now(), 0, vec![0; 64 << 10]);
    while let Some(count) = receive.read(&mut buffer).await? {
        got += count;
    }
    let rate = got as f64 / began.elapsed().as_secs_f64();
    client.close().await;
    server.close().await;
    sending.abort();
    Ok(rate)
}
