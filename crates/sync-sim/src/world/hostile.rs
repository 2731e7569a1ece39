//! Those who do not keep to the protocol: a relay that puts its own entries into the log and swaps others, a member that
//! lies in its commits, a member whose keys are not the group's.

use sync_core::store::Key;
use sync_rules::SigningKey;
use sync_rules::envelope::{ciphertext_hash, head_of, sign_envelope};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{EntryKind, FromRelay};
use sync_types::{DeviceId, GroupId, Opaque, encode};
use zeroize::Zeroizing;

use super::devices::Life;
use super::{Ev, World};

impl World {
    /// The relay puts an entry into a group's log that no member sent there.
    pub(super) fn hostile(&mut self, host: usize) {
        if !self.weather.hostile || !self.relay_up || self.relay.has_pending() {
            return;
        }
        if self.weather.sabotage && self.dice.chance(60) {
            return self.sabotage(host);
        }
        if self.dice.chance(400) {
            return self.act_out(host);
        }
        let Some(group) = self.hosts[host].last_group else { return };
        let choice = self.dice.below(6);
        let made = match choice {
            0 => self.equivocation(group).map(|e| ("hostile equivocation", e)),
            1 => self.forgery(group).map(|e| ("hostile forgery", e)),
            2 => self.splice(group).map(|e| ("hostile splice", e)),
            3 => self.replay(group).map(|e| ("hostile replay", e)),
            4 => self.old_commit(group).map(|e| ("hostile old commit", e)),
            _ => self.former_member(group).map(|e| ("hostile former member", e)),
        };
        let Some((name, (kind, sender, bytes))) = made else { return };
        // Where nobody waits for an entry, the relay never looks for ones to delete.
        if !self.relay.model.get(&group).is_some_and(|m| m.has_reader_beside(sender)) {
            return;
        }
        if self.relay.inject(group, kind, sender, &bytes) {
            self.counters.add(name);
            self.note(|_| format!("{name} in the name of {sender:?}"));
        }
    }

    /// The last envelope of somebody in the group, and who that is.
    fn some_head(&mut self, group: GroupId, former: bool) -> Option<(DeviceId, Opaque)> {
        let model = self.relay.model.get(&group)?;
        let heads: Vec<(DeviceId, Opaque)> = model
            .heads
            .iter()
            .filter(|(device, _)| model.is_member(**device) != former)
            .filter_map(|(device, seq)| Some((*device, model.placed.get(&(*device, *seq))?.bytes.clone())))
            .collect();
        self.dice.pick(&heads).cloned()
    }

    /// The signing key of a device, as its own disk has it: a stolen key.
    pub(super) fn stolen_key(&self, device: DeviceId) -> Option<SigningKey> {
        let row = self.hosts[self.host_of(device)?].disk.state.get(&Key::Identity)?;
        let key = SigningKey::from_seed(row.get(1..33)?.try_into().ok()?);
        (key.device_id() == device).then_some(key)
    }

    fn sealed_by_thief(&mut self, group: GroupId, header: &Header) -> Option<Vec<u8>> {
        let key = self.stolen_key(header.sender)?;
        let ciphertext: [u8; 272] = self.dice.bytes();
        let header_bytes = encode(header);
        let signature = sign_envelope(&key, &group, &header_bytes, &ciphertext_hash(&ciphertext));
        Some(Envelope::assemble(&header_bytes, &ciphertext, &signature))
    }

    fn equivocation(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        if self.weather.swaps {
            return None;
        }
        let (device, head) = self.some_head(group, false)?;
        let header = Header { nonce: self.dice.bytes(), ..Envelope::parse(&head).ok()?.header };
        Some((EntryKind::Envelope, device, self.sealed_by_thief(group, &header)?))
    }

    fn former_member(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        let (device, head) = self.some_head(group, true)?;
        let header = follower(&head)?;
        Some((EntryKind::Envelope, device, self.sealed_by_thief(group, &header)?))
    }

    fn forgery(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        let (device, head) = self.some_head(group, false)?;
        let ciphertext: [u8; 272] = self.dice.bytes();
        let bytes = Envelope::assemble(&encode(&follower(&head)?), &ciphertext, &self.dice.bytes());
        Some((EntryKind::Envelope, device, bytes))
    }

    fn splice(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        let other = self.relay.model.keys().copied().find(|id| *id != group)?;
        let (device, head) = self.some_head(other, false)?;
        Some((EntryKind::Envelope, device, head.0))
    }

    fn replay(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        let placed: Vec<_> =
            self.relay.model.get(&group)?.placed.iter().map(|(k, p)| (k.0, p.bytes.0.clone())).collect();
        let (device, bytes) = self.dice.pick(&placed)?.clone();
        Some((EntryKind::Envelope, device, bytes))
    }

    fn old_commit(&mut self, group: GroupId) -> Option<(EntryKind, DeviceId, Vec<u8>)> {
        let model = self.relay.model.get(&group)?;
        // Among them may be one that was rejected.
        let commits = model.commits.clone();
        let committer = model.current().next()?;
        let commit = self.dice.pick(&commits)?.0.clone();
        Some((EntryKind::Commit, committer, commit))
    }

    /// The relay swaps two envelopes of one sender on their way to one device.
    pub(super) fn maybe_reorder(&mut self, host: usize, frame: FromRelay) -> FromRelay {
        let FromRelay::Deliver(mut entries) = frame else { return frame };
        if self.weather.hostile && self.weather.swaps && !self.quiet && self.dice.chance(200) {
            let sender = |bytes: &Opaque| Envelope::parse(bytes).ok().map(|e| (e.header.sender, e.header.seq));
            let swapped = (1..entries.len()).find(|i| {
                let (a, b) = (&entries[i - 1], &entries[*i]);
                let both = a.kind == EntryKind::Envelope && b.kind == EntryKind::Envelope;
                both && matches!((sender(&a.bytes), sender(&b.bytes)), (Some(a), Some(b)) if a.0 == b.0 && a.1 + 1 == b.1)
            });
            if let Some(i) = swapped {
                self.counters.add("hostile reorder");
                self.note(|_| format!("the relay swaps two envelopes for device {host}"));
                let bytes = std::mem::take(&mut entries[i - 1].bytes);
                entries[i - 1].bytes = std::mem::replace(&mut entries[i].bytes, bytes);
            }
        }
        FromRelay::Deliver(entries)
    }

    /// The relay keeps an envelope back from one device, for ever.
    pub(super) fn maybe_withhold(&mut self, host: usize, frame: FromRelay) -> FromRelay {
        let FromRelay::Deliver(mut entries) = frame else { return frame };
        if self.weather.drops && !self.quiet && self.dice.chance(100) {
            let envelopes: Vec<usize> =
                (0..entries.len()).filter(|i| entries[*i].kind == EntryKind::Envelope).collect();
            if let Some(index) = self.dice.pick(&envelopes).copied() {
                let entry = entries.remove(index);
                self.counters.add("hostile withheld");
                self.note(|_| format!("the relay withholds {} from device {host}", entry.cursor));
            }
        }
        FromRelay::Deliver(entries)
    }

    /// A member makes a commit with a wrong confirmation tag, which only members can notice.
    pub(super) fn lie(&mut self, host: usize) {
        let Some(device) = self.hosts[host].active() else { return };
        let group = device.group();
        let status = device.status();
        let quiet = status.caught_up && !status.changing && self.hosts[host].conn.is_some();
        // Somebody has to be there who can say no; and where messages take long, ten seconds may be over before.
        let witness = |h: &super::devices::Host| {
            h.last_group == Some(group) && h.active().is_some_and(|d| d.status().caught_up && d.id() != device.id())
        };
        if !self.weather.liars || !quiet || !self.hosts.iter().any(witness) || self.relay_cut.is_some() {
            return;
        }
        self.hosts[host].crypto.lie_in_tags(true);
        let now = self.now;
        let mut rng = self.dice.clone();
        let mut lied = false;
        if let Life::Member(device) = &mut self.hosts[host].life {
            lied = device.self_update(now, rng.rng()).is_ok() && device.status().changing;
        }
        self.hosts[host].crypto.lie_in_tags(false);
        if lied {
            self.counters.add("hostile lying commit");
            self.note(|_| format!("device {host} lies in a commit"));
            self.lied.insert(group);
        }
        self.settle(host);
    }

    /// A device's key of the present epoch is turned, so that it seals what nobody opens and opens nothing.
    fn sabotage(&mut self, host: usize) {
        let Some(device) = self.hosts[host].active().filter(|d| !d.is_alone()) else { return };
        let epoch = device.epoch();
        let wants = self.hosts.iter().any(|h| {
            h.disk.state.contains_key(&Key::Joining) || h.pairing || h.device().is_some_and(|d| d.status().wants > 0)
        });
        let leaving = self.hosts[host].leaving;
        if wants || leaving || self.hosts.iter().any(|h| h.sabotaged || h.is_up() != h.device().is_some()) {
            return;
        }
        self.die(host, "by sabotage");
        let h = &mut self.hosts[host];
        if let Some(row) = h.disk.state.get_mut(&Key::Epoch(epoch)) {
            let mut bytes = row.to_vec();
            bytes[0] ^= 1;
            *row = Zeroizing::new(bytes);
            h.sabotaged = true;
            self.counters.add("hostile broken seal");
            self.note(|_| format!("device {host} has a wrong key"));
        }
        self.after(1, Ev::HostStart(host));
    }
}

/// The header of an envelope that would come next in a chain.
pub(super) fn follower(head: &Opaque) -> Option<Header> {
    let envelope = Envelope::parse(head).ok()?;
    let hash = head_of(&envelope).hash;
    Some(Header { seq: envelope.header.seq + 1, previous: hash, class: Class::Data, ..envelope.header })
}
