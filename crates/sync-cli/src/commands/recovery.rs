//! The recovery kit: making one, and coming back by it.

use std::io::IsTerminal;
use std::path::Path;

use sync_client::{Code, RecoveryWords, RelayAddress, SyncClient, SyncConfig, limits};
use zeroize::Zeroizing;

use super::{Context, LOOK};
use crate::cli::{MakeKit, Recover};
use crate::clock::now_ms;
use crate::event::{Event, RestoredSnapshot};
use crate::input::{self, Line};
use crate::out::{Done, Failure};
use crate::words::ago;

/// How many words stand on a line, for people.
const COLUMNS: usize = 4;
/// How many words a kit has.
const WORDS: usize = 24;

/// Makes a kit for the group of this home, in the place of the one that it may have.
pub(super) async fn make(context: &Context, arguments: &MakeKit) -> Done {
    let mut config = context.config()?;
    config.kit_snapshots = arguments.snapshots;
    context
        .with_config(config, async |client| {
            let before = client.status().await?;
            if before.recovery_kit {
                context
                    .confirm("This makes a new recovery kit. The words of the one before are worth nothing then.")
                    .await?;
            }
            context.catch_up(client).await?;
            let made = tokio::select! {
                made = tokio::time::timeout(context.timeout(), client.make_recovery_kit()) => made,
                () = context.stop.wait() => return Err(Failure::Interrupted),
            };
            match made {
                Ok(kit) => show(context, &kit?),
                Err(_) => {
                    let message = "the group has not taken the recovery kit yet, and its words are gone: make another";
                    Err(Failure::new(Code::Timeout, message))
                }
            }
        })
        .await
}

/// Founds a group with a kit, and shows that.
pub(super) async fn found(context: &Context, client: &SyncClient) -> Done<RecoveryWords> {
    let kit = client.make_recovery_kit().await?;
    tokio::select! {
        reached = client.catch_up(LOOK.min(context.timeout())) => {
            if reached.is_err() {
                context.out.note("The relay has not answered yet. The kit works once this device has connected: `ksync run`.");
            }
        }
        () = context.stop.wait() => return Err(Failure::Interrupted),
    }
    Ok(kit)
}

/// The kit, as the result of the command that asked for it: it is told nowhere else, and kept nowhere.
pub(super) fn show(context: &Context, kit: &RecoveryWords) -> Done {
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    let words: Vec<&str> = kit.words.split(' ').collect();
    for (line, row) in words.chunks(COLUMNS).enumerate() {
        text.push_str("\n ");
        for (column, word) in row.iter().enumerate() {
            text.push_str(&format!(" {:>2} {word:<9}", line * COLUMNS + column + 1));
        }
    }
    let relay = kit.relay.to_string();
    let shown = Zeroizing::new(format!(
        "The recovery kit. Write all of it down, on paper: it is shown this once.\n{}\n\n  relay {relay}\n\n\
         `ksync recover` takes it if every device is lost. Whoever has it can take the group over.",
        *text
    ));
    context.out.tell(&Event::RecoveryKit { words: &kit.words, relay: &relay }, &*shown)
}

pub(super) async fn recover(context: &Context, arguments: Recover) -> Done {
    let mut config = context.config_with(&arguments.setup).await?.device_name(arguments.name.clone());
    let Some(relay) = config.relay.clone() else {
        return Err(Failure::new(Code::InvalidArgument, "--relay is needed: it stands beside the words of the kit"));
    };
    let words = read(context, arguments.words_file.as_deref()).await?;
    let home = config.home_path()?;
    let fresh = !SyncClient::is_initialized(&home);
    let client = match context.client(&mut config).await {
        Ok(client) => client,
        Err(error) => return Err(undo(&config, fresh && error.code() != Some(Code::HomeBusy), error).await),
    };
    let done = come_back(context, &client, &words, &relay, &arguments.name).await;
    let unchanged = client.status().await.is_ok_and(|status| !status.joining && status.group.is_none());
    client.close().await;
    match done {
        Err(failure) => Err(undo(&config, fresh && unchanged, failure).await),
        Ok(()) => Ok(()),
    }
}

async fn undo(config: &SyncConfig, made: bool, failure: Failure) -> Failure {
    if made {
        // The first failure is the one to tell.
        let _ = SyncClient::reset(config).await;
    }
    failure
}

async fn come_back(context: &Context, client: &SyncClient, words: &str, relay: &RelayAddress, name: &str) -> Done {
    let back = tokio::select! {
        done = client.recover(words, relay, Some(name), context.timeout()) => done?,
        () = context.stop.wait() => return Err(Failure::Interrupted),
    };
    let (group, device) = (back.group.to_string(), back.device.to_string());
    let mut told = String::from(
        "This device is the group's one device now: all others are removed. `ksync invite` brings others in.",
    );
    for snapshot in &back.snapshots {
        let left = ago(snapshot.at, now_ms());
        told += &format!(
            "\nBack is the snapshot of «{}» that was left {left}; what came after it is lost.",
            context.out.foreign(&snapshot.channel)
        );
    }
    if back.snapshots.is_empty() {
        told += "\nNo snapshot was left for the kit: what the devices held is lost, but for a backup.";
    }
    if back.left_out > 0 {
        told += &format!("\nThe relay showed {} more that no device of the group vouches for.", back.left_out);
    }
    let snapshots = back.snapshots.iter().map(|s| RestoredSnapshot { channel: &s.channel, at: s.at }).collect();
    context.out.tell(&Event::Recovered { group, device, snapshots, left_out: back.left_out }, told)
}

/// The words, from a file, from a pipe, or as a person types them.
async fn read(context: &Context, file: Option<&Path>) -> Done<Zeroizing<String>> {
    let path = file.unwrap_or(Path::new("-"));
    let typed = file.is_none() && std::io::stdin().is_terminal();
    if typed {
        context.out.note("Type the 24 words of the recovery kit, in as many lines as you like:");
    }
    let mut lines = input::lines(input::open(path)?);
    let mut words = Zeroizing::new(String::with_capacity(1_024));
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = context.stop.wait() => return Err(Failure::Interrupted),
        };
        match line {
            Some(Line::Text(text)) => {
                words.push_str(&Zeroizing::new(String::from_utf8_lossy(&text).into_owned()));
                words.push('\n');
            }
            Some(Line::TooLong) => return Err(input::too_large(limits::BLOB_BYTES).into()),
            Some(Line::Failed(error)) => return Err(Failure::new(Code::Io, format!("cannot read the words: {error}"))),
            None => return Ok(words),
        }
        let count = words.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count();
        if typed && count >= WORDS {
            return Ok(words);
        }
    }
}
