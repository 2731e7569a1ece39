//! The Noise handshake `hybridXXpsk0` and the channel that it ends in: `25519+MLKEM768_ChaChaPoly_SHA256` in suite 1,
//! `P256+MLKEM768_AESGCM_SHA256` in suite 2.
//!
//! The only module that calls clatter. clatter panics on messages above 65,535 bytes, on reading after completion and on
//! a psk of another length than 32: each call here is made only after a check that rules this out.

use clatter::KeyPair;
use clatter::bytearray::ByteArray;
use clatter::constants::MAX_MESSAGE_LEN;
use clatter::error::{HandshakeError, TransportError};
use clatter::handshakepattern::{HandshakePattern, noise_hybrid_xx};
use clatter::traits::{Cipher, Dh, Handshaker, Hash, Kem};
use clatter::transportstate::TransportState;
use clatter::{HybridHandshakeCore, HybridHandshakeParams};
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::Suite;
use zeroize::Zeroizing;

use super::adapters::{ChaChaPoly, DhKeys, Drawn, KemKeys, MlKem, Sha, X25519};
use super::approved::{AesGcm, AwsMlKem, P256, P256Keys};
use super::{derive, primitives};

/// A handshake of suite 1, and one of suite 2.
type Hybrid = HybridHandshakeCore<X25519, MlKem, MlKem, ChaChaPoly, Sha, Drawn>;
type Approved = HybridHandshakeCore<P256, AwsMlKem, AwsMlKem, AesGcm, Sha, Drawn>;

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

/// A pair of each kind.
#[derive(Clone)]
struct Pairs<D> {
    dh: D,
    kem: KemKeys,
}

impl Pairs<DhKeys> {
    fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self { dh: draw_dh(rng), kem: draw_kem(rng) }
    }
}

impl Pairs<P256Keys> {
    fn draw(rng: &mut dyn CryptoRng) -> Self {
        let dh = P256::draw(|secret| rng.fill_bytes(secret));
        let mut seed = Zeroizing::new([0; primitives::MLKEM_SEED_BYTES]);
        rng.fill_bytes(&mut *seed);
        Self { dh, kem: AwsMlKem::keys(*seed) }
    }
}

/// The static keys of one pairing attempt; never used for another.
#[derive(Clone)]
pub(super) struct Statics(StaticsOf);

#[derive(Clone)]
enum StaticsOf {
    XWing(Pairs<DhKeys>),
    Fips(Pairs<P256Keys>),
}

impl Statics {
    pub(super) fn draw(suite: Suite, rng: &mut dyn CryptoRng) -> Self {
        Self(match suite {
            Suite::XWing => StaticsOf::XWing(Pairs::<DhKeys>::draw(rng)),
            Suite::Fips => StaticsOf::Fips(Pairs::<P256Keys>::draw(rng)),
        })
    }

    /// The labelled hash of the two public keys, as a link carries it.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        match &self.0 {
            StaticsOf::XWing(pairs) => derive::fingerprint(&pairs.dh.public, pairs.kem.public.as_slice()),
            StaticsOf::Fips(pairs) => derive::fingerprint(pairs.dh.public.as_slice(), pairs.kem.public.as_slice()),
        }
    }
}

/// Everything that a side draws for one handshake.
#[derive(Clone)]
pub(super) struct Keys {
    pairs: KeysOf,
    drawn: Drawn,
}

/// The static pairs, then the ephemeral ones.
#[derive(Clone)]
enum KeysOf {
    XWing(Pairs<DhKeys>, Pairs<DhKeys>),
    Fips(Pairs<P256Keys>, Pairs<P256Keys>),
}

impl Keys {
    /// Draws the ephemeral keys, then the bytes for encapsulations, which only suite 1 uses.
    pub(super) fn draw(statics: Statics, rng: &mut dyn CryptoRng) -> Self {
        let pairs = match statics.0 {
            StaticsOf::XWing(statics) => KeysOf::XWing(statics, Pairs::<DhKeys>::draw(rng)),
            StaticsOf::Fips(statics) => KeysOf::Fips(statics, Pairs::<P256Keys>::draw(rng)),
        };
        Self { pairs, drawn: Drawn::draw(rng) }
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
pub(super) struct Handshake(Box<dyn Steps + Send + Sync>);

impl Handshake {
    /// A handshake over a pre-shared key and a prologue, of the suite that the keys were drawn for. Every random byte of it is
    /// among `keys`, but for what aws-lc draws in suite 2.
    pub(super) fn new(initiator: bool, keys: Keys, psk: &[u8; 32], prologue: &[u8]) -> Self {
        match keys.pairs {
            KeysOf::XWing(s, e) => {
                Self(Box::new(begin::<X25519, MlKem, ChaChaPoly, Sha>(initiator, s, e, keys.drawn, psk, prologue)))
            }
            KeysOf::Fips(s, e) => {
                Self(Box::new(begin::<P256, AwsMlKem, AesGcm, Sha>(initiator, s, e, keys.drawn, psk, prologue)))
            }
        }
    }

    /// The next message of this side.
    pub(super) fn write(&mut self) -> Result<Vec<u8>, Error> {
        self.0.write()
    }

    /// Takes the peer's next message. The handshake's messages carry no payload, so each has one right length.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<(), Error> {
        self.0.read(message)
    }

    /// The fingerprint of the peer's static keys, once they came.
    pub(super) fn remote_fingerprint(&self) -> Option<[u8; 32]> {
        self.0.remote_fingerprint()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_over()
    }

    /// Goes over to the channel.
    pub(super) fn finish(self) -> Result<Channel, Error> {
        self.0.finish()
    }
}

fn begin<D, K, C, H>(
    initiator: bool,
    s: Pairs<KeyPair<D::PubKey, D::PrivateKey>>,
    e: Pairs<KeyPair<D::PubKey, D::PrivateKey>>,
    drawn: Drawn,
    psk: &[u8; 32],
    prologue: &[u8],
) -> HybridHandshakeCore<D, K, K, C, H, Drawn>
where
    D: Dh,
    K: Kem<PubKey = <MlKem as Kem>::PubKey, SecretKey = <MlKem as Kem>::SecretKey>,
    C: Cipher,
    H: Hash,
{
    let params = HybridHandshakeParams::new(pattern(), initiator)
        .with_prologue(prologue)
        .with_s(s.dh)
        .with_s_kem(s.kem)
        .with_e(e.dh)
        .with_e_kem(e.kem);
    let made = drawn.lend(|| HybridHandshakeCore::new(params));
    let mut hybrid: HybridHandshakeCore<D, K, K, C, H, Drawn> =
        made.expect("the pattern is a hybrid one without pre-messages");
    hybrid.push_psk(psk);
    hybrid
}

/// A handshake of either suite.
trait Steps {
    fn write(&mut self) -> Result<Vec<u8>, Error>;
    fn read(&mut self, message: &[u8]) -> Result<(), Error>;
    fn remote_fingerprint(&self) -> Option<[u8; 32]>;
    fn is_over(&self) -> bool;
    fn finish(self: Box<Self>) -> Result<Channel, Error>;
    #[cfg(test)]
    fn name(&self) -> String;
}

macro_rules! steps {
    ($($hybrid:ty),*) => { $(
        impl Steps for $hybrid {
            fn write(&mut self) -> Result<Vec<u8>, Error> {
                if self.is_finished() || !self.is_write_turn() {
                    return Err(Error::Turn);
                }
                let len = self.get_next_message_overhead()?;
                if len > MAX_MESSAGE_LEN {
                    return Err(Error::TooLarge);
                }
                let mut message = vec![0; len];
                let written = self.write_message(&[], &mut message)?;
                message.truncate(written);
                Ok(message)
            }

            fn read(&mut self, message: &[u8]) -> Result<(), Error> {
                if self.is_finished() || self.is_write_turn() {
                    return Err(Error::Turn);
                }
                let bounded = stands(Defence::HandshakeLength);
                if bounded && message.len() > MAX_MESSAGE_LEN {
                    return Err(Error::TooLarge);
                }
                if bounded && message.len() != self.get_next_message_overhead()? {
                    return Err(Error::Malformed);
                }
                self.read_message(message, &mut [])?;
                Ok(())
            }

            fn remote_fingerprint(&self) -> Option<[u8; 32]> {
                let remote = self.get_remote_static()?;
                Some(derive::fingerprint(remote.dh().as_slice(), remote.kem().as_slice()))
            }

            fn is_over(&self) -> bool {
                self.is_finished()
            }

            fn finish(self: Box<Self>) -> Result<Channel, Error> {
                if !self.is_finished() {
                    return Err(Error::Turn);
                }
                let transport = self.finalize()?;
                let hash = Zeroizing::new(*transport.get_handshake_hash());
                Ok(Channel { transport: Box::new(transport), hash })
            }

            #[cfg(test)]
            fn name(&self) -> String {
                self.get_name().to_string()
            }
        }
    )* };
}

steps!(Hybrid, Approved);

/// The encrypted channel behind a handshake. Each direction's messages are numbered: one lost, repeated or out of order
/// does not open.
pub(super) struct Channel {
    transport: Box<dyn Ends + Send + Sync>,
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
        Ok(self.transport.seal(plaintext)?)
    }

    pub(super) fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if sealed.len() > MAX_MESSAGE_LEN {
            return Err(Error::TooLarge);
        }
        // clatter's `receive_vec` subtracts the tag's length before it checks the message's.
        let mut plaintext =
            Zeroizing::new(vec![0; sealed.len().checked_sub(primitives::TAG_BYTES).ok_or(Error::Malformed)?]);
        self.transport.open(sealed, &mut plaintext)?;
        Ok(plaintext)
    }
}

/// A channel of either suite.
trait Ends {
    fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, TransportError>;
    fn open(&mut self, sealed: &[u8], plaintext: &mut [u8]) -> Result<usize, TransportError>;
}

impl<C: Cipher, H: Hash> Ends for TransportState<C, H> {
    fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.send_vec(plaintext)
    }

    fn open(&mut self, sealed: &[u8], plaintext: &mut [u8]) -> Result<usize, TransportError> {
        self.receive(sealed, plaintext)
    }
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
