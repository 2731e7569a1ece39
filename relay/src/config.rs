//! What a host decides about a relay.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::Builder;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use sync_types::Code;

use crate::content::ContentConfig;
use crate::session::Rates;
use crate::tokens::{Grant, TokenHash, Tokens};
use crate::{Identity, StartError};

/// Everything that [`crate::Relay::start`] has to know.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The folder with the identity and, unless said otherwise, the store. One process at a time uses it. `None` keeps
    /// nothing on disk but what [`StoreConfig`] names.
    pub data: Option<PathBuf>,
    /// Where the mailboxes are kept.
    pub store: StoreConfig,
    /// Where to listen for QUIC; port 0 takes a free one. `None` serves [`crate::RunningRelay::connect_local`] alone.
    pub listen: Option<SocketAddr>,
    /// How the QUIC endpoint is found by who does not know where it is. By default it is not.
    pub discoverable: Option<Discoverable>,
    /// Where to answer HTTP; port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// Who may make groups.
    pub access: Access,
    /// Where devices reach this relay's HTTP, if that is not the address it listens on: `https://host[:port]`. Its host
    /// stands in the relay's QUIC address too.
    pub public_url: Option<PublicUrl>,
    /// The header in which the proxy in front of HTTP says whom a request comes from, such as `x-forwarded-for`; its last
    /// address counts. `None`: nobody is in front, or all who come by it count as one address.
    #[cfg(feature = "http")]
    pub proxy_header: Option<axum::http::HeaderName>,
    /// TLS of the HTTP listener itself; `None` where a proxy in front has it, or nobody needs it.
    #[cfg(feature = "http")]
    pub tls: Option<Tls>,
    /// What is there for the host alone.
    #[cfg(feature = "http")]
    pub host: HostConfig,
    /// Whether devices that sleep are woken.
    #[cfg(feature = "http")]
    pub wake: Waking,
    /// The endpoint key, if it does not come from the data folder.
    pub identity: Option<Identity>,
    /// What one device, one address or one group may use.
    pub limits: ServerLimits,
    /// Where large content lies; `None`: none is taken.
    pub content: Option<ContentConfig>,
    /// What one group may hold.
    pub quotas: crate::mailbox::Limits,
    /// How far the relay's time is ahead of the system's clock; for tests.
    pub forward: sync_sqlite::Forward,
}

impl RelayConfig {
    /// A relay on SQLite in `folder` that listens on free loopback ports.
    pub fn on_loopback(folder: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data: Some(folder.to_owned()),
            store: StoreConfig::Sqlite { path: folder.join(StoreConfig::FILE), max_bytes: None },
            content: Some(ContentConfig::within(folder)),
            listen: Some(any),
            http: Some(any),
            ..Self::in_memory()
        }
    }

    /// A relay without sockets and without a disk, for tests and for a device that hosts only for itself.
    pub fn in_memory() -> Self {
        Self {
            data: None,
            store: StoreConfig::Memory,
            content: None,
            listen: None,
            discoverable: None,
            http: None,
            access: Access::Open,
            public_url: None,
            #[cfg(feature = "http")]
            proxy_header: None,
            #[cfg(feature = "http")]
            tls: None,
            #[cfg(feature = "http")]
            host: HostConfig::default(),
            #[cfg(feature = "http")]
            wake: Waking::Off,
            identity: None,
            limits: ServerLimits::default(),
            quotas: crate::mailbox::Limits::default(),
            forward: sync_sqlite::Forward::default(),
        }
    }
}

/// What makes an endpoint be found by its key.
#[derive(Clone)]
pub struct Discoverable(Arc<dyn Fn(Builder) -> Builder + Send + Sync>);

impl Discoverable {
    /// Does this to iroh's builder, last of all.
    pub fn by(change: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    pub(crate) fn apply(&self, builder: Builder) -> Builder {
        (self.0)(builder)
    }
}

impl std::fmt::Debug for Discoverable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discoverable")
    }
}

/// Where the HTTP listener's certificate comes from.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub enum Tls {
    /// PEM files, which are read again when they change.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// It is asked for, and renewed, at a certification authority.
    Acme(Acme),
}

/// How to ask for a certificate (RFC 8555). The authority looks for proof at port 443 of each name, so that has to lead to the HTTP
/// listener.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub struct Acme {
    /// The names that the certificate is for; the first is this relay's in its URL.
    pub domains: Vec<String>,
    /// Whom the authority writes to, as mail addresses.
    pub contact: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// Root certificates for an authority of one's own, in PEM; `None`: those that the system trusts.
    pub roots: Option<PathBuf>,
    /// Where the account's key and the certificate are kept.
    pub cache: PathBuf,
}

#[cfg(feature = "http")]
impl Acme {
    /// Let's Encrypt.
    pub const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
}

/// Whether devices that sleep are woken by a push when something comes for them.
#[cfg(feature = "http")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waking {
    /// They are not.
    Off,
    /// They are: by Web Push, and by Apple's and Google's services for the apps in the settings.
    On {
        /// A TOML file with apps' credentials and what pushes may reach; see docs/hosting.md.
        settings: Option<PathBuf>,
    },
}

#[cfg(feature = "http")]
impl Waking {
    /// Reads `on`, `off`, or the name of a file with settings.
    pub fn parse(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            "on" => Self::On { settings: None },
            path => Self::On { settings: Some(PathBuf::from(path)) },
        }
    }
}

/// What is there for a relay's host alone.
#[cfg(feature = "http")]
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// Whether a socket in the data folder takes the host's orders ([`crate::admin`]).
    pub orders: bool,
    /// Where `/metrics` answers, to whoever comes there, if not among the rest of HTTP; port 0 takes a free one.
    pub metrics: Option<SocketAddr>,
    /// Who sees `/` and, among the rest of HTTP, `/metrics`. Without it, whoever comes from this machine and not through a
    /// proxy.
    pub token: Option<HostToken>,
}

/// What a host shows to see the status page: the SHA-256 of it.
#[cfg(feature = "http")]
#[derive(Clone)]
pub struct HostToken([u8; 32]);

#[cfg(feature = "http")]
impl std::fmt::Debug for HostToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostToken(…)")
    }
}

#[cfg(feature = "http")]
impl HostToken {
    /// The shortest token, in characters: nobody counts tries.
    const SHORTEST: usize = 20;

    /// Reads a file that holds the token and nothing else but white space around it.
    ///
    /// # Errors
    /// `IO`, or `INVALID_ARGUMENT` for a token that is too short.
    pub fn read(file: &Path) -> Result<Self, StartError> {
        let text = std::fs::read_to_string(file).map_err(|e| StartError::io("read", file, &e))?;
        let token = text.trim();
        if token.len() < Self::SHORTEST || token.contains(char::is_whitespace) {
            let message = format!("{} has to hold one token of {} characters or more", file.display(), Self::SHORTEST);
            return Err(StartError::new(Code::InvalidArgument, message));
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// Whether somebody shows it. Takes as long for a wrong token as for a right one.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.ct_eq(&shown).into()
    }
}

/// Where mailboxes are kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In memory; gone with the process.
    Memory,
    /// In one SQLite database.
    Sqlite {
        /// The database's file.
        path: PathBuf,
        /// How large the database may grow, in bytes. Beyond, pushes are refused as on a full disk. `None`: as large as
        /// the disk allows.
        max_bytes: Option<u64>,
    },
    /// In a PostgreSQL database that several relays may share. All have the same identity, so that devices find their mailbox
    /// at any of them.
    #[cfg(feature = "postgres")]
    Postgres {
        /// Where it is.
        url: PostgresUrl,
    },
}

/// A `postgres://` URL, which may hold a password.
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct PostgresUrl(String);

#[cfg(feature = "postgres")]
impl PostgresUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "postgres")]
impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a PostgreSQL URL")
    }
}

impl StoreConfig {
    /// The database's name in the data folder.
    pub const FILE: &str = "relay.db";

    /// Reads `sqlite:PATH`, `postgres://…` or `postgresql://…`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, without a word of what was read: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, StartError> {
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Self::postgres(text);
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite { path: PathBuf::from(path), max_bytes: None }),
            _ => Err(StartError::new(Code::InvalidArgument, "a store is sqlite:PATH or postgres://USER@HOST/DATABASE")),
        }
    }

    #[cfg(feature = "postgres")]
    #[expect(clippy::unnecessary_wraps, reason = "a build without PostgreSQL fails here")]
    fn postgres(text: &str) -> Result<Self, StartError> {
        Ok(Self::Postgres { url: PostgresUrl(text.to_owned()) })
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: &str) -> Result<Self, StartError> {
        let message =
            "this relay was built without PostgreSQL: build it with `--features postgres`, or keep to sqlite:PATH";
        Err(StartError::new(Code::InvalidArgument, message))
    }
}

/// Who may make groups here. Members of groups that exist are never cut off by it.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody who reaches the relay.
    Open,
    /// Who shows one of these tokens.
    Tokens(Tokens),
    /// The process that the relay runs in, by [`crate::RunningRelay::connect_local`], and nobody else. Pairings are opened
    /// here by that process and by endpoints that have a member attached; whoever has the link may join one.
    Own,
}

impl Access {
    /// Reads `open` or `token:FILE`, and the file.
    pub fn parse(text: &str) -> Result<Self, StartError> {
        match (text, text.strip_prefix("token:")) {
            ("open", _) => Ok(Self::Open),
            (_, Some(path)) if !path.is_empty() => Ok(Self::Tokens(Tokens::read(Path::new(path))?)),
            _ => Err(StartError::new(Code::InvalidArgument, "access is 'open' or 'token:FILE'")),
        }
    }

    /// Whether this token lets a group be made now, by somebody `within` the relay's process or beyond it; `None` if not.
    /// Takes as long for a wrong token as for a right one.
    pub fn admits(&self, token: &[u8], within: bool, now_ms: u64) -> Option<Admitted> {
        match self {
            Self::Open => Some(Admitted::Freely),
            Self::Tokens(tokens) => tokens.grant(token, now_ms).map(Admitted::By),
            Self::Own => within.then_some(Admitted::Freely),
        }
    }

    /// How many bytes the groups may hold together that were made with this token; `None` if that is bounded by nothing.
    pub(crate) fn most_bytes(&self, token: &TokenHash) -> Option<u64> {
        match self {
            Self::Tokens(tokens) => tokens.most_bytes(token),
            Self::Open | Self::Own => None,
        }
    }

    /// Whether it has to be known what was made with each token.
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self, Self::Tokens(tokens) if tokens.are_counted())
    }

    /// What `/.well-known/0ksync` calls it.
    #[cfg(feature = "http")]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Tokens(_) => "token",
            Self::Own => "own",
        }
    }
}

/// By what somebody may make a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Nothing is wanted.
    Freely,
    /// An access token.
    By(Grant),
}

/// Where devices reach the relay's HTTP from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    host: String,
}

impl PublicUrl {
    /// Reads `https://host[:port]` or, for a network of one's own, `http://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, StartError> {
        let invalid = || StartError::new(Code::InvalidArgument, "a public URL is https://host or https://host:port");
        let origin = text.trim_end_matches('/');
        let authority =
            origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).ok_or_else(invalid)?;
        // An IPv6 address stands in brackets and has colons of its own.
        let split = authority.rfind(':').filter(|colon| authority.rfind(']').is_none_or(|bracket| bracket < *colon));
        let (host, port) = match split {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        };
        let port_holds = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ', ',']) || !port_holds {
            return Err(invalid());
        }
        Ok(Self { origin: origin.to_owned(), host: host.to_owned() })
    }

    /// The URL without a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host's name or address, an IPv6 one in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// What a connection may use, whatever group it is for.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections in all. One that idles costs about 105 KiB.
    pub connections: usize,
    /// Connections from one IP address.
    pub connections_per_ip: usize,
    /// Connections of one endpoint.
    pub connections_per_endpoint: usize,
    /// Streams that one connection may have open: one session, and one for each pairing.
    pub streams_per_connection: u32,
    /// How many streams one endpoint may open in a second, on average.
    pub opens_per_second: u32,
    /// How many streams one endpoint may open at once after a quiet time.
    pub opens_burst: u32,
    /// How much one stream may carry.
    pub rates: Rates,
    /// How many pairings are open or remembered at once.
    pub pairings: usize,
    /// How long a connection may take for its handshake, and a stream for its first frame.
    pub first_frame: Duration,
    /// How long the other side may take nothing of what is sent before the stream is given up.
    pub write_timeout: Duration,
    /// How many requests wait for the store, over all sessions, before reading from devices pauses.
    pub queue: usize,
    /// How many groups are kept in memory.
    pub groups_cached: usize,
    /// Over what time the connected are told to come back when the relay stops.
    pub drain_spread: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 2_048,
            connections_per_endpoint: 16,
            streams_per_connection: 8,
            // A device that gives many small files opens a stream or two for each.
            opens_per_second: 200,
            opens_burst: 400,
            rates: Rates::default(),
            pairings: 10_000,
            first_frame: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            queue: 4_096,
            groups_cached: 4_096,
            drain_spread: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_absent_token_file_does_not_open_the_relay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let access = format!("token:{}", path.display());
        assert_eq!(Access::parse(&access).unwrap_err().code, Code::Io);
        std::fs::write(&path, "# none yet\n").unwrap();
        assert_eq!(Access::parse(&access).unwrap_err().code, Code::InvalidArgument);
        std::fs::write(&path, "s3cret\n").unwrap();
        let access = Access::parse(&access).unwrap();
        let permits = |token: &[u8]| access.admits(token, false, 1).is_some();
        assert!(permits(b"s3cret") && !permits(b"") && !permits(b"s3cre"));
        assert!(access.admits(b"", true, 1).is_none(), "a token is a token, wherever its bearer is");
        assert!(!format!("{access:?}").contains("s3cret"));
        assert!(Access::parse("opened").is_err() && Access::parse("token:").is_err());
    }

    #[test]
    fn a_database_is_named_by_its_url_and_its_password_by_nothing() {
        assert!(matches!(StoreConfig::parse("sqlite:x.db"), Ok(StoreConfig::Sqlite { .. })));
        for url in ["postgres://relay:s3cret@db/ksync", "postgresql://relay:s3cret@db/ksync"] {
            let parsed = StoreConfig::parse(url);
            if cfg!(feature = "postgres") {
                assert!(!format!("{:?}", parsed.unwrap()).contains("s3cret"));
            } else {
                let error = parsed.unwrap_err();
                assert_eq!(error.code, Code::InvalidArgument);
                assert!(error.message.contains("--features postgres") && !error.message.contains("s3cret"));
            }
        }
        for text in ["", "sqlite:", "mysql:x", "postgres:s3cret"] {
            let error = StoreConfig::parse(text).unwrap_err();
            assert!(error.code == Code::InvalidArgument && !error.message.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn public_urls_give_their_host() {
        for (text, host) in [
            ("https://sync.example.org/", "sync.example.org"),
            ("https://sync.example.org:8443", "sync.example.org"),
            ("http://10.0.0.2:80", "10.0.0.2"),
            ("https://[2001:db8::1]", "[2001:db8::1]"),
            ("https://[2001:db8::1]:443", "[2001:db8::1]"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().host(), host, "{text}");
        }
        for text in
            ["", "sync.example.org", "https://", "https://a/b", "https://a:0", "https://a:b", "ftp://a", "https://u@a"]
        {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }
}
