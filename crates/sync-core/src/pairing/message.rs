//! What the two sides of a pairing say: frames in the rendezvous, and messages inside the channel.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::{Code, DecodeError, DeviceId, GroupId, Opaque, decode, encode, limits};
use zeroize::Zeroizing;

use super::event::GroupOffer;
use super::noise;

/// One message in the rendezvous: a kind, then the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message of the handshake, numbered from 1, so that a second first message is told from a broken second one.
    Handshake(u8, &'a [u8]),
    /// A message in the channel.
    Sealed(&'a [u8]),
    /// The end of the pairing, told before there is a channel. Nothing vouches for it.
    Abort(u16),
    /// A message of the exchange over a short code: 1 from the side that types it, 2 from the side that shows it.
    Pake(u8, &'a [u8]),
}

impl<'a> Frame<'a> {
    const HANDSHAKE: u8 = 1;
    const SEALED: u8 = 2;
    const ABORT: u8 = 3;
    const PAKE: u8 = 4;

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Handshake(number, message) => [&[Self::HANDSHAKE, *number], *message].concat(),
            Self::Sealed(message) => [&[Self::SEALED], *message].concat(),
            Self::Abort(code) => [&[Self::ABORT][..], &code.to_be_bytes()].concat(),
            Self::Pake(number, message) => [&[Self::PAKE, *number], *message].concat(),
        }
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [Self::HANDSHAKE, number, message @ ..] => Some(Self::Handshake(*number, message)),
            [Self::SEALED, message @ ..] => Some(Self::Sealed(message)),
            [Self::ABORT, high, low] => Some(Self::Abort(u16::from_be_bytes([*high, *low]))),
            [Self::PAKE, number, message @ ..] => Some(Self::Pake(*number, message)),
            _ => None,
        }
    }
}

/// A message inside the channel.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(super) enum Message {
    /// The member's first word.
    Hello(Hello) = 1u8,
    /// The newcomer's person has typed the check code, or its script has skipped it.
    Checked = 2u8,
    /// The newcomer asks to join.
    Join(Join) = 3u8,
    /// The member's person has said yes, and this is the group.
    Offer(Offer) = 4u8,
    /// The newcomer has stored the offer.
    Taken = 5u8,
    /// The end of the pairing; a [`Code`]'s number.
    Abort(u16) = 6u8,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Hello {
    pub(super) time_ms: u64,
    pub(super) app: [u8; 32],
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Join {
    pub(super) key_package: Opaque,
    pub(super) name: Opaque,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Offer {
    group: GroupId,
    sponsor: DeviceId,
    settings: Opaque,
    names: Vec<Named>,
    time_ms: u64,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Named {
    device: DeviceId,
    name: Opaque,
}

impl From<GroupOffer> for Offer {
    fn from(offer: GroupOffer) -> Self {
        let named = |(device, name): (DeviceId, String)| Named { device, name: name.into_bytes().into() };
        Self {
            group: offer.group,
            sponsor: offer.sponsor,
            settings: offer.settings.into(),
            names: offer.names.into_iter().map(named).collect(),
            time_ms: offer.time_ms,
        }
    }
}

impl TryFrom<Offer> for GroupOffer {
    type Error = &'static str;

    fn try_from(offer: Offer) -> Result<Self, Self::Error> {
        let named = |n: Named| Ok((n.device, text(n.name)?));
        Ok(Self {
            group: offer.group,
            sponsor: offer.sponsor,
            settings: offer.settings.0,
            names: offer.names.into_iter().map(named).collect::<Result<_, Self::Error>>()?,
            time_ms: offer.time_ms,
        })
    }
}

/// Text out of a peer's message.
pub(super) fn text(bytes: Opaque) -> Result<String, &'static str> {
    String::from_utf8(bytes.0).map_err(|_| "a name is not UTF-8")
}

impl Message {
    pub(super) const fn abort(code: Code) -> Self {
        Self::Abort(code as u16)
    }

    /// The bytes to seal: the message, then one byte 0x80 and zeros up to a multiple of [`BLOCK`], so that the relay
    /// learns from the sizes neither names nor answers.
    pub(super) fn to_padded(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(encode(self));
        bytes.push(0x80);
        let padded = bytes.len().next_multiple_of(BLOCK);
        bytes.resize(padded, 0);
        bytes
    }

    /// Reads what [`Message::to_padded`] made, and nothing else.
    pub(super) fn from_padded(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bad = DecodeError::Limit("a message in the channel is not padded as it has to be");
        let end = bytes.iter().rposition(|b| *b != 0).filter(|end| bytes[*end] == 0x80).ok_or(bad.clone())?;
        if bytes.len() != (end + 1).next_multiple_of(BLOCK) {
            return Err(bad);
        }
        decode(&bytes[..end])
    }
}

/// Whether bytes, once opened, are a message of the channel or a frame around one. For a fuzzer: nobody else comes to this
/// decoder without the channel's keys.
pub fn is_channel_message(bytes: &[u8]) -> bool {
    let offer = |message: &Message| match message {
        Message::Offer(offer) => GroupOffer::try_from(offer.clone()).is_ok_and(|offer| offer.check().is_ok()),
        _ => true,
    };
    Message::from_padded(bytes).is_ok_and(|message| offer(&message)) || Frame::decode(bytes).is_some()
}

/// What sizes in the channel are multiples of, in bytes.
const BLOCK: usize = 256;

// The largest offer fits into one message: so nothing is ever split.
const _: () = {
    let names = limits::MEMBERS * (DeviceId::LEN + 2 + limits::NAME_BYTES);
    let offer = 1 + GroupId::LEN + DeviceId::LEN + 4 + super::event::SETTINGS_BYTES + 4 + names + 8;
    assert!(offer + BLOCK < noise::PLAINTEXT_BYTES);
    assert!(noise::PLAINTEXT_BYTES < limits::PAIRING_MESSAGE_BYTES);
    assert!(1 + super::event::KEY_PACKAGE_BYTES + limits::NAME_BYTES + 8 + BLOCK < noise::PLAINTEXT_BYTES);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back() {
        for frame in [
            Frame::Handshake(3, b"abc"),
            Frame::Sealed(b"abc"),
            Frame::Abort(51),
            Frame::Sealed(b""),
            Frame::Pake(2, b"a"),
        ] {
            assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        }
        for bytes in [&b""[..], &[0], &[5, 1], &[1], &[4], &[3], &[3, 0], &[3, 0, 1, 2]] {
            assert_eq!(Frame::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn padding_hides_the_length_and_has_one_form() {
        let join = |name: &str| {
            Message::Join(Join { key_package: vec![0; 300].into(), name: name.as_bytes().to_vec().into() })
        };
        let (short, long) = (join("a").to_padded(), join("a much longer name").to_padded());
        assert_eq!((short.len(), long.len()), (512, 512));
        assert!(matches!(Message::from_padded(&short), Ok(Message::Join(j)) if &*j.name == b"a"));
        assert!(matches!(Message::from_padded(&Message::Taken.to_padded()), Ok(Message::Taken)));

        let mut more = short.to_vec();
        more.extend_from_slice(&[0; 256]);
        for bad in [&b""[..], &[0; 256], &short[..511], &more, &[5, 0x80]] {
            assert!(Message::from_padded(bad).is_err(), "{} bytes", bad.len());
        }
    }
}
