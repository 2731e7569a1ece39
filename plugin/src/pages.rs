//! Which page a webview shows. A page that is gone listens to nothing, whatever it began.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_client::{Code, SyncError};
use tauri::{Runtime, Webview};

/// Some webviews keep a page as it was, and show it again when somebody goes back. What it had begun is over then, and it would never
/// know: it is loaded anew.
const LOADED_ANEW: &str = "addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });";

/// The pages that are shown now.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<HashMap<String, Shown>>);

/// What a webview shows.
#[derive(Debug)]
struct Shown {
    window: String,
    /// How many pages were there before it.
    turn: u64,
    /// Whether the page was told about [`LOADED_ANEW`].
    told: bool,
}

impl Shown {
    fn turn(&mut self) {
        self.turn += 1;
        self.told = false;
    }
}

/// A page, in the command that it called. A command takes this before it waits for anything.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    webview: String,
    turn: u64,
}

impl Page {
    pub(crate) fn webview(&self) -> &str {
        &self.webview
    }
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shown>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that calls, and is about to begin something.
    pub(crate) fn calling<R: Runtime>(&self, webview: &Webview<R>) -> Page {
        let page = self.of(webview.label(), webview.window().label());
        let untold = |shown: &mut Shown| !std::mem::replace(&mut shown.told, true);
        let tell = self.lock().get_mut(&page.webview).is_some_and(untold);
        if tell && let Err(error) = webview.eval(LOADED_ANEW) {
            tracing::debug!(%error, "a page that begins something is gone");
        }
        page
    }

    pub(crate) fn of(&self, webview: &str, window: &str) -> Page {
        let mut shown = self.lock();
        let first = || Shown { window: window.to_owned(), turn: 0, told: false };
        let shown = shown.entry(webview.to_owned()).or_insert_with(first);
        Page { webview: webview.to_owned(), turn: shown.turn }
    }

    /// Does something for a page while it cannot go.
    ///
    /// # Errors
    /// [`Code::Closed`] if it is gone.
    pub(crate) fn still<O>(&self, page: &Page, act: impl FnOnce() -> O) -> Result<O, SyncError> {
        let shown = self.lock();
        match shown.get(&page.webview) {
            Some(shown) if shown.turn == page.turn => {}
            _ => return Err(SyncError::new(Code::Closed, "the page that called is gone")),
        }
        Ok(act())
    }

    /// The webview shows another page.
    pub(crate) fn turned(&self, webview: &str) {
        if let Some(shown) = self.lock().get_mut(webview) {
            shown.turn();
        }
    }

    /// The window is gone. Gives the webviews that were in it.
    pub(crate) fn left(&self, window: &str) -> Vec<String> {
        let mut shown = self.lock();
        let inside = shown.iter_mut().filter(|(_, shown)| shown.window == window);
        // What still runs for such a page has its number. A window of the same name may come again.
        let turned = inside.map(|(webview, shown)| {
            shown.turn();
            webview.clone()
        });
        turned.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_for_a_page_that_is_gone() {
        let pages = Pages::default();
        let (page, other) = (pages.of("main", "main"), pages.of("second", "window"));
        assert_eq!(pages.still(&page, || 1), Ok(1));
        pages.turned("main");
        assert_eq!(pages.still(&page, || 1).unwrap_err().code, Code::Closed);
        assert_eq!(pages.still(&pages.of("main", "main"), || 1), Ok(1));
        assert_eq!(pages.still(&other, || 1), Ok(1));
        assert_eq!(pages.left("window"), ["second"]);
        assert_eq!(pages.still(&other, || 1).unwrap_err().code, Code::Closed);
        assert_eq!(pages.still(&pages.of("second", "window"), || 1), Ok(1));
    }
}
