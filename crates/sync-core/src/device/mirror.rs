//! What happens on the lines that the device does not work through.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::defence::stands;
use sync_rules::mls::CommitMessage;
use sync_rules::{Defence, Inspected};
use sync_types::envelope::Envelope;
use sync_types::frame::{About, CopyCommits, Entry, EntryKind, FromRelay, Refused, ToRelay};
use sync_types::{Code, Opaque, decode, limits};

use super::Device;
use super::records::Copied;
use crate::RelayId;
use crate::membership::Applied;
use crate::relay_id::relays_of;
use crate::store::{Key, Read};

/// For how long whoever did not make a change waits for the others to copy it, in milliseconds.
const COPY_AFTER_MS: u64 = 2_000;
/// How long to wait before a copy that was refused is sent again, in milliseconds.
const COPY_AGAIN_MS: u64 = 30_000;

/// How long to wait before a relay is asked again what the group is there, in milliseconds.
const ASK_AGAIN_MS: u64 = 500;

/// How many commits are kept for relays that have not heard of them, and how many bytes. A relay that lacks more is brought
/// the group's state instead.
const COPIES: usize = limits::COPIED_COMMITS;
const COPY_BYTES: usize = 2 << 20;

impl<P: CryptoProvider + Clone> Device<P> {
    /// A frame from a relay that does not lead.
    pub(super) fn mirror_frame(&mut self, frame: FromRelay, now: u64, rng: &mut dyn CryptoRng) {
        match frame {
            FromRelay::Refused(refused) => self.mirror_refused(&refused, now),
            FromRelay::Confirmed(epoch) => {
                // What is final the relay says that brought it. Else it is how far this one has followed.
                if self.before.as_ref().is_some_and(|b| b.epoch == epoch && b.relay == self.at) {
                    self.drop_before();
                }
                self.followed(epoch);
            }
            frame => self.frame(frame, now, rng),
        }
    }

    /// What one relay of several hands out, up to what has to wait.
    pub(super) fn deliver_apart(&mut self, mut entries: Vec<Entry>, now: u64) {
        if self.replaces_key().is_some() && !self.is_lead() {
            return;
        }
        while !entries.is_empty() {
            let early = entries.iter().position(|entry| self.has_to_wait(entry));
            let rest = entries.split_off(early.unwrap_or(entries.len()));
            if !entries.is_empty() {
                self.deliver(entries, now);
            }
            entries = rest;
            let Some(next) = entries.first() else { return };
            if next.kind == EntryKind::Commit && self.puts_first_out(&next.bytes) {
                // A person has said that the first relay is dead.
                let commit = entries.remove(0);
                self.deliver(vec![commit], now);
                let confirmed = self.session.as_ref().map_or(0, |session| session.confirmed_epoch);
                if self.before.as_ref().is_some_and(|b| b.relay == self.at && b.epoch <= confirmed) {
                    self.drop_before();
                }
            } else if stands(Defence::OneOrder) {
                let at = self.at;
                if let Some(line) = self.lines.get_mut(&at) {
                    line.held.push_front(FromRelay::Deliver(entries));
                }
                return;
            } else {
                return self.deliver(entries, now);
            }
        }
    }

    /// Whether this lies behind what has not come yet: a change of the group that the lead brings, or the one that added its
    /// sender, where a relay was brought the group without it.
    fn has_to_wait(&self, entry: &Entry) -> bool {
        match entry.kind {
            EntryKind::Commit => !self.is_lead() && self.is_early(&entry.bytes),
            EntryKind::Envelope => Envelope::parse(&entry.bytes).is_ok_and(|envelope| {
                let header = &envelope.header;
                // Behind the first relay nothing comes any more that could add it.
                self.at != self.first()
                    && header.epoch > self.membership.epoch()
                    && !self.peers.contains_key(&header.sender)
            }),
            EntryKind::Reject => false,
        }
    }

    /// Whether this is a change of the group that the lead has not brought yet.
    fn is_early(&self, commit: &[u8]) -> bool {
        CommitMessage::parse(commit).is_ok_and(|commit| commit.epoch >= self.membership.epoch())
    }

    /// Whether this commit only takes the first relay off the list, so that the next one is the first.
    fn puts_first_out(&self, commit: &[u8]) -> bool {
        let Some((before, after)) = self.membership.relays_after(commit) else { return false };
        self.has_several() && before.get(1..).is_some_and(|rest| rest == after)
    }

    fn mirror_refused(&mut self, refused: &Refused, now: u64) {
        let code = refused.code();
        match refused.about {
            About::Commit => self.copy_refused(code, now, u64::from(refused.retry_after_ms)),
            // It has yet to hear of the epoch, or of what it has lost.
            About::Push if matches!(code, Code::StaleEpoch | Code::BrokenChain | Code::Provisional) => {
                let events = self.events.len();
                self.refused(refused, now);
                self.events.truncate(events);
            }
            _ => self.refused(refused, now),
        }
    }

    /// The relay that is looked at stands at this epoch, at least.
    pub(super) fn followed(&mut self, epoch: u64) {
        if epoch < limits::NUMBER
            && let Some(session) = &mut self.session
        {
            session.relay_epoch = session.relay_epoch.max(epoch);
        }
    }

    /// Keeps a commit that was applied, for relays that it did not go through.
    pub(super) fn keep_copy(&mut self, applied: &Applied, commit: &[u8]) {
        if !self.has_several() {
            return;
        }
        let frame = self.pending.as_ref().filter(|_| applied.own);
        let frame = frame.and_then(|pending| decode::<sync_types::frame::Commit>(&pending.frame).ok());
        let welcomes = frame.map(|frame| frame.welcomes).unwrap_or_default();
        let first = self.first();
        let ids = |settings: &_| relays_of(settings).into_iter().map(|(relay, _)| relay).collect::<Vec<_>>();
        let gave_up = self.at != first
            && applied.settings_before.as_ref().is_some_and(|before| {
                ids(before).get(1..).is_some_and(|rest| rest == ids(&self.membership.settings()))
            });
        let copied = Copied {
            hash: applied.hash,
            commit: Opaque(commit.to_vec()),
            welcomes,
            own: applied.committer == self.me,
            first,
            gave_up,
            transcript: Opaque(self.membership.transcript().to_vec()),
        };
        self.copies.insert(applied.epoch - 1, copied);
        self.dirty.insert(Key::Copy(applied.epoch - 1));
        let bytes =
            |copies: &std::collections::BTreeMap<u64, Copied>| copies.values().map(|c| c.commit.len()).sum::<usize>();
        while self.copies.len() > COPIES || (bytes(&self.copies) > COPY_BYTES && self.copies.len() > 1) {
            if let Some((epoch, _)) = self.copies.pop_first() {
                self.dirty.insert(Key::Copy(epoch));
            }
        }
    }

    /// Whether a relay may lack changes that another one has ordered.
    pub(super) fn follows(&self) -> bool {
        self.has_several() || !self.copies.is_empty()
    }

    pub(super) fn drop_copy(&mut self, epoch: u64) {
        if self.copies.remove(&epoch).is_some() {
            self.dirty.insert(Key::Copy(epoch));
        }
    }

    /// The last epoch that is final, as far as this device knows.
    fn final_epoch(&self) -> u64 {
        self.membership.epoch() - u64::from(self.before.is_some())
    }

    /// Whether a relay at this epoch can be led on commit by commit.
    pub(super) fn has_copies_from(&self, epoch: u64) -> bool {
        epoch < self.final_epoch() && (epoch..self.final_epoch()).all(|epoch| self.copies.contains_key(&epoch))
    }

    /// Whether the relay that is looked at knows the group as it is now.
    pub(super) fn knows_epoch(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.attached && s.relay_epoch >= self.membership.epoch())
    }

    /// Tells the relay that is looked at of changes that it did not order: whoever made them at once, the others if that one
    /// does not.
    pub(super) fn copy_commits(&mut self, now: u64) {
        let until = self.final_epoch();
        // The state that goes along is the newest one, so it waits until that is final.
        let may = self.follows()
            && until == self.membership.epoch()
            && self.identity.halted == 0
            && self.identity.removed_by.is_none();
        let Some(session) = self.session.as_mut().filter(|s| s.attached && s.caught_up) else { return };
        if !may {
            session.copy_at = 0;
            return;
        }
        let epoch = session.relay_epoch;
        if epoch >= until || session.copying {
            (session.copy_at, session.copying) = (0, session.copying && epoch < until);
            if epoch >= until && !self.has_several() {
                // The relay that is left knows all of it.
                let known = std::mem::take(&mut self.copies).into_keys();
                self.dirty.extend(known.map(Key::Copy));
            }
            return;
        }
        let own = self.copies.get(&(until - 1)).is_some_and(|copy| copy.own);
        if session.copy_at == 0 {
            session.copy_at = if own { now } else { now + COPY_AFTER_MS };
        }
        if session.copy_at > now {
            return;
        }
        if !self.has_copies_from(epoch) {
            self.session_mut().copy_at = now + COPY_AGAIN_MS;
            return self.look_and_bring();
        }
        let Ok(group_info) = self.membership.group_info() else { return };
        let copies = self.copies.range(epoch..until).map(|(_, copy)| copy);
        let frame = CopyCommits {
            commits: copies.clone().map(|copy| copy.commit.clone()).collect(),
            group_info: Opaque(group_info),
            welcomes: copies.flat_map(|copy| copy.welcomes.clone()).collect(),
        };
        self.sends.push(ToRelay::CopyCommits(frame));
        let session = self.session_mut();
        (session.copying, session.copy_at) = (true, 0);
    }

    pub(super) fn copy_refused(&mut self, code: Code, now: u64, retry_ms: u64) {
        let session = self.session_mut();
        session.copying = false;
        session.copy_at = now + retry_ms.max(COPY_AGAIN_MS);
        // It went another way than the group.
        if matches!(code, Code::CommitRefused | Code::Protocol) {
            self.look_and_bring();
        }
    }

    /// Brings the group's state to the relay that is looked at. Where that is not the first one, it is asked first what the
    /// group is there: it may be where the group has given up its first relay.
    fn look_and_bring(&mut self) {
        if !self.may_bring_state() {
            return;
        }
        if self.at == self.first() {
            return self.bring_state();
        }
        self.session_mut().replacing.bring_here = true;
        self.doubt_order();
    }

    /// What is due on the lines that do not lead.
    pub(super) fn pump_lines(&mut self, now: u64) {
        self.copy_commits(now);
        self.ask_again(now);
        self.carry(now);
        if self.lines.len() < 2 {
            return;
        }
        self.on_others(|device| {
            if stands(Defence::Clock) {
                device.bound_waits(now);
            }
            device.end_waits(now);
            device.copy_commits(now);
            device.vouch_for_state();
            device.ask_again(now);
            device.carry(now);
        });
        self.lift_own_end();
    }

    /// Asks again what the group is at the relay that is looked at, if it could not say.
    fn ask_again(&mut self, now: u64) {
        let due = |s: &super::session::Session| (1..=now).contains(&s.replacing.ask_here_at);
        if self.session.as_ref().is_some_and(due) {
            self.session_mut().replacing.ask_here_at = 0;
            self.doubt_order();
        }
    }

    /// It could not say what the group is there: the last change is provisional still, or too much was asked.
    pub(super) fn state_refused(&mut self, code: Code, now: u64, retry_ms: u64) {
        let wait = if matches!(code, Code::Provisional) { ASK_AGAIN_MS } else { COPY_AGAIN_MS };
        let replacing = &mut self.session_mut().replacing;
        replacing.asked_here = false;
        replacing.ask_here_at = now + retry_ms.max(wait);
    }

    /// Times of the other lines.
    pub(super) fn lines_due_at(&self) -> Option<u64> {
        let waits = |session: &super::session::Session| {
            let times = [session.push_after, session.acknowledge_after, session.copy_at, session.replacing.ask_here_at];
            times.into_iter().filter(|at| *at > 0).min()
        };
        let waiting =
            self.order.iter().filter_map(|relay| self.session_of(*relay).filter(|s| s.attached).and_then(waits));
        waiting.chain(self.order.iter().filter_map(|relay| self.carries_at(*relay))).min()
    }

    /// Another relay has more of the chain of this device than the lead, whose word the cut will be.
    fn lift_own_end(&mut self) {
        if self.replaces_key().is_none() {
            return;
        }
        let others = self.others().into_iter();
        let known = others.filter_map(|relay| self.session_of(relay)?.replacing.head.clone());
        let Some(head) = known.max_by_key(|head| head.seq) else { return };
        let Some(session) = self.session.as_mut().filter(|s| s.attached) else { return };
        if session.replacing.head.as_ref().is_none_or(|own| own.seq < head.seq) && self.replacement.is_none() {
            session.replacing.head = Some(head.clone());
            self.sends.push(ToRelay::Heads(vec![head]));
        }
    }

    /// The relay that own envelopes have to be read for.
    pub(super) fn sealed_reader(&self, now: u64) -> Option<(RelayId, Read)> {
        if self.identity.halted != 0 || self.is_removed() {
            return None;
        }
        let reader = |relay: RelayId| {
            let session = self.session_of(relay).filter(|s| s.attached)?;
            // A relay takes nothing of an epoch that it has not heard of.
            let in_step = relay == self.lead || session.relay_epoch >= self.chain.epoch;
            let due = in_step
                && now >= session.push_after
                && session.next_send <= self.chain.seq
                && session.in_flight_bytes() < limits::IN_FLIGHT_BYTES;
            let room = limits::IN_FLIGHT_BYTES.saturating_sub(session.in_flight_bytes());
            let read = Read::Sealed { from_seq: session.next_send, max_bytes: room.min(limits::DELIVER_BYTES) };
            due.then_some((relay, read))
        };
        reader(self.lead).or_else(|| self.others().into_iter().find_map(reader))
    }

    /// Sends what was just sealed to the other relays too, where all before is on its way.
    pub(super) fn fan_out(&mut self, seq: u64, envelope: &Opaque, now: u64) {
        if self.lines.len() < 2 {
            return;
        }
        self.on_others(|device| {
            let epoch = device.chain.epoch;
            let ready = device.session.as_ref().is_some_and(|s| {
                s.attached
                    && s.next_send == seq
                    && s.relay_epoch >= epoch
                    && now >= s.push_after
                    && s.in_flight_bytes() < limits::IN_FLIGHT_BYTES
            });
            if ready {
                device.send_sealed(vec![(seq, device.chain.hash, envelope.clone())]);
            }
        });
    }

    /// A commit of an epoch that is over. If it is another one than this device went on with, somebody shows two orders.
    pub(super) fn compare_order(&mut self, bytes: &[u8]) {
        let Ok(commit) = CommitMessage::parse(bytes) else { return };
        match self.copies.get(&commit.epoch) {
            Some(copy) if copy.hash != commit.hash && stands(Defence::ShownOrders) => {
                let from = self.relay.strayed_from.map_or(commit.epoch, |from| from.min(commit.epoch));
                self.relay.strayed_from = Some(from);
                self.relay_changed();
                self.doubt_order();
            }
            known => {
                if known.is_some() && self.relay.strayed_from.take_if(|from| *from <= commit.epoch).is_some() {
                    self.relay_changed();
                }
                self.followed(commit.epoch + 1);
            }
        }
        // Only what is final is copied; but while the first relay is there, that one says so.
        let copied = |b: &super::records::Before| b.commit_hash == commit.hash && b.relay != self.at;
        if self.before.as_ref().is_some_and(copied) && self.is_down(self.first()) {
            self.drop_before();
        }
    }

    /// Asks the relay that is looked at what the group is there.
    pub(super) fn doubt_order(&mut self) {
        if self.at == self.first() {
            return self.doubt_branch();
        }
        self.ask_here();
    }

    /// Asks the relay that is looked at, which is not the first one.
    pub(super) fn ask_here(&mut self) {
        if self.identity.halted == 0
            && stands(Defence::ShownOrders)
            && let Some(session) = self.session.as_mut().filter(|s| s.attached && !s.replacing.asked_here)
        {
            session.replacing.asked_here = true;
            self.sends.push(ToRelay::GroupInfo(None));
        }
    }

    /// The state of the group at a relay that is not the first. It counts only if the group has given the first one up there.
    pub(super) fn state_elsewhere(&mut self, group_info: &[u8]) {
        let bring = std::mem::take(&mut self.session_mut().replacing.bring_here);
        let Ok(state) = self.inspect(group_info) else {
            // Whoever signed it may be met yet.
            let again = self.clock + COPY_AGAIN_MS;
            let replacing = &mut self.session_mut().replacing;
            (replacing.bring_here, replacing.ask_here_at) = (bring, if bring { again } else { 0 });
            return;
        };
        if self.has_given_up_first(&state) && !self.membership.is_at(state.observed.epoch, &state.transcript) {
            self.through = Some(self.at);
            // Nobody confirms or answers any more what the first one ordered or was sent.
            if self.before.take().is_some() {
                self.dirty.insert(Key::Before);
            }
            if self.drop_pending().is_some() {
                self.membership.clear_pending();
                self.dirty.insert(Key::Membership);
            }
            self.halt(Code::OutOfStep);
        } else if bring && self.may_bring_state() && state.observed.epoch < self.membership.epoch() {
            self.bring_state();
        }
    }

    /// Whether the group, as it is at the relay that is looked at, has given up the relay that is its first here, and has done
    /// so since that one was the first.
    ///
    /// Where two changes were made of one state, the one that gave up the relay which ordered the other is the group's. Whoever
    /// has made it so stays with it, and nobody follows a state of its own past.
    pub(super) fn has_given_up_first(&self, state: &Inspected) -> bool {
        let (epoch, order) = (state.observed.epoch, relays_of(&state.observed.settings));
        if order.first().is_none_or(|(relay, _)| *relay != self.at) {
            return false;
        }
        let gone = |first: RelayId| order.iter().all(|(relay, _)| *relay != first);
        let own = epoch.checked_sub(1).and_then(|before| self.copies.get(&before));
        let past = own.is_some_and(|copy| *copy.transcript == *state.transcript);
        let since = self.record_of(self.first()).map_or(0, |record| record.first_since);
        let from = self.relay.strayed_from;
        let own_way = from.and_then(|from| self.copies.get(&from));
        if own_way.is_some_and(|copy| copy.gave_up) || (past && stands(Defence::GivenUp)) {
            return false;
        }
        (gone(self.first()) && (epoch > since || !stands(Defence::GivenUp)))
            || from
                .filter(|from| own_way.is_some() && *from < epoch)
                .is_some_and(|from| self.copies.range(from..epoch).any(|(_, copy)| gone(copy.first)))
    }
}
