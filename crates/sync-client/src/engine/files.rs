//! What the engine does for files: their records go into the outbox together with the word that their content is here, and whoever
//! carries content is told where to, and has this device's proof.

use sync_core::Device;
use sync_types::body::Blob;
use sync_types::content::FILES_CHANNEL;
use sync_types::frame::Attach;
use sync_types::{BlobId, Code, RelayAddress, Sealed};

use super::group::not_in_group;
use super::turn::{Work, leaving};
use super::{Command, Crypto, Engine, setup};
use crate::SyncError;
use crate::clock::random;
use crate::store::{FileNote, Turn};

/// The record of a file on its way.
pub(super) struct FilePush {
    id: BlobId,
    record: Vec<u8>,
    content: Sealed,
}

impl Work {
    /// Stores the records of files, and that their content is here.
    pub(super) async fn put_into(&mut self, turn: &mut Turn<'_>, device: &mut Device<Crypto>) -> Result<(), SyncError> {
        if self.puts.is_empty() {
            return Ok(());
        }
        for FilePush { id, record, content } in std::mem::take(&mut self.puts) {
            turn.push(device.id(), vec![Blob { id, channel: FILES_CHANNEL.to_owned(), data: record, snapshot: false }]);
            turn.note_files(vec![FileNote::Put(id, content)]).await?;
        }
        device.handle_pushed();
        Ok(())
    }
}

impl Engine {
    pub(super) async fn file_command(&mut self, command: Command, work: &mut Work, now: u64) {
        let current = self.start.depot.generation();
        match command {
            Command::PutFile { record, content, generation, reply } => {
                // Content that was sealed for a group that is gone since has gone with it.
                let ready = match generation == current {
                    true if self.leaving.is_some() => Err(leaving()),
                    true => self.ensure_device(now).await,
                    false => Err(SyncError::new(Code::NotInGroup, "this device has left its group since")),
                };
                match ready {
                    Ok(()) => {
                        let id = BlobId(random());
                        work.puts.push(FilePush { id, record, content });
                        work.answer(reply, id);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Command::NoteFiles { notes, up_to, generation, reply } => {
                if generation == current {
                    work.files.extend(notes);
                    let consumer = |up_to| (FILES_CHANNEL.to_owned(), Some(FILES_CHANNEL.to_owned()), up_to);
                    work.advances.extend(up_to.map(consumer));
                }
                work.answer(reply, ());
            }
            Command::Carried { files, reply } => {
                self.carried(files);
                let _ = reply.send(Ok(()));
            }
            Command::ContentRelays { reply } => drop(reply.send(self.content_relays().await)),
            Command::AttachForContent { exporter, reply } => drop(reply.send(self.attach_for_content(&exporter))),
            Command::IsMemberAt { attach, exporter, reply } => {
                let is_member = self.device.as_ref().is_some_and(|device| device.is_member_at(&attach, &exporter));
                let _ = reply.send(Ok(is_member));
            }
            // Of nothing else.
            other => other.refuse(SyncError::new(Code::Internal, "this is no command about files")),
        }
    }

    /// The relays that this device is attached to, in the group's order, as it uses them.
    async fn content_relays(&mut self) -> Result<Vec<RelayAddress>, SyncError> {
        let device = self.device.as_ref().ok_or_else(not_in_group)?;
        let attached = device.relays();
        let is_attached = |id| attached.iter().any(|relay| relay.relay == id && relay.attached);
        let addresses = device.relay_addresses().into_iter().filter(|(id, _)| is_attached(*id));
        let addresses: Vec<RelayAddress> = addresses.filter_map(|(_, address)| address).collect();
        let mut reachable = Vec::with_capacity(addresses.len());
        for address in addresses {
            reachable.push(self.reachable(address).await?);
        }
        Ok(reachable)
    }

    fn attach_for_content(&self, exporter: &[u8; 32]) -> Result<Attach, SyncError> {
        let device = self.device.as_ref().ok_or_else(not_in_group)?;
        device.attach_for_content(exporter).map_err(setup::failed)
    }
}
