//! `sync-relay admin token`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use sync_relay::tokens::edit;
use sync_relay::{StartError, date};
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
    },
    /// Shows the tokens, none in the clear
    List,
    /// Has a token make no more groups. Those that it made stay as they are
    Revoke {
        /// Whose it is
        name: String,
    },
}

/// The file that is meant: the one of the flag, or that of the settings.
pub(super) fn file(given: Option<PathBuf>, settings: Result<Box<Serve>, StartError>) -> Result<PathBuf, StartError> {
    if let Some(file) = given {
        return Ok(file);
    }
    settings?.token_file().ok_or_else(|| {
        let message = "no setting names a token file: set access = \"token:FILE\", or say --file FILE here";
        StartError { code: Code::InvalidArgument, message: message.to_owned() }
    })
}

pub(super) fn run(task: TokenTask, file: &Path, out: Out) -> Result<(), StartError> {
    match task {
        TokenTask::Add { name, expires, groups } => {
            let last_day_ms = expires.as_deref().map(last_day).transpose()?;
            let token = edit::add(file, &edit::New { name: name.clone(), last_day_ms, groups })?;
            let text = format!(
                "{}\n\nThis is shown once. Devices put it behind '#' in the relay's address: ksync://…#{}",
                *token, *token
            );
            out.say(text, &json!({ "event": "token", "name": name, "token": *token, "expires": last_day_ms.map(date::day), "groups": groups }));
        }
        TokenTask::List => {
            let now = now_ms();
            if !out.json {
                out.say(format!("{:<24} {:<10} {:>6}  {}", "name", "last day", "groups", "state"), &Value::Null);
            }
            for token in edit::list(file)? {
                let name = token.name.as_deref().unwrap_or("-");
                let last = token.expires_ms.map(|at| date::day(at - date::DAY_MS));
                let state = match (&token.revoked, token.is_usable(now)) {
                    (Some(day), _) => format!("revoked on {day}"),
                    (None, true) => "usable".to_owned(),
                    (None, false) => "expired".to_owned(),
                };
                let most = token.groups.map_or_else(|| "-".to_owned(), |n| n.to_string());
                let text = format!("{name:<24} {:<10} {most:>6}  {state}", last.as_deref().unwrap_or("-"));
                let value = json!({ "name": token.name, "last_day": last, "groups": token.groups, "state": state });
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
