//! What `ksync` understands. The texts here are its help, and docs/cli.md is written from them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sync_client::{BlobId, FilesPolicy, ReceiptState, VaultKind};

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
    /// How devices find each other where the group has no relay of its own: off, lan, public, dht (BitTorrent's table beside that),
    /// dht:HOST:PORT of a table of one's own, or the URLs of an iroh relay and a pkarr relay with a comma between [default: off if --listen is on loopback, else public]
    #[arg(long, global = true, env = "KSYNC_DISCOVERY", hide_env_values = true, value_name = "HOW")]
    pub(crate) discovery: Option<sync_client::Discovery>,
    /// The file whose first line is the passphrase that locks this home. KSYNC_PASSPHRASE is the passphrase itself; without
    /// either it is asked for
    #[arg(long, global = true, env = "KSYNC_PASSPHRASE_FILE", hide_env_values = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Gives and fetches the content of files by the relays alone, not straight from device to device, for which the devices
    /// tell each other their addresses
    #[arg(long, global = true, env = "KSYNC_NO_DIRECT", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_direct: bool,
}

impl Global {
    /// How files are carried while this command runs.
    pub(crate) fn files(&self) -> FilesPolicy {
        FilesPolicy { direct: !self.no_direct, ..FilesPolicy::default() }
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a device in this home, with a group of its own
    Init(Init),
    /// Joins a group: takes a member's link or short code, or shows them for a member to take
    Join(Join),
    /// Comes back into a group by its recovery kit, and removes all its other devices
    Recover(Recover),
    /// Makes a recovery kit: 24 words that lead back into the group when every device is lost. An earlier kit is worth
    /// nothing then
    RecoveryKit(MakeKit),
    /// Leaves the group, and deletes its keys and blobs here
    Leave,
    /// Deletes the device in this home, also where its data is damaged
    Reset,
    /// Stays connected until SIGTERM or Ctrl-C; with an embedded relay, hosts it
    Run(Run),
    /// Fetches what waits, acknowledges it, sends what was pushed here, and has sockets open no longer than that takes: what
    /// to run when a push came
    Wake,
    /// Says where the relay wakes this device when something comes for it while it is not connected, or sets that
    WakeTarget(WakeTargetOf),
    /// Invites a device: shows a QR code and a short code and waits, or takes what a newcomer shows
    Invite(Invite),
    /// Pushes a blob: durable here when it returns, and on its way to the others
    Push(Push),
    /// Prints what others pushed and this command has not printed yet
    Pull(Pull),
    /// Puts one blob in the place of all that was pulled of a channel: devices that come later get it instead
    Snapshot(Snapshot),
    /// Waits no more for a blob of more than 1 MiB whose bytes do not come: `pull` prints what is behind it
    Skip(Skip),
    /// Gives files of any size to the other devices, fetches theirs, lists and removes them
    File(File),
    /// Lists the devices of the group, or removes one
    Devices(Devices),
    /// Lists the group's relays, or changes the list
    Relay(Relay),
    /// Says what the group's cryptography is made of, or moves the group to another suite
    Suite(Suite),
    /// Says where the key lies that seals this home, or puts it elsewhere
    Vault(Vault),
    /// Writes what this device has to one file under a passphrase, or takes such a file in
    Backup(Backup),
    /// Prints what happened to the group's devices and was not printed yet: who came and went, what is not as it should be
    Alerts(Alerts),
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
    /// Where the key lies that seals a new home [default: the keychain if one answers, else a file]
    #[arg(long, env = "KSYNC_VAULT", hide_env_values = true, value_name = "KIND")]
    pub(crate) vault: Option<VaultName>,
    /// Leaves each snapshot of this device at the relay too, sealed for the group's recovery kit
    #[arg(long)]
    pub(crate) kit_snapshots: bool,
}

#[derive(Args)]
pub(crate) struct MakeKit {
    /// Whether this device leaves its snapshots at the relay from now on, sealed for the kit [default: as it was]
    #[arg(long, value_name = "yes|no", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) snapshots: Option<bool>,
}

/// Where the key lies that seals a home.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VaultName {
    /// In the system's keychain
    Keychain,
    /// Under a passphrase, which every later command needs
    Passphrase,
    /// In a file of the home, which only its owner can read
    File,
}

impl From<VaultName> for VaultKind {
    fn from(name: VaultName) -> Self {
        match name {
            VaultName::Keychain => Self::Keychain,
            VaultName::Passphrase => Self::Passphrase,
            VaultName::File => Self::KeyFile,
        }
    }
}

#[derive(Args)]
pub(crate) struct Init {
    /// What people call this device
    #[arg(long, env = "KSYNC_NAME", hide_env_values = true, value_name = "N")]
    pub(crate) name: String,
    /// Makes a recovery kit with the group, and shows its 24 words once; needs a relay of its own
    #[arg(long, requires = "relay")]
    pub(crate) recovery_kit: bool,
    #[command(flatten)]
    pub(crate) setup: Setup,
}

#[derive(Args)]
pub(crate) struct Recover {
    /// What people call this device
    #[arg(long, env = "KSYNC_NAME", hide_env_values = true, value_name = "N")]
    pub(crate) name: String,
    /// Where the 24 words stand; - is stdin [default: stdin, where a person is asked for them]
    #[arg(long, value_name = "FILE")]
    pub(crate) words_file: Option<PathBuf>,
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
pub(crate) struct Run {
    /// Begins in the background, with no socket open
    #[arg(long, requires = "control")]
    pub(crate) background: bool,
    /// Reads what to do from stdin, a word a line: background closes every socket, wake fetches what waits and closes them
    /// again, foreground connects for good. The end of stdin changes nothing
    #[arg(long)]
    pub(crate) control: bool,
}

#[derive(Args)]
pub(crate) struct WakeTargetOf {
    #[command(subcommand)]
    pub(crate) action: Option<WakeTargetAction>,
}

#[derive(Subcommand)]
pub(crate) enum WakeTargetAction {
    /// Says how it stands
    Show,
    /// A subscription at a service that speaks Web Push, such as UnifiedPush's and ntfy
    WebPush {
        /// Where to post to; - reads it from stdin, where no list of processes shows it
        #[arg(value_name = "URL|-")]
        url: String,
        /// The subscription's key, in base64url
        #[arg(long, value_name = "KEY", requires = "auth")]
        p256dh: Option<String>,
        /// The subscription's secret, in base64url
        #[arg(long, value_name = "SECRET", requires = "p256dh")]
        auth: Option<String>,
    },
    /// An app on a device of Apple's
    Apns {
        /// The device token in hexadecimal digits; - reads it from stdin
        #[arg(value_name = "TOKEN|-")]
        token: String,
        /// The app's bundle id
        #[arg(long, value_name = "ID")]
        topic: String,
        /// The app is a development build
        #[arg(long)]
        sandbox: bool,
    },
    /// An app that is registered with Firebase Cloud Messaging
    Fcm {
        /// The registration token; - reads it from stdin
        #[arg(value_name = "TOKEN|-")]
        token: String,
        /// The Firebase project's id
        #[arg(long, value_name = "ID")]
        project: String,
    },
    /// Nowhere any more
    Off,
    /// Prints the key that the group's first relay signs Web Push messages with, for a subscription's applicationServerKey
    Key,
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

#[derive(Args)]
pub(crate) struct Skip {
    /// Its id, as `ksync run` says it
    #[arg(value_name = "ID")]
    pub(crate) id: BlobId,
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
pub(crate) struct File {
    #[command(subcommand)]
    pub(crate) action: FileAction,
}

#[derive(Subcommand)]
pub(crate) enum FileAction {
    /// Seals files as they are now and gives them to the group. Each is durable here once it is sealed; waits until the relay
    /// has them, so that the others get them also when this device is off
    Put {
        /// The files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// What the others see, of a single file [default: the last part of its path]
        #[arg(long, value_name = "N")]
        name: Option<String>,
        /// Does not wait for the relay: what is left goes while a later command or `ksync run` is connected
        #[arg(long)]
        no_wait: bool,
    },
    /// Writes a file of the group to a path, and fetches it first if it is not here
    Get {
        /// The file's name, or its id, or as much of that as no other has
        #[arg(value_name = "ID|NAME")]
        file: String,
        /// Where to, or a folder to put it into [default: its name, made safe, in the current folder]
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Replaces a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Lists the group's files
    List,
    /// Takes a file off the list on every device, where its content is forgotten. What was written with `get` stays
    Remove {
        /// The file's id, or as much of its beginning as no other has, or its name
        #[arg(value_name = "ID")]
        file: String,
    },
}

#[derive(Args)]
pub(crate) struct Devices {
    #[command(subcommand)]
    pub(crate) action: Option<DevicesAction>,
}

#[derive(Args)]
pub(crate) struct Alerts {
    /// Prints also what was printed before, as far as it is kept
    #[arg(long)]
    pub(crate) all: bool,
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
pub(crate) struct Backup {
    #[command(subcommand)]
    pub(crate) action: BackupAction,
}

#[derive(Subcommand)]
pub(crate) enum BackupAction {
    /// Writes every blob and the settings to a file, without this device's keys; an older file of that name is replaced
    Export {
        /// The file
        file: PathBuf,
        #[arg(long, value_name = "FILE", help = BACKUP_PASSPHRASE)]
        backup_passphrase_file: Option<PathBuf>,
    },
    /// Takes in the blobs of a backup that this device lacks, and gives them to its group under their ids; in a new home it
    /// makes a device with a group of its own first
    Import(Import),
}

const BACKUP_PASSPHRASE: &str = "The file whose first line is the backup's passphrase. KSYNC_BACKUP_PASSPHRASE is the passphrase itself; without either it is asked for";

#[derive(Args)]
pub(crate) struct Import {
    /// The file
    pub(crate) file: PathBuf,
    #[arg(long, value_name = "FILE", help = BACKUP_PASSPHRASE)]
    pub(crate) backup_passphrase_file: Option<PathBuf>,
    /// In a new home: what people call this device [default: the name in the backup]
    #[arg(long, env = "KSYNC_NAME", hide_env_values = true, value_name = "N")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) setup: Setup,
}

#[derive(Args)]
pub(crate) struct Vault {
    #[command(subcommand)]
    pub(crate) action: Option<VaultAction>,
}

#[derive(Subcommand)]
pub(crate) enum VaultAction {
    /// Says where the key lies
    Show,
    /// Puts the key elsewhere, or under another passphrase; what it seals stays as it is
    Set {
        /// Where it is to lie
        kind: VaultName,
        /// The file whose first line is the new passphrase. KSYNC_NEW_PASSPHRASE is the passphrase itself; without either it
        /// is asked for
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct Suite {
    /// The suite to move to, as soon as every device has been online once: 1 is ML-KEM-768 with X25519, and
    /// XChaCha20-Poly1305; 2 is ML-KEM-768 with P-256, and AES-256-GCM, where devices pair by link and not by short code.
    /// The one that the group has takes back a move that waits. A recovery kit ends with the suite that it was made for
    #[arg(value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) suite: Option<u8>,
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
    /// Runs a relay of your own on this machine, and takes the group there. It stays until SIGTERM or Ctrl-C
    Up(RelayUp),
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

#[derive(Args)]
pub(crate) struct RelayUp {
    /// The relay's folder [default: own-relay in the home]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where it listens for devices
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4433")]
    pub(crate) at: String,
    /// The relay's program [default: sync-relay beside this one, or in PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// What else `sync-relay serve` is told, such as --public-url or --acme
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) more: Vec<String>,
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
            "ksync file",
            "ksync file put",
            "ksync file get",
            "ksync file remove",
            "ksync backup export",
            "ksync relay",
            "ksync relay set",
            "ksync suite 0",
            "ksync suite 3",
            "ksync run --background",
            "ksync wake-target web-push",
            "ksync wake-target web-push https://a/b --auth x",
            "ksync wake-target apns 00",
            "ksync wake-target fcm t",
            "ksync relay drop --dead",
            "ksync init --name a --recovery-kit",
            "ksync recover --relay embedded",
            "ksync recover --name a abandon abandon",
            "ksync devices remove",
            "ksync vault set",
            "ksync vault set safe",
            "ksync status --passphrase secret",
        ] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn content_goes_by_the_relays_alone_where_that_is_said() {
        for line in ["ksync file get x", "ksync file put x", "ksync run"] {
            let direct = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().global.files();
            assert_eq!(direct(line), FilesPolicy::default(), "{line}");
            let relays = FilesPolicy { direct: false, ..FilesPolicy::default() };
            assert_eq!(direct(&format!("{line} --no-direct")), relays, "{line}");
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
