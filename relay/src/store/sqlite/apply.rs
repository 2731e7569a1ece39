//! Runs the steps of a plan inside the writer's transaction, many rows in one statement.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Executor};

use super::plan::{Deletion, Step};
use super::rows::number;
use crate::crash;
use crate::store::{GroupRow, HeadRow, MemberRow};

/// How many rows one statement takes. A call into SQLite costs more than a row, and each of these texts is prepared once.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

/// A statement that puts rows, in a text for each of [`CHUNKS`].
struct Bulk {
    width: usize,
    texts: [Arc<str>; CHUNKS.len()],
}

impl Bulk {
    fn new(head: &str, width: usize) -> Self {
        let row = format!("({})", vec!["?"; width].join(","));
        let texts = CHUNKS.map(|rows| format!("{head} VALUES {}", vec![row.as_str(); rows].join(",")).into());
        Self { width, texts }
    }

    async fn run<T>(
        &self,
        to: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Bound,
    ) -> Result<(), sqlx::Error> {
        for (size, text) in CHUNKS.iter().zip(&self.texts) {
            while rows.len() >= *size {
                let (now, later) = rows.split_at(*size);
                let mut arguments = SqliteArguments::default();
                arguments.reserve(size * self.width, 0);
                for row in now {
                    bind(&mut arguments, row).map_err(sqlx::Error::Encode)?;
                }
                to.execute(sqlx::query_with(AssertSqlSafe(text.clone()), arguments)).await?;
                rows = later;
            }
        }
        Ok(())
    }
}

type Bound = Result<(), sqlx::error::BoxDynError>;

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
            append: Bulk::new("INSERT INTO entries (grp, cursor, kind, sender, size, body)", 6),
            counters: Bulk::new("INSERT OR REPLACE INTO counters (grp, newest, entries, bytes)", 4),
            acknowledged: Bulk::new("INSERT OR REPLACE INTO acknowledged (grp, device, cursor)", 3),
            heads: Bulk::new(
                "INSERT OR REPLACE INTO heads (grp, sender, seq, hash, header, ciphertext_hash, signature, cut)",
                8,
            ),
            statements: Bulk::new("INSERT OR REPLACE INTO statements (grp, acknowledger, sender, statement)", 4),
        }
    }

    /// Does one step. `floor` says below which cursor nothing of a deletion is left.
    pub(super) async fn apply(
        &self,
        to: &mut SqliteConnection,
        step: &Step,
        floor: impl Fn(&Deletion) -> u64,
    ) -> Result<(), sqlx::Error> {
        match step {
            Step::PutGroup(row) => put_group(to, row).await,
            Step::SetCounters(rows) => {
                self.counters
                    .run(to, rows, |to, (group, counters)| {
                        to.add(&group.0[..])?;
                        to.add(number(counters.newest))?;
                        to.add(number(counters.entries))?;
                        to.add(number(counters.bytes))
                    })
                    .await
            }
            Step::PutMember(group, row) => put_member(to, group.as_bytes(), row).await,
            Step::DeleteMember(group, device) => {
                for text in [
                    "DELETE FROM members WHERE grp = ? AND device = ?",
                    "DELETE FROM acknowledged WHERE grp = ? AND device = ?",
                ] {
                    to.execute(sqlx::query(text).bind(group.as_bytes()).bind(device.as_bytes())).await?;
                }
                Ok(())
            }
            Step::SetAcknowledged(rows) => {
                self.acknowledged
                    .run(to, rows, |to, (group, device, cursor)| {
                        to.add(&group.0[..])?;
                        to.add(&device.0[..])?;
                        to.add(number(*cursor))
                    })
                    .await
            }
            Step::PutHeads(rows) => self.heads.run(to, rows, |to, (group, row)| bind_head(to, &group.0, row)).await,
            Step::PutStatements(rows) => {
                self.statements
                    .run(to, rows, |to, (group, by, of, statement)| {
                        to.add(&group.0[..])?;
                        to.add(&by.0[..])?;
                        to.add(&of.0[..])?;
                        to.add(&statement[..])
                    })
                    .await
            }
            Step::DeleteStatements(group, device) => {
                let text = "DELETE FROM statements WHERE grp = ?1 AND (acknowledger = ?2 OR sender = ?2)";
                to.execute(sqlx::query(text).bind(group.as_bytes()).bind(device.as_bytes())).await?;
                Ok(())
            }
            Step::PutWelcome(group, row, welcome) => {
                let text = "INSERT OR REPLACE INTO welcomes (grp, device, cursor, welcome) VALUES (?, ?, ?, ?)";
                let query = sqlx::query(text).bind(group.as_bytes()).bind(row.device.as_bytes());
                to.execute(query.bind(number(row.cursor)).bind(&welcome[..])).await?;
                Ok(())
            }
            Step::DeleteWelcome(group, device) => {
                let text = "DELETE FROM welcomes WHERE grp = ? AND device = ?";
                to.execute(sqlx::query(text).bind(group.as_bytes()).bind(device.as_bytes())).await?;
                Ok(())
            }
            Step::DeleteCommit(group, cursor) => {
                let text = "DELETE FROM entries WHERE grp = ? AND cursor = ? AND kind <> 1";
                to.execute(sqlx::query(text).bind(group.as_bytes()).bind(number(*cursor))).await?;
                Ok(())
            }
            Step::Append(rows) => {
                self.append
                    .run(to, rows, |to, (group, row)| {
                        to.add(&group.0[..])?;
                        to.add(number(row.cursor))?;
                        to.add(row.kind as i64)?;
                        to.add(&row.sender.0[..])?;
                        to.add(row.bytes.len() as i64)?;
                        to.add(&row.bytes[..])
                    })
                    .await
            }
            Step::Delete(deletions) => {
                for (what, up_to) in deletions {
                    delete(to, what, floor(what), *up_to).await?;
                }
                crash::point(crash::MID_DELETE);
                Ok(())
            }
        }
    }
}

async fn delete(to: &mut SqliteConnection, what: &Deletion, above: u64, up_to: u64) -> Result<(), sqlx::Error> {
    let (group, sender) = what;
    let query = match sender {
        Some(sender) => {
            sqlx::query("DELETE FROM entries WHERE grp = ? AND cursor > ? AND cursor <= ? AND kind = 1 AND sender = ?")
                .bind(group.as_bytes())
                .bind(number(above))
                .bind(number(up_to))
                .bind(sender.as_bytes())
        }
        None => sqlx::query("DELETE FROM entries WHERE grp = ? AND cursor > ? AND cursor <= ? AND kind <> 1")
            .bind(group.as_bytes())
            .bind(number(above))
            .bind(number(up_to)),
    };
    to.execute(query).await?;
    Ok(())
}

async fn put_group(to: &mut SqliteConnection, row: &GroupRow) -> Result<(), sqlx::Error> {
    let before = row.provisional.as_ref();
    let rejected: Vec<u8> = row.rejected.iter().flat_map(|hash| hash.0).collect();
    let query = sqlx::query("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(row.group.as_bytes())
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
        .bind(before.and_then(|b| b.last_commit.as_ref()).map(|hash| hash.as_bytes()));
    to.execute(query).await?;
    Ok(())
}

async fn put_member(to: &mut SqliteConnection, group: &[u8], row: &MemberRow) -> Result<(), sqlx::Error> {
    let member = sqlx::query("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(group)
        .bind(row.device.as_bytes())
        .bind(&row.key[..])
        .bind(number(row.added))
        .bind(number(row.start))
        .bind(row.removed.map(|r| number(r.cursor)))
        .bind(row.removed.map(|r| number(r.at_ms)));
    to.execute(member).await?;
    let acknowledged = sqlx::query("INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?)")
        .bind(group)
        .bind(row.device.as_bytes())
        .bind(number(row.acknowledged));
    to.execute(acknowledged).await?;
    Ok(())
}

fn bind_head(to: &mut SqliteArguments, group: &[u8], row: &HeadRow) -> Bound {
    to.add(group)?;
    to.add(&row.sender.0[..])?;
    to.add(number(row.head.seq))?;
    to.add(&row.head.hash.0[..])?;
    to.add(&row.head.header[..])?;
    to.add(&row.head.ciphertext_hash.0[..])?;
    to.add(&row.head.signature.0[..])?;
    to.add(i64::from(row.cut))
}
