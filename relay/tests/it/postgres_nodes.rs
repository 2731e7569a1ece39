//! Several running relays over one PostgreSQL: devices at one hear what devices at another do.

use std::process::Stdio;
use std::time::Duration;

use sync_relay::store::Store;
use sync_relay::store::postgres::PostgresStore;
use sync_relay::tokens::edit;
use sync_relay::{Access, Identity, Relay, RelayConfig, RunningRelay, StoreConfig, admin};
use sync_types::frame::{About, FromRelay, ToRelay};
use sync_types::{Code, GroupId, Opaque};

use crate::device::{Device, Wire, add, founded, founded_as, remove};
use crate::pg_server::Server;
use crate::server::get;
use crate::waking;

/// Nothing here takes so long.
const LONG: Duration = Duration::from_secs(60);

/// Waits, though not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it never came")
}

pub(crate) async fn node(url: &str, identity: &Identity) -> RunningRelay {
    node_with(url, identity, RelayConfig::in_memory()).await
}

pub(crate) async fn node_with(url: &str, identity: &Identity, config: RelayConfig) -> RunningRelay {
    let store = StoreConfig::parse(url).unwrap();
    let http = Some(([127, 0, 0, 1], 0).into());
    Relay::start(RelayConfig { store, http, identity: Some(identity.clone()), ..config }).await.unwrap()
}

/// Two relays over one new database.
pub(crate) async fn two(server: &Server) -> (String, RunningRelay, RunningRelay) {
    let (url, identity) = (server.database().await, Identity::generate().unwrap());
    let (left, right) = tokio::join!(node(&url, &identity), node(&url, &identity));
    (url, left, right)
}

/// A connection to each of two relays, in turn.
pub(crate) fn at(first: &RunningRelay, second: &RunningRelay) -> impl AsyncFnMut() -> Wire + use<> {
    let mut wires = [first, second].map(Wire::local).into_iter();
    async move || wires.next().unwrap()
}

/// The bytes of so many entries, in their order.
async fn bodies(wire: &mut Wire, count: usize) -> Vec<Opaque> {
    let entries = soon(wire.entries(count)).await;
    assert!(entries.is_sorted_by_key(|entry| entry.cursor));
    entries.into_iter().map(|entry| entry.bytes).collect()
}

#[tokio::test]
async fn a_group_that_the_host_deletes_from_beside_ends_at_every_relay() {
    let server = Server::start();
    let (url, left, right) = two(&server).await;
    let ((a, mut wire_a), (_b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    // A folder that no relay runs on: the host is at another machine.
    let folder = tempfile::tempdir().unwrap();
    let store = StoreConfig::parse(&url).unwrap();
    let strange = admin::purge(folder.path(), &store, GroupId([77; 32])).await.unwrap_err();
    assert_eq!(strange.code, Code::UnknownGroup);
    admin::purge(folder.path(), &store, a.group).await.unwrap();
    for wire in [&mut wire_a, &mut wire_b] {
        soon(async { while wire.receive().await.is_some() {} }).await;
    }
    for relay in [&left, &right] {
        let mut wire = Wire::local(relay);
        a.ask_to_attach(&mut wire).await;
        assert_eq!(wire.refusal().await.code(), Code::UnknownGroup);
    }
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn what_a_device_pushes_at_one_relay_arrives_at_the_other_and_is_acknowledged_back() {
    let server = Server::start();
    let (url, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    let sent: Vec<Opaque> = (0..50).map(|_| a.seal(300)).collect();
    wire_a.send(&ToRelay::Push(sent.clone())).await;
    soon(wire_a.accepted(50)).await;
    let got = soon(wire_b.entries(50)).await;
    assert!(got.iter().map(|entry| &entry.bytes).eq(&sent), "byte for byte and in order");

    wire_b.acknowledge_signed(got.last().unwrap().cursor, &b, &a).await;
    let receipt = |frame| match frame {
        FromRelay::Receipt(statement) => Some(statement),
        _ => None,
    };
    assert!(!soon(wire_a.expect(receipt)).await.is_empty());
    let store = PostgresStore::open(&url).await.unwrap();
    assert_eq!(store.stats().await.unwrap().entries, 0, "what all have acknowledged is gone");

    // What is kept nowhere goes across as well.
    wire_a.send(&ToRelay::Presence(a.presence())).await;
    soon(wire_b.expect(|frame| matches!(frame, FromRelay::Presence(_)).then_some(()))).await;
    wire_b.send(&ToRelay::GroupInfo(Some(a.id))).await;
    soon(wire_a.expect(|frame| matches!(frame, FromRelay::Renew).then_some(()))).await;
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn changes_of_the_group_reach_devices_at_the_other_relay() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (mut b, mut wire_b), mut mls) = founded(at(&left, &right), b"").await;
    let mut newcomer = Device::new(3, a.group);
    let change = add(&mut mls, &newcomer);
    wire_a.send(&ToRelay::Commit(change)).await;
    let cursor = soon(wire_b.entries(1)).await[0].cursor;
    // Whoever could reject it is attached, though elsewhere.
    let mut wire = Wire::local(&right);
    assert!(soon(newcomer.attach(&mut wire, cursor)).await.provisional);
    wire_b.acknowledge(cursor).await;
    let confirmed = |epoch| move |frame| matches!(frame, FromRelay::Confirmed(of) if of == epoch).then_some(());
    soon(wire_a.expect(confirmed(2))).await;
    soon(wire_b.expect(confirmed(2))).await;
    soon(wire.expect(|frame| matches!(frame, FromRelay::Welcome(_)).then_some(()))).await;
    (a.epoch, b.epoch, newcomer.epoch) = (2, 2, 2);
    wire.send(&ToRelay::Push(vec![newcomer.seal(300)])).await;
    soon(wire.accepted(1)).await;
    // The sessions at both relays verify by the newcomer's key from now on, and carry what it sealed.
    wire_a.send(&ToRelay::Push(vec![newcomer.seal(300)])).await;
    soon(wire_a.accepted(0)).await;
    wire_b.send(&ToRelay::Push(vec![b.seal(300)])).await;
    soon(wire_b.accepted(1)).await;
    // The newcomer was shown nothing before, and its session hears of that there, too.
    assert_eq!(soon(wire.entries(1)).await.len(), 1);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn a_removal_at_one_relay_ends_what_its_device_may_do_at_the_other() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((_a, mut wire_a), (mut b, mut wire_b), mut mls) = founded(at(&left, &right), b"").await;
    wire_a.send(&ToRelay::Commit(remove(&mut mls, &b))).await;
    soon(wire_a.entries(1)).await;
    // It is shown the commit that put it out, and nothing behind that.
    assert_eq!(soon(wire_b.entries(1)).await[0].kind, sync_types::frame::EntryKind::Commit);
    wire_b.send(&ToRelay::Push(vec![b.seal(300)])).await;
    let refused = soon(wire_b.refusal()).await;
    assert_eq!((refused.about, refused.code()), (About::Push, Code::Removed));
    left.shutdown().await;
    right.shutdown().await;
}

/// What comes to a group at one relay leaves the others of its token less room at the other one, and what is acknowledged more.
#[tokio::test]
async fn what_a_token_may_hold_is_counted_over_both_relays() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let (url, identity) = (server.database().await, Identity::generate().unwrap());
    let file = folder.path().join("tokens");
    let size = Device::new(1, GroupId([5; 32])).seal(500).len() as u64;
    let new = edit::New { name: "alice".into(), bytes: Some(3 * size), ..edit::New::default() };
    let token = edit::add(&file, &new).unwrap();
    let access = Access::parse(&format!("token:{}", file.display())).unwrap();
    let start = || node_with(&url, &identity, RelayConfig { access: access.clone(), ..RelayConfig::in_memory() });
    let (left, right) = tokio::join!(start(), start());
    let token = token.as_bytes();
    let ((_a, mut wire_a), (mut b, mut wire_b), _) = founded_as(GroupId([5; 32]), at(&left, &right), token).await;
    let ((mut c, mut wire_c), _d, _) = founded_as(GroupId([6; 32]), at(&left, &left), token).await;
    wire_b.send(&ToRelay::Push((0..3).map(|_| b.seal(500)).collect())).await;
    soon(wire_b.accepted(3)).await;
    // The left one has heard of all of it before it delivers any.
    let cursor = soon(wire_a.entries(3)).await[1].cursor;
    let sealed = [c.seal(500), c.seal(500), c.seal(500)];
    wire_c.send(&ToRelay::Push(sealed[..1].to_vec())).await;
    assert_eq!(soon(wire_c.refusal()).await.code(), Code::Quota);
    wire_a.acknowledge(cursor).await;
    soon(wire_a.settled()).await;
    wire_c.send(&ToRelay::Push(sealed.to_vec())).await;
    soon(wire_c.accepted(2)).await;
    assert_eq!(soon(wire_c.refusal()).await.code(), Code::Quota);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_push_at_once_and_each_envelope_arrives_once_and_in_order() {
    const COUNT: usize = 300;
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (mut b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    let from_a: Vec<Opaque> = (0..COUNT).map(|n| a.seal(300 + n)).collect();
    let from_b: Vec<Opaque> = (0..COUNT).map(|n| b.seal(300 + n)).collect();
    // Neither reads before all is sent, so that the two relays meet as often as they can.
    let push = async |wire: &mut Wire, envelopes: &[Opaque]| {
        for envelope in envelopes {
            wire.send(&ToRelay::Push(vec![envelope.clone()])).await;
        }
    };
    soon(async { tokio::join!(push(&mut wire_a, &from_a), push(&mut wire_b, &from_b)) }).await;
    let (at_a, at_b) = tokio::join!(bodies(&mut wire_a, COUNT), bodies(&mut wire_b, COUNT));
    assert!(at_a == from_b && at_b == from_a);
    // And no other comes.
    soon(wire_a.settled()).await;
    soon(wire_b.settled()).await;
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_relay_dies_its_devices_go_on_at_the_other_and_nothing_is_lost_or_doubled() {
    const COUNT: usize = 200;
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (_b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    let sent: Vec<Opaque> = (0..COUNT).map(|_| a.seal(300)).collect();
    for envelope in &sent {
        wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    }
    soon(wire_a.accepted(20)).await;
    drop((left, wire_a));

    let mut wire_a = Wire::local(&right);
    let head = soon(a.attach(&mut wire_a, 1)).await.head.expect("what was accepted is there");
    assert!((20..=COUNT as u64).contains(&head.seq));
    // It does not know how far it came, and sends all of it.
    wire_a.send(&ToRelay::Push(sent.clone())).await;
    soon(wire_a.accepted(COUNT as u64)).await;
    assert!(bodies(&mut wire_b, COUNT).await == sent);
    wire_a.send(&ToRelay::Push(vec![a.seal(999)])).await;
    assert_eq!(soon(wire_b.entries(1)).await[0].bytes.len(), bodies_len(999), "and then the next one");
    right.shutdown().await;
}

/// How long an envelope with so much ciphertext is.
fn bodies_len(ciphertext: usize) -> usize {
    let mut device = Device::new(9, GroupId([9; 32]));
    device.seal(ciphertext).len()
}

#[tokio::test]
async fn a_device_that_comes_to_another_relay_leaves_the_one_before() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (b, mut hanging), _mls) = founded(at(&left, &left), b"").await;
    let mut wire_b = Wire::local(&right);
    soon(b.attach(&mut wire_b, 1)).await;
    while soon(hanging.receive()).await.is_some() {}
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    soon(wire_b.entries(1)).await;
    left.shutdown().await;
    right.shutdown().await;
}

/// A relay that started later gives out cursors that are further on, once it gives out some. Until then the other one goes on with
/// its own, and they reach whoever is at the later one.
#[tokio::test]
async fn a_relay_that_started_later_leaves_out_nothing_of_the_earlier_one() {
    let server = Server::start();
    let (url, identity) = (server.database().await, Identity::generate().unwrap());
    let left = node(&url, &identity).await;
    let ((mut a, mut wire_a), (b, wire_b), _mls) = founded(at(&left, &left), b"").await;
    drop(wire_b);
    soon(wire_a.settled()).await;
    let right = node(&url, &identity).await;
    let mut wire_b = Wire::local(&right);
    soon(b.attach(&mut wire_b, 1)).await;
    let caught_up = |frame| if let FromRelay::CaughtUp(cursor) = frame { Some(cursor) } else { None };
    let told = soon(wire_b.expect(caught_up)).await;
    let envelope = a.seal(300);
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    soon(wire_a.accepted(1)).await;
    let came = soon(wire_b.entries(1)).await;
    assert!(came[0].bytes == envelope && came[0].cursor > told, "beyond all that it was told of");
    left.shutdown().await;
    right.shutdown().await;
}

/// A device hears at each relay of the same newest cursor, so that it may come to any with what another has told it, though a
/// relay that started later gives out cursors that are further on.
#[tokio::test]
async fn a_device_may_come_to_any_relay_with_what_another_has_told_it() {
    let server = Server::start();
    let (url, identity) = (server.database().await, Identity::generate().unwrap());
    let left = node(&url, &identity).await;
    let ((mut a, mut wire_a), (b, wire_b), _mls) = founded(at(&left, &left), b"").await;
    drop(wire_b);
    let right = node(&url, &identity).await;
    let mut wire_b = Wire::local(&right);
    let there = soon(b.attach(&mut wire_b, 1)).await.newest;
    // To and fro: what one relay hears of the other when the device is back already does not put it out.
    for relay in [&left, &right].into_iter().cycle().take(41) {
        wire_b = Wire::local(relay);
        assert_eq!(soon(b.attach(&mut wire_b, there)).await.newest, there, "it is not taken for one of another relay");
        wire_b.acknowledge(there).await;
        soon(wire_b.settled()).await;
    }
    wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
    assert!(soon(wire_b.entries(1)).await[0].cursor > there);
    left.shutdown().await;
    right.shutdown().await;
}

/// Pushes until somebody is woken by it.
async fn until_woken(device: &mut Device, wire: &mut Wire, service: &mut waking::Service) {
    loop {
        waking::push(device, wire).await;
        if tokio::time::timeout(Duration::from_millis(50), service.next()).await.is_ok() {
            return;
        }
    }
}

/// Each relay wakes by what comes to it, and knows who is attached, or was, at the other one.
#[tokio::test]
async fn whoever_sleeps_is_woken_by_whichever_relay_has_something_for_it() {
    let (server, folder, mut service) = (Server::start(), tempfile::tempdir().unwrap(), waking::Service::start().await);
    let (url, identity) = (server.database().await, Identity::generate().unwrap());
    let wake = waking::waking(folder.path(), waking::HERE);
    let start = || node_with(&url, &identity, RelayConfig { wake: wake.clone(), ..RelayConfig::in_memory() });
    let (left, right) = tokio::join!(start(), start());
    let ((mut a, mut wire_a), (b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    waking::set(&mut wire_b, Some(service.target("b"))).await;
    waking::push(&mut a, &mut wire_a).await;
    let read = soon(wire_b.entries(1)).await[0].cursor;
    wire_b.acknowledge_signed(read, &b, &a).await;
    soon(wire_b.settled()).await;
    assert!(service.none(), "it is attached at the other relay");
    waking::gone(wire_b, &right, 0).await;
    // What the left one knows of that it hears by the database.
    soon(until_woken(&mut a, &mut wire_a, &mut service)).await;
    // It comes to the right one and leaves: the left one has to wake it once more, and sooner than after a rest.
    let mut wire_b = Wire::local(&right);
    soon(b.attach(&mut wire_b, read)).await;
    let last = soon(wire_b.entries(1)).await.last().unwrap().cursor;
    wire_b.acknowledge_signed(last, &b, &a).await;
    soon(wire_b.settled()).await;
    waking::gone(wire_b, &right, 0).await;
    let woken = until_woken(&mut a, &mut wire_a, &mut service);
    tokio::time::timeout(Duration::from_secs(30), woken).await.expect("a wake-up before its rest is over");
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn what_was_said_while_nobody_listened_is_found_by_looking() {
    let server = Server::start();
    let (url, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (_b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    let deaf = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    for _ in 0..3 {
        server.raw(&url, deaf).await;
        wire_a.send(&ToRelay::Push(vec![a.seal(300)])).await;
        // Sooner than by looking now and then.
        tokio::time::timeout(Duration::from_secs(15), wire_b.entries(1)).await.unwrap();
    }
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn a_relay_outlives_a_restart_of_its_database() {
    let mut server = Server::start();
    let (_, left, right) = two(&server).await;
    let ((mut a, mut wire_a), (_b, mut wire_b), _mls) = founded(at(&left, &right), b"").await;
    soon(wire_a.settled()).await;
    assert_eq!(get(&left, "/ready").await.0, 200);
    server.stop();
    assert_eq!(get(&left, "/ready").await.0, 503);
    let envelope = a.seal(300);
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    let refused = soon(wire_a.refusal()).await;
    assert_eq!(refused.about, About::Push);
    assert!(refused.retry_after_ms > 0);
    server.start_again();
    for relay in [&left, &right] {
        soon(async { while get(relay, "/ready").await.0 != 200 {} }).await;
    }
    wire_a.send(&ToRelay::Push(vec![envelope.clone()])).await;
    soon(wire_a.accepted(1)).await;
    assert_eq!(bodies(&mut wire_b, 1).await, [envelope], "and the sessions at both relays are as they were");
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn the_program_takes_a_database_and_never_shows_its_password() {
    let server = Server::start();
    let url = server.database().await;
    let folder = tempfile::tempdir().unwrap();
    let command = |url: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sync-relay"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", url, "--data"]);
        command.arg(folder.path()).env("KSYNC_RELAY_LOG", "trace").env("RUST_BACKTRACE", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    };
    let mut child = command(&url).spawn().unwrap();
    let mut line = String::new();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    soon(tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)).await.unwrap();
    assert!(line.contains("\"ready\""), "{line}");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = soon(child.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("stopping") && !said.contains("s3cret"), "{said}");
    assert!(!folder.path().join(StoreConfig::FILE).exists());

    let output = soon(command("postgres://relay:s3cret@127.0.0.1:1/x").output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\"IO\"") && said.contains("127.0.0.1:1") && !said.contains("s3cret"), "{said}");
}
