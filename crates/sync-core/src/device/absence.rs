//! Members that have not been heard of for long, and coming back after a long absence.
//!
//! Silence is measured in the time in which this device listened: from one connection to the next, at most
//! [`limits::LISTEN_STEP`] of it. So a device that was off for a year, or whose clock leapt, does not take the others for gone.

use mls_rs::CryptoProvider;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::body::{Body, Control};
use sync_types::{DeviceId, limits};

use super::Device;
use super::records::{Intent, Peer};
use super::repair::millis;
use crate::event::Event;
use crate::store::Key;

/// How long after a beacon another one answers a roll call, in milliseconds: many may come back at once.
const ANSWER_REST_MS: u64 = 5_000;

/// How long this device has listened to its group.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Listening {
    /// Milliseconds in all.
    pub(super) ms: u64,
    /// When it last did, in milliseconds since the Unix epoch; 0 before the first time.
    at: u64,
    /// The absence that it comes back from, until it has all that it missed.
    away: Option<Away>,
}

/// A time without a connection, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Away {
    /// When the device last listened.
    pub since: u64,
    /// When it came back.
    pub until: u64,
}

/// Where a device that comes back stands on this connection.
#[derive(Default)]
pub(super) struct RollCall {
    /// When this device listened before this connection.
    before: u64,
    /// When it calls the next time, in milliseconds; 0 when it does not.
    at: u64,
    due: bool,
    /// The envelope with the call; 0 before it.
    seq: u64,
    /// Whether a member has said since where the chains stand.
    answered: bool,
    /// Whether another device has called, and has no answer yet.
    pub(super) heard: bool,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// This device has a connection: others can be heard.
    pub(super) fn listen(&mut self, now: u64) {
        let listening = &mut self.listening;
        if listening.at > 0 {
            let passed = now.saturating_sub(listening.at);
            let most = if stands(Defence::ListenStep) { millis(limits::LISTEN_STEP) } else { u64::MAX };
            listening.ms = listening.ms.saturating_add(passed.min(most));
        }
        listening.at = now;
        self.lazy.insert(Key::Listening);
    }

    /// A session has begun. Who was away for very long knows that by itself.
    pub(super) fn came_back(&mut self, now: u64) {
        let before = self.listening.at;
        self.listen(now);
        if self.is_online_elsewhere() {
            return;
        }
        self.session_mut().roll_call.before = before;
        if before > 0 && now.saturating_sub(before) >= millis(limits::MAX_LAG) {
            self.was_away(now);
        }
        if self.listening.away.is_some() {
            self.session_mut().roll_call.at = now;
        }
    }

    /// The relay says that it has let go of what this device had not acknowledged. That is believed, as it only makes this
    /// device ask: a relay that says so falsely, or that says nothing, changes nothing.
    pub(super) fn lapsed(&mut self, cursor: u64, now: u64) {
        if cursor >= limits::NUMBER {
            return self.protocol_broken();
        }
        self.was_away(now);
        let roll_call = &mut self.session_mut().roll_call;
        if roll_call.at == 0 && roll_call.seq == 0 {
            roll_call.at = now;
        }
    }

    fn was_away(&mut self, now: u64) {
        if self.is_alone() || self.listening.away.is_some() {
            return;
        }
        let before = self.session_mut().roll_call.before;
        let away = Away { since: if before > 0 { before.min(now) } else { now }, until: now };
        self.listening.away = Some(away);
        self.dirty.insert(Key::Listening);
        self.events.push(Event::Lapsed { since: away.since });
    }

    /// The absence that this device comes back from, as long as it lacks anything of it.
    pub(super) fn away(&self) -> Option<Away> {
        self.listening.away
    }

    /// Whether nothing of this member was heard for so long that nothing waits for it. It gets history when it comes back.
    pub(super) fn is_lapsed(&self, peer: &Peer) -> bool {
        self.silence(peer) >= millis(limits::MAX_LAG) || !stands(Defence::LapseClock)
    }

    /// For how much of the time in which this device listened it has heard nothing of a member, in milliseconds.
    pub(super) fn silence(&self, peer: &Peer) -> u64 {
        self.listening.ms.saturating_sub(peer.alive_heard)
    }

    /// When so much silence is reached, if it goes on and this device stays connected.
    pub(super) fn silent_until(&self, peer: &Peer, limit: u64) -> u64 {
        self.listening.at.saturating_add(limit.saturating_sub(self.silence(peer)))
    }

    /// When the next member lapses.
    pub(super) fn lapse_at(&self) -> Option<u64> {
        self.session.as_ref().filter(|s| s.caught_up)?;
        let waits = self.peers.values().filter(|p| p.member && !self.is_lapsed(p));
        waits.map(|p| self.silent_until(p, millis(limits::MAX_LAG))).min()
    }

    /// Time has passed: what waited for members that have lapsed waits no more.
    pub(super) fn watch_lapses(&mut self) {
        if self.session.as_ref().is_some_and(|s| s.caught_up) {
            self.count_delivered();
        }
    }

    /// Puts out members that were silent for [`limits::EXPIRE_PEER`]. Members that are there do so in turn, a day apart, so that
    /// not all try at once. Nobody does who hears nobody else: it cannot tell a silent device from a relay that keeps all others
    /// away, and the last two never part by themselves.
    pub(super) fn watch_expiry(&mut self) {
        let ready =
            self.session.as_ref().is_some_and(|s| s.caught_up) && self.identity.halted == 0 && !self.is_removed();
        if !ready || self.listening.away.is_some() || !stands(Defence::ExpirePeer) {
            return;
        }
        let limit = self.expiry_limit();
        let gone = |(_, p): &(&DeviceId, &Peer)| p.member && self.silence(p) >= limit && self.hears_others();
        for device in self.peers.iter().filter(gone).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.want_change(Intent::Remove(device));
        }
    }

    /// After how much silence it is this device that puts a member out.
    fn expiry_limit(&self) -> u64 {
        let before = self.peers.iter().filter(|(id, p)| **id < self.me && self.is_heard(p)).count() as u64;
        millis(limits::EXPIRE_PEER).saturating_add(before * millis(limits::EXPIRE_TURN))
    }

    fn is_heard(&self, peer: &Peer) -> bool {
        peer.member && self.silence(peer) < millis(limits::STALE_PEER)
    }

    fn hears_others(&self) -> bool {
        self.peers.values().any(|p| self.is_heard(p))
    }

    /// When the next member expires here, if it is silent until then.
    pub(super) fn expiry_at(&self) -> Option<u64> {
        self.session.as_ref().filter(|s| s.caught_up)?;
        let limit = self.expiry_limit();
        let times = self.peers.values().filter(|p| p.member).map(|p| self.silent_until(p, limit));
        // Whoever is not put out by then is looked at again when something else is due.
        times.filter(|at| *at > self.listening.at).min()
    }

    /// When the roll is to be called, or a call of another's to be answered.
    pub(super) fn roll_call_at(&self) -> Option<u64> {
        let session = self.session.as_ref().filter(|s| s.caught_up)?;
        let own = Some(session.roll_call.at).filter(|at| *at > 0);
        let answer = (session.roll_call.heard && !session.beacon_due).then(|| self.chain.beacon_at + ANSWER_REST_MS);
        [own, answer].into_iter().flatten().min()
    }

    /// Calls the roll while something may be missing, and answers others' calls.
    pub(super) fn watch_roll_call(&mut self, now: u64) {
        if self.is_back() {
            self.listening.away = None;
            self.dirty.insert(Key::Listening);
            self.events.push(Event::Synced);
        }
        let (away, beacon_at) = (self.listening.away.is_some(), self.chain.beacon_at);
        let Some(session) = self.session.as_mut().filter(|s| s.caught_up) else { return };
        let roll_call = &mut session.roll_call;
        if !away {
            (roll_call.at, roll_call.due) = (0, false);
        } else if (1..=now).contains(&roll_call.at) {
            (roll_call.at, roll_call.due) = (now + millis(limits::ROLL_CALL_EVERY), true);
            // Others look in it for what they lack of this device.
            session.beacon_due = true;
        }
        if session.roll_call.heard && beacon_at + ANSWER_REST_MS <= now {
            session.roll_call.heard = false;
            session.beacon_due = true;
        }
    }

    /// Whether whatever was missed has come: a member has said where the chains stand, and nothing is lacking up to there.
    fn is_back(&self) -> bool {
        let answered = self.session.as_ref().is_some_and(|s| s.caught_up && (s.roll_call.answered || self.is_alone()));
        self.listening.away.is_some() && answered && self.wants.list.is_empty() && self.lacking().is_empty()
    }

    pub(super) fn due_roll_call(&mut self) -> Option<Control> {
        let next = self.chain.seq + 1;
        let roll_call = &mut self.session_mut().roll_call;
        if !std::mem::take(&mut roll_call.due) {
            return None;
        }
        roll_call.seq = next;
        Some(Control::RollCall)
    }

    /// A member's whole frontier that knows of this device's call tells of all that there is to fetch.
    pub(super) fn note_answer(&mut self, body: &Body) {
        let me: DeviceId = self.me;
        let beacon = body.control.iter().any(|control| matches!(control, Control::Heads(_)));
        let Some(session) = self.session.as_mut().filter(|s| beacon && s.roll_call.seq > 0) else { return };
        let roll_call = &mut session.roll_call;
        roll_call.answered |= body.seen.iter().any(|reached| reached.sender == me && reached.seq >= roll_call.seq);
    }
}
