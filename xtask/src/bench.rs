//! `bench`: measures a release build on this machine, each figure beside what bounds it.

use std::time::Instant;

use crate::database::Database;
use crate::process::{build_release, program, run as run_program};
use crate::{Failure, bench_app, fresh_folder, setup};

/// `cargo xtask bench …`; `app` is for windows, `nodes` and `hostile` get a database, other arguments go to the benchmarks as they are, `groups` and
/// `herd` among them.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if args == ["app"] {
        return bench_app::run();
    }
    let with_database = args.first().is_some_and(|arg| arg == "nodes" || arg == "hostile");
    if with_database { setup::for_disturbances() } else { setup::to_build() }?;
    let began = Instant::now();
    eprintln!("Building for release; the first time that takes some minutes.");
    let programs = build_release(&["sync-relay", "ksync-bench"])?;
    eprintln!("Built in {:.0} s. Whatever else this machine does now, it takes from the figures.", seconds(began));
    // The build has written gigabytes; whatever of that is not on the disk yet would go there while it is measured.
    run_program(&mut program("sync", &[]))?;
    let began = Instant::now();
    let mut args: Vec<_> = args.iter().map(String::as_str).collect();
    let database = if with_database { Some(Database::start(&fresh_folder("bench-database")?)?) } else { None };
    if let Some(database) = &database {
        args.extend(["--store", &database.url]);
    }
    run_program(&mut program(programs.join("ksync-bench"), &args))?;
    eprintln!("cargo xtask bench: {:.0} s without the build", seconds(began));
    Ok(())
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
