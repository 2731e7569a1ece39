//! Several statements in one call.
//!
//! What a small transaction costs besides the flush is going to SQLite's thread and back for each statement: on two
//! virtual cores 10 to 50 µs a time.

use futures_util::TryStreamExt;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Either, Encode, Executor, Type};

/// Statements that wait to be run together, with what is bound to them.
#[derive(Default)]
pub struct Script {
    text: String,
    waiting: usize,
    arguments: SqliteArguments,
    /// The first value that could not be bound.
    failed: Option<BoxDynError>,
    once: bool,
}

impl Script {
    /// Puts a statement behind those that wait. Its parameters are plain `?`: they take what is bound next, in order.
    pub fn statement(&mut self, text: &str) -> &mut Self {
        if self.waiting > 0 {
            self.text.push(';');
        }
        self.text.push_str(text);
        self.waiting += 1;
        self
    }

    /// Binds the next parameter.
    pub fn bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// Says that this text hardly comes again, so that keeping it prepared would only push others out.
    pub fn once(&mut self) -> &mut Self {
        self.once = true;
        self
    }

    /// How many statements wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Runs what waits, and gives how many rows each statement changed. One that is neither an insert, an update nor a
    /// delete repeats the number before it. Does nothing if nothing waits.
    ///
    /// # Errors
    /// What SQLite says to the first statement that fails. Those before it have been done, those behind it not.
    pub async fn run(&mut self, on: &mut SqliteConnection) -> Result<Vec<u64>, sqlx::Error> {
        let Self { text, waiting, arguments, failed, once } = std::mem::take(self);
        if let Some(error) = failed {
            return Err(sqlx::Error::Encode(error));
        }
        let mut changed = Vec::with_capacity(waiting);
        if waiting == 0 {
            return Ok(changed);
        }
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(!once);
        let mut results = on.fetch_many(query);
        while let Some(result) = results.try_next().await? {
            if let Either::Left(done) = result {
                changed.push(done.rows_affected());
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    #[tokio::test]
    async fn each_statement_takes_its_own_values_and_is_counted() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let mut script = Script::default();
        assert_eq!(script.run(&mut db).await.unwrap(), [0; 0], "nothing to do");
        script.statement("CREATE TABLE t (a, b)").statement("INSERT INTO t VALUES (?, ?), (?, ?)");
        script.bind(1).bind("x").bind(2).bind("y").statement("UPDATE t SET b = ? WHERE a = ?").bind("z").bind(2);
        script.statement("DELETE FROM t WHERE a > 2").statement("INSERT INTO t VALUES (?, NULL)").bind(3);
        assert_eq!(script.run(&mut db).await.unwrap()[1..], [2, 1, 0, 1]);
        assert_eq!(script.waiting(), 0);
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT a, b FROM t WHERE a < 3").fetch_all(&mut db).await.unwrap();
        assert_eq!(rows, [(1, "x".to_owned()), (2, "z".to_owned())]);
    }

    #[tokio::test]
    async fn nothing_behind_a_failure_is_done() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let mut script = Script::default();
        script.statement("CREATE TABLE t (a UNIQUE)").statement("INSERT INTO t VALUES (1), (1)");
        script.statement("INSERT INTO t VALUES (3)");
        script.run(&mut db).await.unwrap_err();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut db).await.unwrap();
        assert_eq!(rows, 0);
        script.statement("INSERT INTO t VALUES (?)").bind(4);
        assert_eq!(script.run(&mut db).await.unwrap(), [1], "and the script starts anew");
    }
}
