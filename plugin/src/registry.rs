//! What webviews hold open: subscriptions, listeners, pairings. Each belongs to the page that opened it and ends with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things of webviews by a number. Only the webview that opened a thing reaches it.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    next: u32,
    entries: HashMap<u32, (String, T)>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { next: 1, entries: HashMap::new() }) }
    }
}

impl<T> Registry<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what `make` makes under a new number.
    pub(crate) fn insert(&self, webview: &str, make: impl FnOnce(u32) -> T) -> u32 {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next = inner.next.wrapping_add(1);
        let thing = make(id);
        inner.entries.insert(id, (webview.to_owned(), thing));
        id
    }

    /// What this webview opened under the number.
    pub(crate) fn with<O>(&self, webview: &str, id: u32, look: impl FnOnce(&T) -> O) -> Option<O> {
        let inner = self.lock();
        inner.entries.get(&id).filter(|(owner, _)| owner == webview).map(|(_, thing)| look(thing))
    }

    /// Drops what this webview opened under the number, if it is still there.
    pub(crate) fn remove(&self, webview: &str, id: u32) {
        let mut inner = self.lock();
        if inner.entries.get(&id).is_some_and(|(owner, _)| owner == webview) {
            let gone = inner.entries.remove(&id);
            drop(inner);
            drop(gone);
        }
    }

    /// Drops everything that a webview opened: its page is gone.
    pub(crate) fn remove_all_of(&self, webview: &str) {
        let mut inner = self.lock();
        let ids: Vec<u32> =
            inner.entries.iter().filter(|(_, (owner, _))| owner == webview).map(|(id, _)| *id).collect();
        let gone: Vec<_> = ids.iter().filter_map(|id| inner.entries.remove(id)).collect();
        drop(inner);
        drop(gone);
    }

    /// The least of what `number` gives for all things that it gives something for.
    pub(crate) fn least(&self, number: impl Fn(&T) -> Option<u64>) -> Option<u64> {
        self.lock().entries.values().filter_map(|(_, thing)| number(thing)).min()
    }
}

/// A task that ends with its value.
#[derive(Debug)]
pub(crate) struct Task(tauri::async_runtime::JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tauri::async_runtime::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_belongs_to_the_webview_that_opened_it() {
        let registry = Registry::default();
        let (a, b) = (registry.insert("main", |_| "a"), registry.insert("other", |_| "b"));
        assert_ne!(a, b);
        assert_eq!(registry.with("main", a, |thing| *thing), Some("a"));
        assert_eq!(registry.with("other", a, |thing| *thing), None);
        registry.remove("other", a);
        assert!(registry.with("main", a, |_| ()).is_some());
        registry.remove_all_of("main");
        assert!(registry.with("main", a, |_| ()).is_none());
        assert!(registry.with("other", b, |_| ()).is_some());
    }
}
