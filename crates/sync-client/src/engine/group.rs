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

    /// Founds a group that agrees on this, with this recovery kit if there is one.
    pub(super) async fn found_with(
        &mut self,
        history: HistoryPolicy,
        kit: Option<&RecoveryKit>,
        now: u64,
    ) -> Result<Device<super::Crypto>, SyncError> {
        let relay = match &self.relay {
            RelayAddress::Embedded => {
                self.hosting.ensure(self.start.dialer.local(), &mut self.store, Port::Free).await?
            }
            other => other.without_token(),
        };
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

    pub(super) async fn meeting_place(&mut self, now: u64) -> Result<MeetingPlace, SyncError> {
        self.ensure_device(now).await?;
        let suite = self.sponsor()?.suite();
        let relay = self.relay_now().await?;
        self.nudge();
        let codes = match self.relay {
            _ if suite == Suite::Fips => Codes::NotApproved,
            _ if self.hosting.is(&relay) => Codes::Never,
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
