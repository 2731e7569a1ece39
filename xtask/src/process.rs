//! Running other programs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::{Failure, failed};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root").to_owned()
}

/// A program that will run in the repository's root, without an input to wait for.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    // `cargo run` describes the package xtask to us in these; whoever is started from here must not take it for its own.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The cargo that started this program, and so the same toolchain.
pub(crate) fn cargo(args: &[&str]) -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Has clippy look at the workspace's crates while the command builds them, and each of its warnings be an error. All that the
/// tests need is built so: `cargo clippy` would first check every dependency, and the tests' build then compile it all the same.
pub(crate) fn linted(command: &mut Command) -> &mut Command {
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("clippy-driver"));
    let clippy = beside.filter(|path| path.exists()).unwrap_or_else(|| "clippy-driver".into());
    // How `cargo clippy -- --deny warnings` hands this on.
    command
        .env("RUSTC_WORKSPACE_WRAPPER", clippy)
        .env("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
}

/// Builds programs of the workspace and gives the folder that they are in.
///
/// `--workspace`, although only these are wanted: cargo chooses the features of dependencies by what is built together, so
/// with `-p` it would build dependencies a second time.
pub(crate) fn build(programs: &[&str]) -> Result<PathBuf, Failure> {
    build_with(programs, |_| {})
}

/// [`build`], with something added to the command.
pub(crate) fn build_with(programs: &[&str], add: impl FnOnce(&mut Command)) -> Result<PathBuf, Failure> {
    build_as(&["--quiet"], "debug", programs, add)
}

/// [`build`], optimised for whoever runs them in earnest.
pub(crate) fn build_release(programs: &[&str]) -> Result<PathBuf, Failure> {
    build_as(&["--release"], "release", programs, |_| {})
}

fn build_as(
    options: &[&str],
    folder: &str,
    programs: &[&str],
    add: impl FnOnce(&mut Command),
) -> Result<PathBuf, Failure> {
    let mut command = cargo(&["build", "--workspace"]);
    command.args(options);
    for name in programs {
        command.args(["--bin", name]);
    }
    add(&mut command);
    run(&mut command)?;
    Ok(target().join(folder))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target)
}

/// A program that runs. It is killed when this is dropped, so that none is left behind by a command that fails half-way.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is over already when all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        command.spawn().map(Self).map_err(|e| cannot_start(command, &e))
    }

    /// The streams that were asked for, and its number.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Until it ends by itself.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.0.wait().map_err(|e| failed("wait for a program", e))
    }
}

/// Runs a program whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|e| cannot_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", words(command))) }
}

/// Runs a program and gives what it wrote to standard output; its standard error goes to the terminal.
pub(crate) fn capture(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| cannot_start(command, &e))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{}` failed: {}", words(command), output.status))
    }
}

/// Whether a program runs and succeeds, with all that it says thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a program, shows what it writes while it runs, and gives that with whether it succeeded.
///
/// Both of its streams share one pipe, so that the lines stay in their order.
pub(crate) fn tee(command: &mut Command) -> Result<(bool, String), Failure> {
    let (mut reader, writer) = std::io::pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
    let for_stderr = writer.try_clone().map_err(|e| format!("cannot make a pipe: {e}"))?;
    command.stdout(writer).stderr(for_stderr);
    let mut running = Running::start(command)?;
    // The command holds the pipe's writing end: without this the reading below would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut all = Vec::new();
    let mut piece = [0; 8192];
    let mut screen = std::io::stdout();
    loop {
        let count = reader.read(&mut piece).map_err(|e| format!("cannot read from `{}`: {e}", words(command)))?;
        if count == 0 {
            break;
        }
        all.extend_from_slice(&piece[..count]);
        // A closed terminal is no reason to stop the tests.
        let _ = screen.write_all(&piece[..count]).and_then(|()| screen.flush());
    }
    let status = running.wait()?;
    Ok((status.success(), String::from_utf8_lossy(&all).into_owned()))
}

/// Whether a program of that name is on the search path.
pub(crate) fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// The command as somebody would type it, for messages.
pub(crate) fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    format!("cannot start `{}`: {error}", words(command))
}

/// Runs a program in a network of its own that has nothing but loopback.
pub(crate) fn alone(name: &Path, args: &[&Path]) -> Result<(), Failure> {
    let script = "ip link set lo up && exec \"$@\"";
    let mut command = program("unshare", &["--map-root-user", "--net", "sh", "-c", script, "sh"]);
    run(command.arg(name).args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tee_keeps_both_streams_in_order_and_tells_failure() {
        let script = "echo one; echo two >&2; echo three; exit 3";
        let (succeeded, text) = tee(&mut program("sh", &["-c", script])).expect("sh runs");
        assert!(!succeeded);
        assert_eq!(text, "one\ntwo\nthree\n");
    }

    #[test]
    fn nothing_runs_on_that_nobody_waits_for_any_more() {
        let mut running = Running::start(program("cat", &[]).stdin(Stdio::piped())).expect("cat runs");
        let process = format!("/proc/{}", running.child().id());
        assert!(Path::new(&process).exists());
        drop(running);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_failure_names_the_command() {
        let failure = run(&mut program("sh", &["-c", "exit 7"])).expect_err("it exits with 7");
        assert!(failure.contains("sh -c exit 7") && failure.contains('7'), "{failure}");
        let failure = run(&mut program("no-such-program", &["x"])).expect_err("there is none");
        assert!(failure.contains("no-such-program x"), "{failure}");
    }
}
