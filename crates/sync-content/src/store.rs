//! What a store of sealed content does, whatever it keeps it in.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use sync_types::content::ContentRef;
use sync_types::{ContentHash, Sealed, Suite};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::seal::{SIZE_MAX, sealed_size};
use crate::{ContentError, ContentKey};

/// What a store answers.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ContentError>> + Send + 'a>>;
/// Bytes from the other side.
pub type Incoming = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// Bytes to the other side.
pub type Outgoing = Box<dyn AsyncWrite + Send + Sync + Unpin>;
/// What content holds, open.
pub type Opened = Box<dyn AsyncRead + Send + Unpin>;
/// Is told how many bytes have been worked on so far; it only grows. Called often, so it has to be quick.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Content as the group's members know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The hash of what is sealed.
    pub hash: ContentHash,
    /// What opens it.
    pub key: ContentKey,
    /// By which cipher.
    pub suite: Suite,
    /// How many bytes it has when it is open.
    pub size: u64,
}

impl Content {
    /// What a member was told of content.
    ///
    /// # Errors
    /// [`ContentError::Dishonest`] for a cipher that this build does not know; [`ContentError::TooLarge`].
    pub fn of(named: &ContentRef) -> Result<Self, ContentError> {
        let suite = Suite::from_wire(named.suite).map_err(|_| ContentError::Dishonest("its cipher is unknown"))?;
        if named.size > SIZE_MAX {
            return Err(ContentError::TooLarge);
        }
        Ok(Self { hash: named.hash, key: ContentKey::from_bytes(named.key), suite, size: named.size })
    }

    /// It, as members are told of it.
    pub fn named(&self) -> ContentRef {
        ContentRef { hash: self.hash, key: *self.key.as_bytes(), suite: self.suite as u8, size: self.size }
    }

    /// It, as others know it.
    pub fn sealed(&self) -> Sealed {
        Sealed { hash: self.hash, size: sealed_size(self.size) }
    }
}

/// How much of some content is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// So many of its sealed bytes, verified.
    Part(u64),
    /// All of it.
    All,
}

/// Keeps sealed content, each until [`ContentStore::forget`].
pub trait ContentStore: Send + Sync {
    /// Seals a file under a new key, and keeps it.
    ///
    /// # Errors
    /// [`ContentError::Changed`] for a file that changes meanwhile, `TooLarge`, `NoRoom`, `Io`.
    fn put<'a>(&'a self, file: &'a Path, suite: Suite, progress: Progress) -> StoreFuture<'a, Content>;

    /// As [`ContentStore::put`], of bytes that are in memory.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`], `NoRoom`, `Io`.
    fn put_bytes(&self, bytes: Vec<u8>, suite: Suite) -> StoreFuture<'_, Content>;

    /// Seals bytes once more that were sealed as this content, and keeps it.
    ///
    /// # Errors
    /// [`ContentError::Dishonest`] for other bytes; `NoRoom`, `Io`.
    fn put_again<'a>(&'a self, bytes: Vec<u8>, content: &'a Content) -> StoreFuture<'a, ()>;

    /// How much of this content is here.
    fn held(&self, content: Sealed) -> StoreFuture<'_, Held>;

    /// Opens content that is all here into a file, which is there as a whole or not at all. One that is there is replaced if
    /// `replace` says so.
    ///
    /// # Errors
    /// [`ContentError::Incomplete`], also for what the disk has altered since it came; `Dishonest` for what its sender told wrongly;
    /// `NoRoom`, `Io`: of the kind
    /// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) for a file that is there and is not to be replaced.
    fn export<'a>(
        &'a self,
        content: &'a Content,
        file: &'a Path,
        replace: bool,
        progress: Progress,
    ) -> StoreFuture<'a, ()>;

    /// A reader of content that is all here. It may be dropped in the middle.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`]; what else is wrong shows when it is read.
    fn read(&self, content: &Content) -> Result<Opened, ContentError>;

    /// All that the content holds, in memory.
    ///
    /// # Errors
    /// As [`ContentStore::export`], but for `NoRoom`.
    fn bytes<'a>(&'a self, content: &'a Content) -> StoreFuture<'a, Vec<u8>>;

    /// Takes what is missing of this content from the other side, which does [`ContentStore::give`], and keeps what was
    /// verified of it also if that ends early. Says how many bytes came.
    ///
    /// # Errors
    /// [`ContentError::Source`] if the other side does not hand it over; another one may. `NoRoom`, `Io`.
    fn take(&self, content: Sealed, from: Incoming, to: Outgoing, progress: Progress) -> StoreFuture<'_, u64>;

    /// Hands this content to the other side, as much of it as that asks for: who that is, the caller knows.
    ///
    /// # Errors
    /// [`ContentError::Source`] if the other side asks for something else or stops; `Incomplete` for what is not here; `Io`.
    fn give(&self, content: Sealed, from: Incoming, to: Outgoing) -> StoreFuture<'_, ()>;

    /// Gives the space of this content back, at once or within a few minutes.
    fn forget(&self, hash: ContentHash) -> StoreFuture<'_, ()>;

    /// All that is kept, whole or not.
    fn hashes(&self) -> StoreFuture<'_, Vec<ContentHash>>;

    /// Ends what goes on in the store. Later calls fail.
    fn close(&self) -> StoreFuture<'_, ()>;
}
