//! History: blobs handed on by a member that holds them, to one that has no keys for the envelopes they first came in.
//!
//! The asker drives it: it keeps what it wants until that is complete, asks one member, and asks the next when that one
//! stays silent. Blobs of a sender that lie behind a hole wait in *held*, so that the app sees each sender's order.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::body::{Control, History, HistoryRequest, HistoryRun, Span, pack, unpack};
use sync_types::settings::HistoryPolicy;
use sync_types::{DeviceId, encode, limits};

use super::Device;
use super::records::{Job, Want};
use super::send::fitting;
use crate::event::{Event, Outcome};
use crate::store::{Key, LogBlob, LogPlace, Read, Write};

/// How long nothing more is asked for after a member was seen in another branch, in milliseconds.
const PARTED_REST_MS: u64 = 30_000;

/// How many spans one request may hold.
const SPANS: usize = 256;

/// How many requests of one member are kept. A newer one drops the oldest, and its asker asks again.
const JOBS: usize = 8;

/// Into how many pieces the requests of others may cut what this device wants.
const WANTS: usize = 1024;

/// How soon blobs that could not be read are tried again, in milliseconds. Each failure doubles it, up to a minute.
const READ_AGAIN_MS: u64 = 250;
const READ_AGAIN_CAP_MS: u64 = 60_000;

/// A job whose blobs could not be read.
#[derive(Default)]
pub(super) struct Pause {
    failures: u32,
    /// When it is tried again, in milliseconds; 0 once that time has come.
    pub(super) until: u64,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// An envelope that has no key here: its blobs are asked for.
    pub(super) fn want(&mut self, sender: DeviceId, seq: u64, now: u64) {
        if self.membership.settings().history == HistoryPolicy::None {
            return;
        }
        let grown = self
            .wants
            .list
            .last_mut()
            .filter(|w| !w.asked && w.lacking.is_empty() && w.span.sender == sender && w.span.to + 1 == seq);
        match grown {
            Some(want) => want.span.to = seq,
            None => {
                let span = Span { sender, from: seq, to: seq };
                self.wants.list.push(Want { span, asked: false, lacking: Vec::new() });
            }
        }
        self.wanted(sender, now);
    }

    /// Envelopes that never came: their blobs are asked for.
    pub(super) fn want_span(&mut self, span: Span, now: u64) {
        if self.membership.settings().history != HistoryPolicy::None {
            self.wants.list.push(Want { span, asked: false, lacking: Vec::new() });
            self.wanted(span.sender, now);
        }
    }

    /// Something of this sender's was passed over, and with it whatever it said there of history.
    fn wanted(&mut self, passed_over: DeviceId, now: u64) {
        if passed_over == self.wants.holder {
            self.wants.valid_from = self.wants.number + 1;
            self.wants.list.iter_mut().for_each(|want| want.asked = false);
        }
        // It may have handed something on to others, so that they lack it no more.
        self.wants.list.iter_mut().for_each(|want| want.lacking.clear());
        self.dirty.insert(Key::Wants);
        if let Some(session) = &mut self.session {
            session.history_at = now;
            session.history_silences = 0;
        }
    }

    pub(super) fn has_hole_before(&self, sender: DeviceId, seq: u64) -> bool {
        self.wants.list.iter().any(|w| w.span.sender == sender && w.span.from <= seq)
    }

    fn first_hole(&self, sender: DeviceId) -> Option<Span> {
        self.wants.list.iter().map(|w| w.span).filter(|s| s.sender == sender).min_by_key(|s| s.from)
    }

    pub(super) fn due_history_request(&mut self, now: u64) -> Option<HistoryRequest> {
        if self.wants.list.iter().all(|w| w.asked) || self.parted_ask_at().is_some_and(|at| at > now) {
            return None;
        }
        if !self.peers.get(&self.wants.holder).is_some_and(|p| p.member) {
            self.wants.holder = self.next_holder()?;
        }
        let mut spans = Vec::new();
        for want in self.wants.list.iter_mut().filter(|w| !w.asked).take(SPANS) {
            want.asked = true;
            spans.push(want.span);
        }
        self.wants.number += 1;
        self.dirty.insert(Key::Wants);
        let left = self.history_left();
        let session = self.session_mut();
        session.history_total = session.history_total.max(left);
        session.history_at = now;
        Some(HistoryRequest { holder: self.wants.holder, number: self.wants.number, spans })
    }

    /// A member has sealed in another branch. With several relays, which of the two is the group's may take a while to show, and
    /// until then neither can read what the other asks for.
    pub(super) fn note_parted(&mut self, now: u64) {
        let epoch = self.membership.epoch();
        if self.has_several() && self.parted.is_none_or(|(at, until)| at != epoch || until <= now) {
            self.parted = Some((epoch, now + PARTED_REST_MS));
        }
    }

    /// When history may be asked for again while the group is parted.
    pub(super) fn parted_ask_at(&self) -> Option<u64> {
        let (epoch, until) = self.parted?;
        let waits = epoch == self.membership.epoch() && until > self.clock && self.wants.list.iter().any(|w| !w.asked);
        waits.then_some(until)
    }

    /// The member after the present holder, in the order of ids.
    fn next_holder(&self) -> Option<DeviceId> {
        let present = self.wants.holder;
        let members = || self.peers.iter().filter(|(_, p)| p.member).map(|(id, _)| *id);
        members().find(|id| *id > present).or_else(|| members().next())
    }

    pub(super) fn history_patience_ends_at(&self) -> Option<u64> {
        let asked = self.wants.list.iter().any(|w| w.asked);
        // Nobody is silent before the relay has answered.
        let session = self.session.as_ref().filter(|s| s.attached)?;
        asked.then_some(session.history_at + limits::HISTORY_PATIENCE.as_millis() as u64)
    }

    pub(super) fn rotate_history_holder(&mut self, now: u64) {
        if self.history_patience_ends_at().is_none_or(|at| at > now) {
            return;
        }
        // Who was removed meanwhile could not answer, and its silence is no member's.
        let silent = self.peers.get(&self.wants.holder).is_some_and(|p| p.member);
        if let Some(next) = self.next_holder() {
            self.wants.holder = next;
            for want in &mut self.wants.list {
                want.asked = false;
            }
            self.dirty.insert(Key::Wants);
        }
        let session = self.session_mut();
        session.history_at = now;
        session.history_silences += usize::from(silent);
    }

    pub(super) fn history_requested(&mut self, asker: DeviceId, request: HistoryRequest) {
        if request.spans.len() > SPANS {
            return;
        }
        for span in &request.spans {
            self.note_lacking(asker, span);
        }
        if request.holder != self.me || request.spans.is_empty() || !self.hands_on() {
            return;
        }
        // A newer request of the same asker stands beside an older one: each is answered once.
        let numbers: Vec<u64> =
            self.jobs.range((asker, 0)..=(asker, u64::MAX)).map(|((_, number), _)| *number).collect();
        if numbers.len() >= JOBS && !numbers.contains(&request.number) {
            self.drop_job((asker, numbers[0]));
        }
        self.jobs.insert(
            (asker, request.number),
            Job { spans: request.spans, answering: Vec::new(), after: LogPlace::default() },
        );
        self.dirty.insert(Key::Job(asker, request.number));
    }

    /// Whether the group has agreed that its members hand on history. Whoever asks all the same is not answered.
    fn hands_on(&self) -> bool {
        self.membership.settings().history != HistoryPolicy::None || !stands(Defence::HistoryPolicy)
    }

    /// Whether everything in the span is in this device's log.
    fn holds(&self, span: &Span) -> bool {
        let reached = match self.peers.get(&span.sender) {
            Some(peer) => peer.seq,
            None if span.sender == self.me => self.chain.seq,
            None => 0,
        };
        reached >= span.to && !self.has_hole_before(span.sender, span.to)
    }

    /// The next job that there is something to say to, and which of its spans. What is not held here does not keep back what
    /// is: two members may each lack what the other has.
    fn ready_job(&self, now: u64) -> Option<((DeviceId, u64), Vec<Span>)> {
        // What was asked before the group agreed otherwise counts no more.
        if self.jobs.is_empty() || !self.hands_on() {
            return None;
        }
        let waits = |key| self.paused.get(key).is_some_and(|pause| pause.until > now);
        self.jobs.iter().filter(|(key, _)| !waits(*key)).find_map(|(key, job)| {
            let spans = match job.answering.is_empty() {
                true => job.spans.iter().filter(|span| self.holds(span)).copied().collect(),
                false => job.answering.clone(),
            };
            (!spans.is_empty()).then_some((*key, spans))
        })
    }

    /// The answer to a [`Read::History`] that the store could not give. The job waits, longer each time; everything else
    /// goes on.
    pub fn history_failed(&mut self, now: u64) {
        let Some((key, _)) = self.ready_job(now) else { return };
        let pause = self.paused.entry(key).or_default();
        pause.until = now + (READ_AGAIN_MS << pause.failures.min(16)).min(READ_AGAIN_CAP_MS);
        pause.failures += 1;
    }

    /// Jobs whose time has come are ready again, and no reason any more to be woken.
    pub(super) fn end_pauses(&mut self, now: u64) {
        for pause in self.paused.values_mut().filter(|pause| pause.until <= now) {
            pause.until = 0;
        }
    }

    pub(super) fn pause_ends_at(&self) -> Option<u64> {
        self.paused.values().map(|pause| pause.until).filter(|until| *until > 0).min()
    }

    pub(super) fn drop_jobs_of(&mut self, asker: DeviceId) {
        let numbers: Vec<_> = self.jobs.keys().filter(|(id, _)| *id == asker).copied().collect();
        numbers.into_iter().for_each(|key| drop(self.drop_job(key)));
    }

    fn drop_job(&mut self, key: (DeviceId, u64)) -> Option<Job> {
        self.paused.remove(&key);
        self.dirty.insert(Key::Job(key.0, key.1));
        self.jobs.remove(&key)
    }

    pub(super) fn history_read(&self, now: u64) -> Option<Read> {
        let (key, spans) = self.ready_job(now)?;
        Some(Read::History {
            spans,
            after: self.jobs[&key].after,
            max_bytes: limits::PACK_BYTES,
            max_blobs: limits::PACK_BLOBS,
        })
    }

    pub(super) fn answer_history(&mut self, rows: &[LogBlob], now: u64, rng: &mut dyn CryptoRng) {
        let Some(((asker, number), spans)) = self.ready_job(now) else { return };
        self.paused.remove(&(asker, number));
        let rows = fitting(rows);
        let runs = rows
            .chunk_by(|a, b| (a.sender, a.seq) == (b.sender, b.seq) && a.covers.is_empty() && b.covers.is_empty())
            .map(|run| HistoryRun {
                sender: run[0].sender,
                seq: run[0].seq,
                blobs: pack(run.iter().map(|row| &row.blob)),
                covers: run[0].covers.clone(),
            })
            .collect();
        let Some(job) = self.jobs.get_mut(&(asker, number)) else { return };
        let complete = match rows.last() {
            Some(last) => {
                (job.answering, job.after) = (spans, last.place());
                Vec::new()
            }
            None => {
                job.spans.retain(|span| !spans.contains(span));
                (job.answering, job.after) = (Vec::new(), LogPlace::default());
                spans
            }
        };
        self.dirty.insert(Key::Job(asker, number));
        if self.jobs[&(asker, number)].spans.is_empty() {
            self.drop_job((asker, number));
        }
        self.seal_control(vec![Control::History(History { asker, number, runs, complete })], now, rng);
    }

    pub(super) fn history_arrived(&mut self, holder: DeviceId, history: History, now: u64) {
        if history.asker != self.me {
            for span in &history.complete {
                self.note_holding(history.asker, span);
            }
            return;
        }
        // Only from the one who was asked, so that no other member can say what is complete.
        if holder != self.wants.holder || !(1..=self.wants.number).contains(&history.number) {
            return;
        }
        if let Some(session) = &mut self.session {
            session.history_at = now;
            session.history_silences = 0;
        }
        // An honest answer holds as many blobs as an envelope may. A run of small ones is a hundred times its size in memory.
        let mut left = limits::PACK_BLOBS;
        for run in history.runs {
            if !self.history_run(run, &mut left) {
                return;
            }
        }
        if history.number >= self.wants.valid_from {
            history.complete.iter().for_each(|span| self.fill(span));
        }
        self.tell_progress();
    }

    /// How many envelopes of history are still to come, as far as their numbers tell.
    fn history_left(&self) -> u64 {
        let reached = |sender| self.session.as_ref().and_then(|s| s.history_reached.get(&sender)).copied().unwrap_or(0);
        let left = |span: Span| span.to - reached(span.sender).clamp(span.from - 1, span.to);
        self.wants.list.iter().map(|want| left(want.span)).fold(0, u64::saturating_add)
    }

    fn tell_progress(&mut self) {
        let left = self.history_left();
        let Some(session) = &mut self.session else { return };
        if self.wants.list.is_empty() {
            (session.history_total, session.history_reached) = (0, Default::default());
            return;
        }
        let total = session.history_total.max(left);
        session.history_total = total;
        self.events.push(Event::HistoryProgress { done: total - left, total });
    }

    /// Takes a run only where this device asked for it, so that a member cannot put words into another's mouth elsewhere.
    /// `left` is how many blobs its answer may still hold; false if it has more.
    fn history_run(&mut self, run: HistoryRun, left: &mut usize) -> bool {
        let wanted = |w: &Want| w.span.sender == run.sender && (w.span.from..=w.span.to).contains(&run.seq);
        if run.sender == self.me || !self.wants.list.iter().any(wanted) {
            return true;
        }
        let Ok(mut blobs) = unpack(&run.blobs) else { return true };
        if blobs.len() > *left && stands(Defence::Counting) {
            return false;
        }
        *left = left.saturating_sub(blobs.len());
        if let Some(session) = &mut self.session {
            let reached = session.history_reached.entry(run.sender).or_default();
            *reached = run.seq.max(*reached);
        }
        if !run.covers.is_empty() {
            let (Some(blob), true) = (blobs.pop().filter(|blob| blob.snapshot), blobs.is_empty()) else { return true };
            self.writes.push(Write::ReceiveSnapshot { sender: run.sender, seq: run.seq, blob, covers: run.covers });
            self.arrived();
            return true;
        }
        let in_first_hole = self.first_hole(run.sender).is_some_and(|hole| (hole.from..=hole.to).contains(&run.seq));
        self.writes.push(Write::Receive { sender: run.sender, seq: run.seq, blobs, hold: !in_first_hole });
        if in_first_hole {
            self.arrived();
        }
        true
    }

    /// Whoever asks for a span has it not. Everybody reads every request.
    fn note_lacking(&mut self, asker: DeviceId, span: &Span) {
        if self.wants.list.len() >= WANTS {
            return;
        }
        let inside = self.cut_wants(span);
        if inside.is_empty() {
            return;
        }
        for index in inside {
            if let Some(want) = self.wants.list.get_mut(index).filter(|w| !w.lacking.contains(&asker)) {
                want.lacking.push(asker);
            }
        }
        self.dirty.insert(Key::Wants);
    }

    /// Whoever was given a span has it from now on.
    fn note_holding(&mut self, asker: DeviceId, span: &Span) {
        let inside = |w: &&mut Want| w.span.sender == span.sender && w.span.from <= span.to && span.from <= w.span.to;
        for want in self.wants.list.iter_mut().filter(inside) {
            want.lacking.retain(|device| *device != asker);
        }
        self.dirty.insert(Key::Wants);
    }

    /// Cuts wants at the ends of a span, and gives the places of those inside.
    fn cut_wants(&mut self, cut: &Span) -> Vec<usize> {
        let mut list = Vec::with_capacity(self.wants.list.len());
        let mut inside = Vec::new();
        for want in self.wants.list.drain(..) {
            let span = want.span;
            if span.sender != cut.sender || span.to < cut.from || cut.to < span.from {
                list.push(want);
                continue;
            }
            if span.from < cut.from {
                list.push(Want { span: Span { to: cut.from - 1, ..span }, ..want.clone() });
            }
            inside.push(list.len());
            let (from, to) = (span.from.max(cut.from), span.to.min(cut.to));
            list.push(Want { span: Span { from, to, ..span }, ..want.clone() });
            if cut.to < span.to {
                list.push(Want { span: Span { from: cut.to + 1, ..span }, ..want });
            }
        }
        self.wants.list = list;
        inside
    }

    /// Gives up what no member of the group has: it went with the last device that held it. What waited behind it goes to
    /// the log, and the app is told.
    pub(super) fn give_up_lost_history(&mut self, now: u64) {
        if self.wants.list.is_empty() || self.before.is_some() {
            return;
        }
        let members: Vec<DeviceId> = self.peers.iter().filter(|(_, p)| p.member).map(|(id, _)| *id).collect();
        let gone = |w: &&Want| members.iter().all(|member| w.lacking.contains(member));
        let lost: Vec<Span> = self.wants.list.iter().filter(gone).map(|w| w.span).collect();
        // One that asked for it may have it by now, and its answer may be kept from here: it is asked once more.
        let silences = self.session.as_ref().map_or(0, |session| session.history_silences);
        if silences < members.len() || (!members.is_empty() && !self.lacking().is_empty()) {
            return;
        }
        for span in lost {
            self.refuse(Outcome::HistoryLost, self.relay.cursor, Some(span.sender), &encode(&span), now);
            self.fill(&span);
        }
    }

    /// The span is complete: holes close, and what waited behind them goes to the log.
    fn fill(&mut self, filled: &Span) {
        let mut inside = self.cut_wants(filled);
        if inside.is_empty() {
            return;
        }
        while let Some(index) = inside.pop() {
            self.wants.list.remove(index);
        }
        self.dirty.insert(Key::Wants);
        self.now_unstated(filled.sender);
        let reached = self.peers.get(&filled.sender).map_or(0, |p| p.seq);
        let up_to_seq = self.first_hole(filled.sender).map_or(reached, |hole| hole.from - 1);
        self.writes.push(Write::Release { sender: filled.sender, up_to_seq });
        self.arrived();
        if self.wants.list.is_empty() && self.away().is_none() {
            self.events.push(Event::Synced);
        }
    }
}
