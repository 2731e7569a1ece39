//! `bench`: measures a release build on this machine, each figure beside what bounds it.

use std::path::PathBuf;
use std::time::Instant;

use crate::database::Database;
use crate::process::{build_release, cargo, program, root, run as run_program};
use crate::{Failure, bench_app, fresh_folder, setup};

/// `cargo xtask bench …`; `app` is for windows, `files` gets what files are measured beside, `nodes` and `hostile` get a database (and `nodes --earlier COMMIT` the relay of that commit), other arguments go to the benchmarks as they are, `groups` and
/// `herd` among them.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if args == ["app"] {
        return bench_app::run();
    }
    let beside = args.first().is_some_and(|arg| arg == "files");
    let with_database = args.first().is_some_and(|arg| arg == "nodes" || arg == "hostile");
    if with_database { setup::for_disturbances() } else { setup::to_build() }?;
    let tools = if beside { Some(setup::for_files()?.display().to_string()) } else { None };
    let began = Instant::now();
    eprintln!("Building for release; the first time that takes some minutes.");
    let programs = build_release(&["sync-relay", "ksync-bench", "ksync"])?;
    eprintln!("Built in {:.0} s. Whatever else this machine does now, it takes from the figures.", seconds(began));
    // The build has written gigabytes; whatever of that is not on the disk yet would go there while it is measured.
    run_program(&mut program("sync", &[]))?;
    let began = Instant::now();
    let mut args = args.to_vec();
    if let Some(at) = args.iter().position(|arg| arg == "--earlier") {
        let commit = args.get_mut(at + 1).ok_or("--earlier names a commit")?;
        *commit = earlier_relay(commit)?.display().to_string();
    }
    let mut args: Vec<_> = args.iter().map(String::as_str).collect();
    let database = if with_database { Some(Database::start(&fresh_folder("bench-database")?)?) } else { None };
    if let Some(tools) = &tools {
        args[0] = "files-beside";
        args.extend(["--tools", tools]);
    }
    if let Some(database) = &database {
        args.extend(["--store", &database.url]);
    }
    run_program(&mut program(programs.join("ksync-bench"), &args))?;
    eprintln!("cargo xtask bench: {:.0} s without the build", seconds(began));
    Ok(())
}

/// Builds the relay of an earlier commit, in a tree and a folder of its own.
fn earlier_relay(commit: &str) -> Result<PathBuf, Failure> {
    let folder = root().join("target").join("earlier");
    let tree = folder.join("tree");
    let [tree_text, build] = [&tree, &folder.join("build")].map(|path| path.display().to_string());
    if tree.exists() {
        run_program(&mut program("git", &["worktree", "remove", "--force", &tree_text]))?;
    }
    run_program(&mut program("git", &["worktree", "add", "--force", "--detach", &tree_text, commit]))?;
    let built =
        run_program(cargo(&["build", "--release", "-p", "sync-relay", "--target-dir", &build]).current_dir(&tree));
    run_program(&mut program("git", &["worktree", "remove", "--force", &tree_text]))?;
    built?;
    Ok(folder.join("build/release/sync-relay"))
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
