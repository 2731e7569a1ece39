//! Acknowledgements: what this device states that it holds, and what others state of this device's envelopes.

use std::collections::{BTreeMap, BTreeSet};

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::statement::{sign_acknowledgement, verify_acknowledgement};
use sync_types::body::{Reached, Span};
use sync_types::frame::{Acknowledge, Acknowledgement, Signature, ToRelay};
use sync_types::{DeviceId, Opaque, decode, encode, limits};

use super::Device;
use super::carry::NAMES_ALL;
use super::records::Intent;
use crate::event::Event;
use crate::store::{Key, Write};

impl<P: CryptoProvider + Clone> Device<P> {
    /// Queues the acknowledgement of what is stored by now. Called when the writes are durable.
    pub(super) fn state_acknowledgement(&mut self) {
        // The relay shows a newcomer everything beyond what its sponsor has acknowledged. So while the commit that adds one
        // is on its way, nothing is acknowledged that its baseline does not hold. One that lost to a commit which may be
        // undone is on its way still.
        let lost = self.before.as_ref().and_then(|before| before.lost.as_ref());
        if self.pending.iter().chain(lost).any(|pending| matches!(pending.intent, Intent::Add(_))) {
            return;
        }
        // A device that has found a fork signs for nothing more: its word would make others forget what they may need.
        // One that could not apply a commit would make it final.
        if self.identity.halted != 0 || self.relay.refused.is_some() {
            return;
        }
        // It refuses to hear of whom it does not know yet.
        if self.follows() && !self.is_removed() && !self.knows_epoch() {
            return;
        }
        let cursor = self.relay.cursor;
        let Some(session) = self.session.as_mut().filter(|s| s.attached && s.acknowledge_after == 0) else {
            return;
        };
        // The relay takes no statement of a former member. What is unstated waits: a reject may bring this one back.
        let out = self.identity.removed_by.is_some();
        if cursor <= session.acknowledged && (out || self.unstated.is_empty()) {
            return;
        }
        session.acknowledged = cursor;
        let names_all = self.has_several() && self.peers.values().filter(|p| p.member).count() < NAMES_ALL;
        if names_all && !out && !self.unstated.is_empty() {
            self.state_anew();
        }
        let senders = if out { Default::default() } else { std::mem::take(&mut self.unstated) };
        // Nobody waits for what is said of a former member, and a relay may never have known it.
        let counts = |id: &&DeviceId| self.is_member_yet(**id);
        let frontier: Vec<Reached> = senders
            .iter()
            .filter(counts)
            .filter_map(|id| self.peers.get(id).map(|p| Reached { sender: *id, seq: p.seq, hash: p.hash }))
            .filter(|r| r.seq > 0)
            .collect();
        let senders: BTreeSet<DeviceId> = senders.into_iter().filter(|id| self.is_member_yet(*id)).collect();
        let holes = self.holes(&senders);
        let statement = if frontier.is_empty() {
            Opaque::default()
        } else {
            let mut statement = Acknowledgement { device: self.me, frontier, holes, signature: Signature([0; 64]) };
            sign_acknowledgement(&self.key, &self.group, &mut statement);
            Opaque(encode(&statement))
        };
        self.sends.push(ToRelay::Acknowledge(Acknowledge { cursor, statement }));
    }

    /// Something of this sender's came: every relay is told with the next acknowledgement.
    pub(super) fn now_unstated(&mut self, sender: DeviceId) {
        self.unstated.insert(sender);
        self.unstated_elsewhere(sender);
    }

    /// Says of which envelopes of others in the log the content is not here: of each sender one span over all of them. This
    /// device does not sign for having them until it is, and asks nobody for them. To be said after loading, and with every
    /// change before what was sent is taken.
    pub fn set_awaited(&mut self, awaited: BTreeMap<DeviceId, Span>) {
        let before = std::mem::replace(&mut self.awaited, awaited);
        let both: BTreeSet<DeviceId> = before.keys().chain(self.awaited.keys()).copied().collect();
        for sender in both {
            if before.get(&sender) != self.awaited.get(&sender) {
                self.now_unstated(sender);
            }
        }
    }

    /// Whether there are such envelopes.
    pub fn awaits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// One span for each sender, over all that is missing of it: so a statement stays small, and claims too little at most.
    fn holes(&self, senders: &BTreeSet<DeviceId>) -> Vec<Span> {
        let mut holes: BTreeMap<DeviceId, Span> = BTreeMap::new();
        let missing = self.wants.list.iter().map(|w| w.span).chain(self.awaited.values().copied());
        for span in missing.filter(|s| senders.contains(&s.sender)) {
            let hole = holes.entry(span.sender).or_insert(span);
            (hole.from, hole.to) = (hole.from.min(span.from), hole.to.max(span.to));
        }
        holes.into_values().collect()
    }

    /// Another member's acknowledgement. One that does not verify is worth nothing.
    pub(super) fn receipt(&mut self, bytes: &[u8], now: u64) {
        if bytes.len() > limits::STATEMENT_BYTES && stands(Defence::EarlyReceipts) {
            return;
        }
        let Ok(statement) = decode::<Acknowledgement>(bytes) else { return };
        let Some(mine) = statement.frontier.iter().find(|r| r.sender == self.me) else { return };
        let chain = &self.chain;
        if mine.seq > chain.seq
            || (mine.seq == chain.seq && mine.hash != chain.hash)
            || (mine.seq == chain.accepted && mine.hash != chain.accepted_hash)
        {
            return;
        }
        // What is not known to be accepted may be the envelope of a copy of this device.
        let known = self.peers.get(&statement.device).filter(|p| p.member);
        let Some(peer) = known.filter(|_| mine.seq <= chain.accepted || mine.seq == chain.seq) else {
            if let Some(session) = &mut self.session {
                session.early_receipts.keep(statement.device, bytes);
            }
            return;
        };
        let (signed_before, key) = (peer.signed_below, peer.key);
        self.heard(&statement, bytes.len(), now);
        let signed_below = statement.signed_below(self.me);
        let signed = || verify_acknowledgement(&self.group, &statement, &key).is_ok();
        if signed_below <= signed_before || (stands(Defence::ReceiptSignature) && !signed()) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&statement.device) {
            peer.signed_below = signed_below;
        }
        self.alive(statement.device, now);
        self.dirty.insert(Key::Peer(statement.device));
        if mine.seq == self.chain.seq {
            self.own_accepted(mine.seq, mine.hash, now);
        }
        self.count_delivered();
    }

    /// Looks again at the receipts that came before their signers were known.
    pub(super) fn retry_receipts(&mut self, now: u64) {
        let early = self.session.as_mut().map(|s| s.early_receipts.take()).unwrap_or_default();
        for receipt in early {
            self.receipt(&receipt, now);
        }
    }

    /// How many bytes of acknowledgements this device keeps in memory whose signers it does not know yet.
    pub fn early_receipt_bytes(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.early_receipts.bytes())
    }

    /// Whether this is a member, or one whose removal may be undone yet.
    fn is_member_yet(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| peer.member)
            || self.before.as_ref().is_some_and(|before| before.removed.contains(&device))
    }

    /// Moves the mark up to which every member has signed that has not lapsed, and at least one other. Who has lapsed this
    /// device knows by itself: the relay's word would make it forget what a member may need.
    pub(super) fn count_delivered(&mut self) {
        // One whose removal may be undone yet is owed its signature, too.
        let removed: &[DeviceId] = self.before.as_ref().map_or(&[], |before| &before.removed);
        let members = || self.peers.iter().filter(|(id, p)| p.member || removed.contains(id)).map(|(_, p)| p);
        let by_any = members().map(|p| p.signed_below).max().unwrap_or(0);
        let awaited = members().filter(|p| !self.is_lapsed(p));
        let nobody = if stands(Defence::LapseClock) { 0 } else { u64::MAX };
        let by_all = awaited.map(|p| p.signed_below.max(p.owes_from)).min().unwrap_or(nobody);
        let delivered = by_all.min(by_any).saturating_sub(1).min(self.chain.seq);
        if delivered > self.chain.delivered {
            self.chain.delivered = delivered;
            if let Some(session) = &mut self.session {
                // The relay may have taken it from the connection before, and refused it on this one.
                session.has_all_up_to(delivered);
            }
            self.dirty.insert(Key::Chain);
            // The last one stays: a relay that loses everything goes on behind it.
            self.writes.push(Write::DropSealed { up_to_seq: delivered - 1 });
            self.events.push(Event::Delivered { seq: delivered });
        }
    }
}
