//! To the background and back, from a page.

use ksync_e2e::pages::{COLLECT, pair};
use ksync_e2e::until;
use serde_json::json;

use super::world::{World, got};

#[tokio::test]
async fn a_page_sends_its_app_to_sleep_and_wakes_it() {
    let world = World::new().await;
    let (a, b) = (world.testbed("a", "default").start().await, world.testbed("b", "default").start().await);
    pair(&a, &b).await;
    b.run(COLLECT, vec![]).await;
    b.run(
        "window.modes = [];
         await window.__TAURI__.ksync.on('mode', (event) => { window.modes.push(event.mode); });
         await window.__TAURI__.ksync.life.background();",
        vec![],
    )
    .await;
    let sessions = || world.relay.running().metrics().sessions.value();
    until("the end of its session", async || (sessions() == 1).then_some(())).await;
    let push = "await (await window.__TAURI__.ksync.push(args[0], { channel: 'notes' })).accepted();";
    a.run(push, vec![json!("while it sleeps")]).await;
    let status = b.run("return await window.__TAURI__.ksync.status();", vec![]).await;
    assert_eq!(
        (&status["mode"], &status["connected"], &status["trouble"]),
        (&json!("background"), &json!(false), &json!(null))
    );
    got(&b, &[]).await;
    let woken = b.run("return await window.__TAURI__.ksync.life.wake({ timeoutMs: 20000 });", vec![]).await;
    assert_eq!(woken, json!({ "caughtUp": true, "arrived": true }));
    got(&b, &["while it sleeps"]).await;
    assert_eq!(sessions(), 1);
    b.run("await window.__TAURI__.ksync.life.foreground();", vec![]).await;
    a.run(push, vec![json!("while it is awake")]).await;
    got(&b, &["while it sleeps", "while it is awake"]).await;
    let modes = b.run("return window.modes;", vec![]).await;
    assert_eq!(modes, json!(["background", "waking", "background", "foreground"]));
}
