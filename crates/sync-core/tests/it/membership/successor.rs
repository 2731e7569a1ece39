//! A group moves to the other suite: who follows, who cannot, and what no relay and no member can make of it.

use sync_core::membership::{
    ApplyError, Change, Ended, Invitation, MembershipError, PrepareError, PreparedMove, key_package,
};
use sync_rules::mls::{Crypto, Violation};
use sync_rules::{Moved, Observe, ObserveError, Observed, Observer};
use sync_types::body::Reached;
use sync_types::frame::Cut;
use sync_types::{Code, EntryHash, GroupId, Suite, encode};

use super::world::{Device, GROUP, NOW, key, restart, settings};

/// Where the group moves to.
pub(super) const NEW: GroupId = GroupId([7; 32]);

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

    pub(super) fn prepare(&mut self, packages: &[Vec<u8>]) -> Result<PreparedMove<Crypto>, PrepareError> {
        let to = (NEW, other(self.suite));
        self.devices[0].1.prepare_move(&key(1), to, packages, Some(b"the baseline".to_vec()), NOW)
    }

    pub(super) fn moves(&self, prepared: &PreparedMove<Crypto>) -> Result<Moved, ObserveError> {
        observer().moves(&self.relay.snapshot, &prepared.commit, &prepared.group_info)
    }

    /// All of it: gives the members of the successor, the mover's first, and what the relay saw.
    fn go(&mut self) -> (Vec<Device>, Moved) {
        let (packages, secrets) = self.packages();
        let prepared = self.prepare(&packages).unwrap();
        let moved = self.moves(&prepared).unwrap();
        restart(&mut self.devices[0].1);
        let own = self.devices[0].1.end(&prepared.commit).unwrap();
        assert!(own.own && own.group == NEW && own.suite == other(self.suite) && own.committer == key(1).device_id());
        let mut all = vec![prepared.successor];
        for ((n, device), secrets) in self.devices[1..].iter_mut().zip(&secrets) {
            let ended = device.end(&prepared.commit).unwrap();
            assert!(!ended.own);
            let ended = Ended::from_bytes(&ended.to_bytes()).unwrap();
            let welcome = prepared.welcomes.iter().find(|(to, _)| *to == key(*n).device_id()).unwrap();
            let joined = Device::follow(Crypto::every(), &ended, secrets, &welcome.1).unwrap();
            assert_eq!(joined.baseline.as_deref(), Some(&b"the baseline"[..]));
            all.push(joined.membership);
        }
        (all, moved)
    }
}

fn assert_agreement(members: &mut [Device], relay: &Observed) {
    let authenticator = members[0].authenticator().unwrap();
    let exporter = members[0].take_exporter().unwrap();
    for (place, device) in members.iter_mut().enumerate() {
        restart(device);
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

#[test]
fn every_member_follows_to_the_other_suite_and_back() {
    for suite in [Suite::XWing, Suite::Fips] {
        let mut fleet = Fleet::of(suite, 3);
        let (mut members, moved) = fleet.go();
        assert_eq!((moved.before.suite, moved.successor.suite), (suite, other(suite)));
        assert_eq!((moved.end.epoch, moved.successor.epoch), (moved.before.epoch + 1, 1));
        assert_eq!(moved.committer, key(1).device_id());
        assert_agreement(&mut members, &moved.successor);
        // The new group goes on as any: by the rules of every day.
        let update = members[1].prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
        let relay = observer().process(&moved.successor.snapshot, &update.commit, &update.group_info).unwrap().after;
        for device in &mut members {
            device.apply(&update.commit).unwrap();
        }
        assert_agreement(&mut members, &relay);
    }
}

/// The library's own way compares the lengths of the two trees, and would let no such group go.
#[test]
fn a_group_that_a_member_has_left_moves_too() {
    let mut fleet = Fleet::of(Suite::XWing, 4);
    let mut gone = fleet.remove(2);
    let (packages, _) = fleet.packages();
    let prepared = fleet.prepare(&packages).unwrap();
    assert!(gone.end(&prepared.commit).is_err(), "who was put out learns of no successor");
    fleet.devices[0].1.clear_pending();
    let (mut members, moved) = fleet.go();
    assert_eq!(members.len(), 3);
    assert_agreement(&mut members, &moved.successor);
    // So does a group of one, which waits for nobody.
    let mut alone = Fleet::of(Suite::Fips, 1);
    let (mut members, moved) = alone.go();
    assert_agreement(&mut members, &moved.successor);
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
    let same = fleet.devices[0].1.prepare_move(&key(1), (NEW, Suite::XWing), &same, None, NOW).unwrap_err();
    assert!(matches!(same, PrepareError::Refused(Violation::Move)), "{same:?}");
    let poor = Device::load(Crypto::only(Suite::XWing), &state);
    let poor = poor.unwrap().prepare_move(&key(1), (NEW, Suite::Fips), &packages, None, NOW).unwrap_err();
    assert_eq!(poor.code(), Code::Suite);
    // One change at a time.
    fleet.prepare(&packages).unwrap();
    assert!(matches!(fleet.prepare(&packages), Err(PrepareError::Pending)));
}

#[test]
fn a_move_that_lost_a_race_leaves_the_group_as_it_was() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let (packages, _) = fleet.packages();
    let lost = fleet.prepare(&packages).unwrap();
    restart(&mut fleet.devices[0].1);
    let update = fleet.devices[1].1.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
    fleet.relay = observer().process(&fleet.relay.snapshot, &update.commit, &update.group_info).unwrap().after;
    for (_, device) in &mut fleet.devices {
        device.apply(&update.commit).unwrap();
    }
    assert!(matches!(fleet.moves(&lost), Err(ObserveError::Stale { .. })));
    assert!(matches!(fleet.devices[1].1.end(&lost.commit), Err(ApplyError::Stale { .. })));
    let (mut members, moved) = fleet.go();
    assert_agreement(&mut members, &moved.successor);
}

#[test]
fn a_move_passes_for_no_other_change_and_nothing_follows_on_it() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let (packages, _) = fleet.packages();
    // Whoever looks for a change finds none, whoever looks for a move takes nothing else for one.
    let update = fleet.devices[1].1.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
    let prepared = fleet.prepare(&packages).unwrap();
    let info = &prepared.group_info;
    let change = observer().process(&fleet.relay.snapshot, &prepared.commit, info).unwrap_err();
    assert!(matches!(change, ObserveError::Refused(Violation::Proposal)), "{change:?}");
    let applied = fleet.devices[1].1.apply(&prepared.commit).unwrap_err();
    assert!(matches!(applied, ApplyError::Refused(Violation::Proposal)), "{applied:?}");
    let moved = observer().moves(&fleet.relay.snapshot, &update.commit, info).unwrap_err();
    assert!(matches!(moved, ObserveError::Refused(Violation::Move)), "{moved:?}");
    let ended = fleet.devices[0].1.end(&update.commit).unwrap_err();
    assert!(matches!(ended, ApplyError::Refused(Violation::Move)), "{ended:?}");

    // At its end the group takes no second move, and no change that goes on as if there had been none.
    let end = fleet.moves(&prepared).unwrap().end;
    let another = key_package(Crypto::every(), Suite::Fips, &key(1), NOW).unwrap().message;
    fleet.devices[1].1.clear_pending();
    let second =
        fleet.devices[1].1.prepare_move(&key(2), (GroupId([6; 32]), Suite::Fips), &[another], None, NOW).unwrap();
    observer().moves(&fleet.relay.snapshot, &second.commit, &second.group_info).unwrap();
    let second = observer().moves(&end.snapshot, &second.commit, &second.group_info).unwrap_err();
    assert!(matches!(second, ObserveError::Stale { .. }), "{second:?}");
    let stale = observer().process(&end.snapshot, &update.commit, &update.group_info).unwrap_err();
    assert!(matches!(stale, ObserveError::Stale { .. }), "{stale:?}");
    assert!(matches!(observer().moves(&end.snapshot, &prepared.commit, info), Err(ObserveError::Stale { .. })));
}

#[test]
fn what_leads_into_the_successor_is_told_apart_when_damaged() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let (packages, _) = fleet.packages();
    let prepared = fleet.prepare(&packages).unwrap();
    let ended = fleet.devices[1].1.end(&prepared.commit).unwrap();
    let bytes = ended.to_bytes();
    assert_eq!(Ended::from_bytes(&bytes).unwrap(), ended);
    assert!(matches!(Ended::from_bytes(&bytes[..bytes.len() - 1]), Err(MembershipError::Damaged(_))));
    let mut newer = bytes.to_vec();
    newer[0] = 2;
    assert!(matches!(Ended::from_bytes(&newer), Err(MembershipError::Version(2))));
    let secret = format!("{:?}", &bytes[bytes.len() - 32..]);
    assert!(!format!("{ended:?}").contains(secret.trim_matches(&['[', ']'][..])));
}
