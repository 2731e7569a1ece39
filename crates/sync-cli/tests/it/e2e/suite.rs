//! A group moves to another suite: with a device that is away, with pushes in flight, and with a kill at each step.

use serde_json::Value;

use super::crash_points::{at, crashed};
use crate::harness::{Device, Process, Relay, pair};

struct World {
    folder: tempfile::TempDir,
    relay: Relay,
    laptop: Device,
    phone: Device,
    tablet: Device,
}

/// Three paired devices and their relay.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let (phone, tablet) = (Device::new(folder.path().join("phone")), Device::new(folder.path().join("tablet")));
    pair(&laptop, &phone, "phone");
    pair(&laptop, &tablet, "tablet");
    World { folder, relay, laptop, phone, tablet }
}

/// The suites as `status` numbers them: that of groups that this build founds, and the other.
fn suites(device: &Device) -> (u64, u64) {
    let founded = device.status()["suite"].as_u64().unwrap();
    (founded, 3 - founded)
}

fn suite(device: &Device) -> u64 {
    device.run(&["suite"]).ok().one("suite")["suite"].as_u64().unwrap()
}

/// Waits until a device that runs has moved, and says who moved it.
fn moved(run: &mut Process) -> String {
    loop {
        let changed = run.event("settings_changed");
        if changed["setting"] == "suite" {
            return changed["by"]["name"].as_str().unwrap().to_owned();
        }
    }
}

fn end(run: Process) {
    let mut run = run;
    run.signal("TERM");
    run.ends_with(0);
}

#[test]
fn with_a_device_that_is_away() {
    let World { mut relay, laptop, phone, tablet, folder } = world();
    let (from, to) = suites(&laptop);
    let wanted = to.to_string();
    laptop.push("before", "accepted");
    // The one that it has is no change, and nobody is waited for.
    let same = laptop.run(&["suite", &from.to_string()]).ok();
    assert_eq!((same.one("suite")["suite"].as_u64(), &same.one("suite")["moving"]), (Some(from), &Value::Null));

    let mut at_phone = phone.start(&["run"]);
    at_phone.event("caught_up");
    laptop.run(&["--timeout", "5", "suite", &wanted]).fails("TIMEOUT", 1);
    let waits = |status: &Value| -> Vec<String> {
        let waits = status["moving"]["waits_for"].as_array().unwrap();
        waits.iter().map(|device| device["name"].as_str().unwrap().to_owned()).collect()
    };
    let status = laptop.status();
    assert_eq!((status["suite"].as_u64(), status["moving"]["to"].as_u64()), (Some(from), Some(to)));
    assert_eq!(waits(&status), ["tablet"]);
    let said = laptop.say(&["status"], b"").ok().stdout;
    assert!(said.contains("as soon as it was online: «tablet»"), "{said}");
    assert!(laptop.run(&["doctor"]).ok().stdout.contains("it waits for tablet"));
    // Meanwhile all goes on.
    laptop.push("while it waits", "accepted");

    // It comes, and all go.
    let mut at_laptop = laptop.start(&["run"]);
    at_laptop.event("caught_up");
    let mut at_tablet = tablet.start(&["run"]);
    for run in [&mut at_laptop, &mut at_phone, &mut at_tablet] {
        assert_eq!(moved(run), "laptop");
    }
    [at_laptop, at_phone, at_tablet].into_iter().for_each(end);
    for device in [&laptop, &phone, &tablet] {
        let status = device.status();
        assert_eq!((status["suite"].as_u64(), &status["moving"]), (Some(to), &Value::Null));
    }
    assert!(phone.run(&["alerts"]).ok().stdout.contains("«laptop» moved the group to another suite"));
    phone.push("after", "accepted");
    assert_eq!(tablet.pulls(), ["before", "while it waits", "after"]);
    assert_eq!(laptop.pulls(), ["after"]);

    // A newcomer gets what was before, of either suite; and it goes on at a relay that has lost everything.
    let desk = Device::new(folder.path().join("desk"));
    pair(&phone, &desk, "desk");
    let mut at_laptop = laptop.start(&["run"]);
    at_laptop.event("caught_up");
    assert_eq!(desk.pulls(), ["before", "while it waits", "after"]);
    end(at_laptop);
    relay.stop();
    for file in std::fs::read_dir(&relay.folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("relay.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    relay.again();
    desk.push("anew", "accepted");
    assert_eq!(phone.pulls().last().map(String::as_str), Some("anew"));
    assert_eq!((suite(&phone), suite(&desk)), (to, to));
}

#[test]
fn with_pushes_in_flight() {
    let World { relay: _relay, laptop, phone, tablet, folder: _folder } = world();
    let (from, to) = suites(&laptop);
    let (mut at_laptop, mut at_phone) = (laptop.start(&["push", "--lines"]), phone.start(&["push", "--lines"]));
    for (turn, suite) in [to, from, to].into_iter().enumerate() {
        for (run, name) in [(&mut at_laptop, "laptop"), (&mut at_phone, "phone")] {
            (0..100).for_each(|n| run.write(&format!("{name} {turn} {n}\n")));
        }
        tablet.run(&["suite", &suite.to_string()]).ok();
        for (run, name) in [(&mut at_laptop, "laptop"), (&mut at_phone, "phone")] {
            (100..200).for_each(|n| run.write(&format!("{name} {turn} {n}\n")));
        }
    }
    for run in [&mut at_laptop, &mut at_phone] {
        run.close_input();
        run.ends_with(0);
    }
    laptop.push("the end", "accepted");
    phone.push("the end", "accepted");
    let of = |name: &str| -> Vec<String> {
        let lines = (0..3).flat_map(|turn| (0..200).map(move |n| (turn, n)));
        lines.map(|(turn, n)| format!("{name} {turn} {n}")).chain(["the end".to_owned()]).collect()
    };
    let texts = tablet.pulls();
    for name in ["laptop", "phone"] {
        let theirs: Vec<_> = texts.iter().filter(|text| text.starts_with(name)).cloned().collect();
        assert_eq!(theirs, of(name)[..600], "each once and in its order");
    }
    assert_eq!(texts.len(), 1202);
    assert_eq!(phone.pulls(), of("laptop"));
    assert_eq!(laptop.pulls(), of("phone"));
}

#[test]
fn with_a_kill_at_each_step() {
    let World { mut relay, laptop, phone, tablet, folder: _folder } = world();
    let (from, to) = suites(&laptop);
    let mut others = [phone.start(&["run"]), tablet.start(&["run"])];
    let mut present = from;
    let mut said = 0;
    let mut died = 0;
    let mut go = |laptop: &Device, point: &str, count: u64, relay: Option<&mut Relay>| {
        let wanted = if present == from { to } else { from };
        present = wanted;
        let arguments = ["suite", &wanted.to_string()];
        match relay {
            None => {
                died += u64::from(crashed(&mut Process::start(at(&mut laptop.command(&arguments), point, count))).0)
            }
            Some(relay) => {
                relay.stop();
                let mut process = Process::start(at(&mut relay.command(relay.host()), point, count));
                process.event("ready");
                let mut moving = laptop.start(&["--timeout", "3", "suite", &wanted.to_string()]);
                while moving.line().is_some() {}
                moving.wait();
                others.iter().for_each(|other| other.signal("TERM"));
                others.iter_mut().for_each(|other| other.ends_with(0));
                died += u64::from(!process.runs());
                drop(process);
                relay.again();
                // After so many failures they would not try again for long.
                others = [&phone, &tablet].map(|device| device.start(&["run"]));
            }
        }
        // Whatever had become of it: it is done when it is asked for again, or was done.
        let again = laptop.run(&arguments);
        assert_eq!(again.code, Some(0), "{point} {count}: {}\n{}\n{}", again.stdout, again.stderr, laptop.status());
        said += 1;
        laptop.push(&format!("line {said}"), "accepted");
    };
    for point in ["client_before_commit", "client_after_commit_before_send", "client_after_send"] {
        (1..6).for_each(|count| go(&laptop, point, count, None));
    }
    for point in ["before_commit", "mid_commit", "after_commit_before_reply"] {
        (1..4).for_each(|count| go(&laptop, point, count, Some(&mut relay)));
    }
    assert!(died > 15, "only {died} of 24 died");
    others.into_iter().for_each(end);
    let lines: Vec<_> = (1..=24).map(|n| format!("line {n}")).collect();
    assert_eq!(phone.pulls(), lines);
    assert_eq!(tablet.pulls(), lines);
    assert_eq!((suite(&phone), suite(&tablet)), (present, present));
}
