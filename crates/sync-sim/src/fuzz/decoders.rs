//! Decoders: what they take has one form, and they take nothing else. Each says whether it took the bytes.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_core::pairing;
use sync_core::recovery::{KitSnapshot, RecoveryKit};
use sync_core::vault::{Kind, LockedKey, VaultKey, backup};
use sync_relay::{PublicUrl, StoreConfig};
use sync_rules::mls::{self, CommitMessage};
use sync_rules::{Observe, Observer};
use sync_types::body::{self, Baseline, Body, Presence};
use sync_types::envelope::{Envelope, Header};
use sync_types::frame::{self, Acknowledgement, Cut, ExternalProof, FromRelay, Reject, ToRelay};
use sync_types::link::Link;
use sync_types::settings::Settings;
use sync_types::{Invitation, RelayAddress, ShortCode, decode, encode, limits};

/// Reads it, and writes it as it was.
fn one_form<T: MlsDecode + MlsEncode + MlsSize>(bytes: &[u8]) -> Option<T> {
    let value = decode::<T>(bytes).ok()?;
    assert_eq!(encode(&value), bytes, "it has two forms");
    Some(value)
}

pub(super) fn frame_to_relay(bytes: &[u8]) -> bool {
    let Ok(frame) = frame::read::<ToRelay>(bytes) else { return false };
    let written = frame::write(&frame);
    assert_eq!(written[4..], *bytes);
    // Longer ones are stopped by their length, before anybody reads them.
    let length = frame::length(written[..4].try_into().expect("four bytes"));
    assert_eq!(length.is_ok(), bytes.len() <= limits::FRAME_BYTES);
    true
}

pub(super) fn frame_from_relay(bytes: &[u8]) -> bool {
    let Ok(frame) = frame::read::<FromRelay>(bytes) else { return false };
    assert_eq!(frame::write(&frame)[4..], *bytes);
    true
}

pub(super) fn envelope(bytes: &[u8]) -> bool {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(encode(&header), bytes);
    }
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    let again = Envelope::assemble(envelope.header_bytes, envelope.ciphertext, envelope.signature);
    assert_eq!(again, bytes);
    assert_eq!(encode(&envelope.header), envelope.header_bytes);
    true
}

pub(super) fn body(bytes: &[u8]) -> bool {
    let Some(body) = one_form::<Body>(bytes) else { return false };
    body.is_bounded()
}

pub(super) fn packed_blobs(bytes: &[u8]) -> bool {
    let Ok(blobs) = body::unpack(bytes) else { return false };
    assert_eq!(body::pack(&blobs).0, bytes);
    true
}

pub(super) fn padding(bytes: &[u8]) -> bool {
    let Ok(plain) = body::unpad(bytes) else { return false };
    assert_eq!(body::pad(plain), bytes);
    true
}

pub(super) fn presence(bytes: &[u8]) -> bool {
    one_form::<Presence>(bytes).is_some()
}

/// A vault file, or the head of a backup.
pub(super) fn locked_key(bytes: &[u8]) -> bool {
    let read = [Kind::Vault, Kind::Backup].map(|kind| LockedKey::parse(kind, bytes));
    assert!(read.iter().filter(|read| read.is_ok()).count() <= 1, "it is of both kinds");
    let Some(locked) = read.into_iter().find_map(Result::ok) else { return false };
    assert_eq!(locked.to_bytes().as_slice(), bytes);
    true
}

/// The first byte says whether what follows is a backup behind its head, or what its chunks hold.
pub(super) fn backup(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    if which % 2 == 0 {
        let Some((prefix, rest)) = bytes.split_first_chunk() else { return false };
        let mut reader = backup::Reader::new(&VaultKey::new(BACKUP_KEY), prefix);
        return rest.chunks(10_000).all(|piece| reader.feed(piece).is_ok()) && reader.finish().is_ok();
    }
    let (mut whole, mut parts) = (backup::Records::default(), backup::Records::default());
    let at_once = whole.feed(bytes).and_then(|records| whole.finish().map(|()| records));
    let mut in_parts = Vec::new();
    let read = bytes.chunks(7).try_for_each(|piece| {
        in_parts.extend(parts.feed(piece)?);
        Ok(())
    });
    let read = read.and_then(|()| parts.finish()).map(|()| in_parts);
    assert_eq!(at_once, read, "it matters where the pieces end");
    at_once.is_ok()
}

/// What the kept backups are sealed with.
pub(super) const BACKUP_KEY: [u8; 32] = [3; 32];

/// The first byte says which statement.
pub(super) fn statement(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    match which % 5 {
        0 => one_form::<Acknowledgement>(bytes).is_some(),
        1 => one_form::<Reject>(bytes).is_some(),
        2 => one_form::<Cut>(bytes).is_some(),
        3 => one_form::<ExternalProof>(bytes).is_some(),
        _ => one_form::<Baseline>(bytes).is_some_and(|baseline| baseline.is_bounded()),
    }
}

pub(super) fn settings(bytes: &[u8]) -> bool {
    let Ok(settings) = Settings::parse(bytes) else { return false };
    assert_eq!(encode(&settings), bytes);
    true
}

pub(super) fn link(bytes: &[u8]) -> bool {
    if let Ok(link) = Link::from_bytes(bytes) {
        assert_eq!(link.to_bytes().expect("it was read").as_slice(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(link) = text.parse::<Link>() else { return false };
    let again: Link = link.to_text().expect("it was read").parse().expect("it was written");
    assert_eq!(again.to_bytes().expect("it was read"), link.to_bytes().expect("it was read"));
    true
}

pub(super) fn short_code(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    drop(text.parse::<Invitation>());
    let Ok(code) = text.parse::<ShortCode>() else { return false };
    let again: ShortCode = code.to_text().parse().expect("it was written");
    assert_eq!(again.to_text(), code.to_text());
    true
}

/// The words of a recovery kit.
pub(super) fn recovery_words(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(kit) = RecoveryKit::from_words(text) else { return false };
    let again = RecoveryKit::from_words(&kit.words()).expect("it was written");
    assert_eq!(again.words(), kit.words());
    true
}

/// What is sealed for whoever comes with a recovery kit.
pub(super) fn kit_snapshot(bytes: &[u8]) -> bool {
    one_form::<KitSnapshot>(bytes).is_some_and(|snapshot| snapshot.is_bounded())
}

/// What a relay is told by its host, and devices of a relay.
pub(super) fn relay_config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    drop(PublicUrl::parse(text));
    drop(StoreConfig::parse(text));
    let Ok(address) = text.parse::<RelayAddress>() else { return false };
    assert_eq!(address.to_string().parse::<RelayAddress>().as_ref(), Ok(&address));
    true
}

pub(super) fn commit(bytes: &[u8]) -> bool {
    CommitMessage::parse(bytes).is_ok()
}

pub(super) fn group_info(bytes: &[u8]) -> bool {
    Observer::new(mls::crypto()).found(bytes).is_ok()
}

pub(super) fn channel_message(bytes: &[u8]) -> bool {
    pairing::is_channel_message(bytes)
}
