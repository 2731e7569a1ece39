//! A line to each relay of the group.
//!
//! The device works through one of them, the *lead*: the first in the settings' order that is not down. What it seals, asks
//! and changes goes through that one. The other lines bring what their relays have, take what this device has sealed, and hear
//! how the group has changed (`mirror.rs`). Changes of the group go through the first relay alone: while that is down, another
//! one leads, and changes wait.
//!
//! `relay`, `session`, `sends` and `unstated` of a device are those of one line: of the lead, and of another only as long as
//! something is done there ([`Device::enter`]). So receiving, acknowledging and sending are written once.

use std::collections::{BTreeSet, VecDeque};

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId};

use super::records::RelayRecord;
use super::session::Session;
use super::{Device, DeviceError};
use crate::RelayId;
use crate::event::Event;
use crate::relay_id::relays_of;
use crate::store::Key;

/// How many bytes may wait on a line behind a change of the group that the lead has not brought yet.
const HELD_BYTES: usize = 8 << 20;
/// After how long without anything of what waits there another relay takes the lead, in milliseconds.
const STALL_MS: u64 = 10_000;

/// What is kept of a line that is not looked at.
#[derive(Default)]
pub(super) struct Parked {
    record: RelayRecord,
    session: Option<Session>,
    sends: Vec<ToRelay>,
    /// Senders that the next acknowledgement has to speak of.
    unstated: BTreeSet<DeviceId>,
}

/// A relay's line.
#[derive(Default)]
pub(super) struct Line {
    /// Whether it could not be reached, or was lost, and is not back.
    down: bool,
    /// What came behind a change of the group that the lead has to bring first.
    pub(super) held: VecDeque<FromRelay>,
    held_bytes: usize,
    /// Empty for the line that is looked at.
    parked: Parked,
}

impl Line {
    /// The relay has to be told of this sender.
    pub(super) fn unstated(&mut self, sender: DeviceId) {
        self.parked.unstated.insert(sender);
    }
}

/// Where a device stands with one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayStatus {
    /// Which.
    pub relay: RelayId,
    /// Whether this device is attached there.
    pub attached: bool,
    /// Whether all that waited there has been stored.
    pub caught_up: bool,
    /// Whether the device works through it.
    pub leads: bool,
    /// The last own envelope that is durable there.
    pub accepted_seq: u64,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// [`Device::handle_connected`] for one relay of several.
    pub fn handle_connected_at(
        &mut self,
        relay: RelayId,
        exporter: &[u8; 32],
        token: Option<&str>,
    ) -> Result<(), DeviceError> {
        if relay != self.at && !self.lines.contains_key(&relay) {
            return Err(DeviceError::Invalid("the group has no such relay"));
        }
        self.enter(relay);
        let connected = self.connected(exporter, token);
        self.enter(self.lead);
        connected
    }

    /// The connection to one relay is gone, or could not be made.
    pub fn handle_disconnected_at(&mut self, relay: RelayId) {
        self.enter(relay);
        if self.at == relay {
            self.disconnected();
            if let Some(line) = self.lines.get_mut(&relay) {
                (line.down, line.held_bytes) = (true, 0);
                line.held.clear();
            }
        }
        self.enter(self.lead);
        self.elect();
        self.look_at_mailboxes();
        self.tell_caught_up();
    }

    /// Why the connection to this relay is to end, if it is, and after how many milliseconds at the earliest another may be made:
    /// as the first [`Event::Disconnect`] that was not taken yet says.
    pub fn disconnecting(&self, at: RelayId) -> Option<(Code, u32)> {
        self.events.iter().find_map(|event| match event {
            Event::Disconnect { relay, code, retry_after_ms } if *relay == at => Some((*code, *retry_after_ms)),
            _ => None,
        })
    }

    /// A frame came from one relay of several.
    pub fn handle_frame_at(&mut self, relay: RelayId, frame: FromRelay, now: u64, rng: &mut dyn CryptoRng) {
        self.watch_clock(now);
        self.take_frame(relay, frame, now, rng);
        self.settle_relays();
        self.elect();
        self.take_held(now, rng);
        self.pump(now, rng);
        self.tell_caught_up();
    }

    fn take_frame(&mut self, relay: RelayId, frame: FromRelay, now: u64, rng: &mut dyn CryptoRng) {
        self.enter(relay);
        if self.at == relay && self.session.is_some() {
            let Some(frame) = self.hold(frame) else { return self.enter(self.lead) };
            if self.is_lead() || (matches!(frame, FromRelay::Attached(_)) && self.outranks_lead()) {
                self.frame(frame, now, rng);
            } else {
                self.mirror_frame(frame, now, rng);
            }
        }
        self.enter(self.lead);
    }

    /// Frames for one relay, in order, once the writes are durable.
    pub fn take_sends_at(&mut self, relay: RelayId) -> Vec<ToRelay> {
        self.enter(relay);
        let sends = if self.at == relay { self.take_sends() } else { Vec::new() };
        self.enter(self.lead);
        sends
    }

    /// The relays, in the group's order.
    pub fn relays(&self) -> Vec<RelayStatus> {
        self.order
            .iter()
            .map(|relay| {
                let session = self.session_of(*relay).filter(|s| s.attached);
                RelayStatus {
                    relay: *relay,
                    attached: session.is_some(),
                    caught_up: session.is_some_and(|s| s.caught_up),
                    leads: *relay == self.lead,
                    accepted_seq: self.record_of(*relay).map_or(0, |record| record.accepted),
                }
            })
            .collect()
    }

    /// Whether the line that is looked at is the one that the device works through.
    pub(super) fn is_lead(&self) -> bool {
        self.at == self.lead
    }

    /// The relay that changes of the group go through.
    pub(super) fn first(&self) -> RelayId {
        self.order[0]
    }

    /// Whether there is more than one relay.
    pub(super) fn has_several(&self) -> bool {
        self.order.len() > 1
    }

    pub(super) fn is_down(&self, relay: RelayId) -> bool {
        self.lines.get(&relay).is_some_and(|line| line.down)
    }

    /// The other lines than the one that is looked at, in the group's order.
    pub(super) fn others(&self) -> Vec<RelayId> {
        self.order.iter().copied().filter(|relay| *relay != self.at).collect()
    }

    pub(super) fn session_of(&self, relay: RelayId) -> Option<&Session> {
        if relay == self.at { self.session.as_ref() } else { self.lines.get(&relay)?.parked.session.as_ref() }
    }

    /// The session of a line that is not looked at.
    pub(super) fn parked_session(&mut self, relay: RelayId) -> Option<&mut Session> {
        self.lines.get_mut(&relay)?.parked.session.as_mut()
    }

    pub(super) fn record_of(&self, relay: RelayId) -> Option<&RelayRecord> {
        if relay == self.at { Some(&self.relay) } else { Some(&self.lines.get(&relay)?.parked.record) }
    }

    /// The record of the line that is looked at has changed.
    pub(super) fn relay_changed(&mut self) {
        self.dirty.insert(Key::Relay(self.at));
    }

    /// Looks at another line. What belongs to the device and not to a line comes along.
    pub(super) fn enter(&mut self, relay: RelayId) {
        if relay == self.at || !self.lines.contains_key(&relay) {
            return;
        }
        let mut here = Parked {
            record: std::mem::take(&mut self.relay),
            session: self.session.take(),
            sends: std::mem::take(&mut self.sends),
            unstated: std::mem::take(&mut self.unstated),
        };
        let there = self.lines.get_mut(&relay).map(|line| std::mem::take(&mut line.parked)).unwrap_or_default();
        (self.relay, self.session) = (there.record, there.session);
        (self.sends, self.unstated) = (there.sends, there.unstated);
        self.relay.refused = here.record.refused.take();
        self.relay.rejected = std::mem::take(&mut here.record.rejected);
        if let (Some(mine), Some(other)) = (&mut self.session, &mut here.session) {
            mine.exchange(other);
        }
        if let Some(line) = self.lines.get_mut(&self.at) {
            line.parked = here;
        }
        self.at = relay;
    }

    /// What belongs to the device comes to a session that begins away from the lead, and goes back from one that ends there.
    pub(super) fn exchange_with_lead(&mut self) {
        let lead = self.lead;
        if !self.is_lead()
            && let Some(mine) = &mut self.session
            && let Some(other) = self.lines.get_mut(&lead).and_then(|line| line.parked.session.as_mut())
        {
            mine.exchange(other);
        }
    }

    /// Whether any relay has this device attached.
    pub(super) fn is_online(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.attached) || self.is_online_elsewhere()
    }

    /// Whether another relay has than the one that is looked at.
    pub(super) fn is_online_elsewhere(&self) -> bool {
        self.others().into_iter().any(|relay| self.session_of(relay).is_some_and(|s| s.attached))
    }

    /// What the group has decided about commits is kept where the lead's record is.
    pub(super) fn decision_changed(&mut self) {
        self.dirty.insert(Key::Relay(self.lead));
    }

    /// Does the same on each line but the lead's.
    pub(super) fn on_others(&mut self, mut act: impl FnMut(&mut Self)) {
        for relay in self.others() {
            self.enter(relay);
            act(self);
        }
        self.enter(self.lead);
    }

    /// Whether this device can work through a relay: it is attached there, and what waits there is coming.
    fn is_usable(&self, relay: RelayId) -> bool {
        let session = self.session_of(relay).filter(|s| s.attached);
        session.is_some_and(|s| s.caught_up || self.clock < s.progress_at.saturating_add(STALL_MS))
    }

    /// When a relay counts as stalled, if nothing comes until then.
    pub(super) fn stall_at(&self) -> Option<u64> {
        let session = self.session_of(self.lead).filter(|s| self.has_several() && s.attached && !s.caught_up)?;
        Some(session.progress_at.saturating_add(STALL_MS)).filter(|at| *at > self.clock)
    }

    fn rank(&self, relay: RelayId) -> usize {
        self.order.iter().position(|known| *known == relay).unwrap_or(usize::MAX)
    }

    /// Takes the lead from a relay behind this one in the group's order.
    fn outranks_lead(&mut self) -> bool {
        let takes = self.through.is_none() && self.rank(self.at) < self.rank(self.lead);
        if takes {
            self.lead_by(self.at);
        }
        takes
    }

    /// Chooses the lead: the first relay that is attached, or that is yet to be tried.
    pub(super) fn elect(&mut self) {
        let untried = |relay: RelayId| self.session_of(relay).is_none_or(|s| !s.attached) && !self.is_down(relay);
        let usable = |relay: &&RelayId| self.is_usable(**relay) || untried(**relay);
        let wanted = self.through.filter(|relay| self.is_usable(*relay));
        let lead = wanted.or_else(|| self.order.iter().find(usable).copied()).unwrap_or_else(|| self.first());
        if lead != self.lead {
            self.enter(lead);
            self.lead_by(lead);
        }
    }

    fn lead_by(&mut self, relay: RelayId) {
        // What could not be applied goes with the lead.
        self.dirty.extend([Key::Relay(self.lead), Key::Relay(relay)]);
        self.lead = relay;
        if let Some(session) = &mut self.session {
            session.history_at = session.history_at.max(self.clock);
        }
    }

    /// The line that is looked at is attached.
    pub(super) fn is_up(&mut self) {
        let at = self.at;
        if let Some(line) = self.lines.get_mut(&at) {
            line.down = false;
        }
    }

    /// Gives the frame back if it can be taken now. What lies behind a change of the group that the lead has yet to bring waits
    /// for that: so nobody is led by a relay that is not asked what the group's order is.
    fn hold(&mut self, frame: FromRelay) -> Option<FromRelay> {
        // What this relay has brought before any other it says the end of, whatever else waits.
        let brought = |epoch: u64| self.before.as_ref().is_some_and(|b| b.epoch == epoch && b.relay == self.at);
        let waits = match &frame {
            FromRelay::Deliver(_) | FromRelay::CaughtUp(_) => true,
            FromRelay::Confirmed(epoch) => !brought(*epoch),
            _ => false,
        };
        let line = self.lines.get_mut(&self.at)?;
        if line.held.is_empty() || !waits {
            return Some(frame);
        }
        if let FromRelay::Deliver(entries) = &frame {
            line.held_bytes += entries.iter().map(|e| e.bytes.len()).sum::<usize>();
        }
        if line.held_bytes > HELD_BYTES {
            // It is asked again later.
            line.held.clear();
            line.held_bytes = 0;
            self.events.push(Event::Disconnect { relay: self.at, code: Code::Draining, retry_after_ms: 5_000 });
            return None;
        }
        line.held.push_back(frame);
        None
    }

    /// Takes what waited, as far as that is possible now.
    pub(super) fn take_held(&mut self, now: u64, rng: &mut dyn CryptoRng) {
        loop {
            let before = (self.membership.epoch(), self.lead);
            for relay in self.order.clone() {
                let Some(line) = self.lines.get_mut(&relay) else { continue };
                let held = std::mem::take(&mut line.held);
                line.held_bytes = 0;
                for frame in held {
                    self.take_frame(relay, frame, now, rng);
                    self.settle_relays();
                    self.elect();
                }
            }
            if before == (self.membership.epoch(), self.lead) {
                return;
            }
        }
    }

    /// Takes up the list of relays that the settings name now.
    pub(super) fn settle_relays(&mut self) {
        // One that may be undone changes nothing here: the relay that ordered it has yet to say that it is final.
        let Some(by) = self.relays_unsettled.take_if(|_| self.before.is_none()) else { return };
        if self.take_list(&self.membership.settings(), self.membership.epoch(), by != self.me) {
            self.events.push(Event::RelaysChanged { by });
        }
    }

    /// Uses these relays, which stand in the settings since this epoch or later. Whether they are others than before.
    /// `known`: whether relays that are new on the list are to have the group.
    pub(super) fn take_list(&mut self, settings: &Settings, epoch: u64, known: bool) -> bool {
        let (order, addresses): (Vec<RelayId>, Vec<_>) = relays_of(settings).into_iter().unzip();
        let moved = addresses != self.addresses;
        self.addresses = addresses;
        if order == self.order {
            // The same ones may be in other places.
            return moved;
        }
        let first = self.first();
        let before = std::mem::replace(&mut self.order, order);
        for relay in self.order.clone() {
            if self.lines.contains_key(&relay) {
                continue;
            }
            // Whoever put it on the list brings it the group; the others find it there, or bring it all the same.
            let record = RelayRecord { has_group: known, new: true, ..RelayRecord::default() };
            self.lines.insert(relay, Line { parked: Parked { record, ..Parked::default() }, ..Line::default() });
            self.dirty.insert(Key::Relay(relay));
        }
        let gone: Vec<RelayId> = before.into_iter().filter(|relay| !self.order.contains(relay)).collect();
        if gone.contains(&self.lead) {
            self.enter(self.first());
            self.lead_by(self.first());
        }
        for relay in gone {
            if self.session_of(relay).is_some() {
                // It may come onto the list again before anybody else has ended the connection.
                self.events.push(Event::Disconnect { relay, code: Code::Draining, retry_after_ms: 0 });
            }
            self.lines.remove(&relay);
            self.dirty.insert(Key::Relay(relay));
        }
        if self.first() != first {
            let first = self.first();
            self.enter(first);
            self.relay.first_since = epoch;
            self.relay_changed();
            self.enter(self.lead);
        }
        true
    }

    /// Whether every relay that can be reached has handed out what waited there.
    pub(super) fn is_caught_up(&self) -> bool {
        let attached = |relay: &RelayId| self.session_of(*relay).filter(|s| s.attached);
        self.order.iter().any(|relay| attached(relay).is_some())
            && self.order.iter().all(|relay| match attached(relay) {
                Some(session) => session.caught_up || self.waits_for_lead(*relay) || self.is_stalled(*relay),
                None => self.is_down(*relay),
            })
    }

    fn is_stalled(&self, relay: RelayId) -> bool {
        self.has_several() && !self.is_usable(relay)
    }

    /// Whether what this relay has yet to hand out waits for the lead.
    pub(super) fn waits_for_lead(&self, relay: RelayId) -> bool {
        self.lines.get(&relay).is_some_and(|line| !line.held.is_empty())
    }

    pub(super) fn tell_caught_up(&mut self) {
        let is = self.is_caught_up();
        if is && !self.told_caught_up {
            self.events.push(Event::CaughtUp);
        }
        self.told_caught_up = is;
    }
}
