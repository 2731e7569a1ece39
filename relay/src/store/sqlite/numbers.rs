//! The numbers by which the tables know groups.

use std::collections::{BTreeSet, HashMap};

use sqlx::sqlite::SqliteConnection;
use sync_types::GroupId;

/// How many numbers are remembered; one takes 40 bytes.
const MOST: usize = 65_536;

/// Why a group's number is always there.
const LEARNED: &str = "a transaction begins with the numbers of all its groups";

/// The writer's memory of them.
#[derive(Default)]
pub(super) struct Numbers(HashMap<GroupId, i64>);

impl Numbers {
    /// Whether all of these are known.
    pub(super) fn know(&self, groups: &BTreeSet<GroupId>) -> bool {
        groups.iter().all(|group| self.0.contains_key(group))
    }

    /// Looks up the numbers of these groups within the open transaction, and gives one to each that has none.
    pub(super) async fn learn(
        &mut self,
        on: &mut SqliteConnection,
        groups: &BTreeSet<GroupId>,
    ) -> Result<(), sqlx::Error> {
        if self.0.len() + groups.len() > MOST {
            self.0.clear();
        }
        for group in groups {
            if self.0.contains_key(group) {
                continue;
            }
            let known = sqlx::query_scalar("SELECT number FROM numbers WHERE grp = ?").bind(group.as_bytes());
            let number = match known.fetch_optional(&mut *on).await? {
                Some(number) => number,
                None => {
                    let new = sqlx::query("INSERT INTO numbers (grp) VALUES (?)").bind(group.as_bytes());
                    new.execute(&mut *on).await?.last_insert_rowid()
                }
            };
            self.0.insert(*group, number);
        }
        Ok(())
    }

    /// A group's number.
    pub(super) fn of(&self, group: &GroupId) -> i64 {
        *self.0.get(group).expect(LEARNED)
    }

    /// Forgets one: its group is gone.
    pub(super) fn remove(&mut self, group: &GroupId) {
        self.0.remove(group);
    }

    /// Forgets all: a transaction that gave some out has failed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
