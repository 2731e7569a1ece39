//! Where members are woken, and who has something to wake up for.

use sync_types::frame::{About, FromRelay};
use sync_types::{DeviceId, WakeTarget, codec};

use super::{Decision, GroupState, NewEntries, Refusal};
use crate::store::{Bytes, Write};

impl GroupState {
    /// Keeps where a member is woken, or that it is not any more. That the target is one is the caller's to check.
    ///
    /// # Errors
    /// `NOT_MEMBER`, `REMOVED`.
    pub fn set_wake(&mut self, device: DeviceId, target: Option<&WakeTarget>) -> Result<Decision, Refusal> {
        self.current_member(device, About::Wake)?;
        let target = target.map(|target| Bytes::from(codec::encode(target)));
        let mut decision = Decision { reply: Some(FromRelay::WakeSet), ..Decision::default() };
        decision.writes.extend(self.put_wake(device, target));
        Ok(decision)
    }

    /// The push service knows a member's target no more. One that was set meanwhile stays.
    pub fn wake_gone(&mut self, device: DeviceId, target: &[u8]) -> Decision {
        let is_same = |kept: &Bytes| kept[..] == *target;
        let gone = self.members.get(&device).and_then(|member| member.wake.as_ref()).is_some_and(is_same);
        let write = if gone { self.put_wake(device, None) } else { None };
        Decision { writes: write.into_iter().collect(), ..Decision::default() }
    }

    fn put_wake(&mut self, device: DeviceId, target: Option<Bytes>) -> Option<Write> {
        let group = self.id();
        let member = self.members.get_mut(&device).filter(|member| member.wake != target)?;
        member.wake = target;
        Some(Write::PutMember(group, member.clone()))
    }

    /// Who is to hear of new entries and can be woken, and where. A former member hears of its removal, which it may have to act
    /// on.
    pub fn sleepers(&self, new: NewEntries) -> impl Iterator<Item = (DeviceId, &Bytes)> {
        let concerns = move |removed: u64| (new.after..new.newest).contains(&removed.saturating_sub(1));
        self.members
            .values()
            .filter(move |member| new.of != Some(member.device))
            .filter(move |member| member.removed.is_none_or(|removal| concerns(removal.cursor)))
            .filter_map(|member| Some((member.device, member.wake.as_ref()?)))
    }

    /// Where a member is woken that has just gone, if it leaves behind what came after the cursor at which it was attached. What
    /// was there before woke it already, or was left by one that cannot take it.
    pub fn left_behind(&self, device: DeviceId, attached_at: u64) -> Option<&Bytes> {
        let member = self.members.get(&device)?;
        member.wake.as_ref().filter(|_| self.holds_for(device, member.acknowledged.max(attached_at)))
    }
}
