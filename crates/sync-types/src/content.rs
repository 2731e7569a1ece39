//! Large content as it is named: by its hash to whoever keeps it, and with its key among the group's members.
//!
//! Files are told of on a channel of the engine's own, [`FILES_CHANNEL`]: each blob there is one [`FileRecord`]. So they have the
//! order, the receipts and the history of blobs.
//!
//! A blob that is too large for an envelope is told of on [`LARGE_CHANNEL`]: a blob there is one [`LargeBlob`], which stands for a
//! blob of the same id.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use zeroize::Zeroize;

use crate::codec::counted;
use crate::frame::Attach;
use crate::{BlobId, ContentHash, Opaque, Suite, limits};

/// How the names of channels begin that an app cannot use.
pub const RESERVED_CHANNELS: &str = "0ksync/";

/// The channel on which files are told of.
pub const FILES_CHANNEL: &str = "0ksync/files";

/// The channel of presence on which devices say where they hand content to each other themselves, each time a [`Door`].
pub const DIRECT_CHANNEL: &str = "0ksync/direct";

/// The channel on which blobs travel that are too large for an envelope.
pub const LARGE_CHANNEL: &str = "0ksync/large";

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

/// Where a device hands content to other members itself. Only members learn of it, and the key is of no other use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Door {
    /// The public key of the QUIC endpoint there, an Ed25519 key.
    pub endpoint: [u8; 32],
    /// At which places of the network it may be, at most [`limits::DOOR_PLACES`].
    #[mls_codec(with = "places")]
    pub places: Vec<Place>,
    /// The URL of the iroh relay that carries packets there; empty: none does.
    pub relay: Opaque,
    /// What whoever hears of it is to do.
    pub hearing: Hearing,
}

/// A UDP port in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Place {
    /// An IPv6 address; one of IPv4 as IPv4-mapped (RFC 4291 §2.5.5.2).
    pub address: [u8; 16],
    /// The port.
    pub port: u16,
}

/// What whoever hears of a [`Door`] is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Hearing {
    /// To remember it.
    Note = 1u8,
    /// To remember it, and to tell of its own.
    Answer = 2u8,
}

impl From<SocketAddr> for Place {
    fn from(place: SocketAddr) -> Self {
        let address = match place.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { address: address.octets(), port: place.port() }
    }
}

impl From<Place> for SocketAddr {
    fn from(place: Place) -> Self {
        Self::new(Ipv6Addr::from(place.address).to_canonical(), place.port)
    }
}

/// "This blob stands for a blob of that channel with these bytes."
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct LargeBlob {
    /// The channel that the app pushed to: UTF-8, at most [`limits::CHANNEL_BYTES`], and none of the engine's own.
    pub channel: Opaque,
    /// The app's bytes: more than [`limits::BLOB_BYTES`], and at most [`limits::LARGE_BLOB_BYTES`].
    pub content: ContentRef,
}

/// Redacts the channel.
impl fmt::Debug for LargeBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LargeBlob({:?})", self.content)
    }
}

impl LargeBlob {
    /// The app's channel, if a device of ours could have said this.
    ///
    /// # Errors
    /// Why not.
    pub fn channel(&self) -> Result<&str, &'static str> {
        let channel = std::str::from_utf8(&self.channel).map_err(|_| "its channel is no text")?;
        if channel.len() > limits::CHANNEL_BYTES || channel.starts_with(RESERVED_CHANNELS) {
            return Err("its channel is no app's");
        }
        if Suite::from_wire(self.content.suite).is_err() {
            return Err("its cipher is unknown");
        }
        let large = limits::BLOB_BYTES as u64 + 1..=limits::LARGE_BLOB_BYTES as u64;
        if large.contains(&self.content.size) { Ok(channel) } else { Err("its size is not that of a large blob") }
    }
}

counted!(had, ContentHash, limits::CONTENT_HAD);
counted!(places, Place, limits::DOOR_PLACES);

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

    #[test]
    fn doors_read_back_and_are_bounded() {
        let places: Vec<SocketAddr> = ["192.0.2.7:9", "[2001:db8::1]:65535"].map(|place| place.parse().unwrap()).into();
        let at = |count: usize| Door {
            endpoint: [1; 32],
            places: places.iter().copied().cycle().take(count).map(Place::from).collect(),
            relay: Opaque(b"https://relay.example/".to_vec()),
            hearing: Hearing::Answer,
        };
        let door = decode::<Door>(&encode(&at(2))).unwrap();
        assert_eq!(door, at(2));
        assert_eq!(door.places.into_iter().map(SocketAddr::from).collect::<Vec<_>>(), places);
        assert!(encode(&at(limits::DOOR_PLACES)).len() <= limits::PRESENCE_BYTES);
        assert!(decode::<Door>(&encode(&at(limits::DOOR_PLACES + 1))).is_err());
    }

    #[test]
    fn a_large_blob_is_of_an_apps_channel_and_of_a_large_blobs_size() {
        let large = |channel: &str, suite: u8, size: usize| {
            let content = ContentRef { hash: ContentHash([1; 32]), key: [2; 32], suite, size: size as u64 };
            LargeBlob { channel: Opaque(channel.into()), content }
        };
        let (least, most) = (limits::BLOB_BYTES + 1, limits::LARGE_BLOB_BYTES);
        for size in [least, most] {
            let said = large("notes", 1, size);
            assert_eq!(decode::<LargeBlob>(&encode(&said)).unwrap().channel(), Ok("notes"));
            assert!(!format!("{said:?}").contains("notes"));
        }
        assert_eq!(large("", 2, least).channel(), Ok(""));
        assert_eq!(large(&"c".repeat(256), 1, least).channel().map(str::len), Ok(256));
        for bad in [
            large("0ksync/files", 1, least),
            large(&"c".repeat(257), 1, least),
            large("notes", 9, least),
            large("notes", 1, least - 1),
            large("notes", 1, most + 1),
            LargeBlob { channel: Opaque(vec![0xff]), ..large("", 1, least) },
        ] {
            bad.channel().unwrap_err();
        }
    }
}
