//! This device's own envelopes, as others show them: which are accepted, and whether they are its own at all.
//!
//! The device whose disk was set back, and a copy of it, seal under numbers that this one does not know or has used otherwise.
//! So an envelope counts as accepted by its hash and never by its number. What a *relay* has is that line's
//! ([`super::records::RelayRecord`]); that *others* have it is the chain's, whichever relay brought it to them.

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::envelope::{head_of, verify_head};
use sync_types::envelope::Envelope;
use sync_types::frame::Head;
use sync_types::{Code, EntryHash, Opaque};

use super::Device;
use crate::RelayId;
use crate::event::Event;
use crate::store::Key;

/// An envelope under one of this device's numbers that others have and that was not known to be accepted: it has to be this
/// device's own and not that of a copy of it.
pub(super) struct Shown {
    head: Head,
    /// Whether the relay shows it, and so has all up to there.
    here: bool,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Only what was sent on this connection: under further numbers a copy of this device may have sent.
    pub(super) fn accepted(&mut self, seq: u64, now: u64) {
        let session = self.session_mut();
        let sent = session.next_send.saturating_sub(1);
        let last = session.arrived_up_to(seq);
        self.relay_has(seq.min(sent));
        if let Some((seq, hash)) = last {
            self.own_accepted(seq, hash, now);
        }
    }

    /// The relay that is looked at has own envelopes up to this number.
    fn relay_has(&mut self, seq: u64) {
        if seq > self.relay.accepted && seq <= self.chain.seq {
            self.relay.accepted = seq;
            self.lazy.insert(Key::Relay(self.at));
        }
    }

    /// Others have this device's own envelope of this number, and all before it.
    pub(super) fn own_accepted(&mut self, seq: u64, hash: EntryHash, now: u64) {
        if seq > self.chain.accepted {
            (self.chain.accepted, self.chain.accepted_hash) = (seq, hash);
            self.lazy.insert(Key::Chain);
            self.events.push(Event::Accepted { seq });
            self.retry_receipts(now);
        }
    }

    /// Whether the relay's word on this device's last envelope is true. The envelope's own signature shows it, so the
    /// relay cannot make this device believe that it was rolled back.
    pub(super) fn head_holds(&mut self, head: Option<&Head>, now: u64) -> bool {
        let Some(head) = head else { return true };
        if verify_head(&self.group, head, &self.key.public()).is_none_or(|header| header.sender != self.me) {
            self.protocol_broken();
            return false;
        }
        self.compare_own(head, true, now);
        true
    }

    /// A member shows the end of this device's chain.
    pub(super) fn own_head_shown(&mut self, head: &Head, now: u64) {
        if verify_head(&self.group, head, &self.key.public()).is_some() {
            self.compare_own(head, false, now);
        }
    }

    /// What this device has signed and does not know, it signed before it was set back, or a copy of it did. `here`: whether
    /// the relay that is looked at shows it.
    fn compare_own(&mut self, head: &Head, here: bool, now: u64) {
        let chain = &self.chain;
        // What one relay has says nothing of what a copy has brought to another.
        let known = if here { self.relay.accepted.min(chain.accepted) } else { chain.accepted };
        let own = match head.seq {
            seq if seq == chain.seq => chain.hash,
            seq if seq == chain.accepted => chain.accepted_hash,
            seq if seq > chain.seq => EntryHash::default(),
            seq if seq <= known => return,
            // Everybody has signed for it, and it is not kept any more.
            seq if seq < chain.delivered && here => return self.relay_has(seq),
            seq if seq < chain.delivered => return,
            _ => {
                // Only the envelope itself can tell.
                if self.identity.halted == 0 {
                    self.session_mut().unproven = Some(Shown { head: head.clone(), here });
                }
                return;
            }
        };
        self.own_is(head, here, own, now);
    }

    /// The envelope whose head was shown on the line that is looked at, as this device sealed it.
    pub(super) fn prove_own(&mut self, envelope: Option<&(u64, Opaque)>, now: u64) {
        let Some(Shown { head, here }) = self.session_mut().unproven.take() else { return };
        match envelope.and_then(|(_, bytes)| Envelope::parse(bytes).ok()).map(|envelope| head_of(&envelope)) {
            Some(own) if own.seq == head.seq => self.own_is(&head, here, own.hash, now),
            // Everybody has signed for it meanwhile.
            _ if head.seq < self.chain.delivered => {}
            _ => self.protocol_broken(),
        }
    }

    fn own_is(&mut self, shown: &Head, here: bool, own: EntryHash, now: u64) {
        if shown.hash != own && stands(Defence::OwnRecords) {
            return self.halt(Code::RolledBack);
        }
        let seq = shown.seq.min(self.chain.seq);
        // What others have they have from their only relay, or from any of several.
        if here || !self.has_several() {
            self.session_mut().arrived_up_to(shown.seq);
            self.relay_has(seq);
        }
        self.own_accepted(seq, own, now);
    }

    /// On which line it has to be looked up what this device sealed under a number, and under which.
    pub(super) fn unproven(&self) -> Option<(RelayId, u64)> {
        if self.identity.halted != 0 {
            return None;
        }
        let unproven = |relay: &RelayId| Some((*relay, self.session_of(*relay)?.unproven.as_ref()?.head.seq));
        self.order.iter().find_map(unproven)
    }
}
