//! What the tests share: a relay, a screen and apps.

use std::time::Duration;

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

    /// The same, and its pairings want a native dialog that takes so long to read.
    pub(super) fn testbed_that_asks(&self, name: &str, windows: &str, to_read: Duration) -> Testbed {
        Testbed(self.testbed(name, windows).0.env("TESTBED_CONSENT", to_read.as_millis().to_string()))
    }

    /// One whose window `paths` may put and get files below a folder.
    pub(super) fn testbed_with_paths(&self, name: &str, windows: &str, folder: &std::path::Path) -> Testbed {
        Testbed(self.testbed(name, windows).0.env("TESTBED_SCOPE", folder.to_str().unwrap()))
    }

    /// One that finds the programs of this folder alone.
    pub(super) fn testbed_in(&self, name: &str, path: &str) -> Testbed {
        Testbed(self.testbed(name, "default").0.env("PATH", path))
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
        let app = self.start_alone().await;
        app.run("await window.__TAURI__.event.emit('open-windows');", vec![]).await;
        app
    }

    /// Its first window; the others open when it emits `open-windows`.
    pub(super) async fn start_alone(&self) -> App {
        self.0.start().await
    }
}

pub(super) async fn got(app: &App, texts: &[&str]) {
    let wanted = json!(texts);
    until(&format!("{wanted}"), async || (app.run("return window.got;", vec![]).await == wanted).then_some(())).await;
}
