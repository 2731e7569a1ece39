//! Pages come and go in the middle of things: reloads, second windows, an app that is closed.

use ksync_e2e::pages::{COLLECT, pair};
use ksync_e2e::until;
use serde_json::json;

use super::world::{World, got};

#[tokio::test]
async fn a_reload_in_the_middle_of_a_subscription_loses_nothing() {
    let world = World::new().await;
    let (a, b) = (world.testbed("a", "default").start().await, world.testbed("b", "default").start().await);
    pair(&a, &b).await;
    // A handler that stops in the middle: it takes two blobs, and never ends with the third one.
    b.run(
        "window.got = [];
         await window.__TAURI__.ksync.subscribe('notes', async (blob) => {
           if (window.got.length === 2) await new Promise(() => {});
           window.got.push(blob.text());
         });",
        vec![],
    )
    .await;
    for text in ["1", "2", "3", "4"] {
        a.run(
            "await (await window.__TAURI__.ksync.push(args[0], { channel: 'notes' })).accepted();",
            vec![json!(text)],
        )
        .await;
    }
    got(&b, &["1", "2"]).await;
    b.client().refresh().await.unwrap();
    b.run(COLLECT, vec![]).await;
    // At least once: what the page had taken may come again, and what it had not comes.
    let all = until("the rest", async || {
        let got = b.run("return window.got;", vec![]).await;
        let texts: Vec<String> = serde_json::from_value(got).unwrap();
        texts.ends_with(&["3".to_owned(), "4".to_owned()]).then_some(texts)
    })
    .await;
    assert!(all == ["3", "4"] || all == ["2", "3", "4"] || all == ["1", "2", "3", "4"], "{all:?}");
    // In the log, each is once.
    b.run("window.got = []; await window.__TAURI__.ksync.subscribe('notes', (blob) => { window.got.push(blob.text()); }, { from: 'start' });", vec![])
        .await;
    got(&b, &["1", "2", "3", "4"]).await;
}

#[tokio::test]
async fn every_window_gets_every_blob() {
    let world = World::new().await;
    let (a, b) = (world.testbed("a", "default").start().await, world.testbed("b", "default,default2").start().await);
    b.window("default").await;
    pair(&a, &b).await;
    for window in ["default", "default2"] {
        b.window(window).await;
        b.run(COLLECT, vec![]).await;
    }
    // What one window pushes the other one gets as its device's own, if it asks for that.
    b.run(
        "window.own = [];
         await window.__TAURI__.ksync.subscribe('notes', (blob) => { window.own.push([blob.text(), blob.own]); },
                                                { own: true, consumer: 'second' });",
        vec![],
    )
    .await;
    b.window("default").await;
    b.run("await window.__TAURI__.ksync.push('from b', { channel: 'notes' });", vec![]).await;
    a.run("await window.__TAURI__.ksync.push('from a', { channel: 'notes' });", vec![]).await;
    for window in ["default", "default2"] {
        b.window(window).await;
        got(&b, &["from a"]).await;
    }
    until("the other window's own push", async || {
        (b.run("return window.own;", vec![]).await == json!([["from b", true], ["from a", false]])).then_some(())
    })
    .await;
    // While the second one reloads, the first one takes more. It comes to the second one all the same.
    b.client().refresh().await.unwrap();
    a.run("await window.__TAURI__.ksync.push('meanwhile', { channel: 'notes' });", vec![]).await;
    b.window("default").await;
    got(&b, &["from a", "meanwhile"]).await;
    b.window("default2").await;
    b.run(COLLECT, vec![]).await;
    until("what came meanwhile", async || {
        let got = b.run("return window.got;", vec![]).await;
        (got.as_array().unwrap().last() == Some(&json!("meanwhile"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_an_app_pushed_before_it_was_closed_or_killed_goes_at_its_next_start() {
    let mut world = World::new().await;
    let launch = world.testbed("a", "default");
    let (a, b) = (launch.start().await, world.testbed("b", "default").start().await);
    pair(&a, &b).await;
    b.run(COLLECT, vec![]).await;
    world.relay.stop().await;
    a.run("await window.__TAURI__.ksync.push('closed', { channel: 'notes' });", vec![]).await;
    a.quit().await;
    let a = launch.start().await;
    a.run("await window.__TAURI__.ksync.push('killed', { channel: 'notes' });", vec![]).await;
    a.kill();
    world.relay.again().await;
    let a = launch.start().await;
    got(&b, &["closed", "killed"]).await;
    let waiting = until("nothing waits", async || {
        let status = a.run("return await window.__TAURI__.ksync.status();", vec![]).await;
        (status["outbox"] == 0).then_some(status)
    })
    .await;
    assert_eq!(waiting["devices"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_subscription_goes_on_with_the_new_log() {
    let world = World::new().await;
    let app = world.testbed("a", "admin").start().await;
    app.run(
        "window.got = [];
         const { ksync } = window.__TAURI__;
         await ksync.subscribe('notes', async (blob) => {
           window.got.push(blob.text());
           if (blob.text() === 'hold') await new Promise((resolve) => { window.release = resolve; });
         }, { own: true });
         for (const text of ['before', 'hold', 'never']) await ksync.push(text, { channel: 'notes' });",
        vec![],
    )
    .await;
    got(&app, &["before", "hold"]).await;
    app.run("await window.__TAURI__.ksync.reset(); window.release();", vec![]).await;
    app.run("await window.__TAURI__.ksync.push('after', { channel: 'notes' });", vec![]).await;
    // Of the old log comes nothing more.
    got(&app, &["before", "hold", "after"]).await;
}

#[tokio::test]
async fn a_page_that_somebody_comes_back_to_hears_of_everything() {
    let world = World::new().await;
    let (a, b) = (world.testbed("a", "default").start().await, world.testbed("b", "default").start().await);
    pair(&a, &b).await;
    b.run(COLLECT, vec![]).await;
    let shows = async |title: &str| {
        until(title, async || (b.client().title().await.ok()? == title).then_some(())).await;
    };
    b.run("window.location.href = 'other.html';", vec![]).await;
    shows("elsewhere").await;
    b.run("window.history.back();", vec![]).await;
    shows("testbed").await;
    a.run("await window.__TAURI__.ksync.push('after', { channel: 'notes' });", vec![]).await;
    // A page that is loaded anew begins anew. One that a webview kept, as it was, has to go on.
    until("a page that listens", async || {
        let got = b.client().execute("return window.got ?? 'loaded anew';", vec![]).await.ok()?;
        (got == "loaded anew" || got == json!(["after"])).then_some(())
    })
    .await;
}

/// A page puts one blob in the place of what it has handled. The next window, which has had nothing, gets that instead.
#[tokio::test]
async fn a_snapshot_stands_for_what_a_page_has_handled() {
    let world = World::new().await;
    let (a, b) = (world.testbed("a", "default").start().await, world.testbed("b", "default,default2").start().await);
    b.window("default").await;
    pair(&a, &b).await;
    b.run(COLLECT, vec![]).await;
    for text in ["1", "2"] {
        let push = "await (await window.__TAURI__.ksync.push(args[0], { channel: 'notes' })).accepted();";
        a.run(push, vec![json!(text)]).await;
    }
    got(&b, &["1", "2"]).await;
    let replaced = "return (await window.__TAURI__.ksync.snapshot('notes', '1 and 2')).replaced;";
    assert_eq!(b.run(replaced, vec![]).await, json!("2"));
    a.run("await window.__TAURI__.ksync.push('3', { channel: 'notes' });", vec![]).await;
    b.window("default2").await;
    b.run(
        "window.all = [];
         await window.__TAURI__.ksync.subscribe('notes', (blob) => { window.all.push([blob.text(), blob.snapshot]); });",
        vec![],
    )
    .await;
    until("the snapshot and what came behind it", async || {
        (b.run("return window.all;", vec![]).await == json!([["1 and 2", true], ["3", false]])).then_some(())
    })
    .await;
    // Who had all of it hears of the new one alone.
    b.window("default").await;
    got(&b, &["1", "2", "3"]).await;
}
