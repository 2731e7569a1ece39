//! Whose database a file is, and bringing its tables up to date.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

/// A program's tables.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The number in the database's header that tells this program's files from others' (`PRAGMA application_id`).
    pub application_id: i32,
    /// Script N (from 0) brings a database of version N to version N + 1. Scripts are only ever appended.
    pub migrations: &'static [&'static str],
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is a database, but not of this program.
    #[error("it is another program's database")]
    Foreign,
    /// A newer build wrote it.
    #[error("it was written by a newer build (schema {found}, this one knows {known})")]
    Newer {
        /// The file's version.
        found: i32,
        /// The newest that this build knows.
        known: i32,
    },
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
}

impl Schema {
    /// Finds out how far the file is, and writes nothing: 0 for an empty one.
    ///
    /// # Errors
    /// All that [`SchemaError`] lists.
    pub async fn version(&self, of: &mut SqliteConnection) -> Result<usize, SchemaError> {
        let application: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *of).await?;
        let version: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *of).await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *of).await?;
        let fresh = application == 0 && version == 0 && tables == 0;
        if !fresh && application != self.application_id {
            return Err(SchemaError::Foreign);
        }
        let known = self.migrations.len();
        let newer = SchemaError::Newer { found: version, known: i32::try_from(known).unwrap_or(i32::MAX) };
        usize::try_from(version).ok().filter(|version| *version <= known).ok_or(newer)
    }

    /// Brings the file up to date. A script and its version go in together, so that no crash comes between the two.
    ///
    /// # Errors
    /// All that [`SchemaError`] lists.
    pub async fn migrate(&self, on: &mut SqliteConnection) -> Result<(), SchemaError> {
        let done = self.version(on).await?;
        for (script, version) in self.migrations.iter().zip(1_usize..).skip(done) {
            let mut transaction = on.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::raw_sql(*script).execute(&mut *transaction).await?;
            let stamp = format!("PRAGMA application_id = {}; PRAGMA user_version = {version}", self.application_id);
            sqlx::raw_sql(AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Schema = Schema { application_id: 7, migrations: &["CREATE TABLE a (x)"] };
    const NEW: Schema = Schema { application_id: 7, migrations: &["CREATE TABLE a (x)", "CREATE TABLE b (x)"] };

    async fn memory() -> SqliteConnection {
        SqliteConnection::connect("sqlite::memory:").await.unwrap()
    }

    #[tokio::test]
    async fn an_older_file_is_brought_up_to_date_and_a_newer_one_is_left_alone() {
        let mut file = memory().await;
        OLD.migrate(&mut file).await.unwrap();
        NEW.migrate(&mut file).await.unwrap();
        NEW.migrate(&mut file).await.unwrap();
        sqlx::raw_sql("INSERT INTO b VALUES (1)").execute(&mut file).await.unwrap();
        assert_eq!(NEW.version(&mut file).await.unwrap(), 2);
        assert!(matches!(OLD.migrate(&mut file).await, Err(SchemaError::Newer { found: 2, known: 1 })));
    }

    #[tokio::test]
    async fn another_programs_file_is_left_alone() {
        let mut file = memory().await;
        sqlx::raw_sql("CREATE TABLE theirs (x)").execute(&mut file).await.unwrap();
        assert!(matches!(OLD.migrate(&mut file).await, Err(SchemaError::Foreign)));
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut file).await.unwrap();
        assert_eq!(tables, 1);
    }

    #[tokio::test]
    async fn a_script_that_fails_leaves_the_version() {
        const BROKEN: Schema = Schema { application_id: 7, migrations: &["CREATE TABLE a (x)", "CREATE TABLE a (x)"] };
        let mut file = memory().await;
        assert!(matches!(BROKEN.migrate(&mut file).await, Err(SchemaError::Sqlite(_))));
        assert_eq!(BROKEN.version(&mut file).await.unwrap(), 1);
    }
}
