//! Golden vectors of the recovery kit. `vectors/check.py` reads them with code of its own.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_core::recovery::{RecoveryKit, state_mac};
use sync_rules::statement::{Place, sign_recovery};
use sync_rules::{attach, mls};
use sync_types::frame::{self, ExternalProof, KitUpload, Recover, Signature, ToRelay, Vouch};
use sync_types::{GroupId, Suite, VERSION, encode};

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
