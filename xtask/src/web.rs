//! The TypeScript side: packages from npm, the built package and page, their checks and tests.

use std::fs;
use std::path::Path;

use crate::process::{on_path, program, root, run, tee};
use crate::report::{Report, Tally};
use crate::{Failure, no_arguments};

/// The least Node that vite runs on.
const NODE: (u32, u32) = (20, 19);

/// Where the pages and packages are, from the root.
const FOLDERS: [&str; 2] = [".", "example-app"];

/// Written into the source tree by the build of the guest API, and committed: a plugin's crate carries it.
const GLOBAL_API: &str = "guest-js/api-iife.js";

/// Installs what `package-lock.json` says, unless that is there already.
pub(crate) fn install() -> Result<(), Failure> {
    node()?;
    let lock = fs::read(root().join("package-lock.json")).map_err(|e| format!("cannot read package-lock.json: {e}"))?;
    let note = root().join("node_modules/.ksync-installed");
    if fs::read(&note).is_ok_and(|installed| installed == lock) {
        println!("the npm packages are there");
        return Ok(());
    }
    println!("installing the npm packages");
    run(&mut program("npm", &["ci", "--no-audit", "--no-fund", "--loglevel", "error"]))?;
    fs::write(&note, lock).map_err(|e| format!("cannot write {}: {e}", note.display()))
}

fn node() -> Result<(), Failure> {
    let wanted = || format!("install Node {}.{} or newer, with npm, then run this again", NODE.0, NODE.1);
    if !on_path("node") || !on_path("npm") {
        return Err(wanted());
    }
    let output = program("node", &["--version"]).output().map_err(|e| format!("cannot start node: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if is_recent(text.trim()) { Ok(()) } else { Err(format!("this is Node {}; {}", text.trim(), wanted())) }
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|found| found >= NODE)
}

/// Builds the package, the global script and the example app's page. Cargo embeds the latter two, so this comes before it.
pub(crate) fn build() -> Result<(), Failure> {
    FOLDERS.iter().try_for_each(|folder| npm(folder, "build"))
}

/// Types, freshness and tests, each as a step of its own. The first one builds.
pub(crate) fn steps(report: &mut Report) {
    report.step("web: build, and the global script is fresh", || fresh().map(|()| Tally::ONE));
    report.step("web: types", || npm(".", "check").map(|()| Tally::ONE));
    for folder in FOLDERS {
        let name = if folder == "." { "web: tests of the guest API" } else { "web: tests of the example app" };
        report.step(name, || tests(folder));
    }
}

/// `cargo xtask web`
pub(crate) fn command(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    install()?;
    let mut report = Report::new();
    steps(&mut report);
    report.finish()
}

fn fresh() -> Result<(), Failure> {
    let read = || fs::read(root().join(GLOBAL_API)).unwrap_or_default();
    let committed = read();
    build()?;
    if read() == committed { Ok(()) } else { Err(format!("{GLOBAL_API} was stale and is written anew: commit it")) }
}

fn npm(folder: &str, script: &str) -> Result<(), Failure> {
    run(npm_run(script).current_dir(root().join(folder)))
}

fn npm_run(script: &str) -> std::process::Command {
    program("npm", &["run", "--silent", "--loglevel", "error", script])
}

fn tests(folder: &str) -> Result<Tally, Failure> {
    let mut command = npm_run("test");
    command.current_dir(root().join(Path::new(folder))).env("NO_COLOR", "1").env("CI", "1");
    let (succeeded, output) = tee(&mut command)?;
    let tally = vitest_tally(&output)?;
    match (succeeded, tally) {
        (false, Tally { failed: 0, .. }) => Err("it ended with an error, though no test failed".to_owned()),
        (true, Tally { passed: 0, .. }) => Err("it tested nothing".to_owned()),
        _ => Ok(tally),
    }
}

/// Reads the line `Tests  2 failed | 118 passed (120)`.
fn vitest_tally(output: &str) -> Result<Tally, Failure> {
    let line = output.lines().rev().find_map(|line| line.trim_start().strip_prefix("Tests "));
    let line = line.ok_or("vitest printed no count of its tests")?;
    let mut tally = Tally::NONE;
    for part in line.split(" (").next().unwrap_or_default().split('|') {
        let (number, what) = part.trim().split_once(' ').ok_or_else(|| format!("cannot read '{part}'"))?;
        let number: usize = number.parse().map_err(|e| format!("cannot read '{part}': {e}"))?;
        match what {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            other => return Err(format!("{number} tests were {other}: none may be")),
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vitests_summary_is_read() {
        let fine = " Test Files  8 passed (8)\n      Tests  120 passed (120)\n   Start at  1\n";
        assert_eq!(vitest_tally(fine), Ok(Tally { passed: 120, failed: 0 }));
        assert_eq!(vitest_tally("Tests  2 failed | 118 passed (120)"), Ok(Tally { passed: 118, failed: 2 }));
        assert!(vitest_tally("Tests  119 passed | 1 skipped (120)").is_err());
        assert!(vitest_tally("no tests found").is_err());
    }

    #[test]
    fn an_old_node_is_told_apart() {
        assert!(is_recent("v20.19.0") && is_recent("v22.1.0") && is_recent("v100.0.1"));
        assert!(!is_recent("v20.18.3") && !is_recent("v18.99.0") && !is_recent("what"));
    }
}
