//! What a host asks of all groups together.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use sync_types::GroupId;

use super::error;
use crate::store::columns::{fixed, number};
use crate::store::{GroupSummary, LAPSED_COUNTED, Order, StoreError, StoreStats, Survey};
use crate::tokens::TokenHash;

type Read<T> = Result<T, StoreError>;

/// Totals over all groups.
pub(super) async fn stats(from: &mut SqliteConnection) -> Read<StoreStats> {
    // What the counters do not say yet is the few entries behind each group's.
    let text = "SELECT (SELECT count(*) FROM groups), ifnull(sum(counted), 0), ifnull(sum(sizes), 0) FROM (\
                    SELECT sum(entries) AS counted, sum(bytes) AS sizes FROM counters UNION ALL \
                    SELECT count(*), sum(size) FROM counters CROSS JOIN entries USING (grp) WHERE cursor > newest)";
    let (groups, entries, bytes): (i64, i64, i64) =
        sqlx::query_as(text).fetch_one(from).await.map_err(|e| error(&e))?;
    Ok(StoreStats { groups: groups as u64, entries: entries as u64, bytes: bytes as u64 })
}

/// How many groups each access token made.
pub(super) async fn token_groups(from: &mut SqliteConnection) -> Read<Vec<(TokenHash, u64)>> {
    let text = "SELECT token, count(*) FROM group_tokens GROUP BY token";
    let found = sqlx::query(text).fetch_all(from).await.map_err(|e| error(&e))?;
    found.iter().map(|row| Ok((fixed(row, 0)?, unsigned(row, 1)?))).collect()
}

/// What changes slowly.
pub(super) async fn survey(from: &mut SqliteConnection, silent_since_ms: u64) -> Read<Survey> {
    let oldest = "SELECT at_s FROM entries ORDER BY arrival LIMIT 1";
    let oldest: Option<i64> = sqlx::query_scalar(oldest).fetch_optional(&mut *from).await.map_err(|e| error(&e))?;
    let lapsed = "SELECT count(*) FROM (SELECT 1 FROM members \
                  WHERE removed_cursor IS NULL AND seen_ms BETWEEN 1 AND ? LIMIT ?)";
    let lapsed: i64 = sqlx::query_scalar(lapsed)
        .bind(number(silent_since_ms))
        .bind(number(LAPSED_COUNTED))
        .fetch_one(&mut *from)
        .await
        .map_err(|e| error(&e))?;
    let free = pages(from, "freelist_count").await? * pages(from, "page_size").await?;
    Ok(Survey {
        oldest_at_s: oldest.and_then(noted),
        free_bytes: Some(free),
        lapsed: Some(lapsed as u64),
        store_bytes: None,
    })
}

/// A number that SQLite keeps of the file.
pub(super) async fn pages(from: &mut SqliteConnection, pragma: &'static str) -> Read<u64> {
    let found: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {pragma}"))).fetch_one(from).await.map_err(|e| error(&e))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// The groups that hold most. With `screened`, only so many with most entries are looked at closely; a lag is never larger
/// than the entries that are held, so few that lag more are missed.
pub(super) async fn largest(
    from: &mut SqliteConnection,
    order: Order,
    limit: u32,
    screened: Option<u32>,
) -> Read<Vec<GroupSummary>> {
    let (first, by) = match order {
        Order::Size => ("bytes", "held_bytes"),
        Order::Lag => ("entries", "lag"),
    };
    let screen = screened.map_or(-1, |most| i64::from(most.max(limit)));
    let text = format!(
        "WITH wanted AS MATERIALIZED (SELECT grp, newest, entries, bytes FROM counters ORDER BY {first} DESC LIMIT ?1) \
         {SUMMARY} ORDER BY {by} DESC, numbers.grp LIMIT ?2"
    );
    let found = sqlx::query(AssertSqlSafe(text)).bind(screen).bind(i64::from(limit));
    found.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary).collect()
}

/// The groups whose id begins with these hexadecimal digits, in lower case; at the most `limit`.
pub(super) async fn beginning(from: &mut SqliteConnection, digits: &str, limit: u32) -> Read<Vec<GroupSummary>> {
    let text = format!(
        "WITH wanted AS MATERIALIZED (SELECT counters.grp, newest, entries, bytes \
         FROM counters JOIN numbers AS of ON of.number = counters.grp \
         WHERE substr(lower(hex(of.grp)), 1, length(?1)) = ?1 LIMIT ?2) {SUMMARY} ORDER BY numbers.grp"
    );
    let found = sqlx::query(AssertSqlSafe(text)).bind(digits).bind(i64::from(limit));
    found.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary).collect()
}

/// One row for each of `wanted`. What came behind the counters is counted on top.
const SUMMARY: &str = "SELECT numbers.grp, \
    (SELECT count(*) FROM members AS m WHERE m.grp = wanted.grp AND m.removed_cursor IS NULL) AS members, \
    wanted.entries + (SELECT count(*) FROM entries AS e WHERE e.grp = wanted.grp AND e.cursor > wanted.newest) AS held, \
    wanted.bytes + (SELECT ifnull(sum(e.size), 0) FROM entries AS e WHERE e.grp = wanted.grp AND e.cursor > wanted.newest) \
        AS held_bytes, \
    (SELECT count(*) FROM entries AS e WHERE e.grp = wanted.grp AND e.cursor > \
        (SELECT min(a.cursor) FROM acknowledged AS a JOIN members AS m USING (grp, device) \
         WHERE a.grp = wanted.grp AND m.removed_cursor IS NULL)) AS lag, \
    (SELECT e.at_s FROM entries AS e WHERE e.grp = wanted.grp ORDER BY e.cursor LIMIT 1) AS oldest, \
    (SELECT ifnull(max(m.seen_ms), 0) FROM members AS m WHERE m.grp = wanted.grp AND m.removed_cursor IS NULL) AS seen \
    FROM wanted JOIN groups ON groups.grp = wanted.grp JOIN numbers ON numbers.number = wanted.grp";

fn summary(row: &SqliteRow) -> Read<GroupSummary> {
    let oldest: Option<i64> = row.try_get(5).map_err(|e| error(&e))?;
    Ok(GroupSummary {
        group: GroupId(fixed(row, 0)?),
        members: unsigned(row, 1)?,
        entries: unsigned(row, 2)?,
        bytes: unsigned(row, 3)?,
        lag: unsigned(row, 4)?,
        oldest_at_s: oldest.and_then(noted),
        seen_ms: unsigned(row, 6)?,
    })
}

/// Entries that an older relay took have no time.
fn noted(at_s: i64) -> Option<u64> {
    u64::try_from(at_s).ok().filter(|at| *at > 0)
}

fn unsigned(row: &SqliteRow, column: usize) -> Read<u64> {
    let value: i64 = row.try_get(column).map_err(|e| error(&e))?;
    Ok(u64::try_from(value).unwrap_or(0))
}
