//! Taking envelopes: each continues its sender's chain, or is refused with everything behind it.

use std::collections::{BTreeMap, BTreeSet};

use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::envelope::{Class, Header};
use sync_types::frame::{About, EntryKind, FromRelay, Head};
use sync_types::{Code, DeviceId, EntryHash, limits};

use super::verified::{Candidate, Parsed, Signed};
use super::{Decision, GroupState, Limits, NUMBER_MAX, NewEntries, Notice, QUOTA, Refusal, Verified};
use crate::store::{Bytes, HeadRow, Write};

/// For how long a sender's pushes wait after a cut of it was stale, and how long until that may happen again, so that a
/// member cannot silence another by stale cuts. In milliseconds.
pub(super) const CUT_WAIT_MS: u64 = 10_000;
pub(super) const CUT_WAIT_AGAIN_MS: u64 = 60_000;

/// After how many entries counters and heads are written all the same: so many are counted when a group is loaded.
const SETTLE_EVERY: u64 = 256;

/// For how long beyond its retry a refusal speaks for what was sent behind it before the sender heard of it, in milliseconds.
const ON_ITS_WAY_MS: u64 = 10_000;

/// An envelope that its sender was told to send again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PutOff {
    seq: u64,
    until_ms: u64,
    refusal: Refusal,
}

/// What a batch would do, told apart from the state until all of it is checked.
struct Batch<'a> {
    state: &'a GroupState,
    limits: &'a Limits,
    now_ms: u64,
    heads: BTreeMap<DeviceId, Head>,
    taken: Vec<(DeviceId, Bytes)>,
    /// Envelopes of this batch that were found to lead up to their sender's head.
    repeated: BTreeSet<EntryHash>,
    /// What the taken ones add to what is held.
    entries: u64,
    bytes: u64,
    /// The envelope that could be taken but for the time.
    put_off: Option<(DeviceId, PutOff)>,
}

impl GroupState {
    /// Takes envelopes in their order. The longest good prefix is taken and acknowledged by `Accepted` with the carrier's own
    /// last number; the first bad one and all behind it are refused.
    ///
    /// An envelope that is the sender's head already, or part of a run in this batch that ends in the head, is accepted
    /// without effect. A member may carry another's envelopes.
    ///
    /// Every signature holds by its sender's key before its envelope becomes the head, its sender's own too: a head that
    /// members call forged would part their chain from the relay's for good. The last signature of a run does not do for
    /// the run, as readers are delivered it in portions and verify them apart. An envelope whose sender came into the group
    /// after it was verified is to be sent again (`PROVISIONAL`).
    ///
    /// What comes behind an envelope that was to be sent again later (`QUOTA`, `PROVISIONAL`) is refused like it, not as a
    /// broken chain.
    pub fn push(
        &mut self,
        device: DeviceId,
        pushed: &Verified,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Decision, Refusal> {
        self.current_member(device, About::Push)?;
        if pushed.group != self.id() {
            return Err(refuse(Code::BadSignature, "the envelopes were signed for another group"));
        }
        let envelopes = &pushed.envelopes;
        let mut batch = Batch {
            state: self,
            limits,
            now_ms,
            heads: BTreeMap::new(),
            taken: Vec::new(),
            repeated: BTreeSet::new(),
            entries: 0,
            bytes: 0,
            put_off: None,
        };
        let mut good = 0;
        let mut refusal = None;
        for (index, candidate) in envelopes.iter().enumerate() {
            match batch.check(candidate, &envelopes[index + 1..]) {
                Ok(()) => good += 1,
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
        let (heads, taken, put_off) = (batch.heads, batch.taken, batch.put_off);
        if let Some((sender, put_off)) = put_off {
            self.put_off.retain(|_, p| now_ms < p.until_ms);
            self.put_off.insert(sender, put_off);
        }
        if good == 0
            && let Some(refusal) = refusal
        {
            return Err(refusal);
        }
        let mut decision = self.take(heads, taken);
        let own = self.position(device).0;
        decision.reply = Some(FromRelay::Accepted(own));
        decision.refusal = refusal;
        Ok(decision)
    }

    fn take(&mut self, heads: BTreeMap<DeviceId, Head>, taken: Vec<(DeviceId, Bytes)>) -> Decision {
        let mut decision = Decision::default();
        if taken.is_empty() {
            return decision;
        }
        let group = self.id();
        let (after, first) = (self.counters.newest, taken[0].0);
        let of = taken.iter().all(|(sender, _)| *sender == first).then_some(first);
        let (count, mut entries) = (taken.len(), Vec::with_capacity(taken.len()));
        for (sender, bytes) in taken {
            if self.has_reader_beside(sender) {
                entries.push(self.append(EntryKind::Envelope, sender, bytes));
            } else {
                // Nobody has to acknowledge it, so it is deleted before it is ever written.
                let cursor = self.next_cursor();
                self.note_missed(sender, cursor, &mut decision.writes);
            }
        }
        let kept = entries.len();
        if kept > 0 {
            decision.writes.push(Write::AppendEntries(group, entries));
        }
        for (sender, head) in heads {
            self.set_head(HeadRow { sender, head, cut: false });
        }
        // The entries themselves say what they did to counters and heads, as long as all of them are kept.
        if kept < count || self.since_settled() >= SETTLE_EVERY {
            self.put_counters(&mut decision.writes);
        }
        decision.notices.push(Notice::NewEntries(NewEntries { after, newest: self.counters.newest, of }));
        decision
    }
}

impl Batch<'_> {
    fn check(&mut self, candidate: &Candidate, rest: &[Candidate]) -> Result<(), Refusal> {
        let bytes = &candidate.bytes;
        if bytes.len() > self.limits.envelope_bytes.min(limits::ENVELOPE_BYTES) {
            return Err(refuse(Code::TooLarge, "the envelope is larger than the limit"));
        }
        let Parsed { header, head, signed } =
            candidate.read.as_ref().map_err(|e| Refusal::new(About::Push, e.code(), e.to_string()))?;
        if header.class == Class::Ephemeral {
            return Err(refuse(Code::Protocol, "an ephemeral envelope is never stored"));
        }
        if !self.state.may_be_of_suite(header) {
            return Err(refuse(Code::Suite, "the envelope is of another suite than its group"));
        }
        if header.seq > NUMBER_MAX || header.epoch > NUMBER_MAX {
            return Err(refuse(Code::Protocol, "the envelope's number or epoch is out of range"));
        }
        let sender = header.sender;
        let key = self.state.current_member(sender, About::Push)?.key;
        self.check_wait(sender)?;

        let repeated = self.is_repeated(head, sender, rest);
        if let Ok(true) = repeated {
            // Its hash covers its signature, which was verified when it was taken.
            return Ok(());
        }
        // Before anything is said against the sender: nobody else can make an envelope that equivocates.
        match signed {
            Signed::By(by) if *by == key => {}
            Signed::NotBy(by) if *by == key => {
                return Err(refuse(Code::BadSignature, "the envelope's signature does not verify"));
            }
            // Its sender joined, or its removal failed, while the frame was on its way here.
            _ => return Err(self.state.provisional_refusal(About::Push)),
        }
        repeated?;
        self.check_chain(header, sender)?;
        let in_time = self.check_epoch(header, sender).and_then(|()| self.check_quota(sender, bytes.len() as u64));
        if let Err(refusal) = in_time {
            self.note_put_off(header, &refusal);
            return Err(refusal);
        }
        self.heads.insert(sender, head.clone());
        self.taken.push((sender, bytes.clone()));
        Ok(())
    }

    /// The sender's head with what this batch adds.
    fn head(&self, sender: DeviceId) -> Option<&Head> {
        self.heads.get(&sender).or_else(|| self.state.heads.get(&sender).map(|row| &row.head))
    }

    fn check_wait(&self, sender: DeviceId) -> Result<(), Refusal> {
        let since = self.state.waits.get(&sender);
        match since.map(|since| since.saturating_add(CUT_WAIT_MS)) {
            Some(until) if self.now_ms < until => {
                let refusal =
                    refuse(Code::Provisional, "a change of the group that concerns this sender is on its way");
                Err(refusal.retry_after(until - self.now_ms))
            }
            _ => Ok(()),
        }
    }

    /// Whether the envelope was taken before: it is the head, or the envelopes behind it in this batch lead up to the head.
    fn is_repeated(&mut self, this: &Head, sender: DeviceId, rest: &[Candidate]) -> Result<bool, Refusal> {
        if self.repeated.contains(&this.hash) {
            return Ok(true);
        }
        let Some(head) = self.head(sender).filter(|head| this.seq <= head.seq) else { return Ok(false) };
        let mut reached = (this.seq, this.hash);
        let mut run = vec![this.hash];
        let mut rest = rest.iter();
        while reached.0 < head.seq {
            let next = rest.by_ref().filter_map(|c| c.read.as_ref().ok()).find(|p| p.header.sender == sender);
            match next {
                Some(next) if next.header.seq == reached.0 + 1 && next.header.previous == reached.1 => {
                    reached = (next.head.seq, next.head.hash);
                    run.push(reached.1);
                }
                _ => {
                    let refusal = refuse(Code::BrokenChain, "the envelope's number was used before");
                    return Err(refusal.with_head(Some(head)));
                }
            }
        }
        if reached.1 == head.hash {
            // Remembered, so that a long batch that comes again is gone through once and not once for each of its parts.
            self.repeated.extend(run);
            return Ok(true);
        }
        Err(refuse(Code::Equivocation, "another envelope has this number").with_head(Some(head)))
    }

    fn check_chain(&self, header: &Header, sender: DeviceId) -> Result<(), Refusal> {
        let head = self.head(sender);
        let (seq, hash) = head.map_or_else(Default::default, |h| (h.seq, h.hash));
        if header.seq == seq + 1 && header.previous == hash {
            return Ok(());
        }
        let put_off = self.state.put_off.get(&sender);
        if let Some(before) = put_off.filter(|p| p.seq == seq + 1 && p.seq < header.seq && self.now_ms < p.until_ms) {
            return Err(before.refusal.clone());
        }
        Err(refuse(Code::BrokenChain, "the envelope does not continue its sender's chain").with_head(head))
    }

    /// Remembers a refusal that the sender can only wait out, for what it has sent behind this envelope already.
    fn note_put_off(&mut self, header: &Header, refusal: &Refusal) {
        if refusal.retry_after_ms > 0 {
            let until_ms = self.now_ms.saturating_add(u64::from(refusal.retry_after_ms)).saturating_add(ON_ITS_WAY_MS);
            let put_off = PutOff { seq: header.seq, until_ms, refusal: refusal.clone() };
            self.put_off = Some((header.sender, put_off));
        }
    }

    fn check_epoch(&self, header: &Header, sender: DeviceId) -> Result<(), Refusal> {
        let last = self.head(sender).and_then(|h| Header::parse(&h.header).ok()).map_or(0, |h| h.epoch);
        if header.epoch < last {
            return Err(refuse(Code::Protocol, "epochs never decrease along a chain"));
        }
        if header.epoch <= self.state.confirmed_epoch() {
            return Ok(());
        }
        if header.epoch == self.state.epoch() {
            return Err(self.state.provisional_refusal(About::Push));
        }
        Err(refuse(Code::StaleEpoch, "the relay does not know the envelope's epoch"))
    }

    fn check_quota(&mut self, sender: DeviceId, size: u64) -> Result<(), Refusal> {
        if !self.state.has_reader_beside(sender) {
            return Ok(());
        }
        let held = self.state.counters;
        let entries = held.entries + self.entries + 1;
        let bytes = held.bytes + self.bytes + size;
        let full = entries > self.limits.group_entries || bytes > self.limits.group_bytes;
        if full && stands(Defence::Quota) {
            let refusal = refuse(Code::Quota, QUOTA);
            return Err(refusal.retry_after(self.limits.quota_retry_ms));
        }
        self.entries += 1;
        self.bytes += size;
        Ok(())
    }
}

fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Push, code, message)
}
