//! Following a group whose changes another relay orders.

use std::collections::{BTreeMap, BTreeSet};

use sync_rules::mls::{self, CommitMessage};
use sync_types::frame::{About, Commit, CopyCommits};
use sync_types::{Code, DeviceId, EntryHash, limits};

use super::{CommitContext, Decision, GroupState, NUMBER_MAX, QUOTA, Refusal};

impl GroupState {
    /// Takes commits that were ordered elsewhere, all that are new or none. They are final at once: whoever could have rejected
    /// them has had the time, or has none here.
    ///
    /// Each is checked as one that is brought for ordering, but for who brings it and for the cut: more may have come here of a
    /// removed device than there, or less. Those of epochs that are over here are passed over. Refusals: `PROVISIONAL`,
    /// `QUOTA`, `PROTOCOL` where an epoch is left out, and what the observer refuses.
    pub fn copy_commits(
        &mut self,
        device: DeviceId,
        request: &CopyCommits,
        context: CommitContext<'_>,
    ) -> Result<Decision, Refusal> {
        self.current_member(device, About::Commit)?;
        if self.group.provisional.is_some() {
            return Err(self.provisional_refusal(About::Commit));
        }
        let epoch = |commit: &[u8]| CommitMessage::parse(commit).map(|c| c.epoch).unwrap_or(u64::MAX);
        let new: Vec<_> = request.commits.iter().filter(|commit| epoch(commit) >= self.group.epoch).collect();
        let bytes: u64 = new.iter().map(|commit| commit.len() as u64).sum();
        let quota = context.limits.group_bytes.saturating_add(context.limits.commit_reserve_bytes);
        if self.counters.bytes.saturating_add(bytes) > quota {
            return Err(refuse(Code::Quota, QUOTA).retry_after(context.limits.quota_retry_ms));
        }
        let mut snapshot = self.group.snapshot.to_vec();
        let mut steps = Vec::with_capacity(new.len());
        for (index, commit) in new.iter().enumerate() {
            let last = index + 1 == new.len();
            let info = Some(&request.group_info[..]).filter(|_| last);
            let step = context
                .observe
                .copy(&snapshot, commit, info)
                .map_err(|e| Refusal::new(About::Commit, e.code(), e.to_string()))?;
            let next = self.group.epoch + index as u64 + 1;
            if step.after.group != self.id() || step.after.epoch != next || next > NUMBER_MAX {
                return Err(refuse(Code::Protocol, "the commits do not follow one another"));
            }
            if step.after.members.len() > limits::MEMBERS {
                return Err(refuse(Code::CommitRefused, "a group has at most 128 members"));
            }
            let known = |device: &DeviceId| self.members.contains_key(device) || self.heads.contains_key(device);
            if step.added.iter().any(|(device, _)| known(device)) {
                return Err(refuse(Code::CommitRefused, "a device that was in the group before joins under a new key"));
            }
            mls::cut(&step.authenticated_data, &step.removed)
                .map_err(|_| refuse(Code::CommitRefused, "the cut names exactly the removed devices"))?;
            snapshot.clone_from(&step.after.snapshot);
            steps.push(step);
        }
        let nobody = BTreeSet::new();
        let mut decision = Decision::default();
        for (commit, step) in new.into_iter().zip(steps) {
            let added: BTreeMap<DeviceId, [u8; 32]> = step.added.iter().copied().collect();
            let welcomes = request.welcomes.iter().filter(|w| added.contains_key(&w.device) && !w.welcome.is_empty());
            let welcomes = welcomes.map(|w| (w.device, &w.welcome)).collect();
            let ordered =
                Commit { commit: commit.clone(), group_info: request.group_info.clone(), welcomes: Vec::new() };
            let hash: EntryHash = CommitMessage::hash(commit);
            let committer = step.committer;
            // Nobody may reject it, so that it is final at once.
            let context = CommitContext { attached: &nobody, ..context };
            let next = self.apply(committer, &ordered, step, welcomes, hash, context);
            decision.writes.extend(next.writes);
            decision.notices.extend(next.notices);
        }
        Ok(decision)
    }
}

fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Commit, code, message)
}
