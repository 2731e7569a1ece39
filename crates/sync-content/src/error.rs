//! What may go wrong with content, and who can do something about it.

use std::path::PathBuf;

/// Why content was not sealed, kept, fetched or opened. Nothing of it is visible to the app then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// It is larger than any content may be.
    #[error("content has at most {} bytes", crate::SIZE_MAX)]
    TooLarge,
    /// What was to be sealed became longer or shorter meanwhile: the app's file is to be put again.
    #[error("the file changed while it was read; put it again")]
    Changed,
    /// There is no room for it: so many bytes are wanted, and so many are free.
    #[error("{wanted} bytes are wanted in {} and {free} are free: make room there", folder.display())]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// In bytes.
        wanted: u64,
        /// In bytes.
        free: u64,
    },
    /// Not all of it is here yet.
    #[error("not all of this content is here yet")]
    Incomplete,
    /// Whoever named this content lied about it: what has the right hash does not open, or is not as long as was said.
    #[error("the content is not what its sender said: {0}")]
    Dishonest(&'static str),
    /// Whoever was to hand it over does not have it, has other bytes, or stopped in the middle. Another one may have it.
    #[error("the other side did not hand it over: {0}")]
    Source(String),
    /// The store on this device, or a file of the app, cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl ContentError {
    pub(crate) fn store(error: impl std::fmt::Display) -> Self {
        Self::Io(std::io::Error::other(format!("the content store: {error}")))
    }
}
