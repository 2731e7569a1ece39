//! The first inputs of each target: what honest devices, relays and people say, and what was found once.

use std::collections::BTreeMap;

use sync_core::recovery::{KitSnapshot, RecoveryKit};
use sync_core::vault::backup::{self, Record};
use sync_core::vault::{Kdf, Kind, Lock, LockedKey, Passphrase, Unlock, VaultKey};
use sync_types::body::{Baseline, Blob, KitShare, Repair, SuitePackage, SuiteWanted};
use sync_types::body::{Body, Control, History, HistoryRequest, HistoryRun, Nack, Presence, Reached, Span, pack, pad};
use sync_types::frame::{
    About, Acknowledge, Acknowledgement, Attach, Attached, Commit, CopyCommits, Cut, Entry, EntryKind, ExternalProof,
    FromRelay, Head, KitUpload, MOVE, Mac, Move, OpenSlot, Recover, Recoverable, Recovery, Refused, Reject, ReplaceKey,
    SealedSnapshot, Signature, SlotSide, SnapshotSlot, ToRelay, Vouch, WelcomeFor,
};
use sync_types::link::{Link, LinkSecret, RelayHint, RelayKind, Side};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{BlobId, Code, DeviceId, EntryHash, GroupId, Opaque, ShortCode, Suite, VERSION, encode};

use super::decoders::BACKUP_KEY;
use super::step;
use crate::attacks::lab::Lab;

const DEVICE: DeviceId = DeviceId([2; 16]);
const GROUP: GroupId = GroupId([1; 32]);
const HASH: EntryHash = EntryHash([3; 32]);
const SIGNATURE: Signature = Signature([4; 64]);

/// For each target some inputs, the same at every call.
pub fn all() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut lab = Lab::with(2);
    lab.push(0, "one");
    let (envelope, head) = lab.last_of(0).unwrap_or_else(|| unreachable!("it has just pushed"));
    let commit = lab.own_commit(0);
    let info = lab.group_info(0);
    let header = envelope[..sync_types::Header::LEN].to_vec();
    let settings = Settings {
        app_id: b"org.example.notes".to_vec(),
        relays: vec![Opaque(b"embedded".to_vec())],
        ..Settings::default()
    };
    let bodies: Vec<Vec<u8>> = bodies(&head).iter().map(encode).collect();
    let machine_bodies = bodies.iter().map(|body| step(3, body));
    BTreeMap::from([
        ("frame_to_relay", to_relay(&envelope).iter().map(encode).collect()),
        ("frame_from_relay", from_relay(&envelope, &head).iter().map(encode).collect()),
        ("envelope", vec![envelope.clone(), header]),
        ("body", bodies.clone()),
        ("packed_blobs", vec![packed().0]),
        ("padding", vec![pad(b"plain"), pad(&[7; 300])]),
        ("presence", vec![encode(&Presence { channel: Opaque(b"notes".to_vec()), data: Opaque(vec![1]) })]),
        ("statement", statements()),
        ("settings", vec![encode(&settings), encode(&Settings::default())]),
        ("link", links()),
        ("short_code", short_codes()),
        ("recovery_words", recovery_words()),
        ("kit_snapshot", kit_snapshots()),
        (
            "relay_config",
            [
                "embedded",
                "https://sync.example.org#token",
                "http://127.0.0.1:8080/.well-known/0ksync",
                "ksync://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:4433,[::1]:1",
                "embedded://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:4433/0102030405060708090a0b0c0d0e0f10",
                "http://[::1]:80",
                "sqlite:relay.db",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
        ),
        ("locked_key", locked_keys()),
        ("backup", backups()),
        ("commit", vec![commit.clone(), moved(&commit, &info)]),
        ("group_info", vec![info]),
        ("channel_message", channel_messages(&settings)),
        ("store_rows", vec![lab_rows(&lab)]),
        ("pairing", pairings()),
        (
            "device_session",
            machine_bodies
                .chain([
                    from_relay(&envelope, &head).iter().flat_map(|frame| step(0, &encode(frame))).collect(),
                    [step(5, &commit), step(6, b""), step(7, &[60])].concat(),
                ])
                .collect(),
        ),
        ("relay_session", vec![to_relay(&envelope).iter().flat_map(|frame| step(0, &encode(frame))).collect()]),
    ])
}

fn kit_snapshots() -> Vec<Vec<u8>> {
    let snapshot = KitSnapshot {
        device: DEVICE,
        maker: DeviceId([6; 16]),
        at: 1,
        id: BlobId([1; 16]),
        channel: Opaque(b"notes".to_vec()),
        covers: vec![span()],
        data: Opaque(b"all of it".to_vec()),
    };
    // What it stands for ends before it begins.
    let mut reversed = snapshot.clone();
    reversed.covers = vec![Span { from: 5, to: 1, ..span() }];
    vec![encode(&snapshot), encode(&reversed)]
}

fn locked_keys() -> Vec<Vec<u8>> {
    let phrase = Passphrase::new("correct horse").unwrap_or_else(|_| unreachable!("it is as it should be"));
    let (kept, key) = (VaultKey::new([5; 32]), VaultKey::new(BACKUP_KEY));
    let by_passphrase = (Lock::Passphrase(Kdf::cheapest([6; 16])), Unlock::Passphrase(&phrase));
    let made = |kind, (lock, with): (Lock, Unlock<'_>)| {
        let locked = LockedKey::lock(kind, [7; 16], lock, with, [8; 24], &key);
        locked.unwrap_or_else(|_| unreachable!("lock and key are of one kind")).to_bytes().to_vec()
    };
    vec![
        made(Kind::Vault, (Lock::Keychain([9; 16]), Unlock::Keychain(&kept))),
        made(Kind::Vault, by_passphrase.clone()),
        made(Kind::Vault, (Lock::KeyFile([9; 32]), Unlock::KeyFile)),
        made(Kind::Backup, by_passphrase),
    ]
}

fn backups() -> Vec<Vec<u8>> {
    let text = |text: &str| Opaque(text.into());
    let settings = backup::Settings {
        made_at: 1,
        app_id: text("org.example.notes"),
        name: text("laptop"),
        relay: text("embedded"),
        history: HistoryPolicy::All,
        blobs: 2,
    };
    let entry = backup::Entry {
        id: BlobId([1; 16]),
        origin: DEVICE,
        sender: DEVICE,
        seq: 3,
        snapshot: false,
        channel: text("notes"),
        data: text("hello"),
    };
    let second = backup::Entry { id: BlobId([2; 16]), seq: 0, snapshot: true, ..entry.clone() };
    let records = [Record::Settings(settings), Record::Blob(entry), Record::Blob(second)];
    let plain = records.iter().flat_map(|record| encode(&Opaque(encode(record))));
    let (head, key) = (&locked_keys()[3], VaultKey::new(BACKUP_KEY));
    let head = LockedKey::parse(Kind::Backup, head).unwrap_or_else(|_| unreachable!("it was just made"));
    let (mut writer, mut file) = backup::Writer::begin(&head, &key, [4; backup::PREFIX_BYTES]);
    records.iter().for_each(|record| file.extend(writer.put(record)));
    file.extend(writer.finish());
    vec![[&[0][..], &file[backup::HEAD_BYTES..]].concat(), [1].into_iter().chain(plain).collect()]
}

fn reached() -> Reached {
    Reached { sender: DEVICE, seq: 5, hash: HASH }
}

fn span() -> Span {
    Span { sender: DEVICE, from: 1, to: 5 }
}

fn packed() -> Opaque {
    let blob = |n: u8, channel: &str| Blob {
        id: BlobId([n; 16]),
        channel: channel.into(),
        data: vec![n; 5],
        snapshot: n == 3,
    };
    let first = blob(1, "notes");
    let next = Blob { id: first.id.next(), ..blob(2, "notes") };
    pack(&[first, next, blob(9, "other")])
}

fn bodies(head: &Head) -> Vec<Body> {
    let control = vec![
        Control::Name(Opaque(b"laptop".to_vec())),
        Control::HistoryRequest(HistoryRequest { holder: DEVICE, number: 1, spans: vec![span()] }),
        Control::History(History {
            asker: DEVICE,
            number: 1,
            runs: vec![HistoryRun { sender: DEVICE, seq: 1, blobs: packed(), covers: vec![span()] }],
            complete: vec![span()],
        }),
        Control::Leaving,
        Control::Nack(Nack { number: 1, holder: DEVICE, spans: vec![span()] }),
        Control::Repair(Repair {
            asker: DEVICE,
            number: 1,
            envelopes: vec![Opaque(vec![1; 300])],
            heads: vec![head.clone()],
        }),
        Control::Heads(vec![head.clone()]),
        Control::RollCall,
        Control::Kit(share()),
        Control::KitWanted,
        Control::PastCut(vec![head.clone()]),
        Control::SuiteWanted(SuiteWanted { number: 1, suite: 2, time_ms: 1, of: vec![DEVICE] }),
        Control::SuitePackage(SuitePackage { asker: DEVICE, number: 1, key_package: Opaque(vec![1; 300]) }),
    ];
    let bomb = Body { control: vec![Control::Leaving; 60_000], ..Body::default() };
    let resent = Repair { asker: DEVICE, number: 1, envelopes: vec![Opaque::default(); 60_000], heads: vec![] };
    vec![
        Body::default(),
        Body { seen: vec![reached()], blobs: packed(), control: vec![] },
        Body { control, ..Body::default() },
        bomb,
        Body { control: vec![Control::Repair(resent)], ..Body::default() },
    ]
}

fn to_relay(envelope: &[u8]) -> Vec<ToRelay> {
    let attach = Attach { version: VERSION, suite: 1, group: GROUP, device: DEVICE, stored: 0, proof: SIGNATURE };
    let welcomes = vec![WelcomeFor { device: DEVICE, welcome: Opaque(vec![1]) }];
    vec![
        ToRelay::Push(vec![Opaque(envelope.to_vec())]),
        ToRelay::Acknowledge(Acknowledge { cursor: 1, statement: Opaque(encode(&acknowledgement())) }),
        ToRelay::CopyCommits(CopyCommits {
            commits: vec![Opaque(vec![1]), Opaque(vec![2])],
            group_info: Opaque(vec![3]),
            welcomes: welcomes.clone(),
        }),
        ToRelay::Commit(Commit { commit: Opaque(vec![1]), group_info: Opaque(vec![2]), welcomes }),
        ToRelay::Reject(Opaque(encode(&reject()))),
        ToRelay::Presence(Opaque(envelope.to_vec())),
        ToRelay::WelcomeStored,
        ToRelay::GroupInfo(None),
        ToRelay::GroupInfo(Some(DEVICE)),
        ToRelay::OpenSlot(OpenSlot { version: VERSION, slot: [7; 16], side: SlotSide::Shows, ttl_seconds: 600 }),
        ToRelay::SlotMessage(Opaque(vec![1, 2])),
        ToRelay::CloseSlot,
        ToRelay::Attach(attach),
        ToRelay::Push(vec![Opaque::default(); 5_000]),
        ToRelay::Kit(KitUpload::Vouch(Vouch { epoch: 1, mac: Mac([8; 32]) })),
        ToRelay::Kit(KitUpload::Snapshot(sealed_snapshot())),
        ToRelay::KitSnapshot(None),
        ToRelay::KitSnapshot(Some(SnapshotSlot([3; 16]))),
        ToRelay::Recover(Recover { version: VERSION, key: [9; 32], skip: 0, proof: SIGNATURE }),
        ToRelay::Recovery(Box::new(Recovery { join: commit(), removal: commit() })),
    ]
}

fn moved(commit: &[u8], group_info: &[u8]) -> Vec<u8> {
    let [commit, group_info, welcome] = [commit, group_info, &[1]].map(|part| Opaque(part.to_vec()));
    encode(&Move { tag: MOVE, commit, group_info, welcome, signature: SIGNATURE })
}

fn commit() -> Commit {
    Commit { commit: Opaque(vec![1]), group_info: Opaque(vec![2]), welcomes: vec![] }
}

fn from_relay(envelope: &[u8], head: &Head) -> Vec<FromRelay> {
    let entry = |kind, bytes: &[u8]| Entry { cursor: 9, kind, bytes: Opaque(bytes.to_vec()) };
    let refused = |about| {
        let (code, retry_after_ms) = (Code::Protocol as u16, 5);
        FromRelay::Refused(Refused {
            about,
            code,
            retry_after_ms,
            head: Some(head.clone()),
            message: Opaque(b"no".to_vec()),
        })
    };
    vec![
        FromRelay::Attached(Attached {
            epoch: 1,
            provisional: false,
            head: Some(head.clone()),
            acknowledged: 1,
            newest: 9,
        }),
        FromRelay::Deliver(vec![
            entry(EntryKind::Envelope, envelope),
            entry(EntryKind::Commit, &[1]),
            entry(EntryKind::Reject, &encode(&reject())),
        ]),
        FromRelay::Accepted(1),
        FromRelay::Receipt(Opaque(encode(&acknowledgement()))),
        FromRelay::Welcome(Opaque(vec![1])),
        FromRelay::Confirmed(2),
        FromRelay::Presence(Opaque(envelope.to_vec())),
        refused(About::Push),
        refused(About::Commit),
        refused(About::Kit),
        FromRelay::CaughtUp(9),
        FromRelay::GroupInfo(Opaque(vec![1])),
        FromRelay::GoingAway(1500),
        FromRelay::KitSnapshot(None),
        FromRelay::KitSnapshot(Some(sealed_snapshot())),
        FromRelay::KitKept(Mac([8; 32])),
        FromRelay::Recoverable(Recoverable {
            group_info: Opaque(vec![1]),
            macs: vec![Mac([8; 32])],
            heads: vec![head.clone()],
        }),
    ]
}

fn acknowledgement() -> Acknowledgement {
    Acknowledgement { device: DEVICE, frontier: vec![reached()], holes: vec![span()], signature: SIGNATURE }
}

fn reject() -> Reject {
    Reject { device: DEVICE, epoch: 2, commit_hash: HASH, signature: SIGNATURE }
}

fn statements() -> Vec<Vec<u8>> {
    let replace = ExternalProof::ReplaceKey(ReplaceKey { old: DEVICE, signature: SIGNATURE });
    let each = [
        encode(&acknowledgement()),
        encode(&reject()),
        encode(&Cut { last: vec![reached()], lost: false }),
        encode(&replace),
        encode(&ExternalProof::Recovery(SIGNATURE)),
        encode(&Baseline { frontier: vec![reached()], kit: None }),
        encode(&Baseline { frontier: vec![reached()], kit: Some(share()) }),
    ];
    each.into_iter().zip([0, 1, 2, 3, 3, 4, 4]).map(|(bytes, which): (_, u8)| [&[which][..], &bytes].concat()).collect()
}

fn links() -> Vec<Vec<u8>> {
    let hint = |kind, hosts: &[&str]| RelayHint {
        endpoint: [9; 32],
        hosts: hosts.iter().filter_map(|host| host.parse().ok()).collect(),
        kind,
    };
    let hints = [
        hint(RelayKind::Pinned, &["192.0.2.7:4433", "[2001:db8::7]:4433", "relay.example.org:443"]),
        hint(RelayKind::Embedded, &["192.0.2.7:4433"]),
    ];
    let link = |relay| Link {
        suite: Suite::XWing,
        app: [1; 8],
        shows: Side::Member,
        expires_at: 1_700_000_600,
        secret: LinkSecret::new([5; 32]),
        fingerprint: [6; 32],
        relay,
    };
    let mut made = Vec::new();
    for link in hints.map(link) {
        made.extend(link.to_bytes().ok().map(|bytes| bytes.to_vec()));
        made.extend(link.to_text().ok().map(|text| text.as_bytes().to_vec()));
    }
    made
}

fn short_codes() -> Vec<Vec<u8>> {
    let text = ShortCode::new(7, 12_345).map(|code| code.to_text().to_string()).unwrap_or_default();
    let loose = text.replace('-', " ").to_uppercase();
    vec![text.into_bytes(), loose.into_bytes()]
}

fn recovery_words() -> Vec<Vec<u8>> {
    let words = RecoveryKit::from_entropy(&[7; 32]).words().to_string();
    let numbered: String = words.split(' ').zip(1..).map(|(word, at)| format!("{at}. {}\n", &word[..3])).collect();
    vec![words.to_uppercase().into_bytes(), words.into_bytes(), numbered.into_bytes()]
}

fn sealed_snapshot() -> SealedSnapshot {
    SealedSnapshot { key: [9; 32], slot: SnapshotSlot([3; 16]), sealed: Opaque(vec![4; 300]), mac: Mac([8; 32]) }
}

fn share() -> KitShare {
    KitShare { mac_key: [5; 32], seal_key: Opaque(vec![6; 1216]), signature: SIGNATURE }
}

fn channel_messages(settings: &Settings) -> Vec<Vec<u8>> {
    let padded = |message: Vec<u8>| {
        let mut bytes = [&message[..], &[0x80]].concat();
        bytes.resize(bytes.len().next_multiple_of(256), 0);
        bytes
    };
    // Kinds as in protocol.md, §9 *Messages in the channel*.
    let name = encode(&Opaque(b"Pixel 9".to_vec()));
    let names = encode(&Opaque([&DEVICE.0[..], &name].concat()));
    let offer = [&[4][..], &GROUP.0, &DEVICE.0, &encode(&Opaque(encode(settings))), &names, &[0; 8]].concat();
    let join = [&[3][..], &encode(&Opaque(vec![7; 100])), &name].concat();
    let hello = [&[1][..], &[0; 8], &[8; 32]].concat();
    vec![
        padded(hello),
        padded(vec![2]),
        padded(join),
        padded(offer),
        padded(vec![6, 0, 51]),
        vec![3, 0, 51],
        [&[1, 2][..], &[7; 40]].concat(),
    ]
}

fn lab_rows(lab: &Lab) -> Vec<u8> {
    // What is large stays as it is on the disk of the target's own device.
    let small = lab.parties[1].disk.rows().into_iter().filter(|(_, value)| value.len() < 4096);
    let row = |(key, value): (sync_core::store::Key, zeroize::Zeroizing<Vec<u8>>)| {
        let value_length = u16::try_from(value.len()).unwrap_or_default().to_be_bytes();
        [step(0, &key.to_bytes()), value_length.to_vec(), value.to_vec()].concat()
    };
    small.flat_map(row).collect()
}

fn pairings() -> Vec<Vec<u8>> {
    let passes = |how: u8| [&[how][..], &[step(0x00, b""), step(0x80, b"")].concat().repeat(12)].concat();
    let changed = |how: u8| {
        let steps =
            [step(0x00, b""), step(0x80, b""), step(0x03, &[0, 40, 1]), step(0x85, b""), step(0x06, &[3, 0, 51])];
        [&[how][..], &steps.concat()].concat()
    };
    (0..4).flat_map(|how| [passes(how), changed(how)]).collect()
}
