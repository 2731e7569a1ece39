//! Patience with the relay. It owes an answer to most of what a device sends; one that holds its connection open and says
//! nothing, or talks without end and gets nowhere, would hold the device up for ever, and nobody would know. So each answer has
//! its time. When that is over the device leaves, says why, and comes back as it does after any lost connection.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::{Code, limits};

use super::Device;
use super::session::Session;
use crate::event::Event;

/// How long each kind of answer may take, beside the time that its bytes need on a slow line, in milliseconds.
const ANSWER_MS: u64 = limits::ANSWER.as_millis() as u64;
/// What is owed to a line: so many bytes a second. A slower one is none.
const SLOWEST: u64 = 4_096;
/// The longest that a relay may have a device wait before it asks again, in milliseconds.
pub(super) const LONGEST_WAIT_MS: u64 = 60_000;

/// What a relay owes at the moment, of one kind.
#[derive(Clone, Copy)]
struct Owed {
    /// Moves when the relay gets on with it.
    mark: u64,
    /// How long it may take from there, in milliseconds.
    ms: u64,
}

/// Since when each kind of answer is waited for. Lives as long as the connection.
#[derive(Default)]
pub(super) struct Patience([Waiting; 4]);

#[derive(Clone, Copy, Default)]
struct Waiting {
    /// In milliseconds; 0 while nothing is owed.
    since: u64,
    mark: u64,
    ms: u64,
}

impl Patience {
    /// When the first answer is late.
    pub(super) fn ends_at(&self) -> Option<u64> {
        self.0.iter().filter(|w| w.since > 0).map(|w| w.since.saturating_add(w.ms)).min()
    }
}

fn on_a_slow_line(bytes: usize) -> u64 {
    ANSWER_MS + bytes as u64 * 1000 / SLOWEST
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// What the relay owes: that it attaches this device and hands out all that waits; that it accepts or refuses what was
    /// pushed, and a change of the group; that it says what became of a provisional change.
    fn owed(&self) -> [Option<Owed>; 4] {
        let Some(session) = &self.session else { return [None; 4] };
        // What waits behind a change that the lead has yet to bring has come.
        let log = (!session.caught_up && !self.waits_for_lead(self.at)).then(|| {
            let portion = if session.attached { limits::ENVELOPE_BYTES } else { limits::COMMIT_BYTES / 4 };
            Owed { mark: u64::from(session.attached) + self.come_so_far(), ms: on_a_slow_line(portion) }
        });
        let pushes = session.first_in_flight();
        let pushes = pushes.map(|mark| Owed { mark, ms: on_a_slow_line(session.in_flight_bytes()) });
        let changes = session.caught_up && (session.commit_sent || session.copying || session.replacing.waits());
        let changes = changes.then(|| Owed { mark: self.membership.epoch(), ms: on_a_slow_line(limits::COMMIT_BYTES) });
        let before = self.before.as_ref().filter(|b| b.relay == self.at).map(|b| b.epoch);
        let provisional = before.or(self.relay.refused.as_ref().filter(|r| r.relay == self.at).map(|r| r.epoch));
        let end = provisional.filter(|_| session.caught_up && !self.is_removed());
        let end = end.map(|mark| Owed { mark, ms: ANSWER_MS + limits::PROVISIONAL.as_millis() as u64 });
        [log, pushes, changes, end]
    }

    /// How far the log has come. What is there twice or belongs to nobody does not count, so that a relay cannot talk for ever;
    /// whoever takes a new key looks at nothing else than where it is.
    fn come_so_far(&self) -> u64 {
        match self.replaces_key() {
            Some(_) => self.session.as_ref().map_or(0, |session| session.passed),
            None => self.peers.values().map(|peer| peer.seq).fold(self.membership.epoch(), u64::wrapping_add),
        }
    }

    /// Begins to wait for what is owed since the last input, and ends it where the relay got on.
    pub(super) fn watch_patience(&mut self, now: u64) {
        let owed = self.owed();
        let Some(session) = &mut self.session else { return };
        for (waiting, owed) in session.patience.0.iter_mut().zip(owed) {
            *waiting = match owed {
                None => Waiting::default(),
                // What comes on top has its time on top.
                Some(Owed { mark, ms }) if waiting.since > 0 && waiting.mark == mark && waiting.since <= now => {
                    Waiting { ms: ms.max(waiting.ms), ..*waiting }
                }
                Some(Owed { mark, ms }) => Waiting { since: now.max(1), mark, ms },
            };
        }
    }

    /// Leaves relays that owe an answer for too long.
    pub(super) fn end_patience(&mut self, now: u64) {
        self.end_patience_here(now);
        self.on_others(|device| device.end_patience_here(now));
    }

    fn end_patience_here(&mut self, now: u64) {
        self.watch_patience(now);
        let late = self.session.as_ref().and_then(|s| s.patience.ends_at()).is_some_and(|at| at <= now);
        if late && stands(Defence::Patience) {
            // Said once: the connection ends by it.
            self.session_mut().patience = Patience::default();
            self.events.push(Event::Disconnect { relay: self.at, code: Code::Timeout, retry_after_ms: 0 });
        }
    }

    /// When a relay that says nothing is left. One to which nothing was said yet begins to count at once.
    pub(super) fn patience_ends_at(&self) -> Option<u64> {
        let ends = |session: &Session| session.patience.ends_at().or((!session.attached).then_some(0));
        let sessions = self.order.iter().filter_map(|relay| self.session_of(*relay));
        sessions.filter(|_| stands(Defence::Patience)).filter_map(ends).min()
    }
}
