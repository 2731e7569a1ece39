//! One connection: which frame may come when, how often, and in which portions entries go out.

use std::sync::Arc;

use sync_relay::mailbox::{Attachment, NewEntries, Refusal, View};
use sync_relay::session::{Action, Ask, Rates, Session};
use sync_relay::store::{EntriesQuery, EntryRow};
use sync_types::frame::{
    About, Acknowledge, Attached, Commit, Create, EntryKind, FromRelay, OpenSlot, SlotSide, ToRelay,
};
use sync_types::{Code, Opaque, VERSION, limits};

use crate::support::*;

const MEMBER: View = View { after: 0, until: u64::MAX, commits_only: false };

pub(crate) fn attachment(newest: u64, view: View) -> Attachment {
    let attached = Attached { epoch: 1, provisional: false, head: None, acknowledged: 0, newest };
    Attachment { attached, lapsed: None, welcome_waits: false, receipts: vec![], view }
}

/// A session of a member, with what it was told on attaching.
pub(crate) fn attached(newest: u64, view: View) -> (Session, Vec<FromRelay>) {
    let mut session = Session::new(EXPORTER, &Rates::default());
    let (request, proof) = Peer::new(1).attach(0);
    let asked = session.handle_frame(ToRelay::Attach(request.clone()), 100, 0);
    assert_eq!(asked, [Action::Ask(Ask::Attach(request, proof))]);
    let frames = session.handle_attached(attachment(newest, view), None);
    (session, frames)
}

/// An attached session with these rates, of which attaching took so many bytes.
fn attached_at(rates: &Rates, size: usize) -> Session {
    let mut session = Session::new(EXPORTER, rates);
    let (request, _) = Peer::new(1).attach(0);
    session.handle_frame(ToRelay::Attach(request), size, 0);
    session.handle_attached(attachment(0, MEMBER), None);
    session
}

/// The code of the refusal that ends the session.
fn closed_with(actions: &[Action]) -> Option<Code> {
    match actions {
        [Action::Reply(FromRelay::Refused(refused)), Action::Close] if refused.about == About::Session => {
            Some(refused.code())
        }
        _ => None,
    }
}

fn row(cursor: u64, kind: EntryKind, len: usize) -> EntryRow {
    EntryRow { cursor, kind, sender: Peer::new(2).id, bytes: Arc::from(vec![1; len]) }
}

/// Answers a query as a store would.
pub(crate) fn select(log: &[EntryRow], query: &EntriesQuery) -> Vec<EntryRow> {
    let mut bytes = 0;
    let mut rows = Vec::new();
    for row in log.iter().filter(|r| query.matches(r.cursor, r.kind, r.sender)) {
        bytes += row.bytes.len();
        if bytes > query.max_bytes && !rows.is_empty() {
            break;
        }
        rows.push(row.clone());
    }
    rows
}

fn delivered(frames: &[FromRelay]) -> Vec<u64> {
    let entries = |frame: &FromRelay| match frame {
        FromRelay::Deliver(entries) => entries.iter().map(|e| e.cursor).collect(),
        _ => vec![],
    };
    frames.iter().flat_map(entries).collect()
}

#[test]
fn the_first_frame_attaches_creates_or_opens_a_slot() {
    let (request, proof) = Peer::new(1).attach(0);
    let new = || Session::new(EXPORTER, &Rates::default());
    let create = Create { attach: request.clone(), group_info: Opaque(vec![1]), token: Opaque(vec![]) };
    let asked = new().handle_frame(ToRelay::Create(create.clone()), 100, 0);
    assert_eq!(asked, [Action::Ask(Ask::Create(create, proof))]);
    let slot = OpenSlot { version: VERSION, slot: [1; 16], side: SlotSide::Shows, ttl_seconds: 60 };
    let asked = new().handle_frame(ToRelay::OpenSlot(slot.clone()), 100, 0);
    assert_eq!(asked, [Action::Ask(Ask::OpenSlot(slot))]);

    let commit = Commit { commit: Opaque(vec![]), group_info: Opaque(vec![]), welcomes: vec![] };
    for frame in [
        ToRelay::Push(vec![]),
        ToRelay::Acknowledge(Acknowledge { cursor: 0, statement: Opaque(vec![]) }),
        ToRelay::Commit(commit),
        ToRelay::Reject(Opaque(vec![])),
        ToRelay::Presence(Opaque(vec![])),
        ToRelay::WelcomeStored,
        ToRelay::SlotMessage(Opaque(vec![])),
        ToRelay::CloseSlot,
    ] {
        let mut session = new();
        assert_eq!(closed_with(&session.handle_frame(frame.clone(), 10, 0)), Some(Code::Protocol), "{frame:?}");
        assert_eq!(session.handle_frame(ToRelay::Attach(request.clone()), 10, 0), [], "it is over");
    }
    let old = sync_types::frame::Attach { version: 9, ..request };
    assert_eq!(closed_with(&new().handle_frame(ToRelay::Attach(old), 10, 0)), Some(Code::Version));
    assert_eq!(closed_with(&new().handle_garbage("too long".into())), Some(Code::Protocol));
}

#[test]
fn a_session_keeps_to_what_it_began_as() {
    let (mut session, _) = attached(0, MEMBER);
    assert!(session.attached_as().is_some());
    assert_eq!(session.handle_frame(ToRelay::Push(vec![]), 10, 0), [Action::Ask(Ask::Push(vec![]))]);
    let (again, _) = Peer::new(1).attach(0);
    assert_eq!(closed_with(&session.handle_frame(ToRelay::Attach(again), 10, 0)), Some(Code::Protocol));
    assert_eq!(session.attached_as(), None);
    assert_eq!(session.wants_entries(), None);

    let mut session = Session::new(EXPORTER, &Rates::default());
    let slot = OpenSlot { version: VERSION, slot: [1; 16], side: SlotSide::Shows, ttl_seconds: 60 };
    session.handle_frame(ToRelay::OpenSlot(slot), 10, 0);
    let message = Opaque(vec![1]);
    let asked = session.handle_frame(ToRelay::SlotMessage(message.clone()), 10, 0);
    assert_eq!(asked, [Action::Ask(Ask::SlotMessage(message))]);
    assert_eq!(closed_with(&session.handle_frame(ToRelay::Push(vec![]), 10, 0)), Some(Code::Protocol));
}

#[test]
fn a_refused_attach_ends_the_session_and_a_refused_push_does_not() {
    let mut session = Session::new(EXPORTER, &Rates::default());
    let (request, _) = Peer::new(1).attach(0);
    session.handle_frame(ToRelay::Attach(request), 100, 0);
    let refusal = Refusal::new(About::Session, Code::NotMember, "no");
    assert_eq!(closed_with(&session.handle_refused(&refusal)), Some(Code::NotMember));

    let (mut session, _) = attached(0, MEMBER);
    let refusal = Refusal::new(About::Push, Code::BrokenChain, "no");
    assert_eq!(session.handle_refused(&refusal), [Action::Reply(refusal.frame())]);
    assert!(session.attached_as().is_some());
}

#[test]
fn too_much_too_fast_is_refused_with_the_time_to_wait() {
    let rates =
        Rates { frames_per_second: 10, frames_burst: 2, presence_per_second: 1, presence_burst: 1, ..Rates::default() };
    let mut session = attached_at(&rates, 100);
    let presence = || ToRelay::Presence(Opaque(vec![]));
    assert!(matches!(session.handle_frame(presence(), 10, 0)[..], [Action::Ask(Ask::Presence(_))]));
    let limited = |actions: Vec<Action>| match &actions[..] {
        [Action::Reply(FromRelay::Refused(r))] => (r.about, r.code(), r.retry_after_ms),
        other => panic!("{other:?}"),
    };
    assert_eq!(limited(session.handle_frame(presence(), 10, 0)), (About::Presence, Code::RateLimited, 1_000));
    let push = || ToRelay::Push(vec![]);
    assert_eq!(limited(session.handle_frame(push(), 10, 0)), (About::Push, Code::RateLimited, 100));
    assert_eq!(session.handle_frame(push(), 10, 100), [Action::Ask(Ask::Push(vec![]))]);

    let rates = Rates { bytes_per_second: 1_000, bytes_burst: 1_000, ..Rates::default() };
    let mut session = attached_at(&rates, 1_000);
    assert_eq!(limited(session.handle_frame(push(), 500, 0)), (About::Push, Code::RateLimited, 500));
}

#[test]
fn changes_of_a_group_have_a_brake_of_their_own() {
    let (mut session, _) = attached(0, MEMBER);
    let commit = || ToRelay::Commit(Commit { commit: Opaque(vec![]), group_info: Opaque(vec![]), welcomes: vec![] });
    let reject = || ToRelay::Reject(Opaque(vec![]));
    let limited = |actions: &[Action]| match actions {
        [Action::Reply(FromRelay::Refused(r))] => Some((r.about, r.code(), r.retry_after_ms)),
        _ => None,
    };
    for _ in 0..20 {
        assert!(matches!(session.handle_frame(commit(), 10, 0)[..], [Action::Ask(Ask::Commit(_))]));
    }
    let wait = Some((About::Commit, Code::RateLimited, 500));
    assert_eq!(limited(&session.handle_frame(commit(), 10, 0)), wait);
    for _ in 0..20 {
        assert!(matches!(session.handle_frame(reject(), 10, 0)[..], [Action::Ask(Ask::Reject(_))]));
    }
    let wait = Some((About::Acknowledge, Code::RateLimited, 500));
    assert_eq!(limited(&session.handle_frame(reject(), 10, 0)), wait);
    // Everything else goes on.
    assert_eq!(session.handle_frame(ToRelay::Push(vec![]), 10, 0), [Action::Ask(Ask::Push(vec![]))]);
    assert!(matches!(session.handle_frame(commit(), 10, 500)[..], [Action::Ask(Ask::Commit(_))]));
    assert!(limited(&session.handle_frame(commit(), 10, 500)).is_some());
}

#[test]
fn a_statement_costs_what_the_relay_writes_for_it() {
    let rates = Rates { bytes_per_second: 1_000, bytes_burst: 100_000, ..Rates::default() };
    let mut session = attached_at(&rates, 100);
    let mut state = |length: usize| {
        let frame = ToRelay::Acknowledge(Acknowledge { cursor: 0, statement: Opaque(vec![0; length]) });
        matches!(session.handle_frame(frame, length + 12, 0)[..], [Action::Ask(Ask::Acknowledge(_))])
    };
    // Room for one that names twenty, not for two: it is written twenty times.
    let twenty = 20 * 56 + 82;
    assert_eq!(
        [state(twenty), state(twenty), state(twenty), state(twenty), state(twenty)],
        [true, true, true, false, false]
    );
    assert!(state(0));
}

#[test]
fn pushes_behind_one_that_has_to_wait_wait_with_it() {
    let rates = Rates { bytes_per_second: 1_000, bytes_burst: 1_000, ..Rates::default() };
    let mut session = attached_at(&rates, 1_000);
    let mut push = |size, now| match &session.handle_frame(ToRelay::Push(vec![]), size, now)[..] {
        [Action::Reply(FromRelay::Refused(r))] => Some((r.code(), r.retry_after_ms)),
        _ => None,
    };
    assert_eq!(push(500, 0), Some((Code::RateLimited, 500)));
    assert_eq!(push(10, 100), Some((Code::RateLimited, 400)), "a small one finds no gap");
    assert_eq!(push(500, 500), None);
}

#[test]
fn what_waits_comes_before_entries_and_then_the_word_that_it_caught_up() {
    let mut session = Session::new(EXPORTER, &Rates::default());
    let (request, _) = Peer::new(1).attach(0);
    session.handle_frame(ToRelay::Attach(request), 100, 0);
    let receipt = Opaque(vec![3]);
    let waits = Attachment { welcome_waits: true, receipts: vec![Arc::from(&receipt[..])], ..attachment(2, MEMBER) };
    let first = FromRelay::Attached(waits.attached.clone());
    let frames = session.handle_attached(waits, Some(Arc::from(vec![5])));
    assert_eq!(frames, [first, FromRelay::Welcome(Opaque(vec![5])), FromRelay::Receipt(receipt)]);

    let log = [row(1, EntryKind::Envelope, 300), row(2, EntryKind::Envelope, 300)];
    let query = session.wants_entries().unwrap();
    let frames = session.handle_entries(&query, select(&log, &query));
    assert_eq!(delivered(&frames), [1, 2]);
    assert_eq!(frames.last(), Some(&FromRelay::CaughtUp(2)));
    session.handle_flushed();
    session.handle_newest(NewEntries::one(3));
    let query = session.wants_entries().unwrap();
    let frames = session.handle_entries(&query, vec![row(3, EntryKind::Envelope, 300)]);
    assert_eq!(frames.len(), 1, "told once");

    let (_, frames) = attached(0, MEMBER);
    assert_eq!(frames.last(), Some(&FromRelay::CaughtUp(0)), "nothing to catch up with");
}

#[test]
fn a_stretch_without_anything_for_the_device_counts_as_delivered() {
    let (mut session, _) = attached(9, MEMBER);
    let query = session.wants_entries().unwrap();
    assert_eq!(session.handle_entries(&query, vec![]), [FromRelay::CaughtUp(9)]);
    assert_eq!(session.wants_entries(), None);
}

#[test]
fn what_the_device_pushed_itself_is_not_looked_up_for_it() {
    let me = Peer::new(1).id;
    let (mut session, _) = attached(0, MEMBER);
    let own = |after, newest| NewEntries { after, newest, of: Some(me) };
    assert_eq!(session.handle_newest(own(0, 3)), []);
    assert_eq!(session.wants_entries(), None);
    // Another's lies between.
    session.handle_newest(NewEntries::one(4));
    session.handle_newest(own(4, 5));
    assert_eq!(session.wants_entries().map(|q| (q.after, q.until)), Some((3, 5)));
    // A final commit is told as soon as everything before it is behind the device.
    let (mut session, _) = attached(0, MEMBER);
    assert_eq!(session.handle_confirmed(7, 2), []);
    assert_eq!(session.handle_newest(own(0, 2)), [FromRelay::Confirmed(7)]);
    // Others' envelopes are looked up, and so is what the device may not be shown yet.
    let (mut session, _) = attached(0, MEMBER);
    session.handle_newest(NewEntries { of: Some(Peer::new(2).id), ..own(0, 1) });
    assert!(session.wants_entries().is_some());
    let (mut session, _) = attached(0, View { until: 1, ..MEMBER });
    session.handle_newest(own(0, 2));
    assert_eq!(session.wants_entries().map(|q| (q.after, q.until)), Some((0, 1)));

    assert_eq!(own(0, 2).and(own(2, 4)), own(0, 4));
    assert_eq!(own(0, 2).and(NewEntries::one(3)).of, None);
    assert_eq!(own(0, 2).and(own(3, 4)).of, None, "something lies between");
}

#[test]
fn one_portion_is_on_its_way_at_a_time() {
    let (mut session, _) = attached(3, MEMBER);
    let query = session.wants_entries().unwrap();
    let first = row(1, EntryKind::Envelope, limits::ENVELOPE_BYTES);
    assert_eq!(delivered(&session.handle_entries(&query, vec![first])), [1]);
    assert_eq!(session.wants_entries(), None, "the device is slow");
    assert_eq!(session.handle_entries(&query, vec![row(1, EntryKind::Envelope, 300)]), [], "an answer that is late");
    session.handle_flushed();
    assert_eq!(session.wants_entries().map(|q| (q.after, q.until)), Some((1, 3)));
}

#[test]
fn a_commit_is_called_final_after_it_was_delivered() {
    let (mut session, _) = attached(0, MEMBER);
    session.handle_newest(NewEntries::one(2));
    assert_eq!(session.handle_confirmed(7, 2), []);
    let query = session.wants_entries().unwrap();
    let frames = session.handle_entries(&query, vec![row(2, EntryKind::Commit, 300)]);
    assert_eq!(delivered(&frames), [2]);
    assert_eq!(frames[1..], [FromRelay::Confirmed(7)]);
    assert_eq!(session.handle_confirmed(8, 2), [FromRelay::Confirmed(8)]);
}

#[test]
fn a_newcomer_waits_for_its_welcome_and_a_rejected_one_is_told() {
    let hidden = View { after: 4, until: 0, commits_only: false };
    let (mut session, frames) = attached(6, hidden);
    assert_eq!(frames.len(), 1, "attached, and no more");
    assert_eq!(session.wants_entries(), None);
    let mut rejected = session.clone();
    assert_eq!(closed_with(&rejected.handle_view(None)), Some(Code::NotMember));
    assert_eq!(session.handle_view(Some(View { until: u64::MAX, ..hidden })), []);
    assert_eq!(session.wants_entries().map(|q| (q.after, q.until)), Some((4, 6)));
}

#[test]
fn a_former_member_is_shown_commits_up_to_its_removal() {
    let (mut session, _) = attached(9, View { after: 2, until: 5, commits_only: true });
    let log: Vec<EntryRow> =
        (1..=9).map(|c| row(c, if c % 2 == 1 { EntryKind::Commit } else { EntryKind::Envelope }, 300)).collect();
    let query = session.wants_entries().unwrap();
    let frames = session.handle_entries(&query, select(&log, &query));
    assert_eq!(delivered(&frames), [3, 5]);
    assert_eq!(frames.last(), Some(&FromRelay::CaughtUp(5)));
    session.handle_flushed();
    session.handle_newest(NewEntries::one(20));
    assert_eq!(session.wants_entries(), None);
}
