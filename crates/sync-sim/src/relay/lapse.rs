//! Members that are silent: what the relay does, and what it has to do by what the harness saw pass.

use std::collections::BTreeSet;

use mls_rs::CryptoProvider;
use sync_relay::mailbox::{Decision, GroupState, Limits};
use sync_relay::store::GroupRows;
use sync_types::frame::About;
use sync_types::{DeviceId, GroupId};

use super::Relay;
use crate::model::Op;

impl<P: CryptoProvider + Clone + Send + Sync> Relay<P> {
    /// When a group has something due.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        self.groups.values().filter_map(|state| self.due(state)).min()
    }

    pub(crate) fn timeout(&mut self, now: u64) {
        let due: Vec<GroupId> =
            self.groups.iter().filter(|(_, s)| self.due(s).is_some_and(|at| at <= now)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|group| self.time_passes(group, now));
    }

    /// When something is due in a group, in the world's time.
    fn due(&self, state: &GroupState) -> Option<u64> {
        let lapse = state.next_lapse(Limits::default().max_lag_ms).map(|at| at + self.stood_still);
        [state.next_timeout(), lapse].into_iter().flatten().min()
    }

    /// What the relay does in its own time for a group, and what it has to do by what the harness saw.
    pub(super) fn time_passes(&mut self, group: GroupId, now: u64) {
        let attached = self.attached(group);
        let (served, max_lag) = (now - self.stood_still, Limits::default().max_lag_ms);
        let Some(state) = self.groups.get_mut(&group) else { return };
        let mut decision = state.timeout(now);
        decision.writes.extend(state.lapse(served, max_lag, &attached).writes);
        self.decided(None, group, About::Session, decision, Some(Op::Timeout(now)));
        // With those whose commits are not durable yet.
        let Some(state) = self.groups.get(&group) else { return };
        let members: Vec<DeviceId> = state.keys().keys().copied().filter(|device| state.is_member(*device)).collect();
        // Who was to come and did not, comes anew.
        self.seen.retain(|(of, device), _| *of != group || members.contains(device));
        let mut lapsed = BTreeSet::new();
        for device in members {
            let seen = self.seen.entry((group, device)).or_insert(served);
            if attached.contains(&device) {
                *seen = served;
            }
            if served - *seen >= max_lag {
                lapsed.insert(device);
            }
        }
        self.decided(None, group, About::Session, Decision::default(), Some(Op::Lapsed(lapsed)));
    }

    /// What was not written yet of when devices were seen is gone.
    pub(super) fn take_seen(&mut self, rows: &GroupRows) {
        let group = rows.group.group;
        self.seen.retain(|(of, _), _| *of != group);
        let seen = rows.members.iter().filter(|member| member.seen_ms > 0);
        self.seen.extend(seen.map(|member| ((group, member.device), member.seen_ms)));
    }

    /// A device has asked for something.
    pub(super) fn saw(&mut self, group: GroupId, device: DeviceId, now: u64) {
        let served = now - self.stood_still;
        self.seen.insert((group, device), served);
        let writes = self.groups.get_mut(&group).and_then(|state| state.sign_of_life(device, served));
        let decision = Decision { writes: writes.into_iter().collect(), ..Decision::default() };
        self.decided(None, group, About::Session, decision, Some(Op::Seen(device)));
    }
}
