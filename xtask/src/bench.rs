//! `bench`: measures a release build on this machine, each figure beside what bounds it.

use std::time::Instant;

use crate::process::{build_release, program, run as run_program};
use crate::{Failure, bench_app, setup};

/// `cargo xtask bench …`; `app` is for windows, other arguments go to the benchmarks as they are, `groups` among them.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if args == ["app"] {
        return bench_app::run();
    }
    setup::to_build()?;
    let began = Instant::now();
    eprintln!("Building for release; the first time that takes some minutes.");
    let programs = build_release(&["sync-relay", "ksync-bench"])?;
    eprintln!("Built in {:.0} s. Whatever else this machine does now, it takes from the figures.", seconds(began));
    // The build has written gigabytes; whatever of that is not on the disk yet would go there while it is measured.
    run_program(&mut program("sync", &[]))?;
    let began = Instant::now();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    run_program(&mut program(programs.join("ksync-bench"), &args))?;
    eprintln!("cargo xtask bench: {:.0} s without the build", seconds(began));
    Ok(())
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
