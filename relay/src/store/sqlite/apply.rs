//! Runs the steps of a plan inside the writer's transaction, in as few calls as do it.

use sqlx::sqlite::SqliteConnection;
use sync_sqlite::Script;
use sync_types::{DeviceId, GroupId};

use super::numbers::Numbers;
use crate::store::columns::number;
use crate::store::plan::{Deletion, Floors, Step};
use crate::store::{Bytes, Counters, EntryRow, GroupRow, HeadRow, KitRow, MemberRow, VouchRow};

/// How many rows one statement takes. A call into SQLite costs more than a row, and each of these texts is prepared once. The
/// first is what a busy hub puts into one transaction.
const CHUNKS: [usize; 5] = [192, 64, 16, 4, 1];

/// A statement that puts rows, in a text for each of [`CHUNKS`].
struct Bulk([String; CHUNKS.len()]);

impl Bulk {
    fn new(head: &str, width: usize) -> Self {
        Self::of_rows(head, &format!("({})", vec!["?"; width].join(",")))
    }

    fn of_rows(head: &str, row: &str) -> Self {
        Self(CHUNKS.map(|rows| format!("{head} VALUES {}", vec![row; rows].join(","))))
    }
}

/// The texts of all statements with many rows.
pub(super) struct Texts {
    append: Bulk,
    counters: Bulk,
    acknowledged: Bulk,
    heads: Bulk,
    statements: Bulk,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            append: Bulk::of_rows(
                "INSERT INTO entries (grp, cursor, kind, sender, size, body, at_s)",
                "(?,?,?,?,?,?,unixepoch())",
            ),
            counters: Bulk::new("INSERT OR REPLACE INTO counters (grp, newest, entries, bytes)", 4),
            acknowledged: Bulk::new("INSERT OR REPLACE INTO acknowledged (grp, device, cursor)", 3),
            heads: Bulk::new(
                "INSERT OR REPLACE INTO heads (grp, sender, seq, hash, header, ciphertext_hash, signature, cut)",
                8,
            ),
            statements: Bulk::new("INSERT OR REPLACE INTO statements (grp, acknowledger, sender, statement)", 4),
        }
    }
}

/// The writer's open transaction.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) texts: &'a Texts,
    pub(super) numbers: &'a Numbers,
    /// Below which cursor nothing of a deletion is left.
    pub(super) floors: &'a Floors,
    /// Whether there is no other step than the present one.
    pub(super) is_whole: bool,
    /// What was not run yet.
    pub(super) script: Script,
}

impl Transaction<'_> {
    /// Runs what waits.
    pub(super) async fn run(&mut self) -> Result<(), sqlx::Error> {
        self.script.run(self.connection).await.map(drop)
    }

    /// Does one step, or leaves it to the next [`Transaction::run`].
    pub(super) async fn apply(&mut self, step: &Step) -> Result<(), sqlx::Error> {
        let (texts, numbers) = (self.texts, self.numbers);
        let of = |group: &GroupId| numbers.of(group);
        match step {
            Step::PutGroup(row) => self.put_group(row),
            Step::SetCounters(rows) => {
                let bind = |to: &mut Script, (group, counters): &(GroupId, _)| {
                    let Counters { newest, entries, bytes } = *counters;
                    to.bind(of(group)).bind(number(newest)).bind(number(entries)).bind(number(bytes));
                };
                self.rows(&texts.counters, rows, bind).await?;
            }
            Step::PutMember(group, row) => self.put_member(of(group), row),
            Step::DeleteMember(group, device) => {
                for text in [
                    "DELETE FROM members WHERE grp = ? AND device = ?",
                    "DELETE FROM acknowledged WHERE grp = ? AND device = ?",
                ] {
                    self.script.statement(text).bind(of(group)).bind(&device.0[..]);
                }
            }
            Step::SetAcknowledged(rows) => {
                let bind = |to: &mut Script, (group, device, cursor): &(GroupId, DeviceId, u64)| {
                    to.bind(of(group)).bind(&device.0[..]).bind(number(*cursor));
                };
                self.rows(&texts.acknowledged, rows, bind).await?;
            }
            Step::PutHeads(rows) => {
                let bind = |to: &mut Script, (group, row): &(GroupId, HeadRow)| {
                    let head = &row.head;
                    to.bind(of(group)).bind(&row.sender.0[..]).bind(number(head.seq)).bind(&head.hash.0[..]);
                    to.bind(&head.header[..]).bind(&head.ciphertext_hash.0[..]).bind(&head.signature.0[..]);
                    to.bind(i64::from(row.cut));
                };
                self.rows(&texts.heads, rows, bind).await?;
            }
            Step::PutStatements(rows) => {
                let bind = |to: &mut Script, (group, by, about, statement): &(GroupId, DeviceId, _, _)| {
                    let (about, statement): (&DeviceId, &Bytes) = (about, statement);
                    to.bind(of(group)).bind(&by.0[..]).bind(&about.0[..]).bind(&statement[..]);
                };
                self.rows(&texts.statements, rows, bind).await?;
            }
            Step::DeleteStatements(group, device) => {
                let text = "DELETE FROM statements WHERE grp = ? AND (acknowledger = ? OR sender = ?)";
                self.script.statement(text).bind(of(group)).bind(&device.0[..]).bind(&device.0[..]);
            }
            Step::PutWelcome(group, row, welcome) => {
                let text = "INSERT OR REPLACE INTO welcomes (grp, device, cursor, welcome) VALUES (?, ?, ?, ?)";
                let to = self.script.statement(text).bind(of(group)).bind(&row.device.0[..]);
                to.bind(number(row.cursor)).bind(&welcome[..]);
            }
            Step::DeleteWelcome(group, device) => {
                let text = "DELETE FROM welcomes WHERE grp = ? AND device = ?";
                self.script.statement(text).bind(of(group)).bind(&device.0[..]);
            }
            Step::PutKit(group, KitRow { key, from, until }) => {
                let to = self.script.statement("INSERT OR REPLACE INTO kits VALUES (?, ?, ?, ?)").bind(of(group));
                to.bind(&key[..]).bind(number(*from)).bind(until.map(number));
            }
            Step::DeleteKit(group, key) => {
                self.script.statement("DELETE FROM kits WHERE grp = ? AND key = ?").bind(of(group)).bind(&key[..]);
            }
            Step::PutVouch(group, VouchRow { device, epoch, mac }) => {
                let to = self.script.statement("INSERT OR REPLACE INTO vouches VALUES (?, ?, ?, ?)").bind(of(group));
                to.bind(&device.0[..]).bind(number(*epoch)).bind(&mac.0[..]);
            }
            Step::DeleteVouch(group, device) => {
                let text = "DELETE FROM vouches WHERE grp = ? AND device = ?";
                self.script.statement(text).bind(of(group)).bind(&device.0[..]);
            }
            Step::PutSnapshot(group, row, snapshot) => {
                let text = "INSERT OR REPLACE INTO kit_snapshots VALUES (?, ?, ?, ?, ?, ?, ?)";
                let to = self.script.statement(text).bind(of(group)).bind(&row.slot.0[..]).bind(&row.key[..]);
                to.bind(&row.device.0[..]).bind(i64::from(row.size));
                to.bind(&snapshot.mac.0[..]).bind(&snapshot.sealed[..]);
            }
            Step::DeleteSnapshot(group, slot) => {
                let text = "DELETE FROM kit_snapshots WHERE grp = ? AND slot = ?";
                self.script.statement(text).bind(of(group)).bind(&slot.0[..]);
            }
            Step::DeleteCommit(group, cursor) => {
                let text = "DELETE FROM entries WHERE grp = ? AND cursor = ? AND kind <> 1";
                self.script.statement(text).bind(of(group)).bind(number(*cursor));
            }
            Step::PutToken(group, token) => {
                let text = "INSERT OR REPLACE INTO group_tokens (grp, token) VALUES (?, ?)";
                self.script.statement(text).bind(of(group)).bind(&token[..]);
            }
            Step::DeleteGroup(group) => {
                for text in OF_A_GROUP {
                    self.script.statement(text).bind(of(group));
                    if self.script.waiting() >= MOST_WAITING {
                        self.run().await?;
                    }
                }
            }
            Step::ForgetGroups(groups) => {
                for group in groups {
                    self.script.statement("DELETE FROM numbers WHERE grp = ?").bind(group.as_bytes());
                    if self.script.waiting() >= MOST_WAITING {
                        self.run().await?;
                    }
                }
            }
            Step::Append(rows) => {
                let bind = |to: &mut Script, (group, row): &(GroupId, EntryRow)| {
                    to.bind(of(group)).bind(number(row.cursor)).bind(row.kind as i64).bind(&row.sender.0[..]);
                    to.bind(row.bytes.len() as i64).bind(&row.bytes[..]);
                };
                self.rows(&texts.append, rows, bind).await?;
            }
            Step::Delete(deletions) => {
                for (what, up_to) in deletions {
                    self.delete(what, *up_to);
                    if self.script.waiting() >= MOST_WAITING {
                        self.run().await?;
                    }
                }
            }
        }
        // Steps of one statement each may follow each other without end, too.
        if self.script.waiting() >= MOST_WAITING { self.run().await } else { Ok(()) }
    }

    /// Puts rows, most of them in statements of many.
    async fn rows<T>(
        &mut self,
        bulk: &Bulk,
        mut rows: &[T],
        bind: impl Fn(&mut Script, &T),
    ) -> Result<(), sqlx::Error> {
        for (size, text) in CHUNKS.iter().zip(&bulk.0) {
            while rows.len() >= *size {
                let (now, later) = rows.split_at(*size);
                // Single rows of several tables go together. A text of many rows goes by itself: with others before it
                // there would be too many texts to keep prepared. But when it is all that a transaction does, its text
                // comes again and again with the transaction around it.
                let alone = *size > 1 && !(self.is_whole && rows.len() == *size);
                if alone {
                    self.run().await?;
                }
                self.script.statement(text);
                now.iter().for_each(|row| bind(&mut self.script, row));
                if alone {
                    self.run().await?;
                }
                rows = later;
            }
        }
        Ok(())
    }

    fn delete(&mut self, what: &Deletion, up_to: u64) {
        let (group, sender) = what;
        let above = self.floors.above(what);
        let text = match sender {
            Some(_) => "DELETE FROM entries WHERE grp = ? AND cursor > ? AND cursor <= ? AND kind = 1 AND sender = ?",
            None => "DELETE FROM entries WHERE grp = ? AND cursor > ? AND cursor <= ? AND kind <> 1",
        };
        self.script.statement(text).bind(self.numbers.of(group)).bind(number(above)).bind(number(up_to));
        if let Some(sender) = sender {
            self.script.bind(&sender.0[..]);
        }
    }

    fn put_group(&mut self, row: &GroupRow) {
        let before = row.provisional.as_ref();
        let rejected: Vec<u8> = row.rejected.iter().flat_map(|hash| hash.0).collect();
        let text = "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.script
            .statement(text)
            .bind(self.numbers.of(&row.group))
            .bind(row.suite as i64)
            .bind(number(row.epoch))
            .bind(&row.snapshot[..])
            .bind(&row.group_info[..])
            .bind(row.last_commit.as_ref().map(|hash| hash.as_bytes()))
            .bind(rejected)
            .bind(number(row.created_at_ms))
            .bind(before.map(|b| number(b.cursor)))
            .bind(before.map(|b| b.commit_hash.as_bytes()))
            .bind(before.map(|b| b.committer.as_bytes()))
            .bind(before.map(|b| number(b.deadline_ms)))
            .bind(before.map(|b| number(b.epoch)))
            .bind(before.map(|b| &b.snapshot[..]))
            .bind(before.map(|b| &b.group_info[..]))
            .bind(before.and_then(|b| b.last_commit.as_ref()).map(|hash| hash.as_bytes()))
            .bind(number(row.suite_since))
            .bind(before.map(|b| b.suite as i64))
            .bind(before.map(|b| number(b.suite_since)));
    }

    fn put_member(&mut self, group: i64, row: &MemberRow) {
        self.script
            .statement("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(group)
            .bind(&row.device.0[..])
            .bind(&row.key[..])
            .bind(number(row.added))
            .bind(number(row.start))
            .bind(row.removed.map(|r| number(r.cursor)))
            .bind(row.removed.map(|r| number(r.at_ms)))
            .bind(number(row.seen_ms))
            .bind(number(row.missed))
            .bind(row.wake.as_deref());
        self.script
            .statement("INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?)")
            .bind(group)
            .bind(&row.device.0[..])
            .bind(number(row.acknowledged));
    }
}

/// Everything that a group has but its number.
const OF_A_GROUP: [&str; 12] = [
    "DELETE FROM groups WHERE grp = ?",
    "DELETE FROM counters WHERE grp = ?",
    "DELETE FROM members WHERE grp = ?",
    "DELETE FROM acknowledged WHERE grp = ?",
    "DELETE FROM heads WHERE grp = ?",
    "DELETE FROM statements WHERE grp = ?",
    "DELETE FROM welcomes WHERE grp = ?",
    "DELETE FROM entries WHERE grp = ?",
    "DELETE FROM kits WHERE grp = ?",
    "DELETE FROM vouches WHERE grp = ?",
    "DELETE FROM kit_snapshots WHERE grp = ?",
    "DELETE FROM group_tokens WHERE grp = ?",
];

/// How many statements wait at the most: a text of ever more of them would hardly come twice.
const MOST_WAITING: usize = 8;
