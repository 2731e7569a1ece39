//! What goes in and out of the public API.

use std::fmt;

use sync_core::event::{Exit, Outcome, Setting};
use sync_types::{BlobId, Code, DeviceId, GroupId, RelayAddress, Suite};
use zeroize::Zeroizing;

use crate::{Mode, RelayState, VaultKind, WakeState};

/// The word that a blob is durable in the local outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The blob's id, the same on every device.
    pub id: BlobId,
    /// Its place in this device's log.
    pub position: u64,
}

/// How far a pushed blob has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReceiptState {
    /// Durable on this device.
    Queued,
    /// Durable at the relay.
    Accepted,
    /// Every member has signed that it holds it.
    Delivered,
}

impl ReceiptState {
    /// The state's name, as in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
        }
    }
}

/// A blob of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedBlob {
    /// Its id, the same on every device and however often it is handed out.
    pub id: BlobId,
    /// Who pushed it.
    pub device: DeviceId,
    /// Its channel.
    pub channel: String,
    /// Its place in this device's log; rises, in each sender's order.
    pub position: u64,
    /// Whether this device pushed it. Such blobs are handed out only where that is asked for.
    pub own: bool,
    /// The app's bytes.
    pub data: Vec<u8>,
    /// Whether it is a snapshot: it stands for all that its maker had of the channel, and that this consumer may have missed.
    pub snapshot: bool,
}

/// What a recovery kit brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The group.
    pub group: GroupId,
    /// This device in it.
    pub device: DeviceId,
    /// The snapshots that are in the log again, for consumers to read. What was pushed after them is lost.
    pub snapshots: Vec<RestoredSnapshot>,
    /// How many more the relay showed that no device of the group vouches for, or that cannot be read.
    pub left_out: usize,
}

/// A snapshot that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredSnapshot {
    /// Its channel.
    pub channel: String,
    /// When it was left, in milliseconds since the Unix epoch, by the clock of the device that left it.
    pub at: u64,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotReceipt {
    /// Its id, for whoever gets it; of no use where nothing was replaced.
    pub id: BlobId,
    /// How many blobs of this device's log it took the place of. With 0 the log is as it was, and the snapshot
    /// is kept for the recovery kit alone, if this device leaves its snapshots for one.
    pub replaced: u64,
}

/// Redacts channel and content.
impl fmt::Debug for ReceivedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedBlob({:?} at {}, {} bytes)", self.id, self.position, self.data.len())
    }
}

/// A recovery kit, to be shown to the person once and kept on paper. Whoever has it can put every device of the group out and
/// take its place.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryWords {
    /// The 24 words, with a space between.
    pub words: Zeroizing<String>,
    /// The relay that has the group, without its token. It belongs to the words.
    pub relay: RelayAddress,
}

/// Shows no word.
impl fmt::Debug for RecoveryWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryWords").field("relay", &self.relay).finish_non_exhaustive()
    }
}

/// Somebody has changed what the group agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// What.
    pub setting: Setting,
    /// Who; this device too.
    pub by: DeviceRef,
    /// When this device heard of it, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// Behind what the consumer has acknowledged.
    #[default]
    Position,
    /// At the first blob that the log holds: a replay.
    Start,
}

/// A device, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRef {
    /// Its id.
    pub id: DeviceId,
    /// Its name, once it has said one.
    pub name: Option<String>,
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub id: DeviceId,
    /// Its name, once it has said one.
    pub name: Option<String>,
    /// Whether it is this device.
    pub own: bool,
    /// When something new from it last came here, in milliseconds since the Unix epoch; `None` for this device.
    pub last_seen: Option<u64>,
}

/// Something that happened. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The relay accepted this device.
    Connected,
    /// The connection is over; the client comes back by itself.
    Disconnected {
        /// Why.
        code: Code,
        /// What happened, as a sentence without a full stop.
        message: String,
        /// When the next try is, in milliseconds.
        retry_after_ms: u64,
    },
    /// The app's life went on: it is in the foreground, in the background, or woken there.
    Mode(Mode),
    /// Everything that waited at the relay is in the log.
    CaughtUp,
    /// New blobs are in the log.
    Arrived,
    /// Some pushed blobs became [`ReceiptState::Accepted`].
    Accepted,
    /// Some pushed blobs became [`ReceiptState::Delivered`].
    Delivered,
    /// A device came into the group.
    DeviceAdded {
        /// Which.
        device: DeviceRef,
        /// Who added it.
        by: DeviceRef,
    },
    /// A device was taken out of the group.
    DeviceRemoved {
        /// Which.
        device: DeviceRef,
        /// Who removed it.
        by: DeviceRef,
        /// Why.
        exit: Exit,
    },
    /// The group uses other relays now, or in another order.
    RelaysChanged {
        /// Who changed the list.
        by: DeviceRef,
        /// The relays, without tokens; the first orders the changes of the group.
        relays: Vec<RelayAddress>,
    },
    /// A device said its name.
    DeviceNamed {
        /// Which.
        device: DeviceRef,
    },
    /// This device has joined a group.
    Joined {
        /// Which.
        group: GroupId,
        /// What this device is in it.
        device: DeviceId,
    },
    /// This device has left its group: its keys and blobs are gone here. Also told when a leaving that an end of the process
    /// had cut short is through.
    Left {
        /// Which.
        group: GroupId,
        /// What this device was in it.
        device: DeviceId,
    },
    /// A device took a new key, and with it a new id: its data was restored from a copy, or it could not follow the group.
    DeviceReplaced {
        /// The device as it is now.
        device: DeviceRef,
        /// Its id before.
        old: DeviceId,
    },
    /// This device took a new key, and with it a new id.
    KeyReplaced {
        /// Its id before.
        old: DeviceId,
        /// Its id now.
        device: DeviceId,
        /// Why: [`Code::RolledBack`] or [`Code::OutOfStep`].
        code: Code,
    },
    /// This device was removed from its group.
    Removed {
        /// Who removed it.
        by: DeviceRef,
        /// Whether it was removed as one that is lost: then its keys and blobs go here, and [`ClientEvent::Left`] says when
        /// they are gone. An app that keeps data of its own deletes that.
        lost: bool,
        /// Whether that device had come back by the recovery kit, and removed all others with this one.
        recovered: bool,
    },
    /// A device came back into the group by its recovery kit, and removes all others. If nobody whom you know did that,
    /// somebody else has the words.
    DeviceRecovered {
        /// Which.
        device: DeviceRef,
    },
    /// Somebody changed what the group agreed on: its recovery kit, its relays, its history policy.
    SettingsChanged {
        /// What.
        setting: Setting,
        /// Who; this device too.
        by: DeviceRef,
    },
    /// This device was away for so long that the relay has let go of what it missed, or may have. It fetches that from the other
    /// devices: [`ClientEvent::HistoryProgress`] says how far it is, and [`ClientEvent::Synced`] when it is through.
    Lapsed {
        /// When it was connected before, in milliseconds since the Unix epoch.
        since: u64,
    },
    /// The relay keeps this device's snapshot of a channel for the recovery kit, or will not.
    LeftForKit {
        /// The channel.
        channel: String,
        /// Why it will not: [`Code::Quota`], say.
        refused: Option<Code>,
    },
    /// All history that this device asked for has come: what was there before it joined, or what it missed in a long absence.
    Synced,
    /// History is coming: so many envelopes of so many, as far as their numbers tell. What of them is no app's takes no time,
    /// so that this rises in leaps.
    HistoryProgress {
        /// How many are through.
        done: u64,
        /// How many were asked for.
        total: u64,
    },
    /// Something that arrived was not applied as it is; `doctor` keeps it.
    Unusual {
        /// What became of it.
        outcome: Outcome,
        /// Whose it claims to be.
        device: Option<DeviceRef>,
    },
    /// Other devices hold what neither the relay nor any of them has brought here.
    Withheld {
        /// Who pushed it.
        device: DeviceRef,
        /// How many envelopes are missing.
        count: u64,
    },
    /// Nothing new has come from a device for two weeks: it is off, or kept away from this one.
    StalePeer {
        /// Which.
        device: DeviceRef,
        /// When something last came, in milliseconds since the Unix epoch.
        since: u64,
    },
    /// A change of the group was undone.
    CommitRejected {
        /// Who could not apply it.
        by: DeviceRef,
        /// Who made it.
        committer: DeviceRef,
    },
    /// A change of the group that this device wanted was given up.
    ChangeFailed {
        /// The device that was to be added or removed; this one, if its keys or the group's relays were to change.
        device: DeviceRef,
        /// Why.
        code: Code,
    },
    /// The relay refused something.
    Refused {
        /// Why.
        code: Code,
        /// When it is tried again, in milliseconds; 0 when never.
        retry_after_ms: u64,
    },
    /// Sending has stopped; see the code's next step.
    Halted {
        /// [`Code::Forked`] or [`Code::Cloned`], for good; [`Code::RolledBack`] or [`Code::OutOfStep`], until
        /// [`ClientEvent::KeyReplaced`].
        code: Code,
    },
    /// Another device's presence.
    Presence {
        /// Whose.
        device: DeviceRef,
        /// The channel.
        channel: String,
        /// What it says; empty when it is gone.
        data: Vec<u8>,
    },
    /// Two different blobs carry one id. The first is in the log, the other with `doctor`.
    IdConflict {
        /// The id.
        id: BlobId,
        /// Who sent the second.
        device: DeviceRef,
    },
    /// A handler did not take a blob. It gets it again.
    HandlerFailed {
        /// The consumer.
        consumer: String,
        /// The blob.
        id: BlobId,
        /// How often it was handed out.
        attempts: u32,
        /// When it is handed out again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The database could not be written. What was being pushed was refused; nothing that was accepted is lost.
    StoreFailed {
        /// Why.
        code: Code,
    },
    /// A file is in the list.
    FileListed {
        /// Which.
        id: BlobId,
        /// Whether it was put on this device.
        own: bool,
    },
    /// A file is on its way to this device, or to a relay. Told at most ten times a second for each file.
    FileProgress {
        /// Which.
        id: BlobId,
        /// How many bytes are there, counted as they are sealed.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// All of a file of another device is here.
    FileHere {
        /// Which.
        id: BlobId,
    },
    /// A relay has all of a file that was put here.
    FileGiven {
        /// Which.
        id: BlobId,
    },
    /// A file is off the list.
    FileRemoved {
        /// Which.
        id: BlobId,
    },
    /// A file, or a blob of more than [`limits::BLOB_BYTES`](crate::limits::BLOB_BYTES), did not come, or did not go. It is tried
    /// again, but for a forged one ([`Code::ContentForged`]), which readers pass over.
    FileFailed {
        /// Which.
        id: BlobId,
        /// Why: [`Code::ContentMissing`], [`Code::Quota`], [`Code::DiskFull`], say.
        code: Code,
        /// When it is tried again, in milliseconds.
        retry_after_ms: u64,
    },
    /// There is a new alert, or one that nobody has seen has changed: a device has got its name, a warning came again.
    Alert(Box<crate::Alert>),
    /// [`crate::SyncClient::alerts_seen`] was called, perhaps by another part of the app.
    AlertsSeen {
        /// Up to which number.
        up_to: u64,
    },
    /// The subscriber of these events was too slow: so many are missing.
    Lagged(u64),
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The group; `None` before the first push, invite or join.
    pub group: Option<GroupId>,
    /// This device in it.
    pub device: Option<DeviceId>,
    /// What this device is called.
    pub name: String,
    /// Whether a relay has this device attached.
    pub connected: bool,
    /// Whether everything that waited at the relay at the last attach is in the log.
    pub caught_up: bool,
    /// The relays of the group, without tokens.
    pub relays: Vec<RelayAddress>,
    /// How this device stands with each of them, in the same order.
    pub relay_states: Vec<RelayState>,
    /// Whether this device hosts a relay of its group and runs it now.
    pub hosting: bool,
    /// In a group whose members host its relays: the devices of which one has to come up before anything goes from here to another
    /// device. Empty as soon as one of their relays is reached.
    pub waiting_for: Vec<DeviceRef>,
    /// Blobs that no relay has accepted yet.
    pub outbox: u64,
    /// Own blobs that not every member has signed for.
    pub unacknowledged: u64,
    /// The members.
    pub devices: Vec<DeviceInfo>,
    /// The version of membership and keys.
    pub epoch: u64,
    /// What the group's cryptography is made of; `None` without a group.
    pub suite: Option<Suite>,
    /// The move to another suite that this device was asked for and that is not done.
    pub moving: Option<Moving>,
    /// Whether history is still on its way.
    pub wants_history: bool,
    /// For how many days this device was away, as long as it fetches what it missed from the others.
    pub away_days: Option<u64>,
    /// How many envelopes other devices are known to have pushed that have not come here: they are asked for.
    pub behind: u64,
    /// How many of these nobody has brought.
    pub withheld: u64,
    /// Whether the group has a recovery kit.
    pub recovery_kit: bool,
    /// Whether this device leaves its snapshots for that ([`crate::SyncConfig::kit_snapshots`]).
    pub kit_snapshots: bool,
    /// Why the relay did not take the last of them.
    pub kit_snapshot_refused: Option<Code>,
    /// Whether this device can vouch for the group towards whoever comes with the kit: it was told what members hold of it.
    pub vouches: bool,
    /// The newest changes of what the group agreed on, oldest first.
    pub setting_changes: Vec<SettingChange>,
    /// Why it is not syncing, as a sentence; `None` when all is well.
    pub trouble: Option<SyncTrouble>,
    /// Where in its life the app is.
    pub mode: Mode,
    /// How it stands with waking this device; `None` if it has no target ([`crate::SyncClient::set_wake_target`]).
    pub wake: Option<WakeState>,
    /// Whether a pairing was agreed on, and this device waits until the other one has added it.
    pub joining: bool,
    /// Where the key lies that seals this home's data.
    pub vault: VaultKind,
}

/// A move of the group to another suite, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Where to.
    pub to: Suite,
    /// The devices that have not answered yet. Each is waited for until it comes online, or is removed.
    pub waits_for: Vec<DeviceRef>,
}

/// Why it is not syncing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncTrouble {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// One thing that `doctor` has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about; `None` for something that is as it should be.
    pub code: Option<Code>,
    /// In a few words.
    pub title: String,
    /// In a sentence or two.
    pub detail: String,
    /// What to do; empty when there is nothing to do.
    pub next_step: String,
}

/// What happens in a pairing.
#[derive(Clone, PartialEq, Eq)]
pub enum PairingEvent {
    /// Show this link, as a QR or as text, and the short code beside it. Whoever has either can answer it, so they go into
    /// no log.
    Uri {
        /// The link.
        uri: String,
        /// The short code, `7-word-word-word`, to be typed on a device that is configured with the same relay.
        code: Option<String>,
        /// When it is worth nothing any more, in seconds since the Unix epoch.
        expires_at: u64,
    },
    /// The short code is worth nothing any more, mostly because somebody has typed another one: [`Code::WrongCode`]. The
    /// link is as good as before.
    CodeOver(crate::SyncError),
    /// Show these four digits; the person types them on the other device.
    Check(String),
    /// Ask for the four digits that the other device shows: [`crate::Pairing::type_check`].
    TypeCheck,
    /// Ask whether this newcomer may join.
    Request {
        /// What it calls itself.
        name: String,
        /// Whether yes is said by [`crate::Pairing::type_check`]; else by [`crate::Pairing::consent`].
        needs_check: bool,
    },
    /// Newcomer: the member has agreed, and this device now waits until it is added. From here on the member may do that
    /// at any time, so a client that is closed goes on at its next start; [`crate::SyncClient::leave`] gives it up.
    Agreed,
    /// Newcomer: this device is in the group. The last event.
    Joined {
        /// The group.
        group: GroupId,
        /// What this device is in it.
        device: DeviceId,
    },
    /// Member: the newcomer is in the group. The last event.
    Added {
        /// The newcomer.
        device: DeviceId,
        /// What it calls itself.
        name: String,
    },
    /// It came to nothing. The last event.
    Failed(crate::SyncError),
}

/// Shows no link, no code and no digits.
impl fmt::Debug for PairingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri { expires_at, .. } => write!(f, "Uri(…, expires at {expires_at})"),
            Self::CodeOver(error) => write!(f, "CodeOver({error:?})"),
            Self::Check(_) => f.write_str("Check(…)"),
            Self::TypeCheck => f.write_str("TypeCheck"),
            Self::Request { needs_check, .. } => write!(f, "Request(…, needs check {needs_check})"),
            Self::Agreed => f.write_str("Agreed"),
            Self::Joined { group, device } => write!(f, "Joined({group:?}, {device:?})"),
            Self::Added { device, .. } => write!(f, "Added({device:?})"),
            Self::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}
