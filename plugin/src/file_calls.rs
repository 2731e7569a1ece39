//! Calls of pages that carry files: they say how far they are, and end when their page gives them up or goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sync_client::{Code, SyncError};
use tauri::ipc::Channel;
use tokio::sync::oneshot;

use crate::file_types::FileProgress;
use crate::pages::{Page, Pages};

/// How many files one page may have on their way at a time.
const MOST: usize = 64;

/// How often a page is told how far a file is.
const EVERY: Duration = Duration::from_millis(100);

/// What goes on, by page and the number that the page gave it.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<BTreeMap<(String, u32), Call>>);

#[derive(Debug)]
enum Call {
    /// It goes on until this is dropped.
    GoesOn { _end: oneshot::Sender<()> },
    /// It was given up before it began: two calls of a page may overtake each other on their way here.
    GivenUp,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Call>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something for a page until that gives it up.
    ///
    /// # Errors
    /// Those of `work`; [`Code::Closed`] if the page is gone or gave it up; [`Code::InvalidArgument`] if it has too much going on.
    pub(crate) async fn run<T>(
        &self,
        pages: &Pages,
        page: &Page,
        number: u32,
        work: impl Future<Output = Result<T, SyncError>>,
    ) -> Result<T, SyncError> {
        let ended = pages.still(page, || self.begin(page.webview(), number))??;
        let _over = Over { calls: self, page: page.webview(), number };
        tokio::select! {
            done = work => done,
            _ = ended => Err(given_up()),
        }
    }

    fn begin(&self, page: &str, number: u32) -> Result<oneshot::Receiver<()>, SyncError> {
        let (mut calls, key) = (self.lock(), (page.to_owned(), number));
        match calls.get(&key) {
            Some(Call::GivenUp) => {
                calls.remove(&key);
                return Err(given_up());
            }
            Some(Call::GoesOn { .. }) => {
                return Err(SyncError::new(Code::InvalidArgument, "another call of this page has this number"));
            }
            None => {}
        }
        let going_on =
            |((owner, _), call): &(&(String, u32), &Call)| owner == page && matches!(call, Call::GoesOn { .. });
        if calls.iter().filter(going_on).count() >= MOST {
            let message = format!("this page has {MOST} files on their way, which is the most; one has to end first");
            return Err(SyncError::new(Code::InvalidArgument, message));
        }
        let (end, ended) = oneshot::channel();
        calls.insert(key, Call::GoesOn { _end: end });
        Ok(ended)
    }

    /// The page gives a call up. One that is over is as good.
    pub(crate) fn give_up(&self, page: &str, number: u32) {
        let (mut calls, key) = (self.lock(), (page.to_owned(), number));
        if let Some(Call::GoesOn { .. }) = calls.get(&key) {
            calls.remove(&key);
            return;
        }
        calls.insert(key, Call::GivenUp);
        // What was over already leaves its word behind. The call that a fresh one is about comes at once.
        let words = calls.iter().filter(|((owner, _), call)| owner == page && matches!(call, Call::GivenUp));
        let mut words: Vec<_> = words.map(|(key, _)| key.clone()).collect();
        if words.len() > MOST {
            words.retain(|(_, other)| *other != number);
            words.into_iter().take(1).for_each(|key| drop(calls.remove(&key)));
        }
    }

    /// The page is gone, and all that it began ends.
    pub(crate) fn end_all_of(&self, page: &str) {
        self.lock().retain(|(owner, _), _| owner != page);
    }
}

/// Takes a call off when it is over, however that comes.
struct Over<'a> {
    calls: &'a Calls,
    page: &'a str,
    number: u32,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.calls.lock().remove(&(self.page.to_owned(), self.number));
    }
}

fn given_up() -> SyncError {
    SyncError::new(Code::Closed, "the page that called gave it up")
}

/// Tells a page how far a file is: at most ten times a second, and at its end.
pub(crate) struct Meter {
    to: Channel<FileProgress>,
    told: Mutex<Option<(u64, Instant)>>,
}

impl Meter {
    pub(crate) fn new(to: Channel<FileProgress>) -> Self {
        Self { to, told: Mutex::new(None) }
    }

    /// So many bytes of so many are done.
    pub(crate) fn show(&self, done: u64, total: u64) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due(*told, done, total, now) {
            *told = Some((done, now));
            // The page may be gone.
            let _ = self.to.send(FileProgress { done: done.to_string(), total: total.to_string() });
        }
    }
}

fn is_due(told: Option<(u64, Instant)>, done: u64, total: u64, now: Instant) -> bool {
    match told {
        None => true,
        Some((before, _)) if before == done => false,
        Some((_, at)) => done >= total || now.duration_since(at) >= EVERY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, SyncError>) -> Option<Code> {
        result.err().map(|error| error.code)
    }

    #[tokio::test]
    async fn a_call_ends_when_its_page_gives_it_up_or_goes() {
        let (calls, pages) = (Calls::default(), Pages::default());
        let (page, other) = (pages.of("main", "main"), pages.of("other", "other"));
        let never = std::future::pending::<Result<(), SyncError>>;
        let end = async {
            // Another page's number is its own.
            calls.give_up("other", 1);
            calls.give_up("main", 1);
        };
        let (ended, ()) = tokio::join!(biased; calls.run(&pages, &page, 1, never()), end);
        assert_eq!(code(ended), Some(Code::Closed));
        // Given up before it began.
        assert_eq!(code(calls.run(&pages, &other, 1, never()).await), Some(Code::Closed));
        assert_eq!(code(calls.run(&pages, &other, 1, async { Ok(()) }).await), None);

        let leave = async {
            pages.turned("main");
            calls.end_all_of("main");
        };
        let (ended, ()) = tokio::join!(biased; calls.run(&pages, &page, 2, never()), leave);
        assert_eq!(code(ended), Some(Code::Closed));
        assert_eq!(code(calls.run(&pages, &page, 3, async { Ok(()) }).await), Some(Code::Closed), "its page is gone");
        assert!(calls.lock().is_empty());
    }

    #[tokio::test]
    async fn a_page_has_so_many_files_on_their_way_and_no_more() {
        let (calls, pages) = (Calls::default(), Pages::default());
        let page = pages.of("main", "main");
        let held: Vec<_> = (0..64).map(|number| calls.begin("main", number).unwrap()).collect();
        assert_eq!(code(calls.begin("main", 0)), Some(Code::InvalidArgument), "the number is taken");
        assert_eq!(code(calls.run(&pages, &page, 64, async { Ok(()) }).await), Some(Code::InvalidArgument));
        calls.give_up("main", 0);
        assert_eq!(code(calls.run(&pages, &page, 64, async { Ok(()) }).await), None);
        drop(held);
    }

    #[test]
    fn words_about_calls_that_are_over_do_not_pile_up() {
        let calls = Calls::default();
        for number in (0..1000).rev() {
            calls.give_up("main", number);
            assert_eq!(code(calls.begin("main", number)), Some(Code::Closed), "the newest one holds");
            calls.give_up("main", number);
        }
        assert!(calls.lock().len() <= MOST);
    }

    #[test]
    fn progress_is_told_at_first_at_times_and_at_the_end() {
        let (start, later) = (Instant::now(), Duration::from_millis(99));
        let told = Some((10, start));
        assert!(is_due(None, 0, 100, start));
        assert!(!is_due(told, 11, 100, start + later) && is_due(told, 11, 100, start + EVERY));
        assert!(is_due(told, 100, 100, start) && !is_due(Some((100, start)), 100, 100, start + EVERY));
    }
}
