//! Frames on a stream of bytes.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sync_types::frame::{self, FromRelay, ToRelay};
use sync_types::{Code, DecodeError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::SyncError;

/// What is set aside for a frame before its bytes are there.
const TRUST_BYTES: usize = 64 * 1024;

/// Whatever has to live as long as the stream.
pub(super) type Guard = Arc<dyn Any + Send + Sync>;

/// Reads frames.
pub(crate) struct FrameReader {
    from: Box<dyn AsyncRead + Send + Sync + Unpin>,
    _guard: Guard,
}

/// Writes frames.
pub(crate) struct FrameWriter {
    to: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    _guard: Guard,
}

fn lost(error: &io::Error) -> SyncError {
    SyncError::new(Code::RelayUnreachable, format!("the connection to the relay is lost: {error}"))
}

fn bad(error: DecodeError) -> SyncError {
    SyncError::new(Code::Protocol, format!("the other side sent a bad frame: {error}"))
}

impl FrameReader {
    pub(super) fn new(from: impl AsyncRead + Send + Sync + Unpin + 'static, guard: Guard) -> Self {
        Self { from: Box::new(from), _guard: guard }
    }

    /// The next frame. Not safe to cancel: what was read of a frame would be lost.
    pub(crate) async fn next(&mut self) -> Result<FromRelay, SyncError> {
        frame::read(&self.bytes().await?).map_err(bad)
    }

    /// The same of what another device asks.
    pub(crate) async fn asked(&mut self) -> Result<ToRelay, SyncError> {
        frame::read(&self.bytes().await?).map_err(bad)
    }

    async fn bytes(&mut self) -> Result<Vec<u8>, SyncError> {
        let mut prefix = [0; 4];
        self.from.read_exact(&mut prefix).await.map_err(|e| lost(&e))?;
        let length = frame::length(prefix).map_err(bad)?;
        let mut bytes = Vec::with_capacity(length.min(TRUST_BYTES));
        let read = (&mut self.from).take(length as u64).read_to_end(&mut bytes).await.map_err(|e| lost(&e))?;
        if read < length {
            return Err(SyncError::new(Code::RelayUnreachable, "the connection ended within a frame"));
        }
        Ok(bytes)
    }
}

impl FrameWriter {
    pub(super) fn new(to: impl AsyncWrite + Send + Sync + Unpin + 'static, guard: Guard) -> Self {
        Self { to: Box::new(to), _guard: guard }
    }

    /// Writes a frame.
    pub(crate) async fn send(&mut self, frame: &ToRelay) -> Result<(), SyncError> {
        self.write(&frame::write(frame)).await
    }

    /// Answers another device.
    pub(crate) async fn answer(&mut self, frame: &FromRelay) -> Result<(), SyncError> {
        self.write(&frame::write(frame)).await
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), SyncError> {
        self.to.write_all(frame).await.map_err(|e| lost(&e))?;
        self.to.flush().await.map_err(|e| lost(&e))
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        // The other side may be gone, which is as good.
        let _ = self.to.shutdown().await;
    }
}

/// What comes behind the last frame, where a stream goes on without frames.
impl AsyncRead for FrameReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.from).poll_read(cx, into)
    }
}

/// The same the other way.
impl AsyncWrite for FrameWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.to).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::Opaque;

    #[tokio::test]
    async fn frames_come_whole_and_cut_ones_are_lost_connections() {
        let frame = FromRelay::Presence(Opaque(vec![7; 100_000]));
        let bytes = frame::write(&frame);
        let read = async |bytes: Vec<u8>| FrameReader::new(io::Cursor::new(bytes), Arc::new(())).next().await;
        assert_eq!(read(bytes.clone()).await.unwrap(), frame);
        for end in [0, 3, 4, bytes.len() - 1] {
            assert_eq!(read(bytes[..end].to_vec()).await.unwrap_err().code, Code::RelayUnreachable, "{end}");
        }
        assert_eq!(read(vec![0xff; 8]).await.unwrap_err().code, Code::Protocol);
        assert_eq!(read(vec![0, 0, 0, 1, 99]).await.unwrap_err().code, Code::Protocol);
    }
}
