//! What goes wrong around a device: blobs that are none, a broken database, a full disk, a port in use, no relay.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Device, Relay, pair, run};

struct World {
    folder: tempfile::TempDir,
    relay: Relay,
    laptop: Device,
    phone: Device,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    World { folder, relay, laptop, phone }
}

const MIB: usize = 1024 * 1024;

#[test]
fn blobs_that_are_none() {
    let world = world();
    let World { folder, laptop, phone, .. } = &world;
    laptop.run_with(&["push"], b"").fails("EMPTY", 5);
    laptop.run_with(&["push"], &vec![b'x'; 64 * MIB + 1]).fails("TOO_LARGE", 5);
    let file = folder.path().join("large");
    std::fs::write(&file, vec![b'x'; 65 * MIB]).unwrap();
    laptop.run(&["push", file.to_str().unwrap()]).fails("TOO_LARGE", 5);
    laptop.run(&["push", "/no/such/file"]).fails("IO", 1);
    laptop.run_with(&["push", "--channel", &"c".repeat(257)], b"x").fails("INVALID_ARGUMENT", 2);
    assert_eq!(laptop.status()["outbox"], 0);
    // One line that does not fit costs no other.
    let lines = [b"before\n".to_vec(), vec![b'x'; MIB + 1], b"\n\nafter".to_vec()].concat();
    let ran = laptop.run_with(&["push", "--lines", "--wait", "accepted"], &lines).fails("TOO_LARGE", 5);
    assert_eq!(ran.all("pushed").len(), 2);
    assert!(ran.one("error")["message"].as_str().unwrap().contains("line 2"));
    assert!(ran.stderr.contains("1 empty line"));
    // The largest that travels in an envelope does, and what is larger.
    laptop.run_with(&["push", "--wait", "accepted"], &vec![b'y'; MIB]).ok();
    laptop.run_with(&["push", "--wait", "accepted"], &vec![b'z'; 3 * MIB]).ok();
    let pulled = phone.run(&["pull"]).ok();
    assert_eq!(pulled.texts()[..2], ["before", "after"]);
    assert_eq!((pulled.texts()[2].len(), pulled.texts()[3].len()), (MIB, 3 * MIB));
}

#[test]
fn a_damaged_database_is_told_and_left_as_it_is() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    laptop.push("safe", "accepted");
    phone.push("elsewhere", "accepted");
    assert_eq!(laptop.pulls(), ["elsewhere"]);
    let database = laptop.home.join("device.db");
    let good = std::fs::read(&database).unwrap();
    let garbage = vec![0xa7; good.len()];
    let headless = [&garbage[..100], &good[100..]].concat();
    let cut = good[..good.len() / 2].to_vec();
    for damaged in [garbage, headless, cut, b"SQLite".to_vec()] {
        std::fs::write(&database, &damaged).unwrap();
        for command in ["status", "pull", "push", "run", "leave", "doctor"] {
            laptop.run_with(&[command], b"x").fails("STORE_CORRUPT", 6);
        }
        assert!(std::fs::read(&database).unwrap() == damaged, "a damaged database is evidence, and is not touched");
    }
    // Put back, it works; and without a copy, the other device has the data.
    std::fs::write(&database, &good).unwrap();
    assert_eq!(laptop.status()["devices"].as_array().unwrap().len(), 2);
    std::fs::write(&database, b"nothing").unwrap();
    assert_eq!(phone.pulls(), ["safe"]);
    laptop.run(&["reset"]).ok();
    pair(phone, laptop, "laptop again");
    let mut back = laptop.pulls();
    back.sort();
    assert_eq!(back, ["elsewhere", "safe"]);
}

/// A small file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at);
        Self(at.to_owned())
    }

    fn grow(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that failed the test may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(mounted.success(), "this test mounts a small disk, for which it has to run as root");
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), "6m");
    let mut relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("disk/laptop"), "laptop", &relay);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");
    relay.stop();
    let line = |n: usize| format!("{n:06} {}", "x".repeat(20_000));
    let input: Vec<String> = (0..500).map(line).collect();
    let full = laptop.run_with(&["push", "--lines"], input.join("\n").as_bytes()).fails("DISK_FULL", 1);
    let told = full.all("pushed").len();
    assert!(told > 20, "some fitted: {told}");
    // What is written anew when a process ends may make room for something large, but not for ever.
    let large = || laptop.run_with(&["push"], &vec![b'x'; MIB]);
    let mut fitted = 0;
    let full = loop {
        let ran = large();
        if ran.code != Some(0) {
            break ran;
        }
        fitted += 1;
    };
    full.fails("DISK_FULL", 1);
    relay.again();
    disk.grow("200m");
    laptop.push("room again", "accepted");
    let pulled = phone.pulls();
    let large = std::iter::repeat_n("x".repeat(MIB), fitted);
    let wanted: Vec<_> = (0..told).map(line).chain(large).chain(["room again".to_owned()]).collect();
    assert!(pulled == wanted, "what was told, once and in order: {} of {}", pulled.len(), wanted.len());
}

#[test]
fn a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("relay"));
    let second = folder.path().join("second");
    let fails = |command: &mut Command| {
        let output = run(command.stderr(std::process::Stdio::piped()), b"");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        let error: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(error["code"], "PORT_IN_USE");
        assert!(error["message"].as_str().unwrap().contains("choose another port"), "{error}");
    };
    let (host, http) = (relay.host().to_owned(), relay.http.trim_start_matches("http://").to_owned());
    let serve = |listen: &str, http: &str| {
        let mut command = Command::new(crate::harness::relay_program());
        command.args(["serve", "--listen", listen, "--http", http, "--data"]).arg(&second);
        command
    };
    fails(&mut serve(&host, "127.0.0.1:0"));
    fails(&mut serve("127.0.0.1:0", &http));
    // A device that hosts meets the same, and makes nothing.
    let device = Device::new(folder.path().join("host"));
    device.run(&["init", "--name", "host", "--relay", "embedded", "--listen", &host]).fails("PORT_IN_USE", 1);
    device.run(&["status"]).fails("NOT_INITIALIZED", 3);
    relay.stop();
}

#[test]
fn a_relay_that_is_not_there() {
    let World { folder, mut relay, laptop, phone } = world();
    laptop.push("already here", "accepted");
    let mut run = phone.start(&["run"]);
    run.event("arrived");
    run.signal("TERM");
    run.ends_with(0);
    relay.stop();
    // First what is here, then that there may be more.
    let pull = phone.run(&["--timeout", "2", "pull"]).fails("RELAY_UNREACHABLE", 4);
    assert_eq!(pull.texts(), ["already here"]);
    laptop.run_with(&["--timeout", "2", "push", "--wait", "accepted"], b"waits").fails("RELAY_UNREACHABLE", 4);
    laptop.run(&["--timeout", "2", "invite"]).fails("RELAY_UNREACHABLE", 4);
    let status = laptop.status();
    assert_eq!((&status["connected"], &status["outbox"]), (&false.into(), &1.into()));
    assert_eq!(status["trouble"]["code"], "RELAY_UNREACHABLE");
    let findings = laptop.run(&["doctor"]).ok();
    assert_eq!(findings.all("finding")[0]["code"], "RELAY_UNREACHABLE");
    relay.again();
    // Nothing was lost.
    laptop.push("the next", "accepted");
    assert_eq!(phone.pulls(), ["waits", "the next"]);

    // Another relay on that port is not the relay.
    let key = "b".repeat(64);
    let stranger = Device::new(folder.path().join("stranger"));
    stranger.run(&["init", "--name", "s", "--relay", &format!("ksync://{key}@{}", relay.host())]).ok();
    stranger.run(&["--timeout", "2", "pull"]).fails("RELAY_UNREACHABLE", 4);
    let nobody = Device::new(folder.path().join("nobody"));
    for bad in ["nonsense", "http://example.org", "ksync://abc@127.0.0.1:1", "https://"] {
        nobody.run(&["init", "--name", "n", "--relay", bad]).fails("ADDRESS_INVALID", 2);
    }
    nobody.run(&["status"]).fails("NOT_INITIALIZED", 3);
}

#[test]
fn one_process_on_one_home() {
    let world = world();
    let World { laptop, .. } = &world;
    let mut run = laptop.start(&["run"]);
    run.event("connected");
    for command in ["status", "pull", "push", "invite", "reset", "leave"] {
        laptop.run_with(&[command], b"x").fails("HOME_BUSY", 1);
    }
    run.signal("TERM");
    run.ends_with(0);
    let status = laptop.status();
    assert_eq!(status["devices"].as_array().unwrap().len(), 2);
    laptop.run(&["init", "--name", "again"]).fails("ALREADY_INITIALIZED", 5);
    assert_eq!(laptop.status()["device"], status["device"]);
}

#[test]
fn ids_are_drawn_anew_and_never_twice() {
    let world = world();
    let World { laptop, phone, .. } = &world;
    // A kill in the middle, and the same again: what was told is there once, what was not told is there once at the most.
    let mut push = laptop.start(&["push", "--lines"]);
    let mut told = BTreeSet::new();
    push.write("one\ntwo\n");
    for _ in 0..2 {
        told.insert(push.event("pushed")["id"].as_str().unwrap().to_owned());
    }
    push.kill();
    let again = laptop.run_with(&["push", "--lines", "--wait", "accepted"], b"three\n").ok();
    told.insert(again.one("pushed")["id"].as_str().unwrap().to_owned());
    let pulled = phone.run(&["pull"]).ok();
    assert_eq!(pulled.texts(), ["one", "two", "three"]);
    let ids: BTreeSet<_> = pulled.all("blob").iter().map(|b| b["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, told);
}
