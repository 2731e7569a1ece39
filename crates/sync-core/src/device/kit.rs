//! The recovery kit, as members see it: setting and replacing it, handing on what members hold of it, vouching for the group's
//! state; and who changed what the group has agreed on.

use mls_rs::CryptoProvider;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::statement::verify_share;
use sync_types::body::{Control, KitShare};
use sync_types::frame::{KitUpload, Mac, ToRelay, Vouch};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, EntryHash, RelayAddress};

use super::records::{Intent, Pending};
use super::{Device, DeviceError};
use crate::event::{Event, Setting};
use crate::recovery::{RecoveryKit, vouch};
use crate::relay_id::relays_of;
use crate::store::Key;

/// How many changes of settings are remembered.
const CHANGES: usize = 16;

/// What this device keeps beside what the group agreed on.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Agreed {
    /// What members hold of the kit whose key stands in the settings, once this device has it.
    pub(super) share: Option<KitShare>,
    /// The same of a kit that this device is about to set.
    pub(super) next: Option<NextKit>,
    /// Whether the others are to be told the share.
    pub(super) share_due: bool,
    /// The newest changes of settings, oldest first.
    pub(super) changes: Vec<SettingChange>,
    /// Who last came in by the recovery key.
    pub(super) recovered: Option<DeviceId>,
}

/// A kit that is to take the present one's place.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct NextKit {
    pub(super) key: [u8; 32],
    pub(super) share: KitShare,
}

/// Somebody has changed what the group agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SettingChange {
    /// What was changed.
    pub setting: Setting,
    /// By whom.
    pub by: DeviceId,
    /// When this device heard of it, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The commit.
    pub commit: EntryHash,
}

/// Where a new kit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KitState {
    /// The group does not have it yet, or may have to give it up again.
    Waits,
    /// It is the group's.
    InForce,
    /// It will not be the group's, or is no more.
    Never,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Gives the group this recovery kit, in the place of the one that it may have. [`Event::SettingsChanged`] of this device
    /// tells when it is in force, [`Event::ChangeFailed`] of this device that it will not be.
    pub fn set_recovery_kit(
        &mut self,
        kit: &RecoveryKit,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DeviceError> {
        self.check_may_change()?;
        let share = kit.share(&self.crypto, self.suite(), &self.group).map_err(|_| DeviceError::Halted(Code::Suite))?;
        let key = kit.signing_key().public();
        // One that waited still is not to come behind it.
        self.intents.list.retain(|intent| !matches!(intent, Intent::Kit(_)));
        self.agreed.next = Some(NextKit { key, share });
        self.dirty.insert(Key::Agreed);
        self.want_change(Intent::Kit(key));
        self.pump(now, rng);
        Ok(())
    }

    /// Where a kit stands that was given to [`Device::set_recovery_kit`], by the public half of its key.
    pub fn kit_state(&self, key: &[u8; 32]) -> KitState {
        let waits = self.intents.list.contains(&Intent::Kit(*key));
        match self.membership.settings().recovery() == Some(*key) {
            true if self.before.is_none() => KitState::InForce,
            false if !waits => KitState::Never,
            _ => KitState::Waits,
        }
    }

    /// Whether the group has a recovery kit, by its settings.
    pub fn has_recovery_kit(&self) -> bool {
        self.membership.settings().recovery().is_some()
    }

    /// Whether this device can vouch for the group towards whoever comes with the kit.
    pub fn can_vouch(&self) -> bool {
        self.agreed.share.is_some()
    }

    /// The newest changes of what the group agreed on, oldest first.
    pub fn setting_changes(&self) -> &[SettingChange] {
        &self.agreed.changes
    }

    /// The settings with this recovery key in them.
    pub(super) fn with_recovery_key(&self, key: &[u8; 32]) -> Settings {
        Settings { recovery_key: key.to_vec(), ..self.membership.settings() }
    }

    /// A commit has changed what the group agreed on.
    pub(super) fn settings_changed(&mut self, before: &Settings, by: DeviceId, commit: EntryHash, now: u64) {
        let after = self.membership.settings();
        if before.recovery_key != after.recovery_key {
            self.kit_changed(&after);
        }
        // Which of their devices hosts a mailbox right now is nothing that people have to look at.
        let hosted = |settings: &Settings| {
            relays_of(settings).iter().all(|(_, relay)| relay.as_ref().is_some_and(RelayAddress::is_members))
        };
        let upkeep = hosted(before) && hosted(&after);
        let changed = [
            (Setting::RecoveryKit, before.recovery_key != after.recovery_key),
            (Setting::Relays, before.relays != after.relays && !upkeep),
            (Setting::History, before.history != after.history),
        ];
        for (setting, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            self.note_change(setting, by, commit, now);
        }
    }

    pub(super) fn note_change(&mut self, setting: Setting, by: DeviceId, commit: EntryHash, now: u64) {
        self.agreed.changes.push(SettingChange { setting, by, at: now, commit });
        self.events.push(Event::SettingsChanged { setting, by });
        let surplus = self.agreed.changes.len().saturating_sub(CHANGES);
        self.agreed.changes.drain(..surplus);
        self.dirty.insert(Key::Agreed);
    }

    fn kit_changed(&mut self, after: &Settings) {
        let key = after.recovery();
        let own = self.agreed.next.take_if(|next| Some(next.key) == key);
        self.agreed.share_due = own.is_some();
        self.agreed.share = own.map(|next| next.share.clone());
        self.look_for_kit();
    }

    /// A commit that changed them is undone. The share of the kit before comes from those who have it.
    pub(super) fn settings_restored(&mut self, commit: EntryHash) {
        let before = self.agreed.changes.len();
        let kit = self.agreed.changes.iter().any(|c| c.commit == commit && c.setting == Setting::RecoveryKit);
        self.agreed.changes.retain(|change| change.commit != commit);
        if kit {
            self.agreed.share = None;
        }
        if self.agreed.changes.len() != before {
            self.dirty.insert(Key::Agreed);
        }
    }

    /// A member says what members hold of the kit.
    pub(super) fn share_told(&mut self, share: KitShare) {
        let Some(key) = self.membership.settings().recovery() else { return };
        if self.agreed.share.is_none() && self.is_share(&share, &key) {
            self.agreed.share = Some(share);
            self.dirty.insert(Key::Agreed);
            self.look_for_kit();
        }
    }

    pub(super) fn is_share(&self, share: &KitShare, key: &[u8; 32]) -> bool {
        verify_share(&self.group, share, key).is_ok() || !stands(Defence::RecoveryShare)
    }

    /// A member lacks it.
    pub(super) fn share_wanted(&mut self) {
        if self.agreed.share.is_some() && !self.agreed.share_due {
            self.agreed.share_due = true;
            self.dirty.insert(Key::Agreed);
        }
    }

    /// What is to be said of the kit: what members hold of it, or with a beacon that this device lacks that.
    pub(super) fn due_kit_control(&mut self, with_beacon: bool) -> Option<Control> {
        if let Some(share) = self.agreed.share.clone().filter(|_| self.agreed.share_due) {
            self.agreed.share_due = false;
            self.dirty.insert(Key::Agreed);
            return Some(Control::Kit(share));
        }
        let lacks = self.agreed.share.is_none() && self.has_recovery_kit();
        (with_beacon && lacks).then_some(Control::KitWanted)
    }

    /// Vouches for the present epoch, once each connection, as soon as it is final.
    pub(super) fn vouch_for_state(&mut self) {
        let epoch = self.membership.epoch();
        let quiet = self.before.is_none() && self.identity.halted == 0 && !self.is_removed();
        let Some(session) = self.session.as_ref().filter(|s| s.attached && s.caught_up && s.vouched != Some(epoch))
        else {
            return;
        };
        // One that has not heard of the epoch yet keeps no word for it.
        if !quiet || session.relay_epoch != epoch {
            return;
        }
        let Some(share) = &self.agreed.share else { return };
        let info = self.membership.group_info().ok();
        if let Some(mac) = info.and_then(|info| vouch(&share.mac_key, &info)) {
            self.session_mut().vouched = Some(epoch);
            self.send_vouch(epoch, mac);
        }
    }

    /// Vouches for the epoch that a commit of this device begins, right behind it: whoever is lost next needs no other device
    /// to do so.
    pub(super) fn vouch_for_commit(&mut self, group_info: &[u8]) {
        if matches!(&self.pending, Some(Pending { intent: Intent::Suite(_), .. })) {
            // The kit ends with it.
            return;
        }
        let key = match &self.agreed.next {
            Some(next) if self.pending.as_ref().is_some_and(|p| p.intent == Intent::Kit(next.key)) => {
                next.share.mac_key
            }
            _ => match &self.agreed.share {
                Some(share) => share.mac_key,
                None => return,
            },
        };
        if let Some(mac) = vouch(&key, group_info) {
            self.send_vouch(self.membership.epoch() + 1, mac);
        }
    }

    fn send_vouch(&mut self, epoch: u64, mac: Mac) {
        self.sends.push(ToRelay::Kit(KitUpload::Vouch(Vouch { epoch, mac })));
    }
}
