//! The recovery kit: what the relay keeps for whoever comes with it, and what that one may do.

use std::collections::BTreeSet;

use sync_rules::defence::stands;
use sync_rules::mls::CommitMessage;
use sync_rules::{Defence, attach};
use sync_types::frame::{About, EntryKind, FromRelay, Mac, Recover, Recoverable, Recovery, SealedSnapshot, Vouch};
use sync_types::{Code, DeviceId, Opaque, limits};

use super::commit::{CommitContext, refuse};
use super::{Decision, GroupState, NewEntries, Notice, Proof, QUOTA, Refusal};
use crate::store::{Bytes, KitRow, MemberRow, Provisional, Removal, SnapshotRow, VouchRow, Write};

/// How many keys of former kits a group keeps, so that their holders are told that there is a newer one.
const FORMER: usize = 16;

/// A recovery key that somebody has proved to hold, on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kit([u8; 32]);

/// Checks the proof of whoever comes with a kit.
///
/// # Errors
/// `BAD_SIGNATURE`.
pub fn check_kit(request: &Recover, proof: &Proof) -> Result<Kit, Refusal> {
    let holds = attach::check_recovery(&request.key, &proof.exporter, &proof.signature).is_ok();
    if holds || !stands(Defence::RecoveryAttach) {
        return Ok(Kit(request.key));
    }
    Err(Refusal::new(About::Session, Code::BadSignature, "the proof of the recovery key does not hold"))
}

impl Kit {
    /// The key's public half.
    pub fn key(self) -> [u8; 32] {
        self.0
    }

    /// The refusal where no group has it.
    pub fn unknown() -> Refusal {
        Refusal::new(About::Session, Code::KitUnknown, "the relay knows no group with this recovery key")
    }
}

impl GroupState {
    /// What a recovery is made from: the GroupInfo of the newest final epoch, what members said of it, and where their chains
    /// end.
    ///
    /// # Errors
    /// `PROVISIONAL` while the last commit may be undone; `KIT_REPLACED` for the key of an earlier kit, `KIT_UNKNOWN` for any
    /// other.
    pub fn recoverable(&self, kit: Kit) -> Result<Decision, Refusal> {
        self.check_current(kit, About::Session)?;
        let epoch = self.group.epoch;
        let said = self.vouches.values().filter(|vouch| vouch.epoch == epoch);
        let macs: BTreeSet<Mac> = said.map(|vouch| vouch.mac).collect();
        let present = |device: &DeviceId| self.is_member(*device);
        let heads = self.heads.values().filter(|row| present(&row.sender)).map(|row| row.head.clone());
        let reply = FromRelay::Recoverable(Recoverable {
            group_info: Opaque(self.group.group_info.to_vec()),
            macs: macs.into_iter().collect(),
            heads: heads.collect(),
        });
        Ok(Decision { reply: Some(reply), ..Decision::default() })
    }

    /// Lets a device in by the recovery key, and puts everybody else out: both commits, final at once, as nobody whom they
    /// keep could reject them.
    ///
    /// # Errors
    /// As [`GroupState::recoverable`] and [`GroupState::commit`]; `COMMIT_REFUSED` for any other two commits.
    pub fn recover(&mut self, kit: Kit, request: &Recovery, context: CommitContext<'_>) -> Result<Decision, Refusal> {
        let hash = CommitMessage::hash(&request.removal.commit);
        if self.group.last_commit == Some(hash) {
            return Ok(self.recovered());
        }
        self.check_current(kit, About::Commit)?;
        let quota = context.limits.group_bytes.saturating_add(context.limits.commit_reserve_bytes);
        let bytes = request.join.commit.len() + request.removal.commit.len();
        if self.counters.bytes.saturating_add(bytes as u64) > quota {
            return Err(refuse(Code::Quota, QUOTA).retry_after(context.limits.quota_retry_ms));
        }
        let process = |snapshot: &[u8], commit: &sync_types::frame::Commit| {
            let step = context.observe.process(snapshot, &commit.commit, &commit.group_info);
            step.map_err(|e| Refusal::new(About::Commit, e.code(), e.to_string()))
        };
        let join = process(&self.group.snapshot, &request.join)?;
        if !join.recovered {
            return Err(refuse(Code::CommitRefused, "whoever comes with a recovery kit comes in by its key"));
        }
        self.check_room(&join)?;
        let removal = process(&join.after.snapshot, &request.removal)?;
        let alone = removal.added.is_empty() && removal.after.members.len() == 1;
        if !alone || removal.committer != join.committer || removal.after.epoch > super::NUMBER_MAX {
            return Err(refuse(Code::CommitRefused, "whoever comes with a recovery kit puts everybody else out"));
        }
        if let Err((stale, refusal)) = self.check_cut(&removal) {
            self.wait_for_cut(stale, context.now_ms);
            return Err(refusal);
        }

        let group = self.id();
        let mut decision = Decision::default();
        let (device, key) = (join.committer, removal.after.members[0].1);
        let entries = [&request.join, &request.removal]
            .map(|commit| self.append(EntryKind::Commit, device, Bytes::from(&commit.commit[..])));
        let cursor = entries[1].cursor;
        decision.notices.extend(entries.iter().map(|entry| Notice::NewEntries(NewEntries::one(entry.cursor))));
        decision.writes.push(Write::AppendEntries(group, entries.into()));
        let before = Provisional {
            cursor,
            commit_hash: hash,
            committer: device,
            deadline_ms: context.now_ms,
            epoch: self.group.epoch,
            suite: self.group.suite,
            suite_since: self.group.suite_since,
            snapshot: std::mem::replace(&mut self.group.snapshot, Bytes::from(removal.after.snapshot)),
            group_info: std::mem::replace(&mut self.group.group_info, Bytes::from(&request.removal.group_info[..])),
            last_commit: self.group.last_commit.replace(hash),
        };
        self.set_kit(removal.after.settings.recovery(), cursor, &mut decision.writes);
        self.group.epoch = removal.after.epoch;
        self.group.provisional = Some(before);
        self.waits.clear();
        for removed in removal.removed {
            self.set_removed(removed, Some(Removal { cursor, at_ms: context.now_ms }), &mut decision.writes);
        }
        // What waits here was sealed for others.
        let row = MemberRow {
            device,
            key,
            added: cursor,
            start: cursor,
            acknowledged: cursor,
            removed: None,
            ..MemberRow::default()
        };
        decision.writes.push(Write::PutMember(group, row.clone()));
        self.members.insert(device, row);
        self.confirm(&mut decision);
        decision.reply = self.recovered().reply;
        Ok(decision)
    }

    fn recovered(&self) -> Decision {
        Decision { reply: Some(FromRelay::Confirmed(self.group.epoch)), ..Decision::default() }
    }

    fn check_current(&self, kit: Kit, about: About) -> Result<(), Refusal> {
        let Some(row) = self.kits.get(&kit.0) else {
            return Err(Refusal { about, ..Kit::unknown() });
        };
        if self.group.provisional.is_some() {
            return Err(self.provisional_refusal(about));
        }
        match row.until {
            None => Ok(()),
            Some(_) => Err(Refusal::new(about, Code::KitReplaced, "the group has another recovery kit by now")),
        }
    }

    /// Keeps a member's word for the state of an epoch, for whoever comes with the kit. One of another epoch than the present
    /// one, which came too late or whose commit was refused, has no effect; nor has one where there is no kit.
    pub fn vouch(&mut self, device: DeviceId, vouch: &Vouch) -> Result<Decision, Refusal> {
        self.current_member(device, About::Acknowledge)?;
        let mut decision = Decision::default();
        let row = VouchRow { device, epoch: vouch.epoch, mac: vouch.mac };
        let wanted = vouch.epoch == self.group.epoch && self.kits.values().any(|kit| kit.until.is_none());
        if wanted && self.vouches.get(&device) != Some(&row) {
            self.vouches.insert(device, row);
            decision.writes.push(Write::PutVouch(self.id(), row));
        }
        Ok(decision)
    }

    /// Keeps a member's snapshot for whoever comes with the kit, in the place of what it left of the channel before.
    ///
    /// # Errors
    /// `PROVISIONAL` while the last commit may be undone; `KIT_REPLACED` for another kit than the present one; `TOO_LARGE`;
    /// `QUOTA` if the group has left as much as it may, what former members left not counted.
    pub fn keep_snapshot(&mut self, device: DeviceId, snapshot: &SealedSnapshot) -> Result<Decision, Refusal> {
        let refuse = |code, message| Err(Refusal::new(About::Kit, code, message));
        self.current_member(device, About::Kit)?;
        if self.group.provisional.is_some() {
            return Err(self.provisional_refusal(About::Kit));
        }
        if self.kits.get(&snapshot.key).is_none_or(|kit| kit.until.is_some()) {
            return refuse(Code::KitReplaced, "the group has another recovery kit, or none");
        }
        let size = u32::try_from(snapshot.sealed.len()).unwrap_or(u32::MAX);
        if size as usize > limits::KIT_SNAPSHOT_BYTES && stands(Defence::KitQuota) {
            return refuse(Code::TooLarge, "a snapshot for a recovery kit has at most 1.25 MiB");
        }
        let mut decision = Decision::default();
        let row = SnapshotRow { slot: snapshot.slot, key: snapshot.key, device, size };
        let mut after = self.snapshots.clone();
        after.insert(row.slot, row);
        after.retain(|_, other| other.key == row.key);
        let fits = |rows: &std::collections::BTreeMap<_, SnapshotRow>| {
            let bytes = rows.values().map(|row| row.size as usize).sum::<usize>();
            rows.len() <= limits::KIT_SNAPSHOTS && bytes <= limits::KIT_SNAPSHOTS_BYTES
        };
        // What those left who are out goes first: nobody else can put anything in its place.
        while !fits(&after) && stands(Defence::KitQuota) {
            let left = after.values().find(|other| !self.is_member(other.device)).map(|other| other.slot);
            match left {
                Some(slot) => after.remove(&slot),
                None => return refuse(Code::Quota, "the group has left as much for its recovery kit as it may"),
            };
        }
        let group = self.id();
        let gone = self.snapshots.keys().filter(|slot| !after.contains_key(slot));
        decision.writes.extend(gone.map(|slot| Write::DeleteSnapshot(group, *slot)));
        decision.writes.push(Write::PutSnapshot(group, row, Box::new(snapshot.clone())));
        self.snapshots = after;
        decision.reply = Some(FromRelay::KitKept(snapshot.mac));
        Ok(decision)
    }

    /// Forgets what was left for kits that are the group's no more.
    pub(super) fn drop_snapshots(&mut self, writes: &mut Vec<Write>) {
        let (group, kits) = (self.id(), &self.kits);
        let current = |row: &SnapshotRow| kits.get(&row.key).is_some_and(|kit| kit.until.is_none());
        for (slot, _) in self.snapshots.extract_if(.., |_, row| !current(row)) {
            writes.push(Write::DeleteSnapshot(group, slot));
        }
    }

    /// Notes the recovery key that stands in the settings from this cursor on.
    pub(super) fn set_kit(&mut self, key: Option<[u8; 32]>, cursor: u64, writes: &mut Vec<Write>) {
        let group = self.id();
        let known = |row: &KitRow| Some(row.key) == key && row.until.is_none();
        for row in self.kits.values_mut().filter(|row| row.until.is_none() && Some(row.key) != key) {
            row.until = Some(cursor);
            writes.push(Write::PutKit(group, *row));
        }
        if let Some(key) = key
            && !self.kits.values().any(known)
        {
            let row = KitRow { key, from: cursor, until: None };
            self.kits.insert(key, row);
            writes.push(Write::PutKit(group, row));
        }
        while self.kits.len() > FORMER {
            let former =
                self.kits.values().filter(|row| row.until.is_some()).min_by_key(|row| row.until).map(|row| row.key);
            let Some(oldest) = former else { break };
            self.kits.remove(&oldest);
            writes.push(Write::DeleteKit(group, oldest));
        }
    }

    /// The commit at this cursor is undone.
    pub(super) fn restore_kit(&mut self, cursor: u64, writes: &mut Vec<Write>) {
        let group = self.id();
        let new: Vec<[u8; 32]> = self.kits.values().filter(|row| row.from == cursor).map(|row| row.key).collect();
        for key in new {
            self.kits.remove(&key);
            writes.push(Write::DeleteKit(group, key));
        }
        for row in self.kits.values_mut().filter(|row| row.until == Some(cursor)) {
            row.until = None;
            writes.push(Write::PutKit(group, *row));
        }
    }
}
