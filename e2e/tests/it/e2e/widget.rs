//! The pairing element where something goes wrong: what the person is told, by devices that really meet it.

use std::path::{Path, PathBuf};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use ksync_e2e::notes::Device;
use ksync_e2e::widget::{accept, accessibility, begin, connect, digits, enter, error, link, part, press};
use ksync_e2e::{App, Relay, until};
use serde_json::json;

use super::world::World;

/// Where pictures go, for whoever wants to look at them: `KSYNC_PICTURES`.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("KSYNC_PICTURES").map(PathBuf::from)
}

fn axe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("npm has installed axe-core")
}

/// Takes a picture for whoever wants to look, and lets axe look at the page.
pub(super) async fn look(app: &App, name: &str) {
    if let Some(folder) = pictures() {
        app.picture(&folder.join(format!("{name}.png")));
    }
    assert_eq!(accessibility(app, &axe()).await, Vec::<String>::new(), "{name}");
}

/// The element says what happened and what to do, and the keyboard is where the words are.
async fn says(app: &App, code: &str) {
    assert_eq!(error(app).await, code);
    let (what, next) = (part(app, "error").await, part(app, "error-next").await);
    for words in [what.text().await.unwrap(), next.text().await.unwrap()] {
        assert!(words.len() > 10 && !words.contains(code), "{words}");
    }
    let focused = app.run("return document.activeElement.shadowRoot?.activeElement?.dataset.testid;", vec![]).await;
    assert_eq!(focused, json!("error"), "{code}");
    look(app, code).await;
}

#[tokio::test]
async fn each_error_that_people_meet_is_said_with_the_next_step() {
    let world = World::new().await;
    let path = world.folder.path();
    let mut relay = Relay::start(&path.join("other-relay")).await;
    let [laptop, phone, tablet] = ["Laptop", "Phone", "Tablet"].map(|name| Device::new(path, name, &relay));
    let (a, b, c) = (laptop.start().await, phone.start().await, tablet.start().await);

    // Not a link; one of another app; one whose time is over; one that the other device has closed.
    begin(&b, Some("join")).await;
    press(&b, "connect").await;
    assert!(part(&b, "problem").await.text().await.unwrap().contains("paste the link"));
    look(&b, "nothing pasted").await;
    connect(&b, "KSYNC:ABC").await;
    says(&b, "LINK_INVALID").await;
    press(&b, "again").await;
    let other = world.testbed("Other", "default").start().await;
    let foreign = other.run("return (window.invite = await window.__TAURI__.ksync.invite()).uri;", vec![]).await;
    connect(&b, foreign.as_str().unwrap()).await;
    says(&b, "WRONG_APP").await;
    let brief = "const { invoke, Channel } = window.__TAURI_INTERNALS__;
                 const id = window.__TAURI_INTERNALS__.transformCallback(({ message }) => {
                   if (message?.type === 'uri') window.uri = message.uri;
                   if (message?.type === 'failed') window.over = message.error.code;
                 });
                 await invoke('plugin:0ksync|invite', { link: null, ttlMs: 2000, steps: `__CHANNEL__:${id}` });";
    a.run(brief, vec![]).await;
    until("the end of a brief invite", async || a.run("return window.over;", vec![]).await.as_str().map(drop)).await;
    assert_eq!(a.run("return window.over;", vec![]).await, json!("PAIRING_EXPIRED"));
    let uri = a.run("return window.uri;", vec![]).await;
    begin(&b, Some("join")).await;
    connect(&b, uri.as_str().unwrap()).await;
    // The relay has forgotten it by then, as it forgets one that was closed.
    says(&b, "NO_SUCH_PAIRING").await;
    begin(&a, Some("add")).await;
    let closed = link(&a).await;
    press(&a, "cancel").await;
    begin(&b, Some("join")).await;
    connect(&b, &closed).await;
    says(&b, "NO_SUCH_PAIRING").await;

    // The member says no; the digits are wrong; both devices join.
    meet(&a, &b).await;
    press(&a, "refuse").await;
    says(&a, "REFUSED_HERE").await;
    says(&b, "PAIRING_REFUSED").await;
    let shown = meet(&a, &b).await;
    let wrong = if shown == "0000" { "1111" } else { "0000" };
    enter(&a, "digit-input", "12").await;
    press(&a, "add").await;
    assert!(part(&a, "problem").await.text().await.unwrap().contains("all four"));
    accept(&a, wrong).await;
    until("the first mistake", async || {
        part(&a, "problem").await.text().await.ok()?.contains("one more try").then_some(())
    })
    .await;
    look(&a, "WRONG_CODE").await;
    accept(&a, wrong).await;
    says(&a, "TOO_MANY_TRIES").await;
    says(&b, "TOO_MANY_TRIES").await;

    // A link works once, and a device is in one group.
    begin(&a, Some("add")).await;
    let used = link(&a).await;
    begin(&b, Some("join")).await;
    connect(&b, &used).await;
    accept(&a, &digits(&b).await).await;
    part(&a, "done").await;
    part(&b, "done").await;
    begin(&c, Some("join")).await;
    connect(&c, &used).await;
    says(&c, "PAIRING_USED").await;
    begin(&c, Some("add")).await;
    let third = link(&c).await;
    begin(&b, Some("join")).await;
    connect(&b, &third).await;
    says(&b, "ALREADY_IN_GROUP").await;
    let remove = "const members = await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|devices');
                  await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|remove_device', { id: members.find((m) => !m.own).id, lost: false });";
    a.run(remove, vec![]).await;
    until("the removal", async || {
        let status = b.run(
            "return (await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|doctor')).map((f) => f.code);",
            vec![],
        );
        status.await.as_array()?.contains(&json!("REMOVED")).then_some(())
    })
    .await;
    begin(&b, Some("add")).await;
    says(&b, "REMOVED").await;

    // The code on the screen grows old; nobody is at the relay.
    begin(&a, Some("add")).await;
    link(&a).await;
    a.run("const now = Date.now; Date.now = () => now() + 10 * 60_000;", vec![]).await;
    part(&a, "new-code").await;
    look(&a, "expired").await;
    relay.stop().await;
    begin(&c, Some("join")).await;
    connect(&c, &used).await;
    says(&c, "RELAY_UNREACHABLE").await;
}

/// Every other error that a pairing can end with, on every kind of screen. What the plugin would answer is put into the page: these take
/// a hostile relay, an old version or a full disk to come by.
#[tokio::test]
async fn each_error_reads_well_in_light_and_dark_and_in_narrow_and_wide_windows() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(&folder.path().join("relay")).await;
    let device = Device::new(folder.path(), "Laptop", &relay);
    let app = device.start().await;
    for (theme, width) in [("light", 360), ("light", 1000), ("dark", 360), ("dark", 1000)] {
        for code in CODES {
            begin_and_fail(&app, theme, width, code).await;
            part(&app, "error-next").await;
            assert_eq!(error(&app).await, *code);
            look(&app, &format!("{code} {theme} {width}")).await;
            let wide = "const box = document.querySelector('ksync-pair').getBoundingClientRect();
                        return [box.left >= 0, box.right <= args[0], document.documentElement.scrollWidth <= window.innerWidth];";
            assert_eq!(app.run(wide, vec![json!(width)]).await, json!([true, true, true]), "{code} {theme} {width}");
        }
    }
}

/// Those that have words of their own, but for what leads to another screen, and one that has none.
const CODES: &[&str] = &[
    "LINK_INVALID",
    "PAIRING_USED",
    "PAIRING_REFUSED",
    "WRONG_APP",
    "WRONG_SIDE",
    "TOO_MANY_TRIES",
    "NO_SUCH_PAIRING",
    "PAIRING_FORGED",
    "RELAY_UNREACHABLE",
    "RATE_LIMITED",
    "TOO_MANY_CONNECTIONS",
    "DRAINING",
    "TIMEOUT",
    "ACCESS_DENIED",
    "TOKEN_SPENT",
    "ALREADY_IN_GROUP",
    "REMOVED",
    "VERSION",
    "SUITE",
    "PROTOCOL",
    "DISK_FULL",
];

/// A page as wide as this in which making an invite ends so.
async fn begin_and_fail(app: &App, theme: &str, width: u32, code: &str) {
    let script = "
        const [theme, width, code] = args;
        window.asIs ??= window.fetch;
        const error = {
          code, message: 'The disk of this device is full. Free some space.', retryAfterMs: null,
          details: { reason: 'the disk of this device is full', nextStep: 'Free some space, then try again.', fault: 'person' },
        };
        // Tauri's own way from a page to a command.
        const answer = { headers: { 'Tauri-Response': 'error', 'Content-Type': 'application/json' } };
        window.fetch = (url, ...rest) =>
          decodeURIComponent(String(url)).includes('0ksync|invite')
            ? Promise.resolve(new Response(JSON.stringify(error), answer))
            : window.asIs(url, ...rest);
        document.body.style.maxWidth = `${width}px`;
        document.documentElement.style.background = theme === 'dark' ? '#0e1014' : '#f6f7f9';
        document.documentElement.style.color = theme === 'dark' ? '#eef1f6' : '#161a22';";
    begin(app, None).await;
    app.run(script, vec![json!(theme), json!(width), json!(code)]).await;
    app.run("document.querySelector('ksync-pair').setAttribute('theme', args[0]);", vec![json!(theme)]).await;
    press(app, "choose-add").await;
}

/// Everything that pairing takes can be done with the keyboard: from the first question to the end, and back from each screen.
#[tokio::test]
async fn two_people_pair_with_nothing_but_the_keyboard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone] = ["Laptop", "Phone"].map(|name| Device::new(path, name, &relay));
    let (a, b) = (laptop.start().await, phone.start().await);
    for app in [&a, &b] {
        begin(app, None).await;
    }
    // Escape leads back from each.
    part(&a, "choose-add").await;
    go_to(&a, "choose-add").await;
    keys(&a, ENTER).await;
    part(&a, "link").await;
    keys(&a, ESCAPE).await;
    part(&a, "choose-add").await;
    go_to(&a, "choose-add").await;
    keys(&a, ENTER).await;
    let uri = link(&a).await;
    part(&b, "choose-join").await;
    go_to(&b, "choose-join").await;
    keys(&b, ENTER).await;
    part(&b, "paste").await;
    keys(&b, &uri).await;
    keys(&b, ENTER).await;
    let shown = digits(&b).await;
    part(&a, "digit-input").await;
    keys(&a, &shown).await;
    keys(&a, ENTER).await;
    for app in [&a, &b] {
        part(app, "done").await;
        go_to(app, "done").await;
        look(app, "done").await;
        keys(app, ENTER).await;
        part(app, "choose-add").await;
    }
}

pub(super) const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";
pub(super) const ESCAPE: &str = "\u{e00c}";

/// Types where the keyboard is.
pub(super) async fn keys(app: &App, keys: &str) {
    let each =
        |typed: KeyActions, key: char| typed.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
    let typed = keys.chars().fold(KeyActions::new("keyboard".to_owned()), each);
    app.client().perform_actions(typed).await.unwrap();
}

/// Presses Tab until the keyboard is there, and sees that it shows.
pub(super) async fn go_to(app: &App, id: &str) {
    let at = "const at = document.activeElement?.shadowRoot?.activeElement;
              return at ? [at.dataset.testid ?? null, getComputedStyle(at).outlineStyle] : [null, null];";
    let arrived = async || app.run(at, vec![]).await[0] == id;
    for _ in 0..12 {
        if arrived().await {
            assert_ne!(app.run(at, vec![]).await[1], json!("none"), "{id} does not show that it has the keyboard");
            return;
        }
        keys(app, TAB).await;
    }
    panic!("the keyboard does not come to {id}");
}

/// Shows a code on the one and takes it on the other; gives the digits.
async fn meet(member: &App, newcomer: &App) -> String {
    begin(member, Some("add")).await;
    let link = link(member).await;
    begin(newcomer, Some("join")).await;
    connect(newcomer, &link).await;
    let digits = digits(newcomer).await;
    part(member, "digit-input").await;
    digits
}
