//! What the carrier and an app's calls about files have in common: the engine, the log, the content, and bringing the list of files
//! up to the log.

use std::sync::Arc;

use sync_content::{Content, ContentStore};
use sync_types::content::FileRecord;
use sync_types::{GroupId, decode};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::Depot;
use crate::engine::{Command, Reply, Snapshot, Start};
use crate::store::{FileNote, LogReader};
use crate::{ClientEvent, ReceivedBlob, SyncError};

/// How many records are looked at at once.
const RECORDS: i64 = 256;

/// The way to everything that files need. It keeps no engine running.
#[derive(Clone)]
pub(crate) struct Porter {
    commands: mpsc::WeakSender<Command>,
    pub(super) snapshot: watch::Receiver<Snapshot>,
    events: broadcast::Sender<ClientEvent>,
    pub(super) reader: LogReader,
    pub(super) start: Arc<Start>,
}

impl Porter {
    pub(crate) fn new(
        commands: &mpsc::Sender<Command>,
        snapshot: &watch::Receiver<Snapshot>,
        events: &broadcast::Sender<ClientEvent>,
        reader: LogReader,
        start: &Arc<Start>,
    ) -> Self {
        let (commands, snapshot, events) = (commands.downgrade(), snapshot.clone(), events.clone());
        Self { commands, snapshot, events, reader, start: start.clone() }
    }

    pub(super) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SyncError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.upgrade().ok_or_else(SyncError::closed)?;
        commands.send(command(reply)).await.map_err(|_| SyncError::closed())?;
        // A call that waits keeps no engine running either.
        drop(commands);
        answer.await.map_err(|_| SyncError::closed())?
    }

    /// Whether the engine takes no calls any more.
    pub(super) fn is_closing(&self) -> bool {
        self.commands.upgrade().is_none_or(|commands| commands.is_closed())
    }

    pub(super) fn tell(&self, event: ClientEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    pub(super) fn depot(&self) -> &Arc<Depot> {
        &self.start.depot
    }

    /// The content of this home's files, and the generation that it is of.
    ///
    /// # Errors
    /// As [`Depot::open`].
    pub(super) async fn content(&self) -> Result<(Arc<dyn ContentStore>, u64), SyncError> {
        self.depot().open(self.reader.contents()).await
    }

    pub(super) fn group(&self) -> Option<GroupId> {
        self.snapshot.borrow().group
    }

    /// Notes something durably, unless the group of this generation is gone.
    pub(super) async fn note(&self, generation: u64, notes: Vec<FileNote>) -> Result<(), SyncError> {
        self.ask(|reply| Command::NoteFiles { notes, up_to: None, generation, reply }).await?;
        self.depot().changed();
        Ok(())
    }

    /// Brings the list of files up to what the log tells.
    pub(super) async fn take_in(&self) -> Result<(), SyncError> {
        let _one_at_a_time = self.depot().taking_in.lock().await;
        loop {
            let generation = self.depot().generation();
            let Some(group) = self.group() else { return Ok(()) };
            let records = self.reader.file_records(RECORDS).await?;
            let Some(last) = records.last() else { return Ok(()) };
            let up_to = Some(last.position);
            let notes: Vec<FileNote> = records.iter().filter_map(|record| note(record, group)).collect();
            let events = records.iter().filter_map(|record| match notes.iter().find(|note| is_of(note, record))? {
                FileNote::Listed(id, ..) => Some(ClientEvent::FileListed { id: *id, own: record.own }),
                _ => None,
            });
            let removed = notes.iter().filter_map(|note| match note {
                FileNote::Removed(id) => Some(ClientEvent::FileRemoved { id: *id }),
                _ => None,
            });
            let events: Vec<ClientEvent> = events.chain(removed).collect();
            self.ask(|reply| Command::NoteFiles { notes, up_to, generation, reply }).await?;
            self.depot().changed();
            events.into_iter().for_each(|event| self.tell(event));
        }
    }
}

fn is_of(note: &FileNote, record: &ReceivedBlob) -> bool {
    matches!(note, FileNote::Listed(id, ..) if *id == record.id)
}

/// What a record says, if it is one that this build can do something with. Any device of the group may have made it.
fn note(record: &ReceivedBlob, group: GroupId) -> Option<FileNote> {
    let ignored = |why: &str| {
        tracing::warn!(id = %record.id, device = %record.device, "a file's record is ignored: {why}");
        None
    };
    if record.snapshot {
        return ignored("it is a snapshot");
    }
    match decode::<FileRecord>(&record.data) {
        Ok(FileRecord::Removed(id)) => Some(FileNote::Removed(id)),
        Ok(FileRecord::Put(file)) if file.name().is_none() => ignored("its name is none"),
        Ok(FileRecord::Put(file)) => match Content::of(&file.content) {
            Ok(content) => Some(FileNote::Listed(record.id, content.sealed(), group)),
            Err(error) => ignored(&error.to_string()),
        },
        Err(_) => ignored("it cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::content::{ContentRef, FilePut};
    use sync_types::{BlobId, ContentHash, DeviceId, Opaque, encode};

    fn record(data: Vec<u8>, snapshot: bool) -> ReceivedBlob {
        let (id, device) = (BlobId([1; 16]), DeviceId([2; 16]));
        ReceivedBlob { id, device, channel: String::new(), position: 1, own: false, data, snapshot }
    }

    #[test]
    fn only_sound_records_are_noted() {
        let group = GroupId([3; 32]);
        let put = |name: &str, suite: u8, size: u64| {
            let content = ContentRef { hash: ContentHash([4; 32]), key: [5; 32], suite, size };
            encode(&FileRecord::Put(FilePut { content, name: Opaque(name.into()), modified_ms: 0 }))
        };
        let noted = |data: Vec<u8>| note(&record(data, false), group);
        let listed = noted(put("a", 1, 7)).unwrap();
        assert!(
            matches!(listed, FileNote::Listed(BlobId([1, ..]), content, _) if content.hash == ContentHash([4; 32]))
        );
        let gone = BlobId([9; 16]);
        assert_eq!(noted(encode(&FileRecord::Removed(gone))), Some(FileNote::Removed(gone)));
        for bad in
            [put("", 1, 7), put(&"x".repeat(1025), 1, 7), put("a", 9, 7), put("a", 1, u64::MAX), vec![], vec![7; 9]]
        {
            assert_eq!(noted(bad), None);
        }
        assert_eq!(note(&record(put("a", 1, 7), true), group), None, "no snapshot");
    }
}
