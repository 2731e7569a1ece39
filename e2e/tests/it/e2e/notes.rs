//! The example app as two people use it: windows, a QR on the screen, text that is typed.

use std::path::Path;

use fantoccini::elements::Element;
use ksync_e2e::{App, Launch, Relay, Screen, decode, until};
use serde_json::json;

/// An app with a screen of its own, as every device has.
struct Device {
    screen: Screen,
    launch: Launch,
}

impl Device {
    fn new(folder: &Path, name: &str, relay: &Relay) -> Self {
        let screen = Screen::start(1000, 700);
        let launch = Launch::new("ksync-notes", &screen, &folder.join(name));
        let launch = launch.env("KSYNC_RELAY", relay.address()).env("KSYNC_NAME", name);
        Self { screen, launch }
    }

    async fn start(&self) -> App {
        self.launch.start().await
    }
}

fn test(id: &str) -> String {
    format!("[data-testid={id}]")
}

/// Clicks once nothing lies over it: WebKit's driver would click whatever does.
async fn click(app: &App, id: &str) {
    let css = test(id);
    let free = "const element = document.querySelector(arguments[0]);
                if (!element) return false;
                const box = element.getBoundingClientRect();
                const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return element.contains(top);";
    until(&format!("a click on {id}"), async || {
        let is_free = app.client().execute(free, vec![json!(css)]).await.ok()?;
        if is_free != true {
            return None;
        }
        app.client().find(fantoccini::Locator::Css(&css)).await.ok()?.click().await.ok()
    })
    .await;
}

/// Closes what lies over the page. More than one click may be wanted: the driver's goes astray while dialogs come and go.
async fn close_dialog(app: &App) {
    let open = "return document.querySelectorAll('dialog[open]').length;";
    until("no dialog", async || {
        click(app, "close-dialog").await;
        (app.client().execute(open, vec![]).await.ok()? == 0).then_some(())
    })
    .await;
}

/// An element inside of the pairing widget.
async fn widget(app: &App, id: &str) -> Element {
    let script = "return document.querySelector('ksync-pair')?.shadowRoot.querySelector(arguments[0]) ?? null;";
    until(&format!("{id} in the widget"), async || {
        let found = app.client().execute(script, vec![json!(test(id))]).await.ok()?;
        let id = found.as_object()?.values().next()?.as_str()?.to_owned();
        Some(Element::from_element_id(app.client().clone(), id.into()))
    })
    .await
}

/// Pairs as two people do: the one device shows, a camera reads its screen, four digits are carried back.
async fn pair(member: &Device, member_app: &App, newcomer_app: &App, picture: &Path) {
    for (app, way) in [(member_app, "add-device"), (newcomer_app, "join-device")] {
        click(app, "devices-button").await;
        click(app, way).await;
    }
    widget(member_app, "qr").await;
    let link = until("a QR code on the screen", async || {
        member.screen.picture(picture);
        decode(picture).into_iter().next()
    })
    .await;
    widget(newcomer_app, "paste").await.send_keys(&link).await.unwrap();
    widget(newcomer_app, "connect").await.click().await.unwrap();
    let digits = widget(newcomer_app, "digits").await;
    let digits = until("four digits", async || {
        let shown: String = digits.text().await.ok()?.chars().filter(char::is_ascii_digit).collect();
        (shown.len() == 4).then_some(shown)
    })
    .await;
    widget(member_app, "digit-input").await.send_keys(&digits).await.unwrap();
    widget(member_app, "add").await.click().await.unwrap();
    for app in [member_app, newcomer_app] {
        widget(app, "done").await;
        click_done(app).await;
    }
}

async fn click_done(app: &App) {
    widget(app, "done").await.click().await.unwrap();
    // The devices page lies under the pairing.
    close_dialog(app).await;
}

/// Writes a note as a person does.
async fn write(app: &App, text: &str) {
    click(app, "new-note").await;
    type_on(app, text).await;
}

async fn type_on(app: &App, text: &str) {
    let editor = app.find(&format!("{} .cm-content", test("editor"))).await;
    editor.click().await.unwrap();
    // Of the keys, only this one starts a line.
    editor.send_keys(&text.replace('\n', "\u{e007}")).await.unwrap();
}

/// Waits until the list shows a note of this title.
async fn sees(app: &App, title: &str) {
    until(&format!("the note «{title}»"), async || lists(app, title).await.then_some(())).await;
}

async fn lists(app: &App, title: &str) -> bool {
    let script = "return [...document.querySelectorAll('[data-testid=note-item]')].map((item) => item.textContent);";
    let items = app.client().execute(script, vec![]).await.unwrap();
    items.as_array().unwrap().iter().any(|item| item.as_str().unwrap().contains(title))
}

async fn says(app: &App, words: &str) {
    until(&format!("the status line says «{words}»"), async || {
        app.text(&test("status-line")).await?.contains(words).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_windows_pair_by_the_qr_on_the_screen_and_share_notes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone, tablet] = ["Laptop", "Phone", "Tablet"].map(|name| Device::new(path, name, &relay));
    let (a, b) = (laptop.start().await, phone.start().await);
    pair(&laptop, &a, &b, &path.join("qr.png")).await;

    write(&a, "Shopping\nmilk").await;
    sees(&b, "Shopping").await;
    write(&b, "Holidays\nsea").await;
    sees(&a, "Holidays").await;
    says(&a, "Everything is on both devices").await;

    // One is away, and catches up.
    b.quit().await;
    write(&a, "While you were away").await;
    let b = phone.start().await;
    sees(&b, "While you were away").await;
    sees(&b, "Shopping").await;

    // A third one comes to notes that are there.
    let c = tablet.start().await;
    pair(&laptop, &a, &c, &path.join("qr3.png")).await;
    sees(&c, "Shopping").await;
    sees(&c, "While you were away").await;
    says(&a, "Everything is on all 3 devices").await;

    // And is removed: it can neither read nor write.
    click(&a, "devices-button").await;
    let row = "return [...document.querySelectorAll('[data-testid=device-item]')].find((row) => row.textContent.includes('Tablet'))
               ?.querySelector('[data-testid=remove-device]') ?? null;";
    let remove = until("the way to remove the tablet", async || {
        let found = a.client().execute(row, vec![]).await.ok()?;
        let id = found.as_object()?.values().next()?.as_str()?.to_owned();
        Some(Element::from_element_id(a.client().clone(), id.into()))
    })
    .await;
    remove.click().await.unwrap();
    click(&a, "confirm-remove").await;
    c.find(&test("banner")).await;
    close_dialog(&a).await;
    write(&a, "Without the tablet").await;
    sees(&b, "Without the tablet").await;
    // Nor does it help to go round the app's own words.
    let pushed = c
        .script("await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|push', [120], { headers: { 'ksync-channel': 'notes' } });", vec![])
        .await;
    assert_eq!(pushed.unwrap_err()["code"], "REMOVED");
    assert!(!lists(&c, "Without the tablet").await);
}
