//! What a device keeps, as instructions: the core decides, the engine writes.
//!
//! The small state of a device (keys, chains, membership) is a table of [`Key`]s and values that [`crate::Device::load`]
//! reads whole. What grows (blobs, sealed envelopes, buffered ones) is written by [`Write`]s and read back by [`Read`]s,
//! so that the core never holds it. A store must apply all writes of one [`crate::Device::take_writes`] in one durable
//! transaction, in their order.
//!
//! The tables, as every store has them:
//! - *state*: key → value
//! - *blob*: position (rising, never reused) → id (unique), sender, seq (none while it waits to be sealed), channel, data
//! - *held*: (sender, seq, index) → id, channel, data: arrived, but an earlier blob of the same sender is missing
//! - *sealed*: own seq → envelope
//! - *gap*: (sender, seq) → envelope that arrived before its predecessor
//! - *refused*: what was not accepted, kept for `doctor` and as evidence

use std::fmt;

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::body::{Blob, Span};
use sync_types::{BlobId, DeviceId, Opaque};
use zeroize::Zeroizing;

use crate::relay_id::RelayId;

/// A row of the small state. Its bytes are [`Key::to_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Signing key, group id, name: who this device is.
    Identity,
    /// The MLS state.
    Membership,
    /// The MLS state before a provisional commit.
    Before,
    /// The own chain.
    Chain,
    /// Where a relay stands.
    Relay(RelayId),
    /// Changes of the group that are still to be made.
    Intents,
    /// The commit that was built and not yet seen in the log.
    Pending,
    /// What a newcomer still asks for.
    Wants,
    /// The key of an epoch.
    Epoch(u64),
    /// What is known of another member, present or former.
    Peer(DeviceId),
    /// History that was asked of this device: asker and its number.
    Job(DeviceId, u64),
    /// A pairing that succeeded, until the Welcome is here.
    Joining,
    /// The commit by which this device takes a new key, until it is seen in the log.
    Replacement,
    /// How long this device has listened to the group, and whether it comes back from a long absence.
    Listening,
    /// What this device keeps beside what the group agreed on: the recovery kit's share, and who changed what.
    Agreed,
    /// The commit that ended an epoch, for relays that have not heard of it.
    Copy(u64),
    /// Key packages of another suite, and the secrets of those that this device gave.
    Moving,
    /// The newest acknowledgement of another member, for relays that have not heard of it.
    Statement(DeviceId),
}

impl Key {
    /// The key as bytes for a database.
    pub fn to_bytes(self) -> Vec<u8> {
        let (tag, rest): (u8, Vec<u8>) = match self {
            Self::Identity => (1, vec![]),
            Self::Membership => (2, vec![]),
            Self::Before => (3, vec![]),
            Self::Chain => (4, vec![]),
            Self::Intents => (6, vec![]),
            Self::Pending => (7, vec![]),
            Self::Wants => (8, vec![]),
            Self::Epoch(epoch) => (9, epoch.to_be_bytes().to_vec()),
            Self::Peer(device) => (10, device.0.to_vec()),
            Self::Job(device, number) => (11, [&device.0[..], &number.to_be_bytes()].concat()),
            Self::Joining => (12, vec![]),
            Self::Replacement => (13, vec![]),
            Self::Listening => (19, vec![]),
            Self::Agreed => (16, vec![]),
            Self::Relay(relay) => (14, relay.0.to_vec()),
            Self::Copy(epoch) => (15, epoch.to_be_bytes().to_vec()),
            Self::Moving => (20, vec![]),
            Self::Statement(device) => (21, device.0.to_vec()),
        };
        let mut out = vec![tag];
        out.extend(rest);
        out
    }

    /// Reads what [`Key::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let plain = |key| rest.is_empty().then_some(key);
        match tag {
            1 => plain(Self::Identity),
            2 => plain(Self::Membership),
            3 => plain(Self::Before),
            4 => plain(Self::Chain),
            6 => plain(Self::Intents),
            7 => plain(Self::Pending),
            8 => plain(Self::Wants),
            9 => rest.try_into().ok().map(|b| Self::Epoch(u64::from_be_bytes(b))),
            10 => DeviceId::from_slice(rest).map(Self::Peer),
            11 => {
                let (device, number) = rest.split_at_checked(DeviceId::LEN)?;
                Some(Self::Job(DeviceId::from_slice(device)?, u64::from_be_bytes(number.try_into().ok()?)))
            }
            12 => plain(Self::Joining),
            13 => plain(Self::Replacement),
            19 => plain(Self::Listening),
            16 => plain(Self::Agreed),
            14 => RelayId::from_slice(rest).map(Self::Relay),
            15 => rest.try_into().ok().map(|b| Self::Copy(u64::from_be_bytes(b))),
            20 => plain(Self::Moving),
            21 => DeviceId::from_slice(rest).map(Self::Statement),
            _ => None,
        }
    }
}

/// An instruction to the store.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Set a row of the small state. The value may hold secrets.
    Put(Key, Zeroizing<Vec<u8>>),
    /// Drop a row of the small state.
    Delete(Key),
    /// Remove every row of the small state, and the tables *held*, *sealed* and *gap*. The blobs stay.
    ClearGroup,
    /// Every blob is own and unsealed again, in the order of its position: it goes to the new group under its id.
    Reoffer {
        /// The device that this one is in the new group.
        sender: DeviceId,
    },
    /// This device goes on under another id. Own blobs of higher numbers than this, and those that wait, are the new id's and
    /// wait to be sealed; *sealed* is emptied.
    Rekeyed {
        /// The device under its old key.
        old: DeviceId,
        /// The device under its new key.
        new: DeviceId,
        /// The last number of the old key whose blobs stay the old key's.
        kept_seq: u64,
        /// The last number of the old key that this device holds: under it, blobs go on being known besides their new one.
        held_seq: u64,
    },
    /// Keep an own envelope. Own blobs without a seq up to this position take this seq.
    Sealed {
        /// The envelope's number.
        seq: u64,
        /// Its bytes.
        envelope: Opaque,
        /// The last blob that is in it; none for control envelopes.
        up_to_position: Option<u64>,
    },
    /// Own envelopes up to this number need not be sent again.
    DropSealed {
        /// The last one's number.
        up_to_seq: u64,
    },
    /// Blobs of another device. A blob whose id is known is left out; if its bytes differ, the store reports
    /// [`IdConflict`] and keeps the first.
    Receive {
        /// Who pushed them.
        sender: DeviceId,
        /// The number of the envelope they first came in.
        seq: u64,
        /// The blobs in their order.
        blobs: Vec<Blob>,
        /// Whether they go to *held* because earlier ones are missing, and not to the log.
        hold: bool,
    },
    /// A snapshot that another device handed on, under the first number that it is wanted for. It goes to the log, unless
    /// its id is known. What it stands for is asked of this device as of whoever made it.
    ReceiveSnapshot {
        /// Whose number it came under.
        sender: DeviceId,
        /// The number.
        seq: u64,
        /// The snapshot.
        blob: Blob,
        /// What it stands for.
        covers: Vec<Span>,
    },
    /// A snapshot that came back by the recovery kit. It goes to the log, unless its id is known, as this device's to give to
    /// the group, and to consumers as of its maker.
    RestoreSnapshot {
        /// This device.
        sender: DeviceId,
        /// Who made it.
        maker: DeviceId,
        /// The snapshot.
        blob: Blob,
        /// What it stands for.
        covers: Vec<Span>,
    },
    /// The relay keeps a snapshot for a recovery kit.
    KitKept {
        /// The snapshot.
        id: BlobId,
        /// The public half of the kit's recovery key.
        kit: [u8; 32],
        /// Which relay.
        relay: RelayId,
    },
    /// The relay may have lost what it kept for recovery kits.
    KitLost {
        /// Which relay.
        relay: RelayId,
    },
    /// Move held blobs of a sender to the log, in the order of their numbers.
    Release {
        /// Whose.
        sender: DeviceId,
        /// Up to which number, itself included.
        up_to_seq: u64,
    },
    /// Keep an envelope that arrived before its predecessor.
    BufferGap {
        /// Who sealed it.
        sender: DeviceId,
        /// Its number.
        seq: u64,
        /// Its bytes.
        envelope: Opaque,
    },
    /// Forget a buffered envelope.
    DropGap {
        /// Who sealed it.
        sender: DeviceId,
        /// Its number.
        seq: u64,
    },
    /// Keep something that was not accepted. At most the newest thousand are kept.
    Refused(Box<RefusedEntry>),
}

/// Redacts values and contents.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value) => write!(f, "Put({key:?}, {} bytes)", value.len()),
            Self::Delete(key) => write!(f, "Delete({key:?})"),
            Self::ClearGroup => f.write_str("ClearGroup"),
            Self::Reoffer { sender } => write!(f, "Reoffer({sender:?})"),
            Self::Rekeyed { old, new, kept_seq, held_seq } => {
                write!(f, "Rekeyed({old:?}, {new:?}, kept {kept_seq}, held {held_seq})")
            }
            Self::Sealed { seq, envelope, up_to_position } => {
                write!(f, "Sealed({seq}, {envelope:?}, up to {up_to_position:?})")
            }
            Self::DropSealed { up_to_seq } => write!(f, "DropSealed({up_to_seq})"),
            Self::Receive { sender, seq, blobs, hold } => {
                write!(f, "Receive({sender:?}, {seq}, {} blobs, hold {hold})", blobs.len())
            }
            Self::ReceiveSnapshot { sender, seq, covers, .. } => {
                write!(f, "ReceiveSnapshot({sender:?}, {seq}, {} spans)", covers.len())
            }
            Self::RestoreSnapshot { maker, covers, .. } => {
                write!(f, "RestoreSnapshot({maker:?}, {} spans)", covers.len())
            }
            Self::KitKept { id, .. } => write!(f, "KitKept({id:?})"),
            Self::KitLost { relay } => write!(f, "KitLost({relay:?})"),
            Self::Release { sender, up_to_seq } => write!(f, "Release({sender:?}, {up_to_seq})"),
            Self::BufferGap { sender, seq, envelope } => write!(f, "BufferGap({sender:?}, {seq}, {envelope:?})"),
            Self::DropGap { sender, seq } => write!(f, "DropGap({sender:?}, {seq})"),
            Self::Refused(entry) => write!(f, "Refused({:?}, {:?})", entry.outcome, entry.sender),
        }
    }
}

/// Something that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    /// The relay's cursor of it.
    pub cursor: u64,
    /// Whose it claims to be.
    pub sender: Option<DeviceId>,
    /// The outcome's name.
    pub outcome: crate::event::Outcome,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The bytes as they came.
    pub bytes: Opaque,
}

/// What a store reports when it was told to keep a blob under an id that another blob has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdConflict {
    /// The id that both carry.
    pub id: BlobId,
    /// Who sent the one that was left out.
    pub sender: DeviceId,
}

/// What the core needs to read. The engine answers with [`crate::Device::handle_read`], in the same transaction as the
/// writes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Own blobs without a seq, lowest position first: at least one, then as many as fit both bounds.
    Outbox {
        /// How many bytes of data at the most, beyond the first blob.
        max_bytes: usize,
        /// How many blobs at the most.
        max_blobs: usize,
    },
    /// Own sealed envelopes from this number on: at least one, then as many as fit.
    Sealed {
        /// The first number.
        from_seq: u64,
        /// How many bytes at the most, beyond the first.
        max_bytes: usize,
    },
    /// Own sealed envelopes between two numbers, both included: the first that is still there, then as many as fit.
    Repair {
        /// The first number.
        from_seq: u64,
        /// The last number.
        to_seq: u64,
        /// How many bytes at the most, beyond the first.
        max_bytes: usize,
    },
    /// Blobs of the log that came in one of the spans, in the order of their places: at least one, then as many as fit. A
    /// blob that came under several numbers stands at each of them.
    History {
        /// Which senders and numbers.
        spans: Vec<Span>,
        /// Only places beyond this one.
        after: LogPlace,
        /// How many bytes of data at the most, beyond the first blob.
        max_bytes: usize,
        /// How many blobs at the most.
        max_blobs: usize,
    },
    /// A snapshot that is to be left for a recovery kit: the newest of a channel that this device made or came back with, or
    /// whose maker is no member, if the relay does not keep it for this kit. Of one that took nobody's place in the log, too.
    ForKit {
        /// The public half of the kit's recovery key.
        kit: [u8; 32],
        /// Which relay.
        relay: RelayId,
        /// The other members, who leave their own.
        others: Vec<DeviceId>,
    },
    /// One buffered envelope.
    Gap {
        /// Who sealed it.
        sender: DeviceId,
        /// Its number.
        seq: u64,
    },
}

/// A blob as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBlob {
    /// Its position in this device's log.
    pub position: u64,
    /// Who pushed it, or gave it to the group again.
    pub sender: DeviceId,
    /// The number of the envelope it came in; 0 while it waits.
    pub seq: u64,
    /// Id, channel and bytes.
    pub blob: Blob,
    /// What it stands for, if it is a snapshot that took others' places; at most [`sync_types::limits::COVERS`].
    pub covers: Vec<Span>,
}

/// Where a blob stands in the log, and under which number: the order in which history is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
pub struct LogPlace {
    /// Its position in this device's log.
    pub position: u64,
    /// Whose envelope it came in.
    pub sender: DeviceId,
    /// The number of that envelope.
    pub seq: u64,
}

impl LogBlob {
    /// Where this blob stands.
    pub fn place(&self) -> LogPlace {
        LogPlace { position: self.position, sender: self.sender, seq: self.seq }
    }
}

/// The answer to a [`Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// For [`Read::Outbox`].
    Outbox(Vec<LogBlob>),
    /// For [`Read::Sealed`]: number and envelope.
    Sealed(Vec<(u64, Opaque)>),
    /// For [`Read::Repair`]: number and envelope.
    Repair(Vec<(u64, Opaque)>),
    /// For [`Read::History`].
    History(Vec<LogBlob>),
    /// For [`Read::ForKit`]: the snapshot with its maker as its sender, and what it stands for.
    ForKit(Option<Box<LogBlob>>),
    /// For [`Read::Gap`].
    Gap(Option<Opaque>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let device = DeviceId([7; 16]);
        for key in [
            Key::Identity,
            Key::Membership,
            Key::Before,
            Key::Chain,
            Key::Relay(RelayId([3; 16])),
            Key::Copy(5),
            Key::Intents,
            Key::Pending,
            Key::Wants,
            Key::Epoch(9),
            Key::Peer(device),
            Key::Job(device, 3),
            Key::Joining,
            Key::Replacement,
            Key::Listening,
            Key::Agreed,
            Key::Moving,
        ] {
            assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        }
        assert_eq!(Key::from_bytes(&[]), None);
        assert_eq!(Key::from_bytes(&[1, 1]), None);
        assert_eq!(Key::from_bytes(&[99]), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let write = Write::Put(Key::Identity, Zeroizing::new(b"secret".to_vec()));
        assert!(!format!("{write:?}").contains("115"));
        assert_eq!(format!("{write:?}"), "Put(Identity, 6 bytes)");
    }
}
