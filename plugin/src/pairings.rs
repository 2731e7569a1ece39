//! Pairings that a webview began: their steps go to it, its answers come back.

use std::pin::Pin;
use std::sync::Arc;

use sync_client::{Code, Pairing, PairingEvent, SyncError};
use tauri::ipc::Channel;
use tokio::sync::{mpsc, oneshot};

use crate::consent::{Consent, ConsentRequest};
use crate::pages::Page;
use crate::pairing_types::PairingStep;
use crate::qr;
use crate::registry::Task;
use crate::state::Ksync;
use crate::types::Device;

/// A pairing that is open in a webview. It is given up with its page.
#[derive(Debug)]
pub(crate) struct Open {
    answers: mpsc::Sender<(Answer, Reply)>,
    _task: Task,
}

/// What this device is in a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It adds another device to its group.
    Member,
    /// It comes into another device's group.
    Newcomer,
}

/// What the webview says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// These digits were typed.
    Digits(String),
    /// Yes or no.
    Consent(bool),
    /// It is given up.
    Cancel,
}

type Reply = oneshot::Sender<Result<(), SyncError>>;

/// Goes on with a pairing for a page. Gives the number that its answers name.
///
/// # Errors
/// [`Code::Closed`] if the page is gone; [`Code::InvalidArgument`] if it has too many already. Then the pairing is given up.
pub(crate) fn begin(
    ksync: &Arc<Ksync>,
    page: &Page,
    side: Side,
    pairing: Pairing,
    steps: Channel<PairingStep>,
) -> Result<u32, SyncError> {
    let (answers, receiver) = mpsc::channel(4);
    let consent = ksync.consent.clone();
    let talk = Talk { consent, side, pairing, steps, answers: receiver, newcomer: None, digits: false, asking: None };
    let begun = |id| {
        let (ksync, webview) = (ksync.clone(), page.webview().to_owned());
        let work = async move {
            talk.run().await;
            ksync.pairings.remove(&webview, id);
        };
        Open { answers, _task: Task::spawn(work) }
    };
    ksync.pages.still(page, || ksync.pairings.insert(page.webview(), |_| Ok(()), begun))?
}

/// Takes an answer to the pairing of this number.
pub(crate) async fn answer(ksync: &Ksync, webview: &str, id: u32, answer: Answer) -> Result<(), SyncError> {
    let over = || SyncError::new(Code::PairingUsed, "the pairing is over");
    let answers = ksync.pairings.with(webview, id, |open| open.answers.clone()).ok_or_else(over)?;
    let (reply, result) = oneshot::channel();
    answers.send((answer, reply)).await.map_err(|_| over())?;
    result.await.map_err(|_| over())?
}

struct Talk {
    consent: Consent,
    side: Side,
    pairing: Pairing,
    steps: Channel<PairingStep>,
    answers: mpsc::Receiver<(Answer, Reply)>,
    /// What the newcomer calls itself, once it has asked.
    newcomer: Option<String>,
    /// Whether digits were asked for.
    digits: bool,
    asking: Option<Asking>,
}

/// A yes of the page that waits for a person's outside of it.
struct Asking {
    person: Pin<Box<dyn Future<Output = Result<(), SyncError>> + Send>>,
    answer: Answer,
    reply: Reply,
}

impl Talk {
    /// Until the pairing has come to something, or the webview is gone. Steps go on while the person is asked, and the page may
    /// still give up.
    async fn run(mut self) {
        loop {
            tokio::select! {
                event = self.pairing.next() => {
                    let Some(event) = event else { return };
                    match &event {
                        PairingEvent::Request { name, needs_check } => {
                            self.newcomer = Some(name.clone());
                            self.digits |= *needs_check;
                        }
                        PairingEvent::TypeCheck => self.digits = true,
                        _ => {}
                    }
                    if self.steps.send(step(event)).is_err() {
                        return;
                    }
                }
                answer = self.answers.recv() => {
                    let Some((answer, reply)) = answer else { return };
                    self.answered(answer, reply).await;
                }
                agreed = async {
                    match &mut self.asking {
                        Some(asking) => asking.person.as_mut().await,
                        None => std::future::pending().await,
                    }
                } => {
                    let Some(asking) = self.asking.take() else { continue };
                    let done = match agreed {
                        Ok(()) => self.say(asking.answer).await,
                        Err(error) => {
                            self.pairing.cancel().await;
                            Err(error)
                        }
                    };
                    // The page that asked may be gone.
                    let _ = asking.reply.send(done);
                }
            }
        }
    }

    async fn answered(&mut self, answer: Answer, reply: Reply) {
        // They would be kept until they are asked for: nobody can have read them yet, and nobody would have seen the name.
        if matches!(answer, Answer::Digits(_)) && !self.digits {
            let _ = reply.send(Err(SyncError::new(Code::InvalidArgument, "no digits have been asked for yet")));
            return;
        }
        let is_yes = matches!(answer, Answer::Digits(_) | Answer::Consent(true));
        // A newcomer's person was asked before the pairing began.
        if !is_yes || self.side == Side::Newcomer {
            if matches!(answer, Answer::Cancel | Answer::Consent(false)) {
                self.asking = None;
            }
            let done = self.say(answer).await;
            let _ = reply.send(done);
            return;
        }
        let refusal = match (&self.newcomer, &self.asking) {
            (None, _) => "no device has asked to be added yet",
            (Some(_), Some(_)) => "the person is being asked already",
            (Some(name), None) => {
                let digits = match &answer {
                    // No device shows such digits: no reason to ask.
                    Answer::Digits(digits) if !are_digits(digits) => {
                        let done = self.say(answer).await;
                        let _ = reply.send(done);
                        return;
                    }
                    Answer::Digits(digits) => Some(digits.trim().to_owned()),
                    _ => None,
                };
                let (consent, request) = (self.consent.clone(), ConsentRequest::Add { name: name.clone(), digits });
                let person = Box::pin(async move { consent.ask(request).await });
                self.asking = Some(Asking { person, answer, reply });
                return;
            }
        };
        let _ = reply.send(Err(SyncError::new(Code::InvalidArgument, refusal)));
    }

    async fn say(&mut self, answer: Answer) -> Result<(), SyncError> {
        match answer {
            Answer::Digits(digits) => self.pairing.type_check(&digits).await,
            Answer::Consent(yes) => self.pairing.consent(yes).await,
            Answer::Cancel => {
                self.pairing.cancel().await;
                Ok(())
            }
        }
    }
}

/// Whether a check code may look like this.
fn are_digits(text: &str) -> bool {
    let text = text.trim();
    text.len() == 4 && text.bytes().all(|c| c.is_ascii_digit())
}

fn step(event: PairingEvent) -> PairingStep {
    match event {
        PairingEvent::Uri { uri, code, expires_at } => {
            // A link is far shorter than what a QR code holds.
            let svg = qr::svg(&uri).unwrap_or_default();
            PairingStep::Uri { uri, code, svg, expires_at: (expires_at * 1_000).to_string() }
        }
        PairingEvent::CodeOver(error) => PairingStep::CodeOver { error: error.into() },
        PairingEvent::Check(code) => PairingStep::Check { code },
        PairingEvent::TypeCheck => PairingStep::TypeCheck,
        PairingEvent::Request { name, needs_check } => PairingStep::Request { name, needs_check },
        PairingEvent::Agreed => PairingStep::Agreed,
        PairingEvent::Joined { group, device } => {
            PairingStep::Joined { group: group.to_string(), device: device.to_string() }
        }
        PairingEvent::Added { device, name } => {
            PairingStep::Added { device: Device { id: device.to_string(), name: Some(name) } }
        }
        PairingEvent::Failed(error) => PairingStep::Failed { error: error.into() },
    }
}
