//! The relay's observer, with a note of what it saw last.

use std::sync::Mutex;

use mls_rs::CryptoProvider;
use sync_rules::{Observe, ObserveError, Observed, Observer, Step};

/// Remembers what the observer saw in the last commit, for the model.
pub(crate) struct Watching<P>(Observer<P>, Mutex<Option<Step>>);

impl<P> Watching<P> {
    pub(crate) fn new(observer: Observer<P>) -> Self {
        Self(observer, Mutex::new(None))
    }

    pub(crate) fn take(&self) -> Option<Step> {
        self.1.lock().expect("nothing panics while it holds this lock").take()
    }
}

impl<P: CryptoProvider + Clone + Send + Sync> Observe for Watching<P> {
    fn found(&self, group_info: &[u8]) -> Result<Observed, ObserveError> {
        self.0.found(group_info)
    }

    fn process(&self, snapshot: &[u8], commit: &[u8], group_info: &[u8]) -> Result<Step, ObserveError> {
        let step = self.0.process(snapshot, commit, group_info)?;
        *self.1.lock().expect("nothing panics while it holds this lock") = Some(step.clone());
        Ok(step)
    }

    fn copy(&self, snapshot: &[u8], commit: &[u8], group_info: Option<&[u8]>) -> Result<Step, ObserveError> {
        self.0.copy(snapshot, commit, group_info)
    }
}
