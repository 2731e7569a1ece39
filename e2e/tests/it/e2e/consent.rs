//! With native consent, a page alone pairs nothing: a person has to press a button outside of it.

use std::time::Duration;

use ksync_e2e::{App, Key, until};
use serde_json::{Value, json};

use super::world::World;

/// The title of the dialog: the app's name.
const DIALOG: &str = "0k testbed";
/// Nobody has read the dialog before this is over, however slow the machine is.
const LONG: Duration = Duration::from_hours(24);

/// Shows an invite in the page, whose script says yes in every way that a page has, as soon as somebody asks.
async fn invite_and_accept_by_script(member: &App) -> Value {
    let script = "
        const { invoke, Channel } = window.__TAURI__.core;
        window.steps = [];
        window.answers = [];
        window.accept = null;
        window.confirm = () => true;
        const steps = new Channel();
        const uri = new Promise((resolve) => {
          steps.onmessage = (step) => {
            window.steps.push(step.type === 'failed' ? step.error.code : step.type);
            if (step.type === 'uri') resolve(step.uri);
            if (step.type !== 'request') return;
            window.accept = (digits) => {
              const say = (command, args) =>
                invoke(`plugin:0ksync|${command}`, { pairing: window.pairing, ...args })
                  .then(() => window.answers.push('done'), (error) => window.answers.push(error.code));
              say('pairing_check', { digits });
              say('pairing_check', { digits });
              say('pairing_consent', { yes: true });
              for (const key of ['Tab', 'Enter']) {
                document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
              }
            };
          };
        });
        window.pairing = await invoke('plugin:0ksync|invite', { link: null, ttlMs: null, steps });
        return await uri;";
    member.run(script, vec![]).await
}

/// Takes the link in another page, and tells the script the digits, as an accomplice would.
async fn join_with_help(member: &App, newcomer: &App, uri: Value) {
    let join = "return await new Promise((resolve, reject) => {
                  window.end = null;
                  const joined = window.__TAURI__.ksync.join(args[0], { onCheck: resolve });
                  joined.then(() => { window.end = 'joined'; }, (error) => { window.end = error.code; reject(error); });
                });";
    let digits = newcomer.run(join, vec![uri]).await;
    until("the request", async || (member.run("return !!window.accept;", vec![]).await == true).then_some(())).await;
    member.run("window.accept(args[0]);", vec![digits]).await;
}

async fn devices(app: &App) -> Value {
    app.run("return (await window.__TAURI__.ksync.devices()).length;", vec![]).await
}

async fn ends_with(app: &App, end: &str) {
    until(end, async || (app.run("return window.end;", vec![]).await == end).then_some(())).await;
}

#[tokio::test]
async fn script_in_a_page_cannot_complete_an_invite() {
    let world = World::new().await;
    let a = world.testbed_that_asks("Laptop", "default", Duration::ZERO).start().await;
    let b = world.testbed("Phone", "default").start().await;

    let uri = invite_and_accept_by_script(&a).await;
    join_with_help(&a, &b, uri).await;
    until("the dialog", async || a.shows(DIALOG).then_some(())).await;
    assert_eq!(devices(&a).await, json!(1));
    a.press_in(DIALOG, Key::Escape).await;
    ends_with(&b, "PAIRING_REFUSED").await;
    until("each answer", async || (a.run("return window.answers.length;", vec![]).await == 3).then_some(())).await;
    let answers = a.run("return window.answers;", vec![]).await;
    assert!(!answers.as_array().unwrap().contains(&json!("done")), "a yes of the page was taken: {answers}");
    assert_eq!(devices(&a).await, json!(1));

    // Who has just said no is not asked again at once, however often the page tries.
    let uri = invite_and_accept_by_script(&a).await;
    join_with_help(&a, &b, uri).await;
    ends_with(&b, "PAIRING_REFUSED").await;
    assert!(!a.shows(DIALOG));
    assert_eq!(devices(&a).await, json!(1));
}

#[tokio::test]
async fn a_person_who_has_read_the_dialog_can_agree() {
    let world = World::new().await;
    let a = world.testbed_that_asks("Laptop", "default,default2", Duration::ZERO).start_alone().await;
    let b = world.testbed("Phone", "default").start().await;
    let uri = invite_and_accept_by_script(&a).await;
    join_with_help(&a, &b, uri).await;
    a.press_in(DIALOG, Key::Enter).await;
    ends_with(&b, "joined").await;
    assert_eq!(devices(&a).await, json!(2));
    // A window that opens afterwards has the platform's own dialogs for its page.
    a.run("await window.__TAURI__.event.emit('open-windows');", vec![]).await;
    a.window("default2").await;
    let confirm = a.run("return String(window.confirm);", vec![]).await;
    assert!(confirm.as_str().unwrap().contains("[native code]"), "{confirm}");
}

#[tokio::test]
async fn a_yes_before_anybody_can_have_read_the_dialog_is_asked_again() {
    let world = World::new().await;
    let a = world.testbed_that_asks("Laptop", "default", LONG).start().await;
    let b = world.testbed("Phone", "default").start().await;
    let uri = invite_and_accept_by_script(&a).await;
    join_with_help(&a, &b, uri).await;
    // Somebody was typing as it came.
    a.press_in(DIALOG, Key::Enter).await;
    a.press_in(DIALOG, Key::Enter).await;
    assert_eq!(devices(&a).await, json!(1));
    // A no may come as soon as it likes.
    a.press_in(DIALOG, Key::Escape).await;
    ends_with(&b, "PAIRING_REFUSED").await;
    assert_eq!(devices(&a).await, json!(1));
}

#[tokio::test]
async fn script_in_a_page_cannot_join_another_group() {
    let world = World::new().await;
    let a = world.testbed("Laptop", "default").start().await;
    let b = world.testbed_that_asks("Phone", "default", Duration::ZERO).start().await;
    let uri = a.run("return (window.invite = await window.__TAURI__.ksync.invite()).uri;", vec![]).await;
    let join = "window.end = null;
                window.__TAURI__.ksync.join(args[0], { onCheck() { window.end = 'asked for digits'; } })
                  .catch((error) => { window.end = error.code; });";
    b.run(join, vec![uri]).await;
    until("the dialog", async || b.shows(DIALOG).then_some(())).await;
    assert_eq!(b.run("return window.end;", vec![]).await, json!(null));
    b.press_in(DIALOG, Key::Escape).await;
    ends_with(&b, "PAIRING_REFUSED").await;
}
