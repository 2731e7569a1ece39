//! Foreground, background, and what wakes a device in it; waiting until it has caught up.

use std::time::Duration;

use sync_types::WakeTarget;
use tokio::time::{Instant, timeout, timeout_at};

use super::SyncClient;
use crate::engine::{Command, asleep};
use crate::{Mode, SyncError, Woken};

/// How much longer than its limit a wake-up may take, to end what it has begun.
const WIND_DOWN: Duration = Duration::from_secs(2);

impl SyncClient {
    /// Waits until everything that waited at the relay is in the log, and what this device still wants of the others'
    /// history too; and so are the bytes of large blobs, unless [`FilesPolicy::paused`](crate::FilesPolicy) keeps them away. Tries
    /// to connect at once.
    ///
    /// # Errors
    /// [`Code::NotInGroup`](crate::Code::NotInGroup); [`Code::Asleep`](crate::Code::Asleep) in the background;
    /// [`Code::Timeout`](crate::Code::Timeout) if the relay is connected and not through, and otherwise why it could not be
    /// reached; [`Code::Removed`](crate::Code::Removed).
    pub async fn catch_up(&self, timeout: Duration) -> Result<(), SyncError> {
        let until = Instant::now() + timeout;
        let mut snapshot = self.inner.snapshot.clone();
        self.ask(|reply| Command::ConnectNow { reply }).await?;
        loop {
            let now = snapshot.borrow_and_update().clone();
            let awaits = now.awaits && !self.files().policy().paused;
            if now.online && now.caught_up && now.wants == 0 && !awaits {
                return Ok(());
            }
            if now.mode == Mode::Background {
                return Err(asleep());
            }
            if now.stopped
                && let Some(error) = now.trouble
            {
                return Err(error);
            }
            if now.closed {
                return Err(SyncError::closed());
            }
            let Ok(changed) = timeout_at(until, snapshot.changed()).await else {
                return Err(match now.trouble {
                    Some(error) if !now.online => error,
                    _ if awaits && now.caught_up && now.wants == 0 => {
                        SyncError::timeout("large blobs are on their way from the other devices, and carrying them")
                    }
                    _ if now.caught_up => SyncError::timeout("history is on its way from the other devices, and it"),
                    _ => SyncError::timeout("fetching what waits at the relay"),
                });
            };
            changed.map_err(|_| SyncError::closed())?;
        }
    }

    /// Connects, and stays connected. A client begins so, unless [`SyncConfig::in_background`](crate::SyncConfig::in_background)
    /// says otherwise.
    ///
    /// # Errors
    /// [`Code::Closed`](crate::Code::Closed).
    pub async fn foreground(&self) -> Result<(), SyncError> {
        self.ask(|reply| Command::Foreground { reply }).await
    }

    /// Sends what waits, for at most [`limits::FLUSH_ON_CLOSE`](crate::limits::FLUSH_ON_CLOSE), and closes every socket, also
    /// those of a relay that this device hosts. Pushing and reading go on as they do offline. A pairing that is under way ends.
    ///
    /// # Errors
    /// [`Code::Closed`](crate::Code::Closed).
    pub async fn background(&self) -> Result<(), SyncError> {
        self.ask(|reply| Command::Background { reply }).await
    }

    /// In the background: connects, fetches what waits, acknowledges it, sends what was pushed meanwhile, and closes every
    /// socket again, within `limit`. The bytes of large blobs are part of that, both ways; files wait for the foreground. What
    /// nobody has given yet is asked for again for a while. To be called when a push came, by whatever service. In the foreground, where all of that
    /// happens by itself, this only waits until everything is fetched.
    ///
    /// # Errors
    /// [`Code::NotInGroup`](crate::Code::NotInGroup); why no relay could be reached, or
    /// [`Code::Timeout`](crate::Code::Timeout), if nothing came within the limit; [`Code::Closed`](crate::Code::Closed). The
    /// device is in the background again, whatever the outcome.
    pub async fn wake(&self, limit: Duration) -> Result<Woken, SyncError> {
        let (mode, before) = {
            let now = self.inner.snapshot.borrow();
            (now.mode, now.arrivals)
        };
        if mode == Mode::Foreground {
            self.catch_up(limit).await?;
            let arrived = self.inner.snapshot.borrow().arrivals > before;
            return Ok(Woken { caught_up: true, arrived });
        }
        let woken = self.ask(|reply| Command::Wake { limit, reply });
        timeout(limit + WIND_DOWN, woken).await.unwrap_or_else(|_| Err(SyncError::timeout("waking this device")))
    }

    /// Where this device is woken when something comes for it while it is in the background: what the push service of its
    /// platform gave the app; `None`: nowhere. Kept on this device, and told to each relay of the group whenever it connects;
    /// [`Status::wake`](crate::Status::wake) says what they answered.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) for a target that cannot be one;
    /// [`Code::DiskFull`](crate::Code::DiskFull), [`Code::Io`](crate::Code::Io), [`Code::Closed`](crate::Code::Closed).
    pub async fn set_wake_target(&self, target: Option<WakeTarget>) -> Result<(), SyncError> {
        self.ask(|reply| Command::SetWakeTarget { target, reply }).await
    }

    /// The key that the group's first relay signs Web Push messages with, as an uncompressed point of P-256: what a
    /// subscription names as its `applicationServerKey` (RFC 8292). Waits until that relay is connected.
    ///
    /// # Errors
    /// [`Code::WakeUnavailable`](crate::Code::WakeUnavailable) if the relay wakes nobody;
    /// [`Code::Asleep`](crate::Code::Asleep) in the background; [`Code::Timeout`](crate::Code::Timeout).
    pub async fn wake_key(&self, limit: Duration) -> Result<[u8; 65], SyncError> {
        if self.inner.snapshot.borrow().mode == Mode::Background {
            return Err(asleep());
        }
        let key = self.ask(|reply| Command::WakeKey { reply });
        timeout(limit, key).await.unwrap_or_else(|_| Err(SyncError::timeout("asking the relay for its key")))
    }
}
