//! What the writer does where other relays work on the same rows.
//!
//! A group in memory may be behind, as another relay may have written to it a moment ago. What is decided on it then is not
//! written ([`StoreError::Stale`]), and is decided anew on what there is, while the rest of its transaction stands. Whoever is
//! attached here hears of what others have done by what has changed from the state that it knows ([`Standing`]) to the one that
//! was loaded.
//!
//! Pushes and acknowledgements are decided on what is in memory, and once more on what there is if they would be refused. What asks who is attached at other relays, or is answered
//! without a write by which it would be found out that the group is behind, looks first whether it is: attaching above all,
//! since a device comes here with what another relay has told it. That costs a question to the store, where these are rare.
//!
//! [`Standing`]: crate::mailbox::Standing

use std::collections::HashSet;

use sync_types::GroupId;
use tokio::sync::mpsc;

use super::batch::{Batch, Decided, Outcome, Tally, about};
use super::groups::{Attached, Loading, Place, Short};
use super::writer::{AGAIN_MS, Writer};
use super::{Op, Request, SessionId, notices};
use crate::mailbox::{GroupState, Notice, Refusal, first_cursor};
use crate::seldom::Seldom;
use crate::store::{Elsewhere, GroupRows, Heard, News, Shared, Store, StoreError};

/// A group that was asked of the store.
pub(super) struct Loaded {
    pub(super) group: GroupId,
    pub(super) found: Result<Found, StoreError>,
}

/// What the store says of a group.
pub(super) struct Found {
    /// `None` if it is as it was; the inner one if there is no such group.
    pub(super) rows: Option<Option<GroupRows>>,
    pub(super) elsewhere: Elsewhere,
}

/// What other relays do; nothing ever, where there are none.
pub(super) async fn next(heard: &mut Option<mpsc::Receiver<Heard>>) -> Option<Heard> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}

/// `unless_same`: only if another relay has changed it.
async fn find(store: &dyn Store, group: GroupId, unless_same: bool) -> Result<Found, StoreError> {
    let shared = store.shared();
    let same = match shared {
        Some(shared) if unless_same => shared.changed(vec![group]).await?.is_empty(),
        _ => false,
    };
    let rows = if same { None } else { Some(store.load(group).await?) };
    let elsewhere = match shared {
        Some(shared) => shared.elsewhere(group).await?,
        None => Elsewhere::default(),
    };
    Ok(Found { rows, elsewhere })
}

impl Writer {
    pub(super) fn shared(&self) -> Option<&dyn Shared> {
        self.parts.store.shared()
    }

    /// Finds the cursor behind which groups get theirs.
    pub(super) async fn begin(&mut self) {
        let first = first_cursor(self.now_ms());
        self.first_cursor = match self.shared() {
            None => first,
            Some(shared) => shared.begin(first).await.unwrap_or_else(|error| {
                // A cursor of its own would be unknown to the others. Each group that is loaded says what all have.
                tracing::error!(%error, "the store does not take this relay's first cursor");
                0
            }),
        };
    }

    /// Asks the store for a group.
    pub(super) fn load(&mut self, group: GroupId, loading: Loading) {
        let unless_same = loading.kept.is_some();
        self.groups.set(group, Place::Loading(loading));
        let store = self.parts.store.clone();
        self.loads.spawn(async move { Loaded { group, found: find(&*store, group, unless_same).await } });
    }

    /// Goes on with what has waited for a group.
    pub(super) fn take_loaded(&mut self, loaded: Loaded, batch: &mut Batch) {
        let Loaded { group, found } = loaded;
        let Some(Place::Loading(Loading { waiting, behind, kept, again })) = self.groups.forget(group) else { return };
        match found {
            Ok(Found { rows, elsewhere }) => {
                self.first_cursor = self.first_cursor.max(elsewhere.first_cursor);
                self.number = elsewhere.number;
                self.groups.set_elsewhere(group, elsewhere.attached);
                let state = match rows {
                    None => kept,
                    Some(rows) => {
                        kept.iter().for_each(|before| self.made.leave_out(before));
                        rows.map(|rows| {
                            let mut state = Box::new(GroupState::from_rows(rows));
                            kept.iter().for_each(|before| state.remember(before));
                            state
                        })
                    }
                };
                self.made.take_in(group, state.as_deref());
                if let Some(mut state) = state {
                    state.begin_at(self.first_cursor);
                    let due = self.due(&state);
                    self.groups.set_due(group, due);
                    self.groups.set(group, Place::Here(state));
                    // After a failed transaction they have those of a state that never was.
                    self.groups.share_keys(group);
                    self.tell_since(group, batch);
                } else {
                    // The host has deleted it, at another relay of the same rows: whoever is attached comes anew.
                    self.groups.end(group);
                }
            }
            Err(e) => {
                static SELDOM: Seldom = Seldom::new();
                if let Some(more) = SELDOM.is_due() {
                    tracing::error!(group = %Short(group), error = %e, more, "a group cannot be loaded");
                }
                self.groups.set_due(
                    group,
                    Some(self.now_ms() + 60 * AGAIN_MS).filter(|_| !self.groups.devices(group).is_empty()),
                );
                for op in waiting.into_iter().chain(behind) {
                    self.refuse_unloaded(op, group, &e, batch);
                }
                return;
            }
        }
        for op in waiting {
            self.decide(op, group, true, batch);
        }
        if !behind.is_empty() {
            self.look_for(behind, group, batch);
        } else if again {
            self.look_again(group, batch);
        }
    }

    /// Decides about what came while a group was loaded, after another load: that one has all that other relays had done until
    /// then. One is enough for all of it, or who comes to a group that others write to would wait for a moment in which
    /// they do not.
    fn look_for(&mut self, ops: Vec<Op>, group: GroupId, batch: &Batch) {
        if batch.wrote(group) {
            // A group is not loaded while its transaction is under way. Nothing else is behind these yet.
            return self.again.extend(ops);
        }
        let kept = match self.groups.forget(group) {
            Some(Place::Here(state)) => Some(state),
            _ => None,
        };
        self.load(group, Loading { waiting: ops, kept, ..Loading::default() });
    }

    fn refuse_unloaded(&mut self, op: Op, group: GroupId, error: &StoreError, batch: &mut Batch) {
        if matches!(op.request, Request::Detach) {
            self.detach(op.session);
            return;
        }
        if matches!(op.request, Request::Purge { .. }) {
            // What cannot be read can be deleted all the same.
            return self.purge(op, group, batch);
        }
        let refusal = Refusal::of_store(about(&op.request), error);
        batch.add(op, group, Outcome::Refused(refusal), Tally::default(), Vec::new());
    }

    /// Whether this is decided only after a look at what other relays have done.
    pub(super) fn looks_elsewhere(&self, request: &Request) -> bool {
        let looks = matches!(
            request,
            Request::Attach { .. }
                | Request::Readers { .. }
                | Request::Create { .. }
                | Request::Recover { .. }
                | Request::Recovery { .. }
                | Request::Commit(_)
                | Request::Timeout(_)
                | Request::Detach
        );
        looks && self.shared().is_some()
    }

    /// Decides about a request once it is known that the group in memory is not behind.
    pub(super) fn look_first(&mut self, op: Op, group: GroupId, batch: &Batch) {
        if batch.wrote(group) {
            // A group is not loaded while its transaction is under way.
            return self.again.push(op);
        }
        if let Some(Place::Here(state)) = self.groups.forget(group) {
            self.load(group, Loading { waiting: vec![op], kept: Some(state), ..Loading::default() });
        }
    }

    /// Another relay has written to a group.
    pub(super) fn look_again(&mut self, group: GroupId, batch: &Batch) {
        let attended = self.groups.is_attended(group);
        match self.groups.place(group) {
            Some(Place::Loading(loading)) => loading.again = true,
            // If it is behind, its transaction says so.
            Some(Place::Here(_)) if batch.wrote(group) => {}
            None if !attended => {}
            _ => {
                let kept = match self.groups.forget(group) {
                    Some(Place::Here(state)) => Some(state),
                    _ => None,
                };
                if attended {
                    self.load(group, Loading { kept, ..Loading::default() });
                }
            }
        }
    }

    /// Does what another relay's word asks for.
    pub(super) async fn hear(&mut self, heard: Heard, batch: &mut Batch) {
        match heard {
            Heard::Group(group) => self.look_again(group, batch),
            Heard::Look => self.look(batch).await,
            Heard::News(News::Attached { group, device, number }) => {
                self.groups.came_elsewhere(group, device);
                if let Some(waker) = &self.parts.waker {
                    waker.came((group, device));
                }
                let Some(session) = self.groups.session_of(group, device) else { return };
                // It goes on there, and its connection to here hangs, unless it has come back since.
                if self.groups.session(session).is_some_and(|here| here.number < number)
                    && let Some(old) = self.groups.detach(session)
                {
                    old.inbox.close();
                }
            }
            Heard::News(News::Detached(group, device)) => self.groups.left_elsewhere(group, device),
            Heard::News(News::Presence { group, from, envelope }) => {
                self.tell_here(group, vec![Notice::Presence { from, envelope }], batch);
            }
            Heard::News(News::Renew(group, device)) => self.tell_here(group, vec![Notice::Renew { device }], batch),
        }
    }

    /// Looks whether something of the groups was missed that somebody is attached to here, and what was done with access tokens
    /// at other relays.
    async fn look(&mut self, batch: &Batch) {
        if self.parts.access.is_counted() {
            self.made.recount();
        }
        let store = self.parts.store.clone();
        self.served.save(&*store, std::time::Duration::ZERO).await;
        self.served.catch_up(&*store).await;
        let Some(shared) = store.shared() else { return };
        let attended = self.groups.attended();
        if attended.is_empty() {
            return;
        }
        match shared.changed(attended).await {
            Ok(changed) => changed.into_iter().for_each(|group| self.look_again(group, batch)),
            Err(error) => tracing::warn!(%error, "it cannot be seen what other relays have written"),
        }
    }

    /// Tells those that are attached what has become of their group since they last heard of it.
    pub(super) fn tell_since(&mut self, group: GroupId, batch: &mut Batch) {
        if self.shared().is_none() {
            return;
        }
        let Some(standing) = self.groups.state(group).map(|state| state.standing()) else { return };
        let before = self.groups.set_standing(group, standing);
        let state = self.groups.state(group);
        let notices = state.zip(before).map(|(state, before)| state.since(&before)).unwrap_or_default();
        self.tell_here(group, notices, batch);
    }

    /// Tells it behind what was decided before, as that is told when it is durable.
    fn tell_here(&mut self, group: GroupId, notices: Vec<Notice>, batch: &mut Batch) {
        let told = notices::events(&self.groups, group, notices);
        if !told.is_empty() {
            let done = Outcome::Done(Box::default());
            batch.add(Op::by_itself(Request::Elsewhere), group, done, Tally::default(), told);
        }
    }

    /// A batch is durable: those that are attached know their groups as they are now.
    pub(super) fn note_standings(&mut self, decided: &[Decided]) {
        if self.shared().is_none() {
            return;
        }
        let written: HashSet<GroupId> = decided.iter().filter(|d| d.wrote).map(|d| d.group).collect();
        for group in written {
            if let Some(standing) = self.groups.state(group).map(|state| state.standing()) {
                self.groups.set_standing(group, standing);
            }
        }
    }

    /// What of these notices is for devices at other relays and stands in no row.
    pub(super) fn news(&self, group: GroupId, notices: &[Notice]) -> Vec<News> {
        if self.shared().is_none() {
            return Vec::new();
        }
        let news = |notice: &Notice| match notice {
            Notice::Presence { from, envelope } => {
                Some(News::Presence { group, from: *from, envelope: envelope.clone() })
            }
            Notice::Renew { device } if self.groups.session_of(group, *device).is_none() => {
                Some(News::Renew(group, *device))
            }
            _ => None,
        };
        notices.iter().filter_map(news).collect()
    }

    /// Forgets a session, and tells the others that its device is not here.
    pub(super) fn detach(&mut self, session: SessionId) -> Option<Attached> {
        let gone = self.groups.detach(session)?;
        if let Some(shared) = self.shared() {
            shared.tell(News::Detached(gone.group, gone.device));
        }
        Some(gone)
    }
}
