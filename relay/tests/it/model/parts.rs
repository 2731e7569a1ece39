//! What the model's devices are made of: keys, proofs and chains that are the same in every state, and commits that say
//! plainly what they do.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, Mutex};

use sync_relay::mailbox::{Keys, Proof, Verified, Verifying};
use sync_rules::mls::{CommitMessage, NotACommit};
use sync_rules::{Observe, ObserveError, Observed, Step};
use sync_types::body::Reached;
use sync_types::frame::{Attach, Commit, Cut, WelcomeFor};
use sync_types::settings::Settings;
use sync_types::{DeviceId, EntryHash, GroupId, Opaque, Suite, encode};

use crate::device::{chained, sealed};
use crate::support::{GROUP, Peer, snapshot};

/// The most devices that a scene has.
pub(super) const DEVICES: usize = 4;

struct Fixed {
    peers: Vec<Peer>,
    proofs: Vec<(Attach, Proof)>,
    keys: std::sync::Arc<Keys>,
}

/// Made once: signing in every state would take most of the time.
static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let peers: Vec<Peer> = (1..).take(DEVICES).map(Peer::new).collect();
    let proofs = peers.iter().map(|peer| peer.attach(0)).collect();
    let keys = peers.iter().map(|peer| (peer.id, peer.key.public())).collect();
    Fixed { peers, proofs, keys: std::sync::Arc::new(keys) }
});

/// Chains by sender and the epoch of each envelope, which is all that they differ in.
static CHAINS: LazyLock<Mutex<HashMap<Chain, (Opaque, EntryHash)>>> = LazyLock::new(Mutex::default);
/// Pushes of such chains, verified: by their first number.
static PUSHES: LazyLock<Mutex<HashMap<(Chain, usize), Verified>>> = LazyLock::new(Mutex::default);

type Chain = (usize, Vec<u64>);

pub(super) fn peer(device: usize) -> &'static Peer {
    &FIXED.peers[device]
}

pub(super) fn id(device: usize) -> DeviceId {
    peer(device).id
}

/// Which of them this is.
pub(super) fn place(id: DeviceId) -> usize {
    FIXED.peers.iter().position(|peer| peer.id == id).expect("there are no others")
}

pub(super) fn attach(device: usize, stored: u64) -> (Attach, &'static Proof) {
    let (request, proof) = &FIXED.proofs[device];
    (Attach { stored, ..request.clone() }, proof)
}

/// The last envelope of a chain, and its hash.
fn last(device: usize, epochs: &[u64]) -> (Opaque, EntryHash) {
    let chain = (device, epochs.to_vec());
    if let Some(known) = CHAINS.lock().unwrap().get(&chain) {
        return known.clone();
    }
    let Some((epoch, before)) = epochs.split_last() else { return (Opaque::default(), EntryHash::default()) };
    let (_, previous) = last(device, before);
    let header = chained(id(device), *epoch, before.len() as u64, previous);
    let made = sealed(&peer(device).key, GROUP, &header, 1, 272);
    CHAINS.lock().unwrap().insert(chain, made.clone());
    made
}

/// The envelopes of a chain behind the first so many, as the relay verifies them.
pub(super) fn pushed(device: usize, epochs: &[u64], behind: usize) -> Verified {
    let key = ((device, epochs.to_vec()), behind);
    if let Some(known) = PUSHES.lock().unwrap().get(&key) {
        return known.clone();
    }
    let envelopes = (behind + 1..=epochs.len()).map(|count| last(device, &epochs[..count]).0).collect();
    let verified = Verifying::new(GROUP, envelopes, FIXED.keys.clone()).finish();
    PUSHES.lock().unwrap().insert(key, verified.clone());
    verified
}

/// What stands for an entry's bytes.
pub(super) fn id_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What a commit does; its bytes are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The epoch that it ends.
    pub(super) epoch: u64,
    pub(super) by: usize,
    pub(super) adds: bool,
    pub(super) whom: usize,
    /// The head of the one that goes.
    pub(super) seq: u64,
    pub(super) hash: EntryHash,
}

impl Change {
    pub(super) fn frame(&self) -> Commit {
        let mut bytes = [self.epoch, self.by as u64, u64::from(self.adds), self.whom as u64, self.seq]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect::<Vec<u8>>();
        bytes.extend_from_slice(&self.hash.0);
        let welcome = WelcomeFor { device: id(self.whom), welcome: Opaque(vec![1]) };
        let welcomes = if self.adds { vec![welcome] } else { vec![] };
        Commit { commit: Opaque(bytes), group_info: Opaque(vec![1]), welcomes }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(8 * at..8 * at + 8)?.try_into().ok()?));
        let hash = EntryHash(bytes.get(40..)?.try_into().ok()?);
        let place = |at| number(at).and_then(|n| usize::try_from(n).ok());
        let (adds, seq) = (number(2)? == 1, number(4)?);
        Some(Self { epoch: number(0)?, by: place(1)?, adds, whom: place(3)?, seq, hash })
    }
}

/// Takes a [`Change`] at its word.
pub(super) struct Plain;

impl Observe for Plain {
    fn found(&self, bytes: &[u8]) -> Result<Observed, ObserveError> {
        let group = bytes.get(..32).and_then(GroupId::from_slice).ok_or(ObserveError::NotAGroupInfo)?;
        let epoch = u64::from_be_bytes(bytes[32..40].try_into().unwrap());
        let member = |m: &[u8]| (DeviceId::from_slice(&m[..16]).unwrap(), m[16..].try_into().unwrap());
        let members = bytes[40..].chunks(48).map(member).collect();
        Ok(Observed {
            snapshot: bytes.to_vec(),
            group,
            suite: Suite::FOUNDED,
            suite_since: 0,
            epoch,
            members,
            settings: Settings::default(),
        })
    }

    fn process(&self, state: &[u8], commit: &[u8], _: &[u8]) -> Result<Step, ObserveError> {
        let before = self.found(state)?;
        let change = Change::read(commit).ok_or(NotACommit::Malformed)?;
        if change.epoch != before.epoch {
            return Err(ObserveError::Stale { theirs: change.epoch, ours: before.epoch });
        }
        let whom = (id(change.whom), peer(change.whom).key.public());
        let mut members = before.members.clone();
        members.retain(|(member, _)| *member != whom.0);
        members.extend(change.adds.then_some(whom));
        let cut = Cut { last: vec![Reached { sender: whom.0, seq: change.seq, hash: change.hash }], lost: false };
        Ok(Step {
            after: self.found(&snapshot(before.group, before.epoch + 1, &members))?,
            before,
            committer: id(change.by),
            added: if change.adds { vec![whom] } else { vec![] },
            removed: if change.adds { vec![] } else { vec![whom.0] },
            replaced: None,
            recovered: false,
            authenticated_data: if change.adds { vec![] } else { encode(&cut) },
            commit_hash: CommitMessage::hash(commit),
        })
    }

    fn copy(&self, state: &[u8], commit: &[u8], group_info: Option<&[u8]>) -> Result<Step, ObserveError> {
        self.process(state, commit, group_info.unwrap_or_default())
    }
}
