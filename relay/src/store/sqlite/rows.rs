//! Reading SQLite's rows.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sync_types::GroupId;

use super::error;
use crate::store::columns::{Columns, Read, Tables, blob, number};
use crate::store::{GroupRows, tail};

impl Columns for SqliteRow {
    fn integer(&self, column: usize) -> Read<Option<i64>> {
        self.try_get(column).map_err(|e| error(&e))
    }

    fn bytes(&self, column: usize) -> Read<Option<&[u8]>> {
        self.try_get(column).map_err(|e| error(&e))
    }
}

/// Everything of a group but the bodies, as of one moment: the connection has a read transaction open.
pub(super) async fn load(from: &mut SqliteConnection, group: GroupId) -> Read<Option<GroupRows>> {
    let known = sqlx::query_scalar("SELECT number FROM numbers WHERE grp = ?").bind(group.as_bytes());
    let Some(of) = known.fetch_optional(&mut *from).await.map_err(|e| error(&e))? else {
        return Ok(None);
    };
    let Some(row) = all(from, "SELECT * FROM groups WHERE grp = ?", of).await?.pop() else {
        return Ok(None);
    };
    let members = "SELECT device, key, added, start, cursor, removed_cursor, removed_at_ms, seen_ms, missed, wake \
                   FROM members JOIN acknowledged USING (grp, device) WHERE grp = ? ORDER BY device";
    let heads =
        "SELECT sender, seq, hash, header, ciphertext_hash, signature, cut FROM heads WHERE grp = ? ORDER BY sender";
    let statements =
        "SELECT acknowledger, sender, statement FROM statements WHERE grp = ? ORDER BY acknowledger, sender";
    let tables = Tables {
        group: row,
        counters: all(from, "SELECT newest, entries, bytes FROM counters WHERE grp = ?", of).await?.pop(),
        members: all(from, members, of).await?,
        heads: all(from, heads, of).await?,
        statements: all(from, statements, of).await?,
        welcomes: all(from, "SELECT device, cursor FROM welcomes WHERE grp = ? ORDER BY device", of).await?,
        index: all(from, "SELECT cursor, kind, sender, size FROM entries WHERE grp = ? ORDER BY cursor", of).await?,
        kits: all(from, "SELECT key, from_cursor, until_cursor FROM kits WHERE grp = ? ORDER BY key", of).await?,
        vouches: all(from, "SELECT device, epoch, mac FROM vouches WHERE grp = ? ORDER BY device", of).await?,
        snapshots: all(from, "SELECT slot, key, device, size FROM kit_snapshots WHERE grp = ? ORDER BY slot", of)
            .await?,
        token: all(from, "SELECT token FROM group_tokens WHERE grp = ?", of).await?.pop(),
    };
    let rows = tables.rows(group)?;
    let mut envelopes = Vec::new();
    for cursor in tail::last_envelopes(&rows) {
        let body = sqlx::query("SELECT body FROM entries WHERE grp = ? AND cursor = ?");
        let row = body.bind(of).bind(number(cursor)).fetch_one(&mut *from).await.map_err(|e| error(&e))?;
        envelopes.push(blob(&row, 0)?.into());
    }
    tail::count(rows, envelopes).map(Some)
}

async fn all(from: &mut SqliteConnection, text: &'static str, group: i64) -> Read<Vec<SqliteRow>> {
    sqlx::query(text).bind(group).fetch_all(from).await.map_err(|e| error(&e))
}
