//! The relay's store alone: appends as the hub makes them, many requests to a transaction.

use std::path::Path;
use std::time::{Duration, Instant};

use sync_relay::store::{Bytes, Counters, EntryRow, HeadRow, Store, Write, sqlite::SqliteStore};
use sync_types::frame::{EntryKind, Head, Signature};
use sync_types::{DeviceId, EntryHash, GroupId, Opaque};

use crate::report::{Aim, Report};
use crate::stats::{Sorted, count, text};
use crate::{Outcome, disk};

const PART: &str = "1. the relay's store alone";
/// Sizes of envelopes, in bytes.
const SIZES: [usize; 4] = [200, 300, 400, 500];
/// As many as the hub takes into one transaction at the most.
const BATCH: usize = 192;
/// In how many groups the senders are.
const GROUPS: usize = 64;
const LONG: Duration = Duration::from_secs(4);
/// After how many entries of a group the mailbox writes head and counters.
const SETTLE_EVERY: u64 = 256;

pub(crate) async fn run(folder: &Path, report: &mut Report) -> Outcome<()> {
    let bytes = BATCH * SIZES.iter().sum::<usize>() / SIZES.len();
    let raw = disk::fdatasync(folder, bytes, 500)?;
    let raw_rate = BATCH as f64 / raw.percentile(50).as_secs_f64();
    report.bound(PART, "raw write + fdatasync of such batches", raw_rate, "appends/s", raw.summary());
    let bare = disk::bare_sqlite(&folder.join("bare.db"), &SIZES, BATCH, LONG).await?;
    let words = "one table, one sender, the same bytes, synchronous FULL".to_owned();
    report.bound(PART, "bare sqlx multi-row inserts", bare, "appends/s", words);

    let store = SqliteStore::open(&folder.join("store.db"), None).await.map_err(|e| e.to_string())?;
    let mut load = Load::new();
    let mut waits = Vec::new();
    let (began, mut appended) = (Instant::now(), 0);
    let mut before = Duration::ZERO;
    let mut longest = Duration::ZERO;
    while began.elapsed() < LONG {
        let writes = load.batch();
        let at = Instant::now();
        store.commit(writes).await.map_err(|e| e.to_string())?;
        let took = at.elapsed();
        appended += BATCH;
        // What comes just behind a batch's start waits for all of that batch and all of its own.
        longest = longest.max(before + took);
        before = took;
        waits.push(took);
    }
    let rate = appended as f64 / waits.iter().sum::<Duration>().as_secs_f64();
    store.close().await.map_err(|e| e.to_string())?;
    let waits = Sorted::new(waits);
    let beside = format!("{:.0} % of the bare inserts; {BATCH} a transaction, {GROUPS} groups", 100.0 * rate / bare);
    report.figure(PART, "durable appends", (rate, "appends/s"), Aim::AtLeast(70_000.0), beside);
    let beside = format!("{}; two in a row at most {}", waits.summary(), text(longest));
    let most = waits.max().as_secs_f64() * 1e3;
    report.figure(PART, "longest wait of a batch", (most, "ms"), Aim::AtMost(10.0), beside);
    report.say(&format!("{} envelopes were appended", count(appended as f64)));
    Ok(())
}

/// Makes what the mailbox would write for pushes of one envelope each.
struct Load {
    groups: Vec<(GroupId, u64)>,
    bodies: Vec<Bytes>,
    next: usize,
}

impl Load {
    fn new() -> Self {
        let groups = (0..GROUPS).map(|n| (GroupId([n as u8; 32]), 0)).collect();
        Self { groups, bodies: SIZES.iter().map(|size| vec![7; *size].into()).collect(), next: 0 }
    }

    fn batch(&mut self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(3 * BATCH);
        for _ in 0..BATCH {
            let count = self.groups.len();
            let (group, cursor) = &mut self.groups[self.next % count];
            *cursor += 1;
            let (bytes, sender) = (self.bodies[self.next % SIZES.len()].clone(), DeviceId([1; 16]));
            self.next += 1;
            let row = EntryRow { cursor: *cursor, kind: EntryKind::Envelope, sender, bytes };
            writes.push(Write::AppendEntries(*group, vec![row]));
            if *cursor % SETTLE_EVERY != 0 {
                continue;
            }
            let head = Head {
                seq: *cursor,
                hash: EntryHash([2; 32]),
                header: Opaque(vec![3; 100]),
                ciphertext_hash: EntryHash([4; 32]),
                signature: Signature([5; 64]),
            };
            writes.push(Write::PutHead(*group, HeadRow { sender, head, cut: false }));
            let held = Counters { newest: *cursor, entries: *cursor, bytes: *cursor * 350 };
            writes.push(Write::SetCounters(*group, held));
        }
        writes
    }
}
