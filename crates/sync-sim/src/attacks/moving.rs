//! A relay in league with a member leads a group that moves to another suite astray. No relay orders a move yet, so the scene is
//! played before the observer that is to judge it.

use sync_core::membership::{Change, Invitation, Membership, key_package};
use sync_rules::{Defence, Observe, Observer, SigningKey, mls::Crypto};
use sync_types::settings::Settings;
use sync_types::{GroupId, Suite};

use super::{Attack, By, HOUR, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[Attack {
    by: By::Member,
    name: "another successor",
    expected: "refused",
    defences: &[Defence::Successor],
    scene: another_successor,
}];

const GROUP: GroupId = GroupId([1; 32]);
const NOW: u64 = 300_000 * HOUR;

fn another_successor() -> Seen {
    let wrong = |e: &dyn std::fmt::Debug| format!("the scene is not what it should be: {e:?}");
    let [alice, mallory] = [1, 2].map(|n| SigningKey::from_seed(&[n; 32]));
    let (from, to, crypto) = (Suite::XWing, Suite::Fips, Crypto::every());
    let settings = Settings { app_id: b"com.example.notes".to_vec(), ..Settings::default() };
    let mut first = Membership::create(crypto, from, &alice, GROUP, &settings, NOW).map_err(|e| wrong(&e))?;
    let observer = Observer::new(crypto);
    let info = first.group_info().map_err(|e| wrong(&e))?;
    let founded = observer.found(&info).map_err(|e| wrong(&e))?;
    let package = key_package(crypto, from, &mallory, NOW).map_err(|e| wrong(&e))?;
    let added = first.prepare(Change::Add(vec![package.message]), vec![], None, NOW).map_err(|e| wrong(&e))?;
    let relay = observer.process(&founded.snapshot, &added.commit, &added.group_info).map_err(|e| wrong(&e))?.after;
    first.apply(&added.commit).map_err(|e| wrong(&e))?;
    let invitation = Invitation { group: GROUP, sponsor: alice.device_id(), settings: &settings };
    let second = Membership::join(crypto, &package.secrets, &added.welcomes[0].1, invitation).map_err(|e| wrong(&e))?;
    let mut second = second.membership;

    // Both end the group, each for a successor of their own. The first commit is ordered.
    let new = |key| key_package(crypto, to, key, NOW).map(|package| vec![package.message]);
    let theirs = new(&mallory).map_err(|e| wrong(&e))?;
    let one = first.prepare_move(&alice, (GroupId([2; 32]), to), &theirs, None, NOW).map_err(|e| wrong(&e))?;
    let theirs = new(&alice).map_err(|e| wrong(&e))?;
    let two = second.prepare_move(&mallory, (GroupId([3; 32]), to), &theirs, None, NOW).map_err(|e| wrong(&e))?;
    second.clear_pending();
    let same_id = second.prepare_move(&mallory, (GroupId([2; 32]), to), &theirs, None, NOW).map_err(|e| wrong(&e))?;
    let seen = |successor: &[u8]| observer.moves(&relay.snapshot, &one.commit, successor).is_ok();
    harm(seen(&one.group_info), "the scene is not what it should be: the true successor is refused")?;
    harm(!seen(&two.group_info), "the group is led into another than its last commit names")?;
    harm(!seen(&same_id.group_info), "the group is led into one that somebody else has made")?;
    Ok("refused")
}
