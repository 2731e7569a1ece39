//! What the tests share that end processes at random moments: the moments, and an account of what was pushed and pulled.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Device, Process, pair};

/// Random numbers from a seed that is printed; `KSYNC_SEED` repeats a run as far as its processes allow.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(test: &str) -> Self {
        let given = std::env::var("KSYNC_SEED").ok().map(|s| s.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(test));
        println!("{test}: KSYNC_SEED={seed}");
        Self(seed)
    }

    /// Another series, for another thread.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Lets a random time pass, so that what follows happens at a random moment of what runs meanwhile.
    #[expect(clippy::disallowed_methods, reason = "nothing is waited for: the moment itself is what is drawn")]
    pub(super) fn moment(&mut self, longest: Duration) {
        let micros = u64::try_from(longest.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(self.below(micros)));
    }
}

/// Ends a process as a crash would. Gives whether it was still running, and every line that it wrote.
pub(super) fn cut(mut process: Process) -> (bool, Vec<String>) {
    process.signal("KILL");
    let (code, _) = process.finish();
    (code.is_none(), std::mem::take(&mut process.seen))
}

/// Waits for a process's own end. Gives its exit code and every line that it wrote.
pub(super) fn ended(mut process: Process) -> (Option<i32>, Vec<String>) {
    let (code, _) = process.finish();
    (code, std::mem::take(&mut process.seen))
}

/// Waits for a process's own end, and asks it to end, as Ctrl-C does, if that takes longer than the limit. Gives its exit code
/// and its lines, and whether it was asked.
pub(super) fn ended_within(process: Process, limit: Duration) -> (Option<i32>, Vec<String>, bool) {
    let id = process.id().to_string();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(ended(process)));
    let (asked, (code, lines)) = match receive.recv_timeout(limit) {
        Ok(end) => (false, end),
        Err(_) => {
            assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            (true, receive.recv().unwrap())
        }
    };
    (code, lines, asked)
}

/// The events of that name. A line that a crash cut short is none.
pub(super) fn events(lines: &[String], name: &str) -> Vec<Value> {
    let all = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|event| event["event"] == name).collect()
}

/// What was pushed, what the pushing process told of it, and what came out at the others.
#[derive(Default)]
pub(super) struct Ledger {
    /// For each sender, whether `push` told of each text that it was given.
    offered: BTreeMap<String, Vec<bool>>,
    /// For each receiver, the position and text of each blob that it printed, by the blob's id.
    pulled: BTreeMap<String, BTreeMap<String, (u64, String)>>,
}

impl Ledger {
    /// Lines for a push. Gives the first one's number, too.
    pub(super) fn offer(&mut self, sender: &str, count: u64) -> (usize, String) {
        let offered = self.offered.entry(sender.to_owned()).or_default();
        let first = offered.len();
        let lines = (0..count as usize).map(|n| format!("{sender} {:06}\n", first + n)).collect();
        offered.resize(first + count as usize, false);
        (first, lines)
    }

    /// What the push wrote that was given the lines from `first` on. Gives how many blobs it told of.
    pub(super) fn pushed(&mut self, sender: &str, first: usize, lines: &[String]) -> usize {
        let told = events(lines, "pushed").len();
        let offered = self.offered.get_mut(sender).unwrap();
        offered[first..first + told].fill(true);
        told
    }

    /// A push that was given the texts from `first` on has told of all of them.
    pub(super) fn tell_all(&mut self, sender: &str, first: usize) {
        self.offered.get_mut(sender).unwrap()[first..].fill(true);
    }

    /// What a pull wrote. Whatever comes again has to be the same blob.
    pub(super) fn pulled(&mut self, receiver: &str, lines: &[String]) -> usize {
        let pulled = self.pulled.entry(receiver.to_owned()).or_default();
        let blobs = events(lines, "blob");
        for blob in &blobs {
            let text = |name: &str| blob[name].as_str().unwrap().to_owned();
            let found = (blob["position"].as_u64().unwrap(), text("text"));
            let before = pulled.entry(text("id")).or_insert_with(|| found.clone());
            assert_eq!(*before, found, "a blob that is printed again is the same one");
        }
        blobs.len()
    }

    /// What of the sender's texts the receiver lacks although `push` told of them.
    pub(super) fn lacks(&self, sender: &str, receiver: &str) -> Vec<usize> {
        let texts: BTreeSet<&str> =
            self.pulled.get(receiver).into_iter().flatten().map(|(_, (_, text))| text.as_str()).collect();
        let told = self.offered[sender].iter().enumerate().filter(|(_, told)| **told);
        told.map(|(n, _)| n).filter(|n| !texts.contains(format!("{sender} {n:06}").as_str())).collect()
    }

    /// Nothing is lost, nothing came twice, and the sender's order is kept.
    pub(super) fn check(&self, sender: &str, receiver: &str) {
        let lost = self.lacks(sender, receiver);
        assert!(lost.is_empty(), "{receiver} lacks {} of what {sender} pushed: {lost:?}", lost.len());
        let prefix = format!("{sender} ");
        let mut of_sender: Vec<&(u64, String)> =
            self.pulled[receiver].values().filter(|(_, text)| text.starts_with(&prefix)).collect();
        of_sender.sort();
        // The texts count upwards: one that came twice, or out of its order, breaks the row.
        for two in of_sender.windows(2) {
            assert!(two[0].1 < two[1].1, "{receiver} has {:?} before {:?}", two[0], two[1]);
        }
        println!("{receiver} has {} of {} lines of {sender}", of_sender.len(), self.offered[sender].len());
    }
}

/// Pulls on both until nothing waits on either, and then looks whether each has everything of the other.
pub(super) fn settle(ledger: &mut Ledger, world: &World) {
    let devices = [("a", &world.a), ("b", &world.b)];
    for round in 0.. {
        assert!(round < 50, "something goes on waiting");
        world.relay.must_run();
        let waits = devices.iter().any(|(_, device)| {
            let status = device.status();
            status["outbox"] != 0 || status["unacknowledged"] != 0
        });
        // Behind the look at what waits: that, too, connects, and may have received the last of it.
        for (name, device) in &devices {
            let ran = device.run(&["pull"]).ok();
            let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
            ledger.pulled(name, &lines);
        }
        if !waits {
            break;
        }
    }
    for (sender, _) in devices.iter().filter(|(name, _)| ledger.offered.contains_key(*name)) {
        for (receiver, _) in devices.iter().filter(|(name, _)| name != sender) {
            ledger.check(sender, receiver);
        }
    }
}

/// One figure of the relay's `/metrics`.
pub(super) fn metric(relay: &crate::harness::Relay, name: &str) -> u64 {
    use std::io::{Read, Write};
    let host = relay.http.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{answer}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Two paired devices and their relay.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) relay: crate::harness::Relay,
    pub(super) a: Device,
    pub(super) b: Device,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = crate::harness::Relay::start(folder.path().join("relay"));
        let a = Device::init(folder.path().join("a"), "a", &relay);
        let b = Device::new(folder.path().join("b"));
        pair(&a, &b, "b");
        Self { folder, relay, a, b }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: &str, position: u64, text: &str) -> String {
        format!(r#"{{"event":"blob","id":"{id}","position":{position},"text":"{text}"}}"#)
    }

    fn told(count: usize) -> Vec<String> {
        vec![r#"{"event":"pushed"}"#.to_owned(); count]
    }

    fn finds(lines: &[String]) -> bool {
        let mut ledger = Ledger::default();
        ledger.offer("a", 3);
        ledger.pushed("a", 0, &told(3));
        std::panic::catch_unwind(move || {
            ledger.pulled("b", lines);
            ledger.check("a", "b");
        })
        .is_err()
    }

    #[test]
    fn the_account_finds_what_is_lost_twice_or_out_of_order() {
        let fine = [blob("1", 1, "a 000000"), blob("2", 2, "a 000001"), blob("3", 3, "a 000002")];
        assert!(!finds(&fine));
        assert!(!finds(&[fine.as_slice(), &fine].concat()), "printed again after a crash");
        assert!(!finds(&[fine.as_slice(), &["{\"event\":\"bl".to_owned()]].concat()), "a line cut short");
        assert!(finds(&fine[..2]), "lost");
        assert!(finds(&[fine.as_slice(), &[blob("4", 4, "a 000002")]].concat()), "under two ids");
        let moved = [blob("1", 3, "a 000000"), blob("2", 2, "a 000001"), blob("3", 4, "a 000002")];
        assert!(finds(&moved), "out of order");
        assert!(finds(&[fine.as_slice(), &[blob("1", 9, "a 000000")]].concat()), "at two positions");
    }
}
