//! The group that this device is in: founding one, moving it, and whether another may be joined or somebody taken in.

use sync_core::recovery::RecoveryKit;
use sync_core::store::Write;
use sync_core::{Device, NewDevice};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{Code, GroupId, Opaque, RelayAddress, Suite};

use super::hosting::Port;
use super::setup;
use super::turn::Work;
use super::{Codes, Engine, MeetingPlace};
use crate::SyncError;
use crate::clock::SystemRng;

/// Until when the relay of this device runs on although its group is elsewhere, in milliseconds since the Unix epoch.
pub(super) const HOSTED_UNTIL: &str = "embedded_until";

/// The list with one relay in the place of another, or of several, or by itself where none of these is in it.
fn in_place(list: Vec<RelayAddress>, was: impl Fn(&RelayAddress) -> bool, named: RelayAddress) -> Vec<RelayAddress> {
    let Some(place) = list.iter().position(&was) else { return vec![named] };
    let there = list.iter().enumerate().filter(|(at, relay)| *at == place || !(was(relay) || **relay == named));
    there.map(|(at, relay)| if at == place { named.clone() } else { relay.clone() }).collect()
}

impl Engine {
    /// Founds a group of its own unless there is a group.
    pub(super) async fn ensure_device(&mut self, now: u64) -> Result<(), SyncError> {
        match &self.device {
            Some(device) => device.check_in_group().map_err(setup::failed),
            None => {
                self.device = Some(self.found(now).await?);
                self.nudge();
                Ok(())
            }
        }
    }

    async fn found(&mut self, now: u64) -> Result<Device<super::Crypto>, SyncError> {
        self.found_with(HistoryPolicy::default(), None, now).await
    }

    /// The relay of the configuration, by an address at which other devices find it. One that this device hosts runs then.
    async fn configured_relay(&mut self) -> Result<RelayAddress, SyncError> {
        match &self.relay {
            RelayAddress::Embedded => self.hosting.ensure(self.start.dialer.local(), &mut self.store, Port::Free).await,
            other => Ok(other.clone()),
        }
    }

    /// Founds a group that agrees on this, with this recovery kit if there is one.
    pub(super) async fn found_with(
        &mut self,
        history: HistoryPolicy,
        kit: Option<&RecoveryKit>,
        now: u64,
    ) -> Result<Device<super::Crypto>, SyncError> {
        let relay = self.configured_relay().await?.without_token();
        let settings = Settings {
            app_id: self.start.app_id.clone().into_bytes(),
            relays: vec![Opaque(relay.to_string().into_bytes())],
            history,
            ..Settings::default()
        };
        // A device that goes elsewhere with its blobs keeps what was chosen for them.
        let suite = self.device.as_ref().map_or(Suite::FOUNDED, Device::suite);
        let new = NewDevice { name: self.name.clone(), suite, settings };
        Device::found_with(new, kit, sync_rules::mls::crypto(), now, &mut SystemRng).map_err(setup::failed)
    }

    /// At the start: a device that is alone in its group goes where the configuration says, with its blobs. Devices that
    /// share a group stay where the group agreed to be.
    pub(super) async fn move_if_alone(&mut self, configured: bool) -> Result<(), SyncError> {
        let Some(device) = &self.device else { return Ok(()) };
        let alone = device.is_alone() && !device.is_adding() && !device.is_removed() && self.newcomer.is_none();
        let now_at = device.settings().relays.first().map(|r| String::from_utf8_lossy(r).into_owned());
        let there = match (&self.relay, now_at.and_then(|text| text.parse::<RelayAddress>().ok())) {
            (RelayAddress::Embedded, Some(at)) => self.hosting.is(&at),
            (wanted, Some(at)) => wanted.without_token() == at,
            (_, None) => false,
        };
        if !configured || !alone || there {
            return Ok(());
        }
        let now = self.start.now_ms();
        let device = self.found(now).await?;
        let writes = vec![Write::ClearGroup, Write::Reoffer { sender: device.id() }];
        self.device = Some(device);
        self.transact(&mut Work::of(writes), now).await?;
        Ok(())
    }

    /// At the start, where the configuration names another relay than `before`: the group goes there, whoever else is in it. The other
    /// devices hear of it where they are, and follow; each of them may be configured anew sooner, later or never.
    pub(super) async fn follow_configuration(&mut self, before: &RelayAddress) -> Result<(), SyncError> {
        let now = self.start.now_ms();
        let mut work = Work::default();
        work.meta.push((setup::RELAY, self.relay.to_string()));
        // What was alone is there already.
        if self.device.as_ref().is_some_and(|device| !device.is_alone() && !device.is_removed()) {
            let named = self.configured_relay().await?;
            self.keep_tokens(std::slice::from_ref(&named)).await?;
            let mut named = named.without_token();
            if let RelayAddress::Hosted { device, .. } = &mut named {
                *device = self.device.as_ref().map(Device::id);
            }
            let hosting = &self.hosting;
            let was = |relay: &RelayAddress| match before {
                RelayAddress::Embedded => relay.is_members() || hosting.is(relay),
                other => *relay == other.without_token(),
            };
            let Some(device) = &mut self.device else { return Ok(()) };
            let list: Vec<RelayAddress> = device.relay_addresses().into_iter().filter_map(|(_, relay)| relay).collect();
            let list = in_place(list, was, named);
            if let Err(error) = device.set_relays(&list, now, &mut SystemRng) {
                // Tried again at the next start.
                tracing::warn!(code = %error.code(), "the group cannot go to the relay of the configuration: {error}");
                return Ok(());
            }
        }
        self.transact(&mut work, now).await?;
        Ok(())
    }

    /// At the start: after the group has left the relay that this device hosts, members who were away meanwhile come there first. They
    /// may be away for as long as anybody is waited for.
    pub(super) async fn host_for_latecomers(&mut self) -> Result<(), SyncError> {
        let until = self.store.meta(HOSTED_UNTIL).await?.and_then(|text| text.parse::<u64>().ok());
        if until.is_some_and(|until| self.start.now_ms() < until)
            && let Err(error) = self.hosting.ensure(self.start.dialer.local(), &mut self.store, Port::Named).await
        {
            tracing::warn!(code = %error.code, "latecomers do not find the relay of before: {}", error.message);
        }
        Ok(())
    }

    /// In a group whose members host its mailboxes, this device does so too while the app is in the foreground, unless its
    /// configuration names a relay.
    pub(super) async fn host_mailbox(&mut self, now: u64) {
        let hosts = self.relay == RelayAddress::Embedded
            && matches!(self.life, super::Life::Foreground)
            && self.closing.is_none()
            && self.leaving.is_none()
            && self.newcomer.is_none();
        let is_members = |device: &Device<super::Crypto>| {
            let list = device.relay_addresses();
            let first = list.first().and_then(|(_, relay)| relay.as_ref());
            first
                .is_some_and(|relay| relay.is_members() || self.hosting.is(relay))
                .then(|| list.iter().flat_map(|(_, relay)| relay).any(|relay| self.hosting.is(relay)))
        };
        let device = self.device.as_ref().filter(|device| hosts && !device.is_removed());
        let device = device.filter(|device| !device.is_hosting() || !self.hosting.is_running());
        let Some(named) = device.and_then(is_members).filter(|_| !self.hosting.has_failed()) else { return };
        let port = if named { Port::Named } else { Port::Free };
        let hosted = self.hosting.ensure(self.start.dialer.local(), &mut self.store, port).await;
        let hosted = hosted.and_then(|address| match &mut self.device {
            Some(device) => device.hosts(&address, now, &mut SystemRng).map_err(setup::failed),
            None => Ok(()),
        });
        if let Err(error) = hosted {
            tracing::warn!(code = %error.code, "this device hosts no mailbox: {}", error.message);
        }
    }

    pub(super) async fn meeting_place(&mut self, now: u64) -> Result<MeetingPlace, SyncError> {
        self.ensure_device(now).await?;
        let suite = self.sponsor()?.suite();
        let relay = self.relay_now().await?;
        self.nudge();
        let codes = match self.relay {
            _ if suite == Suite::Fips => Codes::NotApproved,
            _ if relay.is_members() || self.hosting.is(&relay) => Codes::Never,
            RelayAddress::Embedded => Codes::OnDemand,
            _ => Codes::Always,
        };
        Ok(MeetingPlace { relay, codes, suite, name: self.name.clone() })
    }

    /// Where a device that is to join a group meets whoever shows it a short code; a link says so itself.
    pub(super) fn newcomers_place(&self) -> MeetingPlace {
        let suite = Suite::FOUNDED;
        let codes = match self.relay {
            _ if suite == Suite::Fips => Codes::NotApproved,
            RelayAddress::Embedded => Codes::Never,
            _ => Codes::Always,
        };
        MeetingPlace { relay: self.relay.clone(), codes, suite, name: self.name.clone() }
    }

    /// The device, if it can take another one in.
    pub(super) fn sponsor(&mut self) -> Result<&mut Device<super::Crypto>, SyncError> {
        if self.newcomer.is_some() {
            let message = "this device is joining another group, so it can take nobody into its own";
            return Err(SyncError::new(Code::AlreadyInGroup, message));
        }
        let device = self.device.as_mut().ok_or_else(not_in_group)?;
        device.may_add().map_err(setup::failed)?;
        Ok(device)
    }

    pub(super) fn is_another_group(&self, offered: Option<GroupId>) -> Result<(), SyncError> {
        // Who was put out may come back, under a key of its own.
        let present = self.device.as_ref().filter(|device| !device.is_removed());
        if offered.is_some() && offered == present.map(Device::group) {
            return Err(SyncError::new(Code::AlreadyInGroup, "this device is in that group already"));
        }
        Ok(())
    }

    pub(super) fn may_join(&self) -> Result<(), SyncError> {
        if self.newcomer.is_some() {
            return Err(SyncError::new(Code::AlreadyInGroup, "this device is joining a group already"));
        }
        if self.offering.is_open() {
            let message = "this device is taking another one into its own group";
            return Err(SyncError::new(Code::AlreadyInGroup, message));
        }
        match &self.device {
            Some(device) if device.is_lost() => Err(SyncError::new(
                Code::Removed,
                "this device deletes what it holds: it was removed as one that is lost",
            )),
            // Its blobs come along, what it has not sent among them.
            Some(device) if device.is_removed() => Ok(()),
            Some(device) if !device.is_alone() || device.is_adding() => {
                Err(SyncError::new(Code::AlreadyInGroup, "this device shares a group with others"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn not_in_group() -> SyncError {
    SyncError::new(Code::NotInGroup, "there is no group here yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_takes_the_place_of_the_one_before() {
        let relay = |n: u8| -> RelayAddress { format!("https://{n}.example").parse().unwrap() };
        let list = |relays: &[u8], was: u8, named: u8| {
            in_place(relays.iter().map(|n| relay(*n)).collect(), |at| *at == relay(was), relay(named))
        };
        let expect = |relays: &[u8]| relays.iter().map(|n| relay(*n)).collect::<Vec<_>>();
        assert_eq!(list(&[1], 1, 2), expect(&[2]));
        assert_eq!(list(&[1, 2, 3], 2, 4), expect(&[1, 4, 3]));
        // It is in the list already.
        assert_eq!(list(&[1, 2, 3], 1, 3), expect(&[3, 2]));
        assert_eq!(list(&[1, 2, 3], 3, 1), expect(&[2, 1]));
        // Somebody has changed the list by hand.
        assert_eq!(list(&[1, 2], 9, 4), expect(&[4]));
        let several = in_place(expect(&[5, 1, 2, 3]), |at| *at == relay(1) || *at == relay(3), relay(4));
        assert_eq!(several, expect(&[5, 4, 2]));
    }
}
