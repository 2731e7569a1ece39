//! Large content as it is named: by its hash to whoever keeps it, and with its key among the group's members.
//!
//! Files are told of on a channel of the engine's own, [`FILES_CHANNEL`]: each blob there is one [`FileRecord`]. So they have the
//! order, the receipts and the history of blobs.

use std::fmt;

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use zeroize::Zeroize;

use crate::codec::counted;
use crate::frame::Attach;
use crate::{BlobId, ContentHash, Opaque, limits};

/// How the names of channels begin that an app cannot use.
pub const RESERVED_CHANNELS: &str = "0ksync/";

/// The channel on which files are told of.
pub const FILES_CHANNEL: &str = "0ksync/files";

/// Content as whoever may not read it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Sealed {
    /// Its hash.
    pub hash: ContentHash,
    /// How many bytes it has when it is sealed; at most [`limits::CONTENT_BYTES`].
    pub size: u64,
}

/// A member's request about content.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Content {
    /// Proves membership as for a session; [`Attach::stored`] counts for nothing here.
    pub attach: Attach,
    /// What is asked.
    pub ask: ContentAsk,
}

/// What a member asks about content.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum ContentAsk {
    /// "I have this: take what you lack of it." Answered by [`ContentAnswer::Wanted`] or [`ContentAnswer::Held`].
    Give(Sealed) = 1u8,
    /// "Hand me what I lack of this." Answered by [`ContentAnswer::Given`].
    Take(Sealed) = 2u8,
    /// "I have all of these", at most [`limits::CONTENT_HAD`]: the relay need not keep them for this device. Answered by
    /// [`ContentAnswer::Noted`].
    Have(#[mls_codec(with = "had")] Vec<ContentHash>) = 3u8,
}

/// What a relay does about content. Where the stream goes on, the side that lacks something asks for it in the protocol of
/// iroh-blobs, and the other one answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum ContentAnswer {
    /// The relay asks for what it lacks. Whether it has all of it then, it says to whoever gives it once more.
    Wanted = 1u8,
    /// The relay has all of it on its disk. Nothing follows.
    Held = 2u8,
    /// The relay answers what it is asked for.
    Given = 3u8,
    /// It is on the relay's disk that this device has them. Nothing follows.
    Noted = 4u8,
}

/// Content as the group's members know it. Its key is erased when it is dropped, and redacted by `Debug`.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct ContentRef {
    /// The hash of what is sealed.
    pub hash: ContentHash,
    /// What opens it.
    pub key: [u8; 32],
    /// By which cipher: a [`crate::Suite`] as a number.
    pub suite: u8,
    /// How many bytes it has when it is open.
    pub size: u64,
}

impl Drop for ContentRef {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for ContentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentRef({:?}, {} bytes)", self.hash, self.size)
    }
}

/// What a device says of files.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum FileRecord {
    /// "Here is a file." Its id is that of the blob that says so.
    Put(FilePut) = 1u8,
    /// "This file is not wanted any more", by its id.
    Removed(BlobId) = 2u8,
}

/// A file.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct FilePut {
    /// Its bytes.
    pub content: ContentRef,
    /// What people call it: UTF-8, 1 to [`limits::FILE_NAME_BYTES`]. Any character may stand in it; whoever makes a path of it
    /// has to see to that.
    pub name: Opaque,
    /// When it was last changed, in milliseconds since the Unix epoch, on the word of who put it.
    pub modified_ms: u64,
}

/// Redacts the name.
impl fmt::Debug for FilePut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilePut({:?})", self.content)
    }
}

impl FilePut {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        let fits = (1..=limits::FILE_NAME_BYTES).contains(&self.name.len());
        std::str::from_utf8(&self.name).ok().filter(|_| fits)
    }
}

counted!(had, ContentHash, limits::CONTENT_HAD);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn records_read_back_and_keep_their_secrets_from_logs() {
        let content = ContentRef { hash: ContentHash([1; 32]), key: [0xab; 32], suite: 1, size: 7 };
        let file = FilePut { content, name: Opaque("naïve.txt".into()), modified_ms: 5 };
        let record = FileRecord::Put(file.clone());
        assert_eq!(decode::<FileRecord>(&encode(&record)).unwrap(), record);
        let shown = format!("{record:?}");
        assert!(!shown.contains("171") && !shown.contains("abab") && !shown.contains("txt"), "{shown}");
        let removed = FileRecord::Removed(BlobId([3; 16]));
        assert_eq!(decode::<FileRecord>(&encode(&removed)).unwrap(), removed);
        let named = |name: Vec<u8>| FilePut { name: Opaque(name), ..file.clone() };
        for bad in [vec![], vec![b'x'; limits::FILE_NAME_BYTES + 1], vec![0xff]] {
            assert_eq!(named(bad).name(), None);
        }
        assert_eq!(file.name(), Some("naïve.txt"));
    }
}
