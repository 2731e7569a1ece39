//! The mailboxes that members host for their group: who hosts one sees to it that the group's list names it, and whose host is in the
//! group no more comes off the list.
//!
//! Nobody is asked about either. So the one that is first on the list, through which all changes go, comes off it without a person's
//! word only where its host was removed, and then as a person would give it up (`relays.rs`): through the next one on the list whose
//! host is a member, so that members who hear of the removal in different places do not go on at different mailboxes.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_types::settings::Settings;
use sync_types::{DeviceId, Opaque, RelayAddress, limits};

use super::records::{Intent, RelaysIntent};
use super::{Device, DeviceError};

/// For how long a first mailbox may be away whose host was removed, in milliseconds: as long as a change through it may be taken back.
const GIVE_UP_AFTER_MS: u64 = limits::PROVISIONAL.as_millis() as u64;

/// What this device hosts.
#[derive(Default)]
pub(super) struct Mailboxes {
    /// Its key, and where it listens.
    own: Option<([u8; 32], Vec<String>)>,
    /// The epoch whose list was looked at last.
    looked_at: Option<u64>,
    /// When the first mailbox is given up, which nobody hosts any more, in milliseconds; 0 while there is none such.
    give_up_at: u64,
    /// When the list is looked at although nothing else happens, in milliseconds; 0 if it was since a relay was lost.
    look_at: u64,
}

/// The mailbox that a group is founded with is its founder's.
pub(super) fn name_host(settings: &mut Settings, founder: DeviceId) {
    for text in &mut settings.relays {
        let address = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        if let Some(RelayAddress::Hosted { endpoint, hosts, device: None }) = address {
            let named = RelayAddress::Hosted { endpoint, hosts, device: Some(founder) };
            *text = Opaque(named.to_string().into_bytes());
        }
    }
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// This device hosts a mailbox now, at this address. As long as the group's list is one of its members' mailboxes, and has room,
    /// it comes onto it, and its hosts are kept up to date there.
    ///
    /// # Errors
    /// [`DeviceError::Invalid`] for any other address than [`RelayAddress::Hosted`].
    pub fn hosts(&mut self, mailbox: &RelayAddress, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        let RelayAddress::Hosted { endpoint, hosts, .. } = mailbox else {
            return Err(DeviceError::Invalid("a member's mailbox is named by embedded://ENDPOINT"));
        };
        self.mailboxes.own = Some((*endpoint, hosts.clone()));
        self.mailboxes.looked_at = None;
        self.pump(now, rng);
        Ok(())
    }

    /// Whether it was told since it was loaded that it hosts one.
    pub fn is_hosting(&self) -> bool {
        self.mailboxes.own.is_some()
    }

    fn is_member(&self, device: DeviceId) -> bool {
        device == self.me || self.peers.get(&device).is_some_and(|peer| peer.member)
    }

    /// The list as it should be; `None` if it is so, or names no mailboxes of members.
    pub(super) fn mailboxes_to_name(&self) -> Option<Vec<Opaque>> {
        let relays = self.membership.settings().relays;
        let address = |text: &Opaque| std::str::from_utf8(text).ok()?.parse::<RelayAddress>().ok();
        let own = self.mailboxes.own.as_ref();
        let is_own = |text: &Opaque| {
            own.is_some_and(|(key, _)| address(text).is_some_and(|address| address.endpoint() == Some(key)))
        };
        let first = relays.first()?;
        if !address(first)?.is_members() && !is_own(first) {
            return None;
        }
        let stays = |text: &&Opaque| match address(text) {
            Some(RelayAddress::Hosted { device: Some(device), .. }) => self.is_member(device),
            _ => true,
        };
        let mut list: Vec<Opaque> = relays.iter().filter(stays).cloned().collect();
        if let Some((endpoint, hosts)) = own {
            let named = |hosts| RelayAddress::Hosted { endpoint: *endpoint, hosts, device: Some(self.me) }.to_string();
            let mut text = named(hosts.clone());
            if text.len() > limits::ADDRESS_BYTES {
                text = named(Vec::new());
            }
            let text = Opaque(text.into_bytes());
            match list.iter().position(is_own) {
                Some(at) => list[at] = text,
                None if list.len() < limits::RELAYS => list.push(text),
                None => {}
            }
        }
        (list != relays && !list.is_empty()).then_some(list)
    }

    /// When there is something to see to.
    pub(super) fn mailboxes_due_at(&self) -> Option<u64> {
        [self.mailboxes.give_up_at, self.mailboxes.look_at].into_iter().filter(|at| *at > 0).min()
    }

    /// A relay was lost. If it was the mailbox of one that has gone, nothing more may happen here that would show it.
    pub(super) fn look_at_mailboxes(&mut self) {
        self.mailboxes.look_at = self.clock.max(1);
    }

    /// Sees to the list, as often as anything happens.
    pub(super) fn tend_mailboxes(&mut self, now: u64) {
        self.mailboxes.look_at = 0;
        let works = self.session.as_ref().is_some_and(|s| s.attached && s.caught_up);
        if !works || self.identity.halted != 0 || self.is_removed() {
            self.mailboxes.give_up_at = 0;
        } else if self.lead == self.first() {
            self.mailboxes.give_up_at = 0;
            self.name_mailboxes();
        } else {
            self.leave_deserted(now);
        }
    }

    fn name_mailboxes(&mut self) {
        let epoch = Some(self.membership.epoch());
        if self.before.is_none() && self.mailboxes.looked_at != epoch {
            self.mailboxes.looked_at = epoch;
            if self.mailboxes_to_name().is_some() {
                self.want_change(Intent::Mailboxes);
            }
        }
    }

    /// A member has another id from this epoch on. The mailbox is still its own, and it says so itself.
    pub(super) fn leave_name_to(&mut self, member: DeviceId) {
        if member != self.me {
            self.mailboxes.looked_at = Some(self.membership.epoch());
        }
    }

    /// Gives the first one up if nobody in the group hosts it any more.
    fn leave_deserted(&mut self, now: u64) {
        let ahead = self.order.iter().position(|relay| *relay == self.lead).unwrap_or(0);
        let hosts = self.addresses[..ahead].iter().map(|address| match address {
            Some(RelayAddress::Hosted { device, .. }) => *device,
            _ => None,
        });
        let Some(hosts) = hosts.collect::<Option<Vec<DeviceId>>>() else { return };
        let is_removed_here = |device: &DeviceId| {
            self.intents.list.iter().any(|intent| intent.removes().is_some_and(|(removed, _)| removed == *device))
        };
        let gives_up = |intent: &Intent| matches!(intent, Intent::Relays(RelaysIntent { gives_up: Some(_), .. }));
        let deserted = hosts.iter().all(|device| is_removed_here(device) || !self.is_member(*device));
        if !deserted || self.intents.list.iter().any(gives_up) {
            self.mailboxes.give_up_at = 0;
            return;
        }
        // Whoever removed its host may be making changes through it still.
        if !hosts.iter().all(is_removed_here) {
            let latest = now.saturating_add(GIVE_UP_AFTER_MS);
            let at = &mut self.mailboxes.give_up_at;
            *at = if *at == 0 { latest } else { latest.min(*at) };
            if now < *at {
                return;
            }
        }
        self.mailboxes.give_up_at = 0;
        self.give_up_first();
    }
}
