//! The host's orders to a running relay: a socket in its data folder that its owner alone may open. One line of JSON each
//! way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_types::{Code, GroupId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::StartError;
use crate::content::Contents;
use crate::http::Shown;
use crate::hub::Hub;
use crate::mailbox::Refusal;

/// The socket's name in the data folder.
const FILE: &str = "admin.sock";
/// How long one order may take on its way, beside what it costs to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the relay may take for it.
const DOING: Duration = Duration::from_secs(120);
/// The longest order and the longest answer, in bytes.
const ORDER: u64 = 4 << 10;
const ANSWER: u64 = 4 << 20;

/// What a running relay is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To delete everything of a group.
    Purge(GroupId),
    /// Its counters, as at `/metrics`.
    Metrics,
    /// Whether it is ready, as at `/ready`.
    Ready,
}

/// What it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The counters, if these were asked for.
    pub metrics: String,
    /// Whether it is ready, if that was asked.
    pub ready: bool,
}

impl Order {
    fn line(self) -> Value {
        match self {
            Self::Purge(group) => json!({ "do": "purge", "group": HEXLOWER.encode(&group.0) }),
            Self::Metrics => json!({ "do": "metrics" }),
            Self::Ready => json!({ "do": "ready" }),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        match line["do"].as_str()? {
            "purge" => {
                let group = HEXLOWER.decode(line["group"].as_str()?.as_bytes()).ok()?;
                GroupId::from_slice(&group).map(Self::Purge)
            }
            "metrics" => Some(Self::Metrics),
            "ready" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// The relay's end, while it lives.
pub(crate) struct Socket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        // It is replaced at the next start if it stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Listens. A relay that cannot serves all the same, and says so: on a file system without sockets, or where the path is
    /// longer than a socket's may be.
    #[cfg(unix)]
    pub(crate) fn open(folder: &Path, hub: Arc<Hub>, contents: Option<Arc<Contents>>, shown: Shown) -> Option<Self> {
        let path = folder.join(FILE);
        match listen(folder, &path) {
            Ok(listener) => Some(Self { path, task: tokio::spawn(serve(listener, hub, contents, shown)) }),
            Err(error) => {
                tracing::warn!(%error, "admin.sock cannot be made: this relay takes no orders while it runs");
                None
            }
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn open(_: &Path, _: Arc<Hub>, _: Option<Arc<Contents>>, _: Shown) -> Option<Self> {
        None
    }
}

#[cfg(unix)]
fn listen(folder: &Path, path: &Path) -> std::io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    // Under another name until nobody else may open it. One of before is of a relay that is gone: this one has the lock.
    let draft = folder.join("admin.new");
    let _ = std::fs::remove_file(&draft);
    let listener = tokio::net::UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

#[cfg(unix)]
async fn serve(listener: tokio::net::UnixListener, hub: Arc<Hub>, contents: Option<Arc<Contents>>, shown: Shown) {
    // One after the other: its owner alone comes here, and seldom.
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (reader, mut writer) = stream.into_split();
                let mut line = String::new();
                let mut reader = BufReader::new(reader.take(ORDER));
                if !matches!(timeout(PATIENCE, reader.read_line(&mut line)).await, Ok(Ok(1..))) {
                    continue;
                }
                let answer = format!("{}\n", answer(&line, &hub, contents.as_deref(), &shown).await);
                let _ = timeout(PATIENCE, writer.write_all(answer.as_bytes())).await;
            }
            Err(error) => {
                tracing::warn!(%error, "an order of the host could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Deletes a group, and its content behind that: nobody can ask for it any more then.
#[cfg(unix)]
async fn purge(group: GroupId, hub: &Hub, contents: Option<&Contents>) -> Result<(), Refusal> {
    hub.purge(group).await?;
    match contents {
        Some(contents) => contents.forget_group(group).await,
        None => Ok(()),
    }
}

#[cfg(unix)]
async fn answer(line: &str, hub: &Hub, contents: Option<&Contents>, shown: &Shown) -> Value {
    let error = |code: Code, message: &str| json!({ "error": code.as_str(), "message": message });
    match Order::parse(line) {
        Some(Order::Purge(group)) => match purge(group, hub, contents).await {
            Ok(()) => json!({ "ok": true }),
            Err(refusal) => error(refusal.code, &refusal.message),
        },
        Some(Order::Metrics) => json!({ "ok": true, "metrics": shown.text()() }),
        Some(Order::Ready) => json!({ "ok": true, "ready": shown.is_ready().await }),
        None => error(Code::InvalidArgument, "this relay knows no such order: it is of another version"),
    }
}

/// Has the relay that runs on a folder do something.
///
/// # Errors
/// `IO` if it takes no orders; the code with which it refuses.
#[cfg(unix)]
pub async fn ask(folder: &Path, order: &Order) -> Result<Answer, StartError> {
    let path = folder.join(FILE);
    let failed = |e: std::io::Error| {
        let message = format!("the running relay cannot be asked at {}: {e}", path.display());
        StartError::new(Code::Io, message)
    };
    let asked = async {
        let stream = tokio::net::UnixStream::connect(&path).await?;
        let (reader, mut writer) = stream.into_split();
        writer.write_all(format!("{}\n", order.line()).as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(reader.take(ANSWER)).read_line(&mut line).await?;
        std::io::Result::Ok(line)
    };
    let late = || StartError::new(Code::Timeout, "the running relay does not answer");
    let line = timeout(DOING, asked).await.map_err(|_| late())?.map_err(failed)?;
    let answer: Value = serde_json::from_str(&line).map_err(|_| late())?;
    match answer["error"].as_str() {
        None => Ok(Answer {
            metrics: answer["metrics"].as_str().unwrap_or_default().to_owned(),
            ready: answer["ready"].as_bool().unwrap_or(false),
        }),
        Some(code) => {
            let message = answer["message"].as_str().unwrap_or("the relay refused").to_owned();
            Err(StartError::new(Code::from_name(code).unwrap_or(Code::Internal), message))
        }
    }
}

/// Has the relay that runs on a folder do something.
///
/// # Errors
/// `IO`: on this system a running relay takes no orders.
#[cfg(not(unix))]
pub async fn ask(_folder: &Path, _order: &Order) -> Result<Answer, StartError> {
    Err(StartError::new(Code::Io, "on this system a running relay takes no orders: stop it first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        for order in [Order::Purge(GroupId([7; 32])), Order::Metrics, Order::Ready] {
            assert_eq!(Order::parse(&order.line().to_string()), Some(order));
        }
        for wrong in ["", "{}", "{\"do\":\"halt\"}", "{\"do\":\"purge\",\"group\":\"07\"}"] {
            assert_eq!(Order::parse(wrong), None, "{wrong}");
        }
    }
}
