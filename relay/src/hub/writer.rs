//! The one task that decides and writes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sync_sqlite::crash::point;
use sync_types::frame::{About, Attach, FromRelay};
use sync_types::{Code, DeviceId, GroupId, Opaque};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::batch::{Batch, Decided, Outcome, Tally, about, tally};
use super::groups::{Attached, Groups, Loading, Place, Short};
use super::made::{Change, Made};
use super::others::{Loaded, next};
use super::served::Served;
use super::unwritten::Room;
use super::{Event, Inbox, Op, Parts, Request, SessionId, notices, now_ms};
use crate::config::Admitted;
use crate::crash;
use crate::mailbox::{Attachment, CommitContext, Decision, GroupState, Kit, Proof, Refusal};
use crate::store::{News, Shared, StoreError, Write};

/// How many requests share a transaction.
const BATCH: usize = 192;
/// How many bytes of entries share a transaction, so that nobody waits long for a flush of others' data.
const BATCH_BYTES: usize = 4 << 20;
/// After how long a group whose transaction failed is looked at again by itself, in milliseconds.
pub(super) const AGAIN_MS: u64 = 1_000;

/// How long nobody has to ask for anything before the store is tidied, and between two steps of that.
const IDLE: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_millis(20);

/// How often it is noted for how long the relay has run, while anything happens.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Why the result of a load is always there.
const LOADS: &str = "a store returns errors, and nobody aborts a load";

pub(super) struct Writer {
    pub(super) parts: Parts,
    pub(super) groups: Groups,
    /// At most one for each group that somebody asks for.
    pub(super) loads: JoinSet<Loaded>,
    /// When the store may be tidied; set by each transaction.
    tidy_at: Option<Instant>,
    /// Behind which groups get their cursors.
    pub(super) first_cursor: u64,
    /// What puts whoever attaches now in order with what their devices do at other relays.
    pub(super) number: u64,
    pub(super) served: Served,
    /// What comes first in the next batch, in this order.
    pub(super) again: Vec<Op>,
    pub(super) made: Made,
    pub(super) room: Room,
}

impl Writer {
    pub(super) fn new(parts: Parts) -> Self {
        let groups = Groups::new(parts.limits.groups_cached);
        let served = Served::new(parts.forward.clone());
        let made = Made::new(parts.access.clone());
        Self {
            groups,
            parts,
            loads: JoinSet::new(),
            tidy_at: None,
            first_cursor: 0,
            number: 0,
            served,
            again: Vec::new(),
            made,
            room: Room::default(),
        }
    }

    pub(super) async fn run(mut self, mut ops: mpsc::Receiver<Op>, mut stop: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut done = None;
        // Nobody asks for anything any more; what was asked is answered still.
        let mut ended = false;
        self.served.load(&*self.parts.store).await;
        self.begin().await;
        let mut heard = self.shared().and_then(Shared::heard);
        let mut forwarded = self.parts.forward.watch();
        loop {
            self.made.load(&self.parts.store).await;
            let mut batch = Batch::default();
            let now_ms = self.now_ms();
            tokio::select! {
                biased;
                told = stop.recv(), if done.is_none() => {
                    // Whatever is queued is answered; nothing is taken in any more.
                    ops.close();
                    done = Some(told);
                }
                () = std::future::ready(()), if !self.again.is_empty() => {
                    std::mem::take(&mut self.again).into_iter().for_each(|op| self.take(op, &mut batch));
                }
                () = self.made.counted() => {}
                Some(loaded) = self.loads.join_next() => self.take_loaded(loaded.expect(LOADS), &mut batch),
                Some(heard) = next(&mut heard) => self.hear(heard, &mut batch).await,
                op = ops.recv(), if !ended => match op {
                    Some(op) => self.take(op, &mut batch),
                    None => ended = true,
                },
                () = until(self.groups.next_due(), now_ms) => self.take_due(&mut batch),
                Ok(()) = forwarded.changed() => self.take_due(&mut batch),
                () = sleep_until(self.tidy_at.unwrap_or_else(Instant::now)), if self.tidy_at.is_some() => {
                    self.tidy().await;
                }
            }
            // What came while the last transaction was on its way shares the next one.
            while self.again.is_empty() && batch.decided.len() < BATCH && batch.bytes < BATCH_BYTES {
                if let Some(loaded) = self.loads.try_join_next() {
                    self.take_loaded(loaded.expect(LOADS), &mut batch);
                } else if let Some(heard) = heard.as_mut().and_then(|heard| heard.try_recv().ok()) {
                    self.hear(heard, &mut batch).await;
                } else if let Ok(op) = ops.try_recv() {
                    self.take(op, &mut batch);
                } else {
                    break;
                }
            }
            self.finish(batch).await;
            self.served.save(&*self.parts.store, SAVE_EVERY).await;
            if ended && self.loads.is_empty() && self.again.is_empty() {
                break;
            }
        }
        self.served.save(&*self.parts.store, Duration::ZERO).await;
        for inbox in self.groups.all_inboxes() {
            inbox.close();
        }
        if let Some(Some(done)) = done {
            let _ = done.send(());
        }
    }

    async fn tidy(&mut self) {
        self.tidy_at = match self.parts.store.tidy().await {
            Ok(true) => Some(Instant::now() + TIDY_EVERY),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(%error, "the store cannot be tidied; it is tried again after the next transaction");
                None
            }
        };
    }

    fn take_due(&mut self, batch: &mut Batch) {
        for group in self.groups.take_due(self.now_ms()) {
            self.take(Op::by_itself(Request::Timeout(group)), batch);
        }
    }

    /// Decides about a request now, or once its group is in memory.
    pub(super) fn take(&mut self, op: Op, batch: &mut Batch) {
        if !self.again.is_empty() {
            // Nothing overtakes what waits for the next batch.
            return self.again.push(op);
        }
        let group = match &op.request {
            Request::Attach { attach, .. } | Request::Create { attach, .. } | Request::Readers { attach, .. } => {
                Some(attach.group)
            }
            Request::Timeout(group)
            | Request::Recover { group, .. }
            | Request::Recovery { group, .. }
            | Request::WakeGone { group, .. }
            | Request::Purge { group, .. } => Some(*group),
            _ => self.groups.session(op.session).map(|attached| attached.group),
        };
        // A session that was refused, or replaced by another of its device, asks in vain.
        let Some(group) = group else { return };
        let looks_elsewhere = self.looks_elsewhere(&op.request);
        match self.groups.place(group) {
            Some(Place::Here(_)) if looks_elsewhere => self.look_first(op, group, batch),
            Some(Place::Here(_)) => self.decide(op, group, false, batch),
            Some(Place::Loading(loading)) if looks_elsewhere || !loading.behind.is_empty() => loading.behind.push(op),
            Some(Place::Loading(loading)) => loading.waiting.push(op),
            None => {
                self.groups.evict(|| batch.unwritten());
                self.load(group, Loading { waiting: vec![op], ..Loading::default() });
            }
        }
    }

    /// Has a group deleted with this batch, behind whatever else the batch writes of it.
    pub(super) fn purge(&mut self, op: Op, group: GroupId, batch: &mut Batch) {
        batch.purged.push(group);
        batch.add(op, group, Outcome::Done(Box::default()), Tally::default(), Vec::new());
        if let Some(decided) = batch.decided.last_mut() {
            decided.wrote = true;
        }
    }

    /// `looked`: the group was asked of the store for this.
    pub(super) fn decide(&mut self, op: Op, group: GroupId, looked: bool, batch: &mut Batch) {
        if self.room.lacks(&op.request) {
            let refusal = Refusal::of_store(about(&op.request), &StoreError::Full);
            return batch.add(op, group, Outcome::Refused(refusal), Tally::default(), Vec::new());
        }
        let (now, served) = (self.now_ms(), self.served.ms());
        let device = self.groups.session(op.session).map(|attached| attached.device);
        let mut detached = None;
        let attached = match op.request {
            Request::Detach => {
                detached = self.detach(op.session);
                if detached.is_none() {
                    return;
                }
                self.groups.everywhere(group)
            }
            Request::Commit(_) | Request::Recovery { .. } | Request::Timeout(_) => self.groups.everywhere(group),
            _ => BTreeSet::new(),
        };
        let (mut raised, mut made) = (Vec::new(), false);
        let observe = self.parts.observe.clone();
        let state = match self.groups.place(group) {
            Some(Place::Here(state)) => Some(state),
            _ => None,
        };
        let before = state.as_ref().map_or(Default::default(), |state| state.counters());
        let quotas = self.parts.quotas;
        let limits = state.as_ref().map_or(quotas, |state| self.made.limits(state, quotas));
        let mut outcome = match (&op.request, state, device) {
            (Request::Attach { attach, proof, inbox }, Some(state), _) => {
                let outcome = state.attach(attach, proof);
                self.admit(op.session, attach, inbox, outcome)
            }
            (Request::Create { attach, proof, group_info, inbox, .. }, Some(state), _) => {
                match state.create_again(&*observe, attach, proof, group_info, now) {
                    Ok((attachment, decision)) => {
                        // Who is attached hears of it before whoever brings it is one of them.
                        raised = decision.notices;
                        batch.write(decision.writes);
                        self.admit(op.session, attach, inbox, Ok(attachment))
                    }
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            (Request::Create { attach, proof, group_info, token, within, inbox }, None, _) => {
                let admitted = self.made.admit(token, *within, now);
                match admitted.and_then(|admitted| self.create(attach, proof, group_info, admitted, now)) {
                    Ok((attachment, decision)) => {
                        let outcome = self.admit(op.session, attach, inbox, Ok(attachment));
                        batch.write(decision.writes);
                        made = true;
                        outcome
                    }
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            (Request::Purge { .. }, Some(_), _) => return self.purge(op, group, batch),
            (Request::Readers { attach, proof, .. }, Some(state), _) => match state.readers(attach, proof) {
                Ok(readers) => Outcome::Readers(readers),
                Err(refusal) => Outcome::Refused(refusal),
            },
            (Request::Attach { .. } | Request::Readers { .. } | Request::Purge { .. }, None, _) => {
                let message = "the relay knows no such group";
                Outcome::Refused(Refusal::new(About::Session, Code::UnknownGroup, message))
            }
            (Request::Push(envelopes), Some(state), Some(device)) => {
                self.parts.metrics.pushes.add(1);
                state.push(device, envelopes, &limits, now).into()
            }
            (Request::Acknowledge(request), Some(state), Some(device))
                if request.device().is_some_and(|by| by != device) =>
            {
                state.carry(device, request, self.served.ms()).into()
            }
            (Request::Acknowledge(request), Some(state), Some(device)) => state.acknowledge(device, request).into(),
            (Request::Commit(request), Some(state), Some(device)) => {
                let context = CommitContext { observe: &*observe, limits: &limits, attached: &attached, now_ms: now };
                state.commit(device, request, context).into()
            }
            (Request::CopyCommits(request), Some(state), Some(device)) => {
                let context = CommitContext { observe: &*observe, limits: &limits, attached: &attached, now_ms: now };
                state.copy_commits(device, request, context).into()
            }
            (Request::Reject(bytes), Some(state), Some(device)) => state.reject(device, bytes).into(),
            (Request::Presence(envelope), Some(state), Some(device)) => state.presence(device, envelope.clone()).into(),
            (Request::WelcomeStored, Some(state), Some(device)) => state.welcome_stored(device).into(),
            (Request::GroupInfo(signer), Some(state), Some(device)) => state.group_info(device, *signer).into(),
            (Request::Heads(heads), Some(state), Some(device)) => state.take_heads(device, heads).into(),
            (Request::Vouch(vouch), Some(state), Some(device)) => state.vouch(device, vouch).into(),
            (Request::KeepSnapshot(snapshot), Some(state), Some(device)) => {
                state.keep_snapshot(device, snapshot).into()
            }
            (Request::SetWake(target), Some(state), Some(device)) => state.set_wake(device, target.as_deref()).into(),
            (Request::WakeGone { device, target, .. }, Some(state), _) => {
                Outcome::Done(Box::new(state.wake_gone(*device, target)))
            }
            (Request::Recover { kit, .. }, Some(state), _) => state.recoverable(*kit).into(),
            (Request::Recovery { kit, recovery, .. }, Some(state), _) => {
                let context = CommitContext { observe: &*observe, limits: &limits, attached: &attached, now_ms: now };
                state.recover(*kit, recovery, context).into()
            }
            (Request::Recover { .. } | Request::Recovery { .. }, None, _) => Outcome::Refused(Kit::unknown()),
            (Request::Detach, Some(state), _) => Outcome::Done(Box::new(state.detached(&attached))),
            (Request::Timeout(_), Some(state), _) => {
                let mut decision = state.timeout(now);
                decision.writes.extend(state.lapse(served, limits.max_lag_ms, &attached).writes);
                Outcome::Done(Box::new(decision))
            }
            // The store lost a group that sessions are attached to, or a session that is gone asked.
            _ => return,
        };
        if !looked && self.shared().is_some() && outcome.is_refused() {
            // It changed nothing, so no transaction would find out that another relay has done what it lacks.
            return self.look_first(op, group, batch);
        }
        let created = matches!((&op.request, &outcome), (Request::Create { .. }, Outcome::Attached(_)));
        let wrote = self.note_seen(&op.request, group, device, &mut outcome, batch);
        let Some(state) = self.groups.state(group) else {
            return batch.add(op, group, outcome, Tally::default(), Vec::new());
        };
        let mut tally = tally(&outcome);
        tally.made = u64::from(made);
        tally.used = Change::since(state, before.bytes, made);
        self.made.apply(tally.used);
        let after = state.counters();
        tally.deleted = (before.entries + tally.appended).saturating_sub(after.entries);
        tally.commits = match op.request {
            Request::Commit(_) | Request::Recovery { .. } => tally.appended.min(1),
            Request::CopyCommits(_) => tally.appended,
            _ => 0,
        };
        let due = self.due(state);
        self.groups.set_due(group, due);
        if tally.commits > 0 {
            self.groups.share_keys(group);
        }
        let noticed = match &mut outcome {
            Outcome::Done(decision) => std::mem::take(&mut decision.notices),
            _ => raised,
        };
        let news = self.news(group, &noticed);
        let sleepers = match &detached {
            Some(gone) => self.left_behind(gone),
            None => self.sleepers(group, &noticed),
        };
        let told = notices::events(&self.groups, group, noticed);
        batch.add(op, group, outcome, tally, told);
        if let Some(decided) = batch.decided.last_mut() {
            decided.wrote |= created || wrote;
            (decided.detached, decided.news, decided.sleepers) = (detached, news, sleepers);
        }
    }

    /// Who asks for something is there. True if something was written of that beside what the decision writes.
    fn note_seen(
        &mut self,
        request: &Request,
        group: GroupId,
        device: Option<DeviceId>,
        outcome: &mut Outcome,
        batch: &mut Batch,
    ) -> bool {
        let device = match (request, &*outcome) {
            (Request::Attach { attach, .. } | Request::Create { attach, .. }, Outcome::Attached(_)) => {
                Some(attach.device)
            }
            (Request::Attach { .. } | Request::Create { .. }, _) => None,
            _ => device,
        };
        let served = self.served.ms();
        let Some(Place::Here(state)) = self.groups.place(group) else { return false };
        let Some(write) = device.and_then(|device| state.sign_of_life(device, served)) else { return false };
        match outcome {
            Outcome::Done(decision) => decision.writes.push(write),
            Outcome::Attached(_) | Outcome::Readers(_) | Outcome::Refused(_) => {
                batch.write(vec![write]);
                return true;
            }
        }
        false
    }

    /// When something is due in a group, in milliseconds since the Unix epoch.
    pub(super) fn due(&self, state: &GroupState) -> Option<u64> {
        let now = self.now_ms();
        let served = self.served.ms();
        let lapse =
            state.next_lapse(self.parts.quotas.max_lag_ms).map(|at| now.saturating_add(at.saturating_sub(served)));
        [state.next_timeout(), lapse].into_iter().flatten().min()
    }

    pub(super) fn now_ms(&self) -> u64 {
        now_ms().saturating_add(self.parts.forward.ms())
    }

    fn create(
        &mut self,
        attach: &Attach,
        proof: &Proof,
        group_info: &Opaque,
        admitted: Admitted,
        now: u64,
    ) -> Result<(Attachment, Decision), Refusal> {
        let (mut state, mut decision) = GroupState::create(&*self.parts.observe, attach, proof, group_info, now)?;
        state.begin_at(self.first_cursor);
        let attachment = state.attach(attach, proof)?;
        if let Admitted::By(grant) = admitted {
            decision.writes.push(state.set_token(grant.hash));
        }
        self.groups.set(attach.group, Place::Here(Box::new(state)));
        Ok((attachment, decision))
    }

    /// Notes an attached session at once, so that what is decided after it reaches it too.
    fn admit(
        &mut self,
        session: SessionId,
        attach: &Attach,
        inbox: &Arc<Inbox>,
        outcome: Result<Attachment, Refusal>,
    ) -> Outcome {
        match outcome {
            // Gone before it was attached.
            Ok(attachment) if inbox.is_closed() => Outcome::Attached(Box::new(attachment)),
            Ok(attachment) => {
                let (group, device) = (attach.group, attach.device);
                let newest = self.groups.state(group).map_or(0, |state| state.counters().newest);
                let attached = Attached { group, device, inbox: inbox.clone(), number: self.number, newest };
                // A device that comes back before its old connection was found dead goes on with the new one.
                if let Some(before) = self.groups.attach(session, attached) {
                    if let Some(old) = self.groups.session(before) {
                        old.inbox.close();
                    }
                    self.groups.detach(before);
                }
                if let Some(state) = self.groups.state(group) {
                    inbox.set_keys(Arc::new(state.keys()));
                }
                Outcome::Attached(Box::new(attachment))
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Makes a batch durable and then, not before, tells everybody about it.
    async fn finish(&mut self, batch: Batch) {
        let Batch { mut writes, mut decided, mut purged, .. } = batch;
        writes.extend(purged.iter().map(|group| Write::DeleteGroup(*group)));
        if !writes.is_empty() {
            point(crash::BEFORE_COMMIT);
            match self.parts.store.commit(writes).await {
                Ok(()) => {}
                Err(StoreError::Stale(groups)) => {
                    let stale = HashSet::from_iter(groups);
                    let (again, written) = decided.into_iter().partition(|decided| stale.contains(&decided.group));
                    decided = written;
                    purged.retain(|group| !stale.contains(group));
                    self.decide_again(again, &stale);
                }
                Err(e) => return self.fail(decided, &e),
            }
            self.parts.metrics.transactions.add(1);
            self.tidy_at = Some(Instant::now() + IDLE);
            point(crash::AFTER_COMMIT_BEFORE_REPLY);
            self.note_standings(&decided);
            if !purged.is_empty() || decided.iter().any(|decided| decided.tally.deleted > 0) {
                self.room.note_freed();
            }
        }
        for decided in decided {
            self.tell(decided);
        }
        for group in purged {
            match self.groups.state(group) {
                Some(state) => self.made.undo(Change::of(state)),
                // It could not be read.
                None => self.made.recount(),
            }
            self.parts.metrics.entries.add(-(self.groups.end(group) as i64));
            self.parts.metrics.groups.add(-1);
            self.parts.metrics.groups_purged.add(1);
            tracing::info!(group = %Short(group), "the host deleted a group");
        }
        self.parts.metrics.groups_cached.set(self.groups.len() as i64);
    }

    pub(super) fn tell(&self, decided: Decided) {
        let Decided { op, group, outcome, told, news, sleepers, tally, .. } = decided;
        if let Some(waker) = &self.parts.waker {
            if let (Outcome::Attached(_), Some(here)) = (&outcome, self.groups.session(op.session)) {
                waker.came((here.group, here.device));
            }
            sleepers.iter().for_each(|(device, target)| waker.wake((group, *device), target));
        }
        if let Some(shared) = self.shared() {
            news.into_iter().for_each(|news| shared.tell(news));
            if let (Outcome::Attached(_), Some(here)) = (&outcome, self.groups.session(op.session)) {
                shared.tell(News::Attached { group: here.group, device: here.device, number: here.number });
            }
        }
        if let Request::Purge { done, .. } = op.request {
            // Whoever asked may have gone.
            let _ = done.send(if let Outcome::Refused(refusal) = outcome { Err(refusal) } else { Ok(()) });
            return;
        }
        if let Request::Readers { done, .. } = op.request {
            let found = match outcome {
                Outcome::Readers(readers) => Ok(readers),
                Outcome::Refused(refusal) => Err(refusal),
                // It is answered by one of these.
                Outcome::Done(_) | Outcome::Attached(_) => return,
            };
            // Whoever asked may have gone.
            let _ = done.send(found);
            return;
        }
        let inbox = match &op.request {
            Request::Attach { inbox, .. }
            | Request::Create { inbox, .. }
            | Request::Recover { inbox, .. }
            | Request::Recovery { inbox, .. } => Some(inbox),
            _ => self.groups.session(op.session).map(|attached| &attached.inbox),
        };
        let put = |event| {
            if let Some(inbox) = inbox {
                inbox.put(event);
            }
        };
        match outcome {
            Outcome::Refused(refusal) => {
                self.parts.metrics.refused(refusal.code);
                // Nobody asked for what is due by itself.
                if !matches!(op.request, Request::Timeout(_) | Request::Detach | Request::Elsewhere) {
                    put(Event::Refused(refusal));
                }
            }
            Outcome::Attached(attachment) => {
                self.parts.metrics.groups.add(tally.made as i64);
                self.parts.metrics.groups_made.add(tally.made);
                put(Event::Attached(attachment));
            }
            Outcome::Readers(_) => {}
            Outcome::Done(decision) => {
                self.count(&op, &decision, tally);
                if let Some(reply) = decision.reply {
                    put(Event::Reply(reply));
                }
                if let Some(refusal) = decision.refusal {
                    self.parts.metrics.refused(refusal.code);
                    put(Event::Refused(refusal));
                }
            }
        }
        for (inbox, event) in told {
            inbox.put(event);
        }
    }

    fn count(&self, op: &Op, decision: &Decision, tally: Tally) {
        let metrics = &self.parts.metrics;
        metrics.entries.add(tally.appended as i64 - tally.deleted as i64);
        metrics.deleted.add(tally.deleted);
        metrics.commits.add(tally.commits);
        if matches!(op.request, Request::Push(_)) && matches!(decision.reply, Some(FromRelay::Accepted(_))) {
            metrics.accepted.add(tally.envelopes);
            metrics.accepted_bytes.add(tally.bytes);
            metrics.append.record(op.came.elapsed(), tally.envelopes);
        }
    }
}

/// Until something is due; for ever if nothing is.
async fn until(due_ms: Option<u64>, now_ms: u64) {
    match due_ms {
        Some(due) => tokio::time::sleep(Duration::from_millis(due.saturating_sub(now_ms))).await,
        None => std::future::pending().await,
    }
}
