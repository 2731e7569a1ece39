//! Opening the database: whose it is, which schema it has, and how it is talked to.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgPool};
use sync_types::Code;
use tokio::time::timeout;

use super::ACQUIRE;
use super::error::error;
use crate::StartError;

/// Each is run once, in this order. Only ever added to.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_mailboxes.sql"),
    include_str!("../../../migrations/postgres/0002_wake.sql"),
    include_str!("../../../migrations/postgres/0003_times.sql"),
    include_str!("../../../migrations/postgres/0004_pairings.sql"),
    include_str!("../../../migrations/postgres/0005_content.sql"),
];

/// What the table of the schema's version says whose the database is.
const APPLICATION: &str = "0ksync-relay";

/// The advisory lock under which a schema is looked at and changed: `0ksr` as a big-endian number, as in SQLite's files.
const LOCK: i64 = 0x306b_7372;

/// Connections that read, and connections that write: the hub's, and one for what is told and noted beside it.
const READERS: u32 = 8;
const WRITERS: u32 = 2;
/// Connections for pairings: whoever opens one is nobody that the relay knows, and waits for none that the groups need.
const MEETERS: u32 = 2;
/// Connections for large content, so that it takes none from those that push, and on how many of them parts of it are read and
/// written, so that there is one for questions.
const CARRIERS: u32 = 3;
pub(super) const CARRYING: usize = 2;

/// How long a migration waits for a table that others use: whoever comes behind it waits as long.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";
/// After how long it is tried again, and how often in all.
const AGAIN: Duration = Duration::from_millis(500);
const TRIES: usize = 60;

/// How long the database may take to answer when a relay starts.
const CONNECT: Duration = Duration::from_secs(10);
/// After how long in the pool a connection is asked whether it still is one.
const TRUSTED: Duration = Duration::from_secs(1);
/// For how long every connection is asked after one of them has failed.
const DOUBTED: Duration = Duration::from_secs(60);

/// Whether connections have failed of late. When a server goes it takes all of them along, and each would fail one request.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    pub(super) fn raise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() < DOUBTED)
    }
}

/// What every connection is set to. Timeouts end what hangs; nothing here takes long. Each statement is planned anew with its
/// values, so that partitions are left out while planning, and goes by an index, whatever the statistics say of a table that
/// was empty when they were made: all find few rows by key. That makes other plans look so dear that compiling them or sharing
/// them out to processes would seem to pay. A commit waits until it is on the disk, or for more if the server
/// is set to that.
pub const SETTINGS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '60s'; SET plan_cache_mode = force_custom_plan; \
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
    SET jit = off; SET max_parallel_workers_per_gather = 0; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The connections of an open store.
pub(super) struct Opened {
    pub(super) writers: PgPool,
    pub(super) readers: PgPool,
    pub(super) meeters: PgPool,
    pub(super) carriers: PgPool,
    pub(super) options: PgConnectOptions,
    pub(super) doubt: Arc<Doubt>,
}

/// What a URL says. The parser's own message is left out: it may quote the URL, which may hold a password.
fn options(url: &str) -> Result<PgConnectOptions, StartError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StartError::new(Code::InvalidArgument, "the store is no URL as PostgreSQL knows them"))?;
    Ok(options.application_name("sync-relay").disable_statement_logging())
}

async fn connect(options: &PgConnectOptions, name: &str) -> Result<PgConnection, StartError> {
    let unreachable =
        |reason: &dyn std::fmt::Display| StartError::new(Code::Io, format!("cannot open {name}: {reason}"));
    let connected = timeout(CONNECT, options.connect()).await;
    connected.map_err(|_| unreachable(&"it does not answer"))?.map_err(|e| unreachable(&e))
}

/// Connects to a database of this relay's schema, and changes nothing.
pub(super) async fn look(url: &str) -> Result<PgConnection, StartError> {
    let options = options(url)?;
    let name = name(&options);
    let mut connection = connect(&options, &name).await?;
    let found = match whose(&mut connection, &name).await? {
        Whose::Relays(version) => version,
        Whose::Nobodys => {
            return Err(StartError::new(Code::StoreCorrupt, format!("{name} holds nothing yet")));
        }
    };
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(newer(&name, found));
    }
    if found < known {
        let message = format!(
            "{name} is of an older relay (schema {found}, this one knows {known}): start this relay on it once"
        );
        return Err(StartError::new(Code::Version, message));
    }
    Ok(connection)
}

/// Connects, and brings the schema up to date.
pub(super) async fn open(url: &str) -> Result<Opened, StartError> {
    let options = options(url)?;
    let name = name(&options);
    let mut connection = connect(&options, &name).await?;
    let migrated = async {
        for _ in 0..TRIES {
            if migrate(&mut connection, &name).await? {
                return Ok(());
            }
            tracing::info!("a table is in use; its migration waits");
            tokio::time::sleep(AGAIN).await;
        }
        let message =
            format!("cannot open {name}: another program has kept a table for a minute, and it is to be migrated");
        Err(StartError::new(Code::Io, message))
    };
    let migrated: Result<(), StartError> = migrated.await;
    // Nothing that is left open matters.
    let _ = connection.close().await;
    migrated?;
    let doubt = Arc::new(Doubt::default());
    let pool = |most| pool(&options, most, doubt.clone());
    let (writers, readers, meeters) = (pool(WRITERS), pool(READERS), pool(MEETERS));
    Ok(Opened { writers, readers, meeters, carriers: pool(CARRIERS), options, doubt })
}

/// What the database is called in messages: where it is, and nothing by which one gets in.
fn name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("the database '{database}' at {}", socket.display()),
        None => format!("the database '{database}' at {}:{}", options.get_host(), options.get_port()),
    }
}

/// Connections that come back by themselves after the database was away.
fn pool(options: &PgConnectOptions, most: u32, doubt: Arc<Doubt>) -> PgPool {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(move |connection, about| {
            let asks = about.idle_for > TRUSTED || doubt.is_there();
            Box::pin(async move {
                if asks {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(SETTINGS)).await.map(drop) })
        })
        .connect_lazy_with(options.clone())
}

/// One transaction under a lock, so that of several relays that start at once one migrates, and a migration that fails leaves
/// nothing behind. False if a table is in use: relays that run on the database are not to wait until it is not.
async fn migrate(connection: &mut PgConnection, name: &str) -> Result<bool, StartError> {
    let failed = |e: sqlx::Error| StartError::store(name, &error(&e));
    let mut transaction = connection.begin().await.map_err(failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(failed)?;
    let found = match whose(&mut transaction, name).await? {
        Whose::Relays(version) => version,
        Whose::Nobodys => {
            let table = "CREATE TABLE ksync_schema (application TEXT PRIMARY KEY, version BIGINT NOT NULL)";
            transaction.execute(table).await.map_err(failed)?;
            let row = sqlx::query("INSERT INTO ksync_schema VALUES ($1, 0)").bind(APPLICATION);
            row.execute(&mut *transaction).await.map_err(failed)?;
            0
        }
    };
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(newer(name, found));
    }
    transaction.execute(LOCK_TIMEOUT).await.map_err(failed)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).map_err(|_| foreign(name))?) {
        match transaction.execute(sqlx::raw_sql(*migration)).await {
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55P03") => {
                transaction.rollback().await.map_err(failed)?;
                return Ok(false);
            }
            done => done.map_err(failed)?,
        };
    }
    if found < known {
        sqlx::query("UPDATE ksync_schema SET version = $1")
            .bind(known)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(true)
}

/// Whose a database is.
enum Whose {
    /// Relays', of this version of their schema.
    Relays(i64),
    /// Nobody's: it is empty.
    Nobodys,
}

async fn whose(connection: &mut PgConnection, name: &str) -> Result<Whose, StartError> {
    let failed = |e: sqlx::Error| StartError::store(name, &error(&e));
    let (ours, others): (bool, bool) = sqlx::query_as(WHOSE).fetch_one(&mut *connection).await.map_err(failed)?;
    if ours {
        let row = sqlx::query_as("SELECT version FROM ksync_schema WHERE application = $1").bind(APPLICATION);
        let row: Option<(i64,)> = row.fetch_optional(connection).await.map_err(|e| match &e {
            // A table of that name with other columns.
            sqlx::Error::Database(d) if d.code().is_some_and(|code| code.starts_with("42")) => foreign(name),
            _ => failed(e),
        })?;
        Ok(Whose::Relays(row.ok_or_else(|| foreign(name))?.0))
    } else if others {
        Err(foreign(name))
    } else {
        Ok(Whose::Nobodys)
    }
}

fn foreign(name: &str) -> StartError {
    let message = format!("{name} holds tables of another program: choose a database for this relay alone");
    StartError::new(Code::StoreCorrupt, message)
}

fn newer(name: &str, found: i64) -> StartError {
    let known = MIGRATIONS.len();
    let message =
        format!("{name} was written by a newer relay (schema {found}, this one knows {known}): update this relay");
    StartError::new(Code::Version, message)
}

/// Whether there is a table of the schema's version, and whether there is anything else in the schema where tables are made.
/// What belongs to an extension is nobody's.
const WHOSE: &str = "\
    SELECT COALESCE(bool_or(c.relname = 'ksync_schema'), false), count(*) > 0 \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')";
