//! Every named crash point of the relay and of a device, each hit ten times and more with traffic on both sides of it: after
//! a restart nothing is lost and nothing came twice.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hazard::{Dice, Ledger, World, cut, ended, settle};
use crate::harness::Process;

/// `relay/src/crash.rs`
const RELAY: [&str; 5] = ["before_commit", "mid_commit", "after_commit_before_reply", "mid_delete", "after_delete"];

/// `crates/sync-client/src/crash.rs`
const DEVICE: [&str; 3] = ["client_before_commit", "client_after_commit_before_send", "client_after_send"];

/// How often each point is hit.
const HITS: usize = 10;

/// SIGABRT: what a crash point dies of.
const ABORTED: i32 = 6;

/// Lets a command die at a point the count-th time that it comes there.
pub(super) fn at<'a>(command: &'a mut Command, point: &str, count: u64) -> &'a mut Command {
    command.env("KSYNC_CRASH_AT", format!("{point}:{count}"))
}

/// Waits until a process has ended. Gives whether it died at its crash point, and what it wrote.
pub(super) fn crashed(process: &mut Process) -> (bool, Vec<String>) {
    while process.line().is_some() {}
    let died = process.wait().signal() == Some(ABORTED);
    (died, std::mem::take(&mut process.seen))
}

fn table(hits: &[(&str, usize)]) {
    println!("{:<32} hits", "crash point");
    for (point, count) in hits {
        println!("{point:<32} {count:>4}");
    }
    assert!(hits.iter().all(|(_, count)| *count >= HITS));
}

#[test]
fn of_the_relay() {
    let mut dice = Dice::new("crash_points::relay");
    let (mut world, mut ledger) = (World::new(), Ledger::default());
    let mut hits = vec![];
    for point in RELAY {
        for hit in 0..HITS {
            world.relay.stop();
            let mut command = world.relay.command(world.relay.host());
            let mut relay = Process::start(at(&mut command, point, 1 + dice.below(12)));
            relay.event("ready");
            // One side receives and acknowledges while the other pushes line after line, until the relay is gone.
            let pull = world.b.start(&["pull", "--follow"]);
            let mut push = world.a.start(&["push", "--lines"]);
            let (gone, mut first) = (AtomicBool::new(false), None);
            let died = std::thread::scope(|scope| {
                let watch = scope.spawn(|| {
                    let (died, _) = crashed(&mut relay);
                    gone.store(true, Ordering::Release);
                    died
                });
                while !gone.load(Ordering::Acquire) {
                    let (number, line) = ledger.offer("a", 1);
                    first.get_or_insert(number);
                    push.write(&line);
                    push.event("pushed");
                }
                watch.join().unwrap()
            });
            assert!(died, "{point} {hit}: the relay ended in another way");
            push.close_input();
            let (_, told) = ended(push);
            ledger.pushed("a", first.unwrap(), &told);
            ledger.pulled("b", &cut(pull).1);
            world.relay.again();
        }
        hits.push((point, HITS));
        settle(&mut ledger, &world);
    }
    table(&hits);
}

#[test]
fn of_a_device() {
    let mut dice = Dice::new("crash_points::device");
    let (world, mut ledger) = (World::new(), Ledger::default());
    let mut hits = vec![];
    for point in DEVICE {
        let mut found = 0;
        for round in 0.. {
            if found >= 2 * HITS {
                break;
            }
            assert!(round < 10 * HITS, "{point} is hit too seldom");
            world.relay.must_run();
            let count = 1 + dice.below(6);
            if round % 2 == 0 {
                // A sender.
                let mut push =
                    Process::start(at(&mut world.a.command(&["push", "--lines", "--wait", "accepted"]), point, count));
                let (first, lines) = ledger.offer("a", 100);
                // It may be gone already.
                let mut stdin = push.stdin.take().unwrap();
                let writer = std::thread::spawn(move || {
                    for line in lines.split_inclusive('\n') {
                        if std::io::Write::write_all(&mut stdin, line.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
                let (died, told) = crashed(&mut push);
                writer.join().unwrap();
                ledger.pushed("a", first, &told);
                found += usize::from(died);
            } else {
                // A receiver.
                let mut pull = Process::start(at(&mut world.b.command(&["pull"]), point, count));
                let (died, printed) = crashed(&mut pull);
                ledger.pulled("b", &printed);
                found += usize::from(died);
            }
        }
        hits.push((point, found));
        settle(&mut ledger, &world);
    }
    table(&hits);
}
