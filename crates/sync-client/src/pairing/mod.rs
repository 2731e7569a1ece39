//! One attempt to pair, as an app sees it.

mod driver;
mod meeting;
mod options;
#[cfg(test)]
#[cfg(feature = "embedded-relay")]
mod tests;

use std::sync::Arc;

use sync_core::pairing::{Pairing as Machine, PairingError};
use sync_types::limits::PAIRING_TTL;
use sync_types::link::Side;
use sync_types::{Code, Invitation, ShortCode};
use tokio::sync::{mpsc, oneshot};

use crate::client::Inner;
use crate::clock::SystemRng;
use crate::engine::{Codes, MeetingPlace};
use crate::{PairingEvent, SyncError};
use driver::{Answer, Beside, Driver};
use meeting::Meeting;

pub use options::InviteOptions;

/// An attempt to pair with one other device. Dropping it gives the attempt up, unless the devices have agreed already.
#[derive(Debug)]
pub struct Pairing {
    events: mpsc::Receiver<PairingEvent>,
    answers: mpsc::Sender<Answer>,
}

impl Pairing {
    /// What happens next; `None` after the last event.
    pub async fn next(&mut self) -> Option<PairingEvent> {
        self.events.recv().await
    }

    /// The person typed these four digits from the other device. Digits that come before they are asked for wait until
    /// then.
    ///
    /// # Errors
    /// [`Code::WrongCode`] while there are tries left; [`Code::TooManyTries`] ends the pairing; [`Code::InvalidArgument`]
    /// where no digits are asked for.
    pub async fn type_check(&self, digits: &str) -> Result<(), SyncError> {
        let digits = digits.trim().to_owned();
        self.answer(|reply| Answer::TypeCheck(digits, reply)).await
    }

    /// The person's answer to [`PairingEvent::Request`]. A yes is enough only where no check code has to be typed.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] where nothing was asked, or the check code has to be typed.
    pub async fn consent(&self, yes: bool) -> Result<(), SyncError> {
        self.answer(|reply| Answer::Consent(yes, reply)).await
    }

    /// Says yes, or goes on, without the check code: for scripts where nobody else can have seen the link.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] where nothing was asked.
    pub async fn consent_without_check(&self) -> Result<(), SyncError> {
        self.answer(Answer::WithoutCheck).await
    }

    /// Gives up. The other device is told that it was refused.
    pub async fn cancel(&self) {
        // Over already is as good.
        let _ = self.answer(Answer::Cancel).await;
    }

    async fn answer(
        &self,
        answer: impl FnOnce(oneshot::Sender<Result<(), SyncError>>) -> Answer,
    ) -> Result<(), SyncError> {
        let over = || SyncError::new(Code::PairingUsed, "the pairing is over");
        let (reply, result) = oneshot::channel();
        self.answers.send(answer(reply)).await.map_err(|_| over())?;
        result.await.map_err(|_| over())?
    }

    /// Draws a link, and a short code where that is of use, and shows them once the other side can meet this one.
    pub(crate) async fn show(
        inner: Arc<Inner>,
        side: Side,
        place: MeetingPlace,
        options: InviteOptions,
    ) -> Result<Self, SyncError> {
        let InviteOptions { ttl, needs_code } = options;
        if needs_code {
            check_codes(place.codes)?;
        }
        let wants_code = needs_code || place.codes == Codes::Always;
        let start = &inner.start;
        let resolved = start.dialer.resolve(&place.relay).await?;
        let hint = resolved.hint(&place.relay);
        let now = start.now_ms();
        let machine =
            Machine::show(side, place.suite, &start.app_id, hint, ttl, &mut SystemRng, now).map_err(failed)?;
        let link = machine.link().ok_or_else(|| SyncError::new(Code::Internal, "a link was drawn and is not there"))?;
        let uri = link.to_text().map_err(|e| SyncError::new(e.code(), e.to_string()))?;
        let expires_at = link.expires_at.into();
        let code = async {
            match wants_code {
                true => Some(Meeting::show_code(start, &place.relay, side, ttl).await),
                false => None,
            }
        };
        let (link, code) = tokio::join!(Meeting::over_link(&inner, &place.relay, machine, true, ttl), code);
        let (meeting, code) = match (link?, code) {
            (_, Some(Err(error))) if needs_code => return Err(error),
            // A relay of before there were codes, or one that has too many open: the link is as good.
            (link, Some(Err(error))) => {
                tracing::info!(code = error.code.as_str(), "no short code");
                (link, None)
            }
            (link, Some(Ok(meeting))) => (link, Some(Beside { meeting, is_needed: needs_code })),
            (link, None) => (link, None),
        };
        let words = code.as_ref().and_then(|beside| beside.meeting.machine.code()).map(ShortCode::to_text);
        let shown = PairingEvent::Uri { uri: uri.to_string(), code: words.map(|words| words.to_string()), expires_at };
        Ok(Self::begin(inner, place.name, meeting, code, Some(shown)))
    }

    /// Takes up a link or a short code that the other device shows.
    pub(crate) async fn take(
        inner: Arc<Inner>,
        side: Side,
        invitation: Invitation,
        place: MeetingPlace,
    ) -> Result<Self, SyncError> {
        let start = &inner.start;
        let meeting = match invitation {
            Invitation::Link(link) => {
                if side == Side::Member && link.suite != place.suite {
                    return Err(failed(PairingError::Suite(link.suite as u8)));
                }
                let relay = link.relay.address();
                let machine = Machine::scan(*link, side, &start.app_id, &mut SystemRng).map_err(failed)?;
                Meeting::over_link(&inner, &relay, machine, false, PAIRING_TTL).await?
            }
            Invitation::Code(code) => {
                check_codes(place.codes)?;
                Meeting::type_code(start, &place.relay, side, code).await?
            }
        };
        Ok(Self::begin(inner, place.name, meeting, None, None))
    }

    fn begin(
        inner: Arc<Inner>,
        name: String,
        meeting: Meeting,
        code: Option<Beside>,
        first: Option<PairingEvent>,
    ) -> Self {
        let (event_sender, events) = mpsc::channel(16);
        let (answers, answer_receiver) = mpsc::channel(4);
        if let Some(first) = first {
            // There is room: it is the first.
            let _ = event_sender.try_send(first);
        }
        tokio::spawn(Driver::new(inner, meeting, code, name, event_sender, answer_receiver).run());
        Self { events, answers }
    }
}

/// A link or a short code, as a person pastes or types it.
pub(crate) fn read(text: &str) -> Result<Invitation, SyncError> {
    text.parse::<Invitation>().map_err(|e| SyncError::new(e.code(), e.to_string()))
}

/// Why a short code is good for nothing here, if it is.
pub(crate) fn check_codes(codes: Codes) -> Result<(), SyncError> {
    match codes {
        Codes::NotApproved => Err(failed(PairingError::NoCodes)),
        Codes::Never => {
            let message = "a short code works only where both devices have the address of one relay";
            Err(SyncError::new(Code::CodeNeedsRelay, message))
        }
        Codes::OnDemand | Codes::Always => Ok(()),
    }
}

/// A failure of the machine as its caller sees it.
fn failed(error: PairingError) -> SyncError {
    SyncError::new(error.code(), error.to_string())
}
