//! What a host does beside the relay: deleting groups, backups, access tokens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sync_relay::store::{MemoryStore, Order, StoreError};
use sync_relay::tokens::edit;
use sync_relay::{Access, HostConfig, Relay, RelayConfig, RunningRelay, StoreConfig, admin, date};
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::{Code, GroupId, Opaque};

use crate::device::{Device, Wire, attached, founded_as, pair};

fn config(folder: &Path) -> RelayConfig {
    let host = HostConfig { orders: true, ..HostConfig::default() };
    RelayConfig { listen: None, http: None, host, ..RelayConfig::on_loopback(folder) }
}

fn store(folder: &Path) -> StoreConfig {
    StoreConfig::Sqlite { path: folder.join(StoreConfig::FILE), max_bytes: None }
}

/// What the relay says to a device that wants to make a group.
pub(crate) async fn creating(relay: &RunningRelay, device: &Device, token: &[u8]) -> Result<(), Code> {
    let mut wire = Wire::local(relay);
    device.create(&mut wire, &device.found(), token).await;
    wire.expect(|frame| match frame {
        FromRelay::Attached(_) => Some(Ok(())),
        FromRelay::Refused(refused) => Some(Err(refused.code())),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_group_is_deleted_while_its_relay_runs_and_while_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (data, store) = (folder.path(), store(folder.path()));
    let relay = Relay::start(config(data)).await.unwrap();
    let mode = data.join("admin.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let other = Device::new(8, GroupId([8; 32]));
    creating(&relay, &other, b"").await.unwrap();
    wire_a.send(&ToRelay::Push(vec![a.seal(300), a.seal(400)])).await;
    wire_a.accepted(2).await;
    wire_b.entries(2).await;

    let strange = admin::purge(data, &store, GroupId([77; 32])).await.unwrap_err();
    assert_eq!(strange.code, Code::UnknownGroup);
    admin::purge(data, &store, a.group).await.unwrap();
    for wire in [&mut wire_a, &mut wire_b] {
        while wire.receive().await.is_some() {}
    }
    let mut wire = Wire::local(&relay);
    a.ask_to_attach(&mut wire).await;
    assert_eq!(wire.refusal().await.code(), Code::UnknownGroup);
    let metrics = relay.metrics();
    assert_eq!((metrics.entries.value(), metrics.groups.value(), metrics.groups_purged.value()), (0, 1, 1));
    let mut wire = Wire::local(&relay);
    other.attach(&mut wire, 0).await;

    // Whoever made it may make it again, and what is sent then goes through.
    let mut anew = Device::new(1, a.group);
    creating(&relay, &anew, b"").await.unwrap();
    let mut wire = Wire::local(&relay);
    anew.attach(&mut wire, 0).await;
    wire.send(&ToRelay::Push(vec![anew.seal(300)])).await;
    wire.accepted(1).await;
    relay.shutdown().await;
    assert!(!data.join("admin.sock").exists());

    admin::purge(data, &store, a.group).await.unwrap();
    let left = admin::look(&store).await.unwrap().largest(Order::Size, 10).await.unwrap();
    assert_eq!(left.iter().map(|group| group.group).collect::<Vec<_>>(), [other.group]);
    assert_eq!(admin::purge(data, &store, a.group).await.unwrap_err().code, Code::UnknownGroup);
}

#[tokio::test]
async fn a_group_whose_deletion_fails_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let relay = Relay::start_with_store(config(folder.path()), store.clone()).await.unwrap();
    let ((mut a, mut wire_a), (_b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    store.fail_next(StoreError::Io("broken".into()));
    let failed = admin::purge(folder.path(), &StoreConfig::Memory, a.group).await.unwrap_err();
    assert_eq!(failed.code, Code::Internal);
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    wire_a.accepted(1).await;
    wire_b.entries(1).await;
    relay.shutdown().await;
}

#[tokio::test]
async fn a_backup_of_a_busy_relay_is_put_back_elsewhere_and_its_devices_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target, fresh) = (folder.path().join("data"), folder.path().join("backup"), folder.path().join("fresh"));
    let tokens = folder.path().join("list");
    std::fs::write(&tokens, "s3cret\n").unwrap();
    let relay = Relay::start(config(&data)).await.unwrap();
    let id = relay.endpoint_id();
    let ((mut a, mut wire_a), (b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    let done = AtomicBool::new(false);
    let mut sent: Vec<Opaque> = Vec::new();
    let pushing = async {
        while !done.load(Ordering::Relaxed) {
            let envelope = a.seal(2_000);
            sent.push(envelope.clone());
            wire_a.send(&ToRelay::Push(vec![envelope])).await;
            wire_a.accepted(sent.len() as u64).await;
        }
    };
    let copying = async {
        // In the midst of it.
        wire_b.entries(20).await;
        let made = admin::backup(&data, &store(&data), Some(&tokens), &target).await.unwrap();
        done.store(true, Ordering::Relaxed);
        made
    };
    let ((), made) = tokio::join!(pushing, copying);
    assert!(made.key && made.tokens && made.bytes > 0);
    for (name, mode) in [("", 0o700), ("relay.db", 0o600), ("identity.key", 0o600), ("tokens", 0o600)] {
        let found = target.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let again = admin::backup(&data, &store(&data), None, &target).await.unwrap_err();
    assert_eq!(again.code, Code::InvalidArgument, "what is there is not written over");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside it");
    let busy = admin::restore(&target, &data, false).await.unwrap_err();
    assert_eq!(busy.code, Code::HomeBusy);
    relay.shutdown().await;
    let full = admin::restore(&target, &data, false).await.unwrap_err();
    assert_eq!(full.code, Code::InvalidArgument);

    let restored = admin::restore(&target, &fresh, false).await.unwrap();
    assert_eq!(std::fs::read(restored.tokens.unwrap()).unwrap(), b"s3cret\n");
    let relay = Relay::start(config(&fresh)).await.unwrap();
    assert_eq!(relay.endpoint_id(), id, "devices know it again");
    let mut wire = Wire::local(&relay);
    let head = a.attach(&mut wire, 1).await.head.unwrap().seq;
    assert!((20..=sent.len() as u64).contains(&head), "{head} of {}", sent.len());
    // The device brings what came after the backup.
    let missing = sent[head as usize..].to_vec();
    wire.send(&ToRelay::Push(missing)).await;
    wire.accepted(sent.len() as u64).await;
    wire.send(&ToRelay::Push(vec![a.seal(300)])).await;
    wire.accepted(sent.len() as u64 + 1).await;
    let mut wire = Wire::local(&relay);
    b.attach(&mut wire, 1).await;
    let got = wire.entries(sent.len() + 1).await;
    assert!(got.iter().map(|entry| &entry.bytes).take(sent.len()).eq(&sent));
    relay.shutdown().await;
}

#[tokio::test]
async fn a_backup_that_is_damaged_is_put_back_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    Relay::start(config(&data)).await.unwrap().shutdown().await;
    admin::backup(&data, &store(&data), None, &target).await.unwrap();
    let fresh = folder.path().join("fresh");
    let refused = async |code: Code| {
        let error = admin::restore(&target, &fresh, false).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(!fresh.exists(), "nothing was made");
    };
    let key = std::fs::read(target.join("identity.key")).unwrap();
    std::fs::write(target.join("identity.key"), &key[1..]).unwrap();
    refused(Code::StoreCorrupt).await;
    std::fs::remove_file(target.join("identity.key")).unwrap();
    refused(Code::Io).await;
    std::fs::write(target.join("identity.key"), &key).unwrap();

    let database = std::fs::read(target.join("relay.db")).unwrap();
    let mut damaged = database.clone();
    // The middle of the second page: a table's root.
    damaged[4_096 + 100..4_096 + 600].fill(0xff);
    damaged[2 * 4_096..3 * 4_096].fill(0x5a);
    std::fs::write(target.join("relay.db"), damaged).unwrap();
    refused(Code::StoreCorrupt).await;
    let mut newer = database.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(target.join("relay.db"), newer).unwrap();
    refused(Code::Version).await;
    let mut foreign = database.clone();
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    std::fs::write(target.join("relay.db"), foreign).unwrap();
    refused(Code::StoreCorrupt).await;
    std::fs::write(target.join("relay.db"), database).unwrap();
    admin::restore(&target, &fresh, false).await.unwrap();

    // A folder in which one was put back in part is no relay's.
    std::fs::create_dir(fresh.join("restoring")).unwrap();
    let Err(error) = Relay::start(config(&fresh)).await else { panic!("it started") };
    assert_eq!(error.code, Code::StoreCorrupt);
}

#[tokio::test]
async fn tokens_are_taken_up_while_the_relay_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "first\n").unwrap();
    let access = || Access::parse(&format!("token:{}", file.display())).unwrap();
    let relay = Relay::start(RelayConfig { access: access(), ..config(&folder.path().join("data")) }).await.unwrap();
    let group = |n: u8| Device::new(n, GroupId([n; 32]));
    creating(&relay, &group(1), b"first").await.unwrap();

    // Each try takes the time of a handshake, until the file was read again.
    let becomes = async |n: u8, token: &str, wanted: Result<(), Code>| {
        let until = async { while creating(&relay, &group(n), token.as_bytes()).await != wanted {} };
        tokio::time::timeout(Duration::from_secs(20), until).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
    };
    let new = |name: &str, groups| edit::New { name: name.to_owned(), groups, ..edit::New::default() };
    let alice = edit::add(&file, &new("alice", Some(1))).unwrap();
    becomes(2, &alice, Ok(())).await;
    becomes(3, &alice, Err(Code::TokenSpent)).await;
    // A group of the token's own is no new one.
    creating(&relay, &group(2), alice.as_bytes()).await.unwrap();

    let file_text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "sha256:nonsense\n").unwrap();
    let broken = async {
        while relay.metrics().token_file_broken.value() == 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), broken).await.unwrap();
    creating(&relay, &group(4), b"first").await.unwrap();
    std::fs::write(&file, file_text).unwrap();
    edit::revoke(&file, "alice", date::parse("2026-01-01").unwrap()).unwrap();
    becomes(3, &alice, Err(Code::AccessDenied)).await;
    assert_eq!(relay.metrics().token_file_broken.value(), 0);
    assert_eq!(relay.metrics().tokens.value(), 1, "the one in the clear");
    let mut wire = Wire::local(&relay);
    group(2).attach(&mut wire, 0).await;
    drop(wire);

    // What a token made is known after a restart, and what the host deleted counts no more.
    let bob = edit::add(&file, &new("bob", Some(1))).unwrap();
    becomes(5, &bob, Ok(())).await;
    relay.shutdown().await;
    let data = folder.path().join("data");
    let relay = Relay::start(RelayConfig { access: access(), ..config(&data) }).await.unwrap();
    assert_eq!(creating(&relay, &group(6), bob.as_bytes()).await, Err(Code::TokenSpent));
    assert_eq!(relay.metrics().refusals(Code::TokenSpent), 1);
    admin::purge(&data, &store(&data), GroupId([5; 32])).await.unwrap();
    creating(&relay, &group(6), bob.as_bytes()).await.unwrap();
    assert_eq!(relay.metrics().groups.value(), 4);
    relay.shutdown().await;
}

/// Pushes an envelope, new or once more; the code of what it is refused with.
async fn pushing(wire: &mut Wire, device: &Device, envelope: &Opaque) -> Result<(), Code> {
    wire.send(&ToRelay::Push(vec![envelope.clone()])).await;
    let seq = device.seq();
    wire.expect(|frame| match frame {
        FromRelay::Accepted(to) if to >= seq => Some(Ok(())),
        FromRelay::Refused(refused) => Some(Err(refused.code())),
        _ => None,
    })
    .await
}

/// How large the envelopes of these tests are.
fn envelope_bytes() -> u64 {
    Device::new(1, GroupId([5; 32])).seal(500).len() as u64
}

#[tokio::test]
async fn what_the_groups_of_one_token_hold_together_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("tokens"));
    let bytes = 3 * envelope_bytes();
    let alice =
        edit::add(&file, &edit::New { name: "alice".into(), bytes: Some(bytes), ..Default::default() }).unwrap();
    let bob = edit::add(&file, &edit::New { name: "bob".into(), ..Default::default() }).unwrap();
    let start = async || {
        let access = Access::parse(&format!("token:{}", file.display())).unwrap();
        Relay::start(RelayConfig { access, ..config(&data) }).await.unwrap()
    };
    let relay = start().await;
    let found = async |n: u8, token: &str| {
        let (first, second, _) = founded_as(GroupId([n; 32]), async || Wire::local(&relay), token.as_bytes()).await;
        (first, second)
    };
    let ((mut a, mut wire_a), (b, mut wire_b)) = found(5, &alice).await;
    let ((mut c, mut wire_c), (d, wire_d)) = found(6, &alice).await;
    for _ in 0..2 {
        let envelope = a.seal(500);
        pushing(&mut wire_a, &a, &envelope).await.unwrap();
    }
    let cursor = wire_b.entries(2).await[0].cursor;
    let envelope = c.seal(500);
    pushing(&mut wire_c, &c, &envelope).await.unwrap();
    let refused = c.seal(500);
    assert_eq!(pushing(&mut wire_c, &c, &refused).await, Err(Code::Quota));
    wire_c.send(&ToRelay::Push(vec![refused.clone()])).await;
    assert!(wire_c.refusal().await.retry_after_ms > 0, "it is worth another try");
    // Making another group is none of its business, nor are those of another token.
    creating(&relay, &Device::new(7, GroupId([7; 32])), alice.as_bytes()).await.unwrap();
    let ((mut e, mut wire_e), _) = found(8, &bob).await;
    let envelope = e.seal(500);
    pushing(&mut wire_e, &e, &envelope).await.unwrap();

    wire_b.acknowledge(cursor).await;
    wire_b.settled().await;
    pushing(&mut wire_c, &c, &refused).await.unwrap();
    let refused = a.seal(500);
    assert_eq!(pushing(&mut wire_a, &a, &refused).await, Err(Code::Quota), "it is full again");
    drop((wire_a, wire_b, wire_c, wire_d, wire_e));
    relay.shutdown().await;

    let relay = start().await;
    let attach = async |device: &Device, stored: u64| {
        let mut wire = Wire::local(&relay);
        device.attach(&mut wire, stored).await;
        wire
    };
    let (mut wire_a, mut wire_c, mut wire_d) = (attach(&a, 1).await, attach(&c, 1).await, attach(&d, 1).await);
    assert_eq!(pushing(&mut wire_a, &a, &refused).await, Err(Code::Quota), "a restart forgets nothing");
    let cursor = wire_d.entries(2).await[0].cursor;
    wire_d.acknowledge(cursor).await;
    wire_d.settled().await;
    pushing(&mut wire_a, &a, &refused).await.unwrap();

    // A token that makes no more groups bounds those that it made, and by what its line says now.
    edit::revoke(&file, "alice", date::parse("2026-01-01").unwrap()).unwrap();
    let until = async {
        while relay.metrics().tokens.value() != 1 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.unwrap();
    let refused = c.seal(500);
    assert_eq!(pushing(&mut wire_c, &c, &refused).await, Err(Code::Quota));
    let text = std::fs::read_to_string(&file).unwrap();
    let more = bytes + envelope_bytes();
    std::fs::write(&file, text.replace(&format!("bytes={bytes}"), &format!("bytes={more}"))).unwrap();
    let until = async {
        loop {
            match pushing(&mut wire_c, &c, &refused).await {
                Err(Code::Quota) => {}
                done => return done,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.unwrap().unwrap();
    let refused = c.seal(500);
    assert_eq!(pushing(&mut wire_c, &c, &refused).await, Err(Code::Quota));
    // What the host deletes is held no more: two of the first group, of which none was acknowledged since.
    admin::purge(&data, &store(&data), b.group).await.unwrap();
    pushing(&mut wire_c, &c, &refused).await.unwrap();
    let envelope = c.seal(500);
    pushing(&mut wire_c, &c, &envelope).await.unwrap();
    let envelope = c.seal(500);
    assert_eq!(pushing(&mut wire_c, &c, &envelope).await, Err(Code::Quota));
    let mut view = admin::look(&store(&data)).await.unwrap();
    let mut used: Vec<_> = view.token_use().await.unwrap().iter().map(|of| (of.groups, of.bytes)).collect();
    used.sort_unstable();
    assert_eq!(used, [(1, envelope_bytes()), (2, more)]);
    view.close().await;
    relay.shutdown().await;
}

#[tokio::test]
async fn what_was_not_written_counts_for_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let new =
        edit::New { name: "alice".into(), groups: Some(2), bytes: Some(4 * envelope_bytes()), ..Default::default() };
    let alice = edit::add(&file, &new).unwrap();
    let store = Arc::new(MemoryStore::new());
    let access = Access::parse(&format!("token:{}", file.display())).unwrap();
    let config = RelayConfig { access, ..RelayConfig::in_memory() };
    let relay = Relay::start_with_store(config, store.clone()).await.unwrap();
    let found = async |n: u8| {
        let (first, second, _) = founded_as(GroupId([n; 32]), async || Wire::local(&relay), alice.as_bytes()).await;
        (first, second)
    };
    // Others were quicker, or the disk failed: with making a group, and with what is pushed.
    store.fail(3, StoreError::Stale(vec![GroupId([5; 32])]));
    let ((mut a, mut wire_a), _b) = found(5).await;
    store.fail_next(StoreError::Io("broken".into()));
    let failed = creating(&relay, &Device::new(1, GroupId([6; 32])), alice.as_bytes()).await;
    assert_eq!(failed, Err(Code::Internal));
    let ((mut c, mut wire_c), _d) = found(6).await;
    assert_eq!(creating(&relay, &Device::new(7, GroupId([7; 32])), alice.as_bytes()).await, Err(Code::TokenSpent));
    let first = a.seal(500);
    store.fail_next(StoreError::Io("broken".into()));
    assert_eq!(pushing(&mut wire_a, &a, &first).await, Err(Code::Internal));
    pushing(&mut wire_a, &a, &first).await.unwrap();
    store.fail(3, StoreError::Stale(vec![a.group]));
    let second = a.seal(500);
    pushing(&mut wire_a, &a, &second).await.unwrap();
    for _ in 0..2 {
        let envelope = c.seal(500);
        pushing(&mut wire_c, &c, &envelope).await.unwrap();
    }
    let envelope = c.seal(500);
    assert_eq!(pushing(&mut wire_c, &c, &envelope).await, Err(Code::Quota));
    relay.shutdown().await;
}

#[tokio::test]
async fn groups_are_listed_by_size_and_by_lag_beside_a_running_relay() {
    let folder = tempfile::tempdir().unwrap();
    lists_groups(config(folder.path())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn groups_are_listed_beside_relays_that_share_a_database_too() {
    let server = crate::pg_server::Server::start();
    let store = StoreConfig::parse(&server.database().await).unwrap();
    lists_groups(RelayConfig { listen: None, http: None, store, ..RelayConfig::in_memory() }).await;
}

async fn lists_groups(config: RelayConfig) {
    let store = config.store.clone();
    let relay = Relay::start(config).await.unwrap();
    let ((mut a, mut wire_a), (b, mut wire_b)) = pair(async || Wire::local(&relay), b"").await;
    wire_a.send(&ToRelay::Push((0..3).map(|_| a.seal(400)).collect())).await;
    wire_a.accepted(3).await;
    let first = wire_b.entries(3).await[0].cursor;
    wire_b.acknowledge(first).await;
    wire_b.settled().await;
    let mut lone = Device::new(9, GroupId([9; 32]));
    let mut wire = Wire::local(&relay);
    lone.create(&mut wire, &lone.found(), b"").await;
    attached(&mut wire).await;
    wire.send(&ToRelay::Push(vec![lone.seal(300)])).await;
    wire.accepted(1).await;

    let mut view = admin::look(&store).await.unwrap();
    let found = view.largest(Order::Lag, 10).await.unwrap();
    assert_eq!(found[0].group, b.group);
    assert_eq!((found[0].members, found[0].entries, found[0].lag), (2, 2, 2), "the first one was acknowledged");
    assert!(found[0].oldest_at_s.is_some() && found[0].seen_ms > 0);
    assert_eq!(view.beginning("0505", 3).await.unwrap()[0].group, b.group);
    assert!(view.beginning("06", 3).await.unwrap().is_empty());
    let totals = view.totals(30 * date::DAY_MS).await.unwrap();
    assert_eq!(totals.stats.groups, 2);
    assert_eq!(totals.stats.entries as i64, relay.metrics().entries.value());
    assert!(totals.survey.oldest_at_s.is_some() && totals.survey.lapsed == Some(0) && totals.file_bytes > 10_000);
    assert_eq!(view.largest(Order::Size, 1).await.unwrap()[0], found[0]);
    view.close().await;
    relay.shutdown().await;
}
