//! Which relays the group uses: changing the list, and giving up a first one that is dead.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_types::{Code, DeviceId, Opaque, RelayAddress, limits};

use super::records::{Intent, RelayRecord, RelaysIntent};
use super::{Device, DeviceError};
use crate::RelayId;
use crate::event::Event;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Has the group use these relays, in this order; the first orders the changes of the group. Tokens are left out: they are
    /// this installation's. [`Event::RelaysChanged`] tells when it is done.
    ///
    /// # Errors
    /// [`DeviceError::Invalid`] for a list that is empty, longer than [`limits::RELAYS`], names a relay twice, or `embedded`.
    pub fn set_relays(
        &mut self,
        relays: &[RelayAddress],
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DeviceError> {
        self.check_may_change()?;
        let list = texts(relays)?;
        self.intents.list.retain(|intent| !matches!(intent, Intent::Relays(_)));
        self.want_change(Intent::Relays(RelaysIntent { list, gives_up: None }));
        self.pump(now, rng);
        Ok(())
    }

    /// Takes the first relay off the list, because a person says that it will not come back. The commit goes through the next
    /// relay, and its branch is the group's from then on: whoever the first one has led further takes a new key.
    ///
    /// # Errors
    /// [`Code::RelayAnswers`] while this device is attached there; [`DeviceError::Invalid`] where there is no other relay;
    /// [`DeviceError::Offline`] while none of the others can be reached.
    pub fn give_up_first_relay(&mut self, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.check_may_change()?;
        if !self.has_several() {
            return Err(DeviceError::Invalid("the group has no other relay: set one first"));
        }
        if self.session_of(self.first()).is_some_and(|s| s.attached) {
            return Err(DeviceError::Refused(Code::RelayAnswers));
        }
        if self.lead == self.first() || !self.session.as_ref().is_some_and(|s| s.attached) {
            return Err(DeviceError::Offline);
        }
        self.give_up_first();
        self.pump(now, rng);
        Ok(())
    }

    pub(super) fn give_up_first(&mut self) {
        let settings = self.membership.settings();
        let is_first = |text: &Opaque| std::str::from_utf8(text).is_ok_and(|text| RelayId::of(text) == self.first());
        let list = settings.relays.into_iter().filter(|text| !is_first(text)).collect();
        // What was on its way there may have been ordered, and counts no more.
        if self.drop_pending().is_some() {
            self.membership.clear_pending();
            self.dirty.insert(crate::store::Key::Membership);
        }
        // What it ordered last nobody can take back any more.
        self.drop_before();
        self.intents.list.retain(|intent| !matches!(intent, Intent::Relays(_)));
        self.want_change(Intent::Relays(RelaysIntent { list, gives_up: Some(self.first()) }));
    }

    /// The addresses of the relays, in the group's order, with their ids.
    pub fn relay_addresses(&self) -> Vec<(RelayId, Option<RelayAddress>)> {
        self.order.iter().copied().zip(self.addresses.iter().cloned()).collect()
    }

    /// Whether a change may be made through the relay that leads: it is the first, or a person has given that one up; and it
    /// knows the group as it is.
    pub(super) fn may_commit(&self) -> bool {
        let gives_up = || self.intents.list.iter().any(|intent| self.gives_up_first(intent));
        !self.follows() || (self.knows_epoch() && (self.lead == self.first() || gives_up()))
    }

    /// Whether this change takes a first relay off the list that is dead, through the one that leads.
    pub(super) fn gives_up_first(&self, intent: &Intent) -> bool {
        matches!(intent, Intent::Relays(relays) if relays.gives_up == Some(self.first()) && self.lead != self.first())
    }

    /// The group is at every relay of the list, as far as a device knows that comes into it.
    pub(super) fn all_have_group(&mut self) {
        self.relay.has_group = true;
        self.relay.first_since = self.membership.epoch();
        self.on_others(|device| device.relay.has_group = true);
    }

    /// A record that was stored.
    pub(super) fn take_record(&mut self, relay: RelayId, record: RelayRecord) {
        self.enter(relay);
        if self.at == relay {
            let (refused, rejected) = (self.relay.refused.take(), std::mem::take(&mut self.relay.rejected));
            self.relay = record;
            self.relay.refused = self.relay.refused.take().or(refused);
            if self.relay.rejected.is_empty() {
                self.relay.rejected = rejected;
            }
        }
        self.enter(self.lead);
    }

    /// What lies behind this cursor at a relay has to come again.
    pub(super) fn go_back_at(&mut self, relay: RelayId, cursor: u64) {
        let at = self.at;
        self.enter(relay);
        if self.at == relay {
            self.relay.cursor = self.relay.cursor.min(cursor);
            self.relay_changed();
        }
        self.enter(at);
    }

    /// Ends every session, as one under another key follows.
    pub(super) fn forget_sessions(&mut self) {
        let at = self.at;
        for relay in self.order.clone() {
            self.enter(relay);
            (self.session, self.relay.strayed_from, self.relay.accepted) = (None, None, 0);
            self.relay_changed();
            self.sends.clear();
            self.state_anew();
        }
        self.enter(at);
    }

    pub(super) fn end_all(&mut self, code: Code) {
        let ended = self.order.iter().map(|relay| Event::Disconnect { relay: *relay, code, retry_after_ms: 0 });
        self.events.extend(ended);
    }

    /// A sender of whom the other relays have to be told, too.
    pub(super) fn unstated_elsewhere(&mut self, sender: DeviceId) {
        let at = self.at;
        self.lines.iter_mut().filter(|(relay, _)| **relay != at).for_each(|(_, line)| line.unstated(sender));
    }
}

fn texts(relays: &[RelayAddress]) -> Result<Vec<Opaque>, DeviceError> {
    if relays.is_empty() || relays.len() > limits::RELAYS {
        return Err(DeviceError::Invalid("a group has 1 to 8 relays"));
    }
    if relays.contains(&RelayAddress::Embedded) {
        return Err(DeviceError::Invalid("the others cannot find a relay by the word 'embedded': name its address"));
    }
    let list: Vec<Opaque> = relays.iter().map(|r| Opaque(r.without_token().to_string().into_bytes())).collect();
    if (1..list.len()).any(|i| list[..i].contains(&list[i])) {
        return Err(DeviceError::Invalid("a relay stands once on the list"));
    }
    Ok(list)
}
