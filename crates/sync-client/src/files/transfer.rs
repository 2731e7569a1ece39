//! Content over the streams of other devices and of relays: each is asked one thing about one content, or told of many.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use sync_content::{ContentError, ContentStore, Held, Progress};
use sync_types::frame::{Content as Request, ContentAnswer, ContentAsk, FromRelay, ToRelay};
use sync_types::{BlobId, Code, ContentHash, RelayAddress, Sealed};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout};

use super::porter::Porter;
use crate::engine::Command;
use crate::transport::{FrameReader, FrameWriter, Road};
use crate::{ClientEvent, SyncError};

/// How long a relay may take to answer: it may have to put on its disk what it was given before.
const ANSWER: Duration = Duration::from_secs(30);
/// How long another device may take.
const ANSWER_OF_DEVICE: Duration = Duration::from_secs(5);
/// How often content is given again that the relay wants more of.
const ROUNDS: usize = 4;
/// How often progress is told.
const SHOW: Duration = Duration::from_millis(100);

/// The connections to relays on which content goes.
#[derive(Default)]
pub(super) struct Roads(tokio::sync::Mutex<HashMap<RelayAddress, Arc<Road>>>);

/// What one transfer works with.
pub(super) struct Transfer {
    pub(super) porter: Porter,
    pub(super) roads: Arc<Roads>,
    pub(super) content: Sealed,
    /// A file that has the content.
    pub(super) file: Option<BlobId>,
    /// A large blob that has it.
    pub(super) blob: Option<BlobId>,
}

type Answered = (FrameReader, FrameWriter, ContentAnswer);

impl Roads {
    async fn to(&self, porter: &Porter, relay: &RelayAddress) -> Result<Arc<Road>, SyncError> {
        let mut roads = self.0.lock().await;
        if let Some(road) = roads.get(relay).filter(|road| !road.is_over()) {
            return Ok(road.clone());
        }
        let road = Arc::new(porter.start.dialer.road(relay).await?);
        roads.insert(relay.clone(), road.clone());
        Ok(road)
    }

    async fn forget(&self, relay: &RelayAddress, broken: &Arc<Road>) {
        self.0.lock().await.retain(|at, road| at != relay || !Arc::ptr_eq(road, broken));
    }

    /// Asks a relay something about content, on a stream of its own.
    async fn ask(&self, porter: &Porter, relay: &RelayAddress, ask: ContentAsk) -> Result<Answered, SyncError> {
        let road = self.to(porter, relay).await?;
        let late = || SyncError::new(Code::RelayUnreachable, "the relay does not answer about content");
        let asked = timeout(ANSWER, ask_on(&road, porter, ask)).await.unwrap_or_else(|_| Err(late()));
        if asked.as_ref().is_err_and(|error| error.code == Code::RelayUnreachable) {
            // It is made anew by whoever wants it next.
            self.forget(relay, &road).await;
        }
        asked
    }

    /// Tells every relay that this device has content, or does not want it.
    pub(super) async fn tell(&self, porter: &Porter, hashes: &[ContentHash]) -> Result<(), SyncError> {
        let relays = porter.ask(|reply| Command::ContentRelays { reply }).await?;
        if relays.is_empty() {
            return Err(nobody());
        }
        for relay in relays {
            match self.ask(porter, &relay, ContentAsk::Have(hashes.to_vec())).await {
                Ok((_, _, ContentAnswer::Noted)) => {}
                Ok(_) => return Err(something_else()),
                // It keeps none, so that it waits for nobody's word.
                Err(error) if error.code == Code::ContentUnavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn ask_on(road: &Road, porter: &Porter, ask: ContentAsk) -> Result<Answered, SyncError> {
    let stream = road.open().await?;
    let (mut reader, mut writer, exporter) = (stream.reader, stream.writer, stream.exporter);
    let attach = porter.ask(|reply| Command::AttachForContent { exporter, reply }).await?;
    writer.send(&ToRelay::Content(Request { attach, ask })).await?;
    match reader.next().await? {
        FromRelay::Content(answer) => Ok((reader, writer, answer)),
        FromRelay::Refused(refused) => {
            // What only this device knows of itself, nobody else says.
            let code = match refused.code() {
                Code::Closed | Code::ContentForged | Code::DiskFull | Code::Io => Code::Protocol,
                code => code,
            };
            Err(SyncError::new(code, format!("about content it says {code}")).retry_after(refused.retry_after_ms))
        }
        FromRelay::GoingAway(_) => Err(SyncError::new(Code::Draining, "the relay is stopping")),
        _ => Err(something_else()),
    }
}

impl Transfer {
    /// Gives the content to the first of the group's relays that takes it. Returns on a relay's word that it has it.
    pub(super) async fn give(&self, store: &dyn ContentStore) -> Result<(), SyncError> {
        let mut failed = None;
        for relay in self.porter.ask(|reply| Command::ContentRelays { reply }).await? {
            match self.give_to(&relay, store).await {
                Ok(()) => return Ok(()),
                Err(error) if is_own(&error) || error.code == Code::RateLimited => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(nobody))
    }

    async fn give_to(&self, relay: &RelayAddress, store: &dyn ContentStore) -> Result<(), SyncError> {
        let sent = Arc::new(AtomicU64::new(0));
        let shown = self.shown(0);
        for _ in 0..ROUNDS {
            let (reader, writer, answer) = self.roads.ask(&self.porter, relay, ContentAsk::Give(self.content)).await?;
            match answer {
                ContentAnswer::Held => return Ok(()),
                ContentAnswer::Wanted => {}
                _ => return Err(something_else()),
            }
            let before = sent.load(Ordering::Relaxed);
            let writer = Counted { to: writer, sent: sent.clone(), shown: shown.clone() };
            // Whether it has all of it then, it says when it is asked again.
            store.give(self.content, Box::new(reader), Box::new(writer)).await?;
            if sent.load(Ordering::Relaxed) == before {
                break;
            }
        }
        Err(SyncError::new(Code::RelayUnreachable, "the relay has not taken all of the content"))
    }

    /// Takes what is missing of the content from whoever has it: from another device if one is there, or else from a relay.
    pub(super) async fn take(&self, store: &dyn ContentStore) -> Result<(), SyncError> {
        if self.take_from_devices(store).await? {
            return Ok(());
        }
        let mut failed: Option<SyncError> = None;
        let mut missing: Option<SyncError> = None;
        for relay in self.porter.ask(|reply| Command::ContentRelays { reply }).await? {
            match self.take_from(&relay, store).await {
                Ok(()) => return Ok(()),
                Err(error) if is_own(&error) || error.code == Code::RateLimited => return Err(error),
                // One that keeps no content at all has none of this either.
                Err(error) if matches!(error.code, Code::ContentMissing | Code::ContentUnavailable) => {
                    missing = Some(SyncError::new(Code::ContentMissing, "none of those who are there has it"));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.or(missing).unwrap_or_else(nobody))
    }

    /// Whether all of it came from other devices. That one of them does not hand it over is no failure.
    async fn take_from_devices(&self, store: &dyn ContentStore) -> Result<bool, SyncError> {
        let doors = &self.porter.start.doors;
        doors.settled(&self.porter).await;
        for device in doors.others() {
            let Ok(road) = doors.road(device).await else { continue };
            let asked = timeout(ANSWER_OF_DEVICE, ask_on(&road, &self.porter, ContentAsk::Take(self.content))).await;
            let (reader, writer) = match asked {
                Ok(Ok((reader, writer, ContentAnswer::Given))) => (reader, writer),
                Ok(Err(error)) if passes(&error) => continue,
                Ok(Err(error)) if error.code == Code::Closed => return Err(error),
                _ => {
                    doors.failed(device);
                    continue;
                }
            };
            let held = self.held(store).await?.unwrap_or(self.content.size);
            match store.take(self.content, Box::new(reader), Box::new(writer), self.shown(held)).await {
                Ok(_) => {
                    doors.served(device);
                    return Ok(true);
                }
                Err(error @ ContentError::Source(_)) => {
                    tracing::debug!(%device, %error, "the other device did not hand it over");
                    doors.failed(device);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// How many bytes of it are here; `None`: all.
    async fn held(&self, store: &dyn ContentStore) -> Result<Option<u64>, SyncError> {
        Ok(match store.held(self.content).await? {
            Held::All => None,
            Held::Part(bytes) => Some(bytes),
            Held::Nothing => Some(0),
        })
    }

    async fn take_from(&self, relay: &RelayAddress, store: &dyn ContentStore) -> Result<(), SyncError> {
        let Some(held) = self.held(store).await? else { return Ok(()) };
        let (reader, writer, answer) = self.roads.ask(&self.porter, relay, ContentAsk::Take(self.content)).await?;
        let ContentAnswer::Given = answer else { return Err(something_else()) };
        store.take(self.content, Box::new(reader), Box::new(writer), self.shown(held)).await?;
        Ok(())
    }

    /// Shows how many bytes have come or gone, beyond these, not too often.
    fn shown(&self, before: u64) -> Progress {
        let (porter, content, file) = (self.porter.clone(), self.content, self.file);
        let last: Mutex<Option<Instant>> = Mutex::new(None);
        Arc::new(move |bytes| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < SHOW) {
                return;
            }
            *last = Some(Instant::now());
            let done = before.saturating_add(bytes).min(content.size);
            porter.depot().moved(content, done);
            if let Some(id) = file {
                porter.tell(ClientEvent::FileProgress { id, done, total: content.size });
            }
        })
    }
}

/// Whether another device says that it does not hand something over now, and may another time.
fn passes(error: &SyncError) -> bool {
    matches!(error.code, Code::ContentMissing | Code::ContentUnavailable | Code::RateLimited)
}

/// Whether another relay would not help.
fn is_own(error: &SyncError) -> bool {
    let here =
        [Code::Io, Code::DiskFull, Code::Closed, Code::ContentForged, Code::NotInGroup, Code::Removed, Code::Cloned];
    here.contains(&error.code)
}

fn nobody() -> SyncError {
    SyncError::new(Code::RelayUnreachable, "no relay is connected that could be asked about content")
}

fn something_else() -> SyncError {
    SyncError::new(Code::Protocol, "the relay answered something else about content")
}

/// Counts what is written.
struct Counted {
    to: FrameWriter,
    sent: Arc<AtomicU64>,
    shown: Progress,
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.to).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            let sent = self.sent.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
            (self.shown)(sent);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(cx)
    }
}
