//! Messages between engines.

use mls_rs::CryptoProvider;
use sync_types::DeviceId;
use sync_types::body::{Control, Reached};

use super::{Device, records::Intent};
use crate::event::Event;
use crate::pairing::check_name;
use crate::store::Key;

impl<P: CryptoProvider + Clone> Device<P> {
    pub(super) fn control(&mut self, sender: DeviceId, control: Control, now: u64) {
        match control {
            Control::Name(name) => {
                // A name that cannot be shown is left out; the id is shown then.
                if std::str::from_utf8(&name).is_ok_and(|text| check_name(text).is_ok())
                    && let Some(peer) = self.peers.get_mut(&sender)
                {
                    peer.name = name;
                    self.dirty.insert(Key::Peer(sender));
                    self.events.push(Event::DeviceNamed { device: sender });
                }
            }
            Control::HistoryRequest(request) => self.history_requested(sender, request),
            Control::History(history) => self.history_arrived(sender, history, now),
            Control::Leaving => self.want_change(Intent::Remove(sender)),
        }
    }

    /// Another member says that it holds this much of a sender.
    pub(super) fn heard_of(&mut self, reached: &Reached) {
        if let Some(peer) = self.peers.get_mut(&reached.sender)
            && reached.seq > peer.heard
        {
            peer.heard = reached.seq;
            self.dirty.insert(Key::Peer(reached.sender));
        }
    }
}
