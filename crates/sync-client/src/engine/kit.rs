//! Making a recovery kit.

use sync_core::recovery::RecoveryKit;
use sync_core::{Device, KitState};
use sync_types::settings::HistoryPolicy;
use sync_types::{Code, RelayAddress};

use super::group::not_in_group;
use super::turn::Work;
use super::{Engine, Reply, setup};
use crate::clock::SystemRng;
use crate::{RecoveryWords, SyncError};

/// A kit that the group does not have yet.
pub(super) struct Making {
    key: [u8; 32],
    words: RecoveryWords,
    reply: Reply<RecoveryWords>,
}

impl Engine {
    /// Makes a kit. For a group that is founded now, it is part of that; for any other it is put in force first, and only
    /// then told.
    pub(super) async fn make_kit(&mut self, reply: Reply<RecoveryWords>, work: &mut Work, now: u64) {
        match self.try_make_kit(now).await {
            Ok((kit, words, true)) => {
                if let Some(Making { reply, .. }) = self.making_kit.take() {
                    let _ = reply.send(Err(SyncError::new(Code::Timeout, "another recovery kit was asked for since")));
                }
                self.making_kit = Some(Making { key: kit.signing_key().public(), words, reply });
            }
            Ok((_, words, false)) => work.answer(reply, words),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The kit, and whether it is still to be put in force.
    async fn try_make_kit(&mut self, now: u64) -> Result<(RecoveryKit, RecoveryWords, bool), SyncError> {
        if self.relay == RelayAddress::Embedded
            || self.relay_now().await.is_ok_and(|relay| relay.is_members() || self.hosting.is(&relay))
        {
            let message = "the group's relay runs on one of its devices, and would be lost with it";
            return Err(SyncError::new(Code::KitNeedsRelay, message));
        }
        if self.newcomer.is_some() {
            return Err(SyncError::new(Code::AlreadyInGroup, "this device is joining another group"));
        }
        let kit = RecoveryKit::generate(&mut SystemRng);
        if self.device.is_none() {
            self.device = Some(self.found_with(HistoryPolicy::default(), Some(&kit), now).await?);
            self.nudge();
            let words = RecoveryWords { words: kit.words(), relay: self.relay.without_token() };
            return Ok((kit, words, false));
        }
        let relay = self.relay_now().await?.without_token();
        let online = self.is_online();
        let device = self.device.as_mut().ok_or_else(not_in_group)?;
        if !online {
            let message = "a new recovery kit has to be put in force at the relay, which is not connected";
            return Err(SyncError::new(Code::RelayUnreachable, message));
        }
        device.set_recovery_kit(&kit, now, &mut SystemRng).map_err(setup::failed)?;
        let words = RecoveryWords { words: kit.words(), relay };
        Ok((kit, words, true))
    }

    /// Tells the kit once it is in force, or that it never will be.
    pub(super) fn go_on_making_kit(&mut self) {
        let Some(making) = self.making_kit.take() else { return };
        match self.device.as_ref().map(|device: &Device<_>| device.kit_state(&making.key)) {
            Some(KitState::Waits) => self.making_kit = Some(making),
            Some(KitState::InForce) => drop(making.reply.send(Ok(making.words))),
            Some(KitState::Never) | None => {
                let message = "the group did not take the recovery kit; the one before is as good as it was";
                let _ = making.reply.send(Err(SyncError::new(Code::CommitRejected, message)));
            }
        }
    }
}
