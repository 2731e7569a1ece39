//! Changing the group: the order of commits, their provisional time, rejects, cuts, newcomers and former members.

use sync_relay::mailbox::{Limits, Notice};
use sync_relay::store::Bytes;
use sync_types::frame::{Commit, Cut, EntryKind, WelcomeFor};
use sync_types::{Code, Opaque, encode, limits};

use crate::support::*;

const TEN_SECONDS: u64 = 10_000;

/// Three members of whom all are attached, and a commit by the first that adds a fourth and is provisional.
fn provisional_add() -> (World, [Peer; 4], Commit) {
    let [mut a, mut b, mut c, d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    world.attached = [a.id, b.id, c.id].into();
    let add = world.script(&a, &[&d], &[]);
    let decision = world.commit(&a, &add).unwrap();
    assert_eq!(confirmed(&decision), None);
    assert!(decision.notices.contains(&Notice::ViewsChanged));
    (world, [a, b, c, d], add)
}

#[test]
fn a_commit_is_final_once_another_member_acknowledges_it() {
    let (mut world, [a, b, _, d], _) = provisional_add();
    let newest = world.state.counters().newest;
    assert!(world.attach(&a, 0).unwrap().attached.provisional);
    let waiting = world.attach(&d, 0).unwrap();
    assert!(!waiting.welcome_waits);
    assert_eq!(waiting.view.until, 0);

    assert_eq!(confirmed(&world.ack(&a, newest)), None, "the committer's own word does not count");
    assert_eq!(confirmed(&world.ack(&b, newest - 1)), None, "not the commit yet");
    let decision = world.ack(&b, newest);
    assert_eq!(confirmed(&decision), Some(world.state.epoch()));
    assert!(decision.notices.contains(&Notice::WelcomeReady { device: d.id }));
    assert!(world.attach(&d, 0).unwrap().welcome_waits);
    assert!(!world.attach(&a, 0).unwrap().attached.provisional);
    world.welcome_stored(&d);
    assert!(!world.attach(&d, 0).unwrap().welcome_waits);
    assert_eq!(world.welcome_stored(&d).writes, vec![], "repeated");
}

#[test]
fn a_commit_is_final_after_ten_seconds() {
    let (mut world, _, _) = provisional_add();
    assert_eq!(world.state.next_timeout(), Some(world.now + TEN_SECONDS));
    world.now += TEN_SECONDS - 1;
    assert_eq!(confirmed(&world.timeout()), None);
    world.now += 1;
    assert_eq!(confirmed(&world.timeout()), Some(world.state.epoch()));
    assert_eq!(world.state.next_timeout(), None);
    assert_eq!(world.timeout(), Default::default());
}

#[test]
fn a_commit_is_final_at_once_without_a_witness_and_when_the_last_one_leaves() {
    let [mut a, mut b, c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.attached = [a.id].into();
    let add = world.script(&a, &[&c], &[]);
    assert_eq!(confirmed(&world.commit(&a, &add).unwrap()), Some(2));
    // A removed device and a newcomer are no witnesses.
    world.attached = [a.id, b.id].into();
    let remove = world.script(&a, &[], &[&b]);
    assert_eq!(confirmed(&world.commit(&a, &remove).unwrap()), Some(3));

    let (mut world, [_, b, c, _], _) = provisional_add();
    assert_eq!(confirmed(&world.detach(&b)), None, "c is still there");
    assert_eq!(confirmed(&world.detach(&c)), Some(world.state.epoch()));
}

#[test]
fn while_a_commit_is_provisional_the_new_epoch_waits() {
    let (mut world, [mut a, mut b, c, d], add) = provisional_add();
    let before = b.seal();
    assert_eq!(accepted(&world.push(&b, &[before]).unwrap()), Some(1), "the epoch before goes on");
    a.epoch = world.state.epoch();
    let envelope = a.seal();
    let again = world.script(&c, &[], &[&b]);
    let refusals = [
        world.refused("an envelope of the new epoch", Code::Provisional, |w| w.push(&a, &[envelope])),
        world.refused("a second commit", Code::Provisional, |w| w.commit(&c, &again)),
        world.refused("the newcomer", Code::Provisional, |w| w.push(&d, &[])),
    ];
    assert!(refusals.iter().all(|r| r.retry_after_ms > 0));
    assert_eq!(world.commit(&a, &add).unwrap(), Default::default(), "the same commit again");
}

#[test]
fn a_reject_restores_the_state_before() {
    let [mut a, mut b, mut c, d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    world.attached = [a.id, b.id, c.id].into();
    let envelope = c.seal();
    world.push(&c, &[envelope]).unwrap();
    let before = world.state.rows();
    let change = world.script(&a, &[&d], &[&c]);
    world.commit(&a, &change).unwrap();
    let epoch = world.state.epoch();

    let good = b.reject(epoch, &change);
    let mut forged = good.clone();
    *forged.0.last_mut().unwrap() ^= 1;
    let other = Commit { commit: Opaque(vec![1]), ..change.clone() };
    let cases = [
        ("its committer", Code::CommitRefused, &a, a.reject(epoch, &change)),
        ("the removed", Code::Provisional, &c, c.reject(epoch, &change)),
        ("the newcomer", Code::Provisional, &d, d.reject(epoch, &change)),
        ("another's word", Code::Protocol, &b, a.reject(epoch, &change)),
        ("another epoch", Code::Protocol, &b, b.reject(epoch + 1, &change)),
        ("another commit", Code::Protocol, &b, b.reject(epoch, &other)),
        ("forged", Code::BadSignature, &b, forged),
        ("garbage", Code::Protocol, &b, Opaque(vec![1])),
    ];
    for (what, code, peer, bytes) in cases {
        world.refused(what, code, |w| w.reject(peer, &bytes));
    }

    let decision = world.reject(&b, &good).unwrap();
    assert!(decision.notices.contains(&Notice::Removed { device: d.id }));
    assert!(decision.notices.contains(&Notice::ViewsChanged), "the leaver is shown everything again");
    assert_eq!(world.state.view(c.id).map(|v| (v.until, v.commits_only)), Some((u64::MAX, false)));
    let after = world.state.rows();
    assert_eq!(
        (&after.group.snapshot, &after.group.group_info, after.group.epoch, after.group.last_commit),
        (&before.group.snapshot, &before.group.group_info, before.group.epoch, before.group.last_commit)
    );
    assert_eq!((&after.members, &after.heads, &after.welcomes), (&before.members, &before.heads, &before.welcomes));
    assert_eq!(world.attach(&d, 0).unwrap_err().code, Code::NotMember);
    let envelope = c.seal();
    assert_eq!(accepted(&world.push(&c, &[envelope]).unwrap()), Some(2), "the removal is undone");
    let kinds: Vec<EntryKind> = world.entries(&b, 0).iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EntryKind::Envelope, EntryKind::Commit, EntryKind::Reject, EntryKind::Envelope]);

    world.refused("the rejected commit again", Code::CommitRejected, |w| w.commit(&a, &change));
    let another = world.script(&b, &[&d], &[]);
    world.commit(&b, &another).unwrap();
    world.ack_all(&a);
    world.refused("too late", Code::StaleEpoch, |w| w.reject(&c, &c.reject(w.state.epoch(), &another)));
}

#[test]
fn a_reject_gives_back_what_only_the_newcomer_held() {
    let (mut world, [a, b, c, _], add) = provisional_add();
    world.reject(&b, &b.reject(world.state.epoch(), &add)).unwrap();
    for peer in [&a, &b, &c] {
        world.ack_all(peer);
    }
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn the_loser_of_a_race_is_told() {
    let [mut a, mut b, mut c, d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let first = world.script(&a, &[&d], &[]);
    let second = world.script(&b, &[], &[&c]);
    world.commit(&a, &first).unwrap();
    world.refused("the second", Code::StaleEpoch, |w| w.commit(&b, &second));
    assert_eq!(world.commit(&a, &first).unwrap(), Default::default(), "repeating the first is harmless");
}

#[test]
fn bad_commits_are_refused() {
    let [mut a, mut b, mut c, d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let envelope = c.seal();
    world.push(&c, &[envelope]).unwrap();
    let epoch = world.state.epoch();
    let add = Script { epoch, committer: a.id, added: vec![(d.id, d.key.public())], ..Script::default() };
    let cut = |last| encode(&Cut { last, lost: false });
    let remove =
        |aad| Script { epoch, committer: a.id, removed: vec![c.id], authenticated_data: aad, ..Script::default() };
    let welcome = |device| WelcomeFor { device, welcome: Opaque(vec![1]) };
    let back = Script { added: vec![(b.id, [1; 32])], removed: vec![], ..add.clone() };
    let cases = vec![
        ("no welcome", Code::CommitRefused, add.clone(), vec![]),
        ("another's welcome", Code::CommitRefused, add.clone(), vec![welcome(b.id)]),
        ("two welcomes", Code::CommitRefused, add.clone(), vec![welcome(d.id), welcome(d.id)]),
        ("empty welcome", Code::CommitRefused, add.clone(), vec![WelcomeFor { device: d.id, welcome: Opaque(vec![]) }]),
        ("another committer", Code::CommitRefused, Script { committer: b.id, ..add.clone() }, vec![welcome(d.id)]),
        ("somebody known", Code::CommitRefused, back, vec![welcome(b.id)]),
        (
            "cut of one who stays",
            Code::CommitRefused,
            Script { authenticated_data: cut(vec![b.reached()]), ..add },
            vec![welcome(d.id)],
        ),
        ("no cut", Code::CommitRefused, remove(vec![]), vec![]),
        ("no cut in words", Code::CommitRefused, remove(vec![1, 2, 3]), vec![]),
        ("cut of another", Code::CommitRefused, remove(cut(vec![b.reached()])), vec![]),
        ("cut twice", Code::CommitRefused, remove(cut(vec![c.reached(), c.reached()])), vec![]),
    ];
    for (what, code, script, welcomes) in cases {
        let commit = world.scripted(script, welcomes);
        world.refused(what, code, |w| w.commit(&a, &commit));
    }
    let unknown = Commit { commit: Opaque(vec![0; 3]), group_info: Opaque(vec![]), welcomes: vec![] };
    world.refused("no commit", Code::Protocol, |w| w.commit(&a, &unknown));
    world.refused("a stranger", Code::NotMember, |w| w.commit(&d, &unknown));
    let good = world.script(&a, &[&d], &[&c]);
    let room = Limits { group_bytes: 0, commit_reserve_bytes: 10, ..Limits::default() };
    let limits = std::mem::replace(&mut world.limits, room);
    world.refused("no room", Code::Quota, |w| w.commit(&a, &good));
    world.limits = limits;
    world.commit(&a, &good).unwrap();
}

#[test]
fn a_stale_cut_names_the_head_and_holds_the_sender_back_for_the_retry() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let stale = world.script(&a, &[], &[&c]);
    let envelope = c.seal();
    world.push(&c, &[envelope]).unwrap();
    let refusal = world.refused("stale", Code::StaleCut, |w| w.commit(&a, &stale));
    let head = refusal.head.unwrap();
    assert_eq!((head.seq, head.hash), (c.seq, c.hash));

    let (seq, hash) = (c.seq, c.hash);
    let late = c.seal();
    let refusal = world.refused("waits", Code::Provisional, |w| w.push(&c, std::slice::from_ref(&late)));
    assert_eq!(u64::from(refusal.retry_after_ms), TEN_SECONDS);
    (c.seq, c.hash) = (seq, hash);
    let retry = world.script(&a, &[], &[&c]);

    // Nobody retries: the wait ends by itself, and another stale cut does not start it anew at once.
    let mut other = world.state.clone();
    let late_verified = verified(&other, std::slice::from_ref(&late));
    let after = world.now + TEN_SECONDS;
    assert!(other.push(c.id, &late_verified, &world.limits, after).is_ok());
    std::mem::swap(&mut world.state, &mut other);
    world.now = after;
    let stale_again = world.script(&a, &[], &[&c]);
    assert_eq!(world.commit(&a, &stale_again).unwrap_err().code, Code::StaleCut);
    assert!(world.state.push(c.id, &late_verified, &world.limits, world.now).is_ok());
    std::mem::swap(&mut world.state, &mut other);

    world.commit(&a, &retry).unwrap();
    world.refused("past the cut", Code::Removed, |w| w.push(&c, std::slice::from_ref(&late)));
    world.refused("carried past the cut", Code::Removed, |w| w.push(&b, &[late]));
    let row = world.state.rows().heads.into_iter().find(|h| h.sender == c.id).unwrap();
    assert!(row.cut);
    assert_eq!((row.head.seq, row.head.hash), (seq, hash));
}

#[test]
fn a_newcomer_counts_from_what_its_sponsor_acknowledged() {
    let [mut a, mut b, c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let envelopes = [a.seal(), a.seal(), a.seal()];
    world.push(&a, &envelopes).unwrap();
    let base = world.state.counters().newest - 3;
    world.ack(&b, base + 1);
    let own = b.seal();
    world.push(&b, &[own]).unwrap();
    // The sponsor has acknowledged the first: it is in the baseline.
    let add = world.script(&b, &[&c], &[]);
    world.commit(&b, &add).unwrap();
    assert_eq!(world.cursors(&c, 0), [base + 2, base + 3, base + 4, base + 5]);
    world.ack_all(&a);
    world.ack_all(&b);
    assert_eq!(world.state.counters().entries, 4, "what both others have is kept for the newcomer");
    world.ack(&c, base + 3);
    assert_eq!(world.state.counters().entries, 2);
    world.ack_all(&c);
    assert_eq!(world.state.counters().entries, 0);
}

#[test]
fn a_former_member_gets_the_commits_up_to_its_removal_and_nothing_else() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let (one, two) = (a.seal(), b.seal());
    world.push(&a, &[one]).unwrap();
    let renew = world.script(&a, &[], &[]);
    world.commit(&a, &renew).unwrap();
    let renewal = world.state.counters().newest;
    let remove = world.script(&a, &[], &[&c]);
    let decision = world.commit(&a, &remove).unwrap();
    assert!(decision.notices.contains(&Notice::Removed { device: c.id }));
    let removal = world.state.counters().newest;
    world.push(&b, &[two]).unwrap();
    let later = world.script(&a, &[], &[]);
    world.commit(&a, &later).unwrap();
    for peer in [&a, &b] {
        world.ack_all(peer);
    }
    assert_eq!(world.cursors(&c, 0), [renewal, removal]);
    assert_eq!(world.state.counters().entries, 2, "kept for it alone");

    let envelope = c.seal();
    let presence = c.seal_as(&c.presence(), 1, 272).0;
    let commit = world.script(&c, &[], &[]);
    world.refused("push", Code::Removed, |w| w.push(&c, &[envelope]));
    world.refused("commit", Code::Removed, |w| w.commit(&c, &commit));
    world.refused("presence", Code::Removed, |w| w.state.presence(c.id, presence));
    world.refused("welcome", Code::Removed, |w| w.state.welcome_stored(c.id));
    world.refused("statement", Code::Removed, |w| w.acknowledge(&c, removal, c.statement(vec![a.reached()])));
    world.refused("beyond its removal", Code::Protocol, |w| w.acknowledge(&c, removal + 1, Opaque::default()));
    world.ack(&c, renewal);
    assert_eq!(world.cursors(&c, 0), [removal]);
    world.ack(&c, removal);
    assert_eq!(world.state.counters().entries, 0);
    assert!(world.attach(&c, removal).unwrap().receipts.is_empty());
}

/// Its Welcome begins behind its Add: whatever was changed before, it could not read, and it never acknowledges.
#[test]
fn a_newcomer_that_never_came_is_owed_no_commit_from_before_it_was_added() {
    let [mut a, mut b, c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    // Three that the sponsor has not acknowledged when it adds the newcomer.
    for _ in 0..3 {
        let renew = world.script(&b, &[], &[]);
        world.commit(&b, &renew).unwrap();
    }
    let add = world.script(&b, &[&c], &[]);
    world.commit(&b, &add).unwrap();
    let added = world.state.counters().newest;
    for peer in [&a, &b] {
        world.ack_all(peer);
    }
    assert_eq!(world.cursors(&c, 0), [added - 3, added - 2, added - 1, added], "as long as it may come");
    let renew = world.script(&a, &[], &[]);
    world.commit(&a, &renew).unwrap();
    let remove = world.script(&a, &[], &[&c]);
    world.commit(&a, &remove).unwrap();
    for peer in [&a, &b] {
        world.ack_all(peer);
    }
    // It may have its Welcome without having said so, and then it is to learn of its removal.
    assert_eq!(world.cursors(&c, 0), [added + 1, added + 2]);
    world.ack(&c, added + 2);
    assert_eq!(world.state.counters().entries, 0);
}

/// Former members that never come back are owed one stretch of the log each, and only what lies in none of them goes.
#[test]
fn what_several_former_members_are_owed_stays_and_the_rest_goes() {
    let [mut a, mut b, mut c, mut d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c, &mut d]);
    let base = world.state.counters().newest;
    let change = |world: &mut World, removed: &[&Peer]| {
        let commit = world.script(&a, &[], removed);
        world.commit(&a, &commit).unwrap();
    };
    change(&mut world, &[]);
    world.ack(&c, base + 1);
    world.ack(&d, base + 1);
    change(&mut world, &[&c]);
    world.ack(&d, base + 2);
    change(&mut world, &[]);
    world.ack(&d, base + 3);
    change(&mut world, &[]);
    change(&mut world, &[&d]);
    change(&mut world, &[]);
    let held = |world: &World| -> Vec<u64> { world.state.rows().index.iter().map(|row| row.cursor - base).collect() };
    world.ack_all(&b);
    assert_eq!(held(&world), [1, 2, 3, 4, 5, 6]);
    world.ack_all(&a);
    assert_eq!(held(&world), [2, 4, 5], "c's removal, and for d the one before its own and that");
    world.ack(&d, base + 4);
    assert_eq!(held(&world), [2, 5]);
    world.ack(&c, base + 2);
    assert_eq!(held(&world), [5]);
    world.ack(&d, base + 5);
    assert_eq!(held(&world), [0; 0]);
}

/// A group whose devices come and go without end would fill the relay's memory with rows that no quota counts.
#[test]
fn a_group_has_so_many_devices_in_its_time_and_no_more() {
    let mut a = Peer::new(1);
    let mut world = World::of(&mut [&mut a]);
    let mut had = 1;
    let refusal = loop {
        let many: Vec<Peer> = (had..had + 127).map(Peer::numbered).collect();
        let many: Vec<&Peer> = many.iter().collect();
        let add = world.script(&a, &many, &[]);
        match world.commit(&a, &add) {
            Ok(_) => had += 127,
            Err(refusal) => break refusal,
        }
        let remove = world.script(&a, &[], &many);
        world.commit(&a, &remove).unwrap();
        world.ack_all(&a);
    };
    assert_eq!((refusal.code, had), (Code::CommitRefused, 1 + 32 * 127));
    let renew = world.script(&a, &[], &[]);
    assert!(world.commit(&a, &renew).is_ok(), "what it has goes on");
    world.now += u64::try_from(limits::FORMER_MEMBER_RETENTION.as_millis()).unwrap();
    world.timeout();
    let add = world.script(&a, &[&Peer::new(2)], &[]);
    assert!(world.commit(&a, &add).is_ok(), "and those that are forgotten make room");
}

#[test]
fn a_former_member_is_forgotten_after_its_time() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let remove = world.script(&a, &[], &[&b]);
    world.commit(&a, &remove).unwrap();
    world.ack_all(&a);
    assert_eq!(world.state.counters().entries, 1);
    let due = world.now + u64::try_from(limits::FORMER_MEMBER_RETENTION.as_millis()).unwrap();
    assert_eq!(world.state.next_timeout(), Some(due));
    world.now = due - 1;
    assert_eq!(world.timeout(), Default::default());
    world.now = due;
    world.timeout();
    assert_eq!(world.state.counters().entries, 0);
    assert_eq!(world.attach(&b, 0).unwrap_err().code, Code::NotMember);
}

#[test]
fn a_removed_member_holds_nothing_back_once_that_is_final() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    world.attached = [a.id, b.id].into();
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    let pushed = world.state.counters().newest;
    let remove = world.script(&a, &[], &[&c]);
    world.commit(&a, &remove).unwrap();
    world.ack(&b, pushed);
    assert_eq!(world.state.counters().entries, 2, "a reject could bring c back, so its envelope stays");
    assert_eq!(world.cursors(&c, 0), [pushed], "and nothing tells it of the removal yet");
    world.ack_all(&b);
    assert_eq!(world.cursors(&c, 0), [pushed + 1], "the removal is final: the commit remains, the envelope is gone");
}

#[test]
fn receipts_for_a_leaver_wait_until_its_removal_is_final() {
    for undone in [true, false] {
        let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
        let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
        world.attached = [a.id, b.id].into();
        let envelope = c.seal();
        world.push(&c, &[envelope]).unwrap();
        let pushed = world.state.counters().newest;
        let remove = world.script(&a, &[], &[&c]);
        world.commit(&a, &remove).unwrap();
        let statement = b.statement(vec![c.reached()]);
        world.acknowledge(&b, pushed, statement.clone()).unwrap();
        if undone {
            world.reject(&b, &b.reject(world.state.epoch(), &remove)).unwrap();
            assert_eq!(world.attach(&c, 0).unwrap().receipts, [Bytes::from(&statement[..])]);
        } else {
            world.ack_all(&b);
            assert!(world.state.rows().statements.is_empty());
        }
    }
}

#[test]
fn a_device_that_was_removed_does_not_come_back_under_its_key() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let remove = world.script(&a, &[], &[&c]);
    world.commit(&a, &remove).unwrap();
    let add = world.script(&a, &[&c], &[]);
    world.refused("again", Code::CommitRefused, |w| w.commit(&a, &add));
}

#[test]
fn an_epoch_that_a_store_cannot_hold_is_refused() {
    let a = Peer::new(1);
    let last = i64::MAX as u64;
    let mut world = World::found_at(&a, last);
    let update = world.script(&a, &[], &[]);
    world.refused("the epoch 2⁶³", Code::Protocol, |w| w.commit(&a, &update));
    let mut world = World::found_at(&a, last - 1);
    let update = world.script(&a, &[], &[]);
    world.commit(&a, &update).unwrap();
    assert_eq!(world.state.epoch(), last);
}
