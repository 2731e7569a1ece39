//! A group whose commits are scripted, over a store in memory. After each decision the store, loaded again, has to equal the
//! state, and the counters have to be exact.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use sync_relay::mailbox::{
    Attachment, CommitContext, Decision, GroupState, Limits, Notice, Proof, Refusal, Stated, Verified, Verifying,
};
use sync_relay::store::{EntriesQuery, EntryRow, MemoryStore, Store};
use sync_rules::mls::CommitMessage;
use sync_rules::statement::sign_reject;
use sync_rules::{Observe, ObserveError, Observed, SigningKey, Step, envelope};
use sync_types::body::{Reached, Span};
use sync_types::envelope::{Envelope, Header};
use sync_types::frame::{
    Acknowledge, Attach, Commit, CopyCommits, Cut, FromRelay, Reject, SealedSnapshot, Signature, WelcomeFor,
};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, EntryHash, GroupId, Opaque, Suite, encode};

use crate::device::{attach_request, chained, ephemeral, sealed, stated};

pub(crate) const GROUP: GroupId = GroupId([9; 32]);
pub(crate) const EXPORTER: [u8; 32] = [7; 32];

/// The value of a future that is ready.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future is not ready"),
    }
}

/// One device with its chain.
pub(crate) struct Peer {
    pub(crate) key: SigningKey,
    pub(crate) id: DeviceId,
    pub(crate) seq: u64,
    pub(crate) hash: EntryHash,
    pub(crate) epoch: u64,
}

impl Peer {
    pub(crate) fn new(seed: u8) -> Self {
        Self::from_key(SigningKey::from_seed(&[seed; 32]))
    }

    /// One of many.
    pub(crate) fn numbered(number: usize) -> Self {
        let mut seed = [0xff; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Self::from_key(SigningKey::from_seed(&seed))
    }

    fn from_key(key: SigningKey) -> Self {
        Self { id: key.device_id(), key, seq: 0, hash: EntryHash::default(), epoch: 0 }
    }

    pub(crate) fn header(&self) -> Header {
        chained(self.id, self.epoch, self.seq, self.hash)
    }

    pub(crate) fn seal_as(&self, header: &Header, fill: u8, len: usize) -> (Opaque, EntryHash) {
        sealed(&self.key, GROUP, header, fill, len)
    }

    /// The next envelope of the chain.
    pub(crate) fn seal(&mut self) -> Opaque {
        self.seal_len(272)
    }

    pub(crate) fn seal_len(&mut self, len: usize) -> Opaque {
        let (bytes, hash) = self.seal_as(&self.header(), 1, len);
        (self.seq, self.hash) = (self.seq + 1, hash);
        bytes
    }

    pub(crate) fn presence(&self) -> Header {
        ephemeral(self.header())
    }

    pub(crate) fn attach(&self, stored: u64) -> (Attach, Proof) {
        let request = attach_request(&self.key, GROUP, &EXPORTER, stored);
        let signature = request.proof.0;
        (request, Proof { exporter: EXPORTER, signature })
    }

    pub(crate) fn reached(&self) -> Reached {
        Reached { sender: self.id, seq: self.seq, hash: self.hash }
    }

    /// A signed acknowledgement for these senders.
    pub(crate) fn statement(&self, frontier: Vec<Reached>) -> Opaque {
        self.statement_with(frontier, vec![])
    }

    pub(crate) fn statement_with(&self, frontier: Vec<Reached>, holes: Vec<Span>) -> Opaque {
        stated(&self.key, GROUP, frontier, holes)
    }

    pub(crate) fn reject(&self, epoch: u64, commit: &Commit) -> Opaque {
        let commit_hash = CommitMessage::hash(&commit.commit);
        let mut reject = Reject { device: self.id, epoch, commit_hash, signature: Signature([0; 64]) };
        sign_reject(&self.key, &GROUP, &mut reject);
        Opaque(encode(&reject))
    }
}

/// The same envelope with a signature that does not verify.
pub(crate) fn forged(mut envelope: Opaque) -> Opaque {
    *envelope.0.last_mut().unwrap() ^= 1;
    envelope
}

/// The hash by which the next envelope would name this one.
pub(crate) fn entry_hash_of(bytes: &[u8]) -> EntryHash {
    let parsed = Envelope::parse(bytes).unwrap();
    envelope::entry_hash(parsed.header_bytes, &envelope::ciphertext_hash(parsed.ciphertext), parsed.signature)
}

/// What a scripted commit does.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) epoch: u64,
    pub(crate) committer: DeviceId,
    pub(crate) added: Vec<(DeviceId, [u8; 32])>,
    pub(crate) removed: Vec<DeviceId>,
    pub(crate) authenticated_data: Vec<u8>,
    /// The recovery kit of the group from then on.
    pub(crate) kit: Option<[u8; 32]>,
}

/// An observer that does as the scripts say. A snapshot is the epoch and the members, one behind the other.
#[derive(Default)]
pub(crate) struct FakeObserve(Mutex<BTreeMap<Vec<u8>, Script>>);

pub(crate) fn snapshot(group: GroupId, epoch: u64, members: &[(DeviceId, [u8; 32])]) -> Vec<u8> {
    let mut out = [&group.0[..], &epoch.to_be_bytes()].concat();
    members.iter().for_each(|(id, key)| out.extend([&id.0[..], key].concat()));
    out
}

fn observed(bytes: &[u8]) -> Result<Observed, ObserveError> {
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

impl Observe for FakeObserve {
    fn found(&self, group_info: &[u8]) -> Result<Observed, ObserveError> {
        observed(group_info)
    }

    fn process(&self, state: &[u8], commit: &[u8], _: &[u8]) -> Result<Step, ObserveError> {
        let before = observed(state)?;
        let scripts = self.0.lock().unwrap();
        let script = scripts.get(commit).ok_or(sync_rules::mls::NotACommit::Malformed)?.clone();
        if script.epoch < before.epoch {
            return Err(ObserveError::Stale { theirs: script.epoch, ours: before.epoch });
        }
        let mut members = before.members.clone();
        members.retain(|(id, _)| !script.removed.contains(id));
        members.extend(&script.added);
        let mut after = observed(&snapshot(before.group, before.epoch + 1, &members))?;
        after.settings.recovery_key = script.kit.map(Vec::from).unwrap_or_default();
        Ok(Step {
            after,
            before,
            committer: script.committer,
            added: script.added,
            removed: script.removed,
            replaced: None,
            recovered: false,
            authenticated_data: script.authenticated_data,
            commit_hash: CommitMessage::hash(commit),
        })
    }

    fn copy(&self, state: &[u8], commit: &[u8], group_info: Option<&[u8]>) -> Result<Step, ObserveError> {
        self.process(state, commit, group_info.unwrap_or_default())
    }
}

/// A group at a relay.
pub(crate) struct World {
    pub(crate) state: GroupState,
    pub(crate) store: MemoryStore,
    pub(crate) observe: FakeObserve,
    pub(crate) limits: Limits,
    pub(crate) attached: BTreeSet<DeviceId>,
    pub(crate) now: u64,
    commits: u8,
}

impl World {
    /// A group that only its founder is in.
    pub(crate) fn found(founder: &Peer) -> Self {
        Self::found_at(founder, 0)
    }

    pub(crate) fn found_at(founder: &Peer, epoch: u64) -> Self {
        let observe = FakeObserve::default();
        let (request, proof) = founder.attach(0);
        let info = snapshot(GROUP, epoch, &[(founder.id, founder.key.public())]);
        let (state, decision) = GroupState::create(&observe, &request, &proof, &info, 1_000).unwrap();
        let store = MemoryStore::new();
        now(store.commit(decision.writes)).unwrap();
        let (limits, attached) = (Limits::default(), BTreeSet::new());
        Self { state, store, observe, limits, attached, now: 1_000, commits: 0 }
    }

    /// A group of these, everybody up to date, nobody attached and nothing held.
    pub(crate) fn of(peers: &mut [&mut Peer]) -> Self {
        let mut world = Self::found(peers[0]);
        for index in 1..peers.len() {
            let add = world.script(peers[0], &[peers[index]], &[]);
            world.commit(peers[0], &add).unwrap();
            world.welcome_stored(peers[index]);
            for peer in &peers[..=index] {
                world.ack_all(peer);
            }
        }
        for peer in peers.iter_mut() {
            peer.epoch = world.state.epoch();
        }
        assert_eq!(world.state.counters().entries, 0);
        world
    }

    /// A commit by `committer`, which states the cut of each that it removes.
    pub(crate) fn script(&mut self, committer: &Peer, added: &[&Peer], removed: &[&Peer]) -> Commit {
        let script = self.change(committer, added, removed);
        let welcomes = added.iter().map(|p| WelcomeFor { device: p.id, welcome: Opaque(p.id.0.to_vec()) }).collect();
        self.scripted(script, welcomes)
    }

    /// What that commit does.
    pub(crate) fn change(&self, committer: &Peer, added: &[&Peer], removed: &[&Peer]) -> Script {
        let cut = Cut { last: removed.iter().map(|p| p.reached()).collect(), lost: false };
        Script {
            epoch: self.state.confirmed_epoch(),
            committer: committer.id,
            added: added.iter().map(|p| (p.id, p.key.public())).collect(),
            removed: removed.iter().map(|p| p.id).collect(),
            authenticated_data: if removed.is_empty() { vec![] } else { encode(&cut) },
            kit: None,
        }
    }

    pub(crate) fn scripted(&mut self, script: Script, welcomes: Vec<WelcomeFor>) -> Commit {
        self.commits += 1;
        let commit = vec![self.commits; 100];
        self.observe.0.lock().unwrap().insert(commit.clone(), script);
        Commit { commit: Opaque(commit), group_info: Opaque(vec![self.commits; 50]), welcomes }
    }

    pub(crate) fn commit(&mut self, peer: &Peer, commit: &Commit) -> Result<Decision, Refusal> {
        let (observe, limits, attached) = (&self.observe, &self.limits, &self.attached);
        let context = CommitContext { observe, limits, attached, now_ms: self.now };
        let result = self.state.commit(peer.id, commit, context);
        self.settle(result)
    }

    pub(crate) fn copy(&mut self, peer: &Peer, copies: &CopyCommits) -> Result<Decision, Refusal> {
        let (observe, limits, attached) = (&self.observe, &self.limits, &self.attached);
        let context = CommitContext { observe, limits, attached, now_ms: self.now };
        let result = self.state.copy_commits(peer.id, copies, context);
        self.settle(result)
    }

    pub(crate) fn push(&mut self, peer: &Peer, envelopes: &[Opaque]) -> Result<Decision, Refusal> {
        let result = self.state.push(peer.id, &verified(&self.state, envelopes), &self.limits, self.now);
        self.settle(result)
    }

    pub(crate) fn acknowledge(&mut self, peer: &Peer, cursor: u64, statement: Opaque) -> Result<Decision, Refusal> {
        let stated = Stated::verify(GROUP, &Acknowledge { cursor, statement }, &self.state.keys());
        let result = self.state.acknowledge(peer.id, &stated);
        self.settle(result)
    }

    /// One member brings what another has signed.
    pub(crate) fn carry(&mut self, by: &Peer, statement: &Opaque, served_ms: u64) -> Result<Decision, Refusal> {
        let request = Acknowledge { cursor: 0, statement: statement.clone() };
        let stated = Stated::verify(GROUP, &request, &self.state.keys());
        let result = self.state.carry(by.id, &stated, served_ms);
        self.settle(result)
    }

    pub(crate) fn ack(&mut self, peer: &Peer, cursor: u64) -> Decision {
        self.acknowledge(peer, cursor, Opaque::default()).unwrap()
    }

    pub(crate) fn ack_all(&mut self, peer: &Peer) -> Decision {
        self.ack(peer, self.state.counters().newest)
    }

    pub(crate) fn reject(&mut self, peer: &Peer, bytes: &[u8]) -> Result<Decision, Refusal> {
        let result = self.state.reject(peer.id, bytes);
        self.settle(result)
    }

    pub(crate) fn keep(&mut self, peer: &Peer, snapshot: &SealedSnapshot) -> Result<Decision, Refusal> {
        let result = self.state.keep_snapshot(peer.id, snapshot);
        self.settle(result)
    }

    pub(crate) fn timeout(&mut self) -> Decision {
        let decision = self.state.timeout(self.now);
        self.settle(Ok(decision)).unwrap()
    }

    /// So much of the relay's own time has passed.
    pub(crate) fn lapse(&mut self, served_ms: u64) -> Decision {
        let decision = self.state.lapse(served_ms, self.limits.max_lag_ms, &self.attached);
        self.settle(Ok(decision)).unwrap()
    }

    pub(crate) fn seen(&mut self, peer: &Peer, served_ms: u64) {
        let writes = self.state.sign_of_life(peer.id, served_ms).into_iter().collect();
        self.settle(Ok(Decision { writes, ..Decision::default() })).unwrap();
    }

    pub(crate) fn detach(&mut self, peer: &Peer) -> Decision {
        self.attached.remove(&peer.id);
        let decision = self.state.detached(&self.attached);
        self.settle(Ok(decision)).unwrap()
    }

    pub(crate) fn welcome_stored(&mut self, peer: &Peer) -> Decision {
        let result = self.state.welcome_stored(peer.id);
        self.settle(result).unwrap()
    }

    pub(crate) fn attach(&self, peer: &Peer, stored: u64) -> Result<Attachment, Refusal> {
        let (request, proof) = peer.attach(stored);
        self.state.attach(&request, &proof)
    }

    /// What the device would be delivered beyond a cursor.
    pub(crate) fn entries(&self, peer: &Peer, after: u64) -> Vec<EntryRow> {
        let view = self.state.view(peer.id).unwrap();
        now(self.store.entries(EntriesQuery {
            group: GROUP,
            after: after.max(view.after),
            until: view.until.min(self.state.counters().newest),
            max_bytes: usize::MAX,
            reader: peer.id,
            commits_only: view.commits_only,
        }))
        .unwrap()
    }

    pub(crate) fn cursors(&self, peer: &Peer, after: u64) -> Vec<u64> {
        self.entries(peer, after).iter().map(|e| e.cursor).collect()
    }

    /// Asserts that an operation is refused with this code and that nothing was changed.
    #[track_caller]
    pub(crate) fn refused(
        &mut self,
        what: &str,
        code: Code,
        op: impl FnOnce(&mut Self) -> Result<Decision, Refusal>,
    ) -> Refusal {
        let before = self.state.rows();
        let refusal = match op(self) {
            Err(refusal) => refusal,
            Ok(decision) => panic!("{what}: accepted with {decision:?}"),
        };
        assert_eq!(refusal.code, code, "{what}: {}", refusal.message);
        assert_eq!(self.state.rows(), before, "{what}");
        assert_eq!(now(self.store.load(GROUP)).unwrap().unwrap(), before, "{what}");
        refusal
    }

    /// Makes a decision durable and checks that a relay that starts now would go on from the same state.
    fn settle(&mut self, result: Result<Decision, Refusal>) -> Result<Decision, Refusal> {
        let decision = result?;
        now(self.store.commit(decision.writes.clone())).unwrap();
        let rows = now(self.store.load(GROUP)).unwrap().unwrap();
        assert_eq!(rows, self.state.rows());
        assert_eq!(GroupState::from_rows(rows.clone()).rows(), rows);
        assert_eq!(rows.counters.entries, rows.index.len() as u64);
        assert_eq!(rows.counters.bytes, rows.index.iter().map(|e| u64::from(e.size)).sum::<u64>());
        Ok(decision)
    }
}

/// Envelopes as a session hands them on.
pub(crate) fn verified(state: &GroupState, envelopes: &[Opaque]) -> Verified {
    Verifying::new(GROUP, envelopes.to_vec(), Arc::new(state.keys())).finish()
}

pub(crate) fn accepted(decision: &Decision) -> Option<u64> {
    match decision.reply {
        Some(FromRelay::Accepted(seq)) => Some(seq),
        _ => None,
    }
}

pub(crate) fn confirmed(decision: &Decision) -> Option<u64> {
    decision.notices.iter().find_map(|n| match n {
        Notice::Confirmed { epoch, .. } => Some(*epoch),
        _ => None,
    })
}
