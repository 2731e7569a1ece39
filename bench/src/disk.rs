//! Baselines of the disk: what a flush costs, and how fast SQLite takes rows when nothing else is done.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::Outcome;
use crate::stats::Sorted;

/// Appends `bytes` to a file and flushes, over and over: the least that anything durable costs.
pub(crate) fn fdatasync(folder: &Path, bytes: usize, times: usize) -> std::io::Result<Sorted> {
    let mut file = File::create(folder.join("fdatasync"))?;
    let block = vec![7; bytes];
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    Ok(Sorted::new(took))
}

/// Rows a second into a bare table through sqlx with `synchronous = FULL`: `batch` rows a transaction, at most 256 a statement.
pub(crate) async fn bare_sqlite(path: &Path, sizes: &[usize], batch: usize, for_so_long: Duration) -> Outcome<f64> {
    let rows_a_statement = batch.min(256);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let table =
        "CREATE TABLE e (g BLOB, cursor INTEGER, sender BLOB, body BLOB, PRIMARY KEY (g, cursor)) WITHOUT ROWID";
    connection.execute(table).await?;
    let text = format!("INSERT INTO e VALUES {}", vec!["(?,?,?,?)"; rows_a_statement].join(","));
    let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
    let (group, sender) = ([1_u8; 32], [2_u8; 16]);
    let (began, mut rows) = (Instant::now(), 0_i64);
    while began.elapsed() < for_so_long {
        let mut transaction = connection.begin().await?;
        for _ in 0..batch / rows_a_statement {
            let mut query = sqlx::query(AssertSqlSafe(text.clone()));
            for _ in 0..rows_a_statement {
                let body = &bodies[rows as usize % bodies.len()];
                query = query.bind(&group[..]).bind(rows).bind(&sender[..]).bind(&body[..]);
                rows += 1;
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}
