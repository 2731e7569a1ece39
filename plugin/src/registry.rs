//! What webviews hold open: subscriptions, listeners, pairings. Each belongs to the page that opened it and ends with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_client::{Code, SyncError};

/// Things of webviews by a number. Only the webview that opened a thing reaches it.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    what: &'static str,
    most: usize,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    next: u32,
    entries: HashMap<u32, (String, T)>,
}

impl<T> Registry<T> {
    /// No webview has more than so many of these at a time.
    pub(crate) fn of(what: &'static str, most: usize) -> Self {
        Self { what, most, inner: Mutex::new(Inner { next: 1, entries: HashMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what `make` makes under a new number, unless it says why not, or there are too many.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if the webview has as many as it may; those of `allow`, which sees all that is there.
    pub(crate) fn insert(
        &self,
        webview: &str,
        allow: impl Fn(&T) -> Result<(), SyncError>,
        make: impl FnOnce(u32) -> T,
    ) -> Result<u32, SyncError> {
        let mut inner = self.lock();
        if inner.entries.values().filter(|(owner, _)| owner == webview).count() >= self.most {
            let (what, most) = (self.what, self.most);
            let message = format!("this page has {most} {what} open, which is the most; one has to end first");
            return Err(SyncError::new(Code::InvalidArgument, message));
        }
        inner.entries.values().try_for_each(|(_, thing)| allow(thing))?;
        let id = inner.next;
        inner.next = inner.next.wrapping_add(1);
        let thing = make(id);
        inner.entries.insert(id, (webview.to_owned(), thing));
        Ok(id)
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
        let registry = Registry::of("things", 2);
        let open = |webview, thing| registry.insert(webview, |_| Ok(()), |_| thing).unwrap();
        let (a, b) = (open("main", "a"), open("other", "b"));
        assert_ne!(a, b);
        assert_eq!(registry.with("main", a, |thing| *thing), Some("a"));
        assert_eq!(registry.with("other", a, |thing| *thing), None);
        registry.remove("other", a);
        assert!(registry.with("main", a, |_| ()).is_some());
        registry.remove_all_of("main");
        assert!(registry.with("main", a, |_| ()).is_none());
        assert!(registry.with("other", b, |_| ()).is_some());
    }
    #[test]
    fn a_webview_has_so_many_and_no_more() {
        let registry = Registry::of("things", 2);
        let open = |webview| registry.insert(webview, |_| Ok(()), |_| ());
        let first = open("main").unwrap();
        open("main").unwrap();
        let refused = open("main").unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
        assert!(refused.message.contains("2 things"), "{refused}");
        open("other").unwrap();
        registry.remove("main", first);
        open("main").unwrap();
    }
}
