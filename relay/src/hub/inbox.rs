//! What waits for one session. The writer puts and never waits; the session takes at its own pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_types::frame::FromRelay;
use sync_types::{DeviceId, Opaque};
use tokio::sync::Notify;

use crate::mailbox::{Attachment, Keys, NewEntries, Refusal, View};
use crate::store::Bytes;

/// How many events may wait, beside answers, which are bounded by what the session asked for, and receipts, of which there
/// is one for each member.
const EVENTS: usize = 1_024;
/// How many of them may be presence, which is worth nothing later.
const PRESENCE: usize = 32;

/// What a session has to hear.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is attached.
    Attached(Box<Attachment>),
    /// An answer.
    Reply(FromRelay),
    /// Something it asked for was not done.
    Refused(Refusal),
    /// There are new entries.
    Newest(NewEntries),
    /// What it may see has changed; `None`: nothing any more.
    View(Option<View>),
    /// The commit behind this cursor, which started this epoch, is final.
    Confirmed { epoch: u64, cursor: u64 },
    /// Its Welcome may be read.
    WelcomeReady,
    /// A signed acknowledgement that names it.
    Receipt { from: DeviceId, statement: Bytes },
    /// Another's presence.
    Presence(Opaque),
    /// Another wants this one to renew its keys.
    Renew,
}

/// One session's queue.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    presence: usize,
    receipts: usize,
    closed: bool,
    keys: Arc<Keys>,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.events.len() - self.receipts >= EVENTS
    }

    /// Puts a receipt, in the place of one by the same device if that was not taken yet: the later one says it all.
    fn put_receipt(&mut self, by: DeviceId, newest: Bytes) {
        let earlier = self.events.iter_mut().filter(|_| self.receipts > 0).find_map(|event| match event {
            Event::Receipt { from, statement } if *from == by => Some(statement),
            _ => None,
        });
        match earlier {
            Some(statement) => *statement = newest,
            None => {
                self.receipts += 1;
                self.events.push_back(Event::Receipt { from: by, statement: newest });
            }
        }
    }
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event. A session that lets too many gather is closed: it reads everything again when it comes back.
    pub(crate) fn put(&self, event: Event) {
        let mut waiting = self.waiting();
        if waiting.closed {
            return;
        }
        if let Event::Receipt { from, statement } = event {
            waiting.put_receipt(from, statement);
            drop(waiting);
            self.wake.notify_one();
            return;
        }
        let full = waiting.is_full();
        let presence = waiting.presence < PRESENCE;
        // Once is enough.
        let renew =
            matches!(event, Event::Renew) && !full && !waiting.events.iter().any(|event| matches!(event, Event::Renew));
        let answer = matches!(event, Event::Attached(_) | Event::Reply(_) | Event::Refused(_));
        match (&event, waiting.events.back_mut()) {
            // The later of two that follow each other says it all.
            (Event::Newest(new), Some(Event::Newest(last))) => *last = last.and(*new),
            (Event::Reply(FromRelay::Accepted(seq)), Some(Event::Reply(FromRelay::Accepted(last)))) => {
                *last = (*seq).max(*last);
            }
            (Event::Presence(_), _) => {
                if presence {
                    waiting.presence += 1;
                    waiting.events.push_back(event);
                }
            }
            (Event::Renew, _) if !renew => {}
            _ if full && !answer => waiting.closed = true,
            _ => waiting.events.push_back(event),
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Waits until the session has taken enough for another answer. Asked before each request, so that who never reads the
    /// answers cannot go on asking.
    pub(crate) async fn room(&self) {
        while self.waiting().is_full() {
            self.room.notified().await;
        }
    }

    /// The keys by which the session verifies what it is given to push, as far as the writer has decided. Not an event: what
    /// a device sends right after a commit is read before anybody hears of that commit.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.waiting().keys.clone()
    }

    /// Gives the session the group's keys.
    pub(crate) fn set_keys(&self, keys: Arc<Keys>) {
        self.waiting().keys = keys;
    }

    /// Ends the session once it has taken what waits.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.wake.notify_one();
    }

    /// Whether the session is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// The next event if there is one.
    pub(crate) fn try_next(&self) -> Option<Event> {
        let mut waiting = self.waiting();
        let event = waiting.events.pop_front()?;
        waiting.presence -= usize::from(matches!(event, Event::Presence(_)));
        waiting.receipts -= usize::from(matches!(event, Event::Receipt { .. }));
        self.room.notify_one();
        Some(event)
    }

    /// The next event, or `None` when the session is over. For one taker.
    pub(crate) async fn next(&self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            {
                let waiting = self.waiting();
                if waiting.closed && waiting.events.is_empty() {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_repeats_itself_takes_one_place() {
        let inbox = Inbox::default();
        for n in 1..=5_000 {
            inbox.put(Event::Newest(NewEntries::one(n)));
        }
        for n in 1..=5_000 {
            inbox.put(Event::Reply(FromRelay::Accepted(n)));
        }
        let all = NewEntries { after: 0, newest: 5_000, of: None };
        assert!(matches!(inbox.next().await, Some(Event::Newest(new)) if new == all));
        assert!(matches!(inbox.next().await, Some(Event::Reply(FromRelay::Accepted(5_000)))));
        inbox.close();
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_session_loses_presence_first_and_then_its_place() {
        let inbox = Inbox::default();
        for _ in 0..10 * EVENTS {
            inbox.put(Event::Presence(Opaque::default()));
        }
        let mut taken = 0;
        for _ in 0..PRESENCE {
            assert!(matches!(inbox.next().await, Some(Event::Presence(_))));
            taken += 1;
        }
        assert_eq!(taken, PRESENCE);
        for _ in 0..=EVENTS {
            inbox.put(Event::View(None));
        }
        let mut views = 0;
        while inbox.next().await.is_some() {
            views += 1;
        }
        assert_eq!(views, EVENTS, "and then it is over");
    }

    #[tokio::test]
    async fn receipts_never_cost_a_slow_session_its_place() {
        let inbox = Inbox::default();
        let receipt = |by: u8, n: usize| Event::Receipt {
            from: DeviceId([by; 16]),
            statement: Bytes::from(format!("{by} {n}").as_bytes()),
        };
        for n in 0..10 * EVENTS {
            inbox.put(receipt(1, n));
            inbox.put(receipt(2, n));
        }
        for _ in 0..EVENTS {
            inbox.put(Event::View(None));
        }
        inbox.put(receipt(3, 0));
        assert!(!inbox.is_closed());
        let (mut receipts, mut views) = (Vec::new(), 0);
        while let Some(event) = inbox.try_next() {
            match event {
                Event::Receipt { statement, .. } => receipts.push(String::from_utf8(statement.to_vec()).unwrap()),
                _ => views += 1,
            }
        }
        let last = 10 * EVENTS - 1;
        assert_eq!(receipts, [format!("1 {last}"), format!("2 {last}"), "3 0".to_owned()], "each one's newest");
        assert_eq!(views, EVENTS);
        inbox.put(receipt(1, 0));
        assert!(
            matches!(inbox.next().await, Some(Event::Receipt { .. })),
            "what was taken is not there to be replaced"
        );
    }
}
