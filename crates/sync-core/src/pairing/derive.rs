//! What is derived from a link and a handshake, each under its own label.

use sync_rules::labelled;
use sync_types::ShortCode;
use zeroize::Zeroizing;

/// A rendezvous at the relay. It tells nothing of the link's secret, which it is a hash of.
pub type SlotId = [u8; 16];

/// The hash of the static keys of a link's shower, as the link carries it.
pub(super) fn fingerprint(dh: &[u8], kem: &[u8]) -> [u8; 32] {
    labelled("pairing keys", &[dh, kem].concat())
}

/// The hash that stands for an app's id inside the channel.
pub(super) fn app_hash(app_id: &str) -> [u8; 32] {
    labelled("pairing app", app_id.as_bytes())
}

/// The 8 bytes of an app's hash that a link carries.
pub fn app_tag(app_id: &str) -> [u8; 8] {
    first(&app_hash(app_id))
}

/// The rendezvous where a link's two sides meet.
pub fn slot_id(secret: &[u8; 32]) -> SlotId {
    first(&labelled("pairing slot", secret))
}

/// The handshake's pre-shared key.
pub(super) fn psk(secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(labelled("pairing psk", secret))
}

/// What stands for a short code as the password of the exchange.
pub(super) fn code_password(code: &ShortCode) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(labelled("pairing code", code.to_text().as_bytes()))
}

/// The handshake's pre-shared key behind an exchange over a short code.
pub(super) fn code_psk(key: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(labelled("pairing code psk", key))
}

/// The four digits that a person carries from the scanner to the shower. A number of 64 bits modulo 10,000 is even
/// enough: no code is likelier than another by more than one in 10¹⁵.
pub(super) fn check_code(handshake_hash: &[u8; 32]) -> Zeroizing<String> {
    let number = u64::from_be_bytes(first(&labelled("pairing check code", handshake_hash)));
    Zeroizing::new(format!("{:04}", number % 10_000))
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let (head, _) = hash.split_first_chunk().expect("N is at most 32");
    *head
}
