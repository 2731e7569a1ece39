//! What a host asks of all groups together. It goes over whole tables, so that only a host asks it, and a relay for its host's page.

use sqlx::postgres::PgConnection;

use super::error::error;
use super::texts;
use crate::store::columns::{Read, arrival, number, stats_row, summary_row, token_row, unsigned};
use crate::store::{GroupSummary, LAPSED_COUNTED, Order, StoreError, StoreStats, Survey, TokenUse};

/// Of how many groups it is looked at closely which lag most; a lag is never larger than the entries that are held.
const SCREENED: u32 = 1_000;

pub(super) async fn stats(from: &mut PgConnection) -> Read<StoreStats> {
    stats_row(&sqlx::query(texts::STATS).fetch_one(from).await.map_err(|e| error(&e))?)
}

/// What there is of each access token.
pub(super) async fn token_use(from: &mut PgConnection) -> Read<Vec<TokenUse>> {
    sqlx::query(texts::TOKEN_USE).fetch_all(from).await.map_err(|e| error(&e))?.iter().map(token_row).collect()
}

/// What changes slowly, but the size of the database. What is free on the server's disk nobody says.
pub(super) async fn survey(from: &mut PgConnection, silent_since_ms: u64) -> Read<Survey> {
    let oldest = sqlx::query(texts::OLDEST).fetch_one(&mut *from).await.map_err(|e| error(&e))?;
    let lapsed = sqlx::query(texts::LAPSED).bind(number(silent_since_ms)).bind(number(LAPSED_COUNTED));
    let lapsed = lapsed.fetch_one(&mut *from).await.map_err(|e| error(&e))?;
    Ok(Survey { oldest_at_s: arrival(&oldest, 0)?, lapsed: Some(unsigned(&lapsed, 0)?), ..Survey::default() })
}

/// The whole database on the server's disk, in bytes.
pub(super) async fn size(from: &mut PgConnection) -> Read<u64> {
    unsigned(&sqlx::query(texts::SIZE).fetch_one(from).await.map_err(|e| error(&e))?, 0)
}

/// The groups that hold most.
pub(super) async fn largest(from: &mut PgConnection, order: Order, limit: u32) -> Read<Vec<GroupSummary>> {
    let text = match order {
        Order::Size => texts::LARGEST_BY_SIZE,
        Order::Lag => texts::LARGEST_BY_LAG,
    };
    let asked = sqlx::query(text).bind(i64::from(SCREENED.max(limit))).bind(i64::from(limit));
    asked.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary_row).collect()
}

/// The groups whose id begins with these hexadecimal digits, in lower case; at the most `limit`.
pub(super) async fn beginning(from: &mut PgConnection, digits: &str, limit: u32) -> Read<Vec<GroupSummary>> {
    let end = |fill: &str| {
        let whole = format!("{digits}{}", fill.repeat(64_usize.saturating_sub(digits.len())));
        data_encoding::HEXLOWER.decode(whole.as_bytes()).map_err(|e| StoreError::Io(e.to_string()))
    };
    let asked = sqlx::query(texts::BETWEEN).bind(end("0")?).bind(end("f")?).bind(i64::from(limit));
    asked.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary_row).collect()
}
