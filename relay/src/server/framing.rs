//! Frames on a stream of bytes.

use std::time::Duration;

use sync_types::DecodeError;
use sync_types::frame::{self, ToRelay};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What is set aside for a frame before its bytes are there: a length alone reserves no more than this.
const TRUST_BYTES: usize = 64 * 1024;

/// How many bytes have to move within the time limit of a write.
const PIECE: usize = 16 * 1024;

/// Why no frame was read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The stream ended, within a frame or between two.
    Closed,
    /// The device broke the protocol.
    Bad(DecodeError),
}

/// Reads the next frame, of `most` bytes at most, and says how many it took. Not safe to cancel: what was read of a frame
/// would be lost.
pub(super) async fn read<R: AsyncRead + Unpin>(from: &mut R, most: usize) -> Result<(ToRelay, usize), ReadError> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix).await.map_err(|_| ReadError::Closed)?;
    let length = frame::length(prefix).map_err(ReadError::Bad)?;
    if length > most {
        return Err(ReadError::Bad(DecodeError::Limit("the frame is larger than any that may come here")));
    }
    let mut bytes = Vec::with_capacity(length.min(TRUST_BYTES));
    let read = from.take(length as u64).read_to_end(&mut bytes).await.map_err(|_| ReadError::Closed)?;
    if read < length {
        return Err(ReadError::Closed);
    }
    frame::read(&bytes).map(|frame| (frame, length + 4)).map_err(ReadError::Bad)
}

/// Writes bytes; fails if the other side takes nothing of them for too long.
pub(super) async fn write<W: AsyncWrite + Unpin>(to: &mut W, bytes: &[u8], limit: Duration) -> std::io::Result<()> {
    // In pieces, so that a slow device is not taken for a dead one.
    for piece in bytes.chunks(PIECE) {
        match timeout(limit, to.write_all(piece)).await {
            Ok(written) => written?,
            Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::{Opaque, limits};

    const MOST: usize = limits::FRAME_BYTES;

    #[tokio::test]
    async fn frames_are_read_whole_and_cut_ones_are_not() {
        let frame = ToRelay::Presence(Opaque(vec![7; 100_000]));
        let bytes = frame::write(&frame);
        assert_eq!(read(&mut &bytes[..], MOST).await.unwrap(), (frame, bytes.len()));
        for end in [0, 3, 4, bytes.len() - 1] {
            assert!(matches!(read(&mut &bytes[..end], MOST).await, Err(ReadError::Closed)));
        }
        let too_long = read(&mut &[0xff, 0, 0, 0][..], MOST).await.unwrap_err();
        assert!(matches!(too_long, ReadError::Bad(DecodeError::Limit(_))));
        // Refused by its length, before the rest is there.
        let too_long = read(&mut &bytes[..4], bytes.len() - 5).await.unwrap_err();
        assert!(matches!(too_long, ReadError::Bad(DecodeError::Limit(_))));
        let unknown = read(&mut &[0, 0, 0, 1, 99][..], MOST).await.unwrap_err();
        assert!(matches!(unknown, ReadError::Bad(DecodeError::Malformed { .. })));
    }

    #[tokio::test]
    async fn a_receiver_that_takes_nothing_is_given_up() {
        let (mut near, _far) = tokio::io::duplex(16);
        let error = write(&mut near, &[0; 64], Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
