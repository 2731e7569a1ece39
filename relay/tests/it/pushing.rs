//! Attaching, pushing, acknowledging, and deleting on acknowledgement.

use std::sync::Arc;

use sync_relay::mailbox::{GroupState, Keys, Limits, NewEntries, Notice, Stated, Verifying, first_cursor};
use sync_relay::store::{Bytes, Write};
use sync_rules::envelope::head_of;
use sync_rules::statement::sign_acknowledgement;
use sync_types::body::{Reached, Span};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{About, Acknowledge, Acknowledgement, EntryKind, FromRelay, Head, Signature};
use sync_types::{Code, EntryHash, GroupId, Opaque, encode, limits};

use crate::support::*;

#[test]
fn a_group_is_made_once_and_its_founder_may_repeat_it() {
    let (a, b) = (Peer::new(1), Peer::new(2));
    let mut world = World::found(&a);
    let (request, proof) = a.attach(0);
    let founding = snapshot(GROUP, 0, &[(a.id, a.key.public())]);
    let (again, decision) =
        world.state.create_again(&FakeObserve::default(), &request, &proof, &founding, 1_000).unwrap();
    assert_eq!(decision, Default::default(), "it changes nothing");
    assert_eq!((again.attached.epoch, again.attached.newest, again.attached.head), (0, 0, None));
    let (stranger, stranger_proof) = b.attach(0);
    let foreign = world.state.create_again(&FakeObserve::default(), &stranger, &stranger_proof, &founding, 1_000);
    assert_eq!(foreign.unwrap_err().code, Code::GroupExists);

    let key = |p: &Peer| (p.id, p.key.public());
    let make = |request, proof, info: &[u8]| {
        GroupState::create(&FakeObserve::default(), request, proof, info, 0).map(|_| ()).unwrap_err().code
    };
    let info = snapshot(GROUP, 0, &[key(&a)]);
    assert_eq!(make(&request, &proof, &snapshot(GroupId([1; 32]), 0, &[key(&a)])), Code::Protocol);
    assert_eq!(make(&request, &proof, &snapshot(GROUP, 0, &[])), Code::Protocol);
    assert_eq!(make(&stranger, &stranger_proof, &info), Code::Protocol);
    assert_eq!(make(&request, &stranger_proof, &info), Code::BadSignature);
    assert_eq!(make(&request, &proof, &[1, 2]), Code::Protocol);
    assert_eq!(make(&request, &proof, &snapshot(GROUP, 1 << 63, &[key(&a)])), Code::Protocol);
}

#[test]
fn attaching_wants_a_member_its_proof_and_no_future() {
    let (mut a, mut b, c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b]);
    assert_eq!(world.attach(&c, 0).unwrap_err().code, Code::NotMember);
    let (request, _) = a.attach(0);
    let (_, wrong) = b.attach(0);
    assert_eq!(world.state.attach(&request, &wrong).unwrap_err().code, Code::BadSignature);
    let newest = world.state.counters().newest;
    assert_eq!(world.attach(&a, newest + 1).unwrap_err().code, Code::UnknownGroup);
    assert_eq!(world.attach(&a, 1 << 63).unwrap_err().code, Code::Protocol);

    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    let attachment = world.attach(&a, newest).unwrap();
    let head = attachment.attached.head.unwrap();
    assert_eq!((head.seq, head.hash), (a.seq, a.hash));
    assert_eq!((attachment.attached.newest, attachment.attached.acknowledged), (newest + 1, newest));
    assert_eq!(attachment.view.after, newest);
}

/// Every way in which an envelope can be bad, with the answer. None changes anything.
#[test]
fn bad_envelopes_are_refused_one_by_one() {
    let (mut a, mut b, c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let first = a.seal();
    world.push(&a, std::slice::from_ref(&first)).unwrap();
    let next = a.header();
    let sealed = |header: &Header| a.seal_as(header, 1, 272).0;
    let confirmed = world.state.confirmed_epoch();
    let used = Header::parse(&first[..Header::LEN]).unwrap();

    let cases: Vec<(&str, Code, Opaque)> = vec![
        ("garbage", Code::Protocol, Opaque(vec![1; 500])),
        ("nothing", Code::Protocol, Opaque(vec![])),
        ("too large", Code::TooLarge, a.seal_as(&next, 1, limits::ENVELOPE_BYTES).0),
        ("ephemeral", Code::Protocol, sealed(&a.presence())),
        ("version", Code::Version, sealed(&Header { version: 2, ..next.clone() })),
        ("suite", Code::Suite, sealed(&Header { suite: 7, ..next.clone() })),
        ("the other suite", Code::Suite, sealed(&Header { suite: 3 - next.suite, ..next.clone() })),
        ("stranger", Code::NotMember, c.seal_as(&Header { seq: 1, ..c.header() }, 1, 272).0),
        ("gap", Code::BrokenChain, sealed(&Header { seq: 3, ..next.clone() })),
        ("wrong previous", Code::BrokenChain, sealed(&Header { previous: EntryHash([1; 32]), ..next.clone() })),
        ("used number", Code::Equivocation, a.seal_as(&used, 2, 272).0),
        ("older epoch", Code::Protocol, sealed(&Header { epoch: confirmed - 1, ..next.clone() })),
        ("unknown epoch", Code::StaleEpoch, sealed(&Header { epoch: confirmed + 1, ..next.clone() })),
        ("epoch of 2⁶³", Code::Protocol, sealed(&Header { epoch: 1 << 63, ..next.clone() })),
        ("number of 2⁶³", Code::Protocol, sealed(&Header { seq: 1 << 63, ..next.clone() })),
        ("largest number", Code::Protocol, sealed(&Header { seq: u64::MAX, ..next.clone() })),
        ("unsigned", Code::BadSignature, forged(sealed(&next))),
        ("unsigned, of a used number", Code::BadSignature, forged(a.seal_as(&used, 2, 272).0)),
    ];
    for (what, code, envelope) in cases {
        let refusal = world.refused(what, code, |w| w.push(&a, &[envelope]));
        let with_head = matches!(code, Code::BrokenChain | Code::Equivocation);
        assert_eq!(refusal.head.map(|h| h.hash), with_head.then_some(a.hash), "{what}");
    }
    world.refused("from a stranger", Code::NotMember, |w| w.push(&c, &[]));
    let good = sealed(&next);
    assert_eq!(accepted(&world.push(&a, &[good]).unwrap()), Some(2));
}

#[test]
fn an_envelope_may_be_carried_by_another_member_if_its_signature_holds() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let mut envelope = a.seal();
    *envelope.0.last_mut().unwrap() ^= 1;
    world.refused("carried and forged", Code::BadSignature, |w| w.push(&b, std::slice::from_ref(&envelope)));
    *envelope.0.last_mut().unwrap() ^= 1;
    let decision = world.push(&b, &[envelope]).unwrap();
    assert_eq!(accepted(&decision), Some(0), "the carrier's own last number");
    assert_eq!(world.entries(&b, 0).len(), 1, "it still goes to whoever has not acknowledged it");
}

/// Members call a badly signed envelope forged and do not take it. If the relay took it, the sender's chain would be another
/// there than with every member, and no cut could name its end.
#[test]
fn a_badly_signed_envelope_of_its_own_sender_never_becomes_the_head() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let first = a.seal();
    let before = (a.seq, a.hash);
    let bad = forged(a.seal());
    // The one behind it is well signed and pins the bad one by its hash.
    let mut header = a.header();
    header.previous = entry_hash_of(&bad);
    let behind = a.seal_as(&header, 1, 272).0;
    let decision = world.push(&a, &[first, bad.clone(), behind.clone()]).unwrap();
    let refusal = decision.refusal.clone().unwrap();
    assert_eq!((accepted(&decision), refusal.code), (Some(1), Code::BadSignature));
    world.refused("alone", Code::BadSignature, |w| w.push(&a, &[bad]));
    world.refused("what is behind it", Code::BrokenChain, |w| w.push(&a, &[behind]));
    assert_eq!(world.entries(&b, 0).len(), 1);

    (a.seq, a.hash) = before;
    let commit = world.script(&b, &[], &[&a]);
    assert!(world.commit(&b, &commit).is_ok(), "what members hold of it is what the cut states");
}

/// The mailbox takes no session's word for it by whose key a signature holds.
#[test]
fn what_holds_by_another_key_or_in_another_group_is_not_taken() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let posing = Peer::new(3);
    let forged = posing.seal_as(&Header { seq: 1, ..a.header() }, 1, 272).0;
    let envelope = a.seal();
    let verified =
        |group, keys: Keys, envelope: &Opaque| Verifying::new(group, vec![envelope.clone()], Arc::new(keys)).finish();
    let theirs = Keys::from([(a.id, posing.key.public())]);
    let cases = [
        ("the forger's own key", Code::Provisional, verified(GROUP, theirs, &forged)),
        ("no key", Code::Provisional, verified(GROUP, Keys::new(), &envelope)),
        ("another group", Code::BadSignature, verified(GroupId([1; 32]), world.state.keys(), &envelope)),
    ];
    for (what, code, pushed) in cases {
        world.refused(what, code, |w| w.state.push(a.id, &pushed, &w.limits, w.now));
    }
    assert_eq!(accepted(&world.push(&a, &[envelope]).unwrap()), Some(1));

    let mut statement =
        Acknowledgement { device: b.id, frontier: vec![a.reached()], holes: vec![], signature: Signature([0; 64]) };
    sign_acknowledgement(&posing.key, &GROUP, &mut statement);
    let request = Acknowledge { cursor: 0, statement: Opaque(encode(&statement)) };
    let theirs = Keys::from([(b.id, posing.key.public())]);
    for (keys, code) in [(theirs, Code::BadSignature), (Keys::new(), Code::Provisional)] {
        let stated = Stated::verify(GROUP, &request, &keys);
        world.refused("a statement", code, |w| w.state.acknowledge(b.id, &stated));
    }
}

#[test]
fn what_was_sent_behind_a_push_that_has_to_wait_waits_with_it() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.limits = Limits { group_entries: 1, ..Limits::default() };
    let envelopes: Vec<Opaque> = (0..4).map(|_| a.seal()).collect();
    let refusal = world.push(&a, &envelopes[..2]).unwrap().refusal.unwrap();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::Quota, 30_000));
    // Two more frames were on their way by then.
    for behind in [&envelopes[2..3], &envelopes[3..]] {
        assert_eq!(world.refused("behind", Code::Quota, |w| w.push(&a, behind)), refusal);
    }
    // A gap that has nothing to do with it is none of its business.
    let gap = b.seal_as(&Header { seq: 3, previous: EntryHash([1; 32]), ..b.header() }, 1, 272).0;
    world.refused("a gap of another", Code::BrokenChain, |w| w.push(&b, &[gap]));
    world.ack_all(&b);
    assert_eq!(accepted(&world.push(&a, &envelopes[1..2]).unwrap()), Some(2));
    world.refused("a gap behind what was taken", Code::BrokenChain, |w| w.push(&a, &envelopes[3..]));
    world.refused("full again", Code::Quota, |w| w.push(&a, &envelopes[2..]));
    world.now += 60_000;
    world.refused("long after", Code::BrokenChain, |w| w.push(&a, &envelopes[3..]));

    // The same while a commit is provisional.
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.attached = [a.id, b.id].into();
    let update = world.script(&b, &[], &[]);
    world.commit(&b, &update).unwrap();
    a.epoch += 1;
    let envelopes: Vec<Opaque> = (0..2).map(|_| a.seal()).collect();
    let refusal = world.refused("of the new epoch", Code::Provisional, |w| w.push(&a, &envelopes[..1]));
    assert_eq!(world.refused("behind", Code::Provisional, |w| w.push(&a, &envelopes[1..])), refusal);
    world.ack_all(&a);
    assert_eq!(accepted(&world.push(&a, &envelopes).unwrap()), Some(2));
}

#[test]
fn the_good_part_of_a_batch_is_taken() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let mut batch: Vec<Opaque> = (0..3).map(|_| a.seal()).collect();
    batch.push(Opaque(vec![0; 10]));
    let decision = world.push(&a, &batch).unwrap();
    assert_eq!(accepted(&decision), Some(3));
    assert_eq!(decision.refusal.unwrap().code, Code::Protocol);
    assert_eq!(world.entries(&b, 0).len(), 3);

    // A lost reply: the batch comes again, whole, with one more behind it.
    batch[3] = a.seal();
    let decision = world.push(&a, &batch).unwrap();
    assert_eq!((accepted(&decision), decision.refusal), (Some(4), None));
    assert_eq!(world.entries(&b, 0).len(), 4);
    let decision = world.push(&a, &batch[3..]).unwrap();
    assert_eq!((accepted(&decision), decision.writes), (Some(4), vec![]));
    // What lies below the head and leads nowhere cannot be told from another history.
    world.refused("an old one alone", Code::BrokenChain, |w| w.push(&a, &batch[..1]));
}

#[test]
fn quotas_are_exact_and_free_themselves() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let envelopes: Vec<Opaque> = (0..4).map(|_| a.seal()).collect();
    world.limits = Limits { group_entries: 2, ..Limits::default() };
    let decision = world.push(&a, &envelopes).unwrap();
    let refusal = decision.refusal.clone().unwrap();
    assert_eq!((accepted(&decision), refusal.code), (Some(2), Code::Quota));
    assert!(refusal.retry_after_ms > 0);
    world.refused("entries", Code::Quota, |w| w.push(&a, &envelopes[2..]));
    world.ack_all(&b);
    world.limits = Limits { group_bytes: envelopes[2].len() as u64, ..Limits::default() };
    assert_eq!(accepted(&world.push(&a, &envelopes[2..]).unwrap()), Some(3));
    world.refused("bytes", Code::Quota, |w| w.push(&a, &envelopes[3..]));
}

#[test]
fn an_entry_goes_when_every_member_but_its_sender_has_acknowledged() {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let base = world.state.counters().newest;
    for _ in 0..2 {
        for peer in [&mut a, &mut b] {
            let envelope = peer.seal();
            world.push(peer, &[envelope]).unwrap();
        }
    }
    // base+1 and base+3 by a, base+2 and base+4 by b.
    assert_eq!(world.cursors(&c, base), [base + 1, base + 2, base + 3, base + 4]);
    assert_eq!(world.cursors(&a, base), [base + 2, base + 4]);
    world.ack(&c, base + 3);
    assert_eq!(world.state.counters().entries, 4, "others have not acknowledged");
    world.ack(&b, base + 1);
    assert_eq!(world.cursors(&c, base), [base + 2, base + 3, base + 4], "a's first was acknowledged by b and c");
    world.ack(&a, base + 4);
    assert_eq!(world.cursors(&c, base), [base + 3, base + 4], "b's first was acknowledged by a and c");
    world.ack(&b, base + 4);
    assert_eq!(world.cursors(&c, base), [base + 4], "c has acknowledged b's first and a's second");
    let decision = world.ack(&c, base + 4);
    assert!(!decision.writes.is_empty());
    let counters = world.state.counters();
    assert_eq!((counters.entries, counters.bytes, counters.newest), (0, 0, base + 4));
}

#[test]
fn nothing_is_kept_for_a_group_of_one() {
    let mut a = Peer::new(1);
    let mut world = World::found(&a);
    let envelope = a.seal();
    assert_eq!(accepted(&world.push(&a, &[envelope]).unwrap()), Some(1));
    assert_eq!((world.state.counters().newest, world.state.counters().entries), (1, 0));
}

#[test]
fn acknowledgements_only_rise_and_bad_ones_change_nothing() {
    let (mut a, mut b, c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let envelope = a.seal();
    world.push(&a, &[envelope]).unwrap();
    let newest = world.state.counters().newest;
    let good = b.statement(vec![a.reached()]);
    let mut forged = good.clone();
    *forged.0.last_mut().unwrap() ^= 1;
    let hole = Span { sender: a.id, from: 1, to: 1 };
    let cases = [
        ("beyond the newest", Code::Protocol, newest + 1, Opaque::default()),
        ("garbage", Code::Protocol, newest, Opaque(vec![1, 2, 3])),
        ("forged", Code::BadSignature, newest, forged),
        ("another's", Code::Protocol, newest, a.statement(vec![b.reached()])),
        ("a sender twice", Code::Protocol, newest, b.statement(vec![a.reached(), a.reached()])),
        ("an unknown sender", Code::Protocol, newest, b.statement(vec![a.reached(), c.reached()])),
        ("a number of 2⁶³", Code::Protocol, newest, b.statement(vec![Reached { seq: 1 << 63, ..a.reached() }])),
        ("a hole too many", Code::Protocol, newest, b.statement_with(vec![a.reached()], vec![hole; 1_025])),
        ("larger than 64 KiB", Code::Protocol, newest, b.statement_with(vec![a.reached()], vec![hole; 3_000])),
        ("a cursor of 2⁶³", Code::Protocol, 1 << 63, Opaque::default()),
        ("the largest cursor", Code::Protocol, u64::MAX, Opaque::default()),
    ];
    for (what, code, cursor, statement) in cases {
        world.refused(what, code, |w| w.acknowledge(&b, cursor, statement));
    }
    world.refused("a stranger", Code::NotMember, |w| w.acknowledge(&c, 0, Opaque::default()));

    let most = b.statement_with(vec![a.reached()], vec![hole; 1_024]);
    world.acknowledge(&b, newest - 1, most).unwrap();
    let decision = world.acknowledge(&b, newest, good.clone()).unwrap();
    let receipt = Notice::Receipt { from: b.id, to: a.id, statement: good[..].into() };
    assert_eq!(decision.notices, [receipt]);
    assert_eq!(world.state.counters().entries, 0);
    // A sender that was away gets it when it attaches; nobody else does.
    let receipts = world.attach(&a, 0).unwrap().receipts;
    assert_eq!(receipts, [Bytes::from(&good[..])]);
    // As often as it attaches, and as large as receipts may be, they lie in memory once.
    assert!(Arc::ptr_eq(&receipts[0], &world.attach(&a, 0).unwrap().receipts[0]));
    assert!(world.attach(&b, 0).unwrap().receipts.is_empty());
    assert_eq!(world.ack(&b, 0).writes, vec![], "a lower cursor moves nothing");
    assert_eq!(world.attach(&b, 0).unwrap().attached.acknowledged, newest);
}

/// What the relay keeps of one device's word is bounded, whatever it names and however often it speaks.
#[test]
fn a_device_whose_statements_would_fill_the_relay_says_it_all_at_once() {
    let mut peers: Vec<Peer> = (1..=10).map(Peer::new).collect();
    let mut world = World::of(&mut peers.iter_mut().collect::<Vec<_>>());
    let (b, others) = peers.split_first().unwrap();
    let large = |frontier| b.statement_with(frontier, vec![Span { sender: others[0].id, from: 1, to: 1 }; 1_024]);
    let cursor = world.state.counters().newest;
    let mut taken = 0;
    let refusal = loop {
        match world.acknowledge(b, cursor, large(vec![others[taken].reached()])) {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal.about, refusal.code, taken), (About::Acknowledge, Code::Quota, 7));
    assert!(refusal.retry_after_ms > 0);
    // Speaking of the same again takes no more room.
    world.acknowledge(b, cursor, large(vec![others[0].reached()])).unwrap();
    world.acknowledge(b, cursor, large(others.iter().map(Peer::reached).collect())).unwrap();
    world.acknowledge(b, cursor, large(vec![others[0].reached()])).unwrap();
}

#[test]
fn presence_is_live_own_small_and_of_this_epoch() {
    let (mut a, mut b, c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let world = World::of(&mut [&mut a, &mut b]);
    let good = a.presence();
    let cases = [
        ("another's", Code::Protocol, a.seal_as(&b.presence(), 1, 272).0),
        ("not ephemeral", Code::Protocol, a.seal_as(&Header { class: Class::Data, ..a.header() }, 1, 272).0),
        ("too large", Code::TooLarge, a.seal_as(&good, 1, 2_000).0),
        ("old epoch", Code::StaleEpoch, a.seal_as(&Header { epoch: good.epoch - 1, ..good.clone() }, 1, 272).0),
        ("garbage", Code::Protocol, Opaque(vec![1; 300])),
    ];
    for (what, code, envelope) in cases {
        assert_eq!(world.state.presence(a.id, envelope).unwrap_err().code, code, "{what}");
    }
    let envelope = a.seal_as(&good, 1, 1_300).0;
    assert_eq!(world.state.presence(c.id, envelope.clone()).unwrap_err().code, Code::NotMember);
    let decision = world.state.presence(a.id, envelope.clone()).unwrap();
    assert_eq!(decision.notices, [Notice::Presence { from: a.id, envelope }]);
    assert!(decision.writes.is_empty());
}

#[test]
fn replies_name_what_was_pushed() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    let mut world = World::of(&mut [&mut a, &mut b]);
    let envelope = a.seal();
    let decision = world.push(&a, std::slice::from_ref(&envelope)).unwrap();
    assert_eq!(decision.reply, Some(FromRelay::Accepted(1)));
    let newest = world.state.counters().newest;
    let new = NewEntries { after: newest - 1, newest, of: Some(a.id) };
    assert_eq!(decision.notices, [Notice::NewEntries(new)]);
    let entry = world.entries(&b, 0).remove(0);
    assert_eq!((entry.kind, entry.sender, &entry.bytes[..]), (EntryKind::Envelope, a.id, &envelope[..]));
}

#[test]
fn a_push_writes_its_entries_and_now_and_then_what_they_moved() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut c]);
    let mut others = Vec::new();
    for n in 0..600 {
        let envelope = if n % 3 == 0 { b.seal() } else { a.seal() };
        let pusher = if n % 3 == 0 { &b } else { &a };
        // Each is loaded again by `World` and has to be the state in memory.
        let decision = world.push(pusher, &[envelope]).unwrap();
        assert!(matches!(decision.writes[0], Write::AppendEntries(..)));
        if decision.writes.len() > 1 {
            others.push(n);
        }
    }
    assert_eq!(others.len(), 2, "{others:?}");
    // What goes takes nothing along that only it knew.
    world.ack_all(&c);
    for peer in [&a, &b] {
        world.ack_all(peer);
    }
    assert_eq!(world.state.counters().entries, 0);
    world.push(&a, &[a.seal_as(&a.header(), 1, 272).0]).unwrap();
}

#[test]
fn a_relay_that_lost_a_group_takes_it_from_whichever_member_comes_first() {
    let (mut a, mut b, mut c) = (Peer::new(1), Peer::new(2), Peer::new(3));
    let key = |p: &Peer| (p.id, p.key.public());
    let last = |peer: &mut Peer, times: usize| {
        let bytes = (0..times).map(|_| peer.seal()).last().unwrap();
        head_of(&Envelope::parse(&bytes).unwrap())
    };
    let heads = [last(&mut a, 3), last(&mut b, 3)];
    let info = snapshot(GROUP, 7, &[key(&a), key(&b)]);
    let (request, proof) = b.attach(50);
    let (mut state, _) = GroupState::create(&FakeObserve::default(), &request, &proof, &info, 0).unwrap();
    assert!(state.is_member(a.id) && state.is_member(b.id));
    state.begin_at(first_cursor(1));
    assert!(state.attach(&request, &proof).is_ok(), "nobody has had the cursors to come");
    assert_eq!(state.counters().newest, 0, "of which nobody hears before there is an entry");

    // How far the chains are, by their senders' word.
    state.take_heads(b.id, &heads).unwrap();
    let position =
        |state: &GroupState, of: &Peer| state.rows().heads.iter().find(|h| h.sender == of.id).map(|h| h.head.seq);
    assert_eq!((position(&state, &a), position(&state, &b)), (Some(3), Some(3)));
    let forged = Head { signature: Signature([0; 64]), seq: 9, ..heads[0].clone() };
    assert_eq!(state.take_heads(b.id, &[forged]).unwrap_err().code, Code::BadSignature);
    let many = vec![heads[0].clone(); limits::MEMBERS + 1];
    assert_eq!(state.take_heads(b.id, &many).unwrap_err().code, Code::TooLarge);
    state.take_heads(b.id, &[last(&mut c, 1)]).unwrap();
    assert_eq!(position(&state, &c), None, "no member");
    assert_eq!(state.take_heads(c.id, &heads).unwrap_err().code, Code::NotMember);

    // Somebody who stands at a later state brings that; an earlier one changes nothing.
    let (request, proof) = a.attach(0);
    let later = snapshot(GROUP, 9, &[key(&a), key(&c)]);
    let (_, decision) = state.create_again(&FakeObserve::default(), &request, &proof, &later, 5).unwrap();
    assert!(decision.notices.iter().any(|n| matches!(n, Notice::Confirmed { epoch: 9, .. })));
    assert_eq!((state.epoch(), state.is_member(b.id), state.is_member(c.id)), (9, false, true));
    let (_, decision) = state.create_again(&FakeObserve::default(), &request, &proof, &info, 5).unwrap();
    assert_eq!((state.epoch(), decision), (9, Default::default()));
    let without = snapshot(GROUP, 10, &[key(&c)]);
    let refused = state.create_again(&FakeObserve::default(), &request, &proof, &without, 5).unwrap_err();
    assert_eq!(refused.code, Code::Protocol);
}
