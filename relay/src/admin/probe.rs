//! One question over HTTP, as a device or a monitor asks it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::PublicUrl;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may be, in bytes.
const MOST: u64 = 1 << 20;

/// The status and the body of what `path` at a URL answers; otherwise why there is no answer.
pub(super) async fn get(url: &PublicUrl, path: &str) -> Result<(u16, String), String> {
    match timeout(PATIENCE, ask(url, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(url: &PublicUrl, path: &str) -> Result<(u16, String), String> {
    let (scheme, authority) = url.origin().split_once("://").ok_or("it is no URL")?;
    let default = if scheme == "https" { 443 } else { 80 };
    let port = authority.strip_prefix(url.host()).and_then(|rest| rest.strip_prefix(':'));
    let port = port.map_or(Some(default), |port| port.parse().ok()).ok_or("it has no port")?;
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(|e| format!("no connection: {e}"))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sync-relay\r\nConnection: close\r\n\r\n");
    if scheme == "https" {
        return talk(secured(stream, host).await?, &request).await;
    }
    talk(stream, &request).await
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Result<(u16, String), String> {
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("the connection broke: {e}"))?;
    let mut answer = Vec::new();
    // Whoever ends without the end that TLS has for it has sent all the same what counts here.
    let read = stream.take(MOST).read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
        Some((status, if chunked { joined(body) } else { body.to_owned() }))
    });
    match (parsed, read) {
        (Some(answer), _) => Ok(answer),
        (None, Err(e)) => Err(format!("the connection broke: {e}")),
        (None, Ok(_)) => Err("what answers there does not speak HTTP".to_owned()),
    }
}

/// A body that came in chunks, as proxies send it.
fn joined(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let Some(chunk) = behind.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        whole.push_str(chunk);
        rest = behind.get(size + 2..).unwrap_or_default();
    }
    whole
}

async fn secured(stream: TcpStream, host: &str) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    use std::sync::Arc;

    use rustls_platform_verifier::BuilderVerifierExt;
    let builder = rustls::ClientConfig::builder_with_provider(crate::crypto_provider());
    let builder = builder.with_safe_default_protocol_versions().and_then(BuilderVerifierExt::with_platform_verifier);
    let config = builder.map_err(|e| format!("no TLS: {e}"))?.with_no_client_auth();
    let name =
        rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|_| "its host is no name".to_owned())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .map_err(|e| format!("its certificate does not hold, or it speaks no TLS: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(joined("4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\n\r\n"), "abcdefg");
        assert_eq!(joined("ff\r\nshort"), "");
    }

    #[tokio::test]
    async fn what_does_not_answer_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |scheme: &str, port: u16| PublicUrl::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            for answer in ["HTTP/1.1 503 No\r\n\r\nbusy", "SSH-2.0\r\n", ""] {
                let (mut stream, _) = listener.accept().await.unwrap();
                // All of it, or the answer would go with a connection that is reset.
                let asked = stream.read(&mut [0; 16_384]).await.unwrap();
                assert!(asked > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(get(&url("http", port), "/ready").await, Ok((503, "busy".to_owned())));
        assert!(get(&url("http", port), "/").await.unwrap_err().contains("HTTP"));
        assert!(get(&url("https", port), "/").await.is_err());
        serving.await.unwrap();
        assert!(get(&url("http", port), "/").await.unwrap_err().contains("no connection"));
    }
}
