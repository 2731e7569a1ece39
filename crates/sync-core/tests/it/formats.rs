//! Golden vectors of everything that travels besides pairing: envelopes, bodies, statements, frames.
//! `vectors/check.py` reads the same files with code of its own.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_core::seal::{envelope_key, open, seal, sender_key};
use sync_rules::mls::Lineage;
use sync_rules::statement::{Place, sign_acknowledgement, sign_move, sign_reject, sign_replace_key};
use sync_rules::{SigningKey, attach, device_id, labelled};
use sync_types::body::{
    Blob, Body, Control, History, HistoryRequest, HistoryRun, Nack, Reached, Repair, Span, SuitePackage, SuiteWanted,
    pack, pad,
};
use sync_types::content::{ContentRef, FilePut, FileRecord, LargeBlob};
use sync_types::envelope::{Class, Header, padded_len};
use sync_types::frame::{
    self, Acknowledge, Acknowledgement, Attach, Content, ContentAnswer, ContentAsk, CopyCommits, Entry, EntryKind,
    ExternalProof, FromRelay, Head, JoinNameplate, MOVE, Move, OpenNameplate, Reject, Signature, ToRelay, WelcomeFor,
};
use sync_types::{
    BlobId, ContentHash, DeviceId, EntryHash, Envelope, GroupId, Opaque, Sealed, VERSION, decode, encode,
};

use crate::golden;

const GROUP: GroupId = GroupId([0x11; 32]);
const SECRET: [u8; 32] = [0x22; 32];
const SEED: [u8; 32] = [0x33; 32];

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn key() -> SigningKey {
    SigningKey::from_seed(&SEED)
}

fn blobs() -> Vec<Blob> {
    let first = Blob { id: BlobId([0x44; 16]), channel: "notes/17".into(), data: b"hello".to_vec(), snapshot: false };
    let second = Blob { id: first.id.next(), data: b"world".to_vec(), ..first.clone() };
    let third = Blob { id: BlobId([0x55; 16]), channel: "Größe".into(), data: vec![0xff; 3], snapshot: true };
    vec![first, second, third]
}

fn reached(seq: u64) -> Reached {
    Reached { sender: DeviceId([0x66; 16]), seq, hash: EntryHash([0x77; 32]) }
}

fn blob_json(blob: &Blob) -> Value {
    json!({ "id": blob.id.to_string(), "channel": blob.channel, "data": hex(&blob.data), "snapshot": blob.snapshot })
}

#[test]
fn golden_hashes() {
    let cases: Vec<Value> = [("test", &b""[..]), ("test", b"abc"), ("device id", &[7; 32])]
        .map(|(label, content)| json!({ "label": label, "content": hex(content), "hash": hex(&labelled(label, content)) }))
        .into();
    let public = key().public();
    golden::check(
        "hashes",
        &json!({
            "labelled": cases,
            "device_id": { "public_key": hex(&public), "device": device_id(&public).to_string() },
        }),
    );
}

#[test]
fn golden_bodies() {
    let heads = vec![Head {
        seq: 5,
        hash: EntryHash([6; 32]),
        header: Opaque(b"a header".to_vec()),
        ciphertext_hash: EntryHash([7; 32]),
        signature: Signature([8; 64]),
    }];
    let control = vec![
        Control::Name(Opaque(b"Pixel 9".to_vec())),
        Control::HistoryRequest(HistoryRequest {
            holder: DeviceId([1; 16]),
            number: 2,
            spans: vec![Span { sender: DeviceId([3; 16]), from: 4, to: 5 }],
        }),
        Control::History(History {
            asker: DeviceId([1; 16]),
            number: 2,
            runs: vec![HistoryRun {
                sender: DeviceId([3; 16]),
                seq: 4,
                blobs: pack(&blobs()),
                covers: vec![Span { sender: DeviceId([3; 16]), from: 1, to: 4 }],
            }],
            complete: vec![Span { sender: DeviceId([3; 16]), from: 4, to: 5 }],
        }),
        Control::Leaving,
        Control::Nack(Nack {
            number: 3,
            holder: DeviceId([1; 16]),
            spans: vec![Span { sender: DeviceId([3; 16]), from: 4, to: 5 }],
        }),
        Control::Repair(Repair {
            asker: DeviceId([1; 16]),
            number: 3,
            envelopes: vec![Opaque(b"an envelope".to_vec())],
            heads: heads.clone(),
        }),
        Control::Heads(heads.clone()),
        Control::RollCall,
        Control::PastCut(heads),
        Control::SuiteWanted(SuiteWanted { number: 6, suite: 2, time_ms: 7, of: vec![DeviceId([3; 16])] }),
        Control::SuitePackage(SuitePackage {
            asker: DeviceId([1; 16]),
            number: 6,
            key_package: Opaque(b"a key package".to_vec()),
        }),
    ];
    let body = Body { seen: vec![reached(9)], blobs: Opaque::default(), control };
    let lengths: Vec<Value> = [0, 256, 257, 1000, 4096, 262_144, 1_048_576].map(|n| json!([n, padded_len(n)])).into();
    golden::check(
        "bodies",
        &json!({
            "packed": { "blobs": blobs().iter().map(blob_json).collect::<Vec<_>>(), "bytes": hex(&pack(&blobs())) },
            "control_body": hex(&encode(&body)),
            "padded": { "plain": hex(b"plain"), "bytes": hex(&pad(b"plain")) },
            "padded_lengths": lengths,
        }),
    );
    assert_eq!(decode::<Body>(&encode(&body)).unwrap(), body);
}

#[test]
fn golden_envelope() {
    let (mut value, _) = envelope_vector(1);
    value["sender_key"] = hex(&*sender_key(&SECRET, key().device_id())).into();
    golden::check("envelope", &value);
}

#[test]
fn golden_envelope_of_suite_2() {
    let (mut value, header) = envelope_vector(2);
    let (key, nonce) = envelope_key(&SECRET, header.sender, &header.nonce);
    value["envelope_key"] = hex(&*key).into();
    value["nonce"] = hex(&nonce).into();
    golden::check("envelope-fips", &value);
}

fn envelope_vector(suite: u8) -> (Value, Header) {
    let key = key();
    let header = Header {
        version: 1,
        suite,
        class: Class::Data,
        epoch: 3,
        epoch_tag: [0x88; 8],
        sender: key.device_id(),
        seq: 2,
        previous: EntryHash([0x99; 32]),
        nonce: std::array::from_fn(|i| if suite == 1 { 0xaa } else { i as u8 }),
    };
    let body = Body { blobs: pack(&blobs()), ..Body::default() };
    let plain = encode(&body);
    let sealed = seal(GROUP, &header, &plain, &SECRET, &key);
    let envelope = Envelope::parse(&sealed.bytes).unwrap();
    assert_eq!(*open(GROUP, &envelope, &SECRET).unwrap(), plain);
    assert!(open(GroupId([0; 32]), &envelope, &SECRET).is_err(), "another group's envelope opens");
    let mut other = sealed.bytes.clone();
    other[1] = 3 - suite;
    let other = Envelope::parse(&other).unwrap();
    assert!(open(GROUP, &other, &SECRET).is_err(), "an envelope of one suite opens in the other");
    let value = json!({
        "group": GROUP.to_string(),
        "epoch_secret": hex(&SECRET),
        "signing_seed": hex(&SEED),
        "sender": key.device_id().to_string(),
        "header": hex(envelope.header_bytes),
        "plain": hex(&plain),
        "envelope": hex(&sealed.bytes),
        "hash": sealed.head.hash.to_string(),
    });
    (value, header)
}

#[test]
fn golden_statements() {
    let key = key();
    let zero = Signature([0; 64]);
    let mut statement = Acknowledgement {
        device: key.device_id(),
        frontier: vec![reached(7)],
        holes: vec![Span { sender: DeviceId([0x66; 16]), from: 2, to: 3 }],
        signature: zero,
    };
    sign_acknowledgement(&key, &GROUP, &mut statement);
    let mut reject = Reject { device: key.device_id(), epoch: 5, commit_hash: EntryHash([0xbb; 32]), signature: zero };
    sign_reject(&key, &GROUP, &mut reject);
    let [commit, group_info, welcome] = ["a commit", "a GroupInfo", "a Welcome"].map(|part| Opaque(part.into()));
    let mut moved = Move { tag: MOVE, commit, group_info, welcome, signature: zero };
    sign_move(&key, &GROUP, &mut moved);
    let exporter = [0xcc; 32];
    let (new_key, transcript) = ([0xdd; 32], [0xee; 48]);
    let replace = sign_replace_key(&key, Place { group: &GROUP, epoch: 6, transcript: &transcript }, &new_key);
    golden::check(
        "statements",
        &json!({
            "group": GROUP.to_string(),
            "public_key": hex(&key.public()),
            "acknowledgement": hex(&encode(&statement)),
            "reject": hex(&encode(&reject)),
            "move": hex(&encode(&moved)),
            "successor": hex(&Lineage::successor(&GROUP, 6, &[0x99; 16])),
            "replace_key": {
                "epoch": 6,
                "transcript": hex(&transcript),
                "new_key": hex(&new_key),
                "proof": hex(&encode(&ExternalProof::ReplaceKey(replace))),
            },
            "attach": { "exporter": hex(&exporter), "proof": hex(&attach::prove(&key, GROUP, &exporter)) },
        }),
    );
}

#[test]
fn golden_frames() {
    let attach =
        Attach { version: 1, suite: 1, group: GROUP, device: DeviceId([1; 16]), stored: 42, proof: Signature([2; 64]) };
    let sealed = Sealed { hash: ContentHash([7; 32]), size: 272 };
    let content = |ask| ToRelay::Content(Content { attach: attach.clone(), ask });
    let to: Vec<(&str, ToRelay)> = vec![
        ("attach", ToRelay::Attach(attach.clone())),
        ("give_content", content(ContentAsk::Give(sealed))),
        ("take_content", content(ContentAsk::Take(sealed))),
        ("have_content", content(ContentAsk::Have(vec![sealed.hash]))),
        ("push", ToRelay::Push(vec![Opaque(vec![1, 2, 3]), Opaque(vec![4])])),
        ("acknowledge", ToRelay::Acknowledge(Acknowledge { cursor: 9, statement: Opaque::default() })),
        ("welcome_stored", ToRelay::WelcomeStored),
        ("ask_group_info", ToRelay::GroupInfo(Some(DeviceId([1; 16])))),
        (
            "copy_commits",
            ToRelay::CopyCommits(CopyCommits {
                commits: vec![Opaque(vec![1, 2]), Opaque(vec![3])],
                group_info: Opaque(vec![4; 3]),
                welcomes: vec![WelcomeFor { device: DeviceId([5; 16]), welcome: Opaque(vec![6]) }],
            }),
        ),
        ("open_nameplate", ToRelay::OpenNameplate(OpenNameplate { version: VERSION, ttl_seconds: 600 })),
        ("join_nameplate", ToRelay::JoinNameplate(JoinNameplate { version: VERSION, nameplate: 7 })),
    ];
    let entry = Entry { cursor: 10, kind: EntryKind::Commit, bytes: Opaque(vec![5; 70]) };
    let from: Vec<(&str, FromRelay)> = vec![
        ("deliver", FromRelay::Deliver(vec![entry])),
        ("accepted", FromRelay::Accepted(11)),
        ("going_away", FromRelay::GoingAway(1500)),
        ("caught_up", FromRelay::CaughtUp(12)),
        ("nameplate", FromRelay::Nameplate(7)),
        ("group_info", FromRelay::GroupInfo(Opaque(vec![6; 3]))),
        ("content_held", FromRelay::Content(ContentAnswer::Held)),
    ];
    let mut frames = serde_json::Map::new();
    for (name, f) in &to {
        frames.insert((*name).into(), hex(&frame::write(f)).into());
    }
    for (name, f) in &from {
        frames.insert((*name).into(), hex(&frame::write(f)).into());
    }
    let named = ContentRef { hash: sealed.hash, key: [8; 32], suite: 1, size: 5 };
    let put = FileRecord::Put(FilePut { content: named, name: Opaque("a.txt".into()), modified_ms: 9 });
    for (name, record) in [("file_put", put), ("file_removed", FileRecord::Removed(BlobId([3; 16])))] {
        frames.insert(name.into(), hex(&frame::write(&record)).into());
    }
    let content = ContentRef { hash: sealed.hash, key: [8; 32], suite: 1, size: 1_048_577 };
    let large = LargeBlob { channel: Opaque("notes".into()), content };
    frames.insert("large_blob".into(), hex(&frame::write(&large)).into());
    golden::check("frames", &Value::Object(frames));
}
