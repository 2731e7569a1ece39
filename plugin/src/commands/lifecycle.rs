//! Foreground, background, and what wakes a device in it.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use super::{App, Done};
use crate::wake_types::{WakeTarget, Woken};

/// How long the relay may take to say its key.
const KEY: Duration = Duration::from_secs(30);
/// The longest wake-up: platforms grant less.
const LONGEST: Duration = Duration::from_secs(600);

/// Connects, and stays connected.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn foreground(app: App<'_>) -> Done {
    Ok(app.client().await?.foreground().await?)
}

/// Sends what waits, for a short while, and closes every socket.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn background(app: App<'_>) -> Done {
    Ok(app.client().await?.background().await?)
}

/// In the background: fetches what waits, within so many milliseconds, and closes every socket again.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn wake(app: App<'_>, timeout_ms: u32) -> Done<Woken> {
    let limit = Duration::from_millis(timeout_ms.into()).min(LONGEST);
    Ok(app.client().await?.wake(limit).await?.into())
}

/// Has the relays wake this device there, or nowhere.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn set_wake_target(app: App<'_>, target: Option<WakeTarget>) -> Done {
    let target = target.map(TryInto::try_into).transpose()?;
    Ok(app.client().await?.set_wake_target(target).await?)
}

/// The key that the group's first relay signs Web Push messages with, in base64url.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn wake_key(app: App<'_>) -> Done<String> {
    Ok(BASE64URL_NOPAD.encode(&app.client().await?.wake_key(KEY).await?))
}
