//! Large content at a relay: from a member, for the members, and for nobody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_content::{Content, ContentError, ContentStore, FolderStore, Options, Progress};
use sync_relay::{ContentConfig, Relay, RelayConfig, RunningRelay};
use sync_types::frame::{ContentAnswer, ContentAsk, FromRelay, ToRelay};
use sync_types::{Code, GroupId, Sealed, Suite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::device::{Device, Wire, add, attached, founded_as, pair, remove};

/// A group of content within the tree by which it is verified, in bytes.
const GROUP: u64 = 16 << 10;

pub(crate) fn quiet() -> Progress {
    Arc::new(|_| ())
}

/// Where a device keeps content.
pub(crate) struct Folder {
    pub(crate) store: FolderStore,
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(&folder.path().join("content"), Options::default()).await.unwrap();
        Self { store, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn put(&self, bytes: &[u8]) -> Content {
        std::fs::write(self.path("put"), bytes).unwrap();
        self.store.put(&self.path("put"), Suite::XWing, quiet()).await.unwrap()
    }

    pub(crate) async fn bytes(&self, content: &Content) -> Vec<u8> {
        self.store.export(content, &self.path("got"), true, quiet()).await.unwrap();
        std::fs::read(self.path("got")).unwrap()
    }
}

pub(crate) fn bytes(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) async fn said(relay: &RunningRelay, by: &Device, ask: ContentAsk) -> Result<(ContentAnswer, Wire), Code> {
    let mut wire = Wire::local(relay);
    match by.about_content(&mut wire, ask).await {
        FromRelay::Content(answer) => Ok((answer, wire)),
        FromRelay::Refused(refused) => Err(refused.code()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn answer(relay: &RunningRelay, by: &Device, ask: ContentAsk) -> Result<ContentAnswer, Code> {
    said(relay, by, ask).await.map(|(answer, _)| answer)
}

/// Gives, and asks whether it is held.
pub(crate) async fn give(relay: &RunningRelay, by: &Device, from: &Folder, content: Sealed) {
    let (wanted, wire) = said(relay, by, ContentAsk::Give(content)).await.unwrap();
    assert_eq!(wanted, ContentAnswer::Wanted);
    let (reader, writer) = wire.into_halves();
    from.store.give(content, reader, writer).await.unwrap();
    assert_eq!(answer(relay, by, ContentAsk::Give(content)).await, Ok(ContentAnswer::Held));
}

pub(crate) async fn take(relay: &RunningRelay, by: &Device, to: &Folder, content: Sealed) -> Result<u64, ContentError> {
    let (answer, wire) = said(relay, by, ContentAsk::Take(content)).await.unwrap();
    assert_eq!(answer, ContentAnswer::Given);
    let (reader, writer) = wire.into_halves();
    to.store.take(content, reader, writer, quiet()).await
}

/// Says that it gives content of which it has only heard, and gives nothing of it.
pub(crate) async fn gives_nothing_of(relay: &RunningRelay, by: &Device, content: Sealed) {
    for _ in 0..2 {
        let (wanted, wire) = said(relay, by, ContentAsk::Give(content)).await.unwrap();
        assert_eq!(wanted, ContentAnswer::Wanted);
        let (mut reader, mut writer) = wire.into_halves();
        writer.shutdown().await.unwrap();
        reader.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert_eq!(answer(relay, by, ContentAsk::Take(content)).await, Err(Code::ContentMissing));
}

async fn relay_with(change: impl FnOnce(&mut RelayConfig)) -> (tempfile::TempDir, RunningRelay) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RelayConfig { http: None, listen: None, ..RelayConfig::on_loopback(folder.path()) };
    change(&mut config);
    (folder, Relay::start(config).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_gives_the_others_take_and_then_it_is_gone() {
    let (_folder, relay) = relay_with(|_| ()).await;
    let ((laptop, _wire), (phone, _other)) = pair(async || Wire::local(&relay), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let bytes = bytes(3_000_000);
    let content = laptops.put(&bytes).await;
    let sealed = content.sealed();
    assert_eq!(answer(&relay, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));

    give(&relay, &laptop, &laptops, sealed).await;
    assert_eq!((relay.metrics().content.value(), relay.metrics().content_bytes.value()), (1, sealed.size as i64));
    assert_eq!(take(&relay, &phone, &phones, sealed).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes);
    // It was read, but the phone may have lost it before it was on its disk.
    assert_eq!(relay.metrics().content.value(), 1);
    assert_eq!(answer(&relay, &phone, ContentAsk::Have(vec![sealed.hash])).await, Ok(ContentAnswer::Noted));
    assert_eq!((relay.metrics().content.value(), relay.metrics().content_deleted.value()), (0, 1));
    assert_eq!(answer(&relay, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    // Saying so again is harmless.
    assert_eq!(answer(&relay, &phone, ContentAsk::Have(vec![sealed.hash])).await, Ok(ContentAnswer::Noted));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_member_gets_nothing_whatever_it_knows() {
    let (_folder, relay) = relay_with(|_| ()).await;
    let ((laptop, mut wire), (phone, mut other), mut mls) =
        founded_as(GroupId([5; 32]), async || Wire::local(&relay), b"").await;
    let laptops = Folder::new().await;
    let sealed = laptops.put(&bytes(100_000)).await.sealed();
    give(&relay, &laptop, &laptops, sealed).await;

    // A stranger, and one that knows a member's id but not its key.
    let stranger = Device::new(9, laptop.group);
    assert_eq!(answer(&relay, &stranger, ContentAsk::Take(sealed)).await, Err(Code::NotMember));
    let mut wire_of_forger = Wire::local(&relay);
    let mut forged = stranger.request(&wire_of_forger, 0);
    forged.device = laptop.id;
    let ask = sync_types::frame::Content { attach: forged, ask: ContentAsk::Take(sealed) };
    wire_of_forger.send(&ToRelay::Content(ask)).await;
    assert_eq!(wire_of_forger.refusal().await.code(), Code::BadSignature);
    // A member of another group: neither does it get it, nor can it make it its own.
    let elsewhere = Device::new(7, GroupId([8; 32]));
    let mut there = Wire::local(&relay);
    elsewhere.create(&mut there, &elsewhere.found(), b"").await;
    attached(&mut there).await;
    assert_eq!(answer(&relay, &elsewhere, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    assert_eq!(
        answer(&relay, &elsewhere, ContentAsk::Give(sealed)).await,
        Ok(ContentAnswer::Held),
        "nobody is to fetch it"
    );
    answer(&relay, &elsewhere, ContentAsk::Have(vec![sealed.hash])).await.unwrap();
    assert_eq!(answer(&relay, &elsewhere, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    assert_eq!(
        answer(&relay, &phone, ContentAsk::Take(sealed)).await,
        Ok(ContentAnswer::Given),
        "its word counts for its own group"
    );

    // A removed one, who was told of it while it was one.
    let gone = remove(&mut mls, &phone);
    drop(mls);
    wire.send(&ToRelay::Commit(gone)).await;
    let cursor = wire.entries(1).await[0].cursor;
    wire.acknowledge(cursor).await;
    wire.expect(|frame| matches!(frame, FromRelay::Confirmed(_)).then_some(())).await;
    other.entries(1).await;
    assert_eq!(answer(&relay, &phone, ContentAsk::Take(sealed)).await, Err(Code::Removed));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everybody_left_in_the_group_has_goes_when_somebody_leaves() {
    let (_folder, relay) = relay_with(|_| ()).await;
    let ((laptop, mut wire), (phone, mut phones_wire), mut mls) =
        founded_as(GroupId([5; 32]), async || Wire::local(&relay), b"").await;
    let tablet = Device::new(3, laptop.group);
    wire.send(&ToRelay::Commit(add(&mut mls, &tablet))).await;
    let cursor = wire.entries(1).await[0].cursor;
    wire.acknowledge(cursor).await;
    let cursor = phones_wire.entries(1).await[0].cursor;
    phones_wire.acknowledge(cursor).await;
    wire.expect(|frame| matches!(frame, FromRelay::Confirmed(_)).then_some(())).await;
    let laptops = Folder::new().await;
    let sealed = laptops.put(&bytes(1_000)).await.sealed();
    give(&relay, &laptop, &laptops, sealed).await;
    answer(&relay, &phone, ContentAsk::Have(vec![sealed.hash])).await.unwrap();
    assert_eq!(relay.metrics().content.value(), 1, "the tablet lacks it");

    wire.send(&ToRelay::Commit(remove(&mut mls, &tablet))).await;
    drop(mls);
    let cursor = phones_wire.entries(1).await[0].cursor;
    phones_wire.acknowledge(cursor).await;
    wire.expect(|frame| matches!(frame, FromRelay::Confirmed(_)).then_some(())).await;
    answer(&relay, &laptop, ContentAsk::Have(vec![])).await.unwrap();
    assert_eq!(relay.metrics().content.value(), 0);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_goes_on_where_it_stopped_also_after_the_relay_was_down() {
    let folder = tempfile::tempdir().unwrap();
    let config = || RelayConfig { http: None, listen: None, ..RelayConfig::on_loopback(folder.path()) };
    let relay = Relay::start(config()).await.unwrap();
    let ((laptop, wire), (phone, other)) = pair(async || Wire::local(&relay), b"").await;
    let (laptops, phones) = (Folder::new().await, Folder::new().await);
    let bytes = bytes(2_000_000);
    let content = laptops.put(&bytes).await;
    let sealed = content.sealed();

    // The first time the laptop is gone behind a million bytes.
    let (_, wire_of_content) = said(&relay, &laptop, ContentAsk::Give(sealed)).await.unwrap();
    let (to, mut from) = tokio::io::duplex(1 << 16);
    let (asked, mut asks) = tokio::io::duplex(1 << 16);
    let (mut reader, mut writer) = wire_of_content.into_halves();
    let giving = laptops.store.give(sealed, Box::new(asked), Box::new(to));
    let asking = async {
        // What the relay asks for, to its end.
        tokio::io::copy(&mut reader, &mut asks).await.unwrap();
        asks.shutdown().await.unwrap();
        std::future::pending::<()>().await;
    };
    let sending = async {
        let mut part = vec![0; 1_000_000];
        from.read_exact(&mut part).await.unwrap();
        writer.write_all(&part).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    tokio::select! {
        _ = giving => panic!("it gave all"),
        () = asking => {}
        () = sending => {}
    }
    drop((from, wire, other));
    // Once the relay is through with what it got.
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(sealed)).await, Ok(ContentAnswer::Wanted));
    relay.shutdown().await;

    let relay = Relay::start(config()).await.unwrap();
    assert_eq!(answer(&relay, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing), "not all of it");
    give(&relay, &laptop, &laptops, sealed).await;
    let again = relay.metrics().content_taken_bytes.value();
    assert!(again <= sealed.size - 1_000_000 + 2 * GROUP, "{again} bytes came once more");
    assert_eq!(take(&relay, &phone, &phones, sealed).await.unwrap(), sealed.size);
    assert!(phones.bytes(&content).await == bytes);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_on_the_way_is_not_held() {
    let (_folder, relay) = relay_with(|_| ()).await;
    let ((laptop, _wire), (phone, _other)) = pair(async || Wire::local(&relay), b"").await;
    let laptops = Folder::new().await;
    let sealed = laptops.put(&bytes(300_000)).await.sealed();
    let (_, wire) = said(&relay, &laptop, ContentAsk::Give(sealed)).await.unwrap();
    let (mut reader, mut writer) = wire.into_halves();
    let (to, mut from) = tokio::io::duplex(1 << 20);
    let altered = AtomicU64::new(0);
    let sending = async {
        let mut all = Vec::new();
        from.read_to_end(&mut all).await.unwrap();
        all[200_000] ^= 1;
        altered.store(all.len() as u64, Ordering::Relaxed);
        // The relay may end it before all is there.
        let _ = writer.write_all(&all).await;
        let _ = writer.shutdown().await;
    };
    let (asked, mut asks) = tokio::io::duplex(1 << 16);
    let asking = async {
        tokio::io::copy(&mut reader, &mut asks).await.unwrap();
        asks.shutdown().await.unwrap();
    };
    let (given, (), ()) = tokio::join!(laptops.store.give(sealed, Box::new(asked), Box::new(to)), asking, sending);
    given.unwrap();
    assert!(altered.load(Ordering::Relaxed) > 300_000);
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(sealed)).await, Ok(ContentAnswer::Wanted));
    assert_eq!(answer(&relay, &phone, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_so_much_and_no_more_and_a_relay_may_take_none() {
    let (_folder, relay) = relay_with(|config| config.content.as_mut().unwrap().group_bytes = 200_000).await;
    let ((laptop, _wire), (phone, _other)) = pair(async || Wire::local(&relay), b"").await;
    let laptops = Folder::new().await;
    let (first, second) = (laptops.put(&bytes(150_000)).await.sealed(), laptops.put(&bytes(60_000)).await.sealed());
    give(&relay, &laptop, &laptops, first).await;
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(second)).await, Err(Code::Quota));
    // Once the others have what is here, there is room.
    answer(&relay, &phone, ContentAsk::Have(vec![first.hash])).await.unwrap();
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(second)).await, Ok(ContentAnswer::Wanted));
    let too_short = Sealed { size: 16, ..second };
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(too_short)).await, Err(Code::Protocol));
    relay.shutdown().await;

    let (_folder, relay) = relay_with(|config| config.content = None).await;
    let ((laptop, _wire), _phone) = pair(async || Wire::local(&relay), b"").await;
    assert_eq!(answer(&relay, &laptop, ContentAsk::Give(first)).await, Err(Code::ContentUnavailable));
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_of_one_nothing_is_kept_and_of_one_that_is_deleted_nothing_stays() {
    let (folder, relay) = relay_with(|config| config.host.orders = true).await;
    let alone = Device::new(7, GroupId([8; 32]));
    let mut wire = Wire::local(&relay);
    alone.create(&mut wire, &alone.found(), b"").await;
    attached(&mut wire).await;
    let alones = Folder::new().await;
    let sealed = alones.put(&bytes(1_000)).await.sealed();
    assert_eq!(answer(&relay, &alone, ContentAsk::Give(sealed)).await, Ok(ContentAnswer::Held));
    assert_eq!(relay.metrics().content.value(), 0);

    let ((laptop, _wire), _phone) = pair(async || Wire::local(&relay), b"").await;
    let laptops = Folder::new().await;
    let sealed = laptops.put(&bytes(1_000)).await.sealed();
    give(&relay, &laptop, &laptops, sealed).await;
    let purge = sync_relay::admin::Order::Purge(laptop.group);
    sync_relay::admin::ask(folder.path(), &purge).await.unwrap();
    assert_eq!(relay.metrics().content.value(), 0);
    assert_eq!(answer(&relay, &laptop, ContentAsk::Take(sealed)).await, Err(Code::UnknownGroup));
    assert!(folder.path().join(ContentConfig::FOLDER).is_dir());
    relay.shutdown().await;
}

/// Who has only heard of a hash, and begins to give what it names, keeps nobody from giving it, and gets nothing by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_a_groups_own() {
    let (_folder, relay) = relay_with(|_| ()).await;
    let ((laptop, _wire), (phone, _other)) = pair(async || Wire::local(&relay), b"").await;
    let (laptops, phones, fences) = (Folder::new().await, Folder::new().await, Folder::new().await);
    let ((thief, _thiefs), (fence, _fences), mls) =
        founded_as(GroupId([8; 32]), async || Wire::local(&relay), b"").await;
    drop(mls);
    for wrong in [0, 1] {
        let content = laptops.put(&bytes(300_000)).await;
        let sealed = content.sealed();
        let heard_of = Sealed { size: sealed.size - wrong, ..sealed };
        gives_nothing_of(&relay, &thief, heard_of).await;
        give(&relay, &laptop, &laptops, sealed).await;
        assert_eq!(take(&relay, &phone, &phones, sealed).await.unwrap(), sealed.size);
        assert!(phones.bytes(&content).await == bytes(300_000));
        if wrong == 0 {
            gives_nothing_of(&relay, &thief, sealed).await;
            // Who has all of it may give it to a group of its own as well, which has it for itself.
            give(&relay, &thief, &phones, sealed).await;
            answer(&relay, &phone, ContentAsk::Have(vec![sealed.hash])).await.unwrap();
            assert_eq!(take(&relay, &fence, &fences, sealed).await.unwrap(), sealed.size);
        } else {
            assert_eq!(answer(&relay, &fence, ContentAsk::Take(sealed)).await, Err(Code::ContentMissing));
            answer(&relay, &phone, ContentAsk::Have(vec![sealed.hash])).await.unwrap();
        }
        answer(&relay, &fence, ContentAsk::Have(vec![sealed.hash])).await.unwrap();
        assert_eq!(relay.metrics().content.value(), 0);
    }
    relay.shutdown().await;
}
