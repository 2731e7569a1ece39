//! What the tests share: a relay and apps, and two pages that pair.

use ksync_e2e::{App, Launch, Relay, Screen, until};
use serde_json::json;

/// A relay, a screen, and apps on both.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) screen: Screen,
    pub(super) relay: Relay,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::start(&folder.path().join("relay")).await;
        Self { screen: Screen::start(1280, 900), relay, folder }
    }

    pub(super) fn testbed(&self, name: &str, windows: &str) -> Testbed {
        let launch = Launch::new("ksync-testbed", &self.screen, &self.folder.path().join(name));
        let launch = launch.env("KSYNC_RELAY", self.relay.address()).env("KSYNC_NAME", name);
        Testbed(launch.env("TESTBED_WINDOWS", windows))
    }
}

/// The testbed app with its windows.
pub(super) struct Testbed(Launch);

impl Testbed {
    pub(super) async fn start(&self) -> App {
        let app = self.0.start().await;
        app.run("await window.__TAURI__.event.emit('open-windows');", vec![]).await;
        app
    }
}

/// Pairs two apps in their pages: the first one shows, the second one takes the link.
pub(super) async fn pair(member: &App, newcomer: &App) {
    let uri = member
        .run(
            "window.invite = await window.__TAURI__.ksync.invite();
             window.asked = new Promise((resolve) => window.invite.onRequest(resolve));
             return window.invite.uri;",
            vec![],
        )
        .await;
    newcomer
        .run(
            "window.digits = new Promise((resolve) => {
               window.joined = window.__TAURI__.ksync.join(args[0], { onCheck: resolve });
             });",
            vec![uri],
        )
        .await;
    let digits = newcomer.run("return await window.digits;", vec![]).await;
    member
        .run(
            "const request = await window.asked; await request.accept(args[0]); await window.invite.done;",
            vec![digits],
        )
        .await;
    newcomer.run("await window.joined;", vec![]).await;
}

/// Collects what a page is handed in `window.got`.
pub(super) const COLLECT: &str = "window.got = [];
    window.stop = await window.__TAURI__.ksync.subscribe('notes', async (blob) => { window.got.push(blob.text()); }, args[0] || {});";

pub(super) async fn got(app: &App, texts: &[&str]) {
    let wanted = json!(texts);
    until(&format!("{wanted}"), async || (app.run("return window.got;", vec![]).await == wanted).then_some(())).await;
}
