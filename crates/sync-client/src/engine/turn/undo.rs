//! When the store fails: the turn is undone, and the device loaded again from what the disk holds.

use std::time::Duration;

use sync_types::{DeviceId, GroupId};
use tokio::time::Instant;

use super::Work;
use crate::engine::setup::{self, Loaded};
use crate::engine::{Broken, Engine, Newcomer, Reply};
use crate::{ClientEvent, SyncError};

/// How soon the device is loaded again after that has failed; each failure doubles it, up to a minute.
const MEND: Duration = Duration::from_millis(250);
const MEND_CAP: Duration = Duration::from_secs(60);

impl Engine {
    /// The turn failed: nothing of it happened. Callers hear why, and the device is as it was before.
    pub(super) async fn undo(&mut self, work: Work, error: SyncError) {
        tracing::warn!(code = %error.code, "a transaction failed: {}", error.message);
        for push in work.pushes {
            push.answer(Err(&error));
        }
        for after in work.after {
            after(Err(&error));
        }
        let leaving = self.leaving.take().into_iter().flat_map(|l| l.replies);
        for reply in work.left.into_iter().chain(leaving) {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in work.adding.iter().filter_map(|id| self.adding.remove(id)) {
            let _ = reply.send(Err(error.clone()));
        }
        if let Some((relay, name)) = work.before_import {
            (self.relay, self.name) = (relay, name);
        }
        self.tell(ClientEvent::StoreFailed { code: error.code });
        // Before the device is loaded again, so that nothing is sent by the one that is ahead of the disk.
        self.device = None;
        let reply = self.newcomer.take().and_then(|n| n.reply);
        let reply = match setup::load(&mut self.store).await {
            Ok(loaded) => self.take_up(loaded, reply),
            Err(again) => {
                self.break_down(again, 0);
                reply
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(Err(error.clone()));
        }
        self.lost_all(&error);
    }

    /// Goes on with what the database holds. Gives the reply back if nobody is joining.
    pub(super) fn take_up(
        &mut self,
        loaded: Loaded,
        reply: Option<Reply<(GroupId, DeviceId)>>,
    ) -> Option<Reply<(GroupId, DeviceId)>> {
        self.device = loaded.device;
        // Whoever wanted to leave was told that nothing has changed.
        if let Some(device) = self.device.as_mut().filter(|_| self.leaving.is_none()) {
            device.stay();
        }
        let Some(joining) = loaded.joining else { return reply };
        self.newcomer = Some(Newcomer { joining, deadline: Newcomer::deadline(), reply });
        None
    }

    pub(super) fn break_down(&mut self, error: SyncError, failures: u32) {
        tracing::error!(code = %error.code, "the device cannot be loaded again: {}", error.message);
        let wait = MEND.saturating_mul(1 << failures.min(16)).min(MEND_CAP);
        self.broken = Some(Broken { error, retry: Instant::now() + wait, failures: failures.saturating_add(1) });
    }

    /// Loads the device again if that failed and is due.
    pub(super) async fn mend(&mut self) {
        let Some(failures) = self.broken.as_ref().filter(|b| b.retry <= Instant::now()).map(|b| b.failures) else {
            return;
        };
        match setup::load(&mut self.store).await {
            Ok(loaded) => {
                self.broken = None;
                let _ = self.take_up(loaded, None);
                self.reconnect_now();
            }
            Err(again) => self.break_down(again, failures),
        }
    }
}
