//! The relay's state, told apart from others by what can still happen.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use sync_relay::mailbox::GroupState;
use sync_relay::store::GroupRows;

/// A group's state, and what of it is looked at again and again.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Known {
    state: GroupState,
    pub(super) rows: GroupRows,
    /// The cursor of the commit that may yet be undone.
    pub(super) provisional: Option<u64>,
    /// Of all that decides what can still happen.
    hash: u64,
}

impl Known {
    pub(super) fn of(state: GroupState) -> Arc<Self> {
        let rows = state.rows();
        let mut hasher = DefaultHasher::new();
        for m in &rows.members {
            (m.device, m.added, m.start, m.acknowledged, m.removed.map(|r| r.cursor)).hash(&mut hasher);
        }
        for head in &rows.heads {
            (head.sender, head.head.seq, head.head.hash, head.cut).hash(&mut hasher);
        }
        for row in &rows.index {
            (row.cursor, row.kind, row.sender).hash(&mut hasher);
        }
        for welcome in &rows.welcomes {
            (welcome.device, welcome.cursor).hash(&mut hasher);
        }
        let group = &rows.group;
        let provisional = group.provisional.as_ref().map(|p| p.cursor);
        (rows.counters.newest, rows.settled, group.epoch, group.last_commit).hash(&mut hasher);
        (&group.rejected, provisional).hash(&mut hasher);
        Arc::new(Self { hash: hasher.finish(), provisional, rows, state })
    }
}

impl Deref for Known {
    type Target = GroupState;
    fn deref(&self) -> &GroupState {
        &self.state
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash.hash(hasher);
    }
}
