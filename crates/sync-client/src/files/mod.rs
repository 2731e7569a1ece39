//! Files: content of any size that one device puts and the others get. What is said of a file travels in the log, on a channel of
//! its own; its bytes go sealed through the relay's buffer.
//!
//! The list follows from the log (`porter.rs`). A task beside the engine carries content (`carrier.rs`, `transfer.rs`); where it
//! lies is `depot.rs`.

mod carrier;
mod depot;
mod direct;
mod error;
mod large;
mod name;
mod porter;
mod transfer;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sync_content::{Content, ContentError, Progress, SIZE_MAX, sealed_size};
use sync_types::content::{FILES_CHANNEL, FilePut, FileRecord};
use sync_types::{BlobId, Code, DeviceId, Fault, Opaque, Sealed, encode, limits};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub(crate) use carrier::carry;
pub(crate) use depot::Depot;
pub(crate) use direct::Doors;
pub(crate) use large::Unpacked;
pub use name::safe_file_name;
pub(crate) use porter::Porter;

use crate::engine::{Command, Pushed};
use crate::store::{FileNote, FileRow};
use crate::{SyncClient, SyncError};

/// What is carried without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesPolicy {
    /// Up to which size, in bytes, files of other devices are fetched by themselves; larger ones when [`Files::get`] asks for
    /// them. By default 64 MiB.
    pub automatic_up_to: u64,
    /// Whether nothing is fetched or given by itself: for a connection that costs, say. [`Files::get`] works all the same.
    pub paused: bool,
    /// Whether content goes straight from device to device where one reaches the other, by itself or not: members tell each other
    /// their addresses for that. The relays are used all the same, for those who are not there. By default true.
    pub direct: bool,
}

impl Default for FilesPolicy {
    fn default() -> Self {
        Self { automatic_up_to: 64 << 20, paused: false, direct: true }
    }
}

impl FilesPolicy {
    /// Whether this content is fetched by itself.
    fn fetches(&self, content: Sealed) -> bool {
        !self.paused && content.size <= sealed_size(self.automatic_up_to.min(SIZE_MAX))
    }
}

/// A file of the group.
#[derive(Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its id, the same on every device.
    pub id: BlobId,
    /// What its sender calls it. Any character may stand in it: [`safe_file_name`] makes a name for this machine of it.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// Who put it.
    pub device: DeviceId,
    /// Its place in this device's log.
    pub position: u64,
    /// When it was last changed, in milliseconds since the Unix epoch, on its sender's word.
    pub modified_ms: u64,
    /// How far it is.
    pub state: FileState,
    /// For a file that was put here: whether a relay has it, or nobody else is in the group. Of others' files it is true, but for the time in which this
    /// device gives them once more, to those who came later or to another relay.
    pub given: bool,
}

/// Redacts the name.
impl std::fmt::Debug for FileInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileInfo({:?}, {} bytes, {:?})", self.id, self.size, self.state)
    }
}

/// How far a file is on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// All of it is here.
    Here,
    /// It is on its way here.
    Coming {
        /// How many bytes of it are here, about.
        bytes: u64,
    },
    /// It is fetched as soon as that can be done.
    Wanted,
    /// It is fetched when [`Files::get`] asks for it: see [`FilesPolicy`].
    OnDemand,
    /// None of those who were asked for it has it. They are asked again.
    Missing,
    /// It is not what its sender said, and nothing of it was kept.
    Forged,
}

impl FileState {
    /// Its name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Coming { .. } => "coming",
            Self::Wanted => "wanted",
            Self::OnDemand => "on_demand",
            Self::Missing => "missing",
            Self::Forged => "forged",
        }
    }
}

/// The group's files. Made by [`SyncClient::files`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Files {
    client: SyncClient,
}

impl SyncClient {
    /// The group's files.
    pub fn files(&self) -> Files {
        Files { client: self.clone() }
    }
}

impl Files {
    fn porter(&self) -> &Porter {
        &self.client.inner.porter
    }

    fn depot(&self) -> &Arc<Depot> {
        self.porter().depot()
    }

    /// What is carried by itself.
    pub fn policy(&self) -> FilesPolicy {
        self.depot().policy()
    }

    /// Changes that, until the client is closed: [`crate::SyncConfig::files`] is where it begins.
    pub fn set_policy(&self, policy: FilesPolicy) {
        self.depot().set_policy(policy);
    }

    /// Gives a file of this machine to the group: seals what it holds now into this device's store, and tells the others of it.
    /// Durable when this returns, offline too; the content goes to the relay as soon as that can be reached, and from there to
    /// the others. What becomes of the file itself is then of no account. Founds a group if there is none. `name` is what the
    /// others see, by default the last part of the path; at most [`limits::FILE_NAME_BYTES`]. `progress` hears how many bytes
    /// of how many are sealed.
    ///
    /// To cancel, drop the future: then the group hears nothing of it.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that is empty or too long, and for a path that leads to no file;
    /// [`Code::FileChanged`] if something writes to it meanwhile; [`Code::TooLarge`] beyond 16 TiB; [`Code::DiskFull`],
    /// [`Code::Io`]; [`Code::Removed`], [`Code::Closed`].
    pub async fn put(
        &self,
        path: &Path,
        name: Option<&str>,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<FileInfo, SyncError> {
        let found = tokio::fs::metadata(path).await.map_err(|e| SyncError::io("read", path, &e))?;
        if !found.is_file() {
            return Err(SyncError::new(Code::InvalidArgument, format!("{} is no file", path.display())));
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        if name.is_empty() || name.len() > limits::FILE_NAME_BYTES {
            return Err(SyncError::new(Code::InvalidArgument, "a file's name has 1 to 1,024 bytes"));
        }
        let modified = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified_ms = modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));

        let porter = self.porter();
        porter.ask(|reply| Command::Found { reply }).await?;
        let suite = porter.ask(|reply| Command::Status { reply }).await?.suite;
        let suite = suite.ok_or_else(|| SyncError::new(Code::NotInGroup, "this device has just left its group"))?;
        let (store, generation) = self.porter().content().await?;
        let total = found.len();
        let shown: Progress = Arc::new(move |bytes| progress(bytes.min(total), total));
        let content = store.put(path, suite, shown).await.map_err(|error| self.why(error))?;

        let file = FilePut { content: content.named(), name: Opaque(name.into_bytes()), modified_ms };
        let (record, sealed) = (encode(&FileRecord::Put(file)), content.sealed());
        match porter.ask(|reply| Command::PutFile { record, content: sealed, generation, reply }).await {
            Ok(id) => {
                self.depot().nudge.notify_one();
                self.info(id).await
            }
            Err(error) => {
                // Nobody hears of it.
                if let Err(left) = store.forget(sealed.hash).await {
                    tracing::warn!(error = %left, "content that no file has stays in the store");
                }
                Err(error)
            }
        }
    }

    /// The group's files, in the order in which this device heard of them.
    ///
    /// # Errors
    /// [`Code::StoreCorrupt`], [`Code::DiskFull`], [`Code::Io`], [`Code::Closed`].
    pub async fn list(&self) -> Result<Vec<FileInfo>, SyncError> {
        self.porter().take_in().await?;
        let rows = self.porter().reader.files(self.porter().group()).await?;
        Ok(rows.iter().map(|row| self.described(row)).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an id that no file has; else as [`Files::list`].
    pub async fn info(&self, id: BlobId) -> Result<FileInfo, SyncError> {
        Ok(self.described(&self.row(id).await?))
    }

    /// Writes what a file holds to a path, where it is as a whole or not at all; a file that is there is replaced. What is not
    /// here is fetched first, whatever [`FilesPolicy`] says. `patience` is for how long nothing may come. `progress` hears how
    /// many bytes of how many are there.
    ///
    /// To cancel, drop the future: what has come is kept, and goes on from there next time.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an id that no file has; [`Code::ContentForged`] for one that is not what its sender said;
    /// [`Code::DiskFull`], [`Code::Io`]; [`Code::Closed`]. After `patience`, why it did not come: [`Code::ContentMissing`],
    /// [`Code::RelayUnreachable`], [`Code::Timeout`].
    pub async fn get(
        &self,
        id: BlobId,
        to: &Path,
        patience: Duration,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<(), SyncError> {
        self.write_to(id, to, true, patience, progress).await
    }

    /// [`Files::get`], to a path where nothing is: a file that is there stays, also one that comes while this one is fetched.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if something is there; else as [`Files::get`].
    pub async fn get_new(
        &self,
        id: BlobId,
        to: &Path,
        patience: Duration,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<(), SyncError> {
        // Nothing is fetched for naught.
        if tokio::fs::symlink_metadata(to).await.is_ok() {
            return Err(taken());
        }
        self.write_to(id, to, false, patience, progress).await
    }

    async fn write_to(
        &self,
        id: BlobId,
        to: &Path,
        replace: bool,
        patience: Duration,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<(), SyncError> {
        let progress = Arc::new(progress);
        let mut fetched = false;
        loop {
            let row = self.row(id).await?;
            if row.forged {
                return Err(forged());
            }
            if !row.here {
                self.fetch(&row, patience, &*progress).await?;
                fetched = true;
            }
            let (store, generation) = self.porter().content().await?;
            let content = Content::of(&row.record.content)?;
            let (total, shown) = (content.size, progress.clone());
            // What was shown while it came is not shown once more.
            let shown: Progress = Arc::new(move |bytes| {
                if !fetched {
                    shown(bytes, total)
                }
            });
            match store.export(&content, to, replace, shown).await {
                Ok(()) => {
                    progress(total, total);
                    return Ok(());
                }
                Err(ContentError::Dishonest(why)) => {
                    tracing::warn!(%id, device = %row.device, "a file is not what its sender said: {why}");
                    self.porter().note(generation, vec![FileNote::Forged(id)]).await?;
                    self.depot().nudge.notify_one();
                    return Err(forged());
                }
                // The store has lost it, and it is fetched once more.
                Err(ContentError::Incomplete) if !fetched => {
                    self.porter().note(generation, vec![FileNote::Gone(row.content)]).await?;
                }
                Err(ContentError::Io(error)) if !replace && error.kind() == ErrorKind::AlreadyExists => {
                    return Err(taken());
                }
                Err(error) => return Err(self.why(error)),
            }
        }
    }

    /// Takes a file off the list, on every device, and forgets its content here. Durable when this returns. What somebody has
    /// written to a path of theirs stays.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an id that no file has; [`Code::DiskFull`], [`Code::Io`], [`Code::Removed`],
    /// [`Code::Closed`].
    pub async fn remove(&self, id: BlobId) -> Result<(), SyncError> {
        self.row(id).await?;
        let (channel, blobs) = (FILES_CHANNEL.to_owned(), vec![Pushed::Inline(encode(&FileRecord::Removed(id)))]);
        self.porter().ask(|reply| Command::Push { channel, blobs, generation: None, reply }).await?;
        self.porter().take_in().await?;
        self.depot().nudge.notify_one();
        Ok(())
    }

    /// Waits until a relay has the content of a file that was put here, so that the other devices get it also when this one is
    /// off; at once if nobody else is in the group. `patience` is for how long nothing may move. `progress` hears how many bytes
    /// of how many have gone.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an id that no file has; [`Code::Quota`], [`Code::ContentUnavailable`] and what else the relay
    /// says against it that does not pass by itself; after `patience` why it did not go: [`Code::RelayUnreachable`],
    /// [`Code::Timeout`]; [`Code::Closed`]. It goes on all the same.
    pub async fn wait_given(
        &self,
        id: BlobId,
        patience: Duration,
        progress: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<(), SyncError> {
        let mut watch = self.depot().watch();
        let row = self.row(id).await?;
        // Before what nobody waits for: of very many files the larger ones would else go last, and be given up meanwhile.
        let _demand = self.depot().demand(row.content);
        let given = |row: &FileRow| row.given || self.porter().snapshot.borrow().alone;
        self.until(&row, patience, &mut watch, &progress, &given).await
    }

    /// Waits until all of a file is here.
    async fn fetch(
        &self,
        row: &FileRow,
        patience: Duration,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), SyncError> {
        let mut watch = self.depot().watch();
        let _demand = self.depot().demand(row.content);
        let size = row.record.content.size;
        let open = |done: u64, total: u64| progress(opened(done, total, size), size);
        self.until(row, patience, &mut watch, &open, &|row| row.here).await
    }

    /// Waits until something is done with a file's content, as long as it moves.
    async fn until(
        &self,
        file: &FileRow,
        patience: Duration,
        watch: &mut watch::Receiver<u64>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        done: &(dyn Fn(&FileRow) -> bool + Send + Sync),
    ) -> Result<(), SyncError> {
        let content = file.content;
        let mut snapshot = self.porter().snapshot.clone();
        let (mut deadline, mut moved) = (Instant::now() + patience, None);
        loop {
            watch.borrow_and_update();
            let now = snapshot.borrow_and_update().clone();
            if now.closed {
                return Err(SyncError::closed());
            }
            let row = self.row(file.id).await?;
            if row.forged {
                return Err(forged());
            }
            if done(&row) {
                return Ok(());
            }
            let known = self.depot().known(content);
            if let Some(bytes) = known.moving.filter(|bytes| moved != Some(*bytes)) {
                (deadline, moved) = (Instant::now() + patience, Some(bytes));
                progress(bytes, content.size);
            }
            // What a person or the app has to do something about does not pass by waiting.
            if let Some(error) = known.failed.as_ref().filter(|error| error.code.fault() != Fault::Relay) {
                return Err(error.clone());
            }
            let changed = async {
                tokio::select! {
                    changed = watch.changed() => changed.is_ok(),
                    changed = snapshot.changed() => changed.is_ok(),
                }
            };
            match timeout_at(deadline, changed).await {
                Ok(true) => {}
                Ok(false) => return Err(SyncError::closed()),
                Err(_) => {
                    let offline = now.trouble.filter(|_| !now.online);
                    let why = offline.or(known.failed);
                    return Err(why.unwrap_or_else(|| SyncError::timeout("carrying the file")));
                }
            }
        }
    }

    async fn row(&self, id: BlobId) -> Result<FileRow, SyncError> {
        self.porter().take_in().await?;
        let row = self.porter().reader.file(id, self.porter().group()).await?;
        row.ok_or_else(|| SyncError::new(Code::InvalidArgument, format!("no file has the id {id}")))
    }

    fn described(&self, row: &FileRow) -> FileInfo {
        let known = self.depot().known(row.content);
        let size = row.record.content.size;
        let missing = known.failed.as_ref().is_some_and(|error| error.code == Code::ContentMissing);
        let state = match known.moving {
            _ if row.forged => FileState::Forged,
            _ if row.here => FileState::Here,
            Some(bytes) => FileState::Coming { bytes: opened(bytes, row.content.size, size) },
            None if missing => FileState::Missing,
            None if self.depot().wants(row.content, false) => FileState::Wanted,
            None => FileState::OnDemand,
        };
        FileInfo {
            id: row.id,
            name: row.record.name().unwrap_or_default().to_owned(),
            size,
            device: row.device,
            position: row.position,
            modified_ms: row.record.modified_ms,
            state,
            given: row.given || self.porter().snapshot.borrow().alone,
        }
    }

    /// What went wrong with content; that the client is closed, if that is why.
    fn why(&self, error: ContentError) -> SyncError {
        if self.client.is_closed() { SyncError::closed() } else { error.into() }
    }
}

/// How much of a file so many of its sealed bytes are, about.
fn opened(done: u64, total: u64, size: u64) -> u64 {
    let part = u128::from(done) * u128::from(size) / u128::from(total.max(1));
    u64::try_from(part).unwrap_or(u64::MAX).min(size)
}

fn forged() -> SyncError {
    SyncError::new(Code::ContentForged, "the file is not what its sender said")
}

fn taken() -> SyncError {
    SyncError::new(Code::InvalidArgument, "there is a file of that name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::ContentHash;

    #[test]
    fn small_files_are_fetched_by_themselves_and_large_ones_are_not() {
        let content = |size: u64| Sealed { hash: ContentHash([1; 32]), size: sealed_size(size) };
        let policy = FilesPolicy { automatic_up_to: 1000, ..FilesPolicy::default() };
        assert!(policy.fetches(content(0)) && policy.fetches(content(1000)) && !policy.fetches(content(2000)));
        assert!(!FilesPolicy { paused: true, ..policy }.fetches(content(1)));
        assert!(FilesPolicy { automatic_up_to: u64::MAX, ..FilesPolicy::default() }.fetches(content(SIZE_MAX)));
        assert!(FilesPolicy::default().fetches(content(64 << 20)));
    }

    #[test]
    fn progress_is_shown_in_bytes_of_the_file() {
        assert_eq!((opened(0, 100, 50), opened(50, 100, 50), opened(100, 100, 50)), (0, 25, 50));
        assert_eq!((opened(0, 0, 0), opened(u64::MAX, 1, 7)), (0, 7));
    }
}
