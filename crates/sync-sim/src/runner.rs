//! Many worlds, on several threads; each world on one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Counters;
use crate::mutation::Mutation;
use crate::world::{Failure, Outcome, Trace, World};

/// Which worlds to play through.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many threads.
    pub jobs: usize,
    /// A bug to plant.
    pub mutation: Option<Mutation>,
    /// Whether to go on after a failure.
    pub keep_going: bool,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many worlds were played through.
    pub seeds: u64,
    /// How many events they had together.
    pub steps: u64,
    /// What they exercised.
    pub counters: Counters,
    /// What was wrong, in the order of the seeds.
    pub failures: Vec<Failure>,
}

/// Plays one world through.
pub fn run_seed(seed: u64, mutation: Option<Mutation>, trace: Trace) -> Outcome {
    World::new(seed, mutation, trace).run()
}

/// Plays worlds through until all are done or one is wrong.
pub fn run(run: Run) -> Summary {
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..run.jobs.max(1) {
            scope.spawn(|| worker(run, &next, &summary));
        }
    });
    summary.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn worker(run: Run, next: &AtomicU64, summary: &Mutex<Summary>) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= run.seeds {
            return;
        }
        let seed = run.from + index;
        let outcome = catch_unwind(AssertUnwindSafe(|| run_seed(seed, run.mutation, Trace::Off)));
        let mut all = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.seeds += 1;
        let failure = match outcome {
            Ok(outcome) => {
                all.steps += outcome.steps;
                all.counters.merge(&outcome.counters);
                outcome.failure
            }
            Err(panic) => Some(Failure { seed, invariant: "no panic", step: 0, detail: message(&*panic) }),
        };
        if let Some(failure) = failure {
            if !run.keep_going {
                next.store(run.seeds, Ordering::Relaxed);
            }
            let place = all.failures.partition_point(|known| known.seed < failure.seed);
            all.failures.insert(place, failure);
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
