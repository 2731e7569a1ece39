//! Who is in the group, as people decide: taking a device in, putting one out, leaving.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_types::{DeviceId, Opaque, limits};

use super::records::{AddIntent, Intent};
use super::{Device, DeviceError};
use crate::membership::{PrepareError, read_key_package};
use crate::pairing::check_name;
use crate::store::Key;

/// How long a newcomer is still added after its pairing, in milliseconds: half of what it waits for.
pub(super) const ADD_PATIENCE_MS: u64 = limits::PAIRING_TTL.as_millis() as u64 / 2;

impl<P: CryptoProvider + Clone> Device<P> {
    /// Whether a device can be taken in now, so that nobody is led here in vain.
    pub fn may_add(&self) -> Result<(), DeviceError> {
        self.check_may_change()?;
        if self.membership.members().len() >= limits::MEMBERS {
            return Err(DeviceError::Invalid("the group has as many members as it can have"));
        }
        Ok(())
    }

    /// Takes a device in that pairing has led here. [`Event::DeviceAdded`] tells when it is done.
    pub fn add(
        &mut self,
        key_package: Vec<u8>,
        name: &str,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<DeviceId, DeviceError> {
        self.may_add()?;
        check_name(name).map_err(DeviceError::Invalid)?;
        let (device, _, suite) = read_key_package(&key_package)?;
        if suite != self.suite() {
            return Err(PrepareError::Suite.into());
        }
        self.want_change(Intent::Add(AddIntent {
            device,
            name: Opaque(name.as_bytes().to_vec()),
            key_package: Opaque(key_package),
            expires_at: now + ADD_PATIENCE_MS,
        }));
        self.pump(now, rng);
        Ok(device)
    }

    /// Puts a device out of the group. [`Event::DeviceRemoved`] tells when it is done.
    pub fn remove(&mut self, device: DeviceId, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.put_out(Intent::Remove(device), device, now, rng)
    }

    /// The same for a device that is lost: when it hears of that, it deletes what it holds.
    pub fn remove_lost(&mut self, device: DeviceId, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.put_out(Intent::RemoveLost(device), device, now, rng)
    }

    fn put_out(
        &mut self,
        intent: Intent,
        device: DeviceId,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DeviceError> {
        self.check_may_change()?;
        if device == self.me {
            return Err(DeviceError::Invalid("a device cannot remove itself; it can leave"));
        }
        if !self.peers.get(&device).is_some_and(|p| p.member) {
            return Err(DeviceError::UnknownDevice(device));
        }
        // What is decided last holds.
        self.intents.list.retain(|other| other.removes().is_none_or(|(other, _)| other != device));
        self.want_change(intent);
        self.pump(now, rng);
        Ok(())
    }

    /// Renews this device's keys in the group, as it does by itself every [`limits::SELF_UPDATE_EVERY`].
    pub fn self_update(&mut self, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.check_may_change()?;
        self.want_change(Intent::SelfUpdate);
        self.pump(now, rng);
        Ok(())
    }

    /// Asks the other members to remove this device; [`Event::Removed`] tells when one has. Alone in the group there is
    /// nobody to ask and nothing to wait for.
    pub fn leave(&mut self, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.check_in_group()?;
        if !self.is_alone() && !self.chain.leaving {
            self.chain.leaving = true;
            self.dirty.insert(Key::Chain);
            if let Some(session) = &mut self.session {
                session.leaving_due = true;
            }
            self.pump(now, rng);
        }
        Ok(())
    }

    /// Asks no more to be removed. What was asked already may still be done.
    pub fn stay(&mut self) {
        if std::mem::take(&mut self.chain.leaving) {
            self.dirty.insert(Key::Chain);
            if let Some(session) = &mut self.session {
                session.leaving_due = false;
            }
        }
    }
}
