//! `files-check`: what files have to stand, by real processes. `ksync-bench files-check` does it; here its programs are built.

use crate::database::Database;
use crate::process::{build, program, run as run_program};
use crate::{Failure, fresh_folder, setup};

/// `cargo xtask files-check …`: the arguments go to the check as they are, with a database for the relays that share one. `--release` has it check a release build.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    setup::for_relays()?;
    let release = args.iter().any(|arg| arg == "--release");
    let names = ["sync-relay", "ksync", "ksync-bench"];
    let programs = if release { crate::process::build_release(&names) } else { build(&names) }?;
    let rest = args.iter().map(String::as_str).filter(|arg| *arg != "--release");
    let database = Database::start(&fresh_folder("files-check-database")?)?;
    let arguments: Vec<_> = ["files-check", "--store", &database.url].into_iter().chain(rest).collect();
    run_program(&mut program(programs.join("ksync-bench"), &arguments))
}
