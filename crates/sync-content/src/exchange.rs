//! Handing content over a pair of streams, whatever carries them, in iroh-blobs' protocol: one side asks for ranges, the other
//! sends them with the hashes by which each group of 16 KiB is verified before the next is read.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use bao_tree::io::{BaoContentItem, Parent};
use bao_tree::{TreeNode, blake3};
use bytes::Bytes;
use iroh_blobs::api::Store;
use iroh_blobs::api::blobs::ImportBaoHandle;
use iroh_blobs::get::fsm::{AtConnected, BlobContentNext, ConnectedNext};
use iroh_blobs::protocol::{GetRequest, Request};
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::util::{RecvStream, SendStream};
use iroh_blobs::{Hash, HashAndFormat, provider};
use sync_types::Sealed;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::ContentError;
use crate::store::{Incoming, Outgoing, Progress};

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

/// Asks for what is missing, and takes it. Returns how many bytes came once all of them are written. `progress` tells what is
/// written, so what it told a process that is killed does not ask for again.
pub(crate) async fn take(
    store: &Store,
    content: Sealed,
    (stream, to): (Incoming, Outgoing),
    patience: Duration,
    progress: &Progress,
) -> Result<u64, ContentError> {
    let hash = Hash::from_bytes(content.hash.0);
    let missing = store.remote().local(HashAndFormat::raw(hash)).await.map_err(ContentError::store)?.missing();
    let from = From { stream, patience, expected: Some(content.size) };
    let asking = AtConnected::new(Instant::now(), from, To { stream: to, patience }, missing, Default::default());
    let ConnectedNext::StartRoot(start) = asking.next().await.map_err(|e| source(&e))? else {
        return Err(ContentError::Source("it ended".into()));
    };
    let (mut coming, size) = start.next().next().await.map_err(|e| source(&e))?;
    let size = NonZeroU64::new(size).ok_or_else(|| ContentError::Source("it is empty there".into()))?;
    let mut writing = Writing {
        import: store.blobs().import_bao(hash, size, Writing::QUEUE).await.map_err(ContentError::store)?,
        above: None,
        came: 0,
        ahead: VecDeque::new(),
    };
    let failed = loop {
        match coming.next().await {
            BlobContentNext::More((next, Ok(item))) => {
                coming = next;
                if let Some(written) = writing.write(item).await? {
                    progress(written);
                }
            }
            BlobContentNext::More((_, Err(error))) => break Some(source(&error)),
            BlobContentNext::Done(_) => break None,
        }
    };
    // What was verified is kept, whatever became of the source.
    let came = writing.end().await?;
    progress(came);
    failed.map_or(Ok(came), Err)
}

/// Asks for all of it, whatever is here, and writes it as it is verified. Returns how many bytes came.
pub(crate) async fn take_all(
    content: Sealed,
    (stream, asked): (Incoming, Outgoing),
    patience: Duration,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<u64, ContentError> {
    let all = GetRequest::blob(Hash::from_bytes(content.hash.0));
    let from = From { stream, patience, expected: Some(content.size) };
    let asking = AtConnected::new(Instant::now(), from, To { stream: asked, patience }, all, Default::default());
    let ConnectedNext::StartRoot(start) = asking.next().await.map_err(|e| source(&e))? else {
        return Err(ContentError::Source("it ended".into()));
    };
    let (mut coming, _) = start.next().next().await.map_err(|e| source(&e))?;
    let mut came = 0;
    loop {
        match coming.next().await {
            BlobContentNext::More((next, Ok(item))) => {
                coming = next;
                if let BaoContentItem::Leaf(leaf) = item {
                    to.write_all(&leaf.data).await?;
                    came += leaf.data.len() as u64;
                }
            }
            BlobContentNext::More((_, Err(error))) => return Err(source(&error)),
            BlobContentNext::Done(_) => return Ok(came),
        }
    }
}

/// Hands what was verified to the store, a group at a time.
struct Writing {
    import: ImportBaoHandle,
    /// The last hashes that came before a group.
    above: Option<(TreeNode, (blake3::Hash, blake3::Hash))>,
    /// How many bytes of content came.
    came: u64,
    /// How many had come at each of the last items that the store was sent.
    ahead: VecDeque<u64>,
}

impl Writing {
    /// How many items wait for the store at the most. A source that is slower than the disk finds none waiting.
    const QUEUE: usize = 16;
    /// How many items the store may have and not have written: those that wait for it, and the one in its hands.
    const AHEAD: usize = Self::QUEUE + 1;

    /// Says how many bytes are written, if there are more.
    async fn write(&mut self, item: BaoContentItem) -> Result<Option<u64>, ContentError> {
        let group = match &item {
            BaoContentItem::Parent(Parent { node, pair }) => {
                self.above = Some((*node, *pair));
                None
            }
            BaoContentItem::Leaf(leaf) => Some(leaf.data.len() as u64),
        };
        let mut written = self.send(item).await?;
        if let Some(bytes) = group {
            self.came += bytes;
            // The store writes a group when hashes follow it: it is sent the last ones again.
            if let Some((node, pair)) = self.above {
                written = self.send(BaoContentItem::Parent(Parent { node, pair })).await?.or(written);
            }
        }
        Ok(written)
    }

    async fn send(&mut self, item: BaoContentItem) -> Result<Option<u64>, ContentError> {
        self.import.tx.send(item).await.map_err(ContentError::store)?;
        self.ahead.push_back(self.came);
        Ok(if self.ahead.len() > Self::AHEAD { self.ahead.pop_front() } else { None })
    }

    /// Waits until all is written; says how many bytes that are.
    async fn end(self) -> Result<u64, ContentError> {
        drop(self.import.tx);
        self.import.rx.await.map_err(ContentError::store)?.map_err(ContentError::store)?;
        Ok(self.came)
    }
}

fn source(error: &dyn std::fmt::Display) -> ContentError {
    ContentError::Source(format!("{error:#}"))
}

/// Sends what the other side asks for of this content, and of nothing else.
pub(crate) async fn give(
    store: &Store,
    content: Sealed,
    (stream, to): (Incoming, Outgoing),
    patience: Duration,
) -> Result<(), ContentError> {
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
