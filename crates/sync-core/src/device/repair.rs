//! Repair: what the relay should have handed out and has not is asked of the members. First its sender sends it again, byte
//! for byte. If that fails, what lies before a later envelope of the same sender is asked for as history, and another member
//! shows how far it knows the chain, by the sender's own signature. What nobody brings is told as withheld, and asked for
//! again later.
//!
//! An honest relay on one line never causes any of this: a member speaks of an envelope only behind it in the same log.

use std::collections::{BTreeMap, BTreeSet};

use mls_rs::CryptoProvider;
use rand_core::CryptoRng;
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_rules::envelope::verify_head;
use sync_types::body::{Control, Nack, Repair, Span};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{Entry, EntryKind, Head};
use sync_types::settings::HistoryPolicy;
use sync_types::{DeviceId, EntryHash, Opaque, encode, limits};

use super::Device;
use crate::event::{Event, Evidence, Outcome};
use crate::store::{Key, Read};

/// How many spans one request may hold.
const SPANS: usize = 256;

/// Where this device stands with what it lacks. Lives as long as the connection.
#[derive(Default)]
pub(super) struct Repairs {
    /// When the next step is due, in milliseconds; 0 when none waits for a time.
    at: u64,
    /// Whether a step is due and has not been taken yet.
    due: bool,
    /// How many steps were taken without success.
    step: usize,
    /// Senders whose chains go on behind a hole as soon as the envelope there is read.
    pub(super) jumping: BTreeSet<DeviceId>,
    /// Whether every member was asked in vain.
    pub(super) exhausted: bool,
    /// Up to which number each sender's envelopes were asked for in vain.
    in_vain: BTreeMap<DeviceId, u64>,
    /// When it is told that the beginning of an epoch is kept back, in milliseconds; 0 when that is not so, or was told.
    later_at: u64,
    /// Whether it was told.
    later_told: bool,
}

impl Repairs {
    /// No step waits longer than until then.
    pub(super) fn bound(&mut self, latest: u64) {
        (self.at, self.later_at) = (self.at.min(latest), self.later_at.min(latest));
    }
}

/// What came in an answer to a [`Nack`], in its order.
pub(super) enum Repaired {
    Envelope(Opaque),
    /// Who says so, in answer to which number, and what.
    Head(DeviceId, u64, Head),
}

pub(super) fn millis(time: std::time::Duration) -> u64 {
    time.as_millis() as u64
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// What should be here by now: before an envelope that came too early, or below what a member claims to hold.
    pub(super) fn lacking(&self) -> Vec<Span> {
        let lacks = |(sender, peer): (&DeviceId, &super::records::Peer)| {
            let from = peer.seq + 1;
            let to = match peer.gaps.first() {
                // It waits for its epoch, and so does whatever comes behind.
                Some(first) if *first <= from => return None,
                Some(first) => first - 1,
                None => peer.heard,
            };
            let to = to.min(peer.cut.unwrap_or(u64::MAX));
            (from <= to).then_some(Span { sender: *sender, from, to })
        };
        self.peers.iter().filter_map(lacks).collect()
    }

    /// Sets the time of the next step, or ends the repair when nothing is lacking any more.
    pub(super) fn watch_repairs(&mut self, now: u64) {
        if !self.session.as_ref().is_some_and(|s| s.caught_up) || !stands(Defence::Repair) {
            return;
        }
        if self.is_alone() {
            self.give_up_repairs(now);
        }
        self.watch_later_epoch(now);
        let lacking = !self.lacking().is_empty();
        let repairs = &mut self.session_mut().repairs;
        if !lacking {
            let Repairs { later_at, later_told, .. } = *repairs;
            *repairs = Repairs { later_at, later_told, ..Repairs::default() };
        } else if repairs.at == 0 && !repairs.due {
            repairs.at = now + millis(limits::REPAIR_AFTER);
        } else if (1..=now).contains(&repairs.at) {
            (repairs.at, repairs.due) = (0, true);
        }
    }

    /// A member has sealed in an epoch that has not begun here, and the relay has shown all that there is: it keeps the change
    /// back that begins it, a removal perhaps. The group's state may show it; if that is kept back as well, it is told.
    fn watch_later_epoch(&mut self, now: u64) {
        let is_kept_back =
            !self.waiting_for_epoch.is_empty() && self.identity.halted == 0 && stands(Defence::LaterEpoch);
        let repairs = &mut self.session_mut().repairs;
        if !is_kept_back {
            (repairs.later_at, repairs.later_told) = (0, false);
        } else if repairs.later_at == 0 && !repairs.later_told {
            repairs.later_at = now + millis(limits::REPAIR_PATIENCE);
        } else if (1..=now).contains(&repairs.later_at) {
            (repairs.later_at, repairs.later_told) = (0, true);
            let waiting: Vec<_> = self.unread().collect();
            self.events.extend(waiting.into_iter().map(|(sender, count)| Event::Withheld { sender, count }));
            self.doubt_branch();
        }
    }

    /// Who has sealed in an epoch that has not begun here, and how many envelopes wait for it.
    fn unread(&self) -> impl Iterator<Item = (DeviceId, u64)> {
        let waits = |id: &&DeviceId| self.waiting_for_epoch.contains(id);
        let waiting = self.peers.iter().filter(move |(id, _)| waits(id));
        waiting.map(|(id, peer)| (*id, peer.gaps.len() as u64)).filter(|(_, count)| *count > 0)
    }

    /// How many envelopes are known to exist and have not come.
    pub(super) fn behind(&self) -> u64 {
        self.lacking().iter().map(|s| s.to - s.from + 1).fold(0, u64::saturating_add)
    }

    /// How many of these were asked for in vain.
    pub(super) fn withheld(&self) -> u64 {
        let (exhausted, later) =
            self.session.as_ref().map_or((false, false), |s| (s.repairs.exhausted, s.repairs.later_told));
        let unread = if later { self.unread().map(|(_, count)| count).sum() } else { 0 };
        if exhausted { self.behind().saturating_add(unread) } else { unread }
    }

    /// Nobody is left who could bring what is lacking.
    fn give_up_repairs(&mut self, now: u64) {
        for span in self.lacking() {
            let Some(peer) = self.peers.get_mut(&span.sender) else { continue };
            if !peer.gaps.is_empty() {
                self.session_mut().repairs.jumping.insert(span.sender);
                continue;
            }
            if peer.cut.is_some() {
                // It has ended, and whoever comes is told of all of it.
                (peer.seq, peer.hash, peer.head) = (span.to, EntryHash::default(), None);
            }
            peer.heard = peer.seq;
            self.dirty.insert(Key::Peer(span.sender));
            self.refuse(Outcome::HistoryLost, self.relay.cursor, Some(span.sender), &encode(&span), now);
        }
    }

    pub(super) fn repair_at(&self) -> Option<u64> {
        let repairs = self.session.as_ref().map(|s| [s.repairs.at, s.repairs.later_at]);
        repairs.into_iter().flatten().filter(|at| *at > 0).min()
    }

    /// The next step of a repair, if it is due.
    pub(super) fn due_nack(&mut self, now: u64) -> Option<Nack> {
        if !std::mem::take(&mut self.session_mut().repairs.due) {
            return None;
        }
        let step = self.session_mut().repairs.step;
        let mut spans = self.lacking();
        if step > 0 {
            // A later envelope names the hash before it, signed by the sender: the chain goes on there.
            let (gaps, ends) = spans.into_iter().partition(|s| !self.peers[&s.sender].gaps.is_empty());
            spans = ends;
            let gaps: Vec<Span> = gaps;
            self.session_mut().repairs.jumping.extend(gaps.iter().map(|s| s.sender));
            // The chain of a former member ends at its cut, and nothing comes behind that has to fit.
            let (former, ends) = spans.into_iter().partition(|s| self.peers[&s.sender].cut.is_some());
            spans = ends;
            let former: Vec<Span> = former;
            former.into_iter().for_each(|span| self.jump(span, EntryHash::default(), now));
        }
        if spans.is_empty() {
            return None;
        }
        // Whoever was heard last is the likeliest to answer.
        let mut members: Vec<DeviceId> = self.peers.iter().filter(|(_, p)| p.member).map(|(id, _)| *id).collect();
        members.sort_by_key(|id| self.silence(&self.peers[id]));
        let repairs = &mut self.session_mut().repairs;
        if step > members.len() {
            (repairs.step, repairs.at, repairs.exhausted) = (0, now + millis(limits::REPAIR_AGAIN), true);
            repairs.in_vain.extend(spans.iter().map(|s| (s.sender, s.to)));
            self.events.extend(spans.iter().map(|s| Event::Withheld { sender: s.sender, count: s.to - s.from + 1 }));
            return None;
        }
        (repairs.step, repairs.at) = (step + 1, now + millis(limits::REPAIR_PATIENCE));
        spans.truncate(SPANS);
        // The first step asks the senders alone.
        let holder = step.checked_sub(1).map(|index| members[index]).unwrap_or_default();
        self.nacked = (now.max(self.nacked.0 + 1), spans.clone());
        Some(Nack { number: self.nacked.0, holder, spans })
    }

    /// The envelope behind a hole was read: if nobody has sent again what is missing, the chain goes on with it.
    pub(super) fn jump_to(&mut self, header: &Header, now: u64) {
        let jumping = self.session.as_mut().is_some_and(|s| s.repairs.jumping.remove(&header.sender));
        let Some(peer) = self.peers.get(&header.sender).filter(|_| jumping) else { return };
        let span = Span { sender: header.sender, from: peer.seq + 1, to: header.seq.saturating_sub(1) };
        if span.from <= span.to && peer.cut.is_none_or(|cut| span.to <= cut) {
            self.jump(span, header.previous, now);
        }
    }

    /// Continues a chain behind a hole, whose blobs are asked for as history.
    fn jump(&mut self, span: Span, hash: EntryHash, now: u64) {
        let Some(peer) = self.peers.get_mut(&span.sender) else { return };
        (peer.seq, peer.hash, peer.head) = (span.to, hash, None);
        self.dirty.insert(Key::Peer(span.sender));
        self.now_unstated(span.sender);
        self.unseen.insert(span.sender);
        if self.membership.settings().history == HistoryPolicy::None {
            self.refuse(Outcome::HistoryLost, self.relay.cursor, Some(span.sender), &encode(&span), now);
        }
        self.want_span(span, now);
    }

    /// Another device lacks envelopes.
    pub(super) fn nack_arrived(&mut self, asker: DeviceId, nack: &Nack) {
        if nack.spans.len() > SPANS {
            return;
        }
        // One answer for each asker waits; who is not helped asks again.
        self.answers.retain(|answer| answer.asker != asker);
        if let Some(own) = nack.spans.iter().find(|s| s.sender == self.me && s.from <= self.chain.seq) {
            self.repairing.insert(asker, (nack.number, Span { to: own.to.min(self.chain.seq), ..*own }));
        }
        let claimed_too_much = nack.spans.iter().any(|s| s.sender == self.me && s.to > self.chain.seq);
        let asked = nack.spans.iter().filter(|s| nack.holder == self.me && s.sender != self.me);
        let known = |span: &Span| self.peers.get(&span.sender)?.head.clone().filter(|head| head.seq >= span.from);
        let mut heads: Vec<Head> = asked.filter_map(known).collect();
        heads.extend(self.chain.head.clone().filter(|_| claimed_too_much));
        if !heads.is_empty() {
            self.answers.push(Repair { asker, number: nack.number, envelopes: Vec::new(), heads });
        }
    }

    /// Own envelopes that somebody lacks.
    pub(super) fn repair_read(&self) -> Option<Read> {
        let (_, span) = self.repairing.values().next()?;
        Some(Read::Repair { from_seq: span.from, to_seq: span.to, max_bytes: limits::PACK_BYTES })
    }

    pub(super) fn answer_nack(&mut self, found: Vec<(u64, Opaque)>, now: u64, rng: &mut dyn CryptoRng) {
        let Some((asker, (number, span))) = self.repairing.pop_first() else { return };
        let mut answer = Repair { asker, number, envelopes: Vec::new(), heads: Vec::new() };
        match found.last() {
            Some((last, _)) if *last < span.to => {
                self.repairing.insert(asker, (number, Span { from: last + 1, ..span }));
            }
            Some(_) => {}
            // Everybody has signed for them, so that they are here no more; the blobs are history.
            None => answer.heads.extend(self.chain.head.clone()),
        }
        answer.envelopes = found.into_iter().map(|(_, envelope)| envelope).collect();
        self.seal_control(vec![Control::Repair(answer)], now, rng);
    }

    /// Somebody answers: what is in it waits until what is being delivered is through.
    pub(super) fn repair_arrived(&mut self, holder: DeviceId, repair: Repair) {
        if repair.asker != self.me {
            return;
        }
        self.repaired.extend(repair.envelopes.into_iter().map(Repaired::Envelope));
        let number = repair.number;
        self.repaired.extend(repair.heads.into_iter().map(|head| Repaired::Head(holder, number, head)));
    }

    /// Takes what answers brought. An answer may hold another, so this is no recursion.
    pub(super) fn take_repaired(&mut self, now: u64) {
        while let Some(repaired) = self.repaired.pop_front() {
            match repaired {
                Repaired::Envelope(bytes) => self.repaired_envelope(bytes, now),
                Repaired::Head(holder, number, head) => self.head_shown(holder, number, &head, now),
            }
        }
    }

    /// Takes an envelope only where it is lacking, so that nobody makes this device look at others again and again.
    fn repaired_envelope(&mut self, bytes: Opaque, now: u64) {
        let Ok(header) = Envelope::parse(&bytes).map(|envelope| envelope.header) else { return };
        let inside = |s: &Span| s.sender == header.sender && (s.from..=s.to).contains(&header.seq);
        if self.lacking().iter().any(inside) {
            self.count(Outcome::Repaired);
            self.events.push(Event::Unusual { outcome: Outcome::Repaired, sender: Some(header.sender) });
            self.envelopes(&[Entry { cursor: self.relay.cursor, kind: EntryKind::Envelope, bytes }], now);
        }
    }

    /// A chain's end, with its sender's signature.
    fn head_shown(&mut self, holder: DeviceId, number: u64, head: &Head, now: u64) {
        let Ok(Header { sender, .. }) = Header::parse(&head.header) else { return };
        let Some(peer) = self.peers.get_mut(&sender).filter(|p| p.may_be_verified()) else { return };
        let Some(header) = verify_head(&self.group, head, &peer.key) else { return };
        if header.class == Class::Ephemeral || peer.cut.is_some_and(|cut| head.seq > cut) {
            return;
        }
        if head.seq == peer.seq && head.hash != peer.hash {
            let evidence = Evidence { first: peer.head.clone(), second: Opaque(encode(head)) };
            self.refuse(Outcome::Equivocation, self.relay.cursor, Some(sender), &encode(&evidence), now);
            return;
        }
        // Whoever claimed more did so before this was asked, and the sender has never sealed it.
        let (asked, spans) = &self.nacked;
        let claimed = spans.iter().find(|s| s.sender == sender).filter(|_| *asked == number && holder == sender);
        let disproved = claimed.is_some_and(|s| head.seq < s.to && s.to == peer.heard && peer.gaps.is_empty());
        if disproved && stands(Defence::FalseClaims) {
            let liar = peer.heard_from;
            peer.heard = head.seq;
            self.dirty.insert(Key::Peer(sender));
            self.refuse(Outcome::FalseClaim, self.relay.cursor, Some(liar), &encode(head), now);
        }
        self.chain_goes_on(head, &header, now);
    }

    /// Continues a chain at its end, whose signature holds, behind what is lacking.
    fn chain_goes_on(&mut self, head: &Head, header: &Header, now: u64) {
        let sender = header.sender;
        let Some(span) = self.lacking().into_iter().find(|s| s.sender == sender && s.from <= head.seq) else { return };
        if self.peers.get(&sender).is_some_and(|p| p.gaps.is_empty()) {
            self.jump(Span { to: head.seq, ..span }, head.hash, now);
            if let Some(peer) = self.peers.get_mut(&sender) {
                peer.head = Some(head.clone());
                peer.epoch = peer.epoch.max(header.epoch);
            }
        }
    }

    /// The relay shows the end of another member's chain, as that signed it.
    pub(super) fn head_claimed(&mut self, head: &Head) {
        let Ok(Header { sender, .. }) = Header::parse(&head.header) else { return };
        let Some(peer) = self.peers.get_mut(&sender).filter(|p| p.may_be_verified() && p.heard < head.seq) else {
            return;
        };
        if verify_head(&self.group, head, &peer.key).is_some() {
            peer.heard = head.seq;
            self.dirty.insert(Key::Peer(sender));
        }
    }

    /// The relay orders a removal at this end of the removed device's chain alone. What every member was asked for in vain
    /// keeps nobody in the group: the chain goes on at its end, and what is lacking is history.
    pub(super) fn goes_without(&mut self, head: &Head, now: u64) {
        let Ok(Header { sender, .. }) = Header::parse(&head.header) else { return };
        let in_vain = self.session_mut().repairs.in_vain.get(&sender).is_some_and(|to| head.seq <= *to);
        let Some(peer) = self.peers.get(&sender).filter(|p| in_vain && p.member && p.may_be_verified()) else { return };
        let header = verify_head(&self.group, head, &peer.key).filter(|header| header.class != Class::Ephemeral);
        if let Some(header) = header {
            self.chain_goes_on(head, &header, now);
        }
    }

    /// A member has said something that is new here.
    pub(super) fn alive(&mut self, device: DeviceId, now: u64) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.alive_at = peer.alive_at.max(now);
            peer.alive_heard = self.listening.ms;
            self.stale.remove(&device);
        }
    }

    /// How far this device knows the members' chains, by their own word.
    pub(super) fn heads(&self) -> Control {
        Control::Heads(self.peers.values().filter(|p| p.member).filter_map(|p| p.head.clone()).collect())
    }

    /// When the next member becomes stale, if it says nothing until then.
    pub(super) fn stale_at(&self) -> Option<u64> {
        self.session.as_ref().filter(|s| s.caught_up)?;
        let waits = self.peers.iter().filter(|(id, p)| p.member && !self.stale.contains(id));
        waits.map(|(_, p)| self.silent_until(p, millis(limits::STALE_PEER))).min()
    }

    pub(super) fn tell_stale(&mut self) {
        // What waits at the relay may hold a word of it.
        if !self.session.as_ref().is_some_and(|s| s.caught_up) {
            return;
        }
        let stale = |p: &&super::records::Peer| p.member && self.silence(p) >= millis(limits::STALE_PEER);
        let silent = self.peers.iter().filter(|(id, p)| !self.stale.contains(id) && stale(p));
        for (device, since) in silent.map(|(id, p)| (*id, p.alive_at)).collect::<Vec<_>>() {
            self.stale.insert(device);
            self.events.push(Event::StalePeer { device, since });
        }
    }

    pub(super) fn beacon_at(&self) -> Option<u64> {
        let waits = !self.is_alone() && self.session.as_ref().is_some_and(|s| s.caught_up && !s.beacon_due);
        waits.then_some(self.chain.beacon_at + millis(limits::BEACON_EVERY))
    }

    /// On connecting, and while the connection lasts: every envelope's `seen` is what is new, a beacon's is everything.
    pub(super) fn watch_beacon(&mut self, now: u64, rest: std::time::Duration) {
        let due = self.chain.beacon_at + millis(rest) <= now && !self.is_alone();
        if let Some(session) = self.session.as_mut().filter(|_| due) {
            session.beacon_due = true;
        }
    }

    pub(super) fn due_beacon(&mut self, now: u64) -> Option<Control> {
        if !std::mem::take(&mut self.session_mut().beacon_due) {
            return None;
        }
        self.chain.beacon_at = now;
        self.unseen = self.peers.iter().filter(|(_, p)| p.seq > 0).map(|(id, _)| *id).collect();
        Some(Control::Name(self.identity.name.clone()))
    }
}
