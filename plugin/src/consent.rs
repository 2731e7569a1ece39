//! Whether a person has to agree outside the webview before devices are paired. A page with injected script can press every
//! button of its own; it cannot press one of a native dialog.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sync_client::{Code, SyncError};

/// A yes that comes sooner was meant for what was there before the dialog: a page may open it while somebody types. It is asked again.
/// Browsers wait before they take an answer to a permission prompt, for the same reason.
#[cfg(feature = "native-consent")]
const TIME_TO_READ: Duration = Duration::from_secs(1);

/// How long nobody is asked again after a no, so that script which asks without end does not wear anybody out.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// What the person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsentRequest {
    /// Whether a device may come into the group and read everything.
    Add {
        /// What the device calls itself. Anybody may call a device anything.
        name: String,
        /// The four digits that it shows, where pairing asks for them. They were typed in the page, and no other device than the
        /// one that shows them is added.
        digits: Option<String>,
    },
    /// Whether this device may go into another group, and take what it holds along.
    Join,
    /// Whether words may be shown with which anybody can take the group over.
    RecoveryKit,
    /// Whether this device may take a group over by its recovery kit, and remove all others.
    Recover,
}

impl fmt::Display for ConsentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { name, digits } => {
                write!(f, "Add «{name}» to your devices? It will be able to read everything that is synced.")?;
                digits.as_ref().map_or(Ok(()), |digits| write!(f, " Agree only if it shows {digits}."))
            }
            Self::RecoveryKit => {
                f.write_str("Show a recovery kit? Whoever reads its words can take over everything that is synced.")
            }
            Self::Recover => f.write_str("Recover by the kit? All other devices of the group will be removed."),
            Self::Join => f.write_str("Connect this device with another one? Everything here will be shared with it."),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;
type Ask = dyn Fn(ConsentRequest) -> Answer + Send + Sync;

/// [`TIME_TO_READ`] and [`QUIET`], or what a test has in their place.
#[cfg(feature = "native-consent")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) to_read: Duration,
    pub(crate) quiet: Duration,
}

#[cfg(feature = "native-consent")]
impl Default for Times {
    fn default() -> Self {
        Self { to_read: TIME_TO_READ, quiet: QUIET }
    }
}

/// Who asks the person. One thing at a time: dialogs on top of each other hide what a press answers.
#[derive(Clone, Default)]
pub(crate) struct Consent(Option<Arc<Asker>>);

struct Asker {
    ask: Box<Ask>,
    quiet: Duration,
    /// Held while the person is asked, whether or not the page that wanted it is still there.
    turn: Arc<tokio::sync::Mutex<()>>,
    refused: Mutex<Option<Instant>>,
}

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Consent(asks)" } else { "Consent(in the webview)" })
    }
}

impl Consent {
    /// Asks nobody for so long after a no.
    pub(crate) fn by<F>(quiet: Duration, ask: impl Fn(ConsentRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let ask = Box::new(move |request| -> Answer { Box::pin(ask(request)) });
        Self(Some(Arc::new(Asker { ask, quiet, turn: Arc::default(), refused: Mutex::default() })))
    }

    /// A dialog of the platform.
    #[cfg(feature = "native-consent")]
    pub(crate) fn native<R: tauri::Runtime>(app: &tauri::AppHandle<R>, times: Times) -> Self {
        let app = app.clone();
        Self::by(times.quiet, move |request| native::ask(app.clone(), request, times.to_read))
    }

    /// Asks, if the person has to be asked here.
    ///
    /// # Errors
    /// [`Code::PairingRefused`] if the person said no, now or a moment ago, or is being asked something else.
    pub(crate) async fn ask(&self, request: ConsentRequest) -> Result<(), SyncError> {
        let refused = |message| SyncError::new(Code::PairingRefused, message);
        let Some(asker) = self.0.clone() else { return Ok(()) };
        let Ok(turn) = asker.turn.clone().try_lock_owned() else {
            return Err(refused("a dialog on this device still waits for the answer to an earlier question"));
        };
        if let Some(quiet) = asker.quiet() {
            let mut error = refused("it was refused in the dialog on this device a moment ago");
            error.retry_after_ms = u64::try_from(quiet.as_millis()).ok();
            return Err(error);
        }
        // Goes on without the page: its dialog stays, and the next one waits for it.
        let answer = tauri::async_runtime::spawn(async move {
            let yes = (asker.ask)(request).await;
            if !yes {
                *asker.refused() = Some(Instant::now());
            }
            drop(turn);
            yes
        });
        let yes = answer.await.unwrap_or(false);
        yes.then_some(()).ok_or_else(|| refused("it was refused in the dialog on this device"))
    }
}

impl Asker {
    fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long nobody is asked.
    fn quiet(&self) -> Option<Duration> {
        let refused = (*self.refused())?;
        self.quiet.checked_sub(refused.elapsed()).filter(|left| !left.is_zero())
    }
}

#[cfg(feature = "native-consent")]
mod native {
    use std::time::{Duration, Instant};

    use tauri::plugin::{Plugin, TauriPlugin};
    use tauri::{AppHandle, Manager, Runtime};
    use tauri_plugin_dialog::{Dialog, DialogExt, MessageDialogButtons, MessageDialogKind};

    use super::ConsentRequest;

    /// Dialogs for this plugin alone. Added whole, the dialog plugin would put its own `alert()` and `confirm()` into each window that
    /// opens later, and answer pages.
    struct Dialogs<R: Runtime>(TauriPlugin<R>);

    impl<R: Runtime> Plugin<R> for Dialogs<R> {
        fn name(&self) -> &'static str {
            "0ksync-dialogs"
        }

        fn initialize(
            &mut self,
            app: &AppHandle<R>,
            config: serde_json::Value,
        ) -> Result<(), Box<dyn std::error::Error>> {
            self.0.initialize(app, config)
        }
    }

    pub(super) async fn ask<R: Runtime>(app: AppHandle<R>, request: ConsentRequest, to_read: Duration) -> bool {
        // An app that uses dialogs itself has added them already. They cannot be added while plugins are set up: Tauri holds the
        // lock on all of them then.
        if app.try_state::<Dialog<R>>().is_none()
            && let Err(error) = app.plugin(Dialogs(tauri_plugin_dialog::init()))
        {
            tracing::error!(%error, "there are no dialogs, so nobody can be asked: it counts as a no");
            return false;
        }
        loop {
            let (tell, told) = tokio::sync::oneshot::channel();
            let yes = match request {
                ConsentRequest::Add { .. } => "Add",
                ConsentRequest::Join => "Connect",
                ConsentRequest::RecoveryKit => "Show",
                ConsentRequest::Recover => "Recover",
            };
            let buttons = MessageDialogButtons::OkCancelCustom(yes.to_owned(), "Refuse".to_owned());
            let title = app.package_info().name.clone();
            let dialog = app.dialog().message(request.to_string()).title(title);
            let dialog = dialog.kind(MessageDialogKind::Warning).buttons(buttons);
            // The time counts from when it shows: the main thread may be busy until then.
            let shown = app.run_on_main_thread(move || {
                let shown = Instant::now();
                dialog.show(move |answer| {
                    // The app may have ended meanwhile.
                    let _ = tell.send((answer, shown.elapsed()));
                });
            });
            if let Err(error) = shown {
                tracing::error!(%error, "no dialog can be shown, so nobody can be asked: it counts as a no");
                return false;
            }
            let Ok((answer, after)) = told.await else { return false };
            if !answer || after >= to_read {
                return answer;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Notify, Semaphore};

    use super::*;

    fn add() -> ConsentRequest {
        ConsentRequest::Add { name: "Pixel 9".to_owned(), digits: Some("0417".to_owned()) }
    }

    #[tokio::test]
    async fn a_no_refuses_and_nobody_is_asked_without_the_option() {
        assert_eq!(Consent::default().ask(ConsentRequest::Join).await, Ok(()));
        let never = Consent::by(QUIET, async |_| false);
        assert_eq!(never.ask(ConsentRequest::Join).await.unwrap_err().code, Code::PairingRefused);
        let told = Consent::by(QUIET, async |request: ConsentRequest| {
            let words = request.to_string();
            words.contains("«Pixel 9»") && words.contains("shows 0417")
        });
        assert_eq!(told.ask(add()).await, Ok(()));
    }

    #[tokio::test]
    async fn after_a_no_nobody_is_asked_for_a_while() {
        let (asked, count) = (Arc::new(Mutex::new(0)), |asked: &Mutex<u32>| *asked.lock().unwrap());
        let counted = asked.clone();
        let never = Consent::by(Duration::from_hours(24), move |_| {
            *counted.lock().unwrap() += 1;
            async { false }
        });
        assert_eq!(never.ask(add()).await.unwrap_err().retry_after_ms, None);
        let again = never.ask(add()).await.unwrap_err();
        assert_eq!((again.code, again.retry_after_ms.is_some()), (Code::PairingRefused, true));
        assert_eq!(count(&asked), 1);
    }

    #[tokio::test]
    async fn once_that_while_is_over_somebody_is_asked_again() {
        let never = Consent::by(Duration::ZERO, async |_| false);
        for _ in 0..2 {
            assert_eq!(never.ask(add()).await.unwrap_err().retry_after_ms, None);
        }
    }

    #[tokio::test]
    async fn one_thing_is_asked_at_a_time_even_when_its_page_is_gone() {
        let (shown, presses) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
        let (show, pressed) = (shown.clone(), presses.clone());
        let dialogs = Consent::by(QUIET, move |_| {
            let (show, pressed) = (show.clone(), pressed.clone());
            async move {
                show.notify_one();
                pressed.acquire().await.unwrap().forget();
                true
            }
        });
        tokio::select! {
            _ = dialogs.ask(add()) => panic!("nobody has answered"),
            () = shown.notified() => {}
        }
        // The page that asked is gone, and its dialog is still there.
        let second = dialogs.ask(ConsentRequest::Join).await.unwrap_err();
        assert!(second.message.contains("earlier question"), "{second}");
        presses.add_permits(2);
        while dialogs.ask(ConsentRequest::Join).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
