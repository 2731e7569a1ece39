//! One side of a pairing: the part that both sides share.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::link::{Link, LinkSecret, RelayHint, Side};
use sync_types::{Code, ShortCode, Suite, limits};
use zeroize::{Zeroize, Zeroizing};

use super::derive::{self, SlotId};
use super::error::PairingError;
use super::event::Output;
use super::member::Member;
use super::message::{Frame, Message};
use super::newcomer::Newcomer;
use super::noise::{Channel, Handshake, Keys, Statics};
use super::pake::Pake;

type Result<T> = std::result::Result<T, PairingError>;

/// Which end of the link a device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Shows the link or the short code, answers the handshake, has the check code typed and keeps the time.
    Shows,
    /// Scans the link or has the short code typed, begins the handshake and shows the check code.
    Scans,
}

/// What brought the two sides together.
enum Way {
    Link(Box<Link>),
    /// The exchange over a short code, until there is a channel.
    Code(Option<Box<Pake>>),
}

/// How far a pairing is.
pub(super) enum Stage {
    /// Waits for the other side's message of the exchange over a short code.
    Pake,
    /// The number is that of the handshake's next message, 1 to 4.
    Handshake(Box<Handshake>, u8),
    Member(Channel, Member),
    Newcomer(Channel, Newcomer),
    Done,
    Failed(Code),
}

/// One side of one pairing attempt; see the [module](super).
///
/// Times are milliseconds since the Unix epoch by this device's clock. The link or code expires by the clock of the side that
/// shows. The side that scans gives up after [`limits::PAIRING_TTL`] by its own, counted from its first input, so that it waits
/// for nobody for ever. An input that is refused with [`PairingError::Input`], [`PairingError::WrongCode`] or
/// [`PairingError::Over`] has changed nothing else; every other error has ended the pairing, is told to the other side,
/// and also comes as [`Output::Failed`].
pub struct Pairing {
    pub(super) side: Side,
    pub(super) role: Role,
    pub(super) stage: Stage,
    pub(super) app: [u8; 32],
    pub(super) tries_left: u8,
    way: Way,
    deadline_ms: Option<u64>,
    /// Whether the side that scans has begun to wait: not for the link's time, but for so long by its own clock.
    waits: bool,
    outputs: VecDeque<Output>,
}

impl Pairing {
    /// Draws a link for the other side to scan. It works once, for `ttl`, 1 second to [`limits::PAIRING_TTL`]. `suite` is the
    /// member's group's, or what a newcomer would found.
    ///
    /// # Errors
    /// [`PairingError::Input`] if the app id or `ttl` is out of bounds, [`PairingError::Link`] if `relay` is.
    pub fn show(
        side: Side,
        suite: Suite,
        app_id: &str,
        relay: RelayHint,
        ttl: Duration,
        rng: &mut dyn CryptoRng,
        now_ms: u64,
    ) -> Result<Self> {
        check_app_id(app_id)?;
        let expires_at = expiry(ttl, now_ms)?;
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let statics = Statics::draw(suite, rng);
        let link = Link {
            suite,
            app: derive::app_tag(app_id),
            shows: side,
            expires_at,
            secret: LinkSecret::new(*secret),
            fingerprint: statics.fingerprint(),
            relay,
        };
        let mut this = Self::new(side, Role::Shows, app_id, link, statics, rng)?;
        this.deadline_ms = Some(u64::from(expires_at) * 1000);
        Ok(this)
    }

    /// Takes up a link that the other side shows.
    ///
    /// # Errors
    /// [`PairingError::Input`], [`PairingError::WrongApp`], [`PairingError::WrongSide`], [`PairingError::Suite`]: nothing is sent.
    pub fn scan(link: Link, side: Side, app_id: &str, rng: &mut dyn CryptoRng) -> Result<Self> {
        check_app_id(app_id)?;
        if link.app != derive::app_tag(app_id) && stands(Defence::AppTag) {
            return Err(PairingError::WrongApp);
        }
        if link.shows == side {
            return Err(PairingError::WrongSide);
        }
        if !link.suite.is_ours() {
            return Err(PairingError::Suite(link.suite as u8));
        }
        let statics = Statics::draw(link.suite, rng);
        let mut this = Self::new(side, Role::Scans, app_id, link, statics, rng)?;
        // The time is of use only once the channel stands.
        this.handshake_step(None, 0)?;
        Ok(this)
    }

    /// Draws a short code for the other side to type. It works once, whether it is typed rightly or wrongly, for `ttl`, which
    /// is 1 second to [`limits::PAIRING_TTL`]. `nameplate` is the relay's number of the rendezvous that is open already.
    ///
    /// # Errors
    /// [`PairingError::Input`], [`PairingError::ShortCode`] for the nameplate, [`PairingError::NoCodes`] without suite 1.
    pub fn show_code(
        side: Side,
        app_id: &str,
        nameplate: u32,
        ttl: Duration,
        rng: &mut dyn CryptoRng,
        now_ms: u64,
    ) -> Result<Self> {
        check_app_id(app_id)?;
        check_codes()?;
        let expires_at = expiry(ttl, now_ms)?;
        let mut secret = Zeroizing::new([0; 8]);
        rng.fill_bytes(&mut *secret);
        let code = ShortCode::new(nameplate, u64::from_be_bytes(*secret))?;
        let mut this = Self::over_code(side, Role::Shows, app_id, code, rng);
        this.deadline_ms = Some(u64::from(expires_at) * 1000);
        Ok(this)
    }

    /// Takes up a short code that the other side shows.
    ///
    /// # Errors
    /// [`PairingError::Input`] if the app id is out of bounds, [`PairingError::NoCodes`] without suite 1.
    pub fn type_code(code: ShortCode, side: Side, app_id: &str, rng: &mut dyn CryptoRng) -> Result<Self> {
        check_app_id(app_id)?;
        check_codes()?;
        let mut this = Self::over_code(side, Role::Scans, app_id, code, rng);
        this.say_pake(1);
        Ok(this)
    }

    fn over_code(side: Side, role: Role, app_id: &str, code: ShortCode, rng: &mut dyn CryptoRng) -> Self {
        let pake = Pake::new(code, role, side, derive::app_tag(app_id), rng);
        Self {
            side,
            role,
            stage: Stage::Pake,
            app: derive::app_hash(app_id),
            tries_left: 0,
            way: Way::Code(Some(Box::new(pake))),
            deadline_ms: None,
            waits: false,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn new(
        side: Side,
        role: Role,
        app_id: &str,
        link: Link,
        statics: Statics,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let mut prologue = link.to_bytes()?;
        if !stands(Defence::Prologue) {
            prologue.clear();
        }
        let mut psk = derive::psk(link.secret.as_bytes());
        if !stands(Defence::LinkSecret) {
            psk.zeroize();
        }
        let handshake = Handshake::new(role == Role::Scans, Keys::draw(statics, rng), &psk, &prologue);
        Ok(Self {
            side,
            role,
            stage: Stage::Handshake(Box::new(handshake), 1),
            app: derive::app_hash(app_id),
            tries_left: limits::CHECK_CODE_TRIES,
            way: Way::Link(Box::new(link)),
            deadline_ms: None,
            waits: false,
            outputs: VecDeque::new(),
        })
    }

    /// The link that this pairing is over, unless it is over a short code.
    pub fn link(&self) -> Option<&Link> {
        match &self.way {
            Way::Link(link) => Some(link),
            Way::Code(_) => None,
        }
    }

    /// The short code that this pairing is over, as long as it is worth something.
    pub fn code(&self) -> Option<&ShortCode> {
        match &self.way {
            Way::Code(Some(pake)) => Some(pake.code()),
            _ => None,
        }
    }

    /// What the group's cryptography is made of, and so the newcomer's key package.
    pub fn suite(&self) -> Suite {
        self.link().map_or(Suite::XWing, |link| link.suite)
    }

    /// The rendezvous where the two sides of a link meet; those of a short code meet at its nameplate.
    pub fn slot(&self) -> Option<SlotId> {
        self.link().map(|link| derive::slot_id(link.secret.as_bytes()))
    }

    /// Whether a short code brings the two sides together.
    pub(super) fn is_by_code(&self) -> bool {
        matches!(self.way, Way::Code(_))
    }

    /// What to do next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Pairing::handle_timeout`] is due, in milliseconds since the Unix epoch: the link's end at the side that
    /// shows it, as long as it matters, and the end of the other side's patience. 0 is at once: that side begins to count.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.stage {
            Stage::Done | Stage::Failed(_) => None,
            _ if self.role == Role::Scans && !self.waits && stands(Defence::Patience) => Some(0),
            _ => self.deadline_ms,
        }
    }

    /// Ends the pairing with [`PairingError::Expired`] if the link's time, or this side's patience, is over; otherwise nothing.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<()> {
        self.enter(now_ms)
    }

    /// Takes the next message of the other side. Messages come in the order in which they were sent.
    pub fn handle_message(&mut self, bytes: &[u8], now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        if bytes.len() > limits::PAIRING_MESSAGE_BYTES && stands(Defence::HandshakeLength) {
            return self.fail(PairingError::Peer("a message larger than a rendezvous takes"));
        }
        match Frame::decode(bytes) {
            Some(Frame::Handshake(number, message)) => self.on_handshake(number, message, now_ms),
            Some(Frame::Sealed(sealed)) => self.on_sealed(sealed),
            Some(Frame::Pake(number, message)) => self.on_pake(number, message, now_ms),
            Some(Frame::Abort(code)) => self.aborted(code, false),
            None => self.fail(PairingError::Peer("no such frame")),
        }
    }

    /// Ends the pairing on both sides, since a second device has come to the rendezvous: one of the two is not the one
    /// that was meant.
    pub fn handle_second_scanner(&mut self, now_ms: u64) -> Result<()> {
        self.enter(now_ms)?;
        self.fail(PairingError::Used)
    }

    /// Gives up: the other side is told [`Code::PairingRefused`].
    ///
    /// # Errors
    /// [`PairingError::Over`] if there is nothing to give up; otherwise none.
    pub fn cancel(&mut self) -> Result<()> {
        self.check_open()?;
        self.end(PairingError::Refused);
        Ok(())
    }

    fn on_pake(&mut self, number: u8, message: &[u8], now_ms: u64) -> Result<()> {
        let again = self.role == Role::Shows && number == 1 && !matches!(self.stage, Stage::Pake);
        let open = matches!(self.stage, Stage::Pake);
        let pake = match &self.way {
            Way::Code(Some(pake)) if open => pake,
            Way::Code(_) if again => return self.fail(PairingError::Used),
            _ => return self.fail(PairingError::Peer("a message of the key exchange out of turn")),
        };
        if number != if self.role == Role::Shows { 1 } else { 2 } {
            return self.fail(PairingError::Peer("a message of the key exchange out of turn"));
        }
        let agreed = match pake.agree(message) {
            Ok(agreed) => agreed,
            Err(error) => return self.fail(error),
        };
        let begins = self.role == Role::Scans;
        let handshake = Handshake::new(begins, pake.keys.clone(), &agreed.psk, &agreed.prologue);
        self.stage = Stage::Handshake(Box::new(handshake), 1);
        if begins {
            return self.handshake_step(None, now_ms);
        }
        self.say_pake(2);
        Ok(())
    }

    /// Says this side's part of the exchange over a short code.
    fn say_pake(&mut self, number: u8) {
        if let Way::Code(Some(pake)) = &self.way {
            let frame = Frame::Pake(number, &pake.message()).encode();
            self.push(Output::Send(frame));
        }
    }

    fn on_handshake(&mut self, number: u8, message: &[u8], now_ms: u64) -> Result<()> {
        let next = match self.stage {
            Stage::Handshake(_, next) => next,
            Stage::Pake => 0,
            _ => 5,
        };
        if self.role == Role::Shows && number == 1 && next > 1 {
            if !stands(Defence::SecondScanner) {
                return Ok(());
            }
            return self.fail(PairingError::Used);
        }
        if number != next {
            return self.fail(PairingError::Peer("a message of the handshake out of turn"));
        }
        self.handshake_step(Some(message), now_ms)
    }

    /// Reads a message of the handshake, if there is one, writes the next, and opens the channel after the fourth.
    fn handshake_step(&mut self, message: Option<&[u8]>, now_ms: u64) -> Result<()> {
        let Stage::Handshake(handshake, number) = &mut self.stage else {
            return self.fail(PairingError::Peer("the handshake is over"));
        };
        let fingerprint = match &self.way {
            Way::Link(link) => Some(&link.fingerprint),
            Way::Code(_) => None,
        };
        match advance(handshake, number, message, fingerprint) {
            Ok(Some(reply)) => self.outputs.push_back(Output::Send(reply)),
            Ok(None) => {}
            // The first message of each side shows what it made of the code's words.
            Err(PairingError::Forged) if fingerprint.is_none() && *number <= 2 => {
                if !stands(Defence::CodeOnce) {
                    self.stage = Stage::Pake;
                    return Ok(());
                }
                return self.fail(PairingError::CodeMismatch);
            }
            Err(error) => return self.fail(error),
        }
        if handshake.is_finished() { self.open_channel(now_ms) } else { Ok(()) }
    }

    fn open_channel(&mut self, now_ms: u64) -> Result<()> {
        // `Failed` stands in while the handshake is consumed.
        let Stage::Handshake(handshake, _) = std::mem::replace(&mut self.stage, Stage::Failed(Code::Internal)) else {
            return self.fail(PairingError::Peer("the handshake is over"));
        };
        let channel = match handshake.finish() {
            Ok(channel) => channel,
            Err(error) => return self.fail(error.into()),
        };
        let by_code = self.is_by_code();
        if by_code {
            self.burn();
        } else if self.role == Role::Scans {
            self.push(Output::ShowCheck(derive::check_code(channel.hash()).to_string()));
        }
        match self.side {
            Side::Member => {
                self.stage = Stage::Member(channel, Member::default());
                self.greet(now_ms)?;
            }
            Side::Newcomer => {
                self.stage = Stage::Newcomer(channel, Newcomer::new(self.role, by_code));
                if self.role == Role::Shows && !by_code {
                    self.push(Output::NeedCheck);
                }
            }
        }
        Ok(())
    }

    fn on_sealed(&mut self, sealed: &[u8]) -> Result<()> {
        let Some(channel) = self.channel() else {
            return self.fail(PairingError::Peer("a sealed message before there is a channel"));
        };
        let plaintext = match channel.open(sealed) {
            Ok(plaintext) => plaintext,
            Err(error) => return self.fail(error.into()),
        };
        let Ok(message) = Message::from_padded(&plaintext) else {
            return self.fail(PairingError::Peer("a message in the channel that does not decode"));
        };
        match (message, self.side) {
            (Message::Abort(code), _) => self.aborted(code, true),
            (message, Side::Member) => self.member_message(message),
            (message, Side::Newcomer) => self.newcomer_message(message),
        }
    }

    /// Compares typed digits with the check code, in constant time. Counts a wrong try; the last one ends the pairing.
    pub(super) fn compare_code(&mut self, typed: &str) -> Result<()> {
        let typed = typed.trim();
        let Some(channel) = self.channel() else {
            return Err(PairingError::Input("there is no check code yet"));
        };
        let code = derive::check_code(channel.hash());
        if typed.len() != code.len() || !typed.bytes().all(|c| c.is_ascii_digit()) {
            return Err(PairingError::WrongCode { tries_left: self.tries_left });
        }
        if bool::from(typed.as_bytes().ct_eq(code.as_bytes())) || !stands(Defence::CheckCode) {
            return Ok(());
        }
        self.tries_left = self.tries_left.saturating_sub(u8::from(stands(Defence::CheckCodeTries)));
        match self.tries_left {
            0 => self.fail(PairingError::TooManyTries),
            tries_left => Err(PairingError::WrongCode { tries_left }),
        }
    }

    /// Refuses every input once the pairing is over, and ends it when the link's time is.
    pub(super) fn enter(&mut self, now_ms: u64) -> Result<()> {
        self.check_open()?;
        if self.role == Role::Scans && !self.waits && stands(Defence::Patience) {
            self.wait_from(now_ms);
        }
        match self.deadline_ms {
            Some(deadline) if now_ms >= deadline && stands(Defence::Expiry) => self.fail(PairingError::Expired),
            _ => Ok(()),
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        match self.stage {
            Stage::Done => Err(PairingError::Over(None)),
            Stage::Failed(code) => Err(PairingError::Over(Some(code))),
            _ => Ok(()),
        }
    }

    /// The link has done its work: from here on a late message must not undo what the other side takes for settled.
    pub(super) fn stop_clock(&mut self) {
        (self.deadline_ms, self.waits) = (None, true);
    }

    /// Whoever is waited for from here on has as long as a link has.
    pub(super) fn wait_from(&mut self, now_ms: u64) {
        let patience = u64::try_from(limits::PAIRING_TTL.as_millis()).unwrap_or(u64::MAX);
        (self.deadline_ms, self.waits) = (Some(now_ms.saturating_add(patience)), true);
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Says something inside the channel.
    pub(super) fn say(&mut self, message: &Message) -> Result<()> {
        let Some(channel) = self.channel() else {
            return Err(PairingError::Input("there is no channel yet"));
        };
        match channel.seal(&message.to_padded()) {
            Ok(sealed) => self.push(Output::Send(Frame::Sealed(&sealed).encode())),
            Err(error) => return self.fail(error.into()),
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) {
        self.stage = Stage::Done;
        self.push(Output::Done);
    }

    fn aborted<T>(&mut self, code: u16, authentic: bool) -> Result<T> {
        let error = PairingError::Aborted { code: PairingError::abort_code(code), authentic };
        self.burn();
        self.stage = Stage::Failed(error.code());
        self.push(Output::Failed(error.clone()));
        Err(error)
    }

    pub(super) fn fail<T>(&mut self, error: PairingError) -> Result<T> {
        self.end(error.clone());
        Err(error)
    }

    /// Ends the pairing here and tells the other side, inside the channel if there is one.
    fn end(&mut self, error: PairingError) {
        let code = error.code();
        let sealed = self.channel().and_then(|channel| channel.seal(&Message::abort(code).to_padded()).ok());
        let frame = match &sealed {
            Some(sealed) => Frame::Sealed(sealed),
            None => Frame::Abort(code as u16),
        };
        self.outputs.push_back(Output::Send(frame.encode()));
        self.burn();
        self.stage = Stage::Failed(code);
        self.push(Output::Failed(error));
    }

    /// A short code is worth nothing any more, whatever became of it.
    fn burn(&mut self) {
        if let Way::Code(pake) = &mut self.way {
            *pake = None;
        }
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match &mut self.stage {
            Stage::Member(channel, _) | Stage::Newcomer(channel, _) => Some(channel),
            _ => None,
        }
    }
}

/// Reads `message`, then writes the handshake's next one if it is this side's turn.
fn advance(
    handshake: &mut Handshake,
    number: &mut u8,
    message: Option<&[u8]>,
    fingerprint: Option<&[u8; 32]>,
) -> Result<Option<Vec<u8>>> {
    if let Some(message) = message {
        handshake.read(message)?;
        *number += 1;
        // The second message brings the shower's static keys; the third would tell ours.
        if let Some(expected) = fingerprint
            && *number == 3
            && stands(Defence::Fingerprint)
            && !handshake.remote_fingerprint().is_some_and(|f| bool::from(f.ct_eq(expected)))
        {
            return Err(PairingError::Forged);
        }
    }
    if handshake.is_finished() {
        return Ok(None);
    }
    let reply = Frame::Handshake(*number, &handshake.write()?).encode();
    *number += 1;
    Ok(Some(reply))
}

/// When a link or code that works for `ttl` from now on is over, in seconds since the Unix epoch.
fn expiry(ttl: Duration, now_ms: u64) -> Result<u32> {
    if ttl < Duration::from_secs(1) || ttl > limits::PAIRING_TTL {
        return Err(PairingError::Input("a link or code works for 1 to 600 seconds"));
    }
    u32::try_from(now_ms / 1000 + ttl.as_secs())
        .map_err(|_| PairingError::Input("this device's clock is beyond the year 2106"))
}

/// A short code stands on SPAKE2, which is none of suite 2's algorithms.
fn check_codes() -> Result<()> {
    if Suite::XWing.is_ours() { Ok(()) } else { Err(PairingError::NoCodes) }
}

fn check_app_id(app_id: &str) -> Result<()> {
    if app_id.is_empty() || app_id.len() > limits::APP_ID_BYTES {
        return Err(PairingError::Input("an app id has 1 to 128 bytes"));
    }
    Ok(())
}

impl fmt::Debug for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Pake => "Pake".to_owned(),
            Stage::Handshake(_, number) => format!("Handshake({number})"),
            Stage::Member(_, member) => format!("{member:?}"),
            Stage::Newcomer(_, newcomer) => format!("{newcomer:?}"),
            Stage::Done => "Done".to_owned(),
            Stage::Failed(code) => format!("Failed({code})"),
        };
        f.debug_struct("Pairing")
            .field("side", &self.side)
            .field("role", &self.role)
            .field("stage", &format_args!("{stage}"))
            .finish_non_exhaustive()
    }
}
