//! Leaving the group: the others are asked to remove this device, and what it holds goes.

use std::time::Duration;

use sync_types::Code;
use tokio::time::Instant;

use super::group::not_in_group;
use super::turn::Work;
use super::{Engine, Leaving, Reply, setup};
use crate::SyncError;
use crate::clock::SystemRng;

/// How long a device that leaves waits for the relay, and to be removed.
const WAIT: Duration = Duration::from_secs(5);

impl Leaving {
    pub(super) fn begin() -> Self {
        Self { deadline: Instant::now() + WAIT, asked_after: None, replies: vec![] }
    }
}

impl Engine {
    pub(super) fn leave(&mut self, reply: Reply<()>, work: &mut Work) {
        if self.newcomer.is_some() {
            self.give_up_joining(SyncError::new(Code::PairingRefused, "joining was given up on this device"), work);
            return work.answer(reply, ());
        }
        let Some(device) = &self.device else { return drop(reply.send(Err(not_in_group()))) };
        if device.is_alone() || device.is_removed() {
            work.forget = true;
            return work.left.push(reply);
        }
        // Asked in this turn if the relay is there. If it is not, and does not come, nothing will have changed.
        self.leaving.get_or_insert_with(Leaving::begin).replies.push(reply);
        self.nudge();
    }

    /// Somebody has this device who should not: what it holds goes.
    pub(super) fn wipe_if_lost(&mut self, work: &mut Work) {
        if self.device.as_ref().is_some_and(sync_core::Device::is_lost) {
            work.forget = true;
        }
    }

    /// Asks to be removed as soon as that can be told, and leaves once it is done or nobody is there to do it.
    pub(super) fn go_on_leaving(&mut self, work: &mut Work, now: u64) {
        let Some(leaving) = &mut self.leaving else { return };
        let Some(device) = &mut self.device else { return self.stay(not_in_group()) };
        if leaving.asked_after.is_none() && device.status().online && !device.is_removed() {
            leaving.asked_after = Some(device.status().sealed_seq);
            if let Err(error) = device.leave(now, &mut SystemRng) {
                return self.stay(setup::failed(error));
            }
        }
        let status = device.status();
        let over = leaving.deadline <= Instant::now();
        // The relay has the envelope that asks. If this device had asked before, there is no new one.
        let settled = status.online && !status.changing && status.push_waits_until.is_none();
        let told = leaving
            .asked_after
            .is_some_and(|before| status.accepted_seq >= status.sealed_seq && (status.sealed_seq > before || settled));
        // Somebody has removed this device, and the relay does not let it see that any more.
        let unknown = self.trouble.as_ref().is_some_and(|error| error.code == Code::Removed);
        if status.removed || over && (told || unknown) {
            work.forget = true;
            work.left.extend(self.leaving.take().into_iter().flat_map(|l| l.replies));
        } else if over {
            let code = status.halted.unwrap_or(Code::RelayUnreachable);
            let message = "the other devices cannot be told that this one leaves: connect and try again, or reset to \
                           forget the group without telling them";
            self.stay(SyncError::new(code, message));
        }
    }

    /// Leaving has failed. Nobody is asked any more, as whoever called is told that this device stays.
    fn stay(&mut self, error: SyncError) {
        if let Some(device) = &mut self.device {
            device.stay();
        }
        for reply in self.leaving.take().into_iter().flat_map(|l| l.replies) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
