//! Messages between engines.

use mls_rs::CryptoProvider;
use sync_types::body::{Control, Reached};
use sync_types::{DeviceId, EntryHash, limits};

use super::{Device, records::Intent};
use crate::event::Event;
use crate::pairing::check_name;
use crate::store::Key;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Messages to the other engines that are due.
    pub(super) fn due_control(&mut self, now: u64) -> Vec<Control> {
        let mut control = Vec::new();
        let beacon = self.due_beacon(now);
        control.extend(self.due_kit_control(beacon.is_some()));
        control.extend(self.due_past_cut(beacon.is_some()));
        control.extend(self.due_suite_control(beacon.is_some(), now));
        if let Some(beacon) = beacon {
            control.push(beacon);
            control.push(self.heads());
            self.chain.announced = true;
            self.dirty.insert(Key::Chain);
        }
        control.extend(self.due_roll_call());
        if !self.chain.announced {
            control.push(Control::Name(self.identity.name.clone()));
            self.chain.announced = true;
            self.dirty.insert(Key::Chain);
        }
        // What cannot be repaired becomes history in the course of it.
        control.extend(self.due_nack(now).map(Control::Nack));
        if let Some(request) = self.due_history_request(now) {
            control.push(Control::HistoryRequest(request));
        }
        // One at a time, so that it fits.
        control.extend(self.answers.pop().map(Control::Repair));
        if self.session.as_mut().is_some_and(|s| std::mem::take(&mut s.leaving_due)) {
            control.push(Control::Leaving);
        }
        control
    }

    pub(super) fn control(&mut self, sender: DeviceId, control: Control, now: u64) {
        match control {
            Control::Name(name) => {
                // A name that cannot be shown is left out; the id is shown then.
                if std::str::from_utf8(&name).is_ok_and(|text| check_name(text).is_ok())
                    && let Some(peer) = self.peers.get_mut(&sender)
                    && peer.name != name
                {
                    peer.name = name;
                    self.dirty.insert(Key::Peer(sender));
                    self.events.push(Event::DeviceNamed { device: sender });
                }
            }
            Control::HistoryRequest(request) => self.history_requested(sender, request),
            Control::History(history) => self.history_arrived(sender, history, now),
            Control::Nack(nack) => self.nack_arrived(sender, &nack),
            Control::Repair(repair) => self.repair_arrived(sender, repair),
            Control::Heads(heads) => {
                for head in heads.iter().take(limits::MEMBERS) {
                    self.head_told(head, now);
                }
            }
            Control::Kit(share) => self.share_told(share),
            Control::KitWanted => self.share_wanted(),
            Control::Leaving => self.want_change(Intent::Leave(sender)),
            Control::RollCall => {
                self.ask_for_suite_again(sender);
                if let Some(session) = &mut self.session {
                    session.roll_call.heard = true;
                }
            }
            Control::SuiteWanted(wanted) => self.suite_wanted(sender, &wanted),
            Control::SuitePackage(package) => self.suite_package(sender, package),
            Control::PastCut(heads) => {
                for head in heads.iter().take(limits::MEMBERS) {
                    self.past_cut_told(sender, head);
                }
            }
        }
    }

    /// Another member says that it holds this much of a sender. Gives whether it holds another envelope than this device
    /// under the last number here.
    pub(super) fn heard_of(&mut self, member: DeviceId, reached: &Reached) -> bool {
        let is_known = |hash: EntryHash| hash != EntryHash::default();
        self.meet_former(reached.sender);
        let heeds = self.heeds_hearsay();
        let Some(peer) = self.peers.get_mut(&reached.sender) else { return false };
        if reached.seq > peer.heard {
            (peer.heard, peer.heard_from) = (reached.seq, member);
            // Of whom this device never met it has only a word for where its chain ends.
            let is_hearsay = peer.cut_is_open || (heeds && !peer.may_be_verified());
            if is_hearsay && peer.cut.is_some_and(|cut| cut < reached.seq) {
                (peer.cut, peer.cut_is_open) = (Some(reached.seq), true);
            }
            self.dirty.insert(Key::Peer(reached.sender));
        }
        reached.seq == peer.seq && reached.hash != peer.hash && is_known(reached.hash) && is_known(peer.hash)
    }
}
