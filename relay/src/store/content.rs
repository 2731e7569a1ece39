//! On whose word large content is there: which a group has given, and who of it has it already.

use std::collections::BTreeSet;

use sync_types::{ContentHash, DeviceId, GroupId, Sealed};

use super::StoreFuture;

/// How much content a group may have at once, however small.
pub const CONTENTS_OF_A_GROUP: u64 = 100_000;
/// How much of a group's content is told of at once by [`ContentBook::older_than`].
pub const OLD_CONTENTS: i64 = 1_000;

/// Content that a group has given, or is giving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownContent {
    /// How many sealed bytes it has.
    pub size: u64,
    /// Whether all of it is there.
    pub whole: bool,
}

/// Content that begins to come.
#[derive(Clone, Copy, Debug)]
pub struct NewContent {
    /// Whose.
    pub group: GroupId,
    /// Which.
    pub content: Sealed,
    /// From whom, who has it.
    pub device: DeviceId,
    /// When, in the relay's own time.
    pub at_ms: u64,
    /// How many bytes the group may have with it.
    pub most_bytes: u64,
    /// Whether the relay's folder has nothing of it, from whichever group.
    pub nothing_here: bool,
}

/// What became of content that begins to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may come.
    Yes,
    /// The group would have more than it may, in bytes or in number. Nothing is noted.
    Full,
    /// The same content was forgotten a moment ago, and its bytes are not gone yet: [`ContentBook::bury`].
    Going,
    /// There is no such group any more.
    NoGroup,
}

/// Where it stands which content there is. Each call is one transaction, and durable when it returns. A group's content is its
/// own: what is said of a hash says nothing of the same hash in another group.
pub trait ContentBook: Send + Sync {
    /// Content of a group.
    fn find(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, Option<KnownContent>>;

    /// Content is coming from a device, which has it. What began before goes on in any case.
    fn begin(&self, new: NewContent) -> StoreFuture<'_, Begun>;

    /// All of it is there, from now on. False if it is not known any more.
    fn whole(&self, group: GroupId, content: Sealed, at_ms: u64) -> StoreFuture<'_, bool>;

    /// A device of the group has these; those that the group has not given are passed over.
    fn note_had(&self, group: GroupId, hashes: Vec<ContentHash>, device: DeviceId, at_ms: u64) -> StoreFuture<'_, ()>;

    /// Who of the group has it, or had it before it was deleted.
    fn holders(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, BTreeSet<DeviceId>>;

    /// Those of these contents that there are, or of all, and who of the group has each.
    fn held(
        &self,
        group: GroupId,
        of: Option<Vec<ContentHash>>,
    ) -> StoreFuture<'_, Vec<(ContentHash, BTreeSet<DeviceId>)>>;

    /// What the group has given, and what it is giving.
    fn of(&self, group: GroupId) -> StoreFuture<'_, Vec<ContentHash>>;

    /// What came before this moment of the relay's own time, and what is forgotten and not gone; some of it.
    fn older_than(&self, at_ms: u64) -> StoreFuture<'_, Vec<(GroupId, ContentHash)>>;

    /// Forgets content, and not who has it. Says whether there was any.
    fn forget(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, bool>;

    /// Deletes some of the bytes of what was forgotten, if they are kept here. Says whether there are more.
    fn bury(&self, _group: GroupId, _hash: ContentHash) -> StoreFuture<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Forgets who of a group has what.
    fn forget_holders(&self, group: GroupId) -> StoreFuture<'_, ()>;

    /// Forgets who has content that is gone, where that was said before this moment of the relay's own time.
    fn forget_old_holders(&self, at_ms: u64) -> StoreFuture<'_, ()>;
}

/// Content that several relays share: its bytes lie there in parts, from the first on, and it is [`KnownContent::whole`] when all
/// of them do.
pub trait SharedContent: ContentBook {
    /// How many parts there are.
    fn parts(&self, group: GroupId, hash: ContentHash) -> StoreFuture<'_, u32>;

    /// The next part. The same one twice is one. False if the content is not known any more.
    fn put_part(&self, group: GroupId, hash: ContentHash, number: u32, bytes: Vec<u8>) -> StoreFuture<'_, bool>;

    /// A part.
    fn part(&self, group: GroupId, hash: ContentHash, number: u32) -> StoreFuture<'_, Option<Vec<u8>>>;
}

/// How many parts content of this size has.
pub(crate) fn parts_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PART_BYTES)).unwrap_or(u32::MAX)
}

/// How many bytes each part has but the last.
pub(crate) const PART_BYTES: u64 = 1 << 20;
