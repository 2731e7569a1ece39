//! What is inside an envelope once it is opened: packed blobs, control messages, presence.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use zeroize::Zeroize;

use crate::codec::counted;
use crate::envelope::{Class, padded_len};
use crate::frame::{Head, Signature};
use crate::{BlobId, DecodeError, DeviceId, EntryHash, Opaque, codec, limits};

/// A sender's chain up to some envelope: "I hold everything of `sender` up to `seq`, whose hash is `hash`".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Reached {
    /// Whose chain.
    pub sender: DeviceId,
    /// The last envelope's number.
    pub seq: u64,
    /// The last envelope's hash.
    pub hash: EntryHash,
}

/// A run of one sender's envelopes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Span {
    /// Whose chain.
    pub sender: DeviceId,
    /// The first envelope's number.
    pub from: u64,
    /// The last envelope's number.
    pub to: u64,
}

/// The plaintext of an envelope of class data or control, before padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Body {
    /// What the sender newly holds of others, so that a relay that withholds shows.
    pub seen: Vec<Reached>,
    /// Blobs (class data) as [`pack`] writes them, or empty.
    pub blobs: Opaque,
    /// Messages of the engine (class control), at most [`limits::CONTROL_MESSAGES`], or empty.
    #[mls_codec(with = "messages")]
    pub control: Vec<Control>,
}

counted!(messages, Control, limits::CONTROL_MESSAGES);

impl Reached {
    /// Whether its number is one that an envelope can have.
    pub fn is_bounded(&self) -> bool {
        self.seq < limits::NUMBER
    }
}

impl Span {
    /// Whether its numbers are ones that envelopes can have, in order.
    pub fn is_bounded(&self) -> bool {
        0 < self.from && self.from <= self.to && self.to < limits::NUMBER
    }
}

impl Body {
    /// Whether every number in it is one that there can be. A body with another is not read.
    pub fn is_bounded(&self) -> bool {
        let spans = |spans: &[Span]| spans.iter().all(Span::is_bounded);
        let heads = |heads: &[Head]| heads.iter().all(|head| head.seq < limits::NUMBER);
        self.seen.iter().all(Reached::is_bounded)
            && self.control.iter().all(|control| match control {
                Control::Name(_) | Control::Leaving | Control::RollCall | Control::KitWanted => true,
                Control::Kit(share) => share.is_bounded(),
                Control::HistoryRequest(request) => request.number < limits::NUMBER && spans(&request.spans),
                Control::History(history) => {
                    history.number < limits::NUMBER
                        && spans(&history.complete)
                        && history.runs.iter().all(|run| 0 < run.seq && run.seq < limits::NUMBER)
                        && history.runs.iter().all(|run| run.covers.len() <= limits::COVERS && spans(&run.covers))
                }
                Control::Nack(nack) => nack.number < limits::NUMBER && spans(&nack.spans),
                Control::Repair(repair) => repair.number < limits::NUMBER && heads(&repair.heads),
                Control::Heads(list) | Control::PastCut(list) => heads(list),
                Control::SuiteWanted(wanted) => wanted.number < limits::NUMBER,
                Control::SuitePackage(package) => package.number < limits::NUMBER,
            })
    }
}

impl Body {
    /// Whether it is one that an envelope of this class may hold: blobs travel as data, messages between engines as control.
    /// What is ephemeral holds no body.
    pub fn fits(&self, class: Class) -> bool {
        match class {
            Class::Data => self.control.is_empty(),
            Class::Control => self.blobs.is_empty(),
            Class::Ephemeral => false,
        }
    }
}

impl KitShare {
    /// Whether its public key is no longer than one may be.
    pub fn is_bounded(&self) -> bool {
        self.seal_key.len() <= limits::KIT_SEAL_KEY_BYTES
    }
}

impl Baseline {
    /// Whether every number in it is one that there can be.
    pub fn is_bounded(&self) -> bool {
        self.frontier.iter().all(Reached::is_bounded) && self.kit.as_ref().is_none_or(KitShare::is_bounded)
    }
}

/// A message between engines.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Control {
    /// The sender's own name, for people.
    Name(Opaque) = 1u8,
    /// "Send me these as history."
    HistoryRequest(HistoryRequest) = 2u8,
    /// Blobs handed on again.
    History(History) = 3u8,
    /// "I am leaving: remove me."
    Leaving = 4u8,
    /// "These should have come, and have not."
    Nack(Nack) = 5u8,
    /// Envelopes sent again, because somebody said [`Control::Nack`].
    Repair(Repair) = 6u8,
    /// The ends of the members' chains that the sender holds, each signed by its own sender. Goes with a beacon: who was set
    /// back learns from its own what it has signed.
    Heads(Vec<Head>) = 7u8,
    /// "I was away: say where the chains stand." Answered by a beacon.
    RollCall = 8u8,
    /// What members hold of the group's recovery kit.
    Kit(KitShare) = 9u8,
    /// "I lack what members hold of the recovery kit."
    KitWanted = 10u8,
    /// The ends of chains of removed devices of which the sender had more than the cut says before it knew of the removal: one
    /// relay had brought it. It hands that on as history.
    PastCut(Vec<Head>) = 11u8,
    /// "I move the group to this suite: give me key packages of it."
    SuiteWanted(SuiteWanted) = 12u8,
    /// The answer to it.
    SuitePackage(SuitePackage) = 13u8,
}

/// Asks members for key packages of another suite.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SuiteWanted {
    /// The asker's number for it.
    pub number: u64,
    /// The suite.
    pub suite: u8,
    /// The asker's time, in milliseconds since the Unix epoch: it is the one that judges when the key packages are valid.
    pub time_ms: u64,
    /// Who should answer; at most [`limits::MEMBERS`] are looked at.
    pub of: Vec<DeviceId>,
}

/// An answer to [`SuiteWanted`].
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SuitePackage {
    /// Who asked.
    pub asker: DeviceId,
    /// The asker's number.
    pub number: u64,
    /// The key package, an MLSMessage; empty from a device whose build takes part in no groups of that suite.
    pub key_package: Opaque,
}

/// What members hold of the recovery kit: enough to vouch for the group towards whoever comes with it, and to seal for it.
/// Erased when dropped, redacted by `Debug`.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct KitShare {
    /// The key of [`crate::frame::Mac`]s. A secret of the members.
    pub mac_key: [u8; 32],
    /// The kit's HPKE public key, in the form of the group's MLS suite; at most [`limits::KIT_SEAL_KEY_BYTES`].
    pub seal_key: Opaque,
    /// The recovery key's signature over the group and both.
    pub signature: Signature,
}

impl Drop for KitShare {
    fn drop(&mut self) {
        self.mac_key.zeroize();
    }
}

impl std::fmt::Debug for KitShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KitShare")
    }
}

/// Asks one device for blobs that the asker has no keys for.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct HistoryRequest {
    /// Who should answer.
    pub holder: DeviceId,
    /// The asker's number for it.
    pub number: u64,
    /// What is asked for.
    pub spans: Vec<Span>,
}

/// An answer to a [`HistoryRequest`], or a part of it. Blobs come in each sender's order.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct History {
    /// Who asked.
    pub asker: DeviceId,
    /// The asker's number.
    pub number: u64,
    /// Blobs with the sender that they came from, on the holder's word.
    pub runs: Vec<HistoryRun>,
    /// The spans that are complete with this part: whatever blobs they had have been sent.
    pub complete: Vec<Span>,
}

/// Blobs of one envelope, handed on.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct HistoryRun {
    /// Who pushed them first.
    pub sender: DeviceId,
    /// The number of the envelope they first came in.
    pub seq: u64,
    /// The blobs, as [`pack`] writes them.
    pub blobs: Opaque,
    /// For a snapshot, which is alone then: what it stands for. Whoever hands on these envelopes hands on the snapshot. At
    /// most [`limits::COVERS`].
    pub covers: Vec<Span>,
}

/// Says which envelopes the relay should have handed out and has not. Their senders send them again, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Nack {
    /// The asker's number for it.
    pub number: u64,
    /// Who should say besides, by [`Repair::heads`], how far it knows these chains. All zero for nobody.
    pub holder: DeviceId,
    /// What is missing.
    pub spans: Vec<Span>,
}

/// An answer to a [`Nack`].
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Repair {
    /// Who asked.
    pub asker: DeviceId,
    /// The asker's number.
    pub number: u64,
    /// Envelopes as they were first sent, in the order of their numbers; at most [`limits::PUSH_ENVELOPES`].
    #[mls_codec(with = "resent")]
    pub envelopes: Vec<Opaque>,
    /// The ends of chains, each signed by its own sender, so that nobody's word has to be taken for them.
    pub heads: Vec<Head>,
}

counted!(resent, Opaque, limits::PUSH_ENVELOPES);

/// What rides in a newcomer's Welcome: where each sender's chain stood when its sponsor added it.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Baseline {
    /// The sponsor's frontier at the commit, itself and former members included.
    pub frontier: Vec<Reached>,
    /// What members hold of the group's recovery kit, if it has one and the sponsor has that.
    pub kit: Option<KitShare>,
}

/// A device's presence.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Presence {
    /// The channel it is about.
    pub channel: Opaque,
    /// What the app says; at most [`limits::PRESENCE_BYTES`]. Empty means gone.
    pub data: Opaque,
}

/// A blob with its id and channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// The blob's id.
    pub id: BlobId,
    /// The channel, at most [`limits::CHANNEL_BYTES`] of UTF-8.
    pub channel: String,
    /// The app's bytes.
    pub data: Vec<u8>,
    /// Whether it is a snapshot: it stands for all that its maker had of the channel before.
    pub snapshot: bool,
}

/// Redacts channel and content.
impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({:?}, {} bytes)", self.id, self.data.len())
    }
}

const SAME_CHANNEL: u8 = 1;
const NEXT_ID: u8 = 2;
const SNAPSHOT: u8 = 4;

/// Writes blobs one behind the other. Each begins with a byte of flags: bit 0 = same channel as the blob before, bit 1 = its
/// id is [`BlobId::next`] of the blob's before, bit 2 = it is a snapshot; then id and channel<V> unless the flags spare them; then data<V>. A burst of
/// pushes to one channel so costs two or three bytes a blob.
pub fn pack<'a>(blobs: impl IntoIterator<Item = &'a Blob>) -> Opaque {
    let mut out = Vec::new();
    let mut before: Option<&Blob> = None;
    for blob in blobs {
        let same_channel = before.is_some_and(|b| b.channel == blob.channel);
        let next_id = before.is_some_and(|b| b.id.next() == blob.id);
        let flag = |is: bool, bit| u8::from(is) * bit;
        out.push(flag(same_channel, SAME_CHANNEL) | flag(next_id, NEXT_ID) | flag(blob.snapshot, SNAPSHOT));
        if !next_id {
            out.extend_from_slice(&blob.id.0);
        }
        let ok = "a blob is bounded far below 2^30 bytes";
        if !same_channel {
            mls_rs_codec::byte_vec::mls_encode(&blob.channel.as_bytes(), &mut out).expect(ok);
        }
        mls_rs_codec::byte_vec::mls_encode(&blob.data, &mut out).expect(ok);
        before = Some(blob);
    }
    Opaque(out)
}

/// Reads what [`pack`] wrote, and nothing else.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Blob>, DecodeError> {
    let malformed = |e: mls_rs_codec::Error| DecodeError::Malformed { what: "packed blob", reason: e.to_string() };
    let mut rest = bytes;
    let mut blobs: Vec<Blob> = Vec::new();
    while let Some((&flags, tail)) = rest.split_first() {
        rest = tail;
        if blobs.len() == limits::PACK_BLOBS {
            return Err(DecodeError::Limit("an envelope holds at most 16,384 blobs"));
        }
        if flags & !(SAME_CHANNEL | NEXT_ID | SNAPSHOT) != 0 || (flags & !SNAPSHOT != 0 && blobs.is_empty()) {
            return Err(DecodeError::Limit("a packed blob has unknown flags"));
        }
        let before = blobs.last();
        let id = match before.filter(|_| flags & NEXT_ID != 0) {
            Some(b) => b.id.next(),
            None => BlobId::mls_decode(&mut rest).map_err(malformed)?,
        };
        let channel = match before.filter(|_| flags & SAME_CHANNEL != 0) {
            Some(b) => b.channel.clone(),
            None => {
                let text: Vec<u8> = mls_rs_codec::byte_vec::mls_decode(&mut rest).map_err(malformed)?;
                if text.len() > limits::CHANNEL_BYTES {
                    return Err(DecodeError::Limit("a channel name has at most 256 bytes"));
                }
                String::from_utf8(text).map_err(|_| DecodeError::Limit("a channel name is UTF-8"))?
            }
        };
        let data: Vec<u8> = mls_rs_codec::byte_vec::mls_decode(&mut rest).map_err(malformed)?;
        if data.is_empty() || data.len() > limits::BLOB_BYTES {
            return Err(DecodeError::Limit("a blob has 1 byte to 1 MiB"));
        }
        // One form only: what the flags could have spared is not written out.
        let spared = before.is_some_and(|b| {
            (flags & NEXT_ID == 0 && b.id.next() == id) || (flags & SAME_CHANNEL == 0 && b.channel == channel)
        });
        if spared {
            return Err(DecodeError::NotCanonical { what: "packed blob" });
        }
        blobs.push(Blob { id, channel, data, snapshot: flags & SNAPSHOT != 0 });
    }
    Ok(blobs)
}

/// Pads a plaintext: its length as a vector's, the bytes, then zeros up to [`padded_len`].
pub fn pad(plain: &[u8]) -> Vec<u8> {
    let mut out = codec::encode(&Opaque(plain.to_vec()));
    out.resize(padded_len(out.len()), 0);
    out
}

/// Takes the padding off. Refuses padding that is not zero or not of the length that [`pad`] gives.
pub fn unpad(padded: &[u8]) -> Result<&[u8], DecodeError> {
    let mut rest = padded;
    let length = mls_rs_codec::VarInt::mls_decode(&mut rest)
        .map_err(|e| DecodeError::Malformed { what: "padded body", reason: e.to_string() })?;
    let prefix = padded.len() - rest.len();
    let (plain, zeros) = rest
        .split_at_checked(u32::from(length) as usize)
        .ok_or(DecodeError::Limit("a body is longer than its envelope"))?;
    if zeros.iter().any(|b| *b != 0) || padded_len(prefix + plain.len()) != padded.len() {
        return Err(DecodeError::NotCanonical { what: "padded body" });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: u8, channel: &str, data: &[u8]) -> Blob {
        Blob { id: BlobId([id; 16]), channel: channel.into(), data: data.into(), snapshot: false }
    }

    #[test]
    fn blobs_pack_small_and_read_back() {
        let first = blob(7, "notes", b"hello");
        let second = Blob { id: first.id.next(), ..blob(0, "notes", b"world") };
        let blobs = vec![first, second, blob(9, "other", b"!")];
        let packed = pack(&blobs);
        assert_eq!(unpack(&packed).unwrap(), blobs);
        // flags, id, channel, data; flags, data; flags, id, channel, data.
        assert_eq!(packed.len(), (1 + 16 + 6 + 6) + (1 + 6) + (1 + 16 + 6 + 2));
        for end in 1..packed.len() {
            let cut = unpack(&packed[..end]);
            assert!(cut.is_err() || cut.unwrap().len() < blobs.len());
        }
    }

    #[test]
    fn a_class_says_what_a_body_may_hold() {
        let data = Body { blobs: pack([&blob(1, "notes", b"x")]), ..Body::default() };
        let control = Body { control: vec![Control::Leaving], ..Body::default() };
        let both = Body { blobs: data.blobs.clone(), ..control.clone() };
        let fits = |body: &Body| [Class::Data, Class::Control, Class::Ephemeral].map(|class| body.fits(class));
        assert_eq!(fits(&data), [true, false, false]);
        assert_eq!(fits(&control), [false, true, false]);
        assert_eq!(fits(&both), [false; 3]);
    }

    #[test]
    fn messages_are_counted_while_they_are_read() {
        let leaving = |count| Body { control: vec![Control::Leaving; count], ..Body::default() };
        let repair = |count| Repair {
            asker: DeviceId([1; 16]),
            number: 1,
            envelopes: vec![Opaque::default(); count],
            heads: vec![],
        };
        assert!(codec::decode::<Body>(&codec::encode(&leaving(limits::CONTROL_MESSAGES))).is_ok());
        assert!(codec::decode::<Repair>(&codec::encode(&repair(limits::PUSH_ENVELOPES))).is_ok());
        for more in [1, 1_000_000] {
            assert!(codec::decode::<Body>(&codec::encode(&leaving(limits::CONTROL_MESSAGES + more))).is_err());
            assert!(codec::decode::<Repair>(&codec::encode(&repair(limits::PUSH_ENVELOPES + more))).is_err());
        }
    }

    #[test]
    fn packed_blobs_have_one_form() {
        assert!(unpack(&[4]).is_err(), "unknown flag");
        assert!(unpack(&[1, 1, 9]).is_err(), "nothing before the first");
        let a = pack([&blob(1, "c", b"x")]);
        let doubled: Vec<u8> = a.iter().chain(&pack([&blob(9, "c", b"x")]).0).copied().collect();
        assert_eq!(unpack(&doubled), Err(DecodeError::NotCanonical { what: "packed blob" }));
        assert!(unpack(&pack([&blob(1, "c", b"")])).is_err(), "empty blob");
        assert!(unpack(&pack([&blob(1, &"c".repeat(257), b"x")])).is_err(), "long channel");
    }

    #[test]
    fn padding_has_one_form() {
        for len in [0, 1, 62, 63, 64, 253, 254, 255, 5000] {
            let plain = vec![7; len];
            let mut padded = pad(&plain);
            assert_eq!(unpad(&padded).unwrap(), plain);
            padded.push(0);
            assert!(unpad(&padded).is_err());
            padded.pop();
            if len < 200 {
                *padded.last_mut().unwrap() = 1;
                assert!(unpad(&padded).is_err());
            }
        }
        assert_eq!(pad(&[1; 27]).len(), 256);
    }
}
