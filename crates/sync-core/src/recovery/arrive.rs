//! Coming back by the kit: the relay shows the group's state, and this device makes the two commits that let it in and
//! put everybody else out.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::defence::stands;
use sync_rules::envelope::verify_head;
use sync_rules::{Defence, Inspected, ObserveError, Observer, SigningKey, attach};
use sync_types::body::Reached;
use sync_types::frame::{
    Commit, Cut, Recover, Recoverable, Recovery, SealedSnapshot, Signature, SnapshotSlot, ToRelay,
};
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, Opaque, VERSION, encode, limits};

use super::{KitCryptoError, KitSnapshot, RecoveryKit, SnapshotError, is_vouched_for};
use crate::device::Joining;
use crate::membership::{self, ApplyError, Change, MembershipError, PrepareError};

/// Why a kit leads nowhere. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// What the relay shows is no group's state.
    #[error("the relay shows no group's state: {0}")]
    State(#[from] ObserveError),
    /// What the relay shows is another kit's group.
    #[error("the relay shows the group of another recovery kit")]
    OtherKit,
    /// Nobody who holds the kit's MAC key vouches for what the relay shows.
    #[error("no device of the group vouches for what the relay shows")]
    Forged,
    /// The group belongs to another app.
    #[error("the group belongs to another app")]
    WrongApp,
    /// The group is full: it takes nobody more before somebody goes.
    #[error("a group of 128 devices takes no other one in")]
    Full,
    /// The relay shows snapshots out of their order, or more than a group may leave.
    #[error("the relay shows more snapshots than there can be")]
    Endless,
    /// The commits cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The commits cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The membership cannot be stored.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The cryptography lacks the group's suite.
    #[error(transparent)]
    Crypto(#[from] KitCryptoError),
}

impl RecoveryError {
    /// The code that a user sees.
    pub fn code(&self) -> Code {
        match self {
            Self::State(e) => e.code(),
            Self::OtherKit | Self::Forged => Code::KitForged,
            Self::Endless => Code::Protocol,
            Self::WrongApp => Code::WrongApp,
            Self::Full => Code::CommitRefused,
            Self::Prepare(e) => e.code(),
            Self::Apply(e) => e.code(),
            Self::Membership(e) => e.code(),
            Self::Crypto(_) => Code::Suite,
        }
    }
}

/// A new device with a kit, on its way into the kit's group.
pub struct Recovering<P> {
    crypto: P,
    kit: RecoveryKit,
    name: String,
    app_id: Vec<u8>,
    /// The relay that this device was told of, as the settings name relays.
    relay: String,
    skip: u8,
    shown: Option<Shown>,
}

/// A group that is the kit's, and what was left there for the kit.
struct Shown {
    answer: Recoverable,
    /// The last place that was shown.
    last: Option<SnapshotSlot>,
    count: usize,
    bytes: usize,
    snapshots: Vec<KitSnapshot>,
    left_out: Vec<SnapshotError>,
}

/// What came of the relay's answer.
pub enum Arrival<P> {
    /// This asks for what is needed next: for another group, where the members of the one that was shown vouch for nothing, or
    /// for a snapshot.
    Next(ToRelay),
    /// Make the newcomer durable, and only then send the frame. When the relay confirms it, the newcomer may attach.
    Made(Box<Joining<P>>, ToRelay),
}

impl<P: CryptoProvider + Clone> Recovering<P> {
    /// A device of this name and app, which looks for the kit's group at this relay.
    pub fn new(crypto: P, kit: RecoveryKit, name: &str, app_id: &str, relay: String) -> Self {
        Self { crypto, kit, name: name.to_owned(), app_id: app_id.as_bytes().to_vec(), relay, skip: 0, shown: None }
    }

    /// The frame that asks, over a connection with this TLS exporter value. A new try begins with it.
    pub fn ask(&self, exporter: &[u8; 32]) -> ToRelay {
        let key = self.kit.signing_key();
        let proof = Signature(attach::prove_recovery(&key, exporter));
        ToRelay::Recover(Recover { version: VERSION, key: key.public(), skip: self.skip, proof })
    }

    /// Takes the relay's answer. `now` is in milliseconds.
    ///
    /// # Errors
    /// [`RecoveryError`]. For [`RecoveryError::Forged`] of the last of [`limits::KIT_GROUPS`] groups only.
    pub fn handle(
        &mut self,
        answer: Recoverable,
        exporter: &[u8; 32],
        rng: &mut dyn CryptoRng,
    ) -> Result<Arrival<P>, RecoveryError> {
        self.shown = None;
        match self.check(&answer, SigningKey::generate(rng).device_id()) {
            Err(RecoveryError::Forged) if self.skip + 1 < limits::KIT_GROUPS => {
                self.skip += 1;
                return Ok(Arrival::Next(self.ask(exporter)));
            }
            checked => checked?,
        };
        let shown = Shown { answer, last: None, count: 0, bytes: 0, snapshots: Vec::new(), left_out: Vec::new() };
        self.shown = Some(shown);
        Ok(Arrival::Next(ToRelay::KitSnapshot(None)))
    }

    /// Takes a snapshot that was left for the kit, or that there is none more. What is not for this kit, or nobody vouches for,
    /// is left out. `now` is in milliseconds.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub fn handle_snapshot(
        &mut self,
        sealed: Option<SealedSnapshot>,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Arrival<P>, RecoveryError> {
        let key = SigningKey::generate(rng);
        let mut shown = self.shown.take().ok_or(RecoveryError::Endless)?;
        let state = self.check(&shown.answer, key.device_id())?;
        let Some(sealed) = sealed else {
            let (joining, recovery) = self.make(state, &shown, &key, now)?;
            self.shown = Some(shown);
            return Ok(Arrival::Made(Box::new(joining), ToRelay::Recovery(Box::new(recovery))));
        };
        shown.count += 1;
        shown.bytes += sealed.sealed.len();
        let ends = shown.count <= limits::KIT_SNAPSHOTS && shown.bytes <= limits::KIT_SNAPSHOTS_BYTES;
        if !(Some(sealed.slot) > shown.last && ends) && stands(Defence::SnapshotCount) {
            return Err(RecoveryError::Endless);
        }
        shown.last = Some(sealed.slot);
        let (suite, group) = (state.observed.suite, state.observed.group);
        match self.kit.open_snapshot(&self.crypto, suite, &group, &sealed) {
            Ok(snapshot) => shown.snapshots.push(snapshot),
            Err(error) => shown.left_out.push(error),
        }
        self.shown = Some(shown);
        Ok(Arrival::Next(ToRelay::KitSnapshot(Some(sealed.slot))))
    }

    /// The snapshots that come back with the group.
    pub fn snapshots(&self) -> &[KitSnapshot] {
        self.shown.as_ref().map_or(&[], |shown| &shown.snapshots)
    }

    /// Why others do not.
    pub fn left_out(&self) -> &[SnapshotError] {
        self.shown.as_ref().map_or(&[], |shown| &shown.left_out)
    }

    /// Whether the relay has no further group with this kit's key, and had one: then that one was no group of the kit's.
    pub fn was_shown_another(&self) -> bool {
        self.skip > 0
    }

    fn check(&self, answer: &Recoverable, me: DeviceId) -> Result<Inspected, RecoveryError> {
        let vouched = is_vouched_for(&self.kit.mac_key(), &answer.group_info, &answer.macs);
        if !vouched && stands(Defence::RecoveryState) {
            return Err(RecoveryError::Forged);
        }
        let state = Observer::new(self.crypto.clone()).inspect(&answer.group_info, me)?;
        let settings = &state.observed.settings;
        if settings.recovery() != Some(self.kit.signing_key().public()) {
            return Err(RecoveryError::OtherKit);
        }
        if settings.app_id != self.app_id {
            return Err(RecoveryError::WrongApp);
        }
        if state.observed.members.len() >= limits::MEMBERS {
            return Err(RecoveryError::Full);
        }
        Ok(state)
    }

    fn make(
        &self,
        state: Inspected,
        shown: &Shown,
        key: &SigningKey,
        now: u64,
    ) -> Result<(Joining<P>, Recovery), RecoveryError> {
        let group = state.observed.group;
        let members = state.observed.members.clone();
        let settings = self.settings(&state.observed.settings);
        let share = self.kit.share(&self.crypto, state.observed.suite, &group)?;
        let made = membership::recover(self.crypto.clone(), state, &self.kit.signing_key(), key)?;
        let join = frame(made.prepared);

        // Where the chains end that are cut off. A relay that shows too little of one refuses the cut, and shows more.
        let ends: Vec<Reached> = members
            .iter()
            .map(|(device, public)| {
                let held = shown
                    .answer
                    .heads
                    .iter()
                    .find(|head| verify_head(&group, head, public).is_some_and(|header| header.sender == *device));
                let (seq, hash) = held.map_or_else(Default::default, |head| (head.seq, head.hash));
                Reached { sender: *device, seq, hash }
            })
            .collect();
        let mut membership = made.membership;
        let remove = members.iter().map(|(device, _)| *device).collect();
        let change = Change::TakeOver { remove, settings };
        let prepared = membership.prepare(change, encode(&Cut { last: ends.clone(), lost: false }), None, now)?;
        let removal = frame(prepared);
        membership.apply(&removal.commit)?;
        let former = members.iter().zip(ends).map(|((_, public), end)| (*public, end)).collect();
        let snapshots = shown.snapshots.clone();
        let joining =
            Joining::recovered(self.crypto.clone(), key.clone(), &self.name, membership, share, former, snapshots)?;
        Ok((joining, Recovery { join, removal }))
    }

    /// The settings, if they have to name the relay that this device came by, and no other: another one knows nothing of these
    /// commits, and lets nobody in who could tell it.
    fn settings(&self, agreed: &Settings) -> Option<Settings> {
        let relays = vec![Opaque(self.relay.clone().into_bytes())];
        (agreed.relays != relays).then(|| Settings { relays, ..agreed.clone() })
    }
}

fn frame(prepared: membership::Prepared) -> Commit {
    let (commit, group_info) = (Opaque(prepared.commit), Opaque(prepared.group_info));
    Commit { commit, group_info, welcomes: Vec::new() }
}

impl<P> std::fmt::Debug for Recovering<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovering").field("skip", &self.skip).finish_non_exhaustive()
    }
}
