//! Whether a group's tree holds keys that its members can encrypt to.
//!
//! MLS wants HPKE public keys validated (RFC 9420 §7.3 by way of RFC 9180 §7.1.4), and the combined KEM of the library has no
//! such check: it would take anything into the tree, and whoever makes the next commit would find out. The check here is the
//! deed itself, an encapsulation by the library that will have to do it then. That of aws-lc refuses an ML-KEM key that is
//! not reduced (FIPS 203 §7.2) and an X25519 key of small order (RFC 7748 §6.1), each by an error.

use mls_rs::{CipherSuiteProvider, group::Node};
use mls_rs_core::crypto::HpkePublicKey;

use super::Violation;
use crate::Defence;
use crate::defence::stands;

/// Checks every key of a tree that was not at the same place before, leaves and parents. `before` is empty for a tree that
/// nobody has checked.
///
/// # Errors
/// [`Violation::WeakKey`].
pub fn check_keys<C: CipherSuiteProvider>(
    suite: &C,
    before: &[Option<Node>],
    after: &[Option<Node>],
) -> Result<(), Violation> {
    let key_at = |nodes: &'_ [Option<Node>], place: usize| -> Option<HpkePublicKey> {
        nodes.get(place)?.as_ref().map(|node| node.public_key().clone())
    };
    for (place, node) in after.iter().enumerate() {
        let Some(key) = node.as_ref().map(Node::public_key) else { continue };
        let new = key_at(before, place).as_ref() != Some(key);
        if new && !is_usable(suite, key) && stands(Defence::TreeKeys) {
            return Err(Violation::WeakKey);
        }
    }
    Ok(())
}

fn is_usable<C: CipherSuiteProvider>(suite: &C, key: &HpkePublicKey) -> bool {
    suite.hpke_setup_s(key, &[]).is_ok()
}

#[cfg(test)]
mod tests {
    use mls_rs::CryptoProvider;

    use sync_types::Suite;

    use super::*;
    use crate::mls::{Crypto, cipher_suite};

    /// The bytes of an ML-KEM-768 encapsulation key, in front of the X25519 key.
    const ML_KEM: usize = 1184;

    fn with_x25519(key: &[u8], point: [u8; 32]) -> HpkePublicKey {
        [&key[..ML_KEM], &point].concat().into()
    }

    #[test]
    fn keys_that_nobody_can_encrypt_to_are_found() {
        let suite = Crypto::every().cipher_suite_provider(cipher_suite(Suite::XWing)).unwrap();
        let (_, good) = suite.kem_generate().unwrap();
        assert_eq!(good.len(), ML_KEM + 32);
        assert!(is_usable(&suite, &good));
        let key = good.as_ref();

        // Coefficients are below 3329, and two of them are in three bytes: 4095 and 3329 are none.
        for (at, bytes) in [(0, [0xff, 0x0f]), (1149, [0xff, 0xff]), (0, [0x01, 0x0d])] {
            let mut bad = key.to_vec();
            bad[at] = bytes[0];
            bad[at + 1] = bytes[1] | if at == 0 { key[1] & 0xf0 } else { 0 };
            assert!(!is_usable(&suite, &bad.into()), "{at} {bytes:?}");
        }
        // The points of small order, on the curve and its twist, and other encodings of them (RFC 7748 §6.1; the list is that of
        // https://cr.yp.to/ecdh.html#validate).
        let hex = |text: &str| -> [u8; 32] {
            std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        };
        for point in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
        ] {
            assert!(!is_usable(&suite, &with_x25519(key, hex(point))), "{point}");
        }
        for length in [0, 32, ML_KEM, ML_KEM + 31] {
            assert!(!is_usable(&suite, &key[..length].to_vec().into()), "{length}");
        }
        assert!(!is_usable(&suite, &[key, &[0]].concat().into()));
    }

    #[test]
    fn keys_of_suite_2_that_nobody_can_encrypt_to_are_found() {
        let suite = Crypto::every().cipher_suite_provider(cipher_suite(Suite::Fips)).unwrap();
        let (_, good) = suite.kem_generate().unwrap();
        assert_eq!(good.len(), ML_KEM + 65);
        assert!(is_usable(&suite, &good));
        let key = good.as_ref();
        let altered = |at: usize, bytes: &[u8]| {
            let mut bad = key.to_vec();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            HpkePublicKey::from(bad)
        };
        assert!(!is_usable(&suite, &altered(1149, &[0xff, 0xff])), "a coefficient above the modulus");
        // No point but zero is of small order on P-256: left are what is not on the curve, and other forms of points.
        assert!(!is_usable(&suite, &altered(ML_KEM + 1, &[0; 64])), "(0, 0) is not on the curve");
        assert!(!is_usable(&suite, &altered(ML_KEM + 64, &[key[ML_KEM + 64] ^ 1])), "another y");
        assert!(!is_usable(&suite, &altered(ML_KEM, &[0])), "the point at infinity, and more");
        for length in [0, 65, ML_KEM, ML_KEM + 1, ML_KEM + 33, ML_KEM + 64] {
            assert!(!is_usable(&suite, &key[..length].to_vec().into()), "{length}");
        }
        assert!(!is_usable(&suite, &[key, &[0]].concat().into()));
    }

    #[test]
    fn the_keys_of_one_suite_are_none_of_the_other() {
        let [one, two] = [Suite::XWing, Suite::Fips].map(|suite| {
            let suite = Crypto::every().cipher_suite_provider(cipher_suite(suite)).unwrap();
            (suite.kem_generate().unwrap().1, suite)
        });
        assert!(!is_usable(&one.1, &two.0) && !is_usable(&two.1, &one.0));
        assert!(Crypto::only(Suite::Fips).cipher_suite_provider(cipher_suite(Suite::XWing)).is_none());
    }
}
