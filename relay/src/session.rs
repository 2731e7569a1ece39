//! One connection's side of a relay: which frame may come when, how often, and in which portions entries go out.
//!
//! The caller hands each frame to [`Session::handle_frame`] and carries out the actions in their order. It hands in the
//! next frame only when the ask before was *decided* by the mailbox; it need not wait until that is durable. Replies,
//! refusals and notices of a decision go out once it is durable, see [`crate::mailbox`].
//!
//! Entries are pulled: after anything that may have changed what there is to deliver, the caller asks
//! [`Session::wants_entries`], reads them from the store, hands them to [`Session::handle_entries`], writes the frames to
//! the stream, and then calls [`Session::handle_flushed`]. So a slow device holds one portion in memory, whatever its
//! backlog, and a backlog of any size goes out portion by portion.

use std::collections::VecDeque;
use std::ops::Range;

use sync_types::frame::{
    About, Acknowledge, Attach, Commit, Content, CopyCommits, Create, Entry, FromRelay, Head, JoinNameplate, KitUpload,
    OpenNameplate, OpenSlot, Recover, Recovery, SealedSnapshot, SnapshotSlot, ToRelay, Vouch,
};
use sync_types::{Code, DeviceId, GroupId, Opaque, VERSION, WakeTarget, limits};

use crate::mailbox::{Attachment, NewEntries, Proof, Refusal, View};
use crate::store::{Bytes, EntriesQuery, EntryRow};

mod bucket;

pub use bucket::{Bucket, Rates};

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the mailbox or the rendezvous.
    Ask(Ask),
    /// Send this frame.
    Reply(FromRelay),
    /// End the stream once everything before has been sent.
    Close,
}

/// A device's request, admitted by the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// [`crate::mailbox::GroupState::attach`]; answer with [`Session::handle_attached`].
    Attach(Attach, Proof),
    /// [`crate::mailbox::GroupState::create`] if the token is good, or
    /// [`crate::mailbox::GroupState::create_again`]; answer with [`Session::handle_attached`].
    Create(Create, Proof),
    /// Verify them as [`crate::mailbox::Verifying`] does, then [`crate::mailbox::GroupState::push`].
    Push(Vec<Opaque>),
    /// Verify it as [`crate::mailbox::Stated`] does, then [`crate::mailbox::GroupState::acknowledge`].
    Acknowledge(Acknowledge),
    /// [`crate::mailbox::GroupState::commit`].
    Commit(Commit),
    /// [`crate::mailbox::GroupState::copy_commits`].
    CopyCommits(CopyCommits),
    /// [`crate::mailbox::GroupState::reject`].
    Reject(Opaque),
    /// [`crate::mailbox::GroupState::presence`].
    Presence(Opaque),
    /// [`crate::mailbox::GroupState::welcome_stored`].
    WelcomeStored,
    /// [`crate::mailbox::GroupState::group_info`].
    GroupInfo(Option<DeviceId>),
    /// To have these ends of chains known.
    Heads(Vec<Head>),
    /// [`crate::mailbox::GroupState::vouch`].
    Vouch(Vouch),
    /// [`crate::mailbox::GroupState::keep_snapshot`].
    KeepSnapshot(Box<SealedSnapshot>),
    /// [`crate::mailbox::GroupState::set_wake`], for a target that the relay can reach.
    SetWake(Option<Box<WakeTarget>>),
    /// To have the key of the relay's Web Push messages.
    WakeKey,
    /// [`crate::store::Store::kit_snapshot`] of the group that was shown last, and of the kit that it was shown to.
    KitSnapshot(Option<SnapshotSlot>),
    /// [`crate::mailbox::check_kit`], then [`crate::mailbox::GroupState::recoverable`] of the group that has its key.
    Recover(Box<Recover>, Proof),
    /// [`crate::mailbox::GroupState::recover`] of that group.
    Recovery(Box<Recovery>),
    /// To have content handed over on the rest of the stream, for a member with this proof. Nothing else follows.
    Content(Content, Proof),
    /// [`crate::rendezvous::Rendezvous::open`].
    OpenSlot(OpenSlot),
    /// [`crate::rendezvous::Rendezvous::open_nameplate`].
    OpenNameplate(OpenNameplate),
    /// [`crate::rendezvous::Rendezvous::join_nameplate`].
    JoinNameplate(JoinNameplate),
    /// [`crate::rendezvous::Rendezvous::message`].
    SlotMessage(Opaque),
    /// [`crate::rendezvous::Rendezvous::close`].
    CloseSlot,
}

/// The largest frame before a device is attached: a founder's GroupInfo, or a pairing's message that is too large and told so.
const STRANGERS_FRAME_BYTES: usize = 2 * (limits::PAIRING_MESSAGE_BYTES + 1);

/// A connection's state.
#[derive(Clone, Debug)]
pub struct Session {
    exporter: [u8; 32],
    stage: Stage,
    frames: Bucket,
    bytes: Bucket,
    presence: Bucket,
    commits: Bucket,
    rejects: Bucket,
    /// While pushes wait for their rate, in milliseconds since the Unix epoch.
    pushes_wait: Range<u64>,
}

#[derive(Clone, Debug)]
enum Stage {
    New,
    Attaching(GroupId, DeviceId),
    Attached(Box<Pump>),
    /// With a recovery kit.
    Recovering,
    Slot,
    Closed,
}

/// What an attached device has been sent, and what it may be sent.
#[derive(Clone, Debug)]
struct Pump {
    group: GroupId,
    device: DeviceId,
    view: View,
    /// The newest cursor that is durable.
    newest: u64,
    /// Everything up to here has been handed out.
    sent: u64,
    /// Whether the last portion is not on the stream yet.
    unflushed: bool,
    /// Up to where the device has to come to be told that it caught up; `None` once it was told.
    catch_up_to: Option<u64>,
    /// Commits that are final, as (cursor, epoch), and not delivered yet.
    confirmed: VecDeque<(u64, u64)>,
}

impl Session {
    /// A session on a connection with this TLS exporter value.
    pub fn new(exporter: [u8; 32], rates: &Rates) -> Self {
        Self {
            exporter,
            stage: Stage::New,
            frames: Bucket::new(rates.frames_per_second, rates.frames_burst),
            bytes: Bucket::new(rates.bytes_per_second, rates.bytes_burst),
            presence: Bucket::new(rates.presence_per_second, rates.presence_burst),
            commits: Bucket::new(rates.changes_per_second, rates.changes_burst),
            rejects: Bucket::new(rates.changes_per_second, rates.changes_burst),
            pushes_wait: 0..0,
        }
    }

    /// The group and device, once attached.
    pub fn attached_as(&self) -> Option<(GroupId, DeviceId)> {
        match &self.stage {
            Stage::Attached(pump) => Some((pump.group, pump.device)),
            _ => None,
        }
    }

    /// How many bytes the next frame may have, without its length. Whoever is no member, or not yet, holds little memory.
    pub fn frame_bytes(&self) -> usize {
        match self.stage {
            Stage::Attached(_) | Stage::Recovering => limits::FRAME_BYTES,
            _ => STRANGERS_FRAME_BYTES,
        }
    }

    /// Takes a frame of `size` bytes on the stream.
    pub fn handle_frame(&mut self, frame: ToRelay, size: usize, now_ms: u64) -> Vec<Action> {
        if matches!(self.stage, Stage::Closed) {
            return Vec::new();
        }
        if let Err(refusal) = self.check_rates(&frame, size, now_ms) {
            // A session that is over anyway is not kept open for the retry.
            let first = matches!(self.stage, Stage::New);
            return if first { self.close(&refusal) } else { vec![Action::Reply(refusal.frame())] };
        }
        match (&self.stage, frame) {
            (Stage::New, ToRelay::Attach(request)) => self.begin(request, Ask::Attach),
            (Stage::New, ToRelay::Create(create)) => {
                let request = create.attach.clone();
                self.begin(request, |_, proof| Ask::Create(create, proof))
            }
            (Stage::New, ToRelay::Content(request)) => {
                let actions = self.begin(request.attach.clone(), |_, proof| Ask::Content(request, proof));
                // No other frame follows.
                self.stage = Stage::Closed;
                actions
            }
            (Stage::New | Stage::Recovering, ToRelay::Recover(request)) => self.recover(request),
            (Stage::Recovering, ToRelay::Recovery(request)) => vec![Action::Ask(Ask::Recovery(request))],
            (Stage::New, ToRelay::OpenSlot(request)) => {
                self.stage = Stage::Slot;
                vec![Action::Ask(Ask::OpenSlot(request))]
            }
            (Stage::New, ToRelay::OpenNameplate(request)) => {
                self.stage = Stage::Slot;
                vec![Action::Ask(Ask::OpenNameplate(request))]
            }
            (Stage::New, ToRelay::JoinNameplate(request)) => {
                self.stage = Stage::Slot;
                vec![Action::Ask(Ask::JoinNameplate(request))]
            }
            (Stage::Slot, ToRelay::SlotMessage(message)) => vec![Action::Ask(Ask::SlotMessage(message))],
            (Stage::Slot, ToRelay::CloseSlot) => {
                self.stage = Stage::Closed;
                vec![Action::Ask(Ask::CloseSlot), Action::Close]
            }
            (Stage::Attached(_), ToRelay::Push(envelopes)) => vec![Action::Ask(Ask::Push(envelopes))],
            (Stage::Attached(_), ToRelay::Acknowledge(request)) => vec![Action::Ask(Ask::Acknowledge(request))],
            (Stage::Attached(_), ToRelay::Commit(request)) => vec![Action::Ask(Ask::Commit(request))],
            (Stage::Attached(_), ToRelay::CopyCommits(request)) => vec![Action::Ask(Ask::CopyCommits(request))],
            (Stage::Attached(_), ToRelay::Reject(bytes)) => vec![Action::Ask(Ask::Reject(bytes))],
            (Stage::Attached(_), ToRelay::Presence(envelope)) => vec![Action::Ask(Ask::Presence(envelope))],
            (Stage::Attached(_), ToRelay::WelcomeStored) => vec![Action::Ask(Ask::WelcomeStored)],
            (Stage::Attached(_), ToRelay::GroupInfo(signer)) => vec![Action::Ask(Ask::GroupInfo(signer))],
            (Stage::Attached(_), ToRelay::Kit(KitUpload::Vouch(vouch))) => vec![Action::Ask(Ask::Vouch(vouch))],
            (Stage::Attached(_), ToRelay::Kit(KitUpload::Snapshot(snapshot))) => {
                vec![Action::Ask(Ask::KeepSnapshot(Box::new(snapshot)))]
            }
            (Stage::Attached(_), ToRelay::SetWake(target)) => vec![Action::Ask(Ask::SetWake(target.map(Box::new)))],
            (Stage::Attached(_), ToRelay::WakeKey) => vec![Action::Ask(Ask::WakeKey)],
            (Stage::Recovering, ToRelay::KitSnapshot(after)) => vec![Action::Ask(Ask::KitSnapshot(after))],
            (Stage::Attached(_), ToRelay::Heads(heads)) => vec![Action::Ask(Ask::Heads(heads))],
            (_, _) => self.close(&refuse(Code::Protocol, "this frame is not allowed here")),
        }
    }

    /// Something that arrived is no frame, or larger than one may be.
    pub fn handle_garbage(&mut self, message: String) -> Vec<Action> {
        self.close(&Refusal::new(About::Session, Code::Protocol, message))
    }

    /// The mailbox attached the device. To be called once all decisions before are durable, so that what stands in
    /// [`Attachment`] is; from then on notices may follow. `welcome` holds the Welcome's bytes if
    /// [`Attachment::welcome_waits`]. The frames go out in their order.
    pub fn handle_attached(&mut self, attachment: Attachment, welcome: Option<Bytes>) -> Vec<FromRelay> {
        let Stage::Attaching(group, device) = self.stage else { return Vec::new() };
        let newest = attachment.attached.newest;
        let mut frames = vec![FromRelay::Attached(attachment.attached)];
        frames.extend(attachment.lapsed.map(FromRelay::Lapsed));
        frames.extend(welcome.map(|bytes| FromRelay::Welcome(Opaque(bytes.to_vec()))));
        frames.extend(attachment.receipts.into_iter().map(|bytes| FromRelay::Receipt(Opaque(bytes.to_vec()))));
        let mut pump = Box::new(Pump {
            group,
            device,
            view: attachment.view,
            newest,
            sent: attachment.view.after,
            unflushed: false,
            catch_up_to: Some(newest),
            confirmed: VecDeque::new(),
        });
        pump.report(&mut frames);
        self.stage = Stage::Attached(pump);
        frames
    }

    /// The mailbox or the rendezvous refused. Ends the session if the refusal is about it, or if nothing can follow.
    pub fn handle_refused(&mut self, refusal: &Refusal) -> Vec<Action> {
        match refusal.about {
            About::Session | About::Slot => self.close(refusal),
            _ => vec![Action::Reply(refusal.frame())],
        }
    }

    /// New entries are durable. Envelopes of the device itself are not looked up for it.
    pub fn handle_newest(&mut self, new: NewEntries) -> Vec<FromRelay> {
        let mut frames = Vec::new();
        if let Stage::Attached(pump) = &mut self.stage {
            pump.newest = pump.newest.max(new.newest);
            let own = new.of == Some(pump.device) && (new.after..new.newest).contains(&pump.sent);
            if own && new.newest <= pump.view.until {
                pump.sent = new.newest;
                pump.report(&mut frames);
            }
        }
        frames
    }

    /// What the device may be shown has changed; `None` when it is in the group no more. Called as
    /// [`crate::mailbox::Notice::ViewsChanged`] says; a newcomer is sent its Welcome before.
    pub fn handle_view(&mut self, view: Option<View>) -> Vec<Action> {
        let Stage::Attached(pump) = &mut self.stage else { return Vec::new() };
        let Some(view) = view else {
            return self.close(&refuse(Code::NotMember, "the device is not in the group any more"));
        };
        pump.view = view;
        let mut frames = Vec::new();
        pump.report(&mut frames);
        frames.into_iter().map(Action::Reply).collect()
    }

    /// A commit is final. The device is told when it has been sent that commit.
    pub fn handle_confirmed(&mut self, epoch: u64, cursor: u64) -> Vec<FromRelay> {
        let mut frames = Vec::new();
        if let Stage::Attached(pump) = &mut self.stage {
            pump.confirmed.push_back((cursor, epoch));
            pump.report(&mut frames);
        }
        frames
    }

    /// Which entries to read next; `None` while there is nothing to deliver or the last portion is still on its way out.
    pub fn wants_entries(&self) -> Option<EntriesQuery> {
        let Stage::Attached(pump) = &self.stage else { return None };
        let until = pump.newest.min(pump.view.until);
        (!pump.unflushed && pump.sent < until).then_some(EntriesQuery {
            group: pump.group,
            after: pump.sent,
            until,
            max_bytes: limits::DELIVER_BYTES,
            reader: pump.device,
            commits_only: pump.view.commits_only,
        })
    }

    /// The answer to [`Session::wants_entries`]. The frames go out in their order; then call [`Session::handle_flushed`].
    pub fn handle_entries(&mut self, query: &EntriesQuery, rows: Vec<EntryRow>) -> Vec<FromRelay> {
        let Stage::Attached(pump) = &mut self.stage else { return Vec::new() };
        if query.after != pump.sent || pump.unflushed {
            return Vec::new();
        }
        // Nothing in this stretch is for the device, or it was deleted: that counts as handed out.
        pump.sent = rows.last().map_or(query.until, |row| row.cursor);
        let mut frames = Vec::new();
        if !rows.is_empty() {
            pump.unflushed = true;
            let entry = |row: EntryRow| Entry { cursor: row.cursor, kind: row.kind, bytes: Opaque(row.bytes.to_vec()) };
            frames.push(FromRelay::Deliver(rows.into_iter().map(entry).collect()));
        }
        pump.report(&mut frames);
        frames
    }

    /// The frames of the last portion are on the stream.
    pub fn handle_flushed(&mut self) {
        if let Stage::Attached(pump) = &mut self.stage {
            pump.unflushed = false;
        }
    }

    fn begin(&mut self, request: Attach, ask: impl FnOnce(Attach, Proof) -> Ask) -> Vec<Action> {
        if request.version != VERSION {
            return self.close(&refuse(Code::Version, "this relay speaks protocol version 1"));
        }
        self.stage = Stage::Attaching(request.group, request.device);
        let proof = Proof { exporter: self.exporter, signature: request.proof.0 };
        vec![Action::Ask(ask(request, proof))]
    }

    fn recover(&mut self, request: Recover) -> Vec<Action> {
        if request.version != VERSION {
            return self.close(&refuse(Code::Version, "this relay speaks protocol version 1"));
        }
        if request.skip >= limits::KIT_GROUPS {
            return self.close(&refuse(Code::Protocol, "more groups are passed over than are looked at"));
        }
        self.stage = Stage::Recovering;
        let proof = Proof { exporter: self.exporter, signature: request.proof.0 };
        vec![Action::Ask(Ask::Recover(Box::new(request), proof))]
    }

    fn check_rates(&mut self, frame: &ToRelay, size: usize, now_ms: u64) -> Result<(), Refusal> {
        let about = match frame {
            ToRelay::Attach(_) | ToRelay::Create(_) | ToRelay::Recover(_) | ToRelay::Content(_) => About::Session,
            ToRelay::Push(_) => About::Push,
            ToRelay::Acknowledge(_)
            | ToRelay::Reject(_)
            | ToRelay::WelcomeStored
            | ToRelay::Kit(KitUpload::Vouch(_)) => About::Acknowledge,
            ToRelay::Kit(KitUpload::Snapshot(_)) | ToRelay::KitSnapshot(_) => About::Kit,
            ToRelay::Commit(_) | ToRelay::CopyCommits(_) | ToRelay::Recovery(_) => About::Commit,
            ToRelay::Presence(_) => About::Presence,
            ToRelay::GroupInfo(_) => About::GroupInfo,
            ToRelay::Heads(_) => About::Push,
            ToRelay::SetWake(_) | ToRelay::WakeKey => About::Wake,
            ToRelay::OpenSlot(_)
            | ToRelay::OpenNameplate(_)
            | ToRelay::JoinNameplate(_)
            | ToRelay::SlotMessage(_)
            | ToRelay::CloseSlot => About::Slot,
        };
        let limited = |wait| Refusal::new(about, Code::RateLimited, "too much in too short a time").retry_after(wait);
        let own = match frame {
            ToRelay::Presence(_) => Some(&mut self.presence),
            // A GroupInfo is as large as a commit, and asked for to make one.
            ToRelay::Commit(_)
            | ToRelay::CopyCommits(_)
            | ToRelay::Create(_)
            | ToRelay::GroupInfo(_)
            | ToRelay::Heads(_)
            | ToRelay::Recover(_)
            | ToRelay::Recovery(_) => Some(&mut self.commits),
            // Apart, so that who has made many commits can still reject another's.
            ToRelay::Reject(_) => Some(&mut self.rejects),
            _ => None,
        };
        if let Some(own) = own {
            own.take(1, now_ms).map_err(limited)?;
        }
        // What follows a push that was refused would only break its sender's chain, even if there is room for it.
        if about == About::Push && self.pushes_wait.contains(&now_ms) {
            return Err(limited(self.pushes_wait.end - now_ms));
        }
        let cost = match frame {
            ToRelay::Acknowledge(request) => size + written(request.statement.len()),
            _ => size,
        };
        let taken = self.frames.take(1, now_ms).and_then(|()| self.bytes.take(cost as u64, now_ms));
        taken.map_err(|wait| {
            if about == About::Push {
                self.pushes_wait = now_ms..now_ms.saturating_add(wait);
            }
            limited(wait)
        })
    }

    fn close(&mut self, refusal: &Refusal) -> Vec<Action> {
        if matches!(self.stage, Stage::Closed) {
            return Vec::new();
        }
        self.stage = Stage::Closed;
        vec![Action::Reply(refusal.frame()), Action::Close]
    }
}

/// How many bytes a statement of this length makes the relay write at most: itself, for each sender that it may name.
fn written(statement: usize) -> usize {
    let reached = 16 + 8 + 32;
    statement * (statement / reached).min(limits::MEMBERS)
}

impl Pump {
    /// Says what the device may know by now: that commits which it was sent are final, and that it caught up.
    fn report(&mut self, frames: &mut Vec<FromRelay>) {
        while let Some((_, epoch)) = self.confirmed.pop_front_if(|(cursor, _)| *cursor <= self.sent) {
            frames.push(FromRelay::Confirmed(epoch));
        }
        // A newcomer whose Welcome waits for the commit to become final is shown nothing yet.
        let Some(target) = self.catch_up_to.filter(|_| self.view.until > 0) else { return };
        let target = target.min(self.view.until);
        if self.sent >= target {
            self.catch_up_to = None;
            frames.push(FromRelay::CaughtUp(target));
        }
    }
}

fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Session, code, message)
}
