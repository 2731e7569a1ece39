//! Somebody who has a device's files, or a backup of it, and changes them: what locks the key, the rows, the chunks.

use sync_core::vault::backup::{Entry, HEAD_BYTES, PREFIX_BYTES, Reader, Record, Settings, Writer};
use sync_core::vault::{Cell, Kdf, Kind, Lock, LockedKey, Passphrase, Sealer, Unlock, VaultKey};
use sync_rules::Defence;
use sync_rules::defence::without;
use sync_types::settings::HistoryPolicy;
use sync_types::{BlobId, Code, DeviceId, Opaque, encode, limits};

use super::{Attack, By, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[
    attack("tampered vault header", "stays shut", &[Defence::LockedHead], tampered),
    attack("downgraded parameters", "stays shut, told as such", &[Defence::KdfBounds], downgraded),
    attack("swap rows of the database", "does not open", &[Defence::RowBinding], swapped),
    attack("reorder a backup's chunks", "refused", &[Defence::BackupOrder], reordered),
];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Local, name, expected, defences, scene }
}

const KEY: VaultKey = VaultKey::new([3; 32]);
const PHRASE: &str = "correct horse battery staple";

fn passphrase() -> Passphrase {
    Passphrase::new(PHRASE).expect("it is as it should be")
}

/// Each byte of a vault file is changed in turn. Whether the file still opens.
fn tampered() -> Seen {
    let lock = Lock::KeyFile([4; 32]);
    let locked =
        LockedKey::lock(Kind::Vault, [1; 16], lock, Unlock::KeyFile, [2; 24], &KEY).map_err(|e| e.to_string())?;
    let bytes = locked.to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let opened = LockedKey::parse(Kind::Vault, &changed).and_then(|locked| locked.open(Unlock::KeyFile));
        harm(opened.is_err(), &format!("a vault opens with its byte {at} changed"))?;
    }
    Ok("stays shut")
}

/// A file that somebody made for the right passphrase, so that a guess at it costs next to nothing.
fn downgraded() -> Seen {
    let weak = Kdf { memory_kib: 64, passes: 1, salt: [5; 16] };
    let phrase = passphrase();
    let lock =
        || LockedKey::lock(Kind::Vault, [1; 16], Lock::Passphrase(weak), Unlock::Passphrase(&phrase), [2; 24], &KEY);
    let made = without(&[Defence::KdfBounds], lock).map_err(|e| e.to_string())?;
    let opened =
        LockedKey::parse(Kind::Vault, &made.to_bytes()).and_then(|locked| locked.open(Unlock::Passphrase(&phrase)));
    match opened {
        Ok(_) => Err("a passphrase is used that costs 64 KiB a guess".to_owned()),
        Err(error) if error.code() == Code::VaultParameters => Ok("stays shut, told as such"),
        Err(error) => Err(error.to_string()),
    }
}

fn swapped() -> Seen {
    let sealer = Sealer::new(&KEY);
    let (mine, other) = (BlobId([1; 16]), BlobId([2; 16]));
    let places = [
        (Cell::Blob(mine, "notes", false), Cell::Blob(other, "notes", false)),
        (Cell::Blob(mine, "notes", false), Cell::Blob(mine, "keys", false)),
        (Cell::State(&[1]), Cell::State(&[3])),
        (Cell::State(&[1]), Cell::Meta("relay")),
    ];
    for (from, to) in places {
        let sealed = sealer.seal(from, b"what belongs there", [6; 24]);
        harm(sealer.open(to, &sealed).is_err(), "a value is read in another row's place")?;
    }
    Ok("does not open")
}

const BLOBS: u64 = 4;
const SEALED_CHUNK: usize = limits::BACKUP_CHUNK_BYTES + 16;
const BEHIND: usize = HEAD_BYTES + PREFIX_BYTES;

/// A blob whose record ends with its chunk, where so many bytes of the chunk are taken.
fn blob(number: u64, taken: usize) -> Record {
    let device = DeviceId([8; 16]);
    let with = |length: usize| {
        let (channel, data) = (Opaque(b"c".to_vec()), Opaque(vec![number as u8; length]));
        let id = BlobId(u128::from(number).to_be_bytes());
        Record::Blob(Entry { id, origin: device, sender: device, seq: number + 1, snapshot: false, channel, data })
    };
    let around = framed(&with(limits::BACKUP_CHUNK_BYTES / 2)) - limits::BACKUP_CHUNK_BYTES / 2;
    with(limits::BACKUP_CHUNK_BYTES - taken - around)
}

/// How long a record is in a file.
fn framed(record: &Record) -> usize {
    encode(&Opaque(encode(record))).len()
}

/// A backup of some blobs, each of which ends with a chunk.
fn backup() -> Result<Vec<u8>, String> {
    let phrase = passphrase();
    let lock = Lock::Passphrase(Kdf::cheapest([5; 16]));
    let head = LockedKey::lock(Kind::Backup, [1; 16], lock, Unlock::Passphrase(&phrase), [2; 24], &KEY);
    let (mut writer, mut file) = Writer::begin(&head.map_err(|e| e.to_string())?, &KEY, [7; PREFIX_BYTES]);
    let text = |text: &str| Opaque(text.into());
    let (app_id, name, relay) = (text("app"), text("laptop"), text("embedded"));
    let settings =
        Record::Settings(Settings { made_at: 0, app_id, name, relay, history: HistoryPolicy::All, blobs: BLOBS });
    let taken = framed(&settings);
    let blobs = (0..BLOBS).map(|number| blob(number, if number == 0 { taken } else { 0 }));
    for record in std::iter::once(settings).chain(blobs) {
        file.extend(writer.put(&record));
    }
    file.extend(writer.finish());
    Ok(file)
}

/// The numbers of the blobs that a file gives.
fn read(file: &[u8]) -> Option<Vec<u64>> {
    let prefix = file.get(HEAD_BYTES..BEHIND)?.try_into().ok()?;
    let mut reader = Reader::new(&KEY, prefix);
    let mut records = reader.feed(file.get(BEHIND..)?).ok()?;
    records.extend(reader.finish().ok()?);
    let numbers = records.iter().filter_map(|record| match record {
        Record::Blob(entry) => Some(entry.seq - 1),
        Record::Settings(_) | Record::Part(_) => None,
    });
    Some(numbers.collect())
}

fn reordered() -> Seen {
    let file = backup()?;
    harm(read(&file) == Some(vec![0, 1, 2, 3]), "it is not read at all")?;
    let (one, two) = (BEHIND + SEALED_CHUNK, BEHIND + 2 * SEALED_CHUNK);
    let swapped = [&file[..one], &file[two..two + SEALED_CHUNK], &file[one..two], &file[two + SEALED_CHUNK..]].concat();
    harm(read(&swapped).is_none(), "blobs come back in another order")?;
    let twice = [&file[..two], &file[one..two], &file[two + SEALED_CHUNK..]].concat();
    harm(read(&twice).is_none(), "one blob comes back twice, and another not at all")?;
    Ok("refused")
}
