//! Envelopes and acknowledgements on their way to the mailbox: read, hashed and verified by whoever brings them, so that the
//! one task that decides for all groups need not do it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::IntoIter;

use sync_rules::envelope::{head_of, verify_parts};
use sync_rules::statement::verify_acknowledgement;
use sync_types::envelope::{EnvelopeError, Header};
use sync_types::frame::{Acknowledge, Acknowledgement, Head};
use sync_types::{DecodeError, DeviceId, Envelope, GroupId, Opaque, codec, limits};

use crate::store::Bytes;

/// The Ed25519 public keys of a group's members.
pub type Keys = BTreeMap<DeviceId, [u8; 32]>;

/// How many envelopes, and about how many bytes of them, one [`Verifying::step`] goes through: a millisecond's work or two.
const STEP_ENVELOPES: usize = 16;
const STEP_BYTES: usize = 256 << 10;

/// The envelopes of one push with what was found out about each. Only [`Verifying`] makes one.
///
/// It says by which key a signature holds, not whether that key is a member's: that is for
/// [`super::GroupState::push`] to compare when it decides, so an old list of keys lets nothing through.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) group: GroupId,
    pub(super) envelopes: Vec<Candidate>,
}

/// One envelope.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) bytes: Bytes,
    pub(super) read: Result<Parsed, EnvelopeError>,
}

/// What stands in an envelope.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) header: Header,
    /// What its sender's head becomes if it is taken.
    pub(super) head: Head,
    pub(super) signed: Signed,
}

/// What is known of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// It holds by this key.
    By([u8; 32]),
    /// It does not hold by this key.
    NotBy([u8; 32]),
    /// There was no key for its sender, or there is no reason to look, as one before it is refused for certain.
    Unknown,
}

/// Verifies the envelopes of one push, a step at a time.
#[derive(Debug)]
pub struct Verifying {
    verified: Verified,
    waiting: IntoIter<Opaque>,
    keys: Arc<Keys>,
    /// Whether a signature did not hold. Nothing behind it can be taken, so no other signature is looked at.
    bad: bool,
}

impl Verifying {
    /// Begins with envelopes for this group. `keys` come from [`super::GroupState::keys`].
    pub fn new(group: GroupId, envelopes: Vec<Opaque>, keys: Arc<Keys>) -> Self {
        let verified = Verified { group, envelopes: Vec::with_capacity(envelopes.len()) };
        Self { verified, waiting: envelopes.into_iter(), keys, bad: false }
    }

    /// Goes through some more, and says whether anything is left.
    pub fn step(&mut self) -> bool {
        let mut bytes = 0;
        for envelope in self.waiting.by_ref().take(STEP_ENVELOPES) {
            bytes += envelope.len();
            let candidate = candidate(self.verified.group, &envelope, if self.bad { None } else { Some(&self.keys) });
            // Whatever is no envelope is refused, and all behind it.
            self.bad |= !matches!(&candidate.read, Ok(parsed) if !matches!(parsed.signed, Signed::NotBy(_)));
            self.verified.envelopes.push(candidate);
            if bytes >= STEP_BYTES {
                break;
            }
        }
        self.waiting.len() > 0
    }

    /// Goes through all that is left.
    pub fn finish(mut self) -> Verified {
        while self.step() {}
        self.verified
    }
}

/// An acknowledgement with what was found out about its statement. Like [`Verified`], it says by which key that holds.
#[derive(Clone, Debug)]
pub struct Stated {
    pub(super) group: GroupId,
    pub(super) cursor: u64,
    /// The statement as it travelled; empty without one.
    pub(super) bytes: Bytes,
    /// `None` without a statement, and for one that is too large to be looked at.
    pub(super) read: Option<Result<(Acknowledgement, Signed), DecodeError>>,
}

impl Stated {
    /// Reads and verifies. `keys` come from [`super::GroupState::keys`].
    pub fn verify(group: GroupId, request: &Acknowledge, keys: &Keys) -> Self {
        let bytes = &request.statement[..];
        let read = (1..=limits::STATEMENT_BYTES).contains(&bytes.len()).then(|| {
            let statement: Acknowledgement = codec::decode(bytes)?;
            let signed = match keys.get(&statement.device) {
                Some(key) if verify_acknowledgement(&group, &statement, key).is_ok() => Signed::By(*key),
                Some(key) => Signed::NotBy(*key),
                None => Signed::Unknown,
            };
            Ok((statement, signed))
        });
        Self { group, cursor: request.cursor, bytes: Bytes::from(bytes), read }
    }

    /// Whose word it is, if it can be read; `None` without a statement, too.
    pub fn device(&self) -> Option<DeviceId> {
        self.read.as_ref()?.as_ref().ok().map(|(statement, _)| statement.device)
    }

    /// How much memory it takes, in bytes: as it travelled, and read.
    pub fn weight(&self) -> usize {
        2 * self.bytes.len()
    }
}

impl Verified {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// How much memory the envelopes take, in bytes.
    pub fn weight(&self) -> usize {
        let each = size_of::<Candidate>() + Header::LEN;
        self.envelopes.iter().map(|candidate| candidate.bytes.len() + each).sum()
    }
}

fn candidate(group: GroupId, bytes: &[u8], keys: Option<&Keys>) -> Candidate {
    let read = Envelope::parse(bytes).map(|envelope| {
        let head = head_of(&envelope);
        let (header, ciphertext) = (envelope.header_bytes, &head.ciphertext_hash);
        let signed = match keys.and_then(|keys| keys.get(&envelope.header.sender)) {
            Some(key) => match verify_parts(&group, header, ciphertext, envelope.signature, key) {
                Ok(()) => Signed::By(*key),
                Err(_) => Signed::NotBy(*key),
            },
            None => Signed::Unknown,
        };
        Parsed { header: envelope.header, head, signed }
    });
    Candidate { bytes: Bytes::from(bytes), read }
}
