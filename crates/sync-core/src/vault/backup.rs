//! The backup file: a key under a passphrase, then records in chunks by STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, 2015), so
//! that a file of any size is written and read in little memory, and no chunk can be left out, repeated or put elsewhere.
//!
//! head (127) ‖ nonce prefix (19) ‖ chunks ‖ end mark (8). All chunks but the last are full.

use std::fmt;

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize, VarInt};
use sync_rules::defence::{Defence, stands};
use sync_types::settings::HistoryPolicy;
use sync_types::{BlobId, DeviceId, LABEL_PREFIX, Opaque, decode, encode, limits};
use zeroize::Zeroizing;

use super::{Kind, LockedKey, VaultError, VaultKey};

/// How many bytes of a file say how its key is locked.
pub const HEAD_BYTES: usize = 8 + 1 + 16 + (1 + 4 + 1 + 16) + 24 + 48 + 8;
/// The random part of the chunks' nonces; their number and a last byte that marks the last one follow.
pub const PREFIX_BYTES: usize = 19;
const CHUNK: usize = limits::BACKUP_CHUNK_BYTES;
const SEALED_CHUNK: usize = CHUNK + 16;
/// What stands behind the last chunk. Nothing vouches for it: it tells a file that was cut off from one that was changed.
const END: &[u8; 8] = b"0ksbkend";
/// The longest record: a blob with the longest channel.
const RECORD_BYTES: usize = limits::BLOB_BYTES + limits::CHANNEL_BYTES + 128;

/// The longest relay address, token and all.
pub const RELAY_BYTES: usize = 2 * limits::ADDRESS_BYTES;

/// What a backup holds, in order: settings, then blobs, each large one with its bytes behind it. Kinds: 1 settings, 2 a blob, 3 a
/// part of a large blob's bytes.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Record {
    /// The first record, and no other.
    Settings(Settings) = 1u8,
    /// A blob of the log. A large one is the record by which it travels.
    Blob(Entry) = 2u8,
    /// More of the bytes that the large blob before it stands for: 1 to [`limits::BLOB_BYTES`].
    Part(Part) = 3u8,
}

/// A part of a large blob's bytes.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Part(pub Opaque);

/// Shows no content.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} bytes)", self.0.len())
    }
}

/// What a device that starts anew takes over, and what a person is told.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Settings {
    /// When the backup was begun, in milliseconds since the Unix epoch, by the device's clock.
    pub made_at: u64,
    /// The app's id; at most [`limits::APP_ID_BYTES`].
    pub app_id: Opaque,
    /// What the device was called; at most [`limits::NAME_BYTES`].
    pub name: Opaque,
    /// The relay that it was set to, with its token: it may be needed to make a group there.
    pub relay: Opaque,
    /// What the group handed to newcomers.
    pub history: HistoryPolicy,
    /// How many blobs follow.
    pub blobs: u64,
}

/// Shows neither names nor a token.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings(made at {}, {} blobs)", self.made_at, self.blobs)
    }
}

/// A blob of the log.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Entry {
    /// Its id.
    pub id: BlobId,
    /// Who pushed it first.
    pub origin: DeviceId,
    /// In whose envelope it came.
    pub sender: DeviceId,
    /// The number of that envelope; 0 if it was in none.
    pub seq: u64,
    /// Whether it is a snapshot.
    pub snapshot: bool,
    /// Its channel, UTF-8; at most [`limits::CHANNEL_BYTES`].
    pub channel: Opaque,
    /// The app's bytes: 1 to [`limits::BLOB_BYTES`].
    pub data: Opaque,
}

/// Shows neither channel nor content.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:?}, {} bytes)", self.id, self.data.len())
    }
}

impl Record {
    fn is_bounded(&self) -> bool {
        let text = |bytes: &[u8], most: usize| bytes.len() <= most && std::str::from_utf8(bytes).is_ok();
        match self {
            Self::Settings(settings) => {
                text(&settings.app_id, limits::APP_ID_BYTES)
                    && text(&settings.name, limits::NAME_BYTES)
                    && text(&settings.relay, RELAY_BYTES)
            }
            Self::Blob(entry) => {
                text(&entry.channel, limits::CHANNEL_BYTES)
                    && (1..=limits::BLOB_BYTES).contains(&entry.data.len())
                    && entry.seq < limits::NUMBER
            }
            Self::Part(part) => (1..=limits::BLOB_BYTES).contains(&part.0.len()),
        }
    }
}

/// Reads a file's first [`HEAD_BYTES`], or all of it if that is less.
///
/// # Errors
/// As [`LockedKey::parse`]; [`VaultError::Truncated`] for the beginning of a backup.
pub fn parse_head(bytes: &[u8]) -> Result<LockedKey, VaultError> {
    let magic = Kind::Backup.magic();
    let begun = bytes.len().min(magic.len());
    if (1..HEAD_BYTES).contains(&bytes.len()) && bytes[..begun] == magic[..begun] {
        return Err(VaultError::Truncated);
    }
    LockedKey::parse(Kind::Backup, bytes)
}

/// The chunks of one file.
struct Chunks {
    stream: StreamBE32<XChaCha20Poly1305>,
    number: u32,
}

impl Chunks {
    fn new(key: &VaultKey, prefix: &[u8; PREFIX_BYTES]) -> Self {
        let key = key.derive(&format!("{LABEL_PREFIX}backup stream"));
        let cipher = XChaCha20Poly1305::new((&*key).into());
        Self { stream: StreamBE32::from_aead(cipher, prefix.into()), number: 0 }
    }

    /// The place of the next chunk. A file of all numbers would have 256 TiB.
    fn next(&mut self, last: bool) -> Option<(u32, bool)> {
        let number = self.number;
        self.number = number.checked_add(1)?;
        // For the control of an attack: chunks that are good in any place.
        Some(if stands(Defence::BackupOrder) { (number, last) } else { (0, false) })
    }

    fn seal(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let (number, last) = self.next(last).expect("no backup is as large as 256 TiB");
        self.stream.encrypt(number, last, plain).expect("a chunk is far below the cipher's limit")
    }

    fn open(&mut self, sealed: &[u8], last: bool) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (number, last) = self.next(last).ok_or(DAMAGED)?;
        self.stream.decrypt(number, last, sealed).map(Zeroizing::new).map_err(|_| DAMAGED)
    }
}

const DAMAGED: VaultError = VaultError::Damaged(Kind::Backup, "the backup is damaged");

/// Writes a backup.
pub struct Writer {
    chunks: Chunks,
    plain: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// Begins a file: gives its first bytes. `head` locks `key`, a random one for this file alone; `prefix` is random.
    pub fn begin(head: &LockedKey, key: &VaultKey, prefix: [u8; PREFIX_BYTES]) -> (Self, Vec<u8>) {
        let first = [&head.to_bytes()[..], &prefix].concat();
        let plain = Zeroizing::new(Vec::with_capacity(CHUNK + RECORD_BYTES));
        (Self { chunks: Chunks::new(key, &prefix), plain }, first)
    }

    /// Adds a record; gives what is to be written now.
    pub fn put(&mut self, record: &Record) -> Vec<u8> {
        let record = Zeroizing::new(encode(record));
        self.plain.extend(Zeroizing::new(encode(&Opaque(record.to_vec()))).iter());
        let mut out = Vec::new();
        // A full chunk that may be the last one waits.
        while self.plain.len() > CHUNK {
            out.extend(self.chunks.seal(&self.plain[..CHUNK], false));
            self.plain.drain(..CHUNK);
        }
        out
    }

    /// Ends the file; gives its last bytes.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = self.chunks.seal(&self.plain, true);
        out.extend(END);
        out
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(…)")
    }
}

/// Reads a backup in pieces of any size. What it gives before [`Reader::finish`] has said yes may be a part of a file that was
/// cut off, so that nobody acts on it before.
pub struct Reader {
    chunks: Chunks,
    sealed: Vec<u8>,
    records: Records,
}

impl Reader {
    /// For what stands behind the head, the prefix first taken off.
    pub fn new(key: &VaultKey, prefix: &[u8; PREFIX_BYTES]) -> Self {
        Self { chunks: Chunks::new(key, prefix), sealed: vec![], records: Records::default() }
    }

    /// Takes the next piece of the file; gives the records that are whole now.
    ///
    /// # Errors
    /// [`VaultError::Damaged`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Record>, VaultError> {
        self.sealed.extend_from_slice(piece);
        let (mut at, mut records) = (0, Vec::new());
        // Whatever may be the last chunk waits, with the mark behind it.
        while self.sealed.len() - at > SEALED_CHUNK + END.len() {
            let plain = self.chunks.open(&self.sealed[at..at + SEALED_CHUNK], false)?;
            records.extend(self.records.feed(&plain)?);
            at += SEALED_CHUNK;
        }
        self.sealed.drain(..at);
        Ok(records)
    }

    /// Ends the file; gives the last records.
    ///
    /// # Errors
    /// [`VaultError::Truncated`], [`VaultError::Damaged`].
    pub fn finish(mut self) -> Result<Vec<Record>, VaultError> {
        // No longer than one chunk, since all before it were taken.
        let last = self.sealed.strip_suffix(END).ok_or(VaultError::Truncated)?;
        let plain = self.chunks.open(last, true)?;
        let records = self.records.feed(&plain)?;
        self.records.finish()?;
        Ok(records)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(…)")
    }
}

/// Reads what is in the chunks, in pieces of any size.
#[derive(Default)]
pub struct Records {
    plain: Zeroizing<Vec<u8>>,
    /// How many blobs the settings have said, and how many came.
    counted: Option<(u64, u64)>,
}

impl Records {
    /// Takes the next piece; gives the records that are whole now.
    ///
    /// # Errors
    /// [`VaultError::Damaged`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Record>, VaultError> {
        self.plain.extend_from_slice(piece);
        let (mut records, mut rest) = (Vec::new(), self.plain.as_slice());
        while let Some((record, behind)) = split_record(rest)? {
            let record: Record = decode(record).map_err(|_| DAMAGED)?;
            let in_order = match (&record, &mut self.counted) {
                (Record::Settings(settings), counted @ None) => {
                    *counted = Some((settings.blobs, 0));
                    true
                }
                (Record::Blob(_), Some((said, came))) => {
                    *came += 1;
                    came <= said
                }
                (Record::Part(_), Some((_, 1..))) => true,
                _ => false,
            };
            if !in_order || !record.is_bounded() {
                return Err(DAMAGED);
            }
            records.push(record);
            rest = behind;
        }
        let taken = self.plain.len() - rest.len();
        self.plain.drain(..taken);
        Ok(records)
    }

    /// Whether all of them have come, and nothing else.
    ///
    /// # Errors
    /// [`VaultError::Damaged`].
    pub fn finish(self) -> Result<(), VaultError> {
        let complete = self.counted.is_some_and(|(said, came)| said == came);
        if complete && self.plain.is_empty() { Ok(()) } else { Err(DAMAGED) }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({:?})", self.counted)
    }
}

/// A record's bytes and what stands behind it.
type FirstRecord<'a> = (&'a [u8], &'a [u8]);

/// The first record; `None` if it is not whole yet.
fn split_record(bytes: &[u8]) -> Result<Option<FirstRecord<'_>>, VaultError> {
    let mut rest = bytes;
    let length = match VarInt::mls_decode(&mut rest) {
        Ok(length) => u32::from(length) as usize,
        Err(mls_rs_codec::Error::UnexpectedEOF) => return Ok(None),
        Err(_) => return Err(DAMAGED),
    };
    if length > RECORD_BYTES {
        return Err(DAMAGED);
    }
    Ok(rest.split_at_checked(length))
}

#[cfg(test)]
mod tests {
    use super::super::{Kdf, Lock, Passphrase, Unlock};
    use super::*;

    const KEY: VaultKey = VaultKey::new([3; 32]);

    fn entry(n: u32, length: usize) -> Record {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let device = DeviceId([1; 16]);
        Record::Blob(Entry {
            id: BlobId(id),
            origin: device,
            sender: device,
            seq: 1,
            snapshot: false,
            channel: Opaque(b"c".to_vec()),
            data: Opaque(vec![7; length]),
        })
    }

    fn settings(blobs: u64) -> Record {
        let text = |text: &str| Opaque(text.into());
        let (app_id, name, relay) = (text("a"), text("n"), text("embedded"));
        Record::Settings(Settings { made_at: 1, app_id, name, relay, history: HistoryPolicy::All, blobs })
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let passphrase = Passphrase::new("correct horse").unwrap();
        let lock = Lock::Passphrase(Kdf::cheapest([5; 16]));
        let with = Unlock::Passphrase(&passphrase);
        let head = LockedKey::lock(Kind::Backup, [1; 16], lock, with, [2; 24], &KEY).unwrap();
        let (mut writer, mut file) = Writer::begin(&head, &KEY, [9; PREFIX_BYTES]);
        assert_eq!(file.len(), HEAD_BYTES + PREFIX_BYTES);
        for record in records {
            file.extend(writer.put(record));
        }
        file.extend(writer.finish());
        file
    }

    fn read(file: &[u8], piece: usize) -> Result<Vec<Record>, VaultError> {
        let (head, rest) = file.split_at(HEAD_BYTES.min(file.len()));
        parse_head(head)?;
        let (prefix, rest) = rest.split_first_chunk().ok_or(VaultError::Truncated)?;
        let mut reader = Reader::new(&KEY, prefix);
        let mut records = Vec::new();
        for piece in rest.chunks(piece) {
            records.extend(reader.feed(piece)?);
        }
        records.extend(reader.finish()?);
        Ok(records)
    }

    /// How long a blob's record is around its bytes, in a file.
    const AROUND: usize = 4 + 1 + 16 + 16 + 16 + 8 + 1 + 2 + 4;

    #[test]
    fn what_was_written_is_read_in_pieces_of_any_size() {
        let many: Vec<Record> = (0..3000).map(|n| entry(n, 1 + n as usize % 90)).collect();
        let large = (0..5).map(|n| entry(n, [1, limits::BLOB_BYTES, 65_536, 65_520, 100_000][n as usize])).collect();
        for blobs in [vec![], vec![entry(1, 1)], many, large] {
            let records = [&[settings(blobs.len() as u64)], &blobs[..]].concat();
            let file = written(&records);
            for piece in [1_000, SEALED_CHUNK, 1 << 20] {
                assert_eq!(read(&file, piece), Ok(records.clone()), "{} blobs, {piece}", blobs.len());
            }
        }
    }

    #[test]
    fn parts_follow_a_blob_and_are_no_blobs() {
        let part = |length: usize| Record::Part(Part(Opaque(vec![7; length])));
        let records = [settings(2), entry(1, 9), part(1), part(limits::BLOB_BYTES), entry(2, 9)];
        assert_eq!(read(&written(&records), 7_000), Ok(records.to_vec()));
        for bad in [vec![settings(0), part(1)], vec![part(1), settings(0)], vec![settings(1), entry(1, 9), part(0)]] {
            assert_eq!(read(&written(&bad), 7_000), Err(DAMAGED));
        }
        let too_much = [settings(1), entry(1, 9), part(limits::BLOB_BYTES + 1)];
        assert_eq!(read(&written(&too_much), 7_000), Err(DAMAGED));
    }

    #[test]
    fn a_last_chunk_may_be_full() {
        let first = encode(&Opaque(encode(&settings(1)))).len();
        for more in [0, 1, CHUNK, CHUNK + 1] {
            let records = [settings(1), entry(1, CHUNK - first - AROUND + more)];
            let file = written(&records);
            assert_eq!(read(&file, 7_000), Ok(records.to_vec()), "{more}");
        }
        let exact = written(&[settings(1), entry(1, CHUNK - first - AROUND)]);
        assert_eq!(exact.len(), HEAD_BYTES + PREFIX_BYTES + SEALED_CHUNK + END.len());
    }

    #[test]
    fn what_is_cut_off_changed_or_moved_is_refused() {
        let blobs = (0..4).map(|n| entry(n, CHUNK - AROUND));
        let mut records: Vec<Record> = std::iter::once(settings(4)).chain(blobs).collect();
        let file = written(&records);
        let behind = HEAD_BYTES + PREFIX_BYTES;
        // A byte in each part of the file, and the last of each chunk.
        for at in (0..file.len()).filter(|at| at % 997 == 0 || (at - at.min(&behind)) % SEALED_CHUNK < 2) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(read(&changed, 1 << 20).is_err(), "{at}");
            assert_eq!(read(&file[..at.max(1)], 1 << 20), Err(VaultError::Truncated), "{at}");
        }
        let chunk = |n: usize| file[behind + n * SEALED_CHUNK..][..SEALED_CHUNK].to_vec();
        let tail = file[behind + 4 * SEALED_CHUNK..].to_vec();
        let built = |order: &[usize]| {
            let chunks: Vec<u8> = order.iter().flat_map(|n| chunk(*n)).collect();
            [&file[..behind], &chunks, &tail].concat()
        };
        assert_eq!(read(&built(&[0, 1, 2, 3]), 1 << 20), Ok(records.clone()));
        for order in [&[1, 0, 2, 3][..], &[0, 1, 3], &[0, 1, 1, 2, 3], &[0, 2, 1, 3], &[]] {
            assert_eq!(read(&built(order), 1 << 20), Err(DAMAGED), "{order:?}");
        }
        // Cut between chunks, with a mark put behind.
        let ended = [&file[..behind + 2 * SEALED_CHUNK], END].concat();
        assert_eq!(read(&ended, 1 << 20), Err(DAMAGED));
        assert_eq!(read(&[&file[..], b"more"].concat(), 1 << 20), Err(VaultError::Truncated));
        // A writer that counts wrong.
        records.pop();
        assert_eq!(read(&written(&records), 1 << 20), Err(DAMAGED));
        records.push(settings(4));
        assert_eq!(read(&written(&records), 1 << 20), Err(DAMAGED));
    }
}
