//! The rendezvous, shared by all streams that carry a pairing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sync_types::Opaque;
use sync_types::frame::{JoinNameplate, OpenNameplate, OpenSlot};
use tokio::sync::Notify;

use crate::hub::{Event, Inbox, now_ms};
use crate::mailbox::Refusal;
use crate::rendezvous::{Outgoing, PartyId, Refused, Rendezvous};

pub(super) struct Pairings {
    state: Mutex<State>,
    sooner: Notify,
}

struct State {
    rendezvous: Rendezvous,
    inboxes: HashMap<PartyId, Arc<Inbox>>,
}

impl Pairings {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State { rendezvous: Rendezvous::new(most), inboxes: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state), sooner: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends slots when their time is over; runs until it is dropped.
    pub(super) async fn run(&self) {
        loop {
            let next = self.state().rendezvous.next_timeout();
            let wait = next.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let mut state = self.state();
                    let told = state.rendezvous.timeout(now_ms());
                    state.tell(told);
                }
                () = self.sooner.notified() => {}
            }
        }
    }

    pub(super) fn open(&self, party: PartyId, request: &OpenSlot, inbox: &Arc<Inbox>) -> Result<(), Refusal> {
        self.enter(party, inbox, |rendezvous| rendezvous.open(party, request, now_ms()))
    }

    pub(super) fn open_nameplate(
        &self,
        party: PartyId,
        request: &OpenNameplate,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        self.enter(party, inbox, |rendezvous| rendezvous.open_nameplate(party, request, now_ms()))
    }

    pub(super) fn join_nameplate(
        &self,
        party: PartyId,
        request: &JoinNameplate,
        from: Option<IpAddr>,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        self.enter(party, inbox, |rendezvous| rendezvous.join_nameplate(party, request, from, now_ms()))
    }

    fn enter(
        &self,
        party: PartyId,
        inbox: &Arc<Inbox>,
        how: impl FnOnce(&mut Rendezvous) -> Result<Vec<Outgoing>, Refused>,
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        let outcome = match how(&mut state.rendezvous) {
            Ok(told) => {
                state.inboxes.insert(party, inbox.clone());
                state.tell(told);
                Ok(())
            }
            Err((refusal, told)) => {
                state.tell(told);
                Err(refusal)
            }
        };
        drop(state);
        self.sooner.notify_one();
        outcome
    }

    pub(super) fn message(&self, party: PartyId, message: Opaque) {
        let mut state = self.state();
        let told = state.rendezvous.message(party, message, now_ms());
        state.tell(told);
    }

    pub(super) fn close(&self, party: PartyId) {
        let mut state = self.state();
        let told = state.rendezvous.close(party);
        state.inboxes.remove(&party);
        state.tell(told);
    }
}

impl State {
    fn tell(&mut self, told: Vec<Outgoing>) {
        for outgoing in told {
            let last = outgoing.is_last();
            let Some(inbox) = self.inboxes.get(&outgoing.to) else { continue };
            inbox.put(Event::Reply(outgoing.frame));
            if last {
                inbox.close();
                self.inboxes.remove(&outgoing.to);
            }
        }
    }
}
