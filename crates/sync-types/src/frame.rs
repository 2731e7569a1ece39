//! Frames between a device and a relay.
//!
//! A session is one bidirectional stream. Each frame stands behind its length as 4 big-endian bytes, at most
//! [`limits::FRAME_BYTES`]. The device's first frame is [`ToRelay::Attach`], [`ToRelay::Create`], or one that opens or
//! joins a rendezvous; the first two prove membership by a signature over the connection's TLS exporter value (RFC 8446
//! §7.5), so a proof is worth nothing on another connection. A stream in a rendezvous carries that pairing and nothing else.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::body::Reached;
use crate::codec::counted;
pub use crate::content::{Content, ContentAnswer, ContentAsk};
use crate::{Code, DecodeError, DeviceId, EntryHash, GroupId, Opaque, WakeTarget, codec, limits};

/// From a device to a relay.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum ToRelay {
    /// Prove membership and start the session.
    Attach(Attach) = 1u8,
    /// Make a group and attach to it. Repeating it for one's own group is an [`ToRelay::Attach`].
    Create(Create) = 2u8,
    /// Lay down envelopes, in the order of their numbers, at most [`limits::PUSH_ENVELOPES`]. Answered by
    /// [`FromRelay::Accepted`] or [`FromRelay::Refused`].
    Push(#[mls_codec(with = "pushed")] Vec<Opaque>) = 3u8,
    /// "I have stored everything up to this cursor."
    Acknowledge(Acknowledge) = 4u8,
    /// Change the group. Repeating it is harmless. The answer is the commit as an entry, or [`FromRelay::Refused`].
    Commit(Commit) = 5u8,
    /// A [`Reject`] that a member signed.
    Reject(Opaque) = 6u8,
    /// An ephemeral envelope for whoever is attached now.
    Presence(Opaque) = 7u8,
    /// The newcomer has stored its Welcome and joined.
    WelcomeStored = 8u8,
    /// Take a side in a rendezvous.
    OpenSlot(OpenSlot) = 9u8,
    /// The next message to the other side of the rendezvous.
    SlotMessage(Opaque) = 10u8,
    /// Leave the rendezvous and burn it.
    CloseSlot = 11u8,
    /// Ask for the GroupInfo of the newest epoch, to make an external commit by; and have this member asked to renew its
    /// keys, if it is attached: its commit's GroupInfo is signed by it. Answered by [`FromRelay::GroupInfo`] or
    /// [`FromRelay::Refused`].
    GroupInfo(Option<DeviceId>) = 12u8,
    /// The ends of members' chains, as these signed them: for a relay that has lost them. At most [`limits::MEMBERS`]. A chain
    /// whose end the relay knows to be further on stays. Answered by [`FromRelay::Refused`] or not at all.
    Heads(Vec<Head>) = 13u8,
    /// Prove to hold a group's recovery key, on a connection of its own. Answered by [`FromRelay::Recoverable`] or
    /// [`FromRelay::Refused`].
    Recover(Recover) = 15u8,
    /// Something for whoever comes with the recovery kit. A snapshot is answered by [`FromRelay::KitKept`] or
    /// [`FromRelay::Refused`], a word for the state by the latter or not at all.
    Kit(KitUpload) = 16u8,
    /// Come back into the group by its recovery key, and put everybody else out: both commits or none. Answered by
    /// [`FromRelay::Confirmed`] or [`FromRelay::Refused`].
    Recovery(Box<Recovery>) = 17u8,
    /// Commits that the group's first relay has ordered, for one that has not. Repeating it is harmless. The answer is the
    /// commits as entries, or [`FromRelay::Refused`].
    CopyCommits(CopyCommits) = 18u8,
    /// With a recovery kit, once the group is shown: the first snapshot that was left for it behind this place, or of all.
    /// Answered by [`FromRelay::KitSnapshot`].
    KitSnapshot(Option<SnapshotSlot>) = 19u8,
    /// Open a rendezvous for a short code, on the side that shows. Answered by [`FromRelay::Nameplate`].
    OpenNameplate(OpenNameplate) = 20u8,
    /// Come to the rendezvous of a short code that was typed. Answered by [`FromRelay::SlotOpened`].
    JoinNameplate(JoinNameplate) = 21u8,
    /// Where to wake this device when something comes for it while it is not attached; `None`: nowhere any more. Answered by
    /// [`FromRelay::WakeSet`] or [`FromRelay::Refused`].
    SetWake(Option<WakeTarget>) = 22u8,
    /// Ask for the key that the relay's Web Push messages are signed with, which a subscription may be bound to (RFC 8292 §4).
    /// Answered by [`FromRelay::WakeKey`] or [`FromRelay::Refused`].
    WakeKey = 23u8,
    /// On a stream of its own: prove membership, and have content handed over on the rest of the stream. Answered by
    /// [`FromRelay::Content`] or [`FromRelay::Refused`].
    Content(Content) = 24u8,
}

/// From a relay to a device.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum FromRelay {
    /// The session has begun.
    Attached(Attached) = 1u8,
    /// Entries in the order of their cursors.
    Deliver(Vec<Entry>) = 2u8,
    /// Everything up to this own number is durable at the relay.
    Accepted(u64) = 3u8,
    /// Another member's signed [`Acknowledgement`] that names this device.
    Receipt(Opaque) = 4u8,
    /// The Welcome that waits for this newcomer.
    Welcome(Opaque) = 5u8,
    /// The last commit is final; this is its epoch.
    Confirmed(u64) = 6u8,
    /// Another member's ephemeral envelope.
    Presence(Opaque) = 7u8,
    /// Something was not done, and nothing was changed.
    Refused(Refused) = 8u8,
    /// The relay stops; come back in so many milliseconds.
    GoingAway(u32) = 9u8,
    /// The side in the rendezvous is taken.
    SlotOpened = 10u8,
    /// The next message from the other side of the rendezvous.
    SlotMessage(Opaque) = 11u8,
    /// The other side left, or the rendezvous is over.
    SlotClosed = 12u8,
    /// Everything that was there when the session began has been delivered, up to this cursor. Sent once a session.
    CaughtUp(u64) = 13u8,
    /// The GroupInfo of the newest final epoch, ratchet tree included, as the member that began the epoch signed it.
    GroupInfo(Opaque) = 14u8,
    /// Another member wants this one to renew its keys, because it trusts what this one signs.
    Renew = 15u8,
    /// Entries up to this cursor went although this device had not acknowledged them: it had been silent for too long. Changes
    /// of the group are all there; the rest is history, which other members have. Right behind [`FromRelay::Attached`].
    Lapsed(u64) = 16u8,
    /// What a recovery is made from.
    Recoverable(Recoverable) = 17u8,
    /// The next snapshot that was left for the recovery kit, or none.
    KitSnapshot(Option<SealedSnapshot>) = 18u8,
    /// The snapshot with this MAC is durable at the relay.
    KitKept(Mac) = 19u8,
    /// The rendezvous is open under this number, 1 to [`limits::NAMEPLATE`].
    Nameplate(u32) = 20u8,
    /// What [`ToRelay::SetWake`] said is durable at the relay.
    WakeSet = 21u8,
    /// The key of the relay's Web Push messages: a point of P-256, uncompressed.
    WakeKey([u8; 65]) = 22u8,
    /// What becomes of content, and what the rest of the stream carries.
    Content(ContentAnswer) = 23u8,
}

/// Proves membership.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Attach {
    /// [`crate::VERSION`].
    pub version: u8,
    /// The group's cipher suite.
    pub suite: u8,
    /// The group.
    pub group: GroupId,
    /// Who attaches.
    pub device: DeviceId,
    /// Up to which cursor this device has stored entries. The relay delivers what is beyond.
    pub stored: u64,
    /// The device's signature over group, device and exporter value.
    pub proof: Signature,
}

/// Makes a group.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Create {
    /// The founder's proof, as for attaching.
    pub attach: Attach,
    /// The GroupInfo of the founding epoch, ratchet tree included.
    pub group_info: Opaque,
    /// The access token, or empty.
    pub token: Opaque,
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Signature(pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature")
    }
}

/// Where a session starts from.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Attached {
    /// The last epoch that the relay ordered.
    pub epoch: u64,
    /// Whether that epoch is still provisional.
    pub provisional: bool,
    /// The last envelope of this device that the relay accepted.
    pub head: Option<Head>,
    /// The cursor up to which this device has acknowledged; 0 if it never has.
    pub acknowledged: u64,
    /// The cursor of the newest entry in the group.
    pub newest: u64,
}

/// A sender's last accepted envelope, as the relay keeps it after deletion.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
    /// Its header's bytes.
    pub header: Opaque,
    /// The labelled hash of its ciphertext, which the signature covers too.
    pub ciphertext_hash: EntryHash,
    /// Its sender's signature.
    pub signature: Signature,
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Entry {
    /// The relay's number of it in the group, rising.
    pub cursor: u64,
    /// What it is.
    pub kind: EntryKind,
    /// The envelope, the MLS commit or [`Move`], or the signed [`Reject`].
    pub bytes: Opaque,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum EntryKind {
    /// An envelope.
    Envelope = 1u8,
    /// An MLS commit, or a [`Move`].
    Commit = 2u8,
    /// A [`Reject`] that undid the commit before it.
    Reject = 3u8,
}

/// "I have stored everything up to this cursor."
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Acknowledge {
    /// The cursor.
    pub cursor: u64,
    /// A signed [`Acknowledgement`] for the senders whose envelopes are new since the last one, or empty.
    pub statement: Opaque,
}

/// What a member holds of others, signed, so that `delivered` is never the relay's word alone.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Acknowledgement {
    /// Who holds it.
    pub device: DeviceId,
    /// Up to where, for each sender that it speaks of.
    pub frontier: Vec<Reached>,
    /// What is missing below: blobs in these spans are not delivered to the device's app yet.
    pub holes: Vec<crate::body::Span>,
    /// The device's signature over group and all fields above.
    pub signature: Signature,
}

impl Acknowledgement {
    /// Everything below this number of a sender's envelopes it signs for: up to the first hole, or to the last that it holds. 0 for a
    /// sender that it does not name.
    pub fn signed_below(&self, sender: DeviceId) -> u64 {
        let reached = self.frontier.iter().find(|reached| reached.sender == sender);
        let hole = self.holes.iter().filter(|span| span.sender == sender).map(|span| span.from).min();
        reached.map_or(0, |reached| hole.unwrap_or(u64::MAX).min(reached.seq.saturating_add(1)))
    }
}

/// A change of the group.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Commit {
    /// The MLS commit, a PublicMessage; or a [`Move`].
    pub commit: Opaque,
    /// The GroupInfo of the epoch that it starts, ratchet tree included.
    pub group_info: Opaque,
    /// A Welcome for each device that it adds.
    pub welcomes: Vec<WelcomeFor>,
}

/// What a [`Move`] begins with, where an MLS message has its version.
pub const MOVE: u16 = 0xf0c8;

/// The commit that ends a group, with all that leads into the one that takes its place. It stands wherever a commit does.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Move {
    /// [`MOVE`].
    pub tag: u16,
    /// The MLS commit: one ReInit and nothing else.
    pub commit: Opaque,
    /// The GroupInfo of the successor's epoch 1, ratchet tree included.
    pub group_info: Opaque,
    /// The successor's Welcome, for every other member; empty in a group of one.
    pub welcome: Opaque,
    /// The committer's signature over group and all fields above.
    pub signature: Signature,
}

/// Changes of the group that were ordered elsewhere. Any member may bring them.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct CopyCommits {
    /// The commits, one epoch after the other; at most [`limits::COPIED_COMMITS`].
    #[mls_codec(with = "copied")]
    pub commits: Vec<Opaque>,
    /// The GroupInfo of the epoch that the last one starts, ratchet tree included, signed by any member.
    pub group_info: Opaque,
    /// Welcomes of devices that they add, as far as whoever brings them has some.
    pub welcomes: Vec<WelcomeFor>,
}

/// A Welcome and its addressee.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct WelcomeFor {
    /// The newcomer.
    pub device: DeviceId,
    /// The MLS Welcome.
    pub welcome: Opaque,
}

/// What a commit that removes devices states about each of them, in its authenticated data: the last envelope that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Cut {
    /// One for each removed device; seq 0 and a zero hash for one that never sealed anything.
    pub last: Vec<Reached>,
    /// Whether the removed devices are lost: whoever has one of them is not to have what it holds, and it deletes that as
    /// soon as it hears of it.
    pub lost: bool,
}

/// What lets an external commit in: the custom proposal [`crate::settings::EXTERNAL_PROOF_PROPOSAL`] in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum ExternalProof {
    /// A member takes another key, and its old leaf goes with the same commit.
    ReplaceKey(ReplaceKey) = 1u8,
    /// Whoever holds the group's recovery key comes in: that key's signature over group, epoch, confirmed transcript hash and
    /// new public key.
    Recovery(Signature) = 2u8,
}

/// Proves to hold a group's recovery key.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Recover {
    /// [`crate::VERSION`].
    pub version: u8,
    /// The recovery key's public half, which stands in the settings of the group that is looked for.
    pub key: [u8; 32],
    /// How many groups with that key to pass over: anybody can make one with another's key. Below [`limits::KIT_GROUPS`].
    pub skip: u8,
    /// That key's signature over itself and the exporter value.
    pub proof: Signature,
}

/// The group of a recovery key, as far as a recovery needs it.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Recoverable {
    /// The GroupInfo of the newest epoch, ratchet tree included.
    pub group_info: Opaque,
    /// What members said of it under the kit's MAC key, each once; at most [`limits::MEMBERS`].
    #[mls_codec(with = "macs")]
    pub macs: Vec<Mac>,
    /// The ends of the members' chains, as these signed them.
    #[mls_codec(with = "heads")]
    pub heads: Vec<Head>,
}

/// A MAC under the kit's key (HMAC-SHA-256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
pub struct Mac(pub [u8; 32]);

counted!(macs, Mac, limits::MEMBERS);
counted!(heads, Head, limits::MEMBERS);

/// What a member leaves at the relay for whoever comes with the recovery kit.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum KitUpload {
    /// "This is the group's state."
    Vouch(Vouch) = 1u8,
    /// "This is what I have of a channel", in the place of what the same device left of that channel before.
    Snapshot(SealedSnapshot) = 2u8,
}

/// A snapshot, sealed for whoever has the recovery kit.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SealedSnapshot {
    /// The public half of the kit's recovery key.
    pub key: [u8; 32],
    /// Whose it is and of which channel, by a MAC that says neither to who has no share of the kit.
    pub slot: SnapshotSlot,
    /// An HPKE ciphertext for the kit's key; at most [`limits::KIT_SNAPSHOT_BYTES`].
    pub sealed: Opaque,
    /// Under the kit's MAC key, over the group and all fields above.
    pub mac: Mac,
}

/// The place of one device's snapshot of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
pub struct SnapshotSlot(pub [u8; 16]);

/// A member's word for the group's state in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Vouch {
    /// The epoch.
    pub epoch: u64,
    /// The MAC of its GroupInfo without signer and signature.
    pub mac: Mac,
}

/// The two commits of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Recovery {
    /// The external commit that lets the new device in.
    pub join: Commit,
    /// The new device's commit that puts everybody else out.
    pub removal: Commit,
}

/// A member's word, by its old key, that another one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct ReplaceKey {
    /// The device under its old key.
    pub old: DeviceId,
    /// The old key's signature over group, epoch, confirmed transcript hash, old id and new public key.
    pub signature: Signature,
}

/// A member's word that it could not apply a provisional commit.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Reject {
    /// Who rejects.
    pub device: DeviceId,
    /// The epoch that the commit would have started.
    pub epoch: u64,
    /// The labelled hash of the commit.
    pub commit_hash: EntryHash,
    /// The device's signature over group and all fields above.
    pub signature: Signature,
}

/// Takes a side in a rendezvous.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct OpenSlot {
    /// [`crate::VERSION`].
    pub version: u8,
    /// The rendezvous, a labelled hash of the link's secret.
    pub slot: [u8; 16],
    /// Which side.
    pub side: SlotSide,
    /// How many seconds it may last; at most [`limits::PAIRING_TTL`].
    pub ttl_seconds: u32,
}

/// Opens a rendezvous for a short code.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct OpenNameplate {
    /// [`crate::VERSION`].
    pub version: u8,
    /// How many seconds it may last; at most [`limits::PAIRING_TTL`].
    pub ttl_seconds: u32,
}

/// Comes to the rendezvous of a short code.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct JoinNameplate {
    /// [`crate::VERSION`].
    pub version: u8,
    /// The number that stands first in the code.
    pub nameplate: u32,
}

/// A side of a rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum SlotSide {
    /// Shows the link; opens the rendezvous.
    Shows = 1u8,
    /// Scanned the link.
    Scans = 2u8,
}

/// Something was not done, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Refused {
    /// What it answers.
    pub about: About,
    /// A [`Code`] as a number; an unknown one reads as [`Code::Protocol`].
    pub code: u16,
    /// After how many milliseconds to try again; 0 when that is of no use.
    pub retry_after_ms: u32,
    /// For a stale cut or a broken chain: what the relay has, so that the device need not take its word.
    pub head: Option<Head>,
    /// A sentence for a log. It holds nothing that a person entered.
    pub message: Opaque,
}

impl Refused {
    /// The error code.
    pub fn code(&self) -> Code {
        Code::from_wire(self.code)
    }
}

/// What a refusal answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum About {
    /// The connection or the attaching; the session is over.
    Session = 1u8,
    /// A push; nothing from the refused envelope on was taken.
    Push = 2u8,
    /// A commit.
    Commit = 3u8,
    /// An acknowledgement or a reject.
    Acknowledge = 4u8,
    /// Presence.
    Presence = 5u8,
    /// A rendezvous; it is over.
    Slot = 6u8,
    /// A [`ToRelay::GroupInfo`].
    GroupInfo = 7u8,
    /// A snapshot for the recovery kit.
    Kit = 8u8,
    /// Where a device is woken.
    Wake = 9u8,
}

counted!(pushed, Opaque, limits::PUSH_ENVELOPES);
counted!(copied, Opaque, limits::COPIED_COMMITS);

/// Writes a frame behind its length, ready for the stream.
pub fn write<T: MlsEncode>(frame: &T) -> Vec<u8> {
    let mut out = vec![0; 4];
    frame.mls_encode(&mut out).expect("frames are bounded far below the 2^30 bytes at which encoding fails");
    let length = u32::try_from(out.len() - 4).expect("a frame is bounded far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// Reads the length that stands before a frame.
pub fn length(prefix: [u8; 4]) -> Result<usize, DecodeError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length == 0 || (length > limits::FRAME_BYTES && codec::counts()) {
        return Err(DecodeError::Limit("a frame has 1 byte to 4 MiB"));
    }
    Ok(length)
}

/// Reads a frame strictly.
pub fn read<T: MlsDecode + MlsEncode + MlsSize>(bytes: &[u8]) -> Result<T, DecodeError> {
    codec::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_behind_their_length() {
        let frame = ToRelay::Push(vec![Opaque(vec![1; 437])]);
        let bytes = write(&frame);
        assert_eq!(length(bytes[..4].try_into().unwrap()), Ok(bytes.len() - 4));
        assert_eq!(read::<ToRelay>(&bytes[4..]).unwrap(), frame);
        // A blob of 27 bytes alone costs this much on the stream.
        assert!(bytes.len() <= 450, "{}", bytes.len());
    }

    #[test]
    fn bad_lengths_and_unknown_frames_are_refused() {
        assert!(length([0; 4]).is_err());
        assert!(length([0xff; 4]).is_err());
        assert!(read::<ToRelay>(&[200]).is_err());
        assert!(read::<ToRelay>(&[]).is_err());
        assert!(read::<ToRelay>(&[8, 0]).is_err());
    }

    #[test]
    fn an_epoch_is_provisional_or_it_is_not() {
        let attached = Attached { epoch: 1, provisional: true, head: None, acknowledged: 0, newest: 0 };
        let mut bytes = codec::encode(&FromRelay::Attached(attached));
        assert_eq!(bytes[9], 1);
        for (byte, reads) in [(0, true), (1, true), (2, false), (255, false)] {
            bytes[9] = byte;
            assert_eq!(read::<FromRelay>(&bytes).is_ok(), reads, "{byte}");
        }
    }

    #[test]
    fn a_push_holds_so_many_envelopes_and_no_more() {
        let push = |count| codec::encode(&ToRelay::Push(vec![Opaque::default(); count]));
        assert!(read::<ToRelay>(&push(limits::PUSH_ENVELOPES)).is_ok());
        assert!(read::<ToRelay>(&push(limits::PUSH_ENVELOPES + 1)).is_err());
        // What a device of ours sends at once, in the smallest envelopes, has room.
        const { assert!(limits::DELIVER_BYTES / 437 < limits::PUSH_ENVELOPES) };
    }

    #[test]
    fn an_unknown_code_still_reads() {
        let refused =
            Refused { about: About::Push, code: 4242, retry_after_ms: 0, head: None, message: Opaque::default() };
        assert_eq!(read::<Refused>(&codec::encode(&refused)).unwrap().code(), Code::Protocol);
    }
}
