//! Members that have been silent for too long. One that lapsed holds back no envelope; changes of the group are kept for it.
//!
//! Silence is measured in the relay's own time: the milliseconds that it has run ([`crate::store::Store::served`]), whatever
//! anybody sets the clock to, and without the time in which nobody could have reached it. So a relay that was off for a year
//! comes back with everybody's silence as it was, and so does one whose clock leapt.

use std::collections::BTreeSet;

use sync_types::DeviceId;

use super::{Decision, GroupState};
use crate::store::{MemberRow, Write};

/// How old what is written of a member's last sign of life may be, in milliseconds. After a crash it counts as silent for so
/// much longer.
const SEEN_STEP_MS: u64 = 3_600_000;

impl GroupState {
    /// An attached device has asked for something, or is attached: it is there. What there is to write of that.
    pub fn sign_of_life(&mut self, device: DeviceId, served_ms: u64) -> Option<Write> {
        let group = self.id();
        let member = self.members.get_mut(&device).filter(|m| m.removed.is_none())?;
        self.lapsed.remove(&device);
        let seen = self.seen.entry(device).or_default();
        *seen = served_ms.max(1).max(*seen);
        if member.seen_ms > 0 && seen.saturating_sub(member.seen_ms) < SEEN_STEP_MS {
            return None;
        }
        member.seen_ms = *seen;
        Some(Write::PutMember(group, member.clone()))
    }

    /// Lets go of what waits for nobody but members that have been silent for `max_lag_ms`. Due at
    /// [`GroupState::next_lapse`], and harmless at any other time. Whoever is attached is not silent.
    pub fn lapse(&mut self, served_ms: u64, max_lag_ms: u64, attached: &BTreeSet<DeviceId>) -> Decision {
        let mut decision = Decision::default();
        let here = |m: &&MemberRow| attached.contains(&m.device) || m.seen_ms == 0;
        let present: Vec<DeviceId> = self.members.values().filter(here).map(|m| m.device).collect();
        decision.writes.extend(present.into_iter().filter_map(|device| self.sign_of_life(device, served_ms)));
        let silent = |m: &&MemberRow| m.removed.is_none() && served_ms.saturating_sub(self.last_seen(m)) >= max_lag_ms;
        let lapsed = self.members.values().filter(silent).map(|m| m.device).collect();
        let before = std::mem::replace(&mut self.lapsed, lapsed);
        if !self.lapsed.is_subset(&before) && self.collect(0, &mut decision.writes) {
            self.put_counters(&mut decision.writes);
        }
        decision
    }

    /// When the next member lapses if it stays silent, in the relay's own time.
    pub fn next_lapse(&self, max_lag_ms: u64) -> Option<u64> {
        let waits = self.members.values().filter(|m| m.removed.is_none() && !self.lapsed.contains(&m.device));
        waits.map(|m| if m.seen_ms == 0 { 0 } else { self.last_seen(m).saturating_add(max_lag_ms) }).min()
    }

    fn last_seen(&self, member: &MemberRow) -> u64 {
        self.seen.get(&member.device).copied().unwrap_or(0).max(member.seen_ms)
    }

    /// Whether the member holds back nothing at present.
    pub fn is_lapsed(&self, device: DeviceId) -> bool {
        self.lapsed.contains(&device)
    }

    /// Envelopes of this sender up to a cursor are gone: members that had lapsed are told when they come back.
    pub(super) fn note_missed(&mut self, sender: DeviceId, up_to: u64, writes: &mut Vec<Write>) {
        let group = self.id();
        for device in self.lapsed.iter().filter(|device| **device != sender) {
            let Some(member) = self.members.get_mut(device) else { continue };
            if member.acknowledged < up_to && member.missed < up_to {
                member.missed = up_to;
                writes.retain(|write| !matches!(write, Write::PutMember(_, row) if row.device == *device));
                writes.push(Write::PutMember(group, member.clone()));
            }
        }
    }
}
