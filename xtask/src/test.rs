//! `test`: set-up, every check, every test. Exits 0 only if all of them passed. `test --fips`: the same tests in a build of
//! FIPS-approved algorithms, beside CI.

use crate::process::{cargo, linted, program, tee};
use crate::report::{Report, Tally};
use crate::{Failure, fuzz, generate, lint, no_arguments, setup, sim, web};

/// How many simulated worlds one run of the tests plays through.
const SEEDS: &str = "10000";

/// What `--fips` builds and tests. Windows are left out: a page does not see what its devices seal with, and `tauri` has no
/// part in it.
const FIPS: &[&str] =
    &["sync-types", "sync-rules", "sync-core", "sync-sqlite", "sync-client", "sync-cli", "sync-sim", "sync-relay"];

/// `cargo xtask test [--fips]`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if args == ["--fips"] {
        return run_fips();
    }
    no_arguments(args)?;
    let mut report = Report::new();
    if report.step("set-up", || setup::for_tests().map(|()| Tally::NONE)) {
        // First, as cargo embeds what it builds.
        web::steps(&mut report);
        lint::steps(&mut report);
        report.step("tests", all_tests);
        report.step("doc tests", doc_tests);
        report.step("vectors, by the independent script", vectors);
        report.step("simulator", || sim::after_tests(SEEDS).map(|()| Tally::ONE));
        report.step("fuzzing, briefly", || fuzz::briefly().map(|()| Tally::ONE));
    }
    report.finish()
}

fn run_fips() -> Result<(), Failure> {
    let mut report = Report::new();
    if report.step("set-up", || setup::for_fips().map(|()| Tally::NONE)) {
        report.step("tests with FIPS-approved algorithms", fips_tests);
    }
    report.finish()
}

fn fips_tests() -> Result<Tally, Failure> {
    let mut command = cargo(&["nextest", "run", "--no-fail-fast", "--cargo-quiet", "--features", "fips"]);
    command.args(FIPS.iter().flat_map(|name| ["--package", name]));
    // A folder of its own: every dependency that has cryptography in it is built differently.
    command.args(["--target-dir", "target-fips"]);
    counted(tee(generate::only_compare(&mut command))?, nextest_tally)
}

fn all_tests() -> Result<Tally, Failure> {
    let mut command = cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--cargo-quiet"]);
    counted(tee(generate::only_compare(linted(&mut command)))?, nextest_tally)
}

fn doc_tests() -> Result<Tally, Failure> {
    // Of all crates, although few have any: choosing one would build its dependencies anew, with other features.
    counted(tee(linted(&mut cargo(&["test", "--quiet", "--doc", "--workspace"])))?, libtest_tally)
}

fn vectors() -> Result<Tally, Failure> {
    counted(tee(&mut program(setup::PYTHON, &["vectors/check.py"]))?, plain_tally)
}

/// Counts the checks of a run by its output; its exit status has the last word.
fn counted(
    (succeeded, output): (bool, String),
    count: impl Fn(&str) -> Result<Tally, Failure>,
) -> Result<Tally, Failure> {
    let tally = count(&output)?;
    match (succeeded, tally) {
        (false, Tally { failed: 0, .. }) => Err("it ended with an error, though no check failed".to_owned()),
        (true, Tally { passed: 0, .. }) => Err("it checked nothing".to_owned()),
        _ => Ok(tally),
    }
}

/// Reads the closing line of nextest: `Summary [ 1.2s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 0 skipped`.
fn nextest_tally(output: &str) -> Result<Tally, Failure> {
    let line = output.lines().rfind(|line| line.trim_start().starts_with("Summary ["));
    let (_, counts) = line.and_then(|line| line.split_once(" run: ")).ok_or("nextest printed no summary")?;
    let mut tally = Tally::NONE;
    let mut depth = 0;
    // Commas within parentheses only divide what is said about the passed ones.
    let parts = counts.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    for part in parts {
        let (number, what) = part.trim().split_once(' ').ok_or_else(|| format!("cannot read '{part}'"))?;
        let number: usize = number.parse().map_err(|e| format!("cannot read '{part}': {e}"))?;
        match what.split(' ').next() {
            Some("passed") => tally.passed += number,
            Some("skipped") if number > 0 => return Err(format!("{number} tests were skipped: none may be")),
            Some("skipped") => {}
            _ => tally.failed += number,
        }
    }
    Ok(tally)
}

/// Reads the closing lines of Rust's own test runner, one for each crate: `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
fn libtest_tally(output: &str) -> Result<Tally, Failure> {
    let mut tally = Tally::NONE;
    for line in output.lines().filter_map(|line| line.split_once("test result: ")) {
        for part in line.1.split([';', '.']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            match (number.parse::<usize>(), what) {
                (Ok(number), "passed") => tally.passed += number,
                (Ok(number), "failed") => tally.failed += number,
                (Ok(number), "ignored") if number > 0 => return Err(format!("{number} were ignored: none may be")),
                _ => {}
            }
        }
    }
    Ok(tally)
}

/// Reads a line `N passed, N failed`.
fn plain_tally(output: &str) -> Result<Tally, Failure> {
    let read = |line: &str| {
        let (passed, failed) = line.trim().strip_suffix(" failed")?.split_once(" passed, ")?;
        Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
    };
    output.lines().rev().find_map(read).ok_or_else(|| "it printed no line 'N passed, N failed'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextests_summary_is_read() {
        let tally = |text: &str| nextest_tally(text);
        let fine = "x\n     Summary [   0.005s] 12 tests run: 12 passed (1 slow, 2 leaky), 0 skipped\n";
        assert_eq!(tally(fine), Ok(Tally { passed: 12, failed: 0 }));
        let bad = "  Summary [ 9s] 4 tests run: 1 passed, 1 failed, 1 timed out, 1 exec failed, 0 skipped\n FAIL x\n";
        assert_eq!(tally(bad), Ok(Tally { passed: 1, failed: 3 }));
        assert!(tally("  Summary [ 9s] 1 test run: 1 passed, 2 skipped").is_err());
        assert!(tally("error: could not compile").is_err());
    }

    #[test]
    fn the_doc_tests_of_all_crates_are_added_up() {
        let text = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(libtest_tally(text), Ok(Tally { passed: 4, failed: 2 }));
        assert!(libtest_tally("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured").is_err());
    }

    #[test]
    fn a_plain_line_is_read() {
        assert_eq!(plain_tally("ok a\n7 passed, 1 failed\n"), Ok(Tally { passed: 7, failed: 1 }));
        assert!(plain_tally("all fine").is_err());
    }

    #[test]
    fn a_run_that_checked_nothing_or_died_has_failed() {
        let tally = |passed, failed| move |_: &str| Ok(Tally { passed, failed });
        assert!(counted((true, String::new()), tally(0, 0)).is_err());
        assert!(counted((false, String::new()), tally(5, 0)).is_err());
        assert_eq!(counted((false, String::new()), tally(5, 1)), Ok(Tally { passed: 5, failed: 1 }));
        assert_eq!(counted((true, String::new()), tally(5, 0)), Ok(Tally { passed: 5, failed: 0 }));
    }
}
