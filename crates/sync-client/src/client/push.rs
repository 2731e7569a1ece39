//! What an app gives to the others: blobs and snapshots.

use sync_types::{BlobId, Code, limits};

use super::{SyncClient, check_channel};
use crate::{DEFAULT_CHANNEL, Receipt, SnapshotReceipt, SyncError};

impl SyncClient {
    /// Puts a blob into the outbox, on [`DEFAULT_CHANNEL`]. See [`SyncClient::push_to`].
    ///
    /// # Errors
    /// As [`SyncClient::push_to`].
    pub async fn push(&self, blob: impl Into<Vec<u8>>) -> Result<Receipt, SyncError> {
        self.push_to(DEFAULT_CHANNEL, blob).await
    }

    /// Puts a blob into the outbox. Returns once it is durable on this device, offline too; it goes to the others as soon
    /// as they can be reached. The first push founds a group of its own.
    ///
    /// One of more than [`limits::BLOB_BYTES`] goes as files do, sealed through the relay's buffer while the app is in the
    /// foreground, with the receipt and in the order of any blob: readers of its channel get what is behind it once it is there.
    /// [`ReceiptState::Accepted`](crate::ReceiptState) says that its bytes are at the relay, too, and `Delivered` that they are on
    /// every device.
    ///
    /// # Errors
    /// Nothing is stored on an error. [`Code::Empty`]; [`Code::TooLarge`] beyond [`limits::LARGE_BLOB_BYTES`], which is what
    /// [`Files::put`](crate::Files::put) is for;
    /// [`Code::InvalidArgument`] for a channel beyond [`limits::CHANNEL_BYTES`], or one that begins with `0ksync/`: those are the
    /// engine's own, here and wherever a channel is named; [`Code::DiskFull`] and [`Code::Io`]; [`Code::Removed`] if this device
    /// was removed from its group.
    pub async fn push_to(&self, channel: &str, blob: impl Into<Vec<u8>>) -> Result<Receipt, SyncError> {
        let mut receipts = self.push_many(channel, vec![blob.into()]).await?;
        receipts.pop().ok_or_else(|| SyncError::new(Code::Internal, "a push gave no receipt"))
    }

    /// Puts blobs into the outbox, all of them or none, in their order.
    ///
    /// # Errors
    /// As [`SyncClient::push_to`].
    pub async fn push_many(&self, channel: &str, blobs: Vec<Vec<u8>>) -> Result<Vec<Receipt>, SyncError> {
        check_channel(channel)?;
        blobs.iter().try_for_each(|blob| check_blob(blob))?;
        if blobs.is_empty() {
            return Ok(vec![]);
        }
        self.inner.push(channel, blobs).await
    }

    /// Waits no more for a large blob whose bytes do not come, as where the one device that had them is lost: readers get what is
    /// behind it, and never this one, on this device alone. Which it is, [`ClientEvent::FileFailed`](crate::ClientEvent) says, with
    /// [`Code::ContentMissing`]. Receipts of what is behind it wait for it no more either: to its sender it counts as delivered, as one
    /// that the app has deleted. Durable when this returns.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an id that no blob has whose bytes are waited for; [`Code::DiskFull`], [`Code::Io`],
    /// [`Code::Closed`].
    pub async fn skip(&self, id: BlobId) -> Result<(), SyncError> {
        self.inner.skip(id).await
    }

    /// Puts a snapshot in the place of all blobs that this device's log holds of a channel up to a position: whoever comes to
    /// the group later gets it instead of them, and so does a consumer that has not had them, as a blob that says so. `data`
    /// has to hold all that the app has of the channel there, its own pushes too. What not every device has yet stays beside
    /// it. Other devices keep their logs as they are. Where the log has nothing that it could stand for, as in a group of one
    /// device, it is kept for the recovery kit alone, if this device leaves its snapshots for one.
    ///
    /// One of more than [`limits::BLOB_BYTES`] is given to whoever comes as a file is, and never left for the recovery kit:
    /// [`ClientEvent::LeftForKit`](crate::ClientEvent) says so.
    ///
    /// Answers when it is durable.
    ///
    /// # Errors
    /// [`Code::Empty`] and [`Code::TooLarge`] for `data` without a byte, of more than [`limits::LARGE_BLOB_BYTES`] or, where it
    /// would be kept for the recovery kit alone, [`limits::BLOB_BYTES`], or for blobs of more than [`limits::COVERS`] devices; [`Code::InvalidArgument`] for a channel beyond [`limits::CHANNEL_BYTES`];
    /// [`Code::DiskFull`], [`Code::Io`], [`Code::Closed`].
    pub async fn snapshot(&self, channel: &str, data: Vec<u8>, up_to: u64) -> Result<SnapshotReceipt, SyncError> {
        check_channel(channel)?;
        check_blob(&data)?;
        self.inner.snapshot(channel, data, up_to).await
    }
}

fn check_blob(blob: &[u8]) -> Result<(), SyncError> {
    if blob.is_empty() {
        return Err(SyncError::new(Code::Empty, "a blob is empty"));
    }
    if blob.len() > limits::LARGE_BLOB_BYTES {
        let (bytes, most) = (blob.len(), limits::LARGE_BLOB_BYTES);
        let message =
            format!("a blob has {bytes} bytes, and at most {most} fit: give it as a file (`Files::put`, `sync.files`)");
        return Err(SyncError::new(Code::TooLarge, message));
    }
    Ok(())
}
