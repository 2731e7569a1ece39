//! `relay up`: a relay of one's own on this machine, in one command. It starts the relay's program, takes the group there, and stays.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use sync_client::{Code, RelayAddress, SyncClient, SyncError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Context, relay, watch};
use crate::cli::RelayUp;
use crate::out::{Done, Failure};

const PROGRAM: &str = "sync-relay";
/// The token by which this device, and nobody else, makes its group at the relay.
const TOKEN: &str = "ksync";
/// The file in the relay's folder with a hash of that.
const TOKENS: &str = "tokens";
/// The file there that says that the group was made, so that the token is of no use any more.
const TAKEN: &str = "taken";

/// The line that the relay says when it is ready.
#[derive(Deserialize)]
struct Ready {
    address: String,
    http: Option<String>,
}

/// What the relay's program says of a new token.
#[derive(Deserialize)]
struct NewToken {
    token: String,
}

pub(super) async fn up(context: &Context, arguments: RelayUp) -> Done {
    // Whether there is a group to take there is found out before anything is made.
    context
        .with(async |client| {
            if client.status().await?.group.is_none() {
                return Err(Failure::new(Code::NotInGroup, "this device is in no group: ksync init makes one"));
            }
            let mut own = OwnRelay::start(context, &arguments).await?;
            let done = own.take(context, client).await;
            own.stop().await;
            done
        })
        .await
}

/// The relay's process.
struct OwnRelay {
    child: Child,
    address: RelayAddress,
    taken: PathBuf,
}

impl OwnRelay {
    async fn start(context: &Context, arguments: &RelayUp) -> Done<Self> {
        let program = program(arguments.program.as_deref());
        let folder = match &arguments.data {
            Some(folder) => folder.clone(),
            None => context.config()?.home_path()?.join("own-relay"),
        };
        let tokens = folder.join(TOKENS);
        std::fs::create_dir_all(&folder).map_err(|e| failed(&folder.display(), &e))?;
        let taken = folder.join(TAKEN);
        let token = match taken.exists() {
            true => None,
            false => Some(new_token(&program, &folder, &tokens).await?),
        };
        let mut access = OsString::from("token:");
        access.push(&tokens);
        let mut command = Command::new(&program);
        command.arg("serve").arg("--data").arg(&folder).arg("--listen").arg(&arguments.at).arg("--access").arg(access);
        command.args(&arguments.more).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| failed(&program.display(), &e))?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut lines = stdout.ok_or_else(|| Failure::new(Code::Internal, "the relay's output is missing"))?.lines();
        let ready = tokio::select! {
            line = tokio::time::timeout(context.timeout(), lines.next_line()) => match line {
                Ok(Ok(Some(line))) => serde_json::from_str::<Ready>(&line).ok(),
                _ => None,
            },
            () = context.stop.wait() => return Err(Failure::Interrupted),
        };
        let Some(ready) = ready else {
            return Err(Failure::new(Code::Io, "the relay did not start; above, it says why"));
        };
        // What it says from now on nobody has to read, but somebody has to take.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let place = ready.http.filter(|http| http.starts_with("https://")).unwrap_or(ready.address);
        let text = match &token {
            Some(token) => format!("{place}#{token}"),
            None => place,
        };
        let address = text.parse().map_err(|e| Failure::new(Code::AddressInvalid, format!("the relay's: {e}")))?;
        Ok(Self { child, address, taken })
    }

    /// Takes the group there, and stays until somebody says stop or the relay ends.
    async fn take(&mut self, context: &Context, client: &SyncClient) -> Done {
        let mut events = client.events();
        context.refresh(client).await?;
        relay::change(context, client, std::slice::from_ref(&self.address), false).await?;
        std::fs::write(&self.taken, "").map_err(|e| failed(&self.taken.display(), &e))?;
        context.out.aside(
            "It runs as long as this command does. To have it run for good, see docs/hosting.md, with the same folder.",
        );
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => watch::tell(context, &event)?,
                    None => return Err(Failure::new(Code::Closed, "the client was closed")),
                },
                ended = self.child.wait() => {
                    let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                    return Err(Failure::new(Code::Io, format!("the relay has ended: {how}")));
                }
                () = context.stop.wait() => return Ok(()),
            }
        }
    }

    /// Ends it in order. It tells the devices that are connected when to come back.
    async fn stop(mut self) {
        #[cfg(unix)]
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            use nix::sys::signal::{Signal, kill};
            // It may have ended by itself.
            let _ = kill(nix::unistd::Pid::from_raw(id), Signal::SIGTERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}

/// The one that lies beside this command, unless another one is named; else whatever the system finds.
fn program(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return named.to_owned();
    }
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(&name)).filter(|path| path.exists());
    beside.unwrap_or_else(|| name.into())
}

/// A token that makes one group. What was left by a start that did not come so far makes none.
async fn new_token(program: &Path, folder: &Path, tokens: &Path) -> Done<String> {
    match std::fs::remove_file(tokens) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(&tokens.display(), &e)),
        _ => {}
    }
    let mut command = Command::new(program);
    command.args(["admin", "--json", "--data"]).arg(folder).args(["token", "--file"]).arg(tokens);
    command.args(["add", TOKEN, "--groups", "1"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().await.map_err(|e| failed(&program.display(), &e))?;
    let new = String::from_utf8(output.stdout).ok().and_then(|text| serde_json::from_str::<NewToken>(text.trim()).ok());
    match new {
        Some(new) if output.status.success() => Ok(new.token),
        _ => Err(Failure::new(Code::Io, "the relay's program gave no access token; above, it says why")),
    }
}

fn failed(what: &dyn std::fmt::Display, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => ": install sync-relay beside ksync, or name it with --program",
        _ => "",
    };
    SyncError::new(Code::Io, format!("{what}: {error}{hint}")).into()
}
