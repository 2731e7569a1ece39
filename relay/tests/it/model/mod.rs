//! A model of the relay's ordering, acknowledging and deleting, searched to its end by `stateright`.
//!
//! What is real: every decision ([`GroupState`]: create, attach, push, acknowledge, commit, reject, timeout, detached), what
//! each decision writes, the store in memory, the query that deliveries are read by, envelopes and their signatures. What is
//! modelled (`world.rs`): devices, their disks and sessions; when a decision becomes durable; crashes of devices and of the
//! relay. What is left out: the observer's MLS (commits say plainly what they do), statements, presence, quotas, rates, several
//! frames on their way at once on one connection, and time but for the end of a provisional commit. A commit's cut is the head
//! that the relay has, as after a refusal.
//!
//! Every step uses something up, so every path ends; where it ends nobody may be stuck and nothing may be held. So "eventually
//! deleted" is looked at on every path, not assumed.

mod claims;
mod known;
mod parts;
mod world;

use stateright::{Checker, Model, Property};
use sync_types::frame::EntryKind;
use world::{Action, World};

/// What a model may do, all in all.
#[derive(Clone, Debug, Default)]
struct Scene {
    /// How many devices are in the group.
    members: usize,
    /// How many envelopes each device seals, newcomers included.
    pushes: Vec<u8>,
    /// How often a device crashes or loses its connection.
    drops: u8,
    /// How often the relay crashes.
    crashes: u8,
    /// Whether the first device adds one more.
    add: bool,
    /// Whether the first device removes the second.
    remove: bool,
    /// Whether a device may reject a commit.
    reject: bool,
    broken: Option<Broken>,
}

/// A bug put into the relay, or into a device, that has to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// One member's acknowledgement counts for all.
    OneForAll,
    /// "Accepted" is said before the envelope is durable.
    AcceptedEarly,
    /// Entries are delivered before they are durable.
    ShownEarly,
    /// What a device pushed moves its own cursor.
    PushMovesCursor,
    /// Nothing is ever deleted.
    NeverDeleted,
}

impl Model for Scene {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        world.act(action).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(EARLY, |_, world: &World| !world.deleted_early()),
            Property::always(ORDER, |_, world: &World| world.is_one_order()),
            Property::always(SKIPPED, |_, world: &World| !world.has_skipped()),
            Property::always(TWICE, |_, world: &World| !world.has_twice()),
            Property::always(KEPT, |_, world: &World| world.keeps_accepted()),
            Property::always(ENDS, |_, world: &World| {
                let mut actions = Vec::new();
                world.actions(&mut actions);
                !actions.is_empty() || world.is_at_rest()
            }),
            Property::always(REFUSED, |_, world: &World| world.surprise.is_none()),
            Property::sometimes("an envelope was delivered and deleted", |_, world: &World| {
                !world.held(EntryKind::Envelope) && world.history.iter().any(|e| e.kind == EntryKind::Envelope)
            }),
        ];
        if self.drops > 0 {
            properties.push(Property::sometimes("an envelope is held for one that is away", |_, world: &World| {
                world.devices.iter().any(|d| d.session.is_none()) && world.held(EntryKind::Envelope)
            }));
        }
        if self.add {
            properties.push(Property::sometimes("a newcomer reads an envelope", |scene: &Self, world: &World| {
                let envelope = |id| world.history.iter().any(|e| e.id == id && e.kind == EntryKind::Envelope);
                world.devices[scene.members].log.iter().any(|(_, id)| envelope(*id))
            }));
        }
        if self.remove {
            properties.push(Property::sometimes("a removed device is told", |_, world: &World| world.devices[1].out));
        }
        if self.reject {
            properties.push(Property::sometimes("a commit is undone", |_, world: &World| {
                world.history.iter().any(|e| e.kind == EntryKind::Reject)
            }));
        }
        properties
    }
}

const EARLY: &str = "nothing is deleted before all members of the epoch have it on disk";
const ORDER: &str = "one order for everyone";
const SKIPPED: &str = "nothing below a device's cursor is missing";
const TWICE: &str = "nothing twice";
const KEPT: &str = "what was accepted is kept";
const ENDS: &str = "at the end everybody has everything, and nothing is held";
const REFUSED: &str = "nobody honest is refused for good";

/// Looks at every state.
#[track_caller]
#[expect(clippy::print_stderr, reason = "says how much was searched")]
fn holds(scene: Scene) {
    let checker = scene.checker().threads(2).spawn_bfs().join();
    eprintln!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn three_members_push_and_everything_crashes() {
    holds(Scene { members: 3, pushes: vec![1, 1, 0], drops: 1, crashes: 1, ..Scene::default() });
}

#[test]
fn two_envelopes_of_one_sender_and_two_drops() {
    holds(Scene { members: 2, pushes: vec![2, 1], drops: 2, crashes: 1, ..Scene::default() });
}

#[test]
fn a_newcomer_joins_while_others_push() {
    holds(Scene { members: 2, pushes: vec![0, 1], drops: 1, add: true, ..Scene::default() });
}

#[test]
fn a_newcomer_pushes_too() {
    holds(Scene { members: 1, pushes: vec![1, 1], drops: 1, crashes: 1, add: true, ..Scene::default() });
}

#[test]
fn a_member_is_removed_while_it_pushes() {
    holds(Scene { members: 3, pushes: vec![0, 1, 0], drops: 1, remove: true, ..Scene::default() });
}

#[test]
fn a_member_is_removed_while_the_relay_crashes() {
    holds(Scene { members: 3, pushes: vec![0, 1, 0], crashes: 1, remove: true, ..Scene::default() });
}

#[test]
fn a_removal_is_rejected_while_others_push() {
    holds(Scene { members: 3, pushes: vec![0, 0, 1], remove: true, reject: true, ..Scene::default() });
}

#[test]
fn every_planted_bug_is_found() {
    let planted = [
        (Broken::OneForAll, EARLY),
        (Broken::AcceptedEarly, KEPT),
        (Broken::ShownEarly, ORDER),
        (Broken::PushMovesCursor, SKIPPED),
        (Broken::NeverDeleted, ENDS),
    ];
    for (broken, property) in planted {
        let scene = Scene { members: 3, pushes: vec![1, 1, 0], crashes: 1, broken: Some(broken), ..Scene::default() };
        let checker = scene.checker().threads(2).spawn_bfs().join();
        assert!(checker.discovery(property).is_some(), "{broken:?} passes as '{property}'");
    }
}
