//! The rendezvous, shared by all streams that carry a pairing.
//!
//! Relays that share a store share their pairings too: a slot is at the relay to which the first of its parties came, and a
//! device that has come to another one is a guest there, by letters ([`abroad`]).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sync_types::frame::{About, JoinNameplate, OpenNameplate, OpenSlot, SlotSide, ToRelay};
use sync_types::{Code, Opaque, limits};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use self::abroad::{Away, Way};
use self::letter::{Letter, Word};
use crate::hub::{Event, Inbox, now_ms};
use crate::mailbox::Refusal;
use crate::rendezvous::{Name, Outgoing, PartyId, Refused, Rendezvous};
use crate::store::{Meeting, Node, Shared, Store, StoreError};

mod abroad;
mod letter;

/// How many nameplates are tried of which another relay has each.
const NAMEPLATES: u32 = 12;
/// How many questions to the store may wait for pairings, at one relay.
const ASKING: usize = 64;
/// When to try again what too many others ask for, in milliseconds.
const AGAIN_MS: u64 = 5_000;

pub(super) struct Pairings {
    store: Arc<dyn Store>,
    state: Mutex<State>,
    asking: Semaphore,
    /// Set off when something may be due sooner.
    sooner: Notify,
    /// Set off when there is something for other relays.
    posted: Notify,
}

struct State {
    rendezvous: Rendezvous,
    /// How the parties of slots that are here are reached.
    ways: HashMap<PartyId, Way>,
    /// Parties of slots that are here who have come to other relays, by their numbers there.
    guests: HashMap<(Node, PartyId), PartyId>,
    last_guest: PartyId,
    /// Parties who have come here and whose slot is at another relay.
    away: HashMap<PartyId, Away>,
    /// What other relays are to be told.
    out: VecDeque<(Node, Letter)>,
    /// How many bytes that is.
    out_bytes: usize,
    /// Slots that are here no more.
    gone: Vec<Name>,
    /// Slots that are here for so many milliseconds from now, of which other relays are to hear.
    here: Vec<(Name, u64)>,
}

impl Pairings {
    pub(super) fn new(most: usize, store: Arc<dyn Store>) -> Arc<Self> {
        let mut rendezvous = Rendezvous::new(most);
        if let Some(shared) = store.shared() {
            // So that relays seldom try the same numbers.
            rendezvous.begin_nameplates_at(shared.meeting().node().rem_euclid(99) as u32);
        }
        let state = State {
            rendezvous,
            ways: HashMap::new(),
            guests: HashMap::new(),
            last_guest: abroad::GUESTS,
            away: HashMap::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            gone: Vec::new(),
            here: Vec::new(),
        };
        Arc::new(Self {
            store,
            state: Mutex::new(state),
            asking: Semaphore::new(ASKING),
            sooner: Notify::new(),
            posted: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meeting(&self) -> Option<&dyn Meeting> {
        self.store.shared().map(Shared::meeting)
    }

    /// Ends slots when their time is over, and hands other relays what is for them; runs until it is dropped.
    pub(super) async fn run(&self) {
        match self.meeting() {
            None => self.end_in_time().await,
            Some(meeting) => drop(tokio::join!(self.end_in_time(), self.post(meeting), self.receive(meeting))),
        }
    }

    async fn end_in_time(&self) {
        loop {
            let next = self.state().next_timeout();
            let wait = next.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let mut state = self.state();
                    let now = now_ms();
                    let told = state.rendezvous.timeout(now);
                    state.tell(told);
                    state.give_up(now);
                    drop(state);
                    self.posted.notify_one();
                }
                () = self.sooner.notified() => {}
            }
        }
    }

    pub(super) async fn open(&self, party: PartyId, request: OpenSlot, inbox: &Arc<Inbox>) -> Result<(), Refusal> {
        self.has_none(party)?;
        let name = Name::Link(request.slot);
        let shows = (request.side == SlotSide::Shows).then_some(request.ttl_seconds);
        if shows.is_some() && !self.state().rendezvous.knows(name) {
            self.state().rendezvous.may_show(party, request.version, request.ttl_seconds)?;
        }
        match self.place(name, shows).await? {
            None => self.enter(party, inbox, |rendezvous| rendezvous.open(party, &request, now_ms())),
            Some(node) => self.go(party, node, Word::Comes(None, Box::new(ToRelay::OpenSlot(request))), inbox),
        }
    }

    pub(super) async fn open_nameplate(
        &self,
        party: PartyId,
        request: OpenNameplate,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        self.has_none(party)?;
        self.state().rendezvous.may_show(party, request.version, request.ttl_seconds)?;
        let nameplate = self.free_nameplate(request.ttl_seconds).await?;
        self.enter(party, inbox, |rendezvous| rendezvous.open_nameplate(party, &request, nameplate, now_ms()))
    }

    pub(super) async fn join_nameplate(
        &self,
        party: PartyId,
        request: JoinNameplate,
        from: Option<IpAddr>,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        self.has_none(party)?;
        self.state().rendezvous.take_try(from, now_ms())?;
        match self.place(Name::Nameplate(request.nameplate), None).await? {
            None => self.enter(party, inbox, |rendezvous| rendezvous.join_nameplate(party, &request, now_ms())),
            Some(node) => self.go(party, node, Word::Comes(from, Box::new(ToRelay::JoinNameplate(request))), inbox),
        }
    }

    /// Where the slot of this name is: at another relay, or else here. Whoever shows it, for so many seconds, brings it here
    /// if it is nowhere.
    async fn place(&self, name: Name, shows: Option<u32>) -> Result<Option<Node>, Refusal> {
        let Some(meeting) = self.meeting() else { return Ok(None) };
        if self.state().rendezvous.knows(name) {
            return Ok(None);
        }
        let _turn = self.turn()?;
        let found = async {
            if let Some(ttl) = shows
                && meeting.announce(name.to_bytes(), ttl_ms(ttl)).await?
            {
                return Ok(None);
            }
            meeting.find(name.to_bytes()).await
        };
        let found = found.await.map_err(|e: StoreError| Refusal::of_store(About::Slot, &e))?;
        Ok(found.filter(|node| *node != meeting.node()))
    }

    /// A nameplate that no relay has given out; `None` if there are too many.
    async fn free_nameplate(&self, ttl_seconds: u32) -> Result<Option<u32>, Refusal> {
        let Some(meeting) = self.meeting() else { return Ok(self.state().rendezvous.next_nameplate(0, None)) };
        let _turn = self.turn()?;
        for tried in 0..NAMEPLATES {
            // Each that another relay has says that there are more of those.
            let (beside, drawn) = match tried {
                0 => (0, None),
                _ => (16 << tried, Some(draw()?)),
            };
            let next = self.state().rendezvous.next_nameplate(beside, drawn);
            let Some(number) = next else { return Ok(None) };
            let announced = meeting.announce(Name::Nameplate(number).to_bytes(), ttl_ms(ttl_seconds)).await;
            if announced.map_err(|e| Refusal::of_store(About::Slot, &e))? {
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Lets the store be asked, unless too many wait for that.
    fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.asking.try_acquire().map_err(|_| {
            Refusal::new(About::Slot, Code::RateLimited, "too many pairings at once").retry_after(AGAIN_MS)
        })
    }

    fn has_none(&self, party: PartyId) -> Result<(), Refusal> {
        if self.state().away.contains_key(&party) {
            return Err(Refusal::new(About::Slot, Code::Protocol, "one slot a stream"));
        }
        Ok(())
    }

    fn enter(
        &self,
        party: PartyId,
        inbox: &Arc<Inbox>,
        how: impl FnOnce(&mut Rendezvous) -> Result<Vec<Outgoing>, Refused>,
    ) -> Result<(), Refusal> {
        let outcome = self.state().enter(party, Way::Here(inbox.clone()), how);
        self.sooner.notify_one();
        self.posted.notify_one();
        outcome
    }

    pub(super) fn message(&self, party: PartyId, message: Opaque) {
        let mut state = self.state();
        if !state.says_abroad(party, &message) {
            let told = state.rendezvous.message(party, message, now_ms());
            state.tell(told);
        }
        drop(state);
        self.posted.notify_one();
    }

    pub(super) fn close(&self, party: PartyId) {
        let mut state = self.state();
        if !state.leaves_abroad(party) {
            state.leaves(party);
        }
        drop(state);
        self.posted.notify_one();
    }
}

fn ttl_ms(seconds: u32) -> u64 {
    // Whoever asks for longer is refused.
    (u64::from(seconds) * 1_000).min(limits::PAIRING_TTL.as_millis() as u64)
}

/// A number that nobody can tell beforehand.
fn draw() -> Result<u32, Refusal> {
    let drawn = getrandom::u32();
    drawn.map_err(|_| Refusal::new(About::Slot, Code::Internal, "the relay's system gives no randomness"))
}

impl State {
    /// A party leaves its slot, which other relays hear of if it is free for another.
    fn leaves(&mut self, party: PartyId) {
        let name = self.rendezvous.name_of(party);
        let told = self.rendezvous.close(party);
        self.ways.remove(&party);
        self.tell(told);
        // Whoever shows a link comes back with it; a number is nobody's.
        self.gone.extend(name.filter(|name| matches!(name, Name::Nameplate(_)) && !self.rendezvous.knows(*name)));
    }

    fn enter(
        &mut self,
        party: PartyId,
        way: Way,
        how: impl FnOnce(&mut Rendezvous) -> Result<Vec<Outgoing>, Refused>,
    ) -> Result<(), Refusal> {
        match how(&mut self.rendezvous) {
            Ok(told) => {
                self.ways.insert(party, way);
                self.tell(told);
                Ok(())
            }
            Err((refusal, told)) => {
                self.tell(told);
                Err(refusal)
            }
        }
    }

    fn tell(&mut self, told: Vec<Outgoing>) {
        for outgoing in told {
            let last = outgoing.is_last();
            let to = outgoing.to;
            match self.ways.get(&to) {
                Some(Way::Here(inbox)) => {
                    inbox.put(Event::Reply(outgoing.frame));
                    if last {
                        inbox.close();
                    }
                }
                Some(&Way::There(node, party)) => {
                    self.tell_abroad(node, party, outgoing.frame);
                    if last {
                        self.guests.remove(&(node, party));
                    }
                }
                None => continue,
            }
            if last {
                self.ways.remove(&to);
            }
        }
    }
}
