//! A group moves to the other suite: who follows, who cannot, and what no relay and no member can make of it.

use sync_core::membership::{ApplyError, Change, Invitation, PrepareError, Prepared, key_package};
use sync_rules::mls::{Crypto, Violation};
use sync_rules::{Observe, ObserveError, Observed, Observer, Step};
use sync_types::body::Reached;
use sync_types::frame::Cut;
use sync_types::{Code, EntryHash, Suite, encode};

use super::world::{Device, GROUP, NOW, key, restart, settings};

/// What tells the successor from any other.
pub(super) const RANDOM: [u8; 16] = [7; 16];

pub(super) fn observer() -> Observer<Crypto> {
    Observer::new(Crypto::every())
}

pub(super) fn other(suite: Suite) -> Suite {
    match suite {
        Suite::XWing => Suite::Fips,
        Suite::Fips => Suite::XWing,
    }
}

/// A group whose devices take part in every suite, as a relay orders its commits.
pub(super) struct Fleet {
    pub(super) suite: Suite,
    pub(super) relay: Observed,
    pub(super) devices: Vec<(u8, Device)>,
}

impl Fleet {
    pub(super) fn of(suite: Suite, count: u8) -> Self {
        let founder = Device::create(Crypto::every(), suite, &key(1), GROUP, &settings(), NOW).unwrap();
        let relay = observer().found(&founder.group_info().unwrap()).unwrap();
        let mut fleet = Self { suite, relay, devices: vec![(1, founder)] };
        for n in 2..=count {
            fleet.add(n);
        }
        fleet
    }

    pub(super) fn change(&mut self, change: Change, cut: Vec<u8>) -> Vec<(sync_types::DeviceId, Vec<u8>)> {
        let prepared = self.devices[0].1.prepare(change, cut, None, NOW).unwrap();
        self.relay = observer().process(&self.relay.snapshot, &prepared.commit, &prepared.group_info).unwrap().after;
        for (_, device) in &mut self.devices {
            device.apply(&prepared.commit).unwrap();
        }
        prepared.welcomes
    }

    fn add(&mut self, n: u8) {
        let package = key_package(Crypto::every(), self.suite, &key(n), NOW).unwrap();
        let welcomes = self.change(Change::Add(vec![package.message]), vec![]);
        let (agreed, sponsor) = (settings(), self.devices[0].1.device());
        let invitation = Invitation { group: GROUP, sponsor, settings: &agreed };
        let joined = Device::join(Crypto::every(), &package.secrets, &welcomes[0].1, invitation).unwrap();
        self.devices.push((n, joined.membership));
    }

    fn remove(&mut self, n: u8) -> Device {
        let sender = key(n).device_id();
        let cut = Cut { last: vec![Reached { sender, seq: 0, hash: EntryHash::default() }], lost: false };
        self.change(Change::Remove(vec![sender]), encode(&cut));
        let place = self.devices.iter().position(|(m, _)| *m == n).unwrap();
        self.devices.remove(place).1
    }

    /// The members' key packages of the other suite, and what each keeps for it.
    pub(super) fn packages(&self) -> (Vec<Vec<u8>>, Vec<zeroize::Zeroizing<Vec<u8>>>) {
        let made = self.devices[1..].iter().map(|(n, _)| {
            let package = key_package(Crypto::every(), other(self.suite), &key(*n), NOW).unwrap();
            (package.message, package.secrets)
        });
        made.unzip()
    }

    pub(super) fn prepare(&mut self, packages: &[Vec<u8>]) -> Result<Prepared, PrepareError> {
        self.devices[0].1.prepare_move(&key(1), other(self.suite), &RANDOM, packages, NOW)
    }

    pub(super) fn observe(&self, prepared: &Prepared) -> Result<Step, ObserveError> {
        observer().process(&self.relay.snapshot, &prepared.commit, &prepared.group_info)
    }

    /// All of it: every member follows.
    fn go(&mut self) {
        let (packages, secrets) = self.packages();
        let prepared = self.prepare(&packages).unwrap();
        let step = self.observe(&prepared).unwrap();
        let (from, to, epoch) = (self.suite, other(self.suite), self.relay.epoch + 1);
        assert_eq!((step.before.suite, step.after.suite), (from, to));
        assert_eq!((step.after.group, step.after.epoch, step.after.suite_since), (GROUP, epoch, epoch));
        assert_eq!((step.committer, step.added.len(), step.removed.len()), (key(1).device_id(), 0, 0));
        restart(&mut self.devices[0].1);
        let none = zeroize::Zeroizing::new(vec![]);
        for ((n, device), secrets) in self.devices.iter_mut().zip(std::iter::once(&none).chain(&secrets)) {
            // Among those of others that ask at the same time.
            let another = key_package(Crypto::every(), to, &key(*n), NOW).unwrap().secrets;
            let applied = device.apply_by(&prepared.commit, &[&another, secrets]).unwrap();
            assert_eq!((applied.epoch, applied.own, applied.committer), (epoch, *n == 1, key(1).device_id()));
            assert_eq!((applied.suite_before, applied.settings_before), (Some(from), None));
            assert_eq!(device.suite_since(), epoch);
        }
        (self.relay, self.suite) = (step.after, to);
        self.assert_agreement();
    }

    fn update(&mut self, by: usize) {
        let update = self.devices[by].1.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
        self.relay = self.observe(&update).unwrap().after;
        for (_, device) in &mut self.devices {
            device.apply(&update.commit).unwrap();
        }
        self.assert_agreement();
    }

    fn assert_agreement(&mut self) {
        let authenticator = self.devices[0].1.authenticator().unwrap();
        let exporter = self.devices[0].1.take_exporter().unwrap();
        for (place, (_, device)) in self.devices.iter_mut().enumerate() {
            restart(device);
            let relay = &self.relay;
            assert_eq!((device.group_id(), device.suite(), device.epoch()), (relay.group, relay.suite, relay.epoch));
            assert_eq!(device.authenticator().unwrap(), authenticator);
            assert_eq!(device.settings(), relay.settings);
            if place > 0 {
                assert_eq!(device.take_exporter().unwrap(), exporter);
            }
            let seats: Vec<_> = device.members().iter().map(|m| (m.device, m.key)).collect();
            assert_eq!(seats, relay.members);
        }
    }
}

#[test]
fn every_member_follows_to_the_other_suite_and_back() {
    for suite in [Suite::XWing, Suite::Fips] {
        let mut fleet = Fleet::of(suite, 3);
        for _ in 0..2 {
            fleet.go();
            // The group goes on as any: by the rules of every day, and counting its epochs.
            fleet.update(1);
            fleet.add(fleet.devices.len() as u8 + 1);
        }
        assert_eq!((fleet.suite, fleet.devices.len()), (suite, 5));
    }
}

/// The library's own way compares the lengths of the two trees, and would let no such group go.
#[test]
fn a_group_that_a_member_has_left_moves_too() {
    let mut fleet = Fleet::of(Suite::XWing, 4);
    let mut gone = fleet.remove(2);
    let (packages, _) = fleet.packages();
    let prepared = fleet.prepare(&packages).unwrap();
    let secrets = key_package(Crypto::every(), Suite::Fips, &key(2), NOW).unwrap().secrets;
    assert!(gone.apply_by(&prepared.commit, &[&secrets]).is_err(), "who was put out learns of no successor");
    fleet.devices[0].1.clear_pending();
    fleet.go();
    assert_eq!(fleet.devices.len(), 3);
    // So does a group of one, which waits for nobody.
    Fleet::of(Suite::Fips, 1).go();
}

#[test]
fn a_recovery_kit_ends_with_the_suite_that_it_was_made_for() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let kit = sync_types::settings::Settings { recovery_key: key(9).public().to_vec(), ..settings() };
    fleet.change(Change::Settings(kit.clone()), vec![]);
    let (packages, secrets) = fleet.packages();
    let prepared = fleet.prepare(&packages).unwrap();
    assert_eq!(fleet.observe(&prepared).unwrap().after.settings, settings());
    let applied = fleet.devices[1].1.apply_by(&prepared.commit, &[&secrets[0]]).unwrap();
    assert_eq!(applied.settings_before, Some(kit));
    assert_eq!(fleet.devices[1].1.settings(), settings());
}

#[test]
fn a_move_waits_for_each_member_and_takes_nobody_else() {
    let mut fleet = Fleet::of(Suite::XWing, 3);
    let (packages, _) = fleet.packages();
    let state = fleet.devices[0].1.state().unwrap();
    let missing = fleet.prepare(&packages[..1]).unwrap_err();
    assert!(matches!(missing, PrepareError::NoKeyPackage(device) if device == key(3).device_id()));
    let stranger = key_package(Crypto::every(), Suite::Fips, &key(9), NOW).unwrap().message;
    let stranger = fleet.prepare(&[packages.clone(), vec![stranger]].concat()).unwrap_err();
    assert!(matches!(stranger, PrepareError::UnknownDevice(device) if device == key(9).device_id()));
    let twice = fleet.prepare(&[packages.clone(), vec![packages[0].clone()]].concat()).unwrap_err();
    assert!(matches!(twice, PrepareError::UnknownDevice(device) if device == key(2).device_id()));
    let old = key_package(Crypto::every(), Suite::XWing, &key(2), NOW).unwrap().message;
    assert!(matches!(fleet.prepare(&[old, packages[1].clone()]), Err(PrepareError::Suite)));
    assert_eq!(fleet.devices[0].1.state().unwrap(), state, "a refusal changes nothing");

    // To the suite that it has, no group moves; nor to one that this device has not.
    let same: Vec<_> = [2, 3].map(|n| key_package(Crypto::every(), Suite::XWing, &key(n), NOW).unwrap().message).into();
    let same = fleet.devices[0].1.prepare_move(&key(1), Suite::XWing, &RANDOM, &same, NOW).unwrap_err();
    assert!(matches!(same, PrepareError::Refused(Violation::Move)), "{same:?}");
    let poor = Device::load(Crypto::only(Suite::XWing), &state);
    let poor = poor.unwrap().prepare_move(&key(1), Suite::Fips, &RANDOM, &packages, NOW).unwrap_err();
    assert_eq!(poor.code(), Code::Suite);
    // One change at a time.
    fleet.prepare(&packages).unwrap();
    assert!(matches!(fleet.prepare(&packages), Err(PrepareError::Pending)));
}

#[test]
fn a_move_that_lost_a_race_leaves_the_group_as_it_was() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let (packages, secrets) = fleet.packages();
    let lost = fleet.prepare(&packages).unwrap();
    restart(&mut fleet.devices[0].1);
    fleet.update(1);
    assert!(matches!(fleet.observe(&lost), Err(ObserveError::Stale { .. })));
    let stale = fleet.devices[1].1.apply_by(&lost.commit, &[&secrets[0]]);
    assert!(matches!(stale, Err(ApplyError::Stale { .. })));
    fleet.go();
}

#[test]
fn a_move_passes_for_no_other_change_and_nothing_follows_on_it() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let (packages, secrets) = fleet.packages();
    let update = fleet.devices[1].1.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
    let prepared = fleet.prepare(&packages).unwrap();
    let moved: sync_types::frame::Move = sync_types::decode(&prepared.commit).unwrap();
    // Its commit alone is none, and no other commit passes for one.
    let bare = observer().process(&fleet.relay.snapshot, &moved.commit, &prepared.group_info).unwrap_err();
    assert!(matches!(bare, ObserveError::Refused(Violation::Proposal)), "{bare:?}");
    let applied = fleet.devices[1].1.apply(&moved.commit).unwrap_err();
    assert!(matches!(applied, ApplyError::Refused(Violation::Proposal)), "{applied:?}");
    let mut posed = sync_types::frame::Move { commit: sync_types::Opaque(update.commit.clone()), ..moved };
    sync_rules::statement::sign_move(&key(2), &GROUP, &mut posed);
    let posed = encode(&posed);
    let seen = observer().process(&fleet.relay.snapshot, &posed, &prepared.group_info).unwrap_err();
    assert!(matches!(seen, ObserveError::Refused(Violation::Move)), "{seen:?}");
    let ended = fleet.devices[0].1.apply(&posed).unwrap_err();
    assert!(matches!(ended, ApplyError::Refused(Violation::Move)), "{ended:?}");

    // Without a key package that its maker has, nobody follows; that is said so, and the commit undone.
    let lost = fleet.devices[1].1.apply(&prepared.commit).unwrap_err();
    assert!(matches!(lost, ApplyError::NoKeyPackage) && lost.deserves_reject(), "{lost:?}");

    // At its end the old group takes no second move, and no change that goes on as if there had been none.
    let end = fleet.observe(&prepared).unwrap().after;
    let stale = observer().process(&end.snapshot, &update.commit, &update.group_info).unwrap_err();
    assert!(matches!(stale, ObserveError::Stale { .. }), "{stale:?}");
    let again = observer().process(&end.snapshot, &prepared.commit, &prepared.group_info);
    assert!(matches!(again, Err(ObserveError::Stale { .. })));
    fleet.devices[1].1.apply_by(&prepared.commit, &[&secrets[0]]).unwrap();
    let stale = fleet.devices[1].1.apply(&update.commit).unwrap_err();
    assert!(matches!(stale, ApplyError::Stale { .. }), "{stale:?}");
}
