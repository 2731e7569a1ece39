//! What a relay keeps and logs, and what a device logs, searched for what must not be there. Each search is tried where it
//! has to find something, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sync_rules::envelope;
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::ToRelay;
use sync_types::link::Link;
use sync_types::{Opaque, Suite, VERSION};

use super::device;
use super::disk::files;
use super::hazard::ended;
use super::home::{state, transport_key, without_vault};
use crate::harness::{Device, Process, Relay, run};

const TEXT: &str = "Plaintext-0d1f-Walfisch";
const BACK: &str = "Plaintext-77b2-Harpune";
const CHANNEL: &str = "Kanal-5e6a-Logbuch";
const NAMES: [&str; 2] = ["Geraet-a41c-Laptop", "Geraet-93fe-Telefon"];

/// The forms in which a secret could show.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), HEXLOWER.encode(secret).into(), HEXUPPER.encode(secret).into()];
    // As Rust's `Debug` prints bytes.
    let list: Vec<String> = secret.iter().take(8).map(u8::to_string).collect();
    forms.push(list.join(", ").into());
    // In base64 and base32 the characters depend on where in the text the secret begins. Those at its edges depend on its
    // neighbours, and are left out.
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD, BASE32_NOPAD] {
        let (bytes, chars) = if encoding == BASE32_NOPAD { (5, 8) } else { (3, 4) };
        for lead in 0..bytes {
            let whole = (lead + secret.len()) / bytes * bytes;
            let text = encoding.encode(&[&vec![0; lead], secret].concat()[..whole]);
            forms.push(text.as_bytes()[if lead > 0 { chars } else { 0 }..].to_vec());
        }
    }
    forms
}

/// A thing to look for, by name.
pub(super) type Planted = (&'static str, Vec<u8>);

fn planted() -> Vec<Planted> {
    let texts = [("text", TEXT), ("answer", BACK), ("channel", CHANNEL), ("name", NAMES[0]), ("other name", NAMES[1])];
    texts.into_iter().map(|(what, text)| (what, text.as_bytes().to_vec())).collect()
}

/// What of it stands in these bytes, in any form.
fn found(bytes: &[u8], planted: &[Planted]) -> Vec<&'static str> {
    let holds = |form: &Vec<u8>| {
        let first = form[0];
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
        starts.into_iter().any(|(at, _)| bytes[at..].starts_with(form))
    };
    planted.iter().filter(|(_, secret)| forms(secret).iter().any(holds)).map(|(what, _)| *what).collect()
}

/// What of it stands in the folder, and where.
pub(super) fn found_in(folder: &Path, planted: &[Planted]) -> Vec<(PathBuf, &'static str)> {
    let look = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        found(&bytes, planted).into_iter().map(|what| (path.clone(), what)).collect::<Vec<_>>()
    };
    files(folder).into_iter().flat_map(look).collect()
}

/// Runs a device's command with everything logged. Gives its output and its log.
fn logged(device: &Device, arguments: &[&str], input: &[u8]) -> (String, Vec<u8>) {
    let output = run(device.command(arguments).env("KSYNC_LOG", "trace"), input);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    (stdout, output.stderr)
}

/// Starts a device's command with its log in a file.
fn start_logged(device: &Device, arguments: &[&str], log: &Path) -> Process {
    let log = std::fs::File::create(log).unwrap();
    Process::start(device.command(arguments).env("KSYNC_LOG", "trace").stderr(log))
}

/// The keys that a device keeps: behind its row's version stands the signing key's seed, and an epoch's row begins with its
/// secret (sync-core, `records.rs`).
pub(super) fn keys(device: &Device) -> Vec<Planted> {
    let mut found = vec![];
    for (what, kind, at) in [("signing key", 1, 1), ("epoch key", 9, 0)] {
        let values = state(device, kind);
        assert!(!values.is_empty(), "the device has a {what}");
        found.extend(values.iter().map(|value| (what, value[at..at + 32].to_vec())));
    }
    found
}

#[test]
fn neither_the_relay_nor_any_log_holds_what_is_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(folder.path().join("relay"));
    relay.stop();
    std::fs::remove_file(relay.folder.with_extension("log")).unwrap();
    let mut serve = relay.command(relay.host());
    let mut process = Process::start(serve.env("KSYNC_RELAY_LOG", "trace,sync_relay=trace"));
    process.event("ready");

    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let (a, b) = (Device::new(folder.path().join("a")), Device::new(folder.path().join("b")));
    let (mut said, mut client_log) = logged(&a, &["init", "--name", NAMES[0], "--relay", &relay.address], b"");
    let mut invite = start_logged(&a, &["invite"], &logs.join("invite"));
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    let mut join = start_logged(&b, &["join", &uri, "--name", NAMES[1]], &logs.join("join"));
    let code = join.event("check")["code"].as_str().unwrap().to_owned();
    assert_eq!(invite.event("request")["name"], NAMES[1]);
    invite.write(&format!("{code}\n"));
    assert_eq!((ended(join).0, ended(invite).0), (Some(0), Some(0)));
    for (device, text) in [(&a, TEXT), (&b, BACK), (&a, TEXT)] {
        let (out, log) = logged(device, &["push", "--channel", CHANNEL, "--wait", "accepted"], text.as_bytes());
        said += &out;
        client_log.extend(log);
        // The last one stays at the relay.
        if device.home == b.home {
            for reader in [&a, &b] {
                let (out, log) = logged(reader, &["pull"], b"");
                assert!(out.contains(if reader.home == a.home { BACK } else { TEXT }));
                said += &out;
                client_log.extend(log);
            }
        }
    }
    for command in ["status", "devices", "doctor"] {
        let (out, log) = logged(&a, &[command], b"");
        said += &out;
        client_log.extend(log);
    }

    // While it runs, with its side files, and after it has ended.
    let planted = planted();
    assert_eq!(found_in(&relay.folder, &planted), []);
    process.signal("TERM");
    process.ends_with(0);
    assert_eq!(found_in(&relay.folder, &planted), []);
    let size: u64 = files(&relay.folder).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(size > 4_000, "there is something to search");

    let relay_log = std::fs::read(relay.folder.with_extension("log")).unwrap();
    let mut secrets = planted.clone();
    secrets.push(("relay key", std::fs::read(relay.folder.join("identity.key")).unwrap()));
    let link: Link = uri.parse().unwrap();
    secrets.push(("link secret", link.secret.as_bytes().to_vec()));
    assert_eq!(found(&relay_log, &secrets), [""; 0]);
    for name in ["invite", "join"] {
        client_log.extend(std::fs::read(logs.join(name)).unwrap());
    }
    for device in [&a, &b] {
        secrets.push(("transport key", transport_key(device)));
        secrets.extend(keys(device));
    }
    assert_eq!(found(&client_log, &secrets), [""; 0]);
    // What a program is told as events and answers holds content, and no key.
    let keys: Vec<Planted> =
        secrets.iter().filter(|(what, _)| what.contains("key") || what.contains("secret")).cloned().collect();
    assert_eq!((keys.len() >= 6, found(said.as_bytes(), &keys)), (true, vec![]));
    assert!(said.contains(TEXT) && said.contains("\"event\""), "they were kept");

    // Nor are they in the devices' own files, but for the names of channels.
    secrets.retain(|(what, _)| !matches!(*what, "channel" | "relay key" | "link secret"));
    for device in [&a, &b] {
        assert_eq!(found_in(&device.home, &secrets), []);
    }
    // The control: a device whose files are as they were before there were vaults.
    without_vault(&a);
    let clear: BTreeSet<&str> = found_in(&a.home, &secrets).into_iter().map(|(_, what)| what).collect();
    assert_eq!(clear, secrets.iter().map(|(what, _)| *what).collect(), "each of them is found");

    // The logs are logs: what is no secret stands in them, down to the finest level, the relay's port and all.
    let port = relay.host().rsplit_once(':').unwrap().1;
    for log in [&relay_log, &client_log] {
        let text = String::from_utf8_lossy(log);
        assert!(text.lines().count() > 100 && text.contains("TRACE") && text.contains(port));
    }
    println!("relay: {size} bytes of files, {} of log; devices: {} of log", relay_log.len(), client_log.len());
}

/// The control: a device whose envelopes are properly signed and not encrypted, which a relay cannot tell.
#[tokio::test]
async fn with_encryption_switched_off_the_same_search_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let relay = sync_relay::Relay::start(sync_relay::RelayConfig::on_loopback(folder.path())).await.unwrap();
    let ((sender, mut wire), _other) = device::pair(async || device::Wire::local(&relay), b"").await;
    let mut body = [TEXT, BACK, CHANNEL, NAMES[0], NAMES[1]].join("\n").into_bytes();
    // As long as the shortest envelope's is.
    body.resize(sync_types::limits::PADDED_MIN_BYTES + 16, b' ');
    let header = Header {
        version: VERSION,
        suite: Suite::FOUNDED as u8,
        class: Class::Data,
        epoch: sender.epoch,
        epoch_tag: [0; 8],
        sender: sender.id,
        seq: 1,
        previous: Default::default(),
        nonce: [0; 24],
    };
    let header = sync_types::encode(&header);
    let hash = envelope::ciphertext_hash(&body);
    let signature = envelope::sign_envelope(&sender.key, &sender.group, &header, &hash);
    wire.send(&ToRelay::Push(vec![Opaque(Envelope::assemble(&header, &body, &signature))])).await;
    wire.accepted(1).await;
    let found: BTreeSet<&str> = found_in(folder.path(), &planted()).into_iter().map(|(_, what)| what).collect();
    assert_eq!(found, planted().iter().map(|(what, _)| *what).collect(), "each of them is found");
    relay.shutdown().await;
    let found = found_in(folder.path(), &planted());
    assert!(!found.is_empty(), "and after the relay has ended");
}

#[test]
fn the_search_knows_the_forms_in_which_a_secret_shows() {
    let secret = vec![("it", TEXT.as_bytes().to_vec())];
    assert_eq!(found(b"nothing of the kind", &secret), [""; 0]);
    for lead in 0..6 {
        let text = [&b"{\"a\":"[..lead], TEXT.as_bytes(), b"\"}"].concat();
        let shown = [
            HEXLOWER.encode(&text),
            HEXUPPER.encode(&text),
            data_encoding::BASE64.encode(&text),
            data_encoding::BASE64URL.encode(&text),
            BASE32_NOPAD.encode(&text),
            format!("{text:?}"),
            String::from_utf8(text).unwrap(),
        ];
        for text in shown {
            assert_eq!(found(format!("x {text} y").as_bytes(), &secret), ["it"], "{text}");
        }
    }
}

/// Fault 11 of the project's list: whoever sees a link afterwards has nothing of the group.
#[test]
fn fault_11_a_link_holds_nothing_of_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let (a, b) = (Device::init(folder.path().join("a"), NAMES[0], &relay), Device::new(folder.path().join("b")));
    let group = a.status()["group"].as_str().unwrap().to_owned();
    let mut invite = a.start(&["invite", "--yes"]);
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    let before = keys(&a);
    b.run(&["join", &uri, "--name", NAMES[1]]).ok();
    assert_eq!(ended(invite).0, Some(0));

    let bytes = BASE32_NOPAD.decode(uri.strip_prefix("KSYNC:").unwrap().as_bytes()).unwrap();
    let mut secrets = planted();
    secrets.push(("group", HEXLOWER.decode(group.as_bytes()).unwrap()));
    secrets.extend(before.into_iter().chain(keys(&a)).chain(keys(&b)));
    assert!(secrets.len() >= 10);
    assert_eq!(found(&bytes, &secrets), [""; 0]);
    // What it holds is drawn for it: the search finds that, and no two links share it.
    let secret = |uri: &str| uri.parse::<Link>().unwrap().secret.as_bytes().to_vec();
    assert_eq!(found(&bytes, &[("link secret", secret(&uri))]), ["link secret"]);
    let mut again = a.start(&["invite", "--yes"]);
    assert_ne!(secret(again.event("invite")["uri"].as_str().unwrap()), secret(&uri));
}
