//! Between the pairing machine, the rendezvous at the relay, the person and the engine.

use std::sync::Arc;

use sync_core::Joining;
use sync_core::pairing::{Consent, Output};
use sync_types::frame::FromRelay;
use sync_types::{Code, DeviceId, GroupId, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::failed;
use super::meeting::Meeting;
use crate::client::Inner;
use crate::clock::SystemRng;
use crate::engine::{Command, Crypto, Offering};
use crate::{PairingEvent, SyncError};

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

/// A short code that is shown beside a link, as long as it is worth something.
pub(super) struct Beside {
    pub(super) meeting: Meeting,
    /// Whether the code is what was asked for: then its end is the end of all.
    pub(super) is_needed: bool,
}

pub(super) struct Driver {
    inner: Arc<Inner>,
    /// Where the other side is met, or expected first.
    meeting: Meeting,
    /// Where else it may come. Whoever opens a channel first is the one; the other rendezvous ends then.
    code: Option<Beside>,
    name: String,
    events: mpsc::Sender<PairingEvent>,
    answers: mpsc::Receiver<Answer>,
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

impl Driver {
    pub(super) fn new(
        inner: Arc<Inner>,
        meeting: Meeting,
        code: Option<Beside>,
        name: String,
        events: mpsc::Sender<PairingEvent>,
        answers: mpsc::Receiver<Answer>,
    ) -> Self {
        Self {
            inner,
            meeting,
            code,
            name,
            events,
            answers,
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
            while let Some(output) = self.meeting.machine.poll_output() {
                if !matches!(output, Output::Send(_) | Output::Failed(_)) {
                    self.leave_code();
                }
                if let Err(error) = self.act(output).await {
                    // Why the machine failed says more than that its last message could not be sent.
                    return Err(self.meeting.reason().unwrap_or(error));
                }
            }
            if self.done {
                return Ok(());
            }
            if self.turn_to_code().await? {
                continue;
            }
            if self.asked
                && let Some(early) = self.early.take()
            {
                self.answer(Some(early));
                continue;
            }
            self.wait().await?;
        }
    }

    /// Takes what comes next: from the relay, from the person, or of time.
    async fn wait(&mut self) -> Result<(), SyncError> {
        let beside = self.code.as_mut().map(|code| &mut code.meeting);
        let deadlines = [Some(&self.meeting), beside.as_deref()].into_iter().flatten();
        let deadline = deadlines
            .filter_map(|meeting| meeting.machine.poll_timeout())
            .min()
            .map(|at| self.inner.start.instant_of(at));
        let coming = async {
            match beside {
                Some(meeting) => meeting.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = self.meeting.next() => self.meeting.take(frame)?,
            frame = coming => self.take_for_code(frame).await?,
            answer = self.answers.recv() => self.answer(answer),
            () = async { if let Some(at) = deadline { sleep_until(at).await } }, if deadline.is_some() => {
                // What comes of it is an output.
                let _ = self.meeting.machine.handle_timeout(self.inner.start.now_ms());
                if let Some(code) = &mut self.code {
                    let _ = code.meeting.machine.handle_timeout(self.inner.start.now_ms());
                }
            }
        }
        Ok(())
    }

    async fn take_for_code(&mut self, frame: Option<Result<FromRelay, SyncError>>) -> Result<(), SyncError> {
        match self.code.as_mut().map(|code| code.meeting.take(frame)) {
            Some(Err(error)) => self.lose_code(error).await,
            _ => Ok(()),
        }
    }

    /// Says what the code's machine has to say, and goes on with that one if somebody knows the words: then true.
    async fn turn_to_code(&mut self) -> Result<bool, SyncError> {
        while let Some(code) = &mut self.code {
            match code.meeting.machine.poll_output() {
                None => return Ok(false),
                Some(Output::Send(message)) => {
                    if let Err(error) = code.meeting.send(message).await {
                        let why = code.meeting.reason().unwrap_or(error);
                        self.lose_code(why).await?;
                    }
                }
                Some(Output::Failed(error)) => self.lose_code(failed(error)).await?,
                Some(output) => {
                    if let Some(code) = self.code.take() {
                        set_aside(std::mem::replace(&mut self.meeting, code.meeting));
                    }
                    self.act(output).await?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Somebody has taken up the link.
    fn leave_code(&mut self) {
        if let Some(code) = self.code.take() {
            set_aside(code.meeting);
        }
    }

    /// The code is worth nothing any more. The link is none the worse for that: anybody can come to a nameplate.
    async fn lose_code(&mut self, why: SyncError) -> Result<(), SyncError> {
        match self.code.take() {
            Some(mut code) if code.is_needed => {
                code.meeting.part().await;
                Err(why)
            }
            Some(code) => {
                set_aside(code.meeting);
                self.tell(PairingEvent::CodeOver(why)).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn answer(&mut self, answer: Option<Answer>) {
        let now = self.inner.start.now_ms();
        let (result, reply) = match answer {
            Some(early @ Answer::TypeCheck(..)) if self.meeting.shows && !self.asked && self.early.is_none() => {
                self.early = Some(early);
                return;
            }
            Some(Answer::TypeCheck(digits, reply)) => (self.meeting.machine.type_check(&digits, now), reply),
            Some(Answer::Consent(yes, reply)) => (self.meeting.machine.consent(yes, now), reply),
            Some(Answer::WithoutCheck(reply)) => (self.meeting.machine.consent_without_check(now), reply),
            Some(Answer::Cancel(reply)) => (self.meeting.machine.cancel(), reply),
            None => {
                // The handle is gone, and so is the person. What comes of it is an output.
                let _ = self.meeting.machine.cancel();
                return;
            }
        };
        let _ = reply.send(result.map_err(failed));
    }

    async fn act(&mut self, output: Output) -> Result<(), SyncError> {
        match output {
            Output::Send(message) => self.meeting.send(message).await?,
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
                let suite = self.meeting.machine.suite();
                let (joining, key_package) =
                    Joining::new(crypto, suite, time_ms, &self.name, &mut SystemRng).map_err(core_failed)?;
                self.joining = Some(Box::new(joining));
                self.meeting.machine.key_package(key_package, &self.name, self.inner.start.now_ms()).map_err(failed)?;
            }
            Output::Approved { key_package, name } => {
                let (offer, offering) = self.inner.ask(|reply| Command::Offer { reply }).await?;
                self.newcomer = Some((key_package, name, offer.sponsor, offering));
                self.meeting.machine.offer(offer, self.inner.start.now_ms()).map_err(failed)?;
            }
            Output::Offer(offer) => {
                let missing = || SyncError::new(Code::Internal, "an offer came before the key package");
                let mut joining = self.joining.take().ok_or_else(missing)?;
                joining.take_offer(offer);
                let (joined, outcome) = oneshot::channel();
                // Durable before the member is told to go on. If it cannot be, the member hears that this device gives up.
                self.inner.ask(|stored| Command::Join { joining, stored, joined }).await?;
                self.tell(PairingEvent::Agreed).await;
                self.meeting.machine.offer_stored().map_err(failed)?;
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
            // A relay that says nothing of the change holds up nobody for ever.
            Some(Outcome::Added(outcome, name)) => timeout(limits::PAIRING_TTL, outcome)
                .await
                .map_err(|_| SyncError::new(Code::Timeout, "the relay has not said that the device is added"))
                .and_then(|added| added.map_err(closed).and_then(|result| result))
                .map(|device| PairingEvent::Added { device, name }),
            None => Err(SyncError::new(Code::Internal, "a pairing ended without an outcome")),
        };
        event.unwrap_or_else(PairingEvent::Failed)
    }

    async fn part(&mut self) {
        self.leave_code();
        self.meeting.part().await;
    }

    async fn tell(&self, event: PairingEvent) {
        // Nobody has to listen: the machine goes on, or is cancelled when the handle is dropped.
        let _ = self.events.send(event).await;
    }
}

/// Ends a rendezvous that is not the one: whoever is on the way there is told that the pairing was taken up.
fn set_aside(mut meeting: Meeting) {
    let now = meeting.now_ms();
    let _ = meeting.machine.handle_second_scanner(now);
    // Nobody waits for it. If the process ends first, the relay sees that.
    tokio::spawn(async move { meeting.part().await });
}

fn core_failed(error: sync_core::DeviceError) -> SyncError {
    SyncError::new(error.code(), error.to_string())
}
