//! What becomes of requests whose transaction was not written.
//!
//! What they did to their groups in memory is undone, and they are refused or decided once more. Requests of many share a
//! transaction, so one that finds the disk full takes along those that want no room, or would make some: these are decided once
//! more, and for a moment nothing that wants room is tried.

use std::collections::HashSet;
use std::time::Duration;

use sync_types::GroupId;
use tokio::time::Instant;

use super::batch::{Batch, Decided, Outcome, Tally, about};
use super::writer::{AGAIN_MS, Writer};
use super::{Op, Request};
use crate::mailbox::Refusal;
use crate::seldom::Seldom;
use crate::store::StoreError;

/// How often something is decided on rows that others have changed in the meantime. Each time one of them got on; who is always
/// late is told to come again.
const TRIES: u8 = 32;

/// For how long nothing that wants room is tried after there was none.
const PAUSE: Duration = Duration::from_secs(1);

/// When the disk was found to be full.
#[derive(Default)]
pub(super) struct Room(Option<Instant>);

impl Room {
    /// Something was deleted: there may be some again.
    pub(super) fn note_freed(&mut self) {
        self.0 = None;
    }

    /// Whether a request wants what there is not.
    pub(super) fn lacks(&self, request: &Request) -> bool {
        self.0.is_some_and(|at| at.elapsed() < PAUSE) && wants_room(request)
    }
}

/// Whether a request asks to have something kept that may be large.
fn wants_room(request: &Request) -> bool {
    match request {
        Request::Push(envelopes) => !envelopes.is_empty(),
        Request::Create { .. }
        | Request::Commit(_)
        | Request::CopyCommits(_)
        | Request::Recovery { .. }
        | Request::KeepSnapshot(_) => true,
        _ => false,
    }
}

impl Writer {
    /// Nothing of the batch was written.
    pub(super) fn fail(&mut self, decided: Vec<Decided>, error: &StoreError) {
        static SELDOM: Seldom = Seldom::new();
        if let Some(more) = SELDOM.is_due() {
            tracing::error!(error = %error, more, "a transaction failed; its requests are refused");
        }
        self.parts.metrics.failed_transactions.add(1);
        let touched: HashSet<GroupId> = decided.iter().filter(|d| d.wrote).map(|d| d.group).collect();
        decided.iter().for_each(|decided| self.made.undo(decided.tally.used));
        for group in &touched {
            self.groups.forget(*group);
        }
        // Without anything that wants room there was none even for what frees it.
        let parts = *error == StoreError::Full
            && decided.iter().any(|decided| decided.wrote && wants_room(&decided.op.request));
        let (refused, again) = decided
            .into_iter()
            .partition(|decided| !parts || !touched.contains(&decided.group) || wants_room(&decided.op.request));
        if parts {
            self.room = Room(Some(Instant::now()));
            self.take_again(again);
        }
        self.refuse(refused, &touched, error);
    }

    fn refuse(&mut self, decided: Vec<Decided>, touched: &HashSet<GroupId>, error: &StoreError) {
        for mut decided in decided {
            // What another relay has done stands.
            if touched.contains(&decided.group) && !matches!(decided.op.request, Request::Elsewhere) {
                if matches!(decided.outcome, Outcome::Attached(_)) {
                    self.groups.detach(decided.op.session);
                }
                let refusal = Refusal::of_store(about(&decided.op.request), error);
                decided.outcome = Outcome::Refused(refusal);
                decided.tally = Tally::default();
                decided.told.clear();
            }
            self.tell(decided);
        }
        for group in touched {
            if !self.groups.devices(*group).is_empty() {
                // Whatever was due in the group is due still.
                self.groups.set_due(*group, Some(self.now_ms() + AGAIN_MS));
            }
        }
    }

    /// Nothing of these was written, since their groups were decided on as they were before another relay changed them.
    pub(super) fn decide_again(&mut self, decided: Vec<Decided>, stale: &HashSet<GroupId>) {
        tracing::debug!(groups = stale.len(), "another relay was quicker");
        for group in stale {
            if let Some(state) = self.groups.state(*group) {
                self.made.leave_out(state);
            }
            self.groups.forget(*group);
        }
        self.take_again(decided);
    }

    /// What these did to their groups in memory is undone, and the same is taken again in the same order. Nobody hears of the
    /// first time.
    fn take_again(&mut self, decided: Vec<Decided>) {
        let mut ops = Vec::new();
        let mut undone = Vec::new();
        for mut decided in decided {
            // What another relay has done stands.
            if matches!(decided.op.request, Request::Elsewhere) {
                self.tell(decided);
                continue;
            }
            let attached = matches!(decided.outcome, Outcome::Attached(_)).then_some(decided.op.session);
            undone.push((attached, decided.op.session, decided.detached.take()));
            ops.push((decided.op, decided.group));
        }
        for (attached, session, detached) in undone.into_iter().rev() {
            attached.and_then(|session| self.groups.detach(session));
            detached.and_then(|was| self.groups.attach(session, was));
        }
        let mut again = Vec::new();
        for (mut op, group) in ops {
            op.tries += 1;
            if op.tries < TRIES {
                again.push(op);
            } else {
                self.give_up(op, group);
            }
        }
        again.append(&mut self.again);
        self.again = again;
    }

    /// Others were quicker every time.
    fn give_up(&mut self, op: Op, group: GroupId) {
        if matches!(op.request, Request::Detach) {
            self.detach(op.session);
        }
        if self.groups.is_attended(group) {
            // What is due in the group is due still.
            self.groups.set_due(group, Some(self.now_ms() + AGAIN_MS));
        }
        let mut batch = Batch::default();
        let refusal = Refusal::of_store(about(&op.request), &StoreError::Busy);
        batch.add(op, group, Outcome::Refused(refusal), Tally::default(), Vec::new());
        batch.decided.into_iter().for_each(|decided| self.tell(decided));
    }
}
