//! The connection to the relay: made, watched and made again.

use sync_core::Device;
use sync_core::event::Event;
use sync_sqlite::crash::point;
use sync_types::frame::{FromRelay, ToRelay};
use sync_types::{Code, RelayAddress};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::hosting::Port;
use super::reconnect::Next;
use super::{Engine, setup};
use crate::clock::SystemRng;
use crate::transport::SharedDialer;
use crate::{ClientEvent, SyncError, crash};

/// How many frames wait for the network before the engine keeps them.
const WRITES: usize = 16;

/// What a connection's task tells. The last thing is always [`Net::Down`].
pub(super) enum Net {
    /// The stream stands.
    Up { exporter: [u8; 32], writer: mpsc::Sender<ToRelay> },
    /// A frame came.
    Frame(FromRelay),
    /// The stream is over, or could not be made.
    Down(SyncError),
}

/// A connection, or a try to make one. Dropping it ends it.
pub(super) struct Link {
    task: JoinHandle<()>,
    pub(super) writer: Option<mpsc::Sender<ToRelay>>,
    /// Whether it is a newcomer's, which fetches its Welcome.
    pub(super) newcomer: bool,
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
        let up = Net::Up { exporter: stream.exporter, writer: sender };
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

impl Engine {
    /// Whether there is anybody to connect as.
    pub(super) fn wants_connection(&self) -> bool {
        self.closing.is_none()
            && self.broken.is_none()
            && (self.newcomer.is_some() || self.device.as_ref().is_some_and(|device| !device.is_removed()))
    }

    /// Connects if that is due.
    pub(super) async fn drive(&mut self) {
        let due = self.link.is_none() && self.wants_connection() && self.reconnect.next(Instant::now()) == Next::Dial;
        if !due {
            return;
        }
        let relay = match self.relay_now().await {
            Ok(relay) => relay,
            Err(error) => return self.lost(error),
        };
        self.reconnect.dialing();
        self.generation += 1;
        self.outgoing.clear();
        let task = connection(self.start.dialer.clone(), relay, self.generation, self.net_sender.clone());
        self.link = Some(Link { task: tokio::spawn(task), writer: None, newcomer: self.newcomer.is_some() });
    }

    /// The relay to connect to, with its token. If this device hosts it, it runs when this returns.
    pub(super) async fn relay_now(&mut self) -> Result<RelayAddress, SyncError> {
        let settings = match (&self.newcomer, &self.device) {
            (Some(newcomer), _) => newcomer.joining.settings(),
            (None, Some(device)) => Some(device.settings()),
            (None, None) => None,
        };
        let relays = settings.map(|s| s.relays).unwrap_or_default();
        let first = relays.iter().find_map(|text| std::str::from_utf8(text).ok()?.parse::<RelayAddress>().ok());
        let relay = first.ok_or_else(|| SyncError::new(Code::AddressInvalid, "the group names no relay"))?;
        if self.hosting.is(&relay) {
            self.hosting.ensure(self.start.dialer.local(), &mut self.store, Port::Named).await?;
        }
        Ok(if self.relay.without_token() == relay { self.relay.clone() } else { relay })
    }

    pub(super) fn handle_net(&mut self, generation: u64, net: Net) -> Option<FromRelay> {
        if generation != self.generation || self.link.is_none() {
            return None;
        }
        match net {
            Net::Up { exporter, writer } => self.came_up(exporter, writer),
            Net::Frame(frame) => return Some(frame),
            Net::Down(error) => self.lost(error),
        }
        None
    }

    fn came_up(&mut self, exporter: [u8; 32], writer: mpsc::Sender<ToRelay>) {
        self.reconnect.up(Instant::now());
        let token = self.relay.token().map(str::to_owned);
        let Some(link) = &mut self.link else { return };
        link.writer = Some(writer);
        let begun = match (link.newcomer, &self.newcomer, &mut self.device) {
            (true, Some(newcomer), _) => newcomer.joining.attach(&exporter).map(|frame| self.outgoing.push_back(frame)),
            (false, _, Some(device)) => device.handle_connected(&exporter, token.as_deref()),
            _ => return self.reconnect_now(),
        };
        if let Err(error) = begun {
            self.lost(setup::failed(error));
        }
    }

    /// The connection is gone, or could not be made.
    pub(super) fn lost(&mut self, error: SyncError) {
        let retry_after = error.retry_after_ms.unwrap_or(0);
        self.drop_link();
        let wait = self.reconnect.down(Instant::now(), retry_after, &mut SystemRng);
        // Of no use until somebody changes something. A removal is not among them: it counts once this device has read the
        // commit that is final, and until then the relay may have to take it back.
        if matches!(error.code, Code::Version | Code::Suite) {
            self.reconnect.stop();
        }
        tracing::debug!(code = %error.code, wait, "not connected");
        self.tell(ClientEvent::Disconnected { code: error.code, message: error.message.clone(), retry_after_ms: wait });
        self.trouble = Some(error);
    }

    fn drop_link(&mut self) {
        self.link = None;
        self.generation += 1;
        self.outgoing.clear();
        if let Some(device) = &mut self.device {
            device.handle_disconnected();
        }
    }

    /// Ends the connection, if there is one. Another is made at once if [`Engine::wants_connection`], and else as soon as
    /// it does.
    pub(super) fn reconnect_now(&mut self) {
        self.drop_link();
        self.reconnect.renew();
    }

    /// What the core says about the session.
    pub(super) fn session_event(&mut self, event: &Event) {
        match event {
            Event::Online => self.trouble = None,
            Event::Disconnect { code, retry_after_ms } => {
                let error = SyncError::new(*code, format!("the relay ended the session: {code}"));
                self.lost(error.retry_after(*retry_after_ms));
            }
            // Final, so that no connection is wanted any more.
            Event::Removed { .. } => self.reconnect_now(),
            _ => {}
        }
    }

    /// Whether the relay has this device attached.
    pub(super) fn is_online(&self) -> bool {
        self.device.as_ref().map(Device::status).is_some_and(|status| status.online)
    }
}
