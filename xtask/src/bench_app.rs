//! `bench app`: what the plugin adds to a Tauri app, what a page gets out of `push`, and how long an app takes to leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::new_app::{NewApp, Registries, folder_outside};
use crate::process::{alone, build, root};
use crate::tauri_add::PAGE;
use crate::{Failure, failed, setup, web};

/// A release build of an app.
struct Built {
    program: PathBuf,
    bytes: u64,
    took: Duration,
}

/// `cargo xtask bench app`
pub(crate) fn run() -> Result<(), Failure> {
    setup::for_new_apps()?;
    web::build()?;
    let programs = build(&["ksync-ipc", "ksync-exits"])?;
    let outside = folder_outside("ksync-bench-app-")?;
    let folder = outside.path();
    let registries = Registries::start(folder)?;
    eprintln!("Building a new app for release, without the plugin and with it, both from nothing.");
    let without = NewApp::create(&registries, folder, "without", "vanilla-ts")?;
    let without = timed(&without)?;
    let with = NewApp::create(&registries, folder, "with", "vanilla-ts")?;
    with.tauri_add("0ksync")?;
    with.install_api()?;
    with.write_page(PAGE)?;
    let with = timed(&with)?;
    println!("\na new app                    build s   program MB");
    for (name, built) in [("without the plugin", &without), ("with it", &with)] {
        println!("{name:<24} {:>11.0} {:>12.1}", built.took.as_secs_f64(), megabytes(built.bytes));
    }
    println!(
        "{:<24} {:>11.2} {:>12.2}\n",
        "times as much",
        with.took.as_secs_f64() / without.took.as_secs_f64(),
        megabytes(with.bytes) / megabytes(without.bytes)
    );
    alone(&programs.join("ksync-ipc"), &[&folder.join("ipc"), &with.program])?;
    println!();
    alone(&programs.join("ksync-exits"), &[&folder.join("exits")])
}

/// Builds an app from nothing. What cargo and npm fetch is there already.
fn timed(app: &NewApp<'_>) -> Result<Built, Failure> {
    app.fetch()?;
    // Gigabytes: more than what some machines have for temporary files.
    let builds = root().join("target");
    fs::create_dir_all(&builds).map_err(|e| failed("make the folder for builds", e))?;
    let target = tempfile::Builder::new().prefix("bench-app-").tempdir_in(builds);
    let target = target.map_err(|e| failed("make a folder for the build", e))?;
    let began = Instant::now();
    let built = app.build(target.path(), true)?;
    let took = began.elapsed();
    let program = app.keep(&built)?;
    let bytes = size(&program)?;
    Ok(Built { program, bytes, took })
}

fn size(program: &Path) -> Result<u64, Failure> {
    fs::metadata(program).map(|data| data.len()).map_err(|e| failed("measure the program", e))
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with one digit behind the point")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
