//! One attempt to pair, as an app sees it.

mod driver;
#[cfg(test)]
#[cfg(feature = "embedded-relay")]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sync_core::pairing::{Pairing as Machine, PairingError};
use sync_types::link::{Link, RelayKind, Side};
use sync_types::{Code, RelayAddress};
use tokio::sync::{mpsc, oneshot};

use crate::client::Inner;
use crate::clock::{SystemRng, now_ms};
use crate::engine::MeetingPlace;
use crate::{PairingEvent, SyncError};
use driver::{Answer, Driver, Meeting, attached};

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

    /// Draws a link and shows it, once the other side can meet this one.
    pub(crate) async fn show(
        inner: Arc<Inner>,
        side: Side,
        place: MeetingPlace,
        ttl: Duration,
    ) -> Result<Self, SyncError> {
        let resolved = inner.start.dialer.resolve(&place.relay).await?;
        let hint = resolved.hint(&place.relay);
        let machine = Machine::show(side, &inner.start.app_id, hint, ttl, &mut SystemRng, now_ms()).map_err(failed)?;
        let uri = machine.link().to_text().map_err(|e| SyncError::new(e.code(), e.to_string()))?;
        let shown = PairingEvent::Uri { uri: uri.to_string(), expires_at: machine.link().expires_at.into() };
        Self::begin(inner, side, machine, place, Some(shown), ttl).await
    }

    /// Takes up a link.
    pub(crate) async fn scan(inner: Arc<Inner>, side: Side, link: Link, name: String) -> Result<Self, SyncError> {
        let relay = match (&link.relay.kind, link.relay.address()) {
            (RelayKind::Embedded, _) => RelayAddress::Pinned {
                endpoint: link.relay.endpoint,
                hosts: link.relay.hosts.iter().map(ToString::to_string).collect(),
                token: None,
            },
            (_, address) => address,
        };
        let machine = Machine::scan(link, side, &inner.start.app_id, &mut SystemRng).map_err(failed)?;
        let place = MeetingPlace { relay, name };
        Self::begin(inner, side, machine, place, None, sync_types::limits::PAIRING_TTL).await
    }

    async fn begin(
        inner: Arc<Inner>,
        side: Side,
        machine: Machine,
        place: MeetingPlace,
        first: Option<PairingEvent>,
        ttl: Duration,
    ) -> Result<Self, SyncError> {
        let (event_sender, events) = mpsc::channel(16);
        let (answers, answer_receiver) = mpsc::channel(4);
        if let Some(first) = first.clone() {
            // There is room: it is the first.
            let _ = event_sender.send(first).await;
        }
        let shows = first.is_some();
        let open = async || Meeting::open(&inner, &machine, &place.relay, shows, ttl).await;
        let meeting = match open().await {
            // A relay that another device hosts lets members open a rendezvous, and knows them while they are attached.
            Err(error) if error.code == Code::AccessDenied && side == Side::Member && attached(&inner).await => {
                open().await
            }
            other => other,
        }?;
        let driver = Driver::new(inner, machine, place.name, shows, meeting, event_sender, answer_receiver);
        tokio::spawn(driver.run());
        Ok(Self { events, answers })
    }
}

/// A failure of the machine as its caller sees it.
fn failed(error: PairingError) -> SyncError {
    SyncError::new(error.code(), error.to_string())
}
