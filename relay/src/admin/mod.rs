//! What a host does to a relay from beside it, while it runs or while it does not: looking at what it holds, backups,
//! deleting a group, finding out what is wrong.

use std::fmt::Display;
use std::path::Path;

use sync_types::{Code, GroupId};

use crate::StartError;
use crate::config::StoreConfig;
use crate::server::folder;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError, Write};

mod backup;
mod check;
mod doctor;
mod look;
mod probe;
mod socket;

pub use backup::{Backup, Restored, backup, restore};
pub use check::check;
pub use doctor::doctor;
pub use look::look;
pub use socket::{Answer, Order, ask};

pub(crate) use socket::Socket;

/// How much something matters that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing, or wrong soon.
    Notable,
    /// Something does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, as one word.
    pub about: &'static str,
    /// What was found, as a sentence, with what to do about it.
    pub text: String,
}

impl Finding {
    fn new(level: Level, about: &'static str, text: impl Into<String>) -> Self {
        Self { level, about, text: text.into() }
    }

    /// A finding of what keeps a relay from starting.
    pub fn of(about: &'static str, error: &StartError) -> Self {
        Self::new(Level::Wrong, about, format!("{} ({})", error.message, error.code))
    }
}

/// Whether a relay runs on the folder.
pub fn is_running(folder: &Path) -> bool {
    folder::is_busy(folder)
}

/// Deletes everything of a group: by the relay that runs on the folder, or if none does, on its database.
///
/// # Errors
/// `UNKNOWN_GROUP` if there is no such group; what [`ask`] and the store's `open` list. Then nothing was deleted.
pub async fn purge(data: &Path, store: &StoreConfig, group: GroupId) -> Result<(), StartError> {
    let lock = match folder::Lock::take(data) {
        Ok(lock) => lock,
        Err(e) if e.code == Code::HomeBusy => return ask(data, &Order::Purge(group)).await.map(drop),
        Err(e) => return Err(e),
    };
    let purged = match store {
        StoreConfig::Sqlite { path, .. } => {
            let opened = SqliteStore::open(path, None).await?;
            let deleted = delete(&opened, group, &path.display()).await;
            let closed = opened.close().await.map_err(|e| StartError::store(path.display(), &e));
            deleted.and(closed)
        }
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres { url } => {
            let opened = PostgresStore::open(url.as_str()).await?;
            let deleted = delete(&opened, group, &"the database").await;
            opened.close().await;
            deleted
        }
        StoreConfig::Memory => Err(StartError::new(Code::UnknownGroup, "the relay knows no such group")),
    };
    drop(lock);
    purged
}

async fn delete(store: &dyn Store, group: GroupId, name: &dyn Display) -> Result<(), StartError> {
    loop {
        // One that cannot be read can be deleted.
        if store.load(group).await == Ok(None) {
            return Err(StartError::new(Code::UnknownGroup, "the relay knows no such group"));
        }
        match store.commit(vec![Write::DeleteGroup(group)]).await {
            // A relay elsewhere has written to it meanwhile.
            Err(StoreError::Stale(_)) => {}
            done => return done.map_err(|e| StartError::store(name, &e)),
        }
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", of(1_024)),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", of(1_048_576)),
        _ => format!("{:.1} GiB", of(1_073_741_824)),
    }
}

/// As much of a group's id as tells groups apart and names none: what logs, pages and lists show.
pub fn short(group: &GroupId) -> String {
    data_encoding::HEXLOWER.encode(&group.0[..4])
}
