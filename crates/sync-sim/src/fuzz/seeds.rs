//! The first inputs of each target: what honest devices, relays and people say, and what was found once.

use std::collections::BTreeMap;

use sync_types::body::{Baseline, Blob, Repair};
use sync_types::body::{Body, Control, History, HistoryRequest, HistoryRun, Nack, Presence, Reached, Span, pack, pad};
use sync_types::frame::{
    About, Acknowledge, Acknowledgement, Attach, Attached, Commit, Cut, Entry, EntryKind, ExternalProof, FromRelay,
    Head, OpenSlot, Refused, Reject, ReplaceKey, Signature, SlotSide, ToRelay, WelcomeFor,
};
use sync_types::link::{Link, LinkSecret, RelayHint, RelayKind, Side};
use sync_types::settings::Settings;
use sync_types::{BlobId, Code, DeviceId, EntryHash, GroupId, Opaque, ShortCode, Suite, VERSION, encode};

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
        (
            "relay_config",
            [
                "embedded",
                "https://sync.example.org#token",
                "http://127.0.0.1:8080/.well-known/0ksync",
                "ksync://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:4433,[::1]:1",
                "http://[::1]:80",
                "sqlite:relay.db",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
        ),
        ("commit", vec![commit.clone()]),
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
    let attach = Attach { version: VERSION, group: GROUP, device: DEVICE, stored: 0, proof: SIGNATURE };
    let welcomes = vec![WelcomeFor { device: DEVICE, welcome: Opaque(vec![1]) }];
    vec![
        ToRelay::Push(vec![Opaque(envelope.to_vec())]),
        ToRelay::Acknowledge(Acknowledge { cursor: 1, statement: Opaque(encode(&acknowledgement())) }),
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
    ]
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
        FromRelay::CaughtUp(9),
        FromRelay::GroupInfo(Opaque(vec![1])),
        FromRelay::GoingAway(1500),
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
        encode(&Baseline { frontier: vec![reached()] }),
    ];
    each.into_iter().zip(0u8..).map(|(bytes, which)| [&[which][..], &bytes].concat()).collect()
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
