//! `sync-relay admin token`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use sync_relay::admin::{self, size};
use sync_relay::store::TokenUse;
use sync_relay::tokens::{TokenHash, edit};
use sync_relay::{StartError, StoreConfig, date};
use sync_types::Code;

use super::super::{Serve, now_ms};
use super::Out;

#[derive(Subcommand)]
pub(super) enum TokenTask {
    /// Makes a token and shows it once; only its hash is kept
    Add {
        /// Whose it is: letters, digits and . _ - @ +
        name: String,
        /// Until when it makes groups: a day as 2027-01-31, which is the last, or a number of days as 90d
        #[arg(long, value_name = "DAY|DAYSd")]
        expires: Option<String>,
        /// How many groups made with it there may be at once
        #[arg(long, value_name = "N")]
        groups: Option<u64>,
        /// How many bytes the groups made with it may have waiting together
        #[arg(long, value_name = "BYTES")]
        bytes: Option<u64>,
    },
    /// Shows the tokens, none in the clear, and what there is of each, if the relay's database can be read
    List,
    /// Has a token make no more groups. Those that it made stay as they are
    Revoke {
        /// Whose it is
        name: String,
    },
}

/// Where tokens are.
pub(super) struct Place {
    file: PathBuf,
    /// Where there is what was made with them, if the settings hold.
    store: Option<StoreConfig>,
}

impl Place {
    /// The file that is meant is the one of the flag, or that of the settings.
    pub(super) fn of(given: Option<PathBuf>, settings: Result<Box<Serve>, StartError>) -> Result<Self, StartError> {
        let (file, store) = match settings {
            Ok(serve) => {
                let file = given.or_else(|| serve.token_file());
                (file, serve.without_tokens().config().ok().map(|config| config.store))
            }
            Err(_) if given.is_some() => (given, None),
            Err(e) => return Err(e),
        };
        let file = file.ok_or_else(|| {
            let message = "no setting names a token file: set access = \"token:FILE\", or say --file FILE here";
            StartError { code: Code::InvalidArgument, message: message.to_owned() }
        })?;
        Ok(Self { file, store })
    }

    /// What there is of each token; `None` where that cannot be read, as before the first start.
    async fn used(&self) -> Option<HashMap<TokenHash, TokenUse>> {
        let mut database = admin::look(self.store.as_ref()?).await.ok()?;
        let used = database.token_use().await.ok();
        database.close().await;
        Some(used?.into_iter().map(|of| (of.token, of)).collect())
    }
}

pub(super) async fn run(task: TokenTask, place: &Place, out: Out) -> Result<(), StartError> {
    let file = &place.file;
    match task {
        TokenTask::Add { name, expires, groups, bytes } => {
            let last_day_ms = expires.as_deref().map(last_day).transpose()?;
            let token = edit::add(file, &edit::New { name: name.clone(), last_day_ms, groups, bytes })?;
            let text = format!(
                "{}\n\nThis is shown once. Devices put it behind '#' in the relay's address: ksync://…#{}",
                *token, *token
            );
            out.say(text, &json!({ "event": "token", "name": name, "token": *token, "expires": last_day_ms.map(date::day), "groups": groups, "bytes": bytes }));
        }
        TokenTask::List => {
            let now = now_ms();
            let tokens = edit::list(file)?;
            let used = place.used().await;
            if !out.json {
                let head = format!("{:<24} {:<10} {:>12} {:>24}  {}", "name", "last day", "groups", "bytes", "state");
                out.say(head, &Value::Null);
            }
            for token in tokens {
                let name = token.name.as_deref().unwrap_or("-");
                let last = token.expires_ms.map(|at| date::day(at - date::DAY_MS));
                let state = match (&token.revoked, token.is_usable(now)) {
                    (Some(day), _) => format!("revoked on {day}"),
                    (None, true) => "usable".to_owned(),
                    (None, false) => "expired".to_owned(),
                };
                let used = used.as_ref().map(|used| used.get(&token.hash).map_or((0, 0), |of| (of.groups, of.bytes)));
                let (made, held) = used.unzip();
                let groups = of_most(made.map(|n| n.to_string()), token.groups.map(|n| n.to_string()));
                let bytes = of_most(held.map(size), token.bytes.map(size));
                let last_day = last.as_deref().unwrap_or("-");
                let text = format!("{name:<24} {last_day:<10} {groups:>12} {bytes:>24}  {state}");
                let value = json!({
                    "name": token.name,
                    "last_day": last,
                    "groups": token.groups,
                    "groups_made": made,
                    "bytes": token.bytes,
                    "bytes_held": held,
                    "state": state,
                });
                out.say(text, &value);
            }
        }
        TokenTask::Revoke { name } => {
            edit::revoke(file, &name, now_ms())?;
            let text = format!("{name}'s token makes no more groups; those that it made stay");
            out.say(text, &json!({ "event": "revoked", "name": name }));
        }
    }
    Ok(())
}

/// How much there is, of how much there may be.
fn of_most(there: Option<String>, most: Option<String>) -> String {
    match (there, most) {
        (Some(there), Some(most)) => format!("{there} of {most}"),
        (there, None) => there.unwrap_or_else(|| "-".to_owned()),
        (None, Some(most)) => format!("? of {most}"),
    }
}

/// The first millisecond of the last day on which a token is good.
fn last_day(text: &str) -> Result<u64, StartError> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).filter(|days| *days <= 36_500);
    let day = match days {
        Some(days) => date::parse(&date::day(now_ms() + days * date::DAY_MS)),
        None => date::parse(text),
    };
    day.ok_or_else(|| {
        let message = format!("'{text}' is no day as 2027-01-31 and no number of days as 90d");
        StartError { code: Code::InvalidArgument, message }
    })
}
