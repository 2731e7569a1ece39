//! The proof that a connection belongs to a device: a signature over a value that only the two ends of this one
//! connection can derive (the TLS exporter, RFC 9266 for the idea), so that it is worth nothing on another.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_types::{DeviceId, GroupId, encode};

use crate::{BadSignature, SigningKey, hash::device_id, sign, verify};

const LABEL: &str = "attach";

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Proof {
    group: GroupId,
    device: DeviceId,
    exporter: [u8; 32],
}

/// Signs that the holder of `key` attaches to `group` over the connection with this exporter value.
pub fn prove(key: &SigningKey, group: GroupId, exporter: &[u8; 32]) -> [u8; 64] {
    let device = key.device_id();
    sign(key, LABEL, &encode(&Proof { group, device, exporter: *exporter }))
}

/// Checks the proof of a device with this public key.
pub fn check(public: &[u8; 32], group: GroupId, exporter: &[u8; 32], signature: &[u8; 64]) -> Result<(), BadSignature> {
    let device = device_id(public);
    verify(public, LABEL, &encode(&Proof { group, device, exporter: *exporter }), signature)
}

const KIT_LABEL: &str = "recovery attach";

/// Signs that the holder of a recovery key comes over the connection with this exporter value.
pub fn prove_recovery(key: &SigningKey, exporter: &[u8; 32]) -> [u8; 64] {
    sign(key, KIT_LABEL, &[key.public(), *exporter].concat())
}

/// Checks such a proof.
pub fn check_recovery(public: &[u8; 32], exporter: &[u8; 32], signature: &[u8; 64]) -> Result<(), BadSignature> {
    verify(public, KIT_LABEL, &[*public, *exporter].concat(), signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_worth_nothing_elsewhere() {
        let key = SigningKey::from_seed(&[1; 32]);
        let (group, exporter) = (GroupId([2; 32]), [3; 32]);
        let proof = prove(&key, group, &exporter);
        assert_eq!(check(&key.public(), group, &exporter, &proof), Ok(()));
        assert_eq!(check(&key.public(), GroupId([4; 32]), &exporter, &proof), Err(BadSignature));
        assert_eq!(check(&key.public(), group, &[4; 32], &proof), Err(BadSignature));
        let other = SigningKey::from_seed(&[5; 32]).public();
        assert_eq!(check(&other, group, &exporter, &proof), Err(BadSignature));

        let proof = prove_recovery(&key, &exporter);
        assert_eq!(check_recovery(&key.public(), &exporter, &proof), Ok(()));
        assert_eq!(check_recovery(&key.public(), &[4; 32], &proof), Err(BadSignature));
        assert_eq!(check_recovery(&other, &exporter, &proof), Err(BadSignature));
        assert_eq!(check(&key.public(), group, &exporter, &proof), Err(BadSignature));
    }
}
