//! What the naive version of such a relay gets wrong; the numbers are those of the project's list.

use sync_relay::mailbox::{GroupState, Limits, NewEntries, View};
use sync_relay::session::Action;
use sync_relay::store::{MemoryStore, Store};
use sync_types::envelope::Header;
use sync_types::frame::{About, FromRelay};
use sync_types::{Code, Opaque, limits};

use crate::session::attached;
use crate::support::*;

const MEMBER: View = View { after: 0, until: u64::MAX, commits_only: false };

#[test]
fn fault_04_a_cursor_of_another_relay_is_not_taken_for_one_of_this() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut busy = World::of(&mut [&mut a, &mut b]);
    let envelopes: Vec<Opaque> = (0..5).map(|_| a.seal()).collect();
    busy.push(&a, &envelopes).unwrap();
    let cursor = busy.state.counters().newest;
    assert_eq!(busy.attach(&b, cursor).unwrap().attached.newest, cursor);

    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut idle = World::of(&mut [&mut a, &mut b]);
    let refusal = idle.attach(&b, cursor).unwrap_err();
    assert_eq!((refusal.about, refusal.code), (About::Session, Code::UnknownGroup));
    let envelope = a.seal();
    idle.push(&a, &[envelope]).unwrap();
    let own = idle.state.counters().newest;
    assert_eq!(idle.cursors(&b, 0), [own]);
    assert!(own < cursor);
    idle.refused("acknowledging by the other's cursor", Code::Protocol, |w| {
        w.acknowledge(&b, cursor, Opaque::default())
    });
}

#[test]
fn fault_05_a_backlog_larger_than_one_frame_is_delivered_whole() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let base = world.state.counters().newest;
    // Among them one that is larger than a portion by itself, and many small ones.
    let sizes = [limits::DELIVER_BYTES + 1000, 300_000, 300_000, 300_000, 300_000, limits::DELIVER_BYTES];
    let mut envelopes: Vec<Opaque> = sizes.iter().map(|len| a.seal_len(*len)).collect();
    envelopes.extend((0..5_000).map(|_| a.seal()));
    for batch in envelopes.chunks(500) {
        assert_eq!(world.push(&a, batch).unwrap().refusal, None);
    }
    let newest = world.state.counters().newest;
    let (mut session, _) = attached(newest, View { after: base, ..MEMBER });
    let (mut cursors, mut portions, mut caught_up) = (Vec::new(), 0, 0);
    while let Some(mut query) = session.wants_entries() {
        (query.group, query.reader) = (GROUP, b.id);
        let rows = now(world.store.entries(query)).unwrap();
        let size: usize = rows.iter().map(|r| r.bytes.len()).sum();
        assert!(!rows.is_empty() && (size <= limits::DELIVER_BYTES || rows.len() == 1));
        for frame in session.handle_entries(&query, rows) {
            assert!(sync_types::frame::write(&frame).len() <= 4 + limits::FRAME_BYTES);
            match frame {
                FromRelay::Deliver(entries) => {
                    portions += 1;
                    cursors.extend(entries.into_iter().map(|e| e.cursor));
                }
                FromRelay::CaughtUp(cursor) => {
                    assert_eq!((cursor, cursors.len()), (newest, envelopes.len()), "not before all is there");
                    caught_up += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        session.handle_flushed();
    }
    assert!(cursors.into_iter().eq(base + 1..=newest));
    assert!(portions > 4, "{portions}");
    assert_eq!(caught_up, 1);
}

#[test]
fn fault_06_the_group_id_opens_nothing() {
    let [mut a, mut b, stranger] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    // Attaching in a member's name, in one's own, and with a proof that was made for another connection.
    let (mut request, proof) = stranger.attach(0);
    assert_eq!(world.state.attach(&request, &proof).unwrap_err().code, Code::NotMember);
    request.device = a.id;
    assert_eq!(world.state.attach(&request, &proof).unwrap_err().code, Code::BadSignature);
    let (request, mut replayed) = a.attach(0);
    replayed.exporter = [8; 32];
    assert_eq!(world.state.attach(&request, &replayed).unwrap_err().code, Code::BadSignature);

    let envelope = stranger.seal_as(&stranger.header(), 1, 272).0;
    world.refused("push", Code::NotMember, |w| w.push(&stranger, std::slice::from_ref(&envelope)));
    world.refused("carried", Code::NotMember, |w| w.push(&a, &[envelope]));
    // A member cannot write in another's name either.
    let posing = Header { sender: b.id, ..a.header() };
    let envelope = a.seal_as(&Header { seq: 1, ..posing }, 1, 272).0;
    world.refused("in b's name", Code::BadSignature, |w| w.push(&a, &[envelope]));
    assert_eq!(world.state.view(stranger.id), None);
}

#[test]
fn fault_08_reading_delivers_nothing_and_acknowledging_deletes() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    let before = world.state.rows();
    for _ in 0..3 {
        assert_eq!(world.entries(&b, 0).len(), 1, "read as often as it likes");
        world.attach(&b, 0).unwrap();
    }
    assert_eq!(world.state.rows(), before);
    world.ack_all(&b);
    assert_eq!(world.entries(&b, 0), []);
    let stats = now(world.store.stats()).unwrap();
    assert_eq!((stats.entries, stats.bytes), (0, 0));
}

#[test]
fn fault_09_a_retried_push_is_no_second_entry() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let batch = [a.seal(), a.seal()];
    world.push(&a, &batch).unwrap();
    let before = world.state.rows();
    for _ in 0..3 {
        let decision = world.push(&a, &batch).unwrap();
        assert_eq!((accepted(&decision), decision.writes), (Some(2), vec![]));
    }
    assert_eq!(world.state.rows(), before);
    // A long one too, which costs one pass over it.
    let long: Vec<Opaque> = (0..3_000).map(|_| a.seal()).collect();
    assert_eq!(accepted(&world.push(&a, &long).unwrap()), Some(3_002));
    let decision = world.push(&a, &long).unwrap();
    assert_eq!((accepted(&decision), decision.writes), (Some(3_002), vec![]));
    let batch = &long[2_000..];
    // Even after the entries are gone.
    world.ack_all(&b);
    assert_eq!(accepted(&world.push(&a, batch).unwrap()), Some(3_002));
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn fault_13_nothing_is_shown_before_it_and_all_before_it_is_durable() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let world = World::of(&mut [&mut a, &mut b]);
    let (mut state, store) = (world.state.clone(), world.store);
    let base = state.counters().newest;
    // Two pushes are decided; only the first is durable so far.
    let [one, two, three] = [(); 3].map(|()| verified(&state, &[a.seal()]));
    let first = state.push(a.id, &one, &world.limits, 0).unwrap();
    let second = state.push(a.id, &two, &world.limits, 0).unwrap();
    let (mut session, _) = attached(base, View { after: base, ..MEMBER });
    assert_eq!(session.wants_entries(), None, "decided is not durable");
    now(store.commit(first.writes)).unwrap();
    session.handle_newest(NewEntries::one(base + 1));
    let mut query = session.wants_entries().unwrap();
    assert_eq!(query.until, base + 1);
    (query.group, query.reader) = (GROUP, b.id);
    let rows = now(store.entries(query)).unwrap();
    session.handle_entries(&query, rows);
    session.handle_flushed();
    assert_eq!(session.wants_entries(), None);
    now(store.commit(second.writes)).unwrap();
    session.handle_newest(NewEntries::one(base + 2));
    session.handle_newest(NewEntries::one(base + 1));
    assert_eq!(session.wants_entries().map(|q| (q.after, q.until)), Some((base + 1, base + 2)));

    // The power goes after a decision that was not synced: a relay that starts again gives its cursor to another entry,
    // and nobody was shown or told anything of the first.
    store.hold_back_syncs();
    let lost = state.push(a.id, &three, &world.limits, 0).unwrap();
    now(store.commit(lost.writes)).unwrap();
    store.lose_unsynced();
    let again = GroupState::from_rows(now(store.load(GROUP)).unwrap().unwrap());
    assert_eq!(again.counters().newest, base + 2);
    assert_ne!(again, state);
    drop::<MemoryStore>(store);
}

#[test]
fn fault_14_a_full_group_is_told_so_with_a_code_and_a_time_and_stays_connected() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.limits = Limits { group_entries: 0, ..Limits::default() };
    let envelope = a.seal();
    let refusal = world.refused("full", Code::Quota, |w| w.push(&a, &[envelope]));
    let (mut session, _) = attached(0, MEMBER);
    let actions = session.handle_refused(&refusal);
    let [Action::Reply(FromRelay::Refused(refused))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((refused.about, refused.code()), (About::Push, Code::Quota));
    assert!(refused.retry_after_ms > 0);
    assert!(session.attached_as().is_some());
}
