//! Pushes on their way into the outbox, and snapshots.

use sync_core::Device;
use sync_types::body::Blob;
use sync_types::content::LARGE_CHANNEL;
use sync_types::{BlobId, Code, DeviceId, limits};

use super::turn::Work;
use super::{Crypto, Engine, Reply};
use crate::clock::random;
use crate::store::Turn;
use crate::{Receipt, SnapshotReceipt, SyncError};

/// A blob that is pushed.
pub(crate) enum Pushed {
    /// Its bytes.
    Inline(Vec<u8>),
    /// The record of one that is too large for an envelope, whose bytes are in the content store.
    Large(Vec<u8>),
}

impl Pushed {
    /// How many bytes go into the log.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Inline(bytes) | Self::Large(bytes) => bytes.len(),
        }
    }

    /// It, as it travels.
    pub(super) fn blob(self, id: BlobId, channel: &str, snapshot: bool) -> Blob {
        match self {
            Self::Inline(data) => Blob { id, channel: channel.to_owned(), data, snapshot },
            Self::Large(data) => Blob { id, channel: LARGE_CHANNEL.to_owned(), data, snapshot },
        }
    }
}

/// A push on its way.
pub(super) struct Push {
    channel: String,
    blobs: Vec<Pushed>,
    receipts: Vec<Receipt>,
    reply: Reply<Vec<Receipt>>,
}

impl Push {
    pub(super) fn new(channel: String, blobs: Vec<Pushed>, reply: Reply<Vec<Receipt>>) -> Self {
        Self { channel, blobs, receipts: vec![], reply }
    }

    /// Answers once the turn is durable, or has failed.
    pub(super) fn answer(self, outcome: Result<(), &SyncError>) {
        let _ = self.reply.send(outcome.map(|()| self.receipts).map_err(Clone::clone));
    }
}

/// A snapshot of a channel up to a position.
pub(super) struct Snapshot {
    pub(super) channel: String,
    pub(super) data: Pushed,
    pub(super) up_to: u64,
    pub(super) reply: Reply<SnapshotReceipt>,
}

impl Work {
    /// Puts snapshots in the place of what they stand for.
    pub(super) async fn snapshots_into(
        &mut self,
        turn: &mut Turn<'_>,
        device: &mut Device<Crypto>,
    ) -> Result<(), SyncError> {
        for Snapshot { channel, data, up_to, reply } in std::mem::take(&mut self.snapshots) {
            let is_large = matches!(data, Pushed::Large(_));
            let blob = data.blob(BlobId(random()), &channel, true);
            match turn.snapshot(&blob, device.id(), up_to, device.delivered_seq()).await {
                // Whoever comes with the kit finds no device that could give its bytes.
                Ok(0) if is_large && device.leaves_snapshots() => {
                    let message = format!("a snapshot for the recovery kit has at most {} bytes", limits::BLOB_BYTES);
                    let _ = reply.send(Err(SyncError::new(Code::TooLarge, message)));
                }
                Ok(replaced) => {
                    // One that took nobody's place is nowhere, if it is not with the kit.
                    if !is_large || replaced > 0 {
                        turn.keep_apart(&channel, &blob, device.id(), replaced == 0 && device.leaves_snapshots());
                    }
                    if is_large && replaced > 0 {
                        device.handle_large_snapshot(&channel);
                    } else {
                        device.handle_snapshot();
                    }
                    self.answer(reply, SnapshotReceipt { id: blob.id, replaced });
                }
                // Nothing was written for it.
                Err(error) if error.code == Code::TooLarge => drop(reply.send(Err(error))),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stores the pushed blobs. Their ids follow one another from one random draw, so that an envelope names them with a
    /// bit each.
    pub(super) fn push_into(&mut self, turn: &mut Turn<'_>, sender: DeviceId) {
        let mut id = BlobId(random());
        let mut blobs = Vec::new();
        for push in &mut self.pushes {
            for pushed in push.blobs.drain(..) {
                push.receipts.push(Receipt { id, position: 0 });
                blobs.push(pushed.blob(id, &push.channel, false));
                id = id.next();
            }
        }
        let positions = turn.push(sender, blobs);
        for (receipt, position) in self.pushes.iter_mut().flat_map(|p| &mut p.receipts).zip(positions) {
            receipt.position = position;
        }
    }
}

impl Engine {
    /// Sees that there is a group for what is pushed: content that was sealed for one that is gone since has gone with it.
    pub(super) async fn may_push(&mut self, generation: Option<u64>, now: u64) -> Result<(), SyncError> {
        if generation.is_some_and(|of| of != self.start.depot.generation()) {
            return Err(SyncError::new(Code::NotInGroup, "this device has left its group since"));
        }
        self.ensure_device(now).await
    }
}
