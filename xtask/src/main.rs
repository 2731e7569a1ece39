//! The commands of this repository, as `cargo xtask NAME`. Each one does all of its own set-up, so that nobody, neither a
//! person nor a CI machine, has to know more than its name.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its standard output")]

mod app;
mod arrows;
mod bench;
mod bench_app;
mod container;
mod database;
mod demo;
mod dependencies;
mod device;
mod dist;
mod documents;
mod files_check;
mod fuzz;
mod generate;
mod lint;
mod models;
mod new_app;
mod permissions;
mod process;
mod relay;
mod relay_check;
mod report;
mod setup;
mod sim;
mod source;
mod stress;
mod tauri_add;
mod test;
mod versions;
mod web;
mod workflows;

use std::process::ExitCode;

/// What a step says when it cannot be done: a sentence or more for the person at the terminal.
type Failure = String;

/// One command: its name, what `help` says of it, and what runs it.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

/// Every command, in the order of `help`. A new one is a module with a `run` and a line here.
const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        about: "a relay and two devices on this machine sync a novel, each offline half the time; then two windows",
        run: demo::run,
    },
    Command {
        name: "relay-check",
        about: "each kind of relay that this machine can run, with two devices that pair and sync over it",
        run: relay_check::run,
    },
    Command {
        name: "files-check",
        about: "files of every size, number and name by real processes, also while they change and are killed: --kills N, --large SIZE, --small N, --only PARTS",
        run: files_check::run,
    },
    Command {
        name: "dist",
        about: "the relay as one static program, and the folder that its image is built from",
        run: dist::run,
    },
    Command {
        name: "sbom",
        about: "what the relay is made of, as CycloneDX: target/sbom/sync-relay.cdx.json",
        run: dist::sbom,
    },
    Command {
        name: "versions",
        about: "whether all crates and npm packages have one version; with a TAG, whether it names that",
        run: versions::run,
    },
    Command {
        name: "app",
        about: "two copies of the example app, side by side; --screenshot [FILE] pictures them instead",
        run: app::run,
    },
    Command {
        name: "test",
        about: "install what is missing, then run every check and every test; --fips: in FIPS-approved algorithms",
        run: test::run,
    },
    Command { name: "lint", about: "formatting, lints, dependency arrows, licences, generated files", run: lint::run },
    Command { name: "gen", about: "write the generated files anew; --check only compares them", run: generate::run },
    Command {
        name: "bench",
        about: "measure a release build, each figure beside its bound: --only 1,2 for some, --json; `groups`; `herd`; `files`; `nodes`; `hostile`; `app`",
        run: bench::run,
    },
    Command { name: "sim", about: "run simulated groups: --seeds N for many, --seed N to replay one", run: sim::run },
    Command {
        name: "attacks",
        about: "named attacks on real devices and the real relay: expected, seen, and what each does without its defence",
        run: sim::attacks,
    },
    Command {
        name: "models",
        about: "Verifpal looks for attacks in each model of docs/models: expected and seen, for each query",
        run: models::run,
    },
    Command {
        name: "fuzz",
        about: "make up inputs for every decoder and machine: [TARGET…] --seconds N for each; --merge keeps what is new",
        run: fuzz::run,
    },
    Command {
        name: "tauri-add",
        about: "a new Tauri app, `tauri add 0ksync` from registries on this machine, and sync.push() in its window",
        run: tauri_add::run,
    },
    Command { name: "web", about: "build the guest API and the example app's page, and test them", run: web::command },
    Command {
        name: "stress",
        about: "a backlog of 2 GB drains; takes minutes and 10 GB of the disk",
        run: stress::run,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = words.collect();
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("There is no command '{name}'.\n\n{}", help());
        return ExitCode::from(2);
    };
    match (command.run)(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\ncargo xtask {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("cargo xtask COMMAND\n\n");
    for command in COMMANDS {
        text += &format!("  {:<9}  {}\n", command.name, command.about);
    }
    text + "  help       show this list\n"
}

/// What could not be done, and why.
fn failed(what: &str, error: impl std::fmt::Display) -> Failure {
    format!("cannot {what}: {error}")
}

/// An empty folder of this name for what a command makes.
fn fresh_folder(name: &str) -> Result<std::path::PathBuf, Failure> {
    let folder = process::root().join("target").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| failed("clear the folder of the last time", e))?;
    }
    std::fs::create_dir_all(&folder).map_err(|e| failed("make a folder", e))?;
    Ok(folder)
}

/// Refuses arguments in a command that takes none, rather than ignoring a misspelt one.
fn no_arguments(args: &[String]) -> Result<(), Failure> {
    match args {
        [] => Ok(()),
        [first, ..] => Err(format!("'{first}' is not understood: this command takes no arguments")),
    }
}
