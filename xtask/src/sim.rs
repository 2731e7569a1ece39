//! `sim`: runs simulated groups of devices and a relay; arguments go to the simulator as they are. `attacks`: named attacks on them.

use crate::process::{self, build, program};
use crate::{Failure, no_arguments};

/// `cargo xtask sim …`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    simulate(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `cargo xtask attacks`
pub(crate) fn attacks(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    simulate(&["--attacks"])
}

/// Builds and runs the simulator.
pub(crate) fn simulate(args: &[&str]) -> Result<(), Failure> {
    let folder = build(&["sync-sim"])?;
    process::run(&mut program(folder.join("sync-sim"), args))
}
