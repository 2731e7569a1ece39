//! A hundred thousand blobs that waited for one device drain without a stall, once and in order.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hazard::{World, metric};
use crate::harness::{Device, Relay};

const BLOBS: usize = 100_000;

/// A blob of this many bytes that tells its place.
fn blob(n: usize, length: usize) -> String {
    format!("{n:0length$}")
}

/// Pushes while the other is away, lets it come back, and follows what it prints. Each line is waited for with a limit
/// ([`crate::harness::LIMIT`]), so a stall anywhere ends the test.
fn drains(length: usize) {
    let world = World::new();
    let mut push = world.a.start(&["push", "--lines"]);
    let mut stdin = push.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let mut lines = std::io::BufWriter::new(&mut stdin);
        for n in 0..BLOBS {
            lines.write_all((blob(n, length) + "\n").as_bytes()).unwrap();
        }
    });
    for _ in 0..BLOBS {
        push.event("pushed");
        push.seen.clear();
    }
    writer.join().unwrap();
    push.ends_with(0);
    // Whatever of it is still here goes before this one.
    let end = blob(BLOBS, length);
    let push = ["--timeout", "300", "push", "--wait", "accepted"];
    assert_eq!(world.a.run_with(&push, end.as_bytes()).ok().one("pushed")["state"], "accepted");
    let waiting = metric(&world.relay, "ksync_entries");
    assert!(waiting > 0, "everything waits at the relay");

    let mut pull = world.b.start(&["--timeout", "300", "pull", "--follow"]);
    for n in 0..=BLOBS {
        assert_eq!(pull.event("blob")["text"], blob(n, length), "everything, once, in order");
        // What was printed is not wanted again, and need not be kept.
        pull.seen.clear();
    }
    pull.signal("TERM");
    pull.ends_with(0);
    assert!(world.b.pulls().is_empty(), "and nothing beyond");
    assert_eq!(metric(&world.relay, "ksync_entries"), 0, "nothing is left at the relay");
    println!("{BLOBS} blobs of {length} bytes drained from {waiting} entries");
}

/// 200 bytes each, 20 MB in all. `cargo xtask stress` sets another length, for 2 GB.
#[test]
fn drains_whole_once_and_in_order() {
    drains(std::env::var("KSYNC_BACKLOG_BLOB_BYTES").map_or(200, |length| length.parse().unwrap()));
}

/// What waits for the relay is told while lines come as fast as they are taken, and not only when they pause.
#[test]
fn receipts_are_told_while_the_input_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let device = Device::init(folder.path().join("device"), "device", &relay);
    let mut push = device.start(&["push", "--lines", "--wait", "accepted"]);
    let mut stdin = push.stdin.take().unwrap();
    let (told, all_written) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lines = "a line\n".repeat(1_000);
            for _ in 0..100 {
                if told.load(Ordering::Acquire) {
                    return;
                }
                stdin.write_all(lines.as_bytes()).unwrap();
            }
            all_written.store(true, Ordering::Release);
        });
        assert_eq!(push.event("pushed")["state"], "accepted");
        assert!(!all_written.load(Ordering::Acquire), "nothing was told before the input ended");
        told.store(true, Ordering::Release);
    });
}
