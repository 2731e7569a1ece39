//! Ordering commits: the observer checks each, and the epoch is compared and swapped.

use std::collections::{BTreeMap, BTreeSet};

use sync_rules::mls::{self, CommitMessage};
use sync_rules::{Observe, Step};
use sync_types::frame::{About, Commit, EntryKind};
use sync_types::{Code, DeviceId, EntryHash, Opaque, limits};

use super::push::CUT_WAIT_AGAIN_MS;
use super::{Decision, GroupState, Limits, NUMBER_MAX, NewEntries, Notice, QUOTA, Refusal};
use crate::store::{Bytes, MemberRow, Provisional, Removal, WelcomeRow, Write};

/// How many rows of devices and of their heads a group may have. The largest group may replace each of its devices a dozen
/// times before none can be added any more.
const DEVICES: usize = 4_096;

/// What a commit needs beside the state.
#[derive(Clone, Copy)]
pub struct CommitContext<'a> {
    /// Checks the commit.
    pub observe: &'a dyn Observe,
    /// What the group may use.
    pub limits: &'a Limits,
    /// Which devices are attached to the group at this moment, the committer included.
    pub attached: &'a BTreeSet<DeviceId>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl GroupState {
    /// Orders a commit. It is final at once when nobody that it keeps is attached beside the committer, otherwise
    /// provisional for [`limits::PROVISIONAL`] at most.
    ///
    /// The newest commit again is accepted without effect. Refusals: `COMMIT_REJECTED` for one that a member rejected,
    /// `PROVISIONAL` while the last is provisional, `STALE_EPOCH` for the loser of a race, `STALE_CUT` with the removed
    /// sender's signed head (its pushes then wait for the retry), `QUOTA`, and what the observer refuses.
    pub fn commit(
        &mut self,
        device: DeviceId,
        request: &Commit,
        context: CommitContext<'_>,
    ) -> Result<Decision, Refusal> {
        let hash = CommitMessage::hash(&request.commit);
        if self.group.last_commit == Some(hash) && self.members.contains_key(&device) {
            return Ok(Decision::default());
        }
        self.current_member(device, About::Commit)?;
        if self.group.rejected.contains(&hash) {
            return Err(refuse(Code::CommitRejected, "a member could not apply this commit"));
        }
        if self.group.provisional.is_some() {
            return Err(self.provisional_refusal(About::Commit));
        }
        let quota = context.limits.group_bytes.saturating_add(context.limits.commit_reserve_bytes);
        if self.counters.bytes.saturating_add(request.commit.len() as u64) > quota {
            return Err(refuse(Code::Quota, QUOTA).retry_after(context.limits.quota_retry_ms));
        }
        let step = context
            .observe
            .process(&self.group.snapshot, &request.commit, &request.group_info)
            .map_err(|e| Refusal::new(About::Commit, e.code(), e.to_string()))?;
        self.check_step(device, &step)?;
        let welcomes = check_welcomes(request, &step)?;
        if let Err((stale, refusal)) = self.check_cut(&step) {
            self.wait_for_cut(stale, context.now_ms);
            return Err(refusal);
        }
        Ok(self.apply(device, request, step, welcomes, hash, context))
    }

    fn check_step(&self, device: DeviceId, step: &Step) -> Result<(), Refusal> {
        if step.committer != device && step.replaced != Some(device) {
            return Err(refuse(Code::CommitRefused, "a commit is brought by the device that made it"));
        }
        self.check_room(step)
    }

    pub(super) fn check_room(&self, step: &Step) -> Result<(), Refusal> {
        let next = self.group.epoch.checked_add(1).filter(|next| *next <= NUMBER_MAX);
        if step.after.group != self.id() || Some(step.after.epoch) != next {
            return Err(refuse(Code::Protocol, "the commit does not start the group's next epoch"));
        }
        if step.after.members.len() > limits::MEMBERS {
            return Err(refuse(Code::CommitRefused, "a group has at most 128 members"));
        }
        // Each leaves rows behind that no quota counts: its own for 180 days, and its head for good.
        let kept = self.members.len() + self.heads.len() + step.added.len();
        if !step.added.is_empty() && kept > DEVICES {
            return Err(refuse(Code::CommitRefused, "the group has had too many devices: make a new one"));
        }
        // A device that was removed comes back under a new key: its old chain is cut for good.
        let known = |device: &DeviceId| self.members.contains_key(device) || self.heads.contains_key(device);
        if step.added.iter().any(|(device, _)| known(device)) {
            return Err(refuse(Code::CommitRefused, "a device that was in the group before joins under a new key"));
        }
        Ok(())
    }

    /// Checks that the commit states the head of each device that it removes, and of no other.
    pub(super) fn check_cut(&self, step: &Step) -> Result<(), (Option<DeviceId>, Refusal)> {
        let refuse = |code, message: &'static str| (None, refuse(code, message));
        let cut = mls::cut(&step.authenticated_data, &step.removed)
            .map_err(|_| refuse(Code::CommitRefused, "the cut names exactly the removed devices"))?;
        for last in cut.last {
            if (last.seq, last.hash) != self.position(last.sender) {
                let head = self.heads.get(&last.sender).map(|row| &row.head);
                let refusal = Refusal::new(About::Commit, Code::StaleCut, "the cut is not the sender's head");
                return Err((Some(last.sender), refusal.with_head(head)));
            }
        }
        Ok(())
    }

    /// Makes a sender's pushes wait, unless they waited a moment ago.
    pub(super) fn wait_for_cut(&mut self, sender: Option<DeviceId>, now_ms: u64) {
        self.waits.retain(|_, since| since.saturating_add(CUT_WAIT_AGAIN_MS) > now_ms);
        if let Some(sender) = sender {
            self.waits.entry(sender).or_insert(now_ms);
        }
    }

    pub(super) fn apply(
        &mut self,
        device: DeviceId,
        request: &Commit,
        step: Step,
        welcomes: BTreeMap<DeviceId, &Opaque>,
        hash: EntryHash,
        context: CommitContext<'_>,
    ) -> Decision {
        let group = self.id();
        let mut decision = Decision::default();
        let entry = self.append(EntryKind::Commit, device, Bytes::from(&request.commit[..]));
        let cursor = entry.cursor;
        decision.writes.push(Write::AppendEntries(group, vec![entry]));
        decision.notices.push(Notice::NewEntries(NewEntries::one(cursor)));

        let snapshot = std::mem::replace(&mut self.group.snapshot, Bytes::from(step.after.snapshot));
        let group_info = std::mem::replace(&mut self.group.group_info, Bytes::from(&request.group_info[..]));
        let before = Provisional {
            cursor,
            commit_hash: hash,
            committer: device,
            deadline_ms: context.now_ms.saturating_add(provisional_ms()),
            epoch: self.group.epoch,
            suite: self.group.suite,
            suite_since: self.group.suite_since,
            snapshot,
            group_info,
            last_commit: self.group.last_commit.replace(hash),
        };
        self.set_kit(step.after.settings.recovery(), cursor, &mut decision.writes);
        self.group.epoch = step.after.epoch;
        (self.group.suite, self.group.suite_since) = (step.after.suite, step.after.suite_since);
        self.group.provisional = Some(before);
        self.waits.clear();

        // What the sponsor has acknowledged is in the newcomer's baseline; whatever it may lack still reaches both. Who takes a
        // new key has none, and gets whatever is left.
        let sponsor = self.members.get(&device).filter(|_| step.replaced.is_none());
        let start = sponsor.map_or(0, |sponsor| sponsor.acknowledged);
        for (newcomer, key) in step.added {
            let row = MemberRow {
                device: newcomer,
                key,
                added: cursor,
                start,
                acknowledged: start,
                removed: None,
                ..MemberRow::default()
            };
            decision.writes.push(Write::PutMember(group, row.clone()));
            self.members.insert(newcomer, row);
        }
        for removed in step.removed {
            self.set_removed(removed, Some(Removal { cursor, at_ms: context.now_ms }), &mut decision.writes);
        }
        for (newcomer, welcome) in welcomes {
            self.welcomes.insert(newcomer, cursor);
            let row = WelcomeRow { device: newcomer, cursor };
            decision.writes.push(Write::PutWelcome(group, row, Bytes::from(&welcome[..])));
        }
        if self.has_witness(context.attached) {
            decision.writes.push(Write::PutGroup(Box::new(self.group.clone())));
            self.put_counters(&mut decision.writes);
            decision.notices.push(Notice::ViewsChanged);
        } else {
            self.confirm(&mut decision);
        }
        decision
    }

    /// Marks a member as removed, or takes that back, with the end of its chain.
    pub(super) fn set_removed(&mut self, device: DeviceId, removed: Option<Removal>, writes: &mut Vec<Write>) {
        let group = self.id();
        if let Some(member) = self.members.get_mut(&device) {
            member.removed = removed;
            writes.push(Write::PutMember(group, member.clone()));
        }
        if let Some(head) = self.heads.get_mut(&device) {
            head.cut = removed.is_some();
            writes.push(Write::PutHead(group, head.clone()));
        }
    }
}

fn check_welcomes<'a>(request: &'a Commit, step: &Step) -> Result<BTreeMap<DeviceId, &'a Opaque>, Refusal> {
    let welcomes: BTreeMap<DeviceId, &Opaque> = request.welcomes.iter().map(|w| (w.device, &w.welcome)).collect();
    // Who comes by an external commit has the keys already.
    let by_itself = step.replaced.map(|_| step.committer);
    let added: BTreeSet<DeviceId> =
        step.added.iter().map(|(device, _)| *device).filter(|device| Some(*device) != by_itself).collect();
    let complete = welcomes.keys().eq(&added) && welcomes.len() == request.welcomes.len();
    if !complete || welcomes.values().any(|w| w.is_empty()) {
        return Err(refuse(Code::CommitRefused, "a commit brings one Welcome for each device that it adds"));
    }
    Ok(welcomes)
}

fn provisional_ms() -> u64 {
    u64::try_from(limits::PROVISIONAL.as_millis()).expect("ten seconds in milliseconds fit")
}

pub(super) fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Commit, code, message)
}
