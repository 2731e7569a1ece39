//! 0k Notes as a person uses it: what is on the screen, a camera, clicks, and keys.

use std::path::Path;

use serde_json::json;

use crate::app::test;
use crate::{App, Launch, Relay, Screen, decode, until, widget};

/// A device with 0k Notes on it, and a screen of its own.
#[derive(Debug)]
pub struct Device {
    screen: Screen,
    launch: Launch,
}

impl Device {
    /// A device of this name, with its data in a folder of that name.
    ///
    /// # Panics
    /// If its screen cannot be started.
    pub fn new(folder: &Path, name: &str, relay: &Relay) -> Self {
        let screen = Screen::start(1000, 700);
        let launch = Launch::new("ksync-notes", &screen, &folder.join(name));
        let launch = launch.env("KSYNC_RELAY", relay.address()).env("KSYNC_NAME", name);
        Self { screen, launch }
    }

    /// The same device, set to dark.
    #[must_use]
    pub fn dark(mut self) -> Self {
        self.launch = self.launch.env("GTK_THEME", "Adwaita:dark");
        self
    }

    /// Opens the app.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&self) -> App {
        self.launch.start().await
    }

    /// What is on its screen.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }
}

/// Clicks once nothing lies over it: WebKit's driver would click whatever does.
///
/// # Panics
/// If that cannot be done in time.
pub async fn click(app: &App, id: &str) {
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
///
/// # Panics
/// If it stays.
pub async fn close_dialog(app: &App) {
    let open = "return document.querySelectorAll('dialog[open]').length;";
    until("no dialog", async || {
        click(app, "close-dialog").await;
        (app.client().execute(open, vec![]).await.ok()? == 0).then_some(())
    })
    .await;
}

/// Pairs as two people do: the one device shows, a camera reads its screen, four digits are carried back. `picture` is where the
/// screenshot is put.
///
/// # Panics
/// If a step of it fails.
pub async fn pair(member: &Device, member_app: &App, newcomer_app: &App, picture: &Path) {
    for (app, way) in [(member_app, "add-device"), (newcomer_app, "join-device")] {
        click(app, "devices-button").await;
        click(app, way).await;
    }
    widget::part(member_app, "qr").await;
    let link = until("a QR code on the screen", async || {
        member.screen.picture(picture);
        decode(picture).into_iter().next()
    })
    .await;
    widget::connect(newcomer_app, &link).await;
    let digits = widget::digits(newcomer_app).await;
    widget::accept(member_app, &digits).await;
    for app in [member_app, newcomer_app] {
        widget::part(app, "done").await;
        click_done(app).await;
    }
}

async fn click_done(app: &App) {
    widget::press(app, "done").await;
    // The devices page lies under the pairing.
    close_dialog(app).await;
}

/// Writes a note as a person does.
///
/// # Panics
/// If that fails.
pub async fn write(app: &App, text: &str) {
    click(app, "new-note").await;
    type_on(app, text).await;
}

/// Goes on writing where the cursor is.
async fn type_on(app: &App, text: &str) {
    let editor = app.find(&format!("{} .cm-content", test("editor"))).await;
    editor.click().await.expect("the driver does it");
    // Of the keys, only this one starts a line.
    editor.send_keys(&text.replace('\n', "\u{e007}")).await.expect("the driver does it");
}

/// Waits until the list shows a note of this title.
///
/// # Panics
/// If it never does.
pub async fn sees(app: &App, title: &str) {
    until(&format!("the note «{title}»"), async || lists(app, title).await.then_some(())).await;
}

/// Whether the list shows a note of this title now.
///
/// # Panics
/// If the page cannot be read.
pub async fn lists(app: &App, title: &str) -> bool {
    let script = "return [...document.querySelectorAll('[data-testid=note-item]')].map((item) => item.textContent);";
    let items = app.client().execute(script, vec![]).await.expect("the driver does it");
    items
        .as_array()
        .expect("the driver does it")
        .iter()
        .any(|item| item.as_str().expect("the driver does it").contains(title))
}

/// Picks a file for the files page, which is open; its content is in base64. The system's own dialog for that cannot be steered.
///
/// # Panics
/// If the page is not there.
pub async fn pick(app: &App, name: &str, content: &str) {
    let script = "const bytes = Uint8Array.from(atob(args[1]), (letter) => letter.charCodeAt(0));
                  const picked = new DataTransfer();
                  picked.items.add(new File([bytes], args[0]));
                  const picker = document.querySelector('[data-testid=pick-files]');
                  picker.files = picked.files;
                  picker.dispatchEvent(new Event('change'));";
    app.run(script, vec![json!(name), json!(content)]).await;
}

/// Waits until the status line says this among other things.
///
/// # Panics
/// If it never does.
pub async fn says(app: &App, words: &str) {
    until(&format!("the status line says «{words}»"), async || {
        app.text(&test("status-line")).await?.contains(words).then_some(())
    })
    .await;
}
