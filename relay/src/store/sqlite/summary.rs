//! What a host asks of all groups together.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::error;
use crate::store::columns::{Read, arrival, number, stats_row, summary_row, token_row, unsigned};
use crate::store::{GroupSummary, LAPSED_COUNTED, Order, StoreStats, Survey, TokenUse};

/// Totals over all groups.
pub(super) async fn stats(from: &mut SqliteConnection) -> Read<StoreStats> {
    // What the counters do not say yet is the few entries behind each group's.
    let text = "SELECT (SELECT count(*) FROM groups), ifnull(sum(counted), 0), ifnull(sum(sizes), 0) FROM (\
                    SELECT sum(entries) AS counted, sum(bytes) AS sizes FROM counters UNION ALL \
                    SELECT count(*), sum(size) FROM counters CROSS JOIN entries USING (grp) WHERE cursor > newest)";
    stats_row(&sqlx::query(text).fetch_one(from).await.map_err(|e| error(&e))?)
}

/// What there is of each access token.
pub(super) async fn token_use(from: &mut SqliteConnection) -> Read<Vec<TokenUse>> {
    let text = "SELECT token, count(*), ifnull(sum(bytes), 0) + ifnull(sum((\
                    SELECT sum(e.size) FROM entries AS e \
                    WHERE e.grp = made.grp AND e.cursor > ifnull(counters.newest, 0))), 0) \
                FROM group_tokens AS made LEFT JOIN counters USING (grp) GROUP BY token";
    sqlx::query(text).fetch_all(from).await.map_err(|e| error(&e))?.iter().map(token_row).collect()
}

/// What changes slowly.
pub(super) async fn survey(from: &mut SqliteConnection, silent_since_ms: u64) -> Read<Survey> {
    let oldest = "SELECT at_s FROM entries ORDER BY arrival LIMIT 1";
    let oldest = sqlx::query(oldest).fetch_optional(&mut *from).await.map_err(|e| error(&e))?;
    let lapsed = "SELECT count(*) FROM (SELECT 1 FROM members \
                  WHERE removed_cursor IS NULL AND seen_ms BETWEEN 1 AND ? LIMIT ?)";
    let lapsed = sqlx::query(lapsed).bind(number(silent_since_ms)).bind(number(LAPSED_COUNTED));
    let lapsed = lapsed.fetch_one(&mut *from).await.map_err(|e| error(&e))?;
    let free = pages(from, "freelist_count").await? * pages(from, "page_size").await?;
    Ok(Survey {
        oldest_at_s: oldest.map(|row| arrival(&row, 0)).transpose()?.flatten(),
        free_bytes: Some(free),
        lapsed: Some(unsigned(&lapsed, 0)?),
        store_bytes: None,
    })
}

/// A number that SQLite keeps of the file.
pub(super) async fn pages(from: &mut SqliteConnection, pragma: &'static str) -> Read<u64> {
    let asked = sqlx::query(AssertSqlSafe(format!("PRAGMA {pragma}")));
    unsigned(&asked.fetch_one(from).await.map_err(|e| error(&e))?, 0)
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
    found.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary_row).collect()
}

/// The groups whose id begins with these hexadecimal digits, in lower case; at the most `limit`.
pub(super) async fn beginning(from: &mut SqliteConnection, digits: &str, limit: u32) -> Read<Vec<GroupSummary>> {
    let text = format!(
        "WITH wanted AS MATERIALIZED (SELECT counters.grp, newest, entries, bytes \
         FROM counters JOIN numbers AS of ON of.number = counters.grp \
         WHERE substr(lower(hex(of.grp)), 1, length(?1)) = ?1 LIMIT ?2) {SUMMARY} ORDER BY numbers.grp"
    );
    let found = sqlx::query(AssertSqlSafe(text)).bind(digits).bind(i64::from(limit));
    found.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary_row).collect()
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
