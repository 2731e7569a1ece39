//! Sealing while something is read, with two chunks of memory whatever its size.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::ContentError;
use crate::seal::Chunks;

/// What `source` gives, sealed. It ends with an error if there is less than [`Chunks::size`], or more.
pub(crate) fn sealed<R>(source: R, chunks: Arc<Chunks>) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static
where
    R: AsyncRead + Unpin + Send + Sync + 'static,
{
    stream::try_unfold((source, chunks, 0), |(mut source, chunks, number)| async move {
        if number == chunks.count() {
            let over = source.read(&mut [0]).await? > 0;
            return if over { Err(changed()) } else { Ok(None) };
        }
        // Room for the tag from the start, so that sealing moves nothing.
        let mut chunk = Vec::with_capacity(chunks.sealed_len(number));
        chunk.resize(chunks.content_len(number), 0);
        source.read_exact(&mut chunk).await.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => e,
        })?;
        chunks.seal(number, &mut chunk);
        Ok(Some((Bytes::from(chunk), (source, chunks, number + 1))))
    })
}

fn changed() -> io::Error {
    io::Error::other(ContentError::Changed)
}
