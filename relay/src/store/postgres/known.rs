//! Which revision of each group this relay has decided on.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_types::GroupId;

/// How many groups are remembered; one is 50 bytes. Beyond, all are forgotten, and each is loaded again before its next commit.
const MOST: usize = 65_536;

/// The revision of each group as the last load or commit here has left it.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<GroupId, i64>>);

impl Known {
    /// No method panics halfway, so what a poisoned lock guards is whole.
    fn groups(&self) -> MutexGuard<'_, HashMap<GroupId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, group: GroupId, revision: Option<i64>) {
        let mut groups = self.groups();
        if groups.len() >= MOST {
            groups.clear();
        }
        match revision {
            Some(revision) => groups.insert(group, revision),
            None => groups.remove(&group),
        };
    }

    pub(super) fn of(&self, group: GroupId) -> Option<i64> {
        self.groups().get(&group).copied()
    }

    /// What is known of these groups, which it no more is: whether a commit of theirs goes through is not known before the
    /// end, and not even then if the connection is lost.
    pub(super) fn take(&self, groups: &BTreeSet<GroupId>) -> Vec<(GroupId, Option<i64>)> {
        let mut known = self.groups();
        groups.iter().map(|group| (*group, known.remove(group))).collect()
    }
}
