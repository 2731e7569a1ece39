//! One value of the device's database under the vault key.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use sync_rules::defence::{Defence, stands};
use sync_types::{BlobId, DeviceId, LABEL_PREFIX, Opaque, encode};

use super::{Nonce, VaultKey};

/// How many bytes a sealed value has more than its plaintext: nonce and tag.
pub const CELL_OVERHEAD: usize = 24 + 16;

/// Where a value stands. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// A value that the client keeps beside the core's state, by its name.
    Meta(&'a str),
    /// A row of the core's state, by its key.
    State(&'a [u8]),
    /// A blob of the log.
    Blob(BlobId, &'a str, bool),
    /// A blob that waits for an earlier one of its sender; its channel, and whether it is a snapshot.
    Held(BlobId, DeviceId, u64, &'a str, bool),
    /// Something that was not accepted: cursor, sender, outcome, time.
    Refused(u64, Option<DeviceId>, &'a str, u64),
    /// The installation's transport key.
    TransportKey,
    /// What a device was called when an alert told of it.
    AlertName(DeviceId),
}

impl Cell<'_> {
    /// The place as the associated data of its seal.
    fn associated(self) -> Vec<u8> {
        let text = |text: &str| encode(&Opaque(text.as_bytes().to_vec()));
        match self {
            // For the control of an attack: a seal that is good wherever it stands.
            _ if !stands(Defence::RowBinding) => vec![],
            Self::Meta(name) => [vec![1], text(name)].concat(),
            Self::State(key) => [vec![2], encode(&Opaque(key.to_vec()))].concat(),
            Self::Blob(id, channel, snapshot) => [&[3], &id.0[..], &text(channel), &[u8::from(snapshot)]].concat(),
            Self::Held(id, sender, seq, channel, snapshot) => {
                let place = [&id.0[..], &sender.0, &seq.to_be_bytes()].concat();
                [&[4], &place[..], &text(channel), &[u8::from(snapshot)]].concat()
            }
            Self::Refused(cursor, sender, outcome, at) => {
                let sender = encode(&sender);
                [&[5], &cursor.to_be_bytes()[..], &sender, &text(outcome), &at.to_be_bytes()].concat()
            }
            Self::TransportKey => vec![6],
            Self::AlertName(device) => [&[7], &device.0[..]].concat(),
        }
    }
}

/// A value that is not what was stored in this place, or another vault's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored value does not open under this vault's key")]
pub struct CellError;

/// What seals and opens the values of one vault.
#[derive(Clone)]
pub struct Sealer(XChaCha20Poly1305);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    /// For the values of this vault.
    pub fn new(key: &VaultKey) -> Self {
        let cells = key.derive(&format!("{LABEL_PREFIX}vault cells"));
        Self(XChaCha20Poly1305::new((&*cells).into()))
    }

    /// Seals a value for its place: nonce, ciphertext, tag. The nonce is fresh and random.
    pub fn seal(&self, place: Cell<'_>, plain: &[u8], nonce: Nonce) -> Vec<u8> {
        let payload = Payload { msg: plain, aad: &place.associated() };
        let sealed = self.0.encrypt((&nonce).into(), payload).expect("a value is far below the cipher's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`CellError`].
    pub fn open(&self, place: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>, CellError> {
        let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or(CellError)?;
        let payload = Payload { msg: sealed, aad: &place.associated() };
        self.0.decrypt(nonce.into(), payload).map_err(|_| CellError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_own_place_and_nowhere_else() {
        let (id, other) = (BlobId([1; 16]), BlobId([2; 16]));
        let (me, you) = (DeviceId([3; 16]), DeviceId([4; 16]));
        let places = [
            Cell::Meta("a"),
            Cell::Meta("b"),
            Cell::State(&[1]),
            Cell::State(&[2]),
            Cell::Blob(id, "a", false),
            Cell::Blob(other, "a", false),
            Cell::Blob(id, "b", false),
            Cell::Blob(id, "a", true),
            Cell::Held(id, me, 1, "a", false),
            Cell::Held(id, you, 1, "a", false),
            Cell::Held(id, me, 2, "a", false),
            Cell::Refused(1, Some(me), "forged", 2),
            Cell::Refused(1, None, "forged", 2),
            Cell::Refused(1, Some(me), "forged", 3),
            Cell::TransportKey,
            Cell::AlertName(me),
            Cell::AlertName(you),
        ];
        let sealer = Sealer::new(&VaultKey::new([5; 32]));
        let stranger = Sealer::new(&VaultKey::new([6; 32]));
        for (i, place) in places.into_iter().enumerate() {
            let sealed = sealer.seal(place, b"it", [7; 24]);
            assert_eq!(sealed.len(), 2 + CELL_OVERHEAD);
            assert_eq!(stranger.open(place, &sealed), Err(CellError));
            for (j, elsewhere) in places.into_iter().enumerate() {
                assert_eq!(sealer.open(elsewhere, &sealed), if i == j { Ok(b"it".to_vec()) } else { Err(CellError) });
            }
        }
        assert_eq!(sealer.open(Cell::TransportKey, &[0; 23]), Err(CellError));
        assert_eq!(sealer.open(Cell::TransportKey, &[0; 30]), Err(CellError));
    }
}
