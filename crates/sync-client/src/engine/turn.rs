//! One turn: inputs, one transaction, and what follows from it.

mod undo;

use std::collections::VecDeque;

use futures_util::future::join;
use sync_core::store::{IdConflict, Key, Read, Write};
use sync_core::vault::backup::Entry;
use sync_core::{Device, RelayId};
use sync_sqlite::crash::point;
use sync_types::frame::FromRelay;
use sync_types::{BlobId, Code, DeviceId, GroupId, RelayAddress, Sealed, limits};
use tokio::time::Instant;

use super::connection::Net;
use super::files::FilePush;
use super::group::{HOSTED_UNTIL, not_in_group};
use super::lifecycle::asleep;
use super::push::{Push, Snapshot};
use super::setup;
use super::{Command, Engine, Input, Newcomer, Reply, alerts};
use crate::clock::SystemRng;
use crate::store::FileNote;
use crate::{Alert, ClientEvent, SyncError, crash};

/// When a newcomer asks again whether it has been added, in milliseconds.
const NOT_ADDED_YET_MS: u64 = 200;

/// How many entries of a frame are opened at once.
const PART: usize = 1_024;

/// Something to do once the turn is durable, or has failed.
type After = Box<dyn FnOnce(Result<(), &SyncError>) + Send>;

/// A step of taking in a backup.
pub(super) enum FromBackup {
    Stage(Vec<Entry>),
    Drop,
    Take(Vec<(BlobId, Sealed)>, Reply<u64>),
}

/// What a turn has to write besides what the core says.
#[derive(Default)]
pub(super) struct Work {
    writes: Vec<Write>,
    /// What came from the relay for the device, and was not handled yet: most of it is while the writes are applied.
    frames: VecDeque<(RelayId, FromRelay)>,
    pub(super) pushes: Vec<Push>,
    /// What is known of files.
    pub(super) files: Vec<FileNote>,
    /// Files that are put.
    pub(super) puts: Vec<FilePush>,
    pub(super) advances: Vec<(String, Option<String>, u64)>,
    pub(super) snapshots: Vec<Snapshot>,
    /// What is done with blobs of a backup, in its order.
    backup: Vec<FromBackup>,
    /// Settings that go along with an import.
    pub(super) settings: Vec<(&'static str, String)>,
    /// Notes of this installation that change with what the turn does.
    pub(super) meta: Vec<(&'static str, String)>,
    /// Relay and name before an import changed them.
    pub(super) before_import: Option<(RelayAddress, String)>,
    /// Up to which number alerts were seen.
    seen: Option<u64>,
    /// What the turn has put among the alerts.
    alerts: Vec<Alert>,
    /// Whether the group and the log go. Then nothing else that was asked in this turn happens.
    pub(super) forget: bool,
    /// What this device was in the group, once that is done.
    forgotten: Option<(GroupId, DeviceId)>,
    /// Who waits for that.
    pub(super) left: Vec<Reply<()>>,
    after: Vec<After>,
    /// Newcomers that this turn began to add.
    adding: Vec<DeviceId>,
    /// A connection to make once the turn is durable.
    renew: bool,
}

impl Work {
    pub(super) fn of(writes: Vec<Write>) -> Self {
        Self { writes, ..Self::default() }
    }

    /// Whether there is nothing to write but what the core says.
    fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.pushes.is_empty()
            && self.files.is_empty()
            && self.puts.is_empty()
            && self.advances.is_empty()
            && self.snapshots.is_empty()
            && self.backup.is_empty()
            && self.seen.is_none()
            && self.meta.is_empty()
            && !self.forget
    }

    /// Lets a frame wait for the device. A full one in parts, as if the relay had sent smaller ones: what is stored beside the
    /// opening of a part is about as long in coming.
    fn queue(&mut self, relay: RelayId, frame: FromRelay) {
        let FromRelay::Deliver(mut entries) = frame else { return self.frames.push_back((relay, frame)) };
        while entries.len() > PART {
            let rest = entries.split_off(PART);
            self.frames.push_back((relay, FromRelay::Deliver(std::mem::replace(&mut entries, rest))));
        }
        self.frames.push_back((relay, FromRelay::Deliver(entries)));
    }

    /// Answers once the turn is durable.
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        self.after.push(Box::new(move |done| drop(reply.send(done.map(|()| value).map_err(Clone::clone)))));
    }
}

impl Engine {
    pub(super) async fn turn(&mut self, batch: Vec<Input>) {
        let now = self.start.now_ms();
        self.mend().await;
        let mut work = Work::default();
        self.wipe_if_lost(&mut work);
        for input in batch {
            match input {
                Input::Command(command) => {
                    // What a consumer has seen was there before. All else may ask about what the frames change.
                    if !matches!(command, Command::Advance { .. }) {
                        self.handle_frames(usize::MAX, &mut work, now);
                    }
                    match &self.broken {
                        Some(broken) if !matches!(command, Command::Close { .. }) => {
                            command.refuse(broken.error.clone());
                        }
                        _ => self.command(command, &mut work, now).await,
                    }
                }
                Input::Net(generation, net) => {
                    if !matches!(net, Net::Frame(_)) {
                        self.handle_frames(usize::MAX, &mut work, now);
                    }
                    if let Some((relay, frame)) = self.handle_net(generation, net) {
                        self.frame(relay, frame, &mut work, now);
                    }
                }
                Input::Time => {}
            }
        }
        self.timeouts(&mut work, now);
        self.host_mailbox(now).await;
        match self.transact(&mut work, now).await {
            Ok(conflicts) => {
                if work.forgotten.is_some() {
                    self.start.depot.wipe().await;
                    self.scrub().await;
                }
                self.done(work, conflicts);
            }
            Err(error) => self.undo(work, error).await,
        }
        self.go_on_making_kit();
        self.publish();
    }

    /// A group is gone: so is what the file still held of it. If that fails now, the next start tries again.
    async fn scrub(&mut self) {
        if let Err(error) = self.store.scrub().await {
            tracing::warn!(code = %error.code, "deleted data is still in the database's file: {}", error.message);
        }
    }

    async fn command(&mut self, command: Command, work: &mut Work, now: u64) {
        match command {
            // What is pushed now would go with all else.
            Command::Push { reply, .. } if self.leaving.is_some() => drop(reply.send(Err(leaving()))),
            Command::Meet { reply } if self.leaving.is_some() => drop(reply.send(Err(leaving()))),
            Command::Meet { reply } | Command::MayJoin { reply } if self.is_asleep() => drop(reply.send(Err(asleep()))),
            Command::Push { channel, blobs, generation, reply } => match self.may_push(generation, now).await {
                Ok(()) => work.pushes.push(Push::new(channel, blobs, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Advance { consumer, channel, position, reply } => {
                work.advances.push((consumer, channel, position));
                work.answer(reply, ());
            }
            Command::AlertsSeen { up_to, reply } => {
                work.seen = work.seen.max(Some(up_to));
                work.answer(reply, ());
            }
            Command::Names { devices, reply } => {
                let name = |id| Some((id, self.device.as_ref()?.name_of(id)?));
                let _ = reply.send(Ok(devices.into_iter().filter_map(name).collect()));
            }
            command @ (Command::PutFile { .. }
            | Command::NoteFiles { .. }
            | Command::Carried { .. }
            | Command::ContentRelays { .. }
            | Command::IsMemberAt { .. }
            | Command::AttachForContent { .. }) => self.file_command(command, work, now).await,
            Command::Snapshot { channel, data, up_to, generation, reply } => match self.may_push(generation, now).await
            {
                Ok(()) => work.snapshots.push(Snapshot { channel, data, up_to, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::BackupSettings { reply } => drop(reply.send(Ok(self.backup_settings()))),
            Command::MayImport { reply } => drop(reply.send(self.may_import())),
            Command::Stage { entries, reply } => {
                work.backup.push(FromBackup::Stage(entries));
                work.answer(reply, ());
            }
            Command::DropStaged { reply } => {
                work.backup.push(FromBackup::Drop);
                work.answer(reply, ());
            }
            Command::Import { restored, reply } => match self.begin_import(&restored, work, now).await {
                Ok(()) => work.backup.push(FromBackup::Take(restored.large, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Found { reply } => match self.ensure_device(now).await {
                Ok(()) => {
                    let ids = self.device.as_ref().map(|d| (d.group(), d.id()));
                    match ids {
                        Some(ids) => work.answer(reply, ids),
                        None => drop(reply.send(Err(not_in_group()))),
                    }
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Remove { device: id, lost, reply } => {
                self.on_device(work, reply, |device| match lost {
                    true => device.remove_lost(id, now, &mut SystemRng),
                    false => device.remove(id, now, &mut SystemRng),
                });
            }
            Command::SetRelays { relays, reply } => {
                if let Err(error) = self.keep_tokens(&relays).await {
                    return drop(reply.send(Err(error)));
                }
                self.on_device(work, reply, |device| device.set_relays(&relays, now, &mut SystemRng));
            }
            Command::GiveUpFirstRelay { reply } => {
                self.on_device(work, reply, |device| device.give_up_first_relay(now, &mut SystemRng));
            }
            Command::MoveToSuite { suite, reply } => {
                self.on_device(work, reply, |device| device.move_to_suite(suite, now, &mut SystemRng));
            }
            Command::Presence { channel, data, reply } => {
                self.on_device(work, reply, |device| device.set_presence(&channel, &data, &mut SystemRng));
            }
            Command::Status { reply } => drop(reply.send(Ok(self.status()))),
            Command::ConnectNow { reply } => {
                let known = self.device.is_some() || self.newcomer.is_some();
                self.nudge();
                let _ = reply.send(if known { Ok(()) } else { Err(not_in_group()) });
            }
            Command::Meet { reply } => match self.meeting_place(now).await {
                Ok(place) => work.answer(reply, place),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::MayJoin { reply } => drop(reply.send(self.may_join().map(|()| self.newcomers_place()))),
            Command::Offer { reply } => {
                let offer = self.sponsor().map(|device| device.offer(now));
                let _ = reply.send(offer.map(|offer| (offer, self.offering.clone())));
            }
            // The offer is held until the addition is noted: then that keeps this device in its group.
            Command::Add { key_package, name, sponsor, offering: _offering, reply } => {
                let device = match self.sponsor() {
                    Ok(device) => device,
                    Err(error) => return drop(reply.send(Err(error))),
                };
                if device.id() != sponsor {
                    // The newcomer would take no Welcome of the new one.
                    let message = "this device has taken a new key since it made the invite";
                    return drop(reply.send(Err(SyncError::new(Code::PairingExpired, message))));
                }
                match device.add(key_package, &name, now, &mut SystemRng) {
                    Ok(id) => {
                        self.adding.insert(id, reply);
                        work.adding.push(id);
                    }
                    Err(error) => drop(reply.send(Err(setup::failed(error)))),
                }
            }
            Command::Join { joining, stored, joined } => {
                // Since it was asked for, this device may have got another device into its group, or begun to.
                if let Err(error) = self.is_another_group(joining.group()).and_then(|()| self.may_join()) {
                    return drop(stored.send(Err(error)));
                }
                work.writes.push(Write::Put(Key::Joining, joining.to_bytes()));
                work.answer(stored, ());
                work.renew = true;
                self.newcomer =
                    Some(Newcomer { joining: *joining, deadline: Newcomer::deadline(), reply: Some(joined) });
            }
            Command::MakeKit { reply } => self.make_kit(reply, work, now).await,
            Command::GiveUpJoining { reply } => {
                self.give_up_joining(SyncError::new(Code::PairingRefused, "joining was given up on this device"), work);
                work.answer(reply, ());
            }
            Command::Leave { reply } => self.leave(reply, work),
            Command::Foreground { reply } => self.come_to_foreground(reply).await,
            Command::Background { reply } => self.go_to_background(reply),
            Command::Wake { limit, reply } => self.wake(limit, reply),
            Command::SetWakeTarget { target, reply } => drop(reply.send(self.set_wake_target(target).await)),
            Command::WakeKey { reply } => self.ask_wake_key(reply),
            Command::Close { reply } => self.begin_closing(Some(reply)),
        }
    }

    /// Does something with the device; the caller hears of it once the turn is durable.
    fn on_device(
        &mut self,
        work: &mut Work,
        reply: Reply<()>,
        call: impl FnOnce(&mut Device<super::Crypto>) -> Result<(), sync_core::DeviceError>,
    ) {
        let result = match &mut self.device {
            Some(device) => call(device).map_err(setup::failed),
            None => Err(not_in_group()),
        };
        match result {
            Ok(()) => work.answer(reply, ()),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Handles the first of the frames that wait for it, so many at the most.
    fn handle_frames(&mut self, most: usize, work: &mut Work, now: u64) {
        let frames = work.frames.drain(..most.min(work.frames.len()));
        if let Some(device) = &mut self.device {
            frames.for_each(|(relay, frame)| device.handle_frame_at(relay, frame, now, &mut SystemRng));
        }
    }

    fn frame(&mut self, relay: RelayId, frame: FromRelay, work: &mut Work, now: u64) {
        if !self.is_newcomers(relay) {
            if self.take_wake_answer(relay, &frame, work) {
                return;
            }
            if matches!(frame, FromRelay::Attached(_)) {
                self.attached_for_waking(relay);
            }
            if self.device.is_some() {
                work.queue(relay, frame);
            }
            return;
        }
        let Some(newcomer) = &mut self.newcomer else { return };
        match newcomer.joining.handle_frame(&frame, now, &mut SystemRng) {
            Ok(None) => {}
            Ok(Some(device)) => {
                let ids = (device.group(), device.id());
                if let Some(reply) = newcomer.reply.take() {
                    work.answer(reply, ids);
                }
                self.newcomer = None;
                self.device = Some(device);
                work.renew = true;
            }
            // The sponsor's commit is still on its way.
            Err(error) if matches!(error.code(), Code::NotMember | Code::UnknownGroup | Code::Provisional) => {
                let waiting = SyncError::new(error.code(), "the other device has not added this one yet");
                self.lost(relay, SyncError { retry_after_ms: Some(NOT_ADDED_YET_MS), ..waiting });
            }
            Err(error) if matches!(error, sync_core::DeviceError::Refused(_)) => self.lost(relay, setup::failed(error)),
            Err(error) => self.give_up_joining(setup::failed(error), work),
        }
    }

    pub(super) fn give_up_joining(&mut self, error: SyncError, work: &mut Work) {
        let Some(newcomer) = self.newcomer.take() else { return };
        work.writes.push(Write::Delete(Key::Joining));
        work.renew = true;
        if let Some(reply) = newcomer.reply {
            work.after.push(Box::new(move |_| drop(reply.send(Err(error)))));
        }
    }

    fn timeouts(&mut self, work: &mut Work, now: u64) {
        self.end_patience();
        // There is nothing yet beside which the first one could be handled.
        self.handle_frames(1, work, now);
        let is_due = |device: &Device<_>| device.is_due(now);
        if self.leaving.is_some() || self.device.as_ref().is_some_and(is_due) {
            // What came in time counts as that.
            self.handle_frames(usize::MAX, work, now);
        }
        if let Some(device) = self.device.as_mut().filter(|device| is_due(device)) {
            device.handle_timeout(now, &mut SystemRng);
        }
        if self.newcomer.as_ref().is_some_and(|n| n.deadline <= Instant::now()) {
            self.give_up_joining(SyncError::new(Code::Timeout, "the other device did not add this one"), work);
        }
        self.go_on_leaving(work, now);
    }

    /// Writes everything in one transaction.
    pub(super) async fn transact(&mut self, work: &mut Work, now: u64) -> Result<Vec<IdConflict>, SyncError> {
        let Self { store, device, pack_blobs, events, kit_snapshots, hosting, .. } = self;
        if let Some(device) = device {
            device.leave_snapshots(*kit_snapshots);
        }
        let mut writes = device.as_mut().map(Device::take_writes).unwrap_or_default();
        if let Some(device) = device {
            // Most turns of a device that only pushes have nothing to write for what came.
            while work.is_empty()
                && writes.is_empty()
                && let Some((relay, frame)) = work.frames.pop_front()
            {
                device.handle_frame_at(relay, frame, now, &mut SystemRng);
                writes = device.take_writes();
            }
        }
        let idle = |d: &mut Device<_>| d.next_read(now).is_none() && !alerts::any(d);
        if work.is_empty() && writes.is_empty() && device.as_mut().is_none_or(idle) {
            return Ok(vec![]);
        }
        let mut turn = store.begin().await;
        turn.of_group(device.as_ref().map(Device::group));
        if work.forget {
            turn.forget_all();
            let lost = device.as_ref().is_some_and(Device::is_lost);
            work.alerts.extend(turn.alert(alerts::farewell(lost, now)).await?);
            work.forgotten = device.take().map(|device| (device.group(), device.id()));
            work.renew = true;
            return turn.commit().await;
        }
        // What is asked from here goes before what the core said: it may be about to clear the group.
        turn.apply(std::mem::take(&mut work.writes)).await?;
        if let Some(device) = device {
            for (relay, frame) in std::mem::take(&mut work.frames) {
                // SQLite has a thread of its own: it stores what one frame brought while the next one is opened here.
                let open = async {
                    device.handle_frame_at(relay, frame, now, &mut SystemRng);
                    device.take_writes()
                };
                let (applied, opened) = join(turn.apply(writes), open).await;
                applied?;
                writes = opened;
            }
        }
        turn.apply(writes).await?;
        for (consumer, channel, position) in &work.advances {
            turn.advance(consumer, channel.as_deref(), *position).await?;
        }
        turn.note_files(std::mem::take(&mut work.files)).await?;
        for step in std::mem::take(&mut work.backup) {
            match (step, &mut *device) {
                (FromBackup::Stage(entries), _) => turn.stage(entries).await?,
                (FromBackup::Drop, _) | (FromBackup::Take(..), None) => turn.drop_staged(),
                (FromBackup::Take(large, reply), Some(device)) => {
                    for (name, value) in std::mem::take(&mut work.settings) {
                        turn.set_meta(name, &value);
                    }
                    let taken = turn.take_staged(device.id(), &large).await?;
                    device.handle_pushed();
                    work.answer(reply, taken);
                }
            }
        }
        if let Some(up_to) = work.seen {
            turn.alerts_seen(up_to);
        }
        if let Some(device) = device {
            work.snapshots_into(&mut turn, device).await?;
            if !work.pushes.is_empty() {
                work.push_into(&mut turn, device.id());
                device.handle_pushed();
            }
            work.put_into(&mut turn, device).await?;
            while let Some(mut read) = device.next_read(now) {
                turn.apply(device.take_writes()).await?;
                if let Read::Outbox { max_blobs, .. } | Read::History { max_blobs, .. } = &mut read {
                    *max_blobs = (*max_blobs).min(*pack_blobs);
                }
                let for_others = matches!(read, Read::History { .. });
                if for_others {
                    // So that a failure below is the reading's own, and not that of a write which waited for it.
                    turn.flush().await?;
                }
                let answer = match turn.read(read).await {
                    // What others ask for keeps nobody from pushing and reading here.
                    Err(error) if for_others && turn.stands().await => {
                        tracing::warn!(code = %error.code, "history cannot be read: {}", error.message);
                        let _ = events.send(ClientEvent::StoreFailed { code: error.code });
                        device.history_failed(now);
                        continue;
                    }
                    answer => answer?,
                };
                device.handle_read(answer, now, &mut SystemRng);
            }
            turn.apply(device.take_writes()).await?;
            if let Some(awaited) = turn.awaited_anew().await? {
                device.set_awaited(awaited);
            }
            let conflicts = turn.conflicts().await?;
            if !conflicts.is_empty() || alerts::any(device) {
                work.alerts = alerts::keep(device, conflicts, &mut turn, now).await?;
            }
        }
        if hosting.leave(device.as_ref()) {
            let until = now.saturating_add(limits::MAX_LAG.as_millis() as u64);
            work.meta.push((HOSTED_UNTIL, until.to_string()));
        }
        for (name, value) in std::mem::take(&mut work.meta) {
            turn.set_meta(name, &value);
        }
        point(crash::BEFORE_COMMIT);
        let conflicts = turn.commit().await?;
        point(crash::AFTER_COMMIT_BEFORE_SEND);
        Ok(conflicts)
    }

    /// The turn is durable: answers, sends and tells.
    fn done(&mut self, work: Work, conflicts: Vec<IdConflict>) {
        // Before anybody is told: the way to the relay is the longest.
        self.send();
        let left = work.forget.then(|| SyncError::new(Code::NotInGroup, "this device has just left its group"));
        let outcome = left.as_ref().map_or(Ok(()), Err);
        for push in work.pushes {
            push.answer(outcome);
        }
        for after in work.after {
            after(outcome);
        }
        for reply in work.left {
            let _ = reply.send(Ok(()));
        }
        self.tell_readable();
        if let Some((group, device)) = work.forgotten {
            self.tell(ClientEvent::Left { group, device });
        }
        if let Some(left) = &left {
            // Whatever had been begun in the group.
            let newcomer = self.newcomer.take().and_then(|n| n.reply);
            newcomer.into_iter().for_each(|reply| drop(reply.send(Err(left.clone()))));
            std::mem::take(&mut self.adding).into_values().for_each(|reply| drop(reply.send(Err(left.clone()))));
        }
        self.tell_conflicts(conflicts);
        if let Some(device) = &mut self.device {
            for event in device.take_events() {
                self.core_event(event);
            }
        }
        // Behind what they tell of, so that whoever asks then finds all as they say.
        for alert in work.alerts {
            self.tell(ClientEvent::Alert(Box::new(alert)));
        }
        if let Some(up_to) = work.seen {
            self.tell(ClientEvent::AlertsSeen { up_to });
        }
        if work.renew {
            self.reconnect_now();
        }
    }
}

pub(super) fn leaving() -> SyncError {
    SyncError::new(Code::NotInGroup, "this device is leaving its group")
}
