//! A relay that orders commits, and devices that restart between any two steps if told to.

use sync_core::membership::{Applied, Change, Invitation, Membership, PrepareError, Prepared, key_package};
use sync_rules::{Observe, ObserveError, Observed, Observer, SigningKey, Step, mls};
use sync_types::body::Reached;
use sync_types::frame::Cut;
use sync_types::{DeviceId, EntryHash, GroupId, Suite, encode, settings::Settings};

pub(super) type Device = Membership<mls::Crypto>;

/// The time on the members' clocks, in milliseconds. Far from the machine's, so that whatever reads that fails.
pub(super) const NOW: u64 = 946_684_800_000;
pub(super) const GROUP: GroupId = GroupId([9; 32]);

pub(super) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(super) fn settings() -> Settings {
    Settings { app_id: b"com.example.notes".to_vec(), ..Settings::default() }
}

pub(super) fn observer() -> Observer<mls::Crypto> {
    Observer::new(mls::crypto())
}

/// Of whichever suite it is by now.
pub(super) fn restart(device: &mut Device) {
    let state = device.state().unwrap();
    *device = Device::load(mls::Crypto::every(), &state).unwrap();
    assert_eq!(device.state().unwrap(), state, "loading and storing again changes nothing");
}

pub(super) struct World {
    pub(super) relay: Observed,
    pub(super) devices: Vec<Device>,
    pub(super) restarts: bool,
}

impl World {
    /// A group of one.
    pub(super) fn found(restarts: bool) -> Self {
        let founder = Device::create(mls::crypto(), Suite::FOUNDED, &key(1), GROUP, &settings(), NOW).unwrap();
        let relay = observer().found(&founder.group_info().unwrap()).unwrap();
        let mut world = Self { relay, devices: vec![founder], restarts };
        world.settle();
        world
    }

    /// A group of `count`, each added by the first.
    pub(super) fn with(count: u8) -> Self {
        let mut world = Self::found(false);
        for n in 2..=count {
            world.add(0, n);
        }
        world
    }

    pub(super) fn settle(&mut self) {
        if self.restarts {
            self.devices.iter_mut().for_each(restart);
        }
    }

    pub(super) fn prepare(&mut self, by: usize, change: Change) -> Prepared {
        self.try_prepare(by, change).unwrap()
    }

    pub(super) fn try_prepare(&mut self, by: usize, change: Change) -> Result<Prepared, PrepareError> {
        let last = |device: &DeviceId| Reached { sender: *device, seq: 0, hash: EntryHash::default() };
        let cut = match &change {
            Change::Remove(devices) => encode(&Cut { last: devices.iter().map(last).collect(), lost: false }),
            _ => vec![],
        };
        let prepared = self.devices[by].prepare(change, cut, Some(b"the baseline".to_vec()), NOW);
        self.settle();
        prepared
    }

    pub(super) fn observe(&self, prepared: &Prepared) -> Result<Step, ObserveError> {
        observer().process(&self.relay.snapshot, &prepared.commit, &prepared.group_info)
    }

    /// The relay orders a commit, and every device applies it.
    pub(super) fn order(&mut self, prepared: &Prepared) -> (Step, Vec<Applied>) {
        let step = self.observe(prepared).unwrap();
        self.relay = step.after.clone();
        let mut applied = Vec::new();
        for device in self.devices.iter_mut().filter(|d| !d.is_removed()) {
            applied.push(device.apply(&prepared.commit).unwrap());
        }
        self.settle();
        (step, applied)
    }

    pub(super) fn add(&mut self, sponsor: usize, n: u8) -> (Step, Vec<Applied>) {
        let package = key_package(mls::crypto(), Suite::FOUNDED, &key(n), NOW).unwrap();
        let prepared = self.prepare(sponsor, Change::Add(vec![package.message]));
        let outcome = self.order(&prepared);
        let agreed = settings();
        let invitation = Invitation { group: GROUP, sponsor: self.devices[sponsor].device(), settings: &agreed };
        let [(device, welcome)] = &prepared.welcomes[..] else { panic!("one welcome") };
        assert_eq!(*device, key(n).device_id());
        let joined = Device::join(mls::crypto(), &package.secrets, welcome, invitation).unwrap();
        assert_eq!(joined.baseline.as_deref(), Some(&b"the baseline"[..]));
        assert_eq!(joined.settings, settings());
        self.devices.push(joined.membership);
        self.settle();
        self.assert_agreement();
        outcome
    }

    /// Members and relay see the same group.
    pub(super) fn assert_agreement(&self) {
        let authenticator = self.devices[0].authenticator().unwrap();
        for device in self.devices.iter().filter(|d| !d.is_removed()) {
            assert_eq!(device.group_id(), self.relay.group);
            assert_eq!(device.epoch(), self.relay.epoch);
            let members: Vec<_> = device.members().iter().map(|m| (m.device, m.key)).collect();
            assert_eq!(members, self.relay.members);
            assert_eq!(device.settings(), self.relay.settings);
            assert_eq!(device.authenticator().unwrap(), authenticator);
        }
    }

    /// Takes every member's exporter, which must be one and the same.
    pub(super) fn exporter(&mut self) -> [u8; 32] {
        let mut all = Vec::new();
        for device in self.devices.iter_mut().filter(|d| !d.is_removed()) {
            all.push(*device.take_exporter().unwrap());
        }
        self.settle();
        assert!(all.windows(2).all(|w| w[0] == w[1]));
        all[0]
    }
}
