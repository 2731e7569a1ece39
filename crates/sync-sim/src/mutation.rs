//! Bugs on demand: each is planted at a boundary of the code under test, and the invariants have to find it.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The relay takes the first acknowledgement of an entry for everybody's, and deletes it.
    DeleteEarly,
    /// The relay says `accepted` before the write is durable.
    AcceptEarly,
    /// A device acknowledges before it has stored.
    AcknowledgeEarly,
    /// A device's log does not look at blob ids.
    NoDeduplication,
    /// A push moves the pull cursor.
    PushMovesCursor,
    /// The relay shows cursor N + 1 before N.
    CursorSkipped,
    /// What a device has no key for is skipped in silence.
    UnreadableSkipped,
    /// What was not accepted is pushed again as a new blob after a restart.
    RetryIsNewBlob,
    /// The relay goes on delivering to a member that was removed.
    RemovedStillServed,
    /// A device calls delivered what the relay has accepted.
    ReceiptByRelay,
    /// Blobs behind a hole go to the log at once.
    HeldOutOfOrder,
    /// A crash loses the last transaction although it was synced.
    CrashLosesSynced,
}

impl Mutation {
    /// Every planted bug.
    pub const ALL: [Self; 12] = [
        Self::DeleteEarly,
        Self::AcceptEarly,
        Self::AcknowledgeEarly,
        Self::NoDeduplication,
        Self::PushMovesCursor,
        Self::CursorSkipped,
        Self::UnreadableSkipped,
        Self::RetryIsNewBlob,
        Self::RemovedStillServed,
        Self::ReceiptByRelay,
        Self::HeldOutOfOrder,
        Self::CrashLosesSynced,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeleteEarly => "delete-early",
            Self::AcceptEarly => "accept-early",
            Self::AcknowledgeEarly => "acknowledge-early",
            Self::NoDeduplication => "no-deduplication",
            Self::PushMovesCursor => "push-moves-cursor",
            Self::CursorSkipped => "cursor-skipped",
            Self::UnreadableSkipped => "unreadable-skipped",
            Self::RetryIsNewBlob => "retry-is-new-blob",
            Self::RemovedStillServed => "removed-still-served",
            Self::ReceiptByRelay => "receipt-by-relay",
            Self::HeldOutOfOrder => "held-out-of-order",
            Self::CrashLosesSynced => "crash-loses-synced",
        }
    }

    /// The mutation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str() == name)
    }
}
