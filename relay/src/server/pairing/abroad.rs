//! Pairings whose two devices have come to different relays of one store.

use std::collections::BTreeSet;
use std::net::IpAddr;
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
/// How many bytes may wait for other relays.
const WAITING_BYTES: usize = 16 << 20;
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
    /// Until when it waits, for an answer and then for the end of the slot's time; in milliseconds since the Unix epoch.
    until_ms: u64,
    answered: bool,
    /// How often it has spoken.
    said: usize,
}

/// What is for other relays: letters, slots that are here for so many milliseconds from now, and some that are no more.
type Taken = (Vec<(Node, Letter)>, Vec<(Name, u64)>, Vec<Name>);

fn too_much() -> Refusal {
    Refusal::new(About::Slot, Code::RateLimited, "too much waits for other relays").retry_after(ANSWER_MS)
}

impl Away {
    fn end(self, with: FromRelay) {
        self.inbox.put(Event::Reply(with));
        self.inbox.close();
    }
}

impl Pairings {
    /// Sends a party to a slot at another relay.
    ///
    /// Refusal: `RATE_LIMITED` where too much waits for other relays.
    pub(super) fn go(&self, party: PartyId, at: Node, comes: Word, inbox: &Arc<Inbox>) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.out_bytes > WAITING_BYTES {
            return Err(too_much());
        }
        let away = Away { at, inbox: inbox.clone(), until_ms: now_ms() + ANSWER_MS, answered: false, said: 0 };
        state.away.insert(party, away);
        state.write(at, party, comes);
        drop(state);
        self.sooner.notify_one();
        self.posted.notify_one();
        Ok(())
    }

    /// Hands other relays what is for them. What cannot be handed over ends the pairing that it belongs to: sent once more, it
    /// might come twice.
    pub(super) async fn post(&self, meeting: &dyn Meeting) {
        loop {
            let (letters, here, gone) = self.state().take_out();
            if letters.is_empty() && here.is_empty() && gone.is_empty() {
                self.posted.notified().await;
                continue;
            }
            for name in gone {
                if let Err(error) = meeting.withdraw(name.to_bytes()).await {
                    tracing::debug!(%error, "a nameplate stays taken until its time is over");
                }
            }
            for (name, ttl_ms) in here {
                if let Err(error) = meeting.announce(name.to_bytes(), ttl_ms).await {
                    tracing::warn!(%error, "other relays do not hear that a pairing goes on here");
                }
            }
            if letters.is_empty() {
                continue;
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
        let letter = Letter { party, word };
        self.out_bytes += letter.cost();
        self.out.push_back((to, letter));
    }

    fn take_out(&mut self) -> Taken {
        let first = self.out.len().min(TOGETHER);
        let letters: Vec<_> = self.out.drain(..first).collect();
        self.out_bytes -= letters.iter().map(|(_, letter)| letter.cost()).sum::<usize>();
        (letters, std::mem::take(&mut self.here), std::mem::take(&mut self.gone))
    }

    pub(super) fn tell_abroad(&mut self, node: Node, party: PartyId, frame: FromRelay) {
        self.write(node, party, Word::Told(frame));
    }

    /// Passes on what a party says whose slot is at another relay; false for others.
    pub(super) fn says_abroad(&mut self, party: PartyId, message: &Opaque) -> bool {
        let Some(away) = self.away.get_mut(&party) else { return false };
        away.said += 1;
        let (at, said) = (away.at, away.said);
        let refusal = match () {
            () if self.out_bytes > WAITING_BYTES => too_much(),
            () if message.len() > limits::PAIRING_MESSAGE_BYTES => {
                Refusal::new(About::Slot, Code::TooLarge, "a message has at most 65,535 bytes")
            }
            () => {
                // The one too many ends it there. Whoever goes on talking until that is heard is not listened to.
                if said <= limits::PAIRING_MESSAGES + 1 {
                    self.write(at, party, Word::Says(message.clone()));
                }
                return true;
            }
        };
        self.end_away(party, refusal.frame());
        true
    }

    /// Ends what a party had at another relay, for both.
    fn end_away(&mut self, party: PartyId, with: FromRelay) {
        if let Some(away) = self.away.remove(&party) {
            self.write(away.at, party, Word::Leaves);
            away.end(with);
        }
    }

    /// Notes that a party has left whose slot is at another relay; false for others.
    pub(super) fn leaves_abroad(&mut self, party: PartyId) -> bool {
        let Some(away) = self.away.remove(&party) else { return false };
        self.write(away.at, party, Word::Leaves);
        true
    }

    /// When something is due, in milliseconds since the Unix epoch.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        let waiting = self.away.values().map(|away| away.until_ms).min();
        [self.rendezvous.next_timeout(), waiting].into_iter().flatten().min()
    }

    /// Ends waiting for relays that do not answer, or do not say that a slot's time is over.
    pub(super) fn give_up(&mut self, now_ms: u64) {
        let late = self.away.iter().filter(|(_, away)| away.until_ms <= now_ms);
        let late: Vec<_> = late.map(|(party, away)| (*party, away.answered)).collect();
        for (party, answered) in late {
            let refusal = if answered {
                Refusal::new(About::Slot, Code::PairingExpired, "the pairing's time is over")
            } else {
                let message = "the relay that this pairing began at does not answer";
                Refusal::new(About::Slot, Code::RateLimited, message).retry_after(ANSWER_MS)
            };
            self.end_away(party, refusal.frame());
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
            (Word::Comes(network, frame), None) => self.welcome(from, party, network, *frame),
            (Word::Says(message), Some(guest)) => {
                let told = self.rendezvous.message(guest, message, now_ms());
                self.tell(told);
            }
            (Word::Leaves, Some(guest)) => self.dismiss(from, party, guest),
            (Word::Told(frame), _) => self.hear(from, party, frame),
            // What it was sent for is over.
            (Word::Says(_) | Word::Leaves, None) | (Word::Comes(..), Some(_)) => {}
        }
    }

    /// A party who has come to another relay comes to a slot that is here.
    fn welcome(&mut self, from: Node, party: PartyId, network: Option<IpAddr>, frame: ToRelay) {
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
            // Its tries are counted here too: for all that come to numbers of this relay, wherever they come in.
            ToRelay::JoinNameplate(request) => self
                .rendezvous
                .take_try(network, now)
                .and_then(|()| self.enter(guest, way, |rendezvous| rendezvous.join_nameplate(guest, &request, now))),
            _ => return,
        };
        match outcome {
            Ok(()) => drop(self.guests.insert((from, party), guest)),
            Err(refusal) => self.tell_abroad(from, party, refusal.frame()),
        }
    }

    fn dismiss(&mut self, node: Node, party: PartyId, guest: PartyId) {
        self.guests.remove(&(node, party));
        self.leaves(guest);
    }

    /// The relay with the slot tells a party that has come here something.
    fn hear(&mut self, from: Node, party: PartyId, frame: FromRelay) {
        let outgoing = Outgoing { to: party, frame };
        let Some(away) = self.away.get_mut(&party).filter(|away| away.at == from) else {
            // It has gone, and that was not heard there.
            if !outgoing.is_last() {
                self.write(from, party, Word::Leaves);
            }
            return;
        };
        if !std::mem::replace(&mut away.answered, true) {
            away.until_ms = now_ms() + limits::PAIRING_TTL.as_millis() as u64 + ANSWER_MS;
        }
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
                // Whoever missed this and hears nothing more waits until the slot's time is over.
                Word::Told(_) => {
                    if let Some(guest) = self.guests.get(&(node, party)).copied() {
                        self.dismiss(node, party, guest);
                        self.tell_abroad(node, party, FromRelay::SlotClosed);
                    }
                }
                Word::Comes(..) | Word::Says(_) | Word::Leaves => {
                    self.end_away(party, Refusal::of_store(About::Slot, error).frame());
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
