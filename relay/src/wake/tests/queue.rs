//! Who is woken when, on time that passes only when nothing else happens.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// A push service that answers as it is told, once `gate` has a permit for it.
struct Fake {
    gate: Semaphore,
    answer: Box<dyn Fn(&Target) -> Sent + Send + Sync>,
    seen: Mutex<Vec<(Target, Instant)>>,
    /// How many are under way to each host and in all, and the most there were.
    flying: Mutex<HashMap<String, (usize, usize)>>,
}

impl Fake {
    fn new(gate: usize, answer: impl Fn(&Target) -> Sent + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(gate),
            answer: Box::new(answer),
            seen: Mutex::default(),
            flying: Mutex::default(),
        })
    }

    fn open(answer: impl Fn(&Target) -> Sent + Send + Sync + 'static) -> Arc<Self> {
        Self::new(Semaphore::MAX_PERMITS, answer)
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn most(&self, host: &str) -> usize {
        self.flying.lock().unwrap()[host].1
    }

    fn count(&self, target: &Target, add: bool) {
        let Target::WebPush { endpoint, .. } = target else { return };
        let host = endpoint.split('/').nth(2).unwrap().to_lowercase().replace(".:443", "");
        let mut flying = self.flying.lock().unwrap();
        for name in [host, "all".to_owned()] {
            let (now, most) = flying.entry(name).or_default();
            *now = if add { *now + 1 } else { *now - 1 };
            *most = (*most).max(*now);
        }
    }
}

impl Push for Fake {
    async fn push(&self, target: &Target) -> Sent {
        self.seen.lock().unwrap().push((target.clone(), Instant::now()));
        self.count(target, true);
        self.gate.acquire().await.unwrap().forget();
        self.count(target, false);
        (self.answer)(target)
    }
}

fn at(host: &str, path: u32) -> Target {
    Target::WebPush { endpoint: format!("https://{host}/{path}"), keys: None }
}

/// Time passes when all else waits, so then everything that can happen has.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_is_woken_once_for_all_that_happens_meanwhile() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, _gone) = Queue::start(fake.clone(), Limits::default());
    for _ in 0..3 {
        queue.wake(1, at("a", 1));
    }
    settle().await;
    queue.wake(1, at("a", 1));
    queue.wake(2, at("a", 2));
    settle().await;
    assert_eq!(fake.seen(), 2, "one for each");
    fake.gate.add_permits(9);
    settle().await;
    assert_eq!((fake.seen(), queue.counters().accepted.load(Relaxed)), (2, 2));
    queue.wake(1, at("a", 1));
    settle().await;
    assert_eq!(fake.seen(), 3, "what happens later wakes again");
}

#[tokio::test(start_paused = true)]
async fn another_target_takes_the_place_of_the_last() {
    for first in [Sent::Later(None), Sent::Accepted, Sent::Gone] {
        let fake = Fake::new(0, move |target| if *target == at("a", 1) { first } else { Sent::Accepted });
        let (queue, _gone) = Queue::start(fake.clone(), Limits { per_host: 1, ..Limits::default() });
        queue.wake(1, at("a", 1));
        settle().await;
        for path in [2, 3] {
            queue.wake(1, at("a", path));
        }
        fake.gate.add_permits(9);
        sleep(Duration::from_secs(3600)).await;
        let seen: Vec<Target> = fake.seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect();
        assert_eq!(seen, [at("a", 1), at("a", 3)], "{first:?}");
        assert_eq!((queue.waiting(), queue.counters().retried.load(Relaxed)), (0, 0));
    }
}

/// Hosts whose last key was forgotten cost those behind them no turn.
#[tokio::test(start_paused = true)]
async fn what_is_forgotten_holds_nobody_up() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, _gone) = Queue::start(fake.clone(), Limits { under_way: 1, ..Limits::default() });
    for key in 0..10 {
        queue.wake(key, at(&format!("h{key}"), key));
        settle().await;
    }
    for key in 1..9 {
        queue.forget(key);
    }
    fake.gate.add_permits(1);
    settle().await;
    assert_eq!(fake.seen.lock().unwrap().last().unwrap().0, at("h9", 9));
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_again_ever_more_slowly_for_a_day() {
    let fake = Fake::open(|_| Sent::Later(None));
    let (queue, _gone) = Queue::start(fake.clone(), Limits::default());
    let start = Instant::now();
    queue.wake(1, at("a", 1));
    sleep(Duration::from_secs(25 * 3600)).await;
    let times: Vec<Duration> = fake.seen.lock().unwrap().iter().map(|(_, at)| *at - start).collect();
    for (n, pair) in times.windows(2).enumerate() {
        let most = Duration::from_secs((1 << n.min(10)).min(600));
        assert!(pair[1] - pair[0] <= most + Duration::from_millis(1), "pause {n}");
    }
    let last = *times.last().unwrap();
    assert!(last <= Duration::from_secs(24 * 3600) && last > Duration::from_secs(23 * 3600 + 1800), "{last:?}");
    // 144 pauses of ten minutes would fill a day; each is half as long as it might be.
    assert!((200..500).contains(&times.len()), "{} attempts", times.len());
    let counters = queue.counters();
    assert_eq!(counters.retried.load(Relaxed) as usize, times.len() - 1);
    assert_eq!((counters.dropped.load(Relaxed), queue.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_names_a_time_is_left_alone_until_then() {
    let fake = Fake::open(|_| Sent::Later(Some(Duration::from_secs(90))));
    let (queue, _gone) = Queue::start(fake.clone(), Limits::default());
    queue.wake(1, at("a", 1));
    sleep(Duration::from_secs(1000)).await;
    let seen = fake.seen.lock().unwrap();
    assert!(seen.len() > 4 && seen.windows(2).all(|pair| pair[1].1 - pair[0].1 >= Duration::from_secs(90)));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_not_sent() {
    let fake = Fake::new(0, |_| Sent::Later(None));
    let (queue, _gone) = Queue::start(fake.clone(), Limits { per_host: 1, ..Limits::default() });
    for key in 1..=3 {
        queue.wake(key, at("a", key));
    }
    settle().await;
    // The first is under way, the others wait for their turn.
    queue.forget(1);
    queue.forget(2);
    queue.forget(7);
    fake.gate.add_permits(2);
    sleep(Duration::from_millis(10)).await;
    let seen = |fake: &Fake| fake.seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect::<Vec<_>>();
    assert_eq!(seen(&fake)[..2], [at("a", 1), at("a", 3)]);
    queue.forget(3);
    let count = fake.seen();
    fake.gate.add_permits(9);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((fake.seen(), queue.waiting()), (count, 0), "a retry is forgotten, too");
    queue.wake(1, at("a", 1));
    settle().await;
    assert_eq!(fake.seen(), count + 1);
}

#[tokio::test(start_paused = true)]
async fn one_host_cannot_take_all_places() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, _gone) = Queue::start(fake.clone(), Limits::default());
    // One name in many spellings is one host.
    for key in 0..100 {
        queue.wake(key, at(if key % 2 == 0 { "slow.example" } else { "SLOW.example.:443" }, key));
    }
    settle().await;
    assert_eq!(fake.seen(), 8);
    queue.wake(100, at("b", 0));
    settle().await;
    assert_eq!(fake.seen(), 9, "another host has its turn at once");
    for key in 101..1000 {
        queue.wake(key, at(&format!("h{}", key % 50), key));
    }
    settle().await;
    assert_eq!((fake.seen(), fake.most("all")), (64, 64));
    fake.gate.add_permits(5000);
    settle().await;
    assert_eq!((fake.seen(), fake.most("all"), fake.most("slow.example")), (1000, 64, 8));
    assert_eq!((queue.waiting(), queue.counters().accepted.load(Relaxed)), (0, 1000));
}

#[tokio::test(start_paused = true)]
async fn too_many_cost_the_oldest_its_place() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, _gone) = Queue::start(fake.clone(), Limits { per_host: 1, waiting: 3, ..Limits::default() });
    queue.wake(0, at("a", 0));
    settle().await;
    for key in 1..=5 {
        queue.wake(key, at("a", key));
    }
    assert_eq!((queue.waiting(), queue.counters().dropped.load(Relaxed)), (3, 2));
    fake.gate.add_permits(9);
    settle().await;
    let seen: Vec<Target> = fake.seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect();
    assert_eq!(seen, [0, 3, 4, 5].map(|path| at("a", path)));
}

#[tokio::test(start_paused = true)]
async fn who_deletes_targets_learns_which_are_gone() {
    let fake = Fake::open(|target| if *target == at("a", 99) { Sent::Refused(Refusal::Address) } else { Sent::Gone });
    let (queue, mut gone) = Queue::start(fake.clone(), Limits { gone: 1, ..Limits::default() });
    queue.wake(99, at("a", 99));
    for key in 1..=20 {
        queue.wake(key, at("a", key));
    }
    settle().await;
    let mut told = Vec::new();
    while let Ok(Some(one)) = timeout(Duration::from_secs(1), gone.recv()).await {
        assert_eq!(one.target, at("a", one.key));
        told.push(one.key);
    }
    told.sort_unstable();
    assert_eq!(told, (1..=20).collect::<Vec<_>>(), "none is lost when they come faster than they are taken");
    let counters = queue.counters();
    assert_eq!((counters.gone.load(Relaxed), counters.refused.load(Relaxed), fake.seen()), (20, 1, 21));
    drop(gone);
    queue.wake(1, at("a", 1));
    settle().await;
    assert_eq!(counters.gone.load(Relaxed), 21, "nobody has to listen");
}

#[tokio::test(start_paused = true)]
async fn it_stops_within_a_second() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, mut gone) = Queue::start(fake.clone(), Limits::default());
    for key in 0..100 {
        queue.wake(key, at("a", key));
    }
    settle().await;
    timeout(Duration::from_secs(1), queue.stop()).await.unwrap();
    assert_eq!(Arc::strong_count(&fake), 1, "nothing is under way");
    assert_eq!(gone.recv().await, None);
    queue.wake(200, at("a", 200));
    settle().await;
    assert_eq!((fake.seen(), queue.waiting()), (8, 0));
    timeout(Duration::from_secs(1), queue.stop()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_dropped_stops() {
    let fake = Fake::new(0, |_| Sent::Accepted);
    let (queue, mut gone) = Queue::start(fake.clone(), Limits::default());
    queue.wake(1, at("a", 1));
    settle().await;
    drop(queue);
    assert_eq!(gone.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_panics_gives_its_place_back() {
    let fake = Fake::open(|target| if *target == at("a", 0) { panic!("on purpose") } else { Sent::Accepted });
    let (queue, _gone) = Queue::start(fake.clone(), Limits { under_way: 1, ..Limits::default() });
    for path in [0, 1] {
        queue.wake(path, at("a", path));
        settle().await;
    }
    let counters = queue.counters();
    assert_eq!((counters.accepted.load(Relaxed), counters.dropped.load(Relaxed)), (1, 1));
    queue.wake(0, at("a", 5));
    settle().await;
    assert_eq!(counters.accepted.load(Relaxed), 2);
}

/// Random wakes, landings and forgetting leave nothing behind.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_all_is_done() {
    let random = |most: u32| getrandom::u32().unwrap() % most;
    let fake = Fake::new(0, move |_| match random(4) {
        0 => Sent::Later(Some(Duration::from_secs(random(5).into()))),
        1 => Sent::Gone,
        2 => Sent::Refused(Refusal::Status(400)),
        _ => Sent::Accepted,
    });
    let limits = Limits { under_way: 6, per_host: 2, waiting: 30, ..Limits::default() };
    let (queue, gone) = Queue::start(fake.clone(), limits);
    drop(gone);
    for _ in 0..5000 {
        let key = random(60);
        match random(4) {
            0 => queue.forget(key),
            1 => fake.gate.add_permits(3),
            _ => queue.wake(key, at(&format!("h{}", key % 7), random(2))),
        }
        if random(10) == 0 {
            settle().await;
        }
    }
    fake.gate.add_permits(100_000);
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(queue.waiting(), 0);
    assert!(fake.flying.lock().unwrap().values().all(|(now, most)| *now == 0 && *most <= 6));
    assert!(queue.is_empty(), "no host, turn or entry is kept");
    let before = fake.seen();
    for key in 0..6 {
        queue.wake(key, at("h1", 9));
    }
    sleep(Duration::from_secs(24 * 3600)).await;
    assert!(fake.seen() >= before + 6, "every place has been given back");
}
