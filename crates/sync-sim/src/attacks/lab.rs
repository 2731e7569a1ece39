//! A small world for one attack: real devices with real cryptography, the real relay, and somebody hostile between them.
//! Frames arrive at once and in order; time passes when the attack says so.

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::pairing::GroupOffer;
use sync_core::store::{Key, Write};
use sync_core::{Device, DeviceError, Event, Joining, NewDevice, Outcome};
use sync_rules::defence::stands;
use sync_rules::envelope::head_of;
use sync_rules::{Defence, SigningKey, attach, mls};
#[cfg(test)]
use sync_types::Opaque;
use sync_types::body::Blob;
use sync_types::envelope::Envelope;
use sync_types::frame::{Attach, EntryKind, FromRelay, Head, Signature, ToRelay};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{BlobId, DeviceId, GroupId, Suite, VERSION};

use crate::disk::Disk;
use crate::relay::{ConnId, Out, Relay};

mod forge;

type Crypto = mls::Crypto;

/// Changes what is on its way: it is given who it is for or from, and gives what arrives instead.
pub(crate) type Tamper<T> = Box<dyn FnMut(usize, T) -> Vec<T>>;

/// What becomes of bytes.
#[cfg(test)]
type Altered = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Everybody on the way of an attack. Devices are known by their place.
pub(crate) struct Lab {
    pub(crate) relay: Relay<Crypto>,
    pub(crate) parties: Vec<Party>,
    pub(crate) now: u64,
    pub(crate) down: Tamper<FromRelay>,
    pub(crate) up: Tamper<ToRelay>,
    /// The key packages of those that were added; they are in the commits for everybody to read.
    pub(crate) packages: Vec<Vec<u8>>,
    /// All that `Debug` says of what passes by, where somebody wants to know.
    pub(crate) overheard: Option<String>,
    /// By how much the relay's clock is wrong, in milliseconds.
    pub(crate) relay_skew: i64,
    /// Which device is to die in which of its transactions, counted from now.
    pub(crate) dies: Option<(usize, usize)>,
    /// What a device could not load of its disk.
    pub(crate) damage: Option<String>,
    /// What becomes of Welcomes on their way.
    #[cfg(test)]
    pub(crate) welcomes: Option<Altered>,
    /// What the groups of this scene are made of, and what its devices can do.
    suite: Suite,
    crypto: Crypto,
    wires: VecDeque<Wire>,
    conns: u64,
    blobs: u64,
}

/// One device.
pub(crate) struct Party {
    pub(crate) device: Device<Crypto>,
    pub(crate) disk: Disk,
    /// Everything that it has told.
    pub(crate) events: Vec<Event>,
    /// By how much its clock is wrong, in milliseconds.
    pub(crate) skew: i64,
    rng: ChaCha20Rng,
    conn: Option<ConnId>,
}

enum Wire {
    Up(ConnId, ToRelay),
    Down(ConnId, FromRelay),
    Closed(ConnId),
}

/// After how many milliseconds a device looks at its clock again.
const LOOK_AGAIN: u64 = 60_000;

/// How many frames one attack may cause.
const MOST_FRAMES: usize = 20_000;

impl Lab {
    /// So many devices in one group, online and at rest.
    pub(crate) fn with(devices: usize) -> Self {
        Self::agreed(devices, HistoryPolicy::All)
    }

    /// The same, with this policy.
    pub(crate) fn agreed(devices: usize, history: HistoryPolicy) -> Self {
        Self::of(Suite::FOUNDED, devices, history)
    }

    /// The same, of this suite.
    pub(crate) fn of(suite: Suite, devices: usize, history: HistoryPolicy) -> Self {
        Self::by(mls::crypto(), suite, devices, history)
    }

    /// So many devices in one group, which take part in every suite, whatever this build does.
    pub(crate) fn of_every_suite(devices: usize) -> Self {
        Self::by(mls::Crypto::every(), Suite::XWing, devices, HistoryPolicy::All)
    }

    fn by(crypto: Crypto, suite: Suite, devices: usize, history: HistoryPolicy) -> Self {
        let mut lab = Self {
            crypto,
            #[cfg(test)]
            welcomes: None,
            suite,
            relay: Relay::new(mls::Crypto::every(), 1 << 20, None),
            parties: Vec::new(),
            now: 1_800_000_000_000,
            down: Box::new(|_, frame| vec![frame]),
            up: Box::new(|_, frame| vec![frame]),
            packages: Vec::new(),
            overheard: None,
            relay_skew: 0,
            dies: None,
            damage: None,
            wires: VecDeque::new(),
            conns: 0,
            blobs: 0,
        };
        lab.found(history);
        for _ in 1..devices {
            lab.add();
        }
        lab
    }

    /// A device founds a group of its own.
    pub(crate) fn found(&mut self, history: HistoryPolicy) -> usize {
        let mut rng = self.rng();
        let settings = Settings { app_id: b"attacks".to_vec(), history, ..Settings::default() };
        let new = NewDevice { name: format!("device {}", self.parties.len()), suite: self.suite, settings };
        let device = Device::found(new, self.crypto, self.now, &mut rng).expect("a group can be founded");
        self.party(device, rng)
    }

    /// The first device takes another one in.
    pub(crate) fn add(&mut self) -> usize {
        self.add_promised(|_| ()).expect("the Welcome is what was promised")
    }

    /// The same, with other promises in the pairing.
    pub(crate) fn add_promised(&mut self, promise: impl FnOnce(&mut GroupOffer)) -> Result<usize, DeviceError> {
        let mut rng = self.rng();
        let name = format!("device {}", self.parties.len());
        let suite = self.parties[0].device.suite();
        let (mut joining, package) =
            Joining::new(self.crypto, suite, self.clock(0), &name, &mut rng).expect("a key package can be made");
        let mut offer = self.parties[0].device.offer(self.clock(0));
        promise(&mut offer);
        self.packages.push(package.clone());
        joining.take_offer(offer);
        self.call(0, |device, now, rng| {
            device.add(package, &name, now, rng).expect("the sponsor may add");
        });
        self.run();
        let conn = self.open();
        let frame = joining.attach(&exporter(conn)).expect("there is an offer");
        self.wires.push_back(Wire::Up(conn, frame));
        let mut device = None;
        while let Some(wire) = self.wires.pop_front() {
            match wire {
                Wire::Down(to, frame) if to == conn => {
                    #[cfg(test)]
                    let frame = match (frame, &self.welcomes) {
                        (FromRelay::Welcome(welcome), Some(alter)) => FromRelay::Welcome(Opaque(alter(&welcome))),
                        (frame, _) => frame,
                    };
                    if device.is_none() {
                        device = joining.handle_frame(&frame, self.now, &mut rng)?;
                    }
                }
                wire => self.carry(wire),
            }
        }
        self.relay.ended(conn);
        Ok(self.party(device.expect("the Welcome waits at the relay"), rng))
    }

    fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([self.parties.len() as u8 + 1; 32])
    }

    fn party(&mut self, device: Device<Crypto>, rng: ChaCha20Rng) -> usize {
        let (disk, events) = (Disk::new(None), Vec::new());
        self.parties.push(Party { device, disk, events, skew: 0, rng, conn: None });
        let party = self.parties.len() - 1;
        self.settle(party);
        self.connect(party);
        self.run();
        party
    }

    pub(crate) fn id(&self, party: usize) -> DeviceId {
        self.parties[party].device.id()
    }

    pub(crate) fn group(&self, party: usize) -> GroupId {
        self.parties[party].device.group()
    }

    /// The device's signing key, as its own disk has it: a stolen key.
    pub(crate) fn key(&self, party: usize) -> SigningKey {
        let row = &self.parties[party].disk.state[&Key::Identity];
        SigningKey::from_seed(row[1..33].try_into().expect("the seed stands behind the version"))
    }

    pub(crate) fn open(&mut self) -> ConnId {
        self.conns += 1;
        self.relay.open(self.conns, exporter(self.conns));
        self.conns
    }

    pub(crate) fn connect(&mut self, party: usize) {
        let conn = self.open();
        self.parties[party].conn = Some(conn);
        self.call(party, |device, _, _| device.handle_connected(&exporter(conn), None).expect("a device can attach"));
    }

    pub(crate) fn disconnect(&mut self, party: usize) {
        if let Some(conn) = self.parties[party].conn.take() {
            self.relay.ended(conn);
            self.call(party, |device, _, _| device.handle_disconnected());
            self.run();
        }
    }

    /// The device's disk is set back to this copy of it.
    pub(crate) fn set_back(&mut self, party: usize, copy: Disk) {
        self.disconnect(party);
        self.parties[party].disk = copy;
        self.restart(party);
    }

    /// Somebody copies the device's disk, and starts the copy beside it.
    pub(crate) fn copy_of(&mut self, party: usize) -> usize {
        let disk = self.parties[party].disk.clone();
        let loaded = Device::load(disk.rows(), self.crypto).expect("the disk can be read");
        let device = loaded.expect("a device is on it");
        let rng = self.rng();
        self.parties.push(Party { device, disk, events: Vec::new(), skew: 0, rng, conn: None });
        let copy = self.parties.len() - 1;
        self.connect(copy);
        self.run();
        copy
    }

    /// The process ends, and another takes up what is on the disk.
    pub(crate) fn restart(&mut self, party: usize) {
        self.disconnect(party);
        let rows = self.parties[party].disk.rows();
        self.parties[party].device =
            Device::load(rows, self.crypto).expect("the disk can be read").expect("a device is on it");
        self.connect(party);
        self.run();
    }

    /// Somebody attaches with a device's key, beside or instead of the device. Gives what the relay answers.
    pub(crate) fn attach_with_key_of(&mut self, party: usize) -> (ConnId, Vec<FromRelay>) {
        self.attach_as(party, &self.key(party))
    }

    /// The same with some key.
    pub(crate) fn attach_as(&mut self, party: usize, key: &SigningKey) -> (ConnId, Vec<FromRelay>) {
        let conn = self.open();
        let attach = self.attach_request(party, key, conn);
        (conn, self.raw(conn, ToRelay::Attach(attach)))
    }

    /// An attach for a device's place, proved by some key.
    pub(crate) fn attach_request(&self, party: usize, key: &SigningKey, conn: ConnId) -> Attach {
        let (group, device) = (self.group(party), self.id(party));
        let proof = Signature(attach::prove(key, group, &exporter(conn)));
        let suite = self.parties[party].device.suite() as u8;
        Attach { version: VERSION, suite, group, device, stored: 0, proof }
    }

    /// A frame that no device of ours would send. Gives what the relay answers.
    pub(crate) fn raw(&mut self, conn: ConnId, frame: ToRelay) -> Vec<FromRelay> {
        let mut answers = Vec::new();
        self.wires.push_back(Wire::Up(conn, frame));
        while let Some(wire) = self.wires.pop_front() {
            match wire {
                Wire::Down(to, frame) if to == conn => answers.push(frame),
                wire => self.carry(wire),
            }
        }
        answers
    }

    /// The app pushes a text.
    pub(crate) fn push(&mut self, party: usize, text: &str) {
        self.write(party, text);
        self.run();
    }

    /// The same; what is sent is only on its way.
    pub(crate) fn write(&mut self, party: usize, text: &str) {
        let blob = self.text(text);
        let sender = self.id(party);
        self.parties[party].disk.push(sender, vec![blob]);
        self.call(party, |device, _, _| device.handle_pushed());
    }

    /// The last envelope of a device that the relay has taken.
    pub(crate) fn last_of(&self, party: usize) -> Option<(Vec<u8>, Head)> {
        let model = &self.relay.model[&self.group(party)];
        let seq = model.heads.get(&self.id(party))?;
        let bytes = &model.placed[&(self.id(party), *seq)].bytes;
        Some((bytes.0.clone(), head_of(&Envelope::parse(bytes).expect("the relay takes no other"))))
    }

    /// A commit that a device makes and that arrives nowhere.
    pub(crate) fn own_commit(&mut self, party: usize) -> Vec<u8> {
        let found = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let keep = found.clone();
        let up = std::mem::replace(
            &mut self.up,
            Box::new(move |_, frame| match frame {
                ToRelay::Commit(commit) => {
                    *keep.borrow_mut() = commit.commit.0;
                    vec![]
                }
                frame => vec![frame],
            }),
        );
        self.call(party, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
        self.run();
        self.up = up;
        found.take()
    }

    /// The group's newest state, as the relay gives it to a member.
    pub(crate) fn group_info(&mut self, party: usize) -> Vec<u8> {
        self.disconnect(party);
        let (conn, _) = self.attach_with_key_of(party);
        let answers = self.raw(conn, ToRelay::GroupInfo(None));
        self.relay.ended(conn);
        self.connect(party);
        self.run();
        let info = answers.into_iter().find_map(|frame| match frame {
            FromRelay::GroupInfo(bytes) => Some(bytes.0),
            _ => None,
        });
        info.expect("the relay gives it to a member")
    }

    /// A relay in league puts a commit into the log that it did not order.
    pub(crate) fn inject_commit(&mut self, party: usize, commit: &[u8]) {
        let (group, sender) = (self.group(party), self.id(party));
        self.relay.inject(group, EntryKind::Commit, sender, commit);
        self.run();
    }

    /// A relay in league puts an envelope into the log as if it had been pushed.
    pub(crate) fn inject(&mut self, party: usize, envelope: &[u8]) {
        let (group, sender) = (self.group(party), self.id(party));
        self.relay.inject(group, EntryKind::Envelope, sender, envelope);
        self.run();
    }

    /// A blob that no app has pushed.
    pub(crate) fn text(&mut self, text: &str) -> Blob {
        self.blobs += 1;
        let id = BlobId(u128::from(self.blobs << 20).to_be_bytes());
        Blob { id, channel: "notes".into(), data: text.as_bytes().to_vec(), snapshot: false }
    }

    /// What the app has in its log, in its order, with whom it is from.
    pub(crate) fn log(&self, party: usize) -> Vec<(DeviceId, String)> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        self.parties[party].disk.log.values().map(|row| (row.sender, text(&row.blob.data))).collect()
    }

    pub(crate) fn has(&self, party: usize, text: &str) -> bool {
        self.log(party).iter().any(|(_, there)| there == text)
    }

    /// What a device keeps of this outcome.
    pub(crate) fn evidence(&self, party: usize, outcome: Outcome) -> Option<&[u8]> {
        let kept = &self.parties[party].disk.kept;
        kept.iter().find(|entry| entry.outcome == outcome).map(|entry| &entry.bytes.0[..])
    }

    /// The first device removes another, and all have seen it.
    pub(crate) fn remove(&mut self, party: usize) {
        let device = self.id(party);
        self.call(0, |first, now, rng| first.remove(device, now, rng).expect("it is a member"));
        self.run();
        self.pass(11_000);
    }

    /// Whether a device met this outcome.
    pub(crate) fn met(&self, party: usize, outcome: Outcome) -> bool {
        self.parties[party].device.outcome_counts()[outcome as usize] > 0
    }

    pub(crate) fn call(&mut self, party: usize, call: impl FnOnce(&mut Device<Crypto>, u64, &mut ChaCha20Rng)) {
        let now = self.clock(party);
        let p = &mut self.parties[party];
        call(&mut p.device, now, &mut p.rng);
        self.settle(party);
    }

    /// What a device's clock says.
    pub(crate) fn clock(&self, party: usize) -> u64 {
        self.now.saturating_add_signed(self.parties[party].skew)
    }

    /// Notes what `Debug` says, on one line and on many.
    pub(crate) fn overhear(&mut self, what: &dyn std::fmt::Debug) {
        if let Some(overheard) = &mut self.overheard {
            *overheard += &format!("{what:?}\n{what:#?}\n");
        }
    }

    /// One transaction of a device, and what it sends then.
    fn settle(&mut self, party: usize) {
        let now = self.clock(party);
        let before = self.dies.filter(|(who, _)| *who == party).map(|_| self.parties[party].disk.clone());
        let mut writes = Vec::new();
        while let Some(read) = self.parties[party].device.next_read(now) {
            writes.extend(self.write_down(party));
            let answer = self.parties[party].disk.read(&read);
            self.overhear(&(&read, &answer));
            let p = &mut self.parties[party];
            p.device.handle_read(answer, now, &mut p.rng);
        }
        writes.extend(self.write_down(party));
        if let Some(before) = before.filter(|_| !writes.is_empty())
            && self.is_last_turn()
        {
            return self.die(party, before, writes);
        }
        let p = &mut self.parties[party];
        let sends = p.device.take_sends();
        let events = p.device.take_events();
        let ended = events.iter().any(|e| matches!(e, Event::Disconnect { .. } | Event::KeyReplaced { .. }));
        p.events.extend(events.clone());
        let conn = p.conn;
        self.overhear(&(&sends, &events));
        let Some(conn) = conn else { return };
        for frame in sends {
            self.wires.extend((self.up)(party, frame).into_iter().map(|frame| Wire::Up(conn, frame)));
        }
        if ended {
            self.wires.push_back(Wire::Closed(conn));
        }
    }

    fn write_down(&mut self, party: usize) -> Vec<Write> {
        let writes = self.parties[party].device.take_writes();
        self.overhear(&writes);
        self.parties[party].disk.apply(writes.clone());
        writes
    }

    /// Counts a transaction of the device that is to die.
    fn is_last_turn(&mut self) -> bool {
        let Some((_, left)) = &mut self.dies else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }

    /// The process ends between two writes of a turn, and another takes up what is on the disk.
    fn die(&mut self, party: usize, before: Disk, mut writes: Vec<Write>) {
        self.dies = None;
        if let Some(conn) = self.parties[party].conn.take() {
            self.relay.ended(conn);
        }
        let p = &mut self.parties[party];
        p.disk = before;
        if !stands(Defence::Transaction) {
            writes.truncate(writes.len() / 2);
            p.disk.apply(writes);
        }
        match Device::load(p.disk.rows(), self.crypto) {
            Ok(Some(device)) => p.device = device,
            Ok(None) => self.damage = Some("no device is on the disk".to_owned()),
            Err(error) => self.damage = Some(error.to_string()),
        }
    }

    /// Lets everything arrive that is on its way.
    pub(crate) fn run(&mut self) {
        let mut frames = 0;
        self.relay_turn();
        while let Some(wire) = self.wires.pop_front() {
            self.carry(wire);
            frames += 1;
            assert!(frames < MOST_FRAMES, "the attack makes devices and relay talk without end");
        }
    }

    fn carry(&mut self, wire: Wire) {
        let party = |lab: &Self, conn| lab.parties.iter().position(|p| p.conn == Some(conn));
        match wire {
            Wire::Up(conn, frame) => {
                let size = sync_types::frame::write(&frame).len();
                self.relay.frame(conn, frame, size, self.now.saturating_add_signed(self.relay_skew));
            }
            Wire::Down(conn, frame) => {
                let Some(to) = party(self, conn) else { return };
                for frame in (self.down)(to, frame) {
                    self.overhear(&frame);
                    self.call(to, |device, now, rng| device.handle_frame(frame, now, rng));
                }
            }
            Wire::Closed(conn) => {
                if let Some(to) = party(self, conn) {
                    self.parties[to].conn = None;
                    self.relay.ended(conn);
                    self.call(to, |device, _, _| device.handle_disconnected());
                }
            }
        }
        self.relay_turn();
    }

    fn relay_turn(&mut self) {
        while self.relay.has_pending() {
            self.relay.sync(None);
        }
        for out in std::mem::take(&mut self.relay.out) {
            self.wires.push_back(match out {
                Out::Send(conn, frame) => Wire::Down(conn, frame),
                Out::Close(conn) => Wire::Closed(conn),
            });
        }
    }

    /// Time passes. Everybody's timers come in their order; who was disconnected comes back.
    pub(crate) fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        loop {
            self.run();
            let here = |at: u64, skew: i64| at.saturating_add_signed(-skew);
            let devices = self.parties.iter().filter_map(|p| Some(here(p.device.next_timeout()?, p.skew)));
            let next = devices.chain(self.relay.next_timeout().map(|at| here(at, self.relay_skew))).min();
            // An engine looks at the clock once a minute.
            let look = self.now + LOOK_AGAIN;
            let at = next.map_or(look, |at| at.min(look));
            if at > until {
                break;
            }
            self.now = self.now.max(at) + 1;
            self.relay.timeout(self.now.saturating_add_signed(self.relay_skew));
            for party in 0..self.parties.len() {
                if at < look || self.parties[party].device.is_due(self.clock(party)) {
                    self.call(party, |device, now, rng| device.handle_timeout(now, rng));
                }
            }
        }
        self.now = until;
    }

    /// Who has lost its connection opens another.
    pub(crate) fn reconnect(&mut self) {
        self.reconnect_but(usize::MAX);
    }

    /// The same, but for one that stays away.
    pub(crate) fn reconnect_but(&mut self, away: usize) {
        for party in (0..self.parties.len()).filter(|party| *party != away) {
            if self.parties[party].conn.is_none() {
                self.connect(party);
            }
        }
        self.run();
    }
}

pub(crate) fn exporter(conn: ConnId) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&conn.to_be_bytes());
    bytes
}
