//! One side of a pairing at its rendezvous: the machine, and the stream to the relay that carries what it says.

use std::sync::Arc;
use std::time::Duration;

use sync_core::pairing::{Output, Pairing as Machine};
use sync_types::frame::{FromRelay, JoinNameplate, OpenNameplate, OpenSlot, SlotSide, ToRelay};
use sync_types::link::Side;
use sync_types::{Code, RelayAddress, ShortCode, VERSION};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::failed;
use crate::SyncError;
use crate::client::Inner;
use crate::clock::SystemRng;
use crate::engine::Start;
use crate::transport::{FrameReader, FrameWriter};

/// How long the relay may take to open the rendezvous.
const OPENING: Duration = Duration::from_secs(10);
/// How long the end of a failed pairing may take to reach the other side.
const PARTING: Duration = Duration::from_secs(1);

pub(super) struct Meeting {
    pub(super) machine: Machine,
    pub(super) shows: bool,
    writer: FrameWriter,
    frames: mpsc::Receiver<Result<FromRelay, SyncError>>,
    reading: JoinHandle<()>,
    start: Arc<Start>,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Meeting {
    /// Takes a side in the rendezvous of a link.
    pub(super) async fn over_link(
        inner: &Inner,
        relay: &RelayAddress,
        machine: Machine,
        shows: bool,
        ttl: Duration,
    ) -> Result<Self, SyncError> {
        let start = &inner.start;
        let slot =
            machine.slot().ok_or_else(|| SyncError::new(Code::Internal, "a pairing without a link has no slot"))?;
        let side = if shows { SlotSide::Shows } else { SlotSide::Scans };
        let ask = ToRelay::OpenSlot(OpenSlot { version: VERSION, slot, side, ttl_seconds: seconds(ttl) });
        let opened = match open(start, relay, &ask).await {
            // A relay that another device hosts lets members show a link, and knows them while they are attached.
            Err(error) if error.code == Code::AccessDenied && shows && attached(inner).await => {
                open(start, relay, &ask).await
            }
            other => other,
        };
        let (reader, writer, answer) = opened?;
        match answer {
            FromRelay::SlotOpened => Ok(Self::begin(start, machine, shows, reader, writer)),
            _ => Err(something_else()),
        }
    }

    /// Has the relay give a nameplate, and draws a code for it.
    pub(super) async fn show_code(
        start: &Arc<Start>,
        relay: &RelayAddress,
        side: Side,
        ttl: Duration,
    ) -> Result<Self, SyncError> {
        let ask = ToRelay::OpenNameplate(OpenNameplate { version: VERSION, ttl_seconds: seconds(ttl) });
        let (reader, writer, answer) = open(start, relay, &ask).await?;
        let FromRelay::Nameplate(nameplate) = answer else { return Err(something_else()) };
        let machine = Machine::show_code(side, &start.app_id, nameplate, ttl, &mut SystemRng, start.now_ms());
        Ok(Self::begin(start, machine.map_err(failed)?, true, reader, writer))
    }

    /// Comes to the nameplate of a code that was typed.
    pub(super) async fn type_code(
        start: &Arc<Start>,
        relay: &RelayAddress,
        side: Side,
        code: ShortCode,
    ) -> Result<Self, SyncError> {
        let ask = ToRelay::JoinNameplate(JoinNameplate { version: VERSION, nameplate: code.nameplate() });
        let (reader, writer, answer) = open(start, relay, &ask).await?;
        let FromRelay::SlotOpened = answer else { return Err(something_else()) };
        let machine = Machine::type_code(code, side, &start.app_id, &mut SystemRng).map_err(failed)?;
        Ok(Self::begin(start, machine, false, reader, writer))
    }

    fn begin(start: &Arc<Start>, machine: Machine, shows: bool, mut reader: FrameReader, writer: FrameWriter) -> Self {
        let (sender, frames) = mpsc::channel(16);
        let reading = tokio::spawn(async move {
            loop {
                let frame = reader.next().await;
                let over = frame.is_err();
                if sender.send(frame).await.is_err() || over {
                    return;
                }
            }
        });
        Self { machine, shows, writer, frames, reading, start: start.clone() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.start.now_ms()
    }

    /// The next word of the relay. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Result<FromRelay, SyncError>> {
        self.frames.recv().await
    }

    /// Hands what the relay said to the machine.
    pub(super) fn take(&mut self, frame: Option<Result<FromRelay, SyncError>>) -> Result<(), SyncError> {
        let gone = || SyncError::new(Code::RelayUnreachable, "the connection to the relay is lost");
        match frame.ok_or_else(gone)?? {
            // What comes of it is an output.
            FromRelay::SlotMessage(message) => drop(self.machine.handle_message(&message, self.now_ms())),
            FromRelay::SlotClosed => {
                return Err(SyncError::new(Code::NoSuchPairing, "the other device has left the pairing"));
            }
            FromRelay::Refused(refused) if refused.code() == Code::PairingUsed && self.shows => {
                let _ = self.machine.handle_second_scanner(self.now_ms());
            }
            FromRelay::Refused(refused) => {
                return Err(SyncError::new(refused.code(), "the relay ended the pairing"));
            }
            FromRelay::GoingAway(_) => return Err(SyncError::new(Code::Draining, "the relay is stopping")),
            _ => return Err(SyncError::new(Code::Protocol, "the relay sent what is no part of a pairing")),
        }
        Ok(())
    }

    /// Lays a message down for the other side.
    pub(super) async fn send(&mut self, message: Vec<u8>) -> Result<(), SyncError> {
        self.writer.send(&ToRelay::SlotMessage(message.into())).await
    }

    /// Why the pairing failed, if the machine has that to say.
    pub(super) fn reason(&mut self) -> Option<SyncError> {
        std::iter::from_fn(|| self.machine.poll_output()).find_map(|output| match output {
            Output::Failed(error) => Some(failed(error)),
            _ => None,
        })
    }

    /// Lets what was sent last reach the other side, and burns the rendezvous.
    pub(super) async fn part(&mut self) {
        // What failed here and not in the machine has told the other side nothing yet.
        let _ = self.machine.cancel();
        while let Some(output) = self.machine.poll_output() {
            if let Output::Send(message) = output {
                // The relay may be gone, and that may be why.
                let _ = self.send(message).await;
            }
        }
        let _ = self.writer.send(&ToRelay::CloseSlot).await;
        self.writer.finish().await;
        let drained = async { while let Some(Ok(_)) = self.frames.recv().await {} };
        let _ = timeout(PARTING, drained).await;
    }
}

/// Whether the relay has this device attached, or soon does.
async fn attached(inner: &Inner) -> bool {
    let mut snapshot = inner.snapshot.clone();
    if snapshot.borrow().group.is_none() {
        return false;
    }
    let online = snapshot.wait_for(|now| now.online || now.closed);
    timeout(OPENING, online).await.is_ok_and(|now| now.is_ok_and(|now| now.online))
}

/// A stream to the relay, and its answer to the first frame on it.
async fn open(
    start: &Start,
    relay: &RelayAddress,
    ask: &ToRelay,
) -> Result<(FrameReader, FrameWriter, FromRelay), SyncError> {
    let stream = start.dialer.dial(relay).await?;
    let (mut reader, mut writer) = (stream.reader, stream.writer);
    writer.send(ask).await?;
    match timeout(OPENING, reader.next()).await {
        Err(_) => Err(SyncError::new(Code::RelayUnreachable, "the relay opens no rendezvous")),
        Ok(frame) => match frame? {
            FromRelay::Refused(refused) => {
                let error = SyncError::new(refused.code(), "the relay refused the pairing");
                Err(error.retry_after(refused.retry_after_ms))
            }
            answer => Ok((reader, writer, answer)),
        },
    }
}

fn something_else() -> SyncError {
    SyncError::new(Code::Protocol, "the relay answered something else")
}

fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}
