//! What `ksync` understands. The texts here are its help, and docs/cli.md is written from them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sync_client::ReceiptState;

/// A headless 0k-Sync device: what one device pushes reaches every device paired with it, encrypted end to end.
#[derive(Parser)]
#[command(name = "ksync", version)]
#[command(after_help = "\
Exit codes: 0 done, 1 other, 2 usage, 3 not in a group, 4 relay unreachable, 5 refused, 6 integrity, 7 quota.
KSYNC_LOG=debug writes a log to stderr; it holds no content and no secret.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Clone)]
pub(crate) struct Global {
    /// The folder with this device's data, for one process at a time [default: 0ksync/ksync in your data folder]
    #[arg(long, global = true, env = "KSYNC_HOME", hide_env_values = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Writes one JSON object a line to stdout and nothing else there
    #[arg(long, global = true, env = "KSYNC_JSON", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    /// How many seconds to wait for the relay and for other devices
    #[arg(long, global = true, env = "KSYNC_TIMEOUT", hide_env_values = true, value_name = "S", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// Where an embedded relay listens [default: every address of this host, on a port that it keeps]
    #[arg(long, global = true, env = "KSYNC_LISTEN", hide_env_values = true, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a device in this home, with a group of its own
    Init(Init),
    /// Joins a group: takes a member's link or short code, or shows them for a member to take
    Join(Join),
    /// Leaves the group, and deletes its keys and blobs here
    Leave,
    /// Deletes the device in this home, also where its data is damaged
    Reset,
    /// Stays connected until SIGTERM or Ctrl-C; with an embedded relay, hosts it
    Run,
    /// Invites a device: shows a QR code and a short code and waits, or takes what a newcomer shows
    Invite(Invite),
    /// Pushes a blob: durable here when it returns, and on its way to the others
    Push(Push),
    /// Prints what others pushed and this command has not printed yet
    Pull(Pull),
    /// Puts one blob in the place of all that was pulled of a channel: devices that come later get it instead
    Snapshot(Snapshot),
    /// Lists the devices of the group, or removes one
    Devices(Devices),
    /// Lists the group's relays, or changes the list
    Relay(Relay),
    /// Says how things stand
    Status,
    /// Says in words why it is not syncing, and what to do
    Doctor,
}

#[derive(Args)]
pub(crate) struct Setup {
    /// Where the group's relay is: embedded, ksync://ENDPOINT@host:port or https://host, with #TOKEN if it wants one
    #[arg(long, env = "KSYNC_RELAY", hide_env_values = true, value_name = "ADDR")]
    pub(crate) relay: Option<String>,
    /// The app whose devices this one pairs with; an app's own id to be a headless device of it [default: ksync]
    #[arg(long, env = "KSYNC_APP_ID", hide_env_values = true, value_name = "ID")]
    pub(crate) app_id: Option<String>,
}

#[derive(Args)]
pub(crate) struct Init {
    /// What people call this device
    #[arg(long, env = "KSYNC_NAME", hide_env_values = true, value_name = "N")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) setup: Setup,
}

#[derive(Args)]
pub(crate) struct Join {
    /// The link that a member shows, or its short code, 7-word-word-word, which needs --relay in a new home
    #[arg(required_unless_present = "show", conflicts_with = "show", value_name = "URI|CODE")]
    pub(crate) invitation: Option<String>,
    /// Shows a link and a short code instead, for a member's `ksync invite URI|CODE`; for a link the check code is read
    /// from stdin
    #[arg(long, requires = "relay")]
    pub(crate) show: bool,
    /// What people call this device [default: the name it has, or else the host's]
    #[arg(long, env = "KSYNC_NAME", hide_env_values = true, value_name = "N")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) setup: Setup,
}

#[derive(Args)]
pub(crate) struct Invite {
    /// The link or the short code that a newcomer shows with `ksync join --show`
    #[arg(conflicts_with_all = ["ttl", "code"], value_name = "URI|CODE")]
    pub(crate) invitation: Option<String>,
    /// Insists on a short code, to be read out and typed: fails where there can be none, and ends when a wrong one is
    /// typed. Where all devices use one relay there is one beside the link anyway
    #[arg(long)]
    pub(crate) code: bool,
    /// How many seconds link and code work
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) ttl: u64,
    /// Lets the first one in that answers, unasked and without its check code: only where nobody else sees the link
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Push {
    /// What to push; - is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// The channel to push to
    #[arg(long, value_name = "C", default_value = sync_client::DEFAULT_CHANNEL)]
    pub(crate) channel: String,
    /// Pushes each line as a blob of its own, durable as it is read; empty lines are left out
    #[arg(long)]
    pub(crate) lines: bool,
    /// Waits until the relay holds it, or until every other device has signed for it
    #[arg(long, value_name = "STATE")]
    pub(crate) wait: Option<Wait>,
}

#[derive(Args)]
pub(crate) struct Snapshot {
    /// What holds all that was pulled and pushed here of the channel; - is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The channel
    #[arg(long, value_name = "C", default_value = sync_client::DEFAULT_CHANNEL)]
    pub(crate) channel: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Wait {
    Accepted,
    Delivered,
}

impl From<Wait> for ReceiptState {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Accepted => Self::Accepted,
            Wait::Delivered => Self::Delivered,
        }
    }
}

#[derive(Args)]
pub(crate) struct Pull {
    /// Only this channel
    #[arg(long, value_name = "C")]
    pub(crate) channel: Option<String>,
    /// Stays connected and prints what comes, until SIGTERM or Ctrl-C
    #[arg(long)]
    pub(crate) follow: bool,
    /// Prints at most so many blobs; the next pull goes on behind them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Devices {
    #[command(subcommand)]
    pub(crate) action: Option<DevicesAction>,
}

#[derive(Subcommand)]
pub(crate) enum DevicesAction {
    /// Puts a device out of the group: from then on it can neither read what is pushed nor push
    Remove {
        /// The device's id, or as much of its beginning as no other has
        id: String,
        /// The device is lost or stolen: besides, it deletes what it holds when it next connects
        #[arg(long)]
        lost: bool,
    },
}

#[derive(Args)]
pub(crate) struct Relay {
    #[command(subcommand)]
    pub(crate) action: RelayAction,
}

#[derive(Subcommand)]
pub(crate) enum RelayAction {
    /// Lists the relays in the group's order, and how this device stands with each
    List,
    /// Has the group use these relays, in this order; the first orders the changes of the group
    Set {
        /// ksync://ENDPOINT@host:port or https://host, with #TOKEN if it wants one, which stays on this device
        #[arg(required = true, value_name = "ADDR")]
        relays: Vec<String>,
    },
    /// Takes a relay off the list
    Drop {
        /// The relay's address, as the list has it
        #[arg(value_name = "ADDR")]
        relay: String,
        /// It is the first one and will not come back: the next takes its place, and what only the dead one had ordered counts
        /// no more
        #[arg(long)]
        dead: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_err_and(|e| e.exit_code() == 2)
    }

    #[test]
    fn the_parser_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_there_is_a_usage_error() {
        for line in [
            "ksync",
            "ksync nonsense",
            "ksync init",
            "ksync join",
            "ksync join --show",
            "ksync join KSYNC:A --show --relay embedded",
            "ksync invite KSYNC:A --code",
            "ksync invite 7-a-b-c --ttl 60",
            "ksync invite --ttl 0",
            "ksync invite --ttl 601",
            "ksync push --wait queued",
            "ksync pull --limit 0",
            "ksync snapshot --channel a",
            "ksync file list",
            "ksync backup export",
            "ksync relay",
            "ksync relay set",
            "ksync relay drop --dead",
            "ksync init --name a --recovery-kit",
            "ksync devices remove",
        ] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_and_behind_the_command() {
        for line in ["ksync --home /x --json status", "ksync status --home /x --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.home.as_deref() == Some("/x".as_ref()), "{line}");
        }
    }
}
