//! Blobs on their way into a webview: a batch, the word that it was taken, the next batch.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sync_client::{Code, DEFAULT_CONSUMER, ReceivedBlob, StartAt, Subscription, SyncClient, SyncError};
use tauri::ipc::{Channel, InvokeResponseBody};
use tokio::sync::watch;

use crate::pages::Page;
use crate::registry::Task;
use crate::state::{Ksync, Log};
use crate::subscription_types::{SubscribeOptions, SubscriptionInfo};
use crate::types::SyncEvent;

/// How many blobs and bytes one message to the webview holds; a larger blob goes alone.
const BATCH_BLOBS: usize = 256;
const BATCH_BYTES: usize = 512 * 1024;

/// How long a subscription waits before it tries again to read a log that could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// How long it waits before it asks for the next client, when one has ended: no hurry where each of them ends at once.
const NEXT_CLIENT: Duration = Duration::from_millis(100);

/// A subscription of a webview.
#[derive(Debug)]
pub(crate) struct Live {
    wants: Wants,
    progress: Arc<watch::Sender<Progress>>,
    _task: Task,
}

/// Whose position a subscription moves, and past what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wants {
    consumer: String,
    channel: Option<String>,
    own: bool,
}

impl Wants {
    /// A consumer has one position for what it takes of a channel. If one page took more of it than another, the position would
    /// pass blobs that the other one has not had.
    fn go_with(&self, other: &Self) -> Result<(), SyncError> {
        let apart = matches!((&self.channel, &other.channel), (Some(a), Some(b)) if a != b);
        if self.consumer != other.consumer || apart || self == other {
            return Ok(());
        }
        let name = |wants: &Self| {
            let channel = wants.channel.as_ref().map_or("all channels".to_owned(), |name| format!("channel {name:?}"));
            channel + if wants.own { " with this device's own" } else { "" }
        };
        let message = format!(
            "the consumer {:?} has taken {} already, and {} on top of it would share its position; give it a `consumer` of its own",
            self.consumer,
            name(other),
            name(self),
        );
        Err(SyncError::new(Code::InvalidArgument, message))
    }
}

/// How far a webview is.
#[derive(Debug)]
struct Progress {
    /// What is handed out. After a reset, the same positions are other blobs.
    log: Log,
    /// The number of the first batch of this client, and of the one that the webview has now.
    first: u32,
    batch: u32,
    /// The last position in it.
    last: u64,
    /// The last position that it has taken.
    taken: u64,
}

impl Progress {
    fn of(log: Log, first: u32) -> Self {
        Self { log, first, batch: first, last: 0, taken: 0 }
    }

    /// Whether the webview may have this batch from this client.
    fn has_given(&self, batch: u32) -> bool {
        self.batch.wrapping_sub(batch) <= self.batch.wrapping_sub(self.first)
    }
}

/// Begins to hand out blobs.
pub(crate) async fn begin(
    ksync: &Arc<Ksync>,
    page: &Page,
    options: SubscribeOptions,
    out: Channel<InvokeResponseBody>,
) -> Result<SubscriptionInfo, SyncError> {
    let log = ksync.log().await?;
    // A window of its own has a position of its own: what one window has taken while another one was gone still comes there.
    let consumer = options.consumer.unwrap_or_else(|| own_consumer(page.webview()));
    let wants = Wants { consumer, channel: options.channel, own: options.own };
    let work = Work {
        ksync: ksync.clone(),
        wants: wants.clone(),
        from: options.from.into(),
        out,
        progress: Arc::new(watch::channel(Progress::of(log.clone(), 0)).0),
    };
    let subscription = work.open(&log.client)?;
    // What another subscription of this consumer takes moves the position before this one looks, or not past what it has had:
    // else blobs that the page is told to wait for would never come.
    let _still = ksync.positions.write().await;
    let until = subscription.newest().await?.to_string();
    let allow = |live: &Live| wants.go_with(&live.wants);
    let begun =
        |_| Live { wants: wants.clone(), progress: work.progress.clone(), _task: Task::spawn(work.run(subscription)) };
    let id = ksync.pages.still(page, || ksync.subscriptions.insert(page.webview(), allow, begun))??;
    Ok(SubscriptionInfo { id, until })
}

/// The webview has taken everything of this batch up to this position. A consumer that several pages share moves only as far as
/// all of them have come: each handler gets each blob.
pub(crate) async fn taken(ksync: &Ksync, webview: &str, id: u32, batch: u32, position: u64) -> Result<(), SyncError> {
    let _moving = ksync.positions.read().await;
    let found = ksync.subscriptions.with(webview, id, |live| {
        let mut given = None;
        live.progress.send_if_modified(|progress| {
            // Of this client: the next one's log has other blobs at these positions.
            given = progress.has_given(batch).then(|| (progress.last, progress.log.client.clone()));
            let moves = progress.has_given(batch) && (progress.taken + 1..=progress.last).contains(&position);
            if moves {
                progress.taken = position;
            }
            moves
        });
        match given {
            Some((last, _)) if position > last => {
                Err(SyncError::new(Code::InvalidArgument, "this page has not been given so much"))
            }
            // It is written even if it was counted already: the page says it again where that has failed.
            given => Ok(given.map(|(_, client)| (client, live.wants.clone()))),
        }
    });
    let Some((client, wants)) = found.ok_or_else(unknown)?? else { return Ok(()) };
    // One that has not come over to this client's log yet has taken nothing of it.
    let all = ksync.subscriptions.least(|live| {
        let progress = live.progress.borrow();
        let taken = if progress.log.client.is_same(&client) { progress.taken } else { 0 };
        (live.wants == wants).then_some(taken)
    });
    client.advance(&wants.consumer, wants.channel.as_deref(), all.unwrap_or(position)).await
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
    let consumer = ksync.subscriptions.with(webview, id, |live| live.wants.consumer.clone()).ok_or_else(unknown)?;
    ksync.tell(SyncEvent::HandlerFailed { consumer, id: blob, attempts, retry_after_ms });
    Ok(())
}

fn unknown() -> SyncError {
    SyncError::new(Code::InvalidArgument, "this page has no such subscription")
}

struct Work {
    ksync: Arc<Ksync>,
    wants: Wants,
    from: StartAt,
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
                Err(error) if error.code == Code::Closed => tokio::time::sleep(NEXT_CLIENT).await,
                Err(error) => {
                    tracing::warn!(%error, "a subscription cannot read the log; it tries again");
                    tokio::time::sleep(RETRY).await;
                }
            }
            subscription = loop {
                match self.again().await {
                    Ok(open) => break open,
                    // The app exits.
                    Err(error) if error.code == Code::Closed => return,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            };
        }
    }

    fn open(&self, client: &SyncClient) -> Result<Subscription, SyncError> {
        let Wants { consumer, channel, own } = &self.wants;
        let subscription = client.subscribe(consumer, channel.as_deref(), self.from)?;
        Ok(if *own { subscription.with_own() } else { subscription })
    }

    async fn again(&self) -> Result<Subscription, SyncError> {
        let log = self.ksync.next_log().await?;
        let subscription = self.open(&log.client)?;
        let mut over = None;
        self.progress.send_modify(|progress| {
            let first = progress.batch.wrapping_add(1);
            over = (progress.log.number != log.number).then_some(first);
            *progress = Progress::of(log, first);
        });
        if let Some(first) = over {
            // The page may have to wait long for the new log's first blob, and what it has of the old one, and waits for, is void.
            // Whether it still listens, the next batch tells.
            let _ = self.out.send(InvokeResponseBody::Raw(message(first, &[])));
        }
        Ok(subscription)
    }

    /// Until the log cannot be read (an error) or the webview is gone.
    async fn hand_out(&self, mut subscription: Subscription) -> Result<(), SyncError> {
        let mut told = self.progress.subscribe();
        let client = told.borrow().log.client.clone();
        loop {
            let batch = subscription.next_batch(BATCH_BLOBS, BATCH_BYTES).await?;
            let Some(last) = batch.last().map(|blob| blob.position) else { continue };
            let mut number = 0;
            self.progress.send_modify(|progress| {
                progress.batch = progress.batch.wrapping_add(1);
                progress.last = last;
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
    snapshot: bool,
    bytes: usize,
}

/// The consumer of a window that names none.
pub(crate) fn own_consumer(webview: &str) -> String {
    format!("{DEFAULT_CONSUMER}/{webview}")
}

/// A batch as one message: its number and the length of the heads (u32 each, little-endian), the heads in JSON, and the blobs'
/// bytes. One without blobs says that the log is over which the batches before it came from.
fn message(number: u32, batch: &[ReceivedBlob]) -> Vec<u8> {
    let heads: Vec<Head<'_>> = batch
        .iter()
        .map(|blob| Head {
            id: blob.id.to_string(),
            device: blob.device.to_string(),
            channel: &blob.channel,
            position: blob.position.to_string(),
            own: blob.own,
            snapshot: blob.snapshot,
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
            snapshot: n == 1,
        };
        let message = message(7, &[blob(1, b"ab"), blob(2, b"c")]);
        assert_eq!(message[..4], 7_u32.to_le_bytes());
        let length = u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
        let heads: serde_json::Value = serde_json::from_slice(&message[8..8 + length]).unwrap();
        assert_eq!((&heads[0]["bytes"], &heads[1]["bytes"]), (&2.into(), &1.into()));
        assert_eq!((&heads[0]["own"], &heads[1]["own"]), (&false.into(), &true.into()));
        assert_eq!((&heads[0]["snapshot"], &heads[1]["snapshot"]), (&true.into(), &false.into()));
        assert_eq!(heads[1]["position"], "2");
        assert_eq!(&message[8 + length..], b"abc");
    }
    /// A page that takes what it is given when told to.
    struct Taker {
        ksync: Arc<Ksync>,
        webview: &'static str,
        id: u32,
        until: u64,
        batches: std::sync::mpsc::Receiver<(u32, Vec<u64>)>,
    }

    impl Taker {
        async fn subscribe(
            ksync: &Arc<Ksync>,
            webview: &'static str,
            options: SubscribeOptions,
        ) -> Result<Self, SyncError> {
            let (tell, batches) = std::sync::mpsc::channel();
            let out = Channel::new(move |body| {
                let InvokeResponseBody::Raw(bytes) = body else { panic!("bytes") };
                let number = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
                let heads: Vec<serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
                let positions = heads.iter().map(|head| head["position"].as_str().unwrap().parse().unwrap()).collect();
                // The test may be over.
                let _ = tell.send((number, positions));
                Ok(())
            });
            let page = ksync.pages.of(webview, webview);
            let SubscriptionInfo { id, until } = begin(ksync, &page, options, out).await?;
            Ok(Self { ksync: ksync.clone(), webview, id, until: until.parse().unwrap(), batches })
        }

        /// The number of the next batch, and the last position in it.
        async fn next(&self) -> (u32, u64) {
            let (number, positions) = self.next_whole().await;
            (number, *positions.last().unwrap())
        }

        async fn next_whole(&self) -> (u32, Vec<u64>) {
            loop {
                match self.batches.try_recv() {
                    Ok(batch) => return batch,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }

        async fn ack(&self, (batch, position): (u32, u64)) -> Result<(), SyncError> {
            taken(&self.ksync, self.webview, self.id, batch, position).await
        }
    }

    fn own(channel: Option<&str>) -> SubscribeOptions {
        SubscribeOptions { channel: channel.map(str::to_owned), own: true, ..SubscribeOptions::default() }
    }

    struct World {
        _home: tempfile::TempDir,
        ksync: Arc<Ksync>,
    }

    fn world() -> World {
        let home = tempfile::tempdir().unwrap();
        let config = sync_client::SyncConfig::at(home.path());
        World { ksync: Arc::new(Ksync::new(Ok(config), crate::consent::Consent::default())), _home: home }
    }

    impl World {
        async fn push(&self, text: &str) -> u64 {
            let client = self.ksync.client().await.unwrap();
            client.push_to("notes", text.as_bytes().to_vec()).await.unwrap().position
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_one_window_took_while_another_one_reloaded_still_comes_there() {
        let world = world();
        let (a, b) = (
            Taker::subscribe(&world.ksync, "a", own(None)).await.unwrap(),
            Taker::subscribe(&world.ksync, "b", own(None)).await.unwrap(),
        );
        world.push("1").await;
        let (first, _) = (a.next().await, b.next().await);
        world.ksync.page_is_gone("b");
        a.ack(first).await.unwrap();
        let b = Taker::subscribe(&world.ksync, "b", own(None)).await.unwrap();
        assert_eq!(b.next().await.1, first.1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_consumer_that_would_pass_what_another_page_has_not_had_is_refused() {
        let world = world();
        let named = |channel, own| SubscribeOptions {
            channel: Option::<&str>::map(channel, str::to_owned),
            consumer: Some("db".to_owned()),
            own,
            ..SubscribeOptions::default()
        };
        let _notes = Taker::subscribe(&world.ksync, "main", named(Some("notes"), false)).await.unwrap();
        for overlapping in [named(None, false), named(Some("notes"), true)] {
            let refused = Taker::subscribe(&world.ksync, "other", overlapping).await.err().unwrap();
            assert_eq!(refused.code, Code::InvalidArgument);
            assert!(refused.message.contains("`consumer` of its own"), "{refused}");
        }
        // The same again, another channel, and another consumer are fine.
        for fine in [named(Some("notes"), false), named(Some("tasks"), true), own(None)] {
            Taker::subscribe(&world.ksync, "other", fine).await.unwrap();
        }
        let mut long = own(None);
        long.consumer = Some("c".repeat(257));
        assert_eq!(Taker::subscribe(&world.ksync, "other", long).await.err().unwrap().code, Code::InvalidArgument);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_cannot_take_what_it_was_not_given() {
        let world = world();
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        world.push("1").await;
        let (batch, position) = page.next().await;
        assert_eq!(page.ack((batch, position + 1)).await.unwrap_err().code, Code::InvalidArgument);
        world.ksync.page_is_gone("main");
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        let again = page.next().await;
        assert_eq!(again.1, position);
        page.ack(again).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_that_goes_while_it_subscribes_leaves_nothing_behind() {
        let world = world();
        let page = world.ksync.pages.of("main", "main");
        world.ksync.window_is_gone("main");
        let late = begin(&world.ksync, &page, own(None), Channel::new(|_| Ok(()))).await;
        assert_eq!(late.unwrap_err().code, Code::Closed);
        assert_eq!(world.ksync.subscriptions.least(|_| Some(0)), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_is_told_at_once_that_a_reset_has_ended_the_log() {
        let world = world();
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        world.push("old").await;
        let old = page.next().await;
        world.ksync.reset().await.unwrap();
        let (number, nothing) = page.next_whole().await;
        assert_eq!((number, nothing), (old.0 + 1, vec![]));
        // It says nothing about the new log.
        page.ack(old).await.unwrap();
        world.push("new").await;
        let new = page.next().await;
        page.ack(new).await.unwrap();
        world.ksync.page_is_gone("main");
        assert_eq!(Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap().until, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_was_opened_anew_is_not_over() {
        let world = world();
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        world.push("1").await;
        let first = page.next().await;
        world.ksync.client().await.unwrap().close().await;
        assert_eq!(page.next().await.1, first.1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_page_says_again_is_written_although_it_was_counted_before() {
        let world = world();
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        world.push("1").await;
        let first = page.next().await;
        // A write that failed leaves this, and the next batch behind it.
        let count = |live: &Live| live.progress.send_modify(|progress| progress.taken = first.1);
        world.ksync.subscriptions.with("main", page.id, count).unwrap();
        world.push("2").await;
        let second = page.next().await;
        page.ack(first).await.unwrap();
        world.ksync.page_is_gone("main");
        let page = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
        assert_eq!(page.next_whole().await.1, [second.1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_begins_gets_what_it_is_told_to_wait_for_whatever_another_one_acknowledges() {
        let world = world();
        for later in 0..100 {
            let leaving = Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap();
            world.push("1").await;
            let last = leaving.next().await;
            // At each moment of it.
            let begin = async {
                for _ in 0..later {
                    tokio::task::yield_now().await;
                }
                Taker::subscribe(&world.ksync, "main", own(None)).await.unwrap()
            };
            let (acked, begun) = tokio::join!(leaving.ack(last), begin);
            acked.unwrap();
            // Something always comes; the question is from where on.
            let newest = world.push("2").await;
            let (_, positions) = begun.next_whole().await;
            assert!(begun.until == 0 || positions[0] <= begun.until, "{positions:?} is behind {}", begun.until);
            world.ksync.page_is_gone("main");
            let client = world.ksync.client().await.unwrap();
            client.advance(&format!("{DEFAULT_CONSUMER}/main"), None, newest).await.unwrap();
        }
    }
}
