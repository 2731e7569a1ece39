//! Blobs that are too large for an envelope, as an app pushes and reads them: their bytes go into the content store before the log
//! tells of them, and come from there when they are handed out.

use std::sync::Arc;

use sync_content::{Content, ContentError, ContentStore};
use sync_core::vault::backup::Entry;
use sync_types::content::{ContentRef, LARGE_CHANNEL, LargeBlob};
use sync_types::{BlobId, Code, ContentHash, Opaque, Sealed, Suite, decode, encode, limits};

use super::Porter;
use crate::client::Inner;
use crate::engine::{Command, Pushed, Reply};
use crate::store::{FileNote, Page, Wanted};
use crate::{ClientEvent, ReceivedBlob, SnapshotReceipt, SyncError};

/// What is sealed and not told of yet.
struct Draft {
    store: Arc<dyn ContentStore>,
    generation: u64,
    suite: Suite,
    sealed: Vec<ContentHash>,
}

/// What became of reading content.
enum Bytes {
    Here(Vec<u8>),
    /// They are fetched once more.
    Gone,
    Forged,
}

impl Porter {
    /// Seals those of these blobs that are too large for an envelope, and has the engine put them all into the log, by a command
    /// of this generation. On an error nothing of them stays, nor if what it gave says that the log has none of them.
    pub(crate) async fn put_large<T>(
        &self,
        channel: &str,
        blobs: Vec<Vec<u8>>,
        command: impl FnOnce(Vec<Pushed>, u64, Reply<T>) -> Command,
        keeps: impl FnOnce(&T) -> bool,
    ) -> Result<T, SyncError> {
        self.ask(|reply| Command::Found { reply }).await?;
        let suite = self.ask(|reply| Command::Status { reply }).await?.suite;
        let suite = suite.ok_or_else(|| SyncError::new(Code::NotInGroup, "this device has just left its group"))?;
        let (store, generation) = self.content().await?;
        let mut draft = Draft { store, generation, suite, sealed: vec![] };
        let put = async {
            let mut pushed = Vec::with_capacity(blobs.len());
            for bytes in blobs {
                pushed.push(self.seal(&mut draft, channel, bytes).await?);
            }
            self.ask(|reply| command(pushed, draft.generation, reply)).await
        };
        let put = put.await;
        match &put {
            Ok(done) if keeps(done) => self.depot().nudge.notify_one(),
            _ => draft.forget().await,
        }
        put
    }

    async fn seal(&self, draft: &mut Draft, channel: &str, bytes: Vec<u8>) -> Result<Pushed, SyncError> {
        if bytes.len() <= limits::BLOB_BYTES {
            return Ok(Pushed::Inline(bytes));
        }
        let sealed = draft.store.put_bytes(bytes, draft.suite).await;
        let content = sealed.map_err(|error| if self.is_closing() { SyncError::closed() } else { error.into() })?;
        draft.sealed.push(content.hash);
        let record = LargeBlob { channel: Opaque(channel.as_bytes().to_vec()), content: content.named() };
        Ok(Pushed::Large(encode(&record)))
    }

    /// What a large blob holds.
    async fn bytes_of(&self, blob: &ReceivedBlob, named: &ContentRef) -> Result<Bytes, SyncError> {
        let (store, generation) = self.content().await?;
        let content = Content::of(named)?;
        let (note, bytes) = match store.bytes(&content).await {
            Ok(bytes) => return Ok(Bytes::Here(bytes)),
            Err(ContentError::Incomplete) => (FileNote::Gone(content.sealed()), Bytes::Gone),
            Err(ContentError::Dishonest(why)) => {
                tracing::warn!(id = %blob.id, device = %blob.device, "a large blob is not what its sender said: {why}");
                (FileNote::Forged(blob.id), Bytes::Forged)
            }
            Err(_) if self.is_closing() => return Err(SyncError::closed()),
            Err(error) => return Err(error.into()),
        };
        self.note(generation, vec![note]).await?;
        self.depot().nudge.notify_one();
        Ok(bytes)
    }
}

/// The large blobs of a backup on their way in.
#[derive(Default)]
pub(crate) struct Unpacked {
    coming: Option<(Entry, Content, Vec<u8>)>,
    /// Those whose bytes are in the content store.
    pub(crate) large: Vec<(BlobId, Sealed)>,
    /// Those of these whose bytes were not there before.
    new: Vec<Sealed>,
}

impl Unpacked {
    /// A blob comes, or the end. Gives those that are whole now: the one before it, and it itself, if it is no large one.
    ///
    /// # Errors
    /// [`Code::BackupDamaged`]; [`Code::DiskFull`], [`Code::Io`].
    pub(crate) async fn next(&mut self, porter: &Porter, entry: Option<Entry>) -> Result<Vec<Entry>, SyncError> {
        let mut whole = Vec::new();
        if let Some((before, content, bytes)) = self.coming.take()
            && !bytes.is_empty()
        {
            if bytes.len() as u64 != content.size {
                return Err(damaged());
            }
            let sealed = content.sealed();
            if !porter.reader.has_content(sealed).await? {
                let (store, _) = porter.content().await?;
                match store.put_again(bytes, &content).await {
                    Err(ContentError::Dishonest(_)) => return Err(damaged()),
                    put => put?,
                }
                self.new.push(sealed);
            }
            self.large.push((before.id, sealed));
            whole.push(before);
        }
        let Some(entry) = entry else { return Ok(whole) };
        if entry.channel.0 != LARGE_CHANNEL.as_bytes() {
            whole.push(entry);
        } else if let Some(content) = large_of(&entry) {
            // Without its bytes it stays out: whoever reads its channel would wait for them, and perhaps nobody has them.
            self.coming = Some((entry, content, Vec::new()));
        }
        Ok(whole)
    }

    /// More of the bytes of the large blob that comes.
    ///
    /// # Errors
    /// [`Code::BackupDamaged`].
    pub(crate) fn part(&mut self, part: &[u8]) -> Result<(), SyncError> {
        let (_, content, bytes) = self.coming.as_mut().ok_or_else(damaged)?;
        if (bytes.len() + part.len()) as u64 > content.size {
            return Err(damaged());
        }
        bytes.extend_from_slice(part);
        Ok(())
    }

    /// Content that came with the backup and that no blob has is forgotten.
    pub(crate) async fn clear_up(self, porter: &Porter) {
        let cleared = async {
            for sealed in self.new {
                if !porter.reader.has_content(sealed).await? {
                    porter.content().await?.0.forget(sealed.hash).await?;
                }
            }
            porter.depot().nudge.notify_one();
            Ok::<_, SyncError>(())
        };
        if let Err(error) = cleared.await {
            tracing::warn!(code = %error.code, "content that no blob has stays in the store: {}", error.message);
        }
    }
}

fn damaged() -> SyncError {
    SyncError::new(Code::BackupDamaged, "the bytes of a large blob are not those that it stands for")
}

/// What a backup's blob stands for, if it is a large one that an app's device would have sent.
fn large_of(entry: &Entry) -> Option<Content> {
    let record: LargeBlob = decode(&entry.data).ok()?;
    record.channel().ok()?;
    Content::of(&record.content).ok()
}

impl Porter {
    /// The bytes of a large blob, as far as they are here.
    pub(crate) async fn bytes_for_backup(&self, entry: &Entry) -> Result<Option<Vec<u8>>, SyncError> {
        if entry.channel.0 != LARGE_CHANNEL.as_bytes() {
            return Ok(None);
        }
        let Some(content) = large_of(entry) else { return Ok(None) };
        match self.content().await?.0.bytes(&content).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ContentError::Incomplete | ContentError::Dishonest(_)) => {
                tracing::warn!(id = %entry.id, "the bytes of a large blob are not here, and not in the backup");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Draft {
    /// Nobody hears of it.
    async fn forget(self) {
        for hash in self.sealed {
            if let Err(left) = self.store.forget(hash).await {
                tracing::warn!(error = %left, "content that no blob has stays in the store");
            }
        }
    }
}

impl Inner {
    /// What is wanted beyond a position, with its bytes, in the order of positions: at most so many blobs, and 8 MiB or one blob.
    pub(crate) async fn read(&self, wanted: &Wanted, after: u64, limit: usize) -> Result<Vec<ReceivedBlob>, SyncError> {
        loop {
            let Page { mut blobs, large } = self.reader.page(wanted, after, limit).await?;
            let Some((content, last)) = large.and_then(|content| Some((content, blobs.pop()?))) else {
                return Ok(blobs);
            };
            match self.porter.bytes_of(&last, &content).await {
                Ok(Bytes::Here(data)) => blobs.push(ReceivedBlob { data, ..last }),
                Ok(Bytes::Gone) => {}
                Ok(Bytes::Forged) => {
                    self.porter.tell(ClientEvent::FileFailed {
                        id: last.id,
                        code: Code::ContentForged,
                        retry_after_ms: 0,
                    });
                    if blobs.is_empty() {
                        continue;
                    }
                }
                // What is before it can be had.
                Err(error) if blobs.is_empty() => return Err(error),
                Err(_) => {}
            }
            return Ok(blobs);
        }
    }

    /// Waits for a large blob no more.
    pub(crate) async fn skip(&self, id: BlobId) -> Result<(), SyncError> {
        let generation = self.porter.depot().generation();
        if !self.reader.is_awaited(id).await? {
            return Err(SyncError::new(Code::InvalidArgument, "no blob that is waited for has this id"));
        }
        self.porter.note(generation, vec![FileNote::Skipped(id)]).await?;
        self.porter.depot().nudge.notify_one();
        Ok(())
    }

    /// Puts blobs into the outbox, all of them or none.
    pub(crate) async fn push(&self, channel: &str, blobs: Vec<Vec<u8>>) -> Result<Vec<crate::Receipt>, SyncError> {
        let channel = channel.to_owned();
        if blobs.iter().all(|blob| blob.len() <= limits::BLOB_BYTES) {
            let blobs = blobs.into_iter().map(Pushed::Inline).collect();
            return self.ask(|reply| Command::Push { channel, blobs, generation: None, reply }).await;
        }
        let of = channel.clone();
        let push = |blobs, generation, reply| Command::Push { channel, blobs, generation: Some(generation), reply };
        self.porter.put_large(&of, blobs, push, |_| true).await
    }

    /// Puts a snapshot in the place of what it stands for.
    pub(crate) async fn snapshot(
        &self,
        channel: &str,
        data: Vec<u8>,
        up_to: u64,
    ) -> Result<SnapshotReceipt, SyncError> {
        let channel = channel.to_owned();
        if data.len() <= limits::BLOB_BYTES {
            let data = Pushed::Inline(data);
            return self.ask(|reply| Command::Snapshot { channel, data, up_to, generation: None, reply }).await;
        }
        let of = channel.clone();
        let snapshot = |blobs: Vec<Pushed>, generation, reply| {
            let data = blobs.into_iter().next().unwrap_or(Pushed::Inline(vec![]));
            Command::Snapshot { channel, data, up_to, generation: Some(generation), reply }
        };
        self.porter.put_large(&of, vec![data], snapshot, |receipt| receipt.replaced > 0).await
    }
}

#[cfg(test)]
#[cfg(feature = "embedded-relay")]
mod tests {
    #![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

    use std::sync::Arc;

    use sync_relay::{Relay, RelayConfig};
    use sync_types::decode;
    use tokio::time::timeout;

    use super::*;
    use crate::testing::{SOON, pair};
    use crate::{Receipt, StartAt, SyncClient, SyncConfig};

    /// The push of a device that names another key than its content has.
    async fn lie(client: &SyncClient, change: impl Fn(&mut LargeBlob)) -> Receipt {
        let push = |pushed: Vec<Pushed>, generation, reply| {
            let lies = pushed.into_iter().map(|pushed| match pushed {
                Pushed::Large(record) => {
                    let mut record: LargeBlob = decode(&record).unwrap();
                    change(&mut record);
                    Pushed::Large(encode(&record))
                }
                inline => inline,
            });
            let (channel, blobs) = ("notes".to_owned(), lies.collect());
            Command::Push { channel, blobs, generation: Some(generation), reply }
        };
        let bytes = vec![vec![7; limits::BLOB_BYTES + 1]];
        client.inner.porter.put_large("notes", bytes, push, |_| true).await.unwrap().remove(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_forged_is_told_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("relay");
        std::fs::create_dir(&data).unwrap();
        let config = RelayConfig { http: None, listen: None, ..RelayConfig::on_loopback(&data) };
        let relay = Arc::new(Relay::start(config).await.unwrap());
        let at =
            |name: &str| SyncConfig::default().local_relay(&relay).home(folder.path().join(name)).device_name(name);
        let (a, b) = (SyncClient::new(at("a")).await.unwrap(), SyncClient::new(at("b")).await.unwrap());
        pair(&a, &b).await;
        let mut events = b.events();
        let mut subscription = b.subscribe("app", None, StartAt::Position).unwrap();
        let lies = [
            lie(&a, |record| record.content.key = [9; 32]).await,
            lie(&a, |record| record.content.key = [8; 32]).await,
        ];
        a.push_to("notes", "behind").await.unwrap();
        let next = timeout(SOON, subscription.next()).await.unwrap().unwrap();
        assert_eq!(next.data, b"behind");
        for lie in lies {
            let told = async {
                loop {
                    if let ClientEvent::FileFailed { id, code, .. } = events.next().await.unwrap() {
                        assert_eq!((id, code), (lie.id, Code::ContentForged));
                        break;
                    }
                }
            };
            timeout(SOON, told).await.unwrap();
        }
    }
}
