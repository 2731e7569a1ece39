//! Content straight from device to device. While a device is connected in the foreground and its group has files, it has a door
//! open, and tells the other members in presence where that is. Whoever lacks content asks those first whose doors it knows; the
//! relays are for when nobody is there.
//!
//! Anybody may come to a door. Before a byte is served, each request proves that a member asks, over the very connection it came on;
//! and it is served content of the group, by its hash, and nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sync_content::ContentStore;
use sync_types::content::{DIRECT_CHANNEL, Door, Hearing};
use sync_types::frame::{About, Attach, ContentAnswer, ContentAsk, FromRelay, Refused, ToRelay};
use sync_types::{Code, DeviceId, Opaque, RelayAddress, Sealed, decode, encode};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::porter::Porter;
use crate::engine::{Command, Snapshot};
use crate::transport::{Doorway, Road, Stream, Visitor};
use crate::{Mode, SyncError};

/// How long whoever fetches waits for the first of the others to tell where it is, behind having asked for it.
const SETTLE: Duration = Duration::from_millis(500);
/// How often a device tells where it is within which time at the most: when it opens its door, when its places are known better a
/// moment later, and to somebody who asks right behind that.
const TELLS: usize = 3;
const TELL: Duration = Duration::from_secs(1);
/// How long a device that could not be reached is left alone, unless it tells anew where it is.
const REST: Duration = Duration::from_secs(60);
/// How long until a door that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// How many visitors there may be at once.
const VISITORS: usize = 32;
/// How many streams of one visitor are answered at once, and how many of all visitors are served content.
const STREAMS: usize = 16;
const SERVED: usize = 16;
/// How long a visitor may take to ask, and to prove who it is.
const ASK: Duration = Duration::from_secs(10);
/// How often it is looked whether who is served is a member still.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The doors that are known: the own one, and those of the other members.
pub(crate) struct Doors {
    known: watch::Sender<()>,
    state: Mutex<State>,
    /// Somebody wants to hear where this device is.
    asked: Notify,
    /// Held by each that is served.
    places: Semaphore,
}

#[derive(Default)]
struct State {
    own: Option<Own>,
    /// The last try to open it has failed.
    failed: bool,
    others: HashMap<DeviceId, Other>,
    /// Who handed something over last: it is asked first.
    last: Option<DeviceId>,
}

/// The own door.
struct Own {
    doorway: Arc<Doorway>,
    /// Until then the others may be about to answer.
    settled: Instant,
}

/// Another member's.
struct Other {
    door: Door,
    road: Option<Arc<Road>>,
    /// Until then it is left alone.
    rests: Option<Instant>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            known: watch::Sender::new(()),
            state: Mutex::default(),
            asked: Notify::new(),
            places: Semaphore::new(SERVED),
        }
    }
}

impl Doors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member tells where it is. What cannot be read is of a later build, and left alone.
    pub(crate) fn heard(&self, device: DeviceId, data: &[u8]) {
        let Ok(door) = decode::<Door>(data) else { return };
        if door.hearing == Hearing::Answer {
            self.asked.notify_one();
        }
        let mut state = self.state();
        let same = |other: &Other| other.door.endpoint == door.endpoint;
        // The connection to one that only moved lives on.
        let road = state.others.remove(&device).filter(same).and_then(|other| other.road);
        state.others.insert(device, Other { door, road, rests: None });
        drop(state);
        self.known.send_replace(());
    }

    /// Changes whenever a device has told where it is.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.known.subscribe()
    }

    fn opened(&self, doorway: Arc<Doorway>) {
        let mut state = self.state();
        (state.own, state.failed) = (Some(Own { doorway, settled: Instant::now() + SETTLE }), false);
        drop(state);
        self.known.send_replace(());
    }

    /// Nobody is reached any more, nor reaches this device.
    fn shut(&self) -> Option<Arc<Doorway>> {
        let mut state = self.state();
        state.others.values_mut().for_each(|other| other.road = None);
        state.own.take().map(|own| own.doorway)
    }

    /// Ends it for good.
    pub(crate) async fn close(&self) {
        if let Some(doorway) = self.shut() {
            doorway.close().await;
        }
    }

    /// The group is gone, and all that was heard in it.
    fn forget(&self) {
        let mut state = self.state();
        state.others.clear();
        state.last = None;
    }

    /// It could not be opened.
    fn failed_to_open(&self) {
        if !std::mem::replace(&mut self.state().failed, true) {
            self.known.send_replace(());
        }
    }

    /// Waits until somebody has told where it is, or that takes long. A door that is about to be opened is waited for too.
    pub(super) async fn settled(&self, porter: &Porter) {
        let mut known = self.known.subscribe();
        let began = Instant::now();
        loop {
            let settled = {
                let wanted = is_wanted(porter, &porter.snapshot.borrow(), porter.depot().generation());
                let state = self.state();
                let own = match &state.own {
                    Some(own) => Some(own.settled),
                    None => (wanted && !state.failed).then_some(began + SETTLE),
                };
                own.filter(|_| state.others.is_empty())
            };
            let Some(settled) = settled.filter(|at| *at > Instant::now()) else { return };
            tokio::select! {
                _ = known.changed() => {}
                () = sleep_until(settled) => {}
            }
        }
    }

    /// Those who may be reached, in the order in which to ask them.
    pub(super) fn others(&self) -> Vec<DeviceId> {
        let (state, now) = (self.state(), Instant::now());
        if state.own.is_none() {
            return Vec::new();
        }
        let there = state.others.iter().filter(|(_, other)| other.rests.is_none_or(|until| until <= now));
        let mut there: Vec<DeviceId> = there.map(|(device, _)| *device).collect();
        there.sort_by_key(|device| (state.last != Some(*device), *device));
        there
    }

    /// A connection to this device; one that cannot be reached is left alone for a while.
    pub(super) async fn road(&self, device: DeviceId) -> Result<Arc<Road>, SyncError> {
        let gone = || SyncError::new(Code::RelayUnreachable, "the other device is gone");
        let (doorway, door) = {
            let state = self.state();
            let other = state.others.get(&device).ok_or_else(gone)?;
            if let Some(road) = other.road.as_ref().filter(|road| !road.is_over()) {
                return Ok(road.clone());
            }
            (state.own.as_ref().ok_or_else(gone)?.doorway.clone(), other.door.clone())
        };
        let reached = doorway.reach(&door).await.map(Arc::new);
        let mut state = self.state();
        if let Some(other) = state.others.get_mut(&device).filter(|other| other.door.endpoint == door.endpoint) {
            match &reached {
                Ok(road) => other.road = Some(road.clone()),
                Err(_) => other.rests = Some(Instant::now() + REST),
            }
        }
        reached
    }

    /// It did not do what it was asked.
    pub(super) fn failed(&self, device: DeviceId) {
        if let Some(other) = self.state().others.get_mut(&device) {
            (other.road, other.rests) = (None, Some(Instant::now() + REST));
        }
    }

    /// It handed something over.
    pub(super) fn served(&self, by: DeviceId) {
        self.state().last = Some(by);
    }
}

/// Keeps the door open while it is of use.
pub(super) async fn keep(porter: &Porter) {
    let mut snapshot = porter.snapshot.clone();
    let mut changes = porter.depot().watch();
    let mut generation = porter.depot().generation();
    loop {
        changes.borrow_and_update();
        let now = snapshot.borrow_and_update().clone();
        if now.closed {
            return;
        }
        if std::mem::replace(&mut generation, porter.depot().generation()) != porter.depot().generation() {
            porter.start.doors.forget();
        }
        let rest = if is_wanted(porter, &now, generation) {
            match open(porter).await {
                Ok(doorway) => {
                    let doorway = Arc::new(doorway);
                    porter.start.doors.opened(doorway.clone());
                    stand_in(porter, &doorway, &mut snapshot, &mut changes, generation).await;
                    porter.start.doors.shut();
                    doorway.close().await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(code = %error.code, "no door for other devices: {}", error.message);
                    porter.start.doors.failed_to_open();
                }
            }
            Some(AGAIN)
        } else {
            None
        };
        tokio::select! {
            changed = snapshot.changed() => if changed.is_err() { return },
            _ = changes.changed(), if rest.is_none() => {}
            () = sleep(rest.unwrap_or_default()), if rest.is_some() => {}
        }
    }
}

/// Whether a door is of use: there are files, and others who could be there.
fn is_wanted(porter: &Porter, now: &Snapshot, generation: u64) -> bool {
    let depot = porter.depot();
    let works = now.online && now.mode == Mode::Foreground && !porter.is_closing();
    works && now.files > 0 && !now.alone && depot.policy().direct && depot.generation() == generation
}

async fn open(porter: &Porter) -> Result<Doorway, SyncError> {
    let relays = porter.ask(|reply| Command::ContentRelays { reply }).await?;
    // A group with a relay of its own is promised that no server beside that hears of it.
    let own = relays.iter().any(|relay| !matches!(relay, RelayAddress::Hosted { .. }));
    porter.start.dialer.doorway(!own).await
}

/// Tells where the door is, and answers whoever comes, until it is of no use any more.
async fn stand_in(
    porter: &Porter,
    doorway: &Doorway,
    snapshot: &mut watch::Receiver<Snapshot>,
    changes: &mut watch::Receiver<u64>,
    generation: u64,
) {
    let mut visitors = JoinSet::new();
    let mut tell = Some((Instant::now(), Hearing::Answer));
    let mut told: VecDeque<Instant> = VecDeque::with_capacity(TELLS);
    let mut moves = doorway.moves();
    let mut gives = !porter.depot().policy().paused;
    loop {
        let next = match told.front() {
            Some(first) if told.len() == TELLS => *first + TELL,
            _ => Instant::now(),
        };
        let telling = async { sleep_until(tell.map_or_else(Instant::now, |(at, _)| at)).await };
        tokio::select! {
            () = telling, if tell.is_some() => {
                let hearing = tell.take().map_or(Hearing::Note, |(_, hearing)| hearing);
                if told.len() == TELLS {
                    told.pop_front();
                }
                told.push_back(Instant::now());
                let (channel, data) = (DIRECT_CHANNEL.to_owned(), encode(&doorway.door(hearing)));
                if let Err(error) = porter.ask(|reply| Command::Presence { channel, data, reply }).await {
                    // Whoever is not connected is about to shut the door.
                    tracing::debug!(code = %error.code, "the others are not told where this device is");
                }
            }
            () = porter.start.doors.asked.notified() => tell = tell.or(Some((next, Hearing::Note))),
            Some(()) = moves.next() => tell = tell.or(Some((next, Hearing::Note))),
            visitor = doorway.next(), if visitors.len() < VISITORS => match visitor {
                Some(visitor) => drop(visitors.spawn(receive(porter.clone(), visitor))),
                None => return,
            },
            Some(_) = visitors.join_next() => {}
            changed = snapshot.changed() => if changed.is_err() { return },
            _ = changes.changed() => {}
        }
        changes.borrow_and_update();
        if !is_wanted(porter, &snapshot.borrow_and_update(), generation) {
            return;
        }
        let gave = std::mem::replace(&mut gives, !porter.depot().policy().paused);
        if gives && !gave {
            // Whoever was told "not now" may ask again.
            tell = tell.or(Some((next, Hearing::Note)));
        }
    }
}

/// Answers what a visitor asks, for as long as it proves with each question that it is a member.
async fn receive(porter: Porter, visitor: Visitor) {
    let Ok(road) = visitor.let_in().await else { return };
    let mut answers = FuturesUnordered::new();
    // Whoever only stands there goes.
    let Ok(Some(first)) = timeout(ASK, road.accept()).await else { return };
    answers.push(answer(&porter, first));
    loop {
        tokio::select! {
            stream = road.accept(), if answers.len() < STREAMS => match stream {
                Some(stream) => answers.push(answer(&porter, stream)),
                None => return,
            },
            Some(is_member) = answers.next() => if !is_member {
                // It may hear why, and then goes.
                return drop(timeout(ASK, road.over()).await);
            },
        }
    }
}

/// Answers one question. Returns whether a member asked it.
async fn answer(porter: &Porter, stream: Stream) -> bool {
    let Stream { exporter, mut reader, mut writer, .. } = stream;
    let Ok(Ok(ToRelay::Content(request))) = timeout(ASK, reader.asked()).await else { return false };
    let refuse = async |mut writer: crate::transport::FrameWriter, code: Code| {
        let _ = timeout(ASK, async {
            drop(writer.answer(&refused(code)).await);
            writer.finish().await
        })
        .await;
    };
    if !is_member(porter, &request.attach, exporter).await {
        tracing::debug!("somebody who is no member asked for content");
        refuse(writer, Code::NotMember).await;
        return false;
    }
    let Ok(_place) = porter.start.doors.places.try_acquire() else {
        refuse(writer, Code::RateLimited).await;
        return true;
    };
    let (content, store) = match find(porter, &request.ask).await {
        Ok(found) => found,
        Err(error) => {
            refuse(writer, error.code).await;
            return true;
        }
    };
    let told = timeout(ASK, writer.answer(&FromRelay::Content(ContentAnswer::Given))).await;
    if !matches!(told, Ok(Ok(()))) {
        return true;
    }
    tokio::select! {
        given = store.give(content, Box::new(reader), Box::new(writer)) => {
            if let Err(error) = given {
                tracing::debug!(%error, "content was not handed to the other device to its end");
            }
            true
        }
        () = until_out(porter, &request.attach, exporter) => false,
    }
}

fn refused(code: Code) -> FromRelay {
    let (about, code) = (About::Session, code as u16);
    FromRelay::Refused(Refused { about, code, retry_after_ms: 0, head: None, message: Opaque::default() })
}

async fn is_member(porter: &Porter, attach: &Attach, exporter: [u8; 32]) -> bool {
    let attach = Box::new(attach.clone());
    porter.ask(|reply| Command::IsMemberAt { attach, exporter, reply }).await.unwrap_or(false)
}

/// Until the one that is served is no member any more.
async fn until_out(porter: &Porter, attach: &Attach, exporter: [u8; 32]) {
    loop {
        sleep(LOOK_AGAIN).await;
        if !is_member(porter, attach, exporter).await {
            return;
        }
    }
}

/// What is asked for, if it is content of the group that is here and may be given now.
async fn find(porter: &Porter, ask: &ContentAsk) -> Result<(Sealed, Arc<dyn ContentStore>), SyncError> {
    let ContentAsk::Take(content) = ask else {
        return Err(SyncError::new(Code::Protocol, "another device takes nothing"));
    };
    if porter.depot().policy().paused {
        return Err(SyncError::new(Code::ContentUnavailable, "not now"));
    }
    if !porter.reader.has_content(*content).await? {
        return Err(SyncError::new(Code::ContentMissing, "it is not here"));
    }
    Ok((*content, porter.content().await?.0))
}

#[cfg(all(test, feature = "embedded-relay"))]
#[path = "direct_tests.rs"]
mod tests;
