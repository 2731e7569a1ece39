//! Links that do not work, and people who say no: each has its own error, and nothing changes.

use crate::harness::{Device, Process, Ran, Relay, pair};

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

    /// After whatever failed: the member's group is as it was, and works.
    fn unchanged(&self) {
        let newcomer = self.newcomer("the next");
        assert_eq!(self.member.status()["devices"].as_array().unwrap().len(), 1);
        pair(&self.member, &newcomer, "the next");
        assert_eq!(newcomer.pulls(), ["kept"]);
    }
}

/// The newcomer failed so, and is as it was before: no device at all.
#[track_caller]
fn refused(newcomer: &Device, ran: Ran, code: &str, exit: i32) {
    ran.fails(code, exit);
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
}

fn uri(process: &mut Process) -> String {
    process.event("invite")["uri"].as_str().unwrap().to_owned()
}

#[test]
fn the_newcomer_shows() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut show = newcomer.start(&["join", "--show", "--relay", &world.relay.address, "--name", "Tablet"]);
    let link = uri(&mut show);
    let mut invite = world.member.start(&["invite", &link]);
    let code = invite.event("check")["code"].as_str().unwrap().to_owned();
    show.write(&format!("{code}\n"));
    assert_eq!(invite.event("request")["name"], "Tablet");
    invite.write("y\n");
    let joined = show.event("joined");
    assert_eq!(invite.event("joined"), joined);
    show.ends_with(0);
    invite.ends_with(0);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn a_script_may_consent_without_the_code() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--yes"]);
    newcomer.run(&["join", &uri(&mut invite), "--name", "n"]).ok().one("joined");
    invite.event("joined");
    invite.ends_with(0);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn links_that_are_no_links() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite"]);
    let link = uri(&mut invite);
    for bad in ["", "hello", "https://example.org", "KSYNC:", &link[..link.len() - 1], &link[..40], &format!("{link}A")]
    {
        refused(&newcomer, newcomer.run(&["join", bad, "--name", "n"]), "LINK_INVALID", 2);
    }
    let altered = format!("{}{}{}", &link[..60], if &link[60..61] == "A" { "B" } else { "A" }, &link[61..]);
    refused(&newcomer, newcomer.run(&["join", &altered, "--name", "n"]), "LINK_INVALID", 2);
    // Of another app, and on the wrong side: told before anybody is asked, so the link is still good.
    refused(&newcomer, newcomer.run(&["join", &link, "--name", "n", "--app-id", "org.example"]), "WRONG_APP", 5);
    let other = Device::init(world.folder.path().join("other"), "other", &world.relay);
    other.run(&["invite", &link]).fails("WRONG_SIDE", 5);
    let mut join = newcomer.start(&["join", &link.to_lowercase(), "--name", "n"]);
    let code = join.event("check")["code"].as_str().unwrap().to_owned();
    invite.write(&format!("{code}\n"));
    join.ends_with(0);
    invite.ends_with(0);
}

#[test]
fn a_link_is_over_when_its_time_is() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite", "--ttl", "1"]);
    let link = uri(&mut invite);
    let last = invite.line().unwrap();
    assert!(last.contains("PAIRING_EXPIRED") && last.contains("Make a new invite"), "{last}");
    invite.ends_with(5);
    refused(&newcomer, newcomer.run(&["join", &link, "--name", "n"]), "NO_SUCH_PAIRING", 5);
    world.unchanged();
}

#[test]
fn a_link_works_once() {
    let world = world();
    let (first, second) = (world.newcomer("first"), world.newcomer("second"));
    let mut invite = world.member.start(&["invite"]);
    let link = uri(&mut invite);
    let mut join = first.start(&["join", &link, "--name", "first"]);
    let code = join.event("check")["code"].as_str().unwrap().to_owned();
    invite.write(&format!("{code}\n"));
    join.ends_with(0);
    invite.ends_with(0);
    let again = second.run(&["join", &link, "--name", "second"]);
    assert!(
        ["PAIRING_USED", "NO_SUCH_PAIRING"].contains(&again.one("error")["code"].as_str().unwrap()),
        "{}",
        again.stdout
    );
    assert_eq!(again.code, Some(5));
    second.run(&["status"]).fails("NOT_INITIALIZED", 3);
    assert_eq!(first.pulls(), ["kept"]);
}

#[test]
fn a_second_taker_ends_it_for_all() {
    let world = world();
    let (first, second) = (world.newcomer("first"), world.newcomer("second"));
    let mut invite = world.member.start(&["invite"]);
    let link = uri(&mut invite);
    let mut join = first.start(&["join", &link, "--name", "first"]);
    join.event("check");
    refused(&second, second.run(&["join", &link, "--name", "second"]), "PAIRING_USED", 5);
    invite.event("request");
    invite.error("PAIRING_USED");
    invite.ends_with(5);
    join.ends_with(5);
    first.run(&["status"]).fails("NOT_INITIALIZED", 3);
    world.unchanged();
}

#[test]
fn a_wrong_code_twice_ends_it() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite"]);
    let mut join = newcomer.start(&["join", &uri(&mut invite), "--name", "n"]);
    let code: u16 = join.event("check")["code"].as_str().unwrap().parse().unwrap();
    let wrong = format!("{:04}\n", (code + 1) % 10_000);
    invite.event("request");
    // No four digits: no try.
    invite.write("12\n");
    invite.write(&wrong);
    invite.error("WRONG_CODE");
    invite.write(&wrong);
    invite.error("TOO_MANY_TRIES");
    invite.ends_with(5);
    join.ends_with(5);
    newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
    world.unchanged();
}

#[test]
fn no_is_no_and_so_is_no_answer() {
    for answer in ["n\n", ""] {
        let world = world();
        let newcomer = world.newcomer("newcomer");
        let mut invite = world.member.start(&["invite"]);
        let mut join = newcomer.start(&["join", &uri(&mut invite), "--name", "n"]);
        invite.event("request");
        invite.write(answer);
        invite.close_input();
        invite.error("PAIRING_REFUSED");
        invite.ends_with(5);
        join.event("check");
        join.error("PAIRING_REFUSED");
        join.ends_with(5);
        newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
        world.unchanged();
    }
}

#[test]
fn a_device_that_shares_a_group_stays_in_it() {
    let world = world();
    let stranger = Device::init(world.folder.path().join("stranger"), "stranger", &world.relay);
    let newcomer = world.newcomer("newcomer");
    pair(&world.member, &newcomer, "newcomer");
    let before = newcomer.status();
    let mut invite = stranger.start(&["invite"]);
    newcomer.run(&["join", &uri(&mut invite)]).fails("ALREADY_IN_GROUP", 5);
    assert_eq!(newcomer.status()["group"], before["group"]);
    assert_eq!(newcomer.pulls(), ["kept"]);
}

#[test]
fn whoever_gives_up_leaves_nothing_behind() {
    let world = world();
    let newcomer = world.newcomer("newcomer");
    let mut invite = world.member.start(&["invite"]);
    let link = uri(&mut invite);
    invite.signal("INT");
    invite.ends_with(1);
    refused(&newcomer, newcomer.run(&["join", &link, "--name", "n"]), "NO_SUCH_PAIRING", 5);
    world.unchanged();
}

/// The member dies in one transaction after another, until it is the one that would have added the newcomer.
#[test]
fn a_newcomer_whose_member_dies_says_what_it_waits_for_and_can_give_up() {
    let world = world();
    for count in 1..20 {
        let newcomer = world.newcomer(&format!("newcomer {count}"));
        let mut invite = world.member.command(&["invite"]);
        let mut invite = Process::start(invite.env("KSYNC_CRASH_AT", format!("client_before_commit:{count}")));
        let Some(shown) = invite.line() else { continue };
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let mut join = newcomer.start(&["join", shown["uri"].as_str().unwrap(), "--name", "Tablet"]);
        let mut told = None;
        while told.is_none()
            && let Some(line) = join.line()
        {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            match event["event"].as_str() {
                // The member may have died before it can be told.
                Some("check") => drop(invite.stdin.take().map(|mut stdin| {
                    std::io::Write::write_all(&mut stdin, format!("{}\n", event["code"].as_str().unwrap()).as_bytes())
                })),
                name => told = name.map(str::to_owned),
            }
        }
        if told.as_deref() != Some("agreed") {
            // Nothing has been agreed, so nothing has changed.
            newcomer.run(&["status"]).fails("NOT_INITIALIZED", 3);
            continue;
        }
        assert!(invite.wait().code().is_none(), "the member was to die, and adds the newcomer");
        join.signal("INT");
        join.ends_with(1);
        let status = newcomer.status();
        if !status["group"].is_null() {
            // It was added just before.
            continue;
        }
        assert_eq!((&status["joining"], &status["trouble"]["code"]), (&true.into(), &"NOT_MEMBER".into()));
        assert!(newcomer.say(&["status"], b"").ok().stdout.contains("Waiting to be added to a group: "));
        let doctor = newcomer.run(&["doctor"]).ok();
        assert_eq!(doctor.one("finding")["code"], "NOT_MEMBER");
        // Whoever has waited long enough gives it up, and joins another.
        newcomer.run(&["leave"]).ok();
        assert_eq!(newcomer.status()["joining"], false);
        let other = Device::init(world.folder.path().join("other"), "other", &world.relay);
        pair(&other, &newcomer, "Tablet");
        return;
    }
    panic!("the member never died at the right time");
}

#[cfg(feature = "fips")]
#[test]
fn a_build_of_fips_approved_algorithms_has_no_short_codes() {
    let world = world();
    world.member.run(&["invite", "--code"]).fails("CODE_NOT_APPROVED", 2);
}
