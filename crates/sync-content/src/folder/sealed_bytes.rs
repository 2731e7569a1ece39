//! Content as its sealed bytes, for whoever keeps them somewhere else as well and has no key.

use std::sync::Arc;

use bao_tree::ChunkRanges;
use futures_util::StreamExt;
use iroh_blobs::Hash;
use iroh_blobs::protocol::ChunkRangesExt;
use sync_types::Sealed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_util::io::ReaderStream;

use super::FolderStore;
use crate::store::{Held, Incoming, Outgoing};
use crate::{ContentError, exchange};

/// How many bytes are on the way from one side to the store at once.
const ON_THE_WAY: usize = 256 << 10;

impl FolderStore {
    /// So many sealed bytes from a place on, which is a multiple of 16 KiB: fewer at the end. They are verified as they are
    /// read, so that what a disk has damaged is handed to nobody.
    ///
    /// # Errors
    /// [`ContentError::Incomplete`] for what is not here, or is not what it was; [`ContentError::Io`].
    pub async fn sealed_bytes(&self, content: Sealed, from: u64, most: u64) -> Result<Vec<u8>, ContentError> {
        let to = from.saturating_add(most).min(content.size);
        let range = ChunkRanges::bytes(from..to);
        let read = self.store.blobs().export_bao(Hash::from_bytes(content.hash.0), range).data_to_vec().await;
        let bytes = read.map_err(|error| {
            tracing::debug!(%error, "sealed content cannot be read");
            ContentError::Incomplete
        })?;
        if bytes.len() as u64 == to.saturating_sub(from) { Ok(bytes) } else { Err(ContentError::Incomplete) }
    }

    /// Keeps sealed content of which somebody has all bytes, in the place of what is here of it.
    ///
    /// # Errors
    /// [`ContentError::Source`] for what has another hash or length; `NoRoom`, `Io`.
    pub async fn put_sealed(&self, content: Sealed, source: Incoming) -> Result<(), ContentError> {
        self.put_whole(self.put_all(content, source)).await
    }

    /// As [`ContentStore::take`](crate::ContentStore::take), of all of it: what is here does not count, and is not gone on with if
    /// this ends early. So whoever gives it has all of it. Says how many bytes came.
    ///
    /// # Errors
    /// As `take`.
    pub async fn take_anew(&self, content: Sealed, from: Incoming, to: Outgoing) -> Result<u64, ContentError> {
        let (mut near, far) = duplex(ON_THE_WAY);
        let coming = async {
            let came = exchange::take_all(content, (from, to), self.options.patience, &mut near).await;
            // The end of it, for the other half.
            let _ = near.shutdown().await;
            drop(near);
            came
        };
        // Where the source has failed it is that which is told.
        let (came, put) = tokio::join!(coming, self.put_sealed(content, Box::new(far)));
        match (came, put) {
            (Ok(came), Ok(())) => Ok(came),
            (Err(error @ ContentError::Source(_)), _) | (_, Err(error)) | (Err(error), _) => Err(error),
        }
    }

    async fn put_all(&self, content: Sealed, source: Incoming) -> Result<(), ContentError> {
        self.want(&self.folder, content.size)?;
        // One byte more shows what is too long.
        let source = source.take(content.size.saturating_add(1));
        // A source that fails ends here, as in `add`: what came of it has another hash.
        let stream = ReaderStream::with_capacity(source, ON_THE_WAY)
            .scan((), |(), bytes| std::future::ready(bytes.ok().map(Ok)));
        let tag = self.import(stream, Arc::new(|_| {})).await?;
        if tag.hash().as_bytes() != &content.hash.0 {
            // It has no tag of its own, and is swept away.
            return Err(ContentError::Source("these are other bytes, or not all of them".into()));
        }
        if self.look(content).await? != Held::All {
            return Err(ContentError::Incomplete);
        }
        self.keep(content.hash, tag).await
    }
}
