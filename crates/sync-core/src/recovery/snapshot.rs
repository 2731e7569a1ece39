//! Snapshots that members leave at the relay for whoever comes with the recovery kit: sealed for the kit's key, and vouched
//! for by its MAC key.

use std::fmt;

use mls_rs::{CipherSuiteProvider, CryptoProvider};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::crypto::{HpkeCiphertext, HpkePublicKey};
use subtle::ConstantTimeEq;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::mls::cipher_suite;
use sync_types::body::{KitShare, Span, pad, unpad};
use sync_types::frame::{Mac, SealedSnapshot, SnapshotSlot};
use sync_types::{BlobId, DeviceId, GroupId, LABEL_PREFIX, Opaque, Suite, decode, encode, limits};
use zeroize::{Zeroize, Zeroizing};

use super::{KitCryptoError, RecoveryKit, SEALING, mac};

/// What is sealed. Erased when dropped, redacted by `Debug`.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct KitSnapshot {
    /// Who left it.
    pub device: DeviceId,
    /// Who made it.
    pub maker: DeviceId,
    /// When it was sealed, in milliseconds since the Unix epoch, by the clock of who left it.
    pub at: u64,
    /// The blob's id.
    pub id: BlobId,
    /// The channel, UTF-8.
    pub channel: Opaque,
    /// What it stands for; at most [`limits::COVERS`].
    pub covers: Vec<Span>,
    /// The bytes.
    pub data: Opaque,
}

impl KitSnapshot {
    /// Whether everything in it is within its limits.
    pub fn is_bounded(&self) -> bool {
        self.covers.len() <= limits::COVERS
            && self.covers.iter().all(|span| span.from >= 1 && span.from <= span.to && span.to < limits::NUMBER)
            && (1..=limits::BLOB_BYTES).contains(&self.data.len())
            && self.channel.len() <= limits::CHANNEL_BYTES
            && std::str::from_utf8(&self.channel).is_ok()
    }
}

impl Drop for KitSnapshot {
    fn drop(&mut self) {
        self.data.0.zeroize();
    }
}

impl fmt::Debug for KitSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KitSnapshot({:?}, {} bytes)", self.id, self.data.len())
    }
}

/// Why something that the relay shows is no snapshot for this kit. It is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is for another kit.
    #[error("a snapshot is for another recovery kit")]
    OtherKit,
    /// Nobody who holds the kit's MAC key vouches for it, in this group and place.
    #[error("no device of the group vouches for a snapshot")]
    Forged,
    /// A member left something that is no snapshot.
    #[error("a snapshot cannot be read")]
    Unreadable,
}

/// The place of a device's snapshot of a channel.
fn slot(mac_key: &[u8; 32], group: &GroupId, device: &DeviceId, channel: &[u8]) -> SnapshotSlot {
    let place = [&group.0[..], &device.0, &encode(&Opaque(channel.to_vec()))].concat();
    let Mac(whole) = mac(mac_key, "recovery slot", &place);
    let mut slot = [0; 16];
    slot.copy_from_slice(&whole[..16]);
    SnapshotSlot(slot)
}

/// A member's word for a snapshot.
fn snapshot_mac(mac_key: &[u8; 32], group: &GroupId, snapshot: &SealedSnapshot) -> Mac {
    let sealed = encode(&snapshot.sealed);
    mac(mac_key, "recovery snapshot mac", &[&group.0[..], &snapshot.key, &snapshot.slot.0, &sealed].concat())
}

/// What the sealing is bound to besides the place: one group and one kit.
fn info(group: &GroupId, key: &[u8; 32]) -> Vec<u8> {
    let label = encode(&Opaque(format!("{LABEL_PREFIX}recovery snapshot").into_bytes()));
    [&label[..], &group.0, key].concat()
}

/// Seals a snapshot for the kit whose recovery key has this public half, by what members hold of it.
pub fn seal_snapshot<P: CryptoProvider>(
    crypto: &P,
    suite: Suite,
    group: &GroupId,
    key: &[u8; 32],
    share: &KitShare,
    snapshot: &KitSnapshot,
) -> Result<SealedSnapshot, KitCryptoError> {
    let suite = crypto.cipher_suite_provider(cipher_suite(suite)).ok_or(KitCryptoError)?;
    let slot = slot(&share.mac_key, group, &snapshot.device, &snapshot.channel);
    let plain = Zeroizing::new(pad(&Zeroizing::new(encode(snapshot))));
    let to = HpkePublicKey::from(share.seal_key.0.clone());
    let sealed = suite.hpke_seal(&to, &info(group, key), Some(&slot.0), &plain).map_err(|_| KitCryptoError)?;
    let mut sealed = SealedSnapshot { key: *key, slot, sealed: Opaque(encode(&sealed)), mac: Mac([0; 32]) };
    sealed.mac = snapshot_mac(&share.mac_key, group, &sealed);
    Ok(sealed)
}

impl RecoveryKit {
    /// Opens what was left for this kit in this group.
    ///
    /// # Errors
    /// [`SnapshotError`], the first that fits in the order of its variants.
    pub fn open_snapshot<P: CryptoProvider>(
        &self,
        crypto: &P,
        suite: Suite,
        group: &GroupId,
        sealed: &SealedSnapshot,
    ) -> Result<KitSnapshot, SnapshotError> {
        let key = self.signing_key().public();
        if sealed.key != key {
            return Err(SnapshotError::OtherKit);
        }
        let mac_key = self.mac_key();
        let good = snapshot_mac(&mac_key, group, sealed);
        if !bool::from(good.0.ct_eq(&sealed.mac.0)) && stands(Defence::RecoverySnapshot) {
            return Err(SnapshotError::Forged);
        }
        let unreadable = SnapshotError::Unreadable;
        let suite = crypto.cipher_suite_provider(cipher_suite(suite)).ok_or(unreadable)?;
        let (secret, public) = suite.kem_derive(&*self.derive(SEALING)).map_err(|_| unreadable)?;
        let ciphertext: HpkeCiphertext = decode(&sealed.sealed).map_err(|_| unreadable)?;
        // The place as it was shown: what was sealed for another one does not open.
        let opened = suite.hpke_open(&ciphertext, &secret, &public, &info(group, &key), Some(&sealed.slot.0));
        let padded = opened.map_err(|_| unreadable)?;
        let snapshot: KitSnapshot = unpad(&padded).and_then(decode).map_err(|_| unreadable)?;
        let placed = slot(&mac_key, group, &snapshot.device, &snapshot.channel) == sealed.slot;
        let good = snapshot.is_bounded() && (placed || !stands(Defence::RecoverySnapshot));
        if good { Ok(snapshot) } else { Err(unreadable) }
    }
}

#[cfg(test)]
mod tests {
    use sync_rules::mls;

    use super::*;

    const GROUP: GroupId = GroupId([7; 32]);

    fn snapshot(channel: &str, data: &[u8]) -> KitSnapshot {
        KitSnapshot {
            device: DeviceId([1; 16]),
            maker: DeviceId([2; 16]),
            at: 5,
            id: BlobId([3; 16]),
            channel: Opaque(channel.into()),
            covers: vec![Span { sender: DeviceId([2; 16]), from: 1, to: 9 }],
            data: Opaque(data.to_vec()),
        }
    }

    fn sealed(kit: &RecoveryKit, snapshot: &KitSnapshot) -> SealedSnapshot {
        let share = kit.share(&mls::crypto(), Suite::FOUNDED, &GROUP).unwrap();
        let key = kit.signing_key().public();
        seal_snapshot(&mls::crypto(), Suite::FOUNDED, &GROUP, &key, &share, snapshot).unwrap()
    }

    fn open(kit: &RecoveryKit, group: &GroupId, sealed: &SealedSnapshot) -> Result<KitSnapshot, SnapshotError> {
        kit.open_snapshot(&mls::crypto(), Suite::FOUNDED, group, sealed)
    }

    #[test]
    fn a_snapshot_opens_for_its_kit_in_its_group_and_place_alone() {
        let kit = RecoveryKit::from_entropy(&[1; 32]);
        let (notes, other) = (snapshot("notes", b"all of it"), snapshot("other", b"the rest"));
        let (a, b) = (sealed(&kit, &notes), sealed(&kit, &other));
        assert_eq!(open(&kit, &GROUP, &a), Ok(notes.clone()));
        assert_ne!(a.slot, b.slot);
        assert_eq!(sealed(&kit, &snapshot("notes", b"newer")).slot, a.slot, "the newer one takes its place");

        assert_eq!(open(&RecoveryKit::from_entropy(&[2; 32]), &GROUP, &a), Err(SnapshotError::OtherKit));
        assert_eq!(open(&kit, &GroupId([8; 32]), &a), Err(SnapshotError::Forged));
        let swapped = SealedSnapshot { slot: b.slot, ..a.clone() };
        assert_eq!(open(&kit, &GROUP, &swapped), Err(SnapshotError::Forged));
        let mut bent = a.clone();
        bent.sealed.0[40] ^= 1;
        assert_eq!(open(&kit, &GROUP, &bent), Err(SnapshotError::Forged));
        let mut short = a.clone();
        short.sealed.0.pop();
        assert_eq!(open(&kit, &GROUP, &short), Err(SnapshotError::Forged));
        // A member vouches for what is no snapshot.
        for sealed in [vec![], a.sealed[..a.sealed.len() - 1].to_vec(), b.sealed.0] {
            let mut odd = SealedSnapshot { sealed: Opaque(sealed), ..a.clone() };
            odd.mac = snapshot_mac(&kit.mac_key(), &GROUP, &odd);
            assert_eq!(open(&kit, &GROUP, &odd), Err(SnapshotError::Unreadable));
        }
        assert_eq!(open(&kit, &GROUP, &sealed(&kit, &snapshot("notes", b""))), Err(SnapshotError::Unreadable));
        assert!(!format!("{notes:?}").contains("all"));
    }

    #[test]
    fn sizes_tell_little_and_the_largest_snapshot_fits() {
        let kit = RecoveryKit::from_entropy(&[1; 32]);
        let length = |data: &[u8]| sealed(&kit, &snapshot("notes", data)).sealed.len();
        assert_eq!(length(b"a"), length(&[1; 100]));
        let mut most = snapshot(&"c".repeat(limits::CHANNEL_BYTES), &vec![7; limits::BLOB_BYTES]);
        most.covers = vec![most.covers[0]; limits::COVERS];
        let largest = sealed(&kit, &most);
        assert!(largest.sealed.len() <= limits::KIT_SNAPSHOT_BYTES, "{}", largest.sealed.len());
        assert_eq!(open(&kit, &GROUP, &largest), Ok(most));
    }
}
