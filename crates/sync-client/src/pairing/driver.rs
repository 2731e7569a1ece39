//! Between the pairing machine, the rendezvous at the relay, the person and the engine.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Joining;
use sync_core::pairing::{Consent, Output, Pairing as Machine};
use sync_types::frame::{FromRelay, OpenSlot, SlotSide, ToRelay};
use sync_types::{Code, DeviceId, GroupId, RelayAddress, VERSION};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::failed;
use crate::client::Inner;
use crate::clock::{SystemRng, instant_of, now_ms};
use crate::engine::{Command, Crypto, Offering};
use crate::transport::{FrameReader, FrameWriter};
use crate::{PairingEvent, SyncError};

/// How long the relay may take to open the rendezvous.
const OPENING: Duration = Duration::from_secs(10);
/// How long the end of a failed pairing may take to reach the other side.
const PARTING: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<(), SyncError>>;

/// What the person answers.
#[derive(Debug)]
pub(super) enum Answer {
    TypeCheck(String, Reply),
    Consent(bool, Reply),
    WithoutCheck(Reply),
    Cancel(Reply),
}

/// What is waited for once the two sides have agreed.
enum Outcome {
    Joined(oneshot::Receiver<Result<(GroupId, DeviceId), SyncError>>),
    Added(oneshot::Receiver<Result<DeviceId, SyncError>>, String),
}

pub(super) struct Driver {
    inner: Arc<Inner>,
    machine: Machine,
    name: String,
    shows: bool,
    events: mpsc::Sender<PairingEvent>,
    answers: mpsc::Receiver<Answer>,
    writer: FrameWriter,
    frames: mpsc::Receiver<Result<FromRelay, SyncError>>,
    reading: JoinHandle<()>,
    joining: Option<Box<Joining<Crypto>>>,
    /// Whether the person was asked for something.
    asked: bool,
    /// Digits that were typed before they were asked for: the other device shows them a moment earlier.
    early: Option<Answer>,
    /// The newcomer's key package and name, once its person may join, and what was offered to it.
    newcomer: Option<(Vec<u8>, String, DeviceId, Offering)>,
    outcome: Option<Outcome>,
    done: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A side taken in a rendezvous.
pub(super) struct Meeting {
    reader: FrameReader,
    writer: FrameWriter,
}

impl Meeting {
    /// Takes a side.
    pub(super) async fn open(
        inner: &Inner,
        machine: &Machine,
        relay: &RelayAddress,
        shows: bool,
        ttl: Duration,
    ) -> Result<Self, SyncError> {
        let stream = inner.start.dialer.dial(relay).await?;
        let (mut reader, mut writer) = (stream.reader, stream.writer);
        let side = if shows { SlotSide::Shows } else { SlotSide::Scans };
        let ttl_seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let slot = OpenSlot { version: VERSION, slot: machine.slot(), side, ttl_seconds };
        writer.send(&ToRelay::OpenSlot(slot)).await?;
        match timeout(OPENING, reader.next()).await {
            Err(_) => Err(SyncError::new(Code::RelayUnreachable, "the relay opens no rendezvous")),
            Ok(frame) => match frame? {
                FromRelay::SlotOpened => Ok(Self { reader, writer }),
                FromRelay::Refused(refused) => {
                    let error = SyncError::new(refused.code(), "the relay refused the pairing");
                    Err(error.retry_after(refused.retry_after_ms))
                }
                _ => Err(SyncError::new(Code::Protocol, "the relay answered something else")),
            },
        }
    }
}

/// Whether the relay has this device attached, or soon does.
pub(super) async fn attached(inner: &Inner) -> bool {
    let mut snapshot = inner.snapshot.clone();
    let online = snapshot.wait_for(|now| now.online || now.closed);
    timeout(OPENING, online).await.is_ok_and(|now| now.is_ok_and(|now| now.online))
}

impl Driver {
    /// Goes on from a meeting. `name` is what this device is called, if it is the newcomer.
    pub(super) fn new(
        inner: Arc<Inner>,
        machine: Machine,
        name: String,
        shows: bool,
        meeting: Meeting,
        events: mpsc::Sender<PairingEvent>,
        answers: mpsc::Receiver<Answer>,
    ) -> Self {
        let Meeting { mut reader, writer } = meeting;
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
        Self {
            inner,
            machine,
            name,
            shows,
            events,
            answers,
            writer,
            frames,
            reading,
            joining: None,
            asked: false,
            early: None,
            newcomer: None,
            outcome: None,
            done: false,
        }
    }

    pub(super) async fn run(mut self) {
        let agreed = self.agree().await;
        // Too late for an answer: whoever gives one hears so, and does not wait for the group or the relay.
        self.early = None;
        self.answers.close();
        while self.answers.recv().await.is_some() {}
        let last = match agreed {
            Ok(()) => self.outcome().await,
            Err(error) => {
                self.part().await;
                PairingEvent::Failed(error)
            }
        };
        // Nobody has to listen.
        let _ = self.events.send(last).await;
    }

    /// Until both sides are through.
    async fn agree(&mut self) -> Result<(), SyncError> {
        loop {
            while let Some(output) = self.machine.poll_output() {
                if let Err(error) = self.act(output).await {
                    // Why the machine failed says more than that its last message could not be sent.
                    return Err(self.reason().unwrap_or(error));
                }
            }
            if self.done {
                return Ok(());
            }
            if self.asked
                && let Some(early) = self.early.take()
            {
                self.answer(Some(early));
                continue;
            }
            let deadline = self.machine.poll_timeout().map(instant_of);
            tokio::select! {
                frame = self.frames.recv() => self.frame(frame)?,
                answer = self.answers.recv() => self.answer(answer),
                () = async { if let Some(at) = deadline { sleep_until(at).await } }, if deadline.is_some() => {
                    // What comes of it is an output.
                    let _ = self.machine.handle_timeout(now_ms());
                }
            }
        }
    }

    /// Why the pairing failed, if the machine has that to say.
    fn reason(&mut self) -> Option<SyncError> {
        std::iter::from_fn(|| self.machine.poll_output()).find_map(|output| match output {
            Output::Failed(error) => Some(failed(error)),
            _ => None,
        })
    }

    fn frame(&mut self, frame: Option<Result<FromRelay, SyncError>>) -> Result<(), SyncError> {
        let gone = || SyncError::new(Code::RelayUnreachable, "the connection to the relay is lost");
        match frame.ok_or_else(gone)?? {
            // What comes of it is an output.
            FromRelay::SlotMessage(message) => drop(self.machine.handle_message(&message, now_ms())),
            FromRelay::SlotClosed => {
                return Err(SyncError::new(Code::NoSuchPairing, "the other device has left the pairing"));
            }
            FromRelay::Refused(refused) if refused.code() == Code::PairingUsed && self.shows => {
                let _ = self.machine.handle_second_scanner(now_ms());
            }
            FromRelay::Refused(refused) => {
                return Err(SyncError::new(refused.code(), "the relay ended the pairing"));
            }
            FromRelay::GoingAway(_) => return Err(SyncError::new(Code::Draining, "the relay is stopping")),
            _ => return Err(SyncError::new(Code::Protocol, "the relay sent what is no part of a pairing")),
        }
        Ok(())
    }

    fn answer(&mut self, answer: Option<Answer>) {
        let now = now_ms();
        let (result, reply) = match answer {
            Some(early @ Answer::TypeCheck(..)) if self.shows && !self.asked && self.early.is_none() => {
                self.early = Some(early);
                return;
            }
            Some(Answer::TypeCheck(digits, reply)) => (self.machine.type_check(&digits, now), reply),
            Some(Answer::Consent(yes, reply)) => (self.machine.consent(yes, now), reply),
            Some(Answer::WithoutCheck(reply)) => (self.machine.consent_without_check(now), reply),
            Some(Answer::Cancel(reply)) => (self.machine.cancel(), reply),
            None => {
                // The handle is gone, and so is the person. What comes of it is an output.
                let _ = self.machine.cancel();
                return;
            }
        };
        let _ = reply.send(result.map_err(failed));
    }

    async fn act(&mut self, output: Output) -> Result<(), SyncError> {
        match output {
            Output::Send(message) => self.writer.send(&ToRelay::SlotMessage(message.into())).await?,
            Output::ShowCheck(digits) => self.tell(PairingEvent::Check(digits)).await,
            Output::NeedCheck => {
                self.tell(PairingEvent::TypeCheck).await;
                self.asked = true;
            }
            Output::Request { name, consent } => {
                let needs_check = consent == Consent::CheckCode;
                self.tell(PairingEvent::Request { name, needs_check }).await;
                self.asked = true;
            }
            Output::NeedKeyPackage { time_ms } => {
                let crypto = sync_rules::mls::crypto();
                let (joining, key_package) =
                    Joining::new(crypto, time_ms, &self.name, &mut SystemRng).map_err(core_failed)?;
                self.joining = Some(Box::new(joining));
                self.machine.key_package(key_package, &self.name, now_ms()).map_err(failed)?;
            }
            Output::Approved { key_package, name } => {
                let (offer, offering) = self.inner.ask(|reply| Command::Offer { reply }).await?;
                self.newcomer = Some((key_package, name, offer.sponsor, offering));
                self.machine.offer(offer, now_ms()).map_err(failed)?;
            }
            Output::Offer(offer) => {
                let missing = || SyncError::new(Code::Internal, "an offer came before the key package");
                let mut joining = self.joining.take().ok_or_else(missing)?;
                joining.take_offer(offer);
                let (joined, outcome) = oneshot::channel();
                // Durable before the member is told to go on. If it cannot be, the member hears that this device gives up.
                self.inner.ask(|stored| Command::Join { joining, stored, joined }).await?;
                self.tell(PairingEvent::Agreed).await;
                self.machine.offer_stored().map_err(failed)?;
                self.outcome = Some(Outcome::Joined(outcome));
            }
            Output::OfferTaken => {
                let missing = || SyncError::new(Code::Internal, "an offer was taken that nobody made");
                let (key_package, name, sponsor, offering) = self.newcomer.take().ok_or_else(missing)?;
                let (reply, outcome) = oneshot::channel();
                let add = Command::Add { key_package, name: name.clone(), sponsor, offering, reply };
                self.inner.commands.send(add).await.map_err(|_| SyncError::closed())?;
                self.outcome = Some(Outcome::Added(outcome, name));
            }
            Output::Done => self.done = true,
            Output::Failed(error) => return Err(failed(error)),
        }
        Ok(())
    }

    /// The two sides have agreed; the rest is the group's.
    async fn outcome(&mut self) -> PairingEvent {
        let closed = |_| SyncError::closed();
        let event = match self.outcome.take() {
            Some(Outcome::Joined(outcome)) => outcome
                .await
                .map_err(closed)
                .and_then(|result| result)
                .map(|(group, device)| PairingEvent::Joined { group, device }),
            Some(Outcome::Added(outcome, name)) => outcome
                .await
                .map_err(closed)
                .and_then(|result| result)
                .map(|device| PairingEvent::Added { device, name }),
            None => Err(SyncError::new(Code::Internal, "a pairing ended without an outcome")),
        };
        event.unwrap_or_else(PairingEvent::Failed)
    }

    /// Lets what was sent last reach the other side, and burns the rendezvous.
    async fn part(&mut self) {
        // What failed here and not in the machine has told the other side nothing yet.
        let _ = self.machine.cancel();
        while let Some(output) = self.machine.poll_output() {
            if let Output::Send(message) = output {
                // The relay may be gone, and that may be why.
                let _ = self.writer.send(&ToRelay::SlotMessage(message.into())).await;
            }
        }
        let _ = self.writer.send(&ToRelay::CloseSlot).await;
        self.writer.finish().await;
        let drained = async { while let Some(Ok(_)) = self.frames.recv().await {} };
        let _ = timeout(PARTING, drained).await;
    }

    async fn tell(&self, event: PairingEvent) {
        // Nobody has to listen: the machine goes on, or is cancelled when the handle is dropped.
        let _ = self.events.send(event).await;
    }
}

fn core_failed(error: sync_core::DeviceError) -> SyncError {
    SyncError::new(error.code(), error.to_string())
}
