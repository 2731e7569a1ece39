use super::world::{Device, NOW, World, key, settings};
use sync_core::membership::{ApplyError, Change, MembershipError, PrepareError, key_package};
use sync_rules::{ObserveError, mls};
use sync_types::{Opaque, Suite, settings::Settings};

fn through_every_kind_of_change(restarts: bool) {
    let mut world = World::found(restarts);
    let (one, two, three) = (key(1).device_id(), key(2).device_id(), key(3).device_id());
    let mut exporters = vec![world.exporter()];

    let (step, applied) = world.add(0, 2);
    assert_eq!((step.committer, step.removed.len()), (one, 0));
    assert_eq!(step.added, [(two, key(2).public())]);
    assert!(applied[0].own && applied[0].added == [two] && applied[0].hash == step.commit_hash);
    exporters.push(world.exporter());

    let (step, applied) = world.add(1, 3);
    assert_eq!((step.committer, applied[0].committer), (two, two));
    assert_eq!((applied[0].own, applied[1].own), (false, true));
    exporters.push(world.exporter());

    let update = world.prepare(2, Change::SelfUpdate);
    assert_eq!((update.epoch, update.welcomes.len()), (3, 0));
    let (step, applied) = world.order(&update);
    assert_eq!((step.committer, step.added.len(), step.removed.len()), (three, 0, 0));
    assert!(applied.iter().all(|a| a.epoch == 3 && a.committer == three && a.cut.last.is_empty()));
    world.assert_agreement();
    exporters.push(world.exporter());

    let new = Settings { relays: vec![Opaque(b"https://relay.example".to_vec())], ..settings() };
    let change = world.prepare(1, Change::Settings(new.clone()));
    let (step, applied) = world.order(&change);
    assert_eq!((&step.before.settings, &step.after.settings), (&settings(), &new));
    assert!(applied.iter().all(|a| a.settings_before.is_some()));
    world.assert_agreement();
    exporters.push(world.exporter());

    let removal = world.prepare(0, Change::Remove(vec![two]));
    let (step, applied) = world.order(&removal);
    assert_eq!(step.removed, [two]);
    assert!(applied.iter().all(|a| a.removed == [two] && a.cut.last[0].sender == two && a.settings_before.is_none()));
    assert_eq!(applied.iter().map(|a| a.removed_me).collect::<Vec<_>>(), [false, true, false]);
    world.assert_agreement();
    exporters.push(world.exporter());

    exporters.sort();
    exporters.dedup();
    assert_eq!(exporters.len(), 6, "every epoch has keys of its own");
}

#[test]
fn members_and_relay_agree_through_every_kind_of_change() {
    through_every_kind_of_change(false);
}

#[test]
fn a_restart_at_every_step_changes_nothing() {
    through_every_kind_of_change(true);
}

#[test]
fn a_removed_device_is_out_for_good() {
    let mut world = World::with(3);
    let before = world.devices[1].state().unwrap();
    let removal = world.prepare(0, Change::Remove(vec![key(2).device_id()]));
    world.order(&removal);
    let next = world.prepare(0, Change::SelfUpdate);
    world.order(&next);

    let removed = &mut world.devices[1];
    assert!(removed.is_removed());
    assert!(matches!(removed.apply(&next.commit), Err(ApplyError::Removed)));
    assert!(matches!(removed.take_exporter(), Err(MembershipError::Removed)));
    assert!(matches!(removed.prepare(Change::SelfUpdate, vec![], None, NOW), Err(PrepareError::Removed)));

    // The state from before the removal leads no further than to the removal.
    let mut old = Device::load(mls::crypto(), &before).unwrap();
    assert!(matches!(old.apply(&next.commit), Err(ApplyError::Future { theirs: 3, ours: 2 })));
    assert!(old.apply(&removal.commit).unwrap().removed_me);
}

#[test]
fn an_exporter_is_had_once() {
    let mut world = World::with(2);
    let first = *world.devices[0].take_exporter().unwrap();
    assert!(matches!(world.devices[0].take_exporter(), Err(MembershipError::ExporterTaken)));
    let state = world.devices[0].state().unwrap();
    let mut again = Device::load(mls::crypto(), &state).unwrap();
    assert!(matches!(again.take_exporter(), Err(MembershipError::ExporterTaken)));
    assert!(!state.windows(32).any(|w| w == first), "nothing of it stays behind");
}

#[test]
fn the_loser_of_a_race_rebases() {
    let mut world = World::with(3);
    let lost = world.prepare(0, Change::Remove(vec![key(3).device_id()]));
    let won = world.prepare(1, Change::SelfUpdate);
    assert!(matches!(world.try_prepare(0, Change::SelfUpdate), Err(PrepareError::Pending)));

    world.order(&won);
    world.assert_agreement();
    assert_eq!(world.devices[0].pending(), None);
    assert!(matches!(world.observe(&lost), Err(ObserveError::Stale { .. })));
    assert!(matches!(world.devices[1].apply(&lost.commit), Err(ApplyError::Stale { .. })));

    let again = world.prepare(0, Change::Remove(vec![key(3).device_id()]));
    world.order(&again);
    world.assert_agreement();
    assert_eq!(world.relay.members.len(), 2);
}

#[test]
fn a_rejected_commit_is_undone_everywhere() {
    let mut world = World::with(3);
    let before: Vec<_> = world.devices.iter_mut().map(|d| d.state().unwrap()).collect();
    let relay_before = world.relay.clone();
    let rejected = world.prepare(0, Change::SelfUpdate);
    let pending = world.devices[0].state().unwrap();
    world.order(&rejected);

    // A signed REJECT restores what was before, on the relay and on every device.
    world.relay = relay_before;
    for (device, state) in world.devices.iter_mut().zip([&pending, &before[1], &before[2]]) {
        *device = Device::load(mls::crypto(), state).unwrap();
    }
    assert_eq!(world.devices[0].pending(), Some(rejected.hash));
    world.devices[0].clear_pending();
    world.assert_agreement();

    let other = world.prepare(0, Change::SelfUpdate);
    world.order(&other);
    world.assert_agreement();
    world.exporter();
}

#[test]
fn changes_that_cannot_be_are_refused_before_they_are_made() {
    let mut world = World::with(2);
    let refused = |world: &mut World, change| world.try_prepare(0, change).unwrap_err();
    assert!(matches!(refused(&mut world, Change::Remove(vec![])), PrepareError::Empty));
    assert!(matches!(refused(&mut world, Change::Add(vec![])), PrepareError::Empty));
    let me = key(1).device_id();
    assert!(matches!(refused(&mut world, Change::Remove(vec![me])), PrepareError::Myself));
    let stranger = key(7).device_id();
    assert!(matches!(refused(&mut world, Change::Remove(vec![stranger])), PrepareError::UnknownDevice(_)));
    let other_app = Settings { app_id: b"com.example.other".to_vec(), ..settings() };
    assert!(matches!(refused(&mut world, Change::Settings(other_app)), PrepareError::Refused(mls::Violation::AppId)));
    assert_eq!(world.devices[0].pending(), None);
}

#[test]
fn what_travels_and_what_is_kept_stays_small() {
    let mut world = World::found(false);
    // Upper bounds in KiB for groups of 2, 3, 4 and 5: commit and welcome of an Add, the relay's snapshot, the device's
    // state, and that with the Add pending.
    let bounds = [[6, 6, 7, 12, 23], [8, 8, 11, 19, 40], [9, 10, 14, 21, 53], [12, 12, 18, 28, 64]];
    for (n, bounds) in (2..).zip(bounds) {
        let package = key_package(mls::crypto(), Suite::FOUNDED, &key(n), NOW).unwrap();
        // Two public keys of P-256 are 66 bytes longer than two of X25519.
        assert!(package.message.len() < 2700 + 66, "{}", package.message.len());
        let add = world.prepare(0, Change::Add(vec![package.message]));
        let pending = world.devices[0].state().unwrap().len();
        world.devices[0].clear_pending();
        world.add(0, n);
        let state = world.devices[0].state().unwrap().len();
        let sizes = [add.commit.len(), add.welcomes[0].1.len(), world.relay.snapshot.len(), state, pending];
        for (size, bound) in sizes.into_iter().zip(bounds) {
            // A public key of P-256 is 33 bytes longer than one of X25519, and a tree has up to two for each device.
            let longer = if Suite::FOUNDED == Suite::Fips { 1024 } else { 0 };
            assert!(size <= bound * 1024 + longer, "{n} devices: {sizes:?}");
        }
    }
}

#[test]
fn a_membership_goes_between_threads() {
    fn sendable<T: Send + Sync>() {}
    sendable::<Device>();
}
