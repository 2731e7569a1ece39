//! The arguments of `sync-relay`. Those of `serve` are also taken from the environment and from a file.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use sync_relay::{
    Access, Acme, ContentConfig, HostConfig, HostToken, Identity, PublicUrl, RelayConfig, ServerLimits, StartError,
    StoreConfig, Tls, Waking,
};
use sync_types::Code;

use self::logging::LogFormat;

pub(crate) mod admin;
pub(crate) mod logging;
mod settings;

/// The 0k-Sync relay: holds what devices send each other until all have it, and can read none of it.
#[derive(Parser)]
#[command(name = "sync-relay", version, about)]
#[command(
    after_help = "KSYNC_RELAY_SECRET (64 hexadecimal digits) gives the relay's key instead of identity.key in the data folder.\n\
                  KSYNC_RELAY_LOG says how much is logged: error, warn, info, debug, trace, or directives as in sync_relay=debug,iroh=info."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the relay until SIGTERM or SIGINT. Prints one line of JSON on stdout once it is ready; logs go to stderr.
    ///
    /// Each setting may stand behind its flag, in its variable, or in a file (--config), under the flag's name without
    /// dashes before it. A flag wins over the environment, and that over the file.
    Serve(Box<Serve>),
    /// Looks at a relay's settings and data, backs them up, manages access tokens, deletes groups. Works on what `serve`
    /// would work on: give the same --config, or have the same variables
    Admin(admin::Admin),
}

#[derive(Args)]
pub(crate) struct Serve {
    /// A file with settings, in TOML. Paths in it are relative to its folder
    #[arg(long, env = settings::CONFIG, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder with the relay's identity and, unless --store says otherwise, its database. Back it up as a whole.
    /// Has to be said, here, in its variable or in the file
    #[arg(long, env = "KSYNC_RELAY_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where devices connect, over QUIC (UDP). Port 0 takes a free one.
    /// `off` takes devices over HTTPS alone, where a platform forwards nothing else
    #[arg(long, env = "KSYNC_RELAY_LISTEN", value_name = "IP:PORT|off", default_value = "127.0.0.1:4433", value_parser = listen)]
    listen: Listen,
    /// Where /health, /ready and /.well-known/0ksync answer, and to the host / and /metrics. Port 0 takes a free one, and the
    /// word $PORT the one that the variable PORT names, as platforms say it
    #[arg(long, env = "KSYNC_RELAY_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:4480", value_parser = http)]
    http: SocketAddr,
    /// The database: sqlite:PATH, or postgres://USER@HOST/DATABASE for several relays with one identity [default: relay.db in
    /// the data folder]
    #[arg(long, env = "KSYNC_RELAY_STORE", value_name = "URL")]
    store: Option<String>,
    /// Who may make groups: open, or token:FILE with one token (or sha256:HEX of one) a line. Has to be said to listen
    /// beyond loopback [default: open]
    #[arg(long, env = "KSYNC_RELAY_ACCESS", value_name = "open|token:FILE")]
    access: Option<String>,
    /// Where devices reach this relay's HTTP if that is not where it listens: behind a proxy, in a container. Its host
    /// stands in the address that devices pin
    #[arg(long, env = "KSYNC_RELAY_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// The certificate with which HTTP is HTTPS here: the chain in PEM, read again when it changes
    #[arg(long, env = "KSYNC_RELAY_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, env = "KSYNC_RELAY_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The names for which a certificate is got by ACME, and renewed. Port 443 of each has to lead to --http
    #[arg(long, env = "KSYNC_RELAY_ACME", value_name = "NAME", value_delimiter = ',')]
    acme: Vec<String>,
    /// Whom the certification authority writes to
    #[arg(long, env = "KSYNC_RELAY_ACME_CONTACT", value_name = "MAIL", value_delimiter = ',')]
    acme_contact: Vec<String>,
    /// The certification authority's directory
    #[arg(long, env = "KSYNC_RELAY_ACME_DIRECTORY", value_name = "URL", default_value = Acme::DIRECTORY)]
    acme_directory: String,
    /// Root certificates in PEM by which the authority is known, if the system does not know it
    #[arg(long, env = "KSYNC_RELAY_ACME_ROOTS", value_name = "FILE")]
    acme_roots: Option<PathBuf>,
    /// The header in which the proxy in front says whom a request comes from: x-forwarded-for, cf-connecting-ip, fly-client-ip.
    /// Whoever reaches the relay past the proxy can write into it what they like
    #[arg(long, env = "KSYNC_RELAY_PROXY_HEADER", value_name = "NAME")]
    proxy_header: Option<axum::http::HeaderName>,
    /// How many connections are taken
    #[arg(long, env = "KSYNC_RELAY_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<usize>,
    /// How many connections are taken from one IP address
    #[arg(long, env = "KSYNC_RELAY_MAX_CONNECTIONS_PER_IP", value_name = "N")]
    max_connections_per_ip: Option<usize>,
    /// How many bytes a group may have waiting
    #[arg(long, env = "KSYNC_RELAY_MAX_GROUP_BYTES", value_name = "BYTES")]
    max_group_bytes: Option<u64>,
    /// How many entries a group may have waiting
    #[arg(long, env = "KSYNC_RELAY_MAX_GROUP_ENTRIES", value_name = "N")]
    max_group_entries: Option<u64>,
    /// Where large content is kept until every device has it; `off` takes none [default: content in the data folder]
    #[arg(long, env = "KSYNC_RELAY_CONTENT", value_name = "DIR|off")]
    content: Option<String>,
    /// How many bytes of large content a group may have here [default: 16 GiB]
    #[arg(long, env = "KSYNC_RELAY_MAX_GROUP_CONTENT_BYTES", value_name = "BYTES")]
    max_group_content_bytes: Option<u64>,
    /// The largest envelope
    #[arg(long, env = "KSYNC_RELAY_MAX_ENVELOPE_BYTES", value_name = "BYTES")]
    max_envelope_bytes: Option<usize>,
    /// After how many days of silence a device holds back nothing any more: it fetches what it missed from the others
    #[arg(long, env = "KSYNC_RELAY_MAX_LAG_DAYS", value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=30))]
    max_lag_days: u64,
    /// How large the database may grow
    #[arg(long, env = "KSYNC_RELAY_MAX_STORE_BYTES", value_name = "BYTES")]
    max_store_bytes: Option<u64>,
    /// Where /metrics answers, to whoever reaches it there, instead of beside the rest of HTTP. Port 0 takes a free one
    #[arg(long, env = "KSYNC_RELAY_METRICS", value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// A file with a token of 20 characters or more, for whoever is to see the status page (/) and /metrics: behind
    /// "Authorization: Bearer", or typed into a browser. Without it both answer to this machine only, and not through a proxy
    #[arg(long, env = "KSYNC_RELAY_HOST_TOKEN_FILE", value_name = "FILE")]
    host_token_file: Option<PathBuf>,
    /// Whether devices that sleep are woken by a push when something comes for them: on (by Web Push), off, or a file with
    /// apps' keys for Apple's and Google's services too
    #[arg(long, env = "KSYNC_RELAY_WAKE", value_name = "on|off|FILE", default_value = "on")]
    wake: String,
    /// How the log's lines look
    #[arg(long, env = "KSYNC_RELAY_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

/// Why arguments are not taken.
pub(crate) enum Unusable {
    /// clap's word on it, or its help.
    Usage(clap::Error),
    /// A setting's.
    Setting(StartError),
}

impl From<clap::Error> for Unusable {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<StartError> for Unusable {
    fn from(error: StartError) -> Self {
        Self::Setting(error)
    }
}

/// What is to be done.
pub(crate) enum Work {
    /// The relay is to run.
    Serve(Box<Serve>),
    /// Something beside it, with the settings that it has or would have.
    Admin(admin::Admin, Result<Box<Serve>, StartError>),
}

impl Cli {
    /// Reads arguments, environment, and the file that one of them names.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Work, Unusable> {
        let command = Self::command();
        // What is required may stand in the file that is not known yet.
        let optional = command.clone().mut_subcommands(|one| one.mut_args(|arg| arg.required(false)));
        let found = optional.try_get_matches_from(arguments)?;
        let given = found.subcommand().map(|(_, given)| given);
        let file = given.and_then(|given| given.get_one::<PathBuf>("config")).cloned();
        let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
        let checked = settings::check_environment(&command, names.iter().map(OsString::as_os_str));
        let settled = || -> Result<clap::Command, StartError> {
            checked?;
            let Some(file) = &file else { return Ok(command.clone()) };
            let serve = command.find_subcommand("serve").cloned().unwrap_or_default();
            let serve = settings::with_file(serve, file)?;
            Ok(command.clone().mut_subcommand("serve", |_| serve))
        };
        if found.subcommand_name() == Some("admin") {
            let Command::Admin(admin) = Self::parse_from(arguments).command else {
                return Err(Unusable::Setting(invalid("admin was meant")));
            };
            let mut serve: Vec<OsString> = vec!["sync-relay".into(), "serve".into()];
            serve.extend(admin.data.iter().flat_map(|data| ["--data".into(), data.into()]));
            let serve = match settled() {
                Ok(command) => Ok(Self::serve(&command.try_get_matches_from(serve)?)?),
                Err(e) => Err(e),
            };
            return Ok(Work::Admin(admin, serve));
        }
        Ok(Work::Serve(Self::serve(&settled()?.try_get_matches_from(arguments)?)?))
    }

    fn serve(found: &clap::ArgMatches) -> Result<Box<Serve>, clap::Error> {
        match Self::from_arg_matches(found)?.command {
            Command::Serve(serve) => Ok(serve),
            Command::Admin(_) => {
                Err(Self::command().error(clap::error::ErrorKind::InvalidSubcommand, "serve was meant"))
            }
        }
    }
}

impl Serve {
    /// The file of access tokens, if the relay wants any.
    fn token_file(&self) -> Option<PathBuf> {
        self.access.as_deref()?.strip_prefix("token:").map(PathBuf::from)
    }

    /// The same settings without the files that say who may do what, for commands that let nobody in.
    fn without_tokens(self) -> Self {
        Self { access: Some("open".to_owned()), host_token_file: None, ..self }
    }

    /// Checks what clap cannot, and reads the files that are named.
    pub(crate) fn config(self) -> Result<RelayConfig, StartError> {
        let is_loopback = self.http.ip().is_loopback() && self.listen.0.is_none_or(|listen| listen.ip().is_loopback());
        if self.access.is_none() && !is_loopback {
            let message = "listening beyond loopback lets strangers make groups here: say --access open if that is meant, \
                           or --access token:FILE";
            return Err(invalid(message));
        }
        let mut store = match &self.store {
            Some(text) => StoreConfig::parse(text)?,
            None => StoreConfig::Sqlite { path: self.data.join(StoreConfig::FILE), max_bytes: None },
        };
        if let StoreConfig::Sqlite { max_bytes, .. } = &mut store {
            *max_bytes = self.max_store_bytes;
        }
        let mut limits = ServerLimits::default();
        limits.connections = self.max_connections.unwrap_or(limits.connections);
        limits.connections_per_ip = self.max_connections_per_ip.unwrap_or(limits.connections_per_ip);
        let mut quotas = sync_relay::mailbox::Limits::default();
        quotas.group_bytes = self.max_group_bytes.unwrap_or(quotas.group_bytes);
        quotas.group_entries = self.max_group_entries.unwrap_or(quotas.group_entries);
        quotas.max_lag_ms = self.max_lag_days * 24 * 3_600_000;
        if let Some(bytes) = self.max_envelope_bytes {
            if bytes > quotas.envelope_bytes {
                return Err(invalid(format!("an envelope has at most {} bytes", quotas.envelope_bytes)));
            }
            quotas.envelope_bytes = bytes;
        }
        let identity = match std::env::var("KSYNC_RELAY_SECRET") {
            Ok(hex) => Some(Identity::from_hex(&hex)?),
            Err(std::env::VarError::NotPresent) => None,
            Err(_) => return Err(invalid("KSYNC_RELAY_SECRET has to be 64 hexadecimal digits")),
        };
        let mut content = match self.content.as_deref() {
            Some("off") => None,
            Some(folder) => Some(ContentConfig { folder: folder.into(), group_bytes: ContentConfig::GROUP_BYTES }),
            None => Some(ContentConfig::within(&self.data)),
        };
        if let (Some(content), Some(bytes)) = (&mut content, self.max_group_content_bytes) {
            content.group_bytes = bytes;
        }
        let tls = match (self.tls_cert, self.tls_key, self.acme.is_empty()) {
            (Some(certificate), Some(key), true) => Some(Tls::Files { certificate, key }),
            (None, None, true) => None,
            (None, None, false) => Some(Tls::Acme(Acme {
                domains: self.acme,
                contact: self.acme_contact,
                directory: self.acme_directory,
                roots: self.acme_roots,
                cache: self.data.join("acme"),
            })),
            (Some(_), Some(_), false) => {
                return Err(invalid("a certificate comes from --tls-cert or by --acme, and not from both"));
            }
            _ => return Err(invalid("--tls-cert and --tls-key go together")),
        };
        Ok(RelayConfig {
            tls,
            data: Some(self.data),
            store,
            content,
            listen: self.listen.0,
            // It is named by its address.
            discoverable: None,
            http: Some(self.http),
            access: self.access.as_deref().map_or(Ok(Access::Open), Access::parse)?,
            public_url: self.public_url.as_deref().map(PublicUrl::parse).transpose()?,
            proxy_header: self.proxy_header,
            host: HostConfig {
                orders: true,
                metrics: self.metrics,
                token: self.host_token_file.as_deref().map(HostToken::read).transpose()?,
            },
            wake: Waking::parse(&self.wake),
            identity,
            limits,
            quotas,
            forward: Default::default(),
        })
    }
}

/// Where to listen for QUIC, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listen(Option<SocketAddr>);

fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "off" => Ok(Listen(None)),
        _ => text.parse().map(|address| Listen(Some(address))).map_err(|_| "it is IP:PORT, or off".to_owned()),
    }
}

/// The port may be written as `$PORT`: an image without a shell has nobody else who would put it in.
fn http(text: &str) -> Result<SocketAddr, String> {
    let port = std::env::var("PORT").ok();
    address(text, port.as_deref())
}

fn address(text: &str, port: Option<&str>) -> Result<SocketAddr, String> {
    let text = match (text.strip_suffix(":$PORT"), port) {
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(_), None) => return Err("it names $PORT, and the variable PORT is not set".to_owned()),
        (None, _) => text.to_owned(),
    };
    text.parse().map_err(|_| format!("'{text}' is not IP:PORT"))
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is where the time of these commands comes from")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn invalid(message: impl Into<String>) -> StartError {
    StartError { code: Code::InvalidArgument, message: message.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const EXAMPLE: &str = include_str!("../sync-relay.example.toml");

    fn read(file: Option<&str>, flags: &[&str]) -> Result<Serve, Unusable> {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments: Vec<OsString> = vec!["sync-relay".into(), "serve".into()];
        if let Some(text) = file {
            let path = folder.path().join("relay.toml");
            std::fs::write(&path, text.replace("FOLDER", &folder.path().display().to_string())).unwrap();
            arguments.extend(["--config".into(), path.into()]);
        }
        arguments.extend(flags.iter().map(OsString::from));
        match Cli::read(&arguments)? {
            Work::Serve(serve) => Ok(*serve),
            Work::Admin(..) => panic!("serve was said"),
        }
    }

    fn refused(file: &str) -> String {
        match read(Some(file), &["--data", "x"]) {
            Err(Unusable::Setting(e)) => {
                assert_eq!(e.code, Code::InvalidArgument);
                e.message
            }
            Err(Unusable::Usage(e)) => panic!("{e}"),
            Ok(_) => panic!("{file} was taken"),
        }
    }

    #[test]
    fn a_file_gives_what_no_flag_does() {
        let file = "data = 'relay'\nlisten = '127.0.0.1:1'\nmax-group-bytes = 1_000\naccess = \"token:list\"\n";
        let Ok(serve) = read(Some(file), &["--listen", "127.0.0.1:2"]) else { panic!("refused") };
        assert_eq!(serve.listen, listen("127.0.0.1:2").unwrap(), "the flag's");
        assert_eq!(serve.max_group_bytes, Some(1_000), "the file's");
        assert_eq!(serve.max_lag_days, 30, "what is built in");
        assert!(serve.data.is_absolute() && serve.data.ends_with("relay"), "{}", serve.data.display());
        let access = serve.access.unwrap();
        assert!(access.starts_with("token:/") && access.ends_with("/list"), "{access}");
    }

    #[test]
    fn what_a_file_needs_not_to_hold_is_named_with_its_line() {
        let message = refused("data = 'x'\n\n# so\nmax-group-byte = 5\n");
        assert!(message.contains("line 4") && message.contains("'max-group-bytes'"), "{message}");
        let message = refused("\nmax-lag-days = 31\n");
        assert!(message.contains("line 2") && message.contains("max-lag-days"), "{message}");
        let message = refused("listen = 'here'\n");
        assert!(message.contains("line 1") && message.contains("listen"), "{message}");
        let message = refused("data = 'x'\nlisten = \n");
        assert!(message.contains("line 2"), "{message}");
        let message = refused("[server]\nlisten = '127.0.0.1:1'\n");
        assert!(message.contains("'server'"), "{message}");
        assert!(refused("config = 'other'\n").contains("'config'"));
        assert!(matches!(read(Some("http = '127.0.0.1:1'\n"), &[]), Err(Unusable::Usage(_))), "data is required");
    }

    #[test]
    fn the_port_may_be_the_one_that_a_platform_names() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(address("0.0.0.0:$PORT", Some("10000")), Ok(socket("0.0.0.0:10000")));
        assert_eq!(address("[::]:$PORT", Some("8080")), Ok(socket("[::]:8080")));
        assert_eq!(
            address("127.0.0.1:4480", Some("10000")),
            Ok(socket("127.0.0.1:4480")),
            "only where it is asked for"
        );
        assert!(address("0.0.0.0:$PORT", None).unwrap_err().contains("PORT is not set"));
        assert!(address("0.0.0.0:$PORT", Some("many")).unwrap_err().contains("many"));
    }

    #[test]
    fn variables_that_nothing_reads_are_refused() {
        let check = |name: &str| settings::check_environment(&Cli::command(), [std::ffi::OsStr::new(name)].into_iter());
        for known in ["KSYNC_RELAY_DATA", "KSYNC_RELAY_SECRET", "KSYNC_RELAY_LOG", "KSYNC_RELAY_CONFIG", "HOME"] {
            assert!(check(known).is_ok(), "{known}");
        }
        assert!(check("KSYNC_RELAY_PORT_4433_UDP_ADDR").is_ok() && check("KSYNC_RELAY_SERVICE_HOST").is_ok());
        let message = check("KSYNC_RELAY_ACESS").unwrap_err().message;
        assert!(message.contains("KSYNC_RELAY_ACESS") && message.contains("'KSYNC_RELAY_ACCESS'"), "{message}");
    }

    #[test]
    fn the_example_shows_every_setting_once_and_can_be_used() {
        let is_setting = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let settings: Vec<&str> =
            EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).filter(is_setting).collect();
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &settings {
            *shown.entry(line.split(' ').next().unwrap()).or_default() += 1;
        }
        let command = Cli::command();
        let known = settings::keys(command.find_subcommand("serve").unwrap());
        assert!(shown.keys().copied().eq(known.iter().map(String::as_str)), "{shown:?}\n{known:?}");
        assert!(shown.values().all(|times| *times == 1), "{shown:?}");
        // As it stands, and with every setting switched on.
        for text in [EXAMPLE.to_owned(), settings.join("\n")] {
            match read(Some(&text), &[]) {
                Ok(serve) => assert!(serve.listen != listen("127.0.0.1:0").unwrap()),
                Err(Unusable::Setting(e)) => panic!("{e}"),
                Err(Unusable::Usage(e)) => panic!("{e}"),
            }
        }
    }
}
