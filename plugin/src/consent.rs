//! Whether a person has to agree outside the webview before devices are paired. A page with injected script can press every
//! button of its own; it cannot press one of a native dialog.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "native-consent")]
use std::time::{Duration, Instant};

use sync_client::{Code, SyncError};

/// A yes that comes sooner was meant for what was there before the dialog: a page may open it while somebody types. It is asked again.
/// Browsers wait before they take an answer to a permission prompt, for the same reason.
#[cfg(feature = "native-consent")]
const TIME_TO_READ: Duration = Duration::from_secs(1);

/// What the person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsentRequest {
    /// Whether a device of this name may come into the group and read everything.
    Add {
        /// What the device calls itself. Anybody may call a device anything.
        name: String,
    },
    /// Whether this device may go into another group, and take what it holds along.
    Join,
}

impl fmt::Display for ConsentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { name } => {
                write!(f, "Add «{name}» to your devices? It will be able to read everything that is synced.")
            }
            Self::Join => f.write_str("Connect this device with another one? Everything here will be shared with it."),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Who asks the person.
#[derive(Clone, Default)]
pub(crate) struct Consent(Option<Arc<dyn Fn(ConsentRequest) -> Answer + Send + Sync>>);

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Consent(asks)" } else { "Consent(in the webview)" })
    }
}

impl Consent {
    pub(crate) fn by<F>(ask: impl Fn(ConsentRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self(Some(Arc::new(move |request| Box::pin(ask(request)))))
    }

    /// The native dialog of the platform, on top of the app's windows.
    #[cfg(feature = "native-consent")]
    pub(crate) fn native<R: tauri::Runtime>(app: &tauri::AppHandle<R>) -> Self {
        use tauri::Manager as _;
        use tauri_plugin_dialog::{Dialog, DialogExt, MessageDialogButtons, MessageDialogKind};
        let app = app.clone();
        Self::by(move |request| {
            let app = app.clone();
            async move {
                // An app that uses dialogs itself has added this already. It cannot be added while plugins are set up: Tauri holds
                // the lock on all of them then.
                if app.try_state::<Dialog<R>>().is_none()
                    && let Err(error) = app.plugin(tauri_plugin_dialog::init())
                {
                    tracing::error!(%error, "there are no dialogs, so nobody can be asked: it counts as a no");
                    return false;
                }
                loop {
                    let (tell, told) = tokio::sync::oneshot::channel();
                    let yes = if request == ConsentRequest::Join { "Connect" } else { "Add" };
                    let buttons = MessageDialogButtons::OkCancelCustom(yes.to_owned(), "Refuse".to_owned());
                    let title = app.package_info().name.clone();
                    let dialog = app.dialog().message(request.to_string()).title(title);
                    let shown = Instant::now();
                    dialog.kind(MessageDialogKind::Warning).buttons(buttons).show(move |answer| {
                        // The page that asked may be gone.
                        let _ = tell.send(answer);
                    });
                    let answer = told.await.unwrap_or(false);
                    if !answer || shown.elapsed() >= TIME_TO_READ {
                        return answer;
                    }
                }
            }
        })
    }

    /// Asks, if the person has to be asked here.
    ///
    /// # Errors
    /// [`Code::PairingRefused`] if the person said no.
    pub(crate) async fn ask(&self, request: ConsentRequest) -> Result<(), SyncError> {
        let Some(ask) = &self.0 else { return Ok(()) };
        if ask(request).await {
            return Ok(());
        }
        Err(SyncError::new(Code::PairingRefused, "it was refused in the dialog on this device"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_no_refuses_and_nobody_is_asked_without_the_option() {
        assert_eq!(Consent::default().ask(ConsentRequest::Join).await, Ok(()));
        let never = Consent::by(async |_| false);
        assert_eq!(never.ask(ConsentRequest::Join).await.unwrap_err().code, Code::PairingRefused);
        let named = Consent::by(async |request: ConsentRequest| request.to_string().contains("«Pixel 9»"));
        assert_eq!(named.ask(ConsentRequest::Add { name: "Pixel 9".to_owned() }).await, Ok(()));
    }
}
