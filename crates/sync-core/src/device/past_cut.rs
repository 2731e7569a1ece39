//! What one relay brought of a device beyond the cut of its removal, which another one ordered. With one relay that cannot be,
//! and is a fork; with several it is a race that nobody has to lose anything by: whoever has it keeps it, says so, and hands
//! it on.

use mls_rs::CryptoProvider;
use sync_rules::envelope::verify_head;
use sync_types::body::{Control, Span};
use sync_types::envelope::{Class, Header};
use sync_types::frame::Head;
use sync_types::{DeviceId, encode};

use super::Device;
use crate::event::Outcome;
use crate::store::{Key, Write};

impl<P: CryptoProvider + Clone> Device<P> {
    /// This device has more of a removed one than its cut says.
    pub(super) fn keep_past_cut(&mut self, device: DeviceId, cut: u64, now: u64) {
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let span = Span { sender: device, from: cut + 1, to: peer.seq };
        (peer.cut, peer.heard, peer.past_cut) = (Some(peer.seq), peer.seq, true);
        let gaps = std::mem::take(&mut peer.gaps).into_iter();
        self.writes.extend(gaps.map(|seq| Write::DropGap { sender: device, seq }));
        self.dirty.insert(Key::Peer(device));
        self.past_cut_due = true;
        self.refuse(Outcome::PastCut, self.relay.cursor, Some(device), &encode(&span), now);
    }

    /// What the others are told of it: at once, and with each beacon.
    pub(super) fn due_past_cut(&mut self, beacon: bool) -> Option<Control> {
        if !std::mem::take(&mut self.past_cut_due) && !beacon {
            return None;
        }
        let heads: Vec<Head> = self.peers.values().filter(|p| p.past_cut).filter_map(|p| p.head.clone()).collect();
        (!heads.is_empty()).then_some(Control::PastCut(heads))
    }

    /// A member has more of a removed device. It comes as history, from that member: the removed one has no say in it.
    pub(super) fn past_cut_told(&mut self, member: DeviceId, head: &Head) {
        let Some(Header { sender, .. }) = Header::parse(&head.header).ok().filter(|_| self.has_several()) else {
            return;
        };
        let cut_short = |peer: &&mut super::records::Peer| !peer.member && !peer.cut_is_open && peer.may_be_verified();
        let Some(peer) = self.peers.get_mut(&sender).filter(cut_short) else { return };
        let holds = verify_head(&self.group, head, &peer.key).is_some_and(|header| header.class != Class::Ephemeral);
        if !holds || peer.cut.is_none_or(|cut| head.seq <= cut) {
            return;
        }
        (peer.cut, peer.heard, peer.heard_from) = (Some(head.seq), head.seq, member);
        self.dirty.insert(Key::Peer(sender));
        if self.wants.list.is_empty() {
            self.wants.holder = member;
            self.dirty.insert(Key::Wants);
        }
    }
}
