//! What was decided and waits to become durable together.

use std::collections::{BTreeSet, HashSet};

use sync_types::frame::{About, EntryKind};
use sync_types::{DeviceId, GroupId};

use super::groups::Attached;
use super::made::Change;
use super::notices::Told;
use super::{Op, Request};
use crate::mailbox::{Attachment, Decision, Refusal};
use crate::store::{Bytes, News, Write};

/// Requests that were decided and are not durable yet.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    pub(super) bytes: usize,
    pub(super) decided: Vec<Decided>,
    /// Groups to be deleted behind all that is written of them here.
    pub(super) purged: Vec<GroupId>,
}

pub(super) struct Decided {
    pub(super) op: Op,
    pub(super) group: GroupId,
    pub(super) outcome: Outcome,
    /// What others are told of it, decided with it: a later decision of the same batch changes nothing of that.
    pub(super) told: Told,
    pub(super) wrote: bool,
    /// The session that this has detached.
    pub(super) detached: Option<Attached>,
    /// What other relays are told of it.
    pub(super) news: Vec<News>,
    /// Who sleeps and is woken by it, and where.
    pub(super) sleepers: Vec<(DeviceId, Bytes)>,
    pub(super) tally: Tally,
}

pub(super) enum Outcome {
    Done(Box<Decision>),
    Attached(Box<Attachment>),
    /// For whom the group's content is kept.
    Readers(BTreeSet<DeviceId>),
    Refused(Refusal),
}

impl Outcome {
    /// Whether something was refused, and nothing is to be written.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Done(decision) => decision.refusal.is_some() && decision.writes.is_empty(),
            Self::Attached(_) | Self::Readers(_) => false,
        }
    }
}

/// What an operation does to the counters once it is durable, and has done already to those of its group's token.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) envelopes: u64,
    pub(super) bytes: u64,
    pub(super) appended: u64,
    pub(super) deleted: u64,
    pub(super) commits: u64,
    pub(super) made: u64,
    pub(super) used: Option<Change>,
}

impl Batch {
    pub(super) fn write(&mut self, writes: Vec<Write>) {
        for write in &writes {
            self.bytes += match write {
                Write::AppendEntries(_, rows) => rows.iter().map(|row| row.bytes.len()).sum(),
                Write::PutGroup(row) => row.snapshot.len() + row.group_info.len(),
                Write::PutWelcome(.., welcome) => welcome.len(),
                Write::PutStatement(_, row) => row.statement.len(),
                _ => 64,
            };
        }
        self.writes.extend(writes);
    }

    /// The groups whose state in memory is ahead of the store.
    pub(super) fn unwritten(&self) -> HashSet<GroupId> {
        self.decided.iter().filter(|decided| decided.wrote).map(|decided| decided.group).collect()
    }

    /// Whether the state of this group in memory is ahead of the store.
    pub(super) fn wrote(&self, group: GroupId) -> bool {
        self.decided.iter().any(|decided| decided.wrote && decided.group == group)
    }

    pub(super) fn add(&mut self, op: Op, group: GroupId, mut outcome: Outcome, tally: Tally, told: Told) {
        let mut wrote = false;
        if let Outcome::Done(decision) = &mut outcome {
            let writes = std::mem::take(&mut decision.writes);
            wrote = !writes.is_empty();
            self.write(writes);
        }
        self.decided.push(Decided {
            op,
            group,
            outcome,
            told,
            wrote,
            detached: None,
            news: Vec::new(),
            sleepers: Vec::new(),
            tally,
        });
    }
}

impl From<Result<Decision, Refusal>> for Outcome {
    fn from(outcome: Result<Decision, Refusal>) -> Self {
        match outcome {
            Ok(decision) => Self::Done(Box::new(decision)),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

pub(super) fn tally(outcome: &Outcome) -> Tally {
    let mut tally = Tally::default();
    let Outcome::Done(decision) = outcome else { return tally };
    for write in &decision.writes {
        if let Write::AppendEntries(_, rows) = write {
            tally.appended += rows.len() as u64;
            for row in rows.iter().filter(|row| row.kind == EntryKind::Envelope) {
                tally.envelopes += 1;
                tally.bytes += row.bytes.len() as u64;
            }
        }
    }
    tally
}

pub(super) fn about(request: &Request) -> About {
    match request {
        Request::Attach { .. }
        | Request::Create { .. }
        | Request::Recover { .. }
        | Request::Purge { .. }
        | Request::Readers { .. }
        | Request::Detach
        | Request::Timeout(_)
        | Request::Elsewhere => About::Session,
        Request::Push(_) => About::Push,
        Request::Acknowledge(_) | Request::Reject(_) | Request::WelcomeStored | Request::Vouch(_) => About::Acknowledge,
        Request::GroupInfo(_) => About::GroupInfo,
        Request::KeepSnapshot(_) => About::Kit,
        Request::SetWake(_) | Request::WakeGone { .. } => About::Wake,
        Request::Heads(_) => About::Push,
        Request::Commit(_) | Request::CopyCommits(_) | Request::Recovery { .. } => About::Commit,
        Request::Presence(_) => About::Presence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StatementRow;

    #[test]
    fn a_statement_counts_as_often_as_it_is_written() {
        let mut batch = Batch::default();
        let statement = Bytes::from(vec![0; 50_000]);
        let row = |n| StatementRow {
            acknowledger: DeviceId([0; 16]),
            sender: DeviceId([n; 16]),
            statement: statement.clone(),
        };
        batch.write((1..=100).map(|n| Write::PutStatement(GroupId([1; 32]), row(n))).collect());
        assert_eq!(batch.bytes, 5_000_000);
    }
}
