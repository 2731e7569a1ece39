//! `fuzz`: libFuzzer makes up inputs for everything that takes bytes from others, guided by what they reach in our crates.
//!
//! It needs no nightly compiler: LLVM's pass that counts what is reached is asked for by `-C passes`, for the crates of this
//! workspace alone, so that the dependencies are those that are built already.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::process::{build_with, program, root, run as run_program};
use crate::{Failure, failed};

/// For how long each target is fuzzed where nobody says otherwise, in seconds.
const SECONDS: &str = "3";

/// Where what is made lies: new inputs, and finds.
const FOLDER: &str = "target/fuzz";

/// Where the inputs lie that every run of the tests tries.
const CORPUS: &str = "crates/sync-sim/corpus";

/// The compiler, for crates of the workspace.
const COMPILER: &str = "#!/bin/sh
exec \"$@\" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \\
  -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \\
  -C llvm-args=-sanitizer-coverage-trace-compares
";

/// `cargo xtask fuzz [TARGET…] [--seconds N] [--merge]`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let (mut seconds, mut merge, mut wanted) = (SECONDS.to_owned(), false, Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().filter(|n| n.parse::<u32>().is_ok_and(|n| n > 0));
                seconds = number.ok_or("--seconds takes a number, 1 or more")?.clone();
            }
            "--merge" => merge = true,
            other if other.starts_with('-') => return Err(format!("'{other}' is not understood")),
            target => wanted.push(target.to_owned()),
        }
    }
    let targets = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !targets.contains(name)) {
        return Err(format!("there is no target '{unknown}'; there are:\n{}", targets.join("\n")));
    }
    let fuzzer = built()?;
    let fuzzer = Fuzzer { program: &fuzzer, seconds: &seconds };
    println!("{:<18}  {:>9}  {:>9}  {:>5}", "target", "inputs", "a second", "new");
    let chosen = targets.iter().filter(|target| wanted.is_empty() || wanted.contains(target));
    for target in chosen {
        if merge { fuzzer.merge(target)? } else { fuzzer.fuzz(target)? }
    }
    Ok(())
}

/// Each target for a second, as CI does.
pub(crate) fn briefly() -> Result<(), Failure> {
    run(&["--seconds".to_owned(), "1".to_owned()])
}

/// The names of the targets: each has a folder with its inputs, which a test of the simulator checks.
fn targets() -> Result<Vec<String>, Failure> {
    let unreadable = |e| failed("read the corpus", e);
    let mut names = Vec::new();
    for folder in fs::read_dir(root().join(CORPUS)).map_err(unreadable)? {
        names.push(folder.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Builds the fuzzer.
fn built() -> Result<std::path::PathBuf, Failure> {
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).map_err(|e| failed("make a folder for the fuzzer", e))?;
    let compiler = folder.join("compiler.sh");
    if fs::read_to_string(&compiler).ok().as_deref() != Some(COMPILER) {
        fs::write(&compiler, COMPILER).map_err(|e| failed("write the fuzzer's compiler", e))?;
    }
    run_program(&mut program("chmod", &["+x", &compiler.to_string_lossy()]))?;
    let instrumented = |command: &mut std::process::Command| {
        command.args(["--features", "sync-sim/libfuzzer"]).env("RUSTC_WORKSPACE_WRAPPER", &compiler);
    };
    Ok(build_with(&["sync-fuzz"], instrumented)?.join("sync-fuzz"))
}

struct Fuzzer<'a> {
    program: &'a Path,
    seconds: &'a str,
}

impl Fuzzer<'_> {
    fn command(
        &self,
        target: &str,
        options: &[&str],
    ) -> Result<(std::process::Command, [std::path::PathBuf; 2]), Failure> {
        let made = root().join(FOLDER).join("corpus").join(target);
        fs::create_dir_all(&made).map_err(|e| failed("make a folder for new inputs", e))?;
        let kept = root().join(CORPUS).join(target);
        let mut command = program(self.program, options);
        command.env("KSYNC_FUZZ_TARGET", target);
        Ok((command, [made, kept]))
    }

    /// Makes inputs up for a while; new ones that reach something new stay in the target folder.
    fn fuzz(&self, target: &str) -> Result<(), Failure> {
        let finds = root().join(FOLDER).join(format!("find-{target}-"));
        let time = format!("-max_total_time={}", self.seconds);
        let prefix = format!("-artifact_prefix={}", finds.display());
        let options = [&time, &prefix, "-timeout=20", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"];
        let (mut command, [made, kept]) = self.command(target, &options)?;
        let started = Instant::now();
        let output = command.arg(&made).arg(&kept).output().map_err(|e| failed("start the fuzzer", e))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            return Err(format!(
                "{}\n\n{target}: a find, in {}*. Mend what it shows, and put the input into {CORPUS}/{target}.",
                tail.join("\n"),
                finds.display()
            ));
        }
        let inputs: u64 = stat(&said, "stat::number_of_executed_units:").ok_or("the fuzzer printed no statistics")?;
        let new = stat(&said, "stat::new_units_added:").unwrap_or_default();
        let each = inputs as f64 / started.elapsed().as_secs_f64();
        println!("{target:<18}  {inputs:>9}  {each:>9.0}  {new:>5}");
        Ok(())
    }

    /// Keeps for good what reaches something that nothing kept reaches.
    fn merge(&self, target: &str) -> Result<(), Failure> {
        let (mut command, [made, kept]) = self.command(target, &["-merge=1", "-max_len=4096"])?;
        let output = command.arg(&kept).arg(&made).output().map_err(|e| failed("start the fuzzer", e))?;
        let count = fs::read_dir(&kept).map_err(|e| failed("read the corpus", e))?.count();
        println!("{target:<18}  {count:>9} kept");
        if output.status.success() { Ok(()) } else { Err(format!("{target}: the inputs cannot be merged")) }
    }
}

/// A number of the fuzzer's statistics.
fn stat(said: &str, name: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix(name)).and_then(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read() {
        let said = "#5 DONE\nstat::number_of_executed_units: 1234\nstat::new_units_added:          7\n";
        assert_eq!(stat(said, "stat::number_of_executed_units:"), Some(1234));
        assert_eq!(stat(said, "stat::new_units_added:"), Some(7));
        assert_eq!(stat(said, "stat::peak_rss_mb:"), None);
    }
}
