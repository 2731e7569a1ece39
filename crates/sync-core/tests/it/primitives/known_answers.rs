//! Known answers out of the standards themselves, so that no step hangs on one source of vectors.

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use hkdf::Hkdf;
use sha2::Sha256;
use sync_core::pairing::primitives;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    HEX.decode(digits.as_bytes()).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// FIPS 180-4, the examples published with it: one block, two blocks, nothing.
#[test]
fn sha256_of_the_standards_examples() {
    for (message, digest) in [
        (&b"abc"[..], "ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61 d20638b8 e5c02693 0c3e6039 a33ce459 64ff2167 f6ecedd4 19db06c1",
        ),
        (b"", "e3b0c442 98fc1c14 9afbf4c8 996fb924 27ae41e4 649b934c a495991b 7852b855"),
    ] {
        assert_eq!(primitives::sha256(message), array::<32>(digest));
    }
}

/// RFC 7748 §6.1.
#[test]
fn x25519_of_alice_and_bob() {
    let alice = array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let (alice_public, bob_public) = (primitives::x25519_public(&alice), primitives::x25519_public(&bob));
    assert_eq!(alice_public, array::<32>("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(bob_public, array::<32>("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = array::<32>("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(*primitives::x25519(&alice, &bob_public).unwrap(), shared);
    assert_eq!(*primitives::x25519(&bob, &alice_public).unwrap(), shared);
}

/// RFC 8439 §2.8.2.
#[test]
fn chacha20poly1305_of_the_rfcs_example() {
    let key = array("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let nonce = array("070000004041424344454647");
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    let sealed = primitives::chacha20poly1305_seal(&key, &nonce, &aad, plaintext);
    let (ciphertext, tag) = sealed.split_at(plaintext.len());
    assert_eq!(ciphertext[..16], hex("d31a8d34648e60db7b86afbc53ef7ec2"));
    assert_eq!(tag, hex("1ae10b594f09e26a7e902ecbd0600691"));
    assert_eq!(**primitives::chacha20poly1305_open(&key, &nonce, &aad, &sealed).unwrap(), *plaintext);
    assert!(primitives::chacha20poly1305_open(&key, &nonce, b"", &sealed).is_none());
}

/// RFC 5869, appendix A.1.
#[test]
fn hkdf_sha256_of_the_rfcs_first_case() {
    let mut out = [0; 42];
    Hkdf::<Sha256>::new(Some(&hex("000102030405060708090a0b0c")), &[0x0b; 22])
        .expand(&hex("f0f1f2f3f4f5f6f7f8f9"), &mut out)
        .unwrap();
    assert_eq!(
        out,
        array::<42>("3cb25f25faacd57a90434f64d0362f2a 2d2d0a90cf1a5a4c5db02d56ecc4c5bf 34007208d5b887185865")
    );
}
