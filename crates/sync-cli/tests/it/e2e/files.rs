//! Files: what one device puts, the others get bit for bit, through a relay that keeps it only as long as somebody lacks it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Device, Process, Relay, pair, until};

/// Bytes that repeat nowhere near, so that a piece in the wrong place shows.
fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(next).collect()
}

fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The files as `file list` tells of them.
fn list(device: &Device) -> Vec<Value> {
    device.run(&["file", "list"]).ok().all("file").into_iter().cloned().collect()
}

/// Fetches a file, and gives what it holds.
fn get(device: &Device, folder: &Path, file: &str) -> Vec<u8> {
    let to = folder.join("fetched");
    let ran = device.run(&["file", "get", file, "--force", "--to", to.to_str().unwrap()]).ok();
    assert_eq!(ran.one("file_written")["path"], to.to_str().unwrap());
    std::fs::read(to).unwrap()
}

/// The id that `file put` told.
fn put(device: &Device, path: &str) -> String {
    let ran = device.run(&["file", "put", path]).ok();
    let file = ran.one("file");
    assert_eq!((file["state"].as_str(), file["given"].as_bool()), (Some("here"), Some(true)));
    file["id"].as_str().unwrap().to_owned()
}

/// Waits until a device that runs says so of a file.
fn says(run: &mut Process, event: &str, id: &str) {
    while run.event(event)["id"] != *id {}
}

fn ends(mut run: Process) {
    run.signal("TERM");
    run.ends_with(0);
}

/// Two devices of a group at this relay.
fn two(folder: &Path, relay: &Relay) -> (Device, Device) {
    let (a, b) = (Device::init(folder.join("a"), "laptop", relay), Device::new(folder.join("b")));
    pair(&a, &b, "phone");
    (a, b)
}

#[test]
fn what_is_put_on_one_device_is_got_on_the_other_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = two(folder.path(), &relay);
    let sizes = [0, 1, 65_519, 65_520, 65_521, 3 << 20];
    let contents: Vec<Vec<u8>> = sizes.iter().map(|size| bytes(*size, *size as u64 + 1)).collect();
    let paths: Vec<String> =
        contents.iter().enumerate().map(|(n, content)| write(folder.path(), &format!("{n}.bin"), content)).collect();
    let mut arguments = vec!["file", "put"];
    arguments.extend(paths.iter().map(String::as_str));
    let ran = a.run(&arguments).ok();
    assert_eq!(ran.all("file").len(), sizes.len());
    for (n, file) in ran.all("file").into_iter().enumerate() {
        assert_eq!((file["name"].as_str(), file["size"].as_u64()), (Some(&*format!("{n}.bin")), Some(sizes[n] as u64)));
        assert_eq!(file["given"], true);
    }
    // What becomes of the files themselves is of no account.
    paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    for (n, content) in contents.iter().enumerate() {
        assert!(get(&b, folder.path(), &format!("{n}.bin")) == *content, "{n}");
        assert!(get(&a, folder.path(), &format!("{n}.bin")) == *content, "{n} where it was put");
    }
    assert_eq!(list(&b).iter().map(|file| file["state"].as_str().unwrap()).collect::<Vec<_>>(), ["here"; 6]);
    // Nothing of it is a blob for an app.
    assert_eq!(b.run(&["pull"]).ok().all("blob").len(), 0);
    b.run(&["pull", "--channel", "0ksync/files"]).fails("INVALID_ARGUMENT", 2);
    a.run_with(&["push", "--channel", "0ksync/x"], b"text").fails("INVALID_ARGUMENT", 2);
}

#[test]
fn a_device_that_runs_fetches_by_itself_and_gives_what_was_put_offline() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("relay"));
    let (a, b) = two(folder.path(), &relay);
    relay.stop();
    let content = bytes(200_000, 7);
    let path = write(folder.path(), "offline.bin", &content);
    let ran = a.run(&["file", "put", "--no-wait", &path]).ok();
    let (id, given) = (ran.one("file")["id"].as_str().unwrap().to_owned(), &ran.one("file")["given"]);
    assert_eq!(given, false);
    a.run(&["--timeout", "1", "file", "put", &path]).fails("RELAY_UNREACHABLE", 4);
    relay.again();
    let (mut giving, mut fetching) = (a.start(&["run"]), b.start(&["run"]));
    says(&mut giving, "file_given", &id);
    says(&mut fetching, "file_here", &id);
    ends(fetching);
    ends(giving);
    // It is here, whether or not the relay is.
    relay.stop();
    assert!(get(&b, folder.path(), &id) == content);
}

#[test]
fn a_file_put_before_there_was_anybody_else_comes_to_the_newcomer() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = (Device::init(folder.path().join("a"), "laptop", &relay), Device::new(folder.path().join("b")));
    let content = bytes(70_000, 3);
    let id = put(&a, &write(folder.path(), "early.bin", &content));
    pair(&a, &b, "phone");
    let (giving, mut fetching) = (a.start(&["run"]), b.start(&["run"]));
    says(&mut fetching, "file_here", &id);
    ends(fetching);
    ends(giving);
    assert!(get(&b, folder.path(), "early.bin") == content);
}

#[test]
fn where_no_relay_takes_content_it_comes_from_the_other_device_unless_nobody_wants_that() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(folder.path().join("relay"), |serve| {
        serve.args(["--content", "off"]);
    });
    let (a, b) = two(folder.path(), &relay);
    let content = bytes(300_000, 5);
    let path = write(folder.path(), "x.bin", &content);
    let id = a.run(&["file", "put", "--no-wait", &path]).ok().one("file")["id"].as_str().unwrap().to_owned();
    let mut giving = a.start(&["run"]);
    // It is connected, and has asked the relay.
    says(&mut giving, "file_failed", &id);
    let to = folder.path().join("fetched");
    let fetch = ["file", "get", &id, "--to", to.to_str().unwrap()];
    let ran = b.run(&[&fetch[..], &["--timeout", "3", "--no-direct"]].concat());
    let code = ran.one("error")["code"].as_str().unwrap().to_owned();
    assert!(["CONTENT_MISSING", "CONTENT_UNAVAILABLE"].contains(&&*code), "{code}");
    assert!(!to.exists());
    // The other device has just come, and may not have told yet where it is.
    until("the content", || (b.run(&fetch).code == Some(0)).then_some(()));
    assert!(std::fs::read(&to).unwrap() == content);
    ends(giving);
}

#[test]
fn names_are_told_as_they_are_and_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = two(folder.path(), &relay);
    let path = write(folder.path(), "x", b"content");
    let names = ["../../escape", "naïve 手机.txt", "a\nb\u{1b}[2J\u{202e}c", "CON", ".", "same", "same"];
    let name = |name: &str| a.run(&["file", "put", "--name", name, &path]);
    let ids: Vec<String> =
        names.iter().map(|it| name(it).ok().one("file")["id"].as_str().unwrap().to_owned()).collect();
    b.run(&["pull"]).ok();
    let listed = list(&b);
    assert_eq!(listed.iter().map(|file| file["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    assert_eq!(listed.iter().map(|file| file["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    let shown = b.say(&["file", "list"], b"").ok().stdout;
    assert_eq!(shown.lines().count(), names.len(), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    // Each goes into the folder that is named, under a name of its own.
    let inbox = folder.path().join("deep").join("inbox");
    std::fs::create_dir_all(&inbox).unwrap();
    for id in &ids[..5] {
        b.run(&["file", "get", id, "--to", inbox.to_str().unwrap()]).ok();
    }
    let entries = std::fs::read_dir(&inbox).unwrap();
    let mut found: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, ["_.._escape", "_CON", "a_b_[2J_c", "file", "naïve 手机.txt"]);
    let ambiguous = b.run(&["file", "get", "same"]).fails("INVALID_ARGUMENT", 2);
    let message = ambiguous.one("error")["message"].as_str().unwrap();
    assert!(ids[5..].iter().all(|id| message.contains(id)), "{message}");
    name("").fails("INVALID_ARGUMENT", 2);
    name(&"x".repeat(1025)).fails("INVALID_ARGUMENT", 2);
    a.run(&["file", "put", "--name", "one", &path, &path]).fails("INVALID_ARGUMENT", 2);
    a.run(&["file", "put", folder.path().to_str().unwrap()]).fails("INVALID_ARGUMENT", 2);
    a.run(&["file", "put", "no such file"]).fails("IO", 1);
}

#[test]
fn nothing_is_replaced_unasked_and_what_is_removed_is_gone_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = two(folder.path(), &relay);
    let content = bytes(100_000, 9);
    let id = put(&a, &write(folder.path(), "x.bin", &content));
    let to = folder.path().join("there.bin");
    std::fs::write(&to, "mine").unwrap();
    let to = to.to_str().unwrap();
    b.run(&["file", "get", &id, "--to", to]).fails("INVALID_ARGUMENT", 2);
    assert_eq!(std::fs::read(to).unwrap(), b"mine");
    for _ in 0..2 {
        b.run(&["file", "get", &id[..8], "--to", to, "--force"]).ok();
        assert!(std::fs::read(to).unwrap() == content);
    }
    for unknown in ["0123456789abcdef0123456789abcdef", "nobody"] {
        b.run(&["file", "get", unknown]).fails("INVALID_ARGUMENT", 2);
        b.run(&["file", "remove", unknown]).fails("INVALID_ARGUMENT", 2);
    }
    assert_eq!(b.run(&["file", "remove", "x.bin"]).ok().one("file_removed")["id"], *id);
    assert_eq!(list(&b), Vec::<Value>::new());
    until("the removal at the other device", || list(&a).is_empty().then_some(()));
    a.run(&["file", "get", &id, "--to", to, "--force"]).fails("INVALID_ARGUMENT", 2);
    assert!(std::fs::read(to).unwrap() == content, "what was written stays");
}

#[test]
fn content_goes_with_its_group_and_stands_nowhere_readable() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = two(folder.path(), &relay);
    let (name, text) = ("Name-5e1c-Reusenfang.txt", "Plaintext-93a1-Krabbenfischer ".repeat(400));
    let id = put(&a, &write(folder.path(), name, text.as_bytes()));
    assert!(get(&b, folder.path(), &id) == text.as_bytes());
    std::fs::remove_file(folder.path().join(name)).unwrap();
    std::fs::remove_file(folder.path().join("fetched")).unwrap();
    assert!(b.home.join("content").exists());
    for secret in ["Plaintext-93a1", "Name-5e1c"] {
        let holds = |path: &PathBuf| {
            // The relay may have deleted it just now.
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
        };
        let holding: Vec<PathBuf> = super::disk::files(folder.path()).into_iter().filter(holds).collect();
        assert_eq!(holding, Vec::<PathBuf>::new(), "{secret}");
    }
    let running = a.start(&["run"]);
    b.run(&["leave"]).ok();
    assert!(!b.home.join("content").exists(), "content stays behind");
    ends(running);
    a.run(&["reset"]).ok();
    assert!(!a.home.join("content").exists());
}
