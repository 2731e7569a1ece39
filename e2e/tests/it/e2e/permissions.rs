//! What a window may do is what its capability says, tried from the window itself.

use ksync_e2e::App;
use serde_json::{Value, json};

use super::world::World;

/// A call of each command, in the words of the façade, and the code that it gives where it is allowed and there is nobody to do
/// it with; none if it just works.
#[rustfmt::skip]
const CALLS: &[(&str, &str, Option<&str>)] = &[
    ("push", "await ksync.push('x')", None),
    ("status", "await ksync.status()", None),
    ("doctor", "await ksync.doctor()", None),
    ("devices", "await ksync.devices()", None),
    ("listen", "await invoke('plugin:0ksync|listen', { events: new Channel() })", None),
    ("unlisten", "await invoke('plugin:0ksync|unlisten', { listener: 1 })", None),
    ("subscribe", "await invoke('plugin:0ksync|subscribe', { options: {}, blobs: new Channel() })", None),
    ("unsubscribe", "await invoke('plugin:0ksync|unsubscribe', { subscription: 1 })", None),
    ("ack", "await invoke('plugin:0ksync|ack', { subscription: 999, batch: 1, position: '1' })", Some("INVALID_ARGUMENT")),
    ("handler-failed", "await invoke('plugin:0ksync|handler_failed', { subscription: 999, id: '0'.repeat(32), attempts: 1, retryAfterMs: 1 })", Some("INVALID_ARGUMENT")),
    ("wait", "await invoke('plugin:0ksync|wait', { id: '0'.repeat(32), state: 'accepted', timeoutMs: 1 })", Some("INVALID_ARGUMENT")),
    ("presence", "await ksync.presence.set('here', { channel: 'x'.repeat(300) })", Some("INVALID_ARGUMENT")),
    ("join", "await ksync.join('no link', { onCheck() {} })", Some("LINK_INVALID")),
    ("invite", "await invoke('plugin:0ksync|invite', { link: 'no link', ttlMs: null, steps: new Channel() })", Some("LINK_INVALID")),
    ("request-join", "await invoke('plugin:0ksync|request_join', { relay: 'nowhere', name: null, steps: new Channel() })", Some("ADDRESS_INVALID")),
    ("pairing-check", "await invoke('plugin:0ksync|pairing_check', { pairing: 999, digits: '1234' })", Some("PAIRING_USED")),
    ("pairing-consent", "await invoke('plugin:0ksync|pairing_consent', { pairing: 999, yes: true })", Some("PAIRING_USED")),
    ("pairing-cancel", "await invoke('plugin:0ksync|pairing_cancel', { pairing: 999 })", None),
    ("remove-device", "await ksync.removeDevice('0'.repeat(32))", Some("UNKNOWN_DEVICE")),
    ("leave", "await invoke('plugin:0ksync|leave')", None),
    ("reset", "await invoke('plugin:0ksync|reset')", None),
];

/// Commands that only windows with `admin` may call.
const ADMIN: [&str; 2] = ["remove-device", "reset"];

/// Commands that a window with `data` alone may not call.
const PAIRING: [&str; 7] =
    ["join", "invite", "request-join", "pairing-check", "pairing-consent", "pairing-cancel", "leave"];

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
    for (set, refused) in
        [("default", ADMIN.to_vec()), ("data", [PAIRING.as_slice(), &ADMIN].concat()), ("admin", vec![])]
    {
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
