//! `sync-relay admin`: what a host does beside the relay. Results go to stdout, for people or as one JSON object a line.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_relay::admin::{self, Finding, Level, short, size};
use sync_relay::store::{GroupSummary, Order};
use sync_relay::{RelayConfig, StartError, date};
use sync_types::{Code, GroupId};

use super::{Serve, now_ms, settings};

mod tokens;

/// How many groups a short id may be of before it is told that there are more.
const ALIKE: u32 = 3;
/// The shortest id of a group, in hexadecimal digits.
const SHORTEST: usize = 4;

#[derive(Args)]
pub(crate) struct Admin {
    /// The relay's data folder
    #[arg(long, env = "KSYNC_RELAY_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The relay's file with settings
    #[arg(long, env = settings::CONFIG, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Whether `serve` would start, and what may not be meant. Exits with 0 if all is well, 1 if something is notable, 2 if it
    /// would not start
    Check,
    /// Totals of what the relay holds
    Stats,
    /// The groups that hold most. The lag is how many entries the slowest member has not acknowledged
    Groups {
        /// What comes first
        #[arg(long, value_enum, default_value_t)]
        sort: Sort,
        /// How many are shown
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Copies database, key and token file into a folder that does not exist yet, while the relay runs
    Backup {
        /// The folder
        dir: PathBuf,
    },
    /// Puts a backup into the data folder, which has to be empty
    Restore {
        /// The backup
        dir: PathBuf,
    },
    /// Deletes everything of a group, while the relay runs too. Its devices keep what they have; one that has an access token
    /// that holds, or any on an open relay, brings the group back when it next connects
    Purge {
        /// The group's id, or as much of its beginning as no other group has
        group: String,
        /// Does not ask
        #[arg(long)]
        yes: bool,
    },
    /// Manages the file of --access token:FILE. A running relay takes changes up within two seconds
    Token {
        /// The file, if no setting names it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(subcommand)]
        task: tokens::TokenTask,
    },
    /// What is wrong or notable with a relay, running or not. Exits as `check` does
    Doctor,
    /// Whether the relay that runs is ready, asked through its folder: for a container, whose image holds nothing else that
    /// could ask. Exits with 0 if it is, else with 1
    Health,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Sort {
    /// By bytes
    #[default]
    Size,
    /// By lag
    Lag,
}

/// Where results go.
#[derive(Clone, Copy)]
struct Out {
    json: bool,
}

impl Out {
    /// Writes a result in the form that is wanted. Nobody may be reading.
    fn say(self, text: impl std::fmt::Display, value: &Value) {
        let mut out = std::io::stdout().lock();
        let _ = if self.json { writeln!(out, "{value}") } else { writeln!(out, "{text}") };
    }
}

impl Admin {
    /// Does it; gives the exit code.
    pub(crate) async fn run(self, settings: Result<Box<Serve>, StartError>) -> Result<u8, StartError> {
        let out = Out { json: self.json };
        let is_check = matches!(self.task, Task::Check | Task::Doctor);
        if let Task::Token { file, task } = self.task {
            let place = tokens::Place::of(file, settings)?;
            return tokens::run(task, &place, out).await.map(|()| 0);
        }
        let (config, tokens) = match settings.and_then(|serve| {
            let tokens = serve.token_file();
            // Only who looks at the settings reads the files of tokens: they may be what is to be put back.
            let serve = if is_check { *serve } else { serve.without_tokens() };
            serve.config().map(|config| (config, tokens))
        }) {
            Ok(found) => found,
            Err(e) if is_check => return Ok(report(&[Finding::of("settings", &e)], out)),
            Err(e) => return Err(e),
        };
        let data = config.data.clone().unwrap_or_default();
        match self.task {
            Task::Check => return Ok(report(&admin::check(&config).await, out)),
            Task::Doctor => return Ok(report(&admin::doctor(&config).await, out)),
            Task::Health => return health(&data, out).await,
            Task::Stats => stats(&config, out).await?,
            Task::Groups { sort, limit } => groups(&config, sort, limit, out).await?,
            Task::Backup { dir } => {
                let made = admin::backup(&data, &config.store, tokens.as_deref(), &dir).await?;
                let key = if made.key { "its key" } else { "no key, as that comes from the environment" };
                let list = if made.tokens { ", the access tokens" } else { "" };
                let text = format!("{} holds the database ({}), {key}{list}", dir.display(), size(made.bytes));
                let value = json!({ "event": "backup", "folder": dir, "bytes": made.bytes, "key": made.key, "tokens": made.tokens });
                out.say(text, &value);
            }
            Task::Restore { dir } => {
                let restored = admin::restore(&dir, &data, config.identity.is_some()).await?;
                let tokens =
                    restored.tokens.as_ref().map(|file| format!("; start it with --access token:{}", file.display()));
                let text = format!("{} is as it was at the backup{}", data.display(), tokens.unwrap_or_default());
                let value = json!({ "event": "restored", "database": restored.database, "tokens": restored.tokens });
                out.say(text, &value);
            }
            Task::Purge { group, yes } => purge(&config, &data, &group, yes, out).await?,
            Task::Token { .. } => {}
        }
        Ok(0)
    }
}

/// Shows findings, the worst last, and gives the exit code.
fn report(findings: &[Finding], out: Out) -> u8 {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    for finding in sorted {
        let (mark, name) = match finding.level {
            Level::Fine => ("ok     ", "ok"),
            Level::Notable => ("notable", "notable"),
            Level::Wrong => ("WRONG  ", "wrong"),
        };
        let value = json!({ "level": name, "about": finding.about, "text": finding.text });
        out.say(format!("{mark}  {:<10}  {}", finding.about, finding.text), &value);
    }
    match findings.iter().map(|finding| finding.level).max() {
        None | Some(Level::Fine) => 0,
        Some(Level::Notable) => 1,
        Some(Level::Wrong) => 2,
    }
}

async fn health(data: &Path, out: Out) -> Result<u8, StartError> {
    // Not whether its lock is taken: to try that could keep a relay that is starting from taking it.
    let ready = admin::ask(data, &admin::Order::Ready).await?.ready;
    let text = if ready { "ready" } else { "not ready: its store does not answer, or it is stopping" };
    out.say(text, &json!({ "ready": ready }));
    Ok(u8::from(!ready))
}

async fn stats(config: &RelayConfig, out: Out) -> Result<(), StartError> {
    let mut view = admin::look(&config.store).await?;
    let totals = view.totals(config.quotas.max_lag_ms).await.map_err(read_error)?;
    view.close().await;
    let running = config.data.as_deref().is_some_and(admin::is_running);
    let waits = totals.survey.oldest_at_s.map(age_ms);
    let text = format!(
        "relay           {}\ngroups          {}\nentries         {}\nbytes           {}\ndatabase        {}{}\n\
         oldest entry    {}\nlapsed members  {}",
        if running { "runs" } else { "does not run" },
        totals.stats.groups,
        totals.stats.entries,
        size(totals.stats.bytes),
        size(totals.file_bytes),
        totals.free_pages.map(|pages| format!(", {pages} pages free")).unwrap_or_default(),
        waits.map_or_else(
            || "none, or from before this was noted".to_owned(),
            |ms| format!("waits for {}", date::span(ms))
        ),
        totals.survey.lapsed.unwrap_or(0),
    );
    let value = json!({
        "running": running,
        "groups": totals.stats.groups,
        "entries": totals.stats.entries,
        "bytes": totals.stats.bytes,
        "database_bytes": totals.file_bytes,
        "free_pages": totals.free_pages,
        "oldest_entry_age_ms": waits,
        "lapsed_members": totals.survey.lapsed,
    });
    out.say(text, &value);
    Ok(())
}

async fn groups(config: &RelayConfig, sort: Sort, limit: u32, out: Out) -> Result<(), StartError> {
    let mut view = admin::look(&config.store).await?;
    let order = match sort {
        Sort::Size => Order::Size,
        Sort::Lag => Order::Lag,
    };
    let found = view.largest(order, limit).await.map_err(read_error)?;
    let served_ms = view.totals(config.quotas.max_lag_ms).await.map_err(read_error)?.served_ms;
    view.close().await;
    if !out.json {
        let head = format!(
            "{:<10} {:>7} {:>9} {:>11} {:>9}  {:<14} {}",
            "group", "members", "entries", "bytes", "lag", "oldest", "last seen"
        );
        out.say(head, &Value::Null);
    }
    for group in found {
        // The relay writes the last sign of life once an hour, and its own time every ten minutes.
        let silent_ms = (group.seen_ms > 0).then(|| served_ms.saturating_sub(group.seen_ms));
        let oldest = group.oldest_at_s.map(age_ms);
        let span = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), date::span);
        let text = format!(
            "{:<10} {:>7} {:>9} {:>11} {:>9}  {:<14} {}",
            short(&group.group),
            group.members,
            group.entries,
            size(group.bytes),
            group.lag,
            span(oldest),
            silent_ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", date::span(ms))),
        );
        let value = json!({
            "group": short(&group.group),
            "members": group.members,
            "entries": group.entries,
            "bytes": group.bytes,
            "lag": group.lag,
            "oldest_entry_age_ms": oldest,
            "silent_ms": silent_ms,
        });
        out.say(text, &value);
    }
    Ok(())
}

async fn purge(config: &RelayConfig, data: &Path, name: &str, yes: bool, out: Out) -> Result<(), StartError> {
    let found = find(config, name).await?;
    let group = match &found {
        Some(summary) => summary.group,
        None => whole(name).ok_or_else(|| unknown(name))?,
    };
    let what = match &found {
        Some(g) => {
            format!("group {}: {} members, {} entries, {}", short(&g.group), g.members, g.entries, size(g.bytes))
        }
        None => format!("group {}", short(&group)),
    };
    if !yes && !confirmed(&what)? {
        let message = "nothing was deleted";
        return Err(StartError { code: Code::InvalidArgument, message: message.to_owned() });
    }
    admin::purge(data, &config.store, group).await?;
    out.say(format!("deleted {what}"), &json!({ "event": "purged", "group": short(&group) }));
    Ok(())
}

/// The one group of that name. `None` for a group whose rows cannot be listed, if the whole id is given.
async fn find(config: &RelayConfig, name: &str) -> Result<Option<GroupSummary>, StartError> {
    let digits = name.to_ascii_lowercase();
    if digits.len() < SHORTEST || digits.len() > 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("a group is named by {SHORTEST} to 64 hexadecimal digits, as admin groups shows them");
        return Err(StartError { code: Code::InvalidArgument, message });
    }
    let mut view = match admin::look(&config.store).await {
        Ok(view) => view,
        // Another store, whose relay knows the group by its whole id.
        Err(e) if e.code == Code::InvalidArgument && digits.len() == 64 => return Ok(None),
        Err(e) => return Err(e),
    };
    let found = view.beginning(&digits, ALIKE).await.map_err(read_error)?;
    view.close().await;
    match found.len() {
        0 if digits.len() == 64 => Ok(None),
        0 => Err(unknown(name)),
        1 => Ok(found.into_iter().next()),
        _ => {
            // Only here more digits are shown than elsewhere: enough to go on with.
            let ids: Vec<String> =
                found.iter().map(|g| HEXLOWER.encode(&g.group.0)[..digits.len() + 4].to_owned()).collect();
            let message = format!("more than one group begins with {digits}: {}", ids.join(", "));
            Err(StartError { code: Code::InvalidArgument, message })
        }
    }
}

fn whole(name: &str) -> Option<GroupId> {
    HEXLOWER.decode(name.to_ascii_lowercase().as_bytes()).ok().and_then(|bytes| GroupId::from_slice(&bytes))
}

fn unknown(name: &str) -> StartError {
    StartError { code: Code::UnknownGroup, message: format!("no group here begins with {name}") }
}

/// Asks whoever sits there.
fn confirmed(what: &str) -> Result<bool, StartError> {
    let mut input = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        let message = "this deletes a group: say --yes where nobody can be asked";
        return Err(StartError { code: Code::InvalidArgument, message: message.to_owned() });
    }
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "Delete {what}? What its devices have not fetched is gone for ever. Type yes: ");
    let _ = out.flush();
    let mut line = String::new();
    let failed = |e: std::io::Error| StartError { code: Code::Io, message: format!("cannot read the answer: {e}") };
    input.read_line(&mut line).map_err(failed)?;
    Ok(line.trim() == "yes")
}

fn age_ms(at_s: u64) -> u64 {
    now_ms().saturating_sub(at_s * 1_000)
}

fn read_error(error: sync_relay::store::StoreError) -> StartError {
    StartError { code: Code::StoreCorrupt, message: format!("the database cannot be read: {error}") }
}
