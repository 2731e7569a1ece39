//! Reading PostgreSQL's rows.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use sync_types::GroupId;

use super::error::error;
use super::texts;
use crate::store::GroupRows;
use crate::store::columns::{Columns, Read, Tables, blob, finished, number};

impl Columns for PgRow {
    fn integer(&self, column: usize) -> Read<Option<i64>> {
        self.try_get(column).map_err(|e| error(&e))
    }

    fn bytes(&self, column: usize) -> Read<Option<&[u8]>> {
        self.try_get(column).map_err(|e| error(&e))
    }
}

/// The group's revision, if anybody has ever written to it, and everything of it but the bodies. Both are as of one moment:
/// the connection has a transaction open that sees one snapshot.
pub(super) async fn load(from: &mut PgConnection, group: GroupId) -> Read<(Option<i64>, Option<GroupRows>)> {
    let revision = sqlx::query_scalar(texts::REVISION).bind(group.as_bytes());
    let Some(revision) = revision.fetch_optional(&mut *from).await.map_err(|e| error(&e))? else {
        return Ok((None, None));
    };
    let Some(row) = all(from, texts::GROUP, group).await?.pop() else { return Ok((Some(revision), None)) };
    let tables = Tables {
        group: row,
        counters: all(from, texts::COUNTERS, group).await?.pop(),
        members: all(from, texts::MEMBERS, group).await?,
        heads: all(from, texts::HEADS, group).await?,
        statements: all(from, texts::STATED, group).await?,
        welcomes: all(from, texts::WELCOMES, group).await?,
        index: all(from, texts::INDEX, group).await?,
        kits: all(from, texts::KITS, group).await?,
        vouches: all(from, texts::VOUCHES, group).await?,
        snapshots: all(from, texts::SNAPSHOTS, group).await?,
    };
    let (rows, last) = tables.rows(group)?;
    let mut envelopes = Vec::new();
    if !last.is_empty() {
        let cursors: Vec<i64> = last.into_iter().map(number).collect();
        let bodies = sqlx::query(texts::BODIES).bind(group.as_bytes()).bind(cursors);
        for row in bodies.fetch_all(&mut *from).await.map_err(|e| error(&e))? {
            envelopes.push(blob(&row, 0)?.into());
        }
    }
    Ok((Some(revision), Some(finished(rows, envelopes)?)))
}

async fn all(from: &mut PgConnection, text: &'static str, group: GroupId) -> Read<Vec<PgRow>> {
    sqlx::query(text).bind(group.as_bytes()).fetch_all(from).await.map_err(|e| error(&e))
}
