//! Devices that come by WebSockets, as the relay sees them.

use std::time::{Duration, Instant};

use sync_relay::{Relay, RelayConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

/// Opens a WebSocket and says no more on it.
async fn silent(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /relay HTTP/1.1\r\nHost: relay\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Protocol: iroh-relay-v1, iroh-relay-v2\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_websocket_and_says_nothing_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RelayConfig::on_loopback(folder.path());
    config.limits.first_frame = Duration::from_millis(200);
    let relay = Relay::start(config).await.unwrap();
    let began = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(silent(relay.http_addr().unwrap()).await);
    }
    for mut stream in streams {
        let mut rest = Vec::new();
        // What the relay asked for its proof, and then the end.
        let end = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("an end");
        assert!(end.is_ok_and(|bytes| bytes > 0));
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "nobody is cut off at once");
    relay.shutdown().await;
}
