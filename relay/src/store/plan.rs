//! From a batch of writes to as few statements as do the same: rows of one table are gathered and the last of several for
//! one key stays, as long as nothing in between depends on their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sync_types::frame::{EntryKind, SealedSnapshot, SnapshotSlot};
use sync_types::{DeviceId, GroupId};

use super::{
    Bytes, Counters, EntryRow, GroupRow, HeadRow, KitRow, MemberRow, SnapshotRow, VouchRow, WelcomeRow, Write,
};
use crate::tokens::TokenHash;

/// What a delete is about: one sender's envelopes, or with `None` commits and rejects.
pub(super) type Deletion = (GroupId, Option<DeviceId>);

/// One or a few statements.
#[derive(Debug)]
pub(super) enum Step {
    PutGroup(Box<GroupRow>),
    SetCounters(Vec<(GroupId, Counters)>),
    PutMember(GroupId, MemberRow),
    DeleteMember(GroupId, DeviceId),
    SetAcknowledged(Vec<(GroupId, DeviceId, u64)>),
    PutHeads(Vec<(GroupId, HeadRow)>),
    PutStatements(Vec<(GroupId, DeviceId, DeviceId, Bytes)>),
    DeleteStatements(GroupId, DeviceId),
    PutWelcome(GroupId, WelcomeRow, Bytes),
    DeleteWelcome(GroupId, DeviceId),
    PutKit(GroupId, KitRow),
    DeleteKit(GroupId, [u8; 32]),
    PutVouch(GroupId, VouchRow),
    DeleteVouch(GroupId, DeviceId),
    PutSnapshot(GroupId, SnapshotRow, Box<SealedSnapshot>),
    DeleteSnapshot(GroupId, SnapshotSlot),
    Append(Vec<(GroupId, EntryRow)>),
    Delete(Vec<(Deletion, u64)>),
    DeleteCommit(GroupId, u64),
    PutToken(GroupId, TokenHash),
    DeleteGroup(GroupId),
    /// Nothing of these groups is left, nor of their numbers.
    ForgetGroups(BTreeSet<GroupId>),
}

impl Step {
    /// About how many bytes of log the step writes.
    pub(super) fn weight(&self) -> u64 {
        const PAGE: u64 = 4096;
        match self {
            Self::Append(rows) => PAGE + rows.iter().map(|(_, row)| 100 + row.bytes.len() as u64).sum::<u64>(),
            Self::PutGroup(row) => 2 * PAGE + (row.snapshot.len() + row.group_info.len()) as u64,
            Self::PutWelcome(.., welcome) => PAGE + welcome.len() as u64,
            Self::PutSnapshot(_, row, _) => PAGE + u64::from(row.size),
            Self::SetCounters(rows) => PAGE + 64 * rows.len() as u64,
            Self::PutHeads(rows) => PAGE + 512 * rows.len() as u64,
            Self::PutStatements(rows) => PAGE + 512 * rows.len() as u64,
            Self::SetAcknowledged(rows) => PAGE + 64 * rows.len() as u64,
            // How many rows it hits is not known before; each page that it empties is written once.
            Self::Delete(deletions) => 4 * PAGE * deletions.len() as u64,
            Self::PutMember(..)
            | Self::DeleteMember(..)
            | Self::DeleteStatements(..)
            | Self::DeleteWelcome(..)
            | Self::PutKit(..)
            | Self::DeleteKit(..)
            | Self::PutVouch(..)
            | Self::DeleteVouch(..)
            | Self::DeleteSnapshot(..)
            | Self::PutToken(..)
            | Self::DeleteCommit(..) => PAGE,
            // As for the others that delete, once for each table.
            Self::DeleteGroup(_) => 48 * PAGE,
            Self::ForgetGroups(groups) => PAGE * groups.len() as u64,
        }
    }
}

/// The groups that the steps delete.
pub(super) fn emptied(steps: &[Step]) -> impl Iterator<Item = &GroupId> {
    steps.iter().filter_map(|step| match step {
        Step::DeleteGroup(group) => Some(group),
        _ => None,
    })
}

/// What the steps delete, and up to where.
pub(super) fn deletions(steps: &[Step]) -> impl Iterator<Item = &(Deletion, u64)> {
    steps.iter().flat_map(|step| match step {
        Step::Delete(deletions) => deletions.as_slice(),
        _ => &[],
    })
}

/// How many floors are remembered; one is 60 bytes.
const FLOORS: usize = 65_536;

/// Up to which cursor each kind of deletion has been done since the start. Cursors only grow, whoever gives them out, so the
/// next deletion need not look below: an acknowledgement costs as much as it acknowledges, however long the log before it is.
#[derive(Default)]
pub(super) struct Floors(HashMap<Deletion, u64>);

impl Floors {
    /// Below which cursor nothing of this kind is left.
    pub(super) fn above(&self, what: &Deletion) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// The group is gone, or may have been made anew since: its cursors may be small again.
    pub(super) fn forget(&mut self, group: &GroupId) {
        self.0.retain(|(of, _), _| of != group);
    }

    /// These steps are durable.
    pub(super) fn note(&mut self, steps: &[Step]) {
        for (what, up_to) in deletions(steps) {
            if self.0.len() >= FLOORS {
                self.0.clear();
            }
            let floor = self.0.entry(*what).or_default();
            *floor = (*up_to).max(*floor);
        }
    }
}

/// Rows that wait for company.
#[derive(Default)]
struct Gathered {
    steps: Vec<Step>,
    counters: BTreeMap<GroupId, Counters>,
    acknowledged: BTreeMap<(GroupId, DeviceId), u64>,
    heads: BTreeMap<(GroupId, DeviceId), HeadRow>,
    statements: BTreeMap<(GroupId, DeviceId, DeviceId), Bytes>,
    appended: Vec<(GroupId, EntryRow)>,
    deleted: BTreeMap<Deletion, u64>,
}

/// The steps that have the effect of `writes` in their order. Tables do not depend on each other, so only the order within
/// each is kept.
pub(super) fn plan(writes: Vec<Write>) -> Vec<Step> {
    let mut g = Gathered::default();
    // Groups that are gone, and of which nothing came after that.
    let mut gone = BTreeSet::new();
    for write in writes {
        gone.remove(&write.group());
        match write {
            Write::PutGroup(row) => g.steps.push(Step::PutGroup(row)),
            Write::SetCounters(group, counters) => {
                g.counters.insert(group, counters);
            }
            Write::PutMember(group, row) => {
                g.flush_acknowledged();
                g.steps.push(Step::PutMember(group, row));
            }
            Write::SetAcknowledged(group, device, cursor) => {
                g.acknowledged.insert((group, device), cursor);
            }
            Write::DeleteMember(group, device) => {
                g.flush_acknowledged();
                g.steps.push(Step::DeleteMember(group, device));
            }
            Write::PutHead(group, row) => {
                g.heads.insert((group, row.sender), row);
            }
            Write::PutStatement(group, row) => {
                g.statements.insert((group, row.acknowledger, row.sender), row.statement);
            }
            Write::DeleteStatements(group, device) => {
                g.flush_statements();
                g.steps.push(Step::DeleteStatements(group, device));
            }
            Write::AppendEntries(group, rows) => {
                // A delete is put behind the appends, which is the same unless it covers one that comes after it.
                if let Some(first) = rows.iter().map(|r| r.cursor).min() {
                    let whole = (group, None)..=(group, Some(DeviceId([0xff; 16])));
                    if g.deleted.range(whole).any(|(_, up_to)| *up_to >= first) {
                        g.flush_entries();
                    }
                }
                g.appended.extend(rows.into_iter().map(|row| (group, row)));
            }
            Write::DeleteEnvelopes { group, sender, up_to } => g.delete((group, Some(sender)), up_to),
            Write::DeleteCommits { group, up_to } => g.delete((group, None), up_to),
            Write::DeleteCommit { group, cursor } => {
                g.flush_entries();
                g.steps.push(Step::DeleteCommit(group, cursor));
            }
            Write::PutWelcome(group, row, welcome) => g.steps.push(Step::PutWelcome(group, row, welcome)),
            Write::DeleteWelcome(group, device) => g.steps.push(Step::DeleteWelcome(group, device)),
            Write::PutKit(group, row) => g.steps.push(Step::PutKit(group, row)),
            Write::DeleteKit(group, key) => g.steps.push(Step::DeleteKit(group, key)),
            Write::PutVouch(group, row) => g.steps.push(Step::PutVouch(group, row)),
            Write::DeleteVouch(group, device) => g.steps.push(Step::DeleteVouch(group, device)),
            Write::PutSnapshot(group, row, snapshot) => g.steps.push(Step::PutSnapshot(group, row, snapshot)),
            Write::DeleteSnapshot(group, slot) => g.steps.push(Step::DeleteSnapshot(group, slot)),
            Write::PutToken(group, token) => g.steps.push(Step::PutToken(group, token)),
            Write::DeleteGroup(group) => {
                g.flush();
                g.steps.push(Step::DeleteGroup(group));
                gone.insert(group);
            }
        }
    }
    g.flush();
    if !gone.is_empty() {
        g.steps.push(Step::ForgetGroups(gone));
    }
    g.steps
}

impl Gathered {
    /// Nothing that came so far is done later than what comes.
    fn flush(&mut self) {
        self.flush_acknowledged();
        self.flush_statements();
        self.flush_entries();
        let (counters, heads) = (std::mem::take(&mut self.counters), std::mem::take(&mut self.heads));
        if !counters.is_empty() {
            self.steps.push(Step::SetCounters(counters.into_iter().collect()));
        }
        if !heads.is_empty() {
            self.steps.push(Step::PutHeads(heads.into_iter().map(|((group, _), row)| (group, row)).collect()));
        }
    }

    fn delete(&mut self, what: Deletion, up_to: u64) {
        let gathered = self.deleted.entry(what).or_default();
        *gathered = up_to.max(*gathered);
    }

    fn flush_acknowledged(&mut self) {
        let rows = std::mem::take(&mut self.acknowledged);
        if !rows.is_empty() {
            let rows = rows.into_iter().map(|((group, device), cursor)| (group, device, cursor));
            self.steps.push(Step::SetAcknowledged(rows.collect()));
        }
    }

    fn flush_statements(&mut self) {
        let rows = std::mem::take(&mut self.statements);
        if !rows.is_empty() {
            let rows = rows.into_iter().map(|((group, by, of), statement)| (group, by, of, statement));
            self.steps.push(Step::PutStatements(rows.collect()));
        }
    }

    fn flush_entries(&mut self) {
        let mut appended = std::mem::take(&mut self.appended);
        let deleted = std::mem::take(&mut self.deleted);
        // What is deleted in the transaction that would append it never reaches the disk.
        appended.retain(|(group, row)| {
            let sender = (row.kind == EntryKind::Envelope).then_some(row.sender);
            deleted.get(&(*group, sender)).is_none_or(|up_to| row.cursor > *up_to)
        });
        if !appended.is_empty() {
            appended.sort_by_key(|(group, row)| (*group, row.cursor));
            self.steps.push(Step::Append(appended));
        }
        if !deleted.is_empty() {
            self.steps.push(Step::Delete(deleted.into_iter().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([1; 32]);
    const A: DeviceId = DeviceId([1; 16]);
    const B: DeviceId = DeviceId([2; 16]);

    fn append(cursor: u64, sender: DeviceId) -> Write {
        let row = EntryRow { cursor, kind: EntryKind::Envelope, sender, bytes: vec![0].into() };
        Write::AppendEntries(GROUP, vec![row])
    }

    #[test]
    fn pushes_and_acknowledgements_that_alternate_become_one_append_and_one_delete() {
        let mut writes = Vec::new();
        for cursor in 10..20 {
            writes.push(append(cursor, A));
            writes.push(Write::DeleteEnvelopes { group: GROUP, sender: A, up_to: cursor - 5 });
        }
        let steps = plan(writes);
        // Those up to 14 were appended and deleted in one go.
        assert!(
            matches!(&steps[..], [Step::Append(rows), Step::Delete(deleted)]
            if rows.len() == 5 && deleted[..] == [((GROUP, Some(A)), 14)]),
            "{steps:?}"
        );
    }

    #[test]
    fn a_delete_never_reaches_what_comes_after_it() {
        let steps = plan(vec![
            append(1, A),
            Write::DeleteEnvelopes { group: GROUP, sender: A, up_to: 100 },
            append(2, A),
            append(3, B),
        ]);
        assert!(matches!(&steps[..], [Step::Delete(_), Step::Append(rows)] if rows.len() == 2), "{steps:?}");
    }

    #[test]
    fn the_last_row_for_a_key_stays() {
        let steps = plan(vec![
            Write::SetAcknowledged(GROUP, A, 1),
            Write::SetAcknowledged(GROUP, A, 2),
            Write::DeleteMember(GROUP, A),
            Write::SetAcknowledged(GROUP, B, 3),
        ]);
        assert!(
            matches!(&steps[..], [Step::SetAcknowledged(a), Step::DeleteMember(..), Step::SetAcknowledged(b)]
            if a[..] == [(GROUP, A, 2)] && b[..] == [(GROUP, B, 3)]),
            "{steps:?}"
        );
    }
}
