//! The recovery kit: every device is lost, and 24 words on paper lead back; and what leads nowhere.

use std::time::Duration;

use sync_client::{ClientEvent, Code, ReceiptState, RecoveryWords, Setting, StartAt, SyncClient};
use sync_types::limits;

use crate::support::*;

async fn recover(world: &World, name: &str, kit: &RecoveryWords) -> Result<SyncClient, Code> {
    let client = world.device(name).await;
    match client.recover(&kit.words, &kit.relay, None, SOON).await {
        Ok(_) => Ok(client),
        Err(error) => {
            let status = client.status().await.unwrap();
            assert!(status.group.is_none() && !status.joining, "nothing was changed: {status:?}");
            client.close().await;
            Err(error.code)
        }
    }
}

async fn online(client: &SyncClient) {
    client.catch_up(SOON).await.unwrap();
}

fn changed(event: &ClientEvent) -> Option<Option<String>> {
    match event {
        ClientEvent::SettingsChanged { setting: Setting::RecoveryKit, by } => Some(by.name.clone()),
        _ => None,
    }
}

/// Waits until the device has told the relay what it has to say, which nothing answers.
async fn settled(client: &SyncClient) {
    let receipt = client.push("settled").await.unwrap();
    client.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_lead_back_when_every_device_is_lost() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    assert_eq!(kit.words.split(' ').count(), 24);
    assert!(!format!("{kit:?}").contains(kit.words.split(' ').next().unwrap()));
    let b = world.device("b").await;
    pair(&a, &b).await;
    let group = a.status().await.unwrap().group;
    settled(&b).await;
    for device in [a, b] {
        let status = device.status().await.unwrap();
        assert!(status.recovery_kit && status.vouches, "{status:?}");
        device.close().await;
    }

    let c = recover(&world, "c", &kit).await.unwrap();
    let status = c.status().await.unwrap();
    assert_eq!((status.group, status.devices.len()), (group, 1));
    online(&c).await;
    let findings = c.doctor().await.unwrap();
    assert!(findings.iter().any(|f| f.title == "history is lost"), "{findings:?}");

    // The group goes on: what is pushed arrives at whoever is paired now, and all of it is handed on.
    c.push("after the fire").await.unwrap();
    let d = world.device("d").await;
    pair(&c, &d).await;
    assert_eq!(receive_texts(&d, 1).await, ["after the fire"]);
    let back = d.push("from d").await.unwrap();
    d.wait(&back, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["from d"]);
    assert!(d.status().await.unwrap().vouches);

    // The same words lead back once more, whoever was the last to change the group.
    settled(&d).await;
    c.close().await;
    d.close().await;
    let e = recover(&world, "e", &kit).await.unwrap();
    assert_eq!(e.status().await.unwrap().group, group);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_live_are_told_why_they_are_out() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    settled(&a).await;
    settled(&b).await;
    let (mut of_a, mut of_b) = (a.events(), b.events());
    let c = recover(&world, "c", &kit).await.unwrap();
    for events in [&mut of_a, &mut of_b] {
        let back = |e: &ClientEvent| matches!(e, ClientEvent::DeviceRecovered { .. }).then_some(());
        event("the device that came back", events, back).await;
        let out = |e: &ClientEvent| match e {
            ClientEvent::Removed { lost, recovered, .. } => Some((*lost, *recovered)),
            _ => None,
        };
        assert_eq!(event("the removal", events, out).await, (false, true));
    }
    assert_eq!(a.push("too late").await.unwrap_err().code, Code::Removed);
    assert_eq!(c.devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_a_kit_later_and_a_new_one_makes_the_old_one_worthless() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    online(&a).await;
    let mut of_b = b.events();
    let first = a.make_recovery_kit().await.unwrap();
    assert_eq!(event("the first kit", &mut of_b, changed).await.as_deref(), Some("a"));
    // B has seen the words, and is put out. What it saw is worth nothing once there is another kit.
    let id = b.status().await.unwrap().device.unwrap();
    let mut of_a = a.events();
    a.remove_device(id).await.unwrap();
    let gone = |e: &ClientEvent| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(());
    event("the removal", &mut of_a, gone).await;
    b.close().await;
    let second = a.make_recovery_kit().await.unwrap();
    assert_ne!(first.words, second.words);
    settled(&a).await;
    a.close().await;

    assert_eq!(recover(&world, "old", &first).await.err(), Some(Code::KitReplaced));
    let c = recover(&world, "new", &second).await.unwrap();
    assert!(c.status().await.unwrap().recovery_kit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_learns_what_it_needs_and_vouches_too() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    online(&a).await;
    b.close().await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;
    let b = world.device("b").await;
    let mut events = b.events();
    online(&b).await;
    if !b.status().await.unwrap().vouches {
        event("what members hold of the kit", &mut events, |e| matches!(e, ClientEvent::Arrived).then_some(())).await;
    }
    soon("B to know the kit", async {
        while !b.status().await.unwrap().vouches {
            tokio::task::yield_now().await
        }
    })
    .await;
    // B changes the group last, and it is B's word that the kit finds.
    let of_a = a.status().await.unwrap().device.unwrap();
    a.close().await;
    let mut events = b.events();
    b.remove_device(of_a).await.unwrap();
    event("the removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    settled(&b).await;
    let told = b.doctor().await.unwrap();
    assert!(told.iter().any(|f| f.detail.contains("a changed the group's recovery kit")), "{told:?}");
    b.close().await;
    recover(&world, "c", &kit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_kit_of_a_group_here_is_refused_by_name() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;

    let slip = kit.words.split(' ').rev().collect::<Vec<_>>().join(" ");
    let other = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
                 winner thank year wave sausage worth title";
    for (words, code) in
        [(slip.as_str(), Code::KitInvalid), ("legal winner", Code::KitInvalid), (other, Code::KitUnknown)]
    {
        let wrong = RecoveryWords { words: words.to_owned().into(), ..kit.clone() };
        assert_eq!(recover(&world, "x", &wrong).await.err(), Some(code), "{words}");
    }
    // Somebody with another app, or with a group that it shares.
    let x = SyncClient::new(world.config("y").app_id("another")).await.unwrap();
    let error = x.recover(&kit.words, &kit.relay, None, SOON).await.unwrap_err();
    assert_eq!(error.code, Code::WrongApp);
    let (c, _d) = {
        let (c, d) = (world.device("c").await, world.device("d").await);
        pair(&c, &d).await;
        (c, d)
    };
    assert_eq!(c.recover(&kit.words, &kit.relay, None, SOON).await.unwrap_err().code, Code::AlreadyInGroup);
    let embedded = sync_client::RelayAddress::Embedded;
    let error = world.device("z").await.recover(&kit.words, &embedded, None, SOON).await.unwrap_err();
    assert_eq!(error.code, Code::KitNeedsRelay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_a_device_hosts_gets_no_kit() {
    let world = World::memory().await;
    let config = sync_client::SyncConfig::at(world.home("host")).embedded_listen(([127, 0, 0, 1], 0).into());
    let host = SyncClient::new(config).await.unwrap();
    assert_eq!(host.make_recovery_kit().await.unwrap_err().code, Code::KitNeedsRelay);
    host.push("a group all the same").await.unwrap();
    assert_eq!(host.make_recovery_kit().await.unwrap_err().code, Code::KitNeedsRelay);
    assert!(!host.status().await.unwrap().recovery_kit);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_wrote_alone_comes_along() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;
    a.close().await;
    let b = world.device("b").await;
    b.push("written before").await.unwrap();
    b.recover(&kit.words, &kit.relay, Some("new name"), Duration::from_secs(30)).await.unwrap();
    let c = world.device("c").await;
    pair(&b, &c).await;
    assert_eq!(receive_texts(&c, 1).await, ["written before"]);
    assert_eq!(b.status().await.unwrap().name, "new name");
}

/// A device that leaves its snapshots for the kit.
async fn leaving(world: &World, name: &str) -> SyncClient {
    SyncClient::new(world.config(name).kit_snapshots(true)).await.unwrap()
}

fn left(event: &ClientEvent) -> Option<(String, Option<Code>)> {
    match event {
        ClientEvent::LeftForKit { channel, refused } => Some((channel.clone(), *refused)),
        _ => None,
    }
}

/// The app on this device makes a snapshot of all that it has pushed to a channel, and the relay has it.
async fn snapshot(client: &SyncClient, channel: &str, up_to: u64, text: &str) {
    let mut events = client.events();
    assert!(client.snapshot(channel, text.into(), up_to).await.unwrap().replaced > 0);
    assert_eq!(event("the relay's word", &mut events, left).await, (channel.to_owned(), None));
}

async fn push(client: &SyncClient, channel: &str, text: &str) -> u64 {
    let receipt = client.push_to(channel, text.to_owned()).await.unwrap();
    client.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    receipt.position
}

/// What the app of this device finds, in the order of channels: which, what, and whether it is a snapshot.
async fn found(client: &SyncClient) -> Vec<(String, String, bool)> {
    let blobs = client.read("app", None, 100).await.unwrap().into_iter();
    let mut found: Vec<_> =
        blobs.map(|b| (b.channel, String::from_utf8_lossy(&b.data).into_owned(), b.snapshot)).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_come_back_with_the_group_and_what_came_after_them_does_not() {
    let world = World::new(Way::Quic).await;
    let a = leaving(&world, "a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    let old = push(&a, "notes", "first").await;
    snapshot(&a, "notes", old, "the first snapshot of the notes").await;
    let new = push(&a, "notes", "second").await;
    snapshot(&a, "notes", new, "all of the notes").await;
    let other = push(&a, "other", "elsewhere").await;
    snapshot(&a, "other", other, "all that is elsewhere").await;
    push(&a, "notes", "after the snapshot").await;
    // Who is not asked to leaves nothing.
    let mine = push(&b, "of b", "here").await;
    b.snapshot("of b", b"all of b".to_vec(), mine).await.unwrap();
    settled(&b).await;
    for device in [a, b] {
        device.close().await;
    }
    assert!(!any_file_holds(&world.relay_folder(), b"all of the notes"), "the relay can read it");

    let c = world.device("c").await;
    let back = c.recover(&kit.words, &kit.relay, None, SOON).await.unwrap();
    let mut channels: Vec<_> = back.snapshots.iter().map(|s| s.channel.as_str()).collect();
    channels.sort_unstable();
    assert_eq!((channels, back.left_out), (vec!["notes", "other"], 0));
    let whole = [("notes", "all of the notes"), ("other", "all that is elsewhere")];
    let whole: Vec<_> = whole.iter().map(|(c, t)| ((*c).to_owned(), (*t).to_owned(), true)).collect();
    assert_eq!(found(&c).await, whole);

    // They belong to the group as anything does: whoever is paired now gets them, and once.
    let d = world.device("d").await;
    pair(&c, &d).await;
    d.catch_up(SOON).await.unwrap();
    let mut got: Vec<_> = receive_texts(&d, 2).await;
    got.sort_unstable();
    assert_eq!(got, ["all of the notes", "all that is elsewhere"]);
    assert!(d.read("app", None, 10).await.unwrap().is_empty());
    let mut again = c.subscribe("all", Some("notes"), StartAt::Start).unwrap();
    assert_eq!(again.next().await.unwrap().data, b"all of the notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_had_that_was_alone_in_its_group_comes_back() {
    let mut world = World::new(Way::Quic).await;
    let a = leaving(&world, "a").await;
    // Before there is a kit, and without anything in the log that it could stand for.
    let first = a.push_to("notes", "first").await.unwrap();
    a.push_to("other", "elsewhere").await.unwrap();
    assert_eq!(a.snapshot("other", b"all that is elsewhere".to_vec(), 0).await.unwrap().replaced, 0);
    assert_eq!(a.snapshot("notes", b"only the first note".to_vec(), first.position).await.unwrap().replaced, 0);
    online(&a).await;
    let mut events = a.events();
    a.make_recovery_kit().await.unwrap();
    let mut told = [event("one", &mut events, left).await, event("the other", &mut events, left).await];
    told.sort();
    assert_eq!(told, [("notes".to_owned(), None), ("other".to_owned(), None)]);
    // The newest stays, also for another kit and at a relay that lost the one before.
    a.snapshot("notes", b"all of the notes".to_vec(), first.position).await.unwrap();
    assert_eq!(event("the newest", &mut events, left).await, ("notes".to_owned(), None));
    let kit = a.make_recovery_kit().await.unwrap();
    for _ in 0..2 {
        event("again", &mut events, left).await;
    }
    world.stop_relay().await;
    for file in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        let _ = std::fs::remove_file(world.relay_folder().join(file));
    }
    world.start_relay().await;
    for _ in 0..2 {
        event("once more", &mut events, left).await;
    }
    settled(&a).await;
    // Who is paired now gets what was pushed, as the log is what it was.
    let b = world.device("b").await;
    pair(&a, &b).await;
    let mut got = receive_texts(&b, 3).await;
    got.sort();
    assert_eq!(got, ["elsewhere", "first", "settled"]);
    for device in [a, b] {
        device.close().await;
    }
    for what in [&b"all of the notes"[..], b"only the first note"] {
        assert!(!any_file_holds(&world.relay_folder(), what), "the relay can read it");
        assert!(!any_file_holds(&world.home("a"), what), "it lies on the disk in the clear");
    }
    let c = recover(&world, "c", &kit).await.unwrap();
    let whole = [("notes", "all of the notes"), ("other", "all that is elsewhere")];
    assert_eq!(found(&c).await, whole.map(|(c, t)| (c.to_owned(), t.to_owned(), true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_stands_for_something_takes_the_place_of_one_that_was_for_the_kit_alone() {
    let world = World::new(Way::Quic).await;
    let a = leaving(&world, "a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    let mut events = a.events();
    a.push_to("notes", "first").await.unwrap();
    a.snapshot("notes", b"only the first note".to_vec(), 0).await.unwrap();
    assert_eq!(event("the first", &mut events, left).await, ("notes".to_owned(), None));
    let b = world.device("b").await;
    pair(&a, &b).await;
    let position = push(&a, "notes", "second").await;
    snapshot(&a, "notes", position, "all of the notes").await;
    for device in [a, b] {
        device.close().await;
    }
    let c = recover(&world, "c", &kit).await.unwrap();
    assert_eq!(found(&c).await, [("notes".to_owned(), "all of the notes".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kit_has_the_snapshots_too_and_the_relay_forgets_those_of_the_old_one() {
    let world = World::new(Way::Quic).await;
    // The app says so later, and the kit comes later still.
    let a = world.device("a").await;
    let position = {
        a.push_to("notes", "first").await.unwrap();
        let b = world.device("b").await;
        pair(&a, &b).await;
        let position = push(&a, "notes", "second").await;
        b.close().await;
        position
    };
    a.snapshot("notes", b"all of the notes".to_vec(), position).await.unwrap();
    a.close().await;
    let a = leaving(&world, "a").await;
    assert!(a.status().await.unwrap().kit_snapshots);
    online(&a).await;
    let mut events = a.events();
    a.make_recovery_kit().await.unwrap();
    assert_eq!(event("it goes with the first kit", &mut events, left).await, ("notes".to_owned(), None));
    let second = a.make_recovery_kit().await.unwrap();
    assert_eq!(event("it goes with the second kit", &mut events, left).await, ("notes".to_owned(), None));
    a.close().await;
    // The home remembers what was said.
    let a = world.device("a").await;
    assert!(a.status().await.unwrap().kit_snapshots);
    settled(&a).await;
    a.close().await;

    let c = world.device("c").await;
    let back = c.recover(&second.words, &second.relay, None, SOON).await.unwrap();
    assert_eq!(back.snapshots.len(), 1);
    assert_eq!(found(&c).await, [("notes".to_owned(), "all of the notes".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_lost_them_gets_the_snapshots_again() {
    let mut world = World::new(Way::Quic).await;
    let a = leaving(&world, "a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    let position = push(&a, "notes", "first").await;
    snapshot(&a, "notes", position, "all of the notes").await;
    let mut events = a.events();
    world.stop_relay().await;
    for file in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        let _ = std::fs::remove_file(world.relay_folder().join(file));
    }
    world.start_relay().await;
    assert_eq!(event("the relay's word, again", &mut events, left).await, ("notes".to_owned(), None));
    settled(&a).await;
    for device in [a, b] {
        device.close().await;
    }
    let c = recover(&world, "c", &kit).await.unwrap();
    assert_eq!(found(&c).await, [("notes".to_owned(), "all of the notes".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_relay_does_not_take_is_told_and_the_doctor_finds_it() {
    let world = World::memory().await;
    let a = leaving(&world, "a").await;
    a.make_recovery_kit().await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    for n in 0..limits::KIT_SNAPSHOTS {
        let all = push(&a, &format!("{n}"), "something").await;
        snapshot(&a, &format!("{n}"), all, "all of it").await;
    }
    let titles = async || a.doctor().await.unwrap().into_iter().map(|f| (f.code, f.title)).collect::<Vec<_>>();
    let finding = (Some(Code::Quota), "a snapshot is not with the recovery kit".to_owned());
    assert!(!titles().await.contains(&finding));

    let one_more = push(&a, "one more", "something").await;
    let mut events = a.events();
    a.snapshot("one more", b"all of it".to_vec(), one_more).await.unwrap();
    assert_eq!(event("the relay's word", &mut events, left).await, ("one more".to_owned(), Some(Code::Quota)));
    assert!(titles().await.contains(&finding));
    assert_eq!(a.status().await.unwrap().kit_snapshot_refused, Some(Code::Quota));
}
