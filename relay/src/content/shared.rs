//! The folder in front of a store that several relays share: what came whole into it goes there in parts, and what another relay
//! has put there comes into it. Bytes are verified by their hash when they leave the folder, and when they come into it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use sync_content::{ContentError, FolderStore, Incoming, Outgoing};
use sync_types::{GroupId, Sealed};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};

use crate::store::{PART_BYTES, SharedContent, StoreError, parts_of};

/// How many bytes are on the way from the store to the folder, beside the part that was read last.
const ON_THE_WAY: usize = 256 << 10;

/// Why content did not get from the folder to the store, or back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The store, or the way to it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The folder.
    #[error("{0}")]
    Folder(ContentError),
    /// What the folder has is not what it had.
    #[error("the folder's copy is damaged")]
    Damaged,
    /// What the store has is not what it was given.
    #[error("the store's copy is damaged")]
    Forged,
    /// It is not known any more.
    #[error("it was deleted meanwhile")]
    Gone,
}

/// Puts what the store lacks of this content there, from the folder, which has all of it. A part at a time, so that it goes on
/// behind the last one, at whichever relay.
pub(super) async fn upload(
    folder: &FolderStore,
    store: &dyn SharedContent,
    group: GroupId,
    content: Sealed,
) -> Result<(), Failed> {
    for number in store.parts(group, content.hash).await?..parts_of(content.size) {
        let bytes = folder.sealed_bytes(content, u64::from(number) * PART_BYTES, PART_BYTES).await;
        let bytes = bytes.map_err(|error| match error {
            ContentError::Incomplete => Failed::Damaged,
            other => Failed::Folder(other),
        })?;
        if !store.put_part(group, content.hash, number, bytes).await? {
            return Err(Failed::Gone);
        }
    }
    Ok(())
}

/// Gets all of this content from the store into the folder.
pub(super) async fn fetch(
    folder: &FolderStore,
    store: &dyn SharedContent,
    group: GroupId,
    content: Sealed,
) -> Result<(), Failed> {
    let (near, far) = duplex(ON_THE_WAY);
    let reading = async move {
        let mut near = near;
        for number in 0..parts_of(content.size) {
            let bytes = store.part(group, content.hash, number).await?.ok_or(Failed::Gone)?;
            if near.write_all(&bytes).await.is_err() {
                // The folder takes no more, and says why.
                break;
            }
        }
        // Where it fails the other half sees an end that comes too early.
        Ok(())
    };
    let (read, put) = tokio::join!(reading, folder.put_sealed(content, Box::new(far)));
    match (read, put) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(failed), _) => Err(failed),
        (Ok(()), Err(ContentError::Source(_))) => Err(Failed::Forged),
        (Ok(()), Err(error)) => Err(Failed::Folder(error)),
    }
}

/// Whether all of this content that the folder should have is there, and as it was.
pub(super) async fn is_sound(folder: &FolderStore, content: Sealed) -> bool {
    for number in 0..parts_of(content.size) {
        if folder.sealed_bytes(content, u64::from(number) * PART_BYTES, PART_BYTES).await.is_err() {
            return false;
        }
    }
    true
}

/// Both directions of somebody who takes content, with a note of whose fault it is if that ends early.
pub(super) fn watched(from: Incoming, to: Outgoing) -> (Incoming, Outgoing, Arc<AtomicBool>) {
    let theirs = Arc::new(AtomicBool::new(true));
    let (from, to) = (Watched(from, theirs.clone()), Watched(to, theirs.clone()));
    (Box::new(from), Box::new(to), theirs)
}

/// Notes whether the other side was the last that could have gone on: nothing came of it, or it takes nothing.
struct Watched<S>(S, Arc<AtomicBool>);

impl<S> Watched<S> {
    fn note<T>(&self, polled: &Poll<std::io::Result<T>>) {
        self.1.store(!matches!(polled, Poll::Ready(Ok(_))), Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = pin!(&mut self.0).poll_read(context, buffer);
        self.note(&polled);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = pin!(&mut self.0).poll_write(context, bytes);
        self.note(&polled);
        polled
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        pin!(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = pin!(&mut self.0).poll_shutdown(context);
        self.note(&polled);
        polled
    }
}
