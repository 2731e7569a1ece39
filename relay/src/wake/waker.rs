//! A relay's waking: whose key it signs with, whom it has woken of late, and what becomes of targets that are gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sync_types::frame::About;
use sync_types::{Code, WakeTarget, decode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{
    Counters, Gone, Limits, Queue, Refusal as Unsendable, Sender, Settings, SettingsError, Surroundings, Target, Vapid,
};
use crate::hub::{Wake, Whom, now_ms};
use crate::mailbox::Refusal;
use crate::server::crypto_provider;
use crate::store::Bytes;
use crate::{Identity, StartError};

/// For how long a device that was woken is left alone, unless it comes.
const REST: Duration = Duration::from_secs(60);
/// How many devices are remembered as woken. Beyond, those whose rest is over are forgotten; one is about 100 bytes.
const REMEMBERED: usize = 65_536;

/// Wakes devices, one push for all that comes within a minute.
pub(crate) struct Waker {
    sender: Arc<Sender>,
    queue: Queue<Whom>,
    woken: Mutex<HashMap<Whom, Instant>>,
}

impl Waker {
    /// Starts with the host's settings, if there are any. The receiver tells which targets are gone.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for the settings; `INTERNAL` if no connection could be secured.
    pub(crate) fn start(
        settings: Option<&Path>,
        subject: Option<&str>,
        identity: &Identity,
    ) -> Result<(Self, mpsc::Receiver<Gone<Whom>>), StartError> {
        let unusable = |e: SettingsError| StartError::new(Code::InvalidArgument, e.to_string());
        let settings = settings.map(Settings::read).transpose().map_err(unusable)?.unwrap_or_default();
        let settings = settings.with_subject(subject);
        let vapid = Vapid::derive(identity.as_bytes())
            .map_err(|_| StartError::new(Code::Internal, "no key for Web Push comes of the relay's own"))?;
        let around = Surroundings::new(Arc::new(now_ms), crypto_provider());
        let sender = Arc::new(Sender::new(settings, vapid, around).map_err(unusable)?);
        let (queue, gone) = Queue::start(sender.clone(), Limits::default());
        Ok((Self { sender, queue, woken: Mutex::default() }, gone))
    }

    /// What has happened since the start.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.queue.counters()
    }

    /// How many devices wait to be woken.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Ends what is under way.
    pub(crate) async fn stop(&self) {
        self.queue.stop().await;
    }

    /// Nothing panics while it is held.
    fn woken(&self) -> MutexGuard<'_, HashMap<Whom, Instant>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waker {
    fn check(&self, target: &WakeTarget) -> Result<(), Refusal> {
        let refuse = |code, message: &'static str| Err(Refusal::new(About::Wake, code, message));
        match self.sender.check(&Target::from(target)) {
            Ok(()) => Ok(()),
            Err(Unsendable::Malformed) => refuse(Code::InvalidArgument, "this is no target of a push service"),
            Err(Unsendable::Address) => {
                refuse(Code::WakeUnavailable, "the endpoint is in a network that this relay sends no pushes to")
            }
            Err(Unsendable::NoCredentials | Unsendable::Credentials | Unsendable::Status(_)) => {
                refuse(Code::WakeUnavailable, "this relay has no key for this app's push service")
            }
        }
    }

    fn key(&self) -> [u8; 65] {
        self.sender.vapid_key()
    }

    fn is_due(&self, whom: Whom) -> bool {
        self.woken().get(&whom).is_none_or(|at| at.elapsed() >= REST)
    }

    fn wake(&self, whom: Whom, target: &Bytes) {
        // It was checked before it was kept.
        let Ok(target) = decode::<WakeTarget>(target) else { return };
        let mut woken = self.woken();
        if woken.len() >= REMEMBERED {
            woken.retain(|_, at| at.elapsed() < REST);
        }
        if woken.len() < REMEMBERED {
            woken.insert(whom, Instant::now());
        }
        drop(woken);
        self.queue.wake(whom, Target::from(&target));
    }

    fn came(&self, whom: Whom) {
        self.woken().remove(&whom);
        self.queue.forget(whom);
    }
}
