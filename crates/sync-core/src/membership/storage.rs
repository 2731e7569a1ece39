//! The shelves on which MLS lays its state down and finds it. They hold it for the moment between MLS and the caller's
//! bytes, which are what is stored.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mls_rs::{GroupStateStorage, KeyPackageStorage};
use mls_rs_core::{
    group::{EpochRecord, GroupState},
    key_package::KeyPackageData,
};
use zeroize::Zeroizing;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment, so a poisoned lock guards nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room for the state of one group.
#[derive(Clone, Default)]
pub(super) struct GroupShelf(Arc<Mutex<Option<Zeroizing<Vec<u8>>>>>);

impl GroupShelf {
    pub(super) fn put(&self, state: Zeroizing<Vec<u8>>) {
        *lock(&self.0) = Some(state);
    }

    pub(super) fn take(&self) -> Option<Zeroizing<Vec<u8>>> {
        lock(&self.0).take()
    }
}

impl GroupStateStorage for GroupShelf {
    type Error = Infallible;

    fn state(&self, _: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(lock(&self.0).clone())
    }

    /// Past epochs are never read: there are no MLS application messages, and envelopes have keys of their own.
    fn epoch(&self, _: &[u8], _: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(None)
    }

    fn write(&mut self, state: GroupState, _: Vec<EpochRecord>, _: Vec<EpochRecord>) -> Result<(), Infallible> {
        self.put(state.data);
        Ok(())
    }

    fn max_epoch_id(&self, _: &[u8]) -> Result<Option<u64>, Infallible> {
        Ok(None)
    }
}

/// Room for the secrets of one key package.
#[derive(Clone, Default)]
pub(super) struct KeyPackageShelf(Arc<Mutex<Option<Package>>>);

/// A key package's reference and secrets.
type Package = (Vec<u8>, KeyPackageData);

impl KeyPackageShelf {
    pub(super) fn put(&self, id: Vec<u8>, secrets: KeyPackageData) {
        *lock(&self.0) = Some((id, secrets));
    }

    pub(super) fn take(&self) -> Option<Package> {
        lock(&self.0).take()
    }
}

impl KeyPackageStorage for KeyPackageShelf {
    type Error = Infallible;

    fn delete(&mut self, id: &[u8]) -> Result<(), Infallible> {
        lock(&self.0).take_if(|(ours, _)| ours == id);
        Ok(())
    }

    fn insert(&mut self, id: Vec<u8>, secrets: KeyPackageData) -> Result<(), Infallible> {
        self.put(id, secrets);
        Ok(())
    }

    fn get(&self, id: &[u8]) -> Result<Option<KeyPackageData>, Infallible> {
        Ok(lock(&self.0).as_ref().filter(|(ours, _)| ours == id).map(|(_, secrets)| secrets.clone()))
    }
}
