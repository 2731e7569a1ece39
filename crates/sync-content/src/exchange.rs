//! Handing content over a pair of streams, whatever carries them, in iroh-blobs' protocol: one side asks for ranges, the other
//! sends them with the hashes by which each group of 16 KiB is verified before the next is read.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use iroh_blobs::api::Store;
use iroh_blobs::api::remote::GetProgressItem;
use iroh_blobs::get::GetError;
use iroh_blobs::protocol::Request;
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::util::{RecvStream, SendStream};
use iroh_blobs::{HashAndFormat, get, provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::ContentError;
use crate::store::{Incoming, Outgoing, Progress, Sealed};

/// How many bytes stand before what is handed over: how many it has in all.
const SIZE_BYTES: usize = 8;

/// Bytes from the other side, that have to move.
struct From {
    stream: Incoming,
    patience: Duration,
    /// The size that has to stand first.
    expected: Option<u64>,
}

/// Bytes to the other side, that have to move.
struct To {
    stream: Outgoing,
    patience: Duration,
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing moved for too long")
}

impl From {
    /// Fills as much of `buffer` as there is.
    async fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match timeout(self.patience, self.stream.read(&mut buffer[filled..])).await {
                Ok(Ok(0)) => break,
                Ok(Ok(read)) => filled += read,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(stalled()),
            }
        }
        Ok(filled)
    }
}

impl RecvStream for From {
    async fn recv_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; len];
        let filled = self.fill(&mut buffer).await?;
        buffer.truncate(filled);
        Ok(buffer.into())
    }

    async fn recv_bytes_exact(&mut self, len: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; len];
        self.recv_exact(&mut buffer).await?;
        Ok(buffer.into())
    }

    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        if self.fill(target).await? < target.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Before anything is set aside for it.
        if let Some(expected) = self.expected.take()
            && (target.len() != SIZE_BYTES || target[..] != expected.to_le_bytes())
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another size there"));
        }
        Ok(())
    }

    fn stop(&mut self, _code: iroh::endpoint::VarInt) -> io::Result<()> {
        // Dropping it does.
        Ok(())
    }

    fn id(&self) -> u64 {
        0
    }
}

impl SendStream for To {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(&bytes).await
    }

    async fn send(&mut self, buffer: &[u8]) -> io::Result<()> {
        timeout(self.patience, self.stream.write_all(buffer)).await.unwrap_or_else(|_| Err(stalled()))
    }

    async fn sync(&mut self) -> io::Result<()> {
        // Each side says one thing: what it asks for, or what was asked for.
        timeout(self.patience, self.stream.shutdown()).await.unwrap_or_else(|_| Err(stalled()))
    }

    fn reset(&mut self, _code: iroh::endpoint::VarInt) -> io::Result<()> {
        // Dropping it does: what was sent then ends early, and the other side sees that.
        Ok(())
    }

    async fn stopped(&mut self) -> io::Result<Option<iroh::endpoint::VarInt>> {
        std::future::pending().await
    }

    fn id(&self) -> u64 {
        0
    }
}

/// Asks for what is missing, and takes it.
pub(crate) async fn take(
    store: &Store,
    content: Sealed,
    (stream, to): (Incoming, Outgoing),
    patience: Duration,
    progress: &Progress,
) -> Result<u64, ContentError> {
    let hash = iroh_blobs::Hash::from_bytes(content.hash.0);
    let from = From { stream, patience, expected: Some(content.size) };
    let pair = get::StreamPair::new(0, from, To { stream: to, patience });
    let mut events = store.remote().fetch(pair, HashAndFormat::raw(hash)).stream();
    let mut came = 0;
    while let Some(event) = events.next().await {
        match event {
            GetProgressItem::Progress(bytes) => {
                came = bytes;
                progress(bytes);
            }
            GetProgressItem::Done(_) => return Ok(came),
            // This device's own fault: another source would not help.
            GetProgressItem::Error(error @ (GetError::LocalFailure { .. } | GetError::IrpcSend { .. })) => {
                return Err(ContentError::store(format!("{error:#}")));
            }
            GetProgressItem::Error(error) => return Err(ContentError::Source(format!("{error:#}"))),
        }
    }
    Err(ContentError::Source("it ended".into()))
}

/// Sends what the other side asks for of this content, and of nothing else.
pub(crate) async fn give(
    store: &Store,
    content: Sealed,
    (stream, to): (Incoming, Outgoing),
    patience: Duration,
) -> Result<(), ContentError> {
    let source = |error: &dyn std::fmt::Display| ContentError::Source(format!("{error:#}"));
    let from = From { stream, patience, expected: None };
    let mut pair = provider::StreamPair::new(0, from, To { stream: to, patience }, EventSender::DEFAULT);
    let request = timeout(patience, pair.read_request()).await.map_err(|_| source(&stalled()))?;
    match request.map_err(|error| source(&error))? {
        Request::Get(request) if request.hash.as_bytes() == &content.hash.0 && request.ranges.is_blob() => {
            provider::handle_get(pair, store.clone(), request).await.map_err(|error| source(&error))
        }
        _ => Err(ContentError::Source("it asked for something else".into())),
    }
}
