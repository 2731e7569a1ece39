//! What every store has to do. Each store's tests call [`run`] with a way to make an empty one.

use std::future::Future;
use std::sync::Arc;

use sync_relay::store::{
    Bytes, Counters, EntriesQuery, EntryRow, GroupRow, HeadRow, IndexRow, KitRow, MemberRow, MemoryStore, Provisional,
    Removal, SnapshotRow, StatementRow, Store, StoreError, TokenUse, VouchRow, WelcomeRow, Write,
};
use sync_types::frame::{EntryKind, Head, Mac, SealedSnapshot, Signature, SnapshotSlot};
use sync_types::{DeviceId, EntryHash, GroupId, Opaque, Suite};

use crate::support::{Peer, now};

const A: DeviceId = DeviceId([1; 16]);
const B: DeviceId = DeviceId([2; 16]);

/// Runs the whole contract, on a fresh store for each part.
pub(crate) async fn run<S: Store, F: Future<Output = S>>(make: impl Fn() -> F) {
    an_unknown_group_is_none(&make().await).await;
    rows_come_back_as_written(&make().await).await;
    groups_do_not_mix(&make().await).await;
    kits_lead_to_their_groups(&make().await).await;
    snapshots_for_kits_come_in_their_order(&make().await).await;
    entries_come_in_order_within_limits(&make().await).await;
    deletes_take_what_they_name(&make().await).await;
    a_deleted_group_leaves_nothing(&make().await).await;
    tokens_count_their_groups_and_what_these_hold(&make().await).await;
    entries_move_counters_and_heads_by_themselves(&make().await).await;
    a_failing_transaction_leaves_nothing(&make().await).await;
    many_writes_of_many_groups_go_together(&make().await).await;
}

async fn an_unknown_group_is_none(store: &impl Store) {
    let group = GroupId([1; 32]);
    assert_eq!(store.load(group).await.unwrap(), None);
    assert_eq!(store.welcome(group, A).await.unwrap(), None);
    assert_eq!(store.entries(query(group, 0)).await.unwrap(), vec![]);
    assert_eq!(store.stats().await.unwrap(), Default::default());
}

async fn rows_come_back_as_written(store: &impl Store) {
    let group = GroupId([1; 32]);
    let mut row = group_row(group);
    store.commit(vec![Write::PutGroup(Box::new(row.clone())), counters(group, 0, 0, 0)]).await.unwrap();
    let rows = store.load(group).await.unwrap().unwrap();
    assert_eq!(rows.group, row);
    assert!(rows.members.is_empty() && rows.heads.is_empty() && rows.statements.is_empty() && rows.index.is_empty());

    row.provisional = Some(Provisional {
        cursor: 3,
        commit_hash: EntryHash([1; 32]),
        committer: A,
        deadline_ms: 11_000,
        epoch: 4,
        suite: Suite::XWing,
        suite_since: 2,
        snapshot: bytes(4, 500),
        group_info: bytes(5, 600),
        last_commit: None,
    });
    row.last_commit = Some(EntryHash([1; 32]));
    row.rejected = vec![EntryHash([2; 32]), EntryHash([3; 32])];
    row.epoch = 5;
    (row.suite, row.suite_since) = (Suite::Fips, 5);
    let removed = Some(Removal { cursor: 3, at_ms: 1_234 });
    store
        .commit(vec![
            Write::PutGroup(Box::new(row.clone())),
            Write::PutMember(group, member(B, 7)),
            Write::PutMember(group, MemberRow { removed, ..member(A, 2) }),
            Write::SetAcknowledged(group, B, 9),
            Write::PutHead(group, head(A, 5, true)),
            Write::PutHead(group, head(B, 1, false)),
            Write::PutHead(group, head(B, 2, false)),
            Write::PutStatement(group, statement(B, A, 1)),
            Write::PutStatement(group, statement(A, B, 2)),
            Write::PutStatement(group, statement(B, A, 3)),
            Write::PutWelcome(group, WelcomeRow { device: B, cursor: 3 }, bytes(6, 700)),
        ])
        .await
        .unwrap();
    let rows = store.load(group).await.unwrap().unwrap();
    assert_eq!(rows.group, row);
    assert_eq!(rows.members, [MemberRow { removed, ..member(A, 2) }, MemberRow { acknowledged: 9, ..member(B, 7) }]);
    assert_eq!(rows.heads, [head(A, 5, true), head(B, 2, false)]);
    assert_eq!(rows.statements, [statement(A, B, 2), statement(B, A, 3)]);
    assert_eq!(rows.welcomes, [WelcomeRow { device: B, cursor: 3 }]);
    assert_eq!(store.welcome(group, B).await.unwrap(), Some(bytes(6, 700)));
    assert_eq!(store.welcome(group, A).await.unwrap(), None);

    row.provisional = None;
    row.rejected.clear();
    store
        .commit(vec![
            Write::PutGroup(Box::new(row.clone())),
            Write::DeleteWelcome(group, B),
            Write::DeleteMember(group, A),
            Write::DeleteStatements(group, A),
        ])
        .await
        .unwrap();
    let rows = store.load(group).await.unwrap().unwrap();
    assert_eq!(rows.group, row);
    assert_eq!(rows.members, [MemberRow { acknowledged: 9, ..member(B, 7) }]);
    assert!(rows.statements.is_empty() && rows.welcomes.is_empty());
    assert_eq!(rows.heads.len(), 2, "heads outlive membership");
    assert_eq!(store.welcome(group, B).await.unwrap(), None);
}

async fn groups_do_not_mix(store: &impl Store) {
    let (one, two) = (GroupId([1; 32]), GroupId([2; 32]));
    for group in [one, two] {
        hold(store, group, &[entry(1, EntryKind::Envelope, A, 10)]).await;
        let welcome = WelcomeRow { device: A, cursor: 1 };
        let head = Write::PutHead(group, head(A, 1, false));
        store.commit(vec![head, Write::PutWelcome(group, welcome, bytes(1, 10))]).await.unwrap();
    }
    store
        .commit(vec![
            Write::DeleteEnvelopes { group: one, sender: A, up_to: 9 },
            Write::DeleteMember(one, A),
            Write::DeleteWelcome(one, A),
            Write::SetAcknowledged(one, A, 1),
            counters(one, 1, 0, 0),
        ])
        .await
        .unwrap();
    let rows = store.load(two).await.unwrap().unwrap();
    assert_eq!((rows.index.len(), rows.members.len(), rows.welcomes.len()), (1, 1, 1));
    assert_eq!(rows.members[0].acknowledged, 0);
    let rows = store.load(one).await.unwrap().unwrap();
    assert_eq!((rows.index.len(), rows.members.len(), rows.welcomes.len()), (0, 0, 0));
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.groups, stats.entries, stats.bytes), (2, 1, 10));
}

async fn kits_lead_to_their_groups(store: &impl Store) {
    let (one, two, key, other) = (GroupId([1; 32]), GroupId([2; 32]), [7; 32], [8; 32]);
    assert_eq!(store.kits(key).await.unwrap(), vec![]);
    let kit = |key, from, until| KitRow { key, from, until };
    let vouch = |device, epoch, mac| VouchRow { device, epoch, mac: Mac([mac; 32]) };
    for group in [one, two] {
        store.commit(vec![Write::PutGroup(Box::new(group_row(group))), counters(group, 0, 0, 0)]).await.unwrap();
    }
    store
        .commit(vec![
            // The second group had it first.
            Write::PutKit(one, kit(key, 20, None)),
            Write::PutKit(two, kit(key, 10, None)),
            Write::PutKit(two, kit(key, 10, Some(15))),
            Write::PutKit(two, kit(other, 15, None)),
            Write::PutVouch(one, vouch(B, 1, 1)),
            Write::PutVouch(one, vouch(A, 1, 1)),
            Write::PutVouch(one, vouch(B, 2, 2)),
        ])
        .await
        .unwrap();
    assert_eq!(store.kits(key).await.unwrap(), [(two, false), (one, true)]);
    assert_eq!(store.kits(other).await.unwrap(), [(two, true)]);
    let rows = store.load(one).await.unwrap().unwrap();
    assert_eq!((rows.kits, rows.vouches), (vec![kit(key, 20, None)], vec![vouch(A, 1, 1), vouch(B, 2, 2)]));
    let rows = store.load(two).await.unwrap().unwrap();
    assert_eq!((rows.kits, rows.vouches), (vec![kit(key, 10, Some(15)), kit(other, 15, None)], vec![]));

    store.commit(vec![Write::DeleteKit(two, key), Write::DeleteVouch(one, B)]).await.unwrap();
    assert_eq!(store.kits(key).await.unwrap(), [(one, true)]);
    assert_eq!(store.load(one).await.unwrap().unwrap().vouches, [vouch(A, 1, 1)]);
}

async fn snapshots_for_kits_come_in_their_order(store: &impl Store) {
    let (one, two, key, other) = (GroupId([1; 32]), GroupId([2; 32]), [7; 32], [8; 32]);
    let row = |slot, key, device, size| SnapshotRow { slot: SnapshotSlot([slot; 16]), key, device, size };
    let sealed = |slot, key, byte: u8| SealedSnapshot {
        key,
        slot: SnapshotSlot([slot; 16]),
        sealed: Opaque(vec![byte; 300]),
        mac: Mac([byte; 32]),
    };
    let put =
        |group, slot, key, byte| Write::PutSnapshot(group, row(slot, key, A, 300), Box::new(sealed(slot, key, byte)));
    for group in [one, two] {
        store.commit(vec![Write::PutGroup(Box::new(group_row(group))), counters(group, 0, 0, 0)]).await.unwrap();
    }
    // One takes the place of another, and one goes in the transaction that it came in.
    let writes = vec![put(one, 5, key, 1), put(one, 2, key, 2), put(one, 3, other, 3), put(two, 9, key, 4)];
    store.commit(writes).await.unwrap();
    let gone = Write::DeleteSnapshot(one, SnapshotSlot([6; 16]));
    store.commit(vec![put(one, 5, key, 5), put(one, 6, key, 6), gone]).await.unwrap();
    let rows = store.load(one).await.unwrap().unwrap().snapshots;
    assert_eq!(rows, [row(2, key, A, 300), row(3, other, A, 300), row(5, key, A, 300)]);
    let next =
        async |after: Option<u8>| store.kit_snapshot(one, key, after.map(|n| SnapshotSlot([n; 16]))).await.unwrap();
    assert_eq!(next(None).await, Some(sealed(2, key, 2)));
    assert_eq!(next(Some(2)).await, Some(sealed(5, key, 5)));
    assert_eq!(next(Some(5)).await, None);
    assert_eq!(store.kit_snapshot(GroupId([3; 32]), key, None).await.unwrap(), None);
}

async fn entries_come_in_order_within_limits(store: &impl Store) {
    let group = GroupId([1; 32]);
    let rows = [
        entry(1, EntryKind::Envelope, A, 100),
        entry(2, EntryKind::Envelope, B, 100),
        entry(3, EntryKind::Commit, A, 100),
        entry(5, EntryKind::Envelope, A, 5_000),
        entry(6, EntryKind::Reject, B, 100),
        entry(7, EntryKind::Envelope, A, 100),
    ];
    store
        .commit(vec![
            Write::PutGroup(Box::new(group_row(group))),
            Write::AppendEntries(group, rows[..2].to_vec()),
            Write::AppendEntries(group, rows[2..].to_vec()),
            counters(group, 7, 6, 5_500),
        ])
        .await
        .unwrap();
    let read = async |query: EntriesQuery| -> Vec<u64> {
        let found = store.entries(query).await.unwrap();
        assert!(found.iter().all(|row| rows.contains(row)), "{found:?}");
        found.iter().map(|row| row.cursor).collect()
    };
    let all = query(group, 0);
    assert_eq!(read(all).await, [1, 2, 3, 5, 6, 7]);
    assert_eq!(read(EntriesQuery { reader: A, ..all }).await, [2, 3, 6]);
    assert_eq!(read(EntriesQuery { reader: B, ..all }).await, [1, 3, 5, 6, 7]);
    assert_eq!(read(EntriesQuery { commits_only: true, ..all }).await, [3, 6]);
    assert_eq!(read(EntriesQuery { after: 3, ..all }).await, [5, 6, 7]);
    assert_eq!(read(EntriesQuery { after: 1, until: 5, ..all }).await, [2, 3, 5]);
    assert_eq!(read(EntriesQuery { after: 7, ..all }).await, Vec::<u64>::new());
    assert_eq!(read(EntriesQuery { after: 9, until: 4, ..all }).await, Vec::<u64>::new());
    assert_eq!(read(EntriesQuery { max_bytes: 200, ..all }).await, [1, 2]);
    assert_eq!(read(EntriesQuery { max_bytes: 299, ..all }).await, [1, 2]);
    assert_eq!(read(EntriesQuery { max_bytes: 0, ..all }).await, [1], "the first comes whatever its size");
    assert_eq!(read(EntriesQuery { after: 3, max_bytes: 100, ..all }).await, [5]);
    let index = store.load(group).await.unwrap().unwrap().index;
    let index: Vec<_> = index.iter().map(|i| (i.cursor, i.kind, i.sender, i.size as usize)).collect();
    let expected: Vec<_> = rows.iter().map(|r| (r.cursor, r.kind, r.sender, r.bytes.len())).collect();
    assert_eq!(index, expected);
}

async fn deletes_take_what_they_name(store: &impl Store) {
    let group = GroupId([1; 32]);
    let rows = [
        entry(1, EntryKind::Envelope, A, 10),
        entry(2, EntryKind::Commit, A, 10),
        entry(3, EntryKind::Envelope, B, 10),
        entry(4, EntryKind::Reject, B, 10),
        entry(5, EntryKind::Envelope, A, 10),
        entry(6, EntryKind::Commit, A, 10),
    ];
    hold(store, group, &rows).await;
    let left = async || cursors(&store.load(group).await.unwrap().unwrap().index);
    store.commit(vec![Write::DeleteEnvelopes { group, sender: A, up_to: 4 }]).await.unwrap();
    assert_eq!(left().await, [2, 3, 4, 5, 6], "neither commits nor others' envelopes");
    store.commit(vec![Write::DeleteCommit { group, cursor: 4 }]).await.unwrap();
    assert_eq!(left().await, [2, 3, 5, 6], "one, while an earlier one stays");
    store.commit(vec![Write::DeleteCommit { group, cursor: 3 }]).await.unwrap();
    assert_eq!(left().await, [2, 3, 5, 6], "an envelope is no commit");
    store.commit(vec![Write::DeleteCommits { group, up_to: 5 }]).await.unwrap();
    assert_eq!(left().await, [3, 5, 6]);
    store.commit(vec![Write::DeleteEnvelopes { group, sender: B, up_to: 2 }]).await.unwrap();
    assert_eq!(left().await, [3, 5, 6], "beyond the cursor");
    store
        .commit(vec![
            Write::DeleteEnvelopes { group, sender: A, up_to: 6 },
            Write::DeleteEnvelopes { group, sender: B, up_to: 6 },
            Write::DeleteCommits { group, up_to: 6 },
            counters(group, 6, 0, 0),
        ])
        .await
        .unwrap();
    assert_eq!(left().await, Vec::<u64>::new());
    assert_eq!(store.entries(query(group, 0)).await.unwrap(), vec![]);
    assert_eq!(store.load(group).await.unwrap().unwrap().counters.newest, 6, "cursors are not used again");
    // Written and deleted within one transaction: the order counts.
    store
        .commit(vec![
            Write::AppendEntries(group, vec![entry(7, EntryKind::Envelope, A, 10)]),
            Write::DeleteEnvelopes { group, sender: A, up_to: 7 },
            Write::AppendEntries(group, vec![entry(8, EntryKind::Envelope, A, 10)]),
            counters(group, 8, 1, 10),
        ])
        .await
        .unwrap();
    assert_eq!(left().await, [8]);
}

async fn a_deleted_group_leaves_nothing(store: &impl Store) {
    let (one, two) = (GroupId([1; 32]), GroupId([2; 32]));
    let kit = KitRow { key: [7; 32], from: 1, until: None };
    for group in [one, two] {
        hold(store, group, &[entry(1, EntryKind::Commit, A, 10), entry(2, EntryKind::Envelope, A, 10)]).await;
        let slot = SnapshotSlot([5; 16]);
        let sealed = SealedSnapshot { key: kit.key, slot, sealed: Opaque(vec![1; 30]), mac: Mac([1; 32]) };
        store
            .commit(vec![
                Write::PutHead(group, head(A, 1, false)),
                Write::PutStatement(group, statement(B, A, 1)),
                Write::PutWelcome(group, WelcomeRow { device: A, cursor: 1 }, bytes(1, 10)),
                Write::PutKit(group, kit),
                Write::PutVouch(group, VouchRow { device: A, epoch: 1, mac: Mac([1; 32]) }),
                Write::PutSnapshot(group, SnapshotRow { slot, key: kit.key, device: A, size: 30 }, Box::new(sealed)),
                Write::PutToken(group, [9; 32]),
                // So that a store that remembers how far it deleted has something to forget.
                Write::DeleteEnvelopes { group, sender: B, up_to: 500 },
            ])
            .await
            .unwrap();
    }
    let kept = store.load(two).await.unwrap();
    store
        .commit(vec![
            Write::SetAcknowledged(one, A, 2),
            Write::AppendEntries(one, vec![entry(3, EntryKind::Envelope, B, 10)]),
            counters(one, 3, 3, 30),
            Write::PutHead(one, head(B, 1, false)),
            Write::DeleteGroup(one),
        ])
        .await
        .unwrap();
    assert_eq!(store.load(one).await.unwrap(), None);
    assert_eq!(store.entries(query(one, 0)).await.unwrap(), vec![]);
    assert_eq!(store.welcome(one, A).await.unwrap(), None);
    assert_eq!(store.kits(kit.key).await.unwrap(), [(two, true)]);
    assert_eq!(store.kit_snapshot(one, kit.key, None).await.unwrap(), None);
    assert_eq!(store.token_use().await.unwrap(), [TokenUse { token: [9; 32], groups: 1, bytes: 20 }]);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.groups, stats.entries, stats.bytes), (1, 2, 20));
    assert_eq!(store.load(two).await.unwrap(), kept, "others stay");

    // It can be made again, with cursors from the first, and in the transaction that deletes it too.
    for again in [vec![], vec![Write::DeleteGroup(one)]] {
        let mut writes = again;
        writes.push(Write::PutGroup(Box::new(group_row(one))));
        writes.push(Write::AppendEntries(one, vec![entry(1, EntryKind::Envelope, B, 5)]));
        writes.push(counters(one, 1, 1, 5));
        store.commit(writes).await.unwrap();
        let rows = store.load(one).await.unwrap().unwrap();
        assert_eq!((cursors(&rows.index), rows.token), (vec![1], None));
        assert!(rows.members.is_empty() && rows.heads.is_empty() && rows.kits.is_empty() && rows.vouches.is_empty());
    }
    store.commit(vec![Write::DeleteEnvelopes { group: one, sender: B, up_to: 1 }]).await.unwrap();
    assert_eq!(store.entries(query(one, 0)).await.unwrap(), vec![], "however far was deleted before");
    store.commit(vec![Write::DeleteGroup(GroupId([3; 32]))]).await.unwrap();
    assert_eq!(store.load(GroupId([3; 32])).await.unwrap(), None, "one that is not there is no error");
}

async fn tokens_count_their_groups_and_what_these_hold(store: &impl Store) {
    let used = async || {
        let mut used = store.token_use().await.unwrap();
        used.sort_unstable();
        used.into_iter().map(|of| (of.token[0], of.groups, of.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(used().await, []);
    for (n, token) in [(1, 5), (2, 5), (3, 6)] {
        let group = GroupId([n; 32]);
        store
            .commit(vec![Write::PutGroup(Box::new(group_row(group))), Write::PutToken(group, [token; 32])])
            .await
            .unwrap();
        assert_eq!(store.load(group).await.unwrap().unwrap().token, Some([token; 32]));
    }
    // One that was made without a token is nobody's.
    let (first, second, other) = (GroupId([1; 32]), GroupId([2; 32]), GroupId([4; 32]));
    hold(store, other, &[entry(1, EntryKind::Commit, A, 10)]).await;
    assert_eq!(store.load(other).await.unwrap().unwrap().token, None);
    assert_eq!(used().await, [(5, 2, 0), (6, 1, 0)]);
    // What the counters say, what lies behind them, and what there is without counters.
    let envelope = |cursor, size| entry(cursor, EntryKind::Envelope, A, size);
    store.commit(vec![Write::AppendEntries(first, vec![envelope(1, 100)]), counters(first, 1, 1, 100)]).await.unwrap();
    store.commit(vec![Write::AppendEntries(first, vec![envelope(2, 20), envelope(3, 3)])]).await.unwrap();
    store.commit(vec![Write::AppendEntries(second, vec![envelope(1, 4_000)])]).await.unwrap();
    assert_eq!(used().await, [(5, 2, 4_123), (6, 1, 0)]);
    let gone = Write::DeleteEnvelopes { group: first, sender: A, up_to: 2 };
    store.commit(vec![gone, counters(first, 3, 1, 3)]).await.unwrap();
    assert_eq!(used().await, [(5, 2, 4_003), (6, 1, 0)]);
    store.commit(vec![Write::DeleteGroup(second)]).await.unwrap();
    assert_eq!(used().await, [(5, 1, 3), (6, 1, 0)]);
}

async fn entries_move_counters_and_heads_by_themselves(store: &impl Store) {
    let group = GroupId([1; 32]);
    hold(store, group, &[entry(1, EntryKind::Commit, A, 10)]).await;
    store.commit(vec![Write::PutHead(group, head(A, 5, true))]).await.unwrap();
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let append = |cursor: u64, peer: &mut Peer, len: usize| EntryRow {
        cursor,
        kind: EntryKind::Envelope,
        sender: peer.id,
        bytes: Bytes::from(&peer.seal_len(len)[..]),
    };
    let rows = [append(2, &mut a, 300), append(3, &mut b, 400), append(5, &mut a, 500)];
    let size: u64 = 10 + rows.iter().map(|row| row.bytes.len() as u64).sum::<u64>();
    store.commit(vec![Write::AppendEntries(group, rows[..2].to_vec())]).await.unwrap();
    store.commit(vec![Write::AppendEntries(group, rows[2..].to_vec())]).await.unwrap();
    let loaded = store.load(group).await.unwrap().unwrap();
    assert_eq!(loaded.counters, Counters { newest: 5, entries: 4, bytes: size });
    assert_eq!(loaded.settled, 1);
    let mut heads = [a.id, b.id].map(|id| (id, if id == a.id { (a.seq, a.hash) } else { (b.seq, b.hash) })).to_vec();
    heads.push((A, (5, head(A, 5, true).head.hash)));
    heads.sort_unstable();
    let found: Vec<_> = loaded.heads.iter().map(|row| (row.sender, (row.head.seq, row.head.hash))).collect();
    assert_eq!(found, heads, "in the order of their ids");
    assert!(loaded.heads.iter().all(|row| row.cut == (row.sender == A)));
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.groups, stats.entries, stats.bytes), (1, 4, size));

    // Once they are written, what was written counts.
    let gone = Write::DeleteEnvelopes { group, sender: a.id, up_to: 5 };
    store.commit(vec![gone, Write::PutHead(group, head(a.id, 9, false)), counters(group, 6, 2, 410)]).await.unwrap();
    let loaded = store.load(group).await.unwrap().unwrap();
    assert_eq!((loaded.counters.newest, loaded.counters.entries, loaded.settled), (6, 2, 6));
    assert!(loaded.heads.contains(&head(a.id, 9, false)));

    // A disk that changes bytes is found out.
    store.commit(vec![Write::AppendEntries(group, vec![entry(7, EntryKind::Envelope, A, 10)])]).await.unwrap();
    assert!(matches!(store.load(group).await, Err(StoreError::Corrupt(_))));
}

async fn a_failing_transaction_leaves_nothing(store: &impl Store) {
    let group = GroupId([1; 32]);
    let first = entry(1, EntryKind::Envelope, A, 10);
    hold(store, group, std::slice::from_ref(&first)).await;
    let before = store.load(group).await.unwrap();
    let result = store
        .commit(vec![
            Write::SetAcknowledged(group, A, 1),
            Write::PutHead(group, head(A, 1, false)),
            Write::AppendEntries(
                group,
                vec![entry(2, EntryKind::Envelope, A, 20), entry(1, EntryKind::Envelope, B, 30)],
            ),
            counters(group, 2, 2, 30),
        ])
        .await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "a cursor is given out once: {result:?}");
    assert_eq!(store.load(group).await.unwrap(), before);
    assert_eq!(store.entries(query(group, 0)).await.unwrap(), [first]);
}

async fn many_writes_of_many_groups_go_together(store: &impl Store) {
    let groups: Vec<GroupId> = (1..=5).map(|n| GroupId([n; 32])).collect();
    let mut writes: Vec<Write> = groups.iter().map(|g| Write::PutGroup(Box::new(group_row(*g)))).collect();
    for cursor in 1..=700 {
        for group in &groups {
            writes.push(Write::AppendEntries(*group, vec![entry(cursor, EntryKind::Envelope, A, 3)]));
            writes.push(Write::PutHead(*group, head(A, cursor, false)));
            writes.push(counters(*group, cursor, cursor, cursor * 3));
        }
    }
    store.commit(writes).await.unwrap();
    for group in groups {
        let rows = store.load(group).await.unwrap().unwrap();
        assert_eq!(rows.counters, Counters { newest: 700, entries: 700, bytes: 2_100 });
        assert_eq!(rows.heads, [head(A, 700, false)]);
        assert!(rows.index.iter().map(|row| row.cursor).eq(1..=700));
        let read = store.entries(query(group, 0)).await.unwrap();
        assert!(read.iter().map(|row| row.cursor).eq(1..=700));
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.groups, stats.entries, stats.bytes), (5, 3_500, 10_500));
}

/// A group with one member that holds these entries.
async fn hold(store: &impl Store, group: GroupId, rows: &[EntryRow]) {
    let (newest, size) = (rows.last().map_or(0, |row| row.cursor), rows.iter().map(|row| row.bytes.len() as u64).sum());
    store
        .commit(vec![
            Write::PutGroup(Box::new(group_row(group))),
            Write::PutMember(group, member(A, 0)),
            Write::AppendEntries(group, rows.to_vec()),
            counters(group, newest, rows.len() as u64, size),
        ])
        .await
        .unwrap();
}

fn cursors(index: &[IndexRow]) -> Vec<u64> {
    index.iter().map(|row| row.cursor).collect()
}

fn query(group: GroupId, after: u64) -> EntriesQuery {
    let reader = DeviceId([0xff; 16]);
    EntriesQuery { group, after, until: u64::MAX, max_bytes: usize::MAX, reader, commits_only: false }
}

fn bytes(fill: u8, len: usize) -> Bytes {
    Arc::from(vec![fill; len])
}

fn group_row(group: GroupId) -> GroupRow {
    GroupRow {
        group,
        suite: Suite::FOUNDED,
        suite_since: 0,
        epoch: 4,
        snapshot: bytes(1, 300),
        group_info: bytes(2, 200),
        last_commit: None,
        rejected: vec![],
        provisional: None,
        created_at_ms: 1_700_000_000_000,
    }
}

fn member(device: DeviceId, start: u64) -> MemberRow {
    MemberRow {
        device,
        key: [device.0[0]; 32],
        added: start,
        start,
        acknowledged: start,
        removed: None,
        seen_ms: 7,
        missed: 3,
        wake: Some(bytes(start as u8, 60)),
    }
}

fn head(sender: DeviceId, seq: u64, cut: bool) -> HeadRow {
    let head = Head {
        seq,
        hash: EntryHash([seq as u8; 32]),
        header: Opaque(vec![seq as u8; 99]),
        ciphertext_hash: EntryHash([7; 32]),
        signature: Signature([8; 64]),
    };
    HeadRow { sender, head, cut }
}

fn statement(acknowledger: DeviceId, sender: DeviceId, fill: u8) -> StatementRow {
    StatementRow { acknowledger, sender, statement: bytes(fill, 130) }
}

fn entry(cursor: u64, kind: EntryKind, sender: DeviceId, len: usize) -> EntryRow {
    EntryRow { cursor, kind, sender, bytes: bytes(cursor as u8, len) }
}

fn counters(group: GroupId, newest: u64, entries: u64, bytes: u64) -> Write {
    Write::SetCounters(group, Counters { newest, entries, bytes })
}

#[test]
fn the_memory_store_keeps_the_contract() {
    now(run(|| std::future::ready(MemoryStore::new())));
}

#[test]
fn a_disk_that_lies_loses_what_came_after() {
    let (store, group) = (MemoryStore::new(), GroupId([1; 32]));
    now(store.commit(vec![Write::PutGroup(Box::new(group_row(group))), counters(group, 1, 0, 0)])).unwrap();
    store.hold_back_syncs();
    now(store.commit(vec![counters(group, 2, 0, 0)])).unwrap();
    assert_eq!(now(store.load(group)).unwrap().unwrap().counters.newest, 2);
    store.lose_unsynced();
    assert_eq!(now(store.load(group)).unwrap().unwrap().counters.newest, 1);
    store.fail_next(StoreError::Full);
    assert_eq!(now(store.commit(vec![counters(group, 2, 0, 0)])), Err(StoreError::Full));
    assert_eq!(now(store.commit(vec![counters(group, 3, 0, 0)])), Ok(()));
}
