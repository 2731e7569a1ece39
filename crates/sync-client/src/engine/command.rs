//! What the engine is asked, and what everybody may see of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Joining;
use sync_core::pairing::GroupOffer;
use sync_core::vault::backup::{Entry, Settings};
use sync_types::frame::Attach;
use sync_types::{BlobId, DeviceId, GroupId, RelayAddress, Sealed, Suite, WakeTarget};
use tokio::sync::oneshot;

use super::{Crypto, Pushed};
use crate::backup::Restored;
use crate::store::{FileNote, OwnBlob};
use crate::{Mode, Receipt, ReceiptState, RecoveryWords, SnapshotReceipt, Status, SyncError, Woken};

/// Where an answer goes. The asker may be gone.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, SyncError>>;

/// Devices by what they call themselves.
pub(crate) type Names = BTreeMap<DeviceId, String>;

/// A call on the engine.
pub(crate) enum Command {
    /// Put blobs into the outbox. The content of large ones is in the content store of this generation.
    Push { channel: String, blobs: Vec<Pushed>, generation: Option<u64>, reply: Reply<Vec<Receipt>> },
    /// Move a consumer's position.
    Advance { consumer: String, channel: Option<String>, position: u64, reply: Reply<()> },
    /// Alerts up to this number were seen.
    AlertsSeen { up_to: u64, reply: Reply<()> },
    /// What these devices call themselves, as far as that is known.
    Names { devices: Vec<DeviceId>, reply: Reply<Names> },
    /// Put the record of a file into the outbox, whose content is in the content store of this generation; gives its id.
    PutFile { record: Vec<u8>, content: Sealed, generation: u64, reply: Reply<BlobId> },
    /// Note what is known of files, with a position up to which their records were looked at. What is of an earlier
    /// generation is left out.
    NoteFiles { notes: Vec<FileNote>, up_to: Option<u64>, generation: u64, reply: Reply<()> },
    /// The group's relays that this device is attached to, in their order, with their tokens.
    ContentRelays { reply: Reply<Vec<RelayAddress>> },
    /// As files stood at this number of [`Snapshot::files`], whatever can be carried of large blobs is carried.
    Carried { files: u64, reply: Reply<()> },
    /// Prove membership on a stream about content, over the connection with this exporter value.
    AttachForContent { exporter: [u8; 32], reply: Reply<Attach> },
    /// Is another member at the other end of the connection with this exporter value?
    IsMemberAt { attach: Box<Attach>, exporter: [u8; 32], reply: Reply<bool> },
    /// Put a snapshot in the place of what it stands for.
    /// As [`Command::Push`] for large ones.
    Snapshot { channel: String, data: Pushed, up_to: u64, generation: Option<u64>, reply: Reply<SnapshotReceipt> },
    /// Found a group of its own unless there is a group.
    Found { reply: Reply<(GroupId, DeviceId)> },
    /// Put a device out of the group.
    Remove { device: DeviceId, lost: bool, reply: Reply<()> },
    /// Have the group use these relays.
    SetRelays { relays: Vec<RelayAddress>, reply: Reply<()> },
    /// Give up the first relay as dead.
    GiveUpFirstRelay { reply: Reply<()> },
    /// Move the group to this suite.
    MoveToSuite { suite: Suite, reply: Reply<()> },
    /// Tell who is connected something.
    Presence { channel: String, data: Vec<u8>, reply: Reply<()> },
    /// How things stand, but for what the log knows.
    Status { reply: Reply<Status> },
    /// Do not wait for the next try to connect.
    ConnectNow { reply: Reply<()> },
    /// A member wants to pair: found a group if there is none, and say where to meet.
    Meet { reply: Reply<MeetingPlace> },
    /// A newcomer wants to pair: may it? Gives this device's name.
    MayJoin { reply: Reply<MeetingPlace> },
    /// What a newcomer has to know.
    Offer { reply: Reply<(GroupOffer, Offering)> },
    /// Add the newcomer that has taken an offer of `sponsor`, as this device was called in it. Answered when it is in the
    /// group.
    Add { key_package: Vec<u8>, name: String, sponsor: DeviceId, offering: Offering, reply: Reply<DeviceId> },
    /// Store a newcomer, then fetch its Welcome. `stored` is answered when it is durable, `joined` when it is a member.
    Join { joining: Box<Joining<Crypto>>, stored: Reply<()>, joined: Reply<(GroupId, DeviceId)> },
    /// What a backup says besides blobs.
    BackupSettings { reply: Reply<Settings> },
    /// May blobs of a backup come in now?
    MayImport { reply: Reply<()> },
    /// Put blobs of a backup beside the log.
    Stage { entries: Vec<Entry>, reply: Reply<()> },
    /// Forget what stands beside the log.
    DropStaged { reply: Reply<()> },
    /// Take what stands beside the log into it; how many blobs that are.
    Import { restored: Box<Restored>, reply: Reply<u64> },
    /// Make a recovery kit, and found a group with it if there is none.
    MakeKit { reply: Reply<RecoveryWords> },
    /// A newcomer that came to nothing goes.
    GiveUpJoining { reply: Reply<()> },
    /// Be connected.
    Foreground { reply: Reply<()> },
    /// Send what waits, for a short while, and have nothing open.
    Background { reply: Reply<()> },
    /// In the background: fetch what waits, for so long at most, and sleep again.
    Wake { limit: Duration, reply: Reply<Woken> },
    /// Have the relays wake this device there, or nowhere.
    SetWakeTarget { target: Option<WakeTarget>, reply: Reply<()> },
    /// The key of the first relay's Web Push messages.
    WakeKey { reply: Reply<[u8; 65]> },
    /// Leave the group.
    Leave { reply: Reply<()> },
    /// Send what waits, for a short while, and stop.
    Close { reply: Reply<()> },
}

impl Command {
    /// Answers with an error, whatever was asked.
    pub(super) fn refuse(self, error: SyncError) {
        match self {
            Self::Push { reply, .. } => drop(reply.send(Err(error))),
            Self::Advance { reply, .. }
            | Self::AlertsSeen { reply, .. }
            | Self::NoteFiles { reply, .. }
            | Self::Carried { reply, .. }
            | Self::Remove { reply, .. }
            | Self::SetRelays { reply, .. }
            | Self::GiveUpFirstRelay { reply }
            | Self::MoveToSuite { reply, .. }
            | Self::Presence { reply, .. }
            | Self::ConnectNow { reply }
            | Self::MayImport { reply }
            | Self::Stage { reply, .. }
            | Self::DropStaged { reply }
            | Self::GiveUpJoining { reply }
            | Self::Foreground { reply }
            | Self::Background { reply }
            | Self::SetWakeTarget { reply, .. }
            | Self::Leave { reply }
            | Self::Close { reply } => drop(reply.send(Err(error))),
            Self::PutFile { reply, .. } => drop(reply.send(Err(error))),
            Self::ContentRelays { reply } => drop(reply.send(Err(error))),
            Self::AttachForContent { reply, .. } => drop(reply.send(Err(error))),
            Self::IsMemberAt { reply, .. } => drop(reply.send(Err(error))),
            Self::Snapshot { reply, .. } => drop(reply.send(Err(error))),
            Self::BackupSettings { reply } => drop(reply.send(Err(error))),
            Self::Import { reply, .. } => drop(reply.send(Err(error))),
            Self::Wake { reply, .. } => drop(reply.send(Err(error))),
            Self::WakeKey { reply } => drop(reply.send(Err(error))),
            Self::Names { reply, .. } => drop(reply.send(Err(error))),
            Self::MakeKit { reply } => drop(reply.send(Err(error))),
            Self::Found { reply } => drop(reply.send(Err(error))),
            Self::Status { reply } => drop(reply.send(Err(error))),
            Self::Meet { reply } => drop(reply.send(Err(error))),
            Self::MayJoin { reply } => drop(reply.send(Err(error))),
            Self::Offer { reply } => drop(reply.send(Err(error))),
            Self::Add { reply, .. } => drop(reply.send(Err(error))),
            Self::Join { stored, .. } => drop(stored.send(Err(error))),
        }
    }
}

/// Held as long as somebody may take an offer of this device's group: meanwhile the device goes over to no other group,
/// or whoever takes the offer would come into a group that is left, with a member in it that is nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offering(Arc<()>);

impl Offering {
    /// Whether anybody but the engine holds it.
    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Where a pairing happens, and what this device is called there.
#[derive(Clone, Debug)]
pub(crate) struct MeetingPlace {
    /// The relay, with its token.
    pub(crate) relay: RelayAddress,
    /// Whether a short code leads there.
    pub(crate) codes: Codes,
    /// The group's suite; before there is a group, that of those founded here.
    pub(crate) suite: Suite,
    /// This device's name.
    pub(crate) name: String,
}

/// What a short code is good for. It says a number at a relay, and does not say which relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Nothing: the group is of suite 2, or this build has no other.
    NotApproved,
    /// Nothing: the relay is a member's own.
    Never,
    /// Something to those who were told the relay's address, as this device was by a link.
    OnDemand,
    /// Enough: the relay is the one that the app's devices are configured with.
    Always,
}

/// What everybody may see of the engine, as of its last turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) group: Option<GroupId>,
    /// What this device is in it.
    pub(crate) device: Option<DeviceId>,
    /// A blob that was sealed lately and its envelope's number.
    pub(crate) sealed: Option<(BlobId, u64)>,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) online: bool,
    pub(crate) caught_up: bool,
    /// How many spans of history are still to come; one at least after a long absence, until it is known what was missed.
    pub(crate) wants: usize,
    /// Whether the bytes of large blobs in the log are still to come.
    pub(crate) awaits: bool,
    /// Rises whenever blobs of others came into the log.
    pub(crate) arrivals: u64,
    /// Rises whenever something of files changed here; 0 as long as there is none.
    pub(crate) files: u64,
    /// Whether a device that was woken waits for large blobs to be carried before it sleeps again.
    pub(crate) carries: bool,
    /// Whether nobody else is in the group.
    pub(crate) alone: bool,
    /// Why it is not syncing.
    pub(crate) trouble: Option<SyncError>,
    /// Where in its life the app is.
    pub(crate) mode: Mode,
    /// Whether connecting was given up.
    pub(crate) stopped: bool,
    /// Whether the engine is gone.
    pub(crate) closed: bool,
}

impl Snapshot {
    /// The state of an own blob.
    pub(crate) fn state_of(&self, blob: OwnBlob) -> ReceiptState {
        match blob {
            OwnBlob::Delivered => ReceiptState::Delivered,
            OwnBlob::Sealed(seq) | OwnBlob::Carried(seq) if seq <= self.delivered => ReceiptState::Delivered,
            // While this device is alone its bytes go nowhere.
            OwnBlob::Carried(_) if !self.alone => ReceiptState::Queued,
            OwnBlob::Sealed(seq) | OwnBlob::Carried(seq) if seq <= self.accepted => ReceiptState::Accepted,
            OwnBlob::Sealed(_) | OwnBlob::Carried(_) | OwnBlob::Waits => ReceiptState::Queued,
        }
    }
}
