//! Waking devices: begun with the relay, and told back to the hub.

use std::sync::Arc;

use sync_types::{WakeTarget, codec};
use tokio::sync::mpsc;

use crate::config::{PublicUrl, RelayConfig, Waking};
use crate::hub::{Hub, Whom};
use crate::wake::{Gone, Waker};
use crate::{Identity, StartError};

/// Tells which targets their push services do not know any more.
type GoneTargets = mpsc::Receiver<Gone<Whom>>;

/// What wakes devices; `None` if the host wants none woken.
pub(super) fn start(
    config: &RelayConfig,
    identity: &Identity,
) -> Result<Option<(Arc<Waker>, GoneTargets)>, StartError> {
    let Waking::On { settings } = &config.wake else { return Ok(None) };
    // Whom a push service can reach about this relay (RFC 8292 §2.1).
    let subject = config.public_url.as_ref().map(PublicUrl::origin).filter(|url| url.starts_with("https:"));
    let (waker, gone) = Waker::start(settings.as_deref(), subject, identity)?;
    Ok(Some((Arc::new(waker), gone)))
}

/// Has the hub forget targets that are gone.
pub(super) async fn forget(hub: Arc<Hub>, mut gone: GoneTargets) {
    while let Some(Gone { key, target }) = gone.recv().await {
        hub.wake_gone(key, codec::encode(&WakeTarget::from(&target)).into()).await;
    }
}
