//! Taking a new key. A device whose disk was set back has sealed, signed or committed what it does not know of any more, and
//! must not do so again under the same key; one that could not apply a change of the group has lost its keys. Both take a
//! new key by an external commit that puts the old one out, fetch what they lack as history, and lose nothing.
//!
//! In this order: sending has stopped ([`Device::halt`]); the relay gives the group's newest state; the commit is made,
//! stored and sent; when it comes back in the log, the device goes on under its new id and attaches again.

use mls_rs::CryptoProvider;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use rand_core::CryptoRng;
use sync_rules::defence::stands;
use sync_rules::envelope::head_of;
use sync_rules::mls::CommitMessage;
use sync_rules::{Defence, Inspected, Observer, SigningKey};
use sync_types::body::Reached;
use sync_types::envelope::{Envelope, Header};
use sync_types::frame::{Commit, Cut, Entry, EntryKind, Head, ToRelay};
use sync_types::settings::HistoryPolicy;
use sync_types::{Code, DeviceId, EntryHash, Opaque, decode, encode, limits};
use zeroize::Zeroize;

use super::Device;
use super::records::{Chain, Intent, Peer};
use crate::event::Event;
use crate::membership::{self, Membership};
use crate::relay_id::relays_of;
use crate::store::{Key, Write};

/// How long to wait before a replacement that was refused for a lasting reason is tried again, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// How long to wait before the group's state is looked at again after a member was asked to sign it, in milliseconds. Doubled
/// each time, up to [`AGAIN_MS`].
const SIGNED_MS: u64 = 250;

/// How many times one member is asked to sign the group's state before another one is: the first is asked for about four
/// seconds.
const TRIES: usize = 4;

/// How many devices a member can make this one believe in: as many as a relay lets a group have had.
const PEERS: usize = 4_096;

/// The commit that replaces this device's key, until it is seen in the log. Holds the new key.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Replacement {
    seed: [u8; 32],
    hash: EntryHash,
    /// The end of the old key's chain, as the relay has it.
    cut: Reached,
    /// The whole [`Commit`], so that it is sent again byte for byte.
    frame: Opaque,
    /// The membership under the new key.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    state: Vec<u8>,
}

impl Drop for Replacement {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.state.zeroize();
    }
}

/// Where a replacement stands on this connection.
#[derive(Default)]
pub(super) struct Replacing {
    /// Whether the group's state was asked for.
    asked: bool,
    /// Whether it was asked for at a relay that is not the first, to see whether the group has given up the first one.
    pub(super) asked_here: bool,
    /// When it is asked for there again, in milliseconds; 0 when it is not.
    pub(super) ask_here_at: u64,
    /// Whether it is brought the group's state if the group has not given up its first relay there.
    pub(super) bring_here: bool,
    /// The last epoch in which it was asked for to compare.
    doubted: Option<u64>,
    /// Whether the commit was sent.
    sent: bool,
    /// Nothing is tried until then, in milliseconds; 0 when nothing waits for a time.
    pub(super) after: u64,
    /// The end of this device's chain as the relay showed it, signed by this device.
    pub(super) head: Option<Head>,
}

/// Who is asked to sign the group's state, and how many times somebody was. It outlasts connections: copies of a disk put each
/// other off the relay sooner than anybody has signed.
#[derive(Default)]
pub(super) struct Signing {
    by: Option<DeviceId>,
    tries: usize,
}

impl Replacing {
    /// Whether the relay owes an answer to what was asked or sent.
    pub(super) fn waits(&self) -> bool {
        self.after == 0 && (self.asked || self.sent || self.asked_here)
    }

    fn head_seq(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.seq)
    }
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Why this device takes a new key, if it does.
    pub(super) fn replaces_key(&self) -> Option<Code> {
        self.identity.halted().filter(|code| matches!(code, Code::RolledBack | Code::OutOfStep))
    }

    /// The relay says, without a signature for it, that this device had more than it has. It is believed now and then, so that
    /// it does not make this device change keys without end.
    pub(super) fn doubted(&mut self, now: u64) {
        let rest = limits::REPLACE_KEY_REST.as_millis() as u64;
        if self.chain.replaced_at.saturating_add(rest) <= now || !stands(Defence::ReplaceKeyRest) {
            self.halt(Code::RolledBack);
        }
    }

    /// The next step of the replacement, if the group is quiet.
    pub(super) fn pump_replacement(&mut self) {
        if self.replaces_key().is_none() || self.is_removed() || self.before.is_some() || self.pending.is_some() {
            return;
        }
        let Some(session) = self.session.as_mut().filter(|s| s.attached && s.caught_up) else { return };
        if session.replacing.after > 0 || session.replacing.head_seq() < self.chain.accepted {
            return;
        }
        match &self.replacement {
            Some(_) if session.replacing.sent => {}
            Some(replacement) => {
                session.replacing.sent = true;
                if let Ok(frame) = decode::<Commit>(&replacement.frame) {
                    self.sends.push(ToRelay::Commit(frame));
                }
            }
            None if session.replacing.asked => {}
            None => {
                session.replacing.asked = true;
                self.sends.push(ToRelay::GroupInfo(self.signing.by));
            }
        }
    }

    /// Whether the relay has lost the end of the old key's chain. Others have more of it than a cut there would let count, so
    /// that they would call it a fork.
    pub(super) fn own_end_unknown(&self) -> bool {
        self.replaces_key().is_some()
            && self.session.as_ref().is_some_and(|s| s.attached && s.replacing.head_seq() < self.chain.accepted)
    }

    /// Shows the relay the last envelope of the old key that it once accepted.
    pub(super) fn show_own_end(&mut self, last: Option<&(u64, Opaque)>) {
        let Some(envelope) = last.and_then(|(_, bytes)| Envelope::parse(bytes).ok()) else {
            return self.protocol_broken();
        };
        let head = head_of(&envelope);
        self.sends.push(ToRelay::Heads(vec![head.clone()]));
        self.session_mut().replacing.head = Some(head);
    }

    pub(super) fn replacing_at(&self) -> Option<u64> {
        self.session.as_ref().map(|s| s.replacing.after).filter(|at| *at > 0)
    }

    /// The group's newest state, as the relay gives it.
    pub(super) fn group_info_arrived(&mut self, group_info: &[u8], now: u64, rng: &mut dyn CryptoRng) {
        if self.session.as_mut().is_some_and(|s| std::mem::take(&mut s.replacing.asked_here)) {
            return self.state_elsewhere(group_info);
        }
        let asked = self.session.as_mut().is_some_and(|s| std::mem::take(&mut s.replacing.asked));
        if self.through.is_some_and(|relay| relay != self.at) {
            // It was given up, and says what no longer counts.
            return;
        }
        if asked && self.identity.halted == 0 {
            return self.compare_branch(group_info);
        }
        if !asked || self.replacement.is_some() || self.replaces_key().is_none() {
            return;
        }
        if self.goes_on_elsewhere(group_info) {
            return;
        }
        let made = self.make_replacement(group_info, rng);
        if !matches!(made, Err(Code::UnknownSigner)) {
            self.signing = Signing::default();
        }
        match made {
            Ok(None) => self.is_in_step(),
            Ok(Some(replacement)) => {
                self.replacement = Some(replacement);
                self.dirty.insert(Key::Replacement);
                self.session_mut().replacing.sent = false;
            }
            Err(code) => {
                let wait = if code == Code::UnknownSigner { self.ask_for_signature() } else { AGAIN_MS };
                self.session.get_or_insert_default().replacing.after = now + wait;
                self.events.push(Event::Refused { code, retry_after_ms: wait as u32 });
            }
        }
    }

    /// One member after the other is asked to sign the group's state, with the next request for it. How long to wait until
    /// then, in milliseconds.
    fn ask_for_signature(&mut self) -> u64 {
        let known: Vec<_> = self.peers.iter().filter(|(_, p)| p.member).map(|(id, _)| *id).collect();
        self.signing.by = known.get(self.signing.tries / TRIES % known.len().max(1)).copied();
        self.signing.tries += 1;
        (SIGNED_MS << self.signing.tries.min(10)).min(AGAIN_MS)
    }

    /// The commit that this device could not apply was never the group's.
    fn is_in_step(&mut self) {
        self.identity.halted = 0;
        self.relay.refused = None;
        self.dirty.insert(Key::Identity);
        self.decision_changed();
        // What came meanwhile was not looked at.
        self.end_all(Code::Protocol);
    }

    /// Reads the group's state as somebody signed it whom this device knows as a member. Anybody can put this device's own
    /// leaf, which is public, into a tree of theirs.
    pub(super) fn inspect(&self, group_info: &[u8]) -> Result<Inspected, Code> {
        let state = Observer::new(self.crypto.clone()).inspect(group_info, self.me).map_err(|e| e.code())?;
        let observed = &state.observed;
        if observed.group != self.group || observed.settings.app_id != self.membership.settings().app_id {
            return Err(Code::Protocol);
        }
        // A move leads to another, which this device may not have followed.
        let moved = observed.suite_since != self.membership.suite_since();
        if observed.suite != self.membership.suite() && !moved {
            return Err(Code::Suite);
        }
        let known = state.signer == self.me || self.peers.get(&state.signer).is_some_and(|peer| peer.member);
        if !known && stands(Defence::KnownSigner) {
            return Err(Code::UnknownSigner);
        }
        Ok(state)
    }

    /// A member has sealed in another branch of the group than this device is in, or says so. Which of the two went astray is
    /// seen from the group's state, once for each epoch.
    pub(super) fn doubt_branch(&mut self) {
        if self.at != self.first() {
            // The first one says what the group is; this is done where its line is looked at.
            self.doubts = true;
            let epoch = self.membership.epoch();
            if let Some(session) = self.session.as_mut().filter(|s| s.replacing.doubted != Some(epoch)) {
                session.replacing.doubted = Some(epoch);
                self.ask_here();
            }
            return;
        }
        let epoch = self.membership.epoch();
        let Some(session) = self.session.as_mut().filter(|s| s.attached) else { return };
        if self.identity.halted == 0 && session.replacing.doubted != Some(epoch) {
            session.replacing.doubted = Some(epoch);
            session.replacing.asked = true;
            self.sends.push(ToRelay::GroupInfo(None));
        }
    }

    /// Another member waits for a state of the group that this one has signed. Anybody may say so, so that it is done rarely.
    pub(super) fn renewal_wanted(&mut self, now: u64) {
        let rest = limits::RENEW_REST.as_millis() as u64;
        if self.renewed_at.is_none_or(|at| now < at || at.saturating_add(rest) <= now) && self.identity.halted == 0 {
            self.renewed_at = Some(now);
            self.want_change(Intent::SelfUpdate);
        }
    }

    /// The group's state, to compare with this device's own.
    fn compare_branch(&mut self, group_info: &[u8]) {
        let (epoch, caught_up) = (self.membership.epoch(), self.session.as_ref().is_some_and(|s| s.caught_up));
        match self.inspect(group_info) {
            Ok(state) if state.observed.epoch == epoch && !self.membership.is_at(epoch, &state.transcript) => {
                self.halt(Code::OutOfStep);
            }
            Ok(state) if state.observed.epoch > epoch && caught_up => self.halt(Code::OutOfStep),
            // Whether that is so shows once somebody has signed it who is known.
            Err(Code::UnknownSigner) => self.halt(Code::OutOfStep),
            Ok(_) | Err(_) => {}
        }
    }

    /// Whether the group has another first relay by now than the one that is looked at, which says so. The new key goes through
    /// that one, or it would be another branch's.
    fn goes_on_elsewhere(&mut self, group_info: &[u8]) -> bool {
        let Ok(state) = self.inspect(group_info) else { return false };
        let observed = &state.observed;
        let order = relays_of(&observed.settings);
        let moved = order.first().is_some_and(|(relay, address)| *relay != self.at && address.is_some());
        let said = self.at == self.first() || self.has_given_up_first(&state);
        moved
            && said
            && observed.epoch >= self.membership.epoch()
            && self.take_list(&observed.settings, observed.epoch, true)
    }

    /// Nothing if the group's newest state is this device's own.
    fn make_replacement(&mut self, group_info: &[u8], rng: &mut dyn CryptoRng) -> Result<Option<Replacement>, Code> {
        let state = self.inspect(group_info)?;
        let observed = &state.observed;
        if self.replaces_key() == Some(Code::OutOfStep) && self.membership.is_at(observed.epoch, &state.transcript) {
            return Ok(None);
        }
        if state.leaf.is_none() {
            // Removed, or replaced by a copy; there is nothing here that could tell which, and who.
            return Err(Code::NotMember);
        }
        // What was only heard of makes nobody a former member.
        let is_out = |peer: &Peer| peer.cut.is_some() && (peer.may_be_verified() || !peer.cut_is_open);
        let back = observed.members.iter().any(|(id, _)| self.peers.get(id).is_some_and(is_out));
        let elsewhere = self.at != self.first();
        if elsewhere && !self.has_given_up_first(&state) {
            // A key that only a later relay knows would part this device from the group.
            return Err(Code::RelayUnreachable);
        }
        let older = observed.epoch < self.membership.epoch() && !elsewhere;
        if (older || back) && stands(Defence::SeenRemovals) {
            return Err(Code::Forked);
        }
        let head = self.session.as_ref().and_then(|s| s.replacing.head.as_ref());
        let (seq, hash) = head.map_or_else(Default::default, |head| (head.seq, head.hash));
        let cut = Reached { sender: self.me, seq, hash };
        let key = SigningKey::generate(rng);
        let aad = encode(&Cut { last: vec![cut], lost: false });
        let made = membership::replace(self.crypto.clone(), state, &self.key, &key, aad).map_err(|e| e.code())?;
        let (mut membership, prepared) = (made.membership, made.prepared);
        let frame =
            Commit { commit: Opaque(prepared.commit), group_info: Opaque(prepared.group_info), welcomes: Vec::new() };
        Ok(Some(Replacement {
            seed: *key.seed(),
            hash: prepared.hash,
            cut,
            frame: Opaque(encode(&frame)),
            state: membership.state().map_err(|e| e.code())?.to_vec(),
        }))
    }

    /// The relay refused the commit, or to give the group's state.
    pub(super) fn replacement_refused(&mut self, code: Code, now: u64, retry_ms: u64) {
        let again = self.identity.halted == 0 && code == Code::Provisional && self.has_several();
        let session = self.session_mut();
        if again {
            // Where the branches part is seen once that is final.
            (session.replacing.asked, session.replacing.doubted) = (false, None);
            session.replacing.ask_here_at = now + retry_ms.max(AGAIN_MS / 120);
            return;
        }
        // Whoever is out has nothing to ask for, as far as this relay goes.
        session.replacing.asked = matches!(code, Code::Removed | Code::NotMember);
        session.replacing.sent = false;
        let (keep, wait) = match code {
            Code::Provisional | Code::RateLimited | Code::Draining | Code::Internal | Code::Quota => (true, 250),
            // Another one, on what has changed meanwhile.
            Code::StaleEpoch | Code::StaleCut => (false, 250),
            _ => (false, AGAIN_MS),
        };
        session.replacing.after = now + wait.max(retry_ms.min(AGAIN_MS));
        if !keep && self.replacement.take().is_some() {
            self.dirty.insert(Key::Replacement);
        }
    }

    /// What comes for the old key. Only changes of the group are looked at, and nothing counts as stored: all that is there
    /// comes again for the new key, which may know senders that this device does not.
    pub(super) fn deliver_to_old_key(&mut self, entries: &[Entry], now: u64) {
        if let (Some(session), Some(last)) = (&mut self.session, entries.last()) {
            session.passed = session.passed.max(last.cursor);
        }
        for entry in entries.iter().filter(|e| e.kind == EntryKind::Commit) {
            if self.session.is_some() {
                self.commit_arrived(entry.cursor, &entry.bytes, now);
            }
        }
    }

    pub(super) fn is_replacing(&self) -> bool {
        self.replacement.is_some() || self.session.as_ref().is_some_and(|s| s.replacing.asked)
    }

    /// Whether these bytes are the commit that replaces this device's key.
    pub(super) fn is_own_replacement(&self, commit: &[u8]) -> bool {
        self.replacement.as_ref().is_some_and(|r| r.hash == CommitMessage::hash(commit))
    }

    /// The commit is in the log: this device goes on under its new key. The connection was the old key's.
    pub(super) fn take_over(&mut self, now: u64) {
        let Some(replacement) = self.replacement.take() else { return };
        let membership = match Membership::load(self.crypto.clone(), &replacement.state) {
            Ok(membership) => membership,
            Err(error) => return self.halt(error.code()),
        };
        let code = self.replaces_key().unwrap_or(Code::RolledBack);
        let (old, old_key, before) = (self.me, self.key.public(), std::mem::take(&mut self.chain));
        self.key = SigningKey::from_seed(&replacement.seed);
        self.me = self.key.device_id();
        self.identity.seed = replacement.seed;
        self.identity.halted = 0;
        self.identity.removed_by = None;
        self.membership = membership;
        self.chain = Chain { updated_at: now, replaced_at: now, leaving: before.leaving, ..Chain::default() };
        if let Some(refused) = self.relay.refused.take() {
            // Behind it came senders and epochs that this device did not know.
            self.go_back_at(refused.relay, refused.after);
        }
        for epoch in std::mem::take(&mut self.copies).into_keys() {
            self.dirty.insert(Key::Copy(epoch));
        }
        self.through = None;
        self.relays_unsettled = Some(self.me);

        // What the old key sealed and not everybody is known to have goes out again, under its ids.
        let had = before.accepted.min(replacement.cut.seq);
        self.writes.push(Write::Rekeyed { old, new: self.me, kept_seq: before.delivered, held_seq: had });
        let hash = if had == before.accepted { before.accepted_hash } else { replacement.cut.hash };
        let former = Peer {
            key: old_key,
            name: self.identity.name.clone(),
            seq: had,
            hash,
            cut: Some(replacement.cut.seq),
            heard: replacement.cut.seq,
            ..Peer::default()
        };
        self.peers.insert(old, former);
        self.meet_members();
        for asker in self.jobs.keys().map(|(asker, _)| *asker).collect::<Vec<_>>() {
            self.drop_jobs_of(asker);
        }
        for key in self.epochs.values_mut().filter(|key| key.ended_at.is_none()) {
            key.ended_at = Some(now);
        }
        self.repairing.clear();
        self.answers.clear();
        self.waiting_for_epoch.clear();
        self.moving.rekeyed();
        if let Err(error) = self.begin_epoch(now) {
            return self.halt(error.code());
        }
        self.unseen = self.peers.iter().filter(|(_, p)| p.seq > 0).map(|(id, _)| *id).collect();
        self.outbox_waits = true;
        self.dirty.extend([Key::Identity, Key::Membership, Key::Chain, Key::Replacement, Key::Moving]);
        self.dirty.extend(self.peers.keys().map(|id| Key::Peer(*id)));
        self.dirty.extend(self.epochs.keys().map(|epoch| Key::Epoch(*epoch)));
        self.forget_sessions();
        self.events.push(Event::KeyReplaced { old, code });
    }

    /// The members of the new state are strangers to this chain: each owes it a signature from its beginning. Whoever is no
    /// member any more was removed by a commit that this device does not know.
    fn meet_members(&mut self) {
        let members: Vec<_> = self.membership.members().iter().map(|m| m.device).collect();
        for (id, peer) in &mut self.peers {
            (peer.owes_from, peer.signed_below) = (1, 0);
            if peer.member && !members.contains(id) {
                peer.member = false;
                peer.cut = Some(peer.seq.max(peer.heard));
                peer.cut_is_open = true;
                // What came beyond may lie behind its true end.
                let gaps = std::mem::take(&mut peer.gaps).into_iter();
                self.writes.extend(gaps.map(|seq| Write::DropGap { sender: *id, seq }));
            }
        }
    }

    /// A member shows the end of a chain. If it is this device's own and not the one that it knows, it was set back.
    pub(super) fn head_told(&mut self, head: &Head, now: u64) {
        match Header::parse(&head.header) {
            Ok(header) if header.sender == self.me => self.own_head_shown(head, now),
            _ => self.head_claimed(head),
        }
    }

    /// Whether this device may have been told too little of who came and went: it was set back, or it has only the word of its
    /// sponsor, who may have been. Where the group hands on no history, a newcomer lacks nothing of that.
    pub(super) fn heeds_hearsay(&self) -> bool {
        self.chain.replaced_at > 0 || self.membership.settings().history != HistoryPolicy::None
    }

    /// A member speaks of a sender that this device does not know: it came and went while this device's disk was set back, or
    /// its sponsor's was.
    pub(super) fn meet_former(&mut self, sender: DeviceId) {
        if self.heeds_hearsay() && sender != self.me && self.peers.len() < PEERS && !self.peers.contains_key(&sender) {
            self.peers.insert(sender, Peer { cut: Some(0), cut_is_open: true, ..Peer::default() });
        }
    }

    /// Another member has taken a new key.
    pub(super) fn was_replaced(&mut self, old: DeviceId, new: DeviceId) {
        let Some((name, owes_from)) = self.peers.get(&old).map(|p| (p.name.clone(), p.owes_from.max(p.signed_below)))
        else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&new) {
            (peer.name, peer.owes_from) = (name, owes_from);
            self.dirty.insert(Key::Peer(new));
        }
        // Whoever is to go does not stay by changing its key.
        self.rename_intents(old, new);
        // It asks for what others have that it does not; the sooner it hears of it, the better.
        if let Some(session) = &mut self.session {
            session.beacon_due = true;
        }
        self.events.push(Event::DeviceReplaced { old, device: new });
    }

    pub(super) fn rename_intents(&mut self, old: DeviceId, new: DeviceId) {
        for intent in &mut self.intents.list {
            if let Intent::Remove(device) | Intent::RemoveLost(device) | Intent::Leave(device) = intent
                && *device == old
            {
                *device = new;
                self.dirty.insert(Key::Intents);
            }
        }
    }
}
