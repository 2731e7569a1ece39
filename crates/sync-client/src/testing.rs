//! What the tests within this crate have in common.

#![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

use std::time::Duration;

use crate::{PairingEvent, SyncClient};

/// How long anything may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Pairs them, and waits until the newcomer has what the group has.
pub(crate) async fn pair(member: &SyncClient, newcomer: &SyncClient) {
    let mut invite = member.invite(Default::default()).await.unwrap();
    let Some(PairingEvent::Uri { uri, .. }) = invite.next().await else { panic!("a link was to come") };
    let mut join = newcomer.join(&uri, None).await.unwrap();
    while !matches!(invite.next().await.unwrap(), PairingEvent::Request { .. }) {}
    invite.consent_without_check().await.unwrap();
    assert!(matches!(invite.next().await, Some(PairingEvent::Added { .. })));
    while !matches!(join.next().await.unwrap(), PairingEvent::Joined { .. }) {}
    newcomer.catch_up(SOON).await.unwrap();
}
