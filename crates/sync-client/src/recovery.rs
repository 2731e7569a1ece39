//! Coming back by the recovery kit.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Joining;
use sync_core::recovery::{Arrival, KitSnapshot, Recovering, RecoveryKit};
use sync_types::frame::{About, FromRelay};
use sync_types::{Code, DeviceId, GroupId, RelayAddress};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::Inner;
use crate::clock::{SystemRng, now_ms};
use crate::engine::{Command, Crypto, Reply};
use crate::transport::Stream;
use crate::{Recovered, RestoredSnapshot, SyncError};

/// How long to wait before a relay that could not do it yet is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a device whose commits the relay may have ordered tries to attach, before it begins anew.
const SETTLE: Duration = Duration::from_secs(5);

type Ids = (GroupId, DeviceId);

/// One try came to nothing.
enum Failed {
    /// It may go better in a while.
    Again(SyncError),
    /// It will not.
    For(SyncError),
}

/// A device with its kit.
pub(crate) struct Recovery {
    pub(crate) inner: Arc<Inner>,
    pub(crate) relay: RelayAddress,
    pub(crate) recovering: Recovering<Crypto>,
}

impl Recovery {
    pub(crate) fn new(inner: Arc<Inner>, kit: RecoveryKit, relay: &RelayAddress, name: &str) -> Self {
        let app_id = inner.start.app_id.clone();
        let named = relay.without_token().to_string();
        let recovering = Recovering::new(sync_rules::mls::crypto(), kit, name, &app_id, named);
        Self { inner, relay: relay.clone(), recovering }
    }

    /// Tries until it is done, fails for good, or the time is over.
    pub(crate) async fn run(mut self, timeout: Duration) -> Result<Recovered, SyncError> {
        let until = Instant::now() + timeout;
        loop {
            let error = match timeout_at(until, self.attempt()).await {
                Ok(Ok(ids)) => return Ok(self.recovered(ids)),
                Ok(Err(Failed::For(error))) => return Err(error),
                Ok(Err(Failed::Again(error))) => error,
                Err(_) => SyncError::timeout("the recovery"),
            };
            let again = Instant::now() + AGAIN.max(Duration::from_millis(error.retry_after_ms.unwrap_or(0)));
            if again >= until {
                return Err(error);
            }
            sleep_until(again).await;
        }
    }

    fn recovered(&self, (group, device): Ids) -> Recovered {
        let restored = |snapshot: &KitSnapshot| RestoredSnapshot {
            channel: String::from_utf8_lossy(&snapshot.channel).into_owned(),
            at: snapshot.at,
        };
        let snapshots = self.recovering.snapshots().iter().map(restored).collect();
        let left_out = self.recovering.left_out();
        left_out.iter().for_each(|reason| tracing::warn!("left out: {reason}"));
        Recovered { group, device, snapshots, left_out: left_out.len() }
    }

    async fn attempt(&mut self) -> Result<Ids, Failed> {
        let mut stream = self.inner.start.dialer.dial(&self.relay).await.map_err(Failed::Again)?;
        let mut ask = self.recovering.ask(&stream.exporter);
        loop {
            stream.writer.send(&ask).await.map_err(Failed::Again)?;
            let arrival = match stream.reader.next().await.map_err(Failed::Again)? {
                FromRelay::Recoverable(answer) => self.recovering.handle(answer, &stream.exporter, &mut SystemRng),
                FromRelay::KitSnapshot(snapshot) => self.recovering.handle_snapshot(snapshot, now_ms(), &mut SystemRng),
                other => return Err(self.refused(other)),
            };
            match arrival.map_err(|e| Failed::For(SyncError::new(e.code(), e.to_string())))? {
                Arrival::Next(next) => ask = next,
                Arrival::Made(joining, recovery) => return self.come_in(stream, *joining, recovery).await,
            }
        }
    }

    /// Nothing is sent before the newcomer is durable: from then on it is a member as soon as the relay has ordered it.
    async fn come_in(
        &self,
        mut stream: Stream,
        joining: Joining<Crypto>,
        recovery: sync_types::frame::ToRelay,
    ) -> Result<Ids, Failed> {
        let (joined, outcome) = oneshot::channel();
        let joining = Box::new(joining);
        self.inner.ask(|stored| Command::Join { joining, stored, joined }).await.map_err(Failed::For)?;
        let answer = match stream.writer.send(&recovery).await {
            Ok(()) => stream.reader.next().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(FromRelay::Confirmed(_)) => {
                let _ = self.inner.ask(|reply| Command::ConnectNow { reply }).await;
                // The group is this device's alone now, whenever the relay lets it attach.
                outcome.await.map_err(|_| Failed::For(SyncError::closed()))?.map_err(Failed::For)
            }
            Ok(other) => {
                self.give_up().await;
                Err(self.refused(other))
            }
            // It may be ordered all the same.
            Err(error) => match timeout_at(Instant::now() + SETTLE, outcome).await {
                Ok(Ok(Ok(ids))) => Ok(ids),
                _ => {
                    self.give_up().await;
                    Err(Failed::Again(error))
                }
            },
        }
    }

    async fn give_up(&self) {
        // There may be nothing to give up any more.
        let _ = self.inner.ask(|reply: Reply<()>| Command::GiveUpJoining { reply }).await;
    }

    fn refused(&self, frame: FromRelay) -> Failed {
        let FromRelay::Refused(refused) = frame else {
            return Failed::For(SyncError::new(Code::Protocol, "the relay broke the protocol"));
        };
        let code = match refused.code() {
            // Groups with this key were shown, and no member vouched for any of them.
            Code::KitUnknown if self.recovering.was_shown_another() => Code::KitForged,
            code => code,
        };
        let error = SyncError::new(code, format!("the relay refused: {code}")).retry_after(refused.retry_after_ms);
        let passes = matches!(
            code,
            Code::Provisional | Code::StaleEpoch | Code::StaleCut | Code::RateLimited | Code::Draining | Code::Internal
        );
        if passes || (refused.about == About::Session && refused.retry_after_ms > 0) {
            Failed::Again(error)
        } else {
            Failed::For(error)
        }
    }
}
