//! What each command does.

mod alerts;
mod backup;
mod device;
mod file;
mod own_relay;
mod pair;
mod pull;
mod push;
mod recovery;
mod relay;
mod skip;
mod snapshot;
mod suite;
mod vault;
mod wake;
mod watch;

use std::time::Duration;

use sync_client::{Code, SyncClient, SyncConfig, SyncError};

use crate::cli::{Cli, Command, Global, Setup, VaultName};
use crate::out::{Done, Failure, Out};
use crate::passphrase::Wanted;
use crate::signals::Stop;
use tokio::time::Instant;

/// What every command is given.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) out: Out,
    pub(crate) stop: Stop,
}

/// Runs the command to its end.
pub(crate) async fn run(cli: Cli, out: Out, stop: Stop) -> Done {
    let context = Context { global: cli.global, out, stop };
    match cli.command {
        Command::Init(arguments) => device::init(&context, arguments).await,
        Command::Join(arguments) => pair::join(&context, arguments).await,
        Command::Recover(arguments) => recovery::recover(&context, arguments).await,
        Command::RecoveryKit(arguments) => recovery::make(&context, &arguments).await,
        Command::Leave => device::leave(&context).await,
        Command::Reset => device::reset(&context).await,
        Command::Run(arguments) => watch::run(&context, &arguments).await,
        Command::Wake => wake::wake(&context).await,
        Command::WakeTarget(arguments) => wake::target(&context, arguments).await,
        Command::Invite(arguments) => pair::invite(&context, arguments).await,
        Command::Push(arguments) => push::push(&context, arguments).await,
        Command::Skip(arguments) => skip::skip(&context, arguments).await,
        Command::Snapshot(arguments) => snapshot::snapshot(&context, arguments).await,
        Command::Pull(arguments) => pull::pull(&context, arguments).await,
        Command::File(arguments) => file::file(&context, arguments.action).await,
        Command::Devices(arguments) => device::devices(&context, arguments).await,
        Command::Backup(arguments) => backup::backup(&context, arguments).await,
        Command::Vault(arguments) => vault::vault(&context, arguments).await,
        Command::Alerts(arguments) => alerts::alerts(&context, arguments).await,
        Command::Relay(arguments) => relay::relay(&context, arguments).await,
        Command::Suite(arguments) => suite::suite(&context, &arguments).await,
        Command::Status => device::status(&context).await,
        Command::Doctor => device::doctor(&context).await,
    }
}

/// How long a command that only looks waits for the relay. Long enough to connect, short enough for somebody who waits.
const LOOK: Duration = Duration::from_secs(3);

/// How long another device may take to hand on what was pushed before this one joined, before it counts as offline.
const HISTORY: Duration = Duration::from_secs(5);

impl Context {
    /// How long to wait for the relay and for other devices.
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.global.timeout)
    }

    fn config(&self) -> Done<SyncConfig> {
        let mut config = SyncConfig::default();
        config.home = self.global.home.clone();
        config.embedded_listen = self.global.listen;
        config.discovery.clone_from(&self.global.discovery);
        config.files = self.global.files();
        config.passphrase = self.passphrase().given()?;
        Ok(config)
    }

    /// What opens this home, if it is a passphrase.
    fn passphrase(&self) -> Wanted<'_> {
        let file = self.global.passphrase_file.as_deref();
        Wanted { file, variable: "KSYNC_PASSPHRASE", question: "Passphrase" }
    }

    /// Opens the device of this configuration, and asks for its passphrase if it needs one that was not given.
    async fn client(&self, config: &mut SyncConfig) -> Done<SyncClient> {
        match SyncClient::new(config.clone()).await {
            Err(error) if error.code == Code::PassphraseNeeded && config.passphrase.is_none() => {
                config.passphrase = Some(self.passphrase().or_asked(false).await?);
                Ok(SyncClient::new(config.clone()).await?)
            }
            done => Ok(done?),
        }
    }

    async fn config_with(&self, setup: &Setup) -> Done<SyncConfig> {
        let mut config = self.config()?;
        config.app_id = setup.app_id.clone();
        config.vault = setup.vault.map(Into::into);
        config.kit_snapshots = setup.kit_snapshots.then_some(true);
        let new = !SyncClient::is_initialized(&config.home_path()?);
        if new && setup.vault == Some(VaultName::Passphrase) {
            config.passphrase = Some(self.passphrase().or_asked(true).await?);
        }
        if let Some(relay) = &setup.relay {
            let relay = relay.parse().map_err(|e| Failure::new(Code::AddressInvalid, format!("{e}")))?;
            config.relay = Some(relay);
        }
        Ok(config)
    }

    /// The device in this home. Whoever opens it closes it.
    async fn open(&self, mut config: SyncConfig) -> Done<SyncClient> {
        let home = config.home_path()?;
        if !SyncClient::is_initialized(&home) {
            return Err(Failure::new(Code::NotInitialized, format!("there is no device in {}", home.display())));
        }
        self.client(&mut config).await
    }

    /// Does something with the device in this home. What waits is sent for a moment before this returns.
    async fn with<T>(&self, work: impl AsyncFnOnce(&SyncClient) -> Done<T>) -> Done<T> {
        self.with_config(self.config()?, work).await
    }

    async fn with_config<T>(&self, config: SyncConfig, work: impl AsyncFnOnce(&SyncClient) -> Done<T>) -> Done<T> {
        let client = self.open(config).await?;
        let done = work(&client).await;
        client.close().await;
        done
    }

    /// Waits a little for the relay, so that what is shown is not what was true long ago.
    async fn refresh(&self, client: &SyncClient) -> Done {
        tokio::select! {
            // Offline is no error here: it is what will be shown.
            _ = client.catch_up(LOOK.min(self.timeout())) => Ok(()),
            () = self.stop.wait() => Err(Failure::Interrupted),
        }
    }

    /// Fetches what waits at the relay, and what this device still wants of the others' history if one of them is there.
    /// Without them that may take days, so it is said and is no error.
    async fn catch_up(&self, client: &SyncClient) -> Done {
        let until = Instant::now() + self.timeout();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let error = tokio::select! {
                done = client.catch_up(HISTORY.min(left)) => match done {
                    Ok(()) => return self.say_who_is_away(client).await,
                    Err(error) => error,
                },
                () = self.stop.wait() => return Err(Failure::Interrupted),
            };
            let status = client.status().await?;
            let waits = status.wants_history || status.away_days.is_some();
            if status.connected && status.caught_up && waits {
                self.out.note(
                    "What was pushed before this device joined, or while it was away, comes as soon as another device is \
                     online.",
                );
                return Ok(());
            }
            // What stops this device for good does not get better by waiting.
            let may_pass = matches!(error.code.fault(), sync_client::Fault::Relay);
            if !may_pass || Instant::now() >= until {
                return Err(self.why(client, error).await.into());
            }
        }
    }

    /// This device's own mailbox answers always. What lies with others that are away may be more than it has.
    async fn say_who_is_away(&self, client: &SyncClient) -> Done {
        let away = client.status().await?.waiting_for;
        if !away.is_empty() {
            self.out.note(crate::words::waiting(&away));
        }
        Ok(())
    }

    /// What to say when waiting took too long: that the relay cannot be reached, if that is why.
    async fn why(&self, client: &SyncClient, error: SyncError) -> SyncError {
        if error.code != Code::Timeout {
            return error;
        }
        match client.status().await {
            Ok(status) if !status.connected => match status.trouble {
                Some(trouble) => SyncError::new(trouble.code, trouble.message),
                None => {
                    let message = format!("the relay did not answer within {} s", self.global.timeout);
                    SyncError::new(Code::RelayUnreachable, message)
                }
            },
            _ => error,
        }
    }

    /// Asks a person at a terminal; a script that calls this means it.
    async fn confirm(&self, question: &str) -> Done {
        use std::io::IsTerminal;
        if !self.out.to_a_terminal() || !std::io::stdin().is_terminal() {
            return Ok(());
        }
        self.out.say(format_args!("{question} Type yes to go on:"))?;
        let mut lines = crate::input::lines(Box::new(std::io::stdin()));
        tokio::select! {
            line = lines.recv() => match line {
                Some(crate::input::Line::Text(text)) if text.trim_ascii() == b"yes" => Ok(()),
                _ => Err(Failure::Interrupted),
            },
            () = self.stop.wait() => Err(Failure::Interrupted),
        }
    }
}
