//! The rows of a device's small state, as they are stored.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::body::Span;
use sync_types::frame::{Head, WelcomeFor};
use sync_types::{Code, DeviceId, EntryHash, GroupId, Opaque};
use zeroize::Zeroize;

use crate::RelayId;
use crate::store::LogPlace;

/// Who this device is. Holds the signing key's seed.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Identity {
    pub(super) version: u8,
    pub(super) seed: [u8; 32],
    pub(super) group: GroupId,
    pub(super) name: Opaque,
    /// Why sending stopped for good; 0 = it did not.
    pub(super) halted: u16,
    pub(super) removed_by: Option<DeviceId>,
    /// Whether it was removed as one that is lost.
    pub(super) lost: bool,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

pub(super) const IDENTITY_VERSION: u8 = 1;

impl Identity {
    pub(super) fn halted(&self) -> Option<Code> {
        (self.halted != 0).then(|| Code::from_wire(self.halted))
    }
}

/// The own chain.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) hash: EntryHash,
    /// The epoch of the last envelope.
    pub(super) epoch: u64,
    /// Durable at a relay. Written with whatever is written next: the relay states it at each attach.
    pub(super) accepted: u64,
    /// The hash of that envelope.
    pub(super) accepted_hash: EntryHash,
    pub(super) delivered: u64,
    /// Envelopes since the last self-update, and when that was.
    pub(super) since_update: u64,
    pub(super) updated_at: u64,
    /// Whether the others were told this device's name.
    pub(super) announced: bool,
    /// Whether this device asked to be removed.
    pub(super) leaving: bool,
    /// The last envelope, without its ciphertext.
    pub(super) head: Option<Head>,
    /// When the last beacon was sealed, in milliseconds.
    pub(super) beacon_at: u64,
    /// When this device took this key in another's place, in milliseconds; 0 if it has had no other.
    pub(super) replaced_at: u64,
}

/// Where a relay stands.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct RelayRecord {
    /// Entries are stored up to here.
    pub(super) cursor: u64,
    /// Whether it has the group, as far as this device knows.
    pub(super) has_group: bool,
    /// Own envelopes are durable there up to this number. Written with whatever is written next: the relay states it at each
    /// attach.
    pub(super) accepted: u64,
    /// Whether it came onto the list after this device into the group, and has not had this device attached since. What it
    /// remembers of this device then may be from an earlier time on the list, which this device has forgotten.
    pub(super) new: bool,
    /// The first epoch in which it has ordered another change than this device went on with, if it has.
    pub(super) strayed_from: Option<u64>,
    /// The epoch in which it became the group's first relay; 0 if it has been since the beginning.
    pub(super) first_since: u64,
    /// A commit that could not be applied, while the group decides.
    pub(super) refused: Option<RefusedCommit>,
    /// Commits for the next epoch that a member rejected. No relay orders them again.
    pub(super) rejected: Vec<EntryHash>,
}

/// A commit that this device could not apply and rejected. Until the group has decided, nothing is acknowledged: an
/// acknowledgement by a member that the commit keeps would make it final.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct RefusedCommit {
    /// The epoch that it would have begun.
    pub(super) epoch: u64,
    /// Everything before it has a cursor up to this, at this relay.
    pub(super) after: u64,
    pub(super) relay: RelayId,
    /// The signed reject, sent again on each connection.
    pub(super) reject: Opaque,
}

/// What is known of another member, present or former.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Peer {
    /// Its Ed25519 key; all zero for a former member that this device never met.
    pub(super) key: [u8; 32],
    pub(super) name: Opaque,
    pub(super) member: bool,
    /// The chain: the last envelope that was stored, and its epoch.
    pub(super) seq: u64,
    pub(super) hash: EntryHash,
    pub(super) epoch: u64,
    /// Envelopes beyond the chain's end that are buffered.
    pub(super) gaps: Vec<u64>,
    /// The last envelope that counts, once the device was removed.
    pub(super) cut: Option<u64>,
    /// Whether the cut is only what this device has heard of: the commit that removed this one never came here.
    pub(super) cut_is_open: bool,
    /// The first of this device's own envelopes that this member owes an acknowledgement for.
    pub(super) owes_from: u64,
    /// What it has signed for of this device's own envelopes: everything below.
    pub(super) signed_below: u64,
    /// The highest of its envelopes that another member claims to hold, and who that is.
    pub(super) heard: u64,
    pub(super) heard_from: DeviceId,
    /// The chain's end as its sender signed it; `None` where that is only known from a baseline.
    pub(super) head: Option<Head>,
    /// When something new that it signed last came here, in milliseconds.
    pub(super) alive_at: u64,
    /// How many bytes the buffered envelopes have, or more; 0 is meant where none is buffered.
    pub(super) gap_bytes: u64,
    /// How long this device had listened then, in milliseconds.
    pub(super) alive_heard: u64,
    /// Whether this device had more of it than its cut says.
    pub(super) past_cut: bool,
}

impl Peer {
    /// A buffered envelope is none any more. Whether it was one. Its bytes stay counted until they are read, or all are gone.
    pub(super) fn drop_gap(&mut self, seq: u64) -> bool {
        let found = self.gaps.binary_search(&seq);
        if let Ok(place) = found {
            self.gaps.remove(place);
        }
        found.is_ok()
    }

    pub(super) fn may_be_verified(&self) -> bool {
        self.key != [0; 32]
    }
}

/// An epoch's exporter secret.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct EpochKey {
    pub(super) secret: [u8; 32],
    /// The first bytes of the epoch's authenticator.
    pub(super) tag: [u8; 8],
    /// When this device applied the commit that ended the epoch, in milliseconds.
    pub(super) ended_at: Option<u64>,
    /// The suite that envelopes of the epoch are sealed by.
    pub(super) suite: u8,
}

impl Drop for EpochKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// A change of the group that is still to be made.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(super) enum Intent {
    Remove(DeviceId) = 1u8,
    Add(AddIntent) = 2u8,
    SelfUpdate = 3u8,
    /// Remove a device that is lost: it deletes what it holds.
    RemoveLost(DeviceId) = 4u8,
    /// Remove a device that asked for it.
    Leave(DeviceId) = 5u8,
    /// Put the key of a new recovery kit into the settings.
    Kit([u8; 32]) = 6u8,
    /// Use these relays, in this order.
    Relays(RelaysIntent) = 11u8,
    /// Move the group to this suite.
    Suite(u8) = 12u8,
    /// Name the mailboxes that members host, as they are now.
    Mailboxes = 13u8,
}

/// Another list of relays.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct RelaysIntent {
    /// The addresses, as the settings will name them.
    pub(super) list: Vec<Opaque>,
    /// The first relay, where a person says that it is dead: the change goes through another one, as long as that one is first.
    pub(super) gives_up: Option<RelayId>,
}

impl Intent {
    /// Whom it puts out, and whether that one is lost.
    pub(super) fn removes(&self) -> Option<(DeviceId, bool)> {
        match self {
            Self::Remove(device) | Self::Leave(device) => Some((*device, false)),
            Self::RemoveLost(device) => Some((*device, true)),
            Self::Add(_) | Self::SelfUpdate | Self::Kit(_) | Self::Relays(_) | Self::Suite(_) | Self::Mailboxes => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct AddIntent {
    pub(super) device: DeviceId,
    pub(super) name: Opaque,
    pub(super) key_package: Opaque,
    /// When the newcomer has stopped waiting, in milliseconds.
    pub(super) expires_at: u64,
}

#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Intents {
    pub(super) list: Vec<Intent>,
}

/// A commit that was built and not yet seen in the log.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Pending {
    pub(super) intent: Intent,
    /// The whole [`sync_types::frame::Commit`], so that it is sent again byte for byte.
    pub(super) frame: Opaque,
}

/// A commit that was applied, as it is copied to the relays that it did not go through.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Copied {
    pub(super) hash: EntryHash,
    pub(super) commit: Opaque,
    /// Only who made the commit has them.
    pub(super) welcomes: Vec<WelcomeFor>,
    pub(super) own: bool,
    /// The relay that was the first before it.
    pub(super) first: RelayId,
    /// Whether it gave that one up.
    pub(super) gave_up: bool,
    /// The confirmed transcript hash behind it.
    pub(super) transcript: Opaque,
}

/// How to undo a provisional commit.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Before {
    /// The epoch that the commit began.
    pub(super) epoch: u64,
    pub(super) commit_hash: EntryHash,
    pub(super) committer: DeviceId,
    pub(super) added: Vec<DeviceId>,
    pub(super) removed: Vec<DeviceId>,
    /// Whose place the committer took under another key.
    pub(super) replaced: Option<DeviceId>,
    /// Whether it moved the group to another suite.
    pub(super) moved: bool,
    /// The change, if it was this device's own.
    pub(super) own: Option<Intent>,
    /// Which relay brought it, and so says when it is final.
    pub(super) relay: RelayId,
    /// This device's commit that lost to this one. If this one is undone, the relay may yet order it.
    pub(super) lost: Option<Pending>,
    /// The MLS state before.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(super) state: Vec<u8>,
}

impl Drop for Before {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

/// What this device asks for as history.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Wants {
    pub(super) list: Vec<Want>,
    /// Who is asked at present.
    pub(super) holder: DeviceId,
    /// The number of the last request.
    pub(super) number: u64,
    /// What an answer to an earlier request calls complete is not: a part of it was passed over.
    pub(super) valid_from: u64,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Want {
    pub(super) span: Span,
    /// Whether the present holder was asked for it.
    pub(super) asked: bool,
    /// Members that asked for it themselves, so that they cannot have it.
    pub(super) lacking: Vec<DeviceId>,
}

/// History that another device asked this one for.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Job {
    /// What is not answered yet.
    pub(super) spans: Vec<Span>,
    /// Those of them that are being answered, because all of each is held here; empty between two answers.
    pub(super) answering: Vec<Span>,
    /// Everything of those up to this place in the log was sent.
    pub(super) after: LogPlace,
}
