use super::world::{Device, GROUP, NOW, World, key, settings};
use sync_core::membership::{
    Change, Invitation, JoinError, MembershipError, PrepareError, key_package, read_key_package,
};
use sync_rules::mls::{self, Violation};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{Code, GroupId, Opaque, Suite, limits};

const SECOND: u64 = 1000;
const YEAR: u64 = 365 * 24 * 3600 * SECOND;

#[test]
fn the_sponsors_time_dates_a_newcomer_whose_clock_is_off() {
    // The world's clock is decades behind the machine's, so no clock but the given one is read.
    let mut world = World::with(1);
    let dated = |now| Change::Add(vec![key_package(mls::crypto(), Suite::FOUNDED, &key(2), now).unwrap().message]);
    for good in [NOW, NOW + SECOND, NOW - SECOND] {
        world.prepare(0, dated(good));
        world.devices[0].clear_pending();
    }
    for bad in [NOW + YEAR, NOW - YEAR] {
        let error = world.try_prepare(0, dated(bad)).unwrap_err();
        assert!(matches!(error, PrepareError::KeyPackage(_)), "{error:?}");
    }
    world.add(0, 2);
}

#[test]
fn a_receiver_whose_clock_is_off_applies_all_the_same() {
    let mut world = World::with(2);
    // The second member lives a year later than the first, and sponsors in its own time.
    let package = key_package(mls::crypto(), Suite::FOUNDED, &key(3), NOW + YEAR).unwrap();
    let add = world.devices[1].prepare(Change::Add(vec![package.message]), vec![], None, NOW + YEAR).unwrap();
    world.order(&add);
    world.assert_agreement();
}

#[test]
fn only_the_group_and_the_sponsor_that_were_promised_are_joined() {
    let mut world = World::with(2);
    let package = key_package(mls::crypto(), Suite::FOUNDED, &key(3), NOW).unwrap();
    let prepared = world.prepare(0, Change::Add(vec![package.message.clone()]));
    let welcome = &prepared.welcomes[0].1;
    let agreed = settings();
    let good = Invitation { group: GROUP, sponsor: key(1).device_id(), settings: &agreed };
    let join = |invitation| Device::join(mls::crypto(), &package.secrets, welcome, invitation);

    let other_group = join(Invitation { group: GroupId([8; 32]), ..good });
    assert!(matches!(other_group, Err(JoinError::OtherGroup)));
    let other_sponsor = join(Invitation { sponsor: key(2).device_id(), ..good });
    assert!(matches!(other_sponsor, Err(JoinError::OtherSponsor)));
    let promises = [
        ("app", Settings { app_id: b"org.example.other".to_vec(), ..agreed.clone() }),
        ("relays", Settings { relays: vec![Opaque(b"ksync://another".to_vec())], ..agreed.clone() }),
        ("history policy", Settings { history: HistoryPolicy::None, ..agreed.clone() }),
        ("recovery key", Settings { recovery_key: vec![1; 32], ..agreed.clone() }),
    ];
    for (name, promised) in &promises {
        let error = join(Invitation { settings: promised, ..good }).unwrap_err();
        assert!(matches!(error, JoinError::OtherSettings(which) if which == *name), "{error:?}");
        assert_eq!(error.code(), Code::PairingForged);
    }
    assert!(join(good).is_ok());

    let stranger = key_package(mls::crypto(), Suite::FOUNDED, &key(4), NOW).unwrap();
    let not_for_it = Device::join(mls::crypto(), &stranger.secrets, welcome, good);
    assert!(matches!(not_for_it, Err(JoinError::NotForUs)));
    let mut damaged = welcome.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let damaged = Device::join(mls::crypto(), &package.secrets, &damaged, good);
    assert!(matches!(damaged, Err(JoinError::Invalid(_))));
}

#[test]
fn several_newcomers_of_one_commit_each_get_their_own_welcome() {
    let mut world = World::with(1);
    let packages = [2, 3].map(|n| key_package(mls::crypto(), Suite::FOUNDED, &key(n), NOW).unwrap());
    let prepared = world.prepare(0, Change::Add(packages.iter().map(|p| p.message.clone()).collect()));
    world.order(&prepared);
    let agreed = settings();
    let invitation = Invitation { group: GROUP, sponsor: key(1).device_id(), settings: &agreed };
    for (n, package) in [2, 3].into_iter().zip(packages) {
        let (_, welcome) = prepared.welcomes.iter().find(|(d, _)| *d == key(n).device_id()).unwrap();
        let joined = Device::join(mls::crypto(), &package.secrets, welcome, invitation).unwrap();
        world.devices.push(joined.membership);
    }
    world.assert_agreement();
    world.exporter();
}

#[test]
fn a_key_package_names_its_device_and_a_member_is_not_added_twice() {
    let mut world = World::with(2);
    let package = key_package(mls::crypto(), Suite::FOUNDED, &key(2), NOW).unwrap();
    assert_eq!(read_key_package(&package.message).unwrap(), (key(2).device_id(), key(2).public(), Suite::FOUNDED));
    assert!(matches!(read_key_package(b"no key package"), Err(JoinError::Invalid(_) | JoinError::NotForUs)));
    let twice = world.try_prepare(0, Change::Add(vec![package.message]));
    assert!(matches!(twice, Err(PrepareError::Refused(Violation::AlreadyMember(_)))));
}

#[test]
fn a_group_has_at_most_so_many_members() {
    let mut world = World::with(1);
    let packages = |count: usize| {
        let one =
            |n: usize| key_package(mls::crypto(), Suite::FOUNDED, &key(u8::try_from(n).unwrap()), NOW).unwrap().message;
        Change::Add((2..2 + count).map(one).collect())
    };
    let error = world.try_prepare(0, packages(limits::MEMBERS)).unwrap_err();
    assert!(matches!(error, PrepareError::Refused(Violation::TooManyMembers)));
}

#[test]
fn damaged_stored_bytes_are_told_apart() {
    let mut world = World::with(1);
    let state = world.devices[0].state().unwrap();
    let cut = Device::load(mls::crypto(), &state[..state.len() - 1]);
    assert!(matches!(cut, Err(MembershipError::Damaged(_))));
    let mut newer = state.to_vec();
    newer[0] = 2;
    assert!(matches!(Device::load(mls::crypto(), &newer), Err(MembershipError::Version(2))));
}
