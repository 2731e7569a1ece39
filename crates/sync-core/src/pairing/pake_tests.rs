use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const APP: [u8; 8] = [7; 8];

fn side(role: Role, secret: u64) -> Pake {
    let (side, seed) = if role == Role::Shows { (Side::Member, 1) } else { (Side::Newcomer, 2) };
    let code = ShortCode::new(7, secret).unwrap();
    Pake::new(code, role, side, APP, &mut ChaCha20Rng::from_seed([seed; 32]))
}

fn with_point(message: &[u8], point: [u8; 32]) -> Vec<u8> {
    let mut message = message.to_vec();
    let at = message.len() - 32;
    message[at..].copy_from_slice(&point);
    message
}

#[test]
fn the_same_words_give_one_key_and_others_another() {
    let (shows, types) = (side(Role::Shows, 4711), side(Role::Scans, 4711));
    let (a, b) = (shows.agree(&types.message()).unwrap(), types.agree(&shows.message()).unwrap());
    assert_eq!((*a.psk, &a.prologue), (*b.psk, &b.prologue));
    assert_eq!(a.prologue.len(), 2 * (1 + 1 + 8 + 1 + 4 + 32));
    let wrong = side(Role::Scans, 4712);
    let (a, b) = (shows.agree(&wrong.message()).unwrap(), wrong.agree(&shows.message()).unwrap());
    assert_ne!(*a.psk, *b.psk);
    assert_eq!(a.prologue, b.prologue);
}

/// Small order, mixed order, no point at all, and a second encoding of one that is sound.
#[test]
fn points_outside_of_the_group_are_refused() {
    let shows = side(Role::Shows, 4711);
    let honest = side(Role::Scans, 4711).message();
    assert!(shows.agree(&honest).is_ok());
    let sound = CompressedEdwardsY(*honest.last_chunk().unwrap()).decompress().unwrap();
    let mut bad: Vec<[u8; 32]> = EIGHT_TORSION.map(|t| t.compress().to_bytes()).to_vec();
    let mixed = |point: EdwardsPoint| EIGHT_TORSION[1..].iter().map(move |t| (point + t).compress().to_bytes());
    bad.extend(mixed(sound));
    bad.extend(mixed(ED25519_BASEPOINT_POINT));
    // Zero with its other sign; y = p, which stands for 0; y = p + 1, which stands for 1; y = 2, which is on no point.
    let mut zero = [0; 32];
    (zero[0], zero[31]) = (1, 0x80);
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    let mut more = prime;
    more[0] = 0xee;
    let mut off = [0; 32];
    off[0] = 2;
    bad.extend([zero, prime, more, off]);
    assert!(bad.len() > 25);
    for point in bad {
        let refused = shows.agree(&with_point(&honest, point)).map(drop);
        assert_eq!(refused, Err(PairingError::Peer("a point outside of the group")), "{point:02x?}");
    }
    // What an honest side cannot send by chance, and is no danger.
    assert!(shows.agree(&with_point(&honest, ED25519_BASEPOINT_POINT.compress().to_bytes())).is_ok());
}

#[test]
fn what_is_told_in_the_clear_has_errors_of_its_own() {
    let shows = side(Role::Shows, 4711);
    let honest = side(Role::Scans, 4711).message();
    let altered = |at: usize, to: u8| {
        let mut message = honest.clone();
        message[at] = to;
        shows.agree(&message).map(drop).unwrap_err()
    };
    assert_eq!(altered(0, 2), PairingError::Version(2));
    assert_eq!(altered(1, 9), PairingError::Suite(9));
    assert_eq!(altered(2, 0), PairingError::WrongApp);
    assert_eq!(altered(10, Side::Member as u8), PairingError::WrongSide);
    assert!(matches!(altered(10, 3), PairingError::Peer(_)));
    assert_eq!(altered(14, 8), PairingError::Peer("another code's nameplate"));
    for bytes in [&honest[..46], &[], &[1], &[honest.clone(), vec![0]].concat()] {
        assert!(matches!(shows.agree(bytes).map(drop), Err(PairingError::Peer(_))), "{} bytes", bytes.len());
    }
}

/// The first vector of PyPI's `spake2` tests, over this crate's own way to pass a scalar in.
#[test]
fn the_exchange_is_the_one_that_other_implementations_have() {
    let start = |wide: [u8; 64]| {
        let mut rng = Fixed(wide);
        let drawn = Drawn::draw(&mut rng);
        Spake2::<Ed25519Group>::start_a_with_rng(
            &Password::new(b"password"),
            &Identity::new(b"idA"),
            &Identity::new(b"idB"),
            drawn,
        )
    };
    let mut wide = [0; 64];
    wide[..32].copy_from_slice(&[
        // 2611694063369306139794446498317402240796898290761098242657700742213257926693, little-endian
        0x25, 0x18, 0x40, 0x61, 0xa7, 0x0b, 0x11, 0x42, 0xf1, 0xa9, 0xf0, 0x43, 0xa5, 0x2c, 0xf7, 0x03, 0x3d, 0xc3,
        0x08, 0xb5, 0xa0, 0xa3, 0x2e, 0x42, 0xb0, 0x03, 0xec, 0xd5, 0x9c, 0x2a, 0xc6, 0x05,
    ]);
    let (_, message) = start(wide);
    let expected = "416fc960df73c9cf8ed7198b0c9534e2e96a5984bfc5edc023fd24dacf371f2af9";
    assert_eq!(data_encoding::HEXLOWER.encode(&message), expected);
}

struct Fixed([u8; 64]);

impl rand_core::TryRng for Fixed {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.0[..out.len()]);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Fixed {}
