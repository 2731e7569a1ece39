//! Acknowledgements: what this device states that it holds, and what others state of this device's envelopes.

use mls_rs::CryptoProvider;
use sync_rules::statement::{sign_acknowledgement, verify_acknowledgement};
use sync_types::body::Reached;
use sync_types::frame::{Acknowledge, Acknowledgement, Signature, ToRelay};
use sync_types::{Opaque, decode, encode};

use super::Device;
use crate::event::Event;
use crate::store::{Key, Write};

impl<P: CryptoProvider + Clone> Device<P> {
    /// Queues the acknowledgement of what is stored by now. Called when the writes are durable.
    pub(super) fn state_acknowledgement(&mut self) {
        let cursor = self.relay.cursor;
        let Some(session) = self.session.as_mut().filter(|s| s.attached && s.acknowledge_after == 0) else {
            return;
        };
        if cursor == session.acknowledged && self.unstated.is_empty() {
            return;
        }
        session.acknowledged = cursor;
        let senders = std::mem::take(&mut self.unstated);
        let frontier: Vec<Reached> = senders
            .iter()
            .filter_map(|id| self.peers.get(id).map(|p| Reached { sender: *id, seq: p.seq, hash: p.hash }))
            .filter(|r| r.seq > 0)
            .collect();
        let holes = self.wants.list.iter().map(|w| w.span).filter(|s| senders.contains(&s.sender)).collect();
        let statement = if frontier.is_empty() || self.is_removed() {
            Opaque::default()
        } else {
            let mut statement = Acknowledgement { device: self.me, frontier, holes, signature: Signature([0; 64]) };
            sign_acknowledgement(&self.key, &self.group, &mut statement);
            Opaque(encode(&statement))
        };
        self.sends.push(ToRelay::Acknowledge(Acknowledge { cursor, statement }));
    }

    /// Another member's acknowledgement. One that does not verify is worth nothing.
    pub(super) fn receipt(&mut self, bytes: &[u8]) {
        let Ok(statement) = decode::<Acknowledgement>(bytes) else { return };
        let Some(peer) = self.peers.get(&statement.device).filter(|p| p.member) else { return };
        let Some(mine) = statement.frontier.iter().find(|r| r.sender == self.me) else { return };
        if mine.seq > self.chain.seq || (mine.seq == self.chain.seq && mine.hash != self.chain.hash) {
            return;
        }
        let hole = statement.holes.iter().filter(|s| s.sender == self.me).map(|s| s.from).min();
        let signed_below = hole.unwrap_or(u64::MAX).min(mine.seq + 1);
        if signed_below <= peer.signed_below || verify_acknowledgement(&self.group, &statement, &peer.key).is_err() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&statement.device) {
            peer.signed_below = signed_below;
        }
        self.dirty.insert(Key::Peer(statement.device));
        self.count_delivered();
    }

    /// Moves the mark up to which every member has signed, and at least one other.
    pub(super) fn count_delivered(&mut self) {
        let members = || self.peers.values().filter(|p| p.member);
        let by_any = members().map(|p| p.signed_below).max().unwrap_or(0);
        let by_all = members().map(|p| p.signed_below.max(p.owes_from)).min().unwrap_or(0);
        let delivered = by_all.min(by_any).saturating_sub(1).min(self.chain.seq);
        if delivered > self.chain.delivered {
            self.chain.delivered = delivered;
            self.chain.accepted = self.chain.accepted.max(delivered);
            self.dirty.insert(Key::Chain);
            self.writes.push(Write::DropSealed { up_to_seq: delivered });
            self.events.push(Event::Delivered { seq: delivered });
        }
    }
}
