//! `sim`: runs simulated groups of devices and a relay; arguments go to the simulator as they are.

use crate::Failure;
use crate::process::{self, build, program};

/// `cargo xtask sim …`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    simulate(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Builds and runs the simulator.
pub(crate) fn simulate(args: &[&str]) -> Result<(), Failure> {
    let folder = build(&["sync-sim"])?;
    process::run(&mut program(folder.join("sync-sim"), args))
}
