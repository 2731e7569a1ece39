//! The Noise handshake `hybridXXpsk0_25519+MLKEM768_ChaChaPoly_SHA256` and the channel that it ends in.
//!
//! The only module that calls clatter. clatter panics on messages above 65,535 bytes, on reading after completion and on
//! a psk of another length than 32: each call here is made only after a check that rules this out.

use clatter::bytearray::ByteArray;
use clatter::constants::MAX_MESSAGE_LEN;
use clatter::error::{HandshakeError, TransportError};
use clatter::handshakepattern::{HandshakePattern, noise_hybrid_xx};
use clatter::traits::Handshaker;
use clatter::transportstate::TransportState;
use clatter::{HybridHandshakeCore, HybridHandshakeParams};
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use zeroize::Zeroizing;

use super::adapters::{ChaChaPoly, DhKeys, Drawn, KemKeys, MlKem, Sha, X25519};
use super::{derive, primitives};

type Hybrid = HybridHandshakeCore<X25519, MlKem, MlKem, ChaChaPoly, Sha, Drawn>;

/// The longest plaintext that one sealed message can hold, in bytes.
pub(super) const PLAINTEXT_BYTES: usize = MAX_MESSAGE_LEN - primitives::TAG_BYTES;

/// Why a step of the handshake or the channel failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// It is not this side's turn for that, or all is over. Ours.
    Turn,
    /// More than one message can hold. Whose message it is, is at fault.
    TooLarge,
    /// The peer's bytes are no such message, or a key in them is unusable.
    Malformed,
    /// The peer's message does not authenticate: it was altered, or its sender has another link, secret or key.
    Forged,
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Cipher(_) => Self::Forged,
            HandshakeError::InvalidState | HandshakeError::ErrorState => Self::Turn,
            _ => Self::Malformed,
        }
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Cipher(_) => Self::Forged,
            _ => Self::Malformed,
        }
    }
}

/// The static keys of one pairing attempt; never used for another.
#[derive(Clone)]
pub(super) struct Statics {
    dh: DhKeys,
    kem: KemKeys,
}

impl Statics {
    pub(super) fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self { dh: draw_dh(rng), kem: draw_kem(rng) }
    }

    /// The labelled hash of the two public keys, as a link carries it.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        derive::fingerprint(&self.dh.public, self.kem.public.as_slice())
    }
}

/// Everything that a side draws for one handshake.
#[derive(Clone)]
pub(super) struct Keys {
    statics: Statics,
    e: DhKeys,
    e_kem: KemKeys,
    drawn: Drawn,
}

impl Keys {
    /// Draws the ephemeral keys, then the bytes for encapsulations.
    pub(super) fn draw(statics: Statics, rng: &mut dyn CryptoRng) -> Self {
        let (e, e_kem) = (draw_dh(rng), draw_kem(rng));
        Self { statics, e, e_kem, drawn: Drawn::draw(rng) }
    }
}

fn draw_dh(rng: &mut dyn CryptoRng) -> DhKeys {
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *secret);
    X25519::keys(*secret)
}

fn draw_kem(rng: &mut dyn CryptoRng) -> KemKeys {
    let mut seed = Zeroizing::new([0; primitives::MLKEM_SEED_BYTES]);
    rng.fill_bytes(&mut *seed);
    MlKem::keys(*seed)
}

fn pattern() -> HandshakePattern {
    noise_hybrid_xx().add_psks(&[0], "hybridXXpsk0")
}

/// The handshake: four messages, the initiator's first.
pub(super) struct Handshake(Box<Hybrid>);

impl Handshake {
    /// A handshake over a pre-shared key and a prologue. Every random byte of it is among `keys`.
    pub(super) fn new(initiator: bool, keys: Keys, psk: &[u8; 32], prologue: &[u8]) -> Self {
        let Keys { statics, e, e_kem, drawn } = keys;
        let params = HybridHandshakeParams::new(pattern(), initiator)
            .with_prologue(prologue)
            .with_s(statics.dh)
            .with_s_kem(statics.kem)
            .with_e(e)
            .with_e_kem(e_kem);
        let mut hybrid: Hybrid =
            drawn.lend(|| HybridHandshakeCore::new(params)).expect("the pattern is a hybrid one without pre-messages");
        hybrid.push_psk(psk);
        Self(Box::new(hybrid))
    }

    /// The next message of this side.
    pub(super) fn write(&mut self) -> Result<Vec<u8>, Error> {
        if self.0.is_finished() || !self.0.is_write_turn() {
            return Err(Error::Turn);
        }
        let len = self.0.get_next_message_overhead()?;
        if len > MAX_MESSAGE_LEN {
            return Err(Error::TooLarge);
        }
        let mut message = vec![0; len];
        let written = self.0.write_message(&[], &mut message)?;
        message.truncate(written);
        Ok(message)
    }

    /// Takes the peer's next message. The handshake's messages carry no payload, so each has one right length.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<(), Error> {
        if self.0.is_finished() || self.0.is_write_turn() {
            return Err(Error::Turn);
        }
        let bounded = stands(Defence::HandshakeLength);
        if bounded && message.len() > MAX_MESSAGE_LEN {
            return Err(Error::TooLarge);
        }
        if bounded && message.len() != self.0.get_next_message_overhead()? {
            return Err(Error::Malformed);
        }
        self.0.read_message(message, &mut [])?;
        Ok(())
    }

    /// The fingerprint of the peer's static keys, once they came.
    pub(super) fn remote_fingerprint(&self) -> Option<[u8; 32]> {
        let remote = self.0.get_remote_static()?;
        Some(derive::fingerprint(remote.dh(), remote.kem().as_slice()))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Goes over to the channel.
    pub(super) fn finish(self) -> Result<Channel, Error> {
        if !self.0.is_finished() {
            return Err(Error::Turn);
        }
        let transport = self.0.finalize()?;
        let hash = Zeroizing::new(*transport.get_handshake_hash());
        Ok(Channel { transport, hash })
    }
}

/// The encrypted channel behind a handshake. Each direction's messages are numbered: one lost, repeated or out of order
/// does not open.
pub(super) struct Channel {
    transport: TransportState<ChaChaPoly, Sha>,
    hash: Zeroizing<[u8; 32]>,
}

impl Channel {
    /// The handshake's hash: the same on both sides, if nobody is in between.
    pub(super) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        if plaintext.len() > PLAINTEXT_BYTES {
            return Err(Error::TooLarge);
        }
        Ok(self.transport.send_vec(plaintext)?)
    }

    pub(super) fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if sealed.len() > MAX_MESSAGE_LEN {
            return Err(Error::TooLarge);
        }
        // clatter's `receive_vec` subtracts the tag's length before it checks the message's.
        let mut plaintext =
            Zeroizing::new(vec![0; sealed.len().checked_sub(primitives::TAG_BYTES).ok_or(Error::Malformed)?]);
        self.transport.receive(sealed, &mut plaintext)?;
        Ok(plaintext)
    }
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
