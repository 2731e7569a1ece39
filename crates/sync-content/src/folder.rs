//! A store in a folder, over iroh-blobs' own.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bao_tree::io::{BaoContentItem, Parent};
use bao_tree::{BaoTree, blake3};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use iroh_blobs::api::TempTag;
use iroh_blobs::api::blobs::{AddProgressItem, BlobStatus};
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::IROH_BLOCK_SIZE;
use iroh_blobs::store::fs::{FsStore, options};
use iroh_blobs::{Hash, HashAndFormat};
use sync_types::{ContentHash, Sealed, Suite};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};
use tokio_util::io::StreamReader;

use crate::seal::{Chunks, SEALED_CHUNK, sealed_size};
use crate::store::{Content, ContentStore, Held, Incoming, Opened, Outgoing, Progress, StoreFuture};
use crate::{ContentError, ContentKey, exchange, stream as sealing};

mod sealed_bytes;

/// Where iroh-blobs keeps what is whole or coming, and what is being put.
const DATA: &str = "data";
const TEMP: &str = "temp";
/// iroh-blobs' database.
const DATABASE: &str = "blobs.db";
/// Says that the database was made to its end.
const MADE: &str = "made";
/// Longer than a sweep takes that began before.
const SWEEPS: Duration = Duration::from_secs(10);
/// More than from one of a file system's times to the next.
const TICK: Duration = Duration::from_millis(50);
/// How often a file is waited for that is written to all the time.
const SETTLES: usize = 40;
/// How much is read at once where nothing is opened.
const READ: u64 = 1 << 20;

/// How a folder is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often the space of what was forgotten is given back.
    pub sweep: Duration,
    /// How many bytes have to stay free on the folder's disk.
    pub spare: u64,
    /// For how long the other side may send or take nothing.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { sweep: Duration::from_secs(60), spare: 64 << 20, patience: Duration::from_secs(30) }
    }
}

/// A store in a folder. One process uses it at a time.
#[derive(Debug)]
pub struct FolderStore {
    store: FsStore,
    folder: PathBuf,
    options: Options,
    /// Held by each put that is under way: what others have left may be cleared when none is.
    puts: RwLock<()>,
    /// What the disk has altered, until the sweep has taken it.
    damaged: Mutex<HashSet<ContentHash>>,
}

impl FolderStore {
    /// Opens the store in this folder, which is made if there is none. What was being written when a process died is gone;
    /// what was verified before that is there.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub async fn open(folder: &Path, options: Options) -> Result<Self, ContentError> {
        let mut chosen = options::Options::new(folder);
        chosen.gc = Some(GcConfig { interval: options.sweep, add_protected: None });
        let (made, database) = (folder.join(MADE), folder.join(DATABASE));
        let mut opened = FsStore::load_with_opts(database.clone(), chosen.clone()).await;
        if opened.is_err() && !tokio::fs::try_exists(&made).await? {
            // Whoever died while the database was being made has left what opens for nobody, and nothing that was kept.
            remove_if_there(&database).await?;
            opened = FsStore::load_with_opts(database, chosen).await;
        }
        let store = opened.map_err(ContentError::store)?;
        tokio::fs::write(&made, b"").await?;
        let this = Self { store, folder: folder.to_owned(), options, puts: RwLock::new(()), damaged: Mutex::default() };
        this.clear_drafts().await;
        Ok(this)
    }

    /// Deletes what puts have left that did not come to their end, if none is under way.
    async fn clear_drafts(&self) {
        let Ok(_none) = self.puts.try_write() else { return };
        let Ok(mut drafts) = tokio::fs::read_dir(self.folder.join(TEMP)).await else { return };
        while let Ok(Some(draft)) = drafts.next_entry().await {
            if let Err(error) = tokio::fs::remove_file(draft.path()).await {
                tracing::warn!(%error, "a draft of content stays where it is");
            }
        }
    }

    async fn put_whole<T>(&self, put: impl Future<Output = Result<T, ContentError>>) -> Result<T, ContentError> {
        let put = {
            let _under_way = self.puts.read().await;
            put.await
        };
        if put.is_err() {
            self.clear_drafts().await;
        }
        put
    }

    /// Returns once what is here of this content is on the disk, and the store's word for it behind that: a store that is
    /// surer than the disk would never ask for it again.
    async fn flush(&self, hash: ContentHash) -> Result<(), ContentError> {
        let data = self.folder.join(DATA);
        let files: Vec<PathBuf> = ["data", "obao4"].iter().map(|end| data.join(format!("{hash}.{end}"))).collect();
        let flushed = tokio::task::spawn_blocking(move || {
            let mut any = false;
            for file in files {
                // Windows flushes what is open for writing alone.
                match std::fs::OpenOptions::new().write(true).open(&file) {
                    Ok(file) => file.sync_all()?,
                    // Small content is within the database.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                any = true;
            }
            #[cfg(unix)]
            if any {
                std::fs::File::open(&data)?.sync_all()?;
            }
            Ok(())
        });
        flushed.await.map_err(ContentError::store)??;
        self.store.sync_db().await.map_err(ContentError::store)
    }

    async fn put_file(&self, path: &Path, suite: Suite, progress: Progress) -> Result<Content, ContentError> {
        let file = tokio::fs::File::open(path).await?;
        let before = settled(&file).await?;
        let size = before.len();
        let source = tokio::io::BufReader::with_capacity(1 << 20, file);
        let (content, tag) = self.add(source, size, ContentKey::generate()?, suite, progress).await?;
        // Bytes that were exchanged behind the reader's back leave the length as it was, and the times not.
        let after = tokio::fs::metadata(path).await?;
        if after.len() != size || times(&after)? != times(&before)? {
            return Err(ContentError::Changed);
        }
        self.keep(content.hash, tag).await?;
        Ok(content)
    }

    async fn put_memory(&self, bytes: Vec<u8>, suite: Suite) -> Result<Content, ContentError> {
        let size = bytes.len() as u64;
        let (source, key) = (io::Cursor::new(bytes), ContentKey::generate()?);
        let (content, tag) = self.add(source, size, key, suite, Arc::new(|_| {})).await?;
        self.keep(content.hash, tag).await?;
        Ok(content)
    }

    /// The same key seals the same bytes alike.
    async fn put_same(&self, bytes: Vec<u8>, content: &Content) -> Result<Content, ContentError> {
        let (source, key) = (io::Cursor::new(bytes), ContentKey::from_bytes(*content.key.as_bytes()));
        let (sealed, tag) = self.add(source, content.size, key, content.suite, Arc::new(|_| {})).await?;
        if sealed.hash != content.hash {
            // It has no tag, and is swept away.
            return Err(ContentError::Dishonest("these are other bytes"));
        }
        self.keep(sealed.hash, tag).await?;
        Ok(sealed)
    }

    /// Seals what the source gives into the store, where it stays for as long as the tag lives.
    async fn add<R>(
        &self,
        source: R,
        size: u64,
        key: ContentKey,
        suite: Suite,
        progress: Progress,
    ) -> Result<(Content, TempTag), ContentError>
    where
        R: AsyncRead + Unpin + Send + Sync + 'static,
    {
        self.want(&self.folder, sealed_size(size))?;
        let chunks = Arc::new(Chunks::new(&key, suite, size)?);
        // A source that fails ends here: iroh-blobs panics where one fails at the moment at which it tells how far it is.
        let failed = Arc::new(Mutex::new(None));
        let noted = failed.clone();
        let stream = sealing::sealed(source, chunks).scan((), move |(), sealed| {
            let kept = match sealed {
                Ok(bytes) => Some(Ok(bytes)),
                Err(error) => {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            };
            std::future::ready(kept)
        });
        let tag = self.import(stream, progress).await?;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // What was taken of it has no tag, and is swept away.
            return Err(carried(error));
        }
        Ok((Content { hash: ContentHash(*tag.hash().as_bytes()), key, suite, size }, tag))
    }

    /// Takes sealed bytes into the store as they come; a source must end where it fails.
    async fn import(
        &self,
        source: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
        progress: Progress,
    ) -> Result<TempTag, ContentError> {
        let mut events = self.store.blobs().add_stream(source).await.stream().await;
        loop {
            match events.next().await {
                Some(AddProgressItem::CopyProgress(bytes)) => progress(bytes),
                Some(AddProgressItem::Done(tag)) => return Ok(tag),
                Some(AddProgressItem::Error(error)) => {
                    // If it is for want of room, that is what is said.
                    self.want(&self.folder, 0)?;
                    return Err(error.into());
                }
                Some(_) => {}
                None => return Err(ContentError::store("it ended")),
            }
        }
    }

    /// Has content stay that was imported.
    async fn keep(&self, hash: ContentHash, tag: TempTag) -> Result<(), ContentError> {
        self.tag(hash).await?;
        self.flush(hash).await?;
        // A sweep that began before the tag was there looks at this one at its end.
        let sweep = self.options.sweep.min(SWEEPS);
        tokio::spawn(async move {
            sleep(sweep).await;
            drop(tag);
        });
        Ok(())
    }

    /// Whether there is room for so many bytes in a folder.
    fn want(&self, folder: &Path, wanted: u64) -> Result<(), ContentError> {
        let free = fs4::available_space(folder)?;
        if wanted.saturating_add(self.options.spare) > free {
            return Err(ContentError::NoRoom { folder: folder.to_owned(), wanted, free });
        }
        Ok(())
    }

    async fn tag(&self, hash: ContentHash) -> Result<(), ContentError> {
        let raw = HashAndFormat::raw(Hash::from_bytes(hash.0));
        self.store.tags().set(hash.0, raw).await.map_err(ContentError::store)
    }

    async fn look(&self, content: Sealed) -> Result<Held, ContentError> {
        let hash = Hash::from_bytes(content.hash.0);
        match self.store.blobs().status(hash).await.map_err(ContentError::store)? {
            BlobStatus::NotFound => {
                self.damaged().remove(&content.hash);
                Ok(Held::Nothing)
            }
            BlobStatus::Complete { .. } if self.damaged().contains(&content.hash) => Ok(Held::Nothing),
            BlobStatus::Complete { size } if size == content.size => Ok(Held::All),
            BlobStatus::Complete { .. } => Err(ContentError::Dishonest("it is not as long as was said")),
            BlobStatus::Partial { .. } => {
                let held = self.store.blobs().observe(hash).await.map_err(ContentError::store)?;
                Ok(Held::Part(held.total_bytes()))
            }
        }
    }

    async fn take_from(
        &self,
        content: Sealed,
        from: Incoming,
        to: Outgoing,
        progress: Progress,
    ) -> Result<u64, ContentError> {
        self.cleared(content).await?;
        // First, so that what is here, and what has come when the other side is gone, is not swept away.
        self.tag(content.hash).await?;
        let held = match self.look(content).await? {
            // The tag has to be as durable as whoever asks takes it for.
            Held::All => return self.flush(content.hash).await.map(|()| 0),
            Held::Part(bytes) => bytes,
            Held::Nothing => 0,
        };
        self.want(&self.folder, content.size.saturating_sub(held))?;
        if held == 0 {
            self.announce(content).await?;
        }
        let came = exchange::take(&self.store, content, (from, to), self.options.patience, &progress).await;
        if matches!(came, Err(ContentError::Io(_))) {
            // If it is for want of room, that is what is said.
            self.want(&self.folder, 0)?;
        }
        let came = came?;
        match self.look(content).await? {
            Held::All => self.flush(content.hash).await.map(|()| came),
            _ => Err(ContentError::Source("it sent less than all".into())),
        }
    }

    /// Has the store know, durably, of content that is about to come. It would hear of it with the first bytes and write that down
    /// a second later; a process that is killed before that would have all of them come again, though they are on the disk.
    async fn announce(&self, content: Sealed) -> Result<(), ContentError> {
        // Of one group there is no hash below the root.
        let root = BaoTree::new(content.size, IROH_BLOCK_SIZE).pre_order_nodes_iter().next();
        let of_several = content.size > IROH_BLOCK_SIZE.bytes() as u64;
        let (Some(size), Some(node)) = (NonZeroU64::new(content.size), root.filter(|_| of_several)) else {
            return Ok(());
        };
        let hash = Hash::from_bytes(content.hash.0);
        let import = self.store.blobs().import_bao(hash, size, 1).await.map_err(ContentError::store)?;
        // The one thing that can be said without a byte of it: the hashes below the root, which the right ones take the place of
        // before anything is read by them.
        let unknown = || Hash::from_bytes([0; 32]).into();
        let below = BaoContentItem::Parent(Parent { node, pair: (unknown(), unknown()) });
        import.tx.send(below).await.map_err(ContentError::store)?;
        drop(import.tx);
        import.rx.await.map_err(ContentError::store)?.map_err(ContentError::store)?;
        self.store.sync_db().await.map_err(ContentError::store)
    }

    async fn export_to(
        &self,
        content: &Content,
        file: &Path,
        replace: bool,
        progress: Progress,
    ) -> Result<(), ContentError> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.want(folder, content.size)?;
        if self.look(content.sealed()).await? != Held::All {
            return Err(ContentError::Incomplete);
        }
        // In the same folder, so that it is moved there as a whole; and gone again if it does not come to that.
        let mut builder = tempfile::Builder::new();
        // As any file that a person makes here.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let draft = builder.prefix(".ksync-").tempfile_in(folder)?;
        let mut out = tokio::fs::File::from_std(draft.reopen()?);
        let mut opened = Box::pin(self.opened(content)?);
        let mut written = 0;
        while let Some(bytes) = self.next_of(content, &mut opened).await? {
            out.write_all(&bytes).await?;
            written += bytes.len() as u64;
            progress(written);
        }
        out.flush().await?;
        out.sync_all().await?;
        // Whether something is there is seen in the same step, not before it.
        let moved = if replace { draft.persist(file) } else { draft.persist_noclobber(file) };
        moved.map_err(|error| error.error)?;
        Ok(())
    }

    async fn all_bytes(&self, content: &Content) -> Result<Vec<u8>, ContentError> {
        if self.look(content.sealed()).await? != Held::All {
            return Err(ContentError::Incomplete);
        }
        let mut all = Vec::with_capacity(usize::try_from(content.size).map_err(|_| ContentError::TooLarge)?);
        let mut opened = Box::pin(self.opened(content)?);
        while let Some(bytes) = self.next_of(content, &mut opened).await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    fn damaged(&self) -> MutexGuard<'_, HashSet<ContentHash>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes next of content that is all here. Where that does not open it is not what its sender said, unless the disk has
    /// altered it: then it counts as not here any more, and goes, so that it can come once more.
    async fn next_of(
        &self,
        content: &Content,
        opened: &mut (impl Stream<Item = io::Result<Bytes>> + Send + Unpin),
    ) -> Result<Option<Bytes>, ContentError> {
        let error = match opened.try_next().await.map_err(carried) {
            Err(error @ (ContentError::Dishonest(_) | ContentError::Io(_))) => error,
            next => return next,
        };
        if self.is_as_written(content.sealed()).await {
            return Err(error);
        }
        tracing::warn!(hash = %content.hash, %error, "the disk has altered content, which has to come once more");
        self.damaged().insert(content.hash);
        self.store.tags().delete(content.hash.0).await.map_err(ContentError::store)?;
        Err(ContentError::Incomplete)
    }

    /// Whether the disk has the bytes that the hash is of.
    async fn is_as_written(&self, content: Sealed) -> bool {
        let (hash, mut hasher) = (Hash::from_bytes(content.hash.0), blake3::Hasher::new());
        for start in (0..content.size).step_by(READ as usize) {
            let range = start..content.size.min(start + READ);
            match self.store.blobs().export_ranges(hash, range).concatenate().await {
                Ok(bytes) => drop(hasher.update(&bytes)),
                Err(_) => return false,
            }
        }
        hasher.finalize().as_bytes() == &content.hash.0
    }

    /// Waits until what the disk has altered of this content is gone.
    async fn cleared(&self, content: Sealed) -> Result<(), ContentError> {
        let patience = Instant::now() + self.options.sweep + SWEEPS;
        while self.damaged().contains(&content.hash) {
            self.look(content).await?;
            if Instant::now() > patience {
                return Err(ContentError::store("what the disk has altered is not gone yet"));
            }
            sleep(TICK).await;
        }
        Ok(())
    }

    /// The content, chunk by chunk.
    fn opened(&self, content: &Content) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, ContentError> {
        let chunks = Chunks::new(&content.key, content.suite, content.size)?;
        let (blobs, hash) = (self.store.blobs().clone(), Hash::from_bytes(content.hash.0));
        let opened = stream::try_unfold((blobs, chunks, 0), move |(blobs, chunks, number)| async move {
            if number == chunks.count() {
                return Ok(None);
            }
            let start = u64::from(number) * SEALED_CHUNK as u64;
            let range = start..start + chunks.sealed_len(number) as u64;
            let sealed = blobs.export_ranges(hash, range).concatenate().await;
            let mut chunk = sealed.map_err(|error| io::Error::other(format!("{error:?}")))?;
            chunks.open(number, &mut chunk).map_err(io::Error::other)?;
            Ok(Some((Bytes::from(chunk), (blobs, chunks, number + 1))))
        });
        Ok(opened)
    }
}

/// What there is to say of a file before it is read. One that was written to a moment ago is waited for: a clock that counts in
/// a few milliseconds would not tell that from what is written while it is read.
async fn settled(file: &tokio::fs::File) -> Result<Metadata, ContentError> {
    for _ in 0..SETTLES {
        let found = file.metadata().await?;
        // What lies in the future is nobody's clock.
        match times(&found)?.iter().filter_map(|time| time.elapsed().ok()).min() {
            Some(age) if age < TICK => sleep(TICK - age).await,
            _ => return Ok(found),
        }
    }
    Err(ContentError::Changed)
}

/// When a file was last written to. Programs that copy and unpack set that back to what they were told; when they did so, the
/// system notes for itself where it is a Unix.
fn times(found: &Metadata) -> io::Result<[SystemTime; 2]> {
    let modified = found.modified()?;
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        let (seconds, nanos) = (u64::try_from(found.ctime()), u32::try_from(found.ctime_nsec()));
        let since = Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default());
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    };
    #[cfg(not(unix))]
    let changed = modified;
    Ok([modified, changed])
}

async fn remove_if_there(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Why content was not sealed or did not open, behind the error of the stream that carried it: this crate's own, or the disk's.
fn carried(error: io::Error) -> ContentError {
    error.downcast().unwrap_or_else(ContentError::Io)
}

impl ContentStore for FolderStore {
    fn put<'a>(&'a self, file: &'a Path, suite: Suite, progress: Progress) -> StoreFuture<'a, Content> {
        Box::pin(self.put_whole(self.put_file(file, suite, progress)))
    }

    fn put_bytes(&self, bytes: Vec<u8>, suite: Suite) -> StoreFuture<'_, Content> {
        Box::pin(self.put_whole(self.put_memory(bytes, suite)))
    }

    fn put_again<'a>(&'a self, bytes: Vec<u8>, content: &'a Content) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.put_whole(self.put_same(bytes, content)).await.map(drop) })
    }

    fn held(&self, content: Sealed) -> StoreFuture<'_, Held> {
        Box::pin(self.look(content))
    }

    fn export<'a>(
        &'a self,
        content: &'a Content,
        file: &'a Path,
        replace: bool,
        progress: Progress,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.export_to(content, file, replace, progress))
    }

    fn read(&self, content: &Content) -> Result<Opened, ContentError> {
        Ok(Box::new(StreamReader::new(Box::pin(self.opened(content)?))))
    }

    fn bytes<'a>(&'a self, content: &'a Content) -> StoreFuture<'a, Vec<u8>> {
        Box::pin(self.all_bytes(content))
    }

    fn take(&self, content: Sealed, from: Incoming, to: Outgoing, progress: Progress) -> StoreFuture<'_, u64> {
        Box::pin(self.take_from(content, from, to, progress))
    }

    fn give(&self, content: Sealed, from: Incoming, to: Outgoing) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.look(content).await? == Held::Nothing {
                return Err(ContentError::Incomplete);
            }
            exchange::give(&self.store, content, (from, to), self.options.patience).await
        })
    }

    fn forget(&self, hash: ContentHash) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.store.tags().delete(hash.0).await.map(drop).map_err(ContentError::store) })
    }

    fn hashes(&self) -> StoreFuture<'_, Vec<ContentHash>> {
        Box::pin(async {
            let tags = self.store.tags().list().await.map_err(ContentError::store)?;
            let hashes = tags.map_ok(|tag| ContentHash(*tag.hash.as_bytes()));
            hashes.try_collect().await.map_err(ContentError::store)
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { self.store.shutdown().await.map_err(ContentError::store) })
    }
}
