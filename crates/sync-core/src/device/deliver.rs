//! What arrives: each entry is checked, named by its outcome, stored, and only then acknowledged.

use std::collections::BTreeMap;

use mls_rs::CryptoProvider;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::envelope::{ciphertext_hash, entry_hash, verify_parts};
use sync_types::body::{Body, Control, unpack};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{Entry, EntryKind, Head, Signature};
use sync_types::{Code, DeviceId, EntryHash, Opaque, decode, encode, limits};

use super::Device;
use crate::event::{Event, Evidence, Outcome};
use crate::seal::open;
use crate::store::{Key, RefusedEntry, Write};

/// How many envelopes of one sender may wait for a predecessor. Only a faulty relay makes any wait.
const GAPS: usize = 1024;
/// And how many bytes of them.
const GAP_BYTES: u64 = 32 << 20;

/// An envelope that was read, with what was found out about it before its turn.
struct Read<'a> {
    cursor: u64,
    bytes: &'a [u8],
    envelope: Envelope<'a>,
    ciphertext_hash: EntryHash,
    hash: EntryHash,
    /// Whether its own signature, or that of a later envelope that commits to it, was verified.
    verified: bool,
}

impl<'a> Read<'a> {
    fn new(cursor: u64, bytes: &'a [u8]) -> Option<Self> {
        let envelope = Envelope::parse(bytes).ok()?;
        let ciphertext_hash = ciphertext_hash(envelope.ciphertext);
        let hash = entry_hash(envelope.header_bytes, &ciphertext_hash, envelope.signature);
        Some(Self { cursor, bytes, envelope, ciphertext_hash, hash, verified: false })
    }

    fn head(&self) -> Head {
        Head {
            seq: self.envelope.header.seq,
            hash: self.hash,
            header: Opaque(self.envelope.header_bytes.to_vec()),
            ciphertext_hash: self.ciphertext_hash,
            signature: Signature(*self.envelope.signature),
        }
    }
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// How often each outcome occurred since the device was loaded, in the order of [`Outcome::ALL`].
    pub fn outcome_counts(&self) -> [u64; Outcome::ALL.len()] {
        self.counts
    }

    pub(super) fn deliver(&mut self, entries: Vec<Entry>, now: u64) {
        // One that is stored would keep this device from every honest relay, whose cursors never come there.
        if entries.iter().any(|e| e.cursor >= limits::NUMBER) && stands(Defence::CursorBound) {
            return self.protocol_broken();
        }
        let entries: Vec<Entry> =
            entries.into_iter().filter(|e| e.cursor > self.relay.cursor || !stands(Defence::Cursor)).collect();
        if !entries.is_sorted_by(|a, b| a.cursor < b.cursor) {
            return self.protocol_broken();
        }
        if self.replaces_key().is_some() {
            return self.deliver_to_old_key(&entries, now);
        }
        let Some(last) = entries.last().map(|e| e.cursor) else { return };
        for run in entries.chunk_by(|a, b| a.kind == b.kind) {
            match run[0].kind {
                EntryKind::Envelope => self.envelopes(run, now),
                EntryKind::Commit => run.iter().for_each(|e| self.commit_arrived(e.cursor, &e.bytes, now)),
                EntryKind::Reject => run.iter().for_each(|e| self.reject_arrived(e.cursor, &e.bytes, now)),
            }
        }
        self.relay.cursor = last;
        if let Some(session) = &mut self.session {
            session.progress_at = now;
        }
        self.relay_changed();
    }

    pub(super) fn envelopes(&mut self, entries: &[Entry], now: u64) {
        let mut run: Vec<Read<'_>> = Vec::with_capacity(entries.len());
        for entry in entries {
            match Read::new(entry.cursor, &entry.bytes) {
                Some(read) => run.push(read),
                None => self.refuse(Outcome::Forged, entry.cursor, None, &entry.bytes, now),
            }
        }
        self.verify_runs(&mut run);
        for read in run {
            let (sender, seq) = (read.envelope.header.sender, read.envelope.header.seq);
            let known = self.has_several() && self.is_buffered(sender, seq);
            let outcome = match self.envelope(&read, now) {
                // Another relay has brought it.
                Outcome::Gap if known => Outcome::Duplicate,
                outcome => outcome,
            };
            match outcome {
                Outcome::Accepted | Outcome::Duplicate => self.count(outcome),
                // What one relay has not brought yet, another one has: one is ahead of the other.
                Outcome::Gap if self.has_several() => self.count(outcome),
                // A buffered envelope is not refused; it waits.
                Outcome::Gap | Outcome::Unreadable => {
                    self.count(outcome);
                    self.events.push(Event::Unusual { outcome, sender: Some(sender) });
                }
                Outcome::Equivocation => {
                    let first = self.peers.get(&sender).and_then(|p| p.head.clone());
                    let evidence = encode(&Evidence { first, second: Opaque(read.bytes.to_vec()) });
                    self.refuse(outcome, read.cursor, Some(sender), &evidence, now);
                }
                _ => self.refuse(outcome, read.cursor, Some(sender), read.bytes, now),
            }
        }
    }

    /// Verifies each contiguous run of a sender by its last signature: every header commits to the envelope before, and
    /// an envelope's hash pins all of its bytes. What does not verify so is verified one by one in its turn.
    fn verify_runs(&self, run: &mut [Read<'_>]) {
        let mut chains: BTreeMap<DeviceId, (u64, EntryHash, Vec<usize>)> = BTreeMap::new();
        for (index, read) in run.iter().enumerate() {
            let header = &read.envelope.header;
            let Some(peer) = self.peers.get(&header.sender) else { continue };
            let (seq, hash, members) = chains.entry(header.sender).or_insert_with(|| (peer.seq, peer.hash, Vec::new()));
            if header.class != Class::Ephemeral && header.seq == *seq + 1 && header.previous == *hash {
                (*seq, *hash) = (header.seq, read.hash);
                members.push(index);
            }
        }
        for (_, _, members) in chains.into_values() {
            let Some(&last) = members.last() else { continue };
            if self.signature_holds(&run[last]) {
                for index in members {
                    run[index].verified = true;
                }
            }
        }
    }

    /// Whether it is sealed as the group had agreed to in its epoch. Its sender could choose otherwise, and choose the weaker. Of
    /// an epoch whose key is not here nothing is opened.
    pub(super) fn is_of_group_suite(&self, header: &Header) -> bool {
        self.epochs.get(&header.epoch).is_none_or(|key| key.suite == header.suite) || !stands(Defence::GroupSuite)
    }

    fn signature_holds(&self, read: &Read<'_>) -> bool {
        let envelope = &read.envelope;
        self.peers.get(&envelope.header.sender).filter(|p| p.may_be_verified()).is_some_and(|peer| {
            let parts = (envelope.header_bytes, &read.ciphertext_hash, envelope.signature);
            !stands(Defence::EnvelopeSignature)
                || verify_parts(&self.group, parts.0, parts.1, parts.2, &peer.key).is_ok()
        })
    }

    fn envelope(&mut self, read: &Read<'_>, now: u64) -> Outcome {
        let header = &read.envelope.header;
        if header.class == Class::Ephemeral || !self.is_of_group_suite(header) {
            return Outcome::Forged;
        }
        // Whom this device only knows by hearsay, or will hear of, it cannot verify: what belongs to the group comes as history.
        let Some(peer) = self.peers.get(&header.sender) else {
            let ahead = self.has_several() && header.epoch > self.membership.epoch();
            return if self.chain.replaced_at > 0 || ahead { Outcome::Gap } else { Outcome::Forged };
        };
        if peer.cut_is_open && !peer.may_be_verified() {
            return Outcome::Gap;
        }
        if peer.cut.is_some_and(|cut| header.seq > cut) && stands(Defence::Cut) {
            // Where its end is only hearsay, what belongs to it comes as history.
            return if peer.cut_is_open { Outcome::Gap } else { Outcome::RemovedSender };
        }
        let known = header.seq < peer.seq || (header.seq == peer.seq && read.hash == peer.hash);
        if known && stands(Defence::Duplicates) {
            return Outcome::Duplicate;
        }
        if !read.verified && !self.signature_holds(read) {
            return Outcome::Forged;
        }
        let forks = header.seq == peer.seq || (header.seq == peer.seq + 1 && header.previous != peer.hash);
        if forks && stands(Defence::Chain) {
            return Outcome::Equivocation;
        }
        if header.epoch < peer.epoch {
            return Outcome::Forged;
        }
        let early = header.seq > peer.seq + 1 && stands(Defence::Chain);
        if early || header.epoch > self.membership.epoch() {
            self.buffer_gap(read);
            self.look_for_repair(read);
            return Outcome::Gap;
        }
        self.next_in_chain(read, now)
    }

    fn is_buffered(&self, sender: DeviceId, seq: u64) -> bool {
        self.peers.get(&sender).is_some_and(|peer| peer.gaps.binary_search(&seq).is_ok())
    }

    fn buffer_gap(&mut self, read: &Read<'_>) {
        let (sender, seq) = (read.envelope.header.sender, read.envelope.header.seq);
        let Some(peer) = self.peers.get_mut(&sender) else { return };
        let Err(place) = peer.gaps.binary_search(&seq) else { return };
        let before = if peer.gaps.is_empty() { 0 } else { peer.gap_bytes };
        let bytes = before + read.bytes.len() as u64;
        self.dirty.insert(Key::Peer(sender));
        if peer.gaps.len() >= GAPS || (bytes > GAP_BYTES && stands(Defence::GapBytes)) {
            // Asked for once what is before it is here.
            if peer.heard < seq {
                (peer.heard, peer.heard_from) = (seq, sender);
            }
            return;
        }
        peer.gaps.insert(place, seq);
        peer.gap_bytes = bytes;
        self.writes.push(Write::BufferGap { sender, seq, envelope: Opaque(read.bytes.to_vec()) });
    }

    /// Who sends again what is missing says so behind the hole. That alone is read before its turn.
    fn look_for_repair(&mut self, read: &Read<'_>) {
        let header = &read.envelope.header;
        let Some(key) = self.epochs.get(&header.epoch).filter(|key| key.tag == header.epoch_tag) else { return };
        if header.class != Class::Control || !self.peers.get(&header.sender).is_some_and(|p| p.member) {
            return;
        }
        let body = open(self.group, &read.envelope, &key.secret).ok().and_then(|plain| decode::<Body>(&plain).ok());
        for control in body
            .filter(|body| body.is_bounded() && body.fits(header.class))
            .map(|body| body.control)
            .unwrap_or_default()
        {
            match control {
                Control::Nack(nack) => self.nack_arrived(header.sender, &nack),
                Control::Repair(repair) => self.repair_arrived(header.sender, repair),
                _ => {}
            }
        }
    }

    /// Takes the envelope that continues its sender's chain.
    fn next_in_chain(&mut self, read: &Read<'_>, now: u64) -> Outcome {
        let header = &read.envelope.header;
        let Some(key) = self.epochs.get(&header.epoch) else {
            self.advance(read, now);
            self.want(header.sender, header.seq, now);
            return Outcome::Unreadable;
        };
        if key.tag != header.epoch_tag {
            self.advance(read, now);
            if !stands(Defence::Branch) {
                self.halt(Code::Forked);
            }
            // If its sender comes back, it has what it sealed there.
            self.want(header.sender, header.seq, now);
            self.note_parted(now);
            self.doubt_branch();
            return Outcome::OtherBranch;
        }
        let body = open(self.group, &read.envelope, &key.secret).ok().and_then(|plain| decode::<Body>(&plain).ok());
        let body = body.filter(|body| body.is_bounded() && (body.fits(header.class) || !stands(Defence::BodyClass)));
        let blobs = body.as_ref().and_then(|b| unpack(&b.blobs).ok());
        let (Some(body), Some(blobs)) = (body, blobs) else {
            if stands(Defence::PassOver) {
                self.advance(read, now);
            }
            return Outcome::Undecodable;
        };
        self.advance(read, now);
        let (sender, seq) = (header.sender, header.seq);
        if self.before.as_ref().is_some_and(|b| b.epoch == header.epoch) {
            // The relay takes nothing of a provisional epoch, so the commit is confirmed.
            self.drop_before();
        }
        self.note_answer(&body);
        for reached in &body.seen {
            if self.heard_of(sender, reached) && stands(Defence::SplitView) {
                self.refuse(Outcome::SplitView, read.cursor, Some(sender), read.bytes, now);
            }
        }
        if !blobs.is_empty() {
            let hold = self.has_hole_before(sender, seq);
            self.writes.push(Write::Receive { sender, seq, blobs, hold });
            if !hold {
                self.arrived();
            }
        }
        for control in body.control {
            self.control(sender, control, now);
        }
        Outcome::Accepted
    }

    fn advance(&mut self, read: &Read<'_>, now: u64) {
        let header = &read.envelope.header;
        self.alive(header.sender, now);
        let Some(peer) = self.peers.get_mut(&header.sender) else { return };
        (peer.seq, peer.hash, peer.epoch) = (header.seq, read.hash, header.epoch);
        peer.head = Some(read.head());
        if peer.drop_gap(header.seq) {
            self.writes.push(Write::DropGap { sender: header.sender, seq: header.seq });
        }
        self.dirty.insert(Key::Peer(header.sender));
        self.now_unstated(header.sender);
        self.unseen.insert(header.sender);
    }

    /// A buffered envelope whose turn has come.
    pub(super) fn ready_gap(&self) -> Option<(DeviceId, u64)> {
        let jumps = |id: &DeviceId| self.session.as_ref().is_some_and(|s| s.repairs.jumping.contains(id));
        // While its epoch is unknown it stays where it is; commits make it ready.
        self.peers.iter().filter(|(id, _)| !self.waiting_for_epoch.contains(id)).find_map(|(id, peer)| {
            let ready = |seq: &u64| *seq <= peer.seq + 1 || jumps(id);
            peer.gaps.first().copied().filter(ready).map(|seq| (*id, seq))
        })
    }

    pub(super) fn gap_read(&mut self, envelope: Option<Opaque>, now: u64) {
        let Some((sender, seq)) = self.ready_gap() else { return };
        let read = envelope.as_ref().and_then(|bytes| Read::new(self.relay.cursor, bytes));
        if let Some(read) = &read {
            self.jump_to(&read.envelope.header, now);
        }
        let outcome = read.as_ref().map_or(Outcome::Forged, |read| self.envelope(read, now));
        if outcome == Outcome::Gap {
            self.waiting_for_epoch.insert(sender);
            return;
        }
        self.count(outcome);
        let Some(peer) = self.peers.get_mut(&sender) else { return };
        peer.gap_bytes = peer.gap_bytes.saturating_sub(envelope.as_ref().map_or(0, |bytes| bytes.len() as u64));
        self.dirty.insert(Key::Peer(sender));
        if peer.drop_gap(seq) {
            self.writes.push(Write::DropGap { sender, seq });
        }
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// Records and reports what is not applied; it is acknowledged like everything else, so that it blocks nothing.
    pub(super) fn refuse(&mut self, outcome: Outcome, cursor: u64, sender: Option<DeviceId>, bytes: &[u8], now: u64) {
        self.count(outcome);
        let entry = RefusedEntry { cursor, sender, outcome, at: now, bytes: Opaque(bytes.to_vec()) };
        self.writes.push(Write::Refused(Box::new(entry)));
        self.events.push(Event::Unusual { outcome, sender });
    }

    pub(super) fn arrived(&mut self) {
        if self.events.last() != Some(&Event::Arrived) {
            self.events.push(Event::Arrived);
        }
    }
}
