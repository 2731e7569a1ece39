//! The defences, by name. Each check that stops an attack asks here whether it stands.
//!
//! It always does, and the question costs nothing, unless the feature `controls` is on, which only the attack tests turn on:
//! they switch one defence off and see that the attack succeeds then. A defence whose absence changes nothing is not tested.

/// A check that stops an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Defence {
    /// A receiver verifies its sender's signature on each envelope, or on a later one that commits to it.
    EnvelopeSignature,
    /// An envelope continues its sender's chain by number and hash.
    Chain,
    /// What a chain lacks is asked of its sender, then of the other members.
    Repair,
    /// Who hears of an epoch whose beginning the relay keeps back does not wait for it in silence.
    LaterEpoch,
    /// A delivery counts by the receiver's signature, not by the relay's word.
    ReceiptSignature,
    /// Acknowledgements of devices that are not known yet are kept up to a bound.
    EarlyReceipts,
    /// A relay that owes an answer, or the other side of a pairing, is waited for only so long.
    Patience,
    /// Times that a wrong clock or a relay put far into the future are put right.
    Clock,
    /// What waits of one sender behind a hole is bounded in bytes.
    GapBytes,
    /// What a device applied once it does not apply again.
    Duplicates,
    /// Entries that a device has stored already are not looked at.
    Cursor,
    /// A device's writes of one turn are on its disk together, or not at all.
    Transaction,
    /// A device takes no cursor near the end of numbers.
    CursorBound,
    /// A store takes each blob id once.
    BlobIds,
    /// A claim that a sender disproves is dropped.
    FalseClaims,
    /// A newcomer joins only a group that has agreed on what was offered to it.
    OfferedSettings,
    /// A newcomer joins only the group that was offered to it, by whoever offered it.
    OfferedGroup,
    /// Members hand on no history where the group has agreed on none.
    HistoryPolicy,
    /// Devices compare what they hold under one number.
    SplitView,
    /// What cannot be read is passed over, and blocks nothing.
    PassOver,
    /// An envelope holds what its class says.
    BodyClass,
    /// A device's id is the hash of its key.
    DeviceIds,
    /// A group has no keys that its members cannot encrypt to.
    TreeKeys,
    /// A member that cannot apply a commit has it undone.
    Reject,
    /// Nobody else has it undone: no former member, and no key that was replaced.
    RejectMember,
    /// A reject is of one commit, and of no other for the same epoch.
    RejectCommit,
    /// A change that a member rejected is not applied again.
    Rejected,
    /// What no honest relay would have ordered is the relay's doing, and no reason to reject or to take a new key.
    RelayOrders,
    /// A commit states of those whom it removes what can be.
    CutForm,
    /// A device takes a new key only in a state of the group that a member signed which it knows.
    KnownSigner,
    /// An envelope of another branch of the group stops nobody but its sender.
    Branch,
    /// Nothing beyond a removed device's cut counts.
    Cut,
    /// Whoever has more of a removed device than the cut says so.
    CutFork,
    /// A change of the group counts as the group's first relay orders it, whatever another one shows, as long as that one
    /// answers.
    OneOrder,
    /// A device that is shown another order of changes than its own looks which of the two is the group's.
    ShownOrders,
    /// A first relay counts as given up only by a state of the group from behind its becoming the first, signed by a member.
    GivenUp,
    /// Presence is for members.
    PresenceMember,
    /// Each epoch has a key of its own, from secrets that a removed device does not have.
    FreshEpochKey,
    /// The relay takes envelopes, acknowledgements and commits from present members alone.
    CurrentMember,
    /// What a group may hold at a relay is bounded.
    Quota,
    /// The relay shows a removed device commits up to its removal, and nothing else.
    RemovedView,
    /// Whoever attaches proves that it has a member's key.
    AttachProof,
    /// A key takes another's place in the group only by that one's word.
    ReplaceKeyProof,
    /// Whoever comes in by the recovery key has that key's word for this place in the group's history.
    RecoveryProof,
    /// Whoever comes with a recovery kit proves to the relay to hold its key.
    RecoveryAttach,
    /// A recovery starts from a state of the group that a member vouched for.
    RecoveryState,
    /// What a member is told of the recovery kit, the kit's own key has signed.
    RecoveryShare,
    /// What was left for the recovery kit counts where a member vouched for it, in its place.
    RecoverySnapshot,
    /// What a group may leave for its recovery kit is bounded.
    KitQuota,
    /// What a relay shows as left for a kit has an end.
    SnapshotCount,
    /// A device takes no new key again and again on somebody's bare word.
    ReplaceKeyRest,
    /// Whoever has seen a removal is led to no state of the group in which it has not happened.
    SeenRemovals,
    /// A device compares what it knows of itself with what the relay and the members show of it.
    OwnRecords,
    /// A person types the digits that the newcomer shows.
    CheckCode,
    /// Wrong digits end a pairing at the second try.
    CheckCodeTries,
    /// Who scans a link compares the shower's keys with it.
    Fingerprint,
    /// A second device at one link ends the pairing of both.
    SecondScanner,
    /// A link's time ends by the shower's clock.
    Expiry,
    /// Every byte of a link is bound into the handshake.
    Prologue,
    /// Only who has seen the link can answer it.
    LinkSecret,
    /// A link belongs to one app.
    AppTag,
    /// Messages of a pairing have the length that their place allows.
    HandshakeLength,
    /// A short code is used up by the first exchange, whether its words were right or wrong.
    CodeOnce,
    /// The points of an exchange over a short code are of prime order.
    PakePoints,
    /// The points of a handshake are ones that a secret comes of.
    DhPoints,
    /// A nameplate that somebody came to takes nobody else.
    NameplateOnce,
    /// A link's rendezvous that somebody came to takes nobody else.
    SlotOnce,
    /// A network comes to few nameplates in a time.
    NameplateTries,
    /// A member has lapsed after long silence by this device's own measure, and not before.
    LapseClock,
    /// A leap of the clock is no silence of the others.
    ListenStep,
    /// Who was silent for very long is put out.
    ExpirePeer,
    /// A newcomer wants all that its sponsor had.
    Baseline,
    /// An envelope is sealed by the suite of its group.
    GroupSuite,
    /// A group moves to the one successor that its last commit names, with the same members, and changes its suite alone.
    Successor,
    /// Lists are counted while they are read, and blobs of history before they are kept.
    Counting,
    /// The head of a vault file or a backup is authenticated with the key that it locks.
    LockedHead,
    /// A passphrase's derivation is neither cheaper nor dearer than any build makes it.
    KdfBounds,
    /// A stored value opens only in the row that it was stored in.
    RowBinding,
    /// The chunks of a backup are all there, in their order, to the last.
    BackupOrder,
}

impl Defence {
    /// Every defence.
    pub const ALL: &'static [Self] = &[
        Self::EnvelopeSignature,
        Self::Chain,
        Self::Repair,
        Self::LaterEpoch,
        Self::ReceiptSignature,
        Self::EarlyReceipts,
        Self::Patience,
        Self::Clock,
        Self::GapBytes,
        Self::Duplicates,
        Self::Cursor,
        Self::Transaction,
        Self::CursorBound,
        Self::BlobIds,
        Self::FalseClaims,
        Self::OfferedSettings,
        Self::OfferedGroup,
        Self::HistoryPolicy,
        Self::SplitView,
        Self::PassOver,
        Self::BodyClass,
        Self::DeviceIds,
        Self::TreeKeys,
        Self::Reject,
        Self::RejectMember,
        Self::RejectCommit,
        Self::Rejected,
        Self::RelayOrders,
        Self::CutForm,
        Self::KnownSigner,
        Self::Branch,
        Self::Cut,
        Self::CutFork,
        Self::OneOrder,
        Self::ShownOrders,
        Self::GivenUp,
        Self::PresenceMember,
        Self::FreshEpochKey,
        Self::CurrentMember,
        Self::Quota,
        Self::RemovedView,
        Self::AttachProof,
        Self::ReplaceKeyProof,
        Self::RecoveryProof,
        Self::RecoveryAttach,
        Self::RecoveryState,
        Self::RecoveryShare,
        Self::RecoverySnapshot,
        Self::KitQuota,
        Self::SnapshotCount,
        Self::ReplaceKeyRest,
        Self::SeenRemovals,
        Self::OwnRecords,
        Self::CheckCode,
        Self::CheckCodeTries,
        Self::Fingerprint,
        Self::SecondScanner,
        Self::Expiry,
        Self::Prologue,
        Self::LinkSecret,
        Self::AppTag,
        Self::HandshakeLength,
        Self::CodeOnce,
        Self::PakePoints,
        Self::DhPoints,
        Self::NameplateOnce,
        Self::SlotOnce,
        Self::NameplateTries,
        Self::LapseClock,
        Self::ListenStep,
        Self::ExpirePeer,
        Self::Baseline,
        Self::GroupSuite,
        Self::Successor,
        Self::Counting,
        Self::LockedHead,
        Self::KdfBounds,
        Self::RowBinding,
        Self::BackupOrder,
    ];
}

/// Whether the defence stands: always, outside of the attack tests.
#[cfg(not(feature = "controls"))]
#[inline(always)]
pub const fn stands(_: Defence) -> bool {
    true
}

#[cfg(feature = "controls")]
pub use controls::{stands, without};

#[cfg(feature = "controls")]
mod controls {
    use std::cell::Cell;

    use sync_types::codec::set_counting;

    use super::Defence;

    thread_local! {
        static OFF: Cell<&'static [Defence]> = const { Cell::new(&[]) };
    }

    /// Whether the defence stands on this thread.
    pub fn stands(defence: Defence) -> bool {
        !OFF.get().contains(&defence)
    }

    /// Runs an attack on this thread with some defences switched off.
    pub fn without<T>(defences: &'static [Defence], attack: impl FnOnce() -> T) -> T {
        struct Restore(&'static [Defence], bool);
        impl Drop for Restore {
            fn drop(&mut self) {
                OFF.set(self.0);
                set_counting(self.1);
            }
        }
        let _restore = Restore(OFF.replace(defences), set_counting(!defences.contains(&Defence::Counting)));
        attack()
    }
}
