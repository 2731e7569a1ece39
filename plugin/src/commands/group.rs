//! The group and this device in it: status, members, leaving.

use sync_client::{Code, DeviceId, RelayAddress, SyncError};

use super::data::parse;
use super::{App, Done};
use crate::alert_types::SyncAlert;
use crate::types::{Member, SyncFinding, SyncStatus};

/// How things stand.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn status(app: App<'_>) -> Done<SyncStatus> {
    Ok(app.client().await?.status().await?.into())
}

/// Why it is or is not syncing, most important first.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn doctor(app: App<'_>) -> Done<Vec<SyncFinding>> {
    Ok(app.client().await?.doctor().await?.into_iter().map(Into::into).collect())
}

/// The members of the group, this device first.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn devices(app: App<'_>) -> Done<Vec<Member>> {
    Ok(app.client().await?.devices().await?.into_iter().map(Into::into).collect())
}

/// What a person should hear of and may have missed, newest first.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn alerts(app: App<'_>) -> Done<Vec<SyncAlert>> {
    Ok(app.client().await?.alerts().await?.into_iter().map(Into::into).collect())
}

/// Notes that a person has seen the alerts up to a number.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn alerts_seen(app: App<'_>, up_to: String) -> Done {
    let up_to = up_to
        .parse::<u64>()
        .map_err(|_| SyncError::new(Code::InvalidArgument, "an alert's number is a decimal number"))?;
    Ok(app.client().await?.alerts_seen(up_to).await?)
}

/// Puts a device out of the group. The event `device` tells when it is done. One that is lost deletes what it holds when it next
/// connects.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn remove_device(app: App<'_>, id: String, lost: bool) -> Done {
    let id = parse::<DeviceId>(&id, "device")?;
    let client = app.client().await?;
    if lost {
        client.remove_lost_device(id).await?;
    } else {
        client.remove_device(id).await?;
    }
    Ok(())
}

/// Has the group use these relays, in this order. The event `relays` tells when it is done.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn set_relays(app: App<'_>, relays: Vec<String>) -> Done {
    let read = |text: &String| text.parse::<RelayAddress>();
    let relays: Result<Vec<_>, _> = relays.iter().map(read).collect();
    let relays = relays.map_err(|e| SyncError::new(Code::AddressInvalid, e.to_string()))?;
    Ok(app.client().await?.set_relays(relays).await?)
}

/// Takes the first relay off the list, because a person says that it will not come back.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn give_up_first_relay(app: App<'_>) -> Done {
    Ok(app.client().await?.give_up_first_relay().await?)
}

/// Moves the group to another suite, 1 or 2. The event `settings` tells when it is done.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn move_to_suite(app: App<'_>, suite: u8) -> Done {
    let unknown = |code| SyncError::new(code, "there is no suite of that number");
    let suite = sync_client::Suite::from_wire(suite).map_err(unknown)?;
    Ok(app.client().await?.move_to_suite(suite).await?)
}

/// Leaves the group, and deletes its keys and blobs here.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn leave(app: App<'_>) -> Done {
    Ok(app.client().await?.leave().await?)
}

/// Deletes this device. The others still list it until one of them removes it.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn reset(app: App<'_>) -> Done {
    Ok(app.reset().await?)
}
