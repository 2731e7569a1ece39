//! Where the key of a home lies: a file, a passphrase, a real keychain; each way in which it stays shut; and a home of before
//! there were vaults.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use super::home::{transport_key, without_vault};
use super::secrecy::{found_in, keys};
use crate::harness::{Device, Process, Ran, Relay, pair, run};

const FIRST: &str = "correct horse battery";
const SECOND: &str = "another staple altogether";

/// A command that is given a passphrase.
fn with(device: &Device, passphrase: &str, arguments: &[&str], input: &[u8]) -> Ran {
    Ran::new(run(device.command(arguments).env("KSYNC_PASSPHRASE", passphrase), input), true)
}

fn kind(ran: Ran) -> String {
    ran.ok().one("vault")["kind"].as_str().unwrap().to_owned()
}

#[test]
fn a_passphrase_locks_a_home_and_only_it_or_a_reset_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let a = Device::new(folder.path().join("a"));
    let phrase = folder.path().join("phrase");
    std::fs::write(&phrase, format!("{FIRST}\n")).unwrap();
    let init = ["init", "--name", "a", "--relay", &relay.address, "--vault", "passphrase"];
    // Nobody is there to be asked.
    a.run(&init).fails("PASSPHRASE_NEEDED", 5);
    with(&a, "short", &init, b"").fails("INVALID_ARGUMENT", 2);
    assert!(!a.home.join("device.db").exists(), "nothing was made");
    a.run(&[&init[..], &["--passphrase-file", phrase.to_str().unwrap()]].concat()).ok();
    with(&a, FIRST, &["push", "--wait", "accepted"], b"kept").ok();

    let files = |name: &str| std::fs::read(a.home.join(name)).unwrap();
    let (vault, database) = (files("vault"), files("device.db"));
    for command in ["status", "push", "pull", "doctor", "leave"] {
        a.run_with(&[command], b"x").fails("PASSPHRASE_NEEDED", 5);
    }
    // Each of these costs what a guess costs.
    with(&a, SECOND, &["push"], b"x").fails("WRONG_PASSPHRASE", 5);
    assert!(vault == files("vault") && database == files("device.db"), "nothing was changed");

    // What is damaged, and what a newer build wrote.
    for (at, code) in [(8, "VAULT_NEWER"), (30, "VAULT_DAMAGED"), (100, "VAULT_DAMAGED")] {
        let mut changed = vault.clone();
        changed[at] += 1;
        std::fs::write(a.home.join("vault"), changed).unwrap();
        with(&a, FIRST, &["status"], b"").fails(code, if code == "VAULT_NEWER" { 1 } else { 6 });
    }
    std::fs::remove_file(a.home.join("vault")).unwrap();
    with(&a, FIRST, &["status"], b"").fails("VAULT_DAMAGED", 6);
    std::fs::write(a.home.join("vault"), &vault).unwrap();

    let status = with(&a, FIRST, &["status"], b"").ok();
    assert_eq!(status.one("status")["vault"], "passphrase");
    // Another one, and then none.
    let mut change = a.command(&["vault", "set", "passphrase"]);
    change.env("KSYNC_PASSPHRASE", FIRST).env("KSYNC_NEW_PASSPHRASE", SECOND);
    assert_eq!(kind(Ran::new(run(&mut change, b""), true)), "passphrase");
    with(&a, FIRST, &["status"], b"").fails("WRONG_PASSPHRASE", 5);
    assert_eq!(kind(with(&a, SECOND, &["vault", "set", "file"], b"")), "file");
    assert_eq!(kind(a.run(&["vault"])), "file");
    let b = Device::new(folder.path().join("b"));
    pair(&a, &b, "b");
    assert_eq!(b.pulls(), ["kept"]);

    // Whoever has lost it starts anew.
    std::fs::write(a.home.join("vault"), &vault).unwrap();
    a.run(&["status"]).fails("PASSPHRASE_NEEDED", 5);
    a.run(&["reset"]).ok();
    a.run(&["init", "--name", "a", "--relay", &relay.address]).ok();
    assert_eq!(kind(a.run(&["vault", "show"])), "file");
}

/// A session bus with a keychain behind it, for as long as this value lives.
struct Keychain {
    process: Process,
    bus: String,
}

impl Keychain {
    fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join("run")).unwrap();
        let mut command = Command::new("dbus-run-session");
        let script = "printf password | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 & \
                      daemon=$!; \
                      until dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus \
                          /org/freedesktop/DBus org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets \
                          | grep -q true; do sleep 0.1; done; \
                      echo \"{\\\"event\\\":\\\"bus\\\",\\\"address\\\":\\\"$DBUS_SESSION_BUS_ADDRESS\\\"}\"; \
                      cat; kill $daemon";
        command.args(["--", "sh", "-c", script]);
        command
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder.join("data"))
            .env("XDG_RUNTIME_DIR", folder.join("run"));
        command.env_remove("DISPLAY").stderr(std::process::Stdio::null());
        let mut process = Process::start(&mut command);
        let bus = process.event("bus")["address"].as_str().unwrap().to_owned();
        Self { process, bus }
    }

    fn run(&self, device: &Device, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = device.command(arguments);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus).env_remove("KSYNC_VAULT");
        Ran::new(run(&mut command, input), true)
    }

    /// Locks what was opened at the start. Nobody is there to unlock it.
    fn lock(&self) {
        let mut send = Command::new("dbus-send");
        send.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
        send.arg("org.freedesktop.Secret.Service.Lock").arg("array:objpath:/org/freedesktop/secrets/collection/login");
        assert!(run(send.env("DBUS_SESSION_BUS_ADDRESS", &self.bus), b"").status.success());
    }
}

impl Drop for Keychain {
    /// The end of its input ends the keychain, which is no child of the bus's process.
    fn drop(&mut self) {
        self.process.close_input();
        while self.process.line().is_some() {}
    }
}

#[test]
fn a_keychain_holds_the_key_where_one_answers() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let keychain = Keychain::start(&folder.path().join("person"));
    let a = Device::new(folder.path().join("a"));
    // Nothing is said, and it answers.
    keychain.run(&a, &["init", "--name", "a", "--relay", &relay.address], b"").ok();
    assert_eq!(kind(keychain.run(&a, &["vault"], b"")), "keychain");
    keychain.run(&a, &["push"], b"by keychain").ok();

    // Without its bus, and with a bus and nobody on it.
    let nowhere = || {
        a.command(&["status"]).env_remove("DBUS_SESSION_BUS_ADDRESS").env("XDG_RUNTIME_DIR", "/nonexistent").output()
    };
    Ran::new(nowhere().unwrap(), true).fails("KEYCHAIN_MISSING", 1);

    // From there to a file and back: the old entry is gone.
    let before = std::fs::read(a.home.join("vault")).unwrap();
    assert_eq!(kind(keychain.run(&a, &["vault", "set", "file"], b"")), "file");
    let in_file = std::fs::read(a.home.join("vault")).unwrap();
    std::fs::write(a.home.join("vault"), &before).unwrap();
    keychain.run(&a, &["status"], b"").fails("KEYCHAIN_ENTRY_GONE", 6);
    std::fs::write(a.home.join("vault"), &in_file).unwrap();
    assert_eq!(kind(keychain.run(&a, &["vault", "set", "keychain"], b"")), "keychain");
    assert_eq!(keychain.run(&a, &["status"], b"").ok().one("status")["vault"], "keychain");

    keychain.lock();
    keychain.run(&a, &["status"], b"").fails("KEYCHAIN_LOCKED", 5);
    // What cannot be opened can be given up.
    keychain.run(&a, &["reset"], b"").ok();
    a.run(&["init", "--name", "a", "--relay", &relay.address]).ok();
}

#[test]
fn a_home_of_before_there_were_vaults_is_sealed_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = (Device::init(folder.path().join("a"), "a", &relay), Device::new(folder.path().join("b")));
    pair(&a, &b, "b");
    b.push("planted-received", "accepted");
    assert_eq!(a.pulls(), ["planted-received"]);
    a.push("planted-own", "accepted");
    without_vault(&a);
    let mut planted = vec![("blob", b"planted-received".to_vec()), ("own", b"planted-own".to_vec())];
    planted.push(("transport key", std::fs::read(a.home.join("transport.key")).unwrap()));
    let mut clear: Vec<_> = found_in(&a.home, &planted).into_iter().map(|(_, what)| what).collect();
    clear.sort_unstable();
    clear.dedup();
    assert_eq!(clear, ["blob", "own", "transport key"], "the search finds what is in the clear");

    let before = std::fs::read(a.home.join("device.db")).unwrap();
    for point in ["client_before_rows_are_sealed", "client_after_rows_are_sealed"] {
        let output = run(a.command(&["status"]).env("KSYNC_CRASH_AT", format!("{point}:1")), b"");
        assert_eq!(output.status.signal(), Some(6), "{point}");
        if point.contains("before") {
            assert!(before.len() <= std::fs::read(a.home.join("device.db")).unwrap().len());
        }
    }
    assert_eq!(a.status()["vault"], "file");
    assert_eq!(found_in(&a.home, &planted), []);
    planted.push(("transport key", transport_key(&a)));
    planted.extend(keys(&a));
    assert_eq!(found_in(&a.home, &planted), [], "nor in another form");
    b.push("after", "accepted");
    assert_eq!(a.pulls(), ["after"]);
    assert_eq!(b.pulls(), ["planted-own"]);
}
