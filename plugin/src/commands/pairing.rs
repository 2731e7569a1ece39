//! Pairing two devices: one shows a link and a short code, the other takes one of them.

use std::time::Duration;

use sync_client::{Code, InviteOptions, RelayAddress, SyncError};
use tauri::ipc::Channel;
use tauri::{Runtime, Webview};

use super::{App, Done};
use crate::consent::ConsentRequest;
use crate::pairing_types::PairingStep;
use crate::pairings::{self, Answer, Side};

/// Member: shows a link and a short code for a newcomer, or takes one that a newcomer shows. Gives the pairing's number.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn invite<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    link: Option<String>,
    ttl_ms: Option<u32>,
    steps: Channel<PairingStep>,
) -> Done<u32> {
    let page = app.pages.calling(&webview);
    let client = app.client().await?;
    let pairing = match (link, ttl_ms) {
        (Some(link), _) => client.take(&link).await?,
        (None, Some(ms)) => client.invite(InviteOptions::with_ttl(Duration::from_millis(ms.into()))).await?,
        (None, None) => client.invite(InviteOptions::default()).await?,
    };
    Ok(pairings::begin(&app, &page, Side::Member, pairing, steps)?)
}

/// Newcomer: takes the link or the short code that a member shows. Gives the pairing's number.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn join<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    link: String,
    name: Option<String>,
    steps: Channel<PairingStep>,
) -> Done<u32> {
    let page = app.pages.calling(&webview);
    app.client().await?.may_join(Some(&link)).await?;
    app.consent.ask(ConsentRequest::Join).await?;
    let pairing = app.client().await?.join(&link, name.as_deref()).await?;
    Ok(pairings::begin(&app, &page, Side::Newcomer, pairing, steps)?)
}

/// Newcomer: shows a link and a short code, at this relay or the one that is set. Gives the pairing's number.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn request_join<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    relay: Option<String>,
    name: Option<String>,
    steps: Channel<PairingStep>,
) -> Done<u32> {
    let page = app.pages.calling(&webview);
    let relay = match relay {
        Some(text) => {
            let address = text.parse::<RelayAddress>();
            address.map_err(|e| SyncError::new(Code::AddressInvalid, e.to_string()))?
        }
        None => app.relay()?,
    };
    app.client().await?.may_join(None).await?;
    app.consent.ask(ConsentRequest::Join).await?;
    let pairing = app.client().await?.join_show(&relay, name.as_deref()).await?;
    Ok(pairings::begin(&app, &page, Side::Newcomer, pairing, steps)?)
}

/// The person typed these digits from the other device's screen.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn pairing_check<R: Runtime>(webview: Webview<R>, app: App<'_>, pairing: u32, digits: String) -> Done {
    Ok(pairings::answer(&app, webview.label(), pairing, Answer::Digits(digits)).await?)
}

/// The person's answer to a request that needs no digits, or a no to any.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn pairing_consent<R: Runtime>(webview: Webview<R>, app: App<'_>, pairing: u32, yes: bool) -> Done {
    Ok(pairings::answer(&app, webview.label(), pairing, Answer::Consent(yes)).await?)
}

/// Gives a pairing up. One that is over is as good.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn pairing_cancel<R: Runtime>(webview: Webview<R>, app: App<'_>, pairing: u32) -> Done {
    match pairings::answer(&app, webview.label(), pairing, Answer::Cancel).await {
        Err(error) if error.code != Code::PairingUsed => Err(error.into()),
        _ => Ok(()),
    }
}
