//! What befalls a world: people push, pair and remove, lines break, processes die, time passes.

use sync_relay::store::StoreError;
use sync_types::body::Blob;
use sync_types::{BlobId, Suite};

use super::devices::Life;
use super::{DAY, Ev, HOUR, MINUTE, Pushed, SECOND, World};
use crate::relay::Cut;

/// Channels that the apps use.
const CHANNELS: [&str; 3] = ["notes", "cursor", "a channel with a longer name"];

impl World {
    pub(super) fn action(&mut self) {
        if self.quiet {
            return;
        }
        self.actions += 1;
        let host = self.dice.index(self.hosts.len());
        match self.dice.below(100) {
            0..38 => self.push(host),
            38..48 => self.cut_line(host),
            48..52 => self.kill(host),
            52..54 => self.kill_relay(),
            54..66 => self.pair_somebody(),
            66..70 => self.remove_somebody(host),
            70..74 => self.renew(host),
            74..76 => self.leave(host),
            76..81 => self.presence(host),
            81..83 => self.store_fails(),
            83..86 => self.jump(),
            86..89 => self.stay_away(host),
            89..91 => self.grow(),
            91..93 => self.lie(host),
            93..95 => self.copy_disk(host),
            95..97 if self.dice.chance(250) => self.clone_disk(host),
            95..97 => self.set_back(host),
            97..99 => self.go_away(host),
            _ => self.hostile(host),
        }
        let next = match self.dice.below(10) {
            0..6 => self.dice.between(1, 60),
            6..9 => self.dice.between(20, 800),
            _ => self.dice.between(SECOND, 12 * SECOND),
        };
        self.after(next, Ev::Action);
    }

    fn push(&mut self, host: usize) {
        let h = &self.hosts[host];
        let sender = match &h.life {
            Life::Member(device) if !device.is_removed() => device.id(),
            Life::Bare if !h.pairing => {
                self.found(host);
                return;
            }
            _ => return,
        };
        self.counters.add("action push");
        let count = if self.dice.chance(300) { self.dice.between(2, 6) } else { 1 };
        let mut id = BlobId(self.dice.bytes());
        let channel = CHANNELS[self.dice.index(CHANNELS.len())];
        let mut blobs = Vec::new();
        for _ in 0..count {
            let serial = self.pushed.len() as u64;
            let size = match self.dice.below(100) {
                0..80 => self.dice.between(8, 120),
                80..98 => self.dice.between(120, 3000),
                _ => self.dice.between(3000, 30_000),
            };
            let mut data = serial.to_be_bytes().to_vec();
            data.resize(size as usize, serial as u8);
            blobs.push(Blob { id, channel: channel.into(), data, snapshot: false });
            self.pushed.push(Pushed { host, id, set_back: false });
            id = id.next();
        }
        self.note(|_| format!("device {host} pushes {count} blobs to {channel}"));
        // The push returns when this is durable, whatever becomes of the process then.
        self.hosts[host].disk.push(sender, blobs);
        self.drive(host, |device, _, _| device.handle_pushed());
    }

    fn cut_line(&mut self, host: usize) {
        if let Some(conn) = self.hosts[host].conn {
            self.counters.add("action disconnect");
            self.break_conn(conn);
        } else {
            self.counters.add("action connect");
            self.connect(host);
        }
    }

    fn kill(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            self.counters.add("action crash device");
            self.counters.add("crash device at rest");
            self.die(host, "at rest");
        }
    }

    fn kill_relay(&mut self) {
        if !self.relay_up {
            return;
        }
        self.counters.add("action crash relay");
        match self.dice.below(3) {
            0 => self.relay_cut = Some(Cut::BeforeCommit),
            1 => self.relay_cut = Some(Cut::AfterCommit),
            _ => {
                self.counters.add("crash relay at rest");
                self.note(|_| "relay dies at rest".into());
                self.relay_died();
            }
        }
    }

    fn store_fails(&mut self) {
        self.counters.add("action relay store fails");
        let error = if self.dice.chance(500) { StoreError::Busy } else { StoreError::Io("a test".into()) };
        self.note(|_| format!("the relay's next commit fails: {error}"));
        self.relay.fail_next(error);
    }

    fn pair_somebody(&mut self) {
        if self.hosts.iter().any(|h| h.sabotaged) {
            return;
        }
        let sponsor = self.dice.index(self.hosts.len());
        let newcomer = self.dice.index(self.hosts.len());
        if sponsor != newcomer && self.pair(sponsor, newcomer) {
            self.counters.add("action pair");
        }
    }

    fn remove_somebody(&mut self, host: usize) {
        let Some(device) = self.hosts[host].active() else { return };
        let others: Vec<_> = device.members().into_iter().filter(|m| !m.own).map(|m| m.device).collect();
        let Some(other) = self.dice.pick(&others).copied() else { return };
        let Some(target) = self.host_of(other).filter(|t| self.may_go(*t)) else { return };
        self.hosts[target].doomed = true;
        self.counters.add("action remove");
        self.note(|_| format!("device {host} removes {other:?}"));
        self.drive(host, |device, now, rng| drop(device.remove(other, now, rng)));
    }

    /// Whether somebody stays who holds all that the group has. What only one device holds is lost with it, and that is
    /// for people to know.
    fn may_go(&self, host: usize) -> bool {
        let group = self.hosts[host].last_group;
        let complete = |d: &sync_core::Device<crate::crypto::InsecureCrypto>| d.status().wants == 0;
        self.hosts.iter().enumerate().any(|(other, h)| {
            other != host
                && h.last_group == group
                && !h.set_back
                && !h.doomed
                && !h.late
                && !h.sabotaged
                && h.active().is_some_and(complete)
        })
    }

    fn renew(&mut self, host: usize) {
        if self.hosts[host].active().is_some_and(|d| !d.is_alone()) {
            // No throw of the dice, so that worlds without a move stay as they were.
            if self.actions.is_multiple_of(4) {
                return self.move_group(host);
            }
            self.counters.add("action self-update");
            self.note(|_| format!("device {host} renews its keys"));
            self.drive(host, |device, now, rng| drop(device.self_update(now, rng)));
        }
    }

    /// Somebody moves the group to the suite that it does not have.
    fn move_group(&mut self, host: usize) {
        self.counters.add("action move");
        self.note(|_| format!("device {host} moves its group to the other suite"));
        self.drive(host, |device, now, rng| {
            let other = if device.suite() == Suite::XWing { Suite::Fips } else { Suite::XWing };
            drop(device.move_to_suite(other, now, rng));
        });
    }

    fn leave(&mut self, host: usize) {
        let may = !self.hosts[host].sabotaged && self.may_go(host);
        if self.hosts[host].active().is_some_and(|d| !d.is_alone()) && may && self.dice.chance(500) {
            self.hosts[host].doomed = true;
            self.counters.add("action leave");
            self.note(|_| format!("device {host} leaves"));
            let mut left = false;
            self.drive(host, |device, now, rng| left = device.leave(now, rng).is_ok());
            // It may have died before that was durable.
            self.hosts[host].leaving = left && self.hosts[host].is_up();
        }
    }

    fn presence(&mut self, host: usize) {
        if self.hosts[host].active().is_some() {
            self.counters.add("action presence");
            let data = self.dice.bytes::<9>();
            self.drive(host, |device, _, rng| drop(device.set_presence("cursor", &data, rng)));
        }
    }

    fn stay_away(&mut self, host: usize) {
        let long = self.dice.between(SECOND, 2 * MINUTE);
        self.hosts[host].away_until = self.hosts[host].away_until.max(self.now + long);
        self.note(|_| format!("device {host} goes offline for {long} ms"));
        if let Some(conn) = self.hosts[host].conn {
            self.break_conn(conn);
        }
    }

    /// Somebody makes a copy of the device's disk.
    fn copy_disk(&mut self, host: usize) {
        if self.weather.restores
            && let Some(id) = self.hosts[host].active().map(sync_core::Device::id)
        {
            self.note(|_| format!("the disk of device {host} is copied"));
            self.hosts[host].image = Some((id, self.hosts[host].disk.clone()));
        }
    }

    /// The device's disk is set back to the copy.
    fn set_back(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let same = h.active().is_some_and(|d| h.image.as_ref().is_some_and(|(id, _)| *id == d.id()));
        if !same || h.doomed {
            return;
        }
        let Some((_, image)) = h.image.take() else { return };
        self.counters.add("action set back");
        self.die(host, "and its disk is set back");
        let h = &mut self.hosts[host];
        (h.disk, h.set_back) = (image, true);
        let disk = &self.hosts[host].disk;
        for pushed in self.pushed.iter_mut().filter(|p| p.host == host && !disk.has(p.id)) {
            pushed.set_back = true;
        }
    }

    /// One more physical device comes into being.
    fn grow(&mut self) {
        if self.hosts.len() < 6 {
            let host = self.add_host();
            if self.dice.chance(300) {
                self.found(host);
            }
        }
    }

    fn jump(&mut self) {
        if self.weather.jumps == 0 || self.hosts.iter().any(|h| h.sabotaged) {
            return;
        }
        self.weather.jumps -= 1;
        let (name, by) = match self.dice.below(3) {
            0 => ("action jump hours", self.dice.between(HOUR, 20 * HOUR)),
            1 => ("action jump 8 days", 8 * DAY),
            _ => ("action jump 31 days", 31 * DAY),
        };
        self.counters.add(name);
        self.note(|_| format!("{by} ms pass"));
        let open: Vec<_> = self.conns.keys().copied().collect();
        open.into_iter().for_each(|conn| self.break_conn(conn));
        self.now += by;
        if self.dice.chance(500) {
            // The relay was off as well, or its clock has leapt.
            self.relay.stood_still += by;
        } else {
            self.lapses |= by >= 30 * DAY;
        }
    }

    /// Somebody goes away for longer than anything is kept, while the others go on.
    fn go_away(&mut self, host: usize) {
        let group = self.hosts[host].last_group;
        let others = self
            .hosts
            .iter()
            .enumerate()
            .any(|(other, h)| other != host && h.last_group == group && h.active().is_some());
        let may = self.hosts[host].active().is_some_and(|d| !d.is_alone()) && others;
        if self.weather.absences == 0 || !may || self.hosts.iter().any(|h| h.late) {
            return;
        }
        self.weather.absences -= 1;
        self.counters.add("action long absence");
        self.note(|_| format!("device {host} goes away for weeks"));
        (self.hosts[host].away_until, self.hosts[host].late, self.lapses) = (u64::MAX, true, true);
        if let Some(conn) = self.hosts[host].conn {
            self.break_conn(conn);
        }
        let weeks = self.dice.between(5, 8);
        self.after(SECOND, Ev::Week(host, weeks));
    }

    pub(super) fn week(&mut self, host: usize, left: u64) {
        if self.quiet {
            return;
        }
        if left == 0 {
            self.note(|_| format!("device {host} comes back"));
            self.hosts[host].away_until = self.now;
            return self.after(1, Ev::Connect(host));
        }
        // Not by whole days, so that nobody's silence ends to the minute.
        self.note(|_| "a week passes".into());
        let open: Vec<_> = self.conns.keys().copied().collect();
        open.into_iter().for_each(|conn| self.break_conn(conn));
        self.now += 6 * DAY + 12 * HOUR;
        let next = self.dice.between(5 * SECOND, 40 * SECOND);
        self.after(next, Ev::Week(host, left - 1));
    }
}
