//! Small messages that are large in memory. The sizes are those that the attacked process saw, by its allocator.

use mls_rs_codec::MlsDecode;
use mls_rs_codec::iter::mls_decode_split_on_collection;
use sync_core::Outcome;
use sync_rules::{Defence, SigningKey};
use sync_types::body::{Blob, Body, Control, History, HistoryRun, Repair, pack};
use sync_types::frame::{Attach, Create, FromRelay, ToRelay};
use sync_types::{BlobId, DeviceId, GroupId, Opaque, encode, limits};

use super::lab::Lab;
use super::{Attack, By, MINUTE, Seen, harm, has_all};
use crate::memory;

pub(super) const ATTACKS: &[Attack] = &[
    attack("decoder bomb of messages", "passed over, unread", messages),
    attack("decoder bomb of envelopes sent again", "passed over, unread", resent),
    Attack {
        by: By::Stranger,
        name: "decoder bomb of a tree",
        expected: "refused, unread",
        defences: &[Defence::Counting],
        scene: tree,
    },
    attack("decoder bomb of history", "no more than an envelope's blobs", history),
];

const fn attack(name: &'static str, expected: &'static str, scene: fn() -> Seen) -> Attack {
    Attack { by: By::Member, name, expected, defences: &[Defence::Counting], scene }
}

const MALLORY: usize = 0;

/// How much one envelope may take while it is read: several times its own 1.25 MiB, and far from a bomb.
const FAIR: usize = 16 * limits::ENVELOPE_BYTES;

/// How many items of a byte fill an envelope, padding and all.
const MOST: usize = 1_150_000;

/// Mallory's envelope with this body, and what the others need to read it beyond what they hold already.
fn thrown(lab: &mut Lab, body: Body) -> Result<(), String> {
    let epoch = lab.parties[MALLORY].device.epoch();
    let (_, last) = lab.last_of(MALLORY).ok_or("it has pushed")?;
    let envelope = lab.seal(MALLORY, epoch, Some(&last), &body);
    drop(body);
    lab.disconnect(MALLORY);
    let (_, peak) = memory::peak_of(|| lab.inject(MALLORY, &envelope));
    harm(peak <= FAIR, &format!("an envelope of {} bytes takes {} MB of memory", envelope.len(), peak >> 20))
}

fn messages() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(MALLORY, "one");
    thrown(&mut lab, Body { control: vec![Control::Leaving; MOST], ..Body::default() })?;
    harm(lab.met(1, Outcome::Undecodable), "it was not told")?;
    Ok("passed over, unread")
}

fn resent() -> Seen {
    let mut lab = Lab::with(2);
    lab.push(MALLORY, "one");
    let envelopes = vec![Opaque::default(); MOST];
    let repair = Repair { asker: DeviceId([0; 16]), number: 1, envelopes, heads: Vec::new() };
    thrown(&mut lab, Body { control: vec![Control::Repair(repair)], ..Body::default() })?;
    harm(lab.met(1, Outcome::Undecodable), "it was not told")?;
    Ok("passed over, unread")
}

/// Whoever may make a group can send this, and a relay to a device that takes a new key.
fn tree() -> Seen {
    // Who is in no group yet may send so much in one frame.
    const STRANGERS: usize = 120_000;
    let mut lab = Lab::with(1);
    let info = lab.group_info(MALLORY);
    let group_info = Opaque(with_blank_nodes(&info, STRANGERS).ok_or("the GroupInfo is not what it should be")?);
    let size = group_info.len();
    let (conn, key) = (lab.open(), SigningKey::from_seed(&[77; 32]));
    let attach = Attach { group: GroupId([5; 32]), ..lab.attach_request(MALLORY, &key, conn) };
    let create = ToRelay::Create(Create { attach, group_info, token: Opaque::default() });
    let (answers, peak) = memory::peak_of(|| lab.raw(conn, create));
    harm(peak <= 16 * size, &format!("a GroupInfo of {size} bytes takes {} MB of memory", peak >> 20))?;
    harm(matches!(answers[..], [FromRelay::Refused(_)]), "it is no group")?;
    Ok("refused, unread")
}

/// The same GroupInfo (RFC 9420 §12.4.3) around a tree of blank nodes.
fn with_blank_nodes(info: &[u8], nodes: usize) -> Option<Vec<u8>> {
    const RATCHET_TREE: u16 = 2;
    // The message's and the context's fixed fields, with what has a length between them.
    let mut rest = info.get(8..)?;
    take(&mut rest)?;
    rest = rest.get(8..)?;
    (0..3).try_for_each(|_| take(&mut rest).map(drop))?;
    let head = &info[..info.len() - rest.len()];
    let mut extensions = take(&mut rest)?;
    let mut rebuilt = Vec::new();
    while !extensions.is_empty() {
        let kind = u16::mls_decode(&mut extensions).ok()?;
        let data = take(&mut extensions)?;
        let data = if kind == RATCHET_TREE { encode(&Opaque(vec![0; nodes])) } else { data.to_vec() };
        rebuilt.extend(kind.to_be_bytes());
        rebuilt.extend(encode(&Opaque(data)));
    }
    Some([head, &encode(&Opaque(rebuilt)), rest].concat())
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (taken, rest) = mls_decode_split_on_collection(from).ok()?;
    *from = rest;
    Some(taken)
}

fn history() -> Seen {
    let mut lab = Lab::with(1);
    lab.push(MALLORY, "one");
    // What the newcomer asks for, the honest device in Mallory's name does not answer.
    lab.up = Box::new(|from, frame| match frame {
        ToRelay::Push(_) if from == MALLORY => vec![],
        frame => vec![frame],
    });
    let newcomer = lab.add();
    let seq = lab.last_of(MALLORY).map_or(0, |(_, head)| head.seq);
    let blobs: Vec<Blob> = (0..limits::PACK_BLOBS as u128)
        .map(|n| Blob {
            id: BlobId((n + 1).to_be_bytes()),
            channel: "c".repeat(limits::CHANNEL_BYTES),
            data: vec![1],
            snapshot: false,
        })
        .collect();
    let blobs = pack(&blobs);
    let sender = lab.id(MALLORY);
    let runs =
        (0..MOST / blobs.len()).map(|_| HistoryRun { sender, seq, blobs: blobs.clone(), covers: vec![] }).collect();
    let history = History { asker: lab.id(newcomer), number: 1, runs, complete: Vec::new() };
    thrown(&mut lab, Body { control: vec![Control::History(history)], ..Body::default() })?;
    // The first run is what one envelope may bring.
    harm(lab.log(newcomer).len() <= limits::PACK_BLOBS, "more was kept than an envelope may hold")?;
    lab.up = Box::new(|_, frame| vec![frame]);
    lab.reconnect();
    lab.pass(MINUTE);
    let fresh = lab.add();
    lab.push(fresh, "two");
    has_all(&lab, fresh, &["one", "two"]).or_else(|_| harm(lab.has(newcomer, "two"), "the newcomer is stuck"))?;
    Ok("no more than an envelope's blobs")
}
