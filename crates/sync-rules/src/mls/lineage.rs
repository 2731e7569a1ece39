//! A group keeps its id when it moves to another suite, and goes on counting its epochs. MLS makes another group then, under
//! another id and from epoch 1. So that id says both.

use mls_rs::group::GroupContext;
use sync_types::{GroupId, limits};

/// How many random bytes tell one successor from another.
pub const RANDOM: usize = 16;

/// What an MLS group is of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The group.
    pub group: GroupId,
    /// The epochs of the MLS groups before it. `None` for the group's first one.
    pub before: Option<u64>,
}

impl Lineage {
    /// Reads an MLS group id.
    pub fn of(mls_group_id: &[u8]) -> Option<Self> {
        let (group, rest) = mls_group_id.split_at_checked(GroupId::LEN)?;
        let group = GroupId::from_slice(group)?;
        match rest.split_first_chunk() {
            None if rest.is_empty() => Some(Self { group, before: None }),
            Some((before, random)) if random.len() == RANDOM => {
                let before = Some(u64::from_be_bytes(*before)).filter(|before| *before < limits::NUMBER)?;
                Some(Self { group, before: Some(before) })
            }
            _ => None,
        }
    }

    /// The group and its epoch, by an MLS group's context.
    pub fn place(context: &GroupContext) -> Option<(GroupId, u64)> {
        let lineage = Self::of(&context.group_id)?;
        Some((lineage.group, lineage.epoch(context.epoch)?))
    }

    /// The MLS group id of a successor that takes a group's place behind so many epochs.
    pub fn successor(group: &GroupId, before: u64, random: &[u8; RANDOM]) -> Vec<u8> {
        [&group.0[..], &before.to_be_bytes(), random].concat()
    }

    /// The group's epoch at an MLS group's epoch.
    pub fn epoch(&self, mls_epoch: u64) -> Option<u64> {
        self.before.unwrap_or_default().checked_add(mls_epoch)
    }

    /// The first epoch of the present suite: 0 for a group that has never moved.
    pub fn suite_since(&self) -> u64 {
        self.before.map_or(0, |before| before + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mls_group_id_says_which_group_it_is_and_from_which_epoch() {
        let group = GroupId([7; 32]);
        let first = Lineage::of(group.as_bytes()).unwrap();
        assert_eq!((first.group, first.epoch(4), first.suite_since()), (group, Some(4), 0));
        let id = Lineage::successor(&group, 9, &[1; 16]);
        let second = Lineage::of(&id).unwrap();
        assert_eq!((second.group, second.epoch(1), second.suite_since()), (group, Some(10), 10));
        assert_eq!(Lineage::of(&Lineage::successor(&group, limits::NUMBER, &[1; 16])), None);
        assert_eq!(second.epoch(u64::MAX), None);
        for len in (0..60).filter(|len| ![32, 56].contains(len)) {
            assert_eq!(Lineage::of(&vec![7; len]), None, "{len}");
        }
    }
}
