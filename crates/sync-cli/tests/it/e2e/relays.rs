//! Two relay processes for one group: one is killed, traffic goes on, nothing is lost and nothing comes twice; then the first
//! one is replaced for good.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Device, Relay, pair, relay_program};

struct World {
    folder: tempfile::TempDir,
    first: Relay,
    second: Relay,
    laptop: Device,
    phone: Device,
}

/// Two paired devices whose group uses two relays.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let first = Relay::start(folder.path().join("first"));
    let second = Relay::start(folder.path().join("second"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &first);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    let set = laptop.run(&["relay", "set", &first.address, &second.address]).ok();
    assert_eq!(addresses(&set.all("relay")), [&first.address[..], &second.address]);
    World { folder, first, second, laptop, phone }
}

fn addresses<'a>(relays: &[&'a Value]) -> Vec<&'a str> {
    relays.iter().map(|relay| relay["address"].as_str().unwrap()).collect()
}

/// Each once, those of each device in their order.
fn once_each(texts: &[String], wanted: &[String]) {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    texts.iter().for_each(|text| *counts.entry(text).or_default() += 1);
    assert!(counts.values().all(|n| *n == 1), "something comes twice");
    assert_eq!(texts, wanted);
}

#[test]
fn one_of_two_relays_is_killed_and_nothing_is_lost() {
    let World { mut first, mut second, laptop, phone, folder: _folder } = world();
    let line = |n: usize| format!("line {n}");
    let mut said = 0;
    let mut got: Vec<String> = Vec::new();
    for turn in 0..4 {
        let mut follow = phone.start(&["pull", "--follow"]);
        let mut push = laptop.start(&["push", "--lines", "--wait", "delivered"]);
        // In the middle of it, one after the other: some has come, some is on its way, some is not pushed yet.
        for part in 0..3 {
            for _ in 0..50 {
                push.write(&format!("{}\n", line(said)));
                said += 1;
            }
            if part == 1 {
                let relay = if turn % 2 == 0 { &mut first } else { &mut second };
                relay.crash();
            }
            while got.len() < said - if part == 0 { 25 } else { 0 } {
                got.push(follow.event("blob")["text"].as_str().unwrap().to_owned());
            }
        }
        push.close_input();
        push.ends_with(0);
        follow.signal("TERM");
        follow.ends_with(0);
        let relay = if turn % 2 == 0 { &mut first } else { &mut second };
        relay.again();
    }
    once_each(&got, &(0..said).map(line).collect::<Vec<_>>());
    assert_eq!(phone.pulls(), [""; 0], "nothing comes twice");
    let status = laptop.status();
    assert_eq!((&status["outbox"], &status["unacknowledged"]), (&0.into(), &0.into()));
    assert_eq!(status["relays"].as_array().unwrap().len(), 2);
}

#[test]
fn the_first_relay_dies_and_is_replaced_for_good() {
    let World { mut first, second, laptop, phone, folder } = world();
    laptop.push("at both", "accepted");
    assert_eq!(phone.pulls(), ["at both"]);
    laptop.run(&["relay", "drop", &first.address, "--dead"]).fails("RELAY_ANSWERS", 5);
    first.crash();

    laptop.push("through the second", "accepted");
    assert_eq!(phone.pulls(), ["through the second"]);
    let doctor = laptop.run(&["doctor"]).ok();
    let away =
        |f: &&Value| f["title"] == "the first relay is away" && f["next_step"].as_str().unwrap().contains("--dead");
    assert!(doctor.all("finding").iter().any(away), "{}", doctor.stdout);
    let list = laptop.run(&["relay", "list"]).ok();
    let connected: Vec<_> = list.all("relay").iter().map(|r| r["connected"].as_bool().unwrap()).collect();
    assert_eq!(connected, [false, true]);
    laptop.run(&["--timeout", "2", "relay", "set", &second.address]).fails("TIMEOUT", 1);

    let dropped = laptop.run(&["relay", "drop", &first.address, "--dead"]).ok();
    assert_eq!(addresses(&dropped.all("relay")), [&second.address[..]]);
    phone.push("after it", "accepted");
    assert_eq!(laptop.pulls(), ["after it"]);
    assert_eq!(addresses(&phone.run(&["relay", "list"]).ok().all("relay")), [&second.address[..]]);

    // The group changes and grows at the second one, and takes a third as its new first.
    let third = Relay::start(folder.path().join("third"));
    laptop.run(&["relay", "set", &third.address, &second.address]).ok();
    let tablet = Device::new(folder.path().join("tablet"));
    pair(&laptop, &tablet, "tablet");
    let mut seen = tablet.pulls();
    seen.sort();
    assert_eq!(seen, ["after it", "at both", "through the second"]);
    // The dead one comes back with what it had, and nobody asks it.
    first.again();
    tablet.push("to all", "accepted");
    assert_eq!(phone.pulls(), ["to all"]);
    assert_eq!(phone.run(&["devices"]).ok().all("device").len(), 3);
}

#[test]
fn one_command_brings_up_a_relay_of_ones_own_and_takes_the_group_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = Relay::start(folder.path().join("before"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &before);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    laptop.push("waits where the group was", "accepted");
    let program = relay_program().to_str().unwrap();
    let up = |at: &str| laptop.start(&["relay", "up", "--program", program, "--at", at, "--", "--http", "127.0.0.1:0"]);
    // One that did not start is no hindrance to the next.
    let broken = ["relay", "up", "--program", program, "--at", "127.0.0.1:0", "--", "--http", "nowhere"];
    laptop.run(&broken).fails("IO", 1);
    let mut own = up("127.0.0.1:0");
    let address = own.event("relay")["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("ksync://") && address != before.address && !address.contains('#'), "{address}");
    assert_eq!(phone.pulls(), ["waits where the group was"]);
    assert_eq!(addresses(&phone.run(&["relay", "list"]).ok().all("relay")), [&address[..]]);
    before.stop();
    phone.push("at the new one", "delivered");
    own.signal("TERM");
    own.ends_with(0);

    // It has ended with the command, and comes back with it, in the same place.
    let waits = phone.run_with(&["--timeout", "2", "push", "--wait", "accepted"], b"while it is away");
    waits.fails("RELAY_UNREACHABLE", 4);
    let mut own = up(address.rsplit_once('@').unwrap().1);
    assert_eq!(own.event("relay")["address"].as_str(), Some(&address[..]));
    phone.push("again", "delivered");
    own.signal("TERM");
    own.ends_with(0);
    let pulled = laptop.run(&["--timeout", "2", "pull"]).fails("RELAY_UNREACHABLE", 4);
    assert_eq!(pulled.texts(), ["at the new one", "while it is away", "again"]);

    // Nobody else makes groups there; and what cannot be started changes nothing.
    let stranger = Device::new(folder.path().join("stranger"));
    stranger.run(&["relay", "up", "--program", program]).fails("NOT_INITIALIZED", 3);
    laptop.run(&["relay", "up", "--program", "/nowhere/sync-relay", "--at", "127.0.0.1:0"]).fails("IO", 1);
    assert_eq!(addresses(&laptop.run(&["relay", "list"]).ok().all("relay")), [&address[..]]);
}
