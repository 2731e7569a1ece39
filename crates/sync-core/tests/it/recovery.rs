//! Golden vectors of the recovery kit. `vectors/check.py` reads them with code of its own.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_core::recovery::{KitSnapshot, RecoveryKit, seal_snapshot, state_mac};
use sync_rules::statement::{Place, sign_recovery};
use sync_rules::{attach, mls};
use sync_types::body::Span;
use sync_types::frame::{self, ExternalProof, KitUpload, Recover, SealedSnapshot, Signature, ToRelay, Vouch};
use sync_types::{BlobId, DeviceId, GroupId, Opaque, Suite, VERSION, encode};

use crate::golden;

const GROUP: GroupId = GroupId([0x11; 32]);

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

#[test]
fn golden_recovery() {
    let entropies: [[u8; 32]; 4] = [[0; 32], [0x7f; 32], [0xff; 32], std::array::from_fn(|at| at as u8)];
    let kits: Vec<Value> = entropies
        .iter()
        .map(|entropy| {
            let kit = RecoveryKit::from_entropy(entropy);
            let share_in = |suite| kit.share(&mls::Crypto::every(), suite, &GROUP).unwrap();
            let (share, fips) = (share_in(Suite::XWing), share_in(Suite::Fips));
            json!({
                "entropy": hex(entropy),
                "words": kit.words().as_str(),
                "recovery_key": hex(&kit.signing_key().public()),
                "mac_key": hex(&*kit.mac_key()),
                "seal_key": hex(&share.seal_key),
                "share": hex(&encode(&share)),
                "fips": { "seal_key": hex(&fips.seal_key), "share": hex(&encode(&fips)) },
            })
        })
        .collect();
    let kit = RecoveryKit::from_entropy(&entropies[3]);
    let (exporter, new_key, transcript) = ([0xcc; 32], [0xdd; 32], [0xee; 48]);
    let proof = sign_recovery(&kit.signing_key(), Place { group: &GROUP, epoch: 6, transcript: &transcript }, &new_key);
    let shown = Signature(attach::prove_recovery(&kit.signing_key(), &exporter));
    let key = kit.signing_key().public();
    let recover = ToRelay::Recover(Recover { version: VERSION, key, skip: 1, proof: shown });
    let mac = state_mac(&kit.mac_key(), b"a GroupInfo without signer and signature");
    let said = ToRelay::Kit(KitUpload::Vouch(Vouch { epoch: 6, mac }));
    golden::check(
        "recovery",
        &json!({
            "group": GROUP.to_string(),
            "kits": kits,
            "proof": {
                "epoch": 6,
                "transcript": hex(&transcript),
                "new_key": hex(&new_key),
                "proof": hex(&encode(&ExternalProof::Recovery(proof))),
            },
            "recover": { "exporter": hex(&exporter), "frame": hex(&frame::write(&recover)) },
            "vouch": { "content": hex(b"a GroupInfo without signer and signature"), "frame": hex(&frame::write(&said)) },
        }),
    );
}

/// A snapshot that is left for a kit, sealed once in each suite: no two are the same. Here what was sealed has to open, and to lie
/// in the slot that it would be left in today.
#[test]
fn golden_snapshot_for_a_kit() {
    let kit = RecoveryKit::from_entropy(&[0x7f; 32]);
    let snapshot = KitSnapshot {
        device: DeviceId([0x21; 16]),
        maker: DeviceId([0x22; 16]),
        at: 1_790_000_000_000,
        id: BlobId([0x23; 16]),
        channel: Opaque(b"notes".to_vec()),
        covers: vec![Span { sender: DeviceId([0x22; 16]), from: 1, to: 300 }],
        data: Opaque("all of it: ü".into()),
    };
    let (crypto, key) = (mls::Crypto::every(), kit.signing_key().public());
    let suites = [("XWing", Suite::XWing), ("Fips", Suite::Fips)];
    let made = suites.map(|(_, suite)| {
        let share = kit.share(&crypto, suite, &GROUP).unwrap();
        seal_snapshot(&crypto, suite, &GROUP, &key, &share, &snapshot).unwrap()
    });
    let shown = |sealed: &SealedSnapshot| {
        let frame = frame::write(&ToRelay::Kit(KitUpload::Snapshot(sealed.clone())));
        json!({ "frame": hex(&frame) })
    };
    let committed = golden::committed_or_blessed(
        "kit-snapshot",
        &json!({
            "group": GROUP.to_string(),
            "entropy": hex(&[0x7f; 32]),
            "plain": hex(&encode(&snapshot)),
            "XWing": shown(&made[0]),
            "Fips": shown(&made[1]),
        }),
    );
    assert_eq!(committed["plain"], hex(&encode(&snapshot)));
    for ((name, suite), made) in suites.into_iter().zip(made) {
        let bytes = HEXLOWER.decode(committed[name]["frame"].as_str().unwrap().as_bytes()).unwrap();
        let Ok(ToRelay::Kit(KitUpload::Snapshot(sealed))) = frame::read(&bytes[4..]) else { panic!("another frame") };
        assert_eq!((sealed.key, sealed.slot, sealed.sealed.len()), (key, made.slot, made.sealed.len()));
        assert_eq!(kit.open_snapshot(&crypto, suite, &GROUP, &sealed), Ok(snapshot.clone()));
    }
}
