//! A backup: from a group that is lost, into one that is there, and each way in which it is refused.

use crate::harness::{Device, Ran, Relay, pair, run};

const PHRASE: &str = "a backup's own passphrase";

fn with(device: &Device, arguments: &[&str]) -> Ran {
    Ran::new(run(device.command(arguments).env("KSYNC_BACKUP_PASSPHRASE", PHRASE), b""), true)
}

fn added(ran: Ran) -> (u64, u64) {
    let event = ran.ok().one("imported").clone();
    (event["blobs"].as_u64().unwrap(), event["added"].as_u64().unwrap())
}

#[test]
fn a_backup_brings_a_lost_group_back_and_adds_to_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = (Device::init(folder.path().join("a"), "laptop", &relay), Device::new(folder.path().join("b")));
    pair(&a, &b, "phone");
    a.push("from the laptop", "accepted");
    b.push("from the phone", "accepted");
    assert_eq!(a.pulls(), ["from the phone"]);
    let file = folder.path().join("backup");
    let path = file.to_str().unwrap();
    a.run(&["backup", "export", path]).fails("PASSPHRASE_NEEDED", 5);
    let exported = with(&a, &["backup", "export", path]).ok();
    assert_eq!(exported.one("exported")["blobs"], 2);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(exported.one("exported")["bytes"], bytes.len());
    for text in ["from the laptop", "from the phone", "laptop", &relay.address] {
        assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{text} stands in the file");
    }

    // Into the group itself: nothing is new.
    assert_eq!(added(with(&b, &["backup", "import", path])), (2, 0));

    // Both devices are lost. The backup alone makes a device, with a group of its own at the same relay.
    let c = Device::new(folder.path().join("c"));
    assert_eq!(added(with(&c, &["backup", "import", path])), (2, 2));
    let status = c.status();
    assert_eq!((&status["name"], status["relays"][0].as_str()), (&"laptop".into(), Some(relay.address.as_str())));
    let back = c.run(&["pull"]).ok();
    assert_eq!(back.texts(), ["from the laptop", "from the phone"]);
    // Under their ids, for the next device too.
    let d = Device::new(folder.path().join("d"));
    pair(&c, &d, "new phone");
    let handed_on = d.run(&["pull"]).ok();
    let ids = |ran: &Ran| ran.all("blob").iter().map(|blob| blob["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&handed_on), ids(&back));

    // Into another group: what it lacks comes in, and goes to all.
    let e = Device::init(folder.path().join("e"), "e", &relay);
    e.push("its own", "accepted");
    let f = Device::new(folder.path().join("f"));
    pair(&e, &f, "f");
    assert_eq!(f.pulls(), ["its own"]);
    assert_eq!(added(with(&e, &["backup", "import", path])), (2, 2));
    assert_eq!(added(with(&e, &["backup", "import", path])), (2, 0));
    e.push("behind it", "accepted");
    assert_eq!(f.pulls(), ["from the laptop", "from the phone", "behind it"]);
}

#[test]
fn a_backup_that_is_not_sound_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let a = Device::init(folder.path().join("a"), "a", &relay);
    let text = "y".repeat(70_000);
    a.push(&text, "accepted");
    a.push("last", "accepted");
    let file = folder.path().join("backup");
    let path = file.to_str().unwrap();
    with(&a, &["backup", "export", path]).ok();
    let good = std::fs::read(&file).unwrap();
    let changed = |at: usize, by: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= by;
        bytes
    };
    let end = good.len();
    let swapped = [&good[..146], &good[146 + 65_536..end - 8], &good[146..146 + 65_536], &good[end - 8..]].concat();
    let (fresh, other) = (Device::new(folder.path().join("fresh")), Device::init(folder.path().join("b"), "b", &relay));
    other.push("as it was", "accepted");
    for (bytes, code, exit) in [
        (good[..100].to_vec(), "BACKUP_TRUNCATED", 6),
        (good[..end - 1].to_vec(), "BACKUP_TRUNCATED", 6),
        (good[..146 + 65_536].to_vec(), "BACKUP_TRUNCATED", 6),
        (changed(8, 3), "BACKUP_NEWER", 1),
        (changed(40, 1), "BACKUP_DAMAGED", 6),
        (changed(200, 1), "BACKUP_DAMAGED", 6),
        (changed(end - 20, 1), "BACKUP_DAMAGED", 6),
        (swapped, "BACKUP_DAMAGED", 6),
        (b"no backup at all".to_vec(), "BACKUP_DAMAGED", 6),
    ] {
        std::fs::write(&file, bytes).unwrap();
        with(&fresh, &["backup", "import", path]).fails(code, exit);
        assert!(!fresh.home.join("device.db").exists(), "{code} leaves nothing behind");
        with(&other, &["backup", "import", path]).fails(code, exit);
    }
    std::fs::write(&file, &good).unwrap();
    let wrong = |device: &Device| {
        let mut command = device.command(&["backup", "import", path]);
        Ran::new(run(command.env("KSYNC_BACKUP_PASSPHRASE", "another passphrase"), b""), true)
    };
    wrong(&other).fails("WRONG_PASSPHRASE", 5);
    wrong(&fresh).fails("WRONG_PASSPHRASE", 5);
    with(&fresh, &["backup", "import", path, "--app-id", "org.example.other"]).fails("WRONG_APP", 5);
    assert_eq!(other.run(&["pull"]).ok().texts(), [""; 0]);
    assert_eq!(other.status()["outbox"], 0, "nothing came in");
    // And when it is sound, all of it does.
    assert_eq!(added(with(&other, &["backup", "import", path])), (2, 2));
    assert_eq!(other.run(&["pull"]).ok().texts(), [&text, "last"]);
}
