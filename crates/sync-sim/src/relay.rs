//! The relay of a simulated world: the real mailbox, sessions and store behind a group commit that can be cut short.

mod inject;
mod kits;
mod lapse;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use mls_rs::CryptoProvider;
use sync_relay::mailbox::{
    Attachment, CommitContext, Decision, GroupState, Kit, Limits, Notice, Proof, Refusal, Stated, Verifying, View,
};
use sync_relay::session::{Action, Ask, Rates, Session};
use sync_relay::store::{EntriesQuery, EntryRow, GroupRows, MemoryStore, Store, StoreError, StoreFuture, Write};
use sync_rules::Observer;
use sync_types::frame::{About, Attach, EntryKind, FromRelay, ToRelay};
use sync_types::{Code, DeviceId, GroupId, Opaque};

use crate::crypto::InsecureCrypto;
use crate::model::{self, Op};
use crate::mutation::Mutation;
use crate::watching::Watching;

pub(crate) type ConnId = u64;

/// What the relay wants done with a connection.
#[derive(Debug)]
pub(crate) enum Out {
    Send(ConnId, FromRelay),
    Close(ConnId),
}

/// Where a batch of the relay is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    BeforeCommit,
    AfterCommit,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    Done,
    /// The store refused; everybody was told.
    Failed,
    /// The relay died. Whether the batch deleted entries.
    Died {
        deleted: bool,
    },
}

struct Client {
    session: Session,
    group: Option<GroupId>,
    device: Option<DeviceId>,
    /// Up to where it was shown entries, for the check of their order.
    shown: u64,
    /// A planted bug keeps one entry back for the next portion.
    kept_back: Option<EntryRow>,
    /// Whoever came with a recovery kit, and the group that it leads to.
    kit: Option<(GroupId, Kit)>,
}

/// A decision that is not durable yet.
struct Item {
    conn: Option<ConnId>,
    group: GroupId,
    about: About,
    decision: Decision,
    attachment: Option<Attachment>,
    refused: Option<Refusal>,
    views: Vec<(DeviceId, Option<View>)>,
    op: Option<Op>,
}

pub(crate) struct Relay<P: CryptoProvider + Clone + Send + Sync = InsecureCrypto> {
    store: MemoryStore,
    groups: BTreeMap<GroupId, GroupState>,
    clients: BTreeMap<ConnId, Client>,
    pending: Vec<Item>,
    observer: Watching<P>,
    pub(crate) model: BTreeMap<GroupId, model::Group>,
    pub(crate) out: Vec<Out>,
    /// What the checks found wrong, by the invariant's name.
    pub(crate) faults: Vec<(&'static str, String)>,
    pub(crate) refusals: Vec<Code>,
    pub(crate) checks: [u64; 3],
    pub(crate) limits: Limits,
    mutation: Option<Mutation>,
    /// By how much the world's time is ahead of the time in which this relay ran, in milliseconds.
    pub(crate) stood_still: u64,
    /// When each device was last seen, in the relay's own time.
    seen: BTreeMap<(GroupId, DeviceId), u64>,
    /// How many bytes of entries go out in one portion.
    portion: usize,
}

pub(crate) const CHECK_HELD: usize = 0;
pub(crate) const CHECK_CURSORS: usize = 1;
pub(crate) const CHECK_CUT: usize = 2;

impl<P: CryptoProvider + Clone + Send + Sync> Relay<P> {
    pub(crate) fn new(crypto: P, portion: usize, mutation: Option<Mutation>) -> Self {
        Self {
            store: MemoryStore::new(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
            pending: Vec::new(),
            observer: Watching::new(Observer::new(crypto)),
            model: BTreeMap::new(),
            out: Vec::new(),
            faults: Vec::new(),
            refusals: Vec::new(),
            checks: [0; 3],
            limits: Limits::default(),
            mutation,
            stood_still: 0,
            seen: BTreeMap::new(),
            portion,
        }
    }

    /// Everything that is only in memory is gone.
    pub(crate) fn die(&mut self) {
        self.groups.clear();
        self.clients.clear();
        self.pending.clear();
        self.out.clear();
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn fail_next(&self, error: StoreError) {
        self.store.fail_next(error);
    }

    pub(crate) fn open(&mut self, conn: ConnId, exporter: [u8; 32]) {
        let session = Session::new(exporter, &Rates::default());
        self.clients.insert(conn, Client { session, group: None, device: None, shown: 0, kept_back: None, kit: None });
    }

    fn attached(&self, group: GroupId) -> BTreeSet<DeviceId> {
        self.clients.values().filter(|c| c.group == Some(group)).filter_map(|c| c.device).collect()
    }

    /// The stream ended.
    pub(crate) fn ended(&mut self, conn: ConnId) {
        let Some(client) = self.clients.remove(&conn) else { return };
        let Some(group) = client.group else { return };
        let attached = self.attached(group);
        let Some(state) = self.groups.get_mut(&group) else { return };
        let decision = state.detached(&attached);
        self.decided(None, group, About::Session, decision, Some(Op::Detached(attached)));
    }

    pub(crate) fn frame(&mut self, conn: ConnId, frame: ToRelay, size: usize, now: u64) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        for action in client.session.handle_frame(frame, size, now) {
            match action {
                Action::Ask(ask) => self.ask(conn, ask, now),
                action => self.act(conn, action),
            }
        }
    }

    fn act(&mut self, conn: ConnId, action: Action) {
        match action {
            Action::Reply(frame) => self.out.push(Out::Send(conn, frame)),
            Action::Close => self.out.push(Out::Close(conn)),
            Action::Ask(_) => {}
        }
    }

    fn ask(&mut self, conn: ConnId, ask: Ask, now: u64) {
        match ask {
            Ask::Attach(request, proof) => return self.attach(conn, &request, &proof, None, now),
            Ask::Create(create, proof) => {
                return self.attach(conn, &create.attach, &proof, Some(&create.group_info), now);
            }
            Ask::Recover(request, proof) => return self.recover(conn, &request, &proof),
            Ask::Recovery(request) => return self.recovery(conn, &request, now),
            Ask::KitSnapshot(after) => return self.kit_snapshot(conn, after),
            _ => {}
        }
        let Some((group, device)) = self.clients.get(&conn).and_then(|c| Some((c.group?, c.device?))) else { return };
        self.saw(group, device, now);
        let attached = self.attached(group);
        let Some(state) = self.groups.get_mut(&group) else { return };
        let limits = self.limits;
        let (about, result, op) = match ask {
            Ask::Push(envelopes) => {
                let keys = Arc::new(state.keys());
                let pushed = Verifying::new(group, envelopes.clone(), keys).finish();
                let result = state.push(device, &pushed, &limits, now);
                let accepted = match &result {
                    Ok(Decision { reply: Some(FromRelay::Accepted(seq)), .. }) => Some(*seq),
                    _ => None,
                };
                (About::Push, result, accepted.map(|accepted| Op::Pushed { device, envelopes, accepted }))
            }
            Ask::Acknowledge(request) => {
                let stated = Stated::verify(group, &request, &state.keys());
                if stated.device().is_some_and(|by| by != device) {
                    (About::Acknowledge, state.carry(device, &stated, now), None)
                } else {
                    let result = state.acknowledge(device, &stated);
                    (About::Acknowledge, result, Some(Op::Acknowledged { device, cursor: request.cursor }))
                }
            }
            Ask::Commit(request) => {
                let context =
                    CommitContext { observe: &self.observer, limits: &limits, attached: &attached, now_ms: now };
                let result = state.commit(device, &request, context);
                let ordered = result.as_ref().is_ok_and(|d| !d.writes.is_empty());
                let step = self.observer.take();
                let step = step.filter(|_| ordered).map(|step| Box::new(model::Change::from(&step)));
                let commit = request.commit.clone();
                (About::Commit, result, step.map(|step| Op::Committed { commit, step, attached, now }))
            }
            // The model follows one relay's order; worlds with several have checks of their own.
            Ask::CopyCommits(request) => {
                let context =
                    CommitContext { observe: &self.observer, limits: &limits, attached: &attached, now_ms: now };
                (About::Commit, state.copy_commits(device, &request, context), None)
            }
            Ask::Reject(bytes) => (About::Acknowledge, state.reject(device, &bytes), Some(Op::Rejected { by: device })),
            Ask::Presence(envelope) => (About::Presence, state.presence(device, envelope), None),
            Ask::WelcomeStored => (About::Acknowledge, state.welcome_stored(device), None),
            Ask::GroupInfo(signer) => (About::GroupInfo, state.group_info(device, signer), None),
            Ask::Heads(heads) => (About::Push, state.take_heads(device, &heads), None),
            Ask::Vouch(vouch) => (About::Acknowledge, state.vouch(device, &vouch), None),
            Ask::SetWake(target) => (About::Wake, state.set_wake(device, target.as_deref()), None),
            Ask::KeepSnapshot(snapshot) => (About::Kit, state.keep_snapshot(device, &snapshot), None),
            Ask::Attach(..)
            | Ask::Create(..)
            | Ask::Recover(..)
            | Ask::Recovery(_)
            | Ask::KitSnapshot(_)
            | Ask::WakeKey
            | Ask::Content(..)
            | Ask::OpenSlot(_)
            | Ask::OpenNameplate(_)
            | Ask::JoinNameplate(_)
            | Ask::SlotMessage(_)
            | Ask::CloseSlot => return,
        };
        match result {
            Ok(decision) => self.decided(Some(conn), group, about, decision, op),
            Err(refusal) => self.refused(Some(conn), group, refusal),
        }
    }

    fn attach(&mut self, conn: ConnId, request: &Attach, proof: &Proof, create: Option<&Opaque>, now: u64) {
        let group = request.group;
        if !self.groups.contains_key(&group)
            && let Some(rows) = self.load(group)
        {
            self.take_seen(&rows);
            self.groups.insert(group, GroupState::from_rows(rows));
            self.decided(None, group, About::Session, Decision::default(), Some(Op::Lapsed(BTreeSet::new())));
            self.time_passes(group, now);
        }
        let known = self.groups.get_mut(&group);
        let mut raised = Decision::default();
        let result = match (known, create) {
            (Some(state), None) => state.attach(request, proof),
            (Some(state), Some(info)) => {
                state.create_again(&self.observer, request, proof, info, now).map(|(attachment, decision)| {
                    raised = decision;
                    attachment
                })
            }
            (None, None) => Err(Refusal::new(About::Session, Code::UnknownGroup, "no such group")),
            (None, Some(info)) => {
                GroupState::create(&self.observer, request, proof, info, now).and_then(|(state, decision)| {
                    let attachment = state.attach(request, proof);
                    self.groups.insert(group, state);
                    self.model.entry(group).or_default();
                    self.decided(None, group, About::Session, decision, Some(Op::Founded(request.device)));
                    attachment
                })
            }
        };
        match result {
            Ok(attachment) => {
                self.replace_former(conn, group, request.device);
                if let Some(client) = self.clients.get_mut(&conn) {
                    (client.group, client.device) = (Some(group), Some(request.device));
                    client.shown = attachment.view.after;
                }
                self.decided(Some(conn), group, About::Session, raised, None);
                if let Some(item) = self.pending.last_mut() {
                    item.attachment = Some(attachment);
                }
                self.saw(group, request.device, now);
            }
            Err(refusal) => self.refused(Some(conn), group, refusal),
        }
    }

    /// As in the hub: a relay hears nothing more of a session once its device has attached anew.
    fn replace_former(&mut self, conn: ConnId, group: GroupId, device: DeviceId) {
        let former = |(id, c): (&ConnId, &Client)| {
            (*id != conn && c.group == Some(group) && c.device == Some(device)).then_some(*id)
        };
        for former in self.clients.iter().filter_map(former).collect::<Vec<_>>() {
            self.clients.remove(&former);
            self.out.push(Out::Close(former));
        }
    }

    fn refused(&mut self, conn: Option<ConnId>, group: GroupId, refusal: Refusal) {
        self.refusals.push(refusal.code);
        self.decided(conn, group, refusal.about, Decision::default(), None);
        if let Some(item) = self.pending.last_mut() {
            item.refused = Some(refusal);
        }
    }

    fn decided(&mut self, conn: Option<ConnId>, group: GroupId, about: About, decision: Decision, op: Option<Op>) {
        let changes_view = |n: &Notice| {
            matches!(
                n,
                Notice::Confirmed { .. } | Notice::Removed { .. } | Notice::ViewsChanged | Notice::WelcomeReady { .. }
            )
        };
        let views = match self.groups.get(&group) {
            // What each may see from here on, as it stands now: later decisions may be lost.
            Some(state) if decision.notices.iter().any(changes_view) || op_changes_view(op.as_ref()) => {
                self.attached(group).into_iter().map(|device| (device, state.view(device))).collect()
            }
            _ => Vec::new(),
        };
        if self.mutation == Some(Mutation::AcceptEarly)
            && let (Some(conn), Some(reply @ FromRelay::Accepted(_))) = (conn, decision.reply.clone())
        {
            self.out.push(Out::Send(conn, reply));
        }
        self.pending.push(Item { conn, group, about, decision, attachment: None, refused: None, views, op });
    }

    /// Makes everything that was decided durable, and tells whom it concerns.
    pub(crate) fn sync(&mut self, cut: Option<Cut>) -> Synced {
        let mut items = std::mem::take(&mut self.pending);
        if cut == Some(Cut::BeforeCommit) {
            self.die();
            return Synced::Died { deleted: false };
        }
        let mut writes: Vec<Write> = items.iter_mut().flat_map(|i| std::mem::take(&mut i.decision.writes)).collect();
        if self.mutation == Some(Mutation::DeleteEarly) {
            delete_early(&mut writes, &items, &self.model);
        }
        let deleted = writes.iter().any(|w| matches!(w, Write::DeleteEnvelopes { .. } | Write::DeleteCommits { .. }));
        let touched: BTreeSet<GroupId> = items.iter().map(|i| i.group).collect();
        if !writes.is_empty()
            && let Err(error) = now(self.store.commit(writes))
        {
            self.store_failed(items, &error);
            return Synced::Failed;
        }
        for item in &mut items {
            if let (Some(op), Some(model)) = (item.op.take(), self.model.get_mut(&item.group)) {
                model.apply(op);
            }
        }
        for group in touched {
            self.check_held(group);
        }
        if cut == Some(Cut::AfterCommit) {
            self.die();
            return Synced::Died { deleted };
        }
        items.into_iter().for_each(|item| self.tell(item));
        let conns: Vec<ConnId> = self.clients.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.pump(conn));
        Synced::Done
    }

    fn store_failed(&mut self, items: Vec<Item>, error: &StoreError) {
        for item in items {
            self.groups.remove(&item.group);
            let Some(conn) = item.conn else { continue };
            let refusal = item.refused.unwrap_or_else(|| Refusal::of_store(item.about, error));
            self.answer_refusal(conn, &refusal);
        }
        let missing: BTreeSet<GroupId> = self.clients.values().filter_map(|c| c.group).collect();
        for group in missing {
            if let Some(rows) = self.load(group).filter(|_| !self.groups.contains_key(&group)) {
                self.take_seen(&rows);
                self.groups.entry(group).or_insert_with(|| GroupState::from_rows(rows));
                if let Some(model) = self.model.get_mut(&group) {
                    model.apply(Op::Lapsed(BTreeSet::new()));
                }
            }
        }
    }

    fn answer_refusal(&mut self, conn: ConnId, refusal: &Refusal) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        for action in client.session.handle_refused(refusal) {
            self.act(conn, action);
        }
    }

    fn tell(&mut self, item: Item) {
        let group = item.group;
        if let Some(conn) = item.conn {
            if let (Some(attachment), Some(client)) = (item.attachment, self.clients.get_mut(&conn)) {
                let device = client.device.unwrap_or_default();
                let welcome =
                    attachment.welcome_waits.then(|| now(self.store.welcome(group, device))).and_then(Result::ok);
                let frames = client.session.handle_attached(attachment, welcome.flatten());
                self.send_all(conn, frames);
            }
            if let Some(reply) = item.decision.reply.filter(|_| self.mutation != Some(Mutation::AcceptEarly)) {
                self.out.push(Out::Send(conn, reply));
            }
            for refusal in item.decision.refusal.iter().chain(&item.refused) {
                self.answer_refusal(conn, refusal);
            }
        }
        for notice in item.decision.notices {
            self.notice(group, notice);
        }
        for (device, view) in item.views {
            let served = self.mutation == Some(Mutation::RemovedStillServed);
            let view = view.map(|v| if served { View { until: u64::MAX, commits_only: false, ..v } } else { v });
            for conn in self.conns_of(group, Some(device)) {
                let Some(client) = self.clients.get_mut(&conn) else { continue };
                for action in client.session.handle_view(view) {
                    self.act(conn, action);
                }
            }
        }
    }

    fn conns_of(&self, group: GroupId, device: Option<DeviceId>) -> Vec<ConnId> {
        let there = |c: &Client| {
            c.group == Some(group) && (device.is_none() || c.device == device) && c.session.attached_as().is_some()
        };
        self.clients.iter().filter(|(_, c)| there(c)).map(|(id, _)| *id).collect()
    }

    fn notice(&mut self, group: GroupId, notice: Notice) {
        let to = match &notice {
            Notice::Receipt { to, .. } => Some(*to),
            Notice::WelcomeReady { device } | Notice::Renew { device } => Some(*device),
            _ => None,
        };
        for conn in self.conns_of(group, to) {
            let Some(client) = self.clients.get_mut(&conn) else { continue };
            let frames = match &notice {
                Notice::NewEntries(new) => client.session.handle_newest(*new),
                Notice::Receipt { statement, .. } => vec![FromRelay::Receipt(Opaque(statement.to_vec()))],
                Notice::Confirmed { epoch, cursor } => client.session.handle_confirmed(*epoch, *cursor),
                Notice::Presence { from, envelope } if client.device != Some(*from) => {
                    vec![FromRelay::Presence(envelope.clone())]
                }
                Notice::Renew { .. } => vec![FromRelay::Renew],
                Notice::WelcomeReady { device } => {
                    let welcome = now(self.store.welcome(group, *device)).ok().flatten();
                    welcome.map(|bytes| FromRelay::Welcome(Opaque(bytes.to_vec()))).into_iter().collect()
                }
                Notice::Presence { .. } | Notice::Removed { .. } | Notice::ViewsChanged => Vec::new(),
            };
            self.send_all(conn, frames);
        }
    }

    fn send_all(&mut self, conn: ConnId, frames: Vec<FromRelay>) {
        self.out.extend(frames.into_iter().map(|frame| Out::Send(conn, frame)));
    }

    fn pump(&mut self, conn: ConnId) {
        while let Some(client) = self.clients.get_mut(&conn) {
            let Some(query) = client.session.wants_entries() else { return };
            let portion = EntriesQuery { max_bytes: query.max_bytes.min(self.portion), ..query };
            let mut rows = now(self.store.entries(portion)).unwrap_or_default();
            if self.mutation == Some(Mutation::CursorSkipped) {
                skip_one(client, &mut rows);
            }
            let (shown, last) = (client.shown, rows.last().map_or(query.until, |row| row.cursor));
            client.shown = last;
            check_portion(&query, shown, last, &rows, self.model.get(&query.group), &mut self.faults);
            self.checks[CHECK_CURSORS] += 1;
            self.checks[CHECK_CUT] += u64::from(query.commits_only);
            let frames = client.session.handle_entries(&query, rows);
            client.session.handle_flushed();
            self.send_all(conn, frames);
        }
    }

    fn load(&self, group: GroupId) -> Option<GroupRows> {
        now(self.store.load(group)).ok().flatten()
    }

    /// How many entries are held in all groups.
    pub(crate) fn held(&self) -> u64 {
        now(self.store.stats()).map_or(u64::MAX, |stats| stats.entries)
    }

    /// The number of the last envelope that is durable.
    pub(crate) fn durable_head(&self, group: GroupId, device: DeviceId) -> u64 {
        self.model.get(&group).and_then(|m| m.heads.get(&device)).copied().unwrap_or(0)
    }

    fn check_held(&mut self, group: GroupId) {
        let Some(model) = self.model.get(&group) else { return };
        self.checks[CHECK_HELD] += 1;
        let all = EntriesQuery {
            group,
            after: 0,
            until: u64::MAX,
            max_bytes: usize::MAX,
            reader: DeviceId::default(),
            commits_only: false,
        };
        let rows = now(self.store.entries(all)).unwrap_or_default();
        let held = rows.iter().map(|r| (r.cursor, r.kind, r.sender));
        if !held.clone().eq(model.entries.iter().map(|(cursor, (kind, sender))| (*cursor, *kind, *sender))) {
            let held: Vec<_> = held.collect();
            self.faults.push(("I2 held", format!("the relay holds {held:?}, the rule says {:?}", model.entries)));
        }
    }
}

fn op_changes_view(op: Option<&Op>) -> bool {
    matches!(op, Some(Op::Committed { .. } | Op::Rejected { .. }))
}

/// Every entry that is there for this reader is shown, in order, and nothing else.
fn check_portion(
    query: &EntriesQuery,
    shown: u64,
    last: u64,
    rows: &[EntryRow],
    model: Option<&model::Group>,
    faults: &mut Vec<(&'static str, String)>,
) {
    let Some(model) = model else { return };
    let until = model.members.get(&query.reader).and_then(|m| m.removed).filter(|_| !model.is_provisional());
    let cut = rows.iter().find(|r| r.kind == EntryKind::Envelope && until.is_some_and(|until| r.cursor > until));
    if let Some(row) = cut {
        faults.push(("I6 cut", format!("{:?} was removed and is shown the envelope {}", query.reader, row.cursor)));
    }
    let there = model.entries.range(shown + 1..=last.max(shown + 1)).filter(|(cursor, _)| **cursor <= last);
    let due =
        there.filter(|(cursor, (kind, sender))| query.matches(**cursor, *kind, *sender)).map(|(cursor, _)| *cursor);
    if !rows.iter().map(|r| r.cursor).eq(due.clone()) {
        let due: Vec<u64> = due.collect();
        let rows: Vec<u64> = rows.iter().map(|r| r.cursor).collect();
        faults.push(("I7 cursors", format!("{:?} is shown {rows:?} where {due:?} are there", query.reader)));
    }
}

/// A planted bug: the first of several entries comes one portion late.
fn skip_one(client: &mut Client, rows: &mut Vec<EntryRow>) {
    if let Some(late) = client.kept_back.take() {
        rows.insert(0, late);
    } else if rows.len() > 1 {
        client.kept_back = Some(rows.remove(0));
    }
}

/// A planted bug: one acknowledgement is taken for all.
fn delete_early(writes: &mut Vec<Write>, items: &[Item], models: &BTreeMap<GroupId, model::Group>) {
    for item in items {
        let (Some(Op::Acknowledged { cursor, .. }), Some(model)) = (&item.op, models.get(&item.group)) else {
            continue;
        };
        let (group, up_to) = (item.group, *cursor);
        writes.extend(model.heads.keys().map(|sender| Write::DeleteEnvelopes { group, sender: *sender, up_to }));
    }
}

/// The value of a future that is ready at once, as those of the store in memory are.
fn now<T>(future: StoreFuture<'_, T>) -> Result<T, StoreError> {
    future.now_or_never().unwrap_or(Err(StoreError::Busy))
}
