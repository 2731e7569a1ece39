//! Handing out the log to a consumer: at least once, in order, again until it was taken.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::{ClientEvent, ReceivedBlob, StartAt, SyncClient, SyncError};

const BATCH: usize = 256;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What others push, for one consumer. Each blob that [`Subscription::next`] gives comes again after a restart, unless
/// [`Subscription::ack`] was called for it or a later one.
#[derive(Debug)]
pub struct Subscription {
    client: SyncClient,
    consumer: String,
    channel: Option<String>,
    from: StartAt,
    /// The last position that was handed out.
    after: u64,
    ready: VecDeque<ReceivedBlob>,
}

impl Subscription {
    pub(crate) fn new(client: SyncClient, consumer: &str, channel: Option<&str>, from: StartAt) -> Self {
        let (consumer, channel) = (consumer.to_owned(), channel.map(str::to_owned));
        Self { client, consumer, channel, from, after: 0, ready: VecDeque::new() }
    }

    /// The next blob; waits until there is one.
    ///
    /// # Errors
    /// [`crate::Code::Closed`]; [`crate::Code::StoreCorrupt`] and [`crate::Code::Io`] if the log cannot be read.
    pub async fn next(&mut self) -> Result<ReceivedBlob, SyncError> {
        // The view is marked as seen before the log is read, so that what arrives in between wakes this again.
        let mut snapshot = self.client.inner.snapshot.clone();
        loop {
            if let Some(blob) = self.ready.pop_front() {
                self.after = blob.position;
                return Ok(blob);
            }
            let closed = snapshot.borrow_and_update().closed;
            let reader = &self.client.inner.reader;
            let channel = self.channel.as_deref();
            let blobs = match self.from {
                StartAt::Position => reader.unread(&self.consumer, channel, self.after, BATCH).await?,
                StartAt::Start => reader.beyond(channel, self.after, BATCH).await?,
            };
            if blobs.is_empty() && (closed || snapshot.changed().await.is_err()) {
                return Err(SyncError::closed());
            }
            self.ready = blobs.into();
        }
    }

    /// Notes durably that the consumer has had everything up to this blob.
    ///
    /// # Errors
    /// As [`SyncClient::advance`].
    pub async fn ack(&self, blob: &ReceivedBlob) -> Result<(), SyncError> {
        self.client.advance(&self.consumer, self.channel.as_deref(), blob.position).await
    }
}

/// A handler at work. Dropping it stops the handler between two blobs or in the middle of one.
#[derive(Debug)]
pub struct SubscriptionTask {
    task: JoinHandle<()>,
}

impl Drop for SubscriptionTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn spawn<H, F, E>(mut subscription: Subscription, mut handler: H) -> SubscriptionTask
where
    H: FnMut(ReceivedBlob) -> F + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let run = async move {
        loop {
            let blob = match subscription.next().await {
                Ok(blob) => blob,
                Err(error) if error.code == crate::Code::Closed => return,
                Err(error) => {
                    tracing::warn!(%error, "a subscription cannot read the log; it tries again");
                    tokio::time::sleep(LAST_RETRY).await;
                    continue;
                }
            };
            let mut retry = FIRST_RETRY;
            let mut attempts = 1;
            while handler(blob.clone()).await.is_err() {
                let event = ClientEvent::HandlerFailed {
                    consumer: subscription.consumer.clone(),
                    id: blob.id,
                    attempts,
                    retry_after_ms: u64::try_from(retry.as_millis()).unwrap_or(u64::MAX),
                };
                // Nobody has to listen.
                let _ = subscription.client.inner.events.send(event);
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
                attempts = attempts.saturating_add(1);
            }
            if let Err(error) = subscription.ack(&blob).await {
                // The blob comes again after a restart, which "at least once" allows.
                tracing::warn!(%error, "a consumer's position could not be stored");
            }
        }
    };
    SubscriptionTask { task: tokio::spawn(run) }
}
