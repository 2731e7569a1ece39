//! `kill -9` of the relay and of each device at 200 random moments of pushes, pulls, pairing and removal.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hazard::{Dice, Ledger, World, cut, ended, ended_within, events, settle};
use crate::harness::{Device, Process, until};

/// How many moments each of the four tests takes; one counts only if it interrupted something.
const MOMENTS: usize = 51;

/// In how many worlds at once pairings and removals happen: most of their time is waiting for what was killed.
const WORLDS: usize = 6;

const VICTIMS: [&str; 3] = ["relay", "sender", "receiver"];

/// How often each victim was killed in the middle of something.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn count(&mut self, victim: &'static str, interrupted: bool) {
        *self.0.entry(victim).or_default() += usize::from(interrupted);
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }

    fn show(&self, test: &str) {
        println!("{test}: {} moments {:?}", self.total(), self.0);
        assert!(self.0.values().all(|n| *n >= 10), "each is killed often enough: {:?}", self.0);
    }
}

/// Kills the relay and starts it again where it was.
fn kill_relay(world: &mut World) {
    world.relay.crash();
    world.relay.again();
}

#[test]
fn during_pushes() {
    let mut dice = Dice::new("kill::during_pushes");
    let (mut world, mut ledger, mut tally) = (World::new(), Ledger::default(), Tally::default());
    for cycle in 0.. {
        assert!(cycle < 10 * MOMENTS, "too few of the moments interrupt something");
        if tally.total() >= MOMENTS {
            break;
        }
        let victim = VICTIMS[cycle % 3];
        world.relay.must_run();
        let (sender, receiver) = if dice.below(2) == 0 { ("a", "b") } else { ("b", "a") };
        let device = |name: &str| if name == "a" { &world.a } else { &world.b };
        let (first, lines) = ledger.offer(sender, 1 + dice.below(200));
        let mut push = device(sender).start(&["push", "--lines"]);
        push.write(&lines);
        push.close_input();
        let pull = device(receiver).start(&["--timeout", "1", "pull"]);
        // Half of the moments lie in the beginning, before everything is durable.
        let longest = if dice.below(2) == 0 { 30 } else { 150 };
        dice.moment(Duration::from_millis(longest));
        let (push, pull) = match victim {
            "sender" => {
                let (interrupted, push) = cut(push);
                tally.count(victim, interrupted);
                (push, ended(pull).1)
            }
            "receiver" => {
                let (interrupted, pull) = cut(pull);
                tally.count(victim, interrupted);
                (ended(push).1, pull)
            }
            _ => {
                tally.count(victim, push.runs() || pull.runs());
                kill_relay(&mut world);
                (ended(push).1, ended(pull).1)
            }
        };
        ledger.pushed(sender, first, &push);
        ledger.pulled(receiver, &pull);
    }
    tally.show("during pushes");
    settle(&mut ledger, &world);
}

#[test]
fn during_pulls() {
    let mut dice = Dice::new("kill::during_pulls");
    let (mut world, mut ledger, mut tally) = (World::new(), Ledger::default(), Tally::default());
    for cycle in 0.. {
        assert!(cycle < 10 * MOMENTS, "too few of the moments interrupt something");
        if tally.total() >= MOMENTS {
            break;
        }
        let victim = VICTIMS[cycle % 3];
        world.relay.must_run();
        // A backlog at the relay, and a sender that stays to hear what becomes of it.
        let (first, lines) = ledger.offer("a", 200 + dice.below(800));
        let push = world.a.run_with(&["push", "--lines", "--wait", "accepted"], lines.as_bytes()).ok();
        ledger.pushed("a", first, &push.stdout.lines().map(str::to_owned).collect::<Vec<_>>());
        let mut run = world.a.start(&["run"]);
        run.event("status");
        let pull = world.b.start(&["--timeout", "1", "pull"]);
        dice.moment(Duration::from_millis(120));
        let interrupted = pull.runs();
        let pull = match victim {
            "sender" => {
                cut(run);
                ended(pull).1
            }
            "receiver" => {
                run.kill();
                cut(pull).1
            }
            _ => {
                kill_relay(&mut world);
                run.kill();
                ended(pull).1
            }
        };
        tally.count(victim, interrupted);
        ledger.pulled("b", &pull);
    }
    tally.show("during pulls");
    settle(&mut ledger, &world);
}

/// Does so many cycles in each of several worlds at once, and adds up what they counted.
fn in_worlds(test: &str, cycle: impl Fn(&mut World, &mut Dice, usize, &'static str) -> bool + Sync) {
    let mut dice = Dice::new(test);
    let victims = ["relay", "member", "newcomer"];
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORLDS)
            .map(|number| {
                let (mut dice, cycle) = (dice.fork(), &cycle);
                scope.spawn(move || {
                    let (mut world, mut tally) = (World::new(), Tally::default());
                    let mut n = number;
                    while tally.total() < MOMENTS.div_ceil(WORLDS) {
                        assert!(n < 10 * MOMENTS, "too few of the moments interrupt something");
                        let victim = victims[n % 3];
                        world.relay.must_run();
                        let interrupted = cycle(&mut world, &mut dice, n, victim);
                        tally.count(victim, interrupted);
                        n += 1;
                    }
                    tally
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut tally = Tally::default();
    for (victim, count) in tallies.into_iter().flat_map(|t| t.0) {
        *tally.0.entry(victim).or_default() += count;
    }
    tally.show(test);
}

/// How long a pairing may go on by itself when the link is over: a newcomer that has been agreed on waits to be added.
const PATIENCE: Duration = Duration::from_secs(8);

/// Ends well, or with an error that has a code; what still waits after a while is ended by whoever waits for it.
fn done_or_named(what: &str, process: Process) {
    let (code, lines, asked) = ended_within(process, PATIENCE);
    let named = events(&lines, "error").iter().any(|e| !e["code"].as_str().unwrap_or_default().is_empty());
    assert!(code == Some(0) || named || asked, "{what} ended with {code:?} and no named error:\n{}", lines.join("\n"));
}

fn members(device: &Device) -> Vec<String> {
    let ran = device.run(&["devices"]).ok();
    ran.all("device").iter().map(|d| d["id"].as_str().unwrap().to_owned()).collect()
}

/// Shows a link on the member that works for so many seconds, and takes it on the newcomer. Gives both processes.
fn begin_pairing(member: &Device, newcomer: &Device, ttl: &str) -> (Process, Process) {
    let mut invite = member.start(&["invite", "--yes", "--ttl", ttl]);
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    let join = newcomer.start(&["join", &uri, "--name", "c"]);
    (invite, join)
}

#[test]
fn during_pairing() {
    in_worlds("during pairing", |world, dice, n, victim| {
        let newcomer = Device::new(world.folder.path().join(format!("c{n}")));
        // What is left of it when one of the three is gone ends with an error when the link is over.
        let (invite, join) = begin_pairing(&world.a, &newcomer, "5");
        dice.moment(Duration::from_millis(450));
        let interrupted = invite.runs() || join.runs();
        match victim {
            "member" => {
                cut(invite);
                done_or_named("join", join);
            }
            "newcomer" => {
                cut(join);
                done_or_named("invite", invite);
            }
            _ => {
                kill_relay(world);
                done_or_named("join", join);
                done_or_named("invite", invite);
            }
        }
        // It is in the group, or becomes a member by itself, or pairs again.
        let joined =
            newcomer.home.join("device.db").exists() && newcomer.run(&["--timeout", "3", "pull"]).code == Some(0);
        let id = joined.then(|| newcomer.status()["device"].as_str().map(str::to_owned)).flatten();
        if !id.is_some_and(|id| members(&world.a).contains(&id)) {
            let (invite, join) = begin_pairing(&world.a, &newcomer, "60");
            let (code, lines) = ended(join);
            if code != Some(0) {
                // A newcomer that still waits to be added by the first pairing says so, and starts afresh when told to.
                assert_eq!(events(&lines, "error")[0]["code"], "ALREADY_IN_GROUP", "{lines:?}");
                cut(invite);
                newcomer.run(&["reset"]).ok();
                let (invite, join) = begin_pairing(&world.a, &newcomer, "60");
                assert_eq!(ended(join).0, Some(0));
                assert_eq!(ended(invite).0, Some(0));
            } else {
                assert_eq!(ended(invite).0, Some(0));
            }
        }
        // And it works: what is pushed from now on arrives.
        let text = format!("after pairing {n}");
        world.a.push(&text, "accepted");
        until("the newcomer gets it", || {
            newcomer.run(&["--timeout", "5", "pull"]).texts().contains(&text.as_str()).then_some(())
        });
        // Members that came in by half are members; they go the same way.
        for id in members(&world.a).iter().skip(1).filter(|id| *id != world.b.status()["device"].as_str().unwrap()) {
            world.a.run(&["devices", "remove", id]).ok();
        }
        interrupted
    });
}

#[test]
fn during_removal() {
    in_worlds("during removal", |world, dice, n, victim| {
        let newcomer = Device::new(world.folder.path().join(format!("c{n}")));
        let (invite, join) = begin_pairing(&world.a, &newcomer, "60");
        assert_eq!((ended(join).0, ended(invite).0), (Some(0), Some(0)));
        let id = newcomer.status()["device"].as_str().unwrap().to_owned();
        let mut follow = Some(newcomer.start(&["--timeout", "1", "pull", "--follow"]));
        let remove = world.a.start(&["--timeout", "5", "devices", "remove", &id]);
        dice.moment(Duration::from_millis(120));
        let interrupted = remove.runs();
        match victim {
            "member" => drop(cut(remove)),
            "newcomer" => {
                cut(follow.take().unwrap());
                assert_eq!(ended(remove).0, Some(0), "the others need not the removed one");
            }
            _ => {
                kill_relay(world);
                done_or_named("remove", remove);
            }
        }
        // Removed by what was stored, or by asking again.
        until("the device is removed", || {
            world.a.run(&["pull"]);
            if !members(&world.a).contains(&id) {
                return Some(());
            }
            world.a.run(&["--timeout", "5", "devices", "remove", &id]);
            None
        });
        let text = format!("after removal {n}");
        world.a.push(&text, "accepted");
        assert!(world.b.pulls().contains(&text), "the others go on");
        assert!(!members(&world.b).contains(&id));
        // Whether it has heard of its removal or not, it gives its home free.
        drop(follow);
        // The removed one can neither read nor write.
        let pull = newcomer.run(&["pull"]).fails("REMOVED", 3);
        assert!(!pull.stdout.contains(&text));
        newcomer.run_with(&["--timeout", "1", "push", "--wait", "accepted"], b"from outside").fails("REMOVED", 3);
        assert!(!world.b.pulls().contains(&"from outside".to_owned()));
        interrupted
    });
}
