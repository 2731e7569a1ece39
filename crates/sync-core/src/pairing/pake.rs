//! SPAKE2 over the words of a short code: both sides come to one pre-shared key if both have the same words, and a side
//! that has not gets one guess for each exchange.
//!
//! The only module that calls spake2. That crate decodes every encoding of every point of Edwards25519, those of small order and
//! of mixed order too, and does not clear the cofactor; so each point is looked at here before it is handed over.

use curve25519_dalek::edwards::CompressedEdwardsY;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use rand_core::CryptoRng;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::link::Side;
use sync_types::{LABEL_PREFIX, ShortCode, Suite, VERSION, decode, encode};
use zeroize::Zeroizing;

use super::adapters::Drawn;
use super::derive;
use super::error::PairingError;
use super::machine::Role;
use super::noise::{Keys, Statics};

/// What spake2 puts before the point of the side that types the code, which is its side A, and before the other's.
const TYPES: u8 = b'A';
const SHOWS: u8 = b'B';

/// One side's part of the exchange, and all that the handshake behind it will need.
///
/// spake2 erases nothing of its own. So the secrets stand here, where they are erased, and a state of that crate lives only
/// as long as a call. What it leaves behind is worth nothing once the handshake is through: a code is used once, and the channel's
/// keys hang on the handshake's own.
pub(super) struct Pake {
    code: ShortCode,
    role: Role,
    side: Side,
    app: [u8; 8],
    drawn: Drawn,
    pub(super) keys: Keys,
}

/// What a side says: who it is, for what is told in the clear, and its point. Every byte of it goes into the handshake's prologue.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Opening {
    version: u8,
    suite: u8,
    app: [u8; 8],
    side: Side,
    nameplate: u32,
    point: [u8; 32],
}

/// What both sides have, if both had the same words.
pub(super) struct Agreed {
    pub(super) psk: Zeroizing<[u8; 32]>,
    pub(super) prologue: Vec<u8>,
}

impl Pake {
    /// Draws a secret scalar, then the handshake's keys.
    pub(super) fn new(code: ShortCode, role: Role, side: Side, app: [u8; 8], rng: &mut dyn CryptoRng) -> Self {
        let drawn = Drawn::draw(rng);
        let statics = Statics::draw(Suite::XWing, rng);
        Self { code, role, side, app, drawn, keys: Keys::draw(statics, rng) }
    }

    pub(super) fn code(&self) -> &ShortCode {
        &self.code
    }

    /// This side's message.
    pub(super) fn message(&self) -> Vec<u8> {
        let (_, point) = self.start();
        encode(&Opening {
            version: VERSION,
            suite: Suite::XWing as u8,
            app: self.app,
            side: self.side,
            nameplate: self.code.nameplate(),
            point,
        })
    }

    /// Takes the other side's message.
    pub(super) fn agree(&self, theirs: &[u8]) -> Result<Agreed, PairingError> {
        let point = self.check(theirs)?;
        let (state, _) = self.start();
        let from = if self.role == Role::Shows { TYPES } else { SHOWS };
        let key = state.finish(&[&[from], &point[..]].concat());
        let key = Zeroizing::new(key.map_err(|_| PairingError::Peer("a point that is none"))?);
        let ours = self.message();
        let prologue = match self.role {
            Role::Scans => [&ours, theirs].concat(),
            Role::Shows => [theirs, &ours].concat(),
        };
        Ok(Agreed { psk: derive::code_psk(&key), prologue })
    }

    /// The state that the drawn scalar makes, and this side's point.
    fn start(&self) -> (Spake2<Ed25519Group>, [u8; 32]) {
        let password = derive::code_password(&self.code);
        let password = Password::new(password.as_slice());
        let types = Identity::new(format!("{LABEL_PREFIX}pairing code types").as_bytes());
        let shows = Identity::new(format!("{LABEL_PREFIX}pairing code shows").as_bytes());
        let drawn = self.drawn.clone();
        let (state, message) = match self.role {
            Role::Scans => Spake2::start_a_with_rng(&password, &types, &shows, drawn),
            Role::Shows => Spake2::start_b_with_rng(&password, &types, &shows, drawn),
        };
        let point = message.last_chunk().expect("a point has 32 bytes behind its side");
        (state, *point)
    }

    fn check(&self, theirs: &[u8]) -> Result<[u8; 32], PairingError> {
        // Before the rest is read: another version may write the rest in another way.
        match theirs {
            [version, ..] if *version != VERSION => return Err(PairingError::Version(*version)),
            [_, suite, ..] if *suite != Suite::XWing as u8 => return Err(PairingError::Suite(*suite)),
            _ => {}
        }
        let opening: Opening =
            decode(theirs).map_err(|_| PairingError::Peer("a message of the key exchange that does not decode"))?;
        if opening.app != self.app {
            return Err(PairingError::WrongApp);
        }
        if opening.side == self.side {
            return Err(PairingError::WrongSide);
        }
        if opening.nameplate != self.code.nameplate() {
            return Err(PairingError::Peer("another code's nameplate"));
        }
        if !is_sound(&opening.point) && stands(Defence::PakePoints) {
            return Err(PairingError::Peer("a point outside of the group"));
        }
        Ok(opening.point)
    }
}

/// Whether these bytes are the one encoding of a point in the group of prime order, and not of its zero. Every point that an
/// honest side sends is.
fn is_sound(bytes: &[u8; 32]) -> bool {
    CompressedEdwardsY(*bytes).decompress().is_some_and(|point| {
        point.compress().to_bytes() == *bytes && !point.is_small_order() && point.is_torsion_free()
    })
}

#[cfg(test)]
#[path = "pake_tests.rs"]
mod tests;
