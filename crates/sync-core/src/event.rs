//! What a device tells the world: outcomes of what arrived, and events for the app.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::frame::Head;
use sync_types::{Code, DeviceId, Opaque};

use crate::RelayId;

/// What became of an entry that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Applied.
    Accepted,
    /// Known already; no effect.
    Duplicate,
    /// Its predecessor is missing; buffered.
    Gap,
    /// Two envelopes of one sender with one number; both are on record.
    Equivocation,
    /// Beyond the cut of a device that was removed.
    RemovedSender,
    /// Not signed by the member it claims, or against the rules of the chain.
    Forged,
    /// Its key is gone or was never ours: its blobs are asked for as history.
    Unreadable,
    /// Properly signed, but nobody can read it: the seal or the body is broken.
    Undecodable,
    /// A commit of an epoch that is over or was before this device joined.
    StaleCommit,
    /// A commit that this device could not apply.
    BadCommit,
    /// A reject that undid a commit.
    Undone,
    /// History that was asked for, and that no member of the group has: it went with the last device that held it.
    HistoryLost,
    /// A member holds another envelope under a number than this device does: somebody shows them different things.
    SplitView,
    /// A member sent it again because the relay had not handed it out.
    Repaired,
    /// A member claimed to hold envelopes that their own sender says there never were.
    FalseClaim,
    /// Sealed in another branch of the group than this device is in: somebody shows members different groups, or the sender
    /// lies. Nobody here can read it.
    OtherBranch,
    /// A removed device's, from beyond its cut, that a relay brought before this device knew of the removal: kept, and handed on.
    PastCut,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 17] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Gap,
        Self::Equivocation,
        Self::RemovedSender,
        Self::Forged,
        Self::Unreadable,
        Self::Undecodable,
        Self::StaleCommit,
        Self::BadCommit,
        Self::Undone,
        Self::HistoryLost,
        Self::SplitView,
        Self::Repaired,
        Self::FalseClaim,
        Self::OtherBranch,
        Self::PastCut,
    ];

    /// The outcome's name, as in events and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Gap => "gap",
            Self::Equivocation => "equivocation",
            Self::RemovedSender => "removed_sender",
            Self::Forged => "forged",
            Self::Unreadable => "unreadable",
            Self::Undecodable => "undecodable",
            Self::StaleCommit => "stale_commit",
            Self::BadCommit => "bad_commit",
            Self::Undone => "undone",
            Self::HistoryLost => "history_lost",
            Self::SplitView => "split_view",
            Self::Repaired => "repaired",
            Self::FalseClaim => "false_claim",
            Self::OtherBranch => "other_branch",
            Self::PastCut => "past_cut",
        }
    }
}

/// Why a device was taken out of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Another device wanted it out.
    Removed,
    /// Another device said that it is lost: it deletes what it holds when it hears of that.
    Lost,
    /// It asked for it itself.
    Left,
}

/// Two envelopes that one sender signed and that exclude each other: the bytes of a refused entry of
/// [`Outcome::Equivocation`]. Anybody who has the sender's key can verify both.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Evidence {
    /// What this device held first.
    pub first: Option<Head>,
    /// The whole envelope that came later, with the same number or a predecessor that is not the first.
    pub second: Opaque,
}

/// A part of what the group agreed on that can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Setting {
    /// The key of the recovery kit: words that worked before are worth nothing any more.
    RecoveryKit = 1u8,
    /// The relays.
    Relays = 2u8,
    /// Whether newcomers get what was pushed before.
    History = 3u8,
    /// The suite: what the group's cryptography is made of.
    Suite = 4u8,
}

impl Setting {
    /// Its name, as in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecoveryKit => "recovery_kit",
            Self::Relays => "relays",
            Self::History => "history",
            Self::Suite => "suite",
        }
    }
}

/// Something that an app or a person may want to know. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The relay accepted the attach; the device is online.
    Online,
    /// Everything that waited at the relay when the session began has been stored.
    CaughtUp,
    /// New blobs are in the log.
    Arrived,
    /// Own envelopes up to this number are durable at the relay.
    Accepted {
        /// The last one's number.
        seq: u64,
    },
    /// Own envelopes up to this number have been signed for by every member.
    Delivered {
        /// The last one's number.
        seq: u64,
    },
    /// A device came into the group.
    DeviceAdded {
        /// Which.
        device: DeviceId,
        /// Who added it.
        by: DeviceId,
    },
    /// A device took a new key, and with it a new id: it was restored from a copy, or could not follow the group.
    DeviceReplaced {
        /// Its id before.
        old: DeviceId,
        /// Its id now.
        device: DeviceId,
    },
    /// This device took a new key, and with it a new id. Its connection is over; it attaches again under the new one.
    KeyReplaced {
        /// Its id before.
        old: DeviceId,
        /// Why: [`Code::RolledBack`] or [`Code::OutOfStep`].
        code: Code,
    },
    /// A device was taken out of the group.
    DeviceRemoved {
        /// Which.
        device: DeviceId,
        /// Who removed it.
        by: DeviceId,
        /// Why.
        exit: Exit,
    },
    /// The group uses other relays, or in another order.
    RelaysChanged {
        /// Who changed the list.
        by: DeviceId,
    },
    /// A device said its name.
    DeviceNamed {
        /// Which.
        device: DeviceId,
    },
    /// This device has joined its group.
    Joined,
    /// This device was removed; the commit that says so is verified.
    Removed {
        /// Who removed it.
        by: DeviceId,
        /// Whether it was removed as one that is lost: what it holds is to go.
        lost: bool,
        /// Whether whoever removed it had come back by the recovery kit: then every other device was removed too.
        recovered: bool,
    },
    /// A device came back into the group by its recovery kit. It puts all others out.
    DeviceRecovered {
        /// Which.
        device: DeviceId,
    },
    /// Somebody changed what the group agreed on.
    SettingsChanged {
        /// What.
        setting: Setting,
        /// Who; this device too.
        by: DeviceId,
    },
    /// The relay keeps this device's snapshot of a channel for the recovery kit, or will not.
    LeftForKit {
        /// The channel.
        channel: String,
        /// Why it will not: [`Code::Quota`], say.
        refused: Option<Code>,
    },
    /// This device was away for so long that the relay kept nothing for it but changes of the group, or may not have. It
    /// fetches what it missed from the others; [`Event::Synced`] says when that is through.
    Lapsed {
        /// When it was connected before, in milliseconds since the Unix epoch.
        since: u64,
    },
    /// All history that was asked for has come: the log is complete up to the sponsor's frontier, or after a long absence up to
    /// that of a member that was asked.
    Synced,
    /// History has come that was asked for. So many envelopes of so many are through, as far as their numbers tell.
    HistoryProgress {
        /// How many are through.
        done: u64,
        /// How many were asked for.
        total: u64,
    },
    /// Something that arrived was not applied as it is.
    Unusual {
        /// What became of it.
        outcome: Outcome,
        /// Whose it claims to be.
        sender: Option<DeviceId>,
    },
    /// Other members hold envelopes that neither the relay nor any of them has brought here.
    Withheld {
        /// Whose envelopes they are.
        sender: DeviceId,
        /// How many are missing.
        count: u64,
    },
    /// Nothing new has come from a member for [`sync_types::limits::STALE_PEER`]: it is off, or kept away from this device.
    StalePeer {
        /// Which.
        device: DeviceId,
        /// When something last came, in milliseconds since the Unix epoch.
        since: u64,
    },
    /// A commit was undone, because a member could not apply it.
    CommitRejected {
        /// Who could not.
        by: DeviceId,
        /// Who made the commit.
        committer: DeviceId,
    },
    /// A change that this device wanted was given up; if the device has stopped, with what stopped it.
    ChangeFailed {
        /// The device that was to be added or removed.
        device: DeviceId,
        /// Why.
        code: Code,
    },
    /// The relay refused something for good, or for now.
    Refused {
        /// Why.
        code: Code,
        /// When it is tried again, in milliseconds; 0 when never.
        retry_after_ms: u32,
    },
    /// The session is over: the relay said why. The engine reconnects unless the code says that it is of no use.
    Disconnect {
        /// Which relay's.
        relay: RelayId,
        /// Why.
        code: Code,
        /// When to come back, in milliseconds.
        retry_after_ms: u32,
    },
    /// Sending stopped; see the code's next step.
    Halted {
        /// [`Code::Forked`] or [`Code::Cloned`], for good; [`Code::RolledBack`] or [`Code::OutOfStep`], until
        /// [`Event::KeyReplaced`].
        code: Code,
    },
    /// Another member's presence.
    Presence {
        /// Who.
        device: DeviceId,
        /// The channel.
        channel: String,
        /// What it says; empty when it is gone.
        data: Vec<u8>,
    },
}
