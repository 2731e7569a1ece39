//! Local push services, and a world with its own time and names.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{HeaderMap, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The name that the local servers' certificates are for.
pub(super) const NAME: &str = "push.example.org";
pub(super) const START: u64 = 1_800_000_000;

pub(super) static RSA: LazyLock<RsaKey> = LazyLock::new(|| RsaKey::generate(KeySize::Rsa2048).unwrap());

/// A folder for settings, a clock that stands still and names of one's own.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) now: Arc<AtomicU64>,
    pub(super) names: Arc<Names>,
    pub(super) limit: Duration,
    issuer: Issuer<'static, KeyPair>,
}

/// Answers for each name in their order; the last one stays.
#[derive(Default)]
pub(super) struct Names {
    pub(super) answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    pub(super) asked: AtomicUsize,
}

impl Names {
    pub(super) fn set(&self, name: &str, answers: &[&[IpAddr]]) {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }
}

impl Lookup for Names {
    fn lookup(&self, host: &str) -> Looking {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let found = answers.get_mut(host).and_then(|answers| match answers.len() {
            1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let names = Arc::<Names>::default();
        names.set(NAME, &[&[LOOPBACK]]);
        let now = Arc::new(AtomicU64::new(START * 1000));
        Self { folder, now, names, limit: Duration::from_secs(10), issuer: Issuer::new(params, key) }
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub(super) fn settings(&self, text: &str) -> Result<Settings, SettingsError> {
        self.write("push.toml", text);
        Settings::read(&self.folder.path().join("push.toml"))
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        let now = self.now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let around = Surroundings::new(clock, provider);
        Surroundings { lookup: self.names.clone(), limit: self.limit, ..around }
    }

    /// A sender that trusts the local servers' authority and may go to `allow`.
    pub(super) fn sender(&self, allow: &str, more: &str) -> Sender {
        let settings = self.settings(&format!("roots = \"ca.pem\"\nallow = [{allow}]\n{more}")).unwrap();
        Sender::new(settings, vapid(), self.surroundings()).unwrap()
    }

    /// A server with TLS that offers `protocols`, or without TLS if there are none.
    pub(super) async fn serve(
        &self,
        protocols: &[&str],
        handler: impl Fn(Seen) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = (!protocols.is_empty()).then(|| self.acceptor(protocols));
        let (connections, handler) = (Arc::new(AtomicUsize::new(0)), Arc::new(handler));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let (tls, handler) = (tls.clone(), handler.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| answer(request, handler.clone()));
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client may turn away at any time.
                    match tls {
                        Some(tls) => {
                            let Ok(socket) = tls.accept(socket).await else { return };
                            let _ = server.serve_connection(TokioIo::new(socket), service).await;
                        }
                        None => drop(server.serve_connection(TokioIo::new(socket), service).await),
                    }
                });
            }
        });
        Server { port, connections }
    }

    fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([NAME.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn endpoint(&self, path: &str) -> String {
        format!("https://{NAME}:{}{path}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A request as it came.
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Said,
}

#[derive(Clone)]
pub(super) enum Said {
    Text(String),
    /// Bytes without an end, and how many were taken.
    Endless(Arc<AtomicUsize>),
    /// A byte, and then nothing more.
    Stuck,
    /// Not even a status.
    Nothing,
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Said::Text(String::new()) }
    }
}

pub(super) fn json(status: u16, body: Value) -> Answer {
    Answer { body: Said::Text(body.to_string()), ..status.into() }
}

struct Sending(Said, usize);

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let before = self.1;
        self.1 += 1;
        let frame = |bytes: Bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match &self.0 {
            Said::Text(text) if before == 0 && !text.is_empty() => frame(Bytes::from(text.clone())),
            Said::Text(_) => Poll::Ready(None),
            Said::Endless(taken) => {
                taken.fetch_add(4096, Ordering::Relaxed);
                frame(Bytes::from_static(&[b'x'; 4096]))
            }
            Said::Stuck if before == 0 => frame(Bytes::from_static(b"x")),
            Said::Stuck | Said::Nothing => Poll::Pending,
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    handler: Arc<impl Fn(Seen) -> Answer>,
) -> Result<hyper::Response<Sending>, Infallible> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await;
    let body = body.map(|body| body.to_vec()).unwrap_or_default();
    let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
    let answer = handler(Seen { method, path, version: head.version, headers: head.headers, body });
    if matches!(answer.body, Said::Nothing) {
        std::future::pending::<()>().await;
    }
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Sending(answer.body, 0)).unwrap())
}

/// Header and claims of a token whose signature `verify` accepts.
pub(super) fn token(token: &str, verify: impl Fn(&[u8], &[u8]) -> bool) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap();
    assert!(verify(signed.as_bytes(), &bytes(signature)), "the signature is wrong");
    let json = |part: &str| serde_json::from_slice(&bytes(part)).unwrap();
    (json(header), json(claims))
}

pub(super) fn es256(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}

pub(super) fn pem(kind: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

pub(super) fn rsa_pem() -> String {
    pem("PRIVATE KEY", AsDer::<Pkcs8V1Der<'_>>::as_der(&*RSA).unwrap().as_ref())
}

/// What a handler has seen, in its order.
pub(super) type Log<T> = Arc<Mutex<Vec<T>>>;
