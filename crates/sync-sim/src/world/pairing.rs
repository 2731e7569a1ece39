//! Pairing without its channel: the same steps of both sides, and everything that can be lost between them.

use sync_core::store::{Key, Write};
use sync_core::{Device, Joining};
use sync_types::{DeviceId, Suite};

use super::devices::Life;
use super::{Ev, World};
use crate::crypto::InsecureCrypto;

/// A pairing on its way. It ends when either process does.
pub(super) struct Pairing {
    newcomer: usize,
    sponsor: usize,
    boots: (u64, u64),
    stage: Stage,
}

enum Stage {
    /// The newcomer has made its key package.
    Package(Box<Joining<InsecureCrypto>>, Vec<u8>),
    /// The newcomer holds the offer durably; who made it.
    Taken(Vec<u8>, Option<DeviceId>),
}

impl World {
    /// Begins a pairing of two that are up, if their states allow it.
    pub(super) fn pair(&mut self, sponsor: usize, newcomer: usize) -> bool {
        let now = self.now;
        let n = &self.hosts[newcomer];
        if n.pairing || n.sabotaged || !self.is_free(newcomer, sponsor) {
            return false;
        }
        let h = &mut self.hosts[newcomer];
        let name = format!("device {newcomer}");
        let (joining, package) = match Joining::new(h.crypto.clone(), Suite::FOUNDED, now, &name, self.dice.rng()) {
            Ok(made) => made,
            Err(error) => {
                self.fail("core", format!("no key package: {error}"));
                return false;
            }
        };
        h.pairing = true;
        let number = self.scheduled + 1;
        let boots = (self.hosts[newcomer].boot, self.hosts[sponsor].boot);
        let stage = Stage::Package(Box::new(joining), package);
        self.pairings.insert(number, Pairing { newcomer, sponsor, boots, stage });
        self.note(|_| format!("device {newcomer} pairs with {sponsor}"));
        self.pairing_goes_on(number);
        true
    }

    /// Whether a device may give up the group that it is in for the sponsor's.
    fn is_free(&self, newcomer: usize, sponsor: usize) -> bool {
        let n = &self.hosts[newcomer];
        let free = match &n.life {
            Life::Bare => true,
            // Who was put out may come back with all that it has; those who know its blobs know their ids.
            Life::Member(device) if device.is_removed() => !device.status().changing && !n.sabotaged,
            // One that was set back may not know yet that it shares its group.
            Life::Member(device) => device.is_alone() && !device.is_adding() && !n.set_back,
            Life::Down | Life::Newcomer(_) => false,
        };
        // As long as somebody may take an offer of its own group, it goes over to no other.
        let sponsors = self.pairings.values().any(|p| p.sponsor == newcomer);
        free && !sponsors
            && self.hosts[sponsor].active().is_some()
            && (self.hosts[sponsor].last_group != n.last_group || n.device().is_some_and(Device::is_removed))
    }

    fn pairing_goes_on(&mut self, number: u64) {
        let delay = self.dice.between(1, 300);
        self.after(delay, Ev::Pair(number));
    }

    pub(super) fn pairing_step(&mut self, number: u64) {
        let Some(pairing) = self.pairings.remove(&number) else { return };
        let Pairing { newcomer, sponsor, boots, stage } = pairing;
        let whole = (self.hosts[newcomer].boot, self.hosts[sponsor].boot) == boots
            && self.hosts[newcomer].is_up()
            && self.hosts[sponsor].active().is_some()
            && !self.dice.chance(40);
        match stage {
            Stage::Package(joining, package) if whole && self.is_free(newcomer, sponsor) => {
                let by = self.hosts[sponsor].device_id();
                self.take_offer(newcomer, sponsor, *joining);
                let stage = Stage::Taken(package, by);
                self.pairings.insert(number, Pairing { newcomer, sponsor, boots, stage });
                self.pairing_goes_on(number);
            }
            Stage::Package(..) => {
                self.hosts[newcomer].pairing = false;
                self.counters.add("pairing lost");
            }
            Stage::Taken(package, by) => {
                // Nobody adds whom it has told another id of itself.
                let same = by == self.hosts[sponsor].device_id();
                if !whole || !same || !self.offer_taken(newcomer, sponsor, package) {
                    self.counters.add("pairing lost");
                    let delay = self.dice.between(500, 8000);
                    self.after(delay, Ev::GiveUp(newcomer));
                }
            }
        }
    }

    /// The newcomer stores what was promised, and from then on asks for its Welcome.
    fn take_offer(&mut self, newcomer: usize, sponsor: usize, mut joining: Joining<InsecureCrypto>) {
        let Some(device) = self.hosts[sponsor].device() else { return };
        joining.take_offer(device.offer(self.now));
        self.drop_conn(newcomer);
        let h = &mut self.hosts[newcomer];
        h.disk.apply(vec![Write::Put(Key::Joining, joining.to_bytes())]);
        h.last_id = Some(joining.id());
        h.life = Life::Newcomer(Box::new(joining));
        self.note(|_| format!("newcomer {newcomer} holds the offer"));
        if self.dice.chance(100) {
            self.die(newcomer, "with the offer stored");
        } else {
            self.after(5, Ev::Connect(newcomer));
        }
    }

    /// The sponsor hears that the newcomer has stored the offer. Says whether it holds the change durably.
    fn offer_taken(&mut self, newcomer: usize, sponsor: usize, package: Vec<u8>) -> bool {
        let name = format!("device {newcomer}");
        let mut added = Ok(DeviceId::default());
        self.drive(sponsor, |device, now, rng| added = device.add(package, &name, now, rng).map_err(|e| e.to_string()));
        if let Err(error) = added {
            self.note(|_| format!("the sponsor cannot add: {error}"));
            return false;
        }
        // The process may have died in that very transaction, and the intent with it.
        match &self.hosts[sponsor].life {
            Life::Member(_) => true,
            _ => self.hosts[sponsor].disk.state.contains_key(&Key::Pending) || self.disk_wants_change(sponsor),
        }
    }

    fn disk_wants_change(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        let loaded = Device::load(h.disk.rows(), h.crypto.clone());
        loaded.ok().flatten().is_some_and(|d| d.is_adding())
    }

    pub(super) fn newcomer_with(&self, device: DeviceId) -> Option<usize> {
        self.hosts.iter().position(|h| h.last_id == Some(device) && h.disk.state.contains_key(&Key::Joining))
    }

    /// Whether anybody holds, or has ordered, the addition of this newcomer.
    fn may_still_come(&self, newcomer: usize) -> bool {
        let Some(id) = self.hosts[newcomer].last_id else { return false };
        self.relay.model.values().any(|m| m.is_member(id))
            || self.relay.has_pending()
            || (0..self.hosts.len()).any(|h| {
                // A sponsor that was itself removed, or that a lie has split off, adds nobody.
                let able = |d: &Device<InsecureCrypto>| !d.is_removed() && d.status().halted.is_none();
                let sponsor = self.hosts[h].device().is_none_or(able);
                sponsor && (self.hosts[h].device().is_some_and(Device::is_adding) || self.disk_wants_change(h))
            })
    }

    /// Somebody took the newcomer out of the group again before it had its Welcome.
    pub(super) fn removed_before_joining(&mut self, newcomer: usize) {
        let id = self.hosts[newcomer].last_id;
        if !id.is_some_and(|id| {
            self.relay.model.values().any(|m| m.members.get(&id).is_some_and(|m| m.removed.is_some()))
        }) {
            return self.fail("I3 agreement", format!("newcomer {newcomer} is told that it was removed"));
        }
        self.counters.add("removed before joining");
        self.stop_joining(newcomer);
    }

    /// The person gives up on a pairing that the sponsor never confirmed.
    pub(super) fn give_up(&mut self, newcomer: usize) {
        if !self.hosts[newcomer].disk.state.contains_key(&Key::Joining) {
            return;
        }
        if self.may_still_come(newcomer) || !self.hosts[newcomer].is_up() {
            self.after(2000, Ev::GiveUp(newcomer));
            return;
        }
        self.stop_joining(newcomer);
    }

    fn stop_joining(&mut self, newcomer: usize) {
        self.note(|_| format!("newcomer {newcomer} gives up"));
        self.drop_conn(newcomer);
        let h = &mut self.hosts[newcomer];
        h.disk.apply(vec![Write::Delete(Key::Joining)]);
        h.pairing = false;
        h.life = Life::Down;
        h.last_id = None;
        self.host_start(newcomer);
    }

    pub(super) fn joined(&mut self, host: usize, device: Device<InsecureCrypto>) {
        self.counters.add("joined");
        if !self.hosts[host].disk.log.is_empty() {
            self.counters.add("joined with blobs");
        }
        let h = &mut self.hosts[host];
        (h.pairing, h.leaving, h.doomed, h.beyond_return) = (false, false, false, false);
        self.became(host, device);
        self.drop_conn(host);
        self.after(20, Ev::Connect(host));
    }

    /// In the quiet phase nobody waits for a Welcome that never comes.
    pub(super) fn tidy_up(&mut self) {
        for host in 0..self.hosts.len() {
            let waits = matches!(self.hosts[host].life, Life::Newcomer(_));
            if waits && !self.may_still_come(host) {
                self.give_up(host);
            }
            if self.knows_nobody(host) {
                self.put_out(host);
            }
        }
    }

    /// Whether a device waits for a key in a group of which it knows nobody: its disk is of before any of them came, or a lie
    /// has kept it from following while all others took new keys. It cannot tell the group from one that a relay made up.
    fn knows_nobody(&self, host: usize) -> bool {
        let Life::Member(device) = &self.hosts[host].life else { return false };
        let Some(model) = self.relay.model.get(&device.group()) else { return false };
        let known = || device.members().iter().any(|m| !m.own && model.is_member(m.device));
        let may_be = self.hosts[host].set_back || self.lied.contains(&device.group());
        device.status().halted.is_some() && may_be && model.is_member(device.id()) && !known()
    }

    /// A person takes the device out by another one, to pair it again.
    fn put_out(&mut self, host: usize) {
        let (group, Some(gone)) = (self.hosts[host].last_group, self.hosts[host].device().map(|d| d.id())) else {
            return;
        };
        let Some(model) = group.and_then(|group| self.relay.model.get(&group)) else { return };
        // One that stays in the group, and no copy of the device itself.
        let other = (0..self.hosts.len()).find(|h| {
            self.hosts[*h].last_group == group
                && self.hosts[*h].active().is_some_and(|d| d.id() != gone && model.is_member(d.id()))
        });
        let Some(other) = other else { return };
        if !std::mem::replace(&mut self.hosts[host].beyond_return, true) {
            self.hosts[host].doomed = true;
            self.counters.add("beyond return");
            self.note(|_| format!("device {host} knows nobody in its group any more; device {other} removes it"));
        }
        self.drive(other, |device, now, rng| drop(device.remove(gone, now, rng)));
    }
}
