//! Signals, pipes that close, and that `--json` writes nothing but JSON.

use std::process::Stdio;

use crate::harness::{Device, Relay, pair};

#[test]
fn an_interrupted_push_has_pushed_what_it_told() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let laptop = Device::init(folder.path().join("laptop"), "laptop", &relay);
    let phone = Device::new(folder.path().join("phone"));
    pair(&laptop, &phone, "phone");

    let mut push = laptop.start(&["push", "--lines"]);
    push.write("one\ntwo\n");
    push.event("pushed");
    push.event("pushed");
    push.write("half a li");
    push.signal("INT");
    push.ends_with(1);
    laptop.push("three", "accepted");
    assert_eq!(phone.pulls(), ["one", "two", "three"]);

    // Who has read enough: `ksync pull | head -1`.
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    laptop.run_with(&["push", "--lines", "--wait", "accepted"], lines.as_bytes()).ok();
    let mut pull = phone.command(&["pull"]);
    let mut pull = pull.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(pull.stdout.take());
    let output = pull.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    // What was not printed comes again.
    assert_eq!(phone.pulls().len(), 5000);

    let mut follow = phone.start(&["pull", "--follow"]);
    laptop.push("live", "delivered");
    assert_eq!(follow.event("blob")["text"], "live");
    follow.signal("INT");
    follow.ends_with(0);
    let mut run = phone.start(&["run"]);
    run.event("status");
    run.signal("INT");
    run.ends_with(0);
}
