//! Changes of the group: making them, applying them in the relay's order, undoing one that a member could not apply.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::mls::CommitMessage;
use sync_types::body::{Baseline, Reached};
use sync_types::envelope::Header;
use sync_types::frame::{Commit, Cut, Head, ToRelay, WelcomeFor};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, Opaque, Suite, decode, encode, limits};

use super::Device;
use super::records::{Before, Intent, Peer, Pending, RelaysIntent};
use crate::event::{Event, Exit, Outcome};
use crate::membership::{Applied, ApplyError, Change, PrepareError, Prepared};
use crate::store::{Key, Write};

/// How long a refused change waits when the relay names no time, in milliseconds.
const RETRY_MS: u64 = 100;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Makes the change that is due, if the group is quiet: removals first.
    pub(super) fn make_change(&mut self, now: u64) {
        if let Some(code) = self.identity.halted() {
            return self.give_up_changes(code);
        }
        let Some(session) = self.session.as_ref() else { return };
        let quiet = session.attached
            && self.may_commit()
            && session.caught_up
            && self.before.is_none()
            && self.relay.refused.is_none()
            && !self.is_removed();
        if !quiet {
            return;
        }
        if let Some(pending) = &self.pending {
            if !session.commit_sent && now >= session.commit_after {
                if let Ok(frame) = decode::<Commit>(&pending.frame) {
                    self.send_commit(frame);
                }
                self.session_mut().commit_sent = true;
            }
            return;
        }
        if now < session.commit_after || self.session.as_ref().is_some_and(|s| s.relay_epoch > self.membership.epoch())
        {
            return;
        }
        while let Some(intent) = self.next_intent(now) {
            if matches!(intent, Intent::Add(_)) && self.chain.accepted < self.chain.seq {
                // A newcomer's baseline promises no envelope that a removal of this device could still cut off.
                return;
            }
            match self.prepare(&intent, now) {
                Ok(pending) => {
                    let frame: Commit = decode(&pending.frame).expect("it was encoded a line ago");
                    self.pending = Some(pending);
                    self.dirty.insert(Key::Pending);
                    self.dirty.insert(Key::Membership);
                    self.send_commit(frame);
                    return;
                }
                Err(error) => self.give_up(&intent, error.code()),
            }
        }
    }

    fn send_commit(&mut self, frame: Commit) {
        let group_info = frame.group_info.clone();
        self.sends.push(ToRelay::Commit(frame));
        self.vouch_for_commit(&group_info);
        self.session_mut().commit_sent = true;
    }

    /// Takes nobody in any more who has stopped waiting, whether or not a relay lets this device change anything. What the
    /// relay may have ordered already is not given up.
    pub(super) fn give_up_late_adds(&mut self, now: u64) {
        let ordered = |intent: &Intent| self.pending.as_ref().is_some_and(|pending| pending.intent == *intent);
        let late = |i: &&Intent| matches!(i, Intent::Add(add) if add.expires_at <= now) && !ordered(i);
        for intent in self.intents.list.iter().filter(late).cloned().collect::<Vec<_>>() {
            self.give_up(&intent, Code::Timeout);
        }
    }

    pub(super) fn late_add_at(&self) -> Option<u64> {
        let ordered = |intent: &Intent| self.pending.as_ref().is_some_and(|pending| pending.intent == *intent);
        let expires = |intent: &Intent| match intent {
            Intent::Add(add) if !ordered(intent) => Some(add.expires_at),
            _ => None,
        };
        self.intents.list.iter().filter_map(expires).min()
    }

    /// The next change to make. What came true by somebody else's commit is taken off the list.
    fn next_intent(&mut self, now: u64) -> Option<Intent> {
        self.give_up_late_adds(now);
        let members: Vec<DeviceId> = self.membership.members().iter().map(|m| m.device).collect();
        let before = self.intents.list.len();
        self.intents.list.retain(|intent| match intent {
            Intent::Remove(device) | Intent::RemoveLost(device) | Intent::Leave(device) => members.contains(device),
            Intent::Add(add) => !members.contains(&add.device),
            Intent::SelfUpdate | Intent::Relays(_) | Intent::Mailboxes => true,
            Intent::Suite(suite) => *suite != self.membership.suite() as u8,
            Intent::Kit(key) => self.agreed.next.as_ref().is_some_and(|next| next.key == *key),
        });
        let (relays, first) = (self.membership.settings().relays, self.first());
        // What was given up is the first no more.
        let moot = |wanted: &RelaysIntent| wanted.list == relays || wanted.gives_up.is_some_and(|relay| relay != first);
        self.intents.list.retain(|intent| !matches!(intent, Intent::Relays(wanted) if moot(wanted)));
        if self.intents.list.contains(&Intent::Mailboxes) && self.mailboxes_to_name().is_none() {
            self.intents.list.retain(|intent| *intent != Intent::Mailboxes);
        }
        if self.intents.list.len() != before {
            self.dirty.insert(Key::Intents);
        }
        if self.lead != self.first() {
            return self.intents.list.iter().find(|intent| self.gives_up_first(intent)).cloned();
        }
        let removal = self.intents.list.iter().find(|i| i.removes().is_some());
        removal.or_else(|| self.intents.list.iter().find(|intent| self.is_ready(intent))).cloned()
    }

    fn prepare(&mut self, intent: &Intent, now: u64) -> Result<Pending, PrepareError> {
        let (change, cut, baseline) = match intent {
            Intent::Suite(suite) => {
                let suite = Suite::from_wire(*suite).map_err(|_| PrepareError::Suite)?;
                let (packages, random) = self.packages();
                let prepared = self.membership.prepare_move(&self.key, suite, &random, &packages, now)?;
                return Ok(pending(intent, prepared));
            }
            Intent::Remove(device) | Intent::RemoveLost(device) | Intent::Leave(device) => {
                let lost = matches!(intent, Intent::RemoveLost(_));
                let peer = self.peers.get(device).ok_or(PrepareError::UnknownDevice(*device))?;
                let last = vec![Reached { sender: *device, seq: peer.seq, hash: peer.hash }];
                if self.has_several()
                    && let Some(head) = peer.head.clone()
                {
                    // Another relay may have brought more of its chain than this one has.
                    self.sends.push(ToRelay::Heads(vec![head]));
                }
                (Change::Remove(vec![*device]), encode(&Cut { last, lost }), None)
            }
            Intent::Add(add) => {
                let baseline = encode(&Baseline { frontier: self.frontier(), kit: self.agreed.share.clone() });
                (Change::Add(vec![add.key_package.0.clone()]), encode(&Cut::default()), Some(baseline))
            }
            Intent::SelfUpdate => (Change::SelfUpdate, encode(&Cut::default()), None),
            Intent::Kit(key) => (Change::Settings(self.with_recovery_key(key)), encode(&Cut::default()), None),
            Intent::Relays(relays) => {
                let settings = Settings { relays: relays.list.clone(), ..self.membership.settings() };
                (Change::Settings(settings), encode(&Cut::default()), None)
            }
            Intent::Mailboxes => {
                let settings = self.membership.settings();
                let relays = self.mailboxes_to_name().unwrap_or_else(|| settings.relays.clone());
                (Change::Settings(Settings { relays, ..settings }), encode(&Cut::default()), None)
            }
        };
        let prepared = self.membership.prepare(change, cut, baseline, now)?;
        Ok(pending(intent, prepared))
    }

    /// A device that has stopped makes no change any more. One that the relay may have ordered already is not given up
    /// before the relay has said what became of it, by an answer or by what it hands out until it is through.
    fn give_up_changes(&mut self, code: Code) {
        let answered = self.session.as_ref().is_some_and(|s| s.caught_up && !s.commit_sent);
        if answered && self.drop_pending().is_some() {
            self.membership.clear_pending();
            self.dirty.insert(Key::Membership);
        }
        let ordered = self.pending.as_ref().map(|pending| pending.intent.clone());
        let given_up = |intent: &&Intent| ordered.as_ref() != Some(intent);
        // A newcomer waits for a commit of this key; any other change may be made under the next.
        let lasts = |intent: &&Intent| self.replaces_key().is_none() || matches!(intent, Intent::Add(_));
        for intent in self.intents.list.iter().filter(given_up).filter(lasts).cloned().collect::<Vec<_>>() {
            self.give_up(&intent, code);
        }
    }

    pub(super) fn give_up(&mut self, intent: &Intent, code: Code) {
        self.finish(intent);
        let device = match intent {
            Intent::Remove(device) | Intent::RemoveLost(device) | Intent::Leave(device) => *device,
            Intent::Add(add) => add.device,
            Intent::SelfUpdate | Intent::Kit(_) | Intent::Relays(_) | Intent::Suite(_) | Intent::Mailboxes => self.me,
        };
        self.events.push(Event::ChangeFailed { device, code });
    }

    fn finish(&mut self, intent: &Intent) {
        self.intents.list.retain(|i| i != intent);
        self.dirty.insert(Key::Intents);
    }

    pub(super) fn drop_pending(&mut self) -> Option<Pending> {
        let pending = self.pending.take()?;
        self.dirty.insert(Key::Pending);
        if let Some(session) = &mut self.session {
            session.commit_sent = false;
        }
        Some(pending)
    }

    pub(super) fn commit_refused(&mut self, code: Code, head: Option<&Head>, now: u64, retry_ms: u64) {
        // A refusal names no commit. Each that lost while it was on its way is refused once, before anything later is.
        let session = self.session_mut();
        if session.commits_lost > 0 {
            session.commits_lost -= 1;
            return;
        }
        let again = now + if retry_ms == 0 { RETRY_MS } else { retry_ms };
        self.session_mut().commit_after = again;
        match code {
            // The very same commit goes again.
            Code::Provisional | Code::Quota | Code::RateLimited | Code::Draining | Code::Internal => {
                self.session_mut().commit_sent = false;
            }
            // Another one, on what has changed meanwhile.
            Code::StaleEpoch | Code::StaleCut => {
                if let Some(pending) = self.drop_pending() {
                    self.membership.clear_pending();
                    self.dirty.insert(Key::Membership);
                    let removed = pending.intent.removes().map(|(device, _)| device);
                    let is_of_removed =
                        |head: &&Head| Header::parse(&head.header).is_ok_and(|header| Some(header.sender) == removed);
                    if let Some(head) = head.filter(is_of_removed) {
                        self.goes_without(head, now);
                    }
                }
            }
            code => {
                if let Some(pending) = self.drop_pending() {
                    self.membership.clear_pending();
                    self.dirty.insert(Key::Membership);
                    self.give_up(&pending.intent, code);
                }
            }
        }
    }

    pub(super) fn commit_arrived(&mut self, cursor: u64, bytes: &[u8], now: u64) {
        if self.is_own_replacement(bytes) {
            return self.take_over(now);
        }
        if self.relay.rejected.contains(&CommitMessage::hash(bytes)) && stands(Defence::Rejected) {
            return self.count(Outcome::StaleCommit);
        }
        let state = match self.membership.state() {
            Ok(state) => state,
            Err(error) => {
                self.refuse(Outcome::BadCommit, cursor, None, bytes, now);
                self.halt(error.code());
                return;
            }
        };
        let secrets = self.moving.secrets();
        match self.membership.apply_by(bytes, &secrets) {
            Ok(applied) => {
                self.keep_copy(&applied, bytes);
                self.applied(applied, &state, now);
            }
            Err(ApplyError::Stale { .. }) => {
                self.count(Outcome::StaleCommit);
                if self.follows() {
                    self.compare_order(bytes);
                }
            }
            Err(ApplyError::Removed) => self.count(Outcome::StaleCommit),
            // What it does not know the keys for is behind its next ones.
            Err(_) if self.replaces_key().is_some() => self.count(Outcome::StaleCommit),
            // No member's doing: to reject it, or to believe that others applied it, would be the relay's gain.
            Err(error) if error.deserves_reject() && self.is_relays_doing(bytes) => {
                // With several relays it may be honest, and of the branch of those who have given one up.
                let outcome = if self.has_several() { Outcome::OtherBranch } else { Outcome::Forged };
                self.refuse(outcome, cursor, None, bytes, now);
                if self.has_several() {
                    self.doubt_order();
                }
            }
            Err(ApplyError::OwnUnknown) => {
                self.refuse(Outcome::BadCommit, cursor, Some(self.me), bytes, now);
                self.halt(Code::RolledBack);
            }
            Err(error) => {
                self.refuse(Outcome::BadCommit, cursor, None, bytes, now);
                self.reject(&error, cursor, bytes);
            }
        }
    }

    fn is_relays_doing(&self, commit: &[u8]) -> bool {
        stands(Defence::RelayOrders) && !self.membership.may_be_ordered(commit)
    }

    fn applied(&mut self, applied: Applied, state: &[u8], now: u64) {
        self.count(Outcome::Accepted);
        self.followed(applied.epoch);
        if applied.settings_before.is_some() {
            self.relays_unsettled = Some(applied.committer);
        }
        let sent = self.session.as_ref().is_some_and(|s| s.commit_sent);
        let (own, lost) = match self.drop_pending() {
            Some(pending) if applied.own => (Some(pending.intent), None),
            pending => (None, pending),
        };
        if sent && lost.is_some() {
            self.session_mut().commits_lost += 1;
        }
        // Every member has read who asked to go before it applies what the asking led to.
        let exit = |device: &DeviceId| match self.intents.list.contains(&Intent::Leave(*device)) {
            _ if applied.cut.lost => Exit::Lost,
            true => Exit::Left,
            false => Exit::Removed,
        };
        let exits: Vec<_> = applied.removed.iter().map(|device| (*device, exit(device))).collect();
        if let Some(intent) = &own {
            self.finish(intent);
        }
        self.before = Some(Before {
            epoch: applied.epoch,
            commit_hash: applied.hash,
            committer: applied.committer,
            added: applied.added.clone(),
            removed: applied.removed.clone(),
            replaced: applied.replaced,
            moved: applied.suite_before.is_some(),
            own: own.clone(),
            relay: self.at,
            lost,
            state: state.to_vec(),
        });
        self.dirty.insert(Key::Before);
        self.dirty.insert(Key::Membership);
        self.waiting_for_epoch.clear();
        if applied.committer == self.me {
            self.chain.since_update = 0;
            self.chain.updated_at = now;
            self.dirty.insert(Key::Chain);
        }
        if applied.removed_me {
            (self.identity.removed_by, self.identity.lost) = (Some(applied.committer), applied.cut.lost);
            self.dirty.insert(Key::Identity);
            return;
        }
        self.alive(applied.committer, now);
        if let Some(session) = &mut self.session {
            // Whoever read it may be gone, and who came later has not.
            session.leaving_due |= self.chain.leaving;
        }
        self.cut_off(&applied, now);
        let ended = applied.epoch - 1;
        if let Some(key) = self.epochs.get_mut(&ended) {
            key.ended_at = Some(now);
            self.dirty.insert(Key::Epoch(ended));
        }
        if let Err(error) = self.begin_epoch(now) {
            self.halt(error.code());
            return;
        }
        if let Some(Intent::Add(add)) = &own
            && let Some(peer) = self.peers.get_mut(&add.device)
        {
            peer.name = add.name.clone();
            self.dirty.insert(Key::Peer(add.device));
        }
        let by = applied.committer;
        if let Some(before) = &applied.settings_before {
            self.settings_changed(before, by, applied.hash, now);
        }
        if applied.recovered {
            self.agreed.recovered = Some(by);
            self.dirty.insert(Key::Agreed);
            self.events.push(Event::DeviceRecovered { device: by });
            self.retry_receipts(now);
            return self.expire_epochs(now);
        }
        if let Some(old) = applied.replaced {
            self.leave_name_to(by);
            self.was_replaced(old, by);
            self.retry_receipts(now);
            return self.expire_epochs(now);
        }
        if applied.suite_before.is_some() {
            self.moved(&applied, now);
        }
        self.events.extend(applied.added.iter().map(|device| Event::DeviceAdded { device: *device, by }));
        self.events.extend(exits.into_iter().map(|(device, exit)| Event::DeviceRemoved { device, by, exit }));
        self.retry_receipts(now);
        self.expire_epochs(now);
    }

    /// Puts the removed devices' last envelopes on record: nothing beyond counts.
    fn cut_off(&mut self, applied: &Applied, now: u64) {
        for device in &applied.removed {
            self.drop_jobs_of(*device);
            let Some(peer) = self.peers.get_mut(device) else { continue };
            // The relay orders a removal only at the sender's head.
            let last = applied.cut.last.iter().find(|r| r.sender == *device);
            let seq = last.map_or(peer.seq, |r| r.seq);
            peer.member = false;
            peer.cut = Some(seq);
            peer.heard = seq;
            let beyond = peer.gaps.split_off(peer.gaps.partition_point(|gap| *gap <= seq));
            self.counts[Outcome::RemovedSender as usize] += beyond.len() as u64;
            self.writes.extend(beyond.into_iter().map(|seq| Write::DropGap { sender: *device, seq }));
            let more = peer.seq > seq;
            let forked = more || last.is_some_and(|r| r.seq == peer.seq && r.hash != peer.hash);
            self.dirty.insert(Key::Peer(*device));
            if more && self.has_several() {
                self.keep_past_cut(*device, seq, now);
            } else if forked && stands(Defence::CutFork) {
                self.halt(Code::Forked);
            }
        }
    }

    pub(super) fn confirmed(&mut self, epoch: u64) {
        if self.before.as_ref().is_some_and(|b| b.epoch == epoch) {
            self.drop_before();
        }
        if self.relay.refused.as_ref().is_some_and(|r| r.epoch == epoch) {
            // The others went on with what this device cannot apply.
            self.halt(Code::OutOfStep);
        } else if epoch > self.membership.epoch() && self.session.as_ref().is_some_and(|s| s.caught_up) {
            // The commit that begins it was never in this log.
            self.protocol_broken();
        }
    }

    pub(super) fn drop_before(&mut self) {
        let Some(before) = self.before.take() else { return };
        self.dirty.insert(Key::Before);
        if before.moved {
            self.forget_move();
        }
        if !self.relay.rejected.is_empty() {
            self.relay.rejected.clear();
            self.decision_changed();
        }
        match self.identity.removed_by {
            // Whoever had this key had all that this device has: it is a copy of it, or this one is a copy.
            Some(_) if before.replaced == Some(self.me) => self.halt(Code::Cloned),
            Some(by) => {
                let (lost, recovered) = (self.identity.lost, self.agreed.recovered == Some(by));
                self.events.push(Event::Removed { by, lost, recovered });
            }
            None => {}
        }
        self.count_delivered();
    }

    /// Erases the keys of epochs that every member's chain has passed, or that ended long ago.
    pub(super) fn expire_epochs(&mut self, now: u64) {
        // A commit that may be undone yet has ended nothing, and put out nobody.
        let before = self.before.as_ref();
        let counts = |id: &DeviceId, p: &Peer| p.member || before.is_some_and(|b| b.removed.contains(id));
        let epochs = self.peers.iter().filter(|(id, p)| counts(id, p)).map(|(_, p)| p.epoch);
        let passed = epochs.min().unwrap_or(u64::MAX);
        let over = self.epochs_over();
        let kept = limits::EPOCH_KEY_RETENTION.as_millis() as u64;
        let gone = |epoch: u64, ended: u64| epoch < passed || now.saturating_sub(ended) >= kept;
        let ended = self.epochs.range(..over).filter_map(|(epoch, key)| Some((*epoch, key.ended_at?)));
        let expired: Vec<u64> = ended.filter(|(epoch, at)| gone(*epoch, *at)).map(|(epoch, _)| epoch).collect();
        for epoch in expired {
            self.epochs.remove(&epoch);
            self.dirty.insert(Key::Epoch(epoch));
        }
    }

    pub(super) fn epoch_expiry_at(&self) -> Option<u64> {
        let kept = limits::EPOCH_KEY_RETENTION.as_millis() as u64;
        let ended = self.epochs.range(..self.epochs_over()).filter_map(|(_, key)| key.ended_at);
        ended.min().map(|ended| ended.saturating_add(kept))
    }

    /// Epochs below this have ended for good.
    fn epochs_over(&self) -> u64 {
        let present = self.membership.epoch();
        self.before.as_ref().map_or(present, |before| present.min(before.epoch.saturating_sub(1)))
    }

    /// A week after the last commit of this device, and up to a day later, by its id, so that not all come at once.
    /// `None` where there is nobody to renew keys for, where it is under way, and once this device has stopped.
    pub(super) fn self_update_due_at(&self) -> Option<u64> {
        if self.is_alone() || self.identity.halted != 0 || self.intents.list.contains(&Intent::SelfUpdate) {
            return None;
        }
        if self.chain.since_update >= limits::SELF_UPDATE_ENVELOPES {
            return Some(0);
        }
        let jitter = u64::from(u32::from_be_bytes([0, self.me.0[0], self.me.0[1], self.me.0[2]])) * 5;
        Some(self.chain.updated_at + limits::SELF_UPDATE_EVERY.as_millis() as u64 + jitter)
    }
}

/// A commit that is to be brought to the relay.
fn pending(intent: &Intent, prepared: Prepared) -> Pending {
    let welcomes = prepared.welcomes.into_iter();
    let frame = Commit {
        commit: Opaque(prepared.commit),
        group_info: Opaque(prepared.group_info),
        welcomes: welcomes.map(|(device, bytes)| WelcomeFor { device, welcome: Opaque(bytes) }).collect(),
    };
    Pending { intent: intent.clone(), frame: Opaque(encode(&frame)) }
}
