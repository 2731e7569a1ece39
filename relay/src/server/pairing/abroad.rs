//! Pairings whose two devices have come to different relays of one store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_types::frame::{About, FromRelay, SlotSide, ToRelay};
use sync_types::{Code, Opaque, limits};
use tokio::time::sleep;

use super::letter::{Letter, Word};
use super::{Pairings, State, ttl_ms};
use crate::hub::{Event, Inbox, now_ms};
use crate::mailbox::Refusal;
use crate::rendezvous::{Name, Outgoing, PartyId};
use crate::seldom::Seldom;
use crate::store::{Meeting, Node, StoreError};

/// Where the numbers of parties begin that have come to other relays; those of streams stay far below.
pub(super) const GUESTS: PartyId = 1 << 63;
/// How long the relay with the slot may take to answer, in milliseconds.
const ANSWER_MS: u64 = 10_000;
/// How many letters go out at once.
const TOGETHER: usize = 64;
/// How often it is looked which relays are gone.
const LOOK: Duration = Duration::from_secs(30);
/// When to try again what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// How a party of a slot that is here is reached.
pub(super) enum Way {
    /// It has come here.
    Here(Arc<Inbox>),
    /// It has come to that relay, where it has this number.
    There(Node, PartyId),
}

/// A party who has come here and whose slot is at another relay.
pub(super) struct Away {
    at: Node,
    inbox: Arc<Inbox>,
    /// When it asked, until it is answered; in milliseconds since the Unix epoch.
    asked_ms: Option<u64>,
    /// How often it has spoken.
    said: usize,
}

impl Away {
    fn end(self, with: FromRelay) {
        self.inbox.put(Event::Reply(with));
        self.inbox.close();
    }
}

impl Pairings {
    /// Sends a party to a slot at another relay.
    pub(super) fn go(&self, party: PartyId, at: Node, frame: ToRelay, inbox: &Arc<Inbox>) {
        let mut state = self.state();
        let away = Away { at, inbox: inbox.clone(), asked_ms: Some(now_ms()), said: 0 };
        state.away.insert(party, away);
        state.write(at, party, Word::Comes(Box::new(frame)));
        drop(state);
        self.sooner.notify_one();
        self.posted.notify_one();
    }

    /// Hands other relays what is for them. What cannot be handed over ends the pairing that it belongs to: sent once more, it
    /// might come twice.
    pub(super) async fn post(&self, meeting: &dyn Meeting) {
        loop {
            let (letters, here) = {
                let mut state = self.state();
                let first = state.out.len().min(TOGETHER);
                (state.out.drain(..first).collect::<Vec<_>>(), std::mem::take(&mut state.here))
            };
            if letters.is_empty() && here.is_empty() {
                self.posted.notified().await;
                continue;
            }
            for (name, ttl_ms) in here {
                if let Err(error) = meeting.announce(name.to_bytes(), ttl_ms).await {
                    tracing::warn!(%error, "other relays do not hear that a pairing goes on here");
                }
            }
            let bytes = letters.iter().map(|(node, letter)| (*node, letter.to_bytes())).collect();
            if let Err(error) = meeting.send(bytes).await {
                static SELDOM: Seldom = Seldom::new();
                if let Some(more) = SELDOM.is_due() {
                    tracing::warn!(%error, more, "other relays are not reached for a pairing, which ends");
                }
                self.state().undelivered(letters, &error);
            }
        }
    }

    /// Takes what other relays send.
    pub(super) async fn receive(&self, meeting: &dyn Meeting) {
        let mut looked = Instant::now();
        loop {
            let received = match meeting.receive().await {
                // However much comes, nobody waits for ever for a relay that is gone.
                Ok(letters) if letters.is_empty() || looked.elapsed() > LOOK => {
                    self.take_letters(&letters);
                    looked = Instant::now();
                    self.look_for_the_dead(meeting).await
                }
                Ok(letters) => {
                    self.take_letters(&letters);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            self.sooner.notify_one();
            self.posted.notify_one();
            if let Err(error) = received {
                static SELDOM: Seldom = Seldom::new();
                if let Some(more) = SELDOM.is_due() {
                    tracing::warn!(%error, more, "other relays are not heard for pairings");
                }
                sleep(AGAIN).await;
            }
        }
    }

    fn take_letters(&self, letters: &[(Node, Vec<u8>)]) {
        let mut state = self.state();
        letters.iter().for_each(|(from, bytes)| state.take_letter(*from, bytes));
    }

    async fn look_for_the_dead(&self, meeting: &dyn Meeting) -> Result<(), StoreError> {
        let alone = {
            let state = self.state();
            state.guests.is_empty() && state.away.is_empty()
        };
        if !alone {
            let alive = meeting.alive().await?;
            self.state().bury(&alive);
        }
        Ok(())
    }
}

impl State {
    fn write(&mut self, to: Node, party: PartyId, word: Word) {
        self.out.push_back((to, Letter { party, word }));
    }

    pub(super) fn tell_abroad(&mut self, node: Node, party: PartyId, frame: FromRelay) {
        self.write(node, party, Word::Told(frame));
    }

    /// Passes on what a party says whose slot is at another relay; false for others.
    pub(super) fn says_abroad(&mut self, party: PartyId, message: &Opaque) -> bool {
        let Some(away) = self.away.get_mut(&party) else { return false };
        away.said += 1;
        let at = away.at;
        // The one too many ends it there. Whoever goes on talking until that is heard is not listened to.
        if away.said <= limits::PAIRING_MESSAGES + 1 {
            self.write(at, party, Word::Says(message.clone()));
        }
        true
    }

    /// Notes that a party has left whose slot is at another relay; false for others.
    pub(super) fn leaves_abroad(&mut self, party: PartyId) -> bool {
        let Some(away) = self.away.remove(&party) else { return false };
        self.write(away.at, party, Word::Leaves);
        true
    }

    /// When something is due, in milliseconds since the Unix epoch.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        let unanswered = self.away.values().filter_map(|away| away.asked_ms).map(|at| at + ANSWER_MS).min();
        [self.rendezvous.next_timeout(), unanswered].into_iter().flatten().min()
    }

    /// Ends waiting for relays that do not answer.
    pub(super) fn give_up(&mut self, now_ms: u64) {
        let late = |away: &Away| away.asked_ms.is_some_and(|at| at + ANSWER_MS <= now_ms);
        let parties: Vec<PartyId> = self.away.iter().filter(|(_, away)| late(away)).map(|(id, _)| *id).collect();
        for party in parties {
            let Some(away) = self.away.remove(&party) else { continue };
            self.write(away.at, party, Word::Leaves);
            let message = "the relay that this pairing began at does not answer";
            away.end(Refusal::new(About::Slot, Code::RateLimited, message).retry_after(ANSWER_MS).frame());
        }
    }

    fn take_letter(&mut self, from: Node, bytes: &[u8]) {
        let letter = match Letter::read(bytes) {
            Ok(Some(letter)) => letter,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "another relay sent what makes no sense"),
        };
        let Letter { party, word } = letter;
        let guest = self.guests.get(&(from, party)).copied();
        match (word, guest) {
            (Word::Comes(frame), None) => self.welcome(from, party, *frame),
            (Word::Says(message), Some(guest)) => {
                let told = self.rendezvous.message(guest, message, now_ms());
                self.tell(told);
            }
            (Word::Leaves, Some(guest)) => self.dismiss(from, party, guest),
            (Word::Told(frame), _) => self.hear(from, party, frame),
            // What it was sent for is over.
            (Word::Says(_) | Word::Leaves, None) | (Word::Comes(_), Some(_)) => {}
        }
    }

    /// A party who has come to another relay comes to a slot that is here.
    fn welcome(&mut self, from: Node, party: PartyId, frame: ToRelay) {
        self.last_guest += 1;
        let (guest, now, way) = (self.last_guest, now_ms(), Way::There(from, party));
        let outcome = match frame {
            ToRelay::OpenSlot(request) => {
                let outcome = self.enter(guest, way, |rendezvous| rendezvous.open(guest, &request, now));
                if outcome.is_ok() && request.side == SlotSide::Shows {
                    self.here.push((Name::Link(request.slot), ttl_ms(request.ttl_seconds)));
                }
                outcome
            }
            ToRelay::JoinNameplate(request) => {
                self.enter(guest, way, |rendezvous| rendezvous.join_nameplate(guest, &request, now))
            }
            _ => return,
        };
        match outcome {
            Ok(()) => drop(self.guests.insert((from, party), guest)),
            Err(refusal) => self.tell_abroad(from, party, refusal.frame()),
        }
    }

    fn dismiss(&mut self, node: Node, party: PartyId, guest: PartyId) {
        let told = self.rendezvous.close(guest);
        self.ways.remove(&guest);
        self.guests.remove(&(node, party));
        self.tell(told);
    }

    /// The relay with the slot tells a party that has come here something.
    fn hear(&mut self, from: Node, party: PartyId, frame: FromRelay) {
        let Some(away) = self.away.get_mut(&party).filter(|away| away.at == from) else { return };
        away.asked_ms = None;
        let outgoing = Outgoing { to: party, frame };
        if outgoing.is_last() {
            if let Some(away) = self.away.remove(&party) {
                away.end(outgoing.frame);
            }
        } else {
            away.inbox.put(Event::Reply(outgoing.frame));
        }
    }

    fn undelivered(&mut self, letters: Vec<(Node, Letter)>, error: &StoreError) {
        for (node, Letter { party, word }) in letters {
            match word {
                Word::Told(_) => {
                    if let Some(guest) = self.guests.get(&(node, party)).copied() {
                        self.dismiss(node, party, guest);
                    }
                }
                Word::Comes(_) | Word::Says(_) | Word::Leaves => {
                    if let Some(away) = self.away.remove(&party) {
                        away.end(Refusal::of_store(About::Slot, error).frame());
                    }
                }
            }
        }
    }

    /// Ends what went on with relays that are gone.
    fn bury(&mut self, alive: &BTreeSet<Node>) {
        let gone: Vec<_> = self.guests.iter().filter(|((node, _), _)| !alive.contains(node)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(&(node, party), &guest)| (node, party, guest)).collect();
        for (node, party, guest) in gone {
            self.dismiss(node, party, guest);
        }
        let left: Vec<_> = self.away.iter().filter(|(_, away)| !alive.contains(&away.at)).map(|(id, _)| *id).collect();
        for party in left {
            if let Some(away) = self.away.remove(&party) {
                away.end(FromRelay::SlotClosed);
            }
        }
    }
}
