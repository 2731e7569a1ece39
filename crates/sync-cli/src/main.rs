//! `ksync`: a headless 0k-Sync device. See `ksync --help` and docs/cli.md.

use std::process::ExitCode;

use clap::Parser;
use sync_client::{Code, SyncError};

mod cli;
mod clock;
mod commands;
mod event;
mod exit;
mod input;
mod out;
mod passphrase;
mod qr;
mod signals;
mod words;

use cli::Cli;
use exit::Exit;
use out::{Failure, Out};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let out = Out::new(cli.global.json);
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(out, &Failure::new(Code::Io, format!("cannot start threads: {error}"))),
    };
    let done = runtime.block_on(async {
        let stop = signals::listen().map_err(|e| Failure::new(Code::Io, format!("cannot take signals: {e}")))?;
        commands::run(cli, out, stop).await
    });
    // A thread may be reading stdin, and nobody is going to type.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(out, &failure),
    }
}

/// Tells a failure that nobody has been told of, and gives its exit code.
fn failed(out: Out, failure: &Failure) -> ExitCode {
    out.progress_over();
    match failure {
        Failure::Error(error) => out.error(error),
        Failure::Interrupted => out.aside("Interrupted."),
        Failure::Told(_) => {}
        // `ksync pull | head`: who has read enough is no error.
        Failure::ReaderGone => return ExitCode::SUCCESS,
    }
    ExitCode::from(failure.code().map_or(Exit::Other, exit::exit) as u8)
}

/// What clap has to say: help and version to stdout, wrong arguments to whoever asked for them.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|a| a == "--json") || std::env::var("KSYNC_JSON").is_ok_and(|v| is_true(&v));
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Out::new(true).error(&SyncError::new(Code::InvalidArgument, message));
    } else {
        // Whoever closed the stream does not want to read it.
        let _ = error.print();
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "n" | "no" | "f" | "false" | "off")
}

/// A log on stderr, for whoever asks for one.
fn log() {
    let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("KSYNC_LOG") else { return };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
