//! `gen`: the generated files, which golden tests write or compare.
//!
//! A golden test has `golden` in its name. It makes the text of a file anew and compares it with the file; with `KSYNC_BLESS=1`
//! in its environment it writes the file instead.

use crate::process::{cargo, linted, run as run_program};
use crate::{Failure, setup, web};

/// Tells golden tests to write.
const BLESS: &str = "KSYNC_BLESS";

/// `cargo xtask gen [--check]`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let task = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write,
        ["--check"] => check,
        _ => return Err("gen takes nothing, or --check".to_owned()),
    };
    setup::everything()?;
    web::build()?;
    task()
}

/// Compares the generated files with what the code makes of them.
pub(crate) fn check() -> Result<(), Failure> {
    run_program(golden_tests().env_remove(BLESS)).map_err(|failure| {
        format!("{failure}\nIf it says that a file is stale: run `cargo xtask gen` and read the difference.")
    })
}

fn write() -> Result<(), Failure> {
    run_program(golden_tests().env(BLESS, "1"))?;
    println!("written; `git diff` shows what changed");
    Ok(())
}

fn golden_tests() -> std::process::Command {
    let filter = ["--filterset", "test(golden)", "--status-level", "fail", "--no-fail-fast", "--cargo-quiet"];
    let mut command = cargo(&["nextest", "run", "--workspace"]);
    command.args(filter);
    linted(&mut command);
    command
}

/// Takes the order to write out of a command's environment, so that a run of all tests can only compare.
pub(crate) fn only_compare(command: &mut std::process::Command) -> &mut std::process::Command {
    command.env_remove(BLESS)
}
