//! Large content: what a member has given lies in a folder of this relay until every member has it, or its time is over.
//!
//! The relay takes content from a member, verified by its hash, and hands it to members of the same group alone. It sees the
//! hash, the sealed length, whose group that is and who has it. Content is no part of the store: of several relays over one
//! database each has what was given to it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sync_content::{ContentError, ContentStore, FolderStore, Held, Incoming, Options, Outgoing, Progress, sealed_size};
use sync_types::frame::{About, ContentAnswer, ContentAsk};
use sync_types::{Code, ContentHash, DeviceId, GroupId, Sealed, limits};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use self::ledger::Ledger;
use crate::mailbox::Refusal;
use crate::metrics::Metrics;
use crate::seldom::Seldom;
use crate::store::Store;

mod ledger;

/// How much content is handed over at once, in both directions together, and how much of one group. Each takes half a mebibyte
/// of memory or so.
const AT_ONCE: usize = 32;
const AT_ONCE_OF_A_GROUP: usize = 8;
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
    /// How many bytes of content a group may have here.
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

/// One of the places for content that is handed over; given back when it is dropped.
pub(crate) struct Place {
    group: GroupId,
    taken: Arc<Mutex<HashMap<GroupId, usize>>>,
    _of_all: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut of_group) = taken.entry(self.group) {
            *of_group.get_mut() -= 1;
            if *of_group.get() == 0 {
                of_group.remove();
            }
        }
    }
}

/// Content that is being taken: by nobody else at the same time.
pub(crate) struct Coming {
    content: Sealed,
    by: Asker,
    _busy: Busy,
    _place: Place,
}

/// With which content something is done, so that nothing else is done with it. Whoever waits for the end of that hears of it.
type AtWork = Arc<Mutex<HashMap<ContentHash, watch::Sender<()>>>>;

/// Something is done with content as long as this lives.
struct Busy {
    hash: ContentHash,
    at_work: AtWork,
}

impl Busy {
    /// `None` while something else is done with it.
    fn with(hash: ContentHash, at_work: &AtWork) -> Option<Self> {
        match at_work.lock().unwrap_or_else(PoisonError::into_inner).entry(hash) {
            Entry::Vacant(free) => drop(free.insert(watch::Sender::new(()))),
            Entry::Occupied(_) => return None,
        }
        Some(Self { hash, at_work: at_work.clone() })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hash);
    }
}

/// The content that a relay holds.
pub(crate) struct Contents {
    config: ContentConfig,
    /// Opened when it is first asked for: most groups have none.
    kept: OnceCell<Kept>,
    places: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<GroupId, usize>>>,
    at_work: AtWork,
    /// The members of groups as they were when last seen.
    members: Mutex<HashMap<GroupId, BTreeSet<DeviceId>>>,
    metrics: Arc<Metrics>,
}

struct Kept {
    store: FolderStore,
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

fn failed_ledger(error: sqlx::Error) -> Refusal {
    failed(&error)
}

fn full() -> Refusal {
    refuse(Code::Quota, "the relay's disk is full").retry_after(LATER_MS)
}

impl Contents {
    pub(crate) fn new(config: ContentConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            kept: OnceCell::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            taken: Arc::default(),
            at_work: Arc::default(),
            members: Mutex::default(),
            metrics,
        }
    }

    async fn kept(&self) -> Result<&Kept, Refusal> {
        let open = async || {
            tokio::fs::create_dir_all(&self.config.folder).await.map_err(|e| failed(&e))?;
            let ledger = Ledger::open(&self.config.folder).await.map_err(|e| failed(&e))?;
            let store = FolderStore::open(&self.config.folder, Options::default()).await.map_err(|e| failed(&e))?;
            Ok(Kept { store, ledger })
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

    /// What to do about what a member asks. Nothing is told of content that another group has given.
    pub(crate) async fn ask(&self, by: Asker, ask: ContentAsk) -> Result<Next, Refusal> {
        let kept = self.kept().await?;
        self.look_at_members(kept, &by).await?;
        match ask {
            ContentAsk::Give(content) => self.may_give(kept, by, content).await,
            ContentAsk::Take(content) => self.may_take(kept, &by, content).await,
            ContentAsk::Have(hashes) => {
                kept.ledger.note_had(by.group, &hashes, by.device, by.at_ms).await.map_err(failed_ledger)?;
                for hash in hashes {
                    self.collect(kept, &by, hash).await?;
                }
                self.count(kept).await;
                Ok(Next::Say(ContentAnswer::Noted))
            }
        }
    }

    fn place(&self, group: GroupId) -> Result<Place, Refusal> {
        let busy = || refuse(Code::RateLimited, "the relay hands over much content now").retry_after(AGAIN_MS);
        let of_all = self.places.clone().try_acquire_owned().map_err(|_| busy())?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_group = taken.entry(group).or_default();
        if *of_group >= AT_ONCE_OF_A_GROUP {
            return Err(busy());
        }
        *of_group += 1;
        Ok(Place { group, taken: self.taken.clone(), _of_all: of_all })
    }

    async fn may_give(&self, kept: &Kept, by: Asker, content: Sealed) -> Result<Next, Refusal> {
        // Whoever has just given it asks whether it is held, and somebody else may have it too.
        let coming =
            self.at_work.lock().unwrap_or_else(PoisonError::into_inner).get(&content.hash).map(|c| c.subscribe());
        if let Some(mut coming) = coming {
            let _ = timeout(PATIENCE, coming.changed()).await;
        }
        if !(sealed_size(0)..=limits::CONTENT_BYTES).contains(&content.size) {
            return Err(refuse(Code::Protocol, "no sealed content has that length"));
        }
        let known = kept.ledger.find(content.hash).await.map_err(failed_ledger)?;
        if known.is_some_and(|known| known.group != by.group || known.size != content.size) {
            return Err(refuse(Code::Protocol, "this hash names other content"));
        }
        let mut holders = kept.ledger.holders(by.group, content.hash).await.map_err(failed_ledger)?;
        holders.insert(by.device);
        if by.members.is_subset(&holders) {
            // Nobody is to fetch it here.
            if known.is_some() {
                self.forget(kept, by.group, content.hash).await?;
                self.count(kept).await;
            }
            return Ok(Next::Say(ContentAnswer::Held));
        }
        let held = kept.store.held(content).await.map_err(|e| failed(&e))?;
        // The ledger alone is not taken at its word: the folder may have been lost without it.
        if known.is_some_and(|known| known.whole) && held == Held::All {
            kept.ledger.note_had(by.group, &[content.hash], by.device, by.at_ms).await.map_err(failed_ledger)?;
            return Ok(Next::Say(ContentAnswer::Held));
        }
        let place = self.place(by.group)?;
        let missing = match held {
            Held::All => 0,
            Held::Part(bytes) => content.size.saturating_sub(bytes),
            Held::Nothing => content.size,
        };
        let free = fs4::available_space(&self.config.folder).map_err(|e| failed(&e))?;
        if missing.saturating_add(Options::default().spare) > free {
            return Err(full());
        }
        let busy = Busy::with(content.hash, &self.at_work)
            .ok_or_else(|| refuse(Code::RateLimited, "somebody gives this now").retry_after(AGAIN_MS))?;
        let coming = Coming { content, by, _busy: busy, _place: place };
        let Asker { group, device, at_ms, .. } = coming.by;
        let begun = kept.ledger.begin(group, content, device, at_ms, self.config.group_bytes);
        if !begun.await.map_err(failed_ledger)? {
            return Err(refuse(Code::Quota, "the group has as much content here as it may").retry_after(LATER_MS));
        }
        Ok(Next::Take(coming))
    }

    async fn may_take(&self, kept: &Kept, by: &Asker, content: Sealed) -> Result<Next, Refusal> {
        let known = kept.ledger.find(content.hash).await.map_err(failed_ledger)?;
        let known = known.filter(|known| known.group == by.group && known.size == content.size);
        match known {
            Some(known) if known.whole => {
                if kept.store.held(content).await.map_err(|e| failed(&e))? != Held::All {
                    kept.ledger.lost(content.hash).await.map_err(failed_ledger)?;
                    return Err(refuse(Code::ContentMissing, "the relay has lost it").retry_after(LATER_MS));
                }
                Ok(Next::Give(content, self.place(by.group)?))
            }
            Some(_) => Err(refuse(Code::ContentMissing, "not all of it has come yet").retry_after(AGAIN_MS)),
            None => Err(refuse(Code::ContentMissing, "nobody has given it here").retry_after(LATER_MS)),
        }
    }

    /// Takes content from a member. What was verified is kept also if that ends early.
    ///
    /// # Errors
    /// As [`ContentStore::take`].
    pub(crate) async fn take(&self, coming: Coming, from: Incoming, to: Outgoing) -> Result<(), ContentError> {
        let kept = self.kept().await.map_err(|_| ContentError::Incomplete)?;
        let progress: Progress = Arc::new(|_| {});
        let came = kept.store.take(coming.content, from, to, progress).await?;
        self.metrics.content_taken_bytes.add(came);
        let hash = coming.content.hash;
        if !kept.ledger.whole(hash, coming.by.at_ms).await.map_err(std::io::Error::other)? {
            // Meanwhile everybody had it, or its group went.
            kept.store.forget(hash).await?;
        } else {
            // Who has it may have said so meanwhile.
            let holders = kept.ledger.holders(coming.by.group, hash).await.map_err(std::io::Error::other)?;
            if coming.by.members.is_subset(&holders) {
                self.forget_held(kept, coming.by.group, hash).await.map_err(|_| ContentError::Incomplete)?;
            }
        }
        self.count(kept).await;
        Ok(())
    }

    /// Gives content to a member.
    ///
    /// # Errors
    /// As [`ContentStore::give`].
    pub(crate) async fn give(&self, content: Sealed, from: Incoming, to: Outgoing) -> Result<(), ContentError> {
        let kept = self.kept().await.map_err(|_| ContentError::Incomplete)?;
        kept.store.give(content, from, to).await
    }

    /// If the group has changed: what everybody who is left has goes.
    async fn look_at_members(&self, kept: &Kept, by: &Asker) -> Result<(), Refusal> {
        let seen = || self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().get(&by.group) == Some(&by.members) {
            return Ok(());
        }
        for hash in kept.ledger.of(by.group).await.map_err(failed_ledger)? {
            self.collect(kept, by, hash).await?;
        }
        self.count(kept).await;
        let mut members = seen();
        if members.len() >= GROUPS {
            members.clear();
        }
        members.insert(by.group, by.members.clone());
        Ok(())
    }

    /// Deletes content that every member has.
    async fn collect(&self, kept: &Kept, by: &Asker, hash: ContentHash) -> Result<(), Refusal> {
        let known = kept.ledger.find(hash).await.map_err(failed_ledger)?;
        let holders = kept.ledger.holders(by.group, hash).await.map_err(failed_ledger)?;
        if known.is_none_or(|known| known.group != by.group) || !by.members.is_subset(&holders) {
            return Ok(());
        }
        self.forget(kept, by.group, hash).await
    }

    /// Deletes content, unless it is just being taken: then it is looked at again at the end of that.
    async fn forget(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        match Busy::with(hash, &self.at_work) {
            Some(_busy) => self.forget_held(kept, group, hash).await,
            None => Ok(()),
        }
    }

    async fn forget_held(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        // In this order: what the ledger does not know is nobody's, and nobody is given it.
        kept.ledger.forget(group, hash).await.map_err(failed_ledger)?;
        kept.store.forget(hash).await.map_err(|e| failed(&e))?;
        self.metrics.content_deleted.add(1);
        Ok(())
    }

    /// Deletes what is of groups that the store does not know any more: they were deleted while no relay ran.
    pub(crate) async fn forget_unknown(&self, known: &dyn Store) -> Result<(), Refusal> {
        let Some(kept) = self.kept_before().await else { return Ok(()) };
        for group in kept.ledger.groups().await.map_err(failed_ledger)? {
            let found = known.load(group).await.map_err(|e| Refusal::of_store(About::Session, &e))?;
            if found.is_none() {
                self.forget_group(group).await?;
            }
        }
        self.count(kept).await;
        Ok(())
    }

    /// Deletes all content of a group.
    pub(crate) async fn forget_group(&self, group: GroupId) -> Result<(), Refusal> {
        let Some(kept) = self.kept_before().await else { return Ok(()) };
        for hash in kept.ledger.of(group).await.map_err(failed_ledger)? {
            self.forget(kept, group, hash).await?;
        }
        kept.ledger.forget_holders(group).await.map_err(failed_ledger)?;
        self.count(kept).await;
        Ok(())
    }

    /// Deletes what came before this moment of the relay's own time, whoever lacks it still.
    pub(crate) async fn expire(&self, before_ms: u64) -> Result<(), Refusal> {
        let Some(kept) = self.kept_before().await else { return Ok(()) };
        for (group, hash) in kept.ledger.older_than(before_ms).await.map_err(failed_ledger)? {
            self.forget(kept, group, hash).await?;
        }
        kept.ledger.forget_old_holders(before_ms).await.map_err(failed_ledger)?;
        self.count(kept).await;
        Ok(())
    }

    async fn count(&self, kept: &Kept) {
        if let Ok((count, bytes)) = kept.ledger.all().await {
            self.metrics.content.set(i64::try_from(count).unwrap_or(i64::MAX));
            self.metrics.content_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Ends what goes on in the folder.
    pub(crate) async fn close(&self) {
        if let Some(kept) = self.kept.get()
            && let Err(error) = kept.store.close().await
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

    async fn contents() -> (tempfile::TempDir, Contents) {
        let folder = tempfile::tempdir().unwrap();
        let contents = Contents::new(ContentConfig::within(folder.path()), Arc::default());
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
        assert_eq!(kept.ledger.find(content(1).hash).await.unwrap(), None);
        let left = kept.ledger.find(content(2).hash).await.unwrap().unwrap();
        assert_eq!((left.group, left.size, left.whole), (GroupId([2; 32]), 1_000, false));
        assert_eq!((contents.metrics.content.value(), contents.metrics.content_bytes.value()), (1, 1_000));
        contents.close().await;
        // Another start finds the same.
        let again = Contents::new(ContentConfig::within(folder.path()), Arc::default());
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
        let contents = Contents::new(ContentConfig::within(folder.path()), Arc::default());
        contents.expire(u64::MAX).await.unwrap();
        contents.forget_unknown(&MemoryStore::default()).await.unwrap();
        contents.close().await;
        assert!(!folder.path().join(ContentConfig::FOLDER).exists());
    }
}
