//! Following changes that another relay has ordered.

use sync_relay::mailbox::Notice;
use sync_types::frame::{Commit, CopyCommits};
use sync_types::{Code, Opaque};

use crate::support::*;

fn copies(commits: &[&Commit]) -> CopyCommits {
    CopyCommits {
        commits: commits.iter().map(|c| c.commit.clone()).collect(),
        group_info: commits.last().map(|c| c.group_info.clone()).unwrap_or_default(),
        welcomes: commits.iter().flat_map(|c| c.welcomes.clone()).collect(),
    }
}

#[test]
fn any_member_brings_commits_and_they_are_final_at_once() {
    let [mut a, mut b, c, mut d] = [1, 2, 3, 4].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b, &mut d]);
    world.attached = [a.id, b.id, d.id].into();
    let before = world.state.epoch();
    let add = world.script(&a, &[&c], &[]);
    let remove = Script {
        epoch: before + 1,
        committer: b.id,
        removed: vec![d.id],
        // More of it came elsewhere than here.
        authenticated_data: sync_types::encode(&sync_types::frame::Cut {
            last: vec![sync_types::body::Reached { seq: 9, ..d.reached() }],
            lost: false,
        }),
        ..Script::default()
    };
    let remove = world.scripted(remove, Vec::new());
    let decision = world.copy(&b, &copies(&[&add, &remove])).unwrap();
    assert_eq!(world.state.epoch(), before + 2);
    assert_eq!(world.state.confirmed_epoch(), before + 2, "nobody can reject it");
    let told = |notice: &Notice| decision.notices.contains(notice);
    assert!(told(&Notice::WelcomeReady { device: c.id }) && told(&Notice::Removed { device: d.id }));
    assert!(world.attach(&c, 0).unwrap().welcome_waits);
    assert!(world.state.is_member(c.id) && !world.state.is_member(d.id));
    assert_eq!(world.entries(&a, 0).len(), 2);
}

#[test]
fn what_does_not_follow_is_refused_as_a_whole() {
    let [mut a, mut b, c] = [1, 2, 3].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    let good = world.script(&a, &[], &[]);
    let epoch = world.state.epoch();
    let bad = world.scripted(
        Script { epoch: epoch + 1, committer: a.id, added: vec![(b.id, b.key.public())], ..Script::default() },
        vec![],
    );
    world.refused("a stranger", Code::NotMember, |w| w.copy(&c, &copies(&[&good])));
    world.refused("one that was in the group", Code::CommitRefused, |w| w.copy(&a, &copies(&[&good, &bad])));
    let unknown = Commit { commit: Opaque(vec![99; 10]), group_info: Opaque::default(), welcomes: vec![] };
    world.refused("no commit", Code::Protocol, |w| w.copy(&a, &copies(&[&good, &unknown])));
    world.limits.group_bytes = 0;
    world.limits.commit_reserve_bytes = 0;
    world.refused("a full group", Code::Quota, |w| w.copy(&a, &copies(&[&good])));
}

#[test]
fn nothing_is_copied_while_a_commit_is_provisional() {
    let [mut a, mut b] = [1, 2].map(Peer::new);
    let mut world = World::of(&mut [&mut a, &mut b]);
    world.attached = [a.id, b.id].into();
    let own = world.script(&a, &[], &[]);
    world.commit(&a, &own).unwrap();
    let copied = world.script(&b, &[], &[]);
    world.refused("meanwhile", Code::Provisional, |w| w.copy(&b, &copies(&[&copied])));
    assert_eq!(world.copy(&b, &copies(&[])).map_err(|e| e.code), Err(Code::Provisional));
}
