//! Who is woken by what was decided.

use sync_types::{DeviceId, GroupId, WakeTarget};

use super::groups::Attached;
use super::writer::Writer;
use crate::mailbox::{NewEntries, Notice, Refusal};
use crate::store::Bytes;

/// A member of a group.
pub(crate) type Whom = (GroupId, DeviceId);

/// What wakes devices. Nothing of it waits for anything: whom it cannot reach syncs when it comes by itself.
pub(crate) trait Wake: Send + Sync {
    /// Whether a target can be reached from here at all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `WAKE_UNAVAILABLE`.
    fn check(&self, target: &WakeTarget) -> Result<(), Refusal>;

    /// The key that Web Push messages are signed with: a point of P-256, uncompressed.
    fn key(&self) -> [u8; 65];

    /// Whether a wake-up now would be one more than what it was sent already.
    fn is_due(&self, whom: Whom) -> bool;

    /// Wakes it, at an encoded [`WakeTarget`].
    fn wake(&self, whom: Whom, target: &Bytes);

    /// It is there, by whatever reason: what waits for it goes.
    fn came(&self, whom: Whom);
}

impl Writer {
    /// Whom to wake once what was decided is durable.
    pub(super) fn sleepers(&self, group: GroupId, notices: &[Notice]) -> Vec<(DeviceId, Bytes)> {
        let new = notices.iter().filter_map(|notice| match notice {
            Notice::NewEntries(new) => Some(*new),
            _ => None,
        });
        let (Some(waker), Some(new), Some(state)) =
            (&self.parts.waker, new.reduce(NewEntries::and), self.groups.state(group))
        else {
            return Vec::new();
        };
        let sleeps = |device: DeviceId| !self.groups.is_anywhere(group, device) && waker.is_due((group, device));
        let sleepers = state.sleepers(new).filter(|(device, _)| sleeps(*device));
        sleepers.map(|(device, target)| (device, target.clone())).collect()
    }

    /// Whom to wake as it has gone just before something reached it.
    pub(super) fn left_behind(&self, gone: &Attached) -> Vec<(DeviceId, Bytes)> {
        let (Some(waker), Some(state)) = (&self.parts.waker, self.groups.state(gone.group)) else { return Vec::new() };
        let left = state.left_behind(gone.device, gone.newest).filter(|_| waker.is_due((gone.group, gone.device)));
        left.map(|target| (gone.device, target.clone())).into_iter().collect()
    }
}
