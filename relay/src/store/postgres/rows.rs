//! Reading PostgreSQL's rows.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sync_types::GroupId;

use super::error::error;
use crate::store::columns::{Columns, Read, Tables, blob, unsigned};
use crate::store::{GroupRows, StoreError, tail};

impl Columns for PgRow {
    fn integer(&self, column: usize) -> Read<Option<i64>> {
        self.try_get(column).map_err(|e| error(&e))
    }

    fn bytes(&self, column: usize) -> Read<Option<&[u8]>> {
        self.try_get(column).map_err(|e| error(&e))
    }
}

const N: bool = true;
const B: bool = false;

/// What the rows of `LOAD` are, by the number of their part: of each column of [`Tables`] whether it is a number.
const PARTS: [&[bool]; 13] = [
    &[N],
    &[B, N, N, B, B, B, B, N, N, B, B, N, N, B, B, B, N, N, N],
    &[N, N, N],
    &[B, B, N, N, N, N, N, N, N, B],
    &[B, N, B, B, B, B, N],
    &[B, B, B],
    &[B, N],
    &[N, N, B, N],
    &[B, N, N],
    &[B, N, B],
    &[B, B, B, N],
    &[B],
    &[B],
];

/// A row of `LOAD`, with the columns of its table.
struct Part {
    numbers: Vec<Option<i64>>,
    bytes: Vec<Option<Vec<u8>>>,
    is_number: &'static [bool],
}

impl Part {
    /// How many columns of the same kind stand before it, if it is of this kind.
    fn place(&self, column: usize, number: bool) -> Read<usize> {
        if self.is_number.get(column) != Some(&number) {
            return Err(StoreError::Corrupt("a column is of another type".into()));
        }
        Ok(self.is_number.iter().take(column).filter(|is| **is == number).count())
    }
}

fn missing() -> StoreError {
    StoreError::Corrupt("a row has too few columns".into())
}

impl Columns for Part {
    fn integer(&self, column: usize) -> Read<Option<i64>> {
        self.numbers.get(self.place(column, N)?).copied().ok_or_else(missing)
    }

    fn bytes(&self, column: usize) -> Read<Option<&[u8]>> {
        Ok(self.bytes.get(self.place(column, B)?).ok_or_else(missing)?.as_deref())
    }
}

/// The group's revision, if anybody has ever written to it, and everything of it but the bodies. The revision is known also of a
/// group that cannot be read, which is how it can be deleted.
pub(super) fn group(rows: Vec<PgRow>, group: GroupId) -> (Option<i64>, Read<Option<GroupRows>>) {
    let mut parts: [Vec<Part>; PARTS.len()] = Default::default();
    let sorted = rows.into_iter().try_for_each(|row| {
        let part = usize::try_from(unsigned(&row, 0)?).unwrap_or(usize::MAX);
        let (Some(is_number), Some(rows)) = (PARTS.get(part).copied(), parts.get_mut(part)) else {
            return Err(StoreError::Corrupt("a row is of no part of a group".into()));
        };
        let numbers: Option<_> = row.try_get(1).map_err(|e| error(&e))?;
        let bytes: Option<_> = row.try_get(2).map_err(|e| error(&e))?;
        rows.push(Part { numbers: numbers.unwrap_or_default(), bytes: bytes.unwrap_or_default(), is_number });
        Ok(())
    });
    let [revisions, groups, rest @ ..] = parts;
    let revision = revisions.first().and_then(|row| row.integer(0).ok().flatten());
    let row = groups.into_iter().next().filter(|_| revision.is_some());
    (revision, sorted.and_then(|()| row.map(|row| tables(row, rest, group)).transpose()))
}

fn tables(row: Part, parts: [Vec<Part>; PARTS.len() - 2], group: GroupId) -> Read<GroupRows> {
    let [mut counters, members, heads, statements, welcomes, index, kits, vouches, snapshots, mut token, last] = parts;
    let (counters, token) = (counters.pop(), token.pop());
    let tables =
        Tables { group: row, counters, members, heads, statements, welcomes, index, kits, vouches, snapshots, token };
    tail::count(tables.rows(group)?, last.iter().map(|row| Ok(blob(row, 0)?.into())).collect::<Read<_>>()?)
}
