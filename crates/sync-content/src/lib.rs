//! Large content: sealed with a key of its own, then named by its hash, so that whoever keeps it or hands it over can neither read
//! nor alter it.
//!
//! [`seal`] seals it in chunks; a [`ContentStore`] keeps what is sealed and hands it from device to device in verified pieces,
//! so that what was interrupted goes on at the byte; [`FolderStore`] is one over [iroh-blobs](iroh_blobs). Whom to ask, who may
//! have it and for how long it is kept is the caller's concern.

mod error;
mod exchange;
mod folder;
pub mod seal;
mod store;
mod stream;

pub use error::ContentError;
pub use folder::{FolderStore, Options};
pub use seal::{ContentKey, SIZE_MAX, padded_size, sealed_size};
pub use store::{Content, ContentStore, Held, Incoming, Opened, Outgoing, Progress, StoreFuture};
pub use sync_types::{ContentHash, Sealed};
