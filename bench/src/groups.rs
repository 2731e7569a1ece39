//! What a change of the group costs at 2, 5, 20 and 50 devices: bytes on the wire, and the time that each party works for it. The
//! same calls as a device and a relay make, without lines and disks.

use std::time::{Duration, Instant};

use sync_core::membership::{Change, Invitation, KeyPackage, Membership, Prepared, key_package};
use sync_rules::{Observe, Observer, SigningKey, mls};
use sync_types::frame::Cut;
use sync_types::settings::Settings;
use sync_types::{DeviceId, GroupId, Suite, encode};

use crate::Outcome;
use crate::stats::{Sorted, count, text};

type Member = Membership<mls::Crypto>;

const SIZES: [usize; 4] = [2, 5, 20, 50];
/// How often each change is measured at each size.
const TIMES: usize = 9;
const NOW: u64 = 1_800_000_000_000;

/// A group with all of its members, and the relay's view of it.
struct Group {
    members: Vec<Member>,
    observer: Observer<mls::Crypto>,
    snapshot: Vec<u8>,
    settings: Settings,
    suite: Suite,
    drawn: u64,
}

/// What one change cost.
#[derive(Default)]
struct Cost {
    commit: usize,
    info: usize,
    welcome: usize,
    make: Vec<Duration>,
    check: Vec<Duration>,
    apply: Vec<Duration>,
    join: Vec<Duration>,
}

fn timed<T>(times: &mut Vec<Duration>, what: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = what();
    times.push(began.elapsed());
    done
}

impl Group {
    fn found(suite: Suite) -> Outcome<Self> {
        let settings = Settings { app_id: b"org.example.notes".to_vec(), ..Settings::default() };
        let founder = SigningKey::from_seed(&[1; 32]);
        let founder = Member::create(mls::crypto(), suite, &founder, GroupId([9; 32]), &settings, NOW)?;
        let observer = Observer::new(mls::crypto());
        let snapshot = observer.found(&founder.group_info()?)?.snapshot;
        Ok(Self { members: vec![founder], observer, snapshot, settings, suite, drawn: 1 })
    }

    fn key_package(&mut self) -> Outcome<KeyPackage> {
        self.drawn += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.drawn.to_be_bytes());
        Ok(key_package(mls::crypto(), self.suite, &SigningKey::from_seed(&seed), NOW)?)
    }

    /// The first member makes a change, the relay checks it, and the second member applies it; so do all others.
    fn change(&mut self, change: Change, cut: &Cut, cost: &mut Cost) -> Outcome<Prepared> {
        let cut = encode(cut);
        let made = timed(&mut cost.make, || self.members[0].prepare(change, cut, None, NOW))?;
        (cost.commit, cost.info) = (made.commit.len(), made.group_info.len());
        cost.welcome = made.welcomes.first().map_or(0, |(_, bytes)| bytes.len());
        let observer = &self.observer;
        let step = timed(&mut cost.check, || observer.process(&self.snapshot, &made.commit, &made.group_info))?;
        self.snapshot = step.after.snapshot;
        for (place, member) in self.members.iter_mut().enumerate() {
            let mut others = Vec::new();
            let times = if place == 1 { &mut cost.apply } else { &mut others };
            timed(times, || member.apply(&made.commit))?;
        }
        Ok(made)
    }

    fn add(&mut self, cost: &mut Cost) -> Outcome<DeviceId> {
        let package = self.key_package()?;
        let sponsor = self.members[0].device();
        let made = self.change(Change::Add(vec![package.message]), &Cut::default(), cost)?;
        let (device, welcome) = made.welcomes.into_iter().next().ok_or("a Welcome for the newcomer")?;
        let invitation = Invitation { group: GroupId([9; 32]), sponsor, settings: &self.settings };
        let join = || Member::join(mls::crypto(), &package.secrets, &welcome, invitation);
        self.members.push(timed(&mut cost.join, join)?.membership);
        Ok(device)
    }

    fn remove_last(&mut self, cost: &mut Cost) -> Outcome<()> {
        let last = self.members.pop().ok_or("there is somebody to remove")?.device();
        let reached = sync_types::body::Reached { sender: last, seq: 0, hash: Default::default() };
        let cut = Cut { last: vec![reached], lost: false };
        self.change(Change::Remove(vec![last]), &cut, cost)?;
        Ok(())
    }
}

/// Measures, and prints a table for each suite.
pub(crate) fn run() -> Outcome<()> {
    [Suite::XWing, Suite::Fips].into_iter().try_for_each(table)
}

fn table(suite: Suite) -> Outcome<()> {
    let mut group = Group::found(suite)?;
    let mut rows = Vec::new();
    for size in SIZES {
        while group.members.len() < size {
            group.add(&mut Cost::default())?;
        }
        let (mut adding, mut removing, mut rotating) = (Cost::default(), Cost::default(), Cost::default());
        for _ in 0..TIMES {
            // The one who comes is the one that makes it `size`, and so is the one who goes.
            group.remove_last(&mut removing)?;
            group.add(&mut adding)?;
            group.change(Change::SelfUpdate, &Cut::default(), &mut rotating)?;
        }
        for (what, cost) in [("adding the last", adding), ("removing one", removing), ("rotating keys", rotating)] {
            rows.push((size, what, cost));
        }
    }
    let number = suite as u8;
    println!("\nChanges of a group, suite {number}: bytes, and the median time of {TIMES}, each party by itself");
    let head = ["commit", "group info", "Welcome", "making it", "relay's check", "applying it", "joining"];
    print!("{:>7}  {:<16}", "devices", "");
    head.iter().for_each(|column| print!(" {column:>13}"));
    println!();
    for (size, what, cost) in rows {
        print!("{size:>7}  {what:<16}");
        for bytes in [cost.commit, cost.info, cost.welcome] {
            #[allow(clippy::cast_precision_loss, reason = "it is far below what a number of this kind holds")]
            let bytes = if bytes == 0 { "–".to_owned() } else { count(bytes as f64) };
            print!(" {bytes:>13}");
        }
        for times in [cost.make, cost.check, cost.apply, cost.join] {
            let median = if times.is_empty() { "–".to_owned() } else { text(Sorted::new(times).percentile(50)) };
            print!(" {median:>13}");
        }
        println!();
    }
    println!(
        "Up go commit, group info and Welcome together; each member is sent the commit, the newcomer its Welcome."
    );
    Ok(())
}
