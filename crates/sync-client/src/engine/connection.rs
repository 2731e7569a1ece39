//! The connections to the relays: made, watched and made again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::select_all;
use sync_core::event::Event;
use sync_core::{Device, RelayId, relays_of};
use sync_sqlite::crash::point;
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::{Code, RelayAddress};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::hosting::Port;
use super::reconnect::{Next, Reconnect};
use super::waking::Told;
use super::{Engine, setup};
use crate::clock::SystemRng;
use crate::transport::SharedDialer;
use crate::{ClientEvent, RelayPath, SyncError, crash};

/// How many frames wait for the network before the engine keeps them.
const WRITES: usize = 16;

/// With several relays, how long one may take to connect and attach before another one takes the lead.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a connection's task tells. The last thing is always [`Net::Down`].
pub(super) enum Net {
    /// The stream stands.
    Up { exporter: [u8; 32], path: RelayPath, writer: mpsc::Sender<ToRelay> },
    /// A frame came.
    Frame(FromRelay),
    /// The stream is over, or could not be made.
    Down(SyncError),
}

/// A connection, or a try to make one. Dropping it ends it.
pub(super) struct Link {
    task: JoinHandle<()>,
    /// When it was begun.
    since: Instant,
    /// Whether the device was told that it takes long.
    late: bool,
    /// The number of this connection: what comes from an earlier one is not heard.
    generation: u64,
    pub(super) writer: Option<mpsc::Sender<ToRelay>>,
    /// How the relay was reached, once it was.
    pub(super) path: Option<RelayPath>,
    /// Whether it is a newcomer's, which fetches its Welcome.
    newcomer: bool,
    token: Option<String>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(dialer: SharedDialer, relay: RelayAddress, generation: u64, net: mpsc::Sender<(u64, Net)>) {
    let run = async {
        let stream = dialer.dial(&relay).await?;
        let (sender, mut frames) = mpsc::channel(WRITES);
        let up = Net::Up { exporter: stream.exporter, path: stream.path, writer: sender };
        net.send((generation, up)).await.map_err(|_| SyncError::closed())?;
        let (mut reader, mut writer) = (stream.reader, stream.writer);
        let write = async {
            while let Some(frame) = frames.recv().await {
                writer.send(&frame).await?;
                point(crash::AFTER_SEND);
            }
            // Nothing more is to be sent; the relay may still have something to say.
            writer.finish().await;
            std::future::pending::<Result<(), SyncError>>().await
        };
        let read = async {
            loop {
                let frame = reader.next().await?;
                net.send((generation, Net::Frame(frame))).await.map_err(|_| SyncError::closed())?;
            }
        };
        tokio::select! { result = write => result, result = read => result }
    };
    let result: Result<(), SyncError> = run.await;
    let error = result.err().unwrap_or_else(SyncError::closed);
    // The engine may be gone.
    let _ = net.send((generation, Net::Down(error))).await;
}

/// The way to one relay.
pub(super) struct Wire {
    /// Without its token.
    address: RelayAddress,
    pub(super) reconnect: Reconnect,
    pub(super) link: Option<Link>,
    pub(super) outgoing: VecDeque<ToRelay>,
    /// Why the last connection ended.
    pub(super) trouble: Option<SyncError>,
    /// What it was told about waking this device.
    pub(super) told: Told,
}

impl Wire {
    fn new(address: RelayAddress) -> Self {
        Self {
            address,
            reconnect: Reconnect::new(),
            link: None,
            outgoing: VecDeque::new(),
            trouble: None,
            told: Told::default(),
        }
    }

    pub(super) fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// Whether frames can be sent.
    pub(super) fn is_up(&self) -> bool {
        self.writer().is_some()
    }

    fn writer(&self) -> Option<&mpsc::Sender<ToRelay>> {
        self.link.as_ref()?.writer.as_ref()
    }

    /// Hands frames over as long as there is room.
    fn send(&mut self) {
        let Some(writer) = self.link.as_ref().and_then(|link| link.writer.as_ref()) else { return };
        while !self.outgoing.is_empty()
            && let Ok(permit) = writer.try_reserve()
            && let Some(frame) = self.outgoing.pop_front()
        {
            permit.send(frame);
        }
    }
}

impl Engine {
    /// Whether there is anybody to connect as.
    pub(super) fn wants_connection(&self) -> bool {
        self.closing.is_none()
            && self.life.connects()
            && self.broken.is_none()
            && (self.newcomer.is_some() || self.device.as_ref().is_some_and(|device| !device.is_removed()))
    }

    /// The relays to connect to: for a newcomer the first one, which has its Welcome.
    fn wanted(&self) -> Vec<(RelayId, Option<RelayAddress>)> {
        match (&self.newcomer, &self.device) {
            (Some(newcomer), _) => {
                let settings = newcomer.joining.settings().unwrap_or_default();
                relays_of(&settings).into_iter().take(1).collect()
            }
            (None, Some(device)) => device.relay_addresses(),
            (None, None) => Vec::new(),
        }
    }

    /// Has a way to each relay that is wanted, and to no other.
    fn lay_wires(&mut self) {
        let wanted = self.wanted();
        let gone = |relay: &&RelayId| wanted.iter().all(|(id, _)| id != *relay);
        let gone: Vec<RelayId> = self.wires.keys().filter(gone).copied().collect();
        for relay in gone {
            self.drop_link(relay);
            self.wires.remove(&relay);
        }
        for (relay, address) in wanted {
            // Without an address there is nowhere to go to; [`Engine::relay_now`] says so.
            let address = address.unwrap_or(RelayAddress::Embedded);
            let wire = self.wires.entry(relay).or_insert_with(|| Wire::new(address.clone()));
            if wire.address != address {
                wire.address = address;
                wire.reconnect.nudge();
            }
        }
    }

    /// Connects where that is due.
    pub(super) async fn drive(&mut self) {
        if !self.wants_connection() {
            return;
        }
        self.lay_wires();
        let now = Instant::now();
        let due = |wire: &Wire| wire.link.is_none() && wire.reconnect.next(now) == Next::Dial;
        let due: Vec<RelayId> = self.wires.iter().filter(|(_, wire)| due(wire)).map(|(relay, _)| *relay).collect();
        for relay in due {
            let Some(address) = self.wires.get(&relay).map(|wire| wire.address.clone()) else { continue };
            match self.reachable(address).await {
                Ok(address) => self.dial(relay, address),
                Err(error) => self.lost(relay, error),
            }
        }
    }

    fn dial(&mut self, relay: RelayId, address: RelayAddress) {
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        wire.reconnect.dialing();
        wire.outgoing.clear();
        wire.told = Told::default();
        self.generation += 1;
        let generation = self.generation;
        let token = address.token().map(str::to_owned);
        let task = connection(self.start.dialer.clone(), address, generation, self.net_sender.clone());
        let newcomer = self.newcomer.is_some();
        wire.link = Some(Link {
            task: tokio::spawn(task),
            generation,
            since: Instant::now(),
            late: false,
            writer: None,
            path: None,
            newcomer,
            token,
        });
    }

    /// With several relays: one that is slow to answer keeps the device from working through another only so long.
    pub(super) fn end_patience(&mut self) {
        let now = Instant::now();
        let Some(due) = self.patience_ends_at().filter(|at| *at <= now) else { return };
        let is_late = |wire: &Wire| wire.link.as_ref().is_some_and(|l| !l.late && l.since + PATIENCE <= due);
        let late: Vec<RelayId> = self.wires.iter().filter(|(_, wire)| is_late(wire)).map(|(relay, _)| *relay).collect();
        for relay in late {
            let attached =
                self.device.as_ref().is_some_and(|d| d.relays().iter().any(|r| r.relay == relay && r.attached));
            let Some(link) = self.wires.get_mut(&relay).and_then(|wire| wire.link.as_mut()) else { continue };
            link.late = true;
            if attached {
                continue;
            }
            if link.writer.is_some() {
                self.lost(relay, SyncError::timeout("attaching to the relay"));
            } else if let Some(device) = &mut self.device {
                device.handle_disconnected_at(relay);
            }
        }
    }

    /// When [`Engine::end_patience`] has something to do.
    pub(super) fn patience_ends_at(&self) -> Option<Instant> {
        if self.wires.len() < 2 {
            return None;
        }
        let links = self.wires.values().filter_map(|wire| wire.link.as_ref());
        links.filter(|link| !link.late).map(|link| link.since + PATIENCE).min()
    }

    /// When a connection is due.
    pub(super) fn dial_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.wires.values().filter_map(|wire| match wire.reconnect.next(now) {
            Next::Wait(until) => Some(until),
            _ => None,
        });
        waits.min().filter(|_| self.wants_connection())
    }

    /// The group's first relay, with its token. If this device hosts it, it runs when this returns.
    pub(super) async fn relay_now(&mut self) -> Result<RelayAddress, SyncError> {
        let first = self.wanted().into_iter().next().and_then(|(_, address)| address);
        let first = first.ok_or_else(|| SyncError::new(Code::AddressInvalid, "the group names no relay"))?;
        self.reachable(first).await
    }

    /// An address of the group's as this device uses it: with the token, and running if it is this device's own.
    pub(super) async fn reachable(&mut self, relay: RelayAddress) -> Result<RelayAddress, SyncError> {
        if relay == RelayAddress::Embedded {
            return Err(SyncError::new(Code::AddressInvalid, "the group names no relay"));
        }
        if self.hosting.is(&relay) {
            self.hosting.ensure(self.start.dialer.local(), &mut self.store, Port::Named).await?;
        }
        if self.relay.without_token() == relay {
            return Ok(self.relay.clone());
        }
        let token = self.store.meta(&token_name(&relay)).await?;
        Ok(token.and_then(|token| format!("{relay}#{token}").parse().ok()).unwrap_or(relay))
    }

    /// Keeps the tokens of these addresses, for this installation alone.
    pub(super) async fn keep_tokens(&mut self, relays: &[RelayAddress]) -> Result<(), SyncError> {
        for relay in relays {
            if let Some(token) = relay.token() {
                self.store.set_meta(&token_name(&relay.without_token()), token).await?;
            }
        }
        Ok(())
    }

    /// Waits until a frame that is to go out has room, and hands it over.
    pub(super) async fn send_one(wires: &mut BTreeMap<RelayId, Wire>) {
        let waiting = wires.iter().filter(|(_, wire)| !wire.outgoing.is_empty());
        let waiting = waiting.filter_map(|(relay, wire)| Some((*relay, wire.writer()?.clone())));
        let room = waiting.map(|(relay, writer)| Box::pin(async move { (relay, writer.reserve_owned().await) }));
        let room: Vec<_> = room.collect();
        if room.is_empty() {
            return std::future::pending().await;
        }
        let ((relay, permit), _, _) = select_all(room).await;
        let Some(wire) = wires.get_mut(&relay) else { return };
        match (permit, wire.outgoing.pop_front()) {
            (Ok(permit), Some(frame)) => drop(permit.send(frame)),
            // The connection's task has ended and says so itself.
            _ => wire.outgoing.clear(),
        }
    }

    /// Hands frames over as long as there is room.
    pub(super) fn send(&mut self) {
        if let Some(device) = &mut self.device {
            for (relay, wire) in &mut self.wires {
                wire.outgoing.extend(device.take_sends_at(*relay));
            }
        }
        self.wires.values_mut().for_each(Wire::send);
    }

    pub(super) fn handle_net(&mut self, generation: u64, net: Net) -> Option<(RelayId, FromRelay)> {
        let is = |wire: &Wire| wire.link.as_ref().is_some_and(|link| link.generation == generation);
        let relay = self.wires.iter().find(|(_, wire)| is(wire)).map(|(relay, _)| *relay)?;
        match net {
            Net::Up { exporter, path, writer } => self.came_up(relay, exporter, path, writer),
            Net::Frame(frame) => return Some((relay, frame)),
            Net::Down(_) if self.life.is_finishing() => self.drop_link(relay),
            Net::Down(error) => {
                // What the relay gave as its reason goes before that the stream is over.
                let reason = self.device.as_ref().and_then(|device| device.disconnecting(relay));
                self.lost(relay, reason.map_or(error, |(code, retry_after_ms)| ended(code, retry_after_ms)));
            }
        }
        None
    }

    fn came_up(&mut self, relay: RelayId, exporter: [u8; 32], path: RelayPath, writer: mpsc::Sender<ToRelay>) {
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        wire.reconnect.up(Instant::now());
        let Some(link) = &mut wire.link else { return };
        (link.writer, link.path) = (Some(writer), Some(path));
        let begun = match (link.newcomer, &self.newcomer, &mut self.device) {
            (true, Some(newcomer), _) => newcomer.joining.attach(&exporter).map(|frame| wire.outgoing.push_back(frame)),
            (false, _, Some(device)) => device.handle_connected_at(relay, &exporter, link.token.as_deref()),
            _ => return self.reconnect_now(),
        };
        if let Err(error) = begun {
            self.lost(relay, setup::failed(error));
        }
    }

    /// Whether the connection to this relay is a newcomer's.
    pub(super) fn is_newcomers(&self, relay: RelayId) -> bool {
        self.wires.get(&relay).and_then(|wire| wire.link.as_ref()).is_some_and(|link| link.newcomer)
    }

    /// The connection is gone, or could not be made.
    pub(super) fn lost(&mut self, relay: RelayId, error: SyncError) {
        let retry_after = error.retry_after_ms.unwrap_or(0);
        self.drop_link(relay);
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        let wait = wire.reconnect.down(Instant::now(), retry_after, &mut SystemRng);
        // Of no use until somebody changes something. A removal is not among them: it counts once this device has read the
        // commit that is final, and until then the relay may have to take it back.
        if matches!(error.code, Code::Version | Code::Suite) {
            wire.reconnect.stop();
        }
        wire.trouble = Some(error.clone());
        tracing::debug!(code = %error.code, wait, "not connected");
        if self.is_online() {
            // Another relay leads on.
            return;
        }
        self.tell(ClientEvent::Disconnected { code: error.code, message: error.message.clone(), retry_after_ms: wait });
        self.trouble = Some(error);
    }

    /// All connections are gone.
    pub(super) fn lost_all(&mut self, error: &SyncError) {
        for relay in self.wires.keys().copied().collect::<Vec<_>>() {
            self.drop_link(relay);
        }
        for relay in self.wires.keys().copied().collect::<Vec<_>>() {
            self.lost(relay, error.clone());
        }
        self.trouble = Some(error.clone());
    }

    pub(super) fn drop_link(&mut self, relay: RelayId) {
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        wire.link = None;
        wire.outgoing.clear();
        if let Some(device) = &mut self.device {
            device.handle_disconnected_at(relay);
        }
    }

    /// Ends the connections, if there are some. Others are made at once if [`Engine::wants_connection`], and else as soon as
    /// it does.
    pub(super) fn reconnect_now(&mut self) {
        for relay in self.wires.keys().copied().collect::<Vec<_>>() {
            self.drop_link(relay);
        }
        self.wires.values_mut().for_each(|wire| wire.reconnect.renew());
    }

    /// Connects at once where no connection stands or is being made.
    pub(super) fn nudge(&mut self) {
        self.wires.values_mut().for_each(|wire| wire.reconnect.nudge());
    }

    /// Whether connecting is of no use anywhere.
    pub(super) fn is_stopped(&self) -> bool {
        !self.wires.is_empty() && self.wires.values().all(|wire| wire.reconnect.is_stopped())
    }

    /// What the core says about a session.
    pub(super) fn session_event(&mut self, event: &Event) {
        match event {
            Event::Online => self.trouble = None,
            // Once for each connection.
            Event::Disconnect { relay, code, retry_after_ms }
                if self.wires.get(relay).is_some_and(|wire| wire.link.is_some()) =>
            {
                self.lost(*relay, ended(*code, *retry_after_ms));
            }
            // Final, so that no connection is wanted any more.
            Event::Removed { .. } => self.reconnect_now(),
            _ => {}
        }
    }

    /// Whether a relay has this device attached.
    pub(super) fn is_online(&self) -> bool {
        self.device.as_ref().map(Device::status).is_some_and(|status| status.online)
    }
}

fn ended(code: Code, retry_after_ms: u32) -> SyncError {
    SyncError::new(code, format!("the relay ended the session: {code}")).retry_after(retry_after_ms)
}

fn token_name(relay: &RelayAddress) -> String {
    format!("relay_token {relay}")
}
