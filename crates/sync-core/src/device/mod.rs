//! A device as a member of its group.
//!
//! Inputs go in through `handle_*`; then, in this order:
//! 1. while [`Device::next_read`] gives a read: apply [`Device::take_writes`] inside the transaction, read, and answer
//!    with [`Device::handle_read`], or with [`Device::history_failed`] if it is history that cannot be read;
//! 2. apply [`Device::take_writes`] in the same transaction and make it durable;
//! 3. only then send [`Device::take_sends`], in order, and act on [`Device::take_events`].
//!
//! Several inputs may share a transaction. If it fails, the device's memory is ahead of its disk: drop it, drop the
//! connection, and [`Device::load`] it again.

mod absence;
mod carry;
mod clock;
mod commits;
mod control;
mod deliver;
mod early;
mod history;
mod joining;
mod kit;
mod kit_snapshots;
mod lines;
mod mailboxes;
mod members;
mod mirror;
mod moving;
mod own;
mod past_cut;
mod patience;
mod queries;
mod receipts;
mod records;
mod rejects;
mod relays;
mod repair;
mod replace;
mod send;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::defence::stands;
use sync_rules::{Defence, SigningKey};
use sync_types::body::{Repair, Span};
use sync_types::frame::ToRelay;
use sync_types::{Code, DecodeError, DeviceId, GroupId, Opaque, RelayAddress, Suite, encode, settings::Settings};
use zeroize::Zeroizing;

use crate::RelayId;
use crate::event::{Event, Outcome};
use crate::membership::{ApplyError, JoinError, Membership, MembershipError, PrepareError};
use crate::pairing::check_name;
use crate::recovery::RecoveryKit;
use crate::relay_id::relays_of;
use crate::store::{Key, Write};

pub use absence::Away;
pub use joining::Joining;
pub use kit::{KitState, SettingChange};
pub use lines::RelayStatus;
pub use moving::MoveStatus;
pub use queries::{DeviceStatus, MemberInfo};

use absence::Listening;
use history::Pause;
use lines::Line;
use records::{
    Before, Chain, Copied, EpochKey, IDENTITY_VERSION, Identity, Intents, Job, Peer, Pending, RelayRecord, Wants,
};
use repair::Repaired;
use replace::{Replacement, Signing};
use session::Session;

/// Why a call on a device failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The stored state is damaged.
    #[error("the stored state of this device is damaged: {0}")]
    Damaged(String),
    /// The stored state is of a version that this build does not know.
    #[error("the stored state of this device has the unknown version {0}")]
    Version(u8),
    /// No member of the group has this id.
    #[error("no member of the group has the id {0}")]
    UnknownDevice(DeviceId),
    /// What the caller passed cannot be used.
    #[error("{0}")]
    Invalid(&'static str),
    /// This device was removed from the group.
    #[error("this device was removed from its group")]
    Removed,
    /// This device has stopped sending, so it can change nothing.
    #[error("this device has stopped sending: {0}")]
    Halted(Code),
    /// This build takes part in no groups of that suite.
    #[error("this build takes part in no groups of that suite")]
    Suite,
    /// The device is not connected.
    #[error("the device is not connected")]
    Offline,
    /// The membership cannot be made, loaded or asked.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// A Welcome that does not lead where pairing said.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A commit that cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A commit that cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The relay refused.
    #[error("the relay refused: {0}")]
    Refused(Code),
}

impl From<DecodeError> for DeviceError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl DeviceError {
    /// The code for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Damaged(_) => Code::StoreCorrupt,
            Self::Version(_) => Code::Version,
            Self::UnknownDevice(_) => Code::UnknownDevice,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Removed => Code::Removed,
            Self::Suite => Code::Suite,
            Self::Offline => Code::RelayUnreachable,
            Self::Membership(e) => e.code(),
            Self::Join(e) => e.code(),
            Self::Prepare(e) => e.code(),
            Self::Apply(e) => e.code(),
            Self::Halted(code) | Self::Refused(code) => *code,
        }
    }
}

/// What a device that founds a group of its own is made from.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Its name, for people; at most [`limits::NAME_BYTES`].
    pub name: String,
    /// What the group's cryptography is made of.
    pub suite: Suite,
    /// What the group agrees on.
    pub settings: Settings,
}

/// A member of a group. See the module for the order of calls.
pub struct Device<P: CryptoProvider + Clone> {
    key: SigningKey,
    me: DeviceId,
    group: GroupId,
    crypto: P,
    identity: Identity,
    membership: Membership<P>,
    epochs: BTreeMap<u64, EpochKey>,
    chain: Chain,
    /// Where the relay stands whose line is looked at.
    relay: RelayRecord,
    peers: BTreeMap<DeviceId, Peer>,
    intents: Intents,
    pending: Option<Pending>,
    before: Option<Before>,
    replacement: Option<Replacement>,
    signing: Signing,
    agreed: kit::Agreed,
    statements: carry::Statements,
    moving: moving::Moving,
    mailboxes: mailboxes::Mailboxes,
    /// Whether this device leaves its snapshots for the recovery kit.
    leaves_snapshots: bool,
    wants: Wants,
    listening: Listening,
    jobs: BTreeMap<(DeviceId, u64), Job>,
    /// Jobs that wait because the store could not be read.
    paused: BTreeMap<(DeviceId, u64), Pause>,
    /// The last commits, by the epochs that they ended.
    copies: BTreeMap<u64, Copied>,

    /// The group's relays, in its order; one at least.
    order: Vec<RelayId>,
    addresses: Vec<Option<RelayAddress>>,
    /// Whose line is looked at, and whose the device works through.
    at: RelayId,
    lead: RelayId,
    lines: BTreeMap<RelayId, Line>,
    /// The relay that leads because the group has given up its first one there.
    through: Option<RelayId>,
    /// Who has had the group use other relays than `order` has, once that is final.
    relays_unsettled: Option<DeviceId>,
    told_caught_up: bool,
    /// Whether the branch of this device has to be compared with the first relay's, once that is there.
    doubts: bool,
    past_cut_due: bool,
    /// The epoch in which a member was seen in another branch, and until when nothing is asked for because of that.
    parted: Option<(u64, u64)>,
    /// Presence that was told lately, which may come by several relays.
    presence_told: VecDeque<[u8; 24]>,

    session: Option<Session>,
    /// Own envelopes that are to be sent again: to whom, by which number of the asker's, and which.
    repairing: BTreeMap<DeviceId, (u64, Span)>,
    /// What was last asked for, and its number.
    nacked: (u64, Vec<Span>),
    /// Answers that need nothing read.
    answers: Vec<Repair>,
    /// What answers brought.
    repaired: VecDeque<Repaired>,
    /// Members of whom was told that nothing comes from them.
    stale: BTreeSet<DeviceId>,
    /// Whether blobs may wait in the outbox.
    outbox_waits: bool,
    /// Senders that the next acknowledgement has to speak of.
    unstated: BTreeSet<DeviceId>,
    /// Of each sender a span over its envelopes that stand for what is not here.
    awaited: BTreeMap<DeviceId, Span>,
    /// Senders whose chains have moved since the last own envelope.
    unseen: BTreeSet<DeviceId>,
    /// Senders with a buffered envelope of an epoch that is still unknown.
    waiting_for_epoch: BTreeSet<DeviceId>,
    counts: [u64; Outcome::ALL.len()],
    /// When this device last renewed its keys because another member waits for its signature.
    renewed_at: Option<u64>,
    /// The time of the last input, in milliseconds; 0 before the first.
    clock: u64,

    dirty: BTreeSet<Key>,
    /// Rows that are written with whatever is written next.
    lazy: BTreeSet<Key>,
    writes: Vec<Write>,
    sends: Vec<ToRelay>,
    events: Vec<Event>,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Founds a group with this device as its only member.
    pub fn found(new: NewDevice, crypto: P, now: u64, rng: &mut dyn CryptoRng) -> Result<Self, DeviceError> {
        Self::found_with(new, None, crypto, now, rng)
    }

    /// The same for a group with a recovery kit, whose key goes into the settings.
    pub fn found_with(
        mut new: NewDevice,
        kit: Option<&RecoveryKit>,
        crypto: P,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, DeviceError> {
        check_name(&new.name).map_err(DeviceError::Invalid)?;
        let key = SigningKey::generate(rng);
        mailboxes::name_host(&mut new.settings, key.device_id());
        let mut id = [0; 32];
        rng.fill_bytes(&mut id);
        if let Some(kit) = kit {
            new.settings.recovery_key = kit.signing_key().public().to_vec();
        }
        let membership = Membership::create(crypto.clone(), new.suite, &key, GroupId(id), &new.settings, now)?;
        let mut device = Self::assemble(key, &new.name, membership, crypto, now)?;
        if let Some(kit) = kit {
            let share =
                kit.share(&device.crypto, new.suite, &device.group).map_err(|_| DeviceError::Halted(Code::Suite))?;
            device.agreed.share = Some(share);
            device.dirty.insert(Key::Agreed);
        }
        device.chain.announced = true;
        Ok(device)
    }

    fn assemble(
        key: SigningKey,
        name: &str,
        membership: Membership<P>,
        crypto: P,
        now: u64,
    ) -> Result<Self, DeviceError> {
        let identity = Identity {
            version: IDENTITY_VERSION,
            seed: *key.seed(),
            group: membership.group_id(),
            name: Opaque(name.as_bytes().to_vec()),
            halted: 0,
            removed_by: None,
            lost: false,
        };
        let mut device = Self::bare(key, identity, membership, crypto);
        device.chain.updated_at = now;
        device.chain.beacon_at = now;
        device.begin_epoch(now)?;
        for key in [Key::Identity, Key::Membership, Key::Chain, Key::Intents, Key::Wants] {
            device.dirty.insert(key);
        }
        device.dirty.extend(device.order.iter().map(|relay| Key::Relay(*relay)));
        Ok(device)
    }

    fn bare(key: SigningKey, identity: Identity, membership: Membership<P>, crypto: P) -> Self {
        let (order, addresses): (Vec<RelayId>, Vec<_>) = relays_of(&membership.settings()).into_iter().unzip();
        Self {
            at: order[0],
            lead: order[0],
            lines: order.iter().map(|relay| (*relay, Line::default())).collect(),
            order,
            addresses,
            copies: BTreeMap::new(),
            through: None,
            relays_unsettled: None,
            told_caught_up: false,
            doubts: false,
            past_cut_due: false,
            parted: None,
            presence_told: VecDeque::new(),
            me: key.device_id(),
            group: identity.group,
            key,
            crypto,
            identity,
            membership,
            epochs: BTreeMap::new(),
            chain: Chain::default(),
            relay: RelayRecord::default(),
            peers: BTreeMap::new(),
            intents: Intents::default(),
            pending: None,
            before: None,
            replacement: None,
            signing: Signing::default(),
            agreed: kit::Agreed::default(),
            statements: carry::Statements::default(),
            moving: moving::Moving::default(),
            mailboxes: mailboxes::Mailboxes::default(),
            leaves_snapshots: false,
            wants: Wants::default(),
            listening: Listening::default(),
            jobs: BTreeMap::new(),
            paused: BTreeMap::new(),
            session: None,
            repairing: BTreeMap::new(),
            nacked: (0, Vec::new()),
            answers: Vec::new(),
            repaired: VecDeque::new(),
            stale: BTreeSet::new(),
            outbox_waits: true,
            unstated: BTreeSet::new(),
            awaited: BTreeMap::new(),
            unseen: BTreeSet::new(),
            renewed_at: None,
            clock: 0,
            waiting_for_epoch: BTreeSet::new(),
            counts: [0; Outcome::ALL.len()],
            dirty: BTreeSet::new(),
            lazy: BTreeSet::new(),
            writes: Vec::new(),
            sends: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes a device up again from its small state; `None` if it is in no group.
    pub fn load(rows: Vec<(Key, Zeroizing<Vec<u8>>)>, crypto: P) -> Result<Option<Self>, DeviceError> {
        let mut rows: BTreeMap<Key, Zeroizing<Vec<u8>>> = rows.into_iter().collect();
        let Some(bytes) = rows.remove(&Key::Identity) else { return Ok(None) };
        let identity: Identity = sync_types::decode(&bytes)?;
        if identity.version != IDENTITY_VERSION {
            return Err(DeviceError::Version(identity.version));
        }
        let state =
            rows.remove(&Key::Membership).ok_or_else(|| DeviceError::Damaged("the membership is missing".into()))?;
        let membership = Membership::load(crypto.clone(), &state)?;
        let key = SigningKey::from_seed(&identity.seed);
        let mut device = Self::bare(key, identity, membership, crypto);
        for (key, bytes) in rows {
            device.take_row(key, &bytes)?;
        }
        device.state_anew();
        Ok(Some(device))
    }

    fn take_row(&mut self, key: Key, bytes: &[u8]) -> Result<(), DecodeError> {
        match key {
            Key::Chain => self.chain = sync_types::decode(bytes)?,
            Key::Relay(relay) => self.take_record(relay, sync_types::decode(bytes)?),
            Key::Copy(epoch) => drop(self.copies.insert(epoch, sync_types::decode(bytes)?)),
            Key::Intents => self.intents = sync_types::decode(bytes)?,
            Key::Pending => self.pending = Some(sync_types::decode(bytes)?),
            Key::Before => self.before = Some(sync_types::decode(bytes)?),
            Key::Replacement => self.replacement = Some(sync_types::decode(bytes)?),
            Key::Wants => self.wants = sync_types::decode(bytes)?,
            Key::Listening => self.listening = sync_types::decode(bytes)?,
            Key::Agreed => self.agreed = sync_types::decode(bytes)?,
            Key::Moving => self.moving = sync_types::decode(bytes)?,
            Key::Statement(by) => self.statements.take_row(by, sync_types::decode(bytes)?),
            Key::Epoch(epoch) => drop(self.epochs.insert(epoch, sync_types::decode(bytes)?)),
            Key::Peer(device) => drop(self.peers.insert(device, sync_types::decode(bytes)?)),
            Key::Job(asker, number) => drop(self.jobs.insert((asker, number), sync_types::decode(bytes)?)),
            // The row of a newcomer lies beside the group that it is about to give up.
            Key::Identity | Key::Membership | Key::Joining => {}
        }
        Ok(())
    }

    fn row(&mut self, key: Key) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = match key {
            Key::Identity => encode(&self.identity),
            Key::Membership => return Some(self.membership.state().expect("a membership that was made can be stored")),
            Key::Before => encode(self.before.as_ref()?),
            Key::Replacement => encode(self.replacement.as_ref()?),
            Key::Chain => encode(&self.chain),
            Key::Relay(relay) => encode(self.record_of(relay)?),
            Key::Copy(epoch) => encode(self.copies.get(&epoch)?),
            Key::Intents => encode(&self.intents),
            Key::Pending => encode(self.pending.as_ref()?),
            Key::Wants => encode(&self.wants),
            Key::Listening => encode(&self.listening),
            Key::Agreed => encode(&self.agreed),
            Key::Moving => encode(&self.moving),
            Key::Statement(by) => encode(self.statements.of(by)?),
            Key::Epoch(epoch) => encode(self.epochs.get(&epoch)?),
            Key::Peer(device) => encode(self.peers.get(&device)?),
            Key::Job(asker, number) => encode(self.jobs.get(&(asker, number))?),
            Key::Joining => return None,
        };
        Some(Zeroizing::new(bytes))
    }

    /// What has to be durable before anything is sent or told.
    pub fn take_writes(&mut self) -> Vec<Write> {
        let mut writes = std::mem::take(&mut self.writes);
        if writes.is_empty() && self.dirty.is_empty() {
            return writes;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.append(&mut self.lazy);
        for key in dirty {
            writes.push(match self.row(key) {
                Some(bytes) => Write::Put(key, bytes),
                None => Write::Delete(key),
            });
        }
        writes
    }

    /// Frames for the relay that the device works through, in order, once the writes are durable.
    pub fn take_sends(&mut self) -> Vec<ToRelay> {
        self.state_acknowledgement();
        std::mem::take(&mut self.sends)
    }

    /// What [`Device::take_events`] will give, for whoever keeps a record in the same transaction.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What happened, once the writes are durable.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Blobs of this device without a seq were put into the store.
    pub fn handle_pushed(&mut self) {
        self.outbox_waits = true;
    }

    /// Whether this device is in its group still: it was not removed, and no copy of it has taken its place.
    pub fn check_in_group(&self) -> Result<(), DeviceError> {
        match self.identity.halted() {
            Some(Code::Cloned) => Err(DeviceError::Halted(Code::Cloned)),
            _ if self.is_removed() => Err(DeviceError::Removed),
            _ => Ok(()),
        }
    }

    fn check_may_change(&self) -> Result<(), DeviceError> {
        self.check_in_group()?;
        self.identity.halted().map_or(Ok(()), |code| Err(DeviceError::Halted(code)))
    }

    fn want_change(&mut self, intent: records::Intent) {
        if !self.intents.list.contains(&intent) {
            self.intents.list.push(intent);
            self.dirty.insert(Key::Intents);
        }
    }

    /// Stops sending: for good, or until this device has a new key. Changes that wait are given up by
    /// [`Device::make_change`], which follows every input.
    fn halt(&mut self, code: Code) {
        if self.identity.halted == 0 || (self.replaces_key().is_some() && code == Code::Cloned) {
            self.identity.halted = code as u16;
            self.dirty.insert(Key::Identity);
            self.events.push(Event::Halted { code });
        }
    }

    /// Takes up the present epoch: its key, and members that are new.
    fn begin_epoch(&mut self, now: u64) -> Result<(), MembershipError> {
        let epoch = self.membership.epoch();
        let authenticator = self.membership.authenticator()?;
        let mut secret = self.membership.take_exporter()?;
        if !stands(Defence::FreshEpochKey)
            && self.before.as_ref().is_some_and(|before| !before.removed.is_empty())
            && let Some((_, before)) = self.epochs.last_key_value()
        {
            *secret = before.secret;
        }
        let mut tag = [0; 8];
        tag.copy_from_slice(&authenticator[..8]);
        self.epochs.insert(epoch, EpochKey { secret: *secret, tag, ended_at: None, suite: self.suite() as u8 });
        self.dirty.insert(Key::Epoch(epoch));
        self.dirty.insert(Key::Membership);
        for member in self.membership.members() {
            if member.device != self.me {
                let (owes_from, alive_heard) = (self.chain.seq + 1, self.listening.ms);
                let fresh = || Peer { owes_from, alive_at: now, alive_heard, ..Peer::default() };
                let peer = self.peers.entry(member.device).or_insert_with(fresh);
                if peer.cut_is_open && !peer.may_be_verified() {
                    // Somebody spoke of it before it came, as of a former member.
                    *peer = fresh();
                    self.wants.list.retain(|want| want.span.sender != member.device);
                    self.dirty.insert(Key::Wants);
                }
                peer.member = true;
                peer.key = member.key;
                self.dirty.insert(Key::Peer(member.device));
            }
        }
        Ok(())
    }
}

impl<P: CryptoProvider + Clone> std::fmt::Debug for Device<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("id", &self.me)
            .field("group", &self.group)
            .field("epoch", &self.membership.epoch())
            .field("seq", &self.chain.seq)
            .finish_non_exhaustive()
    }
}
