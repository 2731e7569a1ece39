//! Changes of the group: making them, applying them in the relay's order, undoing one that a member could not apply.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::mls::CommitMessage;
use sync_rules::statement::{sign_reject, verify_reject};
use sync_types::body::{Baseline, Reached};
use sync_types::frame::{Commit, Cut, Reject, Signature, ToRelay, WelcomeFor};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, EntryHash, Opaque, decode, encode, limits};

use super::Device;
use super::records::{Before, Intent, Peer, Pending, RefusedCommit, RelaysIntent};
use crate::event::{Event, Exit, Outcome};
use crate::membership::{Applied, ApplyError, Change, Membership, PrepareError};
use crate::store::{Key, Write};

/// How long a refused change waits when the relay names no time, in milliseconds.
const RETRY_MS: u64 = 100;

/// How many rejected commits are remembered, as a relay does.
const REJECTED: usize = 64;

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
            Intent::SelfUpdate | Intent::Relays(_) => true,
            Intent::Kit(key) => self.agreed.next.as_ref().is_some_and(|next| next.key == *key),
        });
        let (relays, first) = (self.membership.settings().relays, self.first());
        // What was given up is the first no more.
        let moot = |wanted: &RelaysIntent| wanted.list == relays || wanted.gives_up.is_some_and(|relay| relay != first);
        self.intents.list.retain(|intent| !matches!(intent, Intent::Relays(wanted) if moot(wanted)));
        if self.intents.list.len() != before {
            self.dirty.insert(Key::Intents);
        }
        if self.lead != self.first() {
            return self.intents.list.iter().find(|intent| self.gives_up_first(intent)).cloned();
        }
        let removal = self.intents.list.iter().find(|i| i.removes().is_some());
        removal.or_else(|| self.intents.list.first()).cloned()
    }

    fn prepare(&mut self, intent: &Intent, now: u64) -> Result<Pending, PrepareError> {
        let (change, cut, baseline) = match intent {
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
        };
        let prepared = self.membership.prepare(change, cut, baseline, now)?;
        let welcomes = prepared.welcomes.into_iter();
        let frame = Commit {
            commit: Opaque(prepared.commit),
            group_info: Opaque(prepared.group_info),
            welcomes: welcomes.map(|(device, bytes)| WelcomeFor { device, welcome: Opaque(bytes) }).collect(),
        };
        Ok(Pending { intent: intent.clone(), frame: Opaque(encode(&frame)) })
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

    fn give_up(&mut self, intent: &Intent, code: Code) {
        self.finish(intent);
        let device = match intent {
            Intent::Remove(device) | Intent::RemoveLost(device) | Intent::Leave(device) => *device,
            Intent::Add(add) => add.device,
            Intent::SelfUpdate | Intent::Kit(_) | Intent::Relays(_) => self.me,
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

    pub(super) fn commit_refused(&mut self, code: Code, now: u64, retry_ms: u64) {
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
                if self.drop_pending().is_some() {
                    self.membership.clear_pending();
                    self.dirty.insert(Key::Membership);
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
        match self.membership.apply(bytes) {
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
            self.was_replaced(old, by);
            self.retry_receipts(now);
            return self.expire_epochs(now);
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

    /// Says to all that this device cannot apply a commit, so that the relay takes it back.
    fn reject(&mut self, error: &ApplyError, cursor: u64, bytes: &[u8]) {
        let Ok(commit) = CommitMessage::parse(bytes) else { return };
        if !error.deserves_reject() || !stands(Defence::Reject) {
            return;
        }
        let mut reject = Reject {
            device: self.me,
            epoch: commit.epoch + 1,
            commit_hash: commit.hash,
            signature: Signature([0; 64]),
        };
        sign_reject(&self.key, &self.group, &mut reject);
        let bytes = Opaque(encode(&reject));
        let after = cursor.saturating_sub(1);
        let relay = self.at;
        self.relay.refused = Some(RefusedCommit { epoch: reject.epoch, after, relay, reject: bytes.clone() });
        self.decision_changed();
        self.sends.push(ToRelay::Reject(bytes));
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

    pub(super) fn reject_arrived(&mut self, cursor: u64, bytes: &[u8], now: u64) {
        if !self.is_lead() && self.before.as_ref().is_none_or(|b| b.relay != self.at) {
            // The lead's order decides, and it brings the same.
            return self.count(Outcome::StaleCommit);
        }
        let reject = decode::<Reject>(bytes).ok();
        let concerns = |b: &Before, r: &Reject| b.epoch == r.epoch && b.commit_hash == r.commit_hash;
        let applied = reject.as_ref().is_some_and(|r| self.before.as_ref().is_some_and(|b| concerns(b, r)));
        if !applied && reject.as_ref().is_some_and(|r| r.epoch <= self.membership.epoch()) {
            // Of a time before this device joined.
            self.count(Outcome::StaleCommit);
            return;
        }
        let Some(reject) = reject.filter(|r| self.reject_holds(r)) else {
            self.refuse(Outcome::Forged, cursor, None, bytes, now);
            return;
        };
        self.count(Outcome::Undone);
        let refused_this = |r: &mut RefusedCommit| {
            let own = decode::<Reject>(&r.reject).ok();
            let same = |own: Reject| own.commit_hash == reject.commit_hash || !stands(Defence::RejectCommit);
            r.epoch == reject.epoch && own.is_some_and(same)
        };
        if self.relay.refused.take_if(refused_this).is_some() || applied {
            self.note_rejected(reject.commit_hash);
        }
        if let Some(session) = &mut self.session {
            // The epoch that was there when the session began may be this one.
            session.relay_epoch = session.relay_epoch.min(reject.epoch - 1);
        }
        let Some(before) = self.before.take_if(|b| concerns(b, &reject)) else { return };
        self.dirty.insert(Key::Before);
        match Membership::load(self.crypto.clone(), &before.state) {
            Ok(membership) => self.membership = membership,
            Err(error) => {
                self.halt(error.code());
                return;
            }
        }
        self.dirty.insert(Key::Membership);
        self.undo(&before);
        self.take_up_lost(before.lost.clone());
        self.events.push(Event::CommitRejected { by: reject.device, committer: before.committer });
        if let Some(intent) = &before.own {
            self.give_up(intent, Code::CommitRejected);
        }
    }

    /// The group has decided on this commit: whoever could apply it is not to do so again.
    fn note_rejected(&mut self, commit: EntryHash) {
        if !self.relay.rejected.contains(&commit) {
            self.relay.rejected.push(commit);
            let surplus = self.relay.rejected.len().saturating_sub(REJECTED);
            self.relay.rejected.drain(..surplus);
        }
        self.decision_changed();
    }

    /// A reject is good if a member signed it that the commit found in the group and kept, and that did not make it. A
    /// device that could not apply the commit does not know what it did, and has nothing to undo.
    fn reject_holds(&self, reject: &Reject) -> bool {
        let concerned = |b: &Before| {
            let of = |list: &[DeviceId]| list.contains(&reject.device);
            b.epoch == reject.epoch && (b.committer == reject.device || of(&b.added) || of(&b.removed))
        };
        if self.before.as_ref().is_some_and(concerned) {
            return false;
        }
        let key = if reject.device == self.me {
            Some(self.key.public())
        } else {
            // A key that was in the group once has no say any more.
            self.peers.get(&reject.device).filter(|p| p.member || !stands(Defence::RejectMember)).map(|p| p.key)
        };
        key.is_some_and(|key| verify_reject(&self.group, reject, &key).is_ok())
    }

    /// A commit that lost to one that is undone fits again, and may be on its way to the relay: it is as if it had been
    /// sent just now. If its refusal has been heard already, or the connection is another one, it goes again as it was.
    fn take_up_lost(&mut self, lost: Option<Pending>) {
        if lost.is_none() {
            return self.membership.clear_pending();
        }
        self.pending = lost;
        self.dirty.insert(Key::Pending);
        if let Some(session) = self.session.as_mut().filter(|s| s.commits_lost > 0) {
            // Refusals come in the order of the commits, so the one that is owed last is this one's.
            session.commits_lost -= 1;
            session.commit_sent = true;
        }
    }

    fn undo(&mut self, before: &Before) {
        self.settings_restored(before.commit_hash);
        self.relays_unsettled = None;
        self.drop_copy(before.epoch - 1);
        if let Some(old) = before.replaced {
            self.rename_intents(before.committer, old);
        }
        if self.identity.removed_by.take().is_some() {
            self.dirty.insert(Key::Identity);
        }
        if self.epochs.remove(&before.epoch).is_some() {
            self.dirty.insert(Key::Epoch(before.epoch));
        }
        if let Some(key) = self.epochs.get_mut(&(before.epoch - 1)) {
            key.ended_at = None;
            self.dirty.insert(Key::Epoch(before.epoch - 1));
        }
        for device in &before.added {
            self.peers.remove(device);
            self.dirty.insert(Key::Peer(*device));
        }
        for device in &before.removed {
            if let Some(peer) = self.peers.get_mut(device) {
                peer.member = true;
                (peer.cut, peer.past_cut) = (None, false);
                self.dirty.insert(Key::Peer(*device));
            }
        }
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
