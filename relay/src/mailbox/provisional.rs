//! The time in which a commit is provisional: what makes it final, and the reject that undoes it.

use std::collections::BTreeSet;

use sync_rules::statement::verify_reject;
use sync_types::frame::{About, EntryKind, Reject};
use sync_types::{Code, DeviceId, codec, limits};

use super::{Decision, GroupState, NewEntries, Notice, Refusal};
use crate::store::{Bytes, MemberRow, Write};

/// How many rejected commits of one epoch are remembered. Each was signed by a member, and rejected by another.
const REJECTED: usize = 64;
/// How soon to try again what a provisional commit holds up, in milliseconds.
const RETRY_MS: u64 = 250;

impl GroupState {
    /// Does what is due by now: ends the provisional time, forgets former members. Due at [`GroupState::next_timeout`] and
    /// harmless at any other time, also once after loading.
    pub fn timeout(&mut self, now_ms: u64) -> Decision {
        let mut decision = Decision::default();
        if self.group.provisional.as_ref().is_some_and(|p| p.deadline_ms <= now_ms) {
            self.confirm(&mut decision);
        }
        if self.expire(now_ms, &mut decision.writes) && self.collect(0, &mut decision.writes) {
            self.put_counters(&mut decision.writes);
        }
        decision
    }

    /// A device detached. A provisional commit becomes final when nobody that could reject it is attached any more.
    pub fn detached(&mut self, attached: &BTreeSet<DeviceId>) -> Decision {
        let mut decision = Decision::default();
        if self.group.provisional.is_some() && !self.has_witness(attached) {
            self.confirm(&mut decision);
        }
        decision
    }

    /// Undoes the provisional commit, on the signed word of a member that it keeps.
    ///
    /// Refusals: `STALE_EPOCH` when the commit is final already, `COMMIT_REFUSED` from one that is not its witness,
    /// `BAD_SIGNATURE`, and `PROTOCOL` for a reject of something else.
    pub fn reject(&mut self, device: DeviceId, bytes: &[u8]) -> Result<Decision, Refusal> {
        let refuse = |code, message: &'static str| Refusal::new(About::Acknowledge, code, message);
        let key = self.current_member(device, About::Acknowledge)?.key;
        let reject: Reject =
            codec::decode(bytes).map_err(|e| Refusal::new(About::Acknowledge, Code::Protocol, e.to_string()))?;
        if reject.device != device {
            return Err(refuse(Code::Protocol, "the reject is of another device"));
        }
        let Some(provisional) = &self.group.provisional else {
            return Err(refuse(Code::StaleEpoch, "the commit is final"));
        };
        if reject.epoch != self.group.epoch || reject.commit_hash != provisional.commit_hash {
            return Err(refuse(Code::Protocol, "the reject is of another commit"));
        }
        if !self.is_kept_witness(device, provisional) {
            return Err(refuse(Code::CommitRefused, "a commit is rejected by another member that it keeps"));
        }
        verify_reject(&self.id(), &reject, &key)
            .map_err(|_| refuse(Code::BadSignature, "the reject's signature does not verify"))?;
        Ok(self.undo(device, bytes))
    }

    fn undo(&mut self, device: DeviceId, bytes: &[u8]) -> Decision {
        let group = self.id();
        let mut decision = Decision::default();
        let (added, removed) = (self.newcomers(), self.leavers());
        let Some(before) = self.group.provisional.take() else { return decision };
        self.group.epoch = before.epoch;
        (self.group.suite, self.group.suite_since) = (before.suite, before.suite_since);
        self.group.snapshot = before.snapshot;
        self.group.group_info = before.group_info;
        self.group.last_commit = before.last_commit;
        self.group.rejected.push(before.commit_hash);
        let surplus = self.group.rejected.len().saturating_sub(REJECTED);
        self.group.rejected.drain(..surplus);

        for newcomer in added {
            self.members.remove(&newcomer);
            self.welcomes.remove(&newcomer);
            decision.writes.push(Write::DeleteMember(group, newcomer));
            decision.writes.push(Write::DeleteWelcome(group, newcomer));
            decision.notices.push(Notice::Removed { device: newcomer });
        }
        for leaver in removed {
            self.set_removed(leaver, None, &mut decision.writes);
        }
        self.restore_kit(before.cursor, &mut decision.writes);
        let entry = self.append(EntryKind::Reject, device, Bytes::from(bytes));
        decision.notices.push(Notice::ViewsChanged);
        decision.notices.push(Notice::NewEntries(NewEntries::one(entry.cursor)));
        decision.writes.push(Write::AppendEntries(group, vec![entry]));
        decision.writes.push(Write::PutGroup(Box::new(self.group.clone())));
        self.collect(0, &mut decision.writes);
        self.put_counters(&mut decision.writes);
        decision
    }

    /// Makes the provisional commit final.
    pub(super) fn confirm(&mut self, decision: &mut Decision) {
        let group = self.id();
        let (added, removed) = (self.newcomers(), self.leavers());
        let Some(before) = self.group.provisional.take() else { return };
        self.group.rejected.clear();
        decision.writes.push(Write::PutGroup(Box::new(self.group.clone())));
        decision.notices.push(Notice::Confirmed { epoch: self.group.epoch, cursor: before.cursor });
        for device in removed {
            if self.welcomes.remove(&device).is_some() {
                decision.writes.push(Write::DeleteWelcome(group, device));
            }
            self.delete_statements(device, &mut decision.writes);
            if self.vouches.remove(&device).is_some() {
                decision.writes.push(Write::DeleteVouch(group, device));
            }
            decision.notices.push(Notice::Removed { device });
        }
        decision.notices.extend(added.into_iter().map(|device| Notice::WelcomeReady { device }));
        self.drop_snapshots(&mut decision.writes);
        self.collect(0, &mut decision.writes);
        self.put_counters(&mut decision.writes);
    }

    /// Whom the provisional commit adds.
    fn newcomers(&self) -> Vec<DeviceId> {
        self.select(|state, member| state.is_provisional_newcomer(member))
    }

    /// Whom the provisional commit removes.
    fn leavers(&self) -> Vec<DeviceId> {
        self.select(Self::is_provisionally_removed)
    }

    fn select(&self, which: impl Fn(&Self, &MemberRow) -> bool) -> Vec<DeviceId> {
        self.members.values().filter(|m| which(self, m)).map(|m| m.device).collect()
    }

    /// The refusal of what has to wait for the provisional commit. It may be final any moment, so the retry is soon.
    pub(super) fn provisional_refusal(&self, about: About) -> Refusal {
        Refusal::new(about, Code::Provisional, "the last change of the group is being confirmed").retry_after(RETRY_MS)
    }
}

const _: () = assert!(RETRY_MS < limits::PROVISIONAL.as_millis() as u64);
