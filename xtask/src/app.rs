//! `app`: two copies of the example app beside a relay, in windows for a person to try, or as a picture for README.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Running, build, program, root, run as run_program};
use crate::relay::Relay;
use crate::{Failure, failed, fresh_folder, setup, web};

/// Where README looks for the picture.
const PICTURE: &str = "docs/0k-notes.png";

/// `cargo xtask app`, `cargo xtask app --screenshot [FILE]`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let file = match args.as_slice() {
        [] => None,
        ["--screenshot"] => Some(root().join(PICTURE)),
        ["--screenshot", file] => Some(std::path::absolute(file).map_err(|e| failed("find the file's place", e))?),
        [other, ..] => {
            return Err(format!("'{other}' is not understood: there is --screenshot, with a file if you like"));
        }
    };
    if file.is_none() && ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|name| std::env::var_os(name).is_none()) {
        return Err("there is no screen to open windows on; `cargo xtask app --screenshot FILE` needs none".to_owned());
    }
    setup::for_windows()?;
    web::build()?;
    let programs = build(&["sync-relay", "ksync-notes", "ksync-picture"])?;
    let folder = fresh_folder("app")?;
    match file {
        Some(file) => picture(&programs, &folder, &file),
        None => windows(&programs, &folder),
    }
}

/// Runs two copies on screens without a monitor, pairs them, and puts a picture of both into the file.
pub(crate) fn picture(programs: &Path, folder: &Path, file: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|e| failed("make the folder of the two devices", e))?;
    run_program(Command::new(programs.join("ksync-picture")).args([folder, file]).current_dir(root()))
}

/// Opens two windows, and stays until both are closed.
fn windows(programs: &Path, folder: &Path) -> Result<(), Failure> {
    let relay = Relay::start(programs, &folder.join("relay"))?;
    println!("A relay is running at {}", relay.address);
    let mut apps = Vec::new();
    for name in ["Laptop", "Phone"] {
        apps.push((name, open(programs, &folder.join(name), name, &relay)?));
    }
    println!(
        "Two windows open: Laptop and Phone. To pair them: Devices, «Add a device» in the one, «Join a device» in the other."
    );
    println!("The notes lie in {}, and are gone when this is run again. Close both windows to end.", folder.display());
    let mut ended = Ok(());
    for (name, app) in &mut apps {
        let status = app.wait()?;
        println!("{name} was closed");
        if !status.success() {
            ended = Err(format!("{name} ended with {status}; its log is in {}", folder.join(*name).display()));
        }
    }
    relay.stop()?;
    ended
}

/// One window, with folders of its own for all that it keeps.
fn open(programs: &Path, folder: &Path, name: &str, relay: &Relay) -> Result<Running, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| failed("make a device's folder", e))?;
    let log = std::fs::File::create(folder.join("log")).map_err(|e| failed("make a device's log", e))?;
    let mut command = program(programs.join("ksync-notes"), &[]);
    for (variable, part) in [("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config")] {
        command.env(variable, folder.join(part));
    }
    command.env("KSYNC_RELAY", &relay.address).env("KSYNC_NAME", name).stdout(Stdio::null()).stderr(log);
    Running::start(&mut command)
}
