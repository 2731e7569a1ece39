//! Sealing and sending: blobs from the outbox, messages between engines, presence; and reading back what is needed.

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::envelope::{head_of, verify_envelope};
use sync_types::body::{Body, Control, Presence, Reached, pack};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::ToRelay;
use sync_types::{EntryHash, Opaque, VERSION, decode, encode, limits};

use super::{Device, DeviceError};
use crate::event::Event;
use crate::seal::{nonce, open, seal};
use crate::store::{Answer, Key, LogBlob, Read, Write};

/// How many senders one envelope speaks of as newly seen. More wait for the next.
const SEEN: usize = limits::MEMBERS;

/// How many presences are remembered that came by one relay and may come by another.
const PRESENCE_TOLD: usize = 64;

/// What a blob costs in an envelope besides its bytes and its channel: id, lengths, and in history the run that it is in.
const BLOB_OVERHEAD: usize = 64;

/// As many rows from the first as fit one envelope: one at least, then up to [`limits::PACK_BYTES`] with all that comes
/// with them. A store counts bytes of data; what an envelope may hold is decided here.
pub(super) fn fitting(rows: &[LogBlob]) -> &[LogBlob] {
    let mut size = 0;
    let fits = |row: &&LogBlob| {
        size += row.blob.data.len() + row.blob.channel.len() + BLOB_OVERHEAD * (1 + row.covers.len());
        size <= limits::PACK_BYTES
    };
    let count = rows.iter().take(limits::PACK_BLOBS).take_while(fits).count();
    &rows[..count.max(1).min(rows.len())]
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// What the core needs read, or nothing. Ask again after each answer.
    pub fn next_read(&mut self, now: u64) -> Option<Read> {
        if let Some((sender, seq)) = self.ready_gap() {
            return Some(Read::Gap { sender, seq });
        }
        if let Some((_, from_seq)) = self.unproven() {
            return Some(Read::Sealed { from_seq, max_bytes: 1 });
        }
        if self.own_end_unknown() {
            // Asked for on the line that leads.
            return Some(Read::Sealed { from_seq: self.chain.accepted, max_bytes: 1 });
        }
        if let Some((_, read)) = self.sealed_reader(now) {
            return Some(read);
        }
        if !self.may_seal(now) {
            return None;
        }
        if let Some(read) = self.repair_read() {
            return Some(read);
        }
        if let Some(read) = self.history_read(now) {
            return Some(read);
        }
        if self.outbox_waits {
            return Some(Read::Outbox { max_bytes: limits::PACK_BYTES, max_blobs: limits::PACK_BLOBS });
        }
        self.kit_read(now)
    }

    /// The answer to [`Device::next_read`].
    pub fn handle_read(&mut self, answer: Answer, now: u64, rng: &mut dyn CryptoRng) {
        match answer {
            Answer::Gap(envelope) => self.gap_read(envelope, now),
            Answer::Sealed(envelopes) => self.sealed_read(envelopes, now),
            Answer::Repair(found) => self.answer_nack(found, now, rng),
            Answer::History(rows) => self.answer_history(&rows, now, rng),
            Answer::Outbox(rows) => self.seal_outbox(&rows, now, rng),
            Answer::ForKit(found) => self.leave_for_kit(found, now),
        }
        self.pump(now, rng);
    }

    fn seal_outbox(&mut self, rows: &[LogBlob], now: u64, rng: &mut dyn CryptoRng) {
        let rows = fitting(rows);
        let Some(last) = rows.last() else {
            self.outbox_waits = false;
            return;
        };
        let blobs = pack(rows.iter().map(|row| &row.blob));
        self.seal_body(Class::Data, Body { blobs, ..Body::default() }, Some(last.position), now, rng);
    }

    pub(super) fn seal_control(&mut self, control: Vec<Control>, now: u64, rng: &mut dyn CryptoRng) {
        self.seal_body(Class::Control, Body { control, ..Body::default() }, None, now, rng);
    }

    fn seal_body(
        &mut self,
        class: Class,
        mut body: Body,
        up_to_position: Option<u64>,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) {
        body.seen = self.newly_seen();
        let header = self.header(class, self.chain.seq + 1, self.chain.hash, rng);
        let key = &self.epochs[&header.epoch];
        let sealed = seal(self.group, &header, &encode(&body), &key.secret, &self.key);
        self.chain.seq = header.seq;
        self.chain.hash = sealed.head.hash;
        self.chain.head = Some(sealed.head);
        self.chain.epoch = header.epoch;
        self.chain.since_update += 1;
        self.dirty.insert(Key::Chain);
        let envelope = Opaque(sealed.bytes);
        self.writes.push(Write::Sealed { seq: header.seq, envelope: envelope.clone(), up_to_position });
        self.send_sealed(vec![(header.seq, self.chain.hash, envelope.clone())]);
        self.fan_out(header.seq, &envelope, now);
    }

    fn header(&self, class: Class, seq: u64, previous: EntryHash, rng: &mut dyn CryptoRng) -> Header {
        let epoch = self.membership.epoch();
        Header {
            version: VERSION,
            suite: self.suite() as u8,
            class,
            epoch,
            epoch_tag: self.epochs[&epoch].tag,
            sender: self.me,
            seq,
            previous,
            nonce: nonce(rng),
        }
    }

    fn newly_seen(&mut self) -> Vec<Reached> {
        let mut seen = Vec::new();
        while seen.len() < SEEN {
            let Some(sender) = self.unseen.pop_first() else { break };
            if let Some(peer) = self.peers.get(&sender) {
                seen.push(Reached { sender, seq: peer.seq, hash: peer.hash });
            }
        }
        seen
    }

    /// Own envelopes were read, for the line that needed them.
    fn sealed_read(&mut self, envelopes: Vec<(u64, Opaque)>, now: u64) {
        let reader = || self.sealed_reader(now).filter(|_| !self.own_end_unknown()).map(|(relay, _)| relay);
        let unproven = self.unproven().map(|(relay, _)| relay);
        self.enter(unproven.or_else(reader).unwrap_or(self.lead));
        match unproven {
            Some(_) => self.prove_own(envelopes.first(), now),
            None => self.resend(envelopes),
        }
        self.enter(self.lead);
    }

    fn resend(&mut self, envelopes: Vec<(u64, Opaque)>) {
        if self.replaces_key().is_some() {
            return self.show_own_end(envelopes.first());
        }
        let mut list = Vec::with_capacity(envelopes.len());
        for (_, bytes) in envelopes {
            let Ok(envelope) = Envelope::parse(&bytes) else { return self.protocol_broken() };
            list.push((head_of(&envelope), bytes));
        }
        let Some(first) = list.first().map(|(head, _)| head) else { return self.protocol_broken() };
        if first.seq > self.session_mut().next_send {
            // What lies below was signed for by everybody and dropped, and the relay has lost it. It goes on behind the last
            // that everybody has, which is kept for this.
            let (first, _) = list.remove(0);
            self.session_mut().has_all_up_to(first.seq);
            self.sends.push(ToRelay::Heads(vec![first]));
        }
        if !list.is_empty() {
            self.send_sealed(list.into_iter().map(|(head, bytes)| (head.seq, head.hash, bytes)).collect());
        }
    }

    pub(super) fn send_sealed(&mut self, envelopes: Vec<(u64, EntryHash, Opaque)>) {
        let session = self.session_mut();
        let mut list = Vec::with_capacity(envelopes.len());
        for (seq, hash, envelope) in envelopes {
            session.sent(seq, hash, envelope.len());
            list.push(envelope);
        }
        // One frame for what one transaction sealed, as long as it fits.
        if let Some(ToRelay::Push(waiting)) = self.sends.last_mut() {
            let size: usize = waiting.iter().chain(&list).map(|e| e.len()).sum();
            if size <= limits::DELIVER_BYTES {
                waiting.append(&mut list);
                return;
            }
        }
        self.sends.push(ToRelay::Push(list));
    }

    /// Tells whoever is attached now; nothing is stored anywhere.
    pub fn set_presence(&mut self, channel: &str, data: &[u8], rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.check_in_group()?;
        if channel.len() > limits::CHANNEL_BYTES {
            return Err(DeviceError::Invalid("a channel name has at most 256 bytes"));
        }
        if data.len() > limits::PRESENCE_BYTES {
            return Err(DeviceError::Invalid("presence has at most 1 KiB"));
        }
        if !self.session.as_ref().is_some_and(|s| s.attached) {
            return Err(DeviceError::Offline);
        }
        let header = self.header(Class::Ephemeral, 0, EntryHash::default(), rng);
        let presence = Presence { channel: Opaque(channel.into()), data: Opaque(data.to_vec()) };
        let key = &self.epochs[&header.epoch];
        let sealed = seal(self.group, &header, &encode(&presence), &key.secret, &self.key);
        let frame = ToRelay::Presence(Opaque(sealed.bytes));
        self.sends.push(frame.clone());
        self.on_others(|device| {
            if device.knows_epoch() {
                device.sends.push(frame.clone());
            }
        });
        Ok(())
    }

    /// Presence that is not properly signed, sealed or bounded is worth nothing and leaves nothing behind.
    pub(super) fn presence_arrived(&mut self, bytes: &[u8]) {
        let Some((device, presence)) = self.open_presence(bytes) else { return };
        let Ok(channel) = String::from_utf8(presence.channel.0) else { return };
        if self.was_presence_told(bytes) {
            return;
        }
        if channel.len() <= limits::CHANNEL_BYTES && presence.data.len() <= limits::PRESENCE_BYTES {
            self.events.push(Event::Presence { device, channel, data: presence.data.0 });
        }
    }

    /// With several relays it comes by each.
    fn was_presence_told(&mut self, bytes: &[u8]) -> bool {
        let Some(nonce) = Envelope::parse(bytes).ok().map(|e| e.header.nonce).filter(|_| self.has_several()) else {
            return false;
        };
        if self.presence_told.contains(&nonce) {
            return true;
        }
        self.presence_told.push_back(nonce);
        if self.presence_told.len() > PRESENCE_TOLD {
            self.presence_told.pop_front();
        }
        false
    }

    fn open_presence(&self, bytes: &[u8]) -> Option<(sync_types::DeviceId, Presence)> {
        let envelope = Envelope::parse(bytes).ok().filter(|e| e.header.class == Class::Ephemeral)?;
        if !self.is_of_group_suite(&envelope.header) {
            return None;
        }
        let sender = envelope.header.sender;
        let peer = self.peers.get(&sender).filter(|p| p.member || !stands(Defence::PresenceMember))?;
        let key = self.epochs.get(&envelope.header.epoch).filter(|k| k.tag == envelope.header.epoch_tag)?;
        verify_envelope(&self.group, &envelope, &peer.key).ok()?;
        let plain = open(self.group, &envelope, &key.secret).ok()?;
        Some((sender, decode(&plain).ok()?))
    }
}
