//! What a host asks of all groups together. It goes over whole tables, so that only a host asks it, and a relay for its host's page.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use sync_types::GroupId;

use super::error::error;
use super::texts;
use crate::store::columns::{Columns, fixed, number, unsigned};
use crate::store::{GroupSummary, LAPSED_COUNTED, Order, StoreError, StoreStats, Survey};
use crate::tokens::TokenHash;

type Read<T> = Result<T, StoreError>;

/// Of how many groups it is looked at closely which lag most; a lag is never larger than the entries that are held.
const SCREENED: u32 = 1_000;

pub(super) async fn stats(from: &mut PgConnection) -> Read<StoreStats> {
    let row = sqlx::query(texts::STATS).fetch_one(from).await.map_err(|e| error(&e))?;
    Ok(StoreStats { groups: unsigned(&row, 0)?, entries: unsigned(&row, 1)?, bytes: unsigned(&row, 2)? })
}

/// How many groups each access token made.
pub(super) async fn token_groups(from: &mut PgConnection) -> Read<Vec<(TokenHash, u64)>> {
    let rows = sqlx::query(texts::TOKEN_GROUPS).fetch_all(from).await.map_err(|e| error(&e))?;
    rows.iter().map(|row| Ok((fixed(row, 0)?, unsigned(row, 1)?))).collect()
}

/// What changes slowly. What is free on the server's disk nobody says.
pub(super) async fn survey(from: &mut PgConnection, silent_since_ms: u64) -> Read<Survey> {
    let oldest = sqlx::query(texts::OLDEST).fetch_one(&mut *from).await.map_err(|e| error(&e))?;
    let lapsed = sqlx::query(texts::LAPSED).bind(number(silent_since_ms)).bind(number(LAPSED_COUNTED));
    let lapsed = lapsed.fetch_one(&mut *from).await.map_err(|e| error(&e))?;
    Ok(Survey {
        oldest_at_s: oldest.integer(0)?.and_then(|at| u64::try_from(at).ok()),
        free_bytes: None,
        lapsed: Some(unsigned(&lapsed, 0)?),
        store_bytes: Some(size(from).await?),
    })
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
    asked.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary).collect()
}

/// The groups whose id begins with these hexadecimal digits, in lower case; at the most `limit`.
pub(super) async fn beginning(from: &mut PgConnection, digits: &str, limit: u32) -> Read<Vec<GroupSummary>> {
    let end = |fill: &str| {
        let whole = format!("{digits}{}", fill.repeat(64_usize.saturating_sub(digits.len())));
        data_encoding::HEXLOWER.decode(whole.as_bytes()).map_err(|e| StoreError::Io(e.to_string()))
    };
    let asked = sqlx::query(texts::BETWEEN).bind(end("0")?).bind(end("f")?).bind(i64::from(limit));
    asked.fetch_all(from).await.map_err(|e| error(&e))?.iter().map(summary).collect()
}

fn summary(row: &PgRow) -> Read<GroupSummary> {
    let oldest: Option<i64> = row.try_get(5).map_err(|e| error(&e))?;
    Ok(GroupSummary {
        group: GroupId(fixed(row, 0)?),
        members: unsigned(row, 1)?,
        entries: unsigned(row, 2)?,
        bytes: unsigned(row, 3)?,
        lag: unsigned(row, 4)?,
        oldest_at_s: oldest.and_then(|at| u64::try_from(at).ok()),
        seen_ms: unsigned(row, 6)?,
    })
}
