//! Golden vectors of short codes and of pairings by them.

use std::time::Duration;

use data_encoding::HEXLOWER as HEX;
use serde_json::{Value, json};
use sync_core::pairing::{Output, Pairing, PairingError};
use sync_types::link::Side;
use sync_types::{ShortCode, Suite};

use crate::golden;
use crate::pairing::{APP, NOW, Recorded, converse, side};

const TTL: Duration = Duration::from_secs(600);

/// The list that words come from, in its order.
fn words() -> Vec<String> {
    let last = |at| ShortCode::new(1, at).unwrap().to_text().rsplit('-').next().map(str::to_owned);
    (0..2048).map(|at| last(at).unwrap()).collect()
}

fn code(nameplate: u32, secret: u64) -> Value {
    let code = ShortCode::new(nameplate, secret).unwrap();
    assert_eq!(code.to_text().parse(), Ok(code.clone()));
    json!({ "nameplate": nameplate, "secret": format!("{secret:016x}"), "text": *code.to_text() })
}

/// Points of an exchange, and whether they may be in one.
const POINTS: [(&str, bool); 12] = [
    // The base point, and the same times two.
    ("5866666666666666666666666666666666666666666666666666666666666666", true),
    ("c9a3f86aae465f0e56513864510f3997561fa2c9e85ea21dc2292309f3cd6022", true),
    // Of order 1, 2, 4 and 8.
    ("0100000000000000000000000000000000000000000000000000000000000000", false),
    ("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", false),
    ("0000000000000000000000000000000000000000000000000000000000000080", false),
    ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", false),
    // The base point and one of order 8, 4 and 2.
    ("da99e28ba529cdde35a25fba9059e78ecaee239f99755b9b1aa4f65df00803e2", false),
    ("5252cc0a7f208133b620acbd4537eba2a4123bf0a8c2e4f980c3b31bb69765ea", false),
    ("9599999999999999999999999999999999999999999999999999999999999999", false),
    // Zero with its other sign; zero as y = p + 1; no point.
    ("0100000000000000000000000000000000000000000000000000000000000080", false),
    ("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", false),
    ("0200000000000000000000000000000000000000000000000000000000000000", false),
];

fn is_taken(point: &[u8]) -> bool {
    let mut shower = Pairing::show_code(Side::Member, APP, 7, TTL, &mut Recorded::new(1), NOW).unwrap();
    let typed = shower.code().unwrap().clone();
    let mut typer = Pairing::type_code(typed, Side::Newcomer, APP, &mut Recorded::new(2)).unwrap();
    let Some(Output::Send(mut opening)) = typer.poll_output() else { panic!("it begins") };
    let at = opening.len() - 32;
    opening[at..].copy_from_slice(point);
    shower.handle_message(&opening, NOW).is_ok()
}

/// Plays a whole pairing, and gives what everybody sent, in order.
fn play(shows: Side) -> Value {
    let (mut shower_rng, mut typer_rng) = (Recorded::new(3), Recorded::new(4));
    let shower = Pairing::show_code(shows, APP, 7, TTL, &mut shower_rng, NOW).unwrap();
    // The code goes the way a person takes it.
    let text = shower.code().unwrap().to_text();
    let typer = Pairing::type_code(text.parse().unwrap(), shows.other(), APP, &mut typer_rng).unwrap();
    let mut value = converse(shows, shower, typer);
    assert!(value["check_code"].is_null() && value["shows"] == side(shows));
    value["code"] = (*text).clone().into();
    value["nameplate"] = 7.into();
    value["shower_random"] = HEX.encode(&shower_rng.1).into();
    value["scanner_random"] = HEX.encode(&typer_rng.1).into();
    value
}

#[test]
fn golden_short_codes() {
    if !Suite::XWing.is_ours() {
        // Short codes are of suite 1 alone.
        let refused = Pairing::show_code(Side::Member, APP, 7, TTL, &mut Recorded::new(1), NOW).err();
        assert_eq!(refused, Some(PairingError::NoCodes));
        return;
    }
    let points = POINTS.map(|(bytes, sound)| {
        assert_eq!(is_taken(&HEX.decode(bytes.as_bytes()).unwrap()), sound, "{bytes}");
        json!({ "bytes": bytes, "sound": sound })
    });
    let value = json!({
        "protocol": "Noise_hybridXXpsk0_25519+MLKEM768_ChaChaPoly_SHA256",
        "random": "what each side draws, in this order: the words (8 bytes, only who shows), scalar (64), static X25519 key (32), \
                   static ML-KEM seed (64), ephemeral X25519 key (32), ephemeral ML-KEM seed (64), first and second \
                   encapsulation (32 each)",
        "app_id": APP,
        "words": words().join(" "),
        "codes": [code(1, 0), code(7, 1 << 22 | 2 << 11 | 3), code(42, 0x1_2345_6789), code(999_999, u64::MAX)],
        "points": points,
        "pairings": [play(Side::Member), play(Side::Newcomer)],
    });
    golden::check("code", &value);
}
