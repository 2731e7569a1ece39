//! What relays that share a store hand each other for a pairing whose devices have come to two of them.

use sync_types::frame::{self, FromRelay, ToRelay};
use sync_types::{DecodeError, Opaque};

use crate::rendezvous::PartyId;

/// A letter from the relay that a party has come to, to the one that has the slot, or back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// The party, by its number at the relay that it has come to.
    pub(super) party: PartyId,
    pub(super) word: Word,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The party comes to the slot, with this frame.
    Comes(Box<ToRelay>),
    /// It says this to the other side.
    Says(Opaque),
    /// It leaves.
    Leaves,
    /// Back: it is told this.
    Told(FromRelay),
}

impl Letter {
    /// One byte for the kind, eight for the party, and the rest.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let unprefixed = |frame: Vec<u8>| frame.get(4..).map(<[u8]>::to_vec).unwrap_or_default();
        let (kind, rest) = match &self.word {
            Word::Comes(frame) => (b'c', unprefixed(frame::write(&**frame))),
            Word::Says(message) => (b's', message.to_vec()),
            Word::Leaves => (b'l', Vec::new()),
            Word::Told(frame) => (b't', unprefixed(frame::write(frame))),
        };
        [&[kind], &self.party.to_be_bytes()[..], &rest].concat()
    }

    /// Reads what [`Letter::to_bytes`] wrote; `None` for what a later version says.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some(([kind], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let Some((party, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let word = match kind {
            b'c' => Word::Comes(Box::new(frame::read(rest)?)),
            b's' => Word::Says(Opaque(rest.to_vec())),
            b'l' => Word::Leaves,
            b't' => Word::Told(frame::read(rest)?),
            _ => return Ok(None),
        };
        Ok(Some(Self { party: PartyId::from_be_bytes(*party), word }))
    }
}

#[cfg(test)]
mod tests {
    use sync_types::VERSION;
    use sync_types::frame::JoinNameplate;

    use super::*;

    #[test]
    fn letters_read_back() {
        let comes = ToRelay::JoinNameplate(JoinNameplate { version: VERSION, nameplate: 7 });
        let words = [
            Word::Comes(Box::new(comes)),
            Word::Says(Opaque(vec![1, 2, 3])),
            Word::Leaves,
            Word::Told(FromRelay::SlotOpened),
        ];
        for word in words {
            let letter = Letter { party: u64::MAX - 1, word };
            assert_eq!(Letter::read(&letter.to_bytes()), Ok(Some(letter)));
        }
        for bytes in [&b""[..], b"s", b"s1234567", b"z12345678"] {
            assert_eq!(Letter::read(bytes), Ok(None));
        }
        assert!(Letter::read(b"t12345678").is_err());
    }
}
