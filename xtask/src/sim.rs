//! `sim`: runs simulated groups of devices and a relay; arguments go to the simulator as they are. `attacks`: named attacks on them.

use std::path::Path;

use crate::process::{self, build, build_with, linted, program};
use crate::{Failure, no_arguments};

/// `cargo xtask sim …`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    simulate(&build(&["sync-sim"])?, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `cargo xtask attacks`
pub(crate) fn attacks(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    simulate(&build(&["sync-sim"])?, &["--attacks"])
}

/// Plays this many worlds, where the tests were just built: with a test beside it the simulator's dependencies have the
/// features of that build, and are not built again.
pub(crate) fn after_tests(seeds: &str) -> Result<(), Failure> {
    let folder = build_with(&["sync-sim"], |command| {
        linted(command).args(["--test", "it"]);
    })?;
    simulate(&folder, &["--seeds", seeds])
}

fn simulate(folder: &Path, args: &[&str]) -> Result<(), Failure> {
    process::run(&mut program(folder.join("sync-sim"), args))
}
