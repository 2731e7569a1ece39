//! The newcomer's part of a pairing.

use std::fmt;

use sync_types::link::Side;

use super::error::PairingError;
use super::event::{GroupOffer, KEY_PACKAGE_BYTES, Output};
use super::machine::{Pairing, Role, Stage};
use super::message::{Hello, Join, Message, Offer};
use super::name::check_name;

type Result<T> = std::result::Result<T, PairingError>;

/// How far the newcomer is, once the channel stands. It asks to join when all three are there: so whoever scanned a
/// newcomer's link without being meant learns nothing of it.
pub(super) struct Newcomer {
    /// The member has said hello, and so the caller knows the time for its key package.
    greeted: bool,
    /// The check code was typed here, is typed on the other device, or is not needed.
    checked: bool,
    /// Key package and name, until they are sent.
    package: Package,
}

enum Package {
    Missing,
    Ready(Vec<u8>, String),
    Sent,
    /// The member has answered with an offer.
    Answered,
}

impl Newcomer {
    pub(super) fn new(role: Role, by_code: bool) -> Self {
        Self { greeted: false, checked: by_code || role == Role::Scans, package: Package::Missing }
    }
}

impl fmt::Debug for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = matches!(self.package, Package::Sent | Package::Answered);
        write!(f, "Newcomer(greeted {}, checked {}, asked {asked})", self.greeted, self.checked)
    }
}

impl Pairing {
    /// The newcomer's MLS key package, dated by the member's time, and its name; answers [`Output::NeedKeyPackage`].
    ///
    /// # Errors
    /// [`PairingError::Input`] if nobody asked for it, or if it is empty, larger than [`KEY_PACKAGE_BYTES`] or the name
    /// is none by [`check_name`].
    pub fn key_package(&mut self, key_package: Vec<u8>, name: &str, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        let Stage::Newcomer(_, Newcomer { greeted: true, package: package @ Package::Missing, .. }) = &mut self.stage
        else {
            return Err(PairingError::Input("nobody waits for a key package"));
        };
        if key_package.is_empty() || key_package.len() > KEY_PACKAGE_BYTES {
            return Err(PairingError::Input("a key package has 1 byte to 16 KiB"));
        }
        check_name(name).map_err(PairingError::Input)?;
        *package = Package::Ready(key_package, name.to_owned());
        self.ask_to_join()
    }

    /// The offer of [`Output::Offer`] is stored: the member may add this device now. A caller that cannot store it, or
    /// does not want it, calls [`Pairing::cancel`], and the member adds nobody.
    ///
    /// # Errors
    /// [`PairingError::Input`] if there is no offer.
    pub fn offer_stored(&mut self) -> Result<()> {
        self.check_open()?;
        if !matches!(&self.stage, Stage::Newcomer(_, newcomer) if matches!(newcomer.package, Package::Answered)) {
            return Err(PairingError::Input("nobody has made an offer"));
        }
        self.say(&Message::Taken)?;
        self.finish();
        Ok(())
    }

    pub(super) fn newcomer_message(&mut self, message: Message) -> Result<()> {
        let Stage::Newcomer(_, newcomer) = &mut self.stage else {
            return self.fail(PairingError::Peer("a message out of turn"));
        };
        match message {
            Message::Hello(hello) if !newcomer.greeted => {
                newcomer.greeted = true;
                self.on_hello(&hello)
            }
            Message::Offer(offer) if matches!(newcomer.package, Package::Sent) => {
                newcomer.package = Package::Answered;
                self.on_offer(offer)
            }
            Message::Checked | Message::Join(_) | Message::Taken => self.fail(PairingError::WrongSide),
            _ => self.fail(PairingError::Peer("a message out of turn")),
        }
    }

    fn on_hello(&mut self, hello: &Hello) -> Result<()> {
        if hello.app != self.app {
            return self.fail(PairingError::WrongApp);
        }
        self.push(Output::NeedKeyPackage { time_ms: hello.time_ms });
        Ok(())
    }

    fn on_offer(&mut self, offer: Offer) -> Result<()> {
        let offer = match GroupOffer::try_from(offer) {
            Ok(offer) => offer,
            Err(reason) => return self.fail(PairingError::Peer(reason)),
        };
        match offer.check_for(&self.app) {
            Err(PairingError::Input(reason)) => return self.fail(PairingError::Peer(reason)),
            Err(error) => return self.fail(error),
            Ok(()) => {}
        }
        // The member's word counts from here on, however long storing it takes.
        self.stop_clock();
        self.push(Output::Offer(offer));
        Ok(())
    }

    /// Whether the newcomer's person still has to type the check code.
    pub(super) fn check_unchecked(&self) -> Result<()> {
        match &self.stage {
            Stage::Newcomer(_, Newcomer { checked: false, .. }) => Ok(()),
            _ => Err(PairingError::Input("no check code is asked for")),
        }
    }

    pub(super) fn newcomer_checked(&mut self) -> Result<()> {
        if let Stage::Newcomer(_, newcomer) = &mut self.stage {
            newcomer.checked = true;
        }
        self.say(&Message::Checked)?;
        self.ask_to_join()
    }

    fn ask_to_join(&mut self) -> Result<()> {
        debug_assert_eq!(self.side, Side::Newcomer);
        let Stage::Newcomer(_, Newcomer { checked: true, package, .. }) = &mut self.stage else {
            return Ok(());
        };
        match std::mem::replace(package, Package::Sent) {
            Package::Ready(key_package, name) => {
                self.say(&Message::Join(Join { key_package: key_package.into(), name: name.into_bytes().into() }))
            }
            before => {
                *package = before;
                Ok(())
            }
        }
    }
}
