//! The steps of a run: how long each took, how many checks it held, and which failed.

use std::time::{Duration, Instant};

use crate::Failure;

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// A step that is one single check.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0 };
    /// A step that checks nothing, such as set-up.
    pub(crate) const NONE: Self = Self { passed: 0, failed: 0 };
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

struct Step {
    name: String,
    took: Duration,
    tally: Tally,
    failure: Option<Failure>,
}

/// A run in the making. Steps go on after one has failed, so that one run shows everything that is wrong.
pub(crate) struct Report {
    started: Instant,
    steps: Vec<Step>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), steps: Vec::new() }
    }

    /// Runs one step and prints its wall time. Returns whether it was all right.
    pub(crate) fn step(&mut self, name: &str, body: impl FnOnce() -> Result<Tally, Failure>) -> bool {
        println!("\n=== {name}");
        let started = Instant::now();
        let (tally, failure) = match body() {
            Ok(tally) if tally.failed == 0 => (tally, None),
            Ok(tally) => (tally, Some(format!("{} failed", tally.failed))),
            Err(failure) => (Tally { passed: 0, failed: 1 }, Some(failure)),
        };
        let took = started.elapsed();
        match &failure {
            None => println!("--- {name}: ok in {}", seconds(took)),
            Some(failure) => println!("{failure}\n--- {name}: FAILED after {}", seconds(took)),
        }
        let fine = failure.is_none();
        self.steps.push(Step { name: name.to_owned(), took, tally, failure });
        fine
    }

    /// Prints the table, the total and, alone on the last line, how many checks passed and failed.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        println!("\n{}", self.table());
        let mut sum = Tally::NONE;
        for step in &self.steps {
            sum += step.tally;
        }
        println!("{} passed, {} failed", sum.passed, sum.failed);
        let failed: Vec<_> =
            self.steps.iter().filter(|step| step.failure.is_some()).map(|step| step.name.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("these steps failed: {}", failed.join("; "))) }
    }

    fn table(&self) -> String {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max("total".len());
        let mut text = format!("{:<width$}  {:>9}  {:>7}  {:>7}\n", "step", "time", "passed", "failed");
        for step in &self.steps {
            let Tally { passed, failed } = step.tally;
            let mark = if step.failure.is_some() { "  <- FAILED" } else { "" };
            text += &format!("{:<width$}  {:>9}  {passed:>7}  {failed:>7}{mark}\n", step.name, seconds(step.took));
        }
        text + &format!("{:<width$}  {:>9}\n", "total", seconds(self.started.elapsed()))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_the_next_ones_still_run() {
        let mut report = Report::new();
        assert!(report.step("first", || Ok(Tally { passed: 5, failed: 0 })));
        assert!(!report.step("second", || Err("no".to_owned())));
        assert!(!report.step("third", || Ok(Tally { passed: 1, failed: 2 })));
        assert!(report.step("fourth", || Ok(Tally::ONE)));
        let table = report.table();
        assert_eq!(table.matches("FAILED").count(), 2, "{table}");
        let failure = report.finish().expect_err("two steps failed");
        assert_eq!(failure, "these steps failed: second; third");
    }

    #[test]
    fn a_run_without_failures_succeeds() {
        let mut report = Report::new();
        report.step("only", || Ok(Tally::ONE));
        assert_eq!(report.finish(), Ok(()));
    }
}
