use clatter::NqHandshakeCore;
use clatter::handshakepattern::noise_xx;
use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

use super::*;

type Classical = NqHandshakeCore<X25519, ChaChaPoly, Sha, Drawn>;

const VECTORS: &str = include_str!("../../../../vectors/noise.json");

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn pair(psk: [[u8; 32]; 2], prologue: [&[u8]; 2]) -> [Handshake; 2] {
    pair_of(Suite::XWing, psk, prologue)
}

fn pair_of(suite: Suite, psk: [[u8; 32]; 2], prologue: [&[u8]; 2]) -> [Handshake; 2] {
    let mut rng = rng(7);
    [(true, 0), (false, 1)].map(|(initiator, i)| {
        let statics = Statics::draw(suite, &mut rng);
        Handshake::new(initiator, Keys::draw(statics, &mut rng), &psk[i], prologue[i])
    })
}

fn completed() -> [Handshake; 2] {
    completed_of(Suite::XWing)
}

fn completed_of(suite: Suite) -> [Handshake; 2] {
    let [mut a, mut b] = pair_of(suite, [[1; 32]; 2], [b"prologue"; 2]);
    for turn in 0..4 {
        let (from, to) = if turn % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        to.read(&from.write().unwrap()).unwrap();
    }
    [a, b]
}

#[test]
fn the_protocol_is_the_one_in_the_design() {
    let [a, _] = pair([[1; 32]; 2], [b""; 2]);
    assert_eq!(a.0.name(), "Noise_hybridXXpsk0_25519+MLKEM768_ChaChaPoly_SHA256");
    let [a, _] = pair_of(Suite::Fips, [[1; 32]; 2], [b""; 2]);
    assert_eq!(a.0.name(), "Noise_hybridXXpsk0_P256+MLKEM768_AESGCM_SHA256");
}

#[test]
fn both_sides_end_with_one_hash_and_keys_that_fit() {
    for suite in [Suite::XWing, Suite::Fips] {
        end_with_one_hash(completed_of(suite));
    }
}

fn end_with_one_hash([a, b]: [Handshake; 2]) {
    assert!(a.is_finished() && b.is_finished());
    let (mut a, mut b) = (a.finish().unwrap(), b.finish().unwrap());
    assert_eq!(a.hash(), b.hash());
    for text in [&b"first"[..], b"second", b""] {
        let sealed = a.seal(text).unwrap();
        assert_eq!(**b.open(&sealed).unwrap(), *text);
        let back = b.seal(text).unwrap();
        assert_ne!(sealed, back);
        assert_eq!(**a.open(&back).unwrap(), *text);
    }
}

#[test]
fn messages_out_of_turn_too_large_or_after_completion_are_errors() {
    let [mut a, mut b] = pair([[1; 32]; 2], [b""; 2]);
    assert_eq!(b.write().unwrap_err(), Error::Turn);
    assert_eq!(a.read(&[0; 100]).unwrap_err(), Error::Turn);
    let first = a.write().unwrap();
    assert_eq!(a.write().unwrap_err(), Error::Turn);
    assert_eq!(b.read(&vec![0; 70_000]).unwrap_err(), Error::TooLarge);
    assert_eq!(b.read(&first[..first.len() - 1]).unwrap_err(), Error::Malformed);
    assert_eq!(b.read(&[&first[..], &[0]].concat()).unwrap_err(), Error::Malformed);
    assert_eq!(b.read(&[]).unwrap_err(), Error::Malformed);
    // None of that has changed anything.
    b.read(&first).unwrap();

    let [mut a, mut b] = completed();
    for side in [&mut a, &mut b] {
        assert_eq!(side.read(&[0; 1216]).unwrap_err(), Error::Turn);
        assert_eq!(side.write().unwrap_err(), Error::Turn);
    }
    let [unfinished, _] = pair([[1; 32]; 2], [b""; 2]);
    assert_eq!(unfinished.finish().err(), Some(Error::Turn));

    let mut channel = a.finish().unwrap();
    assert_eq!(channel.seal(&vec![0; PLAINTEXT_BYTES + 1]).unwrap_err(), Error::TooLarge);
    assert_eq!(channel.seal(&vec![0; PLAINTEXT_BYTES]).unwrap().len(), MAX_MESSAGE_LEN);
    assert_eq!(channel.open(&vec![0; 70_000]).unwrap_err(), Error::TooLarge);
    assert_eq!(channel.open(&[0; 15]).unwrap_err(), Error::Malformed);
    assert_eq!(channel.open(&[0; 16]).unwrap_err(), Error::Forged);
}

#[test]
fn another_psk_or_prologue_does_not_authenticate() {
    for suite in [Suite::XWing, Suite::Fips] {
        for (psk, prologue) in [([[1; 32], [2; 32]], [&b"p"[..]; 2]), ([[1; 32]; 2], [b"p", b"q"])] {
            let [mut a, mut b] = pair_of(suite, psk, prologue);
            assert_eq!(b.read(&a.write().unwrap()).unwrap_err(), Error::Forged);
            // After an error nothing goes on.
            assert!(b.write().is_err());
        }
    }
}

#[test]
fn the_handshake_of_one_suite_is_none_of_the_other() {
    let mut two = [Suite::XWing, Suite::Fips].map(|suite| pair_of(suite, [[1; 32]; 2], [b""; 2]));
    let first = two.each_mut().map(|[initiator, _]| initiator.write().unwrap());
    assert_eq!(two[1][1].read(&first[0]).unwrap_err(), Error::Malformed);
    assert_eq!(two[0][1].read(&first[1]).unwrap_err(), Error::Malformed);
}

#[test]
fn points_that_are_none_of_p256_end_a_handshake_of_suite_2() {
    // The zero point has no such form; (0, 0) and a compressed point that is filled up are none.
    for point in [
        [0; 65],
        {
            let mut none = [0; 65];
            none[0] = 4;
            none
        },
        [2; 65],
    ] {
        let [_, mut b] = pair_of(Suite::Fips, [[1; 32]; 2], [b""; 2]);
        let mut rng = rng(9);
        let honest = || Pairs::<P256Keys>::draw(&mut ChaCha20Rng::from_seed([3; 32]));
        let dh = KeyPair::new(
            clatter::bytearray::HeapArray::from_slice(&point),
            clatter::bytearray::SensitiveByteArray::new([1; 32]),
        );
        let ephemeral = Pairs { dh, kem: honest().kem };
        let drawn = Drawn::draw(&mut rng);
        let mut hostile = begin::<P256, AwsMlKem, AesGcm, Sha>(true, honest(), ephemeral, drawn, &[1; 32], b"");
        b.read(&Steps::write(&mut hostile).unwrap()).unwrap();
        assert_eq!(b.write().unwrap_err(), Error::Malformed);
    }
}

#[test]
fn a_key_of_small_order_or_beyond_the_modulus_is_malformed() {
    // The zero point as the initiator's X25519 key: refused when the responder makes its shared secret.
    let [_, mut b] = pair([[1; 32]; 2], [b""; 2]);
    let mut rng = rng(9);
    let params = HybridHandshakeParams::new(pattern(), true)
        .with_prologue(b"")
        .with_s(draw_dh(&mut rng))
        .with_s_kem(draw_kem(&mut rng))
        .with_e(KeyPair::new([0; 32], clatter::bytearray::SensitiveByteArray::new([0; 32])))
        .with_e_kem(draw_kem(&mut rng));
    let mut hostile: Hybrid = Drawn::draw(&mut rng).lend(|| HybridHandshakeCore::new(params)).unwrap();
    hostile.push_psk(&[1; 32]);
    let mut first = vec![0; hostile.get_next_message_overhead().unwrap()];
    hostile.write_message(&[], &mut first).unwrap();
    b.read(&first).unwrap();
    assert_eq!(b.write().unwrap_err(), Error::Malformed);

    // An ML-KEM key with a coefficient above the modulus (FIPS 203 §7.2).
    let [_, mut b] = pair([[1; 32]; 2], [b""; 2]);
    let public = clatter::bytearray::HeapArray::from_slice(&[0xff; primitives::MLKEM_PUBLIC_BYTES]);
    let kem = KeyPair::new(public, clatter::bytearray::SensitiveByteArray::new([0; 64]));
    let params = HybridHandshakeParams::new(pattern(), true)
        .with_prologue(b"")
        .with_s(draw_dh(&mut rng))
        .with_s_kem(draw_kem(&mut rng))
        .with_e(draw_dh(&mut rng))
        .with_e_kem(kem);
    let mut hostile: Hybrid = Drawn::draw(&mut rng).lend(|| HybridHandshakeCore::new(params)).unwrap();
    hostile.push_psk(&[1; 32]);
    hostile.write_message(&[], &mut first).unwrap();
    b.read(&first).unwrap();
    assert_eq!(b.write().unwrap_err(), Error::Malformed);
}

#[test]
fn one_seed_gives_one_handshake_and_another_seed_another() {
    let first = |seed| {
        let mut rng = rng(seed);
        let statics = Statics::draw(Suite::XWing, &mut rng);
        Handshake::new(true, Keys::draw(statics, &mut rng), &[1; 32], b"").write().unwrap()
    };
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
}

#[test]
#[should_panic(expected = "encapsulates at most twice")]
fn random_bytes_are_never_handed_out_that_were_not_drawn() {
    clatter::rand_core::RngCore::fill_bytes(&mut Drawn::default(), &mut [0; 32]);
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn keys(value: &Value) -> DhKeys {
    X25519::keys(hex(value).try_into().unwrap())
}

fn classical(vector: &Value, initiator: bool) -> Classical {
    let side = if initiator { "init" } else { "resp" };
    let name = vector["protocol_name"].as_str().unwrap();
    let pattern = match name.split('_').nth(1).unwrap() {
        "XX" => noise_xx(),
        "XXpsk3" => noise_xx().add_psks(&[3], "XXpsk3"),
        "XXpsk0+psk1" => noise_xx().add_psks(&[0, 1], "XXpsk0+psk1"),
        other => panic!("no such pattern here: {other}"),
    };
    let field = |suffix: &str| &vector[format!("{side}_{suffix}")];
    let (s, e) = (keys(field("static")), keys(field("ephemeral")));
    let mut handshake =
        Classical::new(pattern, &hex(field("prologue")), initiator, Some(s), Some(e), None, None).unwrap();
    assert_eq!(&*handshake.get_name(), name);
    for psk in field("psks").as_array().into_iter().flatten() {
        handshake.push_psk(&hex(psk));
    }
    handshake
}

/// The classical patterns exercise every adapter but ML-KEM's, and psk tokens at both ends.
#[test]
fn our_adapters_give_the_published_messages_of_classical_noise() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let [mut a, mut b] = [true, false].map(|initiator| classical(vector, initiator));
        let messages = vector["messages"].as_array().unwrap();
        let (handshake, transport) = messages.split_at(3);
        for (turn, message) in handshake.iter().enumerate() {
            let (from, to) = if turn % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (payload, expected) = (hex(&message["payload"]), hex(&message["ciphertext"]));
            let (mut out, mut read) = (vec![0; expected.len()], vec![0; expected.len()]);
            let written = from.write_message(&payload, &mut out).unwrap();
            assert_eq!(out[..written], expected, "{} message {turn}", vector["protocol_name"]);
            let length = to.read_message(&out, &mut read).unwrap();
            assert_eq!(read[..length], payload);
        }
        let (mut a, mut b) = (a.finalize().unwrap(), b.finalize().unwrap());
        if let Some(hash) = vector.get("handshake_hash") {
            assert_eq!(a.get_handshake_hash().as_slice(), hex(hash));
        }
        assert!(!transport.is_empty());
        for (turn, message) in (3..).zip(transport) {
            let (from, to) = if turn % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let sealed = from.send_vec(&hex(&message["payload"])).unwrap();
            assert_eq!(sealed, hex(&message["ciphertext"]), "{} message {turn}", vector["protocol_name"]);
            assert_eq!(to.receive_vec(&sealed).unwrap(), hex(&message["payload"]));
        }
    }
}
