use sync_core::RelayId;
use sync_core::store::{Answer, LogBlob, LogPlace, Read, Write};
use sync_types::body::{Blob, Span};
use sync_types::{BlobId, DeviceId};

use super::consumers::Counts;
use super::*;

const ME: DeviceId = DeviceId([1; 16]);
pub(super) const OTHER: DeviceId = DeviceId([2; 16]);

pub(super) fn blob(n: u32, channel: &str, data: &str) -> Blob {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    Blob { id: BlobId(id), channel: channel.into(), data: data.into(), snapshot: false }
}

pub(super) fn receive(sender: DeviceId, seq: u64, blobs: Vec<Blob>, hold: bool) -> Write {
    Write::Receive { sender, seq, blobs, hold }
}

pub(super) const VAULT: [u8; 16] = [9; 16];

pub(super) fn sealing() -> Sealing {
    Sealing::new(&sync_core::vault::VaultKey::new([8; 32]))
}

pub(super) async fn open(path: &Path, max_bytes: Option<u64>) -> Result<Store, SyncError> {
    Database::look(path, max_bytes).await?.open_with(VAULT, sealing()).await
}

pub(super) async fn fresh() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("device.db"), None).await.unwrap();
    (folder, store)
}

pub(super) async fn apply(store: &mut Store, writes: Vec<Write>) -> Vec<IdConflict> {
    let mut turn = store.begin().await;
    turn.apply(writes).await.unwrap();
    turn.commit().await.unwrap()
}

pub(super) fn wanted(unread_by: Option<&str>, channel: Option<&str>) -> Wanted {
    Wanted { channel: channel.map(str::to_owned), unread_by: unread_by.map(str::to_owned), own: false }
}

pub(super) fn texts(blobs: &[crate::ReceivedBlob]) -> Vec<String> {
    blobs.iter().map(|b| String::from_utf8(b.data.clone()).unwrap()).collect()
}

#[tokio::test]
async fn the_outbox_gives_blobs_in_order_and_sealing_empties_it() {
    let (_folder, mut store) = fresh().await;
    let mut turn = store.begin().await;
    let positions = turn.push(ME, (0..450).map(|n| blob(n, "c", "x")).collect());
    assert_eq!((positions[0], positions[449], positions.len()), (1, 450, 450));
    assert_eq!(turn.push(ME, vec![blob(900, "c", "yy")]), [451]);
    let Answer::Outbox(blobs) = turn.read(Read::Outbox { max_bytes: 3 * 66, max_blobs: 10 }).await.unwrap() else {
        panic!()
    };
    assert_eq!(blobs.iter().map(|b| b.position).collect::<Vec<_>>(), [1, 2, 3]);
    let Answer::Outbox(blobs) = turn.read(Read::Outbox { max_bytes: 1 << 20, max_blobs: 2 }).await.unwrap() else {
        panic!()
    };
    assert_eq!(blobs.iter().map(|b| b.position).collect::<Vec<_>>(), [1, 2]);
    let sealed = Write::Sealed { seq: 1, envelope: vec![5; 30].into(), up_to_position: Some(450) };
    turn.apply(vec![sealed]).await.unwrap();
    let Answer::Outbox(blobs) = turn.read(Read::Outbox { max_bytes: 0, max_blobs: 10 }).await.unwrap() else {
        panic!()
    };
    assert_eq!(blobs.iter().map(|b| b.position).collect::<Vec<_>>(), [451]);
    let again = Read::Repair { from_seq: 1, to_seq: 1, max_bytes: 0 };
    let Answer::Repair(again) = turn.read(again).await.unwrap() else { panic!() };
    assert_eq!(again, [(1, vec![5; 30].into())]);
    let Answer::Sealed(sealed) = turn.read(Read::Sealed { from_seq: 1, max_bytes: 0 }).await.unwrap() else { panic!() };
    assert_eq!(sealed, [(1, vec![5; 30].into())]);
    turn.commit().await.unwrap();
    let reader = store.reader();
    assert_eq!(reader.own(blob(7, "", "").id).await.unwrap(), Some(OwnBlob::Sealed(1)));
    assert_eq!(reader.own(blob(900, "", "").id).await.unwrap(), Some(OwnBlob::Waits));
    assert_eq!(reader.own(blob(901, "", "").id).await.unwrap(), None);
    assert_eq!(reader.counts(0, 0).await.unwrap(), Counts { outbox: 451, unacknowledged: 451 });
    assert_eq!(reader.counts(1, 0).await.unwrap(), Counts { outbox: 1, unacknowledged: 451 });
    // Own blobs are not echoed.
    assert!(reader.read(&wanted(None, None), 0, 10).await.unwrap().is_empty());
}

/// What the outbox gives, by position, id and bytes.
async fn outbox(turn: &mut Turn<'_>, max_bytes: usize, max_blobs: usize) -> Vec<(u64, BlobId, Vec<u8>)> {
    match turn.read(Read::Outbox { max_bytes, max_blobs }).await.unwrap() {
        Answer::Outbox(blobs) => blobs.into_iter().map(|b| (b.position, b.blob.id, b.blob.data)).collect(),
        _ => panic!(),
    }
}

#[tokio::test]
async fn an_outbox_from_memory_is_the_one_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let mut store = open(&path, None).await.unwrap();
    let seal = |seq, position| Write::Sealed { seq, envelope: vec![5].into(), up_to_position: Some(position) };
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(1, "c", "a")]);
    assert_eq!(outbox(&mut turn, 1 << 20, 10).await.len(), 1);
    turn.apply(vec![seal(1, 1)]).await.unwrap();
    turn.commit().await.unwrap();

    // A turn that is dropped takes what it remembers with it.
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(9, "c", "never")]);
    drop(turn);
    assert_eq!(store.sealed(), None);
    for (n, seq) in [(2, 2), (5, 3)] {
        let mut turn = store.begin().await;
        assert_eq!(outbox(&mut turn, 1 << 20, 10).await, []);
        let three = (n..n + 3).map(|n| blob(n, "c", &n.to_string())).collect();
        let positions = turn.push(ME, three);
        let two = outbox(&mut turn, 1 << 20, 2).await;
        let texts: Vec<_> = two.iter().map(|b| String::from_utf8_lossy(&b.2)).collect();
        assert_eq!(texts, [n.to_string(), (n + 1).to_string()]);
        assert_eq!(outbox(&mut turn, 0, 10).await, two[..1], "one at least");
        turn.apply(vec![seal(seq, positions[1])]).await.unwrap();
        let left = outbox(&mut turn, 1 << 20, 10).await;
        assert_eq!(left.len(), 1);
        turn.commit().await.unwrap();
        assert_eq!(store.sealed(), Some((two[1].1, seq)));
        // What another connection finds is the same.
        let mut other = open(&path, None).await.unwrap();
        assert_eq!(outbox(&mut other.begin().await, 1 << 20, 10).await, left);
        other.close().await;
        apply(&mut store, vec![seal(seq, positions[2])]).await;
    }
    assert_eq!(store.sealed(), None, "it was pushed in an earlier turn");
    let mut turn = store.begin().await;
    let position = turn.push(ME, vec![blob(8, "c", "b")])[0];
    turn.apply(vec![seal(4, position)]).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(store.sealed(), Some((blob(8, "", "").id, 4)));
    apply(&mut store, vec![Write::Reoffer { sender: OTHER }]).await;
    assert_eq!(store.sealed(), None, "what goes to another group gets another number");
}

#[tokio::test]
async fn a_dropped_turn_changes_nothing() {
    let (_folder, mut store) = fresh().await;
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(1, "c", "x")]);
    turn.apply(vec![Write::Put(Key::Chain, Zeroizing::new(vec![1]))]).await.unwrap();
    drop(turn);
    assert!(store.load().await.unwrap().is_empty());
    assert_eq!(store.reader().own(blob(1, "", "").id).await.unwrap(), None);
    let mut turn = store.begin().await;
    assert_eq!(turn.push(ME, vec![blob(1, "c", "x")]), [1]);
}

#[tokio::test]
async fn an_id_is_stored_once_and_other_bytes_under_it_are_reported() {
    let (_folder, mut store) = fresh().await;
    let many: Vec<_> = (0..500).map(|n| blob(n, "c", "first")).collect();
    assert!(apply(&mut store, vec![receive(OTHER, 1, many.clone(), false)]).await.is_empty());
    assert!(apply(&mut store, vec![receive(OTHER, 1, many, false)]).await.is_empty());
    assert_eq!(store.reader().read(&wanted(None, None), 0, 1000).await.unwrap().len(), 500);
    let conflicts =
        apply(&mut store, vec![receive(ME, 2, vec![blob(3, "c", "other"), blob(600, "c", "n")], false)]).await;
    assert_eq!(conflicts, [IdConflict { id: blob(3, "", "").id, sender: ME }]);
    let conflicts = apply(&mut store, vec![receive(ME, 2, vec![blob(4, "elsewhere", "first")], false)]).await;
    assert_eq!(conflicts.len(), 1);
    let all = store.reader().read(&wanted(None, None), 0, 1000).await.unwrap();
    assert_eq!((all.len(), &*all[3].data), (501, &b"first"[..]));
    let kept = store.reader().refused().await.unwrap();
    assert_eq!((kept[0].outcome.as_str(), kept[0].count), ("id_conflict", 2));
}

#[tokio::test]
async fn a_conflict_is_found_in_whichever_statement_of_a_call_it_is() {
    let (_folder, mut store) = fresh().await;
    let many = |from, to| (from..to).map(|n| blob(n, "c", "first")).collect::<Vec<_>>();
    // Calls of 16, 4, 4 and one statements of 200, and what is left; of several writes, and of several `apply`s.
    let mut turn = store.begin().await;
    for (from, to) in [(0, 1), (1, 333), (333, 4_000), (4_000, 5_010)] {
        turn.apply(vec![receive(OTHER, 1, many(from, to), false)]).await.unwrap();
    }
    assert_eq!(turn.commit().await.unwrap(), []);
    let mut again = many(0, 5_010);
    let altered = [199, 200, 250, 3_199, 3_200, 3_401, 4_799, 4_801, 5_009];
    for n in altered {
        again[n].data = b"other".to_vec();
    }
    again[777] = blob(9_999, "c", "new");
    let conflicts = apply(&mut store, vec![receive(ME, 2, again, false)]).await;
    assert_eq!(conflicts, altered.map(|n| IdConflict { id: blob(n as u32, "", "").id, sender: ME }));
    let kept = store.reader().refused().await.unwrap();
    assert_eq!((kept[0].outcome.as_str(), kept[0].count), ("id_conflict", 9));
    let mut turn = store.begin().await;
    let mut history = async |sender, seq| {
        let spans = vec![Span { sender, from: seq, to: seq }];
        let read = Read::History { spans, after: LogPlace::default(), max_bytes: 1 << 24, max_blobs: 9_999 };
        let Answer::History(found) = turn.read(read).await.unwrap() else { panic!() };
        found.into_iter().map(|found| found.blob).collect::<Vec<_>>()
    };
    let mut expected = many(0, 5_010);
    assert!(history(OTHER, 1).await == expected, "each once, in their order, with the bytes that came first");
    expected.remove(777);
    expected.push(blob(9_999, "c", "new"));
    let found = history(ME, 2).await;
    assert!(found == expected, "each once, in their order, with the bytes that came first");
}

#[tokio::test]
async fn a_member_that_contradicts_itself_a_thousand_times_keeps_few_statements_waiting() {
    let (_folder, mut store) = fresh().await;
    let many = |data: &str| (0..1_000).map(|n| blob(n, "c", data)).collect();
    apply(&mut store, vec![receive(OTHER, 1, many("first"), false)]).await;
    let mut turn = store.begin().await;
    turn.apply(vec![receive(OTHER, 2, many("second"), false)]).await.unwrap();
    assert!(turn.script.waiting() < 20, "{}", turn.script.waiting());
    turn.apply(vec![receive(OTHER, 4, many("third"), true), Write::Release { sender: OTHER, up_to_seq: 4 }])
        .await
        .unwrap();
    for n in 0..100 {
        turn.advance(&format!("consumer {n}"), None, 1).await.unwrap();
        assert!(turn.script.waiting() < 20, "{}", turn.script.waiting());
    }
    assert_eq!(turn.commit().await.unwrap().len(), 2_000);
    assert_eq!(store.reader().refused().await.unwrap()[0].count, 2_000);
}

#[tokio::test]
async fn a_transaction_that_sqlite_gave_up_is_noticed() {
    let (_folder, mut store) = fresh().await;
    let mut turn = store.begin().await;
    turn.flush().await.unwrap();
    assert!(turn.stands().await);
    sqlx::raw_sql("ROLLBACK").execute(&mut *turn.tx).await.unwrap();
    assert!(!turn.stands().await);
    drop(turn);
    assert!(apply(&mut store, vec![receive(OTHER, 1, vec![blob(1, "c", "x")], false)]).await.is_empty());
}

#[tokio::test]
async fn held_blobs_come_out_in_their_senders_order() {
    let (_folder, mut store) = fresh().await;
    apply(
        &mut store,
        vec![
            receive(OTHER, 3, vec![blob(31, "c", "3a"), blob(32, "c", "3b")], true),
            receive(OTHER, 2, vec![blob(21, "c", "2")], true),
            receive(OTHER, 3, vec![blob(33, "c", "3c")], true),
            receive(OTHER, 5, vec![blob(51, "c", "5")], true),
        ],
    )
    .await;
    assert!(store.reader().read(&wanted(None, None), 0, 10).await.unwrap().is_empty());
    let release = Write::Release { sender: OTHER, up_to_seq: 3 };
    let conflicts =
        apply(&mut store, vec![receive(OTHER, 1, vec![blob(11, "c", "1"), blob(33, "c", "?")], false), release]).await;
    assert_eq!(conflicts, [IdConflict { id: blob(33, "", "").id, sender: OTHER }]);
    assert_eq!(texts(&store.reader().read(&wanted(None, None), 0, 10).await.unwrap()), ["1", "?", "2", "3a", "3b"]);
    apply(&mut store, vec![Write::Release { sender: OTHER, up_to_seq: 9 }]).await;
    assert_eq!(store.reader().read(&wanted(None, None), 5, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn history_is_read_by_spans_and_bounded() {
    let (_folder, mut store) = fresh().await;
    let writes = (1..=5).map(|seq| receive(OTHER, seq, vec![blob(seq as u32, "c", "abcd")], false)).collect();
    apply(&mut store, writes).await;
    let mut turn = store.begin().await;
    let mut read = async |spans: Vec<Span>, after, max_bytes, max_blobs| {
        let read = Read::History { spans, after, max_bytes, max_blobs };
        let Answer::History(found) = turn.read(read).await.unwrap() else { panic!() };
        found.iter().map(|b| b.seq).collect::<Vec<_>>()
    };
    let span = |from, to| Span { sender: OTHER, from, to };
    let start = LogPlace::default();
    assert_eq!(read(vec![span(2, 3), span(5, u64::MAX)], start, 1000, 9).await, [2, 3, 5]);
    assert_eq!(
        read(vec![span(2, 3), span(5, 5)], LogPlace { position: 2, sender: OTHER, seq: 2 }, 1000, 9).await,
        [3, 5]
    );
    // Four bytes, a channel of one, and what comes with every blob.
    assert_eq!(read(vec![span(1, 5)], start, 2 * 69, 9).await, [1, 2]);
    assert_eq!(read(vec![span(1, 5)], start, 3 * 69 - 1, 9).await, [1, 2]);
    assert_eq!(read(vec![span(1, 5)], start, 0, 9).await, [1]);
    assert_eq!(read(vec![span(1, 5)], start, 1000, 3).await, [1, 2, 3]);
    assert_eq!(read(vec![Span { sender: ME, from: 1, to: 5 }], start, 8, 9).await, [0u64; 0]);
    assert_eq!(read(vec![], start, 8, 9).await, [0u64; 0]);
}

#[tokio::test]
async fn a_blob_that_came_under_several_numbers_is_history_under_each() {
    let (_folder, mut store) = fresh().await;
    let third = DeviceId([3; 16]);
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(1, "c", "own")]);
    turn.commit().await.unwrap();
    apply(
        &mut store,
        vec![
            receive(OTHER, 1, vec![blob(2, "c", "a"), blob(1, "c", "own")], false),
            receive(third, 4, vec![blob(2, "c", "a")], false),
            receive(third, 5, vec![blob(2, "c", "a"), blob(3, "c", "b")], true),
            // Once more what is there.
            receive(third, 4, vec![blob(2, "c", "a")], false),
            Write::Release { sender: third, up_to_seq: 9 },
        ],
    )
    .await;
    let mut turn = store.begin().await;
    let all = |sender| Span { sender, from: 1, to: u64::MAX };
    let spans = vec![all(OTHER), all(third)];
    let mut found = Vec::new();
    loop {
        let after = found.last().map(LogBlob::place).unwrap_or_default();
        let read = Read::History { spans: spans.clone(), after, max_bytes: 1000, max_blobs: 2 };
        let Answer::History(more) = turn.read(read).await.unwrap() else { panic!() };
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    let found: Vec<_> = found.iter().map(|row| (row.blob.data[0] as char, row.sender, row.seq)).collect();
    assert_eq!(found, [('o', OTHER, 1), ('a', OTHER, 1), ('a', third, 4), ('a', third, 5), ('b', third, 5)]);
}

#[tokio::test]
async fn history_of_as_many_spans_as_the_core_sends_is_one_read() {
    let (_folder, mut store) = fresh().await;
    let writes = (1..=600).map(|seq| receive(OTHER, seq, vec![blob(seq as u32, "c", "abcd")], false)).collect();
    apply(&mut store, writes).await;
    let mut turn = store.begin().await;
    // Every second envelope, and one span more of a device that pushed nothing.
    let mut spans: Vec<_> = (1..=255).map(|n| Span { sender: OTHER, from: 2 * n, to: 2 * n }).collect();
    spans.push(Span { sender: ME, from: 1, to: u64::MAX });
    assert_eq!(spans.len(), 256);
    let read = Read::History { spans, after: LogPlace::default(), max_bytes: 1 << 20, max_blobs: 1000 };
    let Answer::History(found) = turn.read(read).await.unwrap() else { panic!() };
    assert_eq!(found.iter().map(|b| b.seq).collect::<Vec<_>>(), (1..=255).map(|n| 2 * n).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_former_members_pushed_stays_readable_when_it_goes_to_a_new_group() {
    const AGAIN: DeviceId = DeviceId([3; 16]);
    let (_folder, mut store) = fresh().await;
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(1, "c", "mine")]);
    turn.apply(vec![receive(OTHER, 1, vec![blob(2, "c", "read"), blob(3, "c", "unread")], false)]).await.unwrap();
    turn.advance("app", Some("c"), 2).await.unwrap();
    turn.commit().await.unwrap();
    // Twice, as for a device that joins one group and then another.
    for sender in [ME, AGAIN] {
        apply(&mut store, vec![Write::ClearGroup, Write::Reoffer { sender }]).await;
        let mut turn = store.begin().await;
        let Answer::Outbox(rows) = turn.read(Read::Outbox { max_bytes: 1000, max_blobs: 9 }).await.unwrap() else {
            panic!()
        };
        assert!(rows.len() == 3 && rows.iter().all(|row| row.sender == sender));
        drop(turn);
        let reader = store.reader();
        for channel in [None, Some("c")] {
            let unread = reader.read(&wanted(Some("app"), channel), 0, 9).await.unwrap();
            assert_eq!((texts(&unread), unread[0].device), (vec!["unread".to_owned()], OTHER));
        }
        assert_eq!(texts(&reader.read(&wanted(None, Some("c")), 0, 9).await.unwrap()), ["read", "unread"]);
        // Receipts are for what was pushed here.
        assert_eq!(reader.own(blob(1, "", "").id).await.unwrap(), Some(OwnBlob::Waits));
        assert_eq!(reader.own(blob(2, "", "").id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_outbox_that_is_sealed_in_part_is_not_empty() {
    let (_folder, mut store) = fresh().await;
    let mut turn = store.begin().await;
    turn.push(ME, (0..3).map(|n| blob(n, "c", "x")).collect());
    let mut left = Vec::new();
    for up_to in [2, 3] {
        let Answer::Outbox(rows) = turn.read(Read::Outbox { max_bytes: 1000, max_blobs: 9 }).await.unwrap() else {
            panic!()
        };
        left.push(rows.len());
        let sealed = Write::Sealed { seq: up_to, envelope: vec![1].into(), up_to_position: Some(up_to) };
        turn.apply(vec![sealed]).await.unwrap();
    }
    let read = turn.read(Read::Outbox { max_bytes: 1000, max_blobs: 9 }).await.unwrap();
    assert_eq!((left, read), (vec![3, 1], Answer::Outbox(vec![])));
}

#[tokio::test]
async fn gaps_state_and_reoffer_do_what_they_say() {
    let (folder, mut store) = fresh().await;
    let put = |key, byte| Write::Put(key, Zeroizing::new(vec![byte]));
    apply(
        &mut store,
        vec![
            put(Key::Chain, 1),
            put(Key::Chain, 2),
            put(Key::Identity, 3),
            put(Key::Joining, 4),
            Write::Delete(Key::Joining),
            Write::BufferGap { sender: OTHER, seq: 9, envelope: vec![1, 2].into() },
            receive(OTHER, 1, vec![blob(1, "c", "x")], false),
        ],
    )
    .await;
    let mut state = store.load().await.unwrap();
    state.sort_by_key(|(key, _)| *key);
    assert_eq!(state, [(Key::Identity, Zeroizing::new(vec![3])), (Key::Chain, Zeroizing::new(vec![2]))]);
    let mut turn = store.begin().await;
    let gap = turn.read(Read::Gap { sender: OTHER, seq: 9 }).await.unwrap();
    assert_eq!(gap, Answer::Gap(Some(vec![1, 2].into())));
    turn.apply(vec![Write::ClearGroup, Write::Reoffer { sender: ME }]).await.unwrap();
    assert_eq!(turn.read(Read::Gap { sender: OTHER, seq: 9 }).await.unwrap(), Answer::Gap(None));
    let Answer::Outbox(blobs) = turn.read(Read::Outbox { max_bytes: 9, max_blobs: 9 }).await.unwrap() else { panic!() };
    assert_eq!((blobs.len(), blobs[0].sender), (1, ME));
    turn.commit().await.unwrap();
    // All of it is there after closing.
    store.close().await;
    let mut store = open(&folder.path().join("device.db"), None).await.unwrap();
    assert!(store.load().await.unwrap().is_empty());
    assert_eq!(store.reader().counts(0, 0).await.unwrap().outbox, 1);
}

#[tokio::test]
async fn what_a_turn_says_twice_is_written_once_and_the_last_word_counts() {
    let (_folder, mut store) = fresh().await;
    let put = |key, byte| Write::Put(key, Zeroizing::new(vec![byte]));
    let seal = |seq| Write::Sealed { seq, envelope: vec![seq as u8].into(), up_to_position: None };
    let sealed = async |turn: &mut Turn<'_>| match turn.read(Read::Sealed { from_seq: 0, max_bytes: 99 }).await.unwrap()
    {
        Answer::Sealed(sealed) => sealed.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(),
        _ => panic!(),
    };
    apply(&mut store, vec![put(Key::Relay(RelayId([1; 16])), 1), put(Key::Wants, 1), seal(1), seal(2), seal(3)]).await;
    let mut turn = store.begin().await;
    let before = turn.script.waiting();
    turn.apply(vec![put(Key::Relay(RelayId([1; 16])), 2), put(Key::Chain, 1), Write::DropSealed { up_to_seq: 1 }])
        .await
        .unwrap();
    turn.apply(vec![put(Key::Relay(RelayId([1; 16])), 3), Write::DropSealed { up_to_seq: 2 }]).await.unwrap();
    assert_eq!(turn.script.waiting(), before, "nothing is a statement yet");
    assert_eq!(sealed(&mut turn).await, [3]);
    turn.apply(vec![put(Key::Wants, 2), put(Key::Chain, 2), Write::Delete(Key::Wants)]).await.unwrap();
    turn.apply(vec![Write::Delete(Key::Chain), put(Key::Chain, 3)]).await.unwrap();
    turn.apply((0..9).map(|n| put(Key::Epoch(n), n as u8)).collect()).await.unwrap();
    // What is kept behind the word that drops it stays.
    turn.apply(vec![Write::DropSealed { up_to_seq: 4 }, seal(4), seal(5)]).await.unwrap();
    turn.commit().await.unwrap();
    let mut state = store.load().await.unwrap();
    state.sort_by_key(|(key, _)| *key);
    let mut expected =
        vec![(Key::Chain, Zeroizing::new(vec![3])), (Key::Relay(RelayId([1; 16])), Zeroizing::new(vec![3]))];
    expected.extend((0..9).map(|n| (Key::Epoch(n), Zeroizing::new(vec![n as u8]))));
    assert_eq!(state, expected);
    let mut turn = store.begin().await;
    assert_eq!(sealed(&mut turn).await, [4, 5]);
    // Another group's state and envelopes come behind the end of this one's.
    turn.apply(vec![put(Key::Relay(RelayId([1; 16])), 4), Write::DropSealed { up_to_seq: 9 }, Write::ClearGroup])
        .await
        .unwrap();
    turn.apply(vec![seal(1), put(Key::Chain, 4)]).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(store.load().await.unwrap(), [(Key::Chain, Zeroizing::new(vec![4]))]);
    assert_eq!(sealed(&mut store.begin().await).await, [1]);
    let mut turn = store.begin().await;
    turn.apply(vec![put(Key::Relay(RelayId([1; 16])), 5), Write::DropSealed { up_to_seq: 9 }]).await.unwrap();
    turn.forget_all();
    turn.commit().await.unwrap();
    assert!(store.load().await.unwrap().is_empty());
}

#[tokio::test]
async fn no_table_is_forgotten_when_everything_is() {
    let (_folder, mut store) = fresh().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'meta'
         ORDER BY name",
    )
    .fetch_all(&mut store.connection)
    .await
    .unwrap();
    assert_eq!(tables, consumers::OF_GROUP);
}

#[tokio::test]
async fn a_consumer_has_a_position_for_each_channel_and_own_pushes_do_not_move_it() {
    // Fault 2 of conventions.md: a push must not carry the pull cursor past others' blobs.
    let (_folder, mut store) = fresh().await;
    apply(&mut store, vec![receive(OTHER, 1, vec![blob(1, "a", "a1"), blob(2, "b", "b1"), blob(3, "a", "a2")], false)])
        .await;
    let mut turn = store.begin().await;
    turn.push(ME, vec![blob(9, "a", "mine")]);
    turn.commit().await.unwrap();
    let reader = store.reader();
    assert_eq!(texts(&reader.read(&wanted(Some("app"), None), 0, 10).await.unwrap()), ["a1", "b1", "a2"]);
    assert_eq!(texts(&reader.read(&wanted(Some("app"), None), 0, 2).await.unwrap()), ["a1", "b1"]);
    let all = Wanted { own: true, ..wanted(Some("app"), Some("a")) };
    let read = reader.read(&all, 0, 10).await.unwrap();
    assert_eq!(texts(&read), ["a1", "a2", "mine"]);
    assert_eq!(read.iter().map(|b| b.own).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((reader.newest(&all).await.unwrap(), reader.newest(&wanted(None, Some("b"))).await.unwrap()), (4, 2));
    let mut turn = store.begin().await;
    turn.advance("app", Some("a"), 1).await.unwrap();
    turn.advance("app", Some("a"), 0).await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(texts(&reader.read(&wanted(Some("app"), Some("a")), 0, 10).await.unwrap()), ["a2"]);
    assert_eq!(texts(&reader.read(&wanted(Some("app"), None), 0, 10).await.unwrap()), ["b1", "a2"]);
    assert_eq!(texts(&reader.read(&wanted(Some("second"), Some("a")), 0, 10).await.unwrap()), ["a1", "a2"]);
    let mut turn = store.begin().await;
    turn.advance("app", None, 2).await.unwrap();
    turn.commit().await.unwrap();
    assert!(reader.read(&wanted(Some("app"), Some("b")), 0, 10).await.unwrap().is_empty());
    assert_eq!(reader.newest(&wanted(Some("app"), Some("b"))).await.unwrap(), 0);
    assert_eq!(texts(&reader.read(&wanted(Some("app"), None), 0, 10).await.unwrap()), ["a2"]);
}

#[tokio::test]
async fn a_full_disk_refuses_the_turn_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let mut store = open(&path, Some(400_000)).await.unwrap();
    apply(&mut store, vec![receive(OTHER, 1, vec![blob(1, "c", "x")], false)]).await;
    let mut turn = store.begin().await;
    let large = Blob { data: vec![7; 1_000_000], ..blob(2, "c", "") };
    turn.push(ME, vec![large]);
    let error = turn.commit().await.unwrap_err();
    assert_eq!(error.code, Code::DiskFull);
    assert_eq!(store.reader().read(&wanted(None, None), 0, 9).await.unwrap().len(), 1);
    let mut turn = store.begin().await;
    assert_eq!(turn.push(ME, vec![blob(3, "c", "fits")]), [2]);
    turn.commit().await.unwrap();
}

#[tokio::test]
async fn a_damaged_foreign_or_newer_database_has_its_own_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let open = async || open(&path, None).await.map(drop).unwrap_err().code;
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    assert_eq!(open().await, Code::StoreCorrupt);
    std::fs::remove_file(&path).unwrap();
    let foreign = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&foreign).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x)").execute(&mut connection).await.unwrap();
    assert_eq!(open().await, Code::StoreCorrupt);
    let stamp = format!("PRAGMA application_id = {}; PRAGMA user_version = 99", SCHEMA.application_id);
    sqlx::raw_sql(AssertSqlSafe(stamp)).execute(&mut connection).await.unwrap();
    assert_eq!(open().await, Code::Version);
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, mut store) = fresh().await;
    apply(&mut store, vec![Write::Put(Key::Identity, Zeroizing::new(vec![1]))]).await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}
