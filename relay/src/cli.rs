//! The arguments of `sync-relay`. Each is also taken from the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sync_relay::{Access, Identity, PublicUrl, RelayConfig, ServerLimits, StartError, StoreConfig};
use sync_types::Code;

/// The 0k-Sync relay: holds what devices send each other until all have it, and can read none of it.
#[derive(Parser)]
#[command(name = "sync-relay", version, about)]
#[command(
    after_help = "KSYNC_RELAY_SECRET (64 hexadecimal digits) gives the relay's key instead of identity.key in the data folder."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the relay until SIGTERM or SIGINT. Prints one line of JSON on stdout once it is ready; logs go to stderr.
    Serve(Box<Serve>),
}

#[derive(Args)]
pub(crate) struct Serve {
    /// The folder with the relay's identity and, unless --store says otherwise, its database. Back it up as a whole.
    #[arg(long, env = "KSYNC_RELAY_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where devices connect, over QUIC (UDP). Port 0 takes a free one.
    #[arg(long, env = "KSYNC_RELAY_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:4433")]
    listen: SocketAddr,
    /// Where /health, /ready, /metrics and /.well-known/0ksync answer. Port 0 takes a free one.
    #[arg(long, env = "KSYNC_RELAY_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:4480")]
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
    /// The largest envelope
    #[arg(long, env = "KSYNC_RELAY_MAX_ENVELOPE_BYTES", value_name = "BYTES")]
    max_envelope_bytes: Option<usize>,
    /// After how many days of silence a device holds back nothing any more: it fetches what it missed from the others
    #[arg(long, env = "KSYNC_RELAY_MAX_LAG_DAYS", value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=30))]
    max_lag_days: u64,
    /// How large the database may grow
    #[arg(long, env = "KSYNC_RELAY_MAX_STORE_BYTES", value_name = "BYTES")]
    max_store_bytes: Option<u64>,
}

impl Serve {
    /// Checks what clap cannot, and reads the files that are named.
    pub(crate) fn config(self) -> Result<RelayConfig, StartError> {
        if self.access.is_none() && !(self.listen.ip().is_loopback() && self.http.ip().is_loopback()) {
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
        Ok(RelayConfig {
            data: Some(self.data),
            store,
            listen: Some(self.listen),
            http: Some(self.http),
            access: self.access.as_deref().map_or(Ok(Access::Open), Access::parse)?,
            public_url: self.public_url.as_deref().map(PublicUrl::parse).transpose()?,
            identity,
            limits,
            quotas,
            forward: Default::default(),
        })
    }
}

fn invalid(message: impl Into<String>) -> StartError {
    StartError { code: Code::InvalidArgument, message: message.into() }
}
