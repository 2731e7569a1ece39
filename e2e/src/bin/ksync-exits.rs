//! How long an app takes to leave while something waits to be sent: `ksync-exits FOLDER`. The folder takes the devices' data.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it tells what it measures on its standard output")]

use std::path::Path;
use std::process::ExitCode;

use ksync_e2e::exits;

/// How many blobs of a kibibyte a full outbox holds.
const FULL: usize = 20_000;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("usage: ksync-exits FOLDER");
        return ExitCode::from(2);
    };
    println!("{:<44} {:>9} {:>9}", "an app is closed with", "waiting", "ms");
    for exit in exits::each(Path::new(folder), FULL).await {
        println!("{:<44} {:>9} {:>9.0}", exit.when, exit.waiting, exit.took.as_secs_f64() * 1e3);
    }
    ExitCode::SUCCESS
}
