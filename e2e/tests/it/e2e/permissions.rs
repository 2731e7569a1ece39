//! What a window may do is what its capability says, tried from the window itself.

use ksync_e2e::App;
use serde_json::{Value, json};

use super::world::World;

/// A call of each command, in the words of the façade, and the code that it gives where it is allowed and there is nobody to do
/// it with; none if it just works.
#[rustfmt::skip]
const CALLS: &[(&str, &str, Option<&str>)] = &[
    ("push", "await ksync.push('x')", None),
    ("snapshot", "await ksync.snapshot('default', 'x')", None),
    ("file-put", "await ksync.files.put('/nonexistent/file')", Some("INVALID_ARGUMENT")),
    ("file-put-bytes", "await ksync.files.put({ name: 'x', bytes: new Uint8Array([1]) })", None),
    ("file-get", "await ksync.files.get('0'.repeat(32), '/nonexistent/file')", Some("INVALID_ARGUMENT")),
    ("file-read", "await ksync.files.read('0'.repeat(32))", Some("INVALID_ARGUMENT")),
    ("file-list", "await ksync.files.list()", None),
    ("file-remove", "await ksync.files.remove('0'.repeat(32))", Some("INVALID_ARGUMENT")),
    ("file-policy", "await ksync.files.policy()", None),
    ("file-set-policy", "await ksync.files.setPolicy({ paused: false })", None),
    ("file-wait-given", "await ksync.files.waitGiven('0'.repeat(32))", Some("INVALID_ARGUMENT")),
    ("file-cancel", "await invoke('plugin:0ksync|file_cancel', { call: 1 })", None),
    ("status", "await ksync.status()", None),
    ("doctor", "await ksync.doctor()", None),
    ("devices", "await ksync.devices()", None),
    ("alerts", "await ksync.alerts()", None),
    ("alerts-seen", "await ksync.alertsSeen('0')", None),
    ("listen", "await invoke('plugin:0ksync|listen', { events: new Channel() })", None),
    ("unlisten", "await invoke('plugin:0ksync|unlisten', { listener: 1 })", None),
    ("subscribe", "await invoke('plugin:0ksync|subscribe', { options: {}, blobs: new Channel() })", None),
    ("unsubscribe", "await invoke('plugin:0ksync|unsubscribe', { subscription: 1 })", None),
    ("ack", "await invoke('plugin:0ksync|ack', { subscription: 999, batch: 1, position: '1' })", Some("INVALID_ARGUMENT")),
    ("handler-failed", "await invoke('plugin:0ksync|handler_failed', { subscription: 999, id: '0'.repeat(32), attempts: 1, retryAfterMs: 1 })", Some("INVALID_ARGUMENT")),
    ("wait", "await invoke('plugin:0ksync|wait', { id: '0'.repeat(32), state: 'accepted', timeoutMs: 1 })", Some("INVALID_ARGUMENT")),
    ("skip", "await ksync.skip('0'.repeat(32))", Some("INVALID_ARGUMENT")),
    ("presence", "await ksync.presence.set('here', { channel: 'x'.repeat(300) })", Some("INVALID_ARGUMENT")),
    ("join", "await ksync.join('no link', { onCheck() {} })", Some("LINK_INVALID")),
    ("invite", "await invoke('plugin:0ksync|invite', { link: 'no link', ttlMs: null, steps: new Channel() })", Some("LINK_INVALID")),
    ("request-join", "await invoke('plugin:0ksync|request_join', { relay: 'nowhere', name: null, steps: new Channel() })", Some("ADDRESS_INVALID")),
    ("pairing-check", "await invoke('plugin:0ksync|pairing_check', { pairing: 999, digits: '1234' })", Some("PAIRING_USED")),
    ("pairing-consent", "await invoke('plugin:0ksync|pairing_consent', { pairing: 999, yes: true })", Some("PAIRING_USED")),
    ("pairing-cancel", "await invoke('plugin:0ksync|pairing_cancel', { pairing: 999 })", None),
    ("remove-device", "await ksync.removeDevice('0'.repeat(32))", Some("UNKNOWN_DEVICE")),
    ("set-relays", "await ksync.setRelays(['nowhere'])", Some("ADDRESS_INVALID")),
    ("give-up-first-relay", "await ksync.giveUpFirstRelay()", Some("INVALID_ARGUMENT")),
    ("unlock", "await ksync.unlock('')", Some("INVALID_ARGUMENT")),
    ("set-vault", "await ksync.setVault('file')", None),
    ("backup-export", "await ksync.backup.export('/nonexistent/backup', 'short')", Some("INVALID_ARGUMENT")),
    ("backup-import", "await ksync.backup.import('/nonexistent/backup', 'a passphrase')", Some("IO")),
    ("backup-cancel", "await invoke('plugin:0ksync|backup_cancel', { id: 1 })", None),
    ("make-recovery-kit", "for (;;) try { await ksync.recoveryKit.create(); break; } catch (e) { if (e.code !== 'RELAY_UNREACHABLE') throw e; }", None),
    ("recover", "await ksync.recover('no words')", Some("KIT_INVALID")),
    ("background", "await ksync.life.background()", None),
    ("wake", "await ksync.life.wake()", None),
    ("foreground", "await ksync.life.foreground()", None),
    ("set-wake-target", "await ksync.life.setTarget({ type: 'webPush', endpoint: 'no url' })", Some("INVALID_ARGUMENT")),
    ("wake-key", "await ksync.life.key()", Some("WAKE_UNAVAILABLE")),
    ("move-to-suite", "await ksync.moveToSuite(1)", None),
    ("leave", "await invoke('plugin:0ksync|leave')", None),
    ("reset", "await invoke('plugin:0ksync|reset')", None),
];

/// Commands that only windows with `admin` may call.
const ADMIN: [&str; 11] = [
    "remove-device",
    "set-relays",
    "give-up-first-relay",
    "reset",
    "set-vault",
    "backup-export",
    "backup-import",
    "backup-cancel",
    "make-recovery-kit",
    "recover",
    "move-to-suite",
];

/// Commands that only windows with `wake` may call.
const WAKE: [&str; 2] = ["set-wake-target", "wake-key"];

/// Commands that only windows with `files-paths` may call.
const PATHS: [&str; 2] = ["file-put", "file-get"];

/// Commands of `files`, which is in `default` and not in `data`.
const FILES: [&str; 8] = [
    "file-put-bytes",
    "file-read",
    "file-list",
    "file-remove",
    "file-policy",
    "file-set-policy",
    "file-wait-given",
    "file-cancel",
];

/// Commands that a window with `data` alone may not call.
const PAIRING: [&str; 9] = [
    "alerts-seen",
    "join",
    "invite",
    "request-join",
    "pairing-check",
    "pairing-consent",
    "pairing-cancel",
    "leave",
    "unlock",
];

/// What a call in the present window comes to: its error's code or words, or `null`.
async fn call(app: &App, call: &str) -> Value {
    let body = format!(
        "const {{ ksync, core: {{ invoke, Channel }} }} = window.__TAURI__;
         try {{ {call}; return null; }} catch (error) {{ return error.code || String(error.message || error); }}"
    );
    app.run(&body, vec![]).await
}

fn is_refusal(result: &Value) -> bool {
    result.as_str().is_some_and(|text| text == "NOT_PERMITTED" || text.contains("not allowed"))
}

#[test]
fn each_command_of_the_plugin_is_tried() {
    let generated = concat!(env!("CARGO_MANIFEST_DIR"), "/../permissions/autogenerated/commands");
    let files = std::fs::read_dir(generated).unwrap().map(|file| file.unwrap().path());
    let mut commands: Vec<String> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().replace('_', "-")).collect();
    let mut tried: Vec<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
    commands.sort_unstable();
    tried.sort_unstable();
    assert_eq!(tried, commands);
}

#[tokio::test]
async fn each_command_works_with_its_own_permission_and_without_it_does_not() {
    let world = World::new().await;
    let windows: Vec<String> = CALLS.iter().map(|(name, ..)| format!("only-{name}")).collect();
    let app = world.testbed("one", &format!("none,{}", windows.join(","))).start().await;
    for (name, text, expected) in CALLS {
        app.window(&format!("only-{name}")).await;
        assert_eq!(call(&app, text).await, json!(expected), "{name} where it is permitted");
        for (other, text, _) in CALLS.iter().filter(|(other, ..)| other != name) {
            let result = call(&app, text).await;
            assert!(is_refusal(&result), "{other} in the window with {name} alone: {result}");
        }
    }
    app.window("none").await;
    for (name, text, _) in CALLS {
        let result = call(&app, text).await;
        assert!(is_refusal(&result), "{name} in a window without permissions: {result}");
    }
}

#[tokio::test]
async fn the_sets_allow_what_they_say() {
    let world = World::new().await;
    let app = world.testbed("one", "default,data,admin").start().await;
    for (set, refused) in [
        ("default", [ADMIN.as_slice(), &WAKE, &PATHS].concat()),
        ("data", [PAIRING.as_slice(), &ADMIN, &WAKE, &FILES, &PATHS].concat()),
        ("admin", [WAKE.as_slice(), &PATHS].concat()),
    ] {
        app.window(set).await;
        for (name, text, _) in CALLS {
            let result = call(&app, text).await;
            assert_eq!(is_refusal(&result), refused.contains(name), "{name} in a window with {set}: {result}");
        }
    }
    app.window("default").await;
    let message =
        app.run("try { await window.__TAURI__.ksync.reset(); } catch (error) { return error.message; }", vec![]).await;
    assert!(message.as_str().unwrap().contains("0ksync:"), "it names the permission: {message}");
}
