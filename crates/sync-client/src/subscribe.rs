//! Handing out the log to a consumer: at least once, in order, again until it was taken.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::store::Wanted;
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
    wanted: Wanted,
    /// The last position that was handed out.
    after: u64,
    ready: VecDeque<ReceivedBlob>,
}

impl Subscription {
    pub(crate) fn new(client: SyncClient, consumer: &str, channel: Option<&str>, from: StartAt) -> Self {
        let (consumer, channel) = (consumer.to_owned(), channel.map(str::to_owned));
        let unread_by = (from == StartAt::Position).then(|| consumer.clone());
        Self { client, consumer, wanted: Wanted { channel, unread_by, own: false }, after: 0, ready: VecDeque::new() }
    }

    /// Hands out what this device pushed, too: for an app whose state is what the log holds.
    #[must_use]
    pub fn with_own(mut self) -> Self {
        self.wanted.own = true;
        self
    }

    /// The position of the last blob that waits for this subscription now; 0 if none does. Whoever has had it has had
    /// everything that was there at this moment.
    ///
    /// # Errors
    /// [`crate::Code::StoreCorrupt`] and [`crate::Code::Io`] if the log cannot be read.
    pub async fn newest(&self) -> Result<u64, SyncError> {
        let newest = self.client.inner.reader.newest(&self.wanted).await?;
        Ok(if newest > self.after { newest } else { 0 })
    }

    /// The next blobs, at most so many, and of so many bytes unless the first is larger; waits until there is one.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    ///
    /// # Panics
    /// If `blobs` is 0.
    pub async fn next_batch(&mut self, blobs: usize, bytes: usize) -> Result<Vec<ReceivedBlob>, SyncError> {
        assert!(blobs > 0, "a batch has room for a blob");
        let first = self.next().await?;
        let mut size = first.data.len();
        let mut batch = vec![first];
        while batch.len() < blobs
            && let Some(next) = self.ready.front()
            && size + next.data.len() <= bytes
            && let Some(next) = self.ready.pop_front()
        {
            size += next.data.len();
            self.after = next.position;
            batch.push(next);
        }
        Ok(batch)
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
            let blobs = self.client.inner.read(&self.wanted, self.after, BATCH).await?;
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
        self.client.advance(&self.consumer, self.wanted.channel.as_deref(), blob.position).await
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
