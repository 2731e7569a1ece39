//! A clock that was wrong for a while. Times that it left behind, in memory and on the disk, would hold back what is due for
//! as long as it was ahead: renewing keys, erasing them, beacons, telling of a silent member, trying again.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::limits;

use super::Device;
use super::members::ADD_PATIENCE_MS;
use super::patience::LONGEST_WAIT_MS;
use super::records::Intent;
use crate::store::Key;

/// By how much a clock may go back without being looked at, in milliseconds: it is set right now and then.
const SLACK_MS: u64 = 60_000;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Whether there is something to do at this time: [`Device::next_timeout`] has come, or the clock was set back, so that it
    /// would not come.
    pub fn is_due(&self, now: u64) -> bool {
        self.next_timeout().is_some_and(|at| at <= now) || now.saturating_add(SLACK_MS) < self.clock
    }

    /// Puts times that are still to come, and cannot be, to the present. What is due by that is done once too soon or too
    /// late; nothing is lost by either.
    pub(super) fn watch_clock(&mut self, now: u64) {
        let set_back = self.clock == 0 || now.saturating_add(SLACK_MS) < self.clock;
        self.clock = now;
        if !stands(Defence::Clock) {
            return;
        }
        if set_back {
            self.parted = None;
            self.forget_future(now);
        }
        self.bound_waits(now);
    }

    fn forget_future(&mut self, now: u64) {
        let limit = now.saturating_add(SLACK_MS);
        let mut is_future = |at: &mut u64| {
            let future = *at > limit;
            if future {
                *at = now;
            }
            future
        };
        let chain = &mut self.chain;
        let times = [&mut chain.updated_at, &mut chain.beacon_at, &mut chain.replaced_at];
        if times.into_iter().map(&mut is_future).fold(false, |any, future| any | future) {
            self.dirty.insert(Key::Chain);
        }
        for (id, peer) in &mut self.peers {
            if is_future(&mut peer.alive_at) {
                self.dirty.insert(Key::Peer(*id));
            }
        }
        for (epoch, key) in &mut self.epochs {
            if key.ended_at.as_mut().is_some_and(&mut is_future) {
                self.dirty.insert(Key::Epoch(*epoch));
            }
        }
        for intent in &mut self.intents.list {
            if let Intent::Add(add) = intent
                && add.expires_at > now.saturating_add(ADD_PATIENCE_MS)
            {
                add.expires_at = now.saturating_add(ADD_PATIENCE_MS);
                self.dirty.insert(Key::Intents);
            }
        }
        for pause in self.paused.values_mut() {
            pause.until = pause.until.min(now.saturating_add(LONGEST_WAIT_MS));
        }
        if let Some(session) = &mut self.session {
            is_future(&mut session.history_at);
            session.repairs.bound(now.saturating_add(limits::REPAIR_AGAIN.as_millis() as u64));
        }
    }

    /// However long a relay has a device wait, it asks again within a minute.
    pub(super) fn bound_waits(&mut self, now: u64) {
        let Some(session) = &mut self.session else { return };
        let waits = [&mut session.push_after, &mut session.commit_after, &mut session.acknowledge_after];
        for at in waits.into_iter().chain([&mut session.replacing.after]) {
            *at = (*at).min(now.saturating_add(LONGEST_WAIT_MS));
        }
        for at in
            [&mut session.copy_at, &mut session.replacing.ask_here_at].into_iter().chain(session.to_carry.values_mut())
        {
            *at = (*at).min(now.saturating_add(LONGEST_WAIT_MS));
        }
        session.progress_at = session.progress_at.min(now);
    }
}
