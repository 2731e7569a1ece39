//! `tauri-add`: what a Tauri developer does who reads README. New apps, `tauri add 0ksync`, and `sync.push()` in their windows.

use std::path::Path;
use std::time::Instant;

use crate::new_app::{NewApp, Registries, folder_outside};
use crate::process::{alone, build, root};
use crate::{Failure, no_arguments, setup, web};

/// The last command line that installs a plugin's npm package by itself; from the next one on, a person does.
const EARLIER_CLI: &str = "@tauri-apps/cli@2.11.5";
/// A frontend developer's first line, and a way in for whoever tries the app from outside.
pub(crate) const PAGE: &str = "import { sync } from \"tauri-plugin-0ksync-api\";\nObject.assign(window, { sync });";
/// One version that both registries have: `tauri add sql` takes the newest of each, and the two are not published together.
const SQL: [&str; 2] = ["tauri-plugin-sql@=2.5.0", "@tauri-apps/plugin-sql@2.5.0"];
const SQL_PAGE: &str = "import Database from \"@tauri-apps/plugin-sql\";\nObject.assign(window, { Database });";

/// `cargo xtask tauri-add`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    let began = Instant::now();
    say("Set-up, and the packages of this repository in registries on this machine");
    setup::for_new_apps()?;
    web::build()?;
    let tries = build(&["ksync-added"])?.join("ksync-added");
    let outside = folder_outside("ksync-tauri-add-")?;
    let folder = outside.path();
    let registries = Registries::start(folder)?;

    say("A new app, with an earlier command line of Tauri");
    let earlier = NewApp::create(&registries, folder, "earlier", "vanilla-ts")?;
    earlier.npm_install(&["--save-dev", EARLIER_CLI])?;
    earlier.tauri_add("0ksync")?;
    if !earlier.has_api()? {
        return Err(format!("{EARLIER_CLI} did not install the npm package"));
    }

    say("A new app in plain JavaScript, with today's command line and no other edit");
    let target = root().join("target/tauri-add");
    let plain = NewApp::create(&registries, folder, "plain", "vanilla")?;
    plain.tauri_add("0ksync")?;
    alone(&tries, &[&folder.join("plain-devices"), &plain.build(&target, false)?])?;

    say("A new app in TypeScript, with the npm package");
    let typed = NewApp::create(&registries, folder, "typed", "vanilla-ts")?;
    typed.tauri_add("0ksync")?;
    typed.install_api()?;
    typed.write_page(PAGE)?;
    alone(&tries, &[&folder.join("typed-devices"), &typed.build(&target, false)?])?;

    say("A new app, with tauri-plugin-sql on SQLite beside it");
    let beside = NewApp::create(&registries, folder, "beside-sql", "vanilla-ts")?;
    beside.tauri_add("sql")?;
    beside.cargo_add(&[SQL[0], "--features", "sqlite"])?;
    beside.npm_install(&[SQL[1]])?;
    beside.tauri_add("0ksync")?;
    beside.install_api()?;
    beside.write_page(PAGE)?;
    beside.write_page(SQL_PAGE)?;
    alone(&tries, &[&folder.join("beside-sql-devices"), &beside.build(&target, false)?, Path::new("--sql")])?;
    println!("\nDone in {:.0} s.", began.elapsed().as_secs_f64());
    Ok(())
}

fn say(text: &str) {
    println!("\n=== {text}");
}
