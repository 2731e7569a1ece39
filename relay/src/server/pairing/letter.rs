//! What relays that share a store hand each other for a pairing whose devices have come to two of them.

use std::net::IpAddr;

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
    /// The party comes to the slot, out of this network, with this frame.
    Comes(Option<IpAddr>, Box<ToRelay>),
    /// It says this to the other side.
    Says(Opaque),
    /// It leaves.
    Leaves,
    /// Back: it is told this.
    Told(FromRelay),
}

impl Letter {
    /// About how many bytes it takes while it waits.
    pub(super) fn cost(&self) -> usize {
        let rest = match &self.word {
            Word::Says(message) | Word::Told(FromRelay::SlotMessage(message)) => message.len(),
            _ => 0,
        };
        rest + 256
    }

    /// One byte for the kind, eight for the party, and the rest.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let unprefixed = |frame: Vec<u8>| frame.get(4..).map(<[u8]>::to_vec).unwrap_or_default();
        let (kind, rest) = match &self.word {
            Word::Comes(network, frame) => {
                let network = match network {
                    None => vec![0],
                    Some(IpAddr::V4(four)) => [&[4], &four.octets()[..]].concat(),
                    Some(IpAddr::V6(six)) => [&[16], &six.octets()[..]].concat(),
                };
                (b'c', [network, unprefixed(frame::write(&**frame))].concat())
            }
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
            b'c' => {
                let Some((network, rest)) = network(rest) else { return Ok(None) };
                Word::Comes(network, Box::new(frame::read(rest)?))
            }
            b's' => Word::Says(Opaque(rest.to_vec())),
            b'l' => Word::Leaves,
            b't' => Word::Told(frame::read(rest)?),
            _ => return Ok(None),
        };
        Ok(Some(Self { party: PartyId::from_be_bytes(*party), word }))
    }
}

/// Reads a network, and gives what is behind it.
fn network(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (octets, rest) = rest.split_at_checked((*length).into())?;
    let network = match octets.len() {
        0 => None,
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    Some((network, rest))
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
            Word::Comes(None, Box::new(comes.clone())),
            Word::Comes(Some([192, 0, 2, 1].into()), Box::new(comes.clone())),
            Word::Comes(Some([7_u16; 8].into()), Box::new(comes)),
            Word::Says(Opaque(vec![1, 2, 3])),
            Word::Leaves,
            Word::Told(FromRelay::SlotOpened),
        ];
        for word in words {
            let letter = Letter { party: u64::MAX - 1, word };
            assert_eq!(Letter::read(&letter.to_bytes()), Ok(Some(letter)));
        }
        for bytes in [&b""[..], b"s", b"s1234567", b"z12345678", b"c12345678", b"c12345678\x05abcde"] {
            assert_eq!(Letter::read(bytes), Ok(None));
        }
        assert!(Letter::read(b"t12345678").is_err());
    }
}
