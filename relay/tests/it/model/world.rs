//! One state of the model: the relay in memory and on disk, decisions in between, and the devices; and what may happen next.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sync_relay::mailbox::{CommitContext, Decision, GroupState, Keys, Limits, Notice, Refusal, Stated, View};
use sync_relay::store::{EntriesQuery, EntryRow, MemoryStore, Store, Write};
use sync_types::frame::{Acknowledge, EntryKind, FromRelay, Reject};
use sync_types::{Code, DeviceId, EntryHash, Opaque, decode};

use super::known::Known;
use super::parts::{self, Change, Plain};
use super::{Broken, Scene};
use crate::support::{GROUP, now, snapshot};

/// The relay's clock stands still but for the end of a provisional commit.
const NOW_MS: u64 = 1_000;
/// When a commit that is provisional now has to be final.
const PROVISIONAL_OVER_MS: u64 = NOW_MS + 10_000;

#[derive(Clone)]
pub(super) struct World {
    /// What the relay decides by.
    pub(super) relay: Arc<Known>,
    /// Decisions on their way to the disk.
    pub(super) pending: VecDeque<Pending>,
    /// The relay's disk, and what it holds as a state.
    pub(super) store: Arc<MemoryStore>,
    pub(super) durable: Arc<Known>,
    pub(super) devices: Vec<Device>,
    /// Everything that ever became durable. Nobody decides by it.
    pub(super) history: Vec<Past>,
    pub(super) left: Left,
    /// Something that an honest device should never be told.
    pub(super) surprise: Option<String>,
    broken: Option<Broken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Device {
    /// On its disk: up to which cursor it has what it was delivered.
    pub(super) stored: u64,
    /// On its disk: the same, entry by entry.
    pub(super) log: Vec<(u64, u64)>,
    /// On its disk: the epoch of each envelope that it sealed.
    pub(super) sealed: Vec<u64>,
    /// How many of these it was told are durable.
    pub(super) accepted: usize,
    epoch: u64,
    pub(super) joined: bool,
    /// It has applied its own removal.
    pub(super) out: bool,
    /// What came up to here its sponsor had when it made the Add.
    pub(super) base: u64,
    pub(super) to_seal: u8,
    pub(super) session: Option<Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// What it may be shown; `None` until the relay has answered.
    pub(super) view: Option<(u64, u64, bool)>,
    sent: u64,
    /// Delivered and not stored yet.
    pub(super) arriving: Option<Arriving>,
    /// How many of its envelopes the relay was sent.
    pub(super) pushed: usize,
    /// Up to where it has acknowledged.
    pub(super) told: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Arriving {
    cursor: u64,
    id: u64,
    kind: EntryKind,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Past {
    pub(super) cursor: u64,
    pub(super) id: u64,
    pub(super) kind: EntryKind,
    pub(super) sender: DeviceId,
}

#[derive(Clone)]
pub(super) struct Pending {
    pub(super) writes: Vec<Write>,
    pub(super) after: Arc<Known>,
    pub(super) then: Then,
    pub(super) views: bool,
}

/// What becomes true for a device when a decision is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    Nothing,
    Accepted(usize, usize),
    Attached { device: usize, view: (u64, u64, bool), head: usize, welcome: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    drops: u8,
    crashes: u8,
    add: Option<usize>,
    remove: bool,
    reject: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A device seals an envelope, and sends it if it is attached.
    Push(usize),
    /// It sends what the relay does not have.
    Resend(usize),
    Add,
    Remove,
    Reject(usize),
    /// The provisional time ends.
    Timeout,
    /// The oldest decision becomes durable, and its answers go out.
    Sync,
    CrashRelay,
    Attach(usize),
    /// A device crashes, or its connection breaks.
    Drop(usize),
    Deliver(usize),
    Store(usize),
    Acknowledge(usize),
}

impl World {
    pub(super) fn new(scene: &Scene) -> Self {
        let (request, proof) = parts::attach(0, 0);
        let info = snapshot(GROUP, 0, &[(parts::id(0), parts::peer(0).key.public())]);
        let (state, decision) = GroupState::create(&Plain, &request, proof, &info, NOW_MS).unwrap();
        let store = MemoryStore::new();
        now(store.commit(decision.writes)).unwrap();
        let session = |view: View, stored| Session {
            view: Some((view.after, view.until, view.commits_only)),
            sent: stored,
            arriving: None,
            pushed: 0,
            told: stored,
        };
        let mut state = state;
        for whom in 1..scene.members {
            let change = Change { epoch: state.epoch(), by: 0, adds: true, whom, seq: 0, hash: EntryHash::default() };
            let (limits, attached) = (Limits::default(), BTreeSet::new());
            let context = CommitContext { observe: &Plain, limits: &limits, attached: &attached, now_ms: NOW_MS };
            let mut writes = state.commit(parts::id(0), &change.frame(), context).unwrap().writes;
            writes.extend(state.welcome_stored(parts::id(whom)).unwrap().writes);
            for member in 0..=whom {
                let acknowledge = Acknowledge { cursor: state.counters().newest, statement: Opaque::default() };
                let stated = Stated::verify(GROUP, &acknowledge, &state.keys());
                writes.extend(state.acknowledge(parts::id(member), &stated).unwrap().writes);
            }
            now(store.commit(writes)).unwrap();
        }
        let (newest, epoch) = (state.counters().newest, state.epoch());
        let count = scene.members + usize::from(scene.add);
        let devices = (0..count)
            .map(|place| {
                let joined = place < scene.members;
                let stored = if joined { newest } else { 0 };
                Device {
                    stored,
                    log: Vec::new(),
                    sealed: Vec::new(),
                    accepted: 0,
                    epoch,
                    joined,
                    out: false,
                    base: newest,
                    to_seal: scene.pushes.get(place).copied().unwrap_or_default(),
                    session: state.view(parts::id(place)).map(|view| session(view, newest)),
                }
            })
            .collect();
        let left = Left {
            drops: scene.drops,
            crashes: scene.crashes,
            add: scene.add.then_some(scene.members),
            remove: scene.remove,
            reject: scene.reject,
        };
        let state = Known::of(state);
        Self {
            relay: state.clone(),
            pending: VecDeque::new(),
            store: Arc::new(store),
            durable: state,
            devices,
            history: Vec::new(),
            left,
            surprise: None,
            broken: scene.broken,
        }
    }

    /// What may happen next.
    pub(super) fn actions(&self, actions: &mut Vec<Action>) {
        for (place, device) in self.devices.iter().enumerate() {
            let Some(session) = &device.session else {
                // A device that was never heard of waits for its Welcome.
                let welcome = self.durable.is_member(parts::id(place)) && self.durable.provisional.is_none();
                actions.extend((device.joined || welcome).then_some(Action::Attach(place)));
                actions.extend(self.may_seal(device).then_some(Action::Push(place)));
                continue;
            };
            actions.extend((self.left.drops > 0).then_some(Action::Drop(place)));
            let Some(view) = session.view else { continue };
            let sends = device.joined && !device.out && self.relay.is_member(parts::id(place));
            if session.pushed < device.sealed.len() {
                actions.extend((sends && self.is_open(device)).then_some(Action::Resend(place)));
            } else {
                actions.extend((sends && self.may_seal(device)).then_some(Action::Push(place)));
            }
            match &session.arriving {
                None if !self.readable(place, session.sent, view).is_empty() => actions.push(Action::Deliver(place)),
                None => {}
                Some(_) => actions.push(Action::Store(place)),
            }
            actions.extend((device.stored > session.told).then_some(Action::Acknowledge(place)));
            if let Some(cursor) = self.relay.provisional
                && self.left.reject
                && session.arriving.as_ref().is_some_and(|a| a.cursor == cursor)
            {
                actions.push(Action::Reject(place));
            }
        }
        let first = &self.devices[0];
        let committing = first.session.as_ref().is_some_and(|s| s.view.is_some())
            && first.epoch == self.relay.epoch()
            && self.relay.provisional.is_none();
        actions.extend((committing && self.left.add.is_some()).then_some(Action::Add));
        actions.extend((committing && self.left.remove).then_some(Action::Remove));
        actions.extend(self.relay.provisional.map(|_| Action::Timeout));
        actions.extend((!self.pending.is_empty()).then_some(Action::Sync));
        actions.extend((self.left.crashes > 0).then_some(Action::CrashRelay));
    }

    /// Does it, and says whether anything came of it.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Push(place) => {
                let device = &mut self.devices[place];
                device.to_seal -= 1;
                device.sealed.push(device.epoch);
                if device.session.is_some() {
                    return self.send(place);
                }
            }
            Action::Resend(place) => return self.send(place),
            Action::Add => {
                let whom = self.left.add.take().expect("it is asked for once");
                self.devices[whom].base = self.devices[0].stored;
                return self.commit(true, whom);
            }
            Action::Remove => {
                self.left.remove = false;
                return self.commit(false, 1);
            }
            Action::Reject(place) => return self.reject(place),
            Action::Timeout => {
                let decision = self.decide(|state| state.timeout(PROVISIONAL_OVER_MS));
                self.decided(decision, Then::Nothing);
            }
            Action::Sync => self.sync(),
            Action::CrashRelay => {
                self.left.crashes -= 1;
                self.pending.clear();
                let rows = now(self.store.load(GROUP)).unwrap().unwrap();
                self.relay = Known::of(GroupState::from_rows(rows));
                self.durable = self.relay.clone();
                self.devices.iter_mut().for_each(|device| device.session = None);
            }
            Action::Attach(place) => self.attach(place),
            Action::Drop(place) => {
                self.left.drops -= 1;
                self.devices[place].session = None;
                let attached = self.attached();
                let decision = self.decide(|state| state.detached(&attached));
                self.decided(decision, Then::Nothing);
            }
            Action::Deliver(place) => self.deliver(place),
            Action::Store(place) => self.stored(place),
            Action::Acknowledge(place) => return self.acknowledge(place),
        }
        self.settle();
        true
    }

    fn attached(&self) -> BTreeSet<DeviceId> {
        let attached = self.devices.iter().enumerate().filter(|(_, d)| d.session.is_some());
        attached.map(|(place, _)| parts::id(place)).collect()
    }

    /// Whether what it seals would be taken: not while it holds a commit that may yet be undone.
    fn is_open(&self, device: &Device) -> bool {
        device.sealed.last().is_none_or(|epoch| *epoch <= self.relay.confirmed_epoch())
    }

    fn may_seal(&self, device: &Device) -> bool {
        let final_epoch = device.epoch <= self.durable.confirmed_epoch();
        device.joined && !device.out && device.to_seal > 0 && final_epoch
    }

    /// Asks the relay.
    fn decide<T>(&mut self, ask: impl FnOnce(&mut GroupState) -> T) -> T {
        let mut state = GroupState::clone(&self.relay);
        let answer = ask(&mut state);
        self.relay = Known::of(state);
        answer
    }

    fn send(&mut self, place: usize) -> bool {
        let (id, limits) = (parts::id(place), Limits::default());
        let device = &self.devices[place];
        let behind = device.session.as_ref().map_or(0, |s| s.pushed);
        let (pushed, sealed) = (parts::pushed(place, &device.sealed, behind), device.sealed.len());
        let result = self.decide(|state| state.push(id, &pushed, &limits, NOW_MS));
        if let Some(session) = &mut self.devices[place].session {
            session.pushed = sealed;
        }
        let then = match &result {
            Ok(Decision { reply: Some(FromRelay::Accepted(seq)), .. }) => Then::Accepted(place, *seq as usize),
            _ => Then::Nothing,
        };
        if self.broken == Some(Broken::AcceptedEarly)
            && let Then::Accepted(_, seq) = then
        {
            self.devices[place].accepted = seq;
        }
        self.answered(place, result, then)
    }

    fn commit(&mut self, adds: bool, whom: usize) -> bool {
        let head = self.relay.rows.heads.iter().find(|row| row.sender == parts::id(whom)).map(|row| &row.head);
        let (seq, hash) = head.map_or((0, EntryHash::default()), |head| (head.seq, head.hash));
        let change = Change { epoch: self.relay.epoch(), by: 0, adds, whom, seq, hash };
        let (limits, attached) = (Limits::default(), self.attached());
        let context = CommitContext { observe: &Plain, limits: &limits, attached: &attached, now_ms: NOW_MS };
        match self.decide(|state| state.commit(parts::id(0), &change.frame(), context)) {
            Ok(decision) => self.decided(decision, Then::Nothing),
            Err(refusal) => self.surprise = Some(refusal.message.into_owned()),
        }
        true
    }

    fn reject(&mut self, place: usize) -> bool {
        self.left.reject = false;
        let arriving = self.devices[place].session.as_ref().and_then(|s| s.arriving.as_ref());
        let change = arriving.and_then(|a| Change::read(&a.bytes)).expect("a commit has arrived");
        let bytes = parts::peer(place).reject(change.epoch + 1, &change.frame());
        let result = self.decide(|state| state.reject(parts::id(place), &bytes));
        // It may be the one that the commit removes, or too late.
        let Ok(decision) = result else { return false };
        self.decided(decision, Then::Nothing);
        true
    }

    fn attach(&mut self, place: usize) {
        let (request, proof) = parts::attach(place, self.devices[place].stored);
        match self.relay.attach(&request, proof) {
            Ok(attachment) => {
                let session = Session { view: None, sent: attachment.view.after, arriving: None, pushed: 0, told: 0 };
                self.devices[place].session = Some(session);
                let head = attachment.attached.head.map_or(0, |head| head.seq as usize);
                let view = (attachment.view.after, attachment.view.until, attachment.view.commits_only);
                let then = Then::Attached { device: place, view, head, welcome: attachment.welcome_waits };
                self.decided(Decision::default(), then);
            }
            Err(refusal) => self.surprise = Some(refusal.message.into_owned()),
        }
    }

    fn acknowledge(&mut self, place: usize) -> bool {
        let cursor = self.devices[place].stored;
        if let Some(session) = &mut self.devices[place].session {
            session.told = cursor;
        }
        let stated = Stated::verify(GROUP, &Acknowledge { cursor, statement: Opaque::default() }, &Keys::new());
        if self.broken == Some(Broken::NeverDeleted) {
            return true;
        }
        if self.broken == Some(Broken::OneForAll) {
            for other in (0..self.devices.len()).filter(|other| *other != place) {
                if let Ok(decision) = self.decide(|state| state.acknowledge(parts::id(other), &stated)) {
                    self.decided(decision, Then::Nothing);
                }
            }
        }
        let result = self.decide(|state| state.acknowledge(parts::id(place), &stated));
        self.answered(place, result, Then::Nothing)
    }

    fn answered(&mut self, place: usize, result: Result<Decision, Refusal>, then: Then) -> bool {
        match result {
            Ok(decision) => {
                if decision.refusal.is_some() {
                    self.surprise = Some("a part of a push was refused".to_owned());
                }
                self.decided(decision, then);
            }
            // A removed device is told so, and that it comes too late.
            Err(refusal) if matches!(refusal.code, Code::Removed | Code::NotMember) => {}
            Err(refusal) => self.surprise = Some(format!("{place}: {}", refusal.message)),
        }
        self.settle();
        true
    }

    fn decided(&mut self, decision: Decision, then: Then) {
        let changes =
            |n: &Notice| matches!(n, Notice::ViewsChanged | Notice::Confirmed { .. } | Notice::Removed { .. });
        let views = decision.notices.iter().any(changes);
        if decision.writes.is_empty() && then == Then::Nothing && !views {
            return;
        }
        self.pending.push_back(Pending { writes: decision.writes, after: self.relay.clone(), then, views });
    }

    /// What needs no disk is true as soon as all before it is.
    fn settle(&mut self) {
        while self.pending.front().is_some_and(|pending| pending.writes.is_empty()) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        let Some(pending) = self.pending.pop_front() else { return };
        for write in &pending.writes {
            let Write::AppendEntries(_, rows) = write else { continue };
            let past = |row: &EntryRow| Past {
                cursor: row.cursor,
                id: parts::id_of(&row.bytes),
                kind: row.kind,
                sender: row.sender,
            };
            self.history.extend(rows.iter().map(past));
        }
        if !pending.writes.is_empty() {
            let store = MemoryStore::clone(&self.store);
            now(store.commit(pending.writes)).unwrap();
            self.store = Arc::new(store);
            let rows = now(self.store.load(GROUP)).unwrap().unwrap();
            if rows != pending.after.rows {
                self.surprise = Some("what is on disk is not what was decided".to_owned());
            }
        }
        self.durable = pending.after;
        if pending.views {
            for place in 0..self.devices.len() {
                let view = self.durable.view(parts::id(place));
                let Some(session) = &mut self.devices[place].session else { continue };
                if session.view.is_none() {
                    continue;
                }
                match view {
                    Some(view) => session.view = Some((view.after, view.until, view.commits_only)),
                    None => self.devices[place].session = None,
                }
            }
        }
        self.told(pending.then);
    }

    fn told(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Accepted(place, seq) => {
                let newest = self.durable.counters().newest;
                let device = &mut self.devices[place];
                // A device that has crashed since does not hear it.
                if device.session.is_some() {
                    device.accepted = device.accepted.max(seq);
                    if self.broken == Some(Broken::PushMovesCursor) {
                        device.stored = newest;
                    }
                }
            }
            Then::Attached { device: place, view, head, welcome } => {
                let epoch = self.durable.confirmed_epoch();
                let device = &mut self.devices[place];
                let Some(session) = &mut device.session else { return };
                (session.view, session.pushed) = (Some(view), head);
                device.accepted = device.accepted.max(head);
                if !device.joined && welcome {
                    (device.joined, device.epoch) = (true, epoch);
                    let stored = self.decide(|state| state.welcome_stored(parts::id(place)));
                    self.decided(stored.unwrap_or_default(), Then::Nothing);
                }
            }
        }
    }

    /// The next entry for a device, if there is one.
    fn readable(&self, place: usize, after: u64, (_, until, commits_only): (u64, u64, bool)) -> Vec<EntryRow> {
        let query =
            |until| EntriesQuery { group: GROUP, after, until, max_bytes: 1, reader: parts::id(place), commits_only };
        if self.broken == Some(Broken::ShownEarly) {
            let store = MemoryStore::clone(&self.store);
            let writes = self.pending.iter().flat_map(|pending| pending.writes.clone()).collect();
            now(store.commit(writes)).unwrap();
            return now(store.entries(query(until.min(self.relay.counters().newest)))).unwrap();
        }
        now(self.store.entries(query(until.min(self.durable.counters().newest)))).unwrap()
    }

    fn deliver(&mut self, place: usize) {
        let Some(Session { view: Some(view), sent, .. }) = self.devices[place].session.clone() else { return };
        let Some(row) = self.readable(place, sent, view).into_iter().next() else { return };
        let Some(session) = &mut self.devices[place].session else { return };
        session.sent = row.cursor;
        let id = parts::id_of(&row.bytes);
        let bytes = if row.kind == EntryKind::Envelope { vec![] } else { row.bytes.to_vec() };
        session.arriving = Some(Arriving { cursor: row.cursor, id, kind: row.kind, bytes });
    }

    fn stored(&mut self, place: usize) {
        let device = &mut self.devices[place];
        let Some(arriving) = device.session.as_mut().and_then(|s| s.arriving.take()) else { return };
        device.log.push((arriving.cursor, arriving.id));
        device.stored = device.stored.max(arriving.cursor);
        match arriving.kind {
            EntryKind::Envelope => {}
            EntryKind::Commit => {
                let change = Change::read(&arriving.bytes).expect("commits of this model");
                device.epoch = device.epoch.max(change.epoch + 1);
                device.out |= !change.adds && change.whom == place;
            }
            EntryKind::Reject => {
                let reject: Reject = decode(&arriving.bytes).expect("a reject");
                if device.epoch == reject.epoch {
                    device.epoch -= 1;
                }
                // The only removal of a scene is the commit that was undone.
                device.out = false;
            }
        }
    }
}
