//! The plugin from a page, through `window.__TAURI__.ksync`, without a widget or an app around it.

use ksync_e2e::pages::{COLLECT, pair};
use serde_json::json;

use super::world::{World, got};

#[tokio::test]
async fn two_pages_pair_and_keep_each_other_in_sync() {
    let world = World::new().await;
    let (a, b) = (world.testbed("Laptop", "default").start().await, world.testbed("Phone", "default").start().await);
    pair(&a, &b).await;
    b.run(COLLECT, vec![]).await;
    a.run(
        "const receipt = await window.__TAURI__.ksync.push('from A', { channel: 'notes' }); await receipt.delivered();",
        vec![],
    )
    .await;
    got(&b, &["from A"]).await;
    a.run(COLLECT, vec![]).await;
    b.run("await window.__TAURI__.ksync.push('aus B: äöü', { channel: 'notes' });", vec![]).await;
    got(&a, &["aus B: äöü"]).await;
    let devices = a.run("return (await window.__TAURI__.ksync.devices()).map((d) => [d.name, d.own]);", vec![]).await;
    assert_eq!(devices, json!([["Laptop", true], ["Phone", false]]));
}
