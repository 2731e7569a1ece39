//! A device that sleeps has no socket, and a push tells it when to look: the programs, with a push service in between.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use crate::harness::{Device, Process, Relay, pair};

const SOON: Duration = Duration::from_secs(20);

/// Answers each push, and tells of it.
fn push_service() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                // Whoever keeps the connection for the next push closes it at last.
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                if !line.trim().is_empty() {
                    lines.push(line.trim().to_owned());
                    continue;
                }
                let request = std::mem::take(&mut lines).join("\n");
                stream.get_mut().write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
                if tell.send(request).is_err() {
                    return;
                }
            }
        }
    });
    (url, told)
}

/// How many sockets of the internet's protocols a process has.
fn sockets(process: u32) -> usize {
    let inodes = |protocol: &str| {
        let table = std::fs::read_to_string(format!("/proc/{process}/net/{protocol}")).unwrap_or_default();
        table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned)).collect::<Vec<_>>()
    };
    let all: Vec<String> = ["udp", "udp6", "tcp", "tcp6"].into_iter().flat_map(inodes).collect();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let own = links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()));
    own.filter(|inode| all.contains(inode)).count()
}

#[test]
fn a_push_wakes_a_device_that_has_no_socket_open() {
    let folder = tempfile::tempdir().unwrap();
    let (service, pushes) = push_service();
    let settings = folder.path().join("wake.toml");
    std::fs::write(&settings, "allow = [\"127.0.0.1/32\"]\n").unwrap();
    let relay = Relay::start_with(folder.path().join("relay"), |serve| {
        serve.env("KSYNC_RELAY_WAKE", &settings);
    });
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");

    // The key that a subscription is bound to, as the relay signs with it, and as its web server tells it.
    let key = phone.run(&["wake-target", "key"]).ok().one("wake_key")["key"].as_str().unwrap().to_owned();
    assert!(key.len() == 87 && key.starts_with('B'), "an uncompressed point in base64url: {key}");
    let endpoint = format!("{service}/up/s3cret");
    let set = phone.run_with(&["wake-target", "web-push", "-"], endpoint.as_bytes()).ok();
    assert_eq!(set.one("wake_target")["state"], "registered");
    assert_eq!(phone.run(&["wake-target"]).ok().one("wake_target")["state"], "registered");
    assert_eq!(phone.status()["wake"], "registered");

    let mut asleep: Process = phone.start(&["run", "--control", "--background"]);
    assert_eq!(asleep.event("status")["mode"], "background");
    assert_eq!(sockets(asleep.id()), 0);
    laptop.push("one", "accepted");
    let request = pushes.recv_timeout(SOON).expect("a push");
    assert!(request.starts_with("POST /up/s3cret HTTP/1.1"), "{request}");
    assert!(request.contains(&format!("k={key}")) && request.to_lowercase().contains("ttl: "), "{request}");
    // What a distributor on the phone does with it.
    asleep.write("wake\n");
    let woken = asleep.event("woken");
    assert_eq!((&woken["arrived"], &woken["caught_up"]), (&true.into(), &true.into()));
    assert_eq!(sockets(asleep.id()), 0);
    laptop.push("two", "accepted");
    pushes.recv_timeout(SOON).expect("it came and went, so another one");

    asleep.write("foreground\n");
    while asleep.event("mode")["mode"] != "foreground" {}
    asleep.event("connected");
    assert!(sockets(asleep.id()) > 0);
    laptop.push("three", "delivered");
    asleep.write("background\n");
    while asleep.event("mode")["mode"] != "background" {}
    assert_eq!(sockets(asleep.id()), 0);
    asleep.write("dance\n");
    asleep.error("INVALID_ARGUMENT");
    asleep.signal("TERM");
    asleep.ends_with(0);
    assert!(pushes.try_recv().is_err(), "a device that is awake is woken by nothing");
    assert_eq!(phone.pulls(), ["one", "two", "three"]);

    // The same without a process that stays: what a timer or another program runs.
    laptop.push("four", "accepted");
    pushes.recv_timeout(SOON).expect("a push");
    let woken = phone.run(&["wake"]).ok();
    assert_eq!(woken.one("woken")["arrived"], true);
    assert_eq!(phone.run(&["wake"]).ok().one("woken")["arrived"], false);
    assert_eq!(phone.run(&["wake-target", "off"]).ok().one("wake_target")["state"], "none");
    laptop.push("five", "accepted");
    laptop.push("six", "accepted");
    assert!(pushes.recv_timeout(Duration::from_millis(500)).is_err(), "nowhere any more");

    phone.run(&["wake-target", "web-push", "https://10.0.0.1/x"]).fails("WAKE_UNAVAILABLE", 5);
    phone.run(&["wake-target", "web-push", "nonsense"]).fails("INVALID_ARGUMENT", 2);
    phone.run(&["wake-target", "apns", "zz", "--topic", "org.example.app"]).fails("INVALID_ARGUMENT", 2);
    phone.run(&["wake-target", "apns", "00ff", "--topic", "org.example.app"]).fails("WAKE_UNAVAILABLE", 5);
    let log = std::fs::read_to_string(relay.folder.with_extension("log")).unwrap();
    assert!(!log.contains("s3cret"), "the log of the relay tells no endpoint: {log}");
}
