//! Every device is lost but for 24 words on paper: from processes to processes, through a relay of its own.

use std::path::Path;

use super::disk::any_file_holds;
use crate::harness::{Device, Relay, pair};

struct Kit {
    words: String,
    relay: String,
}

fn kit(event: &serde_json::Value) -> Kit {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    Kit { words: text("words"), relay: text("relay") }
}

fn recover(home: &Path, kit: &Kit) -> crate::harness::Ran {
    Device::new(home).run_with(&["recover", "--name", "new laptop", "--relay", &kit.relay], kit.words.as_bytes())
}

#[test]
fn a_new_device_takes_the_group_over_with_the_words_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let relay = Relay::start(at("relay"));
    let laptop = Device::new(at("laptop"));
    let made = laptop.run(&["init", "--name", "laptop", "--relay", &relay.address, "--recovery-kit"]).ok();
    let kit = kit(made.one("recovery_kit"));
    assert_eq!((kit.words.split(' ').count(), &kit.relay), (24, &relay.address));
    let group = made.one("initialized")["group"].clone();
    let phone = Device::new(at("phone"));
    pair(&laptop, &phone, "phone");
    laptop.push("written by the laptop", "accepted");
    assert_eq!(phone.pulls(), ["written by the laptop"]);
    phone.push("written by the phone", "accepted");
    for lost in ["laptop", "phone"] {
        std::fs::remove_dir_all(at(lost)).unwrap();
    }

    let back = recover(&at("new"), &kit).ok();
    assert_eq!(back.one("recovered")["group"], group);
    let new = Device::new(at("new"));
    assert_eq!(new.status()["devices"].as_array().unwrap().len(), 1);
    assert_eq!(new.status()["recovery_kit"], true);
    let findings = new.run(&["doctor"]).ok();
    assert!(findings.all("finding").iter().any(|f| f["title"] == "history is lost"), "{}", findings.stdout);

    let tablet = Device::new(at("tablet"));
    pair(&new, &tablet, "tablet");
    new.push("it goes on", "accepted");
    assert_eq!(tablet.pulls(), ["it goes on"]);
    tablet.push("from the tablet", "accepted");
    assert_eq!(new.pulls(), ["from the tablet"]);
    // No word of it in any file or log, here or at the relay.
    let told = kit.words.split(' ').take(6).collect::<Vec<_>>().join(" ");
    assert!(!any_file_holds(folder.path(), told.as_bytes()), "the words lie in a file");

    // A new kit, and the old words are worth nothing.
    let second = self::kit(new.run(&["recovery-kit"]).ok().one("recovery_kit"));
    recover(&at("thief"), &kit).fails("KIT_REPLACED", 5);
    assert!(!at("thief").join("device.db").exists(), "what failed leaves nothing behind");
    recover(&at("newest"), &second).ok();
    new.run(&["--timeout", "5", "push"]).fails("EMPTY", 5);
    let out = new.run(&["pull"]);
    assert_eq!(out.one("error")["code"], "REMOVED");
}

#[test]
fn words_are_read_as_people_write_them_and_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let relay = Relay::start(at("relay"));
    let laptop = Device::new(at("laptop"));
    let made = laptop.run(&["init", "--name", "laptop", "--relay", &relay.address, "--recovery-kit"]).ok();
    let kit = kit(made.one("recovery_kit"));

    let new = Device::new(at("new"));
    let recover = ["recover", "--name", "new", "--relay", &relay.address];
    let slip: Vec<&str> = kit.words.split(' ').rev().collect();
    new.run_with(&recover, slip.join(" ").as_bytes()).fails("KIT_INVALID", 2);
    new.run_with(&recover, b"abandon abandon").fails("KIT_INVALID", 2);
    let other = format!("{}art", "abandon ".repeat(23));
    new.run_with(&recover, other.as_bytes()).fails("KIT_UNKNOWN", 5);
    new.run_with(&["recover", "--name", "new", "--relay", "embedded"], kit.words.as_bytes())
        .fails("KIT_NEEDS_RELAY", 2);

    // Numbered, in capitals, over several lines, from a file.
    let written: String =
        kit.words.split(' ').zip(1..).map(|(word, at)| format!("{at}. {}\n", word.to_uppercase())).collect();
    std::fs::write(at("paper"), written).unwrap();
    let paper = at("paper");
    let from_file = [&recover[..], &["--words-file", paper.to_str().unwrap()]].concat();
    new.run(&from_file).ok();

    // For people: numbered columns, and what it is for.
    let said = new.say(&["recovery-kit"], b"").ok().stdout;
    assert!(said.contains(" 1 ") && said.contains("24 ") && said.contains(&relay.address), "{said}");
    // A device that hosts its relay has none.
    Device::new(at("host")).run(&["init", "--name", "host", "--recovery-kit"]).fails("INVALID_ARGUMENT", 2);
}

#[test]
fn a_snapshot_that_was_left_comes_back_with_the_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let relay = Relay::start(at("relay"));
    let laptop = Device::new(at("laptop"));
    let init = ["init", "--name", "laptop", "--relay", &relay.address, "--recovery-kit", "--kit-snapshots"];
    let kit = kit(laptop.run(&init).ok().one("recovery_kit"));
    assert_eq!(laptop.status()["kit_snapshots"], true);
    let phone = Device::new(at("phone"));
    pair(&laptop, &phone, "phone");
    phone.push("written by the phone", "accepted");
    assert_eq!(laptop.pulls(), ["written by the phone"]);
    let told = laptop.run_with(&["snapshot", "-"], b"all that was written").ok();
    assert_eq!(told.one("snapshot")["replaced"], 1);
    assert_eq!(told.one("left_for_kit")["code"], serde_json::Value::Null);
    phone.push("written too late", "accepted");
    for lost in ["laptop", "phone"] {
        std::fs::remove_dir_all(at(lost)).unwrap();
    }
    assert!(!any_file_holds(&at("relay"), b"all that was written"));

    let back = recover(&at("new"), &kit).ok();
    let recovered = back.one("recovered");
    assert_eq!((&recovered["snapshots"][0]["channel"], &recovered["left_out"]), (&"default".into(), &0.into()));
    let pulled = Device::new(at("new")).run(&["pull"]).ok();
    let blob = pulled.one("blob");
    assert_eq!((&blob["text"], &blob["snapshot"]), (&"all that was written".into(), &true.into()));

    // For people: what is back, and that more is lost; and a kit that nothing was left for says that.
    let newest = self::kit(Device::new(at("new")).run(&["recovery-kit", "--snapshots", "no"]).ok().one("recovery_kit"));
    let words = ["recover", "--name", "again", "--relay", &newest.relay];
    let said = Device::new(at("again")).say(&words, newest.words.as_bytes()).ok().stdout;
    assert!(said.contains("No snapshot was left"), "{said}");
}

#[test]
fn what_the_only_device_had_comes_back_with_the_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let relay = Relay::start(at("relay"));
    let only = Device::new(at("only"));
    let init = ["init", "--name", "only", "--relay", &relay.address, "--recovery-kit", "--kit-snapshots"];
    let kit = kit(only.run(&init).ok().one("recovery_kit"));
    only.push("written by the only device", "accepted");
    let told = only.run_with(&["snapshot", "-"], b"all that was written").ok();
    assert_eq!(told.one("snapshot")["replaced"], 0);
    assert_eq!(told.one("left_for_kit")["code"], serde_json::Value::Null);
    let said = only.say(&["snapshot", "-"], b"all that was written, and more").ok().stdout;
    assert!(said.contains("kept for the recovery kit alone"), "{said}");
    std::fs::remove_dir_all(at("only")).unwrap();
    assert!(!any_file_holds(&at("relay"), b"all that was written"));

    recover(&at("new"), &kit).ok();
    let pulled = Device::new(at("new")).run(&["pull"]).ok();
    assert_eq!(pulled.one("blob")["text"], "all that was written, and more");
}
