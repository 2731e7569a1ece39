//! Taking envelopes: each continues its sender's chain, or is refused with everything behind it.

use std::collections::{BTreeMap, BTreeSet};

use sync_rules::envelope::{ciphertext_hash, entry_hash, verify_parts};
use sync_types::envelope::{Class, Header};
use sync_types::frame::{About, EntryKind, FromRelay, Head, Signature};
use sync_types::{Code, DeviceId, EntryHash, Envelope, Opaque, limits};

use super::{Decision, GroupState, Limits, Notice, Refusal};
use crate::store::{Bytes, HeadRow, Write};

/// For how long a sender's pushes wait after a cut of it was stale, and how long until that may happen again, so that a
/// member cannot silence another by stale cuts. In milliseconds.
pub(super) const CUT_WAIT_MS: u64 = 10_000;
pub(super) const CUT_WAIT_AGAIN_MS: u64 = 60_000;

/// What a batch would do, told apart from the state until all of it is checked.
struct Batch<'s, 'a> {
    state: &'s GroupState,
    limits: &'s Limits,
    carrier: DeviceId,
    now_ms: u64,
    heads: BTreeMap<DeviceId, Head>,
    taken: Vec<(DeviceId, &'a [u8])>,
    /// Envelopes of this batch that were found to lead up to their sender's head.
    repeated: BTreeSet<EntryHash>,
    /// What the taken ones add to what is held.
    entries: u64,
    bytes: u64,
}

impl GroupState {
    /// Takes envelopes in their order. The longest good prefix is taken and acknowledged by `Accepted` with the carrier's own
    /// last number; the first bad one and all behind it are refused.
    ///
    /// An envelope that is the sender's head already, or part of a run in this batch that ends in the head, is accepted
    /// without effect. A member may carry another's envelopes: their signatures are verified here. A member's own are
    /// verified by those who read them.
    pub fn push(
        &mut self,
        device: DeviceId,
        envelopes: &[Opaque],
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Decision, Refusal> {
        self.current_member(device, About::Push)?;
        let mut batch = Batch {
            state: self,
            limits,
            carrier: device,
            now_ms,
            heads: BTreeMap::new(),
            taken: Vec::new(),
            repeated: BTreeSet::new(),
            entries: 0,
            bytes: 0,
        };
        let mut good = 0;
        let mut refusal = None;
        for (index, bytes) in envelopes.iter().enumerate() {
            match batch.check(bytes, &envelopes[index + 1..]) {
                Ok(()) => good += 1,
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
        if good == 0
            && let Some(refusal) = refusal
        {
            return Err(refusal);
        }
        let (heads, taken) = (batch.heads, batch.taken);
        let mut decision = self.take(heads, taken);
        let own = self.position(device).0;
        decision.reply = Some(FromRelay::Accepted(own));
        decision.refusal = refusal;
        Ok(decision)
    }

    fn take(&mut self, heads: BTreeMap<DeviceId, Head>, taken: Vec<(DeviceId, &[u8])>) -> Decision {
        let mut decision = Decision::default();
        if taken.is_empty() {
            return decision;
        }
        let group = self.id();
        let mut entries = Vec::with_capacity(taken.len());
        for (sender, bytes) in taken {
            if self.has_reader_beside(sender) {
                entries.push(self.append(EntryKind::Envelope, sender, Bytes::from(bytes)));
            } else {
                // Nobody has to acknowledge it, so it is deleted before it is ever written.
                self.next_cursor();
            }
        }
        if !entries.is_empty() {
            decision.writes.push(Write::AppendEntries(group, entries));
        }
        for (sender, head) in heads {
            let row = HeadRow { sender, head, cut: false };
            decision.writes.push(Write::PutHead(group, row.clone()));
            self.heads.insert(sender, row);
        }
        self.put_counters(&mut decision.writes);
        decision.notices.push(Notice::NewEntries { newest: self.counters.newest });
        decision
    }
}

impl<'a> Batch<'_, 'a> {
    fn check(&mut self, bytes: &'a Opaque, rest: &[Opaque]) -> Result<(), Refusal> {
        if bytes.len() > self.limits.envelope_bytes.min(limits::ENVELOPE_BYTES) {
            return Err(refuse(Code::TooLarge, "the envelope is larger than the limit"));
        }
        let envelope = Envelope::parse(bytes).map_err(|e| Refusal::new(About::Push, e.code(), e.to_string()))?;
        let header = &envelope.header;
        if header.class == Class::Ephemeral {
            return Err(refuse(Code::Protocol, "an ephemeral envelope is never stored"));
        }
        if header.suite != self.state.group.suite as u8 {
            return Err(refuse(Code::Suite, "the envelope is of another suite than its group"));
        }
        let sender = header.sender;
        let key = self.state.current_member(sender, About::Push)?.key;
        self.check_wait(sender)?;

        let ciphertext_hash = ciphertext_hash(envelope.ciphertext);
        let hash = entry_hash(envelope.header_bytes, &ciphertext_hash, envelope.signature);
        if sender != self.carrier {
            verify_parts(&self.state.id(), envelope.header_bytes, &ciphertext_hash, envelope.signature, &key)
                .map_err(|_| refuse(Code::BadSignature, "the envelope's signature does not verify"))?;
        }
        let head = Head {
            seq: header.seq,
            hash,
            header: Opaque(envelope.header_bytes.to_vec()),
            ciphertext_hash,
            signature: Signature(*envelope.signature),
        };
        if self.is_repeated(&head, sender, rest)? {
            return Ok(());
        }
        self.check_chain(header, sender)?;
        self.check_epoch(header, sender)?;
        self.check_quota(sender, bytes.len() as u64)?;
        self.heads.insert(sender, head);
        self.taken.push((sender, bytes));
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
    fn is_repeated(&mut self, this: &Head, sender: DeviceId, rest: &[Opaque]) -> Result<bool, Refusal> {
        if self.repeated.contains(&this.hash) {
            return Ok(true);
        }
        let Some(head) = self.head(sender).filter(|head| this.seq <= head.seq) else { return Ok(false) };
        let mut reached = (this.seq, this.hash);
        let mut run = vec![this.hash];
        let mut rest = rest.iter();
        while reached.0 < head.seq {
            let next = rest.by_ref().filter_map(|b| Envelope::parse(b).ok()).find(|e| e.header.sender == sender);
            match next {
                Some(next) if next.header.seq == reached.0 + 1 && next.header.previous == reached.1 => {
                    let hash = ciphertext_hash(next.ciphertext);
                    reached = (next.header.seq, entry_hash(next.header_bytes, &hash, next.signature));
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
        Err(refuse(Code::BrokenChain, "the envelope does not continue its sender's chain").with_head(head))
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
        if entries > self.limits.group_entries || bytes > self.limits.group_bytes {
            let refusal = refuse(Code::Quota, "the group's quota is used up");
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
