//! Large content: what a member has given lies in a folder of this relay until every member has it, or its time is over.
//!
//! The relay takes content from a member, verified by its hash, and hands it to members of the same group alone. It sees the
//! hash, the sealed length, whose group that is and who has it. A relay that has its store for itself keeps a [`ledger`] beside
//! the content. Where several share one, the store has both, so that what is given at one is taken at any: the folder is where
//! content comes in and is verified, and what it has of it is a copy ([`shared`]).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sync_content::{ContentError, ContentStore, FolderStore, Held, Incoming, Options, Outgoing, Progress, sealed_size};
use sync_types::frame::{About, ContentAnswer, ContentAsk};
use sync_types::{Code, ContentHash, DeviceId, GroupId, Sealed, limits};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::ledger::Ledger;
pub(crate) use self::places::Place;
use self::places::{AtWork, Busy, Places};
use crate::mailbox::Refusal;
use crate::metrics::Metrics;
use crate::seldom::Seldom;
use crate::store::{Begun, ContentBook, NewContent, SharedContent, Store, StoreError};

mod copies;
mod going;
mod ledger;
mod places;
mod shared;

/// When to ask again while others are served, or the same content comes from somebody else, in milliseconds.
const AGAIN_MS: u64 = 1_000;
/// When to ask again for content that nobody has given yet, or that does not fit, in milliseconds.
const LATER_MS: u64 = 30_000;
/// How long it is waited for that content which is coming has come, before somebody is told to ask again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many groups' members are remembered, to see when they change.
const GROUPS: usize = 10_000;

/// Where content lies, and how much of it.
#[derive(Clone, Debug)]
pub struct ContentConfig {
    /// The folder, which is made when the first content comes. One process at a time uses it.
    pub folder: PathBuf,
    /// How many bytes of content a group may have, at all relays that share a store together.
    pub group_bytes: u64,
}

impl ContentConfig {
    /// The folder's name in the relay's.
    pub const FOLDER: &str = "content";
    /// What a group may have unless the host says otherwise: 16 GiB.
    pub const GROUP_BYTES: u64 = 16 << 30;

    /// Content within the relay's folder.
    pub fn within(folder: &Path) -> Self {
        Self { folder: folder.join(Self::FOLDER), group_bytes: Self::GROUP_BYTES }
    }
}

/// Who asks: a member of a group that has these members, those left out that hold back nothing any more.
pub(crate) struct Asker {
    pub(crate) group: GroupId,
    pub(crate) device: DeviceId,
    pub(crate) members: BTreeSet<DeviceId>,
    /// When, in the milliseconds that the relay has run.
    pub(crate) at_ms: u64,
}

/// What is done about what somebody asks.
pub(crate) enum Next {
    /// Nothing but this answer.
    Say(ContentAnswer),
    /// The relay takes it.
    Take(Coming),
    /// The relay gives it.
    Give(Sealed, Place),
}

/// Content that is being taken: by nobody else at the same time.
pub(crate) struct Coming {
    content: Sealed,
    by: Asker,
    /// Whether all of it has to come, whatever is here.
    anew: bool,
    _busy: Busy,
    _place: Place,
}

/// The content that a relay holds.
pub(crate) struct Contents {
    config: ContentConfig,
    store: Arc<dyn Store>,
    /// Opened when it is first asked for: most groups have none.
    kept: OnceCell<Kept>,
    places: Places,
    at_work: AtWork,
    /// What goes on between the folder and a shared store; `None` once the relay stops.
    jobs: Mutex<Option<JoinSet<()>>>,
    /// The members of groups as they were when last seen.
    members: Mutex<HashMap<GroupId, BTreeSet<DeviceId>>>,
    metrics: Arc<Metrics>,
}

struct Kept {
    folder: FolderStore,
    ledger: Ledger,
}

fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Session, code, message)
}

/// What went wrong is for the host's log alone.
fn failed(error: &dyn std::fmt::Display) -> Refusal {
    static SELDOM: Seldom = Seldom::new();
    if let Some(more) = SELDOM.is_due() {
        tracing::error!(%error, more, "the content's folder fails");
    }
    refuse(Code::Internal, "the relay's content store failed").retry_after(LATER_MS)
}

fn failed_book(error: StoreError) -> Refusal {
    match error {
        StoreError::Io(_) | StoreError::Corrupt(_) => failed(&error),
        error => Refusal::of_store(About::Session, &error),
    }
}

fn full() -> Refusal {
    refuse(Code::Quota, "the relay's disk is full").retry_after(LATER_MS)
}

fn not_all() -> Refusal {
    refuse(Code::ContentMissing, "not all of it has come yet").retry_after(AGAIN_MS)
}

impl Contents {
    pub(crate) fn new(config: ContentConfig, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            store,
            kept: OnceCell::new(),
            places: Places::new(),
            at_work: AtWork::default(),
            jobs: Mutex::new(Some(JoinSet::new())),
            members: Mutex::default(),
            metrics,
        }
    }

    async fn kept(&self) -> Result<&Kept, Refusal> {
        let open = async || {
            tokio::fs::create_dir_all(&self.config.folder).await.map_err(|e| failed(&e))?;
            let ledger = Ledger::open(&self.config.folder).await.map_err(|e| failed(&e))?;
            let folder = FolderStore::open(&self.config.folder, Options::default()).await.map_err(|e| failed(&e))?;
            Ok(Kept { folder, ledger })
        };
        self.kept.get_or_try_init(open).await
    }

    /// What is there from before, if there is anything.
    async fn kept_before(&self) -> Option<&Kept> {
        if self.kept.initialized() || tokio::fs::try_exists(&self.config.folder).await.unwrap_or(false) {
            self.kept().await.ok()
        } else {
            None
        }
    }

    /// Where the bytes lie, if that is no folder of this relay's own.
    fn shared(&self) -> Option<&dyn SharedContent> {
        self.store.shared().map(|shared| shared.content())
    }

    /// On whose word content is there.
    fn book<'a>(&'a self, kept: &'a Kept) -> &'a dyn ContentBook {
        match self.shared() {
            Some(shared) => shared,
            None => &kept.ledger,
        }
    }

    /// What to do about what a member asks. Nothing is told of content that another group has given.
    pub(crate) async fn ask(self: &Arc<Self>, by: Asker, ask: ContentAsk) -> Result<Next, Refusal> {
        let kept = self.kept().await?;
        self.look_at_members(kept, &by).await?;
        match ask {
            ContentAsk::Give(content) => self.may_give(kept, by, content).await,
            ContentAsk::Take(content) => self.may_take(kept, &by, content).await,
            ContentAsk::Have(hashes) => {
                let book = self.book(kept);
                book.note_had(by.group, hashes.clone(), by.device, by.at_ms).await.map_err(failed_book)?;
                self.collect(kept, by.group, &by.members, Some(hashes)).await?;
                self.count(kept).await;
                Ok(Next::Say(ContentAnswer::Noted))
            }
        }
    }

    fn place(&self, group: GroupId) -> Result<Place, Refusal> {
        let busy = || refuse(Code::RateLimited, "the relay hands over much content now").retry_after(AGAIN_MS);
        self.places.take(group).ok_or_else(busy)
    }

    /// Waits, though not for long, until nothing is done with content any more.
    async fn rest(&self, hash: ContentHash) {
        if let Some(mut end) = self.at_work.end_of(hash) {
            let _ = timeout(PATIENCE, end.changed()).await;
        }
    }

    async fn may_give(self: &Arc<Self>, kept: &Kept, by: Asker, content: Sealed) -> Result<Next, Refusal> {
        // Whoever has just given it asks whether it is held, and somebody else may have it too.
        self.rest(content.hash).await;
        if !(sealed_size(0)..=limits::CONTENT_BYTES).contains(&content.size) {
            return Err(refuse(Code::Protocol, "no sealed content has that length"));
        }
        let other = || refuse(Code::Protocol, "this hash names other content");
        let book = self.book(kept);
        let known = book.find(by.group, content.hash).await.map_err(failed_book)?;
        if known.is_some_and(|known| known.size != content.size) {
            return Err(other());
        }
        let mut holders = book.holders(by.group, content.hash).await.map_err(failed_book)?;
        holders.insert(by.device);
        if by.members.is_subset(&holders) {
            // Nobody is to fetch it here.
            if known.is_some() {
                self.forget(kept, by.group, content.hash).await?;
                self.count(kept).await;
            }
            return Ok(Next::Say(ContentAnswer::Held));
        }
        let held = match kept.folder.held(content).await {
            Err(ContentError::Dishonest(_)) => return Err(other()),
            held => held.map_err(|e| failed(&e))?,
        };
        // A ledger of this relay's own is not taken at its word: the folder may have been lost without it.
        if known.is_some_and(|known| known.whole) && (held == Held::All || self.shared().is_some()) {
            book.note_had(by.group, vec![content.hash], by.device, by.at_ms).await.map_err(failed_book)?;
            return Ok(Next::Say(ContentAnswer::Held));
        }
        let place = self.place(by.group)?;
        let busy = self
            .at_work
            .begin(content.hash)
            .ok_or_else(|| refuse(Code::RateLimited, "somebody gives this now").retry_after(AGAIN_MS))?;
        let anew = self.begin(kept, &by, content, held).await?;
        let coming = Coming { content, by, anew, _busy: busy, _place: place };
        if held == Held::All && !anew && self.shared().is_some() {
            return self.goes_on(kept, coming).await.map(Next::Say);
        }
        Ok(Next::Take(coming))
    }

    /// Notes that content comes. Says whether all of it has to.
    async fn begin(&self, kept: &Kept, by: &Asker, content: Sealed, held: Held) -> Result<bool, Refusal> {
        let nothing_here = held == Held::Nothing;
        let before = kept.ledger.entry(by.group, content.hash).await.map_err(failed_book)?;
        let goes_on = before.map_or(nothing_here, |entry| entry.own);
        let missing = match held {
            Held::All if goes_on => 0,
            Held::Part(bytes) if goes_on => content.size.saturating_sub(bytes),
            _ => content.size,
        };
        self.room_for(missing)?;
        let (group, device, at_ms) = (by.group, by.device, by.at_ms);
        let new = NewContent { group, content, device, at_ms, most_bytes: self.config.group_bytes, nothing_here };
        match self.book(kept).begin(new).await.map_err(failed_book)? {
            Begun::Yes => {}
            Begun::Full => {
                let message = "the group has as much content here as it may";
                return Err(refuse(Code::Quota, message).retry_after(LATER_MS));
            }
            Begun::Going => {
                self.bury(group, content.hash).await?;
                return Err(refuse(Code::RateLimited, "it is being deleted").retry_after(AGAIN_MS));
            }
            Begun::NoGroup => return Err(refuse(Code::UnknownGroup, "the relay knows no such group")),
        }
        if self.shared().is_some() {
            kept.ledger.expect(group, content, at_ms, nothing_here).await.map_err(failed_book)?;
        }
        let entry = kept.ledger.entry(group, content.hash).await.map_err(failed_book)?;
        Ok(entry.is_none_or(|entry| !entry.own))
    }

    fn room_for(&self, bytes: u64) -> Result<(), Refusal> {
        let free = fs4::available_space(&self.config.folder).map_err(|e| failed(&e))?;
        if bytes.saturating_add(Options::default().spare) > free { Err(full()) } else { Ok(()) }
    }

    async fn may_take(self: &Arc<Self>, kept: &Kept, by: &Asker, content: Sealed) -> Result<Next, Refusal> {
        let known = self.book(kept).find(by.group, content.hash).await.map_err(failed_book)?;
        let known = known.filter(|known| known.size == content.size);
        if known.is_none() && self.shared().is_some() {
            // A copy of what is gone.
            self.drop_copy(kept, by.group, content.hash).await?;
            self.count(kept).await;
        }
        match known {
            Some(known) if known.whole => {
                if !self.is_here(kept, by.group, content).await? {
                    if self.shared().is_none() {
                        kept.ledger.lost(content.hash).await.map_err(failed_book)?;
                        return Err(refuse(Code::ContentMissing, "the relay has lost it").retry_after(LATER_MS));
                    }
                    self.fetch(by, content)?;
                    self.rest(content.hash).await;
                    if !self.is_here(kept, by.group, content).await? {
                        return Err(not_all());
                    }
                }
                Ok(Next::Give(content, self.place(by.group)?))
            }
            Some(_) => Err(not_all()),
            None => Err(refuse(Code::ContentMissing, "nobody has given it here").retry_after(LATER_MS)),
        }
    }

    /// Whether the folder has all of a group's content.
    async fn is_here(&self, kept: &Kept, group: GroupId, content: Sealed) -> Result<bool, Refusal> {
        let entry = kept.ledger.entry(group, content.hash).await.map_err(failed_book)?;
        let whole = entry.is_some_and(|entry| entry.whole);
        Ok(whole && kept.folder.held(content).await.map_err(|e| failed(&e))? == Held::All)
    }

    /// Takes content from a member. What was verified is kept also if that ends early.
    ///
    /// # Errors
    /// As [`ContentStore::take`].
    pub(crate) async fn take(
        self: &Arc<Self>,
        coming: Coming,
        from: Incoming,
        to: Outgoing,
    ) -> Result<(), ContentError> {
        let kept = self.kept().await.map_err(|_| ContentError::Incomplete)?;
        let (group, content, at_ms) = (coming.by.group, coming.content, coming.by.at_ms);
        let came = if coming.anew {
            kept.folder.take_anew(content, from, to).await?
        } else {
            let progress: Progress = Arc::new(|_| {});
            kept.folder.take(content, from, to, progress).await?
        };
        self.metrics.content_taken_bytes.add(came);
        let known = kept.ledger.whole(group, content, at_ms).await.map_err(std::io::Error::other)?;
        let done = if !known {
            // Meanwhile everybody had it, or its group went.
            self.drop_copy_now(kept, group, content.hash).await
        } else if self.shared().is_some() {
            self.upload(coming);
            Ok(())
        } else {
            self.collect_now(kept, &coming).await
        };
        self.count(kept).await;
        done.map_err(|_| ContentError::Incomplete)
    }

    /// Gives content to a member.
    ///
    /// # Errors
    /// As [`ContentStore::give`].
    pub(crate) async fn give(
        self: &Arc<Self>,
        content: Sealed,
        from: Incoming,
        to: Outgoing,
    ) -> Result<(), ContentError> {
        let kept = self.kept().await.map_err(|_| ContentError::Incomplete)?;
        let (from, to, theirs) = shared::watched(from, to);
        let given = kept.folder.give(content, from, to).await;
        if given.is_err() && self.shared().is_some() && !theirs.load(Ordering::Relaxed) {
            // It may be the copy's: then it is fetched anew when somebody asks next.
            let this = self.clone();
            self.spawn(async move { this.looked_at(content).await });
        }
        given
    }

    /// Does something until it is done or the relay stops, whoever asked for it.
    fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        if let Some(jobs) = &mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            while jobs.try_join_next().is_some() {}
            jobs.spawn(job);
        }
    }

    async fn count(&self, kept: &Kept) {
        if let Ok((count, bytes)) = kept.ledger.all().await {
            self.metrics.content.set(i64::try_from(count).unwrap_or(i64::MAX));
            self.metrics.content_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Ends what goes on between the folder and a shared store, without waiting for it.
    pub(crate) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Ends what goes on in the folder.
    pub(crate) async fn close(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut jobs) = jobs {
            jobs.shutdown().await;
        }
        if let Some(kept) = self.kept.get()
            && let Err(error) = kept.folder.close().await
        {
            tracing::warn!(%error, "the content's folder did not close");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn asker(n: u8, at_ms: u64) -> Asker {
        let members = BTreeSet::from([DeviceId([1; 16]), DeviceId([2; 16])]);
        Asker { group: GroupId([n; 32]), device: DeviceId([1; 16]), members, at_ms }
    }

    fn content(n: u8) -> Sealed {
        Sealed { hash: ContentHash([n; 32]), size: 1_000 }
    }

    fn opened(folder: &Path) -> Arc<Contents> {
        let store = Arc::new(MemoryStore::default());
        Arc::new(Contents::new(ContentConfig::within(folder), store, Arc::default()))
    }

    async fn contents() -> (tempfile::TempDir, Arc<Contents>) {
        let folder = tempfile::tempdir().unwrap();
        let contents = opened(folder.path());
        for (n, at_ms) in [(1, 10), (2, 20)] {
            let Next::Take(_) = contents.ask(asker(n, at_ms), ContentAsk::Give(content(n))).await.unwrap() else {
                panic!("it lacks it")
            };
        }
        (folder, contents)
    }

    #[tokio::test]
    async fn content_whose_time_is_over_goes_and_no_other() {
        let (folder, contents) = contents().await;
        contents.expire(20).await.unwrap();
        let kept = contents.kept().await.unwrap();
        assert_eq!(kept.ledger.entry(GroupId([1; 32]), content(1).hash).await.unwrap(), None);
        let left = kept.ledger.entry(GroupId([2; 32]), content(2).hash).await.unwrap().unwrap();
        assert_eq!((left.size, left.whole, left.own), (1_000, false, true));
        assert_eq!((contents.metrics.content.value(), contents.metrics.content_bytes.value()), (1, 1_000));
        contents.close().await;
        // Another start finds the same.
        let again = opened(folder.path());
        again.expire(0).await.unwrap();
        assert_eq!(again.metrics.content.value(), 1);
        again.close().await;
    }

    #[tokio::test]
    async fn content_of_groups_that_the_store_has_lost_goes() {
        let (_folder, contents) = contents().await;
        contents.forget_unknown(&MemoryStore::default()).await.unwrap();
        assert_eq!((contents.metrics.content.value(), contents.metrics.content_deleted.value()), (0, 2));
        contents.close().await;
    }

    #[tokio::test]
    async fn a_relay_without_content_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let contents = opened(folder.path());
        contents.expire(u64::MAX).await.unwrap();
        contents.forget_unknown(&MemoryStore::default()).await.unwrap();
        contents.close().await;
        assert!(!folder.path().join(ContentConfig::FOLDER).exists());
    }
}
