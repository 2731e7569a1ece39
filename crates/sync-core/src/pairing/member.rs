//! The member's part of a pairing.

use std::fmt;

use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::link::Side;

use super::error::PairingError;
use super::event::{Consent, GroupOffer, KEY_PACKAGE_BYTES, Output};
use super::machine::{Pairing, Role, Stage};
use super::message::{Hello, Join, Message, text};
use super::name::check_name;

type Result<T> = std::result::Result<T, PairingError>;

/// How far the member is, once the channel stands.
#[derive(Default)]
pub(super) enum Member {
    /// Waits for the newcomer to ask.
    #[default]
    Waiting,
    /// The newcomer's person has typed the check code; waits for the newcomer to ask.
    Checked,
    /// The person is being asked.
    Asked { key_package: Vec<u8>, name: String },
    /// The person has said yes; waits for its caller's offer.
    Approved,
    /// Waits for the newcomer to confirm the offer.
    Offered,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "Waiting",
            Self::Checked => "Checked",
            Self::Asked { .. } => "Asked",
            Self::Approved => "Approved",
            Self::Offered => "Offered",
        })
    }
}

impl Pairing {
    /// The answer of the member's person to [`Output::Request`].
    ///
    /// A no ends the pairing on both sides. A yes is enough where the newcomer shows, and with a short code; where the
    /// member shows a link, the yes is [`Pairing::type_check`].
    ///
    /// # Errors
    /// [`PairingError::Input`] where nothing was asked or the check code has to be typed.
    pub fn consent(&mut self, yes: bool, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        self.check_asked()?;
        match (yes, self.role) {
            // The refusal is this side's own wish: an error only for the other one.
            (false, _) => self.cancel(),
            (true, _) if self.is_by_code() => self.approve(),
            (true, Role::Shows) => Err(PairingError::Input("consent is given by typing the check code")),
            (true, Role::Scans) => self.approve(),
        }
    }

    /// Takes the four digits that the person read from the other device.
    ///
    /// Where the member shows, the right digits are its consent, given in answer to [`Output::Request`]. Where the
    /// newcomer shows, they answer [`Output::NeedCheck`]. A text that is not four digits counts as no try.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] while tries are left, then [`PairingError::TooManyTries`], which ends the pairing on
    /// both sides. [`PairingError::Input`] on a device that shows the digits itself, or before it was asked.
    pub fn type_check(&mut self, digits: &str, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        self.check_types()?;
        self.compare_code(digits)?;
        self.passed()
    }

    /// Goes on as if the right digits had been typed, and so gives up what the check code protects from: somebody who
    /// saw the link and scanned it first. For scripts that were told so (`--yes`), where nobody else can have seen it.
    ///
    /// # Errors
    /// [`PairingError::Input`] where [`Pairing::type_check`] has it too.
    pub fn consent_without_check(&mut self, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        self.check_types()?;
        self.passed()
    }

    /// What the newcomer has to know about the group; answers [`Output::Approved`]. It reaches the newcomer before the
    /// commit that adds it is uploaded, which is due at [`Output::OfferTaken`]. From here on the link no longer expires; the
    /// newcomer is waited for as long as a link lasts.
    ///
    /// # Errors
    /// [`PairingError::Input`] before approval or beyond bounds, [`PairingError::WrongApp`] if the settings are another
    /// app's, which ends the pairing.
    pub fn offer(&mut self, offer: GroupOffer, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        if !matches!(self.stage, Stage::Member(_, Member::Approved)) {
            return Err(PairingError::Input("nobody waits for an offer"));
        }
        match offer.check_for(&self.app) {
            Err(error @ PairingError::Input(_)) => return Err(error),
            Err(error) => return self.fail(error),
            Ok(()) => {}
        }
        self.say(&Message::Offer(offer.into()))?;
        self.stop_clock();
        if stands(Defence::Patience) {
            self.wait_from(now_ms);
        }
        self.set_member(Member::Offered);
        Ok(())
    }

    /// The member's first word, once the channel stands.
    pub(super) fn greet(&mut self, now_ms: u64) -> Result<()> {
        let hello = Hello { time_ms: now_ms, app: self.app };
        self.say(&Message::Hello(hello))
    }

    pub(super) fn member_message(&mut self, message: Message) -> Result<()> {
        let by_code = self.is_by_code();
        let Stage::Member(_, member) = &self.stage else {
            return self.fail(PairingError::Peer("a message out of turn"));
        };
        match (message, member, self.role) {
            // Both have shown that they know the code's words, so nobody types anything more.
            (Message::Join(join), Member::Waiting, _) if by_code => self.on_join(join, Consent::Yes),
            (Message::Checked, Member::Waiting, Role::Scans) if !by_code => {
                self.set_member(Member::Checked);
                Ok(())
            }
            (Message::Join(join), Member::Waiting, Role::Shows) => self.on_join(join, Consent::CheckCode),
            (Message::Join(join), Member::Checked, Role::Scans) => self.on_join(join, Consent::Yes),
            (Message::Taken, Member::Offered, _) => {
                self.push(Output::OfferTaken);
                self.finish();
                Ok(())
            }
            (Message::Hello(_) | Message::Offer(_), ..) => self.fail(PairingError::WrongSide),
            _ => self.fail(PairingError::Peer("a message out of turn")),
        }
    }

    fn on_join(&mut self, join: Join, consent: Consent) -> Result<()> {
        let key_package = join.key_package.0;
        if key_package.is_empty() || key_package.len() > KEY_PACKAGE_BYTES {
            return self.fail(PairingError::Peer("a key package that is empty or too large"));
        }
        let name = match text(join.name).and_then(|name| check_name(&name).map(|()| name)) {
            Ok(name) => name,
            Err(reason) => return self.fail(PairingError::Peer(reason)),
        };
        self.push(Output::Request { name: name.clone(), consent });
        self.set_member(Member::Asked { key_package, name });
        Ok(())
    }

    /// Whether this device is the one where the digits are typed, and has been asked for them.
    fn check_types(&self) -> Result<()> {
        if self.is_by_code() {
            return Err(PairingError::Input("a short code goes without a check code"));
        }
        match (self.role, self.side) {
            (Role::Scans, _) => Err(PairingError::Input("the check code is typed on the other device")),
            (Role::Shows, Side::Member) => self.check_asked(),
            (Role::Shows, Side::Newcomer) => self.check_unchecked(),
        }
    }

    fn check_asked(&self) -> Result<()> {
        match self.stage {
            Stage::Member(_, Member::Asked { .. }) => Ok(()),
            _ => Err(PairingError::Input("nobody has asked to join")),
        }
    }

    fn passed(&mut self) -> Result<()> {
        match self.side {
            Side::Member => self.approve(),
            Side::Newcomer => self.newcomer_checked(),
        }
    }

    fn approve(&mut self) -> Result<()> {
        let Stage::Member(_, member) = &mut self.stage else {
            return Err(PairingError::Input("nobody has asked to join"));
        };
        match std::mem::replace(member, Member::Approved) {
            Member::Asked { key_package, name } => self.push(Output::Approved { key_package, name }),
            before => *member = before,
        }
        Ok(())
    }

    fn set_member(&mut self, to: Member) {
        if let Stage::Member(_, member) = &mut self.stage {
            *member = to;
        }
    }
}
