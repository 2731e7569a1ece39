//! The invariants.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::store::Key;
use sync_core::{Device, Outcome};
use sync_types::frame::FromRelay;
use sync_types::{DeviceId, GroupId};

use crate::model;

use super::World;
use super::devices::{Host, Life};

impl World {
    /// I5, at the relay: whatever number it accepts is durable.
    pub(super) fn check_sent(&mut self, host: usize, frame: &FromRelay) {
        if let FromRelay::Accepted(seq) = frame {
            self.check_durable(host, *seq);
        }
    }

    /// I5, at the device.
    pub(super) fn check_accepted(&mut self, host: usize, seq: u64) {
        self.check_durable(host, seq);
    }

    fn check_durable(&mut self, host: usize, seq: u64) {
        let Some(device) = self.hosts[host].device() else { return };
        let durable = self.relay.durable_head(device.group(), device.id());
        self.counters.add("check I5 durable");
        if durable < seq {
            self.fail("I5 durable", format!("device {host} is told that {seq} is accepted; {durable} is durable"));
        }
    }

    /// I8: every member that owed a signature for these envelopes has their blobs in its log, durably.
    pub(super) fn check_delivered(&mut self, host: usize, seq: u64) {
        let Some(device) = self.hosts[host].device() else { return };
        let (me, group) = (device.id(), device.group());
        if self.hosts[host].sabotaged || self.split.contains(&group) {
            return;
        }
        let Some(model) = self.relay.model.get(&group) else { return };
        let mut fault = None;
        let members: Vec<DeviceId> = device.members().into_iter().filter(|m| !m.own).map(|m| m.device).collect();
        for row in self.hosts[host].disk.log.values().filter(|r| r.sender == me && 0 < r.seq && r.seq <= seq) {
            let Some(placed) = model.placed.get(&(me, row.seq)) else {
                fault = Some(format!("device {host} calls its {} delivered, which the relay never took", row.seq));
                break;
            };
            for member in &members {
                let owes = model.members.get(member).is_some_and(|m| m.joined_epoch <= placed.epoch);
                // One that was set back has signed for what it has no more.
                // Nor does anything wait for one that is away for long.
                let keeps = |h: &usize| !self.hosts[*h].sabotaged && !self.hosts[*h].set_back && !self.hosts[*h].late;
                let holder = self.host_of(*member).filter(|h| owes && keeps(h));
                if holder.is_some_and(|h| !self.hosts[h].disk.has(row.blob.id)) {
                    fault = Some(format!("device {host} calls its {} delivered; {member:?} has it not", row.seq));
                }
            }
        }
        self.counters.add("check I8 receipts");
        if let Some(fault) = fault {
            self.fail("I8 receipts", fault);
        }
    }

    /// I9: what a push returned for is still there after a crash.
    pub(super) fn check_kept(&mut self, host: usize) {
        self.counters.add("check I9 kept");
        let lost =
            self.pushed.iter().filter(|p| p.host == host && !p.set_back).find(|p| !self.hosts[host].disk.has(p.id));
        if let Some(lost) = lost {
            let id = lost.id;
            self.fail("I9 kept", format!("device {host} has lost its own blob {id:?}"));
        }
    }

    /// An outcome that honest relays and members never cause.
    pub(super) fn check_outcome(&mut self, host: usize, outcome: Outcome) {
        let group = self.hosts[host].last_group;
        if group.is_some_and(|group| self.split.contains(&group)) {
            return;
        }
        let lies = group.is_some_and(|group| self.lied.contains(&group));
        let set_back = self.hosts.iter().any(|h| h.set_back && h.last_group == group);
        let fits = match outcome {
            Outcome::Equivocation | Outcome::RemovedSender => self.weather.hostile,
            // Behind a lie that became final lie epochs that who noticed it cannot follow; it is about to halt.
            Outcome::Forged => self.weather.hostile || lies,
            // Who was set back hears of things that it had and has no more, and so does whom it takes in.
            Outcome::Gap => self.weather.hostile || lies || set_back || self.hosts[host].rekeyed || self.lapses,
            // Who was set back may meet a thief's envelope before the one that it had, and then has another than the others.
            Outcome::Undecodable => self.hosts.iter().any(|h| h.sabotaged) || (self.weather.hostile && set_back),
            Outcome::SplitView => self.weather.hostile && set_back,
            Outcome::HistoryLost => self.counts_as_lost(host),
            Outcome::OtherBranch => lies,
            Outcome::BadCommit => lies || self.hosts[host].set_back,
            Outcome::Undone => lies,
            Outcome::Repaired => self.weather.drops || set_back || self.hosts[host].rekeyed || self.lapses,
            // Nobody in these worlds lies about what it holds, and there is one relay.
            Outcome::FalseClaim | Outcome::PastCut => false,
            Outcome::Accepted | Outcome::Duplicate | Outcome::Unreadable | Outcome::StaleCommit => true,
        };
        if !fits {
            self.fail("outcomes", format!("device {host} meets {} among honest peers", outcome.as_str()));
        }
    }

    /// Whether history may have gone with the last device that held it: somebody was put out who had not handed it on.
    fn counts_as_lost(&self, host: usize) -> bool {
        let model = self.hosts[host].last_group.and_then(|group| self.relay.model.get(&group));
        model.is_some_and(|m| m.members.values().any(|m| m.removed.is_some()))
    }

    fn groups(&self) -> Vec<GroupId> {
        self.relay.model.keys().copied().filter(|group| !self.split.contains(group)).collect()
    }

    /// Whether a device stopped and was put out of the group before it could take a new key. It cannot verify that, and stays.
    fn is_out(&self, host: usize) -> bool {
        let Some(device) = self.hosts[host].device().filter(|d| d.status().halted.is_some()) else { return false };
        let model = self.relay.model.get(&device.group());
        model.and_then(|m| m.members.get(&device.id())).is_some_and(|m| m.removed.is_some())
    }

    /// Whether a copy of this device stands beside it in a group of theirs alone. Neither seals or changes anything there, so that
    /// nothing shows that there are two, and each puts the other off the relay.
    fn takes_turns(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        let (Some(group), Some(id)) = (h.last_group, h.last_id) else { return false };
        let alone = self.relay.model.get(&group).is_some_and(|model| model.current().eq([id]));
        let is_copy = |h: &Host| {
            h.cloned && (h.last_group, h.last_id) == (Some(group), Some(id)) && h.active().is_some_and(Device::is_alone)
        };
        alone && is_copy(h) && self.hosts.iter().filter(|h| is_copy(h)).count() == 2
    }

    /// I4: what still keeps the world from being at rest.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let mut list = Vec::new();
        list.extend(self.relay.model.iter().filter_map(|(group, model)| self.left_over(*group, model)));
        for (host, h) in self.hosts.iter().enumerate() {
            if h.last_group.is_some_and(|group| self.split.contains(&group)) {
                continue;
            }
            let device = match &h.life {
                Life::Down => {
                    list.push(format!("device {host} is down"));
                    continue;
                }
                Life::Newcomer(_) => {
                    list.push(format!("newcomer {host} waits for its Welcome"));
                    continue;
                }
                Life::Bare => continue,
                Life::Member(device) => device,
            };
            let status = device.status();
            // Copies of a device that was removed put each other off the relay, which neither can mend.
            if status.removed || self.is_out(host) {
                continue;
            }
            if (!status.online || !status.caught_up) && !self.takes_turns(host) {
                list.push(format!("device {host} is not online"));
            }
            if let Some(code) = status.halted {
                list.push(format!("device {host} has stopped with {code}"));
            }
            let stuck = h.disk.stuck();
            // All are online, so that a move waits for nobody, but where who asks or who is asked had a wrong key: that question
            // nobody has read, and it comes again with a beacon, hours later.
            let unread = |id: &DeviceId| h.sabotaged || self.host_of(*id).is_some_and(|of| self.hosts[of].sabotaged);
            let waits = device.moving().is_some_and(|moving| moving.waits_for.iter().any(|id| !unread(id)));
            let changing = status.changing || waits;
            if changing || status.wants > 0 || status.behind > 0 || stuck != (0, 0) {
                list.push(format!("device {host} is not through: {status:?}, held and gaps {stuck:?}"));
            }
            if device.is_alone() {
                continue;
            }
            let sealed = status.sealed_seq;
            if !h.disk.waiting.is_empty() || status.accepted_seq != sealed || status.delivered_seq != sealed {
                let waiting = h.disk.waiting.len();
                list.push(format!("device {host} has {waiting} blobs to seal, and stands at {status:?}"));
            }
            if h.leaving {
                list.push(format!("device {host} asked to be removed and is still in the group"));
            }
        }
        list
    }

    /// What a group still holds at the relay, apart from what waits for devices that exist no more: a newcomer that was put
    /// out before it came, or one that gave up a group of its own for another.
    fn left_over(&self, group: GroupId, model: &model::Group) -> Option<String> {
        let exists = |device: &DeviceId| self.host_of(*device).is_some_and(|host| !self.is_out(host));
        let abandoned = !model.current().any(|device| exists(&device));
        if self.split.contains(&group) || abandoned || model.entries.is_empty() {
            return None;
        }
        let waits = |cursor: u64| {
            let due =
                move |m: &model::Member| m.acknowledged < cursor && m.removed.is_none_or(|removal| cursor <= removal);
            model.members.iter().filter(move |(_, m)| due(m)).any(|(device, _)| exists(device))
        };
        let left = model.entries.iter().filter(|(cursor, _)| waits(**cursor)).collect::<Vec<_>>();
        (!left.is_empty()).then(|| format!("{group:?} holds {left:?} for {:?}", model.members))
    }

    /// Everything that holds for a world at rest.
    pub(super) fn check_end(&mut self) {
        self.counters.add("check I4 drained");
        let (held, due) = (self.relay.held(), self.relay.model.values().map(|m| m.entries.len() as u64).sum::<u64>());
        if held != due {
            self.fail("I2 held", format!("the relay counts {held} entries where {due} are held"));
        }
        for host in 0..self.hosts.len() {
            self.check_kept(host);
            self.check_log(host);
        }
        for group in self.groups() {
            self.check_agreement(group);
            self.check_complete(group);
            self.check_same(group);
            self.check_cut(group);
        }
        let checks = self.relay.checks;
        self.counters.add_many("check I2 held", checks[crate::relay::CHECK_HELD]);
        self.counters.add_many("check I7 cursors", checks[crate::relay::CHECK_CURSORS]);
        self.counters.add_many("check I6 cut", checks[crate::relay::CHECK_CUT]);
    }

    /// I1, for any log: each blob once, and each app's blobs in the order in which it pushed them.
    fn check_log(&mut self, host: usize) {
        self.counters.add("check I1 order");
        // Each id is a chain of its own: who left and came back, or took a new key, has several.
        let mut last: BTreeMap<(usize, DeviceId), u64> = BTreeMap::new();
        let mut fault = None;
        for row in self.hosts[host].disk.log.values() {
            let serial = u64::from_be_bytes(row.blob.data[..8].try_into().unwrap_or_default());
            let Some(pushed) = self.pushed.get(serial as usize).filter(|p| p.id == row.blob.id) else {
                fault = Some(format!("the log of device {host} holds the blob {:?}, which nobody pushed", row.blob.id));
                break;
            };
            // What was told as lost may come back, with a device that was removed and joins anew.
            let lost = self.hosts[host].disk.refused.contains_key(&Outcome::HistoryLost);
            if pushed.set_back {
                // It came back behind what its device wrote meanwhile, and goes along in that order into another group.
                continue;
            }
            if let Some(before) = last.insert((pushed.host, row.sender), serial)
                && before >= serial
                && !lost
            {
                fault =
                    Some(format!("in the log of device {host}, blob {serial} of {} is behind {before}", pushed.host));
                break;
            }
        }
        if self.hosts[host].disk.conflicts > 0 {
            fault = Some(format!("device {host} met two blobs with one id"));
        }
        if let Some(fault) = fault {
            self.fail("I1 order", fault);
        }
    }

    /// I3.
    fn check_agreement(&mut self, group: GroupId) {
        self.counters.add("check I3 agreement");
        let Some(model) = self.relay.model.get(&group) else { return };
        let members: BTreeSet<DeviceId> = model.current().collect();
        let mut fault = None;
        let mut seen = None;
        for host in self.members_of(group) {
            let h = &self.hosts[host];
            let Some(device) = h.device().filter(|d| d.group() == group) else { continue };
            let known: BTreeSet<DeviceId> = device.members().into_iter().map(|m| m.device).collect();
            if known != members {
                fault = Some(format!("device {host} counts {known:?} as members, the relay {members:?}"));
            }
            // The epoch's secret and the first bytes of its authenticator.
            let row = h.disk.state.get(&Key::Epoch(device.epoch())).map(|row| row[..40].to_vec());
            let epoch = (device.epoch(), row);
            if !h.sabotaged && *seen.get_or_insert_with(|| epoch.clone()) != epoch {
                fault = Some(format!("device {host} has another key for epoch {} than others", device.epoch()));
            }
        }
        if let Some(fault) = fault {
            self.fail("I3 agreement", fault);
        }
    }

    /// I1: whatever a member pushed, and what a former member got accepted before its cut, is in every member's log.
    fn check_complete(&mut self, group: GroupId) {
        let Some(model) = self.relay.model.get(&group) else { return };
        let members = self.members_of(group);
        let mut fault = None;
        let mut due = 0u64;
        for (source, h) in self.hosts.iter().enumerate().filter(|(_, h)| h.last_group == Some(group) && !h.sabotaged) {
            let Some(id) = h.last_id else { continue };
            // A copy that stopped holds numbers that are another's, and what it alone had is lost with it.
            if h.cloned && self.is_out(source) {
                continue;
            }
            let alone = members.len() == 1 && members.contains(&source);
            for row in h.disk.log.values().filter(|r| r.sender == id && !alone) {
                let accepted = model.placed.contains_key(&(id, row.seq));
                if !accepted && !members.contains(&source) {
                    continue;
                }
                if !accepted {
                    fault = Some(format!("the blob {:?} of device {source} never came into the group", row.blob.id));
                }
                due += 1;
                let lacks = |to: &&usize| !self.is_misled(**to) && !self.hosts[**to].disk.has(row.blob.id);
                // Who was set back is told so, and cannot know what it has no more.
                let told = |to: &usize| {
                    let h = &self.hosts[*to];
                    h.set_back || h.disk.refused.contains_key(&Outcome::HistoryLost)
                };
                if members.iter().all(|to| lacks(&to)) && members.iter().any(told) {
                    // It went with its sender before anybody else could read it.
                    continue;
                }
                if let Some(to) = members.iter().find(lacks) {
                    let have: Vec<_> = members.iter().filter(|to| !lacks(to)).collect();
                    let (id, seq) = (row.blob.id, row.seq);
                    fault =
                        Some(format!("device {to} lacks {id:?}, number {seq} of device {source}; {have:?} have it"));
                }
            }
        }
        self.counters.add_many("check I1 complete", due);
        if let Some(fault) = fault {
            self.fail("I1 complete", fault);
        }
    }

    /// Whether a device's keys are not the group's, or it was set back and then took what a thief had made of a member's key for
    /// the envelope that it had lost. That is on its record.
    fn is_misled(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.sabotaged || (self.weather.hostile && h.set_back && h.disk.refused.contains_key(&Outcome::Undecodable))
    }

    /// I10: what one member has, every member has, whatever became of who pushed it.
    fn check_same(&mut self, group: GroupId) {
        let members = self.members_of(group);
        let whole = |h: &usize| !self.is_misled(*h) && !self.hosts[*h].disk.refused.contains_key(&Outcome::HistoryLost);
        if !self.weather.restores || !members.iter().all(whole) {
            return;
        }
        self.counters.add("check I10 same");
        let mut fault = None;
        for one in &members {
            for row in self.hosts[*one].disk.log.values() {
                if let Some(other) = members.iter().find(|m| !self.hosts[**m].disk.has(row.blob.id)) {
                    let (id, sender, seq) = (row.blob.id, row.sender, row.seq);
                    fault = Some(format!("device {other} lacks {id:?}, {seq} of {sender:?}, which device {one} has"));
                }
            }
        }
        if let Some(fault) = fault {
            self.fail("I10 same", fault);
        }
    }

    /// I6: a former member has nothing that came after its cut, and the others nothing that it wrote after.
    fn check_cut(&mut self, group: GroupId) {
        let Some(model) = self.relay.model.get(&group) else { return };
        let mut fault = None;
        let mut checked = 0;
        for (former, host) in model.members.iter().filter_map(|(id, m)| Some((m.removed?, self.host_of(*id)?))) {
            checked += 1;
            let h = &self.hosts[host];
            // A disk that was set back does not say what came after what.
            let Some(id) = h.last_id.filter(|_| !h.set_back) else { continue };
            for row in h.disk.log.values().filter(|r| r.sender != id) {
                let after = model.placed.get(&(row.sender, row.seq)).is_some_and(|p| p.cursor > former);
                if after {
                    fault = Some(format!("the former member {host} has read {:?} {}", row.sender, row.seq));
                }
            }
            let head = model.heads.get(&id).copied().unwrap_or(0);
            for row in h.disk.log.values().filter(|r| r.sender == id && (r.seq == 0 || r.seq > head)) {
                // Under this key: one that was here before under another brings along again what the others have from then.
                let taken =
                    |m: usize| self.hosts[m].disk.log.values().any(|r| r.blob.id == row.blob.id && r.sender == id);
                if self.members_of(group).into_iter().any(taken) {
                    fault = Some(format!("what the former member {host} wrote after its cut was taken"));
                }
            }
        }
        self.counters.add_many("check I6 cut", checked);
        if let Some(fault) = fault {
            self.fail("I6 cut", fault);
        }
    }
}
