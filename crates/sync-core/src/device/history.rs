//! History: blobs handed on by a member that holds them, to one that has no keys for the envelopes they first came in.
//!
//! The asker drives it: it keeps what it wants until that is complete, asks one member, and asks the next when that one
//! stays silent. Blobs of a sender that lie behind a hole wait in *held*, so that the app sees each sender's order.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_types::body::{Control, History, HistoryRequest, HistoryRun, Span, pack, unpack};
use sync_types::settings::HistoryPolicy;
use sync_types::{DeviceId, limits};

use super::Device;
use super::records::{Job, Want};
use crate::event::Event;
use crate::store::{Key, LogBlob, Read, Write};

/// How many spans one request may hold.
const SPANS: usize = 4096;

impl<P: CryptoProvider + Clone> Device<P> {
    /// An envelope that has no key here: its blobs are asked for.
    pub(super) fn want(&mut self, sender: DeviceId, seq: u64, now: u64) {
        if self.membership.settings().history == HistoryPolicy::None {
            return;
        }
        let grown = self.wants.list.last_mut().filter(|w| !w.asked && w.span.sender == sender && w.span.to + 1 == seq);
        match grown {
            Some(want) => want.span.to = seq,
            None => self.wants.list.push(Want { span: Span { sender, from: seq, to: seq }, asked: false }),
        }
        self.dirty.insert(Key::Wants);
        if let Some(session) = &mut self.session {
            session.history_at = now;
        }
    }

    pub(super) fn has_hole_before(&self, sender: DeviceId, seq: u64) -> bool {
        self.wants.list.iter().any(|w| w.span.sender == sender && w.span.from <= seq)
    }

    fn first_hole(&self, sender: DeviceId) -> Option<Span> {
        self.wants.list.iter().map(|w| w.span).filter(|s| s.sender == sender).min_by_key(|s| s.from)
    }

    pub(super) fn due_history_request(&mut self, now: u64) -> Option<HistoryRequest> {
        if self.wants.list.iter().all(|w| w.asked) {
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
        self.session_mut().history_at = now;
        Some(HistoryRequest { holder: self.wants.holder, number: self.wants.number, spans })
    }

    /// The member after the present holder, in the order of ids.
    fn next_holder(&self) -> Option<DeviceId> {
        let present = self.wants.holder;
        let members = || self.peers.iter().filter(|(_, p)| p.member).map(|(id, _)| *id);
        members().find(|id| *id > present).or_else(|| members().next())
    }

    pub(super) fn history_patience_ends_at(&self) -> Option<u64> {
        let asked = self.wants.list.iter().any(|w| w.asked);
        let session = self.session.as_ref()?;
        asked.then_some(session.history_at + limits::HISTORY_PATIENCE.as_millis() as u64)
    }

    pub(super) fn rotate_history_holder(&mut self, now: u64) {
        if !self.history_patience_ends_at().is_some_and(|at| at <= now) {
            return;
        }
        if let Some(next) = self.next_holder() {
            self.wants.holder = next;
            for want in &mut self.wants.list {
                want.asked = false;
            }
            self.dirty.insert(Key::Wants);
        }
        self.session_mut().history_at = now;
    }

    pub(super) fn history_requested(&mut self, asker: DeviceId, request: HistoryRequest) {
        let well_formed = request.spans.len() <= SPANS && request.spans.iter().all(|s| 0 < s.from && s.from <= s.to);
        if request.holder != self.me || !well_formed {
            return;
        }
        // A newer request of the same asker stands beside an older one: each is answered once.
        self.jobs.insert((asker, request.number), Job { spans: request.spans, after_position: 0 });
        self.dirty.insert(Key::Job(asker, request.number));
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

    fn ready_job(&self) -> Option<(DeviceId, u64)> {
        let ready = |job: &Job| job.spans.iter().all(|span| self.holds(span));
        self.jobs.iter().find(|(_, job)| ready(job)).map(|(key, _)| *key)
    }

    pub(super) fn drop_jobs_of(&mut self, asker: DeviceId) {
        let numbers: Vec<_> = self.jobs.keys().filter(|(id, _)| *id == asker).copied().collect();
        for (id, number) in numbers {
            self.jobs.remove(&(id, number));
            self.dirty.insert(Key::Job(id, number));
        }
    }

    pub(super) fn history_read(&self) -> Option<Read> {
        let job = &self.jobs[&self.ready_job()?];
        Some(Read::History {
            spans: job.spans.clone(),
            after_position: job.after_position,
            max_bytes: limits::PACK_BYTES,
        })
    }

    pub(super) fn answer_history(&mut self, rows: &[LogBlob], rng: &mut dyn CryptoRng) {
        let Some((asker, number)) = self.ready_job() else { return };
        let runs = rows
            .chunk_by(|a, b| (a.sender, a.seq) == (b.sender, b.seq))
            .map(|run| HistoryRun {
                sender: run[0].sender,
                seq: run[0].seq,
                blobs: pack(run.iter().map(|row| &row.blob)),
            })
            .collect();
        let complete = match rows.last() {
            Some(last) => {
                if let Some(job) = self.jobs.get_mut(&(asker, number)) {
                    job.after_position = last.position;
                }
                Vec::new()
            }
            None => self.jobs.remove(&(asker, number)).map(|job| job.spans).unwrap_or_default(),
        };
        self.dirty.insert(Key::Job(asker, number));
        self.seal_control(vec![Control::History(History { asker, number, runs, complete })], rng);
    }

    pub(super) fn history_arrived(&mut self, holder: DeviceId, history: History, now: u64) {
        if history.asker != self.me || history.number > self.wants.number {
            return;
        }
        if let Some(session) = &mut self.session {
            session.history_at = now;
        }
        for run in history.runs {
            self.history_run(run);
        }
        for span in history.complete {
            self.fill(&span);
        }
        let _ = holder;
    }

    /// Takes a run only where this device asked for it, so that a member cannot put words into another's mouth elsewhere.
    fn history_run(&mut self, run: HistoryRun) {
        let wanted = |w: &Want| w.span.sender == run.sender && (w.span.from..=w.span.to).contains(&run.seq);
        if run.sender == self.me || !self.wants.list.iter().any(wanted) {
            return;
        }
        let Ok(blobs) = unpack(&run.blobs) else { return };
        let in_first_hole = self.first_hole(run.sender).is_some_and(|hole| (hole.from..=hole.to).contains(&run.seq));
        self.writes.push(Write::Receive { sender: run.sender, seq: run.seq, blobs, hold: !in_first_hole });
        if in_first_hole {
            self.arrived();
        }
    }

    /// The span is complete: holes close, and what waited behind them goes to the log.
    fn fill(&mut self, filled: &Span) {
        let before = self.wants.list.len();
        let mut rest = Vec::with_capacity(before);
        let mut touched = false;
        for want in self.wants.list.drain(..) {
            let span = want.span;
            if span.sender != filled.sender || span.to < filled.from || filled.to < span.from {
                rest.push(want);
                continue;
            }
            touched = true;
            if span.from < filled.from {
                rest.push(Want { span: Span { to: filled.from - 1, ..span }, ..want });
            }
            if filled.to < span.to {
                rest.push(Want { span: Span { from: filled.to + 1, ..span }, ..want });
            }
        }
        self.wants.list = rest;
        if !touched {
            return;
        }
        self.dirty.insert(Key::Wants);
        self.unstated.insert(filled.sender);
        let reached = self.peers.get(&filled.sender).map_or(0, |p| p.seq);
        let up_to_seq = self.first_hole(filled.sender).map_or(reached, |hole| hole.from - 1);
        self.writes.push(Write::Release { sender: filled.sender, up_to_seq });
        self.arrived();
        if self.wants.list.is_empty() {
            self.events.push(Event::Synced);
        }
    }
}
