//! A group's mailbox: what a relay decides about each request, without I/O, clock or randomness.
//!
//! [`GroupState`] holds a group's rows in memory. Each operation first checks everything, then changes the state and
//! returns a [`Decision`], or a [`Refusal`] with nothing changed. Whoever calls it keeps this order for each group:
//!
//! 1. commit the decision's writes, in the order in which the decisions were made;
//! 2. when they *and those of all decisions before* are durable, send its reply, then its refusal, then act on its
//!    notices. This holds for a decision without writes too: what [`GroupState::attach`] reports may rest on a write
//!    that is still on its way;
//! 3. hand notices to the sessions that were attached when the decision was made. One that attached behind it has heard
//!    of it by its [`Attachment`];
//! 4. when a commit fails, answer with the refusal for the store's error, forget the state with every decision made on
//!    top of it, and load the group again.

use std::borrow::Cow;

use sync_types::frame::{About, FromRelay, Head, Refused};
use sync_types::{Code, DeviceId, Opaque, limits};

use crate::store::{Bytes, StoreError, Write};

mod acknowledge;
mod attach;
mod carry;
mod commit;
mod copy;
mod lapse;
mod presence;
mod provisional;
mod push;
mod recovery;
mod standing;
mod state;
mod verified;
mod wake;

pub use attach::{Attachment, Proof, first_cursor};
pub use commit::CommitContext;
pub use recovery::{Kit, check_kit};
pub use standing::Standing;
pub use state::{GroupState, View};
pub use verified::{Keys, Stated, Verified, Verifying};

/// The largest cursor, epoch and number of an envelope: a store may keep them as signed 64-bit numbers, as SQLite does.
/// What comes from outside and is larger is refused, so that no number is ever kept as another.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Why nothing more is taken in a group. What its access token leaves it comes as its [`Limits`].
const QUOTA: &str = "the quota of the group or of its access token is used up";

/// What a decision changes and whom it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be made durable as one transaction.
    pub writes: Vec<Write>,
    /// For the device that asked, once the writes are durable.
    pub reply: Option<FromRelay>,
    /// For the device that asked, behind the reply: why the rest of its push was not taken.
    pub refusal: Option<Refusal>,
    /// For attached devices, once the writes are durable.
    pub notices: Vec<Notice>,
}

/// A stretch of new entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntries {
    /// They lie beyond this cursor,
    pub after: u64,
    /// up to this one, the newest.
    pub newest: u64,
    /// Set if all are envelopes of one device: it need not look at them.
    pub of: Option<DeviceId>,
}

impl NewEntries {
    /// One entry of any kind.
    pub fn one(cursor: u64) -> Self {
        Self { after: cursor.saturating_sub(1), newest: cursor, of: None }
    }

    /// This stretch and a later one as one.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let of = self.of.filter(|_| self.of == later.of && self.newest == later.after);
        Self { after: self.after.min(later.after), newest: self.newest.max(later.newest), of }
    }
}

/// What attached devices have to hear of. The numbers are those of the group that the decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There are new entries: for each session, [`crate::session::Session::handle_newest`].
    NewEntries(NewEntries),
    /// A signed acknowledgement for one device, if it is attached.
    Receipt {
        /// Who acknowledges. A later acknowledgement of the same device says all that an earlier one does.
        from: DeviceId,
        /// The sender that it names.
        to: DeviceId,
        /// The acknowledgement as it travelled.
        statement: Bytes,
    },
    /// A commit is final: for each session, [`crate::session::Session::handle_confirmed`].
    Confirmed {
        /// The commit's epoch.
        epoch: u64,
        /// The commit's cursor.
        cursor: u64,
    },
    /// Somebody's presence, for each other current member that is attached.
    Presence {
        /// Whose.
        from: DeviceId,
        /// The ephemeral envelope.
        envelope: Opaque,
    },
    /// Another member wants this one to renew its keys: told if it is attached, and kept nowhere.
    Renew {
        /// Which member.
        device: DeviceId,
    },
    /// The Welcome of this device may be delivered now: read it from the store if the device is attached.
    WelcomeReady {
        /// The newcomer.
        device: DeviceId,
    },
    /// What devices may be shown has changed: for each session of the group, ask [`GroupState::view`] right after this
    /// decision and before the next one, keep the answers until the decision is durable, and then hand them to
    /// [`crate::session::Session::handle_view`], before acting on any other notice but [`Notice::WelcomeReady`]. The same
    /// goes for [`Notice::Confirmed`] and [`Notice::Removed`].
    ViewsChanged,
    /// This device is no current member any more. A session of a former member may stay for the commits up to its
    /// removal; one of a device that was never confirmed is to be closed ([`GroupState::view`] says `None`).
    Removed {
        /// Which device.
        device: DeviceId,
    },
}

/// Why something was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it answers.
    pub about: About,
    /// The error code.
    pub code: Code,
    /// After how many milliseconds to try again; 0 when that is of no use.
    pub retry_after_ms: u32,
    /// For a stale cut, a broken chain or an equivocation: the signed head that the relay has.
    pub head: Option<Box<Head>>,
    /// A sentence for a log, without anything that a person entered.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal without retry and head.
    pub fn new(about: About, code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { about, code, retry_after_ms: 0, head: None, message: message.into() }
    }

    /// The same, to be tried again after so many milliseconds.
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self
    }

    /// The same with the head that the relay has.
    pub fn with_head(mut self, head: Option<&Head>) -> Self {
        self.head = head.cloned().map(Box::new);
        self
    }

    /// The refusal for a failure of the store.
    pub fn of_store(about: About, error: &StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(about, Code::Quota, "the relay's disk is full").retry_after(60_000),
            StoreError::Busy | StoreError::Stale(_) => {
                Self::new(about, Code::RateLimited, "the relay's store is busy").retry_after(1_000)
            }
            // Details of the relay's disk are for its own log.
            StoreError::Corrupt(_) | StoreError::Io(_) => {
                Self::new(about, Code::Internal, "the relay's store failed").retry_after(5_000)
            }
        }
    }

    /// The frame that tells the device.
    pub fn frame(&self) -> FromRelay {
        FromRelay::Refused(Refused {
            about: self.about,
            code: self.code as u16,
            retry_after_ms: self.retry_after_ms,
            head: self.head.as_deref().cloned(),
            message: Opaque(self.message.as_bytes().to_vec()),
        })
    }
}

/// What one group may use. Tighter than [`sync_types::limits`] is allowed, wider is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes of entries a group may hold.
    pub group_bytes: u64,
    /// How many entries a group may hold.
    pub group_entries: u64,
    /// The largest envelope, in bytes.
    pub envelope_bytes: usize,
    /// How many bytes beyond `group_bytes` commits may use, so that a full group can still remove a member.
    pub commit_reserve_bytes: u64,
    /// After how many milliseconds a device refused for quota tries again.
    pub quota_retry_ms: u64,
    /// After how many milliseconds of silence a member holds back no envelope any more; at most [`limits::MAX_LAG`].
    pub max_lag_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            group_bytes: 4 << 30,
            group_entries: 1_000_000,
            envelope_bytes: limits::ENVELOPE_BYTES,
            commit_reserve_bytes: 64 << 20,
            quota_retry_ms: 30_000,
            max_lag_ms: u64::try_from(limits::MAX_LAG.as_millis()).expect("30 days in milliseconds fit"),
        }
    }
}
