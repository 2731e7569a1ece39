//! A hundred thousand blobs that waited for one device drain without a stall, once and in order.

use super::hazard::{World, metric};

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
            std::io::Write::write_all(&mut lines, (blob(n, length) + "\n").as_bytes()).unwrap();
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
