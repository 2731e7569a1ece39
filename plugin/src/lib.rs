//! 0k-Sync for Tauri: end-to-end encrypted sync between a person's devices, as `sync.push()` in the webview.
//!
//! ```no_run
//! tauri::Builder::default()
//!     .plugin(tauri_plugin_0ksync::init())
//! #   ;
//! ```
//!
//! `tauri add 0ksync` writes that line. Nothing has to be configured; `plugins.0ksync` of `tauri.conf.json` takes a
//! [`Config`], and [`Builder`] the same in Rust. The webview's side is the npm package `tauri-plugin-0ksync-api`. An app's own
//! commands reach the client as `app.ksync().client().await`, see [`KsyncExt`].

mod alert_types;
mod commands;
mod config;
mod consent;
mod error;
mod file_calls;
mod file_paths;
mod file_types;
mod kit_types;
mod pages;
mod pairing_types;
mod pairings;
mod qr;
mod registry;
mod relay_types;
mod scratch;
mod state;
mod subscription_types;
mod subscriptions;
mod types;
mod wake_types;

#[cfg(feature = "specta")]
pub mod bindings;

use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "native-consent")]
use std::time::Duration;

use sync_client::{Code, SyncError};
use tauri::plugin::TauriPlugin;
use tauri::webview::PageLoadEvent;
use tauri::{DragDropEvent, Manager, RunEvent, Runtime, WebviewEvent, WindowEvent};

pub use config::{Config, FilesConfig};
pub use consent::ConsentRequest;
pub use error::{CommandError, ErrorDetails, ErrorFault};
pub use state::Ksync;
pub use sync_client;

use commands::{data, files, group, lifecycle, pairing, recovery, vault};
use config::Choices;
use consent::Consent;

/// The plugin, set up by `tauri.conf.json` alone. Never fails: what keeps the client from opening is the error of each call.
pub fn init<R: Runtime>() -> TauriPlugin<R, Option<Config>> {
    Builder::new().build()
}

/// The client of an app, from anything that knows the app.
pub trait KsyncExt<R: Runtime> {
    /// The plugin's state.
    ///
    /// # Panics
    /// If the plugin was not added to the app.
    fn ksync(&self) -> &Ksync;
}

impl<R: Runtime, T: Manager<R>> KsyncExt<R> for T {
    fn ksync(&self) -> &Ksync {
        self.state::<Arc<Ksync>>().inner()
    }
}

/// The plugin, set up in Rust. What is said here goes before what `tauri.conf.json` says.
#[derive(Debug, Default)]
pub struct Builder {
    choices: Choices,
    consent: Asks,
}

/// Who is asked whether a device may be paired, besides the page.
#[derive(Debug, Default)]
enum Asks {
    #[default]
    Nobody,
    #[cfg(feature = "native-consent")]
    Native(consent::Times),
    By(Consent),
}

impl Builder {
    /// Everything as the configuration file says, or by default.
    pub fn new() -> Self {
        Self::default()
    }

    /// The relay's address, as [`Config::relay`].
    #[must_use]
    pub fn relay(mut self, address: impl Into<String>) -> Self {
        self.choices.file.relay = Some(address.into());
        self
    }

    /// What people call this device, as [`Config::device_name`].
    #[must_use]
    pub fn device_name(mut self, name: impl Into<String>) -> Self {
        self.choices.file.device_name = Some(name.into());
        self
    }

    /// Where a new device keeps the key that seals its data, as [`Config::vault`].
    #[must_use]
    pub fn vault(mut self, kind: sync_client::VaultKind) -> Self {
        self.choices.file.vault = Some(kind.as_str().to_owned());
        self
    }

    /// Whether this device leaves its snapshots for the recovery kit, as [`Config::kit_snapshots`].
    #[must_use]
    pub fn kit_snapshots(mut self, leave: bool) -> Self {
        self.choices.file.kit_snapshots = Some(leave);
        self
    }

    /// Where the policy for files begins, as [`Config::files`]: all of it goes before the file, not key by key. A page changes it by
    /// `sync.files.setPolicy`.
    #[must_use]
    pub fn files(mut self, policy: sync_client::FilesPolicy) -> Self {
        self.choices.file.files = Some(policy.into());
        self
    }

    /// What opens a device's data that is locked by a passphrase, and locks a new one's. A page can give it too, by `sync.unlock`.
    #[must_use]
    pub fn passphrase(mut self, passphrase: sync_client::Passphrase) -> Self {
        self.choices.passphrase = Some(passphrase);
        self
    }

    /// The folder with this device's data. By default `0ksync` in the app's local data folder.
    #[must_use]
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.choices.home = Some(folder.into());
        self
    }

    /// Pairs nothing unless a person agrees in a native dialog too, so that script in a page cannot.
    #[cfg(feature = "native-consent")]
    #[must_use]
    pub fn native_consent(mut self) -> Self {
        self.consent = Asks::Native(consent::Times::default());
        self
    }

    /// [`Builder::native_consent`] with times that a test can hold to: how soon a yes counts, and for how long nobody is asked after
    /// a no.
    #[cfg(feature = "native-consent")]
    #[doc(hidden)]
    #[must_use]
    pub fn native_consent_in_tests(mut self, to_read: Duration, quiet: Duration) -> Self {
        self.consent = Asks::Native(consent::Times { to_read, quiet });
        self
    }

    /// Pairs nothing unless this agrees too: for apps with a way of their own to ask a person outside of the page.
    #[must_use]
    pub fn consent_by<F>(mut self, ask: impl Fn(ConsentRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.consent = Asks::By(Consent::by(consent::QUIET, ask));
        self
    }

    /// The plugin.
    pub fn build<R: Runtime>(self) -> TauriPlugin<R, Option<Config>> {
        tauri::plugin::Builder::<R, Option<Config>>::new("0ksync")
            .invoke_handler(tauri::generate_handler![
                data::push,
                data::snapshot,
                data::presence,
                data::wait,
                data::skip,
                data::subscribe,
                data::ack,
                data::handler_failed,
                data::unsubscribe,
                data::listen,
                data::unlisten,
                group::status,
                group::doctor,
                group::devices,
                group::alerts,
                group::alerts_seen,
                group::remove_device,
                group::set_relays,
                group::give_up_first_relay,
                group::move_to_suite,
                group::leave,
                group::reset,
                lifecycle::foreground,
                lifecycle::background,
                lifecycle::wake,
                lifecycle::set_wake_target,
                lifecycle::wake_key,
                pairing::invite,
                pairing::join,
                pairing::request_join,
                pairing::pairing_check,
                pairing::pairing_consent,
                pairing::pairing_cancel,
                vault::unlock,
                vault::set_vault,
                vault::backup_export,
                vault::backup_import,
                vault::backup_cancel,
                recovery::make_recovery_kit,
                recovery::recover,
                files::file_put,
                files::file_put_bytes,
                files::file_get,
                files::file_read,
                files::file_wait_given,
                files::file_cancel,
                files::file_list,
                files::file_remove,
                files::file_policy,
                files::file_set_policy,
            ])
            .setup(move |app, api| {
                let data = app.path().app_local_data_dir();
                let data =
                    data.map_err(|e| SyncError::new(Code::Io, format!("the system names no folder for data: {e}")));
                let id = &app.config().identifier;
                let config = data.and_then(|data| self.choices.client(api.config().as_ref(), id, &data));
                let consent = match self.consent {
                    Asks::Nobody => Consent::default(),
                    #[cfg(feature = "native-consent")]
                    Asks::Native(times) => Consent::native(app, times),
                    Asks::By(consent) => consent,
                };
                let ksync = Arc::new(Ksync::new(config, consent));
                app.manage(ksync.clone());
                let cache = app.path().app_cache_dir();
                // Connects at the start, not at the first call.
                tauri::async_runtime::spawn(async move {
                    if let Err(error) = ksync.client().await {
                        tracing::error!(%error, "the sync client cannot be opened; each call tries again");
                        // Another process of the app is at work, and what lies there is that one's.
                        if error.code == Code::HomeBusy {
                            return;
                        }
                    }
                    // Also if the vault is locked, say: the home was free, and who has it is asked ahead of that.
                    if let Some(Err(error)) = cache.ok().map(|cache| scratch::tidy(&cache)) {
                        tracing::warn!(%error, "what an earlier process left in the app's cache stays there");
                    }
                });
                Ok(())
            })
            .on_page_load(|webview, payload| {
                if payload.event() == PageLoadEvent::Started {
                    webview.ksync().page_is_gone(webview.label());
                }
            })
            .on_event(|app, event| match event {
                RunEvent::WindowEvent { label, event: WindowEvent::Destroyed, .. } => app.ksync().window_is_gone(label),
                // Ahead of the page's own event: when that hears of the files, it may put them.
                RunEvent::WindowEvent {
                    label,
                    event: WindowEvent::DragDrop(DragDropEvent::Drop { paths, .. }),
                    ..
                }
                | RunEvent::WebviewEvent {
                    label,
                    event: WebviewEvent::DragDrop(DragDropEvent::Drop { paths, .. }),
                    ..
                } => app.ksync().dropped(label, paths),
                RunEvent::Exit => app.state::<Arc<Ksync>>().inner().clone().exit(),
                _ => {}
            })
            .build()
    }
}
