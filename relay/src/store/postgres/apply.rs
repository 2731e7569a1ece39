//! Runs the steps of a plan inside a transaction: one statement for all rows of a table.

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Postgres, Row, query};
use sync_types::{DeviceId, GroupId};

use super::texts;
use crate::store::columns::number;
use crate::store::plan::{Deletion, Floors, Step};
use crate::store::{EntryRow, GroupRow, KitRow, MemberRow, VouchRow};

/// A statement with its values, which are copied into it at once.
type Asked = Query<'static, Postgres, PgArguments>;

/// A column over several rows, as an array.
fn column<'a, T, C: 'a>(rows: &'a [T], of: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

async fn run(on: &mut PgConnection, asked: Asked) -> Result<(), sqlx::Error> {
    asked.execute(on).await.map(drop)
}

/// A statement about one row of a group.
fn one(text: &'static str, group: &GroupId, key: &[u8]) -> Asked {
    query(text).bind(&group.0[..]).bind(key)
}

/// Does one step. `floors`: below which cursors nothing of a deletion is left.
pub(super) async fn apply(on: &mut PgConnection, step: &Step, floors: &Floors) -> Result<(), sqlx::Error> {
    match step {
        Step::PutGroup(row) => run(on, put_group(row)).await,
        Step::SetCounters(rows) => {
            let asked = query(texts::PUT_COUNTERS)
                .bind(column(rows, |(group, _)| &group.0[..]))
                .bind(column(rows, |(_, counters)| number(counters.newest)))
                .bind(column(rows, |(_, counters)| number(counters.entries)))
                .bind(column(rows, |(_, counters)| number(counters.bytes)));
            run(on, asked).await
        }
        Step::PutMember(group, row) => {
            run(on, put_member(group, row)).await?;
            run(on, put_acknowledged(&[(*group, row.device, row.acknowledged)])).await
        }
        Step::DeleteMember(group, device) => {
            run(on, one(texts::DELETE_MEMBER, group, &device.0)).await?;
            run(on, one(texts::DELETE_ACKNOWLEDGED, group, &device.0)).await
        }
        Step::SetAcknowledged(rows) => run(on, put_acknowledged(rows)).await,
        Step::PutHeads(rows) => {
            let asked = query(texts::PUT_HEADS)
                .bind(column(rows, |(group, _)| &group.0[..]))
                .bind(column(rows, |(_, row)| &row.sender.0[..]))
                .bind(column(rows, |(_, row)| number(row.head.seq)))
                .bind(column(rows, |(_, row)| &row.head.hash.0[..]))
                .bind(column(rows, |(_, row)| &row.head.header[..]))
                .bind(column(rows, |(_, row)| &row.head.ciphertext_hash.0[..]))
                .bind(column(rows, |(_, row)| &row.head.signature.0[..]))
                .bind(column(rows, |(_, row)| row.cut));
            run(on, asked).await
        }
        Step::PutStatements(rows) => {
            let asked = query(texts::PUT_STATEMENTS)
                .bind(column(rows, |(group, ..)| &group.0[..]))
                .bind(column(rows, |(_, by, ..)| &by.0[..]))
                .bind(column(rows, |(_, _, of, _)| &of.0[..]))
                .bind(column(rows, |(.., statement)| &statement[..]));
            run(on, asked).await
        }
        Step::DeleteStatements(group, device) => run(on, one(texts::DELETE_STATEMENTS, group, &device.0)).await,
        Step::PutWelcome(group, row, welcome) => {
            let asked = one(texts::PUT_WELCOME, group, &row.device.0).bind(number(row.cursor)).bind(&welcome[..]);
            run(on, asked).await
        }
        Step::DeleteWelcome(group, device) => run(on, one(texts::DELETE_WELCOME, group, &device.0)).await,
        Step::PutKit(group, KitRow { key, from, until }) => {
            run(on, one(texts::PUT_KIT, group, key).bind(number(*from)).bind(until.map(number))).await?;
            let by_key = query(texts::PUT_KIT_BY_KEY).bind(&key[..]).bind(&group.0[..]);
            run(on, by_key.bind(number(*from)).bind(until.is_none())).await
        }
        Step::DeleteKit(group, key) => {
            run(on, one(texts::DELETE_KIT, group, key)).await?;
            run(on, query(texts::DELETE_KIT_BY_KEY).bind(&key[..]).bind(&group.0[..])).await
        }
        Step::PutVouch(group, VouchRow { device, epoch, mac }) => {
            run(on, one(texts::PUT_VOUCH, group, &device.0).bind(number(*epoch)).bind(&mac.0[..])).await
        }
        Step::DeleteVouch(group, device) => run(on, one(texts::DELETE_VOUCH, group, &device.0)).await,
        Step::PutSnapshot(group, row, snapshot) => {
            let asked = one(texts::PUT_SNAPSHOT, group, &row.slot.0)
                .bind(&row.key[..])
                .bind(&row.device.0[..])
                .bind(i32::try_from(row.size).unwrap_or(i32::MAX))
                .bind(&snapshot.mac.0[..])
                .bind(&snapshot.sealed[..]);
            run(on, asked).await
        }
        Step::DeleteSnapshot(group, slot) => run(on, one(texts::DELETE_SNAPSHOT, group, &slot.0)).await,
        Step::PutToken(group, token) => run(on, one(texts::PUT_TOKEN, group, &token[..])).await,
        Step::DeleteGroup(group) => delete_group(on, group).await,
        // Its revision stays: another relay that knows the group has to hear that it is gone.
        Step::ForgetGroups(_) => Ok(()),
        Step::Append(rows) => run(on, append(rows)).await,
        Step::Delete(deletions) => delete(on, deletions, floors).await,
        Step::DeleteCommit(group, cursor) => {
            run(on, query(texts::DELETE_COMMIT).bind(&group.0[..]).bind(number(*cursor))).await
        }
    }
}

fn append(rows: &[(GroupId, EntryRow)]) -> Asked {
    query(texts::APPEND)
        .bind(column(rows, |(group, _)| &group.0[..]))
        .bind(column(rows, |(_, row)| number(row.cursor)))
        .bind(column(rows, |(_, row)| row.kind as i16))
        // An entry fits into a frame of 4 MiB.
        .bind(column(rows, |(_, row)| row.bytes.len() as i32))
        .bind(column(rows, |(_, row)| &row.sender.0[..]))
        .bind(column(rows, |(_, row)| &row.bytes[..]))
}

async fn delete(on: &mut PgConnection, deletions: &[(Deletion, u64)], floors: &Floors) -> Result<(), sqlx::Error> {
    let envelopes: Vec<(&GroupId, DeviceId, i64, i64)> = deletions
        .iter()
        .filter_map(|(what, up_to)| Some((&what.0, what.1?, number(floors.above(what)), number(*up_to))))
        .collect();
    if !envelopes.is_empty() {
        let asked = query(texts::DELETE_ENVELOPES)
            .bind(column(&envelopes, |(group, ..)| &group.0[..]))
            .bind(column(&envelopes, |(_, sender, ..)| &sender.0[..]))
            .bind(column(&envelopes, |(_, _, above, _)| *above))
            .bind(column(&envelopes, |(.., up_to)| *up_to));
        run(on, asked).await?;
    }
    let commits: Vec<&(Deletion, u64)> = deletions.iter().filter(|(what, _)| what.1.is_none()).collect();
    if commits.is_empty() {
        return Ok(());
    }
    let asked = query(texts::DELETE_COMMITS)
        .bind(column(&commits, |(what, _)| &what.0.0[..]))
        .bind(column(&commits, |(what, _)| number(floors.above(what))))
        .bind(column(&commits, |(_, up_to)| number(*up_to)));
    run(on, asked).await
}

async fn delete_group(on: &mut PgConnection, group: &GroupId) -> Result<(), sqlx::Error> {
    for row in query(texts::KEYS_OF_GROUP).bind(&group.0[..]).fetch_all(&mut *on).await? {
        let key: Vec<u8> = row.try_get(0)?;
        run(on, query(texts::DELETE_KIT_BY_KEY).bind(key).bind(&group.0[..])).await?;
    }
    for text in texts::EMPTY {
        run(on, query(text).bind(&group.0[..])).await?;
    }
    Ok(())
}

fn put_acknowledged(rows: &[(GroupId, DeviceId, u64)]) -> Asked {
    query(texts::PUT_ACKNOWLEDGED)
        .bind(column(rows, |(group, ..)| &group.0[..]))
        .bind(column(rows, |(_, device, _)| &device.0[..]))
        .bind(column(rows, |(.., cursor)| number(*cursor)))
}

fn put_group(row: &GroupRow) -> Asked {
    let before = row.provisional.as_ref();
    let rejected: Vec<u8> = row.rejected.iter().flat_map(|hash| hash.0).collect();
    query(texts::PUT_GROUP)
        .bind(&row.group.0[..])
        .bind(row.suite as i16)
        .bind(number(row.epoch))
        .bind(&row.snapshot[..])
        .bind(&row.group_info[..])
        .bind(row.last_commit.as_ref().map(|hash| &hash.0[..]))
        .bind(rejected)
        .bind(number(row.created_at_ms))
        .bind(before.map(|b| number(b.cursor)))
        .bind(before.map(|b| &b.commit_hash.0[..]))
        .bind(before.map(|b| &b.committer.0[..]))
        .bind(before.map(|b| number(b.deadline_ms)))
        .bind(before.map(|b| number(b.epoch)))
        .bind(before.map(|b| &b.snapshot[..]))
        .bind(before.map(|b| &b.group_info[..]))
        .bind(before.and_then(|b| b.last_commit.as_ref()).map(|hash| &hash.0[..]))
        .bind(number(row.suite_since))
        .bind(before.map(|b| b.suite as i16))
        .bind(before.map(|b| number(b.suite_since)))
}

fn put_member(group: &GroupId, row: &MemberRow) -> Asked {
    one(texts::PUT_MEMBER, group, &row.device.0)
        .bind(&row.key[..])
        .bind(number(row.added))
        .bind(number(row.start))
        .bind(row.removed.map(|r| number(r.cursor)))
        .bind(row.removed.map(|r| number(r.at_ms)))
        .bind(number(row.seen_ms))
        .bind(number(row.missed))
        .bind(row.wake.as_deref())
}
