//! The engine: one task that owns the device, the writer of the database and the connections to the relays.
//!
//! It works in turns. A turn takes every input that waits (calls, frames, timeouts), hands them to the core, makes what
//! the core wants written durable in one transaction, and only then answers the callers, sends frames and tells events.
//! Pushes that wait together so share one flush of the disk; nothing is ever delayed to make them wait together. If the
//! transaction fails, the core's memory is ahead of the disk: it is thrown away and loaded again, the connection with it.
//! If not even that works, every call is refused until it does.

mod alerts;
mod backup;
mod command;
mod connection;
mod files;
mod group;
#[cfg(test)]
#[cfg(feature = "embedded-relay")]
mod hostile_tests;
#[cfg_attr(not(feature = "embedded-relay"), path = "no_hosting.rs")]
mod hosting;
mod kit;
mod leaving;
mod lifecycle;
mod notify;
mod push;
mod reconnect;
mod setup;
mod turn;
mod waking;

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::{Device, Joining, RelayId};
use sync_sqlite::Forward;
use sync_types::{DeviceId, GroupId, RelayAddress, limits};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) use command::{Codes, Command, MeetingPlace, Offering, Reply, Snapshot};
#[cfg(feature = "embedded-relay")]
pub(crate) use hosting::opener;
pub(crate) use lifecycle::asleep;
pub(crate) use push::Pushed;
pub(crate) use setup::start;

use crate::clock::{instant_of, now_ms};
use crate::files::{Depot, Doors};
use crate::home::Home;
use crate::store::Store;
use crate::transport::SharedDialer;
use crate::vault::Vault;
use crate::{ClientEvent, SyncError};
use connection::{Net, Wire};
use hosting::Hosting;
use lifecycle::Life;
use turn::Work;
use waking::Waking;

/// The cryptography of real groups.
pub(crate) type Crypto = sync_rules::mls::Crypto;

/// How many inputs one turn takes at the most, so that callers are answered in between.
const TURN_INPUTS: usize = 1_024;
/// How many bytes of pushed blobs one turn takes, beyond the first push.
const TURN_BYTES: usize = 8 * 1024 * 1024;
/// How many frames of the relay one turn takes. What they bring, a mebibyte each, stays in SQLite's cache until the commit;
/// of more, it would write pages early, read them back and write them again.
const TURN_FRAMES: usize = 6;

/// What stays the same as long as the client lives.
pub(crate) struct Start {
    pub(crate) app_id: String,
    pub(crate) dialer: SharedDialer,
    pub(crate) home: std::path::PathBuf,
    pub(crate) vault: Vault,
    pub(crate) forward: Forward,
    pub(crate) depot: Arc<Depot>,
    pub(crate) doors: Doors,
}

/// What the configuration says itself.
#[derive(Clone, Copy, Debug)]
struct Configured {
    relay: bool,
    name: bool,
}

impl Start {
    /// Milliseconds since the Unix epoch, as this device counts them.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms().saturating_add(self.forward.ms())
    }

    /// The moment at which that will be `at`, or one at which to ask again.
    pub(crate) fn instant_of(&self, at: u64) -> Instant {
        instant_of(at.saturating_sub(self.forward.ms()))
    }
}

/// A newcomer that fetches its Welcome.
struct Newcomer {
    joining: Joining<Crypto>,
    /// When it gives up.
    deadline: Instant,
    reply: Option<Reply<(GroupId, DeviceId)>>,
}

/// A device that wants to be removed.
struct Leaving {
    deadline: Instant,
    /// The last envelope before the one that asks the others; `None` while the relay cannot be reached.
    asked_after: Option<u64>,
    replies: Vec<Reply<()>>,
}

/// An engine whose database could be neither written nor read.
struct Broken {
    error: SyncError,
    /// When the device is loaded again.
    retry: Instant,
    failures: u32,
}

/// An engine that stops.
struct Closing {
    deadline: Instant,
    replies: Vec<Reply<()>>,
    /// Whether everything was sent, and the end of the stream was said.
    finishing: bool,
}

struct Engine {
    home: Home,
    store: Store,
    start: Arc<Start>,
    /// The relay of a group that is still to be founded, and the token.
    relay: RelayAddress,
    name: String,
    configured: Configured,
    /// Whether snapshots are left for the recovery kit.
    kit_snapshots: bool,
    /// How many blobs one envelope may hold.
    pack_blobs: usize,
    device: Option<Device<Crypto>>,
    newcomer: Option<Newcomer>,
    life: Life,
    waking: Waking,
    hosting: Hosting,
    /// Carries content to and from the relays.
    carrier: JoinHandle<()>,
    /// The ways to the group's relays.
    wires: BTreeMap<RelayId, Wire>,
    /// The number of the newest connection.
    generation: u64,
    offering: Offering,
    adding: BTreeMap<DeviceId, Reply<DeviceId>>,
    leaving: Option<Leaving>,
    making_kit: Option<kit::Making>,
    closing: Option<Closing>,
    /// Nothing is known of the device as long as this is there: not even whether there is one.
    broken: Option<Broken>,
    /// Why the last connection ended, or the last transaction failed.
    trouble: Option<SyncError>,
    arrivals: u64,
    commands: mpsc::Receiver<Command>,
    net: mpsc::Receiver<(u64, Net)>,
    net_sender: mpsc::Sender<(u64, Net)>,
    snapshot: watch::Sender<Snapshot>,
    events: broadcast::Sender<ClientEvent>,
}

/// How far it is with sending what waits.
enum Flushed {
    /// Something is on its way.
    Sending,
    /// The relays were told just now that nothing more comes.
    Finishing,
    /// They have it, or cannot be reached.
    Done,
}

/// What a turn begins with.
enum Input {
    Command(Command),
    Net(u64, Net),
    Time,
}

impl Engine {
    async fn run(mut self) {
        loop {
            self.drive().await;
            let Some(first) = self.next_input().await else { continue };
            let batch = self.gather(first);
            self.turn(batch).await;
            self.rest().await;
            if self.is_over().await {
                break;
            }
        }
        self.stop().await;
    }

    /// Waits for whatever comes first. `None`: something was sent.
    async fn next_input(&mut self) -> Option<Input> {
        let timer = self.next_deadline();
        let mut forwarded = self.start.forward.watch();
        let ahead = *forwarded.borrow_and_update();
        let closing = self.closing.is_some();
        tokio::select! {
            command = self.commands.recv(), if !closing => Some(match command {
                Some(command) => Input::Command(command),
                // The last handle is gone.
                None => {
                    self.begin_closing(None);
                    Input::Time
                }
            }),
            Some((generation, net)) = self.net.recv() => Some(Input::Net(generation, net)),
            Ok(_) = forwarded.wait_for(|now| *now != ahead) => Some(Input::Time),
            () = Self::send_one(&mut self.wires) => None,
            () = async { sleep_until(timer.unwrap_or_else(Instant::now)).await }, if timer.is_some() => Some(Input::Time),
        }
    }

    /// Takes what else waits.
    fn gather(&mut self, first: Input) -> Vec<Input> {
        let weigh = |input: &Input| match input {
            Input::Command(Command::Push { blobs, .. }) => blobs.iter().map(Pushed::weight).sum(),
            Input::Net(_, Net::Frame(_)) => TURN_BYTES / TURN_FRAMES,
            _ => 0,
        };
        let mut bytes: usize = weigh(&first);
        let mut batch = vec![first];
        while batch.len() < TURN_INPUTS && bytes < TURN_BYTES {
            let next = match self.net.try_recv() {
                Ok((generation, net)) => Input::Net(generation, net),
                Err(_) if self.closing.is_some() => break,
                Err(_) => match self.commands.try_recv() {
                    Ok(command) => Input::Command(command),
                    Err(_) => break,
                },
            };
            bytes += weigh(&next);
            batch.push(next);
        }
        batch
    }

    fn next_deadline(&self) -> Option<Instant> {
        let core = self.device.as_ref().and_then(Device::next_timeout).map(|at| self.start.instant_of(at));
        let reconnect = self.dial_at();
        let patience = self.patience_ends_at();
        let newcomer = self.newcomer.as_ref().map(|n| n.deadline);
        let leaving = self.leaving.as_ref().map(|l| l.deadline);
        let closing = self.closing.as_ref().map(|c| c.deadline);
        let broken = self.broken.as_ref().map(|b| b.retry);
        // One that is lost wipes itself in the turn behind the one that tells of it.
        let lost = self.device.as_ref().filter(|device| device.is_lost()).map(|_| Instant::now());
        let life = self.life.deadline();
        [core, reconnect, patience, newcomer, leaving, closing, broken, lost, life].into_iter().flatten().min()
    }

    fn begin_closing(&mut self, reply: Option<Reply<()>>) {
        let closing = self.closing.get_or_insert_with(|| Closing {
            deadline: Instant::now() + limits::FLUSH_ON_CLOSE,
            replies: vec![],
            finishing: false,
        });
        closing.replies.extend(reply);
        self.commands.close();
    }

    /// Whether there is nothing left to wait for before stopping.
    async fn is_over(&mut self) -> bool {
        let Some(closing) = &mut self.closing else { return false };
        if Instant::now() >= closing.deadline {
            return true;
        }
        if self.device.as_ref().is_some_and(Device::is_lost) {
            // What it holds goes first.
            return false;
        }
        let finishing = closing.finishing;
        match self.flush(finishing).await {
            Flushed::Done => return true,
            Flushed::Finishing => self.closing.iter_mut().for_each(|closing| closing.finishing = true),
            Flushed::Sending => {}
        }
        false
    }

    /// Sends what waits, and then says that nothing more comes. `finishing`: that was said already.
    async fn flush(&mut self, finishing: bool) -> Flushed {
        // A mailbox of this device's own goes with it: what lies there alone has reached nobody.
        let own: Vec<RelayId> =
            self.wires.iter().filter(|(_, wire)| self.hosting.is(wire.address())).map(|(relay, _)| *relay).collect();
        let counts = |relay: &RelayId| !own.contains(relay);
        let up = self.wires.iter().any(|(relay, wire)| counts(relay) && wire.is_up());
        let comes = !up && self.wires.iter().any(|(relay, wire)| counts(relay) && wire.link.is_some());
        if !finishing && up {
            // What one relay has, the others need not have before the end. The device goes on by that one, whose word it was to wait for.
            let waits = |wire: &Wire| wire.link.is_some() && !wire.is_up();
            let late: Vec<RelayId> = self.wires.iter().filter(|(_, w)| waits(w)).map(|(relay, _)| *relay).collect();
            late.into_iter().for_each(|relay| self.drop_link(relay));
        }
        if self.wires.values().all(|wire| wire.link.is_none()) {
            return Flushed::Done;
        }
        let status = self.device.as_ref().map(Device::status).filter(|s| !s.removed && s.halted.is_none());
        let waits = match (status, &self.device) {
            (Some(status), Some(device)) => {
                let beyond = device.relays().iter().filter(|r| counts(&r.relay)).map(|r| r.accepted_seq).max();
                let accepted = beyond.filter(|_| !own.is_empty() && (up || comes)).unwrap_or(status.accepted_seq);
                // What was never sealed is in the outbox alone. If that cannot be read, nothing can be sent.
                status.sealed_seq > accepted
                    || self.store.reader().counts(accepted, 0).await.is_ok_and(|counts| counts.outbox > 0)
            }
            _ => false,
        };
        if waits || self.wires.values().any(|wire| !wire.outgoing.is_empty()) || finishing {
            return Flushed::Sending;
        }
        // The relay ends its side once it has taken everything, and that ends the link. What is not up yet may still come up, and
        // then be told what it is told whenever it does; but not while another one is.
        let any_up = self.wires.values().any(Wire::is_up);
        for wire in self.wires.values_mut() {
            match &mut wire.link {
                Some(link) if link.writer.is_some() => link.writer = None,
                link if any_up => *link = None,
                _ => {}
            }
        }
        Flushed::Finishing
    }

    /// Writes what waited for another write to go along with, as the last thing before the store is closed. Without it
    /// the relay says the same at the next attach.
    async fn put_down(&mut self, now: u64) {
        if let Some(device) = &mut self.device {
            for relay in device.relays() {
                device.handle_disconnected_at(relay.relay);
            }
        }
        if let Err(error) = self.transact(&mut Work::default(), now).await {
            tracing::warn!(code = %error.code, "the last transaction failed: {}", error.message);
        }
    }

    async fn stop(mut self) {
        self.carrier.abort();
        self.wires.values_mut().for_each(|wire| wire.link = None);
        self.put_down(self.start.now_ms()).await;
        while let Ok(command) = self.commands.try_recv() {
            command.refuse(SyncError::closed());
        }
        self.snapshot.send_modify(|s| {
            s.closed = true;
            s.online = false;
        });
        // Its way to a relay in this process ends before that does.
        let _ = (&mut self.carrier).await;
        self.start.doors.close().await;
        self.start.depot.close().await;
        self.hosting.stop().await;
        self.store.close().await;
        self.start.dialer.close().await;
        // Free before anybody who waits for the end is told.
        drop(self.home);
        for reply in self.closing.into_iter().flat_map(|c| c.replies) {
            let _ = reply.send(Ok(()));
        }
    }
}
