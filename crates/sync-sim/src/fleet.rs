//! Devices and several relays, on lines that are cut one by one. Frames arrive at once and in order; time passes when it is
//! said to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mls_rs::CryptoProvider;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::store::Key;
use sync_core::{Device, Event, Joining, NewDevice, Outcome, RelayId};
use sync_rules::{SigningKey, attach};
use sync_types::body::Blob;
use sync_types::frame::{Attach, FromRelay, Signature, ToRelay};
use sync_types::settings::Settings;
use sync_types::{BlobId, DeviceId, Opaque, RelayAddress, Suite, VERSION};

use crate::disk::Disk;
use crate::relay::{ConnId, Out, Relay};

/// How many frames one scene may cause without time passing.
const MOST_FRAMES: usize = 60_000;
/// How often whoever lost a line tries it again, in milliseconds.
const AGAIN_MS: u64 = 500;

/// Changes what is on its way from a relay, given which device it is for and which relay it is from.
pub(crate) type Tamper = Box<dyn FnMut(usize, usize, FromRelay) -> Vec<FromRelay>>;

/// Everybody. Devices and relays are known by their places.
pub(crate) struct Fleet<P: CryptoProvider + Clone + Send + Sync> {
    crypto: P,
    pub(crate) relays: Vec<Relay<P>>,
    pub(crate) addresses: Vec<RelayAddress>,
    /// Which relays are there at all.
    pub(crate) up: Vec<bool>,
    pub(crate) ships: Vec<Ship<P>>,
    /// Lines that are cut: device and relay.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) down: Tamper,
    pub(crate) now: u64,
    wires: VecDeque<Wire>,
    conns: u64,
    blobs: u64,
}

/// One device.
pub(crate) struct Ship<P: CryptoProvider + Clone> {
    pub(crate) device: Device<P>,
    pub(crate) disk: Disk,
    /// Everything that it has told.
    pub(crate) events: Vec<Event>,
    rng: ChaCha20Rng,
    /// Its connections, by relay.
    conns: BTreeMap<usize, ConnId>,
}

enum Wire {
    Up(usize, ConnId, ToRelay),
    Down(usize, ConnId, FromRelay),
    Closed(usize, ConnId),
}

fn exporter(conn: ConnId) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&conn.to_be_bytes());
    bytes
}

fn address(place: usize) -> RelayAddress {
    let text = format!("ksync://{}@127.0.0.1:{}", format!("{:02x}", place + 1).repeat(32), 4000 + place);
    text.parse().expect("it is written as one")
}

impl<P: CryptoProvider + Clone + Send + Sync> Fleet<P> {
    /// So many devices in one group that uses so many relays, online and at rest.
    pub(crate) fn with(crypto: P, devices: usize, relays: usize) -> Self {
        let addresses: Vec<RelayAddress> = (0..relays).map(address).collect();
        let list = addresses.clone();
        Self::listing(crypto, devices, addresses, &list)
    }

    /// The same where the group lists only some of the relays.
    pub(crate) fn listing(crypto: P, devices: usize, addresses: Vec<RelayAddress>, list: &[RelayAddress]) -> Self {
        let mut fleet = Self {
            relays: addresses.iter().map(|_| Relay::new(crypto.clone(), 1 << 20, None)).collect(),
            up: vec![true; addresses.len()],
            addresses,
            crypto,
            ships: Vec::new(),
            cut: BTreeSet::new(),
            down: Box::new(|_, _, frame| vec![frame]),
            now: 1_800_000_000_000,
            wires: VecDeque::new(),
            conns: 0,
            blobs: 0,
        };
        let relays = list.iter().map(|a| Opaque(a.to_string().into_bytes())).collect();
        let settings = Settings { app_id: b"fleet".to_vec(), relays, ..Settings::default() };
        let mut rng = fleet.rng();
        let new = NewDevice { name: "device 0".into(), suite: Suite::FOUNDED, settings };
        let device = Device::found(new, fleet.crypto.clone(), fleet.now, &mut rng).expect("a group can be founded");
        fleet.launch(device, rng);
        for _ in 1..devices {
            fleet.add();
        }
        fleet.pass(20_000);
        fleet
    }

    fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([self.ships.len() as u8 + 1; 32])
    }

    fn launch(&mut self, device: Device<P>, rng: ChaCha20Rng) -> usize {
        let disk = Disk::new(None);
        self.ships.push(Ship { device, disk, events: Vec::new(), rng, conns: BTreeMap::new() });
        let place = self.ships.len() - 1;
        self.settle(place);
        self.reconnect();
        place
    }

    /// The first device takes another one in, at the relay that is first for it.
    pub(crate) fn add(&mut self) -> usize {
        let mut rng = self.rng();
        let name = format!("device {}", self.ships.len());
        let made = Joining::new(self.crypto.clone(), Suite::FOUNDED, self.now, &name, &mut rng);
        let (mut joining, package) = made.expect("a key package can be made");
        joining.take_offer(self.ships[0].device.offer(self.now));
        self.call(0, |device, now, rng| {
            device.add(package, &name, now, rng).expect("the sponsor may add");
        });
        self.pass(12_000);
        let relay = self.first_of(0);
        self.conns += 1;
        let conn = self.conns;
        self.relays[relay].open(conn, exporter(conn));
        let frame = joining.attach(&exporter(conn)).expect("there is an offer");
        self.wires.push_back(Wire::Up(relay, conn, frame));
        let mut device = None;
        while let Some(wire) = self.wires.pop_front() {
            match wire {
                Wire::Down(from, to, frame) if (from, to) == (relay, conn) => {
                    if device.is_none() {
                        device = joining.handle_frame(&frame, self.now, &mut rng).expect("a Welcome as promised");
                    }
                }
                wire => self.carry(wire),
            }
        }
        self.relays[relay].ended(conn);
        self.launch(device.expect("the Welcome waits at the relay"), rng)
    }

    /// The place of the relay that is first for a device.
    pub(crate) fn first_of(&self, device: usize) -> usize {
        self.place_of(self.ships[device].device.relays()[0].relay).expect("there is no other")
    }

    fn place_of(&self, relay: RelayId) -> Option<usize> {
        self.addresses.iter().position(|address| RelayId::of(&address.to_string()) == relay)
    }

    pub(crate) fn relay_id(&self, relay: usize) -> RelayId {
        RelayId::of(&self.addresses[relay].to_string())
    }

    pub(crate) fn id(&self, device: usize) -> DeviceId {
        self.ships[device].device.id()
    }

    pub(crate) fn call(&mut self, device: usize, call: impl FnOnce(&mut Device<P>, u64, &mut ChaCha20Rng)) {
        let ship = &mut self.ships[device];
        call(&mut ship.device, self.now, &mut ship.rng);
        self.settle(device);
    }

    /// One transaction of a device, and what it sends then.
    fn settle(&mut self, device: usize) {
        let ship = &mut self.ships[device];
        let mut reads = 0;
        while let Some(read) = ship.device.next_read(self.now) {
            let writes = ship.device.take_writes();
            ship.disk.apply(writes);
            let answer = ship.disk.read(&read);
            ship.device.handle_read(answer, self.now, &mut ship.rng);
            reads += 1;
            assert!(reads < MOST_FRAMES, "device {device} reads without end");
        }
        let writes = ship.device.take_writes();
        ship.disk.apply(writes);
        for (relay, conn) in ship.conns.clone() {
            let id = RelayId::of(&self.addresses[relay].to_string());
            let sends = self.ships[device].device.take_sends_at(id);
            self.wires.extend(sends.into_iter().map(|frame| Wire::Up(relay, conn, frame)));
        }
        let events = self.ships[device].device.take_events();
        for event in &events {
            match event {
                Event::Disconnect { relay, .. } => {
                    let place = self.place_of(*relay);
                    let conn = place.and_then(|place| Some((place, *self.ships[device].conns.get(&place)?)));
                    self.wires.extend(conn.map(|(relay, conn)| Wire::Closed(relay, conn)));
                }
                Event::KeyReplaced { .. } => {
                    let all = self.ships[device].conns.iter().map(|(relay, conn)| Wire::Closed(*relay, *conn));
                    self.wires.extend(all);
                }
                _ => {}
            }
        }
        self.ships[device].events.extend(events);
    }

    /// Lets everything arrive that is on its way.
    pub(crate) fn run(&mut self) {
        self.relays_turn();
        let mut frames = 0;
        while let Some(wire) = self.wires.pop_front() {
            self.carry(wire);
            frames += 1;
            assert!(frames < MOST_FRAMES, "devices and relays talk without end");
        }
    }

    fn on(&self, relay: usize, conn: ConnId) -> Option<usize> {
        self.ships.iter().position(|ship| ship.conns.get(&relay) == Some(&conn))
    }

    fn carry(&mut self, wire: Wire) {
        match wire {
            Wire::Up(relay, conn, frame) => {
                let size = sync_types::frame::write(&frame).len();
                self.relays[relay].frame(conn, frame, size, self.now);
            }
            Wire::Down(relay, conn, frame) => {
                let Some(device) = self.on(relay, conn) else { return };
                let id = self.relay_id(relay);
                for frame in (self.down)(device, relay, frame) {
                    self.call(device, |d, now, rng| d.handle_frame_at(id, frame, now, rng));
                }
            }
            Wire::Closed(relay, conn) => {
                self.relays[relay].ended(conn);
                if let Some(device) = self.on(relay, conn) {
                    self.lose(device, relay);
                }
            }
        }
        self.relays_turn();
    }

    fn lose(&mut self, device: usize, relay: usize) {
        if let Some(conn) = self.ships[device].conns.remove(&relay) {
            self.relays[relay].ended(conn);
        }
        let id = self.relay_id(relay);
        self.call(device, |device, _, _| device.handle_disconnected_at(id));
    }

    fn relays_turn(&mut self) {
        for (place, relay) in self.relays.iter_mut().enumerate() {
            // The model follows one relay's order.
            relay.model.clear();
            while relay.has_pending() {
                relay.sync(None);
                relay.model.clear();
            }
            for out in std::mem::take(&mut relay.out) {
                self.wires.push_back(match out {
                    Out::Send(conn, frame) => Wire::Down(place, conn, frame),
                    Out::Close(conn) => Wire::Closed(place, conn),
                });
            }
        }
    }

    /// Whoever lacks a line that can be had opens one; whoever cannot is told that it has failed.
    pub(crate) fn reconnect(&mut self) {
        for device in 0..self.ships.len() {
            if self.ships[device].device.is_removed() {
                continue;
            }
            for status in self.ships[device].device.relays() {
                let Some(relay) = self.place_of(status.relay) else { continue };
                if self.ships[device].conns.contains_key(&relay) {
                    continue;
                }
                if !self.up[relay] || self.cut.contains(&(device, relay)) {
                    self.lose(device, relay);
                    continue;
                }
                self.conns += 1;
                let conn = self.conns;
                self.relays[relay].open(conn, exporter(conn));
                self.ships[device].conns.insert(relay, conn);
                let begin = |d: &mut Device<P>, _, _: &mut ChaCha20Rng| {
                    d.handle_connected_at(status.relay, &exporter(conn), None).expect("a device can attach");
                };
                self.call(device, begin);
            }
        }
        self.run();
    }

    /// Cuts a line, or mends it.
    pub(crate) fn line(&mut self, device: usize, relay: usize, up: bool) {
        if up {
            self.cut.remove(&(device, relay));
        } else {
            self.cut.insert((device, relay));
            self.lose(device, relay);
        }
    }

    /// A relay stops, with what it holds on its disk, or comes back.
    pub(crate) fn power(&mut self, relay: usize, up: bool) {
        self.up[relay] = up;
        if !up {
            self.relays[relay].die();
            for device in 0..self.ships.len() {
                self.lose(device, relay);
            }
        }
    }

    /// The process of a device ends, and another takes up what is on the disk.
    pub(crate) fn restart(&mut self, device: usize) {
        for relay in 0..self.relays.len() {
            self.lose(device, relay);
        }
        let rows = self.ships[device].disk.rows();
        self.ships[device].device =
            Device::load(rows, self.crypto.clone()).expect("the disk can be read").expect("a device is on it");
        self.reconnect();
    }

    /// What is on a device's disk, in another device. Gives its place.
    #[cfg(test)]
    pub(crate) fn copy(&mut self, device: usize) -> usize {
        let (disk, rng) = (self.ships[device].disk.clone(), self.rng());
        let device = Device::load(disk.rows(), self.crypto.clone()).expect("the disk can be read");
        let device = device.expect("a device is on it");
        self.ships.push(Ship { device, disk, events: Vec::new(), rng, conns: BTreeMap::new() });
        self.reconnect();
        self.ships.len() - 1
    }

    /// Time passes, timers and reconnecting with it.
    pub(crate) fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        let mut again = self.now;
        loop {
            self.run();
            let timers = self.ships.iter().filter_map(|ship| ship.device.next_timeout());
            let relays = self.relays.iter().zip(&self.up).filter(|(_, up)| **up).filter_map(|(r, _)| r.next_timeout());
            let next = timers.chain(relays).chain([again]).min().unwrap_or(again);
            if next > until {
                break;
            }
            self.now = self.now.max(next) + 1;
            if again <= self.now {
                again = self.now + AGAIN_MS;
                self.reconnect();
            }
            let now = self.now;
            for (relay, up) in self.relays.iter_mut().zip(&self.up) {
                if *up {
                    relay.timeout(now);
                }
            }
            for device in 0..self.ships.len() {
                self.call(device, |device, now, rng| device.handle_timeout(now, rng));
            }
        }
        self.now = until;
    }

    /// The app pushes a text.
    pub(crate) fn push(&mut self, device: usize, text: &str) {
        self.blobs += 1;
        let id = BlobId(u128::from(self.blobs << 20).to_be_bytes());
        let blob = Blob { id, channel: "notes".into(), data: text.as_bytes().to_vec(), snapshot: false };
        let sender = self.id(device);
        self.ships[device].disk.push(sender, vec![blob]);
        self.call(device, |device, _, _| device.handle_pushed());
        self.run();
    }

    /// What the app has in its log, in its order, with whom it is from.
    pub(crate) fn log(&self, device: usize) -> Vec<(DeviceId, String)> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        self.ships[device].disk.log.values().map(|row| (row.sender, text(&row.blob.data))).collect()
    }

    pub(crate) fn has(&self, device: usize, text: &str) -> bool {
        self.log(device).iter().any(|(_, there)| there == text)
    }

    /// How often a device met this outcome.
    pub(crate) fn met(&self, device: usize, outcome: Outcome) -> u64 {
        self.ships[device].device.outcome_counts()[outcome as usize]
    }

    /// What a device was told that is not as it should be.
    pub(crate) fn unusual(&self, device: usize) -> Vec<Event> {
        let odd =
            |event: &&Event| matches!(event, Event::Unusual { .. } | Event::Halted { .. } | Event::Withheld { .. });
        self.ships[device].events.iter().filter(odd).cloned().collect()
    }

    /// A device's signing key, as its own disk has it.
    pub(crate) fn key(&self, device: usize) -> SigningKey {
        let row = &self.ships[device].disk.state[&Key::Identity];
        SigningKey::from_seed(row[1..33].try_into().expect("the seed stands behind the version"))
    }

    /// A frame that a device of ours would not send, on a connection in a device's name. Gives what the relay answers.
    pub(crate) fn raw(&mut self, device: usize, relay: usize, frame: ToRelay) -> Vec<FromRelay> {
        self.conns += 1;
        let conn = self.conns;
        let (group, id) = (self.ships[device].device.group(), self.id(device));
        let proof = Signature(attach::prove(&self.key(device), group, &exporter(conn)));
        self.relays[relay].open(conn, exporter(conn));
        let attach = ToRelay::Attach(Attach {
            version: VERSION,
            suite: Suite::FOUNDED as u8,
            group,
            device: id,
            stored: 0,
            proof,
        });
        let mut answers = Vec::new();
        for frame in [attach, frame] {
            self.wires.push_back(Wire::Up(relay, conn, frame));
            while let Some(wire) = self.wires.pop_front() {
                match wire {
                    Wire::Down(_, to, frame) if to == conn => answers.push(frame),
                    wire => self.carry(wire),
                }
            }
        }
        self.relays[relay].ended(conn);
        answers
    }
}
