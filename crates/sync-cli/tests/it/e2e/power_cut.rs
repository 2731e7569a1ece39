//! Power cuts: what was told to be durable is on the disk when everything that was not synced is taken away.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sqlx::Row;

use super::disk::{Disk, rows};
use super::hazard::{Dice, Ledger, World, cut, events, settle};
use crate::harness::{Device, Process, Relay};

/// How often the power is cut in each test.
const CUTS: usize = 24;

/// Numbers of envelopes of one sender.
type Seqs = BTreeSet<i64>;

/// The ids of pushed blobs, as they stand in a database.
fn ids(lines: &[String], state: &str) -> Vec<String> {
    let pushed = events(lines, "pushed").into_iter().filter(|e| e["state"] == state);
    pushed.map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

/// In which of its envelopes each of a device's own blobs went out.
fn own_blobs(home: &Path) -> Vec<(String, Option<i64>)> {
    rows(&home.join("device.db"), "SELECT lower(hex(id)), seq FROM blob WHERE own = 1", |row| (row.get(0), row.get(1)))
}

/// The envelopes of a device that the relay holds. Where the device's chain stands follows from them: nobody takes and
/// acknowledges anything here, so none is deleted.
fn held(relay: &Path, device: &str) -> Seqs {
    let sql = format!("SELECT body FROM entries WHERE kind = 1 AND lower(hex(sender)) = '{device}'");
    let seqs = rows(&relay.join("relay.db"), &sql, |row| {
        let envelope = sync_types::envelope::Envelope::parse(row.get(0)).unwrap();
        i64::try_from(envelope.header.seq).unwrap()
    });
    seqs.into_iter().collect()
}

/// Pushes a few lines one by one, each told before the next, so that there are many small transactions; then a burst, in
/// which the power is cut. Gives the process, and the number of its first line.
fn push_some(push: &mut Process, ledger: &mut Ledger, dice: &mut Dice) -> usize {
    let single = 1 + dice.below(20);
    let (first, lines) = ledger.offer("a", single + 300);
    let burst = lines.match_indices('\n').nth(single as usize - 1).unwrap().0 + 1;
    for line in lines[..burst].split_inclusive('\n') {
        push.write(line);
        push.event("pushed");
    }
    push.write(&lines[burst..]);
    dice.moment(Duration::from_millis(15));
    first
}

/// Cuts the power of a relay while a device pushes to it. Gives how many blobs the device was told to be accepted, and which
/// of the envelopes that hold them, or were there before, are not in the relay's database.
fn cut_relay(world: &mut World, ledger: &mut Ledger, dice: &mut Dice, lies: bool) -> (usize, Vec<i64>) {
    let device = world.a.status()["device"].as_str().unwrap().to_owned();
    world.relay.stop();
    let before = held(&world.relay.folder, &device);
    let disk = Disk::watch(&world.relay.folder);
    let mut relay = Process::start(disk.under(&mut world.relay.command(world.relay.host()), lies));
    relay.event("ready");
    let mut push = world.a.start(&["push", "--lines", "--wait", "accepted"]);
    let first = push_some(&mut push, ledger, dice);
    assert!(cut(relay).0);
    // It was not to wait for a relay that is gone.
    let (_, told) = cut(push);
    ledger.pushed("a", first, &told);
    let accepted: BTreeSet<String> = ids(&told, "accepted").into_iter().collect();
    let own = own_blobs(&world.a.home);
    let seqs: Seqs = own.iter().filter(|(id, _)| accepted.contains(id)).map(|(_, seq)| seq.unwrap()).collect();
    let dice = (!lies && dice.below(2) == 0).then_some(dice);
    disk.cut_power(dice);
    // The relay comes up on what is left. It is looked at before a device talks to it: a sender keeps what is not delivered,
    // and would send it again.
    world.relay.again();
    let now = held(&world.relay.folder, &device);
    let lost = before.union(&seqs).filter(|seq| !now.contains(seq)).copied().collect();
    (accepted.len(), lost)
}

#[test]
fn what_a_relay_accepted_is_on_its_disk() {
    let mut dice = Dice::new("power_cut::relay");
    let (mut world, mut ledger, mut told) = (World::new(), Ledger::default(), 0);
    for cut in 0..CUTS {
        let (accepted, lost) = cut_relay(&mut world, &mut ledger, &mut dice, false);
        assert!(lost.is_empty(), "cut {cut}: accepted envelopes {lost:?} are gone");
        told += accepted;
    }
    println!("{CUTS} power cuts of the relay, {told} blobs accepted before them, none lost");
    assert!(told >= CUTS);
    settle(&mut ledger, &world);
}

#[test]
fn the_check_of_the_relay_finds_a_disk_that_lies() {
    let mut dice = Dice::new("power_cut::lying relay");
    let (mut world, mut ledger) = (World::new(), Ledger::default());
    let (accepted, lost) = cut_relay(&mut world, &mut ledger, &mut dice, true);
    assert!(accepted > 0 && !lost.is_empty(), "{accepted} accepted");
    println!("on a disk that lies {} accepted envelopes are gone", lost.len());
}

/// Cuts the power of a device while it pushes. Gives how many blobs it was told to be durable, and which of them are not.
fn cut_sender(world: &World, ledger: &mut Ledger, dice: &mut Dice, lies: bool) -> (usize, Vec<String>) {
    let disk = Disk::watch(&world.a.home);
    let mut push = Process::start(disk.under(&mut world.a.command(&["push", "--lines"]), lies));
    let first = push_some(&mut push, ledger, dice);
    let (_, told) = cut(push);
    ledger.pushed("a", first, &told);
    let dice = (!lies && dice.below(2) == 0).then_some(dice);
    disk.cut_power(dice);
    let stored: BTreeSet<String> = own_blobs(&world.a.home).into_iter().map(|(id, _)| id).collect();
    let told = ids(&told, "queued");
    (told.len(), told.into_iter().filter(|id| !stored.contains(id)).collect())
}

#[test]
fn what_a_device_pushed_is_on_its_disk() {
    let mut dice = Dice::new("power_cut::device");
    let (world, mut ledger, mut told) = (World::new(), Ledger::default(), 0);
    for cut in 0..CUTS {
        let (pushed, lost) = cut_sender(&world, &mut ledger, &mut dice, false);
        assert!(lost.is_empty(), "cut {cut}: blobs {lost:?} are gone");
        told += pushed;
    }
    println!("{CUTS} power cuts of a device, {told} blobs pushed before them, none lost");
    assert!(told >= CUTS);
    // Nor has it forgotten what it sent: it would send something else under the same number, and be refused for it.
    settle(&mut ledger, &world);
}

#[test]
fn the_check_of_a_device_finds_a_disk_that_lies() {
    let mut dice = Dice::new("power_cut::lying device");
    let (world, mut ledger) = (World::new(), Ledger::default());
    let (pushed, lost) = cut_sender(&world, &mut ledger, &mut dice, true);
    assert!(pushed > 0 && !lost.is_empty(), "{pushed} pushed");
    println!("on a disk that lies {} pushed blobs are gone", lost.len());
}

/// What a device has acknowledged the relay deletes: if the device did not have it durably, nobody could give it back.
#[test]
fn what_a_device_acknowledged_is_on_its_disk() {
    let mut dice = Dice::new("power_cut::receiver");
    let (world, mut ledger) = (World::new(), Ledger::default());
    let mut interrupted = 0;
    for _ in 0..CUTS {
        let (first, lines) = ledger.offer("a", 300);
        // Several envelopes, so that the cut falls between acknowledgements.
        for half in [&lines[..lines.len() / 2], &lines[lines.len() / 2..]] {
            world.a.run_with(&["push", "--lines", "--wait", "accepted"], half.as_bytes()).ok();
        }
        ledger.tell_all("a", first);
        let disk = Disk::watch(&world.b.home);
        let pull = Process::start(disk.under(&mut world.b.command(&["pull"]), false));
        dice.moment(Duration::from_millis(120));
        let (running, printed) = cut(pull);
        interrupted += usize::from(running);
        ledger.pulled("b", &printed);
        let dice = (dice.below(2) == 0).then_some(&mut dice);
        disk.cut_power(dice);
    }
    println!("{CUTS} power cuts of a device that pulls, {interrupted} in the middle of it");
    settle(&mut ledger, &world);
}

#[test]
fn who_somebody_is_outlives_a_power_cut_right_after_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("helper"));
    relay.stop();
    for n in 0..4 {
        relay.folder = folder.path().join(format!("relay{n}"));
        let disk = Disk::watch(&relay.folder);
        let mut process = Process::start(disk.under(&mut relay.command("127.0.0.1:0"), false));
        let key = |address: &str| address.split_once('@').unwrap().0.to_owned();
        let told = key(process.event("ready")["address"].as_str().unwrap());
        cut(process);
        disk.cut_power(None);
        let mut process = Process::start(&mut relay.command("127.0.0.1:0"));
        relay.address = process.event("ready")["address"].as_str().unwrap().to_owned();
        assert_eq!(key(&relay.address), told, "the relay is the same");

        let device = Device::new(folder.path().join(format!("device{n}")));
        let disk = Disk::watch(&device.home);
        let init = ["init", "--name", "x", "--relay", &relay.address];
        let mut made = Process::start(disk.under(&mut device.command(&init), false));
        let told = made.event("initialized");
        cut(made);
        disk.cut_power(None);
        let status = device.status();
        assert_eq!((&status["group"], &status["device"]), (&told["group"], &told["device"]));
    }
}
