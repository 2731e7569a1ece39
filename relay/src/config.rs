//! What a host decides about a relay.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use sync_types::Code;

use crate::session::Rates;
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
    /// Where to answer HTTP; port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// Who may make groups.
    pub access: Access,
    /// Where devices reach this relay's HTTP, if that is not the address it listens on: `https://host[:port]`. Its host
    /// stands in the relay's QUIC address too.
    pub public_url: Option<PublicUrl>,
    /// The endpoint key, if it does not come from the data folder.
    pub identity: Option<Identity>,
    /// What one device, one address or one group may use.
    pub limits: ServerLimits,
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
            listen: Some(any),
            http: Some(any),
            access: Access::Open,
            public_url: None,
            identity: None,
            limits: ServerLimits::default(),
            quotas: crate::mailbox::Limits::default(),
            forward: sync_sqlite::Forward::default(),
        }
    }

    /// A relay without sockets and without a disk, for tests and for a device that hosts only for itself.
    pub fn in_memory() -> Self {
        Self {
            data: None,
            store: StoreConfig::Memory,
            listen: None,
            http: None,
            access: Access::Open,
            public_url: None,
            identity: None,
            limits: ServerLimits::default(),
            quotas: crate::mailbox::Limits::default(),
            forward: sync_sqlite::Forward::default(),
        }
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

    /// Whether this token lets a group be made, by somebody `within` the relay's process or beyond it. Takes as long for a
    /// wrong token as for a right one.
    pub fn permits(&self, token: &[u8], within: bool) -> bool {
        match self {
            Self::Open => true,
            Self::Tokens(tokens) => tokens.contains(token),
            Self::Own => within,
        }
    }

    /// What `/.well-known/0ksync` calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Tokens(_) => "token",
            Self::Own => "own",
        }
    }
}

/// Access tokens, held as SHA-256 hashes.
#[derive(Clone)]
pub struct Tokens(Vec<[u8; 32]>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads a file with one token a line: in the clear, or as `sha256:` and 64 hexadecimal digits so that the file holds
    /// no secret. Empty lines and lines that begin with `#` do not count.
    fn read(path: &Path) -> Result<Self, StartError> {
        let text = std::fs::read_to_string(path).map_err(|e| StartError::io("read", path, &e))?;
        let tokens = Self::parse(&text).ok_or_else(|| {
            StartError::new(
                Code::InvalidArgument,
                format!("{}: behind sha256: stand 64 hexadecimal digits in lower case", path.display()),
            )
        })?;
        if tokens.0.is_empty() {
            return Err(StartError::new(Code::InvalidArgument, format!("{} holds no token", path.display())));
        }
        Ok(tokens)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let hash = |line: &str| match line.strip_prefix("sha256:") {
            Some(hex) => HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok(),
            None => Some(Sha256::digest(line).into()),
        };
        lines.map(hash).collect::<Option<Vec<_>>>().map(Self)
    }

    fn contains(&self, token: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(token).into();
        // Every line is compared, so that the time tells neither whether nor where one matched.
        let found = self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash));
        found.into()
    }
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
            opens_per_second: 20,
            opens_burst: 200,
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
    fn tokens_are_taken_in_the_clear_and_hashed() {
        let hashed = HEXLOWER.encode(&Sha256::digest("second"));
        let tokens = Tokens::parse(&format!("# who\n\n first \nsha256:{hashed}\n")).unwrap();
        assert!(tokens.contains(b"first") && tokens.contains(b"second"));
        assert!(!tokens.contains(b"") && !tokens.contains(b"# who") && !tokens.contains(hashed.as_bytes()));
        assert!(Tokens::parse("sha256:abc").is_none());
        assert_eq!(format!("{tokens:?}"), "2 tokens");
    }

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
        let permits = |token: &[u8]| access.permits(token, false);
        assert!(permits(b"s3cret") && !permits(b"") && !permits(b"s3cre"));
        assert!(!access.permits(b"", true), "a token is a token, wherever its bearer is");
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
