//! A group's life: both ways, offline, a third device, removal, leaving, restart of the relay.

use super::disk::any_file_holds;
use crate::harness::{Device, Relay, pair};

struct World {
    folder: tempfile::TempDir,
    relay: Relay,
    laptop: Device,
    phone: Device,
}

/// Two paired devices and their relay.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    World { folder, relay, laptop, phone }
}

#[test]
fn both_ways_online_and_offline() {
    let World { mut relay, laptop, phone, folder: _folder } = world();
    laptop.push("to the phone", "accepted");
    assert_eq!(phone.pulls(), ["to the phone"]);
    phone.push("to the laptop", "accepted");
    assert_eq!(laptop.pulls(), ["to the laptop"]);

    // The phone is away, and the laptop is cut off: what it pushes is durable, and goes later.
    relay.stop();
    let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let offline = laptop.run_with(&["push", "--lines", "--channel", "book"], lines.as_bytes()).ok();
    assert!(offline.all("pushed").iter().all(|e| e["state"] == "queued"));
    assert_eq!(offline.all("pushed").len(), 1000);
    assert_eq!(laptop.status()["outbox"], 1000);
    laptop.run(&["--timeout", "1", "pull"]).fails("RELAY_UNREACHABLE", 4);
    relay.again();

    // What is delivered has been signed for by the phone, so that has to be there.
    let mut follow = phone.start(&["pull", "--follow"]);
    laptop.push("the end", "delivered");
    let texts: Vec<_> = (0..1001).map(|_| follow.event("blob")["text"].as_str().unwrap().to_owned()).collect();
    let wanted: Vec<_> = (0..1000).map(|n| format!("line {n}")).chain(["the end".to_owned()]).collect();
    assert_eq!(texts, wanted, "everything, once, in order");
    follow.signal("TERM");
    follow.ends_with(0);
    assert_eq!(phone.pulls(), [""; 0], "nothing comes twice");
    let status = laptop.status();
    assert_eq!((&status["outbox"], &status["unacknowledged"]), (&0.into(), &0.into()));
}

#[test]
fn a_pull_is_bounded_by_channel_and_number() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    for (channel, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
        laptop.run_with(&["push", "--channel", channel, "--wait", "accepted"], text.as_bytes()).ok();
    }
    assert_eq!(phone.run(&["pull", "--channel", "a", "--limit", "1"]).ok().texts(), ["1"]);
    let rest = phone.run(&["pull"]).ok();
    assert_eq!(rest.texts(), ["2", "3"]);
    let blob = rest.all("blob")[0];
    assert_eq!((&blob["channel"], &blob["data"]), (&"b".into(), &"Mg==".into()));
    assert_eq!(blob["device"], laptop.status()["device"]);
    // Bytes that are no text come as they went.
    laptop.run_with(&["push", "--wait", "accepted"], &[0xff, 0, 1]).ok();
    let bytes = phone.run(&["pull"]).ok();
    assert_eq!(bytes.one("blob")["data"], "/wAB");
    assert!(bytes.one("blob").get("text").is_none());
}

#[test]
fn a_third_device_sees_what_was_there_before() {
    let world = world();
    let World { folder, laptop, phone, .. } = &world;
    let old: Vec<_> = (0..50).map(|n| format!("old {n}")).collect();
    laptop.run_with(&["push", "--lines", "--wait", "accepted"], old.join("\n").as_bytes()).ok();
    // The relay has nothing of it any more.
    assert_eq!(phone.pulls(), old);
    assert_eq!(laptop.status()["unacknowledged"], 0);
    phone.push("of the phone", "accepted");
    assert_eq!(laptop.pulls(), ["of the phone"]);

    let tablet = Device::new(folder.path().join("tablet"));
    pair(laptop, &tablet, "tablet");
    let mut seen = tablet.pulls();
    seen.sort();
    let mut wanted: Vec<_> = old.iter().cloned().chain(["of the phone".to_owned()]).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
    tablet.push("of the tablet", "accepted");
    assert_eq!(phone.pulls(), ["of the tablet"]);
    assert_eq!(laptop.pulls(), ["of the tablet"]);
    assert_eq!(tablet.run(&["devices"]).ok().all("device").len(), 3);
}

#[test]
fn a_removed_device_neither_reads_nor_writes() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    laptop.push("before", "accepted");
    assert_eq!(phone.pulls(), ["before"]);
    let id = phone.status()["device"].as_str().unwrap().to_owned();
    let removed = laptop.run(&["devices", "remove", &id[..8]]).ok();
    assert_eq!(removed.one("device_removed")["device"]["id"], *id);
    laptop.push("a secret", "accepted");

    let pull = phone.run(&["pull"]).fails("REMOVED", 3);
    assert!(pull.texts().is_empty(), "{}", pull.stdout);
    phone.run_with(&["push", "--wait", "accepted"], b"from outside").fails("REMOVED", 3);
    phone.run(&["invite"]).fails("REMOVED", 3);
    phone.run(&["run"]).fails("REMOVED", 3);
    assert!(laptop.pulls().is_empty());
    assert_eq!(laptop.run(&["devices"]).ok().all("device").len(), 1);
    laptop.run(&["devices", "remove", &id]).fails("UNKNOWN_DEVICE", 2);
    // The way back is a reset and a new pairing.
    phone.run(&["reset"]).ok().one("reset");
    pair(laptop, phone, "phone");
    let again = phone.pulls();
    assert!(again.contains(&"before".to_owned()) && again.contains(&"a secret".to_owned()), "{again:?}");
}

#[test]
fn leave_and_reset() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    let mut watch = laptop.start(&["run"]);
    watch.event("connected");
    let left = phone.run(&["leave"]).ok();
    assert_eq!(watch.event("device_removed")["device"]["id"], left.one("left")["device"]);
    watch.signal("TERM");
    watch.ends_with(0);
    assert_eq!(laptop.status()["devices"].as_array().unwrap().len(), 1);
    phone.run(&["devices"]).fails("NOT_IN_GROUP", 3);
    phone.run(&["leave"]).fails("NOT_IN_GROUP", 3);
    assert!(phone.status()["group"].is_null());
    // It is a device still, and may join again.
    pair(laptop, phone, "phone");
    laptop.push("welcome back", "accepted");
    assert!(phone.pulls().contains(&"welcome back".to_owned()));

    phone.run(&["reset"]).ok().one("reset");
    phone.run(&["status"]).fails("NOT_INITIALIZED", 3);
    phone.run(&["push"]).fails("NOT_INITIALIZED", 3);
}

#[test]
fn what_a_device_had_alone_comes_along_when_it_joins() {
    let world = world();
    let World { folder, relay, laptop, .. } = &world;
    let third = Device::init(folder.path().join("third"), "third", relay);
    third.push("mine", "accepted");
    pair(laptop, &third, "third");
    third.push("and now", "accepted");
    assert_eq!(laptop.pulls(), ["mine", "and now"]);
}

#[test]
fn a_relay_keeps_its_identity_and_every_pairing() {
    let World { mut relay, laptop, phone, folder: _folder } = world();
    laptop.push("waits at the relay", "accepted");
    let address = relay.address.clone();
    relay.stop();
    relay.again();
    assert_eq!(relay.address, address);
    assert_eq!(phone.pulls(), ["waits at the relay"]);
    phone.push("another", "accepted");
    relay.crash();
    relay.again();
    assert_eq!(relay.address, address);
    assert_eq!(laptop.pulls(), ["another"]);
    // A device that stays connected comes back by itself.
    let mut watch = phone.start(&["run"]);
    watch.event("connected");
    relay.stop();
    watch.event("disconnected");
    relay.again();
    watch.event("connected");
    laptop.push("after all", "delivered");
}

#[test]
fn a_device_hosts_the_relay_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let host = Device::new(folder.path().join("host"));
    host.run(&["init", "--name", "host"]).ok().one("initialized");
    let phone = Device::new(folder.path().join("phone"));
    pair(&host, &phone, "phone");
    let mut run = host.start(&["run"]);
    run.event("connected");
    phone.push("to the host", "delivered");
    run.event("arrived");
    run.signal("TERM");
    run.ends_with(0);
    assert_eq!(host.pulls(), ["to the host"]);
    // The phone's own mailbox is the only one now: what is pushed waits there.
    assert_eq!(phone.status()["waiting_for"][0]["name"], "host");
    assert!(phone.run(&["pull"]).ok().stderr.contains("Waiting for «host»: no other device is up."));
    phone.run_with(&["push"], b"later").ok();
    let mut run = host.start(&["run"]);
    run.event("connected");
    phone.push("and this", "delivered");
    run.signal("TERM");
    run.ends_with(0);
    assert_eq!(host.pulls(), ["later", "and this"]);
}

#[test]
fn a_snapshot_stands_for_what_was_pulled_for_devices_that_come_later() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    laptop.run_with(&["snapshot", "-"], b"too early").ok();
    for text in ["1", "2", "3"] {
        phone.push(text, "accepted");
    }
    assert_eq!(laptop.pulls(), ["1", "2", "3"]);
    phone.push("4", "accepted");
    let told = laptop.run_with(&["snapshot", "-"], b"1 to 3").ok();
    assert_eq!(told.one("snapshot")["replaced"], 3);
    laptop.run_with(&["snapshot", "-"], b"").fails("EMPTY", 5);

    let tablet = Device::new(world.folder.path().join("tablet"));
    pair(laptop, &tablet, "tablet");
    let pulled = tablet.run(&["pull"]).ok();
    let blobs: Vec<_> = pulled.all("blob").iter().map(|b| (b["text"].clone(), b["snapshot"].clone())).collect();
    assert_eq!(blobs, [("1 to 3".into(), true.into()), ("4".into(), false.into())]);
}

#[test]
fn a_lost_device_that_was_away_reads_nothing_new_and_is_wiped_when_it_next_connects() {
    let World { mut relay, laptop, phone, folder } = world();
    let tablet = Device::new(folder.path().join("tablet"));
    pair(&laptop, &tablet, "tablet");
    let lines: String = (0..500).map(|n| format!("{n}: for the phone, too. {}\n", "x".repeat(1000))).collect();
    laptop.run_with(&["push", "--channel", "for many words", "--lines", "--wait", "accepted"], lines.as_bytes()).ok();
    assert_eq!(phone.pulls().len(), 500);
    // The contents are sealed; the names of channels show whether there are any.
    assert!(any_file_holds(&phone.home, b"for many words"));
    let before = laptop.status()["epoch"].as_u64().unwrap();

    // The phone is off. What waits to be sent when it is removed is sealed under the new keys alone.
    let id = phone.status()["device"].as_str().unwrap().to_owned();
    relay.stop();
    laptop.run_with(&["push"], b"after the loss").ok();
    laptop.run(&["--timeout", "1", "devices", "remove", &id, "--lost"]).fails("RELAY_UNREACHABLE", 4);
    relay.again();
    let gone = laptop.run(&["devices", "remove", &id, "--lost"]);
    // It may have been done as soon as the relay was there again.
    if gone.code == Some(0) {
        assert_eq!(gone.one("device_removed")["exit"], "lost");
    } else {
        gone.fails("UNKNOWN_DEVICE", 2);
    }
    laptop.push("and more", "accepted");
    let status = laptop.status();
    assert_eq!((status["epoch"].as_u64(), status["outbox"].as_u64()), (Some(before + 1), Some(0)));
    let others = tablet.pulls();
    assert_eq!(others[others.len() - 2..], ["after the loss", "and more"]);
    let told = tablet.run(&["alerts"]).ok();
    let lost = told.all("alert").into_iter().find(|a| a["kind"] == "lost").unwrap();
    assert_eq!((&lost["device"]["name"], &lost["by"]["name"]), (&"phone".into(), &"laptop".into()));

    let run = phone.run(&["run"]).fails("REMOVED", 3);
    assert!(!run.stdout.contains("after the loss"), "{}", run.stdout);
    assert_eq!(phone.status()["group"], serde_json::Value::Null);
    // Also when it was over before anybody listened.
    phone.run(&["run"]).fails("REMOVED", 3);
    phone.run(&["pull"]).fails("NOT_IN_GROUP", 3);
    let key = data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap();
    for bytes in [&b"for many words"[..], b": for the phone, too.", b"after the loss", b"and more", b"laptop", &key] {
        assert!(!any_file_holds(&phone.home, bytes), "{} is still there", String::from_utf8_lossy(bytes));
    }
    assert_eq!(phone.run(&["alerts"]).ok().one("alert")["kind"], "wiped");
    // And the relay keeps nothing for it: all that waited has gone to the others.
    tablet.push("seen", "accepted");
    assert_eq!(laptop.pulls(), ["seen"]);
}

#[test]
fn alerts_are_printed_once_and_kept() {
    let World { laptop, phone, folder, relay: _relay } = world();
    assert_eq!(laptop.run(&["alerts"]).ok().all("alert").len(), 0, "what it did itself is no news");
    let tablet = Device::new(folder.path().join("tablet"));
    pair(&laptop, &tablet, "tablet");
    tablet.run(&["leave"]).ok();
    let kinds = |ran: &crate::harness::Ran| -> Vec<String> {
        ran.all("alert")
            .iter()
            .map(|a| format!("{}: {}", a["kind"].as_str().unwrap(), a["text"].as_str().unwrap()))
            .collect()
    };
    // Whoever runs unattended tells it, and it counts as news still.
    let mut run = phone.start(&["run"]);
    while run.event("alert")["kind"] != "left" {}
    run.signal("TERM");
    run.ends_with(0);
    let first = phone.run(&["alerts"]).ok();
    assert_eq!(kinds(&first), ["linked: «laptop» linked «tablet».", "left: «tablet» left."]);
    assert!(first.all("alert").iter().all(|a| a["seen"] == false && a["at"].as_u64().is_some()));
    assert_eq!(phone.run(&["alerts"]).ok().all("alert").len(), 0);
    assert_eq!(kinds(&phone.run(&["alerts", "--all"]).ok())[1..], kinds(&first)[..]);
    let said = phone.say(&["alerts"], b"").ok();
    assert!(said.stdout.starts_with("Nothing new."), "{}", said.stdout);
}
