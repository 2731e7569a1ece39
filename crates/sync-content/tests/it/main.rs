//! Content from one folder to another, over streams in memory.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with place and cause")]

#[cfg(unix)]
mod killed;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sync_content::seal::{Chunks, PLAIN_CHUNK};
use sync_content::{
    Content, ContentError, ContentHash, ContentKey, ContentStore, FolderStore, Held, Options, Progress, SIZE_MAX,
    Sealed, padded_size, sealed_size,
};
use sync_types::Suite;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};

const OPTIONS: Options =
    Options { sweep: Duration::from_millis(100), spare: 1 << 20, patience: Duration::from_millis(500) };

fn quiet() -> Progress {
    Arc::new(|_| ())
}

/// Bytes of which no two chunks are alike.
fn bytes(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

struct Device {
    store: FolderStore,
    folder: tempfile::TempDir,
}

impl Device {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(&folder.path().join("content"), OPTIONS).await.unwrap();
        Self { store, folder }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn put(&self, bytes: &[u8]) -> Content {
        self.store.put(&self.file("given", bytes), Suite::XWing, quiet()).await.unwrap()
    }

    async fn exported(&self, content: &Content) -> Result<Vec<u8>, ContentError> {
        let path = self.folder.path().join("taken");
        self.store.export(content, &path, true, quiet()).await?;
        Ok(std::fs::read(path).unwrap())
    }
}

/// What happens to what goes over.
#[derive(Clone, Copy, Debug)]
enum Way {
    Good,
    /// Ends behind so many bytes.
    Cut(u64),
    /// Alters the byte there.
    Flip(u64),
    /// Moves nothing any more behind so many bytes.
    Stall(u64),
}

/// Carries bytes on, as the way has it.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way) {
    let (mut buffer, mut passed) = (vec![0; 8_192], 0_u64);
    loop {
        let left = match way {
            Way::Cut(at) | Way::Stall(at) => at - passed,
            _ => u64::MAX,
        };
        match way {
            Way::Cut(_) if left == 0 => return,
            Way::Stall(_) if left == 0 => std::future::pending().await,
            _ => {}
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return drop(to.shutdown().await) };
        if let Way::Flip(at) = way
            && (passed..passed + read as u64).contains(&at)
        {
            buffer[usize::try_from(at - passed).unwrap()] ^= 1;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        passed += read as u64;
    }
}

/// One gives `given`, the other takes `wanted`. Says how many bytes came, as the one that takes sees it.
async fn exchange(from: &Device, to: &Device, given: Sealed, wanted: Sealed, way: Way) -> Result<u64, ContentError> {
    let (asked, asks) = duplex(1 << 16);
    let (sent, sends) = duplex(1 << 16);
    let (gets, gives) = duplex(1 << 16);
    let last = AtomicU64::new(0);
    let progress: Progress =
        Arc::new(move |bytes| assert!(last.swap(bytes, Ordering::Relaxed) <= bytes, "it only grows"));
    let giving = from.store.give(given, Box::new(asked), Box::new(sends));
    let taking = to.store.take(wanted, Box::new(gets), Box::new(asks), progress);
    let other_side = async {
        let _ = tokio::join!(giving, carry(sent, gives, way));
        std::future::pending().await
    };
    tokio::select! {
        taken = taking => taken,
        () = other_side => unreachable!("it only waits"),
    }
}

async fn over(from: &Device, to: &Device, content: &Content, way: Way) -> Result<u64, ContentError> {
    exchange(from, to, content.sealed(), content.sealed(), way).await
}

#[tokio::test]
async fn content_of_every_size_arrives_bit_for_bit() {
    let (laptop, phone) = (Device::new().await, Device::new().await);
    for size in [0, 1, 255, 256, 257, 16_384, PLAIN_CHUNK - 1, PLAIN_CHUNK, PLAIN_CHUNK + 1, 3 * PLAIN_CHUNK, 5_000_000]
    {
        let bytes = bytes(size);
        let content = laptop.put(&bytes).await;
        assert_eq!(content.size, size as u64);
        assert_eq!(phone.store.held(content.sealed()).await.unwrap(), Held::Nothing);
        assert!(matches!(phone.exported(&content).await, Err(ContentError::Incomplete)));
        let came = over(&laptop, &phone, &content, Way::Good).await.unwrap();
        assert_eq!(came, sealed_size(size as u64), "{size}");
        assert_eq!(phone.store.held(content.sealed()).await.unwrap(), Held::All);
        assert!(phone.exported(&content).await.unwrap_or_else(|e| panic!("{size}: {e:?}")) == bytes, "{size}");
        let mut read = Vec::new();
        phone.store.read(&content).unwrap().read_to_end(&mut read).await.unwrap();
        assert!(read == bytes, "{size}");
        assert_eq!(over(&laptop, &phone, &content, Way::Good).await.unwrap(), 0, "it is there already");
    }
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_only_if_that_is_said() {
    let laptop = Device::new().await;
    let (content, there) = (laptop.put(&bytes(1_000)).await, laptop.file("there", b"old"));
    let outcome = laptop.store.export(&content, &there, false, quiet()).await;
    assert!(
        matches!(&outcome, Err(ContentError::Io(e)) if e.kind() == std::io::ErrorKind::AlreadyExists),
        "{outcome:?}"
    );
    assert!(std::fs::read(&there).unwrap() == b"old");
    laptop.store.export(&content, &there, true, quiet()).await.unwrap();
    assert!(std::fs::read(&there).unwrap() == bytes(1_000));
    let new = laptop.folder.path().join("new");
    laptop.store.export(&content, &new, false, quiet()).await.unwrap();
    assert!(std::fs::read(new).unwrap() == bytes(1_000));
}

#[tokio::test]
async fn the_same_file_is_never_sealed_alike_and_its_size_is_blurred() {
    let laptop = Device::new().await;
    let (first, second) = (laptop.put(&bytes(100_000)).await, laptop.put(&bytes(100_000)).await);
    assert_ne!((first.hash, first.key.as_bytes()), (second.hash, second.key.as_bytes()));
    assert_eq!(sealed_size(100_000), sealed_size(99_900));
    assert!(sealed_size(u64::MAX) > SIZE_MAX, "what nobody may have is no panic");
    for size in [0, 1, 300, 65_536, 1 << 20, (1 << 33) + 1, SIZE_MAX] {
        let padded = padded_size(size);
        assert!(padded >= size && padded <= (size + size / 8).max(256), "{size}: {padded}");
    }
}

#[tokio::test]
async fn what_was_interrupted_goes_on_with_less_than_a_group_sent_again() {
    let (laptop, phone) = (Device::new().await, Device::new().await);
    let bytes = bytes(3_000_000);
    let content = laptop.put(&bytes).await;
    let (mut came, mut held) = (0, 0);
    for cut in [1, 8, 9_000, 100_001, 700_000, 1_234_567] {
        assert!(matches!(over(&laptop, &phone, &content, Way::Cut(cut)).await, Err(ContentError::Source(_))));
        let now = match phone.store.held(content.sealed()).await.unwrap() {
            Held::Part(bytes) => bytes,
            _ => 0,
        };
        // Of what went over, hashes and less than one group of 16 KiB are not kept.
        assert!(now >= held && now + 16_384 + cut / 128 + 4_096 >= held + cut, "{cut}: {held}, then {now}");
        held = now;
        assert!(matches!(phone.exported(&content).await, Err(ContentError::Incomplete)));
    }
    came += over(&laptop, &phone, &content, Way::Good).await.unwrap();
    assert_eq!(came, content.sealed().size - held, "nothing that was there comes once more");
    assert!(phone.exported(&content).await.unwrap() == bytes);
}

#[tokio::test]
async fn what_was_altered_anywhere_is_refused_and_another_source_goes_on() {
    let laptop = Device::new().await;
    let bytes = bytes(300_000);
    let content = laptop.put(&bytes).await;
    // The size that stands first, hashes, groups, the end.
    for at in [0, 7, 8, 40, 71, 200, 10_000, 100_000, 200_000, 300_000] {
        let phone = Device::new().await;
        let outcome = over(&laptop, &phone, &content, Way::Flip(at)).await;
        assert!(matches!(outcome, Err(ContentError::Source(_))), "{at}: {outcome:?}");
        assert!(matches!(phone.exported(&content).await, Err(ContentError::Incomplete)), "{at}");
        over(&laptop, &phone, &content, Way::Good).await.unwrap();
        assert!(phone.exported(&content).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn whoever_stalls_lies_or_has_it_not_is_left() {
    let (laptop, phone) = (Device::new().await, Device::new().await);
    let (content, other) = (laptop.put(&bytes(200_000)).await, laptop.put(&bytes(200_001)).await);
    let refused =
        |outcome: Result<u64, ContentError>| assert!(matches!(outcome, Err(ContentError::Source(_))), "{outcome:?}");
    for at in [0, 4, 50_000] {
        refused(over(&laptop, &phone, &content, Way::Stall(at)).await);
    }
    let (content, other) = (content.sealed(), other.sealed());
    // Another hash than what is given, a hash that nobody has, and a size that is not so.
    refused(exchange(&laptop, &phone, other, content, Way::Good).await);
    let nobody = Sealed { hash: ContentHash([7; 32]), ..content };
    refused(exchange(&laptop, &phone, nobody, nobody, Way::Good).await);
    for size in [content.size - 1, content.size + 1] {
        let lie = Sealed { size, ..other };
        refused(exchange(&laptop, &phone, lie, lie, Way::Good).await);
    }
    let huge = Sealed { size: 1 << 60, ..other };
    let outcome = exchange(&laptop, &phone, huge, huge, Way::Good).await;
    assert!(matches!(outcome, Err(ContentError::NoRoom { .. })), "{outcome:?}");
}

#[tokio::test]
async fn what_its_sender_lies_about_is_not_opened() {
    let laptop = Device::new().await;
    let content = laptop.put(&bytes(200_000)).await;
    let wrong_key = Content { key: ContentKey::generate().unwrap(), ..content.clone() };
    let wrong_suite = Content { suite: Suite::Fips, ..content.clone() };
    // Of the same sealed size.
    let (shorter, longer) =
        (Content { size: content.size - 1, ..content.clone() }, Content { size: content.size + 1, ..content.clone() });
    assert_eq!(shorter.sealed().size, content.sealed().size);
    for lie in [wrong_key, wrong_suite, shorter] {
        let outcome = laptop.exported(&lie).await;
        assert!(matches!(&outcome, Err(ContentError::Dishonest(_))), "{outcome:?}");
        assert!(!laptop.folder.path().join("taken").exists(), "nothing of it is to be seen");
    }
    // What is padding for its sender reads as zeros.
    assert!(laptop.exported(&longer).await.is_ok_and(|bytes| bytes.last() == Some(&0)));
    let names: Vec<_> = std::fs::read_dir(laptop.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no draft is left: {names:?}");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_refused() {
    let laptop = Device::new().await;
    let path = laptop.file("growing", &bytes(3_000_000));
    let mut changes = vec![append as fn(&Path), shorten, exchange_bytes];
    if cfg!(unix) {
        changes.push(exchange_bytes_and_set_the_time_back);
    }
    for change in changes {
        let path_then = path.clone();
        let once = std::sync::Once::new();
        let progress: Progress = Arc::new(move |_| once.call_once(|| change(&path_then)));
        let outcome = laptop.store.put(&path, Suite::XWing, progress).await;
        assert!(matches!(outcome, Err(ContentError::Changed)), "{outcome:?}");
    }
    let drafts = || std::fs::read_dir(laptop.folder.path().join("content/temp")).unwrap().count();
    assert_eq!(drafts(), 0, "what did not come to its end takes no room");
    laptop.store.put(&path, Suite::XWing, quiet()).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_process_was_putting_takes_no_room() {
    let mut laptop = Device::new().await;
    let path = laptop.file("large", &bytes(3_000_000));
    // Dropped in the middle, as at a crash.
    let (begun, once) = (Arc::new(tokio::sync::Notify::new()), std::sync::Once::new());
    let noted = begun.clone();
    let progress: Progress = Arc::new(move |_| once.call_once(|| noted.notify_one()));
    tokio::select! {
        put = laptop.store.put(&path, Suite::XWing, progress) => drop(put.unwrap()),
        () = begun.notified() => {}
    }
    laptop.store.close().await.unwrap();
    let folder = laptop.folder.path().join("content");
    std::fs::write(folder.join("temp/left.temp"), "left").unwrap();
    laptop.store = FolderStore::open(&folder, OPTIONS).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.join("temp")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_wanted_again_before_it_was_swept_stays() {
    let laptop = Device::new().await;
    let (kept, gone) = (laptop.put(&bytes(100_000)).await, laptop.put(&bytes(90_000)).await);
    for content in [&kept, &gone] {
        laptop.store.forget(content.hash).await.unwrap();
    }
    // It is all here, so that nobody is asked for anything.
    assert_eq!(over(&laptop, &laptop, &kept, Way::Good).await.unwrap(), 0);
    until_gone(&laptop, &gone).await;
    assert!(laptop.exported(&kept).await.unwrap() == bytes(100_000));
}

async fn until_gone(device: &Device, content: &Content) {
    let gone = async {
        while device.store.held(content.sealed()).await.unwrap() != Held::Nothing {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
}

fn append(path: &Path) {
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(path).unwrap(), b"more").unwrap();
}

fn shorten(path: &Path) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(2_000_000).unwrap();
}

fn exchange_bytes(path: &Path) {
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().write(true).open(path).unwrap(), b"other").unwrap();
}

/// As whoever unpacks an archive over a file does.
fn exchange_bytes_and_set_the_time_back(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    std::io::Write::write_all(&mut &file, b"third").unwrap();
    file.set_modified(before).unwrap();
}

#[tokio::test]
async fn what_is_forgotten_gives_its_space_back_and_what_is_kept_outlives_a_restart() {
    let mut laptop = Device::new().await;
    let (kept, gone) = (laptop.put(&bytes(500_000)).await, laptop.put(&bytes(400_000)).await);
    laptop.store.forget(gone.hash).await.unwrap();
    until_gone(&laptop, &gone).await;
    laptop.store.close().await.unwrap();
    let folder = laptop.folder.path().join("content");
    laptop.store = FolderStore::open(&folder, OPTIONS).await.unwrap();
    assert!(laptop.exported(&kept).await.unwrap() == bytes(500_000));
    let held: u64 = std::fs::read_dir(folder.join("data")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(held < kept.sealed().size + 20_000, "{held} bytes are on disk");
}

#[tokio::test]
async fn what_the_disk_has_altered_comes_once_more_and_its_sender_is_no_liar() {
    let (laptop, phone) = (Device::new().await, Device::new().await);
    let bytes = bytes(300_000);
    let content = laptop.put(&bytes).await;
    over(&laptop, &phone, &content, Way::Good).await.unwrap();
    let path = phone.folder.path().join(format!("content/data/{}.data", content.hash));
    let mut on_disk = std::fs::read(&path).unwrap();
    on_disk[123_456] ^= 1;
    std::fs::write(&path, on_disk).unwrap();
    assert!(matches!(phone.exported(&content).await, Err(ContentError::Incomplete)));
    assert_eq!(phone.store.held(content.sealed()).await.unwrap(), Held::Nothing);
    over(&laptop, &phone, &content, Way::Good).await.unwrap();
    assert!(phone.exported(&content).await.unwrap() == bytes);
    assert!(phone.store.bytes(&content).await.unwrap() == bytes);
}

#[test]
fn each_chunk_opens_in_its_place_alone() {
    for suite in [Suite::XWing, Suite::Fips] {
        let key = ContentKey::from_bytes([7; 32]);
        let size = 3 * PLAIN_CHUNK as u64 - 100;
        let chunks = Chunks::new(&key, suite, size).unwrap();
        let sealed: Vec<Vec<u8>> = (0..chunks.count())
            .map(|number| {
                let mut chunk = bytes(chunks.content_len(number));
                chunks.seal(number, &mut chunk);
                assert_eq!(chunk.len(), chunks.sealed_len(number));
                chunk
            })
            .collect();
        assert_eq!(sealed.iter().map(Vec::len).sum::<usize>() as u64, sealed_size(size));
        for (at, chunk) in sealed.iter().enumerate() {
            for number in 0..chunks.count() + 1 {
                let outcome = chunks.open(number, &mut chunk.clone());
                assert_eq!(outcome.is_ok(), at == number as usize, "{at} as {number}");
            }
        }
        assert!(matches!(Chunks::new(&key, suite, SIZE_MAX + 1), Err(ContentError::TooLarge)));
    }
}
