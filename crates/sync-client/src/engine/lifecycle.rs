//! The modes of an app's life: in the foreground a device is connected; in the background it has nothing open; woken, it connects,
//! fetches, acknowledges and sleeps again.

use std::time::Duration;

use sync_core::Device;
use sync_types::{Code, limits};
use tokio::time::Instant;

use super::group::not_in_group;
use super::{Engine, Flushed, Reply};
use crate::{ClientEvent, Mode, SyncError, Woken};

/// Where in its life the device is.
#[derive(Default)]
pub(super) enum Life {
    #[default]
    Foreground,
    Background,
    /// On the way into the background.
    Winding(Winding),
}

/// A device that goes to sleep as soon as what it has to do is done.
pub(super) struct Winding {
    /// Then at the latest.
    deadline: Instant,
    /// Whether it fetches what waits before, and connects for that.
    fetches: bool,
    /// At which number of what changed in files all was carried that can be.
    carried: Option<u64>,
    /// Whether everything was sent, and the ends of the streams were said.
    finishing: bool,
    /// How often blobs had come into the log when it was woken.
    arrivals: u64,
    /// Who woke it.
    woken: Vec<Reply<Woken>>,
    /// Who sent it to sleep.
    asleep: Vec<Reply<()>>,
    /// Who woke it when it was too late for that, and for how long at most.
    again: Vec<(Duration, Reply<Woken>)>,
}

impl Winding {
    fn new(limit: Duration, arrivals: u64) -> Self {
        Self {
            deadline: Instant::now() + limit,
            fetches: false,
            carried: None,
            finishing: false,
            arrivals,
            woken: Vec::new(),
            asleep: Vec::new(),
            again: Vec::new(),
        }
    }
}

impl Life {
    /// Whether the device connects by itself.
    pub(super) fn connects(&self) -> bool {
        match self {
            Self::Foreground => true,
            Self::Background => false,
            Self::Winding(winding) => winding.fetches && !winding.finishing,
        }
    }

    /// Whether connections that end now are meant to.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self, Self::Winding(winding) if winding.finishing)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Winding(winding) => Some(winding.deadline),
            Self::Foreground | Self::Background => None,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        match self {
            Self::Foreground => Mode::Foreground,
            Self::Winding(winding) if winding.fetches => Mode::Waking,
            Self::Background | Self::Winding(_) => Mode::Background,
        }
    }
}

impl Engine {
    /// Connects, and stays connected.
    pub(super) async fn come_to_foreground(&mut self, reply: Reply<()>) {
        let hosted = match std::mem::take(&mut self.life) {
            Life::Foreground => Ok(()),
            Life::Background => self.host_for_latecomers().await,
            Life::Winding(winding) => {
                let again = winding.again.into_iter().map(|(_, reply)| reply);
                let woken = Woken { caught_up: self.has_all(), arrived: self.arrivals > winding.arrivals };
                winding.woken.into_iter().chain(again).for_each(|reply| drop(reply.send(Ok(woken))));
                winding.asleep.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
                if winding.finishing {
                    // A stream whose end was said carries nothing more.
                    self.reconnect_now();
                }
                Ok(())
            }
        };
        self.nudge();
        let _ = reply.send(hosted);
        self.tell(ClientEvent::Mode(Mode::Foreground));
    }

    /// Sends what waits, for a short while, and closes everything.
    pub(super) fn go_to_background(&mut self, reply: Reply<()>) {
        let by = Instant::now() + limits::FLUSH_ON_CLOSE;
        match &mut self.life {
            Life::Background => drop(reply.send(Ok(()))),
            Life::Winding(winding) => {
                winding.deadline = winding.deadline.min(by);
                winding.asleep.push(reply);
            }
            Life::Foreground => {
                let mut winding = Winding::new(limits::FLUSH_ON_CLOSE, self.arrivals);
                winding.asleep.push(reply);
                self.life = Life::Winding(winding);
            }
        }
    }

    /// Connects, fetches what waits, and sleeps again, after so long at the latest. In the foreground it is awake already.
    pub(super) fn wake(&mut self, limit: Duration, reply: Reply<Woken>) {
        if self.device.is_none() && self.newcomer.is_none() {
            return drop(reply.send(Err(not_in_group())));
        }
        match &mut self.life {
            Life::Foreground => drop(reply.send(Ok(Woken { caught_up: self.has_all(), arrived: false }))),
            Life::Winding(winding) if winding.finishing || !winding.fetches => winding.again.push((limit, reply)),
            Life::Winding(winding) => {
                winding.deadline = winding.deadline.max(Instant::now() + limit);
                winding.woken.push(reply);
            }
            Life::Background => {
                let mut winding = Winding::new(limit, self.arrivals);
                winding.fetches = true;
                winding.woken.push(reply);
                self.life = Life::Winding(winding);
                self.nudge();
                self.tell(ClientEvent::Mode(Mode::Waking));
            }
        }
    }

    /// Whether nothing may be open now.
    pub(super) fn is_asleep(&self) -> bool {
        matches!(self.life, Life::Background)
    }

    fn is_caught_up(&self) -> bool {
        self.device.as_ref().map(Device::status).is_some_and(|status| status.online && status.caught_up)
    }

    /// Whether the bytes of large blobs are still to come, and the app does not keep them away.
    fn awaits(&self) -> bool {
        self.device.as_ref().is_some_and(Device::awaits) && !self.start.depot.policy().paused
    }

    fn has_all(&self) -> bool {
        self.is_caught_up() && !self.awaits()
    }

    /// Whether a device that was woken stays awake for large blobs, which the carrier says the end of.
    pub(super) fn carries(&self) -> bool {
        let files = self.store.files();
        matches!(&self.life, Life::Winding(winding) if winding.fetches && files > 0 && winding.carried != Some(files))
    }

    /// All was carried that can be, as files stood at this number.
    pub(super) fn carried(&mut self, files: u64) {
        // What has come into the log since has still to be looked at.
        if let Life::Winding(winding) = &mut self.life
            && files == self.store.files()
        {
            winding.carried = Some(files);
        }
    }

    /// Goes to sleep if it is time for that.
    pub(super) async fn rest(&mut self) {
        let Life::Winding(winding) = &self.life else { return };
        let (late, fetches, finishing) = (Instant::now() >= winding.deadline, winding.fetches, winding.finishing);
        // Of one that is lost or was removed, or that no relay talks to, nothing more comes.
        let hopeless = self.is_stopped() || !self.wants_connection();
        let through = self.is_caught_up() && !self.carries();
        if !late && fetches && !finishing && !hopeless && !through {
            return;
        }
        let done = late || (fetches && !finishing && hopeless);
        if !done {
            match self.flush(finishing).await {
                Flushed::Sending => return,
                Flushed::Finishing => {
                    if let Life::Winding(winding) = &mut self.life {
                        winding.finishing = true;
                    }
                    return;
                }
                Flushed::Done => {}
            }
        }
        self.sleep().await;
    }

    async fn sleep(&mut self) {
        let (fetched, trouble) = (self.is_caught_up() || self.life.is_finishing(), self.why_not());
        let caught_up = fetched && !self.awaits();
        let Life::Winding(winding) = std::mem::replace(&mut self.life, Life::Background) else { return };
        self.reconnect_now();
        // Its sockets are open for others, and it answers nobody from now on.
        self.hosting.stop().await;
        self.start.dialer.close().await;
        let arrived = self.arrivals > winding.arrivals;
        self.trouble = None;
        let outcome = match trouble {
            _ if fetched => Ok(Woken { caught_up, arrived }),
            Some(error) => Err(error),
            None if arrived => Ok(Woken { caught_up, arrived }),
            None => Err(SyncError::timeout("fetching what waits at the relay")),
        };
        winding.woken.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
        winding.asleep.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        self.tell(ClientEvent::Mode(Mode::Background));
        for (limit, reply) in winding.again {
            self.wake(limit, reply);
        }
        self.publish();
    }
}

/// What a call gets that wants a connection while the device sleeps.
pub(crate) fn asleep() -> SyncError {
    SyncError::new(Code::Asleep, "this device is in the background")
}
