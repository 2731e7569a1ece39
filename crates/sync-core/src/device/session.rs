//! The connection to the relay: attaching, what may be sent when, and the relay's answers.

use std::collections::{BTreeMap, VecDeque};

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::attach;
use sync_rules::defence::stands;
use sync_types::frame::{About, Attach, Attached, Create, FromRelay, Refused, Signature, ToRelay};
use sync_types::{Code, DeviceId, EntryHash, Opaque, VERSION, limits};

use super::absence::RollCall;
use super::carry::ToCarry;
use super::early::EarlyReceipts;
use super::kit_snapshots::LeavingForKit;
use super::own::Shown;
use super::patience::{LONGEST_WAIT_MS, Patience};
use super::repair::Repairs;
use super::replace::Replacing;
use super::{Device, DeviceError};
use crate::event::Event;
use crate::store::Write;

/// An envelope that was sent and not accepted.
struct InFlight {
    seq: u64,
    hash: EntryHash,
    bytes: usize,
}

/// What holds only while the connection lives.
#[derive(Default)]
pub(super) struct Session {
    pub(super) attached: bool,
    /// Whether the group's state went with the first frame.
    created: bool,
    pub(super) caught_up: bool,
    /// When it last brought what waited there, in milliseconds; counts until all has come.
    pub(super) progress_at: u64,
    /// The newest epoch at the relay, as far as this device has heard.
    pub(super) relay_epoch: u64,
    /// The newest epoch that was confirmed when the session began.
    pub(super) confirmed_epoch: u64,
    /// The own number to send next.
    pub(super) next_send: u64,
    in_flight: VecDeque<InFlight>,
    /// The sum of their sizes, which is asked for with each envelope that is sealed.
    in_flight_bytes: usize,
    /// Pushes wait until then, in milliseconds.
    pub(super) push_after: u64,
    /// Commits wait until then, in milliseconds.
    pub(super) commit_after: u64,
    /// Whether the pending commit was sent on this connection.
    pub(super) commit_sent: bool,
    /// How many refusals are still to come for commits that have lost already.
    pub(super) commits_lost: u64,
    /// The cursor that the relay was told.
    pub(super) acknowledged: u64,
    /// Acknowledgements wait until then, in milliseconds.
    pub(super) acknowledge_after: u64,
    /// When history was asked for or last came, in milliseconds.
    pub(super) history_at: u64,
    /// How many members have been asked for history since and have said nothing.
    pub(super) history_silences: usize,
    /// How many envelopes of history were to come at the most.
    pub(super) history_total: u64,
    /// Up to which number history has come, of each sender.
    pub(super) history_reached: BTreeMap<DeviceId, u64>,
    /// When the relay is told of changes that it did not order, in milliseconds, and whether it was and has not answered.
    pub(super) copy_at: u64,
    pub(super) copying: bool,
    pub(super) leaving_due: bool,
    pub(super) repairs: Repairs,
    pub(super) replacing: Replacing,
    /// An own envelope, or one of a copy of this device, that has to be looked up.
    pub(super) unproven: Option<Shown>,
    pub(super) beacon_due: bool,
    pub(super) roll_call: RollCall,
    /// The epoch that this device last vouched for, for whoever comes with the recovery kit.
    pub(super) vouched: Option<u64>,
    pub(super) leaving_for_kit: LeavingForKit,
    /// Receipts of devices that this one does not know yet: the commits that add them are behind.
    pub(super) early_receipts: EarlyReceipts,
    pub(super) to_carry: ToCarry,
    pub(super) patience: Patience,
    /// Up to which cursor entries have passed a device that takes a new key.
    pub(super) passed: u64,
}

impl Session {
    /// What belongs to the device goes to where it is at work.
    pub(super) fn exchange(&mut self, other: &mut Self) {
        use std::mem::swap;
        swap(&mut self.history_at, &mut other.history_at);
        swap(&mut self.history_silences, &mut other.history_silences);
        swap(&mut self.history_total, &mut other.history_total);
        swap(&mut self.history_reached, &mut other.history_reached);
        swap(&mut self.leaving_due, &mut other.leaving_due);
        swap(&mut self.repairs, &mut other.repairs);
        swap(&mut self.beacon_due, &mut other.beacon_due);
        swap(&mut self.roll_call, &mut other.roll_call);
        swap(&mut self.early_receipts, &mut other.early_receipts);
    }

    pub(super) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// The number of the first envelope that is on its way.
    pub(super) fn first_in_flight(&self) -> Option<u64> {
        self.in_flight.front().map(|sent| sent.seq)
    }

    /// An envelope of so many bytes is on its way.
    pub(super) fn sent(&mut self, seq: u64, hash: EntryHash, bytes: usize) {
        self.next_send = seq + 1;
        self.in_flight.push_back(InFlight { seq, hash, bytes });
        self.in_flight_bytes += bytes;
    }

    /// The relay has everything up to this number. The last of it that was on its way.
    pub(super) fn arrived_up_to(&mut self, seq: u64) -> Option<(u64, EntryHash)> {
        let mut last = None;
        while let Some(sent) = self.in_flight.pop_front_if(|sent| sent.seq <= seq) {
            self.in_flight_bytes -= sent.bytes;
            last = Some((sent.seq, sent.hash));
        }
        last
    }

    /// Everybody has what there is up to this number: it is not sent again.
    pub(super) fn has_all_up_to(&mut self, seq: u64) {
        self.arrived_up_to(seq);
        self.next_send = self.next_send.max(seq + 1);
    }

    /// What is on its way has to be sent again, from this number on.
    fn send_again(&mut self, from: u64) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.next_send = from;
    }
}

/// How long to wait before what was refused for a lasting reason is tried again, in milliseconds.
const RARELY_MS: u64 = LONGEST_WAIT_MS;

/// How long to wait before a refused change is tried again when the relay says nothing, in milliseconds.
const RETRY_MS: u64 = 250;

impl<P: CryptoProvider + Clone> Device<P> {
    /// A connection stands. `exporter` is its TLS exporter value under the label and context of [`sync_rules::attach`];
    /// `token` opens the relay for a new group. Without a relay's name, this and its siblings are about the relay that the
    /// device works through.
    pub fn handle_connected(&mut self, exporter: &[u8; 32], token: Option<&str>) -> Result<(), DeviceError> {
        self.handle_connected_at(self.lead, exporter, token)
    }

    pub(super) fn connected(&mut self, exporter: &[u8; 32], token: Option<&str>) -> Result<(), DeviceError> {
        let attach = Attach {
            version: VERSION,
            suite: if self.relay.has_group { self.final_suite() } else { self.suite() as u8 },
            group: self.group,
            device: self.me,
            stored: self.relay.cursor,
            proof: Signature(attach::prove(&self.key, self.group, exporter)),
        };
        let created = !self.relay.has_group;
        let frame = if self.relay.has_group {
            ToRelay::Attach(attach)
        } else {
            ToRelay::Create(Create {
                attach,
                group_info: Opaque(self.membership.group_info()?),
                token: Opaque(token.unwrap_or_default().as_bytes().to_vec()),
            })
        };
        self.state_anew();
        self.session = Some(Session { created, leaving_due: self.chain.leaving, ..Session::default() });
        self.exchange_with_lead();
        self.sends = vec![frame];
        Ok(())
    }

    /// Proves membership for a stream about large content, over the connection with this exporter value.
    ///
    /// # Errors
    /// [`DeviceError::Removed`]; [`DeviceError::Halted`] if a copy of this device has taken its place.
    pub fn attach_for_content(&self, exporter: &[u8; 32]) -> Result<Attach, DeviceError> {
        self.check_in_group()?;
        Ok(Attach {
            version: VERSION,
            suite: self.final_suite(),
            group: self.group,
            device: self.me,
            stored: 0,
            proof: Signature(attach::prove(&self.key, self.group, exporter)),
        })
    }

    /// Whether another member of the group is at the other end of the connection with this exporter value, by its proof. Of one whose
    /// removal is provisional it is false.
    pub fn is_member_at(&self, attach: &Attach, exporter: &[u8; 32]) -> bool {
        let peer = self.peers.get(&attach.device).filter(|peer| peer.member && attach.device != self.me);
        attach.group == self.group
            && self.check_in_group().is_ok()
            && peer.is_some_and(|peer| attach::check(&peer.key, self.group, exporter, &attach.proof.0).is_ok())
    }

    /// The suite that the group had when it was last quiet, as far as this device knows. A relay knows that one, whatever has
    /// become of the last change meanwhile.
    fn final_suite(&self) -> u8 {
        let before = self.before.as_ref().filter(|before| before.moved);
        let key = before.and_then(|before| self.epochs.get(&(before.epoch - 1)));
        key.map_or(self.suite() as u8, |key| key.suite)
    }

    /// The connection is gone. What was sent and not answered is sent again on the next.
    pub fn handle_disconnected(&mut self) {
        self.handle_disconnected_at(self.lead);
    }

    pub(super) fn disconnected(&mut self) {
        self.exchange_with_lead();
        self.session = None;
        self.sends.clear();
        if self.is_lead() {
            // Whoever lacks something asks again.
            self.repairing.clear();
            self.answers.clear();
        }
        // What waited for another write to go along with has its last chance now.
        self.dirty.append(&mut self.lazy);
        self.state_anew();
    }

    /// The relay that is looked at is told of every sender.
    pub(super) fn state_anew(&mut self) {
        self.unstated = self.peers.iter().filter(|(_, p)| p.seq > 0).map(|(id, _)| *id).collect();
    }

    /// A frame came from the relay.
    pub fn handle_frame(&mut self, frame: FromRelay, now: u64, rng: &mut dyn CryptoRng) {
        self.handle_frame_at(self.lead, frame, now, rng);
    }

    pub(super) fn frame(&mut self, frame: FromRelay, now: u64, rng: &mut dyn CryptoRng) {
        match frame {
            FromRelay::Attached(attached) => self.attached(&attached, now),
            FromRelay::Deliver(entries) if self.has_several() => self.deliver_apart(entries, now),
            FromRelay::Deliver(entries) => self.deliver(entries, now),
            FromRelay::Accepted(seq) => self.accepted(seq, now),
            FromRelay::Receipt(statement) => self.receipt(&statement, now),
            FromRelay::Confirmed(epoch) => self.confirmed(epoch),
            FromRelay::Presence(bytes) => self.presence_arrived(&bytes),
            FromRelay::Refused(refused) => self.refused(&refused, now),
            FromRelay::GoingAway(retry_after_ms) => {
                self.events.push(Event::Disconnect { relay: self.at, code: Code::Draining, retry_after_ms });
            }
            FromRelay::CaughtUp(cursor) => self.caught_up(cursor, now),
            // A member has its Welcome behind it, and pairing has streams of its own.
            FromRelay::GroupInfo(bytes) => self.group_info_arrived(&bytes, now, rng),
            FromRelay::Renew => self.renewal_wanted(now),
            FromRelay::Lapsed(cursor) => self.lapsed(cursor, now),
            FromRelay::KitKept(mac) => self.kit_kept(mac),
            // Where this device is woken is its driver's business.
            FromRelay::WakeSet | FromRelay::WakeKey(_) => {}
            FromRelay::Welcome(_) => self.sends.push(ToRelay::WelcomeStored),
            FromRelay::Recoverable(_)
            | FromRelay::KitSnapshot(_)
            | FromRelay::SlotOpened
            | FromRelay::Nameplate(_)
            | FromRelay::Content(_)
            | FromRelay::SlotMessage(_)
            | FromRelay::SlotClosed => self.protocol_broken(),
        }
    }

    /// The time of [`Device::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: u64, rng: &mut dyn CryptoRng) {
        self.watch_clock(now);
        if self.self_update_due_at().is_some_and(|at| at <= now) {
            self.want_change(super::records::Intent::SelfUpdate);
        }
        if self.is_online() {
            self.listen(now);
        }
        self.tell_stale();
        self.watch_lapses();
        self.watch_expiry();
        self.watch_beacon(now, limits::BEACON_EVERY);
        self.expire_epochs(now);
        self.rotate_history_holder(now);
        self.end_pauses(now);
        self.go_on_leaving_for_kit(now);
        self.give_up_late_adds(now);
        self.elect();
        self.take_held(now, rng);
        self.tell_caught_up();
        self.pump(now, rng);
        self.end_patience(now);
    }

    /// When [`Device::handle_timeout`] is due, in milliseconds since the Unix epoch.
    pub fn next_timeout(&self) -> Option<u64> {
        let Some(session) = self.session.as_ref().filter(|s| s.attached) else {
            // Old keys are erased in time, whoever keeps this device from the others.
            let lines = [self.patience_ends_at(), self.lines_due_at(), self.stall_at()];
            return lines.into_iter().chain([self.epoch_expiry_at(), self.late_add_at()]).flatten().min();
        };
        let mut times =
            vec![self.epoch_expiry_at(), self.self_update_due_at(), self.patience_ends_at(), self.late_add_at()];
        times.extend([self.lines_due_at(), self.stall_at(), self.parted_ask_at(), self.mailboxes_due_at()]);
        // What waits for something else than the time has no time here: it is done when that comes.
        let waits =
            [session.commit_after, session.push_after, session.acknowledge_after, session.leaving_for_kit.after];
        times.extend(waits.map(|at| Some(at).filter(|at| *at > 0)));
        times.extend([self.history_patience_ends_at(), self.pause_ends_at()]);
        times.extend([self.repair_at(), self.stale_at(), self.beacon_at(), self.replacing_at()]);
        times.extend([self.lapse_at(), self.roll_call_at(), self.expiry_at()]);
        times.into_iter().flatten().min()
    }

    fn attached(&mut self, attached: &Attached, now: u64) {
        if !self.relay.has_group {
            self.relay.has_group = true;
            self.relay_changed();
        }
        let head = attached.head.as_ref().map_or((0, Default::default()), |h| (h.seq, h.hash));
        if [attached.epoch, attached.newest, attached.acknowledged].into_iter().any(|n| n >= limits::NUMBER) {
            self.protocol_broken();
            return;
        }
        if !self.head_holds(attached.head.as_ref(), now) {
            return;
        }
        let confirmed = self.membership.epoch() - u64::from(self.before.is_some());
        let first = self.at == self.first();
        if first && attached.epoch < confirmed && self.may_bring_state() && !self.has_copies_from(attached.epoch) {
            // It has been set back to before a change that others have seen.
            return self.bring_state();
        }
        if std::mem::take(&mut self.relay.new) {
            self.relay_changed();
        } else if attached.acknowledged > self.relay.cursor && stands(Defence::OwnRecords) {
            // It was signed for by this device, or so the relay says.
            self.doubted(now);
        }
        self.came_back(now);
        self.is_up();
        let chain_seq = self.chain.seq;
        let accepted = self.relay.accepted;
        let session = self.session_mut();
        session.attached = true;
        session.progress_at = now;
        session.replacing.head.clone_from(&attached.head);
        session.relay_epoch = attached.epoch;
        session.confirmed_epoch = attached.epoch - u64::from(attached.provisional).min(attached.epoch);
        session.acknowledged = attached.acknowledged;
        session.next_send = head.0.min(chain_seq) + 1;
        session.history_at = now;
        self.carry_to_attached(now);
        let lacks = head.0 < accepted || attached.acknowledged < self.relay.cursor;
        if lacks || (self.session_mut().created && !self.is_alone() && self.at == self.first()) {
            // It has lost what it had, or may have. How far the others are it has to know before it orders that one of them goes.
            let heads = self.peers.values().filter(|p| p.member).filter_map(|p| p.head.clone()).collect();
            self.sends.push(ToRelay::Heads(heads));
            self.writes.push(Write::KitLost { relay: self.at });
        }
        if let Some(refused) = self.relay.refused.as_ref().filter(|refused| refused.relay == self.at) {
            self.sends.push(ToRelay::Reject(refused.reject.clone()));
        }
        if !self.is_online_elsewhere() {
            self.events.push(Event::Online);
        }
    }

    /// Whether this device may tell a relay what the group is.
    pub(super) fn may_bring_state(&self) -> bool {
        self.relay.has_group && self.identity.halted == 0 && !self.is_removed()
    }

    /// The relay has lost the group, or changes of it: the next connection begins with the group's state.
    pub(super) fn bring_state(&mut self) {
        (self.relay.has_group, self.relay.strayed_from) = (false, None);
        self.relay_changed();
        self.events.push(Event::Disconnect { relay: self.at, code: Code::UnknownGroup, retry_after_ms: 0 });
    }

    fn caught_up(&mut self, cursor: u64, now: u64) {
        if cursor >= limits::NUMBER {
            return self.protocol_broken();
        }
        let session = self.session_mut();
        session.caught_up = true;
        let confirmed = session.confirmed_epoch;
        let says = |b: &super::records::Before| b.epoch <= confirmed && (self.is_lead() || b.relay == self.at);
        if self.before.as_ref().is_some_and(says) {
            self.drop_before();
        }
        if cursor > self.relay.cursor && self.replaces_key().is_none() {
            // Whatever lies between was this device's own, or deleted.
            self.relay.cursor = cursor;
            self.relay_changed();
        }
        if self.is_lead() && confirmed > self.membership.epoch() && !self.is_removed() {
            match &self.relay.refused {
                // One that is final could not be applied.
                Some(_) => self.halt(Code::OutOfStep),
                None if self.replaces_key().is_some() => {}
                // The relay tells of an epoch without the commit that begins it: it has lost that, or keeps it back.
                None => self.doubt_order(),
            }
        }
        self.watch_beacon(now, limits::BEACON_REST);
        self.tell_stale();
        self.watch_lapses();
        self.watch_expiry();
    }

    pub(super) fn refused(&mut self, refused: &Refused, now: u64) {
        let code = refused.code();
        let retry = u64::from(refused.retry_after_ms);
        match refused.about {
            About::Session => {
                if code == Code::UnknownGroup && self.may_bring_state() {
                    self.bring_state();
                } else if matches!(code, Code::AccessDenied | Code::TokenSpent) && self.has_several() {
                    // Somebody who may bring the group there.
                    self.relay.has_group = true;
                }
                let (relay, retry_after_ms) = (self.at, refused.retry_after_ms);
                self.events.push(Event::Disconnect { relay, code, retry_after_ms });
                return;
            }
            About::Push => {
                if refused.head.is_some() && !self.head_holds(refused.head.as_ref(), now) {
                    return;
                }
                let head = refused.head.as_ref().map_or(self.relay.accepted, |h| h.seq);
                let next = head.min(self.chain.seq) + 1;
                let wait = match code {
                    // What cannot become better by itself is tried rarely; the app is told each time.
                    Code::TooLarge | Code::BadSignature | Code::Protocol | Code::Suite | Code::Version => RARELY_MS,
                    _ if retry == 0 => RETRY_MS,
                    _ => retry,
                };
                let session = self.session_mut();
                session.send_again(next);
                // Frames behind the refused one are refused for its sake, and know of no time.
                session.push_after = session.push_after.max(now + wait);
            }
            About::Commit => {
                if self.session_mut().copying {
                    self.copy_refused(code, now, retry);
                } else if self.is_replacing() {
                    if refused.head.is_some() && self.head_holds(refused.head.as_ref(), now) {
                        self.session_mut().replacing.head.clone_from(&refused.head);
                    }
                    self.replacement_refused(code, now, retry);
                } else {
                    if let Some(head) = &refused.head {
                        self.head_claimed(head);
                    }
                    self.commit_refused(code, refused.head.as_ref(), now, retry);
                }
            }
            About::Acknowledge if retry > 0 => {
                let session = self.session_mut();
                session.acknowledge_after = now + retry;
                session.acknowledged = 0;
                self.state_anew();
                self.carry_again(now);
            }
            About::Acknowledge if code == Code::StaleEpoch && self.is_lead() && self.relay.refused.is_some() => {
                // The reject came too late: the others went on with what this device cannot apply.
                self.halt(Code::OutOfStep);
            }
            About::Wake => return,
            About::Kit => return self.kit_refused(code, now, retry),
            About::GroupInfo if self.session_mut().replacing.asked_here => self.state_refused(code, now, retry),
            About::GroupInfo => self.replacement_refused(code, now, retry),
            About::Acknowledge | About::Presence | About::Slot => {}
        }
        self.events.push(Event::Refused { code, retry_after_ms: refused.retry_after_ms });
    }

    /// The relay does not keep to the protocol: the session is over.
    pub(super) fn protocol_broken(&mut self) {
        self.events.push(Event::Disconnect { relay: self.at, code: Code::Protocol, retry_after_ms: 0 });
    }

    /// The session; only called where there is one.
    pub(super) fn session_mut(&mut self) -> &mut Session {
        self.session.get_or_insert_default()
    }

    /// Whether something new may be sealed now: every commit that was offered is applied, none is in the air.
    pub(super) fn may_seal(&self, now: u64) -> bool {
        let Some(session) = self.session.as_ref() else { return false };
        session.attached
            && session.caught_up
            && session.relay_epoch <= self.membership.epoch()
            && now >= session.push_after
            && session.in_flight_bytes() < limits::IN_FLIGHT_BYTES
            && session.next_send > self.chain.seq
            && self.before.is_none()
            && self.pending.is_none()
            && self.relay.refused.is_none()
            && self.identity.halted == 0
            && !self.is_removed()
            && !(self.is_adding() && self.chain.accepted < self.chain.seq)
    }

    /// Does whatever is due: changes of the group first, then messages between engines. Blobs go through reads.
    pub(super) fn pump(&mut self, now: u64, rng: &mut dyn CryptoRng) {
        self.watch_clock(now);
        if let Some(session) = &self.session
            && (1..=now).contains(&session.acknowledge_after)
            && let Some(refused) = &self.relay.refused
        {
            self.sends.push(ToRelay::Reject(refused.reject.clone()));
        }
        self.end_waits(now);
        self.take_repaired(now);
        self.watch_repairs(now);
        self.watch_roll_call(now);
        self.give_up_lost_history(now);
        if self.doubts && self.lead == self.first() && self.session.as_ref().is_some_and(|s| s.attached) {
            self.doubts = false;
            self.doubt_branch();
        }
        self.tend_mailboxes(now);
        self.make_change(now);
        self.pump_lines(now);
        self.pump_replacement();
        self.vouch_for_state();
        while self.may_seal(now) && !self.is_alone() {
            let control = self.due_control(now);
            if control.is_empty() {
                break;
            }
            self.seal_control(control, now, rng);
        }
        self.watch_patience(now);
        if self.has_several() {
            self.on_others(|device| device.watch_patience(now));
        }
    }

    /// Times of the line that is looked at which have come.
    pub(super) fn end_waits(&mut self, now: u64) {
        let Some(session) = &mut self.session else { return };
        let waits = [&mut session.push_after, &mut session.commit_after, &mut session.acknowledge_after];
        for at in waits.into_iter().chain([&mut session.replacing.after]) {
            if *at <= now {
                *at = 0;
            }
        }
    }
}
