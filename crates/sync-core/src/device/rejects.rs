//! Changes of the group that a member could not apply: saying so, hearing of it, and undoing them.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::mls::CommitMessage;
use sync_rules::statement::{sign_reject, verify_reject};
use sync_types::frame::{Reject, Signature, ToRelay};
use sync_types::{Code, DeviceId, EntryHash, Opaque, decode, encode};

use super::Device;
use super::records::{Before, Pending, RefusedCommit};
use crate::event::{Event, Outcome};
use crate::membership::{ApplyError, Membership};
use crate::store::Key;

/// How many rejected commits are remembered, as a relay does.
const REJECTED: usize = 64;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Says to all that this device cannot apply a commit, so that the relay takes it back.
    pub(super) fn reject(&mut self, error: &ApplyError, cursor: u64, bytes: &[u8]) {
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
}
