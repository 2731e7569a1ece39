//! What becomes of a group at another relay over the same rows, told to those that are attached here.

use std::collections::{BTreeMap, BTreeSet};

use sync_types::DeviceId;
use sync_types::frame::EntryKind;

use super::{GroupState, NewEntries, Notice, View};
use crate::store::Bytes;

/// Of how many commits at once it is told that each is final. Of more, only the last is.
const CONFIRMED: u64 = 64;

/// What attached devices have heard of a group, as of a moment at which all of it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    newest: u64,
    confirmed_epoch: u64,
    views: BTreeMap<DeviceId, View>,
    statements: BTreeMap<(DeviceId, DeviceId), Bytes>,
    /// Welcomes that may be delivered, with the cursor of the commit that each belongs to.
    welcomes: BTreeSet<(DeviceId, u64)>,
}

impl GroupState {
    /// What is to be compared with later rows. Costs a step for each member and each statement.
    pub fn standing(&self) -> Standing {
        let may_read = |device: &DeviceId| {
            self.members.get(device).is_some_and(|m| m.removed.is_none() && !self.is_provisional_newcomer(m))
        };
        Standing {
            newest: self.counters.newest,
            confirmed_epoch: self.confirmed_epoch(),
            views: self.members.keys().filter_map(|device| Some((*device, self.view(*device)?))).collect(),
            statements: self.statements.clone(),
            welcomes: self.welcomes.iter().filter(|(d, _)| may_read(d)).map(|(d, cursor)| (*d, *cursor)).collect(),
        }
    }

    /// What devices have to hear that know the group as it was: the notices of all decisions in between, as far as they still
    /// say something. The order is that in which [`Notice`]s of one decision come.
    pub fn since(&self, before: &Standing) -> Vec<Notice> {
        let now = self.standing();
        let mut notices = Vec::new();
        if now.newest > before.newest {
            notices.push(Notice::NewEntries(NewEntries { after: before.newest, newest: now.newest, of: None }));
        }
        if now.views != before.views {
            notices.push(Notice::ViewsChanged);
        }
        let first = (before.confirmed_epoch + 1).max((now.confirmed_epoch + 1).saturating_sub(CONFIRMED));
        // Which commit began which epoch the rows do not say. Whoever was shown the last one was shown all of them.
        let cursor = self.last_confirmed_commit();
        notices.extend((first..=now.confirmed_epoch).map(|epoch| Notice::Confirmed { epoch, cursor }));
        for ((from, to), statement) in &now.statements {
            if before.statements.get(&(*from, *to)) != Some(statement) {
                notices.push(Notice::Receipt { from: *from, to: *to, statement: statement.clone() });
            }
        }
        let ready = now.welcomes.difference(&before.welcomes);
        notices.extend(ready.map(|(device, _)| Notice::WelcomeReady { device: *device }));
        notices
    }

    /// Takes over what is not on disk from the same group before it was loaded again.
    pub fn remember(&mut self, before: &Self) {
        for (device, seen) in &before.seen {
            if self.members.contains_key(device) {
                let known = self.seen.entry(*device).or_default();
                *known = (*seen).max(*known);
            }
        }
        // A commit ends all waiting for a cut.
        if self.group.epoch == before.group.epoch {
            self.waits.clone_from(&before.waits);
            self.put_off.clone_from(&before.put_off);
        }
    }

    /// The cursor of the last commit that is held and final; 0 if there is none, since then all have it.
    fn last_confirmed_commit(&self) -> u64 {
        let until = self.provisional_cursor().unwrap_or(u64::MAX);
        let held = self.held_commits().rev();
        held.filter(|row| row.kind == EntryKind::Commit && row.cursor < until).map(|row| row.cursor).next().unwrap_or(0)
    }
}
