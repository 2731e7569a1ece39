//! A backup's way through the engine.

use sync_core::Device;
use sync_core::vault::backup::{RELAY_BYTES, Settings};
use sync_types::settings::HistoryPolicy;
use sync_types::{Code, Opaque, RelayAddress};

use super::turn::Work;
use super::{Engine, setup};
use crate::SyncError;
use crate::backup::Restored;

impl Engine {
    /// What a backup says besides blobs, but for when and how many.
    pub(super) fn backup_settings(&self) -> Settings {
        let device = self.device.as_ref();
        let text = |text: String| Opaque(text.into_bytes());
        let relay = self.relay_to_go_on_at();
        // A token of kilobytes does not fit, and can be given again.
        let relay = Some(relay.to_string())
            .filter(|text| text.len() <= RELAY_BYTES)
            .unwrap_or_else(|| relay.without_token().to_string());
        Settings {
            made_at: 0,
            app_id: text(self.start.app_id.clone()),
            name: text(device.map_or_else(|| self.name.clone(), Device::name)),
            relay: text(relay),
            history: device.map_or(HistoryPolicy::All, |device| device.settings().history),
            blobs: 0,
        }
    }

    /// Where a device that starts anew finds a relay: the group's, if that is a host's. One that a member hosts may be lost with
    /// it.
    fn relay_to_go_on_at(&self) -> RelayAddress {
        let groups = self.device.as_ref().and_then(|d| String::from_utf8(d.settings().relays.first()?.to_vec()).ok());
        match groups.and_then(|text| text.parse().ok()) {
            Some(web @ RelayAddress::Web { .. }) if web != self.relay.without_token() => web,
            _ => self.relay.clone(),
        }
    }

    /// Whether blobs of a backup may come in now.
    pub(super) fn may_import(&self) -> Result<(), SyncError> {
        if self.newcomer.is_some() {
            let message = "this device waits to be added to a group: import when it is in it";
            return Err(SyncError::new(Code::AlreadyInGroup, message));
        }
        if self.leaving.is_some() {
            return Err(SyncError::new(Code::NotInGroup, "this device is leaving its group"));
        }
        self.device.as_ref().map_or(Ok(()), |device| device.check_in_group().map_err(setup::failed))
    }

    /// Sees that there is a group for what comes in. One that is founded for it is where and what the backup says, as far as the
    /// configuration says nothing.
    pub(super) async fn begin_import(&mut self, from: &Restored, work: &mut Work, now: u64) -> Result<(), SyncError> {
        self.may_import()?;
        if self.device.is_some() {
            return Ok(());
        }
        let before = (self.relay.clone(), self.name.clone());
        if !self.configured.relay {
            let relay: RelayAddress = from
                .relay()
                .parse()
                .map_err(|_| SyncError::new(Code::BackupDamaged, "the backup's relay address cannot be read"))?;
            work.settings.push((setup::RELAY, relay.to_string()));
            self.relay = relay;
        }
        if !self.configured.name && sync_core::pairing::check_name(&from.name()).is_ok() {
            work.settings.push((setup::NAME, from.name()));
            self.name = from.name();
        }
        match self.found_with(from.settings.history, None, now).await {
            Ok(device) => {
                self.device = Some(device);
                self.nudge();
                work.before_import = Some(before);
                Ok(())
            }
            Err(error) => {
                (self.relay, self.name) = before;
                work.settings.clear();
                Err(error)
            }
        }
    }
}
