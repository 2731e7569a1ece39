//! The recovery kit.

use std::time::Duration;

use sync_client::{Code, RelayAddress, SyncError};

use super::{App, Done};
use crate::consent::ConsentRequest;
use crate::kit_types::{RecoveredGroup, RecoveryKit};

/// How long a recovery is tried.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a recovery kit, in the place of the one that the group may have. It is the answer of this call and told nowhere else.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn make_recovery_kit(app: App<'_>) -> Done<RecoveryKit> {
    app.consent.ask(ConsentRequest::RecoveryKit).await?;
    Ok(app.client().await?.make_recovery_kit().await?.into())
}

/// Comes back into a group by its recovery kit, at this relay or the one that is set. All other devices are removed.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn recover(
    app: App<'_>,
    words: String,
    relay: Option<String>,
    name: Option<String>,
) -> Done<RecoveredGroup> {
    let relay = match relay {
        Some(text) => {
            let address = text.parse::<RelayAddress>();
            address.map_err(|e| SyncError::new(Code::AddressInvalid, e.to_string()))?
        }
        None => app.relay()?,
    };
    app.client().await?.may_join(None).await?;
    app.consent.ask(ConsentRequest::Recover).await?;
    Ok(app.client().await?.recover(&words, &relay, name.as_deref(), TIMEOUT).await?.into())
}
