//! Pairing by short codes, typed on the command line.

use crate::harness::{Device, Process, Relay, pair};

struct World {
    folder: tempfile::TempDir,
    relay: Relay,
    member: Device,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let member = Device::init(folder.path().join("member"), "member", &relay);
    member.push("kept", "accepted");
    World { folder, relay, member }
}

impl World {
    fn newcomer(&self, name: &str) -> Device {
        Device::new(self.folder.path().join(name))
    }

    /// How a newcomer takes up a code.
    fn join<'a>(&'a self, code: &'a str) -> [&'a str; 6] {
        ["join", code, "--relay", &self.relay.address, "--name", "Tablet"]
    }
}

fn shown(invite: &mut Process) -> (String, String) {
    let event = invite.event("invite");
    let text = |field: &str| event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}")).to_owned();
    assert!(event["expires_at"].is_u64());
    (text("uri"), text("code"))
}

/// The same number and other words.
fn wrong(code: &str) -> String {
    let (number, words) = code.split_once('-').unwrap();
    format!("{number}-{}", if words == "zoo-zoo-zoo" { "abandon-abandon-abandon" } else { "zoo-zoo-zoo" })
}

#[test]
fn a_code_is_read_out_typed_and_consented_to() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--code"]);
    let (_, code) = shown(&mut invite);
    let mut join = newcomer.start(&world.join(&code.to_uppercase().replace('-', " ")));
    assert_eq!(invite.event("request")["name"], "Tablet");
    // No digits: whoever came knew the words.
    invite.write("1234\n");
    invite.write("y\n");
    let joined = join.event("joined");
    assert_eq!(invite.event("joined"), joined);
    join.ends_with(0);
    invite.ends_with(0);
    assert!(join.seen.iter().all(|line| !line.contains("\"check\"")), "{:?}", join.seen);
    assert_eq!(newcomer.pulls(), ["kept"]);
    newcomer.push("back", "accepted");
    assert_eq!(world.member.pulls(), ["back"]);
}

#[test]
fn a_script_consents_without_being_asked() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--code", "--yes"]);
    let (_, code) = shown(&mut invite);
    newcomer.run(&world.join(&code)).ok().one("joined");
    invite.event("joined");
    invite.ends_with(0);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn the_newcomer_shows_a_code() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut show = newcomer.start(&["join", "--show", "--relay", &world.relay.address, "--name", "Tablet"]);
    let (_, code) = shown(&mut show);
    let mut invite = world.member.start(&["invite", &code]);
    assert_eq!(invite.event("request")["name"], "Tablet");
    invite.write("y\n");
    let joined = show.event("joined");
    assert_eq!(invite.event("joined"), joined);
    show.ends_with(0);
    invite.ends_with(0);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn one_wrong_word_is_the_end_of_a_code_on_both_devices() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--code"]);
    let (_, code) = shown(&mut invite);
    newcomer.run(&world.join(&wrong(&code))).fails("WRONG_CODE", 5);
    invite.error("WRONG_CODE");
    invite.ends_with(5);
    let late = newcomer.run(&world.join(&code));
    let told = late.one("error")["code"].as_str().unwrap().to_owned();
    assert!(["PAIRING_USED", "NO_SUCH_PAIRING"].contains(&told.as_str()), "{told}");
    assert_eq!(late.code, Some(5));
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
    pair(&world.member, &newcomer, "newcomer");
}

#[test]
fn a_link_outlives_the_code_beside_it() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite"]);
    let (link, code) = shown(&mut invite);
    newcomer.run(&world.join(&wrong(&code))).fails("WRONG_CODE", 5);
    assert_eq!(invite.event("code_over")["code"], "WRONG_CODE");
    let mut join = newcomer.start(&["join", &link, "--name", "Tablet"]);
    let digits = join.event("check")["code"].as_str().unwrap().to_owned();
    invite.event("request");
    // The yes that would have been enough for a code is none for a link.
    invite.write("y\n");
    invite.write(&format!("{digits}\n"));
    join.ends_with(0);
    invite.ends_with(0);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn no_is_no() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--code"]);
    let (_, code) = shown(&mut invite);
    let mut join = newcomer.start(&world.join(&code));
    invite.event("request");
    invite.write("n\n");
    invite.error("PAIRING_REFUSED");
    invite.ends_with(5);
    join.error("PAIRING_REFUSED");
    join.ends_with(5);
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
}

#[test]
fn what_is_no_code_and_what_nobody_shows() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    for bad in ["7-zoo-zoo", "0-zoo-zoo-zoo", "7-zoo-zoo-zooo", "7"] {
        newcomer.run(&world.join(bad)).fails("CODE_INVALID", 2);
        world.member.run(&["invite", bad]).fails("CODE_INVALID", 2);
    }
    // Ten tries for this network, and then it has to wait.
    for number in 20..30 {
        newcomer.run(&world.join(&format!("{number}-zoo-zoo-zoo"))).fails("NO_SUCH_PAIRING", 5);
    }
    let error = newcomer.run(&world.join("30-zoo-zoo-zoo")).fails("TOO_MANY_TRIES", 5);
    assert!(error.one("error")["retry_after_ms"].is_u64());
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
}

#[test]
fn with_an_embedded_relay_there_is_no_code() {
    let folder = tempfile::tempdir().unwrap();
    let (host, newcomer) = (Device::new(folder.path().join("host")), Device::new(folder.path().join("newcomer")));
    host.run(&["init", "--name", "host"]).ok();
    host.run(&["invite", "--code"]).fails("CODE_NEEDS_RELAY", 2);
    newcomer.run(&["join", "7-zoo-zoo-zoo", "--name", "n"]).fails("CODE_NEEDS_RELAY", 2);
    newcomer.run(&["join", "7-zoo-zoo-zoo", "--name", "n", "--relay", "embedded"]).fails("CODE_NEEDS_RELAY", 2);
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
    let mut invite = host.start(&["invite", "--yes"]);
    let event = invite.event("invite");
    assert!(event["code"].is_null(), "{event}");
    newcomer.run(&["join", event["uri"].as_str().unwrap(), "--name", "n"]).ok().one("joined");
    invite.ends_with(0);
}

#[test]
fn a_person_is_shown_what_to_run_on_the_other_device() {
    let world = world();
    let ran = world.member.say(&["invite", "--code", "--ttl", "1"], b"");
    let line =
        ran.stdout.lines().find(|line| line.starts_with("ksync join ")).unwrap_or_else(|| panic!("{}", ran.stdout));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words.len(), words[2].split('-').count(), words[3]), (5, 4, "--relay"), "{line}");
    assert_eq!(words[4], world.relay.address);
    assert!(!ran.stdout.contains("KSYNC:"), "the code is what was asked for");
    let both = world.member.say(&["invite", "--ttl", "1"], b"");
    assert!(both.stdout.contains("ksync join KSYNC:") && both.stdout.contains(" --relay ksync://"), "{}", both.stdout);
}
