//! An app in a window, steered through WebKit's WebDriver.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::driver::Driver;
use crate::hands::{Hands, Key};
use crate::{LIMIT, Screen};

/// How often something that is waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `look` gives something.
///
/// # Panics
/// If that takes longer than [`LIMIT`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        // A driver that has no answer would be waited for without end.
        let left = LIMIT.saturating_sub(began.elapsed());
        let looked = tokio::time::timeout(left, look()).await;
        if let Some(found) = looked.unwrap_or_else(|_| panic!("waited in vain for {what}")) {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// An app that is about to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    profile: PathBuf,
    display: String,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// The app of this name from the workspace, on this screen, with a profile (its data, its cache) of its own.
    pub fn new(program: &str, screen: &Screen, profile: &Path) -> Self {
        Self::of(&programs().join(program), screen, profile)
    }

    /// The app that this program is.
    pub fn of(program: &Path, screen: &Screen, profile: &Path) -> Self {
        let (program, profile) = (program.to_owned(), profile.to_owned());
        Self { program, profile, display: screen.display().to_owned(), environment: vec![] }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it, and waits for its first window.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&self) -> App {
        std::fs::create_dir_all(&self.profile).expect("the profile can be made");
        let mut command = Command::new("WebKitWebDriver");
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("KSYNC_")));
        command.env("DISPLAY", &self.display).env("TAURI_WEBVIEW_AUTOMATION", "true").env("GDK_BACKEND", "x11");
        // There is no graphics card here.
        command.env("WEBKIT_DISABLE_DMABUF_RENDERER", "1").env("LIBGL_ALWAYS_SOFTWARE", "1");
        // Nobody reads the accessibility bus, and looking for it takes time.
        command.env("NO_AT_BRIDGE", "1").env("GIO_USE_VFS", "local").env("GSETTINGS_BACKEND", "memory");
        for (name, folder) in [("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config")] {
            command.env(name, self.profile.join(folder));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let path = self.profile.join("log");
        let log = File::options().create(true).append(true).open(&path).expect("the log can be made");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let (driver, port) = Driver::start(&mut command, &path).await;
        let mut wanted = Capabilities::new();
        wanted.insert("webkitgtk:browserOptions".to_owned(), json!({ "binary": self.program, "args": [] }));
        // A driver gives a script that waits half a minute.
        wanted.insert("timeouts".to_owned(), json!({ "script": LIMIT.as_millis() as u64 }));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted);
        let client = tokio::time::timeout(LIMIT, builder.connect(&format!("http://127.0.0.1:{port}"))).await;
        let client = client.expect("the app starts in time").unwrap_or_else(|e| {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            panic!("{} does not start: {e}\n{log}", self.program.display())
        });
        App { client, driver, profile: self.profile.clone(), display: self.display.clone() }
    }
}

/// An app that runs.
#[derive(Debug)]
pub struct App {
    client: Client,
    driver: Driver,
    profile: PathBuf,
    display: String,
}

impl App {
    /// The WebDriver session, for what has no method here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The app's process.
    ///
    /// # Panics
    /// If it has ended.
    pub fn id(&self) -> u32 {
        *self.driver.children().first().expect("the app runs")
    }

    /// What the app and its driver wrote to their standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.profile.join("log")).unwrap_or_default()
    }

    /// Goes on with the window of this label.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn window(&self, label: &str) {
        let script = "return window.__TAURI_INTERNALS__.metadata.currentWindow.label;";
        let mut seen = Vec::new();
        let look = async {
            loop {
                seen.clear();
                for handle in self.client.windows().await.unwrap_or_default() {
                    // Not each one answers at once: pages are being loaded, windows closed.
                    let found = match self.client.switch_to_window(handle).await {
                        Ok(()) => self.client.execute(script, vec![]).await,
                        Err(error) => Err(error),
                    };
                    match found {
                        Ok(found) if found == label => return,
                        found => seen.push(found.map_or_else(|error| error.to_string(), |other| other.to_string())),
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, look).await;
        assert!(found.is_ok(), "there is no window {label}, but {seen:?}; {}", self.log());
    }

    /// Runs an asynchronous function's body in the page and gives what it returns. What it throws comes back as
    /// `Err({ code, message })`.
    ///
    /// # Panics
    /// If the page cannot be reached, or takes longer than [`LIMIT`].
    pub async fn script(&self, body: &str, arguments: Vec<Value>) -> Result<Value, Value> {
        let wrapped = format!(
            "const done = arguments[arguments.length - 1]; const args = Array.from(arguments).slice(0, -1);
             (async () => {{ {body} }})().then(
               (value) => done({{ value: value === undefined ? null : value }}),
               (error) => done({{ error: {{ code: error && error.code, message: String((error && error.message) || error) }} }}),
             );"
        );
        let ran = tokio::time::timeout(LIMIT, self.client.execute_async(&wrapped, arguments)).await;
        let mut result = ran.expect("the script ends in time").unwrap_or_else(|e| panic!("{e}\n{body}"));
        match result.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(result["value"].take()),
        }
    }

    /// [`App::script`] that has to succeed.
    ///
    /// # Panics
    /// If it throws.
    pub async fn run(&self, body: &str, arguments: Vec<Value>) -> Value {
        self.script(body, arguments).await.unwrap_or_else(|error| panic!("{error}\n{body}\n{}", self.log()))
    }

    /// The element, waited for.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn find(&self, css: &str) -> Element {
        until(css, async || self.client.find(Locator::Css(css)).await.ok()).await
    }

    /// The text of an element that is there now.
    pub async fn text(&self, css: &str) -> Option<String> {
        self.client.find(Locator::Css(css)).await.ok()?.text().await.ok()
    }

    /// A picture of its screen, in a file. The driver's own pictures are not used: now and then one never comes.
    ///
    /// # Panics
    /// If none can be taken.
    pub fn picture(&self, path: &Path) {
        crate::screen::picture(&self.display, path);
    }

    /// Waits for a window of the app that is no page, by its title, and presses a key in it.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn press_in(&self, title: &str, key: Key) {
        let (hands, process) = (Hands::at(&self.display), self.id());
        let window = until(title, async || hands.window_of(process, title)).await;
        hands.press(window, key);
        until("the window's end", async || (hands.window_of(process, title) != Some(window)).then_some(())).await;
    }

    /// Whether the app shows a window of this title.
    ///
    /// # Panics
    /// If the screen is gone.
    pub fn shows(&self, title: &str) -> bool {
        Hands::at(&self.display).window_of(self.id(), title).is_some()
    }

    /// Closes its windows as a person does, and waits until its process has ended. Gives how long that took.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn quit(self) -> Duration {
        let id = self.id();
        // Not through the driver: that ends the app with its last window, as a crash would.
        let hands = Hands::at(&self.display);
        let began = Instant::now();
        hands.close_all_of(id);
        until("the app's end", async || (!runs(id)).then_some(())).await;
        began.elapsed()
    }

    /// Ends it as a crash would.
    pub fn kill(self) {
        drop(self);
    }
}

/// The selector of what programs call this.
pub(crate) fn test(id: &str) -> String {
    format!("[data-testid={id}]")
}

fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The folder with the workspace's programs, which are built from the present sources once for each run of the tests.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // With `--workspace` and a test the features are those of the tests' own build, so nothing is built a second time.
        cargo.args("build --quiet --workspace --bin ksync-testbed --bin ksync-notes --test it".split(' '));
        // They describe this package. Build scripts that look at them, as ring's does, would run once more, and all that lies
        // above be built anew.
        let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        assert!(cargo.current_dir(&root).status().is_ok_and(|s| s.success()), "the apps do not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("debug")
    })
}
