//! A certificate by ACME, from a certification authority of the test's own: Pebble, with a name server of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sync_relay::{Acme, Relay, RelayConfig, Tls, crypto_provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAME: &str = "relay.test";

/// Nothing here takes so long.
const LONG: Duration = Duration::from_secs(60);

/// Programs that end with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program, and waits until it prints this.
fn start(program: &str, arguments: &[&str], ready: &str) -> Running {
    let mut command = Command::new(program);
    // It may look at once whether the name is ours: nobody else is asked to believe it.
    command
        .args(arguments)
        .env("PEBBLE_VA_NOSLEEP", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap_or_else(|e| panic!("'{program}' of Debian's package `pebble`: {e}"));
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains(ready)), "{program} has ended");
    // A pipe that nobody reads would stop it in the end.
    std::thread::spawn(move || lines.for_each(drop));
    running
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The authority, and what answers it when it asks for names: all are this machine.
struct Authority {
    api: SocketAddr,
    management: SocketAddr,
    /// Whom its own API is to be believed by.
    root: PathBuf,
    _programs: [Running; 2],
}

impl Authority {
    /// `relay_port`: where it looks whether the name leads to whoever asks.
    fn start(folder: &Path, relay_port: u16) -> Self {
        let [api, management] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let [names, naming] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let root = folder.join("api.pem");
        std::fs::write(&root, made.cert.pem()).unwrap();
        std::fs::write(folder.join("api.key"), made.signing_key.serialize_pem()).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": api, "managementListenAddress": management,
            "certificate": root, "privateKey": folder.join("api.key"),
            "httpPort": relay_port, "tlsPort": relay_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        std::fs::write(folder.join("pebble.json"), config.to_string()).unwrap();
        let of_names = ["-dns01", &names, "-management", &naming, "-http01", "", "-https01", "", "-tlsalpn01", ""];
        let of_names = [&of_names[..], &["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]].concat();
        let answering = start("pebble-challtestsrv", &of_names, "Starting challenge servers");
        let path = folder.join("pebble.json");
        let arguments = ["-config", path.to_str().unwrap(), "-dnsserver", &names];
        let pebble = start("pebble", &arguments, "ACME directory available at");
        Self { api, management, root, _programs: [answering, pebble] }
    }

    /// The root of the certificates that it gives.
    async fn issued_by(&self) -> RootCertStore {
        let own = roots(&std::fs::read(&self.root).unwrap());
        roots(get(self.management, "127.0.0.1", &own, "/roots/0").await.unwrap().1.as_bytes())
    }
}

fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    roots
}

/// Asks for a page over TLS. Gives the certificate that was shown and the body.
async fn get(
    address: SocketAddr,
    name: &'static str,
    roots: &RootCertStore,
    path: &str,
) -> std::io::Result<(CertificateDer<'static>, String)> {
    let config = ClientConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    // Not everybody says that the stream is over.
    if let Err(error) = stream.read_to_string(&mut answer).await {
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok((shown, body.to_owned()))
}

/// The certificate that the relay shows, once it has one that the authority gave.
async fn certified(relay: SocketAddr, roots: &RootCertStore) -> CertificateDer<'static> {
    let asked = async {
        loop {
            if let Ok((shown, _)) = get(relay, NAME, roots, "/health").await {
                return shown;
            }
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("the relay has no certificate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_got_by_acme_and_outlives_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let authority = Authority::start(folder.path(), http.port());
    let data = folder.path().join("relay");
    std::fs::create_dir(&data).unwrap();
    let acme = Acme {
        domains: vec![NAME.to_owned()],
        contact: vec!["host@relay.test".to_owned()],
        directory: format!("https://{}/dir", authority.api),
        roots: Some(authority.root.clone()),
        cache: data.join("acme"),
    };
    let config = RelayConfig { http: Some(http), tls: Some(Tls::Acme(acme)), ..RelayConfig::on_loopback(&data) };
    let relay = Relay::start(config.clone()).await.unwrap();
    let roots = authority.issued_by().await;
    let shown = certified(http, &roots).await;
    let mode = std::fs::metadata(data.join("acme")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the keys lie there");
    relay.shutdown().await;

    drop(authority);
    let relay = Relay::start(config).await.unwrap();
    assert_eq!(certified(http, &roots).await, shown, "nobody had to be asked again");
    relay.shutdown().await;
}
