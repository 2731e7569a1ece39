//! Blobs on their way into a webview: a batch, the word that it was taken, the next batch.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sync_client::{Code, DEFAULT_CONSUMER, ReceivedBlob, Subscription, SyncClient, SyncError};
use tauri::ipc::{Channel, InvokeResponseBody};
use tokio::sync::watch;

use crate::registry::Task;
use crate::state::Ksync;
use crate::types::{SubscribeOptions, SubscriptionInfo, SyncEvent};

/// How many blobs and bytes one message to the webview holds; a larger blob goes alone.
const BATCH_BLOBS: usize = 256;
const BATCH_BYTES: usize = 512 * 1024;

/// How long a subscription waits before it tries again to read a log that could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// A subscription of a webview.
#[derive(Debug)]
pub(crate) struct Live {
    consumer: String,
    channel: Option<String>,
    progress: Arc<watch::Sender<Progress>>,
    _task: Task,
}

/// How far a webview is.
#[derive(Debug)]
struct Progress {
    /// Whose log is handed out. After a reset, the same positions are other blobs.
    client: SyncClient,
    /// The number of the batch that the webview has now.
    batch: u32,
    /// The last position that it has taken.
    taken: u64,
}

impl Progress {
    fn of(client: SyncClient) -> Self {
        Self { client, batch: 0, taken: 0 }
    }
}

/// Begins to hand out blobs.
pub(crate) async fn begin(
    ksync: &Arc<Ksync>,
    webview: &str,
    options: SubscribeOptions,
    out: Channel<InvokeResponseBody>,
) -> Result<SubscriptionInfo, SyncError> {
    let client = ksync.client().await?;
    let consumer = options.consumer.clone().unwrap_or_else(|| DEFAULT_CONSUMER.to_owned());
    let subscription = open(&client, &consumer, &options)?;
    let until = subscription.newest().await?.to_string();
    let (ksync_of_task, progress) = (ksync.clone(), Arc::new(watch::channel(Progress::of(client)).0));
    let id = ksync.subscriptions.insert(webview, |_| {
        let channel = options.channel.clone();
        let work = Work { ksync: ksync_of_task, consumer: consumer.clone(), options, out, progress: progress.clone() };
        Live { consumer, channel, progress, _task: Task::spawn(work.run(subscription)) }
    });
    Ok(SubscriptionInfo { id, until })
}

fn open(client: &SyncClient, consumer: &str, options: &SubscribeOptions) -> Result<Subscription, SyncError> {
    let subscription = client.subscribe(consumer, options.channel.as_deref(), options.from.into())?;
    Ok(if options.own { subscription.with_own() } else { subscription })
}

/// The webview has taken everything of this batch up to this position. A consumer that several pages share moves only as far as
/// all of them have come: each handler gets each blob.
pub(crate) async fn taken(ksync: &Ksync, webview: &str, id: u32, batch: u32, position: u64) -> Result<(), SyncError> {
    let found = ksync.subscriptions.with(webview, id, |live| {
        let moved = live.progress.send_if_modified(|progress| {
            let moves = progress.batch == batch && progress.taken < position;
            if moves {
                progress.taken = position;
            }
            moves
        });
        // Of the client that the batch came from: the next one's log has other blobs at these positions.
        moved.then(|| (live.progress.borrow().client.clone(), live.consumer.clone(), live.channel.clone()))
    });
    let Some((client, consumer, channel)) = found.ok_or_else(unknown)? else { return Ok(()) };
    let all = ksync
        .subscriptions
        .least(|live| (live.consumer == consumer && live.channel == channel).then(|| live.progress.borrow().taken));
    client.advance(&consumer, channel.as_deref(), all.unwrap_or(position)).await
}

/// A handler of the webview did not take a blob, and gets it again.
pub(crate) fn failed(
    ksync: &Ksync,
    webview: &str,
    id: u32,
    blob: String,
    attempts: u32,
    retry_after_ms: u32,
) -> Result<(), SyncError> {
    let consumer = ksync.subscriptions.with(webview, id, |live| live.consumer.clone()).ok_or_else(unknown)?;
    ksync.tell(SyncEvent::HandlerFailed { consumer, id: blob, attempts, retry_after_ms });
    Ok(())
}

fn unknown() -> SyncError {
    SyncError::new(Code::InvalidArgument, "this page has no such subscription")
}

struct Work {
    ksync: Arc<Ksync>,
    consumer: String,
    options: SubscribeOptions,
    out: Channel<InvokeResponseBody>,
    progress: Arc<watch::Sender<Progress>>,
}

impl Work {
    async fn run(self, mut subscription: Subscription) {
        loop {
            match self.hand_out(subscription).await {
                // The webview does not listen any more.
                Ok(()) => return,
                // A reset closes the client, and the next one has a log of its own.
                Err(error) if error.code == Code::Closed => {}
                Err(error) => {
                    tracing::warn!(%error, "a subscription cannot read the log; it tries again");
                    tokio::time::sleep(RETRY).await;
                }
            }
            subscription = loop {
                match self.again().await {
                    Ok(open) => break open,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            };
        }
    }

    async fn again(&self) -> Result<Subscription, SyncError> {
        let client = self.ksync.client().await?;
        let subscription = open(&client, &self.consumer, &self.options)?;
        self.progress.send_modify(|progress| {
            *progress = Progress { batch: progress.batch.wrapping_add(1), ..Progress::of(client) };
        });
        Ok(subscription)
    }

    /// Until the log cannot be read (an error) or the webview is gone.
    async fn hand_out(&self, mut subscription: Subscription) -> Result<(), SyncError> {
        let mut told = self.progress.subscribe();
        let client = told.borrow().client.clone();
        loop {
            let batch = subscription.next_batch(BATCH_BLOBS, BATCH_BYTES).await?;
            let Some(last) = batch.last().map(|blob| blob.position) else { continue };
            let mut number = 0;
            self.progress.send_modify(|progress| {
                progress.batch = progress.batch.wrapping_add(1);
                number = progress.batch;
            });
            if self.out.send(InvokeResponseBody::Raw(message(number, &batch))).is_err() {
                return Ok(());
            }
            tokio::select! {
                taken = told.wait_for(|progress| progress.taken >= last) => if taken.is_err() { return Ok(()) },
                () = client.closed() => return Err(SyncError::new(Code::Closed, "the device was deleted")),
            }
        }
    }
}

/// What the webview is told of a blob beside its bytes.
#[derive(Serialize)]
struct Head<'a> {
    id: String,
    device: String,
    channel: &'a str,
    position: String,
    own: bool,
    bytes: usize,
}

/// A batch as one message: its number and the length of the heads (u32 each, little-endian), the heads in JSON, and the blobs'
/// bytes.
fn message(number: u32, batch: &[ReceivedBlob]) -> Vec<u8> {
    let heads: Vec<Head<'_>> = batch
        .iter()
        .map(|blob| Head {
            id: blob.id.to_string(),
            device: blob.device.to_string(),
            channel: &blob.channel,
            position: blob.position.to_string(),
            own: blob.own,
            bytes: blob.data.len(),
        })
        .collect();
    // Strings, numbers and truth values are always JSON.
    let heads = serde_json::to_vec(&heads).unwrap_or_default();
    let length = u32::try_from(heads.len()).unwrap_or(u32::MAX);
    let bytes: usize = batch.iter().map(|blob| blob.data.len()).sum();
    let mut message = Vec::with_capacity(8 + heads.len() + bytes);
    message.extend_from_slice(&number.to_le_bytes());
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&heads);
    for blob in batch {
        message.extend_from_slice(&blob.data);
    }
    message
}

#[cfg(test)]
mod tests {
    use sync_client::{BlobId, DeviceId};

    use super::*;

    #[test]
    fn a_batch_is_read_back_by_its_heads() {
        let blob = |n: u8, data: &[u8]| ReceivedBlob {
            id: BlobId::from_slice(&[n; 16]).unwrap(),
            device: DeviceId::from_slice(&[9; 16]).unwrap(),
            channel: "notes/é".to_owned(),
            position: u64::from(n),
            own: n == 2,
            data: data.to_vec(),
        };
        let message = message(7, &[blob(1, b"ab"), blob(2, b"c")]);
        assert_eq!(message[..4], 7_u32.to_le_bytes());
        let length = u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
        let heads: serde_json::Value = serde_json::from_slice(&message[8..8 + length]).unwrap();
        assert_eq!((&heads[0]["bytes"], &heads[1]["bytes"]), (&2.into(), &1.into()));
        assert_eq!((&heads[0]["own"], &heads[1]["own"]), (&false.into(), &true.into()));
        assert_eq!(heads[1]["position"], "2");
        assert_eq!(&message[8 + length..], b"abc");
    }
}
