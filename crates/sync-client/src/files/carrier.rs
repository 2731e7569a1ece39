//! Carries content to and from the relays and other devices while the device is connected in the foreground, and that of large blobs
//! also while it is woken: a task beside the engine, which waits for it only then, before the device sleeps again. What is to be done
//! stands in the database; what is in memory here is only when to try again.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand_core::Rng;
use sync_types::{BlobId, Code, ContentHash, DeviceId, Fault, GroupId, Sealed, limits};
use tokio::time::{Instant, sleep_until};

use super::direct;
use super::porter::Porter;
use super::transfer::{Roads, Transfer};
use crate::clock::SystemRng;
use crate::engine::{Command, Snapshot};
use crate::store::{FileNote, Load};
use crate::{ClientEvent, Mode, SyncError};

/// How many contents go, and how many come, at once; and how many small ones beside them, which are waited for more than carried.
const AT_ONCE: usize = 3;
const SMALL_AT_ONCE: usize = 8;
/// Up to which size content is small, in bytes.
const SMALL: u64 = 256 << 10;
/// The first wait behind a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// After so many tries it is told that nobody has a file.
const LONG_MISSING: u32 = 5;
/// With so many on the list it is read anew only so often: each reading takes longer the more there are.
const MANY: usize = 64;
const LOOK: Duration = Duration::from_millis(500);
/// How long what has come waits for more before the relays are told of it.
const GATHER: Duration = Duration::from_secs(1);

/// What is done with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Give,
    Take,
    Forget,
}

/// What has come to its end.
enum Ended {
    Content { kind: Kind, content: Sealed, of: Of, result: Result<(), SyncError> },
    Told(Result<(), SyncError>),
}

/// What has some content: a file, and a blob that is too large for an envelope.
#[derive(Clone, Copy)]
struct Of {
    file: Option<BlobId>,
    blob: Option<BlobId>,
}

type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// When content is tried again.
struct Wait {
    failures: u32,
    until: Instant,
    /// It failed for long, or in a way that waiting a little does not mend: a device that was woken does not stay awake for it.
    is_long: bool,
}

/// What the list of what is to be done was made for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    files: u64,
    group: GroupId,
    device: DeviceId,
    /// As [`super::Depot::generation`].
    generation: u64,
}

struct Carrier {
    porter: Porter,
    roads: Arc<Roads>,
    under_way: FuturesUnordered<Work>,
    busy: HashMap<Sealed, Kind>,
    telling: bool,
    waits: HashMap<Sealed, Wait>,
    /// Nothing new is begun until then: a relay wants it so, or the database could not be read.
    pause: Option<Instant>,
    /// When the relays are told, and how often that has failed.
    tell_at: Instant,
    tell_failures: u32,
    loads: Vec<Load>,
    seen: Option<Seen>,
    /// When the list was read, whether something has come to its end since, and whether it is to be read later for that.
    looked: Instant,
    dirty: bool,
    stale: bool,
    generation: u64,
    works: bool,
    mode: Mode,
}

/// Carries content until the client is closed.
pub(crate) async fn carry(porter: Porter) {
    let carrier = Carrier {
        porter: porter.clone(),
        roads: Arc::default(),
        under_way: FuturesUnordered::new(),
        busy: HashMap::new(),
        telling: false,
        waits: HashMap::new(),
        pause: None,
        tell_at: Instant::now(),
        tell_failures: 0,
        loads: Vec::new(),
        seen: None,
        looked: Instant::now(),
        dirty: false,
        stale: false,
        generation: 0,
        works: false,
        mode: Mode::Background,
    };
    tokio::select! {
        () = carrier.run() => {}
        () = direct::keep(&porter) => {}
    }
}

impl Carrier {
    async fn run(mut self) {
        let mut snapshot = self.porter.snapshot.clone();
        let depot = self.porter.depot().clone();
        let mut doors = self.porter.start.doors.watch();
        loop {
            let now = snapshot.borrow_and_update().clone();
            if now.closed {
                return;
            }
            self.change_over(&now);
            self.look(&now).await;
            self.begin(&now);
            self.rest(&now).await;
            if self.under_way.is_empty() && self.idle_roads() {
                self.roads = Arc::default();
            }
            let due = self.due();
            tokio::select! {
                changed = snapshot.changed() => if changed.is_err() { return },
                () = depot.nudge.notified() => {}
                // It may have what nobody had before.
                _ = doors.changed() => self.waits.clear(),
                Some(ended) = self.under_way.next() => self.ended(ended),
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
        }
    }

    /// Begins anew where the device has just come, and ends everything where it has gone.
    fn change_over(&mut self, now: &Snapshot) {
        let works = now.online && now.mode != Mode::Background && !self.porter.is_closing();
        if self.works && !works {
            self.put_down();
        }
        let before = std::mem::replace(&mut self.mode, now.mode);
        if works && (!self.works || before != now.mode) {
            match now.mode {
                // Each wake-up tries everything once, and remembers for what it is not worth waiting.
                Mode::Waking => self.waits.values_mut().for_each(|wait| wait.until = Instant::now()),
                _ => self.waits.clear(),
            }
            self.pause = None;
            self.tell_failures = 0;
        }
        self.works = works;
        let generation = self.porter.depot().generation();
        if generation != self.generation {
            // The group is gone, and all that was under way with it.
            self.put_down();
            self.waits.clear();
            self.loads.clear();
            (self.seen, self.generation) = (None, generation);
        }
    }

    /// Ends all transfers and connections at once. What has come is kept.
    fn put_down(&mut self) {
        self.under_way = FuturesUnordered::new();
        self.busy.clear();
        self.telling = false;
        self.roads = Arc::default();
        self.porter.depot().all_rest();
    }

    /// Brings the list of what is to be done up to now.
    async fn look(&mut self, now: &Snapshot) {
        let (Some(group), Some(device)) = (now.group, now.device) else {
            self.loads.clear();
            self.seen = None;
            return;
        };
        let seen = Seen { files: now.files, group, device, generation: self.generation };
        if now.files == 0 || self.seen == Some(seen) && !self.dirty || self.is_paused() {
            return;
        }
        // What is at its end was taken off the list.
        let same = self.seen.is_some_and(|before| Seen { files: 0, ..before } == Seen { files: 0, ..seen });
        self.stale = same && self.loads.len() >= MANY && self.looked.elapsed() < LOOK;
        if self.stale {
            return;
        }
        self.looked = Instant::now();
        let looked = async {
            self.porter.take_in().await?;
            self.porter.reader.loads(group, device).await
        };
        match looked.await {
            Ok(loads) => {
                self.loads = loads;
                (self.seen, self.dirty) = (Some(seen), false);
                let known: HashSet<Sealed> = self.loads.iter().map(|load| load.content).collect();
                self.waits.retain(|content, _| known.contains(content));
            }
            Err(error) if error.code == Code::Closed => {}
            Err(error) => {
                tracing::warn!(code = %error.code, "the list of files is not up to date: {}", error.message);
                self.pause = Some(Instant::now() + FIRST_WAIT);
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|until| until > Instant::now())
    }

    fn waits(&self, content: Sealed) -> bool {
        self.waits.get(&content).is_some_and(|wait| wait.until > Instant::now())
    }

    /// What can be begun with this content, whatever else goes on.
    fn wanted(&self, load: &Load, now: &Snapshot) -> Option<Kind> {
        let depot = self.porter.depot();
        let carries = self.works && (now.mode == Mode::Foreground || load.blob.is_some());
        match load {
            Load { dropped: true, forgotten: false, .. } => Some(Kind::Forget),
            Load { dropped: true, .. } => None,
            Load { here: true, given: false, .. } => {
                (carries && !now.alone && !depot.policy().paused).then_some(Kind::Give)
            }
            Load { here: false, .. } => {
                (carries && depot.wants(load.content, load.blob.is_some())).then_some(Kind::Take)
            }
            _ => None,
        }
    }

    /// Begins as much as may go on at once: what somebody waits for first, what has failed before last, and small before large.
    fn begin(&mut self, now: &Snapshot) {
        for content in self.porter.depot().take_urgent() {
            self.waits.remove(&content);
        }
        // Of what is begun when the engine closes nothing could be noted.
        if self.is_paused() || self.porter.is_closing() {
            return;
        }
        let (Some(seen), depot) = (self.seen, self.porter.depot().clone()) else { return };
        let place = |kind: Kind, content: Sealed| (kind, content.size <= SMALL);
        let mut room: HashMap<(Kind, bool), usize> = [Kind::Give, Kind::Take, Kind::Forget]
            .into_iter()
            .flat_map(|kind| [((kind, true), SMALL_AT_ONCE), ((kind, false), AT_ONCE)])
            .collect();
        for (content, kind) in &self.busy {
            room.entry(place(*kind, *content)).and_modify(|left| *left = left.saturating_sub(1));
        }
        let (mut chosen, mut taken): (Vec<(Kind, Load)>, HashSet<Sealed>) = Default::default();
        for rank in 0..3 {
            for load in &self.loads {
                if room.values().all(|left| *left == 0) {
                    break;
                }
                let is_its_turn = match rank {
                    0 => depot.is_demanded(load.content),
                    1 => !self.waits.contains_key(&load.content),
                    _ => true,
                };
                if !is_its_turn
                    || self.busy.contains_key(&load.content)
                    || taken.contains(&load.content)
                    || self.waits(load.content)
                {
                    continue;
                }
                let Some(kind) = self.wanted(load, now) else { continue };
                let Some(left) = room.get_mut(&place(kind, load.content)).filter(|left| **left > 0) else { continue };
                *left -= 1;
                taken.insert(load.content);
                chosen.push((kind, *load));
            }
        }
        for (kind, load) in chosen {
            self.busy.insert(load.content, kind);
            let transfer = Transfer {
                porter: self.porter.clone(),
                roads: self.roads.clone(),
                content: load.content,
                file: load.file,
                blob: load.blob,
            };
            self.under_way.push(Box::pin(work(transfer, kind, seen)));
        }
        self.tell_relays(now, seen);
    }

    /// What the relays are to be told of: what is here and given, and what is not wanted any more.
    fn untold(&self, now: &Snapshot) -> impl Iterator<Item = Sealed> {
        let may = self.works && !now.alone;
        let untold = |load: &&Load| !load.told && if load.dropped { load.forgotten } else { load.here && load.given };
        self.loads.iter().filter(move |load| may && untold(load)).map(|load| load.content)
    }

    fn tell_relays(&mut self, now: &Snapshot, seen: Seen) {
        if self.telling {
            return;
        }
        let contents: Vec<Sealed> = self.untold(now).take(limits::CONTENT_HAD).collect();
        let takes = self.busy.values().any(|kind| *kind == Kind::Take);
        let full = contents.len() == limits::CONTENT_HAD && self.tell_failures == 0;
        // As long as more comes, it is told of together.
        let due = self.tell_at <= Instant::now() || (!takes && self.tell_failures == 0);
        if contents.is_empty() || !(full || due) {
            return;
        }
        self.telling = true;
        let (porter, roads) = (self.porter.clone(), self.roads.clone());
        self.under_way.push(Box::pin(async move {
            let hashes: Vec<ContentHash> = contents.iter().map(|content| content.hash).collect();
            let told = async {
                roads.tell(&porter, &hashes).await?;
                let notes = contents.iter().map(|content| FileNote::Told(*content, seen.device)).collect();
                porter.note(seen.generation, notes).await
            };
            Ended::Told(told.await)
        }));
    }

    /// Tells a device that was woken when all was carried for which it is to stay awake.
    async fn rest(&mut self, now: &Snapshot) {
        let rests = self.works && now.carries && now.caught_up && self.under_way.is_empty();
        if !rests || self.is_paused() {
            return;
        }
        let is_read = self.seen.is_some_and(|seen| seen.files == now.files) && !self.dirty;
        let is_left = |load: &Load| {
            let is_long = self.waits.get(&load.content).is_some_and(|wait| wait.is_long);
            load.blob.is_some() && !is_long && self.wanted(load, now).is_some()
        };
        if is_read && !self.loads.iter().any(is_left) {
            let files = now.files;
            // It may sleep already, or be closed.
            let _ = self.porter.ask(|reply| Command::Carried { files, reply }).await;
        }
    }

    /// When something is to be looked at again that nobody tells of.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.waits.values().map(|wait| wait.until).filter(|until| self.works && *until > now);
        let tell = (self.works && !self.telling && self.tell_at > now).then_some(self.tell_at);
        let look = self.stale.then_some(self.looked + LOOK);
        let pause = self.pause.filter(|until| *until > now);
        // Nothing is begun before the pause is over.
        pause.or_else(|| waits.chain(tell).chain(look).min())
    }

    /// Whether no connection to a relay is of use for now.
    fn idle_roads(&self) -> bool {
        self.due().is_none_or(|due| due > Instant::now() + GATHER * 2)
    }

    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Told(result) => {
                self.telling = false;
                // What was told is on the list until that is read anew.
                self.dirty = true;
                self.tell_at = Instant::now() + GATHER;
                match result {
                    Ok(()) => self.tell_failures = 0,
                    Err(error) => {
                        self.tell_failures = self.tell_failures.saturating_add(1);
                        self.tell_at = Instant::now() + wait(self.tell_failures, &error);
                        self.heed(&error);
                        tracing::debug!(code = %error.code, "the relays are not told what is here: {}", error.message);
                    }
                }
            }
            Ended::Content { kind, content, of, result } => {
                self.busy.remove(&content);
                self.dirty = true;
                match result {
                    Ok(()) => {
                        self.waits.remove(&content);
                        self.porter.depot().rests(content, None);
                        self.tell_at = self.tell_at.max(Instant::now() + GATHER);
                        self.loads.retain(|load| load.content != content);
                        let done = match kind {
                            Kind::Give => of.file.map(|id| ClientEvent::FileGiven { id }),
                            Kind::Take => of.file.map(|id| ClientEvent::FileHere { id }),
                            Kind::Forget => None,
                        };
                        done.into_iter().for_each(|event| self.porter.tell(event));
                    }
                    Err(error) => self.failed(content, of, error),
                }
            }
        }
    }

    /// A relay that was asked too often is asked nothing for a while.
    fn heed(&mut self, error: &SyncError) {
        if error.code == Code::RateLimited {
            self.pause = Some(Instant::now() + wait(0, error));
        }
    }

    fn failed(&mut self, content: Sealed, of: Of, error: SyncError) {
        self.heed(&error);
        if error.code == Code::RateLimited || error.code == Code::Closed {
            return self.porter.depot().rests(content, None);
        }
        tracing::debug!(code = %error.code, "content is not carried: {}", error.message);
        let entry =
            self.waits.entry(content).or_insert_with(|| Wait { failures: 0, until: Instant::now(), is_long: false });
        entry.failures = entry.failures.saturating_add(1);
        // It may be on its way here from whoever pushed it a moment ago.
        let passes = matches!(error.code, Code::ContentMissing | Code::RelayUnreachable | Code::Draining);
        entry.is_long = !passes || entry.failures >= LONG_MISSING;
        let pause = wait(entry.failures, &error);
        entry.until = Instant::now() + pause;
        let long_missing = error.code == Code::ContentMissing && entry.failures == LONG_MISSING;
        let before = self.porter.depot().known(content).failed.map(|before| before.code);
        let is_new = error.code.fault() != Fault::Relay && before != Some(error.code);
        let retry_after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        for id in of.file.into_iter().chain(of.blob).filter(|_| is_new || long_missing) {
            self.porter.tell(ClientEvent::FileFailed { id, code: error.code, retry_after_ms });
        }
        self.porter.depot().rests(content, Some(error));
    }
}

/// Does one thing with content, and notes it.
async fn work(transfer: Transfer, kind: Kind, seen: Seen) -> Ended {
    let (content, of) = (transfer.content, Of { file: transfer.file, blob: transfer.blob });
    let run = async {
        let porter = &transfer.porter;
        let (store, generation) = porter.content().await?;
        if generation != seen.generation {
            return Err(SyncError::new(Code::NotInGroup, "this device has left the group that has the content"));
        }
        let note = match kind {
            Kind::Give => match transfer.give(&*store).await {
                // Only this device's own store says so when it is to give.
                Err(error) if error.code == Code::ContentMissing => {
                    porter.note(generation, vec![FileNote::Gone(content)]).await?;
                    return Err(error);
                }
                given => given.map(|()| FileNote::Given(content, seen.group, seen.device))?,
            },
            Kind::Take => tokio::select! {
                taken = transfer.take(&*store) => match taken {
                    // It is here under another length: whoever named this one lied.
                    Err(error) if error.code == Code::ContentForged => {
                        let liars = of.file.into_iter().chain(of.blob).map(FileNote::Forged).collect();
                        porter.note(generation, liars).await?;
                        return Err(error);
                    }
                    taken => taken.map(|()| FileNote::Here(content))?,
                },
                () = porter.depot().unwanted(content, of.blob.is_some()) => {
                    // As good as one that was never begun.
                    return Err(SyncError::closed());
                }
            },
            Kind::Forget => {
                store.forget(content.hash).await?;
                FileNote::Forgotten(content)
            }
        };
        porter.note(generation, vec![note]).await
    };
    let result = run.await;
    Ended::Content { kind, content, of, result }
}

/// How long to wait behind so many failures: a draw from the upper half of a window that doubles, and never less than the relay said.
fn wait(failures: u32, error: &SyncError) -> Duration {
    let window = match failures {
        0 => Duration::ZERO,
        _ => FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT),
    };
    let half = u64::try_from(window.as_millis() / 2).unwrap_or(u64::MAX);
    let drawn = Duration::from_millis(half + Rng::next_u64(&mut SystemRng) % (half + 1));
    // A word of an hour and more is nobody's.
    let said = error.retry_after_ms.map(Duration::from_millis).unwrap_or_default().min(LONGEST_WAIT);
    let least = if failures == 0 { FIRST_WAIT / 10 } else { Duration::ZERO };
    drawn.max(said).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_heed_the_relay() {
        let error = |ms: u32| SyncError::new(Code::RelayUnreachable, "gone").retry_after(ms);
        for (failures, from, to) in [(1, 500, 1_000), (2, 1_000, 2_000), (5, 8_000, 16_000), (40, 150_000, 300_000)] {
            for _ in 0..20 {
                let drawn = wait(failures, &error(0));
                let bounds = Duration::from_millis(from)..=Duration::from_millis(to);
                assert!(bounds.contains(&drawn), "{failures}: {drawn:?}");
            }
        }
        assert_eq!(wait(1, &error(60_000)), Duration::from_secs(60));
        assert_eq!(wait(1, &error(u32::MAX)), LONGEST_WAIT);
        assert!(wait(0, &error(0)) >= Duration::from_millis(100), "no loop without a pause");
    }
}
