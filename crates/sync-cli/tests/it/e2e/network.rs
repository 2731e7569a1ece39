//! With a relay set, a device's packets go to that relay and nowhere else, and where UDP does not get through, over HTTPS: recorded in a
//! network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::hazard::{cut, ended};
use crate::harness::{Device, Process, Relay, run};

const DEVICES: &str = "ksync-e2e-dev";
const RELAYS: &str = "ksync-e2e-rel";
const DEVICE: &str = "10.213.77.2";
const RELAY: &str = "10.213.77.1";
const PORT: u16 = 4433;
const HTTPS: u16 = 4480;
/// Lies behind the relay's host, which is the way to everywhere.
const ELSEWHERE: &str = "10.213.78.9:4433";
/// The name server of the namespace: nobody is there.
const NAME_SERVER: &str = "10.213.79.53";

fn ip(arguments: &str) -> bool {
    run(Command::new("ip").args(arguments.split(' ')), b"").status.success()
}

/// Two namespaces with a cable between them. They go with this value, and remains of an earlier run before it is made.
struct Cable;

impl Cable {
    fn lay() -> Self {
        take_away();
        let cable = Self;
        // Without a name server of its own a namespace has the host's.
        let folder = format!("/etc/netns/{DEVICES}");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(format!("{folder}/resolv.conf"), format!("nameserver {NAME_SERVER}\n")).unwrap();
        for step in [
            format!("netns add {DEVICES}"),
            format!("netns add {RELAYS}"),
            format!("link add ksync-dev netns {DEVICES} type veth peer name ksync-rel netns {RELAYS}"),
            format!("-n {DEVICES} addr add {DEVICE}/24 dev ksync-dev"),
            format!("-n {RELAYS} addr add {RELAY}/24 dev ksync-rel"),
            format!("-n {DEVICES} link set lo up"),
            format!("-n {RELAYS} link set lo up"),
            format!("-n {DEVICES} link set ksync-dev up"),
            format!("-n {RELAYS} link set ksync-rel up"),
            // There is a way to everywhere: whoever wanted to go there would be seen.
            format!("-n {DEVICES} route add default via {RELAY}"),
        ] {
            assert!(ip(&step), "ip {step}: this test makes network namespaces, and so runs as root");
        }
        cable
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        take_away();
    }
}

fn take_away() {
    for name in [DEVICES, RELAYS] {
        ip(&format!("netns del {name}"));
    }
    let _ = std::fs::remove_dir_all(format!("/etc/netns/{DEVICES}"));
}

/// The same command, in a namespace.
fn inside(namespace: &str, command: &Command) -> Command {
    let mut inner = Command::new("ip");
    inner.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inner.env(name, value),
            None => inner.env_remove(name),
        };
    }
    inner
}

/// Everything that passes any interface of the devices' namespace, loopback too.
struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    fn start(file: &Path) -> Self {
        let script = format!("exec tcpdump -i any -n -U --immediate-mode -Z root -w {} 2>&1", file.display());
        let mut tcpdump = Process::start(&mut inside(DEVICES, Command::new("sh").args(["-c", &script])));
        while !tcpdump.line().expect("tcpdump listens").contains("listening on") {}
        Self { tcpdump, file: file.to_owned() }
    }

    /// One line for each packet.
    fn stop(self) -> Vec<String> {
        self.tcpdump.signal("INT");
        assert_eq!(ended(self.tcpdump).0, Some(0));
        let mut tcpdump = Command::new("tcpdump");
        let read = run(tcpdump.args(["-n", "-q", "-t", "-r"]).arg(&self.file), b"");
        String::from_utf8(read.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// The packets that do not pass between the device and its relay by UDP.
fn strangers(packets: &[String]) -> Vec<&String> {
    others(packets, &[("UDP, ", PORT)])
}

/// The packets that do not pass between the device and these ports of its relay. Only what hosts on one cable say to find each other
/// is left out, and only about these two.
fn others<'a>(packets: &'a [String], ports: &[(&str, u16)]) -> Vec<&'a String> {
    let expected = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "IP" | "IP6" | "ARP,"));
        match words.next() {
            Some("IP") => {
                let (from, to) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
                let to = to.trim_end_matches(':');
                let device = |address: &str| address.strip_prefix(DEVICE).is_some_and(|port| port.starts_with('.'));
                ports.iter().any(|(protocol, port)| {
                    let relay = format!("{RELAY}.{port}");
                    line.contains(protocol) && ((device(from) && to == relay) || (from == relay && device(to)))
                })
            }
            Some("ARP,") => {
                let asked: Vec<&str> = line.split(|c: char| !c.is_ascii_digit() && c != '.').collect();
                let addresses = asked.iter().filter(|word| word.split('.').filter(|n| !n.is_empty()).count() == 4);
                addresses.into_iter().all(|address| [DEVICE, RELAY].contains(address))
            }
            // Neighbours, routers and multicast groups of the cable itself, from the kernel.
            Some("IP6") => {
                line.contains("ICMP6") && ["solicitation", "advertisement", "listener"].iter().any(|w| line.contains(w))
            }
            _ => false,
        }
    };
    packets.iter().filter(|line| !expected(line)).collect()
}

fn device(command: &Command, input: &[u8]) -> String {
    let output = run(&mut inside(DEVICES, command), input);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn packets_go_to_the_relay_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("relay"));
    relay.stop();
    let _cable = Cable::lay();
    let mut serve = inside(RELAYS, relay.command(&format!("{RELAY}:{PORT}")).args(["--access", "open"]));
    let mut relay = Process::start(&mut serve);
    let address = relay.event("ready")["address"].as_str().unwrap().to_owned();
    assert!(address.ends_with(&format!("@{RELAY}:{PORT}")), "{address}");

    let capture = Capture::start(&folder.path().join("life.pcap"));
    let (a, b) = (Device::new(folder.path().join("a")), Device::new(folder.path().join("b")));
    device(&a.command(&["init", "--name", "a", "--relay", &address]), b"");
    let mut invite = Process::start(&mut inside(DEVICES, &a.command(&["invite", "--yes"])));
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    device(&b.command(&["join", &uri, "--name", "b"]), b"");
    invite.event("joined");
    invite.ends_with(0);
    device(&a.command(&["push", "--wait", "accepted"]), b"over the cable");
    assert!(device(&b.command(&["pull"]), b"").contains("over the cable"));
    device(&b.command(&["push", "--wait", "accepted"]), b"and back");
    assert!(device(&a.command(&["pull"]), b"").contains("and back"));
    device(&a.command(&["doctor"]), b"");
    let packets = capture.stop();
    assert!(packets.len() > 40, "the capture sees the traffic: {packets:?}");
    let found = strangers(&packets);
    assert!(found.is_empty(), "{} of {} packets go elsewhere: {found:#?}", found.len(), packets.len());
    println!("{} packets, all of them to and from {RELAY}:{PORT}", packets.len());

    // The same check on a device that is told of another place, which it tries first, and on a question for a name.
    let capture = Capture::start(&folder.path().join("elsewhere.pcap"));
    let two = Device::new(folder.path().join("two"));
    device(&two.command(&["init", "--name", "two", "--relay", &address.replace('@', &format!("@{ELSEWHERE},"))]), b"");
    device(&two.command(&["push", "--wait", "accepted"]), b"x");
    let packets = capture.stop();
    let found = strangers(&packets);
    assert!(found.iter().any(|line| line.contains("10.213.78.9")), "the other place is seen: {packets:#?}");

    let capture = Capture::start(&folder.path().join("name.pcap"));
    let name = address.replace(&format!("@{RELAY}"), "@relay.example");
    let three = Device::new(folder.path().join("three"));
    device(&three.command(&["init", "--name", "three", "--relay", &name]), b"");
    run(&mut inside(DEVICES, &three.command(&["--timeout", "1", "pull"])), b"");
    let packets = capture.stop();
    assert!(strangers(&packets).iter().any(|line| line.contains(NAME_SERVER)), "a name is asked for: {packets:#?}");
    cut(relay);
}

/// Whether the relay's host takes packets of UDP. Those that it does not take are dropped without a word.
fn let_udp_in(yes: bool) {
    let rules = if yes {
        "delete table inet cut".to_owned()
    } else {
        "table inet cut { chain in { type filter hook input priority 0; meta l4proto udp drop; }; }".to_owned()
    };
    let nft = run(&mut inside(RELAYS, Command::new("nft").arg("-f").arg("-")), rules.as_bytes());
    assert!(nft.status.success(), "{}", String::from_utf8_lossy(&nft.stderr));
}

/// A certificate for the relay's address, and its key, in files of this folder.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed([RELAY.to_owned()]).unwrap();
    let (certificate, key) = (folder.join("relay.crt"), folder.join("relay.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn whoever_is_cut_off_from_udp_pairs_and_syncs_over_https() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("relay"));
    relay.stop();
    let _cable = Cable::lay();
    let (quic, https) = (format!("{RELAY}:{PORT}"), format!("{RELAY}:{HTTPS}"));
    let (certificate, key) = certificate(folder.path());
    let mut serve = relay.command_with(&quic, &https);
    serve.args(["--access", "open"]).arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let mut relay = Process::start(&mut inside(RELAYS, &serve));
    let address = relay.event("ready")["http"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("https://{https}"));
    let (a, b) = (Device::new(folder.path().join("a")), Device::new(folder.path().join("b")));
    // The system's roots are whatever this variable says.
    let command = |of: &Device, arguments: &[&str]| {
        let mut command = of.command(arguments);
        command.env("SSL_CERT_FILE", &certificate);
        command
    };

    let_udp_in(false);
    let capture = Capture::start(&folder.path().join("cut.pcap"));
    device(&command(&a, &["init", "--name", "a", "--relay", &address]), b"");
    let mut invite = Process::start(&mut inside(DEVICES, &command(&a, &["invite", "--yes"])));
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    device(&command(&b, &["join", &uri, "--name", "b"]), b"");
    invite.event("joined");
    invite.ends_with(0);
    device(&command(&a, &["push", "--wait", "accepted"]), b"past the wall");
    assert!(device(&command(&b, &["pull"]), b"").contains("past the wall"));
    device(&command(&b, &["push", "--wait", "accepted"]), &[b'x'; 900_000]);
    assert!(device(&command(&a, &["pull"]), b"").contains(&"x".repeat(900_000)));
    let doctor = device(&command(&a, &["doctor"]), b"");
    assert!(doctor.contains("over HTTPS since UDP does not get through"), "{doctor}");
    let packets = capture.stop();
    let found = others(&packets, &[("UDP, ", PORT), (" tcp ", HTTPS)]);
    assert!(found.is_empty(), "{} of {} packets go elsewhere: {found:#?}", found.len(), packets.len());
    let answers = packets.iter().filter(|line| line.contains(&format!("IP {RELAY}.{PORT}")));
    assert_eq!(answers.count(), 0, "nothing came back by UDP");

    let_udp_in(true);
    let doctor = device(&command(&a, &["doctor"]), b"");
    assert!(doctor.contains("connected") && !doctor.contains("over HTTPS"), "UDP is used where it works: {doctor}");
    cut(relay);
}

/// Has the network give both other addresses.
fn move_house() {
    for (namespace, link, host) in [(DEVICES, "ksync-dev", 2), (RELAYS, "ksync-rel", 1)] {
        for step in [
            format!("-n {namespace} addr del 10.213.77.{host}/24 dev {link}"),
            format!("-n {namespace} addr add 10.213.77.{}/24 dev {link}", host + 100),
            format!("-n {namespace} route replace default dev {link}"),
        ] {
            assert!(ip(&step), "ip {step}");
        }
    }
}

#[test]
fn devices_without_a_relay_find_each_other_in_the_network_that_they_are_in() {
    let folder = tempfile::tempdir().unwrap();
    let _cable = Cable::lay();
    assert!(ip(&format!("-n {RELAYS} route add default dev ksync-rel")));
    let (a, b) = (Device::new(folder.path().join("a")), Device::new(folder.path().join("b")));
    let command = |of: &Device, arguments: &[&str]| {
        let mut command = of.command(arguments);
        // Where the others in the network come.
        command.env("KSYNC_DISCOVERY", "lan").env("KSYNC_LISTEN", "0.0.0.0:0");
        command
    };
    let at_a = |arguments: &[&str]| inside(RELAYS, &command(&a, arguments));
    let at_b = |arguments: &[&str]| inside(DEVICES, &command(&b, arguments));
    let ok = |command: &mut Command, input: &[u8]| {
        let output = run(command, input);
        let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{log}");
        text.into_owned()
    };
    ok(&mut at_a(&["init", "--name", "laptop"]), b"");
    let mut invite = Process::start(&mut at_a(&["invite", "--yes"]));
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    ok(&mut at_b(&["join", &uri, "--name", "phone"]), b"");
    invite.event("joined");
    invite.ends_with(0);

    // Each runs alone for a while: neither hears where the other is now.
    move_house();
    let capture = Capture::start(&folder.path().join("lan.pcap"));
    let laptop = Process::start(&mut at_a(&["run"]));
    ok(&mut at_b(&["push", "--wait", "delivered"]), b"in another network");
    cut(laptop);
    let pulled = ok(&mut at_a(&["pull"]), b"");
    assert!(pulled.contains("in another network"), "{pulled}");
    // Multicast, the two, and nobody else.
    let packets = capture.stop();
    let asked = packets.iter().filter(|line| line.contains("224.0.0.251.5353")).count();
    assert!(asked > 0, "{packets:#?}");
    let strangers: Vec<_> =
        packets.iter().filter(|line| line.contains(NAME_SERVER) || line.contains(" tcp ")).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}
